"""The command ``workbench kernel``: the model against the live kernel, its costs, and its sources."""

import argparse
from pathlib import Path

from workbench.errors import UsageError, nearest
from workbench.usage import SEED, Add, add_json, commands, layout, prepare_file, print_json, whole_number


def add_kernel(add: Add) -> None:
    """Add the command ``kernel`` with its own commands."""
    summary = "hold the model against the running kernel, measure its costs, or count in its sources"
    parser = add("kernel", summary, None, "workbench kernel vma --ops 10000")
    under = commands(parser)
    _add_vma(under)
    _add_pins(under)
    _add_calibrate(under)
    _add_churn(under)


def _add_vma(under: Add) -> None:
    summary = "run random mmap, mprotect, mlock, madvise, mremap and fork calls in the VMA model and on this kernel"
    more = "\nEach sequence runs in a child process, on memory and files of its own.\nExit status 1: something differs."
    parser = under("vma", summary, _vma, "workbench kernel vma --ops 100000 --seed 7", more)
    parser.add_argument("--ops", type=whole_number, default=100_000, metavar="N",
                        help="operations to compare (default: 100000)")  # fmt: skip
    parser.add_argument("--seed", type=whole_number, default=SEED, metavar="S", help=f"random seed (default: {SEED})")
    parser.add_argument("--without", action="append", default=[], metavar="RULE",
                        help="switch a rule of the model off, to see it found: see docs/model.md §14")  # fmt: skip
    add_json(parser, "ops, mismatches, splits, merges, ops_per_second, what it ran on, and the shortest mismatch")


def _vma(arguments: argparse.Namespace) -> int:
    from workbench.kernel.vma import oracle

    report = oracle.compare(arguments.ops, arguments.seed, arguments.without)
    if arguments.json:
        print_json(oracle.as_json(report))
    else:
        print(oracle.as_text(report, arguments.seed))
    return 1 if report.mismatches else 0


def _add_pins(under: Add) -> None:
    summary = "take real pins and the model through the same schedules, and compare after every step"
    more = (
        "\nHolds short-term pins by direct reads from a FUSE file of its own, and long-term ones by io_uring"
        "\nand AF_XDP; needs root, /dev/fuse, io_uring and a folder on ext4 (TMPDIR). What is compared, and"
        "\nwhat is only observed: docs/model.md §15. Exit status 1: they differ, or nothing could be run."
    )
    parser = under("pins", summary, _pins, "workbench kernel pins --case pin-fsync --steps 0", more)
    parser.add_argument(
        "--case", action="append", metavar="NAME", help="a case, several times for several; default: all"
    )
    parser.add_argument("--steps", type=whole_number, help="steps of random schedules (default 1000; 0 with --case)")
    parser.add_argument("--seed", type=whole_number, default=SEED, help=f"of what is drawn (default {SEED})")
    parser.add_argument("--design", default="v6.12", help="design of the model (default v6.12)")
    add_json(parser, "steps, compared, observed, mismatches, skipped, and each case")


def _pins(arguments: argparse.Namespace) -> int:
    from workbench.kernel.pins import run

    for name in arguments.case or ():
        if name not in run.CASES:
            raise UsageError(f"--case {name!r}: {nearest(name, run.CASES)}")
    steps = arguments.steps if arguments.steps is not None else 0 if arguments.case else 1000
    if steps < 0:
        raise UsageError(f"--steps {steps}: 0 or more steps")
    report = run.run(arguments.case, steps, arguments.seed, arguments.design)
    if arguments.json:
        print_json(report.as_dict())
    else:
        print("\n".join(report.lines()))
    return 0 if report.agrees else 1


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


def _add_churn(under: Add) -> None:
    summary = "count the places in a kernel's sources that each tracker makes one touch"
    more = "\nSources are parsed, not searched by line; nothing is compiled or preprocessed."
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
    from workbench.kernel.churn import count, report

    count.kernel_version(arguments.tree)
    if arguments.out:
        report.check_writable(arguments.out)
    if arguments.counts:
        report.check_writable(arguments.counts, (".csv",))
    found = count.count(arguments.tree, arguments.jobs)
    if arguments.out:
        report.write_places(found, arguments.out)
    if arguments.counts:
        report.write_counts(found, arguments.counts)
    if arguments.json:
        print_json(report.to_json(found, arguments.grep))
    else:
        print(report.text(found, arguments.grep))
    return 0
