"""Random operations on an address space: one structured array, read alike by the model, its twin and the live kernel.

Addresses are pages of an *arena*, counted from its first page; flags are Linux's own numbers (x86-64 and the other
architectures of asm-generic). Nothing here knows what is mapped: ranges are often those of an operation shortly before,
so that changes are undone, neighbours become alike, and holes are hit.

What an operation reads (all else in its row is 0):

========  ==========================================================================================
op        fields
========  ==========================================================================================
MMAP      page, pages, prot, flags (``MAP_*``), fd (-1: anonymous), pgoff
MUNMAP    page, pages
MPROTECT  page, pages, prot
MLOCK     page, pages
MUNLOCK   page, pages
MLOCK2    page, pages, flags (``MLOCK_ONFAULT``)
MADVISE   page, pages, flags (``MADV_*``)
MREMAP    page, pages (old), to_pages (new), flags (``MREMAP_*``), to (new page, if it is given)
TOUCH     page; flags: 0 reads a byte of the page, 1 writes one
FORK      the child goes on with the sequence, in its own copy; its parent waits
========  ==========================================================================================
"""

import mmap as _mmap

import numpy as np

from workbench.mm.vma_advice import ADVICE
from workbench.mm.vma_calls import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_STACK,
)
from workbench.mm.vma_move import MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE

OPS = ("mmap", "munmap", "mprotect", "mlock", "munlock", "mlock2", "madvise", "mremap", "touch", "fork")
MMAP, MUNMAP, MPROTECT, MLOCK, MUNLOCK, MLOCK2, MADVISE, MREMAP, TOUCH, FORK = range(len(OPS))

OPERATION = np.dtype(
    [(name, np.int32) for name in ("op", "page", "pages", "prot", "flags", "fd", "pgoff", "to", "to_pages")]
)

ARENA = 48  # pages
# Beyond the arena nothing is mapped on either side for so many pages: neighbours of the arena never merge with it.
FILE_PAGES = 256  # of each file: more than any sequence reaches by growing a mapping

# Descriptors that operations map: which struct file each names, the file's inode, and whether it may be written.
# 0 and 1 are dup()s; 2 is the same inode, opened again; 3 is opened read-only; 4 and 5 are another inode, opened twice.
# Struct files are numbered from 0; a MAP_SHARED | MAP_ANONYMOUS mapping gets a struct file and an inode of its own,
# the next number, counted over the sequence in the order of such calls that succeed (from `FILES` and `INODES` on).
DESCRIPTORS = ((0, 0, True), (0, 0, True), (1, 0, True), (2, 0, False), (3, 1, True), (4, 1, True))  # file, inode, rw
FILES, INODES = 5, 2

NONE, READ, WRITE, EXEC = 0, 1, 2, 4
MLOCK_ONFAULT = 1
PAGE_SIZE = _mmap.PAGESIZE

# How often each operation comes, in parts of their sum; a fork is drawn apart, once in FORK_EVERY operations.
MIX = {MMAP: 16, MUNMAP: 6, MPROTECT: 22, MLOCK: 6, MUNLOCK: 8, MLOCK2: 4, MADVISE: 18, MREMAP: 10, TOUCH: 10}
FORK_EVERY = 800
# Protections of mmap and mprotect. PROT_EXEC alone is left out: it takes a protection key where the CPU has them.
PROTECTIONS = (NONE, READ, READ | WRITE, READ | EXEC, READ | WRITE | EXEC)
PROTECTION_ODDS = (1, 4, 8, 1, 1)
RETURN_TO = 0.55  # odds that a range is that of an operation up to MEMORY before, or begins where it ended
MEMORY = 12
ALIGNED = 0.5  # odds that a new range begins at, and takes, multiples of 4 pages


