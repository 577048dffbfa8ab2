"""Designs: a tracker, a cleaning policy for each caller, and the presets that name the historical ones.

Written as a preset name (``v4.17``) or as parts:
``tracker=vma-common:release=count,cleaning=skip/wait,reclaim=ignore,isize=ignore,order=write-protect-first``.
``cleaning=A/B``: A for WB_SYNC_NONE, B for WB_SYNC_ALL; a single value is for every caller.
``tracker=path/to/mine.py:MyTracker:field=1`` is a tracker in a file of one's own (`user_tracker`).
"""

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import Any

import workbench.trackers
from workbench import user_tracker
from workbench.errors import UsageError, nearest
from workbench.policies import CLEANING, LEASE_END, LONGTERM
from workbench.trackers import virtual_vma
from workbench.trackers.protocol import AFTER_WALK, IN_GUP, RANGE_AFTER, RANGE_BEFORE

# Parts of a design beside tracker, cleaning policies, longterm and pins: their values, the first by default.
PARTS: dict[str, tuple[str, ...]] = {
    "tracker": (),
    "cleaning": tuple(CLEANING),
    "reclaim": tuple(CLEANING),
    "isize": tuple(CLEANING),
    "order": ("write-protect-first", "check-first"),
    "reclaim_asks": ("after", "before"),
    "ext4": ("bug", "warn"),
    "wait": ("locked", "unlocked"),
    "journal": ("held", "dropped"),
    "wait_asks": ("again", "once"),
    "bounce": ("plain", "reserve"),
    "longterm": tuple(LONGTERM),
    "lease": tuple(LEASE_END),
    "pins": ("all", "none", "dio", "rdma"),
    "fork": ("share", "ask"),
    "truncate": ("ignore", "wait"),
    "truncated": ("lost", "found"),
}
# Options of a tracker that are written behind its name, and the values that they take.
OPTIONS: dict[str, dict[str, Any]] = {
    "release": {
        "split": virtual_vma.SPLIT,
        "count": virtual_vma.COUNT,
        "backpointer": virtual_vma.BACKPOINTER,
    },
    "when": {"before": RANGE_BEFORE, "after": RANGE_AFTER},
    "charge": {"leftmost": virtual_vma.LEFTMOST, "rightmost": virtual_vma.RIGHTMOST, "any": virtual_vma.ANY},
    "early_exit": {"yes": 1, "no": 0},
    "subtract_mapcount": {"yes": 1, "no": 0},
    "learns": {"with": IN_GUP, "after": AFTER_WALK},
}
CALLERS_THAT_PIN = ("dio", "rdma")


@dataclass(frozen=True)
class Design:
    """One way of handling pinned pages.

    Attributes
    ----------
    name : str
        As it was written: a preset's name or the parts.
    tracker_name : str
    tracker : NamedTuple
        The tracker with its parameters.
    none, all, reclaim, isize : str
        Cleaning policy for each caller (`policies.CALLERS`).
    order : str
        Whether the cleaner write-protects or asks first.
    reclaim_asks : str
        ``before`` or ``after`` unmapping.
    fs_bug : bool
        ext4 meets a dirty page without buffers with BUG_ON (before 2022), or warns and drops the data.
    wait_locked, wait_journal : bool
        Policy ``wait`` holds the page lock, and the journal handle, while it waits.
    wait_once : bool
        Policy ``wait`` does not ask again after it has waited.
    bounce_cleans : bool
        A page that policy ``bounce`` writes passes through clean, so that who makes it dirty again can reserve space
        for that in ->page_mkwrite (Chinner 2023-02-15).
    longterm : frozenset of str
        Rules for long-term pins (`policies.LONGTERM`).
    lease : str
        What becomes of a lease whose holder does not let go (`policies.LEASE_END`).
    pins : frozenset of str
        Callers that tell the tracker (`CALLERS_THAT_PIN`); the others take plain references.
    fork_asks : bool
        fork asks whether an anonymous page is pinned and copies it then, and write faults go by PG_anon_exclusive.
    truncate_waits : bool
        Truncation of a DAX file waits until its pages are idle.
    truncated_lost : bool
        The range of a page that has left its file can't be found by the page.
    """

    name: str
    tracker_name: str
    tracker: Any
    none: str = "ignore"
    all: str = "ignore"
    reclaim: str = "ignore"
    isize: str = "ignore"
    order: str = "write-protect-first"
    reclaim_asks: str = "after"
    fs_bug: bool = True
    wait_locked: bool = True
    wait_journal: bool = True
    wait_once: bool = False
    bounce_cleans: bool = False
    longterm: frozenset[str] = frozenset({"allow"})
    lease: str = "revoke"
    pins: frozenset[str] = frozenset(CALLERS_THAT_PIN)
    fork_asks: bool = False
    truncate_waits: bool = False
    truncated_lost: bool = True


