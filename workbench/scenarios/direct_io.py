"""``direct-io``: one GUP call, several bios, completions out of order: the seed's second obstacle.

Submitting threads, one per CPU, each keep ``qd`` direct IOs of one size in flight, into buffers in a shared
file mapping. ``dio=legacy`` (v4.17 fs/direct-io.c) takes 64 pages per GUP call, before it knows how they
fall into bios; ``dio=iomap`` makes a GUP call per bio. bios end at extent borders of the file on disk and
at their greatest size. A device model completes them, or a recorded trace does; the trace then gives sizes,
submission times, bios and their completion times, and GUP calls come from ``dio`` all the same.

Assumed: buffers are mapped once each and have just been written; the device's bytes land at the moment of
completion; interrupts come to the CPU that submitted.
"""

from typing import Any

import numpy as np

from workbench import traces
from workbench.errors import UsageError
from workbench.mm import registers as R
from workbench.mm.world import PLAN, READ, WRITE
from workbench.scenarios import common
from workbench.scenarios.base import Cleaner, Parameter, Setup, check_parameters, new_world
from workbench.scenarios.common import DECISIONS, PS_PER_US, write_decisions

NAME = "direct-io"
SUMMARY = "one GUP call, several bios, completions out of order, by a device model or a recorded trace"
PAGE_KIB = 4
DIO_PAGES = 64  # v4.17 fs/direct-io.c
BIO_MAX_PAGES = 256  # v4.17 include/linux/bio.h; what iomap takes per GUP call
PLAN_BLOCK = 1 << 16
FROM_TRACE = ("op", "qd", "size_kib", "ios", "bio_pages", "extent_kib")  # what a replay takes from its trace

PARAMETERS = (
    Parameter("dio", "legacy", "", "legacy: 64 pages per GUP call, then bios; iomap: a GUP call per bio",
              choices=("legacy", "iomap")),
    Parameter("op", "read", "", "read: the device writes into the pages; write: it reads them",
              choices=("read", "write")),
    Parameter("qd", 64, "direct IOs", "direct IOs that each thread keeps in flight", 1, 1024),
    Parameter("size_kib", 64, "KiB", "size of a direct IO", 4, 1024),
    Parameter("cpus", 1, "CPUs", "CPUs, each with one submitting thread", 1, 64),
    Parameter("ios", 20000, "direct IOs", "direct IOs to do in all", 1, 100_000_000),
    Parameter("gup_pages", 0, "pages", "pages per GUP call at most; 0: 64 for legacy, 256 for iomap", 0, 512),
    Parameter("bio_pages", BIO_MAX_PAGES, "pages", "pages per bio at most", 1, 256),
    Parameter("extent_kib", 0, "KiB", "extents of the file on disk; 0: each direct IO lies in one", 0, 1024),
    Parameter("overlap", 0.0, "", "share of direct IOs whose buffer is a random piece of one shared region", 0.0, 1.0),
    Parameter("units", 16, "bios", "bios that the device serves at once", 1, 4096),
    Parameter("tags", 1023, "bios", "bios submitted and not completed at most, over all CPUs", 1, 65536),
    Parameter("latency_us", 82.0, "us", "mean time in which the device serves a bio, without transfer", 0.1, 1e6),
    Parameter("jitter", 0.5, "", "spread of that time: standard deviation of its logarithm (lognormal)", 0.0, 3.0),
    Parameter("page_us", 0.3, "us", "transfer time per 4 KiB page of a bio", 0.0, 1000.0),
    Parameter("latencies", "", "", "trace or fio json+ report whose latencies are drawn as the device's service times,"
              " instead of latency_us and jitter; they hold what waiting there was, so units=tags fits them"),
    Parameter("trace", "", "", "recorded trace that is replayed: sizes, times and completion order come from it"),
    Parameter("writeback_ms", 0.0, "ms", "period of the flusher (WB_SYNC_NONE); 0: none", 0.0, 1e6),
    Parameter("fsync_ms", 0.0, "ms", "period of a thread that calls fsync (WB_SYNC_ALL); 0: none", 0.0, 1e6),
    Parameter("isize_ms", 0.0, "ms", "period of truncates that extend the file inside a page; 0: none", 0.0, 1e6),
    Parameter("reclaim_ms", 0.0, "ms", "period of kswapd's rounds over the LRU; 0: none", 0.0, 1e6),
    Parameter("threads", 0, "threads", "submitting threads; 0: one per CPU", 0, 64),
    Parameter("rounds", 0, "rounds", "rounds of each cleaner; 0: until all direct IO has ended", 0, 15),
    Parameter("shift", 0, "pages", "buffers of direct IOs in flight lie so many pages apart, and so overlap;"
              " 0: they are apart", 0, 256),
    Parameter("sync_pages", 0, "pages", "cleaners look at so many pages from the first one on; 0: at all", 0, 1 << 30),
    Parameter("sync_any", 0, "", "1: each round of flusher and fsync is about one page, and explore tries each", 0, 1),
    *DECISIONS,
)  # fmt: skip
SMALL = common.SMALL | {
    "cpus": 2, "threads": 1, "qd": 2, "ios": 2, "size_kib": 8, "bio_pages": 1, "shift": 1, "gup_fast_steps": 0,
    "writeback_ms": 1.0, "rounds": 1, "sync_any": 1,
}  # fmt: skip
HAZARDS = (
    "bufferless-dirty", "lost-update", "unstable-write", "fsync-lie", "missed-pin", "stale-pin", "false-pin",
    "deadlock", "stall",
)  # fmt: skip


