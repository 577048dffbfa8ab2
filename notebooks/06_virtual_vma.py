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
# # Virtual VMAs, and the first obstacle of June 2018
#
# **The claim.** Jan Kara, 2018-06-25 (20180625152150.jnf5suiubecfppcl@quack2), on keeping each pinned range as a
# special entry in the inode's VMA tree: a full VMA "uses unnecessarily too much memory, it is ugly"; a structure common
# to VMA and pinned range is "doable but causes a lot of churn as VMAs are accessed (and modified!) at hundreds of
# places in the kernel". On 2018-12-10 (20181210102846.GC29289@quack2) he added the cost of each insert, and that "for
# small IOs there's no help".
#
# **The experiment.** The interval tree of v4.17, filled with pinned ranges by the trackers' own functions, shared with
# real mappings of the file. How many bytes does a pinned page cost, against the length of a range and against overlap?
# How deep is the tree, and how many nodes and rotations does a pin take? What do real mappings pay, which share the
# tree: mmap, munmap, and the rmap walks of `page_mkclean` and `try_to_unmap`, which go through ranges that have no PTE?
#
# Nodes and rotations are exact counts. Nanoseconds are these counts times the cost table's entries, which for the tree
# are *assumed*: 10 ns for a node in the cache and 10 ns for a rotation. Misses of the cache are not modelled: section 6
# turns the cost of a node from 10 ns to 100 ns, a miss. Churn in the source is counted in `10_against_the_kernel`.

# %% tags=["parameters"]
quick: bool = False  # small inputs: fewer ranges and operations
figures_dir: str = "../figures"  # folder for figures, tables and results
most_ranges: int = 1000000  # pinned ranges in the tree, at most; 30000 in quick mode
ops: int = 10000  # operations of each kind per point; 1000 in quick mode

# %%
from functools import cache
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from workbench import charts, costs, results
from workbench.provenance import provenance
from workbench.simulate import simulate
from workbench.sizes import PAGE_BITS, per_slab_page
from workbench.tables import number

folder = Path(figures_dir)
if quick:
    most_ranges, ops = min(most_ranges, 30_000), min(ops, 1000)
KARA = "Kara 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2"
KARA_DEC = "Kara 2018-12-10, 20181210102846.GC29289@quack2"
FULL, COMMON = "vma-full:release=split", "vma-common:release=split"
COUNTS = [n for n in (0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000) if n < most_ranges] + [most_ranges]
rows = {}


@cache
def _run(tracker, parameters):
    result = simulate("virtual-vma", f"tracker={tracker}", **dict(parameters))
    row = results.row(result.provenance, tracker, result.metrics, result.counters)
    rows[row["design"], str(row["parameters"])] = row
    return result.metrics


def run(tracker, **parameters):
    """Metrics of one run; asked for again, it is not run again."""
    return _run(tracker, tuple(sorted(parameters.items())))


TABLE = costs.in_use()


def save(name, made, parameters, sources=(KARA,), table=TABLE):
    """Save a figure with what made it, and show it."""
    source = provenance(scenario="virtual-vma", parameters=parameters, seed=1, costs=table)
    charts.save(made[0], name, folder, made[1], source, sources)
    return made[0]


def timed(text):
    """Say where times come from."""
    return charts.caption("model", TABLE, text)


# %% [markdown]
# ## 1. Bytes per pinned page
#
# A range takes one object from the slab: 200 bytes for a full VMA, of which 20 go into 4 KiB; 64 for a common node (a
# replica's size, and an assumed layout: see `workbench/sizes.py`). What a page has to carry for it depends on how many
# pages a range has, and on how many ranges cover a page: node bytes × overlap / length. Who pins how long a range:
# a 4 KiB direct IO one page; legacy direct IO 64 pages per call at most; RDMA 512; one node for a whole region of 1 GiB
# would cover 262144.
#
# The others take nothing per pin. `bias` and `lru-count` use what `struct page` has, a flag one bit of every page and
# `pincount` four bytes of every page, *pinned or not*: the lines assume that all memory is pinned, which flatters them.

# %%
lengths = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 4096, 32768, 262144]
SHOWN = ["flag", "lru-count", "bias", "pincount", FULL, COMMON]
points = []
for overlap in (1, 8):
    for tracker in SHOWN:
        for length in lengths:
            given = {"ranges": 800, "range_pages": length, "overlap": overlap, "ops": 1}
            metrics = run(tracker, **given)
            panel = f"{overlap} ranges over each page" if overlap > 1 else "one range over each page"
            points.append({"design": tracker, "cover": panel, "overlap": overlap, "pages": length, **metrics})
