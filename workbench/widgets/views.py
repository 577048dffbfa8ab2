"""What an explorer shows of each scenario: where it starts, the figures that it can draw, the numbers beside them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbench import charts
from workbench.charts import Chart
from workbench.errors import UsageError
from workbench.simulate import Result
from workbench.sizes import PAGE_SIZE

PS_PER_NS = 1000
Curve = tuple[np.ndarray, np.ndarray]


class Picture(NamedTuple):
    """Data of one figure.

    Attributes
    ----------
    kind : str
        ``ccdf``: of each design values and how often each came; ``steps``: times and what holds from each on;
        ``bars``: numbers of groups and a value for each, NaN where there is none.
    curves : dict
        By design.
    xlabel, ylabel, xunit, yunit : str
    groups : tuple of str
        Of bars.
    note : str
        What to say if there is nothing to draw.
    """

    kind: str
    curves: dict[str, Curve]
    xlabel: str
    ylabel: str
    xunit: str = "1"
    yunit: str = "1"
    groups: tuple[str, ...] = ()
    note: str = "nothing to draw: no design has any"

    @property
    def empty(self) -> bool:
        """Whether no design has anything to draw."""
        return all(not len(x) or np.isnan(y).all() for x, y in self.curves.values())


class View(NamedTuple):
    """A figure that an explorer can draw: what it asks, and its data from the results by design."""

    title: str
    picture: Callable[[Mapping[str, Result]], Picture]


class Scene(NamedTuple):
    """How a scenario is opened.

    Attributes
    ----------
    shown : tuple of str
        Parameters that have their controls in sight; the others are folded away.
    start : dict
        Where parameters start, if not at their defaults: small enough for an answer at once.
    designs, offered : tuple of str
        Those that are picked at first, and others to pick.
    views : dict of str to View
        The first is drawn at first.
    metrics : tuple of str
        Above the counters (`results.UNITS`).
    """

    shown: tuple[str, ...]
    start: dict[str, Any]
    designs: tuple[str, ...]
    offered: tuple[str, ...]
    views: dict[str, View]
    metrics: tuple[str, ...]


# ---- pictures


def _tails(histogram: str, xlabel: str) -> Callable[[Mapping[str, Result]], Picture]:
    """Share of samples above each value; histograms are in ps."""

    def picture(results: Mapping[str, Result]) -> Picture:
        curves = {}
        for design, result in results.items():
            found = result.histograms.get(histogram, pd.DataFrame({"value": [], "count": []}))
            found = found[found["value"] > 0]
            curves[design] = found["value"].to_numpy(float) / PS_PER_NS, found["count"].to_numpy(np.int64)
        return Picture("ccdf", curves, xlabel, "share above", xunit="ns")

    return picture


def _over_time(
    column: str, ylabel: str, *, unit: str = "1", factor: float = 1, beside: Mapping[str, str] | None = None
) -> Callable[[Mapping[str, Result]], Picture]:
    """A time series of each design; `beside`: further columns, of the first design, by what they are called."""

    def picture(results: Mapping[str, Result]) -> Picture:
        def curve(result: Result, name: str) -> Curve:
            return result.series["time_ps"].to_numpy(float), result.series[name].to_numpy(float) * factor

        curves = {design: curve(result, column) for design, result in results.items()}
        for name, called in (beside or {}).items():
            curves[called] = curve(next(iter(results.values())), name)
        return Picture("steps", curves, "simulated time", ylabel, xunit="ps", yunit=unit)

    return picture


def _bars(metrics: Mapping[str, str], ylabel: str, unit: str) -> Callable[[Mapping[str, Result]], Picture]:
    """Metrics side by side, by what each is called."""

    def picture(results: Mapping[str, Result]) -> Picture:
        groups = np.arange(len(metrics))
        curves = {d: (groups, np.array([r.metrics[name] for name in metrics], float)) for d, r in results.items()}
        return Picture("bars", curves, "", ylabel, yunit=unit, groups=tuple(metrics.values()))

    return picture


def publish(picture: Picture, title: str, caption: str) -> tuple[Chart, str]:
    """Draw a picture as `charts` does, for `charts.save`.

    Raises
    ------
    UsageError
        If there is nothing to draw.
    """
    if picture.empty:
        raise UsageError(f"{title}: {picture.note}")
    if picture.kind == "ccdf":
        samples = {design: curve for design, curve in picture.curves.items() if len(curve[0])}
        return charts.ccdf(samples, caption=caption, title=title, xlabel=picture.xlabel, xunit=picture.xunit)
    frame = pd.concat(
        pd.DataFrame({"x": x, "y": y, "design": design}) for design, (x, y) in picture.curves.items()
    ).dropna()
    if picture.kind == "steps":
        return charts.steps(
            frame, "x", "y", caption=caption, title=title, xlabel=picture.xlabel, ylabel=picture.ylabel,
            xunit=picture.xunit, yunit=picture.yunit,
        )  # fmt: skip
    frame = frame.sort_values("x", kind="stable")
    frame["x"] = [picture.groups[int(x)] for x in frame["x"]]
    across = "x" if len(picture.groups) > 1 else "design"
    return charts.bars(
        frame, across, "y", caption=caption, title=title, xlabel=" ", ylabel=picture.ylabel, yunit=picture.yunit
    )


# ---- scenarios

_SKIP_WAIT = "tracker=bias,cleaning=skip/wait"
_OPERATIONS = ("pin", "unpin", "mmap", "munmap", "rmap")


def _per_operation(what: str, operations: tuple[str, ...] = _OPERATIONS) -> dict[str, str]:
    return {f"{o}_{what}": o.replace("rmap", "rmap walk") for o in operations}


SCENES: dict[str, Scene] = {
    "direct-io": Scene(
        shown=("dio", "op", "qd", "size_kib", "extent_kib", "cpus", "latency_us", "jitter", "ios"),
        start={"ios": 400},
        designs=("v4.17", _SKIP_WAIT),
        offered=(
            "v6.12",
            "tracker=lru-count,cleaning=skip/wait",
            "tracker=vma-common:release=count,cleaning=skip/wait",
            "tracker=vma-common:release=split,cleaning=skip/wait",
            "tracker=vma-full:release=backpointer,cleaning=skip/wait",
        ),
        views={
            "latency": View("Latency of a direct IO", _tails("LATENCY", "latency")),
            "submission": View("Time in submission (slat)", _tails("SUBMIT", "time in submission")),
            "release": View(
                "From completion to the pin being gone", _tails("RELEASE", "from completion to the pin being gone")
            ),
            "pinned": View("Pinned pages over time", _over_time("pinned_pages", "pinned pages")),
            "ranges": View("Live ranges over time", _over_time("live_ranges", "live ranges")),
            "bytes": View("Memory of tracking over time", _over_time("bytes", "memory of tracking", unit="B")),
            "cpu": View("CPU time per page", _bars({"cpu_ns_per_page": "per page"}, "CPU time per page", "ns")),
        },
        metrics=(
            "iops", "latency_p50_ns", "latency_p99_ns", "slat_ns", "cpu_utilisation", "cpu_ns_per_page",
            "atomics_per_page", "unpin_delay_mean_ns", "outlive_mean_ns", "out_of_order_share", "ranges_max",
            "tracking_bytes_max", "stale_pages",
        ),
    ),
    "rdma-longterm": Scene(
        shown=("pinned_share", "region_kib", "transfer_mib_s", "hold_s", "write_mib_s", "read_mib_s", "disk_mib_s",
               "background_ratio", "dirty_ratio", "sync_s"),
        start={
            "pages": 1 << 14, "region_kib": 64, "files": 4, "transfer_mib_s": 2.0, "write_mib_s": 1.0,
            "disk_mib_s": 10.0, "sync_s": 30.0, "grace_s": 10.0, "duration_s": 120.0, "tick_ms": 200.0, "sample_s": 2.0,
        },
        designs=("v4.17", _SKIP_WAIT, "kara-bounce-2023"),
        offered=(
            "v6.12", "tracker=bias,cleaning=write-keep-dirty,reclaim=skip",
            "tracker=bias,cleaning=skip/wait,longterm=lease", "tracker=none,cleaning=ignore,longterm=notifier",
        ),
        views={
            "dirty": View(
                "Dirty memory over time",
                _over_time("dirty_pages", "dirty memory", unit="B", factor=PAGE_SIZE,
                           beside={"limit_pages": "limit of balance_dirty_pages"}),
            ),
            "risk": View("Data that a crash would lose", _over_time("at_risk_bytes", "data at risk", unit="B")),
            "unknown": View(
                "Data newer than disk that the kernel takes for clean",
                _over_time("unknown_bytes", "data not known to be dirty", unit="B"),
            ),
            "uncleanable": View(
                "Dirty pages left for a pin",
                _over_time("uncleanable_pages", "memory left dirty for a pin", unit="B", factor=PAGE_SIZE),
            ),
            "syncs": View("Syncs that have returned", _over_time("syncs_returned", "syncs returned")),
        },
        metrics=(
            "throttled_share", "sync_p50_ns", "sync_max_ns", "uncleanable_pages_mean", "at_risk_bytes_mean",
            "unknown_bytes_mean", "looked_per_written", "extra_write_share", "tracking_bytes_max", "bounce_bytes_max",
            "blocks_blocked", "stale_pages",
        ),
    ),
    "virtual-vma": Scene(
        shown=("ranges", "range_pages", "overlap", "placement", "release", "vmas", "vma_pages", "ops"),
        start={"ranges": 1000, "ops": 1000},
        designs=("tracker=bias", "tracker=vma-full:release=count", "tracker=vma-common:release=count"),
        offered=("tracker=vma-common:release=split", "tracker=vma-common:release=backpointer"),
        views={
            "holds": View(
                "How long each operation holds i_mmap_rwsem", _bars(_per_operation("hold_mean_ns"), "mean hold", "ns")
            ),
            "nodes": View(
                "Tree nodes that each operation visits",
                _bars(_per_operation("visited_mean"), "tree nodes visited, mean", "1"),
            ),
            "rotations": View(
                "Rotations of each operation",
                _bars(_per_operation("rotations_mean", _OPERATIONS[:4]), "rotations, mean", "1"),
            ),
            "walks": View("Holds of i_mmap_rwsem by rmap walks", _tails("RMAP_HOLD", "hold of an rmap walk")),
            "bytes": View(
                "Memory of tracking per pinned page", _bars({"bytes_per_pinned_page": "per pinned page"}, "memory", "B")
            ),
        },
        metrics=(
            "tree_nodes", "tree_depth_max", "tree_depth_mean", "pinned_pages", "bytes_per_pinned_page",
            "pin_hold_mean_ns", "unpin_hold_mean_ns", "mmap_hold_mean_ns", "munmap_hold_mean_ns", "rmap_hold_mean_ns",
            "rmap_passed_mean", "tracking_bytes_max", "stale_pages",
        ),
    ),
}  # fmt: skip
