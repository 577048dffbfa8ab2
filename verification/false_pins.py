"""False pins of the reference count bias: how many pages are mapped so often that they look pinned.

v6.12 folio_maybe_dma_pinned says "maybe" from 1024 references on; a file page that many processes map has as many
(Kara 2019-01-14, 20190114145447.GJ13316@quack2, whose formula subtracts the map count; the merged one does not).
With M mappings, K references for a moment (page vectors, plain GUP), and one each for page cache and buffers:

    as merged:               P(2 + M + K >= 1024)
    map count subtracted:    P(2 + K >= 1024)

    Poisson:      P(M >= m) = 1 - sum over j < m of exp(-mean) mean^j / j!
    geometric:    P(M >= m) = (mean / (1 + mean))^m
    power law:    P(M >= m) = m^-alpha, m from 1 on

Compared: the tracker's own ``is_pinned`` asked of each page of an array whose counts are drawn from the distribution;
the exact binomial interval. Pages that are pinned once on top must all be said to be.
"""

import math
from functools import cache
from typing import Any

import numpy as np

from verification.check import Axes, Size
from verification.estimates import Bounded, Case, Share
from workbench import accelerate
from workbench.designs import parse_tracker
from workbench.mm.page import GUP_PIN_COUNTING_BIAS
from workbench.scenarios.base import EMPTY_PLAN, new_world
from workbench.trackers.protocol import is_pinned

NAME = "false_pins"
TITLE = "Share of unpinned pages that bias calls pinned"
FORMULA = "P(2 + M + K >= 1024), or P(2 + K >= 1024) with the map count subtracted"
SOURCES = (
    "Kara 2019-01-14, 20190114145447.GJ13316@quack2; v6.12 include/linux/mm.h folio_maybe_dma_pinned",
    "Johnson, Kemp, Kotz, Univariate Discrete Distributions, 3rd ed. (2005): the distributions' tails",
)
ASSUMED = "file pages with buffers; every page's counts drawn independently."
AXES = Axes("mean number of processes that map a page", "share said to be pinned", logx=True, logy=True)
LARGEST = 1 << 20  # most mappings under the power law, whose mean would have no end otherwise
BASE = 2  # references of page cache and buffers
MEANS = (100.0, 150.0, 250.0, 500.0, 2000.0, 1000.0)
POISSON_MEANS = (940.0, 960.0, 980.0, 1060.0, 1020.0)
SUBTRACTED = "geometric K, less M"
MISSED = "unseen pins, "


def run(size: Size) -> list[Case]:
    """Compare for each distribution and mean.

    Parameters
    ----------
    size : Size
    """
    cases, missed = [], dict.fromkeys(DISTRIBUTIONS, 0)
    for k, (series, mean) in enumerate((s, m) for s in DISTRIBUTIONS for m in size.some(means_of(s))):
        maps, transient = drawn(series, mean, 10 * size.ios, np.random.Generator(np.random.PCG64(k)))
        asked = said_pinned(maps, transient, subtract=series == SUBTRACTED)
        cases.append(Case(series, mean, Share(int(asked.sum()), len(asked)), formula(series, mean)))
        pinned = said_pinned(maps, transient + GUP_PIN_COUNTING_BIAS, subtract=series == SUBTRACTED)
        missed[series] += int((~pinned).sum())
    return cases + [Case(MISSED + series, 0, Bounded(n), 0.0) for series, n in missed.items()]


def curve(mean: float) -> dict[str, float]:
    """What the formula says at a mean map count, by series."""
    return {s: formula(s, mean) for s in DISTRIBUTIONS if s != "Poisson" or mean >= POISSON_MEANS[0]}


def means_of(series: str) -> tuple[float, ...]:
    """Means at which a series is simulated: those where its share can be counted."""
    return POISSON_MEANS if series == "Poisson" else MEANS


def _poisson_tail(m: int, mean: float) -> float:
    return 1 - math.fsum(math.exp(j * math.log(mean) - mean - math.lgamma(j + 1)) for j in range(m))


def _geometric_tail(m: int, mean: float) -> float:
    return (mean / (1 + mean)) ** m


def _power_tail(m: int, mean: float) -> float:
    return float(m ** -_alpha(mean))


@cache
def _alpha(mean: float) -> float:
    """Exponent of the power law with that mean, the sum of its tails up to `LARGEST`, after Euler and Maclaurin."""

    def mean_of(alpha: float) -> float:
        end = LARGEST**-alpha
        return (LARGEST * end - 1) / (1 - alpha) + (1 + end) / 2 + alpha * (1 - end / LARGEST) / 12

    low, high = 1e-6, 1 - 1e-9
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_of(middle) > mean else (low, middle)
    return (low + high) / 2


DISTRIBUTIONS = {
    "Poisson": _poisson_tail,
    "geometric": _geometric_tail,
    "power law": _power_tail,
    SUBTRACTED: _geometric_tail,
}


def formula(series: str, mean: float) -> float:
    """Share of pages that are said to be pinned."""
    return DISTRIBUTIONS[series](GUP_PIN_COUNTING_BIAS - BASE, mean)


def drawn(series: str, mean: float, pages: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw map counts, and references for a moment.

    Returns
    -------
    maps, transient : ndarray of int64, shape (pages,)
    """
    none = np.zeros(pages, np.int64)
    if series == "Poisson":
        return rng.poisson(mean, pages), none
    if series == "power law":
        return np.minimum(np.floor((1 - rng.random(pages)) ** (-1 / _alpha(mean))), LARGEST).astype(np.int64), none
    counts = rng.geometric(1 / (1 + mean), pages) - 1
    # With the map count subtracted, mappings must not matter, so there are many of them everywhere.
    return (none + 5000, counts) if series == SUBTRACTED else (counts, none)


def said_pinned(maps: np.ndarray, transient: np.ndarray, subtract: bool) -> np.ndarray:
    """Ask the tracker about each page.

    Parameters
    ----------
    maps, transient : ndarray of int64, shape (pages,)
        Mappings, and references beside them and those of `BASE`.
    subtract : bool
        The design subtracts the map count.

    Returns
    -------
    ndarray of bool, shape (pages,)
    """
    _, tracker = parse_tracker("bias")
    tracker = tracker._replace(subtract_mapcount=int(subtract))
    world, _ = new_world(
        pages=len(maps), nodes=0, bios=1, dios=0, cpus=1, submitters=0, plan=EMPTY_PLAN, ios=0, dirty=True
    )
    world.page["_mapcount"] = maps - 1  # -1: not mapped
    world.page["_refcount"] = BASE + maps + transient
    answers = np.zeros(len(maps), np.bool_)
    _asker()(tracker, world, answers)
    return answers


def _ask_all(tracker: Any, world: Any, answers: np.ndarray) -> None:
    for p in range(len(answers)):
        answers[p] = is_pinned(tracker, world, p)


_compiled: list[Any] = []


def _asker() -> Any:
    """The loop, compiled where numba compiles."""
    if not _compiled:
        _compiled.append(accelerate.driver_uncached(_ask_all) if accelerate.JIT_ENABLED else _ask_all)
    return _compiled[0]
