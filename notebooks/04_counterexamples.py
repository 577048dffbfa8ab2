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
# # Counterexamples: the shortest way to each failure
#
# **The claims.** From 2018 on, each way of handling pinned pages was answered with a sequence of events in prose:
# "the first to finish removes the protection", "waiting deadlocks". Here each of these claims is put to the search of
# every interleaving, and what comes back is a shortest sequence of steps, or the statement that there is none.
#
# **The experiment.** Small worlds of one to three pages and a few actors; the same steps as in the other notebooks,
# in every order. A diagram has a lane per actor, time runs downwards, colour is what the page is; the hazard is
# marked. The text below it is the same for a mail: 72 columns, in brackets what has changed about the page.
#
# **What it can't say.** That a sequence is likely. And "unreachable" speaks of this world and these bounds.

# %% tags=["parameters"]
quick: bool = False  # small inputs; the worlds here are small already
figures_dir: str = "../figures"  # folder for figures and tables

# %%
from pathlib import Path

from IPython.display import Markdown, display

from workbench import charts
from workbench.counterexample import as_mail
from workbench.errors import UsageError
from workbench.explore import explore

folder = Path(figures_dir)
WITHIN = " in a search that takes steps together which nobody else can notice"
searched = []
lengths = {}


def search(scenario, design, whole=False, **parameters):
    """Search, and keep it for the table at the end; unless whole, interleavings that can't matter are left out."""
    found = explore(scenario, design, reduce=not whole, conditional=False, **parameters)
    searched.append(found)
    return found


def counterexample(name, hazard, scenario, design, claim, sources, **parameters):
    """Search, draw, save; the mail's text is shown below the figure."""
    whole = not quick and scenario != "direct-io"  # which is large
    found = search(scenario, design, whole, **parameters)
    reached = found.hazards[hazard]
    if reached.verdict != "reachable":
        raise UsageError(f"{hazard} in {scenario} under {design}: {reached.verdict}; the claim told here does not hold")
    figure, text = charts.space_time(
        reached.trace,
        title=f"{hazard}: {scenario} under {design}",
        caption=charts.caption(
            "model", None, f"{claim} Shortest of all sequences{'' if whole else WITHIN}: {reached.depth} steps."
        ),
    )
    lengths[name] = reached.depth
    charts.save(figure, f"counterexample_{name}", folder, text, found.provenance, sources)
    display(figure)
    print(as_mail(found, hazard))
    return found


def not_under(hazard, scenario, *designs, **parameters):
    """Say what becomes of the hazard under other designs, in the same scenario."""
    lines = []
    for design in designs:
        found = search(scenario, design, **parameters)
        reached = found.hazards[hazard]
        steps = f" in {reached.depth} steps" if reached.depth else ""
        lines.append(f"- `{design}`: {reached.verdict}{steps} ({found.states} states)")
    told = " ".join(f"`{key}={value}`" for key, value in parameters.items())
    return Markdown(f"{hazard} in {scenario} {told}\n\n" + "\n".join(lines))


# %% [markdown]
# ## A page dirtied without buffers: the crash of 2018
#
# Kara, 2018-01-03, 20180103100430.GE4911@quack2. Reclaim does not write the page; the flusher cleans it, and reclaim
# only strips what is clean.

# %%
counterexample(
    "bufferless_dirty", "bufferless-dirty", "golden-race", "v4.17",
    "Direct IO into a mapped page, cleaned and stripped meanwhile.",
    ["Kara 2018-01-03, 20180103100430.GE4911@quack2", "v4.17 mm/vmscan.c, fs/ext4/inode.c"],
)  # fmt: skip
not_under("bufferless-dirty", "golden-race", "v6.12", "tracker=bias,cleaning=skip/wait,reclaim=skip")

# %% [markdown]
# ## A page that changes while it is written
#
# Kara, 2018-06-19: checksums, parity and DIF tags are computed over bytes that DMA still changes.
# `wait_for_stable_page` stops writers that fault; a device does not fault. v6.12 counts pins, and writeback does not
# ask.

