"""``bias``: a pin adds 1024 to ``_refcount``; 1024 or more references mean "maybe pinned".

Kara, 2019-01-14 (20190114145447.GJ13316@quack2); merged in v5.7 for order 0 and 1, in v6.12 for order 0 only: v6.12
mm/gup.c, include/linux/mm.h folio_maybe_dma_pinned. GUP-fast takes one reference and then adds the rest. The counters
nr_foll_pin_acquired and nr_foll_pin_released (2.7 % of O_DIRECT on a raw device, Axboe 2023-01-30) are not in it.
"""

from typing import NamedTuple

from workbench.mm import registers as R
from workbench.mm.page import GUP_PIN_COUNTING_BIAS, page_of
from workbench.mm.world import tally
from workbench.trackers.protocol import IN_GUP, LOCK_NONE, implements


class Bias(NamedTuple):
    """Reference count bias.

    Attributes
    ----------
    bias : int
        What a pin adds; small worlds scale it down.
    subtract_mapcount : int
        1: test ``refcount - mapcount``, as in Kara's formula; 0: ``refcount``, as merged.
    """

    when: int = IN_GUP
    lock: int = LOCK_NONE
    bias: int = GUP_PIN_COUNTING_BIAS
    subtract_mapcount: int = 0


VARIANTS = {"bias": Bias()}


@implements(Bias)
def pin(tracker, world, page):
    page_of(world, page)["_refcount"] += tracker.bias - 1
    tally(world, R.ATOMIC, 1)


@implements(Bias)
def unpin(tracker, world, page, handle):
    # One subtraction of the whole bias: the release that follows counts it.
    page_of(world, page)["_refcount"] -= tracker.bias - 1


@implements(Bias)
def is_pinned(tracker, world, page):
    row = page_of(world, page)
    references = int(row["_refcount"])
    if tracker.subtract_mapcount:
        references -= int(row["_mapcount"]) + 1
    return references >= tracker.bias
