"""`simulate`: what must hold in every run, and mutants that must be caught."""

import importlib

import numpy as np
import pytest

from workbench import costs, designs, hazards
from workbench.mm import registers as R
from workbench.mm.interval_tree import KIND_PINNED
from workbench.mm.world import DEAD, bucket_of, bucket_values
from workbench.scenarios import SCENARIOS
from workbench.scenarios.base import EMPTY_PLAN, new_world
from workbench.simulate import ConservationError, check_conservation, simulate

simulation = importlib.import_module("workbench.simulate")  # the package's own name is that of the function
TRACKERS = tuple(designs.trackers())
RANGED = tuple(name for name in TRACKERS if name.startswith("vma-full"))
SMALL = {"ios": 300, "qd": 8, "extent_kib": 16}
BUSY = SMALL | {"writeback_ms": 0.5, "reclaim_ms": 0.7, "fsync_ms": 0.9, "isize_ms": 0.3}


@pytest.mark.parametrize("tracker", TRACKERS)
@pytest.mark.parametrize("dio", ["legacy", "iomap"])
def test_nothing_is_left_over(tracker, dio):
    """`simulate` raises if pins, references, ranges, bios or pages do not add up; here it must have had work to do."""
    result = simulate("direct-io", f"tracker={tracker},cleaning=skip/report", dio=dio, **BUSY)
    c = result.counters
    assert c["DIOS"] == 300 and c["BIOS"] == 1200
    assert c["PINS"] == c["UNPINS"] == 300 * 16
    assert c["CLEANED"] == c["WRITTEN"]
    if tracker == "flag-sticky":
        assert c["CLEANED"] == 0 and c["SKIPPED"] > 0  # every page has been pinned once, and the flag stays
    else:
        assert c["CLEANED"] > 0
    assert c["FSYNCS"] > 0 and c["UNMAPPED"] > 0
    assert result.stuck == []
    if tracker not in ("flag-sticky", "vma-full:release=count", "vma-common:release=count"):
        assert result.metrics["stale_pages"] == 0
    if tracker.startswith("vma"):
        assert c["DEFERRED_UNPIN"] == 1200
        assert c["GUP_CALL"] == (300 if dio == "legacy" else 1200)
        assert (c["SPLITS"] > 0) == ("split" in tracker and dio == "legacy")


@pytest.mark.parametrize("tracker", ["bias", "lru-count", "vma-common:release=split", "vma-common:release=count"])
def test_overlapping_buffers(tracker):
    result = simulate("direct-io", f"tracker={tracker}", overlap=0.7, **SMALL)
    c = result.counters
    assert c["PINS"] == c["UNPINS"] == 300 * 16
    if "vma" in tracker:
        assert c["AMBIGUOUS"] > 0
    if "count" in tracker and "vma" in tracker:
        assert c["UNATTRIBUTED"] > 0  # charged to the wrong range before
    elif "split" in tracker:
        assert c["UNATTRIBUTED"] == 0


@pytest.mark.slow_without_jit
def test_exact_trackers_miss_no_pin_that_somebody_asked_about():
    for tracker in ("bias", "lru-count", "vma-common:release=split:early_exit=no"):
        c = simulate("direct-io", f"tracker={tracker},cleaning=skip", overlap=0.5, **BUSY).counters
        assert c["PIN_TEST"] > 0
        assert c["MISSED_PIN"] == 0, tracker
    many = {"cpus": 2, "qd": 8, "size_kib": 16, "ios": 800, "units": 4, "writeback_ms": 0.02}
    for tracker in ("bias", *(f"vma-full:release={r}:when=before" for r in ("split", "count", "backpointer"))):
        assert simulate("direct-io", f"tracker={tracker},cleaning=skip", **many).counters["MISSED_PIN"] == 0, tracker
    for tracker in ("lru-count", "vma-full:release=split:when=after"):  # told after the walk: there is a window
        assert simulate("direct-io", f"tracker={tracker},cleaning=skip", **many).counters["MISSED_PIN"] > 0, tracker
    c = simulate("direct-io", "tracker=none,cleaning=skip", **BUSY).counters
    assert c["MISSED_PIN"] > 0
    c = simulate("direct-io", "tracker=flag,cleaning=skip", **BUSY | {"overlap": 0.9, "ios": 2000}).counters
    assert c["MISSED_PIN"] > 0  # the first unpin clears it


