"""What operations of the running kernel cost: pins, faults, locks of memory, forks, and VMAs by how many there are.

Each function measures once and gives nanoseconds by name; `calibrate` calls them again and again. A cost per page is
the slope of the medians over the number of pages in a call, so that what a call costs by itself is not in it; a cost
of a single call is less that of an empty one (getppid).
"""

import fcntl
import itertools
import os
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from workbench.accelerate import JIT_ENABLED
from workbench.kernel import libc, needs
from workbench.kernel.calls import WALL, Calls, addresses, iovec
from workbench.kernel.needs import Unavailable

PAGE = os.sysconf("SC_PAGE_SIZE")
READ, WRITE = 1, 2  # PROT_
SHARED, PRIVATE, ANONYMOUS, FIXED_NOREPLACE = 0x01, 0x02, 0x20, 0x100000  # MAP_
DONTNEED, HUGEPAGE, NOHUGEPAGE, POPULATE_WRITE, COLLAPSE = 4, 14, 15, 23, 25  # MADV_
IO_URING_SETUP, IO_URING_REGISTER = 425, 427
BUFFERS, UNREGISTER_BUFFERS = 0, 1  # IORING_
SYNC_FILE_RANGE_WRITE = 2
GIB, TIB = 1 << 30, 1 << 40
EXT4 = 0xEF53  # EXT4_SUPER_MAGIC, linux/magic.h
Found = dict[str, float]


class Scale(NamedTuple):
    """How much is measured.

    Attributes
    ----------
    repeats : int
        Of each call, for the median.
    pages : tuple of int
        In one call: the points of a slope. At most 256, which a pipe of 1 MiB takes.
    huge : tuple of int
        Huge pages in one call.
    fork_pages : int
        Present pages at a fork, and those that faults are taken for.
    file_pages : int
        Dirty pages of a file that are written by one call.
    vmas : tuple of int
        How many there are.
    """

    repeats: int = 101
    pages: tuple[int, ...] = (16, 64, 128, 256)
    huge: tuple[int, ...] = (1, 2)
    fork_pages: int = 8192
    file_pages: int = 1024
    vmas: tuple[int, ...] = (10, 100, 1_000, 10_000, 30_000, 60_000)


# ---- memory and files


_places = itertools.count()


def _far(size: int) -> int:
    """Find addresses that nobody else will map: what is unmapped there and mapped again stays ours.

    The kernel looks for room from the top of the mappings, and finds it long before (vm_unmapped_area()).
    """
    top = libc.call("mmap", None, PAGE, 0, PRIVATE | ANONYMOUS, -1, 0)
    libc.call("munmap", top, PAGE)
    for place in itertools.islice(_places, 64):
        address = (top - TIB - (place % 128) * 4 * GIB) & -GIB
        with suppress(OSError):  # something is there
            libc.call("mmap", address, size, 0, PRIVATE | ANONYMOUS | FIXED_NOREPLACE, -1, 0)
            libc.call("munmap", address, size)
            return address
    raise Unavailable("needs free addresses a tebibyte below the other mappings")


@contextmanager
def memory(pages: int, huge: bool = False) -> Iterator[int]:
    """Map anonymous memory, present, of huge pages or of none; yields its address."""
    size = pages * PAGE
    address = _far(size)
    libc.call("mmap", address, size, READ | WRITE, PRIVATE | ANONYMOUS | FIXED_NOREPLACE, -1, 0)
    try:
        libc.call("madvise", address, size, HUGEPAGE if huge else NOHUGEPAGE)
        libc.call("madvise", address, size, POPULATE_WRITE)
        if huge:
            libc.call("madvise", address, size, COLLAPSE)
        yield address
    finally:
        libc.call("munmap", address, size)


