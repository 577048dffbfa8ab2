"""The analytic checks on small inputs, and for each a mutant that it has to notice."""

import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from verification import (
    __main__,
    batched_release,
    device_queue,
    dirty_pages,
    estimates,
    false_pins,
    littles_law,
    lock_queue,
    report,
    split_ranges,
    stage,
)
from verification.check import QUICK, Size
from verification.estimates import Bounded, Case, Mean, Share
from workbench.accelerate import JIT_ENABLED
from workbench.clock import SAMPLE_FIELDS
from workbench.mm import registers as R

TINY = QUICK if JIT_ENABLED else Size(replications=3, ios=300, points=1)
MISS = 1e-4


def disagreeing(cases: list[Case]) -> list[str]:
    return [case.series for case in cases if not case.agrees(MISS)]


# ---- intervals


def test_student_t_and_clopper_pearson_as_in_tables():
    found = [estimates.student_t(0.975, degrees) for degrees in (1, 4, 9, 30)]
    assert found == pytest.approx([12.706, 2.776, 2.262, 2.042], abs=5e-4)
    assert Share(5, 10).interval(0.05) == pytest.approx((0.1871, 0.8129), abs=5e-5)
    assert Share(0, 10).interval(0.05) == pytest.approx((0, 0.3085), abs=5e-5)
    assert Share(10, 10).interval(0.05)[1] == 1


def test_beta_cdf_is_a_tail_of_the_binomial():
    """P(X >= a) of n trials is the function at (a, n - a + 1); a million trials as well as five."""
    for n, a, x in ((5, 2, 0.3), (40, 30, 0.6)):
        tail = sum(math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1))
        assert estimates.beta_cdf(x, a, n - a + 1) == pytest.approx(tail, rel=1e-10)
    assert estimates.beta_cdf(0.5, 500_000, 500_001) == pytest.approx(0.5, abs=1e-3)


def test_interval_of_a_mean_misses_as_often_as_it_says():
    rng = np.random.Generator(np.random.PCG64(1))
    low, high = np.array([Mean(tuple(sample)).interval(0.2) for sample in rng.standard_normal((2000, 5))]).T
    assert np.mean((low > 0) | (high < 0)) == pytest.approx(0.2, abs=0.03)


def test_a_bound_holds_at_any_level():
    assert Case("", 0, Bounded(1.0, 0.1), 1.1).agrees(0.5)
    assert not Case("", 0, Bounded(1.0, 0.1), 1.11).agrees(1e-9)
    assert Case("", 0, Bounded(1.0, 0.1), 1.11, slack=0.02).agrees(0.5)


# ---- formulas, where they have known values


def test_erlang_c():
    """Kleinrock: with one server it is the load; Erlang's tables give 0.2 for B(2, 1)."""
    assert [device_queue.erlang_c(1, load) for load in (0.1, 0.9)] == pytest.approx([0.1, 0.9])
    assert device_queue.erlang_c(2, 1.0) == pytest.approx(0.2 / (1 - 0.5 * 0.8))


def test_recursion_by_hand():
    arrivals, services = np.array([0, 1, 2, 30]), np.array([10, 4, 6, 5, 99])
    assert device_queue.total_in_system(arrivals, services, 1) == 10 + 13 + 18 + 5
    assert device_queue.total_in_system(arrivals, services, 2) == 10 + 4 + 9 + 5


def test_runs_of_all_orders():
    """Every order of release of four pages."""
    for gone in range(5):
        runs = []
        for order in permutations(range(4)):
            kept = [page not in order[:gone] for page in range(4)]
            runs.append(sum(kept[i] and not (i and kept[i - 1]) for i in range(4)))
        assert 4 * split_ranges.formula(4, gone / 4) == pytest.approx(np.mean(runs))


def test_power_law_has_the_mean_that_its_exponent_is_for():
    alpha = false_pins._alpha(500.0)
    assert np.sum(np.arange(1, false_pins.LARGEST + 1.0) ** -alpha) == pytest.approx(500, rel=1e-4)


def test_threads_at_a_lock():
    found = [lock_queue.threads_for(use) for use in lock_queue.USES]
    assert found == sorted(found) and 5 < found[0] and found[-1] < 64


# ---- the checks, and mutants


def test_littles_law():
    assert disagreeing(littles_law.run(TINY)) == []
    ran = littles_law.measured("none", 64, TINY)
    what = ("ios_out", ran.count(R.DIOS), R.LATENCY)
    assert littles_law.case_of("none", ran, *what).agrees(MISS)
    ran.ticker.sample[::100, SAMPLE_FIELDS.index("ios_out")] += 1  # now and then an IO that is not there
    assert not littles_law.case_of("none", ran, *what).agrees(MISS)
    assert not littles_law.case_of("none", ran, *what[:2], R.SUBMIT).agrees(MISS)


