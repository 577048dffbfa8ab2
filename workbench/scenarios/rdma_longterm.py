"""``rdma-longterm``: a machine whose memory is largely a mapped file, of which devices hold a share for hours.

"After phase 1 pinned pages will block page writeback and such system won't oops but will become unusable sooner
rather than later" (Kara, June 2018). Threads write to the file, devices to the memory regions in it, a flusher and sync
clean it, a reader streams past. It runs at scale (`workbench.bulk`; docs/model.md §12), so `explore` can't have it.
"""

from workbench.scenarios.base import Parameter

NAME = "rdma-longterm"
SUMMARY = "memory regions held for hours in a file that is written to, flushed, synced and reclaimed"

PARAMETERS = (
    Parameter("pages", 65536, "1", "pages of memory, 4 KiB each; whole words of 64 and whole folios", 64, 2**28),
    Parameter(
        "file_share", 0.9, "1", "share of memory that the mapped file takes, all of it cached at first", 0.01, 1.0
    ),
    Parameter("files", 16, "1", "inodes that the file consists of: the flusher goes by inode", 1, 4096),
    Parameter("folio_order", 0, "1", "pages of a folio, as a power of two", 0, 9),
    Parameter("pinned_share", 0.5, "1", "share of the file that memory regions cover", 0.0, 0.95),
    Parameter("region_kib", 1024, "KiB", "size of a memory region", 4, 1 << 20),
    Parameter("regions", 0, "1", "most memory regions; 0: as many as make up the share", 0, 2**28),
    Parameter("placement", "spread", "", "where regions lie in the file", choices=("spread", "together")),
    Parameter("transfer_mib_s", 100.0, "MiB/s", "what devices write to the regions, all told", 0.0, 1e4),
    Parameter("hold_s", 0.0, "s", "time that a region is held; 0: for ever", 0.0, 1e6),
    Parameter("away_s", 1.0, "s", "time from a release to the next registration; negative: it is the last", -1.0, 1e6),
    Parameter("dirty_on_release", "yes", "", "holders dirty the pages that they release", choices=("yes", "no")),
    Parameter("mlocked", "no", "", "regions are mlocked as well: off the lists, unevictable", choices=("yes", "no")),
    Parameter("holders", 64, "1", "processes that the regions belong to, in turn", 1, 2**28),
    Parameter(
        "memlock_mib", 0.0, "MiB", "RLIMIT_MEMLOCK of a holder (v4.17: 64 KiB, v5.16: 8 MiB); 0: CAP_IPC_LOCK", 0.0, 1e7
    ),
    Parameter("grace_s", 45.0, "s", "time to give a lease back (/proc/sys/fs/lease-break-time: 45 s)", 0.0, 1e5),
    Parameter("holders_release", 0.9, "1", "share of the regions whose holders give a lease back in time", 0.0, 1.0),
    Parameter("movable_share", 0.5, "1", "share of memory in ZONE_MOVABLE", 0.0, 1.0),
    Parameter("write_mib_s", 50.0, "MiB/s", "what threads want to write to the file, all told", 0.0, 1e4),
    Parameter("write_to", "unpinned", "", "where they write", choices=("unpinned", "all")),
    Parameter("write_pattern", "random", "", "in which order", choices=("random", "sequential")),
    Parameter("read_mib_s", 0.0, "MiB/s", "what a reader streams through memory", 0.0, 1e4),
    Parameter("disk_mib_s", 200.0, "MiB/s", "what the disk can write", 0.1, 1e4),
    Parameter("background_ratio", 10, "%", "vm.dirty_background_ratio", 0, 100),
    Parameter("dirty_ratio", 20, "%", "vm.dirty_ratio", 0, 100),
    Parameter("flush_s", 5.0, "s", "vm.dirty_writeback_centisecs", 0.01, 1e5),
    Parameter("expire_s", 30.0, "s", "vm.dirty_expire_centisecs", 0.0, 1e5),
    Parameter("sync_s", 60.0, "s", "time from sync to sync; 0: none", 0.0, 1e6),
    Parameter("duration_s", 300.0, "s", "simulated time", 0.1, 1e6),
    Parameter("tick_ms", 100.0, "ms", "time step; MAX_PAUSE of balance_dirty_pages is 200 ms", 1.0, 1000.0),
    Parameter("sample_s", 1.0, "s", "time from sample to sample of the series", 0.1, 1e5),
)
# What its counters, and who waits at the end, can show.
HAZARDS = ("lost-update", "unstable-write", "missed-pin", "stale-pin", "stall")
