"""One step of any task: which function a (program, pc) stands for, and the spinlock that it runs under.

The clock and the search of every interleaving both run tasks by these two functions.
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import bio, fork, gup, mapper, migrate, programs, rdma, reclaim, truncate, writeback
from workbench.trackers.protocol import LOCK_ZONE, SPINLOCKS

# Steps of get_user_pages that may run under a spinlock: a bit for each.
_GUP_UNDER_SPINLOCK = sum(
    1 << pc
    for pc in (
        *(programs.D_PIN_PAGES, programs.D_RANGE_INSERT, programs.D_GUP_FAIL),
        *(programs.D_FAULT_PTE, programs.D_COW_FAULT, programs.D_FOLLOW_PAGE),
    )
)


@inline
def spinlock_of(tracker, world, task):
    """Spinlock that the task's next step runs under, or -1."""
    program, pc = task["program"], task["pc"]
    if program == programs.DIO_PROGRAM:
        return _spinlock_of_gup(tracker, task, pc) if (_GUP_UNDER_SPINLOCK >> pc) & 1 else -1
    if program == programs.IRQ_PROGRAM:
        if pc == programs.I_RELEASE:
            return gup.page_spinlock(tracker) - 1
        if pc == programs.I_RANGE_RELEASE:
            return gup.range_spinlock(tracker) - 1
        return -1
    return _spinlock_of_other(tracker, task, program, pc)


@step
def _spinlock_of_gup(tracker, task, pc):
    if pc == programs.D_PIN_PAGES:
        return gup.page_spinlock(tracker) - 1
    if pc == programs.D_RANGE_INSERT or (pc == programs.D_GUP_FAIL and task["kept"] == gup.FAILED_LOCKED):
        return gup.range_spinlock(tracker) - 1
    return -1 if pc == programs.D_GUP_FAIL else _page_table_lock(task)


@step
def _spinlock_of_other(tracker, task, program, pc):
    if _in_gup(program, pc):
        return _spinlock_of_gup(tracker, task, pc) if (_GUP_UNDER_SPINLOCK >> pc) & 1 else -1
    if program == programs.KWORKER_PROGRAM:
        if pc == programs.W_RELEASE:
            return gup.page_spinlock(tracker) - 1
        if pc == programs.W_RANGE_RELEASE:
            return gup.range_spinlock(tracker) - 1
    elif program == programs.WRITEBACK_PROGRAM:
        if pc == programs.F_MKCLEAN:
            return _page_table_lock(task)
        if pc == programs.F_ASK:
            return gup.range_spinlock(tracker) - 1
    elif program == programs.KSWAPD_PROGRAM:
        if pc == programs.R_UNMAP:
            return _page_table_lock(task)
        if pc == programs.R_ISOLATE or pc == programs.R_PUTBACK:
            return LOCK_ZONE - 1
    elif program == programs.RDMA_PROGRAM:
        if pc == programs.M_DEREG_RELEASE:
            return gup.page_spinlock(tracker) - 1
        if pc == programs.M_DEREG_RANGE:
            return gup.range_spinlock(tracker) - 1
    return -1


@inline
def _page_table_lock(task):
    return SPINLOCKS + (task["page"] >> 9)


@inline
def _in_gup(program, pc):
    """Whether this is a step of get_user_pages or of its faults, which three programs share."""
    shares = program == programs.DIO_PROGRAM or program == programs.RDMA_PROGRAM or program == programs.WRITER_PROGRAM
    return shares and programs.D_GUP_CALL <= pc and pc <= programs.D_GUP_FAIL


@inline
def run_step(tracker, world, t):
    """Run the next step of a task: one atomic action of the kernel."""
    program = at(world.task, t)["program"]
    if program == programs.DIO_PROGRAM:
        _dio_step(tracker, world, t)
    elif program == programs.IRQ_PROGRAM:
        _irq_step(tracker, world, t)
    else:
        _other_step(tracker, world, t)


@step
def _other_step(tracker, world, t):
    """Run a step of what is run less often, and so is kept apart: the others stay small enough to be in the driver."""
    task = at(world.task, t)
    program = task["program"]
    if _in_gup(program, task["pc"]):
        _gup_step(tracker, world, t)
    elif program == programs.KWORKER_PROGRAM:
        _kworker_step(tracker, world, t)
    elif program == programs.WRITEBACK_PROGRAM:
        _writeback_step(tracker, world, t)
    elif program == programs.KSWAPD_PROGRAM:
        _kswapd_step(tracker, world, t)
    elif program == programs.RDMA_PROGRAM:
        _rdma_step(tracker, world, t)
    elif program == programs.FORK_PROGRAM:
        _fork_step(tracker, world, t)
    elif program == programs.TRUNCATE_PROGRAM:
        _truncate_step(tracker, world, t)
    elif program == programs.MIGRATE_PROGRAM:
        _migrate_step(tracker, world, t)
    else:
        _plain_step(world, t)


