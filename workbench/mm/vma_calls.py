"""System calls on an address space, each as v6.12 mm/ has it; all addresses and lengths in pages.

A call returns 0, or the page of the address that it returns, or minus its errno. Left to the caller: that addresses are
multiples of the page size, that flags are known ones, and that lengths are rounded up.
"""

import errno

from workbench.accelerate import at, jit
from workbench.mm.vma_anon import prepare_anon
from workbench.mm.vma_core import (
    ACCOUNT,
    HIGH,
    PARTIAL,
    POPULATE,
    VM_ACCESS,
    VM_ACCOUNT,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_LOCKONFAULT,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NOHUGEPAGE,
    VM_NORESERVE,
    VM_SHARED,
    VM_WRITE,
    find,
    lookup,
    ruled,
    vma_of,
)
from workbench.mm.vma_link import drop, link, new_anonymous_file, new_vma, split
from workbench.mm.vma_merge import merge_new, modify

EACCES, EEXIST, EFAULT, EINVAL, ENOMEM = errno.EACCES, errno.EEXIST, errno.EFAULT, errno.EINVAL, errno.ENOMEM

PROT_SEM = 0x8  # of no effect (v6.12 include/linux/mman.h arch_validate_prot)
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 0x01, 0x02, 0x10, 0x20
MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE, MAP_NONBLOCK, MAP_STACK = 0x2000, 0x4000, 0x8000, 0x10000, 0x20000
MAP_FIXED_NOREPLACE = 0x100000
MODELLED = MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE
MODELLED |= MAP_NONBLOCK | MAP_STACK | MAP_FIXED_NOREPLACE


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
    if end > m.sys[HIGH]:
        return -ENOMEM
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
        bits |= VM_NOHUGEPAGE  # with CONFIG_TRANSPARENT_HUGEPAGE (v6.12 include/linux/mman.h calc_vm_flag_bits)
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
    return bits if file == 0 or at(m.file, file)["readable"] else -EACCES


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
    end = page + pages
    if pages == 0 or end > m.sys[HIGH]:
        return -EINVAL
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
def holes(m, mm, page, end):
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
    if prot & ~(VM_ACCESS | PROT_SEM):
        return -EINVAL
    if not ruled(m, PARTIAL) and holes(m, mm, page, end):
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
    if not ruled(m, PARTIAL) and holes(m, mm, page, end):
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
    return fault_in(m, mm, i, start, end, flags & (VM_WRITE | VM_SHARED) == VM_WRITE)


@jit
def fault_in(m, mm, i, start, end, write):
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
    return fault_in(m, mm, i, page, page + 1, write)
