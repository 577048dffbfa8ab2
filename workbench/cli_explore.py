"""The commands ``explore`` and ``matrix``: every interleaving of a small world, and all designs against all of them."""

import argparse
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import UsageError, nearest
from workbench.usage import (
    INDENT,
    SEED,
    WIDTH,
    Add,
    Parser,
    add_costs,
    add_json,
    layout,
    pairs,
    print_json,
    whole_number,
)

# All else is imported where it is used, as in cli.py.
if TYPE_CHECKING:
    from workbench.matrix import Matrix
    from workbench.verdict import HazardVerdict, Verdict

MAX_STATES = 20_000_000
EXPLORE_MIB, MATRIX_MIB = 4096, 2048
LARGEST = 2**40  # beyond any machine, and well within 64 bits


# ---- explore


def add_explore(add: Add) -> None:
    """Add the command ``explore``."""
    summary = "search every interleaving of a small world: a verdict for each hazard"
    example = "workbench explore golden-race --design v4.17 --trace"
    more = (
        "\nThe steps of `simulate` in every order, breadth first: counterexamples are shortest ones."
        "\nThe first search of each kind of tracker compiles it."
    )
    parser = add("explore", summary, _explore, example, more)
    parser.add_argument("scenario", metavar="SCENARIO", help="a name of `workbench list scenarios`")
    parser.add_argument(
        "--design",
        metavar="D",
        required=True,
        help="a preset of `workbench list designs`, or parts: tracker=bias,cleaning=skip/wait,order=check-first; "
        "tracker=FILE.py:CLASS runs that file as code",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="parameters other than those of the small world; `workbench list scenarios -v` names them",
    )
    parser.add_argument("--trace", action="store_true", help="print the shortest counterexamples, 72 columns wide")
    parser.add_argument("--reduce", action="store_true", help="leave interleavings out that can't matter")
    parser.add_argument(
        "--no-conditional",
        action="store_true",
        help="don't search again under the other values of modelling decisions to see which verdicts hang on them",
    )
    _add_limits(parser, EXPLORE_MIB)
    parser.add_argument(
        "--walks", metavar="N", type=whole_number, help="N random walks in the place of the search: for larger worlds"
    )
    parser.add_argument("--seed", metavar="S", type=whole_number, help=f"of the walks; default: {SEED}")
    add_costs(parser)
    add_json(parser, "one object: verdicts with their counterexamples, states, transitions, depth")


def _add_limits(parser: Parser, memory_mib: int) -> None:
    parser.add_argument(
        "--max-states", metavar="N", type=whole_number, help=f"stop there; default: {MAX_STATES} states"
    )
    parser.add_argument(
        "--memory-mib",
        metavar="N",
        type=whole_number,
        help=f"stop at this much memory; default: {memory_mib} MiB",
    )


def _explore(arguments: argparse.Namespace) -> int:
    from workbench import designs

    given = _parameters(arguments.scenario, arguments.set)
    designs.parse(arguments.design)
    _check_limits(arguments)
    _check_together(arguments)
    from workbench.explore import explore, random_walks  # the search takes long to import

    if arguments.walks is not None:
        seed = SEED if arguments.seed is None else arguments.seed
        found = random_walks(arguments.scenario, arguments.design, walks=arguments.walks, seed=seed, **given)
    else:
        found = explore(
            arguments.scenario,
            arguments.design,
            max_states=arguments.max_states or MAX_STATES,
            memory_mib=arguments.memory_mib or EXPLORE_MIB,
            reduce=arguments.reduce,
            conditional=not arguments.no_conditional,
            **given,
        )
    costs_ns = _costs_of(found) if arguments.costs else {}
    if arguments.json:
        told = found.to_json()
        for name, ns in costs_ns.items():
            told["hazards"][name]["cost_ns"] = ns
        print_json(told)
    else:
        _print_verdict(found, arguments.trace, costs_ns)
    return 0


def _costs_of(found: "Verdict") -> dict[str, float]:
    """What the steps of each counterexample cost [ns], one after the other, by the table in use."""
    from workbench.costs import PS_PER_NS, in_use
    from workbench.scheduled import follow

    return {
        name: int(
            follow(found.scenario, found.design, hazard.schedule, dict(found.parameters), in_use()).log["end_ps"].max()
        )
        / PS_PER_NS
        for name, hazard in found.hazards.items()
        if hazard.schedule
    }


def _parameters(name: str, texts: Sequence[str]) -> dict[str, object]:
    """Those that were given, each in its type."""
    from workbench.scenarios import SCENARIOS, require_small_world
    from workbench.scenarios.base import check_parameters

    require_small_world(name)
    if name not in SCENARIOS:
        raise UsageError(f"no scenario {name!r}: {nearest(name, SCENARIOS)}")
    given = pairs(texts)
    checked = check_parameters(name, SCENARIOS[name].PARAMETERS, given)
    return {key: value for key, value in checked.items() if key in given}


def _check_limits(arguments: argparse.Namespace) -> None:
    for option in ("max_states", "memory_mib", "walks"):
        value = getattr(arguments, option, None)
        if value is not None and not 1 <= value <= LARGEST:
            raise UsageError(f"--{option.replace('_', '-')} {value}: 1 or more, up to {LARGEST}")


