"""``mr-idle-fsync``: the transfer is complete, the region is still registered, and fsync must work.

Such use works today, and is legitimate (Kara, 2023-02-14): RDMA into a mapped file, completion polled, fsync. The
flusher cleans the page between two transfers; the second one dirties nothing until the region is released, so that
fsync finds nothing to write. To leave pinned pages alone, or to wait for them, is no way out while the pin stays.
"""

from typing import Any

import numpy as np

from workbench.scenarios import common
from workbench.scenarios.base import EMPTY_PLAN, Setup, check_parameters, new_world
from workbench.scenarios.common import (
    COMMON,
    CPUS,
    cleaner_parameters,
    cleaners,
    finish,
    region,
    region_parameters,
)

NAME = "mr-idle-fsync"
SUMMARY = "transfers into a registered region of a file, polled to be complete, then fsync"

PARAMETERS = (
    *region_parameters(transfers=2),
    *cleaner_parameters(flusher=(1200.0, 1), fsync=(2500.0, 1), kswapd=(3000.0, 0)),
    *COMMON,
)
SMALL = common.SMALL | common.SMALL_REGION | dict.fromkeys(("flusher_us", "fsync_us", "kswapd_us", "period_us"), 0.0)
# A policy that only fsync follows takes two of them: what the first one cleans, the second one misses.
ALSO = ({"flusher_rounds": 0, "fsync_rounds": 2},)
HAZARDS = (
    "bufferless-dirty", "lost-update", "unstable-write", "fsync-lie", "missed-pin", "stale-pin", "false-pin",
    "deadlock", "stall",
)  # fmt: skip


def build(given: dict[str, Any], rng: np.random.Generator, ranged: bool) -> tuple[Setup, dict[str, Any]]:
    """Set the scenario up: one clean page, a memory region on it, the flusher, fsync, and kswapd if wanted."""
    p = check_parameters(NAME, PARAMETERS, given)
    world, names = new_world(
        pages=1, nodes=8 + 2 * p["registrations"], bios=8, dios=0, cpus=CPUS, submitters=0, plan=EMPTY_PLAN, ios=0,
        cleaners=cleaners(p, "flusher", "fsync", "kswapd"), actors=(region(p),), dirty=False,
    )  # fmt: skip
    return finish(world, names, p, reads=p["transfers"]), p
