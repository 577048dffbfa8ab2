"""How long one waits before anything runs: ``python -m benchmarks --only start``.

Each figure is of a fresh process: ``import workbench``; the first simulation of a tracker with nothing compiled, and
that of each further tracker; a simulation with everything compiled. Figures are by the clock, as who waits has it,
so other work on the machine is in them; notes have the CPU time.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from benchmarks.measure import Seconds, timed, with_package
from benchmarks.row import Row

FIRST = "tracker=bias"
FURTHER = ("tracker=flag", "tracker=vma-common:release=split")
REPEATS = 5
# Time of each design's first simulation, in this process.
SIMULATE = """
import json, sys, time
from workbench import simulate
for design in sys.argv[1:]:
    clock, cpu = time.perf_counter(), time.process_time()
    simulate("direct-io", design, ios=100, qd=8, size_kib=16)
    print(json.dumps([time.perf_counter() - clock, time.process_time() - cpu]))
"""


def rows(quick: bool = False) -> list[Row]:
    """Measure.

    Parameters
    ----------
    quick : bool
        Not with nothing compiled.
    """
    if quick:
        why = "not with --quick, since it compiles for a minute or more"
        cold = [row.skipped(why) for row in cold_rows([None] * (1 + len(FURTHER)))]
        return [*warm_rows(with_package()), *cold]
    with tempfile.TemporaryDirectory(prefix="workbench-cold-") as cache:
        environment = with_package() | {"NUMBA_CACHE_DIR": cache}
        cold = cold_rows([Seconds(*pair) for pair in simulated(environment, FIRST, *FURTHER)])
        return [*warm_rows(environment), *cold]


def warm_rows(environment: Mapping[str, str]) -> list[Row]:
    """Rows of what everybody waits for each time."""
    simulated(environment, FIRST)  # compiles, if that is not done yet
    warm, imported = best(environment, SIMULATE, FIRST), best(environment, "import workbench")
    floor = best(environment, "import numba, pandas")
    return [
        _row("import", "import workbench, against import numba, pandas", imported, "ours <= 0.5", floor),
        _row("warm", "a simulation, everything compiled: all of the process", warm, "ours <= 1"),
    ]


def cold_rows(seconds: Sequence[Seconds | None]) -> list[Row]:
    """Rows of the first simulation of all, and of those of further trackers."""
    what = "first simulation of all, nothing compiled: tracker bias"
    found = [_row("first", what, seconds[0], "ours <= 20")]
    for design, spent in zip(FURTHER, seconds[1:], strict=True):
        name = design.removeprefix("tracker=")
        found.append(_row(f"further-{name}", f"first simulation of a further tracker: {name}", spent, "ours <= 8"))
    return found


def simulated(environment: Mapping[str, str], *designs: str) -> list[list[float]]:
    """Simulate designs in one fresh process; of each the time by the clock and of CPU [s]."""
    command = [sys.executable, "-c", SIMULATE, *designs]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def best(environment: Mapping[str, str], *command: str) -> Seconds:
    """Run a command of Python some times; the one that was done soonest."""

    def run() -> None:
        subprocess.run([sys.executable, "-c", *command], env=environment, capture_output=True, check=True)

    return min((timed(run) for _ in range(REPEATS)), key=lambda seconds: seconds.clock)


def _row(name: str, what: str, ours: Seconds | None, goal: str, peer: Seconds | None = None) -> Row:
    row = Row(f"start/{name}", what, goal=goal, unit="s")
    if ours is None:
        return row
    row = row._replace(ours=ours.clock, note=f"by the clock; CPU time {ours.cpu:.2f} s")
    return row._replace(peer=peer.clock, ratio=ours.clock / peer.clock) if peer else row
