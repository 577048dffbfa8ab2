"""What the scenarios of small worlds share: parameters, cleaners with few rounds, anonymous frames, the device."""

from typing import Any

import numpy as np

from workbench.mm import registers as R
from workbench.mm.page import (
    FRAME_CMA,
    NEWER_THAN_DISK,
    PG_ANON,
    PG_CACHED,
    PG_EXCLUSIVE,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_WRITE,
    lru_add,
)
from workbench.mm.programs import M_REGISTER, RDMA_PROGRAM
from workbench.mm.world import PLAN, READ, World
from workbench.scenarios.base import COUNT_MAX, Actor, Cleaner, Parameter, Setup

PS_PER_US = 1_000_000
CPUS = 2
TAGS = 4  # more than bios can be out, so that nobody waits for one

DECISIONS = (
    Parameter("gup_fast_steps", 0, "", "1: GUP-fast reads the PTE, takes a reference and reads the PTE again in steps"
              " of their own", 0, 1),
    Parameter("journal", 0, "", "1: cleaners hold a journal handle, for which get_block of legacy direct IO waits",
              0, 1),
    Parameter("stable_pages", 0, "", "1: the device asks for stable pages", 0, 1),
    Parameter("bias", 1024, "references", "what a pin adds to the reference count (GUP_PIN_COUNTING_BIAS)", 2, 1024),
    Parameter("count_max", COUNT_MAX, "references", "greatest value that a reference or pin count can have",
              1, COUNT_MAX),
    Parameter("dirty", "clean", "", "clean: a read's completion dirties pages again if one has been cleaned;"
              " always: it dirties all of them (synchronous direct IO)", choices=("clean", "always")),
)  # fmt: skip
COMMON = (
    *DECISIONS,
    Parameter("read_us", 1000.0, "us", "time in which the device serves a direct IO or a transfer", 1.0, 1e6),
    Parameter("writeback_us", 100.0, "us", "time in which the device serves a writeback", 1.0, 1e6),
)  # fmt: skip
SMALL = {"gup_fast_steps": 1, "journal": 1, "stable_pages": 1, "bias": 16}
SMALL_REGION = {"dereg": 1, "grace_us": 0.0}  # beside them, where there is a memory region

REGION = (
    Parameter("rdma_us", 0.0, "us", "when the region is registered", 0.0, 1e6),
    Parameter("registrations", 1, "", "registrations of the region, each with a pin of every page", 1, 256),
    Parameter("transfers", 2, "transfers", "transfers into the region, one after the other", 0, 1000),
    Parameter("dereg", 0, "", "1: the region may be deregistered once it is idle; 0: it stays", 0, 1),
    Parameter("dirty_on_release", 1, "", "1: its pages are dirtied when it is released (__ib_umem_release)", 0, 1),
    Parameter("on_notice", "release", "", "what it does when told to give a lease up", choices=("release", "keep")),
    Parameter("grace_us", 1000.0, "us", "grace period of a lease (45 s in /proc/sys/fs/lease-break-time)", 0.0, 1e9),
)  # fmt: skip


def region_parameters(**defaults: float) -> tuple[Parameter, ...]:
    """Give the parameters of a memory region, with a scenario's own defaults.

    Parameters
    ----------
    **defaults
        By parameter name; the others are those of `REGION`.
    """
    return tuple(
        Parameter(p.name, defaults.get(p.name, p.default), p.unit, p.help, p.low, p.high, p.choices) for p in REGION
    )


def region(p: dict[str, Any]) -> Actor:
    """``rdma/0``: the memory region on page 0, on CPU 0."""
    rounds, start = p["registrations"], picoseconds(p["rdma_us"])
    return Actor(
        "rdma/0", RDMA_PROGRAM, M_REGISTER, cpu=0, rounds=rounds, start_ps=start,
        dios=rounds, transfers=p["transfers"], dereg=p["dereg"],
    )  # fmt: skip


def start_parameter(name: str, us: float) -> Parameter:
    """When an actor begins.

    Parameters
    ----------
    name : str
        The actor's; the parameter is ``NAME_us``.
    us : float
        Default.
    """
    return Parameter(f"{name}_us", us, "us", f"when {name} begins", 0.0, 1e6)


