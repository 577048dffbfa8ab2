"""Every figure and its text sibling: the one module that touches matplotlib.

A helper takes tidy data and returns ``(figure, text)``; `save` writes both. A figure is drawn from
matplotlib's own defaults, its own fonts and the rules below, whatever the user's matplotlibrc, backend,
locale or screen, so that it comes out byte for byte the same when it is made again.
"""

import functools
import hashlib
import io
import json
import math
import os
import re
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import FancyBboxPatch, Rectangle
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
from matplotlib.transforms import Affine2D
from PIL import Image

from workbench.counterexample import events as in_words
from workbench.counterexample import lay_out
from workbench.provenance import SOFTWARE, plain
from workbench.results import UNITS
from workbench.tables import COLUMNS, carries_unit, number, text_table, unit_of
from workbench.verdict import TraceStep

WIDTHS = {"one": 3.5, "two": 7.2}  # inches: a single column of a page, or both
DPI = 200
FORMATS = ("svg", "pdf", "png")
ONE_COLUMN = "one-column"  # folder beside wide figures: the same figures, of the width "one"


class Style(NamedTuple):
    """How a design is drawn, wherever it is drawn: a colour, and cues for those who can't tell colours."""

    colour: str
    marker: str
    line: Any
    hatch: str = ""


# Colours: Okabe and Ito, "Color Universal Design" (2008), without the yellow that vanishes on white. Colour
# says which tracker; among the virtual VMAs, line style says how ranges are released.
_DASHED, _DOTTED, _DASHDOT = (0, (5, 1.6)), (0, (1.2, 1.3)), (0, (6, 1.5, 1.2, 1.5))
STYLES: dict[str, Style] = {
    "none": Style("#000000", "o", "-", ""),
    "flag-sticky": Style("#56B4E9", "p", _DASHDOT, "xx"),
    "flag": Style("#E69F00", "^", _DASHED, "//"),
    "lru-count": Style("#009E73", "s", "-", "\\\\"),
    "vma-full:release=split": Style("#D55E00", "v", "-", "--"),
    "vma-full:release=count": Style("#D55E00", "<", _DASHED, "++"),
    "vma-full:release=backpointer": Style("#D55E00", ">", _DOTTED, "||"),
    "vma-common:release=split": Style("#0072B2", "P", "-", "/-"),
    "vma-common:release=count": Style("#0072B2", "X", _DASHED, "x-"),
    "vma-common:release=backpointer": Style("#0072B2", "*", _DOTTED, "\\\\|"),
    "bias": Style("#CC79A7", "D", "-", "x|"),
}
LABELS: dict[str, str] = {
    "none": "none (v4.17)",
    "vma-full:release=split": "vma-full split",
    "vma-full:release=count": "vma-full count",
    "vma-full:release=backpointer": "vma-full backpointer",
    "vma-common:release=split": "vma-common split",
    "vma-common:release=count": "vma-common count",
    "vma-common:release=backpointer": "vma-common backpointer",
}
_FURTHER = [
    Style(colour, marker, line, hatch)
    for line, hatch in (("-", "//"), (_DASHED, "||"), (_DOTTED, "xx"), (_DASHDOT, "--"))
    for colour in ("#999999", "#661100", "#117733", "#332288", "#AA4499", "#6F6A00", "#44AA99")
    for marker in ("h", "8", "d", "H")
]

# What colours a page's state in a space-time diagram; a state takes the first entry whose word it contains.
STATES = {
    "bug": "#D55E00",
    "lost": "#D55E00",
    "truncated": "#D8A8A0",
    "no buffers": "#F0B088",
    "writeback": "#9CCBEA",
    "dirty": "#F7D48B",
    "newer": "#DDE08C",
    "clean": "#A9DDCB",
}
# What colours a cell of a matrix: from what breaks the machine or the data, to what merely takes time.
VERDICTS = {
    "BUG": "#E69A6B",
    "lost": "#F0B088",
    "stuck": "#C9B8DE",
    "never": "#C9B8DE",
    "unstable": "#F7D48B",
    "stale": "#F4EDA0",
    "waits": "#BFE0F2",
    "intact": "#C5E8DB",
}
# The same for what `explore` says.
FOUND = {
    "unreachable": "#C5E8DB",
    "reachable": "#E69A6B",
    "unknown": "#F4EDA0",
    "not applicable": "#EEEEEE",
}
_HAZARD = "#B03000"  # edge and name of a hazard
_OTHER_STATES = ("#E6C3D8", "#F4EDA0", "#CFCFE8", "#DDDDDD", "#C9B79C", "#B7E0E0")

_FONT = "DejaVu Sans of matplotlib"


