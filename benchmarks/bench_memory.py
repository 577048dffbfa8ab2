"""Memory that a simulated page, a range and a state take, as the kernel accounts it, and whether a long run takes more.

    python -m benchmarks.bench_memory [--quick]

Each is measured in a process of its own, after a small run has compiled and loaded everything: how much its resident
memory grows, at most, at two sizes; what it takes is the difference by the difference in size.
"""

import json
import subprocess
import sys
from typing import Any

from benchmarks.bench_direct_io import LOAD
from benchmarks.measure import Skipped, with_package
from benchmarks.row import Row
from workbench.sizes import size_of

PAGES, QUICK_PAGES = (1 << 20, 1 << 23), (1 << 18, 1 << 21)
DEPTHS, QUICK_DEPTHS = (64, 1024), (64, 512)  # of IOs of 1 MiB, into buffers of their own
IO_PAGES = 256
NODES, QUICK_NODES = (10**5, 10**6), (10**4, 10**5)
PLAIN_NODES = (10**4, 5 * 10**4)  # of `intervaltree`
STATES, QUICK_STATES = (1 << 17, 1 << 20), (1 << 14, 1 << 17)
OPERATIONS, QUICK_OPERATIONS = 10**9, 10**8
MIB = 1 << 20

# Of a child: resident now, and at most since `forget_peak`, in bytes.
BEGIN = """
import gc, json
import numpy as np

def resident(word="VmRSS"):
    told = next(line for line in open("/proc/self/status") if line.startswith(word))
    return int(told.split()[1]) << 10

def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

def most(work):
    gc.collect()
    forget_peak()
    before = resident()
    kept = work()
    return max(resident("VmHWM") - before, 0)
"""
LONGTERM = """
from benchmarks import longterm
from workbench import simulate
given = longterm.parameters(SIZE) | {"duration_s": 120.0}
simulate("rdma-longterm", longterm.DESIGNS[1], **given | longterm.parameters(1 << 14))
print(most(lambda: simulate("rdma-longterm", longterm.DESIGNS[1], **given)))
"""
DIRECT_IO = """
from workbench import simulate
given = {"size_kib": 1024, "tags": 65536, "units": 4096}
simulate("direct-io", "tracker=bias", ios=10, qd=2, **given)
print(most(lambda: simulate("direct-io", "tracker=bias", ios=2 * SIZE, qd=SIZE, **given)))
"""
TREE = """
from benchmarks.tree_pair import COUNTED, COVERED, Ours, new_case
from benchmarks.peers import interval_packages
def make(case):
    return PEER(case, COVERED, COUNTED) if PEER else Ours(case)
PEER = interval_packages.PEERS[NAME] if NAME else None
make(new_case(100, 100)).build()
case = new_case(SIZE, SIZE)
def work():
    tree.build()
    return tree
tree = make(case)
print(most(work))
"""
EXPLORE = """
from benchmarks.bench_explore import WORLDS, search
search(WORLDS[0], 100)
found = []
peak = most(lambda: found.append(search(WORLDS[0], SIZE)))
print(json.dumps([peak, found[0].states, found[0].bytes]))
"""
LONG_RUN = """
from benchmarks.bench_direct_io import LOAD, page_operations
from workbench import simulate
done = []
simulate("direct-io", "tracker=bias", ios=1000, **LOAD)
peak = most(lambda: done.append(page_operations(simulate("direct-io", "tracker=bias", ios=SIZE, **LOAD).counters)))
print(json.dumps([peak, done[0]]))
"""


def in_child(program: str, **given: Any) -> Any:
    """Run a program after `BEGIN`, with some names set; give what it prints.

    Raises
    ------
    Skipped
        Its memory can't be told here.
    """
    code = BEGIN + "".join(f"{name} = {value!r}\n" for name, value in given.items()) + program
    done = subprocess.run([sys.executable, "-c", code], env=with_package(), capture_output=True, text=True)
    if "clear_refs" in done.stderr:
        raise Skipped("needs /proc/self/clear_refs")
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return json.loads(done.stdout)


