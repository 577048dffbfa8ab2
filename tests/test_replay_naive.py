"""Counterexamples and random walks, step by step in the package and in `naive_explore`: the two never differ.

After each step they must agree on what may come next, on every page, on the hazards that the step shows and, where
all is at rest, on what is wrong with that and on the kind of end.
"""

import naive_explore
import numpy as np
import pytest
from expected import CASES

from workbench.accelerate import JIT_ENABLED
from workbench.explore import explore
from workbench.hazards import HAZARDS
from workbench.mm import bio, detached, fork, gup, i_mmap, migrate, rdma, truncate, writeback
from workbench.mm.page import FLAGS, NEWER_THAN_COPY, NEWER_THAN_DISK, PTE_WRITE, TAG_DIRTY
from workbench.replay import Replay, small_world
from workbench.scenarios import SCENARIOS
from workbench.search import engine, progress
from workbench.trackers import page_lock

pytestmark = pytest.mark.no_cover  # being followed line by line would take as long again

# ---- both at once


def plain(flags):
    """Names of flags as the twin has them, which knows the frame in CMA by its number."""
    names = {name.removeprefix("PG_").lower() for name in flags} - {"cma"}
    return frozenset("exclusive" if name == "anon_exclusive" else name for name in names)


def pages_of(run):
    rows = run.small.world.page
    return {
        number: (
            plain(name for i, name in enumerate(FLAGS) if row["flags"] >> i & 1),
            *(int(row[name]) for name in ("_refcount", "_mapcount", "ghost_pins")),
            *(int(row["ghost_data"] & bit > 0) for bit in (NEWER_THAN_DISK, NEWER_THAN_COPY)),
        )
        for number, row in enumerate(rows)
    }


def page_of(step):
    """The page that a step of a trace tells of."""
    newer = [int(name in step.data.split()) for name in ("disk", "copy")]
    return plain(step.state.split()), step.refcount, step.mapcount, step.pins, *newer


class Both:
    """A run in the package and one in the twin, which take the same steps.

    `shown` are the twin's hazards of the last step, and of the world after it; `kind` is the kind of end, if it is one.
    """

    def __init__(self, scenario, design, parameters):
        self.run = Replay(small_world(scenario, design, parameters))
        self.twin = naive_explore.Run(scenario, design, **parameters)
        self.shown, self.kind = set(), None
        self.hold(set(), set())

    def possible(self):
        """The transitions of the package that may come next, as the twin names them."""
        found = {}
        for choice in self.run.choices()[0]:
            actor, _, step, number = self.run._name(choice)
            device = actor == "device"
            found[choice] = (actor, step, number, self.run._nth(choice, step, number)) if device else (actor, step)
        return found

    def step(self, choice, pick=0):
        """Run a transition of the package in both; ``pick`` says which of its outcomes, counted round."""
        label = self.possible()[choice]
        if len(label) == 2:
            choice += progress.OUTCOME * (pick % self.twin.outcomes(*label, -1, 0))
        outcomes = self.run.step(choice)
        self.follow(outcomes)

    def take(self, *entry):
        """Run a step of a schedule in both."""
        self.run.take(*entry)
        self.follow()

    def follow(self, outcomes=None):
        """Take the step that the package has taken."""
        shown, options = self.twin.take(*self.run.schedule[-1])
        self.same("outcomes", outcomes or options, options)
        self.hold(set(self.run.trace[-1].hazards), shown)

    def hold(self, ours, theirs):
        self.same("hazards", ours, theirs)
        self.same("pages", pages_of(self.run), self.twin.model.log())
        self.same("steps", sorted(self.possible().values()), self.twin.possible())
        judged, self.kind = self.twin.judge()
        self.same("rest", set(self.run.judge()), judged)
        if self.kind:
            self.same("end", self.run.kind_of_end(), self.kind)
        self.shown = theirs | judged

    def same(self, what, ours, theirs):
        if ours != theirs:
            if what == "pages":
                ours, theirs = ({n: p[n] for n in p if ours[n] != theirs[n]} for p in (ours, theirs))
            way = "\n".join(map(str, self.run.schedule[-8:]))
            raise Differs(f"{what} after {len(self.run.schedule)} steps: {ours}, in the twin {theirs}, after\n{way}")