PRESETS = {
    "v4.17": "tracker=none,cleaning=ignore,longterm=refuse-dax",
    "hubbard-v1": "tracker=flag-sticky,cleaning=ignore,reclaim=skip,reclaim_asks=before,longterm=refuse-dax",
    "hubbard-v2": "tracker=lru-count,cleaning=skip/wait,reclaim=skip,isize=wait,reclaim_asks=before,order=check-first,"
    "longterm=refuse-dax",
    "kara-virtual-vma": "tracker=vma-common:release=count,cleaning=skip/wait,isize=wait,longterm=refuse-dax",
    "viro-page-lock": "tracker=page-lock,cleaning=ignore,longterm=refuse-dax",
    "glisse-mapcount": "tracker=mapcount,cleaning=skip/bounce,longterm=refuse-dax,truncate=wait",
    "weiny-leases": "tracker=none,cleaning=ignore,longterm=lease+migrate-cma,lease=fail,truncate=wait",
    "v5.7": "tracker=bias,cleaning=ignore,pins=rdma,longterm=refuse-dax+migrate-cma,truncate=wait",
    "v6.1": "tracker=bias,cleaning=ignore,pins=rdma,ext4=warn,longterm=refuse-dax+migrate-first,fork=ask,truncate=wait",
    "v6.12": "tracker=bias,cleaning=ignore,reclaim=skip,reclaim_asks=after,ext4=warn,"
    "longterm=refuse+refuse-dax+migrate-first,fork=ask,truncate=wait",
    # On top of v6.2. folio_clear_dirty_for_io() skips for WB_SYNC_NONE alone, after folio_mkclean(); for WB_SYNC_ALL it
    # clears the dirty flag as ever (3/5), and the block layer bounces (4/5, 5/5). ext4 loses its warning again (2/5).
    "kara-bounce-2023": "tracker=bias,cleaning=skip/bounce,bounce=reserve,reclaim=skip,reclaim_asks=after,"
    "longterm=refuse-dax+migrate-first,fork=ask,truncate=wait",
}
PRESET_SOURCES = {
    "v4.17": "the kernel that the 2018 reports are about: nobody can tell a pin",
    "hubbard-v1": "Hubbard 2018-06-16: PG_dma_pinned; try_to_unmap_one fails, page_mkclean untouched",
    "hubbard-v2": "Hubbard 2018-07-01, 20180702005654.20369-7-jhubbard: off-LRU; asks first; skips or waits",
    "kara-virtual-vma": "Kara 2018-06-19 to 06-25: range in i_mmap; per-caller table of 2018-06-28",
    "viro-page-lock": "Viro, told by Kara 2018-06-19: the page lock is held across the DMA; who wants the page waits",
    "glisse-mapcount": "Glisse 2018-12-12: _mapcount counts pins of file pages; what to do with one is assumed: "
    "skip, and bounce for fsync, which that thread discussed (to 2018-12-19)",
    "weiny-leases": "Weiny 2019-06-05, v2 2019-08-09: no long-term pin without a lease; truncation under one that is "
    "kept fails; writeback knows nothing of it",
    "v5.7": "3faa52c03f44: bias for FOLL_PIN, which direct IO does not use yet; nobody asks; DAX truncation waits",
    "v6.1": "v6.1: bias for RDMA, not yet for direct IO; early copy at fork, PG_anon_exclusive; nobody else asks",
    "v6.12": "v6.12 mm/gup.c, mm/vmscan.c: bias; only reclaim asks; ext4 warns and drops (2022)",
    "kara-bounce-2023": "Kara RFC 2023-02-09, 20230209121046.25360-1-jack@suse.cz: flusher skips, fsync bounces; "
    "that direct IO pins too is assumed, as with the series of Howells that came beside it",
}


@cache
def trackers() -> dict[str, Any]:
    """Find the package's trackers: every module of ``workbench.trackers`` lists its own in ``VARIANTS``.

    Returns
    -------
    dict
        Name with options -> tracker.
    """
    found: dict[str, Any] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(workbench.trackers.__path__)):
        found |= getattr(importlib.import_module(f"workbench.trackers.{module}"), "VARIANTS", {})
    return found


def parse(text: str) -> Design:
    """Read a design.

    Parameters
    ----------
    text : str
        Preset name, or comma-separated parts.

    Raises
    ------
    UsageError
        For a name or value that is not known; the message names the nearest.
    """
    if text in PRESETS:
        return _from_parts(text, PRESETS[text])
    if "=" not in text:
        raise UsageError(f"design {text!r}: {nearest(text, PRESETS)} (or parts: tracker=NAME,cleaning=NONE/ALL,…)")
    return _from_parts(text, text)