def per_one(program: str, sizes: tuple[int, int], each: int = 1, **given: Any) -> float:
    """Bytes that one more takes; a size is so many of them."""
    small, large = (in_child(program, SIZE=size, **given) for size in sizes)
    return (large - small) / ((sizes[1] - sizes[0]) * each)


def rows(quick: bool = False) -> list[Row]:
    """Give a row for a page, a range, a state, and a long run.

    Parameters
    ----------
    quick : bool
        Smaller sizes, and a tenth of the long run.
    """
    return [
        page_row("longterm", "rdma-longterm", LONGTERM, QUICK_PAGES if quick else PAGES, 1),
        page_row(
            "direct-io", "direct-io, with bios and checks", DIRECT_IO, QUICK_DEPTHS if quick else DEPTHS, IO_PAGES
        ),
        range_row(QUICK_NODES if quick else NODES),
        state_row(QUICK_STATES if quick else STATES),
        long_run_row(QUICK_OPERATIONS if quick else OPERATIONS),
    ]


def page_row(name: str, what: str, program: str, sizes: tuple[int, int], each: int) -> Row:
    """Bytes per page beside the kernel's own ``struct page``; no goal where bios and checks at rest are in it."""
    ours, peer = per_one(program, sizes, each), size_of("struct page")
    return Row(
        name=f"memory/page-{name}",
        what=f"memory per page of simulate {what}, against struct page",
        ours=ours,
        peer=peer,
        ratio=ours / peer,
        goal="ratio <= 1" if each == 1 else "",
        unit="B",
        note=f"peak of resident memory, {sizes[0] * each:,} and {sizes[1] * each:,} pages",
    )


def range_row(sizes: tuple[int, int]) -> Row:
    """Bytes per range in the tree, beside the package `intervaltree`."""
    ours = per_one(TREE, sizes, NAME="")
    row = Row(
        name="memory/range",
        what="memory per range in the tree, against intervaltree",
        ours=ours,
        goal="ratio <= 1",
        unit="B",
        note=f"peak of resident memory, {sizes[0]:,} and {sizes[1]:,} ranges; intervaltree: {PLAIN_NODES[0]:,} and"
        f" {PLAIN_NODES[1]:,}",
    )
    try:
        peer = per_one(TREE, PLAIN_NODES, NAME="intervaltree")
    except RuntimeError as missing:
        if "needs intervaltree" not in str(missing):
            raise
        return row._replace(note=f"{row.note}; no peer: needs intervaltree")
    return row._replace(peer=peer, ratio=ours / peer)


def state_row(sizes: tuple[int, int]) -> Row:
    """Bytes per state that a search takes at its peak, beside what its tables hold in the end."""
    (least, few, _), (most, many, held) = (in_child(EXPLORE, SIZE=size) for size in sizes)
    return Row(
        name="memory/state",
        what="memory per state of explore at its peak",
        ours=(most - least) / (many - few),
        unit="B",
        note=f"golden-race, {few:,} and {many:,} states; its tables hold {held / many:.1f} B each in the end",
    )


def long_run_row(operations: int) -> Row:
    """Bytes by which one long run takes more than one of a tenth of it, each at its peak."""
    ios = operations // (2 * LOAD["size_kib"] // 4)  # each page is pinned and unpinned
    (short, few), (long, many) = (in_child(LONG_RUN, SIZE=n) for n in (ios // 10, ios))
    return Row(
        name="memory/long-run",
        what="how much more memory a run of simulate direct-io takes than one a tenth as long",
        ours=(long - short) / MIB,
        goal="ours <= 1",  # what the allocator and the interpreter may come to hold meanwhile
        unit="MiB",
        note=f"peak of resident memory, {few:,} and {many:,} page operations",
    )


if __name__ == "__main__":
    for row in rows("--quick" in sys.argv[1:]):
        print(row, flush=True)
