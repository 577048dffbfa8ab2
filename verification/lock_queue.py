"""Waiting at a lock: M/D/1 at ``i_mmap_rwsem`` and at the zone's LRU lock.

Many threads, each on a CPU of its own, submit direct IOs of one page as a Poisson process: the next one is taken by
whoever is free. Only what is done under the lock takes time, and always the same: inserting the pinned range
(``vma-common``, the semaphore is held for writing, waiters sleep), or isolating the page from the LRU (``lru-count``, a
spinlock, waiters spin on their CPUs). The device takes longer than all submissions together, so that no completion
comes in between: an interrupt goes before the thread of its CPU.

    wait = u hold / (2 (1 - u)),    u = rate hold

(Pollaczek-Khinchine for a fixed time; Kleinrock, Queueing Systems I, 1975, chapter 5.) A finite number of threads
makes an arrival wait for a thread, unmeasured, where all of them queue at the lock; so many are there that the chance
of that is below `NO_THREAD` (the tail of M/D/1 falls off as z^-n, with exp(u (z - 1)) = z).

Compared: the histogram SUBMIT, from the beginning of a direct IO to the submission of its bio, less the hold. And, with
no chance left in it, its sum with Lindley's recursion (1952) over the same arrivals: equal to the picosecond.
"""

import math

import numpy as np

from verification import stage
from verification.check import Axes, Size
from verification.device_queue import WARM_UP, total_in_system
from verification.estimates import Bounded, Case, Mean
from workbench.mm import registers as R

NAME = "lock_queue"
TITLE = "Waiting at a lock: M/D/1"
FORMULA = "wait = u hold / (2 (1 - u))"
SOURCES = (
    "Kleinrock, Queueing Systems I (1975), chapter 5",
    "Lindley (1952), Proc. Camb. Phil. Soc. 48: the recursion",
)
ASSUMED = (
    "only the hold takes time; no completion comes before the last submission; threads enough that all of them are"
    " at the lock with a chance below 1e-6."
)
AXES = Axes("share of the time in which the lock is held", "mean wait [units of the hold]")
HOLD_NS = 1000
LOCKS = {  # design, and the counter whose cost is the hold
    "i_mmap_rwsem": ("tracker=vma-common:release=backpointer,cleaning=ignore", "ALLOC"),
    "LRU lock": ("tracker=lru-count,cleaning=ignore", "LRU_ISOLATE"),
}
USES = (0.3, 0.5, 0.7, 0.8)
NO_THREAD = 1e-6
SLOTS = 1024  # direct IOs that a thread can have in flight
EXACT = "less recursion [ps]"


def run(size: Size) -> list[Case]:
    """Compare at each use of each lock, and once with the recursion.

    Parameters
    ----------
    size : Size
    """
    cases = []
    for k, (lock, use) in enumerate((lock, use) for lock in LOCKS for use in size.some(USES)):
        seeds = range(1000 * k, 1000 * k + size.replications)
        waits = tuple(replication(lock, use, size.ios // 3, seed)[0] for seed in seeds)
        cases.append(Case(lock, use, Mean(waits), formula(use), slack=NO_THREAD * formula(use)))
    for lock in LOCKS:
        _, off = replication(lock, USES[-1], size.ios // 3, seed=1)
        cases.append(Case(f"{lock} {EXACT}", USES[-1], Bounded(off), 0.0))
    return cases


def curve(use: float) -> dict[str, float]:
    """What the formula says at a use of the lock, by series."""
    return dict.fromkeys(LOCKS, formula(use))


def formula(use: float) -> float:
    """Mean wait in units of the hold."""
    return use / (2 * (1 - use))


def threads_for(use: float) -> int:
    """So many that with a chance of `NO_THREAD` at most all of them are at the lock."""
    low, high = 1.0 + 1e-9, 1e6
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if math.exp(min(use * (middle - 1), 700)) < middle else (low, middle)
    return math.ceil(-math.log(NO_THREAD) / math.log(low)) + 1


def replication(lock: str, use: float, ios: int, seed: int) -> tuple[float, float]:
    """One run.

    Returns
    -------
    wait : float
        Mean [holds], without the first IOs, which find the lock free.
    off : float
        Sum of all waits and holds less that of the recursion [ps].
    """
    arrivals = stage.poisson_ps(ios, 1000 * use / HOLD_NS, seed)
    first = ios // WARM_UP
    some, whole = (_run(lock, use, arrivals[:n], seed).total_ps(R.SUBMIT) for n in (first, ios))
    hold_ps = 1000 * HOLD_NS
    off = whole - total_in_system(arrivals, np.full(ios, hold_ps), 1)
    return (whole - some) / (ios - first) / hold_ps - 1, float(off)


def _run(lock: str, use: float, arrivals: np.ndarray, seed: int) -> stage.Run:
    design, counter = LOCKS[lock]
    full = -(-len(arrivals) // SLOTS)  # threads that may have all their slots in flight
    return stage.run(
        design, arrivals, seed, costs=stage.only(**{counter: HOLD_NS}), cpus=threads_for(use) + full, qd=SLOTS,
        size_kib=4, latency_us=2e-6 * float(arrivals[-1]), jitter=0.0, page_us=0.0, units=4096, tags=65536,
    )  # fmt: skip
