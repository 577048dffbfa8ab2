"""Pinned ranges: nodes of an interval tree, taken from the world's one pool, with what each step counts and costs.

A range has its first and last page, and ``pages_left``: how many of its pages are still to be released. Nothing else of
it is state; `explore` keeps these three, and which tree the range is in. There are two trees: the inode's ``i_mmap``,
which ranges share with the real VMAs (``world.sys[R.I_MMAP]``), and `PIN_TREE` beside it, for ranges alone.
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.interval_tree import KIND_PINNED, alloc, free, insert, iter_first, iter_next, remove
from workbench.mm.page import wake_pin_waiters
from workbench.mm.world import histogram_add, tally
from workbench.trackers.protocol import bytes_in_use

PIN_TREE = 2  # header row; that of i_mmap is row 1


@jit
def new_range(world, start, last, pages_left):
    """Allocate a range, which is in no tree yet.

    Returns
    -------
    int
        Its row in ``world.node``.

    Raises
    ------
    MemoryError
        If the scenario has laid out too few rows, or ranges are never dropped.
    """
    r = alloc(world.node)
    if r == 0:
        raise MemoryError("no free interval tree node: raise the scenario's pool, if ranges are dropped at all")
    row = at(world.node, r)
    row["kind"] = KIND_PINNED
    row["start"] = start
    row["last"] = last
    row["pages_left"] = pages_left
    row["ghost_born_ps"] = world.sys[R.NOW]
    row["ghost_first_ps"] = -1
    tally(world, R.ALLOC, 1)
    world.sys[R.LIVE_RANGES] += 1
    world.sys[R.PEAK_RANGES] = max(world.sys[R.PEAK_RANGES], world.sys[R.LIVE_RANGES])
    return r


@jit
def drop_range(world, root, r):
    """Take a range out of the tree, free it, and wake those who wait for a pin of one of its pages."""
    row = at(world.node, r)
    remove_range(world, root, r)
    now = world.sys[R.NOW]
    histogram_add(world, R.RANGE_LIFE, now - row["ghost_born_ps"])
    histogram_add(world, R.OUTLIVES, now - row["ghost_first_ps"])
    for p in range(row["start"], row["last"] + 1):  # a cleaner may wait for the range, not only for its own page's pin
        wake_pin_waiters(world, p)
    free(world.node, r)
    tally(world, R.FREE, 1)
    world.sys[R.LIVE_RANGES] -= 1
    world.sys[R.RANGES_GONE] += 1


@inline
def charge_tree(world, visited, rotations):
    """Charge the step for what the tree operation has counted by itself."""
    sys = world.sys
    sys[R.STEP_PS] += (sys[R.RB_VISITED] - visited) * sys[R.COST + R.RB_VISITED]
    sys[R.STEP_PS] += (sys[R.RB_ROTATIONS] - rotations) * sys[R.COST + R.RB_ROTATIONS]


@jit
def insert_range(world, root, r):
    """Put a range into the tree with that header row."""
    visited, rotations = world.sys[R.RB_VISITED], world.sys[R.RB_ROTATIONS]
    insert(world.node, world.sys, root, r)
    charge_tree(world, visited, rotations)


@jit
def remove_range(world, root, r):
    """Take a range out of its tree; it may be changed and put in again."""
    visited, rotations = world.sys[R.RB_VISITED], world.sys[R.RB_ROTATIONS]
    remove(world.node, world.sys, root, r)
    charge_tree(world, visited, rotations)


@jit
def first_range(world, root, page):
    """Find the first range, by start, that covers a page; 0: there is none. In ``i_mmap`` it may be a real VMA."""
    visited, rotations = world.sys[R.RB_VISITED], world.sys[R.RB_ROTATIONS]
    r = iter_first(world.node, world.sys, root, page, page)
    charge_tree(world, visited, rotations)
    return r


@jit
def next_range(world, r, page):
    """Find the one after it that covers the page; 0: there is no other."""
    visited, rotations = world.sys[R.RB_VISITED], world.sys[R.RB_ROTATIONS]
    r = iter_next(world.node, world.sys, r, page, page)
    charge_tree(world, visited, rotations)
    return r


@inline
def mark_first(world, r):
    """Note when the first page of a range was released: how long it outlives that is measured."""
    row = at(world.node, r)
    if row["ghost_first_ps"] < 0:
        row["ghost_first_ps"] = world.sys[R.NOW]


@step
def note_bytes(tracker, world):
    """Note how many bytes the tracker's objects take, if they are more than ever."""
    world.sys[R.PEAK_BYTES] = max(world.sys[R.PEAK_BYTES], bytes_in_use(tracker, world))