@step
def _gup_step(tracker, world, t):
    pc = at(world.task, t)["pc"]
    if pc == programs.D_GUP_CALL:
        gup.gup_call(tracker, world, t)
    elif pc == programs.D_RANGE_LOCK:
        gup.gup_range_lock(world, t)
    elif pc == programs.D_RANGE_INSERT:
        gup.gup_range_insert(tracker, world, t)
    elif pc == programs.D_RANGE_UNLOCK:
        gup.gup_range_unlock(tracker, world, t)
    elif pc == programs.D_GUP_PAGES:
        gup.gup_pages(tracker, world, t)
    elif pc == programs.D_GUP_TAKE:
        gup.gup_take(tracker, world, t)
    elif pc == programs.D_GUP_CHECK:
        gup.gup_check(tracker, world, t)
    elif pc == programs.D_FOLLOW_PAGE:
        gup.follow_page(tracker, world, t)
    elif pc == programs.D_PIN_PAGES:
        gup.pin_pages(tracker, world, t)
    elif pc == programs.D_FAULT_LOCK:
        gup.fault_lock(tracker, world, t)
    elif pc == programs.D_PAGE_MKWRITE:
        gup.page_mkwrite(world, t)
    elif pc == programs.D_FAULT_PTE:
        gup.fault_pte(world, t)
    elif pc == programs.D_COW_FAULT:
        fork.cow_fault(world, t)
    elif pc == programs.D_FAULT_UNLOCK:
        gup.fault_unlock(world, t)
    else:
        gup.gup_fail(tracker, world, t)


@inline
def _dio_step(tracker, world, t):
    pc = at(world.task, t)["pc"]
    if programs.D_GUP_CALL <= pc and pc <= programs.D_GUP_FAIL:
        _gup_step(tracker, world, t)
    elif pc == programs.D_REAP:
        bio.dio_reap(world, t)
    elif pc == programs.D_BEGIN:
        bio.dio_begin(world, t)
    elif pc == programs.D_BUILD_BIO:
        bio.build_bio(world, t)
    elif pc == programs.D_SET_DIRTY:
        bio.bio_set_pages_dirty(tracker, world, t)
    else:
        bio.dio_submit_bio(world, t)


@inline
def _irq_step(tracker, world, t):
    pc = at(world.task, t)["pc"]
    if pc == programs.I_TAKE:
        bio.irq_take_bio(world, t)
    elif pc == programs.I_CHECK_DIRTY:
        bio.bio_check_pages_dirty(tracker, world, t)
    elif pc == programs.I_RELEASE:
        bio.irq_release_pages(tracker, world, t)
    elif pc == programs.I_RANGE_RELEASE:
        bio.irq_release_range(tracker, world, t)
    elif pc == programs.I_DIO_COMPLETE:
        bio.dio_bio_complete(world, t)
    else:
        bio.end_page_writeback(world, t)


@step
def _kworker_step(tracker, world, t):
    pc = at(world.task, t)["pc"]
    if pc == programs.W_TAKE:
        bio.kworker_take(tracker, world, t)
    elif pc == programs.W_SET_DIRTY:
        bio.bio_dirty_fn(tracker, world, t)
    elif pc == programs.W_RANGE_LOCK:
        bio.release_range_lock(world, t)
    elif pc == programs.W_RANGE_RELEASE:
        bio.release_range(tracker, world, t)
    elif pc == programs.W_RANGE_UNLOCK:
        bio.release_range_unlock(world, t)
    else:
        bio.kworker_release(tracker, world, t)


@step
def _writeback_step(tracker, world, t):
    pc = at(world.task, t)["pc"]
    if pc == programs.F_SLEEP:
        writeback.writeback_sleep(world, t)
    elif pc == programs.F_FIND:
        writeback.find_dirty(world, t)
    elif pc == programs.F_LOCK_PAGE:
        writeback.writeback_lock_page(world, t)
    elif pc == programs.F_I_MMAP_LOCK:
        writeback.writeback_i_mmap_lock(world, t)
    elif pc == programs.F_MKCLEAN:
        writeback.writeback_mkclean(world, t)
    elif pc == programs.F_ASK:
        writeback.ask(tracker, world, t)
    elif pc == programs.F_I_MMAP_UNLOCK:
        writeback.writeback_i_mmap_unlock(world, t)
    elif pc == programs.F_DECIDE:
        writeback.decide(world, t)
    elif pc == programs.F_CLEAR_DIRTY:
        writeback.clear_page_dirty_for_io(world, t)
    elif pc == programs.F_SUBMIT_BIO:
        writeback.writeback_submit_bio(world, t)
    else:
        writeback.wait_writeback(world, t)


