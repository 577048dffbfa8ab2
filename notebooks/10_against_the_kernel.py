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
# # Against the kernel
#
# **The claim** is this workbench's own: its steps do what Linux does. They were written from the sources of v4.17 and
# v6.12, and reading is no evidence. The thread, too, argued from sources and from memory, until Hubbard's fio runs of
# November 2018 (f5ad7210-05e0-3dc4-02df-01ce5346e198@nvidia).
#
# **The experiment.** Where the running kernel lets itself be asked, ask it. Random mmap, mprotect, mlock, madvise,
# mremap and fork calls, in the VMA model and in a process (section 1). Real pins, by direct reads from a FUSE file that
# answers when we say, by io_uring and by AF_XDP, beside the model's (section 2). Recorded completions beside the device
# model, and the kernel's sources beside the claim that VMAs are accessed "at hundreds of places" (Kara 2018-06-25,
# 20180625152150.jnf5suiubecfppcl@quack2) (section 3). Measured costs beside the cost table (section 4). A difference is
# a bug of the model, or a finding; both are told below.
#
# What is missing here is said in one line, and skipped: section 1 needs Linux 6.12, section 2 root and `/dev/fuse`.
# Sections 3 and 4 need only the files in `data/`. On the command line: `workbench kernel vma`, `pins`, `calibrate`,
# `churn`.

# %% tags=["parameters"]
quick: bool = False  # small inputs: fewer operations, steps and rules
figures_dir: str = "../figures"  # folder for figures and tables
traces_dir: str = "../data/traces"  # folder of the recorded traces
costs_file: str = "../data/costs_linux_6.18.json"  # measured cost table, of which section 4 tells
seed: int = 1  # of random operations, schedules and runs
ops: int = 200000  # operations on VMAs to compare; 4000 in quick mode
steps: int = 1000  # steps of random schedules of pins; 100 in quick mode
ios: int = 20000  # direct IOs of a run of the device model; 2000 in quick mode

# %%
import re
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from workbench import charts, cost_files, costs, touched, traces
from workbench.kernel import needs
from workbench.kernel.pins import run as pins
from workbench.kernel.vma import oracle, outcomes
from workbench.mm.vma_core import RULE_TEXT
from workbench.mm.vma_machine import SINCE
from workbench.provenance import provenance
from workbench.simulate import simulate
from workbench.tables import number

folder = Path(figures_dir)
if quick:
    ops, steps, ios = min(ops, 4000), min(steps, 100), min(ios, 2000)
KARA = "Kara 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2"
LINUX = "Linux " + ".".join(map(str, needs.kernel_version()))
AGREE, DIFFER, SKIPPED = charts.FOUND["unreachable"], charts.FOUND["reachable"], charts.FOUND["not applicable"]
skipped = {}


def attempt(what, run, *arguments, **named):
    """What a comparison gives; None where it can't be made here, which is said in one line."""
    try:
        return run(*arguments, **named)
    except needs.Unavailable as missing:
        skipped[what] = str(missing)
        display(Markdown(f"*{what} skipped: {missing}.*"))
        return None


def save(name, made, sources, parameters=None, scenario=None, table=None):
    """Save a figure with what made it, and show it."""
    source = provenance(scenario=scenario, parameters=parameters or {}, seed=seed, costs=table)
    charts.save(made[0], name, folder, made[1], source, sources)
    display(made[0])


def measured(text):
    return charts.caption("measured", None, f"{LINUX}. {text}")


# %% [markdown]
# ## 1. VMAs: the model and the kernel, operation by operation
#
# Each sequence runs in a process of its own, on 48 pages of its memory and on files of its own. After every operation
# its result, and every VMA of the arena, are compared by the ioctl PROCMAP_QUERY (Linux 6.11), where that is wanting by
# smaps; VmFlags, which the ioctl does not tell, by smaps at intervals. Operations are drawn without knowing what is
# mapped, mostly near earlier ones: so changes are undone, neighbours become alike, holes are hit.

# %%
setting = attempt("Section 1, VMAs,", oracle.check_needs)
if setting:
    report = oracle.compare(ops, seed, setting=setting)
    print(oracle.as_text(report, seed))

