"""Hazards: what must never happen, as predicates on objects and ghost state.

Most are events that steps count as they happen; some are judged when all is at rest. A simulated run shows one
order of events, so a count of 0 there says "not in this run", never "can't happen": that is what `explore` is for.
"""

from typing import Any, NamedTuple

from workbench import designs
from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.page import (
    EVER_PINNED,
    NEWER_THAN_DISK,
    PG_CACHED,
    PG_DIRTY,
    PG_LOCKED,
    PTE_DIRTY,
    has,
    page_of,
)
from workbench.mm.programs import (
    DIO_PROGRAM,
    KSWAPD_PROGRAM,
    KWORKER_PROGRAM,
    M_IDLE,
    RDMA_PROGRAM,
    WRITEBACK_PROGRAM,
)
from workbench.mm.world import DEAD, WAIT_DIO, WAIT_DIRTY, WAIT_PAGE, WAIT_PIN, WAIT_USER, WAIT_WORK, WAITING, WAITS
from workbench.mm.writeback import SYNC_NONE
from workbench.policies import CLEANING, IGNORE, REPORT, SKIP, leaves_dirty
from workbench.trackers.protocol import LOCK_PAGE, RANGE_BEFORE, is_pinned


class Hazard(NamedTuple):
    """One hazard.

    Attributes
    ----------
    definition : str
        One line.
    source : str
        Where it was described: mail or kernel file.
    counters : tuple of str
        Counters that see it (`registers.COUNTERS`); empty where the run is judged at its end.
    """

    definition: str
    source: str
    counters: tuple[str, ...] = ()


HAZARDS = {
    "bufferless-dirty": Hazard(
        "a file page is dirtied without buffers",
        "Kara 2018-01-03, 20180103100430.GE4911@quack2; v4.17 fs/ext4/inode.c ext4_set_page_dirty",
        ("BUFFERLESS_DIRTY",),
    ),
    "lost-update": Hazard(
        "a page leaves memory, or all comes to rest, with memory newer than disk and nothing left that would write it",
        "v4.17 mm/vmscan.c __remove_mapping; Ts'o 2022-03-03, YiDS9wVfq4mM2jGK@mit.edu",
        ("LOST_UPDATE", "DATA_DROPPED"),
    ),
    "unstable-write": Hazard(
        "DMA changes a page between start and end of its writeback",
        "Kara 2018-06-19; v4.17 mm/page-writeback.c wait_for_stable_page, which holds CPUs up, not devices",
        ("UNSTABLE_WRITE",),
    ),
    "fsync-lie": Hazard(
        "fsync returns success, though data that its caller could know to be complete before is not on disk",
        "Kara 2023-02-14: a region kept registered, its transfer done, then fsync",
        ("FSYNC_LIE",),
    ),
    "missed-pin": Hazard(
        "the kernel acts on the answer 'not pinned' about a page with a true pin",
        "Hellwig 2018-06-18: of two who pin a page, the first to finish removes the protection",
        ("MISSED_PIN",),
    ),
    "stale-pin": Hazard(
        "the tracker says 'pinned' of a page whose true pins have all ended; of ranges, only once all is at rest",
        "Kara 2018-06-19: a flag that only eviction clears, on a page that it keeps from eviction",
        ("STALE_PIN",),
    ),
    "false-pin": Hazard(
        "the tracker says 'pinned' of a page that never was",
        "Kara 2019-01-14, 20190114145447.GJ13316@quack2: 1024 plain references look like a pin",
        ("FALSE_PIN",),
    ),
    "deadlock": Hazard(
        "tasks wait for each other: one for a pin, those that hold it for what the first one holds",
        "Kara 2018-07-09, 20180709160806.xjt2l2pbmyiutbyi@quack2",
    ),
    "stall": Hazard(
        "a task waits, or tries again for ever, because of a pin, true or only claimed, that nothing need ever end",
        "Kara 2018-06-20: long-term users must be told to release, else the system becomes unusable",
    ),
    "cow-alias": Hazard(
        "after fork, device and owner look at different copies",
        "Hildenbrand 2021-11-15, 3ae33b08-d9ef-f846-56fb-645e3b9b4c66@redhat",
        ("COW_ALIAS",),
    ),
    "truncate-write": Hazard(
        "the device writes a block that truncation has freed (DAX), or an orphaned page",
        "Williams 2018-06-17; v4.17 fs/dax.c dax_disassociate_entry only warns",
        ("TRUNCATE_WRITE",),
    ),
    "count-overflow": Hazard(
        "a reference or pin count goes over its limit",
        "Romanovsky 2019-12-19, 20191219132607.GA410823@unreal",
        ("COUNT_OVERFLOW",),
    ),
    "unmovable": Hazard(
        "a long-term pin sits in CMA or ZONE_MOVABLE",
        "Kara 2019-01-16; Tatashin 2021-02-11",
        ("UNMOVABLE",),
    ),
}
_NUMBER = {name: i for i, name in enumerate(HAZARDS)}
NUMBER_OF_COUNTER = {counter: _NUMBER[name] for name, hazard in HAZARDS.items() for counter in hazard.counters}
# Hazard of each counter from BUFFERLESS_DIRTY to UNMOVABLE; -1: of none by itself.
EVENTS = tuple(NUMBER_OF_COUNTER.get(name, -1) for name in list(R.COUNTERS)[R.BUFFERLESS_DIRTY : R.UNMOVABLE + 1])
LOST_UPDATE, STALE_PIN, FALSE_PIN, DEADLOCK, STALL = (
    _NUMBER[name] for name in ("lost-update", "stale-pin", "false-pin", "deadlock", "stall")
)
END_BITS = len(HAZARDS)  # `judge_rest` gives the kind of end above the hazards' bits
GOOD_END, DEADLOCK_END, STALL_END, BUG_END, OTHER_END = range(5)


