"""Which neighbours merge, and what a merge does: v6.12 mm/vma.c vma_merge_new_range, vma_merge_existing_range."""

from workbench.accelerate import at, inline, jit
from workbench.mm.vma_anon import forked, join_chain
from workbench.mm.vma_core import (
    MERGE_RIGHT,
    MERGES_BOTH,
    MERGES_LEFT,
    MERGES_RIGHT,
    PGOFF,
    SAME_ANON,
    SAME_FILE,
    UNFAULTED_TARGET,
    pages_of,
    row_of,
    ruled,
    vma_of,
)
from workbench.mm.vma_link import drop, link, split, unlink


@jit
def _alike(m, vma, flags, file):
    """The same flags and the same struct file (is_mergeable_vma); no policies, userfaultfd or names are modelled."""
    return vma["vm_flags"] == flags and (vma["vm_file"] == file or not ruled(m, SAME_FILE))


@jit
def _anon_fits(m, target, anon, source):
    """Whether what has this anon_vma may merge into a VMA (is_mergeable_anon_vma).

    `source` is the VMA that the anon_vma comes from, or 0.
    """
    theirs = at(m.vma, target)["anon_vma"]
    if theirs == anon or not ruled(m, SAME_ANON):
        return True
    if theirs != 0 and anon != 0:
        return False
    if theirs != 0:
        return not forked(m, at(m.vma, target))
    if not ruled(m, UNFAULTED_TARGET):
        return False  # list_is_singular() of an empty chain says no
    return source == 0 or not forked(m, at(m.vma, source))


@jit
def _fits_after(m, row, start, flags, pgoff, file, anon, source):
    """Whether a range merges into the VMA that ends where it starts (can_vma_merge_left)."""
    vma = at(m.vma, row)
    if vma["vm_end"] != start or not _alike(m, vma, flags, file) or not _anon_fits(m, row, anon, source):
        return False
    return vma["vm_pgoff"] + pages_of(vma) == pgoff or not ruled(m, PGOFF)


@jit
def _fits_before(m, row, end, flags, pgoff_end, file, anon, source):
    """Whether a range merges into the VMA that starts where it ends (can_vma_merge_right)."""
    vma = at(m.vma, row)
    if vma["vm_start"] != end or not _alike(m, vma, flags, file) or not _anon_fits(m, row, anon, source):
        return False
    return vma["vm_pgoff"] == pgoff_end or not ruled(m, PGOFF)


@jit
def _both_fit(m, left, right):
    """Whether two VMAs, each of which takes what is between them, also take each other."""
    one, other = at(m.vma, left)["anon_vma"], at(m.vma, right)["anon_vma"]
    return one == 0 or other == 0 or one == other or not ruled(m, SAME_ANON)


@jit
def _take_anon(m, target, source):
    """Hand an unfaulted VMA the anon_vma and the chain of another (dup_anon_vma)."""
    theirs = at(m.vma, source)
    if at(m.vma, target)["anon_vma"] == 0 and theirs["anon_vma"] != 0:
        join_chain(m, target, theirs["anon_vma"], theirs["tip"])


@jit
def merge_new(m, mm, i, start, end, flags, pgoff, file, anon, source):
    """Extend a neighbour over an empty range, or two over what is between them.

    Parameters
    ----------
    m : Memory
    mm, i : int
        The range lies before the i-th VMA of this address space.
    start, end : int
        Pages of the range, the last one excluded.
    flags, pgoff, file, anon : int
        Of the range.
    source : int
        Row of the VMA that is copied there, or 0.

    Returns
    -------
    int
        Position of the extended VMA, or -1: nothing merges.
    """
    left = i > 0 and _fits_after(m, row_of(m, mm, i - 1), start, flags, pgoff, file, anon, source)
    right = i < m.counts[mm] and ruled(m, MERGE_RIGHT)
    right = right and _fits_before(m, row_of(m, mm, i), end, flags, pgoff + end - start, file, anon, source)
    right = right and (not left or _both_fit(m, row_of(m, mm, i - 1), row_of(m, mm, i)))
    if not left and not right:
        return -1
    target = row_of(m, mm, i - 1 if left else i)
    if left and right:
        _take_anon(m, target, row_of(m, mm, i))
    if source != 0:
        _take_anon(m, target, source)
    vma = at(m.vma, target)
    unlink(m, target)
    if left:
        vma["vm_end"] = vma_of(m, mm, i)["vm_end"] if right else end
    else:
        vma["vm_start"] = start
        vma["vm_pgoff"] = pgoff
    link(m, target)
    if left and right:
        drop(m, mm, i, i + 1)
    m.sys[MERGES_BOTH if left and right else MERGES_LEFT if left else MERGES_RIGHT] += 1
    return i - 1 if left else i


