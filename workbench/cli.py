"""The command ``workbench``: what there is, one run, every interleaving, notebooks, figures, recorded traces.

Exit status: 0 success; 1 failure; 2 wrong usage or input, with one line on standard error that says what,
where, and what would be right; 129, 130, 141 and 143 as a shell reports SIGHUP, SIGINT, SIGPIPE and SIGTERM.
"""

import argparse
import json
import math
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from workbench.cli_bench import add_bench
from workbench.cli_explore import add_explore, add_matrix
from workbench.cli_export import add_export
from workbench.cli_kernel import add_kernel
from workbench.cli_schedule import counterexample
from workbench.cli_sweep import add_results, add_sweep
from workbench.errors import BatchError, UsageError, nearest
from workbench.usage import (
    INDENT,
    SEED,
    WIDTH,
    Add,
    Parser,
    add_costs,
    add_json,
    commands,
    layout,
    pairs,
    prepare_file,
    print_json,
    whole_number,
)

LARGEST_BUFFER_MIB = 1 << 14

# All else is imported where it is used: numba, pandas and pyarrow take longer than `--help` may.
if TYPE_CHECKING:
    from workbench.simulate import Result


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments behind the program's name; those of the process by default.

    Returns
    -------
    int
        Exit status (see the module).
    """
    ending = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]  # as nohup does
    before = {number: signal.signal(number, _terminated) for number in ending}
    try:
        status = _status(argv)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has seen enough
        _let_go_of_output()
        return 128 + signal.SIGPIPE
    except OSError as error:  # a full disk, say
        _let_go_of_output()
        return _complain(f"{error.filename or 'output'}: {error.strerror or error}", 1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_go_of_output() -> None:
    """What can't be written goes nowhere: else the interpreter tries again, and complains, as it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminated(number: int, _frame: object) -> NoReturn:
    """Leave by an exception, so that notebooks under way are ended and what is unfinished is removed."""
    raise SystemExit(128 + number)


def _status(argv: Sequence[str] | None) -> int:
    try:
        arguments = _arguments(argv)
        return _run_with_costs(arguments)
    except SystemExit as end:  # --help, --version, SIGTERM
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except UsageError as error:
        return _complain(error, 2)
    except MemoryError as error:
        return _complain(f"out of memory: {error}", 1)
    except Exception as error:
        if isinstance(error, _missing()):
            return _complain(f"{arguments.parser.prog.partition(' ')[2]} skipped: {error}", 1)
        if isinstance(error, _failures()):
            return _complain(error, 1)
        raise


def _run_with_costs(arguments: argparse.Namespace) -> int:
    """Run a command with the cost table of its ``--costs``, if it has one."""
    if getattr(arguments, "costs", None) is None:
        return arguments.run(arguments)
    from workbench import costs

    with costs.using(arguments.costs):
        return arguments.run(arguments)


def _failures() -> tuple[type[Exception], ...]:
    from workbench.batch import NotebookError
    from workbench.kernel.needs import Refused
    from workbench.simulate import ConservationError

    return NotebookError, ConservationError, BatchError, Refused


def _missing() -> type[Exception]:
    from workbench.kernel.needs import Unavailable

    return Unavailable


def _complain(error: object, status: int) -> int:
    print("workbench:", " ".join(str(error).splitlines()), file=sys.stderr)
    return status


# ---- arguments


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    arguments, unknown = _parser().parse_known_args(argv)
    parser = arguments.parser
    if unknown:
        name = unknown[0].partition("=")[0]
        what = f"option {name!r}: {nearest(name, parser.options)}" if name.startswith("-") else f"argument {name!r}"
        parser.error(f"no {what}")
    if not hasattr(arguments, "run"):
        parser.error(f"{parser.prog}: a command is needed: {', '.join(arguments.commands)}")
    return arguments


