"""``truncate-dax``: a file is truncated while a device has its page pinned.

Of a DAX file the page is the block: truncation frees it, and the device goes on writing into what may be another
file's by then (v4.17 fs/dax.c dax_disassociate_entry only warns; v4.18 waits until it is idle; Williams, 2018-06-17).
Of a page cache file the device writes into an orphaned page (Kara, 2018-01-03).
"""

from typing import Any

import numpy as np

from workbench.mm.programs import T_BEGIN, TRUNCATE_PROGRAM
from workbench.scenarios import common
from workbench.scenarios.base import EMPTY_PLAN, Actor, Parameter, Setup, check_parameters, new_world
from workbench.scenarios.common import (
    COMMON,
    CPUS,
    finish,
    lay_out_dax,
    one_read,
    picoseconds,
    region,
    region_parameters,
    start_parameter,
)

NAME = "truncate-dax"
SUMMARY = "truncation under a pin: the blocks of a DAX file, or pages of the page cache"

PARAMETERS = (
    Parameter("mapping", "dax", "", "dax: the pages are blocks of the file; cache: page cache",
              choices=("dax", "cache")),
    Parameter("holder", "dio", "", "who pins: dio: a direct IO that reads; mr: a memory region",
              choices=("dio", "mr")),
    start_parameter("truncate", 300.0),
    *region_parameters(transfers=1),
    *COMMON,
)  # fmt: skip
ALSO = ({"mapping": "cache"}, {"holder": "mr"})
SMALL = common.SMALL | common.SMALL_REGION | {"truncate_us": 0.0}
HAZARDS = ("stale-pin", "false-pin", "deadlock", "stall", "truncate-write")


def build(given: dict[str, Any], rng: np.random.Generator, ranged: bool) -> tuple[Setup, dict[str, Any]]:
    """Set the scenario up: one page that has just been written, who pins it, and truncation."""
    p = check_parameters(NAME, PARAMETERS, given)
    dio = p["holder"] == "dio"
    truncate = Actor("truncate", TRUNCATE_PROGRAM, T_BEGIN, cpu=1, start_ps=picoseconds(p["truncate_us"]))
    world, names = new_world(
        pages=1, nodes=8 + 2 * p["registrations"], bios=8, dios=1, cpus=CPUS, submitters=int(dio),
        plan=one_read() if dio else EMPTY_PLAN, ios=int(dio), dirty=p["mapping"] == "cache",
        actors=(truncate,) if dio else (region(p), truncate),
    )  # fmt: skip
    if p["mapping"] == "dax":
        lay_out_dax(world)
    return finish(world, names, p, reads=1 if dio else p["transfers"]), p
