"""Numbers and tables as plain text for a mail: ASCII, no line over 72 columns, nothing cut off."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbench.results import UNITS

COLUMNS = 72  # of a mail

_TIME = {"ps": 1e-3, "ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}  # in ns
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SI = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


def _scaled(value: float, steps: Mapping[str, float]) -> str:
    fitting = [name for name, step in steps.items() if abs(value) >= 0.99995 * step] or list(steps)[:1]
    return f"{value / steps[fitting[-1]]:.4g}{fitting[-1]}"


def number(value: Any, unit: str = "1") -> str:
    """Write a number as a mail would: four digits and a prefix, in ASCII.

    Parameters
    ----------
    value : number or None
        In ``unit``; None and NaN are written as ``-``.
    unit : str, optional
        As in `workbench.results.UNITS`. Times and sizes carry their unit (``12.5us``, ``64KiB``); of others
        only the prefix is written (``193k``), from 10000 on.

    Returns
    -------
    str
        The text.
    """
    if value is None or value is pd.NA or math.isnan(value):
        return "-"
    if math.isinf(value) or value == 0:
        return f"{value:.4g}"
    if unit in _TIME:
        return _scaled(value * _TIME[unit], _TIME)
    if unit == "B/s":
        return number(value, "B") + "/s"
    if unit == "B":
        exact = abs(value) < 10 << 10 and value % 1024 and value == int(value)
        return f"{int(value)}B" if exact else _scaled(value, _BYTES)
    if abs(value) < 9999.5:
        return str(int(value)) if value == int(value) else f"{value:.4g}"
    return _scaled(value, _SI)


def unit_of(column: Any, unit: str | None = None) -> str:
    """Find the unit of a column: the one given, else that of `workbench.results.UNITS`, else ``1``."""
    if unit is not None:
        return unit
    return UNITS[column].unit if column in UNITS else "1"


def carries_unit(unit: str) -> bool:
    """Whether `number` writes the unit itself, so that no heading or label need name it."""
    return unit in _TIME or unit in ("B", "B/s", "1", "")


class _Column(NamedTuple):
    head: list[str]
    cells: list[list[str]]  # a cell is its lines
    right: bool

    @property
    def width(self) -> int:
        return max(len(line) for cell in [self.head, *self.cells] for line in cell)


def _column(head: str, values: pd.Series, unit: str, room: int) -> _Column:
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    texts = [number(v, unit) if numeric else _cell(v) for v in values]
    cells = [textwrap.wrap(text, room) or [""] for text in texts]
    widest = max((len(line) for cell in cells for line in cell), default=0)
    if not carries_unit(unit):
        head += f" [{unit}]"
    return _Column(textwrap.wrap(head, min(room, max(widest, 12))) or [""], cells, numeric)


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return number(value) if isinstance(value, (int, float, np.number)) or value is None else str(value)


def _blocks(columns: Sequence[_Column], keys: int, width: int, gap: int) -> list[list[_Column]]:
    """Share columns out over blocks that are no wider than told, each with the keys at its left."""
    blocks = [list(columns[:keys])]
    for column in columns[keys:]:
        if len(blocks[-1]) > keys and sum(c.width + gap for c in blocks[-1]) + column.width > width:
            blocks.append(list(columns[:keys]))
        blocks[-1].append(column)
    return [block for block in blocks if block]


def _written(columns: Sequence[_Column], gap: int) -> str:
    tallest = max(len(c.head) for c in columns)
    heads = [[""] * (tallest - len(c.head)) + c.head for c in columns]
    lines = []
    for row in [heads, [["-" * c.width] for c in columns], *zip(*(c.cells for c in columns), strict=True)]:
        for k in range(max(len(cell) for cell in row)):
            texts = [cell[k] if k < len(cell) else "" for cell in row]
            placed = [t.rjust(c.width) if c.right else t.ljust(c.width) for t, c in zip(texts, columns, strict=True)]
            lines.append((" " * gap).join(placed).rstrip())
    return "\n".join(lines)


def text_table(
    df: pd.DataFrame,
    title: str = "",
    width: int = COLUMNS,
    *,
    units: Mapping[Any, str] | None = None,
    keys: int = 1,
) -> str:
    """Lay a frame out as plain text for a mail.

    Parameters
    ----------
    df : DataFrame
        Its index is not shown.
    title : str, optional
        Stands above the table.
    width : int, optional
        No line is longer. What is too wide becomes several blocks below each other; a long cell becomes
        several lines. Nothing is cut off.
    units : mapping, optional
        Unit by column; else that of `workbench.results.UNITS`, else none.
    keys : int, optional
        So many columns from the left stand again at the left of every block.

    Returns
    -------
    str
        Lines without trailing blanks or final newline.
    """
    units = units or {}
    room = width // (2 * keys) - 2 if keys else width
    columns: list[_Column] = []
    for i, name in enumerate(df.columns):
        if i == keys:
            room = width - sum(c.width + 2 for c in columns)
        columns.append(_column(str(name), df.iloc[:, i], unit_of(name, units.get(name)), room))
    blocks, gap = min(((_blocks(columns, keys, width, gap), gap) for gap in (2, 1)), key=lambda found: len(found[0]))
    heading = [textwrap.fill(title, width)] if title else []
    return "\n\n".join(heading + [_written(block, gap) for block in blocks])