@pytest.mark.parametrize("tracker", ["bias", "lru-count", "vma-full:release=split"])
def test_pages_one_by_one_or_all_at_once(tracker):
    """With one CPU and no cleaner nobody interferes: a step may handle one page or all of them."""
    costless = costs.CostTable("none", {})
    runs = [
        simulate("direct-io", f"tracker={tracker}", pages_per_step=n, cost_table=costless, jitter=0.0, **SMALL)
        for n in (0, 1, 5)
    ]
    for other in runs[1:]:
        same = {k: v for k, v in runs[0].counters.items() if not k.startswith("RB_")}
        assert {k: other.counters[k] for k in same} == same | _cut_more_finely(other, runs[0])


def _cut_more_finely(other, whole):
    """Runs released page by page make a range shorter more often; all else is equal."""
    finer = ("SHRINKS", "SPLITS", "ALLOC", "FREE", "RANGES_GONE")
    assert all(other.counters[k] >= whole.counters[k] for k in finer)
    return {k: other.counters[k] for k in finer}


@pytest.mark.slow_without_jit
def test_same_seed_same_result():
    first = simulate("direct-io", "tracker=bias", seed=3, **BUSY)
    simulate("direct-io", "tracker=bias", seed=4, **BUSY)
    again = simulate("direct-io", "tracker=bias", seed=3, **BUSY)
    assert first.counters == again.counters
    assert first.metrics["simulated_ps"] == again.metrics["simulated_ps"]
    assert first.series.equals(again.series)
    other = simulate("direct-io", "tracker=bias", seed=4, **BUSY)
    assert other.metrics["simulated_ps"] != first.metrics["simulated_ps"]


@pytest.mark.slow_without_jit
def test_littles_law():
    """Mean IOs in flight = throughput × mean latency; the threads keep the queue full."""
    result = simulate("direct-io", "tracker=none", ios=4000, qd=16, size_kib=4)
    m = result.metrics
    in_flight = m["iops"] * m["latency_mean_ns"] * 1e-9
    mean_out = np.average(result.series["ios_out"].iloc[10:-10])
    assert in_flight == pytest.approx(mean_out, rel=0.03)
    assert in_flight <= 16


@pytest.mark.slow_without_jit
def test_a_device_with_one_unit_is_the_bottleneck():
    """Constant service times: throughput is what one unit serves."""
    m = simulate("direct-io", "tracker=none", ios=2000, qd=32, size_kib=4, units=1, jitter=0.0, page_us=0.5).metrics
    assert m["iops"] == pytest.approx(1e6 / 82.5, rel=0.001)
    assert m["out_of_order_share"] == 0
    assert m["device_utilisation"] == pytest.approx(1.0, abs=0.001)


@pytest.mark.slow_without_jit
def test_published_anchors_come_out():
    """The slat that the cost table was set by comes out within 5 %, and what off-LRU adds within 10 %."""
    device = {"ios": 5000, "qd": 64, "size_kib": 4, "units": 16, "latency_us": 82.47, "page_us": 0.0}
    slat = {
        t: simulate("direct-io", f"tracker={t}", **device).metrics["slat_ns"] for t in ("none", "bias", "lru-count")
    }
    assert slat["none"] == pytest.approx(costs.BASE_SLAT_NS, rel=0.05)
    assert slat["lru-count"] - slat["none"] == pytest.approx(111, rel=0.1)
    assert 0 < slat["bias"] - slat["none"] < 12


def test_every_cost_has_a_provenance():
    assert set(costs.DEFAULT.entries) <= set(R.COUNTERS)
    for name, cost in costs.DEFAULT.entries.items():
        assert cost.ns > 0, name
        assert cost.provenance in ("published", "calibrated", "derived", "assumed")
        assert cost.source


def test_costs_of_bouncing_predict_what_they_were_not_set_by():
    """Hellwig 2026-01-14: 4 KiB reads at 1316 MiB/s lose 18 %, 64 KiB writes at 2009 MiB/s take 8.9 % more of a CPU."""
    copy, bio = (costs.DEFAULT.entries[name].ns for name in ("BOUNCE_COPY", "BOUNCE_BIO"))
    read = 1e9 / (1316 * 256)
    assert read / (read + copy + bio) - 1 == pytest.approx(-0.18, abs=0.03)
    assert 2009 * 16 * (16 * copy + bio) * 1e-9 == pytest.approx(0.089, abs=0.035)


