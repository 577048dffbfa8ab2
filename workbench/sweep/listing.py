"""Stores read: what is in them, filtered, and one batch beside another."""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path
from typing import Any

import pandas as pd

from workbench import results
from workbench.errors import UsageError, nearest

SETS = "set."  # before the name of a parameter that is a column
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {"!=": ne, ">=": ge, "<=": le, "=": eq, ">": gt, "<": lt}
_WHERE = re.compile(r"([\w.]+)\s*(!=|>=|<=|=|>|<)\s*(.*)")
_SHOWN = 4  # metrics, where none are named
_NAMES = ["scenario", "notebook", "design", "seed"]
_SOURCES = [name for name in results.SCHEMA.names if name not in {*results.UNITS, *_NAMES}]


def load(path: str, batch: str | None = None, where: Iterable[str] = ()) -> pd.DataFrame:
    """Read results, those that are asked for.

    Parameters
    ----------
    path : str
        A store, a file or a pattern, as `results.load` takes it.
    batch : str, optional
        Name of a batch: only its points.
    where : iterable of str
        ``NAME=VALUE``, or with ``!=``, ``<``, ``<=``, ``>``, ``>=``; NAME is a parameter or a column. All have to hold.

    Returns
    -------
    DataFrame
        Columns of the results; parameters as columns ``set.NAME``.

    Raises
    ------
    UsageError
    """
    frame = results.with_parameters(results.load(path))
    if batch is not None:
        frame = frame[frame["point"].isin(batches(path, batch)[batch]["points"])]
    for text in where:
        frame = frame[_holds(frame, text)]
    return frame.reset_index(drop=True)


def _holds(frame: pd.DataFrame, text: str) -> pd.Series:
    found = _WHERE.fullmatch(text)
    if not found:
        raise UsageError(f"--where {text}: NAME=VALUE is needed, or with !=, <, <=, >, >=")
    name, sign, value = found.groups()
    column = frame[column_of(frame, name, f"--where {text}", parameters_first=True)]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        try:
            return _SIGNS[sign](column, float(value)) & column.notna()
        except ValueError:
            raise UsageError(f"--where {text}: {name} is a number") from None
    if sign not in ("=", "!="):
        raise UsageError(f"--where {text}: {name} is text; = and != are for it")
    return _SIGNS[sign](column.astype(str), value)


def column_of(frame: pd.DataFrame, name: str, what: str, parameters_first: bool = False) -> str:
    """Find a column by its name, or that of a parameter without the ``set.``; some counters are called as parameters.

    Raises
    ------
    UsageError
        There is none; the message names the nearest.
    """
    names = [name, f"{SETS}{name}"]
    for column in reversed(names) if parameters_first else names:
        if column in frame.columns:
            return column
    known = {str(c).removeprefix(SETS) for c in frame.columns}
    raise UsageError(f"{what}: no column or parameter {name!r}: {nearest(name, known)}")


def batches(path: str, wanted: str | None = None) -> dict[str, dict[str, Any]]:
    """Read which batches a store has: by name, what `Store.keep_batch` was told.

    Raises
    ------
    UsageError
        A file is damaged, or there is no batch `wanted`.
    """
    found = {}
    for file in sorted((Path(path) / "batches").glob("*.json")):
        found[file.stem] = _json(file, _is_batch)
    if wanted is not None and wanted not in found:
        raise UsageError(f"{path}: no batch {wanted!r}: {nearest(wanted, found) if found else 'it has none'}")
    return found


def failures(path: str, batch: str | None = None) -> list[dict[str, Any]]:
    """Read the failures of a store, or of one batch of it.

    Raises
    ------
    UsageError
        A file is damaged.
    """
    found = [_json(file, _is_failure) for file in sorted((Path(path) / "failed").glob("*/failure.json"))]
    keys = batches(path, batch)[batch]["points"] if batch else None
    return [told for told in found if keys is None or told["point"].get("key") in keys]


def _is_batch(told: Any) -> bool:
    return isinstance(told["points"], list) and all(isinstance(key, str) for key in told["points"])


def _is_failure(told: Any) -> bool:
    point = told["point"]
    return isinstance(point.get("key", ""), str) and isinstance(point.get("parameters", {}), dict)


