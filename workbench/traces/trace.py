"""What every format is read into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.frames import column, frame

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "ftrace", "blkparse", "fio", "parquet")

IO_COLUMNS = ("io", "op", "offset_bytes", "size_bytes", "submit_ns", "complete_ns", "complete_order")
BIO_COLUMNS = ("bio", "io", "sector", "size_bytes", "queue_ns", "complete_ns", "complete_order")
HISTOGRAM_COLUMNS = ("op", "kind", "latency_ns", "count")

SECTOR_BYTES = 512
LIMIT = 1 << 62  # no byte count, offset or time comes near; sums of two still fit an int64


@dataclass(frozen=True, eq=False)
class Trace:
    """One recorded run.

    Attributes
    ----------
    source : str
        Name of the recorded file, without its folder.
    sha256 : str
        SHA-256 of the bytes of that file, in hexadecimal.
    format : str
        What the recorded file was: 'csv', 'ftrace', 'blkparse' or 'fio'. A trace that was stored as
        Parquet keeps the format, name and hash of the file it came from.
    ios : DataFrame
        One row per IO in submission order: ``io`` (0, 1, …), ``op`` ('read' or 'write'), ``offset_bytes``
        (in the file; for blkparse on the device), ``size_bytes``, ``submit_ns`` and ``complete_ns`` (from the
        first submission), ``complete_order``: the place in the order of completion. Two IOs share a place
        only where the format can't tell which of them was first. Empty for fio.
    bios : DataFrame
        One row per bio, by IO and by order of queueing within it: ``bio`` (0, 1, …), ``io``, ``sector``
        (of 512 bytes, on the device), ``size_bytes``, ``queue_ns``, ``complete_ns``, ``complete_order``
        (among all bios). Empty where the format has none.
    dropped : dict
        Reason to count of what was in the file and is not in ``ios``, ``bios`` or ``histogram``.
    requeues, merges : int
        Requests given back by the driver and issued again; bios that shared a request with an earlier one.
    histogram : DataFrame
        fio only: ``op``, ``kind`` ('slat', 'clat' or 'lat'), ``latency_ns`` (middle of fio's bin), ``count``.
    """

    source: str
    sha256: str
    format: str
    ios: pd.DataFrame
    bios: pd.DataFrame
    dropped: dict[str, int] = field(default_factory=dict)
    requeues: int = 0
    merges: int = 0
    histogram: pd.DataFrame = field(default_factory=lambda: histogram_frame([]))

    def __eq__(self, other: object) -> bool:
        """Tell whether all that was recorded, and where it came from, is the same."""
        if not isinstance(other, Trace):
            return NotImplemented
        plain = ("source", "sha256", "format", "dropped", "requeues", "merges")
        return all(getattr(self, name) == getattr(other, name) for name in plain) and all(
            getattr(self, name).equals(getattr(other, name)) for name in ("ios", "bios", "histogram")
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Body:
    """What the reader of one format returns: a `Trace` without its provenance."""

    ios: pd.DataFrame
    bios: pd.DataFrame
    dropped: Counter[str] = field(default_factory=Counter)
    requeues: int = 0
    merges: int = 0
    histogram: pd.DataFrame = field(default_factory=lambda: histogram_frame([]))


def _frame(rows: Sequence[tuple[Any, ...]], columns: tuple[str, ...]) -> pd.DataFrame:
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    data = {
        name: column(cell, dtype="str" if name in ("op", "kind") else "int64")
        for name, cell in zip(columns, cells, strict=True)
    }
    return frame(data)


def io_frame(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Make ``Trace.ios`` from tuples in the order of its columns."""
    return _frame(rows, IO_COLUMNS)


def bio_frame(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Make ``Trace.bios`` from tuples in the order of its columns."""
    return _frame(rows, BIO_COLUMNS)


def histogram_frame(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Make ``Trace.histogram`` from tuples in the order of its columns."""
    return _frame(rows, HISTOGRAM_COLUMNS)


def places(keys: Sequence[int]) -> list[int]:
    """Rank keys from 0; equal keys share a rank.

    Parameters
    ----------
    keys : sequence of int
        For instance the line on which each IO completed.

    Returns
    -------
    list of int
        As long as `keys`.
    """
    if not len(keys):
        return []
    return np.unique(np.asarray(keys, dtype=np.int64), return_inverse=True)[1].tolist()
