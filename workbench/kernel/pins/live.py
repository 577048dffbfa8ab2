"""The running kernel: the system calls that `predicted` stands for, on memory and files of our own, and what they did.

The file has no name (O_TMPFILE), is on ext4, and all its blocks are written before anything else. Each of its pages is
mapped by a VMA of its own, next to each other: a read fault maps what is cached around it within its VMA (v6.12
mm/memory.c do_fault_around), which the model doesn't.

Each CPU has queues of pages that wait to be put on the LRU or moved in it, and each such page has a reference more
meanwhile (mm/swap.c folio_batch_add_and_move), so that reclaim can't take it. The model has no such queues; `drain`
empties them.
"""

import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import signal
import struct
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.kernel.libc import call
from workbench.kernel.needs import Unavailable
from workbench.kernel.pins.fuse import MOST_BYTES, PATIENCE, SlowFile
from workbench.kernel.pins.io_uring import Ring
from workbench.kernel.pins.pages import (
    KPF_ANON_EXCLUSIVE,
    KPF_DIRTY,
    KPF_LRU,
    KPF_PRIVATE,
    KPF_WRITEBACK,
    PAGE,
    Memory,
    Proc,
)
from workbench.kernel.pins.predicted import PageState

MADV_PAGEOUT, MADV_NOHUGEPAGE = 21, 15
_SYNC_WRITE, _SYNC_WAIT_AFTER = 2, 4
_WARM_UPS = 8
_TAKEN_UP = 5.0  # seconds in which the server must have taken a request up
_FIRST = 0x10  # byte that the file's pages begin with


def ext4_folder() -> Path:
    """A folder on ext4 where files without a name can be made: for temporary files, the current one, or the home.

    Raises
    ------
    Unavailable
    """
    for folder in (Path(tempfile.gettempdir()), Path.cwd(), Path.home()):
        if _file_system(folder) != "ext4":
            continue
        with contextlib.suppress(OSError):
            os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))
            return folder
    raise Unavailable("needs a folder on ext4 that can be written to, for temporary files (TMPDIR)")


def _file_system(folder: Path) -> str:
    """Type of the file system that a folder is on, by its device number in ``/proc/self/mountinfo``."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[2] == wanted:
            return words[words.index("-") + 1]
    return ""


def _faults() -> int:
    """Page faults of this thread so far."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_minflt + usage.ru_majflt


