"""The world that step programs act on: a few structured arrays, and how counts are tallied in them."""

from typing import NamedTuple

import numpy as np

from workbench.accelerate import at, inline
from workbench.intrinsics import bit_length
from workbench.mm import registers as R
from workbench.mm.interval_tree import NODE

# struct page, with links that are 32-bit page numbers. The kernel's own sizes are in sizes.py.
PAGE = np.dtype(
    [
        ("flags", np.int32),  # PG_* and PTE_* of page.py
        ("_refcount", np.int32),
        ("_mapcount", np.int32),  # -1: not mapped, as in the kernel
        ("lru_next", np.int32),  # first word of page->lru: a link, or the pin flags of lru-count
        ("lru_prev", np.int32),  # second word: a link, or the pin count of lru-count
        ("_pincount", np.int32),  # exact count of pins, where large folios have one (pincount)
        ("ghost_pins", np.int32),  # true number of pins; no tracker or policy reads it
        ("ghost_data", np.int32),  # how memory, the copy under writeback and disk relate, and who knows
    ]
)

# struct bio: one row per run of pages that came from one GUP call; a bio is a chain of rows.
BIO = np.dtype(
    [
        ("page", np.int32),
        ("nr_pages", np.int32),
        ("handle", np.int32),  # the range that the run's GUP call inserted, or -1
        ("seg_next", np.int32),  # next row of this bio, or -1
        ("bi_next", np.int32),  # next bio of the list that it is on, or -1
        ("dio", np.int32),  # -1: writeback
        ("op", np.int32),
        ("cpu", np.int32),
        ("redirty", np.int32),  # bio_dirty_fn must dirty its pages first
        ("at_device", np.int32),  # AT_*: where the device has it
        ("done_ps", np.int64),  # replay: when it is to complete, or -1; later: when it completed
    ]
)

# struct dio (fs/direct-io.c) or struct iomap_dio: one direct IO in flight.
DIO = np.dtype(
    [
        ("task", np.int32),
        ("home", np.int32),  # first page of its own buffer
        ("page", np.int32),  # first page of the buffer in use
        ("nr_pages", np.int32),
        ("op", np.int32),
        ("got", np.int32),  # pages that GUP has taken
        ("built", np.int32),  # pages that are in bios
        ("refcount", np.int32),  # bios in flight, and one for the submitter
        ("plan_bio", np.int32),  # next bio of the plan, or -1: cut by parameters
        ("bio_left", np.int32),  # pages until the current bio must end
        ("next", np.int32),  # free list, or next in submission order
        ("prev", np.int32),  # previous in submission order
        ("handle", np.int32),  # the range of a memory region's registration, or -1
        ("place", np.int32),  # of a direct IO in flight (flight.py)
        ("in_block", np.int32),  # in flight with a place in the block of which this row has the count
        ("began_ps", np.int64),
    ]
)

# An actor: a kernel thread, a user thread, or the interrupts of one CPU.
TASK = np.dtype(
    [
        ("program", np.int32),
        ("pc", np.int32),
        ("cpu", np.int32),
        ("prio", np.int32),  # PRIO_*: smaller runs first
        ("state", np.int32),
        ("wait_kind", np.int32),
        ("wait_page", np.int32),
        ("granted", np.int32),  # a lock was handed to the waiting task
        ("dio", np.int32),
        ("bio", np.int32),  # first row of the bio at hand, or -1
        ("row", np.int32),  # row of that bio at hand
        ("page", np.int32),  # page at hand
        ("last", np.int32),  # last page of the run at hand
        ("first", np.int32),  # first page of the run at hand
        ("handle", np.int32),
        ("answer", np.int32),  # what the tracker said
        ("told_no", np.int32),  # it said "not pinned", rightly, and nothing was done yet on the strength of it
        ("list_head", np.int32),  # bios completed on this CPU, or work items
        ("list_tail", np.int32),
        ("free_dio", np.int32),
        ("flight_head", np.int32),  # direct IOs in flight, in submission order
        ("flight_tail", np.int32),
        ("flight_next", np.int32),  # place of the next one (flight.py)
        ("flight_room", np.int32),  # places that there are
        ("in_blocks", np.int32),  # it has so many rows of DIO that places are used
        ("first_dio", np.int32),  # its own rows of DIO begin there
        ("wait_next", np.int32),  # next waiter of i_mmap_rwsem (plus one)
        ("wake_next", np.int32),  # next woken task (plus one)
        ("write", np.int32),  # wants i_mmap_rwsem for writing
        ("caller", np.int32),  # of a cleaner: SYNC_NONE, SYNC_ALL, ISIZE (writeback.py)
        ("idle_rounds", np.int32),  # rounds in a row in which nothing moved though direct IOs are out
        ("rounds", np.int32),  # rounds left; -1: until the direct IO has ended
        ("locked", np.int32),  # a cleaner or reclaim holds the lock of the page at hand
        ("journal", np.int32),  # a cleaner holds a journal handle
        ("seq", np.int32),  # write_protect_seq when GUP-fast began
        ("transfers", np.int32),  # of a memory region: left to do; of a submitter: IOs left to it, or -1: all there are
        ("kept", np.int32),  # what a migration keeps for later: bits of the PTE, or that it has failed
        ("error", np.int32),
        ("until_ps", np.int64),  # when a sleeping task goes on
        ("period_ps", np.int64),
        ("began_ps", np.int64),
    ]
)

