"""The command ``workbench kernel``: the model against the live kernel, its costs, and its sources."""

import argparse
from pathlib import Path

from workbench.errors import UsageError
from workbench.usage import Add, add_json, commands, layout, prepare_file, print_json, whole_number


def add_kernel(add: Add) -> None:
    """Add the command ``kernel`` with its own commands."""
    summary = "hold the model against the running kernel, measure its costs, or count in its sources"
    parser = add("kernel", summary, None, "workbench kernel calibrate --out mine.json")
    under = commands(parser)
    _add_calibrate(under)


def _add_calibrate(under: Add) -> None:
    summary = "measure what operations of this kernel cost: a cost table for --costs"
    example = (
        "workbench kernel calibrate --out mine.json && workbench simulate direct-io --design v6.12 --costs mine.json"
    )
    more = (
        "\nBest on an idle machine; takes some seconds for each run. Needs no root, but RLIMIT_MEMLOCK may be too low"
        "\nfor a part; what is missing is told and skipped. Exit status 1, and nothing written, where the spread of an"
        "\nentry over the runs (interquartile range over median) is more than 15 %."
    )
    parser = under("calibrate", summary, _calibrate, example, more)
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="write the table to FILE (JSON); default: only print it"
    )
    parser.add_argument("--runs", metavar="N", type=whole_number, default=7, help="3 to 1000; default: 7")
    add_json(parser, "the table: entries and measurements, in ns; what was skipped")


def _calibrate(arguments: argparse.Namespace) -> int:
    from workbench.kernel import calibrate

    if not calibrate.FEWEST <= arguments.runs <= 1000:
        raise UsageError(f"--runs {arguments.runs}: {calibrate.FEWEST} to 1000")
    if arguments.out:
        prepare_file(arguments.out)
    made = calibrate.calibrate(arguments.runs)
    if arguments.json:
        print_json(made._asdict())
    else:
        print(f"{made.about['name']}: {made.about['kernel']}, {made.about['cpu']}")
        print(f"{made.about['provenance']}\n")
        entries = [(n, f"{e['ns']:.4g} ns", _percent(e), e["provenance"], e["source"]) for n, e in made.entries.items()]
        print("\n".join(layout([("entry", "cost", "spread", "provenance", "source"), *entries])))
        rows = [(m["name"], f"{m['value']:.4g} {m['unit']}", _percent(m)) for m in made.measurements]
        print("\n" + "\n".join(layout([("measured", "median", "spread"), *rows])))
        for name, reason in made.skipped.items():
            print(f"skipped: {name}: {reason}")
    made.check()
    if arguments.out:
        calibrate.write(made, arguments.out)
    return 0


def _percent(row: dict) -> str:
    spread = row.get("spread")
    return "" if spread is None else f"{100 * spread:.1f} %"
