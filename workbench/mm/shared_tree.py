"""An ``i_mmap`` tree that real mappings and pinned ranges share: one operation after the other, each measured.

What is done is what the model does elsewhere: the trackers' own ``pin_range`` and ``unpin_range``; the tree's insert
and remove, as mmap and munmap call them (v4.17 mm/mmap.c __vma_link_file, __remove_shared_vm_struct); and the walk of
``page_mkclean``, which is also that of ``try_to_unmap``. Nobody else wants the lock.
"""

import numpy as np

from workbench.accelerate import at, inline, jit, step
from workbench.intrinsics import at_word
from workbench.mm import registers as R
from workbench.mm.i_mmap import page_mkclean
from workbench.mm.interval_tree import (
    KIND_FREE,
    KIND_PINNED,
    KIND_VMA,
    alloc,
    first_link,
    free,
    insert,
    link_to,
    next_link,
    remove,
)
from workbench.mm.world import tally
from workbench.trackers.protocol import pin_range, unpin_range

OPERATIONS = ("pin", "unpin", "mmap", "munmap", "rmap")
PIN, UNPIN, MMAP, MUNMAP, RMAP = range(len(OPERATIONS))
# What is measured of each operation. PASSED: pinned ranges that an rmap walk goes through for nothing.
COLUMNS = ("visited", "rotations", "held_ps", "passed")
VISITED, ROTATIONS, HELD_PS, PASSED = range(len(COLUMNS))


@inline
def _begin(world, row):
    """An operation takes the lock."""
    sys = world.sys
    tally(world, R.RWSEM, 1)
    row[VISITED], row[ROTATIONS], row[HELD_PS] = -sys[R.RB_VISITED], -sys[R.RB_ROTATIONS], -sys[R.STEP_PS]


@inline
def _end(world, row):
    """And drops it: what has been counted since is its own."""
    sys = world.sys
    row[VISITED] += sys[R.RB_VISITED]
    row[ROTATIONS] += sys[R.RB_ROTATIONS]
    row[HELD_PS] += sys[R.STEP_PS]


@inline
def _charge(world, row):
    """Charge the nodes and rotations of a bare tree operation, as trackers and walks do by themselves."""
    sys = world.sys
    sys[R.STEP_PS] += (sys[R.RB_VISITED] + row[VISITED]) * sys[R.COST + R.RB_VISITED]
    sys[R.STEP_PS] += (sys[R.RB_ROTATIONS] + row[ROTATIONS]) * sys[R.COST + R.RB_ROTATIONS]


@step
def fill(tracker, world, start, handle, nr_pages):
    """Pin the ranges of all slots but the last.

    Parameters
    ----------
    tracker : NamedTuple
        One that keeps ranges.
    world : World
    start, handle : ndarray of int64, shape (ranges + 1,)
        First page of each slot; the handles are written.
    nr_pages : int
        Pages of each range.
    """
    for slot in range(len(start) - 1):
        handle[slot] = pin_range(tracker, world, world.sys[R.I_MMAP], start[slot], nr_pages)


@step
def churn(tracker, world, start, handle, nr_pages, released, measured):
    """Pin the range of the free slot and release that of another, again and again.

    Parameters
    ----------
    tracker, world, start, handle, nr_pages
        As `fill` left them; the last slot is free.
    released : ndarray of int64, shape (operations,)
        The slot that is released in each turn, and so is free in the next.
    measured : ndarray of int64, shape (5, operations, 4)
        By `OPERATIONS` and `COLUMNS`; written.
    """
    inode = world.sys[R.I_MMAP]
    slot = len(start) - 1
    for turn in range(len(released)):
        row = measured[PIN, turn]
        _begin(world, row)
        handle[slot] = pin_range(tracker, world, inode, start[slot], nr_pages)
        _end(world, row)
        slot = released[turn]
        row = measured[UNPIN, turn]
        _begin(world, row)
        unpin_range(tracker, world, inode, start[slot], nr_pages, handle[slot])
        _end(world, row)


@jit
def _link_vma(world, first, last):
    """Insert a real VMA; its row."""
    n = alloc(world.node)
    row = at(world.node, n)
    row["kind"] = KIND_VMA
    row["start"] = first
    row["last"] = last
    insert(world.node, world.sys, world.sys[R.I_MMAP], n)
    return n


@jit
def map_all(world, first, rows, nr_pages):
    """Map the file by the real VMAs of all slots but the last.

    Parameters
    ----------
    world : World
    first, rows : ndarray of int64, shape (VMAs + 1,)
        First page of each slot's VMA; the rows of their nodes are written.
    nr_pages : int
        Pages of each VMA.
    """
    for slot in range(len(first) - 1):
        rows[slot] = _link_vma(world, first[slot], first[slot] + nr_pages - 1)


@jit
def map_and_unmap(world, first, rows, nr_pages, unmapped, measured):
    """Map the VMA of the free slot and unmap that of another, again and again.

    Parameters
    ----------
    world, first, rows, nr_pages
        As `map_all` left them; the last slot is free.
    unmapped : ndarray of int64, shape (operations,)
        The slot that is unmapped in each turn, and so is free in the next.
    measured : ndarray
        As in `churn`.
    """
    slot = len(first) - 1
    for turn in range(len(unmapped)):
        row = measured[MMAP, turn]
        _begin(world, row)
        rows[slot] = _link_vma(world, first[slot], first[slot] + nr_pages - 1)
        _charge(world, row)
        _end(world, row)
        slot = unmapped[turn]
        row = measured[MUNMAP, turn]
        _begin(world, row)
        remove(world.node, world.sys, world.sys[R.I_MMAP], rows[slot])
        _charge(world, row)
        _end(world, row)
        free(world.node, rows[slot])


@jit
def walk(world, pages, measured):
    """Walk the tree for each of some pages, as ``page_mkclean`` does.

    Parameters
    ----------
    world : World
    pages : ndarray of int64, shape (operations,)
    measured : ndarray
        As in `churn`.
    """
    for turn in range(len(pages)):
        row = measured[RMAP, turn]
        _begin(world, row)
        page_mkclean(world, pages[turn])
        _end(world, row)
        row[PASSED] = _pinned_ranges(world, pages[turn])


@jit
def _pinned_ranges(world, page):
    """Count the pinned ranges that cover a page, without counting that."""
    visited = world.sys[R.RB_VISITED]
    found = 0
    n = first_link(world.node, world.sys, world.sys[R.I_MMAP], page, page)
    while n != 0:
        found += at_word(world.node, n)["kind"] == KIND_PINNED
        n = next_link(world.node, world.sys, n, page, page)
    world.sys[R.RB_VISITED] = visited
    return found


@jit
def depths(node: np.ndarray) -> tuple[int, int, int]:
    """Measure the tree.

    Parameters
    ----------
    node : ndarray of NODE
        All rows; only those in the tree have a kind.

    Returns
    -------
    tuple of int
        Nodes, greatest depth and sum of depths; that of the root is 1.
    """
    nodes, deepest, total = 0, 0, 0
    for n in range(len(node)):
        if at(node, n)["kind"] == KIND_FREE:
            continue
        depth = 0
        here = link_to(n)
        while here != 0:
            depth += 1
            here = np.int64(at_word(node, here)["rb_parent"])
        nodes += 1
        deepest = max(deepest, depth)
        total += depth
    return nodes, deepest, total
