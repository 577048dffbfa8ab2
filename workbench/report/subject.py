"""What a result is about: its scenario, designs and parameters, in the words that the package has for them."""

import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from workbench import designs
from workbench.policies import CLEANING, LONGTERM
from workbench.report import Block, Heading, Prose, clean, table
from workbench.report.prose import escaped
from workbench.scenarios import ALL
from workbench.user_tracker import is_own


def claim(scenario: str) -> Iterator[Block]:
    """What a scenario asks, and who brought it up: the text at the head of its file."""
    yield Heading("The claim")
    if scenario in ALL:
        yield Prose(inspect.cleandoc(ALL[scenario].__doc__ or "").replace("``", "`"))
    else:
        yield Prose(f"Scenario {escaped(scenario)}, which this version does not have.")


def design(texts: Iterable[str]) -> Iterator[Block]:
    """What designs are made of. Trackers of the user's own are named, not read: their files are code.

    Parameters
    ----------
    texts : iterable of str
        Designs as they were written.
    """
    texts = list(dict.fromkeys(texts))
    words: dict[str, str] = {}
    for text in texts:
        words |= _words(designs.PRESETS.get(text, text))
    yield Heading("Designs" if len(texts) > 1 else "Design")
    named = [[text, _preset(text)] for text in texts]
    if any(said for _, said in named):
        yield table(["design", "is"], [[_spaced(text), said] for text, said in named])
    else:
        yield Prose("\n".join(f"- {escaped(_spaced(text))}" for text in texts))
    if words:
        yield table(["part", "means"], list(words.items()))


def _preset(text: str) -> str:
    """What a preset stands for, and whose it is; empty for a design in parts."""
    if text not in designs.PRESETS:
        return ""
    return f"{_spaced(designs.PRESETS[text])} ({designs.PRESET_SOURCES[text]})"


def _spaced(parts: str) -> str:
    """A design as a reader takes it in; the command at the end has it as it is written."""
    return parts.replace(",", ", ")


def _words(parts: str) -> dict[str, str]:
    """Meaning of a tracker and of the policies; what is not known is left out."""
    found: dict[str, str] = {}
    for part in parts.split(","):
        key, _, value = part.partition("=")
        if key == "tracker":
            found |= {part: _tracker(value)}
        elif key in ("cleaning", "reclaim", "isize"):
            found |= {f"{word} (a pinned page)": CLEANING[word] for word in value.split("/") if word in CLEANING}
        elif key == "longterm" and isinstance(LONGTERM, Mapping):
            found |= {f"{word} (long-term pins)": LONGTERM[word] for word in value.split("+") if word in LONGTERM}
    return {name: text for name, text in found.items() if text}


def _tracker(name: str) -> str:
    if is_own(name):
        return "a tracker in a file of the user's own, which is code"
    known = {text.split(":")[0]: tracker for text, tracker in designs.trackers().items()}
    tracker = known.get(name.split(":")[0])
    told = (sys.modules[type(tracker).__module__].__doc__ or "") if tracker is not None else ""
    return " ".join(told.split("\n\n")[0].replace("``", "").split()).partition(": ")[2]


def parameters(scenario: str, values: Mapping[str, Any]) -> Iterator[Block]:
    """Parameters with units and meaning, in the scenario's order."""
    yield Heading("Parameters")
    known = {p.name: p for p in ALL[scenario].PARAMETERS} if scenario in ALL else {}
    order = [*(name for name in known if name in values), *(name for name in values if name not in known)]
    rows = []
    for name in order:
        unit = known[name].unit if name in known else ""
        rows.append(
            [name, " ".join([said(values[name]), *[unit] * (unit not in ("", "1"))]), *_meaning(known.get(name))]
        )
    if rows:
        yield table(["parameter", "value", "meaning"], rows)
    else:
        yield Prose("None are told.")


def _meaning(parameter: Any) -> list[str]:
    return [parameter.help if parameter else ""]


def said(value: Any) -> str:
    """A parameter's value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def settings(scenario: str, values: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> list[str]:
    """Words ``--set name=value …`` for those parameters that are not as usual.

    Parameters
    ----------
    scenario : str
    values : mapping
    usual : mapping, optional
        By default what the scenario has by default.
    """
    if usual is None:
        usual = {p.name: p.default for p in ALL[scenario].PARAMETERS} if scenario in ALL else {}
    changed = [f"{name}={said(value)}" for name, value in values.items() if name not in usual or usual[name] != value]
    return ["--set", *changed] if changed else []


def named(names: Sequence[str], most: int = 3) -> str:
    """Names in a title: a few, or how many."""
    return clean(", ".join(names) if len(names) <= most else f"{len(names)} designs")
