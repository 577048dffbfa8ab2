"""Reclaim: one page after another from the tail of the LRU (v4.17 mm/vmscan.c shrink_page_list).

Trylock; unmap (a dirty PTE makes the page dirty); a dirty page is left to the flusher; buffers are dropped
unless busy; a page that somebody else still references stays in the page cache, without its buffers.
The referenced bits are taken to be clear, so that one pass goes all the way.
"""

from workbench.accelerate import at, jit, step
from workbench.mm import registers as R
from workbench.mm.detached import invalidate
from workbench.mm.i_mmap import i_mmap_lock, i_mmap_unlock, page_mapped
from workbench.mm.i_mmap import try_to_unmap as rmap_unmap
from workbench.mm.page import (
    BH_DIRTY,
    EVER_PINNED,
    KNOWN,
    LRU_SHIFT,
    NEWER_THAN_DISK,
    PG_CACHED,
    PG_DIRTY,
    PG_LOCKED,
    PG_PRIVATE,
    PG_WAITERS,
    PG_WRITEBACK,
    WANTED,
    get_page,
    has,
    lru_del,
    page_of,
    putback_lru_page,
    trylock_page,
    unlock_page,
)
from workbench.mm.programs import (
    R_I_MMAP_LOCK,
    R_I_MMAP_UNLOCK,
    R_ISOLATE,
    R_PUTBACK,
    R_RELEASE_BUFFERS,
    R_REMOVE_MAPPING,
    R_SLEEP,
    R_TEST_DIRTY,
    R_TRYLOCK,
    R_UNMAP,
)
from workbench.mm.world import tally
from workbench.mm.writeback import act_on_no, ask_tracker, next_round
from workbench.policies import IGNORE
from workbench.trackers.protocol import page_freed


@jit
def kswapd_sleep(world, t):
    """Between rounds; a round looks once at each page that is on the LRU when it begins."""
    task = at(world.task, t)
    if next_round(world, task):
        task["last"] = world.sys[R.LRU_PAGES]
        task["pc"] = R_ISOLATE


@jit
def isolate(world, t):
    """Isolate the page at the tail, under the LRU lock."""
    task = at(world.task, t)
    tail = world.sys[R.LRU_TAIL]
    if task["last"] == 0 or tail == 0:
        task["pc"] = R_SLEEP
        return
    p = (tail >> LRU_SHIFT) - 1
    task["last"] -= 1
    task["page"] = p
    task["answer"] = task["told_no"] = 0
    lru_del(world, p)
    get_page(world, page_of(world, p))
    tally(world, R.LRU_ISOLATE, 1)
    tally(world, R.RECLAIM_PAGE, 1)
    task["pc"] = R_TRYLOCK


@jit
def reclaim_trylock(world, t):
    """A locked page, or one under writeback, is passed over."""
    task = at(world.task, t)
    page = page_of(world, int(task["page"]))
    task["locked"] = 0
    if not trylock_page(world, page):
        _keep(world, task)
        return
    task["locked"] = 1
    if has(page, PG_WRITEBACK):
        _keep(world, task)
    else:
        asks_after = world.sys[R.CLEAN_RECLAIM] != IGNORE and not world.sys[R.RECLAIM_BEFORE]
        task["pc"] = R_I_MMAP_LOCK if page_mapped(page) or asks_after else R_TEST_DIRTY


@jit
def _keep(world, task):
    world.sys[R.KEPT] += 1
    task["pc"] = R_PUTBACK


@jit
def reclaim_i_mmap_lock(world, t):
    """Take ``i_mmap_rwsem`` for reading."""
    if i_mmap_lock(world, t, 0):
        at(world.task, t)["pc"] = R_UNMAP


@step
def reclaim_unmap(tracker, world, t):
    """``try_to_unmap``, and the question whether the page is pinned, before or after it."""
    sys = world.sys
    task = at(world.task, t)
    p = int(task["page"])
    asks = sys[R.CLEAN_RECLAIM] != IGNORE
    if not invalidate(world, task, p):
        return
    if asks and sys[R.RECLAIM_BEFORE]:
        _ask(tracker, world, task, p)
    if not task["answer"] and page_mapped(page_of(world, p)):
        rmap_unmap(world, p)
        task["error"] = page_mapped(page_of(world, p))  # a pin that is counted as a mapping
    if asks and not sys[R.RECLAIM_BEFORE]:
        _ask(tracker, world, task, p)
    task["pc"] = R_I_MMAP_UNLOCK


@step
def _ask(tracker, world, task, p):
    task["answer"] = ask_tracker(tracker, world, p)
    task["told_no"] = not task["answer"] and page_of(world, p)["ghost_pins"] == 0


@jit
def reclaim_i_mmap_unlock(world, t):
    """Release ``i_mmap_rwsem``."""
    i_mmap_unlock(world, 0)
    at(world.task, t)["pc"] = R_TEST_DIRTY


@jit
def test_dirty(world, t):
    """A pinned page that the policy keeps, and a dirty one, stay: the flusher writes, not reclaim."""
    task = at(world.task, t)
    page = page_of(world, int(task["page"]))
    if task["answer"]:
        world.sys[R.KEPT_PINNED] += 1
        _keep(world, task)
    elif task["error"] or has(page, PG_DIRTY):
        _keep(world, task)
    else:
        task["pc"] = R_RELEASE_BUFFERS


@jit
def try_to_release_page(world, t):
    """Drop the buffers unless one is busy; nobody looks at the page's references (v4.17 fs/buffer.c)."""
    task = at(world.task, t)
    page = page_of(world, int(task["page"]))
    if has(page, PG_PRIVATE):
        if has(page, BH_DIRTY | PG_WRITEBACK):
            _keep(world, task)
            return
        act_on_no(world, task, int(task["page"]))
        page["flags"] &= ~PG_PRIVATE
        page["_refcount"] -= 1
        world.sys[R.BUFFERS_DROPPED] += 1
    task["pc"] = R_REMOVE_MAPPING


@step
def remove_mapping(tracker, world, t):
    """Freeze the references and free the page, if only the page cache and this task hold one."""
    task = at(world.task, t)
    p = int(task["page"])
    page = page_of(world, p)
    if page["_refcount"] != 2 or has(page, PG_DIRTY):
        _keep(world, task)
        return
    if page["ghost_data"] & NEWER_THAN_DISK:
        world.sys[R.LOST_UPDATE] += 1
    page["_refcount"] = 1
    page["ghost_data"] &= EVER_PINNED | KNOWN | WANTED  # what is lost stays lost
    page["flags"] &= PG_LOCKED | PG_WAITERS
    page_freed(tracker, world, p)
    world.sys[R.FREED] += 1
    task["pc"] = R_PUTBACK


@jit
def putback(world, t):
    """Unlock, drop the isolation's reference, and put a page that stays back on the LRU."""
    task = at(world.task, t)
    p = int(task["page"])
    if task["locked"]:
        unlock_page(world, p)
    task["locked"] = task["answer"] = task["told_no"] = task["error"] = 0
    page = page_of(world, p)
    page["_refcount"] -= 1
    if has(page, PG_CACHED):
        putback_lru_page(world, p)
    task["pc"] = R_ISOLATE