memory = pd.DataFrame(points)
made = charts.lines(
    memory, "pages", "bytes_per_pinned_page", panels="cover", logx=True, logy=True,
    title="Memory for each pinned page, against the length of a range", xlabel="pages of a range (of a GUP call)",
    ylabel="bytes per pinned page",
    caption=charts.caption("model", None, "A flag and pincount take their bits of every page, pinned or not. How a "
                           "range is released does not matter; a bio's back-pointer is not in it."),
)  # fmt: skip
save("vvma_bytes", made, {"ranges": 800, "range_pages": lengths, "overlap": [1, 8]}, (KARA,), None)


# %%
def node_bytes(tracker):
    """Slab memory of one range."""
    return 4096 / per_slab_page("vm_area_struct" if tracker == FULL else "pinned range, common node")


ranged = memory[memory["design"].isin([FULL, COMMON])]
expected = ranged["design"].map(node_bytes) * ranged["overlap"] / ranged["pages"]
off = (ranged["bytes_per_pinned_page"] / expected - 1).abs().max()
assert off < 1e-3, off
pincount = PAGE_BITS["pincount"].bits / 8
Markdown(
    f"Counted and worked out agree within {off:.1g}. Where a range has one page, a full VMA costs "
    f"{number(node_bytes(FULL), 'B')} per page ({node_bytes(FULL) / 4096:.1%} of the memory that is pinned), a common "
    f"node {number(node_bytes(COMMON), 'B')} ({node_bytes(COMMON) / 4096:.1%}). Ranges take less than a count of "
    f"{pincount:g} bytes in every page from {node_bytes(FULL) / pincount:.0f} pages on (full VMA), or from "
    f"{node_bytes(COMMON) / pincount:.0f} (common node), if all memory is pinned; of 1 % pinned memory, always. So "
    f'"too much memory" turns on the length of a range: at 64 pages it is '
    f"{number(node_bytes(FULL) / 64, 'B')} per page, at 512 pages {number(node_bytes(FULL) / 512, 'B')}."
)

# %% [markdown]
# ## 2. Memory of the users that the thread named
#
# The same as absolute figures. 1 GiB registered by RDMA is 512 calls of 512 pages; the published load of 4 KiB reads at
# depth 64 has 64 ranges of a page. Overlap: ten registrations of the same region (Romanovsky, 2019-12-19, registers one
# block many times).

# %%
USERS = {
    "4 KiB direct IO, depth 64": (64, 1, 1),
    "1 MiB legacy direct IO, depth 64": (64 * 4, 64, 1),
    "1 MiB iomap direct IO, depth 64": (64, 256, 1),
    "RDMA, 1 GiB": (512, 512, 1),
    "RDMA, 1 GiB, one node": (1, 262_144, 1),
    "RDMA, 1 GiB, ten times": (5120, 512, 10),
    "RDMA, 64 GiB": (32_768, 512, 1),
}
told = {}
for user, (ranges, length, overlap) in USERS.items():
    given = {"ranges": ranges, "range_pages": length, "overlap": overlap, "ops": 1}
    full, common = run(FULL, **given), run(COMMON, **given)
    told[user] = {
        "ranges": number(ranges),
        "pages": number(full["pinned_pages"]),
        "full VMA": number(full["pinned_pages"] * full["bytes_per_pinned_page"], "B"),
        "common node": number(common["pinned_pages"] * common["bytes_per_pinned_page"], "B"),
        "bytes per page": f"{full['bytes_per_pinned_page']:.3g} / {common['bytes_per_pinned_page']:.3g}",
        "greatest depth": str(full["tree_depth_max"]),
    }
told_bytes = told["RDMA, 1 GiB"]
made = charts.matrix(pd.DataFrame(told).T, {}, corner="who pins", title="Memory of pinned ranges, by user",
                     caption=charts.caption("model", None, "8 real VMAs are in the tree."))  # fmt: skip
save("vvma_users", made, {"users": USERS}, (KARA, "Romanovsky 2019-12-19, 20191219132607.GA410823@unreal"), None)

# %% [markdown]
# ## 3. The tree
#
# `ranges` pinned ranges of 16 pages and 8 real VMAs of the whole file; then one more is pinned, the oldest released,
# and so on. Ranges that go in in the order of the file make the tree deeper than ranges in random order.

