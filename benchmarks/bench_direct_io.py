"""`simulate direct-io`, 64 KiB direct IOs at depth 64, beside a C program, a SimPy model and the plain-Python twin.

A page operation is a pin, a test or an unpin of one page in a running simulation. All four give the same counts, and
end at the same picosecond, before anything is timed. What a tracker does per second is that of the whole call of
`simulate`, random numbers, checks and tables in it; beside C both are given the same service times. Compilation is in
no figure.

    python -m benchmarks.bench_direct_io [--quick]
"""

import ctypes
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import Skipped, best_of, compiled
from benchmarks.row import Row
from workbench import costs, designs, simulate
from workbench.designs import trackers
from workbench.mm import registers as R
from workbench.scenarios import direct_io
from workbench.scenarios.base import apply_design
from workbench.simulate import drive, new_clock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import naive_simulate  # noqa: E402

LOAD = {"qd": 64, "size_kib": 64}
DESIGN = "tracker=bias"  # the one that the peers have
QUICK_TRACKERS = ("bias",)
SEED = 1
IOS, QUICK_IOS = 400_000, 100_000
PLAIN_IOS = 400  # of the twin
SIMPY_IOS = 4000
REPEATS = 5
# The C program's, in the order of its `struct parameters`, `enum counter` and `struct outcome`.
PARAMETERS = ("cpus", "qd", "io_pages", "ios", "read", "gup_batch", "bio_pages", "units", "tags", "per_page_ps", "bias")
COUNTERS = (
    *("SUBMIT_IO", "GUP_CALL", "GUP_PAGE", "ATOMIC", "PUT_PAGE", "PAGE_LOCK", "BIO_ALLOC", "BIO_PAGE", "SUBMIT_BIO"),
    *("INTERRUPT", "BIO_ENDIO", "DIO_COMPLETE", "REAP", "SWITCH", "SET_DIRTY", "PINS", "UNPINS", "DIOS", "BIOS"),
    *("UNSTABLE_WRITE", "COUNT_OVERFLOW"),
)
HISTOGRAMS = ("LATENCY", "SUBMIT", "RELEASE", "OVERTAKES")
ENDS = ("now", "last_done", "events", "busy_ps", "pins_left", "references")

BESIDE_SIMPY = Row(
    "direct-io/x-simpy",
    "simulate direct-io, bias, against SimPy",
    goal="ratio >= 25",
    unit="bios/s",
    note="same counts, same end time",
)
BESIDE_C = Row(
    "direct-io/x-c",
    "simulate direct-io, bias, against C (gcc -O2)",
    goal="ratio <= 1.5",
    unit="M page ops/s/core",
)


class System(NamedTuple):
    """What a peer is given: parameters by name, unit costs [ps] by counter, service times [ps] by bio."""

    parameters: dict[str, int]
    cost: dict[str, int]
    draws: np.ndarray


class Outcome(NamedTuple):
    """Counts that are not 0, when the last direct IO completed [ps], sums of the histograms; events, if known."""

    counters: dict[str, int]
    last_done: int
    sums: dict[str, int]
    events: int | None = None


