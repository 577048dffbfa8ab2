"""Ranges in a tree beside i_mmap, under a spinlock of the tracker's own: what notebook 09 writes, put to the test."""

import json
from pathlib import Path

import numpy as np
import pytest
import test_explore

from workbench import designs
from workbench.accelerate import JIT_ENABLED
from workbench.errors import UsageError
from workbench.explore import explore, run_search
from workbench.hazards import HAZARDS
from workbench.mm import packing
from workbench.mm import registers as R
from workbench.mm.interval_tree import SOUND, check, iter_first, iter_next
from workbench.mm.programs import D_GUP_FAIL, DIO_PROGRAM
from workbench.mm.ranges import PIN_TREE, drop_range, insert_range, new_range
from workbench.replay import small_world
from workbench.scenarios.base import EMPTY_PLAN, new_world
from workbench.simulate import simulate

plain_only = pytest.mark.skipif(JIT_ENABLED, reason="as plain Python: compiling takes long, and adds nothing here")
NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "09_write_your_own.ipynb"
TINY = ("truncate-dax", {"mapping": "cache"})
FIRST = "tracker=first.py:PinTree,cleaning=skip/wait"
BY_PAGE = "tracker=second.py:PinTree,cleaning=skip/wait"
BY_HANDLE = "tracker=second.py:PinTree:release=1,cleaning=skip/wait"


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Write the files that the notebook's cells write."""
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        head, _, text = "".join(cell["source"]).partition("\n")
        if head.startswith("%%writefile "):
            (tmp_path / head.split()[1]).write_text(text)
    monkeypatch.chdir(tmp_path)


# ---- explore


@pytest.mark.parametrize("design", [FIRST, BY_PAGE, BY_HANDLE])
def test_states_are_kept_exactly(design):
    scenario, parameters = TINY
    test_explore.test_packing_is_undone_by_unpacking(scenario, design, parameters)
    test_explore.every_state_is_where_its_way_leads(scenario, design, parameters, False, 1)
    test_explore.test_as_many_states_as_a_search_that_copies_whole_worlds(scenario, design, parameters)


@pytest.mark.parametrize("holder", ["dio", "mr"])
def test_the_tree_beside_is_as_good_as_i_mmap(holder):
    """Under i_mmap_rwsem, and released by what the bio carries: state by state what vma-common does in i_mmap."""
    beside = "tracker=second.py:PinTree:release=1:lock=0,cleaning=skip/wait"
    within = "tracker=vma-common:release=backpointer:early_exit=no,cleaning=skip/wait"
    told = []
    for design in (beside, within):
        found = explore("truncate-dax", design, conditional=False, mapping="cache", holder=holder)
        verdicts = {name: (h.verdict, h.depth) for name, h in found.hazards.items()}
        told.append((found.states, found.transitions, found.steps, found.ends, verdicts))
    assert told[0] == told[1]


@pytest.mark.slow_without_jit
def test_what_the_notebook_says():
    def missed(design):
        return explore("direct-io", design, reduce=True, conditional=False).hazards["missed-pin"]

    first, second, third = map(missed, (FIRST, BY_PAGE, BY_HANDLE))
    assert first.verdict == second.verdict == "reachable" and first.depth < second.depth
    assert third.verdict == "unreachable"


def test_steps_of_its_own_are_taken():
    """The interrupt releases; nobody takes i_mmap_rwsem for a range, and no kworker has anything to do with one."""
    scenario, parameters = TINY
    taken = explore(scenario, BY_HANDLE, conditional=False, **parameters).steps
    assert taken["irq.range_release"] and taken["dio.range_insert"]
    assert not {"dio.range_lock", "dio.range_unlock", "kworker.range_lock", "kworker.range_unlock"} & set(taken)


def test_ranges_of_both_trees_are_packed():
    world, _ = new_world(pages=9, nodes=12, bios=1, dios=1, cpus=1, submitters=1, plan=EMPTY_PLAN, ios=0)
    roots = (int(world.sys[R.I_MMAP]), PIN_TREE)
    for start, last, left, root in [(3, 5, 3, 1), (0, 2, 1, 0), (4, 4, 1, 0), (0, 0, 0, 1), (1, 8, 2, 0), (0, 8, 9, 1)]:
        insert_range(world, roots[root], new_range(world, start, last, left))

    def ranges(root):
        n = iter_first(world.node, world.sys, root, 0, 8)
        while n:
            row = world.node[n]
            yield int(row["kind"]), int(row["start"]), int(row["last"]), int(row["pages_left"])
            n = iter_next(world.node, world.sys, n, 0, 8)

    before = [list(ranges(root)) for root in roots]
    order = np.zeros(packing.MAX_RANGES + 2, np.int64)

    def packed():
        assert packing.order_ranges(world, order)
        return [int(packing.pack_ranges(world, order, first)) for first in (0, packing.RANGES_PER_WORD)]

    words = packed()
    packing.unpack_ranges(world, order, np.array(words), 0, 2)
    assert [list(ranges(root)) for root in roots] == before and packed() == words
    assert [check(world.node, root) for root in roots] == [SOUND, SOUND]
    packing.unpack_ranges(world, order, np.zeros(2, np.int64), 0, 2)
    assert [len(list(ranges(root))) for root in roots] == [1, 0] and packed() == [0, 0]


