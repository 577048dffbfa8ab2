"""``gup-fast-race``: GUP-fast against cleaning (Kara, 2018-07-02: write-protect first, then look for the pin).

GUP-fast reads the PTE, takes a reference and reads the PTE again; a cleaner write-protects and asks whether the page
is pinned. Asked before the write-protection, a pin can come in between; asked after it, GUP-fast either sees the PTE
changed or was in time to be seen. By the clock the three steps of GUP-fast are one; `explore` takes them apart.
"""

from typing import Any

import numpy as np

from workbench.scenarios import common
from workbench.scenarios.base import Setup, check_parameters, new_world
from workbench.scenarios.common import COMMON, CPUS, cleaner_parameters, cleaners, finish, one_read

NAME = "gup-fast-race"
SUMMARY = "GUP-fast's three steps against write-protection and the question whether the page is pinned"

PARAMETERS = (*cleaner_parameters(flusher=(200.0, 1), fsync=(1500.0, 1)), *COMMON)
SMALL = common.SMALL | dict.fromkeys(("flusher_us", "fsync_us", "period_us"), 0.0)
HAZARDS = (
    "bufferless-dirty", "lost-update", "unstable-write", "fsync-lie", "missed-pin", "stale-pin", "false-pin",
    "deadlock", "stall",
)  # fmt: skip


def build(given: dict[str, Any], rng: np.random.Generator, ranged: bool) -> tuple[Setup, dict[str, Any]]:
    """Set the scenario up: one page that has just been written, one direct IO that reads into it."""
    p = check_parameters(NAME, PARAMETERS, given)
    world, names = new_world(
        pages=1, nodes=8, bios=8, dios=1, cpus=CPUS, submitters=1, plan=one_read(), ios=1,
        cleaners=cleaners(p, "flusher", "fsync"),
    )  # fmt: skip
    return finish(world, names, p, reads=1), p