@jit
def _merge_changed(m, mm, i, start, end, flags):
    """Merge a range of the i-th VMA, whose flags are to change, with what is beside it.

    Returns
    -------
    int
        Position of the VMA that has taken the range, or -1: nothing merges.
    """
    middle = row_of(m, mm, i)
    vma = at(m.vma, middle)
    at_start, at_end = start == vma["vm_start"], end == vma["vm_end"]
    pgoff, file, anon = vma["vm_pgoff"] + start - vma["vm_start"], vma["vm_file"], vma["anon_vma"]
    left = at_start and i > 0 and _fits_after(m, row_of(m, mm, i - 1), start, flags, pgoff, file, anon, middle)
    right = at_end and i + 1 < m.counts[mm] and ruled(m, MERGE_RIGHT)
    right = right and _fits_before(m, row_of(m, mm, i + 1), end, flags, pgoff + end - start, file, anon, middle)
    right = right and (not left or _both_fit(m, row_of(m, mm, i - 1), row_of(m, mm, i + 1)))
    if left and right:
        following = row_of(m, mm, i + 1)
        _take_anon(m, row_of(m, mm, i - 1), following if at(m.vma, following)["anon_vma"] != 0 else middle)
        _stretch(m, row_of(m, mm, i - 1), at(m.vma, following)["vm_end"])
        drop(m, mm, i, i + 2)
        m.sys[MERGES_BOTH] += 1
        return i - 1
    if left:
        _take_anon(m, row_of(m, mm, i - 1), middle)
        _shift(m, row_of(m, mm, i - 1), middle, end, at_end)
        if at_end:
            drop(m, mm, i, i + 1)
        m.sys[MERGES_LEFT] += 1
        return i - 1
    if right:
        _take_anon(m, row_of(m, mm, i + 1), middle)
        _shift(m, middle, row_of(m, mm, i + 1), start, at_start)
        if at_start:
            drop(m, mm, i, i + 1)
        m.sys[MERGES_RIGHT] += 1
        return i if at_start else i + 1
    return -1


@inline
def _stretch(m, row, end):
    """Extend a VMA to the right."""
    unlink(m, row)
    at(m.vma, row)["vm_end"] = end
    link(m, row)


@jit
def _shift(m, below, above, page, swallow):
    """Move the border between two neighbours; the one that loses all its pages is dropped by the caller.

    If the border moves, both leave the tree, and come back, the upper one first (vma_prepare, vma_complete).
    """
    lower, upper = at(m.vma, below), at(m.vma, above)
    if swallow and page == lower["vm_start"]:
        unlink(m, above)
        upper["vm_pgoff"] -= upper["vm_start"] - page
        upper["vm_start"] = page
        link(m, above)
        return
    if swallow:
        _stretch(m, below, page)
        return
    unlink(m, below)
    unlink(m, above)
    lower["vm_end"] = page
    upper["vm_pgoff"] += page - upper["vm_start"]
    upper["vm_start"] = page
    link(m, above)
    link(m, below)


@jit
def modify(m, mm, i, start, end, flags):
    """Change the flags of a range within the i-th VMA: merge it with what is beside it, or split it off (vma_modify).

    Returns
    -------
    int
        Position of the VMA that the range is in now.
    """
    merged = _merge_changed(m, mm, i, start, end, flags)
    if merged >= 0:
        vma_of(m, mm, merged)["vm_flags"] = flags
        return merged
    if vma_of(m, mm, i)["vm_start"] < start:
        split(m, mm, i, start, True)
        i += 1
    if vma_of(m, mm, i)["vm_end"] > end:
        split(m, mm, i, end, False)
    vma_of(m, mm, i)["vm_flags"] = flags
    return i
