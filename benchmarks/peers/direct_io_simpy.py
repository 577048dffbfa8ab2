"""`simulate direct-io` under the tracker `bias`, as one would write it with SimPy: processes, resources, stores.

CPUs are `PriorityResource`s, interrupts before threads; a thread gives its CPU up between two steps if somebody waits
for it. The device is a `Resource`, tags are another, free direct IOs and completed bios are in `Store`s. Pages are
plain objects, and each is pinned, dirtied, looked at and released one by one. The service times come in as a list:
those that the package's own random stream draws. Counts, latencies, and the time at the end are the package's.

Simplified as the C program beside it: no cleaners, kworkers, faults or locks (nothing of them happens in this
scenario as it is measured), and threads have no time slices (there is one on each CPU). Who waits for a tag gets it
first come, first served; the package wakes all who wait, by their numbers. No histograms or time series are kept, but
the latency of each direct IO and how many it has overtaken.
"""

from collections import Counter
from dataclasses import dataclass, field

import simpy

IRQ, THREAD = 0, 2


@dataclass(slots=True)
class Page:
    """What the model reads and writes of a page."""

    refcount: int = 3  # page cache, PTE, buffers
    pins: int = 0
    dirty: bool = True
    writable: bool = True
    newer_than_disk: bool = True
    newer_than_copy: bool = False


@dataclass(slots=True)
class DirectIO:
    """A slot of a thread, with its buffer."""

    pages: list
    began: int = 0
    got: int = 0
    bios_left: int = 0


@dataclass(slots=True)
class Bio:
    """Pages of one direct IO that the device serves together."""

    io: DirectIO
    pages: list = field(default_factory=list)
    done: int = 0


