"""The search: expands states breadth first, by the same steps that the clock runs.

Layout of a state's words: pages, rows of bios, direct IOs, two words per task, two of the registers, and, if the
tracker keeps ranges, two of these. A step is run in place; what it has changed is seen by packing again, and is
unpacked back before the next one.
"""

from typing import NamedTuple

import numpy as np

from workbench.accelerate import at, inline, jit, step
from workbench.hazards import END_BITS, EVENTS, judge_rest
from workbench.intrinsics import prefetch
from workbench.mm import bio, packing, programs
from workbench.mm import registers as R
from workbench.mm.world import AT_NONE, AT_QUEUE, RUNNABLE, WAIT_WORK, WAITING, WRITEBACK
from workbench.pointed import pointed
from workbench.search.local import choosing_task, is_local, may_choose
from workbench.search.store import FULL, NEW, States, add_state, first_slot, number_at, number_of, put_number
from workbench.steps import run_step

# A transition: a task's next step, or what the device does to a bio; and which of its outcomes.
DEVICE = 64
OUTCOME = 128  # times the number of the outcome
AT_REST, AT_END = -1, -2  # no transition: the state itself is judged

MOST_STEPS = 256  # that one transition may be made of
GO, DONE, NEED_ROOM, TOO_WIDE, AT_LIMIT, HAS_RANGES = range(6)
NO_MORE = -3  # no choice is left
SEARCH, REPLAY = range(2)
(
    MODE,  # SEARCH, or REPLAY: run the transition in CHOICE, or judge, and return
    CHOICE,
    PENDING,  # the transition has been run; there was no room for what it led to
    CHOICES,  # outcomes that the last transition had
    FOUND,  # what judge_rest gave last
    NEXT,  # state that is being expanded
    ONLY,  # with reduction: the one task whose transitions are enough, or -1
    WHAT,  # the last of its transitions that was looked at
    MOVES,  # how many of them must come, and may come
    OPTIONAL,
    JUDGED,
    LEVEL,
    LEVEL_END,  # first state of the next level
    TRANSITIONS,
    MAX_STATES,
    REDUCE,
    WORDS,
    RANGED,
    HASH,  # of the expanded state
    ROW_HASH,  # of the row
    ROW_PARENT,  # state from which it was reached, and by which transition
    ROW_CHOICE,
    ROW_WAITS,  # it is not among the states yet
    CHANGED,  # words in which the world is not the expanded state, as bits
    TREE_CHANGED,  # it has changed the interval tree
    STEPS,
    RAN,  # of a replay: how many steps the transition has run
    FREE_NODE,  # first free node, if it has to stay free: the tracker is not known to keep ranges, and none are packed
    CELLS,
) = range(29)
ENDS = ("good", "deadlock", "stall", "bug", "other")  # in the order of hazards.GOOD_END, ...
HAZARD_COLUMNS = ("state", "choice", "level")


class Search(NamedTuple):
    """State of the search.

    Attributes
    ----------
    states : States
        In the order in which they were found.
    parent : ndarray of uint32
        State from which each state was first reached.
    choice : ndarray of int32
        And by which transition.
    word, base : ndarray of int64, shape (words,)
        Of the world now, and of the state that is expanded.
    row : ndarray of int64, shape (words,)
        Of the world now, as the list of states keeps it.
    order : ndarray of int64
        Nodes of the pinned ranges in tree order; the first cell counts them.
    found : ndarray of int64, shape (hazards, 3)
        Where a hazard was first seen: state plus one, transition, level.
    taken : ndarray of int64, shape (programs, steps)
        How often each step was run.
    waits : ndarray of int64, shape (tasks, kinds)
        How often a task began to wait, by reason.
    ends : ndarray of int64
        Ends by kind (`ENDS`).
    ran : ndarray of int64
        Of a replay: the steps that the last transition was made of.
    cells : ndarray of int64
        The driver's registers.
    """

    states: States
    parent: np.ndarray
    choice: np.ndarray
    word: np.ndarray
    base: np.ndarray
    row: np.ndarray
    order: np.ndarray
    found: np.ndarray
    taken: np.ndarray
    waits: np.ndarray
    ends: np.ndarray
    ran: np.ndarray
    cells: np.ndarray


# ---- between the world and its words


