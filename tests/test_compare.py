"""Release modes agree where ranges do not overlap, differ where they do, and a broken one is caught."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import compare, designs, traces
from workbench.errors import UsageError
from workbench.mm import registers as R
from workbench.mm.interval_tree import KIND_PINNED
from workbench.scenarios.base import EMPTY_PLAN, new_world
from workbench.trackers import virtual_vma
from workbench.trackers.protocol import LOCK_NONE, RANGE_AFTER, implements, is_pinned, pin_range, unpin_range

TRACES = Path(__file__).parent.parent / "data" / "traces"
FRAGMENTED = traces.replay(traces.load(TRACES / "dio-512k-qd8-fragmented.ftrace.gz"))


def replay_of(ios):
    """Replay of IOs given as (submit_ns, [(pages, complete_ns), …])."""
    bios = [bio for _, of_io in ios for bio in of_io]
    count = np.array([len(of_io) for _, of_io in ios])
    done = np.array([at for _, at in bios])
    return traces.ReplayInput(
        submit_ns=np.array([at for at, _ in ios]),
        op=np.zeros(len(ios), np.int64),
        pages=np.array([sum(pages for pages, _ in of_io) for _, of_io in ios]),
        first_bio=np.cumsum(count) - count,
        bio_count=count,
        bio_pages=np.array([pages for pages, _ in bios]),
        bio_complete_ns=done,
        bio_order=np.argsort(np.argsort(done, kind="stable"), kind="stable"),
        rounded=0,
    )


def shortened(replay, ios):
    """Return its first IOs."""
    bios = int(replay.first_bio[ios])
    return replay._replace(
        **{name: getattr(replay, name)[:ios] for name in ("submit_ns", "op", "pages", "first_bio", "bio_count")},
        **{name: getattr(replay, name)[:bios] for name in ("bio_pages", "bio_complete_ns", "bio_order")},
    )


def cells(result, where):
    return result.summary[result.summary["where"] == where].set_index("mode")


random_ios = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.lists(st.tuples(st.integers(1, 90), st.integers(1, 60)), min_size=1, max_size=5),
    ),
    min_size=1,
    max_size=8,
).map(lambda ios: replay_of([(at, [(n, at + d) for n, d in of_io]) for at, of_io in sorted(ios)]))


@given(random_ios, st.sampled_from(["legacy", "iomap"]))
def test_apart_nothing_is_missed_and_modes_agree(replay, dio):
    result = compare.agreement(replay, dio)
    assert result.overlapping_calls == 0
    assert cells(result, "overlapping")["page_moments"].sum() == 0
    apart = cells(result, "apart")
    assert (apart["missed"] == 0).all() and (apart[["ambiguous", "unattributed", "ranges_left"]] == 0).all(axis=None)
    assert apart.loc["split", "held"] == 0
    series = result.series
    assert (series["split"] == series["truth"]).all() and (series["count"] == series["backpointer"]).all()
    agreed = result.pairs.set_index(["modes", "where"])["disagreements"]
    assert agreed["count / backpointer", "apart"] == 0
    assert agreed["split / count", "apart"] == apart.loc["count", "held"]


@given(random_ios, st.sampled_from(["legacy", "iomap"]), st.integers(0, 2**32))
def test_split_is_the_truth_and_backpointer_misses_nothing_however_ranges_overlap(replay, dio, seed):
    result = compare.agreement(replay, dio, overlap=1.0, deferred_ns=30, seed=seed)
    total = result.summary.groupby("mode")[["missed", "held"]].sum()
    assert (total.loc["split"] == 0).all() and total.loc["backpointer", "missed"] == 0
    apart = cells(result, "apart")
    assert (apart["missed"] == 0).all() and apart.loc["count", "held"] == apart.loc["backpointer", "held"]


@pytest.mark.parametrize("dio", ["legacy", "iomap"])
def test_recorded_trace(dio):
    result = compare.agreement(shortened(FRAGMENTED, 80), dio)
    assert result.calls == {"legacy": 160, "iomap": 640}[dio] and result.overlapping_calls == 0
    apart = cells(result, "apart")
    assert (apart["missed"] == 0).all() and apart.loc["split", "held"] == 0
    # Only legacy has ranges that several bios share, and so something to hold on to.
    assert (apart.loc["count", "held"] > 0) == (dio == "legacy")


def test_overlap_on_the_recorded_trace_is_shown():
    result = compare.agreement(shortened(FRAGMENTED, 80), "legacy", overlap=0.5)
    overlapping = cells(result, "overlapping")
    assert result.overlapping_calls > 0 and overlapping.loc["count", "missed"] > 0
    assert overlapping.loc["count", "ambiguous"] > 0 and overlapping.loc["backpointer", "ambiguous"] == 0
    assert result.pairs.set_index(["modes", "where"])["disagreements"]["count / backpointer", "overlapping"] > 0


def test_deferred_release_makes_reused_buffers_overlap():
    ios = [(0, [(4, 10)]), (20, [(4, 30)])]
    assert compare.agreement(replay_of(ios), "iomap").overlapping_calls == 0
    assert compare.agreement(replay_of(ios), "iomap", deferred_ns=15).overlapping_calls == 2


def test_a_release_by_page_is_charged_to_the_wrong_range():
    """Two calls pin [0, 3] and [2, 5], and let go of 2 and 3 each; worked out by hand.

    The leftmost range is charged both times, and goes, though its pages 0 and 1 are still pinned.
    """
    world, _ = new_world(pages=6, nodes=8, bios=1, dios=1, cpus=1, submitters=1, plan=EMPTY_PLAN, ios=0)
    inode = world.sys[R.I_MMAP]
    count = designs.parse_tracker("vma-common:release=count")[1]
    for start in (0, 2):
        pin_range(count, world, inode, start, 4)
    unpin_range(count, world, inode, 2, 2, -1)
    unpin_range(count, world, inode, 2, 2, -1)
    assert compare.pinned_pages(world, 6).tolist() == [False, False, True, True, True, True]
    assert [bool(is_pinned(count, world, p)) for p in range(6)] == compare.pinned_pages(world, 6).tolist()


def test_events_by_hand():
    """One IO of 100 pages in bios of 70 and 30: legacy makes calls of 64 and 36, iomap one per bio."""
    replay = replay_of([(5, [(70, 20), (30, 10)])])
    assert [tuple(e)[1:] for e in compare.events_of(replay, "legacy")] == [
        (0, 0, 64, True),
        (1, 64, 36, True),
        (1, 70, 30, False),
        (0, 0, 64, False),
        (1, 64, 6, False),
    ]
    assert [tuple(e) for e in compare.events_of(replay, "iomap", deferred_ns=7)] == [
        (5, 0, 0, 70, True),
        (5, 1, 70, 30, True),
        (17, 1, 70, 30, False),
        (27, 0, 0, 70, False),
    ]


class DropsAll(NamedTuple):
    """Broken: the first partial release takes the whole range along."""

    when: int = RANGE_AFTER
    lock: int = LOCK_NONE


class Forgets(NamedTuple):
    """Broken: the release of a run's first page is forgotten."""

    when: int = RANGE_AFTER
    lock: int = LOCK_NONE


