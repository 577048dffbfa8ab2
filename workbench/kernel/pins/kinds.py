"""Kinds of pins: who may register what, who dirties, fork, the bias, and large folios.

Where the model has no notion of something (memory of other kinds, large folios in io_uring, MADV_DONTFORK), the kernel
is only observed, and held against what its sources say.
"""

import contextlib
import ctypes
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from workbench.kernel.libc import call
from workbench.kernel.needs import Unavailable, kernel_version
from workbench.kernel.pins.bench import Bench, since
from workbench.kernel.pins.live import Live
from workbench.kernel.pins.pages import KPF_DIRTY, KPF_THP, PAGE, Memory
from workbench.kernel.pins.predicted import Predicted, anon_world, file_world, scenario_world
from workbench.kernel.pins.xdp import registered
from workbench.mm import registers as R

_THP = 512  # base pages
_MODEL = 16  # pages of the model's file that stand for a huge page's: its worlds are small
_MADV_DONTFORK, _MADV_HUGEPAGE = 10, 14
_MEMFD_SECRET = 447


@contextlib.contextmanager
def _live(bench: Bench, pages: int = 1, anons: int = 1) -> Iterator[Live]:
    live = Live(pages, anons, bench.patience)
    try:
        yield live
    finally:
        live.close()


# ---- who may register what


@dataclass(frozen=True)
class Kind:
    """A kind of memory: how it is made, and what pins do to it.

    Attributes
    ----------
    name : str
    make : callable
        Gives one page of it.
    long, short : bool
        Whether a long-term pin, and a short-term one, is granted.
    moves : bool
        The first pin moves the page: it is copied when it is written to.
    source : str
    """

    name: str
    make: Callable[[Live], Memory]
    long: bool
    short: bool
    moves: bool
    source: str


_BOTH = mmap.PROT_READ | mmap.PROT_WRITE


def _memfd(_: Live, flags: int = mmap.MAP_SHARED) -> Memory:
    fd = os.memfd_create("pins")
    os.ftruncate(fd, PAGE)
    return _mapped(fd, flags)


def _secret(_: Live) -> Memory:
    try:
        fd = call("syscall", _MEMFD_SECRET, 0)
    except OSError:
        raise Unavailable("memfd_secret is not there, or not enabled") from None
    os.ftruncate(fd, PAGE)
    return _mapped(fd, mmap.MAP_SHARED)


def _mapped(fd: int, flags: int, protection: int = _BOTH) -> Memory:
    try:
        return Memory(1, fd, flags, protection)
    finally:
        os.close(fd)


def _shared_anon(_: Live) -> Memory:
    return Memory(1, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)


def _private_file(live: Live) -> Memory:
    memory = Memory(1, live.fd, mmap.MAP_PRIVATE)
    memory.load()
    return memory


def _private_memfd(live: Live) -> Memory:
    memory = _memfd(live, mmap.MAP_PRIVATE)
    memory.load()
    return memory


def _read_only(_: Live) -> Memory:
    memory = Memory(1)
    memory.store(1)
    call("mprotect", memory.address, PAGE, mmap.PROT_READ)
    return memory


_ANY = "v6.12 mm/gup.c: no file system has to know of each write"
_COPIED = "v6.12 mm/gup.c gup_must_unshare, mm/memory.c do_wp_page: a pin for writing needs a page of its own"
KINDS = (
    Kind("shared anonymous", _shared_anon, True, True, False, _ANY),
    Kind("memfd", _memfd, True, True, False, _ANY),
    Kind("ext4 private, read", _private_file, True, True, True, _COPIED),
    Kind("memfd private, read", _private_memfd, True, True, True, _COPIED),
    Kind("read-only", _read_only, False, False, False, "v6.12 mm/gup.c check_vma_flags"),
    Kind("memfd_secret", _secret, False, False, False, "v6.12 mm/gup.c check_vma_flags, vma_is_secretmem"),
)


def registration(bench: Bench) -> None:
    """Long-term and short-term pins of each kind of memory: which are granted, and which pages move."""
    with _live(bench) as live:
        anon, shared = live.anons[0], live.file
        _register(bench, live, "anonymous", anon, anon_world(bench.design))
        _register(bench, live, "ext4 shared", shared, scenario_world("mr-idle-fsync", bench.design))
        live.store(0, 2)
        _register(bench, live, "ext4 shared, written", shared, scenario_world("mr-idle-fsync", bench.design))
        bench.compare("ext4 shared: short-term", file_world(bench.design, 1).pin(1), _short(live, shared))
        bench.compare("anonymous: short-term", anon_world(bench.design).pin(1), _short(live, anon))
        for kind in KINDS:
            try:
                _observe_kind(bench, live, kind)
            except Unavailable as missing:
                bench.left_out.append(f"{kind.name}: {missing}")