def generate(rng: np.random.Generator, number: int, fork_every: int = FORK_EVERY) -> np.ndarray:
    """Draw a sequence of operations.

    Parameters
    ----------
    rng : numpy.random.Generator
    number : int
        Operations.
    fork_every : int
        One operation in so many is a fork, on average; 0: none.

    Returns
    -------
    ndarray of OPERATION, shape (number,)
        The first maps the whole arena, anonymous, private, readable and writable.
    """
    ops = np.zeros(number, OPERATION)
    if not number:
        return ops
    kinds, odds = np.array(list(MIX)), np.array(list(MIX.values()), float)
    ops["op"] = rng.choice(kinds, number, p=odds / odds.sum())
    if fork_every:
        ops["op"][rng.random(number) < 1 / fork_every] = FORK
    _ranges(rng, ops)
    for kind, draw in _ARGUMENTS.items():
        chosen = np.flatnonzero(ops["op"] == kind)
        part = ops[chosen]
        draw(rng, part)
        ops[chosen] = part
    blank = np.isin(ops["op"], (TOUCH, FORK))
    ops["pages"][blank] = 0
    ops["page"][ops["op"] == FORK] = 0
    whole = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
    ops[0] = (MMAP, 0, ARENA, READ | WRITE, whole, -1, 0, 0, 0)
    return ops


_FLAG_NAMES = {
    MMAP: ((MAP_SHARED, "shared"), (MAP_PRIVATE, "private"), (MAP_FIXED_NOREPLACE, "noreplace"),
           (MAP_LOCKED, "locked"), (MAP_NORESERVE, "noreserve"), (MAP_POPULATE, "populate"), (MAP_STACK, "stack")),
    MREMAP: ((MREMAP_MAYMOVE, "maymove"), (MREMAP_FIXED, "fixed"), (MREMAP_DONTUNMAP, "dontunmap")),
    MLOCK2: ((MLOCK_ONFAULT, "onfault"),),
}  # fmt: skip


def text_of(op: np.void) -> str:
    """Say an operation in words, such as ``mprotect 4-7 r--``; pages are those of the arena."""
    kind = int(op["op"])
    words = [OPS[kind]]
    if kind != FORK:
        last = int(op["page"]) + max(int(op["pages"]), 1) - 1
        words.append(f"{op['page']}-{last}")
    if kind in (MMAP, MPROTECT):
        words.append("".join(c if op["prot"] & bit else "-" for c, bit in (("r", READ), ("w", WRITE), ("x", EXEC))))
    if kind == MMAP:
        words.append("anonymous" if op["fd"] < 0 else f"fd {op['fd']} @{op['pgoff']}")
    if kind == MADVISE:
        words.append({number: name for name, number in ADVICE.items()}[int(op["flags"])])
    if kind == TOUCH:
        words.append("write" if op["flags"] else "read")
    if kind == MREMAP:
        to = int(op["to"] if op["flags"] & MREMAP_FIXED else op["page"])
        words.append(f"to {to}-{to + int(op['to_pages']) - 1}")
    words += [name for bit, name in _FLAG_NAMES.get(kind, ()) if op["flags"] & bit]
    return " ".join(words)


def _ranges(rng: np.random.Generator, ops: np.ndarray) -> None:
    """Draw the pages that each operation is about: anew, or those of one shortly before, or what follows them."""
    number = len(ops)
    page = rng.integers(0, ARENA, number)
    pages = np.minimum(rng.geometric(0.25, number), ARENA)
    aligned = rng.random(number) < ALIGNED
    page[aligned] &= ~3
    pages[aligned] = (pages[aligned] + 3) & ~3
    back = rng.integers(1, MEMORY + 1, number)
    how = rng.random(number) / RETURN_TO  # below 0.6: the same range; below 0.8: the next; below 1: the one before
    for i in range(1, number):
        if how[i] < 1 and back[i] <= i:
            other = i - back[i]
            if how[i] < 0.6:
                page[i], pages[i] = page[other], pages[other]
            elif how[i] < 0.8:
                page[i] = (page[other] + pages[other]) % ARENA
            else:
                page[i] = max(page[other] - pages[i], 0)
        pages[i] = min(pages[i], ARENA - page[i])
    ops["page"], ops["pages"] = page, pages


