"""Every figure and its text sibling: the one package that touches matplotlib.

A helper takes tidy data and returns ``(figure, text)``; `save` writes both. A figure is drawn from
matplotlib's own defaults, its own fonts and the rules of `paper`, whatever the user's matplotlibrc, backend,
locale or screen, so that it comes out byte for byte the same when it is made again.
"""

from workbench.charts.bar_groups import bars
from workbench.charts.files import FORMATS, ONE_COLUMN, read_provenance, save
from workbench.charts.lanes import space_time
from workbench.charts.over_time import steps
from workbench.charts.paper import DPI, WIDTHS, Chart
from workbench.charts.points import against, lines
from workbench.charts.scales import tick
from workbench.charts.style import (
    FOUND,
    LABELS,
    STATES,
    STYLES,
    VERDICTS,
    Style,
    label,
    marker_outlines,
    state_colours,
    styles,
)
from workbench.charts.tails import ccdf, percentile
from workbench.charts.verdicts import matrix
from workbench.charts.words import caption

__all__ = [
    "DPI",
    "FORMATS",
    "FOUND",
    "LABELS",
    "ONE_COLUMN",
    "STATES",
    "STYLES",
    "VERDICTS",
    "WIDTHS",
    "Chart",
    "Style",
    "against",
    "bars",
    "caption",
    "ccdf",
    "label",
    "lines",
    "marker_outlines",
    "matrix",
    "percentile",
    "read_provenance",
    "save",
    "space_time",
    "state_colours",
    "steps",
    "styles",
    "tick",
]
