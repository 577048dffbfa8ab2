"""A player for counterexamples: forwards and back through a trace, a lane per actor, what the page is as colour.

Words, states and colours are those of the figure and of the mail (`counterexample.events`, `charts.state_colours`).
"""

import html
from collections.abc import Iterable, Sequence
from typing import Any

import ipywidgets as w

from workbench.charts import state_colours
from workbench.counterexample import events
from workbench.errors import UsageError, nearest
from workbench.verdict import HazardVerdict, TraceStep, Verdict
from workbench.widgets.controls import look

CLASS = "workbench-player"
ROWS = 15  # of the diagram that are in sight at once
MS_PER_STEP = 900
_EDGE = "var(--jp-border-color2,#ccc)"
_INK = "var(--jp-ui-font-color1,#111)"
_FAINT = "var(--jp-ui-font-color2,#666)"
_HERE = "var(--jp-brand-color1,#1976d2)"
_HAZARD = "var(--jp-error-color0,#b00020)"


def player(found: Verdict | HazardVerdict | Iterable[TraceStep], hazard: str | None = None) -> "Player":
    """Open a player.

    Parameters
    ----------
    found : Verdict, HazardVerdict, or iterable of TraceStep
        What `explore` gave, a hazard of it, or a trace.
    hazard : str, optional
        Of a `Verdict`: whose counterexample; needed if several hazards were reached.

    Returns
    -------
    Player
        A widget: the last line of a cell, or ``display(...)``, shows it.

    Raises
    ------
    UsageError
        No such hazard, one that was not reached, or an empty trace.
    """
    title = ""
    if isinstance(found, Verdict):
        name = _which(found, hazard)
        title, found = f"{name}: {found.scenario} under {found.design}", found.hazards[name]
    elif hazard is not None and not isinstance(found, HazardVerdict):
        title = hazard
    if isinstance(found, HazardVerdict):
        title, found = title or hazard or "", found.trace
    steps = tuple(found)
    if not steps:
        raise UsageError("an empty trace: there is nothing to play")
    return Player(steps, title)


def _which(found: Verdict, hazard: str | None) -> str:
    reached = [name for name, verdict in found.hazards.items() if verdict.trace]
    told = f"counterexamples of: {', '.join(reached) or 'none'}"
    if hazard is None:
        if len(reached) != 1:
            raise UsageError(f"{found.scenario} under {found.design}: name a hazard; {told}")
        return reached[0]
    if hazard not in found.hazards:
        raise UsageError(f"hazard {hazard!r}: {nearest(hazard, found.hazards)}")
    if hazard not in reached:
        raise UsageError(f"{hazard} in {found.scenario} under {found.design}: {found.hazards[hazard].verdict}; {told}")
    return hazard


