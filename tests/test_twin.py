"""The package against its plain twin (`naive_simulate`), written separately from docs/model.md."""

import importlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import naive_simulate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.accelerate import JIT_ENABLED
from workbench.mm import registers as R
from workbench.mm.page import FLAGS, LRU_SHIFT, NEWER_THAN_COPY, NEWER_THAN_DISK
from workbench.mm.world import bucket_of, bucket_values

pytestmark = pytest.mark.no_cover  # being followed line by line would take as long again

simulation = importlib.import_module("workbench.simulate")  # the package's own name is that of the function
HERE = Path(__file__).parent

ONE_THREAD = dict(ios=24, qd=4, size_kib=24, extent_kib=12, gup_pages=4, bio_pages=2)
TWO_THREADS = ONE_THREAD | dict(cpus=2, overlap=0.5)
CLEANED = TWO_THREADS | dict(writeback_ms=0.15, fsync_ms=0.2, isize_ms=0.05, reclaim_ms=0.12, stable_pages=1)
POLICIES = ("ignore", "skip", "wait", "report", "write-keep-dirty", "bounce")
RELEASES = ("split", "count", "backpointer")
TRACKERS = (
    "none",
    "flag-sticky",
    "flag",
    "lru-count",
    "bias",
    *(f"{kind}:release={release}" for kind in ("vma-full", "vma-common") for release in RELEASES),
    "vma-common:release=split:when=before:charge=rightmost:early_exit=no",
    "vma-common:release=count:charge=rightmost",
    "vma-full:release=backpointer:when=before:early_exit=no",
    "vma-full:release=split:when=after:charge=any",
    "bias:subtract_mapcount=yes",
    "pincount",
    "pincount:learns=after",
    "page-lock",
    "page-lock:learns=after",
    "mapcount",
    "mapcount:learns=after",
    "pte-bit",
    "pte-bit:learns=after",
    "bounce-pin",
)
TRACE = """io,op,offset_bytes,size_bytes,submit_ns,complete_ns
0,read,0,16384,0,300000
1,read,65536,300000,90,120000
2,write,0,8192,120000,120500
3,read,0,4096,120000,900000
4,write,8192,65536,150000,150001
5,read,4096,16384,700000,720000
"""


def run_package(scenario, design, seed, parameters, **options):
    """Run the package; its result, and the world that it leaves."""
    setups = []

    def keep(setup):
        setups.append(setup)
        return new_clock(setup)

    new_clock = simulation.new_clock
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "new_clock", keep)
        result = simulation.simulate(scenario, design, seed=seed, **options, **parameters)
    return result, setups[0].world


def page_states(world):
    """State of each page in the words of the twin."""
    names = [name.lower().removeprefix("pg_") for name in FLAGS]
    return [
        (
            frozenset(name for bit, name in enumerate(names) if int(page["flags"]) >> bit & 1),
            int(page["_refcount"]),
            int(page["_mapcount"]),
            int(page["ghost_pins"]),
            bool(page["ghost_data"] & NEWER_THAN_DISK),
            bool(page["ghost_data"] & NEWER_THAN_COPY),
        )
        for page in world.page
    ]


def lru_from_tail(world):
    """Page numbers on the LRU, from its tail."""
    pages, link = [], int(world.sys[R.LRU_TAIL])
    while link:
        pages.append((link >> LRU_SHIFT) - 1)
        link = int(world.page[pages[-1]]["lru_prev"])
    return pages


def log_rows(log):
    """Walk-through in the words of the twin."""
    return [
        (
            row.time_ps,
            row.actor,
            row.step,
            (
                frozenset(name.lower().removeprefix("pg_") for name in row.state.split()),
                row.refcount,
                row.mapcount,
                row.pins,
                bool(row.data & NEWER_THAN_DISK),
                bool(row.data & NEWER_THAN_COPY),
            ),
        )
        for row in log.itertuples()
    ]


def bucketed(values):
    """Count raw values by the smallest value of their bucket."""
    smallest = bucket_values()
    return Counter(int(smallest[bucket_of(value)]) for value in values)


def outcome(result, world):
    """All that the two programs are compared in; the package's."""
    return {
        "log": log_rows(result.log),
        "counters": result.counters,
        "simulated_ps": result.metrics["simulated_ps"],
        "last event": int(world.sys[R.NOW]),
        "stuck": result.stuck,
        "pages": page_states(world),
        "lru": lru_from_tail(world),
        "bounce pages": result.metrics["bounce_pages_max"],
        **{name: Counter(dict(zip(h["value"], h["count"], strict=True))) for name, h in result.histograms.items()},
    }


