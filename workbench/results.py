"""Results as rows of Parquet: one per (scenario, design, parameters, seed).

A file stands alone: every column has its unit and its meaning in the metadata of its field, and a DuckDB user
needs nothing from this package: ``select design, iops from 'results/*.parquet'``.
"""

import glob
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.bulk.registers import COUNTS as BULK_COUNTS
from workbench.errors import UsageError, nearest
from workbench.mm.registers import COUNTERS
from workbench.provenance import git_commit, plain


class Metric(NamedTuple):
    """Unit, meaning and type of one measured quantity."""

    unit: str
    text: str
    integer: bool = False


def _count(text: str, unit: str = "1") -> Metric:
    return Metric(unit, text, integer=True)


LOCKS = {
    "i_mmap_rwsem": "i_mmap_rwsem",
    "lru_lock": "the zone's LRU lock",
    "page_lock": "page locks",
    "ptl": "page-table locks",
    "tracker_lock": "the tracker's own spinlock",
}

# Units are written as UCUM would: "1" is a plain number, "1/s" a rate. Exact counts are integers.
UNITS: dict[str, Metric] = {
    "simulated_ps": _count("simulated time", "ps"),
    "events": _count("events of the clock"),
    "iops": Metric("1/s", "direct IOs per second"),
    "latency_mean_ns": Metric("ns", "mean latency of a direct IO"),
    "latency_p50_ns": Metric("ns", "median latency of a direct IO"),
    "latency_p90_ns": Metric("ns", "p90 latency of a direct IO"),
    "latency_p99_ns": Metric("ns", "p99 latency of a direct IO"),
    "latency_p999_ns": Metric("ns", "p99.9 latency of a direct IO"),
    "latency_p9999_ns": Metric("ns", "p99.99 latency of a direct IO"),
    "slat_ns": Metric("ns", "mean time in submission (fio's slat)"),
    "fsync_mean_ns": Metric("ns", "mean time that an fsync takes"),
    "cpu_utilisation": Metric("1", "share of CPU time in use"),
    "cpu_ns_per_io": Metric("ns", "CPU time per direct IO"),
    "cpu_ns_per_page": Metric("ns", "CPU time per page pinned"),
    "device_utilisation": Metric("1", "share of the device's units in use"),
    "atomics_per_page": Metric("1", "atomic read-modify-write operations per page, those of locks apart"),
    "splits_per_gup": Metric("1", "ranges split per get_user_pages() call"),
    "bios_per_io_mean": Metric("1", "mean number of bios per direct IO"),
    "out_of_order_share": Metric("1", "share of IOs that overtake an earlier one"),
    "overtakes_mean": Metric("1", "mean number of earlier IOs in flight at a completion"),
    "overtakes_p99": Metric("1", "p99 number of earlier IOs in flight at a completion"),
    "late_completions": _count("replayed completions that came late, the IO being late"),
    "world_bytes_per_page": Metric("B", "memory of the simulation itself per simulated page"),
    "ranges_max": _count("largest number of live ranges"),
    "ranges_left": _count("ranges still live at the end"),
    "stale_pages": _count("pages said to be pinned at the end without a pin"),
    "tracking_bytes_max": _count("largest memory held by tracking", "B"),
    "bounce_pages_max": _count("largest number of bounce pages in use"),
    "outlive_mean_ns": Metric("ns", "mean time a range outlives its first released page"),
    "outlive_p99_ns": Metric("ns", "p99 time a range outlives its first released page"),
    "unpin_delay_mean_ns": Metric("ns", "mean time from completion to the pin being gone"),
    "unpin_delay_p99_ns": Metric("ns", "p99 time from completion to the pin being gone"),
}
# Of `virtual-vma`: operations on a tree that real mappings and pinned ranges share.
UNITS |= {
    "tree_nodes": _count("nodes of the interval tree"),
    "tree_depth_max": _count("greatest depth of a node of the tree, that of its root being 1"),
    "tree_depth_mean": Metric("1", "mean depth of a node of the tree"),
    "pinned_pages": _count("pages that are pinned"),
    "bytes_per_pinned_page": Metric("B", "memory of tracking per pinned page"),
    "rmap_passed_mean": Metric("1", "pinned ranges that an rmap walk goes through, mean"),
}
_TREE = {"pin": "a pin", "unpin": "an unpin", "mmap": "an mmap", "munmap": "a munmap", "rmap": "an rmap walk"}
for _operation, _name in _TREE.items():
    UNITS[f"{_operation}_visited_mean"] = Metric("1", f"tree nodes that {_name} visits, mean")
    if _operation != "rmap":
        UNITS[f"{_operation}_rotations_mean"] = Metric("1", f"rotations of {_name}, mean")
    UNITS[f"{_operation}_hold_mean_ns"] = Metric("ns", f"mean time for which {_name} holds i_mmap_rwsem")
    UNITS[f"{_operation}_hold_p99_ns"] = Metric("ns", f"p99 time for which {_name} holds i_mmap_rwsem")
    UNITS[f"{_operation}_hold_max_ns"] = Metric("ns", f"longest time for which {_name} holds i_mmap_rwsem")
