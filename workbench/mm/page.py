"""``struct page``: flags, references, the LRU, the page lock, dirtying, and the ghost state.

A page of the buffers' inode is mapped by one PTE, whose bits are kept in ``flags`` beside the page's own.
Sources: v4.17 include/linux/page-flags.h, mm/swap.c, mm/filemap.c, mm/page-writeback.c, fs/buffer.c.
"""

from workbench.accelerate import at, inline, jit
from workbench.mm import registers as R
from workbench.mm.world import WAIT_NONE, WAIT_PAGE, WAIT_PIN, tally, wait, wake

FLAGS = (
    "PG_locked",
    "PG_dirty",
    "PG_writeback",
    "PG_lru",
    "PG_private",  # buffers attached
    "PG_waiters",
    "PG_dma_pinned",  # only the flag trackers use it, and page-lock: the lock is held by a pin
    "PG_cached",  # in the page cache (page->mapping is set)
    "BH_Dirty",  # its buffers are dirty
    "TAG_DIRTY",  # PAGECACHE_TAG_DIRTY: how flusher and fsync find it
    "TAG_WRITEBACK",  # PAGECACHE_TAG_WRITEBACK
    "PTE_present",
    "PTE_write",
    "PTE_dirty",
    "PG_anon",
    "PG_anon_exclusive",
    "CHILD_present",  # the child's PTE
    "CHILD_write",
    "BOUNCED",  # what is written of it is a bounce page
    "PTE_pinned",  # a software bit of the PTE; only pte-bit uses it
    "CMA",  # the frame lies in a CMA area, and always has: the one flag that is no part of a state
)
(
    PG_LOCKED,
    PG_DIRTY,
    PG_WRITEBACK,
    PG_LRU,
    PG_PRIVATE,
    PG_WAITERS,
    PG_DMA_PINNED,
    PG_CACHED,
    BH_DIRTY,
    TAG_DIRTY,
    TAG_WRITEBACK,
    PTE_PRESENT,
    PTE_WRITE,
    PTE_DIRTY,
    PG_ANON,
    PG_EXCLUSIVE,
    CHILD_PRESENT,
    CHILD_WRITE,
    BOUNCED,
    PTE_PINNED,
    FRAME_CMA,
) = (1 << bit for bit in range(len(FLAGS)))

# Ghost: how the page's three contents relate.
NEWER_THAN_DISK = 1
NEWER_THAN_COPY = 2  # changed since it was read for the writeback in flight, by the disk or into a bounce page
EVER_PINNED = 4
COPY_READ = 8  # it has been read for the writeback in flight
# What a caller knows to be complete, or fsync found so when it was called, and is not on disk; or only in the copy.
KNOWN, KNOWN_IN_COPY, WANTED, WANTED_IN_COPY = 16, 32, 64, 128

# page->lru: links are page numbers plus one, shifted past the two low bits that pointers leave free.
LRU_SHIFT = 2
PIN_FLAG = 2  # bit 1 of the first word: lru-count keeps the pin count in the second one
WAS_LRU = 1  # with PIN_FLAG: goes back on the LRU at the last unpin

GUP_PIN_COUNTING_BIAS = 1024  # v6.12 include/linux/mm.h


@inline
def page_of(world, p):
    """Row of page ``p``."""
    return at(world.page, p)


@inline
def is_over(page, count_max):
    """Whether a count of the page has gone over its limit."""
    return page["_refcount"] > count_max or page["_pincount"] > count_max


@inline
def judge_counts(world, page):
    """Count it if a count of the page has gone over its limit."""
    world.sys[R.COUNT_OVERFLOW] += is_over(page, world.sys[R.COUNT_MAX])


@inline
def get_page(world, page):
    """Take a reference."""
    page["_refcount"] += 1
    judge_counts(world, page)


@inline
def has(page, flags):
    """Whether any of ``flags`` is set."""
    return (page["flags"] & flags) != 0


@inline
def nr_ptes(world, page):
    """PTEs that map the page, as a walk finds them: ``_mapcount``, but for the pins that are counted in it.

    How many those are is kept in ``_pincount``, in place of the page tables, which are not modelled; the tracker that
    counts pins there does not read it.
    """
    pins = page["_pincount"] if world.sys[R.PINS_IN_MAPCOUNT] else 0
    return page["_mapcount"] + 1 - pins


@inline
def lru_add(world, p):
    """Put a page at the head of the LRU."""
    link = (p + 1) << LRU_SHIFT
    head = world.sys[R.LRU_HEAD]
    page = at(world.page, p)
    page["lru_prev"] = 0
    page["lru_next"] = head
    if head == 0:
        world.sys[R.LRU_TAIL] = link
    else:
        at(world.page, (head >> LRU_SHIFT) - 1)["lru_prev"] = link
    world.sys[R.LRU_HEAD] = link
    world.sys[R.LRU_PAGES] += 1
    page["flags"] |= PG_LRU