def _parser() -> Parser:
    parser = Parser(
        prog="workbench",
        description="Experiments on how a kernel can know, and honour,\nthat get_user_pages() has pinned a page.",
        epilog="exit status: 0 success, 1 failure, 2 wrong usage or input (one line says what is wrong)\n"
        "example:\n  workbench simulate golden-race --design v4.17 --walk",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    add = commands(parser)
    _add_list(add)
    _add_simulate(add)
    add_explore(add)
    add_matrix(add)
    _add_run(add)
    _add_figures(add)
    add_sweep(add)
    add_results(add)
    add_export(add)
    _add_trace(add)
    add_kernel(add)
    add_bench(add)
    return parser


class _Version(argparse.Action):
    """Look the version up only when somebody asks."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from workbench.provenance import SOFTWARE, version

        print(SOFTWARE, version())
        parser.exit()


# ---- list


class _Entry(NamedTuple):
    name: str
    what: str
    source: str
    parameters: list[dict[str, Any]] | None = None


def _add_list(add: Add) -> None:
    example = "workbench list scenarios -v"
    parser = add("list", "list what there is, a line each: name, what it is, [source]", _list, example)
    parser.add_argument("group", nargs="?", choices=GROUPS, metavar="GROUP", help=f"{', '.join(GROUPS)}; default: all")
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="scenarios and notebooks with their parameters: default, range with unit, meaning",
    )
    add_json(parser, "objects with name, what, source, parameters")


def _list(arguments: argparse.Namespace) -> int:
    groups = [arguments.group] if arguments.group else list(GROUPS)
    found = {group: GROUPS[group]() for group in groups}
    if arguments.json:
        listed = {
            group: [{k: v for k, v in entry._asdict().items() if v is not None} for entry in entries]
            for group, entries in found.items()
        }
        print_json(listed[arguments.group] if arguments.group else listed)
        return 0
    for group, entries in found.items():
        indent = "" if arguments.group else INDENT
        if not arguments.group:
            print(f"{group}:")
        width = max((len(entry.name) for entry in entries), default=0)
        for entry in entries:
            print(f"{indent}{entry.name:<{width}}  {entry.what}  [{entry.source}]")
            if arguments.verbose:
                _print_parameters(entry.parameters or [], indent + INDENT)
    return 0


def _print_parameters(parameters: Sequence[Mapping[str, Any]], indent: str) -> None:
    rows = [(p["name"], json.dumps(p["default"]), p["values"], p["help"]) for p in parameters]
    for line in layout(rows, indent):
        print(line)


def _designs() -> list[_Entry]:
    from workbench.designs import PRESET_SOURCES, PRESETS

    return [_Entry(name, parts, PRESET_SOURCES[name]) for name, parts in PRESETS.items()]


def _trackers() -> list[_Entry]:
    """A tracker's own module says what it models and, in its second paragraph, who proposed it."""
    import importlib
    import pkgutil

    import workbench.trackers

    found = []
    for info in pkgutil.iter_modules(workbench.trackers.__path__, "workbench.trackers."):
        module = importlib.import_module(info.name)
        text = f"{module.__doc__}\n\n{_file_of(module)}".replace("``", "")
        paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
        what, source = paragraphs[0].partition(": ")[2], paragraphs[1].partition(". ")[0]
        found += [_Entry(name, what.rstrip("."), source.rstrip(".")) for name in getattr(module, "VARIANTS", {})]
    return found


def _file_of(module: Any) -> str:
    return module.__name__.replace(".", "/") + ".py"


def _policies() -> list[_Entry]:
    from workbench.policies import CLEANING, CLEANING_SOURCES

    return [_Entry(name, what, CLEANING_SOURCES[name]) for name, what in CLEANING.items()]


def _scenarios() -> list[_Entry]:
    from workbench.scenarios import ALL

    return [
        _Entry(
            name,
            scenario.SUMMARY,
            _file_of(scenario),
            [
                {
                    "name": p.name,
                    "default": p.default,
                    "unit": p.unit,
                    "low": p.low,
                    "high": p.high,
                    "choices": list(p.choices),
                    "values": " or ".join(p.choices) or ("text" if p.low is None else f"{_span(p)} {p.unit}".rstrip()),
                    "help": p.help,
                }
                for p in scenario.PARAMETERS
            ],
        )
        for name, scenario in ALL.items()
    ]


def _span(parameter: Any) -> str:
    return f"{parameter.low:.9g} to {parameter.high:.9g}"


def _notebooks() -> list[_Entry]:
    from workbench import batch

    found = []
    for name in batch.notebook_names():
        path = batch.find_notebook(name)
        parameters = [
            {"name": key, "default": p.default, "values": p.type, "help": p.help}
            for key, p in batch.read_parameters(path).items()
        ]
        found.append(_Entry(name, _title(path), f"notebooks/{path.name}", parameters))
    return found


def _title(notebook: Path) -> str:
    """The notebook's first heading."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for line in "".join(cell["source"]).splitlines():
            if cell["cell_type"] == "markdown" and line.startswith("#"):
                return line.lstrip("# ")
    return ""


def _hazards() -> list[_Entry]:
    from workbench.hazards import HAZARDS

    return [_Entry(name, hazard.definition, hazard.source) for name, hazard in HAZARDS.items()]


GROUPS: dict[str, Callable[[], list[_Entry]]] = {
    "designs": _designs,
    "trackers": _trackers,
    "policies": _policies,
    "scenarios": _scenarios,
    "notebooks": _notebooks,
    "hazards": _hazards,
}


# ---- simulate


def _add_simulate(add: Add) -> None:
    summary = "run a scenario by the clock, or a counterexample: metrics, counters, hazards"
    example = "workbench simulate direct-io --design v4.17 --design v6.12 --set qd=128 dio=iomap"
    more = (
        "\nThe first run of each kind of tracker compiles it, which takes ten to thirty seconds."
        "\nTimes are counts x a cost table; the output says what its entries rest on."
        "\nWith --schedule a counterexample is run step by step; what the device does takes no time."
    )
    parser = add("simulate", summary, _simulate, example, more)
    parser.add_argument(
        "scenario",
        metavar="SCENARIO",
        nargs="?",
        help="a name of `workbench list scenarios`; with --schedule this, D and parameters may be left out",
    )
    parser.add_argument(
        "--design",
        metavar="D",
        action="append",
        default=[],
        help="a preset of `workbench list designs`, or parts: tracker=vma-common:release=count,cleaning=skip/wait; "
        "tracker=FILE.py:CLASS runs that file as code. Given again: another column. Needed once at least",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="parameters; `workbench list scenarios -v` gives defaults, ranges and units",
    )
    parser.add_argument("--seed", metavar="N", type=whole_number, help=f"of all that is random; default: {SEED}")
    add_costs(parser)
    parser.add_argument(
        "--schedule",
        metavar="FILE",
        type=Path,
        help="run a counterexample that `workbench explore --json` wrote to FILE",
    )
    parser.add_argument("--hazard", metavar="ID", help="of this hazard, if FILE has counterexamples of several")
    parser.add_argument(
        "--walk",
        action="store_true",
        help="print the log step by step: of a schedule, and where the scenario keeps one",
    )
    parser.add_argument("--out", metavar="FILE.parquet", type=Path, help="write the results to FILE too, a row each")
    add_json(parser, "one object, or an array of them for several designs; null: not measured")


def _simulate(arguments: argparse.Namespace) -> int:
    if arguments.schedule:
        results = [_follow(arguments)]
    else:
        results = _run_by_the_clock(arguments)
    if arguments.out:
        _write(results, arguments.out)
    if arguments.json:
        objects = [_as_object(result, arguments.walk) for result in results]
        print_json(objects if len(objects) > 1 else objects[0])
    else:
        _print_results(results, arguments.walk)
    return 0


def _follow(arguments: argparse.Namespace) -> "Result":
    """Run a counterexample."""
    from workbench import simulate

    if arguments.out:
        raise UsageError("--out: a row of results says of no schedule, so --schedule writes none; --json has it all")
    if arguments.seed is not None:
        raise UsageError(f"--seed {arguments.seed}: nothing is random in a counterexample; leave it out")
    found = counterexample(arguments)
    return simulate(found.scenario, found.design, seed=SEED, schedule=found.schedule, **found.parameters)


def _run_by_the_clock(arguments: argparse.Namespace) -> list["Result"]:
    from workbench import simulate
    from workbench.scenarios import ALL
    from workbench.scenarios.base import check_parameters

    known = ALL
    if arguments.scenario is None:
        arguments.parser.error("the following arguments are required: SCENARIO")
    if arguments.hazard:
        raise UsageError(f"--hazard {arguments.hazard}: it names a counterexample in --schedule FILE, which is missing")
    if arguments.scenario not in known:
        raise UsageError(f"no scenario {arguments.scenario!r}: {nearest(arguments.scenario, known)}")
    scenario = known[arguments.scenario]
    given = pairs(arguments.set)
    parameters = {n: v for n, v in check_parameters(scenario.NAME, scenario.PARAMETERS, given).items() if n in given}
    _check_designs(arguments.design)
    if arguments.out:
        prepare_file(arguments.out)
    seed = SEED if arguments.seed is None else arguments.seed
    results = [simulate(scenario.NAME, d, seed=seed, **parameters) for d in arguments.design]
    if arguments.walk and any(result.log.empty for result in results):
        raise UsageError(f"--walk: scenario {scenario.NAME} keeps no log of its steps; golden-race does")
    return results


def _check_designs(texts: Sequence[str]) -> None:
    """All of them, before the first one takes its time."""
    from workbench import designs

    if not texts:
        raise UsageError(f"--design is needed: {', '.join(designs.PRESETS)}, or parts: tracker=NAME,cleaning=NONE/ALL")
    for text in texts:
        designs.parse(text)
        if texts.count(text) > 1:
            raise UsageError(f"--design {text}: given twice")


def _write(outcomes: Sequence["Result"], path: Path) -> None:
    from workbench import designs, results

    rows = [results.row(o.provenance, designs.parse(o.design).tracker_name, o.metrics, o.counters) for o in outcomes]
    try:
        results.write(rows, path)
    except OSError as error:
        raise UsageError(f"--out {path}: {error.strerror}; name a file in a folder that can be written to") from None


def _as_object(result: "Result", walk: bool) -> dict[str, Any]:
    from workbench import hazards

    names = ("scenario", "design", "parameters", "seed", "metrics", "counters", "stuck", "provenance")
    described = {name: getattr(result, name) for name in names}
    described |= {"hazards": hazards.found(result), "locks": result.locks.to_dict("index")}
    described |= {"at_rest": result.at_rest} if result.by_schedule else {}
    return described | ({"walk": result.log.to_dict("records")} if walk else {})


class _Row(NamedTuple):
    name: str
    values: list[Any]  # one for each result
    meaning: str
    unit: str = "1"


def _print_results(outcomes: Sequence["Result"], walk: bool) -> None:
    from workbench import hazards
    from workbench.mm.registers import COUNTERS
    from workbench.results import UNITS
    from workbench.scenarios import OWN_DRIVER

    first = outcomes[0]
    how = f"schedule of {len(first.log)} steps" if first.by_schedule else f"seed {first.seed}"
    print(f"{first.scenario}, {how}" + (f", design {first.design}" if len(outcomes) == 1 else ""))
    costs = first.provenance["costs"]
    file = f", sha256 {costs['sha256']}" if costs["sha256"] else ""
    print(f"costs: {costs['name']} ({costs['provenance']}){file}")
    parameters = " ".join(f"{name}={value}" for name, value in first.parameters.items())
    print(textwrap.fill(f"parameters: {parameters}", WIDTH, subsequent_indent=INDENT, break_on_hyphens=False))
    metrics = [_Row(n, [o.metrics[n] for o in outcomes], UNITS[n].text, UNITS[n].unit) for n in first.metrics]
    _print_table("metric", [row for row in metrics if not all(math.isnan(v) for v in row.values)], outcomes)
    counters = [_Row(n, [o.counters[n] for o in outcomes], text) for n, text in COUNTERS.items()]
    _print_table("counter", [row for row in counters if any(row.values)], outcomes)
    met = [hazards.found(o) for o in outcomes]
    own = OWN_DRIVER.get(first.scenario)  # which can't meet every hazard
    asked = {n: h for n, h in hazards.HAZARDS.items() if own is None or n in own.HAZARDS}
    if asked:
        _print_table("hazard", [_Row(n, [m[n] for m in met], h.definition) for n, h in asked.items()], outcomes)
    for outcome in outcomes:
        if outcome.stuck:
            print(f"\nstuck at the end under {outcome.design}:")
            print("\n".join(INDENT + task for task in outcome.stuck))
        if walk:
            print()
            print("\n".join(_walk(outcome)))


def _print_table(kind: str, rows: Sequence[_Row], outcomes: Sequence["Result"]) -> None:
    """A column for each design; what the rows mean is told where there is only one."""
    import pandas as pd

    from workbench.tables import carries_unit, number, text_table

    def cell(row: _Row, i: int) -> str:
        return number(row.values[i], row.unit) + ("" if carries_unit(row.unit) else f" {row.unit}")

    print()
    if len(outcomes) == 1:
        lines = layout([(kind, "value", "meaning")] + [(row.name, cell(row, 0), row.meaning) for row in rows])
        print("\n".join(lines))
        return
    frame = pd.DataFrame({kind: [row.name for row in rows]})
    for i, outcome in enumerate(outcomes):
        frame[outcome.design] = [cell(row, i) for row in rows]
    print(text_table(frame))


def _walk(result: "Result") -> list[str]:
    """A line for each step; the page's flags below it where it has changed them."""
    log = result.log.to_dict("records")
    head, *steps = layout(_walk_rows(log, which=result.by_schedule))
    title = (
        f"{result.scenario} under {result.design}: the page after each step, its flags where they changed "
        "(pins, and what memory is newer than, are ghost state: no tracker and no policy sees them)"
    )
    lines = [*textwrap.wrap(title, WIDTH), head]
    states: dict[int, str] = {}
    for line, r in zip(steps, log, strict=True):
        lines.append(line)
        if states.get(r["page"]) != r["state"]:
            states[r["page"]] = r["state"]
            lines += textwrap.wrap(r["state"], WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return lines


def _walk_rows(log: Sequence[Mapping[Any, Any]], which: bool) -> list[tuple[str, ...]]:
    """Cells of the walk; `which`: which page each step is about, if any."""
    from workbench.mm.page import NEWER_THAN_COPY, NEWER_THAN_DISK
    from workbench.tables import number

    newer = {"disk": NEWER_THAN_DISK, "copy": NEWER_THAN_COPY}
    rows = [("time", "actor", "step", *["page"] * which, "ref", "map", "pins", "newer than")]
    for r in log:
        about = [r["page"]] * which + [r["refcount"], r["mapcount"], r["pins"]]
        cells = [str(n) if r["page"] >= 0 else "" for n in about]
        data = ", ".join(name for name, bit in newer.items() if r["data"] & bit)
        rows.append((number(r["time_ps"], "ps"), r["actor"], r["step"], *cells, data))
    return rows


# ---- run, figures


def _add_run(add: Add) -> None:
    example = "workbench run 01_golden_race -p quick=true --out figures"
    parser = add("run", "run one notebook through papermill; prints the path of the executed one", _run, example)
    parser.add_argument("notebook", metavar="NOTEBOOK", help="a name of `workbench list notebooks`, or an .ipynb file")
    parser.add_argument(
        "-p",
        "--parameter",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="parameters; `workbench list notebooks -v` gives types, defaults and units",
    )
    parser.add_argument("--quick", action="store_true", help="the same as -p quick=true: small inputs")
    _add_out(parser)


def _add_out(parser: Parser) -> None:
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("figures"),
        help="folder for figures and tables, executed notebooks in its notebooks/; default: figures",
    )
    add_costs(parser)


def _run(arguments: argparse.Namespace) -> int:
    from workbench import batch

    pairs = arguments.parameter + ["quick=true"] * arguments.quick
    parameters = batch.parse_parameters(batch.find_notebook(arguments.notebook), pairs)
    print(batch.run_notebook(arguments.notebook, parameters, arguments.out))
    return 0


def _add_figures(add: Add) -> None:
    summary = "run every notebook: all figures and tables"
    parser = add("figures", summary, _figures, "workbench figures --quick --out figures/quick")
    parser.add_argument("--quick", action="store_true", help="small inputs")
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=whole_number,
        default=len(os.sched_getaffinity(0)),
        help="notebooks that run at the same time; default: as many as there are CPUs",
    )
    _add_out(parser)


