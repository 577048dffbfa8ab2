"""The lists of folios: active and inactive; pinned folios may be off both, and mlocked ones (unevictable) are."""

from workbench.accelerate import inline, jit
from workbench.bulk import registers as S
from workbench.bulk.bits import fill, test, wipe
from workbench.bulk.world import OFF, ON_ACTIVE, ON_INACTIVE, RESIDENT, STREAM, folio_start


@inline
def end_of(world, on):
    """The end of a list: its neighbours are head and tail."""
    return len(world.folio) + on - 1


@jit
def lru_add(world, folio, on):
    """Put a folio at the head of a list."""
    end = end_of(world, on)
    head = world.after[end]
    world.after[end], world.before[head] = folio, folio
    world.after[folio], world.before[folio] = head, end
    world.folio[folio] = (world.folio[folio] & ~3) | on
    world.sys[S.ACTIVE if on == ON_ACTIVE else S.INACTIVE] += world.sys[S.FOLIO]


@jit
def lru_del(world, folio):
    """Take a folio off the list that it is on, if any."""
    on = world.folio[folio] & 3
    if on == OFF:
        return
    after, before = world.after[folio], world.before[folio]
    world.after[before], world.before[after] = after, before
    world.folio[folio] &= ~3
    world.sys[S.ACTIVE if on == ON_ACTIVE else S.INACTIVE] -= world.sys[S.FOLIO]


@jit
def fault_in(world, page):
    """A folio of the file comes back into its frame, whose streamed folio is dropped if there is one (assumed)."""
    sys, first = world.sys, folio_start(world.sys, page)
    folio = first // sys[S.FOLIO]
    if test(world.bit, RESIDENT, first):
        lru_del(world, folio)
        wipe(world.bit, STREAM, first, sys[S.FOLIO])
        sys[S.DROPPED] += sys[S.FOLIO]
    else:
        fill(world.bit, RESIDENT, first, sys[S.FOLIO])
        sys[S.FREE] -= sys[S.FOLIO]
    sys[S.REFAULTS] += sys[S.FOLIO]
    lru_add(world, folio, ON_INACTIVE)
