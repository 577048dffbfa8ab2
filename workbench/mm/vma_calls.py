"""System calls on an address space, each as v6.12 mm/ has it; all addresses and lengths in pages.

A call returns 0, or the page of the address that it returns, or minus its errno. Left to the caller: that addresses are
multiples of the page size, that flags are known ones, and that lengths are rounded up.
"""

import errno

from workbench.accelerate import at, jit
from workbench.mm.vma_core import (
    ACCOUNT,
    HIGH,
    MOVE_PGOFF,
    MOVE_SEVERAL,
    PARTIAL,
    POPULATE,
    VM_ACCESS,
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_HUGEPAGE,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_LOCKONFAULT,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MERGEABLE,
    VM_NOHUGEPAGE,
    VM_NORESERVE,
    VM_RAND_READ,
    VM_READ,
    VM_SEQ_READ,
    VM_SHARED,
    VM_WIPEONFORK,
    VM_WRITE,
    drop,
    find,
    join_chain,
    leave_chain,
    link,
    lookup,
    new_anon,
    new_anonymous_file,
    new_vma,
    pages_of,
    prepare_anon,
    row_of,
    ruled,
    split,
    vma_of,
)
from workbench.mm.vma_merge import merge_new, modify

EACCES, EEXIST, EFAULT, EINVAL, ENOMEM = errno.EACCES, errno.EEXIST, errno.EFAULT, errno.EINVAL, errno.ENOMEM

MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 0x01, 0x02, 0x10, 0x20
MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE, MAP_NONBLOCK, MAP_STACK = 0x2000, 0x4000, 0x8000, 0x10000, 0x20000
MAP_FIXED_NOREPLACE = 0x100000
MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4

NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, FREE = 0, 1, 2, 3, 4, 8
DONTFORK, DOFORK, MERGEABLE, UNMERGEABLE, HUGEPAGE, NOHUGEPAGE = 10, 11, 12, 13, 14, 15
DONTDUMP, DODUMP, WIPEONFORK, KEEPONFORK = 16, 17, 18, 19
COLD, PAGEOUT, POPULATE_READ, POPULATE_WRITE, DONTNEED_LOCKED = 20, 21, 22, 23, 24
ADVICE = {
    "NORMAL": 0, "RANDOM": 1, "SEQUENTIAL": 2, "WILLNEED": 3, "DONTNEED": 4, "FREE": 8, "DONTFORK": 10, "DOFORK": 11,
    "MERGEABLE": 12, "UNMERGEABLE": 13, "HUGEPAGE": 14, "NOHUGEPAGE": 15, "DONTDUMP": 16, "DODUMP": 17,
    "WIPEONFORK": 18, "KEEPONFORK": 19, "COLD": 20, "PAGEOUT": 21, "POPULATE_READ": 22, "POPULATE_WRITE": 23,
    "DONTNEED_LOCKED": 24,
}  # fmt: skip


@jit
def mmap(m, mm, page, pages, prot, flags, file, pgoff):
    """Map a file (a row of ``m.file``, or 0: anonymous); v6.12 mm/mmap.c do_mmap, mmap_region."""
    if pages == 0:
        return -EINVAL
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) == 0:
        page = highest_gap(m, mm, pages)
        if page < 0:
            return -ENOMEM
    end = page + pages
    i = find(m, mm, page)
    if flags & MAP_FIXED_NOREPLACE and i < m.counts[mm] and vma_of(m, mm, i)["vm_start"] < end:
        return -EEXIST
    bits = _new_flags(m, prot, flags, file)
    if bits < 0:
        return bits
    munmap(m, mm, page, pages)
    if bits & (VM_NORESERVE | VM_SHARED | VM_WRITE) == VM_WRITE and ruled(m, ACCOUNT):
        bits |= VM_ACCOUNT
    if file == 0:
        pgoff = page
    i = find(m, mm, page)
    if merge_new(m, mm, i, page, end, bits, pgoff, file, 0, 0) < 0:
        if file == 0 and flags & MAP_SHARED:
            pgoff = 0
            file = new_anonymous_file(m, pages)
        link(m, new_vma(m, mm, i, page, end, pgoff, bits, file))
    if bits & VM_LOCKED or flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE:
        populate(m, mm, page, end, True)
    return page


