"""The clock: runs step programs by discrete events, on CPUs, with contended locks and a device.

What runs when
--------------
A CPU runs one task at a time, a step at a time; a step's effects happen at its start, and the CPU and the
spinlock that the step runs under are taken for the step's cost. After each step an interrupt, then a
kworker, goes before threads; threads of equal rank run until they block or their slice ends. A task that
finds its spinlock taken spins on its CPU, first come first served. Tasks that sleep leave their CPU.
Events at the same time happen in the order in which they were scheduled.
"""

from typing import NamedTuple

import numpy as np

from workbench.accelerate import at, inline, jit, step
from workbench.mm import bio
from workbench.mm import registers as R
from workbench.mm.world import (
    PRIO_IRQ,
    PRIO_THREAD,
    RUNNABLE,
    SLEEPING,
    WAIT_NONE,
    WAITING,
    tally,
)
from workbench.pointed import pointed
from workbench.steps import run_step, spinlock_of
from workbench.trackers.protocol import bytes_in_use

CPU = np.dtype(
    [
        ("current", np.int32),  # task (plus one) that has the CPU
        ("last", np.int32),  # task (plus one) that ran before, for context switches
        ("busy", np.int32),  # in a step, or spinning
        ("holds", np.int32),  # spinlock (plus one) of the step
        ("spin_next", np.int32),  # next CPU (plus one) that spins on the same lock
        ("kicked", np.int32),
        ("head_0", np.int32),
        ("tail_0", np.int32),
        ("head_1", np.int32),
        ("tail_1", np.int32),
        ("head_2", np.int32),
        ("tail_2", np.int32),
        ("slice_ps", np.int64),  # since when the current thread has run
        ("spin_ps", np.int64),  # since when it spins
        ("busy_ps", np.int64),
    ]
)

EVENT = np.dtype([("time_ps", np.int64), ("sequence", np.int64), ("what", np.int64)])

LOCK = np.dtype(
    [
        ("holder", np.int32),  # CPU plus one
        ("head", np.int32),  # first spinning CPU, plus one
        ("tail", np.int32),
        ("taken", np.int64),
        ("contended", np.int64),
        ("since_ps", np.int64),
        ("held_ps", np.int64),
        ("waited_ps", np.int64),
    ]
)

SLICE_PS = 3_000_000_000  # 3 ms: base slice of v6.12 kernel/sched/fair.c scaled for 8 or more CPUs

# The driver's own registers; SEQUENCE is how many events have been scheduled.
(
    HEAP_N,
    SEQUENCE,
    FIRST_TIME,
    FIRST_SEQUENCE,
    FIRST_WHAT,
    DRAW_NEXT,
    UNITS_FREE,
    PER_PAGE_PS,
    LATE,
    SAMPLES,
    SAMPLE_NEXT,
    SAMPLE_PERIOD,
    LOGGED,
    LOG_PAGE,
    RWSEM_HELD_PS,
    RWSEM_SINCE,
    DEVICE_BUSY_PS,
    PAGES_LOCKED_PS,
    CELLS,
) = range(19)

STEP_END, DEVICE_DONE, TIMER = range(3)
NOTHING, NEED_DRAWS, NEED_PLAN, LOG_FULL, FINISHED = range(5)
SAMPLE_FIELDS = ("time_ps", "pinned_pages", "live_ranges", "bytes", "work_out", "ios_out")
LOG_FIELDS = (
    "time_ps",
    "end_ps",
    "task",
    "program",
    "pc",
    "page",
    "flags",
    "refcount",
    "mapcount",
    "pins",
    "data",
)


class Clock(NamedTuple):
    """State of the driver.

    Attributes
    ----------
    heap : ndarray of EVENT
        Binary heap of events.
    cpu, lock : ndarray
        Rows of `CPU` and `LOCK`: the LRU's lock, then a page-table lock for each 512 pages.
    run_next : ndarray of int32
        Links of the run queues, by task (plus one).
    kicks : ndarray of int32
        CPUs that may have something to start; the first cell counts them.
    draws : ndarray of int64
        Service times [ps], drawn outside.
    since : ndarray of int64, shape (tasks, 2)
        Since when a task waits [ps], and for what.
    slept_ps : ndarray of int64, shape (reasons, 2)
        By reason, the time that tasks have waited [ps], and how often.
    sample, log : ndarray of int64
        Time series (`SAMPLE_FIELDS`) and walk-through (`LOG_FIELDS`).
    cells : ndarray of int64
        The driver's registers.
    """

    heap: np.ndarray
    cpu: np.ndarray
    lock: np.ndarray
    run_next: np.ndarray
    kicks: np.ndarray
    draws: np.ndarray
    since: np.ndarray
    slept_ps: np.ndarray
    sample: np.ndarray
    log: np.ndarray
    cells: np.ndarray


