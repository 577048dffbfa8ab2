"""The paper of a figure: its settings, fonts and width, and how it becomes an image."""

import functools
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure

from workbench.provenance import SOFTWARE

WIDTHS = {"one": 3.5, "two": 7.2}  # inches: a single column of a page, or both
DPI = 200

FONT = "DejaVu Sans of matplotlib"


def _pin_fonts() -> None:
    """Name matplotlib's own files, since "DejaVu Sans" may be another version's, found on the system."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for file, weight in (("DejaVuSans.ttf", 400), ("DejaVuSans-Bold.ttf", 700)):
        entry = font_manager.FontEntry(fname=str(folder / file), name=FONT, weight=weight)
        font_manager.fontManager.ttflist.append(entry)


_pin_fonts()
_RC: Any = {
    **{key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")},
    "font.family": [FONT],
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
settings = matplotlib.rc_context(_RC)


class Chart(Figure):
    """A figure that JupyterLab shows by itself, without pyplot."""

    narrow: Callable[[], "Chart"] | None = None
    """Draws a wide figure again, of one column's width."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return render(self, "png"), {"width": round(self.get_figwidth() * 120)}


Helper = Callable[..., tuple[Chart, str]]


def in_both_widths(helper: Helper) -> Helper:
    """Have a wide figure remember how it was made, so that `save` can draw it for one column too."""

    @functools.wraps(helper)
    def draw(*args: Any, **settings: Any) -> tuple[Chart, str]:
        fig, text = helper(*args, **settings)
        if settings.get("size", "two") == "two":
            fig.narrow = lambda: helper(*args, **{**settings, "size": "one"})[0]
        return fig, text

    return draw


@settings
def render(fig: Figure, kind: str, metadata: Mapping[str, Any] | None = None) -> bytes:
    """Write a figure as bytes of ``svg``, ``pdf`` or ``png``."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return buffer.getvalue()