def build(given: dict[str, Any], rng: np.random.Generator, ranged: bool) -> tuple[Setup, dict[str, Any]]:
    """Set the scenario up.

    Parameters
    ----------
    given : dict
        Parameters by name; the rest take their defaults.
    rng : numpy.random.Generator
        Draws which IOs use the shared region, and where.
    ranged : bool
        The tracker keeps ranges: they need nodes, and their bios outlive the direct IO until a kworker has run.

    Returns
    -------
    setup : Setup
    parameters : dict
        All parameters, checked.
    """
    p = check_parameters(NAME, PARAMETERS, given)
    check_together(p, given)
    trace = traces.load(p["trace"]) if p["trace"] else None
    replay = traces.replay(trace) if trace else None
    recorded = traces.load(p["latencies"]) if p["latencies"] else None
    submitters = 1 if replay else p["threads"] or p["cpus"]
    io_pages = int(replay.pages.max()) if replay else p["size_kib"] // PAGE_KIB
    qd = _slots(replay) if replay else p["qd"]
    ios = len(replay.pages) if replay else p["ios"]
    shared = io_pages * qd if p["overlap"] > 0 else 0
    plan, more = _plan(p, replay, ios, io_pages, shared, rng)
    gup_pages = p["gup_pages"] or (DIO_PAGES if p["dio"] == "legacy" else BIO_MAX_PAGES)
    rows = _rows_per_dio(p, replay, io_pages, gup_pages)
    apart = p["shift"] == 0
    bios = submitters * qd * rows * (2 if ranged else 1) + (512 if apart else io_pages)
    world, names = new_world(
        pages=submitters * qd * io_pages + shared if apart else p["shift"] * (submitters * qd - 1) + io_pages,
        nodes=2 * bios if ranged else 0,
        bios=bios,
        dios=qd,
        cpus=p["cpus"],
        submitters=submitters,
        plan=plan,
        ios=ios,
        cleaners=_cleaners(p),
    )
    world.dio["home"] = shared + (io_pages if apart else p["shift"]) * np.arange(len(world.dio))
    if not apart:
        world.task["transfers"][2 * p["cpus"] : 2 * p["cpus"] + submitters] = ios // submitters
    sys = world.sys
    write_decisions(world, p)
    sys[R.SYNC_ANY] = p["sync_any"]
    if p["sync_pages"]:
        sys[R.SYNC_PAGES] = min(p["sync_pages"], len(world.page))
    sys[R.DIO_IOMAP], sys[R.GUP_BATCH], sys[R.BIO_PAGES] = p["dio"] == "iomap", gup_pages, p["bio_pages"]
    sys[R.EXTENT_PAGES] = p["extent_kib"] // PAGE_KIB
    sys[R.PLAN_END] = ios if replay else len(plan)
    sys[R.TAGS] = sys[R.TAGS_FREE] = tags = p["tags"] if replay is None else len(plan)
    setup = Setup(
        world=world,
        task_names=names,
        draw=_service_times(p, recorded),
        plan_more=more,
        units=p["units"],
        per_page_ps=round(p["page_us"] * PS_PER_US),
        tags=tags,
        trace_sha256=next((t.sha256 for t in (trace, recorded) if t), None),
    )
    if replay:
        p |= dict.fromkeys(FROM_TRACE)
    return setup, p


