"""A naive twin of the VMAs of a process: a sorted Python list, cut and joined again.

Written from what a running kernel shows (Linux 6.18), and from what linux-mm says of two rules that are younger than
most: "mm/vma: fix incorrectly disallowed anonymous VMA merges" (6.16), "mm/mremap: permit mremap() move of multiple
VMAs" (6.17). It shares nothing with the package, and `live_vma` holds it against the kernel.

Flags are the two letters that ``/proc/PID/smaps`` shows. Every operation returns 0 or an errno, and leaves what the
kernel leaves when it fails half-way. Addresses are page numbers; an operation is never told of a page outside the
arena.
"""

import errno
from dataclasses import dataclass, replace

ACCESS = {"r": "rd", "w": "wr", "x": "ex"}
MAY = {"r": "mr", "w": "mw", "x": "me"}
ANY_ACCESS = {"rd", "wr", "ex"}  # x86 has no page that may be written or run but not read

# Advice that changes flags: what it takes away, and what it adds.
FLAG_ADVICE = {
    "NORMAL": ({"rr", "sr"}, set()),
    "RANDOM": ({"sr"}, {"rr"}),
    "SEQUENTIAL": ({"rr"}, {"sr"}),
    "DONTFORK": (set(), {"dc"}),
    "DOFORK": ({"dc"}, set()),
    "DONTDUMP": (set(), {"dd"}),
    "DODUMP": ({"dd"}, set()),
    "WIPEONFORK": (set(), {"wf"}),
    "KEEPONFORK": ({"wf"}, set()),
    "MERGEABLE": (set(), {"mg"}),
    "UNMERGEABLE": ({"mg"}, set()),
    "HUGEPAGE": ({"nh"}, {"hg"}),
    "NOHUGEPAGE": ({"hg"}, {"nh"}),
}


@dataclass(eq=False)
class Inode:
    pages: int  # up to its end; touching a page behind it is SIGBUS


@dataclass(eq=False)
class OpenFile:
    """A ``struct file``: what one open() makes, and every dup() of its descriptor shares."""

    inode: Inode
    readable: bool = True
    writable: bool = True


class AnonVma:
    """What the first write fault of a private mapping makes; compared by identity."""


@dataclass(eq=False)
class Vma:
    start: int
    end: int
    flags: frozenset[str]
    pgoff: int
    file: OpenFile | None = None
    chain: tuple[AnonVma, ...] = ()  # of those inherited over forks, the oldest first; the last is its own

    @property
    def anon(self) -> AnonVma | None:
        return self.chain[-1] if self.chain else None

    def part(self, start: int, end: int) -> "Vma":
        return replace(self, start=start, end=end, pgoff=self.pgoff + start - self.start)


def one_anon_vma_does(a: Vma, b: Vma) -> bool:
    """Whether a and b can share one anon_vma: the same already, or only one of them has any, and not inherited."""
    if a.anon and b.anon:
        return a.anon is b.anon
    return len(a.chain) + len(b.chain) <= 1


def joins(a: Vma, b: Vma) -> bool:
    """Whether b goes on where a ends, in all respects."""
    goes_on = a.end == b.start and a.pgoff + a.end - a.start == b.pgoff
    return goes_on and a.flags == b.flags and a.file is b.file and one_anon_vma_does(a, b)


def lends_anon_vma(a: Vma, b: Vma) -> bool:
    """Whether a write fault in one of the neighbours takes the other's anon_vma: they differ in access only."""
    goes_on = a.end == b.start and a.pgoff + a.end - a.start == b.pgoff
    return goes_on and a.file is b.file and not (a.flags ^ b.flags) - ANY_ACCESS


