"""kswapd, and the streaming reader that makes it work.

v6.12 mm/vmscan.c: shrink_folio_list, shrink_active_list, inactive_is_low, __remove_mapping. Simplified: one zone; a
folio that was referenced is activated at once; of the active list only as much is deactivated as the inactive one
lacks; all folios start on the inactive list; there is no direct reclaim; reading takes none of the disk's time.
"""

from workbench.accelerate import jit
from workbench.bulk import registers as S
from workbench.bulk.bits import count, fill, next_clear, test, wipe
from workbench.bulk.lru import end_of, lru_add, lru_del
from workbench.bulk.world import (
    ASKED,
    DEVICE,
    DIRTY,
    FRESH,
    NEWER,
    ON_ACTIVE,
    ON_INACTIVE,
    PINNED,
    REFERENCED,
    RESIDENT,
    SAYS,
    STREAM,
    WRITABLE,
    WRITEBACK,
    take_due,
)
from workbench.policies import IGNORE

PAGES_PER_GIB = 1 << 18


@jit
def set_inactive_ratio(sys):
    """inactive_is_low: int_sqrt(10 × GiB on the lists), or 1 below a GiB."""
    gib = (sys[S.INACTIVE] + sys[S.ACTIVE]) // PAGES_PER_GIB
    ratio = 1
    while (ratio + 1) * (ratio + 1) <= 10 * gib:
        ratio += 1
    sys[S.INACTIVE_RATIO] = ratio


@jit
def kswapd(world, wanted):
    """Below the low watermark: reclaim until the high one is reached, and what the reader wants now is there too.

    It gives up for this tick when it has freed nothing in a whole turn of the lists, as balance_pgdat after priority 0.
    """
    sys = world.sys
    if sys[S.FREE] >= sys[S.LOW] + wanted:
        return
    set_inactive_ratio(sys)
    sys[S.SCAN_TIME] = min(sys[S.SCAN_TIME], 0) + sys[S.TICK]
    in_vain = 0
    while sys[S.FREE] < sys[S.HIGH] + wanted and sys[S.SCAN_TIME] > 0 and in_vain <= sys[S.INACTIVE] + sys[S.ACTIVE]:
        while sys[S.ACTIVE] > 0 and sys[S.INACTIVE] * sys[S.INACTIVE_RATIO] < sys[S.ACTIVE]:
            deactivate(world)
        if sys[S.INACTIVE] == 0:
            return
        freed = sys[S.FREED]
        shrink(world, world.before[end_of(world, ON_INACTIVE)])
        in_vain = 0 if sys[S.FREED] > freed else in_vain + sys[S.FOLIO]
        sys[S.RECLAIM_PAGE] += sys[S.FOLIO]
        sys[S.SCAN_TIME] -= sys[S.SCAN_PS] * sys[S.FOLIO]


@jit
def deactivate(world):
    """shrink_active_list: the tail of the active list goes to the head of the inactive one, unreferenced."""
    folio = world.before[end_of(world, ON_ACTIVE)]
    lru_del(world, folio)
    world.folio[folio] &= ~REFERENCED
    lru_add(world, folio, ON_INACTIVE)
    world.sys[S.DEACTIVATED] += world.sys[S.FOLIO]


@jit
def shrink(world, folio):
    """shrink_folio_list, for one folio."""
    sys, bit = world.sys, world.bit
    first, n = folio * sys[S.FOLIO], sys[S.FOLIO]
    lru_del(world, folio)
    if test(bit, WRITEBACK, first) or world.folio[folio] & REFERENCED:
        world.folio[folio] &= ~REFERENCED
        activate(world, folio)
        return
    pinned = count(bit, PINNED, first, n) > 0
    asks = sys[S.POLICY_RECLAIM] != IGNORE and test(bit, ASKED, first)
    if asks and sys[S.RECLAIM_BEFORE]:
        sys[S.KEPT_PINNED] += n
        activate(world, folio)
        return
    wipe(bit, WRITABLE, first, n)  # try_to_unmap
    sys[S.INVALIDATED] += count(bit, DEVICE, first, n)
    wipe(bit, DEVICE, first, n)
    if asks and sys[S.SAYS_UNMAPPED]:
        sys[S.KEPT_PINNED] += n
        activate(world, folio)
    elif test(bit, DIRTY, first):
        activate(world, folio)
    elif pinned:  # page_ref_freeze fails
        sys[S.KEPT] += n
        sys[S.ROTATED] += n
        lru_add(world, folio, ON_INACTIVE)
    else:
        free(world, first)


@jit
def activate(world, folio):
    """It is kept, on the active list."""
    lru_add(world, folio, ON_ACTIVE)
    world.sys[S.KEPT] += world.sys[S.FOLIO]
    world.sys[S.ACTIVATED] += world.sys[S.FOLIO]


@jit
def free(world, first):
    """The frames are free, whatever was in them."""
    sys, bit = world.sys, world.bit
    n = sys[S.FOLIO]
    sys[S.LOST_UPDATE] += count(bit, NEWER, first, n)
    for row in (RESIDENT, STREAM, NEWER, FRESH, SAYS, ASKED):
        wipe(bit, row, first, n)
    sys[S.FREE] += n
    sys[S.FREED] += n


@jit
def read_stream(world):
    """The reader takes a frame for each page, read once and never again; kswapd goes first."""
    sys = world.sys
    wanted = take_due(sys, S.READ_RATE, S.READ_CREDIT)
    if wanted == 0:
        return
    wanted = -(-wanted // sys[S.FOLIO]) * sys[S.FOLIO]
    kswapd(world, wanted)
    while wanted > 0:
        if sys[S.FREE] == 0:
            sys[S.STREAM_STALLS] += wanted
            return
        first = next_clear(world.bit, RESIDENT, sys[S.READ_FRAME], sys[S.PAGES])
        if first == sys[S.PAGES]:
            sys[S.READ_FRAME] = 0
            continue
        for row in (RESIDENT, STREAM):
            fill(world.bit, row, first, sys[S.FOLIO])
        sys[S.READ_FRAME] = first + sys[S.FOLIO]
        sys[S.FREE] -= sys[S.FOLIO]
        lru_add(world, first // sys[S.FOLIO], ON_INACTIVE)
        sys[S.STREAMED] += sys[S.FOLIO]
        wanted -= sys[S.FOLIO]
