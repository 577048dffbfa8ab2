"""Text of tracefs' ``trace`` and of ``trace-cmd report``, with the events ``iomap:*`` and ``block:*``.

An IO begins at ``iomap_dio_rw_begin`` and is done at ``iomap_dio_complete``; its bios are the
``block_bio_queue`` lines of that task until its next begin. ``iomap_dio_complete`` prints ``ki_pos`` after
it was advanced by what was done: the position behind the IO (Linux 6.18, fs/iomap/direct-io.c).
The clock of the text has a resolution of 1 us as a rule; the order of the lines is finer, and is kept.
"""

import re

from workbench.traces import direct_io
from workbench.traces.direct_io import (
    BEGIN,
    BIO_DONE,
    COUNTED_ONLY,
    DONE,
    QUEUE,
    REQUEST_DONE,
    Begin,
    Done,
    Event,
    Sectors,
)
from workbench.traces.text import Source, clip
from workbench.traces.trace import LIMIT, SECTOR_BYTES, Body

# TASK-PID (TGID) [CPU] FLAGS SECONDS: event: …; trace-cmd leaves out the flags, or the TGID.
PREFIX = re.compile(
    r".*?-(\d{1,10})\s+(?:\([\s\d-]+\)\s+)?\[(\d{1,7})\]\s+(?:[^\s:]{4,8}\s+)?"
    r"([0-8]?\d{1,9})\.(\d{9}|\d{6}): (.*)",
    re.ASCII,
)
EVENT = re.compile(r"\s*(\w+):\s*(.*)", re.ASCII)
LOST = re.compile(r"CPU:(\d{1,7}) \[(?:LOST (?:(\d{1,18}) )?EVENTS|(?:(\d{1,18}) )?EVENTS DROPPED)\]", re.ASCII)
ENTRIES = re.compile(r"#\s*entries-in-buffer/entries-written:\s*(\d{1,18})/(\d{1,18})\b", re.ASCII)
OTHER = re.compile(r"#|cpus=\d+$|version = |CPU \d+ is empty$|=> |$", re.ASCII)

DEVICE = r"(\d{1,7})[,:](\d{1,7})"
HEX = r"(0x[0-9a-f]{1,16})"
SECTORS = r"(\d{1,20}) \+ (\d{1,10})"
BIO_LINE = rf"{DEVICE} (\w+) {SECTORS} \[.*\]"
PAYLOAD = {
    name: re.compile(pattern, re.ASCII)
    for name, pattern in {
        BEGIN: rf"dev {DEVICE} ino {HEX} size \S+ offset {HEX} length {HEX} done_before {HEX} "
        r"flags (\S*) dio_flags .*aio \d",
        DONE: rf"dev {DEVICE} ino {HEX} size \S+ offset {HEX} flags .*error -?\d+ ret (-?\d{{1,19}})",
        QUEUE: BIO_LINE,
        BIO_DONE: BIO_LINE,
        REQUEST_DONE: rf"{DEVICE} (\w+) \(.*?\) {SECTORS} (?:\S+ )?\[.*\]",
        **dict.fromkeys(COUNTED_ONLY, ".*"),
    }.items()
}


def looks_like(line: str) -> bool:
    """Tell whether a line is one that begins or fills such a text."""
    line = line.strip()
    return bool(re.match(r"# tracer:|cpus=\d+$", line, re.ASCII) or LOST.match(line) or PREFIX.match(line))


def read(source: Source) -> Body:
    """Reconstruct each direct IO, its bios, and the order in which they completed.

    Dropped, with a reason and a count: IOs that were begun and not completed, or completed and not begun;
    those that failed, have no bio, have one that did not complete, or were in flight while events were lost
    unless their bios cover them; bios of readahead, metadata, flushes and of tasks that have no IO begun.

    Raises
    ------
    UsageError
        For a line of another form, time that runs backwards, fewer entries than the header announces, or a
        text without ``iomap_dio_rw_begin``.
    """
    text = _Text(source)
    if not any(event.name == BEGIN for event in text.events):
        right = "record the events iomap:iomap_dio_rw_begin, iomap:iomap_dio_complete and block:*"
        raise source.wrong(text.last_line, f"no {BEGIN} in the text", right)
    return direct_io.reconstruct(text.events, direct_io.Gaps(text.gaps), text.lost)


class _Text:
    """The lines that matter, as events; and where events were lost."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.events: list[Event] = []
        self.lost = 0
        self.gaps: list[tuple[int, int]] = []  # (last line of that CPU before the loss, line that tells of it)
        self.last_line = 0
        self._last_of_cpu: dict[int, int] = {}
        self._latest = (0, 0)  # ns, line
        announced = entries = 0
        for number, line in source.lines():
            self.last_line = number
            line = line.strip()
            if match := PREFIX.fullmatch(line):
                entries += 1
                self._entry(number, match)
            elif match := LOST.match(line):
                self.lost += int(match[2] or match[3] or 1)
                self.gaps.append((self._last_of_cpu.get(int(match[1]), 0), number))
            elif match := ENTRIES.match(line):
                announced = int(match[1])
                self.lost += max(0, int(match[2]) - announced)  # overwritten before the first line
            elif not OTHER.match(line):
                right = "give lines such as 'fio-12 [001] ..... 3.000001: block_bio_queue: …'"
                raise source.wrong(number, f"not a line of ftrace: {clip(line)}", right)
        if entries < announced and not self.gaps:
            reason = f"the text ends after {entries} of the {announced} entries that its header announces"
            raise source.wrong(self.last_line, reason, "copy it whole; if it was filtered, remove that line")

    def _entry(self, number: int, match: re.Match[str]) -> None:
        task, cpu, seconds, fraction, rest = match.groups()
        self._last_of_cpu[int(cpu)] = number
        event = EVENT.fullmatch(rest)
        if event is None or event[1] not in PAYLOAD:
            return
        name, payload = event.groups()
        fields = PAYLOAD[name].fullmatch(payload)
        if fields is None:
            right = "give the line whole, as the kernel's TP_printk wrote it"
            raise self.source.wrong(number, f"{name} with {clip(payload)}", right)
        ns = int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
        if ns < self._latest[0]:
            reason = f"time {seconds}.{fraction} is before that of line {self._latest[1]}"
            raise self.source.wrong(number, reason, "sort by time; record with one clock (trace_clock mono)")
        self._latest = (ns, number)
        self.events.append(Event(number, int(task), ns, name, self._payload(number, name, fields.groups())))

    def _payload(self, number: int, name: str, cells: tuple[str, ...]) -> Begin | Done | Sectors | None:
        if name in COUNTED_ONLY:
            return None
        device = (int(cells[0]), int(cells[1]))
        if name == BEGIN:
            offset, length, before = (int(cell, 16) for cell in cells[3:6])
            self._check(number, "offset + length", offset + length)
            return Begin(device, cells[2], offset, length, before, "W" if "WRITE" in cells[6].split("|") else "")
        if name == DONE:
            position, done = int(cells[3], 16), int(cells[4])
            self._check(number, "offset", position)
            self._check(number, "ret", abs(done))
            return Done(device, cells[2], position, done)
        sector, count = int(cells[3]), int(cells[4])
        if count:  # a flush has none, and any sector
            self._check(number, "the end of the sectors in bytes", (sector + count) * SECTOR_BYTES)
        return Sectors(device, cells[2], sector, count)

    def _check(self, number: int, what: str, value: int) -> None:
        if value >= LIMIT:
            raise self.source.wrong(number, f"{what} is {value}", "give one below 2^62")