class NaiveSpace:
    """The VMAs of one process in an arena of ``pages`` pages; what lies around it never merges and is never free."""

    def __init__(self, pages: int):
        self.pages = pages
        self.vmas: list[Vma] = []

    # ---- looking

    def at(self, page: int) -> Vma | None:
        return next((v for v in self.vmas if v.start <= page < v.end), None)

    def within(self, start: int, end: int) -> list[Vma]:
        """All that have a page in [start, end)."""
        return [v for v in self.vmas if v.start < end and start < v.end]

    # ---- cutting and joining

    def cut(self, start: int, end: int) -> list[Vma]:
        """Take [start, end) out; the parts that were there."""
        kept, taken = [], []
        for v in self.vmas:
            low, high = max(v.start, start), min(v.end, end)
            if low >= high:
                kept.append(v)
                continue
            taken.append(v.part(low, high))
            kept += [v.part(s, e) for s, e in ((v.start, low), (high, v.end)) if s < e]
        self.vmas = kept
        return taken

    def put(self, piece: Vma) -> None:
        """Put a piece where nothing is, and join it with its neighbours as far as they go on; where only one can
        keep its anon_vma, the left one does."""
        left = next((v for v in self.vmas if joins(v, piece)), None)
        right = next((v for v in self.vmas if joins(piece, v)), None)
        if left and right and left.anon and right.anon and left.anon is not right.anon:
            right = None
        parts = [v for v in (left, right, piece) if v]
        chain = next((v.chain for v in parts if v.chain), ())
        first = left or piece
        whole = replace(first, end=(right or piece).end, chain=chain)
        self.vmas = sorted([v for v in self.vmas if v is not left and v is not right] + [whole], key=lambda v: v.start)

    def change(self, v: Vma, start: int, end: int, flags: frozenset[str]) -> None:
        """Give [start, end) of v other flags; where they are the same nothing happens, not even a late merge."""
        if flags != v.flags:
            [piece] = self.cut(start, end)
            self.put(replace(piece, flags=flags))

    # ---- mmap and munmap

    def mmap(self, start, count, prot, *, shared=False, file=None, pgoff=0, **how) -> int:
        """mmap(2) at a fixed place; ``how``: noreplace, noreserve, locked, populate, stack."""
        if count <= 0:
            return errno.EINVAL
        if how.get("noreplace") and self.within(start, start + count):
            return errno.EEXIST
        may = {"mr", "mw", "me"}
        if shared:
            may |= {"sh", "ms"}
        if file:
            if shared and "w" in prot and not file.writable or not file.readable:
                return errno.EACCES
            if shared and not file.writable:
                may -= {"mw", "sh"}
        flags = may | {ACCESS[p] for p in prot}
        flags |= {flag for name, flag in (("noreserve", "nr"), ("locked", "lo"), ("stack", "nh")) if how.get(name)}
        if not flags & {"nr", "sh"} and "wr" in flags:
            flags.add("ac")
        if shared and not file:
            file, pgoff = OpenFile(Inode(count)), 0  # a file of shmem's own for every mapping
        elif not file:
            pgoff = start
        self.cut(start, start + count)
        self.put(Vma(start, start + count, frozenset(flags), pgoff, file))
        if how.get("locked") or how.get("populate"):
            self.populate(start, start + count, ignore_errors=True)
        return 0

    def munmap(self, start, count) -> int:
        if count <= 0:
            return errno.EINVAL
        self.cut(start, start + count)
        return 0

    # ---- mprotect, mlock

    def mprotect(self, start, count, prot) -> int:
        end = start + count
        place = start
        while place < end:
            v = self.at(place)
            if not v:
                return errno.ENOMEM
            high = min(v.end, end)
            if not {MAY[p] for p in prot} <= v.flags:
                return errno.EACCES
            self.protect(v, place, high, {ACCESS[p] for p in prot})
            place = high
        return 0

    def protect(self, v: Vma, start, end, wanted: set[str]) -> None:
        """Part of one VMA; what becomes writable is accounted, and filled if it is locked."""
        flags = v.flags - ANY_ACCESS | wanted
        if flags == v.flags:
            return
        if "wr" in wanted:
            if not v.flags & {"ac", "sh", "nr"}:
                flags |= {"ac"}
        elif not v.file and not v.anon:
            flags -= {"ac"}
        self.change(v, start, end, flags)
        if "wr" in wanted and "lo" in v.flags and not v.flags & {"wr", "sh"}:
            self.populate(start, end, ignore_errors=True)

    def mlock(self, start, count, *, onfault=False) -> int:
        error = self.lock(start, count, {"lo", "lf"} if onfault else {"lo"})
        if not error and self.populate(start, start + count):
            error = errno.ENOMEM
        return error

    def munlock(self, start, count) -> int:
        return self.lock(start, count, set())

    def lock(self, start, count, wanted: set[str]) -> int:
        end = start + count
        place = start
        while place < end:
            v = self.at(place)
            if not v:
                return errno.ENOMEM
            high = min(v.end, end)
            self.change(v, place, high, v.flags - {"lo", "lf"} | wanted)
            place = high
        return 0

    # ---- madvise

    def madvise(self, start, count, advice: str) -> int:
        """Goes on over holes, and tells of them at the end; but stops at the first VMA that refuses."""
        if advice in ("POPULATE_READ", "POPULATE_WRITE"):
            return self.advise_populate(start, start + count, "POPULATE_WRITE" == advice)
        end = start + count
        place, hole = start, 0
        while place < end:
            v = self.at(place)
            if not v:
                hole = errno.ENOMEM
                place += 1
                continue
            high = min(v.end, end)
            error = self.advise(v, place, high, advice)
            if error:
                return error
            place = high
        return hole

    def advise(self, v: Vma, start, end, advice: str) -> int:
        if advice in ("WILLNEED", "DONTNEED_LOCKED"):
            return 0
        if advice in ("DONTNEED", "FREE", "COLD", "PAGEOUT"):
            if "lo" in v.flags or advice == "FREE" and v.file:
                return errno.EINVAL
            return 0
        if advice == "WIPEONFORK" and v.file:
            return errno.EINVAL
        if advice == "MERGEABLE" and "ms" in v.flags:
            return 0
        fewer, more = FLAG_ADVICE[advice]
        self.change(v, start, end, v.flags - fewer | more)
        return 0

    def advise_populate(self, start, end, write: bool) -> int:
        """Page by page up to the first that can't be had."""
        for page in range(start, end):
            v = self.at(page)
            if not v:
                return errno.ENOMEM
            if ("wr" if write else "rd") not in v.flags:
                return errno.EINVAL
            if self.fault(page, write):
                return errno.EFAULT
        return 0

    # ---- faults

    def read(self, page) -> int:
        v = self.at(page)
        if not v or not v.flags & ANY_ACCESS:
            return errno.EFAULT
        return self.fault(page, False)

    def write(self, page) -> int:
        v = self.at(page)
        if not v or "wr" not in v.flags:
            return errno.EFAULT
        return self.fault(page, True)

    def fault(self, page, write: bool) -> int:
        """A write to a private mapping needs an anon_vma, even where it then fails behind the end of the file."""
        v = self.at(page)
        if write and "sh" not in v.flags and not v.anon:
            v.chain = (self.borrowed_anon_vma(v) or AnonVma(),)
        behind_the_end = v.file and v.pgoff + page - v.start >= v.file.inode.pages
        return errno.EFAULT if behind_the_end else 0

    def borrowed_anon_vma(self, v: Vma) -> AnonVma | None:
        """A neighbour's, of the one behind first; never one that came with others over a fork."""
        behind = [n for n in self.vmas if lends_anon_vma(v, n)]
        before = [n for n in self.vmas if lends_anon_vma(n, v)]
        return next((n.anon for n in behind + before if len(n.chain) == 1), None)

    def populate(self, start, end, *, ignore_errors=False) -> int:
        """What mlock fills: all but what is to be locked on fault; writing where that would copy. Skips holes."""
        for v in self.within(start, end):
            if "lf" in v.flags:
                continue
            error = 0 if v.flags & ANY_ACCESS else errno.EFAULT
            for page in range(max(v.start, start), min(v.end, end)):
                error = error or self.fault(page, "wr" in v.flags and "sh" not in v.flags)
            if error and not ignore_errors:
                return error
        return 0

    # ---- mremap

    def mremap(self, start, old, new, to=None, *, dontunmap=False) -> int:
        """In place, or to a fixed place ``to``."""
        if new <= 0:
            return errno.EINVAL
        if to is None:
            return self.resize(start, old, new)
        if start < to + new and to < start + old or dontunmap and old != new:
            return errno.EINVAL
        if old == new:
            return self.move_all(start, old, to, dontunmap)
        return self.movable(start, old, new) or self.move(start, old, new, to)

    def movable(self, start, old, new) -> int:
        """All that stays must be of one VMA; a length of 0 maps the same pages again, which must be shared."""
        v = self.at(start)
        if not v:
            return errno.EFAULT
        if old == 0 and "ms" not in v.flags:
            return errno.EINVAL
        return errno.EFAULT if start + min(old, new) > v.end else 0

    def resize(self, start, old, new) -> int:
        v = self.at(start)
        if not v:
            return errno.EFAULT
        if new < old:
            return self.munmap(start + new, old - new)
        error = self.movable(start, old, new) if new > old else 0
        if error or new == old:
            return error
        end, more = v.end, new - old
        if start + old != end or end + more > self.pages or self.within(end, end + more):
            return errno.ENOMEM
        piece = v.part(end, end + more)
        self.put(replace(piece, chain=v.chain[-1:]))  # that v was inherited doesn't count here
        if "lo" in v.flags:
            self.populate(end, end + more, ignore_errors=True)
        return 0

    def move_all(self, start, count, to, dontunmap) -> int:
        """Same length: each VMA in the range by itself, at the same distances (since Linux 6.17)."""
        if not self.at(start):
            return errno.EFAULT
        place, end = start, start + count
        while place < end:
            v = self.at(place)
            high = min(v.end, end) if v else place + 1
            if v:
                self.move(place, high - place, high - place, to + place - start, dontunmap)
            place = high
        return 0

    def move(self, start, old, new, to, dontunmap=False) -> int:
        kept = min(old, new)
        self.cut(to, to + new)
        self.cut(start + kept, start + old)
        v = self.at(start)
        if not v:
            return errno.EFAULT  # nothing was to be moved, and the place for it begins there
        piece = v.part(start, start + kept)
        if not v.file and not v.anon:
            piece.pgoff = to  # no page knows its offset yet
        self.put(replace(piece, start=to, end=to + new))
        if dontunmap:
            self.emptied(start, kept)
        else:
            self.cut(start, start + kept)
        if new > old and "lo" in v.flags:
            self.populate(to + old, to + new, ignore_errors=True)
        return 0

    def emptied(self, start, count) -> None:
        """MREMAP_DONTUNMAP: all of the old VMA, even what did not move, is no longer locked."""
        v = self.at(start)
        v.flags -= {"lo", "lf"}
        if (v.start, v.end) == (start, start + count):
            v.chain = ()

    # ---- fork

    def fork(self) -> "NaiveSpace":
        """The child's VMAs: nothing locked, each inherited anon_vma followed by one of its own."""
        child = NaiveSpace(self.pages)
        for v in self.vmas:
            if "dc" in v.flags:
                continue
            chain = (*v.chain, AnonVma()) if v.chain and "wf" not in v.flags else ()
            child.vmas.append(replace(v, flags=v.flags - {"lo", "lf"}, chain=chain))
        return child
