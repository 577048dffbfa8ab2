"""The search: expands states breadth first, by the same steps that the clock runs."""

from workbench.accelerate import at, inline, jit, step
from workbench.hazards import judge_rest
from workbench.mm import bio, packing, programs
from workbench.mm import registers as R
from workbench.mm.world import AT_NONE, AT_QUEUE, RUNNABLE, WAIT_WORK, WAITING, WRITEBACK
from workbench.pointed import pointed
from workbench.search.local import choosing_task, is_local, may_choose
from workbench.search.progress import (
    AT_END,
    AT_LIMIT,
    AT_REST,
    CHOICE,
    CHOICES,
    DEVICE,
    DONE,
    FOUND,
    FREE_NODE,
    FRESH,
    GO,
    HAS_RANGES,
    JUDGED,
    LEVEL,
    LEVEL_END,
    MAX_STATES,
    MODE,
    MOST_STEPS,
    MOVES,
    NEED_ROOM,
    NEED_WORDS,
    NEXT,
    ONLY,
    OPTIONAL,
    OUTCOME,
    PENDING,
    RAN,
    REDUCE,
    REPLAY,
    ROWS_WAIT,
    STEPS,
    TOO_WIDE,
    TRANSITIONS,
    WHAT,
    WORDS,
    note_events,
    note_rest,
)
from workbench.search.rows import keep_rows, let_wait, load, set_row
from workbench.search.words import pack, take_words, unpack
from workbench.steps import run_step

NO_MORE = -3  # no choice is left


# ---- transitions


@inline
def reset_events(world):
    """Before a transition: no event, no choice."""
    for counter in range(R.BUFFERLESS_DIRTY, R.UNMOVABLE + 1):
        world.sys[counter] = 0
    world.sys[R.CHOICES] = 1


@inline
def settle(world):
    """After a step: the woken are runnable already, and what was submitted is at the device."""
    sys = world.sys
    sys[R.WOKEN_HEAD] = sys[R.WOKEN_TAIL] = 0
    while sys[R.DEVICE_HEAD] >= 0:
        b = sys[R.DEVICE_HEAD]
        sys[R.DEVICE_HEAD] = at(world.bio, b)["bi_next"]
        at(world.bio, b)["bi_next"] = -1


@inline
def run_device(world, b):
    """What the device does next to a bio: read a writeback's pages, or finish."""
    row = at(world.bio, b)
    if row["at_device"] == AT_QUEUE and row["op"] == WRITEBACK:
        bio.device_start(world, b)
    else:
        bio.device_done(world, b)


@inline
def is_optional(task):
    """Whether the task's next step need never be taken: an idle holder's."""
    return task["program"] == programs.RDMA_PROGRAM and task["pc"] == programs.M_IDLE


@step
def next_local(tracker, world):
    """With reduction: a task whose next step no other actor can notice or disturb, or -1.

    So is the step of a task that is alone: nobody else can do anything before it. But not one that may come out in
    several ways: each of these is a transition.
    """
    others = _bios_at_device(world)
    alone = -1
    for t in range(len(world.task)):
        task = at(world.task, t)
        if task["state"] == RUNNABLE:
            if is_local(tracker, world, t):
                return t
            others += 1
            alone = t
    if others != 1 or alone < 0:
        return -1
    task = at(world.task, alone)
    return -1 if is_optional(task) or may_choose(world, task) else alone


@jit
def _bios_at_device(world):
    n = 0
    for b in range(len(world.bio)):
        n += at(world.bio, b)["at_device"] != AT_NONE
    return n


@step
def transition(tracker, world, search, choice):
    """Run one transition from the world as it is; with reduction, the local steps that can follow too."""
    cells = search.cells
    reset_events(world)
    world.sys[R.CHOICE] = choice // OUTCOME  # of the first step: those that follow have one outcome each
    rows = world.sys[R.BIO_ROWS]
    what = choice % OUTCOME
    outcomes = 1
    steps = cells[STEPS] + MOST_STEPS
    while what >= 0 and cells[STEPS] < steps:
        cells[STEPS] += 1
        if cells[MODE] == REPLAY:
            search.ran[cells[RAN]] = what
            cells[RAN] += 1
        if what >= DEVICE:
            run_device(world, what - DEVICE)
        else:
            task = at(world.task, what)
            search.taken[task["program"], task["pc"]] += 1
            run_step(tracker, world, what)
            if task["state"] == WAITING:
                search.waits[what, task["wait_kind"]] += 1
        outcomes = max(outcomes, world.sys[R.CHOICES])
        world.sys[R.CHOICE] = 0
        settle(world)
        if world.sys[R.BIO_ROWS] != rows:  # the lowest free row is always the next one
            packing.link_free_bios(world)
            rows = world.sys[R.BIO_ROWS]
        what = next_local(tracker, world) if cells[REDUCE] else -1
    cells[CHOICES] = outcomes


