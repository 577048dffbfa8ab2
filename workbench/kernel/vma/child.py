"""A sequence of operations run by a child process on itself, beside the model; and what the child tells its parent."""

import json
import mmap
import os
import select
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from workbench.accelerate import JIT_ENABLED
from workbench.kernel import libc, needs
from workbench.kernel.vma import live
from workbench.kernel.vma import ops as o
from workbench.kernel.vma.smaps import MAPS, live_rows
from workbench.mm import vma_core, vma_move
from workbench.mm.vma import AddressSpace
from workbench.mm.vma_draw import Row
from workbench.mm.vma_machine import File, Machine

BASE = (
    1 << 24
)  # first page of the arena, at 64 GiB: far from what the program and its libraries map, and first in smaps
PATIENCE_S = 60.0  # a child that has done no operation for so long is killed
PR_SET_PDEATHSIG = 1

AGREED, DIFFERS, DIED, HUNG = "agreed", "differs", "died", "hung"
# Words of the memory that parent and children share, before the text of a mismatch.
PROGRESS, CHECKS, TEXT, COUNTERS = 0, 1, 2, 3
MODES = {"rw": os.O_RDWR, "r": os.O_RDONLY, "w": os.O_WRONLY}
COUNTED = ("SPLITS", "MERGES_LEFT", "MERGES_RIGHT", "MERGES_BOTH")
WORDS, TEXT_ROOM = 8, 1 << 16


class Result(NamedTuple):
    """What became of a sequence; `told` is of the mismatch, or how the child died."""

    verdict: str
    ops: int
    checks: int  # comparisons with smaps
    counts: tuple[int, ...]  # of the model: as in COUNTED
    told: dict[str, Any]


class Setting(NamedTuple):
    """How sequences are run."""

    directory: str  # on a real file system
    by_query: bool = True  # PROCMAP_QUERY after each operation; else /proc/self/maps
    smaps_every: int = 200  # operations
    kernel: tuple[int, int] | None = None
    without: tuple[str, ...] = ()


def run_sequence(ops: np.ndarray, setting: Setting) -> Result:
    """Run a sequence in a fresh child.

    Parameters
    ----------
    ops : ndarray of OPERATION
    setting : Setting

    Returns
    -------
    Result
        Whatever happens to the child: it is waited for, or killed.
    """
    shared = mmap.mmap(-1, 8 * WORDS + TEXT_ROOM)  # unmapped with its last user
    pid = _start(lambda: _Child(ops, setting, shared).run())
    try:
        status = _watch(pid, shared)
    finally:
        _kill(pid)
    words = _words(shared)
    counts = tuple(int(words[COUNTERS + i]) for i in range(len(COUNTED)))
    told = json.loads(shared[8 * WORDS : 8 * WORDS + int(words[TEXT])] or b"{}")
    done, checks = int(words[PROGRESS]), int(words[CHECKS])
    if told:
        return Result(DIFFERS, done, checks, counts, told)
    if status is None:
        return Result(HUNG, done, checks, counts, {"op": done})
    if status != 0:
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return Result(DIED, done, checks, counts, {"op": done, "how": how})
    return Result(AGREED, done, checks, counts, {})


def warm_up(setting: Setting) -> None:
    """Have what the children run compiled before they start.

    First in a process aside: what a compiler leaves behind would make this one larger, and every fork of it slower;
    from disk compiled code comes without that. Then here, for a child's would be lost with it.
    """
    if JIT_ENABLED:
        os.waitpid(_start(lambda: _warm_up(setting)), 0)
    _warm_up(setting)


def _warm_up(setting: Setting) -> int:
    child = _Child(np.zeros(0, o.OPERATION), setting, mmap.mmap(-1, 8 * WORDS + TEXT_ROOM))
    child.run()
    vma_move.fork(child.machine.memory, 0, child.machine.new_space())
    for fd in child.fds:
        os.close(int(fd))
    return 0


def _words(shared: mmap.mmap) -> np.ndarray:
    return np.frombuffer(shared, np.int64, WORDS)


