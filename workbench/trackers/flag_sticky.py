"""``flag-sticky``: PG_dma_pinned as first posted: set by GUP, cleared only when the page is freed.

Hubbard, 2018-06-16, "[PATCH 2/2] mm: set PG_dma_pinned on get_user_pages*()".
"""

from typing import NamedTuple

from workbench.mm import registers as R
from workbench.mm.page import PG_DMA_PINNED, has, page_of
from workbench.mm.world import tally
from workbench.trackers.protocol import IN_GUP, LOCK_NONE, implements


class StickyFlag(NamedTuple):
    """A page flag that no unpin clears."""

    when: int = IN_GUP
    lock: int = LOCK_NONE


VARIANTS = {"flag-sticky": StickyFlag()}


@implements(StickyFlag)
def pin(tracker, world, page):
    page_of(world, page)["flags"] |= PG_DMA_PINNED
    tally(world, R.ATOMIC, 1)


@implements(StickyFlag)
def is_pinned(tracker, world, page):
    return has(page_of(world, page), PG_DMA_PINNED)


@implements(StickyFlag)
def page_freed(tracker, world, page):
    page_of(world, page)["flags"] &= ~PG_DMA_PINNED
