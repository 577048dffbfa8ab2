"""Random schedules for the pin oracle, and the shortest one that still differs."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from workbench.kernel.pins.bench import Bench
from workbench.kernel.pins.predicted import SLOTS
from workbench.kernel.pins.side_by_side import Mismatch, Step, text_of

PAGES, ANONS = 4, 2
LENGTH = 250  # steps of one schedule
_TRIES = 200  # schedules that shrinking may run

# How often each step is drawn, in proportion.
WEIGHTS = {
    "store": 6, "load": 4, "pin": 8, "complete": 10, "fsync": 2, "fdatasync": 2, "msync": 2, "sync_file_range": 3,
    "pageout": 4, "unmap": 4, "drop": 2, "mlock": 2, "truncate": 1, "extend": 4, "pin_anon": 5, "store_anon": 4,
    "register": 2, "unregister": 2, "fork": 3, "exit": 4,
}  # fmt: skip
_OF_THE_FILE = (
    "store", "load", "pin", "fsync", "fdatasync", "msync", "sync_file_range", "pageout", "unmap", "drop", "mlock",
)  # fmt: skip


@dataclass
class _State:
    """What steps are possible; reads in flight by tag: into the file (None), or into which anonymous page."""

    flights: dict[int, int | None] = field(default_factory=dict)
    forked: bool = False
    registered: int | None = None
    truncated: bool = False

    def in_flight(self, where: int | None) -> int:
        return sum(1 for place in self.flights.values() if place == where)

    def allows(self, step: Step) -> bool:
        word = step[0]
        if self.truncated and word in (*_OF_THE_FILE, "truncate"):
            return False
        if word == "pin":
            return step[1] not in self.flights and self.in_flight(None) < SLOTS
        if word == "pin_anon":
            return step[1] not in self.flights and self.in_flight(step[2]) < SLOTS
        if (
            word == "extend"
        ):  # a page is known by its place in the file, which two frames would have (docs/model.md §15)
            return self.truncated and self.in_flight(None) == 0
        rules = {
            "complete": lambda: step[1] in self.flights,
            "exit": lambda: self.forked,
            "fork": lambda: not self.forked,
            "register": lambda: self.registered is None,
            "unregister": lambda: self.registered == step[1],
        }
        return rules[word]() if word in rules else True

    def take(self, step: Step) -> None:
        word = step[0]
        if word in ("pin", "pin_anon"):
            self.flights[step[1]] = step[2] if word == "pin_anon" else None
        elif word == "complete":
            del self.flights[step[1]]
        elif word in ("fork", "exit"):
            self.forked = word == "fork"
        elif word in ("register", "unregister"):
            self.registered = step[1] if word == "register" else None
        elif word in ("truncate", "extend"):
            self.truncated = word == "truncate"


def possible(steps: list[Step]) -> list[Step]:
    """Leave out of a schedule what can't be done: the end of what did not begin, and the like."""
    state, kept = _State(), []
    for step in steps:
        if state.allows(step):
            state.take(step)
            kept.append(step)
    return kept


def draw(seed: int, length: int) -> list[Step]:
    """Draw a schedule.

    Parameters
    ----------
    seed, length : int
        The same two give the same schedule.
    """
    rng, state = random.Random(seed), _State()
    steps: list[Step] = []
    while len(steps) < length:
        step = _draw_step(rng, state, len(steps))
        if step and state.allows(step):
            state.take(step)
            steps.append(step)
    return steps


def _draw_step(rng: random.Random, state: _State, tag: int) -> Step | None:
    (word,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
    page, anon = rng.randrange(PAGES), rng.randrange(ANONS)
    if word == "pin":
        return word, tag, page, rng.randint(1, PAGES - page)
    if word == "complete":
        return (word, rng.choice(list(state.flights))) if state.flights else None
    if word == "pin_anon":
        return word, tag, anon
    if word == "unregister":
        return None if state.registered is None else (word, state.registered)
    if word in ("store_anon", "register"):
        return word, anon
    if word in ("msync", "sync_file_range"):
        return word, rng.randint(1, PAGES)
    if word in ("store", "load", "pageout", "unmap", "mlock"):
        return word, page
    return (word,)


def run(bench: Bench, steps: list[Step]) -> Mismatch | None:
    """Take kernel and model through a schedule for the file and the anonymous pages of this module."""
    return bench.schedule(steps, anons=[bench.anon() for _ in range(ANONS)], pages=PAGES)


def random_case(number: int, length: int) -> Callable[[Bench], None]:
    """A case: the schedule of this number."""

    def case(bench: Bench) -> None:
        steps = draw(bench.seed * 1_000_003 + number, length)
        mismatch = run(bench, steps)
        if mismatch:
            told = "; ".join(map(text_of, shrink(bench, steps[: mismatch.number])))
            bench.mismatches.append(f"the shortest schedule found that differs: {told}")

    return case


def shrink(settings: Bench, steps: list[Step]) -> list[Step]:
    """Leave steps out as long as kernel and model still differ.

    Parameters
    ----------
    settings : Bench
    steps : list of Step
        A schedule that differs.
    """
    tries, size = 0, max(len(steps) // 2, 1)
    while size:
        at = 0
        while at < len(steps) and tries < _TRIES:
            shorter = possible(steps[:at] + steps[at + size :])
            tries += 1
            mismatch = run(settings.again(), shorter)
            if mismatch:
                steps = shorter[: mismatch.number]
            else:
                at += size
        size //= 2
    return steps