def _start(body: Callable[[], int]) -> int:
    """Fork; the child runs `body`, exits with its status, leaves Ctrl-C to its parent, and dies with that."""
    parent = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads: none of them matters to the child
        pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        libc.call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getppid() == parent:
            status = body()
    except BaseException as error:  # whatever it was, nothing of the parent's may run on in the child
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def _watch(pid: int, shared: mmap.mmap) -> int | None:
    """Wait for a child, as long as it gets on: its exit status, or minus its signal; None if it does not."""
    words, done, since = _words(shared), -1, time.monotonic()
    handle = os.pidfd_open(pid)
    try:
        ends = select.poll()
        ends.register(handle, select.POLLIN)
        while not ends.poll(1000):
            if words[PROGRESS] != done:
                done, since = int(words[PROGRESS]), time.monotonic()
            elif time.monotonic() - since > PATIENCE_S:
                return None
    finally:
        os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _kill(pid: int) -> None:
    """Kill a child that may have ended already; its own children die with it."""
    try:
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    except ChildProcessError:
        pass


class _Child:
    """The process that does the operations; a fork among them hands it on to a child of its own."""

    def __init__(self, ops: np.ndarray, setting: Setting, shared: mmap.mmap) -> None:
        self.ops, self.setting, self.shared = ops, setting, shared
        self.words = _words(shared)
        forks = int((ops["op"] == o.FORK).sum())
        rows = (forks + 2) * (o.ARENA + 8)
        self.machine = Machine(setting.kernel, setting.without, rows=rows, spaces=forks + 1)
        self.space = AddressSpace(self.machine)
        self.files = np.array([file.row for file in model_files(self.machine)], np.int64)
        self.fds = _open_all(setting.directory)
        inodes = {inode: os.fstat(int(fd)).st_ino for fd, (_, inode, _) in zip(self.fds, o.DESCRIPTORS, strict=True)}
        self.seen = np.full(len(ops) + o.INODES + 1, -1, np.int64)
        self.seen[: o.INODES] = [inodes[i] for i in range(o.INODES)]
        self.state = np.zeros(live.STATE, np.int64)
        self.state[live.INODES] = o.INODES
        self.query = np.zeros(live.QUERY_WORDS, np.int64)
        self.before: list[Row] = []

    def run(self) -> int:
        """Do what is left of the sequence; 0, also after a mismatch, or what a child of its own ended with."""
        maps = os.open(MAPS, os.O_RDONLY)  # of this process: a parent's tells of the parent
        try:
            return self._run(maps)
        finally:
            os.close(maps)

    def _run(self, maps: int) -> int:
        every = 1 if not self.setting.by_query else self.setting.smaps_every
        while True:
            if every == 1:
                self.before = self.space.rows()
            self.space.mm = int(self.state[live.MM])
            upto = int(self.state[live.NEXT]) // every * every + every
            found = live.run(
                self.machine.memory, self.state, self.ops, upto, BASE, o.ARENA, self.fds, self.files,
                maps if self.setting.by_query else -1, self.query, self.query.ctypes.data, self.seen,
            )  # fmt: skip
            self._count()
            if found == live.NO_QUERY:
                raise needs.Unavailable("PROCMAP_QUERY failed")
            if found in (live.OTHER_RESULT, live.OTHER_ROWS):
                return self._tell("result" if found == live.OTHER_RESULT else "mappings")
            differs = self._differs_from_smaps()
            if differs:
                return self._tell(differs)
            if found == live.DONE:
                return 0
            if found == live.FORKS:
                return self._fork()

    def _fork(self) -> int:
        """Go on in a child; this process waits for it, and changes nothing meanwhile."""
        self.before = self.space.rows()
        child = self.machine.new_space()
        pid = _start(lambda: self._go_on(child))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status < 0:  # end in the same way
            os.kill(os.getpid(), -status)
        return status

    def _go_on(self, child: int) -> int:
        vma_move.fork(self.machine.memory, int(self.state[live.MM]), child)
        self.state[live.MM] = self.space.mm = child
        self.state[live.NEXT] += 1
        self.state[live.MODEL_RESULT] = self.state[live.KERNEL_RESULT] = 0
        self._count()
        differs = self._differs_from_smaps()
        return self._tell(differs) if differs else self.run()

    def _count(self) -> None:
        self.words[PROGRESS] = self.state[live.NEXT]
        for place, name in enumerate(COUNTED):
            self.words[COUNTERS + place] = self.machine.memory.sys[vma_core.REGISTERS.index(name)]

    def _differs_from_smaps(self) -> str:
        """Compare with the text of smaps, or, where the ioctl is wanting, with that of maps too; what differs."""
        self.words[CHECKS] += 1
        model = self.space.rows()
        rows = live_rows(BASE, o.ARENA)
        shown = [(r.start, r.end, r.perms, r.pgoff if r.file >= 0 else 0) for r in model]
        if shown != [(r.start, r.end, r.perms, r.pgoff if r.file >= 0 else 0) for r in rows]:
            return "mappings"
        if [r.file < 0 for r in model] != [r.file < 0 for r in rows]:
            return "mappings"
        return "flags" if [r.flags for r in model] != [r.flags for r in rows] else ""

    def _tell(self, what: str) -> int:
        """Write down a mismatch for the parent."""
        told = {
            "what": what,
            "op": int(self.state[live.NEXT]) - 1,
            "model_result": int(self.state[live.MODEL_RESULT]),
            "kernel_result": int(self.state[live.KERNEL_RESULT]),
            "before": self.before,
            "model": self.space.rows(),
            "kernel": live_rows(BASE, o.ARENA),
        }
        text = json.dumps(told).encode()[:TEXT_ROOM]
        self.shared[8 * WORDS : 8 * WORDS + len(text)] = text
        self.words[TEXT] = len(text)
        return 0


