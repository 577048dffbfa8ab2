"""The world at scale: bitmaps, lists of folios, inodes, regions and the disk's queue, in a few arrays.

One bit per page for each property below, so 15 bits; a byte and two 32-bit links per folio for the LRU lists. Regions
do not overlap, so that a page has one long-term pin or none.
"""

from typing import NamedTuple

import numpy as np

from workbench.accelerate import inline
from workbench.bulk import registers as S

# Properties of a page: rows of ``World.bit``. Those of folios are equal in all pages of one: in *italics* below.
PROPERTIES = {
    "RESIDENT": "*the frame is in use*",
    "STREAM": "*by a page that the streaming reader has read*",
    "DIRTY": "*PG_dirty, and the dirty tag*",
    "TOWRITE": "*the towrite tag*",
    "WRITEBACK": "*PG_writeback, and its tag*",
    "BOUNCED": "*under writeback from a bounce page*",
    "ASKED": "*the tracker's answer for the folio: whether it says so of any of its pages*",
    "SAYS": "the tracker says that the page is pinned",
    "WRITABLE": "a PTE is writable: a thread's write takes no fault",
    "DEVICE": "a device maps the page (notifier)",
    "TARGET": "a device may write to it: it is in a region that is registered",
    "PINNED": "a true pin (no tracker or policy reads it)",
    "PRIVATE": "a region's private page holds what the page has not (bounce-pin; ghost)",
    "NEWER": "memory is newer than disk (ghost)",
    "FRESH": "changed since the last copy that went to disk (ghost)",
}
(
    RESIDENT, STREAM, DIRTY, TOWRITE, WRITEBACK, BOUNCED, ASKED, SAYS, WRITABLE, DEVICE, TARGET, PINNED, PRIVATE,
    NEWER, FRESH,
) = range(len(PROPERTIES))  # fmt: skip

OFF, ON_INACTIVE, ON_ACTIVE = range(3)  # which list a folio is on
REFERENCED = 4  # and this, if it was used since reclaim last looked
# A region is not registered now, is, must be given back, won't come back, or is held though it had to be given back.
AWAY, HELD, NOTIFIED, GONE, KEPT = range(5)
NEVER = 2**62
PS_PER_S = 10**12


class World(NamedTuple):
    """Everything that the compiled driver reads and writes.

    Attributes
    ----------
    sys : ndarray of int64
        Counters and registers (`registers`).
    bit : ndarray of uint64, shape (properties, pages / 64)
        Bitmaps, a row for each of `PROPERTIES`.
    folio : ndarray of int8
        List that each folio is on, and `REFERENCED`.
    after, before : ndarray of int32, shape (folios + 2,)
        LRU links, towards the tail and towards the head; the last two are the ends of the inactive and the active list.
    inode_dirty, inode_since : ndarray of int64
        Dirty pages of each inode, and since when it has been dirty [ps].
    inode_due : ndarray of int8
        1: the flusher's round has still to go over it.
    region : ndarray of int8
        What a region does.
    region_due : ndarray of int64
        When it does something else [ps].
    cooperative : ndarray of int8
        1: its holder gives a lease back.
    locked : ndarray of int64
        Pages that each holder has pinned.
    queue : ndarray of int64, shape (rows, 2)
        The disk's queue, a ring: first page and number of pages.
    latency : ndarray of int64
        Time that each sync took [ps]; -1: it has not returned.
    draws : ndarray of int64
        Which of the writers' pages are written to next.
    """

    sys: np.ndarray
    bit: np.ndarray
    folio: np.ndarray
    after: np.ndarray
    before: np.ndarray
    inode_dirty: np.ndarray
    inode_since: np.ndarray
    inode_due: np.ndarray
    region: np.ndarray
    region_due: np.ndarray
    cooperative: np.ndarray
    locked: np.ndarray
    queue: np.ndarray
    latency: np.ndarray
    draws: np.ndarray


@inline
def take_due(sys, rate, credit):
    """Pages that are due in this tick at so many pages per second; what is left over stays in the credit."""
    sys[credit] += sys[rate] * sys[S.TICK]
    pages = sys[credit] // PS_PER_S
    sys[credit] -= pages * PS_PER_S
    return pages


@inline
def folio_start(sys, page):
    """First page of a page's folio."""
    return page & ~(sys[S.FOLIO] - 1)


@inline
def afford(sys, clock, n, cost_ps):
    """How many of ``n`` pages, in whole folios, begin in the time that ``clock`` has left; their time is spent."""
    folio_ps = max(cost_ps * sys[S.FOLIO], 1)
    n = min(n, -(-sys[clock] // folio_ps) * sys[S.FOLIO])
    sys[clock] -= n * cost_ps
    return n
