"""The command: what it prints, its exit status, and its one line for whatever is wrong."""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jupytext
import psutil
import pyarrow.parquet as pq
import pytest
import verdicts
from verdicts import reached, verdict

import workbench
from workbench import batch, charts, cli, designs, hazards, results, traces
from workbench.counterexample import as_columns
from workbench.mm.registers import COUNTERS
from workbench.simulate import SCENARIOS, ConservationError
from workbench.verdict import HazardVerdict

CSV = """io,op,offset_bytes,size_bytes,submit_ns,complete_ns
0,read,0,4096,0,5000
1,read,4096,4096,1000,3000
2,read,8192,4096,2000,4000
"""
PARAMETERS = """# %% [markdown]
# # A title

# %% tags=["parameters"]
quick: bool = False  # less of everything
figures_dir = "../figures"  # where figures are left
depth = 1  # direct IOs
"""
GOOD = """
# %%
from pathlib import Path
Path(figures_dir, "seen.txt").write_text(f"{quick} {depth}")
"""
FAILING = """
# %%
raise ValueError("two\\nlines")
"""
HANGING = """
# %%
import os, time
from pathlib import Path
Path(figures_dir, "pid").write_text(str(os.getpid()))
time.sleep(600)
"""
# The one tracker that these tests may have compiled.
SMALL = ["simulate", "direct-io", "--design", "v4.17", "--set", "ios=10", "qd=2", "size_kib=8"]


@pytest.fixture
def command(capsys):
    """Return a function that runs a command line, holds it to its exit status, and gives what it printed."""

    def run(*words: object, status: int = 0) -> str:
        found = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert (found, err.count("\n")) == (status, 0 if status == 0 else 1), err
        return err if status else out

    return run


