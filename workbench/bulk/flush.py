"""Cleaners: the flusher by inode (WB_SYNC_NONE), and sync (WB_SYNC_ALL), which waits for what it writes.

v6.12 fs/fs-writeback.c: wb_workfn, wb_check_old_data_flush, wb_check_background_flush, requeue_inode (redirty_tail);
mm/page-writeback.c: wb_over_bg_thresh, tag_pages_for_writeback, writeback_iter. Simplified: inodes are taken by
number, each from its first page on; sync tags all inodes when it begins.
"""

from workbench.accelerate import jit
from workbench.bulk import registers as S
from workbench.bulk.bits import count, equal_run, fill, merge, next_set, test, wipe
from workbench.bulk.disk import submit
from workbench.bulk.regions import break_leases, lease_is_kept
from workbench.bulk.world import (
    ASKED,
    BOUNCED,
    DEVICE,
    DIRTY,
    FRESH,
    PINNED,
    TOWRITE,
    WRITABLE,
    WRITEBACK,
    afford,
)
from workbench.policies import BOUNCE, IGNORE, LEASE_FAIL, REPORT, WAIT, WRITE_KEEP_DIRTY

IDLE, WRITING, WAITING = range(3)  # SYNC_ON


@jit
def next_run(world, tag, first, end):
    """Next page that has the tag, and how many from it on, in its inode, share its state; 0: there is none."""
    sys = world.sys
    page = next_set(world.bit, tag, first, end)
    if page >= end:
        return end, 0
    end = min(end, (page // sys[S.INODE_PAGES] + 1) * sys[S.INODE_PAGES])
    return page, equal_run(world.bit, tag, WRITEBACK, ASKED, page, min(end - page, sys[S.MOST]))


# ---- what either does with a run of dirty pages; all return how many they are done with, 0: they have to wait


@jit
def leave(sys, clock, n, counter):
    """Look at pages and go on."""
    n = afford(sys, clock, n, sys[S.LOOK_PS])
    sys[S.TAG_SCAN] += n
    if counter >= 0:
        sys[counter] += n
    return n


@jit
def write_out(world, clock, room, first, n, pinned_policy):
    """Clear dirty (unless the policy for these pinned pages keeps it) and give them to the disk."""
    sys, bit = world.sys, world.bit
    n = min(n, max(room - sys[S.WRITEBACK_NR], 0) // sys[S.FOLIO] * sys[S.FOLIO])
    if n == 0:
        return 0
    bounced = pinned_policy == BOUNCE
    n = afford(sys, clock, n, sys[S.LOOK_PS] + sys[S.WRITE_PS] + (sys[S.COPY_PS] if bounced else 0))
    sys[S.TAG_SCAN] += n
    sys[S.WRITEPAGE] += n
    sys[S.EXTRA_WRITES] += n - count(bit, FRESH, first, n)
    sys[S.INVALIDATED] += count(bit, DEVICE, first, n)
    for row in (WRITABLE, DEVICE, FRESH, TOWRITE):
        wipe(bit, row, first, n)
    fill(bit, WRITEBACK, first, n)
    if bounced:
        fill(bit, BOUNCED, first, n)
        sys[S.BOUNCE_COPY] += n
        sys[S.BOUNCED_NR] += n
        sys[S.BOUNCED_MAX] = max(sys[S.BOUNCED_MAX], sys[S.BOUNCED_NR])
    if pinned_policy == WRITE_KEEP_DIRTY or (bounced and not sys[S.BOUNCE_CLEANS]):
        sys[S.KEPT_DIRTY] += n
    else:
        sys[S.CLEANED] += n
        wipe(bit, DIRTY, first, n)
        sys[S.DIRTY_NR] -= n
        world.inode_dirty[first // sys[S.INODE_PAGES]] -= n
    submit(world, first, n)
    return n


@jit
def visit(world, policy, clock, room, waits, first, n):
    """Do what the policy says with a run of dirty pages that are not under writeback."""
    sys, bit = world.sys, world.bit
    if policy == IGNORE or not test(bit, ASKED, first):
        done = write_out(world, clock, room, first, n, IGNORE)
        if policy != IGNORE:
            sys[S.MISSED_PIN] += count(bit, PINNED, first, done) if done > 0 else 0
        return done
    if policy == WRITE_KEEP_DIRTY or policy == BOUNCE:
        return write_out(world, clock, room, first, n, policy)
    if policy == WAIT and sys[S.LEASE_END] == LEASE_FAIL and lease_is_kept(world, first, sys[S.FOLIO]):
        policy, n = REPORT, min(n, sys[S.FOLIO])
    if policy == WAIT:
        if sys[S.LEASE]:
            break_leases(world, first, sys[S.FOLIO])
        if sys[waits] != first + 1:
            sys[waits] = first + 1
            sys[S.WAITED] += 1
        n = 0
    else:
        n = leave(sys, clock, n, S.REPORTED if policy == REPORT else S.SKIPPED)
    if sys[S.PROTECT_FIRST]:
        wipe(bit, WRITABLE, first, max(n, sys[S.FOLIO]))
    return n


# ---- the flusher


@jit
def flusher(world):
    """Begin a round when one is due, and go on with it while there is time, and room in the queue."""
    sys = world.sys
    if not sys[S.FLUSH_ON] and not begin_round(world):
        return
    sys[S.FLUSH_TIME] = min(sys[S.FLUSH_TIME], 0) + sys[S.TICK]
    room = sys[S.QUEUE] * 3 // 4  # block/blk-wbt.c: background writeback leaves room for others (the share is assumed)
    while sys[S.FLUSH_TIME] > 0:
        if sys[S.FLUSH_INODE] == sys[S.INODES]:
            end_round(sys)
            return
        end = min((sys[S.FLUSH_INODE] + 1) * sys[S.INODE_PAGES], sys[S.FILE])
        page, n = next_run(world, DIRTY, sys[S.FLUSH_PAGE], end)
        if n == 0:
            sys[S.FLUSH_WAITS] = 0  # the page that it waited for may have been written by sync
            leave_inode(world, sys[S.FLUSH_INODE])
            next_inode(world, sys[S.FLUSH_INODE] + 1)
            continue
        if test(world.bit, WRITEBACK, page):
            done = leave(sys, S.FLUSH_TIME, n, -1)
        else:
            before = sys[S.WRITEPAGE]
            done = visit(world, sys[S.POLICY_NONE], S.FLUSH_TIME, room, S.FLUSH_WAITS, page, n)
            sys[S.FLUSH_WROTE] += sys[S.WRITEPAGE] - before
        if done == 0:
            return
        sys[S.FLUSH_WAITS] = 0
        sys[S.FLUSH_PAGE] = page + done


@jit
def begin_round(world):
    """Whether a round is due, or too much is dirty and the last background round got on; and which inodes are."""
    sys = world.sys
    too_much = sys[S.DIRTY_NR] > sys[S.BACKGROUND]
    due = sys[S.NOW] >= sys[S.FLUSH_NEXT]
    if not due and not (too_much and sys[S.FLUSH_WAKES]):
        return False
    if due:
        sys[S.FLUSH_NEXT] = (sys[S.NOW] // sys[S.FLUSH_PERIOD] + 1) * sys[S.FLUSH_PERIOD]
    for i in range(sys[S.INODES]):
        old = world.inode_since[i] + sys[S.EXPIRE] <= sys[S.NOW]
        world.inode_due[i] = world.inode_dirty[i] > 0 and (too_much or old)
    sys[S.FLUSH_ON] = 1
    sys[S.FLUSH_BACKGROUND] = too_much
    sys[S.FLUSH_WROTE] = sys[S.FLUSH_TIME] = 0
    next_inode(world, 0)
    return True


@jit
def next_inode(world, i):
    """Go to the first page of the next inode that is due, if there is one."""
    sys = world.sys
    while i < sys[S.INODES] and not world.inode_due[i]:
        i += 1
    sys[S.FLUSH_INODE] = i
    sys[S.FLUSH_PAGE] = i * sys[S.INODE_PAGES]


@jit
def leave_inode(world, i):
    """requeue_inode: one that is still dirty counts as dirtied now, so that it does not come again at once."""
    world.inode_due[i] = 0
    if world.inode_dirty[i] > 0:
        world.inode_since[i] = world.sys[S.NOW]


@jit
def end_round(sys):
    """A background round that has written nothing is not repeated before the next is due."""
    sys[S.FLUSH_ON] = 0
    sys[S.FLUSH_ROUNDS] += 1
    sys[S.FLUSH_WAKES] = not sys[S.FLUSH_BACKGROUND] or sys[S.FLUSH_WROTE] > 0


# ---- sync


@jit
def sync(world):
    """Begin when one is due; write what was dirty then, and wait for all writeback."""
    sys = world.sys
    if sys[S.SYNC_ON] == IDLE and not begin_sync(world):
        return
    sys[S.SYNC_TIME] = min(sys[S.SYNC_TIME], 0) + sys[S.TICK]
    if sys[S.SYNC_ON] == WRITING:
        write_tagged(world)
    if sys[S.SYNC_ON] == WAITING:
        sys[S.SYNC_PAGE] = next_set(world.bit, WRITEBACK, sys[S.SYNC_PAGE], sys[S.FILE])
        if sys[S.SYNC_PAGE] == sys[S.FILE]:
            end_sync(world)


@jit
def begin_sync(world):
    """tag_pages_for_writeback: only what is dirty now is written."""
    sys = world.sys
    if sys[S.SYNC_PERIOD] == 0 or sys[S.NOW] < sys[S.SYNC_NEXT]:
        return False
    sys[S.SYNC_NEXT] = sys[S.NOW] + sys[S.SYNC_PERIOD]
    merge(world.bit, TOWRITE, DIRTY, 0, sys[S.FILE])
    world.latency[sys[S.SYNCS_BEGUN]] = -1
    sys[S.SYNCS_BEGUN] += 1
    sys[S.SYNC_ON], sys[S.SYNC_BEGAN] = WRITING, sys[S.NOW]
    sys[S.SYNC_PAGE] = sys[S.SYNC_ERROR] = sys[S.SYNC_TIME] = 0
    return True


@jit
def write_tagged(world):
    """Go over the pages tagged towrite, from the first on."""
    sys = world.sys
    while sys[S.SYNC_TIME] > 0:
        page, n = next_run(world, TOWRITE, sys[S.SYNC_PAGE], sys[S.FILE])
        if n == 0:
            sys[S.SYNC_ON], sys[S.SYNC_PAGE] = WAITING, 0
            sys[S.SYNC_WAITS] = 0  # the page that it waited for may have been written by the flusher
            return
        if test(world.bit, WRITEBACK, page):
            return  # folio_wait_writeback
        reported = sys[S.REPORTED]
        done = visit(world, sys[S.POLICY_ALL], S.SYNC_TIME, sys[S.QUEUE], S.SYNC_WAITS, page, n)
        sys[S.SYNC_ERROR] |= sys[S.REPORTED] > reported
        if done == 0:
            return
        sys[S.SYNC_WAITS] = 0
        sys[S.SYNC_PAGE] = page + done


@jit
def end_sync(world):
    """Sync returns; the next one is due a period after this one began, or now."""
    sys = world.sys
    world.latency[sys[S.SYNCS_BEGUN] - 1] = sys[S.NOW] - sys[S.SYNC_BEGAN]
    sys[S.SYNC_ON] = IDLE
    sys[S.FSYNCS] += 1
    sys[S.FSYNC_ERRORS] += sys[S.SYNC_ERROR]
