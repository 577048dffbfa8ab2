"""``golden-race``: the crash of 2018, step by step (Kara, 2018-01-03, 20180103100430.GE4911@quack2).

A direct IO reads into one page of a shared file mapping. GUP takes a write fault, which gives the page its
buffers and dirties it; while the device works, the flusher cleans the page and kswapd strips its buffers,
but can't free it; at completion the page is dirtied without buffers, and the next round of the flusher
meets it: BUG_ON before 2022, a warning and dropped data since. Reclaim does not write the page.
"""

from typing import Any

import numpy as np

from workbench.scenarios import common
from workbench.scenarios.base import Cleaner, Parameter, Setup, check_parameters, new_world
from workbench.scenarios.common import COMMON

NAME = "golden-race"
SUMMARY = "the 2018 crash: O_DIRECT read into a mapped page, flusher, reclaim, completion"

PARAMETERS = (
    Parameter("flusher_us", 200.0, "us", "when the flusher's first round begins", 0.0, 1e6),
    Parameter("flusher_period_us", 1300.0, "us", "from one round of the flusher to the next", 1.0, 1e6),
    Parameter("flusher_rounds", 2, "rounds", "rounds of the flusher; 0: none", 0, 100),
    Parameter("fsync_us", 0.0, "us", "when fsync is called; 0: never", 0.0, 1e6),
    Parameter("kswapd_us", 500.0, "us", "when kswapd's first round begins", 0.0, 1e6),
    Parameter("kswapd_period_us", 1500.0, "us", "from one round of kswapd to the next", 1.0, 1e6),
    Parameter("kswapd_rounds", 2, "rounds", "rounds of kswapd; 0: none", 0, 100),
    *COMMON,
)  # fmt: skip
SMALL = common.SMALL | {"dirty": "always"}  # one thread that waits for its read: synchronous
HAZARDS = (
    "bufferless-dirty", "lost-update", "unstable-write", "fsync-lie", "missed-pin", "stale-pin", "false-pin",
    "deadlock", "stall",
)  # fmt: skip


def build(given: dict[str, Any], rng: np.random.Generator, ranged: bool) -> tuple[Setup, dict[str, Any]]:
    """Set the scenario up: two CPUs, one page, one direct IO; every step's outcome is written down."""
    p = check_parameters(NAME, PARAMETERS, given)

    def ps(name: str) -> int:
        return common.picoseconds(p[name])

    cleaners = [Cleaner("flusher", ps("flusher_us"), ps("flusher_period_us"), p["flusher_rounds"])]
    if p["fsync_us"] > 0:
        cleaners.append(Cleaner("fsync", ps("fsync_us"), common.PS_PER_US, 1))
    cleaners.append(Cleaner("kswapd", ps("kswapd_us"), ps("kswapd_period_us"), p["kswapd_rounds"]))
    world, names = new_world(
        pages=1, nodes=8, bios=8, dios=1, cpus=common.CPUS, submitters=1, plan=common.one_read(), ios=1,
        cleaners=tuple(cleaner for cleaner in cleaners if cleaner.rounds), dirty=False,
    )  # fmt: skip
    return common.finish(world, names, p, reads=1), p
