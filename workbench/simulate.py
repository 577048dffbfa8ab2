"""``simulate``: run a scenario under a design by the clock, check that nothing was lost, and give a result.

A small world may also be run in a given order (`scheduled`): so a counterexample of `explore` is seen here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench import clock, costs, designs, provenance, scheduled, user_tracker
from workbench.accelerate import driver_for
from workbench.errors import ConservationError, UsageError, nearest
from workbench.frames import column, frame
from workbench.hazards import count_stale
from workbench.mm import registers as R
from workbench.mm.detached import keeps_no_pin
from workbench.mm.interval_tree import KIND_PINNED
from workbench.mm.packing import MAX_PAGES
from workbench.mm.page import BOUNCED, FLAGS, PG_CACHED, PG_LOCKED, PG_LRU, PG_PRIVATE, PG_WRITEBACK, TAG_WRITEBACK
from workbench.mm.programs import M_IDLE, PROGRAMS, RDMA_PROGRAM, step_name
from workbench.mm.world import DEAD, IDLE, RUNNABLE, SLEEPING, WAIT_FORK, WAITING, WAITS, World, bucket_values
from workbench.scenarios import ALL, OWN_DRIVER, SCENARIOS
from workbench.scenarios.base import Setup, apply_design, check_parameters
from workbench.trackers.protocol import LOCK_OWN, LOCK_PAGE, LOCK_ZONE, RANGE_BEFORE, SPINLOCKS
from workbench.trackers.virtual_vma import COUNT, SPLIT

if TYPE_CHECKING:
    import pandas as pd

DRAW_BLOCK = 1 << 16
SAMPLES = 512
PS_PER_S = 10**12


@dataclass(frozen=True)
class Result:
    """What one run gave.

    Attributes
    ----------
    scenario, design : str
    parameters : dict
    seed : int
    metrics : dict
        Named figures; units in `results.UNITS`.
    counters : dict
        What was counted, by name (`registers.COUNTERS`).
    locks : DataFrame
        Per lock: taken, contended, utilisation, mean wait [ns].
    histograms : dict of str to DataFrame
        Columns value (ps, or IOs overtaken) and count.
    series : DataFrame
        Time series: pinned pages, live ranges, bytes, work and IOs outstanding.
    log : DataFrame
        Walk-through, where the scenario keeps one: a row per step, with the page after it.
    stuck : list of str
        Tasks that wait at the end for what will not come.
    held : int
        Pins that memory regions hold at the end.
    provenance : dict
    by_schedule : bool
        It was run in a given order, not by the clock.
    at_rest : tuple of str
        Of such a run: hazards that its world shows at the end, if it is at rest then.
    """

    scenario: str
    design: str
    parameters: dict[str, Any]
    seed: int
    metrics: dict[str, Any]
    counters: dict[str, int]
    locks: pd.DataFrame
    histograms: dict[str, pd.DataFrame]
    series: pd.DataFrame
    log: pd.DataFrame
    stuck: list[str]
    held: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)
    by_schedule: bool = False
    at_rest: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """One flat row: what identifies the run, metrics, counters."""
        head = {"scenario": self.scenario, "design": self.design, "seed": self.seed}
        counted = {name.lower(): n for name, n in self.counters.items()}
        return head | {"parameters": self.parameters} | self.metrics | counted

    def to_frame(self) -> pd.DataFrame:
        """Metrics and counters as a table of one row."""
        row = self.row()
        return frame([{**row.pop("parameters"), **row}])

    def _repr_html_(self) -> str:
        table = column(self.metrics, name=f"{self.scenario} · {self.design}").to_frame()
        return str(table.to_html())


def simulate(
    scenario: str,
    design: str = "v4.17",
    *,
    seed: int = 1,
    pages_per_step: int = 0,
    cost_table: costs.CostTable | None = None,
    schedule: Iterable[Sequence[Any]] | None = None,
    **parameters: Any,
) -> Result:
    """Run a scenario under a design: by the clock, or in the order of a schedule.

    Parameters
    ----------
    scenario : str
        Name (see `SCENARIOS`).
    design : str
        Preset or parts (see `designs`).
    seed : int
        All that is random comes from it.
    pages_per_step : int
        Pages that one step may handle; 0: as many as there are. Where nobody interferes, counts do not depend on it,
        but for those of ranges, which are released piece by piece then.
    cost_table : CostTable, optional
        `costs.in_use` by default.
    schedule : iterable of (actor, step, page, outcome), optional
        As in `verdict.HazardVerdict.schedule`: the scenario's small world (as `explore` has it, a page per step) is
        run in exactly this order. Its clock goes on by the cost of each step; what the device does takes no time of
        its own, and there are no CPUs: utilisations, rates and latencies are NaN. ``seed`` has no part in it.
        Where the schedule stops before all is at rest, nothing is added up.
    **parameters
        The scenario's own; with a schedule, where they differ from its small set.

    Returns
    -------
    Result

    Raises
    ------
    UsageError
        For a wrong name, type or range, and for a schedule that can't be followed.
    ConservationError
        If at rest pins, references, ranges or bios do not add up.
    """
    if scenario not in ALL:
        raise UsageError(f"scenario {scenario!r}: {nearest(scenario, ALL)}")
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed}: it goes from 0 to 2**63 - 1")
    cost_table = costs.in_use() if cost_table is None else cost_table
    if scenario in OWN_DRIVER:
        if schedule is not None:
            raise UsageError(f"scenario {scenario}: it has no steps, so it follows no schedule")
        return _DRIVERS[scenario](design, seed, pages_per_step, cost_table, parameters)
    if schedule is not None:
        if pages_per_step > 1:
            raise UsageError(f"pages_per_step={pages_per_step}: a schedule has steps of one page")
        return _by_schedule(scenario, design, seed, list(schedule), cost_table, parameters)
    chosen = designs.parse(design)
    streams = [np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(2)]
    setup, complete = SCENARIOS[scenario].build(parameters, streams[0], chosen.tracker.when >= RANGE_BEFORE)
    tracker = chosen.tracker
    if "bias" in tracker._fields:
        tracker = tracker._replace(bias=complete["bias"])
    world = setup.world
    apply_design(world, chosen)
    world.sys[R.WATCH] = "fsync" in setup.task_names and len(world.page) <= MAX_PAGES  # small worlds only
    world.sys[R.COST : R.COST + len(R.COUNTERS)] = cost_table.picoseconds()
    if pages_per_step:
        world.sys[R.PAGES_PER_STEP] = pages_per_step
    ticker = new_clock(setup)
    logs = drive(tracker, setup, ticker, streams[1])
    stuck = _stuck(setup.task_names, world)
    _check_rest(tracker, world, stuck)
    locks, histograms = _locks(world, ticker), _histograms(world)
    return Result(
        scenario=scenario,
        design=design,
        parameters=complete,
        seed=seed,
        metrics=_metrics(tracker, setup, ticker, locks, histograms),
        counters=_counters(world),
        locks=locks,
        histograms=histograms,
        series=_series(ticker),
        log=_log_frame(setup, logs),
        stuck=stuck,
        held=int(_held_by_regions(tracker, world)[0].sum()),
        provenance=provenance.provenance(
            scenario=scenario,
            design=design,
            parameters=complete,
            seed=seed,
            costs=cost_table,
            trace_sha256=setup.trace_sha256,
        )
        | user_tracker.provenance(tracker),
    )


def _shared_tree(design: str, seed: int, most: int, cost_table: costs.CostTable, parameters: dict[str, Any]) -> Result:
    """Run `virtual-vma`: operations on a tree, each by itself."""
    run: Callable[..., Result] = OWN_DRIVER["virtual-vma"].run
    return run(designs.parse(design), parameters, seed, cost_table, Result)


def _at_scale(design: str, seed: int, most: int, cost_table: costs.CostTable, parameters: dict[str, Any]) -> Result:
    """Run `rdma-longterm`: no CPUs, locks or steps; its counters are those that its world keeps."""
    from workbench.bulk import run  # compiled code that the other scenarios have no use for

    scenario = "rdma-longterm"
    complete = check_parameters(scenario, OWN_DRIVER[scenario].PARAMETERS, parameters)
    rng = np.random.Generator(np.random.PCG64(seed))
    outcome = run.run(complete, designs.parse(design), cost_table, rng, most)
    return Result(
        scenario=scenario,
        design=design,
        parameters=complete,
        seed=seed,
        metrics=outcome.metrics,
        counters=dict.fromkeys(R.COUNTERS, 0) | outcome.counters,
        locks=frame(math.nan, index=list(LOCKS), columns=list(LOCK_COLUMNS)),
        histograms={},
        series=outcome.series,
        log=frame(),
        stuck=outcome.stuck,
        held=outcome.held,
        provenance=provenance.provenance(
            scenario=scenario, design=design, parameters=complete, seed=seed, costs=cost_table
        ),
    )


_DRIVERS = {"virtual-vma": _shared_tree, "rdma-longterm": _at_scale}


def _by_schedule(
    scenario: str,
    design: str,
    seed: int,
    schedule: list[Sequence[Any]],
    cost_table: costs.CostTable,
    parameters: dict[str, Any],
) -> Result:
    """Run the small world in a given order."""
    followed = scheduled.follow(scenario, design, schedule, parameters, cost_table)
    small = followed.run.small
    tracker, world = small.tracker, small.world
    world.sys[: len(R.COUNTERS)] = followed.run.counted
    stuck = _stuck(small.names, world) if followed.rests else []
    if followed.rests:
        _check_rest(tracker, world, stuck)
    made_by = provenance.provenance(
        scenario=scenario, design=design, parameters=small.parameters, seed=seed, costs=cost_table
    )
    text = json.dumps(followed.run.schedule)
    return Result(
        scenario=scenario,
        design=design,
        parameters=small.parameters,
        seed=seed,
        metrics=_metrics_of_schedule(tracker, world, followed.rests),
        counters=_counters(world),
        locks=frame(math.nan, index=list(LOCKS), columns=list(LOCK_COLUMNS)),
        histograms=_histograms(world),
        series=frame(columns=list(clock.SAMPLE_FIELDS), dtype=np.int64),
        log=followed.log,
        stuck=stuck,
        held=int(_held_by_regions(tracker, world)[0].sum()),
        provenance=made_by
        | user_tracker.provenance(tracker)
        | {"schedule_sha256": hashlib.sha256(text.encode()).hexdigest()},
        by_schedule=True,
        at_rest=followed.at_rest,
    )


# ---- driving


@cache
def _driver(tracker_class: Any) -> Any:
    """The compiled clock for a class of trackers."""
    return user_tracker.engine(clock.run, tracker_class)


def new_clock(setup: Setup) -> clock.Clock:
    """Lay out the driver's state; runnable tasks are queued on their CPUs, and those that sleep have their timers."""
    world = setup.world
    cpus, tasks = int(world.sys[R.CPUS]), len(world.task)
    page_tables = len(world.page) // 512 + 1
    ticker = clock.Clock(
        heap=np.zeros(cpus + tasks + setup.tags + 16, clock.EVENT),
        cpu=np.zeros(cpus, clock.CPU),
        lock=np.zeros(SPINLOCKS + page_tables, clock.LOCK),
        run_next=np.zeros(tasks, np.int32),
        kicks=np.zeros(cpus + 2, np.int32),
        draws=np.zeros(0, np.int64),
        since=np.zeros((tasks, 2), np.int64),
        slept_ps=np.zeros((len(WAITS), 2), np.int64),
        sample=np.zeros((SAMPLES, len(clock.SAMPLE_FIELDS)), np.int64),
        log=np.zeros((4096 if setup.log_page >= 0 else 0, len(clock.LOG_FIELDS)), np.int64),
        cells=np.zeros(clock.CELLS, np.int64),
    )
    ticker.cpu["spin_ps"] = -1
    ticker.cells[clock.FIRST_WHAT] = -1
    ticker.cells[clock.UNITS_FREE] = setup.units
    ticker.cells[clock.PER_PAGE_PS] = setup.per_page_ps
    ticker.cells[clock.SAMPLE_PERIOD] = 1_000_000
    ticker.cells[clock.LOG_PAGE] = setup.log_page
    for t, task in enumerate(world.task):
        if task["state"] == RUNNABLE:
            clock.make_runnable(world, ticker, t)
        elif task["state"] == SLEEPING:
            clock.push_event(ticker, int(task["until_ps"]), clock.TIMER, t)
    return ticker