def _protections(rng: np.random.Generator, number: int) -> np.ndarray:
    odds = np.array(PROTECTION_ODDS, float)
    return rng.choice(np.array(PROTECTIONS), number, p=odds / odds.sum())


def _mmap_arguments(rng: np.random.Generator, ops: np.ndarray) -> None:
    number = len(ops)
    ops["prot"] = _protections(rng, number)
    ops["fd"] = np.where(rng.random(number) < 0.55, -1, rng.integers(0, len(DESCRIPTORS), number))
    shared = rng.random(number) < np.where(ops["fd"] < 0, 0.1, 0.5)
    flags = np.where(shared, MAP_SHARED, MAP_PRIVATE)
    flags |= np.where(rng.random(number) < 0.95, MAP_FIXED, MAP_FIXED_NOREPLACE)
    for flag, odds in ((MAP_LOCKED, 0.04), (MAP_NORESERVE, 0.04), (MAP_POPULATE, 0.04), (MAP_STACK, 0.02)):
        flags |= np.where(rng.random(number) < odds, flag, 0)
    ops["flags"] = flags | np.where(ops["fd"] < 0, MAP_ANONYMOUS, 0)
    straight = rng.random(number) < 0.8  # page of the file = page of the arena: neighbours are contiguous in the file
    pgoff = np.where(straight, ops["page"], rng.integers(0, ARENA, number))
    ops["pgoff"] = np.where(ops["fd"] < 0, 0, pgoff)


def _mprotect_arguments(rng: np.random.Generator, ops: np.ndarray) -> None:
    ops["prot"] = _protections(rng, len(ops))


def _mlock2_arguments(rng: np.random.Generator, ops: np.ndarray) -> None:
    ops["flags"] = np.where(rng.random(len(ops)) < 0.8, MLOCK_ONFAULT, 0)


def _madvise_arguments(rng: np.random.Generator, ops: np.ndarray) -> None:
    ops["flags"] = rng.choice(np.array(sorted(ADVICE.values())), len(ops))


def _mremap_arguments(rng: np.random.Generator, ops: np.ndarray) -> None:
    """Half of them stay in place; of those that move some change their size, and some leave the old place mapped."""
    number = len(ops)
    in_place = rng.random(number) < 0.4
    resize = rng.random(number) < np.where(in_place, 1.0, 0.25)
    new = np.maximum(ops["pages"] + np.where(resize, rng.integers(-4, 5, number), 0), 1)
    far = np.minimum(new, ARENA)
    beside = np.clip(ops["page"] + rng.choice([-1, 1], number) * ops["pages"] * rng.integers(1, 4, number), 0, ARENA)
    to = np.where(rng.random(number) < 0.5, rng.integers(0, ARENA, number), beside)
    to = np.minimum(to, ARENA - far)
    leave = ~in_place & ~resize & (rng.random(number) < 0.2)
    ops["flags"] = np.where(in_place, 0, MREMAP_MAYMOVE | MREMAP_FIXED | np.where(leave, MREMAP_DONTUNMAP, 0))
    ops["to"] = np.where(in_place, 0, to)
    ops["to_pages"] = np.where(in_place, np.minimum(new, ARENA - ops["page"]), far)


def _touch_arguments(rng: np.random.Generator, ops: np.ndarray) -> None:
    ops["flags"] = rng.random(len(ops)) < 0.7


_ARGUMENTS = {
    MMAP: _mmap_arguments,
    MPROTECT: _mprotect_arguments,
    MLOCK2: _mlock2_arguments,
    MADVISE: _madvise_arguments,
    MREMAP: _mremap_arguments,
    TOUCH: _touch_arguments,
}
