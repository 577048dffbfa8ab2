"""What a tracker answers, learnt from the tracker itself: one call's pages are pinned, asked about, and released.

A world at scale keeps no `struct page` for a tracker to write to. Its regions do not overlap, and each call's pages are
released together; so an answer depends on nothing but whether the page is pinned, was pinned, or is mapped.
"""

from typing import Any, NamedTuple

import numpy as np

from workbench.accelerate import driver_for, step
from workbench.mm import registers as R
from workbench.mm.page import PG_LRU
from workbench.scenarios.base import EMPTY_PLAN, new_world
from workbench.trackers.mapcount import MapCount
from workbench.trackers.protocol import (
    RANGE_BEFORE,
    bytes_in_use,
    is_pinned,
    pin,
    pin_range,
    unpin,
    unpin_range,
)


class Answers(NamedTuple):
    """How a tracker behaves.

    Attributes
    ----------
    pinned, released, unmapped : bool
        Whether it says "pinned" of a pinned page, of one whose pin has gone, of a pinned one that is not mapped.
    off_lru : bool
        Pinned pages are off the LRU lists.
    call_bytes : int
        Kernel memory that one call of GUP takes, while its pages are pinned.
    """

    pinned: bool
    released: bool
    unmapped: bool
    off_lru: bool
    call_bytes: int


def learn(tracker: Any, pages: int) -> Answers:
    """Ask a tracker.

    Parameters
    ----------
    tracker : NamedTuple
        See `workbench.trackers.protocol`.
    pages : int
        Pages of a call.
    """
    world, _ = new_world(
        pages=pages, nodes=8, bios=8, dios=1, cpus=1, submitters=1, plan=EMPTY_PLAN, ios=0, dirty=False
    )
    world.sys[R.PINS_IN_MAPCOUNT] = isinstance(tracker, MapCount)
    said = np.zeros(5, np.int64)
    driver_for(_ask, tracker.__class__)(tracker, world, pages, said)
    pinned, released, unmapped, off_lru, call_bytes = (int(n) for n in said)
    return Answers(bool(pinned), bool(released), bool(unmapped), bool(off_lru), call_bytes)


@step
def _ask(tracker, world, pages, said):
    handle = -1
    for p in range(pages):
        world.page[p]["_refcount"] += 1
        world.page[p]["ghost_pins"] += 1
    if tracker.when >= RANGE_BEFORE:
        handle = pin_range(tracker, world, world.sys[R.I_MMAP], 0, pages)
    else:
        for p in range(pages):
            pin(tracker, world, p)
    said[0] = is_pinned(tracker, world, 0)
    said[3] = (world.page[0]["flags"] & PG_LRU) == 0
    said[4] = bytes_in_use(tracker, world)
    world.page[0]["_mapcount"] -= 1  # its PTE is gone
    said[2] = is_pinned(tracker, world, 0)
    world.page[0]["_mapcount"] += 1
    if tracker.when >= RANGE_BEFORE:
        unpin_range(tracker, world, world.sys[R.I_MMAP], 0, pages, handle)
    for p in range(pages):
        if tracker.when < RANGE_BEFORE:
            unpin(tracker, world, p, -1)
        world.page[p]["_refcount"] -= 1
        world.page[p]["ghost_pins"] -= 1
    said[1] = is_pinned(tracker, world, 0)
