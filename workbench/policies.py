"""What a cleaner does with a pinned page, per caller.

``ignore``: clean it all the same (v4.17, and generic writeback to this day). ``skip``: leave it dirty and
go on. ``wait``: wait until the pin is gone. ``report``: leave it dirty and let fsync return an error.
``write-keep-dirty``: write what is there, and leave it dirty, so that the next round writes it again. ``bounce``:
copy it and write the copy, which no device changes.

Reclaim neither waits, reports nor writes: for it all but ``ignore`` are ``skip``. ``pagecache_isize_extended`` writes
nothing either: for it the last two are ``skip``. Of errors only fsync's caller hears.
"""

from workbench.accelerate import inline

CLEANING = {
    "ignore": "clean the page as if it were not pinned; the tracker is not asked",
    "skip": "leave the page dirty and go on with the next",
    "wait": "wait until the tracker no longer says pinned",
    "report": "leave the page dirty; fsync returns an error",
    "write-keep-dirty": "write the page as it is, and leave it dirty",
    "bounce": "write a copy of the page, and leave the page dirty (bounce=reserve: clean)",
}
IGNORE, SKIP, WAIT, REPORT, WRITE_KEEP_DIRTY, BOUNCE = range(len(CLEANING))
_TABLE = "Kara 2018-06-28, 20180628091743.khhta7nafuwstd3m@quack2"
CLEANING_SOURCES = {
    "ignore": _TABLE,
    "skip": _TABLE,
    "wait": _TABLE,
    "report": _TABLE,
    "write-keep-dirty": "Kara 2018-07-10, 20180710082100.mkdwngdv5kkrcz6n@quack2; Wilcox 2025-04-10",
    "bounce": "Wilcox 2018-07-09, 20180709200049.GA5335@bombadil; Kara 2023-02-09, 20230209121046.25360-1-jack@suse.cz",
}
# Policies that write a pinned page.
WRITE_PINNED = ("write-keep-dirty", "bounce")


@inline
def leaves_dirty(policy: int, bounce_cleans: int) -> bool:
    """Whether a page stays dirty as long as it is pinned, written or not."""
    return policy != IGNORE and not (policy == BOUNCE and bounce_cleans)


# Which callers a policy is given for, as a design names them.
CALLERS = {
    "none": "writeback with WB_SYNC_NONE: the flusher",
    "all": "writeback with WB_SYNC_ALL: fsync",
    "reclaim": "reclaim (shrink_page_list)",
    "isize": "pagecache_isize_extended",
}

# Rules for long-term pins (FOLL_LONGTERM); a design names several with "+".
LONGTERM = {
    "allow": "pin whatever is asked for",
    "refuse": "refuse long-term pins of file pages that writeback has to keep track of (v6.5, Stoakes 2023-05-04)",
    "refuse-dax": "refuse long-term pins of DAX pages (v4.15 get_user_pages_longterm)",
    "migrate-first": "move pages out of CMA and ZONE_MOVABLE before they are pinned (v5.13, Tatashin 2021-02-11)",
    "migrate-cma": "move pages out of CMA before they are pinned (get_user_pages_longterm, Kumar 2019-03)",
    "lease": "pin under a lease: who needs the page has the holder told to let go (Weiny 2019-06-05)",
    "notifier": "pin nothing: the device's mapping is taken back, and the device faults (ODP, mmu_interval_notifier)",
}
(
    LONGTERM_REFUSE,
    LONGTERM_REFUSE_DAX,
    LONGTERM_MIGRATE,
    LONGTERM_MIGRATE_CMA,
    LONGTERM_LEASE,
    LONGTERM_NOTIFIER,
) = (1 << bit for bit in range(len(LONGTERM) - 1))
# What becomes of the lease of a holder who has not let go within the grace period.
LEASE_END = {
    "revoke": "the holder loses the pin, as if he were killed (Kara 2019-06-07: SIGKILL on close with live pins)",
    "fail": "he keeps it, and who wanted the page gets an error (Weiny 2019-08-09: truncation fails)",
    "wait": "he keeps it, and who wants the page waits",
}
LEASE_REVOKE, LEASE_FAIL, LEASE_WAIT = range(len(LEASE_END))
