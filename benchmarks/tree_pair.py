"""The same case for the tree of the package and for the same algorithm in C: what is done, and by whom.

A file has as many pages as the tree has nodes; each node covers `COVERED` pages, from a random one on. Four operations,
per node or query: *build* inserts the nodes in random order; *stab* goes from node to node of those that cover a page;
*count* does so with the nodes that overlap `COUNTED` pages, a direct IO of 64 KiB; *move* takes a node out and puts it
in elsewhere. No build is like another, since branch predictors learn what is repeated.
"""

import ctypes
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import compiled
from workbench.accelerate import jit
from workbench.mm import interval_tree as tree
from workbench.mm.registers import RB_ROTATIONS, RB_VISITED

COVERED, COUNTED = 4, 16  # pages
ROOT, FIRST = 1, 2
HUGE_PAGE = 1 << 21


class Case(NamedTuple):
    """What is done, to ours and to a peer; nodes are numbered from 1, arrays are int64.

    Attributes
    ----------
    size : int
        Nodes.
    starts : ndarray
        First pages of the nodes, for one build after the other.
    pages : ndarray
        Where queries begin.
    moved, places : ndarray
        Nodes that move, and where to.
    """

    size: int
    starts: np.ndarray
    pages: np.ndarray
    moved: np.ndarray
    places: np.ndarray

    @property
    def builds(self) -> int:
        """How many trees are built."""
        return len(self.starts) // self.size

    def each(self, operation: str) -> int:
        """How many nodes or queries an operation is made of."""
        return {"build": len(self.starts), "move": len(self.moved)}.get(operation, len(self.pages))


