"""A second, plain program for docs/model.md: Python objects, lists and generators, and no thought of speed.

It shares with the package the names of counters, the cost table, the reading of designs and of traces, and the
interval tree, which counts the nodes visited and has an oracle of its own. What covers a page is decided by a list.

An actor is a generator. It yields the name of its next step, and the spinlock that the step needs or None; what stands
between one ``yield`` and the next is the effect of the step that the first one named.
"""

import heapq
from dataclasses import dataclass, field
from itertools import count as count_from
from types import SimpleNamespace

import numpy as np

from workbench import costs, designs, traces
from workbench.mm import interval_tree
from workbench.mm import registers as R
from workbench.scenarios import direct_io, golden_race, gup_fast_race
from workbench.scenarios.base import check_parameters

US = 10**6
SLICE_PS = 3 * 10**9
IRQ, WORKER, THREAD = range(3)  # ranks
FLAGS = (
    "locked dirty writeback lru private waiters dma_pinned cached bh_dirty tag_dirty tag_writeback "
    "pte_present pte_write pte_dirty bounced pte_pinned"
).split()
# What a task waits for, in the words of the list of stuck tasks.
DIO, TAG, ROW, LOCK, WRITEBACK, PIN, RWSEM, WORK, JOURNAL = (
    "a direct IO of its own to complete",
    "a device tag",
    "a free bio",
    "the page lock",
    "the end of writeback",
    "a pin to go away",
    "i_mmap_rwsem",
    "work",
    "the journal",
)
WRITES_PINNED = ("write-keep-dirty", "bounce")
WATCHED = 14  # pages of a world in which the ghosts of what callers know are kept


# ---- objects


class Page:
    def __init__(self, number, written):
        self.number = number
        for flag in FLAGS:
            setattr(self, flag, False)
        self.cached = self.lru = self.pte_present = True
        self.refcount, self.mapcount = 2, 0
        self.pins = 0
        self.newer_than_disk = self.newer_than_copy = self.copy_read = self.ever_pinned = False
        self.known = self.known_in_copy = self.wanted = self.wanted_in_copy = False
        self.pincount = 0  # or how many of mapcount are pins
        self.lru_count, self.lru_remembered = 0, False  # lru-count's two words
        if written:
            self.dirty = self.tag_dirty = self.private = self.bh_dirty = self.pte_write = self.pte_dirty = True
            self.newer_than_disk = True
            self.refcount = 3

    def read(self):
        """What is in the page now is what will be on disk."""
        self.newer_than_copy, self.copy_read = False, True
        self.known_in_copy |= self.known
        self.wanted_in_copy |= self.wanted

    def state(self):
        """Flags by name, counts, ghosts."""
        flags = frozenset(f for f in FLAGS if getattr(self, f))
        return flags, self.refcount, self.mapcount, self.pins, self.newer_than_disk, self.newer_than_copy


@dataclass(eq=False)
class Range:
    start: int
    last: int
    left: int
    inserted: int
    row: int = 0  # in the tree
    first_release: int | None = None


@dataclass(eq=False)
class Bio:
    kind: str  # read, write or writeback
    cpu: int
    io: "DirectIO | None" = None
    at: int | None = None  # recorded time of completion
    rows: list = field(default_factory=list)  # (first page, pages, handle)
    needs_dirtying: bool = False
    done: int = 0

    def pages(self):
        return [p for first, n, _ in self.rows for p in range(first, first + n)]


@dataclass(eq=False)
class DirectIO:
    home: int
    owner: "Task"
    page: int = 0
    pages: int = 0
    read: bool = True
    began: int = 0
    got: int = 0
    built: int = 0
    bio: Bio | None = None
    bio_left: int = 0
    recorded: list = field(default_factory=list)  # (pages, time) of the bios that the trace gives it
    holds: int = 0  # bios in flight, and one for the submitter
    handle: Range | None = None


@dataclass(eq=False)
class Task:
    number: int
    name: str
    cpu: int
    rank: int
    actor: object = None
    step: tuple = ()  # the next one: name, spinlock
    state: str = "runnable"
    reason: str = ""
    page: Page | None = None
    checks: Page | None = None  # has a reference that GUP-fast may give back
    told_no: bool = False  # was told "not pinned", rightly, and has not acted on it yet
    handle: bool = False  # of the journal
    ios: int | None = None  # direct IOs that it still has to begin; None: all there are
    queued: Page | None = None  # is about to ask whether this page is pinned, or has asked and will wait
    until: int = 0
    todo: list = field(default_factory=list)  # bios of an interrupt or a kworker, slots of a submitter
    flight: list = field(default_factory=list)  # direct IOs of a submitter, in the order of their beginning


@dataclass(eq=False)
class Cpu:
    current: Task | None = None
    queues: tuple = field(default_factory=lambda: ([], [], []))
    running: bool = False
    spinning: bool = False
    lock: object = None
    last: Task | None = None
    slice_began: int = 0


# ---- trackers


class NoTracker:
    learns = None  # "with" the reference, or "after" the walk
    lock = None
    ranges = None
    by_page_lock = False

    def __init__(self, machine, options):
        self.m = machine
        if self.learns:
            self.learns = {number: word for word, number in designs.OPTIONS["learns"].items()}[options.when]

    def pin(self, page):
        pass

    def unpin(self, page):
        pass

    def pinned(self, page):
        return False

    def pinned_by_walk(self, page, ptes):
        """Answer one who has walked the page's mappings, and has found so many PTEs."""
        return self.pinned(page)

    def ptes(self, page):
        return page.mapcount + 1

    def mark_for_lru(self, page):
        """Tell whether the page stays off the LRU though it is put back."""
        return False


class StickyFlag(NoTracker):
    learns = "with"

    def pin(self, page):
        page.dma_pinned = True
        self.m.count("ATOMIC")

    def pinned(self, page):
        return page.dma_pinned


class Flag(StickyFlag):
    def unpin(self, page):
        page.dma_pinned = False
        self.m.count("ATOMIC")


class Bias(NoTracker):
    learns = "with"

    def __init__(self, machine, options):
        super().__init__(machine, options)
        self.bias, self.subtract = machine.s.bias, options.subtract_mapcount

    def pin(self, page):
        page.refcount += self.bias - 1
        self.m.count("ATOMIC")

    def unpin(self, page):
        page.refcount -= self.bias - 1

    def pinned(self, page):
        mappings = page.mapcount + 1 if self.subtract else 0
        return page.refcount - mappings >= self.bias


class PinCount(NoTracker):
    learns = "with"

    def pin(self, page):
        page.pincount += 1
        self.m.count("ATOMIC")

    def unpin(self, page):
        page.pincount -= 1
        self.m.count("ATOMIC")

    def pinned(self, page):
        return page.pincount > 0


class PageLock(StickyFlag):
    by_page_lock = True

    def pin(self, page):
        page.locked = page.dma_pinned = True
        self.m.count("PAGE_LOCK")

    def unpin(self, page):
        page.dma_pinned = False
        self.m.unlock_page(page)


