"""A write-up: what was asked, under which designs and parameters, what came out, and how to make it again.

Readers (`from_notebook`, `from_results`, `from_verdict`) turn a file into a `Report`; writers (`as_text`,
`as_markdown`, `as_html`) turn that into bytes. What comes from a file is data: it is cleaned, escaped, never run.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FORMATS = ("md", "html", "txt")


@dataclass(frozen=True)
class Heading:
    """A heading below the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Prose:
    """Markdown, of which raw HTML is text, images are their words, and links are followed by their address."""

    text: str


@dataclass(frozen=True)
class Table:
    """Cells as they are written; a title above them."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True)
class Verbatim:
    """Lines that stand as they are: what a program printed, a sequence of events, source code."""

    text: str
    language: str = ""


class Raw(str):
    """A word of a command line that is the shell's own, such as ``>``, and not to be quoted."""


@dataclass(frozen=True)
class Command:
    """Command lines, each a list of words for a shell."""

    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure, in all the forms that there are of it.

    Attributes
    ----------
    name : str
        Of its files.
    png, svg, pdf : bytes or None
    text : str
        Its text sibling, of 72 columns, without the lines that say what made it; empty where there is none.
    made_by : dict
        As `workbench.provenance.provenance` makes it.
    sources : tuple of str
        Where its data and claims come from.
    inches : float
        Its width on paper.
    """

    name: str
    png: bytes | None = None
    svg: bytes | None = None
    pdf: bytes | None = None
    text: str = ""
    made_by: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    inches: float = 7.2

    @property
    def title(self) -> str:
        """What stands above its text, in one line; or else its name."""
        first = self.text.split("\n\n")[0].split("\n")
        return " ".join(first) if first[0] and len(first) <= 3 else self.name


Block = Heading | Prose | Table | Verbatim | Command | Picture


@dataclass(frozen=True)
class Report:
    """A title, and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


# Escape sequences of terminals; controls but for the newline; what turns the direction of writing, or is nothing to
# see; halves of characters.
_UNWANTED = re.compile(
    "\x1b\\[[0-9;?]*[ -/]*[@-~]|[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
    "|[\ud800-\udfff\ufffe\uffff]"
)


def clean(text: str) -> str:
    """Take out of a text what no report shows: controls, and characters that a reader can't see."""
    lines = re.sub("\r\n?|[\u2028\u2029]", "\n", text).expandtabs()
    return _UNWANTED.sub("", lines)


def cleaned(value: Any) -> Any:
    """Do the same to every text in a JSON value."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [cleaned(v) for v in value]
    if isinstance(value, dict):
        return {clean(k): cleaned(v) for k, v in value.items()}
    return value


def pictures(report: Report) -> list[Picture]:
    """All figures of a report, in their order."""
    return [block for block in report.blocks if isinstance(block, Picture)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Table:
    """Make a table of cells that may hold anything."""
    return Table(tuple(map(clean, head)), tuple(tuple(map(clean, row)) for row in rows), title)
