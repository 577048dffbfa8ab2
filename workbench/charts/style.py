"""Which design, and which state of a page, is drawn how."""

import functools
import hashlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Affine2D


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
HAZARD = "#B03000"  # edge and name of a hazard
_OTHER_STATES = ("#E6C3D8", "#F4EDA0", "#CFCFE8", "#DDDDDD", "#C9B79C", "#B7E0E0")


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


def state_colours(states: Iterable[str]) -> dict[str, str]:
    """Give states of a page their colours, in the order in which they come: those of `STATES`, or one of their own."""
    found: dict[str, str] = {}
    for state in dict.fromkeys(states):
        known = [colour for word, colour in STATES.items() if re.search(rf"\b{word}", state, re.IGNORECASE)]
        spare = [colour for colour in _OTHER_STATES if colour not in found.values()] or list(_OTHER_STATES)
        found[state] = (known or spare)[0] if state else "#FFFFFF"
    return found
