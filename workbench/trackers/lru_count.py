"""``lru-count``: pinned pages leave the LRU, and the words of ``page->lru`` hold flags and a count.

Idea of Wilcox (2018-06-19), posted by Hubbard as v2 (2018-07-01) and as RFCs (2018-10-12, 2018-11-10).
GUP pins in a loop after its walk, each page under a lock of its zone (one lock stands here for zone_gup_lock and the
LRU lock inside it, and covers the whole unpin of a page); the first pin isolates the page, the
last unpin puts it back, at the head: where it stood among the others is lost. Assumed: a page that is not on
the LRU when it is first pinned (reclaim has isolated it) is counted all the same, and goes back to the LRU
when it is unpinned.
"""

from typing import NamedTuple

from workbench.mm import registers as R
from workbench.mm.page import PG_LRU, PIN_FLAG, WAS_LRU, has, lru_add, lru_del, page_of
from workbench.mm.world import tally
from workbench.trackers.protocol import AFTER_WALK, LOCK_ZONE, implements


class LruCount(NamedTuple):
    """Flag and count in the words of ``page->lru``, the page off the LRU."""

    when: int = AFTER_WALK
    lock: int = LOCK_ZONE


VARIANTS = {"lru-count": LruCount()}


@implements(LruCount)
def pin(tracker, world, page):
    row = page_of(world, page)
    tally(world, R.SPIN_LOCK, 1)
    tally(world, R.ATOMIC, 1)
    if not has(row, PG_LRU) and row["lru_next"] & PIN_FLAG:
        row["lru_prev"] += 1
        return
    was_lru = 0
    if has(row, PG_LRU):
        lru_del(world, page)
        tally(world, R.LRU_ISOLATE, 1)
        was_lru = WAS_LRU
    row["lru_next"] = PIN_FLAG | was_lru
    row["lru_prev"] = 1


@implements(LruCount)
def unpin(tracker, world, page, handle):
    row = page_of(world, page)
    tally(world, R.ATOMIC, 1)
    row["lru_prev"] -= 1
    if row["lru_prev"] > 0:
        return
    tally(world, R.SPIN_LOCK, 1)
    was_lru = row["lru_next"] & WAS_LRU
    row["lru_next"] = 0
    if was_lru:
        lru_add(world, page)
        tally(world, R.LRU_PUTBACK, 1)


@implements(LruCount)
def is_pinned(tracker, world, page):
    row = page_of(world, page)
    return not has(row, PG_LRU) and (row["lru_next"] & PIN_FLAG) != 0
