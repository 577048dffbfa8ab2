"""What the model says: its own worlds, taken through system calls.

A world is laid out as the scenarios' are, and `Replay` runs the model's own steps in it, one after the other. A system
call arms the task whose program it stands for, and everything that can run then runs until all is done or blocked; what
a device does to writebacks happens at once, reads are held until `complete`. So nothing here knows what a page does: it
says which program a system call is, and reads the result from the model's page.

Three calls are parts of a program: a load is the fault of get_user_pages for reading, without the reference that it
would take; MADV_DONTNEED is truncation's unmap_range alone; dropping a page that nobody maps (POSIX_FADV_DONTNEED) is
reclaim of that page.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workbench import designs
from workbench.mm import programs as P
from workbench.mm import registers as R
from workbench.mm.page import (
    CHILD_PRESENT,
    NEWER_THAN_DISK,
    PG_CACHED,
    PG_DIRTY,
    PG_EXCLUSIVE,
    PG_LRU,
    PG_PRIVATE,
    PG_WRITEBACK,
    PTE_PRESENT,
    lru_add,
    lru_del,
)
from workbench.mm.world import DEAD, PLAN, READ, RUNNABLE, WAIT_NONE, WRITE, WRITEBACK, World
from workbench.replay import Replay, SmallWorld, small_world
from workbench.scenarios.base import Actor, Cleaner, apply_design, new_world
from workbench.scenarios.common import CPUS, lay_out_frames
from workbench.search import progress

PRESET = "v6.12"
SLOTS = 8  # direct IOs in flight


@dataclass(frozen=True)
class PageState:
    """What can be said of one page, by the model or by the kernel; None: it can't be seen.

    Attributes
    ----------
    cached, mapped : bool
        It is in the page cache; the owner's PTE is there.
    dirty, writeback, lru, buffers, exclusive : bool or None
        PG_dirty, PG_writeback, PG_lru, PG_private, PG_anon_exclusive.
    mapcount : int or None
        PTEs that map it.
    frame, child : int or None
        What the owner's and the child's PTE name: comparable with itself only.
    """

    cached: bool
    mapped: bool
    dirty: bool | None = None
    writeback: bool | None = None
    lru: bool | None = None
    buffers: bool | None = None
    exclusive: bool | None = None
    mapcount: int | None = None
    frame: int | None = None
    child: int | None = None


class Predicted:
    """A world of the model under a design, and the system calls that change it.

    Parameters
    ----------
    small : SmallWorld
    """

    def __init__(self, small: SmallWorld) -> None:
        self.run = Replay(small)
        self.world: World = small.world
        self.bios: dict[int, int] = {}  # by the tag of a read that is held
        self._names = small.names
        self.run.judge()  # has it compiled before anything is held

    # ---- tasks

    def _task(self, name: str) -> Any:
        return self.world.task[self._names.index(name)]

    def _arm(self, name: str, pc: int, /, **fields: int) -> int:
        """Have a task begin at a step; its number."""
        task = self._task(name)
        task["pc"], task["state"], task["wait_kind"] = pc, RUNNABLE, WAIT_NONE
        for field, value in fields.items():
            task[field] = value
        return self._names.index(name)

    def settle(self) -> None:
        """Run whatever can run, but for reads at the device."""
        while True:
            going = [c for c in self.run.choices()[0] if not self._is_held(c)]
            if not going:
                return
            self.run.step(going[0])

    def _is_held(self, choice: int) -> bool:
        bio = choice - progress.DEVICE
        return bio >= 0 and self.world.bio[bio]["op"] != WRITEBACK

    def _call(self, name: str, pc: int, /, **fields: int) -> bool:
        """A system call; whether it returns."""
        self._arm(name, pc, **fields)
        self.settle()
        return bool(self._task(name)["state"] == DEAD)

    def _part(self, name: str, begin: int, /, *steps: int, **fields: int) -> None:
        """Steps of a program, up to the first one that is none of `steps`; then its task is dead."""
        number = self._arm(name, begin, **fields)
        while self.world.task[number]["pc"] in steps and self.world.task[number]["state"] == RUNNABLE:
            self.run.step(number)
        self.world.task[number]["state"] = DEAD

    # ---- pins

    def pin(self, tag: int, page: int = 0, pages: int = 1, op: int = READ) -> bool:
        """A direct IO begins; whether its pages are pinned and it is at the device."""
        sys = self.world.sys
        self.world.plan[0] = (page, pages, op, -1, -1)
        sys[R.PLAN_NEXT], sys[R.IOS_LEFT], sys[R.SUBMITTERS] = 0, 1, 1
        before = set(self.run.submitted)
        self._call("dio/0", P.D_BEGIN, transfers=-1)
        new = set(self.run.submitted) - before
        for bio in new:
            self.bios[tag] = bio
        return bool(new)

    def complete(self, tag: int) -> None:
        """The device finishes a read that is held."""
        self.run.step(progress.DEVICE + self.bios.pop(tag))
        self.settle()

    def register(self, transfers: int = 0) -> bool:
        """Register a memory region on page 0, for long; whether that succeeds.

        With a transfer, this is held as a read is, with tag 1.
        """
        task, free = self._task("rdma/0"), len(self.world.dio) - 1
        fields = {"flight_head": -1, "flight_tail": -1, "caller": 0, "error": 0}
        self._call("rdma/0", P.M_REGISTER, rounds=1, transfers=transfers, free_dio=free, **fields)
        if transfers:
            self.bios[1] = self.run.submitted[-1]
        return bool(task["state"] != DEAD)

    def unregister(self) -> None:
        """Deregister it."""
        self._call("rdma/0", P.M_IDLE, caller=1)

    def pins(self) -> tuple[int, int]:
        """Pins taken and released so far; none where direct IO takes plain references (FOLL_GET)."""
        if not self.world.sys[R.PIN_DIO]:
            return 0, 0
        return int(self.run.counted[R.PINS]), int(self.run.counted[R.UNPINS])

    # ---- the CPU

    def store(self, page: int = 0) -> int:
        """Write to a page; how often that faults."""
        before = self.run.counted[R.FAULT]
        self._call("writer", P.U_WRITE, page=page, rounds=1)
        return int(self.run.counted[R.FAULT] - before)

    def load(self, page: int = 0) -> int:
        """Read from a page; how often that faults."""
        before = self.run.counted[R.FAULT]
        slot = int(self._task("dio/0")["free_dio"])
        self.world.dio[slot]["op"] = WRITE
        steps = (P.D_GUP_PAGES, P.D_FAULT_LOCK, P.D_FAULT_PTE, P.D_COW_FAULT, P.D_FAULT_UNLOCK)
        seq = int(self.world.sys[R.SEQ])
        self._part("dio/0", P.D_GUP_PAGES, *steps, dio=slot, page=page, first=page, last=page, seq=seq)
        return int(self.run.counted[R.FAULT] - before)

    def unmap(self, page: int) -> None:
        """MADV_DONTNEED of a page of the file."""
        self._part("truncate", P.T_UNMAP, P.T_UNMAP, page=page)

    def fork(self) -> bool:
        """Fork; whether that returns. The child does nothing until `child_exit`."""
        self._task("child")["state"] = DEAD
        return self._call("fork", P.K_BEGIN)

    def child_store(self) -> None:
        """The child writes to the page."""
        self._part("child", P.C_WRITE, P.C_WRITE)

    def child_exit(self) -> None:
        """The child exits."""
        self._call("child", P.C_EXIT)

    # ---- cleaning, reclaim, truncation

    def fsync(self, pages: int | None = None) -> bool:
        """fsync, fdatasync, or msync(MS_SYNC) of the first pages; whether it returns."""
        return self._clean("fsync", pages)

    def sync_file_range(self, pages: int | None = None) -> bool:
        """sync_file_range(2), WRITE and WAIT_AFTER, of the first pages: the flusher's kind (WB_SYNC_NONE)."""
        return self._clean("flusher", pages)

    def _clean(self, name: str, pages: int | None) -> bool:
        sys = self.world.sys
        sys[R.SYNC_PAGES] = pages or len(self.world.page)
        returned = self._call(name, P.F_SLEEP, rounds=1)
        sys[R.SYNC_PAGES] = len(self.world.page)
        return returned

    def reclaim(self, page: int) -> None:
        """Reclaim looks at one page: MADV_PAGEOUT of one that is mapped."""
        lru_del(self.world, page)
        others = [p for p in range(len(self.world.page)) if self.world.page[p]["flags"] & PG_LRU]
        for p in others:
            lru_del(self.world, p)
        for p in (page, *others):  # the first comes to the tail
            lru_add(self.world, p)
        self._call("kswapd", P.R_ISOLATE, last=1, rounds=0)

    def pageout(self, page: int) -> None:
        """MADV_PAGEOUT, which looks at pages that are mapped, and on the LRU."""
        if self.world.page[page]["flags"] & PTE_PRESENT and self.world.page[page]["flags"] & PG_LRU:
            self.reclaim(page)

    def drop(self) -> bool:
        """sync_file_range, then POSIX_FADV_DONTNEED: of pages that nobody maps; whether it returns."""
        returned = self.sync_file_range()
        for p, row in enumerate(self.world.page):
            if row["flags"] & PG_CACHED and row["flags"] & PG_LRU and row["_mapcount"] < 0:
                self.reclaim(p)
        return returned

    def truncate(self) -> bool:
        """Truncate the file to nothing; whether that returns."""
        return self._call("truncate", P.T_BEGIN)

    def extend(self) -> None:
        """Make it as long as it was, with a hole for contents."""
        self.world.sys[R.TRUNCATED] = 0

    # ---- what is to be seen

    def page(self, number: int = 0) -> PageState:
        """A page of the file."""
        row = self.world.page[number]
        flags = int(row["flags"])
        if not flags & PG_CACHED:
            return self._orphan(row)
        return PageState(
            cached=True,
            mapped=bool(flags & PTE_PRESENT),
            dirty=bool(flags & PG_DIRTY),
            writeback=bool(flags & PG_WRITEBACK),
            lru=bool(flags & PG_LRU),
            buffers=bool(flags & PG_PRIVATE),
            mapcount=int(row["_mapcount"]) + 1,
            frame=number,
        )

    def _orphan(self, row: Any) -> PageState:
        """A page that is not in the file: of its frame, if somebody holds it, there is something to be said."""
        if row["_refcount"] == 0:
            return PageState(cached=False, mapped=False)
        flags = int(row["flags"])
        return PageState(
            cached=False,
            mapped=False,
            lru=bool(flags & PG_LRU),
            buffers=bool(flags & PG_PRIVATE),
            mapcount=int(row["_mapcount"]) + 1,
        )

    def anon(self) -> PageState:
        """The virtual page of a world of frames."""
        owner, child = (
            next((i for i, row in enumerate(self.world.page) if row["flags"] & flag), None)
            for flag in (PTE_PRESENT, CHILD_PRESENT)
        )
        assert owner is not None
        row = self.world.page[owner]
        return PageState(
            cached=True,
            mapped=True,
            exclusive=bool(row["flags"] & PG_EXCLUSIVE),
            mapcount=int(row["_mapcount"]) + 1,
            frame=owner,
            child=child,
        )

    def frame(self) -> int | None:
        """What the owner's PTE of the first page names."""
        return (self.anon() if self.world.sys[R.FRAMES] else self.page()).frame

    def newer(self, number: int) -> bool:
        """Whether a page's memory is newer than the disk."""
        return bool(self.world.page[number]["ghost_data"] & NEWER_THAN_DISK)

    @property
    def pages(self) -> int:
        """Pages of the file, or frames."""
        return len(self.world.page)


