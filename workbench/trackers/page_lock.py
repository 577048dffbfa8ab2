"""``page-lock``: a pin is the page lock, held until the pin is given back.

Al Viro's idea for GUP-fast and direct IO, told by Kara (2018-06-19); Piggin had tried it before (2009-02-17, not
read). GUP-fast tries the lock and leaves a locked page to the slow path, which sleeps on it (*assumed*; no patch was
posted). Who cleans, reclaims, truncates or migrates a page takes its lock first, and so waits for the pin without
asking anybody; a second pin of the page waits too. Completion dirties pages under the lock that the pin holds, and
unlocks them. Whoever asks holds the lock himself, and so knows that it is no pin's; only fork asks without it.
"""

from typing import NamedTuple

from workbench.mm.page import PG_DMA_PINNED, has, page_of, trylock_page, unlock_page
from workbench.trackers.protocol import IN_GUP, LOCK_PAGE, implements


class PageLock(NamedTuple):
    """The page lock, with a flag that says that a pin holds it."""

    when: int = IN_GUP
    lock: int = LOCK_PAGE


VARIANTS = {"page-lock": PageLock()}


@implements(PageLock)
def pin(tracker, world, page):
    row = page_of(world, page)
    trylock_page(world, row)
    row["flags"] |= PG_DMA_PINNED


@implements(PageLock)
def unpin(tracker, world, page, handle):
    page_of(world, page)["flags"] &= ~PG_DMA_PINNED
    unlock_page(world, page)


@implements(PageLock)
def is_pinned(tracker, world, page):
    return has(page_of(world, page), PG_DMA_PINNED)