@inline
def pack(world, search):
    """Write the world's words.

    Returns
    -------
    bool
        False: a count has outgrown its field, or there are too many ranges.
    """
    word, order, cells = search.word, search.order, search.cells
    w = 0
    fits = True
    if cells[RANGED]:
        fits = packing.order_ranges(world, order)
    for p in range(len(world.page)):
        page = at(world.page, p)
        fits &= packing.page_fits(page)
        word[w] = packing.pack_page(page)
        w += 1
    for b in range(len(world.bio)):
        word[w] = packing.pack_bio(world, b, order)
        w += 1
    for d in range(len(world.dio)):
        word[w] = packing.pack_dio(world, d, order)
        w += 1
    for t in range(len(world.task)):
        task = at(world.task, t)
        word[w] = packing.pack_task(task, order)
        word[w + 1] = packing.pack_lists(task)
        w += 2
    word[w] = packing.pack_lists_of_world(world.sys)
    word[w + 1] = packing.pack_counts_of_world(world.sys)
    w += 2
    if cells[RANGED]:
        word[w] = packing.pack_ranges(world, order, 0)
        word[w + 1] = packing.pack_ranges(world, order, packing.RANGES_PER_WORD)
    return fits


@inline
def unpack(world, search):
    """Set the objects whose bits are set in `CHANGED` to what ``base`` says."""
    base, order, cells = search.base, search.order, search.cells
    words, changed = cells[WORDS], cells[CHANGED]
    cells[CHANGED] = 0
    if cells[RANGED] and (cells[TREE_CHANGED] or changed >> (words - 2) != 0):
        cells[TREE_CHANGED] = 0
        packing.unpack_ranges(world, order, base, words - 2, words)
        changed = -1  # handles name other nodes now
    w = 0
    for p in range(len(world.page)):
        if changed >> w & 1:
            packing.unpack_page(at(world.page, p), base[w])
        w += 1
    bios = changed >> w & ((1 << len(world.bio)) - 1)
    for b in range(len(world.bio)):
        if changed >> w & 1:
            packing.unpack_bio(world, b, base[w], order)
        w += 1
    if bios:
        packing.link_free_bios(world)
    for d in range(len(world.dio)):
        if changed >> w & 1:
            packing.unpack_dio(world, d, base[w], order)
        w += 1
    for t in range(len(world.task)):
        if changed >> w & 1:
            packing.unpack_task(at(world.task, t), base[w], order)
        if changed >> w & 3:  # of a task that is dead, or waits for work, the second word says nothing
            packing.unpack_lists(at(world.task, t), base[w + 1])
        w += 2
    if changed >> w & 1:
        packing.unpack_lists_of_world(world.sys, base[w])
    if changed >> (w + 1) & 1:
        packing.unpack_counts_of_world(world.sys, base[w + 1])


# ---- between words and states


@inline
def set_row(search):
    """Make the row of the world's words: the expanded state's, but for what has changed; note what that is.

    Returns
    -------
    bool
        False: there is no room for a word.
    """
    cells, states, row = search.cells, search.states, search.row
    expanded = states.row[max(cells[NEXT], 0)]
    for lane in range(len(expanded)):
        row[lane] = expanded[lane]
    cells[CHANGED] = 0
    hashed = cells[HASH]
    for w in range(cells[WORDS]):
        word = int(search.word[w])
        if word == search.base[w]:
            continue
        cells[CHANGED] |= 1 << w
        n = number_of(states, w, word)
        if n < 0:
            return False
        hashed ^= states.value[w, number_at(states, row, w), 1] ^ states.value[w, n, 1]
        put_number(states, row, w, n)
    cells[ROW_HASH] = hashed
    return True


@inline
def keep_row(search):
    """Keep the row as a state, if it is a new one; False: there is no room."""
    cells, states = search.cells, search.states
    kept = add_state(states, search.row, cells[ROW_HASH])
    if kept == FULL:
        return False
    if kept == NEW:
        n = states.cells[0] - 1
        search.parent[n] = cells[ROW_PARENT]
        search.choice[n] = cells[ROW_CHOICE]
    cells[ROW_WAITS] = 0
    return True