def _huge_bytes() -> int:
    try:
        return int(Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").read_text())
    except OSError:
        raise Unavailable("needs transparent huge pages") from None


@contextmanager
def _ring() -> Iterator[int]:
    """Make an io_uring of our own, for its registered buffers; yields its file descriptor."""
    parameters = iovec(0, 0).repeat(8)  # struct io_uring_params, 120 bytes
    try:
        ring = libc.call("syscall", IO_URING_SETUP, 4, *addresses(parameters))
    except OSError as error:
        raise Unavailable(f"needs io_uring: {_told(error)}") from None
    try:
        yield ring
    finally:
        os.close(ring)


def _told(error: OSError) -> str:
    return os.strerror(error.errno or 0)


@contextmanager
def ext4_file(pages: int) -> Iterator[int]:
    """Open a file without a name on ext4, of so many pages, written; yields its descriptor.

    It is in the folder for temporary files or in the current one, and gone when it is closed, whatever happens.

    Raises
    ------
    Unavailable
        None of them is on ext4.
    """
    for folder in (os.environ.get("TMPDIR", "/tmp"), "/var/tmp", "."):
        with suppress(OSError):
            if _kind(folder) != EXT4:
                continue
            file = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
            try:
                for page in range(pages):  # one by one, or else a folio would hold many
                    os.pwrite(file, bytes(PAGE), page * PAGE)
                os.fsync(file)
                yield file
                return
            finally:
                os.close(file)
    raise Unavailable("needs ext4 in /tmp, /var/tmp or the current folder")


def _kind(folder: str) -> int:
    """Magic number of a file system: the first word of ``struct statfs`` on 64-bit machines."""
    room = iovec(0, 0).repeat(16)
    libc.call("statfs", os.fsencode(folder), *addresses(room))
    return int(room[0])


def slope(sizes: Sequence[int], times: Sequence[float]) -> float:
    """Least squares: what one more of `sizes` adds to `times`."""
    return statistics.linear_regression(sizes, times).slope


def _medians(calls: Calls, columns: int = 1) -> list[float]:
    """Median over repetitions of each of the timed steps."""
    return [statistics.median(column) for column in calls.run(columns).T.tolist()]


def _slopes(names: Sequence[str], sizes: Sequence[int], program: Callable[[Calls, int], None], repeats: int) -> Found:
    """Slope over `sizes` of each timed step of a program, which adds one repetition for a size."""
    columns = []
    for size in sizes:
        calls = Calls()
        for _ in range(repeats):
            program(calls, size)
        columns.append(_medians(calls, len(names)))
    return {name: slope(sizes, [c[i] for c in columns]) for i, name in enumerate(names)}


# ---- pins


def pins(scale: Scale) -> Found:
    """Long-term pins of 4 KiB pages: io_uring's registered buffers."""
    names = ["io_uring register, 4 KiB pages", "io_uring unregister, 4 KiB pages"]
    with memory(max(scale.pages)) as address, _ring() as ring:
        return _registered(names, scale.pages, address, ring, scale.repeats)


def huge_pins(scale: Scale) -> Found:
    """The same of huge pages, per 4 KiB."""
    names = ["io_uring register, THP", "io_uring unregister, THP"]
    each = _huge_bytes() // PAGE
    sizes = [n * each for n in scale.huge]
    with memory(max(sizes), huge=True) as address, _ring() as ring:
        return _registered(names, sizes, address, ring, scale.repeats)


def _registered(names: Sequence[str], sizes: Sequence[int], address: int, ring: int, repeats: int) -> Found:
    vectors = {size: iovec(address, size * PAGE) for size in sizes}

    def program(calls: Calls, size: int) -> None:
        calls.call("io_uring_register", ring, BUFFERS, *addresses(vectors[size]), 1, timed=True)
        calls.call("io_uring_register", ring, UNREGISTER_BUFFERS, timed=True)

    return _slopes(names, sizes, program, repeats)


def vmsplice(scale: Scale) -> Found:
    """References without a pin (FOLL_GET), taken by GUP-fast: vmsplice(2) into a pipe that is emptied untimed."""
    most = max(scale.pages)
    vectors = {size: iovec(0, 0) for size in scale.pages}
    reader, writer = os.pipe()
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, most * PAGE)
        with memory(most) as address:
            for size, vector in vectors.items():
                vector[:] = address, size * PAGE

            def program(calls: Calls, size: int) -> None:
                calls.call("vmsplice", writer, *addresses(vectors[size]), 1, 0, timed=True)
                calls.call("splice", reader, 0, sink, 0, size * PAGE)

            return _slopes(["vmsplice, 4 KiB pages"], scale.pages, program, scale.repeats)
    finally:
        for descriptor in (reader, writer, sink):
            os.close(descriptor)


def atomic(scale: Scale) -> Found:
    """One locked addition to a word in the nearest cache.

    Raises
    ------
    Unavailable
        It is not compiled.
    """
    if not JIT_ENABLED:
        raise Unavailable("needs compiled code: NUMBA_DISABLE_JIT is set")
    calls = Calls()
    for _ in range(scale.repeats):
        calls.add(10_000)
    return {"locked add": _medians(calls)[0] / 10_000}


# ---- memory that is present