class Live:
    """A file of a few pages and a few anonymous pages, with everything that can be done to them.

    Parameters
    ----------
    pages, anons : int
        Pages of the file, and anonymous ones, each of which is a mapping of its own.
    patience : float
        Seconds for which a read may be held without a word from us.

    Attributes
    ----------
    proc : Proc
    ring : Ring
    slow : SlowFile
    """

    def __init__(self, pages: int = 4, anons: int = 0, patience: float = PATIENCE) -> None:
        self.pages = pages
        self._stack = contextlib.ExitStack()
        try:
            self.proc = self._needed("to read the kernel's page flags", Proc)
            self.slow = self._needed("a FUSE mount of its own", lambda: SlowFile(patience))
            self.ring = self._needed("io_uring", Ring)
            self._registered = False
            self._stack.callback(self.unregister)
            self._stack.callback(self._complete_all)
            self._stack.callback(self._end_child)
            self._stack.callback(self.unsplice)
            self._child: tuple[int, int] | None = None  # pid, and a pipe that keeps it waiting
            self._held: dict[int, list[int]] = {}  # tag -> offsets in the slow file
            self._pipes: list[int] = []  # with references to pages in them
            self._lay_out_file()
            self.anons = [self._anon() for _ in range(anons)]
            self._last_pfn: dict[int, int] = {}
            self._gone: set[int] = set()  # pages that were not in the page cache when they were looked at last
        except BaseException:
            self.close()
            raise

    def _needed(self, what: str, make: Callable[[], Any]) -> Any:
        """Make what can't be had everywhere, root or not: in a container, say."""
        try:
            return self._closing(make())
        except OSError as error:
            raise Unavailable(f"needs {what}: {os.strerror(error.errno or 0)}") from None

    def _closing(self, thing: Any) -> Any:
        self._stack.callback(thing.close)
        return thing

    def _lay_out_file(self) -> None:
        folder = ext4_folder()
        self.fd = self._open_file(folder)
        for page in range(self.pages):
            os.pwrite(self.fd, bytes([_FIRST]) * PAGE, page * PAGE)
        os.fsync(self.fd)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        self._scratch_fd = self._open_file(folder)
        os.pwrite(self._scratch_fd, b"x", 0)
        os.fsync(self._scratch_fd)  # under writeback it would be passed over, and nothing drained
        self._closing(Memory(1, self._scratch_fd, mmap.MAP_SHARED)).load()
        self._disk = os.open(f"/proc/self/fd/{self.fd}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        self._stack.callback(os.close, self._disk)
        self._sector = self._closing(Memory(1))
        self.file = self._closing(Memory(self.pages, protection=0))
        for page in range(self.pages):
            own = os.open(f"/proc/self/fd/{self.fd}", os.O_RDWR | os.O_CLOEXEC)
            try:
                self._map(self.file.address + page * PAGE, own, page)
            finally:
                os.close(own)
        for page in range(self.pages):
            self.load(page)

    def _open_file(self, folder: Path) -> int:
        """A file without a name."""
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._stack.callback(os.close, fd)
        return fd

    def _map(self, address: int, fd: int, page: int) -> None:
        fixed = 0x10
        call("mmap", address, PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | fixed, fd, page * PAGE)
        call("madvise", address, PAGE, mmap.MADV_RANDOM)

    def _anon(self) -> Memory:
        memory = self._closing(Memory(1))
        memory.advise(MADV_NOHUGEPAGE)
        memory.store(1)
        return memory

    def close(self) -> None:
        """End everything that is held, and give all back."""
        self._stack.close()

    # ---- pins

    def pin(self, tag: int, address: int, pages: int = 1, buffer: int = -1) -> bool:
        """Begin a direct read from the slow file into memory; whether its pages are pinned and it is held.

        Parameters
        ----------
        tag, address, pages : int
        buffer : int
            Of the registered buffer that the memory is in: nothing is pinned. -1: none.
        """
        offset, size = self.slow.next_offset(), pages * PAGE
        self.ring.read(tag, self.slow.fd, offset, address, size, buffer)
        requests = [offset + at for at in range(0, size, MOST_BYTES)]
        if not all(self._is_held(tag, request) for request in requests):
            self.ring.wait(tag)
            return False
        self._held[tag] = requests
        return True

    def _is_held(self, tag: int, request: int) -> bool:
        """Whether the server has the request; it never will if the read has failed."""
        until = time.monotonic() + _TAKEN_UP
        while tag not in self.ring.finished() and time.monotonic() < until:
            if self.slow.wait_for(request, 0.002):
                return True
        return False

    def complete(self, tag: int, byte: int) -> int | None:
        """Have a read that is held end; what it returns."""
        for request in self._held.pop(tag):
            self.slow.reply(request, byte)
        return self.ring.wait(tag)

    def _complete_all(self) -> None:
        """Have all reads end that are held: their pins are gone then, which a later abort would not promise."""
        for tag in list(self._held):
            with contextlib.suppress(OSError):  # the server has lost its patience, and all has ended
                self.complete(tag, 0)

    def register(self, address: int, pages: int = 1) -> bool:
        """Register a buffer with io_uring: a long-term pin; whether that succeeds."""
        try:
            self.ring.register((address, pages * PAGE))
        except OSError:
            return False
        self._registered = True
        return True

    def unregister(self) -> None:
        """Give the buffer back, if there is one: the end of the ring would do so only a little later."""
        if self._registered:
            self._registered = False
            self.ring.unregister()

    def splice(self, address: int, times: int = 1) -> None:
        """Take plain references (FOLL_GET) on a page: vmsplice(2) of it into pipes, until `unsplice`."""
        while times:
            reader, writer = os.pipe()
            self._pipes += reader, writer
            now = min(times, fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) // PAGE)
            table = struct.pack("=QQ", address, PAGE) * now
            memory = ctypes.create_string_buffer(table, len(table))
            if call("vmsplice", writer, ctypes.addressof(memory), now, 0) != now * PAGE:
                raise OSError("vmsplice: not all was taken")
            times -= now

    def unsplice(self) -> None:
        """Give them back."""
        while self._pipes:
            os.close(self._pipes.pop())

    # ---- the CPU

    def store(self, page: int, byte: int) -> int:
        """Write to a page of the file; how many faults that takes."""
        for _ in range(_WARM_UPS):  # after a fork our own memory is shared, and each page that we write to faults
            if self._faults_of_store(self._sector, 0, 0) == 0:
                break
        return self._faults_of_store(self.file, page, byte)

    def _faults_of_store(self, memory: Memory, page: int, byte: int) -> int:
        before = _faults()
        memory.store(byte, page)
        return _faults() - before

    def load(self, page: int) -> int:
        """Read from a page of the file; its first byte."""
        return self.file.load(page)

    def unmap(self, page: int) -> None:
        """MADV_DONTNEED."""
        self.file.advise(mmap.MADV_DONTNEED, page)

    def mlock(self, page: int) -> None:
        """mlock(2) and munlock(2)."""
        address = self.file.address + page * PAGE
        call("mlock", address, PAGE)
        call("munlock", address, PAGE)

    def fork(self) -> None:
        """Fork; the child waits for `child_exit`.

        Signals are held back meanwhile: the interpreter loses what they raise in its hooks around a fork.
        """
        reader, writer = os.pipe()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            with warnings.catch_warnings():  # the child only waits, whatever threads there are
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:  # goes when the last writer is closed: by us, or with us
                try:
                    os.close(writer)
                    os.read(reader, 1)
                finally:
                    os._exit(0)
            os.close(reader)
            self._child = pid, writer
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def child_exit(self) -> None:
        """Have the child exit."""
        if self._child:
            (pid, writer), self._child = self._child, None  # first: an interrupt may come, and `close` after it
            os.close(writer)
            os.waitpid(pid, 0)

    _end_child = child_exit

    # ---- cleaning, reclaim, truncation

    def fsync(self) -> None:
        """fsync(2)."""
        os.fsync(self.fd)

    def fdatasync(self) -> None:
        """fdatasync(2)."""
        os.fdatasync(self.fd)

    def msync(self, pages: int) -> None:
        """msync(2), MS_SYNC, of the first pages."""
        call("msync", self.file.address, pages * PAGE, 4)

    def sync_file_range(self, pages: int) -> None:
        """sync_file_range(2) of the first pages, which waits for what it has begun to write."""
        call("sync_file_range", self.fd, 0, pages * PAGE, _SYNC_WRITE | _SYNC_WAIT_AFTER)

    def pageout(self, page: int) -> None:
        """MADV_PAGEOUT."""
        self.file.advise(MADV_PAGEOUT, page)

    def drop(self) -> None:
        """sync_file_range(2) of all, then POSIX_FADV_DONTNEED."""
        self.sync_file_range(self.pages)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def truncate(self) -> None:
        """ftruncate(2) to nothing."""
        os.ftruncate(self.fd, 0)

    def extend(self) -> None:
        """ftruncate(2) to the old length."""
        os.ftruncate(self.fd, self.pages * PAGE)

    # ---- what is to be seen

    def drain(self) -> None:
        """Empty all CPUs' queues for the LRU: POSIX_FADV_DONTNEED of a mapped page does (v6.12 mm/fadvise.c)."""
        os.posix_fadvise(self._scratch_fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def page(self, number: int) -> PageState:
        """A page of the file; its frame is known while it is mapped, and then as long as it stays in the cache."""
        address = self.file.address + number * PAGE
        pfn = self.proc.pfn(address)
        mapped = pfn is not None
        cached = mapped or self.proc.cached(address)
        if pfn is not None:
            self._last_pfn[number] = pfn
        elif not cached:
            return self._orphan(number)
        elif number in self._gone:  # it has come back, perhaps in another frame
            self._last_pfn.pop(number, None)
        self._gone.discard(number)
        pfn = self._last_pfn.get(number)
        if pfn is None:
            return PageState(cached=True, mapped=False)
        frame = self.proc.frame(pfn)
        return PageState(
            cached=True,
            mapped=mapped,
            dirty=frame.has(KPF_DIRTY),
            writeback=frame.has(KPF_WRITEBACK),
            lru=frame.has(KPF_LRU),
            buffers=frame.has(KPF_PRIVATE),
            mapcount=frame.mapcount,
            frame=pfn,
        )

    def _orphan(self, number: int) -> PageState:
        """A page that is not in the file: its last frame, which may be another's by now, unless a pin holds it."""
        self._gone.add(number)
        pfn = self._last_pfn.get(number)
        if pfn is None:
            return PageState(cached=False, mapped=False)
        frame = self.proc.frame(pfn)
        return PageState(
            cached=False,
            mapped=False,
            lru=frame.has(KPF_LRU),
            buffers=frame.has(KPF_PRIVATE),
            mapcount=frame.mapcount,
        )

    def anon(self, number: int) -> PageState:
        """An anonymous page, which is always there."""
        address = self.anons[number].address
        pfn = self.proc.pfn(address)
        if pfn is None:
            return PageState(cached=False, mapped=False)
        frame = self.proc.frame(pfn)
        return PageState(
            cached=True,
            mapped=True,
            exclusive=frame.has(KPF_ANON_EXCLUSIVE),
            mapcount=frame.mapcount,
            frame=pfn,
            child=self.child_pfn(address),
        )

    def child_pfn(self, address: int) -> int | None:
        """Frame that the child's PTE names."""
        if not self._child:
            return None
        with open(f"/proc/{self._child[0]}/pagemap", "rb", buffering=0) as pagemap:
            entry = int.from_bytes(os.pread(pagemap.fileno(), 8, address // PAGE * 8), "little")
        return entry & (1 << 55) - 1 if entry >> 63 else None

    def on_disk(self, page: int) -> int:
        """First byte of a page on disk: by a direct read, which first writes the page back if it is dirty."""
        if call("pread", self._disk, self._sector.address, PAGE, page * PAGE) != PAGE:
            return -1
        return self._sector.load()

    def in_memory(self, page: int) -> int:
        """First byte of a page in the page cache."""
        return (os.pread(self.fd, 1, page * PAGE) or b"\0")[0]