class Differs(AssertionError):
    """Package and twin are not the same any more."""


def walk(scenario, design, parameters, seed):
    """Take random steps to an end; says how many they were, and of which kind it is."""
    rng = np.random.default_rng(seed)
    both = Both(scenario, design, parameters)
    while both.kind is None:
        both.step(int(rng.choice(list(both.possible()))), int(rng.integers(12)))
    return len(both.run.schedule), both.kind


# ---- counterexamples

# Searches that plain Python does too, in a second or so: with and without reduction, and only with it.
WHOLE = [
    ("gup-fast-race", "hubbard-v2", {"fsync_rounds": 0}),
    ("gup-fast-race", "tracker=flag-sticky,cleaning=skip", {"fsync_rounds": 0}),
    ("gup-fast-race", "tracker=bias,cleaning=wait", {"flusher_rounds": 0}),
    ("mr-idle-fsync", "tracker=none,cleaning=ignore", {"flusher_rounds": 0, "transfers": 1}),
    ("mr-idle-fsync", "tracker=bias,cleaning=skip", {"flusher_rounds": 0, "transfers": 1}),
    ("mr-idle-fsync", "tracker=vma-full:release=split,cleaning=wait", {"flusher_rounds": 0, "transfers": 1}),
    ("truncate-dax", "v4.17", {}),
    ("truncate-dax", "tracker=bias", {"mapping": "cache"}),
    ("truncate-dax", "tracker=flag,truncate=wait", {"holder": "mr"}),
    ("wide-map", "tracker=bias", {"kswapd_rounds": 0, "flusher_rounds": 0}),
    ("wide-map", "tracker=pincount", {"count_max": 2, "kswapd_rounds": 0, "flusher_rounds": 0}),
    ("cma", "tracker=vma-common:release=backpointer", {}),
    ("gup-fast-race", "tracker=bias,cleaning=write-keep-dirty,order=check-first", {"fsync_rounds": 0}),
    ("gup-fast-race", "tracker=page-lock,cleaning=ignore", {"fsync_rounds": 0}),
    ("mr-idle-fsync", "tracker=page-lock:learns=after,cleaning=ignore", {"flusher_rounds": 0, "transfers": 1}),
    ("mr-idle-fsync", "tracker=bounce-pin,cleaning=ignore", {"flusher_rounds": 0, "transfers": 1}),
    (
        "mr-idle-fsync",
        "tracker=bias,cleaning=wait,longterm=lease,lease=wait",
        {"on_notice": "keep", "flusher_rounds": 0, "transfers": 1},
    ),
    ("truncate-dax", "tracker=none,longterm=lease,lease=wait,truncate=wait", {"holder": "mr", "on_notice": "keep"}),
    ("truncate-dax", "tracker=pte-bit,truncate=wait", {"holder": "mr"}),
    ("cma", "viro-page-lock", {}),
    ("wide-map", "tracker=mapcount,cleaning=skip", {"kswapd_rounds": 0, "mappings": 2, "registrations": 1}),
]
REDUCED = [
    ("golden-race", "tracker=lru-count,cleaning=ignore", {"flusher_rounds": 1, "kswapd_rounds": 0}),
    ("direct-io", "tracker=flag,cleaning=skip", {"bio_pages": 2, "journal": 0}),
    ("mr-idle-fsync", "v4.17", {"fsync_rounds": 0, "kswapd_rounds": 1, "transfers": 0}),
    ("fork-cow", "tracker=pincount", {"child_rounds": 0}),
    ("mr-idle-fsync", "kara-bounce-2023", {"flusher_rounds": 0, "fsync_rounds": 2}),
    ("mr-idle-fsync", "tracker=pte-bit,cleaning=skip", {"fsync_rounds": 0, "kswapd_rounds": 1, "transfers": 0}),
    ("mr-idle-fsync", "weiny-leases", {"flusher_rounds": 0}),
    ("direct-io", "tracker=vma-common:release=count:charge=any,cleaning=skip", {"bio_pages": 2, "writeback_ms": 0}),
]
TINY = [(*world, reduce) for world in WHOLE for reduce in (False, True)] + [(*world, True) for world in REDUCED]


