"""``mapcount``: a pin of a file page adds to ``_mapcount`` as well; more than the PTEs that a walk finds means pinned.

Glisse, 2018-12-12 (with refcount + 1 and, if not PageAnon, _mapcount + 1 under the PTE lock). ``page_mkclean`` counts
the PTEs that it finds; ``_mapcount`` is read after the walk, when their locks are dropped: a process that unmaps the
page in between takes a pin's count away (the race with zap_pte_range, Kara 2018-12-19). A page whose only mappings are
pins counts as mapped, so that nothing has an early exit. Not modelled: that GUP is to back off from a page under
writeback, which without stable pages leaves CPU writes alone as well.
"""

from typing import NamedTuple

from workbench.mm import registers as R
from workbench.mm.page import PG_ANON, has, nr_ptes, page_of
from workbench.mm.world import tally
from workbench.trackers.protocol import IN_GUP, LOCK_NONE, implements


class MapCount(NamedTuple):
    """Pins of file pages counted in ``_mapcount``."""

    when: int = IN_GUP
    lock: int = LOCK_NONE


VARIANTS = {"mapcount": MapCount()}


@implements(MapCount)
def pin(tracker, world, page):
    row = page_of(world, page)
    if has(row, PG_ANON):
        return
    row["_mapcount"] += 1
    row["_pincount"] += 1  # what a walk will not find (nr_ptes)
    tally(world, R.ATOMIC, 1)


@implements(MapCount)
def unpin(tracker, world, page, handle):
    row = page_of(world, page)
    if has(row, PG_ANON):
        return
    row["_mapcount"] -= 1
    row["_pincount"] -= 1
    tally(world, R.ATOMIC, 1)


@implements(MapCount)
def is_pinned(tracker, world, page):
    row = page_of(world, page)
    return row["_mapcount"] + 1 > nr_ptes(world, row)


@implements(MapCount)
def is_pinned_by_walk(tracker, world, page, mappings):
    return page_of(world, page)["_mapcount"] + 1 > mappings