def new_case(size: int, operations: int, ordered: bool = False) -> Case:
    """Draw one.

    Parameters
    ----------
    size, operations : int
    ordered : bool
        Nodes come in order of their starts, and there is one build.
    """
    rng = np.random.default_rng(size)
    starts = rng.integers(0, size, size * (1 if ordered else max(1, operations // size)))
    pages, places = rng.integers(0, size, (2, operations))
    return Case(size, np.sort(starts) if ordered else starts, pages, rng.integers(1, size + 1, operations), places)


def zeros(count: int, dtype: np.dtype) -> np.ndarray:
    """Rows from a boundary of huge pages on: the kernel gives ours and a peer's the same pages."""
    raw = np.zeros(count * dtype.itemsize + HUGE_PAGE, np.uint8)
    begin = -raw.ctypes.data % HUGE_PAGE
    return raw[begin : begin + count * dtype.itemsize].view(dtype)


@jit
def _build(node, sys, starts, size):
    for first in range(0, len(starts), size):
        node[ROOT]["rb_left"] = node[ROOT]["rb_right"] = 0
        for i in range(size):
            n = FIRST + i
            node[n]["start"], node[n]["last"] = starts[first + i], starts[first + i] + COVERED - 1
            tree.insert(node, sys, ROOT, n)


@jit
def _stab(node, sys, pages):
    found = 0
    for page in pages:
        n = tree.iter_first(node, sys, ROOT, page, page)
        while n != 0:
            found += n - ROOT
            n = tree.iter_next(node, sys, n, page, page)
    return found


@jit
def _count(node, sys, pages, counts):
    for i in range(len(pages)):
        found = 0
        n = tree.first_link(node, sys, ROOT, pages[i], pages[i] + COUNTED - 1)
        while n != 0:
            found += 1
            n = tree.next_link(node, sys, n, pages[i], pages[i] + COUNTED - 1)
        counts[i] = found


@jit
def _move(node, sys, moved, places):
    for i in range(len(moved)):
        n = ROOT + moved[i]
        tree.remove(node, sys, ROOT, n)
        node[n]["start"], node[n]["last"] = places[i], places[i] + COVERED - 1
        tree.insert(node, sys, ROOT, n)


class Ours:
    """The tree of the package."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.node = zeros(FIRST + case.size, tree.NODE)
        self.sys = np.zeros(2, np.int64)
        self.counts = np.zeros(len(case.pages), np.int64)

    def build(self) -> None:
        """Build one tree after the other."""
        _build(self.node, self.sys, self.case.starts, self.case.size)

    def stab(self) -> int:
        """Sum of the numbers of all nodes found."""
        return int(_stab(self.node, self.sys, self.case.pages))

    def count(self) -> np.ndarray:
        """Nodes found, by query."""
        _count(self.node, self.sys, self.case.pages, self.counts)
        return self.counts

    def move(self) -> None:
        """Take nodes out and put them in elsewhere."""
        _move(self.node, self.sys, self.case.moved, self.case.places)

    def shape(self) -> np.ndarray:
        """Give by node the numbers of its parent and children, subtree_last, and whether it is red."""
        node = self.node[FIRST:]
        links = [
            np.maximum(node[name].astype(int) // tree.WORDS - ROOT, 0) for name in ("rb_parent", "rb_left", "rb_right")
        ]
        return np.stack([*links, node["subtree_last"], node["rb_color"] == tree.RB_RED], axis=1)

    def counters(self) -> tuple[int, int]:
        """Nodes visited, and rotations, since it was made."""
        return int(self.sys[RB_VISITED]), int(self.sys[RB_ROTATIONS])


class InC:
    """The same algorithm in C.

    Raises
    ------
    Skipped
        There is no gcc.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self._library = compiled("interval_tree.c")
        self._library.stab.restype = ctypes.c_long
        self._node = zeros(FIRST + case.size, np.dtype((np.void, self._library.bytes_per_node())))
        self._tree = np.zeros(4, np.int64)  # of its `struct tree`
        self._starts, self._lasts = case.starts, case.starts + COVERED - 1
        self._counted = case.pages + COUNTED - 1
        self._moved_lasts = case.places + COVERED - 1
        self.counts = np.zeros(len(case.pages), np.int64)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the library with arrays and numbers."""
        given = (ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_long(a) for a in arguments)
        return getattr(self._library, name)(*given)

    def build(self) -> None:
        """Build as ours does; so do the other methods."""
        case = self.case
        self._call("build", self._tree, self._node, case.size, self._starts, self._lasts, case.builds)

    def stab(self) -> int:
        """Sum of the numbers of all nodes found."""
        pages = self.case.pages
        return self._call("stab", self._tree, self._node, pages, pages, len(pages))

    def count(self) -> np.ndarray:
        """Nodes found, by query."""
        pages = self.case.pages
        self._call("count", self._tree, pages, self._counted, len(pages), self.counts)
        return self.counts

    def move(self) -> None:
        """Take nodes out and put them in elsewhere."""
        moved = self.case.moved
        self._call("move", self._tree, self._node, moved, self.case.places, self._moved_lasts, len(moved))

    def shape(self) -> np.ndarray:
        """Give the same table."""
        table = np.zeros((self.case.size, 5), np.int64)
        self._call("shape", self._node, self.case.size, table)
        return table

    def counters(self) -> tuple[int, int]:
        """Nodes visited, and rotations, since it was made."""
        return int(self._tree[2]), int(self._tree[3])


def check_trees(ours: Any, theirs: Any) -> None:
    """Compare links, colours and counters.

    Raises
    ------
    AssertionError
        They differ.
    """
    assert np.array_equal(ours.shape(), theirs.shape()), "the trees have different shapes"
    assert ours.counters() == theirs.counters(), "the trees count different visits or rotations"


def check_queries(ours: Any, theirs: Any, operations: tuple[str, ...]) -> None:
    """Compare what queries find.

    Raises
    ------
    AssertionError
        It differs.
    """
    for operation in operations:
        found = getattr(ours, operation)(), getattr(theirs, operation)()
        assert np.array_equal(*found), f"{operation} gives different results"
