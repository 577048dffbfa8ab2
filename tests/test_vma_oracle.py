"""The VMA model against the running kernel: it agrees; each rule that is switched off is found, and told shortly."""

import json
import os
import signal
import time

import numpy as np
import psutil
import pytest
import vma_pictures as pictures

from workbench import cli
from workbench.accelerate import JIT_ENABLED
from workbench.kernel import needs, vma_child, vma_live, vma_oracle, vma_smaps
from workbench.kernel import vma_ops as o
from workbench.kernel.vma_child import AGREED, DIED, DIFFERS, HUNG, Result
from workbench.mm.vma_core import RULE

try:
    SETTING = vma_oracle.check_needs()
except needs.Unavailable as missing:
    pytest.skip(str(missing), allow_module_level=True)

CASES = pictures.read()
# Operations until the rule is missed, at most, in the run with that seed.
MUTANTS = {
    "pgoff": 500, "file": 2000, "account": 400, "anon_vma": 16000, "populate": 1000, "merge_right": 100,
    "partial": 200, "fork_chain": 60000, "reuse": 40000, "move_pgoff": 200, "unfaulted_target": 6000,
    "move_several": 500,
}  # fmt: skip
SHORT = 10  # operations that are left of a sequence, at most


@pytest.fixture(scope="module", autouse=True)
def compiled():
    vma_child.warm_up(SETTING)


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = (len(os.listdir("/proc/self/fd")), psutil.Process().children(recursive=True))
    yield
    assert (len(os.listdir("/proc/self/fd")), psutil.Process().children(recursive=True)) == before
    assert vma_smaps.live_rows(vma_child.BASE, o.ARENA) == []


def sequence(*texts):
    return np.array([pictures.operation(text) for text in texts], o.OPERATION)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_pictures_are_the_kernel_s_own(case):
    if SETTING.kernel < (6, 17) and "6.17" in case.title:
        pytest.skip("needs Linux 6.17: mremap of several VMAs")
    ops = np.array([call.op for call in case.calls], o.OPERATION)
    result = vma_child.run_sequence(ops, SETTING._replace(smaps_every=1))
    assert (result.verdict, result.ops) == (AGREED, len(ops)), result.told


def test_random_operations_agree():
    report = vma_oracle.compare(100_000 if JIT_ENABLED else 2000, 11, length=4000 if JIT_ENABLED else 500)
    assert report.mismatches == 0, vma_oracle.as_text(report, 11)
    assert report.ops == (100_000 if JIT_ENABLED else 2000)
    splits, left, right, both = report.counts
    assert splits > report.ops // 10 and min(left, right, both) > report.ops // 2000
    assert report.smaps_checks >= report.ops // 200
    assert (report.forks > 20) == JIT_ENABLED


@pytest.mark.parametrize("rule", list(RULE))
def test_each_rule_that_is_missing_is_found_and_told_in_few_operations(rule):
    if rule in ("fork_chain", "reuse", "anon_vma") and not JIT_ENABLED:
        pytest.skip("rare: takes minutes as plain Python")
    done, most = 0, MUTANTS[rule]
    for seed in range(100):
        ops = o.generate(np.random.default_rng([3, seed]), min(most - done, 1000))
        setting = SETTING._replace(without=(rule,))
        result = vma_child.run_sequence(ops, setting)
        done += result.ops
        if result.verdict != AGREED or done >= most:
            break
    assert result.verdict == DIFFERS, f"not found in {done} operations"
    ops, result = vma_oracle.shrink(ops, result, setting)
    assert len(ops) <= SHORT, [o.text_of(op) for op in ops]
    assert result.told["op"] == len(ops) - 1
    assert vma_child.run_sequence(ops, SETTING._replace(smaps_every=1)).verdict == AGREED, "with the rule they agree"


