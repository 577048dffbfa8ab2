"""``pte-bit``: a software bit of the PTE says that the page was pinned through it.

Lameter, 2018-07-05. No patch was posted; *assumed*: GUP sets the bit, the caller's unpin clears it, and the rmap walk
finds it. It has no count, so that the first of two unpins clears it; and it is the PTE's: where the page is unmapped
it is gone, whoever still holds a pin (a migration entry keeps it). That an unpin in an interrupt would have to find
the PTE is left out, in favour of it.
"""

from typing import NamedTuple

from workbench.mm import registers as R
from workbench.mm.page import PTE_PINNED, has, page_of
from workbench.mm.world import tally
from workbench.trackers.protocol import IN_GUP, LOCK_NONE, implements


class PteBit(NamedTuple):
    """A bit in the PTE that the page was pinned through."""

    when: int = IN_GUP
    lock: int = LOCK_NONE


VARIANTS = {"pte-bit": PteBit()}


@implements(PteBit)
def pin(tracker, world, page):
    page_of(world, page)["flags"] |= PTE_PINNED
    tally(world, R.PTE_UPDATE, 1)


@implements(PteBit)
def unpin(tracker, world, page, handle):
    page_of(world, page)["flags"] &= ~PTE_PINNED
    tally(world, R.PTE_UPDATE, 1)


@implements(PteBit)
def is_pinned(tracker, world, page):
    return has(page_of(world, page), PTE_PINNED)


@implements(PteBit)
def page_freed(tracker, world, page):
    page_of(world, page)["flags"] &= ~PTE_PINNED
