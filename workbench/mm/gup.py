"""get_user_pages: the fast walk, the fault that it falls back to, and where a tracker learns of a pin.

One call takes the pages ``task.first`` to ``task.last``. GUP-fast reads the PTE, takes a reference and
reads the PTE again with interrupts off (v4.17 mm/gup.c gup_pte_range); where the PTE doesn't allow the
access, the page is faulted in under its lock: ``page_mkwrite``, ``wait_for_stable_page``, PTE writable,
unlock; then the page is looked up again (follow_page). Direct IO, registration of memory regions and, for its
faults, a thread that writes share these steps.
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.detached import keeps_no_pin
from workbench.mm.frames import file_backed, mapped_frame, put_page
from workbench.mm.i_mmap import i_mmap_lock, i_mmap_unlock
from workbench.mm.page import (
    PG_CACHED,
    PG_LOCKED,
    PG_PRIVATE,
    PG_WAITERS,
    PG_WRITEBACK,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_WRITE,
    count_pins,
    count_unpins,
    get_page,
    ghost_pin,
    ghost_unpin,
    has,
    is_over,
    judge_counts,
    lock_page,
    lru_add,
    page_of,
    set_page_dirty,
    unlock_page,
    wait_for_lock,
    wake_pin_waiters,
)
from workbench.mm.programs import (
    D_BUILD_BIO,
    D_COW_FAULT,
    D_FAULT_LOCK,
    D_FAULT_PTE,
    D_FAULT_UNLOCK,
    D_FOLLOW_PAGE,
    D_GUP_CHECK,
    D_GUP_FAIL,
    D_GUP_PAGES,
    D_GUP_TAKE,
    D_PAGE_MKWRITE,
    D_PIN_PAGES,
    D_RANGE_INSERT,
    D_RANGE_LOCK,
    D_RANGE_UNLOCK,
    DIO_PROGRAM,
    M_CHECK,
    M_DEREG_DETACHED,
    RDMA_PROGRAM,
    U_WRITE,
    WRITER_PROGRAM,
)
from workbench.mm.world import DEAD, READ, WAIT_MMAP, WAIT_PTE, WAIT_WRITEBACK, tally, wait, wake_all
from workbench.trackers.protocol import (
    AFTER_WALK,
    IN_GUP,
    LOCK_NONE,
    LOCK_PAGE,
    NEVER,
    RANGE_AFTER,
    RANGE_BEFORE,
    forget_range,
    pin,
    pin_range,
    unpin,
)

FAILED, FAILED_LOCKED = 1, 2  # of a GUP call, in `kept`: a page was truncated; and the lock of ranges is held


@inline
def _tells(world, program):
    """Whether the caller tells the tracker, or takes plain references."""
    return world.sys[R.PIN_RDMA] if program == RDMA_PROGRAM else world.sys[R.PIN_DIO]


@step
def learns(tracker, world, program, p):
    """When the tracker learns of a pin: never of callers that take plain references, and of ranges in files only.

    Nor does it of DAX pages where a pin is the page lock: there faults and truncation go by the lock of the mapping's
    entry (v4.17 fs/dax.c), and a page lock keeps nobody out.
    """
    if not _tells(world, program) or (tracker.when >= RANGE_BEFORE and not file_backed(world, p)):
        return NEVER
    if tracker.lock == LOCK_PAGE and world.sys[R.DAX]:
        return NEVER
    return tracker.when


@step
def pins_by_lock(tracker, world, program, p):
    """Whether the caller's pins are page locks, so that it holds the lock of each page that it has pinned."""
    return tracker.lock == LOCK_PAGE and learns(tracker, world, program, p) != NEVER


@inline
def _pins(world, task):
    """Whether what GUP takes is a pin: references that are given back before any DMA are none."""
    return task["program"] != RDMA_PROGRAM or not keeps_no_pin(world)


