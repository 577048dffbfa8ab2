"""A world at scale from a scenario's parameters and a design."""

from typing import Any

import numpy as np

from workbench.bulk import registers as S
from workbench.bulk.bits import WORD
from workbench.bulk.moving import PAGEBLOCK
from workbench.bulk.tracking import Answers
from workbench.bulk.world import AWAY, NEVER, ON_INACTIVE, PROPERTIES, PS_PER_S, RESIDENT, World
from workbench.costs import CostTable
from workbench.designs import Design
from workbench.errors import UsageError
from workbench.policies import CLEANING, LEASE_END, SKIP, WAIT
from workbench.trackers.bounce_pin import BouncePin
from workbench.trackers.protocol import LOCK_PAGE

PAGES_PER_MIB = 256
MOST = 1 << 15  # pages that are handled at once
# Free memory below which kswapd runs, and at which it stops, as a share of all (assumed; the kernel's watermarks go by
# the square root of memory, and by watermark_scale_factor).
LOW, HIGH = 1 / 128, 1 / 64
# What a cleaner does to a page that it looks at, writes, or copies, and kswapd to a page that it takes up.
LOOK = ("TAG_SCAN", "PAGE_LOCK", "RWSEM", "SPIN_LOCK", "PIN_TEST")
WRITE = ("PTE_UPDATE", "TLB_FLUSH", "WRITEPAGE", "BIO_PAGE")
COPY = ("BOUNCE_COPY",)
SCAN = ("RECLAIM_PAGE", "PAGE_LOCK", "RWSEM", "SPIN_LOCK", "PTE_UPDATE", "TLB_FLUSH", "PIN_TEST")


