"""VMAs of several address spaces, and how they split and merge: v6.12 mm/vma.c, with what later kernels changed.

All numbers of pages: addresses, lengths, offsets. A VMA is a row of ``vma``, named by its number; row 0 is none. The
rows of an address space `mm`, by address, are ``order[mm, : counts[mm]]``. A VMA of a file is a node in the ``i_mmap``
tree of the file's inode (`workbench.mm.interval_tree`); so are the ``MAP_SHARED | MAP_ANONYMOUS`` ones, each with a
file and an inode of its own, as in v6.12 mm/shmem.c shmem_zero_setup.

An ``anon_vma`` is a row of ``anon``. The chain of a VMA (v6.12 mm/rmap.c anon_vma_clone, anon_vma_fork) is that of the
VMA which it was forked from, and one more: the path from its `tip` over `above`. A chain of one is *singular*.
"""

from typing import NamedTuple

import numpy as np

from workbench.accelerate import at, inline, jit
from workbench.mm.interval_tree import KIND_VMA, alloc, free, insert, remove

VM_READ, VM_WRITE, VM_EXEC, VM_SHARED = 0x1, 0x2, 0x4, 0x8
VM_MAYREAD, VM_MAYWRITE, VM_MAYEXEC, VM_MAYSHARE = 0x10, 0x20, 0x40, 0x80
VM_LOCKED, VM_SEQ_READ, VM_RAND_READ, VM_DONTCOPY = 0x2000, 0x8000, 0x10000, 0x20000
VM_LOCKONFAULT, VM_ACCOUNT, VM_NORESERVE = 0x80000, 0x100000, 0x200000
VM_WIPEONFORK, VM_DONTDUMP = 0x2000000, 0x4000000
VM_HUGEPAGE, VM_NOHUGEPAGE, VM_MERGEABLE = 0x20000000, 0x40000000, 0x80000000
VM_ACCESS = VM_READ | VM_WRITE | VM_EXEC
VM_LOCKED_MASK = VM_LOCKED | VM_LOCKONFAULT

VMA = np.dtype(
    [
        ("vm_start", np.int64),
        ("vm_end", np.int64),  # first page after it
        ("vm_pgoff", np.int64),  # of anonymous private ones: the address where it was mapped, or first moved unfaulted
        ("vm_flags", np.int64),
        ("vm_file", np.int64),  # row of `file`, or 0
        ("anon_vma", np.int64),  # row of `anon`, or 0; of a free row: the next free row
        ("tip", np.int64),  # the last anon_vma of its chain; nearly always `anon_vma`
        ("node", np.int64),  # row of `node` in its inode's tree, or 0
    ]
)
ANON_VMA = np.dtype(
    [
        ("parent", np.int64),  # itself, of a root; of a free row: the next free row
        ("above", np.int64),  # the one before it in the chain, or 0; the parent, unless an anon_vma is used again
        ("depth", np.int64),  # length of the chain that it ends
        ("num_children", np.int64),  # a root is its own child
        ("num_active_vmas", np.int64),  # whose anon_vma it is
        ("chained", np.int64),  # VMAs in whose chain it is
    ]
)
FILE = np.dtype(
    [
        ("number", np.int64),  # what the user knows it by; of a free row: the next free row
        ("header", np.int64),  # header row in `node` of its inode's tree
        ("pages", np.int64),  # of the inode
        ("inode", np.int64),
        ("writable", np.int64),
        ("anonymous", np.int64),  # made by mmap, and gone with its last VMA
        ("vmas", np.int64),
    ]
)

# Registers of `sys`; the first two are those of `interval_tree`.
REGISTERS = (
    "RB_VISITED", "RB_ROTATIONS", "RULES", "HIGH", "VMA_FREE", "ANON_FREE", "FILE_FREE", "NEXT_FILE", "NEXT_INODE",
    "ANON_USED", "SPLITS", "MERGES_LEFT", "MERGES_RIGHT", "MERGES_BOTH",
)  # fmt: skip
(
    RB_VISITED, RB_ROTATIONS, RULES, HIGH, VMA_FREE, ANON_FREE, FILE_FREE, NEXT_FILE, NEXT_INODE,
    ANON_USED, SPLITS, MERGES_LEFT, MERGES_RIGHT, MERGES_BOTH,
) = range(len(REGISTERS))  # fmt: skip