# What the scenario wants done: rows of IOs, then rows of bios where a trace dictates them.
PLAN = np.dtype(
    [
        ("page", np.int32),
        ("nr_pages", np.int32),
        ("op", np.int32),
        ("first_bio", np.int32),  # row of its first bio, or -1
        ("at_ps", np.int64),  # IO: not submitted before; bio: completes then; -1: no such time
    ]
)

READ, WRITE, WRITEBACK, TRANSFER = range(4)
AT_NONE, AT_QUEUE, AT_STARTED = range(3)
RUNNABLE, WAITING, SLEEPING, DEAD = range(4)
PRIO_IRQ, PRIO_WORKER, PRIO_THREAD = range(3)
# What a waiting task waits for.
(
    WAIT_NONE, WAIT_DIO, WAIT_TAG, WAIT_BIO, WAIT_PAGE, WAIT_WRITEBACK, WAIT_PIN, WAIT_I_MMAP, WAIT_WORK,
    WAIT_JOURNAL, WAIT_MMAP, WAIT_PTE, WAIT_CQ, WAIT_USER, WAIT_FORK, WAIT_DEVICE, WAIT_DIRTY,
) = range(17)  # fmt: skip
WAITS = (
    "nothing",
    "a direct IO of its own to complete",
    "a device tag",
    "a free bio",
    "the page lock",
    "the end of writeback",
    "a pin to go away",
    "i_mmap_rwsem",
    "work",
    "the journal",
    "mmap_lock",
    "a page table entry to come back",
    "a transfer to complete",
    "its user, who need never do anything",
    "fork",
    "a device to let go of a page",
    "dirty pages to become fewer",
)
IDLE = (WAIT_WORK, WAIT_USER)  # who waits for these is at rest


class World(NamedTuple):
    """The objects; see the dtypes of this module for their fields.

    Attributes
    ----------
    page : ndarray of PAGE
        The pages of one inode; the row number is the offset in the file, in pages.
    node : ndarray of NODE
        Interval tree nodes: row 0 is NIL; headers, real VMAs and pinned ranges.
    bio, dio, task, plan : ndarray
        Rows of `BIO`, `DIO`, `TASK` and `PLAN`.
    sys : ndarray of int64
        Counters, registers, unit costs, histograms (see `registers`).
    """

    page: np.ndarray
    node: np.ndarray
    bio: np.ndarray
    dio: np.ndarray
    task: np.ndarray
    plan: np.ndarray
    sys: np.ndarray


@inline
def tally(world, counter, n):
    """Count ``n`` of ``counter`` and charge their cost to the running step."""
    world.sys[counter] += n
    world.sys[R.STEP_PS] += n * world.sys[R.COST + counter]


@inline
def bucket_of(value):
    """Histogram bucket of a non-negative value: exact below 2**SUB_BITS, then 64 per octave."""
    shift = bit_length(value >> R.SUB_BITS)
    if shift == 0:
        return value
    return (shift << R.SUB_BITS) + ((value >> (shift - 1)) - (1 << R.SUB_BITS))


@inline
def histogram_add(world, which, value):
    """Add one value to histogram ``which``."""
    start = R.HISTOGRAM + which * R.CELLS_OF_ONE
    world.sys[start + bucket_of(value)] += 1
    world.sys[start + R.BUCKETS] += value


@inline
def wait(task, kind, page):
    """Put a task to sleep until somebody wakes it for this reason."""
    task["state"] = WAITING
    task["wait_kind"] = kind
    task["wait_page"] = page


@inline
def wake(world, t, kind):
    """Make a task runnable that waits for this; the driver finds it on the list of the woken, in this order."""
    task = at(world.task, t)
    if task["wait_kind"] != kind:
        return
    task["wait_kind"] = WAIT_NONE
    if task["state"] != WAITING:
        return  # it was about to wait, and will notice
    task["state"] = RUNNABLE
    task["wake_next"] = 0
    tail = world.sys[R.WOKEN_TAIL]
    if tail == 0:
        world.sys[R.WOKEN_HEAD] = t + 1
    else:
        at(world.task, tail - 1)["wake_next"] = t + 1
    world.sys[R.WOKEN_TAIL] = t + 1


@inline
def wake_all(world, kind, page):
    """Wake every task that waits for ``kind`` on ``page`` (-1: on any), in the order of their numbers."""
    for t in range(len(world.task)):
        if page < 0 or at(world.task, t)["wait_page"] == page:
            wake(world, t, kind)


def bucket_values() -> np.ndarray:
    """Smallest value of each histogram bucket.

    Returns
    -------
    ndarray of int64, shape (BUCKETS,)
    """
    index = np.arange(R.BUCKETS, dtype=np.int64)
    shift = np.maximum((index >> R.SUB_BITS) - 1, 0)
    sub = index - (shift << R.SUB_BITS)
    return sub << shift


__all__ = ["BIO", "DIO", "NODE", "PAGE", "PLAN", "TASK", "World"]
