"""``simulate --schedule``: one counterexample out of what `explore --json` printed."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import UsageError, nearest
from workbench.usage import pairs

WRITTEN = "`workbench explore --json` writes such a file"


class Counterexample(NamedTuple):
    """What one hazard of a file says of how to run into it."""

    scenario: str
    design: str
    parameters: dict[str, Any]
    schedule: list[Any]


def counterexample(arguments: argparse.Namespace) -> Counterexample:
    """Read the counterexample that the arguments of ``simulate`` name.

    Parameters
    ----------
    arguments : argparse.Namespace
        ``schedule`` and ``hazard``; ``scenario``, ``design`` and ``set`` may be left out, and must agree with the
        file where they are given.

    Raises
    ------
    UsageError
        For a file that can't be read or is none of `explore`'s, for a hazard without counterexample, and for
        arguments that contradict the file.
    """
    path = arguments.schedule
    told = _read(path)
    try:
        hazards = {name: (str(h["verdict"]), list(h["schedule"])) for name, h in told["hazards"].items()}
        found = Counterexample(str(told["scenario"]), str(told["design"]), dict(told["parameters"]), [])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(f"--schedule {path}: it has no verdicts; {WRITTEN}") from None
    _checked(found.scenario, found.parameters)
    _agree(arguments, found)
    return found._replace(schedule=_schedule(path, hazards, arguments.hazard))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--schedule {path}: {error.strerror}; {WRITTEN}") from None
    except ValueError as error:  # not UTF-8, or no JSON
        raise UsageError(f"--schedule {path}: no JSON ({error}); {WRITTEN}") from None


def _schedule(path: Path, hazards: Mapping[str, tuple[str, list[Any]]], wanted: str | None) -> list[Any]:
    """The schedule of the hazard that is wanted, or of the only one that has any."""
    reachable = [name for name, (verdict, _) in hazards.items() if verdict == "reachable"]
    if not reachable:
        raise UsageError(f"--schedule {path}: no hazard is reachable there, so that there is no counterexample")
    if wanted is None and len(reachable) > 1:
        raise UsageError(f"--hazard is needed: {path} has counterexamples of {', '.join(reachable)}")
    name = wanted or reachable[0]
    if name not in hazards:
        raise UsageError(f"--hazard {name}: not in {path}: {nearest(name, hazards)}")
    verdict, schedule = hazards[name]
    if name not in reachable:
        raise UsageError(f"--hazard {name}: {verdict} in {path}; reachable there: {', '.join(reachable)}")
    if not schedule:
        raise UsageError(f"--schedule {path}: {name} is reachable there, but by no step at all; {WRITTEN}")
    return schedule


def _agree(arguments: argparse.Namespace, found: Counterexample) -> None:
    """Hold what was given on the command line against the file."""
    path = arguments.schedule
    if arguments.scenario not in (None, found.scenario):
        raise UsageError(f"scenario {arguments.scenario!r}: the counterexamples in {path} are of {found.scenario!r}")
    for design in arguments.design:
        if not _same_design(design, found.design):
            raise UsageError(f"--design {design}: the counterexamples in {path} are of {found.design}")
    given = pairs(arguments.set)
    for name, value in _checked(found.scenario, given).items():
        if value != found.parameters.get(name):
            there = found.parameters.get(name)
            raise UsageError(f"--set {name}={given[name]}: the counterexamples in {path} are of {name}={there}")


def _same_design(one: str, other: str) -> bool:
    from workbench import designs

    first, second = designs.parse(one), designs.parse(other)
    return replace(first, name="") == replace(second, name="")


def _checked(scenario: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that were given, each in its type."""
    from workbench.scenarios import SCENARIOS
    from workbench.scenarios.base import check_parameters

    if scenario not in SCENARIOS:
        raise UsageError(f"no scenario {scenario!r}: {nearest(scenario, SCENARIOS)}")
    checked = check_parameters(scenario, SCENARIOS[scenario].PARAMETERS, dict(given))
    return {name: checked[name] for name in given}
