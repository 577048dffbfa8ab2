"""A trace as one Parquet file: a row per IO with a list of its bios, the rest in the schema's metadata.

In DuckDB: ``SELECT io, unnest(bios).complete_ns FROM 'trace.parquet'``.
"""

import json
import os
import tempfile
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import UsageError
from workbench.traces.text import Source
from workbench.traces.trace import FORMATS, LIMIT, Trace, bio_frame, histogram_frame, io_frame

MAGIC = b"PAR1"
KEY = b"gup_pin_workbench_trace"
VERSION = 1

BIO_FIELDS = ("sector", "size_bytes", "queue_ns", "complete_ns", "complete_order")
BIO_TYPE = pa.list_(pa.field("bio", pa.struct([pa.field(name, pa.int64(), False) for name in BIO_FIELDS]), False))
SCHEMA = pa.schema(
    [
        pa.field("io", pa.int64(), False),
        pa.field("op", pa.string(), False),
        *(
            pa.field(name, pa.int64(), False)
            for name in ("offset_bytes", "size_bytes", "submit_ns", "complete_ns", "complete_order")
        ),
        pa.field("bios", BIO_TYPE, False),
    ]
)


def write_parquet(trace: Trace, path: str | PathLike[str]) -> None:
    """Store a trace in one file, which `load` reads back equal; if that fails, an old one stays.

    Parameters
    ----------
    trace : Trace
        From `load`.
    path : str or path
        The file to make or replace, in a folder that exists.

    Raises
    ------
    UsageError
        If the file can't be written there.
    """
    path = Path(path)
    aside = None
    try:
        handle, aside = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        os.close(handle)
        pq.write_table(_table(trace), aside, write_page_checksum=True)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(aside, 0o666 & ~umask)
        os.replace(aside, path)
    except OSError as error:
        if aside and os.path.exists(aside):
            os.unlink(aside)
        reason = error.strerror or error
        raise UsageError(f"{path}: {reason}; give a file in a folder that exists and can be written") from error


def _table(trace: Trace) -> pa.Table:
    per_io = np.bincount(trace.bios["io"], minlength=len(trace.ios))
    offsets = pa.array(np.r_[0, np.cumsum(per_io)], pa.int32())
    structs = pa.StructArray.from_arrays(
        [pa.array(trace.bios[name].to_numpy()) for name in BIO_FIELDS], fields=list(BIO_TYPE.value_type)
    )
    bios = pa.ListArray.from_arrays(offsets, structs, type=BIO_TYPE)
    columns = [pa.array(trace.ios[name], SCHEMA.field(name).type) for name in SCHEMA.names[:-1]]
    about = {
        "version": VERSION,
        "source": trace.source,
        "sha256": trace.sha256,
        "format": trace.format,
        "dropped": trace.dropped,
        "requeues": trace.requeues,
        "merges": trace.merges,
        "histogram": trace.histogram.to_numpy().tolist(),
    }
    schema = SCHEMA.with_metadata({KEY: json.dumps(about, sort_keys=True)})
    return pa.Table.from_arrays([*columns, bios], schema=schema)


def read(source: Source) -> Trace:
    """Read a file of `write_parquet`.

    Raises
    ------
    UsageError
        For a damaged file, one that was not written by `write_parquet`, or values that no trace can have.
    """
    right = "give a file that 'workbench trace import' has written"
    try:
        table = pq.read_table(source.path, page_checksum_verification=True, partitioning=None)
        about = json.loads((table.schema.metadata or {})[KEY])
        table.validate(full=True)
        return _trace(table, about)
    except KeyError as error:
        raise source.wrong(1, "Parquet, but not of a trace", right) from error
    except (pa.ArrowException, OSError, ValueError, TypeError, RecursionError, MemoryError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise source.wrong(1, f"damaged Parquet ({reason[:200]})", right) from error


def _trace(table: pa.Table, about: dict[str, Any]) -> Trace:
    if about["version"] != VERSION:
        raise ValueError(f"version {about['version']!r} of the layout, not {VERSION}")
    if not table.schema.equals(SCHEMA):
        raise ValueError("other columns than a trace has")
    bios = table.column("bios").combine_chunks()
    bios = bios.chunk(0) if isinstance(bios, pa.ChunkedArray) else bios
    per_io = np.diff(bios.offsets.to_numpy()) if len(bios) else np.zeros(0, np.int64)
    cells = [bios.flatten().field(name).to_pylist() for name in BIO_FIELDS]
    io_of_bio = np.repeat(np.arange(len(bios)), per_io).tolist()
    trace = Trace(
        source=_text(about["source"]),
        sha256=_text(about["sha256"]),
        format=_text(about["format"]),
        ios=io_frame(list(zip(*(table.column(name).to_pylist() for name in SCHEMA.names[:-1]), strict=True))),
        bios=bio_frame(list(zip(range(len(io_of_bio)), io_of_bio, *cells, strict=True))),
        dropped={_text(reason): _count(count) for reason, count in about["dropped"].items()},
        requeues=_count(about["requeues"]),
        merges=_count(about["merges"]),
        histogram=histogram_frame([(_text(o), _text(k), _count(ns), _count(n)) for o, k, ns, n in about["histogram"]]),
    )
    _check(trace)
    return trace


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is missing in the metadata")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < LIMIT:
        raise ValueError("a count is missing in the metadata")
    return value


def _check(trace: Trace) -> None:
    """Hold the file to what the readers of the other formats grant."""
    import pandas as pd

    numbers = pd.concat([trace.ios.drop(columns="op"), trace.bios])
    good = (
        trace.format in FORMATS
        and trace.ios["io"].tolist() == list(range(len(trace.ios)))
        and trace.ios["op"].isin(["read", "write"]).all()
        and ((numbers.fillna(0) >= 0) & (numbers.fillna(0) < LIMIT)).all(axis=None)
        and trace.ios["submit_ns"].is_monotonic_increasing
        and (trace.ios["complete_ns"] >= trace.ios["submit_ns"]).all()
        and (trace.bios["complete_ns"] >= trace.bios["queue_ns"]).all()
        and (trace.bios.empty or set(trace.bios["io"]) == set(trace.ios["io"]))
    )
    if not good:
        raise ValueError("values that no trace has")
