"""A report as plain text of 72 columns, for a mail."""

import re
import shlex
import unicodedata
from collections.abc import Sequence

from workbench.report import Block, Command, Heading, Picture, Prose, Raw, Report, Table, Verbatim
from workbench.report.prose import columns, filled, to_text, underlined, verbatim
from workbench.tables import COLUMNS

_ASCII = str.maketrans({
    "µ": "u", "μ": "u", "×": "x", "·": "-", "→": "->", "←": "<-", "…": "...", "−": "-", "–": "-", "—": "--", "‘": "'",
    "’": "'", "“": '"', "”": '"', "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "\u00a0": " ",
})  # fmt: skip


def as_text(report: Report) -> bytes:
    """Write a report as text.

    Returns
    -------
    bytes
        UTF-8; no line is longer than 72 columns. Signs that ASCII has words for are written so.
    """
    plain = Report(_folded(report.title), report.blocks)
    parts = [underlined(plain.title, mark="=")]
    figure, drawn = 0, ""
    for block in report.blocks:
        if isinstance(block, Picture):
            figure, drawn = figure + 1, block.text
        elif isinstance(block, Verbatim):
            block = _without(block, drawn)
        parts.append(_folded(_block(block, figure)))
    return ("\n\n".join(part for part in parts if part) + "\n").encode()


def _without(printed: Verbatim, drawn: str) -> Verbatim:
    """Leave out what the figure above says already, as text."""
    told = set(drawn.split("\n\n"))
    return Verbatim("\n\n".join(part for part in printed.text.strip("\n").split("\n\n") if part not in told))


def _folded(text: str) -> str:
    """Write what ASCII can say in ASCII; lines that have grown too long by that go on in the next."""
    told = unicodedata.normalize("NFC", text).translate(_ASCII)
    return verbatim(told)


def _block(block: Block, figure: int) -> str:
    match block:
        case Heading(text, level):
            return underlined(text) if level == 2 else filled(text)
        case Prose(text):
            return to_text(text)
        case Table(head, rows, title):
            return columns(head, rows, title) if head else ""
        case Verbatim(text):
            return verbatim(text.strip("\n"))
        case Command(lines):
            return "\n\n".join(shell(line) for line in lines)
        case Picture():
            return _picture(block, figure)


def _picture(picture: Picture, figure: int) -> str:
    if not picture.text:
        return filled(f"[Figure {figure}: {picture.name}; there is no text of it.]")
    sources = [filled(f"From: {source}", others="  ") for source in picture.sources]
    first, gap, rest = picture.text.partition("\n\n")
    if picture.title == picture.name:
        first, gap, rest = "", "\n\n", picture.text
    head = filled(f"Figure {figure}. {' '.join(first.split())}".rstrip())
    return "\n".join([head + gap + verbatim(rest), *[""] * bool(sources), *sources])


def shell(words: Sequence[str], width: int = COLUMNS) -> str:
    """Write a command line for a shell, in lines that are not too long; pasted, they are the same command.

    Parameters
    ----------
    words : sequence of str
        They are quoted as a shell needs it, but for `Raw` ones.
    width : int, optional
    """
    lines = [""]
    for word in words:
        quoted = word if isinstance(word, Raw) else shlex.quote(word)
        if len(lines[-1]) + len(quoted) + 3 <= width:
            lines[-1] += " " * bool(lines[-1]) + quoted
        elif len(quoted) + 6 <= width:
            lines[-1] += " \\"
            lines.append("    " + quoted)
        else:  # goes on at the very beginning of the next line, as a blank there would end the word
            pieces = _pieces(word, width - 8)
            lines[-1] += " \\" * bool(lines[-1])
            lines.append("    " * (len(lines) > 1) + shlex.quote(pieces[0]))
            for piece in pieces[1:]:
                lines[-1] += "\\"
                lines.append(shlex.quote(piece))
    return "\n".join(line for line in lines if line)


def _pieces(word: str, width: int) -> list[str]:
    """Cut a long word, behind commas and slashes where it has some; none is too long, when quoted."""
    done = [""]
    for part in re.findall(r"[^,/]*[,/]|[^,/]+", word):
        for piece in [part] if len(shlex.quote(part)) <= width else part:
            if len(shlex.quote(done[-1] + piece)) > width:
                done.append("")
            done[-1] += piece
    return done
