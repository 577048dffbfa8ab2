"""Virtual VMAs: each GUP call's range is an entry in the inode's ``i_mmap`` tree (Kara, June 2018).

Idea: 2018-06-19/20; the two obstacles: 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2. The files
``vma_full`` and ``vma_common`` give the two kinds of node; what happens to ranges is the same and is here.

A range is released in parts, at different times, in any order, by a kworker under ``i_mmap_rwsem``:

``split``: the released run is cut out of a range that covers it, which may split it in two. ``count``: a
range that covers the page has as many pages less, and goes when none is left. Both find the range by the
page, and where several cover it, charge one of them. ``backpointer``: the bio carries the range.
"""

from typing import NamedTuple

from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.interval_tree import KIND_PINNED, alloc, free, insert, iter_first, iter_next, remove
from workbench.mm.page import PG_CACHED, has, page_of, wake_pin_waiters
from workbench.mm.world import histogram_add, tally
from workbench.sizes import PAGE_SIZE
from workbench.trackers import protocol
from workbench.trackers.protocol import LOCK_NONE, RANGE_BEFORE, implements

SPLIT, COUNT, BACKPOINTER = range(3)
LEFTMOST, RIGHTMOST, ANY, FIRST_FOUND = range(4)


class VirtualVma(NamedTuple):
    """Pinned ranges in ``i_mmap``.

    Attributes
    ----------
    when : int
        `RANGE_BEFORE` or `RANGE_AFTER`: the range goes in before or after GUP has taken the pages.
    release : int
        `SPLIT`, `COUNT` or `BACKPOINTER`.
    charge : int
        `LEFTMOST`, `RIGHTMOST` or `ANY`: which of several covering ranges a release by page is charged to.
    early_exit : int
        1: ``page_mkclean`` returns at once for an unmapped page, and its pins are not found (v4.17 mm/rmap.c).
    per_slab_page, bio_bytes : int
        Ranges that a 4 KiB slab page holds, and bytes of the pointer that each run of pages in a bio has.
    """

    when: int = RANGE_BEFORE
    lock: int = LOCK_NONE
    release: int = SPLIT
    charge: int = LEFTMOST
    early_exit: int = 1
    per_slab_page: int = 64
    bio_bytes: int = 0


@implements(VirtualVma)
def pin_range(tracker, world, inode, start, n):
    r = _new_range(world, start, start + n - 1, n)
    world.sys[R.RANGES] += 1
    _tree_insert(world, inode, r)
    _note_bytes(tracker, world)
    return r if tracker.release == BACKPOINTER else -1


@step
def _note_bytes(tracker, world):
    world.sys[R.PEAK_BYTES] = max(world.sys[R.PEAK_BYTES], protocol.bytes_in_use(tracker, world))


@jit
def _new_range(world, start, last, pages_left):
    r = alloc(world.node)
    if r == 0:
        raise MemoryError("no free interval tree node: raise the scenario's pool")
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
def _drop_range(world, inode, r):
    row = at(world.node, r)
    _tree_remove(world, inode, r)
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
def _charge_tree(world, visited, rotations):
    """Charge the step for what the tree operation has counted by itself."""
    sys = world.sys
    sys[R.STEP_PS] += (sys[R.RB_VISITED] - visited) * sys[R.COST + R.RB_VISITED]
    sys[R.STEP_PS] += (sys[R.RB_ROTATIONS] - rotations) * sys[R.COST + R.RB_ROTATIONS]


@jit
def _tree_insert(world, inode, r):
    visited, rotations = world.sys[R.RB_VISITED], world.sys[R.RB_ROTATIONS]
    insert(world.node, world.sys, inode, r)
    _charge_tree(world, visited, rotations)


@jit
def _tree_remove(world, inode, r):
    visited, rotations = world.sys[R.RB_VISITED], world.sys[R.RB_ROTATIONS]
    remove(world.node, world.sys, inode, r)
    _charge_tree(world, visited, rotations)


@jit
def _covering(world, inode, page, charge):
    """Find the range that a release of a page is charged to, and how many cover it (2: or more)."""
    visited, rotations = world.sys[R.RB_VISITED], world.sys[R.RB_ROTATIONS]
    found = 0
    ranges = 0
    n = iter_first(world.node, world.sys, inode, page, page)
    while n != 0:
        if at(world.node, n)["kind"] == KIND_PINNED:
            ranges += 1
            if ranges == 1 or charge == RIGHTMOST or (charge == ANY and ranges == world.sys[R.CHOICE] + 1):
                found = n
            if charge == FIRST_FOUND or (ranges == 2 and charge == LEFTMOST):
                break
        n = iter_next(world.node, world.sys, n, page, page)
    _charge_tree(world, visited, rotations)
    if charge == ANY:
        world.sys[R.CHOICES] = max(world.sys[R.CHOICES], ranges)
    return found, ranges