def _from_parts(name: str, text: str) -> Design:
    parts = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key in parts:
            raise UsageError(f"design {text!r}: {key} is given twice")
        parts[key] = value
    for key in parts:
        if key not in PARTS:
            raise UsageError(f"design part {key!r}: {nearest(key, PARTS)}")
    if "tracker" not in parts:
        raise UsageError(f"design {text!r}: it needs tracker=NAME: {', '.join(trackers())}")
    if "lease" in parts and "lease" not in parts.get("longterm", "").split("+"):
        raise UsageError(f"design part lease={parts['lease']}: it is about longterm=lease, which is not there")
    tracker_name, tracker = parse_tracker(parts["tracker"])
    cleaning = _cleaning(parts)

    def chosen(key: str) -> str:
        return _choice(key, parts.get(key, PARTS[key][0]), PARTS[key])

    return Design(
        name=name,
        tracker_name=tracker_name,
        tracker=tracker,
        order=chosen("order"),
        reclaim_asks=chosen("reclaim_asks"),
        fs_bug=chosen("ext4") == "bug",
        wait_locked=chosen("wait") == "locked",
        wait_journal=chosen("journal") == "held",
        wait_once=chosen("wait_asks") == "once",
        bounce_cleans=chosen("bounce") == "reserve",
        longterm=_several("longterm", parts.get("longterm", "allow"), LONGTERM),
        lease=chosen("lease"),
        pins=_several("pins", parts.get("pins", "all"), ("all", "none", *CALLERS_THAT_PIN)),
        fork_asks=chosen("fork") == "ask",
        truncate_waits=chosen("truncate") == "wait",
        truncated_lost=chosen("truncated") == "lost",
        **cleaning,
    )


def _choice(what: str, value: str, known: Any) -> str:
    if value not in known:
        raise UsageError(f"design part {what}={value}: {nearest(value, known)}")
    return value


def _several(what: str, value: str, known: Any) -> frozenset[str]:
    """Words joined by ``+``; ``all`` stands for every caller, and ``none`` for no one."""
    words = {_choice(what, word, known) for word in value.split("+")}
    return frozenset(CALLERS_THAT_PIN if "all" in words else words - {"none"})


def _cleaning(parts: dict[str, str]) -> dict[str, str]:
    """Policy by caller: one value is for all; A/B leaves reclaim and isize as in v4.17 unless given."""
    given = parts.get("cleaning", "ignore").split("/")
    if len(given) > 2:
        raise UsageError(f"design part cleaning={parts['cleaning']}: one value, or A/B for WB_SYNC_NONE/WB_SYNC_ALL")
    for value in given:
        _choice("cleaning", value, CLEANING)
    other = given[0] if len(given) == 1 else "ignore"
    return {
        "none": given[0],
        "all": given[-1],
        "reclaim": _choice("reclaim", parts.get("reclaim", other), CLEANING),
        "isize": _choice("isize", parts.get("isize", other), CLEANING),
    }


def parse_tracker(text: str) -> tuple[str, Any]:
    """Read a tracker: ``NAME``, ``NAME:option=value:…``, or ``path/to/file.py:ClassName:field=number:…``.

    Raises
    ------
    UsageError
        For an unknown name or option, or a file that holds no such tracker.
    """
    if user_tracker.is_own(text):
        return text, user_tracker.parse(text)
    name, *options = text.split(":")
    known = trackers()
    base = next((t for n, t in known.items() if n.split(":")[0] == name), None)
    if base is None:
        raise UsageError(f"tracker {name!r}: {nearest(name, {n.split(':')[0] for n in known})}")
    chosen: dict[str, int] = {}
    for option in options:
        key, _, value = option.partition("=")
        allowed = _options_of(base)
        if key not in allowed:
            raise UsageError(f"tracker {name}, option {key!r}: {nearest(key, allowed) if allowed else 'it has none'}")
        if key in chosen:
            raise UsageError(f"tracker {name}: option {key} is given twice")
        if value not in OPTIONS[key]:
            raise UsageError(f"tracker {name}, {key}={value}: {nearest(value, OPTIONS[key])}")
        chosen["when" if key == "learns" else key] = OPTIONS[key][value]
    if "release" in base._fields:
        release = next((o for o in options if o.startswith("release=")), "release=split")
        base = known[f"{name}:{release}"]
        options = [release, *(o for o in options if not o.startswith("release="))]
    return ":".join([name, *options]), base._replace(**chosen)


def _options_of(tracker: Any) -> list[str]:
    """Options that a tracker has: of its fields; ranges go in before or after, pages are learnt with GUP or after."""
    has = {"when": tracker.when >= RANGE_BEFORE, "learns": tracker.when == IN_GUP}
    return [name for name in OPTIONS if has.get(name, name in tracker._fields)]