# ---- events


@inline
def _is_before(heap, i, time, sequence):
    """Whether event i of the heap comes before another."""
    event = at(heap, i)
    return event["time_ps"] < time or (event["time_ps"] == time and event["sequence"] < sequence)


@inline
def _set_event(heap, i, time, sequence, what):
    event = at(heap, i)
    event["time_ps"] = time
    event["sequence"] = sequence
    event["what"] = what


@inline
def _move_event(heap, source, target):
    event = at(heap, source)
    _set_event(heap, target, event["time_ps"], event["sequence"], event["what"])


@jit
def push_event(clock, time, kind, arg):
    """Schedule an event. The earliest one stands apart, so that a CPU's next step mostly skips the heap."""
    cells = clock.cells
    cells[SEQUENCE] += 1
    sequence, what = cells[SEQUENCE], arg * 4 + kind
    if cells[FIRST_WHAT] < 0:
        if cells[HEAP_N] == 0 or time < at(clock.heap, 0)["time_ps"]:
            _set_first(cells, time, sequence, what)
            return
    elif time < cells[FIRST_TIME]:
        _heap_push(clock, cells[FIRST_TIME], cells[FIRST_SEQUENCE], cells[FIRST_WHAT])
        _set_first(cells, time, sequence, what)
        return
    _heap_push(clock, time, sequence, what)


@inline
def _set_first(cells, time, sequence, what):
    cells[FIRST_TIME] = time
    cells[FIRST_SEQUENCE] = sequence
    cells[FIRST_WHAT] = what


@jit
def _heap_push(clock, time, sequence, what):
    """Insert an event: a hole goes up from the end to its place."""
    heap, cells = clock.heap, clock.cells
    hole = cells[HEAP_N]
    cells[HEAP_N] += 1
    while hole > 0:
        parent = (hole - 1) >> 1
        if _is_before(heap, parent, time, sequence):
            break
        _move_event(heap, parent, hole)
        hole = parent
    _set_event(heap, hole, time, sequence, what)


@jit
def pop_event(clock):
    """Take the earliest event: its time and what it is."""
    heap, cells = clock.heap, clock.cells
    if cells[FIRST_WHAT] >= 0:
        what = cells[FIRST_WHAT]
        cells[FIRST_WHAT] = -1
        return cells[FIRST_TIME], what
    time, what = at(heap, 0)["time_ps"], at(heap, 0)["what"]
    cells[HEAP_N] -= 1
    n = cells[HEAP_N]
    last = at(heap, n)
    _heap_replace_top(heap, n, last["time_ps"], last["sequence"], last["what"])
    return time, what


@inline
def _heap_replace_top(heap, n, time, sequence, what):
    """Put an event in the place of the earliest of ``n``: a hole goes down from there."""
    hole = 0
    while 2 * hole + 1 < n:
        child = 2 * hole + 1
        if child + 1 < n:
            other = at(heap, child + 1)
            child += not _is_before(heap, child, other["time_ps"], other["sequence"])
        if not _is_before(heap, child, time, sequence):
            break
        _move_event(heap, child, hole)
        hole = child
    _set_event(heap, hole, time, sequence, what)


# ---- run queues


@inline
def _queue_ends(cpu, prio):
    if prio == 0:
        return cpu["head_0"], cpu["tail_0"]
    if prio == 1:
        return cpu["head_1"], cpu["tail_1"]
    return cpu["head_2"], cpu["tail_2"]


@inline
def _set_queue(cpu, prio, head, tail):
    if prio == 0:
        cpu["head_0"] = head
        cpu["tail_0"] = tail
    elif prio == 1:
        cpu["head_1"] = head
        cpu["tail_1"] = tail
    else:
        cpu["head_2"] = head
        cpu["tail_2"] = tail


@jit
def _enqueue(world, clock, t, front):
    """Put a runnable task on its CPU's queue."""
    task = at(world.task, t)
    cpu = at(clock.cpu, task["cpu"])
    head, tail = _queue_ends(cpu, task["prio"])
    clock.run_next[t] = 0
    if head == 0:
        head = tail = t + 1
    elif front:
        clock.run_next[t] = head
        head = t + 1
    else:
        clock.run_next[tail - 1] = t + 1
        tail = t + 1
    _set_queue(cpu, task["prio"], head, tail)


