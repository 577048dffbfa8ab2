"""bios: built from what GUP gave, submitted, completed by the device, ended in an interrupt.

A bio is a chain of rows, each a run of pages from one GUP call. Completion comes in hard-IRQ context;
what may sleep there is handed to a kworker of the same CPU, a work item per bio (assumed; ``bio_dirty_fn`` is one
work for a list of bios): ``bio_dirty_fn``, when a page that was read
into is no longer dirty (v4.19 block/bio.c bio_check_pages_dirty; v4.17 released the dirty pages at once
and deferred the rest), and every change of ``i_mmap``. A deferred bio keeps its references until then:
finding a range from a page needs ``page->mapping``.
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.detached import every_page, is_elsewhere
from workbench.mm.flight import enter_flight, leave_flight
from workbench.mm.frames import put_page
from workbench.mm.gup import learns, locked_batch, pins_by_lock, range_spinlock
from workbench.mm.i_mmap import i_mmap_lock, i_mmap_unlock
from workbench.mm.page import (
    BOUNCED,
    COPY_READ,
    KNOWN,
    KNOWN_IN_COPY,
    NEWER_THAN_COPY,
    NEWER_THAN_DISK,
    PG_ANON,
    PG_CACHED,
    PG_DIRTY,
    PG_LOCKED,
    PG_WAITERS,
    PG_WRITEBACK,
    TAG_WRITEBACK,
    WANTED_IN_COPY,
    count_unpins,
    end_pins,
    ghost_read,
    ghost_unpin,
    ghost_write,
    has,
    lock_page,
    mark_dirty,
    page_of,
    wake_pin_waiters,
    wake_up_page,
)
from workbench.mm.programs import (
    D_BEGIN,
    D_BUILD_BIO,
    D_GUP_CALL,
    D_REAP,
    D_SET_DIRTY,
    D_SUBMIT_BIO,
    DIO_PROGRAM,
    I_CHECK_DIRTY,
    I_DIO_COMPLETE,
    I_END_WRITEBACK,
    I_RANGE_RELEASE,
    I_RELEASE,
    I_TAKE,
    W_RANGE_LOCK,
    W_RANGE_RELEASE,
    W_RANGE_UNLOCK,
    W_RELEASE,
    W_SET_DIRTY,
    W_TAKE,
)
from workbench.mm.world import (
    AT_NONE,
    AT_QUEUE,
    AT_STARTED,
    DEAD,
    READ,
    SLEEPING,
    TRANSFER,
    WAIT_BIO,
    WAIT_CQ,
    WAIT_DEVICE,
    WAIT_DIO,
    WAIT_DIRTY,
    WAIT_JOURNAL,
    WAIT_PIN,
    WAIT_TAG,
    WAIT_WORK,
    WAIT_WRITEBACK,
    WRITEBACK,
    histogram_add,
    tally,
    wait,
    wake,
    wake_all,
)
from workbench.trackers.protocol import LOCK_NONE, NEVER, RANGE_BEFORE, unpin, unpin_range

# ---- rows and lists


@jit
def alloc_bio_row(world):
    """Take a row from the pool, or -1."""
    b = world.sys[R.FREE_BIO]
    if b >= 0:
        world.sys[R.FREE_BIO] = at(world.bio, b)["bi_next"]
        world.sys[R.BIO_ROWS] += 1
    return b


@jit
def free_bio(world, b):
    """Give a bio's rows back; whoever waits for one has found none, and none has come back since."""
    awaited = world.sys[R.FREE_BIO] < 0
    while b >= 0:
        row = at(world.bio, b)
        after = row["seg_next"]
        row["nr_pages"] = 0
        row["bi_next"] = world.sys[R.FREE_BIO]
        world.sys[R.FREE_BIO] = b
        world.sys[R.BIO_ROWS] -= 1
        b = after
    if awaited:
        wake_all(world, WAIT_BIO, -1)


@inline
def push_bio(world, task, b):
    """Append a bio to a task's list."""
    at(world.bio, b)["bi_next"] = -1
    if task["list_head"] < 0:
        task["list_head"] = b
    else:
        at(world.bio, task["list_tail"])["bi_next"] = b
    task["list_tail"] = b


@inline
def pop_bio(world, task):
    """Take the first bio off a task's list, or -1."""
    b = task["list_head"]
    if b >= 0:
        task["list_head"] = at(world.bio, b)["bi_next"]
    return b


