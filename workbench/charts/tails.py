"""Shares of samples above each value, and percentiles."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from workbench.charts.curves import handle, ladder
from workbench.charts.layout import add_legend, arrange, start
from workbench.charts.paper import Chart, in_both_widths, settings
from workbench.charts.scales import set_ticks
from workbench.charts.style import label, styles
from workbench.charts.words import axis_label, with_caption
from workbench.tables import text_table

_MARKS = {"p50": 5000, "p99": 9900, "p99.9": 9990, "p99.99": 9999}  # in ten-thousandths


def percentile(values: np.ndarray, counts: np.ndarray, share: int) -> float:
    """Find the smallest value that is not exceeded by a share of a sample (nearest rank, as fio does).

    Parameters
    ----------
    values, counts : ndarray
        Ascending values, and how often each came.
    share : int
        In ten-thousandths: 9990 is p99.9.

    Returns
    -------
    float
        NaN where fewer samples than one lie beyond it on average: 100 samples have no p99.9.
    """
    total = int(counts.sum())
    if total * (10000 - share) < 10000:
        return math.nan
    return float(values[np.searchsorted(np.cumsum(counts) * 10000, total * share)])


@in_both_widths
@settings
def ccdf(
    samples: Mapping[str, Any],
    *,
    caption: str,
    title: str = "",
    xlabel: str = "latency",
    xunit: str = "ns",
    size: str = "two",
) -> tuple[Chart, str]:
    """Draw the share of samples above each value, on log axes, with p50, p99, p99.9 and p99.99 marked.

    Parameters
    ----------
    samples : mapping
        By design, either an array of values, or a pair (values, counts): a histogram such as fio's.
    caption, title, xlabel, xunit, size
        As in `lines`.

    Returns
    -------
    figure, text : Chart, str
        For `save`. The text holds the number of samples, the percentiles and the largest value; a percentile
        for which there are too few samples is ``-`` and has no mark.

    Raises
    ------
    ValueError
        A design without samples, or a value that is not positive.
    """
    tallies = {name: _tally(name, samples[name]) for name in styles(samples)}
    largest = max(int(counts.sum()) for _, counts in tallies.values())
    floor = 0.7 / largest
    marks = {name: share for name, share in _MARKS.items() if largest * (10000 - share) >= 10000}
    fig, [ax] = start(size, title, caption)
    for name, share in marks.items():
        ax.axhline(1 - share / 1e4, color="#777777", linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
        ax.annotate(
            name,
            (1, 1 - share / 1e4),
            xycoords=("axes fraction", "data"),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
            color="#555555",
        )
    rows = []
    for (name, style), scale in zip(styles(samples).items(), ladder(len(samples)), strict=True):
        values, counts = tallies[name]
        x, above = _above(values, counts)
        ax.plot(
            x,
            np.maximum(above, floor / 10),
            drawstyle="steps-post",
            color=style.colour,
            linestyle=style.line,
            linewidth=2.0 * scale,
        )
        found = {mark: percentile(values, counts, share) for mark, share in _MARKS.items()}
        ax.plot(
            [found[mark] for mark in marks],
            [1 - share / 1e4 for share in marks.values()],
            linestyle="none",
            marker=style.marker,
            color=style.colour,
            markersize=7.0 * scale,
            markeredgecolor="white",
            markeredgewidth=0.3,
        )
        rows.append({"": label(name), "samples": int(counts.sum()), **found, "max": float(values[-1])})
    both = np.concatenate([values for values, _ in tallies.values()]).astype(float)
    set_ticks(ax, "x", both, xunit, True, size == "one")
    ax.set_yscale("log")
    ax.set_ylim(floor, 1.3)
    ax.yaxis.set_major_locator(LogLocator(base=10, numticks=12))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel(axis_label("", xlabel, xunit))
    ax.set_ylabel("share of samples above")
    legend = add_legend(fig, [handle(name, style) for name, style in styles(samples).items()])
    arrange(fig, [ax], 2.5 if size == "two" else 2.1, legend)
    units = dict.fromkeys([*_MARKS, "max"], xunit)
    return fig, with_caption(title, text_table(pd.DataFrame(rows), xlabel, units=units), caption)


def _tally(name: str, sample: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(sample, tuple):
        order = np.argsort(sample[0], kind="stable")
        values, counts = np.asarray(sample[0])[order], np.asarray(sample[1], np.int64)[order]
        values, counts = values[counts > 0], counts[counts > 0]
    else:
        values, counts = np.unique(np.asarray(sample), return_counts=True)
    if not len(values) or not values[0] > 0:
        raise ValueError(f"{name}: " + ("values must be positive" if len(values) else "no samples"))
    return values, counts


def _above(values: np.ndarray, counts: np.ndarray, grid: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Share above each value, from 1 below the first; points nearer than 1/200 of a decade are left out."""
    above = 1.0 - np.cumsum(counts) / counts.sum()
    above[-1] = 0.0
    x, y = np.append(values[0], values).astype(float), np.append(1.0, above)
    cell = np.stack([np.log10(x), np.log10(np.maximum(y, 0.1 / counts.sum()))]) * grid
    new = np.any(np.diff(np.floor(cell), axis=1, prepend=np.inf) != 0, axis=0)
    new[-1] = True
    return x[new], y[new]
