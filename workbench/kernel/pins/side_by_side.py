"""The model and the running kernel taken through the same steps, and compared after each of them.

A step is a word and its numbers, such as ``("pin", 1, 0, 2)``: read 1 begins, into two pages from page 0 of the file
on. What is compared: what the call says (whether it returns, is refused, faults), pins taken and released, of each page
whether it is cached, mapped, dirty, under writeback, on the LRU, has buffers, how often it is mapped, and whether its
frame is still the same; of clean pages, whether memory and disk are equal.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from workbench.kernel.pins.live import Live
from workbench.kernel.pins.pages import PAGE
from workbench.kernel.pins.predicted import PageState, Predicted
from workbench.mm.world import WRITE

Step = tuple[Any, ...]
Fact = tuple[str, Any, Any]  # what, predicted, seen

SETTLES = 0.3  # seconds in which a release that the kernel has put off must have come
_CLEANING = ("fsync", "fdatasync", "msync", "sync_file_range", "drop")


def text_of(step: Step) -> str:
    """A step as it is printed: ``pin(1, 0, 2)``."""
    word, *numbers = step
    return f"{word}({', '.join(map(str, numbers))})"


@dataclass(frozen=True)
class Mismatch:
    """Where model and kernel part.

    Attributes
    ----------
    number : int
        Of the step, from 1; 0: before the first.
    step : Step
    facts : tuple of (what, predicted, seen)
    """

    number: int
    step: Step
    facts: tuple[Fact, ...]

    def __str__(self) -> str:
        told = "; ".join(f"{what}: model {predicted}, kernel {seen}" for what, predicted, seen in self.facts)
        return f"step {self.number}, {text_of(self.step)}: {told}"


class SideBySide:
    """A file and anonymous pages, in the model and in the kernel.

    Parameters
    ----------
    live : Live
    file : Predicted
        Of the pages of the file. `SeveralFiles` will do for schedules of pins alone.
    anons : list of Predicted
        One for each anonymous page.

    Attributes
    ----------
    start : Mismatch or None
        What differs before the first step.
    compared : int
        Facts that were compared.
    disturbed : dict
        Steps at which somebody else on the machine pinned pages, so that the counters said more: number -> how much.
    """

    def __init__(self, live: Live, file: Any, anons: Iterable[Predicted] = ()) -> None:
        self.live, self.file, self.anons = live, file, list(anons)
        self.compared = 0
        self.disturbed: dict[int, int] = {}
        self._byte = 0x20
        self._where: dict[int, Predicted] = {}
        self._frames: dict[str, tuple[int | None, int | None]] = {}
        self.start = self._compare(0, ("begin",), [])

    # ---- steps

    def run(self, steps: Iterable[Step], first: int = 1) -> Mismatch | None:
        """Take both through steps, until they part.

        Parameters
        ----------
        steps : iterable of Step
        first : int
            Number of the first of them.
        """
        for number, step in enumerate(steps, first):
            mismatch = self.step(number, step)
            if mismatch:
                return mismatch
        return None

    def step(self, number: int, step: Step) -> Mismatch | None:
        """Take both through one step."""
        word, *numbers = step
        action: Callable[..., list[Fact]] = getattr(self, f"_{word}")
        return self._compare(number, step, action(*numbers))

    def _next_byte(self) -> int:
        self._byte = self._byte % 250 + 1
        return self._byte

    def _store(self, page: int) -> list[Fact]:
        return [("faults", self.file.store(page), self.live.store(page, self._next_byte()))]

    def _load(self, page: int) -> list[Fact]:
        self.file.load(page)
        self.live.load(page)
        return []

    def _mlock(self, page: int) -> list[Fact]:
        self.file.load(page)
        self.live.mlock(page)
        return []

    def _unmap(self, page: int) -> list[Fact]:
        self.file.unmap(page)
        self.live.unmap(page)
        return []

    def _pin(self, tag: int, page: int, pages: int = 1) -> list[Fact]:
        self._where[tag] = self.file
        address = self.live.file.address + page * PAGE
        return [("held", self.file.pin(tag, page, pages), self.live.pin(tag, address, pages))]

    def _pin_anon(self, tag: int, number: int) -> list[Fact]:
        self._where[tag] = self.anons[number]
        return [("held", self.anons[number].pin(tag), self.live.pin(tag, self.live.anons[number].address))]

    def _complete(self, tag: int) -> list[Fact]:
        self._where.pop(tag).complete(tag)
        result = self.live.complete(tag, self._next_byte())
        return [("completes", True, result is not None and result > 0)]

    def _register(self, number: int) -> list[Fact]:
        return [("registered", self.anons[number].register(), self.live.register(self.live.anons[number].address))]

    def _unregister(self, number: int) -> list[Fact]:
        self.anons[number].unregister()
        self.live.unregister()
        return []

    def _splice(self, number: int) -> list[Fact]:
        held = self.anons[number].pin(number, op=WRITE)  # the device reads the page
        self.live.splice(self.live.anons[number].address)
        return [("held", held, True)]

    def _unsplice(self, number: int) -> list[Fact]:
        self.anons[number].complete(number)
        self.live.unsplice()
        return []

    def _store_anon(self, number: int) -> list[Fact]:
        self.anons[number].store()
        self.live.anons[number].store(self._next_byte())
        return []

    def _fork(self) -> list[Fact]:
        returned = all([anon.fork() for anon in self.anons])
        self.live.fork()
        return [("returns", returned, True)]

    def _exit(self) -> list[Fact]:
        for anon in self.anons:
            anon.child_exit()
        self.live.child_exit()
        return []

    def _fsync(self) -> list[Fact]:
        self.live.fsync()
        return [("returns", self.file.fsync(), True)]

    def _fdatasync(self) -> list[Fact]:
        self.live.fdatasync()
        return [("returns", self.file.fsync(), True)]

    def _msync(self, pages: int) -> list[Fact]:
        self.live.msync(pages)
        return [("returns", self.file.fsync(pages), True)]

    def _sync_file_range(self, pages: int) -> list[Fact]:
        self.live.sync_file_range(pages)
        return [("returns", self.file.sync_file_range(pages), True)]

    def _pageout(self, page: int) -> list[Fact]:
        self.file.pageout(page)
        self.live.pageout(page)
        return []

    def _drop(self) -> list[Fact]:
        self.live.drop()
        return [("returns", self.file.drop(), True)]

    def _truncate(self) -> list[Fact]:
        self.live.truncate()
        return [("returns", self.file.truncate(), True)]

    def _extend(self) -> list[Fact]:
        self.file.extend()
        self.live.extend()
        return []

    # ---- comparison

    def _compare(self, number: int, step: Step, facts: list[Fact]) -> Mismatch | None:
        self.live.drain()
        if number:
            facts += self._pins(number)
        for page in range(self.live.pages):
            facts += self._states(f"page {page}", self.file.page(page), self.live.page(page))
        for i, anon in enumerate(self.anons):
            facts += self._states(f"anon {i}", anon.anon(), self.live.anon(i))
        if step[0] in _CLEANING:
            facts += self._contents()
        self.live.slow.alive()
        self._counters, self._predicted = self.live.proc.pins(), self._predicted_pins()
        self.compared += len(facts)
        wrong = tuple(fact for fact in facts if fact[1] != fact[2])
        return Mismatch(number, step, wrong) if wrong else None

    def _predicted_pins(self) -> tuple[int, int]:
        worlds = [self.file, *self.anons]
        taken, released = zip(*(world.pins() for world in worlds), strict=True)
        return sum(taken), sum(released)

    def _pins(self, number: int) -> list[Fact]:
        """Pins taken and released in this step, unless somebody else's are in the counters too.

        That is so where they say more, and either go on by themselves or have gone up alike.
        """
        taken, released = (now - before for now, before in zip(self._predicted_pins(), self._predicted, strict=True))
        until = time.monotonic() + SETTLES
        while True:
            counters = self.live.proc.pins()
            more = counters[0] - self._counters[0] - taken, counters[1] - self._counters[1] - released
            if more == (0, 0) or time.monotonic() > until:
                break
            time.sleep(0.003)
            if min(more) >= 0 and (more[0] == more[1] or self.live.proc.pins() != counters):
                self.disturbed[number] = more[0]
                return []
        return [("pins taken", taken, taken + more[0]), ("pins released", released, released + more[1])]

    def _states(self, what: str, predicted: PageState, seen: PageState) -> list[Fact]:
        """Facts about a page: those that both sides know."""
        if predicted.cached != seen.cached:
            return [(f"{what} cached", predicted.cached, seen.cached)]
        facts: list[Fact] = []
        for field in fields(PageState):
            if field.name in ("frame", "child"):
                continue
            said, shown = getattr(predicted, field.name), getattr(seen, field.name)
            if said is not None and shown is not None:
                facts.append((f"{what} {field.name}", said, shown))
        if not seen.cached:
            self._frames.pop(what, None)
        frames = predicted.frame, seen.frame
        if what in self._frames and None not in frames:
            before = self._frames[what]
            facts.append((f"{what} keeps its frame", frames[0] == before[0], frames[1] == before[1]))
        if None not in frames:
            self._frames[what] = frames
        if predicted.child is not None or seen.child is not None:
            shares = f"{what} shared with the child"
            facts.append((shares, predicted.child == predicted.frame, seen.child == seen.frame))
        return facts

    def _contents(self) -> list[Fact]:
        """Whether memory and disk are the same, of pages that are clean: reading others would clean them."""
        facts = []
        for page in range(self.live.pages):
            state = self.live.page(page)
            if state.cached and state.dirty is False:
                differs = self.live.in_memory(page) != self.live.on_disk(page)
                facts.append((f"page {page} newer than disk", self.file.newer(page), differs))
        return facts
