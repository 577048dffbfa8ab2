"""What the commands share: how arguments are added and read, and how rows and JSON are printed."""

import argparse
import json
import math
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from workbench.errors import UsageError, nearest

WIDTH = 100
INDENT = "  "
SEED = 1


class Parser(argparse.ArgumentParser):
    """Wrong usage is a `UsageError`, and names the nearest right word."""

    options: tuple[str, ...] = ()

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument, and remember its name for those who mistype it."""
        self.options += tuple(name for name in names if name.startswith("-"))
        return super().add_argument(*names, **settings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"no {value!r}: {nearest(value, action.choices)}")

    def error(self, message: str) -> NoReturn:
        """Raise, where argparse would print its usage and exit."""
        raise UsageError(f"{message} (see '{self.prog} --help')")


Command = Callable[[argparse.Namespace], int]
Add = Callable[..., Parser]


def commands(parser: Parser) -> Add:
    """Give a parser commands of its own; the returned function adds one."""
    group = parser.add_subparsers(metavar="COMMAND", title="commands")
    parser.set_defaults(parser=parser, commands=group.choices)

    def add(name: str, summary: str, run: Command | None, example: str, more: str = "") -> Parser:
        command = group.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.{more}",
            epilog=f"example:\n  {example}",
        )
        command.set_defaults(parser=command, **({"run": run} if run else {}))
        return command

    return add


def add_json(parser: Parser, what: str) -> None:
    """Add ``--json``; `what` says what is printed."""
    parser.add_argument("--json", action="store_true", help=f"print JSON: {what}")


def add_costs(parser: Parser) -> None:
    """Add ``--costs``; who runs the command puts its table into use."""
    parser.add_argument(
        "--costs",
        metavar="FILE",
        type=Path,
        help="cost table in the place of the built-in one (workbench/costs.py), such as `workbench kernel calibrate` "
        "writes; default: the file that WORKBENCH_COSTS names, if it is set",
    )


def prepare_file(path: Path) -> None:
    """Make the folder of ``--out FILE``, and see that it can be written to, before what goes there takes its time.

    Raises
    ------
    UsageError
        It is a folder, or in one that can't be made or written to.
    """
    if path.is_dir():
        raise UsageError(f"--out {path}: that is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UsageError(f"--out {path}: {error.strerror}; name a file in a folder that can be written to") from None


def whole_number(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def print_json(value: object) -> None:
    """JSON knows no NaN: what was not measured is null."""
    from workbench.provenance import plain

    print(json.dumps(_finite(plain(value)), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """Read the ``name=value`` of ``--set``.

    Raises
    ------
    UsageError
        One without ``=``, or a name that is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: name=value is needed")
        if name in found:
            raise UsageError(f"--set {text}: {name} is given twice")
        found[name] = value
    return found


def layout(rows: Sequence[Sequence[str]], indent: str = "", width: int = WIDTH) -> list[str]:
    """Lay rows out in columns; the last column is wrapped where a line would be wider than `width`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    lines: list[str] = []
    for *cells, text in rows:
        start = indent + "".join(f"{cell:<{w}}  " for cell, w in zip(cells, widths, strict=True))
        wrapped = textwrap.wrap(text, width, initial_indent=start, subsequent_indent=" " * len(start))
        lines += wrapped or [start.rstrip()]
    return lines
