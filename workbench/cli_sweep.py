"""The commands ``sweep`` and ``results``: a batch of points, and what came out of it."""

import argparse
import json
from math import isnan
from pathlib import Path
from typing import Any

from workbench.errors import UsageError
from workbench.usage import Add, add_costs, add_json, print_json, whole_number

MOST_TOLD = 3  # failures in the summary


def add_sweep(add: Add) -> None:
    """Add the command ``sweep``."""
    example = "workbench sweep depths.toml --jobs 2 --out results/depths"
    more = (
        "\nSPEC.toml names a scenario (simulated in processes) or a notebook (run by papermill),"
        "\ndesigns, seeds, grids and lists of parameters; values may have units. All is checked"
        "\nbefore anything starts. What the store has is not run again: after a kill the same"
        "\ncommand goes on. Failed points are kept in STORE/failed/, and the next run tries them"
        "\nagain. All that a spec may hold: workbench/sweep/spec.py."
        '\n\n  scenario = "direct-io"\n  designs = ["v4.17", "v6.12"]\n  replications = 3'
        '\n  [grid]\n  qd = [1, 64]\n  size_kib = ["4 KiB", "1 MiB"]'
        "\n\nexit status: 0 all points are there, 1 some failed, 2 a wrong spec: nothing has run"
    )
    parser = add("sweep", "run a batch of points, those that are not in its store yet", _sweep, example, more)
    parser.add_argument("spec", metavar="SPEC.toml", type=Path, help="what is to be run")
    parser.add_argument("--jobs", metavar="N", type=whole_number, help="processes here; default: one per CPU")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use the workers of a running Dask scheduler instead, such as tcp://10.0.0.5:8786; Dask's messages are "
        "code (pickles), unencrypted but by tls://: only one that you trust, in a network that you trust",
    )
    parser.add_argument("--out", metavar="STORE", type=Path, help="folder of results; default: results/NAME")
    parser.add_argument(
        "--allow",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a tracker file or notebook of your own that the spec names: it is code, and runs only if named here",
    )
    add_costs(parser)
    add_json(parser, "points, done, before, failed, seconds, failures with point, error and folder")


def _sweep(arguments: argparse.Namespace) -> int:
    from workbench.sweep.run import as_json, sweep

    if arguments.jobs is not None and arguments.jobs < 1:
        raise UsageError(f"--jobs {arguments.jobs}: 1 or more processes are needed")
    if arguments.jobs is not None and arguments.scheduler:
        raise UsageError("--jobs: a scheduler has workers of its own; leave one of the two out")
    summary = sweep(
        arguments.spec,
        jobs=arguments.jobs,
        scheduler=arguments.scheduler,
        out=arguments.out,
        allow=arguments.allow,
    )
    if arguments.json:
        print_json(as_json(summary))
    else:
        failed = f", {summary.failed} failed" if summary.failed else ""
        before = f" ({summary.before} before)" if summary.before else ""
        rate = (summary.done - summary.before + summary.failed) / max(summary.seconds, 1e-9)
        print(
            f"{summary.name}: {summary.done} of {summary.points} points done{before}{failed}, "
            f"in {summary.seconds:.0f} s ({rate:.3g} points/s): {summary.store}"
        )
        for failure in summary.failures[:MOST_TOLD]:
            print(f"  failed: {failure['error']} ({failure['folder']})")
        if summary.failed > MOST_TOLD:
            print(f"  and {summary.failed - MOST_TOLD} more: workbench results {summary.store} --failed")
    return 1 if summary.failed else 0


def add_results(add: Add) -> None:
    """Add the command ``results``."""
    example = "workbench results results/depths --where design=v4.17 --columns iops latency_p99_ns"
    more = (
        "\nSTORE is a folder that `workbench sweep` keeps, a Parquet file of results, or a pattern"
        "\nin quotes. The files are plain Parquet, units in the metadata: DuckDB reads"
        "\nSTORE/results.parquet."
    )
    parser = add("results", "list, filter and compare what batches gave", _results, example, more)
    parser.add_argument("store", metavar="STORE", help="where the results are")
    parser.add_argument("--batch", metavar="NAME", help="only the points of this batch of the store")
    parser.add_argument(
        "--where",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="only rows in which this holds; also !=, <, <=, >, >= (in quotes); NAME is a parameter or a column",
    )
    parser.add_argument(
        "--against",
        metavar="OTHER",
        help="compare with another batch of the store, or with another store: old, %%change, new",
    )
    parser.add_argument(
        "--columns", metavar="NAME", nargs="+", action="extend", default=[], help="metrics; default: some that differ"
    )
    parser.add_argument("--failed", action="store_true", help="list what failed instead")
    add_json(parser, "an array of rows with all columns; null: not measured")


