"""``python -m verification``: run the checks, write tables and figures, and fail if a check does."""

import argparse
import sys
import time
from pathlib import Path

from verification import (
    batched_release,
    device_queue,
    dirty_pages,
    false_pins,
    littles_law,
    lock_queue,
    report,
    split_ranges,
)
from verification.check import FULL, QUICK, Check

CHECKS: dict[str, Check] = {
    check.NAME: check
    for check in (
        littles_law, device_queue, lock_queue, false_pins, dirty_pages, split_ranges, batched_release,
    )
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        0 if all checks agree, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m verification", description="Analytic checks of the workbench.")
    parser.add_argument("names", nargs="*", metavar="CHECK", help=f"one of {', '.join(CHECKS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="few replications: wide intervals")
    parser.add_argument("--out", type=Path, default=Path("figures/verify"), help="folder (%(default)s)")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in CHECKS]
    if unknown:
        parser.error(f"check {unknown[0]!r}: there are {', '.join(CHECKS)}")
    return run([CHECKS[name] for name in given.names or CHECKS], quick=given.quick, out=given.out)


def run(checks: list[Check], *, quick: bool, out: Path) -> int:
    """Run some checks, and report: 0 if all agree, else 1."""
    found = {}
    for check in checks:
        began = time.monotonic()
        found[check.NAME] = check.run(QUICK if quick else FULL)
        seconds = time.monotonic() - began
        print(f"{check.NAME}: {len(found[check.NAME])} comparisons in {seconds:.0f} s", file=sys.stderr, flush=True)
    miss = report.miss_of_each(case for cases in found.values() for case in cases)
    wrong = 0
    for check in checks:
        cases = found[check.NAME]
        report.draw(check, cases, miss, out)
        print(report.table(check, cases, miss), end="\n\n")
        wrong += sum(not case.agrees(miss) for case in cases)
    print(report.verdict(found, miss))
    print(f"Figures and tables: {out}", file=sys.stderr)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