@step
def _kswapd_step(tracker, world, t):
    pc = at(world.task, t)["pc"]
    if pc == programs.R_SLEEP:
        reclaim.kswapd_sleep(world, t)
    elif pc == programs.R_ISOLATE:
        reclaim.isolate(world, t)
    elif pc == programs.R_TRYLOCK:
        reclaim.reclaim_trylock(world, t)
    elif pc == programs.R_I_MMAP_LOCK:
        reclaim.reclaim_i_mmap_lock(world, t)
    elif pc == programs.R_UNMAP:
        reclaim.reclaim_unmap(tracker, world, t)
    elif pc == programs.R_I_MMAP_UNLOCK:
        reclaim.reclaim_i_mmap_unlock(world, t)
    elif pc == programs.R_TEST_DIRTY:
        reclaim.test_dirty(world, t)
    elif pc == programs.R_RELEASE_BUFFERS:
        reclaim.try_to_release_page(world, t)
    elif pc == programs.R_REMOVE_MAPPING:
        reclaim.remove_mapping(tracker, world, t)
    else:
        reclaim.putback(world, t)


@step
def _rdma_step(tracker, world, t):
    pc = at(world.task, t)["pc"]
    if pc == programs.M_REGISTER:
        rdma.reg_mr(world, t)
    elif pc == programs.M_CHECK:
        rdma.mr_check(world, t)
    elif pc <= programs.G_PUTBACK:
        _migrate_step(tracker, world, t)
    elif pc == programs.M_UNDO:
        rdma.mr_undo(tracker, world, t)
    elif pc == programs.M_DETACH:
        rdma.mr_detach(tracker, world, t)
    elif pc == programs.M_POST_RECV:
        rdma.post_recv(world, t)
    elif pc == programs.M_POLL:
        rdma.poll_cq(world, t)
    elif pc == programs.M_IDLE:
        rdma.mr_idle(world, t)
    elif pc == programs.M_NOTICE:
        rdma.lease_notice(world, t)
    elif pc == programs.M_GRACE:
        rdma.lease_grace(world, t)
    elif pc == programs.M_DEREG_DIRTY:
        rdma.dereg_dirty(tracker, world, t)
    elif pc == programs.M_DEREG_LOCK:
        rdma.dereg_range_lock(world, t)
    elif pc == programs.M_DEREG_RANGE:
        rdma.dereg_range(tracker, world, t)
    elif pc == programs.M_DEREG_UNLOCK:
        rdma.dereg_range_unlock(world, t)
    elif pc == programs.M_DEREG_RELEASE:
        rdma.dereg_release(tracker, world, t)
    else:
        rdma.dereg_detached(world, t)


@step
def _migrate_step(tracker, world, t):
    pc = at(world.task, t)["pc"]
    if pc == programs.G_ISOLATE:
        migrate.isolate(world, t)
    elif pc == programs.G_LOCK:
        migrate.migrate_lock(world, t)
    elif pc == programs.G_UNMAP:
        migrate.migrate_unmap(world, t)
    elif pc == programs.G_MOVE:
        migrate.migrate_move(tracker, world, t)
    elif pc == programs.G_REMAP:
        migrate.migrate_remap(world, t)
    else:
        migrate.putback(world, t)


@step
def _fork_step(tracker, world, t):
    pc = at(world.task, t)["pc"]
    if pc == programs.K_BEGIN:
        fork.fork_begin(world, t)
    elif pc == programs.K_ASK:
        fork.fork_ask(tracker, world, t)
    elif pc == programs.K_COPY:
        fork.fork_copy(world, t)
    elif pc == programs.K_SHARE:
        fork.fork_share(world, t)
    else:
        fork.fork_end(world, t)


@step
def _truncate_step(tracker, world, t):
    pc = at(world.task, t)["pc"]
    if pc == programs.T_BEGIN:
        truncate.truncate_begin(world, t)
    elif pc == programs.T_UNMAP:
        truncate.unmap_range(world, t)
    elif pc == programs.T_IDLE:
        truncate.truncate_idle(world, t)
    elif pc == programs.T_LOCK:
        truncate.truncate_lock(world, t)
    elif pc == programs.T_TRUNCATE:
        truncate.truncate_page(tracker, world, t)
    else:
        truncate.truncate_unlock(world, t)


@jit
def _plain_step(world, t):
    """Programs that no tracker takes part in."""
    task = at(world.task, t)
    program, pc = task["program"], task["pc"]
    if program == programs.WRITER_PROGRAM:
        if pc == programs.U_WRITE:
            fork.writer_write(world, t)
        else:
            fork.balance_dirty_pages(world, t)
    elif program == programs.CHILD_PROGRAM:
        if pc == programs.C_WAIT:
            fork.child_wait(world, t)
        elif pc == programs.C_WRITE:
            fork.child_write(world, t)
        else:
            fork.child_exit(world, t)
    elif pc == programs.P_MAP:
        mapper.mapper_map(world, t)
    else:
        mapper.mapper_unmap(world, t)
