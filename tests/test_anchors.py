"""Published anchors: which of them set the cost table, and how runs are held against them."""

import pytest

from workbench import anchors, costs
from workbench.results import UNITS
from workbench.scenarios import direct_io


def test_what_sets_the_cost_table_is_an_entry_of_it():
    entries = [a.sets for a in anchors.ANCHORS if a.sets and not a.sets.startswith("device")]
    derived = {name for name, cost in costs.DEFAULT.entries.items() if cost.provenance == "derived"}
    assert set(entries) == derived - {"BOUNCE_COPY", "BOUNCE_BIO"}  # writeback's: no run of direct IO shows these


def test_metrics_and_parameters_are_known():
    assert {a.metric for a in anchors.ANCHORS} <= {*UNITS, "put_ns"}
    assert set(anchors.PARAMETERS) <= {p.name for p in direct_io.PARAMETERS}
    assert all(a.source and a.unit for a in anchors.ANCHORS)


def test_device_of_the_scenario_saturates_at_the_published_rate():
    default = {p.name: p.default for p in direct_io.PARAMETERS}
    iops = default["units"] / (default["latency_us"] + default["page_us"]) * 1e6
    assert iops == pytest.approx(costs.BASE_IOPS, rel=0.005)


def test_held_against():
    base = {"iops": 100_000.0, "slat_ns": 1500.0, "cpu_utilisation": 0.63, "put_ns": 18.0}
    off_lru = base | {"iops": 99_000.0, "slat_ns": 1600.0, "cpu_utilisation": 0.65}
    frame = anchors.held_against({anchors.BASE: base, anchors.OFF_LRU: off_lru, anchors.BIAS: base})
    model = frame.set_index("anchor")["model"]
    assert model["IOPS, off-LRU"] == pytest.approx(-1.0)
    assert model["slat, off-LRU"] == 100 and model["sys time, off-LRU"] == pytest.approx(2.0)
    assert model["CPU time without tracking"] == pytest.approx(63.0)
    off = frame.set_index("anchor")["off"]
    assert off["IOPS, off-LRU"] == pytest.approx(-0.5) and off["slat, off-LRU"] == pytest.approx(-11)


def test_batched_release():
    """87.6, 23.2 and 27.5 ms for the 2^22 pages of 16 GiB; batching must save more than the atomics."""
    found = anchors.batched_release().set_index("release")
    assert found["published"].tolist() == [round(ms * 1e6 / 2**22, 1) for ms in (87.6, 23.2, 27.5, 23.2)]
    inside = found["published"].between(found["low"], found["high"])
    assert inside.tolist() == [False, True, True, False]
    assert found["low"]["one by one"] == pytest.approx(20.9, rel=0.15)
    assert found["low"]["by runs, only the atomic saved"] > 2 * found["published"]["by runs, THP"]


def test_batched_release_follows_the_cost_table():
    dear = costs.CostTable("dear", {**costs.DEFAULT.entries, "PUT_PAGE": costs.Cost(112.7, "assumed", "")})
    more = anchors.batched_release(dear)["low"] - anchors.batched_release()["low"]
    assert more.tolist() == pytest.approx([100, 100 / 512, 100 / 512, 100])


def test_bouncing_costs_at_4_kib_and_nothing_from_64_kib_on():
    """Published: -18 % and -15 % at 4 KiB, 0 from 64 KiB on; the writes of 4 KiB and 1 MiB set the costs."""
    found = anchors.bounced().set_index(["size_kib", "op", "what"])
    model, published = found["model"], found["published"]
    assert published.round(0).tolist() == [-18, 0, 0, -15, 0, 0, 9, 10]
    assert model[4, "write", "throughput"] == pytest.approx(published[4, "write", "throughput"], abs=0.01)
    assert model[4, "read", "throughput"] == pytest.approx(-18, abs=4)
    assert [model[kib, op, "throughput"] for kib in (64, 1024) for op in ("read", "write")] == [0, 0, 0, 0]
    assert model[64, "write", "sys"] == pytest.approx(8.9, rel=0.4)
    assert found["sets"].astype(bool).sum() == 2


def test_a_dear_copy_would_show_at_64_kib():
    dear = costs.CostTable("dear", {**costs.DEFAULT.entries, "BOUNCE_COPY": costs.Cost(2000.0, "assumed", "")})
    assert (anchors.bounced(dear)["model"][[1, 4]] < -10).all()


def test_in_words():
    assert anchors.in_words(-0.5, "%") == "-0.50 %"
    assert anchors.in_words(5.53, "ns", signed=True) == "+5.5ns"
    assert anchors.in_words(-0.001, "%", signed=True) == "0.00 %"
    assert anchors.in_words(194_391, "1/s") == "194.4k"