def _figures(arguments: argparse.Namespace) -> int:
    from workbench import batch

    if not batch.notebook_names():
        raise UsageError(f"figures: no notebooks in {batch.NOTEBOOKS}; install from a checkout: pip install -e .")
    outcomes = batch.run_all(arguments.quick, arguments.jobs, arguments.out, warm=_warm_aside)
    failures = [outcome.error for outcome in outcomes if outcome.error]
    for failure in failures:
        _complain(failure, 1)
    return 1 if failures else 0


def _warm_aside() -> None:
    """Compile in a process of its own, which gives back the gigabytes that this takes."""
    from multiprocessing import get_context

    process = get_context("spawn").Process(target=_warm)
    process.start()
    process.join()
    if process.exitcode:
        raise ChildProcessError(f"compiling ahead of the notebooks failed (exit status {process.exitcode})")


def _warm() -> None:
    """Compile the driver for each class of tracker, so that notebooks find it on disk."""
    from workbench import designs, simulate
    from workbench.accelerate import JIT_ENABLED

    if not JIT_ENABLED:
        return
    by_class = {type(tracker): name for name, tracker in reversed(designs.trackers().items())}
    names = sorted(by_class.values())
    for done, name in enumerate(names):
        print(f"compiling for tracker {name} ({done + 1} of {len(names)}; ten to thirty seconds, once)", flush=True)
        simulate("direct-io", f"tracker={name}", ios=10)


