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
# # The golden race: a page that lost its buffers
#
# **The claim.** Jan Kara, 2018-01-03, "Filesystem crashes due to pages without buffers"
# (20180103100430.GE4911@quack2): a direct IO reads from one file into a shared mapping of another. GUP takes a
# write fault, so the page gets its buffers and is dirty. While the device is at work, the flusher write-protects
# and cleans the page, and reclaim strips the clean page of its buffers, though it can't free it. Then the IO
# completes and dirties the page. ext4 meets a dirty page without buffers, and that was a BUG_ON.
#
# **The experiment.** One page, one direct IO, one flusher, one kswapd, and the steps that the kernel takes, each with
# the page's state after it. The times of flusher and reclaim are chosen so that they fall into the IO: what is shown
# is that the order is possible, not how often it comes. Then the same steps under the designs of the thread.
#
# Reclaim does not write the page here, as it wouldn't in v4.17: `pageout()` gives up on a page with an extra
# reference before it would clean it (v4.17 mm/vmscan.c). The flusher cleans, reclaim only strips.

# %% tags=["parameters"]
quick: bool = False  # small inputs; this notebook is small already
figures_dir: str = "../figures"  # folder for figures, tables and results
seed: int = 1  # seed of the random numbers; nothing is drawn in this scenario
read_us: float = 1000.0  # time in which the device serves the direct IO [us]

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from workbench import charts, costs, designs, results
from workbench.errors import UsageError
from workbench.mm import page as flags
from workbench.provenance import provenance
from workbench.simulate import simulate
from workbench.tables import number

folder = Path(figures_dir)
pd.set_option("display.max_colwidth", 60)
KARA = "Kara 2018-01-03, 20180103100430.GE4911@quack2"
rows = []


def holds(condition):
    """Stop where the parameters no longer tell the story that is told here."""
    if not condition:
        raise UsageError(f"read_us={read_us:g}: with this the steps come in another order; give about 1000 us")


def run(design, **parameters):
    """One run, kept as a row of results."""
    result = simulate("golden-race", design, seed=seed, read_us=read_us, **parameters)
    tracker = designs.parse(design).tracker_name
    rows.append(results.row(result.provenance, tracker, result.metrics, result.counters))
    return result


# %% [markdown]
# A step of the log becomes a line of the walk-through if it changes the page, or if it is where the story turns.

# %%
ACTORS = {"dio": "direct IO", "irq": "device, irq", "kworker": "kworker", "writeback": "", "kswapd": "kswapd"}
WORDS = {
    ("dio", "gup_pages"): "get_user_pages_fast() takes a reference",
    ("dio", "fault_lock"): "write fault: lock_page()",
    ("dio", "page_mkwrite"): "->page_mkwrite(): buffers, dirty",
    ("dio", "fault_pte"): "PTE writable",
    ("dio", "fault_unlock"): "unlock_page()",
    ("dio", "pin_pages"): "isolate_lru_page(), pin count 1",
    ("dio", "range_insert"): "virtual VMA into i_mmap",
    ("dio", "submit_bio"): "submit_bio(): DMA may begin",
    ("writeback", "lock_page"): "lock_page()",
    ("writeback", "page_mkclean"): "page_mkclean(): PTE write-protected",
    ("writeback", "decide"): "waits until it is not pinned",
    ("writeback", "clear_page_dirty_for_io"): "clear_page_dirty_for_io(), set_page_writeback()",
    ("writeback", "wait_writeback"): "wait_on_page_writeback()",
    ("irq", "end_page_writeback"): "end_page_writeback()",
    ("irq", "release_pages"): "unpin, put_page()",
    ("kworker", "set_page_dirty_lock"): "bio_dirty_fn: set_page_dirty_lock()",
    ("kworker", "range_release"): "range out of i_mmap",
    ("kworker", "release_pages"): "unpin, put_page()",
    ("kswapd", "isolate"): "isolate_lru_page()",
    ("kswapd", "trylock_page"): "trylock_page()",
    ("kswapd", "try_to_unmap"): "try_to_unmap()",
    ("kswapd", "try_to_release_page"): "try_to_release_page(): buffers gone",
    ("kswapd", "remove_mapping"): "__remove_mapping()",
    ("kswapd", "putback"): "putback_lru_page()",
}
ALWAYS = {("dio", "submit_bio"), ("writeback", "ask"), ("kswapd", "remove_mapping"), ("irq", "check_pages_dirty")}
SHOWN = ["flags", "refcount", "mapcount", "pins", "data"]  # what of the page counts as a change