def twin_outcome(twin):
    """The same of the twin."""
    return {
        "log": twin.log,
        "counters": twin.counters,
        "simulated_ps": twin.last_done or twin.now,
        "last event": twin.now,
        "stuck": twin.stuck,
        "pages": twin.pages,
        "lru": twin.lru,
        "bounce pages": twin.bounce_pages_max,
        **{name: bucketed(values) for name, values in twin.histograms.items()},
    }


def differences(scenario, design, seed, parameters):
    """Name what differs, each with the twin's first, the package's second, as far as they differ."""
    twin = twin_outcome(naive_simulate.run(scenario, design, seed, parameters))
    package = outcome(*run_package(scenario, design, seed, parameters))
    assert twin.keys() == package.keys()
    return {what: _where(twin[what], package[what]) for what in twin if twin[what] != package[what]}


def _where(a, b):
    if isinstance(a, dict):
        return {key: (a.get(key), b.get(key)) for key in {*a, *b} if a.get(key) != b.get(key)}
    if isinstance(a, list):
        return next(
            ((i, *pair) for i, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), (len(a), len(b))
        )
    return a, b


def check(scenario, design, seed=1, **parameters):
    found = differences(scenario, design, seed, parameters)
    assert not found, f"{scenario} {design} {seed} {parameters}: {found}"


@pytest.mark.parametrize("world", [TWO_THREADS, CLEANED], ids=["alone", "cleaned"])
@pytest.mark.parametrize("tracker", TRACKERS)
def test_every_tracker(tracker, world):
    check("direct-io", f"tracker={tracker},cleaning=skip", **world)


@pytest.mark.parametrize(
    "tracker", ["flag", "lru-count", "vma-common:release=count", "page-lock", "mapcount", "pte-bit"]
)
@pytest.mark.parametrize(
    "rest",
    [
        "cleaning=ignore",
        "cleaning=wait,wait=unlocked",
        "cleaning=skip/wait,reclaim=skip,isize=wait,reclaim_asks=before",
        "cleaning=report,order=check-first,reclaim=ignore",
        "cleaning=wait/report,reclaim=report,isize=skip,order=check-first,wait=unlocked,ext4=warn",
        "cleaning=wait,wait_asks=once",
        "cleaning=skip,pins=rdma",
        "cleaning=write-keep-dirty",
        "cleaning=write-keep-dirty/wait,order=check-first,reclaim=ignore",
        "cleaning=bounce",
        "cleaning=skip/bounce,bounce=reserve,isize=bounce,order=check-first",
        "cleaning=wait,longterm=lease,lease=fail",
    ],
)
def test_cleaning_policies(tracker, rest):
    check("direct-io", f"tracker={tracker},{rest}", seed=3, **CLEANED)


@pytest.mark.parametrize(
    "design",
    ["v4.17", "hubbard-v1", "hubbard-v2", "kara-virtual-vma", "viro-page-lock", "glisse-mapcount", "weiny-leases"]
    + ["v6.1", "v6.12", "kara-bounce-2023"],
)
@pytest.mark.parametrize(
    "parameters",
    [
        dict(qd=1, ios=15, size_kib=4),
        dict(dio="iomap", size_kib=64, qd=4, ios=20, bio_pages=5),
        dict(op="write", cpus=3, ios=30, qd=4, tags=2, units=1, reclaim_ms=0.05, writeback_ms=0.04),
        dict(cpus=4, ios=30, qd=3, size_kib=16, tags=1, jitter=0.0, overlap=1.0, fsync_ms=0.1),
        dict(size_kib=512, qd=2, ios=3, extent_kib=12),
    ],
    ids=["one", "iomap", "write", "four-cpus", "large"],
)
def test_presets(design, parameters):
    check("direct-io", design, seed=7, **parameters)


@pytest.mark.parametrize(
    "design",
    [
        "v4.17",
        "v6.12",
        "hubbard-v2",
        "kara-virtual-vma",
        "tracker=flag,cleaning=wait",
        "tracker=bias,cleaning=write-keep-dirty",
        "tracker=bias,cleaning=bounce",
        "viro-page-lock",
        "glisse-mapcount",
        "tracker=pte-bit,cleaning=wait",
    ],
)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        dict(fsync_us=300.0, stable_pages=1),
        dict(flusher_period_us=20.0, flusher_rounds=60, kswapd_period_us=30.0, kswapd_rounds=50),
        dict(flusher_rounds=0, kswapd_rounds=1, fsync_us=1.0),
    ],
    ids=["default", "fsync", "often", "few"],
)
def test_golden_race_step_by_step(design, parameters):
    check("golden-race", design, **parameters)


# What the search of every interleaving turns on, by the clock.
DECIDED = dict(gup_fast_steps=1, journal=1, stable_pages=1, bias=16, count_max=18)