def test_buckets():
    values = bucket_values()
    assert np.all(np.diff(values) > 0)
    for value in [*range(300), 10**6, 10**12, 2**62]:
        b = int(bucket_of(np.int64(value)))
        assert values[b] <= value
        assert b + 1 == len(values) or value < values[b + 1]
        assert value - values[b] <= value / 64


# ---- the golden race


def test_the_crash_of_2018():
    """domain: write fault, cleaned by the flusher, buffers stripped by reclaim, dirtied, BUG_ON."""
    result = simulate("golden-race", "v4.17")
    c = result.counters
    assert (c["BUFFERS_DROPPED"], c["BUFFERLESS_DIRTY"], c["FS_BUG"], c["FREED"]) == (1, 1, 1, 0)
    steps = [(row.actor, row.step) for row in result.log.itertuples()]
    story = [
        ("dio/0", "page_mkwrite"),
        ("dio/0", "submit_bio"),
        ("flusher", "page_mkclean"),
        ("irq/1", "end_page_writeback"),
        ("kswapd", "try_to_release_page"),
        ("kworker/0", "set_page_dirty_lock"),
        ("flusher", "lock_page"),
    ]
    found = [steps.index(step, 0) if step != story[-1] else len(steps) - 1 - steps[::-1].index(step) for step in story]
    assert found == sorted(found)
    assert "PG_locked" in result.log["state"].iloc[-1]  # the dead flusher's


def test_the_same_race_elsewhere():
    assert simulate("golden-race", "v6.12").counters["FS_BUG"] == 0  # reclaim asks, the buffers stay
    assert simulate("golden-race", "hubbard-v1").counters["BUFFERS_DROPPED"] == 0
    dropped = simulate("golden-race", "tracker=none,ext4=warn").counters
    assert (dropped["FS_BUG"], dropped["DATA_DROPPED"]) == (0, 1)
    kept = simulate("golden-race", "tracker=bias,cleaning=skip,reclaim=skip").counters
    assert (kept["BUFFERLESS_DIRTY"], kept["UNSTABLE_WRITE"], kept["WRITTEN"]) == (0, 0, 1)


def test_a_write_under_writeback_is_seen():
    c = simulate("golden-race", "v4.17", flusher_us=950, writeback_us=200).counters
    assert c["UNSTABLE_WRITE"] == 1


@pytest.mark.parametrize(
    ("cleaning", "bounced", "kept"),
    [("write-keep-dirty", 0, 2), ("bounce", 2, 2), ("bounce,bounce=reserve", 1, 0), ("skip/bounce", 1, 1)],
)
def test_a_pinned_page_is_written_again_in_each_round(cleaning, bounced, kept):
    """The flusher and fsync meet the page of an idle region; fsync returns, without an error."""
    result = simulate("mr-idle-fsync", f"tracker=bias,cleaning={cleaning}")
    c = result.counters
    assert result.held and not result.stuck
    assert (c["FSYNCS"], c["FSYNC_ERRORS"], c["FSYNC_LIE"]) == (1, 0, "reserve" in cleaning)
    assert (c["BOUNCE_COPY"], c["BOUNCE_BIO"], c["KEPT_DIRTY"]) == (bounced, bounced, kept)
    assert c["WRITTEN"] == c["KEPT_DIRTY"] + c["CLEANED"]
    assert result.metrics["bounce_pages_max"] == min(bounced, 1)


def test_a_device_does_not_disturb_a_bounce_page():
    kept, bounced = (
        simulate("golden-race", f"tracker=bias,cleaning={policy}", flusher_us=950, writeback_us=200).counters
        for policy in ("write-keep-dirty", "bounce")
    )
    assert (kept["UNSTABLE_WRITE"], bounced["UNSTABLE_WRITE"]) == (1, 0)
    assert kept["BUFFERLESS_DIRTY"] == bounced["BUFFERLESS_DIRTY"] == 0


def test_fsync_that_waits_for_a_sticky_flag_waits_for_ever():
    result = simulate("golden-race", "tracker=flag-sticky,cleaning=ignore/wait", fsync_us=300, flusher_rounds=0)
    assert any("fsync" in s and "pin" in s for s in result.stuck)


# ---- the other scenarios

SMALLER = {"wide-map": {"mappings": 300}, "virtual-vma": {"ranges": 100, "ops": 20}}
STORIES = {
    "mr-idle-fsync": "FSYNC_LIE",
    "fork-cow": "COW_ALIAS",
    "truncate-dax": "TRUNCATE_WRITE",
    "cma": "UNMOVABLE",
}


