"""Pages that a count with a bias takes for pinned though they are only mapped by many processes.

Each mapping is a reference. A page cache page has one more, and as many as there are plain references (GUP without a
pin, pagevecs): 1024 of them look like a pin (v6.12 include/linux/mm.h folio_maybe_dma_pinned). Kara's formula takes the
mappings off (2019-01-14, 20190114145447.GJ13316@quack2), and not the plain references.

How many processes map each page of a library is *assumed*, in three shapes; nothing of the thread tells it.
"""

import math
from typing import Any

import numpy as np

from workbench.accelerate import driver_for, step
from workbench.mm import registers as R
from workbench.mm.interval_tree import NODE
from workbench.mm.page import GUP_PIN_COUNTING_BIAS, PG_CACHED
from workbench.mm.world import BIO, DIO, PAGE, PLAN, TASK, World
from workbench.trackers.protocol import is_pinned

CACHE_REFERENCE = 1  # the page cache's own
TOUCHED = 0.5  # poisson: share of the processes that have touched a page
ZIPF = 0.8  # zipf: the page of rank k is mapped by processes / k**ZIPF
LIBRARY_PAGES = 512  # zipf: a library of 2 MiB
MEDIAN, SIGMA = 0.1, 1.5  # lognormal: median as a share of the processes, and the standard deviation of the logarithm

SHAPES = {
    "poisson": f"each process has touched each page with probability {TOUCHED:g}, one as the other",
    "zipf": f"the page of rank k of {LIBRARY_PAGES} is mapped by processes / k^{ZIPF:g}",
    "lognormal": f"median {MEDIAN:g} of the processes, sigma {SIGMA:g}",
}


def draw_mapcounts(shape: str, processes: int, pages: int, rng: np.random.Generator) -> np.ndarray:
    """Draw by how many processes each page is mapped: by each once at most.

    Parameters
    ----------
    shape : str
        A key of `SHAPES`.
    processes : int
        That use the library.
    pages : int
    rng : Generator

    Returns
    -------
    ndarray of int64, shape (pages,)
    """
    if shape == "poisson":
        drawn = rng.poisson(TOUCHED * processes, pages)
    elif shape == "zipf":
        drawn = np.floor(processes / (np.arange(pages) % LIBRARY_PAGES + 1) ** ZIPF)
    else:
        drawn = np.floor(MEDIAN * processes * np.exp(SIGMA * rng.standard_normal(pages)))
    return np.minimum(drawn, processes).astype(np.int64)


def share_mapped(shape: str, processes: int, least: int) -> float:
    """Work out the share of pages that at least so many processes map.

    Parameters
    ----------
    shape, processes
        As in `draw_mapcounts`.
    least : int
        At least 1.

    Returns
    -------
    float
        poisson: 1 - sum of e^-m m^k / k! below `least`; zipf: the ranks up to (processes / least)^(1/s); lognormal:
        erfc((ln least - ln median) / (sigma sqrt 2)) / 2. With fewer processes than `least` it is 0.
    """
    if least > processes:
        return 0.0
    if shape == "poisson":
        mean = TOUCHED * processes
        below = (math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(least))
        return max(0.0, 1 - math.fsum(below))
    if shape == "zipf":
        ranks = math.floor((processes / least) ** (1 / ZIPF) * (1 + 1e-12))
        return min(ranks, LIBRARY_PAGES) / LIBRARY_PAGES
    return math.erfc(math.log(least / (MEDIAN * processes)) / (SIGMA * math.sqrt(2))) / 2


def share_false(shape: str, processes: int, subtract_mapcount: bool, plain: int = 0) -> float:
    """Work out the share of pages that look pinned, while none is.

    Parameters
    ----------
    shape, processes
        As in `draw_mapcounts`.
    subtract_mapcount : bool
        Take the mappings off, as Kara's formula does.
    plain : int
        Plain references to each page.
    """
    references = CACHE_REFERENCE + plain
    if subtract_mapcount or references >= GUP_PIN_COUNTING_BIAS:
        return float(references >= GUP_PIN_COUNTING_BIAS)
    return share_mapped(shape, processes, GUP_PIN_COUNTING_BIAS - references)


@step
def _count_pinned(tracker, world):
    """Ask about every page."""
    found = 0
    for p in range(len(world.page)):
        found += is_pinned(tracker, world, p)
    return found


def count_false(tracker: Any, mapcounts: np.ndarray, plain: int = 0) -> int:
    """Ask a tracker about pages that nobody has pinned.

    Parameters
    ----------
    tracker : NamedTuple
    mapcounts : ndarray of int64, shape (pages,)
        Processes that map each page.
    plain : int
        Plain references to each page.

    Returns
    -------
    int
        Pages that it takes for pinned.
    """
    page = np.zeros(len(mapcounts), PAGE)
    page["flags"], page["_mapcount"] = PG_CACHED, mapcounts - 1
    page["_refcount"] = CACHE_REFERENCE + mapcounts + plain
    node, bio, dio, task, plan = (np.zeros(1, kind) for kind in (NODE, BIO, DIO, TASK, PLAN))
    world = World(page, node, bio, dio, task, plan, np.zeros(R.SYS_CELLS, np.int64))
    return int(driver_for(_count_pinned, tracker.__class__)(tracker, world))
