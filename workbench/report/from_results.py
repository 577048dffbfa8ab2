"""A report out of rows of results: what was set, what was measured, drawn where there is something to compare."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from workbench import results
from workbench.errors import UsageError, nearest
from workbench.hazards import HAZARDS
from workbench.report import Block, Command, Heading, Prose, Report, cleaned, table
from workbench.report.grid import Grid, headlines, made_again, plotted
from workbench.report.made_by import distinct, provenance
from workbench.report.prose import escaped
from workbench.report.subject import claim, design, named, parameters, said
from workbench.results import UNITS
from workbench.tables import carries_unit, number

WRITTEN = "`workbench simulate --out FILE.parquet` writes such a file"
SIDE_BY_SIDE = 4  # runs whose every metric is shown
MOST_ROWS = 60  # of a table of runs


def read(path: str) -> pd.DataFrame:
    """Read rows of results, and hold them to what a row must have.

    Parameters
    ----------
    path : str
        A Parquet file, or a pattern.

    Raises
    ------
    UsageError
        As `results.load`; also where there are no rows, or parameters that can't be read.
    """
    frame = results.load(path)
    if frame.empty:
        raise UsageError(f"{path}: no rows of results; {WRITTEN}")
    if missing := [name for name in results.KEY if frame[name].isna().any()]:
        raise UsageError(f"{path}: a row lacks its {missing[0]}; {WRITTEN}")
    for name in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            frame[name] = [cleaned(value) for value in frame[name]]
    frame["set"] = pd.Series([_parameters(path, text) for text in frame["parameters"]], dtype=object)
    order = sorted(range(len(frame)), key=lambda k: _order(frame.iloc[k]))
    return frame.iloc[order].reset_index(drop=True)


def _order(row: Any) -> tuple[Any, ...]:
    """Numbers by their size, whichever file they come from."""
    values = [
        (name, *((0, v, "") if isinstance(v, int | float) else (1, 0, said(v)))) for name, v in row["set"].items()
    ]
    return row["scenario"], row["design"], sorted(values), row["seed"]


def _parameters(path: str, text: str) -> dict[str, Any]:
    try:
        told = cleaned(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        told = None
    if not isinstance(told, dict) or not all(isinstance(v, str | int | float | list | None) for v in told.values()):
        raise UsageError(f"{path}: parameters that are no JSON object of values: {' '.join(str(text).split())[:60]}")
    return told


# ---- the report


def report(
    frame: pd.DataFrame,
    stem: str,
    again: Callable[[str], Sequence[str]],
    metrics: Sequence[str] = (),
    columns: int = 2,
) -> Report:
    """Write results up.

    Parameters
    ----------
    frame : DataFrame
        As `read` gives it.
    stem : str
        Name of the file without suffix, for the commands that make it.
    again : callable
        Words of the command that makes the report, for the name of the file, or the pattern.
    metrics : sequence of str, optional
        Metrics to be drawn, and shown where there are many runs; by default up to three that say most.
    columns : int, optional
        Width of the figures.

    Raises
    ------
    UsageError
        A metric that is not there, or was not measured.
    """
    for name in metrics:
        if name not in UNITS:
            raise UsageError(f"--metric {name}: {nearest(name, UNITS)}")
        if name not in frame or frame[name].isna().all():
            raise UsageError(f"--metric {name}: no row of the file has it")
    scenarios = list(dict.fromkeys(frame["scenario"]))
    blocks: list[Block] = []
    for scenario in scenarios:
        own = Grid.of(frame[frame["scenario"] == scenario])
        if len(scenarios) > 1:
            blocks.append(Prose(f"**Scenario {escaped(scenario)}**"))
        blocks += _scenario(scenario, own, metrics, columns)
    commands = made_again(frame, stem)
    file = f"{stem}.parquet" if len(commands) == 1 else f"{stem}-*.parquet"
    blocks += [*_provenance(frame), Heading("To make this again"), Command((*commands, tuple(again(file))))]
    title = f"{named(scenarios)} under {named(list(dict.fromkeys(frame['design'])))}"
    return Report(title, tuple(blocks))


def _scenario(scenario: str, grid: Grid, metrics: Sequence[str], columns: int) -> Iterator[Block]:
    frame = grid.frame
    yield from claim(scenario)
    yield from design(frame["design"])
    yield from parameters(scenario, grid.common)
    if grid.varied:
        spans = [f"{name}: {distinct(map(said, grid.values(name)))}" for name in grid.varied]
        yield Prose("Varied:\n\n" + "\n".join(f"- {escaped(span)}" for span in spans))
    yield Heading("What was measured")
    yield Prose(escaped(_how_many(grid)))
    chosen = [m for m in metrics if not frame[m].isna().all()] or headlines(frame)
    yield from plotted(grid, scenario, chosen, columns)
    yield from _tables(grid, chosen)
    yield from _hazards(frame)


def _how_many(grid: Grid) -> str:
    frame = grid.frame
    seeds = frame["seed"].nunique()
    runs = "One run" if len(frame) == 1 else f"{len(frame)} runs"
    drawn = f"seed {frame['seed'].iloc[0]}" if seeds == 1 else f"{seeds} seeds"
    costs = distinct(frame["cost_table"])
    return f"{runs}, {drawn}. Counts are exact; times are counts x costs" + (f": {costs}." if costs else ".")


class _Shown(NamedTuple):
    name: str
    unit: str

    def of(self, value: Any) -> str:
        text = number(None if pd.isna(value) else value, self.unit)
        return text if carries_unit(self.unit) or text == "-" else f"{text} {self.unit}"


def _tables(grid: Grid, chosen: Sequence[str]) -> Iterator[Block]:
    frame = grid.frame
    cases = [grid.case(row) for row in frame.to_dict("records")]
    if len(frame) <= SIDE_BY_SIDE:
        names = [name for name in UNITS if name in frame and (frame[name].notna() & (frame[name] != 0)).any()]
        rows = [[name, *(_Shown(name, UNITS[name].unit).of(v) for v in frame[name])] for name in names]
        meanings = [[UNITS[name].text] for name in names] if len(frame) == 1 else [[]] * len(names)
        head = ["", *(cases if len(frame) > 1 else ["value", "meaning"])]
        shown = [row + meaning for row, meaning in zip(rows, meanings, strict=True)]
        yield table(head, shown, "Metrics and counters, those that are 0 left out")
        return
    if len(frame) > MOST_ROWS:
        yield Prose(f"The {len(frame)} runs are too many for a table; they stand in the file, a row each.")
        return
    rows = [
        [case, *(_Shown(name, UNITS[name].unit).of(row[name]) for name in chosen)]
        for case, row in zip(cases, frame.to_dict("records"), strict=True)
    ]
    yield table(["", *chosen], rows, "Runs; what else was measured stands in the file")


def _hazards(frame: pd.DataFrame) -> Iterator[Block]:
    """Hazards that are counted. Those that are judged at the end of a run have no column."""
    columns = {name: [c.lower() for c in hazard.counters] for name, hazard in HAZARDS.items() if hazard.counters}
    counted = {name: frame[[c for c in own if c in frame]].sum(axis=1) for name, own in columns.items()}
    rows = [
        [name, distinct(frame["design"][times > 0]), str(int(times.max())), HAZARDS[name].definition]
        for name, times in counted.items()
        if (times > 0).any()
    ]
    yield Heading("Hazards that were met")
    if rows:
        yield table(["hazard", "under", "times", "it is met when"], rows)
    yield Prose(
        f"{'No other' if rows else 'None'} was counted in these runs; each shows one order of events. "
        "That a hazard can't come about takes every interleaving: `workbench explore`."
    )


def _provenance(frame: pd.DataFrame) -> Iterator[Block]:
    names = {"version": "package_version", "source_hash": "source_hash", "git_commit": "git_commit", "seed": "seed",
             "costs": "cost_table"}  # fmt: skip
    names |= {name: name for name in ("cost_table_sha256", "trace_sha256", "tracker_sha256")}
    told: Mapping[str, str] = {name: distinct(frame[column]) for name, column in names.items() if column in frame}
    yield from provenance((), told)
