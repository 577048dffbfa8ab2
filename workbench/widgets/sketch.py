"""The live figure as SVG, written out here: matplotlib takes some 40 ms of CPU time to draw one, this takes one or two.

Colours, line styles, markers and the words at ticks are those of `charts`, which draws the figure that is saved. It
stands on white in either theme, since the colours of designs are made for that.
"""

import html
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from workbench import charts
from workbench.charts import Style
from workbench.widgets.views import Picture

WIDTH, HEIGHT = 520, 290
LEFT, RIGHT, TOP, BOTTOM = 70, 22, 12, 46
_DASHES = {"-": ""}
_GREY, _INK = "#E2E2E2", "#222222"


class Axis(NamedTuple):
    """One axis: its ends, and where they are drawn [px]."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    unit: str

    def place(self, values: np.ndarray) -> np.ndarray:
        """Where values are drawn."""
        low, high = self.low, self.high
        if self.log:
            low, high, values = math.log(low), math.log(high), np.log(np.maximum(values, 1e-300))
        return self.start + (np.clip(values, low, high) - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values between the ends: four to eight of them."""
        if self.log and self.high >= 8 * self.low:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            each = next((m for n, m in ((1.5, (1, 2, 5)), (3.5, (1, 3))) if len(decades) - 1 <= n + 1), (1,))
            every = max(1, len(decades) // 7)
            found = [m * 10.0**d for d in decades if d % every == 0 for m in each]
        else:
            step = _round_step((self.high - self.low) / 6, binary=self.unit in ("B", "B/s"))
            first = math.ceil(self.low / step - 1e-9)
            found = [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [value for value in found if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]


def _round_step(least: float, binary: bool) -> float:
    if binary:
        return 2.0 ** math.ceil(math.log2(least))
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= least * (1 - 1e-9))


def draw(picture: Picture, title: str = "") -> str:
    """Draw a picture.

    Parameters
    ----------
    picture : Picture
    title : str, optional
        What it is, for those who can't see it.

    Returns
    -------
    str
        HTML: the figure and, below it, the legend.
    """
    looks = charts.styles(picture.curves)
    if picture.empty:
        inside = f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">{html.escape(picture.note)}</text>'
    elif picture.kind == "bars":
        inside = _bars(picture, looks)
    else:
        inside = _curves(picture, looks)
    figure = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}" '
        f'style="width:100%;display:block" font-family="DejaVu Sans, Verdana, sans-serif" font-size="11" '
        f'fill="{_INK}">{inside}</svg>'
    )
    entries = "".join(_entry(design, style) for design, style in looks.items())
    legend = f'<div style="display:flex;flex-wrap:wrap;gap:2px 18px;padding:0 8px 4px {LEFT - 20}px">{entries}</div>'
    return (
        '<div class="workbench-figure" style="background:#fff;color:#222;padding:6px;border-radius:3px;'
        f'font-size:12px;line-height:1.35">{figure}{legend}</div>'
    )


# ---- axes


def _frame(x: Axis | None, y: Axis, xlabel: str, ylabel: str) -> str:
    parts = []
    for value, at in _placed(y):
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="{_GREY}"/>')
        parts.append(_text(LEFT - 6, at + 4, _word(value, y), "end"))
    for value, at in _placed(x) if x else []:
        parts.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{_GREY}"/>')
        parts.append(_text(at, HEIGHT - BOTTOM + 16, _word(value, x), "middle"))
    parts.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="{_INK}" fill="none"/>')
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, xlabel, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle">{html.escape(ylabel)}</text>'
    )
    return "".join(parts)


def _placed(axis: Axis) -> list[tuple[float, float]]:
    values = axis.ticks()
    return list(zip(values, axis.place(np.array(values, float)).tolist(), strict=True))


def _word(value: float, axis: Axis | None) -> str:
    assert axis is not None
    return f"{value:g}" if axis.unit == "share" else charts.tick(value, axis.unit)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


# ---- curves and bars


