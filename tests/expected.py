"""What `explore` is expected to say: scenario by scenario, which design reaches which hazard, and why.

What is not named here is unreachable, or not applicable, in a complete search. Each reason has its source.
"""

from typing import NamedTuple

WHY = {
    # bufferless-dirty
    "2018": "flusher cleans, kswapd strips the clean page's buffers, the pinner dirties it (Kara 2018-01-03)",
    "exit": "kswapd unmaps, page_mkclean returns early: 'not pinned' (v4.17 mm/rmap.c; trap 3); then as in 2018",
    "late": "the tracker is told after GUP's walk (Hubbard 2018-07-01), the flusher asks between; then as in 2018",
    # lost-update
    "bug": "after BUG_ON the page stays locked by a dead thread, newer than disk (v4.17 fs/ext4/inode.c)",
    # unstable-write
    "dma": "nothing keeps a page from writeback while DMA goes on; stable pages hold up CPUs only (Kara 2018-06-19)",
    "missed": "a pin that was missed lets the page go to writeback under the device",
    "kept": "the pinned page itself is written, and stays dirty, while the device goes on (Wilcox 2025-04-10)",
    # fsync-lie
    "idle": "the second transfer dirties nothing, so that fsync finds nothing to write (Kara 2023-02-14)",
    "clean": "it passes through clean, as page_mkwrite needs it; DMA dirties nothing (RFC 2023-02-09; Chinner 02-15)",
    "private": "what has come is in a private page until the region is released (Kara 2018-01-25)",
    "skip": "WB_SYNC_ALL skips the pinned page and returns success (Kara 2018-06-28: skipping is for WB_SYNC_NONE)",
    "async": "the direct IO completes before a worker dirties its page again (v4.19 block/bio.c bio_check_pages_dirty)",
    # missed-pin
    "first": "asked before write-protecting: GUP-fast pins in between (Kara 2018-07-02 on [PATCH v2 6/6])",
    "window": "the tracker has not been told yet (lru-count pins after the walk)",
    "hellwig": "two pin one page, the first to finish removes the protection (Hellwig 2018-06-18)",
    "charged": "a release by page is charged to the other range, which goes while its page is pinned",
    "anon": "anonymous memory is in no i_mmap: the range is not there (Kara 2023-01-24)",
    "plain": "plain references: MMF_HAS_PINNED is not set, fork does not ask (Hildenbrand 2021-11-15)",
    "none": "nobody tracks, and somebody asks",
    "zap": "a process unmaps the page between the walk and the look at _mapcount (Kara 2018-12-19)",
    "pte": "the bit goes with the PTE, or with the first unpin (no count; Kara 2018-07-09 on Lameter's)",
    # stale-pin, false-pin
    "sticky": "only eviction clears the flag (Kara 2018-06-19)",
    "undone": "GUP-fast set the flag and backed out; nothing clears it",
    "leftover": "charged to the wrong range, one range stays for ever",
    "refs": "as many plain references as a pin counts for (Kara 2019-01-14; trap 7)",
    # deadlock, stall
    "inversion": "a pin is a page lock, held across get_block, for which a commit has to end (Kara 2018-06-19)",
    "own": "a pin is a page lock, and who pins the page twice waits for himself",
    "lock": "who waits for the pin holds the page lock, or the journal handle, that its holder needs (Kara 2018-07-09)",
    "cycle": "the flag goes with eviction, eviction is refused because of the flag (Kara 2018-06-19)",
    "holder": "nobody need ever deregister (Kara 2018-06-20; Gunthorpe 2018-07-09)",
    "throttle": "a page that stays dirty counts for ever in balance_dirty_pages (Romanovsky 2018-07-02)",
    # cow-alias, truncate-write, count-overflow, unmovable
    "fork": "fork shares the page, the owner writes first and moves to a copy (v4.17 mm/memory.c do_wp_page)",
    "truncate": "nobody waits for the pin: the block, or the page, is no longer the file's (v4.17 fs/dax.c)",
    "orphan": "truncation of the page cache goes on, and the device writes to an orphan (Kara 2018-01-03: accepted)",
    "bias": "three pins of 8 exceed 23: 2**21 of 1024 in 31 bits (Romanovsky 2019-12-19)",
    "longterm": "a long-term pin is taken where the page lies (Kara 2019-01-16)",
}


class Expected(NamedTuple):
    """Hazards that a design reaches in a scenario, each with a key of `WHY`."""

    scenario: str
    design: str
    reaches: dict[str, str]
    parameters: dict[str, object] = {}