def in_words(row, dirtied):
    """What the page is, in the words that colour the figure."""
    if not row["flags"] & flags.PG_CACHED:
        return "free"
    state = "writeback" if row["flags"] & flags.PG_WRITEBACK else "dirty" if row["flags"] & flags.PG_DIRTY else "clean"
    if not dirtied:
        return f"{state}, never written to"
    if not row["flags"] & flags.PG_PRIVATE:
        state += ", no buffers"
    if state.startswith("clean") and row["data"] & flags.NEWER_THAN_DISK:
        state = f"lost: {state}, newer than disk" if row["pins"] == 0 else f"{state}, DMA landed"
    return state


def step_in_words(row, later):
    """What a step did; the answer that a cleaner got shows in what it does next."""
    key = (row["program"], row["step"])
    if key == ("irq", "take_bio"):
        return "DMA has written the page; interrupt"
    if key == ("irq", "check_pages_dirty"):
        return "bio_check_pages_dirty(): " + ("dirty" if row["flags"] & flags.PG_DIRTY else "clean: to a kworker")
    if key == ("writeback", "ask"):
        cleans = [r["step"] == "clear_page_dirty_for_io" for r in later if r["actor"] == row["actor"]][:3]
        return "pinned? " + ("no" if any(cleans) else "yes")
    return WORDS.get(key, row["step"])


def walk_through(result, until_us=float("inf")):
    """The log of a run in the words of the story: actor, step, the page after it."""
    told, before, dirtied = [], None, False
    log = result.log.to_dict("records")
    for place, row in enumerate(log):
        key = (row["program"], row["step"])
        page_now = [row[name] for name in SHOWN]
        dirtied = dirtied or bool(row["flags"] & flags.PG_DIRTY)
        step, actor = step_in_words(row, log[place + 1 :]), ACTORS[row["program"]] or row["actor"]
        if row["time_ps"] / 1e6 > until_us:
            break
        changed = before is not None and page_now != before
        before = page_now
        if not (changed or key in ALWAYS):
            continue
        told.append({"time": row["time_ps"] / 1000, "actor": actor, "step": step, "state": in_words(row, dirtied),
                     "refcount": row["refcount"], "mapcount": row["mapcount"] + 1, "true pins": row["pins"],
                     "flags": row["state"]})  # fmt: skip
    frame = pd.DataFrame(told)
    if result.counters["FS_BUG"]:
        met = frame[frame["step"].eq("lock_page()") & frame["state"].eq("dirty, no buffers")].index[0]
        frame.loc[met, ["step", "state"]] = ["lock_page(); page_buffers(): BUG_ON", "BUG: dirty, no buffers"]
        frame = frame.loc[:met]
    if result.counters["DATA_DROPPED"]:
        met = frame[frame["state"].str.startswith("lost")].index[0]
        frame.loc[met, "step"] = "lock_page(); no buffers: warns, clears dirty"
    for waits in result.stuck:
        actor, _, what = waits.partition(" ")
        frame = pd.concat([frame, frame.tail(1).assign(time=float("nan"), actor=actor, step=f"{what}, for ever")])
    return frame.reset_index(drop=True)


def show(name, title, design, story, sources, until_us=float("inf"), **parameters):
    """Run, draw, save."""
    result = run(design, **parameters)
    told = walk_through(result, until_us)
    figure, text = charts.space_time(told, title=title, caption=charts.caption("model", costs.in_use(), story))
    charts.save(figure, name, folder, text, result.provenance, sources)
    return result, told, figure


# %% [markdown]
# ## v4.17: to the BUG_ON
#
# Time is shown at the left; colour is what the page is after the step.

