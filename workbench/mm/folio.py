"""A large folio: all its pages share the counts of its head, so that a pin of each page adds up there.

GUP pins page by page, and each pin goes to the head (v6.12 mm/gup.c try_grab_folio: as many references as pages). With
a bias and no exact count each is 1024 references: a pin of all 512 pages of a 2 MiB folio is 2**19 of the 2**31 that
``_refcount`` can hold. That overflow was met before it was computed (Romanovsky, 2019-12-19,
20191219132607.GA410823@unreal).
"""

from typing import Any, NamedTuple

import numpy as np

from workbench.accelerate import driver_for, step
from workbench.mm import registers as R
from workbench.mm.interval_tree import NODE
from workbench.mm.page import PG_CACHED, get_page, is_over, page_of
from workbench.mm.world import BIO, DIO, PAGE, PLAN, TASK, World
from workbench.trackers.protocol import pin

HEAD = 0
# A row of PAGE with counts wide enough that one can see how far they would go.
WIDE_PAGE = np.dtype([(name, np.int64) for name in PAGE.fields or ()])


class Overflow(NamedTuple):
    """Where a count of a folio ran over.

    Attributes
    ----------
    full_pins : int
        Pins of the whole folio that fitted.
    subpage_pins : int
        Pins of single pages that fitted, those of the last, partial one included.
    refcount, pincount : int
        The head's counts with the pin that did not fit.
    """

    full_pins: int
    subpage_pins: int
    refcount: int
    pincount: int


@step
def pin_folio(tracker, world, head, nr_subpages):
    """Pin each page of a folio; its head has the counts.

    Parameters
    ----------
    tracker : NamedTuple
    world : World
    head : int
        Row of the head page.
    nr_subpages : int
        Pages of the folio.

    Returns
    -------
    int
        Pins until a count was over its limit: `nr_subpages` if none was.
    """
    page = page_of(world, head)
    for done in range(nr_subpages):
        get_page(world, page)
        pin(tracker, world, head)
        if is_over(page, world.sys[R.COUNT_MAX]):
            return done
    return nr_subpages


@step
def pin_until_over(tracker, world, nr_subpages):
    """Pin the folio of row 0 as a whole again and again; the full pins that fit, and pages of the last one."""
    full = 0
    while True:
        done = pin_folio(tracker, world, HEAD, nr_subpages)
        if done < nr_subpages:
            return full, done
        full += 1


def pins_until_overflow(tracker: Any, nr_subpages: int, references: int, count_max: int) -> Overflow:
    """Pin a folio by a tracker's own code until a count goes over its limit.

    Parameters
    ----------
    tracker : NamedTuple
        One that pins page by page.
    nr_subpages : int
        Pages of the folio; 1: an order-0 page.
    references : int
        Plain references that are there before.
    count_max : int
        Greatest value of a count (`scenarios.base.COUNT_MAX` for an ``atomic_t``).

    Returns
    -------
    Overflow
    """
    page = np.zeros(1, WIDE_PAGE)
    page["flags"], page["_refcount"] = PG_CACHED, references
    node, bio, dio, task, plan = (np.zeros(1, kind) for kind in (NODE, BIO, DIO, TASK, PLAN))
    world = World(page, node, bio, dio, task, plan, np.zeros(R.SYS_CELLS, np.int64))
    world.sys[R.COUNT_MAX] = count_max
    full, rest = driver_for(pin_until_over, tracker.__class__)(tracker, world, nr_subpages)
    return Overflow(full, full * nr_subpages + rest, int(page["_refcount"][0]), int(page["_pincount"][0]))
