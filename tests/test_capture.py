"""Direct IOs of a command, recorded by the kernel, and nothing left behind."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from workbench import cli, traces
from workbench.kernel import capture, measure, needs, tracing
from workbench.kernel.needs import Refused, Unavailable

IOS, BYTES = 24, 16384
# Writes a file by O_DIRECT, reads half of it back, in a child process of its own; then removes it.
WORKLOAD = """
import mmap, os, sys
path, ios, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def work():
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600)
    memory = mmap.mmap(-1, size)
    memory.write(b"x" * size)
    for i in range(ios):
        os.pwritev(file, [memory], i * size)
    for i in range(0, ios, 2):
        os.preadv(file, [memory], i * size)
    os.close(file)
child = os.fork()
if child == 0:
    work()
    os._exit(0)
os.waitpid(child, 0)
os.unlink(path)
"""


@pytest.fixture
def root():
    """Of tracefs; skips where there is none."""
    try:
        with tracing.tracefs() as path:
            yield path
    except Unavailable as reason:
        pytest.skip(str(reason))


def ours(root: Path) -> list[str]:
    """Instances of this test's processes, and of dead ones."""
    return [path.name for path in (root / "instances").glob(f"{tracing.PREFIX}*")]


@pytest.fixture
def folder(root, tmp_path):
    """Return a folder on a file system whose direct IO goes through iomap."""
    if measure._kind(str(tmp_path)) != measure.EXT4:
        pytest.skip("needs ext4 for temporary files")
    return tmp_path


def workload(path: Path, ios: int = IOS) -> list[str]:
    return [sys.executable, "-c", WORKLOAD, str(path), str(ios), str(BYTES)]


# ---- live


def test_ios_are_counted_exactly(root, folder):
    """Those of the command's child too, and none of a process beside it."""
    with subprocess.Popen(workload(folder / "other", 20_000)) as other:
        got = capture.capture(workload(folder / "file"), folder / "out.ftrace.gz")
        assert other.poll() is None
        other.kill()
    trace = traces.load(got.path)
    assert got.lost == 0 and got.others > 0
    assert trace.ios["op"].value_counts().to_dict() == {"write": IOS, "read": IOS // 2}
    assert (trace.ios["size_bytes"] == BYTES).all() and trace.bios["size_bytes"].sum() == trace.ios["size_bytes"].sum()
    assert (trace.ios["complete_ns"] > trace.ios["submit_ns"]).all()
    assert list(trace.ios["offset_bytes"][:IOS]) == [i * BYTES for i in range(IOS)]
    assert gzip.open(got.path, "rt").readline() == "# tracer: nop\n"
    assert not any(f"-{os.getpid()}-" in name for name in ours(root))


def test_by_file_whoever_reads_it(folder):
    file = folder / "file"
    file.write_bytes(b"x" * IOS * BYTES)
    read = "import mmap, os, sys; f = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT); m = mmap.mmap(-1, 4096)\n"
    read += "for i in range(7): os.preadv(f, [m], i * 4096)"
    both = [sys.executable, "-c", f"import os\n{read}\nos.execv(sys.argv[2], sys.argv[2:])", str(file)]
    got = capture.capture([*both, *workload(folder / "other")], folder / "out.ftrace", file=file)
    trace = traces.load(got.path)
    assert list(trace.ios["offset_bytes"]) == [i * 4096 for i in range(7)] and set(trace.ios["op"]) == {"read"}


@pytest.mark.skipif(shutil.which("fio") is None, reason="needs fio")
def test_fio(folder, capsys):
    job = ["fio", "--name=r", f"--filename={folder}/fio", "--size=4m", "--direct=1", "--rw=randread", "--bs=4k"]
    job += ["--ioengine=libaio", "--iodepth=8", "--number_ios=300", "--output=/dev/null"]
    out = folder / "fio.ftrace.gz"
    assert cli.main(["trace", "capture", "--out", str(out), "--event-set", "merges", "--json", "--", *job]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ios"], told["bios"], told["lost"], told["captured"]) == (300, 300, 0, str(out))
    assert cli.main(["trace", "import", str(out), "-o", str(folder / "fio.parquet")]) == 0


def test_told_in_lines(folder, capsys):
    words = ["trace", "capture", "--out", str(folder / "out.ftrace"), "--", *workload(folder / "file")]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"captured      {folder}/out.ftrace: ") and "lost: 0" in lines[0]
    assert f"direct IOs    {IOS + IOS // 2}" in lines


def test_lost_events_are_refused_or_told(folder, monkeypatch):
    monkeypatch.setattr(tracing.Instance, "lost", lambda _: {0: 5, 1: 2})
    out = folder / "out.ftrace"
    with pytest.raises(Refused, match="^7 events were lost; nothing is written: give a larger --buffer-mib, or"):
        capture.capture(workload(folder / "file"), out)
    assert not out.exists()
    got = capture.capture(workload(folder / "file"), out, allow_lost=True)
    assert got.lost == 7 == traces.load(out).dropped["event lost by the ring buffer"]


def test_what_does_not_fit_is_counted(root):
    """At least once each: the kernel tries a marker twice. The oldest stay."""
    with tracing.instance(root, 8) as made:
        made.write("tracing_on", 1)
        for i in range(3000):
            with suppress(OSError):  # EBADF: there was no room
                made.write("trace_marker", f"event {i}")
        made.write("tracing_on", 0)
        kept = [line for line in made.lines() if "event" in line and not line.startswith("#")]
        assert 0 < len(kept) < 3000 <= len(kept) + sum(made.lost().values())
        assert any(line.rstrip().endswith("event 0") for line in kept)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["false"], "false ended with status 1; nothing is written"),
        (["sh", "-c", "kill -9 $$"], "sh ended with SIGKILL; nothing is written"),
        (["true"], "no direct IO was seen"),
    ],
)
def test_what_is_not_worth_writing(root, tmp_path, capsys, command, says):
    assert cli.main(["trace", "capture", "--out", str(tmp_path / "out"), "--", *command]) == 1
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and list(tmp_path.iterdir()) == []
    assert not any(f"-{os.getpid()}-" in name for name in ours(root))


