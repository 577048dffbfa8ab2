"""Names of the programs and of their steps: what an actor does next is (program, pc)."""

PROGRAMS = {
    "dio": (
        "io_getevents",
        "io_submit",
        "gup_call",
        "range_lock",
        "range_insert",
        "range_unlock",
        "gup_pages",
        "pin_pages",
        "fault_lock",
        "page_mkwrite",
        "fault_pte",
        "fault_unlock",
        "build_bio",
        "bio_set_pages_dirty",
        "submit_bio",
    ),
    "irq": ("take_bio", "check_pages_dirty", "release_pages", "dio_bio_complete", "end_page_writeback"),
    "kworker": (
        "take_work",
        "set_page_dirty_lock",
        "range_lock",
        "range_release",
        "range_unlock",
        "release_pages",
    ),
    "writeback": (
        "sleep",
        "find_dirty",
        "lock_page",
        "i_mmap_lock",
        "page_mkclean",
        "ask",
        "i_mmap_unlock",
        "decide",
        "clear_page_dirty_for_io",
        "submit_bio",
        "wait_writeback",
    ),
    "kswapd": (
        "sleep",
        "isolate",
        "trylock_page",
        "i_mmap_lock",
        "try_to_unmap",
        "i_mmap_unlock",
        "test_dirty",
        "try_to_release_page",
        "remove_mapping",
        "putback",
    ),
}


def _numbers(program: str) -> range:
    return range(len(PROGRAMS[program]))


DIO_PROGRAM, IRQ_PROGRAM, KWORKER_PROGRAM, WRITEBACK_PROGRAM, KSWAPD_PROGRAM = range(len(PROGRAMS))

(
    D_REAP,
    D_BEGIN,
    D_GUP_CALL,
    D_RANGE_LOCK,
    D_RANGE_INSERT,
    D_RANGE_UNLOCK,
    D_GUP_PAGES,
    D_PIN_PAGES,
    D_FAULT_LOCK,
    D_PAGE_MKWRITE,
    D_FAULT_PTE,
    D_FAULT_UNLOCK,
    D_BUILD_BIO,
    D_SET_DIRTY,
    D_SUBMIT_BIO,
) = _numbers("dio")
I_TAKE, I_CHECK_DIRTY, I_RELEASE, I_DIO_COMPLETE, I_END_WRITEBACK = _numbers("irq")
W_TAKE, W_SET_DIRTY, W_RANGE_LOCK, W_RANGE_RELEASE, W_RANGE_UNLOCK, W_RELEASE = _numbers("kworker")
(
    F_SLEEP,
    F_FIND,
    F_LOCK_PAGE,
    F_I_MMAP_LOCK,
    F_MKCLEAN,
    F_ASK,
    F_I_MMAP_UNLOCK,
    F_DECIDE,
    F_CLEAR_DIRTY,
    F_SUBMIT_BIO,
    F_WAIT_WRITEBACK,
) = _numbers("writeback")
(
    R_SLEEP,
    R_ISOLATE,
    R_TRYLOCK,
    R_I_MMAP_LOCK,
    R_UNMAP,
    R_I_MMAP_UNLOCK,
    R_TEST_DIRTY,
    R_RELEASE_BUFFERS,
    R_REMOVE_MAPPING,
    R_PUTBACK,
) = _numbers("kswapd")


def step_name(program: int, pc: int) -> str:
    """Name of a step, as it stands in walk-throughs.

    Parameters
    ----------
    program, pc : int
        As in a `TASK` row.
    """
    return PROGRAMS[tuple(PROGRAMS)[program]][pc]
