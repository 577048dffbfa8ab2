"""A memory region: registered once or several times, written to by its device, idle, deregistered.

Registration is a long-term GUP call (v6.12 drivers/infiniband/core/umem.c ib_umem_get); where the rules say so, it
is refused, or its page is moved out of CMA first. The device writes without any kernel code running, and its
completion is polled. Deregistration dirties the pages, if they are clean, and puts them (__ib_umem_release).
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.bio import alloc_bio_row, device_push, learn_completion, put_pinned_pages
from workbench.mm.detached import every_page, has_notifier, keeps_no_pin, page_bit, unmap_device
from workbench.mm.frames import mapped_frame, put_page
from workbench.mm.gup import learns, locked_batch, pins_by_lock, range_spinlock
from workbench.mm.i_mmap import i_mmap_lock, i_mmap_unlock
from workbench.mm.lease import has_leases, lease_changes
from workbench.mm.page import (
    FRAME_CMA,
    PG_DIRTY,
    PG_LOCKED,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_WRITE,
    end_pins,
    ghost_write,
    has,
    page_of,
    set_page_dirty,
    wait_for_lock,
    wake_pin_waiters,
)
from workbench.mm.programs import (
    D_FAULT_LOCK,
    D_GUP_CALL,
    G_ISOLATE,
    M_DEREG_DETACHED,
    M_DEREG_DIRTY,
    M_DEREG_LOCK,
    M_DEREG_RANGE,
    M_DEREG_RELEASE,
    M_DEREG_UNLOCK,
    M_DETACH,
    M_GRACE,
    M_IDLE,
    M_NOTICE,
    M_POLL,
    M_POST_RECV,
    M_REGISTER,
    M_UNDO,
    RDMA_PROGRAM,
)
from workbench.mm.world import (
    DEAD,
    READ,
    SLEEPING,
    TRANSFER,
    WAIT_BIO,
    WAIT_CQ,
    WAIT_PTE,
    WAIT_TAG,
    WAIT_USER,
    tally,
    wait,
)
from workbench.policies import (
    LEASE_FAIL,
    LEASE_REVOKE,
    LONGTERM_MIGRATE,
    LONGTERM_MIGRATE_CMA,
    LONGTERM_REFUSE,
    LONGTERM_REFUSE_DAX,
)
from workbench.trackers.protocol import LOCK_NONE, RANGE_BEFORE, bytes_in_use, unpin_range


@jit
def reg_mr(world, t):
    """Register the region, once more, unless the rules refuse that."""
    sys = world.sys
    task = at(world.task, t)
    refused_file = sys[R.LONGTERM] & LONGTERM_REFUSE and not sys[R.FRAMES]
    refused = refused_file or (sys[R.LONGTERM] & LONGTERM_REFUSE_DAX and sys[R.DAX])
    if refused and not keeps_no_pin(world):
        sys[R.REFUSED] += 1
        task["state"] = DEAD
        return
    d = task["free_dio"]
    dio = at(world.dio, d)
    task["free_dio"] = dio["next"]
    task["dio"] = d
    dio["next"] = -1
    dio["op"] = READ
    dio["got"] = 0
    dio["built"] = 0
    dio["refcount"] = 0
    task["pc"] = D_GUP_CALL


@jit
def mr_check(world, t):
    """See whether the pages are where long-term pins may be (v6.12 mm/gup.c check_and_migrate_movable_folios)."""
    sys = world.sys
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    if keeps_no_pin(world):
        task["pc"] = M_DETACH
        return
    rules = LONGTERM_MIGRATE if sys[R.MOVABLE] else LONGTERM_MIGRATE | LONGTERM_MIGRATE_CMA
    in_cma = 0
    for p in range(dio["page"], dio["page"] + dio["nr_pages"]):
        in_cma += has(page_of(world, p), FRAME_CMA)
    if in_cma and sys[R.LONGTERM] & rules:
        task["pc"] = M_UNDO
        return
    sys[R.UNMOVABLE] += in_cma
    _enlist(world, task)


@step
def mr_detach(tracker, world, t):
    """Give back what GUP gave: the device has private pages now, or has the pages mapped.

    It has not if a PTE was write-protected meanwhile, for nobody knew of the device yet: GUP again (as with
    mmu_interval_read_retry, v6.12 Documentation/mm/hmm.rst).
    """
    sys = world.sys
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    n = int(dio["nr_pages"])
    allowed = True
    for p in range(dio["page"], dio["page"] + n):
        allowed &= page_of(world, p)["flags"] & (PTE_PRESENT | PTE_WRITE) == PTE_PRESENT | PTE_WRITE
        put_page(tracker, world, p)
        wake_pin_waiters(world, p)  # truncation of a DAX file waits for references
    tally(world, R.ATOMIC, n)
    tally(world, R.PUT_PAGE, n)
    if sys[R.PRIVATE_PAGES]:
        tally(world, R.PRIVATE_COPY, n)
        sys[R.PRIVATE_NOW] += n
        sys[R.PEAK_BYTES] = max(sys[R.PEAK_BYTES], bytes_in_use(tracker, world))
    elif allowed:
        dio["built"] = every_page(dio)
    else:
        dio["got"] = 0
        task["pc"] = D_GUP_CALL
        return
    if task["rounds"] > 0:
        _enlist(world, task)
    else:  # the device has faulted
        task["pc"] = M_POST_RECV


@inline
def _enlist(world, task):
    """The registration joins those of the region, in their order; the next one, or transfers."""
    d = task["dio"]
    if task["flight_head"] < 0:
        task["flight_head"] = d
    else:
        at(world.dio, task["flight_tail"])["next"] = d
    task["flight_tail"] = d
    task["rounds"] -= 1
    task["pc"] = M_REGISTER if task["rounds"] > 0 else M_POST_RECV


@step
def mr_undo(tracker, world, t):
    """Give the pin back, to move the page."""
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    p = int(dio["page"])
    put_pinned_pages(tracker, world, p, p + 1, learns(tracker, world, RDMA_PROGRAM, p), -1)
    dio["got"] = 0
    task["page"] = p
    task["pc"] = G_ISOLATE


@jit
def post_recv(world, t):
    """Have the device write into the region, once more; or all transfers are done."""
    sys = world.sys
    task = at(world.task, t)
    if task["transfers"] == 0:
        task["pc"] = M_NOTICE if has_leases(world) and task["error"] else M_IDLE
        return
    dio = at(world.dio, task["dio"])
    if has_notifier(world) and dio["built"] != every_page(dio):
        tally(world, R.DEVICE_FAULT, 1)
        dio["got"] = 0
        task["pc"] = D_GUP_CALL
        return
    if sys[R.TAGS_FREE] == 0:
        wait(task, WAIT_TAG, -1)
        return
    b = alloc_bio_row(world)
    if b < 0:
        wait(task, WAIT_BIO, -1)
        return
    task["transfers"] -= 1
    dio["refcount"] = 1
    row = at(world.bio, b)
    row["page"] = dio["page"]
    row["nr_pages"] = dio["nr_pages"]
    row["handle"] = -1
    row["seg_next"] = -1
    row["dio"] = task["dio"]
    row["op"] = TRANSFER
    row["cpu"] = task["cpu"]
    row["redirty"] = 0
    row["done_ps"] = -1
    device_push(world, b)
    task["pc"] = M_POLL


@jit
def poll_cq(world, t):
    """Wait for the completion; from here on the caller knows that the data has come."""
    task = at(world.task, t)
    if at(world.dio, task["dio"])["refcount"] > 0:
        wait(task, WAIT_CQ, -1)
        return
    if world.sys[R.WATCH]:
        learn_completion(world, task["dio"])
    task["pc"] = M_POST_RECV


@jit
def mr_idle(world, t):
    """Registered and idle, perhaps for days: nobody need ever deregister (`caller` says whether this one does)."""
    task = at(world.task, t)
    if not task["caller"]:
        wait(task, WAIT_USER, -1)
        return
    _begin_dereg(world, task, task["flight_head"])


@jit
def _begin_dereg(world, task, d):
    """Deregister the registration ``d``; with none left the region is gone, and so is its lease."""
    task["dio"] = d
    if d < 0:
        task["state"] = DEAD
        task["flight_head"] = -1
        lease_changes(world)
        return
    task["page"] = at(world.dio, d)["page"]
    task["pc"] = M_DEREG_DETACHED if keeps_no_pin(world) else M_DEREG_DIRTY


@jit
def lease_notice(world, t):
    """The holder of a lease is told to let go, and does, or not until the grace period is over."""
    sys = world.sys
    task = at(world.task, t)
    if sys[R.HOLDER_RELEASES]:
        _begin_dereg(world, task, task["flight_head"])
        return
    task["until_ps"] = sys[R.NOW] + sys[R.GRACE_PS]
    task["pc"] = M_GRACE


@jit
def lease_grace(world, t):
    """The grace period is over: the holder is revoked, or keeps the lease and the other gets an error, or nothing."""
    sys = world.sys
    task = at(world.task, t)
    if sys[R.NOW] < task["until_ps"]:
        task["state"] = SLEEPING
        return
    if sys[R.LEASE_END] == LEASE_REVOKE:
        sys[R.REVOKED] += 1
        _begin_dereg(world, task, task["flight_head"])
        return
    task["pc"] = M_IDLE
    if sys[R.LEASE_END] == LEASE_FAIL:
        sys[R.LEASE_KEPT] += 1
        sys[R.LEASE_REFUSED] = 1
        lease_changes(world)


@step
def dereg_dirty(tracker, world, t):
    """Dirty what is clean, a page at a time, under its lock."""
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    p = int(task["page"])
    page = page_of(world, p)
    if world.sys[R.DIRTY_ON_RELEASE] and not has(page, PG_DIRTY):
        if not pins_by_lock(tracker, world, RDMA_PROGRAM, p):
            if has(page, PG_LOCKED):
                wait_for_lock(task, page, p)
                return
            tally(world, R.PAGE_LOCK, 1)
        set_page_dirty(world, page)
    task["page"] = p + 1
    if p + 1 == dio["page"] + dio["nr_pages"]:
        task["page"] = dio["page"]
        ranges = learns(tracker, world, RDMA_PROGRAM, dio["page"]) >= RANGE_BEFORE
        task["pc"] = M_DEREG_RELEASE
        if ranges:
            task["pc"] = M_DEREG_LOCK if range_spinlock(tracker) == LOCK_NONE else M_DEREG_RANGE


@jit
def dereg_range_lock(world, t):
    """Take ``i_mmap_rwsem`` to release the region's range."""
    if i_mmap_lock(world, t, 1):
        at(world.task, t)["pc"] = M_DEREG_RANGE


