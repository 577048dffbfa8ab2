"""``wide-map``: a page that thousands of processes map, and a count with a bias.

Each mapping is a reference: from so many on as a pin adds, the page looks pinned though it is not (Kara, 2019-01-14,
20190114145447.GJ13316@quack2, would subtract the mappings; the merged test does not: v6.12 include/linux/mm.h). Many
registrations of one page bring the count near its limit.
"""

from typing import Any

import numpy as np

from workbench.mm.programs import MAPPER_PROGRAM, P_MAP
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

NAME = "wide-map"
SUMMARY = "a page mapped by thousands of processes, and registrations of it: plain references against a bias"

PARAMETERS = (
    Parameter("mappings", 4000, "mappings", "mappings by other processes, made one after the other, then undone", 1,
              1_000_000),
    start_parameter("mapper", 0.0),
    *region_parameters(registrations=3, transfers=0, rdma_us=2000.0),
    *cleaner_parameters(flusher=(3000.0, 1), kswapd=(60.0, 1)),
    *COMMON,
)  # fmt: skip
SMALL = (
    common.SMALL
    | common.SMALL_REGION
    | {"mappings": 6, "bias": 8, "count_max": 23}
    | dict.fromkeys(("rdma_us", "flusher_us", "kswapd_us", "period_us"), 0.0)
)
HAZARDS = (
    "bufferless-dirty", "lost-update", "unstable-write", "missed-pin", "stale-pin", "false-pin", "deadlock", "stall",
    "count-overflow",
)  # fmt: skip


def build(given: dict[str, Any], rng: np.random.Generator, ranged: bool) -> tuple[Setup, dict[str, Any]]:
    """Set the scenario up: one clean page, a memory region on it, processes that map it, the flusher and kswapd."""
    p = check_parameters(NAME, PARAMETERS, given)
    mapper = Actor(
        "mapper", MAPPER_PROGRAM, P_MAP, cpu=0, rounds=p["mappings"], start_ps=picoseconds(p["mapper_us"])
    )  # fmt: skip
    world, names = new_world(
        pages=1, nodes=8 + 2 * p["registrations"], bios=8, dios=0, cpus=CPUS, submitters=0, plan=EMPTY_PLAN, ios=0,
        cleaners=cleaners(p, "flusher", "kswapd"), actors=(region(p), mapper), dirty=False,
    )  # fmt: skip
    return finish(world, names, p, reads=p["transfers"]), p
