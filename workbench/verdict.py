"""What `explore` gives: for each hazard a verdict, and the shortest sequence of steps that leads to it.

``reachable`` comes with a counterexample. ``unreachable`` is said only of a search that has seen every state;
one that stopped at a limit says ``unknown``.
"""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.frames import frame
from workbench.provenance import plain

if TYPE_CHECKING:
    import pandas as pd

# From the worst to what can't be asked at all.
VERDICTS = ("reachable", "unknown", "unreachable", "not applicable")


@dataclass(frozen=True)
class TraceStep:
    """One step of a counterexample, and the page that it was about, after it.

    Attributes
    ----------
    actor : str
        Who took it: ``dio/0``, ``irq/1``, ``flusher``, …, ``device``.
    program, step : str
        As in `workbench.mm.programs`.
    page : int
        The page, or frame; -1: the step is about none.
    state : str
        Names of its flags (`workbench.mm.page.FLAGS`), blank-separated.
    refcount, mapcount, pins : int
        ``mapcount`` is -1 for an unmapped page; ``pins`` are true pins (ghost state).
    data : str
        How its contents relate (ghost state): ``newer than disk``, or empty.
    hazards : tuple of str
        Those that this step shows.
    """

    actor: str
    program: str
    step: str
    page: int
    state: str = ""
    refcount: int = 0
    mapcount: int = -1
    pins: int = 0
    data: str = ""
    hazards: tuple[str, ...] = ()


@dataclass(frozen=True)
class HazardVerdict:
    """Whether one hazard can come about.

    Attributes
    ----------
    verdict : str
        One of `VERDICTS`.
    depth : int or None
        Steps of the shortest counterexample.
    trace : tuple of TraceStep
        That counterexample.
    schedule : tuple of tuple
        The same for a replay: actor, step, page, choice.
    conditional : tuple of str
        Modelling decisions under whose other value the verdict is another one: ``wait.page_lock=held``.
    reason : str
        Why it is unknown or not applicable, or who waits for what, or that nobody gets a pin at all.
    """

    verdict: str
    depth: int | None = None
    trace: tuple[TraceStep, ...] = ()
    schedule: tuple[tuple[Any, ...], ...] = ()
    conditional: tuple[str, ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict {self.verdict!r}: there are {', '.join(VERDICTS)}")


@dataclass(frozen=True)
class Verdict:
    """What a search of one small world under one design has found.

    Attributes
    ----------
    scenario, design : str
    parameters : dict
    complete : bool
        Every state was seen.
    reduced : bool
        Interleavings that can't matter were left out.
    states, transitions, depth : int
        States are 0 where random walks were taken, which keep none.
    seconds, bytes_per_state : float
        What the search took. They differ from run to run and stand in no result that is compared.
    hazards : dict of str to HazardVerdict
    ends : dict of str to int
        Kinds of ends (``good``, ``deadlock``, ``stall``, ``bug``, …) and how many states are one.
    steps : dict of str to int
        ``program.step`` -> how often it was taken.
    waits : tuple of (str, str)
        Who had to wait in some state, and for what.
    undecided : tuple of str
        Modelling decisions under whose other value a search stopped at a limit: what hangs on them is not known.
    provenance : dict
    """

    scenario: str
    design: str
    parameters: dict[str, Any]
    complete: bool
    reduced: bool
    states: int
    transitions: int
    depth: int
    seconds: float
    bytes_per_state: float
    hazards: dict[str, HazardVerdict]
    ends: dict[str, int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    waits: tuple[tuple[str, str], ...] = ()
    undecided: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """One flat row: what identifies the search, its size, and the verdict for each hazard."""
        names = ("scenario", "design", "parameters", "complete", "reduced", "states", "transitions", "depth")
        return {n: getattr(self, n) for n in names} | {n: hazard.verdict for n, hazard in self.hazards.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON: equal for equal searches, so without what the search took."""
        names = ("scenario", "design", "parameters", "complete", "reduced", "states", "transitions", "depth")
        described = {name: plain(getattr(self, name)) for name in names}
        described |= {"hazards": {name: plain(asdict(hazard)) for name, hazard in self.hazards.items()}}
        return described | {
            name: plain(getattr(self, name)) for name in ("ends", "steps", "waits", "undecided", "provenance")
        }

    def to_frame(self) -> pd.DataFrame:
        """A row per hazard: verdict, depth, conditions, reason."""
        rows = [
            {
                "scenario": self.scenario,
                "design": self.design,
                "hazard": name,
                "verdict": hazard.verdict,
                "depth": hazard.depth,
                "conditional": ", ".join(hazard.conditional),
                "reason": hazard.reason,
            }
            for name, hazard in self.hazards.items()
        ]
        return frame(rows).astype({"depth": "Int64"})

    def summary(self) -> str:
        """One line: how much was seen."""
        if not self.states:
            return f"random walks: {self.transitions} steps, {self.depth} in the longest"
        told = "all states" if self.complete else "stopped at a limit"
        reduced = ", reduced" if self.reduced else ""
        seen = f"{told}{reduced}: {self.states} states, {self.transitions} transitions, depth {self.depth}"
        return f"{seen}; not known what hangs on {', '.join(self.undecided)}" if self.undecided else seen

    def _repr_html_(self) -> str:
        table = self.to_frame().drop(columns=["scenario", "design"]).to_html(index=False, na_rep="")
        title = html.escape(f"{self.scenario} · {self.design} · {self.summary()}")
        return f"<p>{title}, {self.seconds:.1f} s, {self.bytes_per_state:.0f} bytes per state</p>{table}"