# %% [markdown]
# What the operations came to, by kind. For this the same sequences are run once more, in the model alone: where the two
# have agreed on every operation, the model's outcomes are the kernel's. *Half-way*: a call that fails at a hole, or at
# a VMA that it can't change, has changed what lies before it; `madvise` goes on behind the hole, and then fails.

# %%
OUTCOMES = ("no split, no merge", "splits", "merges", "splits and merges", "refused", "refused half-way")


def outcome(row):
    """One of OUTCOMES."""
    if row["error"]:
        return OUTCOMES[5 if row["splits"] or row["merges"] else 4]
    return OUTCOMES[(row["splits"] > 0) + 2 * (row["merges"] > 0)]


if setting and not report.mismatches:
    told = outcomes.outcomes(ops, seed, setting.kernel)
    counted = [int((told[what] * told["operations"]).sum()) for what in ("splits", "merges")]
    assert counted == [report.counts[0], sum(report.counts[1:])], counted
    told["outcome"] = told.apply(outcome, axis=1)
    kinds = told.pivot_table(index="kind", columns="outcome", values="operations", aggfunc="sum", fill_value=0)
    made = charts.matrix(
        kinds[[name for name in OUTCOMES if name in kinds]].map(lambda times: f"{times:,.0f}" if times else "-"),
        {}, corner="operation",
        title=f"What {report.ops:,} random operations came to, in the model and in {LINUX}",
        caption=measured("Results and all VMAs equal after every operation."),
    )  # fmt: skip
    save("kernel_vma_outcomes", made, ["v6.12 mm/vma.c, mm/mmap.c"], {"ops": ops})
    errors = told[told["error"] != ""].groupby("error")["operations"].sum().sort_values(ascending=False)
    display(Markdown("Refused with: " + ", ".join(f"{name} {times:,}" for name, times in errors.items()) + "."))

# %% [markdown]
# **It can fail.** One rule of the model is switched off at a time, and the same comparison made, until the first
# difference; then operations are left out of the sequence as long as it still goes differently.

# %%
RULES = ("pgoff", "account", "merge_right") if quick else tuple(RULE_TEXT)
most = (2000,) if quick else (2000, 20_000, 200_000)


def found_without(rule):
    """The comparison in which the missing rule shows, or the longest one."""
    for few in most:
        found = oracle.compare(few, seed, (rule,), setting=setting)
        if found.mismatch:
            break
    return found


if setting:
    missed = {rule: found_without(rule) for rule in RULES if setting.kernel >= SINCE.get(rule, (0, 0))}
    table = pd.DataFrame(
        [
            {"what it says": RULE_TEXT[rule],
             "missed after": f"{m.sequence * oracle.LENGTH + m.found_after:,} operations" if m else "not found",
             "shortest": f"{len(m.ops)} operations" if m else "-",
             "what differs": m.result.told.get("what", m.result.verdict) if m else "-"}
            for rule, m in ((rule, found.mismatch) for rule, found in missed.items())
        ],
        index=list(missed),
    )  # fmt: skip
    made = charts.matrix(
        table, {"not found": DIFFER, "operations": AGREE}, corner="rule that is off",
        title="A rule of the VMA model is switched off: when is it missed?",
        caption=measured("Random operations until model and kernel first differ; the sequence is then shortened."),
    )  # fmt: skip
    save("kernel_vma_rules", made, ["v6.12 mm/vma.c", "Zeller and Hildebrandt, IEEE TSE 28(2), 2002"], {"most": most})

# %% [markdown]
# One of them as the command prints it: `|` stands between two VMAs that touch.

# %%
if setting:
    print(oracle.as_text(missed["pgoff"], seed))