# ---- trace


def _add_trace(add: Add) -> None:
    example = "workbench trace show data/traces/r4k-qd32.csv.gz"
    add_trace = commands(add("trace", "read completions that were recorded on a real kernel", None, example))
    parser = add_trace("show", "sum a recorded trace up", _trace_show, example)
    _add_trace_input(parser)
    _add_capture(add_trace)
    example = "workbench trace import report.txt -o report.parquet --format ftrace"
    parser = add_trace("import", "turn a recorded trace into Parquet, which loads faster", _trace_import, example)
    _add_trace_input(parser)
    parser.add_argument("-o", "--out", metavar="OUT.parquet", type=Path, required=True, help="file to be written")


def _add_trace_input(parser: Parser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help="CSV, ftrace or trace-cmd text, blkparse text, fio json+, or Parquet of `trace import`; plain or gzipped",
    )
    parser.add_argument(
        "--format", metavar="F", default="auto", help="csv, ftrace, blkparse, fio, parquet; default: auto"
    )
    add_json(parser, "the summary, times in ns")


def _add_capture(add_trace: Add) -> None:
    summary = "run a command, and record its direct IOs and their bios for `trace import`"
    example = (
        "workbench trace capture --out mine.ftrace.gz -- fio --name=r --filename=f --size=64m --direct=1 --rw=randread"
    )
    more = (
        "\nNeeds root; records into a trace instance of its own, which is removed whatever happens."
        "\nNothing is written if the command fails, does no direct IO, or events are lost."
    )
    parser = add_trace("capture", summary, _trace_capture, example, more)
    parser.add_argument("command", metavar="COMMAND", nargs="*", help="behind --: program and arguments")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        default=Path("capture.ftrace.gz"),
        help="text, gzipped if the name ends in .gz; default: capture.ftrace.gz",
    )
    parser.add_argument(
        "--event-set",
        choices=("direct-io", "merges"),
        default="direct-io",
        help="direct-io (default): what `trace import` needs; merges: also merges and the bios' own completions",
    )
    parser.add_argument(
        "--file", metavar="F", type=Path, help="record direct IOs to this file, whoever does them, not by process"
    )
    parser.add_argument(
        "--buffer-mib", metavar="N", type=whole_number, default=32, help="ring buffer for each CPU; default: 32 MiB"
    )
    parser.add_argument("--allow-lost", action="store_true", help="write it even if events were lost")
    add_json(parser, "the summary as of `trace show`, and what was captured")


