"""A process that simulates points for a worker: compiled code can't be interrupted, but a process can be ended.

It reads jobs from a pipe and answers on it, and ends with the one who started it, or when it has been idle.
"""

import ctypes
import fcntl
import math
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from typing import Any

import numba

from workbench import designs, results, simulate
from workbench.accelerate import JIT_ENABLED
from workbench.provenance import git_commit
from workbench.scenarios import OWN_DRIVER
from workbench.sweep.job import Answer, Job

IDLE_S = 60.0
BEGUN = "begun"
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
# What has the compiler see everything that a scenario needs, in the least time.
_SHORTEST: dict[str, dict[str, Any]] = {
    "direct-io": {"ios": 10, "qd": 1, "size_kib": 4},
    "virtual-vma": {"ranges": 2, "ops": 1},
    "rdma-longterm": {"pages": 1024, "duration_s": 1.0},
}


def main(descriptor: int) -> None:
    """Answer jobs until there are no more.

    Parameters
    ----------
    descriptor : int
        Of the pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is meant for the command, which ends this process
    _end_with_parent()
    connection = Connection(descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while connection.poll(IDLE_S):
            job = connection.recv()
            _prepare(job)
            connection.send(BEGUN)  # from here on its time counts
            connection.send(answer(job)._replace(job=None))  # who asked knows it


def _end_with_parent() -> None:
    """Ask Linux for a signal when the parent dies; and have it end this process first if memory runs out."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        Path("/proc/self/oom_score_adj").write_text("800")


def answer(job: Job) -> Answer:
    """Run one point; whatever goes wrong is an answer too."""
    start = monotonic()
    try:
        row = _row(job)
    except Exception as error:
        text = " ".join(f"{error}".split())
        line = text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"
        return Answer(job, None, {}, line, traceback.format_exc(), False, monotonic() - start)
    return Answer(job, row, {}, "", "", False, monotonic() - start)


def _row(job: Job) -> dict[str, Any]:
    """Simulate, and put what the spec says of the point in the place of absolute paths."""
    point = job.point
    result = simulate(point.scenario, job.design, seed=point.seed, cost_table=job.costs, **job.parameters)
    shown = {name: point.given[name] for name, path in job.parameters.items() if point.given[name] != path}
    told = {"design": point.design, "parameters": result.parameters | shown}
    metrics = {name: None if _unmeasured(value) else value for name, value in result.metrics.items()}
    row = results.row(result.provenance | told, job.tracker, metrics, result.counters, commit=_commit())
    return row | {"point": point.key}


def _unmeasured(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


_commit = cache(git_commit)  # that of the sources which this process runs


# ---- compiled once

_prepared: set[tuple[str, type]] = set()


def _prepare(job: Job) -> None:
    """Compile what the first job of its kind needs, or fetch it from disk, while no other process does.

    numba's cache on disk is not made for several writers: what one adds, another may lose (numba #4807, #10128).
    """
    scenario = job.point.scenario if job.point.scenario in OWN_DRIVER else "direct-io"
    with suppress(Exception):  # whatever is wrong, the point itself will say
        kind = (scenario, type(designs.parse(job.design).tracker))
        if JIT_ENABLED and kind not in _prepared:
            _prepared.add(kind)
            with _alone():
                simulate(scenario, job.design, cost_table=job.costs, **_SHORTEST[scenario])


@contextmanager
def _alone() -> Iterator[None]:
    folder = numba.config.CACHE_DIR
    if not folder or not os.access(folder, os.W_OK):
        yield  # nothing is kept on disk
        return
    with (Path(folder) / "sweep.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main(int(sys.argv[1]))