@jit
def _new_flags(m, prot, flags, file):
    """``vm_flags`` of a new mapping without VM_ACCOUNT, or minus an errno."""
    bits = prot & VM_ACCESS | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    if flags & MAP_LOCKED:
        bits |= VM_LOCKED
    if flags & MAP_STACK:
        bits |= VM_NOHUGEPAGE  # since v6.7, with CONFIG_TRANSPARENT_HUGEPAGE
    if flags & MAP_NORESERVE:
        bits |= VM_NORESERVE
    if flags & MAP_SHARED:
        bits |= VM_SHARED | VM_MAYSHARE
        if file != 0 and not at(m.file, file)["writable"]:
            if prot & VM_WRITE:
                return -EACCES
            bits &= ~(VM_SHARED | VM_MAYWRITE)
    elif flags & MAP_PRIVATE == 0:
        return -EINVAL
    return bits


@jit
def highest_gap(m, mm, pages):
    """Highest free range of so many pages below the address space's end (vm_unmapped_area, top down); or -1."""
    end = m.sys[HIGH]
    for i in range(m.counts[mm] - 1, -1, -1):
        vma = vma_of(m, mm, i)
        if end - vma["vm_end"] >= pages:
            break
        end = vma["vm_start"]
    return end - pages if end - pages > 0 else -1


@jit
def munmap(m, mm, page, pages):
    """Unmap a range, holes or not; v6.12 mm/vma.c do_vmi_munmap."""
    if pages == 0:
        return -EINVAL
    end = page + pages
    first = find(m, mm, page)
    if first == m.counts[mm] or vma_of(m, mm, first)["vm_start"] >= end:
        return 0
    if vma_of(m, mm, first)["vm_start"] < page:
        split(m, mm, first, page, True)
        first += 1
    last = first
    while last < m.counts[mm] and vma_of(m, mm, last)["vm_start"] < end:
        if vma_of(m, mm, last)["vm_end"] > end:
            split(m, mm, last, end, False)
        last += 1
    drop(m, mm, first, last)
    return 0


@jit
def _holes(m, mm, page, end):
    """Whether a range is not mapped throughout."""
    i = find(m, mm, page)
    while page < end:
        if i == m.counts[mm] or vma_of(m, mm, i)["vm_start"] > page:
            return True
        page = vma_of(m, mm, i)["vm_end"]
        i += 1
    return False


@jit
def mprotect(m, mm, page, pages, prot):
    """Change access; v6.12 mm/mprotect.c do_mprotect_pkey, mprotect_fixup."""
    end = page + pages
    i = find(m, mm, page)
    if pages == 0:
        return 0
    if not ruled(m, PARTIAL) and _holes(m, mm, page, end):
        return -ENOMEM
    while page < end:
        if i == m.counts[mm] or vma_of(m, mm, i)["vm_start"] > page:
            return -ENOMEM
        vma = vma_of(m, mm, i)
        old = vma["vm_flags"]
        flags = old & ~VM_ACCESS | prot & VM_ACCESS
        if flags & ~(flags >> 4) & VM_ACCESS:
            return -EACCES
        upto = min(vma["vm_end"], end)
        if flags != old:
            i = _protect(m, mm, i, page, upto, old, flags)
        page = vma_of(m, mm, i)["vm_end"]
        i += 1
    return 0


@jit
def _protect(m, mm, i, start, end, old, flags):
    """Change access within one VMA, with what follows for accounting and for locked pages."""
    vma = vma_of(m, mm, i)
    if flags & VM_WRITE:
        if old & (VM_ACCOUNT | VM_WRITE | VM_SHARED | VM_NORESERVE) == 0 and ruled(m, ACCOUNT):
            flags |= VM_ACCOUNT
    elif old & VM_ACCOUNT and vma["vm_file"] == 0 and vma["anon_vma"] == 0:
        flags &= ~VM_ACCOUNT
    i = modify(m, mm, i, start, end, flags)
    if old & (VM_WRITE | VM_SHARED | VM_LOCKED) == VM_LOCKED and flags & VM_WRITE:
        _populate_vma(m, mm, i, start, end)
    return i


@jit
def mlock(m, mm, page, pages, bits):
    """Lock, with `bits` VM_LOCKED, or VM_LOCKED | VM_LOCKONFAULT; v6.12 mm/mlock.c do_mlock."""
    result = _lock(m, mm, page, pages, bits)
    if result == 0 and pages > 0:
        result = populate(m, mm, page, page + pages, False)
    return -ENOMEM if result == -EFAULT else result


