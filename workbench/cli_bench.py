"""The command ``bench``: the table of benchmarks on this machine."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from workbench.errors import UsageError
from workbench.usage import Add, add_json, print_json

NAMES = "interval-tree, direct-io, explore, sweep, growth, memory, start, explorer"
ROOT = Path(__file__).resolve().parent.parent  # of a source tree, which has the benchmarks


def add_bench(add: Add) -> None:
    """Add the command ``bench``."""
    summary = "measure speed beside its peers on this machine, and say whether the goals are met"
    example = "workbench bench --only direct-io --only start --quick"
    more = (
        "\nTakes up to 20 minutes on 2 cores, with --quick 5, and compiles first what is not compiled yet. Best on an"
        "\nidle machine. Peers that are not installed are skipped: gcc, spin, chromium, and pip install"
        "\n'gup-pin-workbench[bench]'. Exit status 1: a benchmark failed, or a"
        "\npeer gives other results; the README then stays as it is."
    )
    parser = add("bench", summary, _bench, example, more)
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help=f"only this: {NAMES}; may be given again",
    )
    parser.add_argument("--quick", action="store_true", help="less of everything: rough figures")
    parser.add_argument("--write-readme", action="store_true", help="put the table into README.md, too")
    add_json(parser, "machine, quick, rows (name, what, ours, peer, ratio, goal, met, unit, note)")


def _bench(arguments: argparse.Namespace) -> int:
    if arguments.write_readme and (arguments.only or arguments.quick):
        raise UsageError("--write-readme: the README has all of the table, so leave --only and --quick out")
    rows, about = _part("rows"), _part("machine")
    names = rows.chosen(arguments.only)
    if arguments.write_readme:
        rows.around_table()  # before anything is measured
    machine = about.machine()
    found = rows.collect(names, arguments.quick)
    machine["load"] = f"{machine['load']} before, {about.load()} after"
    if arguments.write_readme and not rows.failed(found):
        rows.write_readme(found, machine)
    if arguments.json:
        print_json(rows.as_json(found, machine, arguments.quick))
    else:
        print(rows.text(found, machine))
    return 1 if rows.failed(found) else 0


def _part(name: str) -> Any:
    """Import a module of the benchmarks, which lie beside the package and are not installed with it."""
    if not (ROOT / "benchmarks" / f"{name}.py").is_file():
        raise UsageError(
            "bench: no folder benchmarks beside the package; it comes with a checkout: pip install -e . there"
        )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"benchmarks.{name}")
