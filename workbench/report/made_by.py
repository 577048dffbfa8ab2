"""The part of a report that says what made it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from workbench.report import Block, Heading, Picture, Prose, Table, table
from workbench.report.prose import escaped

# What a provenance says, in the words of a report.
NAMES = {
    "software": "software",
    "version": "version",
    "source_hash": "hash of the sources",
    "git_commit": "git commit",
    "python": "Python",
    "numpy": "numpy",
    "numba": "numba",
    "scenario": "scenario",
    "design": "design",
    "seed": "seed",
    "costs": "cost table",
    "cost_table_sha256": "sha256 of its file",
    "trace_sha256": "sha256 of the trace",
    "tracker_sha256": "sha256 of the tracker's file",
}


def provenance(figures: Sequence[Picture], more: Mapping[str, Any]) -> Iterator[Block]:
    """Say what made the figures of a report.

    Parameters
    ----------
    figures : sequence of Picture
    more : mapping
        What else is known, by the names of `NAMES`.
    """
    told: dict[str, Any] = {}
    for name in NAMES:
        values = [*filter(None, [more.get(name)]), *(f.made_by.get(name) for f in figures)]
        own = [written(name, value) for value in values if value is not None]
        if own and name not in ("scenario", "design"):
            told[name] = ", ".join(dict.fromkeys(own))
    yield Heading("Provenance")
    yield summary(told)
    if lines := [_figure(number, f) for number, f in enumerate(figures, 1) if f.made_by]:
        yield Prose("\n".join(lines))


def summary(told: Mapping[str, Any]) -> Table:
    """A line for each thing that is known."""
    rows = [[NAMES[name], written(name, told[name])] for name in NAMES if told.get(name) is not None]
    return table(["made by", ""], rows)


def _figure(number: int, figure: Picture) -> str:
    made_by = figure.made_by
    parts = [f"{name} {made_by[name]}" for name in ("scenario", "design", "seed") if made_by.get(name) is not None]
    parameters = made_by.get("parameters")
    if isinstance(parameters, Mapping):
        told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
        parts += [f"{name}={value}" for name, value in told.items()]
    return f"- {escaped(f'Figure {number}, {figure.name}')}: {escaped('; '.join(parts))}"


def written(name: str, value: Any) -> str:
    """A value as it stands in a report."""
    if name == "costs" and isinstance(value, Mapping):
        file = f", sha256 {value['sha256']}" if value.get("sha256") else ""
        return f"{value.get('name')} ({value.get('provenance')}){file}"
    return str(value)


def cost_file(figures: Iterable[Picture]) -> str:
    """The file of the cost table that figures were made with, after the table's name; empty: the package's own."""
    tables = (figure.made_by.get("costs") for figure in figures)
    return next((f"{t.get('name')}.json" for t in tables if isinstance(t, Mapping) and t.get("sha256")), "")


def distinct(values: Iterable[Any]) -> str:
    """All values, each once, in the order in which they come."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None and value == value))