def latency_of_16_servers() -> Case:
    means = tuple(device_queue.replication("M/M/16", 0.3, 600, seed)[0] for seed in range(6))
    return Case("M/M/16", 0.3, Mean(means), device_queue.formula("M/M/16", 0.3))


def test_device_queue(monkeypatch):
    cases = device_queue.run(TINY)
    assert disagreeing(cases) == []
    assert sum(case.estimate == Bounded(0.0) for case in cases) == 6, "equal to the recursion, to the picosecond"
    assert latency_of_16_servers().agrees(1e-3)
    with monkeypatch.context() as patch:  # a wrong service time
        service = stage.exponential
        patch.setattr(stage, "exponential", lambda mean_us: service(1.2 * mean_us))
        assert not latency_of_16_servers().agrees(1e-3)
    run = device_queue._run
    monkeypatch.setattr(device_queue, "_run", lambda name, units, *rest: run(name, units + 1, *rest))  # a server more
    assert device_queue.replication("M/M/1", 0.8, 300, seed=1)[1] < 0
    assert device_queue.replication("M/M/4", 0.8, 300, seed=1)[1] < 0


@pytest.mark.slow_without_jit
def test_lock_queue(monkeypatch):
    cases = lock_queue.run(TINY)
    assert disagreeing(cases) == []
    assert [case.estimate for case in cases[-2:]] == [Bounded(0.0)] * 2, "equal to the recursion, to the picosecond"
    costs = stage.only
    monkeypatch.setattr(stage, "only", lambda **ns: costs(**{name: 1.01 * cost for name, cost in ns.items()}))
    assert {f"{lock} {lock_queue.EXACT}" for lock in lock_queue.LOCKS} <= set(disagreeing(lock_queue.run(TINY)))


def test_false_pins(monkeypatch):
    assert disagreeing(false_pins.run(TINY)) == []
    with monkeypatch.context() as patch:  # a reference too few
        patch.setattr(false_pins, "GUP_PIN_COUNTING_BIAS", false_pins.GUP_PIN_COUNTING_BIAS - 100)
        assert disagreeing(false_pins.run(TINY))
    maps, transient = np.full(10, 2000), np.zeros(10, np.int64)
    assert false_pins.said_pinned(maps, transient, subtract=False).all()
    assert not false_pins.said_pinned(maps, transient, subtract=True).any()


@pytest.mark.slow_without_jit
def test_dirty_pages(monkeypatch):
    assert disagreeing(dirty_pages.run(TINY)) == []
    arrivals = stage.poisson_ps
    monkeypatch.setattr(stage, "poisson_ps", lambda n, rate, seed: arrivals(n, 0.8 * rate, seed))
    assert disagreeing(dirty_pages.run(TINY)) == [dirty_pages.SERIES]


def test_split_ranges(monkeypatch):
    assert disagreeing(split_ranges.run(TINY)) == []
    monkeypatch.setattr(split_ranges, "TRACKER", "vma-common:release=count")
    assert len(disagreeing(split_ranges.run(TINY))) == 5


def test_batched_release(monkeypatch):
    assert disagreeing(batched_release.run(TINY)) == []
    monkeypatch.setattr(batched_release.anchors, "STREAM_GB_PER_S", (64.0, 32.0))
    assert disagreeing(batched_release.run(TINY)) == list(batched_release.RELEASES[1:])


# ---- the command


def test_family_level():
    by_chance = [Case("", 0, Mean((0.0, 1.0)), 0.5)] * 4
    assert report.miss_of_each([*by_chance, Case("", 0, Bounded(1.0), 1.0)]) == pytest.approx(0.01 / 4)


def test_command_draws_and_fails_if_a_check_does(tmp_path, monkeypatch, capsys):
    assert __main__.main(["batched_release", "--quick", "--out", str(tmp_path)]) == 0
    assert {p.suffix for p in tmp_path.iterdir()} == {".svg", ".pdf", ".png", ".txt"}
    text = (tmp_path / "verify_batched_release.txt").read_text()
    assert "Martins 2021-02-12" in text and max(map(len, text.splitlines())) <= 72
    assert "All agree: 0 estimates" in capsys.readouterr().out
    monkeypatch.setattr(batched_release, "OTHER_MACHINE", 0.01)
    assert __main__.main(["batched_release", "--quick", "--out", str(tmp_path)]) == 1
    assert "DISAGREE: batched_release (1)" in capsys.readouterr().out


def test_command_names_the_checks(capsys):
    with pytest.raises(SystemExit) as ended:
        __main__.main(["litle"])
    assert ended.value.code == 2 and "littles_law" in capsys.readouterr().err
    files = {path.stem for path in Path(__main__.__file__).parent.glob("*.py")}
    assert __main__.CHECKS.keys() <= files
    assert len(files - __main__.CHECKS.keys()) == 6, "a check that the command does not know"