@pytest.fixture
def trace_file(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(CSV)
    return path


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Return a function that makes notebooks, which are then those of the checkout."""
    folder = tmp_path / "nb"
    folder.mkdir()
    monkeypatch.setattr(batch, "NOTEBOOKS", folder)

    def write(**cells: str) -> None:
        for name, cell in cells.items():
            book = jupytext.reads(PARAMETERS + cell, "py:percent")
            (folder / f"{name.lstrip('n')}.ipynb").write_text(jupytext.writes(book, "ipynb"))

    return write


def start(*words: object, **settings) -> subprocess.Popen:
    """Run the command as a process of its own, as plain Python."""
    env = os.environ | {"PYTHONPATH": str(batch.ROOT), "NUMBA_DISABLE_JIT": "1"}
    arguments = [sys.executable, "-m", "workbench", *map(str, words)]
    return subprocess.Popen(arguments, env=env, text=True, stderr=subprocess.PIPE, **settings)


def plain_python(*words: object) -> str:
    process = start(*words, stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return out


# ---- list


def test_every_group_is_listed(command, notebooks):
    notebooks(n01_a=GOOD)
    lines = command("list").splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [f"{group}:" for group in cli.GROUPS]
    first_words = {line.split()[0] for line in lines if line.startswith(" ")}
    expected = {*designs.PRESETS, *designs.trackers(), *SCENARIOS, *hazards.HAZARDS, "skip", "01_a"}
    assert expected <= first_words


@pytest.mark.parametrize("group", cli.GROUPS)
def test_a_group_has_a_line_each_and_says_all_of_it(command, group, notebooks):
    notebooks(n01_a=GOOD, n02_b=GOOD)
    entries = json.loads(command("list", group, "--json"))
    assert len(entries) > 1
    lines = command("list", group).splitlines()
    assert [line.split()[0] for line in lines] == [entry["name"] for entry in entries]
    for entry, line in zip(entries, lines, strict=True):
        assert entry["what"] and entry["source"]
        assert line.endswith(f"  {entry['what']}  [{entry['source']}]")
    assert json.loads(command("list", "--json"))[group] == entries


def test_parameters_of_scenarios_and_notebooks(command, notebooks):
    notebooks(n01_a=GOOD)
    text = command("list", "scenarios", "-v")
    words = " ".join(text.split())
    for scenario in SCENARIOS.values():
        for p in scenario.PARAMETERS:
            values = " or ".join(p.choices) or ("text" if p.low is None else f"{p.low:.9g} to {p.high:.9g} {p.unit}")
            assert f" {p.name} {json.dumps(p.default)} {values.strip()} {p.help}" in words
    assert re.search(r"^  size_kib  +64  +4 to 1024 KiB  +size of a direct IO$", text, re.M)
    assert re.search(r"^  ios  +20000  +1 to 100000000 direct IOs  +direct IOs to do in all$", text, re.M)
    assert command("list", "notebooks", "-v").splitlines() == [
        "01_a  A title  [notebooks/01_a.ipynb]",
        "  quick        false         bool  less of everything",
        '  figures_dir  "../figures"  str   where figures are left',
        "  depth        1             int   direct IOs",
    ]


def test_a_source_is_what_the_tracker_s_file_cites(command):
    listed = {e["name"]: e for e in json.loads(command("list", "trackers", "--json"))}
    assert set(listed) == set(designs.trackers())
    assert "20190114145447.GJ13316@quack2" in listed["bias"]["source"]
    assert listed["none"]["source"] == "workbench/trackers/none.py"


# ---- simulate


def test_json_of_one_run(command, tmp_path):
    file = tmp_path / "new" / "results.parquet"
    found = json.loads(command(*SMALL, "--seed", "3", "--json", "--out", file), parse_constant=pytest.fail)
    assert (found["scenario"], found["design"], found["seed"]) == ("direct-io", "v4.17", 3)
    assert found["parameters"]["qd"] == 2 and found["parameters"]["cpus"] == 1
    assert found["metrics"]["bios_per_io_mean"] == 1
    assert found["metrics"]["outlive_mean_ns"] is None
    assert found["counters"]["PINS"] == 20 and set(found["counters"]) == set(COUNTERS)
    assert found["hazards"] == dict.fromkeys(hazards.HAZARDS, 0)
    assert found["locks"]["ptl"]["contended"] == 0
    assert found["stuck"] == []
    assert found["provenance"]["seed"] == 3
    (row,) = results.load(file).to_dict("records")
    assert (row["design"], row["tracker"], row["seed"], row["pins"]) == ("v4.17", "none", 3, 20)
    assert row["iops"] == found["metrics"]["iops"]
    assert os.listdir(file.parent) == [file.name]


def test_several_designs_stand_side_by_side(command, tmp_path):
    both = [*SMALL, "--design", "tracker=none,cleaning=skip"]
    text = command(*both)
    assert max(map(len, text.splitlines())) <= cli.WIDTH
    assert any(line.split() == ["PINS", "20", "20"] for line in text.splitlines())
    found = json.loads(command(*both, "--json", "--out", tmp_path / "r.parquet"))
    assert [f["design"] for f in found] == ["v4.17", "tracker=none,cleaning=skip"]
    assert pq.read_metadata(tmp_path / "r.parquet").num_rows == 2


def test_text_of_one_run(command):
    lines = command("simulate", "golden-race", "--design", "v4.17", "--set", "flusher_us=250").splitlines()
    assert lines[0] == "golden-race, seed 1, design v4.17"
    assert "assumed" in lines[1]
    assert "flusher_us=250.0" in " ".join(lines[2:5])
    words = {line.split()[0]: line.split(maxsplit=2)[1:] for line in lines[5:] if not line.startswith(" ") and line}
    assert words["FS_BUG"] == ["1", "BUG_ON: the filesystem met a dirty page without buffers"]
    assert words["bufferless-dirty"] == ["1", "a file page is dirtied without buffers"]
    assert words["latency_p50_ns"] == ["998.2us", "median latency of a direct IO"]
    assert "SPLITS" not in words and "outlive_mean_ns" not in words


def test_walk(command):
    words = ["simulate", "golden-race", "--design", "v4.17", "--walk"]
    log = json.loads(command(*words, "--json"))["walk"]
    lines = command(*words).splitlines()
    assert max(map(len, lines)) <= cli.WIDTH
    title = next(i for i, line in enumerate(lines) if line.startswith("golden-race under v4.17"))
    steps = [line for line in lines[title + 3 :] if not line.startswith(" ")]
    assert [line.split()[1:3] for line in steps] == [[r["actor"], r["step"]] for r in log]
    state = None
    for before, line in zip(lines[title + 3 :], lines[title + 4 :], strict=False):
        if line.startswith(" "):
            row = log[steps.index(before)]
            assert line.strip() == row["state"] != state
            state = row["state"]
    assert state == log[-1]["state"]


def test_stuck_tasks_and_what_they_are_called():
    """Each from one order of events; the trackers differ, so that they run as plain Python."""
    sticky, dead = "tracker=flag-sticky,cleaning=wait", "tracker=lru-count,isize=wait"
    race = ["simulate", "golden-race", "--json", "--set", "fsync_us=1800", "--design"]
    stalled, killed, good = json.loads(plain_python(*race, sticky, "--design", "v4.17", "--design", "v6.12"))
    small = ["ios=20", "qd=1", "size_kib=4", "writeback_ms=0.1", "isize_ms=0.05"]
    locked = json.loads(plain_python("simulate", "direct-io", "--json", "--design", dead, "--set", *small))

    def met(found: dict) -> dict:
        return {name: count for name, count in found["hazards"].items() if count}

    assert met(stalled) == {"stale-pin": 1, "stall": 1}
    assert met(killed) == {"bufferless-dirty": 1}
    assert killed["stuck"] == ["fsync waits for the page lock"]
    assert met(good) == {} and good["stuck"] == []
    assert met(locked) == {"deadlock": len(locked["stuck"])}
    assert len(locked["stuck"]) == 3
    text = plain_python("simulate", "direct-io", "--design", dead, "--set", *small)
    assert f"stuck at the end under {dead}:\n  " in text


def test_a_range_released_in_parts_is_not_stale():
    words = ["--set", "ios=50", "qd=4", "bio_pages=2", "writeback_ms=0.1", "--json", "--design", "kara-virtual-vma"]
    found = json.loads(plain_python("simulate", "direct-io", *words))
    assert found["counters"]["STALE_PIN"] == found["hazards"]["stale-pin"] == 0


def test_every_counter_of_a_hazard_is_found():
    for name, hazard in hazards.HAZARDS.items():
        for counter in hazard.counters:
            counters = dict.fromkeys(COUNTERS, 0) | {counter: 7}
            run = SimpleNamespace(
                counters=counters, metrics={"stale_pages": 0}, stuck=[], held=0, design="v6.12", by_schedule=False
            )
            assert {h: n for h, n in hazards.found(run).items() if n} == {name: 7}
    run.counters["STALE_PIN"], run.metrics["stale_pages"] = 1, 3
    assert hazards.found(run)["stale-pin"] == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["direct-oi", "--design", "v4.17"], "no scenario 'direct-oi': did you mean 'direct-io'?"),
        (["direct-io"], "--design is needed: v4.17, hubbard-v1"),
        (["direct-io", "--design", "v4.18"], "design 'v4.18': did you mean 'v4.17'"),
        (["direct-io", "--design", "tracker=biass"], "tracker 'biass': did you mean 'bias'"),
        (["direct-io", "--design", "tracker=none,cleaning=skp"], "cleaning=skp: did you mean 'skip'"),
        (["direct-io", "--design", "tracker=no.py:T"], "tracker file no.py: no such file"),
        (["direct-io", "--design", "v4.17", "--design", "v4.17"], "--design v4.17: given twice"),
        (["direct-io", "--design", "v4.17", "--set", "qdd=3"], "no parameter 'qdd': did you mean 'qd'"),
        (["direct-io", "--design", "v4.17", "--set", "seed=3"], "no parameter 'seed'"),
        (
            ["direct-io", "--design", "v4.17", "--set", "qd=2000"],
            "qd: 2000 is out of range; it goes from 1 to 1024 dir",
        ),
        (["direct-io", "--design", "v4.17", "--set", "qd=x"], "'x' is not a whole number; it goes from 1 to 1024 dir"),
        (["direct-io", "--design", "v4.17", "--set", "jitter=nan"], "it goes from 0 to 3"),
        (["direct-io", "--design", "v4.17", "--set", "dio=iomp"], "'iomp': did you mean 'iomap'"),
        (["direct-io", "--design", "v4.17", "--set", "qd"], "--set qd: name=value is needed"),
        (["direct-io", "--design", "v4.17", "--set", "qd=1", "--set", "qd=2"], "--set qd=2: qd is given twice"),
        (["direct-io", "--design", "v4.17", "--set", "trace=no.csv"], "no.csv"),
        ([*SMALL[1:], "--walk"], "direct-io keeps no log of its steps; golden-race does"),
        (["direct-io", "--design", "v4.17", "--seed", "one"], "--seed: 'one' is not a whole number"),
        (["direct-io", "--design", "v4.17", "--seed", "-1"], "seed -1: it goes from 0 to"),
        (["direct-io", "--design", "v4.17", "--sed", "1"], "no option '--sed': did you mean '--seed'"),
        (["direct-io", "--design"], "--design: expected one argument"),
        (["direct-io", "v4.17", "--design", "v4.17"], "no argument 'v4.17'"),
        ([], "required: SCENARIO (see 'workbench simulate --help')"),
    ],
)
def test_wrong_words_of_simulate(command, words, says):
    line = command("simulate", *words, status=2)
    assert line.startswith("workbench: ") and says in line


def test_wrong_places_to_write(command, tmp_path):
    assert f"{tmp_path}: that is a folder" in command(*SMALL, "--out", tmp_path, status=2)
    (tmp_path / "file").write_text("")
    assert "File exists; name a file in a folder" in command(*SMALL, "--out", tmp_path / "file" / "r.parquet", status=2)


def test_a_folder_that_comes_in_between(command, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write", fail)
    assert "No space left" in command(*SMALL, "--out", tmp_path / "r.parquet", status=2)


@pytest.mark.parametrize(
    "error", [ConservationError("at rest: bio rows in use: 1, expected 0"), MemoryError("8 GiB\n")]
)
def test_failures_are_told_in_one_line(command, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(workbench, "simulate", fail)
    assert str(error).strip() in command(*SMALL, status=1)


def test_what_nobody_foresaw_is_not_hidden(command, monkeypatch):
    monkeypatch.setattr(workbench, "simulate", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(SMALL)


# ---- explore, matrix


@pytest.fixture
def searched(monkeypatch):
    """Return the calls that reach `explore` and `random_walks`, which are answered without a search."""
    calls: list[tuple] = []
    found = verdict(
        "golden-race",
        "v4.17",
        {
            "bufferless-dirty": reached(14, "stable_pages=1"),
            "stall": HazardVerdict("unknown", reason="stopped at 1234 states"),
        },
    )

    def answer(*words, **options):
        calls.append((*words, options))
        return found

    def answer_matrix(scenario, design, **options):
        calls.append((scenario, design, options))
        return verdicts.explore(scenario, design, **options)

    fakes = SimpleNamespace(explore=answer, random_walks=answer, calls=calls, answer_matrix=answer_matrix)
    monkeypatch.setitem(sys.modules, "workbench.explore", fakes)
    return fakes


def test_a_line_for_each_hazard(command, searched):
    lines = command("explore", "golden-race", "--design", "v4.17").splitlines()
    assert lines[0] == "golden-race, design v4.17"
    assert lines[1] == "all states, reduced: 1234 states, 5678 transitions, depth 90 (1.5 s)"
    told = {line.split()[0]: line for line in lines[lines.index("") + 2 :]}
    assert list(told) == list(verdicts.HAZARDS)
    crash = told["bufferless-dirty"].split(maxsplit=3)[1:]
    assert crash == ["reachable", "14", "kworker/0: set_page_dirty_lock; if stable_pages=1"]
    assert told["missed-pin"].split() == ["missed-pin", "unreachable"]
    assert told["stall"].split(maxsplit=2)[1:] == ["unknown", "stopped at 1234 states"]
    assert searched.calls == [
        (
            "golden-race",
            "v4.17",
            {"max_states": 20_000_000, "memory_mib": 4096, "reduce": False, "conditional": True},
        )
    ]


def test_counterexamples_on_request(command, searched):
    text = command("explore", "golden-race", "--design", "v4.17", "--trace")
    mail = text[text.index("bufferless-dirty in golden-race") :]
    assert as_columns(verdicts.CRASH) in mail and max(map(len, mail.splitlines())) <= 72
    assert text.count(": reachable, ") == 1


def test_json_and_options_of_explore(command, searched):
    limits = ["--max-states", "7", "--memory-mib", "9", "--reduce", "--no-conditional", "--set", "kswapd_rounds=1"]
    found = json.loads(command("explore", "golden-race", "--design", "v4.17", "--json", *limits))
    assert found["hazards"]["bufferless-dirty"]["trace"][-1]["actor"] == "kworker/0"
    assert searched.calls[0][2] == {
        "max_states": 7,
        "memory_mib": 9,
        "reduce": True,
        "conditional": False,
        "kswapd_rounds": 1,
    }


def test_walks(command, searched):
    for seed in (["--seed", "3"], ["--seed", "0"], []):
        command("explore", "golden-race", "--design", "v4.17", "--walks", "10", *seed)
    assert searched.calls == [("golden-race", "v4.17", {"walks": 10, "seed": seed}) for seed in (3, 0, 1)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["explore", "golden-rase", "--design", "v4.17"], "no scenario 'golden-rase': did you mean 'golden-race'?"),
        (["explore", "golden-race", "--design", "v4.18"], "design 'v4.18': did you mean 'v4.17'"),
        (["explore", "golden-race"], "required: --design"),
        (["explore", "golden-race", "--design", "v4.17", "--set", "rounds=1"], "no parameter 'rounds'"),
        (["explore", "golden-race", "--design", "v4.17", "--max-states", "0"], "--max-states 0: 1 or more"),
        (["explore", "golden-race", "--design", "v4.17", "--memory-mib", "-1"], "--memory-mib -1: 1 or more"),
        (["explore", "golden-race", "--design", "v4.17", "--walks", "0"], "--walks 0: 1 or more"),
        (["explore", "golden-race", "--design", "v4.17", "--walks", "3", "--seed", "-1"], "--seed -1: it goes from 0"),
        (["explore", "golden-race", "--design", "v4.17", "--max-states", "9" * 23], "1 or more, up to 1099511627776"),
        (["explore", "golden-race", "--design", "v4.17", "--memory-mib", "9" * 23], "1 or more, up to 1099511627776"),
        (["explore", "golden-race", "--design", "v4.17", "--seed", "0"], "--seed 0: it is that of --walks N, which is"),
        (["explore", "golden-race", "--design", "v4.17", "--json", "--trace"], "--json and --trace: one of them"),
        (["matrix", "--json", "--markdown"], "--json and --markdown: one of them"),
        (["matrix", "--quick", "--designs", "v4.17"], "--quick and --designs: one of them"),
        (["matrix", "--jobs", "0"], "--jobs 0: 1 or more"),
        (["matrix", "--designs", "v4.18"], "design 'v4.18': did you mean 'v4.17'"),
        (["matrix", "--scenarios", "golden"], "no scenario 'golden': did you mean"),
        (["matrix", "--quick", "--max-states", "0"], "--max-states 0: 1 or more"),
    ],
)
def test_wrong_words_of_explore_and_matrix(command, words, says):
    line = command(*words, status=2)
    assert line.startswith("workbench: ") and says in line


@pytest.mark.parametrize("option", ["--reduce", "--no-conditional", "--max-states 5", "--memory-mib 4096"])
def test_walks_have_nothing_to_do_with_the_options_of_a_search(command, searched, option):
    words = ["explore", "golden-race", "--design", "v4.17", "--walks", "3", *option.split()]
    assert f"{option.split()[0]} and --walks: one of them" in command(*words, status=2)
    assert searched.calls == []


@pytest.fixture
def small_matrix(searched, monkeypatch):
    monkeypatch.setattr(searched, "explore", searched.answer_matrix)
    return ["matrix", "--jobs", "1", "--designs", "v4.17", "--scenarios", "golden-race", "wide-map"]


def test_matrix_in_every_form(command, small_matrix, tmp_path):
    text = command(*small_matrix)
    assert "Which hazards can come about" in text and "What designs cost" in text
    assert max(map(len, text.splitlines())) <= 72
    assert command(*small_matrix, "--markdown").startswith("| design | bufferless-dirty |")
    found = json.loads(command(*small_matrix, "--json", "--out", tmp_path / "new"))
    assert list(found["designs"]) == ["v4.17"] and set(found["designs"]["v4.17"]["hazards"]) == set(verdicts.HAZARDS)
    kinds = ("pdf", "png", "svg", "txt")
    wanted = {f"decision_{name}.{kind}" for name in ("matrix", "criteria") for kind in kinds}
    assert set(os.listdir(tmp_path / "new")) == wanted | {"decision_matrix.md", charts.ONE_COLUMN}


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("file", "file: that is a file; name a folder"),
        ("file/new", "Not a directory"),
        ("/proc", "/proc: No such file"),
    ],
)
def test_matrix_looks_for_room_before_it_searches(command, small_matrix, searched, tmp_path, place, says):
    (tmp_path / "file").write_text("")
    line = command(*small_matrix, "--out", tmp_path / place, status=2)
    assert says in line and "name a folder" in line
    assert searched.calls == []


def test_matrix_takes_designs_beside_the_others(command, small_matrix, tmp_path):
    (tmp_path / "mine.py").write_text((Path(workbench.__file__).parent / "trackers" / "pincount.py").read_text())
    mine = f"tracker={tmp_path}/mine.py:PinCount,cleaning=skip"
    found = json.loads(command(*small_matrix, "--json", "--design", mine, "--design", "v6.12"))
    assert set(found["designs"]) == {"v4.17", mine, "v6.12"}
    assert found["designs"][mine]["criteria"]["atomics per page"] == "2"
    new = tmp_path / "new"
    line = command(*small_matrix, "--out", new, "--design", mine.replace("PinCount", "Pins"), status=2)
    assert "mine.py: it has no class 'Pins'; did you mean 'PinCount'?" in line and not new.exists()


def test_matrix_takes_its_options(command, small_matrix, searched):
    command("matrix", "--jobs", "1", "--quick", "--max-states", "5", "--memory-mib", "6", "--scenarios", "wide-map")
    assert {scenario for scenario, *_ in searched.calls} == {"wide-map", "fork-cow"}
    assert {(o["max_states"], o["memory_mib"], o["reduce"]) for *_, o in searched.calls} == {(5, 6, True)}


# ---- usage as a whole


def all_commands(parser, words=()):
    yield words
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from all_commands(below, (*words, name))


COMMANDS = list(all_commands(cli._parser()))


def test_commands_of_commands_are_found():
    assert {(), ("export",), ("trace", "capture"), ("kernel", "pins")} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_and_its_example_is_accepted(command, words):
    told, examples = command(*words, "--help").split("example:\n")
    assert max(map(len, told.splitlines())) <= 110
    for line in examples.replace(" && ", "\n").splitlines():
        example = shlex.split(line)
        assert example[0] == "workbench"
        assert cli._arguments(example[1:]).run
    assert tuple(examples.split()[1 : len(words) + 1]) == words


def test_version(command):
    assert command("--version").startswith("gup-pin-workbench ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            [],
            "a command is needed: list, simulate, explore, matrix, run, figures, sweep, results, export, trace, kernel",
        ),
        (["trace"], "workbench trace: a command is needed: show, capture, import"),
        (["simulat"], "no 'simulat': did you mean 'simulate'"),
        (["trace", "improt"], "no 'improt': did you mean 'import'"),
        (["list", "scenario"], "no 'scenario': did you mean 'scenarios'"),
        (["list", "--jsn"], "no option '--jsn': did you mean '--json'"),
        (["list", "--js"], "no option '--js': did you mean '--json'"),
        (["--verison"], "no option '--verison': did you mean '--version'"),
        (["figures", "--jobs", "2.5"], "--jobs: '2.5' is not a whole number"),
        (["run"], "required: NOTEBOOK"),
        (["trace", "import", "x.csv"], "required: -o/--out"),
    ],
)
def test_wrong_usage(command, words, says):
    line = command(*words, status=2)
    assert line.startswith("workbench: ") and says in line


# ---- run, figures


def test_run_one_notebook(command, notebooks, tmp_path):
    notebooks(n01_a=GOOD)
    out = tmp_path / "out"
    assert command("run", "01_a", "-p", "depth=4", "--quick", "--out", out) == f"{out}/notebooks/01_a.ipynb\n"
    assert (out / "seen.txt").read_text() == "True 4"


def test_wrong_words_of_run(command, notebooks, tmp_path):
    notebooks(n01_a=GOOD)
    out = tmp_path / "out"
    for words, says in [
        (["01_b"], "no notebook '01_b': did you mean '01_a'"),
        (["01_a", "-p", "dept=4"], "no parameter 'dept': did you mean 'depth'"),
        (["01_a", "-p", "depth=x"], "'depth' takes int"),
        (["01_a", "-p", "depth"], "name=value is needed"),
    ]:
        assert says in command("run", *words, "--out", out, status=2)
    assert not out.exists()


def test_figures_go_on_after_a_failure(command, notebooks, tmp_path):
    notebooks(n01_a=FAILING, n02_b=GOOD)
    line = command("figures", "--quick", "--jobs", "1", "--out", tmp_path / "out", status=1)
    assert line.startswith("workbench: 01_a: In [3]: ValueError: two lines")
    assert (tmp_path / "out" / "seen.txt").read_text() == "True 1"


def test_wrong_words_of_figures(command, notebooks, tmp_path):
    assert "no notebooks in" in command("figures", "--out", tmp_path / "out", status=2)
    notebooks(n01_a=GOOD)
    assert "jobs=0: 1 or more" in command("figures", "--jobs", "0", "--out", tmp_path / "out", status=2)
    assert not (tmp_path / "out").exists()


def test_figures_take_their_defaults(command, notebooks, monkeypatch):
    notebooks(n01_a=GOOD)
    asked = []
    monkeypatch.setattr(batch, "run_all", lambda *words, **settings: asked.append((words, settings)) or [])
    assert command("figures") == ""
    assert asked == [((False, len(os.sched_getaffinity(0)), Path("figures")), {"warm": cli._warm_aside})]


def test_a_notebook_that_fails_and_one_that_is_interrupted(command, notebooks, monkeypatch, capsys):
    notebooks(n01_a=GOOD)
    errors = [batch.NotebookError("01_a: In [3]: ValueError: two lines"), KeyboardInterrupt()]

    def fail(*_):
        raise errors.pop(0)

    monkeypatch.setattr(batch, "run_notebook", fail)
    assert command("run", "01_a", status=1) == "workbench: 01_a: In [3]: ValueError: two lines\n"
    assert cli.main(["run", "01_a"]) == 130
    assert capsys.readouterr() == ("", "")


def test_each_kind_of_tracker_is_compiled_once(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(workbench, "simulate", lambda scenario, design, ios: ran.append(designs.parse(design)))
    monkeypatch.setattr("workbench.accelerate.JIT_ENABLED", True)
    cli._warm()
    kinds = [type(design.tracker) for design in ran]
    assert len(kinds) == len(set(kinds))
    assert set(kinds) == {type(tracker) for tracker in designs.trackers().values()}
    assert capsys.readouterr().out.count("\n") == len(kinds)
    monkeypatch.setattr("workbench.accelerate.JIT_ENABLED", False)
    cli._warm()
    assert len(ran) == len(kinds)


def test_compiling_is_another_process(monkeypatch):
    monkeypatch.setattr(cli, "_warm", _not_here)
    monkeypatch.setenv("PARENT", str(os.getpid()))
    cli._warm_aside()


def _not_here():
    assert os.getpid() != int(os.environ["PARENT"])


def test_compiling_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(cli, "_warm", _die)
    with pytest.raises(ChildProcessError, match="exit status 7"):
        cli._warm_aside()


def _die():
    os._exit(7)


# ---- trace


def test_trace_show(command, trace_file):
    found = json.loads(command("trace", "show", trace_file, "--json"))
    assert found == traces.summarise(traces.load(trace_file))
    assert found["ios"] == 3 and found["overtakes"]["max"] == 1
    text = command("trace", "show", trace_file)
    assert "overtakes     mean 0.6667, p50 1, p90 1, p99 1, max 1 earlier" in text
    assert "latency       p50 2us" in text
    assert found["sha256"] in text


def test_trace_show_of_a_histogram(command):
    """There is no order of completions in it."""
    text = command("trace", "show", batch.ROOT / "data" / "traces" / "fio-randread-4k-qd64.json.gz")
    assert "out of order  - of IOs" in text


def test_trace_import(command, trace_file, tmp_path):
    out = tmp_path / "trace.parquet"
    text = command("trace", "import", trace_file, "-o", out)
    assert text == command("trace", "show", out)
    found = json.loads(command("trace", "import", trace_file, "-o", out, "--format", "csv", "--json"))
    assert found == traces.summarise(traces.load(trace_file))


@pytest.mark.parametrize("content", ["", "\0\1\2", CSV[:-30], CSV.replace("5000", "x"), "some\ntext\n"])
def test_damaged_traces(command, tmp_path, content):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    assert command("trace", "show", path, status=2).startswith(f"workbench: {path}:")
    command("trace", "import", path, "-o", tmp_path / "out.parquet", status=2)
    assert os.listdir(tmp_path) == ["bad.csv"]


def test_wrong_words_of_trace(command, trace_file, tmp_path):
    assert "no.csv" in command("trace", "show", "no.csv", status=2)
    assert "did you mean 'csv'" in command("trace", "show", trace_file, "--format", "cvs", status=2)
    assert "the file that is read" in command("trace", "import", trace_file, "-o", trace_file, status=2)
    assert trace_file.read_text() == CSV
    assert "No such file" in command("trace", "import", trace_file, "-o", tmp_path / "no" / "x.parquet", status=2)


# ---- as a process


@pytest.mark.parametrize("words", [["list"], ["--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_who_has_seen_enough(words, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*words, stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=60)
    swallowed = words == ["--help"] and unbuffered  # argparse doesn't mind that nobody reads its help
    assert (process.returncode, err) == (0 if swallowed else 141, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk(unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    for words in (["list", "--json"], ["explore", "truncate-dax", "--design", "v6.12", "--walks", "1", "--json"]):
        with open("/dev/full", "w") as full:
            process = start(*words, stdout=full)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (1, "workbench: output: No space left on device\n")


def test_a_file_that_can_not_be_written_is_named(command, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(13, "Permission denied", "some/file")

    monkeypatch.setattr(workbench, "simulate", fail)
    assert command(*SMALL, status=1) == "workbench: some/file: Permission denied\n"


def test_one_line_and_status_of_a_process():
    process = start("simulat", stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1 and "did you mean 'simulate'" in err


def test_sigterm_leaves_no_kernel_and_no_scratch(notebooks, tmp_path):
    notebooks(n01_a=HANGING)
    out = tmp_path / "out"
    process = start("run", tmp_path / "nb" / "01_a.ipynb", "--out", out, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if (out / "pid").exists() and (out / "pid").read_text():
                break
            time.sleep(0.05)
        process.terminate()
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (143, "")
        assert not psutil.pid_exists(int((out / "pid").read_text()))
        assert [path.name for path in out.rglob("*") if path.is_file()] == ["pid"]
    finally:
        process.kill()
        process.wait()


def test_the_handler_of_sigterm_is_put_back(command):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        command("list", "policies")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
