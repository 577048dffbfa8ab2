"""Address spaces: what mmap(2) and its like do to VMAs, with the kernel's results and errors.

The rules are those of `workbench.mm.vma_merge`, `vma_calls`, `vma_advice` and `vma_move`; docs/model.md §14 says them,
and what is left out. Here are the calls in bytes, as a program makes them, and what ``/proc/PID/maps`` and ``smaps``
would show.
"""

import errno
import os
from typing import Any, NamedTuple

from workbench.errors import UsageError
from workbench.mm import vma_advice, vma_calls, vma_move
from workbench.mm import vma_core as core
from workbench.mm.vma_draw import Row, draw
from workbench.mm.vma_machine import PAGE_SHIFT, File, Machine

PAGE_SIZE = 1 << PAGE_SHIFT

# VmFlags of smaps, in the order of the bits (v6.12 fs/proc/task_mmu.c show_smap_vma_flags).
VM_FLAGS = {
    core.VM_READ: "rd", core.VM_WRITE: "wr", core.VM_EXEC: "ex", core.VM_SHARED: "sh", core.VM_MAYREAD: "mr",
    core.VM_MAYWRITE: "mw", core.VM_MAYEXEC: "me", core.VM_MAYSHARE: "ms", core.VM_LOCKED: "lo",
    core.VM_SEQ_READ: "sr", core.VM_RAND_READ: "rr", core.VM_DONTCOPY: "dc", core.VM_LOCKONFAULT: "lf",
    core.VM_ACCOUNT: "ac", core.VM_NORESERVE: "nr", core.VM_WIPEONFORK: "wf", core.VM_DONTDUMP: "dd",
    core.VM_HUGEPAGE: "hg", core.VM_NOHUGEPAGE: "nh", core.VM_MERGEABLE: "mg",
}  # fmt: skip

_SHOWN = ("vm_start", "vm_end", "vm_pgoff", "vm_flags", "vm_file", "anon_vma")


class MapsRow(NamedTuple):
    """A line of ``/proc/PID/maps``; `start` and `end` in bytes, `pgoff` in pages."""

    start: int
    end: int
    perms: str
    pgoff: int
    file: str


def vm_flags_text(flags: int) -> str:
    """``VmFlags`` as in smaps, such as ``rd wr mr mw me ac``."""
    return " ".join(name for bit, name in VM_FLAGS.items() if flags & bit)


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

    def _call(self, call: Any, *arguments: int) -> int:
        self.machine.reserve(self.mm)
        result = int(call(self.machine.memory, self.mm, *arguments))
        if result < 0:
            raise OSError(-result, f"{call.__name__}: {os.strerror(-result)}")
        return result

    def mmap(self, address: int | None, length: int, prot: int, flags: int, file: File | None = None,
             offset: int = 0) -> int:  # fmt: skip
        """mmap(2); without an address: the highest place that is free.

        Parameters
        ----------
        address, length, offset : int
            In bytes.
        prot, flags : int
            ``PROT_*``, ``MAP_*`` of `workbench.mm.vma_calls`. An address needs MAP_FIXED or MAP_FIXED_NOREPLACE: a hint
            is not modelled.
        file : File, optional
            None: anonymous.

        Returns
        -------
        int
            The address.

        Raises
        ------
        UsageError
            For what is not modelled.
        """
        if flags & ~vma_calls.MODELLED or flags & 3 == 3:
            raise UsageError(f"mmap: flags {flags:#x}: only {vma_calls.MODELLED:#x} are modelled, and 1 or 2 of 3")
        fixed = flags & (vma_calls.MAP_FIXED | vma_calls.MAP_FIXED_NOREPLACE)
        if address is not None and not fixed:
            raise UsageError("mmap: an address needs MAP_FIXED or MAP_FIXED_NOREPLACE; hints are not modelled")
        if bool(flags & vma_calls.MAP_ANONYMOUS) == (file is not None):
            raise UsageError("mmap: give a file, or MAP_ANONYMOUS")
        page = _page("mmap", address or 0)
        row = file.row if file else 0
        pgoff = _page("mmap", offset)
        return self._call(vma_calls.mmap, page, _pages(length), prot, flags, row, pgoff) << PAGE_SHIFT

    def munmap(self, address: int, length: int) -> None:
        """munmap(2)."""
        self._call(vma_calls.munmap, _page("munmap", address), _pages(length))

    def mprotect(self, address: int, length: int, prot: int) -> None:
        """mprotect(2)."""
        self._call(vma_calls.mprotect, _page("mprotect", address), _pages(length), prot)

    def mlock(self, address: int, length: int) -> None:
        """mlock(2); RLIMIT_MEMLOCK is not modelled. The address need not be that of a page."""
        self._call(vma_calls.mlock, *_whole(address, length), core.VM_LOCKED)

    def mlock2(self, address: int, length: int, flags: int) -> None:
        """mlock2(2), with or without MLOCK_ONFAULT."""
        if flags & ~1:
            raise OSError(errno.EINVAL, "mlock2: Invalid argument")
        self._call(vma_calls.mlock, *_whole(address, length), core.VM_LOCKED_MASK if flags else core.VM_LOCKED)

    def munlock(self, address: int, length: int) -> None:
        """munlock(2)."""
        self._call(vma_calls.munlock, *_whole(address, length))

    def madvise(self, address: int, length: int, advice: int) -> None:
        """madvise(2): the advices of `workbench.mm.vma_advice.ADVICE`; EINVAL for any other."""
        if advice not in vma_advice.ADVICE.values():
            raise OSError(errno.EINVAL, "madvise: Invalid argument")
        self._call(vma_advice.madvise, _page("madvise", address), _pages(length), advice)

    def mremap(self, address: int, old_length: int, new_length: int, flags: int, new_address: int = 0) -> int:
        """mremap(2); the new address counts with MREMAP_FIXED only.

        Returns
        -------
        int
            The address where it is now.
        """
        if flags & ~7:
            raise OSError(errno.EINVAL, "mremap: Invalid argument")
        page = _page("mremap", address)
        to = _page("mremap", new_address) if flags & (vma_move.MREMAP_FIXED | vma_move.MREMAP_DONTUNMAP) else 0
        return self._call(vma_move.mremap, page, _pages(old_length), _pages(new_length), flags, to) << PAGE_SHIFT

    def touch(self, address: int, write: bool = False) -> None:
        """Read or write a byte; EFAULT stands for the signal that the program would get."""
        self._call(vma_calls.touch, address >> PAGE_SHIFT, int(write))

    def fork(self) -> "AddressSpace":
        """fork(2): the child's address space."""
        self.machine.reserve(self.mm)
        child = AddressSpace(self.machine)
        vma_move.fork(self.machine.memory, self.mm, child.mm)
        return child

    def exit(self) -> None:
        """Unmap everything."""
        self._call(vma_calls.munmap, 0, int(self.machine.memory.sys[core.HIGH]))

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