def model_files(machine: Machine) -> list[File]:
    """Open the model's file for each of `ops.DESCRIPTORS`, in their order."""
    opened: dict[int, File] = {}
    for file, inode, mode in o.DESCRIPTORS:
        if file not in opened:
            opened[file] = machine.open(f"inode {inode}", o.FILE_PAGES, writable="w" in mode, readable="r" in mode)
    return [opened[file] for file, _, _ in o.DESCRIPTORS]


def _open_all(directory: str) -> np.ndarray:
    """Open a file descriptor for each of `ops.DESCRIPTORS`: inode 0 in a directory, without a name; 1 a memfd."""
    size = o.FILE_PAGES * o.PAGE_SIZE
    inodes = [open_unnamed(directory), os.memfd_create("workbench-vma")]
    opened: dict[int, int] = {}
    fds = []
    for file, inode, mode in o.DESCRIPTORS:
        os.ftruncate(inodes[inode], size)
        path = f"/proc/self/fd/{inodes[inode]}"
        fds.append(os.dup(opened[file]) if file in opened else os.open(path, MODES[mode]))
        opened.setdefault(file, fds[-1])
    for fd in inodes:
        os.close(fd)
    return np.array(fds, np.int64)


def open_unnamed(directory: str) -> int:
    """Open a new file that has no name, and so is gone with its last descriptor."""
    return os.open(directory, os.O_RDWR | os.O_TMPFILE, 0o600)


def real_directory() -> str:
    """A directory on a real file system that can hold a file without a name.

    Raises
    ------
    Unavailable
    """
    for directory in (tempfile.gettempdir(), os.getcwd(), "/var/tmp"):
        try:
            fd = open_unnamed(directory)
        except OSError:
            continue
        noexec = os.fstatvfs(fd).f_flag & os.ST_NOEXEC  # there files can't be mapped PROT_EXEC
        os.close(fd)
        if not noexec:
            return directory
    raise needs.Unavailable(
        "needs a directory without noexec whose file system has O_TMPFILE (ext4, xfs, btrfs, tmpfs)"
    )