@step
def page_spinlock(tracker):
    """Spinlock that a page's pin and unpin run under, or `LOCK_NONE`."""
    return tracker.lock if tracker.when < RANGE_BEFORE and tracker.lock != LOCK_PAGE else LOCK_NONE


@step
def range_spinlock(tracker):
    """Spinlock that guards the tracker's ranges; `LOCK_NONE`: ``i_mmap_rwsem`` does."""
    return tracker.lock if tracker.when >= RANGE_BEFORE else LOCK_NONE


@step
def _insert_pc(tracker):
    return D_RANGE_LOCK if range_spinlock(tracker) == LOCK_NONE else D_RANGE_INSERT


@inline
def wants_write(world, task):
    """Whether the device, or the thread, writes to the page."""
    if task["program"] == WRITER_PROGRAM:
        return True
    return at(world.dio, task["dio"])["op"] == READ


@inline
def _look_up(world, task):
    """In a world of frames, take the frame that the PTE names now; False: there is none, and the task waits for it."""
    if not world.sys[R.FRAMES]:
        return True
    p = mapped_frame(world)
    if p < 0:
        wait(task, WAIT_PTE, -1)
        return False
    task["page"] = task["first"] = task["last"] = p
    return True


@step
def gup_call(tracker, world, t):
    """Begin a call: for a batch of pages, and under iomap for no more than the bio has room for."""
    sys = world.sys
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    if task["program"] == DIO_PROGRAM and sys[R.DIO_IOMAP]:
        n = min(min(sys[R.GUP_BATCH], dio["nr_pages"] - dio["got"]), dio["bio_left"])
    else:
        n = min(sys[R.GUP_BATCH], dio["nr_pages"] - dio["got"])
    task["first"] = dio["page"] + dio["got"]
    task["last"] = task["first"] + n - 1
    task["page"] = task["first"]
    task["handle"] = -1
    task["seq"] = sys[R.SEQ]
    if not _look_up(world, task):
        return
    if _tells(world, task["program"]):
        sys[R.HAS_PINNED] = 1
    when = learns(tracker, world, task["program"], task["first"])
    task["pc"] = _insert_pc(tracker) if when == RANGE_BEFORE else D_GUP_PAGES
    tally(world, R.GUP_CALL, 1)


@jit
def gup_range_lock(world, t):
    """Take ``i_mmap_rwsem`` for the virtual VMA; or, of a call that has failed, to take it out again."""
    if i_mmap_lock(world, t, 1):
        task = at(world.task, t)
        task["pc"] = D_RANGE_INSERT
        if task["kept"] != 0:
            task["kept"] = FAILED_LOCKED
            task["pc"] = D_GUP_FAIL


@step
def gup_range_insert(tracker, world, t):
    """Insert the range, such as a virtual VMA."""
    task = at(world.task, t)
    n = task["last"] - task["first"] + 1
    task["handle"] = pin_range(tracker, world, world.sys[R.I_MMAP], task["first"], n)
    if range_spinlock(tracker) == LOCK_NONE:
        task["pc"] = D_RANGE_UNLOCK
    else:
        _range_is_in(tracker, world, t)


@step
def gup_range_unlock(tracker, world, t):
    """Release ``i_mmap_rwsem``."""
    i_mmap_unlock(world, 1)
    _range_is_in(tracker, world, t)


@step
def _range_is_in(tracker, world, t):
    """Next comes the walk, or after it, the bios."""
    if tracker.when == RANGE_BEFORE:
        at(world.task, t)["pc"] = D_GUP_PAGES
    else:
        _gup_done(world, t)


@inline
def _gup_done(world, t):
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    dio["got"] += task["last"] - task["first"] + 1
    if world.sys[R.FRAMES]:
        dio["page"] = task["first"]  # its one page, by the frame that was pinned
    dio["handle"] = task["handle"]
    task["handle"] = -1
    task["pc"] = M_CHECK if task["program"] == RDMA_PROGRAM else D_BUILD_BIO


@inline
def _needed_of_pte(world, task):
    return PTE_PRESENT | PTE_WRITE if wants_write(world, task) else PTE_PRESENT