@jit
def _dequeue(clock, cpu):
    """Take the task that is to run next (plus one), or 0."""
    for prio in range(3):
        head, tail = _queue_ends(cpu, prio)
        if head != 0:
            rest = clock.run_next[head - 1]
            _set_queue(cpu, prio, rest, tail if rest != 0 else 0)
            return head
    return 0


@inline
def _kick(clock, c):
    """Have a CPU looked at before the next event."""
    cpu = at(clock.cpu, c)
    if not cpu["kicked"]:
        cpu["kicked"] = 1
        clock.kicks[0] += 1
        clock.kicks[clock.kicks[0]] = c


@inline
def _next_kicked(clock):
    """Take the CPU that was kicked first."""
    kicks = clock.kicks
    c = kicks[1]
    kicks[0] -= 1
    for i in range(1, kicks[0] + 1):
        kicks[i] = kicks[i + 1]
    return c


@inline
def make_runnable(world, clock, t):
    """A woken task joins its CPU's queue, unless it is still in the step in which it went to sleep."""
    task = at(world.task, t)
    since = clock.since[t]
    if since[1] != WAIT_NONE:
        clock.slept_ps[since[1], 0] += world.sys[R.NOW] - since[0]
        clock.slept_ps[since[1], 1] += 1
        since[1] = WAIT_NONE
    if at(clock.cpu, task["cpu"])["current"] != t + 1:
        _enqueue(world, clock, t, False)
        _kick(clock, task["cpu"])


# ---- device


@inline
def start_device(world, clock):
    """Let the device take what it can: a unit each, or, in a replay, all, each until its recorded time."""
    sys, cells = world.sys, clock.cells
    while sys[R.DEVICE_HEAD] >= 0:
        b = sys[R.DEVICE_HEAD]
        row = at(world.bio, b)
        replayed = row["done_ps"] >= 0
        if not replayed and cells[UNITS_FREE] == 0:
            return
        sys[R.DEVICE_HEAD] = row["bi_next"]
        bio.device_start(world, b)
        done = row["done_ps"]
        if replayed:
            cells[LATE] += done < sys[R.NOW]
            done = max(done, sys[R.NOW])
        else:
            cells[UNITS_FREE] -= 1
            pages = 0
            n = b
            while n >= 0:
                pages += at(world.bio, n)["nr_pages"]
                n = at(world.bio, n)["seg_next"]
            service = clock.draws[cells[DRAW_NEXT]] + pages * cells[PER_PAGE_PS]
            cells[DRAW_NEXT] += 1
            cells[DEVICE_BUSY_PS] += service
            done = sys[R.NOW] + service
        push_event(clock, done, DEVICE_DONE, b)


@jit
def finish_bio(world, clock, b):
    """The device is done with a bio."""
    clock.cells[UNITS_FREE] += at(world.bio, b)["done_ps"] < 0
    bio.device_done(world, b)


# ---- the driver


@inline
def start_cpu(tracker, world, clock, c):
    """Start a step on an idle CPU, or spin for the lock that it needs."""
    cpu = at(clock.cpu, c)
    cpu["kicked"] = 0
    now = world.sys[R.NOW]
    ready = _got_lock(clock, cpu, c, now) if cpu["busy"] else _chose_task(tracker, world, clock, cpu, c, now)
    if ready:
        _execute(tracker, world, clock, c)


@inline
def _got_lock(clock, cpu, c, now):
    """Whether a busy CPU was spinning for a lock, and has it now."""
    if cpu["holds"] == 0 or at(clock.lock, cpu["holds"] - 1)["holder"] != c + 1 or cpu["spin_ps"] < 0:
        return False  # in a step, or still spinning
    lock = at(clock.lock, cpu["holds"] - 1)
    lock["waited_ps"] += now - cpu["spin_ps"]
    cpu["busy_ps"] += now - cpu["spin_ps"]
    cpu["spin_ps"] = -1
    return True


@inline
def _chose_task(tracker, world, clock, cpu, c, now):
    """Whether an idle CPU has found a task, and with it the lock that its step needs."""
    if cpu["current"] == 0:
        cpu["current"] = _dequeue(clock, cpu)
        if cpu["current"] == 0:
            return False
        cpu["slice_ps"] = now
    cpu["busy"] = 1
    wanted = spinlock_of(tracker, world, at(world.task, cpu["current"] - 1))
    if wanted >= 0:
        cpu["holds"] = wanted + 1
        lock = at(clock.lock, wanted)
        lock["taken"] += 1
        if lock["holder"] != 0:
            _spin(clock, cpu, lock, c, now)
            return False
        lock["holder"] = c + 1
        lock["since_ps"] = now
    return True


