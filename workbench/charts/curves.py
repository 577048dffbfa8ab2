"""What all figures with curves have in common: panels, axes, a curve per design, the legend."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from workbench.charts.layout import add_legend, arrange, start
from workbench.charts.paper import Chart
from workbench.charts.scales import set_ticks
from workbench.charts.style import Style, label
from workbench.charts.tidy import grouped, split_panels


def line_figure(
    df: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame, Style, float, int], None],
    *,
    x: tuple[str, str, bool],
    y: tuple[str, str, bool],
    hue: str | None,
    panels: str | None,
    title: str,
    line: str,
    size: str,
) -> Chart:
    """Draw every group of every panel; ``x`` and ``y`` are (label, unit, log) each."""
    parts = split_panels(df, panels)
    fig, axes = start(size, title, line, len(parts))
    everyone = grouped(df, hue)
    scale = dict(zip(everyone, ladder(len(everyone)), strict=True))
    for ax, (name, part) in zip(axes, parts, strict=True):
        for k, (group, (style, _)) in enumerate(everyone.items()):
            own = part if hue is None else part[part[hue].map(str) == group]
            draw(ax, own, style, scale[group], k)
        ax.set_title(name, fontsize=7.5, fontweight="normal")
        ax.set_xlabel(x[0])
        set_ticks(ax, "x", _drawn([ax], "x"), x[1], x[2], size == "one" or len(parts) > 1)
    for ax in axes:
        set_ticks(ax, "y", _drawn(axes, "y"), y[1], y[2], size == "one" or len(parts) > 1)
        if not y[2]:
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]) if ax.dataLim.y0 < 0 else 0)
    stacked = size == "one"
    for ax in axes if stacked else axes[:1]:
        ax.set_ylabel(y[0])
    low, high = min(ax.get_ylim()[0] for ax in axes), max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(low, high)
        ax.tick_params(labelleft=stacked or ax is axes[0])
        if stacked and ax is not axes[-1]:
            ax.set_xlabel("")
    legend = add_legend(fig, [handle(name, style) for name, (style, _) in everyone.items()])
    arrange(fig, axes, 2.3 if size == "two" else 1.9 if len(axes) == 1 else 1.4, legend)
    return fig


def _drawn(axes: Sequence[Axes], which: str) -> np.ndarray:
    """Finite coordinates of all lines of some panels."""
    found = [np.asarray(getattr(curve, f"get_{which}data")(), float) for ax in axes for curve in ax.lines]
    values = np.concatenate([np.empty(0), *found])
    return values[np.isfinite(values)]


def handle(name: str, style: Style) -> Line2D:
    """Make a design's entry for the legend."""
    return Line2D(
        [],
        [],
        color=style.colour,
        marker=style.marker,
        linestyle=style.line,
        markersize=4.5,
        linewidth=1.3,
        label=label(name),
    )


def ladder(count: int) -> np.ndarray:
    """Scale line widths and markers down from the first to the last, so that no line hides one below it."""
    return np.linspace(1.0, 0.5, count) if count > 1 else np.array([0.75])
