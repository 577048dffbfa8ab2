"""The numbers that the model keeps: registers, and counters with their unit costs.

``world.sys`` is one ``int64`` array: first a cell for each counter, then the registers; after them, a
unit cost in picoseconds for each counter (`COST` + counter), and the histograms.
"""

# Counters: name -> what one of it is. What a step did is tallied here, and nothing else is counted.
COUNTERS = {
    "RB_VISITED": "interval tree node looked at",
    "RB_ROTATIONS": "rotation in the interval tree",
    "SUBMIT_IO": "direct IO entered (system call, iocb, block mapping)",
    "GUP_CALL": "get_user_pages call",
    "GUP_PAGE": "page looked up by GUP-fast (PTE read twice)",
    "ATOMIC": "atomic read-modify-write",
    "PUT_PAGE": "page released",
    "FAULT": "write fault taken by GUP-slow",
    "PTE_UPDATE": "PTE written",
    "TLB_FLUSH": "TLB entry flushed",
    "SPIN_LOCK": "spinlock taken and dropped",
    "RWSEM": "i_mmap_rwsem taken and dropped",
    "PAGE_LOCK": "page lock taken and dropped",
    "LRU_ISOLATE": "page isolated from the LRU",
    "LRU_PUTBACK": "page put back on the LRU",
    "ALLOC": "object allocated from a slab",
    "FREE": "object freed to a slab",
    "BIO_ALLOC": "bio allocated and initialised",
    "BIO_PAGE": "page added to a bio",
    "SUBMIT_BIO": "bio submitted to the device",
    "INTERRUPT": "completion interrupt",
    "BIO_ENDIO": "bio ended",
    "DIO_COMPLETE": "direct IO completed",
    "REAP": "completed direct IO reaped by its thread (io_getevents, user code)",
    "QUEUE_WORK": "work item queued",
    "WORK_ITEM": "work item run by a kworker",
    "SWITCH": "context switch",
    "SET_DIRTY": "page examined by set_page_dirty or bio_check_pages_dirty",
    "TAG_SCAN": "page looked up by its dirty tag",
    "WRITEPAGE": "page prepared for writeback",
    "END_WRITEBACK": "page's writeback ended",
    "RECLAIM_PAGE": "page taken up by shrink_page_list",
    "PIN_TEST": "tracker asked whether a page is pinned",
    # Counts that cost nothing by themselves.
    "PINS": "page pinned",
    "UNPINS": "page unpinned",
    "DIOS": "direct IO completed",
    "BIOS": "direct IO bio completed",
    "RANGES": "pinned range inserted",
    "RANGES_GONE": "pinned range removed",
    "SPLITS": "pinned range split in two by a partial unpin",
    "SHRINKS": "pinned range shortened by a partial unpin",
    "AMBIGUOUS": "run released by page where several ranges cover it",
    "UNATTRIBUTED": "page released that no range covers",
    "DEFERRED_DIRTY": "bio given to bio_dirty_fn because a page was clean",
    "DEFERRED_UNPIN": "bio whose release was deferred to a kworker",
    "CLEANED": "page cleaned for IO",
    "WRITTEN": "page written back",
    "SKIPPED": "pinned page skipped by a cleaner",
    "WAITED": "wait of a cleaner for a pin",
    "REPORTED": "pinned page reported by a cleaner as an error",
    "FSYNCS": "fsync returned",
    "FSYNC_ERRORS": "fsync returned an error because of a pin",
    "UNMAPPED": "page unmapped by reclaim",
    "BUFFERS_DROPPED": "page that lost its buffers to reclaim",
    "FREED": "page freed by reclaim",
    "KEPT": "page kept by reclaim",
    "KEPT_PINNED": "page kept by reclaim because the tracker said pinned",
    # What must never happen, seen through ghost state (hazards.py).
    "BUFFERLESS_DIRTY": "page dirtied without buffers",
    "FS_BUG": "BUG_ON: the filesystem met a dirty page without buffers",
    "DATA_DROPPED": "dirty page without buffers whose data the filesystem dropped",
    "UNSTABLE_WRITE": "DMA into a page under writeback",
    "MISSED_PIN": "pinned page of which the tracker said 'not pinned' to one who asked",
    "LOST_UPDATE": "page freed with memory newer than disk",
    "STALE_PIN": "page without a true pin of which the tracker said 'pinned' to one who asked",
}

