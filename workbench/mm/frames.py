"""Worlds of frames: one virtual page, and every row of the page array is a frame that it may have.

For anonymous memory and CMA, where write faults, fork and migration move a virtual page from frame to frame. A free
frame is all zero, but for lying in CMA and for a lock that somebody still holds.
"""

from workbench.accelerate import at, inline, jit, step
from workbench.mm import registers as R
from workbench.mm.page import (
    CHILD_PRESENT,
    CHILD_WRITE,
    EVER_PINNED,
    FRAME_CMA,
    PG_ANON,
    PG_LOCKED,
    PG_LRU,
    PG_WAITERS,
    PTE_PRESENT,
    has,
    lru_del,
    page_of,
)
from workbench.trackers.protocol import page_freed


@jit
def mapped_frame(world):
    """Frame that the owner's PTE names, or -1: there is no PTE just now."""
    for p in range(world.sys[R.NR_PAGES]):
        if has(page_of(world, p), PTE_PRESENT):
            return p
    return -1


@jit
def free_frame(world):
    """First free frame outside CMA, or -1."""
    for p in range(world.sys[R.NR_PAGES]):
        page = page_of(world, p)
        if page["_refcount"] == 0 and not has(page, FRAME_CMA | PG_LOCKED):
            return p
    return -1


@inline
def file_backed(world, p):
    """Whether the page belongs to a file, so that it can be in ``i_mmap``."""
    return not has(at(world.page, p), PG_ANON)


@step
def put_page(tracker, world, p):
    """Drop a reference; the last one frees the page, or frame, for another use."""
    page = page_of(world, p)
    page["_refcount"] -= 1
    if page["_refcount"] != 0:
        return
    if has(page, PG_LRU):
        lru_del(world, p)
    page["flags"] &= PG_LOCKED | PG_WAITERS | FRAME_CMA
    page["ghost_data"] &= 0 if world.sys[R.FRAMES] else EVER_PINNED  # a row of a file is the same offset for ever
    page_freed(tracker, world, p)


@inline
def put_frame(world, p):
    """Drop a reference; the last one frees the frame."""
    page = page_of(world, p)
    page["_refcount"] -= 1
    if page["_refcount"] == 0:
        if has(page, PG_LRU):
            lru_del(world, p)
        page["flags"] &= PG_LOCKED | PG_WAITERS | FRAME_CMA
        page["ghost_data"] = 0


@inline
def unmap_child(world, p):
    """The child's PTE goes."""
    page = page_of(world, p)
    page["flags"] &= ~(CHILD_PRESENT | CHILD_WRITE)
    page["_mapcount"] -= 1
    put_frame(world, p)
