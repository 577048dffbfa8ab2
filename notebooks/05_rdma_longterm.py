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
# # RDMA regions held for hours: when does the machine become unusable?
#
# **The claim.** "After phase 1 pinned pages will block page writeback and such system won't oops but will become
# unusable sooner rather than later" (Jan Kara, June 2018): so long-term holders would have to be told to let go
# (Kara, 2018-06-20). Wilcox asked why a page that is pinned for DMA should be written at all: fsync should fail
# (2018-07-09). Others proposed that such pins of files be refused (Stoakes, 2023-05-04, merged in v6.5), put under
# leases (Weiny, 2019-06-05), or that pages be bounced (Kara, 2023-02-09, 20230209121046.25360-1-jack@suse.cz).
#
# **The experiment.** `rdma-longterm`: a machine 90 % of whose memory is a mapped file. Memory regions cover a share of
# it, for ever unless told otherwise; devices write to them, threads write to the rest, the flusher comes every 5 s,
# sync every 30 s. How long writers are held up, whether sync returns, what a crash would lose, and what is written
# in vain.
#
# **What it assumes** (docs/model.md, section 12). One disk; registration takes no time and dirties every page;
# regions do not overlap; rates in proportion to memory: per 4 GiB the disk writes 512 MiB/s, threads want 64 MiB/s and
# devices write 128 MiB/s. A lease's grace is 10 s. Nothing here is measured.

# %% tags=["parameters"]
quick: bool = False  # a small machine, and fewer points
figures_dir: str = "../figures"  # folder for figures and tables
data_dir: str = "../data"  # folder of recorded data
seed: int = 1  # of the random numbers

# %%
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

from workbench import anchors, charts, costs, simulate
from workbench.provenance import provenance

folder = Path(figures_dir)
PAGES = 2**14 if quick else 2**18
SPEED = PAGES / 2**20  # rates are per 4 GiB
MACHINE = {
    "pages": PAGES, "disk_mib_s": 512 * SPEED, "write_mib_s": 64 * SPEED, "transfer_mib_s": 128 * SPEED,
    "region_kib": 64, "files": 4, "sync_s": 30.0, "grace_s": 10.0, "holders_release": 0.9, "sample_s": 1.0,
    "duration_s": 130.0 if quick else 300.0,
}  # fmt: skip
SHARES = [0.0, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.95] if quick else [0.0, 0.05, *np.round(np.arange(0.1, 0.96, 0.05), 2)]
COMMON = "tracker=bias,reclaim=skip,order=check-first"
DESIGNS = {
    "v4.17 (ignore)": "v4.17",
    "skip/wait": f"{COMMON},cleaning=skip/wait",
    "skip/report": f"{COMMON},cleaning=skip/report",
    "write-keep-dirty": f"{COMMON},cleaning=write-keep-dirty",
    "bounce": f"{COMMON},cleaning=bounce",
    "skip/bounce, clean (2023)": "kara-bounce-2023",
    "refuse (v6.5)": f"{COMMON},cleaning=ignore,longterm=refuse",
    "lease, skip/wait": f"{COMMON},cleaning=skip/wait,longterm=lease",
    "notifier": "tracker=none,cleaning=ignore,longterm=notifier",
    "private pages (2018-01)": "tracker=bounce-pin,cleaning=ignore",
    "page lock (Viro)": "viro-page-lock",
}
SOURCES = ["Kara 2018-06-20, June 2018", "docs/model.md section 12"]


def run(design, **changes):
    """One run of the machine."""
    return simulate("rdma-longterm", DESIGNS.get(design, design), seed=seed, **(MACHINE | changes))


def row(result, **said):
    """What is asked of a run."""
    metrics, end = dict(result.metrics), MACHINE["duration_s"]
    metrics["sync_s"] = min(metrics["sync_p50_ns"] / 1e9, end)
    for name, counter in (("returned", "FSYNCS"), ("refused", "REFUSED"), ("unstable", "UNSTABLE_WRITE")):
        metrics[name] = result.counters[counter]
    metrics["risk_share"] = metrics["at_risk_bytes_mean"] / (result.parameters["pages"] * 4096)
    metrics["unknown_share"] = metrics["unknown_bytes_mean"] / (result.parameters["pages"] * 4096)
    return said | metrics


