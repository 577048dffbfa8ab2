"""``mr-idle-fsync``: the transfer is complete, the region is still registered, and fsync must work.

Such use works today, and is legitimate (Kara, 2023-02-14): RDMA into a mapped file, completion polled, fsync. The
flusher cleans the page between two transfers; the second one dirties nothing until the region is released, so that
fsync finds nothing to write. To leave pinned pages alone, or to wait for them, is no way out while the pin stays. Who
writes to another page of the file meets balance_dirty_pages: a page that stays dirty counts against his limit.
"""

from typing import Any

import numpy as np

from workbench.mm import registers as R
from workbench.mm.programs import U_WRITE, WRITER_PROGRAM
from workbench.scenarios import common
from workbench.scenarios.base import EMPTY_PLAN, Actor, Parameter, Setup, check_parameters, new_world
from workbench.scenarios.common import (
    COMMON,
    CPUS,
    cleaner_parameters,
    cleaners,
    finish,
    picoseconds,
    region,
    region_parameters,
    start_parameter,
)

NAME = "mr-idle-fsync"
SUMMARY = "transfers into a registered region of a file, polled to be complete, then fsync"

PARAMETERS = (
    *region_parameters(transfers=2),
    *cleaner_parameters(flusher=(1200.0, 1), fsync=(2500.0, 1), kswapd=(3000.0, 0)),
    start_parameter("writer", 2200.0),
    Parameter(
        "writer_rounds", 0, "writes", "writes by a thread to a page of its own; 0: there is no such page", 0, 100
    ),
    Parameter("dirty_limit", 1, "pages", "dirty pages at which it is held up (balance_dirty_pages)", 1, 100),
    *COMMON,
)
SMALL = (
    common.SMALL
    | common.SMALL_REGION
    | dict.fromkeys(("flusher_us", "fsync_us", "kswapd_us", "writer_us", "period_us"), 0.0)
)
# A policy that only fsync follows takes two of them: what the first one cleans, the second one misses.
ALSO = ({"flusher_rounds": 0, "fsync_rounds": 2}, {"fsync_rounds": 0, "writer_rounds": 1})
HAZARDS = (
    "bufferless-dirty", "lost-update", "unstable-write", "fsync-lie", "missed-pin", "stale-pin", "false-pin",
    "deadlock", "stall",
)  # fmt: skip


def build(given: dict[str, Any], rng: np.random.Generator, ranged: bool) -> tuple[Setup, dict[str, Any]]:
    """Set the scenario up: a clean page with a memory region on it, cleaners, and perhaps a page that is written to."""
    p = check_parameters(NAME, PARAMETERS, given)
    writes, start = p["writer_rounds"], picoseconds(p["writer_us"])
    writer = Actor("writer", WRITER_PROGRAM, U_WRITE, cpu=1, rounds=writes, start_ps=start, page=1)
    world, names = new_world(
        pages=2 if writes else 1, nodes=8 + 2 * p["registrations"], bios=8, dios=0, cpus=CPUS, submitters=0,
        plan=EMPTY_PLAN, ios=0, cleaners=cleaners(p, "flusher", "fsync", "kswapd"),
        actors=(region(p), writer) if writes else (region(p),), dirty=False,
    )  # fmt: skip
    world.sys[R.DIRTY_LIMIT] = p["dirty_limit"] if writes else 0
    return finish(world, names, p, reads=p["transfers"]), p