def _curves(picture: Picture, looks: Mapping[str, Style]) -> str:
    curves = {design: _line(picture, *picture.curves[design]) for design in looks if len(picture.curves[design][0])}
    xs = np.concatenate([x for x, _ in curves.values()])
    ys = np.concatenate([y for _, y in curves.values()])
    tails = picture.kind == "ccdf"
    if tails:
        low = float(ys[ys > 0].min()) * 0.7
        y = Axis(low, 1.3, HEIGHT - BOTTOM, TOP, True, "share")
        x = _spread(float(xs.min()), float(xs.max()), picture.xunit)
    else:
        top = float(ys.max())
        y = Axis(0.0, top * 1.05 if top > 0 else 1.0, HEIGHT - BOTTOM, TOP, False, picture.yunit)
        x = Axis(0.0, float(xs.max()) or 1.0, LEFT, WIDTH - RIGHT, False, picture.xunit)
    drawn = [_frame(x, y, picture.xlabel, picture.ylabel)]
    scale = dict(zip(curves, np.linspace(1.0, 0.55, len(curves)), strict=True))  # so that none hides one below it
    for place, (design, (own_x, own_y)) in enumerate(curves.items()):
        drawn.append(_stairs(x.place(own_x), y.place(own_y), looks[design], 2.4 * scale[design]))
        marks = (np.arange(6) + (place + 0.5) / len(curves)) / 6
        if tails:
            at = np.searchsorted(-own_y, -(10.0 ** (-marks * math.log10(1 / own_y[own_y > 0].min()))))
        else:
            at = np.searchsorted(own_x[1:], marks * own_x[-1])
        for k in np.unique(np.minimum(at, len(own_x) - 1)):
            point = x.place(own_x[k : k + 1])[0], y.place(own_y[k : k + 1])[0]
            drawn.append(_marker(*point, looks[design], 9 * scale[design]))
    return "".join(drawn)


def _line(picture: Picture, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of a curve; of a sample, the share above each value."""
    if picture.kind == "steps":
        return first, second
    below = np.cumsum(second)
    return np.append(first[:1], first), np.append(1.0, (below[-1] - below) / below[-1])


def _spread(low: float, high: float, unit: str) -> Axis:
    """A log axis with a little room at both ends."""
    low, high = (low / 1.05, high * 1.05) if high < 1.2 * low else (low / 1.02, high * 1.02)
    return Axis(low, high, LEFT, WIDTH - RIGHT, True, unit)


def _stairs(x: np.ndarray, y: np.ndarray, style: Style, wide: float) -> str:
    """A value holds until the next one; what can't be told apart by eye is left out."""
    keep = np.append(np.diff(np.round(x * 2)) != 0, True) | np.append(True, np.diff(np.round(y * 2)) != 0)
    points = [f"H{a:.1f}V{b:.1f}" for a, b in zip(x[keep], y[keep], strict=True)]
    dash = style.line[1] if isinstance(style.line, tuple) else ()
    dashes = f' stroke-dasharray="{" ".join(f"{d * wide:.1f}" for d in dash)}"' if dash else ""
    return (
        f'<path d="M{x[0]:.1f} {y[0]:.1f}{"".join(points)}" fill="none" stroke="{style.colour}" '
        f'stroke-width="{wide:.1f}"{dashes}/>'
    )


def _marker(x: float, y: float, style: Style, size: float) -> str:
    outlines = charts.marker_outlines(style.marker)
    path = "".join("M" + "L".join(f"{a * size:.1f} {b * size:.1f}" for a, b in points) + "Z" for points in outlines)
    look = f'fill="{style.colour}" stroke="#fff" stroke-width=".6"'
    return f'<path transform="translate({x:.1f} {y:.1f})" d="{path}" {look}/>'


def _bars(picture: Picture, looks: Mapping[str, Style]) -> str:
    """Bars side by side, each with its marker and its value above it."""
    top = max(float(np.nanmax(values, initial=0.0)) for _, values in picture.curves.values())
    y = Axis(0.0, top * 1.12 if top > 0 else 1.0, HEIGHT - BOTTOM, TOP, False, picture.yunit)
    wide = (WIDTH - LEFT - RIGHT) / len(picture.groups)
    thick = min(0.86 * wide / len(looks), 90.0)
    drawn = [_frame(None, y, picture.xlabel, picture.ylabel)]
    for g, group in enumerate(picture.groups):
        middle = LEFT + (g + 0.5) * wide
        drawn.append(_text(middle, HEIGHT - BOTTOM + 16, group, "middle"))
        for k, (design, style) in enumerate(looks.items()):
            value = float(picture.curves[design][1][g])
            if math.isnan(value):
                continue
            x, up = middle + (k - len(looks) / 2) * thick, float(y.place(np.array([value]))[0])
            drawn.append(
                f'<rect x="{x:.1f}" y="{up:.1f}" width="{thick * 0.94:.1f}" height="{HEIGHT - BOTTOM - up:.1f}" '
                f'fill="{style.colour}"/>'
            )
            drawn.append(_marker(x + thick * 0.47, up, style, 9))
            if thick > 34:
                drawn.append(_text(x + thick * 0.47, up - 7, charts.tick(value, picture.yunit), "middle"))
    return "".join(drawn)


def _entry(design: str, style: Style) -> str:
    """A line of the legend; long designs break at their commas."""
    line = _stairs(np.array([0.0, 30.0]), np.array([7.0, 7.0]), style, 2.0) + _marker(15, 7, style, 9)
    name = html.escape(charts.label(design)).replace(",", ",<wbr>")
    return (
        '<span style="display:inline-flex;gap:6px;align-items:baseline">'
        f'<svg width="30" height="14" style="flex:none;align-self:center">{line}</svg><span>{name}</span></span>'
    )