@jit
def munlock(m, mm, page, pages):
    """Unlock; v6.12 mm/mlock.c munlock."""
    return _lock(m, mm, page, pages, 0)


@jit
def _lock(m, mm, page, pages, bits):
    """Change the lock flags of a range up to its first hole (apply_vma_lock_flags)."""
    end = page + pages
    i = find(m, mm, page)
    if not ruled(m, PARTIAL) and _holes(m, mm, page, end):
        return -ENOMEM
    while page < end:
        if i == m.counts[mm] or vma_of(m, mm, i)["vm_start"] > page:
            return -ENOMEM
        vma = vma_of(m, mm, i)
        flags = vma["vm_flags"] & ~VM_LOCKED_MASK | bits
        if flags != vma["vm_flags"]:
            i = modify(m, mm, i, page, min(vma["vm_end"], end), flags)
        page = vma_of(m, mm, i)["vm_end"]
        i += 1
    return 0


@jit
def populate(m, mm, page, end, ignore_errors):
    """Fault a range in, without its holes, as its flags ask for (__mm_populate)."""
    i = find(m, mm, page)
    while i < m.counts[mm] and vma_of(m, mm, i)["vm_start"] < end:
        vma = vma_of(m, mm, i)
        result = _populate_vma(m, mm, i, max(page, vma["vm_start"]), min(end, vma["vm_end"]))
        if result < 0 and not ignore_errors:
            return result
        i += 1
    return 0


@jit
def _populate_vma(m, mm, i, start, end):
    """Fault a part of a VMA in: for writing if it is private and writable (v6.12 mm/gup.c populate_vma_page_range)."""
    flags = vma_of(m, mm, i)["vm_flags"]
    if flags & VM_LOCKONFAULT or not ruled(m, POPULATE):
        return 0
    if flags & VM_ACCESS == 0:
        return -EFAULT
    return _fault_in(m, mm, i, start, end, flags & (VM_WRITE | VM_SHARED) == VM_WRITE)


@jit
def _fault_in(m, mm, i, start, end, write):
    """Fault pages of a VMA in: a write to a private one gives it an anon_vma; beyond the file's end faults fail.

    A read fault of anonymous memory maps the zero page, and needs none (v6.12 mm/memory.c do_anonymous_page).
    """
    vma = vma_of(m, mm, i)
    file = vma["vm_file"]
    if file == 0 or vma["vm_pgoff"] + end - vma["vm_start"] <= at(m.file, file)["pages"]:
        result = 0
    else:
        result = -EFAULT
    if write and vma["vm_flags"] & VM_SHARED == 0:
        prepare_anon(m, mm, i)  # even if the fault fails after that (do_cow_fault)
    return result


@jit
def touch(m, mm, page, write):
    """Read or write a byte of a page: 0, or -EFAULT where the kernel would send a signal."""
    i = lookup(m, mm, page)
    if i < 0 or vma_of(m, mm, i)["vm_flags"] & (VM_WRITE if write else VM_ACCESS) == 0:
        return -EFAULT
    return _fault_in(m, mm, i, page, page + 1, write)


@jit
def madvise(m, mm, page, pages, advice):
    """Advise; v6.12 mm/madvise.c do_madvise, madvise_walk_vmas. Holes are passed over, and told at the end."""
    end = page + pages
    if pages == 0:
        return 0
    if advice == POPULATE_READ or advice == POPULATE_WRITE:
        return _madvise_populate(m, mm, page, end, advice == POPULATE_WRITE)
    if not ruled(m, PARTIAL) and _holes(m, mm, page, end):
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
        result = _fault_in(m, mm, i, page, min(vma["vm_end"], end), write)
        if result < 0:
            return result
        page = vma["vm_end"]
        i += 1
    return 0


@jit
def mremap(m, mm, page, old, new, flags, to):
    """Resize or move; v6.12 mm/mremap.c, and since v6.17 the move of several VMAs at once (remap_move)."""
    if new == 0:
        return -EINVAL
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        if flags & MREMAP_MAYMOVE == 0 or (flags & MREMAP_DONTUNMAP and old != new):
            return -EINVAL
        if page + old > to and to + new > page:
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
        if new < old:
            munmap(m, mm, page + new, old - new)
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
    to = highest_gap(m, mm, new)
    return _move(m, mm, page, old, new, flags, to) if to >= 0 else -ENOMEM


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