def _pin_fonts() -> None:
    """Name matplotlib's own files, since "DejaVu Sans" may be another version's, found on the system."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for file, weight in (("DejaVuSans.ttf", 400), ("DejaVuSans-Bold.ttf", 700)):
        entry = font_manager.FontEntry(fname=str(folder / file), name=_FONT, weight=weight)
        font_manager.fontManager.ttflist.append(entry)


_pin_fonts()
_RC: Any = {
    **{key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")},
    "font.family": [_FONT],
    "font.size": 7.5,
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E2E2E2",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 3.0,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": SOFTWARE,
    "pdf.fonttype": 42,
    "pdf.compression": 0,  # another zlib would give other bytes
}
# Around every function that makes or writes a figure; the caller's settings are left alone.
_settings = matplotlib.rc_context(_RC)


class Chart(Figure):
    """A figure that JupyterLab shows by itself, without pyplot."""

    narrow: Callable[[], "Chart"] | None = None
    """Draws a wide figure again, of one column's width."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return _render(self, "png"), {"width": round(self.get_figwidth() * 120)}


Helper = Callable[..., tuple[Chart, str]]


def _in_both_widths(helper: Helper) -> Helper:
    """Have a wide figure remember how it was made, so that `save` can draw it for one column too."""

    @functools.wraps(helper)
    def draw(*args: Any, **settings: Any) -> tuple[Chart, str]:
        fig, text = helper(*args, **settings)
        if settings.get("size", "two") == "two":
            fig.narrow = lambda: helper(*args, **{**settings, "size": "one"})[0]
        return fig, text

    return draw


# ---------------------------------------------------------------------------------------------------------
# Words


def _axis_label(column: str, label: str, unit: str) -> str:
    label = label or (UNITS[column].text if column in UNITS else column.replace("_", " "))
    return label if carries_unit(unit) or "[" in label else f"{label} [{unit}]"


def caption(kind: str, costs: Any = None, text: str = "") -> str:
    """Write the line under a figure: where its numbers come from.

    Parameters
    ----------
    kind : str
        ``model`` or ``measured``.
    costs : object or mapping, optional
        The cost table, with a ``name`` and a ``provenance``; none where only counts are shown.
    text : str, optional
        What else is to be said.

    Returns
    -------
    str
        Fit for the ``caption`` of every helper.

    Raises
    ------
    ValueError
        Another kind.
    """
    if kind not in ("model", "measured"):
        raise ValueError(f"a caption says 'model' or 'measured', not {kind!r}")
    if costs is not None:
        table = costs if isinstance(costs, Mapping) else {k: getattr(costs, k) for k in ("name", "provenance")}
        told = f"cost table {table['name']} ({plain(table['provenance'])})"
    else:
        told = "exact counts, no cost table" if kind == "model" else "no cost table"
    return f"{kind.capitalize()}; {told}. {text}".strip()


def _with_caption(title: str, table: str, line: str) -> str:
    return "\n\n".join(part for part in (textwrap.fill(title, COLUMNS), table, textwrap.fill(line, COLUMNS)) if part)


# ---------------------------------------------------------------------------------------------------------
# Which design is drawn how


def styles(designs: Iterable[str]) -> dict[str, Style]:
    """Give every design of a figure a style of its own.

    Parameters
    ----------
    designs : iterable of str
        Names of trackers or presets, or designs in parts (``tracker=bias,cleaning=skip``).

    Returns
    -------
    dict
        In the order in which they are drawn. A tracker of `STYLES` is the same in all figures, and so is a
        design in parts by its tracker, unless the figure holds two with that tracker; others get a style by a
        hash of their name, in a colour that the figure does not have yet.

    Raises
    ------
    ValueError
        There are not so many styles.
    """
    names = sorted(dict.fromkeys(designs), key=_order)
    done = {name: STYLES[name] for name in names if name in STYLES}
    for name in names:
        tracker = _tracker(name)
        if name not in done and tracker in STYLES and STYLES[tracker] not in done.values():
            done[name] = STYLES[tracker]
    for name in names:
        start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        tries = (_FURTHER[(start + k) % len(_FURTHER)] for k in range(len(_FURTHER)))
        if name not in done:
            used = {style.colour for style in done.values()}
            free = sorted((style for style in tries if style not in done.values()), key=lambda s: s.colour in used)
            if not free:
                raise ValueError(f"{len(names)} designs are too many for one figure")
            done[name] = free[0]
    return {name: done[name] for name in names}


def label(design: str) -> str:
    """Name a design as figures and tables do."""
    return LABELS.get(design, design)


