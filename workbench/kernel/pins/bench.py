"""One case of the pin oracle: what is compared with the model, what is only observed, and what came of it."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from workbench.kernel.needs import Unavailable
from workbench.kernel.pins.fuse import PATIENCE
from workbench.kernel.pins.live import Live
from workbench.kernel.pins.predicted import PRESET, Predicted, anon_world, file_world
from workbench.kernel.pins.side_by_side import SETTLES, Fact, Mismatch, SideBySide, Step

RUNS = 3  # a case that differs, or is disturbed, is run again: what is not the same each time was somebody else


@dataclass(frozen=True)
class Observation:
    """Something that the model has no notion of: what the kernel did, and what its sources or documents say.

    Attributes
    ----------
    what : str
    seen, expected : object
    source : str
    """

    what: str
    seen: Any
    expected: Any
    source: str


@dataclass
class Bench:
    """Where a case runs, and what it has found.

    Attributes
    ----------
    design : str
        Of the model.
    patience : float
        Seconds for which a read may be held without a word from us.
    seed : int
        Of what a case draws.
    steps : int
        System calls, each run in the kernel and in the model.
    compared : int
        Facts of which the model says something.
    named : list of (str, object, object)
        Those of them that stand for themselves, in no schedule: what, predicted, seen.
    mismatches : list of str
        Where model and kernel part.
    observed : list of Observation
    disturbed : dict
        Steps at which somebody else's pins were in the counters, so that these were not compared.
    left_out : list of str
        Parts of the case that can't be run here, with the reason.
    """

    design: str = PRESET
    patience: float = PATIENCE
    seed: int = 1
    steps: int = 0
    compared: int = 0
    named: list[Fact] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    observed: list[Observation] = field(default_factory=list)
    disturbed: dict[int, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def schedule(
        self,
        steps: Iterable[Step],
        file: Any = None,
        anons: Iterable[Predicted] = (),
        pages: int = 2,
        written: bool = False,
    ) -> Mismatch | None:
        """Take kernel and model through the same steps.

        Parameters
        ----------
        steps : iterable of Step
        file : Predicted or None
            The model's file (as `SideBySide` takes it); None: one with so many pages.
        anons : iterable of Predicted
        pages : int
        written : bool
            The file's pages have just been written to.
        """
        steps, anons = list(steps), list(anons)
        file = file or file_world(self.design, pages)
        live = Live(file.pages, len(anons), self.patience)
        try:
            for page in range(file.pages if written else 0):
                live.store(page, 1)
            sides = SideBySide(live, file, anons)
            mismatch = sides.start or sides.run(steps)
            if mismatch:
                self.mismatches.append(str(mismatch))
            self.steps += mismatch.number if mismatch else len(steps)
            self.compared += sides.compared
            self.disturbed |= {self.steps + number: more for number, more in sides.disturbed.items()}
            return mismatch
        finally:
            live.close()

    def again(self) -> "Bench":
        """An empty bench with the same settings."""
        return Bench(self.design, self.patience, self.seed)

    def compare(self, what: str, predicted: Any, seen: Any) -> None:
        """Compare one more fact."""
        self.compared += 1
        self.named.append((what, predicted, seen))
        if predicted != seen:
            self.mismatches.append(f"{what}: model {predicted}, kernel {seen}")

    def observe(self, what: str, seen: Any, expected: Any, source: str) -> None:
        """Write down what the model says nothing about."""
        self.observed.append(Observation(what, seen, expected, source))
        if seen != expected:
            self.mismatches.append(f"{what}: expected {expected} ({source}), kernel {seen}")

    def observe_pins(
        self, live: Live, what: str, action: Callable[[], object], expected: tuple[int, int], source: str
    ) -> None:
        """Write down how many pins an action takes and releases, unless others are pinning meanwhile."""
        seen = self._counted(live, what, action, expected)
        if seen:
            self.observe(f"pins taken and released: {what}", seen, expected, source)

    def compare_pins(self, live: Live, what: str, action: Callable[[], object], predicted: tuple[int, int]) -> None:
        """Compare how many pins an action takes and releases, unless others are pinning meanwhile."""
        seen = self._counted(live, what, action, predicted)
        if seen:
            self.compare(f"pins taken and released: {what}", predicted, seen)

    def _counted(
        self, live: Live, what: str, action: Callable[[], object], expected: tuple[int, int]
    ) -> tuple[int, int] | None:
        """Count pins that an action takes and releases; None where others are pinning meanwhile."""
        before = live.proc.pins()
        action()
        until = time.monotonic() + SETTLES
        while (seen := since(live.proc.pins(), before)) != expected and time.monotonic() < until:
            time.sleep(0.003)
        now = live.proc.pins()
        time.sleep(0.003)
        more = since(seen, expected)
        in_passing = more[0] == more[1] > 0  # somebody's pins that have gone again
        if seen != expected and (in_passing or now != live.proc.pins()):
            self.left_out.append(f"pins of {what}: others were pinning pages")
            return None
        return seen

    def anon(self) -> Predicted:
        """One more anonymous page of the model."""
        return anon_world(self.design)


def since(now: tuple[int, int], before: tuple[int, int]) -> tuple[int, int]:
    """Pins taken and released between two readings."""
    return now[0] - before[0], now[1] - before[1]


@dataclass(frozen=True)
class CaseResult:
    """What came of a case.

    Attributes
    ----------
    name : str
    bench : Bench
        Of the last run.
    runs : int
    seconds : float
    skipped : str
        Why it was not run, or empty.
    not_again : tuple of str
        What differed in an earlier run, and not in the last.
    """

    name: str
    bench: Bench
    runs: int = 1
    seconds: float = 0.0
    skipped: str = ""
    not_again: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether all that was compared is equal."""
        return not self.bench.mismatches


def run_case(name: str, case: Callable[[Bench], None], settings: Bench | None = None) -> CaseResult:
    """Run a case; once more, up to `RUNS` times, where it differs or somebody else has disturbed it.

    Parameters
    ----------
    name : str
    case : callable
    settings : Bench or None
        Gives design, patience and seed.
    """
    began = time.monotonic()
    bench = settings = settings or Bench()
    differed: list[str] = []
    for run in range(1, RUNS + 1):
        before, bench = bench, settings.again()
        try:
            case(bench)
        except Unavailable as missing:
            return CaseResult(name, bench, run, time.monotonic() - began, str(missing))
        except OSError as error:
            bench.mismatches.append(f"a system call failed: {error}")
        if not bench.mismatches and not bench.disturbed:
            break
        differed += bench.mismatches
        if run == RUNS and bench.disturbed and bench.disturbed == before.disturbed:
            bench.mismatches.append(f"pins that the model does not have, in each run: {bench.disturbed}")
    not_again = () if bench.mismatches else tuple(differed)
    return CaseResult(name, bench, run, time.monotonic() - began, not_again=not_again)
