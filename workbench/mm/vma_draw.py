"""An address space as a picture of characters."""

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """A VMA as a reader of smaps sees it; all numbers of pages."""

    start: int
    end: int
    flags: str  # VmFlags
    pgoff: int
    file: int  # number of the struct file, or, where only that is known, of the inode; -1: none
    name: str = ""
    anon: int = 0  # its anon_vma; 0: none, or not known

    @property
    def perms(self) -> str:
        """Permissions as in maps."""
        has = set(self.flags.split())
        return "".join(c if f in has else "-" for f, c in (("rd", "r"), ("wr", "w"), ("ex", "x"))) + (
            "s" if "ms" in has else "p"
        )


def line(rows: Sequence[Row], first: int, pages: int) -> str:
    """One character for each page, and ``|`` between two VMAs that touch.

    A page is ``r``, ``w``, ``x`` by the most that it allows, ``-`` if it allows nothing; ``R``, ``W``, ``X``, ``=`` if
    it is shared; ``.`` if nothing is mapped.
    """
    text = ""
    here = first
    for row in rows:
        start, end = max(row.start, first), min(row.end, first + pages)
        if start >= end:
            continue
        text += "." * (start - here)
        if start == here > first and not text.endswith("."):
            text += "|"
        text += _letter(row) * (end - start)
        here = end
    return text + "." * (first + pages - here)


def _letter(row: Row) -> str:
    r, w, x, s = tuple(row.perms)
    letter = "w" if w != "-" else "x" if x != "-" else "r" if r != "-" else "-"
    return letter if s == "p" else "=" if letter == "-" else letter.upper()


def draw(rows: Sequence[Row], first: int, pages: int) -> str:
    """Draw a range of pages, and say of each VMA in it what the picture does not.

    Parameters
    ----------
    rows : sequence of Row
        By address.
    first, pages : int
        What is drawn. Pages are counted from `first`.

    Returns
    -------
    str
        The picture of `line`, then a line for each VMA: its pages, permissions, file and offset, anon_vma, and those of
        its VmFlags that permissions don't say. The offset of anonymous memory is told if it is not the address.
        The anon_vmas are numbered as they come.
    """
    lines = [line(rows, first, pages)]
    numbers: dict[int, int] = {}
    for row in rows:
        if row.end <= first or row.start >= first + pages:
            continue
        told = [f"{row.start - first}-{row.end - first - 1}", row.perms]
        if row.file >= 0:
            told.append(f"file {row.file} @{row.pgoff}")
        elif row.pgoff != row.start:
            told.append(f"@{row.pgoff - first}")
        if row.anon:
            told.append(f"anon {numbers.setdefault(row.anon, len(numbers) + 1)}")
        usual = {"rd", "wr", "ex", "sh", "mr", "mw", "me", "ms"}
        told += [flag for flag in row.flags.split() if flag not in usual]
        lines.append(" ".join(told))
    return "\n".join(lines)