def _case(scenario, design, reaches="", **parameters):
    return Expected(scenario, design, dict(pair.split(":") for pair in reaches.split()), parameters)


SKIP = "tracker={},cleaning=skip,reclaim=skip"
WAIT = "tracker={},cleaning=wait,reclaim=ignore,fork=ask"
KEEP = "tracker={},cleaning=write-keep-dirty"
BOUNCE = "tracker={},cleaning=bounce"
FIRST = "tracker={},cleaning=report,order=check-first"
RANGE = "vma-common:release={}"
LEASE = "tracker=bias,cleaning=skip/wait,longterm=lease"
WRITER = dict(fsync_rounds=0, writer_rounds=1)  # of mr-idle-fsync: another page of the file is written to
FSYNC = dict(writeback_ms=0.0, fsync_ms=1.0, bio_pages=2, journal=0)  # of direct-io: fsync in the flusher's place
CRASH = "bufferless-dirty:2018 lost-update:bug unstable-write:dma"
LATE = "bufferless-dirty:late lost-update:bug unstable-write:missed missed-pin:window"
EXIT = "bufferless-dirty:exit lost-update:bug unstable-write:missed missed-pin:exit"

CASES = [
    # golden-race: the crash of 2018, and what each design makes of it
    _case("golden-race", "v4.17", CRASH),
    _case("golden-race", "hubbard-v1", "unstable-write:dma stale-pin:sticky stall:cycle"),
    _case("golden-race", "hubbard-v2", LATE),
    _case("golden-race", "kara-virtual-vma", EXIT),
    _case("golden-race", "v5.7", CRASH),
    _case("golden-race", "v6.12", "unstable-write:dma"),
    _case("golden-race", SKIP.format("flag")),
    _case("golden-race", SKIP.format("bias")),
    _case("golden-race", SKIP.format("pincount")),
    _case("golden-race", SKIP.format("lru-count"), LATE),
    _case("golden-race", SKIP.format(RANGE.format("split")), EXIT),
    _case("golden-race", SKIP.format("vma-full:release=split:early_exit=no")),
    _case("golden-race", WAIT.format("bias"), "deadlock:lock"),
    _case("golden-race", WAIT.format("flag-sticky"), "stale-pin:sticky deadlock:lock stall:cycle"),
    _case("golden-race", FIRST.format("bias"), "unstable-write:missed missed-pin:first"),
    _case("golden-race", KEEP.format("bias"), "unstable-write:kept"),
    _case("golden-race", BOUNCE.format("bias")),
    _case("golden-race", BOUNCE.format(RANGE.format("backpointer")), EXIT),
    _case("golden-race", "kara-bounce-2023"),
    _case("golden-race", "viro-page-lock", "deadlock:inversion"),
    _case("golden-race", "viro-page-lock", journal=0),
    _case("golden-race", "glisse-mapcount"),
    _case("golden-race", SKIP.format("mapcount")),
    _case("golden-race", "weiny-leases", CRASH),
    _case("golden-race", "tracker=bounce-pin", CRASH),
    _case(
        "golden-race",
        SKIP.format("pte-bit"),
        "bufferless-dirty:pte lost-update:bug unstable-write:missed missed-pin:pte",
    ),
    # gup-fast-race: write-protect first, or ask first
    _case("gup-fast-race", "v4.17", "unstable-write:dma fsync-lie:async"),
    _case("gup-fast-race", "v5.7", "unstable-write:dma fsync-lie:async"),
    _case("gup-fast-race", "v6.12", "unstable-write:dma fsync-lie:async"),
    _case("gup-fast-race", "hubbard-v1", "unstable-write:dma fsync-lie:async stale-pin:sticky"),
    _case("gup-fast-race", "kara-virtual-vma", "deadlock:lock"),
    _case("gup-fast-race", SKIP.format("bias")),
    _case("gup-fast-race", SKIP.format("none"), "unstable-write:dma fsync-lie:async missed-pin:none"),
    _case("gup-fast-race", FIRST.format("bias"), "unstable-write:missed missed-pin:first"),
    _case("gup-fast-race", "hubbard-v2", "unstable-write:missed missed-pin:first deadlock:lock"),
    _case("gup-fast-race", SKIP.format("lru-count"), "unstable-write:missed missed-pin:window"),
    _case("gup-fast-race", SKIP.format(RANGE.format("backpointer")), "fsync-lie:skip"),
    _case("gup-fast-race", FIRST.format(RANGE.format("split"))),
    _case("gup-fast-race", WAIT.format("bias"), "deadlock:lock"),
    _case("gup-fast-race", WAIT.format("bias") + ",wait=unlocked", "deadlock:lock"),
    _case("gup-fast-race", WAIT.format("bias") + ",wait=unlocked,journal=dropped"),
    _case("gup-fast-race", KEEP.format("bias"), "unstable-write:kept"),
    _case("gup-fast-race", BOUNCE.format("bias")),
    _case("gup-fast-race", BOUNCE.format("bias") + ",order=check-first", "unstable-write:missed missed-pin:first"),
    _case(
        "gup-fast-race",
        SKIP.format("flag-sticky"),
        "fsync-lie:skip stale-pin:sticky false-pin:undone stall:cycle",
    ),
    _case("gup-fast-race", "viro-page-lock", "deadlock:inversion"),
    _case("gup-fast-race", "viro-page-lock", journal=0),
    _case("gup-fast-race", "glisse-mapcount"),
    # direct-io: two calls on overlapping ranges, released in any order
    _case("direct-io", "v4.17", "unstable-write:dma"),
    _case("direct-io", SKIP.format("bias")),
    _case("direct-io", SKIP.format("flag"), "unstable-write:missed missed-pin:hellwig"),
    _case("direct-io", SKIP.format(RANGE.format("split"))),
    _case("direct-io", SKIP.format(RANGE.format("backpointer"))),
    _case(
        "direct-io",
        SKIP.format(RANGE.format("count")),
        "unstable-write:missed missed-pin:charged stale-pin:leftover stall:leftover",
    ),
    _case("direct-io", SKIP.format(RANGE.format("count")), shift=2),
    _case("direct-io", WAIT.format("pincount"), "deadlock:lock"),
    _case("direct-io", FIRST.format("bias"), "unstable-write:missed missed-pin:first", gup_fast_steps=1),
    _case("direct-io", KEEP.format("bias"), "unstable-write:kept"),
    _case("direct-io", BOUNCE.format("bias")),
    _case("direct-io", BOUNCE.format("bias"), **FSYNC),
    _case("direct-io", KEEP.format("bias"), "unstable-write:kept", shift=2, **FSYNC),
    _case("direct-io", "viro-page-lock", "deadlock:inversion"),
    _case("direct-io", SKIP.format("mapcount")),
    _case("direct-io", SKIP.format("pte-bit"), "unstable-write:missed missed-pin:hellwig"),
    # mr-idle-fsync: the transfer is done, the region stays, fsync must work
    _case("mr-idle-fsync", "v4.17", "unstable-write:dma fsync-lie:idle"),
    _case("mr-idle-fsync", "v5.7", "unstable-write:dma fsync-lie:idle"),
    _case("mr-idle-fsync", "hubbard-v1", "unstable-write:dma fsync-lie:idle stale-pin:sticky"),
    _case("mr-idle-fsync", "v6.12"),
    _case("mr-idle-fsync", SKIP.format("bias"), "fsync-lie:skip stall:holder"),
    _case("mr-idle-fsync", WAIT.format("bias"), "stall:holder"),
    _case("mr-idle-fsync", "tracker=bias,cleaning=report", "stall:holder"),
    _case("mr-idle-fsync", "hubbard-v2", "unstable-write:missed fsync-lie:idle missed-pin:window stall:holder"),
    _case("mr-idle-fsync", "kara-virtual-vma", "deadlock:lock stall:holder"),
    _case("mr-idle-fsync", KEEP.format("bias"), "unstable-write:kept"),
    _case("mr-idle-fsync", KEEP.format("bias"), "unstable-write:kept", dereg=0),
    _case("mr-idle-fsync", BOUNCE.format("bias")),
    _case("mr-idle-fsync", BOUNCE.format("bias"), dereg=0),
    _case("mr-idle-fsync", BOUNCE.format("bias") + ",bounce=reserve", "fsync-lie:clean"),
    _case("mr-idle-fsync", BOUNCE.format(RANGE.format("backpointer"))),
    _case("mr-idle-fsync", "kara-bounce-2023", "stall:holder"),
    _case("mr-idle-fsync", "kara-bounce-2023", "fsync-lie:clean stall:holder", fsync_rounds=2),
    _case("mr-idle-fsync", "viro-page-lock", "stall:holder"),
    _case("mr-idle-fsync", "tracker=bounce-pin", "fsync-lie:private"),
    _case("mr-idle-fsync", "tracker=none,longterm=notifier"),
    _case("mr-idle-fsync", "tracker=none,longterm=notifier", "unstable-write:dma", stable_pages=0),
    _case("mr-idle-fsync", LEASE, flusher_rounds=0),
    _case("mr-idle-fsync", LEASE, "stall:holder"),
    _case("mr-idle-fsync", LEASE, flusher_rounds=0, on_notice="keep"),
    _case("mr-idle-fsync", LEASE + ",lease=fail", flusher_rounds=0, on_notice="keep"),
    _case("mr-idle-fsync", LEASE + ",lease=wait", "stall:holder", flusher_rounds=0, on_notice="keep"),
    _case("mr-idle-fsync", SKIP.format("bias"), "stall:throttle", **WRITER),
    _case("mr-idle-fsync", KEEP.format("bias"), "unstable-write:kept stall:throttle", **WRITER),
    _case("mr-idle-fsync", BOUNCE.format("bias") + ",bounce=reserve", **WRITER),
    _case("mr-idle-fsync", "tracker=none,longterm=notifier", **WRITER),
    # fork-cow: anonymous memory
    _case("fork-cow", "v4.17", "cow-alias:fork"),
    _case("fork-cow", "v5.7", "cow-alias:fork"),
    _case("fork-cow", "v6.12"),
    _case("fork-cow", "v6.12", "cow-alias:plain", pin="plain"),
    _case("fork-cow", "v6.12", "missed-pin:first cow-alias:fork", write_protect_seq=0),
    _case("fork-cow", WAIT.format(RANGE.format("split")), "missed-pin:anon cow-alias:anon"),
    _case("fork-cow", WAIT.format("lru-count"), "missed-pin:window cow-alias:fork"),
    _case("fork-cow", WAIT.format("flag-sticky"), "stale-pin:sticky false-pin:undone"),
    # truncate-dax
    _case("truncate-dax", "v4.17", "truncate-write:truncate"),
    _case("truncate-dax", "v6.12"),
    _case("truncate-dax", "v6.12", "truncate-write:orphan", mapping="cache"),
    _case("truncate-dax", "v5.7", "truncate-write:orphan", mapping="cache"),
    _case("truncate-dax", "v4.17", "truncate-write:orphan", mapping="cache"),
    _case("truncate-dax", "v4.17", holder="mr"),
    _case("truncate-dax", "tracker=bias,truncate=wait", "stall:holder", holder="mr"),
    _case("truncate-dax", SKIP.format("lru-count"), "truncate-write:truncate"),
    _case("truncate-dax", "viro-page-lock", "truncate-write:truncate"),
    _case("truncate-dax", "viro-page-lock", mapping="cache"),
    _case("truncate-dax", "weiny-leases", holder="mr"),
    _case("truncate-dax", "weiny-leases", holder="mr", on_notice="keep"),
    _case(
        "truncate-dax",
        "tracker=none,longterm=lease,lease=wait,truncate=wait",
        "stall:holder",
        holder="mr",
        on_notice="keep",
    ),
    _case("truncate-dax", "tracker=none,longterm=notifier", holder="mr"),
    _case("truncate-dax", "tracker=none,longterm=notifier", holder="mr", mapping="cache"),
    # wide-map: many plain references
    _case("wide-map", "v5.7", "bufferless-dirty:2018 count-overflow:bias"),
    _case("wide-map", "v6.12"),
    _case("wide-map", SKIP.format("pincount"), "stall:holder"),
    _case(
        "wide-map", SKIP.format("bias"), "stale-pin:refs false-pin:refs stall:holder count-overflow:bias"
    ),
    _case("wide-map", "viro-page-lock", "deadlock:own"),
    _case("wide-map", SKIP.format("mapcount"), "missed-pin:zap stall:holder"),
    _case("wide-map", "tracker=none,longterm=notifier"),
    # cma: long-term pins and migration
    _case("cma", "v4.17", "unmovable:longterm"),
    _case("cma", "v5.7"),
    _case("cma", "v5.7", "unmovable:longterm", zone="movable"),
    _case("cma", "v6.12"),
    _case("cma", "v6.12", zone="movable"),
    _case("cma", "hubbard-v2", "unmovable:longterm"),
    _case("cma", "kara-virtual-vma", "unmovable:longterm"),
    _case("cma", "tracker=bias,longterm=refuse", "unmovable:longterm"),
    _case("cma", "tracker=lru-count,longterm=migrate-first"),
    _case("cma", "viro-page-lock", "stall:holder unmovable:longterm"),
    _case("cma", "tracker=bounce-pin"),
    _case("cma", "tracker=none,longterm=notifier"),
    _case("cma", "tracker=none,longterm=lease", "unmovable:longterm"),
]  # fmt: skip
