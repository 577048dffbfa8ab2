"""Address spaces: what mmap(2) and its like do to VMAs, with the kernel's results and errors.

The rules are those of `workbench.mm.vma_core`, `vma_merge` and `vma_calls`; docs/model.md §14 says them, and what
is left out. Here are the calls in bytes, as a program makes them, and what ``/proc/PID/maps`` and ``smaps`` would show.
"""

import errno
import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from workbench.errors import UsageError, nearest
from workbench.mm import vma_calls as calls
from workbench.mm import vma_core as core
from workbench.mm.interval_tree import KIND_PINNED, NODE, alloc, free, free_list_init, insert, remove
from workbench.mm.vma_draw import Row, draw
from workbench.mm.vma_rmap import walk

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
TASK_PAGES = (1 << 47 >> PAGE_SHIFT) - 1  # x86-64, four levels

# VmFlags of smaps, in the order of the bits (v6.12 fs/proc/task_mmu.c show_smap_vma_flags).
VM_FLAGS = {
    core.VM_READ: "rd", core.VM_WRITE: "wr", core.VM_EXEC: "ex", core.VM_SHARED: "sh", core.VM_MAYREAD: "mr",
    core.VM_MAYWRITE: "mw", core.VM_MAYEXEC: "me", core.VM_MAYSHARE: "ms", core.VM_LOCKED: "lo",
    core.VM_SEQ_READ: "sr", core.VM_RAND_READ: "rr", core.VM_DONTCOPY: "dc", core.VM_LOCKONFAULT: "lf",
    core.VM_ACCOUNT: "ac", core.VM_NORESERVE: "nr", core.VM_WIPEONFORK: "wf", core.VM_DONTDUMP: "dd",
    core.VM_HUGEPAGE: "hg", core.VM_NOHUGEPAGE: "nh", core.VM_MERGEABLE: "mg",
}  # fmt: skip
SINCE = {"unfaulted_target": (6, 16), "move_several": (6, 17)}


_SHOWN = ("vm_start", "vm_end", "vm_pgoff", "vm_flags", "vm_file", "anon_vma")


class File(NamedTuple):
    """A struct file: what open() makes, and dup() shares."""

    row: int
    number: int
    name: str


class MapsRow(NamedTuple):
    """A line of ``/proc/PID/maps``; `start` and `end` in bytes, `pgoff` in pages."""

    start: int
    end: int
    perms: str
    pgoff: int
    file: str


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


