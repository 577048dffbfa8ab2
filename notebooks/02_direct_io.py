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
# # Direct IO, and the second obstacle of June 2018
#
# **The claim.** Jan Kara, 2018-06-25 (20180625152150.jnf5suiubecfppcl@quack2), on keeping pins as "virtual VMAs" in the
# inode's interval tree: a GUP user such as direct IO takes a block of pages and puts them "at different times and in
# random order"; one GUP call's pages end up in several bios, which nobody knows in advance. So unpinning needs either
# partial unpins, with ranges that split, or a count of pages still pinned per range, which is hard to reach from a
# completion callback that has only the bio.
#
# **The experiment.** Direct IO into a shared file mapping, bio by bio, by a recorded trace and by a device model, under
# every tracker: how much out of order is it, how many ranges live, how often do they split, how long do they outlive
# their first released page, which releases can't be told to belong to one range, how late are pins gone, and what does
# it all cost.
#
# - `dio=legacy`: v4.17 fs/direct-io.c: 64 pages per GUP call, cut into bios at extent borders: the seed's case.
# - `dio=iomap`: a GUP call per bio, as direct IO has worked since. How much of the obstacle is left?
#
# A replay takes sizes, submissions, bios and completions from the trace, and GUP calls from `dio`: the kernel that the
# trace comes from (6.18) made a call per bio.

# %% tags=["parameters"]
quick: bool = False  # small inputs: fewer seeds, IOs and points
figures_dir: str = "../figures"  # folder for figures, tables and results
traces_dir: str = "../data/traces"  # folder of the recorded traces
seeds: int = 5  # seeds per point, for the bands [runs]; 3 in quick mode
ios: int = 20000  # direct IOs per point of the device model; 2000 in quick mode
ios_per_cpu: int = 1500  # direct IOs per CPU in the runs on 1 to 64 CPUs; 300 in quick mode

# %%
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from workbench import anchors, charts, compare, costs, results, traces
from workbench.provenance import provenance
from workbench.simulate import simulate
from workbench.tables import number

folder = Path(figures_dir)
if quick:
    seeds, ios, ios_per_cpu = min(seeds, 3), min(ios, 2000), min(ios_per_cpu, 300)
SEED = "Kara 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2"
VMA = ["vma-common:release=split", "vma-common:release=count", "vma-common:release=backpointer"]
FULL = [name.replace("common", "full") for name in VMA]
OTHERS = ["none", "flag-sticky", "flag", "lru-count", "bias"]
TRACKERS = [*OTHERS, *VMA]
DIO = ("legacy", "iomap")
FRAGMENTED, SMALL = (f"{traces_dir}/{name}.ftrace.gz" for name in ("dio-512k-qd8-fragmented", "read-4k-qd32"))
rows = {}


@cache
def _run(tracker, seed, parameters):
    result = simulate("direct-io", f"tracker={tracker}", seed=seed, **dict(parameters))
    row = results.row(result.provenance, tracker.split(",")[0], result.metrics, result.counters)
    rows[row["design"], str(row["parameters"]), seed] = row
    return result


def run(tracker, seed=1, **parameters):
    """One run; asked for again, it is not run again."""
    return _run(tracker, seed, tuple(sorted(parameters.items())))


def frame_of(points):
    """Metrics and counters of many runs: points are (named columns, result)."""
    return pd.DataFrame([{**named, **result.row()["parameters"], **_flat(result)} for named, result in points])


def _flat(result):
    row = result.row()
    row.pop("parameters")
    return {name: value for name, value in row.items() if name != "design"}


def caption(text, kind="model"):
    """Say where numbers come from."""
    return charts.caption(kind, costs.in_use() if kind == "model" else None, text)


def save(name, made, parameters, sources=(SEED,), trace=None):
    """Save a figure with what made it, and show it."""
    source = provenance(scenario="direct-io", parameters=parameters, seed=1, costs=costs.in_use(), trace_sha256=trace)
    charts.save(made[0], name, folder, made[1], source, sources)
    return made[0]


def band(frame, by, column):
    """Mean over seeds with its 95 % interval; what is counted here is never negative."""
    made = results.banded(frame, by, column)
    return made.assign(low=made["low"].clip(lower=0))


BAND = f"95 % confidence of the mean over {seeds} seeds"

# %% [markdown]
# **What is set, and what comes out.** The device model serves 16 bios at once, 82 us and 0.3 us per page each: this is
# chosen so that 4 KiB reads at queue depth 64 on one CPU saturate it at 194 k IOPS, as the SSD of the published runs.
# That rate is set, not predicted. Service times are lognormal (`jitter`); GUP, bios, interrupts and locks cost what the
# cost table says, and section 10 tells which published figures set it. Pages are mapped once and dirty, so that
# GUP-fast succeeds; the thread's first obstacle (the node's size) is in the bytes below, its churn is not.

# %% [markdown]
# ## 1. How much out of order?
#
# *Overtaking distance*: how many IOs that were submitted earlier are still in flight when one completes. Measured on a
# virtio disk under mq-deadline, where nearly all reordering comes from the scheduler; the model's comes from the jitter
# of 16 parallel units, so it can't overtake more than 15.

# %%
depths = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024][:: 2 if quick else 1]
jitters = (0.25, 0.5, 1.0)
points = []
for jitter in jitters:
    for qd in depths:
        for seed in range(1, seeds + 1):
            result = run("none", seed, qd=qd, size_kib=4, jitter=jitter, ios=ios)
            points.append(({"source": f"model, jitter {jitter:g}", "run": seed}, result))
