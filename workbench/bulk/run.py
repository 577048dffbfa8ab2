"""One run at scale: ticks and samples in turn, the check that all adds up, and what came out."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbench.accelerate import jit
from workbench.bulk import moving, setup, tick, tracking
from workbench.bulk import registers as S
from workbench.bulk.dirty import set_limits
from workbench.bulk.lru import end_of
from workbench.bulk.regions import PAGES_PER_CALL, begin
from workbench.bulk.world import (
    ASKED,
    BOUNCED,
    DEVICE,
    DIRTY,
    FRESH,
    HELD,
    KEPT,
    NEVER,
    NEWER,
    NOTIFIED,
    ON_ACTIVE,
    ON_INACTIVE,
    PINNED,
    PRIVATE,
    PS_PER_S,
    RESIDENT,
    SAYS,
    STREAM,
    TARGET,
    TOWRITE,
    WRITABLE,
    WRITEBACK,
    World,
)
from workbench.costs import CostTable
from workbench.designs import Design
from workbench.errors import ConservationError
from workbench.mm.world import WAIT_DIRTY, WAIT_PIN, WAITS
from workbench.policies import REPORT, SKIP, WAIT, leaves_dirty
from workbench.sizes import PAGE_SIZE

LEAVES_DIRTY = (SKIP, WAIT, REPORT)
SAMPLE = (
    "time_ps", "dirty_pages", "writeback_pages", "limit_pages", "background_pages", "pinned_pages", "uncleanable_pages",
    "at_risk_bytes", "unknown_bytes", "throttled_ps", "free_pages", "bounce_pages", "syncs_returned", "written_pages",
)  # fmt: skip


class Outcome(NamedTuple):
    """What a run gave: figures by name, counters by name, the time series, and who waits for ever."""

    metrics: dict[str, Any]
    counters: dict[str, int]
    series: pd.DataFrame
    stuck: list[str]
    held: int


def run(p: dict[str, Any], design: Design, costs: CostTable, rng: np.random.Generator, most: int = 0) -> Outcome:
    """Run ``rdma-longterm``.

    Parameters
    ----------
    p : dict
        The scenario's parameters, complete.
    design : Design
    costs : CostTable
    rng : Generator
        All that is random comes from it.
    most : int
        Pages that may be handled at once (whole folios); 0: `setup.MOST`. What comes out does not depend on it.

    Raises
    ------
    ConservationError
        If at the end pages, pins, tags or the lists do not add up.
    """
    answers = tracking.learn(design.tracker, min(p["region_kib"] // 4, PAGES_PER_CALL))
    world = setup.new_world(p, design, answers, costs, rng, most)
    begin(world)
    set_limits(world)
    samples = [_sample(world)]
    ticks = max(round(p["duration_s"] * PS_PER_S / int(world.sys[S.TICK])), 1)
    every = max(round(p["sample_s"] * PS_PER_S / int(world.sys[S.TICK])), 1)
    for start in range(0, ticks, every):
        n = min(every, ticks - start)
        world = world._replace(draws=_draws(world, n, p["write_pattern"], rng))
        world.sys[S.DRAW] = 0
        tick.run(world, n)
        samples.append(_sample(world))
    check(world)
    series = pd.DataFrame(samples, columns=list(SAMPLE))
    return Outcome(
        metrics=_metrics(world, series, answers),
        counters={name: int(world.sys[S.NAMES.index(name)]) for name in S.SHARED},
        series=series,
        stuck=_stuck(world),
        held=int(world.sys[S.PINS] - world.sys[S.UNPINS]),
    )


def _draws(world: World, ticks: int, pattern: str, rng: np.random.Generator) -> np.ndarray:
    """Numbers of the pages that threads write to, as many as they may write in so many ticks."""
    sys = world.sys
    spared = int(sys[S.REGIONS] * sys[S.REGION_PAGES]) if sys[S.SPARES_REGIONS] else 0
    pages = int(sys[S.FILE]) - spared
    n = int(sys[S.WRITE_RATE] * sys[S.TICK] // PS_PER_S + 1) * ticks
    if pattern == "sequential":
        return (int(sys[S.CPU_WRITES]) + np.arange(n)) % pages
    return rng.integers(0, pages, n)


def _pages(world: World, *rows: int, without: int = -1) -> int:
    """How many pages have all these properties, and lack another."""
    word = world.bit[rows[0]]
    for row in rows[1:]:
        word = word & world.bit[row]
    if without >= 0:
        word = word & ~world.bit[without]
    return int(np.bitwise_count(word).sum(dtype=np.int64))


def _sample(world: World) -> tuple[int, ...]:
    sys = world.sys
    left = sys[S.POLICY_NONE] in LEAVES_DIRTY
    return (
        int(sys[S.NOW]),
        int(sys[S.DIRTY_NR]),
        int(sys[S.WRITEBACK_NR]),
        int(sys[S.LIMIT]),
        int(sys[S.BACKGROUND]),
        int(sys[S.PINS] - sys[S.UNPINS]),
        _pages(world, DIRTY, ASKED) if left else 0,
        (_pages(world, NEWER) + _pages(world, PRIVATE, without=NEWER)) * PAGE_SIZE,
        (_pages(world, FRESH, without=DIRTY) + _pages(world, PRIVATE)) * PAGE_SIZE,
        int(sys[S.THROTTLED]),
        int(sys[S.FREE]),
        int(sys[S.BOUNCED_NR]),
        int(sys[S.FSYNCS]),
        int(sys[S.WRITTEN]),
    )


def _stuck(world: World) -> list[str]:
    """Who waits at the end for a pin that nothing will ever end, or because such pins keep too many pages dirty."""
    sys = world.sys
    waiting = {"flusher": int(sys[S.FLUSH_WAITS]) - 1, "sync": int(sys[S.SYNC_WAITS]) - 1}
    found = [f"{name} waits for {WAITS[WAIT_PIN]}" for name, page in waiting.items() if _for_ever(world, page)]
    stays = leaves_dirty(sys[S.POLICY_NONE], sys[S.BOUNCE_CLEANS])
    never_clean = min(_pages(world, DIRTY, ASKED), _never_released(world)) if stays else 0
    if sys[S.WRITE_RATE] and never_clean >= sys[S.LIMIT]:
        found.append(f"writer waits for {WAITS[WAIT_DIRTY]}")
    return found


def _for_ever(world: World, page: int) -> bool:
    """Whether a region that is never due has a pin of the page's folio; -1: nobody waits."""
    if page < 0:
        return False
    stride, size = int(world.sys[S.STRIDE]), int(world.sys[S.REGION_PAGES])
    for q in range(page, page + int(world.sys[S.FOLIO])):
        r = q // stride
        if r < len(world.region) and q - r * stride < size and world.region_due[r] == NEVER:
            return True
    return False


