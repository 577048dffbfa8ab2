# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Write your own tracker: pinned ranges in a tree beside `i_mmap`
#
# **The claim.** In January 2023, in the talk about copying pinned pages at fork, Wilcox suggested once more "something
# similar to rmap which keeps track of a range of pinned pages", unpinned when the direct IO is done (2023-01-23). Kara
# answered that there are many other users of GUP, that direct IO is sensitive to any overhead, and that anonymous
# pages have to be covered too; abusing the reference count "looks like the least painful" (2023-01-24).
#
# **The experiment.** The idea as a design of one's own, in one file and from nothing: each inode has, beside `i_mmap`,
# a tree of pinned ranges under a spinlock of its own. Nobody who maps or unmaps meets these ranges, no rmap walk finds
# them, and there is nothing to sleep on: whoever wants to know asks the tree. The first version looks right in a run
# by the clock, and is not; the search of every interleaving says why, and says it again of the second; the third is
# checked in every scenario, and compared with `vma-common`, `bias` and `lru-count` where it costs something.
#
# **What it can't say.** What the tree would cost with other things on its mind than this model has; and how the range
# gets from the GUP call into the bio, which was the question in 2018 already (Kara, 2018-06-25,
# 20180625152150.jnf5suiubecfppcl@quack2). Here the bio has room for it.

# %% tags=["parameters"]
quick: bool = False  # fewer scenarios, fewer direct IOs
figures_dir: str = "../figures"  # folder for figures and tables
seed: int = 1  # of the runs by the clock
yours: str = ""  # one more tracker to compare, such as an absolute path/to/mine.py:MyTracker; empty: none

# %%
import os
import tempfile
from itertools import product
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

from workbench import charts, costs, designs, explore, simulate
from workbench.counterexample import as_mail
from workbench.provenance import provenance
from workbench.tables import number

folder = Path(figures_dir).resolve()
SOURCES = ["Kara 2023-01-24, answering Wilcox", "Kara 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2"]
aside = tempfile.TemporaryDirectory()  # the trackers are written here, and named by their files' names alone
os.chdir(aside.name)

# %% [markdown]
# ## What a tracker has to say
#
# A tracker is a `NamedTuple` of whole numbers, and a function for each thing that the kernel asks of it
# (CONTRIBUTING.md has the list). Two of the numbers every tracker has: `when` it learns of a pin, and what `lock` its
# functions run under. `RANGE_BEFORE`: of the whole range of a GUP call, before a page is taken. `LOCK_OWN`: under a
# spinlock of its own, with interrupts off, so that the completion interrupt can release a range itself; under
# `LOCK_NONE` ranges go under `i_mmap_rwsem`, which sleeps, and a kworker has to release them.
#
# A function counts what it does: `tally(world, R.SPIN_LOCK, 1)` is one spinlock taken and dropped, and costs what the
# cost table says. The functions of `workbench.mm.ranges` count for themselves.
#
# ## First version: a range goes when its IO completes

# %%
# %%writefile first.py
"""Pinned ranges in a tree of their own, beside i_mmap: a range goes when its direct IO completes."""

from typing import NamedTuple

from workbench.accelerate import step
from workbench.mm import registers as R
from workbench.mm.ranges import PIN_TREE, drop_range, first_range, insert_range, mark_first, new_range, note_bytes
from workbench.mm.world import tally
from workbench.sizes import PAGE_SIZE, per_slab_page
from workbench.trackers.protocol import LOCK_OWN, RANGE_BEFORE, implements

RANGES_PER_SLAB_PAGE = per_slab_page("pinned range, common node")


class PinTree(NamedTuple):
    """Ranges in `PIN_TREE`."""

    when: int = RANGE_BEFORE
    lock: int = LOCK_OWN


@implements(PinTree)
def pin_range(tracker, world, inode, start, n):
    tally(world, R.SPIN_LOCK, 1)
    r = new_range(world, start, start + n - 1, n)
    world.sys[R.RANGES] += 1
    insert_range(world, PIN_TREE, r)
    note_bytes(tracker, world)
    return -1  # whoever completes the IO has its pages, and nothing else


