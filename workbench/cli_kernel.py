"""The command ``workbench kernel``: the model against the live kernel, its costs, and its sources."""

import argparse
import sys

from workbench.usage import SEED, Add, add_json, commands, print_json, whole_number


def add_kernel(add: Add) -> None:
    """Add the command ``kernel`` with its own commands."""
    summary = "hold the model against the running kernel, measure its costs, or count in its sources"
    parser = add("kernel", summary, None, "workbench kernel vma --ops 10000")
    under = commands(parser)
    _add_pins(under)


def _unavailable(missing: Exception) -> int:
    print(f"nothing was run: {missing}", file=sys.stderr)
    return 1


# ---- pins


def _add_pins(under: Add) -> None:
    summary = "take real pins and the model through the same schedules, and compare after every step"
    more = (
        " Holds short-term pins by direct reads from a FUSE file of its own, and long-term ones by io_uring and AF_XDP;"
        " needs root, /dev/fuse, io_uring and a folder on ext4 (TMPDIR). Exit status 1: they differ, or nothing could"
        " be run."
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
    from workbench.errors import UsageError, nearest
    from workbench.kernel import pins
    from workbench.kernel.needs import Unavailable

    for name in arguments.case or ():
        if name not in pins.CASES:
            raise UsageError(f"--case {name!r}: {nearest(name, pins.CASES)}")
    steps = arguments.steps if arguments.steps is not None else 0 if arguments.case else 1000
    if steps < 0:
        raise UsageError(f"--steps {steps}: 0 or more steps")
    try:
        report = pins.run(arguments.case, steps, arguments.seed, arguments.design)
    except Unavailable as missing:
        return _unavailable(missing)
    if arguments.json:
        print_json(report.as_dict())
    else:
        print("\n".join(report.lines()))
    return 0 if report.agrees else 1
