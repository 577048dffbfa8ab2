"""Dirty pages in a steady state: reads dirty pages at random, a flusher cleans them all in each round.

Direct IOs that read into one page each, drawn evenly from N pages, arrive as a Poisson process; the flusher
(WB_SYNC_NONE) comes once in a period. Each page is then dirtied by a Poisson process of its own with 1/N of the rate,
and it is dirty at a round unless nothing has come (Feller, Probability Theory I, 3rd ed. 1968, chapters IV and VI):

    dirty before a round = N (1 - exp(-rate (period + service) / N))

A read that is in flight at a round has dirtied its page when it was submitted, and does so again when it completes:
so what was submitted during one service time before the round counts as well.

Compared: pages cleaned per round (CLEANED), without the first round, which finds all pages dirty.
"""

import math

import numpy as np

from verification import stage
from verification.check import Axes, Size
from verification.estimates import Case, Mean
from workbench.mm import registers as R

NAME = "dirty_pages"
TITLE = "Dirty pages before a round of the flusher"
FORMULA = "N (1 - exp(-rate (period + service) / N))"
SOURCES = ("Feller, Probability Theory I, 3rd ed. (1968), chapters IV and VI: occupancy",)
ASSUMED = "nothing but the device takes time, and each read or write 1 us; one flusher that cleans what is pinned, too."
AXES = Axes("reads per page and period", "dirty pages before a round, of 1024", logx=True)
DESIGN = "tracker=none,cleaning=ignore"
PAGES = 1024  # in the shared region: one for each slot
PERIOD_US, SERVICE_US = 1000.0, 1.0
ROUNDS = 15  # the scenario's most
LOADS = (0.1, 0.25, 0.5, 2.0, 4.0, 1.0)  # reads per page and period
SERIES = "simulated rounds"


def run(size: Size) -> list[Case]:
    """Compare at each load.

    Parameters
    ----------
    size : Size
    """
    return [
        Case(
            SERIES, load, Mean(tuple(mean_cleaned(load, 100 * k + r) for r in range(size.replications))), formula(load)
        )
        for k, load in enumerate(size.some(LOADS))
    ]


def curve(load: float) -> dict[str, float]:
    """What the formula says at a load."""
    return {SERIES: formula(load)}


def formula(load: float) -> float:
    """Expected number of dirty pages."""
    return PAGES * -math.expm1(-load * (PERIOD_US + SERVICE_US) / PERIOD_US)


def mean_cleaned(load: float, seed: int) -> float:
    """Pages that a round cleans, on average over the rounds of one run but the first."""
    last_us = (ROUNDS + 0.5) * PERIOD_US
    rate = load * PAGES / PERIOD_US
    most = math.ceil(rate * last_us + 10 * math.sqrt(rate * last_us) + 10)
    arrivals = stage.poisson_ps(most, rate, seed)
    ran = stage.run(
        DESIGN, np.asarray(arrivals[arrivals < last_us * stage.PS_PER_US]), seed, overlap=1.0, qd=PAGES, size_kib=4,
        latency_us=SERVICE_US, jitter=0.0, page_us=0.0, units=4096, tags=65536, writeback_ms=PERIOD_US / 1000,
        rounds=ROUNDS,
    )  # fmt: skip
    return (ran.count(R.CLEANED) - ran.count(R.NR_PAGES)) / (ROUNDS - 1)
