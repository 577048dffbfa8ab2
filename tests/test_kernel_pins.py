"""The pin oracle: the running kernel and the model on the same schedules, and that it notices where they part."""

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.cli import main
from workbench.kernel import needs
from workbench.kernel.needs import Unavailable
from workbench.kernel.pins import at_random, bench, cases, fuse_server, run
from workbench.kernel.pins.bench import Bench, run_case
from workbench.kernel.pins.fuse import SlowFile
from workbench.kernel.pins.io_uring import Ring
from workbench.kernel.pins.live import Live
from workbench.kernel.pins.pages import Memory, Proc
from workbench.kernel.pins.predicted import PRESET, Predicted
from workbench.mm.world import WRITE

SKIPS = "tracker=bias,cleaning=skip,reclaim=skip,ext4=warn,longterm=refuse+migrate-first,fork=ask"


def missing():
    try:
        run.require()
    except Unavailable as why:
        return str(why)
    return ""


live = pytest.mark.skipif(bool(missing()), reason=missing())


# ---- they agree


@live
@pytest.mark.parametrize("name", run.CASES)
def test_a_case_agrees(name):
    (result,) = run.run([name], steps=0).results
    if result.skipped:
        pytest.skip(result.skipped)
    assert result.bench.mismatches == []
    assert result.bench.compared + len(result.bench.observed) > 0


@live
def test_random_schedules_agree():
    report = run.run([], steps=200, seed=3)
    assert [result.bench.mismatches for result in report.results] == [[]]
    assert report.results[0].bench.steps == 200


# ---- they part where the model is another


@live
def test_a_kernel_that_skips_pinned_pages_differs():
    result = run_case("pin-fsync", cases.pin_fsync, Bench(SKIPS))
    assert any("fsync()" in told and "dirty: model True, kernel False" in told for told in result.bench.mismatches)


@live
def test_a_kernel_of_2018_differs():
    result = run_case("golden-race", cases.golden_race, Bench("v4.17"))
    assert any("buffers: model False, kernel True" in told for told in result.bench.mismatches)


@live
def test_without_set_page_dirty_at_completion_it_differs(monkeypatch):
    pin = Predicted.pin
    monkeypatch.setattr(Predicted, "pin", lambda self, *place: pin(self, *place, op=WRITE))
    result = run_case("pin-fsync", cases.pin_fsync)
    assert any("complete(1): page 0 dirty: model False, kernel True" in told for told in result.bench.mismatches)


@live
def test_a_kernel_without_pin_counters_or_early_copy_differs():
    told = run_case("large-folios", run.CASES["large-folios"], Bench("v5.7")).bench.mismatches
    if not told:
        pytest.skip("needs transparent huge pages")
    assert "pins taken and released: a direct read into 16: model (0, 0), kernel (16, 0)" in told
    assert "the child shares a pinned huge page: model True, kernel False" in told


@live
def test_a_random_schedule_that_differs_is_shortened():
    result = run_case("random", at_random.random_case(1, 60), Bench(SKIPS))
    *_, told = result.bench.mismatches
    assert told.startswith("the shortest schedule found that differs: ")
    assert told.count(";") <= 3


# ---- others on the machine


@live
def test_pins_of_others_are_no_mismatch(monkeypatch):
    others, true_pins = [0], Proc.pins

    def disturbed(self):
        others[0] += 7
        taken, released = true_pins(self)
        return taken + others[0], released + others[0] - 3

    monkeypatch.setattr(Proc, "pins", disturbed)
    result = run_case("pin-fsync", cases.pin_fsync)
    assert result.runs == bench.RUNS
    assert len(result.bench.disturbed) == result.bench.steps


@live
def test_pins_that_come_each_time_are_a_mismatch(monkeypatch):
    calls, true_pins = [0], Proc.pins

    def one_more_at_each_step(self):
        calls[0] += 1
        taken, released = true_pins(self)
        return taken, released + calls[0]

    monkeypatch.setattr(Proc, "pins", one_more_at_each_step)
    monkeypatch.setattr("workbench.kernel.pins.side_by_side.SETTLES", 0.0)
    result = run_case("pin-fsync", cases.pin_fsync)
    assert any("pins released" in told for told in result.bench.mismatches), result


# ---- it leaves nothing behind

_asked = []
os.register_at_fork(after_in_parent=lambda: [signal.raise_signal(number) for number in _asked])


@live
def test_a_signal_at_a_fork_is_not_lost():
    """What a handler raises in the interpreter's hooks around a fork, it throws away."""
    held = Live(1)
    _asked.append(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            held.fork()
        pid, _ = held._child
    finally:
        _asked.clear()
        held.close()
    assert not Path(f"/proc/{pid}").exists()


@live
def test_a_server_whose_words_are_not_read_ends_quietly(capfd):
    slow = SlowFile()
    ring = Ring()
    try:
        page = Memory(1)
        ring.read(1, slow.fd, slow.next_offset(), page.address, page.size)
        time.sleep(0.2)  # its word is there, and nobody reads it
    finally:
        slow.close()
        ring.close()
    assert capfd.readouterr().err == ""


HOLDS = """
from workbench.kernel.pins.live import Live
live = Live(1, patience=1.0)
assert live.pin(1, live.file.address)
print("held", live.slow._server.pid, flush=True)
while True:
    live.ring.wait(2, 60.0)
"""


@live
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_it_leaves_nothing(number):
    proc = Proc()
    before = [taken - released for taken, released in [proc.pins()]][0]
    child = subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True)
    word, server = child.stdout.readline().split()
    assert word == "held"
    child.send_signal(number)
    assert child.wait(timeout=20) == -number
    child.stdout.close()
    until = time.monotonic() + 10
    while (Path("/proc", server).exists() or _held(proc) > before) and time.monotonic() < until:
        time.sleep(0.05)
    proc.close()
    assert not Path("/proc", server).exists()
    assert "fuse pins" not in Path("/proc/self/mountinfo").read_text()