@implements(PinTree)
def unpin_range(tracker, world, inode, start, n, handle):
    release(world, start)


@implements(PinTree)
def forget_range(tracker, world, inode, first, last, handle):
    release(world, first)


@step
def release(world, page):
    """The IO is complete: its range goes."""
    tally(world, R.SPIN_LOCK, 1)
    r = first_range(world, PIN_TREE, page)
    if r != 0:
        mark_first(world, r)
        drop_range(world, PIN_TREE, r)


@implements(PinTree)
def is_pinned(tracker, world, page):
    tally(world, R.SPIN_LOCK, 1)
    return first_range(world, PIN_TREE, page) != 0


@implements(PinTree)
def bytes_in_use(tracker, world):
    return world.sys[R.LIVE_RANGES] * PAGE_SIZE // RANGES_PER_SLAB_PAGE


# %% [markdown]
# One run by the clock, of the crash of 2018: the flusher skips the page, and nothing happens to it. The same in every
# interleaving: no hazard can be reached.

# %%
POLICY = "cleaning=skip/wait"
FIRST = f"tracker=first.py:PinTree,{POLICY}"
WITHIN = " in a search that takes steps together which nobody else can notice"


def told(found):
    """What a search has found, in a line."""
    reached = [f"{name} in {h.depth} steps" for name, h in found.hazards.items() if h.verdict == "reachable"]
    complete = "complete" if found.complete else "not complete"
    return f"{', '.join(reached) or 'no hazard can be reached'} ({found.states} states, {complete})"


def search(scenario, design, **parameters):
    """Search every interleaving, but for those that differ in what nobody can notice."""
    return explore(scenario, design, reduce=True, conditional=False, **parameters)


run = simulate("golden-race", FIRST)
small = {"flusher_rounds": 1, "kswapd_rounds": 1} if quick else {}
found = search("golden-race", FIRST, **small)
Markdown(
    f"By the clock: pages skipped: {run.counters['SKIPPED']}; pins missed: {run.counters['MISSED_PIN']}. Every "
    f"interleaving of `golden-race`: {told(found)}."
)

# %% [markdown]
# That world has one page, one direct IO and one bio. `direct-io` has two direct IOs of two pages, in two bios each,
# which overlap by a page. There a pinned page is missed.


# %%
def counterexample(name, design, claim):
    """Draw the shortest way to a missed pin, save it, and print it as for a mail."""
    found = search("direct-io", design)
    missed = found.hazards["missed-pin"]
    if missed.verdict != "reachable":
        raise ValueError(f"missed-pin under {design}: {missed.verdict}; what is told here does not hold")
    figure, text = charts.space_time(
        missed.trace,
        title=f"missed-pin: direct-io under {design}",
        caption=charts.caption("model", None, f"{claim} Shortest{WITHIN}: {missed.depth} steps."),
    )
    charts.save(figure, f"own_{name}", folder, text, found.provenance, SOURCES)
    display(figure)
    print(as_mail(found, "missed-pin"))
    return missed.depth


too_early = counterexample("first", FIRST, "The range goes with the first of its two bios; the second is under way.")

# %% [markdown]
# "The IO completes" does not happen in one place: each *bio* completes, in an interrupt of its own, and the first one
# takes the whole range along. The device still writes into the other page when the flusher is told that it is not
# pinned.
#
# ## Second version: count the pages down
#
# So a range has to know how many of its pages are left: `pages_left` of its node. The completion has the bio's pages,
# and from a page the tree leads to the range. The field `release` is for later.

# %%
# %%writefile second.py
"""Pinned ranges in a tree of their own, beside i_mmap: a range goes with the last of its pages."""

from typing import NamedTuple

