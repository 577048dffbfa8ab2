"""``explore``: take a small world through every interleaving, and say of each hazard whether it can come about.

The steps are those of `simulate`. The search is breadth first, so that a counterexample is a shortest one; with
``reduce`` it is a shortest one up to steps that nobody else can notice.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workbench import costs, designs, provenance, user_tracker
from workbench.errors import UsageError
from workbench.hazards import HAZARDS
from workbench.mm import packing
from workbench.mm import registers as R
from workbench.mm.programs import D_BUILD_BIO, DIO_PROGRAM, M_CHECK, PROGRAMS, RDMA_PROGRAM
from workbench.mm.world import IDLE, WAITING, WAITS
from workbench.replay import Replay, SmallWorld, driver, new_search, small_world
from workbench.scenarios import SCENARIOS
from workbench.search import progress, store
from workbench.trackers.protocol import (
    AFTER_WALK,
    IN_GUP,
    NEEDED,
    NEVER,
    RANGE_AFTER,
    RANGE_BEFORE,
    implemented,
)
from workbench.trackers.virtual_vma import BACKPOINTER, LEFTMOST, RIGHTMOST
from workbench.verdict import HazardVerdict, Verdict

MOST_STATES = 20_000_000
MOST_MIB = 4096


def explore(
    scenario: str,
    design: str = "v4.17",
    *,
    max_states: int = MOST_STATES,
    memory_mib: int = MOST_MIB,
    reduce: bool = False,
    conditional: bool = True,
    **parameters: Any,
) -> Verdict:
    """Search every interleaving of a scenario's small world.

    Parameters
    ----------
    scenario : str
    design : str
        Preset or parts (see `designs`).
    max_states, memory_mib : int
        Where the search stops; what it has not found by then is ``unknown``.
    reduce : bool
        Run steps at once that no other actor can notice or disturb (`search.local`): fewer states, the same verdicts.
    conditional : bool
        Search again under each other value of the decisions that the verdict may turn on (`DECISIONS`).
    **parameters
        The scenario's own, where they differ from its small set: the bounds of the search.

    Returns
    -------
    Verdict

    Raises
    ------
    UsageError
        For a wrong name, type or range, or a world that is too large.
    """
    limits = {"max_states": max_states, "memory_mib": memory_mib}
    for name, value in limits.items():
        if value < 1:
            raise UsageError(f"{name}={value}: it has to be at least 1")
    small = small_world(scenario, design, parameters)
    began = time.perf_counter()
    found = run_search(small, max_states, memory_mib, reduce)
    verdict = _verdict(small, design, parameters, found, time.perf_counter() - began)
    if conditional:
        verdict = _with_conditions(verdict, small, parameters, limits)
    return verdict


# ---- the search


@dataclass
class Found:
    """A search that has ended: whether it saw everything, and if not, why."""

    search: progress.Search
    complete: bool
    reason: str = ""


def run_search(
    small: SmallWorld,
    max_states: int = MOST_STATES,
    memory_mib: int = MOST_MIB,
    reduce: bool = False,
    search: progress.Search | None = None,
) -> Found:
    """Search a small world, giving the search room as it asks for it.

    Raises
    ------
    UsageError
        A count does not fit into a packed state, or a tracker keeps ranges that it may not have.
    """
    search = search or new_search(small, max_states, reduce)
    run = driver(small.tracker.__class__)
    while True:
        code = run(small.tracker, small.world, search)
        if code == progress.DONE:
            return Found(search, True)
        if code == progress.AT_LIMIT:
            return Found(search, False, f"stopped at {max_states} states")
        if code == progress.TOO_WIDE:
            raise UsageError(
                f"scenario {small.scenario}, {small.chosen.name}: a count grows too large, or there are more than "
                f"{packing.MAX_RANGES} ranges: make the bounds, or bias, smaller"
            )
        if code == progress.HAS_RANGES:
            raise UsageError(
                f"tracker {small.chosen.tracker_name}: it keeps ranges, which explore takes for state only of trackers "
                "that learn of ranges: when=RANGE_BEFORE or when=RANGE_AFTER"
            )
        if 2 * bytes_of(search) > memory_mib << 20:
            return Found(search, False, f"stopped at {memory_mib} MiB")
        search = _with_words(search) if code == progress.NEED_WORDS else _with_room(search)


def _with_room(search: progress.Search) -> progress.Search:
    """Give the search room for more states."""
    states = store.with_room(search.states)
    count, room = int(states.cells[0]), store.room_of(states)
    parent, choice = (store.lengthened(array, room, count) for array in (search.parent, search.choice))
    return search._replace(states=states, parent=parent, choice=choice)


def _with_words(search: progress.Search) -> progress.Search:
    """Give the search room for more different words; no row waits."""
    states = store.with_words(search.states)
    waiting = np.zeros((len(search.waiting), states.row.shape[1]), np.int64)
    return search._replace(states=states, waiting=waiting)


def bytes_of(search: progress.Search) -> int:
    """Memory of the search when the room that it has is full of states."""
    room = store.room_of(search.states)
    return store.bytes_of(search.states) + room * (search.parent.itemsize + search.choice.itemsize)


# ---- verdicts


def _verdict(small: SmallWorld, design: str, parameters: dict[str, Any], found: Found, seconds: float) -> Verdict:
    search = found.search
    states = int(search.states.cells[0])
    return Verdict(
        scenario=small.scenario,
        design=design,
        parameters=small.parameters,
        complete=found.complete,
        reduced=bool(search.cells[progress.REDUCE]),
        states=states,
        transitions=int(search.cells[progress.TRANSITIONS]),
        depth=max(int(search.cells[progress.LEVEL]), 0),
        seconds=seconds,
        bytes_per_state=bytes_in_use(search) / states,
        hazards={
            name: _hazard(small, name, i, found, parameters, _not_applicable(small, name))
            for i, name in enumerate(HAZARDS)
        },
        ends={kind: int(n) for kind, n in zip(progress.ENDS, search.ends, strict=True)},
        steps=_steps(search),
        waits=_waits(small, search),
        provenance=provenance.provenance(
            scenario=small.scenario, design=design, parameters=small.parameters, seed=0, costs=costs.in_use()
        )
        | user_tracker.provenance(small.tracker),
    )


def bytes_in_use(search: progress.Search) -> int:
    """Bytes of the rows in use, and of all slots."""
    states = search.states
    unused = store.room_of(states) - int(states.cells[0])
    per_state = states.row[0].nbytes + search.parent.itemsize + search.choice.itemsize
    return bytes_of(search) - unused * per_state


def _steps(search: progress.Search) -> dict[str, int]:
    return {
        f"{program}.{step}": int(search.taken[i, pc])
        for i, (program, steps) in enumerate(PROGRAMS.items())
        for pc, step in enumerate(steps)
        if search.taken[i, pc]
    }


def _waits(small: SmallWorld, search: progress.Search) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, WAITS[kind])
        for t, name in enumerate(small.names)
        for kind in range(1, len(WAITS))
        if search.waits[t, kind] and kind not in IDLE
    )


def _not_applicable(small: SmallWorld, hazard: str) -> str:
    """Why a hazard can't mean anything here; empty: it can."""
    module: Any = SCENARIOS[small.scenario]
    if hazard not in module.HAZARDS:
        return f"not in {small.scenario}"
    if hazard in ("stale-pin", "false-pin") and small.tracker.when == NEVER:
        return "the tracker never says pinned"
    if hazard == "fsync-lie" and "fsync" not in small.names:
        return "nobody calls fsync"
    if hazard == "missed-pin" and not _who_asks(small):
        return "nobody asks the tracker"
    return ""


