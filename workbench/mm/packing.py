"""The packed canonical form of each object: what a state is, and nothing else.

No counters, clocks or costs; of contents only how they relate (``ghost_data``); free rows are 0; ranges are a list in
the order of the tree, and a handle is a place in it (plus one). Each word is an ``int64`` of at most 63 bits. Fields
that the next steps can't read are left out, and unpacking leaves them as they are.
"""

from workbench.accelerate import at, inline, jit
from workbench.mm import registers as R
from workbench.mm.interval_tree import KIND_PINNED, alloc, free, insert, iter_first, iter_next, remove
from workbench.mm.page import FLAGS, FRAME_CMA
from workbench.mm.programs import DIO_PROGRAM
from workbench.mm.ranges import PIN_TREE
from workbench.mm.world import DEAD, WAIT_NONE, WAIT_WORK, WAITING

# What fits: the largest number that a small world may have of each.
MAX_PAGES, MAX_BIOS, MAX_DIOS, MAX_TASKS, MAX_RANGES = 14, 30, 14, 14, 10
RANGE_BITS, RANGES_PER_WORD = 12, 5


@inline
def put(word, value, bits):
    """Append a field of ``bits`` bits to a word."""
    return word << bits | value


@inline
def page_fits(page):
    """Whether the page's counts, and what a tracker keeps in its flags and LRU words, fit their fields."""
    wide = page["_refcount"] >> 10 | (page["_mapcount"] + 1) >> 5 | page["_pincount"] >> 4 | page["ghost_pins"] >> 4
    return wide | page["flags"] >> len(FLAGS) | (page["lru_next"] | page["lru_prev"]) >> 6 == 0


@inline
def pack_page(page):
    """``struct page``: 63 bits."""
    word = int(page["flags"]) & ~FRAME_CMA
    word = put(word, int(page["_refcount"]), 10)
    word = put(word, int(page["_mapcount"]) + 1, 5)
    word = put(word, int(page["_pincount"]), 4)
    word = put(word, int(page["ghost_pins"]), 4)
    word = put(word, int(page["ghost_data"]), 8)
    word = put(word, int(page["lru_next"]), 6)
    return put(word, int(page["lru_prev"]), 6)


@inline
def unpack_page(page, word):
    """Reverse of `pack_page`."""
    page["lru_prev"] = word & 63
    page["lru_next"] = word >> 6 & 63
    page["ghost_data"] = word >> 12 & 255
    page["ghost_pins"] = word >> 20 & 15
    page["_pincount"] = word >> 24 & 15
    page["_mapcount"] = (word >> 28 & 31) - 1
    page["_refcount"] = word >> 33 & 1023
    page["flags"] = page["flags"] & FRAME_CMA | word >> 43


@inline
def pack_bio(world, b, order):
    """A row of a bio; ``order`` gives a node's place in the tree (plus one). A free row is 0."""
    row = at(world.bio, b)
    if row["nr_pages"] == 0:
        return 0
    word = int(row["page"]) + 1
    word = put(word, int(row["nr_pages"]), 5)
    word = put(word, _place(order, row["handle"]), 4)
    word = put(word, int(row["seg_next"]) + 1, 5)
    word = put(word, int(row["bi_next"]) + 1, 5)
    word = put(word, int(row["dio"]) + 1, 4)
    word = put(word, int(row["op"]), 2)
    word = put(word, int(row["cpu"]), 2)
    word = put(word, int(row["redirty"]), 1)
    return put(word, int(row["at_device"]), 2)


@inline
def unpack_bio(world, b, word, order):
    """Reverse of `pack_bio`."""
    row = at(world.bio, b)
    row["at_device"] = word & 3
    row["redirty"] = word >> 2 & 1
    row["cpu"] = word >> 3 & 3
    row["op"] = word >> 5 & 3
    row["dio"] = (word >> 7 & 15) - 1
    row["bi_next"] = (word >> 11 & 31) - 1
    row["seg_next"] = (word >> 16 & 31) - 1
    row["handle"] = _node(order, word >> 21 & 15)
    row["nr_pages"] = word >> 25 & 31
    row["page"] = (word >> 30) - 1


@inline
def _place(order, node):
    """Place of a range in the tree, plus one; 0: none, or one that is gone."""
    found = 0
    if node >= 0:
        for i in range(int(order[0])):
            if order[i + 1] == node:
                found = i + 1
    return found


