"""Files, and the memory that address spaces share: see `workbench.mm.vma`."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from workbench.errors import UsageError, nearest
from workbench.mm import vma_core as core
from workbench.mm.interval_tree import KIND_PINNED, NODE, alloc, free, free_list_init, insert, remove
from workbench.mm.vma_rmap import walk

PAGE_SHIFT = 12
TASK_PAGES = (1 << 47 >> PAGE_SHIFT) - 1  # x86-64, four levels
SINCE = {"unfaulted_target": (6, 16), "move_several": (6, 17)}


class File(NamedTuple):
    """A struct file: what open() makes, and dup() shares."""

    row: int
    number: int
    name: str


class Rmap(NamedTuple):
    """What a walk of an inode's tree over one page meets: nodes looked at, and those found, by kind."""

    visited: int
    shared: int  # VMAs that page_mkclean cares for; it passes the others over
    private: int
    pinned: int


def rules_of(kernel: tuple[int, int] | None = None, without: Iterable[str] = ()) -> int:
    """Give the rules that are in force, as bits.

    Parameters
    ----------
    kernel : tuple of int, optional
        Version of the kernel, such as ``(6, 12)``: without the rules that came later. By default the newest.
    without : iterable of str
        Names out of `workbench.mm.vma_core.RULE_TEXT` that are switched off.

    Raises
    ------
    UsageError
        For a name that is none.
    """
    off = set(without) | {name for name, since in SINCE.items() if kernel is not None and kernel < since}
    for name in off - set(core.RULE):
        raise UsageError(f"no rule {name!r}: {nearest(name, core.RULE)}")
    return sum(bit for name, bit in core.RULE.items() if name not in off)


class Machine:
    """Files, and the address spaces that map them.

    Parameters
    ----------
    kernel : tuple of int, optional
        See `rules_of`.
    without : iterable of str
        See `rules_of`.
    high : int
        First page that can't be mapped any more.
    rows, spaces : int
        VMAs and address spaces that there is room for at first.
    """

    def __init__(
        self,
        kernel: tuple[int, int] | None = None,
        without: Iterable[str] = (),
        high: int = TASK_PAGES,
        rows: int = 64,
        spaces: int = 4,
    ) -> None:
        kinds = (core.VMA, core.ANON_VMA, core.FILE, NODE)
        vma, anon, file, node = (np.zeros(1, kind) for kind in kinds)
        sys = np.zeros(len(core.REGISTERS), np.int64)
        sys[core.RULES], sys[core.HIGH] = rules_of(kernel, without), high
        order = np.zeros((spaces, 0), np.int32)
        self.memory = core.Memory(sys, vma, order, np.zeros(spaces, np.int64), anon, file, node, np.zeros(1, np.int64))
        self._inodes: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._pins = self._spaces = 0
        free_list_init(self.memory.node, 1)
        self._grow(rows)

    def _grow(self, rows: int) -> None:
        """Make room for so many VMAs, anon_vmas and files each, and for a node of each VMA, file and pin."""
        m = self.memory
        order = np.zeros((len(m.order), rows), np.int32)
        order[:, : m.order.shape[1]] = m.order
        vma = _longer(m.vma, rows, "anon_vma", m.sys, core.VMA_FREE)
        anon = _longer(m.anon, rows, "parent", m.sys, core.ANON_FREE)
        file = _longer(m.file, rows, "number", m.sys, core.FILE_FREE)
        node = np.zeros(3 * rows, NODE)
        node[: len(m.node)] = m.node
        for n in range(len(node) - 1, len(m.node) - 1, -1):
            free(node, n)
        owner = np.zeros(len(node), np.int64)
        owner[: len(m.owner)] = m.owner
        self.memory = core.Memory(m.sys, vma, order, m.counts, anon, file, node, owner)

    def reserve(self, mm: int) -> None:
        """Make sure that one call on an address space, or its fork, finds the rows that it needs."""
        m = self.memory
        more = int(m.counts[mm]) + 8
        files = len(self._names)
        needed = max(int(m.counts.sum()) + files, int(m.sys[core.ANON_USED]), files + self._pins) + more
        if needed >= len(m.vma):
            self._grow(2 * needed)

    def new_space(self) -> int:
        """Give the number of an address space not used yet, which is empty."""
        m = self.memory
        if self._spaces == len(m.order):
            order = np.concatenate([m.order, np.zeros_like(m.order)])
            self.memory = m._replace(order=order, counts=np.concatenate([m.counts, np.zeros_like(m.counts)]))
        self._spaces += 1
        return self._spaces - 1

    def open(self, name: str, pages: int = 256, writable: bool = True, readable: bool = True) -> File:
        """Open a file, once more if it has been opened before; dup() is to use the same `File` twice.

        Parameters
        ----------
        name : str
            Names the inode.
        pages : int
            Its size, when it is opened for the first time.
        writable, readable : bool
            What it is opened for; what is not readable can't be mapped.
        """
        self.reserve(0)
        m = self.memory
        row = int(m.sys[core.FILE_FREE])
        file = m.file[row]
        m.sys[core.FILE_FREE] = file["number"]
        if name not in self._inodes:
            self._inodes[name] = row
            file["header"], file["pages"], file["inode"] = alloc(m.node), pages, m.sys[core.NEXT_INODE]
            m.sys[core.NEXT_INODE] += 1
        else:
            first = m.file[self._inodes[name]]
            file["header"], file["pages"], file["inode"] = first["header"], first["pages"], first["inode"]
        file["number"] = m.sys[core.NEXT_FILE]
        m.sys[core.NEXT_FILE] += 1
        file["readable"], file["writable"], file["anonymous"], file["vmas"] = readable, writable, 0, 0
        self._names[row] = name
        return File(row, int(file["number"]), name)

    def name_of(self, row: int) -> str:
        """Name of a file by its row, as in maps: that of shared anonymous memory is ``/dev/zero (deleted)``."""
        return "" if row == 0 else self._names.get(row, "/dev/zero (deleted)")

    def _header(self, name: str) -> int:
        if name not in self._inodes:
            raise UsageError(f"no file {name!r} has been opened: {nearest(name, self._inodes)}")
        return int(self.memory.file[self._inodes[name]]["header"])

    def pin(self, name: str, page: int, pages: int) -> int:
        """Put a pinned range into a file's tree, among the VMAs: Kara's virtual VMA; returns its node."""
        header = self._header(name)
        self._pins += 1
        self.reserve(0)
        m = self.memory
        n = int(alloc(m.node))
        row = m.node[n]
        row["kind"], row["start"], row["last"], row["pages_left"] = KIND_PINNED, page, page + pages - 1, pages
        insert(m.node, m.sys, header, n)
        return n

    def unpin(self, name: str, node: int) -> None:
        """Take it out."""
        remove(self.memory.node, self.memory.sys, self._header(name), node)
        free(self.memory.node, node)
        self._pins -= 1

    def rmap(self, name: str, page: int) -> Rmap:
        """Walk a file's tree over one page, as page_mkclean and try_to_unmap do."""
        found = np.zeros(len(Rmap._fields), np.int64)
        walk(self.memory, self._header(name), page, found)
        return Rmap(*found.tolist())


def _longer(rows: np.ndarray, number: int, link: str, sys: np.ndarray, head: int) -> np.ndarray:
    """Lengthen an array to so many rows and one; the new ones go onto its free list, lowest first."""
    longer = np.zeros(max(number + 1, len(rows)), rows.dtype)
    longer[: len(rows)] = rows
    for row in range(len(longer) - 1, len(rows) - 1, -1):
        longer[row][link] = sys[head]
        sys[head] = row
    return longer