@functools.cache
def marker_outlines(marker: str) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Give the outlines of a marker for who draws it without matplotlib.

    Parameters
    ----------
    marker : str
        As in `Style`.

    Returns
    -------
    tuple of polygons
        Each a tuple of points (x, y); the marker is about 1 wide, around (0, 0), and y goes down.
    """
    made = MarkerStyle(marker)
    path = made.get_path().transformed(made.get_transform() + Affine2D().scale(100))  # curves become fine polygons
    return tuple(tuple((x / 100, -y / 100) for x, y in np.asarray(points).tolist()) for points in path.to_polygons())


def _tracker(design: str) -> str:
    found = re.search(r"(?:^|,)tracker=([^,]+)", design)
    return found[1] if found else design


def _order(name: str) -> tuple[float, float, str]:
    known = list(STYLES)
    place = known.index(_tracker(name)) if _tracker(name) in STYLES else len(known)
    try:
        return place, float(name), name
    except ValueError:
        return place, 0.0, name


def _groups(df: pd.DataFrame, hue: str | None) -> dict[str, tuple[Style, pd.DataFrame]]:
    if hue is None:
        return {"": (Style("#0072B2", "o", "-"), df)}
    names = df[hue].map(str)
    return {name: (style, df[names == name]) for name, style in styles(names).items()}


# ---------------------------------------------------------------------------------------------------------
# Paper: sizes and places, in inches


_PAD = 0.06


def _text_width(text: str, points: float, bold: bool = False) -> float:
    font = font_manager.get_font(font_manager.findfont(_properties(bold)))
    font.set_size(points, DPI)
    font.set_text(text)
    return 1.02 * font.get_width_height()[0] / 64 / DPI  # hints make it differ a little from format to format


def _properties(bold: bool) -> font_manager.FontProperties:
    return font_manager.FontProperties(family=[_FONT], weight="bold" if bold else "normal")


def _wrap(text: str, inches: float, points: float, bold: bool = False) -> str:
    """Break a text into lines by its drawn width: at blanks, and within a name only where it is too long."""

    def fits(piece: str) -> bool:
        return _text_width(piece, points, bold) <= inches

    lines = [""]
    for word in text.split():
        pieces = [word] if fits(word) else re.split(r"(?<=[-_/=:,])(?=\w)|(?<=\()(?!\))", word)
        for k, piece in enumerate(pieces):
            longer = lines[-1] + (" " if k == 0 and lines[-1] else "") + piece
            if lines[-1] and not fits(longer):
                lines.append(piece)
            else:
                lines[-1] = longer
    return "\n".join(lines)


def _start(size: str, title: str, line: str, panels: int = 1) -> tuple[Chart, list[Axes]]:
    if size not in WIDTHS:
        raise ValueError(f"size {size!r}: there are 'one' (3.5 in) and 'two' (7.2 in)")
    if not re.match(r"(?i)(model|measured)\b", line):
        raise ValueError("the caption must begin with 'model' or 'measured'; charts.caption() writes it")
    fig = Chart(figsize=(WIDTHS[size], 3), dpi=DPI)
    axes = [fig.add_axes((0, 0, 1, 1), label=str(k)) for k in range(panels)]
    room = WIDTHS[size] - 2 * _PAD
    title = _wrap(title, room, 8.5, bold=True)
    fig.text(0, 0, title, gid="title", va="top", weight="bold", fontsize=8.5)
    fig.text(0, 0, _wrap(line, room, 6.5), gid="caption", va="bottom", fontsize=6.5, color="#444444")
    return fig, axes


def _extent(fig: Figure, artist: Any) -> tuple[float, float]:
    box = artist.get_window_extent(FigureCanvasAgg(fig).get_renderer())
    return box.width / fig.dpi, box.height / fig.dpi


def _margins(fig: Figure, ax: Axes) -> np.ndarray:
    """Room that ticks, labels and titles take around an axes: left, right, bottom, top."""
    outer = ax.get_tightbbox(FigureCanvasAgg(fig).get_renderer())
    assert outer is not None  # the axes is visible
    inner = ax.get_window_extent()
    around = (inner.x0 - outer.x0, outer.x1 - inner.x1, inner.y0 - outer.y0, outer.y1 - inner.y1)
    return np.array(around) / fig.dpi


def _arrange(fig: Figure, axes: Sequence[Axes], height: float, legend: Legend | None = None) -> None:
    """Place title, axes, legend and caption so that none overlaps; the figure grows downwards.

    Axes stand in a row, or below each other in a narrow figure.
    """
    width = fig.get_figwidth()
    title, note = (next(t for t in fig.texts if t.get_gid() == gid) for gid in ("title", "caption"))
    top = _extent(fig, title)[1] + _PAD if title.get_text() else 0.0
    side, below = _extent(fig, legend) if legend else (0.0, 0.0)
    beside = width > WIDTHS["one"]
    side, under = (side + 2 * _PAD, 0.0) if beside and legend else (0.0, below)
    foot = _extent(fig, note)[1] + 2 * _PAD
    under += 2 * _PAD if under else 0.0
    stacked = not beside and len(axes) > 1
    for _ in range(3):  # ticks, and so the margins, depend on the size of the axes
        margins = np.array([_margins(fig, ax) for ax in axes])
        each = (width - 2 * _PAD - side - margins[:, :2].sum() - 3 * _PAD * (len(axes) - 1)) / len(axes)
        up, down = margins[:, 3].max(), margins[:, 2].max()
        if stacked:
            total = _stack(fig, axes, margins, height, above=top, below=foot + under)
            continue
        total = _PAD + top + up + max(height, below if beside else 0) + down + under + foot + _PAD
        fig.set_size_inches(width, total)
        x, y = _PAD, foot + under + down
        for ax, (left, right, *_) in zip(axes, margins, strict=True):
            ax.set_position(((x + left) / width, y / total, each / width, height / total))
            x += left + each + right + 3 * _PAD
    title.set_position((_PAD / width, 1 - _PAD / total))
    note.set_position((_PAD / width, _PAD / total))
    if legend and beside:
        legend.set_bbox_to_anchor(((width - side + _PAD) / width, (y + height) / total))
    elif legend:
        legend.set_bbox_to_anchor((_PAD / width, (foot + below) / total))


def _stack(
    fig: Figure, axes: Sequence[Axes], margins: np.ndarray, height: float, *, above: float, below: float
) -> float:
    """Place axes below each other, of one width; returns the height of the figure."""
    width = fig.get_figwidth()
    left, right, *_ = margins.max(axis=0)
    total = below + above + 2 * _PAD + len(axes) * height + margins[:, 2:].sum() + 2 * _PAD * (len(axes) - 1)
    fig.set_size_inches(width, total)
    y = total - above - _PAD
    for ax, (_, _, down, up) in zip(axes, margins, strict=True):
        y -= up + height
        ax.set_position(((_PAD + left) / width, y / total, (width - 2 * _PAD - left - right) / width, height / total))
        y -= down + 2 * _PAD
    return total


def _legend(fig: Figure, handles: Sequence[Any]) -> Legend | None:
    """Stand beside a wide figure, or in as many columns as there is room for below a narrow one."""
    if not handles or (len(handles) == 1 and not handles[0].get_label()):
        return None
    width = fig.get_figwidth()
    for columns in (1,) if width > WIDTHS["one"] else (4, 3, 2, 1):
        made = fig.legend(
            handles=handles, loc="upper left", ncols=columns, borderaxespad=0, borderpad=0, columnspacing=1.0
        )
        if columns == 1 or _extent(fig, made)[0] <= width - 2 * _PAD:
            return made
        made.remove()
    return None


def _handle(name: str, style: Style) -> Line2D:
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


def _ladder(count: int) -> np.ndarray:
    """Scale line widths and markers down from the first to the last, so that no line hides one below it."""
    return np.linspace(1.0, 0.5, count) if count > 1 else np.array([0.75])


def _ticks(ax: Axes, which: str, values: np.ndarray, unit: str, log: bool, narrow: bool) -> None:
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


def _need(df: pd.DataFrame, *columns: str | None) -> None:
    for column in columns:
        if column is not None and column not in df.columns:
            raise ValueError(f"no column {column!r}; there are: {', '.join(map(str, df.columns))}")


def _panels(df: pd.DataFrame, by: str | None) -> list[tuple[str, pd.DataFrame]]:
    if by is None:
        return [("", df)]
    places = dict.fromkeys(df[by])
    ordered = sorted(places) if pd.api.types.is_numeric_dtype(df[by]) else places
    return [(str(value), df[df[by] == value]) for value in ordered]


# ---------------------------------------------------------------------------------------------------------
# The figures


def _drawn(axes: Sequence[Axes], which: str) -> np.ndarray:
    """Finite coordinates of all lines of some panels."""
    found = [np.asarray(getattr(curve, f"get_{which}data")(), float) for ax in axes for curve in ax.lines]
    values = np.concatenate([np.empty(0), *found])
    return values[np.isfinite(values)]


def _line_figure(
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
    parts = _panels(df, panels)
    fig, axes = _start(size, title, line, len(parts))
    everyone = _groups(df, hue)
    scale = dict(zip(everyone, _ladder(len(everyone)), strict=True))
    for ax, (name, part) in zip(axes, parts, strict=True):
        for k, (group, (style, _)) in enumerate(everyone.items()):
            own = part if hue is None else part[part[hue].map(str) == group]
            draw(ax, own, style, scale[group], k)
        ax.set_title(name, fontsize=7.5, fontweight="normal")
        ax.set_xlabel(x[0])
        _ticks(ax, "x", _drawn([ax], "x"), x[1], x[2], size == "one" or len(parts) > 1)
    for ax in axes:
        _ticks(ax, "y", _drawn(axes, "y"), y[1], y[2], size == "one" or len(parts) > 1)
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
    legend = _legend(fig, [_handle(name, style) for name, (style, _) in everyone.items()])
    _arrange(fig, axes, 2.3 if size == "two" else 1.9 if len(axes) == 1 else 1.4, legend)
    return fig


@_in_both_widths
@_settings
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
    _need(df, x, y, hue, panels, *(band or ()))
    xunit, yunit = unit_of(x, xunit), unit_of(y, yunit)
    xlabel, ylabel = _axis_label(x, xlabel, xunit), _axis_label(y, ylabel, yunit)
    line = caption + (f" Band: {band_name or f'{band[0]} to {band[1]}'}." if band else "")
    line += _left_out(df, hue, {x: logx, y: logy})

    count = len(_groups(df, hue))
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

    fig = _line_figure(
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
        _pivot(part, x, y, hue, band, xunit, yunit, f"{name}: {ylabel}, by {xlabel}".removeprefix(": "))
        for name, part in _panels(df, panels)
    ]
    return fig, _with_caption(title, "\n\n".join(tables), line)


@_settings
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
    _need(df, x, y, formula, hue, *ends)

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

    return _line_figure(
        df,
        draw,
        x=(xlabel or _axis_label(x, "", unit_of(x)), "1", logx),
        y=(ylabel or _axis_label(y, "", unit_of(y)), "1", logy),
        hue=hue,
        panels=None,
        title=title,
        line=caption,
        size=size,
    )


def _left_out(df: pd.DataFrame, hue: str | None, log: Mapping[str, bool]) -> str:
    """Say which points a logarithmic axis can't show."""
    columns = [column for column in log if log[column]]
    hidden = df[(df[columns] <= 0).any(axis=1)]
    if hidden.empty:
        return ""
    whose = "" if hue is None else " of " + ", ".join(label(n) for n in styles(hidden[hue].map(str)))
    return f" Being 0, not on the log axis: {len(hidden)} points{whose}."


