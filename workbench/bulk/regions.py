"""Memory regions: registered, written to by devices, given back or taken away.

v6.12 drivers/infiniband/core/umem.c: ib_umem_get (pinned in calls of a page full of pointers, 512), __ib_umem_release.
Rules for long-term pins: see `policies.LONGTERM`. Leases: Weiny 2019-06-05 and 2019-09-23, and `policies.LEASE_END`
for a holder that does not let go; who waits for a pinned page has its holder told. Notifier: on-demand paging, v6.12
drivers/infiniband/core/umem_odp.c. Registration takes no time, and is not held up by balance_dirty_pages (assumed).
"""

from workbench.accelerate import jit
from workbench.bulk import registers as S
from workbench.bulk.bits import count, count_without, fill, merge, next_clear, next_set, test, wipe
from workbench.bulk.dirty import set_dirty, write_fault
from workbench.bulk.lru import lru_add, lru_del
from workbench.bulk.world import (
    ASKED,
    AWAY,
    BOUNCED,
    DEVICE,
    DIRTY,
    FRESH,
    GONE,
    HELD,
    KEPT,
    NEVER,
    NEWER,
    NOTIFIED,
    OFF,
    ON_INACTIVE,
    PINNED,
    PRIVATE,
    SAYS,
    TARGET,
    WRITABLE,
    WRITEBACK,
    take_due,
)
from workbench.policies import LEASE_REVOKE

PAGES_PER_CALL = 512


@jit
def begin(world):
    """All regions are registered; those held for a time are given back one after another, evenly over that time."""
    sys = world.sys
    for r in range(sys[S.REGIONS]):
        turn(world, r)
        if world.region[r] == HELD and sys[S.HOLD] > 0:
            world.region_due[r] = sys[S.HOLD] * (r + 1) // sys[S.REGIONS]
        sys[S.NEXT_DUE] = min(sys[S.NEXT_DUE], world.region_due[r])


@jit
def regions_due(world):
    """Whatever is due: registrations, releases, the end of a grace."""
    sys = world.sys
    if sys[S.NOW] < sys[S.NEXT_DUE]:
        return
    for r in range(sys[S.REGIONS]):
        if world.region_due[r] <= sys[S.NOW]:
            turn(world, r)
    sys[S.NEXT_DUE] = NEVER
    for r in range(sys[S.REGIONS]):
        sys[S.NEXT_DUE] = min(sys[S.NEXT_DUE], world.region_due[r])


@jit
def turn(world, r):
    """One region does what is due."""
    sys = world.sys
    state = world.region[r]
    if state == AWAY:
        if may_register(world, r):
            register(world, r)
            world.region[r] = HELD
            world.region_due[r] = sys[S.NOW] + sys[S.HOLD] if sys[S.HOLD] > 0 else NEVER
        else:
            sys[S.REFUSED] += 1
            world.region[r], world.region_due[r] = GONE, NEVER
        return
    unwilling = state == NOTIFIED and not world.cooperative[r]
    if unwilling and sys[S.LEASE_END] != LEASE_REVOKE:
        sys[S.LEASES_KEPT] += 1
        world.region[r] = KEPT
        world.region_due[r] = sys[S.NOW] + sys[S.HOLD] if sys[S.HOLD] > 0 else NEVER
        return
    release(world, r)
    killed = unwilling
    if state == NOTIFIED:
        sys[S.REVOKED if killed else S.RETURNED] += 1
    if killed or sys[S.AWAY_FOR] < 0:
        world.region[r], world.region_due[r] = GONE, NEVER
    else:
        world.region[r], world.region_due[r] = AWAY, sys[S.NOW] + sys[S.AWAY_FOR]


@jit
def in_movable(sys, r):
    """How many of a region's pages lie in the movable zone by their number."""
    return min(max(sys[S.MOVABLE] - r * sys[S.STRIDE], 0), sys[S.REGION_PAGES])


@jit
def may_register(world, r):
    """Whether the kernel pins the region for its holder."""
    sys = world.sys
    if sys[S.NOTIFIER] or sys[S.PRIVATE_PAGES]:
        return True
    if sys[S.REFUSE]:
        return False
    holder = r % sys[S.HOLDERS]
    if sys[S.MEMLOCK] >= 0 and world.locked[holder] + sys[S.REGION_PAGES] > sys[S.MEMLOCK]:
        return False
    return not sys[S.MIGRATE] or sys[S.ROOM] >= sys[S.REGION_PAGES]