@step
def dereg_range(tracker, world, t):
    """Release the range, from the cursor on."""
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    p = int(task["page"])
    end = min(int(dio["page"]) + int(dio["nr_pages"]), p + world.sys[R.PAGES_PER_STEP])
    unpin_range(tracker, world, world.sys[R.I_MMAP], p, end - p, int(dio["handle"]))
    end_pins(world, p, end)
    task["page"] = end
    if end == dio["page"] + dio["nr_pages"]:
        dio["handle"] = -1
        if range_spinlock(tracker) == LOCK_NONE:
            task["pc"] = M_DEREG_UNLOCK
        else:
            task["page"] = dio["page"]
            task["pc"] = M_DEREG_RELEASE


@jit
def dereg_range_unlock(world, t):
    """Release ``i_mmap_rwsem``; the references come next."""
    i_mmap_unlock(world, 1)
    task = at(world.task, t)
    task["page"] = at(world.dio, task["dio"])["page"]
    task["pc"] = M_DEREG_RELEASE


@step
def dereg_release(tracker, world, t):
    """Unpin and put the pages; then the next registration, or the region is gone."""
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    p = int(task["page"])
    end = min(int(dio["page"]) + int(dio["nr_pages"]), p + locked_batch(tracker, world))
    when = learns(tracker, world, RDMA_PROGRAM, dio["page"])
    put_pinned_pages(tracker, world, p, end, when, dio["handle"])
    tally(world, R.ATOMIC, end - p)
    tally(world, R.PUT_PAGE, end - p)
    task["page"] = end
    if end < dio["page"] + dio["nr_pages"]:
        return
    task["flight_head"] = dio["next"]
    _begin_dereg(world, task, dio["next"])