@inline
def _node(order, place):
    return order[place] if place > 0 else -1


@inline
def pack_dio(world, d, order):
    """A direct IO or a registration; of one that is not under way only the links are left."""
    row = at(world.dio, d)
    word = 0
    if row["refcount"] > 0 or at(world.task, row["task"])["program"] != DIO_PROGRAM:
        word = int(row["page"]) + 1
        word = put(word, int(row["nr_pages"]), 5)
        word = put(word, int(row["op"]), 2)
        word = put(word, int(row["got"]), 5)
        word = put(word, int(row["built"]), 5)
        word = put(word, int(row["refcount"]), 4)
        word = put(word, int(row["bio_left"]), 5)
        word = put(word, _place(order, row["handle"]), 4)
    word = put(word, int(row["next"]) + 1, 4)
    return put(word, int(row["prev"]) + 1, 4)


@inline
def unpack_dio(world, d, word, order):
    """Reverse of `pack_dio`."""
    row = at(world.dio, d)
    row["prev"] = (word & 15) - 1
    row["next"] = (word >> 4 & 15) - 1
    row["handle"] = _node(order, word >> 8 & 15)
    row["bio_left"] = word >> 12 & 31
    row["refcount"] = word >> 17 & 15
    row["built"] = word >> 21 & 31
    row["got"] = word >> 26 & 31
    row["op"] = word >> 31 & 3
    row["nr_pages"] = word >> 33 & 31
    row["page"] = (word >> 38) - 1


@inline
def pack_task(task, order):
    """What a task does: 55 bits. Of one that has ended, only that, and the page that it has left locked.

    An interrupt or a kworker without work is at its first step, and has nothing in hand.
    """
    if task["state"] == DEAD:
        return put(int(task["page"]) + 1, DEAD, 2) if task["locked"] else DEAD
    if task["wait_kind"] == WAIT_WORK:
        return WAITING
    word = int(task["pc"])
    word = put(word, int(task["wait_kind"]), 5)
    word = put(word, int(task["wait_page"]) + 1 if task["wait_kind"] != WAIT_NONE else 0, 4)
    word = put(word, int(task["granted"]), 1)
    word = put(word, int(task["write"]), 1)
    word = put(word, int(task["answer"]), 1)
    word = put(word, int(task["told_no"]), 1)
    word = put(word, int(task["locked"]), 1)
    word = put(word, int(task["error"]), 1)
    word = put(word, int(task["journal"]), 1)
    word = put(word, int(task["rounds"]), 4)
    word = put(word, int(task["transfers"]) + 1, 3)
    word = put(word, int(task["page"]) + 1, 5)
    word = put(word, int(task["first"]) + 1, 5)
    word = put(word, int(task["last"]) + 1, 5)
    word = put(word, _place(order, task["handle"]), 4)
    word = put(word, int(task["seq"]), 2)
    word = put(word, int(task["wait_next"]), 4)
    return put(word, int(task["state"]), 2)


@inline
def rest(task):
    """Set a task that waits for work to have nothing in hand, and nothing left of what it did before."""
    task["pc"] = 0
    task["wait_kind"] = WAIT_WORK
    task["page"] = task["first"] = task["last"] = task["wait_page"] = task["handle"] = -1
    task["granted"] = task["write"] = task["answer"] = task["told_no"] = task["locked"] = task["error"] = 0
    task["journal"] = task["rounds"] = task["seq"] = task["wait_next"] = task["kept"] = 0
    task["transfers"] = -1


@inline
def unpack_task(task, word, order):
    """Reverse of `pack_task`."""
    task["state"] = word & 3
    if task["state"] == DEAD:
        task["locked"] = word > DEAD
        task["page"] = (word >> 2) - 1
        task["pc"] = task["wait_kind"] = 0
        return
    if word == WAITING:
        rest(task)
        return
    task["wait_next"] = word >> 2 & 15
    task["seq"] = word >> 6 & 3
    task["handle"] = _node(order, word >> 8 & 15)
    task["last"] = (word >> 12 & 31) - 1
    task["first"] = (word >> 17 & 31) - 1
    task["page"] = (word >> 22 & 31) - 1
    task["transfers"] = (word >> 27 & 7) - 1
    task["rounds"] = word >> 30 & 15
    task["journal"] = word >> 34 & 1
    task["error"] = word >> 35 & 1
    task["locked"] = word >> 36 & 1
    task["told_no"] = word >> 37 & 1
    task["answer"] = word >> 38 & 1
    task["write"] = word >> 39 & 1
    task["granted"] = word >> 40 & 1
    task["wait_page"] = (word >> 41 & 15) - 1
    task["wait_kind"] = word >> 45 & 31
    task["pc"] = word >> 50


