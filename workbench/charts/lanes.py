"""Space-time diagrams: who did what, in a lane per actor, and what became of the page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.patches import FancyBboxPatch, Rectangle

from workbench.charts.layout import PAD, arrange, start, wrap
from workbench.charts.paper import WIDTHS, Chart, in_both_widths, settings
from workbench.charts.scales import tick
from workbench.charts.style import HAZARD, state_colours
from workbench.charts.words import with_caption
from workbench.counterexample import events as in_words
from workbench.counterexample import lay_out
from workbench.verdict import TraceStep


@in_both_widths
@settings
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
    fig, [ax] = start(size, title, caption)
    width = fig.get_figwidth() - 2 * PAD
    first, last = (0.58 if timed else 0.22), (1.25 if size == "two" else 0.8)
    lane = (width - first - last) / len(lanes)
    if lane < 0.5:
        raise ValueError(f"{len(lanes)} lanes do not fit a width of {WIDTHS[size]} in; leave actors out")
    left = {actor: first + k * lane for k, actor in enumerate(lanes)}
    heads = {actor: wrap(actor, lane - 0.1, 7, bold=True) for actor in lanes}
    top = 0.13 * max(text.count("\n") + 1 for text in heads.values()) + 0.08
    y = top
    colours = state_colours(str(r["state"]) for r in rows)
    spans: dict[str, tuple[float, float]] = {}
    for k, event in enumerate(rows):
        actor, state = str(event["actor"]), str(event["state"])
        step = wrap(str(event["step"]), lane - 0.16, 6.5)
        shown = wrap(state, last - 0.12, 6.5)
        marks = [wrap(str(hazard), lane - 0.12, 6.5, bold=True) for hazard in event.get("hazards", ())]
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
        edge: dict[str, Any] = {"edgecolor": HAZARD if marks else "#555555", "linewidth": 1.4 if marks else 0.6}
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
            ax.text(y=below, s="\n".join(marks), color=HAZARD, weight="bold", **centre)
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
    arrange(fig, [ax], y)
    return fig, with_caption(title, lay_out(rows), caption)


def _event_rows(events: Any) -> list[dict[str, Any]]:
    given: list[Any] = events.to_dict("records") if isinstance(events, pd.DataFrame) else list(events)
    if not given:
        raise ValueError("no events")
    return in_words(given) if isinstance(given[0], TraceStep) else [dict(event) for event in given]
