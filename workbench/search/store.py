"""States, each kept once, exactly, in few bytes.

A state is a row of words (one or two for each object). A place in the row has few different words: they are numbered
in the order of their arrival, and a state is kept as its numbers, side by side, each in as many bits as its place has
needed so far. (Collapse compression: Holzmann, State compression in SPIN, 1997.) Nothing is hashed away: equal
numbers mean equal words.

A state's hash is the exclusive or of one for each (place, word) (Zobrist, 1970): a step changes few of them, and the
hash does not depend on how a row is laid out. Slots are chosen by its upper bits, so that they stay in order as their
table grows.
"""

from typing import NamedTuple

import numpy as np

from workbench.accelerate import inline, jit

_FACTORS = 0x7FEB352D, 0x61C88647  # odd, of 31 bits: products with 32 bits fit an int64 (numba takes it that they do)
_HALF = (1 << 31) - 1
_BITS = 63  # in use of an int64: plain Python has no sign bit to shift into
_STATE = _HALF  # of a state's slot: its number plus one; the rest are bits of its hash
_NUMBER = (1 << 32) - 1  # of a word's slot: its number plus one; above it, its place
FIRST_ROOM = 1 << 12
LANE, SHIFT, MASK = range(3)
AHEAD = 8  # times the room: memory that is laid out for rows, of which what nobody has written to takes none
KNOWN, NEW = range(2)


class States(NamedTuple):
    """A list of different states.

    Attributes
    ----------
    row : ndarray of int64, shape (room or more, lanes)
        In the order of their arrival: the numbers of the words.
    slots : ndarray of int64, shape (2 * room,)
        Open addressing: bits of the state's hash, and its number plus one; or 0.
    layout : ndarray of int64, shape (words, 3)
        Where each word's number stands in a row: `LANE`, `SHIFT`, `MASK`.
    value : ndarray of int64, shape (words, most)
        Word of each number.
    counts : ndarray of int64, shape (words,)
        Different words of each place.
    word_slots : ndarray of int64, shape (pairs, 2)
        Open addressing: place and number plus one, or 0; and beside them the word, so that a look is at one place.
    cells : ndarray of int64, shape (3,)
        States; different words of all places; bits of a hash that do not choose its slot.
    """

    row: np.ndarray
    slots: np.ndarray
    layout: np.ndarray
    value: np.ndarray
    counts: np.ndarray
    word_slots: np.ndarray
    cells: np.ndarray


def new_states(words: int, room: int = FIRST_ROOM) -> States:
    """Make an empty list for states of so many words; ``room`` is a power of two."""
    layout, lanes = _layout(np.ones(words, np.int64))
    return States(
        row=np.zeros((room, lanes), np.int64),
        slots=np.zeros(2 * room, np.int64),
        layout=layout,
        value=np.zeros((words, 2), np.int64),
        counts=np.zeros(words, np.int64),
        word_slots=np.zeros((FIRST_ROOM, 2), np.int64),
        cells=np.array([0, 0, _BITS + 1 - (2 * room).bit_length()], np.int64),
    )


def _layout(bits: np.ndarray) -> tuple[np.ndarray, int]:
    """Lay out numbers of so many bits each in a row; and how many lanes that takes."""
    layout = np.zeros((len(bits), 3), np.int64)
    lane = used = 0
    for w, width in enumerate(bits):
        if used + width > _BITS:
            lane, used = lane + 1, 0
        layout[w] = lane, used, (1 << width) - 1
        used += width
    return layout, lane + 1


def room_of(states: States) -> int:
    """States that there is room for."""
    return len(states.slots) // 2