@jit
def dereg_detached(world, t):
    """Release a region that keeps no pin, a page at a time: take the mapping from the device, or copy the page back.

    A private page is copied back as by a write of the owner, through a fault where the PTE doesn't allow it (*assumed*:
    with ``set_page_dirty_lock`` alone a page without buffers would be dirtied).
    """
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    p = int(task["page"])
    if world.sys[R.PRIVATE_PAGES]:
        if world.sys[R.FRAMES]:
            p = mapped_frame(world)
            if p < 0:
                wait(task, WAIT_PTE, -1)
                return
        if not _copy_back(world, task, dio, p):
            return
    else:
        unmap_device(world, dio, p)
    task["page"] = p + 1
    if world.sys[R.FRAMES] or p + 1 == dio["page"] + dio["nr_pages"]:
        dio["built"] = 0
        task["flight_head"] = dio["next"]
        _begin_dereg(world, task, dio["next"])


@jit
def _copy_back(world, task, dio, p):
    page = page_of(world, p)
    if page["flags"] & (PTE_PRESENT | PTE_WRITE) != PTE_PRESENT | PTE_WRITE:
        task["page"] = task["first"] = task["last"] = p
        task["pc"] = D_FAULT_LOCK
        return False
    if dio["built"] & (1 if world.sys[R.FRAMES] else page_bit(dio, p)):
        ghost_write(page)
        dio["built"] &= ~page_bit(dio, p)
    page["flags"] |= PTE_DIRTY
    tally(world, R.PRIVATE_COPY, 1)
    world.sys[R.PRIVATE_NOW] -= 1
    return True
