"""How cost grows with what is simulated: pages, buffers, nodes, ranges, CPUs, depth; each beside a peer.

A *curve* is CPU time per unit of work (a page, an IO, a node) at several sizes n. What is fitted is the exponent of the
whole cost, n units of work, as a power of n: least squares through the logarithms, over the upper half of the sizes. Of
`rdma-longterm`, where what an hour costs however little memory there is would hide growth, the cost at the least size
is taken off first. Beyond the caches every program grows faster than n: so each peer is the same program in C, or, for
`rdma-longterm`, changes a word per page at random in as much memory, which is the worst that caches can do. Nothing may
grow faster than n log n, here n (1 + log2 n), unless its peer does too.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks import bench_direct_io, longterm
from benchmarks.measure import Skipped, best_of
from benchmarks.tree_pair import InC, Ours, check_trees, new_case
from workbench import simulate
from workbench.accelerate import jit

BIAS = longterm.DESIGNS[1]
RANGED = "tracker=vma-common:release=split"
LEAST_SIZES, LEAST_FACTOR = 3, 4  # of what an exponent is fitted to
IO_KIB = 1024
WORDS_OF_A_PAGE = 11 / 8  # memory that `rdma-longterm` takes per page (data/longterm_scale.csv)
SLOWEST_DISK = 0.1  # MiB/s, that `rdma-longterm` takes: in proportion to memory from 2^14 pages on
TOUCHES, LEAST_IOS, LEAST_OPERATIONS = 1 << 20, 2000, 10_000  # so that a point takes milliseconds


class Pair(NamedTuple):
    """CPU time per unit of work [ns]; None: the peer is not installed."""

    ours: float
    peer: float | None


class Curve(NamedTuple):
    """What grows.

    Attributes
    ----------
    name : str
        Of letters, digits and hyphens.
    n : str
        What the sizes are.
    each : str
        Unit of work.
    what : str
        What is run.
    peer : str
        What is measured beside it.
    sizes, quick : sequence of int
    measure : callable
        Gives the `Pair` at a size.
    fixed : bool
        The cost at the least size is no part of what grows.
    """

    name: str
    n: str
    each: str
    what: str
    peer: str
    sizes: Sequence[int]
    quick: Sequence[int]
    measure: Callable[[int], Pair]
    fixed: bool = False


# ---- the fit


def exponent_of(curve: Curve, sizes: Sequence[int], each: Sequence[float]) -> float:
    """Fit the power of n to a curve's points: `exponent`, less what is `Curve.fixed`."""
    if not curve.fixed:
        return exponent(sizes, each)
    least, cost = min(zip(sizes, each, strict=True))
    return exponent(sizes, [one - least * cost / n if n > least else one for n, one in zip(sizes, each, strict=True)])


def exponent(sizes: Iterable[int], each: Iterable[float]) -> float:
    """Fit the power of n as which the cost of n units of work grows, over the upper half of the sizes.

    Parameters
    ----------
    sizes : iterable of int
        From 1 on, in any order.
    each : iterable of float
        Cost of one unit of work at these sizes, in any unit.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        The upper half has fewer than `LEAST_SIZES` different sizes, or they are within a factor of `LEAST_FACTOR`.
    """
    n, cost = np.array(list(sizes), float), np.array(list(each), float)
    upper = upper_half(n)
    if len(set(n[upper])) < LEAST_SIZES or n.max() < LEAST_FACTOR * n[upper].min():
        raise ValueError(f"sizes {', '.join(f'{k:.0f}' for k in sorted(n))} are too few, or too near, for a fit")
    return float(np.polyfit(np.log(n[upper]), np.log((n * cost)[upper]), 1)[0])


def upper_half(sizes: Iterable[int]) -> np.ndarray:
    """Tell which sizes are at least the geometric mean of the least and the greatest."""
    n = np.array(list(sizes), float)
    return n >= math.sqrt(n.min() * n.max()) if len(n) else np.zeros(0, bool)


def of_n_log_n(n: float) -> float:
    """Share of one of n in n log n: the logarithm of 2 n to base 2, which is 1 at the least size."""
    return 1 + math.log2(n)


def exponent_of_n_log_n(sizes: Sequence[int]) -> float:
    """Fit the same to n log n."""
    return exponent(sizes, [of_n_log_n(n) for n in sizes])


# ---- what is measured


@jit
def _touch(words, count):
    """Change words here and there; where, a congruential generator of period 2^32 says, so no list takes memory."""
    place = np.uint64(1)
    for _ in range(count):
        place = (place * np.uint64(1664525) + np.uint64(1013904223)) & np.uint64((1 << 32) - 1)
        words[place * np.uint64(len(words)) >> np.uint64(32)] += 1


def pages(design: str) -> Callable[[int], Pair]:
    """`rdma-longterm`, a simulated hour; beside a random change of one word per page in as much memory."""

    def measure(n: int) -> Pair:
        repeats = 3 if n <= 1 << 20 else 1
        peer = _random_touch(n, repeats)  # first, since both would take twice the memory
        simulate("rdma-longterm", design, pages=4096, duration_s=1.0)  # compiles
        given = longterm.parameters(n)
        given["disk_mib_s"] = max(given["disk_mib_s"], SLOWEST_DISK)
        (ours,) = best_of(repeats, lambda: simulate("rdma-longterm", design, **given))
        return Pair(ours / n * 1e9, peer)

    return measure