from workbench.accelerate import at, step
from workbench.mm import registers as R
from workbench.mm.ranges import PIN_TREE, drop_range, first_range, insert_range, mark_first, new_range, note_bytes
from workbench.mm.world import tally
from workbench.sizes import PAGE_SIZE, per_slab_page, size_of
from workbench.trackers.protocol import LOCK_OWN, RANGE_BEFORE, implements

RANGES_PER_SLAB_PAGE = per_slab_page("pinned range, common node")
POINTER = size_of("pointer")
BY_PAGE, BY_HANDLE = range(2)


class PinTree(NamedTuple):
    """Ranges in `PIN_TREE`, found by their pages, or by what the bio carries."""

    when: int = RANGE_BEFORE
    lock: int = LOCK_OWN
    release: int = BY_PAGE


@implements(PinTree)
def pin_range(tracker, world, inode, start, n):
    tally(world, R.SPIN_LOCK, 1)
    r = new_range(world, start, start + n - 1, n)
    world.sys[R.RANGES] += 1
    insert_range(world, PIN_TREE, r)
    note_bytes(tracker, world)
    return r if tracker.release == BY_HANDLE else -1


@implements(PinTree)
def unpin_range(tracker, world, inode, start, n, handle):
    release(tracker, world, start, n, handle)


@implements(PinTree)
def forget_range(tracker, world, inode, first, last, handle):
    release(tracker, world, first, last - first + 1, handle)


@step
def release(tracker, world, start, n, handle):
    """Charge each page to a range; the last one takes it along."""
    tally(world, R.SPIN_LOCK, 1)
    for page in range(start, start + n):
        r = handle if tracker.release == BY_HANDLE else first_range(world, PIN_TREE, page)
        if r == 0:
            world.sys[R.UNATTRIBUTED] += 1  # another release has been charged to the range of this one
            continue
        mark_first(world, r)
        row = at(world.node, r)
        row["pages_left"] -= 1
        if row["pages_left"] == 0:
            drop_range(world, PIN_TREE, r)


@implements(PinTree)
def is_pinned(tracker, world, page):
    tally(world, R.SPIN_LOCK, 1)
    return first_range(world, PIN_TREE, page) != 0


@implements(PinTree)
def bytes_in_use(tracker, world):
    carried = world.sys[R.BIO_ROWS] * POINTER if tracker.release == BY_HANDLE else 0
    return world.sys[R.LIVE_RANGES] * PAGE_SIZE // RANGES_PER_SLAB_PAGE + carried


# %%
SECOND = f"tracker=second.py:PinTree,{POLICY}"
too_few = counterexample("second", SECOND, "Two ranges cover a page, and its release is charged to the wrong one.")

# %% [markdown]
# Where two ranges cover a page, the page does not say whose release this is. The tree's first answer is the range that
# begins first; if the other direct IO completes, the first one is charged, and goes while a page of it is pinned, and
# the other one stays with a page too many. It is the second obstacle of 2018 over again, and the tree that is asked
# has nothing to do with it.
#
# ## Third version: the bio carries the range
#
# A field of the tracker is set by its name behind the class: `:release=1`. The handle that `pin_range` returns then
# comes back with the release of each of its pages.

# %%
THIRD = f"tracker=second.py:PinTree:release=1,{POLICY}"
mended = search("direct-io", THIRD)
if mended.hazards["missed-pin"].verdict != "unreachable":
    raise ValueError(f"missed-pin under {THIRD}: {mended.hazards['missed-pin'].verdict}")
Markdown(f"`{THIRD}` in `direct-io`: {told(mended)}.")

# %% [markdown]
# ## In every scenario
#
# A cell has what can be reached in that scenario, and in how many steps: direct IO, memory regions, truncation, other
# mappings, fork. Policies and everything else are the same for all.

# %%
NAMES = {
    "first.py": FIRST,
    "second.py, by page": SECOND,
    "second.py, by handle": THIRD,
    "vma-common, by handle": f"tracker=vma-common:release=backpointer,{POLICY}",
    "bias": f"tracker=bias,{POLICY}",
    "lru-count": f"tracker=lru-count,{POLICY}",
}
if yours:
    NAMES["yours"] = f"tracker={yours},{POLICY}"