def present(scale: Scale) -> Found:
    """Walks and changes of present 4 KiB pages: GUP-slow, process_vm_readv, mlock, mprotect, zapping, munmap."""
    most = max(scale.pages)
    with memory(most) as address, memory(most) as other:
        here = {size: iovec(other, size * PAGE) for size in scale.pages}
        there = {size: iovec(address, size * PAGE) for size in scale.pages}
        me = os.getpid()

        def kept(calls: Calls, size: int) -> None:
            length = size * PAGE
            calls.call("madvise", address, length, POPULATE_WRITE, timed=True)
            calls.call("process_vm_readv", me, *addresses(here[size]), 1, *addresses(there[size]), 1, timed=True)
            calls.call("mlock", address, length, timed=True)
            calls.call("munlock", address, length, timed=True)
            calls.call("mprotect", address, length, READ, timed=True)
            calls.call("mprotect", address, length, READ | WRITE)

        names = ["MADV_POPULATE_WRITE, present", "process_vm_readv", "mlock, present", "munlock", "mprotect RW to R"]
        found = _slopes(names, scale.pages, kept, scale.repeats)

        def gone(calls: Calls, size: int) -> None:
            calls.call("madvise", address, size * PAGE, DONTNEED, timed=True)
            calls.store(address, PAGE, size)

        found |= _slopes(["MADV_DONTNEED, present"], scale.pages, gone, scale.repeats)
    return found | _unmapped(scale)


def _unmapped(scale: Scale) -> Found:
    """Munmap of present pages, which are mapped again untimed."""
    with memory(max(scale.pages)) as address:

        def program(calls: Calls, size: int) -> None:
            calls.call("munmap", address, size * PAGE, timed=True)
            calls.call("mmap", address, size * PAGE, READ | WRITE, PRIVATE | ANONYMOUS | FIXED_NOREPLACE, -1, 0)
            calls.call("madvise", address, size * PAGE, NOHUGEPAGE)
            calls.store(address, PAGE, size)

        return _slopes(["munmap, present"], scale.pages, program, scale.repeats)


# ---- faults