@inline
def _pte_allows(world, task, page):
    needed = _needed_of_pte(world, task)
    return page["flags"] & needed == needed


@step
def gup_pages(tracker, world, t):
    """Walk: take a reference on each page, and with it the pin where that is the same step.

    With `GUP_FAST_STEPS` this only reads the PTE, and `gup_take` and `gup_check` follow.
    """
    task = at(world.task, t)
    if not _look_up(world, task):
        return
    if world.sys[R.GUP_FAST_STEPS]:
        p = int(task["page"])
        if world.sys[R.SEQ_CHECKED] and task["seq"] & 1:
            task["pc"] = D_FOLLOW_PAGE
        else:
            task["pc"] = D_GUP_TAKE if _pte_allows(world, task, page_of(world, p)) else D_FAULT_LOCK
        tally(world, R.GUP_PAGE, 1)
        return
    if learns(tracker, world, task["program"], task["first"]) == IN_GUP:
        fault = _take_pages(tracker, world, task, True)
    else:
        fault = _take_pages(tracker, world, task, False)
    if fault:
        task["pc"] = D_FAULT_LOCK
    elif task["page"] > task["last"]:
        _walk_done(tracker, world, t)


@inline
def _take_pages(tracker, world, task, in_gup):
    """Take references, and pins where they are ``in_gup``, from the cursor on; gives whether a page must be faulted in.

    It is called for either case, so that what does not change is not asked for each page.
    """
    first = int(task["page"])
    end = min(int(task["last"]) + 1, first + world.sys[R.PAGES_PER_STEP])
    by_lock = in_gup and pins_by_lock(tracker, world, task["program"], task["first"])
    true_pin = _pins(world, task)
    needed = _needed_of_pte(world, task)
    count_max = world.sys[R.COUNT_MAX]
    over = 0
    pinned = 0
    fault = False
    p = first
    while p < end:
        page = page_of(world, p)
        if page["flags"] & needed != needed:
            fault = True
            break
        if by_lock and has(page, PG_LOCKED):
            wait_for_lock(task, page, p)
            break
        page["_refcount"] += 1
        if in_gup:
            pin(tracker, world, p)
        over += is_over(page, count_max)
        if true_pin:
            pinned += ghost_pin(page)
        p += 1
    world.sys[R.COUNT_OVERFLOW] += over
    if true_pin:
        count_pins(world, p - first, pinned)
    tally(world, R.GUP_PAGE, p - first)
    tally(world, R.ATOMIC, p - first)
    task["page"] = p
    return fault


@step
def gup_take(tracker, world, t):
    """GUP-fast takes a reference, and with it the pin where that is the same step; but not of a freed page."""
    task = at(world.task, t)
    p = int(task["page"])
    page = page_of(world, p)
    in_gup = learns(tracker, world, task["program"], p) == IN_GUP
    locked_out = in_gup and tracker.lock == LOCK_PAGE and has(page, PG_LOCKED)
    if page["_refcount"] == 0 or locked_out:  # page_cache_get_speculative, or a trylock, fails
        task["pc"] = D_FOLLOW_PAGE
        return
    page["_refcount"] += 1
    if in_gup:
        pin(tracker, world, p)
    judge_counts(world, page)
    tally(world, R.ATOMIC, 1)
    task["pc"] = D_GUP_CHECK


@step
def gup_check(tracker, world, t):
    """GUP-fast reads the PTE again: if it has changed, or a fork has begun, what was taken is given back."""
    sys = world.sys
    task = at(world.task, t)
    p = int(task["page"])
    page = page_of(world, p)
    if _pte_allows(world, task, page) and not (sys[R.SEQ_CHECKED] and task["seq"] != sys[R.SEQ]):
        _pinned(tracker, world, t, p, D_GUP_PAGES)
        return
    if learns(tracker, world, task["program"], p) == IN_GUP:
        unpin(tracker, world, p, -1)
    put_page(tracker, world, p)
    tally(world, R.ATOMIC, 1)
    wake_pin_waiters(world, p)
    task["pc"] = D_FOLLOW_PAGE