@inline
def load(search, s):
    """Set ``base`` to the words of state ``s``; `CHANGED` has the bits of those in which the world is another."""
    base, cells, states = search.base, search.cells, search.states
    row = states.row[s]
    changed = hashed = 0
    for w in range(cells[WORDS]):
        n = number_at(states, row, w)
        word = states.value[w, n, 0]
        hashed ^= states.value[w, n, 1]
        if base[w] != word:
            base[w] = word
            changed |= 1 << w
    cells[CHANGED], cells[HASH] = changed, hashed


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
    tree = _tree_epoch(world.sys)
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
    cells[TREE_CHANGED] = tree != _tree_epoch(world.sys)


@inline
def _tree_epoch(sys):
    return sys[R.RANGES] + sys[R.RANGES_GONE] + sys[R.SHRINKS] + sys[R.SPLITS]


@inline
def _note(search, hazard, choice):
    """Write down where a hazard was first seen: the earliest level counts."""
    found = search.found[hazard]
    level = search.cells[LEVEL] + (choice >= 0)
    if found[0] == 0 or level < found[2]:
        found[0], found[1], found[2] = search.cells[NEXT] + 1, choice, level


@inline
def _note_events(world, search, choice):
    for i in range(len(EVENTS)):
        if world.sys[R.BUFFERLESS_DIRTY + i] and EVENTS[i] >= 0:
            _note(search, EVENTS[i], choice)


@jit
def start(world, search):
    """Keep the world as it is as the first state."""
    for t in range(len(world.task)):
        if at(world.task, t)["wait_kind"] == WAIT_WORK:
            packing.rest(at(world.task, t))
    pack(world, search)
    set_row(search)
    keep_row(search)
    search.cells[CHANGED] = 0


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
    cells = search.cells
    if cells[ROW_WAITS] and cells[NEXT] + 1 == cells[LEVEL_END] and not keep_row(search):
        return NEED_ROOM
    states = search.states.cells[0]
    if cells[NEXT] + 1 >= states:
        return DONE
    if states >= cells[MAX_STATES]:
        return AT_LIMIT
    cells[NEXT] += 1
    if cells[NEXT] == cells[LEVEL_END]:
        cells[LEVEL] += 1
        cells[LEVEL_END] = states
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
        `DONE`; `NEED_ROOM`: call again with bigger tables; `AT_LIMIT`; `TOO_WIDE`; `HAS_RANGES`.
    """
    world, search = pointed(world), pointed(search)
    cells = search.cells
    while True:
        if not cells[PENDING]:
            if cells[MODE] == SEARCH:
                unpack(world, search)
                if cells[WHAT] == -1:
                    cells[ONLY] = choosing_task(world) if cells[REDUCE] else -1
                choice = next_choice(world, cells)
                if choice == NO_MORE:
                    code = next_state(search)
                    if code != GO:
                        return code
                    continue
                cells[CHOICE] = choice
            choice = cells[CHOICE]
            if choice < 0:
                cells[FOUND] = judge_rest(tracker, world, choice == AT_END)
                if cells[MODE] == REPLAY:
                    return DONE
                _note_rest(search, choice)
                continue
            transition(tracker, world, search, choice)
            if cells[MODE] == REPLAY:
                return DONE
            cells[TRANSITIONS] += 1
            _note_events(world, search, choice)
            if cells[FREE_NODE] and at(world.node, 0)["rb_right"] != cells[FREE_NODE]:
                return HAS_RANGES
            if not pack(world, search):
                return TOO_WIDE
        cells[PENDING] = not _take_up(search)
        if cells[PENDING]:
            return NEED_ROOM


@inline
def _take_up(search):
    """Keep the row that waits, and make one of the world's words, which waits in its turn.

    So the slot in which it is looked for has time to come from memory.
    """
    cells = search.cells
    if cells[ROW_WAITS] and not keep_row(search):
        return False
    if not set_row(search):
        return False
    if cells[CHANGED] != 0:
        prefetch(search.states.slots, first_slot(search.states, cells[ROW_HASH]))
        cells[ROW_PARENT], cells[ROW_CHOICE], cells[ROW_WAITS] = cells[NEXT], cells[CHOICE], 1
    return True


@inline
def _note_rest(search, choice):
    found = search.cells[FOUND]
    for hazard in range(len(search.found)):
        if found >> hazard & 1:
            _note(search, hazard, choice)
    if choice == AT_END:
        search.ends[found >> END_BITS] += 1
