"""A walk of an inode's ``i_mmap`` tree, where real VMAs and pinned ranges are nodes alike."""

from workbench.accelerate import at, jit
from workbench.mm.interval_tree import KIND_VMA, iter_first, iter_next
from workbench.mm.vma_core import RB_VISITED, VM_SHARED


@jit
def walk(m, header, page, found):
    """Count what a walk over one page meets: VMAs of MAP_SHARED mappings, other VMAs, pinned ranges.

    v6.12 mm/rmap.c rmap_walk_file; page_mkclean_one is not called for VMAs that are not shared (invalid_mkclean_vma).

    Parameters
    ----------
    m : Memory
    header : int
        Header row of the tree.
    page : int
        Offset in the file.
    found : ndarray of int64, shape (4,)
        Written: nodes looked at, shared VMAs, private VMAs, pinned ranges.
    """
    before = m.sys[RB_VISITED]
    n = iter_first(m.node, m.sys, header, page, page)
    while n != 0:
        if at(m.node, n)["kind"] != KIND_VMA:
            found[3] += 1
        elif _shared(m, n):
            found[1] += 1
        else:
            found[2] += 1
        n = iter_next(m.node, m.sys, n, page, page)
    found[0] = m.sys[RB_VISITED] - before


@jit
def _shared(m, n):
    """Whether the VMA of a node is VM_SHARED."""
    return at(m.vma, m.owner[n])["vm_flags"] & VM_SHARED != 0
