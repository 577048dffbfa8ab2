"""Little's law: the mean number in the system is the rate of arrivals times the mean time in it.

    L = rate W    (Little 1961, Operations Research 9(3))

It holds for anything that comes and goes, whatever the distributions; for a run that begins and ends empty it holds
exactly. L is taken from the time series, sampled every ``step``; rate and W from the count of direct IOs and the
histogram LATENCY, which other steps write. An IO in the system for a time t is seen by t / step samples, give or take
one: so the two sides differ by less than rate x step, and that is the bound that is held. The same is done for pinned
ranges, whose times are in the histogram RANGE_LIFE. Costs, device and parameters are the scenario's own.
"""

from verification import stage
from verification.check import Axes, Size
from verification.estimates import Bounded, Case
from workbench import costs
from workbench.clock import SAMPLE_FIELDS, SAMPLE_PERIOD, SAMPLES
from workbench.mm import registers as R

NAME = "littles_law"
TITLE = "Little's law: L = rate W"
FORMULA = "L / (rate W) - 1 = 0 parts in a million, to within step / W of the time series"
SOURCES = ("Little (1961), Operations Research 9(3), 383-387",)
ASSUMED = "nothing; runs begin and end empty, costs and device are the scenario's own."
AXES = Axes("rate x W", "L / (rate x W) - 1 [parts in a million]", logx=True)
DESIGNS = {
    "none": "tracker=none,cleaning=ignore",
    "lru-count": "tracker=lru-count,cleaning=skip/wait",
    "vma-common split": "tracker=vma-common:release=split,cleaning=skip/wait",
    "vma-common count": "tracker=vma-common:release=count,cleaning=skip/wait",
}
RANGES = {"vma-common count": "vma-common, ranges"}
DEPTHS = (1.0, 4.0, 16.0, 64.0, 256.0)
STEPS = 200_000  # samples, about
CPUS = 2


def run(size: Size) -> list[Case]:
    """Compare at each depth under each design.

    Parameters
    ----------
    size : Size
    """
    return [case for name in DESIGNS for depth in size.some(DEPTHS) for case in compare(name, int(depth), size)]


def curve(x: float) -> dict[str, float]:
    """No difference, anywhere."""
    return dict.fromkeys((*DESIGNS, *RANGES.values()), 0.0)


def compare(name: str, depth: int, size: Size) -> list[Case]:
    """Run one design at one depth: IOs in flight, and live ranges where they can be told apart."""
    ran = measured(name, depth, size)
    cases = [case_of(name, ran, "ios_out", ran.count(R.DIOS), R.LATENCY)]
    if name in RANGES:
        cases.append(case_of(RANGES[name], ran, "live_ranges", ran.count(R.RANGES), R.RANGE_LIFE))
    return cases


def measured(name: str, depth: int, size: Size) -> stage.Run:
    """One run with a long time series."""
    ios = min(size.ios // 10, 40 * depth * CPUS)
    return stage.run(
        DESIGNS[name], None, seed=depth, costs=costs.in_use(), ios=ios, qd=depth, samples=2 * min(STEPS, 10 * size.ios),
        sample_ps=stage.PS_PER_US // 50, cpus=CPUS, size_kib=16, bio_pages=2,
    )  # fmt: skip


def case_of(series: str, ran: stage.Run, field: str, came: int, times: int) -> Case:
    """Compare a column of the time series with a histogram of the times spent, over so many that came."""
    cells = ran.ticker.cells
    span, step = ran.count(R.NOW), int(cells[SAMPLE_PERIOD])
    seen = int(ran.ticker.sample[: cells[SAMPLES], SAMPLE_FIELDS.index(field)].sum())
    rate, time = came / span, ran.total_ps(times) / came
    off = seen * step / span / (rate * time) - 1
    return Case(series, rate * time, Bounded(1e6 * off, 1e6 * step / time), 0.0)