QUICK = {"golden-race": small, "truncate-dax": {}}  # direct-io is above
FILES = ("golden-race", "direct-io", "gup-fast-race", "mr-idle-fsync", "truncate-dax", "wide-map", "fork-cow")
places = QUICK if quick else {name: {} for name in FILES}
ASKS = {"fork-cow": ",fork=ask", "truncate-dax": ",truncate=wait"}
compared = {name: design for name, design in NAMES.items() if not quick or name in (*list(NAMES)[1:3], "bias")}
cells, states = {}, 0
for name, design in compared.items():
    for place, parameters in places.items():
        found = search(place, design + ASKS.get(place, ""), **parameters)
        states += found.states
        reached = [f"{hazard} {h.depth}" for hazard, h in found.hazards.items() if h.verdict == "reachable"]
        unknown = "" if found.complete else "unknown"
        cells[name, place] = "; ".join([*reached, unknown] if unknown else reached) or "none"
table = pd.DataFrame({place: [cells[name, place] for name in compared] for place in places}, index=list(compared)).T
figure, text = charts.matrix(
    table,
    {"none": charts.FOUND["unreachable"], "unknown": charts.FOUND["unknown"], "": charts.FOUND["reachable"]},
    title="Hazards that can be reached, and in how many steps",
    corner="scenario",
    caption=charts.caption(
        "model", None, f"{POLICY} for all; a fork that asks, a truncation that waits. {states} states, steps taken "
        "together which nobody else can notice."
    ),
)  # fmt: skip
made_by = provenance(parameters={"designs": compared, "scenarios": places})
charts.save(figure, "own_hazards", folder, text, made_by, SOURCES)
figure

# %% [markdown]
# What a range tracker can't see is anonymous memory (`fork-cow`): it is in no file, and no inode has a tree for it;
# that is Kara's third point of 2023-01-24.
#
# ## What it costs
#
# Reads of 64 KiB, in four bios each, and of 4 KiB, at depth 64, all into one file: one inode, one tree, one lock. Each
# CPU brings a thread and 16 device units. What the tree saves against `vma-common` is the sleeping lock and the
# kworker; what it costs against `bias` is one lock for all CPUs that do IO to the same file.

# %%
cpu_counts = [1, 4, 16] if quick else [1, 2, 4, 8, 16, 32]
ios = 100 if quick else 1500
LOCKS = ("tracker_lock", "i_mmap_rwsem", "lru_lock")
SIZES = {"64 KiB in 4 bios": {"size_kib": 64, "extent_kib": 16, "qd": 64}, "4 KiB": {"size_kib": 4, "qd": 64}}
priced = {"none": "tracker=none"} | {name: design for name, design in NAMES.items() if name not in list(NAMES)[:2]}
rows = []
for name, design in priced.items():
    for (size, crowd), cpus in product(SIZES.items(), cpu_counts):
        result = simulate("direct-io", design, seed=seed, cpus=cpus, units=16 * cpus, tags=256 * cpus,
                          ios=ios * cpus, **crowd)  # fmt: skip
        m, tracker = result.metrics, designs.parse(design).tracker_name
        known = tracker if tracker in charts.STYLES else name
        rows.append({
            "design": known, "size": size, "cpus": cpus, "iops": m["iops"], "p99": m["latency_p99_ns"],
            "cpu_ns_per_io": m["cpu_ns_per_io"], "bytes": m["tracking_bytes_max"],
            "holds per IO": sum(m[f"{lock}_acquisitions"] for lock in LOCKS) / result.counters["DIOS"],
            "wait per IO": sum(m[f"{lock}_wait_ns"] for lock in LOCKS) / result.counters["DIOS"],
        })  # fmt: skip