# %%
crash, crash_steps, figure = show(
    "golden_race_v4_17",
    "The crash of 2018, step by step (v4.17)",
    "v4.17",
    "Times of flusher and kswapd are chosen; the order of steps is the kernel's.",
    [KARA, "v4.17 mm/page-writeback.c, mm/vmscan.c, block/bio.c, fs/ext4/inode.c"],
)
holds(crash.counters["FS_BUG"] == 1 and crash.counters["BUFFERLESS_DIRTY"] == 1)
figure

# %% [markdown]
# The same steps with the whole state of the page: `mapcount` counts PTEs here, `true pins` is what no kernel of 2018
# could see.

# %%
crash_steps.assign(time=[number(t, "ns") for t in crash_steps["time"]]).set_index("time")

# %%
stripped = crash_steps[crash_steps["step"].str.contains("buffers gone")].iloc[0]
Markdown(
    f"The flusher cleaned {crash.counters['CLEANED']} page with {crash_steps['true pins'].max()} true pin. kswapd took "
    f"the buffers at {number(stripped['time'], 'ns')}, while the page still had {stripped['refcount']} references; "
    f"at its end `__remove_mapping()` could not freeze them. The completion dirtied a page without buffers "
    f"({crash.counters['BUFFERLESS_DIRTY']} time), and the flusher's next round ended in "
    f"{crash.counters['FS_BUG']} BUG_ON; its thread is dead, and the page stays locked."
)

# %% [markdown]
# ## Since 2022: no crash, the data are dropped
#
# In March 2022 ext4 began to warn, to clear the dirty bit and to go on (Ts'o, 2022-03-03, YiDS9wVfq4mM2jGK@mit.edu).
# With plain references, as direct IO took them until 2023, the same order of steps then ends without a crash, and
# without the data.

# %%
WARN = "tracker=none,cleaning=ignore,ext4=warn"
dropped, dropped_steps, figure = show(
    "golden_race_warn_and_drop",
    "The same steps with ext4 since 2022: it warns and drops",
    WARN,
    "The first part, up to the IO's completion, is as in v4.17.",
    [KARA, "Ts'o 2022-03-03, YiDS9wVfq4mM2jGK@mit.edu"],
)
holds(dropped.counters["FS_BUG"] == 0 and dropped.counters["DATA_DROPPED"] == 1)
figure

# %%
Markdown(
    f"BUG_ON: {dropped.counters['FS_BUG']}. Pages whose data were dropped: {dropped.counters['DATA_DROPPED']}. Pages "
    f"that reclaim then freed with memory newer than disk: {dropped.counters['LOST_UPDATE']}. "
    '"No crash" is not "no lost update".'
)

# %% [markdown]
# ## v6.12: reclaim asks, writeback does not
#
# The bias makes pins visible, direct IO uses it since 2023, and reclaim keeps pinned pages
# (Kara, commit d824ec2a1546): the buffers stay. But nothing in generic writeback asks
# (`folio_clear_dirty_for_io` in v6.12): the flusher still cleans a pinned page. With a slow disk the read lands in a
# page that is being written; where the disk's copy has a checksum, it no longer fits. A device that asks for
# stable pages does not help: `wait_for_stable_page` stops writers that fault, and DMA does not.

# %%
unstable, unstable_steps, figure = show(
    "golden_race_v6_12_unstable",
    "v6.12: buffers stay, but DMA lands in a page under writeback",
    "v6.12",
    "The disk takes 1.5 ms for the writeback; it asks for stable pages.",
    ["v6.12 mm/gup.c, mm/vmscan.c, mm/page-writeback.c"],
    until_us=1800.0,
    writeback_us=1500.0,
    flusher_period_us=2000.0,
    stable_pages=1,
)
holds(unstable.counters["UNSTABLE_WRITE"] == 1 and unstable.counters["BUFFERS_DROPPED"] == 0)
figure

# %% [markdown]
# ## hubbard-v1: the flag that only eviction clears
#
# PG_dma_pinned as first posted (Hubbard, 2018-06-16): GUP sets it, `try_to_unmap_one` fails, so reclaim does not
# reach the buffers; `page_mkclean` is untouched. The flag goes only when the page is freed.
#
# Kara's answer (2018-06-19): `page_mkclean` must be taught too; but then the page can't be written until the flag
# is cleared, the flag is cleared by eviction, and eviction waits for writeback. Here is that cycle: the same flag,
# with a flusher that skips pinned pages and an fsync that waits for them.

