"""The decision matrix: designs × what must not happen, and what each costs. All explored and counted, nothing typed in.

Rows are the presets, every tracker with every cleaning policy and order, two trackers with the policies that write
a pinned page, and one with each rule for long-term pins. A hazard's cell is the worst verdict over the scenarios' small
worlds. The other criteria come from such searches, and from counters of two short runs of `simulate`.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from workbench import charts, designs, touched
from workbench.costs import in_use
from workbench.errors import UsageError, nearest
from workbench.policies import CLEANING, LEASE_END, LONGTERM, WRITE_PINNED
from workbench.provenance import plain, provenance
from workbench.scenarios import SCENARIOS, require_small_world
from workbench.tables import number
from workbench.trackers.protocol import LOCK_PAGE
from workbench.verdict import VERDICTS, Verdict

BASE = "tracker=none,cleaning=ignore"  # what others are compared with
POLICIES = (*(name for name in CLEANING if name not in WRITE_PINNED), "skip/wait")
# What writing a pinned page comes to turns little on who says that it is pinned: a few rows show it.
WRITERS = ("bias", "vma-common:release=backpointer")
ORDERS = designs.PARTS["order"]
# Rules for long-term pins, with one tracker and policy, and what leases come to.
RULES = tuple(rule for rule in LONGTERM if rule != "allow")
LEASES = tuple(f"lease,lease={end}" for end in LEASE_END if end != designs.PARTS["lease"][0])
RULED = "tracker=bias,cleaning=skip/wait,longterm="
QUICK = (
    *designs.PRESETS,
    "tracker=flag,cleaning=skip/wait",
    "tracker=vma-common:release=split,cleaning=skip/wait",
    "tracker=vma-common:release=backpointer,cleaning=skip/wait",
    "tracker=bias,cleaning=skip/wait",
    "tracker=bias,cleaning=skip/wait,order=check-first",
)
# Two short runs: direct IO in two bios each, so that ranges are released in parts; and one whose page is logged.
COSTS: dict[str, Any] = {"ios": 200, "qd": 8, "size_kib": 64, "extent_kib": 32}
# The criteria beside the hazards: column -> meaning, and unit where there is one.
CRITERIA = {
    "bytes per pin": "memory of the tracker's own objects at their most, per pinned page [B]",
    "bytes per range": "the same per range",
    "atomics per page": "atomic read-modify-writes per page more than without a tracker",
    "locks per page": "spinlocks and i_mmap_rwsem taken per page more than without a tracker",
    "in IRQ": "releases need no process context of their own",
    "GUP-fast": "get_user_pages_fast() takes no sleeping lock",
    "anon pages": "with a fork that asks, device and owner of pinned anonymous memory look at the same page",
    "false pins": "can say 'pinned' of a page that never was",
    "page bits": "bits of struct page that it needs",
    "waits": "what somebody may have to wait for that nobody waits for without a tracker",
    "kernel places": f"places in the kernel that the tracker makes one change, + those to look at, as counted in "
    f"{touched.SHIPPED.stem} (data/README.md)",
}


def all_designs(quick: bool = False) -> list[str]:
    """Name the rows of the matrix.

    Parameters
    ----------
    quick : bool, optional
        The presets and a handful more.

    Returns
    -------
    list of str
        The presets; then each tracker × cleaning policy (one for all callers; or skip for WB_SYNC_NONE and wait for
        WB_SYNC_ALL) × order, but for the order where nobody asks; then `WRITERS` × `policies.WRITE_PINNED` × order;
        then one design under each of `RULES` and `LEASES`.
    """
    if quick:
        return list(QUICK)
    names = list(designs.PRESETS)
    pairs = [*product(designs.trackers(), POLICIES), *product(WRITERS, WRITE_PINNED)]
    for (tracker, policy), order in product(pairs, ORDERS):
        if policy != "ignore" or order == ORDERS[0]:
            names.append(f"tracker={tracker},cleaning={policy}" + (f",order={order}" if policy != "ignore" else ""))
    return names + [f"{RULED}{rule}" for rule in (*RULES, *LEASES)]


def cases(rows: Iterable[str], scenarios: Iterable[str]) -> list[tuple[str, str]]:
    """Pair every scenario with every design.

    Parameters
    ----------
    rows, scenarios : iterable of str

    Returns
    -------
    list of (str, str)
        Scenario, design; and each tracker once more in ``fork-cow`` with a fork that asks, and in ``wide-map`` with
        cleaners that do.
    """
    wanted = list(rows)
    found = [(scenario, design) for scenario in scenarios for design in wanted]
    asked = [("fork-cow", asking(design)) for design in wanted]
    told = [("wide-map", skipping(design)) for design in wanted]
    return list(dict.fromkeys([*found, *asked, *told]))


def places_of(scenario: str) -> list[str]:
    """Name the small worlds of a scenario in which a matrix looks: its own, and those of ``ALSO``."""
    others = getattr(SCENARIOS[scenario], "ALSO", ())
    return [scenario, *(f"{scenario}:{','.join(f'{k}={v}' for k, v in other.items())}" for other in others)]


def _settings(place: str) -> tuple[str, dict[str, str]]:
    """Scenario of a small world's name, and the parameters in which it differs."""
    scenario, _, others = place.partition(":")
    pairs = (setting.partition("=") for setting in others.split(",") if setting)
    return scenario, {name: value for name, _, value in pairs}


