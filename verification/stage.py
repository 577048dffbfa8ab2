"""Runs by the true clock, of scenario ``direct-io``, under arrivals and costs that a formula assumes.

The step programs, the clock, its locks and its device are those of `workbench.simulate`. Only what is drawn outside
differs: submission times are those of a Poisson process (as a replayed trace gives them), service times have the
distribution that the formula wants, and only the named counters cost anything, so that everything else takes no time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from workbench import clock, designs
from workbench.costs import Cost, CostTable
from workbench.mm import registers as R
from workbench.scenarios import direct_io
from workbench.scenarios.base import Setup, apply_design
from workbench.simulate import check_conservation, drive, new_clock
from workbench.trackers.protocol import RANGE_BEFORE

PS_PER_US = 1_000_000
Draw = Callable[[np.random.Generator, int], np.ndarray]


class Run(NamedTuple):
    """One run at its end.

    Attributes
    ----------
    setup : Setup
    ticker : clock.Clock
    services : ndarray of int64
        Service times in the order in which the device took them [ps].
    """

    setup: Setup
    ticker: clock.Clock
    services: np.ndarray

    def count(self, register: int) -> int:
        """A counter or a register."""
        return int(self.setup.world.sys[register])

    def total_ps(self, histogram: int) -> int:
        """Exact sum of the durations that went into a histogram (`registers.HISTOGRAMS`)."""
        return int(self.setup.world.sys[R.HISTOGRAM + histogram * R.CELLS_OF_ONE + R.BUCKETS])


def only(**ns: float) -> CostTable:
    """Cost table in which nothing but the named counters takes time."""
    return CostTable("only " + " ".join(ns), {name: Cost(cost, "assumed", "") for name, cost in ns.items()})


def run(
    design: str,
    arrivals_ps: np.ndarray | None,
    seed: int,
    *,
    draw: Draw | None = None,
    costs: CostTable | None = None,
    samples: int = 0,
    sample_ps: int = PS_PER_US,
    **parameters: Any,
) -> Run:
    """Run ``direct-io`` to its end, and check that nothing was left over.

    Parameters
    ----------
    design : str
        As in `workbench.simulate.simulate`.
    arrivals_ps : ndarray of int64, shape (n,), or None
        When each direct IO is submitted, rising [ps]; at most `direct_io.PLAN_BLOCK` of them. None: as soon as a slot
        is free, ``ios`` of them.
    seed : int
    draw : callable, optional
        Gives service times [ps]; by default those of the scenario's parameters.
    costs : CostTable, optional
        By default nothing takes time.
    samples, sample_ps : int
        Room of the time series, and its period [ps]; 0: as `workbench.simulate` has it.
    **parameters
        Of the scenario.
    """
    if arrivals_ps is not None:
        parameters["ios"] = len(arrivals_ps)
    chosen = designs.parse(design)
    streams = [np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(2)]
    setup, _ = direct_io.build(parameters, streams[0], chosen.tracker.when >= RANGE_BEFORE)
    services: list[np.ndarray] = []
    setup.draw = _noting(draw or setup.draw, services)
    world = setup.world
    apply_design(world, chosen)
    world.sys[R.COST : R.COST + len(R.COUNTERS)] = (costs or only()).picoseconds()
    if arrivals_ps is not None:
        world.plan["at_ps"] = arrivals_ps
    ticker = new_clock(setup)
    if samples:
        ticker = ticker._replace(sample=np.zeros((samples, len(clock.SAMPLE_FIELDS)), np.int64))
        ticker.cells[clock.SAMPLE_PERIOD] = sample_ps
    drive(chosen.tracker, setup, ticker, streams[1])
    check_conservation(chosen.tracker, world)
    return Run(setup, ticker, np.concatenate([*services, np.zeros(0, np.int64)]))


def _noting(draw: Draw, notes: list[np.ndarray]) -> Draw:
    def noted(rng: np.random.Generator, n: int) -> np.ndarray:
        notes.append(draw(rng, n))
        return notes[-1]

    return noted


def poisson_ps(n: int, per_us: float, seed: int) -> np.ndarray:
    """Times of the first ``n`` arrivals of a Poisson process [ps].

    Parameters
    ----------
    n : int
    per_us : float
        Arrivals per microsecond.
    seed : int

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    gaps = _generator(seed).exponential(PS_PER_US / per_us, n)
    return np.round(np.cumsum(gaps)).astype(np.int64)


def exponential(mean_us: float) -> Draw:
    """Service times with an exponential distribution."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.maximum(np.round(rng.exponential(mean_us * PS_PER_US, n)), 1).astype(np.int64)

    return draw


def _generator(seed: int) -> np.random.Generator:
    """Apart from the streams that `run` makes of the same seed."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1])))