def layout(p: dict[str, Any]) -> dict[str, int]:
    """Sizes of the world, in pages: memory, file, inodes, and where regions lie.

    Raises
    ------
    UsageError
        If the pinned share is not as large as one region.
    """
    folio = 1 << p["folio_order"]
    unit = max(folio, WORD)
    pages = -(-p["pages"] // unit) * unit
    file = max(int(pages * p["file_share"]) // unit, 1) * unit
    inode = -(-file // (p["files"] * unit)) * unit
    if p["region_kib"] % 4:
        raise UsageError(f"parameter region_kib: {p['region_kib']} KiB is no multiple of a page, 4 KiB")
    region = p["region_kib"] // 4
    regions = int(file * p["pinned_share"]) // region
    if p["pinned_share"] and not regions:
        wanted = f"{p['pinned_share']:g} of a file of {file * 4} KiB"
        raise UsageError(f"parameter region_kib: {p['region_kib']} KiB is more than pinned_share, {wanted}")
    if p["regions"]:
        regions = min(regions, p["regions"])
    stride = file // regions if regions and p["placement"] == "spread" else region
    return {
        "FOLIO": folio,
        "PAGES": pages,
        "FILE": file,
        "INODES": -(-file // inode),
        "INODE_PAGES": inode,
        "REGIONS": regions,
        "REGION_PAGES": region,
        "STRIDE": stride,
    }


def new_world(
    p: dict[str, Any], design: Design, answers: Answers, costs: CostTable, rng: np.random.Generator, most: int
) -> World:
    """Lay the world out: the file is cached and clean, all of it on the inactive list, page 0 at its tail.

    Parameters
    ----------
    p : dict
        The scenario's parameters, complete.
    design : Design
    answers : Answers
        Of the design's tracker.
    costs : CostTable
    rng : Generator
        Draws which holders give leases back.
    most : int
        Pages that may be handled at once; 0: `MOST`.
    """
    sizes = layout(p)
    registers = sizes | _rates(p, sizes) | _policies(p, design, answers) | _costs(costs)
    registers |= {"MOST": max(sizes["FOLIO"], (most or MOST) // sizes["FOLIO"] * sizes["FOLIO"])}
    sys = np.zeros(len(S.NAMES), np.int64)
    for name, value in registers.items():
        sys[S.NAMES.index(name)] = value
    folios, on_lru = sizes["PAGES"] // sizes["FOLIO"], sizes["FILE"] // sizes["FOLIO"]
    regions = sizes["REGIONS"]
    world = World(
        sys=sys,
        bit=np.zeros((len(PROPERTIES), sizes["PAGES"] // WORD), np.uint64),
        folio=np.zeros(folios, np.int8),
        after=np.zeros(folios + 2, np.int32),
        before=np.zeros(folios + 2, np.int32),
        inode_dirty=np.zeros(sizes["INODES"], np.int64),
        inode_since=np.zeros(sizes["INODES"], np.int64),
        inode_due=np.zeros(sizes["INODES"], np.int8),
        region=np.full(regions, AWAY, np.int8),
        region_due=np.zeros(regions, np.int64),
        cooperative=(rng.random(regions) < p["holders_release"]).astype(np.int8),
        locked=np.zeros(p["holders"], np.int64),
        queue=np.zeros((registers["QUEUE"] // sizes["FOLIO"] + 1, 2), np.int64),
        latency=np.zeros(_syncs(p), np.int64),
        draws=np.zeros(0, np.int64),
    )
    world.bit[RESIDENT, : sizes["FILE"] // WORD] = np.uint64(2**64 - 1)
    world.folio[:on_lru] = ON_INACTIVE
    _link(world, folios, on_lru)
    return world


def _link(world: World, folios: int, on_lru: int) -> None:
    """Folio 0 at the tail of the inactive list, the last one at its head; the active list is empty."""
    inactive, active = folios, folios + 1
    world.after[:on_lru] = np.arange(-1, on_lru - 1)
    world.before[:on_lru] = np.arange(1, on_lru + 1)
    world.after[0] = world.before[on_lru - 1] = inactive
    world.after[inactive], world.before[inactive] = on_lru - 1, 0
    world.after[active] = world.before[active] = active


def _syncs(p: dict[str, Any]) -> int:
    """As many syncs as can begin, one in a tick at most."""
    return int(p["duration_s"] / max(p["sync_s"], p["tick_ms"] / 1000)) + 2 if p["sync_s"] else 1


def _ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)


def _rates(p: dict[str, Any], sizes: dict[str, int]) -> dict[str, int]:
    tick = _ps(p["tick_ms"] / 1000)
    disk = max(round(p["disk_mib_s"] * PAGES_PER_MIB), 1)
    per_tick = disk * tick // PS_PER_S
    folio, free = sizes["FOLIO"], sizes["PAGES"] - sizes["FILE"]
    movable = int(sizes["PAGES"] * p["movable_share"]) // PAGEBLOCK * PAGEBLOCK
    return {
        "TICK": tick,
        "FREE": free,
        "INACTIVE": sizes["FILE"],
        "WRITE_RATE": round(p["write_mib_s"] * PAGES_PER_MIB),
        "TRANSFER_RATE": round(p["transfer_mib_s"] * PAGES_PER_MIB),
        "READ_RATE": round(p["read_mib_s"] * PAGES_PER_MIB),
        "DISK_RATE": disk,
        "BANDWIDTH": per_tick << 10,
        "QUEUE": max(2 * per_tick // folio, 4) * folio,
        "LOW": max(int(sizes["PAGES"] * LOW) // folio, 1) * folio,
        "HIGH": max(int(sizes["PAGES"] * HIGH) // folio, 2) * folio,
        "HARD_RATIO": p["dirty_ratio"],
        "BACKGROUND_RATIO": p["background_ratio"],
        "EXPIRE": _ps(p["expire_s"]),
        "FLUSH_PERIOD": _ps(p["flush_s"]),
        "FLUSH_NEXT": _ps(p["flush_s"]),
        "FLUSH_WAKES": 1,
        "SYNC_PERIOD": _ps(p["sync_s"]),
        "SYNC_NEXT": _ps(p["sync_s"]),
        "HOLDERS": p["holders"],
        "MEMLOCK": round(p["memlock_mib"] * PAGES_PER_MIB) if p["memlock_mib"] else -1,
        "HOLD": _ps(p["hold_s"]),
        "AWAY_FOR": _ps(p["away_s"]) if p["away_s"] >= 0 else -1,
        "GRACE": _ps(p["grace_s"]),
        "MOVABLE": movable,
        "ROOM": sizes["PAGES"] - movable,
        "SPARES_REGIONS": p["write_to"] == "unpinned",
        "DIRTY_ON_RELEASE": p["dirty_on_release"] == "yes",
        "NEXT_DUE": NEVER,
    }


def _policies(p: dict[str, Any], design: Design, answers: Answers) -> dict[str, int]:
    number = {name: i for i, name in enumerate(CLEANING)}
    told = "rdma" in design.pins
    by_lock = told and design.tracker.lock == LOCK_PAGE  # who wants a pinned page waits for its lock; reclaim does not
    return {
        "POLICY_NONE": WAIT if by_lock else number[design.none],
        "POLICY_ALL": WAIT if by_lock else number[design.all],
        "POLICY_RECLAIM": SKIP if by_lock else number[design.reclaim],
        "PROTECT_FIRST": design.order == "write-protect-first",
        "RECLAIM_BEFORE": by_lock or design.reclaim_asks == "before",
        "BOUNCE_CLEANS": design.bounce_cleans,
        "REFUSE": "refuse" in design.longterm,
        "MIGRATE": "migrate-first" in design.longterm,
        "LEASE": "lease" in design.longterm,
        "LEASE_END": list(LEASE_END).index(design.lease),
        "PRIVATE_PAGES": isinstance(design.tracker, BouncePin) and "notifier" not in design.longterm,
        "NOTIFIER": "notifier" in design.longterm,
        "SAYS_PINNED": told and answers.pinned,
        "SAYS_RELEASED": told and answers.released,
        "SAYS_UNMAPPED": told and answers.unmapped,
        "OFF_LRU": (told and answers.off_lru) or p["mlocked"] == "yes",
    }


def _costs(costs: CostTable) -> dict[str, int]:
    def picoseconds(counters: tuple[str, ...]) -> int:
        return round(1000 * sum(costs.entries[c].ns for c in counters if c in costs.entries))

    return {
        "LOOK_PS": picoseconds(LOOK),
        "WRITE_PS": picoseconds(WRITE),
        "COPY_PS": picoseconds(COPY),
        "SCAN_PS": picoseconds(SCAN),
    }
