"""What stands where on the paper, in inches."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from workbench.charts.paper import DPI, FONT, WIDTHS, Chart

PAD = 0.06


def text_width(text: str, points: float, bold: bool = False) -> float:
    """Measure how wide a text is drawn [in], in letters of so many points."""
    font = font_manager.get_font(font_manager.findfont(_properties(bold)))
    font.set_size(points, DPI)
    font.set_text(text)
    return 1.02 * font.get_width_height()[0] / 64 / DPI  # hints make it differ a little from format to format


def _properties(bold: bool) -> font_manager.FontProperties:
    return font_manager.FontProperties(family=[FONT], weight="bold" if bold else "normal")


def wrap(text: str, inches: float, points: float, bold: bool = False) -> str:
    """Break a text into lines by its drawn width: at blanks, and within a name only where it is too long."""

    def fits(piece: str) -> bool:
        return text_width(piece, points, bold) <= inches

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


def start(size: str, title: str, line: str, panels: int = 1) -> tuple[Chart, list[Axes]]:
    """Make a figure with so many axes, its title and its caption; `arrange` puts them in their places."""
    if size not in WIDTHS:
        raise ValueError(f"size {size!r}: there are 'one' (3.5 in) and 'two' (7.2 in)")
    if not re.match(r"(?i)(model|measured)\b", line):
        raise ValueError("the caption must begin with 'model' or 'measured'; charts.caption() writes it")
    fig = Chart(figsize=(WIDTHS[size], 3), dpi=DPI)
    axes = [fig.add_axes((0, 0, 1, 1), label=str(k)) for k in range(panels)]
    room = WIDTHS[size] - 2 * PAD
    title = wrap(title, room, 8.5, bold=True)
    fig.text(0, 0, title, gid="title", va="top", weight="bold", fontsize=8.5)
    fig.text(0, 0, wrap(line, room, 6.5), gid="caption", va="bottom", fontsize=6.5, color="#444444")
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


def arrange(fig: Figure, axes: Sequence[Axes], height: float, legend: Legend | None = None) -> None:
    """Place title, axes, legend and caption so that none overlaps; the figure grows downwards.

    Axes stand in a row, or below each other in a narrow figure.
    """
    width = fig.get_figwidth()
    title, note = (next(t for t in fig.texts if t.get_gid() == gid) for gid in ("title", "caption"))
    top = _extent(fig, title)[1] + PAD if title.get_text() else 0.0
    side, below = _extent(fig, legend) if legend else (0.0, 0.0)
    beside = width > WIDTHS["one"]
    side, under = (side + 2 * PAD, 0.0) if beside and legend else (0.0, below)
    foot = _extent(fig, note)[1] + 2 * PAD
    under += 2 * PAD if under else 0.0
    stacked = not beside and len(axes) > 1
    for _ in range(3):  # ticks, and so the margins, depend on the size of the axes
        margins = np.array([_margins(fig, ax) for ax in axes])
        each = (width - 2 * PAD - side - margins[:, :2].sum() - 3 * PAD * (len(axes) - 1)) / len(axes)
        up, down = margins[:, 3].max(), margins[:, 2].max()
        if stacked:
            total = _stack(fig, axes, margins, height, above=top, below=foot + under)
            continue
        total = PAD + top + up + max(height, below if beside else 0) + down + under + foot + PAD
        fig.set_size_inches(width, total)
        x, y = PAD, foot + under + down
        for ax, (left, right, *_) in zip(axes, margins, strict=True):
            ax.set_position(((x + left) / width, y / total, each / width, height / total))
            x += left + each + right + 3 * PAD
    title.set_position((PAD / width, 1 - PAD / total))
    note.set_position((PAD / width, PAD / total))
    if legend and beside:
        legend.set_bbox_to_anchor(((width - side + PAD) / width, (y + height) / total))
    elif legend:
        legend.set_bbox_to_anchor((PAD / width, (foot + below) / total))


def _stack(
    fig: Figure, axes: Sequence[Axes], margins: np.ndarray, height: float, *, above: float, below: float
) -> float:
    """Place axes below each other, of one width; returns the height of the figure."""
    width = fig.get_figwidth()
    left, right, *_ = margins.max(axis=0)
    total = below + above + 2 * PAD + len(axes) * height + margins[:, 2:].sum() + 2 * PAD * (len(axes) - 1)
    fig.set_size_inches(width, total)
    y = total - above - PAD
    for ax, (_, _, down, up) in zip(axes, margins, strict=True):
        y -= up + height
        ax.set_position(((PAD + left) / width, y / total, (width - 2 * PAD - left - right) / width, height / total))
        y -= down + 2 * PAD
    return total


def add_legend(fig: Figure, handles: Sequence[Any]) -> Legend | None:
    """Stand beside a wide figure, or in as many columns as there is room for below a narrow one."""
    if not handles or (len(handles) == 1 and not handles[0].get_label()):
        return None
    width = fig.get_figwidth()
    for columns in (1,) if width > WIDTHS["one"] else (4, 3, 2, 1):
        made = fig.legend(
            handles=handles, loc="upper left", ncols=columns, borderaxespad=0, borderpad=0, columnspacing=1.0
        )
        if columns == 1 or _extent(fig, made)[0] <= width - 2 * PAD:
            return made
        made.remove()
    return None
