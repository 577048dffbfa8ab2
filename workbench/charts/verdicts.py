"""Tables of verdicts: words on colours."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from workbench.charts.layout import PAD, arrange, start, text_width, wrap
from workbench.charts.paper import WIDTHS, Chart, in_both_widths, settings
from workbench.charts.style import label
from workbench.charts.words import with_caption
from workbench.tables import COLUMNS, text_table


@in_both_widths
@settings
def matrix(
    table: pd.DataFrame,
    colours: Mapping[str, str],
    *,
    caption: str,
    texts: pd.DataFrame | None = None,
    title: str = "",
    corner: str = "",
    size: str = "two",
) -> tuple[Chart, str]:
    """Draw a table of verdicts: a row per design, a column per case, what came out as words on a colour.

    Parameters
    ----------
    table : DataFrame
        Index: designs, from top to bottom; columns: cases; cells: words.
    colours : mapping
        Word to colour (`VERDICTS`, `FOUND`): a cell takes that of the first word that it contains, or none.
    caption, title, size
        As in `lines`.
    texts : DataFrame, optional
        What is written in the cells in the place of the words, of the same shape. Being short, it stands in narrow
        columns with upright headings.
    corner : str, optional
        Heading of the designs.

    Returns
    -------
    figure, text : Chart, str
        For `save`. The text holds every cell.

    Raises
    ------
    ValueError
        An empty table, or more columns than the width has room for.
    """
    if table.empty:
        raise ValueError("no verdicts")
    fig, [ax] = start(size, title, caption)
    width = fig.get_figwidth() - 2 * PAD
    first = min(1.45 if texts is None else 2.4, 0.34 * width)
    edges = first + _edges(table if texts is None else texts, width - first, wide=texts is None)
    if (np.diff(edges) < (0.38 if texts is None else 0.27)).any():
        raise ValueError(f"{len(table.columns)} columns do not fit a width of {WIDTHS[size]} in")
    top = _matrix_heads(ax, table, edges, corner, upright=texts is not None)
    y = top
    pad = 0.06 if texts is None else 0.03
    shown = table if texts is None else texts
    for k, name in enumerate(table.index):
        label_ = wrap(label(str(name)), first - 0.08, 6.5)
        cells = [wrap(str(text), w - 2 * pad, 6.5) for text, w in zip(shown.iloc[k], np.diff(edges), strict=True)]
        tall = 0.112 * max(text.count("\n") + 1 for text in (label_, *cells)) + 0.1
        ax.text(0.04, y + tall / 2, label_, va="center", fontsize=6.5)
        for j, (text, word) in enumerate(zip(cells, table.iloc[k], strict=True)):
            colour = next((c for known, c in colours.items() if known in str(word)), "#FFFFFF")
            wide = edges[j + 1] - edges[j]
            ax.add_patch(Rectangle((edges[j], y), wide, tall, facecolor=colour, edgecolor="white", linewidth=1))
            ax.text(edges[j] + pad, y + tall / 2, text, va="center", fontsize=6.5)
        y += tall
    ax.set(xlim=(0, width), ylim=(y, 0))
    ax.set_axis_off()
    arrange(fig, [ax], y)
    text = _matrix_text(table, corner) if texts is None else _narrow_text(texts, corner)
    return fig, with_caption(title, text, caption)


def _edges(texts: pd.DataFrame, width: float, wide: bool) -> np.ndarray:
    """Edges of the columns: all alike; or, of words, with more room for what is longer."""
    heads = [1.6 * max(map(len, str(name).split())) for name in texts.columns]  # bold, and not to touch the next
    longest = np.maximum(heads, [texts[name].astype(str).str.len().max() for name in texts.columns])
    share = np.clip(longest, 9, 24) if wide else np.ones(len(longest))
    return np.concatenate([[0.0], np.cumsum(share)]) * width / share.sum()


def _matrix_heads(ax: Axes, table: pd.DataFrame, edges: np.ndarray, corner: str, upright: bool) -> float:
    """Write the headings; upright where columns are narrow. Returns where the first row begins."""
    wide = np.diff(edges)
    heads = [
        str(c) if upright else wrap(str(c), w - 0.1, 7, bold=True) for c, w in zip(table.columns, wide, strict=True)
    ]
    top = 0.08 + (
        max(text_width(head, 7, bold=True) for head in heads)
        if upright
        else 0.13 * max(head.count("\n") + 1 for head in heads)
    )
    ax.text(0.04, top - 0.04, corner, va="bottom", fontsize=7, weight="bold")
    for k, head in enumerate(heads):
        place = edges[k] + (wide[k] / 2 if upright else 0.05)
        look: dict[str, Any] = {"rotation": 90, "ha": "center"} if upright else {}
        ax.text(place, top - 0.04, head, va="bottom", fontsize=7, weight="bold", **look)
    return top


def _matrix_text(table: pd.DataFrame, corner: str) -> str:
    names = pd.DataFrame({corner: [label(str(n)) for n in table.index]})
    return text_table(pd.concat([names, table.reset_index(drop=True).astype(str)], axis=1))


def _narrow_text(texts: pd.DataFrame, corner: str) -> str:
    """Give the columns letters, so that all stand side by side; designs take the room that is left."""
    letters = [chr(ord("A") + k) for k in range(texts.shape[1])]
    columns = [[letter, *map(str, texts.iloc[:, k])] for k, letter in enumerate(letters)]
    widths = [max(map(len, column)) for column in columns]
    room = COLUMNS - sum(widths) - len(widths)
    lines = []
    for k, name in enumerate([corner, *(label(str(n)) for n in texts.index)]):
        head, *more = textwrap.wrap(name, room) or [""]
        row = " ".join(column[k].rjust(w) for column, w in zip(columns, widths, strict=True))
        lines += [f"{head:<{room}} {row}".rstrip(), *more]
    lines.insert(1, "-" * COLUMNS)
    legend = ", ".join(f"{letter} {name}" for letter, name in zip(letters, texts.columns, strict=True))
    return "\n".join(lines) + "\n\n" + textwrap.fill(legend, COLUMNS, break_on_hyphens=False)
