"""Default text output of blkparse (``%D %2c %8s %5T.%9t %5p %2a %3d …``; blktrace 1.3, blkparse_fmt.c).

The block layer knows nothing of direct IO: each queued transfer (Q) of reads or writes that is neither
readahead nor metadata counts as an IO of one bio, from Q to the completion (C) of its last sector.
Offsets are on the device. Under a stacked device (A: remapped from a device that is in the trace itself)
only the upper one counts.
"""

import re
from collections import Counter

from workbench.traces.inflight import Bio, Device, InFlight, direction, is_foreign
from workbench.traces.text import Source, clip
from workbench.traces.trace import LIMIT, SECTOR_BYTES, Body, bio_frame, io_frame, places

LINE = re.compile(
    r"(\d{1,7}),(\d{1,7})\s+\d+\s+\d+\s+(\d{1,9})\.(\d{9})\s+-?\d+\s+([A-Z]{1,2}|m)\s+(\w+)(?:\s+(.*))?",
    re.ASCII,
)
EXTENT = re.compile(r"(\d{1,20}) \+ (\d{1,10}) .*", re.ASCII)
REMAP = re.compile(r"(\d{1,20}) \+ (\d{1,10}) <- \((\d{1,7}),(\d{1,7})\) (\d{1,20})", re.ASCII)
SUMMARY = re.compile(r"CPU\d+ \(|Total \(|Throughput \(|Events \(", re.ASCII)
SKIPS = re.compile(r"Skips: (\d{1,18}) forward", re.ASCII)

QUEUED, DONE, REMAPPED, REQUEUED, MERGED = "Q", "C", "A", "R", ("M", "F")

FOREIGN = "foreign bio"
LOWER = "bio of a lower device (the upper one is counted)"
NOT_DONE = "IO queued, not completed in the trace"
NO_QUEUE = "completed request whose bios are not in the trace"
LOST_EVENTS = "event skipped by blkparse"


def looks_like(line: str) -> bool:
    """Tell whether a line is an event of blkparse."""
    return LINE.fullmatch(line.strip()) is not None


def read(source: Source) -> Body:
    """Reconstruct IOs from Q and C.

    Raises
    ------
    UsageError
        For a line of another form, a completion that is earlier than its queueing, or a text without Q.
    """
    replay = _Replay(source)
    number = 0
    in_summary = False
    for number, line in source.lines():
        line = line.strip()
        in_summary = in_summary or bool(SUMMARY.match(line))
        if in_summary:
            skips = SKIPS.match(line)
            replay.dropped[LOST_EVENTS] += int(skips[1]) if skips else 0
        elif line:
            replay.handle(number, line)
    if not replay.counts[QUEUED]:
        raise source.wrong(number, "no Q (queued) event", "trace with the actions queue and complete at least")
    return replay.body()


class _Replay:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.in_flight = InFlight()
        self.ios: list[Bio] = []
        self.queued: set[Device] = set()  # devices with Q events
        self.clones: set[tuple[Device, int]] = set()

    def handle(self, number: int, line: str) -> None:
        match = LINE.fullmatch(line)
        if match is None:
            right = "give lines such as '8,0 1 1 0.000000000 12 Q R 128 + 8 [fio]'"
            raise self.source.wrong(number, f"not a line of blkparse: {clip(line)}", right)
        major, minor, seconds, nanoseconds, action, rwbs, rest = match.groups()
        self.counts[action] += 1
        device = (int(major), int(minor))
        if action == REMAPPED:
            self._remap(device, rest or "")
        elif action in (QUEUED, DONE):
            ns = int(seconds) * 10**9 + int(nanoseconds)
            self._transfer(number, action, device, rwbs, rest or "", ns)

    def _remap(self, device: Device, rest: str) -> None:
        """Take the next bio there for a clone if the upper device is traced; a partition has no Q itself."""
        match = REMAP.fullmatch(rest)
        if match and (int(match[3]), int(match[4])) in self.queued:
            self.clones.add((device, int(match[1])))

    def _transfer(self, number: int, action: str, device: Device, rwbs: str, rest: str, ns: int) -> None:
        extent = EXTENT.fullmatch(rest)
        if extent is None or not int(extent[2]) or not direction(rwbs):
            if direction(rwbs) and extent is None and not re.fullmatch(r"(\(.*\) )?\[.*\]", rest):
                right = "give 'SECTOR + COUNT [PROCESS]'"
                raise self.source.wrong(number, f"{action} {rwbs} with {clip(rest)}", right)
            self.dropped[f"{FOREIGN} ({rwbs})"] += action == QUEUED
            return
        sector, sectors = int(extent[1]), int(extent[2])
        if (sector + sectors) * SECTOR_BYTES >= LIMIT:
            raise self.source.wrong(number, f"sector {sector}", "give one below 2^53")
        if action == QUEUED:
            self._queue(Bio(device, direction(rwbs), sector, sectors, ns), rwbs)
        else:
            self._complete(number, Bio(device, direction(rwbs), sector, sectors, ns))

    def _queue(self, bio: Bio, rwbs: str) -> None:
        self.queued.add(bio.device)
        self.in_flight.queue(bio)
        if (bio.device, bio.sector) in self.clones:
            self.clones.remove((bio.device, bio.sector))
            self.dropped[LOWER] += 1
        elif is_foreign(rwbs):
            self.dropped[f"{FOREIGN} ({rwbs})"] += 1
        else:
            self.ios.append(bio)

    def _complete(self, number: int, what: Bio) -> None:
        carried = self.in_flight.complete(what.device, what.direction, what.sector, what.sectors, what.queue_ns)
        self.dropped[NO_QUEUE] += not carried
        for bio in carried:
            if what.queue_ns < bio.queue_ns:
                reason = f"completed at {what.queue_ns} ns, before it was queued at {bio.queue_ns} ns"
                raise self.source.wrong(number, reason, "give the events of one run, sorted by time")

    def body(self) -> Body:
        kept = sorted((bio for bio in self.ios if not bio.left), key=lambda bio: bio.queue_ns)
        self.dropped[NOT_DONE] += len(self.ios) - len(kept)
        zero = kept[0].queue_ns if kept else 0
        order = places([bio.done_order for bio in kept])
        ops = {"R": "read", "W": "write"}
        ios, bios = [], []
        for i, bio in enumerate(kept):
            size, start = bio.sectors * SECTOR_BYTES, bio.sector * SECTOR_BYTES
            end = (bio.queue_ns - zero, bio.done_ns - zero, order[i])
            ios.append((i, ops[bio.direction], start, size, *end))
            bios.append((i, i, bio.sector, size, *end))
        merges = sum(self.counts[action] for action in MERGED) or self.in_flight.shared
        return Body(io_frame(ios), bio_frame(bios), self.dropped, self.counts[REQUEUED], merges)
