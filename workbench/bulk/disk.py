"""The disk: a queue, first come, first served, and a rate; the end of writeback."""

from workbench.accelerate import jit
from workbench.bulk import registers as S
from workbench.bulk.bits import count, keep, wipe
from workbench.bulk.world import BOUNCED, FRESH, NEWER, PS_PER_S, WRITEBACK


@jit
def submit(world, first, n):
    """A run of pages joins the queue."""
    sys = world.sys
    row = (sys[S.QUEUE_HEAD] + sys[S.QUEUE_ROWS]) % len(world.queue)
    world.queue[row, 0], world.queue[row, 1] = first, n
    sys[S.QUEUE_ROWS] += 1
    sys[S.WRITEBACK_NR] += n


@jit
def complete_writeback(world):
    """The disk writes whole folios, as many as its rate allows since the last tick; idle time is not saved up."""
    sys = world.sys
    if sys[S.QUEUE_ROWS] == 0:
        sys[S.DISK_CREDIT] = 0
        return
    sys[S.DISK_CREDIT] += sys[S.DISK_RATE] * sys[S.TICK]
    done = 0
    while sys[S.QUEUE_ROWS] > 0:
        row = world.queue[sys[S.QUEUE_HEAD]]
        n = min(row[1], sys[S.DISK_CREDIT] // PS_PER_S // sys[S.FOLIO] * sys[S.FOLIO])
        if n == 0:
            break
        end_writeback(world, row[0], n)
        sys[S.DISK_CREDIT] -= n * PS_PER_S
        done += n
        row[0] += n
        row[1] -= n
        if row[1] == 0:
            sys[S.QUEUE_HEAD] = (sys[S.QUEUE_HEAD] + 1) % len(world.queue)
            sys[S.QUEUE_ROWS] -= 1
    if sys[S.QUEUE_ROWS] > 0:  # it was busy throughout: so much it can do
        sys[S.BANDWIDTH] = (7 * sys[S.BANDWIDTH] + (done << 10)) >> 3


@jit
def end_writeback(world, first, n):
    """folio_end_writeback: what has not changed since the copy is on disk."""
    sys, bit = world.sys, world.bit
    wipe(bit, WRITEBACK, first, n)
    sys[S.BOUNCED_NR] -= count(bit, BOUNCED, first, n)
    wipe(bit, BOUNCED, first, n)
    keep(bit, NEWER, FRESH, first, n)
    sys[S.WRITEBACK_NR] -= n
    sys[S.WRITTEN] += n