def sweep(names, x, values, **changes):
    """A row for each design and each value of a parameter."""
    return pd.DataFrame([row(run(d, **changes, **{x: v}), design=d, **{x: v}) for d in names for v in values])


def caption(text="", memory=f"{PAGES * 4 // 1024} MiB of memory. "):
    return charts.caption("model", costs.in_use(), f"{memory}{text}")


def save(name, made, parameters):
    """Write a figure; its provenance says what was varied."""
    figure, text = made
    made_by = provenance(scenario="rdma-longterm", parameters=parameters, seed=seed, costs=costs.in_use())
    charts.save(figure, name, folder, text, made_by, SOURCES)
    return figure


# %% [markdown]
# ## One machine, half of the file pinned
#
# Registration writes to every page, so every pinned page starts dirty. The limits are 10 and 20 % of memory that can
# be dirtied. v4.17 writes them once and forgets that they change; who skips them is over the limit for ever.

# %%
half = {name: run(name, pinned_share=0.5) for name in DESIGNS}
series = pd.concat([
    r.series[["time_ps", "dirty_pages"]].iloc[:: 5].assign(design=name, share=r.series["dirty_pages"] / PAGES)
    for name, r in half.items() if name not in ("skip/report", "bounce", "refuse (v6.5)")
])  # fmt: skip
limit = half["v4.17 (ignore)"].series
limit = limit[["time_ps"]].iloc[::5].assign(design="hard limit", share=limit["limit_pages"] / PAGES)
made = charts.lines(
    pd.concat([series, limit]), "time_ps", "share", xunit="ps", xlabel="simulated time",
    title="Dirty memory, half of the file pinned", ylabel="dirty pages, share of memory", caption=caption(),
)  # fmt: skip
save("longterm_dirty", made, MACHINE | {"pinned_share": 0.5})

# %%
COLUMNS = {
    "throttled_share": "writers held up", "returned": "syncs returned", "sync_s": "median sync [s]",
    "looked_per_written": "looked at per written", "extra_write_share": "written in vain", "risk_share": "at risk",
    "unknown_share": "of it unknown", "bounce_bytes_max": "bounce pages [B]", "refused": "refused",
    "revoked": "revoked", "device_faults": "device faults", "blocks_blocked": "blocks blocked",
}  # fmt: skip
table = pd.DataFrame([row(r, design=name) for name, r in half.items()]).set_index("design")
table[list(COLUMNS)].rename(columns=COLUMNS).round(4)

# %% [markdown]
# ## By the share that is pinned
#
# How long `balance_dirty_pages` holds writers up, as a share of their time.

# %%
# skip/report holds writers up as skip/wait does, and bounce as write-keep-dirty: they are left out of the figures.
by_share = sweep(DESIGNS, "pinned_share", SHARES)
drawn = by_share[~by_share["design"].isin(["skip/report", "bounce"])]
made = charts.lines(
    drawn, "pinned_share", "throttled_share", xlabel="share of the file that is pinned",
    title="Writers held up, by the share pinned", ylabel="share of the writers' time", caption=caption(),
)  # fmt: skip
save("longterm_throttled", made, MACHINE | {"pinned_share": SHARES})

# %%
made = charts.lines(
    drawn, "pinned_share", "sync_s", yunit="s", xlabel="share of the file that is pinned",
    title="How long sync takes, by the share pinned", ylabel="median time of a sync",
    caption=caption(f"At {MACHINE['duration_s']:g} s: half of the syncs had not returned by the end."),
)  # fmt: skip
save("longterm_sync", made, MACHINE | {"pinned_share": SHARES})

# %% [markdown]
# What a crash would lose is not the same thing: a design that writes nothing risks everything, and so does one
# that calls a page clean while a device goes on writing to it, only that the kernel does not know.

# %%
risk = pd.concat([
    drawn[["design", "pinned_share"]].assign(data=what, share=drawn[column])
    for what, column in (("all that a crash loses", "risk_share"), ("what the kernel takes for clean", "unknown_share"))
])  # fmt: skip
made = charts.lines(
    risk, "pinned_share", "share", panels="data", xlabel="share of the file that is pinned",
    title="Data at risk, mean over time, by the share pinned", ylabel="share of memory", caption=caption(),
)  # fmt: skip
save("longterm_risk", made, MACHINE | {"pinned_share": SHARES})

