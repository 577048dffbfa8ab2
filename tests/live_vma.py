"""The naive twin of the VMAs beside the running kernel: random operations in an arena of this process.

``python live_vma.py OPERATIONS SEED`` prints one JSON object: operations, processes, and the first mismatch if there
is one, with the operations of its sequence. Nothing outlives the process but what lies in unnamed files.
"""

import ctypes
import json
import os
import random
import re
import sys
import tempfile
import traceback

from naive_vma import Inode, NaiveSpace, OpenFile
from vma_cases import CASES, FILE_PAGES, FORK, edges, pictured
from vma_random import PAGES, random_operation

PAGE = 4096
BASE = 0x1000_0000 + PAGE  # low, so that it comes first in smaps; below any place where 2 MiB pages could lie
END = BASE + PAGES * PAGE
CHILD = 20  # operations that a forked child goes on with

PROT = {"": 0, "r": 1, "w": 2, "rw": 3, "rx": 5, "rwx": 7}
MAP = {"shared": 1, "private": 2, "fixed": 0x10, "anon": 0x20, "noreserve": 0x4000, "locked": 0x2000}
MAP |= {"stack": 0x2_0000, "populate": 0x8000, "noreplace": 0x10_0000}
ADVICE = {"NORMAL": 0, "RANDOM": 1, "SEQUENTIAL": 2, "DONTNEED": 4, "FREE": 8, "DONTFORK": 10, "DOFORK": 11}
ADVICE |= {"MERGEABLE": 12, "UNMERGEABLE": 13, "HUGEPAGE": 14, "NOHUGEPAGE": 15, "DONTDUMP": 16, "DODUMP": 17}
ADVICE |= {"WIPEONFORK": 18, "KEEPONFORK": 19, "COLD": 20, "PAGEOUT": 21, "POPULATE_READ": 22, "POPULATE_WRITE": 23}
ADVICE |= {"WILLNEED": 3, "DONTNEED_LOCKED": 24}
SHOWN = {"rd", "wr", "ex", "sh", "mr", "mw", "me", "ms", "lo", "lf", "sr", "rr", "dc", "dd", "ac", "nr", "wf", "mg"}
SHOWN |= {"hg", "nh"}

ROW = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ (\d+)(?s:.*?)^VmFlags:(.*)$", re.MULTILINE)

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *words) -> tuple[int, int]:
    """What a function of the C library returned, and the errno if it failed."""
    function = getattr(libc, name)
    function.restype = ctypes.c_long if name in ("mmap", "mremap", "pread", "pwrite") else ctypes.c_int
    result = function(*(ctypes.c_long(w) for w in words))
    return result, ctypes.get_errno() if result == -1 else 0


class Files:
    """Open files by name: descriptors here, `OpenFile` in the twin. ``b`` was opened a second time, ``c`` to read
    only, ``w`` to write only; ``d`` is another inode, on disk."""

    def __init__(self):
        memory = os.memfd_create("naive-vma")
        os.ftruncate(memory, FILE_PAGES * PAGE)
        again = f"/proc/self/fd/{memory}"
        with tempfile.TemporaryFile() as file:
            disk = os.dup(file.fileno())
        if os.fstatvfs(disk).f_flag & os.ST_NOEXEC:
            disk = os.memfd_create("naive-vma")  # what may not be run has other flags
        os.ftruncate(disk, FILE_PAGES * PAGE)
        self.number = {"a": memory, "b": os.open(again, os.O_RDWR), "c": os.open(again, os.O_RDONLY), "d": disk}
        self.number |= {"w": os.open(again, os.O_WRONLY), "a2": os.dup(memory)}
        inode, other = Inode(FILE_PAGES), Inode(FILE_PAGES)
        self.twin = {"a": OpenFile(inode), "b": OpenFile(inode), "c": OpenFile(inode, writable=False)}
        self.twin |= {"d": OpenFile(other), "w": OpenFile(inode, readable=False), "a2": self.twin["a"]}
        self.zero = os.open("/dev/zero", os.O_RDONLY)
        self.sink = os.memfd_create("naive-vma-sink")