def direct_io(work: int, ios: int, **given: object) -> Pair:
    """`simulate direct-io`, bias, beside C, for so many units of work; both are given their service times."""
    system = bench_direct_io.system(ios=ios, **given)

    def engine() -> bench_direct_io.Outcome:
        return bench_direct_io.by_engine(system.draws, ios=ios, **given)

    try:
        program = bench_direct_io.CProgram()
    except Skipped:
        engine()  # compiles
        return Pair(best_of(3, engine)[0] / work * 1e9, None)
    assert program.run(system)[:3] == engine()[:3], "the C program gives another result"
    ours, peer = best_of(3, engine, lambda: program.run(system))
    return Pair(ours / work * 1e9, peer / work * 1e9)


def buffers(n: int) -> Pair:
    """IOs of 1 MiB, into so many pages of buffers; each page is used several times."""
    io_pages = IO_KIB // 4
    slots = n // io_pages
    cpus = max(1, slots // 1024)
    ios = max(4 * slots, LEAST_IOS)
    return direct_io(ios * io_pages, ios, cpus=cpus, qd=slots // cpus, size_kib=IO_KIB, tags=65536)


def depth(ios: int) -> Callable[[int], Pair]:
    """So many IOs at a queue depth, of a device that serves them all at once, and so in any order."""
    device = {"units": 1024, "tags": 4096, "latency_us": 2000.0, "jitter": 1.0, "size_kib": 4}
    return lambda n: direct_io(ios, ios, qd=n, **device)


def cpus(ios: int) -> Callable[[int], Pair]:
    """So many IOs by so many CPUs; the device grows with them."""
    return lambda n: direct_io(ios, ios, cpus=n, qd=16, units=16 * n, tags=4096, size_kib=4)


def nodes(operations: int) -> Callable[[int], Pair]:
    """Erase and insert, in a tree of so many nodes."""

    def measure(n: int) -> Pair:
        case = new_case(n, operations)
        ours = Ours(case)
        ours.build()
        ours.move()
        each = case.each("move") / 1e9
        try:
            peer = InC(case)
        except Skipped:
            return Pair(best_of(3, ours.move)[0] / each, None)
        peer.build()
        peer.move()
        check_trees(ours, peer)
        mine, theirs = best_of(3, ours.move, peer.move)
        return Pair(mine / each, theirs / each)

    return measure


def ranges(n: int) -> Pair:
    """`virtual-vma`: so many ranges in the tree, and operations of each kind on them; beside the C tree.

    That is built, and each of its nodes is erased and inserted once.
    """
    least = max(n, LEAST_OPERATIONS)
    given = {"ranges": n, "placement": "random", "range_pages": 4, "ops": least}

    def ours() -> None:
        simulate("virtual-vma", RANGED, **given)

    ours()  # compiles
    (mine,) = best_of(3 if n < 10**6 else 2, ours)
    try:
        tree = InC(new_case(n, least))
    except Skipped:
        return Pair(mine / least * 1e9, None)
    (theirs,) = best_of(3, lambda: (tree.build(), tree.move()))
    return Pair(mine / least * 1e9, theirs / least * 1e9)


def _random_touch(n: int, repeats: int) -> float:
    """Nanoseconds that one change takes, of as much memory as so many pages take."""
    words, count = np.ones(int(n * WORDS_OF_A_PAGE), np.int64), max(n, TOUCHES)
    _touch(words, 1)  # compiles
    return best_of(repeats, lambda: _touch(words, count))[0] / count * 1e9


# ---- the curves


def _powers(base: int, first: int, last: int, step: int = 1) -> tuple[int, ...]:
    return tuple(base**k for k in range(first, last + 1, step))


def _tens(last: int) -> tuple[int, ...]:
    return tuple(sorted((*_powers(10, 1, last), *(3 * n for n in _powers(10, 1, last - 1)))))


def curves(quick: bool = False, largest: int = 24) -> tuple[Curve, ...]:
    """Say what is measured.

    Parameters
    ----------
    quick : bool
        Fewer IOs and operations, smaller sizes.
    largest : int
        Pages of `rdma-longterm` go up to this power of two.
    """
    c = "C (gcc -O2)"
    ios, operations = (30_000, 50_000) if quick else (200_000, 200_000)
    word = "one word per page changed at random, in as much memory"
    memory = _powers(2, 12, 20, 2) if quick else _powers(2, 10, largest, 2)
    hour, engine = "simulate rdma-longterm, an hour,", "engine of simulate direct-io,"
    return (
        Curve("pages-v4.17", "pages", "page", f"{hour} v4.17", word, memory, memory, pages("v4.17"), True),
        Curve("pages-bias", "pages", "page", f"{hour} bias", word, memory, memory, pages(BIAS), True),
        Curve("buffers", "pages of buffers", "page", f"{engine} 1 MiB, bias", c, _powers(2, 8, 22, 2),
              _powers(2, 8, 16, 2), buffers),
        Curve("nodes", "nodes", "erase and insert", "interval tree, erase + insert", c, _tens(6), _tens(4),
              nodes(operations)),
        Curve("ranges", "live ranges", "range", "simulate virtual-vma, vma-common", f"a tree in {c}", _tens(6),
              _tens(4), ranges),
        Curve("cpus", "CPUs", "IO", f"{engine} 4 KiB, QD 16, bias", c, _powers(2, 0, 6), _powers(2, 0, 6), cpus(ios)),
        Curve("qd", "queue depth", "IO", f"{engine} 4 KiB, completed in any order, bias", c, _powers(2, 0, 10),
              _powers(2, 0, 10, 2), depth(ios)),
    )  # fmt: skip