# %%
made = charts.lines(
    drawn[drawn["pinned_share"] > 0], "pinned_share", "extra_write_share", ylabel="share of the pages written",
    xlabel="share of the file that is pinned", title="Pages written with no new data in them",
    caption=caption("Devices write to the regions in turn: with more of them each is written to less often."),
)  # fmt: skip
save("longterm_extra", made, MACHINE | {"pinned_share": SHARES})

# %% [markdown]
# ## By how fast devices write
#
# With half of the file pinned. Per 4 GiB of memory and second.

# %%
RATES = [4.0, 32.0, 128.0, 512.0, 2048.0] if quick else [2.0, 8.0, 32.0, 128.0, 256.0, 512.0, 1024.0, 2048.0]
DIRTYING = ["v4.17 (ignore)", "skip/wait", "write-keep-dirty", "notifier"]
by_rate = pd.concat([
    sweep(DIRTYING, "transfer_mib_s", [rate * SPEED], pinned_share=0.5).assign(rate=rate) for rate in RATES
])  # fmt: skip
both = pd.concat([
    by_rate[["design", "rate"]].assign(what=what, share=by_rate[column])
    for what, column in (("writers held up", "throttled_share"), ("written in vain", "extra_write_share"))
])  # fmt: skip
made = charts.lines(
    both, "rate", "share", panels="what", logx=True, xlabel="MiB/s per 4 GiB written by devices",
    title="What it turns on: how fast devices write", ylabel="share", caption=caption("Half of the file pinned."),
)  # fmt: skip
save("longterm_rate", made, MACHINE | {"pinned_share": 0.5, "transfer_mib_s": [r * SPEED for r in RATES]})

# %% [markdown]
# ## Reclaim: pages turned over for nothing
#
# A reader streams past at the disk's speed. v4.17 unmaps a pinned page and finds that it can't be freed; v6.12 asks
# and activates it; off the lists (`lru-count`, or mlocked) it is not met, but the memory that can be dirtied, and so
# both limits, shrink by it.

# %%
SCANNING = {
    "v4.17 (ignore)": ("v4.17", {}),
    "bias, asks": ("tracker=bias,cleaning=ignore,reclaim=skip", {}),
    "lru-count": ("tracker=lru-count,cleaning=ignore,reclaim=skip", {}),
    "v4.17, mlocked": ("v4.17", {"mlocked": "yes"}),
}
stream = {"read_mib_s": 256 * SPEED, "duration_s": 60.0}
scanned = pd.DataFrame([
    row(run(design, **stream, **changes, pinned_share=share), design=name, pinned_share=share)
    for name, (design, changes) in SCANNING.items() for share in SHARES
])  # fmt: skip
made = charts.lines(
    scanned, "pinned_share", "scanned_per_freed", xlabel="share of the file that is pinned",
    title="Pages scanned per page freed", ylabel="pages taken up per page freed",
    caption=caption("A reader streams 256 MiB/s per 4 GiB through memory."),
)  # fmt: skip
save("longterm_scanned", made, MACHINE | stream | {"pinned_share": SHARES})

# %% [markdown]
# ## Regions and folios: one page is enough
#
# A tenth of the file pinned, in regions of different sizes, evenly spread. A folio with one pinned page is as pinned as
# another, and a pageblock with one can't be emptied.

# %%
SIZES = [4, 16, 64, 256, 1024, 4096] if quick else [4, 16, 64, 256, 1024, 4096, 16384, 65536]
small = {"pinned_share": 0.1, "duration_s": 40.0}
sized = pd.DataFrame([
    row(run("skip/report", **small, region_kib=kib, folio_order=order), design=f"folios of {4 << order} KiB", size=kib)
    for order in (0, 4, 9) for kib in SIZES
])  # fmt: skip
sized["bytes"] = sized["size"] * 1024
sized["uncleanable"] = sized["uncleanable_pages_max"] / PAGES
made = charts.lines(
    sized, "bytes", "uncleanable", xunit="B", logx=True, xlabel="size of a region", ylabel="share of memory",
    title="Dirty memory that nothing can clean, a tenth of the file pinned", caption=caption("skip/report."),
)  # fmt: skip
save("longterm_folios", made, MACHINE | small | {"region_kib": SIZES, "folio_order": [0, 4, 9]})