class MapCount(PinCount):
    def pin(self, page):
        super().pin(page)
        page.mapcount += 1

    def unpin(self, page):
        super().unpin(page)
        page.mapcount -= 1

    def pinned_by_walk(self, page, ptes):
        return page.mapcount + 1 > ptes

    def ptes(self, page):
        return page.mapcount + 1 - page.pincount


class PteBit(NoTracker):
    learns = "with"

    def pin(self, page):
        page.pte_pinned = True
        self.m.count("PTE_UPDATE")

    def unpin(self, page):
        page.pte_pinned = False
        self.m.count("PTE_UPDATE")

    def pinned(self, page):
        return page.pte_pinned


class LruCount(NoTracker):
    learns = "after"
    lock = "lru"

    def pin(self, page):
        self.m.count("SPIN_LOCK")
        self.m.count("ATOMIC")
        if self.pinned(page):
            page.lru_count += 1
            return
        page.lru_count, page.lru_remembered = 1, page.lru
        if page.lru:
            self.m.lru_take(page)
            self.m.count("LRU_ISOLATE")

    def unpin(self, page):
        self.m.count("ATOMIC")
        page.lru_count -= 1
        if page.lru_count == 0:
            self.m.count("SPIN_LOCK")
            if page.lru_remembered:
                self.m.lru_add(page)
                self.m.count("LRU_PUTBACK")
            page.lru_remembered = False

    def pinned(self, page):
        return not page.lru and page.lru_count > 0

    def mark_for_lru(self, page):
        if self.pinned(page):
            page.lru_remembered = True
            return True
        return False


class VirtualVma(NoTracker):
    def __init__(self, machine, options):
        self.m = machine
        self.how = {}
        for name in ("release", "when", "charge", "early_exit"):
            words = {number: word for word, number in designs.OPTIONS[name].items()}
            self.how[name] = words[getattr(options, name)]
        self.before = self.how["when"] == "before"
        self.ranges = []  # by start, later ones behind earlier ones of equal start

    def insert(self, start, n):
        self.m.count("ALLOC")
        self.m.count("RANGES")
        new = Range(start, start + n - 1, n, self.m.now)
        self._in(new)
        return new

    def release(self, first, n, handle):
        """Release a run of pages."""
        if self.how["release"] == "backpointer":
            self._less(handle, n)
            return
        p, end = first, first + n
        while p < end:
            p += self._release_at(p, end)

    def _release_at(self, p, end):
        """Release from page p on what one range covers of the run; how many pages that were."""
        found = self._covering(p)
        if not found:
            self.m.count("UNATTRIBUTED")
            return 1
        if len(found) > 1:
            self.m.count("AMBIGUOUS")
        it = found[-1] if self.how["charge"] == "rightmost" else found[0]
        n = min(end - 1, it.last) - p + 1
        if self.how["release"] == "count":
            n = min(n, it.left)
            self._less(it, n)
        else:
            self._cut(it, p, p + n - 1)
        return n

    def _less(self, it, n):
        self._released(it)
        it.left -= n
        if it.left == 0:
            self._gone(it)

    def _cut(self, it, first, last):
        self._released(it)
        if first == it.start and last == it.last:
            self._gone(it)
            return
        self._out(it)
        right = None
        if first == it.start:
            it.start = last + 1
        else:
            if last < it.last:
                right = Range(last + 1, it.last, 0, it.inserted, first_release=it.first_release)
            it.last = first - 1
        self._in(it)
        self.m.count("SPLITS" if right else "SHRINKS")
        if right:
            self.m.count("ALLOC")
            self._in(right)

    def _released(self, it):
        if it.first_release is None:
            it.first_release = self.m.now

    def _gone(self, it):
        self._out(it)
        self.m.count("FREE")
        self.m.count("RANGES_GONE")
        self.m.record("RANGE_LIFE", self.m.now - it.inserted)
        self.m.record("OUTLIVES", self.m.now - it.first_release)
        for number in range(it.start, it.last + 1):
            self.m.wake_on_page(PIN, self.m.pages[number])

    def _in(self, it):
        it.row = self.m.tree.insert(it.start, it.last)
        place = len(self.ranges)
        while place > 0 and self.ranges[place - 1].start > it.start:
            place -= 1
        self.ranges.insert(place, it)

    def _out(self, it):
        self.m.tree.remove(it.row)
        self.ranges.remove(it)

    def _covering(self, p):
        """Ranges that cover a page, in order; a walk of the tree looks for them."""
        found = [it for it in self.ranges if it.start <= p <= it.last]
        self.m.tree.walk(p, 2 if self.how["charge"] == "leftmost" else None)
        return found

    def pinned(self, page):
        if self.how["early_exit"] == "yes" and page.mapcount < 0:
            return False
        found = any(it.start <= page.number <= it.last for it in self.ranges)
        self.m.tree.walk(page.number, 1)
        return found


TRACKERS = {
    "none": NoTracker,
    "flag-sticky": StickyFlag,
    "flag": Flag,
    "bias": Bias,
    "pincount": PinCount,
    "page-lock": PageLock,
    "mapcount": MapCount,
    "pte-bit": PteBit,
    "bounce-pin": NoTracker,  # for memory regions only
    "lru-count": LruCount,
    "vma-full": VirtualVma,
    "vma-common": VirtualVma,
}


class Tree:
    """The package's tree, for the nodes that it visits and the rotations that it makes."""

    HEADER = 1

    def __init__(self, machine, pages, rows):
        self.m = machine
        self.node = np.zeros(rows + 3, interval_tree.NODE)
        self.sys = np.zeros(R.SYS_CELLS, np.int64)
        interval_tree.free_list_init(self.node, self.HEADER + 1)
        self.vma = self._alloc(0, pages - 1)
        interval_tree.insert(self.node, self.sys, self.HEADER, self.vma)
        self.sys[:] = 0

    def _alloc(self, start, last):
        row = int(interval_tree.alloc(self.node))
        assert row
        self.node[row]["start"], self.node[row]["last"] = start, last
        return row

    def insert(self, start, last):
        row = self._alloc(start, last)
        interval_tree.insert(self.node, self.sys, self.HEADER, row)
        self._charge()
        return row

    def remove(self, row):
        interval_tree.remove(self.node, self.sys, self.HEADER, row)
        self._charge()
        interval_tree.free(self.node, row)

    def walk(self, p, ranges=None):
        """Walk what covers page p, until so many ranges are found or to the end; the VMAs that were found."""
        found = vmas = 0
        row = interval_tree.iter_first(self.node, self.sys, self.HEADER, p, p)
        while row:
            if row == self.vma:
                vmas += 1
            else:
                found += 1
            if found == ranges:
                break
            row = interval_tree.iter_next(self.node, self.sys, row, p, p)
        self._charge()
        return vmas

    def _charge(self):
        for name in ("RB_VISITED", "RB_ROTATIONS"):
            cell = getattr(R, name)
            self.m.count(name, int(self.sys[cell]))
            self.sys[cell] = 0


