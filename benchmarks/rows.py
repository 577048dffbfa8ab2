"""The table of benchmarks: run, laid out as text, and put into the README.

A benchmark is a module with a function ``rows(quick)`` that gives a list of `Row`.
"""

import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.measure import Skipped
from benchmarks.row import FAILED, Row
from workbench.errors import UsageError, nearest
from workbench.tables import carries_unit, number, text_table
from workbench.usage import layout

# By name, as ``--only`` has it: in the order of the table.
BENCHMARKS = {
    "interval-tree": "bench_interval_tree",
    "direct-io": "bench_direct_io",
    "explore": "bench_explore",
    "sweep": "bench_sweep",
    "growth": "bench_growth",
    "memory": "bench_memory",
    "start": "bench_start",
    "explorer": "bench_explorer",
}
README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- bench: written by `workbench bench --write-readme` -->", "<!-- /bench -->"
WIDTH = 110


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


Measure = Callable[[bool], Iterable[Row]]


def collect(names: Iterable[str], quick: bool, benchmarks: Mapping[str, Measure] | None = None) -> list[Row]:
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
            found += measure(quick)
        except Skipped as missing:
            found.append(Row(name, f"benchmark {name}").skipped(missing))
        except Exception as error:  # the other benchmarks have been measured, or can be
            differs = isinstance(error, AssertionError) and str(error)
            told = " ".join((str(error) if differs else f"{type(error).__name__}: {error}").split())
            found.append(Row(name, f"benchmark {name}", note=f"{FAILED}{textwrap.shorten(told, 300)}"))
    return found


def _rows_of(module: str) -> Measure:
    measure = getattr(importlib.import_module(f"benchmarks.{module}"), "rows", None)
    if measure is None:
        raise Skipped(f"it prints for itself: python -m benchmarks.{module}")
    return measure


def failed(rows: Iterable[Row]) -> bool:
    """Tell whether a benchmark failed, or differs from its peer in its results."""
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
        It can't be read or replaced, or the marks are not there, once each and in order.
    """
    try:
        before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    except OSError as error:
        raise UsageError(f"--write-readme: {path.name}: {error.strerror}") from None
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"--write-readme: {path.name} can't be written: its folder is read-only")
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
