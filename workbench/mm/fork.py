"""Anonymous memory: the owner's writes, the write fault that may copy, fork, and the child.

The thread that writes may also write to a page of a file, where ``balance_dirty_pages`` holds it up. One virtual page
of the owner, in a world of frames. fork shares the frame read-only with the child (v4.17 mm/memory.c copy_one_pte) or,
where the design asks whether it is pinned, gives the child a copy at once (v5.9 copy_present_page). It holds mmap_lock
for writing, and ``mm->write_protect_seq`` is odd meanwhile (v5.11 mm/memory.c copy_page_range). Sources of the write
fault: v4.17 do_wp_page and reuse_swap_page, v6.12 wp_can_reuse_anon_folio.
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.frames import free_frame, mapped_frame, put_frame, unmap_child
from workbench.mm.page import (
    CHILD_PRESENT,
    CHILD_WRITE,
    NEWER_THAN_COPY,
    NEWER_THAN_DISK,
    PG_ANON,
    PG_DIRTY,
    PG_EXCLUSIVE,
    PG_WRITEBACK,
    PTE_DIRTY,
    PTE_PINNED,
    PTE_PRESENT,
    PTE_WRITE,
    get_page,
    ghost_write,
    has,
    page_of,
)
from workbench.mm.programs import (
    C_EXIT,
    C_WRITE,
    D_FAULT_LOCK,
    D_FAULT_UNLOCK,
    K_ASK,
    K_COPY,
    K_END,
    K_SHARE,
    U_BALANCE,
    U_WRITE,
)
from workbench.mm.world import DEAD, SLEEPING, WAIT_DIRTY, WAIT_FORK, WAIT_MMAP, WAIT_PTE, tally, wait, wake_all
from workbench.mm.writeback import act_on_no, ask_tracker

# ---- the owner writes


@jit
def writer_write(world, t):
    """Write to the virtual page, by way of a fault where the PTE doesn't allow it; exit after the last write."""
    task = at(world.task, t)
    p = mapped_frame(world) if world.sys[R.FRAMES] else int(task["page"])
    if p < 0:
        wait(task, WAIT_PTE, -1)
        return
    page = page_of(world, p)
    if not has(page, PTE_WRITE):
        task["page"] = p
        task["pc"] = D_FAULT_LOCK
        return
    page["flags"] |= PTE_DIRTY
    ghost_write(page)
    task["rounds"] -= 1
    if world.sys[R.DIRTY_LIMIT] > 0:
        task["pc"] = U_BALANCE
    elif task["rounds"] == 0:
        task["state"] = DEAD


@jit
def balance_dirty_pages(world, t):
    """Wait while as many pages as the limit, or more, are dirty or under writeback (v4.17 mm/page-writeback.c).

    After every write, as write(2) calls it (*assumed*: through a mapping it would be called by faults alone).
    """
    task = at(world.task, t)
    dirty = 0
    for p in range(world.sys[R.NR_PAGES]):
        dirty += has(page_of(world, p), PG_DIRTY | PG_WRITEBACK)
    if dirty >= world.sys[R.DIRTY_LIMIT]:
        world.sys[R.THROTTLED] += 1
        wait(task, WAIT_DIRTY, -1)
        return
    task["pc"] = U_WRITE
    if task["rounds"] == 0:
        task["state"] = DEAD


@jit
def cow_fault(world, t):
    """Write fault on the locked frame that the PTE names: use it, or move to a copy.

    ``task.page`` stays the frame that is locked, whichever the PTE names afterwards.
    """
    task = at(world.task, t)
    p = int(task["page"])
    page = page_of(world, p)
    tally(world, R.PTE_UPDATE, 1)
    task["pc"] = D_FAULT_UNLOCK
    if _may_reuse(world, page):
        page["flags"] |= PTE_WRITE | PTE_DIRTY | PG_EXCLUSIVE
        return
    _copy_frame(world, p, PTE_PRESENT | PTE_WRITE | PTE_DIRTY)
    tally(world, R.TLB_FLUSH, 1)
    if page["ghost_pins"] > 0:
        world.sys[R.COW_ALIAS] += 1
    page["flags"] &= ~(PTE_PRESENT | PTE_WRITE | PTE_DIRTY | PTE_PINNED)
    page["_mapcount"] -= 1
    put_frame(world, p)


@inline
def _may_reuse(world, page):
    """Whether nobody else can see the frame: by its references since v5.9, before by its mappings."""
    if has(page, PG_EXCLUSIVE):
        return True
    if world.sys[R.FORK_ASKS]:
        return page["_refcount"] == 1
    return page["_mapcount"] == 0