# ---- what the scenarios set up


def _direct_io_setup(given, rng, draws):
    p = check_parameters("direct-io", direct_io.PARAMETERS, given)
    replay = traces.replay(traces.load(p["trace"])) if p["trace"] else None
    s = SimpleNamespace(
        cpus=p["cpus"],
        submitters=p["threads"] or p["cpus"],
        written=True,
        units=p["units"],
        tags=p["tags"],
        log_page=None,
        ios=None,
    )
    _decisions(s, p)
    s.iomap, s.bio_pages, s.extent_pages = p["dio"] == "iomap", p["bio_pages"], p["extent_kib"] // 4
    s.batch = p["gup_pages"] or (256 if s.iomap else 64)
    s.per_page = round(p["page_us"] * US)
    read = p["op"] == "read"
    if replay is None:
        io_pages, qd, n = p["size_kib"] // 4, p["qd"], p["ios"]
        shared = io_pages * qd if p["overlap"] > 0 else 0
        pages = [None] * n
        if shared:
            chosen = rng.random(n) < p["overlap"]
            where = rng.integers(0, shared - io_pages + 1, n)
            pages = [int(w) if c else None for w, c in zip(where, chosen, strict=True)]
        s.plan = [(page, io_pages, read, None, []) for page in pages]
    else:
        s.submitters, shared = 1, 0
        io_pages = max(int(x) for x in replay.pages)
        qd, s.plan = _replayed(replay)
        s.tags = len(s.plan) + len(replay.bio_pages)
    s.slots, s.pages = qd, shared + s.submitters * qd * io_pages
    s.homes = [[shared + io_pages * (t * qd + k) for k in range(qd)] for t in range(s.submitters)]
    if p["shift"]:
        s.ios, s.pages = len(s.plan) // s.submitters, p["shift"] * (s.submitters * qd - 1) + io_pages
        s.homes = [[p["shift"] * (t * qd + k) for k in range(qd)] for t in range(s.submitters)]
    s.sync = range(min(p["sync_pages"], s.pages) or s.pages)
    s.sync_round = range(1) if p["sync_any"] else s.sync
    mean, sigma = p["latency_us"] * US, p["jitter"]
    factor = np.exp(sigma * draws.standard_normal(1 << 16) - sigma * sigma / 2)
    s.draws = iter(np.maximum(np.round(mean * factor), 1).astype(np.int64).tolist())
    periods = [("flusher", "writeback_ms"), ("fsync", "fsync_ms"), ("isize", "isize_ms"), ("kswapd", "reclaim_ms")]
    every = [(name, round(p[key] * 1000 * US)) for name, key in periods]
    s.cleaners = [(name, period, period, p["rounds"] or -1) for name, period in every if period > 0]
    return s


def _decisions(s, p):
    s.stable, s.bias, s.journal = bool(p["stable_pages"]), p["bias"], bool(p["journal"])
    s.gup_fast, s.dirty_always, s.count_max = bool(p["gup_fast_steps"]), p["dirty"] == "always", p["count_max"]


def _replayed(replay):
    """Slots and plan."""
    plan, events = [], []
    for i, pages in enumerate(replay.pages):
        bios = range(int(replay.first_bio[i]), int(replay.first_bio[i] + replay.bio_count[i]))
        recorded = [(int(replay.bio_pages[b]), int(replay.bio_complete_ns[b]) * 1000) for b in bios]
        begin = int(replay.submit_ns[i])
        plan.append((None, int(pages), replay.op[i] == 0, begin * 1000, recorded))
        events += [(begin, 1), (max(int(replay.bio_complete_ns[b]) for b in bios), -1)]
    most = flying = 0
    for _, change in sorted(events):
        flying += change
        most = max(most, flying)
    return 2 * most, plan


def _ps(us):
    return round(us * US)


def _one_page_setup(p, written, cleaners):
    """One direct IO that reads one page, and cleaners: name, start, period [us], rounds."""
    s = SimpleNamespace(
        cpus=2, submitters=1, written=written, units=4, tags=4, log_page=0, iomap=False, bio_pages=256, ios=None,
        extent_pages=0, batch=64, per_page=0, slots=1, pages=1, homes=[[0]], sync=range(1), sync_round=range(1),
    )  # fmt: skip
    _decisions(s, p)
    s.plan = [(None, 1, True, None, [])]
    s.draws = iter([_ps(p["read_us"])] + [_ps(p["writeback_us"])] * 1000)
    s.cleaners = [(name, _ps(start), _ps(period), rounds) for name, start, period, rounds in cleaners if rounds]
    return s


def _golden_race_setup(given, rng, draws):
    p = check_parameters("golden-race", golden_race.PARAMETERS, given)
    cleaners = [(name, p[f"{name}_us"], p[f"{name}_period_us"], p[f"{name}_rounds"]) for name in ("flusher", "kswapd")]
    cleaners.insert(1, ("fsync", p["fsync_us"], 1, int(p["fsync_us"] > 0)))
    return _one_page_setup(p, False, cleaners)


def _gup_fast_race_setup(given, rng, draws):
    p = check_parameters("gup-fast-race", gup_fast_race.PARAMETERS, given)
    names = ("flusher", "fsync")
    return _one_page_setup(p, True, [(n, p[f"{n}_us"], p["period_us"], p[f"{n}_rounds"]) for n in names])


def _pool(scenario, given, design):
    """Rows for bios: how many the scenario sets aside is not the model's affair."""
    module = {"direct-io": direct_io, "golden-race": golden_race, "gup-fast-race": gup_fast_race}[scenario]
    ranged = TRACKERS[design.tracker_name.split(":")[0]] is VirtualVma
    return len(module.build(given, np.random.default_rng(0), ranged)[0].world.bio)


SETUPS = {
    "direct-io": _direct_io_setup,
    "golden-race": _golden_race_setup,
    "gup-fast-race": _gup_fast_race_setup,
}


# ---- the machine