@step
def _pinned(tracker, world, t, p, look_up):
    """The page is pinned for good; on to the next, as fast as this one, or the walk is done."""
    task = at(world.task, t)
    if _pins(world, task):
        count_pins(world, 1, ghost_pin(page_of(world, p)))
    task["page"] = p + 1
    task["pc"] = look_up
    if p == task["last"]:
        _walk_done(tracker, world, t)


@step
def follow_page(tracker, world, t):
    """GUP's slow path looks the page up under mmap_lock and the page-table lock: no PTE can change meanwhile."""
    task = at(world.task, t)
    if world.sys[R.MMAP_WRITER]:
        wait(task, WAIT_MMAP, -1)
        return
    if not _look_up(world, task):
        return
    p = int(task["page"])
    page = page_of(world, p)
    if not _pte_allows(world, task, page):
        task["pc"] = D_FAULT_LOCK
        return
    in_gup = learns(tracker, world, task["program"], p) == IN_GUP
    if in_gup and tracker.lock == LOCK_PAGE and has(page, PG_LOCKED):
        wait_for_lock(task, page, p)  # with the page-table lock dropped; then it looks the page up again
        return
    page["_refcount"] += 1
    tally(world, R.ATOMIC, 1)
    if in_gup:
        pin(tracker, world, p)
    judge_counts(world, page)
    task["seq"] = world.sys[R.SEQ]
    _pinned(tracker, world, t, p, D_FOLLOW_PAGE)


@step
def _walk_done(tracker, world, t):
    task = at(world.task, t)
    when = learns(tracker, world, task["program"], task["first"])
    if when == AFTER_WALK:
        task["page"] = task["first"]
        task["pc"] = D_PIN_PAGES
    elif when == RANGE_AFTER:
        task["pc"] = _insert_pc(tracker)
    else:
        _gup_done(world, t)


@step
def locked_batch(tracker, world):
    """Pages that a step may handle: a spinlock is taken for each page, so that it covers one."""
    return world.sys[R.PAGES_PER_STEP] if page_spinlock(tracker) == LOCK_NONE else 1


@step
def pin_pages(tracker, world, t):
    """The loop after the walk in which off-LRU tracking pins (as posted in 2018), a page per lock hold."""
    task = at(world.task, t)
    p = int(task["page"])
    end = min(int(task["last"]) + 1, p + locked_batch(tracker, world))
    while p < end:
        if tracker.lock == LOCK_PAGE and has(page_of(world, p), PG_LOCKED):
            wait_for_lock(task, page_of(world, p), p)
            break
        pin(tracker, world, p)
        judge_counts(world, page_of(world, p))
        p += 1
    task["page"] = p
    if p > task["last"]:
        _gup_done(world, t)


@step
def fault_lock(tracker, world, t):
    """Write fault: lock the page; one that reclaim took is read in again; one that was truncated is lost."""
    sys = world.sys
    task = at(world.task, t)
    if sys[R.MMAP_WRITER]:
        wait(task, WAIT_MMAP, -1)
        return
    if not _look_up(world, task):
        return
    p = int(task["page"])
    if sys[R.TRUNCATED]:
        task["kept"] = FAILED
        inserted = learns(tracker, world, task["program"], task["first"]) == RANGE_BEFORE
        task["pc"] = D_GUP_FAIL
        if inserted and range_spinlock(tracker) == LOCK_NONE:
            task["pc"] = D_RANGE_LOCK
        elif inserted:
            task["kept"] = FAILED_LOCKED  # by the time of that step
        return
    if not lock_page(world, task, p):
        return
    sys[R.MMAP_READERS] += 1
    tally(world, R.FAULT, 1)
    page = page_of(world, p)
    if not has(page, PG_CACHED) and file_backed(world, p):
        page["flags"] |= PG_CACHED
        get_page(world, page)
        lru_add(world, p)
    if not file_backed(world, p):
        task["pc"] = D_COW_FAULT
    else:
        task["pc"] = D_PAGE_MKWRITE if wants_write(world, task) and not sys[R.DAX] else D_FAULT_PTE