@inline
def start_pages(world, task):
    """Set the cursor to the first page of the bio at hand."""
    task["row"] = task["bio"]
    task["page"] = at(world.bio, task["bio"])["page"]


@inline
def next_run(world, task):
    """Move the cursor to the next row; False at the end of the bio."""
    task["row"] = at(world.bio, task["row"])["seg_next"]
    if task["row"] < 0:
        return False
    task["page"] = at(world.bio, task["row"])["page"]
    return True


# ---- the submitter


@jit
def dio_reap(world, t):
    """Reap what has completed, and wait for a slot if none is free."""
    task = at(world.task, t)
    if task["free_dio"] < 0:
        wait(task, WAIT_DIO, -1)
        return
    tally(world, R.REAP, 1)
    task["pc"] = D_BEGIN


@jit
def dio_begin(world, t):
    """Begin the next direct IO of the plan in a free slot, not before its time; exit when all have begun."""
    sys = world.sys
    task = at(world.task, t)
    if sys[R.IOS_LEFT] == 0 or task["transfers"] == 0:
        task["state"] = DEAD
        sys[R.SUBMITTERS] -= 1
        return
    row = at(world.plan, sys[R.PLAN_NEXT])
    if row["at_ps"] > sys[R.NOW]:
        task["until_ps"] = row["at_ps"]
        task["state"] = SLEEPING
        return
    if task["transfers"] > 0:
        task["transfers"] -= 1
    sys[R.PLAN_NEXT] += 1
    sys[R.IOS_LEFT] -= 1
    sys[R.IOS_OUT] += 1
    d = task["free_dio"]
    dio = at(world.dio, d)
    task["free_dio"] = dio["next"]
    task["dio"] = d
    task["bio"] = -1
    dio["page"] = row["page"] if row["page"] >= 0 else dio["home"]
    dio["nr_pages"] = row["nr_pages"]
    dio["op"] = row["op"]
    dio["got"] = 0
    dio["built"] = 0
    dio["refcount"] = 1
    dio["plan_bio"] = row["first_bio"]
    dio["began_ps"] = sys[R.NOW]
    enter_flight(world, task, d)
    _start_bio(world, dio)
    tally(world, R.SUBMIT_IO, 1)
    task["pc"] = D_GUP_CALL


@jit
def _start_bio(world, dio):
    """Say where the bio that begins now must end: by the trace, or by size and extent."""
    if dio["plan_bio"] >= 0:
        dio["bio_left"] = at(world.plan, dio["plan_bio"])["nr_pages"]
        return
    left = min(dio["nr_pages"] - dio["built"], world.sys[R.BIO_PAGES])
    extent = world.sys[R.EXTENT_PAGES]
    if extent > 0:
        left = min(left, extent - dio["built"] % extent)
    dio["bio_left"] = left


@jit
def build_bio(world, t):
    """Put the pages that GUP gave into the bio at hand, up to where it must end."""
    task = at(world.task, t)
    dio = at(world.dio, task["dio"])
    if task["bio"] < 0 and world.sys[R.JOURNAL_HANDLES] > 0 and not world.sys[R.DIO_IOMAP]:
        wait(task, WAIT_JOURNAL, -1)  # get_block: a commit waits for those who hold a handle, and this waits for it
        return
    b = alloc_bio_row(world)
    if b < 0:
        wait(task, WAIT_BIO, -1)
        return
    n = min(dio["got"] - dio["built"], dio["bio_left"])
    row = at(world.bio, b)
    row["page"] = dio["page"] + dio["built"]
    row["nr_pages"] = n
    row["handle"] = dio["handle"]
    row["seg_next"] = -1
    row["dio"] = task["dio"]
    row["op"] = dio["op"]
    row["cpu"] = task["cpu"]
    row["redirty"] = 0
    row["done_ps"] = -1
    if task["bio"] < 0:
        task["bio"] = b
        tally(world, R.BIO_ALLOC, 1)
        if dio["plan_bio"] >= 0:
            row["done_ps"] = at(world.plan, dio["plan_bio"])["at_ps"]
            dio["plan_bio"] += 1
    else:
        at(world.bio, task["row"])["seg_next"] = b
    task["row"] = b
    tally(world, R.BIO_PAGE, n)
    dio["built"] += n
    if dio["built"] == dio["got"]:
        dio["handle"] = -1  # of the last call's range: its bios have it
    dio["bio_left"] -= n
    if dio["bio_left"] > 0:
        task["pc"] = D_GUP_CALL
    elif dio["op"] == READ and not world.sys[R.DIRTY_ALWAYS]:  # v4.17 dio_bio_submit: only if dio->is_async
        start_pages(world, task)
        task["pc"] = D_SET_DIRTY
    else:
        task["pc"] = D_SUBMIT_BIO