def _trace_capture(arguments: argparse.Namespace) -> int:
    from workbench import traces
    from workbench.kernel.capture import capture

    if not 1 <= arguments.buffer_mib <= LARGEST_BUFFER_MIB:
        raise UsageError(f"--buffer-mib {arguments.buffer_mib}: 1 to {LARGEST_BUFFER_MIB}")
    prepare_file(arguments.out)
    got = capture(
        arguments.command,
        arguments.out,
        event_set=arguments.event_set,
        file=arguments.file,
        buffer_mib=arguments.buffer_mib,
        allow_lost=arguments.allow_lost,
    )
    told = {"captured": str(got.path), "entries": got.entries, "entries_of_others": got.others, "lost": got.lost}
    trace = traces.load(got.path, "ftrace")
    if arguments.json:
        print_json(traces.summarise(trace) | told)
        return 0
    print(f"{'captured':<14}{got.path}: {got.entries} events; left out: {got.others} of others; lost: {got.lost}")
    return _print_summary(trace, as_json=False)


def _trace_import(arguments: argparse.Namespace) -> int:
    from workbench import traces

    trace = traces.load(arguments.file, arguments.format)
    if arguments.out.exists() and arguments.out.samefile(arguments.file):
        raise UsageError(f"-o {arguments.out}: that is the file that is read; name another")
    traces.write_parquet(trace, arguments.out)
    return _print_summary(trace, arguments.json)


