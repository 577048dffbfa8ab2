"""What a worker is told of a point, and what it answers."""

from pathlib import Path
from typing import Any, NamedTuple

from workbench.costs import CostTable
from workbench.sweep.points import Point
from workbench.sweep.spec import FILES, Batch, tracker_file
from workbench.user_tracker import is_own


class Job(NamedTuple):
    """A point, as a process in any folder can run it.

    Attributes
    ----------
    point : Point
    design : str
        As in the point, with the tracker's file by its absolute path.
    tracker : str
        Name of the design's tracker, for the row.
    parameters : dict
        As given in the point, with files by their absolute paths.
    notebook : str
        Absolute path, or empty.
    costs : CostTable
    cost_file : bytes
        The file that it came from, for a notebook: workers elsewhere don't have it. Empty for the built-in table.
    attempt : int
        1, 2, ...
    """

    point: Point
    design: str
    tracker: str
    parameters: dict[str, Any]
    notebook: str
    costs: CostTable
    cost_file: bytes = b""
    attempt: int = 1


class Answer(NamedTuple):
    """What became of a point.

    Attributes
    ----------
    job : Job or None
        None on its way from the process that simulated.
    row : dict or None
        For the store; None if it failed, or is a notebook.
    files : dict of str to bytes
        Executed notebook and figures, by relative path.
    error : str
        One line; empty after a success.
    traceback : str
    again : bool
        It reached its time limit, or its process died: another attempt may do better.
    seconds : float
    """

    job: Any
    row: dict[str, Any] | None
    files: dict[str, bytes]
    error: str
    traceback: str
    again: bool
    seconds: float


def make(point: Point, batch: Batch) -> Job:
    """Make the job of a point."""
    parameters = dict(point.given)
    for name in FILES:
        if point.scenario and parameters.get(name):
            parameters[name] = str(Path(parameters[name]).absolute())
    design = point.design
    if any(is_own(part.removeprefix("tracker=")) for part in design.split(",")):
        path = tracker_file(design)
        design = design.replace(f"tracker={path}", f"tracker={path.expanduser().absolute()}", 1)
    return Job(
        point=point,
        design=design,
        tracker=batch.trackers.get(point.design, ""),
        parameters=parameters,
        notebook=str(batch.notebook.absolute()) if batch.notebook else "",
        costs=batch.costs,
        cost_file=batch.cost_file if batch.notebook else b"",
    )
