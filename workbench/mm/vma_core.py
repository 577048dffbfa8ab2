"""VMAs of several address spaces, and how they split and merge: v6.12 mm/vma.c, with what later kernels changed.

All numbers of pages: addresses, lengths, offsets. A VMA is a row of ``vma``, named by its number; row 0 is none. The
rows of an address space `mm`, by address, are ``order[mm, : counts[mm]]``. A VMA of a file is a node in the ``i_mmap``
tree of the file's inode (`workbench.mm.interval_tree`); so are the ``MAP_SHARED | MAP_ANONYMOUS`` ones, each with a
file and an inode of its own, as in v6.12 mm/shmem.c shmem_zero_setup.
"""

from typing import NamedTuple

import numpy as np

from workbench.accelerate import at, inline, jit

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
        ("readable", np.int64),  # opened for reading
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