def with_room(states: States) -> States:
    """Give a list room for twice as many states. It is to be used instead of the one given."""
    slots = np.zeros(2 * len(states.slots), np.int64)
    _copy_slots(states.slots, slots, states.cells[2] - 1)
    count, words, unused = states.cells
    return states._replace(
        row=lengthened(states.row, len(slots) // 2, count), slots=slots, cells=np.array([count, words, unused - 1])
    )


def lengthened(array: np.ndarray, room: int, used: int) -> np.ndarray:
    """Give an array that has so many rows or more: the same one, or a longer copy of those that are used.

    A longer one is much longer, so that little is copied in the end: unused rows take no memory before they are used.
    """
    if len(array) >= room:
        return array
    longer = _laid_out(room, array.shape[1:], array.dtype)
    longer[:used] = array[:used]
    return longer


def _laid_out(room: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    try:
        return np.zeros((AHEAD * room, *shape), dtype)
    except MemoryError:  # the system lays out no more than it has
        return np.zeros((room, *shape), dtype)


def with_words(states: States) -> States:
    """Give a list room for more different words: in all, or of a place. It is to be used instead of the one given."""
    pairs, mask = len(states.word_slots), states.layout[:, MASK]
    bits = np.log2(mask + 1).astype(np.int64)
    if 2 * states.cells[1] >= pairs:
        pairs *= 2
    else:
        bits += states.counts * 4 > mask * 3  # those that are nearly full, too
    layout, lanes = _layout(bits)
    value = np.zeros((len(bits), 1 << bits.max()), np.int64)
    for w, n in enumerate(states.counts):
        value[w, :n] = states.value[w, :n]
    row = states.row
    if not np.array_equal(layout, states.layout):
        row = _laid_out(room_of(states), (lanes,), np.dtype(np.int64))
        _copy_rows(states, row, layout)
    bigger = states._replace(row=row, layout=layout, value=value, word_slots=np.zeros((pairs, 2), np.int64))
    _fill_word_slots(bigger)
    return bigger


def bytes_of(states: States) -> int:
    """Memory of the list when it is full of states; of the words' values, what is in use."""
    tables = room_of(states) * states.row[0].nbytes + states.slots.nbytes + states.word_slots.nbytes
    return int(tables + states.cells[1] * states.value.itemsize)


@jit
def _copy_rows(states, row, layout):
    """Copy the states into rows of another layout, which are 0."""
    for s in range(states.cells[0]):
        for w in range(len(layout)):
            row[s, layout[w, LANE]] |= number_at(states, states.row[s], w) << layout[w, SHIFT]


@jit
def _copy_slots(slots, bigger, unused):
    """Copy the states' slots into a table of as many or more."""
    for i in range(len(slots)):
        if slots[i] != 0:
            h = int(slots[i]) >> unused
            while bigger[h] != 0:
                h = (h + 1) & (len(bigger) - 1)
            bigger[h] = slots[i]


@jit
def _fill_word_slots(states):
    slots = states.word_slots
    for w in range(len(states.counts)):
        for n in range(states.counts[w]):
            word = int(states.value[w, n])
            h = _word_slot(slots, share_of(w, word))
            while slots[h, 0] != 0:
                h = (h + 1) & (len(slots) - 1)
            slots[h, 0] = w << 32 | n + 1
            slots[h, 1] = word


# ---- words


@inline
def number_at(states, row, w):
    """Number of word ``w`` in a row."""
    place = states.layout[np.uint64(w)]
    return row[np.uint64(place[LANE])] >> place[SHIFT] & place[MASK]


@inline
def put_number(states, row, w, number):
    """Set the number of word ``w`` in a row."""
    place = states.layout[np.uint64(w)]
    kept = row[np.uint64(place[LANE])] & ~(place[MASK] << place[SHIFT])
    row[np.uint64(place[LANE])] = kept | number << place[SHIFT]


@inline
def share_of(w, word):
    """Share that a word at place ``w`` has in a state's hash."""
    return _mix(_mix(int(word)) ^ (w + 1) * _FACTORS[0])


@inline
def _word_slot(slots, share):
    return share >> 32 & (len(slots) - 1)


@inline
def _mix(key):
    """Mix the bits of a key of 63 bits."""
    mixed = (key & _HALF) * _FACTORS[0] ^ (key >> 31) * _FACTORS[1]
    mixed ^= mixed >> 32
    return (mixed & _HALF) << 32 | mixed >> 31  # a product's upper bits are its least mixed


@inline
def number_of(states, w, word, share):
    """Number of a word at place ``w``, which joins that place's words if it is new; -1: there is no room for it."""
    slots = states.word_slots
    h = _word_slot(slots, share)
    while True:
        found = int(slots[np.uint64(h), 0])
        if found == 0:
            return _new_number(states, w, word, h)
        if slots[np.uint64(h), 1] == word and found >> 32 == w:
            return (found & _NUMBER) - 1
        h = (h + 1) & (len(slots) - 1)


@jit
def _new_number(states, w, word, h):
    """Number a new word, which belongs into slot ``h``; -1: there is no room for it."""
    n = int(states.counts[w])
    if n > states.layout[w, MASK] or 2 * states.cells[1] >= len(states.word_slots):
        return -1
    states.counts[w] = n + 1
    states.cells[1] += 1
    states.value[w, n] = word
    states.word_slots[h, 0] = w << 32 | n + 1
    states.word_slots[h, 1] = word
    return n


# ---- states


@inline
def first_slot(states, hashed):
    """Where a state is looked for first."""
    return hashed >> states.cells[2]


@inline
def candidate(states, hashed):
    """The state that is met first where one is looked for, if it may be the same; or -1."""
    found = int(states.slots[np.uint64(first_slot(states, hashed))])
    return (found & _STATE) - 1 if found & ~_STATE == hashed & ~_STATE else -1


@inline
def has_room(states, more):
    """Whether there is room for so many more states."""
    return 2 * (states.cells[0] + more) <= len(states.slots)


@inline
def _equal(row, states, s):
    for lane in range(states.row.shape[1]):
        if row[lane] != states.row[s, lane]:
            return False
    return True


@inline
def add_state(states, row, hashed):
    """Append a state, for which there is room, unless it is there already: `NEW`, `KNOWN`."""
    slots = states.slots
    mark = hashed & ~_STATE
    h = first_slot(states, hashed)
    while True:
        found = int(slots[np.uint64(h)])
        if found == 0:
            break
        if found & ~_STATE == mark and _equal(row, states, (found & _STATE) - 1):
            return KNOWN
        h = (h + 1) & (len(slots) - 1)
    n = int(states.cells[0])
    for lane in range(states.row.shape[1]):
        states.row[n, lane] = row[lane]
    states.cells[0] = n + 1
    slots[np.uint64(h)] = mark | n + 1
    return NEW