# Rules that can be switched off one by one: what a kernel without them would do.
RULE_TEXT = {
    "pgoff": "neighbours merge only if contiguous in the file, or in what they were mapped as",
    "file": "neighbours merge only if of the same struct file",
    "account": "private writable mappings carry VM_ACCOUNT, which takes part in merging",
    "anon_vma": "neighbours with different anon_vmas don't merge",
    "populate": "mlock, and mprotect of what is locked, write-fault private writable pages",
    "merge_right": "a range merges with what follows it",
    "partial": "what was changed before a hole or a bad VMA stays changed",
    "fork_chain": "a VMA whose anon_vma chain is not singular merges with nothing unfaulted",
    "reuse": "a first fault takes the anon_vma of a neighbour that differs in access flags at most",
    "move_pgoff": "an unfaulted anonymous VMA gets the offset of where it is moved to",
    "unfaulted_target": "what is faulted merges into an unfaulted neighbour (since v6.16)",
    "move_several": "mremap moves several VMAs, and holes between them, at once (since v6.17)",
}
RULE = {name: 1 << bit for bit, name in enumerate(RULE_TEXT)}
PGOFF, SAME_FILE, ACCOUNT, SAME_ANON, POPULATE, MERGE_RIGHT, PARTIAL, FORK_CHAIN, REUSE, MOVE_PGOFF = list(
    RULE.values()
)[:10]
UNFAULTED_TARGET, MOVE_SEVERAL = list(RULE.values())[10:]


class Memory(NamedTuple):
    """All address spaces that share files and anon_vmas."""

    sys: np.ndarray
    vma: np.ndarray
    order: np.ndarray  # shape (address spaces, VMAs)
    counts: np.ndarray
    anon: np.ndarray
    file: np.ndarray
    node: np.ndarray
    owner: np.ndarray  # VMA of each node that is one


@inline
def ruled(m, rule):
    """Whether a rule is in force."""
    return m.sys[RULES] & rule != 0


@inline
def row_of(m, mm, i):
    """Number of the i-th VMA by address."""
    return np.int64(m.order[mm, i])


@inline
def vma_of(m, mm, i):
    """Give the i-th VMA by address."""
    return at(m.vma, m.order[mm, i])


@inline
def pages_of(vma):
    """Pages of a VMA."""
    return vma["vm_end"] - vma["vm_start"]


@jit
def find(m, mm, page):
    """Position of the first VMA that ends after a page (find_vma); the number of VMAs if there is none."""
    low, high = 0, int(m.counts[mm])
    while low < high:
        middle = (low + high) >> 1
        if vma_of(m, mm, middle)["vm_end"] > page:
            high = middle
        else:
            low = middle + 1
    return low


@jit
def lookup(m, mm, page):
    """Position of the VMA that covers a page (vma_lookup), or -1."""
    i = find(m, mm, page)
    if i < m.counts[mm] and vma_of(m, mm, i)["vm_start"] <= page:
        return i
    return -1


@inline
def _place(m, mm, i, row):
    """Put a VMA at a position."""
    for j in range(m.counts[mm], i, -1):
        m.order[mm, j] = m.order[mm, j - 1]
    m.order[mm, i] = row
    m.counts[mm] += 1


