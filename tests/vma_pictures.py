"""Cases in pictures: calls, and what is mapped after them, each as text; see `vma_pictures.txt`.

A line that begins with ``>`` is a call, on pages of an arena, as in ``> mprotect 4-7 r = ENOMEM``; the indented lines
behind a call are the picture then (`workbench.mm.vma_draw.draw`, 16 pages); any other line is the title of a case.
"""

import errno
from pathlib import Path
from typing import NamedTuple

import numpy as np

from workbench.kernel.vma import ops as o
from workbench.kernel.vma.child import model_files
from workbench.mm.vma import PAGE_SIZE, AddressSpace
from workbench.mm.vma_machine import Machine

FILE = Path(__file__).with_suffix(".txt")
PAGES = 16
BASE = 1 << 24
FLAGS = {
    "locked": o.MAP_LOCKED, "noreserve": o.MAP_NORESERVE, "populate": o.MAP_POPULATE, "stack": o.MAP_STACK,
}  # fmt: skip


class Call(NamedTuple):
    text: str
    op: np.void
    error: int  # errno, or 0
    picture: str  # "" where none is drawn


class Case(NamedTuple):
    title: str
    calls: list[Call]


def read() -> list[Case]:
    cases: list[Case] = []
    for line in FILE.read_text().splitlines():
        if line.startswith("> "):
            text, _, error = line[2:].partition(" = ")
            cases[-1].calls.append(Call(text, operation(text), getattr(errno, error) if error else 0, ""))
        elif line.startswith("    "):
            call = cases[-1].calls[-1]
            cases[-1].calls[-1] = call._replace(picture=f"{call.picture}\n{line[4:]}".lstrip("\n"))
        elif line:
            cases.append(Case(line, []))
    return cases


def operation(text: str) -> np.void:
    """Read a call: ``mmap 0-3 rw fd=0@4 shared``, ``mremap 4-7 to 8-11``, ``mremap 4-7 size 6``, ``write 3``..."""
    name, *words = text.split()
    op = np.zeros(1, o.OPERATION)[0]
    op["op"] = o.OPS.index({"write": "touch", "read": "touch"}.get(name, name))
    if not words:
        return op
    op["page"], op["pages"] = pages(words.pop(0))
    if name in ("mmap", "mprotect"):
        op["prot"] = sum({"r": 1, "w": 2, "x": 4, "n": 0}[c] for c in words.pop(0))
    if name == "write":
        op["flags"] = 1
    if name == "mlock2":
        op["flags"] = "onfault" in words
    if name == "madvise":
        op["flags"] = o.ADVICE[words[0]]
    if name == "mmap":
        mmap_flags(op, words)
    if name == "mremap" and words[0] == "to":
        op["to"], op["to_pages"] = pages(words[1])
        op["flags"] = o.MREMAP_MAYMOVE | o.MREMAP_FIXED | o.MREMAP_DONTUNMAP * ("dontunmap" in words)
    elif name == "mremap":
        op["to_pages"] = int(words[1])
    return op


def pages(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first) - int(first) + 1


def mmap_flags(op: np.void, words: list[str]) -> None:
    op["fd"] = -1
    flags = o.MAP_SHARED if "shared" in words else o.MAP_PRIVATE
    flags |= o.MAP_FIXED_NOREPLACE if "noreplace" in words else o.MAP_FIXED
    flags |= sum(FLAGS.get(word, 0) for word in words)
    for word in words:
        if word.startswith("fd="):
            fd, pgoff = word[3:].split("@")
            op["fd"], op["pgoff"] = int(fd), int(pgoff)
    op["flags"] = flags | (o.MAP_ANONYMOUS if op["fd"] < 0 else 0)


class Space:
    """An address space of the model with the files of `ops.DESCRIPTORS`, told operations."""

    def __init__(self, **rules: object) -> None:
        machine = Machine(**rules)  # type: ignore[arg-type]
        self.files = model_files(machine)
        self.space = AddressSpace(machine)

    def do(self, op: np.void) -> int:
        """Do one operation; its errno, or 0."""
        start, length = (BASE + int(op["page"])) * PAGE_SIZE, int(op["pages"]) * PAGE_SIZE
        flags, prot = int(op["flags"]), int(op["prot"])
        name = o.OPS[op["op"]]
        try:
            if name == "fork":
                self.space = self.space.fork()
            elif name == "mmap":
                file = self.files[op["fd"]] if op["fd"] >= 0 else None
                self.space.mmap(start, length, prot, flags, file, int(op["pgoff"]) * PAGE_SIZE)
            elif name == "mremap":
                to = (BASE + int(op["to"])) * PAGE_SIZE
                self.space.mremap(start, length, int(op["to_pages"]) * PAGE_SIZE, flags, to)
            elif name == "touch":
                self.space.touch(start, bool(flags))
            else:
                more = {"mprotect": (prot,), "mlock2": (flags,), "madvise": (flags,)}.get(name, ())
                getattr(self.space, name)(start, length, *more)
        except OSError as error:
            return error.errno or 0
        return 0

    def picture(self) -> str:
        return self.space.picture(BASE * PAGE_SIZE, PAGES * PAGE_SIZE)