class Live:
    """The same operations as `NaiveSpace`, by system calls."""

    def __init__(self, files: Files):
        self.files = files

    def mmap(self, start, count, prot, *, shared=False, file=None, pgoff=0, **how):
        flags = MAP["shared" if shared else "private"] | (0 if file else MAP["anon"])
        flags |= 0 if how.get("noreplace") else MAP["fixed"]
        flags |= sum(MAP[name] for name, given in how.items() if given)
        number = self.files.number[file] if file else -1
        return call("mmap", BASE + start * PAGE, count * PAGE, PROT[prot], flags, number, pgoff * PAGE)[1]

    def munmap(self, start, count):
        return call("munmap", BASE + start * PAGE, count * PAGE)[1]

    def mprotect(self, start, count, prot):
        return call("mprotect", BASE + start * PAGE, count * PAGE, PROT[prot])[1]

    def mlock(self, start, count, *, onfault=False):
        return call("mlock2", BASE + start * PAGE, count * PAGE, int(onfault))[1]

    def munlock(self, start, count):
        return call("munlock", BASE + start * PAGE, count * PAGE)[1]

    def madvise(self, start, count, advice):
        return call("madvise", BASE + start * PAGE, count * PAGE, ADVICE[advice])[1]

    def mremap(self, start, old, new, to=None, *, dontunmap=False):
        # MREMAP_MAYMOVE | MREMAP_FIXED, and MREMAP_DONTUNMAP
        more = (0,) if to is None else (7 if dontunmap else 3, BASE + to * PAGE)
        return call("mremap", BASE + start * PAGE, old * PAGE, new * PAGE, *more)[1]

    def read(self, page):
        return call("pwrite", self.files.sink, BASE + page * PAGE, 1, 0)[1]

    def write(self, page):
        return call("pread", self.files.zero, BASE + page * PAGE, 1, 0)[1]


def smaps() -> list[tuple]:
    """Rows of the arena: first and last page, offset in pages, inode (0: none), flags."""
    number = os.open("/proc/self/smaps", os.O_RDONLY)
    text = b""
    try:
        while f"\n{END:08x}-".encode() not in text and (more := os.read(number, 1 << 16)):
            text += more
    finally:
        os.close(number)
    rows = []
    for start, end, offset, inode, flags in ROW.findall(text):
        if BASE <= (start := int(start, 16)) < END:
            places = (start - BASE) // PAGE, (int(end, 16) - BASE) // PAGE, int(offset, 16) // PAGE
            rows.append((*places, int(inode), " ".join(sorted(SHOWN & set(flags.decode().split())))))
    return rows


def expected(space: NaiveSpace, inodes: dict) -> list[tuple]:
    """The same rows of the twin; ``inodes`` numbers its inodes, in the order in which they come."""
    rows = []
    for v in space.vmas:
        inode = inodes.setdefault(v.file.inode, len(inodes) + 1) if v.file else 0
        rows.append((v.start, v.end, v.pgoff if v.file else 0, inode, " ".join(sorted(v.flags))))
    return rows


def differ(shown: list[tuple], wanted: list[tuple]) -> bool:
    """Whether the rows differ, inode numbers apart, which must only tell the same ones from others."""
    to, back = {0: 0}, {0: 0}
    if len(shown) != len(wanted):
        return True
    for s, w in zip(shown, wanted, strict=True):
        same = to.setdefault(s[3], w[3]) == w[3] and back.setdefault(w[3], s[3]) == s[3]
        if not same or (*s[:3], s[4]) != (*w[:3], w[4]):
            return True
    return False