@inline
def _spin(clock, cpu, lock, c, now):
    lock["contended"] += 1
    cpu["spin_ps"] = now
    cpu["spin_next"] = 0
    if lock["head"] == 0:
        lock["head"] = c + 1
    else:
        at(clock.cpu, lock["tail"] - 1)["spin_next"] = c + 1
    lock["tail"] = c + 1


@inline
def _execute(tracker, world, clock, c):
    """Run the step: effects now, the CPU and the lock taken for its cost."""
    sys = world.sys
    cpu = at(clock.cpu, c)
    t = cpu["current"] - 1
    task = at(world.task, t)
    program, pc = task["program"], task["pc"]
    sys[R.STEP_PS] = 0
    if task["prio"] != PRIO_IRQ and cpu["last"] != t + 1:
        tally(world, R.SWITCH, 1)
        cpu["last"] = t + 1
    writers = sys[R.I_MMAP_WRITER] + sys[R.I_MMAP_READERS]
    run_step(tracker, world, t)
    cost = sys[R.STEP_PS]
    cpu["busy_ps"] += cost
    if writers == 0 and sys[R.I_MMAP_WRITER] + sys[R.I_MMAP_READERS] != 0:
        clock.cells[RWSEM_SINCE] = sys[R.NOW]
    elif writers != 0 and sys[R.I_MMAP_WRITER] + sys[R.I_MMAP_READERS] == 0:
        clock.cells[RWSEM_HELD_PS] += sys[R.NOW] - clock.cells[RWSEM_SINCE]
    push_event(clock, sys[R.NOW] + cost, STEP_END, c)
    if clock.cells[LOG_PAGE] >= 0:
        _log(world, clock, t, program, pc, cost)
    settle(world, clock)


@jit
def _log(world, clock, t, program, pc, cost):
    """Write down the step and the watched page's state after it."""
    page = at(world.page, clock.cells[LOG_PAGE])
    row = clock.log[clock.cells[LOGGED]]
    row[0] = world.sys[R.NOW]
    row[1] = world.sys[R.NOW] + cost
    row[2] = t
    row[3] = program
    row[4] = pc
    row[5] = clock.cells[LOG_PAGE]
    row[6] = page["flags"]
    row[7] = page["_refcount"]
    row[8] = page["_mapcount"]
    row[9] = page["ghost_pins"]
    row[10] = page["ghost_data"]
    clock.cells[LOGGED] += 1


@inline
def settle(world, clock):
    """After a change: the device takes new bios, woken tasks join their queues. Mostly there is nothing to do."""
    if world.sys[R.DEVICE_HEAD] >= 0:
        start_device(world, clock)
    if world.sys[R.WOKEN_HEAD] != 0:
        _start_woken(world, clock)


@jit
def _start_woken(world, clock):
    sys = world.sys
    while sys[R.WOKEN_HEAD] != 0:
        t = sys[R.WOKEN_HEAD] - 1
        sys[R.WOKEN_HEAD] = at(world.task, t)["wake_next"]
        if sys[R.WOKEN_HEAD] == 0:
            sys[R.WOKEN_TAIL] = 0
        make_runnable(world, clock, t)


@inline
def end_step(tracker, world, clock, c):
    """A step has used up its cost: pass its spinlock on; the CPU can go on, once others that were kicked have."""
    cpu = at(clock.cpu, c)
    t = cpu["current"] - 1
    task = at(world.task, t)
    cpu["busy"] = 0
    if cpu["holds"] != 0:
        _unlock(world, clock, at(clock.lock, cpu["holds"] - 1))
        cpu["holds"] = 0
    if task["state"] == RUNNABLE:
        _maybe_preempt(world, clock, cpu, t)
    else:
        cpu["current"] = 0
        if task["state"] == WAITING:
            clock.since[t, 0] = world.sys[R.NOW]
            clock.since[t, 1] = task["wait_kind"]
        elif task["state"] == SLEEPING:
            push_event(clock, max(task["until_ps"], world.sys[R.NOW]), TIMER, t)


@jit
def _unlock(world, clock, lock):
    lock["held_ps"] += world.sys[R.NOW] - lock["since_ps"]
    lock["since_ps"] = world.sys[R.NOW]
    lock["holder"] = lock["head"]
    if lock["head"] != 0:
        c = lock["head"] - 1
        lock["head"] = at(clock.cpu, c)["spin_next"]
        if lock["head"] == 0:
            lock["tail"] = 0
        _kick(clock, c)