def faults(scale: Scale) -> Found:
    """Write faults of anonymous memory, per 4 KiB: the first store less the same store again."""
    return _anonymous_fault("write fault, anonymous 4 KiB", scale.fork_pages, PAGE, max(scale.repeats // 10, 2))


def huge_faults(scale: Scale) -> Found:
    """The same of huge pages, a store to each."""
    each = _huge_bytes() // PAGE
    pages = max(scale.fork_pages // each, 1) * each
    return _anonymous_fault("write fault, THP", pages, _huge_bytes(), max(scale.repeats // 10, 2))


def _anonymous_fault(name: str, pages: int, stride: int, repeats: int) -> Found:
    with memory(pages, huge=stride > PAGE) as address:
        calls = Calls()
        for _ in range(repeats):
            calls.call("madvise", address, pages * PAGE, DONTNEED)
            for _ in range(2):
                calls.store(address, stride, pages * PAGE // stride, timed=True)
        first, second = calls.run(2).T / pages
        return {name: statistics.median((first - second).tolist())}


def file_pages(scale: Scale) -> Found:
    """Ext4, mapped shared: the fault that dirties a clean page again, and the start of writing dirty ones back.

    A call that starts to write takes its bios' share with it, two or three of them for all pages.
    """
    pages, repeats = scale.file_pages, max(scale.repeats // 4, 2)
    with ext4_file(pages) as file:
        address = libc.call("mmap", None, pages * PAGE, READ | WRITE, SHARED, file, 0)
        try:
            calls = Calls()
            for _ in range(repeats):
                calls.call("fdatasync", file)
                calls.store(address, PAGE, pages, timed=True)
                calls.store(address, PAGE, pages, timed=True)
                calls.call("sync_file_range", file, 0, pages * PAGE, SYNC_FILE_RANGE_WRITE, timed=True)
            first, second, write = calls.run(3).T / pages
            return {
                "re-dirty fault, ext4": statistics.median((first - second).tolist()),
                "sync_file_range, dirty ext4": statistics.median(write.tolist()),
            }
        finally:
            libc.call("munmap", address, pages * PAGE)


# ---- fork


def fork(scale: Scale) -> Found:
    """What present pages add to a fork that shares them with the child."""
    repeats = max(scale.repeats // 10, 2)
    bare = _forks(repeats)
    with memory(scale.fork_pages):
        return {"fork, unpinned": (_forks(repeats) - bare) / scale.fork_pages}


def pinned_fork(scale: Scale) -> Found:
    """The same of pinned pages, which are copied.

    Raises
    ------
    Unavailable
        So many pages may not be registered.
    """
    repeats = max(scale.repeats // 10, 2)
    bare = _forks(repeats)
    with memory(scale.fork_pages) as address, _ring() as ring:
        vector = iovec(address, scale.fork_pages * PAGE)
        try:
            libc.call("syscall", IO_URING_REGISTER, ring, BUFFERS, *addresses(vector), 1)
        except OSError as error:  # RLIMIT_MEMLOCK
            raise Unavailable(f"needs {scale.fork_pages} registered pages: {_told(error)}") from None
        pinned = _forks(repeats)
        libc.call("syscall", IO_URING_REGISTER, ring, UNREGISTER_BUFFERS, None, 0)  # a closed ring takes its time
    return {"fork, pinned": (pinned - bare) / scale.fork_pages}


def _forks(repeats: int) -> float:
    calls = Calls()
    for _ in range(1 + repeats):  # the first one finds cold caches, and is left out
        calls.fork()
    return statistics.median(calls.run()[1:, 0].tolist())


# ---- VMAs


def vmas(scale: Scale) -> Found:
    """Mmap, munmap, split and merge beside so many VMAs: each a page long, three pages apart."""
    calls = Calls(WALL)
    for _ in range(scale.repeats):
        calls.call("getppid", timed=True)
    empty = _medians(calls)[0]
    found = {"empty system call, with two readings of the clock": empty}
    room = int(Path("/proc/sys/vm/max_map_count").read_text()) - 5_000  # those of the process, and our own
    for count in scale.vmas:
        if count <= room:
            times = _beside(count, scale.repeats)
            found |= {f"{name}, {count} VMAs": ns - empty for name, ns in times.items()}
    return found


def _beside(count: int, repeats: int) -> Found:
    """Single calls at random places among `count` VMAs."""
    size = (count + 1) * 4 * PAGE
    start = _far(size)
    how = PRIVATE | ANONYMOUS | FIXED_NOREPLACE
    draw = random.Random(count)
    names = [
        "mmap, no merge",
        "munmap",
        "mmap, merging",
        "munmap, trimming",
        "mprotect, split in 3",
        "mprotect, merging",
    ]
    try:
        calls = Calls(WALL)
        for i in range(count):
            calls.call("mmap", start + 4 * i * PAGE, PAGE, READ | WRITE, how, -1, 0)
        for _ in range(repeats):
            at = start + 4 * draw.randrange(count) * PAGE
            calls.call("mmap", at + 2 * PAGE, PAGE, READ | WRITE, how, -1, 0, timed=True)
            calls.call("munmap", at + 2 * PAGE, PAGE, timed=True)
            calls.call("mmap", at + PAGE, PAGE, READ | WRITE, how, -1, 0, timed=True)
            calls.call("munmap", at + PAGE, PAGE, timed=True)
            calls.call("mmap", at + PAGE, 2 * PAGE, READ | WRITE, how, -1, 0)
            calls.call("mprotect", at + PAGE, PAGE, READ, timed=True)
            calls.call("mprotect", at + PAGE, PAGE, READ | WRITE, timed=True)
            calls.call("munmap", at + PAGE, 2 * PAGE)
        return dict(zip(names, _medians(calls, len(names)), strict=True))
    finally:
        libc.call("munmap", start, size)


ALL: dict[str, Callable[[Scale], Found]] = {
    "atomic": atomic,
    "vmsplice": vmsplice,
    "pins": pins,
    "huge_pins": huge_pins,
    "present": present,
    "faults": faults,
    "huge_faults": huge_faults,
    "file_pages": file_pages,
    "fork": fork,
    "pinned_fork": pinned_fork,
    "vmas": vmas,
}
"""Everything that is measured."""


def one_run(scale: Scale) -> tuple[Found, dict[str, str]]:
    """Measure everything once.

    Parameters
    ----------
    scale : Scale

    Returns
    -------
    found : dict of str to float
        Nanoseconds.
    skipped : dict of str to str
        What could not be measured, and why.
    """
    needs.linux()
    found: Found = {}
    skipped: dict[str, str] = {}
    for name, measure in ALL.items():
        try:
            found |= measure(scale)
        except Unavailable as reason:
            skipped[name] = str(reason)
        except OSError as error:
            skipped[name] = _told(error)
    return found, skipped