@jit
def new_vma(m, mm, i, start, end, pgoff, flags, file):
    """Allocate an unfaulted VMA at a position, in no tree yet; its number."""
    row = m.sys[VMA_FREE]
    if row == 0:
        raise MemoryError("no free VMA row")
    vma = at(m.vma, row)
    m.sys[VMA_FREE] = vma["anon_vma"]
    vma["vm_start"] = start
    vma["vm_end"] = end
    vma["vm_pgoff"] = pgoff
    vma["vm_flags"] = flags
    vma["vm_file"] = file
    vma["anon_vma"] = 0
    vma["tip"] = 0
    vma["node"] = 0
    _place(m, mm, i, row)
    if file != 0:
        at(m.file, file)["vmas"] += 1
    return row


@jit
def link(m, row):
    """Put the VMA of a file into its inode's tree (vma_interval_tree_insert)."""
    vma = at(m.vma, row)
    if vma["vm_file"] == 0:
        return
    n = vma["node"]
    if n == 0:
        n = np.int64(alloc(m.node))
        if n == 0:
            raise MemoryError("no free interval tree node")
        vma["node"] = n
        m.owner[n] = row
    node = at(m.node, n)
    node["kind"] = KIND_VMA
    node["start"] = vma["vm_pgoff"]
    node["last"] = vma["vm_pgoff"] + pages_of(vma) - 1
    insert(m.node, m.sys, at(m.file, vma["vm_file"])["header"], n)


@jit
def unlink(m, row):
    """Take it out of the tree, before it changes or goes; the node stays its own."""
    vma = at(m.vma, row)
    if vma["vm_file"] != 0:
        remove(m.node, m.sys, at(m.file, vma["vm_file"])["header"], vma["node"])


@jit
def join_chain(m, row, anon, tip):
    """Make the VMA a user of an anon_vma, with the chain that ends in `tip`."""
    vma = at(m.vma, row)
    vma["anon_vma"] = anon
    vma["tip"] = tip
    if tip == 0:
        return
    at(m.anon, anon)["num_active_vmas"] += 1
    here = tip
    while here != 0:
        at(m.anon, here)["chained"] += 1
        here = at(m.anon, here)["above"]


@jit
def leave_chain(m, row):
    """Unfault the VMA; anon_vmas that are in no chain any more go (unlink_anon_vmas)."""
    vma = at(m.vma, row)
    here = vma["tip"]
    if here == 0:
        return
    at(m.anon, vma["anon_vma"])["num_active_vmas"] -= 1
    vma["anon_vma"] = 0
    vma["tip"] = 0
    while here != 0:
        anon = at(m.anon, here)
        above = anon["above"]
        anon["chained"] -= 1
        if anon["chained"] == 0:
            at(m.anon, anon["parent"])["num_children"] -= 1
            anon["parent"] = m.sys[ANON_FREE]
            m.sys[ANON_FREE] = here
            m.sys[ANON_USED] -= 1
        here = above


@jit
def new_anon(m, parent, above):
    """Allocate an anon_vma, a child of another (0: a root), with a place in a chain; its number."""
    row = m.sys[ANON_FREE]
    if row == 0:
        raise MemoryError("no free anon_vma row")
    anon = at(m.anon, row)
    m.sys[ANON_FREE] = anon["parent"]
    m.sys[ANON_USED] += 1
    anon["num_children"] = 0
    anon["num_active_vmas"] = 0
    anon["chained"] = 0
    anon["parent"] = row if parent == 0 else parent
    anon["above"] = above
    anon["depth"] = 1 if above == 0 else at(m.anon, above)["depth"] + 1
    at(m.anon, anon["parent"])["num_children"] += 1
    return row


@inline
def forked(m, vma):
    """Whether a VMA is faulted, and its chain not singular (vma_is_fork_child)."""
    return vma["tip"] != 0 and ruled(m, FORK_CHAIN) and at(m.anon, vma["tip"])["depth"] > 1


