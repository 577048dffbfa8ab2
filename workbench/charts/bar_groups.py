"""Bars: groups side by side, or one lying bar per design."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from workbench.charts.layout import add_legend, arrange, start
from workbench.charts.paper import Chart, in_both_widths, settings
from workbench.charts.scales import set_ticks, tick
from workbench.charts.style import Style, label
from workbench.charts.tidy import grouped, left_out, need, pivot
from workbench.charts.words import axis_label, with_caption
from workbench.tables import text_table, unit_of


@in_both_widths
@settings
def bars(
    df: pd.DataFrame,
    x: str,
    y: str,
    *,
    caption: str,
    hue: str | None = "design",
    band: tuple[str, str] | None = None,
    band_name: str = "",
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    yunit: str | None = None,
    logy: bool = False,
    size: str = "two",
) -> tuple[Chart, str]:
    """Draw bars: groups side by side, or, with ``x == hue``, one lying bar per design with its value.

    Parameters
    ----------
    df : DataFrame
        One row per bar. Groups stand in the order of the frame.
    x, y : str
        Columns of the group and of the length.
    band : (str, str), optional
        Columns with the ends of an error bar; ``band_name`` says what it is.
    caption, hue, band_name, title, xlabel, ylabel, yunit, logy, size
        As in `lines`.

    Returns
    -------
    figure, text : Chart, str
        For `save`. The text holds every bar.

    Raises
    ------
    ValueError
        As `lines`.
    """
    need(df, x, y, hue, *(band or ()))
    yunit = unit_of(y, yunit)
    ylabel = axis_label(y, ylabel, yunit)
    line = caption + (f" Error bars: {band_name or f'{band[0]} to {band[1]}'}." if band else "")
    line += left_out(df, hue, {y: logy})
    fig, [ax] = start(size, title, line)
    lying = x == hue
    groups = grouped(df, hue)
    places = [""] if lying else list(dict.fromkeys(df[x]))
    if df.duplicated([x] + ([hue] if hue else [])).any():
        raise ValueError(f"more than one {y} at the same {x}: aggregate first")
    thick = 0.84 / (1 if lying else len(groups))
    whisker = {"elinewidth": 0.8, "capsize": 1.5, "ecolor": "#707070"}
    for k, (style, own) in enumerate(groups.values()):
        at = [k] if lying else [places.index(v) + (k + 0.5) * thick - 0.42 for v in own[x]]
        ends = np.abs(own[list(band)].to_numpy(float).T - own[y].to_numpy(float)) if band else None
        look: dict[str, Any] = {**_fill(style), "error_kw": whisker}
        if lying:
            made = ax.barh(at, own[y], thick, xerr=ends, **look)
            ax.bar_label(made, [tick(v, yunit) for v in own[y]], padding=3, fontsize=6.5)
        else:
            ax.bar(at, own[y], thick * 0.94, yerr=ends, **look)
    set_ticks(ax, "x" if lying else "y", df[y].to_numpy(float), yunit, logy, size == "one")
    if lying:
        ax.set_yticks(range(len(groups)), [label(name) for name in groups])
        ax.invert_yaxis()
        ax.margins(x=0.1)
        ax.grid(False, axis="y")
        ax.set_xlabel(ylabel)
    else:
        ax.set_xticks(range(len(places)), [str(place) for place in places])
        ax.grid(False, axis="x")
        ax.set_xlabel(axis_label(x, xlabel, ""))
        ax.set_ylabel(ylabel)
    handles = [Rectangle((0, 0), 1, 1, label=label(n), **_fill(style)) for n, (style, _) in groups.items()]
    tall = 0.17 * len(groups) + 0.1 if lying else 2.3
    arrange(fig, [ax], tall, None if lying else add_legend(fig, handles))
    return fig, with_caption(title, _bar_table(df, x, y, hue, band, yunit, ylabel, xlabel or x), line)


def _fill(style: Style) -> dict[str, Any]:
    return {"facecolor": style.colour, "hatch": style.hatch * 2, "edgecolor": "white", "linewidth": 0.4}


def _bar_table(
    df: pd.DataFrame,
    x: str,
    y: str,
    hue: str | None,
    band: tuple[str, str] | None,
    yunit: str,
    ylabel: str,
    xlabel: str,
) -> str:
    if x != hue:
        return pivot(df, x, y, hue, band, "1", yunit, f"{ylabel}, by {xlabel}")
    rows = [own.iloc[0] for _, own in grouped(df, hue).values()]
    frame = pd.DataFrame({"": [label(str(r[x])) for r in rows], "value": [float(r[y]) for r in rows]})
    for name, end in zip(("low", "high"), band or (), strict=False):
        frame[name] = [float(r[end]) for r in rows]
    return text_table(frame, ylabel, units=dict.fromkeys(frame.columns[1:], yunit))