def _never_released(world: World) -> int:
    """Pages of regions that nobody will ever release, in whole folios at most."""
    held = np.isin(world.region, (HELD, KEPT)) & (world.region_due == NEVER)
    return int(held.sum()) * max(int(world.sys[S.REGION_PAGES]), int(world.sys[S.FOLIO]))


# ---- what came out


def _metrics(world: World, series: pd.DataFrame, answers: tracking.Answers) -> dict[str, Any]:
    """Figures named in `results.UNITS`."""
    sys = world.sys
    count = {name: int(sys[S.NAMES.index(name)]) for name in (*S.SHARED, *S.COUNTS)}
    passed = moving.offline(world)
    calls = sys[S.TARGETS_MAX] // max(sys[S.REGION_PAGES], 1) * -(-sys[S.REGION_PAGES] // PAGES_PER_CALL)
    begun = world.latency[: sys[S.SYNCS_BEGUN]]
    latency = np.sort(np.where(begun < 0, np.inf, begun / 1000))
    return {
        "simulated_ps": int(sys[S.NOW]),
        **{f"sync_{name}_ns": _percentile(latency, share) for name, share in PERCENTILES.items()},
        "throttled_share": int(sys[S.THROTTLED]) / int(sys[S.NOW]) if sys[S.WRITE_RATE] else math.nan,
        "uncleanable_pages_mean": float(series["uncleanable_pages"].mean()),
        "uncleanable_pages_max": int(series["uncleanable_pages"].max()),
        "at_risk_bytes_mean": float(series["at_risk_bytes"].mean()),
        "at_risk_bytes_max": int(series["at_risk_bytes"].max()),
        "unknown_bytes_mean": float(series["unknown_bytes"].mean()),
        "unknown_bytes_max": int(series["unknown_bytes"].max()),
        "looked_per_written": _per(count["TAG_SCAN"], count["WRITEPAGE"]),
        "extra_write_share": _per(count["EXTRA_WRITES"], count["WRITEPAGE"]),
        "scanned_per_freed": _per(count["RECLAIM_PAGE"], count["FREED"]),
        "bounce_bytes_max": int(sys[S.BOUNCED_MAX]) * PAGE_SIZE,
        "tracking_bytes_max": _tracking_bytes(sys, int(calls), answers),
        "blocks": passed.blocks,
        "blocks_blocked": passed.blocked,
        "blocks_pages_moved": passed.pages,
        "stale_pages": _pages(world, SAYS, without=PINNED),
        "world_bytes_per_page": sum(a.nbytes for a in world) / int(sys[S.PAGES]),
        **{name.lower(): count[name] for name in S.COUNTS},
    }


PERCENTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def _percentile(ordered: np.ndarray, share: float) -> float:
    """Smallest value that this share does not exceed; infinite where it has not returned."""
    return float(ordered[max(math.ceil(share * len(ordered)), 1) - 1]) if len(ordered) else math.nan


def _tracking_bytes(sys: np.ndarray, calls: int, answers: tracking.Answers) -> int:
    """Most memory of the tracker's own: of its objects, or of private pages."""
    if sys[S.PRIVATE_PAGES]:
        return int(sys[S.TARGETS_MAX]) * PAGE_SIZE
    return 0 if sys[S.NOTIFIER] or not sys[S.SAYS_PINNED] else calls * answers.call_bytes


def _per(total: int, n: int) -> float:
    return total / n if n else math.nan


# ---- at the end


def check(world: World) -> None:
    """Pages, pins, tags and lists add up.

    Raises
    ------
    ConservationError
    """
    sys = world.sys
    folio = int(sys[S.FOLIO])
    equal = {
        "dirty pages": (int(sys[S.DIRTY_NR]), _pages(world, DIRTY)),
        "dirty pages of inodes": (int(sys[S.DIRTY_NR]), int(world.inode_dirty.sum())),
        "pages under writeback": (int(sys[S.WRITEBACK_NR]), _pages(world, WRITEBACK)),
        "pages in the disk's queue": (int(sys[S.WRITEBACK_NR]), _queued(world)),
        "pages submitted": (int(sys[S.WRITEPAGE]), int(sys[S.WRITTEN] + sys[S.WRITEBACK_NR])),
        "bounced pages": (int(sys[S.BOUNCED_NR]), _pages(world, BOUNCED)),
        "pins": (int(sys[S.PINS] - sys[S.UNPINS]), _pages(world, PINNED)),
        "pins of holders": (int(sys[S.PINS] - sys[S.UNPINS]), int(world.locked.sum())),
        "resident and free pages": (int(sys[S.PAGES]), _pages(world, RESIDENT) + int(sys[S.FREE])),
        "inactive pages": (int(sys[S.INACTIVE]), folio * _listed(world, ON_INACTIVE)),
        "active pages": (int(sys[S.ACTIVE]), folio * _listed(world, ON_ACTIVE)),
        "regions": (
            int(sys[S.TARGETS]),
            int(np.isin(world.region, (HELD, NOTIFIED, KEPT)).sum() * sys[S.REGION_PAGES]),
        ),
    }
    for what, (expected, found) in equal.items():
        if expected != found:
            raise ConservationError(f"at the end: {what}: {found}, expected {expected}")
    for what, inside, outside in WITHIN:
        if _pages(world, inside, without=outside):
            raise ConservationError(f"at the end: {what}")
    if _pages(world, NEWER, without=WRITEBACK) != _pages(world, FRESH, without=WRITEBACK):
        raise ConservationError("at the end: pages newer than disk that have not changed since their last copy")


WITHIN = (
    ("pages tagged towrite that are not dirty", TOWRITE, DIRTY),
    ("writable pages that are not dirty", WRITABLE, DIRTY),
    ("pages that a device maps and no thread may write to", DEVICE, WRITABLE),
    ("pinned pages that are not in a region", PINNED, TARGET),
    ("pinned pages that are not in memory", PINNED, RESIDENT),
    ("private pages that are not in a region", PRIVATE, TARGET),
    ("dirty pages that are not in memory", DIRTY, RESIDENT),
    ("streamed pages that are not in memory", STREAM, RESIDENT),
    ("changed pages that are not newer than disk", FRESH, NEWER),
)


def _queued(world: World) -> int:
    rows = (int(world.sys[S.QUEUE_HEAD]) + np.arange(world.sys[S.QUEUE_ROWS])) % len(world.queue)
    return int(world.queue[rows, 1].sum())


@jit
def _listed(world, on):
    """Folios on a list, each linked both ways and marked as being there; -1: a broken list."""
    end = end_of(world, on)
    found, folio = 0, world.after[end]
    while folio != end:
        if world.folio[folio] & 3 != on or world.after[world.before[folio]] != folio or found > len(world.folio):
            return -1
        found += 1
        folio = world.after[folio]
    return found