class Machine:
    def __init__(self, setup, design, cost_table):
        self.s, self.design = setup, design
        self.unit_cost = {name: round(cost.ns * 1000) for name, cost in cost_table.entries.items()}
        self.counters = dict.fromkeys(R.COUNTERS, 0)
        self.histograms = {name: [] for name in R.HISTOGRAMS}
        self.now = self.cost = self.last_done = self.most_bounced = 0
        self.pages = [Page(i, setup.written) for i in range(setup.pages)]
        self.on_lru = dict.fromkeys(self.pages)  # from the tail to the head
        self.rows_free, self.tags_free, self.units_free = setup.rows, setup.tags, setup.units
        self.tree = Tree(self, setup.pages, 2 * setup.rows)
        self.tracker = TRACKERS[design.tracker_name.split(":")[0]](self, design.tracker)
        self.told = "dio" in design.pins
        self.learns = self.tracker.learns if self.told else None
        self.pins_by_lock = self.told and self.tracker.by_page_lock
        self.ranged = self.told and self.tracker.ranges is not None
        self.watched = setup.pages <= WATCHED
        self.handles = 0  # of the journal
        self.plan = list(setup.plan)
        self.submitters, self.ios_out, self.work_out = setup.submitters, 0, 0
        self.device_queue = []
        self.readers, self.writer, self.rwsem_queue = 0, None, []
        self.spin = {}  # held spinlocks: CPUs that spin for it
        self.events, self.order = [], count_from()
        self.woken, self.kicks = [], []
        self.cpus = [Cpu() for _ in range(setup.cpus)]
        self.log = []
        self.tasks = []
        self._make_tasks()

    def _make_tasks(self):
        C = self.s.cpus
        for c in range(C):
            self._task(f"irq/{c}", c, IRQ, self.interrupt)
        for c in range(C):
            self._task(f"kworker/{c}", c, WORKER, self.kworker)
        for t in range(self.s.submitters):
            task = self._task(f"dio/{t}", t % C, THREAD, self.submitter)
            task.todo = [DirectIO(home, task) for home in self.s.homes[t]]
            task.ios = self.s.ios
        programs = {
            "flusher": self.writeback,
            "fsync": self.writeback,
            "isize": self.isize,
            "kswapd": self.kswapd,
        }
        for name, start, period, rounds in self.s.cleaners:
            self._task(name, C - 1, THREAD, lambda me, n=name, a=(start, period, rounds): programs[n](me, Rounds(*a)))
        for task in self.tasks:
            if task.rank == THREAD:
                self.queue(task)
            else:
                self.wait(task, WORK)

    def _task(self, name, cpu, rank, program):
        task = Task(len(self.tasks), name, cpu, rank)
        self.tasks.append(task)
        task.actor = program(task)
        task.step = next(task.actor)
        return task

    def count(self, name, n=1):
        self.counters[name] += n
        self.cost += n * self.unit_cost.get(name, 0)

    def record(self, histogram, value):
        self.histograms[histogram].append(value)

    # -- clock

    def run(self):
        self.serve_kicks()
        while self.events:
            self.now, _, handler, what = heapq.heappop(self.events)
            handler(what)
            self.serve_kicks()

    def at(self, time, handler, what):
        heapq.heappush(self.events, (time, next(self.order), handler, what))

    def kick(self, c):
        if c not in self.kicks:
            self.kicks.append(c)

    def serve_kicks(self):
        while self.kicks:
            c = self.kicks.pop(0)
            cpu = self.cpus[c]
            if not cpu.running and not cpu.spinning:
                self.go_on(c, cpu)

    def go_on(self, c, cpu):
        if cpu.current is None:
            queue = next((q for q in cpu.queues if q), None)
            if queue is None:
                return
            cpu.current = queue.pop(0)
            cpu.slice_began = self.now
        lock = cpu.current.step[1]
        if lock is not None and cpu.lock is None:
            if lock in self.spin:
                self.spin[lock].append(c)
                cpu.spinning = True
                return
            self.spin[lock] = []
            cpu.lock = lock
        self.start_step(c, cpu)

    def start_step(self, c, cpu):
        task = cpu.current
        cpu.running = True
        self.cost = 0
        if task.rank != IRQ:
            if cpu.last is not task:
                self.count("SWITCH")
            cpu.last = task
        name = task.step[0]
        try:
            task.step = next(task.actor)
        except StopIteration:
            task.state = "dead"
        if self.s.log_page is not None:
            self.log.append((self.now, task.name, name, self.pages[self.s.log_page].state()))
        self.at(self.now + self.cost, self.step_end, c)
        self.settle()

    def settle(self):
        self.start_bios()
        woken, self.woken = self.woken, []
        for task in woken:
            if self.cpus[task.cpu].current is not task:
                self.queue(task)

    def queue(self, task):
        self.cpus[task.cpu].queues[task.rank].append(task)
        self.kick(task.cpu)

    def step_end(self, c):
        cpu = self.cpus[c]
        cpu.running = False
        self.pass_on(cpu)
        task = cpu.current
        if task.state == "runnable":
            if any(cpu.queues[rank] for rank in range(task.rank)):
                cpu.queues[task.rank].insert(0, task)
                cpu.current = None
            elif task.rank == THREAD and self.now - cpu.slice_began >= SLICE_PS and cpu.queues[THREAD]:
                cpu.queues[THREAD].append(task)
                cpu.current = None
        else:
            cpu.current = None
            if task.state == "sleeping":
                self.at(max(task.until, self.now), self.timer, task)
        self.kick(c)

    def pass_on(self, cpu):
        """Hand the spinlock of the step that has ended to the CPU that has spun longest."""
        if cpu.lock is None:
            return
        if self.spin[cpu.lock]:
            first = self.spin[cpu.lock].pop(0)
            self.cpus[first].spinning = False
            self.cpus[first].lock = cpu.lock
            self.kick(first)
        else:
            del self.spin[cpu.lock]
        cpu.lock = None

    def timer(self, task):
        task.state = "runnable"
        self.queue(task)

    def sleep_until(self, task, time):
        task.state, task.until = "sleeping", time

    def wait(self, task, reason, page=None):
        task.state, task.reason, task.page = "waiting", reason, page

    def wake(self, task, reason):
        if task.state == "waiting" and task.reason == reason:
            task.state = "runnable"
            self.woken.append(task)

    def wake_all(self, reason):
        for task in self.tasks:
            self.wake(task, reason)

    # -- locks

    def wait_on_page(self, task, reason, page):
        page.waiters = True
        self.wait(task, reason, page)

    def wake_on_page(self, reason, page):
        if not page.waiters:
            return
        for task in self.tasks:
            if task.queued is page and reason == PIN:
                task.queued = None
            elif task.page is page:
                self.wake(task, reason)
        page.waiters = any(
            t.queued is page or (t.state == "waiting" and t.page is page and t.reason in (LOCK, WRITEBACK, PIN))
            for t in self.tasks
        )

    def lock_page(self, task, page):
        if page.locked:
            self.wait_on_page(task, LOCK, page)
            return False
        page.locked = True
        self.count("PAGE_LOCK")
        return True

    def unlock_page(self, page):
        page.locked = False
        self.wake_on_page(LOCK, page)

    def take_rwsem(self, me, name, write):
        yield name, None
        self.count("RWSEM")
        if not self.rwsem_queue and self._compatible(write):
            self._hold(me, write)
            return
        self.rwsem_queue.append((me, write))
        self.wait(me, RWSEM)
        yield name, None

    def _compatible(self, write):
        return self.writer is None and not (write and self.readers)

    def _hold(self, task, write):
        if write:
            self.writer = task
        else:
            self.readers += 1

    def release_rwsem(self, write):
        if write:
            self.writer = None
        else:
            self.readers -= 1
        while self.rwsem_queue and self._compatible(self.rwsem_queue[0][1]):
            task, wants = self.rwsem_queue.pop(0)
            self._hold(task, wants)
            self.wake(task, RWSEM)

    # -- pages

    def ptl(self, page):
        return "ptl", page.number // 512

    def lru_take(self, page):
        page.lru = False
        del self.on_lru[page]

    def lru_add(self, page):
        page.lru = True
        self.on_lru[page] = None

    def dirty(self, page):
        self.count("SET_DIRTY")
        if not page.cached:
            return
        if page.private:
            page.bh_dirty = True
        elif not page.dirty:
            self.count("BUFFERLESS_DIRTY")
        page.dirty = page.tag_dirty = True

    def dirty_pages(self, me, name, pages):
        """Lock, dirty and unlock each page; a step ends where one is locked, unless that is its own pin."""
        left = list(pages)
        while left:
            yield name, None
            while left and (self.pins_by_lock or self.lock_page(me, self.pages[left[0]])):
                page = self.pages[left.pop(0)]
                self.dirty(page)
                if not self.pins_by_lock:
                    self.unlock_page(page)

    # -- device

    def submit(self, bio):
        self.tags_free -= 1
        self.device_queue.append(bio)
        self.count("SUBMIT_BIO")

    def start_bios(self):
        while self.device_queue:
            bio = self.device_queue[0]
            if bio.at is not None:
                time = max(bio.at, self.now)
            elif self.units_free:
                self.units_free -= 1
                time = self.now + next(self.s.draws) + len(bio.pages()) * self.s.per_page
            else:
                return
            self.device_queue.pop(0)
            if bio.kind == "writeback":
                for page in (self.pages[p] for p in bio.pages()):
                    if not page.bounced:
                        page.read()
            self.at(time, self.bio_done, bio)

    def bio_done(self, bio):
        bio.done = self.now
        if bio.kind == "read":
            for page in (self.pages[p] for p in bio.pages()):
                page.newer_than_disk = page.newer_than_copy = True
                if page.writeback and not page.bounced:
                    self.count("UNSTABLE_WRITE")
        if bio.at is None:
            self.units_free += 1
        self.tags_free += 1
        self.wake_all(TAG)
        interrupt = self.tasks[bio.cpu]
        interrupt.todo.append(bio)
        self.wake(interrupt, WORK)
        self.settle()

    def free_rows(self, bio):
        self.rows_free += len(bio.rows)
        self.wake_all(ROW)

    # -- submitter

    def submitter(self, me):
        while True:
            yield "io_getevents", None
            while not me.todo:
                self.wait(me, DIO)
                yield "io_getevents", None
            self.count("REAP")
            yield "io_submit", None
            while me.ios != 0 and self.plan and self.plan[0][3] is not None and self.plan[0][3] > self.now:
                self.sleep_until(me, self.plan[0][3])
                yield "io_submit", None
            if not self.plan or me.ios == 0:
                self.submitters -= 1
                return
            if me.ios is not None:
                me.ios -= 1
            yield from self.build_and_submit(me, self.begin(me))

    def begin(self, me):
        page, pages, read, _, recorded = self.plan.pop(0)
        io = me.todo.pop(0)
        io.page, io.pages, io.read, io.recorded = io.home if page is None else page, pages, read, list(recorded)
        io.began, io.got, io.built, io.holds = self.now, 0, 0, 1
        me.flight.append(io)
        self.ios_out += 1
        self.begin_bio(me, io)
        self.count("SUBMIT_IO")
        return io

    def begin_bio(self, me, io):
        io.bio = Bio("read" if io.read else "write", me.cpu, io)
        if io.recorded:
            io.bio_left, io.bio.at = io.recorded.pop(0)
            return
        io.bio_left = min(self.s.bio_pages, io.pages - io.built)
        if self.s.extent_pages:
            io.bio_left = min(io.bio_left, self.s.extent_pages - io.built % self.s.extent_pages)

    def build_and_submit(self, me, io):
        while True:
            if io.built == io.got:
                yield from self.get_user_pages(me, io)
            yield from self.build_bio(me, io)
            if io.bio_left:
                continue
            if io.read and not self.s.dirty_always:
                yield from self.dirty_pages(me, "bio_set_pages_dirty", io.bio.pages())
            yield "submit_bio", None
            while self.tags_free == 0:
                self.wait(me, TAG)
                yield "submit_bio", None
            io.holds += 1
            self.submit(io.bio)
            if io.built == io.pages:
                io.holds -= 1
                self.record("SUBMIT", self.now + self.cost - io.began)
                return
            self.begin_bio(me, io)

    def get_user_pages(self, me, io):
        yield "gup_call", None
        n = min(self.s.batch, io.pages - io.got)
        if self.s.iomap:
            n = min(n, io.bio_left)
        self.count("GUP_CALL")
        first = io.page + io.got
        pages = self.pages[first : first + n]
        if self.ranged and self.tracker.before:
            yield from self.insert_range(me, io, first, n)
        yield from (self.gup_steps if self.s.gup_fast else self.gup_pages)(me, io, pages)
        if self.learns == "after":
            yield from self.pin_pages(me, pages)
        if self.ranged and not self.tracker.before:
            yield from self.insert_range(me, io, first, n)
        io.got += n

    def allows(self, io, page):
        return page.pte_present and (page.pte_write or not io.read)

    def take_reference(self, page):
        page.refcount += 1
        self.count("ATOMIC")
        if self.learns == "with":
            self.tracker.pin(page)

    def begin_pin(self, page):
        page.pins += 1
        page.ever_pinned = True
        self.count("PINS")

    def gup_pages(self, me, io, pages):
        left = list(pages)
        while left:
            yield "gup_pages", None
            while left and self.allows(io, left[0]) and not self.locked_out(left[0]):
                page = left.pop(0)
                self.count("GUP_PAGE")
                self.take_reference(page)
                self.judge_count(page)
                self.begin_pin(page)
            if left and self.allows(io, left[0]):
                self.wait_on_page(me, LOCK, left[0])
            elif left:
                yield from self.fault(me, left[0], io.read)

    def locked_out(self, page):
        """Tell whether the page lock would be the pin, and somebody has it."""
        return self.pins_by_lock and self.learns == "with" and page.locked

    def gup_steps(self, me, io, pages):
        """GUP-fast in three steps for each page, until one page can't be had so."""
        left = list(pages)
        while left:
            page = left[0]
            yield "gup_pages", None
            self.count("GUP_PAGE")
            if not self.allows(io, page):
                yield from self.fault(me, page, io.read)
                break
            yield "gup_take", None
            if self.locked_out(page):
                break
            self.take_reference(page)
            self.judge_count(page)
            me.checks = page
            yield "gup_check", None
            me.checks = None
            if not self.allows(io, page):
                page.refcount -= 1
                self.count("ATOMIC")
                if self.learns == "with":
                    self.tracker.unpin(page)
                self.wake_on_page(PIN, page)
                break
            self.begin_pin(page)
            left.pop(0)
        for page in left:
            yield from self.follow_page(me, io, page)

    def follow_page(self, me, io, page):
        yield "follow_page", self.ptl(page)
        while not (allowed := self.allows(io, page)) or self.locked_out(page):
            if allowed:
                self.wait_on_page(me, LOCK, page)
            else:
                yield from self.fault(me, page, io.read)
            yield "follow_page", self.ptl(page)
        self.take_reference(page)
        self.judge_count(page)
        self.begin_pin(page)

    def judge_count(self, page):
        self.count("COUNT_OVERFLOW", int(max(page.refcount, page.pincount) > self.s.count_max))

    def pin_pages(self, me, pages):
        for i, page in enumerate(pages):
            if i == 0 or self.tracker.lock:
                yield "pin_pages", self.tracker.lock
            while self.pins_by_lock and page.locked:
                self.wait_on_page(me, LOCK, page)
                yield "pin_pages", None
            self.tracker.pin(page)
            self.judge_count(page)

    def insert_range(self, me, io, first, n):
        yield from self.take_rwsem(me, "range_lock", write=True)
        yield "range_insert", None
        io.handle = self.tracker.insert(first, n)
        yield "range_unlock", None
        self.release_rwsem(write=True)

    def fault(self, me, page, read):
        yield "fault_lock", None
        while not self.lock_page(me, page):
            yield "fault_lock", None
        self.count("FAULT")
        if not page.cached:
            page.cached = True
            page.refcount += 1
            self.judge_count(page)
            self.lru_add(page)
        if read:
            yield "page_mkwrite", None
            if not page.private:
                page.private = True
                page.refcount += 1
                self.judge_count(page)
            self.dirty(page)
        yield "fault_pte", self.ptl(page)
        while read and self.s.stable and page.writeback:
            self.wait_on_page(me, WRITEBACK, page)
            yield "fault_pte", self.ptl(page)
        if not page.pte_present:
            page.mapcount += 1
            page.refcount += 1
            self.judge_count(page)
        page.pte_present = True
        if read:
            page.pte_write = page.pte_dirty = True
        self.count("PTE_UPDATE")
        yield "fault_unlock", None
        self.unlock_page(page)

    def build_bio(self, me, io):
        yield "build_bio", None
        while (held := self.s.journal and self.handles and not io.bio.rows and not self.s.iomap) or not self.rows_free:
            self.wait(me, JOURNAL if held else ROW)
            yield "build_bio", None
        self.rows_free -= 1
        n = min(io.got - io.built, io.bio_left)
        if not io.bio.rows:
            self.count("BIO_ALLOC")
        io.bio.rows.append((io.page + io.built, n, io.handle))
        io.built += n
        io.bio_left -= n
        self.count("BIO_PAGE", n)

    # -- interrupt, kworker

    def interrupt(self, me):
        while True:
            yield "take_bio", None
            if not me.todo:
                self.wait(me, WORK)
                continue
            bio = me.todo.pop(0)
            self.count("INTERRUPT")
            self.count("BIO_ENDIO")
            if bio.kind == "writeback":
                yield "end_page_writeback", None
                self.end_writeback(bio)
                continue
            self.count("BIOS")
            yield "check_pages_dirty", None
            if self.check_dirty(bio):
                self.defer(bio)
            else:
                yield from self.release_pages(bio)
            yield "dio_bio_complete", None
            self.bio_complete(bio.io)

    def check_dirty(self, bio):
        """Tell whether the release is for a kworker."""
        if bio.kind == "read":
            self.count("SET_DIRTY", len(bio.pages()))
            bio.needs_dirtying = self.s.dirty_always or any(not self.pages[p].dirty for p in bio.pages())
            if bio.needs_dirtying:
                self.count("DEFERRED_DIRTY")
        return bio.needs_dirtying or self.ranged

    def defer(self, bio):
        self.count("DEFERRED_UNPIN")
        self.count("QUEUE_WORK")
        kworker = self.tasks[self.s.cpus + bio.cpu]
        kworker.todo.append(bio)
        self.work_out += 1
        self.wake(kworker, WORK)

    def release_pages(self, bio):
        for i, page in enumerate(self.pages[p] for p in bio.pages()):
            if i == 0 or self.tracker.lock:
                yield "release_pages", self.tracker.lock
            if self.told:
                self.tracker.unpin(page)
            page.refcount -= 1
            for name in ("ATOMIC", "PUT_PAGE"):
                self.count(name)
            if not self.ranged:
                self.end_pin(page)
        self.record("RELEASE", self.now - bio.done)
        self.free_rows(bio)

    def end_pin(self, page):
        page.pins -= 1
        self.count("UNPINS")
        self.wake_on_page(PIN, page)

    def bio_complete(self, io):
        io.holds -= 1
        if io.holds:
            return
        owner = io.owner
        if self.watched and io.read:
            self.learn_completion(io)
        self.record("LATENCY", self.now - io.began)
        self.record("OVERTAKES", owner.flight.index(io))
        owner.flight.remove(io)
        owner.todo.insert(0, io)
        self.ios_out -= 1
        self.last_done = self.now
        self.count("DIO_COMPLETE")
        self.count("DIOS")
        self.wake(owner, DIO)

    def learn_completion(self, io):
        """The caller knows the data to be complete, but where another transfer may still change it."""
        others = [other for task in self.tasks for other in task.flight if other.read and other is not io]
        for page in self.pages[io.page : io.page + io.pages]:
            busy = any(other.page <= page.number < other.page + other.pages for other in others)
            if page.newer_than_disk and not busy:
                page.known, page.known_in_copy = True, page.copy_read and not page.newer_than_copy

    def end_writeback(self, bio):
        for page in (self.pages[p] for p in bio.pages()):
            self.count("END_WRITEBACK")
            self.count("WRITTEN")
            page.writeback = page.tag_writeback = page.bounced = False
            if not page.newer_than_copy:
                page.newer_than_disk = False
            page.known &= not page.known_in_copy
            page.wanted &= not page.wanted_in_copy
            page.copy_read = page.known_in_copy = page.wanted_in_copy = False
            self.wake_on_page(WRITEBACK, page)
        self.free_rows(bio)

    def kworker(self, me):
        while True:
            yield "take_work", None
            if not me.todo:
                self.wait(me, WORK)
                continue
            bio = me.todo.pop(0)
            self.count("WORK_ITEM")
            if bio.needs_dirtying:
                yield from self.dirty_pages(me, "set_page_dirty_lock", bio.pages())
            if self.ranged:
                yield from self.take_rwsem(me, "range_lock", write=True)
                yield "range_release", None
                for first, n, handle in bio.rows:
                    self.tracker.release(first, n, handle)
                    for number in range(first, first + n):
                        self.end_pin(self.pages[number])
                yield "range_unlock", None
                self.release_rwsem(write=True)
            yield from self.release_pages(bio)
            self.work_out -= 1

    # -- cleaners

    def round(self, me, rounds):
        """Sleep until the next round begins; False if there is none."""
        while True:
            yield "sleep", None
            if rounds.left == 0 or rounds.stalled >= 100:
                return False
            if self.now < rounds.due:
                self.sleep_until(me, rounds.due)
                continue
            ended = self.submitters == 0 and not self.ios_out and not self.work_out
            if rounds.left < 0 and ended:
                return False
            moved = rounds.began is None or self.last_done >= rounds.began or self.tags_free < self.s.tags
            rounds.stalled = 0 if moved or not (self.ios_out or self.work_out) else rounds.stalled + 1
            rounds.began, rounds.due = self.now, self.now + rounds.period
            rounds.left -= rounds.left > 0
            return True

    def writeback(self, me, rounds):
        sync = me.name == "fsync"
        policy = self.design.all if sync else self.design.none
        while (yield from self.round(me, rounds)):
            cleaner = SimpleNamespace(bio=None, error=False, sync=sync, policy=policy, writes=True)
            for page in self.round_pages() if sync and self.watched else ():
                page.wanted, page.wanted_in_copy = page.known, page.known_in_copy
            if (yield from self.write_dirty(me, cleaner)) == "bug":
                return
            if sync:
                yield from self.wait_writeback(me)
                self.count("FSYNCS")
                self.count("FSYNC_ERRORS", int(cleaner.error))
                lie = self.watched and not cleaner.error and any(page.wanted for page in self.pages)
                self.count("FSYNC_LIE", int(lie))
                self.record("FSYNC", self.now - rounds.began)

    def round_pages(self):
        return [self.pages[p] for p in self.s.sync_round]

    def take_handle(self, me):
        if self.s.journal and not me.handle:
            me.handle = True
            self.handles += 1

    def drop_handle(self, me):
        if me.handle:
            me.handle = False
            self.handles -= 1
            if self.handles == 0:
                self.wake_all(JOURNAL)

    def write_dirty(self, me, cleaner):
        cursor = 0
        while True:
            yield "find_dirty", None
            page = next((p for p in self.round_pages()[cursor:] if p.tag_dirty), None)
            cursor = len(self.pages) if page is None else page.number
            bio = cleaner.bio
            if bio and (page is None or page.number != bio.pages()[-1] + 1 or len(bio.pages()) == 256):
                yield from self.submit_run(me, cleaner)
                continue
            if page is None:
                return None
            self.count("TAG_SCAN")
            done = yield from self.clean(me, cleaner, page)
            if done == "bug":
                return "bug"
            if done == "submit":
                yield from self.submit_run(me, cleaner)
            else:
                cursor = page.number + 1

    def submit_run(self, me, cleaner):
        yield "submit_bio", None
        while self.tags_free == 0:
            self.wait(me, TAG)
            yield "submit_bio", None
        self.count("BOUNCE_BIO", int(any(self.pages[p].bounced for p in cleaner.bio.pages())))
        self.submit(cleaner.bio)
        cleaner.bio = None

    def clean(self, me, cleaner, page):
        """Lock the page, clean it or not, and leave it; "submit": the bio has to go first."""
        while True:
            todo = yield from self.lock_to_clean(me, cleaner, page)
            if todo != "clean":
                return todo
            answer = yield from self.protect_and_decide(me, cleaner, page)
            if answer == "unlocked":
                continue
            if answer == "submit":
                return answer
            if answer == "clean" or answer in WRITES_PINNED:
                yield from self.clear_dirty(me, cleaner, page, answer)
            cleaner.error |= answer == "report"
            self.leave(me, page)
            return None

    def leave(self, me, page):
        self.unlock_page(page)
        self.drop_handle(me)

    def lock_to_clean(self, me, cleaner, page):
        locked = False
        while True:
            yield "lock_page", None
            if cleaner.bio and (page.locked or page.writeback):
                return "submit"
            self.take_handle(me)
            if not locked and not self.lock_page(me, page):
                continue
            locked = True
            if not page.cached or not page.dirty or (page.writeback and not cleaner.sync):
                self.leave(me, page)
                return None
            if page.writeback:
                self.wait_on_page(me, WRITEBACK, page)
                continue
            if page.private:
                return "clean"
            if self.design.fs_bug:
                self.count("FS_BUG")
                return "bug"
            self.count("DATA_DROPPED")
            page.dirty = page.tag_dirty = False
            self.leave(me, page)
            return None

    def protect_and_decide(self, me, cleaner, page):
        """Write-protect, ask, decide: clean, or what the policy says; or unlocked: begin again with the page lock."""
        policy = cleaner.policy
        while True:
            pinned = yield from self.protect(me, cleaner, page)
            yield "decide", None
            if not pinned:
                return "clean"
            if policy in WRITES_PINNED:
                return policy
            if policy != "wait":
                self.count({"skip": "SKIPPED", "report": "REPORTED"}[policy])
                return policy
            if cleaner.bio:
                me.queued = None
                self.leave(me, page)
                return "submit"
            if not self.design.wait_journal:
                self.drop_handle(me)
            if not self.design.wait_locked:
                self.unlock_page(page)
            if me.queued is page:
                me.queued = None
                self.count("WAITED")
                self.wait_on_page(me, PIN, page)
            if not self.design.wait_locked:
                return "unlocked"
            if self.design.wait_once:
                yield "decide", None
                me.told_no = True
                return "clean"

    def protect(self, me, cleaner, page):
        policy = cleaner.policy
        yield from self.take_rwsem(me, "i_mmap_lock", write=False)
        if cleaner.writes:
            self.take_handle(me)
        pinned = me.told_no = False
        ptes = None
        check_first = self.design.order == "check-first" and policy != "ignore"
        if check_first:
            yield "ask", None
            pinned = self.ask_queued(me, policy, page)
        if not pinned or policy in WRITES_PINNED:
            yield "page_mkclean", self.ptl(page)
            ptes = self.page_mkclean(page)
        if not check_first and policy != "ignore":
            yield "ask", None
            pinned = self.ask_queued(me, policy, page, ptes)
        yield "i_mmap_unlock", None
        self.release_rwsem(write=False)
        return pinned

    def ask_queued(self, me, policy, page, ptes=None):
        """One who would wait is queued on the page before it asks, and notices an end of a pin that comes then."""
        if policy == "wait":
            page.waiters = True
            me.queued = page
        pinned = self.ask(me, page, ptes)
        if not pinned:
            me.queued = None
        return pinned

    def page_mkclean(self, page):
        """Write-protect; the PTEs that the walk has found."""
        if page.mapcount < 0:
            return 0
        self.count("SPIN_LOCK", self.tree.walk(page.number))
        if page.pte_present and (page.pte_write or page.pte_dirty):
            page.pte_write = page.pte_dirty = False
            self.count("PTE_UPDATE")
            self.count("TLB_FLUSH")
            self.dirty(page)
        return self.tracker.ptes(page)

    def ask(self, me, page, ptes=None):
        self.count("PIN_TEST")
        answer = self.tracker.pinned(page) if ptes is None else self.tracker.pinned_by_walk(page, ptes)
        if page.pins and not answer:
            self.count("MISSED_PIN")
        by_range = self.tracker.ranges is not None
        being_pinned = any(task.checks is page for task in self.tasks)
        if answer and not page.pins and not by_range and not being_pinned:
            self.count("STALE_PIN" if page.ever_pinned else "FALSE_PIN")
        me.told_no = not answer and not page.pins
        return answer

    def act_on_no(self, me, page):
        self.count("MISSED_PIN", int(me.told_no and page.pins > 0))
        me.told_no = False

    def clear_dirty(self, me, cleaner, page, how):
        """Put the page under writeback: "clean", or pinned by one of the policies that write it."""
        yield "clear_page_dirty_for_io", None
        while cleaner.bio is None:
            if self.rows_free == 0:
                self.wait(me, ROW)
                yield "clear_page_dirty_for_io", None
                continue
            self.rows_free -= 1
            self.count("BIO_ALLOC")
            cleaner.bio = Bio("writeback", me.cpu, rows=[(page.number, 0, None)])
        first, n, _ = cleaner.bio.rows[0]
        cleaner.bio.rows = [(first, n + 1, None)]
        self.act_on_no(me, page)
        page.writeback = page.tag_writeback = True
        page.copy_read = False
        self.count("WRITEPAGE")
        if how == "bounce":
            page.bounced = True
            page.read()
            self.count("BOUNCE_COPY")
            self.most_bounced = max(self.most_bounced, sum(p.bounced for p in self.pages))
        if how == "clean" or (how == "bounce" and self.design.bounce_cleans):
            page.dirty = page.bh_dirty = page.tag_dirty = False
            self.count("CLEANED")
        else:
            self.count("KEPT_DIRTY")

    def wait_writeback(self, me):
        cursor = 0
        while True:
            yield "wait_writeback", None
            page = next((self.pages[p] for p in self.s.sync[cursor:] if self.pages[p].tag_writeback), None)
            if page is None:
                return
            cursor = page.number
            self.wait_on_page(me, WRITEBACK, page)

    def isize(self, me, rounds):
        number = 0
        policy = "skip" if self.design.isize in WRITES_PINNED else self.design.isize
        cleaner = SimpleNamespace(bio=None, policy=policy, writes=False)
        while (yield from self.round(me, rounds)):
            page = self.pages[number % len(self.pages)]
            number += 1
            yield from self.extend_inside(me, cleaner, page)

    def extend_inside(self, me, cleaner, page):
        while True:
            yield "lock_page", None
            if not self.lock_page(me, page):
                continue
            if page.cached and (yield from self.protect_and_decide(me, cleaner, page)) == "unlocked":
                continue
            self.unlock_page(page)
            return

    def kswapd(self, me, rounds):
        while (yield from self.round(me, rounds)):
            left = len(self.on_lru)
            while True:
                yield "isolate", "lru"
                if not left or not self.on_lru:
                    break
                left -= 1
                page = next(iter(self.on_lru))
                self.lru_take(page)
                page.refcount += 1
                self.judge_count(page)
                self.count("LRU_ISOLATE")
                self.count("RECLAIM_PAGE")
                yield "trylock_page", None
                mine = not page.locked
                if mine:
                    self.lock_page(me, page)
                if not mine or page.writeback:
                    self.count("KEPT")
                else:
                    yield from self.shrink_page(me, page)
                yield "putback", "lru"
                self.put_back(page, mine)

    def shrink_page(self, me, page):
        asks = self.design.reclaim != "ignore"
        pinned = mapped = me.told_no = False
        if page.mapcount >= 0 or (asks and self.design.reclaim_asks == "after"):
            yield from self.take_rwsem(me, "i_mmap_lock", write=False)
            yield "try_to_unmap", self.ptl(page)
            pinned, mapped = self.try_to_unmap(me, page, asks)
            yield "i_mmap_unlock", None
            self.release_rwsem(write=False)
        yield "test_dirty", None
        if pinned or mapped or page.dirty:
            self.count("KEPT_PINNED", int(pinned))
            self.count("KEPT")
            return
        yield "try_to_release_page", None
        if page.private:
            if page.bh_dirty or page.writeback:
                self.count("KEPT")
                return
            self.act_on_no(me, page)
            page.private = False
            page.refcount -= 1
            self.count("BUFFERS_DROPPED")
        yield "remove_mapping", None
        if page.refcount != 2 or page.dirty:
            self.count("KEPT")
            return
        self.count("LOST_UPDATE", int(page.newer_than_disk))
        page.refcount = 1
        for flag in FLAGS:
            if flag not in ("locked", "waiters"):
                setattr(page, flag, False)
        page.newer_than_disk = page.newer_than_copy = page.copy_read = False
        page.known_in_copy = page.wanted_in_copy = False
        self.count("FREED")

    def try_to_unmap(self, me, page, asks):
        """Unmap and ask, in the order of the design: whether it is pinned, and whether it is mapped all the same."""
        before = self.design.reclaim_asks == "before"
        mapped = False
        if asks and before and self.ask(me, page):
            return True, True
        if page.mapcount >= 0:
            self.count("SPIN_LOCK", self.tree.walk(page.number))
            if page.pte_dirty:
                self.dirty(page)
            page.pte_present = page.pte_write = page.pte_dirty = page.pte_pinned = False
            ptes = self.tracker.ptes(page)
            page.refcount -= ptes
            page.mapcount -= ptes
            mapped = page.mapcount >= 0
            for name in ("PTE_UPDATE", "TLB_FLUSH", "ATOMIC", "UNMAPPED"):
                self.count(name)
        return asks and not before and self.ask(me, page), mapped

    def put_back(self, page, mine):
        if mine:
            self.unlock_page(page)
        page.refcount -= 1
        if page.cached and not self.tracker.mark_for_lru(page):
            self.lru_add(page)
            self.count("LRU_PUTBACK")


