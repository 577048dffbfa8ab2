"""What is written around a figure: its caption, its labels, its text sibling."""

import textwrap
from collections.abc import Mapping
from typing import Any

from workbench.provenance import plain
from workbench.results import UNITS
from workbench.tables import COLUMNS, carries_unit


def axis_label(column: str, label: str, unit: str) -> str:
    """Write the label of an axis: a column's own where none is given, with the unit that its ticks don't carry."""
    label = label or (UNITS[column].text if column in UNITS else column.replace("_", " "))
    return label if carries_unit(unit) or "[" in label else f"{label} [{unit}]"


def caption(kind: str, costs: Any = None, text: str = "") -> str:
    """Write the line under a figure: where its numbers come from.

    Parameters
    ----------
    kind : str
        ``model`` or ``measured``.
    costs : object or mapping, optional
        The cost table, with a ``name`` and a ``provenance``; none where only counts are shown.
    text : str, optional
        What else is to be said.

    Returns
    -------
    str
        Fit for the ``caption`` of every helper.

    Raises
    ------
    ValueError
        Another kind.
    """
    if kind not in ("model", "measured"):
        raise ValueError(f"a caption says 'model' or 'measured', not {kind!r}")
    if costs is not None:
        table = costs if isinstance(costs, Mapping) else {k: getattr(costs, k) for k in ("name", "provenance")}
        told = f"cost table {table['name']} ({plain(table['provenance'])})"
    else:
        told = "exact counts, no cost table" if kind == "model" else "no cost table"
    return f"{kind.capitalize()}; {told}. {text}".strip()


def with_caption(title: str, table: str, line: str) -> str:
    """Put a text sibling together: title, table and caption."""
    return "\n\n".join(part for part in (textwrap.fill(title, COLUMNS), table, textwrap.fill(line, COLUMNS)) if part)
