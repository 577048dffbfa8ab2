"""The command ``export``: a result or a notebook written up."""

import argparse
import sys
from pathlib import Path

from workbench.errors import UsageError, nearest
from workbench.usage import Add

# All else is imported where it is used, as in cli.py.
FORMATS = ("md", "html", "txt")


def add_export(add: Add) -> None:
    """Add the command ``export``."""
    summary = "write a result or a notebook up: claim, design, parameters, figures, tables, provenance, command"
    example = "workbench export 01_golden_race --format html --columns 1\n  workbench export found.json --format txt"
    more = (
        "\nPrints the path of the report. What is read is data: nothing of it is run, and all of it is escaped."
        "\nhtml is one file, without scripts, that fetches nothing. md has its figures beside it, in NAME_files/."
        "\ntxt has 72 columns, and tables in the place of figures."
    )
    parser = add("export", summary, _export, example, more)
    parser.add_argument(
        "what",
        metavar="RESULT|NOTEBOOK",
        help="Parquet of `simulate --out`, or a pattern of such files in quotes; JSON of `explore --json`; "
        "an executed .ipynb; or a name of `list notebooks`, which is run unless DIR has it with these parameters",
    )
    parser.add_argument("--format", metavar="F", help=f"{', '.join(FORMATS)}; default: as FILE ends")
    parser.add_argument("--out", metavar="FILE", help="file to be written; -: standard output; default: NAME.F here")
    parser.add_argument(
        "--columns",
        metavar="N",
        help="width of the figures, in columns of a page: 1 (3.5 in) or 2 (7.2 in); default: 2",
    )
    parser.add_argument("--code", action="store_true", help="keep the code of a notebook")
    parser.add_argument("--quick", action="store_true", help="the same as -p quick=true: small inputs")
    parser.add_argument(
        "-p",
        "--parameter",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="parameters of a notebook that is named; `list notebooks -v` gives types, defaults and units",
    )
    parser.add_argument(
        "--hazard", metavar="ID", action="append", default=[], help="of a verdict: this hazard only; may be given again"
    )
    parser.add_argument(
        "--metric", metavar="M", action="append", default=[], help="of results: draw this column; may be given again"
    )
    parser.add_argument(
        "--figures",
        metavar="DIR",
        type=Path,
        default=Path("figures"),
        help="folder of `workbench figures`, executed notebooks in its notebooks/; default: figures",
    )


def _export(arguments: argparse.Namespace) -> int:
    form = _format(arguments)
    columns = _columns(arguments.columns)
    from workbench import export

    out = export.default_name(arguments.what, form) if arguments.out is None else Path(arguments.out)
    if arguments.out != "-":
        export.check_place(out)
        if out.exists() and Path(arguments.what).exists() and out.samefile(arguments.what):
            raise UsageError(f"--out {out}: that is the file that is read; name another")
    wanted = export.Wanted(
        form,
        columns,
        arguments.code,
        (*arguments.parameter, *["quick=true"] * arguments.quick),
        tuple(arguments.hazard),
        tuple(arguments.metric),
        arguments.figures,
    )
    report = export.export(arguments.what, wanted, say=lambda text: print(f"workbench: {text}", file=sys.stderr))
    if arguments.out == "-":
        export.send(report, form)
    else:
        export.write(report, form, out)
        print(out)
    return 0


def _format(arguments: argparse.Namespace) -> str:
    form = arguments.format
    if form is None and arguments.out and Path(arguments.out).suffix[1:] in FORMATS:
        form = Path(arguments.out).suffix[1:]
    if form is None:
        raise UsageError(f"--format is needed: {', '.join(FORMATS)}")
    if form not in FORMATS:
        raise UsageError(f"--format {form}: {nearest(form, FORMATS)}")
    return form


def _columns(text: str | None) -> int | None:
    if text not in (None, "1", "2"):
        raise UsageError(f"--columns {text}: 1 or 2")
    return None if text is None else int(text)