class Machine:
    """The system; `run` simulates it.

    Parameters
    ----------
    parameters : mapping
        ``cpus``, ``qd``, ``io_pages``, ``ios``, ``read``, ``gup_batch``, ``bio_pages``, ``units``, ``tags``,
        ``per_page_ps``, ``bias``.
    cost : mapping
        Unit cost [ps] by counter.
    draws : iterable of int
        Service times [ps], in the order in which the device starts bios.
    """

    def __init__(self, parameters, cost, draws):
        self.p = parameters
        self.cost = cost
        self.draws = iter(draws)
        self.count = Counter()
        self.charged = 0
        self.env = simpy.Environment()
        self.units = simpy.Resource(self.env, parameters["units"])
        self.tags = simpy.Resource(self.env, parameters["tags"])
        self.cpus = [simpy.PriorityResource(self.env) for _ in range(parameters["cpus"])]
        self.completed = [simpy.Store(self.env) for _ in self.cpus]
        self.slots = [simpy.Store(self.env) for _ in self.cpus]
        self.ios_left = parameters["ios"]
        self.last_done = 0
        self.latencies, self.overtakes = [], []
        for c in range(len(self.cpus)):
            self.env.process(self._interrupts(c))
        for c in range(len(self.cpus)):
            self.env.process(self._thread(c))

    def run(self):
        """Simulate to the end; counts by name, and the time [ps] at which the last direct IO completed."""
        self.env.run()
        return dict(self.count), self.last_done

    def _tally(self, counter, n=1):
        self.count[counter] += n
        self.charged += n * self.cost[counter]

    def _step(self, effects, *arguments):
        """Make a step, whose effects come at once; it takes what they cost."""
        self.charged = 0
        effects(*arguments)
        return self.env.timeout(self.charged)

    # -- a thread

    def _thread(self, c):
        p, cpu = self.p, self.cpus[c]
        self.slots[c].items = [DirectIO([Page() for _ in range(p["io_pages"])]) for _ in range(p["qd"])]
        in_flight = []
        has_cpu = cpu.request(priority=THREAD)
        yield has_cpu
        self._tally("SWITCH")
        switch = self.charged

        def steps(effects, *arguments):
            """Make a step, and let an interrupt go first if there is one."""
            nonlocal has_cpu
            yield self._step(effects, *arguments)
            if cpu.queue:
                cpu.release(has_cpu)
                has_cpu = cpu.request(priority=THREAD)
                yield has_cpu

        def wait(event):
            """Leave the CPU until something has happened."""
            nonlocal has_cpu
            if not event.triggered:
                cpu.release(has_cpu)
                yield event
                has_cpu = cpu.request(priority=THREAD)
                yield has_cpu
            return event.value

        while True:
            io = yield from wait(self.slots[c].get())
            yield from steps(self._reap, switch)
            switch = 0
            if self.ios_left == 0:
                cpu.release(has_cpu)
                return
            yield from steps(self._begin, io, in_flight)
            bio = Bio(io)
            built = 0
            while built < len(io.pages):
                if built == io.got:
                    yield from steps(self._tally, "GUP_CALL")
                    yield from steps(self._gup_pages, io)
                n = min(io.got - built, p["bio_pages"] - len(bio.pages))
                yield from steps(self._build_bio, bio, io.pages[built : built + n])
                built += n
                if len(bio.pages) < p["bio_pages"] and built < len(io.pages):
                    continue
                if p["read"]:
                    yield from steps(self._set_pages_dirty, bio)
                tag = self.tags.request()
                yield from wait(tag)
                io.bios_left += 1
                yield from steps(self._submit, c, bio, tag, in_flight, built == len(io.pages))
                bio = Bio(io)

    def _reap(self, switch):
        self.charged += switch
        self._tally("REAP")

    def _begin(self, io, in_flight):
        self.ios_left -= 1
        io.began, io.got, io.bios_left = self.env.now, 0, 1
        in_flight.append(io)
        self._tally("SUBMIT_IO")

    def _gup_pages(self, io):
        n = min(self.p["gup_batch"], len(io.pages) - io.got)
        for page in io.pages[io.got : io.got + n]:
            assert page.writable, "a fault"
            page.refcount += 1
            page.refcount += self.p["bias"] - 1
            page.pins += 1
        io.got += n
        self.count["PINS"] += n
        self._tally("GUP_PAGE", n)
        self._tally("ATOMIC", 2 * n)

    def _build_bio(self, bio, pages):
        if not bio.pages:
            self._tally("BIO_ALLOC")
        bio.pages += pages
        self._tally("BIO_PAGE", len(pages))

    def _set_pages_dirty(self, bio):
        for page in bio.pages:
            page.dirty = True
        self._tally("PAGE_LOCK", len(bio.pages))
        self._tally("SET_DIRTY", len(bio.pages))

    def _submit(self, c, bio, tag, in_flight, last):
        self._tally("SUBMIT_BIO")
        bio.io.bios_left -= last
        self.env.process(self._device(c, bio, tag, in_flight))

    # -- the device

    def _device(self, c, bio, tag, in_flight):
        with self.units.request() as unit:
            yield unit
            yield self.env.timeout(next(self.draws) + len(bio.pages) * self.p["per_page_ps"])
        if self.p["read"]:
            for page in bio.pages:
                page.newer_than_disk = page.newer_than_copy = True
        bio.done = self.env.now
        self.completed[c].put((bio, in_flight))
        self.tags.release(tag)

    # -- interrupts of a CPU

    def _interrupts(self, c):
        while True:
            bio, in_flight = yield self.completed[c].get()
            with self.cpus[c].request(priority=IRQ) as has_cpu:
                yield has_cpu
                while bio is not None:
                    yield self._step(self._take)
                    yield self._step(self._check_dirty, bio)
                    yield self._step(self._release, bio)
                    yield self._step(self._complete, c, bio.io, in_flight)
                    bio, in_flight = (yield self.completed[c].get()) if self.completed[c].items else (None, None)

    def _take(self):
        self._tally("INTERRUPT")
        self._tally("BIO_ENDIO")
        self.count["BIOS"] += 1

    def _check_dirty(self, bio):
        if self.p["read"]:
            self._tally("SET_DIRTY", len(bio.pages))
            assert all(page.dirty for page in bio.pages), "for a kworker"

    def _release(self, bio):
        for page in bio.pages:
            page.refcount -= self.p["bias"] - 1
            page.pins -= 1
            page.refcount -= 1
        self.count["UNPINS"] += len(bio.pages)
        self._tally("ATOMIC", len(bio.pages))
        self._tally("PUT_PAGE", len(bio.pages))

    def _complete(self, c, io, in_flight):
        io.bios_left -= 1
        if io.bios_left:
            return
        self.latencies.append(self.env.now - io.began)
        self.overtakes.append(in_flight.index(io))
        in_flight.remove(io)
        self._tally("DIO_COMPLETE")
        self.count["DIOS"] += 1
        self.last_done = self.env.now
        self.slots[c].put(io)