def drive(tracker: Any, setup: Setup, ticker: clock.Clock, rng: np.random.Generator) -> list[np.ndarray]:
    """Run to the end, giving the driver random numbers, plan rows and log space as it asks for them."""
    run = _driver(tracker.__class__)
    logs: list[np.ndarray] = []
    cells, sys = ticker.cells, setup.world.sys
    code = clock.NEED_DRAWS
    while code != clock.FINISHED:
        if code == clock.NEED_DRAWS:
            left = ticker.draws[cells[clock.DRAW_NEXT] :]
            ticker = ticker._replace(draws=np.concatenate([left, setup.draw(rng, DRAW_BLOCK)]))
            cells[clock.DRAW_NEXT] = 0
        elif code == clock.NEED_PLAN:
            done = sys[R.PLAN_NEXT]
            plan = _words(setup.world.plan)
            left = len(plan) - done
            plan[:left] = plan[done:].copy()
            plan[left:] = _words(setup.plan_more(int(done)))
            sys[R.PLAN_NEXT] = 0
        else:
            logs.append(ticker.log[: cells[clock.LOGGED]].copy())
            cells[clock.LOGGED] = 0
        code = run(tracker, setup.world, ticker)
    logs.append(ticker.log[: cells[clock.LOGGED]].copy())
    return logs


