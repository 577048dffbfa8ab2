"""`explore` beside SPIN: the same worlds in Promela (``peers/*.pml``), every state of them, one core each.

States per second of CPU, growth of the tables in it, compilation not; and bytes per state: of both with their tables,
of SPIN without the stack of its depth-first search. SPIN is compiled ``-O2 -DSAFETY``; its table of hashes has room for
all states from the start. Both find as many states, or it fails; in these models SPIN's partial-order reduction leaves
none out. What `explore` does with its own is a row beside SPIN's fastest, by the time of the whole search. One more
peer is the same search in plain Python.

    python -m benchmarks.bench_explore [--quick]
"""

import argparse
import subprocess
import sys
import time
from typing import Any, NamedTuple

import pandas as pd

from benchmarks import spin
from benchmarks.measure import pinned, with_package
from benchmarks.row import Row
from workbench.explore import bytes_in_use, run_search
from workbench.replay import small_world
from workbench.tables import number, text_table


class World(NamedTuple):
    """A small world, or an enlarged one."""

    scenario: str
    what: str
    design: str
    parameters: dict[str, Any]


WORLDS = (
    World("golden-race", "3 rounds", "v4.17", {"flusher_rounds": 3, "kswapd_rounds": 3}),
    World("golden-race", "with fsync", "v4.17", {"flusher_rounds": 1, "fsync_us": 1.0}),
    World("direct-io", "small world", "v4.17", {}),
)
QUICK_WORLDS = (
    World("golden-race", "small world", "v4.17", {}),
    World("direct-io", "small world", "tracker=bias,cleaning=skip", {}),
)
REPEATS = 3
PLAIN_STATES = 3000
GOAL_SPEED, GOAL_BYTES, GOAL_PLAIN = "ratio >= 1.5", "ratio <= 1", ""


class Ours(NamedTuple):
    """A search of `explore`: states, seconds of CPU, bytes, and of each hazard whether it is reachable."""

    states: int
    seconds: float
    bytes: int
    reached: tuple[bool, ...]


def search(world: World, max_states: int = 0, reduce: bool = False) -> Ours:
    """Search a world; it is set up before the time starts."""
    small = small_world(world.scenario, world.design, world.parameters)
    limit = {"max_states": max_states} if max_states else {}
    began = time.process_time()
    found = run_search(small, reduce=reduce, **limit)
    seconds = time.process_time() - began
    reached = tuple(bool(first) for first, *_ in found.search.found)
    return Ours(int(found.search.states.cells[0]), seconds, bytes_in_use(found.search), reached)


def plain(world: World) -> float:
    """States per second of the same search in plain Python."""
    code = (
        "from benchmarks.bench_explore import *\n"
        f"found = search(World(*{tuple(world)!r}), {PLAIN_STATES})\nprint(found.states / found.seconds)"
    )
    environment = with_package() | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def beside_spin(world: World, repeats: int) -> tuple[Ours, Ours, dict[str, spin.Searched]]:
    """Search with both, in turns; the fastest of several of each: ours, ours reduced, and SPIN's modes.

    Raises
    ------
    AssertionError
        They do not find as many states, or reduced we do not find the same hazards.
    """
    search(world, 100)  # compiles
    options = spin.defines(world.scenario, world.design, world.parameters)
    with spin.compiled(world.scenario, options, *spin.MODES) as pans, pinned():
        ours, reduced = [search(world)], [search(world, reduce=True)]
        assert reduced[0].reached == ours[0].reached, "reduced, explore does not find the same hazards"
        theirs: dict[str, list[spin.Searched]] = {mode: [] for mode in spin.MODES}
        for _ in range(repeats):
            for mode, pan in zip(spin.MODES, pans, strict=True):
                theirs[mode].append(spin.run(pan, ours[0].states))
                assert theirs[mode][-1].states == ours[0].states, f"SPIN, {mode}: {theirs[mode][-1].states} states"
            ours.append(search(world))
            reduced.append(search(world, reduce=True))

    def fastest(found: list[Any]) -> Any:
        return min(found, key=lambda one: one.seconds)

    return fastest(ours), fastest(reduced), {mode: fastest(found) for mode, found in theirs.items()}


def rows(quick: bool) -> list[Row]:
    """Measure: a row for each world and mode of SPIN, its memory, a search that is reduced, and plain Python.

    Parameters
    ----------
    quick : bool
        Smaller worlds, once each.

    Returns
    -------
    list of Row
    """
    found = []
    worlds = QUICK_WORLDS if quick else WORLDS
    if spin.missing():
        found.append(Row("explore/spin", "explore against SPIN").skipped(f"needs {spin.missing()}"))
        worlds = ()
    for world in worlds:
        ours, reduced, theirs = beside_spin(world, 1 if quick else REPEATS)
        note = f"{ours.states} states"
        for mode, spins in theirs.items():
            slug = f"{world.what} {mode}".replace(", ", "-").replace(" ", "-")
            name, what = f"explore/{world.scenario}-{slug}", f"{world.scenario}, {world.what}, against SPIN {mode}"
            speeds = ours.states / ours.seconds, spins.states / spins.seconds
            found.append(_row(name, what, *speeds, GOAL_SPEED, "states/s", note))
        least = min(spins.bytes for spins in theirs.values())
        name, what = (
            f"explore/{world.scenario}-{world.what.replace(' ', '-')}-bytes",
            f"{world.scenario}, {world.what}, against SPIN's least",
        )
        found.append(_row(name, what, ours.bytes / ours.states, least / ours.states, GOAL_BYTES, "bytes/state", note))
        found.append(_reduced_row(world, ours, reduced, theirs))
    world = QUICK_WORLDS[0]
    ours = search(world)
    what = f"{world.scenario}, {world.what}, against plain Python"
    found.append(_row("explore/plain", what, ours.states / ours.seconds, plain(world), GOAL_PLAIN, "states/s"))
    return found


def _reduced_row(world: World, ours: Ours, reduced: Ours, theirs: dict[str, spin.Searched]) -> Row:
    """Seconds for the same answer: ours with its reduction, SPIN's in its fastest mode."""
    fastest = min(theirs, key=lambda mode: theirs[mode].seconds)
    seconds = theirs[fastest].seconds
    return Row(
        f"explore/{world.scenario}-{world.what.replace(' ', '-')}-reduced",
        f"{world.scenario}, {world.what}, reduced, against SPIN {fastest}: time of the whole search",
        ours=reduced.seconds,
        peer=seconds,
        ratio=seconds / reduced.seconds,
        unit="s",
        note=f"{reduced.states} states of {ours.states}; the same hazards; SPIN {' '.join(spin.AS_WRITTEN)}",
    )


def _row(name: str, what: str, ours: float, peer: float, goal: str, unit: str, note: str = "") -> Row:
    return Row(name, what, ours, peer, ours / peer, goal, unit, note)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller worlds, once each")
    table = pd.DataFrame(rows(parser.parse_args().quick))
    for column in ("ours", "peer", "ratio"):
        table[column] = [number(value) for value in table[column]]
    print(text_table(table.drop(columns="name"), width=120))


if __name__ == "__main__":
    main()
