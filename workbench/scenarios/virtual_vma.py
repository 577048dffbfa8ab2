"""``virtual-vma``: what pinned ranges in the inode's ``i_mmap`` tree cost, and whom (the first obstacle of 2018).

Kara, 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2: a full VMA for each pinned range "uses unnecessarily too much
memory", a common node "causes a lot of churn". Real mappings of the file share the tree and its lock: mmap, munmap and
every rmap walk go through the pinned ranges.

There is no clock here, no IO and nobody who waits: the tree is filled, then each operation is done so many times and
measured by itself. A lock is held for what the operation counts, times unit costs; a range's allocation is in it, as in
the steps of direct IO. All pages of the file are alike (cached, mapped, clean) and share one row of the page array.
A tracker that keeps no ranges leaves the tree to the real mappings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.accelerate import driver_for, step
from workbench.costs import PS_PER_NS, CostTable
from workbench.errors import UsageError
from workbench.frames import frame
from workbench.mm import registers as R
from workbench.mm import shared_tree
from workbench.mm.interval_tree import KIND_PINNED, NODE, free_list_init
from workbench.mm.page import PG_CACHED, PG_LRU, PTE_PRESENT
from workbench.mm.shared_tree import COLUMNS, HELD_PS, OPERATIONS, PASSED, PIN, RMAP, ROTATIONS, UNPIN, VISITED
from workbench.mm.world import BIO, DIO, PAGE, PLAN, TASK, World
from workbench.provenance import provenance
from workbench.scenarios.base import Parameter, check_parameters
from workbench.sizes import PAGE_BITS
from workbench.trackers.protocol import RANGE_BEFORE, bytes_in_use

if TYPE_CHECKING:
    import pandas as pd

NAME = "virtual-vma"
SUMMARY = "pinned ranges in i_mmap: bytes, tree, lock holds, and what real mappings of the file pay"

PARAMETERS = (
    Parameter("ranges", 10_000, "ranges", "pinned ranges in the tree", 0, 1_000_000),
    Parameter("range_pages", 64, "pages", "length of a range: pages of a GUP call", 1, 262_144),
    Parameter("overlap", 1, "ranges", "ranges that cover a page; where placed at random in such a file, their mean",
              1, 100_000),
    Parameter("placement", "ascending", "", "ascending: back to back, pinned in the order of the file; shuffled: the "
              "same in random order; random: anywhere", choices=("ascending", "shuffled", "random")),
    Parameter("file_pages", 0, "pages", "pages of the file, if more than the ranges cover", 0, 2**31 - 1),
    Parameter("release", "fifo", "", "which range is released next: the oldest, any, or the newest",
              choices=("fifo", "random", "lifo")),
    Parameter("vmas", 8, "mappings", "real VMAs that map the file", 0, 1_000_000),
    Parameter("vma_pages", 0, "pages", "pages of a real VMA, from anywhere in the file; 0: the whole file", 0,
              2**31 - 1),
    Parameter("ops", 10_000, "operations", "how often each operation is done and measured", 1, 1_000_000),
    Parameter("node_ns", 0.0, "ns", "cost of a tree node that is visited; 0: that of the cost table, for a cached one",
              0, 1e4),
)  # fmt: skip
HAZARDS = ()

HEADER, FIRST = 1, 2  # rows of the tree's header and of its first node
LAST_PAGE = 2**31 - 1  # of a NODE


def run(design: Any, parameters: dict[str, Any], seed: int, cost_table: CostTable, result: Callable[..., Any]) -> Any:
    """Fill the tree, measure every operation, and give the result.

    Parameters
    ----------
    design : Design
        Only its tracker has a part in it.
    parameters : dict
        Those of `PARAMETERS` that are not the default.
    seed : int
    cost_table : CostTable
    result : callable
        Makes a `workbench.simulate.Result` of its fields.

    Returns
    -------
    Result

    Raises
    ------
    UsageError
        For a wrong name, type or range, or a file with more pages than a node can name.
    """
    p = check_parameters(NAME, PARAMETERS, parameters)
    tracker = design.tracker
    ranged = tracker.when >= RANGE_BEFORE
    placing, mapping, releasing, unmapping, walking = (
        np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(5)
    )
    pages = pages_of_file(p)
    start = _starts(p, pages, placing)
    world = _new_world(p, pages, cost_table)
    ours = min(p["vma_pages"], pages) or pages
    first, rows = _anywhere(mapping, pages, ours, p["vmas"] + 1), np.zeros(p["vmas"] + 1, np.int64)
    shared_tree.map_all(world, first, rows, ours)
    handle = np.full(len(start), -1, np.int64)
    if ranged:
        driver_for(shared_tree.fill, tracker.__class__)(tracker, world, start, handle, p["range_pages"])
    world.sys[: len(R.COUNTERS)] = 0  # what comes now is measured
    metrics = _size(p, design, world, start)
    measured = np.zeros((len(OPERATIONS), p["ops"], len(COLUMNS)), np.int64)
    free_slot = p["ranges"]
    if ranged:
        released = _released(p, releasing)
        churn = driver_for(shared_tree.churn, tracker.__class__)
        churn(tracker, world, start, handle, p["range_pages"], released, measured)
        free_slot = int(released[-1])
    unmapped = unmapping.integers(0, len(rows), p["ops"])
    shared_tree.map_and_unmap(world, first, rows, ours, unmapped, measured)
    shared_tree.walk(world, walking.integers(0, pages, p["ops"]), measured)
    pinned = np.delete(start, free_slot)
    world.sys[R.PINS] = world.sys[R.UNPINS] = p["ops"] * p["range_pages"] * ranged
    world.sys[R.PINS] += len(pinned) * p["range_pages"]
    metrics |= _per_operation(measured, ranged)
    metrics |= {
        "ranges_max": int(world.sys[R.PEAK_RANGES]),
        "ranges_left": int(world.sys[R.LIVE_RANGES]),
        "tracking_bytes_max": int(world.sys[R.PEAK_BYTES]),
        "stale_pages": _stale(world, pinned, p["range_pages"]),
    }
    return result(
        scenario=NAME,
        design=design.name,
        parameters=p,
        seed=seed,
        metrics=metrics,
        counters={name: int(world.sys[i]) for i, name in enumerate(R.COUNTERS)},
        locks=frame(),
        histograms=_histograms(measured, ranged),
        series=frame(),
        log=frame(),
        stuck=[],
        held=len(pinned) * p["range_pages"],
        provenance=provenance(scenario=NAME, design=design.name, parameters=p, seed=seed, costs=cost_table),
    )


# ---- what there is


def check_together(p: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse parameters that do not go together; each by itself is right.

    Raises
    ------
    UsageError
    """
    pages_of_file(p)


