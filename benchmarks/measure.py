"""How a loop is timed beside its peer: CPU time of one pinned process, in turns, the best of several of each."""

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