def vm_flags_text(flags: int) -> str:
    """``VmFlags`` as in smaps, such as ``rd wr mr mw me ac``."""
    return " ".join(name for bit, name in VM_FLAGS.items() if flags & bit)


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

    def open(self, name: str, pages: int = 256, writable: bool = True) -> File:
        """Open a file, once more if it has been opened before; dup() is to use the same `File` twice.

        Parameters
        ----------
        name : str
            Names the inode.
        pages : int
            Its size, when it is opened for the first time.
        writable : bool
            Opened for reading and writing, or for reading only.
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
        file["writable"], file["anonymous"], file["vmas"] = writable, 0, 0
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


class AddressSpace:
    """An address space: calls raise `OSError` with the kernel's errno, and otherwise return what the kernel does.

    Parameters
    ----------
    machine : Machine, optional
        Where its files are; by default a new one.
    """

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = machine or Machine()
        self.mm = self.machine.new_space()

    def _call(self, name: str, *arguments: int) -> int:
        self.machine.reserve(self.mm)
        result = int(getattr(calls, name)(self.machine.memory, self.mm, *arguments))
        if result < 0:
            raise OSError(-result, f"{name}: {os.strerror(-result)}")
        return result

    def mmap(self, address: int | None, length: int, prot: int, flags: int, file: File | None = None,
             offset: int = 0) -> int:  # fmt: skip
        """mmap(2); without an address: the highest place that is free.

        Parameters
        ----------
        address, length, offset : int
            In bytes.
        prot, flags : int
            ``PROT_*``, ``MAP_*``. An address needs MAP_FIXED or MAP_FIXED_NOREPLACE: a hint is not modelled.
        file : File, optional
            None: anonymous.

        Returns
        -------
        int
            The address.
        """
        fixed = flags & (calls.MAP_FIXED | calls.MAP_FIXED_NOREPLACE)
        if address is not None and not fixed:
            raise UsageError("mmap: an address needs MAP_FIXED or MAP_FIXED_NOREPLACE; hints are not modelled")
        if bool(flags & calls.MAP_ANONYMOUS) == (file is not None):
            raise UsageError("mmap: give a file, or MAP_ANONYMOUS")
        page = _page("mmap", address or 0)
        row = file.row if file else 0
        pgoff = _page("mmap", offset)
        return self._call("mmap", page, _pages(length), prot, flags, row, pgoff) << PAGE_SHIFT

    def munmap(self, address: int, length: int) -> None:
        """munmap(2)."""
        self._call("munmap", _page("munmap", address), _pages(length))

    def mprotect(self, address: int, length: int, prot: int) -> None:
        """mprotect(2)."""
        self._call("mprotect", _page("mprotect", address), _pages(length), prot)

    def mlock(self, address: int, length: int) -> None:
        """mlock(2); RLIMIT_MEMLOCK is not modelled. The address need not be that of a page."""
        self._call("mlock", *_whole(address, length), core.VM_LOCKED)

    def mlock2(self, address: int, length: int, flags: int) -> None:
        """mlock2(2), with or without MLOCK_ONFAULT."""
        if flags & ~1:
            raise OSError(errno.EINVAL, "mlock2: Invalid argument")
        self._call("mlock", *_whole(address, length), core.VM_LOCKED_MASK if flags else core.VM_LOCKED)

    def munlock(self, address: int, length: int) -> None:
        """munlock(2)."""
        self._call("munlock", *_whole(address, length))

    def madvise(self, address: int, length: int, advice: int) -> None:
        """madvise(2): the advices of `workbench.mm.vma_calls.ADVICE`; EINVAL for any other."""
        if advice not in calls.ADVICE.values():
            raise OSError(errno.EINVAL, "madvise: Invalid argument")
        self._call("madvise", _page("madvise", address), _pages(length), advice)

    def mremap(self, address: int, old_length: int, new_length: int, flags: int, new_address: int = 0) -> int:
        """mremap(2); the new address counts with MREMAP_FIXED only.

        Returns
        -------
        int
            The address where it is now.
        """
        if flags & ~7:
            raise OSError(errno.EINVAL, "mremap: Invalid argument")
        page, to = _page("mremap", address), _page("mremap", new_address)
        return self._call("mremap", page, _pages(old_length), _pages(new_length), flags, to) << PAGE_SHIFT

    def touch(self, address: int, write: bool = False) -> None:
        """Read or write a byte; EFAULT stands for the signal that the program would get."""
        self._call("touch", address >> PAGE_SHIFT, int(write))

    def fork(self) -> "AddressSpace":
        """fork(2): the child's address space."""
        self.machine.reserve(self.mm)
        child = AddressSpace(self.machine)
        calls.fork(self.machine.memory, self.mm, child.mm)
        return child

    def exit(self) -> None:
        """Unmap everything."""
        self._call("munmap", 0, TASK_PAGES)

    def rows(self) -> list[Row]:
        """Give all VMAs, by address, in pages."""
        m = self.machine.memory
        found = []
        for i in range(int(m.counts[self.mm])):
            vma = m.vma[m.order[self.mm, i]]
            start, end, pgoff, flags, file, anon = (int(vma[name]) for name in _SHOWN)
            number = int(m.file[file]["number"]) if file else -1
            found.append(Row(start, end, vm_flags_text(flags), pgoff, number, self.machine.name_of(file), anon))
        return found

    def maps(self) -> list[MapsRow]:
        """Lines of ``/proc/PID/maps``: the offset of anonymous private memory is not shown (0)."""
        return [
            MapsRow(r.start << PAGE_SHIFT, r.end << PAGE_SHIFT, r.perms, 0 if r.file < 0 else r.pgoff, r.name)
            for r in self.rows()
        ]

    def smaps(self) -> list[tuple[int, str]]:
        """Address and ``VmFlags`` of each VMA, as in ``/proc/PID/smaps``."""
        return [(r.start << PAGE_SHIFT, r.flags) for r in self.rows()]

    def picture(self, address: int | None = None, length: int | None = None) -> str:
        """Draw a part of it, by default from its first page to its last; see `workbench.mm.vma_draw.draw`."""
        rows = self.rows()
        first = address >> PAGE_SHIFT if address is not None else rows[0].start if rows else 0
        pages = _pages(length) if length is not None else rows[-1].end - first if rows else 0
        return draw(rows, first, pages)


def _page(call: str, address: int) -> int:
    """Page of an address, which has to be that of a page."""
    if address % PAGE_SIZE:
        raise OSError(errno.EINVAL, f"{call}: Invalid argument")
    return address >> PAGE_SHIFT


def _pages(length: int) -> int:
    return (length + PAGE_SIZE - 1) >> PAGE_SHIFT


def _whole(address: int, length: int) -> tuple[int, int]:
    """First page, and number of pages, of all pages that a range touches."""
    first = address >> PAGE_SHIFT
    return first, _pages(address + length) - first if length else 0
