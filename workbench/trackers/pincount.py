"""``pincount``: an exact count of a page's pins, beside its references.

Kara's idea for compound pages; Hubbard, 2020-02-10 (20200211001536.1027652-1-jhubbard); since v6.12 only large folios
have the field (``folio->_pincount``, include/linux/mm.h folio_maybe_dma_pinned). Assumed: every page has it here.
Against a plain reference it costs one atomic more in GUP, and one more in unpin.
"""

from typing import NamedTuple

from workbench.mm import registers as R
from workbench.mm.page import page_of
from workbench.mm.world import tally
from workbench.trackers.protocol import IN_GUP, LOCK_NONE, implements


class PinCount(NamedTuple):
    """A field of its own that counts pins and nothing else."""

    when: int = IN_GUP
    lock: int = LOCK_NONE


VARIANTS = {"pincount": PinCount()}


@implements(PinCount)
def pin(tracker, world, page):
    page_of(world, page)["_pincount"] += 1
    tally(world, R.ATOMIC, 1)


@implements(PinCount)
def unpin(tracker, world, page, handle):
    page_of(world, page)["_pincount"] -= 1
    tally(world, R.ATOMIC, 1)


@implements(PinCount)
def is_pinned(tracker, world, page):
    return page_of(world, page)["_pincount"] > 0