def asking(design: str) -> str:
    """Leave of a design the tracker, told of every pin, and have fork ask it about anonymous pages."""
    return f"{bare(design)},fork=ask"


def skipping(design: str) -> str:
    """Leave of a design the tracker, told of every pin, and have every cleaner ask it."""
    return bare(design).replace("cleaning=ignore", "cleaning=skip")


def bare(design: str) -> str:
    """Leave of a design the tracker, told of every pin, and asked by nobody: what it costs by itself."""
    return f"tracker={designs.parse(design).tracker_name},cleaning=ignore"


@dataclasses.dataclass(frozen=True)
class Matrix:
    """The decision matrix.

    Attributes
    ----------
    verdicts : DataFrame
        A row per design, scenario and hazard: verdict, depth, conditional, reason.
    criteria : DataFrame
        A row per design, a column for each of `CRITERIA`.
    searches : DataFrame
        A row per design and scenario: complete, states, transitions, depth.
    provenance : dict
    """

    verdicts: pd.DataFrame
    criteria: pd.DataFrame
    searches: pd.DataFrame
    provenance: dict[str, Any]

    @property
    def worst(self) -> pd.DataFrame:
        """The cell of each design and hazard: its worst verdict, and where.

        Of several scenarios in which a hazard can be reached, the one is named where that is conditional on nothing,
        then the one with the shortest counterexample. That it can't be reached is conditional on all that it is
        conditional on in any of them.
        """
        cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.verdicts.to_dict("records"):
            cells.setdefault((row["design"], row["hazard"]), []).append({str(k): v for k, v in row.items()})
        return pd.DataFrame([_worst(rows) for rows in cells.values()]).astype({"depth": "Int64"})

    def table(self, column: str = "verdict") -> pd.DataFrame:
        """Designs × hazards, in the order in which they were asked for; `column` of `worst` in the cells."""
        wide = self.worst.pivot(index="design", columns="hazard", values=column)
        return wide.loc[list(self.criteria.index), list(dict.fromkeys(self.verdicts["hazard"]))]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON: by design the worst verdict for each hazard with its scenario, and the criteria."""
        kept = ["verdict", "scenario", "depth", "conditional"]
        told: dict[str, Any] = {
            str(name): {"hazards": {}, "criteria": dict(row)} for name, row in self.criteria.to_dict("index").items()
        }
        for row in self.worst.to_dict("records"):
            cell = {key: None if pd.isna(row[key]) else row[key] for key in kept}
            told[row["design"]]["hazards"][row["hazard"]] = plain(cell)
        return {"designs": told, "searches": plain(self.searches.to_dict("records")), "provenance": self.provenance}


def _worst(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of one design and hazard, over the scenarios."""

    def badness(row: dict[str, Any]) -> tuple[int, bool, int]:
        reached = row["verdict"] == "reachable"
        return VERDICTS.index(row["verdict"]), row["conditional"] != "", row["depth"] if reached else 0

    worst = min(rows, key=badness)
    if worst["verdict"] == "reachable":
        return worst
    hangs = {name for row in rows for name in row["conditional"].split(", ") if name}
    return worst | {"conditional": ", ".join(sorted(hangs))}