# ---- nothing is left behind


@pytest.fixture
def capturing(root, tmp_path):
    """Start a capture of a command that does not end; returns the process and the command's id."""
    words = ["trace", "capture", "--out", str(tmp_path / "out"), "--", "sleep", "600"]
    process = subprocess.Popen([sys.executable, "-m", "workbench", *words], stderr=subprocess.PIPE, text=True)
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 60
        while not (child := children.read_text().split()) or not command_of(int(child[0])).startswith("sleep"):
            assert time.monotonic() < deadline and process.poll() is None, process.communicate()
            time.sleep(0.02)
        assert any(f"-{process.pid}-" in name for name in ours(root))
        yield process, int(child[0])
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def gone(pid: int) -> bool:
    """Whether the command has ended within a few seconds."""
    deadline = time.monotonic() + 10
    while "sleep" in command_of(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return "sleep" not in command_of(pid)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_command_and_removes_the_instance(root, capturing, tmp_path, number, status):
    process, command = capturing
    process.send_signal(number)
    assert process.wait(20) == status and gone(command)
    assert not any(f"-{process.pid}-" in name for name in ours(root)) and list(tmp_path.iterdir()) == []


def test_what_a_killed_capture_left_is_removed_by_the_next(root, capturing):
    process, command = capturing
    process.kill()
    process.wait(20)
    assert gone(command) and any(f"-{process.pid}-" in name for name in ours(root))
    with tracing.instance(root, 8):
        assert not any(f"-{process.pid}-" in name for name in ours(root))
        assert any(f"-{os.getpid()}-" in name for name in ours(root))
        assert tracing.sweep(root) == []  # this one lives
    assert not any(f"-{os.getpid()}-" in name for name in ours(root))


def test_what_a_killed_captures_command_had_started_is_ended_by_the_next(root, tmp_path):
    """The command goes with the capture, but not its children: they are known by a variable of their environment."""
    words = ["trace", "capture", "--out", str(tmp_path / "out"), "--", "sh", "-c", "sleep 600 & echo $! >&2; wait"]
    with subprocess.Popen([sys.executable, "-m", "workbench", *words], stderr=subprocess.PIPE, text=True) as process:
        child = int(process.stderr.readline())
        process.kill()
    assert "sleep" in command_of(child)
    with pytest.raises(Refused, match="no direct IO"):
        capture.capture(["true"], tmp_path / "out")
    assert gone(child)
    assert command_of(os.getpid())


def test_an_exception_removes_the_instance(root):
    with pytest.raises(ZeroDivisionError), tracing.instance(root, 8) as made:
        assert (made.path / "trace_clock").read_text().find("[mono]") >= 0 and made.lost() == {}
        raise ZeroDivisionError
    assert not any(f"-{os.getpid()}-" in name for name in ours(root))


def test_events_that_the_kernel_lacks(root):
    with pytest.raises(Unavailable, match="needs the trace event iomap:no_such"), tracing.instance(root, 8) as made:
        made.enable({"iomap": ["no_such"]}, {})


def test_the_instance_of_a_reused_process_id_goes(tmp_path):
    """A name holds when its process started: another one of that id does not keep it."""
    (tmp_path / "instances").mkdir()
    mine = f"{tracing.PREFIX}{os.getpid()}-{tracing._started(os.getpid())}"
    for name in (mine, f"{tracing.PREFIX}{os.getpid()}-1", f"{tracing.PREFIX}x-1", "somebody-1"):
        (tmp_path / "instances" / name).mkdir()
    assert tracing.sweep(tmp_path) == [f"{tracing.PREFIX}{os.getpid()}-1"]
    assert mine in os.listdir(tmp_path / "instances")


def test_a_busy_instance_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tracing, "REMOVAL_S", 0.05)
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "file").touch()
    with pytest.raises(OSError, match="not empty"):
        tracing.remove(tmp_path / "busy")


