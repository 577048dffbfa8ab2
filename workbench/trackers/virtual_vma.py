"""Virtual VMAs: each GUP call's range is an entry in the inode's ``i_mmap`` tree (Kara, June 2018).

Idea: 2018-06-19/20; the two obstacles: 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2. The files
``vma_full`` and ``vma_common`` give the two kinds of node; what happens to ranges is the same and is here.

A range is released in parts, at different times, in any order, by a kworker under ``i_mmap_rwsem``:

``split``: the released run is cut out of a range that covers it, which may split it in two. ``count``: a
range that covers the page has as many pages less, and goes when none is left. Both find the range by the
page, and where several cover it, charge one of them. ``backpointer``: the bio carries the range.
"""

from typing import NamedTuple

from workbench.accelerate import at, jit
from workbench.mm import registers as R
from workbench.mm.interval_tree import KIND_PINNED, iter_first, iter_next
from workbench.mm.page import PG_CACHED, has, page_of
from workbench.mm.ranges import (
    charge_tree,
    drop_range,
    insert_range,
    mark_first,
    new_range,
    note_bytes,
    remove_range,
)
from workbench.sizes import PAGE_SIZE
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
    r = new_range(world, start, start + n - 1, n)
    world.sys[R.RANGES] += 1
    insert_range(world, inode, r)
    note_bytes(tracker, world)
    return r if tracker.release == BACKPOINTER else -1


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
    charge_tree(world, visited, rotations)
    if charge == ANY:
        world.sys[R.CHOICES] = max(world.sys[R.CHOICES], ranges)
    return found, ranges


@implements(VirtualVma)
def unpin_range(tracker, world, inode, start, n, handle):
    if tracker.release == BACKPOINTER:
        mark_first(world, handle)
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
        mark_first(world, r)
        if tracker.release == COUNT:
            last = min(last, page + int(at(world.node, r)["pages_left"]) - 1)
            _charge_range(world, inode, r, last - page + 1)
        else:
            _cut(world, inode, r, page, last)
            note_bytes(tracker, world)
        page = last + 1


@implements(VirtualVma)
def forget_range(tracker, world, inode, first, last, handle):
    r = handle if tracker.release == BACKPOINTER else _exactly(world, inode, first, last)
    if r != 0:  # else another release has been charged to it
        mark_first(world, r)
        drop_range(world, inode, r)


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
    charge_tree(world, visited, rotations)
    return found


@jit
def _charge_range(world, inode, r, n):
    """``count`` and ``backpointer``: so many pages less; the last one takes the range along."""
    row = at(world.node, r)
    row["pages_left"] -= n
    if row["pages_left"] <= 0:
        drop_range(world, inode, r)


@jit
def _cut(world, inode, r, first, last):
    """``split``: cut a run out of a range that covers it: drop, shorten, or split the range."""
    row = at(world.node, r)
    if row["start"] == first and row["last"] == last:
        drop_range(world, inode, r)
        return
    # As the kernel's vma_adjust: out of the tree, changed, and in again.
    old_last = int(row["last"])
    remove_range(world, inode, r)
    if row["start"] < first:
        row["last"] = first - 1
    else:
        row["start"] = last + 1
    row["pages_left"] = row["last"] - row["start"] + 1
    insert_range(world, inode, r)
    if first <= row["last"] or old_last <= last:
        world.sys[R.SHRINKS] += 1
        return
    world.sys[R.SPLITS] += 1
    rest = new_range(world, last + 1, old_last, old_last - last)
    at(world.node, rest)["ghost_born_ps"] = row["ghost_born_ps"]
    at(world.node, rest)["ghost_first_ps"] = row["ghost_first_ps"]
    insert_range(world, inode, rest)


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