def replay_all(scenario, design, parameters, **how):
    """Replay every counterexample of a search in both; says which hazards they show."""
    verdict = explore(scenario, design, conditional=False, **how, **parameters)
    reached = {name: hazard for name, hazard in verdict.hazards.items() if hazard.verdict == "reachable"}
    for name, hazard in reached.items():
        both = Both(scenario, design, parameters)
        for entry, told in zip(hazard.schedule, hazard.trace, strict=True):
            both.take(*entry)
            assert told.page < 0 or page_of(told) == both.twin.model.log()[told.page]
        assert name in both.shown
    return set(reached)


@pytest.mark.parametrize(("scenario", "design", "parameters", "reduce"), TINY)
def test_counterexamples_of_tiny_worlds(scenario, design, parameters, reduce):
    assert replay_all(scenario, design, parameters, reduce=reduce, max_states=3000)


def title(case):
    return "-".join([case.scenario, case.design, *(f"{k}={v}" for k, v in case.parameters.items())])


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("case", [case for case in CASES if case.reaches], ids=title)
def test_counterexamples_of_the_expected_verdicts(case):
    assert replay_all(case.scenario, case.design, case.parameters, reduce=True) == set(case.reaches)


def test_they_show_every_hazard():
    assert {name for case in CASES for name in case.reaches} == set(HAZARDS)


# ---- random walks

WORLDS = [
    ("golden-race", {}),
    ("golden-race", {"fsync_us": 1.0, "dirty": "always", "stable_pages": 0}),
    ("gup-fast-race", {}),
    ("gup-fast-race", {"gup_fast_steps": 0, "journal": 0, "flusher_rounds": 2}),
    ("direct-io", {}),
    ("direct-io", {"threads": 2, "qd": 1, "fsync_ms": 1.0, "gup_fast_steps": 1, "journal": 0}),
    ("direct-io", {"dio": "iomap", "bio_pages": 2, "gup_pages": 1, "reclaim_ms": 1.0, "sync_any": 0, "rounds": 2}),
    ("mr-idle-fsync", {"kswapd_rounds": 1}),
    ("mr-idle-fsync", {"registrations": 2, "dereg": 0, "dirty_on_release": 0}),
    ("mr-idle-fsync", {"on_notice": "keep", "kswapd_rounds": 1, "fsync_rounds": 2, "dereg": 0}),
    ("mr-idle-fsync", {"writer_rounds": 2, "flusher_rounds": 2, "fsync_rounds": 0, "dereg": 0}),
    ("fork-cow", {}),
    ("fork-cow", {"pin": "plain", "write_protect_seq": 0, "writer_rounds": 2}),
    ("truncate-dax", {}),
    ("truncate-dax", {"mapping": "cache", "holder": "mr", "registrations": 2, "transfers": 2}),
    ("truncate-dax", {"holder": "mr", "dereg": 0}),
    ("truncate-dax", {"holder": "mr", "on_notice": "keep", "registrations": 2}),
    ("wide-map", {}),
    ("cma", {}),
    ("cma", {"registrations": 2, "migrate_rounds": 3}),
]
DESIGNS = [
    "v4.17",
    "hubbard-v1",
    "hubbard-v2",
    "kara-virtual-vma",
    "v5.7",
    "v6.12",
    "kara-bounce-2023",
    "tracker=none,cleaning=report,order=check-first,fork=ask",
    "tracker=flag,cleaning=skip,reclaim_asks=before",
    "tracker=flag-sticky,cleaning=wait,wait_asks=once,ext4=warn",
    "tracker=bias:subtract_mapcount=yes,cleaning=wait,wait=unlocked,journal=dropped,truncate=wait",
    "tracker=pincount:learns=after,cleaning=skip,fork=ask,longterm=migrate-first",
    "tracker=lru-count,cleaning=wait,reclaim=ignore,truncate=wait,fork=ask",
    "tracker=vma-common:release=split:charge=any,cleaning=skip,truncated=found",
    "tracker=vma-common:release=count:charge=any,cleaning=wait,reclaim=ignore",
    "tracker=vma-common:release=backpointer,cleaning=skip,pins=rdma",
    "tracker=vma-full:release=count:when=after:charge=rightmost,cleaning=wait",
    "tracker=vma-full:release=split,cleaning=skip/wait,order=check-first,fork=ask",
    "tracker=vma-full:release=split:early_exit=no,cleaning=skip",
    "tracker=vma-common:release=count:early_exit=no,cleaning=wait,truncate=wait",
    "tracker=bias,cleaning=write-keep-dirty,order=check-first",
    "tracker=pincount,cleaning=bounce",
    "tracker=vma-common:release=backpointer,cleaning=write-keep-dirty/bounce,bounce=reserve",
    "viro-page-lock",
    "glisse-mapcount",
    "weiny-leases",
    "v6.1",
    "tracker=page-lock:learns=after,cleaning=wait",
    "tracker=page-lock,cleaning=skip,fork=ask,truncate=wait,longterm=migrate-first",
    "tracker=mapcount,cleaning=wait,reclaim_asks=before,longterm=lease",
    "tracker=mapcount:learns=after,cleaning=skip/wait,reclaim=skip,order=check-first,fork=ask",
    "tracker=mapcount,cleaning=write-keep-dirty,truncate=wait",
    "tracker=pte-bit,cleaning=wait,fork=ask",
    "tracker=pte-bit:learns=after,cleaning=skip,reclaim_asks=before,order=check-first,pins=rdma",
    "tracker=bounce-pin,cleaning=ignore,longterm=refuse+refuse-dax",
    "tracker=bounce-pin,cleaning=wait,longterm=lease,lease=fail,truncate=wait,fork=ask",
    "tracker=none,cleaning=ignore,longterm=notifier+refuse,truncate=wait",
    "tracker=bias,cleaning=wait,longterm=notifier+lease,lease=wait,reclaim_asks=before",
    "tracker=bounce-pin,cleaning=bounce,longterm=notifier+migrate-first",
    "tracker=bias,cleaning=wait,longterm=lease,lease=revoke,truncate=wait",
    "tracker=flag,cleaning=wait,wait=unlocked,longterm=lease,lease=fail",
    "tracker=vma-common:release=count,cleaning=skip/wait,longterm=lease,lease=wait,truncate=wait",
]