# Of worlds at scale (`bulk.run`).
UNITS |= {
    "sync_p50_ns": Metric("ns", "median time that a sync takes; infinite if it has not returned by the end"),
    "sync_p99_ns": Metric("ns", "p99 time that a sync takes, likewise"),
    "sync_max_ns": Metric("ns", "longest time that a sync takes, likewise"),
    "throttled_share": Metric("1", "share of their time for which balance_dirty_pages holds writers up"),
    "uncleanable_pages_mean": Metric("1", "mean number of dirty pages that the flusher leaves dirty for a pin"),
    "uncleanable_pages_max": _count("largest number of dirty pages that the flusher leaves dirty for a pin"),
    "at_risk_bytes_mean": Metric("B", "mean amount of data that a crash would lose: memory newer than disk"),
    "at_risk_bytes_max": _count("largest amount of data that a crash would lose", "B"),
    "unknown_bytes_mean": Metric("B", "mean amount of it that the kernel does not know of: the page is not dirty"),
    "unknown_bytes_max": _count("largest amount of it that the kernel does not know of", "B"),
    "looked_per_written": Metric("1", "dirty pages that cleaners look at per page that they write"),
    "extra_write_share": Metric("1", "share of the pages written that had no new data in them"),
    "scanned_per_freed": Metric("1", "pages that reclaim takes up per page that it frees"),
    "bounce_bytes_max": _count("largest memory in bounce pages", "B"),
    "blocks": _count("pageblocks of the movable zone"),
    "blocks_blocked": _count("pageblocks of the movable zone that a pin keeps from being emptied"),
    "blocks_pages_moved": _count("pages to move to empty the other pageblocks of the movable zone"),
}
for _name, _text in BULK_COUNTS.items():
    UNITS[_name.lower()] = _count(f"counted: {_text}")
for _lock, _name in LOCKS.items():
    UNITS[f"{_lock}_acquisitions"] = _count(f"acquisitions of {_name}")
    UNITS[f"{_lock}_contended"] = _count(f"acquisitions of {_name} that had to wait")
    UNITS[f"{_lock}_wait_ns"] = Metric("ns", f"time spent waiting for {_name}, all told")
    UNITS[f"{_lock}_utilisation"] = Metric("1", f"share of time in which {_name} is held")
for _counter, _text in COUNTERS.items():
    UNITS[_counter.lower()] = _count(f"counted: {_text}")

