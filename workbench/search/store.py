"""States, each kept once, exactly, in few bytes.

A state is a row of words (one or two for each object). A place in the row has few different words: they are numbered
in the order of their arrival, and a state is kept as its numbers, side by side, each in as many bits as its place has
needed so far. (Collapse compression: Holzmann, State compression in SPIN, 1997.) Nothing is hashed away: equal
numbers mean equal words.

A state's hash is the exclusive or of one for each (place, number) (Zobrist, 1970): a step changes few of them, and the
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
KNOWN, NEW, FULL = range(3)


class States(NamedTuple):
    """A list of different states.

    Attributes
    ----------
    row : ndarray of int64, shape (room, lanes)
        In the order of their arrival: the numbers of the words.
    slots : ndarray of int64, shape (2 * room,)
        Open addressing: bits of the state's hash, and its number plus one; or 0.
    layout : ndarray of int64, shape (words, 3)
        Where each word's number stands in a row: `LANE`, `SHIFT`, `MASK`.
    value : ndarray of int64, shape (words, most, 2)
        Word of each number, and its share of a state's hash.
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
    return _laid_out(np.ones(words, np.int64), room, FIRST_ROOM)


def _laid_out(bits: np.ndarray, room: int, pairs: int) -> States:
    layout = np.zeros((len(bits), 3), np.int64)
    lane = used = 0
    for w, width in enumerate(bits):
        if used + width > _BITS:
            lane, used = lane + 1, 0
        layout[w] = lane, used, (1 << width) - 1
        used += width
    return States(
        row=np.zeros((room, lane + 1), np.int64),
        slots=np.zeros(2 * room, np.int64),
        layout=layout,
        value=np.zeros((len(bits), 1 << bits.max(), 2), np.int64),
        counts=np.zeros(len(bits), np.int64),
        word_slots=np.zeros((pairs, 2), np.int64),
        cells=np.array([0, 0, _BITS + 1 - (2 * room).bit_length()], np.int64),
    )


def grown(states: States) -> States:
    """Give a list more room where it is short of it: for states; else for different words, and a place's numbers."""
    room, pairs = len(states.row), len(states.word_slots)
    count, words, _ = states.cells
    mask = states.layout[:, MASK]
    bits = np.log2(mask + 1).astype(np.int64)
    wider = bits + (states.counts * 4 > mask * 3)  # those that are nearly full, too
    if count == room:
        bigger = _laid_out(bits, 2 * room, pairs)
    elif 2 * words >= pairs:
        bigger = _laid_out(bits, room, 2 * pairs)
    else:
        bigger = _laid_out(wider, room, pairs)
    for w, n in enumerate(states.counts):
        bigger.value[w, :n] = states.value[w, :n]
    bigger.counts[:] = states.counts
    bigger.cells[:2] = states.cells[:2]
    if np.array_equal(bigger.layout, states.layout):
        bigger.row[:count] = states.row[:count]
    else:
        _copy_rows(states, bigger)
    _copy_slots(states.slots, bigger.slots, bigger.cells[2])
    _fill_word_slots(bigger)
    return bigger


def bytes_of(states: States) -> int:
    """Memory that is laid out; of the words' values, what is in use."""
    tables = states.row.nbytes + states.slots.nbytes + states.word_slots.nbytes
    return int(tables + states.cells[1] * states.value.itemsize)


@jit
def _copy_rows(states, bigger):
    """Copy the states into rows of another layout."""
    for s in range(states.cells[0]):
        for w in range(len(states.layout)):
            put_number(bigger, bigger.row[s], w, number_at(states, states.row[s], w))


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
            word = int(states.value[w, n, 0])
            h = _word_slot(slots, w, word)
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
def _word_slot(slots, w, word):
    return _mix(int(word) ^ w << 40) >> 32 & (len(slots) - 1)


@inline
def _mix(key):
    """Mix the bits of a key of 63 bits."""
    mixed = (key & _HALF) * _FACTORS[0] ^ (key >> 31) * _FACTORS[1]
    mixed ^= mixed >> 32
    return (mixed & _HALF) << 32 | mixed >> 31  # a product's upper bits are its least mixed


@inline
def number_of(states, w, word):
    """Number of a word at place ``w``, which joins that place's words if it is new; -1: there is no room for it."""
    slots = states.word_slots
    h = _word_slot(slots, w, word)
    while True:
        found = int(slots[np.uint64(h), 0])
        if found == 0:
            n = int(states.counts[w])
            if n > states.layout[w, MASK] or 2 * states.cells[1] >= len(slots):
                return -1
            states.counts[w] = n + 1
            states.cells[1] += 1
            states.value[w, n, 0] = word
            states.value[w, n, 1] = _mix(_mix(_mix(w << 32 | n))) if n > 0 else 0  # so that the first state's hash is 0
            slots[np.uint64(h), 0] = w << 32 | n + 1
            slots[np.uint64(h), 1] = word
            return n
        if slots[np.uint64(h), 1] == word and found >> 32 == w:
            return (found & _NUMBER) - 1
        h = (h + 1) & (len(slots) - 1)


# ---- states


@inline
def first_slot(states, hashed):
    """Where a state is looked for first."""
    return hashed >> states.cells[2]


@inline
def _equal(row, states, s):
    for lane in range(states.row.shape[1]):
        if row[lane] != states.row[s, lane]:
            return False
    return True


@inline
def add_state(states, row, hashed):
    """Append a state unless it is there already: `NEW`, `KNOWN`; or `FULL`, and nothing is done."""
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
    if n == len(states.row):
        return FULL
    for lane in range(states.row.shape[1]):
        states.row[n, lane] = row[lane]
    states.cells[0] = n + 1
    slots[np.uint64(h)] = mark | n + 1
    return NEW