def walks(scenario, parameters, design, seeds=2):
    """Walk once for each seed; gives the kinds of ends."""
    return {walk(scenario, design, parameters, seed)[1] for seed in range(seeds)}


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize(
    ("scenario", "parameters"), WORLDS, ids=lambda part: part if isinstance(part, str) else "+".join(part)
)
def test_random_walks(scenario, parameters, design):
    assert walks(scenario, parameters, design) <= {"good", "deadlock", "stall", "bug", "other"}


def test_walks_go_through_every_scenario_and_end_in_many_ways():
    assert {scenario for scenario, _ in WORLDS} == set(SCENARIOS)
    found = walks("golden-race", {}, "hubbard-v1", 10) | walks("gup-fast-race", {}, "tracker=bias,cleaning=wait", 10)
    assert found | walks("fork-cow", {}, "tracker=flag-sticky,cleaning=wait") == {"good", "deadlock", "stall", "other"}


# ---- mutants: a step of the package does something wrong, and walks that agree without that differ


def nothing(*_):
    """Leave it out."""


def no(*_):
    """Say so, whatever is asked."""
    return False


def yes(*_):
    """Say so, whatever is asked."""
    return True


def then(run, break_page):
    """Run a step, and spoil the page that it was about."""

    def broken(*arguments):
        *_, world, t = arguments
        page = world.page[world.task[t]["page"]]
        run(*arguments)
        break_page(page)

    return broken


def share_writable(page):
    page["flags"] |= PTE_WRITE


END_PIN = bio._end_pin


def end_unseen(tracker, world, p, _):
    """End a pin as if nobody waited for it."""
    return END_PIN(tracker, world, p, False)


def forget_a_reference(page):
    page["_refcount"] -= 1


def keep_the_tag(page):
    page["flags"] |= TAG_DIRTY