BY_LOCK = {"cma": ["migrate"], "mr-idle-fsync": ["flusher", "fsync"], "wide-map": ["flusher", "rdma/0"]}


@pytest.mark.parametrize("design", designs.PRESETS)
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "direct-io"])
def test_every_scenario_under_every_preset(scenario, design):
    """Nobody gets stuck but who waits for the pin of an idle memory region, or for the page lock that is the pin."""
    result = simulate(scenario, design, **SMALLER.get(scenario, {}))
    if design == "viro-page-lock" and scenario in BY_LOCK:
        assert result.stuck == [f"{name} waits for the page lock" for name in BY_LOCK[scenario]]
        return
    waits = scenario == "mr-idle-fsync" and designs.parse(design).all == "wait"
    assert result.stuck == (["fsync waits for a pin to go away"] if waits else [])
    assert result.counters["PINS"] - result.counters["UNPINS"] == result.held
    refused = scenario == "mr-idle-fsync" or scenario == "wide-map"
    if refused:
        assert (result.held > 0) == (result.counters["REFUSED"] == 0) == (design != "v6.12")
    if scenario in STORIES and design in ("v4.17", "v6.12"):
        assert result.counters[STORIES[scenario]] == (design == "v4.17")


def test_who_waits_for_the_pin_of_an_idle_region_is_stalled():
    """Nobody need ever end it: that is no deadlock (model, §9)."""
    truncate = {"holder": "mr", "registrations": 2}
    for scenario, design, given in (
        ("mr-idle-fsync", "hubbard-v2", {}),
        ("mr-idle-fsync", "kara-virtual-vma", {}),
        ("truncate-dax", "tracker=none,truncate=wait", truncate),
    ):
        result = simulate(scenario, design, **given)
        met = hazards.found(result)
        assert result.held and (met["stall"], met["deadlock"]) == (1, 0), (scenario, design)


def test_once_somebody_is_killed_who_waits_is_neither():
    """fsync waits for a flag that stays, on another page than the one that the dead flusher has locked."""
    result = simulate("golden-race", "tracker=flag-sticky,cleaning=ignore/wait", fsync_us=300, flusher_rounds=0)
    assert hazards.found(result)["stall"] == 1
    result.counters["FS_BUG"] = 1
    assert (hazards.found(result)["stall"], hazards.found(result)["deadlock"]) == (0, 0)


@pytest.mark.parametrize(("tracker", "over"), [("none", 0), ("bias", 1), ("bias:learns=after", 1), ("pincount", 0)])
def test_a_count_over_its_limit_is_seen_whenever_gup_takes_it(tracker, over):
    """Each of the pins, whether GUP-fast is one step or three; a limit of 4 is that of cache, buffers, PTE and pin."""
    for gup_fast_steps in (0, 1):
        given = {"gup_fast_steps": gup_fast_steps, "count_max": 4, "ios": 20, "qd": 2, "size_kib": 8}
        c = simulate("direct-io", f"tracker={tracker}", **given).counters
        assert (c["PINS"], c["COUNT_OVERFLOW"]) == (40, 40 * over)
        c = simulate("direct-io", f"tracker={tracker}", **given | {"count_max": 3}).counters
        assert c["COUNT_OVERFLOW"] == 40 * (1 + (over and "after" in tracker))


def test_a_region_that_is_deregistered_leaves_nothing():
    for design in ("v4.17", "hubbard-v2", "kara-virtual-vma", "tracker=pincount", "tracker=vma-full:release=split"):
        result = simulate("wide-map", design, mappings=20, dereg=1)
        assert (result.held, result.stuck) == (0, []) and result.counters["UNPINS"] == 3


@pytest.mark.parametrize("tracker", ["none", "flag", "bias", "pincount", "lru-count", *RANGED])
def test_what_an_idle_region_keeps(tracker):
    """It adds up: of a page that truncation has orphaned, of a block that it has freed or waits for, of a frame."""
    for mapping in ("cache", "dax"):
        result = simulate("truncate-dax", f"tracker={tracker}", holder="mr", mapping=mapping, registrations=2)
        assert (result.held, result.counters["TRUNCATED_PAGES"], result.counters["TRUNCATE_WRITE"]) == (2, 1, 1)
    assert simulate("cma", f"tracker={tracker}").held == 1
    waits = simulate("truncate-dax", f"tracker={tracker},truncate=wait", holder="mr")
    assert waits.stuck == ["truncate waits for a pin to go away"]