@jit
def _copy_frame(world, p, pte):
    """Copy a frame to a free one, which the PTE with flags ``pte`` maps; whether it is on disk goes along."""
    f = free_frame(world)
    if f < 0:
        raise MemoryError("no free frame: the scenario lays out too few")
    page = page_of(world, f)
    page["flags"] |= pte | PG_ANON | PG_EXCLUSIVE
    page["_mapcount"] = 0
    page["_refcount"] = 1
    page["ghost_data"] = page_of(world, p)["ghost_data"] & (NEWER_THAN_DISK | NEWER_THAN_COPY)
    world.sys[R.COW_COPIES] += 1


# ---- fork


@jit
def fork_begin(world, t):
    """Take mmap_lock for writing, and make ``write_protect_seq`` odd."""
    sys = world.sys
    task = at(world.task, t)
    if sys[R.MMAP_READERS] > 0 or sys[R.MMAP_WRITER]:
        wait(task, WAIT_MMAP, -1)
        return
    sys[R.MMAP_WRITER] = 1
    sys[R.SEQ] += 1
    task["pc"] = K_ASK


@step
def fork_ask(tracker, world, t):
    """Ask whether the page is pinned, if the design asks and the mm has ever called GUP to pin.

    The child's reference is taken before (v5.19 mm/memory.c copy_present_pte), so that it counts for the bias; and a
    page that the owner's PTE may share already stays shared (v6.12 include/linux/rmap.h folio_try_dup_anon_rmap_ptes).
    """
    sys = world.sys
    task = at(world.task, t)
    p = mapped_frame(world)
    task["page"] = p
    task["pc"] = K_SHARE
    if not sys[R.FORK_ASKS] or not sys[R.HAS_PINNED]:
        return
    page = page_of(world, p)
    page["_refcount"] += 1
    pinned = ask_tracker(tracker, world, p)
    page["_refcount"] -= 1
    if not pinned:
        task["told_no"] = page["ghost_pins"] == 0
    elif has(page, PG_EXCLUSIVE):
        task["pc"] = K_COPY


@jit
def fork_copy(world, t):
    """Give the child a copy at once (v5.9 mm/memory.c copy_present_page)."""
    task = at(world.task, t)
    _copy_frame(world, int(task["page"]), CHILD_PRESENT | CHILD_WRITE)
    tally(world, R.PTE_UPDATE, 1)
    task["pc"] = K_END


@jit
def fork_share(world, t):
    """Write-protect the owner's PTE and map the frame for the child too."""
    task = at(world.task, t)
    p = int(task["page"])
    act_on_no(world, task, p)
    page = page_of(world, p)
    page["flags"] &= ~(PTE_WRITE | PG_EXCLUSIVE)
    page["flags"] |= CHILD_PRESENT
    page["_mapcount"] += 1
    get_page(world, page)
    tally(world, R.PTE_UPDATE, 2)
    tally(world, R.ATOMIC, 2)
    task["pc"] = K_END


@jit
def fork_end(world, t):
    """Flush the TLB, make ``write_protect_seq`` even, drop mmap_lock, and let the child run."""
    sys = world.sys
    tally(world, R.TLB_FLUSH, 1)
    sys[R.SEQ] += 1
    sys[R.MMAP_WRITER] = 0
    wake_all(world, WAIT_MMAP, -1)
    wake_all(world, WAIT_FORK, -1)
    at(world.task, t)["state"] = DEAD


# ---- the child


@jit
def child_wait(world, t):
    """fork has returned in the child, which goes on at its time; without rounds it only exits."""
    task = at(world.task, t)
    if world.sys[R.NOW] < task["until_ps"]:
        task["state"] = SLEEPING
        return
    task["pc"] = C_WRITE if task["rounds"] > 0 else C_EXIT


@jit
def child_write(world, t):
    """Write: a frame that is mapped elsewhere too is copied first (the child's fault, in one step)."""
    task = at(world.task, t)
    p = _child_frame(world)
    page = page_of(world, p)
    task["page"] = p
    task["pc"] = C_EXIT
    if has(page, CHILD_WRITE):
        return
    tally(world, R.PTE_UPDATE, 1)
    if page["_mapcount"] == 0:
        page["flags"] |= CHILD_WRITE
        return
    _copy_frame(world, p, CHILD_PRESENT | CHILD_WRITE)
    unmap_child(world, p)


@jit
def child_exit(world, t):
    """Unmap the child's frame; dead."""
    task = at(world.task, t)
    p = _child_frame(world)
    task["page"] = p
    unmap_child(world, p)
    tally(world, R.PTE_UPDATE, 1)
    task["state"] = DEAD


@jit
def _child_frame(world):
    p = 0
    while not has(page_of(world, p), CHILD_PRESENT):
        p += 1
    return p