model = band(frame_of(points), ["source", "qd"], "overtakes_mean")
measured = []
for path, source in [*((f"{traces_dir}/r4k-qd{qd}.csv.gz", "measured, user space") for qd in (1, 8, 32, 128)),
                     (SMALL, "measured, kernel")]:  # fmt: skip
    trace = traces.load(path)
    seen = traces.overtakes(trace.ios["complete_order"])
    qd = int(path.split("qd")[-1].split(".")[0])
    measured.append(
        {"source": source, "qd": qd, "overtakes_mean": seen.mean(), "low": seen.mean(), "high": seen.mean()}
    )
overtaking = pd.concat([pd.DataFrame(measured), model])
made = charts.lines(
    overtaking, "qd", "overtakes_mean", hue="source", band=("low", "high"), band_name=BAND, logx=True,
    title="Overtaking distance of 4 KiB reads against queue depth", xlabel="queue depth",
    ylabel="earlier IOs in flight at a completion, mean",
    caption=caption("The lines named 'measured' are recordings: Linux 6.18, virtio, mq-deadline, single runs."),
)  # fmt: skip
save("dio_overtakes", made, {"size_kib": 4, "qd": depths, "jitter": jitters, "ios": ios})

# %% [markdown]
# The same distance where a trace is replayed: the model is handed the recorded times, so it must give what was
# recorded; what differs is what the model's own CPU time adds.

# %%
REPLAYED = {
    "512 KiB, depth 8": [("kernel", FRAGMENTED), ("user space", FRAGMENTED.replace("ftrace", "csv"))],
    "4 KiB, depth 32": [("kernel", SMALL), ("user space", f"{traces_dir}/r4k-qd32.csv.gz")],
}
shares = []
for name, files in REPLAYED.items():
    for seen_from, path in files:
        summary = traces.summarise(traces.load(path))
        shares.append({"trace": name, "seen from": seen_from, "overtakes_mean": summary["overtakes"]["mean"],
                       "out_of_order_share": summary["out_of_order_share"]})  # fmt: skip
    replayed = run("none", trace=files[0][1]).metrics
    shares.append({"trace": name, "seen from": "kernel, replayed in the model",
                   **{metric: replayed[metric] for metric in ("overtakes_mean", "out_of_order_share")}})  # fmt: skip
shares = pd.DataFrame(shares)
made = charts.bars(
    shares, "trace", "overtakes_mean", hue="seen from", title="Overtaking distance: kernel, user space, replay",
    ylabel="earlier IOs in flight at a completion, mean", xlabel="trace", size="one",
    caption=caption("Kernel and user space are measured; at 4 KiB they are two different runs."),
)  # fmt: skip
save("dio_overtakes_replay", made, {"traces": list(REPLAYED)}, trace=traces.load(FRAGMENTED).sha256)

# %%
fragmented = traces.summarise(traces.load(FRAGMENTED))
Markdown(
    f"Of the 512 KiB reads, each of {fragmented['bios_per_io']['mean']:g} bios, {fragmented['out_of_order_share']:.0%} "
    f"overtake another IO; but {fragmented['bios_out_of_order_share']:.0%} of their bios complete before an earlier "
    "bio of the same IO: what counts for partial unpins is the order within a GUP call, and it is out of order far "
    f"more often. Seen from user space the IOs differ little ({shares['out_of_order_share'][1]:.1%} against "
    f"{shares['out_of_order_share'][0]:.1%})."
)

# %% [markdown]
# ## 2. Live ranges and bytes over time
#
# Device model: 512 KiB reads, depth 64, from a file in extents of 64 KiB: each is 8 bios, and two GUP calls under
# `legacy`. Flags, LRU words and bias keep their state in `struct page`: no ranges, no bytes. `vma-full` and
# `vma-common` differ in bytes only, so wherever time is shown, `vma-common` stands for both.

