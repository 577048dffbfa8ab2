"""Trackers by themselves, as plain Python: each against a dictionary of true pins, on a world without a clock."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import designs
from workbench.accelerate import JIT_ENABLED
from workbench.mm import registers as R
from workbench.mm.interval_tree import KIND_PINNED, SOUND, check
from workbench.mm.page import PG_ANON, PG_LOCKED, PG_LRU, page_of, trylock_page
from workbench.scenarios.base import EMPTY_PLAN, new_world
from workbench.trackers.protocol import (
    FIELDS,
    OPERATIONS,
    RANGE_BEFORE,
    implementation,
    implements,
    pinned_in_range,
)

pytestmark = pytest.mark.skipif(
    JIT_ENABLED, reason="operations are called one by one as plain Python; test_twin.py holds them compiled"
)

PAGES = 32
PER_PAGE = ("flag", "flag-sticky", "lru-count", "bias", "page-lock", "mapcount", "pte-bit", "bounce-pin", "none")
RANGED = tuple(f"vma-{kind}:release={r}" for kind in ("full", "common") for r in ("split", "count", "backpointer"))


def call(name, tracker, *arguments):
    """An operation as plain Python, whether or not the JIT is on."""
    function = implementation(name, type(tracker))
    return function(tracker, *arguments)


def world_of(pages=PAGES):
    world, _ = new_world(pages=pages, nodes=256, bios=8, dios=1, cpus=1, submitters=1, plan=EMPTY_PLAN, ios=0)
    return world


def said_pinned(tracker, world):
    return {p for p in range(len(world.page)) if call("is_pinned", tracker, world, p)}


def test_every_tracker_has_the_fields_and_none_has_a_stray_operation():
    for name, tracker in designs.trackers().items():
        assert set(FIELDS) <= set(tracker._fields), name
    with pytest.raises(TypeError, match="not an operation"):

        @implements(tuple)
        def no_such_operation(tracker):
            return None


def test_operations_are_those_of_the_design():
    assert {"pin", "unpin", "pin_range", "is_pinned", "pinned_in_range", "bytes_in_use"} <= set(OPERATIONS)


actions = st.lists(st.tuples(st.booleans(), st.integers(0, PAGES - 1)), max_size=60)


@pytest.mark.parametrize("name", ["lru-count", "bias", "mapcount"])
@given(actions)
def test_counting_trackers_are_exact(name, steps):
    _, tracker = designs.parse_tracker(name)
    world = world_of()
    world.sys[R.PINS_IN_MAPCOUNT] = name == "mapcount"
    before = world.page.copy()
    pins = dict.fromkeys(range(PAGES), 0)
    for take, p in steps:
        if take:
            call("pin", tracker, world, p)
            pins[p] += 1
        elif pins[p]:
            call("unpin", tracker, world, p, -1)
            pins[p] -= 1
        assert said_pinned(tracker, world) == {p for p, n in pins.items() if n}
    for p, n in pins.items():
        for _ in range(n):
            call("unpin", tracker, world, p, -1)
    for field in ("flags", "_refcount", "_mapcount"):
        assert np.array_equal(world.page[field], before[field]), field
    assert world.sys[R.LRU_PAGES] == PAGES
    assert lru_order(world) == lru_order(world, backwards=True)[::-1]


def lru_order(world, backwards=False):
    """Pages of the LRU from head to tail (or back), by their links."""
    link = int(world.sys[R.LRU_TAIL if backwards else R.LRU_HEAD])
    found = []
    while link:
        found.append((link >> 2) - 1)
        link = int(world.page[found[-1]]["lru_prev" if backwards else "lru_next"])
        assert len(found) <= len(world.page)
    return found


def test_off_lru_loses_the_place_of_a_page():
    _, tracker = designs.parse_tracker("lru-count")
    world = world_of(4)
    assert lru_order(world) == [3, 2, 1, 0]
    call("pin", tracker, world, 1)
    assert lru_order(world) == [3, 2, 0]
    assert not page_of(world, 1)["flags"] & PG_LRU
    call("unpin", tracker, world, 1, -1)
    assert lru_order(world) == [1, 3, 2, 0]  # it was old, and is young now


def test_the_first_unpin_clears_a_flag_without_a_count():
    _, tracker = designs.parse_tracker("flag")
    world = world_of()
    for _ in range(2):
        call("pin", tracker, world, 5)
    call("unpin", tracker, world, 5, -1)
    assert said_pinned(tracker, world) == set()  # one true pin is left


def test_a_sticky_flag_stays_until_the_page_is_freed():
    _, tracker = designs.parse_tracker("flag-sticky")
    world = world_of()
    call("pin", tracker, world, 5)
    call("unpin", tracker, world, 5, -1)
    assert said_pinned(tracker, world) == {5}
    call("page_freed", tracker, world, 5)
    assert said_pinned(tracker, world) == set()


def test_bias_is_fooled_by_1024_references_unless_it_subtracts_mappings():
    world = world_of()
    page_of(world, 3)["_refcount"] = 1 + 1023 + 1  # cache, 1023 mappings, one more reference
    page_of(world, 3)["_mapcount"] = 1022
    assert said_pinned(designs.parse_tracker("bias")[1], world) == {3}
    assert said_pinned(designs.parse_tracker("bias:subtract_mapcount=yes")[1], world) == set()


# ---- ranges


def release_all(tracker, world, runs, order):
    inode = int(world.sys[R.I_MMAP])
    for i in order:
        start, n, handle, _ = runs[i]
        call("unpin_range", tracker, world, inode, start, n, handle)
        assert check(world.node, inode) == SOUND
        yield i


def covered(world):
    pages = set()
    for row in world.node[world.node["kind"] == KIND_PINNED]:
        pages |= set(range(int(row["start"]), int(row["last"]) + 1))
    return pages


# A GUP call: its first page and the lengths of the runs (bios) that it falls into.
call_of = st.tuples(st.integers(0, PAGES - 1), st.lists(st.integers(1, 6), min_size=1, max_size=5))


def lay_out(calls, tracker, world, apart):
    """Pin the calls; returns the runs with the handle of their range, and the number of their call, clipped."""
    inode, runs, at = int(world.sys[R.I_MMAP]), [], 0
    for number, (start, lengths) in enumerate(calls):
        start = at if apart else start
        total = min(sum(lengths), len(world.page) - start)
        if total <= 0:
            continue
        handle = call("pin_range", tracker, world, inode, start, total)
        p = start
        for n in lengths:
            n = min(n, start + total - p)
            if n > 0:
                runs.append((p, n, handle, number))
            p += n
        at = start + total
    return runs


@pytest.mark.parametrize("name", RANGED)
@given(st.lists(call_of, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_ranges_apart_never_miss_a_pin(name, calls, random):
    _, tracker = designs.parse_tracker(name)
    world = world_of()
    runs = lay_out(calls, tracker, world, apart=True)
    order = random.sample(range(len(runs)), len(runs))
    left = [set(range(s, s + n)) for s, n, *_ in runs]
    by_range = [number for *_, number in runs]
    for done in release_all(tracker, world, runs, order):
        left[done] = set()
        true = set().union(*left)
        alive = {by_range[i] for i, pages in enumerate(left) if pages}
        whole = set().union(*(set(range(s, s + n)) for s, n, _, number in runs if number in alive))
        assert said_pinned(tracker, world) == (true if "split" in name else whole)
    assert covered(world) == set()
    assert world.sys[R.LIVE_RANGES] == 0
    assert world.sys[R.UNATTRIBUTED] == world.sys[R.AMBIGUOUS] == 0


@pytest.mark.parametrize("name", RANGED)
@pytest.mark.parametrize("charge", ["leftmost", "rightmost"])
@given(st.lists(call_of, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_overlapping_ranges(name, charge, calls, random):
    """``split`` and ``backpointer`` keep every pin; nothing is left of any of them at the end but for ``count``."""
    _, tracker = designs.parse_tracker(f"{name}:charge={charge}")
    world = world_of()
    runs = lay_out(calls, tracker, world, apart=False)
    left = [set(range(s, s + n)) for s, n, *_ in runs]
    for done in release_all(tracker, world, runs, random.sample(range(len(runs)), len(runs))):
        left[done] = set()
        missed = set().union(*left) - said_pinned(tracker, world)
        if "count" not in name:
            assert not missed
    if "count" not in name:
        assert covered(world) == set()
        assert world.sys[R.UNATTRIBUTED] == 0


def test_count_charges_the_wrong_range_and_loses_a_pin():
    """Two ranges, [0, 1] and [1, 2]: page 1 of the second is charged to the first, which then goes too early."""
    _, tracker = designs.parse_tracker("vma-common:release=count")
    world = world_of()
    inode = int(world.sys[R.I_MMAP])
    first = call("pin_range", tracker, world, inode, 0, 2)
    second = call("pin_range", tracker, world, inode, 1, 2)
    call("unpin_range", tracker, world, inode, 1, 1, second)  # charged to the first by mistake
    call("unpin_range", tracker, world, inode, 1, 1, first)
    assert world.sys[R.AMBIGUOUS] == 2
    assert said_pinned(tracker, world) == {1, 2}
    assert 0 not in said_pinned(tracker, world)  # page 0 is pinned still


def test_split_of_a_range():
    _, tracker = designs.parse_tracker("vma-full:release=split")
    world = world_of()
    inode = int(world.sys[R.I_MMAP])
    handle = call("pin_range", tracker, world, inode, 4, 8)
    call("unpin_range", tracker, world, inode, 6, 2, handle)
    assert covered(world) == {4, 5, 8, 9, 10, 11}
    assert (world.sys[R.SPLITS], world.sys[R.SHRINKS], world.sys[R.LIVE_RANGES]) == (1, 0, 2)
    call("unpin_range", tracker, world, inode, 4, 1, handle)
    call("unpin_range", tracker, world, inode, 11, 1, handle)
    assert (world.sys[R.SPLITS], world.sys[R.SHRINKS]) == (1, 2)
    assert pinned_in_range(tracker, world, inode, 0, PAGES) == len(covered(world)) == 4


# ---- pins of other kinds


@given(actions)
def test_a_page_lock_is_a_pin_of_one(steps):
    """Callers wait for the lock before they pin: one pin at a time, and locked is pinned."""
    _, tracker = designs.parse_tracker("page-lock")
    world = world_of()
    before = world.page.copy()
    pinned = set()
    for take, p in steps:
        if take and p not in pinned:
            call("pin", tracker, world, p)
            pinned.add(p)
            assert not trylock_page(world, page_of(world, p))
        elif not take and p in pinned:
            call("unpin", tracker, world, p, -1)
            pinned.remove(p)
        assert said_pinned(tracker, world) == pinned
        assert {p for p in range(PAGES) if page_of(world, p)["flags"] & PG_LOCKED} == pinned
    for p in pinned:
        call("unpin", tracker, world, p, -1)
    assert np.array_equal(world.page, before)
    assert world.sys[R.PAGES_LOCKED] == 0


def test_a_locked_page_is_not_pinned_for_that():
    _, tracker = designs.parse_tracker("page-lock")
    world = world_of()
    assert trylock_page(world, page_of(world, 7))
    assert said_pinned(tracker, world) == set()


def test_mapcount_tells_pins_from_mappings():
    _, tracker = designs.parse_tracker("mapcount")
    world = world_of()
    world.sys[R.PINS_IN_MAPCOUNT] = 1
    page = page_of(world, 3)
    page["_mapcount"] = 1023
    assert said_pinned(tracker, world) == set()
    call("pin", tracker, world, 3)
    assert page["_mapcount"] == 1024
    assert said_pinned(tracker, world) == {3}
    page["_mapcount"] -= 1024  # unmapped by everybody
    assert said_pinned(tracker, world) == {3}
    call("unpin", tracker, world, 3, -1)
    assert page["_mapcount"] == -1
    assert said_pinned(tracker, world) == set()


def test_a_walk_finds_one_mapping_less_than_mapcount_for_each_pin():
    """A process that unmaps the page after the walk, and before ``_mapcount`` is read, takes a pin's count away."""
    _, tracker = designs.parse_tracker("mapcount")
    world = world_of()
    world.sys[R.PINS_IN_MAPCOUNT] = 1
    call("pin", tracker, world, 3)
    assert call("is_pinned_by_walk", tracker, world, 3, 1)
    page_of(world, 3)["_mapcount"] -= 1
    assert not call("is_pinned_by_walk", tracker, world, 3, 1)
    assert said_pinned(tracker, world) == {3}


