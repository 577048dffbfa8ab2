"""An explorer of one scenario: move a slider and see, for each design picked, a figure and what was counted.

What is shown is `simulate`'s result for the values on the sliders: the same numbers as on the command line. The
browser sends no move while an earlier one is being answered, and then only the newest.
"""

import asyncio
import hashlib
import html
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import ipywidgets as w

from workbench import charts, costs, designs, hazards
from workbench import simulate as run
from workbench.charts import Chart
from workbench.errors import UsageError, nearest
from workbench.provenance import provenance
from workbench.results import UNITS
from workbench.scenarios import ALL
from workbench.scenarios.base import Parameter, check_parameters
from workbench.simulate import Result
from workbench.tables import number
from workbench.usage import SEED
from workbench.widgets import sketch, texts
from workbench.widgets.controls import STYLE, control, look, value_of
from workbench.widgets.views import SCENES, View, publish

CLASS = "workbench-explorer"
SLOW_S = 0.3  # what took longer is announced the next time
# Room for a number and its unit beside a slider, and for the names of designs.
_RULES = (
    "& .widget-readout{min-width:116px;max-width:none}"
    "& .widget-checkbox{height:auto;min-height:24px}"
    "& .widget-checkbox .widget-label-basic{display:flex;gap:6px;align-items:flex-start;white-space:normal;"
    "overflow-wrap:anywhere;line-height:1.35;height:auto;text-align:left}"
)
_compiled: set[tuple[str, type]] = set()  # what has run in this process: scenario and class of tracker


def explorer(
    scenario: str,
    designs: Sequence[str] | None = None,
    *,
    seed: int = SEED,
    view: str | None = None,
    folder: str | Path = "figures",
    **parameters: Any,
) -> "Explorer":
    """Open an explorer.

    Parameters
    ----------
    scenario : str
        ``direct-io``, ``rdma-longterm`` or ``virtual-vma``.
    designs : sequence of str, optional
        Presets or parts, picked at first; others are offered beside them, and more can be typed in.
    seed : int, optional
        Of all that is random.
    view : str, optional
        Figure that is drawn at first: a name of `views.SCENES[scenario].views`.
    folder : path, optional
        Where "Save this figure" writes.
    **parameters
        Where the controls start, as in `workbench.simulate`; the others at a run that takes milliseconds.

    Returns
    -------
    Explorer
        A widget: the last line of a cell, or ``display(...)``, shows it.

    Raises
    ------
    UsageError
        For a wrong name, type or range.
    """
    return Explorer(scenario, designs, seed=seed, view=view, folder=folder, **parameters)