class Player(w.VBox):
    """Buttons, slider and autoplay over the frames of a trace; see `player`.

    Attributes
    ----------
    steps : tuple of TraceStep
    place : IntSlider
        The step that is shown, from 1 on.
    """

    def __init__(self, steps: Sequence[TraceStep], title: str = "") -> None:
        self.steps, self.title = tuple(steps), title
        self._events = events(self.steps)
        self._colours = state_colours(str(event["state"]) for event in self._events)
        self._lanes = list(dict.fromkeys(step.actor for step in self.steps))
        last = len(self.steps)
        self.place = w.IntSlider(
            value=1, min=1, max=last, description="step", layout=w.Layout(width="420px", flex="1 1 260px")
        )
        autoplay = w.Play(value=1, min=1, max=last, interval=MS_PER_STEP, show_repeat=False)
        w.link((autoplay, "value"), (self.place, "value"))
        self.buttons = {
            "first": self._button("First", "fast-backward", lambda _: 1),
            "back": self._button("Back", "step-backward", lambda now: max(now - 1, 1)),
            "forward": self._button("Forward", "step-forward", lambda now: min(now + 1, last)),
            "last": self._button("Last", "fast-forward", lambda _: last),
        }
        self._diagram = w.HTML(layout=w.Layout(flex="3 1 480px", min_width="300px", overflow="auto"))
        self._after = w.HTML(layout=w.Layout(flex="1 1 250px", min_width="240px"))
        self.place.observe(lambda _: self._show(), "value")
        self._show()
        super().__init__(
            [
                w.HBox([*self.buttons.values(), self.place, autoplay], layout=w.Layout(flex_flow="row wrap")),
                w.HBox([self._diagram, self._after], layout=w.Layout(flex_flow="row wrap", grid_gap="16px")),
                w.HTML(look(CLASS)),
            ],
            _dom_classes=(CLASS,),
        )

    def __repr__(self) -> str:
        return f"player of {len(self.steps)} steps: {self.title}"

    def _button(self, name: str, icon: str, place: Any) -> w.Button:
        made = w.Button(description=name, icon=icon, layout=w.Layout(width="100px"))
        made.on_click(lambda _: setattr(self.place, "value", place(self.place.value)))
        return made

    def _show(self) -> None:
        now = self.place.value - 1
        self._diagram.value = self._lanes_html(now)
        self._after.value = self._after_html(now)

    # ---- the diagram

    def _lanes_html(self, now: int) -> str:
        """Steps around the present one, each in its actor's lane; those to come are faint."""
        first = max(0, min(now - ROWS // 2, len(self.steps) - ROWS))
        heads = "".join(f'<th scope="col" style="{_CELL};font-weight:600">{html.escape(a)}</th>' for a in self._lanes)
        rows = "".join(self._row(k, now) for k in range(first, min(first + ROWS, len(self.steps))))
        after = max(len(self.steps) - first - ROWS, 0)
        hidden = ", ".join(f"{n} {where}" for n, where in ((first, "before these"), (after, "after these")) if n)
        told = f'<caption style="caption-side:bottom;text-align:left;color:{_FAINT}">{hidden}</caption>'
        return (
            f'<div style="font-weight:600;color:{_INK}">{html.escape(self.title)}</div>'
            f'<table style="border-collapse:collapse;font-size:12px;line-height:1.3;color:{_INK};width:100%">{told}'
            f'<thead><tr><th></th>{heads}<th scope="col" style="{_CELL};font-weight:600;min-width:150px">page is then'
            "</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )

    def _row(self, k: int, now: int) -> str:
        step, event = self.steps[k], self._events[k]
        here = f"box-shadow:inset 3px 0 0 {_HERE};font-weight:600" if k == now else ""
        look = "opacity:.6" if k > now else here
        lanes = "".join(self._cell(step, event, actor, k == now) for actor in self._lanes)
        state = str(event["state"])
        colour = f"color:#111;background:{self._colours[state]}" if state else ""
        return (
            f'<tr style="{look}"{_CURRENT if k == now else ""}><td style="{_CELL};color:{_FAINT};text-align:right">'
            f'{k + 1}</td>{lanes}<td style="{_CELL};{colour}">{html.escape(state)}</td></tr>'
        )

    def _cell(self, step: TraceStep, event: dict[str, Any], actor: str, here: bool) -> str:
        if step.actor != actor:
            return f'<td style="{_CELL}"></td>'
        marks = "".join(f'<div style="color:{_HAZARD}">{html.escape(name)}</div>' for name in step.hazards)
        edge = f"outline:2px solid {_HAZARD if step.hazards else _HERE};outline-offset:-2px" if here else ""
        return f'<td style="{_CELL};{edge}">{html.escape(str(event["step"]))}{marks}</td>'

    # ---- what holds after the step

    def _after_html(self, now: int) -> str:
        step, event = self.steps[now], self._events[now]
        head = (
            f'<div style="color:{_FAINT}">step {now + 1} of {len(self.steps)}: {html.escape(step.actor)}</div>'
            f'<div style="font-size:14px;font-weight:600">{html.escape(str(event["step"]))}</div>'
            f'<div style="color:{_FAINT}"><code>{html.escape(f"{step.program}.{step.step}")}</code></div>'
        )
        marks = "".join(f'<div style="color:{_HAZARD};font-weight:600">{html.escape(h)}</div>' for h in step.hazards)
        pages = "".join(self._page(page, now) for page in self._pages(now))
        return f'<div role="status" style="color:{_INK};font-size:12px;line-height:1.45">{head}{marks}{pages}</div>'

    def _pages(self, now: int) -> list[int]:
        """Pages that something has been said of by now; that of the step first."""
        known = [s.page for s in self.steps[: now + 1] if s.page >= 0]
        return sorted(set(known), key=lambda page: (page != self.steps[now].page, page))

    def _page(self, page: int, now: int) -> str:
        """A page after the last step about it; what that step changed stands out if it is the present one."""
        about = [s for s in self.steps[: now + 1] if s.page == page]
        after, before = about[-1], about[-2] if len(about) > 1 else None
        new = self.steps[now] is after and before is not None
        old = before if new and before is not None else after
        flags, had = after.state.split(), set(old.state.split())
        chips = "".join(_chip(flag, flag not in had) for flag in flags)
        chips += "".join(_chip(flag, False, gone=True) for flag in old.state.split() if flag not in flags)
        counts = "".join(
            _count(name, getattr(after, field), getattr(after, field) != getattr(old, field))
            for name, field in (("refcount", "refcount"), ("mapcount", "mapcount"), ("true pins", "pins"))
        )
        data = _count("contents", after.data or "as on disk", after.data != old.data)
        return (
            f'<div style="margin-top:8px;border-top:1px solid {_EDGE};padding-top:4px"><b>page {page}</b>'
            f'<div style="display:flex;flex-wrap:wrap;gap:3px;margin:3px 0">{chips}</div>'
            f"<table>{counts}{data}</table></div>"
        )


_CELL = f"border:1px solid {_EDGE};padding:3px 6px;text-align:left;vertical-align:middle"
_CURRENT = ' aria-current="step"'


def _chip(flag: str, new: bool, gone: bool = False) -> str:
    look = f"border-color:{_HERE};font-weight:700" if new else f"border-color:{_EDGE}"
    look += ";text-decoration:line-through;opacity:.6" if gone else ""
    return f'<span style="border:1px solid;border-radius:8px;padding:0 6px;{look}">{html.escape(flag)}</span>'


def _count(name: str, value: Any, changed: bool) -> str:
    strong = f"font-weight:700;color:{_HERE}" if changed else ""
    return (
        f'<tr><td style="padding-right:10px;color:{_FAINT}">{name}</td>'
        f'<td style="{strong}">{html.escape(str(value))}</td></tr>'
    )