def _who_asks(small: SmallWorld) -> list[str]:
    chosen = small.chosen
    asks = {
        "flusher": chosen.none != "ignore",
        "fsync": chosen.all != "ignore",
        "kswapd": chosen.reclaim != "ignore",
        "isize": chosen.isize != "ignore",
        "fork": chosen.fork_asks,
    }
    return [name for name in small.names if asks.get(name)]


def _hazard(
    small: SmallWorld, name: str, number: int, found: Found, parameters: dict[str, Any], why_not: str
) -> HazardVerdict:
    if why_not:
        return HazardVerdict("not applicable", reason=why_not)
    state, choice, _ = (int(n) for n in found.search.found[number])
    if state == 0:
        if found.complete:
            return HazardVerdict("unreachable", reason="" if _anybody_pins(found.search) else "nobody gets a pin here")
        return HazardVerdict("unknown", reason=found.reason)
    run = _counterexample(small, found.search, state - 1, choice, parameters)
    trace = run.trace
    if choice < 0 and trace:
        trace[-1] = replace(trace[-1], hazards=(*trace[-1].hazards, name))
    end = next((i for i, step in enumerate(trace, 1) if name in step.hazards), len(trace))
    waiting = _who_waits(small, run) if name in ("deadlock", "stall") else ""
    return HazardVerdict("reachable", end, tuple(trace[:end]), tuple(run.schedule[:end]), reason=waiting)


def _anybody_pins(search: progress.Search) -> bool:
    """Whether get_user_pages has ever returned with pages."""
    return bool(search.taken[DIO_PROGRAM, D_BUILD_BIO] + search.taken[RDMA_PROGRAM, M_CHECK])


