"""Bytes of the kernel's own objects: one table, each entry with its source.

x86-64, no debugging options. "replica" is ``sizeof`` of a copy of the declaration, compiled by gcc.
"""

from typing import NamedTuple

PAGE_SIZE = 4096


class Size(NamedTuple):
    """Size of one object.

    Attributes
    ----------
    bytes : int
    source : str
        Where the figure was read.
    """

    bytes: int
    source: str


SIZES = {
    "struct page": Size(64, "v4.17 include/linux/mm_types.h, replica"),
    "page->lru": Size(16, "v4.17 include/linux/mm_types.h: two words, bit 0 of the first is PageTail"),
    "rb_node": Size(24, "v4.17 include/linux/rbtree.h, replica"),
    "interval_tree_node": Size(48, "v4.17 include/linux/interval_tree.h, replica"),
    "vm_area_struct": Size(200, "v4.17 include/linux/mm_types.h with NUMA and USERFAULTFD, replica"),
    "vm_area_struct, no NUMA": Size(184, "the same without NUMA and USERFAULTFD, replica"),
    "pinned range, common node": Size(64, "derived: interval_tree_node 48, mapping pointer 8, pages left and kind 8"),
    "pointer": Size(8, "x86-64"),
    "bio": Size(136, "v4.17 include/linux/blk_types.h, replica"),
    "bio_vec": Size(16, "v4.17 include/linux/bvec.h, replica"),
}


def size_of(name: str) -> int:
    """Bytes of a kernel object.

    Parameters
    ----------
    name : str
        A key of `SIZES`.
    """
    return SIZES[name].bytes


def per_slab_page(name: str) -> int:
    """Objects that a 4 KiB slab page holds (KMEM_CACHE without HWCACHE_ALIGN).

    Parameters
    ----------
    name : str
        A key of `SIZES`.
    """
    return PAGE_SIZE // size_of(name)


class Bits(NamedTuple):
    """What a tracker takes of every page, pinned or not.

    Attributes
    ----------
    bits : int
    source : str
        Where they are, and where that was read.
    """

    bits: int
    source: str


# By tracker, without its options; those that are not here and keep no ranges take nothing of their own: bias lies in
# _refcount, lru-count in page->lru.
PAGE_BITS = {
    "flag": Bits(1, "PG_dma_pinned in page->flags, on 64 bits only; Hubbard 2018-06-16"),
    "flag-sticky": Bits(1, "PG_dma_pinned in page->flags, on 64 bits only; Hubbard 2018-06-16"),
    "pincount": Bits(32, "folio->_pincount, v6.12 include/linux/mm_types.h; assumed: every page has one"),
}