# %%
sized["blocked"] = sized["blocks_blocked"] / sized["blocks"]
whole = sized[sized["design"] == "folios of 4 KiB"].set_index("size")
whole[["blocks", "blocks_blocked", "blocked", "uncleanable_pages_max"]]

# %% [markdown]
# ## Holders that let go
#
# Regions held for a time, registered again a second later; the holder dirties what it releases, or does not. With
# `skip/wait` a sync returns if it meets each region between two registrations; and only a release that dirties tells
# v4.17 that anything has changed.

# %%
HOLDS = [10.0, 40.0, 0.0] if quick else [5.0, 10.0, 20.0, 40.0, 80.0, 0.0]
held = pd.DataFrame([
    row(run(d, pinned_share=0.5, hold_s=hold, dirty_on_release=dirty), design=d, dirty=dirty, hold=hold or "for ever")
    for d in ("v4.17 (ignore)", "skip/wait", "lease, skip/wait") for dirty in ("yes", "no") for hold in HOLDS
])  # fmt: skip
held = held.set_index(["design", "dirty", "hold"])
held[["throttled_share", "returned", "sync_s", "risk_share", "unknown_share", "extra_write_share", "unstable"]].round(4)

# %% [markdown]
# ## Leases turn on the holders
#
# What a sync takes when a share of the holders does not let go within the grace and is killed.

# %%
COOPERATIVE = [0.0, 0.5, 0.9, 1.0] if quick else [0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0]
leased = pd.concat([
    sweep(["lease, skip/wait"], "holders_release", COOPERATIVE, pinned_share=0.5, grace_s=g).assign(grace=f"{g:g} s")
    for g in (2.0, 10.0)
])  # fmt: skip
leased.set_index(["grace", "holders_release"])[["throttled_share", "returned", "sync_s", "notified", "revoked"]].round(
    3
)

# %% [markdown]
# ## What a copy costs
#
# Hellwig, 2026-01-14, 20260114074145.3396036-1-hch: direct IO with bounced pages loses 18 % (reads) and 15 % (writes)
# at 4 KiB, and nothing from 64 KiB on. Two of these figures set the cost table, the others are predictions: percent of
# the throughput, or points of one CPU's time. That writeback pays as much for its copies is assumed.

# %%
anchors.bounced().round(1)

# %% [markdown]
# ## By the size of memory
#
# The same file share, half of it pinned, with the same rates in absolute terms. Limits are shares of memory, so with
# more of it there is more to write when sync comes, and more at risk; that writers stop at all hangs on shares alone.

# %%
MEMORIES = [2**12, 2**14, 2**16] if quick else [2**14, 2**16, 2**18, 2**20]
fixed = {key: MACHINE[key] for key in ("disk_mib_s", "write_mib_s", "transfer_mib_s")}
sizes = pd.DataFrame([
    row(run(d, **fixed | {"pages": pages, "pinned_share": 0.5}), design=d, memory=pages * 4096)
    for d in ("v4.17 (ignore)", "write-keep-dirty", "notifier", "lease, skip/wait", "skip/wait") for pages in MEMORIES
])  # fmt: skip
made = charts.lines(
    sizes, "memory", "sync_s", logx=True, xunit="B", yunit="s", xlabel="memory", ylabel="median time of a sync",
    title="How long sync takes, by the size of memory", caption=caption(
        f"Half of the file pinned; disk {fixed['disk_mib_s']:g} MiB/s, threads {fixed['write_mib_s']:g}, devices "
        f"{fixed['transfer_mib_s']:g}. "
        f"At {MACHINE['duration_s']:g} s: half of the syncs had not returned by the end.",
        memory="",
    ),
)  # fmt: skip
save("longterm_memory", made, MACHINE | {"pages": MEMORIES, "pinned_share": 0.5})

# %% [markdown]
# ## Up to a TiB
#
# What such a run itself costs: a simulated hour with 37 % of memory pinned, a flusher's round every 5 s and a sync
# every minute. Recorded, not run here (`python -m benchmarks.longterm 28`).