def test_more_ranges_than_a_state_holds_are_refused():
    world, _ = new_world(pages=9, nodes=12, bios=1, dios=1, cpus=1, submitters=1, plan=EMPTY_PLAN, ios=0)
    order = np.zeros(packing.MAX_RANGES + 2, np.int64)
    rows = []
    for _ in range(packing.MAX_RANGES):
        rows.append(new_range(world, 1, 2, 2))
        insert_range(world, PIN_TREE, rows[-1])
    assert packing.order_ranges(world, order)
    insert_range(world, PIN_TREE, new_range(world, 1, 2, 2))
    assert not packing.order_ranges(world, order)
    drop_range(world, PIN_TREE, rows[0])
    assert packing.order_ranges(world, order)
    for left in (-1, packing.MAX_PAGES + 1):
        world.node[rows[1]]["pages_left"] = left
        assert not packing.order_ranges(world, order)


OF_PAGES = """
from typing import NamedTuple
from workbench.mm.programs import D_GUP_FAIL, DIO_PROGRAM
from workbench.mm.ranges import PIN_TREE, drop_range, first_range, insert_range, new_range
from workbench.trackers.protocol import implements

class OfPages(NamedTuple):
    when: int = 1
    lock: int = 0

@implements(OfPages)
def pin(tracker, world, page):
    insert_range(world, PIN_TREE, new_range(world, page, page, 1))

@implements(OfPages)
def unpin(tracker, world, page, handle):
    drop_range(world, PIN_TREE, first_range(world, PIN_TREE, page))

@implements(OfPages)
def is_pinned(tracker, world, page):
    return first_range(world, PIN_TREE, page) != 0
"""


@plain_only
def test_ranges_that_explore_would_not_see_are_refused():
    Path("pages.py").write_text(OF_PAGES)
    with pytest.raises(UsageError, match=r"tracker pages.py:OfPages: it keeps ranges.*when=RANGE_BEFORE"):
        explore("golden-race", "tracker=pages.py:OfPages,cleaning=skip")


@plain_only
def test_words_that_a_state_has_no_room_for_are_refused():
    text = OF_PAGES.replace(
        "    insert_range(", "    world.page[page]['lru_next'] = 64\n    world.page[0] if 1 else insert_range("
    )
    Path("pages.py").write_text(text)
    with pytest.raises(UsageError, match=r"pages.py:OfPages,cleaning=skip: a count grows too large, or there are more"):
        explore("golden-race", "tracker=pages.py:OfPages,cleaning=skip")


# ---- simulate

CROWD = {"ios": 60, "qd": 4, "extent_kib": 16, "cpus": 2}


def test_what_a_run_counts():
    """A lock hold for each range that goes in, for each bio, and for each question."""
    run = simulate("direct-io", BY_HANDLE, writeback_ms=0.1, **CROWD)
    count = run.counters
    assert count["GUP_CALL"] == count["RANGES"] == count["RANGES_GONE"] == 60 and count["BIOS"] == 240
    taken = run.locks.loc["tracker_lock", "acquisitions"]
    in_interrupts = count["BIOS"] - count["DEFERRED_UNPIN"]
    assert taken == count["RANGES"] + count["BIOS"] + count["PIN_TEST"] and in_interrupts > 0
    assert count["DEFERRED_UNPIN"] == count["DEFERRED_DIRTY"] and count["MISSED_PIN"] == 0
    assert count["SPIN_LOCK"] >= taken and run.metrics["stale_pages"] == 0


@plain_only
def test_ranges_that_stay_are_a_finding_and_no_fault_of_the_model():
    text = Path("second.py").read_text().replace('if row["pages_left"] == 0:', 'if row["pages_left"] == -9:')
    Path("never.py").write_text(text)
    run = simulate("golden-race", "tracker=never.py:PinTree,cleaning=skip")
    assert (run.metrics["ranges_left"], run.metrics["stale_pages"]) == (1, 1)


@plain_only
def test_ranges_that_are_never_dropped_use_up_the_pool():
    text = Path("first.py").read_text().replace("        drop_range(world, PIN_TREE, r)\n", "")
    Path("never.py").write_text(text)
    with pytest.raises(UsageError, match=r"tracker PinTree in never.py.*MemoryError: no free interval tree node"):
        simulate("direct-io", "tracker=never.py:PinTree,cleaning=skip", ios=2000, size_kib=4, qd=1)


def test_truncation_takes_the_range_of_a_failed_call_out_again():
    scenario, parameters = TINY
    small = small_world(scenario, designs.parse(BY_HANDLE), parameters)
    search = run_search(small).search
    assert search.taken[DIO_PROGRAM, D_GUP_FAIL]
    found = {name for name, row in zip(HAZARDS, search.found, strict=True) if row[0]}
    assert not {"missed-pin", "stale-pin", "false-pin"} & found
