"""``cma``: a long-term pin of a page that lies in CMA or ZONE_MOVABLE, and an allocation that wants it moved.

A page with one reference more than expected is not moved (v4.17 mm/migrate.c migrate_page_move_mapping), and a memory
region holds its own for hours. ``migrate-first`` moves pages out before they are pinned (Tatashin, 2021-02-11).
"""

from typing import Any

import numpy as np

from workbench.mm import registers as R
from workbench.mm.programs import G_ISOLATE, MIGRATE_PROGRAM
from workbench.scenarios import common
from workbench.scenarios.base import EMPTY_PLAN, Actor, Parameter, Setup, check_parameters, new_world
from workbench.scenarios.common import (
    COMMON,
    CPUS,
    finish,
    lay_out_frames,
    picoseconds,
    region,
    region_parameters,
    start_parameter,
)

NAME = "cma"
SUMMARY = "a memory region on a page in CMA against cma_alloc"
FRAMES = 3  # one in CMA, two outside

PARAMETERS = (
    Parameter("zone", "cma", "", "where the page lies: cma: CMA; movable: ZONE_MOVABLE, and it is unplugged",
              choices=("cma", "movable")),
    *region_parameters(transfers=1),
    start_parameter("migrate", 300.0),
    Parameter("migrate_rounds", 2, "attempts", "attempts of cma_alloc to move the page; 0: none", 0, 100),
    *COMMON,
)  # fmt: skip
SMALL = common.SMALL | common.SMALL_REGION | {"migrate_us": 0.0}
ALSO = ({"zone": "movable"},)
HAZARDS = ("stale-pin", "false-pin", "deadlock", "stall", "unmovable")


def build(given: dict[str, Any], rng: np.random.Generator, ranged: bool) -> tuple[Setup, dict[str, Any]]:
    """Set the scenario up: one anonymous page in CMA, a memory region on it, and cma_alloc."""
    p = check_parameters(NAME, PARAMETERS, given)
    rounds, start = p["migrate_rounds"], picoseconds(p["migrate_us"])
    migrate = Actor("migrate", MIGRATE_PROGRAM, G_ISOLATE, cpu=1, rounds=rounds, start_ps=start)
    world, names = new_world(
        pages=FRAMES, nodes=8, bios=8, dios=0, cpus=CPUS, submitters=0, plan=EMPTY_PLAN, ios=0,
        actors=(region(p), migrate) if rounds else (region(p),),
    )  # fmt: skip
    lay_out_frames(world, cma=True)
    world.sys[R.MOVABLE] = p["zone"] == "movable"
    return finish(world, names, p, reads=p["transfers"]), p