# %%
v1 = run("hubbard-v1")
TAUGHT = "tracker=flag-sticky,cleaning=skip/wait,reclaim=skip,reclaim_asks=before"
cycle, cycle_steps, figure = show(
    "golden_race_sticky_flag",
    "A flag that only eviction clears, and a page_mkclean that honours it",
    TAUGHT,
    "fsync begins at 0.2 ms, the flusher at 3 ms.",
    ["Hubbard 2018-06-16, [PATCH 2/2] mm: set PG_dma_pinned on get_user_pages*()", "Kara 2018-06-19, same thread"],
    fsync_us=200.0,
    flusher_us=3000.0,
    flusher_rounds=1,
    kswapd_period_us=3500.0,
)
holds(v1.counters["BUFFERS_DROPPED"] == 0 and cycle.stuck)
figure

# %%
Markdown(
    f"As posted, reclaim kept the page {v1.counters['KEPT_PINNED']} times and no buffers were lost "
    f"({v1.counters['BUFFERS_DROPPED']}). The flusher cleaned it {v1.counters['CLEANED']} times. After "
    f"the last put the flag is still set on {v1.metrics['stale_pages']} page: it can't be reclaimed any more. With "
    f"`page_mkclean` taught: {'; '.join(cycle.stuck)}. Nothing that could still happen ends either wait."
)

# %% [markdown]
# ## The virtual VMA: found by the rmap walk, or not found
#
# Kara's idea (2018-06-19): the pinned range is an entry in the inode's `i_mmap` tree, and `page_mkclean` finds it in
# its normal walk. In the order of the 2018 mail that works: the flusher skips, the page stays dirty, reclaim leaves
# dirty pages alone. But the walk of v4.17 does not begin for an unmapped page: `page_mkclean` returns at once if
# `!page_mapped(page)` (mm/rmap.c). So let reclaim come first: it unmaps, finds the page dirty, and leaves it.

# %%
kara = run("kara-virtual-vma")
FIRST = {"kswapd_us": 100.0, "kswapd_period_us": 400.0, "kswapd_rounds": 2}
missed, missed_steps, figure = show(
    "golden_race_virtual_vma_missed",
    "Virtual VMA: unmapped by reclaim, and not found by page_mkclean",
    "kara-virtual-vma",
    "kswapd begins at 0.1 ms, before the flusher.",
    ["Kara 2018-06-19 and 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2", "v4.17 mm/rmap.c page_mkclean"],
    **FIRST,
)
walked = run("tracker=vma-common:release=count:early_exit=no,cleaning=skip/wait,isize=wait", **FIRST)
holds(kara.counters["FS_BUG"] == 0 and missed.counters["FS_BUG"] == 1 and walked.counters["FS_BUG"] == 0)
figure

# %%
Markdown(
    f"In the order of the mail: {kara.counters['SKIPPED']} page skipped, {kara.counters['FS_BUG']} BUG_ON. With "
    f"reclaim first: pins missed {missed.counters['MISSED_PIN']}, BUG_ON {missed.counters['FS_BUG']}. With the early "
    f"exit gone (`early_exit=no`): pins missed {walked.counters['MISSED_PIN']}, BUG_ON {walked.counters['FS_BUG']}. "
    "The design needs that change, or a mapcount for its entries; the mails that were read do not mention it."
)

# %% [markdown]
# ## Every design, four orders of events, stable pages off and on
#
# | order | what is set |
# | --- | --- |
# | flusher, reclaim | as in the mail |
# | reclaim first | kswapd begins before the flusher |
# | slow writeback | the disk takes 1.5 ms: the read completes during the writeback |
# | fsync | fsync at 0.2 ms in the place of the flusher, which comes at 3 ms |
#
# There is one page, and one pin of it: what a flag gets wrong where two pin the same page (Hellwig, 2018-06-18) can't
# show here, but does in the next notebook.