def _words(rows: np.ndarray) -> np.ndarray:
    """Rows as words, which numpy moves at once, and not field by field."""
    return rows.view(np.int64).reshape(len(rows), -1)


# ---- at rest


def _stuck(names: list[str], world: World) -> list[str]:
    """Tasks that have not ended and are not merely idle; a child that has not been forked is no task yet."""
    found = []
    for name, task in zip(names, world.task, strict=True):
        idle = task["state"] == WAITING and task["wait_kind"] in (*IDLE, WAIT_FORK)
        idle_region = task["program"] == RDMA_PROGRAM and task["pc"] == M_IDLE
        if task["state"] != DEAD and not idle and not idle_region:
            found.append(f"{name} waits for {WAITS[task['wait_kind']]}")
    return found


def _check_rest(tracker: Any, world: World, stuck: list[str]) -> None:
    """Add up, unless somebody can't let go: who is stuck, or a thread that BUG_ON has killed."""
    if not stuck and not world.sys[R.FS_BUG]:
        check_conservation(tracker, world)


def check_conservation(tracker: Any, world: World) -> None:
    """At rest pins are released, or held by idle memory regions, and no reference, range, bio or page is left over.

    Raises
    ------
    ConservationError
    """
    sys, page = world.sys, world.page
    held, ranges = _held_by_regions(tracker, world)
    _expect("pins taken and not released", int(held.sum()), int(sys[R.PINS] - sys[R.UNPINS]))
    _expect("pages whose true pins are not those held", 0, int(np.count_nonzero(page["ghost_pins"] != held)))
    cached = (page["flags"] & PG_CACHED) != 0
    ptes = page["_mapcount"] + 1 - page["_pincount"] * sys[R.PINS_IN_MAPCOUNT]
    base = cached.astype(np.int64) + ptes + ((page["flags"] & PG_PRIVATE) != 0)
    per_pin = tracker.bias if sys[R.PIN_RDMA] and "bias" in tracker._fields else 1
    wrong = page["_refcount"] != base + held * per_pin
    _expect("pages whose references are not at their base", 0, int(np.count_nonzero(wrong)))
    on_lru = (page["flags"] & PG_LRU) != 0
    strayed = cached & ~on_lru & ~_locked(page) & (held == 0)
    _expect("cached pages that are not on the LRU", 0, int(np.count_nonzero(strayed)))
    _expect("pages on the LRU", int(sys[R.LRU_PAGES]), int(np.count_nonzero(on_lru)))
    _expect("bio rows in use", 0, len(world.bio) - _free_bios(world))
    locked_by_pins = np.count_nonzero(held) if tracker.lock == LOCK_PAGE and sys[R.PIN_RDMA] and not sys[R.DAX] else 0
    _expect("pages that are locked", int(locked_by_pins), int(sys[R.PAGES_LOCKED]))
    under_writeback = (page["flags"] & (PG_WRITEBACK | TAG_WRITEBACK | BOUNCED)) != 0
    _expect("pages under writeback", 0, int(np.count_nonzero(under_writeback)))
    _expect("bounce pages in use", 0, int(sys[R.BOUNCE_PAGES]))
    _expect("device tags in use", 0, int(sys[R.TAGS] - sys[R.TAGS_FREE]))
    left = int(np.count_nonzero(world.node["kind"] == KIND_PINNED))
    _expect("pinned ranges that stay", left if _ranges_may_stay(tracker, world) else ranges, left)
    _expect("pinned ranges in the tree", int(sys[R.LIVE_RANGES]), left)
    _expect("ranges in = ranges out", int(sys[R.RANGES] + sys[R.SPLITS]), int(sys[R.RANGES_GONE]) + left)