# %%
counterexample(
    "unstable_write", "unstable-write", "golden-race", "v4.17",
    "DMA between start and end of writeback.",
    ["Kara 2018-06-19, [PATCH 2/2] mm: set PG_dma_pinned", "v4.17 mm/page-writeback.c wait_for_stable_page"],
)  # fmt: skip
not_under("unstable-write", "golden-race", "v6.12", "tracker=bias,cleaning=skip/wait,reclaim=skip")

# %% [markdown]
# ## fsync that lies
#
# Kara, 2023-02-14 (thread of 20230209121046.25360-1-jack): to keep a region registered, finish a transfer and then
# call fsync is a legitimate use. The second transfer changes a page that was cleaned after the first one, and nothing
# marks it dirty.

# %%
counterexample(
    "fsync_lie", "fsync-lie", "mr-idle-fsync", "v4.17",
    "A transfer that was polled before fsync is not on disk after it.",
    ["Kara 2023-02-14, in the thread of 20230209121046.25360-1-jack"],
)  # fmt: skip
not_under("fsync-lie", "mr-idle-fsync", "v6.12", "tracker=bias,cleaning=skip/wait", "tracker=bias,cleaning=skip/report")

# %% [markdown]
# ## A flag without a count
#
# Hellwig, 2018-06-18: two threads pin the same page, and the first to finish removes the protection; with direct IO
# that is trivial. A count does not lose it.

# %%
FLAG = "tracker=flag,cleaning=skip/wait"
SOURCE = ["Hellwig 2018-06-18, [PATCH 2/2] mm: set PG_dma_pinned on get_user_pages*()"]
counterexample(
    "missed_pin_flag", "missed-pin", "direct-io", FLAG,
    "Two direct IOs pin one page; who lets go of it first clears the flag. GUP-fast is one step here.", SOURCE,
    gup_fast_steps=0,
)  # fmt: skip

# %% [markdown]
# The same with GUP-fast in its three steps: one who backs out, because the PTE has changed, lets go of a pin too.

# %%
counterexample(
    "missed_pin_flag_gup_fast", "missed-pin", "direct-io", FLAG,
    "Two direct IOs pin one page; who lets go of it first clears the flag.", SOURCE,
)  # fmt: skip
not_under("missed-pin", "direct-io", "tracker=bias,cleaning=skip/wait", "tracker=lru-count,cleaning=skip/wait")

# %% [markdown]
# ## Asking first, with GUP-fast
#
# Kara, 2018-07-02, on 20180702005654.20369-7-jhubbard: write-protect first, then look for the pin. The ordering
# argument is that of 20190117093047.GB9378@quack2: who pinned before the PTE was write-protected is seen, who comes
# later must fault.

# %%
counterexample(
    "missed_pin_check_first", "missed-pin", "gup-fast-race", "tracker=bias,cleaning=skip/wait,order=check-first",
    "The answer is right when it is given, and wrong when it is acted upon.",
    ["Kara 2018-07-02, on 20180702005654.20369-7-jhubbard", "Kara 2019-01-17, 20190117093047.GB9378@quack2"],
)  # fmt: skip
not_under("missed-pin", "gup-fast-race", "tracker=bias,cleaning=skip/wait", "tracker=flag,cleaning=skip/wait")

# %% [markdown]
# ## Ranges that overlap, released by page
#
# The second obstacle of Kara's mail of 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2: from the completion of a
# bio it is hard to get at the range. Where a page leads to it through the tree, and two ranges cover the page, the
# wrong one may be charged, and goes while a page of it is still pinned. It takes an overlap; and the range in the
# bio, or cutting the range, avoids it.

# %%
COUNT = "tracker=vma-common:release=count,cleaning=skip/wait"
counterexample(
    "missed_pin_overlap", "missed-pin", "direct-io", COUNT,
    "Two ranges share a page; the release of one is charged to the other.",
    ["Kara 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2"],
)  # fmt: skip
display(not_under("missed-pin", "direct-io", *(COUNT.replace("count", r) for r in ("split", "backpointer"))))
not_under("missed-pin", "direct-io", COUNT, shift=2)

# %% [markdown]
# ## Found by the rmap walk, or not found
#
# `page_mkclean` returns at once for a page that nobody maps (v4.17 mm/rmap.c), so a pin that is an entry in `i_mmap`
# is not found once reclaim has unmapped the page. The mails that were read do not mention it.