# %%
DESIGNS = {
    "v4.17": "v4.17",
    "v4.17, ext4 of 2022": WARN,
    "hubbard-v1": "hubbard-v1",
    "hubbard-v1, page_mkclean taught": TAUGHT,
    "flag, skip/wait": "tracker=flag,cleaning=skip/wait,reclaim=skip",
    "hubbard-v2": "hubbard-v2",
    "kara-virtual-vma": "kara-virtual-vma",
    "kara-virtual-vma, split": "tracker=vma-common:release=split,cleaning=skip/wait,isize=wait",
    "kara-virtual-vma, backpointer": "tracker=vma-full:release=backpointer,cleaning=skip/wait,isize=wait",
    "kara-virtual-vma, no early exit": "tracker=vma-common:release=count:early_exit=no,cleaning=skip/wait,isize=wait",
    "v6.12": "v6.12",
    "bias, skip/wait": "tracker=bias,cleaning=skip/wait,reclaim=skip,ext4=warn",
}
ORDERS = {
    "flusher, reclaim": {},
    "reclaim first": FIRST,
    "slow writeback": {"writeback_us": 1500.0, "flusher_period_us": 2000.0},
    "fsync": {"fsync_us": 200.0, "flusher_us": 3000.0, "flusher_rounds": 1, "kswapd_rounds": 3},
}


def verdict(result):
    """What came out, the worst first."""
    counted = result.counters
    last = result.log.iloc[-1]
    found = []
    if counted["FS_BUG"]:
        found.append("BUG_ON")
    if counted["DATA_DROPPED"]:
        found.append("lost: data dropped")
    if result.stuck:
        found.append("stuck: " + "; ".join(result.stuck))
    elif counted["FS_BUG"] == 0 and last["data"] & flags.NEWER_THAN_DISK and last["flags"] & flags.PG_DIRTY:
        found.append("never written")
    if counted["UNSTABLE_WRITE"]:
        found.append("unstable write")
    if counted["MISSED_PIN"]:
        found.append("pin missed")
    if result.metrics["stale_pages"] and last["flags"] & flags.PG_CACHED:
        found.append("stale flag")
    if counted["WAITED"] and not result.stuck:
        found.append(f"fsync waits {number(result.metrics['fsync_mean_ns'], 'ns')}")
    return "; ".join(found or ["intact"])


verdicts = {}
for stable in (0, 1):
    for order, set_to in ORDERS.items():
        for name, design in DESIGNS.items():
            verdicts[stable, order, name] = verdict(run(design, stable_pages=stable, **set_to))
table = pd.DataFrame({o: [verdicts[0, o, n] for n in DESIGNS] for o in ORDERS}, index=list(DESIGNS))
differ = sum(verdicts[0, o, n] != verdicts[1, o, n] for o in ORDERS for n in DESIGNS)
figure, text = charts.matrix(
    table,
    charts.VERDICTS,
    title="Designs against four orders of events",
    corner="design",
    caption=charts.caption(
        "model",
        costs.in_use(),
        f"Verdicts of one run each. With stable pages (the figure is without), {differ} of {table.size} cells differ.",
    ),
)
made_by = provenance(scenario="golden-race", parameters={"designs": DESIGNS, "orders": ORDERS, "read_us": read_us},
                     seed=seed, costs=costs.in_use())  # fmt: skip
charts.save(figure, "golden_race_outcomes", folder, text, made_by, [KARA, "Kara 2018-06-28, a policy for each caller"])
figure


# %%
unique = {tuple(str(r[k]) for k in results.KEY): r for r in rows}
results.write(unique.values(), folder / "golden_race.parquet")


# %%
def having(*words):
    """Which designs have one of the words in some order."""
    found = [n for n in DESIGNS if any(word in verdicts[0, o, n] for o in ORDERS for word in words)]
    return "; ".join(found) or "none"


Markdown(
    "## What it found\n\n"
    f"- BUG_ON in some order: {having('BUG_ON')}.\n"
    f"- Data dropped: {having('dropped')}.\n"
    f"- Stuck, or never written: {having('stuck', 'never')}.\n"
    f"- DMA into a page under writeback: {having('unstable')}: all whose flusher does not ask.\n"
    f"- Stable pages change {differ} of {table.size} verdicts: they stop writers that fault, not DMA.\n\n"
    "A cell is one order of events. It can show that a design fails; that it never fails takes every interleaving."
)