@implements(VirtualVma)
def unpin_range(tracker, world, inode, start, n, handle):
    if tracker.release == BACKPOINTER:
        _mark_first(world, handle)
        _charge_range(world, inode, handle, n)
        return
    page = start
    end = start + n
    while page < end:
        r, ranges = 0, 0
        if has(page_of(world, page), PG_CACHED) or not world.sys[R.TRUNCATED_LOST]:  # else page->mapping is gone
            r, ranges = _covering(world, inode, page, tracker.charge)
        if r == 0:
            world.sys[R.UNATTRIBUTED] += 1
            page += 1
            continue
        if ranges > 1:
            world.sys[R.AMBIGUOUS] += 1
        last = min(end - 1, int(at(world.node, r)["last"]))
        _mark_first(world, r)
        if tracker.release == COUNT:
            last = min(last, page + int(at(world.node, r)["pages_left"]) - 1)
            _charge_range(world, inode, r, last - page + 1)
        else:
            _cut(world, inode, r, page, last)
            _note_bytes(tracker, world)
        page = last + 1


@implements(VirtualVma)
def forget_range(tracker, world, inode, first, last, handle):
    r = handle if tracker.release == BACKPOINTER else _exactly(world, inode, first, last)
    if r != 0:  # else another release has been charged to it
        _mark_first(world, r)
        _drop_range(world, inode, r)


@jit
def _exactly(world, inode, first, last):
    """Find a pinned range of exactly these pages; 0: there is none."""
    visited, rotations = world.sys[R.RB_VISITED], world.sys[R.RB_ROTATIONS]
    found = 0
    n = iter_first(world.node, world.sys, inode, first, first)
    while n != 0:
        row = at(world.node, n)
        if row["kind"] == KIND_PINNED and row["start"] == first and row["last"] == last:
            found = n
            break
        n = iter_next(world.node, world.sys, n, first, first)
    _charge_tree(world, visited, rotations)
    return found


@inline
def _mark_first(world, r):
    row = at(world.node, r)
    if row["ghost_first_ps"] < 0:
        row["ghost_first_ps"] = world.sys[R.NOW]


@jit
def _charge_range(world, inode, r, n):
    """``count`` and ``backpointer``: so many pages less; the last one takes the range along."""
    row = at(world.node, r)
    row["pages_left"] -= n
    if row["pages_left"] <= 0:
        _drop_range(world, inode, r)


@jit
def _cut(world, inode, r, first, last):
    """``split``: cut a run out of a range that covers it: drop, shorten, or split the range."""
    row = at(world.node, r)
    if row["start"] == first and row["last"] == last:
        _drop_range(world, inode, r)
        return
    # As the kernel's vma_adjust: out of the tree, changed, and in again.
    old_last = int(row["last"])
    _tree_remove(world, inode, r)
    if row["start"] < first:
        row["last"] = first - 1
    else:
        row["start"] = last + 1
    row["pages_left"] = row["last"] - row["start"] + 1
    _tree_insert(world, inode, r)
    if first <= row["last"] or old_last <= last:
        world.sys[R.SHRINKS] += 1
        return
    world.sys[R.SPLITS] += 1
    rest = _new_range(world, last + 1, old_last, old_last - last)
    at(world.node, rest)["ghost_born_ps"] = row["ghost_born_ps"]
    at(world.node, rest)["ghost_first_ps"] = row["ghost_first_ps"]
    _tree_insert(world, inode, rest)


@implements(VirtualVma)
def is_pinned(tracker, world, page):
    if tracker.early_exit and page_of(world, page)["_mapcount"] < 0:
        return False
    found, _ = _covering(world, world.sys[R.I_MMAP], page, FIRST_FOUND)
    return found != 0


@implements(VirtualVma)
def pinned_in_range(tracker, world, inode, start, n):
    pages = 0
    covered = start - 1  # ranges come in the order of their starts
    r = iter_first(world.node, world.sys, inode, start, start + n - 1)
    while r != 0:
        row = at(world.node, r)
        if row["kind"] == KIND_PINNED:
            first = max(int(row["start"]), covered + 1)
            last = min(int(row["last"]), start + n - 1)
            if last >= first:
                pages += last - first + 1
                covered = last
        r = iter_next(world.node, world.sys, r, start, start + n - 1)
    return pages


@implements(VirtualVma)
def bytes_in_use(tracker, world):
    return world.sys[R.LIVE_RANGES] * PAGE_SIZE // tracker.per_slab_page + world.sys[R.BIO_ROWS] * tracker.bio_bytes
