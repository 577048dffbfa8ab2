"""Direct IOs put together from the events of the kernel's iomap and block layers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from workbench.traces.inflight import Bio, Device, InFlight, direction, is_foreign
from workbench.traces.trace import SECTOR_BYTES, Body, bio_frame, io_frame, places

if TYPE_CHECKING:
    import pandas as pd

BEGIN, DONE, QUEUE = "iomap_dio_rw_begin", "iomap_dio_complete", "block_bio_queue"
REQUEST_DONE, BIO_DONE, REQUEUE = "block_rq_complete", "block_bio_complete", "block_rq_requeue"
MERGES = ("block_bio_backmerge", "block_bio_frontmerge", "block_rq_merge")
COUNTED_ONLY = (REQUEUE, *MERGES)

NO_DONE = "IO begun, not completed in the trace"
NO_BEGIN = "iomap_dio_complete without its iomap_dio_rw_begin"
FAILED = "IO that failed"
NO_BIO = "IO without a bio (a hole, or its bios are not in the trace)"
BIO_NOT_DONE = "IO with a bio whose completion is not in the trace"
LOST_MEANWHILE = "IO in flight while events were lost"
THEIR_BIOS = "bio of a dropped IO"
FOREIGN = "foreign bio"
NO_QUEUE = "completed request whose bios are not in the trace"
OTHER_BIO = f"{FOREIGN} (of another direction, a lower device, or beyond the IO)"
LOST_EVENTS = "event lost by the ring buffer"


class Begin(NamedTuple):
    """``iomap_dio_rw_begin``; `length` in bytes, `direction` 'W', or '' where its bios have to tell.

    A write by pwrite(2) has no flag WRITE: only io_uring and aio set IOCB_WRITE (seen on Linux 6.18).
    """

    device: Device
    inode: str
    offset: int
    length: int
    done_before: int
    direction: str


class Done(NamedTuple):
    """``iomap_dio_complete``; `position` is ``ki_pos`` then, `result` the bytes done or -errno."""

    device: Device
    inode: str
    position: int
    result: int


class Sectors(NamedTuple):
    """``block_bio_queue`` and the completions of the block layer."""

    device: Device
    rwbs: str
    sector: int
    sectors: int


class Event(NamedTuple):
    """One line; the payload is None where the event is only counted."""

    line: int
    task: int
    ns: int
    name: str
    payload: Begin | Done | Sectors | None


@dataclass(eq=False)
class _Io:
    """One direct IO; `done_line` 0 while it is out."""

    begin: Begin
    task: int
    begin_line: int
    begin_ns: int
    done_line: int = 0
    done_ns: int = 0
    result: int = 0
    bios: list[Bio] = field(default_factory=list)
    bytes_queued: int = 0
    direction: str = ""

    def all_bios_done(self) -> bool:
        return bool(self.bios) and not any(bio.left for bio in self.bios)


class Gaps:
    """Where events were lost.

    Parameters
    ----------
    pairs : list of (int, int)
        Last line of a CPU before it lost events, and the line that tells of the loss; ordered by the latter.
        What was lost belongs anywhere between the two.
    """

    def __init__(self, pairs: list[tuple[int, int]]) -> None:
        self.told = [told for _, told in pairs]
        # earliest[k]: where the earliest of the gaps k, k + 1, … begins
        self.earliest = list(accumulate((begin for begin, _ in reversed(pairs)), min))[::-1]

    def overlap(self, begin: int, end: int) -> bool:
        """Tell whether a gap overlaps the lines from `begin` to `end`."""
        first = bisect_right(self.told, begin)
        return first < len(self.told) and self.earliest[first] < end

    def last_told(self, line: int) -> int:
        """Line of the last notice of a loss before `line`, 0 if there is none."""
        index = bisect_left(self.told, line)
        return self.told[index - 1] if index else 0


def reconstruct(events: list[Event], gaps: Gaps, lost: int) -> Body:
    """Put IOs, their bios and their order of completion together.

    Parameters
    ----------
    events : list of Event
        In the order of the text.
    gaps : Gaps
        Where events were lost.
    lost : int
        How many.

    Returns
    -------
    Body
        Whole IOs, and the count of all else by reason.
    """
    replay = _Replay(events, gaps)
    for event in events:
        replay.handle(event)
    replay.dropped[LOST_EVENTS] = lost
    return replay.body()


class _Replay:
    """The state of the block layer, line by line."""

    def __init__(self, events: list[Event], gaps: Gaps) -> None:
        self.gaps = gaps
        self.seen = Counter(event.name for event in events)
        self.disks = {
            event.payload.device
            for event in events
            if event.name == REQUEST_DONE and isinstance(event.payload, Sectors)
        }
        self.behind = _prints_position_behind(events)
        self.dropped: Counter[str] = Counter()
        self.in_flight = InFlight()
        self.ios: list[_Io] = []
        self.current: dict[int, _Io] = {}  # by task
        self.begun: dict[tuple[Device, str, int], list[_Io]] = {}  # by device, inode and offset

    def handle(self, event: Event) -> None:
        line, task, ns, name, payload = event
        if isinstance(payload, Begin):
            self._begin(line, task, ns, payload)
        elif isinstance(payload, Done):
            self._done(line, ns, payload)
        elif isinstance(payload, Sectors) and name == QUEUE:
            self._queue(task, ns, payload)
        elif isinstance(payload, Sectors) and self._ends_sectors(name, payload.device):
            self._sectors_done(ns, payload)

    def _ends_sectors(self, name: str, device: Device) -> bool:
        """Take the requests' word; only on a device without requests (pmem, dm, md) the bios' own."""
        return name == REQUEST_DONE or self._disk(device) not in self.disks

    def _begin(self, line: int, task: int, ns: int, begin: Begin) -> None:
        io = _Io(begin, task, line, ns, direction=begin.direction)
        self.ios.append(io)
        self.current[task] = io
        key = (begin.device, begin.inode, begin.offset - begin.done_before)
        self.begun.setdefault(key, []).append(io)

    def _queue(self, task: int, ns: int, at: Sectors) -> None:
        bio = Bio(self._disk(at.device), direction(at.rwbs), at.sector, at.sectors, ns)
        if bio.direction and bio.sectors:
            self.in_flight.queue(bio)  # a foreign one too, so that its completion finds it
        io = self.current.get(task)
        if io and not io.begin.direction and not is_foreign(at.rwbs):
            self._tell_direction(io, bio)
        if is_foreign(at.rwbs) or not at.sectors:
            self.dropped[f"{FOREIGN} ({at.rwbs})"] += 1
        elif io is None:
            self.dropped[f"{FOREIGN} (its task has no direct IO begun)"] += 1
        elif not _belongs(bio, io):
            self.dropped[OTHER_BIO] += 1
        else:
            io.bios.append(bio)
            io.bytes_queued += bio.sectors * SECTOR_BYTES

    def _tell_direction(self, io: _Io, bio: Bio) -> None:
        """Take an IO for a read from its first read on: what was written before is dirty page cache of its range.

        (kiocb_write_and_wait() in mm/filemap.c, which iomap calls after the event.)
        """
        if bio.direction == "R" and io.direction == "W":
            self.dropped[OTHER_BIO] += len(io.bios)
            io.bios, io.bytes_queued = [], 0
        if io.direction != "R":
            io.direction = bio.direction

    def _sectors_done(self, ns: int, at: Sectors) -> None:
        way = direction(at.rwbs)
        if way and at.sectors:
            carried = self.in_flight.complete(self._disk(at.device), way, at.sector, at.sectors, ns)
            self.dropped[NO_QUEUE] += not carried

    def _done(self, line: int, ns: int, done: Done) -> None:
        advanced = max(0, done.result) if self.behind else 0
        twins = self.begun.get((done.device, done.inode, done.position - advanced))
        if not twins:
            self.dropped[NO_BEGIN] += 1
            return
        io = self._first_that_can_be_done(twins, line, done.result)
        twins.remove(io)
        io.done_line, io.done_ns, io.result = line, ns, done.result
        if self.current.get(io.task) is io:
            del self.current[io.task]
        for bio in io.bios:
            self.in_flight.forget(bio)

    def _first_that_can_be_done(self, twins: list[_Io], line: int, result: int) -> _Io:
        """Among IOs of the same offset: of the length done, all bios done, begun since events were lost.

        Where they are alike in this, the one that was begun first.
        """
        since = self.gaps.last_told(line)

        def unlikely(io: _Io) -> tuple[bool, bool, bool]:
            length = io.begin.length + io.begin.done_before
            return length != result, not io.all_bios_done(), io.begin_line < since

        return min(twins, key=unlikely)

    def _disk(self, device: Device) -> Device:
        """Device whose requests carry the bios of this one: bios may name a partition, requests the disk.

        Sectors count from the start of the disk in both (Linux 6.18, blk_partition_remap()).
        """
        if device in self.disks:
            return device
        before = [disk for disk in self.disks if disk[0] == device[0] and disk[1] < device[1]]
        return max(before, default=device)

    def body(self) -> Body:
        """Keep what is whole, numbered in the order of submission; count the rest."""
        kept = []
        for io in self.ios:
            if reason := self._why_dropped(io):
                self.dropped[reason] += 1
                self.dropped[THEIR_BIOS] += len(io.bios)
            else:
                kept.append(io)
        merges = sum(self.seen[name] for name in MERGES) or self.in_flight.shared
        return Body(_io_rows(kept), _bio_rows(kept), self.dropped, self.seen[REQUEUE], merges)

    def _why_dropped(self, io: _Io) -> str:
        if not io.done_line:
            return NO_DONE
        if io.result < 0:
            return FAILED
        if io.bytes_queued != io.begin.length and self.gaps.overlap(io.begin_line, io.done_line):
            return LOST_MEANWHILE
        if not io.bios:
            return NO_BIO
        return "" if io.all_bios_done() else BIO_NOT_DONE


def _belongs(bio: Bio, io: _Io) -> bool:
    """Of the IO's direction, within its length, and on one device: under a stacked one come the clones.

    A filesystem over several devices (btrfs) has an anonymous one itself, with major number 0.
    """
    same_device = not io.bios or bio.device == io.bios[0].device or io.begin.device[0] == 0
    fits = io.bytes_queued + bio.sectors * SECTOR_BYTES <= io.begin.length
    return bio.direction == io.direction and same_device and fits


def _prints_position_behind(events: list[Event]) -> bool:
    """Tell whether ``iomap_dio_complete`` has the position behind the IO, as the kernel prints it.

    Text that other tools made or edited may have the IO's own offset: what fits more of the IOs holds.
    """
    begun = [e.payload for e in events if isinstance(e.payload, Begin)]
    done = [e.payload for e in events if isinstance(e.payload, Done)]
    begins = Counter((io.device, io.inode, io.offset - io.done_before) for io in begun)
    behind = Counter((io.device, io.inode, io.position - max(0, io.result)) for io in done)
    own = Counter((io.device, io.inode, io.position) for io in done)
    return (begins & behind).total() >= (begins & own).total()


def _io_rows(kept: list[_Io]) -> pd.DataFrame:
    ops = {"R": "read", "W": "write"}
    order = places([io.done_line for io in kept])
    zero = kept[0].begin_ns if kept else 0
    rows = []
    for number, io in enumerate(kept):
        times = (io.begin_ns - zero, io.done_ns - zero)
        rows.append((number, ops[io.direction], io.begin.offset, io.begin.length, *times, order[number]))
    return io_frame(rows)


def _bio_rows(kept: list[_Io]) -> pd.DataFrame:
    pairs = [(io_number, bio) for io_number, io in enumerate(kept) for bio in io.bios]
    order = places([bio.done_order for _, bio in pairs])
    zero = kept[0].begin_ns if kept else 0
    rows = []
    for number, (io_number, bio) in enumerate(pairs):
        times = (bio.queue_ns - zero, bio.done_ns - zero)
        rows.append((number, io_number, bio.sector, bio.sectors * SECTOR_BYTES, *times, order[number]))
    return bio_frame(rows)