# %% [markdown]
# ## 2. Pins
#
# The model's own scenarios, under design `v6.12`, and the same steps as system calls. A direct read from a FUSE file
# holds a real short-term pin (FOLL_PIN) until our server answers; io_uring's registered buffers and AF_XDP's umem hold
# long-term ones. After each step all that can be seen is compared: what the call says, pins taken and released
# (nr_foll_pin counters, exact after a write to `stat_refresh`), and of each page whether it is cached, mapped, dirty,
# under writeback, on the LRU, has buffers, how often it is mapped, whether its frame is still the same; of clean pages
# whether memory and disk are equal. The counters are the whole system's: where somebody else was pinning, they are not
# compared in that step, and it is counted. On a busy machine a case may differ all the same, in pins taken and released
# alone; then run it again at rest.

# %%
held = attempt("Section 2, pins,", pins.run, None, steps, seed)
if held:
    print("\n".join(line for line in held.lines()[1:]))

# %%
if held:
    cases = {}
    for result in held.results:
        cases.setdefault(re.sub(r"random-\d+", "random schedules", result.name), []).append(result)
    columns = {
        "steps": lambda bench: bench.steps,
        "compared with the model": lambda bench: bench.compared,
        "only observed": lambda bench: len(bench.observed),
        "disturbed steps": lambda bench: len(bench.disturbed),
        "mismatches": lambda bench: len(bench.mismatches),
    }
    table = pd.DataFrame(
        {name: [sum(count(r.bench) for r in part) for part in cases.values()] for name, count in columns.items()},
        index=list(cases),
    )
    facts = table[["compared with the model", "only observed"]].sum(axis=1).rename("facts").rename_axis("case")
    made = charts.bars(
        facts.reset_index(), "case", "facts", hue="case", logy=True, yunit="1",
        title=f"Facts about pins and pages: {LINUX} beside the model",
        caption=measured("A fact about a page counts for each page and step. With those that are only observed: the "
                         "model has no notion of them; they are held against the sources."),
    )  # fmt: skip
    save("kernel_pins_facts", made, ["v6.12 mm/gup.c, mm/memory.c, mm/truncate.c, mm/vmscan.c"], {"steps": steps})

# %%
if held:
    words = table.map("{:,}".format)
    words["verdict"] = ["differs" if n else "agrees" for n in table["mismatches"]]
    words.loc[[name for name, part in cases.items() if part[0].skipped], "verdict"] = "skipped"
    made = charts.matrix(
        words, {"differs": DIFFER, "agrees": AGREE, "skipped": SKIPPED}, corner="case",
        title="Pins: what was compared, and with what result", caption=measured("Design of the model: v6.12."),
    )  # fmt: skip
    save("kernel_pins_cases", made, ["v6.12 mm/gup.c, mm/memory.c, mm/truncate.c, mm/vmscan.c"], {"steps": steps})

# %% [markdown]
# ### Who may pin what
#
# One page of each kind of memory. Of the kinds in the first lines the model says what is granted; the others are held
# against the kernel's sources. *Moved*: the pin first brings the page a copy of its own.

# %%
MOVED = "moved by a long-term pin"
KIND = re.compile(rf"(.+): (long-term by io_uring|long-term by AF_XDP|short-term|keeps its frame|{MOVED})")


def yes(answer):
    return "yes" if answer else "no"


def of(case, kind):
    """What one case has said: named facts, or observations, as (what, expected, seen)."""
    bench = next(r.bench for r in held.results if r.name == case)
    return bench.named if kind == "model" else [(o.what, o.expected, o.seen) for o in bench.observed]


def registrations():
    """A row per kind of memory, a column per way of pinning it."""
    cells = {}
    for by in ("model", "sources"):
        for what, expected, seen in of("registration", by):
            if match := KIND.match(what):
                kind, column = match.groups()
                if column == "keeps its frame":
                    column, expected, seen = MOVED, not expected, not seen
                word = ("moved" if seen else "stays") if column == MOVED else "granted" if seen else "refused"
                says = "" if seen == expected else f" ({by}: {yes(expected)})"
                cells.setdefault(kind, {"said by": by})[column] = word + says
    return pd.DataFrame.from_dict(cells, orient="index").fillna("-")