def _register(bench: Bench, live: Live, name: str, memory: Memory, model: Predicted) -> None:
    """Long-term pins of one page: by io_uring and AF_XDP, and the model's."""
    frame, pfn = model.frame(), live.proc.pfn(memory.address)
    granted = model.register()
    for how, seen in _long(bench, live, memory).items():
        bench.compare(f"{name}: long-term by {how}", granted, seen)
    bench.compare(f"{name}: keeps its frame", model.frame() == frame, live.proc.pfn(memory.address) == pfn)
    bench.steps += 2


def _long(bench: Bench, live: Live, memory: Memory) -> dict[str, bool]:
    """Whether a page can be registered, by each of the ways; it is given back at once."""
    granted = {"io_uring": live.register(memory.address)}
    if granted["io_uring"]:
        live.unregister()
    try:
        with registered(memory.address, PAGE) as by_xdp:
            granted["AF_XDP"] = by_xdp
    except Unavailable as missing:
        if str(missing) not in bench.left_out:
            bench.left_out.append(str(missing))
    return granted


def _short(live: Live, memory: Memory) -> bool:
    """Whether a direct read into a page begins; it ends at once."""
    begun = live.pin(1, memory.address)
    if begun:
        live.complete(1, 3)
    return begun


def _observe_kind(bench: Bench, live: Live, kind: Kind) -> None:
    for what, expected in (("long-term", kind.long), ("short-term", kind.short)):
        memory = kind.make(live)
        try:
            pfn = live.proc.pfn(memory.address)
            ways = _long(bench, live, memory) if what == "long-term" else {"direct read": _short(live, memory)}
            for how, seen in ways.items():
                bench.observe(f"{kind.name}: {what} by {how}", seen, expected, kind.source)
            if expected and pfn is not None:
                moved = live.proc.pfn(memory.address) != pfn
                bench.observe(f"{kind.name}: moved by a {what} pin", moved, kind.moves, kind.source)
        finally:
            memory.close()
    bench.steps += 2


# ---- who dirties


def who_dirties(bench: Bench) -> None:
    """A direct read dirties its pages at completion; into registered memory, nobody does."""
    with _live(bench) as live:
        model, address = anon_world(bench.design), live.anons[0].address
        bench.compare("registered", model.register(transfers=1), live.register(address))
        live.pin(1, address, buffer=0)
        _complete(bench, live, model, "a read into registered memory")
        before = _dirtied(model)
        model.unregister()
        live.unregister()
        bench.compare("deregistration dirties", _dirtied(model) > before, _is_dirty(live))
        model.pin(1)
        live.pin(1, address)
        _complete(bench, live, model, "a read into a page of its own")
        bench.steps += 6


def _complete(bench: Bench, live: Live, model: Predicted, what: str) -> None:
    before = _dirtied(model)
    model.complete(1)
    live.complete(1, 7)
    bench.compare(f"{what} dirties at completion", _dirtied(model) > before, _is_dirty(live))


def _dirtied(model: Predicted) -> int:
    """How often the model has called set_page_dirty."""
    return int(model.run.counted[R.SET_DIRTY])


def _is_dirty(live: Live) -> bool:
    """PG_dirty of the anonymous page; a store does not set it, only set_page_dirty does."""
    pfn = live.proc.pfn(live.anons[0].address)
    assert pfn is not None
    return live.proc.frame(pfn).has(KPF_DIRTY)


# ---- fork

NO_PIN = (("fork",), ("store_anon", 0), ("exit",), ("store_anon", 0))
PINNED = (("pin_anon", 1, 0), ("fork",), ("store_anon", 0), ("complete", 1), ("exit",), ("store_anon", 0))
PINNED_LATER = (("fork",), ("pin_anon", 1, 0), ("store_anon", 0), ("exit",), ("complete", 1))
REGISTERED = (("register", 0), ("fork",), ("store_anon", 0), ("exit",), ("store_anon", 0), ("unregister", 0))
SPLICED = (("splice", 0), ("fork",), ("store_anon", 0), ("exit",), ("unsplice", 0))


def fork(bench: Bench) -> None:
    """fork with and without pins: who keeps the frame, who gets a copy, and when."""
    for steps in (NO_PIN, PINNED, PINNED_LATER):
        bench.schedule(steps, file_world(bench.design, 1), [scenario_world("fork-cow", bench.design)])
    bench.schedule(REGISTERED, file_world(bench.design, 1), [anon_world(bench.design)])
    plain = scenario_world("fork-cow", bench.design, pin="plain")
    bench.schedule(SPLICED, file_world(bench.design, 1), [plain])
    _dontfork(bench)


def _dontfork(bench: Bench) -> None:
    with _live(bench) as live:
        memory = live.anons[0]
        memory.advise(_MADV_DONTFORK)
        live.register(memory.address)
        pfn = live.proc.pfn(memory.address)
        live.fork()
        source = "madvise(2), MADV_DONTFORK"
        bench.observe("the child has the page", live.child_pfn(memory.address) is not None, False, source)
        memory.store(2)
        bench.observe("the parent keeps its frame", live.proc.pfn(memory.address) == pfn, True, source)
        live.child_exit()
        live.unregister()
        bench.steps += 5