class Explorer(w.VBox):
    """Controls, figure, counters, and texts to copy; see `explorer`.

    Attributes
    ----------
    controls : dict of str to Widget
        By parameter.
    picks : dict of str to Checkbox
        By design.
    """

    def __init__(
        self,
        scenario: str,
        designs: Sequence[str] | None = None,
        *,
        seed: int = SEED,
        view: str | None = None,
        folder: str | Path = "figures",
        **parameters: Any,
    ) -> None:
        if scenario not in SCENES:
            raise UsageError(f"scenario {scenario!r} has no explorer: {nearest(scenario, SCENES)}")
        self.scenario, self.folder = scenario, Path(folder)
        self._scene = SCENES[scenario]
        self._known: dict[str, Parameter] = {p.name: p for p in ALL[scenario].PARAMETERS}
        start = check_parameters(scenario, ALL[scenario].PARAMETERS, self._scene.start | parameters)
        if view is not None and view not in self._scene.views:
            raise UsageError(f"view {view!r}: {nearest(view, self._scene.views)}")
        self._results: dict[tuple[str, str], Result] = {}
        self._began = self._slow = False
        self._build(start, seed, view)
        for design in self._scene.designs if designs is None else designs:
            self._offer(design, True)
        for design in self._scene.offered:
            self._offer(design, False)
        super().__init__([self._whole], _dom_classes=(CLASS,))

    # ---- what it says

    @property
    def given(self) -> dict[str, Any]:
        """Parameters that are not at their default.

        Raises
        ------
        UsageError
            For text that is no value.
        """
        values = {name: value_of(p, self.controls[name]) for name, p in self._known.items()}
        return {name: value for name, value in values.items() if value != self._known[name].default}

    @property
    def designs(self) -> list[str]:
        """Designs that are picked."""
        return [design for design, pick in self.picks.items() if pick.value]

    @property
    def view(self) -> View:
        """The figure that is drawn."""
        return self._scene.views[self._view.value]

    @property
    def command_line(self) -> str:
        """The command that gives the same results."""
        return texts.command_line(self.scenario, self.designs, self.given, self._seed.value)

    @property
    def sweep_spec(self) -> str:
        """The same as a spec for `workbench sweep`, to which further values can be added."""
        return texts.sweep_spec(self.scenario, self.designs, self.given, self._seed.value)

    @property
    def results(self) -> dict[str, Result]:
        """What `simulate` gives for each picked design; each is run once for the same values.

        Raises
        ------
        UsageError
            For values that do not go together, or no design.
        """
        if not self.designs:
            raise UsageError("no design is picked")
        given, seed = self.given, self._seed.value
        setting = json.dumps([given, seed, costs.in_use().sha256])
        found = {}
        for design in self.designs:
            key = design, setting
            found[key] = self._results[key] if key in self._results else self._simulate(design, given, seed)
        self._results = found
        return {design: result for (design, _), result in found.items()}

    def _simulate(self, design: str, given: dict[str, Any], seed: int) -> Result:
        kind = self.scenario, type(designs.parse(design).tracker)
        if kind not in _compiled:
            self._say(f"compiling the engine for {design}: once for each kind of tracker, up to a minute …")
        elif self._slow:
            self._say(f"running {design} …")
        result = run(self.scenario, design, seed=seed, **given)
        _compiled.add(kind)
        return result

    def figure(self) -> tuple[Chart, str]:
        """Draw what is shown as a figure for a write-up, with its text sibling: what "Save this figure" saves."""
        return publish(self.view.picture(self.results), f"{self.view.title}: {self.scenario}", self._caption())

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the results that are shown, for `charts.save`."""
        result = next(iter(self.results.values()))
        return provenance(
            scenario=self.scenario,
            design="; ".join(self.designs),
            parameters=result.parameters,
            seed=result.seed,
            costs=costs.in_use(),
            trace_sha256=result.provenance.get("trace_sha256"),
        )

    def save(self) -> list[Path]:
        """Save the figure as SVG, PDF, PNG and text, under a name of its own for each setting of the controls.

        Raises
        ------
        UsageError
            If there is nothing to draw.
        """
        figure, text = self.figure()
        digest = hashlib.sha256(self.command_line.encode()).hexdigest()[:8]
        name = f"{self.scenario}_{self._view.value}_{digest}"
        return charts.save(figure, name, self.folder, text, self.provenance, [self.command_line])

    def update(self) -> None:
        """Run what the controls say, and show it; what is wrong becomes one line below the figure."""
        self._began = True
        began = perf_counter()
        self._shown(self._show)
        self._slow = perf_counter() - began > SLOW_S

    def _show(self) -> str:
        results = self.results
        self._picture.value = sketch.draw(self.view.picture(results), self.view.title)
        self._table.value = _table(results, self._scene.metrics)
        self._texts.value = texts.boxes(self.command_line, self.sweep_spec)
        return self._caption()

    def _shown(self, action: Callable[[], str]) -> None:
        """Do something, and say what it gave, or in one line why it could not."""
        try:
            self._say(action())
        except UsageError as error:
            self._say(str(error), wrong=True)
        except OSError as error:
            self._say(f"{error.filename or 'file'}: {error.strerror}", wrong=True)
        except Exception as error:  # nobody would see its traceback, which goes to the log
            self._say(f"{type(error).__name__}: {error}", wrong=True)

    def _say(self, text: str, wrong: bool = False) -> None:
        colour = "var(--jp-error-color0,#b00020)" if wrong else "var(--jp-ui-font-color2,#666)"
        line = html.escape(" ".join(text.split()))
        self._status.value = f'<div role="status" style="color:{colour};line-height:1.4">{line}</div>'

    def _caption(self) -> str:
        where = ", ".join(f"{name}={value}" for name, value in self.given.items())
        return charts.caption("model", costs.in_use(), where)

    # ---- controls

    def _build(self, start: dict[str, Any], seed: int, view: str | None) -> None:
        self.controls = {name: control(p, start[name]) for name, p in self._known.items()}
        self.picks: dict[str, w.Checkbox] = {}
        self._seed = w.BoundedIntText(
            value=seed, min=0, max=2**53, description="seed", style=STYLE,
            layout=w.Layout(width="240px"), tooltip="of all that is random",
        )  # fmt: skip
        names = [(v.title, name) for name, v in self._scene.views.items()]
        self._view = w.Dropdown(options=names, description="figure", layout=w.Layout(width="99%", max_width="480px"))
        self._view.value = view or names[0][1]
        self._picture, self._table, self._texts = w.HTML(), w.HTML(), w.HTML(layout=w.Layout(width="99%"))
        self._status = w.HTML()
        self._say("not run yet")
        self._typed = w.Combobox(
            placeholder="preset or parts, then Enter", options=tuple(designs.PRESETS), ensure_option=False,
            continuous_update=False, description="another", layout=w.Layout(width="330px"),
        )  # fmt: skip
        save = w.Button(
            description="Save this figure", icon="save", tooltip=f"SVG, PDF, PNG and text, in {self.folder}"
        )
        save.on_click(lambda _: self._shown(self._save))
        self._typed.observe(self._add_design, "value")
        for made in (*self.controls.values(), self._seed, self._view):
            made.observe(self._moved, "value")
        self._lay_out(save)

    def _lay_out(self, save: w.Button) -> None:
        others = [self.controls[name] for name in self._known if name not in self._scene.shown]
        rest = w.VBox(others, layout=w.Layout(display="none"))
        unfold = w.ToggleButton(description="All other parameters", icon="caret-down", layout=w.Layout(width="240px"))
        unfold.observe(lambda change: setattr(rest.layout, "display", None if change["new"] else "none"), "value")
        self._designs = w.VBox()
        title = "margin:0;line-height:1.6;font-weight:600;color:var(--jp-ui-font-color1,inherit)"
        left = w.VBox(
            [
                w.HTML(f'{look(CLASS, _RULES)}<p style="{title}">Designs</p>'),
                self._designs,
                self._typed,
                w.HTML(f'<p style="{title}">Parameters</p>'),
                *(self.controls[name] for name in self._scene.shown),
                self._seed,
                unfold,  # an Accordion can't be opened by keyboard
                rest,
            ],
            layout=w.Layout(width="384px", flex="0 0 auto"),
        )
        middle = w.VBox(
            [self._view, self._picture, self._status, save, self._texts],
            layout=w.Layout(flex="3 1 340px", width="0", min_width="300px"),
        )
        right = w.VBox(
            [self._table],
            layout=w.Layout(flex="2 1 280px", width="0", min_width="260px", max_height="760px", overflow="auto"),
        )
        self._whole = w.HBox([left, middle, right], layout=w.Layout(flex_flow="row wrap", grid_gap="12px"))

    def _offer(self, design: str, picked: bool) -> None:
        """Add a design to those that can be picked."""
        designs.parse(design)
        if design in self.picks:
            self.picks[design].value |= picked
            return
        pick = w.Checkbox(
            value=picked, description=charts.label(design), indent=False, tooltip=design,
            layout=w.Layout(width="99%", height="auto"),
        )  # fmt: skip
        pick.observe(self._moved, "value")
        self.picks[design] = pick
        self._designs.children = (*self._designs.children, pick)

    def _add_design(self, change: Any) -> None:
        text = change["new"].strip()
        if not text:
            return
        try:
            self._offer(text, True)
        except UsageError as error:
            self._say(str(error), wrong=True)
            return
        self._typed.value = ""
        self.update()

    def _moved(self, _change: Any) -> None:
        if self._began:
            self.update()

    def _save(self) -> str:
        paths = self.save()
        others = sorted({path.suffix for path in paths} - {paths[0].suffix})
        return f"saved {paths[0]}, and beside it {', '.join(others)}"

    # ---- being shown

    def __repr__(self) -> str:
        return f"explorer of {self.scenario}: {', '.join(self.designs)}"

    def _repr_mimebundle_(self, **settings: Any) -> Any:
        """Show itself, and run for the first time once it is seen: that may have to compile."""
        bundle = super()._repr_mimebundle_(**settings)
        if not self._began:
            self._began = True
            self._say("compiling, if it has not been done yet …")
            try:
                asyncio.get_running_loop().call_later(0.05, self.update)
            except RuntimeError:  # no notebook
                self.update()
        return bundle


def _table(results: dict[str, Result], metrics: Sequence[str]) -> str:
    """Metrics, then all that was counted by any design, as HTML; names are those of results, their meaning a tip."""
    counted = [n for n in next(iter(results.values())).counters if any(r.counters[n] for r in results.values())]
    looks = charts.styles(results)
    heads = "".join(
        f'<th scope="col" style="border-bottom:3px solid {looks[d].colour};padding:2px 6px;text-align:right;'
        f'vertical-align:bottom">{_breakable(charts.label(d))}</th>'
        for d in results
    )
    rows = [_row(n, UNITS[n].text, [number(r.metrics[n], UNITS[n].unit) for r in results.values()]) for n in metrics]
    met = [", ".join(name for name, n in hazards.found(r).items() if n) or "-" for r in results.values()]
    rows.append(_row("hazards", "hazards that this run has met", met))
    rows.append(_row("stuck", "who waits at the end", ["; ".join(r.stuck) or "-" for r in results.values()]))
    for name in counted:
        rows.append(_row(name.lower(), UNITS[name.lower()].text, [number(r.counters[name]) for r in results.values()]))
    return (
        '<table style="border-collapse:collapse;font-size:12px;line-height:1.4;color:var(--jp-ui-font-color1,#111);'
        'font-variant-numeric:tabular-nums;width:100%;table-layout:fixed;overflow-wrap:break-word">'
        f'<colgroup><col style="width:{max(34, 70 - 12 * len(results))}%"></colgroup>'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _breakable(text: str) -> str:
    """Let a long name break where its parts do."""
    return re.sub(r"(?<=[,:=_/])(?=\w)", "<wbr>", html.escape(text))


def _row(name: str, meaning: str, values: Sequence[str]) -> str:
    cells = "".join(f'<td style="text-align:right;padding:1px 6px">{html.escape(v)}</td>' for v in values)
    edge = "border-bottom:1px solid var(--jp-border-color2,#ddd)"
    return (
        f'<tr style="{edge}"><th scope="row" title="{html.escape(meaning)}" style="text-align:left;font-weight:normal;'
        f'padding:1px 4px">{_breakable(name)}</th>{cells}</tr>'
    )