@jit
def start(world, search):
    """Keep the world as it is as the first state."""
    for t in range(len(world.task)):
        if at(world.task, t)["wait_kind"] == WAIT_WORK:
            packing.rest(at(world.task, t))
    pack(world, search)
    for w in range(search.cells[WORDS]):
        search.fresh[w] = w
    search.cells[FRESH] = search.cells[WORDS]
    set_row(search)
    let_wait(search)
    keep_rows(search)


# ---- the order of the search


@inline
def next_choice(world, cells):
    """The next transition of the state that is expanded, or how it is to be judged itself; or `NO_MORE`."""
    if cells[CHOICE] // OUTCOME + 1 < cells[CHOICES]:
        return cells[CHOICE] + OUTCOME
    while cells[WHAT] + 1 < DEVICE + len(world.bio):
        cells[WHAT] += 1
        if _is_possible(world, cells):
            return cells[WHAT]
    if cells[MOVES] > 0 or cells[JUDGED]:
        return NO_MORE
    cells[JUDGED] = 1
    cells[CHOICES] = 0
    return AT_REST if cells[OPTIONAL] else AT_END


@inline
def _is_possible(world, cells):
    what = cells[WHAT]
    if what >= DEVICE:
        possible = at(world.bio, what - DEVICE)["at_device"] != AT_NONE and cells[ONLY] < 0
        cells[MOVES] += possible
        return possible
    if what >= len(world.task):
        cells[WHAT] = DEVICE - 1
        return False
    task = at(world.task, what)
    if task["state"] != RUNNABLE or (cells[ONLY] >= 0 and what != cells[ONLY]):
        return False
    if is_optional(task):
        cells[OPTIONAL] += 1
    else:
        cells[MOVES] += 1
    return True


@inline
def next_state(search):
    """Take up the next state, if there is one."""
    cells, states = search.cells, search.states
    found = states.cells[0] + cells[ROWS_WAIT]
    if (cells[NEXT] + 1 == cells[LEVEL_END] or found >= cells[MAX_STATES]) and not keep_rows(search):
        return NEED_ROOM
    if cells[NEXT] + 1 >= states.cells[0]:
        return DONE
    if states.cells[0] >= cells[MAX_STATES]:
        return AT_LIMIT
    cells[NEXT] += 1
    if cells[NEXT] == cells[LEVEL_END]:
        cells[LEVEL] += 1
        cells[LEVEL_END] = states.cells[0]
    cells[WHAT] = -1
    cells[MOVES] = cells[OPTIONAL] = cells[JUDGED] = 0
    cells[CHOICES] = cells[CHOICE] = 0
    load(search, cells[NEXT])
    return GO


@step
def run(tracker, world, search):
    """Search on, until all states are expanded, or there is no room; or run one transition of a replay.

    Returns
    -------
    int
        `DONE`; `NEED_ROOM`, `NEED_WORDS`: call again with bigger tables; `AT_LIMIT`; `TOO_WIDE`; `HAS_RANGES`.
    """
    world, search = pointed(world), pointed(search)
    if search.cells[MODE] == REPLAY:
        _replay(tracker, world, search)
        return DONE
    code = GO
    if search.cells[PENDING]:
        search.cells[PENDING] = 0
        code = _take_up(search)
    while code == GO:
        code = _go_on(tracker, world, search)
    return code


@step
def _replay(tracker, world, search):
    choice = search.cells[CHOICE]
    if choice < 0:
        search.cells[FOUND] = judge_rest(tracker, world, choice == AT_END)
    else:
        transition(tracker, world, search, choice)


@step
def _go_on(tracker, world, search):
    """Run the next transition of the state that is expanded, or judge it, or take up the next state."""
    cells = search.cells
    if cells[WHAT] == -1:
        unpack(world, search)
        cells[ONLY] = choosing_task(world) if cells[REDUCE] else -1
    choice = next_choice(world, cells)
    if choice == NO_MORE:
        return next_state(search)
    cells[CHOICE] = choice
    if choice < 0:
        cells[FOUND] = judge_rest(tracker, world, choice == AT_END)
        note_rest(search, choice)
        return GO
    transition(tracker, world, search, choice)
    cells[TRANSITIONS] += 1
    note_events(world, search, choice)
    if cells[FREE_NODE] and at(world.node, 0)["rb_right"] != cells[FREE_NODE]:
        return HAS_RANGES
    if not take_words(world, search):
        return TOO_WIDE
    return _take_up(search)


@inline
def _take_up(search):
    """Let what the transition has led to wait, if it is another state."""
    cells = search.cells
    if cells[FRESH] == 0:
        return GO
    cells[PENDING] = 1
    if cells[ROWS_WAIT] == len(search.waiting) and not keep_rows(search):
        return NEED_ROOM
    if not set_row(search):
        return NEED_WORDS if keep_rows(search) else NEED_ROOM  # those that wait would not fit another layout
    let_wait(search)
    cells[PENDING] = 0
    return GO