# ---- making it


class _Work(NamedTuple):
    """One thing to be done by one worker, for all designs that behave alike."""

    scenario: str  # empty: counters
    design: str
    tracker: str  # its class: what a worker compiles
    options: dict[str, Any]


def build(
    rows: Sequence[str] = (),
    scenarios: Sequence[str] = (),
    *,
    quick: bool = False,
    jobs: int = 2,
    max_states: int = 20_000_000,
    memory_mib: int = 2048,
    explore: Callable[..., Verdict] | None = None,
) -> Matrix:
    """Make the decision matrix.

    Parameters
    ----------
    rows : sequence of str, optional
        Designs; `all_designs` by default.
    scenarios : sequence of str, optional
        All by default.
    quick : bool, optional
        Of the designs only a handful.
    jobs : int, optional
        Processes.
    max_states, memory_mib : int, optional
        Where one search stops, unfinished.
    explore : callable, optional
        What searches; by default `workbench.explore.explore`. A module's function, with the same arguments.

    Returns
    -------
    Matrix
        The same with any number of processes. Presets are searched again under the other values of modelling
        decisions, to see what their verdicts are conditional on; the others are not.

    Raises
    ------
    UsageError
        A design or scenario that there is not, or no process.
    """
    wanted = list(dict.fromkeys(rows)) or all_designs(quick)
    chosen = list(dict.fromkeys(scenarios)) or list(SCENARIOS)
    _check(wanted, chosen, jobs)
    places = [place for scenario in chosen for place in places_of(scenario)]
    limits = {"max_states": max_states, "memory_mib": memory_mib}
    work: dict[tuple[Any, ...], _Work] = {}
    keys: dict[tuple[str, str], tuple[Any, ...]] = {}
    for scenario, design in [*cases([BASE, *wanted], places), *(("", bare(design)) for design in [BASE, *wanted])]:
        item = _Work(scenario, design, _tracker_class(design), limits | {"conditional": design in designs.PRESETS})
        keys[scenario, design] = (scenario, design)
        if scenario:
            keys[scenario, design] = (scenario, *_behaviour(design), item.options["conditional"])
        work.setdefault(keys[scenario, design], item)
    done = _carried_out(work, jobs, explore)
    found = {pair: done[key] for pair, key in keys.items()}
    return _assembled(wanted, places, found, limits)


def _check(wanted: Sequence[str], places: Sequence[str], jobs: int) -> None:
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: 1 or more")
    for design in wanted:
        designs.parse(design)
    for scenario in places:
        require_small_world(scenario)
        if scenario not in SCENARIOS:
            raise UsageError(f"no scenario {scenario!r}: {nearest(scenario, SCENARIOS)}")


_SIZES_ONLY = ("per_slab_page", "bio_bytes")  # of a tracker: they change bytes, and nothing that happens


@cache
def _behaviour(design: str) -> tuple[Any, ...]:
    """What two designs have in common that behave alike."""
    chosen = designs.parse(design)
    tracker = {k: v for k, v in chosen.tracker._asdict().items() if k not in _SIZES_ONLY}
    fields = {f.name: getattr(chosen, f.name) for f in dataclasses.fields(chosen)}
    for name in ("name", "tracker_name", "tracker"):
        del fields[name]
    if {chosen.none, chosen.all} == {"ignore"}:
        del fields["order"]
    return (_tracker_class(design), *sorted(tracker.items()), *sorted(fields.items()))


def _tracker_class(design: str) -> str:
    kind = type(designs.parse(design).tracker)
    return f"{kind.__module__}.{kind.__qualname__}"


def _carried_out(work: dict[Any, _Work], jobs: int, explore: Callable[..., Verdict] | None) -> dict[Any, Any]:
    """Do all of it. With several workers one of them first compiles for each class of trackers, for all of them."""
    classes = {item.tracker: item for item in work.values()}
    with tqdm(total=len(work), unit="search", leave=False, disable=None) as bar:
        if jobs == 1:
            return {key: _one(item, explore, bar) for key, item in work.items()}
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            if explore is None:
                list(pool.map(_compile, [item.design for item in classes.values()]))
            running = {pool.submit(_one, item, explore): key for key, item in work.items()}
            done = {}
            for future in as_completed(running):
                done[running[future]] = future.result()
                bar.update()
            return done


