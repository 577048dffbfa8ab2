"""``flag``: a page flag without a count. The first unpin clears it, whoever else still holds a pin.

The objection to any such flag: two users of one page, and the first to finish removes the protection
(Hellwig, 2018-06-18, in the thread of "[PATCH 2/2] mm: set PG_dma_pinned on get_user_pages*()").
"""

from typing import NamedTuple

from workbench.mm import registers as R
from workbench.mm.page import PG_DMA_PINNED, has, page_of
from workbench.mm.world import tally
from workbench.trackers.protocol import IN_GUP, LOCK_NONE, implements


class Flag(NamedTuple):
    """A page flag that the first unpin clears."""

    when: int = IN_GUP
    lock: int = LOCK_NONE


VARIANTS = {"flag": Flag()}


@implements(Flag)
def pin(tracker, world, page):
    page_of(world, page)["flags"] |= PG_DMA_PINNED
    tally(world, R.ATOMIC, 1)


@implements(Flag)
def unpin(tracker, world, page, handle):
    page_of(world, page)["flags"] &= ~PG_DMA_PINNED
    tally(world, R.ATOMIC, 1)


@implements(Flag)
def is_pinned(tracker, world, page):
    return has(page_of(world, page), PG_DMA_PINNED)


@implements(Flag)
def page_freed(tracker, world, page):
    page_of(world, page)["flags"] &= ~PG_DMA_PINNED
