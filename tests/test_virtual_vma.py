"""`virtual-vma`: the shared tree against plain lists of intervals, and against what can be worked out."""

import numpy as np
import pytest

from workbench import costs, designs, explore, matrix, results, simulate
from workbench.accelerate import JIT_ENABLED, driver_for
from workbench.errors import UsageError
from workbench.mm import interval_tree as tree
from workbench.mm import registers as R
from workbench.mm import shared_tree
from workbench.mm.shared_tree import MMAP, MUNMAP, PASSED, PIN, RMAP, ROTATIONS, UNPIN, VISITED
from workbench.scenarios import virtual_vma
from workbench.scenarios.base import check_parameters
from workbench.sizes import PAGE_BITS, per_slab_page

COMMON = "vma-common:release=split"
OPS = 500 if JIT_ENABLED else 60
RANGES = 300 if JIT_ENABLED else 40
SHAPES = [
    {"range_pages": 1},
    {"range_pages": 7, "overlap": 3, "placement": "shuffled", "vma_pages": 9},
    {"range_pages": 16, "overlap": 5, "placement": "random", "release": "random", "vmas": 3},
    {"range_pages": 4, "overlap": 40, "release": "lifo", "vmas": 0},
    {"range_pages": 2, "placement": "random", "file_pages": 5000, "vma_pages": 700},
]


class Shared:
    """A tree as the scenario fills it, and beside it what is in it as plain lists."""

    def __init__(self, tracker, **given):
        self.p = check_parameters(virtual_vma.NAME, virtual_vma.PARAMETERS, {"ranges": RANGES, "ops": OPS} | given)
        self.tracker = designs.parse_tracker(tracker)[1]
        self.rng = np.random.default_rng(5)
        self.pages = virtual_vma.pages_of_file(self.p)
        self.length = self.p["range_pages"]
        self.start = virtual_vma._starts(self.p, self.pages, self.rng)
        self.handle = np.full(len(self.start), -1)
        self.world = virtual_vma._new_world(self.p, self.pages, costs.DEFAULT)
        self.mapped = min(self.p["vma_pages"], self.pages) or self.pages
        self.first = self.rng.integers(0, self.pages - self.mapped + 1, self.p["vmas"] + 1)
        self.rows = np.zeros(len(self.first), np.int64)
        self.measured = np.zeros((len(shared_tree.OPERATIONS), self.p["ops"], len(shared_tree.COLUMNS)), np.int64)
        shared_tree.map_all(self.world, self.first, self.rows, self.mapped)
        self.of_tracker(shared_tree.fill)
        self.pinned, self.vmas = list(self.start[:-1]), list(self.first[:-1])

    def of_tracker(self, function, *more):
        driver = driver_for(function, self.tracker.__class__)
        driver(self.tracker, self.world, self.start, self.handle, self.length, *more)

    def churn(self):
        released = virtual_vma._released(self.p, self.rng)
        self.of_tracker(shared_tree.churn, released, self.measured)
        self.pinned = list(np.delete(self.start, released[-1]))

    def remap(self):
        unmapped = self.rng.integers(0, len(self.rows), self.p["ops"])
        shared_tree.map_and_unmap(self.world, self.first, self.rows, self.mapped, unmapped, self.measured)
        self.vmas = list(np.delete(self.first, unmapped[-1]))

    def intervals(self, kind):
        rows = self.world.node[self.world.node["kind"] == kind]
        return sorted((int(r["start"]), int(r["last"])) for r in rows)

    def covering(self, page):
        """Rows of the nodes that cover a page, by looking at every node."""
        node = self.world.node
        return np.flatnonzero((node["kind"] != tree.KIND_FREE) & (node["start"] <= page) & (page <= node["last"]))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.get("placement", "ascending"))