def _results(arguments: argparse.Namespace) -> int:
    if arguments.failed:
        return _list_failures(arguments)
    from workbench.sweep import listing

    frame = listing.load(arguments.store, arguments.batch, arguments.where)
    if arguments.against:
        return _compare(arguments, frame)
    if arguments.json:
        rows = frame.dropna(axis=1, how="all").to_dict("records")
        print_json([{**row, "parameters": json.loads(row["parameters"])} for row in rows])
        return 0
    _print_batches(arguments.store, frame)
    if len(frame):
        _print_table(listing.points(frame, arguments.columns))
    return 0


def _print_batches(store: str, frame: Any) -> None:
    from workbench.sweep import listing

    print(f"{len(frame)} rows: {store}")
    there = set(frame["point"])
    failed = {told["point"].get("key") for told in listing.failures(store)}
    for name, batch in listing.batches(store).items():
        keys = set(batch["points"])
        what = batch.get("notebook") or batch.get("scenario")
        print(f"batch {name} ({what}): {len(keys)} points, {len(keys & there)} shown, {len(keys & failed)} failed")


def _print_table(table: Any) -> None:
    from workbench.tables import text_table
    from workbench.usage import WIDTH

    print(text_table(table, width=WIDTH))


def _list_failures(arguments: argparse.Namespace) -> int:
    from workbench.sweep import listing

    if not Path(arguments.store).is_dir():
        raise UsageError(f"{arguments.store}: no such store; failures are kept in the folder of one")
    found = listing.failures(arguments.store, arguments.batch)
    if arguments.json:
        print_json(found)
        return 0
    print(f"{len(found)} failed points: {arguments.store}")
    for told in found:
        point = dict(told["point"])
        key = point.pop("key", "")
        parameters = point.pop("parameters", {})
        what = ", ".join([*(str(v) for v in point.values()), *(f"{n}={v}" for n, v in parameters.items())])
        print(f"{key}  {what}: {told.get('error', '')}")
    return 0


def _compare(arguments: argparse.Namespace, old: Any) -> int:
    from workbench.sweep import listing

    if arguments.against in listing.batches(arguments.store):
        new = listing.load(arguments.store, arguments.against, arguments.where)
    else:
        new = listing.load(arguments.against, None, arguments.where)
    table, counts = listing.compare(old, new, arguments.columns)
    if arguments.json:
        print_json({"points": counts, "metrics": table.to_dict("records")})
        return 0
    print(
        f"{counts['both']} points in both; only in the first: {counts['old']}, only in the second: {counts['new']}; "
        f"means over points, with their standard deviation"
    )
    if len(table):
        _print_table(_as_the_robot(table))
    else:
        print("no metric differs in any point")
    return 0


def _as_the_robot(table: Any) -> Any:
    """Write it as kernel people know it: old ± stddev, %change, new ± stddev, metric."""
    import pandas as pd

    from workbench.tables import number

    def mean(row: Any, which: str) -> str:
        return f"{number(row[which], row['unit'])} +- {number(row[f'{which}_stddev'], row['unit'])}"

    return pd.DataFrame(
        {
            "metric": [row["metric"] for _, row in table.iterrows()],
            "old": [mean(row, "old") for _, row in table.iterrows()],
            "%change": [
                "-" if isnan(row["change_percent"]) else f"{row['change_percent']:+.1f}" for _, row in table.iterrows()
            ],
            "new": [mean(row, "new") for _, row in table.iterrows()],
            "points": [row["differ"] for _, row in table.iterrows()],
            "design": [row["design"] for _, row in table.iterrows()],
        }
    )
