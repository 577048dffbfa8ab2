"""What is compared: a simulated estimate, with its confidence interval, and what a formula says."""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np


class Estimate(Protocol):
    """A figure that a simulation gave."""

    @property
    def value(self) -> float:
        """The best guess."""

    def interval(self, miss: float) -> tuple[float, float]:
        """Ends of an interval that misses the truth with a probability of at most ``miss``."""


class Mean(NamedTuple):
    """Mean of independent replications; Student's t.

    Attributes
    ----------
    replications : tuple of float
        At least two.
    """

    replications: tuple[float, ...]

    @property
    def value(self) -> float:
        """Their mean."""
        return float(np.mean(self.replications))

    def interval(self, miss: float) -> tuple[float, float]:
        """Mean plus and minus t times its standard error."""
        n = len(self.replications)
        half = student_t(1 - miss / 2, n - 1) * float(np.std(self.replications, ddof=1)) / math.sqrt(n)
        return self.value - half, self.value + half


class Share(NamedTuple):
    """Share of independent trials; the exact binomial interval of Clopper and Pearson (1934), Biometrika 26.

    Attributes
    ----------
    found, trials : int
    """

    found: int
    trials: int

    @property
    def value(self) -> float:
        """Found out of all."""
        return self.found / self.trials

    def interval(self, miss: float) -> tuple[float, float]:
        """Values under which so many, or so few, are not yet unlikely."""
        k, n = self.found, self.trials
        low = beta_quantile(miss / 2, k, n - k + 1) if k else 0.0
        return low, beta_quantile(1 - miss / 2, k + 1, n - k) if k < n else 1.0


class Bounded(NamedTuple):
    """A figure without chance in it, known to within a bound.

    Attributes
    ----------
    value : float
    bound : float
    """

    value: float
    bound: float = 0.0

    def interval(self, miss: float) -> tuple[float, float]:
        """The bound on both sides, whatever the level."""
        return self.value - self.bound, self.value + self.bound


class Case(NamedTuple):
    """One comparison.

    Attributes
    ----------
    series : str
        Which setup; a line of the figure.
    x : float
        Place on the figure's horizontal axis.
    estimate : Estimate
    formula : float
        What the formula says.
    slack : float
        How far the simulated setup may differ from what the formula assumes, in the formula's unit.
    """

    series: str
    x: float
    estimate: Estimate
    formula: float
    slack: float = 0.0

    def ends(self, miss: float) -> tuple[float, float]:
        """Ends of the interval at that level, with the slack."""
        low, high = self.estimate.interval(miss)
        return low - self.slack, high + self.slack

    def agrees(self, miss: float) -> bool:
        """Whether the formula lies between them."""
        low, high = self.ends(miss)
        return low <= self.formula <= high


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun, 26.5.8).

    Parameters
    ----------
    x : float
        From 0 to 1.
    a, b : float
        Positive.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, the other tail's converges fast
        return 1 - beta_cdf(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    terms = 200 + 4 * math.isqrt(math.ceil(max(a, b)))
    tail = 1.0
    for m in range(terms, 0, -1):  # from the inside out
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        tail = 1 + even / (1 + odd / tail)
    return front / a / (1 - (a + b) * x / (a + 1) / tail)


def beta_quantile(p: float, a: float, b: float) -> float:
    """Inverse of `beta_cdf` in ``x``."""
    return _bisect(lambda x: beta_cdf(x, a, b) - p, 0.0, 1.0)


@cache
def student_t(p: float, degrees: int) -> float:
    """Quantile of Student's t for ``p`` above one half (Abramowitz and Stegun, 26.7.1)."""
    x = beta_quantile(2 * (1 - p), degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - x) / x)


def _bisect(rises: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        if rises(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