def _counterexample(
    small: SmallWorld, search: progress.Search, state: int, choice: int, parameters: dict[str, Any]
) -> Replay:
    """Replay the way to a state, and the transition from there, if there is one (a state may be judged itself)."""
    way = [choice] if choice >= 0 else []
    while state > 0:
        way.append(int(search.choice[state]))
        state = int(search.parent[state])
    way.reverse()
    if search.cells[progress.REDUCE]:
        reduced = Replay(small_world(small.scenario, small.chosen, parameters))
        way = [step for transition in way for step in reduced.local_steps(transition)]
    run = Replay(small_world(small.scenario, small.chosen, parameters))
    for transition in way:
        run.step(transition)
    return run


def _who_waits(small: SmallWorld, run: Replay) -> str:
    """Who waits for what, at the end of a run."""
    waiting = [
        f"{name} waits for {WAITS[task['wait_kind']]}"
        for name, task in zip(small.names, run.small.world.task, strict=True)
        if task["state"] == WAITING and task["wait_kind"] not in IDLE
    ]
    return "; ".join(waiting)


# ---- what a verdict turns on

# Decisions of the model that the kernel, or the reader, may take otherwise: name and value, and the design and
# parameters under its other values.
_AND = "+"  # joins two decisions that are turned together
_Variant = tuple[str, str, designs.Design, dict[str, Any]]


def _variants(small: SmallWorld, parameters: dict[str, Any]) -> Iterator[_Variant]:
    """Give each decision that is open here, its value, and the same world with another one."""
    chosen, p = small.chosen, small.parameters
    of_files = not (small.world.sys[R.FRAMES] or small.world.sys[R.DAX])
    for name, other in (("stable_pages", 1 - p["stable_pages"]), ("dirty", _OTHER[p["dirty"]])):
        if of_files:
            yield name, str(p[name]), chosen, parameters | {name: other}
    if "dio" in p:
        yield "dio", p["dio"], chosen, parameters | {"dio": _OTHER[p["dio"]]}
    if "write_protect_seq" in p and chosen.fork_asks:
        yield (
            "write_protect_seq",
            str(p["write_protect_seq"]),
            chosen,
            parameters | {"write_protect_seq": 1 - p["write_protect_seq"]},
        )
    if "lease" in chosen.longterm and "on_notice" in p:
        keep = parameters | {"on_notice": _OTHER[p["on_notice"]]}
        yield "on_notice", p["on_notice"], chosen, keep
        other = "wait" if chosen.lease != "wait" else "revoke"
        yield f"on_notice={p['on_notice']}{_AND}lease", chosen.lease, replace(chosen, lease=other), keep
    for name, value, other_design in _design_variants(small):
        yield name, value, other_design, parameters


_OTHER = {
    "clean": "always", "always": "clean", "legacy": "iomap", "iomap": "legacy", "release": "keep", "keep": "release",
}  # fmt: skip


def _design_variants(small: SmallWorld) -> Iterator[tuple[str, str, designs.Design]]:
    chosen, tracker = small.chosen, small.chosen.tracker

    def turned(**fields: Any) -> designs.Design:
        return replace(chosen, **fields)

    if "wait" in (chosen.none, chosen.all, chosen.isize):
        held = ("dropped", "held")
        yield "wait.page_lock", held[chosen.wait_locked], turned(wait_locked=not chosen.wait_locked)
        yield "wait.journal", held[chosen.wait_journal], turned(wait_journal=not chosen.wait_journal)
        both = f"wait.page_lock={held[chosen.wait_locked]}{_AND}wait.journal"
        neither = turned(wait_locked=not chosen.wait_locked, wait_journal=not chosen.wait_journal)
        yield both, held[chosen.wait_journal], neither
        yield "wait.asks", ("again", "once")[chosen.wait_once], turned(wait_once=not chosen.wait_once)
    if "bounce" in (chosen.none, chosen.all):
        yield "bounce", ("plain", "reserve")[chosen.bounce_cleans], turned(bounce_cleans=not chosen.bounce_cleans)
    if chosen.reclaim != "ignore" and "kswapd" in small.names:
        asks = {"before": "after", "after": "before"}[chosen.reclaim_asks]
        yield "reclaim_asks", chosen.reclaim_asks, turned(reclaim_asks=asks)
    if tracker.when in (IN_GUP, AFTER_WALK) and "bias" not in tracker._fields:
        other = AFTER_WALK if tracker.when == IN_GUP else IN_GUP
        yield "learns", ("with", "after")[tracker.when == AFTER_WALK], turned(tracker=tracker._replace(when=other))
    if tracker.when < RANGE_BEFORE:
        return
    other = RANGE_AFTER if tracker.when == RANGE_BEFORE else RANGE_BEFORE
    if set(NEEDED[other]) <= implemented(type(tracker)).keys():
        name = ("before", "after")[tracker.when == RANGE_AFTER]
        yield "range.when", name, turned(tracker=tracker._replace(when=other))
    if not {"early_exit", "release", "charge"} <= set(tracker._fields):
        return
    early = tracker.early_exit
    yield "range.early_exit", ("no", "yes")[early], turned(tracker=tracker._replace(early_exit=1 - early))
    if tracker.release != BACKPOINTER:
        charge = RIGHTMOST if tracker.charge == LEFTMOST else LEFTMOST
        names = ("leftmost", "rightmost", "any")
        yield "range.charge", names[tracker.charge], turned(tracker=tracker._replace(charge=charge))
        if "truncate" in small.names:
            lost = ("found", "lost")[chosen.truncated_lost]
            yield "range.truncated", lost, turned(truncated_lost=not chosen.truncated_lost)


