"""Between words and states: rows of numbers, which wait a while before they are looked for among the states.

While they wait, what the search will look at comes from memory: first the slot of each, when it joins the others; then,
when they are many, the state that each slot names, one after the other without waiting for any.
"""

from workbench.accelerate import inline, jit
from workbench.intrinsics import prefetch
from workbench.search.progress import CHANGED, CHOICE, FRESH, HASH, NEXT, ROWS_WAIT, WORDS
from workbench.search.store import (
    NEW,
    add_state,
    candidate,
    first_slot,
    has_room,
    number_at,
    number_of,
    put_number,
    share_of,
)

MOST_WAITING = 16
ROW_HASH, ROW_PARENT, ROW_CHOICE, ROW_COLUMNS = range(4)


@inline
def set_row(search):
    """Make a row, the next that waits, of the expanded state's, but for the fresh words.

    Returns
    -------
    bool
        False: there is no room for a word.
    """
    cells, states, row = search.cells, search.states, search.waiting[search.cells[ROWS_WAIT]]
    expanded = states.row[max(cells[NEXT], 0)]
    for lane in range(len(expanded)):
        row[lane] = expanded[lane]
    hashed = cells[HASH]
    for i in range(cells[FRESH]):
        w = int(search.fresh[i])
        word = int(search.word[w])
        share = share_of(w, word)
        n = number_of(states, w, word, share)
        if n < 0:
            return False
        hashed ^= search.share[w] ^ share
        put_number(states, row, w, n)
    told = search.told[cells[ROWS_WAIT]]
    told[ROW_HASH], told[ROW_PARENT], told[ROW_CHOICE] = hashed, max(cells[NEXT], 0), cells[CHOICE]
    return True


@inline
def let_wait(search):
    """Have the row that was set wait with the others."""
    n = search.cells[ROWS_WAIT]
    prefetch(search.states.slots, first_slot(search.states, search.told[n, ROW_HASH]))
    search.cells[ROWS_WAIT] = n + 1


@jit
def keep_rows(search):
    """Keep the rows that wait as states, those that are new; False: there may be no room."""
    cells, states, told = search.cells, search.states, search.told
    if not has_room(states, cells[ROWS_WAIT]):
        return False
    lanes = states.row.shape[1]
    for i in range(cells[ROWS_WAIT]):
        s = candidate(states, told[i, ROW_HASH])
        if s >= 0:
            prefetch(states.row, s * lanes)
    for i in range(cells[ROWS_WAIT]):
        if add_state(states, search.waiting[i], told[i, ROW_HASH]) == NEW:
            n = states.cells[0] - 1
            search.parent[n] = told[i, ROW_PARENT]
            search.choice[n] = told[i, ROW_CHOICE]
    cells[ROWS_WAIT] = 0
    return True


@inline
def load(search, s):
    """Set ``base`` to the words of state ``s``; `CHANGED` has the bits of those in which the world is another."""
    base, cells, states = search.base, search.cells, search.states
    row = states.row[s]
    changed = 0
    hashed = cells[HASH]
    for w in range(cells[WORDS]):
        word = int(states.value[w, number_at(states, row, w)])
        if base[w] != word:
            changed |= 1 << w
            share = share_of(w, word)
            hashed ^= search.share[w] ^ share
            base[w], search.share[w] = word, share
    cells[CHANGED], cells[HASH] = changed, hashed
