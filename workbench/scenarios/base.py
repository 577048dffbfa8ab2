"""What scenarios share: parameters with units and ranges, and the world that they set up."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.errors import UsageError, nearest
from workbench.mm import registers as R
from workbench.mm.detached import keeps_no_pin
from workbench.mm.flight import BLOCK
from workbench.mm.interval_tree import KIND_VMA, NODE, alloc, free_list_init, insert
from workbench.mm.page import (
    BH_DIRTY,
    LRU_SHIFT,
    NEWER_THAN_DISK,
    PG_CACHED,
    PG_DIRTY,
    PG_LRU,
    PG_PRIVATE,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_WRITE,
    TAG_DIRTY,
)
from workbench.mm.programs import DIO_PROGRAM, IRQ_PROGRAM, KSWAPD_PROGRAM, KWORKER_PROGRAM, WRITEBACK_PROGRAM
from workbench.mm.ranges import PIN_TREE
from workbench.mm.world import (
    BIO,
    DIO,
    PAGE,
    PLAN,
    PRIO_IRQ,
    PRIO_THREAD,
    PRIO_WORKER,
    READ,
    RUNNABLE,
    SLEEPING,
    TASK,
    WAIT_WORK,
    WAITING,
    World,
)
from workbench.mm.writeback import ISIZE, SYNC_ALL, SYNC_NONE
from workbench.policies import (
    CLEANING,
    LEASE_END,
    LONGTERM_LEASE,
    LONGTERM_MIGRATE,
    LONGTERM_MIGRATE_CMA,
    LONGTERM_NOTIFIER,
    LONGTERM_REFUSE,
    LONGTERM_REFUSE_DAX,
    WRITE_PINNED,
)
from workbench.trackers.bounce_pin import BouncePin
from workbench.trackers.mapcount import MapCount

COUNT_MAX = 2**31 - 1  # atomic_t


@dataclass(frozen=True)
class Parameter:
    """A parameter of a scenario.

    Attributes
    ----------
    name : str
    default : int, float or str
    unit : str
    help : str
    low, high : number or None
        Range, both ends allowed.
    choices : tuple of str
    """

    name: str
    default: Any
    unit: str
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> Any:
        """Return the value in the parameter's type.

        Raises
        ------
        UsageError
            If the type is wrong or the value is out of range; the message gives the range with its unit.
        """
        kind = type(self.default)
        if kind is int and isinstance(value, bool):
            raise UsageError(f"parameter {self.name}: {value!r} is not a whole number{self._range()}")
        try:
            number = kind(value)
            if kind is int and float(value) != number:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            what = {int: "a whole number", float: "a number"}.get(kind, "text")
            raise UsageError(f"parameter {self.name}: {value!r} is not {what}{self._range()}") from None
        if self.choices and number not in self.choices:
            raise UsageError(f"parameter {self.name}: {value!r}: {nearest(str(value), self.choices)}")
        if self.low is not None and not (self.low <= number <= self.high):
            raise UsageError(f"parameter {self.name}: {value} is out of range{self._range()}")
        return number

    def _range(self) -> str:
        if self.low is None:
            return ""
        return f"; it goes from {self.low:g} to {self.high:g} {self.unit}".rstrip()


def check_parameters(scenario: str, known: tuple[Parameter, ...], given: dict[str, Any]) -> dict[str, Any]:
    """Complete given parameters by their defaults, each checked.

    Raises
    ------
    UsageError
        For an unknown name (the message gives the nearest), a wrong type, or a value out of range.
    """
    by_name = {p.name: p for p in known}
    for name in given:
        if name not in by_name:
            raise UsageError(f"scenario {scenario}: no parameter {name!r}: {nearest(name, by_name)}")
    return {p.name: p.check(given.get(p.name, p.default)) for p in known}


@dataclass
class Setup:
    """What a scenario hands to the driver.

    Attributes
    ----------
    world : World
    task_names : list of str
    draw : callable
        Gives n more service times of the device [ps] from a numpy Generator.
    plan_more : callable or None
        Gives n more rows of the plan; None: the plan is whole.
    units, per_page_ps : int
        The device: bios that it serves at once, and transfer time per page.
    tags : int
        Bios that may be submitted and not completed.
    log_page : int
        Page whose state is written down after each step, or -1.
    trace_sha256 : str or None
    """

    world: World
    task_names: list[str]
    draw: Any
    plan_more: Any = None
    units: int = 1
    per_page_ps: int = 0
    tags: int = 1
    log_page: int = -1
    trace_sha256: str | None = None


@dataclass(frozen=True)
class Cleaner:
    """``flusher``, ``fsync``, ``isize`` or ``kswapd``: its first round, period, and rounds (-1: to the end)."""

    name: str
    start_ps: int
    period_ps: int
    rounds: int


@dataclass(frozen=True)
class Actor:
    """A thread that runs one of the other programs.

    Attributes
    ----------
    name : str
    program, pc : int
        Its program and first step (`programs`).
    cpu : int
    rounds : int
        Writes, mappings, attempts or registrations, as the program has it.
    start_ps : int
        When it begins.
    waits : int
        What it waits for at the beginning (`world.WAIT_FORK`); 0: nothing.
    dios, transfers, dereg : int
        Of a memory region: its rows of DIO, one for each registration; transfers after the last of them; and 1 if it is
        ever deregistered.
    page, nr_pages : int
        Its region.
    """

    name: str
    program: int
    pc: int
    cpu: int
    rounds: int = 1
    start_ps: int = 0
    waits: int = 0
    dios: int = 0
    transfers: int = 0
    dereg: int = 0
    page: int = 0
    nr_pages: int = 1


def new_world(
    *,
    pages: int,
    nodes: int,
    bios: int,
    dios: int,
    cpus: int,
    submitters: int,
    plan: np.ndarray,
    ios: int,
    cleaners: tuple[Cleaner, ...] = (),
    actors: tuple[Actor, ...] = (),
    dirty: bool = True,
) -> tuple[World, list[str]]:
    """Lay out the world: pages mapped once and on the LRU, one real VMA, free lists, tasks.

    Parameters
    ----------
    pages, nodes, bios, dios : int
        Rows of each kind; `dios` per submitter.
    cpus, submitters : int
    plan : ndarray of PLAN
    ios : int
        Direct IOs to be done.
    cleaners : tuple of Cleaner
    actors : tuple of Actor
        They come after the cleaners.
    dirty : bool
        The application has just written all pages: buffers, dirty, PTE writable. False: clean, mapped read-only.
    """
    names = [f"irq/{c}" for c in range(cpus)] + [f"kworker/{c}" for c in range(cpus)]
    names += [f"dio/{s}" for s in range(submitters)] + [c.name for c in cleaners] + [a.name for a in actors]
    sys = np.zeros(R.SYS_CELLS, np.int64)
    world = World(
        page=np.zeros(pages, PAGE),
        node=np.zeros(nodes + 4, NODE),
        bio=np.zeros(bios, BIO),
        dio=np.zeros(dios * submitters + sum(a.dios for a in actors), DIO),
        task=np.zeros(len(names), TASK),
        plan=plan,
        sys=sys,
    )
    sys[R.CPUS], sys[R.SUBMITTERS], sys[R.NR_PAGES] = cpus, submitters, pages
    sys[R.IOS_LEFT], sys[R.PLAN_END], sys[R.SYNC_PAGES] = ios, len(plan), pages
    sys[R.PAGES_PER_STEP] = 1 << 30
    sys[R.COUNT_MAX] = COUNT_MAX
    sys[R.PIN_DIO] = sys[R.PIN_RDMA] = 1
    _lay_out_pages(world, dirty)
    _lay_out_tree(world, pages)
    _lay_out_bios(world)
    _lay_out_tasks(world, cpus, submitters, dios, cleaners)
    _lay_out_actors(world, actors)
    return world, names


def _lay_out_pages(world: World, dirty: bool) -> None:
    """Page cache, one PTE, LRU (page 0 at the tail); dirtied pages have buffers, which hold a reference."""
    page = world.page
    n = len(page)
    page["flags"] = PG_CACHED | PG_LRU | PTE_PRESENT
    page["_refcount"] = 2
    page["_mapcount"] = 0
    if dirty:
        page["flags"] |= PG_DIRTY | TAG_DIRTY | PG_PRIVATE | BH_DIRTY | PTE_WRITE | PTE_DIRTY
        page["_refcount"] += 1
        page["ghost_data"] = NEWER_THAN_DISK
    number = np.arange(n, dtype=np.int64)
    page["lru_prev"] = np.where(number == n - 1, 0, (number + 2) << LRU_SHIFT)
    page["lru_next"] = number << LRU_SHIFT
    world.sys[R.LRU_HEAD], world.sys[R.LRU_TAIL], world.sys[R.LRU_PAGES] = n << LRU_SHIFT, 1 << LRU_SHIFT, n


def _lay_out_tree(world: World, pages: int) -> None:
    """Row 1 is the header of ``i_mmap``, that of the tree beside it follows; the one real VMA maps all pages."""
    header = 1
    free_list_init(world.node, PIN_TREE + 1)
    world.sys[R.I_MMAP] = header
    vma = alloc(world.node)
    world.node[vma]["kind"] = KIND_VMA
    world.node[vma]["last"] = pages - 1
    insert(world.node, world.sys, header, vma)
    world.sys[R.RB_VISITED] = world.sys[R.RB_ROTATIONS] = 0


def _lay_out_bios(world: World) -> None:
    n = len(world.bio)
    world.bio["bi_next"] = np.arange(1, n + 1)
    world.bio["bi_next"][-1] = -1
    world.sys[R.FREE_BIO] = 0
    world.sys[R.DEVICE_HEAD] = -1


def _lay_out_tasks(world: World, cpus: int, submitters: int, dios: int, cleaners: tuple[Cleaner, ...]) -> None:
    """Interrupts and kworkers one per CPU, submitters round the CPUs, cleaners on the last CPU."""
    task = world.task
    for field in ("dio", "bio", "row", "list_head", "list_tail", "free_dio", "flight_head", "flight_tail", "wait_page"):
        task[field] = -1
    for t in range(2 * cpus):
        task[t]["program"] = IRQ_PROGRAM if t < cpus else KWORKER_PROGRAM
        task[t]["prio"] = PRIO_IRQ if t < cpus else PRIO_WORKER
        task[t]["cpu"] = t % cpus
        task[t]["state"], task[t]["wait_kind"] = WAITING, WAIT_WORK
    for s in range(submitters):
        t = 2 * cpus + s
        task[t]["program"], task[t]["prio"], task[t]["cpu"] = DIO_PROGRAM, PRIO_THREAD, s % cpus
        task[t]["transfers"] = -1
        _own_dios(world, t, s * dios, dios)
    for i, cleaner in enumerate(cleaners):
        row = task[2 * cpus + submitters + i]
        row["program"] = KSWAPD_PROGRAM if cleaner.name == "kswapd" else WRITEBACK_PROGRAM
        row["caller"] = {"fsync": SYNC_ALL, "isize": ISIZE}.get(cleaner.name, SYNC_NONE)
        row["prio"], row["cpu"], row["state"] = PRIO_THREAD, cpus - 1, RUNNABLE
        row["until_ps"], row["period_ps"], row["rounds"] = cleaner.start_ps, cleaner.period_ps, cleaner.rounds


def _own_dios(world: World, t: int, first: int, n: int) -> None:
    """Give task ``t`` the rows of DIO from ``first`` on as its free list."""
    rows = slice(first, first + n)
    world.dio["task"][rows] = t
    world.dio["next"][rows] = np.arange(first + 1, first + n + 1)
    world.dio["next"][first + n - 1] = -1
    task = world.task[t]
    task["free_dio"] = task["first_dio"] = first
    task["in_blocks"] = n > BLOCK


def _lay_out_actors(world: World, actors: tuple[Actor, ...]) -> None:
    """Actors are the last tasks, and the DIO rows of memory regions the last rows."""
    first_dio = len(world.dio) - sum(a.dios for a in actors)
    for t, actor in enumerate(actors, len(world.task) - len(actors)):
        row = world.task[t]
        row["program"], row["pc"], row["prio"], row["cpu"] = actor.program, actor.pc, PRIO_THREAD, actor.cpu
        row["rounds"], row["transfers"], row["until_ps"] = actor.rounds, actor.transfers, actor.start_ps
        row["page"], row["caller"], row["wait_kind"] = actor.page, actor.dereg, actor.waits
        row["state"] = WAITING if actor.waits else SLEEPING if actor.start_ps else RUNNABLE
        if actor.dios:
            _own_dios(world, t, first_dio, actor.dios)
            region = world.dio[first_dio : first_dio + actor.dios]
            region["page"] = region["home"] = actor.page
            region["nr_pages"], region["op"], region["handle"] = actor.nr_pages, READ, -1
            first_dio += actor.dios


_LONGTERM_BITS = {
    "refuse": LONGTERM_REFUSE,
    "refuse-dax": LONGTERM_REFUSE_DAX,
    "migrate-first": LONGTERM_MIGRATE,
    "migrate-cma": LONGTERM_MIGRATE_CMA,
    "lease": LONGTERM_LEASE,
    "notifier": LONGTERM_NOTIFIER,
}


def apply_design(world: World, design: Any) -> None:
    """Write a design's policies into the world's registers."""
    number = {name: i for i, name in enumerate(CLEANING)}
    sys = world.sys
    sys[R.CLEAN_NONE], sys[R.CLEAN_ALL] = number[design.none], number[design.all]
    sys[R.CLEAN_RECLAIM] = number[design.reclaim]
    sys[R.CLEAN_ISIZE] = number["skip" if design.isize in WRITE_PINNED else design.isize]
    sys[R.CHECK_FIRST] = design.order == "check-first"
    sys[R.RECLAIM_BEFORE] = design.reclaim_asks == "before"
    sys[R.FS_BUG_ON] = design.fs_bug
    sys[R.WAIT_LOCKED], sys[R.WAIT_JOURNAL_HELD] = design.wait_locked, design.wait_journal
    sys[R.WAIT_ONCE], sys[R.BOUNCE_CLEANS] = design.wait_once, design.bounce_cleans
    sys[R.PIN_DIO] &= "dio" in design.pins  # a scenario may have a caller that takes plain references all the same
    sys[R.PIN_RDMA] &= "rdma" in design.pins
    sys[R.PINS_IN_MAPCOUNT] = isinstance(design.tracker, MapCount)
    sys[R.PRIVATE_PAGES] = isinstance(design.tracker, BouncePin) and "notifier" not in design.longterm
    sys[R.LEASE_END] = list(LEASE_END).index(design.lease)
    sys[R.FORK_ASKS], sys[R.TRUNCATE_WAITS] = design.fork_asks, design.truncate_waits
    sys[R.TRUNCATED_LOST] = design.truncated_lost
    sys[R.LONGTERM] = sum(_LONGTERM_BITS.get(rule, 0) for rule in design.longterm)
    sys[R.PIN_RDMA] &= not keeps_no_pin(world)


EMPTY_PLAN = np.zeros(0, PLAN)