def check_together(p: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse parameters that do not go together; each by itself is right.

    Raises
    ------
    UsageError
    """
    for name in FROM_TRACE:
        if p["trace"] and name in given:
            raise UsageError(f"parameter {name}: a replay takes it from the trace; leave it out")
    for name in ("size_kib", "extent_kib"):
        if p[name] % PAGE_KIB:
            raise UsageError(f"parameter {name}: {p[name]} KiB is not a whole number of {PAGE_KIB} KiB pages")
    if p["threads"] > p["cpus"]:
        raise UsageError(f"parameter threads: {p['threads']} are more than there are CPUs ({p['cpus']})")
    if p["shift"] and (p["trace"] or p["overlap"] > 0 or p["ios"] % (p["threads"] or p["cpus"])):
        raise UsageError(f"parameter shift: {p['shift']} needs no trace, overlap=0, and as many IOs for each thread")
    if p["trace"] and p["cpus"] > 1:
        raise UsageError("parameter cpus: a replay has one submitting thread, so cpus=1")
    if p["trace"] and p["latencies"]:
        raise UsageError("parameter latencies: a replay has its own completions, so give trace or latencies, not both")
    if p["trace"] and p["overlap"] > 0:
        raise UsageError("parameter overlap: a replay keeps its IOs apart, so overlap=0")


def _slots(replay: Any) -> int:
    """Most IOs of the trace in flight at once, with as many again for what the model is late with."""
    done = np.maximum.reduceat(replay.bio_complete_ns, replay.first_bio)
    events = np.concatenate([replay.submit_ns, done])
    change = np.concatenate([np.ones(len(done), np.int64), -np.ones(len(done), np.int64)])
    order = np.lexsort((change, events))
    return 2 * int(np.cumsum(change[order]).max())


def _rows_per_dio(p: dict[str, Any], replay: Any, io_pages: int, gup_pages: int) -> int:
    """Rows that the bios of one IO can take: one for each piece between borders of bios and of GUP calls."""
    bio, extent = p["bio_pages"], p["extent_kib"] // PAGE_KIB
    if replay is not None:
        bios, longest = int(replay.bio_count.max()), int(replay.bio_pages.max())
    elif extent:
        bios, longest = -(-io_pages // extent) * -(-min(extent, io_pages) // bio), min(bio, extent)
    else:
        bios, longest = -(-io_pages // bio), min(bio, io_pages)
    if p["dio"] == "iomap":
        return bios * -(-longest // gup_pages)
    return bios + -(-io_pages // gup_pages) - 1


def _plan(
    p: dict[str, Any], replay: Any, ios: int, io_pages: int, shared: int, rng: np.random.Generator
) -> tuple[np.ndarray, Any]:
    """Rows of IOs (and of bios, in a replay), and a function that gives more of them, block by block."""
    op = READ if p["op"] == "read" else WRITE
    if replay is not None:
        return _replay_plan(replay), None

    def block(n: int) -> np.ndarray:
        rows = np.zeros(n, PLAN)
        rows["page"], rows["nr_pages"], rows["op"], rows["first_bio"], rows["at_ps"] = (
            -1,
            io_pages,
            op,
            -1,
            -1,
        )
        if shared:
            chosen = rng.random(n) < p["overlap"]
            rows["page"] = np.where(chosen, rng.integers(0, shared - io_pages + 1, n), -1)
        return rows

    return block(min(ios, PLAN_BLOCK)), block if ios > PLAN_BLOCK else None


def _replay_plan(replay: Any) -> np.ndarray:
    n = len(replay.pages)
    plan = np.zeros(n + len(replay.bio_pages), PLAN)
    io, bio = plan[:n], plan[n:]
    io["page"], io["nr_pages"], io["at_ps"] = -1, replay.pages, replay.submit_ns * 1000
    io["op"] = np.where(replay.op == 0, READ, WRITE)
    io["first_bio"] = n + replay.first_bio
    bio["nr_pages"], bio["at_ps"] = replay.bio_pages, replay.bio_complete_ns * 1000
    return plan


def _service_times(p: dict[str, Any], recorded: traces.Trace | None) -> Any:
    if recorded is not None:
        return _recorded_latencies(recorded)
    mean_ps, sigma = p["latency_us"] * PS_PER_US, p["jitter"]

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        """Lognormal with the given mean."""
        factor = np.exp(sigma * rng.standard_normal(n) - sigma * sigma / 2)
        return np.maximum(np.round(mean_ps * factor), 1).astype(np.int64)

    return draw


def _recorded_latencies(recorded: traces.Trace) -> Any:
    latency_ns, share = traces.latency_sampler_table(recorded)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        """By inverse of the recorded distribution."""
        return latency_ns[np.searchsorted(share, rng.random(n), side="right")] * 1000

    return draw


def _cleaners(p: dict[str, Any]) -> tuple[Cleaner, ...]:
    wanted = (
        ("flusher", "writeback_ms"),
        ("fsync", "fsync_ms"),
        ("isize", "isize_ms"),
        ("kswapd", "reclaim_ms"),
    )
    return tuple(
        Cleaner(name, period, period, p["rounds"] or -1)
        for name, period in ((name, round(p[key] * 1000 * PS_PER_US)) for name, key in wanted)
        if period > 0
    )