# %%
scale = pd.read_csv(Path(data_dir) / "longterm_scale.csv", comment="#")
scale["memory"] = scale["pages"] * 4096
scale["design"] = scale["design"].map(lambda d: "v4.17" if d == "v4.17" else "skip/skip")
fits = {name: np.polyfit(np.log(d["pages"]), np.log(d["cpu_seconds"]), 1) for name, d in scale.groupby("design")}
slope, offset = fits["v4.17"]
linear = scale[scale["design"] == "v4.17"].assign(design=f"fit of v4.17: pages^{slope:.2f}")
linear["cpu_seconds"] = np.exp(offset) * linear["pages"] ** slope
recorded = (Path(data_dir) / "longterm_scale.csv").read_text().splitlines()[0].removeprefix("# ")
made = charts.lines(
    pd.concat([scale, linear]), "memory", "cpu_seconds", logx=True, logy=True, xunit="B", yunit="s",
    xlabel="memory simulated, in pages of 4 KiB", title="CPU time of a simulated hour", ylabel="CPU time",
    caption=charts.caption("measured", None, recorded + "."),
)  # fmt: skip
save("longterm_scale", made, {"recorded": recorded})

# %%
scale[
    ["design", "pages", "pinned", "cpu_seconds", "seconds", "world_bytes_per_page", "peak_rss_mib", "pages_looked_at"]
]

# %% [markdown]
# ## What it found

# %%
at_rest = by_share.set_index(["design", "pinned_share"])


def stops_at(design):
    """Smallest share at which writers are held up for more than half of their time."""
    over = at_rest.loc[design]["throttled_share"] > 0.5
    return f"at {over.idxmax():.0%} of the file pinned" if over.any() else "at no share"


def at_half(design, column):
    return table.loc[design, column]


best = [d for d in DESIGNS if at_half(d, "throttled_share") < 0.05 and at_half(d, "unknown_share") == 0]
Markdown(
    f"- **Sooner rather than later**: under `skip/wait` writers stop for good {stops_at('skip/wait')}, since dirty "
    "pages that nothing can clean count against a limit of 20 % of memory; and the first sync "
    f"that meets a pinned dirty page never returns ({at_half('skip/wait', 'returned'):.0f} of "
    f"{at_half('skip/wait', 'syncs_begun'):.0f} at one half). "
    f"`skip/report` lets sync return, with an error; writers stop {stops_at('skip/report')}.\n"
    "- **To write the page and keep it dirty does not help writers**: it still counts as dirty "
    f"({stops_at('write-keep-dirty')}). What is at risk falls to {at_half('write-keep-dirty', 'risk_share'):.1%} of "
    f"memory, at the price of {at_half('write-keep-dirty', 'extra_write_share'):.0%} of all writes in vain; bouncing "
    f"costs {at_half('bounce', 'bounce_bytes_max') / 2**20:.3g} MiB on top and spares the unstable writes "
    f"({at_half('write-keep-dirty', 'unstable'):.0f} against {at_half('bounce', 'unstable'):.0f}).\n"
    "- **v4.17 never becomes unusable, it loses track**: "
    f"{at_half('v4.17 (ignore)', 'unknown_share') / at_half('v4.17 (ignore)', 'risk_share'):.0%} of what a crash would "
    "lose the kernel takes for clean. So it is, to a lesser degree, where bounced pages pass through clean.\n"
    "- **Leases** turn on the holders: those that come back at once pin, and dirty, again what was just cleaned; "
    f"{at_half('lease, skip/wait', 'revoked'):.0f} of them were killed.\n"
    f"- Writers unhindered at one half pinned, and nothing unknown: {', '.join(f'`{d}`' for d in best)}. "
    f"To refuse is to forbid the use; a notifier asks for hardware that can fault: "
    f"{at_half('notifier', 'device_faults'):.0f} device faults.\n"
    "- **The parameters on which the argument turns**: the share pinned against `dirty_ratio`; how often devices write "
    "(write-keep-dirty writes nothing in vain where every page changes between two rounds); whether holders ever let "
    "go; and the size of folios: one pinned page keeps a whole folio dirty."
)
