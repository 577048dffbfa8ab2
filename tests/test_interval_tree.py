"""The interval tree against a naive list and a bitmap, its invariants, and broken copies of it.

With NUMBA_DISABLE_JIT=1 the sizes shrink: the streams to a hundredth, hypothesis to a fifth.
"""

import naive_tree as naive
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from workbench import intrinsics
from workbench.accelerate import JIT_ENABLED
from workbench.mm import interval_tree as tree
from workbench.mm.registers import RB_ROTATIONS, RB_VISITED

SHRINK = 1 if JIT_ENABLED else 100
PAGES, ROOM = 64, 38  # of the file, and live nodes, in the hypothesis test

# pages, longest interval in pages, live nodes at most: many equal starts; nested; a whole file; sparse
REGIMES = [(8, 8, 60), (256, 40, 100), (300, 300, 30), (1000, 5, 200)]


def new_tree(*intervals, room=0):
    """Give a tree with room for some more, and the counters."""
    node = np.zeros(naive.FIRST + len(intervals) + room, tree.NODE)
    sys = np.zeros(2, np.int64)
    tree.free_list_init(node, naive.FIRST)
    for start, last in intervals:
        add(node, sys, start, last)
    return node, sys


def add(node, sys, start, last):
    """Allocate and insert one interval; its row."""
    n = int(tree.alloc(node))
    node[n]["start"], node[n]["last"] = start, last
    tree.insert(node, sys, naive.ROOT, n)
    return n


def overlapping(node, sys, start, last):
    """Rows that overlap, as the tree gives them."""
    found = np.zeros(len(node), np.int64)
    return found[: naive.tree_look(node, sys, start, last, found)].tolist()


@pytest.mark.parametrize(("pages", "longest", "size"), REGIMES)
def test_agrees_with_list_and_bitmap_on_a_million_operations(pages, longest, size):
    number = 260_000 // SHRINK  # in each of the four regimes
    seen = np.zeros(4, np.int64)
    streams = naive.operations(pages, number, pages, longest)
    assert naive.run(*streams, pages, size, False, seen) == (naive.AGREES, -1)
    assert seen[:3].sum() == number
    assert (seen > number // 50).all()  # no kind of operation was rare, and the look-ups found something


@pytest.mark.parametrize(("pages", "longest", "size"), REGIMES)
def test_invariants_hold_after_every_operation(pages, longest, size):
    streams = naive.operations(pages + 1, 40_000 // SHRINK, pages, longest)
    assert naive.run(*streams, pages, size, True, np.zeros(4, np.int64)) == (naive.AGREES, -1)


class Sequences(RuleBasedStateMachine):
    """Short sequences against a Python list, every operation followed by a check; failures shrink."""

    @initialize()
    def start(self):
        self.node, self.sys = new_tree(room=ROOM)
        self.live = []

    @precondition(lambda self: len(self.live) < ROOM)
    @rule(start=st.integers(0, PAGES - 1), length=st.integers(1, PAGES))
    def insert(self, start, length):
        last = start + length - 1
        n = add(self.node, self.sys, start, last)
        self.live.append((start, last, n))
        self.live.sort(key=lambda interval: interval[0])  # stable: of equal starts the later comes later

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, ROOM - 1))
    def remove(self, pick):
        _, _, n = self.live.pop(pick % len(self.live))
        tree.remove(self.node, self.sys, naive.ROOT, n)
        tree.free(self.node, n)

    @rule(start=st.integers(0, 2 * PAGES), length=st.integers(1, PAGES))
    def look(self, start, length):
        last = start + length - 1
        right = [n for first, end, n in self.live if first <= last and start <= end]
        assert overlapping(self.node, self.sys, start, last) == right

    @invariant()
    def is_sound(self):
        assert tree.check(self.node, naive.ROOT) == tree.SOUND