# %%
SHAPE = {"range_pages": 16, "ops": ops}
ORDERS = {"ascending": "in the order of the file", "shuffled": "in random order"}
points = []
for placement, said in ORDERS.items():
    for ranges in COUNTS:
        metrics = run(COMMON, ranges=ranges, placement=placement, **SHAPE)
        points.append({"order": said, "ranges": ranges, **metrics})
tree = pd.DataFrame(points)


def long(frame, columns, keys):
    """One row per point and quantity."""
    return pd.concat([frame[keys].assign(what=said, value=frame[name]) for name, said in columns.items()])


counted = {
    "tree_depth_max": "greatest depth",
    "tree_depth_mean": "mean depth",
    "pin_visited_mean": "nodes visited by a pin",
    "unpin_visited_mean": "nodes visited by an unpin",
    "rmap_visited_mean": "nodes visited by an rmap walk",
}
made = charts.lines(
    long(tree[tree["ranges"] > 0], counted, ["order", "ranges"]), "ranges", "value", hue="what", panels="order",
    logx=True, title="Depth of the tree, and nodes that operations visit", xlabel="pinned ranges", ylabel="nodes",
    caption=charts.caption("model", None, "8 real VMAs map the whole file. An unpin finds the range by the page "
                           "(split), looks whether another covers it, and takes it out."),
)  # fmt: skip
save("vvma_tree", made, {"ranges": COUNTS, **SHAPE}, (KARA,), None)

# %%
turned = {"pin_rotations_mean": "pin", "unpin_rotations_mean": "unpin"}
made = charts.lines(
    long(tree[tree["ranges"] > 0], turned, ["order", "ranges"]), "ranges", "value", hue="what", panels="order",
    logx=True, title="Rotations of an operation", xlabel="pinned ranges", ylabel="rotations, mean",
    caption=charts.caption("model", None, "At most two for an insert and three for a removal, in any tree."),
)  # fmt: skip
save("vvma_rotations", made, {"ranges": COUNTS, **SHAPE}, (KARA,), None)

# %% [markdown]
# ## 4. What real mappings pay
#
# mmap and munmap insert and remove a VMA under `i_mmap_rwsem` for writing; writeback and reclaim walk the tree under it
# for reading, page by page, and pass over what is not a VMA. A file of 2²⁴ pages (64 GiB), in which ranges of 16 pages
# are pinned anywhere: a million of them cover 61 % of it, a thousand 0.1 %. So up to many thousands hardly any walk
# meets a range: what it pays is the depth. Each page is mapped by 8 VMAs: of the *whole file*, or of *parts*.