def test_without_the_ioctl_smaps_is_read_after_each():
    setting = SETTING._replace(by_query=False)
    ops = o.generate(np.random.default_rng(4), 300, fork_every=100)
    result = vma_child.run_sequence(ops, setting)
    assert (result.verdict, result.ops) == (AGREED, 300)
    assert result.checks >= 300
    result = vma_child.run_sequence(ops, setting._replace(without=("pgoff",)))
    assert (result.verdict, result.told["what"]) == (DIFFERS, "mappings")


def test_a_flag_that_only_smaps_shows_is_found_at_the_end_and_before_a_fork():
    setting = SETTING._replace(without=("account",))
    for last in ([], ["fork"]):
        result = vma_child.run_sequence(sequence("mmap 0-3 rw", *last), setting)
        assert (result.verdict, result.told["what"]) == (DIFFERS, "flags")


def test_a_difference_in_a_child_of_a_child_is_told():
    ops = sequence("mmap 0-3 rw", "write 0", "fork", "fork", "mmap 4-7 rw", "fork", "munmap 0-7")
    result = vma_child.run_sequence(ops, SETTING._replace(without=("fork_chain",)))
    assert (result.verdict, result.told["op"], result.told["what"]) == (DIFFERS, 4, "mappings")


@pytest.mark.parametrize("depth", [0, 2])
def test_a_killed_child_is_told(monkeypatch, depth):
    """Also one that a FORK has made."""
    forks = sequence(*["fork"] * depth, "mmap 0-3 rw")

    def killed(self):
        if self.state[vma_live.NEXT] == depth:
            os.kill(os.getpid(), signal.SIGKILL)
        return run(self)

    run = vma_child._Child.run
    monkeypatch.setattr(vma_child._Child, "run", killed)
    result = vma_child.run_sequence(forks, SETTING)
    assert (result.verdict, result.told["how"]) == (DIED, "SIGKILL")


