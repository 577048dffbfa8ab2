"""Migration of the virtual page out of CMA: for an allocation from CMA, or before a long-term pin.

Isolated, locked and unmapped, a page is moved if nobody else references it; then its PTE comes back, at the new frame
or at the old one. Sources: v4.17 mm/migrate.c migrate_page_move_mapping; v5.13 mm/gup.c
check_and_migrate_movable_pages.
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.detached import invalidate
from workbench.mm.frames import free_frame, mapped_frame
from workbench.mm.page import (
    FRAME_CMA,
    PG_CACHED,
    PG_LOCKED,
    PG_LRU,
    PG_PRIVATE,
    PG_WAITERS,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_WRITE,
    get_page,
    has,
    lock_page,
    lru_del,
    page_of,
    putback_lru_page,
    trylock_page,
    unlock_page,
)
from workbench.mm.programs import (
    D_GUP_CALL,
    G_ISOLATE,
    G_LOCK,
    G_MOVE,
    G_PUTBACK,
    G_REMAP,
    G_UNMAP,
    RDMA_PROGRAM,
)
from workbench.mm.world import DEAD, WAIT_PTE, tally, wake_all
from workbench.trackers.protocol import page_freed


@jit
def isolate(world, t):
    """Take the frame in CMA that holds the virtual page off the LRU; without one the attempt has failed."""
    task = at(world.task, t)
    p = mapped_frame(world)
    if p < 0 or not has(page_of(world, p), FRAME_CMA) or not has(page_of(world, p), PG_LRU):
        if task["program"] == RDMA_PROGRAM:  # somebody else has isolated it: pin it again, and look again
            task["pc"] = D_GUP_CALL
        else:
            _attempt_ends(world, task, False)
        return
    lru_del(world, p)
    get_page(world, page_of(world, p))
    tally(world, R.LRU_ISOLATE, 1)
    task["page"] = p
    task["first"] = p
    task["pc"] = G_LOCK


@jit
def migrate_lock(world, t):
    """Lock the page."""
    task = at(world.task, t)
    if lock_page(world, task, int(task["page"])):
        task["pc"] = G_UNMAP


@jit
def migrate_unmap(world, t):
    """Put a migration entry in the PTE's place: its bits are kept, and faults wait."""
    task = at(world.task, t)
    if not invalidate(world, task, int(task["page"])):
        return
    page = page_of(world, int(task["page"]))
    task["kept"] = page["flags"] & (PTE_PRESENT | PTE_WRITE | PTE_DIRTY)
    page["flags"] &= ~(PTE_PRESENT | PTE_WRITE | PTE_DIRTY)
    page["_mapcount"] -= 1
    page["_refcount"] -= 1
    tally(world, R.PTE_UPDATE, 1)
    tally(world, R.TLB_FLUSH, 1)
    tally(world, R.ATOMIC, 1)
    task["pc"] = G_MOVE


@step
def migrate_move(tracker, world, t):
    """Move to a free frame outside CMA, unless somebody else references the page; ``task.first``: where it is now."""
    task = at(world.task, t)
    p = int(task["page"])
    page = page_of(world, p)
    task["pc"] = G_REMAP
    own = 1 + has(page, PG_CACHED) + has(page, PG_PRIVATE)
    f = free_frame(world)
    if page["_refcount"] != own or f < 0:
        return
    new = page_of(world, f)
    trylock_page(world, new)
    new["flags"] |= page["flags"] & ~(FRAME_CMA | PG_WAITERS)
    new["_refcount"] = own
    new["_mapcount"] = page["_mapcount"]
    new["ghost_data"] = page["ghost_data"]
    page["flags"] &= PG_LOCKED | PG_WAITERS | FRAME_CMA
    page["_refcount"] = 0
    page["ghost_data"] = 0
    page_freed(tracker, world, p)
    task["first"] = f


@jit
def migrate_remap(world, t):
    """Put the PTE back, at the new frame or at the old one."""
    task = at(world.task, t)
    page = page_of(world, int(task["first"]))
    page["flags"] |= task["kept"]
    page["_mapcount"] += 1
    get_page(world, page)
    tally(world, R.PTE_UPDATE, 1)
    tally(world, R.ATOMIC, 1)
    wake_all(world, WAIT_PTE, -1)
    task["pc"] = G_PUTBACK


@jit
def putback(world, t):
    """Unlock, drop the isolation's reference, and put the page back on the LRU, wherever it is."""
    task = at(world.task, t)
    p, f = int(task["page"]), int(task["first"])
    unlock_page(world, p)
    if f != p:
        unlock_page(world, f)
    page_of(world, f)["_refcount"] -= 1
    putback_lru_page(world, f)
    _attempt_ends(world, task, f != p)


@inline
def _attempt_ends(world, task, moved):
    """Registration goes on if the page has moved, and fails if not; an allocation tries again."""
    world.sys[R.MIGRATED if moved else R.NOT_MIGRATED] += 1
    if task["program"] == RDMA_PROGRAM:
        _registration_goes_on(world, task, moved)
        return
    task["rounds"] -= 1
    task["pc"] = G_ISOLATE
    if moved or task["rounds"] == 0:
        task["state"] = DEAD


@inline
def _registration_goes_on(world, task, moved):
    task["kept"] = 0
    if moved:
        task["pc"] = D_GUP_CALL
    else:
        world.sys[R.REFUSED] += 1
        task["state"] = DEAD
