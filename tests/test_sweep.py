"""Batches: all points arrive, once, whatever dies on the way; what fails is kept beside the rest."""

import fcntl
import io
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from multiprocessing import Pipe
from pathlib import Path

import jupytext
import psutil
import pytest
from distributed import KilledWorker

import workbench
from workbench import batch, cli, costs, designs, results
from workbench.accelerate import JIT_ENABLED
from workbench.code_cache import source_hash
from workbench.errors import BatchError, UsageError
from workbench.sweep import child, job, listing, progress, run, spec, worker
from workbench.sweep.run import sweep

DESIGN = "tracker=vma-common:release=split"
SPEC = {"name": "b", "scenario": "virtual-vma", "designs": [DESIGN], "set": {"ops": 3}}
FEW = SPEC | {"seeds": [1, 2], "grid": {"ranges": [5, 6, 7]}}
TOML = f"""name = "b"
scenario = "virtual-vma"
designs = ["{DESIGN}"]
replications = 10
[set]
ops = 3
[grid]
ranges = [5, 6, 7, 8, 9, 10]
"""
POINTS = 60
NOTEBOOK = """# %% tags=["parameters"]
quick: bool = False  # less
figures_dir = "../figures"  # where
mode = "good"  # what happens

# %%
import os, sys, time
from pathlib import Path
print(figures_dir)
if mode == "bad":
    raise ValueError("two\\nlines")
if mode == "hang":
    Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
    time.sleep(600)
if mode == "die":
    os._exit(7)
Path(figures_dir, "deep").mkdir()
Path(figures_dir, "deep", "seen.txt").write_text(mode)
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    path = tmp_path / "n.ipynb"
    path.write_text(jupytext.writes(jupytext.reads(NOTEBOOK, "py:percent"), "ipynb"))
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    return path


def quietly(source, out, **settings):
    return sweep(source, out=out, stream=io.StringIO(), **settings)


def left(before):
    """Processes below this one that were not there before: other tests may have started some that stay."""
    return [process for process in psutil.Process().children(recursive=True) if process not in before]


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def command(*words):
    return [sys.executable, "-m", "workbench", "sweep", *map(str, words)]


def environment():
    return os.environ | {"PYTHONPATH": str(batch.ROOT)}


def test_a_sweep_is_its_points_simulated(tmp_path):
    """Rows are those that `simulate` gives; again, nothing is run; fewer workers and another order change nothing."""
    text = io.StringIO()
    summary = sweep(FEW, out=tmp_path / "a", jobs=2, stream=text)
    assert (summary.points, summary.before, summary.done, summary.failed) == (6, 0, 6, 0)
    assert text.getvalue().startswith("6 points, 0 of them done before\n")
    frame = results.load(tmp_path / "a")
    for told in frame.to_dict("records"):
        alone = workbench.simulate(
            "virtual-vma", DESIGN, seed=told["seed"], ops=3, ranges=json.loads(told["parameters"])["ranges"]
        )
        own = results.checked(results.row(alone.provenance, "vma-common:release=split", alone.metrics))
        assert {n: told[n] for n in own if own[n] == own[n] and n in alone.metrics} == {
            n: v for n, v in own.items() if n in alone.metrics and v == v
        }
        assert told["tracker"] == designs.parse(DESIGN).tracker_name and told["parameters"] == own["parameters"]
    before = files(tmp_path / "a")
    again = quietly(FEW, tmp_path / "a")
    assert (again.before, again.done) == (6, 6) and files(tmp_path / "a") == before
    turned = FEW | {"seeds": [2, 1], "grid": {"ranges": [7, 5, 6]}}
    quietly(turned, tmp_path / "b", jobs=1)
    assert files(tmp_path / "b")["results.parquet"] == before["results.parquet"]


def test_nothing_listens_but_on_loopback(tmp_path):
    """Nor on a port that another cluster may have."""
    with run._local(2, notebooks=True) as client, run._local(1, notebooks=True):
        heard = {c.laddr for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN}
        assert client.submit(int, "3").result(timeout=30) == 3
    assert {address.ip for address in heard} == {"127.0.0.1"} and 8787 not in {address.port for address in heard}


def test_time_limits_and_deaths_are_failed_points(tmp_path, monkeypatch):
    """A point that takes too long, and one whose process is killed, are tried again as the spec says; others go on."""
    slow = SPEC | {
        "time_limit": "0.5 s",
        "retries": 1,
        "set": {},
        "points": [{"ops": 1_000_000, "ranges": 1_000_000}, {"ops": 4, "ranges": 4}, {"ops": 5, "ranges": 5}],
    }
    asked = worker._Process.ask
    killed = []
    before = left([])

    def ask(process, given, limit_s):
        if given.parameters["ops"] == 5:
            killed.append(given.attempt)
            process.process.kill()
        return asked(process, given, limit_s)

    monkeypatch.setattr(worker._Process, "ask", ask)
    summary = quietly(slow, tmp_path, jobs=2)
    assert (summary.done, summary.failed) == (1, 2) and killed == [1, 2]
    errors = {f["point"]["parameters"]["ops"]: (f["error"], f["attempts"]) for f in summary.failures}
    assert errors == {
        1_000_000: ("time limit of 0.5 s reached", 2),
        5: ("the process that ran it was ended by SIGKILL", 2),
    }
    assert results.load(tmp_path)["parameters"].str.contains('"ops": 4').tolist() == [True]
    monkeypatch.undo()
    summary = quietly(slow | {"points": slow["points"][1:]}, tmp_path)
    assert (summary.before, summary.done, summary.failed) == (1, 2, 0)
    assert len(list((tmp_path / "failed").iterdir())) == 1  # of the point that this batch has not
    assert left(before) == []


@pytest.mark.skipif(JIT_ENABLED, reason="a tracker of one's own compiles for long; what is held is about batches")
def test_a_tracker_of_ones_own_that_raises(tmp_path, capsys):
    """It runs only if it is named, fails in a process beside, and keeps its traceback; the command exits with 1."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from typing import NamedTuple\n"
        "from workbench.trackers.protocol import IN_GUP, LOCK_NONE, implements, is_pinned, pin, unpin\n"
        "class Mine(NamedTuple):\n    when: int = IN_GUP\n    lock: int = LOCK_NONE\n"
        "@implements(Mine)\ndef pin(tracker, world, page):\n    world.sys[10**9] = 1\n"
        "@implements(Mine)\ndef unpin(tracker, world, page, handle):\n    pass\n"
        "@implements(Mine)\ndef is_pinned(tracker, world, page):\n    return False\n"
    )
    (tmp_path / "s.toml").write_text(f'scenario = "golden-race"\ndesigns = ["tracker={mine}:Mine", "v4.17"]\n')
    words = ["sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "o"), "--jobs", "1"]
    assert cli.main(words) == 2
    assert "is code, and a spec is none" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    assert cli.main([*words, "--allow", str(mine)]) == 1
    assert "1 of 2 points done, 1 failed" in capsys.readouterr().out
    (told,) = listing.failures(str(tmp_path / "o"))
    assert "mine.py, line 8: IndexError: pin raises" in told["error"] or "pin raises IndexError" in told["error"]
    assert any("IndexError" in line for line in told["traceback"])


def test_reports(tmp_path, book):
    """Executed notebooks with their figures; what fails is beside them, and goes when it succeeds."""
    out = tmp_path / "o"
    grid = {"name": "r", "notebook": str(book), "time_limit": "30 s", "grid": {"mode": ["good", "bad", "die"]}}
    summary = quietly(grid | {"retries": 0}, out, jobs=2, allow=[book])
    assert (summary.done, summary.failed) == (1, 2)
    errors = {f["point"]["parameters"]["mode"]: f["error"] for f in summary.failures}
    assert errors["bad"] == "n: In [3]: ValueError: two lines" and "DeadKernelError" in errors["die"]
    key = results.load(out)["point"].tolist()
    assert results.load(out)["notebook"].tolist() == ["n"] and len(key) == 1
    good = out / "notebooks" / key[0]
    assert (good / "deep" / "seen.txt").read_text() == "good"
    assert str(tmp_path) not in (good / "n.ipynb").read_text()
    for failure in summary.failures:
        folder = Path(failure["folder"])
        assert (folder / "n.ipynb").exists()
        told = json.loads((folder / "failure.json").read_text())
        assert told["error"] == failure["error"]
        if told["point"]["parameters"]["mode"] == "bad":
            assert any("ValueError" in line for line in told["traceback"])
    first = files(good)
    (good / "n.ipynb").unlink()
    (good / "deep" / "seen.txt").unlink()
    (good / "deep").rmdir()
    good.rmdir()
    only_good = grid | {"grid": {"mode": ["good"]}}
    summary = quietly(only_good, out, allow=[book])
    assert (summary.before, summary.done) == (0, 1) and files(good) == first  # the same bytes in another run
    assert quietly(only_good, out, allow=[book]).before == 1


def test_a_notebook_is_the_same_however_its_output_came():
    """The kernel sends what has been printed every 0.2 s, in as many pieces."""

    def book(*pieces):
        outputs = [{"output_type": "stream", "name": name, "text": text} for name, text in pieces]
        cells = [{"cell_type": "code", "metadata": {}, "outputs": outputs}, {"cell_type": "markdown", "metadata": {}}]
        return {"metadata": {}, "cells": cells}

    once = worker.tidy(book(("stdout", ["a\n", "b\n", "c"]), ("stderr", ["x"])), "figures")
    assert worker.tidy(book(("stdout", ["a\n"]), ("stdout", "b\nc"), ("stderr", ["x"])), "figures") == once
    assert worker.tidy(book(("stdout", ["a\n"]), ("stderr", ["x"]), ("stdout", "b\nc")), "figures") != once


def test_a_notebook_that_hangs(tmp_path, book, monkeypatch):
    """Its kernel ends with it."""
    pid = tmp_path / "pid"
    monkeypatch.setattr(batch, "monotonic", lambda: 61.0 if pid.exists() and pid.read_text() else 0.0)
    hang = {"notebook": str(book), "time_limit": 60, "retries": 0, "set": {"mode": "hang"}}
    summary = quietly(hang, tmp_path / "o", allow=[book])
    assert [f["error"] for f in summary.failures] == ["n: time limit of 60 s reached after 2/3 cells"]
    assert (Path(summary.failures[0]["folder"]) / "n.ipynb").exists()
    assert not psutil.pid_exists(int(pid.read_text()))


TABLE = {"kernel": "Linux", "cpu": "a CPU", "provenance": "5 runs"}
ASKS = """# %% tags=["parameters"]
figures_dir = "../figures"  # where

# %%
import json
from pathlib import Path
from workbench import costs
Path(figures_dir, "seen.json").write_text(json.dumps([costs.in_use().name, costs.in_use().sha256]))
"""


def a_cost_table(path, name):
    dear = {"ns": 9000.0, "provenance": "assumed", "source": "why"}
    path.write_text(json.dumps(TABLE | {"name": name, "entries": {"ALLOC": dear, "RB_VISITED": dear}}))
    return path


def test_a_cost_table_goes_with_the_points(tmp_path, cluster):
    """To simulations and to notebooks, also where its file is not; a worker's own table is not used."""
    address, _ = cluster
    mine = a_cost_table(tmp_path / "mine.json", "mine")
    table = costs.load(mine)
    path = tmp_path / "asks.ipynb"
    path.write_text(jupytext.writes(jupytext.reads(ASKS, "py:percent"), "ipynb"))
    (tmp_path / "asks.toml").write_text(f'notebook = "{path}"\n')
    words = ["sweep", str(tmp_path / "asks.toml"), "--allow", str(path), "--costs", str(mine)]
    assert cli.main([*words, "--out", str(tmp_path / "here"), "--jobs", "1"]) == 0
    assert cli.main([*words, "--out", str(tmp_path / "there"), "--scheduler", address]) == 0
    assert files(tmp_path / "here") == files(tmp_path / "there")
    quietly(tmp_path / "asks.toml", tmp_path / "there", allow=[path], scheduler=address)
    seen = [json.loads(p.read_text()) for p in (tmp_path / "there").rglob("seen.json")]
    assert sorted(seen) == [["default", None], ["mine", table.sha256]]
    one = SPEC | {"set": {"ops": 3, "ranges": 5}}
    quietly(one, tmp_path / "there", scheduler=address, cost_file=mine)
    quietly(one, tmp_path / "there", scheduler=address)
    frame = results.load(tmp_path / "there")
    assert frame["cost_table_sha256"].fillna("").tolist().count(table.sha256) == 2 and len(frame) == 4
    for told in frame[frame["scenario"] == "virtual-vma"].to_dict("records"):
        own = table if told["cost_table_sha256"] == table.sha256 else costs.DEFAULT
        metrics = workbench.simulate("virtual-vma", DESIGN, cost_table=own, ops=3, ranges=5).metrics
        assert all(told[name] == value for name, value in metrics.items() if value == value)
        assert metrics["pin_hold_max_ns"] > 9000 or own is costs.DEFAULT


def test_a_cost_table_that_is_damaged(tmp_path, capsys):
    """It is refused before the store is made."""
    bad = a_cost_table(tmp_path / "bad.json", "default")
    (tmp_path / "s.toml").write_text(TOML)
    assert cli.main(["sweep", str(tmp_path / "s.toml"), "--costs", str(bad), "--out", str(tmp_path / "o")]) == 2
    assert "bad.json: name: is 'default'" in capsys.readouterr().err and not (tmp_path / "o").exists()


def gone(processes, seconds=30):
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "s.toml").write_text(TOML)
    done = subprocess.run(
        command(folder / "s.toml", "--out", folder / "o"), env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0 and f"{POINTS} of {POINTS} points done" in done.stdout
    return folder


def rows_so_far(store):
    return sum(path.read_bytes().count(b"\n") for path in (store / ".journal").glob("*.jsonl"))


KILLS = int(os.environ.get("WORKBENCH_TEST_KILLS", "3"))


def test_killed_at_random_it_ends_up_the_same(tmp_path, undisturbed):
    """SIGKILL before, between and after rows; nothing that it has started goes on."""
    rng = random.Random(KILLS)
    out = tmp_path / "o"
    for n in range(KILLS):
        want = rows_so_far(out) + rng.choice([0, 1, 10, 25])
        process = subprocess.Popen(
            command(undisturbed / "s.toml", "--out", out, "--jobs", 2), env=environment(), stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 60
        while process.poll() is None and rows_so_far(out) < max(want, n > 0) and time.monotonic() < until:
            time.sleep(rng.random() / 50)
        time.sleep(rng.random() / 5)
        below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        assert gone(below)
    done = subprocess.run(command(undisturbed / "s.toml", "--out", out), env=environment(), capture_output=True)
    assert done.returncode == 0
    assert files(out) == files(undisturbed / "o")


def test_sigterm_ends_all_and_keeps_what_is_done(tmp_path, undisturbed):
    out = tmp_path / "o"
    process = subprocess.Popen(
        command(undisturbed / "s.toml", "--out", out, "--jobs", 2), env=environment(), stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and rows_so_far(out) == 0:
        time.sleep(0.02)
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert process.returncode in (143, 0) and "Traceback" not in words
    assert gone(below)
    assert len(results.load(out)) > 0 and not (out / ".journal").exists()


def test_two_batches_at_once_in_one_store(tmp_path, undisturbed):
    out = tmp_path / "o"
    words = command(undisturbed / "s.toml", "--out", out, "--jobs", 1)
    both = [subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert files(out) == files(undisturbed / "o")


@pytest.fixture
def cluster(tmp_path):
    """Two workers of a scheduler, started apart; gives its address and the workers."""
    started = []

    def start(*words):
        log = (tmp_path / f"log{len(started)}").open("wb")
        with log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", *words],
                    cwd=tmp_path,
                    env=environment() | {costs.VARIABLE: str(other)},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
        return started[-1]

    other = a_cost_table(tmp_path / "other.json", "other")  # which no point is to use
    file = tmp_path / "scheduler.json"
    start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
          "--scheduler-file", file)  # fmt: skip
    workers = [
        start("distributed.cli.dask_worker", "--scheduler-file", file, "--nthreads", "1", "--no-nanny",
              "--no-dashboard", "--local-directory", tmp_path, "--death-timeout", "60")
        for _ in range(2)
    ]  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"], workers
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_cluster_of_which_a_worker_is_killed(tmp_path, undisturbed, cluster):
    address, workers = cluster
    out = tmp_path / "o"
    process = subprocess.Popen(command(undisturbed / "s.toml", "--out", out, "--scheduler", address), env=environment())
    while process.poll() is None and rows_so_far(out) < 3:
        time.sleep(0.02)
    below = psutil.Process(workers[0].pid).children(recursive=True)
    workers[0].kill()
    workers[0].wait()
    assert process.wait(timeout=120) == 0
    assert files(out) == files(undisturbed / "o")
    assert gone(below)


def test_a_scheduler_that_is_killed(tmp_path, cluster):
    """The command ends with one line; what is done is kept."""
    address, _ = cluster
    (tmp_path / "s.toml").write_text(TOML.replace("replications = 10", "replications = 2000"))
    process = subprocess.Popen(
        command(tmp_path / "s.toml", "--out", tmp_path / "o", "--scheduler", address),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and rows_so_far(tmp_path / "o") < 3:
        time.sleep(0.02)
    port = int(address.rpartition(":")[2])
    (scheduler,) = [p for p in psutil.Process().children() if any(c.laddr.port == port for c in _heard(p))]
    scheduler.kill()
    _, words = process.communicate(timeout=120)
    assert process.returncode == 1 and words.splitlines()[-1].endswith(
        "it is gone; what is done is kept, and the same command goes on"
    )
    assert "Traceback" not in words and len(results.load(tmp_path / "o")) >= 3


def _heard(process):
    return [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN]


def test_a_cluster_that_is_lost(tmp_path, cluster, monkeypatch):
    """Without workers the batch says so; what is done is kept."""
    address, workers = cluster
    for process in workers:
        process.kill()
        process.wait()
    monkeypatch.setattr(run, "NO_WORKER_S", 1.0)
    with pytest.raises(BatchError, match=r"scheduler tcp://127.0.0.1:\d+: no worker for 1 s; what is done is kept"):
        quietly(FEW, tmp_path / "o", scheduler=address)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("nonsense", "an address with a port is needed, such as tcp://"),
        ("tcp://127.0.0.1:99999", "an address with a port"),
        ("foo://127.0.0.1:1", "an address with a port"),
        ("tls://127.0.0.1:1", "can't be reached .*name no certificates"),
        ("tcp://127.0.0.1:1", r"can't be reached \(.*\); such as"),
    ],
)
def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch, address, says):
    monkeypatch.setattr(run, "CONNECT_S", 1)
    with pytest.raises(UsageError, match=says) as caught:
        quietly(FEW, tmp_path / "o", scheduler=address)
    assert "\n" not in str(caught.value) and not (tmp_path / "o").exists()


def test_jobs_and_schedulers(tmp_path):
    for settings, says in [({"jobs": 0}, "jobs=0"), ({"jobs": 1, "scheduler": "x:1"}, "workers of its own")]:
        with pytest.raises(UsageError, match=says):
            quietly(FEW, tmp_path / "o", **settings)


def test_commands(tmp_path, capsys, undisturbed):
    out = tmp_path / "o"
    (tmp_path / "s.toml").write_text(TOML.replace("replications = 10", "replications = 1"))
    (tmp_path / "bad.toml").write_text(TOML.replace("ranges", "rangs"))
    assert cli.main(["sweep", str(tmp_path / "s.toml"), "--out", str(out), "--jobs", "1"]) == 0
    assert "b: 6 of 6 points done, in " in capsys.readouterr().out
    assert cli.main(["sweep", str(tmp_path / "s.toml"), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["points"], told["before"], told["done"], told["failed"]) == (6, 6, 6, 0)
    for words, says in [
        ([tmp_path / "bad.toml"], "bad.toml, line 8: scenario virtual-vma has no parameter 'rangs'"),
        ([tmp_path / "s.toml", "--jobs", "0"], "--jobs 0: 1 or more"),
        ([tmp_path / "s.toml", "--jobs", "1", "--scheduler", "x:1"], "--jobs: a scheduler has"),
        ([tmp_path / "s.toml", "--out", tmp_path / "s.toml"], "can't be written to"),
    ]:
        assert cli.main(["sweep", *map(str, words)]) == 2
        err = capsys.readouterr().err
        assert says in err and err.count("\n") == 1
    assert cli.main(["results", str(out), "--where", "ranges>=9", "--columns", "tree_nodes"]) == 0
    shown = capsys.readouterr().out
    assert "2 rows" in shown and "batch b (virtual-vma): 6 points, 2 shown, 0 failed" in shown and "tree_nodes" in shown
    assert cli.main(["results", str(out), "--batch", "b", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 6 and rows[0]["parameters"]["ops"] == 3
    assert cli.main(["results", str(out), "--against", str(undisturbed / "o")]) == 0
    shown = capsys.readouterr().out
    assert "6 points in both; only in the first: 0, only in the second: 54" in shown and "no metric differs" in shown
    assert cli.main(["results", str(out), "--where", "ranges=9", "--against", "b", "--columns", "tree_nodes"]) == 0
    assert "%change" in capsys.readouterr().out
    assert cli.main(["results", str(out), "--against", "b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"]["both"] == 6
    assert cli.main(["results", str(out), "--failed"]) == 0
    assert "0 failed points" in capsys.readouterr().out
    assert cli.main(["results", str(tmp_path / "none")]) == 2
    assert cli.main(["results", str(tmp_path / "none"), "--failed"]) == 2


def test_a_failure_in_the_summary(tmp_path, capsys, monkeypatch):
    """Exit status 1, the first few failures, and where the rest is."""
    (tmp_path / "s.toml").write_text(TOML.replace("replications = 10", "replications = 1"))

    def failing(handful, limit_s, sources):
        return [job.Answer(j, None, {}, "no luck", "T\nB", False, 0.1) for j in pickle.loads(handful)], []

    monkeypatch.setattr(worker, "run", failing)
    monkeypatch.setattr(worker, "in_this_process", lambda _: nullcontext())
    words = ["sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "o"), "--jobs", "1"]
    assert cli.main(words) == 1
    shown = capsys.readouterr()
    assert "b: 0 of 6 points done, 6 failed" in shown.out and "and 3 more: workbench results" in shown.out
    assert shown.err.count("failed: virtual-vma, ") == 6
    assert cli.main(["results", str(tmp_path / "o"), "--failed"]) == 0
    assert "6 failed points" in capsys.readouterr().out
    assert cli.main(["results", str(tmp_path / "o"), "--failed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["traceback"] == ["T", "B"]


# ---- pieces


def a_job(**given):
    made = spec.read(SPEC | {"set": {"ops": 3, "ranges": 5} | given})
    return job.make(made.points[0], made)


class Sent(list):
    """A future of what has happened already."""

    def __init__(self, status, error=None):
        self.status, self.error, self.client = status, error, type("Client", (), {"scheduler": None})

    def exception(self):
        return self.error


def test_what_does_not_come_back(tmp_path):
    """Jobs of a worker that died are tried one by one, and one that does it again has failed; the rest is told."""
    made = spec.read(FEW)
    jobs = [job.make(point, made) for point in made.points[:2]]
    died = KilledWorker("run", None, 3)
    with run.Store(tmp_path) as store, progress.Progress(2, 0, io.StringIO()) as told:
        batch_run = run._Run(made, store, told, [])
        for status, error, says in [
            ("lost", None, "scheduler of this machine: it is gone; what is done is kept"),
            ("cancelled", None, "it is gone"),
            ("error", KeyError("x\ny"), r"a worker can't run points: KeyError: 'x\\ny'; what is done is kept"),
            ("error", UsageError("its sources"), "its sources"),
        ]:
            with pytest.raises((BatchError, UsageError), match=says):
                batch_run._not_answered(Sent(status, error), jobs)
        batch_run._not_answered(Sent("error", died), jobs)
        assert [batch_run._handful(), batch_run._handful()] == [[jobs[0]], [jobs[1]]]
        batch_run._not_answered(Sent("error", died), jobs[:1])
        assert [one.attempt for one in batch_run.alone] == [2] and not batch_run.failures
        batch_run._not_answered(Sent("error", died), [batch_run.alone.popleft()])
        assert [f["error"] for f in batch_run.failures] == ["its worker died, and those that tried again"]


def test_the_first_notebook_goes_alone_where_code_is_compiled(tmp_path, book, monkeypatch):
    made = spec.read({"notebook": str(book)}, allow=[book])
    monkeypatch.setattr(run, "JIT_ENABLED", True)
    with run.Store(tmp_path / "o") as store:
        under_way = run._Run(made, store, None, [])
        under_way.threads = 4
        assert under_way._room() == 1
        under_way.answered = 1
        assert under_way._room() == 8


def test_a_process_that_simulates(monkeypatch):
    """It says when it begins, answers, and ends when it has had nothing to do for a while."""
    monkeypatch.setattr(child, "IDLE_S", 0.0)
    monkeypatch.setattr(child, "_end_with_parent", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ours, theirs = Pipe()
    ours.send(a_job())
    child.main(os.dup(theirs.fileno()))
    assert ours.recv() == child.BEGUN
    answer = ours.recv()
    assert answer.job is None and answer.row["point"] == a_job().point.key
    ours.close()
    child.main(os.dup(theirs.fileno()))  # nobody is there any more
    theirs.close()


def test_what_has_to_be_compiled_is_compiled_once_and_by_one_process(tmp_path, monkeypatch):
    seen = []

    def simulated(*_, **given):
        with (tmp_path / "sweep.lock").open("wb") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen.append(given["ranges"])
        raise ValueError("which is for the point itself to say")

    monkeypatch.setattr(child, "JIT_ENABLED", True)
    monkeypatch.setattr(child, "_prepared", set())
    monkeypatch.setattr(child, "simulate", simulated)
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    for _ in range(2):
        child._prepare(a_job())
    assert seen == [2]
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    with child._alone():
        pass


def test_a_process_that_says_something_else(monkeypatch):
    """Its point has failed; another process is started for the next."""
    before = left([])
    monkeypatch.setattr(worker._Process, "_wait", lambda *_: "nonsense")
    with worker.in_this_process(0):
        answer = worker._simulated(a_job(), 1.0)
        monkeypatch.undo()
        assert answer.error == "the process that ran it spoke out of turn" and answer.again
        assert not worker._simulated(a_job(), 60.0).error
    assert not worker._processes and left(before) == []


def test_processes_that_go_because_they_are_idle(monkeypatch):
    """They are not held against a point, unless it never stops."""
    asked = []

    def ask(process, *_):
        asked.append(process)
        raise worker._Died("exited with 0")

    monkeypatch.setattr(worker._Process, "ask", ask)
    monkeypatch.setattr(worker._Process, "idle_and_gone", lambda _: True)
    with worker.in_this_process(1):
        answer = worker._simulated(a_job(), 1.0)
    assert len(asked) == 3 and answer.error.startswith("the process that was to run it ended at once")


def test_a_batch_that_ends(monkeypatch):
    """Who runs points for it stops, and so does who would."""
    with worker.in_this_process(1):
        worker.stop()
        with pytest.raises(worker.Stopped):
            worker.run(pickle.dumps([a_job()]), 1.0, source_hash())


def test_an_answer_in_this_process():
    good = child.answer(a_job())
    assert not good.error and good.row["tree_nodes"] > 0 and good.row["point"] == good.job.point.key
    bad = child.answer(a_job()._replace(parameters={"ranges": -1}))
    assert bad.row is None and "out of range" in bad.error and "Traceback" in bad.traceback and not bad.again


def test_files_go_to_workers_by_absolute_paths_and_to_rows_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("io,op,offset_bytes,size_bytes,submit_ns,complete_ns\n0,read,0,4096,0,5000\n")
    made = spec.read({"scenario": "direct-io", "designs": ["v4.17"], "set": {"trace": "t.csv"}})
    one = job.make(made.points[0], made)
    assert one.parameters == {"trace": str(tmp_path / "t.csv")}
    if not JIT_ENABLED:  # a tracker compiles for long
        assert child.answer(one).row["parameters"]["trace"] == "t.csv"


def test_a_worker_of_other_sources():
    with pytest.raises(UsageError, match="its sources of the package are others"):
        worker.run(pickle.dumps([a_job()]), 1.0, "other")


def test_a_worker_gives_back_what_it_has_not_begun(monkeypatch):
    jobs = [a_job(ranges=n) for n in (1, 2, 3)]
    monkeypatch.setattr(worker, "SLICE_S", -1.0)
    monkeypatch.setattr(worker, "_simulated", lambda given, _: given)
    assert worker.run(pickle.dumps(jobs), 1.0, source_hash()) == ([jobs[0]], jobs[1:])


def test_progress_elsewhere_than_on_a_terminal(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    text = io.StringIO()
    with progress.Progress(10, 2, text) as told:
        told.done()
        told.failed("x: why")
        now[0] = 20.0
        told.show()
        told.show()
    assert text.getvalue().splitlines() == [
        "10 points, 2 of them done before",
        "failed: x: why",
        "3 of 10 points done, 1 failed, 0.1 points/s, 60 s left",
    ]


def test_a_bar_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    text = Terminal()
    with progress.Progress(10, 2, text) as told:
        told.done()
        told.failed("x: why")
        told.show()
    assert "2/10" in text.getvalue() and "4/10" in text.getvalue()
    assert "failed: x: why" in text.getvalue() and "1 failed" in text.getvalue()


def test_a_bar_in_a_notebook(monkeypatch):
    """A widget; what has failed is written beside it."""
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    text = io.StringIO()
    with progress.Progress(10, 2, text) as told:
        told.done()
        told.failed("x: why")
        told.show()
        words = [f"{part.value}".replace("\u2007", " ") for part in told.bar.container.children]
    assert words[1] == "4.0" and "4/10" in words[2] and "1 failed" in words[2]
    assert text.getvalue() == "failed: x: why\n"
    monkeypatch.undo()
    shell = type("Shell", (), {"config": {"IPKernelApp": {}}})
    for found, expected in ((shell, True), (None, False)):
        monkeypatch.setattr("IPython.get_ipython", lambda found=found: found)
        assert progress._in_notebook() is expected