# ---- at rest


@step
def judge_rest(tracker, world, at_end):
    """Judge a world in which nobody has a step that must come; at an end, none that may either.

    Parameters
    ----------
    tracker, world
    at_end : bool
        Not even an idle holder of a memory region has a step left.

    Returns
    -------
    int
        Bit i: hazard i of `HAZARDS`; above `END_BITS`: the kind of end.
    """
    found = 0
    killed = _killed(world)
    waiting = _waiting_tasks(world)
    for p in range(world.sys[R.NR_PAGES]):
        if at_end and (waiting == 0 or killed) and _is_lost(world, page_of(world, p), killed):
            found |= 1 << LOST_UPDATE
        page = page_of(world, p)
        claimed = is_pinned(tracker, world, p)
        in_pieces = tracker.when >= RANGE_BEFORE and waiting > 0  # a range that is still being released
        if claimed and page["ghost_pins"] == 0 and not in_pieces:
            found |= 1 << (STALE_PIN if page["ghost_data"] & EVER_PINNED else FALSE_PIN)
            if _is_held_up(world, page, True) and not killed:
                found |= 1 << STALL
        if claimed and _idle_holder(world, p) and _is_held_up(world, page, False) and not killed:
            found |= 1 << STALL
    if not killed and _writers_wait(world) and _never_clean(tracker, world) >= world.sys[R.DIRTY_LIMIT]:
        found |= 1 << STALL
    if waiting > 0 and not killed:
        found |= 1 << _judge_waiting(tracker, world)
    return found | _kind_of_end(found, killed) << END_BITS


@inline
def _kind_of_end(found, killed):
    if killed:
        return BUG_END
    if found >> DEADLOCK & 1:
        return DEADLOCK_END
    if found >> STALL & 1:
        return STALL_END
    return GOOD_END if found == 0 else OTHER_END


@jit
def _killed(world):
    """Whether BUG_ON has killed a thread, which leaves its page locked."""
    for t in range(len(world.task)):
        task = at(world.task, t)
        if task["state"] == DEAD and task["locked"]:
            return True
    return False


@jit
def _waiting_tasks(world):
    """Tasks that wait, and are not merely idle; the flusher comes again for those who wait for it to clean."""
    n = 0
    for t in range(len(world.task)):
        task = at(world.task, t)
        kind = task["wait_kind"]
        idle = kind == WAIT_WORK or kind == WAIT_USER or kind == WAIT_DIRTY
        n += task["state"] == WAITING and not idle
    return n


@jit
def _writers_wait(world):
    """Whether somebody is held up in balance_dirty_pages."""
    for t in range(len(world.task)):
        task = at(world.task, t)
        if task["state"] == WAITING and task["wait_kind"] == WAIT_DIRTY:
            return True
    return False


@step
def _never_clean(tracker, world):
    """Dirty pages that the flusher leaves alone as long as an idle holder, or only the tracker, has them pinned."""
    sys = world.sys
    leaves = leaves_dirty(sys[R.CLEAN_NONE], sys[R.BOUNCE_CLEANS])
    n = 0
    for p in range(sys[R.NR_PAGES]):
        page = page_of(world, p)
        if leaves and has(page, PG_DIRTY) and is_pinned(tracker, world, p):
            n += page["ghost_pins"] == 0 or _idle_holder(world, p)
    return n


@inline
def _is_lost(world, page, killed):
    """In the file, newer than disk, and nothing says so, or nobody can get at it any more. DAX memory is the disk."""
    if world.sys[R.DAX] or not has(page, PG_CACHED) or not page["ghost_data"] & NEWER_THAN_DISK:
        return False
    return not has(page, PG_DIRTY | PTE_DIRTY) or (killed and has(page, PG_LOCKED))


@jit
def _is_held_up(world, page, only_claimed):
    """Whether a flusher will skip the dirty page for ever; or reclaim, one that only the tracker calls pinned."""
    sys = world.sys
    skips = sys[R.CLEAN_NONE] == SKIP or sys[R.CLEAN_NONE] == REPORT
    reclaim_asks = only_claimed and sys[R.CLEAN_RECLAIM] != IGNORE
    for t in range(len(world.task)):
        task = at(world.task, t)
        flusher = task["program"] == WRITEBACK_PROGRAM and task["caller"] == SYNC_NONE
        if flusher and skips and has(page, PG_DIRTY):
            return True
        if task["program"] == KSWAPD_PROGRAM and reclaim_asks:
            return True
    return False


