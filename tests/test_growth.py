"""How cost and memory grow: the fit, the rows, and that what is measured runs; no time is asserted."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmarks import bench_growth, bench_memory, growth, growth_figures
from benchmarks.growth import Pair, exponent, exponent_of_n_log_n
from benchmarks.measure import Skipped

SIZES = [2**k for k in range(1, 21)]
CURVES = {curve.name: curve for curve in growth.curves()}


@pytest.mark.parametrize("power", [0.5, 1.0, 1.3, 2.0])
def test_the_fit_finds_the_power(power):
    each = [7.0 * n ** (power - 1) for n in SIZES]
    assert exponent(SIZES, each) == pytest.approx(power)
    assert exponent(SIZES[::-1], each[::-1]) == pytest.approx(power)


def test_the_fit_leaves_small_sizes_out():
    assert exponent(SIZES, [3.0 + (1000.0 if n < 1024 else 0.0) for n in SIZES]) == pytest.approx(1)


def test_n_log_n_grows_faster_than_n_and_slower_than_any_power():
    assert 1 < exponent_of_n_log_n(SIZES) < 1.1
    assert exponent(SIZES, [math.log2(n) + 1 for n in SIZES]) == pytest.approx(exponent_of_n_log_n(SIZES))
    assert exponent_of_n_log_n([2**k for k in range(200)]) < exponent_of_n_log_n(SIZES)


@pytest.mark.parametrize("sizes", [[], [5], [1, 1000], [10, 10, 10], [1, 10, 1000, 1000, 1000], [100, 110, 120, 130]])
def test_too_few_sizes_give_no_exponent(sizes):
    with pytest.raises(ValueError, match="too few, or too near, for a fit"):
        exponent(sizes, [1.0] * len(sizes))


# ---- rows


def points_of(ours: float, peer: float | None) -> pd.DataFrame:
    """Points of a curve and of a peer that grow as these powers of n."""
    theirs = [math.nan if peer is None else 2.0 * n ** (peer - 1) for n in SIZES]
    mine = [5.0 * n ** (ours - 1) for n in SIZES]
    return pd.DataFrame({"curve": "nodes", "n": SIZES, "ours": mine, "peer": theirs})


@pytest.mark.parametrize(
    ("ours", "peer", "met"),
    [
        (1.0, 1.0, True),
        (1.07, 1.0, True),  # as n log n
        (1.15, 1.0, False),
        (1.3, 1.3, True),  # both leave the caches
        (1.3, 1.4, True),
        (1.4, 1.3, False),
        (1.15, None, None),
    ],
)
def test_the_goal_is_n_log_n_or_the_peer(ours, peer, met):
    row = bench_growth.row_of(CURVES["nodes"], points_of(ours, peer))
    assert row.met is met and row.ours == pytest.approx(ours)
    assert row.name == "growth/nodes" and "nodes 2 to 2^20" in row.what and "against C" in row.what
    if peer is None:
        assert (row.peer, row.ratio) == (None, None) and "needs gcc" in row.note
    else:
        assert row.ratio == pytest.approx(ours / peer)


def test_what_the_least_size_costs_is_taken_off_where_it_hides_growth():
    sizes = [1 << k for k in range(10, 25, 2)]
    each = [3.0 * n**0.1 + 5e6 / n for n in sizes]
    fixed = growth.exponent_of(CURVES["pages-bias"], sizes, each)
    assert fixed == pytest.approx(1.1, abs=0.005) and growth.exponent_of(CURVES["nodes"], sizes, each) < 0.99


def test_rows_of_growth(monkeypatch):
    asked = []

    def measure(n):
        asked.append(n)
        return Pair(3.0, None if n == 64 else 2.0)

    given = [curve._replace(measure=measure) for curve in growth.curves(quick=True)]
    monkeypatch.setattr(growth, "curves", lambda quick: given)
    found = bench_growth.rows(quick=True)
    assert [row.name for row in found] == [f"growth/{name}" for name in CURVES]
    assert asked == [n for curve in given for n in curve.quick]
    assert all(row.ours == pytest.approx(1, abs=0.03) and row.met in (True, None) for row in found)
    assert {row.name for row in found if row.ratio is None} == {"growth/cpus", "growth/qd"}


@pytest.mark.parametrize("name", CURVES)
def test_an_exponent_can_be_fitted_to_the_sizes_of_every_curve(name):
    for sizes in (CURVES[name].sizes, CURVES[name].quick):
        assert list(sizes) == sorted(set(sizes)) and exponent(sizes, [1.0] * len(sizes)) == pytest.approx(1)


# ---- what is measured


@pytest.fixture
def few(monkeypatch):
    """Hardly any work."""
    monkeypatch.setattr(growth, "LEAST_OPERATIONS", 20)
    monkeypatch.setattr(growth, "TOUCHES", 100)
    monkeypatch.setattr(growth, "LEAST_IOS", 4)


@pytest.mark.parametrize(
    ("measure", "n"),
    [(growth.depth(40), 4), (growth.cpus(40), 2), (growth.buffers, 512), (growth.nodes(50), 10), (growth.ranges, 10)],
    ids=["qd", "cpus", "buffers", "nodes", "ranges"],
)
def test_a_point_is_measured_beside_its_peer(few, monkeypatch, measure, n):
    found = measure(n)
    assert found.ours > 0 and (found.peer is None or found.peer > 0)
    monkeypatch.setattr("benchmarks.measure.shutil.which", lambda name: None)
    alone = measure(n)
    assert alone.ours > 0 and alone.peer is None


@pytest.mark.slow_without_jit
def test_a_point_of_pages(few):
    found = growth.pages("v4.17")(1024)
    assert found.ours > 0 and found.peer > 0


def test_words_are_touched_everywhere():
    words = np.zeros(50, np.int64)
    growth._touch(words, 2000)
    assert words.sum() == 2000 and (words > 0).all()


# ---- the table and the figures


def test_the_table_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "growth.csv"
    points = points_of(1.0, None)
    bench_growth.write(points, path)
    head, read = bench_growth.load(path)
    assert head.startswith("benchmarks/bench_growth.py, sources ")
    pd.testing.assert_frame_equal(read, points, rtol=1e-4)


def test_the_table_of_the_repository_has_every_curve():
    _, points = bench_growth.load()
    assert set(points["curve"]) == set(CURVES)
    assert (points[["n", "ours", "peer"]] > 0).all(axis=None)
    for name, own in points.groupby("curve"):
        assert bench_growth.row_of(CURVES[name], own.reset_index(drop=True)).ratio > 0


@pytest.mark.parametrize("peer", [1.25, None])
def test_a_figure_has_the_exponents(tmp_path, peer):
    points = points_of(1.0, peer)
    fig, text = growth_figures.figure(CURVES["nodes"], points)
    told = " ".join(text.split())
    assert f"workbench 1.00, {'peer 1.25, ' if peer else ''}n log n {exponent_of_n_log_n(SIZES):.2f}." in told
    drawn = growth_figures.lines_of(points)
    assert set(drawn["of"]) == {"workbench", "n log n", *(["peer"] if peer else [])}
    meets = drawn[drawn["n"] == 2048].set_index("of")["ns"]  # the first of the upper half
    assert meets["n log n"] == pytest.approx(meets["workbench"])


def test_figures_are_saved(tmp_path):
    made = growth_figures.save([CURVES["nodes"], CURVES["qd"]], points_of(1.0, 1.1), "here", tmp_path)
    assert {path.name for path in made} == {f"growth_nodes.{kind}" for kind in ("svg", "pdf", "png", "txt")}


# ---- memory


def test_memory_of_a_child():
    most = bench_memory.in_child("print(most(lambda: np.ones(1 << 22)))")
    assert 1 << 25 <= most < 1 << 26
    assert bench_memory.in_child("print(SIZE)", SIZE=3) == 3
    with pytest.raises(RuntimeError, match="ValueError: no"):
        bench_memory.in_child("raise ValueError('no')")
    with pytest.raises(Skipped, match="needs /proc/self/clear_refs"):
        bench_memory.in_child("raise OSError('/proc/self/clear_refs')")


@pytest.fixture
def children(monkeypatch):
    """Children that take 100 bytes for each, and 1000 at once; they tell of those whose peer is asked for."""
    asked = []

    def in_child(program, SIZE, **given):
        asked.append(given)
        if program == bench_memory.EXPLORE:
            return [1000 + 100 * SIZE, SIZE, 80 * SIZE]
        if program == bench_memory.LONG_RUN:
            return [(50 << 20) + SIZE // 1000, 32 * SIZE]
        return 1000 + (400 if given.get("NAME") else 100) * SIZE

    monkeypatch.setattr(bench_memory, "in_child", in_child)
    return asked


@pytest.mark.parametrize("quick", [True, False])
def test_rows_of_memory(children, quick):
    found = {row.name: row for row in bench_memory.rows(quick)}
    ios = (bench_memory.QUICK_OPERATIONS if quick else bench_memory.OPERATIONS) // 32
    grown = ios // 1000 - ios // 10 // 1000
    ours = {"page-longterm": 100, "page-direct-io": 100 / 256, "range": 100, "state": 100, "long-run": grown / 2**20}
    assert {name: row.ours for name, row in found.items()} == {f"memory/{name}": n for name, n in ours.items()}
    assert [row.met for row in found.values()] == [False, None, True, None, True]
    assert found["memory/range"].ratio == 1 / 4 and "hold 80.0 B" in found["memory/state"].note


def test_ranges_without_the_package(children, monkeypatch):
    real = bench_memory.per_one

    def per_one(program, sizes, each=1, **given):
        if given["NAME"]:
            raise RuntimeError("benchmarks.measure.Skipped: needs intervaltree")
        return real(program, sizes, each, **given)

    monkeypatch.setattr(bench_memory, "per_one", per_one)
    row = bench_memory.range_row((10, 100))
    assert (row.ours, row.peer, row.met) == (100, None, None) and "needs intervaltree" in row.note


def test_a_long_run_that_takes_more_is_told(monkeypatch):
    monkeypatch.setattr(bench_memory, "in_child", lambda _, SIZE: [SIZE << 10, 32 * SIZE])
    assert bench_memory.long_run_row(10**6).met is False