def _trace_show(arguments: argparse.Namespace) -> int:
    from workbench import traces

    return _print_summary(traces.load(arguments.file, arguments.format), arguments.json)


def _print_summary(trace: Any, as_json: bool) -> int:
    from workbench.tables import number
    from workbench.traces import summarise

    summary = summarise(trace)
    if as_json:
        print_json(summary)
        return 0

    def several(name: str, unit: str = "1") -> str:
        return ", ".join(f"{key} {number(value, unit)}" for key, value in summary[name].items())

    def share(name: str) -> str:
        value = summary[name]
        return "-" if value is None else f"{100 * value:.3g} %"

    lines = {
        "trace": f"{summary['source']} ({summary['format']})",
        "sha256": summary["sha256"],
        "direct IOs": summary["ios"],
        "bios": f"{summary['bios']}; per IO: {several('bios_per_io')}",
        "out of order": f"{share('out_of_order_share')} of IOs complete before an earlier one",
        "overtakes": f"{several('overtakes')} earlier IOs in flight at a completion",
        "within an IO": f"{share('bios_out_of_order_share')} of bios complete before an earlier one of the same IO",
        "latency": several("latency_ns", "ns"),
        "duration": number(summary["duration_ns"], "ns"),
        "requeues": summary["requeues"],
        "merges": summary["merges"],
        "dropped": ", ".join(f"{reason}: {count}" for reason, count in summary["dropped"].items()) or "nothing",
    }
    for name, text in lines.items():
        print(f"{name:<14}{text}")
    return 0
