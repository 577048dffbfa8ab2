"""What a check is: a module with these names.

``NAME, TITLE, FORMULA, SOURCES, ASSUMED, AXES``
    Words for the table and the figure.
``run(size) -> list of Case``
    Simulate and compare.
``curve(x) -> {series: value}``
    The formula at any place of the horizontal axis.
"""

from typing import NamedTuple, Protocol

from verification.estimates import Case


class Size(NamedTuple):
    """How much is simulated.

    Attributes
    ----------
    replications : int
        Independent runs of each setup.
    ios : int
        Direct IOs, or pages, of a run.
    points : int
        Points of each series at most.
    """

    replications: int
    ios: int
    points: int = 100

    def some(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """As many of them as there are to be points, from the end."""
        return values[-self.points :]


FULL = Size(replications=40, ios=60_000)
QUICK = Size(replications=5, ios=1_500, points=1)


class Axes(NamedTuple):
    """Labels of the figure.

    Attributes
    ----------
    x, y : str
        With the unit in brackets.
    logx, logy : bool
    """

    x: str
    y: str
    logx: bool = False
    logy: bool = False


class Check(Protocol):
    """A module of this package that is a check."""

    NAME: str
    TITLE: str
    FORMULA: str
    SOURCES: tuple[str, ...]
    ASSUMED: str
    AXES: Axes

    def run(self, size: Size) -> list[Case]:
        """Simulate and compare."""

    def curve(self, x: float) -> dict[str, float]:
        """What the formula says at ``x``, by series."""
