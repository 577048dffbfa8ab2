"""How fast `explore` searches, and how many bytes it keeps per state.

Two overlapping GUP calls by two threads, over 4 pages, in 4 bios, with the flusher; the search stops at a number of
states, if it does not end before. The peer is the same search in plain Python (without the JIT), in the same run.

    python -m benchmarks.bench_explore [--states N]
"""

import argparse
import os
import subprocess
import sys
import time

import pandas as pd

from workbench.explore import bytes_in_use, run_search
from workbench.replay import small_world
from workbench.search import engine
from workbench.tables import number, text_table

WORLD = {"threads": 2, "qd": 1, "size_kib": 12, "bio_pages": 2, "shift": 1}
DESIGNS = (
    "v4.17",
    "tracker=bias,cleaning=skip",
    "tracker=lru-count,cleaning=skip",
    "tracker=vma-common:release=count,cleaning=skip",
)
PLAIN_STATES = 3000


def search(design, states, reduce):
    """States per second, transitions per second, and bytes per state, of one search."""
    small = small_world("direct-io", design, WORLD)
    assert (len(small.world.page), len(small.world.dio)) == (4, 2)
    began = time.perf_counter()
    found = run_search(small, max_states=states, reduce=reduce)
    seconds = time.perf_counter() - began
    kept = int(found.search.states.cells[0])
    moves = int(found.search.cells[engine.TRANSITIONS])
    return kept / seconds, moves / seconds, bytes_in_use(found.search) / kept


def plain(design):
    """States per second of the same search in plain Python."""
    code = f"from benchmarks.bench_explore import *; print(search({design!r}, {PLAIN_STATES}, False)[0])"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main():
    """Measure every design, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=2_000_000)
    states = parser.parse_args().states
    rows = []
    for design in DESIGNS:
        search(design, 100, False)  # compile
        peer = plain(design)
        for reduce in (False, True):
            per_second, moves, kept = search(design, states, reduce)
            rows.append(
                {
                    "design": design,
                    "reduced": "yes" if reduce else "no",
                    "states/s": number(per_second, "1"),
                    "transitions/s": number(moves, "1"),
                    "x plain Python": number(per_second / peer, "1"),
                    "B/state": number(kept, "1"),
                }
            )
    print(text_table(pd.DataFrame(rows), width=100))


if __name__ == "__main__":
    main()