@inline
def pack_lists(task):
    """What a task has in hand and on its lists: 57 bits."""
    word = 0
    if task["wait_kind"] == WAIT_WORK:
        return word
    if task["state"] != DEAD:
        word = int(task["kept"])
        word = put(word, int(task["dio"]) + 1, 4)
        word = put(word, int(task["bio"]) + 1, 5)
        word = put(word, int(task["row"]) + 1, 5)
    word = put(word, int(task["list_head"]) + 1, 5)
    word = put(word, int(task["list_tail"]) + 1 if task["list_head"] >= 0 else 0, 5)
    word = put(word, int(task["free_dio"]) + 1, 4)
    word = put(word, int(task["flight_head"]) + 1, 4)
    return put(word, int(task["flight_tail"]) + 1 if task["flight_head"] >= 0 else 0, 4)


@inline
def unpack_lists(task, word):
    """Reverse of `pack_lists`; 0 is an empty hand and no list."""
    task["flight_tail"] = (word & 15) - 1
    task["flight_head"] = (word >> 4 & 15) - 1
    task["free_dio"] = (word >> 8 & 15) - 1
    task["list_tail"] = (word >> 12 & 31) - 1
    task["list_head"] = (word >> 17 & 31) - 1
    task["row"] = (word >> 22 & 31) - 1
    task["bio"] = (word >> 27 & 31) - 1
    task["dio"] = (word >> 32 & 15) - 1
    task["kept"] = word >> 36


@inline
def pack_lists_of_world(sys):
    """Lists and cursors that the registers hold: 54 bits."""
    word = int(sys[R.LRU_PAGES])
    word = put(word, int(sys[R.LRU_TAIL]), 6)
    word = put(word, int(sys[R.LRU_HEAD]), 6)
    word = put(word, int(sys[R.SUBMITTERS]), 3)
    word = put(word, int(sys[R.WORK_OUT]), 4)
    word = put(word, int(sys[R.IOS_OUT]), 3)
    word = put(word, int(sys[R.IOS_LEFT]), 3)
    word = put(word, int(sys[R.PLAN_NEXT]), 3)
    word = put(word, int(sys[R.I_MMAP_TAIL]), 4)
    word = put(word, int(sys[R.I_MMAP_HEAD]), 4)
    word = put(word, int(sys[R.I_MMAP_WRITER]), 4)
    return put(word, int(sys[R.I_MMAP_READERS]), 4)


@inline
def unpack_lists_of_world(sys, word):
    """Reverse of `pack_lists_of_world`."""
    sys[R.I_MMAP_READERS] = word & 15
    sys[R.I_MMAP_WRITER] = word >> 4 & 15
    sys[R.I_MMAP_HEAD] = word >> 8 & 15
    sys[R.I_MMAP_TAIL] = word >> 12 & 15
    sys[R.PLAN_NEXT] = word >> 16 & 7
    sys[R.IOS_LEFT] = word >> 19 & 7
    sys[R.IOS_OUT] = word >> 22 & 7
    sys[R.WORK_OUT] = word >> 25 & 15
    sys[R.SUBMITTERS] = word >> 29 & 7
    sys[R.LRU_HEAD] = word >> 32 & 63
    sys[R.LRU_TAIL] = word >> 38 & 63
    sys[R.LRU_PAGES] = word >> 44


@inline
def pack_counts_of_world(sys):
    """Locks and counts that the registers hold: 23 bits."""
    word = int(sys[R.TAGS_FREE])
    word = put(word, int(sys[R.LEASE_REFUSED]), 1)
    word = put(word, int(sys[R.JOURNAL_HANDLES]), 3)
    word = put(word, int(sys[R.TRUNCATED]), 1)
    word = put(word, int(sys[R.MMAP_READERS]), 3)
    word = put(word, int(sys[R.MMAP_WRITER]), 1)
    word = put(word, int(sys[R.SEQ]), 2)
    return put(word, int(sys[R.HAS_PINNED]), 1)