# %%
FILE = 1 << 24
MAPPINGS = {"8 VMAs of the whole file": {"vmas": 8}, "64 VMAs of an eighth each": {"vmas": 64, "vma_pages": FILE // 8}}
ANYWHERE = {"placement": "random", "file_pages": FILE, "release": "random", **SHAPE}
points = []
for said, mapping in MAPPINGS.items():
    for ranges in COUNTS:
        metrics = run(COMMON, ranges=ranges, **ANYWHERE, **mapping)
        points.append({"mapped": said, "ranges": ranges, "place": ranges or 0.1, **metrics})
real = pd.DataFrame(points)
visited = {"mmap_visited_mean": "mmap", "munmap_visited_mean": "munmap", "rmap_visited_mean": "rmap walk"}
made = charts.lines(
    long(real, visited, ["mapped", "place"]), "place", "value", hue="what", panels="mapped", logx=True,
    title="Nodes that the operations of real mappings visit", xlabel="pinned ranges in the tree (0.1: none)",
    ylabel="nodes visited, mean", caption=charts.caption("model", None, "Ranges of 16 pages anywhere in 2^24."),
)  # fmt: skip
save("vvma_real_mappings", made, {"ranges": COUNTS, **ANYWHERE, "mappings": MAPPINGS}, (KARA,), None)

# %% [markdown]
# Overlap is what an rmap walk can't avoid: it goes through every range that covers the page. A block that many regions
# register (one is enough for many pins of it) makes each walk longer by as many nodes.

# %%
overlaps = [1, 2, 4, 8, 16, 32, 64, 128, 256]
points = []
for overlap in overlaps:
    metrics = run(COMMON, ranges=4096, overlap=overlap, placement="shuffled", **SHAPE)
    points.append({"overlap": overlap, **metrics})
stacked = pd.DataFrame(points)
passed = {"rmap_visited_mean": "nodes visited", "rmap_passed_mean": "pinned ranges gone through"}
made = charts.lines(
    long(stacked, passed, ["overlap"]), "overlap", "value", hue="what", logx=True, logy=True,
    title="An rmap walk, against the ranges that cover a page", xlabel="ranges that cover a page", ylabel="nodes",
    caption=charts.caption("model", None, "4096 ranges of 16 pages, and 8 VMAs of the whole file."),
)  # fmt: skip
save("vvma_overlap", made, {"ranges": 4096, "overlap": overlaps, "placement": "shuffled", **SHAPE}, (KARA,), None)

# %% [markdown]
# ## 5. How long the lock is held
#
# Everything of section 4 happens under one semaphore per file. The hold is what an operation counts, at 10 ns per node
# and rotation (assumed), and a range's allocation; the wait for it is in notebook 02. The release: `split` and `count`
# find the range by the page, `backpointer` has it. At a million ranges anywhere in the file many overlap: a release by
# page then has more to look through, and cuts the ranges of others.

# %%
RELEASES = ("split", "count", "backpointer")
points = []
for node_ns in (10.0, 100.0):
    for ranges in COUNTS:
        given = {"ranges": ranges, "node_ns": node_ns, "vmas": 8, **ANYWHERE}
        holds = {f"unpin, {r}": run(f"vma-common:release={r}", **given)["unpin_hold_mean_ns"] for r in RELEASES}
        metrics = run(COMMON, **given)
        holds |= {f"{name}": metrics[f"{key}_hold_mean_ns"] for key, name in
                  (("pin", "pin"), ("mmap", "mmap"), ("munmap", "munmap"), ("rmap", "rmap walk"))}  # fmt: skip
        panel = "10 ns per node: in the cache" if node_ns == 10 else "100 ns per node: a miss"
        points += [{"node": panel, "place": ranges or 0.1, "what": name, "ns": ns} for name, ns in holds.items()]
held = pd.DataFrame(points)
made = charts.lines(
    held, "place", "ns", hue="what", panels="node", logx=True, logy=True, yunit="ns",
    title="Mean hold of i_mmap_rwsem", xlabel="pinned ranges in the tree (0.1: none)", ylabel="hold, mean",
    caption=timed("The tree's entries are assumed, and the node's cost is set by node_ns; 8 VMAs of the whole file."),
)  # fmt: skip
save("vvma_hold", made, {"ranges": COUNTS, "node_ns": [10, 100], **ANYWHERE}, (KARA, KARA_DEC))

# %% [markdown]
# ## 6. What a miss costs, and what the rate of direct IO leaves of the lock
#
# A tree of a million common nodes is 61 MiB: beyond its upper levels each node is a miss of the cache. If all are hits
# the lock is held so long, if all are misses ten times as long; a machine lies in between. At the published rate of
# 4 KiB reads (193 k per second, one range each), this share of the time the lock of the file is held for pins alone:

# %%
RATE = 193_000
points = []
for node_ns in (10.0, 30.0, 100.0):
    for ranges in [n for n in COUNTS if n >= 10]:
        metrics = run(COMMON, ranges=ranges, node_ns=node_ns, vmas=8, **ANYWHERE)
        share = RATE * (metrics["pin_hold_mean_ns"] + metrics["unpin_hold_mean_ns"]) / 1e9
        points.append({"node": f"{node_ns:g} ns per node", "ranges": ranges, "share": share})
share = pd.DataFrame(points)
made = charts.lines(
    share, "ranges", "share", hue="node", logx=True, xlabel="pinned ranges in the tree",
    title="Share of the time for which i_mmap_rwsem is held, at 193 k reads of 4 KiB per second",
    ylabel="share of time", caption=timed("1: no more can be done. Nobody waits here, and no mapping does anything."),
)  # fmt: skip
save("vvma_lock_share", made, {"ranges": COUNTS, "node_ns": [10, 30, 100], **ANYWHERE}, (KARA_DEC,))

# %% [markdown]
# ## 7. Does the order of release matter?
#
# The seed's second obstacle says "at different times and in random order". For the tree it matters less which range
# goes next than where the ranges lie: laid anywhere in a file of their own size they overlap. Then a release by the
# page has more to look through, is charged to another's range, and leaves pieces (`split`) or ranges that are partly
# released (`count`): more of them in the tree than there are calls whose pages are pinned. `lifo` pins and releases the
# same range again and again: its figures are those of one place in the tree. More on wrong charges is in notebook 02.

# %%
told = {}
for placement in ("ascending", "random"):
    for release in ("fifo", "random", "lifo"):
        given = {"ranges": min(10_000, most_ranges), "placement": placement, "release": release, **SHAPE}
        split, count = run(COMMON, **given), run("vma-common:release=count", **given)
        told[f"{release}, {'back to back' if placement == 'ascending' else 'anywhere'}"] = {
            "visited by a pin": number(split["pin_visited_mean"]),
            "by an unpin": number(split["unpin_visited_mean"]),
            "rotations, pin and unpin": number(split["pin_rotations_mean"] + split["unpin_rotations_mean"]),
            "hold of an unpin": number(split["unpin_hold_mean_ns"], "ns"),
            "p99": number(split["unpin_hold_p99_ns"], "ns"),
            "left at the end, split / count": f"{split['ranges_left']} / {count['ranges_left']}",
        }
made = charts.matrix(pd.DataFrame(told).T, {}, corner="released, pinned", title="Order of release",
                     caption=timed("Times: 10 ns per node, assumed."))  # fmt: skip
save("vvma_order", made, {"ranges": min(10_000, most_ranges), **SHAPE})

# %% [markdown]
# ## What it found


# %%
def of(frame, ranges, column, **where):
    """One figure of one point."""
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return float(frame[frame["ranges"] == ranges][column].iloc[0])


parts = list(MAPPINGS)[1]
alone, crowd = (run(COMMON, ranges=n, vmas=8, **ANYWHERE) for n in (0, most_ranges))
top = number(most_ranges)
worst = share[share["ranges"] == most_ranges].set_index("node")["share"]
results.write(rows.values(), folder / "virtual_vma.parquet")
Markdown(
    f"- **Memory** turns on the length of a range. 4 KiB direct IO pays {number(node_bytes(FULL), 'B')} per page for a "
    f"full VMA and {number(node_bytes(COMMON), 'B')} for a common node, and has no more than its depth of ranges; "
    f"1 GiB of RDMA pays {told_bytes['full VMA']} or {told_bytes['common node']} in all. The obstacle is less the "
    "bytes than that each must be allocated and put in order; `bias`, which was merged, takes none.\n"
    f"- **The tree** is no obstacle by itself: with {top} ranges its greatest depth is "
    f"{of(tree, most_ranges, 'tree_depth_max', order=ORDERS['shuffled']):.0f} (in the order of the file "
    f"{of(tree, most_ranges, 'tree_depth_max', order=ORDERS['ascending']):.0f}), and a pin visits "
    f"{of(tree, most_ranges, 'pin_visited_mean', order=ORDERS['shuffled']):.3g} nodes, an unpin by page "
    f"{of(tree, most_ranges, 'unpin_visited_mean', order=ORDERS['shuffled']):.3g}.\n"
    f"- **Real mappings pay.** From 0 to {top} ranges an mmap of the whole file goes from "
    f"{number(alone['mmap_visited_mean'])} to {number(crowd['mmap_visited_mean'])} nodes, an rmap walk from "
    f"{number(alone['rmap_visited_mean'])} to {number(crowd['rmap_visited_mean'])}; its hold of the lock from "
    f"{number(alone['rmap_hold_mean_ns'], 'ns')} to {number(crowd['rmap_hold_mean_ns'], 'ns')}, for each page that is "
    "cleaned or reclaimed, pinned or not. Each further range over a page costs each walk at least a node. Where VMAs "
    "of parts of the file lie between the ranges it is worse "
    f"({number(of(real, 0, 'rmap_visited_mean', mapped=parts))} to "
    f"{number(of(real, most_ranges, 'rmap_visited_mean', mapped=parts))}): those that cover a page are no "
    "neighbours in the tree then, and the walk goes up and down from each to the next.\n"
    f"- **The lock**: at 193 k reads per second and {top} ranges it is held for {worst['10 ns per node']:.0%} of the "
    f"time if all nodes are in the cache, for {worst['100 ns per node']:.0%} if none is (above 100 % it can't keep "
    'up). On this, the cost of a node, turns whether "per-DIO overhead" is a nuisance or the end. A queue depth of 64 '
    "means 64 ranges, whose nodes are in the cache: at 100 ranges it is "
    f"{of(share, 100, 'share', node='10 ns per node'):.0%} of the time.\n"
    "- *Assumed*: unit costs of nodes, rotations, slab; layout of a common node; a fair lock that nobody waits for. "
    "*Not measured*: the churn of factoring out the common part, Kara's other half of this obstacle."
)