def test_a_range_whose_page_was_truncated_stays():
    for release, found, left in (("split", "lost", 1), ("split", "found", 0), ("backpointer", "lost", 0)):
        design = f"tracker=vma-full:release={release},truncated={found}"
        assert simulate("truncate-dax", design).metrics["ranges_left"] == left


def test_mappings_look_like_a_pin():
    """A count with a bias, asked while many processes map the page; one that subtracts them; and an exact one."""
    asked = {"mappings": 300, "bias": 16, "kswapd_us": 3.0, "rdma_us": 1e5, "flusher_rounds": 0}
    for tracker, met in (("bias", 1), ("bias:subtract_mapcount=yes", 0), ("pincount", 0)):
        design = f"tracker={tracker},reclaim=skip,reclaim_asks=before"
        assert simulate("wide-map", design, **asked).counters["FALSE_PIN"] == met


def test_an_actor_without_rounds_is_left_out_and_one_with_a_time_sleeps():
    actors = set(simulate("golden-race", "v4.17", flusher_rounds=0, kswapd_rounds=0).log["actor"])
    assert not actors & {"flusher", "kswapd", "fsync"}
    log = simulate("fork-cow", "v4.17", fork_us=123.0, writer_rounds=0).log
    assert log[log["actor"] == "fork"]["time_ps"].min() == 123_000_000
    assert log[log["actor"] == "child"]["time_ps"].min() >= 123_000_000
    assert "writer" not in set(log["actor"])
    setup, _ = SCENARIOS["fork-cow"].build({}, np.random.default_rng(0), False)
    setup.world.task["state"][:-1] = DEAD
    assert simulation._stuck(setup.task_names, setup.world) == []  # the child waits for a fork that has not come


# ---- mutants: each breaks one thing, and the checks must say so

BROKEN_WORLDS = {
    "a pin that is not released": lambda w: w.page["ghost_pins"].__setitem__(3, 1),
    "a lost reference": lambda w: w.page["_refcount"].__setitem__(2, 2),
    "a reference too many": lambda w: w.page["_refcount"].__setitem__(2, 1027),
    "a bio that leaked": lambda w: w.sys.__setitem__(R.FREE_BIO, w.bio["bi_next"][0]),
    "a range that leaked": lambda w: (w.node["kind"].__setitem__(5, 2), w.sys.__setitem__(R.LIVE_RANGES, 1)),
    "a page that stays locked": lambda w: w.sys.__setitem__(R.PAGES_LOCKED, 1),
    "a page that stays under writeback": lambda w: w.page["flags"].__setitem__(1, w.page["flags"][1] | 4),
    "a tag that leaked": lambda w: w.sys.__setitem__(R.TAGS, 2),
    "a page off the LRU": lambda w: w.page["flags"].__setitem__(1, w.page["flags"][1] & ~8),
    "unequal counts": lambda w: w.sys.__setitem__(R.PINS, 1),
}


@pytest.mark.parametrize("what", BROKEN_WORLDS)
def test_conservation_notices(what):
    tracker = designs.trackers()["vma-common:release=split"]
    world, _ = new_world(pages=8, nodes=8, bios=4, dios=1, cpus=1, submitters=1, plan=EMPTY_PLAN, ios=0)
    check_conservation(tracker, world)
    BROKEN_WORLDS[what](world)
    with pytest.raises(ConservationError):
        check_conservation(tracker, world)


REGION_BROKEN = {
    "a pin that it lost": lambda w: w.page["ghost_pins"].__setitem__(0, 1),
    "a reference that it lost": lambda w: w.page["_refcount"].__setitem__(0, w.page["_refcount"][0] - 1),
    "a range that it lost": lambda w: w.node["kind"].__setitem__(w.node["kind"] == KIND_PINNED, 0),
    "a registration that it forgot": lambda w: w.task["flight_head"].__setitem__(w.task["flight_head"] >= 0, -1),
}


@pytest.mark.parametrize("what", REGION_BROKEN)
def test_conservation_of_what_an_idle_region_holds(what, monkeypatch):
    kept = []
    monkeypatch.setattr(simulation, "check_conservation", lambda *world: kept.append(world))
    simulate("wide-map", "tracker=vma-full:release=split", mappings=1)
    check_conservation(*kept[0])
    REGION_BROKEN[what](kept[0][1])
    with pytest.raises(ConservationError):
        check_conservation(*kept[0])
