"""Which steps no other actor can notice or disturb (partial-order reduction by singleton ample sets).

Such a step reads and writes only what is its own task's; or gives back a lock; or hands on what nobody else can touch
before; or is about a page that nobody else can get at any more. Running it at once, before anything else, loses no
hazard and no end: what it commutes with comes after it just as well (Peled 1993). The tests hold verdicts with and
without it to each other.
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import programs
from workbench.mm import registers as R
from workbench.mm.page import PG_WRITEBACK, PTE_WRITE, has
from workbench.mm.world import DEAD, RUNNABLE, WRITEBACK
from workbench.mm.writeback import ISIZE, SYNC_NONE
from workbench.policies import LONGTERM_LEASE, LONGTERM_NOTIFIER
from workbench.trackers.protocol import LOCK_PAGE, RANGE_BEFORE


@step
def is_local(tracker, world, t):
    """Whether the next step of a task is one of these."""
    task = at(world.task, t)
    program, pc = task["program"], task["pc"]
    ranged = tracker.when >= RANGE_BEFORE
    if tracker.lock == LOCK_PAGE:  # pins of a page keep each other out
        return False
    if program == programs.WRITEBACK_PROGRAM:
        return _local_writeback(world, task, pc, ranged)
    if program == programs.KSWAPD_PROGRAM:
        return pc == programs.R_I_MMAP_UNLOCK or (pc == programs.R_I_MMAP_LOCK and not ranged)
    if program == programs.IRQ_PROGRAM:
        return _local_irq(world, task, pc)
    if program == programs.KWORKER_PROGRAM:
        return _local_kworker(world, task, pc)
    if program == programs.DIO_PROGRAM:
        return _local_dio(world, task, pc)
    if program == programs.RDMA_PROGRAM:
        if pc == programs.M_REGISTER or pc == programs.M_POST_RECV:  # but leases and notifiers are about these
            return not world.sys[R.LONGTERM] & (LONGTERM_LEASE | LONGTERM_NOTIFIER)
        return pc == programs.M_DEREG_UNLOCK
    return False


@inline
def _local_writeback(world, task, pc, ranged):
    if pc == programs.F_DECIDE:
        return not task["answer"] and task["caller"] != ISIZE
    if pc == programs.F_I_MMAP_LOCK:
        return not ranged and task["journal"] == world.sys[R.JOURNAL]
    return pc == programs.F_SUBMIT_BIO or pc == programs.F_I_MMAP_UNLOCK


@inline
def may_choose(world, task):
    """Whether the step may come out in several ways: which page a round is about, or which range is charged."""
    program, pc = task["program"], task["pc"]
    if program == programs.WRITEBACK_PROGRAM:
        return pc == programs.F_SLEEP and world.sys[R.SYNC_ANY] != 0
    if program == programs.KWORKER_PROGRAM:
        return pc == programs.W_RANGE_RELEASE
    if program == programs.IRQ_PROGRAM:
        return pc == programs.I_RANGE_RELEASE
    return program == programs.RDMA_PROGRAM and pc == programs.M_DEREG_RANGE


@jit
def choosing_task(world):
    """A task whose next step chooses what its round is about, which nobody else can notice; -1: none."""
    for t in range(len(world.task)):
        task = at(world.task, t)
        chooses = task["program"] == programs.WRITEBACK_PROGRAM and task["pc"] == programs.F_SLEEP
        if chooses and world.sys[R.SYNC_ANY] and task["caller"] == SYNC_NONE and task["state"] == RUNNABLE:
            return t
    return -1


@inline
def _local_irq(world, task, pc):
    if pc == programs.I_CHECK_DIRTY or pc == programs.I_RELEASE:
        return _unwatched_bio(world, task)
    if pc == programs.I_DIO_COMPLETE:
        return not world.sys[R.WATCH]
    return pc == programs.I_TAKE


@inline
def _local_kworker(world, task, pc):
    if pc == programs.W_SET_DIRTY or pc == programs.W_RELEASE:
        return _unwatched_bio(world, task)
    return pc == programs.W_TAKE or pc == programs.W_RANGE_UNLOCK


@inline
def _local_dio(world, task, pc):
    if pc == programs.D_GUP_CALL:
        return not world.sys[R.FRAMES]
    if pc == programs.D_BUILD_BIO:
        return not world.sys[R.JOURNAL] or not _cleaners(world)
    if pc == programs.D_SET_DIRTY:
        return _unwatched_bio(world, task)
    if pc == programs.D_GUP_PAGES and not world.sys[R.FRAMES]:
        p = int(task["page"])
        return has(at(world.page, p), PTE_WRITE) and _unwatched(world, p)
    if programs.D_GUP_PAGES < pc and pc <= programs.D_FAULT_UNLOCK:
        return not world.sys[R.FRAMES] and _owns_page(world, int(task["dio"]), int(task["page"]))
    return pc == programs.D_BEGIN or pc == programs.D_SUBMIT_BIO or pc == programs.D_RANGE_UNLOCK


@jit
def _cleaners(world):
    """Whether somebody may still take a journal handle, or holds one."""
    if world.sys[R.JOURNAL_HANDLES] > 0:
        return True
    for t in range(len(world.task)):
        task = at(world.task, t)
        if task["program"] == programs.WRITEBACK_PROGRAM and task["state"] != DEAD:
            return True
    return False


@jit
def _unwatched_bio(world, task):
    """Whether the pages of the bio at hand are all `_unwatched`."""
    b = int(task["bio"])
    while b >= 0:
        row = at(world.bio, b)
        for p in range(row["page"], row["page"] + row["nr_pages"]):
            if not _unwatched(world, p):
                return False
        b = int(row["seg_next"])
    return True


@jit
def _owns_page(world, d, p):
    """Whether direct IO ``d`` is the only one that can still get at page ``p``."""
    if not _unwatched(world, p):
        return False
    for b in range(len(world.bio)):
        row = at(world.bio, b)
        if row["page"] <= p and p < row["page"] + row["nr_pages"] and row["dio"] != d:
            return False
    owner = at(world.dio, d)["task"]
    for t in range(len(world.task)):
        task = at(world.task, t)
        other = t != owner and task["program"] == programs.DIO_PROGRAM and task["state"] != DEAD
        if other and _buffer_covers(world, t, p):
            return False
    return True


@jit
def _unwatched(world, p):
    """Whether only direct IOs can still get at the page. What they do to its counts and flags commutes."""
    if world.sys[R.FRAMES] or has(at(world.page, p), PG_WRITEBACK):
        return False
    for b in range(len(world.bio)):
        row = at(world.bio, b)
        if row["op"] == WRITEBACK and row["page"] <= p and p < row["page"] + row["nr_pages"]:
            return False
    for t in range(len(world.task)):
        if _may_look_at(world, t, p):
            return False
    return True


@inline
def _may_look_at(world, t, p):
    """Whether a task other than a direct IO's may still look at the page."""
    task = at(world.task, t)
    program = task["program"]
    if task["state"] == DEAD:
        return task["locked"] != 0
    if program == programs.WRITEBACK_PROGRAM and task["caller"] != ISIZE:
        if p >= world.sys[R.SYNC_PAGES]:
            return False
        last_round = task["rounds"] == 0 and task["pc"] != programs.F_SLEEP
        if last_round and p >= task["last"]:
            return False
        return not (last_round and task["caller"] == SYNC_NONE and task["page"] > p)
    by_bio = program == programs.IRQ_PROGRAM or program == programs.KWORKER_PROGRAM
    return not by_bio and program != programs.DIO_PROGRAM


@inline
def _buffer_covers(world, t, p):
    for d in range(len(world.dio)):
        dio = at(world.dio, d)
        if dio["task"] == t and dio["home"] <= p and p < dio["home"] + at(world.plan, 0)["nr_pages"]:
            return True
    return False
