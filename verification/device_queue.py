"""The device as a queue with several servers: M/M/c and M/G/1.

Direct IOs of one page arrive as a Poisson process; each is one bio, which the device serves in one of its ``units``,
first come, first served. Nothing but the device takes time, and there are tags enough: that is M/M/c where service
times are exponential, and M/G/1 with one unit and the scenario's own lognormal times.

M/M/c (Erlang 1917; Kleinrock, Queueing Systems I, 1975, section 3.5), with a = rate x service, u = a / c:

    W = service + C(c, a) service / (c - a),    C(c, a) = B / (1 - u (1 - B)),  B = Erlang's loss formula

M/G/1 (Pollaczek 1930, Khinchine 1932; Kleinrock, chapter 5), with the lognormal's squared coefficient of variation
v = exp(jitter^2) - 1:

    W = service + rate service^2 (1 + v) / (2 (1 - u))

Compared: the mean of the histogram LATENCY. And, with no chance left in it, its sum with the recursion of Kiefer and
Wolfowitz (1955; Lindley 1952 for one server) over the same arrivals and service times: equal to the picosecond.
"""

import heapq
import math

import numpy as np

from verification import stage
from verification.check import Axes, Size
from verification.estimates import Bounded, Case, Mean
from workbench.mm import registers as R

NAME = "device_queue"
TITLE = "Latency at the device: M/M/c and M/G/1"
FORMULA = "W = S + C(c, a) S / (c - a); W = S + rate S^2 (1 + v) / (2 (1 - u))"
SOURCES = (
    "Kleinrock, Queueing Systems I (1975), section 3.5 and chapter 5",
    "Kiefer and Wolfowitz (1955), Trans. AMS 78: the recursion",
)
ASSUMED = (
    "only the device takes time; one CPU; 1024 slots and tags without end, so that nobody waits before the device."
)
AXES = Axes("share of the device in use", "mean latency [units of service time]")
DESIGN = "tracker=none,cleaning=ignore"
SERVICE_US = 1.0
WARM_UP = 12  # of the IOs, one in so many is not counted
EXPONENTIAL = {"M/M/1": 1, "M/M/4": 4, "M/M/16": 16}  # units
LOGNORMAL = {"M/D/1": 0.0, "M/G/1, jitter 0.5": 0.5, "M/G/1, jitter 1": 1.0}  # jitter
USES = (0.3, 0.5, 0.7, 0.8)
EXACT = "less recursion [ps]"


def run(size: Size) -> list[Case]:
    """Compare at each use of the device, and once with the recursion.

    Parameters
    ----------
    size : Size
    """
    cases = []
    for k, (name, use) in enumerate((name, use) for name in (*EXPONENTIAL, *LOGNORMAL) for use in size.some(USES)):
        seeds = range(1000 * k, 1000 * k + size.replications)
        means = tuple(replication(name, use, size.ios, seed)[0] for seed in seeds)
        cases.append(Case(name, use, Mean(means), formula(name, use)))
    for name in (*EXPONENTIAL, *LOGNORMAL):
        _, off = replication(name, USES[-1], size.ios, seed=1)
        cases.append(Case(f"{name} {EXACT}", USES[-1], Bounded(off), 0.0))
    return cases


def curve(use: float) -> dict[str, float]:
    """What the formulas say at a use of the device, by series."""
    return {name: formula(name, use) for name in (*EXPONENTIAL, *LOGNORMAL)}


def formula(name: str, use: float) -> float:
    """Mean latency in units of the service time."""
    if name in EXPONENTIAL:
        servers = EXPONENTIAL[name]
        return 1 + erlang_c(servers, use * servers) / (servers - use * servers)
    return 1 + use * math.exp(LOGNORMAL[name] ** 2) / (2 * (1 - use))


def erlang_c(servers: int, load: float) -> float:
    """Probability that an arrival has to wait, by way of Erlang's loss formula and its recursion."""
    loss = 1.0
    for c in range(1, servers + 1):
        loss = load * loss / (c + load * loss)
    return loss / (1 - load / servers * (1 - loss))


def replication(name: str, use: float, ios: int, seed: int) -> tuple[float, float]:
    """One run.

    The first IOs meet an empty queue, and are not counted: they are run alone, and subtracted, since in a queue that
    serves in order nobody is delayed by who comes later.

    Returns
    -------
    latency : float
        Mean [service times], without the first IOs.
    off : float
        Sum of all latencies less that of the recursion [ps].
    """
    units = EXPONENTIAL.get(name, 1)
    arrivals = stage.poisson_ps(ios, use * units / SERVICE_US, seed)
    first = ios // WARM_UP
    some, whole = (_run(name, units, arrivals[:n], seed) for n in (first, ios))
    latency = (whole.total_ps(R.LATENCY) - some.total_ps(R.LATENCY)) / (ios - first)
    off = whole.total_ps(R.LATENCY) - total_in_system(arrivals, whole.services, units)
    return latency / (SERVICE_US * stage.PS_PER_US), float(off)


def _run(name: str, units: int, arrivals: np.ndarray, seed: int) -> stage.Run:
    return stage.run(
        DESIGN, arrivals, seed, draw=stage.exponential(SERVICE_US) if name in EXPONENTIAL else None,
        jitter=LOGNORMAL.get(name, 0.0), latency_us=SERVICE_US, page_us=0.0, units=units, tags=65536, qd=1024,
        size_kib=4,
    )  # fmt: skip


def total_in_system(arrivals: np.ndarray, services: np.ndarray, servers: int) -> int:
    """Sum of the times from arrival to departure: each takes the server that is free first.

    Parameters
    ----------
    arrivals, services : ndarray of int64
        In order of arrival; there may be more services.
    servers : int
    """
    free = [0] * servers
    total = 0
    for arrival, service in zip(arrivals.tolist(), services.tolist(), strict=False):
        done = max(arrival, free[0]) + service
        heapq.heapreplace(free, done)
        total += done - arrival
    return total