# %%
counterexample(
    "missed_pin_early_exit", "missed-pin", "golden-race", "kara-virtual-vma",
    "Reclaim unmaps the page; page_mkclean does not walk the tree.",
    ["Kara 2018-06-19 and 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2", "v4.17 mm/rmap.c page_mkclean"],
)  # fmt: skip
not_under("missed-pin", "golden-race", "tracker=vma-common:release=count:early_exit=no,cleaning=skip/wait,isize=wait")

# %% [markdown]
# ## A flag that only eviction clears
#
# PG_dma_pinned as first posted (Hubbard, 2018-06-16); Kara's answer of 2018-06-19: the flag is cleared by eviction,
# eviction waits for the flag. Nothing ever ends it.

# %%
counterexample(
    "stall_sticky_flag", "stall", "golden-race", "hubbard-v1",
    "The last pin has gone, the flag stays, and reclaim leaves the page for ever.",
    ["Hubbard 2018-06-16, [PATCH 2/2] mm: set PG_dma_pinned on get_user_pages*()", "Kara 2018-06-19, same thread"],
)  # fmt: skip
not_under("stall", "golden-race", "hubbard-v2", "v6.12")

# %% [markdown]
# ## fsync waits for a memory region
#
# Kara, 2018-06-20: long-term users must be told to release, else the system becomes unusable. Gunthorpe, 2018-07-09:
# who holds a region and calls fsync on its own file waits for himself.

# %%
counterexample(
    "stall_longterm", "stall", "mr-idle-fsync", "tracker=bias,cleaning=ignore/wait",
    "The holder is idle and need never release its pin.",
    ["Kara 2018-06-20, [PATCH 2/2] mm: set PG_dma_pinned", "Gunthorpe 2018-07-09, put_user_page() proposal"],
)  # fmt: skip
not_under(
    "stall",
    "mr-idle-fsync",
    "v6.12",
    "tracker=bias,cleaning=ignore/report",
    "tracker=bias,cleaning=ignore/wait,longterm=refuse",
)

# %% [markdown]
# ## A page that stays dirty, and everybody else
#
# Romanovsky, 2018-07-02: will writeback run non-stop on pages that are dirty and can't be written? Kara, 2018-07-10,
# 20180710082100.mkdwngdv5kkrcz6n@quack2, left open whether a pinned page that was written stays dirty. If it does, it
# counts in balance_dirty_pages as long as the pin stays, and who writes to other pages is held up for as long.

# %%
KEEP = "tracker=bias,cleaning=write-keep-dirty"
WRITER = dict(fsync_rounds=0, writer_rounds=1)
counterexample(
    "stall_balance_dirty_pages", "stall", "mr-idle-fsync", KEEP,
    "The holder is idle, the page stays dirty, and a writer to another page waits for it.",
    ["Romanovsky 2018-07-02, [PATCH 2/2] mm: set PG_dma_pinned", "Kara 2018-07-10", "v4.17 mm/page-writeback.c"],
    **WRITER,
)  # fmt: skip
not_under(
    "stall",
    "mr-idle-fsync",
    "tracker=bias,cleaning=bounce,bounce=reserve",
    "tracker=bias,cleaning=write-keep-dirty,longterm=notifier",
    **WRITER,
)

# %% [markdown]
# ## The page lock as a pin
#
# Viro's idea, as Kara told it on 2018-06-19, and what he said against it at once: the page would stay locked across
# `get_block`. A commit has to end for that, and it waits for writeback, which wants the page lock.

# %%
counterexample(
    "deadlock_page_lock", "deadlock", "golden-race", "viro-page-lock",
    "The flusher has a handle and waits for the page lock; direct IO has the lock and waits for the handle.",
    ["Kara 2018-06-19, [PATCH 2/2] mm: set PG_dma_pinned"],
)  # fmt: skip
not_under("deadlock", "golden-race", "viro-page-lock", journal=0)

# %% [markdown]
# ## Pins counted as mappings
#
# Glisse, 2018-12-12: what `_mapcount` says beyond the PTEs that a walk finds is pins. Kara, 2018-12-19: a process that
# unmaps the page during the walk takes one away. The count of all mappings is read when the walk is over.

