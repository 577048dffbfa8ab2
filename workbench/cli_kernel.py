"""The command ``workbench kernel``: the model against the live kernel, its costs, and its sources."""

import argparse
import sys

from workbench.usage import SEED, Add, add_json, commands, print_json, whole_number


def add_kernel(add: Add) -> None:
    """Add the command ``kernel`` with its own commands."""
    summary = "hold the model against the running kernel, measure its costs, or count in its sources"
    parser = add("kernel", summary, None, "workbench kernel vma --ops 10000")
    under = commands(parser)
    _add_vma(under)


def _add_vma(under: Add) -> None:
    summary = "run random mmap, mprotect, mlock, madvise, mremap and fork calls in the VMA model and on this kernel"
    more = " Each sequence runs in a child process, on memory and files of its own. Exit status 1: something differs."
    parser = under("vma", summary, _vma, "workbench kernel vma --ops 100000 --seed 7", more)
    parser.add_argument("--ops", type=whole_number, default=100_000, metavar="N",
                        help="operations to compare (default: 100000)")  # fmt: skip
    parser.add_argument("--seed", type=whole_number, default=SEED, metavar="S", help=f"random seed (default: {SEED})")
    parser.add_argument("--without", action="append", default=[], metavar="RULE",
                        help="switch a rule of the model off, to see it found: see docs/model.md §14")  # fmt: skip
    add_json(parser, "ops, mismatches, splits, merges, ops_per_second, what it ran on, and the shortest mismatch")


def _vma(arguments: argparse.Namespace) -> int:
    from workbench.kernel import needs, vma_oracle

    try:
        report = vma_oracle.compare(arguments.ops, arguments.seed, arguments.without)
    except needs.Unavailable as error:
        print(f"workbench: kernel vma skipped: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print_json(vma_oracle.as_json(report))
    else:
        print(vma_oracle.as_text(report, arguments.seed))
    return 1 if report.mismatches else 0
