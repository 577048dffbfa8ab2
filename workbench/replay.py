"""A scenario's small world under a design, and one run through it by a given schedule.

`explore` searches such a world; `Replay` takes it through one sequence of steps, by the same compiled code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from workbench import designs, user_tracker
from workbench.errors import UsageError, nearest
from workbench.hazards import END_BITS, EVENTS, HAZARDS
from workbench.mm import packing
from workbench.mm import registers as R
from workbench.mm.page import FLAGS, NEWER_THAN_COPY, NEWER_THAN_DISK
from workbench.mm.programs import PROGRAMS, step_name
from workbench.mm.world import AT_NONE, AT_QUEUE, RUNNABLE, SLEEPING, WAITS, WRITEBACK, World
from workbench.scenarios import SCENARIOS, require_small_world
from workbench.scenarios.base import apply_design
from workbench.search import engine, progress, rows, store
from workbench.trackers.protocol import RANGE_BEFORE
from workbench.verdict import TraceStep

OPS = ("read", "write", "writeback", "transfer")
MOST_WORDS = 62  # of a state: one bit of an int64 each


@dataclass
class SmallWorld:
    """A scenario's small world under a design.

    Attributes
    ----------
    scenario : str
    chosen : Design
    tracker : NamedTuple
        The design's, with its bias scaled down.
    world : World
    names : list of str
        Of its tasks.
    parameters : dict
        All of the scenario's.
    """

    scenario: str
    chosen: designs.Design
    tracker: Any
    world: World
    names: list[str]
    parameters: dict[str, Any]


def small_world(scenario: str, design: str | designs.Design, parameters: dict[str, Any]) -> SmallWorld:
    """Set up a scenario's small world.

    Parameters
    ----------
    scenario : str
    design : str or Design
    parameters : dict
        Those that differ from the scenario's ``SMALL``.

    Raises
    ------
    UsageError
        For a wrong name, type or range, and for a world that is too large.
    """
    require_small_world(scenario)
    if scenario not in SCENARIOS:
        raise UsageError(f"scenario {scenario!r}: {nearest(scenario, SCENARIOS)}")
    chosen = designs.parse(design) if isinstance(design, str) else design
    module: Any = SCENARIOS[scenario]
    rng = np.random.Generator(np.random.PCG64(0))
    setup, complete = module.build(module.SMALL | parameters, rng, chosen.tracker.when >= RANGE_BEFORE)
    world = setup.world
    apply_design(world, chosen)
    sys = world.sys
    sys[R.PAGES_PER_STEP] = 1
    sys[R.WATCH] = "fsync" in setup.task_names
    sys[R.TAGS] = sys[R.TAGS_FREE] = len(world.bio)
    task = world.task
    task["state"] = np.where(task["state"] == SLEEPING, RUNNABLE, task["state"])
    task["until_ps"] = task["period_ps"] = 0
    world.dio["plan_bio"] = -1  # no part of a state: bios are cut by the parameters
    tracker = chosen.tracker
    if "bias" in tracker._fields:
        tracker = tracker._replace(bias=complete["bias"])
    packing.link_free_bios(world)
    small = SmallWorld(scenario, chosen, tracker, world, setup.task_names, complete)
    _check_size(small)
    return small


def _check_size(small: SmallWorld) -> None:
    most = {"page": packing.MAX_PAGES, "bio": packing.MAX_BIOS, "dio": packing.MAX_DIOS, "task": packing.MAX_TASKS}
    for name, limit in most.items():
        there = len(getattr(small.world, name))
        if there > limit:
            raise UsageError(f"scenario {small.scenario}: {there} rows of {name}; a small world has at most {limit}")
    if words_of(small) > MOST_WORDS:
        raise UsageError(
            f"scenario {small.scenario}: a state of {words_of(small)} words; a small world has at most {MOST_WORDS}"
        )


def words_of(small: SmallWorld) -> int:
    """Words of a packed state."""
    world = small.world
    objects = len(world.page) + len(world.bio) + len(world.dio) + 2 * len(world.task)
    return objects + 2 + (2 if small.tracker.when >= RANGE_BEFORE else 0)


@cache
def driver(tracker_class: Any) -> Any:
    """The compiled search for a class of trackers."""
    return user_tracker.engine(engine.run, tracker_class)


def new_search(small: SmallWorld, max_states: int = 0, reduce: bool = False, room: int = 1 << 14) -> progress.Search:
    """Lay out a search that has found the initial state, and nothing else.

    Parameters
    ----------
    small : SmallWorld
    max_states : int
    reduce : bool
        Leave out interleavings that can't matter.
    room : int
        Of its tables at first: a power of two.
    """
    words = words_of(small)
    cells = np.zeros(progress.CELLS, np.int64)
    cells[progress.WORDS] = words
    cells[progress.RANGED] = small.tracker.when >= RANGE_BEFORE
    if user_tracker.provenance(small.tracker) and not cells[progress.RANGED]:
        cells[progress.FREE_NODE] = small.world.node[0]["rb_right"]
    cells[progress.MAX_STATES], cells[progress.REDUCE] = max_states, reduce
    cells[progress.NEXT] = cells[progress.LEVEL] = -1
    cells[progress.WHAT] = progress.DEVICE + len(small.world.bio)
    cells[progress.JUDGED] = 1
    states = store.new_states(words, room)
    lists, counts = progress.registers_of(small.world.sys)
    search = progress.Search(
        states=states,
        parent=np.zeros(room, np.uint32),
        choice=np.zeros(room, np.int32),
        word=np.zeros(words, np.int64),
        base=np.full(words, -1, np.int64),
        share=np.zeros(words, np.int64),
        fresh=np.zeros(words, np.int64),
        kept=progress.kept_of(small.world),
        lists=lists,
        counts=counts,
        waiting=np.zeros((rows.MOST_WAITING, states.row.shape[1]), np.int64),
        told=np.zeros((rows.MOST_WAITING, rows.ROW_COLUMNS), np.int64),
        order=np.zeros(packing.MAX_RANGES + 2, np.int64),
        found=np.zeros((len(HAZARDS), len(progress.HAZARD_COLUMNS)), np.int64),
        taken=np.zeros((len(PROGRAMS), max(map(len, PROGRAMS.values()))), np.int64),
        waits=np.zeros((len(small.world.task), len(WAITS)), np.int64),
        ends=np.zeros(len(progress.ENDS), np.int64),
        ran=np.zeros(progress.MOST_STEPS, np.int64),
        cells=cells,
    )
    engine.start(small.world, search)
    return search


class Replay:
    """One run through a small world, step by step.

    Parameters
    ----------
    small : SmallWorld
        It is used up.

    Attributes
    ----------
    trace : list of TraceStep
    schedule : list of tuple
        What was run: actor, step, page, outcome.
    counted : ndarray of int64
        The counters, by number.
    """

    def __init__(self, small: SmallWorld) -> None:
        self.small = small
        self.search = new_search(small, room=1 << 8)
        self.search.cells[progress.MODE] = progress.REPLAY
        self.run = driver(small.tracker.__class__)
        self.trace: list[TraceStep] = []
        self.schedule: list[tuple[str, str, int, int]] = []
        self.submitted: list[int] = []  # rows of bios at the device, in the order in which they came
        self.counted = np.zeros(len(R.COUNTERS), np.int64)

    def choices(self) -> tuple[list[int], bool]:
        """Transitions that are possible now, and whether one of them must come."""
        world = self.small.world
        tasks = [t for t in range(len(world.task)) if world.task[t]["state"] == RUNNABLE]
        bios = [progress.DEVICE + b for b in self.submitted]
        return tasks + bios, bool(bios) or any(not engine.is_optional(world.task[t]) for t in tasks)

    def local_steps(self, choice: int) -> list[int]:
        """Run a transition of a reduced search; which steps it is made of, as transitions of their own."""
        cells = self.search.cells
        cells[progress.REDUCE], cells[progress.RAN] = 1, 0
        self._transition(choice)
        cells[progress.REDUCE] = 0
        first, *others = self.search.ran[: cells[progress.RAN]]
        return [int(first) + choice // progress.OUTCOME * progress.OUTCOME, *map(int, others)]

    def _transition(self, choice: int) -> None:
        self.search.cells[progress.CHOICE] = choice
        self.search.cells[progress.RAN] = 0
        before = self.small.world.sys[: len(R.COUNTERS)].copy()
        before[R.BUFFERLESS_DIRTY : R.UNMOVABLE + 1] = 0
        self.run(self.small.tracker, self.small.world, self.search)
        self.counted += self.small.world.sys[: len(R.COUNTERS)] - before
        bios = self.small.world.bio
        self.submitted = [b for b in self.submitted if bios[b]["at_device"] != AT_NONE]
        self.submitted += [b for b in range(len(bios)) if bios[b]["at_device"] and b not in self.submitted]

    def step(self, choice: int) -> int:
        """Run one transition and write it down; how many outcomes it had."""
        world = self.small.world
        actor, program, step, page = self._name(choice)
        nth = self._nth(choice, step, page)
        before = world.page.copy()
        self._transition(choice)
        page = self._page_at_hand(choice, page, before)
        hazards = {EVENTS[i] for i in range(len(EVENTS)) if world.sys[R.BUFFERLESS_DIRTY + i]} - {-1}
        told = tuple(name for i, name in enumerate(HAZARDS) if i in hazards)
        self.trace.append(self._told(actor, program, step, page, told))
        self.schedule.append((actor, step, page, nth))
        return int(self.search.cells[progress.CHOICES])

    def take(self, actor: str, step: str, page: int, outcome: int) -> None:
        """Run the step that a schedule names.

        Raises
        ------
        UsageError
            If it is not what the actor can do next.
        """
        for choice in self.choices()[0]:
            name, _, its_step, its_page = self._name(choice)
            if (name, its_step) != (actor, step):
                continue
            if name != "device":
                if outcome and not 0 < outcome < self._outcomes(choice):
                    break
                self.step(choice + progress.OUTCOME * outcome)
                return
            if its_page == page and self._nth(choice, step, page) == outcome:
                self.step(choice)
                return
        number, what = len(self.schedule) + 1, f" with outcome {outcome}" if outcome else ""
        raise UsageError(f"step {number} of the schedule: {actor} can't do {step!r} on page {page}{what} now")

    def _outcomes(self, choice: int) -> int:
        """How many outcomes a step has: it is tried, and undone."""
        kept = [array.copy() for array in self.small.world]
        self.search.cells[progress.CHOICE], self.search.cells[progress.RAN] = choice, 0
        self.run(self.small.tracker, self.small.world, self.search)
        for array, before in zip(self.small.world, kept, strict=True):
            array[:] = before
        return int(self.search.cells[progress.CHOICES])

    def judge(self) -> tuple[str, ...]:
        """Hazards of the world as it stands, if it is at rest."""
        choices, must = self.choices()
        if must:
            return ()
        self.search.cells[progress.CHOICE] = progress.AT_REST if choices else progress.AT_END
        before = self.small.world.sys.copy()
        self.run(self.small.tracker, self.small.world, self.search)
        self.small.world.sys[:] = before
        found = int(self.search.cells[progress.FOUND]) & ((1 << END_BITS) - 1)
        return tuple(name for i, name in enumerate(HAZARDS) if found >> i & 1)

    def kind_of_end(self) -> str:
        """Kind of the end that was judged last (`progress.ENDS`)."""
        return progress.ENDS[int(self.search.cells[progress.FOUND]) >> END_BITS]

    def _name(self, choice: int) -> tuple[str, str, str, int]:
        """Actor, program, step and page of a transition."""
        world, what = self.small.world, choice % progress.OUTCOME
        if what >= progress.DEVICE:
            row = world.bio[what - progress.DEVICE]
            reads = row["op"] == WRITEBACK and row["at_device"] == AT_QUEUE
            return "device", "device", f"{'start' if reads else 'finish'} {OPS[row['op']]}", int(row["page"])
        task = world.task[what]
        program, pc = int(task["program"]), int(task["pc"])
        return self.small.names[what], tuple(PROGRAMS)[program], step_name(program, pc), int(task["page"])

    def _nth(self, choice: int, step: str, page: int) -> int:
        """Which outcome; of the device: which of the bios that it can do this to, first submitted first."""
        if choice % progress.OUTCOME < progress.DEVICE:
            return choice // progress.OUTCOME
        same = [b for b in self.submitted if self._name(progress.DEVICE + b)[2:] == (step, page)]
        return same.index(choice % progress.OUTCOME - progress.DEVICE)

    def _page_at_hand(self, choice: int, page: int, before: np.ndarray) -> int:
        """The page that the step was about: the one that it changed, or that the task has at hand."""
        if choice % progress.OUTCOME >= progress.DEVICE:
            return page
        changed = np.flatnonzero(self.small.world.page != before)
        if page not in changed and len(changed):
            return int(changed[0])
        return page if 0 <= page < len(before) else -1

    def _told(self, actor: str, program: str, step: str, page: int, hazards: tuple[str, ...]) -> TraceStep:
        if page < 0:
            return TraceStep(actor, program, step, page, hazards=hazards)
        row = self.small.world.page[page]
        newer = [n for bit, n in ((NEWER_THAN_DISK, "disk"), (NEWER_THAN_COPY, "copy")) if row["ghost_data"] & bit]
        return TraceStep(
            actor,
            program,
            step,
            page,
            state=" ".join(name for i, name in enumerate(FLAGS) if row["flags"] >> i & 1),
            refcount=int(row["_refcount"]),
            mapcount=int(row["_mapcount"]),
            pins=int(row["ghost_pins"]),
            data=f"newer than {' and '.join(newer)}" if newer else "",
            hazards=hazards,
        )


def replay(scenario: str, design: str, schedule: Sequence[Sequence[Any]], **parameters: Any) -> Replay:
    """Take a small world through a schedule.

    Parameters
    ----------
    scenario, design : str
    schedule : sequence of (actor, step, page, outcome)
        As in `HazardVerdict.schedule`.
    **parameters
        The scenario's own, where they differ from its small set.

    Returns
    -------
    Replay
        Its ``trace`` has the world's hazards at the end on its last step.

    Raises
    ------
    UsageError
        If a step is not what its actor can do next.
    """
    run = Replay(small_world(scenario, design, parameters))
    for actor, step, page, outcome in schedule:
        run.take(actor, step, page, outcome)
    return run