TestSequences = Sequences.TestCase
TestSequences.settings = settings(
    max_examples=100 if JIT_ENABLED else 20,
    stateful_step_count=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_row_is_48_bytes():
    assert tree.NODE.itemsize == 48


def test_ends_are_inclusive():
    #  page   0 1 2 3 4 5 6
    #  a          [---]
    #  b              [-----]     page 4 belongs to both
    node, sys = new_tree((2, 4), (4, 6))
    a, b = 2, 3
    assert overlapping(node, sys, 1, 1) == []
    assert overlapping(node, sys, 2, 2) == [a]
    assert overlapping(node, sys, 4, 4) == [a, b]
    assert overlapping(node, sys, 5, 6) == [b]
    assert overlapping(node, sys, 7, 9) == []


def test_equal_starts_come_in_order_of_insertion():
    node, sys = new_tree(*[(5, 5 + i % 3) for i in range(20)])
    assert overlapping(node, sys, 5, 5) == list(range(2, 22))


def test_offsets_go_up_to_the_end_of_32_bits():
    end = 2**31 - 1
    node, sys = new_tree((0, end), (end, end))
    assert overlapping(node, sys, end, end) == [2, 3]
    assert overlapping(node, sys, 0, end - 1) == [2]


def test_two_trees_share_the_rows():
    node = np.zeros(12, tree.NODE)
    sys = np.zeros(2, np.int64)
    tree.free_list_init(node, 3)
    for start in range(8):
        n = int(tree.alloc(node))
        node[n]["start"] = node[n]["last"] = start
        tree.insert(node, sys, 1 + start % 2, n)
    assert tree.check(node, 1) == tree.check(node, 2) == tree.SOUND
    assert int(tree.iter_first(node, sys, 1, 3, 3)) == 0
    assert node[int(tree.iter_first(node, sys, 2, 3, 3))]["start"] == 3


def test_counts_of_three_ascending_inserts():
    #   2              3
    #    \    ->      / \      one rotation, and 0 + 1 + 2 nodes on the way down
    #     3          2   4
    #      \
    #       4
    _, sys = new_tree((0, 0), (1, 1), (2, 2))
    assert (sys[RB_VISITED], sys[RB_ROTATIONS]) == (3, 1)


def test_walk_beyond_the_ends_of_the_tree_stops_at_once():
    node, sys = new_tree(*[(100 + i, 100 + i) for i in range(50)])
    for start, last, nodes in [(200, 300, 1), (0, 99, 2)]:  # the root; the root and the leftmost node
        sys[:] = 0
        assert overlapping(node, sys, start, last) == []
        assert sys[RB_VISITED] == nodes


def test_free_list_runs_out_and_gives_back_clean_rows():
    node = np.zeros(4, tree.NODE)
    tree.free_list_init(node, 2)
    assert [int(tree.alloc(node)) for _ in range(3)] == [2, 3, 0]
    node[3] = (1,) * len(tree.NODE.names)
    tree.free(node, 3)
    assert int(tree.alloc(node)) == 3
    assert node[3] == np.zeros((), tree.NODE)


@pytest.mark.parametrize(
    ("row", "field", "value", "found"),
    [
        (2, "rb_parent", tree.link_to(5), tree.BAD_LINKS),
        (2, "start", 9, tree.BAD_ORDER),
        (3, "rb_color", tree.RB_RED, tree.BAD_RED),
        (2, "rb_color", tree.RB_RED, tree.BAD_BLACK_HEIGHT),
        (2, "subtree_last", 7, tree.BAD_SUBTREE_LAST),
        (naive.ROOT, "rb_right", tree.link_to(3), tree.BAD_LEFTMOST),
    ],
)
def test_check_names_what_is_broken(row, field, value, found):
    #      3 black         rows; row n covers page n - 2
    #     /       \
    #    2 black   4 black
    #               \
    #                5 red
    node, _ = new_tree((0, 0), (1, 1), (2, 2), (3, 3))
    assert tree.check(node, naive.ROOT) == tree.SOUND
    node[row][field] = value
    assert tree.check(node, naive.ROOT) == found


def test_check_ends_on_a_cycle():
    node, _ = new_tree((0, 0), (1, 1), (2, 2))
    node[2]["rb_left"] = node[2]["rb_parent"] = tree.link_to(2)
    assert tree.check(node, naive.ROOT) == tree.BAD_LINKS


@pytest.fixture
def plain(monkeypatch):
    """Replace every compiled function by its Python source, so that one of them can be exchanged."""
    for module in (tree, naive):
        for name, function in list(vars(module).items()):
            if hasattr(function, "py_func"):
                monkeypatch.setattr(module, name, function.py_func)
    monkeypatch.setattr(intrinsics, "JIT_ENABLED", False)  # accessors ask whether they are compiled
    return monkeypatch


def run_plain(checked):
    """Run 1500 operations in plain Python; what was found."""
    pages, longest, size = 256, 8, 40
    streams = naive.operations(7, 1500, pages, longest)
    return naive.run(*streams, pages, size, checked, np.zeros(4, np.int64))[0]


def test_plain_python_agrees(plain):
    assert run_plain(True) == naive.AGREES


def nothing(*_):
    return 0


def short_propagate(right):
    return lambda node, n, stop: right(node, n, tree._parent(node, n)) if n != stop else 0


# What is broken -> the function; its broken form, made from the right one; what checking after every
# operation finds; whether the look-ups alone find it too (else the tree is slower, or very seldom wrong).
MUTANTS = {
    "augmentation not propagated on erase": ("_propagate", lambda right: nothing, naive.NOT_SOUND, True),
    "propagation stops after one node": ("_propagate", short_propagate, naive.NOT_SOUND, True),
    "colours not repaired after insert": ("_insert_color", lambda right: nothing, naive.NOT_SOUND, False),
    "colours not repaired after erase": ("_erase_color", lambda right: nothing, naive.NOT_SOUND, True),
    "children's subtree_last forgotten": (
        "_compute_subtree_last",
        lambda right: lambda node, n: tree._last(node, n),
        naive.NOT_SOUND,
        True,
    ),
    "leftmost node not kept": ("_next_of_leftmost", lambda right: nothing, naive.NOT_SOUND, False),
    "iter_first takes last as exclusive": (
        "iter_first",
        lambda right: lambda node, sys, root, start, last: right(node, sys, root, start, last - 1),
        naive.NOT_IN_LIST,
        True,
    ),
    "iter_next takes start as exclusive": (
        "iter_next",
        lambda right: lambda node, sys, n, start, last: right(node, sys, n, start + 1, last),
        naive.NOT_IN_LIST,
        True,
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_caught(plain, mutant):
    name, broken, found, by_look_ups = MUTANTS[mutant]
    plain.setattr(tree, name, broken(getattr(tree, name)))
    assert run_plain(True) == found
    if by_look_ups:
        assert run_plain(False) != naive.AGREES