@step
def dirty_pages(tracker, world, t):
    """``set_page_dirty_lock`` on the bio's pages, from the cursor on; stops where a page is locked.

    Where the pin is the page lock, ``set_page_dirty`` does.

    Returns
    -------
    bool
        Whether all pages have been seen to.
    """
    task = at(world.task, t)
    left = world.sys[R.PAGES_PER_STEP]
    own = pins_by_lock(tracker, world, DIO_PROGRAM, at(world.bio, task["bio"])["page"])
    while True:
        row = at(world.bio, task["row"])
        p = int(task["page"])
        end = min(int(row["page"]) + int(row["nr_pages"]), p + left)
        left -= end - p
        first = p
        while p < end and (own or not has(page_of(world, p), PG_LOCKED)):
            mark_dirty(world, page_of(world, p))
            p += 1
        if not own:
            tally(world, R.PAGE_LOCK, p - first)
        tally(world, R.SET_DIRTY, p - first)
        task["page"] = p
        if p < end:
            return lock_page(world, task, p)  # it is locked: wait
        if p < row["page"] + row["nr_pages"]:
            return False
        if not next_run(world, task):
            return True


@step
def bio_set_pages_dirty(tracker, world, t):
    """Before a read is submitted its pages are dirtied (v4.17 block/bio.c bio_set_pages_dirty)."""
    if dirty_pages(tracker, world, t):
        at(world.task, t)["pc"] = D_SUBMIT_BIO


@jit
def device_push(world, b):
    """Hand a bio to the device's queue."""
    sys = world.sys
    at(world.bio, b)["bi_next"] = -1
    at(world.bio, b)["at_device"] = AT_QUEUE
    if sys[R.DEVICE_HEAD] < 0:
        sys[R.DEVICE_HEAD] = b
    else:
        at(world.bio, sys[R.DEVICE_TAIL])["bi_next"] = b
    sys[R.DEVICE_TAIL] = b
    sys[R.TAGS_FREE] -= 1
    tally(world, R.SUBMIT_BIO, 1)


@jit
def dio_submit_bio(world, t):
    """Submit the bio, or wait for a tag; then the next bio, the next GUP call, or the next direct IO."""
    sys = world.sys
    task = at(world.task, t)
    if sys[R.TAGS_FREE] == 0:
        wait(task, WAIT_TAG, -1)
        return
    dio = at(world.dio, task["dio"])
    dio["refcount"] += 1
    device_push(world, task["bio"])
    task["bio"] = -1
    if dio["built"] < dio["nr_pages"]:
        _start_bio(world, dio)
        task["pc"] = D_BUILD_BIO if dio["built"] < dio["got"] else D_GUP_CALL
        return
    dio["refcount"] -= 1  # the submitter's own; the bio just submitted holds another
    histogram_add(world, R.SUBMIT, sys[R.NOW] + sys[R.STEP_PS] - dio["began_ps"])
    task["pc"] = D_REAP


# ---- the device


@jit
def device_start(world, b):
    """The device begins with a bio; a writeback's pages are read now, at one instant, but for bounced ones."""
    row = at(world.bio, b)
    row["at_device"] = AT_STARTED
    if row["op"] == WRITEBACK:
        for p in range(row["page"], row["page"] + row["nr_pages"]):
            if not has(page_of(world, p), BOUNCED):
                ghost_read(page_of(world, p), is_elsewhere(world, p))


