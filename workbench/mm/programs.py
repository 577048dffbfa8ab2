"""Names of the programs and of their steps: what an actor does next is (program, pc).

Steps that several programs share (get_user_pages and its faults; migration) have the same numbers in each of them.
"""

_GUP = (
    "gup_call",
    "range_lock",
    "range_insert",
    "range_unlock",
    "gup_pages",
    "gup_take",
    "gup_check",
    "follow_page",
    "pin_pages",
    "fault_lock",
    "page_mkwrite",
    "fault_pte",
    "cow_fault",
    "fault_unlock",
    "gup_fail",
)
_MIGRATE = ("isolate", "migrate_lock", "migrate_unmap", "migrate_move", "migrate_remap", "putback")
_FAULT = tuple(name if name.startswith(("fault", "page_mkwrite", "cow")) else "" for name in _GUP)
_NO_GUP = ("",) * (2 + len(_GUP))

PROGRAMS = {
    "dio": ("io_getevents", "io_submit", *_GUP, "build_bio", "bio_set_pages_dirty", "submit_bio"),
    "irq": (
        "take_bio",
        "check_pages_dirty",
        "release_pages",
        "dio_bio_complete",
        "end_page_writeback",
        "range_release",
    ),
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
    "rdma": (
        "reg_mr",
        "mr_check",
        *_GUP,
        *_MIGRATE,
        "mr_undo",
        "mr_detach",
        "post_recv",
        "poll_cq",
        "idle",
        "lease_notice",
        "lease_grace",
        "dereg_dirty",
        "dereg_lock",
        "dereg_range",
        "dereg_unlock",
        "dereg_release",
        "dereg_detached",
    ),
    "writer": ("write", "balance_dirty_pages", *_FAULT),
    "fork": ("fork_begin", "fork_ask", "fork_copy", "fork_share", "fork_end"),
    "child": ("child_wait", "child_write", "child_exit"),
    "truncate": (
        "truncate_begin",
        "unmap_range",
        "truncate_idle",
        "truncate_lock",
        "truncate_page",
        "truncate_unlock",
    ),
    "migrate": (*_NO_GUP, *_MIGRATE),
    "mapper": ("map", "unmap"),
}


def _numbers(program: str) -> range:
    return range(len(PROGRAMS[program]))


(
    DIO_PROGRAM,
    IRQ_PROGRAM,
    KWORKER_PROGRAM,
    WRITEBACK_PROGRAM,
    KSWAPD_PROGRAM,
    RDMA_PROGRAM,
    WRITER_PROGRAM,
    FORK_PROGRAM,
    CHILD_PROGRAM,
    TRUNCATE_PROGRAM,
    MIGRATE_PROGRAM,
    MAPPER_PROGRAM,
) = range(len(PROGRAMS))

(
    D_REAP,
    D_BEGIN,
    D_GUP_CALL,
    D_RANGE_LOCK,
    D_RANGE_INSERT,
    D_RANGE_UNLOCK,
    D_GUP_PAGES,
    D_GUP_TAKE,
    D_GUP_CHECK,
    D_FOLLOW_PAGE,
    D_PIN_PAGES,
    D_FAULT_LOCK,
    D_PAGE_MKWRITE,
    D_FAULT_PTE,
    D_COW_FAULT,
    D_FAULT_UNLOCK,
    D_GUP_FAIL,
    D_BUILD_BIO,
    D_SET_DIRTY,
    D_SUBMIT_BIO,
) = _numbers("dio")
I_TAKE, I_CHECK_DIRTY, I_RELEASE, I_DIO_COMPLETE, I_END_WRITEBACK, I_RANGE_RELEASE = _numbers("irq")
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
M_REGISTER, M_CHECK = 0, 1
(
    G_ISOLATE,
    G_LOCK,
    G_UNMAP,
    G_MOVE,
    G_REMAP,
    G_PUTBACK,
    M_UNDO,
    M_DETACH,
    M_POST_RECV,
    M_POLL,
    M_IDLE,
    M_NOTICE,
    M_GRACE,
    M_DEREG_DIRTY,
    M_DEREG_LOCK,
    M_DEREG_RANGE,
    M_DEREG_UNLOCK,
    M_DEREG_RELEASE,
    M_DEREG_DETACHED,
) = range(2 + len(_GUP), len(PROGRAMS["rdma"]))
U_WRITE, U_BALANCE = 0, 1
K_BEGIN, K_ASK, K_COPY, K_SHARE, K_END = _numbers("fork")
C_WAIT, C_WRITE, C_EXIT = _numbers("child")
T_BEGIN, T_UNMAP, T_IDLE, T_LOCK, T_TRUNCATE, T_UNLOCK = _numbers("truncate")
P_MAP, P_UNMAP = _numbers("mapper")


def step_name(program: int, pc: int) -> str:
    """Name of a step, as it stands in walk-throughs.

    Parameters
    ----------
    program, pc : int
        As in a `TASK` row.
    """
    return PROGRAMS[tuple(PROGRAMS)[program]][pc]