INNER = virtual_vma.VirtualVma(release=virtual_vma.SPLIT)
LED_BACK = virtual_vma.VirtualVma(release=virtual_vma.BACKPOINTER)  # its handles name the node


def _drops_all(world, inode, start, n, handle):
    row = world.node[handle]
    if row["kind"] == KIND_PINNED:
        whole = int(row["start"]), int(row["last"]) - int(row["start"]) + 1
        virtual_vma.unpin_range(INNER, world, inode, *whole, handle)


def _forgets(world, inode, start, n, handle):
    if n > 1:
        virtual_vma.unpin_range(INNER, world, inode, start + 1, n - 1, handle)


def _register(cls, release):
    def pin_range(tracker, world, inode, start, n):
        return virtual_vma.pin_range(LED_BACK, world, inode, start, n)

    def unpin_range(tracker, world, inode, start, n, handle):
        release(world, inode, start, n, handle)

    implements(cls)(pin_range)
    implements(cls)(unpin_range)


_register(DropsAll, _drops_all)
_register(Forgets, _forgets)


def test_a_broken_release_is_caught():
    replay = replay_of([(0, [(4, 10), (4, 20)]), (5, [(4, 30)])])
    both = {"good": INNER, "drops": DropsAll(), "forgets": Forgets()}
    apart = cells(compare.agreement(replay, "legacy", trackers=both), "apart")
    assert (apart.loc["good", ["missed", "held"]] == 0).all()
    assert apart.loc["drops", "missed"] == 4  # pages 4 to 7, from the first bio's completion to the second's
    assert apart.loc["forgets", "held"] > 0 and apart.loc["forgets", "ranges_left"] == 3


@pytest.mark.parametrize(
    "wrong",
    [{"dio": "legcy"}, {"dio": "iomap", "overlap": 1.5}, {"dio": "iomap", "deferred_ns": -1}],
)
def test_wrong_input(wrong):
    with pytest.raises(UsageError):
        compare.events_of(replay_of([(0, [(1, 1)])]), **wrong)
