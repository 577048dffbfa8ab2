"""Where a search stands: its registers, its arrays, and what it has met so far."""

from typing import NamedTuple

import numpy as np

from workbench.accelerate import inline
from workbench.hazards import END_BITS, EVENTS
from workbench.mm import registers as R
from workbench.mm.world import World
from workbench.search.store import States

# A transition: a task's next step, or what the device does to a bio; and which of its outcomes.
DEVICE = 64
OUTCOME = 128  # times the number of the outcome
AT_REST, AT_END = -1, -2  # no transition: the state itself is judged

MOST_STEPS = 256  # that one transition may be made of
GO, DONE, NEED_ROOM, NEED_WORDS, TOO_WIDE, AT_LIMIT, HAS_RANGES = range(7)
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
    ROWS_WAIT,  # rows that are not among the states yet
    CHANGED,  # words in which the world is not the state that is taken up, as bits
    FRESH,  # words that the last transition has changed
    STEPS,
    RAN,  # of a replay: how many steps the transition has run
    FREE_NODE,  # first free node, if it has to stay free: the tracker is not known to keep ranges, and none are packed
    CELLS,
) = range(26)
ENDS = ("good", "deadlock", "stall", "bug", "other")  # in the order of hazards.GOOD_END, ...
HAZARD_COLUMNS = ("state", "choice", "level")

# The registers that are part of a state lie in two runs: those of `packing.pack_lists_of_world`, then all others.
_RUNS = (R.LRU_HEAD, R.SUBMITTERS), (R.JOURNAL_HANDLES, R.HAS_PINNED)


def registers_of(sys: np.ndarray) -> list[np.ndarray]:
    """Give the two runs of registers that are part of a state, as a row each.

    Parameters
    ----------
    sys : ndarray of int64
        Of a world.

    Returns
    -------
    list of structured ndarray, shape (1,)
        They are the world's own, not copies: compiled code may compare and copy these rows, but read no register by
        them (`aliasing`).
    """
    runs = (sys[first : last + 1] for first, last in _RUNS)
    return [run.view(np.dtype([("registers", np.int64, len(run))])) for run in runs]


class Kept(NamedTuple):
    """The expanded state's rows, byte for byte: what a transition has changed is found, and undone, by them.

    Attributes
    ----------
    page, node, bio, dio, task : ndarray
        As in the world.
    lists, counts : ndarray
        Registers (see `registers_of`).
    """

    page: np.ndarray
    node: np.ndarray
    bio: np.ndarray
    dio: np.ndarray
    task: np.ndarray
    lists: np.ndarray
    counts: np.ndarray


def kept_of(world: World) -> Kept:
    """Lay out rows to keep; the search fills them when it takes up its first state."""
    rows = world.page, world.node, world.bio, world.dio, world.task, *registers_of(world.sys)
    return Kept(*map(np.zeros_like, rows))


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
        Of the world after the last transition, where that has changed it; and of the state that is expanded.
    share : ndarray of int64, shape (words,)
        What each word of ``base`` gives to the hash.
    fresh : ndarray of int64, shape (words,)
        Words that the last transition has changed.
    kept : Kept
    lists, counts : ndarray
        The world's own registers (see `registers_of`).
    waiting : ndarray of int64, shape (rows, lanes)
        Rows that are to be kept as states, if they are new.
    told : ndarray of int64, shape (rows, 3)
        Of each of these the hash, the state from which it was reached, and the transition.
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
    share: np.ndarray
    fresh: np.ndarray
    kept: Kept
    lists: np.ndarray
    counts: np.ndarray
    waiting: np.ndarray
    told: np.ndarray
    order: np.ndarray
    found: np.ndarray
    taken: np.ndarray
    waits: np.ndarray
    ends: np.ndarray
    ran: np.ndarray
    cells: np.ndarray


@inline
def _note(search, hazard, choice):
    """Write down where a hazard was first seen: the earliest level counts."""
    found = search.found[hazard]
    level = search.cells[LEVEL] + (choice >= 0)
    if found[0] == 0 or level < found[2]:
        found[0], found[1], found[2] = search.cells[NEXT] + 1, choice, level


@inline
def note_events(world, search, choice):
    """Write down what a transition has made happen."""
    for i in range(len(EVENTS)):
        if world.sys[R.BUFFERLESS_DIRTY + i] and EVENTS[i] >= 0:
            _note(search, EVENTS[i], choice)


@inline
def note_rest(search, choice):
    """Write down what was found of a state at rest."""
    found = search.cells[FOUND]
    for hazard in range(len(search.found)):
        if found >> hazard & 1:
            _note(search, hazard, choice)
    if choice == AT_END:
        search.ends[found >> END_BITS] += 1
