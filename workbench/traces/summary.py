"""What a trace says at a glance."""

from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.traces.trace import Trace

Ints = npt.NDArray[np.int64]


def overtakes(complete_order: npt.ArrayLike) -> Ints:
    """Count for each IO how many earlier-submitted ones are still in flight when it completes.

    Parameters
    ----------
    complete_order : array_like of int, shape (n,)
        When each IO completes, in the order of submission: a time or a place. An IO is still in flight
        when its value is strictly larger; those with equal values don't overtake each other.

    Returns
    -------
    ndarray of int64, shape (n,)
        For IO i the number of j < i with a larger value. O(n log² n) time at worst: places are split by
        their bits from the highest on (a wavelet tree), each pair is counted at the first bit that differs.
    """
    order = np.asarray(complete_order, dtype=np.int64)
    counts = np.zeros(len(order), dtype=np.int64)
    if not len(order):
        return counts
    place = np.unique(order, return_inverse=True)[1].astype(np.int64)
    rows = np.arange(len(order))  # grouped by the bits above, in the order of submission within a group
    for bit in reversed(range(int(place.max()).bit_length())):
        group = place[rows] >> (bit + 1)
        later = (place[rows] >> bit) & 1
        before = np.cumsum(later) - later
        first = np.r_[True, group[1:] != group[:-1]]
        in_group = before - np.maximum.accumulate(np.where(first, before, 0))
        counts[rows] += np.where(later == 0, in_group, 0)
        rows = rows[np.argsort(place[rows] >> bit, kind="stable")]
    return counts


def _quantile(values: Ints, weights: Ints, share: float) -> int | None:
    """Smallest value that at least `share` of the IOs don't exceed (nearest rank, as fio does)."""
    if not len(values):
        return None
    order = np.argsort(values, kind="stable")
    running = np.cumsum(weights[order])
    wanted = int(np.ceil(share * int(running[-1]) - 1e-9))
    return int(values[order][np.searchsorted(running, max(1, wanted))])


def _mean_max(values: Ints) -> dict[str, Any]:
    return {
        "mean": float(values.mean()) if len(values) else None,
        "max": int(values.max()) if len(values) else None,
    }


def latencies(trace: Trace) -> tuple[Ints, Ints]:
    """Latency from submission to completion, and how many IOs had it.

    Parameters
    ----------
    trace : Trace
        For fio its ``clat`` bins (``lat`` if it has none), of reads and writes together.

    Returns
    -------
    latency_ns, count : ndarray of int64, shape (k,)
        In no order; a latency may be there more than once.
    """
    if len(trace.histogram):
        kind = "clat" if (trace.histogram["kind"] == "clat").any() else "lat"
        rows = trace.histogram[trace.histogram["kind"] == kind]
        return rows["latency_ns"].to_numpy(), rows["count"].to_numpy()
    latency = (trace.ios["complete_ns"] - trace.ios["submit_ns"]).to_numpy()
    return latency, np.ones(len(latency), dtype=np.int64)


def summarise(trace: Trace) -> dict[str, Any]:
    """Sum a trace up.

    An IO overtakes each earlier-submitted one that completes strictly later. The order of the lines decides
    where the clock of a text can't (ftrace: 1 us); in a CSV, IOs of the same time completed together.

    Parameters
    ----------
    trace : Trace
        From `load`.

    Returns
    -------
    dict
        ``format``, ``source``, ``sha256``; ``ios`` (for fio: those in its histogram), ``bios``;
        ``bios_per_io`` {mean, max} (0 where the format has no bios); ``out_of_order_share`` (share of IOs
        that overtake at least one), ``overtakes`` {mean, p50, p90, p99, max}; ``bios_out_of_order_share``
        (share of bios that overtake an earlier bio of the same IO); ``latency_ns`` {p50, p90, p99, p999} from
        submission to completion (for fio its clat, at the middle of the bin); ``duration_ns`` from the first
        submission to the last completion; ``requeues``, ``merges``, ``dropped`` {reason: count}.
        Quantiles are values that occur (nearest rank). None where there is nothing to take it from.
    """
    over = overtakes(trace.ios["complete_order"])
    latency, count = latencies(trace)
    once = np.ones(len(over), dtype=np.int64)
    per_io = np.bincount(trace.bios["io"], minlength=len(trace.ios)).astype(np.int64)
    # Bios of a later IO are moved behind all of the earlier ones', so that only bios of one IO overtake.
    apart = trace.bios["io"] * len(trace.bios) + trace.bios["complete_order"]
    within = overtakes(apart)
    return {
        "source": trace.source,
        "sha256": trace.sha256,
        "format": trace.format,
        "ios": int(count.sum()),
        "bios": len(trace.bios),
        "bios_per_io": _mean_max(per_io),
        "out_of_order_share": float((over > 0).mean()) if len(over) else None,
        "overtakes": {
            "mean": _mean_max(over)["mean"],
            "p50": _quantile(over, once, 0.5),
            "p90": _quantile(over, once, 0.9),
            "p99": _quantile(over, once, 0.99),
            "max": _mean_max(over)["max"],
        },
        "bios_out_of_order_share": float((within > 0).mean()) if len(within) else None,
        "latency_ns": {
            name: _quantile(latency, count, share)
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999))
        },
        "duration_ns": int(trace.ios["complete_ns"].max()) if len(trace.ios) else None,
        "requeues": trace.requeues,
        "merges": trace.merges,
        "dropped": dict(trace.dropped),
    }