@jit
def device_done(world, b):
    """The device has finished: what it read lands in memory at this instant, and it raises an interrupt.

    A transfer into a memory region raises none: its thread polls for it.
    """
    head = at(world.bio, b)
    row = -1 if head["op"] == TRANSFER and world.sys[R.PRIVATE_PAGES] else b
    while row >= 0 and (head["op"] == READ or head["op"] == TRANSFER):
        run = at(world.bio, row)
        for p in range(run["page"], run["page"] + run["nr_pages"]):
            _land(world, page_of(world, p))
        row = run["seg_next"]
    head["done_ps"] = world.sys[R.NOW]
    head["at_device"] = AT_NONE
    world.sys[R.TAGS_FREE] += 1
    if world.sys[R.TAGS_FREE] == 1:  # or else nobody waits for one
        wake_all(world, WAIT_TAG, -1)
    if head["op"] == TRANSFER:
        dio = at(world.dio, head["dio"])
        dio["refcount"] = 0
        if world.sys[R.PRIVATE_PAGES]:
            dio["built"] = every_page(dio)
        free_bio(world, b)
        wake(world, dio["task"], WAIT_CQ)
        wake_all(world, WAIT_DEVICE, -1)
        return
    t = int(head["cpu"])
    push_bio(world, at(world.task, t), b)
    wake(world, t, WAIT_WORK)


@inline
def _land(world, page):
    """DMA changes a page."""
    ghost_write(page)
    if has(page, PG_WRITEBACK) and not has(page, BOUNCED):
        world.sys[R.UNSTABLE_WRITE] += 1
    if not has(page, PG_CACHED | PG_ANON):
        world.sys[R.TRUNCATE_WRITE] += 1


@jit
def learn_completion(world, d):
    """The caller learns that a transfer is complete: what it brought, and is not on disk, is known from here on.

    Not of a page on which another transfer is in flight: nobody can know what is in it.
    """
    dio = at(world.dio, d)
    for p in range(dio["page"], dio["page"] + dio["nr_pages"]):
        page = page_of(world, p)
        elsewhere = is_elsewhere(world, p)
        if not (page["ghost_data"] & NEWER_THAN_DISK or elsewhere) or _other_transfer(world, d, p):
            continue
        in_copy = page["ghost_data"] & (COPY_READ | NEWER_THAN_COPY) == COPY_READ and not elsewhere
        page["ghost_data"] &= ~KNOWN_IN_COPY
        page["ghost_data"] |= KNOWN | KNOWN_IN_COPY if in_copy else KNOWN


@jit
def _other_transfer(world, d, p):
    for other in range(len(world.dio)):
        dio = at(world.dio, other)
        covers = dio["page"] <= p and p < dio["page"] + dio["nr_pages"]
        if other != d and covers and dio["refcount"] > 0 and dio["op"] == READ:
            return True
    return False


# ---- interrupt


@inline
def _wait_for_work(task):
    """Sleep, with nothing left in hand."""
    task["page"] = task["row"] = task["dio"] = task["bio"] = -1
    wait(task, WAIT_WORK, -1)


@jit
def irq_take_bio(world, t):
    """Take the next completed bio of this CPU."""
    task = at(world.task, t)
    b = pop_bio(world, task)
    if b < 0:
        _wait_for_work(task)
        return
    row = at(world.bio, b)
    task["bio"] = b
    task["dio"] = row["dio"]
    tally(world, R.INTERRUPT, 1)
    tally(world, R.BIO_ENDIO, 1)
    start_pages(world, task)
    if row["op"] == WRITEBACK:
        task["pc"] = I_END_WRITEBACK
        return
    world.sys[R.BIOS] += 1
    task["pc"] = I_CHECK_DIRTY


@step
def bio_check_pages_dirty(tracker, world, t):
    """Release here, or let a kworker do it: a page is clean again, or the release may sleep."""
    task = at(world.task, t)
    head = at(world.bio, task["bio"])
    if head["op"] == READ and (_any_clean(world, task["bio"]) or world.sys[R.DIRTY_ALWAYS]):
        head["redirty"] = 1
        world.sys[R.DEFERRED_DIRTY] += 1
    ranged = learns(tracker, world, DIO_PROGRAM, head["page"]) >= RANGE_BEFORE
    if head["redirty"] or (ranged and range_spinlock(tracker) == LOCK_NONE):
        world.sys[R.DEFERRED_UNPIN] += 1
        _queue_work(world, task)
        task["pc"] = I_DIO_COMPLETE
    else:
        task["pc"] = I_RANGE_RELEASE if ranged else I_RELEASE


@jit
def _any_clean(world, b):
    clean = False
    while b >= 0:
        row = at(world.bio, b)
        tally(world, R.SET_DIRTY, row["nr_pages"])
        for p in range(row["page"], row["page"] + row["nr_pages"]):
            clean |= not has(page_of(world, p), PG_DIRTY)
        b = row["seg_next"]
    return clean