# %%
LARGE = {"size_kib": 512, "extent_kib": 64, "qd": 64, "ios": ios // 10}


def series_of(trackers, column, **parameters):
    """Time series of runs, in ns."""
    parts = []
    for dio in DIO:
        for tracker in trackers:
            series = run(tracker, dio=dio, **parameters).series
            parts.append(pd.DataFrame({"design": tracker, "dio": dio, "time_ns": series["time_ps"] / 1000,
                                       column: series[column]}))  # fmt: skip
    return pd.concat(parts)


def until(frame, ns):
    """The beginning of a time series."""
    return frame[frame["time_ns"] <= ns]


ranges = series_of(VMA, "live_ranges", **LARGE)
end_ns = ranges["time_ns"].max() / 4
made = charts.steps(
    until(ranges, end_ns), "time_ns", "live_ranges", panels="dio", xlabel="time", ylabel="live ranges", yunit="1",
    title="Live ranges over time: 512 KiB reads in 8 bios each, depth 64",
    caption=caption("The first quarter of a run."),
)  # fmt: skip
save("dio_live_ranges", made, LARGE)

# %%
held = series_of([*VMA, *FULL], "bytes", **LARGE)
held = held[~held["design"].str.contains("backpointer")]
made = charts.steps(
    until(held, end_ns), "time_ns", "bytes", panels="dio", xlabel="time", ylabel="bytes of live ranges", yunit="B",
    title="Memory of live ranges: 512 KiB reads in 8 bios each, depth 64",
    caption=caption("200 B of vm_area_struct packed 20 to a page, or 64 B packed 64."),
)  # fmt: skip
save("dio_bytes", made, LARGE, [SEED, "sizes: v4.17 include/linux/mm_types.h, interval_tree.h"])

# %%
replayed = series_of(VMA, "live_ranges", trace=FRAGMENTED)
made = charts.steps(
    until(replayed, 30e6), "time_ns", "live_ranges", panels="dio", xlabel="time", ylabel="live ranges", yunit="1",
    title="Live ranges over time, recorded trace (512 KiB reads, depth 8)",
    caption=caption("Completions as recorded; the first 30 ms."),
)  # fmt: skip
save("dio_live_ranges_trace", made, {"trace": Path(FRAGMENTED).name}, trace=traces.load(FRAGMENTED).sha256)

# %%
peak = {(d, t): run(t, dio=d, **LARGE).metrics for d in DIO for t in [*VMA, *FULL]}
Markdown(
    f"Most live ranges: under legacy `split` {peak['legacy', VMA[0]]['ranges_max']}, `count` "
    f"{peak['legacy', VMA[1]]['ranges_max']}; under iomap {peak['iomap', VMA[0]]['ranges_max']} and "
    f"{peak['iomap', VMA[1]]['ranges_max']}. Most memory: full VMAs "
    f"{number(peak['legacy', FULL[1]]['tracking_bytes_max'], 'B')} (legacy, count) to "
    f"{number(peak['iomap', FULL[1]]['tracking_bytes_max'], 'B')} (iomap), the common node "
    f"{number(peak['legacy', VMA[1]]['tracking_bytes_max'], 'B')} to "
    f"{number(peak['iomap', VMA[1]]['tracking_bytes_max'], 'B')}; a back-pointer adds 8 B to each run of pages in a "
    "bio. For direct IO, memory is not what decides."
)

# %% [markdown]
# ## 3. Splits per GUP call
#
# `split` releases each bio's pages as they complete. If the k bios of a GUP call completed in random order, an inner
# one would split its range whenever it comes before both its neighbours: one time in three, so (k − 2)/3 splits per
# call. In order there would be none.

# %%
extents = (128, 64, 32, 16, 8, 4)[:: 2 if quick else 1]
points = []
for dio in DIO:
    for extent in extents:
        for qd in depths:
            for seed in range(1, (seeds if dio == "legacy" else 1) + 1):
                result = run(VMA[0], seed, size_kib=256, extent_kib=extent, qd=qd, ios=ios // 10, dio=dio)
                named = {"bios per GUP call": 256 // extent, "cut": f"{256 // extent:>2} bios per call", "dio": dio}
                points.append(({**named, "run": seed}, result))
splitting = frame_of(points)
splits = band(splitting[splitting["dio"] == "legacy"], ["cut", "qd"], "splits_per_gup")
made = charts.lines(
    splits, "qd", "splits_per_gup", hue="cut", band=("low", "high"), band_name=BAND, logx=True,
    title="Splits per GUP call against queue depth (legacy)", xlabel="queue depth",
    caption=caption("256 KiB reads, one GUP call each, cut into 2 to 64 bios by the extents of the file."),
)  # fmt: skip
save("dio_splits_qd", made, {"size_kib": 256, "extent_kib": extents, "qd": depths, "ios": ios // 10})

# %%
deep = splitting[splitting["qd"] == 64] if 64 in depths else splitting[splitting["qd"] == max(depths)]
by_bios = band(deep, ["dio", "bios per GUP call"], "splits_per_gup").rename(columns={"dio": "order"})
by_bios["order"] = "model, " + by_bios["order"]
chance = pd.DataFrame({"order": "random order, (k - 2)/3", "bios per GUP call": [256 // e for e in extents]})
chance["splits_per_gup"] = np.maximum(chance["bios per GUP call"] - 2, 0) / 3
recorded = run(VMA[0], trace=FRAGMENTED, dio="legacy").metrics["splits_per_gup"]
trace_point = pd.DataFrame(
    [{"order": "4 bios: recorded trace, legacy", "bios per GUP call": 4, "splits_per_gup": recorded}]
)
both = pd.concat([by_bios, chance, trace_point])
both["low"], both["high"] = both["low"].fillna(both["splits_per_gup"]), both["high"].fillna(both["splits_per_gup"])
made = charts.lines(
    both, "bios per GUP call", "splits_per_gup", hue="order", band=("low", "high"), band_name=BAND, logx=True,
    title="Splits per GUP call against bios per GUP call", size="two",
    caption=caption("Under iomap the x axis counts the bios of 64 pages: each has a GUP call of its own."),
)  # fmt: skip
save("dio_splits_bios", made, {"size_kib": 256, "extent_kib": extents, "qd": int(deep["qd"].iloc[0])})

# %%
most = by_bios[by_bios["order"] == "model, legacy"].iloc[-1]
iomap_splits = int(splitting.loc[splitting["dio"] == "iomap", "splits"].sum())
Markdown(
    f"On the recorded trace a GUP call of 4 bios is split {recorded:.2f} times; random order would give {2 / 3:.2f}. "
    f"With {most['bios per GUP call']:g} bios per call the model gives {most['splits_per_gup']:.1f} splits, random "
    f"order {(most['bios per GUP call'] - 2) / 3:.1f}: a split needs only three neighbours in the wrong order, and as "
    "many are in flight at any queue depth, being bios of the same IO. Under iomap, in all runs together: "
    f"{iomap_splits} splits."
)

# %% [markdown]
# ## 4. How long a range outlives its first released page
#
# With `count` (and `backpointer`) the whole range stays until its last page is released: pages whose IO is over still
# look pinned. With `split` it is the longest-lived piece that counts.


# %%
def histogram(result, name):
    """Values [ns] and counts, without zeros, which a log axis can't show."""
    frame = result.histograms[name]
    frame = frame[frame["value"] > 0]
    return frame["value"].to_numpy() / 1000, frame["count"].to_numpy()


FINE = {"size_kib": 512, "extent_kib": 64, "qd": 64, "ios": ios // 2}
samples = {tracker: histogram(run(tracker, dio="legacy", **FINE), "OUTLIVES") for tracker in VMA}
made = charts.ccdf(
    samples, xlabel="from the first released page to the end of the range",
    title="How long ranges outlive their first released page (legacy, device model)",
    caption=caption("512 KiB reads in 8 bios, depth 64, one CPU. Ranges of no delay are left out."),
)  # fmt: skip
save("dio_outlive", made, FINE)

# %%
samples = {tracker: histogram(run(tracker, dio="legacy", trace=FRAGMENTED), "OUTLIVES") for tracker in VMA}
made = charts.ccdf(
    samples, xlabel="from the first released page to the end of the range",
    title="How long ranges outlive their first released page (legacy, recorded trace)",
    caption=caption("512 KiB reads in 8 bios, depth 8; completions as recorded."),
)  # fmt: skip
save("dio_outlive_trace", made, {"trace": Path(FRAGMENTED).name}, trace=traces.load(FRAGMENTED).sha256)

# %%
outlive = {(d, t): run(t, dio=d, trace=FRAGMENTED).metrics for d in DIO for t in VMA}
latency = outlive["legacy", VMA[1]]["latency_mean_ns"]
Markdown(
    f"On the trace, `count` keeps a range {number(outlive['legacy', VMA[1]]['outlive_mean_ns'], 'ns')} after its first "
    f"page was released, on average, of {number(latency, 'ns')} that an IO takes; `backpointer` the same "
    f"({number(outlive['legacy', VMA[2]]['outlive_mean_ns'], 'ns')}). Under iomap: "
    f"{number(outlive['iomap', VMA[1]]['outlive_mean_ns'], 'ns')}, a range is released by its only bio."
)

# %% [markdown]
# ## 5. Do they agree about which pages are pinned?
#
# The GUP calls and completions of the traces, applied event by event to `split`, `count` and `backpointer`, and to
# plain counts per page: the truth. A page-moment is a page after an event. *missed*: pinned, and the tracker says no.
# *held*: it says pinned, and no pin is left. Ranges overlap where buffers are used by several IOs at a time: drawn from
# a shared region, or reused at once while the release is still with a kworker.

# %%
CASES = {
    "each IO its own buffer": {},
    "release deferred 200 us, buffers reused": {"deferred_ns": 200_000},
    "half of the IOs into shared buffers": {"overlap": 0.5},
}
agreements = {}
for path, name in ((FRAGMENTED, "512 KiB"), (SMALL, "4 KiB")):
    replay = traces.replay(traces.load(path))
    if quick:
        first = 60 if path == FRAGMENTED else 400
        last = int(replay.first_bio[first])
        replay = replay._replace(
            submit_ns=replay.submit_ns[:first], op=replay.op[:first], pages=replay.pages[:first],
            first_bio=replay.first_bio[:first], bio_count=replay.bio_count[:first], bio_pages=replay.bio_pages[:last],
            bio_complete_ns=replay.bio_complete_ns[:last], bio_order=replay.bio_order[:last],
        )  # fmt: skip
    for dio in DIO:
        for case, options in CASES.items():
            agreements[f"{name}, {dio}: {case}"] = compare.agreement(replay, dio, **options)


def cell(found, mode, where):
    """What one tracker made of the pages of one kind."""
    row = found.summary.set_index(["mode", "where"]).loc[(mode, where)]
    if row["page_moments"] == 0:
        return "-"
    told = [f"{what} {row[what] / row['page_moments']:.2%}" for what in ("missed", "held") if row[what]]
    return ", ".join(told) or "as the truth"


agreed = pd.DataFrame(
    {f"{mode}, {where}": [cell(found, mode, where) for found in agreements.values()]
     for where in compare.WHERE for mode in compare.MODES},
    index=list(agreements),
)  # fmt: skip
made = charts.matrix(
    agreed, {"missed": "#E69A6B", "held": "#F4EDA0", "truth": "#C5E8DB"}, corner="trace, dio, buffers",
    title="Which pages do the three releases call pinned?",
    caption=charts.caption(
        "model", text="Shares of page-moments, apart from overlapping ranges and among them. '-': there are none."),
)  # fmt: skip
save("dio_agreement", made, {"cases": CASES, "traces": [Path(p).name for p in (FRAGMENTED, SMALL)]},
     trace=traces.load(FRAGMENTED).sha256)  # fmt: skip

# %%
apart = pd.concat([a.summary for a in agreements.values()]).query("where == 'apart'")
pairs = pd.concat([a.pairs for a in agreements.values()]).query("where == 'apart'")
agree = pairs[pairs["modes"] == "count / backpointer"]["disagreements"].sum()
shared = agreements["512 KiB, legacy: half of the IOs into shared buffers"].summary.set_index(["mode", "where"])
assert apart["missed"].sum() == 0 and agree == 0 and apart.loc[apart["mode"] == "split", "held"].sum() == 0
Markdown(
    f"Apart from overlaps: {apart['missed'].sum()} pins missed by any, `split` holds "
    f"{apart.loc[apart['mode'] == 'split', 'held'].sum()} pages too long, `count` and `backpointer` differ in {agree} "
    "page-moments. Where ranges overlap, `split` is still exact: whichever range is cut, a page loses one cover. "
    f"`count` is not: charged to the wrong range, {shared.loc[('count', 'overlapping'), 'missed']} page-moments of "
    f"pinned pages were missed in the 512 KiB legacy case with shared buffers, "
    f"{shared.loc[('count', 'apart'), 'unattributed']} pages were released that no range covered any more, and "
    f"{shared.loc[('count', 'apart'), 'ranges_left']} ranges were left for ever. `backpointer` missed "
    f"{shared.loc[('backpointer', 'overlapping'), 'missed']}, and left "
    f"{shared.loc[('backpointer', 'apart'), 'ranges_left']}."
)

# %% [markdown]
# ## 6. Releases that can't be told to belong to one range
#
# The device model with a growing share of IOs whose buffer is a piece of one shared region. A release found by page is
# *ambiguous* where several ranges cover the page, and *unattributed* where none is left.

# %%
shares_of = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)[:: 2 if quick else 1]
OVERLAP = {"size_kib": 256, "extent_kib": 64, "qd": 32, "ios": ios // 4}
points = []
for dio in DIO:
    for tracker in VMA:
        for share in shares_of:
            for seed in range(1, seeds + 1):
                result = run(tracker, seed, dio=dio, overlap=share, **OVERLAP)
                points.append(({"design": tracker, "run": seed}, result))
overlapping = frame_of(points)
overlapping["ambiguous per bio"] = overlapping["ambiguous"] / overlapping["bios"]
overlapping["unattributed per page"] = overlapping["unattributed"] / overlapping["pins"]
for column, name in (("ambiguous per bio", "dio_ambiguous"), ("unattributed per page", "dio_unattributed")):
    banded = band(overlapping, ["design", "dio", "overlap"], column)
    made = charts.lines(
        banded, "overlap", column, panels="dio", band=("low", "high"), band_name=BAND,
        title=f"Releases against shared buffers: {column}", xlabel="share of IOs into the shared region",
        caption=caption("256 KiB reads in 4 bios, depth 32, one CPU, one shared region of 32 buffers."),
    )  # fmt: skip
    figure = save(name, made, {**OVERLAP, "overlap": shares_of})
    display(figure)

# %% [markdown]
# And what a flusher is told that skips pinned pages, and an fsync that waits for them: how often a pinned page was
# called not pinned (*missed*), and how often a page without a pin was called pinned (*stale*). This is where flags
# fail: the first of two unpins clears `flag` (Hellwig, 2018-06-18), and nothing ever clears `flag-sticky`.

# %%
ASKED = {"size_kib": 64, "extent_kib": 16, "qd": 32, "ios": ios // 4, "overlap": 0.5, "writeback_ms": 0.2}
answers = []
for tracker in TRACKERS[1:]:
    result = run(f"{tracker},cleaning=skip", **ASKED)
    told = result.counters
    for kind in ("MISSED_PIN", "STALE_PIN"):
        answers.append({"design": tracker, "answer": {"MISSED_PIN": "missed", "STALE_PIN": "stale"}[kind],
                        "share": told[kind] / told["PIN_TEST"], "asked": told["PIN_TEST"]})  # fmt: skip
answers = pd.DataFrame(answers)
made = charts.bars(
    answers, "answer", "share", logy=True, title="Wrong answers to a flusher, half of the IOs into shared buffers",
    ylabel="share of questions", xlabel="answer",
    caption=caption("64 KiB reads in 4 bios, depth 32; a flusher every 0.2 ms asks of each dirty page."),
)  # fmt: skip
save("dio_wrong_answers", made, ASKED, [SEED, "Hellwig 2018-06-18, on [PATCH 2/2] mm: set PG_dma_pinned"])

# %%
worst = answers[answers["answer"] == "missed"].set_index("design")["share"]
ambiguous = overlapping.groupby(["design", "dio"])[["ambiguous", "unattributed"]].sum()
Markdown(
    "Pins missed by "
    + (", ".join(f"`{charts.label(n)}` ({v:.2%})" for n, v in worst[worst > 0].items()) or "none")
    + "; by no other in these runs on one CPU. "
    f"Ambiguous releases under `backpointer`: {ambiguous['ambiguous'].xs(VMA[2], level='design').sum()}. Under iomap "
    f"`count` still meets {ambiguous.loc[(VMA[1], 'iomap'), 'ambiguous']} ambiguous and "
    f"{ambiguous.loc[(VMA[1], 'iomap'), 'unattributed']} unattributed releases: a GUP call per bio does not make a "
    "page tell its range, where buffers are shared."
)

# %% [markdown]
# ## 7. From completion to the pin being gone
#
# Completion is in IRQ context. Flags, counts and bias are released there; a range is not, since `i_mmap_rwsem` sleeps:
# its release is a work item. (A read into a page that was cleaned meanwhile is deferred under every tracker:
# `set_page_dirty_lock` sleeps too. No flusher runs here.)

# %%
PLAIN = {"size_kib": 64, "qd": 64, "ios": ios}
samples = {tracker: histogram(run(tracker, **PLAIN), "RELEASE") for tracker in ("none", "lru-count", "bias", *VMA)}
made = charts.ccdf(
    samples, xlabel="from completion of a bio to the release of its pages",
    title="How late pins are gone (64 KiB reads, depth 64, one CPU)",
    caption=caption("Legacy: a GUP call per IO and one bio, so that the three releases differ little."),
)  # fmt: skip
save("dio_unpin_delay", made, PLAIN)

# %%
IDLE = {**PLAIN, "units": 4}  # a slower device, so that the CPU has time for the flusher
late = []
for tracker in TRACKERS:
    alone, flushed = run(tracker, **IDLE), run(tracker, **IDLE, writeback_ms=0.2)
    late.append(
        {
            "mean, no flusher": number(alone.metrics["unpin_delay_mean_ns"], "ns"),
            "p99, no flusher": number(alone.metrics["unpin_delay_p99_ns"], "ns"),
            "deferred bios, no flusher": f"{alone.counters['DEFERRED_UNPIN'] / alone.counters['BIOS']:.1%}",
            "mean, flusher": number(flushed.metrics["unpin_delay_mean_ns"], "ns"),
            "p99, flusher": number(flushed.metrics["unpin_delay_p99_ns"], "ns"),
            "deferred bios, flusher": f"{flushed.counters['DEFERRED_UNPIN'] / flushed.counters['BIOS']:.1%}",
        }
    )
delays = pd.DataFrame(late, index=TRACKERS)
made = charts.matrix(
    delays, {}, corner="tracker", title="From completion to the pin being gone, and how many bios a kworker releases",
    caption=caption("64 KiB reads, depth 64, one CPU, 4 units; the flusher comes every 0.2 ms, and does not ask."),
)  # fmt: skip
save("dio_unpin_delay_table", made, {**IDLE, "writeback_ms": [0, 0.2]})

# %% [markdown]
# ## 8. Locks, throughput and latency against CPUs
#
# One file, mapped shared by all threads: one `i_mmap_rwsem`, one LRU lock. Each CPU brings a thread at depth 64 and 16
# device units, so that no device hides the locks: without tracking, throughput grows with CPUs. With a single device
# as published (16 units in all) it would be the device's at any number of CPUs.
#
# *Assumed*: a waiter for `i_mmap_rwsem` sleeps at once. Real rwsems let writers spin while the owner runs
# (CONFIG_RWSEM_SPIN_ON_OWNER), which makes hand-over faster than the context switch that is charged here.

# %%
cpu_counts = [1, 2, 4, 8, 16, 32, 64][:: 3 if quick else 1]
SCALED = ("none", "flag", "lru-count", "bias", *VMA)
points = []
for size in (4, 64):
    for tracker in SCALED:
        for cpus in cpu_counts:
            for seed in range(1, min(seeds, 3) + 1):
                result = run(tracker, seed, size_kib=size, cpus=cpus, units=16 * cpus, tags=128 * cpus,
                             ios=ios_per_cpu * cpus)  # fmt: skip
                points.append(({"design": tracker, "size": f"{size} KiB", "run": seed}, result))
scaling = frame_of(points)
scaling["lock wait per IO"] = (scaling["i_mmap_rwsem_wait_ns"] + scaling["lru_lock_wait_ns"]) / scaling["dios"]
few = f"95 % confidence of the mean over {min(seeds, 3)} seeds"
iops = band(scaling, ["design", "size", "cpus"], "iops")
made = charts.lines(
    iops, "cpus", "iops", panels="size", band=("low", "high"), band_name=few, logx=True, logy=True,
    title="Throughput against CPUs: all threads read into one mapped file", xlabel="CPUs",
    caption=caption("Depth 64 and 16 device units per CPU; legacy."),
)  # fmt: skip
save("dio_scaling_iops", made, {"size_kib": [4, 64], "cpus": cpu_counts, "qd": 64, "ios_per_cpu": ios_per_cpu})

# %% [markdown]
# How much of that is the sleeping? The other end of what a spinning rwsem could give: the same runs with context
# switches that cost nothing, so that a lock passes to its next owner at once. A kernel lies in between.

# %%
NO_SWITCH = costs.CostTable(f"{costs.in_use().name} without context switches", {
    name: cost for name, cost in costs.in_use().entries.items() if name != "SWITCH"
})  # fmt: skip
ends = []
for size in (4, 64):
    for cpus in cpu_counts:
        crowd = {"size_kib": size, "cpus": cpus, "units": 16 * cpus, "tags": 128 * cpus, "ios": ios_per_cpu * cpus}
        for tracker in ("none", VMA[0]):
            for said, table in (("waiters sleep", costs.in_use()), ("hand-over is free", NO_SWITCH)):
                result = simulate("direct-io", f"tracker={tracker}", seed=1, cost_table=table, **crowd)
                ends.append({"case": f"{charts.label(tracker)}: {said}", "size": f"{size} KiB", "cpus": cpus,
                             "iops": result.metrics["iops"]})  # fmt: skip
ends = pd.DataFrame(ends)
made = charts.lines(
    ends, "cpus", "iops", hue="case", panels="size", logx=True, logy=True, xlabel="CPUs",
    title="Throughput between two ends: waiters sleep, or hand-over is free",
    caption=caption("As above, one seed. Free: the same table without its entry SWITCH."),
)  # fmt: skip
save("dio_scaling_handover", made, {"size_kib": [4, 64], "cpus": cpu_counts, "qd": 64, "ios_per_cpu": ios_per_cpu})

# %%
waits = band(scaling, ["design", "size", "cpus"], "lock wait per IO")
made = charts.lines(
    waits, "cpus", "lock wait per IO", panels="size", logx=True, logy=True, yunit="ns",
    title="Waiting for i_mmap_rwsem and the LRU lock, per direct IO", xlabel="CPUs", ylabel="waiting per IO",
    caption=caption("As above; sleeping and spinning, of all tasks."),
)  # fmt: skip
save("dio_scaling_waits", made, {"size_kib": [4, 64], "cpus": cpu_counts, "qd": 64, "ios_per_cpu": ios_per_cpu})

# %%
submission = band(scaling, ["design", "size", "cpus"], "slat_ns")
made = charts.lines(
    submission, "cpus", "slat_ns", panels="size", logx=True, logy=True, ylabel="time in submission (slat), mean",
    title="Submission of a direct IO against CPUs", xlabel="CPUs",
    caption=caption("As above. The pin is taken in submission; the unpin is not in it."),
)  # fmt: skip
save("dio_scaling_slat", made, {"size_kib": [4, 64], "cpus": cpu_counts, "qd": 64, "ios_per_cpu": ios_per_cpu})

# %%
at_cpus = 16 if 16 in cpu_counts else cpu_counts[-1]
CROWD = {"size_kib": 4, "cpus": at_cpus, "units": 16 * at_cpus, "tags": 128 * at_cpus, "ios": ios_per_cpu * at_cpus}
samples = {t: histogram(run(t, **CROWD), "LATENCY") for t in ("none", "lru-count", "bias", VMA[0], VMA[2])}
made = charts.ccdf(
    samples, title=f"Latency of 4 KiB reads on {at_cpus} CPUs",
    caption=caption("Depth 64 per CPU. Who waits in GUP has fewer IOs in flight, each of them faster on the device."),
)  # fmt: skip
save("dio_latency", made, CROWD)

# %%
samples = {t: histogram(run(t, **CROWD), "SUBMIT") for t in ("none", "lru-count", "bias", VMA[0], VMA[2])}
made = charts.ccdf(
    samples, title=f"Submission of 4 KiB reads on {at_cpus} CPUs", xlabel="time in submission (slat)",
    caption=caption("The same runs: the waits for locks are here."),
)  # fmt: skip
save("dio_slat", made, CROWD)


# %%
def at(tracker, size, cpus, column):
    """Mean of one point."""
    found = scaling[(scaling["design"] == tracker) & (scaling["size"] == size) & (scaling["cpus"] == cpus)]
    return float(found[column].mean())


def best(tracker, size):
    """Highest throughput, and on how many CPUs."""
    of_it = iops[(iops["design"] == tracker) & (iops["size"] == size)]
    row = of_it.loc[of_it["iops"].idxmax()]
    return f"{number(row['iops'], '1/s')} IOPS on {row['cpus']} CPUs"


def free_of(tracker, size, cpus):
    """Throughput where hand-over costs nothing."""
    case = f"{charts.label(tracker)}: hand-over is free"
    return float(ends[(ends["case"] == case) & (ends["size"] == size) & (ends["cpus"] == cpus)]["iops"].iloc[0])


top = cpu_counts[-1]
Markdown(
    f"On {top} CPUs, 4 KiB: no tracking {number(at('none', '4 KiB', top, 'iops'), '1/s')} IOPS, bias "
    f"{number(at('bias', '4 KiB', top, 'iops'), '1/s')}, off-LRU "
    f"{number(at('lru-count', '4 KiB', top, 'iops'), '1/s')}, virtual VMA with split "
    f"{number(at(VMA[0], '4 KiB', top, 'iops'), '1/s')}. The ranges' best, at any number of CPUs: "
    f"{best(VMA[0], '4 KiB')}; off-LRU's: {best('lru-count', '4 KiB')}. Two changes of the tree per IO under one "
    'rwsem: this is what "per-DIO overhead" (Kara, 2018-12-10) comes to where threads share a file. Were hand-over '
    f"free, split would reach {number(free_of(VMA[0], '4 KiB', top), '1/s')}, and with 64 KiB reads "
    f"{number(free_of(VMA[0], '64 KiB', top), '1/s')}, where off-LRU, whose lock is taken page by page, has "
    f"{number(at('lru-count', '64 KiB', top, 'iops'), '1/s')}: which is worse turns on how the semaphore waits."
)

# %% [markdown]
# ## 9. Nanoseconds and atomic operations per page
#
# CPU time per page beyond that of `none`, one CPU, depth 64; and atomic read-modify-writes per page: those on the page
# and those of locks (a spinlock one, `i_mmap_rwsem` and the page lock two each). The reference itself is two, and a
# read dirties its pages under the page lock. What slab and work queue do inside is not counted.

# %%
sizes = (4, 64, 512) if quick else (4, 16, 64, 256, 1024)
points = []
for size in sizes:
    for tracker in TRACKERS:
        result = run(tracker, size_kib=size, qd=64, ios=max(ios * 4 // size, 200))
        points.append(({"design": tracker, "size": f"{size} KiB"}, result))
per_page = frame_of(points)
base = per_page[per_page["design"] == "none"].set_index("size")["cpu_ns_per_page"]
per_page["cpu_ns_per_page"] -= per_page["size"].map(base)
extra = per_page[per_page["design"] != "none"]
made = charts.bars(
    extra, "size", "cpu_ns_per_page", logy=True, xlabel="size of a direct IO", ylabel="CPU time per page, beyond none",
    title="What tracking costs: CPU time per 4 KiB page",
    caption=caption("vma-full costs the same time as vma-common. Locks are not contended here."),
)  # fmt: skip
save("dio_ns_per_page", made, {"size_kib": sizes, "qd": 64, "cpus": 1})

# %%
counts = per_page["atomic"] + per_page["spin_lock"] + 2 * per_page["rwsem"] + 2 * per_page["page_lock"]
per_page["atomics"] = counts / per_page["pins"]
made = charts.bars(
    per_page, "size", "atomics", xlabel="size of a direct IO", ylabel="atomic read-modify-writes per page",
    title="Atomic read-modify-writes per page, locks included", caption=charts.caption("model"),
)  # fmt: skip
save("dio_atomics_per_page", made, {"size_kib": sizes, "qd": 64, "cpus": 1})

# %%
small, large = (
    extra[extra["size"] == f"{s} KiB"].set_index("design")["cpu_ns_per_page"] for s in (sizes[0], sizes[-1])
)
Markdown(
    "CPU time per page beyond `none`, at "
    + f"{sizes[0]} KiB and at {sizes[-1]} KiB: "
    + ", ".join(f"`{charts.label(t)}` {number(small[t], 'ns')} and {number(large[t], 'ns')}" for t in small.index)
    + '. A range is paid once per GUP call and once per release, so it amortises over the pages; "for small IOs '
    "there's no help\" (Kara, 2018-12-10)."
)

# %% [markdown]
# ## 10. Held against what was published
#
# Hubbard's fio runs of 4 KiB reads, depth 64, one thread. Three figures set entries of the cost table, one sets the
# device: the model meets them but for what its own interrupts and queues add or take. All else is prediction.

# %%
put = costs.in_use().entries["PUT_PAGE"].ns + costs.in_use().entries["ATOMIC"].ns
anchor_ios = max(ios, 5000)
compared = {
    tracker: {**run(tracker, ios=anchor_ios, **anchors.PARAMETERS).metrics, "put_ns": put}
    for tracker in (anchors.BASE, anchors.OFF_LRU, anchors.BIAS)
}
against = anchors.held_against(compared)
told = pd.DataFrame(
    {
        "published": [anchors.in_words(v, u) for v, u in zip(against["published"], against["unit"], strict=True)],
        "model": [anchors.in_words(v, u) for v, u in zip(against["model"], against["unit"], strict=True)],
        "off by": [anchors.in_words(v, u, True) for v, u in zip(against["off"], against["unit"], strict=True)],
        "role": ["sets " + s if s else "prediction" for s in against["sets"]],
        "note": list(against["note"]),
    },
    index=list(against["anchor"]),
)
made = charts.matrix(
    told, {"sets": "#E2E2E2", "prediction": "#BFE0F2"}, corner="anchor", title="Published anchors and the model",
    caption=caption("4 KiB reads, depth 64, one CPU. 194 k and 193 k were printed rounded: each is known to 0.3 %."),
)  # fmt: skip
save("dio_anchors", made, {**anchors.PARAMETERS, "ios": anchor_ios}, sorted(set(against["source"])))

# %%
predicted = against[against["sets"] == ""].set_index("anchor")
Markdown(
    "Predictions: "
    + "; ".join(
        f"{name}: published {anchors.in_words(r['published'], r['unit'])}, model "
        f"{anchors.in_words(r['model'], r['unit'])}"
        for name, r in predicted.iterrows()
    )
    + ". IOPS hardly move because the device is the limit; CPU time is what tracking costs here."
)

# %% [markdown]
# ## 11. The second obstacle, and how much of it is left
#
# Left of the arrow `legacy`, right of it `iomap`. Splits, delays and costs from 512 KiB reads in 8 bios; ambiguous and
# unattributed releases with half of the IOs into shared buffers.

# %%
MIXED = {**OVERLAP, "overlap": 0.5 if 0.5 in shares_of else shares_of[1]}


def arrow(tracker, what, unit="1"):
    """One figure under legacy and iomap."""
    found = [what(dio, tracker) for dio in DIO]
    both = [f"{value:.2%}" if unit == "%" else number(value, unit) for value in found]
    return " -> ".join(both) if both[0] != both[1] else both[0]


def metric(name):
    """A metric of the large reads."""
    return lambda dio, tracker: run(tracker, dio=dio, **FINE).metrics[name]


def counted(name, per):
    """A counter of the runs with shared buffers, per bio or per page."""

    def share(dio, tracker):
        found = run(tracker, dio=dio, **MIXED).counters
        return found[name] / found[per]

    return share


def extra_ns(dio, tracker):
    """CPU time per page beyond none."""
    return metric("cpu_ns_per_page")(dio, tracker) - metric("cpu_ns_per_page")(dio, "none")


columns = {
    "splits per GUP call": (metric("splits_per_gup"), "1"),
    "range outlives first page, mean": (metric("outlive_mean_ns"), "ns"),
    "ambiguous releases per bio": (counted("AMBIGUOUS", "BIOS"), "1"),
    "unattributed share of pages": (counted("UNATTRIBUTED", "PINS"), "%"),
    "completion to unpin, mean": (metric("unpin_delay_mean_ns"), "ns"),
    "CPU per page beyond none": (extra_ns, "ns"),
    "bytes, most": (metric("tracking_bytes_max"), "B"),
}
left = pd.DataFrame(
    {name: [arrow(t, what, unit) for t in [*OTHERS, *VMA]] for name, (what, unit) in columns.items()},
    index=[*OTHERS, *VMA],
)
made = charts.matrix(left, {}, corner="tracker", title="The second obstacle: legacy -> iomap",
                     caption=caption("vma-full is as vma-common but for its bytes."))  # fmt: skip
save("dio_second_obstacle", made, {"fine": FINE, "shared": MIXED})

# %%
results.write(rows.values(), folder / "direct_io.parquet")

# %%
delay = metric("unpin_delay_mean_ns")
Markdown(
    "## What it found\n\n"
    f"- Partial unpins are real under `legacy` ({number(metric('splits_per_gup')('legacy', VMA[0]))} splits per call), "
    f"and gone under `iomap` ({number(metric('splits_per_gup')('iomap', VMA[0]))}): a GUP call per bio is released as "
    "a whole.\n"
    f"- The count reached by page lets go of the wrong range where buffers are shared, under both "
    f"({arrow(VMA[1], counted('UNATTRIBUTED', 'PINS'), '%')} of all pages were released when no range covered them). A "
    "back-pointer in the bio does not.\n"
    f"- What no `dio` takes away: ranges need a work item at completion. The pin is gone after "
    f"{arrow(VMA[2], delay, 'ns')}, with bias after {arrow('bias', delay, 'ns')}; and each IO changes the tree twice "
    "under one rwsem.\n"
    "- So the second obstacle was one of the time's direct IO as far as splitting goes. Deferred removal and the "
    "shared lock, which the thread named in December 2018, would have stayed."
)
