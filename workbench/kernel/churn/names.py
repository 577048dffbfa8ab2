"""What a tracker of pins makes one touch in the kernel: names of members, functions and flags, in groups."""

import re
from typing import NamedTuple

PLAIN_RELEASE = "plain release"  # of a GUP page only in files that call GUP


class Group(NamedTuple):
    """Names that one change of the kernel is about.

    Attributes
    ----------
    about : str
        What they have in common.
    structs : tuple of str
        Structs whose members the names in `members` are.
    members, functions, flags : tuple of str
        Members of those structs; functions and function-like macros; constants.
    """

    about: str
    structs: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_PAGE = ("page", "folio")
# Names are those of Linux 4.17 to 6.12; what a version does not have is not found in it.
GROUPS = {
    "vma range": Group(
        "the range of a VMA and its node in i_mmap: what a common node would hold",
        ("vm_area_struct",),
        _words("vm_start vm_end vm_pgoff shared"),
    ),
    "vma flags": Group("vm_flags of a VMA", ("vm_area_struct",), _words("vm_flags __vm_flags")),
    "vma setters": Group(
        "functions that write these members for others",
        functions=_words("vm_flags_init vm_flags_reset vm_flags_reset_once vm_flags_set vm_flags_clear vm_flags_mod")
        + _words("__vm_flags_mod vma_set_range"),
    ),
    "tree": Group(
        "walks and changes of the i_mmap tree",
        functions=_words("vma_interval_tree_foreach vma_interval_tree_insert vma_interval_tree_insert_after")
        + _words("vma_interval_tree_remove vma_interval_tree_iter_first vma_interval_tree_iter_next"),
    ),
    "tree root": Group(
        "who looks at the root of the tree or whether it is empty", ("address_space",), ("i_mmap",), ("mapping_mapped",)
    ),
    "gup": Group(
        "calls of get_user_pages() and its kin",
        functions=_words("get_user_pages get_user_pages_fast get_user_pages_unlocked get_user_pages_remote")
        + _words("get_user_pages_locked get_user_pages_longterm get_user_pages_fast_only get_user_page_fast_only")
        + _words("__get_user_pages_fast get_user_page_vma_remote get_user_page_nowait get_dump_page get_vaddr_frames")
        + _words("pin_user_pages pin_user_pages_fast pin_user_pages_unlocked pin_user_pages_remote")
        + _words("pin_user_pages_locked pin_user_pages_fast_only memfd_pin_folios iov_iter_get_pages")
        + _words("iov_iter_get_pages_alloc iov_iter_get_pages2 iov_iter_get_pages_alloc2 iov_iter_extract_pages")
        + _words("bio_iov_iter_get_pages"),
    ),
    "longterm": Group(
        "users that say that their pins last", functions=("get_user_pages_longterm",), flags=("FOLL_LONGTERM",)
    ),
    "release": Group(
        "releases that are of user pages by their name",
        functions=_words("unpin_user_page unpin_user_pages unpin_user_pages_dirty_lock unpin_user_folio unpin_folio")
        + _words("unpin_user_page_range_dirty_lock unpin_folios put_user_page put_user_pages put_user_pages_dirty")
        + _words("put_user_pages_dirty_lock put_vaddr_frames bio_release_pages bio_check_pages_dirty bio_release_page"),
    ),
    PLAIN_RELEASE: Group(
        "releases of any page", functions=_words("put_page folio_put folio_put_refs release_pages put_devmap_page")
    ),
    "dirty": Group(
        "who dirties pages that he does not own", functions=("set_page_dirty_lock", "folio_mark_dirty_lock")
    ),
    "cleaners": Group(
        "who cleans a page for writing, and would ask",
        functions=_words("clear_page_dirty_for_io folio_clear_dirty_for_io page_mkclean folio_mkclean"),
    ),
    "buffers": Group("who strips a page's buffers", functions=_words("try_to_release_page filemap_release_folio")),
    "lru": Group(
        "page->lru, and functions that take pages off the LRU or put them there",
        _PAGE,
        ("lru",),
        _words("isolate_lru_page folio_isolate_lru putback_lru_page folio_putback_lru lru_cache_add folio_add_lru")
        + _words("add_page_to_lru_list add_page_to_lru_list_tail del_page_from_lru_list lruvec_add_folio")
        + _words("lruvec_add_folio_tail lruvec_del_folio lru_to_page lru_to_folio PageLRU SetPageLRU ClearPageLRU")
        + _words("TestClearPageLRU folio_test_lru folio_set_lru folio_test_clear_lru"),
    ),
    "page flags": Group("words of flags as a whole", _PAGE, ("flags",), flags=("NR_PAGEFLAGS",)),
    "references": Group(
        "who reads or sets a page's whole reference count",
        _PAGE,
        ("_refcount",),
        _words("page_count page_ref_count folio_ref_count page_ref_freeze folio_ref_freeze page_ref_unfreeze")
        + _words("folio_ref_unfreeze page_ref_add_unless folio_ref_add_unless set_page_count folio_set_count"),
    ),
    "mapcount": Group(
        "who reads or sets how often a page is mapped",
        _PAGE,
        ("_mapcount",),
        _words("page_mapcount folio_mapcount total_mapcount page_mapped folio_mapped page_mapcount_reset")
        + _words("__page_mapcount page_trans_huge_mapcount folio_total_mapcount folio_likely_mapped_shared")
        + _words("folio_large_mapcount folio_precise_page_mapcount"),
    ),
    "page lock": Group(
        "who takes, waits for or looks at a page's lock",
        functions=_words("lock_page lock_page_killable trylock_page lock_page_or_retry wait_on_page_locked PageLocked")
        + _words("wait_on_page_locked_killable folio_lock folio_lock_killable folio_trylock folio_lock_or_retry")
        + _words("folio_wait_locked folio_wait_locked_killable folio_test_locked"),
    ),
    "ptes": Group(
        "who takes a PTE away or sets one",
        functions=_words("set_pte_at set_ptes ptep_get_and_clear ptep_get_and_clear_full ptep_clear_flush")
        + _words("ptep_modify_prot_start ptep_modify_prot_commit pte_modify"),
    ),
}  # fmt: skip

MEMBERS = {name: group for group, g in GROUPS.items() for name in g.members}
CALLS = {name: group for group, g in GROUPS.items() for name in (*g.functions, *g.flags)}
FLAGS = {name for g in GROUPS.values() for name in g.flags}
NAMES = {**CALLS, **MEMBERS}
# Words that are everywhere: only asked for in files that can mean the member.
COMMON = {"flags": re.compile(rb"(?:page|folio)\w*\)?->flags\b"), "shared": re.compile(rb"\bvm_area_struct\b")}


def pattern() -> re.Pattern[bytes]:
    """All names as whole words."""
    longest_first = sorted(NAMES, key=len, reverse=True)
    return re.compile(rb"\b(?:%s)\b" % "|".join(longest_first).encode())


def clues() -> list[bytes]:
    """Bytes one of which is in every file that has a name: those that hold no other, so that there are few."""
    rare = [name.encode() for name in NAMES if name not in COMMON]
    return [name for name in rare if not any(other in name for other in rare if other != name)]
