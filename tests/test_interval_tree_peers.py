"""The peers that the interval tree is timed against give what it gives; and what differs is seen."""

import numpy as np
import pytest

from benchmarks import bench_interval_tree as bench
from benchmarks import tree_pair as pair
from benchmarks.measure import Skipped
from benchmarks.peers import interval_packages as packages

SIZES = (1, 2, 7, 300)


def made(maker, *given):
    """Make a peer, or skip the test with what it needs."""
    try:
        return maker(*given)
    except Skipped as needs:
        pytest.skip(str(needs))


@pytest.mark.parametrize("size", SIZES)
def test_c_has_the_same_links_colours_and_counters(size):
    case = pair.new_case(size, 500)
    ours, theirs = pair.Ours(case), made(pair.InC, case)
    for operation in ("build", "move", "build", "move"):
        getattr(ours, operation)()
        getattr(theirs, operation)()
        pair.check_trees(ours, theirs)
        pair.check_queries(ours, theirs, ("stab", "count"))
        pair.check_trees(ours, theirs)  # queries count visits too
    assert ours.counters()[0] > 500


def test_a_tree_that_has_moved_on_is_seen():
    case = pair.new_case(300, 500)
    ours, theirs = pair.Ours(case), made(pair.InC, case)
    ours.build()
    theirs.build()
    ours.move()
    with pytest.raises(AssertionError, match="shapes"):
        pair.check_trees(ours, theirs)
    with pytest.raises(AssertionError, match="stab"):
        pair.check_queries(ours, theirs, ("stab",))
    theirs.move()
    theirs.move()
    with pytest.raises(AssertionError):
        pair.check_trees(ours, theirs)


def test_a_node_is_as_many_bytes_as_in_c():
    assert made(pair.InC, pair.new_case(1, 1))._node.dtype.itemsize == pair.tree.NODE.itemsize


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("peer", packages.PEERS)
def test_packages_find_the_same(peer, size):
    changes = hasattr(packages.PEERS[peer], "move")
    case = pair.new_case(size, 200, ordered=not changes)
    ours, theirs = pair.Ours(case), made(packages.PEERS[peer], case, pair.COVERED, pair.COUNTED)
    for operation in ("build", "move") if changes else ("build",):
        getattr(ours, operation)()
        getattr(theirs, operation)()
        pair.check_queries(ours, theirs, ("stab", "count") if changes else ("count",))
    if size == 300:
        (ours.build if changes else ours.move)()
        with pytest.raises(AssertionError, match="count"):
            pair.check_queries(ours, theirs, ("count",))


def test_stab_and_count_are_what_a_plain_list_gives():
    case = pair.new_case(50, 100)
    ours = pair.Ours(case)
    ours.build()
    first, pages = case.starts[-50:], case.pages[:, None]
    assert ours.stab() == ((first <= pages) & (pages < first + pair.COVERED)).dot(np.arange(1, 51)).sum()
    assert (ours.count() == ((first < pages + pair.COUNTED) & (pages < first + pair.COVERED)).sum(axis=1)).all()


def test_a_row_has_the_size_where_we_do_worst_or_what_its_peer_needs():
    found = [bench.Measured("C", "stab", *given) for given in ((100, 5.0, 10.0), (1000, 9.0, 10.0), (10, 1.0, 10.0))]
    row = bench.row_of("C", "stab", found, {})
    assert (row.ours, row.peer, row.ratio, row.goal) == (9, 10, 0.9, "ratio <= 1.2")
    assert row.note == "at 1,000 nodes; ratios 100: 0.50, 1,000: 0.90, 10: 0.10"
    found = [bench.Measured("intervaltree", "stab", *given) for given in ((100, 1.0, 60.0), (1000, 1.0, 50.0))]
    row = bench.row_of("intervaltree", "stab", found, {})
    assert (row.ratio, row.goal) == (50, "ratio >= 50")
    row = bench.row_of("C", "stab", [], {"C": "needs gcc"})
    assert (row.ratio, row.note) == (None, "skipped: needs gcc")


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(packages.importlib, "import_module", lambda name: __import__("no_such_" + name))
    monkeypatch.setattr(bench, "against_c", lambda size, operations: [])
    found, missing = bench.measured(quick=True)
    assert (found, missing) == ([], {name: f"needs {name}" for name in packages.PEERS})