def _one(work: _Work, explore: Callable[..., Verdict] | None, bar: Any = None) -> Any:
    if not work.scenario:
        done: Any = _counted(work.design)
    else:
        scenario, settings = _settings(work.scenario)
        done = (explore or _explore())(scenario, work.design, reduce=True, **work.options, **settings)
    if bar:
        bar.update()
    return done


def _compile(design: str) -> None:
    """Have the search and the clock compiled for a design's class of trackers; the code is kept on disk."""
    from workbench.simulate import simulate

    _explore()(next(iter(SCENARIOS)), design, max_states=1, conditional=False)
    simulate("direct-io", design, ios=1)


def _explore() -> Callable[..., Verdict]:
    from workbench.explore import explore

    return explore


def _counted(design: str) -> dict[str, Any]:
    """Counters of a short run, and the flags that pages had in another."""
    from workbench.simulate import simulate

    run = simulate("direct-io", design, **COSTS)
    logged = simulate("golden-race", design).log
    pinned = int(run.series["pinned_pages"].max())
    return {
        "counters": run.counters,
        "bytes": int(run.metrics["tracking_bytes_max"]),
        "ranges": int(run.metrics["ranges_max"]),
        "pinned": pinned,
        "flags": sorted(set(" ".join(logged["state"]).split())),
    }


# ---- putting it together


def _assembled(
    wanted: list[str], places: list[str], found: dict[tuple[str, str], Any], limits: dict[str, Any]
) -> Matrix:
    frames, searches, criteria = [], [], []
    for design in wanted:
        verdicts = [found[scenario, design] for scenario in places]
        frames += [v.to_frame().assign(scenario=s, design=design) for s, v in zip(places, verdicts, strict=True)]
        searches += [
            {
                "design": design,
                "scenario": s,
                **{n: getattr(v, n) for n in ("complete", "states", "transitions", "depth")},
            }
            for s, v in zip(places, verdicts, strict=True)
        ]
        criteria.append(_criteria(design, places, found))
    parameters = {
        "designs": wanted,
        "scenarios": places,
        "costs_from": COSTS,
        "touched_in": touched.SHIPPED.stem,
        **limits,
    }
    made_by = provenance(parameters=parameters, costs=in_use())
    return Matrix(
        verdicts=pd.concat(frames, ignore_index=True),
        criteria=pd.DataFrame(criteria, index=pd.Index(wanted, name="design"), columns=list(CRITERIA)),
        searches=pd.DataFrame(searches),
        provenance=made_by,
    )


def _criteria(design: str, places: Sequence[str], found: dict[tuple[str, str], Any]) -> dict[str, str]:
    own, base = found["", bare(design)], found["", bare(BASE)]
    counters, without = own["counters"], base["counters"]
    pages = max(counters["PINS"], 1)

    def more(*names: str) -> float:
        return sum(counters[name] - without[name] for name in names) / pages

    asked = found["fork-cow", asking(design)].hazards
    forked = [asked[name].verdict for name in ("missed-pin", "cow-alias") if name in asked]
    false = found["wide-map", skipping(design)].hazards["false-pin"].verdict
    waits = {w for s in places for w in set(found[s, design].waits) - set(found[s, BASE].waits)}
    return {
        "bytes per pin": number(own["bytes"] / own["pinned"] if own["pinned"] else None, "B"),
        "bytes per range": number(own["bytes"] / own["ranges"], "B") if own["ranges"] else "-",
        "atomics per page": f"{more('ATOMIC'):.3g}",
        "locks per page": f"{more('SPIN_LOCK', 'RWSEM'):.3g}",
        "in IRQ": _yes(counters["DEFERRED_UNPIN"] <= counters["DEFERRED_DIRTY"]),
        "GUP-fast": _yes(counters["RWSEM"] == 0),
        "anon pages": WORKS[min(forked, key=VERDICTS.index)],
        "false pins": SAID[false],
        "page bits": " ".join(sorted(set(own["flags"]) - set(base["flags"]) - _no_bits_of_its_own(design))) or "none",
        "waits": _waiting(waits),
        "kernel places": _places(design),
    }