@jit
def _maybe_preempt(world, clock, cpu, t):
    """Give way to whatever ranks higher; a thread whose slice is over, to its equals too."""
    prio = at(world.task, t)["prio"]
    higher = (prio > 0 and cpu["head_0"] != 0) or (prio > 1 and cpu["head_1"] != 0)
    slice_over = prio == PRIO_THREAD and world.sys[R.NOW] - cpu["slice_ps"] >= SLICE_PS and cpu["head_2"] != 0
    if higher or slice_over:
        _enqueue(world, clock, t, not slice_over)
        cpu["current"] = 0


@step
def take_sample(tracker, world, clock, time):
    """Write the time series up to ``time``; when it is full, every second sample goes, and the period doubles."""
    sys, cells = world.sys, clock.cells
    in_use = bytes_in_use(tracker, world)
    while cells[SAMPLE_NEXT] <= time:
        if cells[SAMPLES] == len(clock.sample):
            _thin(clock)
        row = clock.sample[cells[SAMPLES]]
        row[0] = cells[SAMPLE_NEXT]
        row[1] = sys[R.PINNED_PAGES]
        row[2] = sys[R.LIVE_RANGES]
        row[3] = in_use
        row[4] = sys[R.WORK_OUT]
        row[5] = sys[R.IOS_OUT]
        cells[SAMPLES] += 1
        cells[SAMPLE_NEXT] += cells[SAMPLE_PERIOD]


@jit
def _thin(clock):
    cells = clock.cells
    cells[SAMPLES] = (len(clock.sample) + 1) // 2
    for i in range(1, cells[SAMPLES]):
        for k in range(len(SAMPLE_FIELDS)):
            clock.sample[i, k] = clock.sample[2 * i, k]
    cells[SAMPLE_PERIOD] *= 2
    cells[SAMPLE_NEXT] = clock.sample[cells[SAMPLES] - 1, 0] + cells[SAMPLE_PERIOD]


@jit
def _needed(world, clock, margin):
    """What has to be filled up before the next event, which uses no more than ``margin`` of each; or `NOTHING`."""
    sys, cells = world.sys, clock.cells
    if len(clock.draws) - cells[DRAW_NEXT] < margin:
        return NEED_DRAWS
    planned = sys[R.PLAN_END] - sys[R.PLAN_NEXT]
    if planned < margin and sys[R.IOS_LEFT] > planned:
        return NEED_PLAN
    if cells[LOG_PAGE] >= 0 and len(clock.log) - cells[LOGGED] < margin:
        return LOG_FULL
    return NOTHING


@jit
def _room(world, clock, margin):
    """How many events may happen before `_needed` has to be asked again: each uses ``margin`` of anything at most."""
    sys, cells = world.sys, clock.cells
    left = len(clock.draws) - cells[DRAW_NEXT]
    planned = sys[R.PLAN_END] - sys[R.PLAN_NEXT]
    if sys[R.IOS_LEFT] > planned:
        left = min(left, planned)
    if cells[LOG_PAGE] >= 0:
        left = min(left, len(clock.log) - cells[LOGGED])
    return left // margin


@step
def run(tracker, world, clock):
    """Run until nothing is left to happen, or until more random numbers or room for the log are needed.

    Returns
    -------
    int
        `FINISHED`, or `NEED_DRAWS`, `NEED_PLAN`, `LOG_FULL`; after these, call again once there is room.
    """
    world, clock = pointed(world), pointed(clock)
    sys, cells = world.sys, clock.cells
    margin = len(clock.cpu) + 1
    c = -1  # a CPU that goes on without waiting for others
    room = 0
    while True:
        if c < 0 and clock.kicks[0] > 0:
            c = _next_kicked(clock)
        if c >= 0:
            start_cpu(tracker, world, clock, c)
            c = -1
            continue
        if cells[HEAP_N] == 0 and cells[FIRST_WHAT] < 0:
            return FINISHED
        if room == 0:
            needed = _needed(world, clock, margin)
            if needed != NOTHING:
                return needed
            room = _room(world, clock, margin)
        room -= 1
        time, what = pop_event(clock)
        if cells[SAMPLE_NEXT] <= time:
            take_sample(tracker, world, clock, time)
        if sys[R.PAGES_LOCKED] != 0:
            cells[PAGES_LOCKED_PS] += sys[R.PAGES_LOCKED] * (time - sys[R.NOW])
        sys[R.NOW] = time
        kind, arg = what & 3, what >> 2
        if kind == STEP_END:
            end_step(tracker, world, clock, arg)
            if clock.kicks[0] == 0:
                c = arg
            else:
                _kick(clock, arg)
        elif kind == DEVICE_DONE:
            finish_bio(world, clock, arg)
            settle(world, clock)
        else:
            at(world.task, arg)["state"] = RUNNABLE
            make_runnable(world, clock, arg)
