"""What holds from one event to the next, as steps over time."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.charts.curves import line_figure
from workbench.charts.paper import Chart, in_both_widths, settings
from workbench.charts.style import Style, label
from workbench.charts.tidy import grouped, left_out, need, split_panels
from workbench.charts.words import axis_label, with_caption
from workbench.tables import text_table, unit_of


@in_both_widths
@settings
def steps(
    df: pd.DataFrame,
    x: str,
    y: str,
    *,
    caption: str,
    hue: str | None = "design",
    panels: str | None = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    xunit: str | None = "ns",
    yunit: str | None = None,
    logy: bool = False,
    size: str = "two",
) -> tuple[Chart, str]:
    """Draw what holds from one event to the next, such as live ranges over time.

    Parameters
    ----------
    df : DataFrame
        One row per change: time, new value, design; any order. A long series is thinned to what the eye can
        tell.
    x, y : str
        Columns of time and value.
    caption, hue, panels, title, xlabel, ylabel, xunit, yunit, logy, size
        As in `lines`; time is in ns unless told.

    Returns
    -------
    figure, text : Chart, str
        For `save`. The text holds, for each design, the value at the start, its mean over time, its largest,
        and that at the end.

    Raises
    ------
    ValueError
        As `lines`.
    """
    need(df, x, y, hue, panels)
    xunit, yunit = unit_of(x, xunit), unit_of(y, yunit)
    xlabel, ylabel = axis_label(x, xlabel, xunit), axis_label(y, ylabel, yunit)
    line = caption + left_out(df, hue, {y: logy})

    count = len(grouped(df, hue))

    def draw(ax: Axes, own: pd.DataFrame, style: Style, scale: float, place: int) -> None:
        own = own.sort_values(x, kind="stable")
        times, values = _thin(own[x].to_numpy(float), own[y].to_numpy(float))
        values = np.where(values > 0, values, np.nan) if logy else values
        marked = (np.arange(5) + (place + 0.5) / count) / 5 * times.max(initial=0.0)
        ax.plot(
            times,
            values,
            drawstyle="steps-post",
            color=style.colour,
            linestyle=style.line,
            linewidth=1.8 * scale,
        )
        shown = np.unique(np.searchsorted(times[1:], marked))
        ax.plot(
            times[shown],
            values[shown],
            linestyle="none",
            color=style.colour,
            marker=style.marker,
            markersize=7.0 * max(scale, 0.7),
            markeredgecolor="white",
            markeredgewidth=0.5,
            zorder=4,
        )

    fig = line_figure(
        df,
        draw,
        x=(xlabel, xunit, False),
        y=(ylabel, yunit, logy),
        hue=hue,
        panels=panels,
        title=title,
        line=line,
        size=size,
    )
    tables = []
    for name, part in split_panels(df, panels):
        rows = [
            {"": label(group) or y, **_over_time(own.sort_values(x, kind="stable"), x, y)}
            for group, (_, own) in grouped(part, hue).items()
        ]
        units = dict.fromkeys(("start", "mean", "max", "end"), yunit)
        heading = f"{name}: {ylabel}, over time".removeprefix(": ")
        tables.append(text_table(pd.DataFrame(rows), heading, units=units))
    return fig, with_caption(title, "\n\n".join(tables), line)


def _over_time(own: pd.DataFrame, x: str, y: str) -> dict[str, float]:
    times, values = own[x].to_numpy(float), own[y].to_numpy(float)
    lasted = np.diff(times)
    mean = float(np.sum(values[:-1] * lasted) / lasted.sum()) if lasted.sum() > 0 else float(values.mean())
    return {"start": values[0], "mean": mean, "max": values.max(), "end": values[-1]}


def _thin(times: np.ndarray, values: np.ndarray, bins: int = 700) -> tuple[np.ndarray, np.ndarray]:
    """Keep, of a long series, the first, last, least and largest value in each of so many spans of time."""
    if len(times) <= 4 * bins or times[-1] <= times[0]:
        return times, values
    which = np.minimum((times - times[0]) / (times[-1] - times[0]) * bins, bins - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(which, prepend=-1))
    ends = np.append(starts[1:], len(times))
    spans = [(a, b, a + values[a:b].argmin(), a + values[a:b].argmax()) for a, b in zip(starts, ends, strict=True)]
    keep = np.unique([index for a, b, low, high in spans for index in (a, b - 1, low, high)])
    return times[keep], values[keep]