@jit
def register(world, r):
    """Every page is faulted in for writing; then it is pinned, or mapped by the device."""
    sys, bit = world.sys, world.bit
    first, n = r * sys[S.STRIDE], sys[S.REGION_PAGES]
    sys[S.GUP_CALL] += -(-n // PAGES_PER_CALL)
    page = next_clear(bit, WRITABLE, first, first + n)
    while page < first + n:
        write_fault(world, page)
        page = next_clear(bit, WRITABLE, page + 1, first + n)
    fill(bit, TARGET, first, n)
    sys[S.TARGETS] += n
    sys[S.TARGETS_MAX] = max(sys[S.TARGETS_MAX], sys[S.TARGETS])
    if sys[S.NOTIFIER]:
        fill(bit, DEVICE, first, n)
        return
    if sys[S.PRIVATE_PAGES]:
        return
    fill(bit, PINNED, first, n)
    sys[S.PINS] += n
    world.locked[r % sys[S.HOLDERS]] += n
    if sys[S.MIGRATE]:
        sys[S.MIGRATED] += in_movable(sys, r)
        sys[S.ROOM] -= n
    if sys[S.SAYS_PINNED]:
        fill(bit, SAYS, first, n)
    for folio in range(first // sys[S.FOLIO], (first + n - 1) // sys[S.FOLIO] + 1):
        if sys[S.SAYS_PINNED]:
            fill(bit, ASKED, folio * sys[S.FOLIO], sys[S.FOLIO])
        if sys[S.OFF_LRU]:
            lru_del(world, folio)


@jit
def release(world, r):
    """__ib_umem_release: dirty what is not dirty, if the holder does so; unpin."""
    sys, bit = world.sys, world.bit
    first, n = r * sys[S.STRIDE], sys[S.REGION_PAGES]
    wipe(bit, TARGET, first, n)
    sys[S.TARGETS] -= n
    if sys[S.NOTIFIER]:
        wipe(bit, DEVICE, first, n)
        return
    if sys[S.PRIVATE_PAGES]:
        copy_back(world, first, n)
        return
    if sys[S.DIRTY_ON_RELEASE]:
        page = next_clear(bit, DIRTY, first, first + n)
        while page < first + n:
            set_dirty(world, page)
            page = next_clear(bit, DIRTY, page + 1, first + n)
    wipe(bit, PINNED, first, n)
    sys[S.UNPINS] += n
    world.locked[r % sys[S.HOLDERS]] -= n
    if sys[S.MIGRATE]:
        sys[S.ROOM] += n
    if not sys[S.SAYS_RELEASED]:
        wipe(bit, SAYS, first, n)
    for folio in range(first // sys[S.FOLIO], (first + n - 1) // sys[S.FOLIO] + 1):
        start = folio * sys[S.FOLIO]
        if count(bit, SAYS, start, sys[S.FOLIO]) == 0:
            wipe(bit, ASKED, start, sys[S.FOLIO])
        if world.folio[folio] & 3 == OFF and count(bit, PINNED, start, sys[S.FOLIO]) == 0:
            lru_add(world, folio, ON_INACTIVE)


@jit
def copy_back(world, first, n):
    """Private pages go to the file's, all of them, as by a thread's write; new is what devices have written."""
    bit = world.bit
    page = next_clear(bit, WRITABLE, first, first + n)
    while page < first + n:
        write_fault(world, page)
        page = next_clear(bit, WRITABLE, page + 1, first + n)
    merge(bit, NEWER, PRIVATE, first, n)
    merge(bit, FRESH, PRIVATE, first, n)
    wipe(bit, PRIVATE, first, n)


@jit
def lease_is_kept(world, first, n):
    """Whether the pages are pinned under a lease that its holder would not give back."""
    page = next_set(world.bit, PINNED, first, first + n)
    return page < first + n and world.region[page // world.sys[S.STRIDE]] == KEPT


@jit
def break_leases(world, first, n):
    """Somebody needs these pages: the leases of those that are pinned are broken."""
    page = next_set(world.bit, PINNED, first, first + n)
    while page < first + n:
        break_lease(world, page)
        behind = (page // world.sys[S.STRIDE] + 1) * world.sys[S.STRIDE]
        page = next_set(world.bit, PINNED, behind, first + n)


@jit
def break_lease(world, page):
    """The holders of all regions in the page's inode are told to let go; one that does takes half of the grace."""
    sys = world.sys
    if world.region[page // sys[S.STRIDE]] != HELD:
        return
    inode = page // sys[S.INODE_PAGES]
    begin, end = inode * sys[S.INODE_PAGES], min((inode + 1) * sys[S.INODE_PAGES], sys[S.FILE])
    for r in range(begin // sys[S.STRIDE], min((end - 1) // sys[S.STRIDE] + 1, sys[S.REGIONS])):
        if world.region[r] == HELD and r * sys[S.STRIDE] + sys[S.REGION_PAGES] > begin:
            grace = sys[S.GRACE] // 2 if world.cooperative[r] else sys[S.GRACE]
            world.region[r] = NOTIFIED
            world.region_due[r] = min(world.region_due[r], sys[S.NOW] + grace)
            sys[S.NEXT_DUE] = min(sys[S.NEXT_DUE], world.region_due[r])
            sys[S.NOTIFIED] += 1


@jit
def transfer(world):
    """Devices write to the regions in turn, page after page; of data that is changed so no dirty bit tells."""
    sys, bit = world.sys, world.bit
    left = take_due(sys, S.TRANSFER_RATE, S.TRANSFER_CREDIT)
    if sys[S.TARGETS] == 0:
        return
    while left > 0:
        page = next_set(bit, TARGET, sys[S.TRANSFER_PAGE], sys[S.FILE])
        if page == sys[S.FILE]:
            sys[S.TRANSFER_PAGE] = 0
            continue
        n = min(next_clear(bit, TARGET, page, min(page + sys[S.MOST], sys[S.FILE])) - page, left)
        sys[S.DEVICE_WRITES] += n
        sys[S.TRANSFER_PAGE] = page + n
        left -= n
        if sys[S.PRIVATE_PAGES]:
            fill(bit, PRIVATE, page, n)
            continue
        if sys[S.NOTIFIER]:
            fault_back(world, page, n)
        else:
            sys[S.UNSTABLE_WRITE] += count_without(bit, WRITEBACK, BOUNCED, page, n)
        fill(bit, NEWER, page, n)
        fill(bit, FRESH, page, n)


@jit
def fault_back(world, first, n):
    """A device that lacks a mapping gets it by a write fault."""
    sys, bit = world.sys, world.bit
    page = next_clear(bit, DEVICE, first, first + n)
    while page < first + n:
        if not test(bit, WRITABLE, page):
            write_fault(world, page)
        fill(bit, DEVICE, page, 1)
        sys[S.DEVICE_FAULTS] += 1
        page = next_clear(bit, DEVICE, page + 1, first + n)