KEY = ["scenario", "design", "parameters", "seed"]  # no two rows of a file share these
_TEXT = {
    "scenario": "scenario",
    "design": "design as the command line takes it",
    "tracker": "tracker of the design",
    "parameters": "all parameters as JSON, keys sorted",
    "package_version": "version of the package",
    "source_hash": "hash of the package's sources and of numba's version",
    "git_commit": "commit of the checkout, -dirty where changed; null outside one",
    "cost_table": "name and provenance of the cost table",
    "cost_table_sha256": "hash of the file that the cost table came from; null for the package's own",
    "trace_sha256": "hash of the replayed trace; null for a device model",
    "tracker_sha256": "hash of the user's file that the tracker is in; null for one of the package",
    "point": "what names the point of a batch: a hash of all that its result depends on; null outside a store",
    "notebook": "notebook of a batch, whose executed copy is in the store; null for a simulation",
}


def _field(name: str, kind: pa.DataType, unit: str, text: str) -> pa.Field:
    return pa.field(name, kind, metadata={"unit": unit, "description": text})


SCHEMA = pa.schema(
    [_field(name, pa.string(), "", text) for name, text in _TEXT.items()]
    + [_field("seed", pa.int64(), "", "seed of the random numbers")]
    + [_field(n, pa.int64() if m.integer else pa.float64(), m.unit, m.text) for n, m in UNITS.items()]
)
_COLUMNS = frozenset(SCHEMA.names)  # pyarrow makes the list anew each time


def row(
    source: Mapping[str, Any],
    tracker: str,
    metrics: Mapping[str, Any],
    counters: Mapping[str, int] | None = None,
    commit: str | None = "",
) -> dict[str, Any]:
    """Put a run's provenance, its metrics and its counters into one row.

    Parameters
    ----------
    source : mapping
        What `workbench.provenance.provenance` gave for the run.
    tracker : str
        Tracker of the design.
    metrics : mapping
        Names out of `UNITS`, values in the units given there.
    counters : mapping, optional
        By the names of `workbench.mm.registers.COUNTERS`; their columns have these names in lower case.
    commit : str or None, optional
        As `workbench.provenance.git_commit` gave it, for who writes many rows; it is asked by default.

    Returns
    -------
    dict
        For `write`.
    """
    costs = source["costs"]
    return {
        **{name: source[name] for name in (*KEY, "source_hash", "trace_sha256")},
        "tracker": tracker,
        "tracker_sha256": source.get("tracker_sha256"),
        "package_version": source["version"],
        "git_commit": git_commit() if commit == "" else commit,
        "cost_table": costs and f"{costs['name']} ({costs['provenance']})",
        "cost_table_sha256": costs and costs.get("sha256"),
        **metrics,
        **{name.lower(): count for name, count in (counters or {}).items()},
    }