def _held_by_regions(tracker: Any, world: World) -> tuple[np.ndarray, int]:
    """Pins of each page by the registrations of memory regions that are still there, and ranges that stand for them."""
    held = np.zeros(len(world.page), np.int64)
    registrations = 0
    if keeps_no_pin(world):
        return held, 0
    for task in world.task[world.task["program"] == RDMA_PROGRAM]:
        d = int(task["flight_head"])
        while d >= 0:
            region = world.dio[d]
            held[region["page"] : region["page"] + region["nr_pages"]] += 1
            registrations += 1
            d = int(region["next"])
    in_tree = world.sys[R.PIN_RDMA] and not world.sys[R.FRAMES] and tracker.when >= RANGE_BEFORE
    return held, registrations if in_tree else 0


def _ranges_may_stay(tracker: Any, world: World) -> bool:
    """Charged to the wrong range, another may stay for ever; so may one that truncated pages can't be traced to.

    What a tracker from a user's file leaves behind is a finding about it, and no fault of the model.
    """
    if user_tracker.provenance(tracker):
        return True
    release = getattr(tracker, "release", None)
    lost = world.sys[R.TRUNCATED_PAGES] and world.sys[R.TRUNCATED_LOST]
    return release == COUNT or bool(release == SPLIT and lost)


