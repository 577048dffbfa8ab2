"""Bios on their way through the block layer, found by their sectors.

A request that completes may carry several merged bios, or a piece of one that was split; requests name
only sectors. So each bio is kept as the pieces of it that are still out, and is done with the last of them.
"""

import re
from bisect import bisect_left, insort
from dataclasses import dataclass
from functools import lru_cache

Device = tuple[int, int]  # major, minor

# rwbs as blk_fill_rwbs() writes it (Linux 6.18, kernel/trace/blktrace.c): F preflush; the operation; then
# F FUA, A readahead, S sync, M metadata, U atomic.
RWBS = re.compile(r"F?([RW])([FASMU]*)", re.ASCII)


@lru_cache(1024)
def direction(rwbs: str) -> str:
    """'R' or 'W' for a transfer of data, '' for flush, discard and the rest."""
    match = RWBS.fullmatch(rwbs)
    return match[1] if match else ""


@lru_cache(1024)
def is_foreign(rwbs: str) -> bool:
    """Tell whether the flags show what no direct IO sends: readahead, metadata, or no data at all."""
    match = RWBS.fullmatch(rwbs)
    return match is None or bool(set(match[2]) & {"A", "M"})


@dataclass(eq=False)
class Bio:
    """One bio. Times in ns of the trace's clock; `left` counts its sectors that are still out."""

    device: Device
    direction: str
    sector: int
    sectors: int
    queue_ns: int
    done_ns: int = 0
    done_order: int = 0
    number: int = 0
    left: int = 0


class _Pieces:
    """Pieces that are out on one device in one direction, each under (first sector, number of its bio)."""

    def __init__(self) -> None:
        self.keys: list[tuple[int, int]] = []  # sorted
        self.parts: dict[tuple[int, int], tuple[int, Bio]] = {}  # to (sector after the last, bio)
        self.longest = 0

    def add(self, start: int, end: int, bio: Bio) -> None:
        insort(self.keys, (start, bio.number))
        self.parts[start, bio.number] = (end, bio)
        self.longest = max(self.longest, end - start)

    def remove(self, key: tuple[int, int]) -> tuple[int, Bio]:
        del self.keys[bisect_left(self.keys, key)]
        return self.parts.pop(key)

    def between(self, low: int, high: int) -> list[tuple[int, int]]:
        return self.keys[bisect_left(self.keys, (low, 0)) : bisect_left(self.keys, (high, 0))]

    def at(self, sector: int, end: int) -> tuple[int, int] | None:
        """Find the piece that a request of [sector, end) carries first.

        A piece that begins there and fits, rather than one that begins there and was split, rather than
        one of which the front is still out; among equals, the bio that was queued first.
        """
        here = self.between(sector, sector + 1)
        if here:
            return next((key for key in here if self.parts[key][0] <= end), here[0])
        before = self.between(sector - self.longest, sector)
        covering = [key for key in before if self.parts[key][0] > sector]
        return min(covering, key=lambda key: key[1], default=None)


class InFlight:
    """All bios that are out. Those of identical sectors complete in the order in which they were queued.

    Attributes
    ----------
    shared : int
        Bios that completed in a request together with an earlier one: merges, as seen at the completion.
    """

    def __init__(self) -> None:
        self.shared = 0
        self._pieces: dict[tuple[Device, str], _Pieces] = {}
        self._queued = 0
        self._done = 0

    def queue(self, bio: Bio) -> None:
        """Let a bio go out."""
        bio.number, bio.left = self._queued, bio.sectors
        self._queued += 1
        pieces = self._pieces.setdefault((bio.device, bio.direction), _Pieces())
        pieces.add(bio.sector, bio.sector + bio.sectors, bio)

    def complete(self, device: Device, direction: str, sector: int, sectors: int, time_ns: int) -> list[Bio]:
        """Complete the sectors of one request; its bios end in the order of their sectors.

        Returns
        -------
        list of Bio
            Every bio of which the request carried something, done or not. Empty if none was out there.
        """
        pieces = self._pieces.get((device, direction), _Pieces())
        carried = []
        end = sector + sectors
        while sector < end:
            key = pieces.at(sector, end)
            if key is None:  # nothing known is out here: on to the next piece inside the request
                later = pieces.between(sector, end)
                if not later:
                    break
                sector = later[0][0]
                continue
            sector, bio = self._take(pieces, key, sector, end)
            carried.append(bio)
            if not bio.left:
                bio.done_ns, bio.done_order = time_ns, self._done
                self._done += 1
        self.shared += max(0, len(carried) - 1)
        return carried

    @staticmethod
    def _take(pieces: _Pieces, key: tuple[int, int], start: int, end: int) -> tuple[int, Bio]:
        """Cut [start, end) out of one piece; return the sector after what was cut out, and the bio."""
        piece_end, bio = pieces.remove(key)
        end = min(end, piece_end)
        if key[0] < start:
            pieces.add(key[0], start, bio)
        if end < piece_end:
            pieces.add(end, piece_end, bio)
        bio.left -= end - start
        return end, bio

    def forget(self, bio: Bio) -> None:
        """Take out a bio whose completion was lost, lest the next one of its sectors be taken for it."""
        if bio.left:
            pieces = self._pieces[bio.device, bio.direction]
            for key in pieces.between(bio.sector, bio.sector + bio.sectors):
                if key[1] == bio.number:
                    pieces.remove(key)