def write(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Write rows to a Parquet file, whole or not at all.

    Parameters
    ----------
    rows : iterable of mapping
        As `row` makes them. What a row does not measure is null. They are written in the order of their keys.
    path : path
        The file; its folder is made.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        A column that is not in `SCHEMA`, a missing key, or two rows with the same key.
    """
    ready = sorted((checked(r) for r in rows), key=_key)
    for before, after in zip(ready, ready[1:], strict=False):
        if _key(before) == _key(after):
            raise ValueError(f"two rows for {', '.join(map(str, _key(after)))}")
    table = pa.Table.from_pylist(ready, schema=SCHEMA)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as aside:
        write_table(table, Path(aside) / path.name)
        return (Path(aside) / path.name).replace(path)


def write_table(table: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a table as the files of results are: equal tables give equal bytes, and damage is noticed."""
    pq.write_table(table.combine_chunks(), path, compression="zstd", write_page_checksum=True)


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a row into plain values, its parameters into JSON.

    Raises
    ------
    ValueError
        As `write`.
    """
    for name, value in given.items():
        if name not in _COLUMNS:
            raise ValueError(f"no column {name!r} in a result row; {nearest(name, _COLUMNS)}")
        if name in UNITS and UNITS[name].integer and value is not None and value % 1:
            raise ValueError(f"{name} is a count, not {value}")  # pyarrow would cut it down silently
    for name in KEY:
        if given.get(name) is None:
            raise ValueError(f"a result row needs its {name}")
    done = plain(given)
    if not isinstance(done["parameters"], str):
        done["parameters"] = json.dumps(done["parameters"], sort_keys=True)
    return done


def _key(ready: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(ready[name] for name in KEY)


def load(path_or_glob: str | os.PathLike[str]) -> pd.DataFrame:
    """Read result files into one frame.

    Parameters
    ----------
    path_or_glob : path
        A file, a pattern such as ``results/*.parquet``, or the folder of a store that `workbench sweep` keeps.

    Returns
    -------
    DataFrame
        All rows, file after file in the order of their names, with every column of `SCHEMA`; columns that an
        older file lacks, and what a row does not measure, are null. Columns of an older file that `SCHEMA`
        no longer knows come behind the others.

    Raises
    ------
    UsageError
        No such file, or one that is not Parquet, damaged, or not a table of results.
    """
    pattern = os.fspath(path_or_glob)
    if os.path.isdir(pattern):
        from workbench.sweep.store import read  # which builds on this module

        return joined([read(Path(pattern))]).to_pandas()
    files = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
    if not files:
        raise UsageError(f"{pattern}: no such file; give a Parquet file of results, or a pattern in quotes")
    return joined([read_table(file) for file in files]).to_pandas()


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Put tables below each other: all columns of `SCHEMA`, and behind them those that only older files have."""
    return pa.concat_tables([SCHEMA.empty_table(), *tables], promote_options="default")


def read_table(file: str | os.PathLike[str]) -> pa.Table:
    """Read one file of results.

    Raises
    ------
    UsageError
        It is not Parquet, damaged, or not a table of results.
    """
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            table = parquet.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(f"{file}: not a readable Parquet file ({reason})") from None
    missing = [name for name in KEY if name not in table.column_names]
    if missing:
        raise UsageError(f"{file}: not a table of results; it lacks the column {missing[0]!r}")
    for field in table.schema:
        wanted = SCHEMA.field(field.name).type if field.name in SCHEMA.names else field.type
        if field.type != wanted:
            raise UsageError(f"{file}: column {field.name!r} is {field.type}; it should be {wanted}")
    return table


# Student's t for a two-sided 95 % interval of a mean, by degrees of freedom; beyond, the last is wide enough.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def banded(frame: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Average one quantity over seeds, with the 95 % confidence interval of the mean.

    Parameters
    ----------
    frame : DataFrame
        A row per run.
    by : sequence of str
        Columns that name a point; runs that share them differ in their seed only.
    value : str
        Column of the quantity.

    Returns
    -------
    DataFrame
        A row per point: `by`, `value` (the mean), ``low``, ``high`` and ``runs``. With one run, or equal ones,
        the interval is the mean itself. Missing values are left out.
    """
    rows = []
    for point, group in frame.dropna(subset=[value]).groupby(list(by), sort=False):
        values = group[value].astype(float)
        n = len(values)
        half = _T95[min(n - 2, len(_T95) - 1)] * float(values.std()) / n**0.5 if n > 1 else 0.0
        mean = float(values.mean())
        named = dict(zip(by, point, strict=True))
        rows.append({**named, value: mean, "low": mean - half, "high": mean + half, "runs": n})
    return pd.DataFrame(rows, columns=[*by, value, "low", "high", "runs"])


def with_parameters(frame: pd.DataFrame) -> pd.DataFrame:
    """Spread the parameters over columns of their own.

    Parameters
    ----------
    frame : DataFrame
        As `load` gives it.

    Returns
    -------
    DataFrame
        A copy in which parameter ``name`` has become the column ``set.name``; null where a row has none.

    Raises
    ------
    UsageError
        A row's parameters are not what `row` writes.
    """
    spread = pd.DataFrame([_parameters(text) for text in frame["parameters"]], index=frame.index)
    return pd.concat([frame, spread.sort_index(axis=1).add_prefix("set.")], axis=1)


def _parameters(text: object) -> dict[str, Any]:
    try:
        found = json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"not a table of results: the parameters of a row are {str(text)[:40]!r}, not JSON by name")
    return found