@jit
def _idle_holder(world, p):
    """Whether a memory region that nothing is done with holds a pin of the page."""
    for t in range(len(world.task)):
        task = at(world.task, t)
        if task["program"] != RDMA_PROGRAM or task["pc"] != M_IDLE or task["state"] == DEAD:
            continue
        d = int(task["flight_head"])
        while d >= 0:
            dio = at(world.dio, d)
            if dio["page"] <= p and p < dio["page"] + dio["nr_pages"]:
                return True
            d = int(dio["next"])
    return False


@jit
def _pinners_wait(world):
    """Whether somebody waits who may own a range: it goes in before the pins, and out after them."""
    for t in range(len(world.task)):
        task = at(world.task, t)
        program = task["program"]
        pinner = program == DIO_PROGRAM or program == KWORKER_PROGRAM or program == RDMA_PROGRAM
        idle = task["wait_kind"] == WAIT_WORK or task["wait_kind"] == WAIT_USER or task["wait_kind"] == WAIT_DIO
        if pinner and task["state"] == WAITING and not idle:
            return True
    return False


@step
def _judge_waiting(tracker, world):
    """Somebody waits for a pin that no one need ever end: stall; else they wait for each other."""
    owned = tracker.when >= RANGE_BEFORE and _pinners_wait(world)
    for t in range(len(world.task)):
        task = at(world.task, t)
        by_lock = tracker.lock == LOCK_PAGE and task["wait_kind"] == WAIT_PAGE  # a pin is the page lock
        if task["state"] != WAITING or not (task["wait_kind"] == WAIT_PIN or by_lock):
            continue
        p = int(task["wait_page"])
        for_nobody = not by_lock and page_of(world, p)["ghost_pins"] == 0 and not owned
        if for_nobody or _idle_holder(world, p):
            return STALL
    return DEADLOCK


# ---- one simulated run


def found(result: Any) -> dict[str, int]:
    """Count the hazards that a run has met.

    Parameters
    ----------
    result : workbench.simulate.Result

    Returns
    -------
    dict of str to int
        By name, in the order of `HAZARDS`; 0: not met. How often it was counted; for ``stale-pin``, pages at
        rest if they are more than the answers; for ``deadlock`` and ``stall``, tasks that wait. Once a BUG_ON has
        killed somebody, those who wait are neither: `Result.stuck` names them. Of a run by a schedule, those that
        its world shows at rest (`judge_rest`) count one more.
    """
    counted = {name: sum(result.counters[c] for c in hazard.counters) for name, hazard in HAZARDS.items()}
    if result.by_schedule:
        return {name: n + (name in result.at_rest) for name, n in counted.items()}
    return counted | {"stale-pin": _stale(result)} | _waiting(result)


def _stale(result: Any) -> int:
    """A range that is still released piece by piece covers pages whose own pin has gone: that is no hazard."""
    at_rest = int(result.metrics["stale_pages"])
    by_range = designs.parse(result.design).tracker.when >= RANGE_BEFORE
    return at_rest if by_range else max(at_rest, result.counters["STALE_PIN"])


def _waiting(result: Any) -> dict[str, int]:
    """Tell those who wait for each other from those who wait for a pin that nothing need ever end.

    All IO completes: a pin that is left, and that no idle memory region holds, is held by one who waits himself.
    """
    if result.counters["FS_BUG"]:
        return {"deadlock": 0, "stall": 0}
    chosen = designs.parse(result.design)
    throttled = sum(task.endswith(WAITS[WAIT_DIRTY]) for task in result.stuck)
    tasks = len(result.stuck) - throttled
    holder_idles = result.held > 0 and not any(task.startswith("rdma") for task in result.stuck)
    by_lock = holder_idles and chosen.tracker.lock == LOCK_PAGE
    pin = (WAITS[WAIT_PIN], WAITS[WAIT_PAGE]) if by_lock else WAITS[WAIT_PIN]
    for_pin = sum(task.endswith(pin) for task in result.stuck)
    pins_left = result.counters["PINS"] - result.counters["UNPINS"] - result.held
    stays_dirty = holder_idles and leaves_dirty(list(CLEANING).index(chosen.none), chosen.bounce_cleans)
    return {
        "deadlock": tasks if pins_left or not for_pin else 0,
        "stall": (0 if pins_left else for_pin) + (throttled if stays_dirty else 0),
    }


@step
def count_stale(tracker, world):
    """How many pages the tracker calls pinned that have no true pin."""
    stale = 0
    for p in range(len(world.page)):
        if at(world.page, p)["ghost_pins"] == 0 and is_pinned(tracker, world, p):
            stale += 1
    return stale
