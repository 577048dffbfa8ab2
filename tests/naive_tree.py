"""Two plain twins of the interval tree, and a driver that holds the tree against both.

- a *list* of the live intervals, in order of start and then of insertion, looked through from its head;
- a *bitmap* per page of the live intervals that cover it.

The driver is compiled so that a million operations take seconds; with NUMBA_DISABLE_JIT=1 it is plain Python.
"""

import numpy as np

from workbench.accelerate import allocating_jit as jit
from workbench.mm import interval_tree as tree

ROOT = 1  # header row of the tree under test
FIRST = 2  # first row that holds a node
INSERT, REMOVE, LOOK = 0, 1, 2

# What run() found; 0 is agreement.
AGREES, NOT_SOUND, NOT_IN_LIST, NOT_IN_BITMAP, LEAKED = range(5)


@jit
def list_insert(rows, length, node, n):
    """Put ``n`` behind all that do not start later; the new length."""
    place = length
    while place > 0 and node[rows[place - 1]]["start"] > node[n]["start"]:
        rows[place] = rows[place - 1]
        place -= 1
    rows[place] = n
    return length + 1


@jit
def list_remove(rows, length, n):
    """Close the gap that ``n`` leaves; the new length."""
    place = 0
    while rows[place] != n:
        place += 1
    for i in range(place, length - 1):
        rows[i] = rows[i + 1]
    return length - 1


@jit
def list_look(rows, length, node, start, last, found):
    """Write the rows that overlap ``[start, last]`` into ``found``; their number."""
    count = 0
    for i in range(length):
        if node[rows[i]]["start"] <= last and node[rows[i]]["last"] >= start:
            found[count] = rows[i]
            count += 1
    return count


@jit
def bitmap_flip(bitmap, n, start, last):
    """Enter row ``n`` at each of its pages, or take it away again."""
    for page in range(start, last + 1):
        bitmap[page, n // 32] ^= 1 << (n % 32)


@jit
def bitmap_look(bitmap, start, last, covering):
    """Write the set of rows that cover any page of ``[start, last]`` into ``covering``."""
    covering[:] = 0
    for page in range(start, last + 1):
        for word in range(len(covering)):
            covering[word] |= bitmap[page, word]


@jit
def tree_look(node, sys, start, last, found):
    """Write the rows that the tree gives into ``found``; their number, or -1 if there is no end to them."""
    count = 0
    n = tree.iter_first(node, sys, ROOT, start, last)
    while n != 0:
        if count == len(found):
            return -1
        found[count] = n
        count += 1
        n = tree.iter_next(node, sys, n, start, last)
    return count


@jit
def compare(node, sys, rows, length, bitmap, start, last):
    """Look up one range in all three; what differs and the number of overlaps."""
    theirs = np.zeros(len(node), np.int64)
    ours = np.zeros(len(node), np.int64)
    covering = np.zeros(bitmap.shape[1], np.int64)
    count = list_look(rows, length, node, start, last, theirs)
    if tree_look(node, sys, start, last, ours) != count:
        return NOT_IN_LIST, count
    for i in range(count):
        if ours[i] != theirs[i]:
            return NOT_IN_LIST, count
    bitmap_look(bitmap, start, last, covering)
    for i in range(count):
        covering[ours[i] // 32] ^= 1 << (ours[i] % 32)
    for word in covering:
        if word != 0:
            return NOT_IN_BITMAP, count
    return AGREES, count


@jit
def run(kinds, starts, lengths, picks, pages, size, checked, seen):
    """Apply a stream of operations to the tree and its twins, then empty the tree.

    Parameters
    ----------
    kinds, starts, lengths, picks : ndarray of int64
        Per operation: INSERT, REMOVE or LOOK; a first page; a number of pages (cut at ``pages``); which of
        the live nodes is removed (modulo their number).
    pages : int
        Pages of the file.
    size : int
        Greatest number of live nodes. An insert that finds no room looks instead, as does a remove that
        finds nothing.
    checked : bool
        Whether the invariants are checked after every operation.
    seen : ndarray of int64, shape (4,)
        Grows by the inserts, the removes, the look-ups and the overlaps found.

    Returns
    -------
    tuple of int
        What was found, and at which operation (-1 where all agree).
    """
    node = np.zeros(FIRST + size, tree.NODE)
    sys = np.zeros(2, np.int64)
    rows = np.zeros(size, np.int64)
    bitmap = np.zeros((pages, (FIRST + size) // 32 + 1), np.int64)
    tree.free_list_init(node, FIRST)
    length = 0
    for i in range(len(kinds)):
        start = starts[i]
        last = min(start + lengths[i], pages) - 1
        if kinds[i] == INSERT and length < size:
            n = tree.alloc(node)
            if n == 0:
                return LEAKED, i
            node[n]["start"], node[n]["last"] = start, last
            tree.insert(node, sys, ROOT, n)
            length = list_insert(rows, length, node, n)
            bitmap_flip(bitmap, n, start, last)
            seen[0] += 1
        elif kinds[i] == REMOVE and length > 0:
            n = rows[picks[i] % length]
            length = list_remove(rows, length, n)
            bitmap_flip(bitmap, n, node[n]["start"], node[n]["last"])
            tree.remove(node, sys, ROOT, n)
            tree.free(node, n)
            seen[1] += 1
        else:
            found, count = compare(node, sys, rows, length, bitmap, start, last)
            if found != AGREES:
                return found, i
            seen[2] += 1
            seen[3] += count
        if checked and tree.check(node, ROOT) != tree.SOUND:
            return NOT_SOUND, i
    while length > 0:
        tree.remove(node, sys, ROOT, rows[length - 1])
        tree.free(node, rows[length - 1])
        length -= 1
        if tree.check(node, ROOT) != tree.SOUND:
            return NOT_SOUND, len(kinds)
    for _ in range(size):
        if tree.alloc(node) == 0:
            return LEAKED, len(kinds)
    return (AGREES, -1) if tree.alloc(node) == 0 else (LEAKED, len(kinds))


def operations(seed, number, pages, longest):
    """Draw the streams that `run` takes: phases that grow, shrink and keep the tree, a third look-ups."""
    rng = np.random.default_rng(seed)
    grow = np.repeat(rng.choice([0.3, 0.6, 0.9], number // 64 + 1), 64)[:number]
    change = np.where(rng.random(number) < grow, INSERT, REMOVE)
    kinds = np.where(rng.random(number) < 1 / 3, LOOK, change)
    starts = rng.integers(0, pages, number)
    lengths = rng.integers(1, longest + 1, number)
    picks = rng.integers(0, 1 << 30, number)
    return kinds.astype(np.int64), starts, lengths, picks
