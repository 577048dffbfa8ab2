"""Hazards: what must never happen, as far as one simulated run can see it.

A run shows one order of events, so a count of 0 says "not in this run", never "can't happen".
"""

from typing import Any, NamedTuple

from workbench import designs
from workbench.mm.world import WAIT_PIN, WAITS
from workbench.trackers.protocol import RANGE_BEFORE


class Hazard(NamedTuple):
    """One hazard.

    Attributes
    ----------
    definition : str
        One line.
    source : str
        Where it was described: mail or kernel file.
    counters : tuple of str
        Counters that see it (`registers.COUNTERS`); empty where the run is judged at its end.
    """

    definition: str
    source: str
    counters: tuple[str, ...] = ()


HAZARDS = {
    "bufferless-dirty": Hazard(
        "a file page is dirtied without buffers",
        "Kara 2018-01-03, 20180103100430.GE4911@quack2; v4.17 fs/ext4/inode.c ext4_set_page_dirty",
        ("BUFFERLESS_DIRTY",),
    ),
    "lost-update": Hazard(
        "a page is freed with memory newer than disk, or the filesystem drops a dirty page's data",
        "v4.17 mm/vmscan.c __remove_mapping; Ts'o 2022-03-03, YiDS9wVfq4mM2jGK@mit.edu",
        ("LOST_UPDATE", "DATA_DROPPED"),
    ),
    "unstable-write": Hazard(
        "DMA changes a page between start and end of its writeback",
        "Kara 2018-06-19; v4.17 mm/page-writeback.c wait_for_stable_page, which holds CPUs up, not devices",
        ("UNSTABLE_WRITE",),
    ),
    "missed-pin": Hazard(
        "who cleans or reclaims a page with a true pin is told 'not pinned'",
        "Hellwig 2018-06-18: of two who pin a page, the first to finish removes the protection",
        ("MISSED_PIN",),
    ),
    "stale-pin": Hazard(
        "the tracker says 'pinned' of a page without a true pin; of ranges, only once all is at rest",
        "Kara 2018-06-19: a flag that only eviction clears, on a page that it keeps from eviction",
        ("STALE_PIN",),
    ),
    "deadlock": Hazard(
        "tasks wait for each other: one for a pin, those that hold it for the first one's lock",
        "Kara 2018-07-09, 20180709160806.xjt2l2pbmyiutbyi@quack2",
    ),
    "stall": Hazard(
        "a task waits for ever for a pin that only the tracker still claims",
        "Kara 2018-06-20: long-term users must be told to release, else the system becomes unusable",
    ),
}


def found(result: Any) -> dict[str, int]:
    """Count the hazards that a run has met.

    Parameters
    ----------
    result : workbench.simulate.Result

    Returns
    -------
    dict of str to int
        By name, in the order of `HAZARDS`; 0: not met. How often it was counted; for ``stale-pin``, pages at
        rest if they are more than the answers; for ``deadlock`` and ``stall``, tasks that wait. Tasks that wait
        for a page which a BUG_ON has left locked are neither: `Result.stuck` names them.
    """
    counted = {name: sum(result.counters[c] for c in hazard.counters) for name, hazard in HAZARDS.items()}
    return counted | {"stale-pin": _stale(result)} | _waiting(result)


def _stale(result: Any) -> int:
    """A range that is still released piece by piece covers pages whose own pin has gone: that is no hazard."""
    at_rest = int(result.metrics["stale_pages"])
    by_range = designs.parse(result.design).tracker.when >= RANGE_BEFORE
    return at_rest if by_range else max(at_rest, result.counters["STALE_PIN"])


def _waiting(result: Any) -> dict[str, int]:
    """All IO completes, so that a pin which is left is held by one who waits, too."""
    tasks = len(result.stuck)
    for_pin = sum(task.endswith(WAITS[WAIT_PIN]) for task in result.stuck)
    pins_left = result.counters["PINS"] - result.counters["UNPINS"]
    if result.counters["FS_BUG"]:
        tasks = 0
    return {
        "deadlock": tasks if pins_left or not for_pin else 0,
        "stall": 0 if pins_left else for_pin,
    }