@pytest.mark.parametrize("kind", ["split", "count", "backpointer"])
def test_what_is_in_the_tree(kind, shape):
    shared = Shared(f"vma-common:release={kind}", **shape)
    for step in (shared.churn, shared.remap):
        step()
        assert tree.check(shared.world.node, virtual_vma.HEADER) == tree.SOUND
        assert shared.intervals(tree.KIND_VMA) == sorted((f, f + shared.mapped - 1) for f in shared.vmas)
    exact = kind == "backpointer" or shape.get("placement") != "random"  # by page, overlapping ranges are mixed up
    if exact:
        assert shared.intervals(tree.KIND_PINNED) == sorted((s, s + shared.length - 1) for s in shared.pinned)
    sys = shared.world.sys
    assert sys[R.LIVE_RANGES] == len(shared.intervals(tree.KIND_PINNED))
    assert sys[R.RANGES] + sys[R.SPLITS] == sys[R.RANGES_GONE] + sys[R.LIVE_RANGES]
    assert sys[R.RB_VISITED] >= shared.measured[..., VISITED].sum() > 0


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.get("placement", "ascending"))
def test_an_rmap_walk_meets_every_node_that_covers_the_page_and_goes_down_to_the_first(shape):
    shared = Shared(COMMON, **shape)
    pages = shared.rng.integers(0, shared.pages, OPS)
    shared_tree.walk(shared.world, pages, shared.measured)
    node = shared.world.node
    _, deepest, _ = shared_tree.depths(node)
    for page, row in zip(pages, shared.measured[RMAP], strict=True):
        covering = shared.covering(page)
        assert row[PASSED] == sum(s <= page < s + shared.length for s in shared.pinned)
        assert row[PASSED] == np.count_nonzero(node["kind"][covering] == tree.KIND_PINNED)
        depth = 0
        if len(covering):
            below = int(tree.iter_first(node, np.zeros(2, np.int64), virtual_vma.HEADER, page, page))
            while below:
                depth, below = depth + 1, tree.linked_row(int(node[below]["rb_parent"]))
        assert len(covering) + depth <= row[VISITED] <= 2 + 2 * deepest * (len(covering) + 1)


def test_depths_of_a_tree_by_hand():
    #      3              rows; row n covers page n - 2; 1 is the header
    #     / \
    #    2   4
    #         \
    #          5
    shared = Shared(COMMON, ranges=4, range_pages=1, vmas=0)
    assert shared_tree.depths(shared.world.node) == (4, 3, 1 + 2 + 2 + 3)


def test_operations_on_a_tree_of_one():
    """Nobody else is there: nothing is visited on the way in; a release looks the range up and takes it out."""
    shared = Shared(COMMON, ranges=0, vmas=0, ops=3)
    shared.churn()
    shared.remap()
    shared_tree.walk(shared.world, np.zeros(3, np.int64), shared.measured)
    # looked up: root and leftmost node, and that there is no other; taken out: the node itself
    visited = shared.measured[..., VISITED].tolist()
    assert (visited[PIN], visited[MMAP], visited[MUNMAP], visited[RMAP]) == ([0] * 3, [0] * 3, [1] * 3, [0] * 3)
    assert visited[UNPIN] == [3] * 3
    assert not shared.measured[..., ROTATIONS].any()
    cost = costs.DEFAULT.entries
    node = cost["RB_VISITED"].ns
    held = [1000 * ns for ns in (cost["ALLOC"].ns, cost["FREE"].ns + 3 * node, 0, node)]
    assert shared.measured[[PIN, UNPIN, MMAP, MUNMAP], 0, shared_tree.HELD_PS].tolist() == held


def test_holds_are_counts_times_costs():
    shared = Shared("vma-common:release=backpointer", vmas=30, vma_pages=1)
    shared.churn()
    shared.remap()
    pages = shared.rng.integers(0, shared.pages, OPS)
    shared_tree.walk(shared.world, pages, shared.measured)
    vmas = np.array([sum(f == page for f in shared.vmas) for page in pages])
    ps = {name: 1000 * cost.ns for name, cost in costs.DEFAULT.entries.items()}
    beside = np.zeros((5, OPS))
    beside[PIN], beside[UNPIN], beside[RMAP] = ps["ALLOC"], ps["FREE"], vmas * ps["SPIN_LOCK"]
    tree_ps = shared.measured[..., VISITED] * ps["RB_VISITED"] + shared.measured[..., ROTATIONS] * ps["RB_ROTATIONS"]
    assert shared.measured[[PIN, UNPIN, MMAP, MUNMAP], :, ROTATIONS].any(axis=1).all()
    assert (shared.measured[..., shared_tree.HELD_PS] == tree_ps + beside).all()


@pytest.mark.parametrize(("kind", "size"), [("full", "vm_area_struct"), ("common", "pinned range, common node")])
@pytest.mark.parametrize(("range_pages", "overlap"), [(1, 1), (64, 1), (512, 4), (3, 20)])
def test_bytes_per_pinned_page(kind, size, range_pages, overlap):
    given = {"ranges": 200, "range_pages": range_pages, "overlap": overlap, "ops": 1}
    metrics = simulate("virtual-vma", f"tracker=vma-{kind}:release=count", **given).metrics
    node = 4096 / per_slab_page(size)
    assert metrics["bytes_per_pinned_page"] == pytest.approx(node * overlap / range_pages, rel=1e-3)
    assert metrics["pinned_pages"] == 200 // overlap * range_pages