@inline
def lru_del(world, p):
    """Take a page off the LRU."""
    page = at(world.page, p)
    before = int(page["lru_prev"])
    after = int(page["lru_next"])
    if before == 0:
        world.sys[R.LRU_HEAD] = after
    else:
        at(world.page, (before >> LRU_SHIFT) - 1)["lru_next"] = after
    if after == 0:
        world.sys[R.LRU_TAIL] = before
    else:
        at(world.page, (after >> LRU_SHIFT) - 1)["lru_prev"] = before
    page["lru_prev"] = 0
    page["lru_next"] = 0
    world.sys[R.LRU_PAGES] -= 1
    page["flags"] &= ~PG_LRU


@inline
def putback_lru_page(world, p):
    """Put an isolated page back; one that was pinned meanwhile has no free words, and goes back when unpinned."""
    page = at(world.page, p)
    if page["lru_next"] & PIN_FLAG:
        page["lru_next"] |= WAS_LRU
    else:
        lru_add(world, p)
        tally(world, R.LRU_PUTBACK, 1)


@inline
def trylock_page(world, page):
    """Take the page lock if it is free."""
    if has(page, PG_LOCKED):
        return False
    page["flags"] |= PG_LOCKED
    world.sys[R.PAGES_LOCKED] += 1
    tally(world, R.PAGE_LOCK, 1)
    return True


@inline
def lock_page(world, task, p):
    """Take the page lock, or wait for it; whoever is woken asks again."""
    page = at(world.page, p)
    if trylock_page(world, page):
        return True
    wait_for_lock(task, page, p)
    return False


@inline
def wait_for_lock(task, page, p):
    """Wait for the lock of a page, which is taken."""
    page["flags"] |= PG_WAITERS
    wait(task, WAIT_PAGE, p)


@jit
def wake_up_page(world, p, kind):
    """Wake those who wait for ``kind`` on page ``p``; if nobody waits on it any more, `PG_WAITERS` goes."""
    others = False
    for t in range(len(world.task)):
        task = at(world.task, t)
        if task["wait_page"] == p and task["wait_kind"] != WAIT_NONE:
            wake(world, t, kind)
            others |= task["wait_kind"] != WAIT_NONE  # it waits on for another reason
    if not others:
        at(world.page, p)["flags"] &= ~PG_WAITERS


@inline
def unlock_page(world, p):
    """Drop the page lock."""
    page = at(world.page, p)
    page["flags"] &= ~PG_LOCKED
    world.sys[R.PAGES_LOCKED] -= 1
    if has(page, PG_WAITERS):
        wake_up_page(world, p, WAIT_PAGE)


@inline
def set_page_dirty(world, page):
    """Mark page and buffers dirty.

    ext4_set_page_dirty warns and goes on where there are no buffers (v4.17 fs/ext4/inode.c): that is the
    hazard `bufferless-dirty`.
    """
    tally(world, R.SET_DIRTY, 1)
    mark_dirty(world, page)


@inline
def mark_dirty(world, page):
    """Do what `set_page_dirty` does, for callers that count a whole run of pages at once."""
    if not has(page, PG_CACHED) or world.sys[R.DAX]:
        return
    if has(page, PG_PRIVATE):
        page["flags"] |= BH_DIRTY
    elif not has(page, PG_DIRTY):
        world.sys[R.BUFFERLESS_DIRTY] += 1
    page["flags"] |= PG_DIRTY | TAG_DIRTY


@inline
def ghost_write(page):
    """Somebody changed the page's memory."""
    page["ghost_data"] |= NEWER_THAN_DISK | NEWER_THAN_COPY


@inline
def ghost_read(page, elsewhere):
    """What is in the page now is what the writeback in flight writes; ``elsewhere``: what is known is not in it."""
    page["ghost_data"] &= ~NEWER_THAN_COPY
    page["ghost_data"] |= COPY_READ
    if not elsewhere:
        page["ghost_data"] |= (page["ghost_data"] & (KNOWN | WANTED)) * (KNOWN_IN_COPY // KNOWN)


@inline
def ghost_pin(page):
    """A true pin begins; gives whether it is the page's only one. A run of them is counted by `count_pins`."""
    page["ghost_data"] |= EVER_PINNED
    page["ghost_pins"] += 1
    return page["ghost_pins"] == 1


@inline
def count_pins(world, pins, pages):
    """Count true pins that have begun, and the pages that had none before."""
    world.sys[R.PINS] += pins
    world.sys[R.PINNED_PAGES] += pages


@inline
def ghost_unpin(page):
    """A true pin ends; gives whether it was the page's last. A run of them is counted by `count_unpins`."""
    page["ghost_pins"] -= 1
    return page["ghost_pins"] == 0


@inline
def count_unpins(world, pins, pages):
    """Count true pins that have ended, and the pages that have none any more."""
    world.sys[R.UNPINS] += pins
    world.sys[R.PINNED_PAGES] -= pages


@inline
def end_pins(world, first, end):
    """The true pins of a range of pages end, as its tracker has been told; cleaners that wait for them look again."""
    unpinned = 0
    for p in range(first, end):
        unpinned += ghost_unpin(page_of(world, p))
        wake_pin_waiters(world, p)
    count_unpins(world, end - first, unpinned)


@inline
def wake_pin_waiters(world, p):
    """A pin of the page was released: cleaners that wait for it look again."""
    if has(page_of(world, p), PG_WAITERS):
        wake_up_page(world, p, WAIT_PIN)
