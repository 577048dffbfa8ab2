"""``fork-cow``: a device reads into an anonymous page while its owner forks, and then writes.

fork write-protects the page for both; who writes first gets a copy, and if that is the owner, the device goes on with
the other one (v4.17 mm/memory.c; Hildenbrand, 2021-11-15, "Summary of COW related issues"). Kernels that ask at fork
whether the page is pinned give the child a copy at once (v5.9, 70e806e4e645); ``pin=plain`` is a caller that takes
plain references, of which they are not told.
"""

from typing import Any

import numpy as np

from workbench.mm import registers as R
from workbench.mm.programs import C_WAIT, CHILD_PROGRAM, FORK_PROGRAM, K_BEGIN, U_WRITE, WRITER_PROGRAM
from workbench.mm.world import WAIT_FORK
from workbench.scenarios import common
from workbench.scenarios.base import Actor, Parameter, Setup, check_parameters, new_world
from workbench.scenarios.common import (
    COMMON,
    CPUS,
    finish,
    lay_out_frames,
    one_read,
    picoseconds,
    start_parameter,
)

NAME = "fork-cow"
SUMMARY = "O_DIRECT read into an anonymous page, fork, and writes by parent and child"
FRAMES = 3  # the owner's, the child's, and one that only the device still uses

PARAMETERS = (
    Parameter("pin", "pinned", "", "pinned: the direct IO tells the tracker; plain: it takes a plain reference",
              choices=("pinned", "plain")),
    Parameter("write_protect_seq", 1, "", "1: GUP-fast gives way to a fork (v5.11); 0: it does not look", 0, 1),
    start_parameter("fork", 200.0),
    start_parameter("writer", 400.0),
    Parameter("child_us", 600.0, "us", "when the child goes on, if fork has returned by then", 0.0, 1e6),
    Parameter("writer_rounds", 1, "writes", "writes of another thread of the parent; 0: none", 0, 100),
    Parameter("child_rounds", 1, "writes", "0: the child only exits; 1: it writes before", 0, 1),
    *COMMON,
)  # fmt: skip
SMALL = common.SMALL | dict.fromkeys(("fork_us", "writer_us", "child_us"), 0.0)
HAZARDS = ("missed-pin", "stale-pin", "false-pin", "deadlock", "stall", "cow-alias")


def build(given: dict[str, Any], rng: np.random.Generator, ranged: bool) -> tuple[Setup, dict[str, Any]]:
    """Set the scenario up: one anonymous page, a direct IO into it, fork, a writer, and the child."""
    p = check_parameters(NAME, PARAMETERS, given)
    world, names = new_world(
        pages=FRAMES, nodes=8, bios=8, dios=1, cpus=CPUS, submitters=1, plan=one_read(), ios=1, actors=_actors(p),
    )  # fmt: skip
    lay_out_frames(world)
    world.sys[R.SEQ_CHECKED] = p["write_protect_seq"]
    world.sys[R.PIN_DIO] = p["pin"] == "pinned"
    return finish(world, names, p, reads=1), p


def _actors(p: dict[str, Any]) -> tuple[Actor, ...]:
    fork = Actor("fork", FORK_PROGRAM, K_BEGIN, cpu=1, start_ps=picoseconds(p["fork_us"]))
    writer = Actor(
        "writer", WRITER_PROGRAM, U_WRITE, cpu=1, rounds=p["writer_rounds"], start_ps=picoseconds(p["writer_us"])
    )
    child = Actor(
        "child", CHILD_PROGRAM, C_WAIT, cpu=1, rounds=p["child_rounds"], start_ps=picoseconds(p["child_us"]),
        waits=WAIT_FORK,
    )  # fmt: skip
    return (fork, writer, child) if p["writer_rounds"] else (fork, child)
