"""Between the world and its words: one or two for each object.

Layout of a state's words: pages, rows of bios, direct IOs, two words per task, two of the registers, and, if the
tracker keeps ranges, two of these. A transition is run in place. Of what it has changed, which is seen by the bytes,
the words are written down; then it is undone.
"""

from workbench.accelerate import at, inline
from workbench.intrinsics import copy_row, same_row
from workbench.mm import packing
from workbench.search.progress import CHANGED, FRESH, RANGED, WORDS


@inline
def pack(world, search):
    """Write all of the world's words.

    Returns
    -------
    bool
        False: a count has outgrown its field, or there are too many ranges.
    """
    word, order, ranged = search.word, search.order, search.cells[RANGED]
    w = 0
    fits = True
    if ranged:
        fits = packing.order_ranges(world, order)
    for p in range(len(world.page)):
        page = at(world.page, p)
        fits &= packing.page_fits(page)
        word[w] = packing.pack_page(page)
        w += 1
    for b in range(len(world.bio)):
        word[w] = packing.pack_bio(world, b, order)
        w += 1
    for d in range(len(world.dio)):
        word[w] = packing.pack_dio(world, d, order)
        w += 1
    for t in range(len(world.task)):
        word[w] = packing.pack_task(at(world.task, t), order)
        word[w + 1] = packing.pack_lists(at(world.task, t))
        w += 2
    word[w] = packing.pack_lists_of_world(world.sys)
    word[w + 1] = packing.pack_counts_of_world(world.sys)
    if ranged:
        _pack_ranges(world, search, w + 2)
    return fits


@inline
def _pack_ranges(world, search, w):
    search.word[w] = packing.pack_ranges(world, search.order, 0)
    search.word[w + 1] = packing.pack_ranges(world, search.order, packing.RANGES_PER_WORD)


@inline
def take_words(world, search):
    """Write the words that are no longer the expanded state's, list them in ``fresh``, and make the world that state's.

    Returns
    -------
    bool
        False: a count has outgrown its field, or there are too many ranges.
    """
    word, order, kept, cells = search.word, search.order, search.kept, search.cells
    fits = True
    moved = cells[RANGED] != 0 and not _same_nodes(world, kept)
    if moved:
        fits = packing.order_ranges(world, order)  # all handles may have other places now
    w = n = 0
    for p in range(len(world.page)):
        if not same_row(world.page, p, kept.page, p):
            fits &= packing.page_fits(at(world.page, p))
            word[w] = packing.pack_page(at(world.page, p))
            n = _listed(search, w, n)
            copy_row(world.page, p, kept.page, p)
        w += 1
    for b in range(len(world.bio)):
        if moved or not same_row(world.bio, b, kept.bio, b):
            word[w] = packing.pack_bio(world, b, order)
            n = _listed(search, w, n)
            copy_row(world.bio, b, kept.bio, b)
        w += 1
    for d in range(len(world.dio)):
        if moved or not same_row(world.dio, d, kept.dio, d):
            word[w] = packing.pack_dio(world, d, order)
            n = _listed(search, w, n)
            copy_row(world.dio, d, kept.dio, d)
        w += 1
    for t in range(len(world.task)):
        if moved or not same_row(world.task, t, kept.task, t):
            word[w] = packing.pack_task(at(world.task, t), order)
            n = _listed(search, w, n)
            word[w + 1] = packing.pack_lists(at(world.task, t))
            n = _listed(search, w + 1, n)
            copy_row(world.task, t, kept.task, t)
        w += 2
    lists = not same_row(search.lists, 0, kept.lists, 0)  # with TAGS_FREE among them
    if lists:
        word[w] = packing.pack_lists_of_world(world.sys)
        n = _listed(search, w, n)
    if lists or not same_row(search.counts, 0, kept.counts, 0):
        word[w + 1] = packing.pack_counts_of_world(world.sys)
        n = _listed(search, w + 1, n)
        copy_row(search.lists, 0, kept.lists, 0)
        copy_row(search.counts, 0, kept.counts, 0)
    if moved:
        _pack_ranges(world, search, w + 2)
        n = _listed(search, w + 2, n)
        n = _listed(search, w + 3, n)
        for i in range(len(world.node)):
            copy_row(world.node, i, kept.node, i)
        packing.order_ranges(world, order)
    cells[FRESH] = n
    return fits


@inline
def _listed(search, w, n):
    """List a word as the ``n``-th fresh one, if it is that."""
    search.fresh[n] = w
    return n + (search.word[w] != search.base[w])


@inline
def _same_nodes(world, kept):
    for i in range(len(world.node)):
        if not same_row(world.node, i, kept.node, i):
            return False
    return True


@inline
def unpack(world, search):
    """Set the objects whose bits are set in `CHANGED` to what ``base`` says, and keep their rows."""
    base, order, kept, cells = search.base, search.order, search.kept, search.cells
    words, changed = cells[WORDS], cells[CHANGED]
    cells[CHANGED] = 0
    if cells[RANGED] and changed >> (words - 2) != 0:
        packing.unpack_ranges(world, order, base, words - 2, words)
        changed = -1  # handles name other nodes now
        for i in range(len(world.node)):
            copy_row(kept.node, i, world.node, i)
    w = 0
    for p in range(len(world.page)):
        if changed >> w & 1:
            packing.unpack_page(at(world.page, p), base[w])
            copy_row(kept.page, p, world.page, p)
        w += 1
    _unpack_bios(world, search, changed >> w & ((1 << len(world.bio)) - 1), w)
    w += len(world.bio)
    for d in range(len(world.dio)):
        if changed >> w & 1:
            packing.unpack_dio(world, d, base[w], order)
            copy_row(kept.dio, d, world.dio, d)
        w += 1
    for t in range(len(world.task)):
        if changed >> w & 1:
            packing.unpack_task(at(world.task, t), base[w], order)
        if changed >> w & 3:  # of a task that is dead, or waits for work, the second word says nothing
            packing.unpack_lists(at(world.task, t), base[w + 1])
            copy_row(kept.task, t, world.task, t)
        w += 2
    if changed >> w & 1:
        packing.unpack_lists_of_world(world.sys, base[w])
    if changed >> (w + 1) & 1:
        packing.unpack_counts_of_world(world.sys, base[w + 1])
    copy_row(kept.lists, 0, search.lists, 0)
    copy_row(kept.counts, 0, search.counts, 0)


@inline
def _unpack_bios(world, search, changed, w):
    if changed == 0:
        return
    for b in range(len(world.bio)):
        if changed >> b & 1:
            packing.unpack_bio(world, b, search.base[w + b], search.order)
    packing.link_free_bios(world)
    for b in range(len(world.bio)):
        copy_row(search.kept.bio, b, world.bio, b)