if held and of("registration", "model"):
    made = charts.matrix(
        registrations(), {"(": DIFFER, "refused": "#F0D8C8", "granted": AGREE}, corner="memory",
        title=f"Who may be pinned: {LINUX}",
        caption=measured("A cell with a bracket would be one that differs from what the model, or the sources, say."),
    )  # fmt: skip
    save("kernel_pins_registration", made, ["v6.12 mm/gup.c check_vma_flags, gup_fast_folio_allowed"])
    told = [f"{what}: model {yes(said)}, kernel {yes(seen)}" for what, said, seen in of("who-dirties", "model")]
    display(Markdown(f"Who dirties: {'; '.join(told)}."))

# %% [markdown]
# ### Where the bias tips over
#
# A page that holds 1024 references looks pinned to fork. vmsplice gives it plain ones (FOLL_GET): where fork's answer
# flips, the reference count is known, which no file tells. A page that was shared before is not exclusive, and is
# shared again, however many references it has.

# %%
if held and of("bias", "model"):
    flips = {re.sub(r"\D", "", what) + ", a fork ago too" * ("again" in what): (said, seen)
             for what, said, seen in of("bias", "model")}  # fmt: skip
    table = pd.DataFrame({n: ["shared" if answer else "copied" for answer in pair] for n, pair in flips.items()},
                         index=["model", LINUX])  # fmt: skip
    made = charts.matrix(
        table, {"shared": AGREE, "copied": charts.VERDICTS["stale"]}, corner="plain references",
        title="Does fork share a page that has plain references, or copy it?",
        caption=measured("One page for each number; the process has pinned something before, or fork would not ask."),
    )  # fmt: skip
    save("kernel_pins_bias", made, ["v6.12 include/linux/mm.h folio_maybe_dma_pinned, mm/memory.c copy_present_page"])

# %% [markdown]
# ### Findings, which changed the model
#
# These came out of the first runs. In each the kernel was right and the model had to follow:
#
# - **fork takes the child's reference before it asks** (v5.19 mm/memory.c copy_present_pte: get_page(), then
#   page_try_dup_anon_rmap()). So a page with one mapping looks pinned from 1022 plain references on, not from 1023: the
#   mapping and the child make it 1024.
# - **fork copies only what is exclusive.** A page that an earlier fork has already made shared stays shared, whatever
#   the bias says (v6.12 include/linux/rmap.h: PG_anon_exclusive decides). The model had it copied.
# - **A truncated page that is still pinned stays on the LRU** until its last reference goes (v4.17 mm/swap.c
#   __page_cache_release). The model took it off with the truncation, where reclaim could not have met it.
#
# And of VMAs: a second model, written apart from the first, disagreed with it on `mremap` of length 0 onto its own
# place (EFAULT, and the target is unmapped), on calls over the end of the address space, and on protection bits that
# are none; the kernel decided, against the model each time.
#
# **It can fail** here as well: the designs of older kernels, on this one.

# %%
OLDER = {"v4.17": ["golden-race"], "v5.7": ["registration", "fork"]}
if quick:
    del OLDER["v5.7"]
if held:
    lines = []
    for design, names in OLDER.items():
        for result in pins.run(names, 0, seed, design).results:
            lines += [f"{design}, {result.name}: {len(result.bench.mismatches)} differ, the first:"]
            lines += [f"  {told}" for told in result.bench.mismatches[:1]]
    print("\n".join(lines))

# %% [markdown]
# ## 3. Completions and sources
#
# ### Recorded completions beside the device model
#
# Notebook `02_direct_io` holds the *mean* overtaking distance against queue depth, and replays the traces. Here are the
# distributions. The recorded disk (virtio, mq-deadline) completes in the order of issue: the tracepoints show that all
# reordering is the scheduler's, between queue and issue (data/README.md). The model's comes from 16 units of lognormal
# service time; and, as a third, from latencies drawn one by one from the recording, with units for all IOs at once.


# %%
def recorded(qd):
    return traces.load(f"{traces_dir}/r4k-qd{qd}.csv.gz")


def latencies(trace):
    return (trace.ios["complete_ns"] - trace.ios["submit_ns"]).to_numpy()


def modelled(qd, **device):
    return simulate("direct-io", "v4.17", seed=seed, size_kib=4, qd=qd, ios=ios, **device)