def _places(design: str) -> str:
    """What the kernel's sources would take: ``255+282``; ``-`` for a tracker of one's own, or without the data."""
    tracker = designs.parse(design).tracker_name
    found = touched.places(_touched(), tracker) if touched.SHIPPED.exists() else None
    return f"{found['change']}+{found['audit']}" if found else "-"


_touched = cache(touched.load)


def _no_bits_of_its_own(design: str) -> set[str]:
    """Flags that a run may show, and no tracker adds: one that the kernel has; and the mark of a lock that is a pin."""
    by_lock = designs.parse(design).tracker.lock == LOCK_PAGE
    return {"PG_waiters", "PG_dma_pinned"} if by_lock else {"PG_waiters"}


def _waiting(waits: Iterable[tuple[str, str]]) -> str:
    """What is waited for, and by whom, shortly: ``a pin: flusher fsync``."""
    by_what: dict[str, set[str]] = {}
    for actor, what in waits:
        by_what.setdefault(what.removesuffix(" to go away"), set()).add(actor.partition("/")[0])
    return "; ".join(f"{what}: {' '.join(sorted(by_what[what]))}" for what in sorted(by_what)) or "none"


WORKS = {"reachable": "no", "unknown": "unknown", "unreachable": "yes", "not applicable": "-"}
SAID = {"reachable": "possible", "unknown": "unknown", "unreachable": "never", "not applicable": "-"}


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


# ---- showing it

# Colour of a criterion: of the first word that a cell contains.
_GOOD, _BAD = charts.FOUND["unreachable"], charts.FOUND["reachable"]
COLOURS = {
    "none": "#FFFFFF", "unknown": charts.FOUND["unknown"], "yes": _GOOD, "never": _GOOD, "possible": _BAD, "no": _BAD,
}  # fmt: skip
MARKS = {"unreachable": "", "unknown": "?", "not applicable": "-"}
EXPLAINED = (
    "A number: steps of the shortest counterexample, and the scenario that has it. ?: stopped at a limit, not known. "
    "Empty: no interleaving of the small worlds has it. -: can't be asked. *: hangs on a modelling decision "
    "(looked at for presets only)."
)


def letters(scenarios: Iterable[str]) -> dict[str, str]:
    """Give each scenario a letter out of its name."""
    given: dict[str, str] = {}
    for name in scenarios:
        given[name] = next((c for c in name if c.isalpha() and c not in given.values()), "?")
    return given


def grouped(matrix: Matrix) -> dict[str, list[str]]:
    """Join designs whose verdicts are all the same; presets stay by themselves.

    Returns
    -------
    dict of str to list of str
        Name of the group -> its designs, in the order of the matrix.
    """
    table = matrix.table()
    groups: dict[tuple[str, ...], list[str]] = {}
    for design, row in zip(table.index, table.itertuples(index=False), strict=True):
        key = (design,) if design in designs.PRESETS else tuple(map(str, row))
        groups.setdefault(key, []).append(design)
    return {_group_name(members): members for members in groups.values()}


def _group_name(members: Sequence[str]) -> str:
    """Trackers with what is set beside them: ``bias, pincount: skip, report``."""
    if len(members) == 1 and "=" not in members[0]:
        return members[0]
    settings: dict[str, dict[str, list[str]]] = {}
    for design in members:
        tracker, *rest = design.removeprefix("tracker=").split(",")
        parts = dict(part.split("=", 1) for part in rest)
        policy = parts.pop("cleaning", "ignore")
        settings.setdefault(tracker.replace(":release=", " "), {}).setdefault(policy, []).append(
            ", ".join(parts.values())
        )
    trackers: dict[str, list[str]] = {}
    for tracker, policies in settings.items():
        both = [p if len(rest) > 1 or not rest[0] else f"{p} ({rest[0]})" for p, rest in policies.items()]
        trackers.setdefault(", ".join(both), []).append(tracker)
    return "; ".join(f"{', '.join(names)}: {policies}" for policies, names in trackers.items())


