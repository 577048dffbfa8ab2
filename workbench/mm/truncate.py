"""Truncation of the whole file: PTEs go first, then, page by page, the page cache lets go.

Of a page cache file an orphaned page stays with whoever holds a reference (v4.17 mm/truncate.c
truncate_cleanup_page, truncate_complete_page). Of a DAX file the block is freed; since v4.18 truncation may wait until
nobody references it (fs/dax.c dax_layout_busy_page, xfs_break_layouts).
"""

from workbench.accelerate import at, jit, step
from workbench.mm import registers as R
from workbench.mm.detached import invalidate
from workbench.mm.lease import has_leases, lease_held, tell_holders
from workbench.mm.page import (
    BH_DIRTY,
    EVER_PINNED,
    PG_CACHED,
    PG_DIRTY,
    PG_LRU,
    PG_PRIVATE,
    PG_WAITERS,
    PG_WRITEBACK,
    PTE_DIRTY,
    PTE_PINNED,
    PTE_PRESENT,
    PTE_WRITE,
    TAG_DIRTY,
    has,
    lock_page,
    lru_del,
    page_of,
    set_page_dirty,
    unlock_page,
)
from workbench.mm.programs import T_IDLE, T_LOCK, T_TRUNCATE, T_UNLOCK, T_UNMAP
from workbench.mm.world import DEAD, WAIT_PIN, WAIT_WRITEBACK, tally, wait
from workbench.trackers.protocol import page_freed


@jit
def truncate_begin(world, t):
    """i_size is 0: faults fail from now on. A lease is broken before, or truncation fails."""
    task = at(world.task, t)
    if has_leases(world) and lease_held(world):
        _break_leases(world, task, 0)
        return
    world.sys[R.TRUNCATED] = 1
    task["page"] = 0
    task["pc"] = T_UNMAP


@jit
def _break_leases(world, task, p):
    """Tell the holders of leases, and wait; one who keeps his has truncation fail (Weiny 2019-08-09: -ETXTBUSY)."""
    if world.sys[R.LEASE_REFUSED]:
        world.sys[R.TRUNCATE_FAILED] += 1
        world.sys[R.TRUNCATED] = 0
        task["state"] = DEAD
        return
    tell_holders(world, -1)
    page_of(world, p)["flags"] |= PG_WAITERS
    wait(task, WAIT_PIN, p)


@jit
def unmap_range(world, t):
    """Remove the PTE; what it knew to be dirty goes to the page (v4.17 mm/memory.c zap_pte_range)."""
    task = at(world.task, t)
    page = page_of(world, int(task["page"]))
    if not invalidate(world, task, int(task["page"])):
        return
    if has(page, PTE_PRESENT):
        if has(page, PTE_DIRTY):
            set_page_dirty(world, page)
        page["flags"] &= ~(PTE_PRESENT | PTE_WRITE | PTE_DIRTY | PTE_PINNED)
        page["_mapcount"] -= 1
        page["_refcount"] -= 1
        tally(world, R.PTE_UPDATE, 1)
        tally(world, R.TLB_FLUSH, 1)
        tally(world, R.ATOMIC, 1)
    task["pc"] = T_IDLE if world.sys[R.DAX] and world.sys[R.TRUNCATE_WAITS] else T_LOCK


@jit
def truncate_idle(world, t):
    """Wait until only the file references the DAX page; a lease may have been taken meanwhile."""
    task = at(world.task, t)
    p = int(task["page"])
    page = page_of(world, p)
    if page["_refcount"] > 1:
        _break_leases(world, task, p)
        return
    task["pc"] = T_LOCK


@jit
def truncate_lock(world, t):
    """Lock the page."""
    task = at(world.task, t)
    if lock_page(world, task, int(task["page"])):
        task["pc"] = T_TRUNCATE


@step
def truncate_page(tracker, world, t):
    """Wait for its writeback, then take the page from its file, dirty or not, pinned or not.

    An orphan stays on the LRU until its last reference goes (v4.17 mm/swap.c __page_cache_release).
    """
    task = at(world.task, t)
    p = int(task["page"])
    page = page_of(world, p)
    if has(page, PG_WRITEBACK):
        page["flags"] |= PG_WAITERS
        wait(task, WAIT_WRITEBACK, p)
        return
    task["pc"] = T_UNLOCK
    if not has(page, PG_CACHED):
        return
    if has(page, PG_PRIVATE):
        page["_refcount"] -= 1
    page["flags"] &= ~(PG_PRIVATE | BH_DIRTY | PG_DIRTY | TAG_DIRTY | PG_CACHED)
    page["_refcount"] -= 1
    page["ghost_data"] &= EVER_PINNED
    world.sys[R.TRUNCATED_PAGES] += 1
    if page["_refcount"] == 0:
        if has(page, PG_LRU):
            lru_del(world, p)
        page["ghost_data"] = 0
        page_freed(tracker, world, p)


@jit
def truncate_unlock(world, t):
    """Unlock; the next page, or done."""
    task = at(world.task, t)
    unlock_page(world, int(task["page"]))
    task["page"] += 1
    task["pc"] = T_UNMAP
    if task["page"] == world.sys[R.NR_PAGES]:
        task["state"] = DEAD
