"""The interval tree beside the same algorithm in C, and beside four packages.

    python -m benchmarks.bench_interval_tree [--quick]

What is done is told in `benchmarks.tree_pair`. Both trees have the same links, colours and counters before anything is
timed, and after it. The packages are called from Python, which is the only way to call them; ours runs in a compiled
loop. Where a package is for sets that don't change, and sorts them, our tree is built in order of start too.
"""

import sys
from typing import Any, NamedTuple

from benchmarks.measure import Skipped, best_of
from benchmarks.peers import interval_packages as packages
from benchmarks.row import Row
from benchmarks.tree_pair import COUNTED, COVERED, InC, Ours, check_queries, check_trees, new_case
from workbench.tables import text_table

SIZES, QUICK_SIZES = (100, 1000, 10**4, 10**5, 10**6), (100, 1000, 10**4)
OPERATIONS, QUICK_OPERATIONS = 200_000, 50_000
PLAIN_SIZES = SIZES[:-1]  # a million nodes take a package in Python minutes
PLAIN_OPERATIONS = 20_000
REPEATS = {10**6: 3}

GOALS = {"build": "ratio <= 1.1", "stab": "ratio <= 1.2", "count": "ratio <= 1.1", "move": "ratio <= 1.2"}
NAMES = {"build": "build", "stab": "stab by iterator", "count": "count by walk", "move": "erase + insert"}


class Measured(NamedTuple):
    """Nanoseconds per node or query, of ours and of a peer."""

    peer: str
    operation: str
    size: int
    ours: float
    theirs: float


def against_c(size: int, operations: int) -> list[Measured]:
    """All four operations.

    Raises
    ------
    Skipped
        There is no gcc.
    """
    case = new_case(size, operations)
    ours, theirs = Ours(case), InC(case)
    for both in (ours, theirs):
        both.build()
        both.move()
    check_trees(ours, theirs)
    check_queries(ours, theirs, ("stab", "count"))
    found = [measure("C", name, ours, theirs, REPEATS.get(size, 9)) for name in GOALS]
    check_trees(ours, theirs)
    return found


def against_package(peer: str, size: int, operations: int) -> list[Measured]:
    """Build, stab, count and move, or count alone for a package whose sets don't change.

    Raises
    ------
    Skipped
        It is not installed.
    """
    made = packages.PEERS[peer]
    changes = hasattr(made, "move")
    case = new_case(size, min(operations, PLAIN_OPERATIONS) if changes else operations, ordered=not changes)
    ours, theirs = Ours(case), made(case, COVERED, COUNTED)
    ours.build()
    theirs.build()
    check_queries(ours, theirs, ("stab", "count") if changes else ("count",))
    if not changes:
        return [measure(peer, "count", ours, theirs, 5)]
    ours.move()
    theirs.move()
    check_queries(ours, theirs, ("stab", "count"))
    return [measure_apart(peer, name, ours, theirs) for name in ("stab", "count", "move", "build")]


def measure(peer: str, operation: str, ours: Any, theirs: Any, repeats: int) -> Measured:
    """Time one operation of both, in turns."""
    times = best_of(repeats, getattr(ours, operation), getattr(theirs, operation))
    return per_node(peer, operation, ours.case, *times)


def measure_apart(peer: str, operation: str, ours: Any, theirs: Any) -> Measured:
    """Time one operation of each by itself: a turn of a package in Python leaves nothing of ours in the caches."""
    times = [best_of(repeats, getattr(side, operation))[0] for repeats, side in ((5, ours), (2, theirs))]
    return per_node(peer, operation, ours.case, *times)


def per_node(peer: str, operation: str, case: Any, ours: float, theirs: float) -> Measured:
    """Seconds of a whole operation as nanoseconds per node or query."""
    each = case.each(operation) / 1e9
    return Measured(peer, operation, case.size, ours / each, theirs / each)


def measured(quick: bool) -> tuple[list[Measured], dict[str, str]]:
    """Measure everything; the peers that are not installed, with what is needed."""
    operations = QUICK_OPERATIONS if quick else OPERATIONS
    found: list[Measured] = []
    missing = {}
    for peer in ("C", *packages.PEERS):
        sizes = QUICK_SIZES if quick else PLAIN_SIZES if hasattr(packages.PEERS.get(peer), "move") else SIZES
        try:
            for size in sizes:
                found += against_c(size, operations) if peer == "C" else against_package(peer, size, operations)
        except Skipped as needs:
            missing[peer] = str(needs)
    return found, missing


def goal_of(peer: str, operation: str) -> str:
    """Goal of a row of the table; of packages in Python how many times as long they take."""
    if peer == "C":
        return GOALS[operation]
    return {"intervaltree": "ratio >= 50", "superintervals": "ratio <= 3"}.get(peer, "")


def rows(quick: bool = False) -> list[Row]:
    """Give a row per peer and operation: at the size where we do worst.

    Parameters
    ----------
    quick : bool
        Up to 10,000 nodes, and fewer queries.
    """
    found, missing = measured(quick)
    return [row_of(peer, op, found, missing) for peer in ("C", *packages.PEERS) for op in operations_of(peer)]


def operations_of(peer: str) -> list[str]:
    """What is measured beside a peer."""
    return [name for name in GOALS if peer == "C" or name == "count" or hasattr(packages.PEERS[peer], "move")]


def row_of(peer: str, operation: str, found: list[Measured], missing: dict[str, str]) -> Row:
    """Give one row; the note has the ratio at every size."""
    goal = goal_of(peer, operation)
    times = hasattr(packages.PEERS.get(peer), "move")  # theirs to ours: how many times as long they take
    row = Row(
        f"interval-tree/{operation}-{peer.lower()}",
        f"interval tree, {NAMES[operation]}, against {'C (gcc -O2)' if peer == 'C' else peer}",
        goal=goal,
        unit="ns",
    )
    if peer in missing:
        return row.skipped(missing[peer])
    ratios = {m: m.theirs / m.ours if times else m.ours / m.theirs for m in found if m[:2] == (peer, operation)}
    worst = (min if times else max)(ratios, key=lambda m: ratios[m])
    each = ", ".join(f"{m.size:,}: {ratio:.{0 if times else 2}f}" for m, ratio in ratios.items())
    note = f"at {worst.size:,} nodes; ratios {each}"
    return row._replace(ours=worst.ours, peer=worst.theirs, ratio=ratios[worst], note=note)


def main(arguments: list[str]) -> None:
    """Print the table of all sizes."""
    import pandas as pd

    found, missing = measured("--quick" in arguments)
    table = pd.DataFrame(
        [
            {
                "peer": m.peer,
                "operation": NAMES[m.operation],
                "nodes": f"{m.size:,}",
                "ours [ns]": f"{m.ours:,.1f}",
                "peer [ns]": f"{m.theirs:,.1f}",
                "ratio": f"{m.ours / m.theirs:.3g}",
            }
            for m in found
        ]
    )
    print(text_table(table))
    for peer, needs in missing.items():
        print(f"{peer}: skipped: {needs}")


if __name__ == "__main__":
    main(sys.argv[1:])