def _marks(matrix: Matrix, codes: dict[str, str]) -> pd.DataFrame:
    """Short cells: depth and scenario's letter, or a mark."""
    found = {name: matrix.table(name).astype(object) for name in ("verdict", "depth", "scenario", "conditional")}
    cells = found["verdict"].copy()
    for design, hazard in product(cells.index, cells.columns):
        verdict, depth, scenario, hangs = (frame.loc[design, hazard] for frame in found.values())
        short = f"{depth}{codes[scenario]}" if verdict == "reachable" else MARKS[verdict]
        cells.loc[design, hazard] = short + "*" * bool(hangs)
    return cells


def hazards_chart(matrix: Matrix, rows: Sequence[str] | None = None) -> tuple[charts.Chart, str]:
    """Draw designs × hazards, with its 72-column text.

    Parameters
    ----------
    matrix : Matrix
    rows : sequence of str, optional
        Names of `grouped` that are shown; all by default. Of a group the first design's depths are written.

    Returns
    -------
    figure, text : Chart, str
        For `charts.save`.
    """
    groups = grouped(matrix)
    shown = list(rows) if rows is not None else list(groups)
    first = [groups[name][0] for name in shown]
    codes = letters(dict.fromkeys(matrix.verdicts["scenario"]))
    scenarios = ", ".join(f"{letter} {name}" for name, letter in codes.items())
    table = matrix.table().loc[first].set_axis(pd.Index(shown))
    return charts.matrix(
        table,
        charts.FOUND,
        texts=_marks(matrix, codes).loc[first].set_axis(pd.Index(shown)),
        title="Which hazards can come about",
        corner="design",
        caption=charts.caption("model", None, f"{EXPLAINED} Scenarios: {scenarios}."),
    )


def criteria_chart(matrix: Matrix) -> tuple[charts.Chart, str]:
    """Draw designs × the other criteria, with its 72-column text; designs that share all of them are joined."""
    return charts.matrix(
        _joined_criteria(matrix),
        COLOURS,
        title="What designs cost, and where they work",
        corner="design",
        caption=charts.caption("model", None, "; ".join(f"{name}: {text}" for name, text in CRITERIA.items()) + "."),
    )


def _joined_criteria(matrix: Matrix) -> pd.DataFrame:
    groups: dict[tuple[str, ...], list[str]] = {}
    for design, row in zip(matrix.criteria.index, matrix.criteria.itertuples(index=False), strict=True):
        groups.setdefault((design,) if design in designs.PRESETS else tuple(row), []).append(design)
    names = [_group_name(members) for members in groups.values()]
    return matrix.criteria.loc[[members[0] for members in groups.values()]].set_axis(pd.Index(names))


def markdown(matrix: Matrix) -> str:
    """Write both tables as Markdown; a cell says in which scenario, and what it is conditional on.

    Returns
    -------
    str
        Two tables, of designs × hazards and of designs × `CRITERIA`, as `hazards_chart` and `criteria_chart` join them.
    """
    worst = matrix.worst.set_index(["design", "hazard"])
    hazards = list(dict.fromkeys(matrix.verdicts["hazard"]))
    first = {name: members[0] for name, members in grouped(matrix).items()}
    verdicts = [[name, *(_told(worst.loc[(design, h)]) for h in hazards)] for name, design in first.items()]
    criteria = _joined_criteria(matrix)
    costs = [[str(name), *row] for name, row in zip(criteria.index, criteria.itertuples(index=False), strict=True)]
    tables = _markdown_table(["design", *hazards], verdicts), _markdown_table(["design", *CRITERIA], costs)
    return "\n\n".join(tables) + "\n"


def write_markdown(matrix: Matrix, path: Path) -> Path:
    """Write `markdown` to a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as aside:
        (Path(aside) / path.name).write_text(markdown(matrix), encoding="utf-8")
        return (Path(aside) / path.name).replace(path)


def _told(cell: Any) -> str:
    where = f" ({cell['scenario']}, {cell['depth']} steps)" if cell["verdict"] == "reachable" else ""
    return cell["verdict"] + where + (f" if {cell['conditional']}" if cell["conditional"] else "")


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)