def pages_of_file(p: dict[str, Any]) -> int:
    """Pages of the file: at least as many as the ranges cover, and one more, which is pinned while another goes.

    Raises
    ------
    UsageError
        If they are more than a node can name.
    """
    pages = max(math.ceil((p["ranges"] + 1) / p["overlap"]) * p["range_pages"], p["file_pages"])
    if pages > LAST_PAGE:
        raise UsageError(
            f"scenario {NAME}: a file of {pages} pages for {p['ranges']} ranges of {p['range_pages']} pages; "
            f"at most {LAST_PAGE}: fewer or shorter ranges, or more overlap"
        )
    return pages


def _starts(p: dict[str, Any], pages: int, rng: np.random.Generator) -> np.ndarray:
    """First page of each slot's range: one slot more than there are ranges."""
    slots = p["ranges"] + 1
    if p["placement"] == "random":
        return _anywhere(rng, pages, p["range_pages"], slots)
    start = np.arange(slots, dtype=np.int64) // p["overlap"] * p["range_pages"]
    return rng.permutation(start) if p["placement"] == "shuffled" else start


def _anywhere(rng: np.random.Generator, pages: int, length: int, n: int) -> np.ndarray:
    return rng.integers(0, pages - length + 1, n)


def _released(p: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Slot that is released in each turn; at first the last is free, and each turn begins by pinning the free one."""
    slots = p["ranges"] + 1
    if p["release"] == "random":
        return rng.integers(0, slots, p["ops"])
    if p["release"] == "lifo":
        return np.full(p["ops"], slots - 1)
    return np.arange(p["ops"]) % slots


def _new_world(p: dict[str, Any], pages: int, cost_table: CostTable) -> World:
    row = np.zeros(1, PAGE)
    row["flags"], row["_refcount"] = PG_CACHED | PG_LRU | PTE_PRESENT, 2
    page = np.lib.stride_tricks.as_strided(row, (pages,), (0,))
    nodes = FIRST + p["vmas"] + p["ranges"] + 2 * p["ops"] + 4  # a release can leave a range more than there was
    bio, dio, task, plan = (np.zeros(1, kind) for kind in (BIO, DIO, TASK, PLAN))
    world = World(page, np.zeros(nodes, NODE), bio, dio, task, plan, np.zeros(R.SYS_CELLS, np.int64))
    free_list_init(world.node, FIRST)
    world.sys[R.I_MMAP] = HEADER
    world.sys[R.COST : R.COST + len(R.COUNTERS)] = cost_table.picoseconds()
    if p["node_ns"]:
        world.sys[R.COST + R.RB_VISITED] = round(p["node_ns"] * PS_PER_NS)
    return world


# ---- what came out


def _size(p: dict[str, Any], design: Any, world: World, start: np.ndarray) -> dict[str, Any]:
    """The tree before anything is measured, and bytes per pinned page."""
    nodes, deepest, total = shared_tree.depths(world.node)
    pinned = union_pages(start[:-1], p["range_pages"])
    if design.tracker.when >= RANGE_BEFORE:
        of_ranges = driver_for(_bytes, design.tracker.__class__)(design.tracker, world)
        each = of_ranges / pinned if pinned else math.nan
    else:
        each = PAGE_BITS[kind].bits / 8 if (kind := design.tracker_name.split(":")[0]) in PAGE_BITS else 0.0
    return {
        "tree_nodes": int(nodes),
        "tree_depth_max": int(deepest),
        "tree_depth_mean": total / nodes if nodes else math.nan,
        "pinned_pages": pinned,
        "bytes_per_pinned_page": each,
    }


@step
def _bytes(tracker, world):
    return bytes_in_use(tracker, world)


def union_pages(start: np.ndarray, length: int | np.ndarray) -> int:
    """Pages that at least one of some ranges covers.

    Parameters
    ----------
    start : ndarray of int64
        First pages.
    length : int or ndarray of int64
        Pages of each.
    """
    if not len(start):
        return 0
    order = np.argsort(start, kind="stable")
    first = start[order]
    end = np.maximum.accumulate((start + length)[order])
    before = np.concatenate([first[:1], end[:-1]])
    return int(np.maximum(end - np.maximum(first, before), 0).sum())


def _stale(world: World, pinned: np.ndarray, length: int) -> int:
    """Pages that the tree covers though nobody has them pinned."""
    row = world.node[world.node["kind"] == KIND_PINNED]
    if not len(row):
        return 0
    first = row["start"].astype(np.int64)
    lengths = np.concatenate([row["last"] + 1 - first, np.full(len(pinned), length)])
    return union_pages(np.concatenate([first, pinned]), lengths) - union_pages(pinned, length)


def _measured(measured: np.ndarray, ranged: bool) -> dict[str, np.ndarray]:
    """By operation; a tracker that keeps no ranges has no pin and unpin to measure."""
    return {name: measured[i] for i, name in enumerate(OPERATIONS) if ranged or i not in (PIN, UNPIN)}


def _per_operation(measured: np.ndarray, ranged: bool) -> dict[str, float]:
    """Means of what was counted; mean, p99 and greatest hold of the lock."""
    metrics: dict[str, float] = {}
    for name in OPERATIONS:
        rows = _measured(measured, ranged).get(name, np.full((1, len(COLUMNS)), math.nan))
        held = np.sort(rows[:, HELD_PS])
        metrics |= {
            f"{name}_visited_mean": float(rows[:, VISITED].mean()),
            f"{name}_rotations_mean": float(rows[:, ROTATIONS].mean()),
            f"{name}_hold_mean_ns": float(held.mean()) / PS_PER_NS,
            f"{name}_hold_p99_ns": float(held[math.ceil(0.99 * len(held)) - 1]) / PS_PER_NS,
            f"{name}_hold_max_ns": float(held[-1]) / PS_PER_NS,
        }
    del metrics["rmap_rotations_mean"]  # a walk changes nothing
    return metrics | {"rmap_passed_mean": float(measured[RMAP, :, PASSED].mean())}


def _histograms(measured: np.ndarray, ranged: bool) -> dict[str, pd.DataFrame]:
    """Holds of the lock [ps], by operation."""
    found = {}
    for name, rows in _measured(measured, ranged).items():
        value, count = np.unique(rows[:, HELD_PS], return_counts=True)
        found[f"{name.upper()}_HOLD"] = frame({"value": value, "count": count})
    return found