@inline
def _queue_work(world, task):
    """queue_work on this CPU; its kworker's number follows those of the interrupts."""
    worker = int(task["cpu"]) + world.sys[R.CPUS]
    push_bio(world, at(world.task, worker), task["bio"])
    world.sys[R.WORK_OUT] += 1
    tally(world, R.QUEUE_WORK, 1)
    wake(world, worker, WAIT_WORK)


@step
def release_pages(tracker, world, t):
    """Unpin and put the bio's pages, from the cursor on; then the bio is free.

    A tracker with a spinlock takes it for each page. The pins of a range have ended when it was released.

    Returns
    -------
    bool
        Whether it is done.
    """
    task = at(world.task, t)
    left = locked_batch(tracker, world)
    when = learns(tracker, world, DIO_PROGRAM, at(world.bio, task["bio"])["page"])
    while True:
        row = at(world.bio, task["row"])
        p = int(task["page"])
        end = min(int(row["page"]) + int(row["nr_pages"]), p + left)
        left -= end - p
        tally(world, R.ATOMIC, end - p)
        tally(world, R.PUT_PAGE, end - p)
        put_pinned_pages(tracker, world, p, end, when, row["handle"])
        task["page"] = end
        if end < row["page"] + row["nr_pages"]:
            return False
        if not next_run(world, task):
            break
    histogram_add(world, R.RELEASE, world.sys[R.NOW] - at(world.bio, task["bio"])["done_ps"])
    free_bio(world, task["bio"])
    task["bio"] = -1
    return True


@inline
def put_pinned_pages(tracker, world, first, end, when, handle):
    """Unpin pages, of which the tracker was told so, and put them; the last reference frees what has left its file.

    The pins of those that a range covered have ended when the range was released.
    """
    if when >= RANGE_BEFORE:
        for p in range(first, end):
            put_page(tracker, world, p)
            if world.sys[R.DAX]:  # truncation of a DAX file waits for references
                wake_pin_waiters(world, p)
        return
    unpinned = 0
    if when == NEVER:
        for p in range(first, end):
            unpinned += _end_pin(tracker, world, p, has(page_of(world, p), PG_WAITERS))
    else:
        for p in range(first, end):
            waited_for = has(page_of(world, p), PG_WAITERS)
            unpin(tracker, world, p, handle)
            unpinned += _end_pin(tracker, world, p, waited_for)
    count_unpins(world, end - first, unpinned)


@inline
def _end_pin(tracker, world, p, waited_for):
    """A true pin ends, and its reference is put; gives whether it was the page's last pin.

    ``waited_for`` is read before the tracker's ``unpin``, which makes nobody wait: a load right behind a store to the
    same word would have to wait for it.
    """
    last = ghost_unpin(page_of(world, p))
    put_page(tracker, world, p)
    if waited_for:
        wake_up_page(world, p, WAIT_PIN)
    return last


@step
def irq_release_range(tracker, world, t):
    """Release, in the interrupt, what a spinlock guards."""
    if release_runs(tracker, world, t):
        task = at(world.task, t)
        start_pages(world, task)
        task["pc"] = I_RELEASE


@step
def irq_release_pages(tracker, world, t):
    """Release in the interrupt."""
    if release_pages(tracker, world, t):
        at(world.task, t)["pc"] = I_DIO_COMPLETE


@jit
def dio_bio_complete(world, t):
    """One bio less; the last one completes the direct IO and frees its slot."""
    sys = world.sys
    task = at(world.task, t)
    task["pc"] = I_TAKE
    d = task["dio"]
    dio = at(world.dio, d)
    dio["refcount"] -= 1
    if dio["refcount"] > 0:
        return
    if sys[R.WATCH] and dio["op"] == READ:
        learn_completion(world, d)
    submitter = at(world.task, dio["task"])
    histogram_add(world, R.LATENCY, sys[R.NOW] - dio["began_ps"])
    histogram_add(world, R.OVERTAKES, leave_flight(world, submitter, d))
    dio["next"] = submitter["free_dio"]
    submitter["free_dio"] = d
    tally(world, R.DIO_COMPLETE, 1)
    sys[R.DIOS] += 1
    sys[R.IOS_OUT] -= 1
    sys[R.LAST_DONE] = sys[R.NOW]
    wake(world, dio["task"], WAIT_DIO)