frame = pd.DataFrame(rows)
made_by = provenance(
    scenario="direct-io", parameters={"designs": priced, "cpus": cpu_counts, "ios_per_cpu": ios, "sizes": SIZES},
    seed=seed, costs=costs.in_use(),
)  # fmt: skip
ABOUT = "Reads into one file, depth 64 and 16 device units per CPU; one seed."
figure, text = charts.lines(
    frame, "cpus", "iops", panels="size", logx=True, logy=True, xlabel="CPUs",
    title="Throughput against CPUs", caption=charts.caption("model", costs.in_use(), ABOUT),
)  # fmt: skip
charts.save(figure, "own_iops", folder, text, made_by, SOURCES)
figure

# %%
figure, text = charts.lines(
    frame, "cpus", "cpu_ns_per_io", panels="size", logx=True, logy=True, xlabel="CPUs",
    title="CPU time per direct IO, spinning included", caption=charts.caption("model", costs.in_use(), ABOUT),
)  # fmt: skip
charts.save(figure, "own_cpu", folder, text, made_by, SOURCES)
figure

# %%
most = cpu_counts[-1]
LARGE, SMALL = SIZES
at_most = frame[(frame["cpus"] == most) & (frame["size"] == LARGE)].set_index("design")
told_costs = pd.DataFrame(
    {
        "IOPS": [number(v, "1/s") for v in at_most["iops"]],
        "p99 latency": [number(v, "ns") for v in at_most["p99"]],
        "CPU per IO": [number(v, "ns") for v in at_most["cpu_ns_per_io"]],
        "lock holds per IO": [f"{v:.3g}" for v in at_most["holds per IO"]],
        "lock wait per IO": [number(v, "ns") for v in at_most["wait per IO"]],
        "memory at most": [number(v, "B") for v in at_most["bytes"]],
    },
    index=list(at_most.index),
)
figure, text = charts.matrix(
    told_costs, {}, corner="design", title=f"What it costs on {most} CPUs, {LARGE}",
    caption=charts.caption("model", costs.in_use(), f"{ABOUT} Locks: the tracker's own, i_mmap_rwsem, the LRU's."),
)  # fmt: skip
charts.save(figure, "own_costs", folder, text, made_by, SOURCES)
figure


# %%
def cost(design, size, cpus):
    """CPU time of a direct IO."""
    found = frame[(frame["design"] == design) & (frame["size"] == size) & (frame["cpus"] == cpus)]
    return float(found["cpu_ns_per_io"].iloc[0])


OWN, VMA = "second.py, by handle", "vma-common:release=backpointer"


def extra(size, cpus):
    """CPU time per IO more than without a tracker: the tree, bias and vma-common."""
    more = [number(cost(design, size, cpus) - cost("none", size, cpus), "ns") for design in (OWN, "bias", VMA)]
    return f"{more[0]} with the tree, {more[1]} with `bias`, {more[2]} with `vma-common`"


Markdown(
    "## What it found\n\n"
    f"- **The first version** drops a range at its first bio: found in {too_early} steps. **The second** counts pages, "
    f"and charges the wrong one of two ranges: {too_few} steps. Neither shows in the race of 2018, which has one "
    "page.\n"
    f"- **The third**, whose bios carry the range: {told(mended)} in `direct-io`. The tree is asked directly, so that "
    "a page that reclaim has unmapped is found too (`04_counterexamples` has the walk that does not find it).\n"
    f"- **Cost**, in CPU time per direct IO more than without a tracker. {LARGE}, one CPU: {extra(LARGE, 1)}; {most} "
    f"CPUs: {extra(LARGE, most)}. {SMALL}, one CPU: {extra(SMALL, 1)}; {most} CPUs: {extra(SMALL, most)}.\n"
    "- **Where they disagreed**, the answer turns on how many pages an IO has, for a range is one entry for all of "
    "them, and on how many CPUs do IO to one file at once, for the tree has one lock. And it has nothing to say of "
    "anonymous pages, whatever it costs.\n"
)