# ---- without root, tracefs or sense


def test_where_it_cannot_run_a_line_says_why(capsys, monkeypatch, tmp_path):
    words = ["trace", "capture", "--out", str(tmp_path / "out"), "--", "true"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(words) == 1 and capsys.readouterr().err == "workbench: trace capture skipped: needs root\n"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(needs, "TRACEFS", tmp_path)
    monkeypatch.setattr(tracing, "_detached_mount", lambda _: (_ for _ in ()).throw(PermissionError(1, "no")))
    assert cli.main(words) == 1 and "needs tracefs" in capsys.readouterr().err


def test_where_tracefs_is_mounted_it_is_used(monkeypatch, tmp_path):
    (tmp_path / "instances").mkdir()
    monkeypatch.setattr(needs, "tracefs", lambda: None)
    monkeypatch.setattr(needs, "TRACEFS", tmp_path)
    with tracing.tracefs() as path:
        assert path == tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--"], "no program ''"),
        (["--", "no-such-program"], "no program 'no-such-program': give a command behind --"),
        (["--file", "no-such-file", "--", "true"], "--file no-such-file: No such file"),
        (["--buffer-mib", "0", "--", "true"], "--buffer-mib 0: 1 to 16384"),
        (["--event-set", "dio", "--", "true"], "no 'dio'"),
        (["--out", "/", "--", "true"], "--out /: that is a folder"),
        (["--ot", "x", "--", "true"], "no option '--ot'"),
    ],
)
def test_wrong_usage(words, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["trace", "capture", *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


# ---- which events are kept, on text


def line(task: int, event: str, us: int = 0) -> str:
    return f"  a b-{task}  [001] ..s1.  3.{us:06}: {event}\n"


def io(task: int, sector: int, ino: str = "0x2a") -> list[str]:
    what = f"dev 8:2 ino {ino} size 0x10 offset 0x0 length 0x1000 done_before 0x0 flags DIRECT dio_flags  aio 0"
    done = f"dev 8:2 ino {ino} size 0x10 offset 0x1000 flags DIRECT aio 0 error 0 ret 4096"
    return [
        line(task, f"iomap_dio_rw_begin: {what}"),
        line(task, f"block_bio_queue: 8,2 R {sector} + 8 [x]"),
        line(task, f"block_rq_issue: 8,0 R 4096 () {sector} + 8 be,0,4 [x]"),
        line(0, f"block_rq_complete: 8,0 R () {sector} + 8 be,0,4 [0]"),
        line(99, f"iomap_dio_complete: {done}"),
    ]


def child(parent: int, pid: int) -> str:
    return line(parent, f"task_newtask: pid={pid} comm=x clone_flags=0 oom_score_adj=0")


HEAD = ["# tracer: nop\n", "# entries-in-buffer/entries-written: 9/9   #P:2\n", "#\n"]


def test_kept_are_the_trees_events():
    theirs, own, grandchild = io(7, 800, "0x7"), io(10, 1600), io(12, 2400, "0x2b")
    text = [*HEAD, child(10, 11), child(7, 8), *theirs, *own, child(11, 12), *grandchild, *io(8, 3200, "0x7")]
    chosen = capture.Chosen(text, 10)
    assert chosen.tasks == {10, 11, 12}
    assert list(chosen.kept(text)) == [HEAD[0], HEAD[2], *own, *grandchild]
    assert chosen.others == 3 + 2 * len(theirs)


def test_without_a_tree_all_who_do_direct_io():
    text = [*HEAD, child(10, 11), *io(7, 800), line(9, "block_bio_queue: 8,2 R 5 + 8 [x]")]
    chosen = capture.Chosen(text, None)
    assert chosen.tasks == {7} and list(chosen.kept(text)) == [HEAD[0], HEAD[2], *io(7, 800)]


@pytest.mark.parametrize(
    ("at", "kept"),
    [("792 + 8", False), ("792 + 9", True), ("807 + 1", True), ("808 + 8", False), ("700 + 500", True)],
)
def test_requests_that_carry_a_bio(at, kept):
    """Merged ones too, which are longer; not those that touch it."""
    text = io(7, 800)
    other = line(0, f"block_rq_requeue: 8,0 R () {at} be,0,4 [0]")
    assert (other in capture.Chosen(text, 7).kept([*text, other])) is kept
    elsewhere = other.replace("8,0 R", "9,0 R")
    assert elsewhere not in capture.Chosen(text, 7).kept([elsewhere])


def test_spans_are_joined():
    assert capture._joined([(5, 9), (1, 3), (3, 4), (6, 7), (20, 21)]) == [(1, 4), (5, 9), (20, 21)]
    assert capture._joined([]) == []


def test_what_was_lost_is_in_the_text(tmp_path):
    """Where the CPU of an IO had no room any more, its end may be missing."""
    text = [*HEAD, *io(7, 800), *io(8, 1600)[:2]]
    chosen = capture.Chosen(text, None)
    got = capture._written(tmp_path / "out", chosen.kept(text), chosen, {1: 5, 0: 2})
    assert (got.entries, got.lost) == (7, 7)
    assert got.path.read_text().splitlines()[-2:] == ["CPU:1 [5 EVENTS DROPPED]", "CPU:0 [2 EVENTS DROPPED]"]
    trace = traces.load(got.path)
    assert len(trace.ios) == 1 and trace.dropped["event lost by the ring buffer"] == 7


def test_filters_by_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    number = file.stat().st_dev
    own = f"dev == {os.major(number) << 20 | os.minor(number)}"
    told = capture._filters(file)
    assert told["iomap"] == f"{own} && ino == {file.stat().st_ino}" and told["block"].startswith(own)
