"""mremap(2) and fork(2): VMAs copied within an address space, and to another; see `workbench.mm.vma_calls`."""

from workbench.accelerate import at, jit
from workbench.mm.vma_anon import join_chain, leave_chain, new_anon
from workbench.mm.vma_calls import EFAULT, EINVAL, ENOMEM, highest_gap, munmap, populate
from workbench.mm.vma_core import (
    HIGH,
    MOVE_PGOFF,
    MOVE_SEVERAL,
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_MAYSHARE,
    VM_SHARED,
    VM_WIPEONFORK,
    find,
    lookup,
    pages_of,
    row_of,
    ruled,
    vma_of,
)
from workbench.mm.vma_link import link, new_vma
from workbench.mm.vma_merge import merge_new

MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4


@jit
def mremap(m, mm, page, old, new, flags, to):
    """Resize or move; v6.12 mm/mremap.c, and since v6.17 the move of several VMAs at once (remap_move)."""
    if new == 0 or new > m.sys[HIGH]:
        return -EINVAL
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        if flags & MREMAP_MAYMOVE == 0 or (flags & MREMAP_DONTUNMAP and old != new):
            return -EINVAL
        if (page + old > to and to + new > page) or to + new > m.sys[HIGH]:
            return -EINVAL
    if flags & MREMAP_FIXED and old == new and ruled(m, MOVE_SEVERAL):
        return _move_several(m, mm, page, page + old, flags, to)
    return _mremap_one(m, mm, page, old, new, flags, to)


@jit
def _move_several(m, mm, start, end, flags, to):
    """Move whatever is mapped in a range, one VMA after the other, and the holes between them (remap_move)."""
    moved = -EFAULT
    here = start
    shift = to - start
    while here < end:
        i = find(m, mm, here)
        if i == m.counts[mm] or vma_of(m, mm, i)["vm_start"] >= end:
            break
        vma = vma_of(m, mm, i)
        if vma["vm_start"] > start and moved < 0:
            return -EFAULT
        page = max(vma["vm_start"], start)
        upto = vma["vm_end"]
        pages = min(upto, end) - page
        result = _mremap_one(m, mm, page, pages, pages, flags, page + shift)
        if result < 0:
            return result
        moved = to
        here = upto
    return moved


@jit
def _mremap_one(m, mm, page, old, new, flags, to):
    """Resize or move within one VMA."""
    i = lookup(m, mm, page)
    if i < 0:
        return -EFAULT
    fixed = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) != 0
    if new <= old and not fixed:
        if new < old and munmap(m, mm, page + new, old - new) < 0:
            return -EINVAL
        return page
    vma = vma_of(m, mm, i)
    if old == 0 and vma["vm_flags"] & (VM_SHARED | VM_MAYSHARE) == 0:
        return -EINVAL
    if min(old, new) > vma["vm_end"] - page:
        return -EFAULT
    grow = vma["vm_flags"] & VM_LOCKED != 0 and new > old
    if fixed:
        if flags & MREMAP_FIXED:
            munmap(m, mm, to, new)
            if lookup(m, mm, page) < 0:  # nothing was to be unmapped at the old place, and the new one covers it
                return -EFAULT
        if new < old:
            munmap(m, mm, page + new, old - new)
            old = new
        if flags & MREMAP_FIXED == 0:
            to = highest_gap(m, mm, new)
        result = _move(m, mm, page, old, new, flags, to)
    else:
        result = _expand(m, mm, i, page, old, new, flags)
    if result >= 0 and grow:
        populate(m, mm, result + old, result + new, True)
    return result


@jit
def _expand(m, mm, i, page, old, new, flags):
    """Grow in place if there is room behind the VMA (vma_merge_extend), or else by a move."""
    vma = vma_of(m, mm, i)
    end, upto = vma["vm_end"], vma["vm_end"] + new - old
    room = upto <= m.sys[HIGH] and (i + 1 == m.counts[mm] or vma_of(m, mm, i + 1)["vm_start"] >= upto)
    if end - page == old and room:
        pgoff = vma["vm_pgoff"] + pages_of(vma)
        merge_new(m, mm, i + 1, end, upto, vma["vm_flags"], pgoff, vma["vm_file"], vma["anon_vma"], 0)
        return page
    if flags & MREMAP_MAYMOVE == 0:
        return -ENOMEM
    return _move(m, mm, page, old, new, flags, highest_gap(m, mm, new))


