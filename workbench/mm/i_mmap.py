"""``i_mmap_rwsem``, and the walk over ``i_mmap`` that ``page_mkclean`` and ``try_to_unmap`` make.

The semaphore sleeps; waiters are served in order, readers next to each other together (v4.17
kernel/locking/rwsem-xadd.c). Assumed: waiters don't spin before they sleep, and a released semaphore is handed over.
"""

from workbench.accelerate import at, inline, jit
from workbench.intrinsics import at_word
from workbench.mm import registers as R
from workbench.mm.interval_tree import KIND_VMA, first_link, next_link
from workbench.mm.page import (
    PG_CACHED,
    PTE_DIRTY,
    PTE_PINNED,
    PTE_PRESENT,
    PTE_WRITE,
    has,
    nr_ptes,
    page_of,
    set_page_dirty,
)
from workbench.mm.world import WAIT_I_MMAP, tally, wait, wake


@jit
def i_mmap_lock(world, t, write):
    """Take the semaphore, or queue for it.

    Returns
    -------
    bool
        False: the task waits; when it is woken the semaphore is its own, and calling again says so.
    """
    sys = world.sys
    task = at(world.task, t)
    if task["granted"]:
        task["granted"] = 0
        return True
    tally(world, R.RWSEM, 1)
    free = sys[R.I_MMAP_WRITER] == 0 and (not write or sys[R.I_MMAP_READERS] == 0)
    if free and sys[R.I_MMAP_HEAD] == 0:
        _grant(world, t, write)
        return True
    task["write"] = write
    task["wait_next"] = 0
    if sys[R.I_MMAP_TAIL] == 0:
        sys[R.I_MMAP_HEAD] = t + 1
    else:
        at(world.task, sys[R.I_MMAP_TAIL] - 1)["wait_next"] = t + 1
    sys[R.I_MMAP_TAIL] = t + 1
    wait(task, WAIT_I_MMAP, -1)
    return False


@inline
def _grant(world, t, write):
    if write:
        world.sys[R.I_MMAP_WRITER] = t + 1
    else:
        world.sys[R.I_MMAP_READERS] += 1


@jit
def i_mmap_unlock(world, write):
    """Release the semaphore and hand it to the first waiter, and to the readers right behind a reader."""
    sys = world.sys
    if write:
        sys[R.I_MMAP_WRITER] = 0
    else:
        sys[R.I_MMAP_READERS] -= 1
    while sys[R.I_MMAP_HEAD] != 0 and sys[R.I_MMAP_WRITER] == 0:
        t = sys[R.I_MMAP_HEAD] - 1
        task = at(world.task, t)
        if task["write"] and sys[R.I_MMAP_READERS] > 0:
            return
        sys[R.I_MMAP_HEAD] = task["wait_next"]
        if sys[R.I_MMAP_HEAD] == 0:
            sys[R.I_MMAP_TAIL] = 0
        _grant(world, t, task["write"])
        task["granted"] = 1
        task["write"] = task["wait_next"] = 0
        wake(world, t, WAIT_I_MMAP)


@inline
def page_mapped(page):
    """Whether any PTE maps the page."""
    return page["_mapcount"] >= 0


@jit
def page_mkclean(world, p):
    """Write-protect and clean the PTEs that map a page; the caller holds page lock and ``i_mmap_rwsem``.

    As in v4.17 mm/rmap.c nothing happens for an unmapped page. The dirty bit of the PTE goes to the page
    (v4.17 clear_page_dirty_for_io: ``set_page_dirty`` if any PTE was cleaned).

    Returns
    -------
    int
        PTEs that the walk has found.
    """
    page = page_of(world, p)
    if not page_mapped(page):
        return 0
    _walk_vmas(world, p)
    found = nr_ptes(world, page)
    if not has(page, PTE_PRESENT) or not has(page, PTE_WRITE | PTE_DIRTY):
        return found
    page["flags"] &= ~(PTE_WRITE | PTE_DIRTY)
    tally(world, R.PTE_UPDATE, 1)
    tally(world, R.TLB_FLUSH, 1)
    if has(page, PG_CACHED):
        set_page_dirty(world, page)
    return found


@jit
def try_to_unmap(world, p):
    """Remove the PTEs that map a page; a dirty PTE makes the page dirty (v4.17 mm/rmap.c)."""
    page = page_of(world, p)
    _walk_vmas(world, p)
    if has(page, PTE_DIRTY):
        set_page_dirty(world, page)
    page["flags"] &= ~(PTE_PRESENT | PTE_WRITE | PTE_DIRTY | PTE_PINNED)
    ptes = nr_ptes(world, page)
    page["_refcount"] -= ptes  # of every process that maps it
    page["_mapcount"] -= ptes
    tally(world, R.PTE_UPDATE, 1)
    tally(world, R.TLB_FLUSH, 1)
    tally(world, R.ATOMIC, 1)
    world.sys[R.UNMAPPED] += 1


@inline
def _walk_vmas(world, p):
    """Visit the nodes that cover a page; what is not a VMA has no PTE and is passed over."""
    before = world.sys[R.RB_VISITED]
    n = first_link(world.node, world.sys, world.sys[R.I_MMAP], p, p)
    vmas = 0
    while n != 0:
        if at_word(world.node, n)["kind"] == KIND_VMA:
            vmas += 1
        n = next_link(world.node, world.sys, n, p, p)
    visited = world.sys[R.RB_VISITED] - before
    world.sys[R.STEP_PS] += visited * world.sys[R.COST + R.RB_VISITED]
    tally(world, R.SPIN_LOCK, vmas)  # the page-table lock, once per VMA
    return vmas
