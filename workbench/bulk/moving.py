"""Compaction and offlining: a pageblock with a long-term pin in it can neither be emptied nor taken away.

v6.12 mm/page_isolation.c and mm/memory_hotplug.c: do_migrate_range tries for ever on a pinned page.
"""

from typing import NamedTuple

import numpy as np

from workbench.bulk import registers as S
from workbench.bulk.bits import WORD
from workbench.bulk.world import PINNED, RESIDENT, World

PAGEBLOCK = 512  # pageblock_order 9 on x86-64


class Pass(NamedTuple):
    """One pass over the blocks of the movable zone.

    Attributes
    ----------
    blocks : int
        Blocks looked at.
    blocked : int
        Blocks that can't be emptied, for a pin.
    pages : int
        Pages that would be moved out of the others.
    """

    blocks: int
    blocked: int
    pages: int


def offline(world: World) -> Pass:
    """Look at every block of the movable zone, as memory hot-unplug or an allocation of huge pages would.

    Under ``migrate-first`` pinned pages were moved out when they were pinned: none of its blocks holds one.
    """
    blocks = int(world.sys[S.MOVABLE]) // PAGEBLOCK
    words = blocks * PAGEBLOCK // WORD
    pinned = np.bitwise_count(world.bit[PINNED, :words]).reshape(blocks, PAGEBLOCK // WORD).sum(axis=1)
    resident = np.bitwise_count(world.bit[RESIDENT, :words]).reshape(blocks, PAGEBLOCK // WORD).sum(axis=1)
    if world.sys[S.MIGRATE]:
        resident -= pinned
        pinned[:] = 0
    blocked = pinned > 0
    return Pass(blocks, int(np.count_nonzero(blocked)), int(resident[~blocked].sum()))