@pytest.mark.parametrize(
    "design",
    [
        "v4.17",
        "v5.7",
        "v6.12",
        "hubbard-v2",
        "kara-virtual-vma",
        "kara-bounce-2023",
        "viro-page-lock",
        "glisse-mapcount",
        "weiny-leases",
        "tracker=bias,cleaning=wait,journal=dropped",
        "tracker=bias,cleaning=write-keep-dirty",
        "tracker=bias,cleaning=bounce",
        "tracker=page-lock:learns=after,cleaning=skip",
        "tracker=mapcount,cleaning=wait,order=check-first",
        "tracker=pte-bit,cleaning=wait",
        "tracker=bounce-pin,cleaning=skip,longterm=notifier",
    ],
)
@pytest.mark.parametrize("dirty", ["clean", "always"])
def test_the_decisions_of_explore(design, dirty):
    check("gup-fast-race", design, dirty=dirty, **DECIDED)
    check("gup-fast-race", design, flusher_us=0.0, fsync_us=1.0, flusher_rounds=3, period_us=300.0, **DECIDED)
    check("golden-race", design, fsync_us=990.0, dirty=dirty, **DECIDED)
    check("direct-io", design, dirty=dirty, **CLEANED | DECIDED)


@pytest.mark.parametrize("tracker", ["bias", "bias:learns=after", "lru-count", "pincount:learns=after", "mapcount"])
def test_counts_over_their_limit(tracker):
    for gup_fast_steps in (0, 1):
        check("direct-io", f"tracker={tracker},cleaning=skip", gup_fast_steps=gup_fast_steps, count_max=4, **CLEANED)


@pytest.mark.parametrize("tracker", ["flag", "bias", "vma-common:release=count"])
@pytest.mark.parametrize(
    "extra",
    [{}, dict(sync_pages=3, rounds=4), dict(sync_any=1, rounds=9), dict(threads=1, qd=3), dict(threads=1, cpus=4)],
)
def test_buffers_that_lie_a_shift_apart(tracker, extra):
    shifted = dict(cpus=2, qd=1, ios=8, size_kib=12, bio_pages=1, shift=1, units=2, writeback_ms=0.03, fsync_ms=0.05)
    check("direct-io", f"tracker={tracker},cleaning=skip", **shifted | extra)


@pytest.mark.parametrize("design", ["v4.17", "hubbard-v2", "kara-virtual-vma"])
@pytest.mark.parametrize(
    "extra", [{}, dict(dio="iomap", writeback_ms=0.1, fsync_ms=0.2, units=1)], ids=["plain", "cleaned"]
)
def test_replay(design, extra, tmp_path):
    path = tmp_path / "ios.csv"
    path.write_text(TRACE)
    check("direct-io", design, trace=str(path), **extra)


def period(low, high):
    """Period of a cleaner in ms, or 0 for none."""
    return st.one_of(st.just(0.0), st.floats(low, high).map(lambda x: round(x, 3)))


drawn_designs = st.builds(
    "tracker={},cleaning={}/{},reclaim={},isize={},order={},reclaim_asks={},ext4={},wait={},wait_asks={},journal={},"
    "bounce={},pins={},longterm={}".format,
    st.sampled_from(TRACKERS),
    *[st.sampled_from(POLICIES)] * 4,
    st.sampled_from(["write-protect-first", "check-first"]),
    st.sampled_from(["before", "after"]),
    st.sampled_from(["bug", "warn"]),
    st.sampled_from(["locked", "unlocked"]),
    st.sampled_from(["again", "once"]),
    st.sampled_from(["held", "dropped"]),
    st.sampled_from(["plain", "reserve"]),
    st.sampled_from(["all", "all", "rdma"]),
    st.sampled_from(["allow", "allow", "lease", "lease,lease=fail", "lease,lease=wait", "notifier"]),
)
drawn_parameters = st.fixed_dictionaries(
    dict(
        dio=st.sampled_from(["legacy", "iomap"]),
        op=st.sampled_from(["read", "read", "write"]),
        qd=st.sampled_from([1, 2, 5] if JIT_ENABLED else [1, 2]),
        size_kib=st.sampled_from([4, 8, 32, 60] if JIT_ENABLED else [4, 8, 20]),
        cpus=st.integers(1, 4),
        threads=st.sampled_from([0, 0, 1]),
        ios=st.integers(1, 25),
        gup_pages=st.sampled_from([0, 1, 3, 7]),
        bio_pages=st.sampled_from([1, 2, 5, 256]),
        extent_kib=st.sampled_from([0, 4, 12, 20]),
        overlap=st.sampled_from([0.0, 0.5, 1.0]),
        units=st.sampled_from([1, 3, 16]),
        tags=st.sampled_from([1, 2, 7, 1023]),
        latency_us=st.sampled_from([0.5, 20.0, 82.0]),
        jitter=st.sampled_from([0.0, 0.5, 1.5]),
        stable_pages=st.integers(0, 1),
        gup_fast_steps=st.integers(0, 1),
        journal=st.integers(0, 1),
        bias=st.sampled_from([4, 1024]),
        dirty=st.sampled_from(["clean", "clean", "always"]),
        rounds=st.sampled_from([0, 0, 3]),
        writeback_ms=period(0.05, 0.6),
        fsync_ms=period(0.05, 0.6),
        isize_ms=period(0.05, 0.3),
        reclaim_ms=period(0.1, 0.5),
    )
)