def test_a_child_that_fails_is_told(monkeypatch, capfd):
    monkeypatch.setattr(vma_child._Child, "run", lambda self: 1 // 0)
    result = vma_child.run_sequence(sequence("mmap 0-3 rw"), SETTING)
    assert (result.verdict, result.told["how"]) == (DIED, "exit status 70")
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_child_that_hangs_is_killed_with_its_children(monkeypatch):
    def hangs(self):
        if self.state[vma_live.NEXT] == 1:
            time.sleep(600)
        return run(self)

    run = vma_child._Child.run
    monkeypatch.setattr(vma_child._Child, "run", hangs)
    monkeypatch.setattr(vma_child, "PATIENCE_S", 1.0)
    result = vma_child.run_sequence(sequence("fork", "mmap 0-3 rw"), SETTING)
    assert result.verdict == HUNG
    ops = sequence("fork")
    assert vma_oracle.shrink(ops, result, SETTING) == (ops, result)


def test_the_parent_is_interrupted(monkeypatch):
    """What it was waiting for is killed."""

    def interrupted(pid, shared):
        raise KeyboardInterrupt

    monkeypatch.setattr(vma_child, "_watch", interrupted)
    monkeypatch.setattr(vma_child._Child, "run", lambda self: time.sleep(600))
    with pytest.raises(KeyboardInterrupt):
        vma_child.run_sequence(sequence("mmap 0-3 rw"), SETTING)


def test_shrinking_keeps_what_is_needed_only(monkeypatch):
    """Against a made-up fault: a munlock some time after two forks."""

    def run(ops, setting):
        kinds = ops["op"].tolist()
        forks = [i for i, kind in enumerate(kinds) if kind == o.FORK]
        for i, kind in enumerate(kinds):
            if kind == o.MUNLOCK and sum(f < i for f in forks) >= 2:
                return Result(DIFFERS, i + 1, 0, (0, 0, 0, 0), {"op": i})
        return Result(AGREED, len(ops), 0, (0, 0, 0, 0), {})

    monkeypatch.setattr(vma_oracle, "run_sequence", run)
    ops = o.generate(np.random.default_rng(5), 600, fork_every=20)
    left, result = vma_oracle.shrink(ops, run(ops, SETTING), SETTING)
    assert left["op"].tolist() == [o.FORK, o.FORK, o.MUNLOCK]
    assert result.told["op"] == 2


def test_command(capsys):
    assert cli.main(["kernel", "vma", "--ops", "300", "--seed", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ops"], found["mismatches"], found["mismatch"]) == (300, 0, None)
    assert found["splits"] > 0
    assert found["merges"] == found["merges_left"] + found["merges_right"] + found["merges_both"]
    assert found["ops_per_second"] > 0
    assert found["ran_on"]["kernel"] == os.uname().release
    assert cli.main(["kernel", "vma", "--ops", "300"]) == 0
    assert "300 operations in 1 sequences" in capsys.readouterr().out


def test_command_with_a_mismatch(capsys):
    arguments = ["kernel", "vma", "--ops", "100", "--without", "move_pgoff"]
    assert cli.main(arguments) == 1
    text = capsys.readouterr().out
    for part in ("mismatch", "mremap", "what differs: mappings", "before (model):", "after, model:", "after, kernel:"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 130
    assert cli.main([*arguments, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["mismatches"] >= 1
    assert found["mismatch"]["what"] == "mappings"
    assert len(found["mismatch"]["ops"]) <= SHORT


def test_text_of_other_mismatches():
    """A call that returns something else; a process that dies."""
    told = {"what": "result", "model_result": 0, "kernel_result": -12, "before": [], "model": [], "kernel": []}
    for result, part in (
        (Result(DIFFERS, 1, 0, (0,) * 4, told), "returns 0 in the model, ENOMEM in the kernel"),
        (Result(DIED, 1, 0, (0,) * 4, {"op": 0, "how": "SIGSEGV"}), "the process died (SIGSEGV)"),
        (Result(HUNG, 1, 0, (0,) * 4, {"op": 0}), "the process hung (no progress)"),
    ):
        mismatch = vma_oracle.Mismatch(0, 1, sequence("munmap 0-3"), result)
        report = vma_oracle.Report(1, 1, 0, 0, 1, (0, 0, 0, 0), 1.0, 1.0, mismatch, vma_oracle._ran_on(SETTING))
        assert part in vma_oracle.as_text(report, 1)
        assert "1 mismatch\n" in vma_oracle.as_text(report, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--ops", "0"], "--ops"), (["--seed", "-1"], "--seed"), (["--without", "pgof"], "pgoff")],
)
def test_wrong_usage(arguments, told, capsys):
    assert cli.main(["kernel", "vma", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


class Uname:
    sysname, machine, release = "Linux", "x86_64", "6.18.0"


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ({"machine": "riscv64"}, "x86_64"),
        ({"release": "6.6.1"}, "6.12"),
        ({"sysname": "Plan9"}, "Linux"),
    ],
)
def test_what_is_missing_is_told_in_one_line(monkeypatch, capsys, what, told):
    monkeypatch.setattr(os, "uname", lambda: type("Other", (Uname,), what))
    assert cli.main(["kernel", "vma"]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "skipped" in error
    assert error.count("\n") == 1


def test_more_that_may_be_missing(monkeypatch, tmp_path):
    strict = tmp_path / "overcommit_memory"
    strict.write_text("2\n")
    monkeypatch.setattr(vma_oracle, "OVERCOMMIT", strict)
    with pytest.raises(needs.Unavailable, match="overcommit"):
        vma_oracle.check_needs()
    monkeypatch.setattr(o, "PAGE_SIZE", 65536)
    with pytest.raises(needs.Unavailable, match="65536"):
        vma_oracle.check_needs()
    monkeypatch.setattr(vma_child, "open_unnamed", lambda directory: os.open(tmp_path / "none", os.O_RDWR))
    with pytest.raises(needs.Unavailable, match="O_TMPFILE"):
        vma_child.real_directory()