class Rounds:
    def __init__(self, start, period, rounds):
        self.due, self.period, self.left = start, period, rounds
        self.began, self.stalled = None, 0


def run(scenario, design, seed, parameters, cost_table=costs.DEFAULT):
    """Run a scenario under a design.

    Returns
    -------
    object
        ``counters`` by name; ``histograms``: raw values by name; ``last_done`` and ``now`` [ps]; ``pages``: the state
        of each (`Page.state`); ``lru``: page numbers from the tail; ``bounce_pages_max``; ``stuck``; ``log``: time,
        actor, step, state of the page.
    """
    rng, draws = (np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(2))
    chosen = designs.parse(design)
    setup = SETUPS[scenario](parameters, rng, draws)
    setup.rows = _pool(scenario, parameters, chosen)
    machine = Machine(setup, chosen, cost_table)
    machine.run()
    return SimpleNamespace(
        counters=dict(machine.counters),
        histograms=machine.histograms,
        last_done=machine.last_done,
        now=machine.now,
        pages=[page.state() for page in machine.pages],
        lru=[page.number for page in machine.on_lru],
        bounce_pages_max=machine.most_bounced,
        stuck=[
            f"{t.name} waits for {t.reason}"
            for t in machine.tasks
            if not (t.state == "dead" or (t.state == "waiting" and t.reason == WORK))
        ],
        log=machine.log,
    )