@jit
def _move(m, mm, page, old, new, flags, to):
    """Copy a range of one VMA to where nothing is mapped, and unmap it, or leave it without pages (move_vma)."""
    if to < 0:
        return -ENOMEM
    i = lookup(m, mm, page)
    leave = flags & MREMAP_DONTUNMAP != 0
    _copy(m, mm, i, page, new, to)
    i = lookup(m, mm, page)
    vma = vma_of(m, mm, i)  # the one that has taken the copy, if they have merged
    if leave:  # all of the VMA is unlocked, not the range alone
        vma["vm_flags"] &= ~VM_LOCKED_MASK
        if vma["vm_start"] == page and vma["vm_end"] == page + old:
            leave_chain(m, row_of(m, mm, i))
        return to
    if old == 0:
        return to
    start, end = vma["vm_start"], vma["vm_end"]
    accounted = vma["vm_flags"] & VM_ACCOUNT
    vma["vm_flags"] &= ~VM_ACCOUNT
    munmap(m, mm, page, old)
    i = find(m, mm, page)
    if start < page:  # what is left of the VMA on either side
        vma_of(m, mm, i - 1)["vm_flags"] |= accounted
    if end > page + old:
        vma_of(m, mm, i)["vm_flags"] |= accounted
    return to


@jit
def _copy(m, mm, i, page, pages, to):
    """Map what the i-th VMA maps from a page on once more, elsewhere: by a merge if it can be (copy_vma)."""
    row = row_of(m, mm, i)
    vma = at(m.vma, row)
    flags, file = vma["vm_flags"], vma["vm_file"]
    pgoff = vma["vm_pgoff"] + page - vma["vm_start"]
    if file == 0 and vma["anon_vma"] == 0 and ruled(m, MOVE_PGOFF):
        pgoff = to
    j = find(m, mm, to)
    if merge_new(m, mm, j, to, to + pages, flags, pgoff, file, vma["anon_vma"], row) >= 0:
        return
    copied = new_vma(m, mm, j, to, to + pages, pgoff, flags, file)
    join_chain(m, copied, vma["anon_vma"], vma["tip"])
    link(m, copied)


@jit
def fork(m, mm, child):
    """Copy an address space into an empty one (v6.12 kernel/fork.c dup_mmap).

    The kernel puts a copy into its inode's tree right behind the original; here it goes in as any other.
    """
    for i in range(m.counts[mm]):
        row = row_of(m, mm, i)
        vma = at(m.vma, row)
        flags = vma["vm_flags"]
        if flags & VM_DONTCOPY:
            continue
        place = m.counts[child]
        kept = flags & ~VM_LOCKED_MASK
        copied = new_vma(m, child, place, vma["vm_start"], vma["vm_end"], vma["vm_pgoff"], kept, vma["vm_file"])
        if flags & VM_WIPEONFORK == 0 and vma["anon_vma"] != 0:
            _fork_chain(m, copied, row)
        link(m, copied)


@jit
def _fork_chain(m, copied, row):
    """Give a copy the chain of the original and an anon_vma of its own (v6.12 mm/rmap.c anon_vma_fork).

    An anon_vma of the chain that no VMA uses, and that has one child at most, is used again: the oldest such.
    """
    vma = at(m.vma, row)
    again = 0
    here = vma["tip"]
    while here != 0:
        anon = at(m.anon, here)
        if anon["num_active_vmas"] == 0 and anon["num_children"] < 2:
            again = here
        here = anon["above"]
    if again != 0:
        join_chain(m, copied, again, vma["tip"])
    else:
        own = new_anon(m, vma["anon_vma"], vma["tip"])
        join_chain(m, copied, own, own)