def test_trackers_without_ranges_leave_the_tree_alone():
    alone = simulate("virtual-vma", "tracker=none", ranges=0, ops=20).metrics
    for name, bits in (("none", 0), ("bias", 0), ("lru-count", 0), ("flag", 1), ("pincount", 32)):
        metrics = simulate("virtual-vma", f"tracker={name}", ranges=30, ops=20).metrics
        assert metrics["bytes_per_pinned_page"] == bits / 8
        assert metrics["tree_nodes"] == 8 and np.isnan(metrics["pin_hold_mean_ns"])
        assert {n: v for n, v in metrics.items() if n.startswith(("rmap", "mmap"))} == {
            n: v for n, v in alone.items() if n.startswith(("rmap", "mmap"))
        }
    assert set(PAGE_BITS) <= {name.split(":")[0] for name in designs.trackers()}


def test_real_mappings_pay_for_pinned_ranges():
    few, many = (simulate("virtual-vma", f"tracker={COMMON}", ranges=n, ops=30).metrics for n in (0, RANGES))
    for what in ("mmap_visited_mean", "rmap_visited_mean", "rmap_hold_mean_ns"):
        assert many[what] > few[what]
    assert few["rmap_passed_mean"] == 0 < many["rmap_passed_mean"] <= 1


def test_cost_of_a_node():
    given = {"ranges": 50, "ops": 10, "vmas": 0}
    cheap = simulate("virtual-vma", f"tracker={COMMON}", **given).metrics
    dear = simulate("virtual-vma", f"tracker={COMMON}", node_ns=100.0, **given).metrics
    assert dear["rmap_hold_mean_ns"] - cheap["rmap_hold_mean_ns"] == pytest.approx(90 * cheap["rmap_visited_mean"])


def test_the_same_with_and_without_jit():
    """Figures of one run, so that both ways are held to them."""
    given = {"ranges": 64, "range_pages": 5, "overlap": 2, "placement": "random", "release": "random", "ops": 16}
    result = simulate("virtual-vma", "tracker=vma-full:release=split", seed=3, **given)
    again = simulate("virtual-vma", "tracker=vma-full:release=split", seed=3, **given)
    assert result.metrics == again.metrics and result.counters == again.counters
    names = ("RB_VISITED", "RB_ROTATIONS", "SPLITS", "SHRINKS", "AMBIGUOUS", "UNATTRIBUTED")
    assert [result.counters[n] for n in names] == [1758, 51, 0, 22, 28, 0]
    assert result.metrics != simulate("virtual-vma", "tracker=vma-full:release=split", seed=4, **given).metrics


@pytest.mark.parametrize(
    ("start", "length", "pages"),
    [([], 3, 0), ([5], 3, 3), ([0, 3], 3, 6), ([0, 1, 1], 3, 4), ([0, 2, 20], np.array([10, 1, 2]), 12)],
)
def test_union_of_ranges(start, length, pages):
    assert virtual_vma.union_pages(np.array(start, np.int64), length) == pages


def test_stale_pages_are_those_of_ranges_that_were_not_released():
    """By page, a count of overlapping ranges charges one and leaves another's pages covered."""
    given = {"ranges": 60, "range_pages": 8, "placement": "random", "release": "random", "ops": 60}
    counted = simulate("virtual-vma", "tracker=vma-common:release=count", seed=5, **given)
    exact = simulate("virtual-vma", "tracker=vma-common:release=backpointer", seed=5, **given)
    assert counted.metrics["ranges_left"] > 60 == exact.metrics["ranges_left"]
    assert counted.metrics["stale_pages"] > 0 == exact.metrics["stale_pages"]
    assert counted.counters["AMBIGUOUS"] > 0 == exact.counters["AMBIGUOUS"]


def test_results_have_units_and_go_into_a_file(tmp_path):
    result = simulate("virtual-vma", f"tracker={COMMON}", ranges=5, ops=2)
    row = results.row(result.provenance, COMMON, result.metrics, result.counters)
    path = results.write([row], tmp_path / "tree.parquet")
    assert results.load(path)["tree_nodes"].tolist() == [13]
    assert set(result.histograms) == {f"{name.upper()}_HOLD" for name in shared_tree.OPERATIONS}
    assert all(frame["count"].sum() == 2 for frame in result.histograms.values())


def test_bad_input():
    with pytest.raises(UsageError, match="at most 2147483647: fewer or shorter"):
        simulate("virtual-vma", "tracker=none", ranges=1_000_000, range_pages=4096)
    with pytest.raises(UsageError, match="no small world"):
        explore("virtual-vma", "v4.17")
    with pytest.raises(UsageError, match="follows no schedule"):
        simulate("virtual-vma", "v4.17", schedule=[])
    with pytest.raises(UsageError, match="no small world"):
        matrix.build(["v4.17"], ["virtual-vma"])