@jit
def page_mkwrite(world, t):
    """``->page_mkwrite``: attach buffers, reserve blocks, dirty the page (v4.17 ext4_page_mkwrite)."""
    task = at(world.task, t)
    page = page_of(world, task["page"])
    if not has(page, PG_PRIVATE):
        page["flags"] |= PG_PRIVATE
        get_page(world, page)
    set_page_dirty(world, page)
    task["pc"] = D_FAULT_PTE


@jit
def fault_pte(world, t):
    """``wait_for_stable_page``, then install the PTE."""
    task = at(world.task, t)
    page = page_of(world, task["page"])
    write = wants_write(world, task)
    if write and world.sys[R.STABLE_PAGES] and has(page, PG_WRITEBACK):
        page["flags"] |= PG_WAITERS
        wait(task, WAIT_WRITEBACK, task["page"])
        return
    if not has(page, PTE_PRESENT):
        page["_mapcount"] += 1
        get_page(world, page)
    page["flags"] |= PTE_PRESENT | PTE_WRITE | PTE_DIRTY if write else PTE_PRESENT
    tally(world, R.PTE_UPDATE, 1)
    task["pc"] = D_FAULT_UNLOCK


@jit
def fault_unlock(world, t):
    """Unlock; GUP looks the page up again."""
    sys = world.sys
    task = at(world.task, t)
    unlock_page(world, task["page"])
    sys[R.MMAP_READERS] -= 1
    if sys[R.MMAP_READERS] == 0:
        wake_all(world, WAIT_MMAP, -1)
    if task["program"] == WRITER_PROGRAM:
        task["pc"] = U_WRITE
    elif task["program"] == RDMA_PROGRAM and _has_all(at(world.dio, task["dio"])):  # GUP is over: it writes
        task["pc"] = M_DEREG_DETACHED
    else:
        task["pc"] = D_FOLLOW_PAGE if sys[R.GUP_FAST_STEPS] else D_GUP_PAGES


@inline
def _has_all(dio):
    return dio["got"] == dio["nr_pages"]


@step
def gup_fail(tracker, world, t):
    """The call fails: what it has taken is given back, its range goes, and so does the thread, with an error.

    Pages of earlier calls of the same direct IO are in bios, whose completion releases them (v4.17 fs/direct-io.c
    dio_cleanup puts only those that are in none). Of this call's the tracker knows only if it learns in the walk.
    """
    sys = world.sys
    task = at(world.task, t)
    if task["program"] == WRITER_PROGRAM:  # SIGBUS
        task["state"] = DEAD
        return
    for p in range(int(task["first"]), int(task["page"])):
        _give_back(tracker, world, task, p)
    if task["kept"] == FAILED_LOCKED:
        forget_range(tracker, world, sys[R.I_MMAP], task["first"], task["last"], task["handle"])
        if range_spinlock(tracker) == LOCK_NONE:
            i_mmap_unlock(world, 1)
    if task["program"] == DIO_PROGRAM:
        dio = at(world.dio, task["dio"])
        dio["refcount"] -= 1  # the submitter's own; where bios are in flight, the last one ends the direct IO
        sys[R.IOS_OUT] -= dio["refcount"] == 0
        sys[R.SUBMITTERS] -= 1
    sys[R.REFUSED] += 1
    task["state"] = DEAD


@step
def _give_back(tracker, world, task, p):
    if learns(tracker, world, task["program"], p) == IN_GUP:
        unpin(tracker, world, p, -1)
    if _pins(world, task):
        count_unpins(world, 1, ghost_unpin(page_of(world, p)))
    put_page(tracker, world, p)
    wake_pin_waiters(world, p)
