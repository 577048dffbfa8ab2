"""One quantity against another: lines between points, or points against a formula."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.charts.curves import line_figure
from workbench.charts.paper import Chart, in_both_widths, settings
from workbench.charts.style import Style
from workbench.charts.tidy import grouped, left_out, need, pivot, split_panels
from workbench.charts.words import axis_label, with_caption
from workbench.tables import unit_of


@in_both_widths
@settings
def lines(
    df: pd.DataFrame,
    x: str,
    y: str,
    *,
    caption: str,
    hue: str | None = "design",
    band: tuple[str, str] | None = None,
    band_name: str = "",
    panels: str | None = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    xunit: str | None = None,
    yunit: str | None = None,
    logx: bool = False,
    logy: bool = False,
    size: str = "two",
) -> tuple[Chart, str]:
    """Draw one quantity against another, a line per design.

    Parameters
    ----------
    df : DataFrame
        One row per point: no two with the same ``x``, ``hue`` and panel.
    x, y : str
        Columns.
    caption : str
        Stands under the figure; begins with *model* or *measured* (see `caption`).
    hue : str or None, optional
        Column that tells the lines apart; None for a single line.
    band : (str, str), optional
        Columns with the lower and the upper end of a band around each line.
    band_name : str, optional
        What the band is, such as ``95 % over 10 seeds``; by default its columns are named. Joins the caption.
    panels : str, optional
        Column by which the figure falls into panels side by side, or below each other in a narrow one: numbers in
        their order, names in the frame's.
    title, xlabel, ylabel : str, optional
        Labels come from `workbench.results.UNITS` where they are not given.
    xunit, yunit : str, optional
        Units, likewise. Times and sizes are written with theirs at the ticks, others in the label.
    logx, logy : bool, optional
        Logarithmic axes. What is not positive can't be drawn there: the caption then says what is left out.
    size : {'two', 'one'}, optional
        Width: 7.2 or 3.5 in.

    Returns
    -------
    figure, text : Chart, str
        For `save`. The text holds every point.

    Raises
    ------
    ValueError
        Columns that are not there, points that are there twice, a caption that does not say what it must.
    """
    need(df, x, y, hue, panels, *(band or ()))
    xunit, yunit = unit_of(x, xunit), unit_of(y, yunit)
    xlabel, ylabel = axis_label(x, xlabel, xunit), axis_label(y, ylabel, yunit)
    line = caption + (f" Band: {band_name or f'{band[0]} to {band[1]}'}." if band else "")
    line += left_out(df, hue, {x: logx, y: logy})

    count = len(grouped(df, hue))
    faint = 0.22 if count < 4 else 0.6 / count
    every = 3 if count > 4 and df[x].nunique() > 8 else 1  # else the last marker would hide the others

    def draw(ax: Axes, own: pd.DataFrame, style: Style, scale: float, place: int) -> None:
        own = own.sort_values(x)
        own = own[(own[x] > 0) | (not logx)]
        if band:
            ax.fill_between(own[x], own[band[0]], own[band[1]], color=style.colour, alpha=faint, linewidth=0)
        shown = own[y].where(own[y] > 0) if logy else own[y]
        ax.plot(
            own[x],
            shown,
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            markevery=(place % every, every),
            linewidth=2.0 * scale,
            markersize=6.5 * scale,
            markeredgecolor="white",
            markeredgewidth=0.3,
        )

    fig = line_figure(
        df,
        draw,
        x=(xlabel, xunit, logx),
        y=(ylabel, yunit, logy),
        hue=hue,
        panels=panels,
        title=title,
        line=line,
        size=size,
    )
    tables = [
        pivot(part, x, y, hue, band, xunit, yunit, f"{name}: {ylabel}, by {xlabel}".removeprefix(": "))
        for name, part in split_panels(df, panels)
    ]
    return fig, with_caption(title, "\n\n".join(tables), line)


@settings
def against(
    df: pd.DataFrame,
    x: str,
    y: str,
    formula: str,
    *,
    caption: str,
    ends: tuple[str, str],
    hue: str | None = "design",
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    logx: bool = False,
    logy: bool = False,
    size: str = "two",
) -> Chart:
    """Draw simulated points, each with its interval, and what a formula says as a curve.

    Parameters
    ----------
    df : DataFrame
        A row per point, and rows in which ``y`` is missing, which give the curve between them; a curve of fewer than
        two places is not drawn.
    x, y, formula : str
        Columns.
    caption : str
        Stands under the figure; begins with *model* or *measured* (see `caption`).
    ends : (str, str)
        Columns with the lower and the upper end of the interval.
    hue : str or None, optional
        Column that tells the curves apart.
    title, xlabel, ylabel : str, optional
    logx, logy : bool, optional
        Logarithmic axes; intervals that reach zero are cut off at the axis.
    size : {'two', 'one'}, optional
        Width: 7.2 or 3.5 in.

    Returns
    -------
    Chart
        The table that belongs to it is the caller's: it names the formula.
    """
    need(df, x, y, formula, hue, *ends)

    def draw(ax: Axes, own: pd.DataFrame, style: Style, scale: float, place: int) -> None:
        own = own.sort_values(x)
        between = own[own[y].isna()]
        ax.plot(between[x], between[formula], color=style.colour, linestyle=style.line, linewidth=1.1)
        points = own[own[y].notna()]
        around = np.abs(points[list(ends)].to_numpy(float).T - points[y].to_numpy(float))
        ax.errorbar(
            points[x],
            points[y],
            around,
            fmt=style.marker,
            color=style.colour,
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.3,
            elinewidth=0.9,
            capsize=1.8,
            capthick=0.9,
        )

    return line_figure(
        df,
        draw,
        x=(xlabel or axis_label(x, "", unit_of(x)), "1", logx),
        y=(ylabel or axis_label(y, "", unit_of(y)), "1", logy),
        hue=hue,
        panels=None,
        title=title,
        line=caption,
        size=size,
    )