RACE, CRASH = ("gup-fast-race", {}), ("golden-race", {})
WAIT = "tracker=bias,cleaning=wait,wait=unlocked,journal=dropped"
NO_PIN = ("truncate-dax", {"holder": "mr", "registrations": 2}, "tracker=bounce-pin,longterm=lease,truncate=wait")
PRIVATE = ("mr-idle-fsync", {"fsync_rounds": 9, "flusher_rounds": 0}, "tracker=bounce-pin,cleaning=ignore")
NOTIFIER = ("mr-idle-fsync", {"fsync_rounds": 2}, "tracker=none,cleaning=ignore,longterm=notifier")
LEASE = ("mr-idle-fsync", {"dereg": 0}, "tracker=flag,cleaning=wait,longterm=lease")
LEASED_DAX = ("truncate-dax", {"holder": "mr", "on_notice": "keep"}, "weiny-leases")
MUTANTS = {
    "the end of a pin wakes nobody": (bio, "_end_pin", end_unseen, (*RACE, WAIT), "steps|pages"),
    "the end of writeback wakes nobody": (bio, "wake_up_page", nothing, (*RACE, WAIT), "steps|pages"),
    "i_mmap_rwsem wakes nobody": (i_mmap, "wake", nothing, (*CRASH, "kara-virtual-vma"), "steps"),
    "DMA leaves memory as it was": (bio, "ghost_write", nothing, (*RACE, WAIT), "pages"),
    "an outdated answer is no hazard": (writeback, "act_on_no", nothing, (*RACE, "hubbard-v2"), "hazards"),
    "nobody judges the end": (engine, "judge_rest", lambda *_: 0, (*CRASH, "hubbard-v1"), "rest"),
    "buffers without a reference": (gup, "page_mkwrite", then(gup.page_mkwrite, forget_a_reference), (*CRASH, "v4.17"),
                                    "pages"),
    "a page cleaned stays tagged": (writeback, "clear_page_dirty_for_io",
                                    then(writeback.clear_page_dirty_for_io, keep_the_tag), (*RACE, WAIT), "pages"),
    "a bounce page has nothing in it": (writeback, "ghost_read", nothing,
                                        ("mr-idle-fsync", {}, "tracker=bias,cleaning=bounce"), "pages"),
    "fork does not write-protect": (fork, "fork_share", then(fork.fork_share, share_writable),
                                    ("fork-cow", {}, "v4.17"), "pages"),
    "migration drops a reference": (migrate, "migrate_unmap", then(migrate.migrate_unmap, forget_a_reference),
                                    ("cma", {}, "v4.17"), "pages"),
    "a pin that is the page lock stays locked": (page_lock, "unlock_page", nothing, (*RACE, "viro-page-lock"), "pages"),
    "who pins by the page lock waits for himself": (bio, "pins_by_lock", no, (*RACE, "viro-page-lock"), "pages"),
    "a walk takes pins for mappings": (i_mmap, "nr_ptes", lambda world, page: page["_mapcount"] + 1,
                                       (*RACE, "tracker=mapcount,cleaning=wait"), "hazards|steps"),
    "unmapping leaves the bit of the PTE": (i_mmap, "PTE_PINNED", 0,
                                            ("mr-idle-fsync", {"kswapd_rounds": 1}, "tracker=pte-bit,cleaning=ignore"),
                                            "pages"),
    "nothing is copied back": (rdma, "ghost_write", nothing, PRIVATE, "pages"),
    "private pages are in the copy": (bio, "is_elsewhere", no, PRIVATE, "hazards"),
    "what was no pin wakes nobody": (rdma, "wake_pin_waiters", nothing, NO_PIN, "steps|pages"),
    "cleaners leave the device's mapping": (writeback, "invalidate", yes, NOTIFIER, "steps|pages"),
    "nobody waits for the transfer of a device": (detached, "wait", nothing, NOTIFIER, "steps"),
    "nobody tells a lease holder": (writeback, "tell_holders", nothing, LEASE, "steps"),
    "the end of a lease wakes nobody": (rdma, "lease_changes", nothing, LEASED_DAX, "steps|pages"),
    "truncation asks for no lease": (truncate, "lease_held", no, LEASED_DAX, "steps|pages"),
}  # fmt: skip


@pytest.mark.skipif(JIT_ENABLED, reason="compiled code can't be changed; this is about the comparison")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_step_is_noticed(mutant, monkeypatch):
    module, name, broken, world, differs = MUTANTS[mutant]
    walks(*world, seeds=20)
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(Differs, match=f"^({differs}) after"):
        walks(*world, seeds=20)