class SeveralFiles:
    """Worlds whose files stand for consecutive parts of one: a world has room for a few reads only.

    Parameters
    ----------
    worlds : list of Predicted
        With as many pages each.
    """

    def __init__(self, worlds: list[Predicted]) -> None:
        self._worlds = worlds
        self._each = worlds[0].pages
        self._where: dict[int, Predicted] = {}

    def pin(self, tag: int, page: int, pages: int = 1) -> bool:
        """A direct IO into pages of one of them begins."""
        self._where[tag] = self._worlds[page // self._each]
        return self._where[tag].pin(tag, page % self._each, pages)

    def complete(self, tag: int) -> None:
        """The device finishes a read that is held."""
        self._where.pop(tag).complete(tag)

    def pins(self) -> tuple[int, int]:
        """Pins taken and released so far."""
        taken, released = zip(*(world.pins() for world in self._worlds), strict=True)
        return sum(taken), sum(released)

    def page(self, number: int) -> PageState:
        """A page of the file."""
        return replace(self._worlds[number // self._each].page(number % self._each), frame=number)

    @property
    def pages(self) -> int:
        """Pages of the file."""
        return self._each * len(self._worlds)


def file_world(design: str = PRESET, pages: int = 4, slots: int = SLOTS) -> Predicted:
    """A file whose pages are cached, mapped read-only, and clean.

    Parameters
    ----------
    design : str
    pages : int
    slots : int
        Most reads in flight.
    """
    return Predicted(_lay_out(design, pages, slots, frames=False))


def anon_world(design: str = PRESET, slots: int = SLOTS) -> Predicted:
    """One anonymous page, which has just been written."""
    return Predicted(_lay_out(design, slots + 4, slots, frames=True))


def scenario_world(scenario: str, design: str = PRESET, **parameters: Any) -> Predicted:
    """A scenario's small world, with the bias and the completion of the running kernel."""
    small = small_world(
        scenario, design, {"bias": 1024, "journal": 0, "stable_pages": 0, "dirty": "always"} | parameters
    )
    small.world.task["state"][2 * CPUS :] = DEAD
    return Predicted(small)


def _lay_out(design: str, pages: int, slots: int, frames: bool) -> SmallWorld:
    """Lay out a world with one task for each system call, all of which are dead at first."""
    chosen = designs.parse(design)
    actors = [Actor("writer", P.WRITER_PROGRAM, P.U_WRITE, cpu=0)]
    if frames:
        cleaners: tuple[Cleaner, ...] = ()
        actors.append(Actor("fork", P.FORK_PROGRAM, P.K_BEGIN, cpu=0))
        actors.append(Actor("child", P.CHILD_PROGRAM, P.C_WAIT, cpu=0))
        actors.append(Actor("rdma/0", P.RDMA_PROGRAM, P.M_REGISTER, cpu=0, dios=1))
    else:
        cleaners = tuple(Cleaner(name, 0, 0, 0) for name in ("flusher", "fsync", "kswapd"))
        actors.append(Actor("truncate", P.TRUNCATE_PROGRAM, P.T_BEGIN, cpu=0))
    world, names = new_world(
        pages=pages, nodes=8, bios=slots + len(cleaners), dios=slots + 1, cpus=1, submitters=1,
        plan=np.zeros(1, PLAN), ios=0, cleaners=cleaners, actors=tuple(actors), dirty=False,
    )  # fmt: skip
    if frames:
        lay_out_frames(world)
    world.task["state"][2:] = DEAD
    apply_design(world, chosen)
    sys = world.sys
    sys[R.GUP_BATCH], sys[R.BIO_PAGES], sys[R.PAGES_PER_STEP] = 512, 256, 1
    sys[R.TAGS] = sys[R.TAGS_FREE] = len(world.bio)
    sys[R.GUP_FAST_STEPS] = sys[R.SEQ_CHECKED] = sys[R.DIRTY_ALWAYS] = 1
    return SmallWorld("", chosen, chosen.tracker, world, names, {})
