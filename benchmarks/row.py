"""One line of the table of benchmarks: what was measured, beside which peer, and whether its goal is met."""

import math
import re
from typing import NamedTuple

SKIPPED, FAILED = "skipped: ", "failed: "
GOAL = re.compile(r"(?:(ours|ratio) )?(<=|>=) ?([\d.]+)")


class Row(NamedTuple):
    """One line of the table.

    Attributes
    ----------
    name : str
        ``benchmark/row``.
    what : str
        What is measured, and against which peer.
    ours, peer : float or None
        In ``unit``; None: not measured, or there is no peer.
    ratio : float or None
        Of the two, in the direction that the goal is about.
    goal : str
        ``ours`` or ``ratio`` (the default), ``<=`` or ``>=``, and a number; empty: measured, and that is all.
    unit : str
    note : str
        That of a row whose peer is not installed says ``skipped: needs ...``.
    """

    name: str
    what: str
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    goal: str = ""
    unit: str = "1"
    note: str = ""

    def skipped(self, why: object) -> "Row":
        """Give the row of what can't be measured here, with the reason."""
        return self._replace(note=f"{SKIPPED}{why}")

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None: there is none, or what it is about was not measured.

        Raises
        ------
        ValueError
            The goal is not of the form that `Row` says.
        """
        if not self.goal:
            return None
        told = GOAL.fullmatch(self.goal)
        if told is None:
            raise ValueError(f"{self.name}: goal {self.goal!r}")
        value = self.ours if told[1] == "ours" else self.ratio
        if value is None or math.isnan(value):
            return None
        return value <= float(told[3]) if told[2] == "<=" else value >= float(told[3])