def _locked(page: np.ndarray) -> np.ndarray:
    return (page["flags"] & PG_LOCKED) != 0


def _expect(what: str, expected: int, found: int) -> None:
    if expected != found:
        raise ConservationError(f"at rest: {what}: {found}, expected {expected}")


def _free_bios(world: World) -> int:
    seen, b = 0, int(world.sys[R.FREE_BIO])
    while b >= 0:
        seen += 1
        b = int(world.bio[b]["bi_next"])
    return seen


# ---- what came out


def _counters(world: World) -> dict[str, int]:
    return {name: int(world.sys[i]) for i, name in enumerate(R.COUNTERS)}


def _metrics(
    tracker: Any, setup: Setup, ticker: clock.Clock, locks: pd.DataFrame, histograms: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    """Figures named in `results.UNITS`."""
    timed = _timed(setup, ticker, histograms)
    for name, row in locks.iterrows():
        timed |= {f"{name}_{column}": row[column] for column in row.index}
    return timed | _counted(setup.world, histograms) | {"stale_pages": _stale_pages(tracker, setup.world)}


def _metrics_of_schedule(tracker: Any, world: World, rests: bool) -> dict[str, Any]:
    """The same where there are no CPUs, and the device takes no time: what is counted, and the steps' cost."""
    of_locks = [f"{name}_{column}" for name in LOCKS for column in LOCK_COLUMNS]
    metrics: dict[str, Any] = dict.fromkeys([*TIMED, *of_locks], math.nan)
    stale = _stale_pages(tracker, world) if rests else math.nan
    return metrics | _counted(world, _histograms(world)) | {"simulated_ps": int(world.sys[R.NOW]), "stale_pages": stale}


TIMED = (
    "simulated_ps", "events", "iops", "latency_mean_ns", "latency_p50_ns", "latency_p90_ns", "latency_p99_ns",
    "latency_p999_ns", "latency_p9999_ns", "slat_ns", "cpu_utilisation", "cpu_ns_per_io", "cpu_ns_per_page",
    "device_utilisation", "unpin_delay_mean_ns", "unpin_delay_p99_ns", "outlive_mean_ns", "outlive_p99_ns",
    "fsync_mean_ns", "world_bytes_per_page", "late_completions",
)  # fmt: skip
LOCKS = ("lru_lock", "tracker_lock", "ptl", "i_mmap_rwsem", "page_lock")
LOCK_COLUMNS = ("acquisitions", "contended", "utilisation", "wait_ns")


def _timed(setup: Setup, ticker: clock.Clock, histograms: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Figures of the clock, its CPUs and its device: those of `TIMED`."""
    world, sys, cells = setup.world, setup.world.sys, ticker.cells
    count = _counters(world)
    span = int(sys[R.LAST_DONE]) or int(sys[R.NOW])
    seconds = span / PS_PER_S
    cpus = len(ticker.cpu)
    latency, release, outlives = (histograms[R.HISTOGRAMS[i]] for i in (R.LATENCY, R.RELEASE, R.OUTLIVES))
    return {
        "simulated_ps": span,
        "events": int(cells[clock.SEQUENCE]),
        "iops": count["DIOS"] / seconds if seconds else math.nan,
        "latency_mean_ns": _mean(world, R.LATENCY) / 1000,
        **{f"latency_{p}_ns": percentile(latency, q) / 1000 for p, q in _QUANTILES.items()},
        "slat_ns": _mean(world, R.SUBMIT) / 1000,
        "cpu_utilisation": float(ticker.cpu["busy_ps"].sum()) / (span * cpus) if span else math.nan,
        "cpu_ns_per_io": _per(float(ticker.cpu["busy_ps"].sum()) / 1000, count["DIOS"]),
        "device_utilisation": float(cells[clock.DEVICE_BUSY_PS]) / (span * setup.units) if span else math.nan,
        "cpu_ns_per_page": _per(float(ticker.cpu["busy_ps"].sum()) / 1000, count["PINS"]),
        "unpin_delay_mean_ns": _mean(world, R.RELEASE) / 1000,
        "unpin_delay_p99_ns": percentile(release, 0.99) / 1000,
        "outlive_mean_ns": _mean(world, R.OUTLIVES) / 1000,
        "outlive_p99_ns": percentile(outlives, 0.99) / 1000,
        "fsync_mean_ns": _mean(world, R.FSYNC) / 1000,
        "world_bytes_per_page": sum(a.nbytes for a in (*world, *ticker)) / len(world.page),
        "late_completions": int(cells[clock.LATE]),
    }


def _counted(world: World, histograms: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Figures that no time goes into."""
    sys, count = world.sys, _counters(world)
    overtakes = histograms[R.HISTOGRAMS[R.OVERTAKES]]
    return {
        "atomics_per_page": _per(count["ATOMIC"], count["PINS"]),
        "splits_per_gup": _per(count["SPLITS"], count["GUP_CALL"]),
        "bios_per_io_mean": _per(count["BIOS"], count["DIOS"]),
        "overtakes_mean": _mean(world, R.OVERTAKES),
        "overtakes_p99": percentile(overtakes, 0.99),
        "out_of_order_share": float(overtakes["count"][overtakes["value"] > 0].sum()) / max(count["DIOS"], 1),
        "ranges_max": int(sys[R.PEAK_RANGES]),
        "ranges_left": int(sys[R.LIVE_RANGES]),
        "tracking_bytes_max": int(sys[R.PEAK_BYTES]),
        "bounce_pages_max": int(sys[R.PEAK_BOUNCE]),
    }


_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}


def _per(total: float, n: int) -> float:
    return total / n if n else math.nan


def _mean(world: World, which: int) -> float:
    """Exact mean of what went into a histogram; NaN if nothing did."""
    cells = world.sys[R.HISTOGRAM + which * R.CELLS_OF_ONE :][: R.CELLS_OF_ONE]
    return _per(float(cells[-1]), int(cells[:-1].sum()))


def percentile(histogram: pd.DataFrame, share: float) -> float:
    """Smallest value that at least ``share`` of the counts do not exceed; NaN if it is empty."""
    total = int(histogram["count"].sum())
    if total == 0:
        return math.nan
    rank = max(math.ceil(share * total), 1)
    return float(histogram["value"].iloc[int(np.searchsorted(histogram["count"].cumsum(), rank))])


def _histograms(world: World) -> dict[str, pd.DataFrame]:
    return {name: _histogram(world, i) for i, name in enumerate(R.HISTOGRAMS)}


def _histogram(world: World, which: int) -> pd.DataFrame:
    start = R.HISTOGRAM + which * R.CELLS_OF_ONE
    counts = world.sys[start : start + R.BUCKETS]
    used = np.flatnonzero(counts)
    return frame({"value": bucket_values()[used], "count": counts[used]})


def _stale_pages(tracker: Any, world: World) -> int:
    """Pages that the tracker calls pinned though no true pin is left, once everything has come to rest."""
    aside = world._replace(sys=world.sys.copy())  # what is asked here is not the simulation's to count
    count = user_tracker.guarded(driver_for(count_stale, tracker.__class__), type(tracker))
    return int(count(tracker, aside))


def _locks(world: World, ticker: clock.Clock) -> pd.DataFrame:
    """By kind of lock: how often taken, how often waited for, share of the time held, mean wait [ns]."""
    span = max(int(world.sys[R.LAST_DONE]) or int(world.sys[R.NOW]), 1)
    spin, slept = ticker.lock, ticker.slept_ps
    return frame(
        {
            "lru_lock": _spin_row(spin[LOCK_ZONE - 1 : LOCK_ZONE], span),
            "tracker_lock": _spin_row(spin[LOCK_OWN - 1 : LOCK_OWN], span),
            "ptl": _spin_row(spin[SPINLOCKS:], span),
            "i_mmap_rwsem": _sleep_row(
                int(world.sys[R.RWSEM]),
                slept[WAITS.index("i_mmap_rwsem")],
                ticker.cells[clock.RWSEM_HELD_PS] / span,
            ),
            "page_lock": _sleep_row(
                int(world.sys[R.PAGE_LOCK]),
                slept[WAITS.index("the page lock")],
                ticker.cells[clock.PAGES_LOCKED_PS] / span,
            ),
        }
    ).T


def _spin_row(rows: np.ndarray, span: int) -> dict[str, float]:
    return {
        "acquisitions": int(rows["taken"].sum()),
        "contended": int(rows["contended"].sum()),
        "utilisation": float(rows["held_ps"].max()) / span,
        "wait_ns": float(rows["waited_ps"].sum()) / 1000,
    }


def _sleep_row(taken: int, slept: np.ndarray, utilisation: float) -> dict[str, float]:
    return {
        "acquisitions": taken,
        "contended": int(slept[1]),
        "utilisation": float(utilisation),
        "wait_ns": float(slept[0]) / 1000,
    }


def _series(ticker: clock.Clock) -> pd.DataFrame:
    rows = ticker.sample[: ticker.cells[clock.SAMPLES]]
    return frame(rows, columns=list(clock.SAMPLE_FIELDS))


def _log_frame(setup: Setup, logs: list[np.ndarray]) -> pd.DataFrame:
    """The walk-through in words: time, actor, step, and the page's state after it."""
    rows = np.concatenate(logs)
    log = frame(rows, columns=list(clock.LOG_FIELDS))
    log["actor"] = [setup.task_names[t] for t in log["task"]]
    log["step"] = [step_name(a, b) for a, b in zip(log["program"], log["pc"], strict=True)]
    log["program"] = [tuple(PROGRAMS)[n] for n in log["program"]]
    log["state"] = [" ".join(n for i, n in enumerate(FLAGS) if f >> i & 1) for f in log["flags"]]
    return log.drop(columns=["task", "pc"])
