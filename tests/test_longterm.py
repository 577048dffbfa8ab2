"""Memory at scale: bitmaps and runs against the plain twin, page by page against runs, and what policies come to."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_longterm import Longterm

from workbench import costs, designs
from workbench.accelerate import JIT_ENABLED
from workbench.bulk import registers as S
from workbench.bulk import run, setup, tick, tracking
from workbench.bulk import world as W
from workbench.bulk.regions import begin
from workbench.scenarios.base import check_parameters
from workbench.scenarios.rdma_longterm import NAME, PARAMETERS

SMALL = {"pages": 256, "files": 3, "region_kib": 16, "duration_s": 8, "tick_ms": 500, "flush_s": 1, "expire_s": 2}
SMALL |= {"sync_s": 2, "write_mib_s": 0.2, "transfer_mib_s": 0.2, "disk_mib_s": 0.3, "grace_s": 2, "away_s": 0.5}


def world_of(design, parameters, most=0, seed=1):
    """The world at the end of a run."""
    p = check_parameters(NAME, PARAMETERS, parameters)
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = designs.parse(design)
    world = setup.new_world(p, chosen, answers_of(design, p), costs.DEFAULT, rng, most)
    begin(world)
    ticks = max(round(p["duration_s"] * W.PS_PER_S / int(world.sys[S.TICK])), 1)
    every = max(round(p["sample_s"] * W.PS_PER_S / int(world.sys[S.TICK])), 1)
    for start in range(0, ticks, every):
        n = min(every, ticks - start)
        world = world._replace(draws=run._draws(world, n, p["write_pattern"], rng))
        world.sys[S.DRAW] = 0
        tick.run(world, n)
    run.check(world)
    return world


def answers_of(design, p):
    return tracking.learn(designs.parse(design).tracker, min(p["region_kib"] // 4, 512))


def pages_with(world, row):
    """Pages that have a property, as a set."""
    flat = np.unpackbits(world.bit[row].view(np.uint8), bitorder="little")
    return set(np.flatnonzero(flat).tolist())


def list_of(world, on):
    """First pages of the folios on a list, head first."""
    end = len(world.folio) + on - 1
    found, folio = [], int(world.after[end])
    while folio != end:
        found.append(folio * int(world.sys[S.FOLIO]))
        folio = int(world.after[folio])
    return found


def seen(world):
    """What two runs must share, whatever the length of runs of pages."""
    own = [S.NAMES.index(n) for n in ("MOST", "QUEUE_HEAD", "QUEUE_ROWS")]
    return (np.delete(world.sys, own).tolist(), world.bit.tolist(), list_of(world, 1), list_of(world, 2)) + tuple(
        a.tolist() for a in (world.inode_dirty, world.inode_since, world.region, world.region_due, world.latency)
    )


CLEANING = ("ignore", "skip", "wait", "report", "write-keep-dirty", "bounce")
TRACKERS = (
    "none",
    "bias",
    "flag-sticky",
    "lru-count",
    "vma-common:release=count",
    "vma-common:release=split:early_exit=yes",
)
RULES = ("allow", "allow", "allow", "refuse", "migrate-first", "lease", "lease", "notifier")

designs_of = st.builds(
    lambda tracker, none, all_, reclaim, order, asks, bounce, rule: (
        f"tracker={tracker},cleaning={none}/{all_},reclaim={reclaim},order={order},reclaim_asks={asks},"
        f"bounce={bounce},longterm={rule}"
    ),
    st.sampled_from(TRACKERS), st.sampled_from(CLEANING), st.sampled_from(CLEANING),
    st.sampled_from(("ignore", "skip")), st.sampled_from(("write-protect-first", "check-first")),
    st.sampled_from(("before", "after")), st.sampled_from(("plain", "reserve")), st.sampled_from(RULES),
)  # fmt: skip
parameters_of = st.fixed_dictionaries(
    {
        "pages": st.sampled_from((128, 256, 320, 640)),
        "movable_share": st.sampled_from((0.5, 0.9)),
        "file_share": st.sampled_from((0.5, 0.8, 1.0)),
        "files": st.integers(1, 4),
        "folio_order": st.sampled_from((0, 0, 0, 1, 3, 7)),
        "pinned_share": st.sampled_from((0.0, 0.2, 0.5, 0.95)),
        "region_kib": st.sampled_from((4, 12, 32)),
        "placement": st.sampled_from(("spread", "together")),
        "hold_s": st.sampled_from((0, 0, 2.5)),
        "away_s": st.sampled_from((-1, 0.5, 1)),
        "dirty_on_release": st.sampled_from(("yes", "no")),
        "mlocked": st.sampled_from(("no", "no", "yes")),
        "holders": st.integers(1, 5),
        "memlock_mib": st.sampled_from((0, 0, 0.05)),
        "write_to": st.sampled_from(("unpinned", "all")),
        "write_pattern": st.sampled_from(("random", "sequential")),
        "write_mib_s": st.sampled_from((0, 0.05, 0.4)),
        "transfer_mib_s": st.sampled_from((0, 0.3, 1)),
        "read_mib_s": st.sampled_from((0, 0.2, 0.6)),
        "disk_mib_s": st.sampled_from((0.1, 0.4, 2)),
        "holders_release": st.sampled_from((0.0, 0.5, 1.0)),
        "dirty_ratio": st.sampled_from((5, 20, 100)),
        "sync_s": st.sampled_from((0, 1, 2)),
    }
)


@given(designs_of, parameters_of, st.integers(0, 99))
@settings(max_examples=200 if JIT_ENABLED else 40)
def test_twin(design, parameters, seed):
    parameters = SMALL | parameters
    world = world_of(design, parameters, seed=seed)
    twin = Longterm(design, parameters, seed, answers_of(design, parameters)).run()
    counted = {name: int(world.sys[S.NAMES.index(name)]) for name in (*S.SHARED, *S.COUNTS)}
    assert {n: k for n, k in counted.items() if k} == {n: k for n, k in twin.count.items() if k}
    for row, pages in (
        (W.DIRTY, twin.dirty), (W.TOWRITE, twin.towrite), (W.WRITEBACK, twin.writeback), (W.BOUNCED, twin.bounced),
        (W.WRITABLE, twin.writable), (W.DEVICE, twin.device), (W.TARGET, twin.target), (W.PINNED, twin.pinned),
        (W.SAYS, twin.says), (W.NEWER, twin.newer), (W.FRESH, twin.fresh), (W.RESIDENT, twin.resident),
        (W.STREAM, twin.stream), (W.ASKED, {q for q in range(twin.pages) if twin.says_yes(twin.head_of(q))}),
    ):  # fmt: skip
        assert pages_with(world, row) == pages, tuple(W.PROPERTIES)[row]
    assert (list_of(world, W.ON_INACTIVE), list_of(world, W.ON_ACTIVE)) == (twin.inactive, twin.active)
    assert int(world.sys[S.THROTTLED]) == twin.throttled
    assert world.latency[: world.sys[S.SYNCS_BEGUN]].tolist() == [-1 if n is None else n for n in twin.latency]


@given(designs_of, parameters_of, st.sampled_from((1, 2, 5)))
@settings(max_examples=100 if JIT_ENABLED else 20)
def test_runs_count_what_pages_count(design, parameters, most):
    parameters = SMALL | parameters
    assert seen(world_of(design, parameters, most)) == seen(world_of(design, parameters))