@inline
def unpack_counts_of_world(sys, word):
    """Reverse of `pack_counts_of_world`."""
    sys[R.HAS_PINNED] = word & 1
    sys[R.SEQ] = word >> 1 & 3
    sys[R.MMAP_WRITER] = word >> 3 & 1
    sys[R.MMAP_READERS] = word >> 4 & 7
    sys[R.TRUNCATED] = word >> 7 & 1
    sys[R.JOURNAL_HANDLES] = word >> 8 & 7
    sys[R.LEASE_REFUSED] = word >> 11 & 1
    sys[R.TAGS_FREE] = word >> 12


@jit
def order_ranges(world, order):
    """List the pinned ranges' nodes in the order of their trees: first those in ``i_mmap``, then those beside it.

    The first cell of ``order`` counts them all, the last one those in ``i_mmap``.

    Returns
    -------
    bool
        False: there are more than `MAX_RANGES`, which are left out; or ``pages_left`` of one is no number of pages.
    """
    fits = True
    n = 0
    for root in (world.sys[R.I_MMAP], PIN_TREE):
        r = iter_first(world.node, world.sys, root, 0, world.sys[R.NR_PAGES])
        while r != 0:
            row = at(world.node, r)
            if row["kind"] == KIND_PINNED:
                fits &= n < MAX_RANGES and 0 <= row["pages_left"] and row["pages_left"] <= MAX_PAGES
                if n < MAX_RANGES:
                    n += 1
                    order[n] = r
            r = iter_next(world.node, world.sys, r, 0, world.sys[R.NR_PAGES])
        if root != PIN_TREE:
            order[MAX_RANGES + 1] = n
    order[0] = n
    return fits


@jit
def pack_ranges(world, order, first):
    """Ranges from place ``first`` on, as many as a word holds; above them, how many of these are in ``i_mmap``."""
    word = 0
    end = min(first + RANGES_PER_WORD, int(order[0]))
    for i in range(end, first, -1):
        row = at(world.node, order[i])
        word = put(word, int(row["pages_left"]) + 1, 4)
        word = put(word, int(row["last"]), 4)
        word = put(word, int(row["start"]), 4)
    return word | max(min(end, int(order[MAX_RANGES + 1])) - first, 0) << RANGES_PER_WORD * RANGE_BITS


@jit
def unpack_ranges(world, order, words, first, end):
    """Take all pinned ranges out of their trees, and those of ``words[first:end]`` in; ``order`` lists their nodes."""
    order_ranges(world, order)
    for i in range(1, int(order[0]) + 1):
        remove(world.node, world.sys, _root(world, i <= order[MAX_RANGES + 1]), order[i])
        free(world.node, order[i])
    order[0] = order[MAX_RANGES + 1] = 0
    for w in range(first, end):
        in_i_mmap = int(words[w]) >> RANGES_PER_WORD * RANGE_BITS
        word = int(words[w]) & ((1 << RANGES_PER_WORD * RANGE_BITS) - 1)
        while word != 0:
            r = alloc(world.node)
            row = at(world.node, r)
            row["kind"] = KIND_PINNED
            row["start"] = word & 15
            row["last"] = word >> 4 & 15
            row["pages_left"] = (word >> 8 & 15) - 1
            row["ghost_born_ps"] = 0
            row["ghost_first_ps"] = 0
            insert(world.node, world.sys, _root(world, in_i_mmap > 0), r)
            order[MAX_RANGES + 1] += in_i_mmap > 0
            order[0] += 1
            order[order[0]] = r
            in_i_mmap -= 1
            word >>= RANGE_BITS


@inline
def _root(world, in_i_mmap):
    return world.sys[R.I_MMAP] if in_i_mmap else PIN_TREE


@jit
def link_free_bios(world):
    """Chain the free rows in their order: which of them is free is state, how they are chained is not."""
    world.sys[R.FREE_BIO] = -1
    used = 0
    for b in range(len(world.bio) - 1, -1, -1):
        row = at(world.bio, b)
        if row["nr_pages"] == 0:
            row["bi_next"] = world.sys[R.FREE_BIO]
            world.sys[R.FREE_BIO] = b
        else:
            used += 1
    world.sys[R.BIO_ROWS] = used
