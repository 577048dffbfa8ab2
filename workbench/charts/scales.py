"""Ticks of an axis, by what is drawn along it."""

import math
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    MultipleLocator,
    NullFormatter,
    NullLocator,
)

from workbench.tables import carries_unit, number


def set_ticks(ax: Axes, which: str, values: np.ndarray, unit: str, log: bool, narrow: bool) -> None:
    """Give an axis, ``x`` or ``y``, its scale and its ticks, which suit what is drawn and its unit."""
    axis = getattr(ax, f"{which}axis")
    if log:
        getattr(ax, f"set_{which}scale")("log")
        axis.set_major_locator(_log_locator(values[values > 0], most=6 if narrow else 8))
        axis.set_minor_locator(NullLocator())
    elif unit in ("B", "B/s") and values.max(initial=0) > 0:
        axis.set_major_locator(MultipleLocator(2.0 ** math.ceil(math.log2(values.max() / 6))))
    else:
        axis.set_major_locator(MaxNLocator(nbins=4 if narrow and which == "x" else 6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, unit)))
    axis.set_minor_formatter(NullFormatter())


def tick(value: float, unit: str) -> str:
    """Write a number as ticks have it: with its unit if that is a time or a size."""
    text = number(value, unit)
    if unit != "1" and carries_unit(unit):
        text = re.sub(r"(?<=\d)(?=[A-Za-z])", " ", text).replace("us", "µs")
    return text.replace("-", "−")


def _log_locator(values: np.ndarray, most: int) -> Locator:
    places = np.unique(values)
    if not len(places) or places[-1] < 3 * places[0]:
        return MaxNLocator(nbins=4)
    if (np.log2(places) % 1 == 0).all() and places[-1] < places[0] * 2**16:
        every = -(-len(places) // most)
        return FixedLocator(places[::every].tolist())  # queue depths and sizes: as they were asked for
    decades = math.log10(places[-1] / places[0])
    subs = next((s for s in ((1.0, 2.0, 5.0), (1.0, 3.0)) if decades * len(s) < most), (1.0,))
    return LogLocator(base=10, subs=subs, numticks=most + 2)