def _held(proc):
    taken, released = proc.pins()
    return taken - released


@live
def test_what_is_left_open_is_given_back_at_the_end():
    steps = [("register", 1), ("pin_anon", 1, 0), ("pin", 2, 0, 2)]
    runs = [Bench() for _ in range(6)]
    assert [at_random.run(one, steps) for one in runs] == [None] * len(runs)
    assert any(run.disturbed == {} for run in runs[1:])  # by the one before it; others on the machine may do as well


# ---- the server's words


def request(opcode, body=b"", unique=5):
    return struct.pack("=IIQQIIII", 40 + len(body), opcode, unique, 1, 0, 0, 0, 0) + body


def test_the_server_holds_reads_until_it_is_told():
    held = fuse_server.Held()
    assert held.answer(request(15, struct.pack("=QQI", 1, 4096, 3), unique=9)) == (b"", 4096)
    assert held.release(4096, 0x41) == struct.pack("=IiQ", 19, 0, 9) + b"AAA"
    assert held.requests == {}


def test_the_server_holds_writes_too():
    held = fuse_server.Held()
    assert held.answer(request(16, struct.pack("=QQI", 1, 0, 4096)))[1] == 0
    assert held.release(0, 0) == struct.pack("=IiQII", 24, 0, 5, 4096, 0)


@pytest.mark.parametrize(
    ("opcode", "size", "error"), [(26, 80, 0), (3, 120, 0), (14, 32, 0), (25, 16, 0), (1, 16, -38)]
)
def test_the_server_answers(opcode, size, error):
    reply, offset = fuse_server.Held().answer(request(opcode))
    assert offset is None
    assert struct.unpack_from("=IiQ", reply) == (size, error, 5)
    assert len(reply) == size


@pytest.mark.parametrize("opcode", [2, 36, 38, 42])
def test_the_server_keeps_silent(opcode):
    assert fuse_server.Held().answer(request(opcode)) == (b"", None)


# ---- schedules


def test_a_schedule_is_drawn_from_its_seed():
    assert at_random.draw(1, 100) == at_random.draw(1, 100) != at_random.draw(2, 100)
    assert {step[0] for step in at_random.draw(1, 1000)} == set(at_random.WEIGHTS)


def test_what_can_not_be_done_is_left_out():
    steps = [("complete", 1), ("pin", 2, 0, 1), ("truncate",), ("store", 0), ("extend",), ("complete", 2), ("extend",)]
    kept = [("pin", 2, 0, 1), ("truncate",), ("complete", 2), ("extend",)]
    assert at_random.possible(steps) == kept


# ---- the command


@live
def test_the_command_prints_a_line_for_each_case(capsys):
    assert main(["kernel", "pins", "--case", "pin-fsync", "--case", "golden-race"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"Linux {os.uname().release} beside the model with design {PRESET}"
    assert [line.split()[0] for line in lines] == ["pin-fsync", "golden-race"]
    assert all(line.endswith("agrees") for line in lines)


@live
def test_the_command_prints_json(capsys):
    assert main(["kernel", "pins", "--case", "pin-fsync", "--design", SKIPS, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["kernel"] == os.uname().release
    assert told["mismatches"] == len(told["cases"][0]["mismatches"]) == 1
    assert told["steps"] == told["cases"][0]["steps"] > 0


@live
def test_the_command_says_where_they_differ(capsys):
    assert main(["kernel", "pins", "--case", "pin-fsync", "--design", SKIPS]) == 1
    assert "step 3, fsync(): page 0 dirty: model True, kernel False" in capsys.readouterr().out


def test_a_missing_need_is_told_in_one_line(monkeypatch, capsys):
    def no_fuse():
        raise Unavailable("needs /dev/fuse")

    monkeypatch.setattr(needs, "fuse", no_fuse)
    assert main(["kernel", "pins"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "workbench: kernel pins skipped: needs /dev/fuse\n")


@live
@pytest.mark.parametrize(("name", "what"), [("SlowFile", "a FUSE mount of its own"), ("Ring", "io_uring")])
def test_what_root_is_not_let_do_is_skipped(monkeypatch, name, what):
    def refused(*_):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(f"workbench.kernel.pins.live.{name}", refused)
    (result,) = run.run(["pin-fsync"], steps=0).results
    assert (result.skipped, result.bench.mismatches) == (f"needs {what}: Operation not permitted", [])


def test_a_case_may_be_skipped():
    def case(_):
        raise Unavailable("needs AF_XDP")

    result = run_case("xdp", case)
    report = run.Report("6.18", PRESET, [result])
    assert report.lines()[1] == "xdp  skipped: needs AF_XDP"
    assert report.as_dict()["skipped"] == {"xdp": "needs AF_XDP"}
    assert not report.agrees


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--case", "pin-fsink"], "--case 'pin-fsink': did you mean 'pin-fsync'"),
        (["--steps", "-1"], "--steps -1: 0 or more steps"),
        (["--design", "v6.13"], "design 'v6.13'"),
    ],
)
def test_wrong_usage_is_told_in_one_line(words, message, capsys):
    assert main(["kernel", "pins", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
