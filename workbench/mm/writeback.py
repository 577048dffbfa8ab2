"""Cleaning the inode's pages: flusher (WB_SYNC_NONE), fsync (WB_SYNC_ALL), ``pagecache_isize_extended``.

Pages are found by PAGECACHE_TAG_DIRTY, locked, looked at (ext4 looks for buffers right here), write-protected
by ``page_mkclean`` under ``i_mmap_rwsem``, and asked about, in the order that the design names; then
``clear_page_dirty_for_io``, ``set_page_writeback``, unlock. Neighbours share a bio. A pinned page may be written too,
itself or a bounce page with its contents, and stays dirty then. An extending truncate
(pagecache_isize_extended) locks and write-protects one page, and leaves it dirty.
Sources: v4.17 mm/page-writeback.c write_cache_pages, fs/ext4/inode.c ext4_writepage, mm/truncate.c, block/bounce.c.
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.bio import alloc_bio_row, device_push
from workbench.mm.detached import invalidate, is_elsewhere
from workbench.mm.i_mmap import i_mmap_lock, i_mmap_unlock
from workbench.mm.i_mmap import page_mkclean as rmap_mkclean
from workbench.mm.lease import tell_holders
from workbench.mm.page import (
    BH_DIRTY,
    BOUNCED,
    COPY_READ,
    EVER_PINNED,
    KNOWN,
    KNOWN_IN_COPY,
    PG_CACHED,
    PG_DIRTY,
    PG_LOCKED,
    PG_PRIVATE,
    PG_WAITERS,
    PG_WRITEBACK,
    TAG_DIRTY,
    TAG_WRITEBACK,
    WANTED,
    WANTED_IN_COPY,
    ghost_read,
    has,
    lock_page,
    page_of,
    unlock_page,
)
from workbench.mm.programs import (
    D_GUP_CHECK,
    DIO_PROGRAM,
    F_ASK,
    F_CLEAR_DIRTY,
    F_DECIDE,
    F_FIND,
    F_I_MMAP_LOCK,
    F_I_MMAP_UNLOCK,
    F_LOCK_PAGE,
    F_MKCLEAN,
    F_SLEEP,
    F_SUBMIT_BIO,
    F_WAIT_WRITEBACK,
    RDMA_PROGRAM,
)
from workbench.mm.world import (
    DEAD,
    SLEEPING,
    WAIT_BIO,
    WAIT_JOURNAL,
    WAIT_NONE,
    WAIT_PIN,
    WAIT_TAG,
    WAIT_WRITEBACK,
    WRITEBACK,
    histogram_add,
    tally,
    wait,
    wake_all,
)
from workbench.policies import BOUNCE, IGNORE, REPORT, SKIP, WAIT, WRITE_KEEP_DIRTY
from workbench.trackers.protocol import RANGE_BEFORE, is_pinned, is_pinned_by_walk

SYNC_NONE, SYNC_ALL, ISIZE = range(3)  # who cleans
STUCK_ROUNDS = 100  # rounds without any movement after which the others are taken to be stuck for good
WRITEBACK_BIO_PAGES = 256  # BIO_MAX_PAGES, v4.17 include/linux/bio.h


@jit
def next_round(world, task):
    """Sleep until the next round, begin it, or exit when there is nothing more to come.

    Returns
    -------
    bool
        Whether a round begins now.
    """
    sys = world.sys
    if task["rounds"] == 0 or task["idle_rounds"] >= STUCK_ROUNDS:
        task["state"] = DEAD
        return False
    if sys[R.NOW] < task["until_ps"]:
        task["state"] = SLEEPING
        return False
    out = sys[R.IOS_OUT] > 0 or sys[R.WORK_OUT] > 0
    if task["rounds"] < 0 and sys[R.SUBMITTERS] == 0 and not out:
        task["state"] = DEAD
        return False
    moved = sys[R.LAST_DONE] >= task["began_ps"] or sys[R.TAGS_FREE] < sys[R.TAGS]
    task["idle_rounds"] = 0 if moved or not out else task["idle_rounds"] + 1
    task["began_ps"] = sys[R.NOW]
    task["until_ps"] = sys[R.NOW] + task["period_ps"]
    if task["rounds"] > 0:
        task["rounds"] -= 1
    return True


@jit
def writeback_sleep(world, t):
    """Between rounds."""
    task = at(world.task, t)
    if not next_round(world, task):
        return
    task["bio"] = -1
    task["error"] = 0
    if task["caller"] == ISIZE:  # each extending truncate meets the next page
        task["page"] = task["first"]
        task["first"] = (task["first"] + 1) % world.sys[R.NR_PAGES]
        task["pc"] = F_LOCK_PAGE
    else:
        _choose_range(world, task)
        if world.sys[R.WATCH] and task["caller"] == SYNC_ALL:
            _note_what_is_wanted(world, int(task["page"]), int(task["last"]))
        task["pc"] = F_FIND


@inline
def _choose_range(world, task):
    """A round is about the pages from ``task.page`` to before ``task.last``."""
    sys = world.sys
    task["page"], task["last"] = 0, sys[R.SYNC_PAGES]
    if sys[R.SYNC_ANY]:
        sys[R.CHOICES] = sys[R.NR_PAGES]
        task["page"], task["last"] = sys[R.CHOICE], sys[R.CHOICE] + 1


@jit
def _note_what_is_wanted(world, first, end):
    """fsync is called: what a caller can know by now to be complete has to be on disk when it returns."""
    for p in range(first, end):
        page = page_of(world, p)
        known = page["ghost_data"] & (KNOWN | KNOWN_IN_COPY)
        page["ghost_data"] &= ~(WANTED | WANTED_IN_COPY)
        page["ghost_data"] |= known * (WANTED // KNOWN)


@inline
def _take_handle(world, task):
    """journal_start: ext4_writepages has a handle before it locks a page."""
    if world.sys[R.JOURNAL] and not task["journal"] and task["caller"] != ISIZE:
        task["journal"] = 1
        world.sys[R.JOURNAL_HANDLES] += 1


@inline
def _drop_handle(world, task):
    if task["journal"]:
        task["journal"] = 0
        world.sys[R.JOURNAL_HANDLES] -= 1
        if world.sys[R.JOURNAL_HANDLES] == 0:
            wake_all(world, WAIT_JOURNAL, -1)


@jit
def find_dirty(world, t):
    """Find the next page with the dirty tag; where the run of neighbours breaks, the bio goes first."""
    task = at(world.task, t)
    p = int(task["page"])
    n = int(task["last"])
    while p < n and not has(page_of(world, p), TAG_DIRTY):
        p += 1
    task["page"] = p
    if task["bio"] >= 0 and (p >= n or _breaks(world, task, p)):
        task["pc"] = F_SUBMIT_BIO
    elif p < n:
        tally(world, R.TAG_SCAN, 1)
        task["pc"] = F_LOCK_PAGE
    else:
        task["page"] = 0
        task["pc"] = F_WAIT_WRITEBACK if task["caller"] == SYNC_ALL else F_SLEEP


@jit
def _breaks(world, task, p):
    row = at(world.bio, task["bio"])
    return row["page"] + row["nr_pages"] != p or row["nr_pages"] >= WRITEBACK_BIO_PAGES


@jit
def writeback_lock_page(world, t):
    """Lock the page and look again; ext4 looks for buffers (BUG_ON before 2022, then warns and drops).

    fsync waits for a writeback with the page lock held. Whoever has to wait submits its bio first (ext4_writepages).
    """
    task = at(world.task, t)
    p = int(task["page"])
    page = page_of(world, p)
    if task["bio"] >= 0 and has(page, PG_LOCKED | PG_WRITEBACK):
        task["pc"] = F_SUBMIT_BIO
        return
    _take_handle(world, task)
    if not task["locked"] and not lock_page(world, task, p):
        return
    task["locked"] = 1
    if task["caller"] == ISIZE and has(page, PG_CACHED):
        task["pc"] = F_I_MMAP_LOCK
    elif _nothing_to_write(page, task):
        _leave_page(world, task)
    elif has(page, PG_WRITEBACK):
        page["flags"] |= PG_WAITERS
        wait(task, WAIT_WRITEBACK, p)
    elif not has(page, PG_PRIVATE):
        _no_buffers(world, task, page)
    else:
        task["pc"] = F_I_MMAP_LOCK


@inline
def _nothing_to_write(page, task):
    under_writeback = has(page, PG_WRITEBACK) and task["caller"] == SYNC_NONE
    return not has(page, PG_CACHED) or not has(page, PG_DIRTY) or under_writeback


@jit
def _no_buffers(world, task, page):
    if world.sys[R.FS_BUG_ON]:
        world.sys[R.FS_BUG] += 1
        task["state"] = DEAD  # its page stays locked
        return
    world.sys[R.DATA_DROPPED] += 1
    page["flags"] &= ~(PG_DIRTY | TAG_DIRTY)
    _leave_page(world, task)


@jit
def _leave_page(world, task):
    unlock_page(world, task["page"])
    _drop_handle(world, task)
    task["locked"] = task["answer"] = task["told_no"] = 0
    task["page"] += 1
    task["pc"] = F_SLEEP if task["caller"] == ISIZE else F_FIND


@jit
def _policy(world, task):
    if task["caller"] == ISIZE:
        return world.sys[R.CLEAN_ISIZE]
    return world.sys[R.CLEAN_ALL] if task["caller"] == SYNC_ALL else world.sys[R.CLEAN_NONE]


@inline
def _writes_pinned(policy):
    """Whether a cleaner writes a pinned page, which it write-protects whatever the order."""
    return policy == WRITE_KEEP_DIRTY or policy == BOUNCE


@jit
def writeback_i_mmap_lock(world, t):
    """Take ``i_mmap_rwsem`` for reading."""
    if i_mmap_lock(world, t, 0):
        task = at(world.task, t)
        _take_handle(world, task)
        task["answer"] = task["told_no"] = 0
        ask_first = world.sys[R.CHECK_FIRST] and _policy(world, task) != IGNORE
        task["pc"] = F_ASK if ask_first else F_MKCLEAN


@jit
def writeback_mkclean(world, t):
    """``page_mkclean``."""
    task = at(world.task, t)
    if not invalidate(world, task, int(task["page"])):
        return
    found = rmap_mkclean(world, int(task["page"]))
    if world.sys[R.PINS_IN_MAPCOUNT]:
        task["kept"] = found
    asks_now = not world.sys[R.CHECK_FIRST] and _policy(world, task) != IGNORE
    task["pc"] = F_ASK if asks_now else F_I_MMAP_UNLOCK


@step
def ask(tracker, world, t):
    """Ask the tracker, under ``i_mmap_rwsem``, where a virtual VMA can be found.

    One who would wait is on the page's wait queue before it asks (prepare_to_wait), so that no end of a pin is missed.
    """
    task = at(world.task, t)
    p = int(task["page"])
    if _policy(world, task) == WAIT:
        page_of(world, p)["flags"] |= PG_WAITERS
        task["wait_kind"], task["wait_page"] = WAIT_PIN, p
    tally(world, R.PIN_TEST, 1)
    if world.sys[R.CHECK_FIRST]:
        task["answer"] = is_pinned(tracker, world, p)
    else:
        task["answer"] = is_pinned_by_walk(tracker, world, p, int(task["kept"]))
    task["kept"] = 0
    judge_answer(tracker, world, p, task["answer"])
    if not task["answer"]:
        task["wait_kind"] = WAIT_NONE
        task["told_no"] = page_of(world, p)["ghost_pins"] == 0
    write_protect = not task["answer"] or _writes_pinned(_policy(world, task))
    task["pc"] = F_MKCLEAN if world.sys[R.CHECK_FIRST] and write_protect else F_I_MMAP_UNLOCK


@step
def ask_tracker(tracker, world, p):
    """Ask whether a page is pinned; what is made of the answer is judged (`judge_answer`)."""
    tally(world, R.PIN_TEST, 1)
    pinned = is_pinned(tracker, world, p)
    judge_answer(tracker, world, p, pinned)
    return pinned


@step
def judge_answer(tracker, world, p, pinned):
    """Compare an answer with the ghost: one who acts on a wrong one is a hazard.

    That a range outlives the pin of one of its pages is no wrong answer; nor is a pin that is just being taken.
    """
    page = page_of(world, p)
    if not pinned and page["ghost_pins"] > 0:
        world.sys[R.MISSED_PIN] += 1
    if pinned and page["ghost_pins"] == 0 and tracker.when < RANGE_BEFORE and not _being_pinned(world, p):
        world.sys[R.STALE_PIN if page["ghost_data"] & EVER_PINNED else R.FALSE_PIN] += 1


@jit
def _being_pinned(world, p):
    """Whether GUP-fast has taken a reference, and has yet to read the PTE again."""
    if not world.sys[R.GUP_FAST_STEPS]:
        return False
    for t in range(len(world.task)):
        task = at(world.task, t)
        gup = task["program"] == DIO_PROGRAM or task["program"] == RDMA_PROGRAM
        if gup and task["pc"] == D_GUP_CHECK and task["page"] == p:
            return True
    return False


@inline
def act_on_no(world, task, p):
    """The kernel acts on an answer "not pinned" that was right when it was given; a pin may have come since."""
    if task["told_no"] and page_of(world, p)["ghost_pins"] > 0:
        world.sys[R.MISSED_PIN] += 1
    task["told_no"] = 0


@jit
def writeback_i_mmap_unlock(world, t):
    """Release ``i_mmap_rwsem``."""
    i_mmap_unlock(world, 0)
    at(world.task, t)["pc"] = F_DECIDE


@jit
def decide(world, t):
    """Write the page, or do with a pinned one what the policy says."""
    task = at(world.task, t)
    p = int(task["page"])
    policy = _policy(world, task)
    if not task["answer"]:
        if task["caller"] == ISIZE:
            _leave_page(world, task)
        else:
            task["pc"] = F_CLEAR_DIRTY
    elif _writes_pinned(policy):
        task["pc"] = F_CLEAR_DIRTY
    elif policy == SKIP:
        world.sys[R.SKIPPED] += 1
        _leave_page(world, task)
    elif policy == REPORT or world.sys[R.LEASE_REFUSED]:
        task["wait_kind"] = WAIT_NONE
        world.sys[R.REPORTED] += 1
        task["error"] = 1
        _leave_page(world, task)
    elif policy == WAIT and task["bio"] >= 0:  # nobody waits with a bio unsubmitted: that first, and then look again
        task["wait_kind"] = WAIT_NONE
        unlock_page(world, p)
        _drop_handle(world, task)
        task["locked"] = 0
        task["pc"] = F_SUBMIT_BIO
    elif policy == WAIT:
        tell_holders(world, p)
        if not world.sys[R.WAIT_JOURNAL_HELD]:
            _drop_handle(world, task)
        if not world.sys[R.WAIT_LOCKED]:
            unlock_page(world, p)
            task["locked"] = 0
            task["pc"] = F_LOCK_PAGE
        elif world.sys[R.WAIT_ONCE]:
            task["answer"] = 0
            task["told_no"] = 1
        else:
            task["pc"] = F_I_MMAP_LOCK
        if task["wait_kind"] == WAIT_PIN:  # no pin has ended since it asked
            world.sys[R.WAITED] += 1
            wait(task, WAIT_PIN, p)


@jit
def clear_page_dirty_for_io(world, t):
    """TestClearPageDirty, set_page_writeback, unlock; the page joins the bio of its neighbours.

    A pinned page comes here by policies that write it: it stays dirty, with the tag, as nobody will say when the device
    has changed it again. But if it is bounced on behalf of a filesystem that reserves space for each time that it is
    made dirty, it has to become clean (Chinner 2023-02-15; so does Kara's RFC, 20230209123206.3548-3-jack@suse.cz).
    """
    task = at(world.task, t)
    p = int(task["page"])
    b = task["bio"]
    if b < 0:
        b = alloc_bio_row(world)
        if b < 0:
            wait(task, WAIT_BIO, -1)
            return
        _start_writeback_bio(world, task, b, p)
    at(world.bio, b)["nr_pages"] += 1
    act_on_no(world, task, p)
    page = page_of(world, p)
    page["ghost_data"] &= ~COPY_READ
    page["flags"] |= PG_WRITEBACK | TAG_WRITEBACK
    tally(world, R.WRITEPAGE, 1)
    pinned = task["answer"] != 0
    bounced = pinned and _policy(world, task) == BOUNCE
    if bounced:
        _bounce(world, p)
    if pinned and not (bounced and world.sys[R.BOUNCE_CLEANS]):
        world.sys[R.KEPT_DIRTY] += 1
    else:
        page["flags"] &= ~(PG_DIRTY | BH_DIRTY | TAG_DIRTY)
        world.sys[R.CLEANED] += 1
    _leave_page(world, task)


@inline
def _bounce(world, p):
    """Copy the page, at one instant, to a bounce page, which the device will read in its place."""
    sys = world.sys
    page = page_of(world, p)
    page["flags"] |= BOUNCED
    ghost_read(page, is_elsewhere(world, p))
    tally(world, R.BOUNCE_COPY, 1)
    sys[R.BOUNCE_PAGES] += 1
    sys[R.PEAK_BOUNCE] = max(sys[R.PEAK_BOUNCE], sys[R.BOUNCE_PAGES])


@jit
def _start_writeback_bio(world, task, b, p):
    row = at(world.bio, b)
    row["page"] = p
    row["nr_pages"] = 0
    row["handle"] = -1
    row["seg_next"] = -1
    row["dio"] = -1
    row["op"] = WRITEBACK
    row["cpu"] = task["cpu"]
    row["redirty"] = 0
    row["done_ps"] = -1
    task["bio"] = b
    tally(world, R.BIO_ALLOC, 1)


@jit
def writeback_submit_bio(world, t):
    """Submit, or wait for a tag."""
    task = at(world.task, t)
    if world.sys[R.TAGS_FREE] == 0:
        wait(task, WAIT_TAG, -1)
        return
    if _has_bounced(world, task["bio"]):
        tally(world, R.BOUNCE_BIO, 1)
    device_push(world, task["bio"])
    task["bio"] = -1
    task["pc"] = F_FIND


@jit
def _has_bounced(world, b):
    row = at(world.bio, b)
    for p in range(row["page"], row["page"] + row["nr_pages"]):
        if has(page_of(world, p), BOUNCED):
            return True
    return False


@jit
def _judge_return(world):
    for p in range(world.sys[R.NR_PAGES]):
        if page_of(world, p)["ghost_data"] & WANTED:
            world.sys[R.FSYNC_LIE] += 1
            return


@jit
def wait_writeback(world, t):
    """fsync waits for every page under writeback, then returns (v4.17 mm/filemap.c filemap_fdatawait_range)."""
    sys = world.sys
    task = at(world.task, t)
    p = int(task["page"])
    while p < sys[R.SYNC_PAGES] and not has(page_of(world, p), TAG_WRITEBACK):
        p += 1
    task["page"] = p
    if p < sys[R.SYNC_PAGES]:
        page_of(world, p)["flags"] |= PG_WAITERS
        wait(task, WAIT_WRITEBACK, p)
        return
    sys[R.FSYNCS] += 1
    sys[R.FSYNC_ERRORS] += task["error"]
    if sys[R.WATCH] and not task["error"]:
        _judge_return(world)
    histogram_add(world, R.FSYNC, sys[R.NOW] - task["began_ps"])
    task["pc"] = F_SLEEP