@jit
def prepare_anon(m, mm, i):
    """Give a VMA that is write-faulted an anon_vma (v6.12 mm/rmap.c __anon_vma_prepare).

    If it can be that of a neighbour, first of the next one, it is (v6.12 mm/vma.c find_mergeable_anon_vma).
    """
    row = row_of(m, mm, i)
    if at(m.vma, row)["anon_vma"] != 0:
        return
    anon = 0
    if ruled(m, REUSE):
        if i + 1 < m.counts[mm]:
            anon = _reusable(m, row_of(m, mm, i + 1), row, row_of(m, mm, i + 1))
        if anon == 0 and i > 0:
            anon = _reusable(m, row_of(m, mm, i - 1), row_of(m, mm, i - 1), row)
    if anon == 0:
        anon = new_anon(m, 0, 0)
    join_chain(m, row, anon, anon)


@jit
def _reusable(m, old, below, above):
    """The anon_vma of `old`, one of two VMAs that are contiguous and differ in access flags only; or 0."""
    a, b = at(m.vma, below), at(m.vma, above)
    if a["vm_end"] != b["vm_start"] or a["vm_file"] != b["vm_file"]:
        return 0
    if (a["vm_flags"] ^ b["vm_flags"]) & ~VM_ACCESS != 0 or b["vm_pgoff"] != a["vm_pgoff"] + pages_of(a):
        return 0
    vma = at(m.vma, old)
    return 0 if forked(m, vma) else vma["anon_vma"]


@jit
def drop(m, mm, first, last):
    """Remove the VMAs at positions first...last - 1: out of trees and chains, rows freed."""
    gone = last - first
    if gone <= 0:
        return
    for i in range(first, last):
        row = row_of(m, mm, i)
        unlink(m, row)
        leave_chain(m, row)
        vma = at(m.vma, row)
        if vma["vm_file"] != 0:
            free(m.node, vma["node"])
            _put_file(m, vma["vm_file"])
        vma["anon_vma"] = m.sys[VMA_FREE]
        m.sys[VMA_FREE] = row
    for i in range(last, m.counts[mm]):
        m.order[mm, i - gone] = m.order[mm, i]
    m.counts[mm] -= gone


@jit
def _put_file(m, row):
    """One VMA less of a file; the file of shared anonymous memory goes with its last."""
    file = at(m.file, row)
    file["vmas"] -= 1
    if file["vmas"] == 0 and file["anonymous"]:
        free(m.node, file["header"])
        file["number"] = m.sys[FILE_FREE]
        m.sys[FILE_FREE] = row


@jit
def new_anonymous_file(m, pages):
    """Give shared anonymous memory a file and an inode of its own; the file's row."""
    row = m.sys[FILE_FREE]
    if row == 0:
        raise MemoryError("no free file row")
    file = at(m.file, row)
    m.sys[FILE_FREE] = file["number"]
    file["header"] = alloc(m.node)
    if file["header"] == 0:
        raise MemoryError("no free interval tree node")
    file["pages"] = pages
    file["number"] = m.sys[NEXT_FILE]
    file["inode"] = m.sys[NEXT_INODE]
    m.sys[NEXT_FILE] += 1
    m.sys[NEXT_INODE] += 1
    file["writable"] = 1
    file["anonymous"] = 1
    file["vmas"] = 0
    return row


@jit
def split(m, mm, i, page, new_below):
    """Split a VMA in two at a page (__split_vma); the one is new, the other keeps its row.

    The new one goes into the inode's tree first; then the old one goes out, and back in with its new range.
    """
    old = row_of(m, mm, i)
    vma = at(m.vma, old)
    below = page - vma["vm_start"]
    if new_below:
        row = new_vma(m, mm, i, vma["vm_start"], page, vma["vm_pgoff"], vma["vm_flags"], vma["vm_file"])
    else:
        row = new_vma(m, mm, i + 1, page, vma["vm_end"], vma["vm_pgoff"] + below, vma["vm_flags"], vma["vm_file"])
    join_chain(m, row, vma["anon_vma"], vma["tip"])
    link(m, row)
    unlink(m, old)
    if new_below:
        vma["vm_start"] = page
        vma["vm_pgoff"] += below
    else:
        vma["vm_end"] = page
    link(m, old)
    m.sys[SPLITS] += 1