@settings(max_examples=100 if JIT_ENABLED else 50)
@given(drawn_designs, drawn_parameters, st.integers(0, 1000))
def test_drawn(design, parameters, seed):
    check("direct-io", design, seed, **parameters)


def test_a_release_that_never_comes_ends_the_run():
    """All direct IO has ended, but a kworker waits for the page lock that a waiting cleaner holds."""
    design = "tracker=vma-common:release=split,cleaning=ignore/skip,isize=wait,order=check-first"
    parameters = dict(cpus=3, qd=2, ios=12, size_kib=8, gup_pages=1, tags=2, stable_pages=1)
    periods = dict(writeback_ms=0.16, fsync_ms=0.467, isize_ms=0.05)
    check("direct-io", design, **parameters, **periods)


def test_same_result_whatever_ran_before():
    design = "tracker=bias,cleaning=skip"
    first = outcome(*run_package("direct-io", design, 5, CLEANED))
    run_package("direct-io", design, 6, TWO_THREADS)
    run_package("golden-race", "v6.12", 5, {})
    assert outcome(*run_package("direct-io", design, 5, CLEANED)) == first
    assert outcome(*run_package("direct-io", design, 6, CLEANED)) != first


@pytest.mark.parametrize(
    "tracker", ["flag", "lru-count", "bias", "vma-full:release=backpointer", "vma-common:release=split"]
)
@pytest.mark.parametrize("op", ["read", "write"])
def test_page_by_page_counts_the_same(tracker, op):
    world = ONE_THREAD | dict(op=op, qd=1, ios=12)
    whole = outcome(*run_package("direct-io", f"tracker={tracker}", 1, world))
    single = outcome(*run_package("direct-io", f"tracker={tracker}", 1, world, pages_per_step=1))
    if "split" in tracker:  # a page is cut out at a time, not a run
        for name in ("RB_VISITED", "RB_ROTATIONS", "SHRINKS"):
            assert whole["counters"].pop(name) < single["counters"].pop(name)
    for what in ("counters", "pages", "lru", "stuck"):
        assert whole[what] == single[what], _where(whole[what], single[what])


# Each breaks one function; the plain Python of the package must then differ from the twin.
MUTANTS = {
    "bio-limit": """
from workbench.mm import writeback as module
module._breaks = lambda world, task, p: True
""",
    "an-answer-is-acted-on-unseen": """
from workbench.mm import writeback as module
module.act_on_no = lambda world, task, p: None
""",
    "first-release-forgotten": """
from workbench.trackers import virtual_vma as module
module.mark_first = lambda world, r: None
""",
    "dma-disturbs-a-bounce-page": """
from workbench.mm import bio as module
land = module._land
def into_bounce_page(world, page):
    flags = page["flags"].copy()
    page["flags"] &= ~module.BOUNCED
    land(world, page)
    page["flags"] = flags
module._land = into_bounce_page
""",
    "a-page-lock-for-own-pages": """
from workbench.mm import bio as module
module.pins_by_lock = lambda *_: False
""",
    "kept-as-mapped-for-good": """
from workbench.mm import reclaim as module
putback = module.putback
def remember(world, t):
    kept = world.task[t]["error"].copy()
    putback(world, t)
    world.task[t]["error"] = kept
from workbench import steps
steps.reclaim.putback = remember
""",
    "the-bit-survives-its-pte": """
from workbench.mm import i_mmap as module
module.PTE_PINNED = 0
""",
    "last-woken-runs-first": """
from workbench import clock as module
enqueue = module._enqueue
module._enqueue = lambda world, ticker, t, front: enqueue(world, ticker, t, True)
""",
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_caught(mutant):
    """Run the comparison in plain Python, with one function of the package replaced."""
    code = MUTANTS[mutant] + (
        "import test_twin\n"
        "designs = ['v4.17', 'kara-virtual-vma', 'tracker=bias,cleaning=wait,wait_asks=once']\n"
        "designs += ['tracker=bias,cleaning=bounce', 'viro-page-lock', 'tracker=mapcount,cleaning=skip']\n"
        "designs += ['tracker=pte-bit,cleaning=skip']\n"
        "found = [test_twin.differences('direct-io', d, 1, test_twin.CLEANED) for d in designs]\n"
        "print('CAUGHT' if any(found) else 'MISSED')\n"
    )
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "CAUGHT"