def at_least(values, counts, distance):
    """Share of IOs that overtake so many, or more."""
    return counts[values >= distance].sum() / counts.sum()


DEPTHS = (8, 32, 128)
seen, latency = [], {}
for qd in DEPTHS:
    file = f"{traces_dir}/r4k-qd{qd}.csv.gz"
    devices = {f"model, jitter {jitter:g}": {"jitter": jitter} for jitter in (0.25, 1.0)}
    devices["model, latencies as recorded"] = {"latencies": file, "units": 1023}
    histograms = {name: modelled(qd, **device).histograms for name, device in devices.items()}
    overtaken = {name: found["OVERTAKES"] for name, found in histograms.items()}
    overtaken["recorded"] = pd.DataFrame({"value": traces.overtakes(recorded(qd).ios["complete_order"])}).assign(
        count=1
    )
    for name, found in overtaken.items():
        for distance in (d for d in (1, 2, 4, 8, 16, 24, 32, 48, 64, 96) if d < qd):
            share = at_least(found["value"].to_numpy(), found["count"].to_numpy(), distance)
            seen.append({"completions": name, "queue depth": f"depth {qd}", "distance": distance, "share": share})
    if qd == 32:
        latency = {name: found["LATENCY"] for name, found in histograms.items()}
made = charts.lines(
    pd.DataFrame(seen), "distance", "share", hue="completions", panels="queue depth", logx=True,
    title="How many earlier IOs does a 4 KiB read overtake?", xlabel="earlier IOs in flight, at least",
    xunit="1", yunit="1", ylabel="share of IOs",
    caption=charts.caption("model", costs.in_use(), "'recorded' is measured: Linux 6.18, virtio, mq-deadline."),
)  # fmt: skip
SOURCES = ["data/traces/r4k-qd8.csv.gz, r4k-qd32.csv.gz, r4k-qd128.csv.gz"]
save("kernel_overtakes", made, SOURCES, {"qd": DEPTHS, "ios": ios}, "direct-io", costs.in_use())

# %% [markdown]
# Latencies at depth 32, each divided by its median: the recorded disk is three times slower than the SSD of 2018, to
# which the model is set, so only the shape can be compared.


# %%
def over_median(values, counts):
    """A histogram in units of its median."""
    return values / charts.percentile(values, counts, 5000), counts


shapes = {name: over_median(found["value"].to_numpy(), found["count"].to_numpy()) for name, found in latency.items()}
shapes["recorded"] = over_median(*np.unique(latencies(recorded(32)), return_counts=True))
made = charts.ccdf(
    shapes, xlabel="latency over its median", xunit="1", title="Latencies of 4 KiB reads at depth 32, by their shape",
    caption=charts.caption("model", costs.in_use(), "'recorded' is measured: Linux 6.18, virtio, mq-deadline."),
)  # fmt: skip
save("kernel_latency_shape", made, SOURCES[:1], {"qd": 32, "ios": ios}, "direct-io", costs.in_use())

# %%
shown = pd.DataFrame(seen).pivot_table(index="completions", columns=["queue depth", "distance"], values="share")
first = {qd: shown.loc["recorded", (f"depth {qd}", 1)] for qd in DEPTHS}
far = shown["depth 32", 16]
tails = {name: [charts.percentile(*tally, share) for share in (9900, 9990)] for name, tally in shapes.items()}
Markdown(
    "Out of order in the recordings: "
    + ", ".join(f"{share:.0%} at depth {qd}" for qd, share in first.items())
    + f". At depth 32 {far['recorded']:.0%} of the IOs overtake 16 or more, which a device of 16 units can't give at "
    "any jitter. Latencies drawn from the recording don't either "
    f"({far['model, latencies as recorded']:.1%}), though they have the "
    "same distribution: a scheduler that sorts a batch by sector makes the latencies of neighbours depend on each "
    "other, and the order comes from that. Nor is the shape a lognormal. Medians at p99 and at p99.9: "
    + "; ".join(
        f"{name} {p99:.2f} and {'-' if np.isnan(p999) else f'{p999:.1f}'}" for name, (p99, p999) in tails.items()
    )
    + ". So where order matters, replay a trace, as notebook 02 does beside the device model."
)