def _json(file: Path, good: Callable[[Any], bool]) -> dict[str, Any]:
    try:
        told = json.loads(file.read_bytes())
        if not good(told):
            raise TypeError
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{file}: damaged; remove it, and the same sweep writes it again") from None
    return told


def points(frame: pd.DataFrame, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Choose what a table shows: what tells the points apart, and metrics.

    Parameters
    ----------
    frame : DataFrame
        Of `load`.
    columns : sequence of str
        Metrics or parameters; by default the first few metrics in which the points differ.

    Returns
    -------
    DataFrame
        Parameters without the ``set.``, unless a metric has that name.
    """
    named = [column_of(frame, name, f"--columns {name}") for name in columns]
    keys = [name for name in _NAMES if _varies(frame[name])] or ["design"]
    keys += [c for c in map(str, frame.columns) if c.startswith(SETS) and _varies(frame[c]) and c not in named]
    if not columns:
        measured = [name for name in results.UNITS if frame[name].notna().any()]
        named = ([name for name in measured if _varies(frame[name])] or measured)[:_SHOWN]
    chosen = frame[[*(key for key in keys if key not in named), *named]]
    parameters = [c for c in map(str, chosen.columns) if SETS in c and c[len(SETS) :] not in chosen]
    return chosen.rename(columns={c: c[len(SETS) :] for c in parameters})


def _varies(column: pd.Series) -> bool:
    return len(set(column.astype(str))) > 1


def compare(old: pd.DataFrame, new: pd.DataFrame, columns: Sequence[str] = ()) -> tuple[pd.DataFrame, dict[str, int]]:
    """Put two batches side by side, over the points that both have.

    A point is the same if scenario, notebook, design, parameters and seed are.

    Parameters
    ----------
    old, new : DataFrame
        Of `load`.
    columns : sequence of str
        Metrics; by default all in which a point differs.

    Returns
    -------
    table : DataFrame
        A row per metric and design, as the kernel's test robot writes them: means over points, with their standard
        deviation, the change of the mean, and in how many points it differs.
    counts : dict
        ``both``, ``old`` and ``new``: points that both have, and that only one has.

    Raises
    ------
    UsageError
        No such metric, or two rows for one point: of other sources, costs or traces.
    """
    for name in columns:
        if name not in results.UNITS:
            raise UsageError(f"--columns {name}: no metric of this name: {nearest(name, results.UNITS)}")
    same = [*_NAMES, "parameters"]
    for which, frame in (("first", old), ("second", new)):
        if frame.duplicated(same).any():
            raise UsageError(
                f"the {which} batch has several rows for a point, of other sources, costs or traces: "
                "choose by --batch or --where, such as source_hash=..."
            )
    metrics = list(columns) or list(results.UNITS)
    joined = old[[*same, *metrics]].merge(new[[*same, *metrics]], on=same, how="outer", indicator="side")
    counts = joined["side"].value_counts()
    both = joined[joined["side"] == "both"]
    rows = []
    for design, group in both.groupby("design", sort=False):
        for name in metrics:
            found = _compared(group[f"{name}_x"], group[f"{name}_y"])
            if found and (columns or found["differ"]):
                rows.append({"metric": name, "unit": results.UNITS[name].unit, "design": design} | found)
    heads = ["metric", "unit", "design", "old", "old_stddev", "change_percent", "new", "new_stddev", "differ"]
    told = {"both": "both", "old": "left_only", "new": "right_only"}
    return pd.DataFrame(rows, columns=heads), {name: int(counts[side]) for name, side in told.items()}


def _stddev(values: pd.Series) -> float:
    """That of a sync that has not returned is unknown."""
    return float(values.std(ddof=0)) if math.isfinite(values.mean()) else math.nan


def _compared(old: pd.Series, new: pd.Series) -> dict[str, Any]:
    differ = int(((old != new) & ~(old.isna() & new.isna())).sum())
    if old.isna().all() and new.isna().all():
        return {}
    before, after = float(old.mean()), float(new.mean())
    return {
        "old": before,
        "old_stddev": _stddev(old),
        "change_percent": 100 * (after / before - 1) if before and math.isfinite(before) else math.nan,
        "new": after,
        "new_stddev": _stddev(new),
        "differ": differ,
    }
