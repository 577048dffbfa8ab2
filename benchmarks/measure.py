"""How a loop is timed beside its peer: CPU time of one pinned process, in turns, the best of several of each."""

import ctypes
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

PEERS = Path(__file__).parent / "peers"


class Skipped(Exception):
    """A peer is not installed; the text says what is needed."""


@contextmanager
def pinned() -> Iterator[None]:
    """Keep this process on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU time that one call takes [s]."""
    start = time.process_time()
    work()
    return time.process_time() - start


def best_of(repeats: int, *works: Callable[[], Any]) -> list[float]:
    """Least CPU time of each [s]; they take turns, so that what else the machine does meets all of them."""
    with pinned():
        rounds = [[cpu_seconds(work) for work in works] for _ in range(repeats)]
    return [min(times) for times in zip(*rounds, strict=True)]


def compiled(source: str) -> ctypes.CDLL:
    """Compile a C peer with ``gcc -O2`` and load it.

    Parameters
    ----------
    source : str
        Its file in ``benchmarks/peers``.

    Raises
    ------
    Skipped
        There is no gcc.
    """
    gcc = shutil.which("gcc")
    if gcc is None:
        raise Skipped("needs gcc")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, Path(source).stem + ".so")
        subprocess.run([gcc, "-std=c11", "-O2", "-shared", "-fPIC", "-o", made, PEERS / source], check=True)
        return ctypes.CDLL(str(made))


class Seconds(NamedTuple):
    """How long other processes took: by the clock, and of CPU [s]."""

    clock: float
    cpu: float


def timed(work: Callable[[], Any]) -> Seconds:
    """Time work that is done in child processes, which have ended when it returns."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    work()
    clock = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def with_package() -> dict[str, str]:
    """Give the environment of a child process that imports this checkout's package."""
    paths = filter(None, [str(PEERS.parent.parent), os.environ.get("PYTHONPATH")])
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
