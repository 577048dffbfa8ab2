"""A process in the VMA model and in its naive twin: calls are made twice, and all that can be told is compared."""

from collections import defaultdict

import naive_vma
import numpy as np
from naive_vma import ACCESS, Inode, NaiveSpace, OpenFile, Vma
from vma_cases import FILE_PAGES
from vma_random import PAGES

from workbench.kernel.vma import ops as V
from workbench.mm import interval_tree, vma_core
from workbench.mm.vma import PAGE_SIZE, AddressSpace, Machine

PROT = {"": 0, "r": 1, "w": 2, "rw": 3, "rx": 5, "rwx": 7}
FLAG = {"noreplace": V.MAP_FIXED_NOREPLACE, "noreserve": V.MAP_NORESERVE, "locked": V.MAP_LOCKED}
FLAG |= {"populate": V.MAP_POPULATE, "stack": V.MAP_STACK}


class Pair:
    """A process in both, with the files of `vma_cases`; ``rules`` are the model's (`workbench.mm.vma.Machine`)."""

    def __init__(self, pages: int = PAGES, **rules):
        self.naive = NaiveSpace(pages)
        self.machine = Machine(high=pages, **rules)
        self.model = AddressSpace(self.machine)
        self.files = self.open()
        self.parents: list[Pair] = []

    def open(self) -> dict:
        """The files of `vma_cases` by name, each as the model's and as the twin's; ``e`` is ``d`` opened again."""
        inodes = {"one": Inode(FILE_PAGES), "two": Inode(FILE_PAGES)}
        files = {}
        for letter, name, mode in (
            ("a", "one", "rw"),
            ("b", "one", "rw"),
            ("c", "one", "r"),
            ("d", "two", "rw"),
            ("e", "two", "rw"),
            ("w", "one", "w"),
        ):
            opened_for = {"readable": "r" in mode, "writable": "w" in mode}
            twin = OpenFile(inodes[name], **opened_for)
            files[letter] = self.machine.open(name, FILE_PAGES, **opened_for), twin
        return files | {"a2": files["a"]}

    # ---- the calls of `naive_vma` in the model

    def call(self, name: str, places: tuple, how: dict) -> int:
        """The model's answer: 0 or an errno."""
        try:
            getattr(self, name)(*places, **how)
        except OSError as failed:
            return failed.errno
        return 0

    def mmap(self, start, count, prot, *, shared=False, file=None, pgoff=0, **how):
        flags = V.MAP_SHARED if shared else V.MAP_PRIVATE
        flags |= sum(FLAG[name] for name, given in how.items() if given)
        flags |= 0 if how.get("noreplace") else V.MAP_FIXED
        flags |= 0 if file else V.MAP_ANONYMOUS
        opened = self.files[file][0] if file else None
        self.model.mmap(start * PAGE_SIZE, count * PAGE_SIZE, PROT[prot], flags, opened, pgoff * PAGE_SIZE)

    def munmap(self, start, count):
        self.model.munmap(start * PAGE_SIZE, count * PAGE_SIZE)

    def mprotect(self, start, count, prot):
        self.model.mprotect(start * PAGE_SIZE, count * PAGE_SIZE, PROT[prot])

    def mlock(self, start, count, *, onfault=False):
        self.model.mlock2(start * PAGE_SIZE, count * PAGE_SIZE, int(onfault))

    def munlock(self, start, count):
        self.model.munlock(start * PAGE_SIZE, count * PAGE_SIZE)

    def madvise(self, start, count, advice):
        self.model.madvise(start * PAGE_SIZE, count * PAGE_SIZE, V.ADVICE[advice])

    def mremap(self, start, old, new, to=None, *, dontunmap=False):
        flags = 0 if to is None else V.MREMAP_MAYMOVE | V.MREMAP_FIXED | (V.MREMAP_DONTUNMAP if dontunmap else 0)
        lengths = old * PAGE_SIZE, new * PAGE_SIZE
        self.model.mremap(start * PAGE_SIZE, *lengths, flags, (to or 0) * PAGE_SIZE)

    def read(self, page):
        self.model.touch(page * PAGE_SIZE)

    def write(self, page):
        self.model.touch(page * PAGE_SIZE, write=True)

    # ---- both

    def do(self, name: str, places: tuple, how: dict) -> None:
        """One call in both, and everything compared; after a fork it is the child that goes on."""
        before = list(self.naive.vmas)
        pages = sum(v.end - v.start for v in before)
        if name == "fork":
            self.fork()
        else:
            told = {k: self.files[v][1] if k == "file" else v for k, v in how.items()}
            expected = getattr(self.naive, name)(*places, **told)
            assert self.call(name, places, how) == expected
        self.agree()
        if name not in ("mmap", "munmap", "mremap", "fork"):
            assert pages == sum(r.end - r.start for r in self.model.rows()), "pages came or went"
        if name != "fork" and not how.get("dontunmap"):
            self.no_late_merge(before)

    def fork(self) -> None:
        parent = object.__new__(Pair)
        parent.__dict__ = self.__dict__ | {"parents": []}
        self.parents.append(parent)
        self.naive, self.model = self.naive.fork(), self.model.fork()

    def exit(self) -> None:
        self.model.exit()
        self.naive.vmas = []

    def agree(self) -> None:
        rows, vmas = self.model.rows(), self.naive.vmas
        assert [(r.start, r.end, set(r.flags.split()), r.pgoff) for r in rows] == [
            (v.start, v.end, set(v.flags), v.pgoff) for v in vmas
        ]
        assert kinds([r.file if r.file >= 0 else None for r in rows]) == kinds([v.file for v in vmas])
        assert kinds([r.anon or None for r in rows]) == kinds([v.anon for v in vmas])
        anon = self.machine.memory.anon
        tips = [int(v["tip"]) for v in self.in_order()]
        inherited = [bool(tip) and int(anon[tip]["depth"]) > 1 for tip in tips]  # more than that nothing depends on
        assert inherited == [len(v.chain) > 1 for v in vmas]

    def shown(self) -> None:
        """What /proc/PID/maps and smaps show: no offset of anonymous memory, and ``s`` for what may be shared."""
        vmas, maps, smaps = self.naive.vmas, self.model.maps(), self.model.smaps()
        spans = [(v.start * PAGE_SIZE, v.end * PAGE_SIZE) for v in vmas]
        assert [(row.start, row.end) for row in maps] == spans
        assert [row.pgoff for row in maps] == [v.pgoff if v.file else 0 for v in vmas]
        letters = [[c if f in v.flags else "-" for c, f in ACCESS.items()] for v in vmas]
        shared = ["s" if "ms" in v.flags else "p" for v in vmas]
        assert [row.perms for row in maps] == ["".join(rwx) + s for rwx, s in zip(letters, shared, strict=True)]
        names = {id(twin.inode): file.name for file, twin in self.files.values()}
        files = [names.get(id(v.file.inode), "/dev/zero (deleted)") if v.file else "" for v in vmas]
        assert [row.file for row in maps] == files
        assert [(start, set(text.split())) for start, text in smaps] == [
            (s, v.flags) for (s, _), v in zip(spans, vmas, strict=True)
        ]

    def in_order(self) -> list:
        """The model's VMAs, by address."""
        m = self.machine.memory
        return [m.vma[row] for row in m.order[self.model.mm, : len(self.model.rows())]]

    def seen(self) -> list[Vma]:
        """The model's VMAs in the twin's terms."""
        anon, found = self.machine.memory.anon, []
        for v in self.in_order():
            chain, here = [], int(v["tip"])
            while here:
                chain.insert(0, here)
                here = int(anon[here]["above"])
            flags = frozenset((int(v["vm_flags"]),))
            found.append(Vma(v["vm_start"], v["vm_end"], flags, v["vm_pgoff"], int(v["vm_file"]), tuple(chain)))
        return found

    def no_late_merge(self, before: list[Vma]) -> None:
        """Neighbours that could be one VMA were neighbours before the call: it has merged what it has touched."""
        now = [b.start for a, b in self.pairs(self.seen()) if naive_vma.joins(a, b)]
        then = [b.start for a, b in self.pairs(before)]
        assert set(now) <= set(then)

    @staticmethod
    def pairs(vmas: list[Vma]) -> list[tuple[Vma, Vma]]:
        return list(zip(vmas, vmas[1:], strict=False))

    def sound(self) -> None:
        """Sorted and disjoint; and each VMA of a file in the tree of its inode, with its offset, and nothing else."""
        m = self.machine.memory
        wanted = defaultdict(list)
        for pair in (self, *self.parents):
            rows = pair.in_order()
            assert all(v["vm_start"] < v["vm_end"] for v in rows)
            assert all(a["vm_end"] <= b["vm_start"] for a, b in zip(rows, rows[1:], strict=False))
            for v in rows:
                if v["vm_file"]:
                    pages = v["vm_end"] - v["vm_start"]
                    span = int(v["vm_pgoff"]), int(v["vm_pgoff"] + pages - 1), int(v["node"])
                    wanted[int(m.file[v["vm_file"]]["header"])].append(span)
                else:
                    assert v["node"] == 0
        headers = {int(m.file[f[0].row]["header"]) for f in self.files.values()} | set(wanted)
        for header in headers:
            assert interval_tree.check(m.node, header) == interval_tree.SOUND
            assert sorted(in_tree(m, header)) == sorted(wanted[header])
        nodes = [node for spans in wanted.values() for *_, node in spans]
        assert len(set(nodes)) == len(nodes)

    def walks(self, name: str, letter: str) -> None:
        """What a walk of an inode's tree over each of its pages finds, the parents' VMAs too."""
        inode = self.files[letter][1].inode
        vmas = [v for pair in (self, *self.parents) for v in pair.naive.vmas if v.file and v.file.inode is inode]
        for page in range(FILE_PAGES):
            here = [v for v in vmas if v.pgoff <= page < v.pgoff + v.end - v.start]
            shared = sum("sh" in v.flags for v in here)
            found = self.machine.rmap(name, page)
            assert (found.shared, found.private, found.pinned) == (shared, len(here) - shared, 0)

    def gone(self) -> None:
        """All is unmapped, by every process: no VMA, no anon_vma, no node but the headers of the files is left."""
        for pair in (self, *self.parents):
            pair.model.munmap(0, self.naive.pages * PAGE_SIZE)
            assert pair.model.rows() == []
        m = self.machine.memory
        assert m.sys[vma_core.ANON_USED] == 0
        for file, _ in self.files.values():
            assert in_tree(m, int(m.file[file.row]["header"])) == []
        lists = (m.vma, "anon_vma", vma_core.VMA_FREE), (m.anon, "parent", vma_core.ANON_FREE)
        for table, link, head in lists:
            assert listed(table, link, int(m.sys[head])) == len(table) - 1
        opened = {file.row for file, _ in self.files.values()}
        assert listed(m.file, "number", int(m.sys[vma_core.FILE_FREE])) == len(m.file) - 1 - len(opened)


def kinds(names: list) -> list[int]:
    """Which are the same, whatever they are called: each by where it came first; None is -1."""
    return [-1 if n is None else next(i for i, other in enumerate(names) if other is n or other == n) for n in names]


def in_tree(m, header: int) -> list[tuple[int, int, int]]:
    found, sys = [], np.zeros_like(m.sys)
    n = interval_tree.iter_first(m.node, sys, header, 0, 1 << 40)
    while n:
        found.append((int(m.node[n]["start"]), int(m.node[n]["last"]), int(n)))
        n = interval_tree.iter_next(m.node, sys, n, 0, 1 << 40)
    return found


def listed(table, link: str, head: int) -> int:
    """Rows on a free list."""
    rows = set()
    while head:
        assert head not in rows
        rows.add(head)
        head = int(table[head][link])
    return len(rows)
