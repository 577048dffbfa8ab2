"""The table of benchmarks: what each measures beside its peer, against which goal, and whether it is met.

A benchmark is a module with a function ``rows(quick)`` that gives dicts with the fields of `Row` (but ``met``, which
follows from them). A row whose peer is not installed has a note that says ``skipped: needs ...``.
"""

import importlib
import math
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.measure import Skipped
from workbench.errors import UsageError, nearest
from workbench.tables import carries_unit, number, text_table
from workbench.usage import layout

# By name, as ``--only`` has it: in the order of the table.
BENCHMARKS = {
    "interval-tree": "bench_interval_tree",
    "direct-io": "bench_direct_io",
    "explore": "bench_explore",
    "sweep": "bench_sweep",
    "longterm": "bench_longterm",
    "growth": "bench_growth",
    "memory": "bench_memory",
    "start": "bench_start",
    "explorer": "bench_explorer",
}
README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- bench: written by `workbench bench --write-readme` -->", "<!-- /bench -->"
SKIPPED, FAILED = "skipped: ", "failed: "
WIDTH = 110
GOAL = re.compile(r"(?:(ours|ratio) )?(<=|>=|≤|≥) ?([\d.]+) ?[x×]?")


class Row(NamedTuple):
    """One line of the table.

    Attributes
    ----------
    name : str
        ``benchmark/row``.
    what : str
        What is measured, and against which peer.
    ours, peer : float or None
        In ``unit``; None: not measured, or there is no peer.
    ratio : float or None
        Of the two, in the direction that the goal is about.
    goal : str
        ``ours`` or ``ratio`` (the default), ``<=`` or ``>=``, and a number; empty: measured, and that is all.
    unit : str
    note : str
    """

    name: str
    what: str
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    goal: str = ""
    unit: str = "1"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None: there is none, or what it is about was not measured.

        Raises
        ------
        ValueError
            The goal is not of the form that `Row` says.
        """
        if not self.goal:
            return None
        told = GOAL.fullmatch(self.goal)
        if told is None:
            raise ValueError(f"{self.name}: goal {self.goal!r}")
        value = self.ours if told[1] == "ours" else self.ratio
        if value is None or math.isnan(value):
            return None
        return value <= float(told[3]) if told[2] in "<=≤" else value >= float(told[3])


def chosen(only: Sequence[str]) -> list[str]:
    """Check names of benchmarks; all of them by default.

    Raises
    ------
    UsageError
        With the nearest name.
    """
    for name in only:
        if name not in BENCHMARKS:
            raise UsageError(f"--only {name!r}: {nearest(name, BENCHMARKS)}")
    return [name for name in BENCHMARKS if name in only or not only]


def collect(
    names: Iterable[str], quick: bool, benchmarks: Mapping[str, Callable[[bool], list[dict[str, Any]]]] | None = None
) -> list[Row]:
    """Run benchmarks, one after the other.

    Parameters
    ----------
    names : iterable of str
    quick : bool
        Less of everything.
    benchmarks : mapping, optional
        By name the function that gives the rows; that of the module in `BENCHMARKS` by default.

    Returns
    -------
    list of Row
        One that can't run here, that fails, or whose results differ from its peer's, has a single row that says so.
    """
    found = []
    for name in names:
        if sys.stderr.isatty():
            print(f"bench: {name}", file=sys.stderr)
        try:
            measure = benchmarks[name] if benchmarks else _rows_of(BENCHMARKS[name])
            found += [Row(**row) for row in measure(quick)]
        except Skipped as missing:
            found.append(Row(name, f"benchmark {name}", note=f"{SKIPPED}{missing}"))
        except Exception as error:  # the other benchmarks have been measured, or can be
            differs = isinstance(error, AssertionError) and str(error)
            told = " ".join((str(error) if differs else f"{type(error).__name__}: {error}").split())
            found.append(Row(name, f"benchmark {name}", note=f"{FAILED}{textwrap.shorten(told, 300)}"))
    return found


def _rows_of(module: str) -> Callable[[bool], list[dict[str, Any]]]:
    measure = getattr(importlib.import_module(f"benchmarks.{module}"), "rows", None)
    if measure is None:
        raise Skipped(f"it prints for itself: python -m benchmarks.{module}")
    return measure


def failed(rows: Iterable[Row]) -> bool:
    """Tell whether a benchmark and its peer differ in their results."""
    return any(row.note.startswith(FAILED) for row in rows)


def frame(rows: Iterable[Row], key: str) -> pd.DataFrame:
    """Lay the rows out as text, a column each of what the tables show; `key` is the field in the first one."""
    return pd.DataFrame(
        [
            {
                key: getattr(row, key),
                "ours": number(row.ours, row.unit),
                "peer": number(row.peer, row.unit),
                "unit": "" if carries_unit(row.unit) else row.unit,
                "ratio": number(row.ratio),
                "goal": row.goal.removeprefix("ours ") or "-",
                "met": {True: "yes", False: "no", None: "-"}[row.met],
            }
            for row in rows
        ]
    )


def text(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """Write the table for a terminal; below it what each row is, and what all was measured on."""
    told = [(row.name, "; ".join(filter(None, (row.what, row.note)))) for row in rows]
    table = text_table(frame(rows, "name"), width=WIDTH)
    return "\n".join([table, "", *layout(told, width=WIDTH), "", *layout(list(machine.items()), width=WIDTH)])


def markdown(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """Write the table for the README."""
    table = frame(rows, "what").assign(note=[row.note for row in rows])
    lines = [" | ".join(table.columns), " | ".join("---" for _ in table.columns)]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in cells) for cells in table.itertuples(index=False)]
    about = "; ".join(f"{key}: {told}" for key, told in machine.items())
    return "\n".join(f"| {line} |" for line in lines) + f"\n\nMeasured on: {about}."


def write_readme(rows: Sequence[Row], machine: Mapping[str, Any], path: Path = README) -> None:
    """Put the table between its two marks in the README.

    Raises
    ------
    UsageError
        The marks are not there, once each and in order.
    """
    before, after = around_table(path)
    beside = path.with_suffix(".new")
    beside.write_text(f"{before}{BEGIN}\n\n{markdown(rows, machine)}\n\n{END}{after}", encoding="utf-8")
    beside.replace(path)


def around_table(path: Path = README) -> tuple[str, str]:
    """Read what the README has before the table and after it.

    Raises
    ------
    UsageError
        The marks are not there, once each and in order.
    """
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in after:
        raise UsageError(f"--write-readme: {path.name} needs one line {BEGIN} and, below it, one line {END}")
    return before, after


def as_json(rows: Iterable[Row], machine: Mapping[str, Any], quick: bool) -> dict[str, Any]:
    """Give what ``--json`` prints."""
    return {
        "machine": dict(machine),
        "quick": quick,
        "rows": [row._asdict() | {"met": row.met} for row in rows],
    }
