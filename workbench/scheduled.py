"""A small world run in a given order: what `explore` has found, once more and by its own steps, with their costs.

The order is the schedule's, so there are no CPUs, no spinlocks and no waiting for them. Time goes on by the cost of
each step; what the device does takes none of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.costs import CostTable
from workbench.errors import UsageError
from workbench.frames import frame
from workbench.mm import registers as R
from workbench.replay import Replay, small_world

if TYPE_CHECKING:
    import pandas as pd

LOG_COLUMNS = (
    "time_ps", "end_ps", "program", "page", "flags", "refcount", "mapcount", "pins", "data", "actor", "step", "state",
)  # fmt: skip


@dataclass(frozen=True)
class Followed:
    """A small world that has been taken through a schedule.

    Attributes
    ----------
    run : Replay
    log : DataFrame
        A row per step: `LOG_COLUMNS`.
    rests : bool
        Nobody has a step left that must come.
    at_rest : tuple of str
        Hazards that the world shows as it stands; empty where it is not at rest.
    """

    run: Replay
    log: pd.DataFrame
    rests: bool
    at_rest: tuple[str, ...]


def follow(
    scenario: str, design: str, schedule: Iterable[Sequence[Any]], parameters: dict[str, Any], cost_table: CostTable
) -> Followed:
    """Take a scenario's small world through a schedule.

    Parameters
    ----------
    scenario, design : str
    schedule : iterable of (actor, step, page, outcome)
        As in `verdict.HazardVerdict.schedule`.
    parameters : dict
        The scenario's own, where they differ from its small set.
    cost_table : CostTable

    Raises
    ------
    UsageError
        For a wrong name, type or range, and where a step is not what its actor can do next.
    """
    run = Replay(small_world(scenario, design, parameters))
    sys = run.small.world.sys
    sys[R.COST : R.COST + len(R.COUNTERS)] = cost_table.picoseconds()
    log = [_take(run, entry) for entry in schedule]
    return Followed(run, frame(log, columns=list(LOG_COLUMNS)), not run.choices()[1], run.judge())


def _take(run: Replay, entry: Sequence[Any]) -> tuple[Any, ...]:
    """Run one step of a schedule; its row of the log."""
    sys = run.small.world.sys
    number = len(run.schedule) + 1
    actor, step, page, outcome = _parts(entry, number)
    began = int(sys[R.NOW])
    sys[R.STEP_PS] = 0
    run.take(actor, step, page, outcome)
    sys[R.NOW] += sys[R.STEP_PS]
    told = run.trace[-1]
    if told.page != page:
        raise UsageError(f"step {number} of the schedule: {actor}'s {step!r} is about page {told.page}, not {page}")
    row = run.small.world.page[page] if page >= 0 else np.zeros((), run.small.world.page.dtype)
    return (
        began, int(sys[R.NOW]), told.program, page, int(row["flags"]), told.refcount, told.mapcount, told.pins,
        int(row["ghost_data"]), actor, step, told.state,
    )  # fmt: skip


def _parts(entry: Sequence[Any], number: int) -> tuple[str, str, int, int]:
    kinds = (str, str, int | np.integer, int | np.integer)
    if isinstance(entry, (list, tuple)) and len(entry) == len(kinds) and all(map(isinstance, entry, kinds)):
        actor, step, page, outcome = entry
        return actor, step, int(page), int(outcome)
    raise UsageError(f"step {number} of the schedule: {entry!r} is not (actor, step, page, outcome)")