def test_mapcount_leaves_anonymous_pages_alone():
    _, tracker = designs.parse_tracker("mapcount")
    world = world_of()
    page_of(world, 3)["flags"] |= PG_ANON
    before = world.page.copy()
    call("pin", tracker, world, 3)
    assert np.array_equal(world.page, before)
    call("unpin", tracker, world, 3, -1)
    assert np.array_equal(world.page, before)


def test_the_first_unpin_clears_the_bit_of_a_pte():
    _, tracker = designs.parse_tracker("pte-bit")
    world = world_of()
    before = world.page.copy()
    for _ in range(2):
        call("pin", tracker, world, 5)
    assert said_pinned(tracker, world) == {5}
    assert world.sys[R.PTE_UPDATE] == 2
    call("unpin", tracker, world, 5, -1)
    assert said_pinned(tracker, world) == set()  # one true pin is left
    call("pin", tracker, world, 5)
    call("page_freed", tracker, world, 5)
    assert np.array_equal(world.page, before)


def test_bounce_pin_knows_no_pins_and_counts_private_pages():
    _, tracker = designs.parse_tracker("bounce-pin")
    world = world_of()
    before = world.page.copy()
    call("pin", tracker, world, 5)
    assert said_pinned(tracker, world) == set()
    assert np.array_equal(world.page, before)
    assert call("bytes_in_use", tracker, world) == 0
    world.sys[R.PRIVATE_NOW] = 3
    assert call("bytes_in_use", tracker, world) == 3 * 4096


@pytest.mark.parametrize("kind,bytes_of_21", [("full", 21 * 4096 // 20), ("common", 21 * 64)])
def test_bytes_in_use(kind, bytes_of_21):
    _, tracker = designs.parse_tracker(f"vma-{kind}")
    world = world_of(64)
    for i in range(21):
        call("pin_range", tracker, world, int(world.sys[R.I_MMAP]), 2 * i, 1)
    assert call("bytes_in_use", tracker, world) == bytes_of_21


def test_the_early_exit_hides_the_pin_of_an_unmapped_page():
    world = world_of()
    for early_exit, found in (("yes", set()), ("no", {2})):
        _, tracker = designs.parse_tracker(f"vma-common:early_exit={early_exit}")
        page_of(world, 2)["_mapcount"] = -1
        if early_exit == "yes":
            call("pin_range", tracker, world, int(world.sys[R.I_MMAP]), 2, 1)
        assert said_pinned(tracker, world) == found


def test_ranges_are_of_the_kind_that_the_protocol_says():
    for name in RANGED:
        assert designs.trackers()[name].when >= RANGE_BEFORE
    for name in PER_PAGE:
        assert designs.trackers()[name].when < RANGE_BEFORE
