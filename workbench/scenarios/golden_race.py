"""``golden-race``: the crash of 2018, step by step (Kara, 2018-01-03, 20180103100430.GE4911@quack2).

A direct IO reads into one page of a shared file mapping. GUP takes a write fault, which gives the page its
buffers and dirties it; while the device works, the flusher cleans the page and kswapd strips its buffers,
but can't free it; at completion the page is dirtied without buffers, and the next round of the flusher
meets it: BUG_ON before 2022, a warning and dropped data since. Reclaim does not write the page.
"""

from typing import Any

import numpy as np

from workbench.mm import registers as R
from workbench.mm.world import PLAN, READ
from workbench.scenarios.base import Cleaner, Parameter, Setup, check_parameters, new_world

NAME = "golden-race"
SUMMARY = "the 2018 crash: O_DIRECT read into a mapped page, flusher, reclaim, completion"
PS_PER_US = 1_000_000

PARAMETERS = (
    Parameter("read_us", 1000.0, "us", "time in which the device serves the direct IO", 1.0, 1e6),
    Parameter("writeback_us", 100.0, "us", "time in which the device serves a writeback", 1.0, 1e6),
    Parameter("flusher_us", 200.0, "us", "when the flusher's first round begins", 0.0, 1e6),
    Parameter("flusher_period_us", 1300.0, "us", "from one round of the flusher to the next", 1.0, 1e6),
    Parameter("flusher_rounds", 2, "rounds", "rounds of the flusher; 0: none", 0, 100),
    Parameter("fsync_us", 0.0, "us", "when fsync is called; 0: never", 0.0, 1e6),
    Parameter("kswapd_us", 500.0, "us", "when kswapd's first round begins", 0.0, 1e6),
    Parameter("kswapd_period_us", 1500.0, "us", "from one round of kswapd to the next", 1.0, 1e6),
    Parameter("kswapd_rounds", 2, "rounds", "rounds of kswapd; 0: none", 0, 100),
    Parameter("stable_pages", 0, "", "1: the device asks for stable pages", 0, 1),
)  # fmt: skip


def build(given: dict[str, Any], rng: np.random.Generator, ranged: bool) -> tuple[Setup, dict[str, Any]]:
    """Set the scenario up: two CPUs, one page, one direct IO; every step's outcome is written down."""
    p = check_parameters(NAME, PARAMETERS, given)
    plan = np.zeros(1, PLAN)
    plan["nr_pages"], plan["op"], plan["first_bio"], plan["at_ps"] = 1, READ, -1, -1

    def ps(name: str) -> int:
        return round(p[name] * PS_PER_US)

    cleaners = [Cleaner("flusher", ps("flusher_us"), ps("flusher_period_us"), p["flusher_rounds"])]
    if p["fsync_us"] > 0:
        cleaners.append(Cleaner("fsync", ps("fsync_us"), PS_PER_US, 1))
    cleaners.append(Cleaner("kswapd", ps("kswapd_us"), ps("kswapd_period_us"), p["kswapd_rounds"]))
    world, names = new_world(
        pages=1, nodes=8, bios=8, dios=1, cpus=2, submitters=1, plan=plan, ios=1,
        cleaners=tuple(cleaners), dirty=False,
    )  # fmt: skip
    sys = world.sys
    sys[R.GUP_BATCH], sys[R.BIO_PAGES] = 64, 256
    sys[R.TAGS] = sys[R.TAGS_FREE] = 4
    sys[R.STABLE_PAGES] = p["stable_pages"]
    times = (ps("read_us"), ps("writeback_us"))

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        """First the direct IO, then writebacks: GUP submits before the flusher's first round."""
        return np.array([times[0]] + [times[1]] * (n - 1), np.int64)

    setup = Setup(world=world, task_names=names, draw=draw, units=4, tags=4, log_page=0)
    return setup, p