def _check_together(arguments: argparse.Namespace) -> None:
    """Refuse options of `explore` that the others leave without effect."""
    if arguments.json and arguments.trace:
        raise UsageError("--json and --trace: one of them; the JSON has the counterexamples")
    if arguments.walks is None:
        if arguments.seed is not None:
            raise UsageError(f"--seed {arguments.seed}: it is that of --walks N, which is missing")
        return
    if arguments.seed is not None and not 0 <= arguments.seed < 2**63:
        raise UsageError(f"--seed {arguments.seed}: it goes from 0 to 2**63 - 1")
    for option in ("reduce", "no_conditional", "max_states", "memory_mib"):
        if getattr(arguments, option):
            name = f"--{option.replace('_', '-')}"
            raise UsageError(f"{name} and --walks: one of them; {name} is for a search, and walks take its place")


def _print_verdict(found: "Verdict", trace: bool, costs_ns: Mapping[str, float]) -> None:
    from workbench.counterexample import as_mail

    print(f"{found.scenario}, design {found.design}")
    print(f"{found.summary()} ({found.seconds:.1f} s)")
    if costs_ns:
        table = found.provenance["costs"]
        print(f"costs: {table['name']} ({table['provenance']}), sha256 {table['sha256']}")
    parameters = " ".join(f"{name}={value}" for name, value in found.parameters.items())
    print(textwrap.fill(f"parameters: {parameters}", WIDTH, subsequent_indent=INDENT, break_on_hyphens=False))
    print()
    rows = [("hazard", "verdict", "steps", "where it shows, and what the verdict hangs on")]
    rows += [(name, h.verdict, str(h.depth or ""), _where(h, costs_ns.get(name))) for name, h in found.hazards.items()]
    print("\n".join(layout(rows)))
    if trace:
        for name, hazard in found.hazards.items():
            if hazard.trace:
                print(f"\n\n{as_mail(found, name)}")


def _where(hazard: "HazardVerdict", cost_ns: float | None) -> str:
    from workbench.tables import number

    last = [f"{hazard.trace[-1].actor}: {hazard.trace[-1].step}"] if hazard.trace else []
    hangs = ["if " + ", ".join(hazard.conditional)] if hazard.conditional else []
    cost = [] if cost_ns is None else [f"its steps cost {number(cost_ns, 'ns')}"]
    return "; ".join(last + [hazard.reason] * bool(hazard.reason) + cost + hangs)


# ---- matrix


def add_matrix(add: Add) -> None:
    """Add the command ``matrix``."""
    summary = "the decision matrix: designs against hazards, costs, and where they work"
    example = "workbench matrix --quick --jobs 2"
    parser = add("matrix", summary, _matrix, example, "\nEvery scenario is searched under every design.")
    parser.add_argument("--quick", action="store_true", help="the presets and a handful of designs")
    parser.add_argument("--designs", metavar="D", nargs="+", default=[], help="these designs; default: all")
    parser.add_argument(
        "--design",
        metavar="D",
        action="append",
        default=[],
        help="this design too, such as tracker=FILE.py:CLASS,cleaning=skip/wait; may be given again",
    )
    parser.add_argument("--scenarios", metavar="S", nargs="+", default=[], help="in these scenarios; default: all")
    parser.add_argument("--jobs", metavar="N", type=whole_number, default=2, help="processes; default: 2")
    add_costs(parser)
    _add_limits(parser, MATRIX_MIB)
    parser.add_argument("--markdown", action="store_true", help="print Markdown in the place of text")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write figures, text and Markdown into DIR too")
    add_json(parser, "by design the worst verdict for each hazard, and the criteria")


def _matrix(arguments: argparse.Namespace) -> int:
    from workbench import designs, matrix

    _check_limits(arguments)
    if arguments.json and arguments.markdown:
        raise UsageError("--json and --markdown: one of them")
    if arguments.quick and arguments.designs:
        raise UsageError("--quick and --designs: one of them; --quick chooses the designs")
    rows = [*(arguments.designs or matrix.all_designs(arguments.quick)), *arguments.design]
    for row in rows:
        designs.parse(row)
    if arguments.out:
        _prepare(arguments.out)
    found = matrix.build(
        rows,
        arguments.scenarios,
        jobs=arguments.jobs,
        max_states=arguments.max_states or MAX_STATES,
        memory_mib=arguments.memory_mib or MATRIX_MIB,
    )
    figures = {"decision_matrix": matrix.hazards_chart(found), "decision_criteria": matrix.criteria_chart(found)}
    if arguments.out:
        _save(found, figures, arguments.out)
    if arguments.json:
        print_json(found.to_json())
    else:
        print(matrix.markdown(found) if arguments.markdown else "\n\n\n".join(text for _, text in figures.values()))
    return 0


def _prepare(folder: Path) -> None:
    """Make the folder, and write to it once: what is to go there takes long to find."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except FileExistsError:
        raise UsageError(f"--out {folder}: that is a file; name a folder") from None
    except OSError as error:
        raise UsageError(f"--out {folder}: {error.strerror}; name a folder that can be written to") from None


def _save(found: "Matrix", figures: dict, folder: Path) -> None:
    from workbench import charts, matrix

    for name, (figure, text) in figures.items():
        charts.save(figure, name, folder, text, found.provenance)
    matrix.write_markdown(found, folder / "decision_matrix.md")
