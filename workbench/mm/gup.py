"""get_user_pages: the fast walk, the fault that it falls back to, and where a tracker learns of a pin.

One call takes the pages ``task.first`` to ``task.last``. GUP-fast reads the PTE, takes a reference and
reads the PTE again with interrupts off (v4.17 mm/gup.c gup_pte_range); where the PTE doesn't allow the
access, the page is faulted in under its lock: ``page_mkwrite``, ``wait_for_stable_page``, PTE writable,
unlock; then the page is looked up again (follow_page).
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.i_mmap import i_mmap_lock, i_mmap_unlock, page_mapped
from workbench.mm.page import (
    PG_CACHED,
    PG_PRIVATE,
    PG_WAITERS,
    PG_WRITEBACK,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_WRITE,
    ghost_pin,
    has,
    lock_page,
    lru_add,
    page_of,
    set_page_dirty,
    unlock_page,
)
from workbench.mm.programs import (
    D_BUILD_BIO,
    D_FAULT_LOCK,
    D_FAULT_PTE,
    D_FAULT_UNLOCK,
    D_GUP_PAGES,
    D_PAGE_MKWRITE,
    D_PIN_PAGES,
    D_RANGE_INSERT,
    D_RANGE_LOCK,
    D_RANGE_UNLOCK,
)
from workbench.mm.world import READ, WAIT_WRITEBACK, tally, wait
from workbench.trackers.protocol import AFTER_WALK, IN_GUP, LOCK_NONE, RANGE_AFTER, RANGE_BEFORE, pin, pin_range


@step
def gup_call(tracker, world, t):
    """Begin a call: for a batch of pages, and under iomap for no more than the bio has room for."""
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    n = min(world.sys[R.GUP_BATCH], dio["nr_pages"] - dio["got"])
    if world.sys[R.DIO_IOMAP]:
        n = min(n, dio["bio_left"])
    task["first"] = dio["page"] + dio["got"]
    task["last"] = task["first"] + n - 1
    task["page"] = task["first"]
    task["handle"] = -1
    task["pc"] = D_RANGE_LOCK if tracker.when == RANGE_BEFORE else D_GUP_PAGES
    tally(world, R.GUP_CALL, 1)


@jit
def gup_range_lock(world, t):
    """Take ``i_mmap_rwsem`` for the virtual VMA."""
    if i_mmap_lock(world, t, 1):
        at(world.task, t)["pc"] = D_RANGE_INSERT


@step
def gup_range_insert(tracker, world, t):
    """Insert the virtual VMA."""
    task = at(world.task, t)
    n = task["last"] - task["first"] + 1
    task["handle"] = pin_range(tracker, world, world.sys[R.I_MMAP], task["first"], n)
    task["pc"] = D_RANGE_UNLOCK


@step
def gup_range_unlock(tracker, world, t):
    """Release ``i_mmap_rwsem``; then the walk, or after it, the bios."""
    i_mmap_unlock(world, 1)
    if tracker.when == RANGE_BEFORE:
        at(world.task, t)["pc"] = D_GUP_PAGES
    else:
        _gup_done(world, t)


@inline
def _gup_done(world, t):
    task = at(world.task, t)
    at(world.dio, task["dio"])["got"] += task["last"] - task["first"] + 1
    task["pc"] = D_BUILD_BIO


@step
def gup_pages(tracker, world, t):
    """Walk: take a reference on each page, and with it the pin where that is the same step."""
    task = at(world.task, t)
    needed = PTE_PRESENT | PTE_WRITE if at(world.dio, task["dio"])["op"] == READ else PTE_PRESENT
    p = int(task["page"])
    end = min(int(task["last"]) + 1, p + world.sys[R.PAGES_PER_STEP])
    first = p
    fault = False
    while p < end:
        page = page_of(world, p)
        if page["flags"] & needed != needed:
            fault = True
            break
        page["_refcount"] += 1
        if tracker.when == IN_GUP:
            pin(tracker, world, p)
        ghost_pin(world, page)
        p += 1
    tally(world, R.GUP_PAGE, p - first)
    tally(world, R.ATOMIC, p - first)
    task["page"] = p
    if fault:
        task["pc"] = D_FAULT_LOCK
    elif p > task["last"]:
        _walk_done(tracker, world, t)


@step
def _walk_done(tracker, world, t):
    task = at(world.task, t)
    if tracker.when == AFTER_WALK:
        task["page"] = task["first"]
        task["pc"] = D_PIN_PAGES
    elif tracker.when == RANGE_AFTER:
        task["pc"] = D_RANGE_LOCK
    else:
        _gup_done(world, t)


@step
def locked_batch(tracker, world):
    """Pages that a step may handle: a spinlock is taken for each page, so that it covers one."""
    return world.sys[R.PAGES_PER_STEP] if tracker.lock == LOCK_NONE else 1


@step
def pin_pages(tracker, world, t):
    """The loop after the walk in which off-LRU tracking pins (as posted in 2018), a page per lock hold."""
    task = at(world.task, t)
    p = int(task["page"])
    end = min(int(task["last"]) + 1, p + locked_batch(tracker, world))
    while p < end:
        pin(tracker, world, p)
        p += 1
    task["page"] = p
    if p > task["last"]:
        _gup_done(world, t)


@jit
def fault_lock(world, t):
    """Write fault: lock the page; one that reclaim took is read in again."""
    task = at(world.task, t)
    p = int(task["page"])
    if not lock_page(world, task, p):
        return
    tally(world, R.FAULT, 1)
    page = page_of(world, p)
    if not has(page, PG_CACHED):
        page["flags"] |= PG_CACHED
        page["_refcount"] += 1
        lru_add(world, p)
    write = at(world.dio, task["dio"])["op"] == READ
    task["pc"] = D_PAGE_MKWRITE if write else D_FAULT_PTE


@jit
def page_mkwrite(world, t):
    """``->page_mkwrite``: attach buffers, reserve blocks, dirty the page (v4.17 ext4_page_mkwrite)."""
    task = at(world.task, t)
    page = page_of(world, task["page"])
    if not has(page, PG_PRIVATE):
        page["flags"] |= PG_PRIVATE
        page["_refcount"] += 1
    set_page_dirty(world, page)
    task["pc"] = D_FAULT_PTE


@jit
def fault_pte(world, t):
    """``wait_for_stable_page``, then install the PTE."""
    task = at(world.task, t)
    page = page_of(world, task["page"])
    write = at(world.dio, task["dio"])["op"] == READ
    if write and world.sys[R.STABLE_PAGES] and has(page, PG_WRITEBACK):
        page["flags"] |= PG_WAITERS
        wait(task, WAIT_WRITEBACK, task["page"])
        return
    if not page_mapped(page):
        page["_mapcount"] += 1
        page["_refcount"] += 1
    page["flags"] |= PTE_PRESENT | PTE_WRITE | PTE_DIRTY if write else PTE_PRESENT
    tally(world, R.PTE_UPDATE, 1)
    task["pc"] = D_FAULT_UNLOCK


@jit
def fault_unlock(world, t):
    """Unlock; GUP looks the page up again."""
    task = at(world.task, t)
    unlock_page(world, task["page"])
    task["pc"] = D_GUP_PAGES