# %% [markdown]
# ### The sources
#
# How many places each tracker makes one touch, in the sources of three kernels (`workbench kernel churn`; parsed, with
# declarations resolved; `data/README.md` says how, and holds it against a compiler). *Change*: code that has to be
# written anew; *audit*: code that stays right only if it never meets a pinned page.

# %%
KERNELS = {"Linux 5.10": "linux-5.10.223", "Linux 6.1": "linux-6.1.176", "Linux 6.12": "linux-6.12.107"}
counts = {name: touched.load(touched.SHIPPED.with_name(f"{file}.csv")) for name, file in KERNELS.items()}
churn = pd.DataFrame(
    [{"kernel": kernel, "tracker": tracker, "must": must, "places": places}
     for kernel, read in counts.items() for tracker in touched.TRACKERS
     for must, places in touched.places(read, tracker).items()]
)  # fmt: skip
DRAWN = ["bounce-pin", "lru-count", "bias", "vma-full", "vma-common"]
change = pd.concat([churn[(churn["must"] == "change") & (churn["tracker"] == tracker)] for tracker in DRAWN])
made = charts.bars(
    change, "tracker", "places", hue="kernel", logy=True, yunit="1", ylabel="places to change",
    title="Places in the kernel's sources that a tracker makes one change",
    caption=charts.caption("measured", None, "Counted in the sources that Debian ships; sure places only. The other "
                           "trackers are in the table."),
)  # fmt: skip
save("kernel_churn", made, [KARA, "data/churn, data/README.md"], {"kernels": KERNELS})

# %%
by = churn.pivot_table(index="tracker", columns=["kernel", "must"], values="places", sort=False)
cells = {
    f"{kernel}, {must}": by[kernel, must].map("{:,.0f}".format) for must in ("change", "audit") for kernel in KERNELS
}
made = charts.matrix(
    pd.DataFrame(cells), {}, corner="tracker", title="Places to change, and places to look at",
    caption=charts.caption("measured", None, "Counted in the sources that Debian ships; sure places only."),
)  # fmt: skip
save("kernel_churn_table", made, [KARA, *sorted({t.source for t in touched.TRACKERS.values()})], {"kernels": KERNELS})

# %% [markdown]
# Of 4.17 itself there are only counts by grep (lines and files). The same grep on 5.10 tells what the version makes of
# them, and the parsed places of 5.10 what the method does.

# %%
readme = (touched.SHIPPED.parent.parent / "README.md").read_text(encoding="utf-8")
rows = [line.split("|")[1:-1] for line in readme.partition("**Beside grep**")[2].splitlines() if line[:1] == "|"]
head, _, *body = [[cell.strip().replace("`", "") for cell in row] for row in rows]
grep = pd.DataFrame([row[1:] for row in body], columns=head[1:], index=[row[0] for row in body])
made = charts.matrix(
    grep, {}, corner="lines / files", title="Grep and parser: 4.17 and 5.10",
    caption=charts.caption("measured", None, "Patterns of 4.17 are not known; (->|\\.)name\\b and \\bname( here."),
)  # fmt: skip
save("kernel_churn_grep", made, ["data/README.md"])

# %%
full = {kernel: by.loc["vma-common", (kernel, "change")] for kernel in KERNELS}
bias = {kernel: by.loc["bias", (kernel, "change")] for kernel in KERNELS}
Markdown(
    'Kara\'s "hundreds of places" are, for a node common to VMAs and ranges, '
    + ", ".join(f"{places:,.0f} ({kernel})" for kernel, places in full.items())
    + "; for the bias that was merged "
    + ", ".join(f"{places:,.0f} ({kernel})" for kernel, places in bias.items())
    + ". Between 4.17 and 5.10 grep's counts of VMA members hardly move; those of GUP do, as its callers went over to "
    "pin_user_pages(). What parser and grep differ by are comments, members of other structs with the same name, and "
    "`shared`, which many structs have; and put_page(), which any page's owner calls: beside a GUP call it counts, "
    "elsewhere not, which is a guess in both directions."
)

