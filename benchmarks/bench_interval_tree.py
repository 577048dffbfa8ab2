"""Speed of the interval tree beside a naive list: ``python -m benchmarks.bench_interval_tree``.

Prints nanoseconds for a remove with an insert, and for a look-up of one page with all that overlap it; the
file has as many pages as there are live nodes, and each covers 4 pages. Best of three, compilation apart.
"""

import time

import numpy as np

from tests import naive_tree as naive
from workbench.accelerate import jit
from workbench.mm import interval_tree as tree

OPERATIONS = 200_000
LENGTH = 4  # pages


@jit
def fill(node, sys, rows, starts, use_tree):
    """Empty the tree, then insert ``len(rows)`` nodes, into the tree or into the list ``rows``."""
    node[naive.ROOT]["rb_left"] = node[naive.ROOT]["rb_right"] = 0
    tree.free_list_init(node, naive.FIRST)
    for i in range(len(rows)):
        n = tree.alloc(node)
        node[n]["start"], node[n]["last"] = starts[i], starts[i] + LENGTH - 1
        if use_tree:
            tree.insert(node, sys, naive.ROOT, n)
        else:
            naive.list_insert(rows, i, node, n)


@jit
def churn(node, sys, rows, starts, use_tree):
    """Move a node for each element of ``starts``."""
    for i in range(len(starts)):
        n = naive.FIRST + i * 7919 % len(rows)
        if use_tree:
            tree.remove(node, sys, naive.ROOT, n)
        else:
            naive.list_remove(rows, len(rows), n)
        node[n]["start"], node[n]["last"] = starts[i], starts[i] + LENGTH - 1
        if use_tree:
            tree.insert(node, sys, naive.ROOT, n)
        else:
            naive.list_insert(rows, len(rows) - 1, node, n)


@jit
def look(node, sys, rows, starts, use_tree):
    """Look up one page for each element of ``starts``."""
    found = np.zeros(len(rows), np.int64)
    for start in starts:
        if use_tree:
            naive.tree_look(node, sys, start, start, found)
        else:
            naive.list_look(rows, len(rows), node, start, start, found)


def nanoseconds(work, size, operations, use_tree):
    """Best of three runs of ``work`` on ``size`` live nodes, per operation."""
    starts = np.random.default_rng(1).integers(0, size, operations)
    best = np.inf
    for _ in range(3):
        node = np.zeros(naive.FIRST + size, tree.NODE)
        sys = np.zeros(2, np.int64)
        rows = np.zeros(size, np.int64)
        fill(node, sys, rows, np.random.default_rng(2).integers(0, size, size), use_tree)
        begin = time.perf_counter()
        work(node, sys, rows, starts, use_tree)
        best = min(best, time.perf_counter() - begin)
    return best / operations * 1e9


def main():
    """Print the table."""
    print(f"{'live nodes':>10} {'operation':>14} {'tree [ns]':>10} {'list [ns]':>10}")
    for work, name in ((churn, "remove+insert"), (look, "look-up")):
        nanoseconds(work, 1, 1, True)  # compiles
        for size in (10, 100, 1000, 10_000):
            ours = nanoseconds(work, size, OPERATIONS, True)
            list_operations = max(OPERATIONS // size, 10)
            theirs = nanoseconds(work, size, list_operations, False)
            print(f"{size:>10} {name:>14} {ours:>10.0f} {theirs:>10.0f}")


if __name__ == "__main__":
    main()