# ---- the bias

REFERENCES = (0, 1, 500, 1020, 1021, 1022, 1023, 1040)  # around 1024, of which fork and the mapping hold two


def bias(bench: Bench) -> None:
    """A page with so many plain references is taken to be pinned: fork copies it."""
    with _live(bench, anons=0) as live:
        memory = Memory(len(REFERENCES) + 1)
        try:
            _short(live, memory)  # an mm that has never pinned is not asked (MMF_HAS_PINNED)
            for page, references in enumerate(REFERENCES):
                memory.store(1, page)
                _flip(bench, live, memory.address + page * PAGE, references)
            memory.store(1, len(REFERENCES))
            _flip(bench, live, memory.address + len(REFERENCES) * PAGE, REFERENCES[-1], again=True)
        finally:
            memory.close()


def _flip(bench: Bench, live: Live, address: int, references: int, again: bool = False) -> None:
    """Fork; `again`: for the second time, so that the page is not exclusive, and nobody asks about it."""
    model = anon_world(bench.design)
    model.world.sys[R.HAS_PINNED] = 1
    if again:
        model.fork()
        live.fork()
        model.child_exit()
        live.child_exit()
    model.world.page["_refcount"][0] += references
    live.splice(address, references)
    live.drain()  # a page that waits for the LRU has a reference more
    model.fork()
    live.fork()
    state = model.anon()
    shared = live.child_pfn(address) == live.proc.pfn(address)
    what = f"shared {'again ' * again}with {references} plain references"
    bench.compare(what, state.child == state.frame, shared)
    live.child_exit()
    live.unsplice()
    bench.steps += 2


# ---- large folios


def large_folios(bench: Bench) -> None:
    """Pins of a transparent huge page are counted by base pages; io_uring keeps one per folio.

    Raises
    ------
    Unavailable
        There are no transparent huge pages here.
    """
    with _live(bench, anons=0) as live:
        memory = Memory(2 * _THP)
        try:
            head = -(-memory.address // (_THP * PAGE)) * _THP * PAGE
            call("madvise", head, _THP * PAGE, _MADV_HUGEPAGE)
            ctypes.memset(head, 1, 1)
            pfn = live.proc.pfn(head)
            if pfn is None or not live.proc.frame(pfn).has(KPF_THP):
                raise Unavailable("needs transparent huge pages (/sys/kernel/mm/transparent_hugepage/enabled)")
            _count_pins(bench, live, head)
            _fork_of_a_huge_page(bench, live, head)
        finally:
            memory.close()


def _count_pins(bench: Bench, live: Live, head: int) -> None:
    """Direct reads against the model's, which pins a folio page by page (`workbench.mm.folio`); and registration."""
    model = file_world(bench.design, _MODEL)
    for pages in (1, _MODEL):
        steps = (
            (f"a direct read into {pages}", partial(model.pin, 1, 0, pages), partial(live.pin, 1, head, pages)),
            (f"its completion ({pages})", partial(model.complete, 1), partial(live.complete, 1, 1)),
        )
        for what, predict, act in steps:
            before = model.pins()
            predict()
            bench.compare_pins(live, what, act, since(model.pins(), before))
            bench.steps += 1
    source = "v6.12 mm/gup.c try_grab_folio: as many references as pages; counted by base pages"
    begin, end = partial(live.pin, 1, head, _THP), partial(live.complete, 1, 1)
    bench.observe_pins(live, "a direct read into all", begin, (_THP, 0), source)
    bench.observe_pins(live, "its completion", end, (0, _THP), source)
    source = "v6.12 io_uring/rsrc.c io_coalesce_buffer"
    kept = 1 if kernel_version() >= (6, 12) else _THP
    bench.observe_pins(live, "registration", partial(live.register, head, _THP), (_THP, _THP - kept), source)
    bench.observe_pins(live, "deregistration", live.unregister, (0, kept), source)


def _fork_of_a_huge_page(bench: Bench, live: Live, head: int) -> None:
    """As of a page of order 0 (v6.12 mm/huge_memory.c copy_huge_pmd): the model's has one page."""
    model = anon_world(bench.design)
    model.register()
    live.register(head, _THP)
    frame, pfn = model.frame(), live.proc.pfn(head)
    model.fork()
    live.fork()
    shared = model.anon().child == frame
    bench.compare("the child shares a pinned huge page", shared, live.child_pfn(head) == pfn)
    model.store()
    ctypes.memset(head, 2, 1)
    bench.compare("the parent keeps its frame", model.frame() == frame, live.proc.pfn(head) == pfn)
    live.child_exit()
    live.unregister()
    bench.steps += 4


CASES = {
    "registration": registration,
    "who-dirties": who_dirties,
    "fork": fork,
    "bias": bias,
    "large-folios": large_folios,
}
