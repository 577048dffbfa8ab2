"""VMAs come, go and split; each that maps a file is a node of its inode's ``i_mmap`` tree (v6.12 mm/vma.c)."""

from workbench.accelerate import at, inline, jit
from workbench.mm.interval_tree import KIND_VMA, alloc, free, insert, remove
from workbench.mm.vma_anon import join_chain, leave_chain
from workbench.mm.vma_core import FILE_FREE, NEXT_FILE, NEXT_INODE, SPLITS, VMA_FREE, np, pages_of, row_of


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
    file["readable"] = 1
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