@jit
def end_page_writeback(world, t):
    """End the writeback of a bio's pages; what the disk read is on disk now."""
    task = at(world.task, t)
    row = at(world.bio, task["bio"])
    tally(world, R.END_WRITEBACK, row["nr_pages"])
    world.sys[R.WRITTEN] += row["nr_pages"]
    for p in range(row["page"], row["page"] + row["nr_pages"]):
        page = page_of(world, p)
        if has(page, BOUNCED):
            world.sys[R.BOUNCE_PAGES] -= 1
        page["flags"] &= ~(PG_WRITEBACK | TAG_WRITEBACK | BOUNCED)
        in_copy = page["ghost_data"] & (KNOWN_IN_COPY | WANTED_IN_COPY)
        page["ghost_data"] &= ~(COPY_READ | in_copy | in_copy // (KNOWN_IN_COPY // KNOWN))
        if not page["ghost_data"] & NEWER_THAN_COPY:
            page["ghost_data"] &= ~NEWER_THAN_DISK
        if has(page, PG_WAITERS):
            wake_up_page(world, p, WAIT_WRITEBACK)
    if world.sys[R.DIRTY_LIMIT] > 0:
        wake_all(world, WAIT_DIRTY, -1)
    free_bio(world, task["bio"])
    task["bio"] = -1
    task["pc"] = I_TAKE


# ---- kworker


@step
def kworker_take(tracker, world, t):
    """Take the next work item of this CPU."""
    task = at(world.task, t)
    b = pop_bio(world, task)
    if b < 0:
        _wait_for_work(task)
        return
    task["bio"] = b
    start_pages(world, task)
    tally(world, R.WORK_ITEM, 1)
    task["pc"] = W_SET_DIRTY if at(world.bio, b)["redirty"] else _release_pc(tracker, world, b)


@step
def _release_pc(tracker, world, b):
    when = learns(tracker, world, DIO_PROGRAM, at(world.bio, b)["page"])
    if when < RANGE_BEFORE:
        return W_RELEASE
    return W_RANGE_LOCK if range_spinlock(tracker) == LOCK_NONE else W_RANGE_RELEASE


@step
def bio_dirty_fn(tracker, world, t):
    """Dirty the pages again, each under its lock (v4.17 block/bio.c)."""
    if dirty_pages(tracker, world, t):
        task = at(world.task, t)
        start_pages(world, task)
        task["pc"] = _release_pc(tracker, world, task["bio"])


@jit
def release_range_lock(world, t):
    """Take ``i_mmap_rwsem`` to change pinned ranges."""
    if i_mmap_lock(world, t, 1):
        task = at(world.task, t)
        start_pages(world, task)
        task["pc"] = W_RANGE_RELEASE


@step
def release_range(tracker, world, t):
    """Release the bio's runs; then ``i_mmap_rwsem``, if that is what guards them."""
    if not release_runs(tracker, world, t):
        return
    task = at(world.task, t)
    if range_spinlock(tracker) == LOCK_NONE:
        task["pc"] = W_RANGE_UNLOCK
    else:
        start_pages(world, task)
        task["pc"] = W_RELEASE


@step
def release_runs(tracker, world, t):
    """Release the runs of the bio from their ranges, from the cursor on.

    Returns
    -------
    bool
        Whether that was the last of them.
    """
    task = at(world.task, t)
    left = world.sys[R.PAGES_PER_STEP]
    while left > 0:
        row = at(world.bio, task["row"])
        p = int(task["page"])
        n = min(int(row["page"]) + int(row["nr_pages"]) - p, left)
        unpin_range(tracker, world, world.sys[R.I_MMAP], p, n, int(row["handle"]))
        end_pins(world, p, p + n)
        left -= n
        task["page"] = p + n
        if p + n == row["page"] + row["nr_pages"]:
            row["handle"] = -1
            if not next_run(world, task):
                return True
    return False


@jit
def release_range_unlock(world, t):
    """Release ``i_mmap_rwsem``; the references come next."""
    i_mmap_unlock(world, 1)
    task = at(world.task, t)
    start_pages(world, task)
    task["pc"] = W_RELEASE


@step
def kworker_release(tracker, world, t):
    """Put the references; the work item is done."""
    if release_pages(tracker, world, t):
        world.sys[R.WORK_OUT] -= 1
        at(world.task, t)["pc"] = W_TAKE