def _pivot(
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
    groups = _groups(df, hue)
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


@_in_both_widths
@_settings
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
    _need(df, x, y, hue, panels)
    xunit, yunit = unit_of(x, xunit), unit_of(y, yunit)
    xlabel, ylabel = _axis_label(x, xlabel, xunit), _axis_label(y, ylabel, yunit)
    line = caption + _left_out(df, hue, {y: logy})

    count = len(_groups(df, hue))

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

    fig = _line_figure(
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
    for name, part in _panels(df, panels):
        rows = [
            {"": label(group) or y, **_over_time(own.sort_values(x, kind="stable"), x, y)}
            for group, (_, own) in _groups(part, hue).items()
        ]
        units = dict.fromkeys(("start", "mean", "max", "end"), yunit)
        heading = f"{name}: {ylabel}, over time".removeprefix(": ")
        tables.append(text_table(pd.DataFrame(rows), heading, units=units))
    return fig, _with_caption(title, "\n\n".join(tables), line)


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


@_in_both_widths
@_settings
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
    fig, [ax] = _start(size, title, caption)
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
    for (name, style), scale in zip(styles(samples).items(), _ladder(len(samples)), strict=True):
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
    _ticks(ax, "x", both, xunit, True, size == "one")
    ax.set_yscale("log")
    ax.set_ylim(floor, 1.3)
    ax.yaxis.set_major_locator(LogLocator(base=10, numticks=12))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel(_axis_label("", xlabel, xunit))
    ax.set_ylabel("share of samples above")
    legend = _legend(fig, [_handle(name, style) for name, style in styles(samples).items()])
    _arrange(fig, [ax], 2.5 if size == "two" else 2.1, legend)
    units = dict.fromkeys([*_MARKS, "max"], xunit)
    return fig, _with_caption(title, text_table(pd.DataFrame(rows), xlabel, units=units), caption)


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


@_in_both_widths
@_settings
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
    _need(df, x, y, hue, *(band or ()))
    yunit = unit_of(y, yunit)
    ylabel = _axis_label(y, ylabel, yunit)
    line = caption + (f" Error bars: {band_name or f'{band[0]} to {band[1]}'}." if band else "")
    line += _left_out(df, hue, {y: logy})
    fig, [ax] = _start(size, title, line)
    lying = x == hue
    groups = _groups(df, hue)
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
    _ticks(ax, "x" if lying else "y", df[y].to_numpy(float), yunit, logy, size == "one")
    if lying:
        ax.set_yticks(range(len(groups)), [label(name) for name in groups])
        ax.invert_yaxis()
        ax.margins(x=0.1)
        ax.grid(False, axis="y")
        ax.set_xlabel(ylabel)
    else:
        ax.set_xticks(range(len(places)), [str(place) for place in places])
        ax.grid(False, axis="x")
        ax.set_xlabel(_axis_label(x, xlabel, ""))
        ax.set_ylabel(ylabel)
    handles = [Rectangle((0, 0), 1, 1, label=label(n), **_fill(style)) for n, (style, _) in groups.items()]
    tall = 0.17 * len(groups) + 0.1 if lying else 2.3
    _arrange(fig, [ax], tall, None if lying else _legend(fig, handles))
    return fig, _with_caption(title, _bar_table(df, x, y, hue, band, yunit, ylabel, xlabel or x), line)


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
        return _pivot(df, x, y, hue, band, "1", yunit, f"{ylabel}, by {xlabel}")
    rows = [own.iloc[0] for _, own in _groups(df, hue).values()]
    frame = pd.DataFrame({"": [label(str(r[x])) for r in rows], "value": [float(r[y]) for r in rows]})
    for name, end in zip(("low", "high"), band or (), strict=False):
        frame[name] = [float(r[end]) for r in rows]
    return text_table(frame, ylabel, units=dict.fromkeys(frame.columns[1:], yunit))


@_in_both_widths
@_settings
def space_time(
    events: Iterable[Mapping[str, Any] | TraceStep] | pd.DataFrame,
    *,
    caption: str,
    title: str = "",
    actors: Sequence[str] | None = None,
    size: str = "two",
) -> tuple[Chart, str]:
    """Draw a sequence of events: a lane per actor, time downward, the page's state as colour.

    Parameters
    ----------
    events : iterable of mapping or TraceStep, or DataFrame
        In order of time: a counterexample's trace, or events. Each of these has ``actor``, ``step`` (what it did) and
        ``state`` (the page's, after it), and may have ``time`` in ns and ``hazards``, which are marked. Words such as
        *dirty*, *clean*, *no buffers*, *writeback*, *lost* and *BUG* in a state choose its colour.
    caption, title, size
        As in `lines`.
    actors : sequence of str, optional
        Lanes from left to right; by default in the order in which they come.

    Returns
    -------
    figure, text : Chart, str
        For `save`. The text holds every event (`counterexample.lay_out`).

    Raises
    ------
    ValueError
        No events, or too many lanes for the width.
    """
    rows = _event_rows(events)
    lanes = list(actors) if actors is not None else list(dict.fromkeys(str(r["actor"]) for r in rows))
    timed = any(r.get("time") is not None for r in rows)
    fig, [ax] = _start(size, title, caption)
    width = fig.get_figwidth() - 2 * _PAD
    first, last = (0.58 if timed else 0.22), (1.25 if size == "two" else 0.8)
    lane = (width - first - last) / len(lanes)
    if lane < 0.5:
        raise ValueError(f"{len(lanes)} lanes do not fit a width of {WIDTHS[size]} in; leave actors out")
    left = {actor: first + k * lane for k, actor in enumerate(lanes)}
    heads = {actor: _wrap(actor, lane - 0.1, 7, bold=True) for actor in lanes}
    top = 0.13 * max(text.count("\n") + 1 for text in heads.values()) + 0.08
    y = top
    colours = state_colours(str(r["state"]) for r in rows)
    spans: dict[str, tuple[float, float]] = {}
    for k, event in enumerate(rows):
        actor, state = str(event["actor"]), str(event["state"])
        step = _wrap(str(event["step"]), lane - 0.16, 6.5)
        shown = _wrap(state, last - 0.12, 6.5)
        marks = [_wrap(str(hazard), lane - 0.12, 6.5, bold=True) for hazard in event.get("hazards", ())]
        marked = sum(mark.count("\n") + 1 for mark in marks)
        tall = 0.112 * max(step.count("\n") + 1 + marked, shown.count("\n") + 1) + 0.13
        middle = y + tall / 2
        ax.add_patch(Rectangle((first, y), width - first, tall, color=colours[state], alpha=0.28, linewidth=0))
        ax.add_patch(
            Rectangle((width - last, y), last, tall, facecolor=colours[state], edgecolor="white", linewidth=0.5)
        )
        ax.text(width - last + 0.06, middle, shown, va="center", fontsize=6.5)
        box = (left[actor] + 0.05, y + 0.035), lane - 0.1, tall - 0.07
        shape = "round,pad=0,rounding_size=0.03"
        edge: dict[str, Any] = {"edgecolor": _HAZARD if marks else "#555555", "linewidth": 1.4 if marks else 0.6}
        ax.add_patch(FancyBboxPatch(*box, boxstyle=shape, facecolor="white", **edge, zorder=3))
        centre: dict[str, Any] = {
            "x": left[actor] + lane / 2,
            "ha": "center",
            "va": "center",
            "fontsize": 6.5,
            "zorder": 4,
        }
        ax.text(y=middle - 0.056 * marked, s=step, **centre)
        if marks:
            below = middle + 0.056 * (step.count("\n") + 1)
            ax.text(y=below, s="\n".join(marks), color=_HAZARD, weight="bold", **centre)
        mark = tick(event.get("time", math.nan), "ns") if timed else str(k + 1)
        ax.text(first - 0.06, middle, mark, ha="right", va="center", fontsize=6.5, color="#555555")
        spans[actor] = (spans.get(actor, (middle, 0))[0], middle)
        y += tall
    for actor, (begin, end) in spans.items():
        ax.plot([left[actor] + lane / 2] * 2, [begin, end], color="#555555", linewidth=0.8, zorder=2)
    for actor, head in heads.items():
        ax.text(left[actor] + lane / 2, top - 0.04, head, ha="center", va="bottom", fontsize=7, weight="bold")
    ax.text(width - last + 0.06, top - 0.04, "page is then", va="bottom", fontsize=7, weight="bold")
    ax.set(xlim=(0, width), ylim=(y, 0))
    ax.set_axis_off()
    _arrange(fig, [ax], y)
    return fig, _with_caption(title, lay_out(rows), caption)


def _event_rows(events: Any) -> list[dict[str, Any]]:
    given: list[Any] = events.to_dict("records") if isinstance(events, pd.DataFrame) else list(events)
    if not given:
        raise ValueError("no events")
    return in_words(given) if isinstance(given[0], TraceStep) else [dict(event) for event in given]


def state_colours(states: Iterable[str]) -> dict[str, str]:
    """Give states of a page their colours, in the order in which they come: those of `STATES`, or one of their own."""
    found: dict[str, str] = {}
    for state in dict.fromkeys(states):
        known = [colour for word, colour in STATES.items() if re.search(rf"\b{word}", state, re.IGNORECASE)]
        spare = [colour for colour in _OTHER_STATES if colour not in found.values()] or list(_OTHER_STATES)
        found[state] = (known or spare)[0] if state else "#FFFFFF"
    return found


@_in_both_widths
@_settings
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
    fig, [ax] = _start(size, title, caption)
    width = fig.get_figwidth() - 2 * _PAD
    first = min(1.45 if texts is None else 2.4, 0.34 * width)
    edges = first + _edges(table if texts is None else texts, width - first, wide=texts is None)
    if (np.diff(edges) < (0.38 if texts is None else 0.27)).any():
        raise ValueError(f"{len(table.columns)} columns do not fit a width of {WIDTHS[size]} in")
    top = _matrix_heads(ax, table, edges, corner, upright=texts is not None)
    y = top
    pad = 0.06 if texts is None else 0.03
    shown = table if texts is None else texts
    for k, name in enumerate(table.index):
        label_ = _wrap(label(str(name)), first - 0.08, 6.5)
        cells = [_wrap(str(text), w - 2 * pad, 6.5) for text, w in zip(shown.iloc[k], np.diff(edges), strict=True)]
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
    _arrange(fig, [ax], y)
    text = _matrix_text(table, corner) if texts is None else _narrow_text(texts, corner)
    return fig, _with_caption(title, text, caption)


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
        str(c) if upright else _wrap(str(c), w - 0.1, 7, bold=True) for c, w in zip(table.columns, wide, strict=True)
    ]
    top = 0.08 + (
        max(_text_width(head, 7, bold=True) for head in heads)
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


# ---------------------------------------------------------------------------------------------------------
# Files


@_settings
def _render(fig: Figure, kind: str, metadata: Mapping[str, Any] | None = None) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def save(
    fig: Figure,
    name: str,
    folder: str | os.PathLike[str],
    text: str,
    provenance: Mapping[str, Any],
    sources: Iterable[str] = (),
) -> list[Path]:
    """Write a figure as SVG, PDF and PNG, with its text sibling; all of them or, where it fails, none.

    A wide figure (7.2 in) is drawn again for one column (3.5 in), from the same data, into the folder `ONE_COLUMN`
    beside it; where it does not fit so narrow a column, that is left out.

    Parameters
    ----------
    fig : Figure
        As a helper of this module made it. What was changed by hand since, the narrow one does not show.
    name : str
        Of the files, without suffix: lower-case letters, digits, hyphens, underscores.
    folder : path
        Is made where it is missing.
    text : str
        The text sibling, as the helper made it; no line longer than 72 columns.
    provenance : mapping
        As `workbench.provenance.provenance` makes it. It goes as JSON into the SVG's Description, the PDF's
        Subject and the PNG's Description, without the Python version: no result depends on it, and
        constraints do not fix it.
    sources : iterable of str, optional
        Where data and claims come from: files, message ids. They join the provenance and the text.

    Returns
    -------
    list of Path
        ``.svg``, ``.pdf``, ``.png``, ``.txt``; then the narrow ones, where there are such.

    Raises
    ------
    ValueError
        A bad name, or a line that is too long.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ValueError(f"figure name {name!r}: lower-case letters, digits, hyphens and underscores only")
    cited = list(sources)
    made_by = plain({key: value for key, value in provenance.items() if key != "python"})
    told = json.dumps(plain({**made_by, "sources": cited}), sort_keys=True)
    whole = "\n\n".join([text.rstrip("\n"), _footer(made_by, cited)]) + "\n"
    for k, row in enumerate(whole.split("\n"), 1):
        if len(row) > COLUMNS:
            raise ValueError(f"{name}.txt: line {k} has {len(row)} columns; a mail has {COLUMNS}: {row}")
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Title": name, "Description": told, "Date": None},
        "pdf": {"Title": name, "Subject": told, "CreationDate": None},
        "png": {"Title": name, "Description": told},
    }
    contents = {f"{name}.{kind}": _render(fig, kind, metadata[kind]) for kind in FORMATS}
    contents[f"{name}.txt"] = whole.encode()
    if (narrow := _narrow(fig)) is not None:
        contents |= {f"{ONE_COLUMN}/{name}.{kind}": _render(narrow, kind, metadata[kind]) for kind in FORMATS}
    folder = Path(folder)
    (folder / ONE_COLUMN if narrow is not None else folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.") as aside:
        for k, content in enumerate(contents.values()):
            (Path(aside) / str(k)).write_bytes(content)
        if narrow is None:  # there may be one of an earlier figure
            for kind in FORMATS:
                (folder / ONE_COLUMN / f"{name}.{kind}").unlink(missing_ok=True)
        return [(Path(aside) / str(k)).replace(folder / file) for k, file in enumerate(contents)]


def _narrow(fig: Figure) -> Chart | None:
    """Draw a figure again for one column; None if it is narrow already, or does not fit."""
    if not isinstance(fig, Chart) or fig.narrow is None:
        return None
    try:
        return fig.narrow()
    except ValueError:  # too many lanes, or columns
        return None


def _footer(made_by: Mapping[str, Any], cited: Sequence[str]) -> str:
    parts = [f"{made_by.get('software', SOFTWARE)} {made_by.get('version')}, sources {made_by.get('source_hash')}"]
    parts += [f"{key} {made_by[key]}" for key in ("scenario", "design", "seed") if made_by.get(key) is not None]
    parts += [f"{key}={value}" for key, value in (made_by.get("parameters") or {}).items()]
    parts += [f"trace sha256 {made_by['trace_sha256'][:16]}"] if made_by.get("trace_sha256") else []
    lines = [textwrap.fill("Made by " + "; ".join(parts) + ".", COLUMNS)]
    return "\n".join(lines + [textwrap.fill(f"From: {source}", COLUMNS, subsequent_indent="  ") for source in cited])


def read_provenance(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read back what `save` embedded in a figure.

    Parameters
    ----------
    path : path
        An ``.svg``, ``.pdf`` or ``.png`` file that `save` wrote.

    Returns
    -------
    dict
        The provenance, and ``sources``.

    Raises
    ------
    ValueError
        A file without one.
    """
    path = Path(path)
    told: str | None = None
    if path.suffix == ".svg":
        told = ElementTree.parse(path).findtext(".//{http://purl.org/dc/elements/1.1/}description")
    elif path.suffix == ".pdf":
        found = re.search(rb"/Subject \(((?:[^\\()]|\\.)*)\)", path.read_bytes(), re.DOTALL)
        told = re.sub(rb"\\(.)", rb"\1", found[1], flags=re.DOTALL).decode() if found else None
    elif path.suffix == ".png":
        with Image.open(path) as image:
            told = image.info.get("Description")
    if told is None:
        raise ValueError(f"{path}: carries no provenance")
    return json.loads(told)
