"""What the kernel shows of its pages, and of pins.

``/proc/self/pagemap`` (which frame a PTE names), ``/proc/kpageflags``, ``/proc/kpagecount`` (the kernel's
Documentation/admin-guide/mm/pagemap.rst), mincore(2), and nr_foll_pin_acquired and nr_foll_pin_released of
``/proc/vmstat``, which count FOLL_PIN by base pages and are exact after a read of ``/proc/sys/vm/stat_refresh`` (seen
on Linux 6.18). They are of the whole system.
"""

import ctypes
import mmap
import os
import struct
from dataclasses import dataclass

from workbench.kernel.libc import call

PAGE = mmap.PAGESIZE
# include/uapi/linux/kernel-page-flags.h and include/linux/kernel-page-flags.h; PG_anon_exclusive is PG_mappedtodisk
KPF_DIRTY, KPF_LRU, KPF_WRITEBACK, KPF_THP, KPF_ANON_EXCLUSIVE, KPF_PRIVATE = 4, 5, 8, 22, 34, 35
_PRESENT, _FRAME = 1 << 63, (1 << 55) - 1


@dataclass(frozen=True)
class Frame:
    """A page frame as ``/proc/kpageflags`` and ``/proc/kpagecount`` show it."""

    pfn: int
    flags: int
    mapcount: int

    def has(self, flag: int) -> bool:
        """Whether a flag (``KPF_*``) is set."""
        return bool(self.flags >> flag & 1)


class Proc:
    """The files in ``/proc``, kept open."""

    def __init__(self) -> None:
        self._pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        self._flags = os.open("/proc/kpageflags", os.O_RDONLY | os.O_CLOEXEC)
        self._count = os.open("/proc/kpagecount", os.O_RDONLY | os.O_CLOEXEC)
        self._vmstat = os.open("/proc/vmstat", os.O_RDONLY | os.O_CLOEXEC)
        self._resident = ctypes.create_string_buffer(1)

    def close(self) -> None:
        """Close them."""
        for fd in (self._pagemap, self._flags, self._count, self._vmstat):
            os.close(fd)

    def pfn(self, address: int) -> int | None:
        """Frame that the PTE names, or None: there is no PTE."""
        (entry,) = struct.unpack("=Q", os.pread(self._pagemap, 8, address // PAGE * 8))
        return entry & _FRAME if entry & _PRESENT else None

    def frame(self, pfn: int) -> Frame:
        """What is to be seen of a frame."""
        (flags,) = struct.unpack("=Q", os.pread(self._flags, 8, pfn * 8))
        (count,) = struct.unpack("=Q", os.pread(self._count, 8, pfn * 8))
        return Frame(pfn, flags, count)

    def cached(self, address: int) -> bool:
        """Whether the page is in the page cache, or mapped (mincore)."""
        call("mincore", address, PAGE, ctypes.addressof(self._resident))
        return bool(self._resident.raw[0] & 1)

    def pins(self) -> tuple[int, int]:
        """nr_foll_pin_acquired and nr_foll_pin_released."""
        with open("/proc/sys/vm/stat_refresh", "rb") as refresh:
            refresh.read()
        text = os.pread(self._vmstat, 1 << 16, 0)
        found = []
        for name in (b"nr_foll_pin_acquired ", b"nr_foll_pin_released "):
            start = text.index(name) + len(name)
            found.append(int(text[start : text.index(b"\n", start)]))
        return found[0], found[1]


class Memory:
    """Pages of our own.

    Parameters
    ----------
    pages : int
    fd : int
        -1: anonymous.
    flags : int
    protection : int
    """

    def __init__(
        self,
        pages: int,
        fd: int = -1,
        flags: int = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
        protection: int = mmap.PROT_READ | mmap.PROT_WRITE,
    ) -> None:
        self.size = pages * PAGE
        self.address = call("mmap", 0, self.size, protection, flags, fd, 0)

    def advise(self, advice: int, page: int = 0, pages: int = 1) -> None:
        """madvise(2)."""
        call("madvise", self.address + page * PAGE, pages * PAGE, advice)

    def store(self, byte: int, page: int = 0) -> None:
        """Write a byte at the beginning of a page."""
        ctypes.memset(self.address + page * PAGE, byte, 1)

    def load(self, page: int = 0) -> int:
        """Read the byte at the beginning of a page."""
        return ctypes.string_at(self.address + page * PAGE, 1)[0]

    def close(self) -> None:
        """Unmap."""
        call("munmap", self.address, self.size)


def counters_there() -> bool:
    """Whether the kernel counts pins (since Linux 5.7), and lets one read the counters exactly."""
    with open("/proc/vmstat", "rb") as vmstat:
        return b"nr_foll_pin_acquired " in vmstat.read() and os.path.exists("/proc/sys/vm/stat_refresh")
