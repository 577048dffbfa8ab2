"""States, each kept once, exactly, in few bytes.

A state is a row of words (one or two for each object). Each word is *interned*: it gets a number, the same for the same
word. The numbers are the leaves of a binary tree whose inner nodes are pairs of numbers, interned as well; the root's
pair is the state. States differ in few objects, so nearly all of the tree is shared, and a step interns again
only the path from what has changed up to the root. (Tree compression: Blom, Lisser, van de Pol and Weber, 2009; hash
consing.) Nothing is hashed away: equal numbers mean equal words.
"""

from typing import NamedTuple

import numpy as np

from workbench.accelerate import inline, jit

_MIX = 0x1E3779B97F4A7C15  # odd; the golden ratio without its top bits, so that it stays an int64
FIRST_ROOM = 1 << 12


class Table(NamedTuple):
    """A set of ``int64`` keys, each numbered in the order of its arrival.

    Attributes
    ----------
    keys : ndarray of int64, shape (room,)
        Key of each number.
    slots : ndarray of int64, shape (4 * room,)
        Open addressing, in pairs: number plus one, or 0, and beside it the key, so that a look is at one place.
    cells : ndarray of int64, shape (1,)
        How many keys there are.
    """

    keys: np.ndarray
    slots: np.ndarray
    cells: np.ndarray


class Rows(NamedTuple):
    """A list of different ``int64`` keys.

    Attributes
    ----------
    keys : ndarray of int64, shape (room,)
        In the order of their arrival.
    slots : ndarray of int64, shape (2 * room,)
        Open addressing: key plus one, or 0.
    cells : ndarray of int64, shape (1,)
        How many keys there are.
    """

    keys: np.ndarray
    slots: np.ndarray
    cells: np.ndarray


def new_rows(room: int = FIRST_ROOM) -> Rows:
    """Make an empty list; ``room`` is a power of two."""
    return Rows(np.zeros(room, np.int64), np.zeros(2 * room, np.int64), np.zeros(1, np.int64))


def more_rows(rows: Rows) -> Rows:
    """Give a list twice the room."""
    bigger = new_rows(2 * len(rows.keys))
    bigger.keys[: len(rows.keys)] = rows.keys
    bigger.cells[0] = rows.cells[0]
    _refill_rows(bigger)
    return bigger


@jit
def _refill_rows(rows):
    for i in range(rows.cells[0]):
        key = int(rows.keys[i])
        h = _slot_of(rows.slots, key)
        while rows.slots[h] != 0:
            h = (h + 1) & (len(rows.slots) - 1)
        rows.slots[h] = key + 1


@inline
def is_new(rows, key):
    """Append a key unless it is there already; whether it was new. The caller sees to it that there is room."""
    slots = rows.slots
    h = _slot_of(slots, key)
    while True:
        found = slots[np.uint64(h)]
        if found == key + 1:
            return False
        if found == 0:
            slots[np.uint64(h)] = key + 1
            rows.keys[rows.cells[0]] = key
            rows.cells[0] += 1
            return True
        h = (h + 1) & (len(slots) - 1)


def new_table(room: int = FIRST_ROOM) -> Table:
    """Make an empty table; ``room`` is a power of two."""
    return Table(np.zeros(room, np.int64), np.zeros(4 * room, np.int64), np.zeros(1, np.int64))


def grown(table: Table) -> Table:
    """Give a table twice the room."""
    bigger = new_table(2 * len(table.keys))
    bigger.keys[: len(table.keys)] = table.keys
    bigger.cells[0] = table.cells[0]
    _fill_slots(bigger)
    return bigger


@inline
def _slot_of(slots, key):
    """Where to look first; even, so that it fits single slots and pairs."""
    key = int(key)
    mixed = (key ^ (key >> 32)) * _MIX
    return (mixed ^ (mixed >> 31)) & (len(slots) - 2)


@jit
def _fill_slots(table):
    for i in range(table.cells[0]):
        h = _slot_of(table.slots, int(table.keys[i]))
        while table.slots[h] != 0:
            h = (h + 2) & (len(table.slots) - 1)
        table.slots[h] = i + 1
        table.slots[h + 1] = table.keys[i]


@inline
def number_of(table, key):
    """Number of a key, which joins the table if it is new.

    The caller sees to it that there is room for one more (`room_left`).
    """
    keys, slots = table.keys, table.slots
    h = _slot_of(slots, key)
    while True:
        found = int(slots[np.uint64(h)])
        if found == 0:
            n = int(table.cells[0])
            keys[n] = key
            slots[np.uint64(h)] = n + 1
            slots[np.uint64(h + 1)] = key
            table.cells[0] = n + 1
            return n
        if slots[np.uint64(h + 1)] == key:
            return found - 1
        h = (h + 2) & (len(slots) - 1)


@inline
def room_left(table):
    """How many keys still fit."""
    return len(table.keys) - table.cells[0]


@inline
def pair(left, right):
    """Key of an inner node."""
    return left << 32 | right