# %% [markdown]
# ## 4. Costs
#
# `workbench kernel calibrate` times what of the cost table can be timed from user space, and what no entry holds.
# Beside it the table in use here: the one that is built in, if no other was given.

# %%
HERE, FILE = costs.in_use(), cost_files.read(costs_file)
NAMES = {"table in use": f"in use: {HERE.name}", "file": f"file: {FILE.table.name}"}
entries = []
for counter in FILE.spread:
    for name, table, spread in ((NAMES["table in use"], HERE, 0.0), (NAMES["file"], FILE.table, FILE.spread[counter])):
        ns = table.entries[counter].ns
        entries.append({"entry": counter, "table": name, "ns": ns, "low": ns * (1 - spread / 2),
                        "high": ns * (1 + spread / 2)})  # fmt: skip
made = charts.bars(
    pd.DataFrame(entries), "entry", "ns", hue="table", band=("low", "high"), logy=True, yunit="ns", ylabel="cost",
    band_name="interquartile range over the runs, of the file's", title="Entries of the cost table, measured again",
    caption=charts.caption("measured", FILE.table, f"{FILE.about['kernel']}, {FILE.about['cpu']}."),
)  # fmt: skip
save("kernel_costs", made, ["data/costs_linux_6.18.json"], table=FILE.table)

# %% [markdown]
# ### What that does to direct IO
#
# 4 KiB and 64 KiB reads, depth 64, one CPU; the designs of 2018, of today, and Kara's ranges.

# %%
DESIGNS = ("v4.17", "v6.12", "kara-virtual-vma")


def direct_io(size):
    return {
        design: simulate("direct-io", design, seed=seed, size_kib=size, qd=64, ios=ios).metrics for design in DESIGNS
    }


SIZES = (4, 64)
results = {("in use", size): direct_io(size) for size in SIZES}
with costs.using(costs_file):
    results |= {("file", size): direct_io(size) for size in SIZES}


def beyond(table, size, design):
    """CPU time of a direct IO beyond that of v4.17, in ns."""
    found = results[table, size]
    return found[design]["cpu_ns_per_io"] - found["v4.17"]["cpu_ns_per_io"]


cells = {}
for size in SIZES:
    for design in DESIGNS:
        row = cells.setdefault(f"{design}, {size} KiB", {})
        for table in ("in use", "file"):
            row[f"CPU per page, {table}"] = number(results[table, size][design]["cpu_ns_per_page"], "ns")
        for table in ("in use", "file"):
            row[f"beyond v4.17 per IO, {table}"] = number(beyond(table, size, design), "ns")
made = charts.matrix(
    pd.DataFrame.from_dict(cells, orient="index"), {}, corner="design, size", title="Direct IO by either cost table",
    caption=charts.caption("model", FILE.table, f"That is 'file'; 'in use' is {HERE.name}."),
)  # fmt: skip
save("kernel_costs_direct_io", made, ["data/costs_linux_6.18.json"], {"qd": 64, "ios": ios}, "direct-io", FILE.table)

# %%
added = [(design, *(number(beyond(table, 4, design), "ns") for table in ("in use", "file"))) for design in DESIGNS[1:]]
Markdown(
    "What a design adds to a 4 KiB direct IO, by the table in use and by the file: "
    + "; ".join(f"{design} {one} and {other}" for design, one, other in added)
    + ". The bias is an atomic operation more, and that is measured. A range is made of entries that are assumed in "
    "both tables (locks, tree, slab, work queue), so that calibration says little of it. Entries that the first table "
    "derives from published totals are not derived again in the file: they are of another machine."
)

# %% [markdown]
# ### VMAs, by how many there are
#
# One process with 10 to 60,000 VMAs of a page, three pages apart; a call at a random place. This is the tree of the
# address space (a maple tree since 6.1), not `i_mmap`, the tree that virtual VMAs would be in: what a range in that one
# costs can't be timed on a kernel that has none, and the entries `RB_VISITED` and `RB_ROTATIONS` stay assumed.