class Run:
    """One process's run through random sequences."""

    def __init__(self, seed: int, files: Files):
        self.files = files
        self.live = Live(files)
        self.random = random.Random(seed)
        self.done = 0
        self.failed = 0

    def step(self, space: NaiveSpace, inodes: dict, log: list) -> dict | None:
        """One operation on both; what differs, if anything does."""
        name, places, how = random_operation(self.random, space, write_only=("w",))
        return self.apply(space, inodes, log, name, places, how)

    def apply(self, space, inodes, log, name, places, how):
        log.append((name, places, how))
        twin_how = {k: self.files.twin[v] if k == "file" else v for k, v in how.items()}
        wanted = getattr(space, name)(*places, **twin_how)
        got = getattr(self.live, name)(*places, **how)
        shown, rows = smaps(), expected(space, inodes)
        self.done += 1
        self.failed += got != 0
        if got != wanted or differ(shown, rows):
            return {"log": log, "errno": [got, wanted], "kernel": shown, "twin": rows}
        return None

    def sequence(self, space: NaiveSpace, inodes: dict, log: list, length: int, depth: int) -> dict | None:
        for _ in range(length):
            wrong = self.step(space, inodes, log)
            if not wrong and depth < 3 and self.random.random() < 0.04:
                wrong = self.fork(space, log, lambda child, seen: self.sequence(child, inodes, seen, CHILD, depth + 1))
            if wrong:
                return wrong
        return None

    def case(self, space: NaiveSpace, inodes: dict, log: list, operations: list, after: str) -> dict | None:
        """Given operations; at a fork the child does what follows."""
        for i, (name, places, how) in enumerate(operations):
            if name == "fork":
                rest = [inodes, operations[i + 1 :], after]
                return self.fork(space, log, lambda child, seen, r=rest: self.case(child, r[0], seen, *r[1:]))
            if wrong := self.apply(space, inodes, log, name, places, how):
                return wrong
        shown = pictured(space.vmas)
        return {"log": log, "pictures": [shown, after]} if shown != after else None

    def fork(self, space: NaiveSpace, log: list, what) -> dict | None:
        """A child goes on by itself; then this process does, which must not have noticed."""
        hear, tell = os.pipe()
        seed = self.random.random()
        child = os.fork()
        if child == 0:
            try:
                self.random = random.Random(seed)
                self.done = self.failed = 0
                wrong = what(space.fork(), [*log, FORK])
                os.write(tell, json.dumps([self.done, self.failed, wrong]).encode())
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(tell)
        with os.fdopen(hear, "rb") as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        if not text:
            return {"log": log, "died": True}
        done, failed, wrong = json.loads(text)
        self.done += done
        self.failed += failed
        return wrong


def reserve() -> None:
    """The page before the arena and the one behind it: shared and anonymous, so that nothing merges with them."""
    fixed = MAP["noreplace"] | MAP["shared"] | MAP["anon"]
    for place in (BASE - PAGE, END):
        result, error = call("mmap", place, PAGE, 0, fixed, -1, 0)
        if result != place:
            raise SystemExit(f"the arena is taken: {os.strerror(error)}")


def over_the_end(live: Live) -> list[tuple]:
    """Calls that reach over the end of the address space and were answered otherwise than they should be."""
    with open("/proc/cpuinfo", encoding="ascii") as cpus:
        if " la57" in cpus.read():
            return []  # five levels of page tables: it ends somewhere else
    live.mmap(0, 2, "rw")
    end = ((1 << 47) - PAGE - BASE) // PAGE
    return [
        (*call, got) for *call, wanted in edges(end) if (got := getattr(live, call[0])(*call[1], **call[2])) != wanted
    ]


def main(operations: int, seed: int) -> dict:
    reserve()
    run = Run(seed, Files())
    wrong: object = over_the_end(run.live) or None
    call("munmap", BASE, PAGES * PAGE)
    for name, (_, after, given) in CASES.items():
        wrong = wrong or run.case(NaiveSpace(PAGES), {}, [name], given, after)
        call("munmap", BASE, PAGES * PAGE)
    while run.done < operations and not wrong:
        wrong = run.sequence(NaiveSpace(PAGES), {}, [], 60, 0)
        call("munmap", BASE, PAGES * PAGE)
    return {"operations": run.done, "failed": run.failed, "wrong": wrong}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
