"""Packages that find overlapping intervals, each called as its documentation has it; nodes are numbered from 1.

`intervaltree` and `sortedcontainers` are plain Python and change; `superintervals` and `ncls` are C++ and C, and made
once for a set. A peer is made from a case of `benchmarks.tree_pair`, and the pages of a node and of a count.
"""

import importlib
from typing import Any

import numpy as np

from benchmarks.measure import Skipped


def package(name: str) -> Any:
    """Import it.

    Raises
    ------
    Skipped
        It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise Skipped(f"needs {name}") from None


class _Plain:
    """What the two in Python have in common: `starts` by node, and the queries as lists."""

    def __init__(self, case: Any, covered: int, counted: int) -> None:
        self.case, self.covered, self.counted = case, covered, counted
        self.builds = case.starts.reshape(-1, case.size).tolist()
        self.pages = case.pages.tolist()
        self.moves = list(zip(case.moved.tolist(), case.places.tolist(), strict=True))
        self.starts: list[int] = []


class IntervalTree(_Plain):
    """An augmented AVL tree; its ends are exclusive."""

    def __init__(self, case: Any, covered: int, counted: int) -> None:
        super().__init__(case, covered, counted)
        self._package = package("intervaltree")

    def build(self) -> None:
        """Make one set after the other."""
        for starts in self.builds:
            self.tree = self._package.IntervalTree()
            self.starts = [0, *starts]
            for n, start in enumerate(starts, 1):
                self.tree.addi(start, start + self.covered, n)

    def stab(self) -> int:
        """Sum of the numbers of all nodes found."""
        return sum(found.data for page in self.pages for found in self.tree.at(page))

    def count(self) -> list[int]:
        """Nodes found, by query."""
        return [len(self.tree.overlap(page, page + self.counted)) for page in self.pages]

    def move(self) -> None:
        """Take nodes out and put them in elsewhere."""
        for n, place in self.moves:
            self.tree.removei(self.starts[n], self.starts[n] + self.covered, n)
            self.starts[n] = place
            self.tree.addi(place, place + self.covered, n)


class SortedContainers(_Plain):
    """A sorted list of starts: it finds what overlaps since all intervals are equally long."""

    def __init__(self, case: Any, covered: int, counted: int) -> None:
        super().__init__(case, covered, counted)
        self._package = package("sortedcontainers")

    def build(self) -> None:
        """Make the set."""
        for starts in self.builds:
            self.list = self._package.SortedList()
            self.starts = [0, *starts]
            for n, start in enumerate(starts, 1):
                self.list.add((start, n))

    def _overlapping(self, first: int, last: int) -> Any:
        return self.list.irange((first - self.covered + 1,), (last + 1,), (True, False))

    def stab(self) -> int:
        """Sum of the numbers of all nodes found."""
        return sum(n for page in self.pages for _, n in self._overlapping(page, page))

    def count(self) -> list[int]:
        """Nodes found, by query."""
        return [sum(1 for _ in self._overlapping(page, page + self.counted - 1)) for page in self.pages]

    def move(self) -> None:
        """Take nodes out and put them in elsewhere."""
        for n, place in self.moves:
            self.list.remove((self.starts[n], n))
            self.starts[n] = place
            self.list.add((place, n))


class SuperIntervals:
    """Sorted arrays with an index of supersets, counted with SIMD instructions; ends are inclusive."""

    def __init__(self, case: Any, covered: int, counted: int) -> None:
        self._map = package("superintervals").IntervalMap
        self._ends = [a.astype(np.int32) for a in (case.starts, case.starts + covered - 1)]
        self._queries = [a.astype(np.int32) for a in (case.pages, case.pages + counted - 1)]

    def build(self) -> None:
        """Make the set."""
        self.made = self._map.from_arrays(*self._ends)

    def count(self) -> list[int]:
        """Nodes found, by query."""
        return self.made.count_batch(*self._queries)


class Ncls:
    """Nested containment lists; ends are exclusive. It gives each overlap, from which they are counted."""

    def __init__(self, case: Any, covered: int, counted: int) -> None:
        self._list = package("ncls").NCLS
        self._ends = case.starts, case.starts + covered, np.arange(len(case.starts))
        self._queries = case.pages, case.pages + counted, np.arange(len(case.pages))

    def build(self) -> None:
        """Make the set."""
        self.made = self._list(*self._ends)

    def count(self) -> np.ndarray:
        """Nodes found, by query."""
        queries, _ = self.made.all_overlaps_both(*self._queries)
        return np.bincount(queries, minlength=len(self._queries[0]))


PEERS = {
    "intervaltree": IntervalTree,
    "sortedcontainers": SortedContainers,
    "superintervals": SuperIntervals,
    "ncls": Ncls,
}
