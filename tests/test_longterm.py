"""Memory at scale: bitmaps and runs against the plain twin, page by page against runs, and what policies come to."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_longterm import Longterm

from workbench import costs, designs, explore, hazards, simulate
from workbench.accelerate import JIT_ENABLED
from workbench.bulk import bits, run, setup, tick, tracking
from workbench.bulk import registers as S
from workbench.bulk import world as W
from workbench.bulk.regions import begin
from workbench.errors import ConservationError, UsageError
from workbench.scenarios.base import check_parameters
from workbench.scenarios.rdma_longterm import NAME, PARAMETERS

SMALL = {"pages": 256, "files": 3, "region_kib": 16, "duration_s": 8, "tick_ms": 500, "flush_s": 1, "expire_s": 2}
SMALL |= {"sync_s": 2, "write_mib_s": 0.2, "transfer_mib_s": 0.2, "disk_mib_s": 0.3, "grace_s": 2, "away_s": 0.5}


def world_of(design, parameters, most=0, seed=1):
    """The world at the end of a run."""
    p = check_parameters(NAME, PARAMETERS, parameters)
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = designs.parse(design)
    world = setup.new_world(p, chosen, answers_of(design, p), costs.DEFAULT, rng, most)
    begin(world)
    ticks = max(round(p["duration_s"] * W.PS_PER_S / int(world.sys[S.TICK])), 1)
    every = max(round(p["sample_s"] * W.PS_PER_S / int(world.sys[S.TICK])), 1)
    for start in range(0, ticks, every):
        n = min(every, ticks - start)
        world = world._replace(draws=run._draws(world, n, p["write_pattern"], rng))
        world.sys[S.DRAW] = 0
        tick.run(world, n)
    run.check(world)
    return world


def answers_of(design, p):
    return tracking.learn(designs.parse(design).tracker, min(p["region_kib"] // 4, 512))


def pages_with(world, row):
    """Pages that have a property, as a set."""
    flat = np.unpackbits(world.bit[row].view(np.uint8), bitorder="little")
    return set(np.flatnonzero(flat).tolist())


def list_of(world, on):
    """First pages of the folios on a list, head first."""
    end = len(world.folio) + on - 1
    found, folio = [], int(world.after[end])
    while folio != end:
        found.append(folio * int(world.sys[S.FOLIO]))
        folio = int(world.after[folio])
    return found


def seen(world):
    """What two runs must share, whatever the length of runs of pages."""
    own = [S.NAMES.index(n) for n in ("MOST", "QUEUE_HEAD", "QUEUE_ROWS")]
    return (np.delete(world.sys, own).tolist(), world.bit.tolist(), list_of(world, 1), list_of(world, 2)) + tuple(
        a.tolist() for a in (world.inode_dirty, world.inode_since, world.region, world.region_due, world.latency)
    )


CLEANING = ("ignore", "skip", "wait", "report", "write-keep-dirty", "bounce")
TRACKERS = (
    "none",
    "bias",
    "flag-sticky",
    "lru-count",
    "vma-common:release=count",
    "vma-common:release=split:early_exit=yes",
    "page-lock",
    "mapcount",
    "bounce-pin",
)
RULES = ("allow", "allow", "allow", "refuse", "migrate-first", "lease", "lease,lease=fail", "notifier")

designs_of = st.builds(
    lambda tracker, none, all_, reclaim, order, asks, bounce, rule: (
        f"tracker={tracker},cleaning={none}/{all_},reclaim={reclaim},order={order},reclaim_asks={asks},"
        f"bounce={bounce},longterm={rule}"
    ),
    st.sampled_from(TRACKERS), st.sampled_from(CLEANING), st.sampled_from(CLEANING),
    st.sampled_from(("ignore", "skip")), st.sampled_from(("write-protect-first", "check-first")),
    st.sampled_from(("before", "after")), st.sampled_from(("plain", "reserve")), st.sampled_from(RULES),
)  # fmt: skip
parameters_of = st.fixed_dictionaries(
    {
        "pages": st.sampled_from((128, 256, 320, 640)),
        "movable_share": st.sampled_from((0.5, 0.9)),
        "file_share": st.sampled_from((0.5, 0.8, 1.0)),
        "files": st.integers(1, 4),
        "folio_order": st.sampled_from((0, 0, 0, 1, 3, 7)),
        "pinned_share": st.sampled_from((0.0, 0.2, 0.5, 0.95)),
        "region_kib": st.sampled_from((4, 12, 32)),
        "placement": st.sampled_from(("spread", "together")),
        "hold_s": st.sampled_from((0, 0, 2.5)),
        "away_s": st.sampled_from((-1, 0.5, 1)),
        "dirty_on_release": st.sampled_from(("yes", "no")),
        "mlocked": st.sampled_from(("no", "no", "yes")),
        "holders": st.integers(1, 5),
        "memlock_mib": st.sampled_from((0, 0, 0.05)),
        "write_to": st.sampled_from(("unpinned", "all")),
        "write_pattern": st.sampled_from(("random", "sequential")),
        "write_mib_s": st.sampled_from((0, 0.05, 0.4)),
        "transfer_mib_s": st.sampled_from((0, 0.3, 1)),
        "read_mib_s": st.sampled_from((0, 0.2, 0.6)),
        "disk_mib_s": st.sampled_from((0.1, 0.4, 2)),
        "holders_release": st.sampled_from((0.0, 0.5, 1.0)),
        "dirty_ratio": st.sampled_from((5, 20, 100)),
        "sync_s": st.sampled_from((0, 1, 2)),
    }
)


@given(designs_of, parameters_of, st.integers(0, 99))
@settings(max_examples=200 if JIT_ENABLED else 40)
def test_twin(design, parameters, seed):
    parameters = SMALL | parameters
    world = world_of(design, parameters, seed=seed)
    twin = Longterm(design, parameters, seed, answers_of(design, parameters)).run()
    counted = {name: int(world.sys[S.NAMES.index(name)]) for name in (*S.SHARED, *S.COUNTS)}
    assert {n: k for n, k in counted.items() if k} == {n: k for n, k in twin.count.items() if k}
    for row, pages in (
        (W.DIRTY, twin.dirty), (W.TOWRITE, twin.towrite), (W.WRITEBACK, twin.writeback), (W.BOUNCED, twin.bounced),
        (W.WRITABLE, twin.writable), (W.DEVICE, twin.device), (W.TARGET, twin.target), (W.PINNED, twin.pinned),
        (W.SAYS, twin.says), (W.NEWER, twin.newer), (W.FRESH, twin.fresh), (W.RESIDENT, twin.resident),
        (W.STREAM, twin.stream), (W.PRIVATE, twin.private),
        (W.ASKED, {q for q in range(twin.pages) if twin.says_yes(twin.head_of(q))}),
    ):  # fmt: skip
        assert pages_with(world, row) == pages, tuple(W.PROPERTIES)[row]
    assert (list_of(world, W.ON_INACTIVE), list_of(world, W.ON_ACTIVE)) == (twin.inactive, twin.active)
    assert int(world.sys[S.THROTTLED]) == twin.throttled
    assert world.latency[: world.sys[S.SYNCS_BEGUN]].tolist() == [-1 if n is None else n for n in twin.latency]


@given(designs_of, parameters_of, st.sampled_from((1, 2, 5)))
@settings(max_examples=100 if JIT_ENABLED else 20)
def test_runs_count_what_pages_count(design, parameters, most):
    parameters = SMALL | parameters
    assert seen(world_of(design, parameters, most)) == seen(world_of(design, parameters))


# ---- bitmaps


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 255), st.integers(1, 200)), max_size=30))
def test_bitmaps_are_sets(steps):
    bit = np.zeros((3, 4), np.uint64)
    sets = [set(), set(), set()]
    for k, (what, first, n) in enumerate(steps):
        n = min(n, 256 - first)
        run_of, row, other = set(range(first, first + n)), k % 3, (k + 1) % 3
        if what < 2:
            bits.fill(bit, row, first, n)
            sets[row] |= run_of
        elif what == 2:
            bits.wipe(bit, row, first, n)
            sets[row] -= run_of
        elif what == 3:
            bits.keep(bit, row, other, first, n)
            sets[row] -= run_of - sets[other]
        elif what == 4:
            bits.merge(bit, row, other, first, n)
            sets[row] |= run_of & sets[other]
        assert bits.count(bit, row, first, n) == len(sets[row] & run_of)
        assert bits.count_without(bit, row, other, first, n) == len((sets[row] - sets[other]) & run_of)
        end = first + n
        assert bits.next_set(bit, row, first, end) == min(sets[row] & run_of, default=end)
        assert bits.next_clear(bit, row, first, end) == min(run_of - sets[row], default=end)
        assert bool(bits.test(bit, row, first)) == (first in sets[row])
        if first in sets[row]:
            alike = [p for p in range(first, end) if all((p in s) == (first in s) for s in sets)]
            expected = next((i for i, p in enumerate(alike) if p != first + i), len(alike))
            assert bits.equal_run(bit, row, other, (k + 2) % 3, first, n) == expected


# ---- trackers


@pytest.mark.parametrize(
    ("tracker", "expected"),
    [
        ("none", (False, False, False, False)),
        ("bias", (True, False, True, False)),
        ("flag", (True, False, True, False)),
        ("flag-sticky", (True, True, True, False)),
        ("lru-count", (True, False, True, True)),
        ("vma-full", (True, False, False, False)),
        ("vma-common:early_exit=no", (True, False, True, False)),
    ],
)
def test_what_is_learnt_of_a_tracker(tracker, expected):
    chosen = designs.parse_tracker(tracker)[1]
    answers = tracking.learn(chosen, 8)
    assert answers[:4] == expected
    a_range = {"vma-full": 4096 // 20, "vma-common:early_exit=no": 4096 // 64}
    assert answers.call_bytes == a_range.get(tracker, 0)


@pytest.mark.parametrize("tracker", ["vma-full", "vma-common", "bias"])
def test_bytes_of_tracking_are_those_of_the_tracker(tracker):
    """Against registrations of as many regions in a scenario that goes page by page."""
    ours = simulate(NAME, f"tracker={tracker}", pages=64, region_kib=4, regions=3, duration_s=1)
    real = simulate("wide-map", f"tracker={tracker}", registrations=3)
    assert abs(ours.metrics["tracking_bytes_max"] - real.metrics["tracking_bytes_max"]) <= 3  # a byte each for rounding


# ---- what policies come to

IDLE = {"pages": 2048, "region_kib": 64, "write_mib_s": 0, "transfer_mib_s": 0, "duration_s": 130, "tick_ms": 200}


@pytest.mark.parametrize(
    ("policy", "per_round"),
    [("ignore", "CLEANED"), ("skip", "SKIPPED"), ("report", "REPORTED"), ("write-keep-dirty", "KEPT_DIRTY")],
)
def test_rounds_as_page_by_page(policy, per_round):
    """What one sync, and one more, do to a pinned dirty page that nobody writes to: as `mr-idle-fsync` has it."""
    design = f"tracker=bias,cleaning=ignore/{policy}"
    page = simulate(
        "mr-idle-fsync", design, transfers=0, fsync_rounds=2, period_us=1000, flusher_rounds=0, kswapd_rounds=0
    )
    bulk = simulate(NAME, design, **IDLE | {"flush_s": 1000, "dirty_ratio": 100, "background_ratio": 100})
    pins = bulk.counters["PINS"]
    assert pins > 800
    for name in ("CLEANED", "KEPT_DIRTY", "SKIPPED", "REPORTED", "WRITEPAGE"):
        assert bulk.counters[name] == pins * page.counters[name], name
    assert bulk.counters["FSYNCS"] == page.counters["FSYNCS"] == 2
    assert bulk.counters["FSYNC_ERRORS"] == page.counters["FSYNC_ERRORS"]
    assert page.counters[per_round] == (1 if policy == "ignore" else 2)


def test_a_sync_that_waits_for_a_pin_never_returns():
    result = simulate(NAME, "tracker=bias,cleaning=skip/wait", **IDLE)
    assert result.metrics["sync_max_ns"] == math.inf and result.counters["FSYNCS"] == 0
    assert result.stuck == ["sync waits for a pin to go away"]
    skipping = simulate(NAME, "tracker=bias,cleaning=skip/skip", **IDLE)
    assert skipping.metrics["sync_max_ns"] == 0 and skipping.counters["FSYNCS"] == 2


def test_a_lease_is_given_back_or_taken_away():
    given = IDLE | {"grace_s": 20, "away_s": 5, "files": 1}
    design = "tracker=bias,cleaning=skip/wait,longterm=lease"
    released = simulate(NAME, design, **given, holders_release=1)
    half = simulate(NAME, design, **given, holders_release=0.5)
    assert released.metrics["revoked"] == 0 < half.metrics["revoked"]
    assert released.metrics["returned"] > 0 and released.counters["FSYNCS"] > 0
    assert 10e9 <= released.metrics["sync_p50_ns"] < half.metrics["sync_p50_ns"] < 25e9


def test_refused_pins_are_none():
    result = simulate(NAME, "tracker=bias,cleaning=skip/wait,longterm=refuse", **IDLE)
    assert result.counters["PINS"] == 0 < result.counters["REFUSED"]
    assert result.metrics["blocks_blocked"] == result.metrics["uncleanable_pages_max"] == 0


def test_memlock_counts_each_holder():
    limited = simulate(NAME, "v4.17", **IDLE, holders=3, memlock_mib=0.2)  # 51 pages: three regions of 16 each
    assert limited.counters["PINS"] == 3 * 3 * 16


def test_migrate_first_keeps_the_movable_zone_movable():
    stuck = simulate(NAME, "tracker=bias", **IDLE, pinned_share=0.2)
    moved = simulate(NAME, "tracker=bias,longterm=migrate-first", **IDLE, pinned_share=0.2)
    assert stuck.metrics["blocks_blocked"] == stuck.metrics["blocks"] == 2
    assert moved.metrics["blocks_blocked"] == 0 and moved.counters["MIGRATED"] > 100


def test_one_pinned_subpage_holds_up_a_folio():
    given = IDLE | {"region_kib": 4, "pinned_share": 0.0625, "pages": 4096, "file_share": 1.0}
    small = simulate(NAME, "tracker=bias,cleaning=skip/skip", **given)
    large = simulate(NAME, "tracker=bias,cleaning=skip/skip", **given, folio_order=4)
    assert small.metrics["uncleanable_pages_max"] == small.counters["PINS"] == 256
    assert large.metrics["uncleanable_pages_max"] == 4096


def test_reclaim_turns_over_pinned_pages_unless_they_are_off_the_lists():
    given = IDLE | {"pages": 1024, "read_mib_s": 2, "pinned_share": 0.8, "duration_s": 20}
    rotated = simulate(NAME, "tracker=none", **given).metrics
    away = simulate(NAME, "tracker=lru-count,cleaning=ignore", **given).metrics
    assert rotated["rotated"] > 1000 > away["rotated"] == 0
    assert rotated["scanned_per_freed"] > 2 * away["scanned_per_freed"]


def test_steady_state_of_dirty_pages():
    """A page written at random stays dirty from the first write until the flusher comes by: by rates alone.

    With F pages and w writes per second there are F (1 - (1 - 1/F)^{w t}) at a time t after a round that left none.
    """
    result = simulate(
        NAME, "v4.17", pages=16384, file_share=0.5, pinned_share=0, write_mib_s=2.5, disk_mib_s=2000, flush_s=5,
        expire_s=0, sync_s=0, duration_s=40, tick_ms=50, sample_s=0.5, files=1, dirty_ratio=100, background_ratio=100,
    )  # fmt: skip
    expected = np.mean([8192 * (1 - (1 - 1 / 8192) ** (640 * t)) for t in np.arange(0.5, 5.1, 0.5)])
    assert result.series["dirty_pages"][20:].mean() == pytest.approx(expected, rel=0.02)


# ---- wrong input, and what must add up


def test_usage():
    with pytest.raises(UsageError, match="region_kib: 1024 KiB is more than pinned_share"):
        simulate(NAME, "v4.17", pages=256)
    with pytest.raises(UsageError, match="it follows no schedule"):
        simulate(NAME, "v4.17", schedule=[])
    with pytest.raises(UsageError, match="no small world"):
        explore(NAME, "v4.17")


@pytest.mark.parametrize("row", [W.DIRTY, W.WRITEBACK, W.PINNED, W.RESIDENT, W.WRITABLE, W.TOWRITE, W.FRESH])
def test_what_does_not_add_up_is_told(row):
    world = world_of("v4.17", SMALL)
    bits.fill(world.bit, row, 0, 200)
    bits.wipe(world.bit, row, 0, 90)
    with pytest.raises(ConservationError):
        run.check(world)


def test_a_broken_list_is_told():
    world = world_of("v4.17", SMALL)
    world.before[5] = 9
    with pytest.raises(ConservationError, match="inactive"):
        run.check(world)


# ---- who is stuck


@pytest.mark.parametrize(
    ("design", "given", "stuck"),
    [
        ("tracker=bias,cleaning=skip/skip", {}, ["writer waits for dirty pages to become fewer"]),
        ("tracker=bias,cleaning=write-keep-dirty", {}, ["writer waits for dirty pages to become fewer"]),
        ("tracker=bias,cleaning=bounce,bounce=reserve", {}, []),
        ("tracker=bias,cleaning=skip/wait", {"write_mib_s": 0.0}, ["sync waits for a pin to go away"]),
        ("tracker=bias,cleaning=skip/wait", {"hold_s": 15.0}, []),  # it is given back one day
        ("tracker=bias,cleaning=skip/skip", {"pinned_share": 0.1}, []),  # below the limit
    ],
)
def test_only_what_nothing_ends_is_a_stall(design, given, stuck):
    machine = {"pages": 4096, "region_kib": 64, "duration_s": 70.0, "transfer_mib_s": 8.0}
    result = simulate(NAME, design, **machine | given)
    assert result.stuck == stuck
    assert hazards.found(result)["stall"] == len(stuck)
