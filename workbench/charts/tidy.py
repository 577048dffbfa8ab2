"""Tidy data: by design, by panel, and laid out as a table."""

from collections.abc import Mapping

import pandas as pd

from workbench.charts.style import Style, label, styles
from workbench.tables import number, text_table


def need(df: pd.DataFrame, *columns: str | None) -> None:
    """Refuse a frame that lacks a column; None stands for a column that nobody asked for."""
    for column in columns:
        if column is not None and column not in df.columns:
            raise ValueError(f"no column {column!r}; there are: {', '.join(map(str, df.columns))}")


def split_panels(df: pd.DataFrame, by: str | None) -> list[tuple[str, pd.DataFrame]]:
    """Split a frame by panel: numbers in their order, names in the frame's; a single one without a name by default."""
    if by is None:
        return [("", df)]
    places = dict.fromkeys(df[by])
    ordered = sorted(places) if pd.api.types.is_numeric_dtype(df[by]) else places
    return [(str(value), df[df[by] == value]) for value in ordered]


def grouped(df: pd.DataFrame, hue: str | None) -> dict[str, tuple[Style, pd.DataFrame]]:
    """Split a frame by design, each with its style; a single group without a name by default."""
    if hue is None:
        return {"": (Style("#0072B2", "o", "-"), df)}
    names = df[hue].map(str)
    return {name: (style, df[names == name]) for name, style in styles(names).items()}


def left_out(df: pd.DataFrame, hue: str | None, log: Mapping[str, bool]) -> str:
    """Say which points a logarithmic axis can't show."""
    columns = [column for column in log if log[column]]
    hidden = df[(df[columns] <= 0).any(axis=1)]
    if hidden.empty:
        return ""
    whose = "" if hue is None else " of " + ", ".join(label(n) for n in styles(hidden[hue].map(str)))
    return f" Being 0, not on the log axis: {len(hidden)} points{whose}."


def pivot(
    df: pd.DataFrame,
    x: str,
    y: str,
    hue: str | None,
    band: tuple[str, str] | None,
    xunit: str,
    yunit: str,
    heading: str,
) -> str:
    """Lay points out with the shorter of the two, designs or values of ``x``, across the page."""
    if df.duplicated([x] + ([hue] if hue else [])).any():
        raise ValueError(f"more than one {y} at the same {x}" + (f" and {hue}" if hue else "") + ": aggregate first")
    groups = grouped(df, hue)
    places = sorted(df[x].unique()) if pd.api.types.is_numeric_dtype(df[x]) else list(dict.fromkeys(df[x]))
    cells = {}
    for name, (_, own) in groups.items():
        for _, point in own.iterrows():
            text = number(point[y], yunit)
            ends = f" {number(point[band[0]], yunit)}..{number(point[band[1]], yunit)}" if band else ""
            cells[name, point[x]] = text + ends
    heads = {place: place if isinstance(place, str) else number(place, xunit) for place in places}
    if hue is not None and len(places) <= 16:
        frame = pd.DataFrame({"": [label(n) for n in groups]})
        across = {heads[p]: [cells.get((n, p), "-") for n in groups] for p in places}
    else:
        frame = pd.DataFrame({"": [heads[p] for p in places]})
        across = {label(n) or y: [cells.get((n, p), "-") for p in places] for n in groups}
    for head, column in across.items():
        wide = max(len(text) for text in column)
        frame[head] = [text.rjust(wide) for text in column]
    return text_table(frame, heading)