# %%
counterexample(
    "missed_pin_zap", "missed-pin", "wide-map", "tracker=mapcount,cleaning=skip",
    "A mapping goes between the walk, which has counted it, and the look at _mapcount.",
    ["Glisse 2018-12-12", "Kara 2018-12-19 (zap_pte_range)"],
)  # fmt: skip
not_under("missed-pin", "wide-map", "tracker=pincount,cleaning=skip", "tracker=bias,cleaning=skip")

# %% [markdown]
# ## Private pages for long-term users
#
# Kara, 2018-01-25: give them pages of their own, and copy these back at the end. Then the file's page is never pinned,
# and never has the data either, as long as the region is registered. A device that gives its mapping back when it is
# asked to has neither trouble.

# %%
counterexample(
    "fsync_lie_private", "fsync-lie", "mr-idle-fsync", "tracker=bounce-pin",
    "A transfer that was polled before fsync is in a private page.",
    ["Kara 2018-01-25, [LSF/MM TOPIC] get_user_pages() and filesystems"],
)  # fmt: skip
not_under("fsync-lie", "mr-idle-fsync", "tracker=none,longterm=notifier")

# %% [markdown]
# ## Waiting inside a transaction
#
# Kara, 2018-07-09, 20180709160806.xjt2l2pbmyiutbyi@quack2: writeback of ext4 holds a transaction while it waits for a
# pin; direct IO holds the pin, and its get_block waits for the transaction. Below the shortest sequence: what becomes
# of it if the handle is dropped while it waits, if the page lock is dropped too, and under iomap, which maps blocks
# before GUP.

# %%
WAIT = "tracker=bias,cleaning=wait"
counterexample(
    "deadlock_transaction", "deadlock", "direct-io", WAIT,
    "Each waits for what the other one holds.",
    ["Kara 2018-07-09, 20180709160806.xjt2l2pbmyiutbyi@quack2"],
)  # fmt: skip
DROPPED = WAIT + ",journal=dropped"
display(not_under("deadlock", "direct-io", "tracker=bias,cleaning=skip", DROPPED, DROPPED + ",wait=unlocked"))
not_under("deadlock", "direct-io", WAIT, dio="iomap")

# %% [markdown]
# ## fork: device and owner look at different pages
#
# Hildenbrand, 2021-11-15, 3ae33b08-d9ef-f846-56fb-645e3b9b4c66@redhat: after fork, the first write gives the parent a
# copy, and the device goes on with the page that is now the child's.

# %%
counterexample(
    "cow_alias", "cow-alias", "fork-cow", "v4.17",
    "The owner's PTE moves to a copy while the device uses the page.",
    ["Hildenbrand 2021-11-15, 3ae33b08-d9ef-f846-56fb-645e3b9b4c66@redhat", "v4.17 mm/memory.c do_wp_page"],
)  # fmt: skip
not_under("cow-alias", "fork-cow", "v6.12", "tracker=bias,cleaning=ignore,fork=ask")

# %% [markdown]
# ## Truncation frees a block that a device still writes
#
# Williams, 2018-06-17: on DAX the page is the block. Truncation that does not wait for idle pages frees it under the
# pin.

# %%
counterexample(
    "truncate_write", "truncate-write", "truncate-dax", "v4.17",
    "The block belongs to nobody, or to another file, when the DMA comes.",
    ["Williams 2018-06-17, [PATCH 2/2] mm: set PG_dma_pinned", "v4.17 fs/dax.c dax_disassociate_entry"],
)  # fmt: skip
not_under("truncate-write", "truncate-dax", "v6.12", "tracker=none,cleaning=ignore,truncate=wait")

# %% [markdown]
# ## What it found

# %%
biggest = max(searched, key=lambda found: found.states)
short, long = min(lengths, key=lengths.get), max(lengths, key=lengths.get)
Markdown(
    f"Each of the {len(lengths)} claims above holds under the design that it was made about. The shortest sequence, "
    f"`{short}`, has {lengths[short]} steps, the longest, `{long}`, {lengths[long]}. What becomes of each claim under "
    "other designs stands below it.\n\n"
    f"{len(searched)} searches, {sum(found.states for found in searched)} states; "
    f"{sum(found.complete for found in searched)} complete. The largest: {biggest.scenario} under "
    f"`{biggest.design}`, {biggest.states} states, {biggest.transitions} transitions, depth {biggest.depth}."
)