# %%
grown = []
for row in FILE.measurements:
    if match := re.fullmatch(r"(.+), (\d+) VMAs", row["name"]):
        half = (row["spread"] or 0.0) / 2
        grown.append({"call": match[1], "VMAs": int(match[2]), "ns": row["value"], "low": row["value"] * (1 - half),
                      "high": row["value"] * (1 + half)})  # fmt: skip
grown = pd.DataFrame(grown, columns=["call", "VMAs", "ns", "low", "high"])
if len(grown):
    made = charts.lines(
        grown, "VMAs", "ns", hue="call", band=("low", "high"), band_name="interquartile range over the runs", logx=True,
        xunit="1", yunit="ns", xlabel="VMAs of the process", ylabel="time of a call",
        title="VMA calls, by number of VMAs",
        caption=charts.caption("measured", FILE.table, f"{FILE.about['kernel']}. Less an empty system call."),
    )  # fmt: skip
    save("kernel_vma_growth", made, ["data/costs_linux_6.18.json"], table=FILE.table)
else:
    skipped["VMA calls by number of VMAs"] = f"no such measurements in {FILE.table.name}"

# %%
ends = grown.sort_values("VMAs").groupby("call", sort=False)["ns"].agg(["first", "last"])
Markdown(
    "From the fewest VMAs to the most: "
    + "; ".join(f"{call} {number(r['first'], 'ns')} to {number(r['last'], 'ns')}" for call, r in ends.iterrows())
    + ". These times include misses of the cache, which the table's entries for the tree do not: notebook 06, section "
    "6, turns those. Single points that stand out, such as munmap beside 30,000 VMAs in the file that is shipped, are "
    "not explained."
)

# %% [markdown]
# ## What it found
#
# - **VMAs and pins**: the counts of this run stand below. The model's rules are the running kernel's, as far as
#   random operations and schedules reach; and each rule that is switched off is missed, so that all of them are put
#   to the test.
# - **Three rules about pins were wrong**, and this comparison found them: when fork counts the child's reference,
#   what it copies, and where a truncated page lies. None had been in doubt.
# - **Completions**: the overtaking that was recorded is a scheduler's. The model's jitter is no model of it; a replay
#   is.
# - **Costs**: what can be timed from user space is near the built-in entries, and what a design adds to a direct IO
#   moves little by it, since most of that is in entries that can't be timed from outside: locks, tree, slab.
#
# **What can't be compared.** A page's reference count is not exported; only where the bias flips shows it. Nor is
# `i_mmap`: virtual VMAs, off-LRU pages and every design that was not merged are held against a second program (the
# twins in `tests/`), never against a kernel. Locks and their order are not seen: nothing here traces functions.
# Memory pressure: MADV_PAGEOUT, POSIX_FADV_DONTNEED and drop_caches stand for it. Pins of large folios: of anonymous
# huge pages only, none in the page cache. A device that reorders by itself: the disk of these traces does not. And
# the kernels of 2018: it is `v6.12` that is held against this kernel; of `v4.17` only that it differs where it
# should.

# %%
lines = []
if setting:
    lines.append(
        f"- VMAs: {report.ops:,} operations compared with {LINUX} by {report.ran_on['compared_by']}, "
        f"{report.smaps_checks:,} times with smaps; {report.counts[0]:,} splits, {sum(report.counts[1:]):,} merges, "
        f"{report.forks:,} forks; **{report.mismatches} mismatches**. Of {len(missed)} rules that were switched off "
        f"{sum(found.mismatches > 0 for found in missed.values())} were missed."
    )
if held:
    told = held.as_dict()
    lines.append(
        f"- Pins: {told['steps']:,} steps, {told['compared']:,} facts compared with {LINUX}, {told['observed']} only "
        f"observed; **{told['mismatches']} mismatches**."
    )
    skipped |= {f"case {name}": why for name, why in told["skipped"].items()}
    skipped |= {f"{r.name}: {what}": "left out" for r in held.results for what in r.bench.left_out}
lines += [f"- Skipped here: {what} {why}." for what, why in skipped.items()] or ["- Nothing was skipped here."]
Markdown("\n".join(lines))