def _with_conditions(
    verdict: Verdict, small: SmallWorld, parameters: dict[str, Any], limits: dict[str, int]
) -> Verdict:
    """Note on each hazard the decisions under whose other value its verdict is another."""
    conditions: dict[str, list[str]] = {name: [] for name in verdict.hazards}
    undecided: list[str] = []
    for name, value, design, changed in _variants(small, parameters):
        other = small_world(small.scenario, design, changed)
        found = run_search(other, limits["max_states"], limits["memory_mib"], reduce=True)
        for number, hazard in enumerate(HAZARDS):
            reachable = bool(found.search.found[number, 0])
            if not reachable and not found.complete:
                if _known(verdict.hazards[hazard]):
                    undecided.append(f"{name}={value}")
                continue
            if set(f"{name}={value}".split(_AND)) & set(conditions[hazard]):  # one of the two is enough
                continue
            if _known(verdict.hazards[hazard]) and reachable != (verdict.hazards[hazard].verdict == "reachable"):
                conditions[hazard].append(f"{name}={value}")
    hazards = {name: replace(h, conditional=tuple(conditions[name])) for name, h in verdict.hazards.items()}
    return replace(verdict, hazards=hazards, undecided=tuple(dict.fromkeys(undecided)))


def _known(hazard: HazardVerdict) -> bool:
    return hazard.verdict in ("reachable", "unreachable")


# ---- beyond the bounds of a search


def random_walks(scenario: str, design: str = "v4.17", *, walks: int, seed: int = 1, **parameters: Any) -> Verdict:
    """Take random ways through a world, each to its end: finds hazards where a search would not end; proves nothing.

    Parameters
    ----------
    scenario, design : str
    walks : int
    seed : int
    **parameters
        The scenario's own.

    Returns
    -------
    Verdict
        ``reachable`` with the shortest walk that showed it, up to that step; ``unknown`` for the others.

    Raises
    ------
    UsageError
        No walks, or no such scenario, design or parameter.
    """
    if walks < 1:
        raise UsageError(f"walks={walks}: it has to be at least 1")
    rng = np.random.Generator(np.random.PCG64(seed))
    began = time.perf_counter()
    best: dict[str, HazardVerdict] = {}
    ends = dict.fromkeys(progress.ENDS, 0)
    longest = steps = 0
    small = small_world(scenario, design, parameters)
    for _ in range(walks):
        run = Replay(small_world(scenario, design, parameters))
        kind = _walk(run, rng, best)
        ends[kind] += 1
        longest, steps = max(longest, len(run.trace)), steps + len(run.trace)
    hazards = {}
    for name in HAZARDS:
        why_not = _not_applicable(small, name)
        unknown = HazardVerdict("unknown", reason=f"not met in {walks} random walks")
        hazards[name] = HazardVerdict("not applicable", reason=why_not) if why_not else best.get(name, unknown)
    made_by = provenance.provenance(
        scenario=scenario, design=design, parameters=small.parameters, seed=seed, costs=costs.in_use()
    )
    return Verdict(
        scenario, design, small.parameters, False, False, 0, steps, longest, time.perf_counter() - began, 0.0,
        hazards, ends, provenance=made_by | user_tracker.provenance(small.tracker),
    )  # fmt: skip


def _walk(run: Replay, rng: np.random.Generator, best: dict[str, HazardVerdict]) -> str:
    """Walk to an end; note hazards that were met sooner than before. Returns the kind of end."""
    choices, must = run.choices()
    while choices:
        if not must:
            _note_walk(run, run.judge(), best)
        choice = int(rng.choice(choices))
        run.step(choice)
        _note_walk(run, run.trace[-1].hazards, best)
        choices, must = run.choices()
    _note_walk(run, run.judge(), best)
    return run.kind_of_end()


def _note_walk(run: Replay, hazards: tuple[str, ...], best: dict[str, HazardVerdict]) -> None:
    for name in hazards:
        if name not in best or len(run.trace) < (best[name].depth or 0):
            trace = run.trace.copy()
            if name not in trace[-1].hazards:
                trace[-1] = replace(trace[-1], hazards=(*trace[-1].hazards, name))
            best[name] = HazardVerdict("reachable", len(trace), tuple(trace), tuple(run.schedule))
