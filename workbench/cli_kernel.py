"""The command ``workbench kernel``: the model against the live kernel, its costs, and its sources."""

import argparse
from pathlib import Path

from workbench.usage import Add, add_json, commands, print_json, whole_number


def add_kernel(add: Add) -> None:
    """Add the command ``kernel`` with its own commands."""
    summary = "hold the model against the running kernel, measure its costs, or count in its sources"
    parser = add("kernel", summary, None, "workbench kernel vma --ops 10000")
    under = commands(parser)
    _add_churn(under)


def _add_churn(under: Add) -> None:
    summary = "count the places in a kernel's sources that each tracker makes one touch"
    more = " Sources are parsed, not searched by line; nothing is compiled or preprocessed."
    parser = under(
        "churn", summary, _churn, "workbench kernel churn linux-source-6.1 --grep --out places.parquet", more
    )
    parser.add_argument("tree", metavar="SOURCE_TREE", type=Path, help="top folder of a kernel's sources")
    parser.add_argument("--jobs", metavar="N", type=whole_number, default=2, help="processes; default: 2")
    parser.add_argument("--grep", action="store_true", help="hold the counts against those of grep, name by name")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write every place to a .csv or .parquet file")
    parser.add_argument(
        "--counts", metavar="FILE", type=Path, help="write counts by subsystem to a .csv, as in data/churn"
    )
    add_json(parser, "one object: groups, trackers, subsystems, what could be parsed; names with --grep")


def _churn(arguments: argparse.Namespace) -> int:
    from workbench.kernel import churn, churn_report

    churn.kernel_version(arguments.tree)
    if arguments.out:
        churn_report.check_writable(arguments.out)
    if arguments.counts:
        churn_report.check_writable(arguments.counts, (".csv",))
    found = churn.count(arguments.tree, arguments.jobs)
    if arguments.out:
        churn_report.write_places(found, arguments.out)
    if arguments.counts:
        churn_report.write_counts(found, arguments.counts)
    if arguments.json:
        print_json(churn_report.to_json(found, arguments.grep))
    else:
        print(churn_report.text(found, arguments.grep))
    return 0
