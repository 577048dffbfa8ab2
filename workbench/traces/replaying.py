"""A trace as arrays, for a replay in the simulation; and latencies to draw from."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.errors import UsageError
from workbench.traces.summary import latencies
from workbench.traces.trace import Trace

Ints = npt.NDArray[np.int64]

PAGE_BYTES = 4096


class ReplayInput(NamedTuple):
    """Sizes, times and order of completion of a trace: n IOs, m bios, all int64.

    Attributes
    ----------
    submit_ns : ndarray, shape (n,)
        From the first submission; never decreases.
    op : ndarray, shape (n,)
        0 read, 1 write.
    pages : ndarray, shape (n,)
        Pages of 4 KiB that the bios of the IO hold: the sum of theirs.
    first_bio, bio_count : ndarray, shape (n,)
        Bios ``first_bio`` … ``first_bio + bio_count - 1`` are the IO's, at least one, as queued.
    bio_pages : ndarray, shape (m,)
        Pages of each bio.
    bio_complete_ns : ndarray, shape (m,)
        From the first submission.
    bio_order : ndarray, shape (m,)
        Place of each bio in the order of completion; finer than the time where the clock is coarse.
    rounded : int
        Bios that were no whole number of pages and were rounded up to one.
    """

    submit_ns: Ints
    op: Ints
    pages: Ints
    first_bio: Ints
    bio_count: Ints
    bio_pages: Ints
    bio_complete_ns: Ints
    bio_order: Ints
    rounded: int


def replay(trace: Trace) -> ReplayInput:
    """Turn a trace into arrays. Where the format has no bios, each IO is one bio that completes with it.

    Raises
    ------
    UsageError
        If the trace has no IOs (a histogram of fio's has none).
    """
    ios, bios = trace.ios, trace.bios
    if ios.empty:
        raise UsageError(f"{trace.source}: there is no IO to replay; give a trace with single IOs, not a histogram")
    if bios.empty:
        bios = ios  # the same columns, and one bio each
    io_of_bio = bios["io"].to_numpy()
    sizes = bios["size_bytes"].to_numpy()
    bio_pages = -(-sizes // PAGE_BYTES)
    count = np.bincount(io_of_bio, minlength=len(ios)).astype(np.int64)
    first = np.cumsum(count) - count
    return ReplayInput(
        submit_ns=ios["submit_ns"].to_numpy(copy=True),
        op=np.asarray(ios["op"] == "write", dtype=np.int64),
        pages=np.add.reduceat(bio_pages, first),
        first_bio=first,
        bio_count=count,
        bio_pages=bio_pages,
        bio_complete_ns=bios["complete_ns"].to_numpy(copy=True),
        bio_order=bios["complete_order"].to_numpy(copy=True),
        rounded=int((sizes % PAGE_BYTES != 0).sum()),
    )


def latency_sampler_table(trace: Trace) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Tabulate latencies, to draw device latencies from.

    With u uniform in [0, 1): ``latency_ns[searchsorted(share, u, side='right')]``.

    Parameters
    ----------
    trace : Trace
        For fio its ``clat`` bins (``lat`` if there are none), of reads and writes together; else the
        latencies of the single IOs.

    Returns
    -------
    latency_ns : ndarray of int64, shape (k,)
        Distinct latencies, ascending.
    share : ndarray of float64, shape (k,)
        Share of IOs with at most that latency; the last is 1.

    Raises
    ------
    UsageError
        If the trace has no latencies.
    """
    values, weights = latencies(trace)
    if not len(values):
        raise UsageError(f"{trace.source}: there are no latencies in the trace; give one with whole IOs")
    latency, which = np.unique(values, return_inverse=True)
    counts = np.zeros(len(latency), dtype=np.int64)
    np.add.at(counts, which, weights)
    running = np.cumsum(counts)
    return latency, running / running[-1]
