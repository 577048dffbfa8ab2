"""Whether the ways of releasing a virtual VMA agree, on a recorded trace, about which pages are pinned.

The GUP calls and completions of a trace become one list of events, which is applied to a small world for
each tracker, in lockstep, and to plain counts: the truth. After each event the pages that each tracker
covers are compared with it. Where ranges of GUP calls never overlap, nothing may be missed, ``split`` is the
truth, and ``count`` and ``backpointer`` are the same; where they do, the differences are told apart.

The rules of ``dio`` are those of `workbench.scenarios.direct_io`: ``legacy`` makes a GUP call per 64 pages,
``iomap`` one per bio (of at most 256 pages).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbench.designs import parse_tracker
from workbench.errors import UsageError, nearest
from workbench.mm import registers as R
from workbench.mm.interval_tree import KIND_PINNED
from workbench.mm.world import World
from workbench.scenarios.base import EMPTY_PLAN, new_world
from workbench.scenarios.direct_io import BIO_MAX_PAGES, DIO_PAGES
from workbench.traces import ReplayInput
from workbench.trackers.protocol import pin_range, unpin_range

MODES = ("split", "count", "backpointer")
WHERE = ("apart", "overlapping")
PS_PER_NS = 1000


class Event(NamedTuple):
    """A GUP call pins a run of pages, or a completion lets a part of it go.

    Attributes
    ----------
    time_ns : int
        From the first submission.
    call : int
        Number of the GUP call.
    start, n : int
        First page and number of pages.
    pins : bool
        False: a release.
    """

    time_ns: int
    call: int
    start: int
    n: int
    pins: bool


@dataclass(frozen=True)
class Agreement:
    """What came out of one comparison.

    A page-moment is a page after an event, at which the truth or any tracker has it pinned.

    Attributes
    ----------
    summary : DataFrame
        A row for each tracker and `WHERE`: ``mode``, ``where``, ``page_moments``, ``missed`` (pinned, and the
        tracker says no), ``held`` (the tracker says pinned, and no pin is left), ``held_page_ns`` (the same by
        time until the next event), and for the tracker ``ambiguous``, ``unattributed``, ``ranges_left``.
    pairs : DataFrame
        A row for each two trackers and `WHERE`: ``modes``, ``where``, ``disagreements`` [page-moments].
    series : DataFrame
        After each event: ``time_ns``, ``truth`` and a column for each tracker: pages pinned.
    calls, overlapping_calls : int
        GUP calls, and those whose range met another live one or what such a one had left behind.
    """

    summary: pd.DataFrame
    pairs: pd.DataFrame
    series: pd.DataFrame
    calls: int
    overlapping_calls: int


def events_of(
    replay: ReplayInput, dio: str, *, overlap: float = 0.0, deferred_ns: int = 0, seed: int = 1
) -> list[Event]:
    """List pins and releases of a trace.

    Parameters
    ----------
    replay : ReplayInput
        From `workbench.traces.replay`.
    dio : str
        ``legacy`` or ``iomap``.
    overlap : float
        Share of IOs whose buffer is a random piece of one shared region; the others reuse the buffer that was
        given back last.
    deferred_ns : int
        Time from a bio's completion to its release. A buffer is free once its IO is complete, so with a
        deferred release it may be pinned anew before it was released.
    seed : int
        Of the draws for ``overlap``.

    Returns
    -------
    list of Event
        In the order of time; at the same time releases go first, in the trace's order of completion.

    Raises
    ------
    UsageError
        Another `dio`, or a value out of range.
    """
    if dio not in ("legacy", "iomap"):
        raise UsageError(f"dio {dio!r}: {nearest(dio, ('legacy', 'iomap'))}")
    if not 0 <= overlap <= 1:
        raise UsageError(f"overlap {overlap}: it goes from 0 to 1")
    if deferred_ns < 0:
        raise UsageError(f"deferred_ns {deferred_ns}: 0 ns or more")
    timed: list[tuple[int, int, int, Event]] = []  # time, pins last, order of completion
    call = 0
    for io, page in enumerate(_buffers(replay, overlap, seed)):
        bios = range(replay.first_bio[io], replay.first_bio[io] + replay.bio_count[io])
        sizes = [int(replay.bio_pages[b]) for b in bios]
        bio_ends = np.cumsum(sizes)
        starts = _gup_starts(sizes, dio)
        for first, end in zip(starts, [*starts[1:], int(bio_ends[-1])], strict=True):
            at = int(replay.submit_ns[io])
            timed.append((at, 1, call, Event(at, call, page + first, end - first, True)))
            for b, bio_end, size in zip(bios, bio_ends, sizes, strict=True):
                low, high = max(first, int(bio_end) - size), min(end, int(bio_end))
                if low < high:
                    done = int(replay.bio_complete_ns[b]) + deferred_ns
                    event = Event(done, call, page + low, high - low, False)
                    timed.append((done, 0, int(replay.bio_order[b]), event))
            call += 1
    return [event for *_, event in sorted(timed)]


def _gup_starts(sizes: list[int], dio: str) -> list[int]:
    """First page of each GUP call of an IO, from the start of its buffer."""
    if dio == "legacy":
        return list(range(0, sum(sizes), DIO_PAGES))
    ends = np.cumsum(sizes)
    return [p for end, size in zip(ends, sizes, strict=True) for p in range(int(end) - size, int(end), BIO_MAX_PAGES)]


def _buffers(replay: ReplayInput, overlap: float, seed: int) -> list[int]:
    """First page of each IO's buffer: the one that was given back last, or a random piece of a shared region."""
    rng = np.random.Generator(np.random.PCG64(seed))
    largest = int(replay.pages.max())
    done = np.maximum.reduceat(replay.bio_complete_ns, replay.first_bio)
    order = np.argsort(done, kind="stable")
    region = largest * max(2, int(np.sqrt(len(done))) // 4) if overlap > 0 else 0
    shared = rng.random(len(done)) < overlap
    pages, free, given_back, slots = [0] * len(done), list[int](), 0, 0
    for io in range(len(done)):
        while given_back < len(order) and done[order[given_back]] <= replay.submit_ns[io]:
            other = order[given_back]
            given_back += 1
            if not shared[other]:
                free.append(pages[other])
        if shared[io]:
            pages[io] = int(rng.integers(0, region - int(replay.pages[io]) + 1))
        elif free:
            pages[io] = free.pop()
        else:
            pages[io] = region + largest * slots
            slots += 1
    return pages


def pinned_pages(world: World, pages: int) -> np.ndarray:
    """Pages that the pinned ranges of a world's tree cover.

    Returns
    -------
    ndarray of bool, shape (pages,)
    """
    rows = world.node[world.node["kind"] == KIND_PINNED]
    change = np.zeros(pages + 1, np.int64)
    np.add.at(change, rows["start"].astype(np.int64), 1)
    np.add.at(change, rows["last"].astype(np.int64) + 1, -1)
    return np.cumsum(change[:-1]) > 0


class _Overlaps:
    """Which pages may be affected by ranges that overlap.

    A call whose range meets a pinned page, or one that was affected before, affects all of its own pages and
    those of the calls that it meets. A page is free of it once neither truth nor any tracker has it pinned.
    """

    def __init__(self, pages: int):
        self.affected = np.zeros(pages, bool)
        self.live: dict[int, tuple[int, int]] = {}
        self.met: set[int] = set()

    def pin(self, event: Event, pinned: np.ndarray) -> None:
        run = (event.start, event.start + event.n)
        if pinned[slice(*run)].any() or self.affected[slice(*run)].any():
            self._affect(event.call, run)
        self.live[event.call] = run

    def _affect(self, call: int, run: tuple[int, int]) -> None:
        self.met.add(call)
        self.affected[slice(*run)] = True
        for other, (first, end) in self.live.items():
            if other not in self.met and first < run[1] and run[0] < end:
                self._affect(other, (first, end))

    def settle(self, anywhere: np.ndarray) -> None:
        self.affected &= anywhere


def agreement(
    replay: ReplayInput,
    dio: str,
    *,
    overlap: float = 0.0,
    deferred_ns: int = 0,
    seed: int = 1,
    trackers: Mapping[str, Any] | None = None,
) -> Agreement:
    """Apply a trace to several trackers of ranges, and compare after each event what they call pinned.

    Parameters
    ----------
    replay, dio, overlap, deferred_ns, seed
        As in `events_of`.
    trackers : mapping, optional
        Name to tracker; by default ``vma-common`` with each of `MODES`.

    Returns
    -------
    Agreement

    Raises
    ------
    UsageError
        As `events_of`.
    """
    events = events_of(replay, dio, overlap=overlap, deferred_ns=deferred_ns, seed=seed)
    if trackers is None:
        trackers = {mode: parse_tracker(f"vma-common:release={mode}")[1] for mode in MODES}
    pages = max(event.start + event.n for event in events)
    worlds = {name: _world(pages, len(events)) for name in trackers}
    handles: dict[tuple[str, int], int] = {}
    truth = np.zeros(pages, np.int64)
    overlaps = _Overlaps(pages)
    tally = _Tally(tuple(trackers))
    left = dict.fromkeys(trackers, np.zeros(pages, bool))
    still = _pages_per_call(events)
    for place, event in enumerate(events):
        run = slice(event.start, event.start + event.n)
        if event.pins:
            overlaps.pin(event, (truth > 0) | np.any(list(left.values()), axis=0))
            truth[run] += 1
        else:
            truth[run] -= 1
            still[event.call] -= event.n
            if still[event.call] == 0:
                del overlaps.live[event.call]
        for name, tracker in trackers.items():
            _apply(tracker, worlds[name], event, handles, name)
            left[name] = pinned_pages(worlds[name], pages)
        lasts = events[place + 1].time_ns - event.time_ns if place + 1 < len(events) else 0
        tally.add(event.time_ns, lasts, truth > 0, left, overlaps.affected)
        overlaps.settle((truth > 0) | np.any(list(left.values()), axis=0))
    return tally.result(worlds, len(still), len(overlaps.met))


def _world(pages: int, events: int) -> World:
    world, _ = new_world(
        pages=pages, nodes=2 * events + 8, bios=1, dios=1, cpus=1, submitters=1, plan=EMPTY_PLAN, ios=0
    )
    return world


def _pages_per_call(events: list[Event]) -> dict[int, int]:
    return {event.call: event.n for event in events if event.pins}


def _apply(tracker: Any, world: World, event: Event, handles: dict[tuple[str, int], int], name: str) -> None:
    world.sys[R.NOW] = event.time_ns * PS_PER_NS
    inode = world.sys[R.I_MMAP]
    if event.pins:
        handles[name, event.call] = int(pin_range(tracker, world, inode, event.start, event.n))
    else:
        unpin_range(tracker, world, inode, event.start, event.n, handles[name, event.call])


class _Tally:
    """Sums over page-moments."""

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.pairs = list(combinations(names, 2))
        self.moments = dict.fromkeys(WHERE, 0)
        self.missed = {(name, where): 0 for name in names for where in WHERE}
        self.held = dict.fromkeys(self.missed, 0)
        self.held_ns = dict.fromkeys(self.missed, 0)
        self.apart = {(pair, where): 0 for pair in self.pairs for where in WHERE}
        self.series: list[tuple[int, ...]] = []

    def add(
        self, time_ns: int, lasts_ns: int, truth: np.ndarray, said: Mapping[str, np.ndarray], affected: np.ndarray
    ) -> None:
        anywhere = truth | np.any(list(said.values()), axis=0)
        for where, mask in (("apart", ~affected), ("overlapping", affected)):
            self.moments[where] += int(np.count_nonzero(anywhere & mask))
            for name in self.names:
                held = int(np.count_nonzero(said[name] & ~truth & mask))
                self.missed[name, where] += int(np.count_nonzero(truth & ~said[name] & mask))
                self.held[name, where] += held
                self.held_ns[name, where] += held * lasts_ns
            for one, other in self.pairs:
                self.apart[(one, other), where] += int(np.count_nonzero((said[one] != said[other]) & mask))
        self.series.append((time_ns, *(int(np.count_nonzero(m)) for m in (truth, *said.values()))))

    def result(self, worlds: Mapping[str, World], calls: int, overlapping: int) -> Agreement:
        rows = [
            {
                "mode": name,
                "where": where,
                "page_moments": self.moments[where],
                "missed": self.missed[name, where],
                "held": self.held[name, where],
                "held_page_ns": self.held_ns[name, where],
                "ambiguous": int(worlds[name].sys[R.AMBIGUOUS]),
                "unattributed": int(worlds[name].sys[R.UNATTRIBUTED]),
                "ranges_left": int(worlds[name].sys[R.LIVE_RANGES]),
            }
            for name in self.names
            for where in WHERE
        ]
        pairs = [
            {"modes": " / ".join(pair), "where": where, "disagreements": n} for (pair, where), n in self.apart.items()
        ]
        series = pd.DataFrame(self.series, columns=["time_ns", "truth", *self.names])
        return Agreement(pd.DataFrame(rows), pd.DataFrame(pairs), series, calls, overlapping)
