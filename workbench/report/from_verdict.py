"""A report out of what ``workbench explore --json`` printed: verdicts, and the shortest counterexamples, drawn."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import charts
from workbench.counterexample import as_mail, events
from workbench.errors import UsageError, nearest
from workbench.hazards import HAZARDS
from workbench.report import Block, Command, Heading, Picture, Prose, Raw, Report, Verbatim, cleaned, table
from workbench.report.figures import drawn
from workbench.report.made_by import provenance
from workbench.report.prose import escaped
from workbench.report.subject import claim, design, parameters, settings
from workbench.scenarios import SCENARIOS
from workbench.verdict import VERDICTS, HazardVerdict, TraceStep, Verdict

WRITTEN = "`workbench explore --json` writes such a file"
_STEP = {"actor": str, "program": str, "step": str, "state": str, "data": str}
_NUMBERS = ("page", "refcount", "mapcount", "pins")
_LARGEST = 2**63
_DRAWN = 200  # steps; longer sequences are text only


def read(path: Path) -> Verdict:
    """Read a verdict back, each value held to its type.

    Raises
    ------
    UsageError
        A file that can't be read, or is no verdict.
    """
    try:
        return verdict(json.loads(path.read_bytes()))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; {WRITTEN}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"{path}: not a verdict ({type(error).__name__}: {reason}); {WRITTEN}") from None


def verdict(raw: Any) -> Verdict:
    """Make a verdict of what `Verdict.to_json` gave.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError
        It is something else.
    """
    told = cleaned(raw)
    if not told["hazards"]:
        raise ValueError("no hazards")
    return Verdict(
        scenario=_text(told["scenario"]),
        design=_text(told["design"]),
        parameters={name: _plain(value) for name, value in told["parameters"].items()},
        complete=bool(told["complete"]),
        reduced=bool(told["reduced"]),
        states=_whole(told["states"]),
        transitions=_whole(told["transitions"]),
        depth=_whole(told["depth"]),
        seconds=0.0,
        bytes_per_state=0.0,
        hazards={name: _hazard(hazard) for name, hazard in told["hazards"].items()},
        undecided=_texts(told.get("undecided", [])),
        provenance={name: value for name, value in told["provenance"].items()},
    )


def _hazard(told: Mapping[str, Any]) -> HazardVerdict:
    return HazardVerdict(
        verdict=_text(told["verdict"]),
        depth=None if told["depth"] is None else _whole(told["depth"]),
        trace=tuple(_step(step) for step in told["trace"]),
        conditional=_texts(told["conditional"]),
        reason=_text(told["reason"]),
    )


def _step(told: Mapping[str, Any]) -> TraceStep:
    words = {name: _text(told[name]) for name in _STEP}
    if not words["actor"].strip():
        raise ValueError("a step without an actor")
    numbers = {name: _whole(told[name]) for name in _NUMBERS}
    return TraceStep(**words, **numbers, hazards=_texts(told["hazards"]))  # type: ignore[arg-type]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return " ".join(value.split())


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return tuple(map(_text, value))


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= _LARGEST:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _plain(value: Any) -> Any:
    if not isinstance(value, str | int | float):
        raise TypeError(f"{value!r} is not a parameter's value")
    return value


# ---- the report


def report(found: Verdict, file: str, again: Sequence[str], hazards: Sequence[str] = (), columns: int = 2) -> Report:
    """Write a search up.

    Parameters
    ----------
    found : Verdict
    file : str
        Name of its file.
    again : sequence of str
        Words of the command that makes the report out of that file.
    hazards : sequence of str, optional
        Counterexamples of these; of all that are reachable by default.
    columns : int, optional
        Width of the figures.

    Raises
    ------
    UsageError
        A hazard that the verdict says nothing of.
    """
    for name in hazards:
        if name not in found.hazards:
            raise UsageError(f"--hazard {name}: not in the verdict: {nearest(name, found.hazards)}")
    shown = [name for name in found.hazards if name in (hazards or found.hazards)]
    reachable = [name for name in shown if found.hazards[name].trace]
    blocks = [*claim(found.scenario), *design([found.design]), *parameters(found.scenario, found.parameters)]
    blocks += _verdicts(found, shown)
    for name in reachable:
        blocks += _counterexample(found, name, columns)
    figures = [block for block in blocks if isinstance(block, Picture)]
    blocks += provenance(figures, found.provenance)
    blocks += [Heading("To make this again"), Command(((*_search(found), Raw(">"), file), tuple(again)))]
    return Report(f"{found.scenario} under {found.design}: what can go wrong", tuple(blocks))


def _verdicts(found: Verdict, shown: Sequence[str]) -> Iterator[Block]:
    yield Heading("What was found")
    counted = [f"{n} {word}" for word in VERDICTS if (n := sum(found.hazards[h].verdict == word for h in shown))]
    yield Prose(escaped(f"Of {len(shown)} hazards: {', '.join(counted)}. Search: {found.summary()}."))
    rows = []
    for name in shown:
        hazard = found.hazards[name]
        hangs = [f"conditional on {', '.join(hazard.conditional)}"] if hazard.conditional else []
        steps = "" if hazard.depth is None else str(hazard.depth)
        rows.append([name, hazard.verdict, steps, "; ".join([*filter(None, [hazard.reason]), *hangs])])
    yield table(["hazard", "verdict", "steps", "why, and what it hangs on"], rows)


def _counterexample(found: Verdict, name: str, columns: int) -> Iterator[Block]:
    hazard = found.hazards[name]
    known = HAZARDS.get(name)
    yield Heading(f"Counterexample: {name}")
    if known:
        yield Prose(escaped(f"{known.definition[0].upper()}{known.definition[1:]} ({known.source})."))
    mail = as_mail(found, name)
    picture = _drawn(found, name, hazard, columns) or _drawn(found, name, hazard, 2)
    if picture is None:
        yield Verbatim(mail)
        return
    yield picture
    after = [f"In the end: {hazard.reason}."] * bool(hazard.reason)
    after += [f"Conditional on {', '.join(hazard.conditional)}."] * bool(hazard.conditional)
    yield Prose(escaped(" ".join(after)))


def _drawn(found: Verdict, name: str, hazard: HazardVerdict, columns: int) -> Picture | None:
    """The steps as a figure; none where they are too many lanes for the width."""
    told = f"Shortest sequence: {hazard.depth} steps."
    title = f"{name} in {found.scenario} under {found.design}"
    size = "one" if columns == 1 else "two"
    file = re.sub(r"[^a-z0-9_-]+", "-", name.lower())
    sources = [HAZARDS[name].source] if name in HAZARDS else []
    if len(hazard.trace) > _DRAWN:
        return None
    try:
        made = charts.space_time(
            events(hazard.trace), title=title, caption=charts.caption("model", None, told), size=size
        )
        return drawn(made, f"counterexample-{file}", found.provenance, sources)
    except ValueError:
        return None


def _search(found: Verdict) -> tuple[str, ...]:
    """The search, as a command, with the limit that it stopped at; only unknown hazards tell that."""
    usual = getattr(SCENARIOS.get(found.scenario), "SMALL", {})
    words = ["workbench", "explore", found.scenario, "--design", found.design]
    words += settings(found.scenario, found.parameters, _small(found.scenario) | usual)
    if not found.states:
        walks = _told(found, r"in (\d+) random walks") or "1"
        return (*words, "--walks", walks, "--seed", str(found.provenance.get("seed")), "--json")
    for option, told in (("--max-states", r"stopped at (\d+) states"), ("--memory-mib", r"stopped at (\d+) MiB")):
        words += [option, limit] if (limit := _told(found, told)) else []
    return (*words, *["--reduce"] * found.reduced, "--json")


def _told(found: Verdict, pattern: str) -> str:
    """What the reason of some verdict says by a pattern; empty if none does."""
    return next((m[1] for h in found.hazards.values() if (m := re.search(pattern, h.reason))), "")


def _small(scenario: str) -> dict[str, Any]:
    return {p.name: p.default for p in SCENARIOS[scenario].PARAMETERS} if scenario in SCENARIOS else {}