def cleaner_parameters(**defaults: tuple[float, int]) -> tuple[Parameter, ...]:
    """Start and rounds of each cleaner, and the period of all.

    Parameters
    ----------
    **defaults
        Name of a cleaner -> when its first round begins [us], rounds.
    """
    found = []
    for name, (us, rounds) in defaults.items():
        found.append(start_parameter(name, us))
        found.append(Parameter(f"{name}_rounds", rounds, "rounds", f"rounds of {name}; 0: none", 0, 100))
    return (*found, Parameter("period_us", 1000.0, "us", "from one round of a cleaner to its next", 0.0, 1e6))


def cleaners(p: dict[str, Any], *names: str) -> tuple[Cleaner, ...]:
    """The named cleaners, but for those without rounds."""
    return tuple(
        Cleaner(name, picoseconds(p[f"{name}_us"]), picoseconds(p["period_us"]), p[f"{name}_rounds"])
        for name in names
        if p[f"{name}_rounds"] > 0
    )  # fmt: skip


def picoseconds(us: float) -> int:
    """Time in the clock's unit."""
    return round(us * PS_PER_US)


def one_read() -> np.ndarray:
    """Plan of a single direct IO that reads into page 0.

    Returns
    -------
    ndarray of PLAN, shape (1,)
    """
    plan = np.zeros(1, PLAN)
    plan["nr_pages"], plan["op"], plan["first_bio"], plan["at_ps"] = 1, READ, -1, -1
    return plan


def lay_out_frames(world: World, cma: bool = False) -> None:
    """Make a world of frames: frame 0 is the anonymous virtual page, the others are free.

    Parameters
    ----------
    world : World
        As `new_world` has laid it out.
    cma : bool
        Frame 0 lies in CMA.
    """
    sys, page = world.sys, world.page
    page[:] = 0
    page["_mapcount"] = -1
    sys[R.LRU_HEAD] = sys[R.LRU_TAIL] = sys[R.LRU_PAGES] = 0
    page[0]["flags"] = PG_ANON | PG_EXCLUSIVE | PTE_PRESENT | PTE_WRITE | PTE_DIRTY | (FRAME_CMA if cma else 0)
    page[0]["_refcount"], page[0]["_mapcount"] = 1, 0
    lru_add(world, 0)
    sys[R.FRAMES] = 1


def lay_out_dax(world: World) -> None:
    """Make the pages blocks of a DAX file: no LRU, no buffers, written, which only their PTEs say."""
    sys, page = world.sys, world.page
    sys[R.LRU_HEAD] = sys[R.LRU_TAIL] = sys[R.LRU_PAGES] = 0
    page["lru_prev"] = page["lru_next"] = 0
    page["flags"] = PG_CACHED | PTE_PRESENT | PTE_WRITE | PTE_DIRTY
    page["ghost_data"] = NEWER_THAN_DISK
    sys[R.DAX] = 1


def write_decisions(world: World, p: dict[str, Any]) -> None:
    """Write what `DECISIONS` says into the world's registers; the bias is the tracker's."""
    sys = world.sys
    sys[R.GUP_FAST_STEPS], sys[R.JOURNAL], sys[R.STABLE_PAGES] = p["gup_fast_steps"], p["journal"], p["stable_pages"]
    sys[R.COUNT_MAX], sys[R.DIRTY_ALWAYS] = p["count_max"], p["dirty"] == "always"


def finish(world: World, names: list[str], p: dict[str, Any], reads: int) -> Setup:
    """Write the common parameters into the world's registers, and add the device.

    Parameters
    ----------
    world : World
    names : list of str
        Of its tasks.
    p : dict
        All parameters, with those of `COMMON` among them.
    reads : int
        Direct IOs and transfers that the device serves before anything else.
    """
    sys = world.sys
    sys[R.GUP_BATCH], sys[R.BIO_PAGES] = 64, 256
    sys[R.TAGS] = sys[R.TAGS_FREE] = TAGS
    sys[R.DIRTY_ON_RELEASE] = p.get("dirty_on_release", 0)
    sys[R.HOLDER_RELEASES] = p.get("on_notice") == "release"
    sys[R.GRACE_PS] = picoseconds(p.get("grace_us", 0.0))
    write_decisions(world, p)
    times = (picoseconds(p["read_us"]), picoseconds(p["writeback_us"]))

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        """Transfers first, then writebacks: in the timed runs they come in this order."""
        return np.array([times[0]] * reads + [times[1]] * (n - reads), np.int64)

    return Setup(world=world, task_names=names, draw=draw, units=TAGS, tags=TAGS, log_page=0)