def system(**given: Any) -> System:
    """Say what `simulate` would simulate under the tracker bias, in numbers.

    Parameters
    ----------
    **given
        Parameters of the scenario: of those that the peers have.
    """
    setup, p = direct_io.build(given, np.random.default_rng(0), False)
    parameters = {name: p[name] for name in ("cpus", "qd", "ios", "bio_pages", "units", "tags", "bias")}
    parameters |= {"io_pages": p["size_kib"] // 4, "read": int(p["op"] == "read"), "per_page_ps": setup.per_page_ps}
    parameters["gup_batch"] = int(setup.world.sys[R.GUP_BATCH])
    cost = dict(zip(R.COUNTERS, map(int, costs.DEFAULT.picoseconds()), strict=True))
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence(SEED).spawn(2)[1]))
    bios = p["ios"] * -(-parameters["io_pages"] // p["bio_pages"])
    return System(parameters, cost, setup.draw(stream, bios + p["cpus"] + 1))


def by_simulate(**given: Any) -> Outcome:
    """Run `simulate` itself."""
    result = simulate("direct-io", DESIGN, seed=SEED, cost_table=costs.DEFAULT, **given)
    return Outcome(_counted(result.counters), result.metrics["simulated_ps"], {}, result.metrics["events"])


def by_engine(draws: np.ndarray, **given: Any) -> Outcome:
    """Run what `simulate` runs between its checks and its tables, with service times that are drawn already."""
    setup, _ = direct_io.build(given, np.random.default_rng(0), False)
    chosen = designs.parse(DESIGN)
    world = setup.world
    apply_design(world, chosen)
    world.sys[R.COST : R.COST + len(R.COUNTERS)] = costs.DEFAULT.picoseconds()
    setup.draw = lambda rng, n: draws
    drive(chosen.tracker, setup, new_clock(setup), np.random.default_rng(0))
    sums = {
        name: int(world.sys[R.HISTOGRAM + (i + 1) * R.CELLS_OF_ONE - 1])
        for i, name in enumerate(R.HISTOGRAMS)
        if name in HISTOGRAMS
    }
    counters = {name: int(world.sys[i]) for i, name in enumerate(R.COUNTERS)}
    return Outcome(_counted(counters), int(world.sys[R.LAST_DONE]), sums)


class CProgram:
    """The same in C.

    Raises
    ------
    Skipped
        There is no gcc.
    """

    def __init__(self) -> None:
        self._function = compiled("direct_io.c").direct_io
        self._function.restype = None

    def run(self, given: System) -> Outcome:
        """Run one simulation."""
        cells = len(COUNTERS) + len(HISTOGRAMS) + len(ENDS)
        out = np.zeros(cells + len(HISTOGRAMS) * R.BUCKETS, np.int64)
        parameters = np.array([given.parameters[name] for name in PARAMETERS], np.int64)
        cost = np.array([given.cost[name] for name in COUNTERS], np.int64)
        self._function(*(ctypes.c_void_p(array.ctypes.data) for array in (parameters, cost, given.draws, out)))
        told = dict(zip((*COUNTERS, *HISTOGRAMS, *ENDS), map(int, out), strict=False))
        assert told["pins_left"] == 0, "pins are left"
        sums = {name: told[name] for name in HISTOGRAMS}
        return Outcome(_counted({n: told[n] for n in COUNTERS}), told["last_done"], sums, told["events"])


def by_simpy(given: System) -> Outcome:
    """Run the SimPy model.

    Raises
    ------
    Skipped
        SimPy is not installed.
    """
    try:
        from benchmarks.peers.direct_io_simpy import Machine
    except ModuleNotFoundError:
        raise Skipped("needs simpy") from None
    machine = Machine(given.parameters, given.cost, given.draws.tolist())
    counters, last_done = machine.run()
    return Outcome(_counted(counters), last_done, {"LATENCY": sum(machine.latencies)})


def _counted(counters: dict[str, int]) -> dict[str, int]:
    return {name: n for name, n in counters.items() if n}


def page_operations(counters: dict[str, int]) -> int:
    """Pins, unpins and tests of pages."""
    return sum(counters.get(name, 0) for name in ("PINS", "UNPINS", "PIN_TEST"))


def rows(quick: bool = False) -> list[Row]:
    """Measure: a row per tracker, beside the twin; then bias beside SimPy and C.

    Parameters
    ----------
    quick : bool
        One tracker, and fewer direct IOs.
    """
    ios = QUICK_IOS if quick else IOS
    found = [tracker_row(name, ios) for name in (QUICK_TRACKERS if quick else trackers())]
    for measured, row in ((simpy_row, BESIDE_SIMPY), (c_row, BESIDE_C)):
        try:
            found.append(measured(ios))
        except Skipped as missing:
            found.append(row.skipped(missing))
    return found


def tracker_row(name: str, ios: int) -> Row:
    """Page operations per second under a tracker, by the whole call of `simulate`, and by the twin."""
    design = f"tracker={name}"

    def ours(n: int) -> dict[str, int]:
        return simulate("direct-io", design, seed=SEED, ios=n, **LOAD).counters

    def twin(n: int) -> dict[str, int]:
        return naive_simulate.run("direct-io", design, seed=SEED, parameters={**LOAD, "ios": n}).counters

    assert ours(PLAIN_IOS) == (counters := twin(PLAIN_IOS)), f"{name}: the twin counts otherwise"
    per_io = page_operations(counters) / PLAIN_IOS
    (seconds,) = best_of(REPEATS, lambda: ours(ios))
    (plain,) = best_of(2, lambda: twin(PLAIN_IOS))
    mine, peer = per_io * ios / seconds / 1e6, per_io * PLAIN_IOS / plain / 1e6
    return Row(
        f"direct-io/{name}",
        f"simulate direct-io, {name}, against the plain-Python twin",
        ours=mine,
        peer=peer,
        ratio=mine / peer,
        goal="ours >= 100" if name == "bias" else "ours >= 30",
        unit="M page ops/s/core",
        note=f"64 KiB, QD 64, {ios:,} IOs",
    )


def simpy_row(ios: int) -> Row:
    """Bios per second beside the SimPy model."""
    given = system(ios=SIMPY_IOS, **LOAD)
    theirs, mine = by_simpy(given), by_simulate(ios=SIMPY_IOS, **LOAD)
    assert (theirs.counters, theirs.last_done) == (mine.counters, mine.last_done), "SimPy gives another result"
    ours, peer = best_of(2, lambda: by_simulate(ios=ios, **LOAD), lambda: by_simpy(given))
    rates = ios / ours, SIMPY_IOS / peer
    return BESIDE_SIMPY._replace(ours=rates[0], peer=rates[1], ratio=rates[0] / rates[1])


def c_row(ios: int) -> Row:
    """Time beside the C program."""
    program = CProgram()
    given = system(ios=ios, **LOAD)
    theirs, mine, whole = program.run(given), by_engine(given.draws, ios=ios, **LOAD), by_simulate(ios=ios, **LOAD)
    assert theirs[:3] == mine[:3], "the C program gives another result"
    assert whole[:2] + whole[3:] == theirs[:2] + theirs[3:], "simulate gives another result than its engine"
    engine, peer, call = best_of(
        REPEATS,
        lambda: by_engine(given.draws, ios=ios, **LOAD),
        lambda: program.run(given),
        lambda: by_simulate(ios=ios, **LOAD),
    )
    operations = page_operations(mine.counters) / 1e6
    return BESIDE_C._replace(
        ours=operations / engine,
        peer=operations / peer,
        ratio=engine / peer,
        note=f"ratio of times, service times given to both; of the whole call of simulate: {call / peer:.2f}",
    )


def main() -> None:
    for row in rows("--quick" in sys.argv[1:]):
        print(row, flush=True)


if __name__ == "__main__":
    main()
