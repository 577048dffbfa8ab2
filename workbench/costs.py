"""Cost tables: counts become nanoseconds, and every entry says where its figure comes from.

Provenance: ``published`` (a message of the thread), ``calibrated`` (measured on a running Linux 6.18, see
data/README.md), ``derived`` (what a published total leaves after the other entries), ``assumed``.

The published anchors are Hubbard's fio runs of 4 KiB O_DIRECT reads at depth 64 on one thread (2018-11-29, base
kernel: 194 k IOPS, slat 1538 ns, usr 18.2 %, sys 44.8 %; off-LRU: slat 1649 ns). Three of their figures set
entries here: the base slat (``SUBMIT_IO``), the base's CPU time per IO (``REAP``), and the slat of off-LRU
(``LRU_ISOLATE``). The rest are left to be predicted. slat is time on the clock: interrupts that come during the
submission are in it, at the rate of the IOs.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np

from workbench.mm.registers import COUNTERS

PS_PER_NS = 1000
KINDS = ("published", "calibrated", "derived", "assumed")
VARIABLE = "WORKBENCH_COSTS"
"""Environment variable: the file whose cost table is used wherever none is given. Notebooks are told by it."""
BASE_SLAT_NS = 1538.0
BASE_IOPS = 194_000
BASE_CPU_SHARE = 0.182 + 0.448
OFF_LRU_SLAT_NS = 1649.0
FIO = "Hubbard 2018-11-29, f5ad7210-05e0-3dc4-02df-01ce5346e198@nvidia"
# Bounced direct IO writes, io_uring at depth 16: throughput [MiB/s], and share of one CPU spent in the kernel.
WRITE_4K_MIB_S, BOUNCED_4K_MIB_S = 882, 750
WRITE_1M_MIB_S, WRITE_1M_SYS, BOUNCED_1M_SYS = 1992, 0.091, 0.191
HELLWIG = "Hellwig 2026-01-14, 20260114074145.3396036-1-hch"
PAGES_PER_MIB = 256


class Cost(NamedTuple):
    """What one of a counter costs.

    Attributes
    ----------
    ns : float
    provenance : str
        ``published``, ``calibrated``, ``derived`` or ``assumed``.
    source : str
    """

    ns: float
    provenance: str
    source: str


class CostTable(NamedTuple):
    """A named cost table.

    Attributes
    ----------
    name : str
    entries : dict of str to Cost
        By counter; a counter without an entry costs nothing.
    sha256 : str, optional
        Of the file that it came from.
    """

    name: str
    entries: dict[str, Cost]
    sha256: str | None = None

    @property
    def provenance(self) -> str:
        """The kinds of provenance of its entries, with how many there are of each."""
        kinds = [c.provenance for c in self.entries.values()]
        return ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))

    def picoseconds(self) -> np.ndarray:
        """Unit costs in the order of the counters.

        Returns
        -------
        ndarray of int64, shape (len(COUNTERS),)
            Picoseconds.
        """
        ns = [self.entries[c].ns if c in self.entries else 0.0 for c in COUNTERS]
        return np.round(np.array(ns) * PS_PER_NS).astype(np.int64)


_ASSUMED = {
    "RB_VISITED": (10, "a node in the second-level cache, with the compare"),
    "RB_ROTATIONS": (10, "six pointer writes in cached nodes"),
    "GUP_CALL": (40, "entry, access check, interrupts off and on"),
    "ATOMIC": (5.5, "LOCK-prefixed add on a cached line: 18 to 20 cycles at 3.5 GHz"),
    "PTE_UPDATE": (6, "one atomic exchange of a PTE"),
    "TLB_FLUSH": (
        120,
        "INVLPG on this CPU; interrupts to other CPUs that run the process are left out, in favour of cleaning",
    ),
    "SPIN_LOCK": (11, "uncontended lock and unlock with interrupts off"),
    "RWSEM": (22, "uncontended down and up: an atomic each, the owner, and the calls around"),
    "PAGE_LOCK": (15, "uncontended: two atomic bit operations and the test for waiters"),
    "ALLOC": (20, "slab fast path"),
    "FREE": (15, "slab fast path"),
    "BIO_ALLOC": (60, "mempool fast path and bio_init"),
    "BIO_PAGE": (8, "bio_add_page"),
    "SUBMIT_BIO": (400, "request, tag, doorbell"),
    "INTERRUPT": (400, "interrupt entry and exit, blk-mq completion"),
    "BIO_ENDIO": (150, "bio_endio and the direct IO's own end_io"),
    "DIO_COMPLETE": (100, "aio_complete: event ring and wakeup"),
    "QUEUE_WORK": (100, "queue_work: pool lock and list; the wakeup is a SWITCH"),
    "WORK_ITEM": (60, "process_one_work around the function"),
    "SWITCH": (1200, "wakeup and context switch"),
    "SET_DIRTY": (6, "flag tests of a page that is dirty already"),
    "TAG_SCAN": (20, "xarray tagged look-up, a batch at a time"),
    "END_WRITEBACK": (90, "test-and-clear, tag, statistics"),
    "RECLAIM_PAGE": (250, "shrink_page_list around the named steps"),
    "PIN_TEST": (2, "a load and a compare"),
    "INVALIDATE": (5000, "MMU notifier: the device drops its mapping, and says when it is done with it"),
    "DEVICE_FAULT": (
        200_000,
        "a device's page fault, over its event queue and driver; GUP and the fault itself come on top",
    ),
}

_CALIBRATED = {
    "GUP_PAGE": (35.8, "vmsplice (FOLL_GET, GUP-fast): 41.3 ns/page, less one atomic"),
    "PUT_PAGE": (12.7, "io_uring unregister: 18.2 ns/page, less one atomic"),
    "FAULT": (1348.0, "ext4 re-dirty fault: 1375 ns/page, less page lock, dirtying and PTE"),
    "WRITEPAGE": (650.0, "sync_file_range(WRITE): 860 to 2180 ns per dirty page; the lower end, less the named steps"),
}


def _default() -> CostTable:
    entries = {name: Cost(float(ns), "assumed", why) for name, (ns, why) in _ASSUMED.items()}
    entries |= {name: Cost(ns, "calibrated", why) for name, (ns, why) in _CALIBRATED.items()}

    def total(*counters: str) -> float:
        return sum(entries[c].ns for c in counters)

    per_ns = BASE_IOPS / 1e9
    submit = total("GUP_CALL", "GUP_PAGE", "ATOMIC", "BIO_ALLOC", "BIO_PAGE", "PAGE_LOCK", "SET_DIRTY", "SUBMIT_BIO")
    irq = total("INTERRUPT", "BIO_ENDIO", "SET_DIRTY", "ATOMIC", "PUT_PAGE", "DIO_COMPLETE")
    slat = BASE_SLAT_NS / (1 + irq * per_ns)
    cpu = BASE_CPU_SHARE / per_ns
    isolate = _off_lru_extra(slat, irq, per_ns) - total("SPIN_LOCK", "ATOMIC")
    entries["SUBMIT_IO"] = Cost(slat - submit, "derived", f"base slat 1538 ns, less interrupts and the rest; {FIO}")
    entries["REAP"] = Cost(
        cpu - slat - irq, "derived", f"usr 18.2 % and sys 44.8 % at 194 k IOPS, less the rest; {FIO}"
    )
    entries["LRU_ISOLATE"] = Cost(isolate, "derived", f"off-LRU slat 1649 ns, less interrupts, lock, count; {FIO}")
    entries["LRU_PUTBACK"] = Cost(isolate, "assumed", "as much as isolating it")
    entries |= _bounce()
    return CostTable("default", entries)


def _bounce() -> dict[str, Cost]:
    """Split what bouncing costs: what goes with the pages shows in 1 MiB writes, the rest of it in those of 4 KiB.

    These are bounced direct IOs; that writeback pays as much is assumed.
    """
    copy = (BOUNCED_1M_SYS - WRITE_1M_SYS) * 1e9 / (WRITE_1M_MIB_S * PAGES_PER_MIB)
    bio = 1e9 / PAGES_PER_MIB * (1 / BOUNCED_4K_MIB_S - 1 / WRITE_4K_MIB_S) - copy
    return {
        "PRIVATE_COPY": Cost(copy, "assumed", "as much as a copy to a bounce page"),
        "BOUNCE_COPY": Cost(copy, "derived", f"1 MiB writes at 1992 MiB/s: sys 9.1 to 19.1 %, by pages; {HELLWIG}"),
        "BOUNCE_BIO": Cost(bio, "derived", f"4 KiB writes: 882 to 750 MiB/s (-15 %), less the copy; {HELLWIG}"),
    }


def _off_lru_extra(slat: float, irq: float, per_ns: float) -> float:
    """Solve for the time x that off-LRU adds to a pin, and as much to an unpin, in the interrupt.

    (slat + x) (1 + (irq + x) rate) = published slat of off-LRU.
    """
    b = 1 + (slat + irq) * per_ns
    c = slat * (1 + irq * per_ns) - OFF_LRU_SLAT_NS
    return (math.sqrt(b * b - 4 * per_ns * c) - b) / (2 * per_ns)


DEFAULT = _default()


def load(path: str | os.PathLike[str]) -> CostTable:
    """Read a cost table from a file, such as ``workbench kernel calibrate --out FILE`` writes.

    Parameters
    ----------
    path : path
        JSON; `workbench.cost_files` says of what form.

    Returns
    -------
    CostTable
        What the file does not name is as in `DEFAULT`.

    Raises
    ------
    UsageError
        One line with the file and the entry.
    """
    from workbench.cost_files import read  # which builds on this module

    return read(path).table


def in_use() -> CostTable:
    """Find the table of this process where none was given: that of the file in `VARIABLE`, or else `DEFAULT`.

    Raises
    ------
    UsageError
        As `load`.
    """
    path = os.environ.get(VARIABLE)
    return _kept(path) if path else DEFAULT


@contextmanager
def using(path: str | os.PathLike[str]) -> Iterator[CostTable]:
    """Use a file's table wherever none is given, in this process and in those that it starts meanwhile.

    Parameters
    ----------
    path : path

    Raises
    ------
    UsageError
        As `load`.
    """
    table, before = load(path), os.environ.get(VARIABLE)
    os.environ[VARIABLE] = os.path.abspath(path)  # notebooks run in another folder
    try:
        yield table
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


_kept = cache(load)  # a file that is edited meanwhile does not change a process's table