# Registers: lists, cursors, parameters that steps read. Name -> meaning.
REGISTERS = {
    "NOW": "simulated time [ps]; constant while a step runs",
    "STEP_PS": "cost of what the running step has tallied so far [ps]",
    "PAGES_PER_STEP": "pages that one step may handle",
    "WOKEN_HEAD": "first woken task (plus one)",
    "WOKEN_TAIL": "last woken task (plus one)",
    "LRU_HEAD": "first page of the LRU, as a link",
    "LRU_TAIL": "last page of the LRU, as a link",
    "LRU_PAGES": "pages on the LRU",
    "NR_PAGES": "pages of the buffers' inode",
    "I_MMAP": "header row of the inode's interval tree",
    "I_MMAP_READERS": "holders of i_mmap_rwsem for reading",
    "I_MMAP_WRITER": "holder of i_mmap_rwsem for writing (task plus one)",
    "I_MMAP_HEAD": "first task that waits for i_mmap_rwsem (plus one)",
    "I_MMAP_TAIL": "last task that waits for i_mmap_rwsem (plus one)",
    "FREE_BIO": "first free bio row",
    "BIO_ROWS": "bio rows in use",
    "DEVICE_HEAD": "first submitted bio that the device has not taken yet",
    "DEVICE_TAIL": "last such bio",
    "TAGS": "device tags in all",
    "TAGS_FREE": "device tags left",
    "PLAN_NEXT": "next row of the plan",
    "PLAN_END": "rows of the plan that hold IOs",
    "CPUS": "CPUs: tasks 0 to CPUS-1 are their interrupts, the next CPUS their kworkers",
    "IOS_LEFT": "direct IOs still to begin",
    "IOS_OUT": "direct IOs begun and not completed",
    "WORK_OUT": "work items queued or running",
    "SUBMITTERS": "submitting threads that have not exited",
    "DIO_IOMAP": "1: a GUP call per bio (iomap); 0: legacy",
    "GUP_BATCH": "pages per GUP call at most",
    "BIO_PAGES": "pages per bio at most",
    "EXTENT_PAGES": "pages per extent of the file on disk; 0: one extent",
    "STABLE_PAGES": "1: the backing device asks for stable pages",
    "FS_BUG_ON": "1: ext4 before 2022 (BUG_ON); 0: warns and drops the data",
    "CLEAN_NONE": "cleaning policy of WB_SYNC_NONE",
    "CLEAN_ALL": "cleaning policy of WB_SYNC_ALL",
    "CLEAN_RECLAIM": "cleaning policy of reclaim",
    "CLEAN_ISIZE": "cleaning policy of pagecache_isize_extended",
    "CHECK_FIRST": "1: the cleaner asks before it write-protects",
    "WAIT_LOCKED": "1: policy 'wait' holds the page lock while it waits",
    "RECLAIM_BEFORE": "1: reclaim asks before it unmaps; 0: after",
    "LIVE_RANGES": "pinned ranges in the tree now",
    "PEAK_RANGES": "most pinned ranges at any time",
    "PEAK_BYTES": "most bytes of the tracker's objects at any time",
    "PINNED_PAGES": "pages with a true pin now",
    "PAGES_LOCKED": "pages whose lock is held now",
    "LAST_DONE": "when the last direct IO completed [ps]",
}

# Histograms of durations [ps] and of overtakes, in log-linear buckets (see `histogram_add`).
HISTOGRAMS = ("LATENCY", "SUBMIT", "RELEASE", "OUTLIVES", "OVERTAKES", "RANGE_LIFE", "FSYNC")
SUB_BITS = 6  # 64 buckets per octave, as fio's json+: a value is known to 1.6 %
BUCKETS = (64 - SUB_BITS) << SUB_BITS
CELLS_OF_ONE = BUCKETS + 1  # the last holds the sum of the values

_counters = list(COUNTERS)
_registers = list(REGISTERS)

(
    RB_VISITED, RB_ROTATIONS, SUBMIT_IO, GUP_CALL, GUP_PAGE, ATOMIC, PUT_PAGE, FAULT, PTE_UPDATE, TLB_FLUSH,
    SPIN_LOCK, RWSEM, PAGE_LOCK, LRU_ISOLATE, LRU_PUTBACK, ALLOC, FREE, BIO_ALLOC, BIO_PAGE, SUBMIT_BIO,
    INTERRUPT, BIO_ENDIO, DIO_COMPLETE, REAP, QUEUE_WORK, WORK_ITEM, SWITCH, SET_DIRTY, TAG_SCAN, WRITEPAGE,
    END_WRITEBACK, RECLAIM_PAGE, PIN_TEST, PINS, UNPINS, DIOS, BIOS, RANGES, RANGES_GONE, SPLITS, SHRINKS,
    AMBIGUOUS, UNATTRIBUTED, DEFERRED_DIRTY, DEFERRED_UNPIN, CLEANED, WRITTEN, SKIPPED, WAITED, REPORTED,
    FSYNCS, FSYNC_ERRORS, UNMAPPED, BUFFERS_DROPPED, FREED, KEPT, KEPT_PINNED, BUFFERLESS_DIRTY, FS_BUG,
    DATA_DROPPED, UNSTABLE_WRITE, MISSED_PIN, LOST_UPDATE, STALE_PIN,
) = range(len(_counters))  # fmt: skip

(
    NOW, STEP_PS, PAGES_PER_STEP, WOKEN_HEAD, WOKEN_TAIL, LRU_HEAD, LRU_TAIL, LRU_PAGES, NR_PAGES, I_MMAP,
    I_MMAP_READERS, I_MMAP_WRITER, I_MMAP_HEAD, I_MMAP_TAIL, FREE_BIO, BIO_ROWS, DEVICE_HEAD, DEVICE_TAIL, TAGS,
    TAGS_FREE, PLAN_NEXT, PLAN_END, CPUS, IOS_LEFT, IOS_OUT, WORK_OUT, SUBMITTERS, DIO_IOMAP, GUP_BATCH, BIO_PAGES,
    EXTENT_PAGES, STABLE_PAGES, FS_BUG_ON, CLEAN_NONE, CLEAN_ALL, CLEAN_RECLAIM, CLEAN_ISIZE, CHECK_FIRST,
    WAIT_LOCKED, RECLAIM_BEFORE, LIVE_RANGES, PEAK_RANGES, PEAK_BYTES, PINNED_PAGES, PAGES_LOCKED, LAST_DONE,
) = range(len(_counters), len(_counters) + len(_registers))  # fmt: skip

COST = len(_counters) + len(_registers)
HISTOGRAM = COST + len(_counters)
LATENCY, SUBMIT, RELEASE, OUTLIVES, OVERTAKES, RANGE_LIFE, FSYNC = range(len(HISTOGRAMS))
SYS_CELLS = HISTOGRAM + len(HISTOGRAMS) * CELLS_OF_ONE
