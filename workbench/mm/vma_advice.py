"""madvise(2) on an address space (v6.12 mm/madvise.c); see `workbench.mm.vma_calls`."""

from workbench.accelerate import jit
from workbench.mm.vma_calls import EINVAL, ENOMEM, fault_in, holes
from workbench.mm.vma_core import (
    PARTIAL,
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_HUGEPAGE,
    VM_LOCKED,
    VM_MAYSHARE,
    VM_MERGEABLE,
    VM_NOHUGEPAGE,
    VM_RAND_READ,
    VM_READ,
    VM_SEQ_READ,
    VM_SHARED,
    VM_WIPEONFORK,
    VM_WRITE,
    find,
    ruled,
    vma_of,
)
from workbench.mm.vma_merge import modify

# Advice that changes flags, and so splits; and that does not.
SPLITTING = {
    "NORMAL": 0, "RANDOM": 1, "SEQUENTIAL": 2, "DONTFORK": 10, "DOFORK": 11, "MERGEABLE": 12, "UNMERGEABLE": 13,
    "HUGEPAGE": 14, "NOHUGEPAGE": 15, "DONTDUMP": 16, "DODUMP": 17, "WIPEONFORK": 18, "KEEPONFORK": 19,
}  # fmt: skip
OTHER_ADVICE = {
    "WILLNEED": 3, "DONTNEED": 4, "FREE": 8, "COLD": 20, "PAGEOUT": 21, "POPULATE_READ": 22, "POPULATE_WRITE": 23,
    "DONTNEED_LOCKED": 24,
}  # fmt: skip
ADVICE = SPLITTING | OTHER_ADVICE
(
    NORMAL, RANDOM, SEQUENTIAL, DONTFORK, DOFORK, MERGEABLE, UNMERGEABLE, HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP,
    WIPEONFORK, KEEPONFORK,
) = SPLITTING.values()  # fmt: skip
DONTNEED, FREE, COLD, PAGEOUT, POPULATE_READ, POPULATE_WRITE = (
    OTHER_ADVICE[name] for name in ("DONTNEED", "FREE", "COLD", "PAGEOUT", "POPULATE_READ", "POPULATE_WRITE")
)


@jit
def madvise(m, mm, page, pages, advice):
    """Advise; v6.12 mm/madvise.c do_madvise, madvise_walk_vmas. Holes are passed over, and told at the end."""
    end = page + pages
    if pages == 0:
        return 0
    if advice == POPULATE_READ or advice == POPULATE_WRITE:
        return _madvise_populate(m, mm, page, end, advice == POPULATE_WRITE)
    if not ruled(m, PARTIAL) and holes(m, mm, page, end):
        return -ENOMEM
    result = 0
    i = find(m, mm, page)
    while page < end:
        if i == m.counts[mm]:
            return -ENOMEM
        vma = vma_of(m, mm, i)
        if page < vma["vm_start"]:
            result = -ENOMEM
            page = vma["vm_start"]
            if page >= end:
                break
        old = vma["vm_flags"]
        flags = _advised(vma, advice)
        if flags < 0:
            return flags
        if flags != old:
            i = modify(m, mm, i, page, min(vma["vm_end"], end), flags)
        page = vma_of(m, mm, i)["vm_end"]
        i += 1
    return result


@jit
def _advised(vma, advice):
    """Flags of a VMA by that advice, or minus an errno (madvise_vma_behavior)."""
    flags, file = vma["vm_flags"], vma["vm_file"]
    if advice == NORMAL:
        flags &= ~(VM_RAND_READ | VM_SEQ_READ)
    elif advice == SEQUENTIAL:
        flags = flags & ~VM_RAND_READ | VM_SEQ_READ
    elif advice == RANDOM:
        flags = flags & ~VM_SEQ_READ | VM_RAND_READ
    elif advice == DONTFORK:
        flags |= VM_DONTCOPY
    elif advice == DOFORK:
        flags &= ~VM_DONTCOPY
    elif advice == DONTDUMP:
        flags |= VM_DONTDUMP
    elif advice == DODUMP:
        flags &= ~VM_DONTDUMP
    elif advice == WIPEONFORK:
        flags = -EINVAL if file != 0 or flags & VM_SHARED else flags | VM_WIPEONFORK
    elif advice == KEEPONFORK:
        flags &= ~VM_WIPEONFORK
    elif advice == MERGEABLE:
        flags |= 0 if flags & (VM_SHARED | VM_MAYSHARE) else VM_MERGEABLE
    elif advice == UNMERGEABLE:
        flags &= ~VM_MERGEABLE
    elif advice == HUGEPAGE:
        flags = flags & ~VM_NOHUGEPAGE | VM_HUGEPAGE
    elif advice == NOHUGEPAGE:
        flags = flags & ~VM_HUGEPAGE | VM_NOHUGEPAGE
    elif advice == FREE and file != 0:
        flags = -EINVAL
    elif (advice == DONTNEED or advice == FREE or advice == COLD or advice == PAGEOUT) and flags & VM_LOCKED:
        flags = -EINVAL
    return flags


@jit
def _madvise_populate(m, mm, page, end, write):
    """Fault a range in up to the first hole, or the first VMA that does not allow it (madvise_populate)."""
    needed = VM_WRITE if write else VM_READ
    i = find(m, mm, page)
    while page < end:
        if i == m.counts[mm] or vma_of(m, mm, i)["vm_start"] > page:
            return -ENOMEM
        vma = vma_of(m, mm, i)
        if vma["vm_flags"] & needed == 0:
            return -EINVAL
        result = fault_in(m, mm, i, page, min(vma["vm_end"], end), write)
        if result < 0:
            return result
        page = vma["vm_end"]
        i += 1
    return 0
