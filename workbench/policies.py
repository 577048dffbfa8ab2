"""What a cleaner does with a pinned page, per caller (Kara, 2018-06-28, 20180628091743.khhta7nafuwstd3m@quack2).

``ignore``: clean it all the same (v4.17, and generic writeback to this day). ``skip``: leave it dirty and
go on. ``wait``: wait until the pin is gone. ``report``: leave it dirty and let fsync return an error. Reclaim
neither waits nor reports: for it ``wait`` and ``report`` are ``skip``; of the others only fsync's caller sees an error.
"""

CLEANING = {
    "ignore": "clean the page as if it were not pinned; the tracker is not asked",
    "skip": "leave the page dirty and go on with the next",
    "wait": "wait until the tracker no longer says pinned",
    "report": "leave the page dirty; fsync returns an error",
}
IGNORE, SKIP, WAIT, REPORT = range(len(CLEANING))
# Which callers a policy is given for, as a design names them.
CALLERS = {
    "none": "writeback with WB_SYNC_NONE: the flusher",
    "all": "writeback with WB_SYNC_ALL: fsync",
    "reclaim": "reclaim (shrink_page_list)",
    "isize": "pagecache_isize_extended",
}
