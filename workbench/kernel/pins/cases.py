"""Pins on pages of a file: what the pin oracle runs in the kernel and in the model, step by step."""

import random

from workbench.kernel.pins.bench import Bench
from workbench.kernel.pins.live import Live
from workbench.kernel.pins.predicted import SLOTS, SeveralFiles, file_world, scenario_world

LIFE = (
    ("store", 0), ("store", 0), ("msync", 1), ("store", 0), ("fdatasync",), ("store", 0), ("store", 1),
    ("sync_file_range", 1), ("fsync",), ("mlock", 0), ("unmap", 0), ("store", 0), ("unmap", 0), ("load", 0),
    ("pageout", 0), ("fsync",), ("load", 0), ("pageout", 0), ("load", 0), ("unmap", 0), ("drop",), ("mlock", 0),
    ("store", 0), ("fsync",),
)  # fmt: skip
PIN_FSYNC = (
    ("store", 0), ("pin", 1, 0), ("fsync",), ("complete", 1), ("fsync",),
    ("pin", 1, 0, 2), ("pin", 2, 1), ("fdatasync",), ("complete", 2), ("msync", 2), ("complete", 1),
    ("sync_file_range", 2),
)  # fmt: skip
# The order of 2018: the flusher cleans, reclaim looks, the read completes, the flusher comes again.
GOLDEN_RACE = (
    ("pin", 1, 0),
    ("sync_file_range", 1),
    ("pageout", 0),
    ("complete", 1),
    ("sync_file_range", 1),
    ("fsync",),
)
RECLAIM = (
    ("store", 0), ("store", 1), ("pin", 1, 0), ("fsync",), ("pageout", 0), ("pageout", 1), ("load", 0), ("load", 1),
    ("unmap", 0), ("unmap", 1), ("drop",), ("load", 0), ("complete", 1), ("pageout", 0), ("load", 0), ("fsync",),
    ("pageout", 0), ("load", 0), ("unmap", 0), ("drop",),
)  # fmt: skip
TRUNCATE = (("pin", 1, 0), ("truncate",), ("complete", 1), ("extend",))


def shared_page(bench: Bench) -> None:
    """Life of a page of a MAP_SHARED file: faults, cleaning, reclaim."""
    bench.schedule(LIFE)


def pin_fsync(bench: Bench) -> None:
    """fsync of a pinned page returns and cleans it; it is dirty again at completion."""
    bench.schedule(PIN_FSYNC)


def golden_race(bench: Bench) -> None:
    """The order of the crash of 2018, in the world of scenario golden-race."""
    bench.schedule(GOLDEN_RACE, scenario_world("golden-race", bench.design, fsync_us=1.0))


def reclaim(bench: Bench) -> None:
    """Reclaim and fadvise of a pinned page and of its neighbour, which is not."""
    bench.schedule(RECLAIM)


def truncate(bench: Bench) -> None:
    """Truncation under a pin, in the world of scenario truncate-dax without DAX; the device's data is gone."""
    bench.schedule(TRUNCATE, scenario_world("truncate-dax", bench.design, mapping="cache"), written=True)
    bench.schedule(
        (("store", 0), *TRUNCATE, ("load", 0), ("store", 0), ("fsync",), *TRUNCATE, ("store", 1), ("fsync",))
    )
    _orphan(bench)


def _orphan(bench: Bench) -> None:
    """What becomes of the frame."""
    live = Live(1, patience=bench.patience)
    try:
        live.store(0, 0x33)
        pfn = live.proc.pfn(live.file.address)
        assert pfn is not None
        live.pin(1, live.file.address)
        live.truncate()
        live.extend()
        source = "v6.12 mm/truncate.c truncate_inode_pages_range; the frame is the pin's"
        bench.observe("a store after truncation meets another frame", live.load(0) == 0, True, source)
        other = live.proc.pfn(live.file.address)
        bench.observe("the pinned frame is not used again", other != pfn, True, source)
        live.complete(1, 0x66)
        bench.observe("what the device brings is not in the file", live.load(0), 0, source)
    finally:
        live.close()


def completions(bench: Bench) -> None:
    """64 direct reads of 2 pages complete in a random order; held pins are exact after each."""
    reads, pages = 64, 2
    file = SeveralFiles([file_world(bench.design, SLOTS * pages) for _ in range(reads // SLOTS)])
    order = list(range(reads))
    random.Random(bench.seed).shuffle(order)
    begin = [("pin", read, read * pages, pages) for read in range(reads)]
    bench.schedule([*begin, *(("complete", read) for read in order)], file)


CASES = {
    "shared-page": shared_page,
    "pin-fsync": pin_fsync,
    "golden-race": golden_race,
    "reclaim": reclaim,
    "truncate": truncate,
    "completions": completions,
}
