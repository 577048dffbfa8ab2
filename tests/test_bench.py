"""The table of benchmarks, its command, and the peers: each gives the results of what it is measured beside."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import bench_direct_io, bench_start, bench_sweep, machine, measure, rows
from benchmarks.measure import Seconds, Skipped
from benchmarks.row import FAILED, Row
from benchmarks.rows import BEGIN, END
from workbench import cli, cli_bench
from workbench.errors import UsageError

WON = {"name": "a/won", "what": "this, against that", "ours": 120.0, "peer": 3.0, "ratio": 40.0, "goal": "ratio >= 25",
       "unit": "M/s", "note": "a note"}  # fmt: skip
LOST = WON | {"name": "a/lost", "what": "this | that", "ratio": 1.7, "goal": "ratio <= 1.5", "unit": "s"}
MACHINE = {"CPU": "one", "load": "0.0"}
SMALL = {"ios": 60, "qd": 8, "size_kib": 64}
LOADS = (
    {},
    {"bio_pages": 5},
    {"op": "write", "gup_pages": 3, "units": 2},
    {"tags": 3, "bio_pages": 8, "latency_us": 20.0},
    {"size_kib": 4, "qd": 1, "jitter": 0.0},
)


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        ("ratio <= 1.5", False),
        ("ratio >= 1.5", True),
        ("<= 1.5", False),
        (">= 1.7", True),
        ("ours <= 120", True),
        ("ours >= 121", False),
        ("", None),
    ],
)
def test_goals(goal, met):
    row = Row(**(LOST | {"goal": goal}))
    assert row.met is met
    if goal:
        assert row._replace(ours=None, ratio=None).met is None
        assert row._replace(ours=math.nan, ratio=math.nan).met is None


def test_a_goal_of_another_form_is_no_goal():
    with pytest.raises(ValueError, match="a/won: goal 'fast'"):
        _ = Row(**(WON | {"goal": "fast"})).met


def test_what_cannot_run_or_differs_has_a_row_that_says_so():
    def needs(quick):
        raise Skipped("needs gcc")

    def differs(quick):
        raise AssertionError("the twin counts otherwise")

    benchmarks = {
        "one": lambda quick: [Row(**WON)._replace(note=str(quick)), Row(**LOST)],
        "two": needs,
        "three": differs,
    }
    found = rows.collect(["one", "two", "three"], True, benchmarks)
    assert [row.name for row in found] == ["a/won", "a/lost", "two", "three"]
    assert [row.note for row in found] == ["True", "a note", "skipped: needs gcc", "failed: the twin counts otherwise"]
    assert rows.failed(found) and not rows.failed(found[:3])
    text = rows.text(found, MACHINE)
    assert "  benchmark two; skipped: needs gcc\n" in text and "\nCPU   one\n" in text


def test_every_benchmark_is_a_module_and_named_in_the_help():
    assert ", ".join(rows.BENCHMARKS) == cli_bench.NAMES
    folder = Path(rows.__file__).parent
    assert {f"bench_{path.stem[6:]}" for path in folder.glob("bench_*.py")} == set(rows.BENCHMARKS.values())


def test_the_readme_gets_the_table_and_keeps_the_rest(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    rows.write_readme([Row(**WON), Row(**LOST)], MACHINE, readme)
    text = readme.read_text()
    assert text.startswith(f"before\n\n{BEGIN}\n") and text.endswith(f"\n{END}\n\nafter\n") and "old" not in text
    assert "| this, against that | 120 | 3 | M/s | 40 | ratio >= 25 | yes | a note |" in text
    assert r"| this \| that | 120s | 3s |  | 1.7 | ratio <= 1.5 | no | a note |" in text
    assert "Measured on: CPU: one; load: 0.0." in text
    rows.write_readme([Row(**WON), Row(**LOST)], MACHINE, readme)
    assert readme.read_text() == text and [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}", f"{BEGIN}\n{END}\n{END}"])
def test_a_readme_without_its_two_marks_is_left_alone(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(UsageError, match="--write-readme: README.md needs one line <!-- bench"):
        rows.write_readme([Row(**WON)], MACHINE, readme)
    assert readme.read_text() == text


def test_a_readme_that_cannot_be_replaced_is_told_before_anything_is_measured(bench, monkeypatch, tmp_path):
    for function in (rows.around_table, rows.write_readme):
        monkeypatch.setattr(function, "__defaults__", (tmp_path / "README.md",))
    assert bench("--write-readme") == (2, "", "workbench: --write-readme: README.md: No such file or directory\n")
    (tmp_path / "README.md").write_text(f"{BEGIN}\n{END}")
    monkeypatch.setattr(rows.os, "access", lambda path, mode: path != tmp_path)
    assert bench("--write-readme")[0::2] == (
        2,
        "workbench: --write-readme: README.md can't be written: its folder is read-only\n",
    )
    assert bench.asked == []


def test_the_readme_of_the_repository_has_the_marks():
    text = rows.README.read_text()
    assert text.index(BEGIN) < text.index(END)


# ---- the command


@pytest.fixture
def bench(monkeypatch, capsys):
    """Return a function that runs ``workbench bench`` on made-up rows; gives status, output and complaint."""
    measured = [Row(**WON), Row(**LOST)]
    asked = []

    def collect(names, quick):
        asked.append((names, quick))
        return measured

    monkeypatch.setattr(rows, "collect", collect)
    monkeypatch.setattr(machine, "machine", lambda: dict(MACHINE))

    def run(*words):
        status = cli.main(["bench", *words])
        return status, *capsys.readouterr()

    run.measured, run.asked = measured, asked
    return run


def test_the_command_prints_the_table(bench):
    status, out, err = bench("--only", "start", "--only", "direct-io", "--quick")
    assert (status, err, bench.asked) == (0, "", [(["direct-io", "start"], True)])
    assert "this, against that" in out and "no" in out.split() and "load  0.0 before, " in out
    assert max(map(len, out.splitlines())) <= rows.WIDTH


def test_the_command_prints_json(bench):
    status, out, _ = bench("--json")
    told = json.loads(out)
    assert status == 0 and bench.asked == [(list(rows.BENCHMARKS), False)]
    assert told["quick"] is False and told["machine"]["CPU"] == "one"
    assert told["rows"] == [WON | {"met": True}, LOST | {"met": False}]


def test_the_command_fails_where_a_peer_differs(bench):
    bench.measured.append(Row("b", "b", note="failed: another result"))
    status, out, err = bench()
    assert status == 1 and "failed: another result" in out and err == ""


def test_the_command_writes_the_readme(bench, monkeypatch):
    written = []
    monkeypatch.setattr(rows, "write_readme", lambda found, about: written.append((found, about["CPU"])))
    assert bench("--write-readme")[0] == 0
    assert written == [(bench.measured, "one")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--only", "direct"), "--only 'direct': did you mean 'direct-io'?"),
        (("--only", "nope"), "--only 'nope': there are: direct-io, explore, "),
        (("--only", ""), "--only '': there are: direct-io, explore, "),
        (("--only",), "argument --only: expected one argument"),
        (("--only", "--quick"), "argument --only: expected one argument"),
        (("--only", "start", "explore"), "no argument 'explore'"),
        (("start",), "no argument 'start'"),
        (("--quik",), "no option '--quik': did you mean '--quick'"),
        (("--write-readme", "--quick"), "leave --only and --quick out"),
        (("--write-readme", "--only", "start"), "leave --only and --quick out"),
    ],
)
def test_wrong_usage(bench, words, told):
    status, out, err = bench(*words)
    assert (status, out, err.count("\n")) == (2, "", 1) and told in err and bench.asked == []


def test_without_a_source_tree(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(cli_bench, "ROOT", tmp_path)
    status, _, err = bench()
    assert (status, err.count("\n")) == (2, 1) and "no folder benchmarks" in err


def test_the_package_of_benchmarks_is_the_same_command():
    command = [sys.executable, "-m", "benchmarks", "--only", "interval-trees"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cli_bench.ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "workbench: --only 'interval-trees': did you mean 'interval-tree'?\n"


def test_the_machine_is_described(monkeypatch):
    told = machine.machine()
    assert all(told.values()) and float(told["load"]) >= 0 and told["cores"].split()[0] != "0"
    assert machine.tool("no-such-tool") == "not installed"
    assert machine.tool("true") == "installed" and machine.tool("echo", "one\ntwo") == "one"


# ---- how things are timed


def test_the_best_of_each_in_turns(monkeypatch):
    done = []
    times = iter([5.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(measure, "cpu_seconds", lambda work: (work(), next(times))[1])
    assert measure.best_of(2, lambda: done.append("a"), lambda: done.append("b")) == [3.0, 2.0]
    assert done == ["a", "b", "a", "b"]


def test_time_of_child_processes():
    idle = measure.timed(lambda: subprocess.run(["sleep", "0.2"], check=True))
    assert idle.clock >= 0.2 > idle.cpu >= 0


# ---- direct-io: C, SimPy


@pytest.fixture(scope="module")
def c_program():
    try:
        return bench_direct_io.CProgram()
    except Skipped as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_the_engine_alone_does_what_simulate_does(load):
    given = SMALL | load
    alone = bench_direct_io.by_engine(bench_direct_io.system(**given).draws, **given)
    assert alone[:2] == bench_direct_io.by_simulate(**given)[:2]


@pytest.mark.parametrize("load", [*LOADS, {"cpus": 3}], ids=str)
def test_the_c_program_gives_the_same(c_program, load):
    given = SMALL | load
    system = bench_direct_io.system(**given)
    theirs, ours = c_program.run(system), bench_direct_io.by_engine(system.draws, **given)
    assert theirs[:3] == ours[:3]
    assert theirs.events == bench_direct_io.by_simulate(**given).events
    later = bench_direct_io.System(system.parameters, system.cost, system.draws + 1)
    assert c_program.run(later)[:3] != ours[:3]  # what is compared depends on what is drawn


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_the_simpy_model_gives_the_same(load):
    pytest.importorskip("simpy", reason="needs simpy")
    given = SMALL | load
    system = bench_direct_io.system(**given)
    theirs, ours = bench_direct_io.by_simpy(system), bench_direct_io.by_engine(system.draws, **given)
    assert theirs[:2] == ours[:2]
    assert theirs.sums["LATENCY"] == ours.sums["LATENCY"]


@pytest.fixture
def few(monkeypatch):
    """Hardly any direct IOs."""
    for name, n in (("QUICK_IOS", 30), ("PLAIN_IOS", 10), ("SIMPY_IOS", 20), ("REPEATS", 1)):
        monkeypatch.setattr(bench_direct_io, name, n)


def test_rows_of_direct_io(few, c_program):
    pytest.importorskip("simpy", reason="needs simpy")
    found = bench_direct_io.rows(quick=True)
    assert [row.name for row in found] == ["direct-io/bias", "direct-io/x-simpy", "direct-io/x-c"]
    assert all(row.ours > 0 and row.peer > 0 and row.ratio > 0 and row.met is not None for row in found)
    assert found[2].ratio == pytest.approx(found[2].peer / found[2].ours)


def test_rows_of_direct_io_without_peers(few, monkeypatch):
    monkeypatch.setattr(measure.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "simpy", None)
    monkeypatch.delitem(sys.modules, "benchmarks.peers.direct_io_simpy", raising=False)
    found = bench_direct_io.rows(quick=True)
    assert [row.note for row in found[1:]] == ["skipped: needs simpy", "skipped: needs gcc"]
    assert [row.met for row in found[1:]] == [None, None]


def test_a_peer_with_another_result_is_not_measured(few, monkeypatch, c_program):
    def other(given):
        return bench_direct_io.Outcome({}, 0, {})

    monkeypatch.setattr(bench_direct_io, "by_simpy", other)
    with pytest.raises(AssertionError, match="SimPy gives another result"):
        bench_direct_io.simpy_row(30)
    monkeypatch.setattr(bench_direct_io.CProgram, "run", lambda self, given: other(given))
    with pytest.raises(AssertionError, match="the C program gives another result"):
        bench_direct_io.c_row(30)


# ---- the others, on made-up times


def test_rows_of_start(monkeypatch):
    monkeypatch.setattr(
        bench_start, "simulated", lambda environment, *designs: [[15.0 + i, 30.0] for i in range(len(designs))]
    )
    monkeypatch.setattr(bench_start, "best", lambda environment, *command: Seconds(0.4, 0.9))
    found = {row.name: row for row in bench_start.rows()}
    further = ["start/further-flag", "start/further-vma-common:release=split"]
    assert list(found) == ["start/import", "start/warm", "start/first", *further]
    assert [row.ours for row in found.values()] == [0.4, 0.4, 15.0, 16.0, 17.0]
    assert [row.met for row in found.values()] == [True, True, True, False, False]
    assert found["start/import"].ratio == 1 and found["start/first"].note == "by the clock; CPU time 30.00 s"
    quick = bench_start.rows(quick=True)
    assert [row.name for row in quick] == list(found)
    assert [row.note.startswith("skipped: ") for row in quick] == [False, False, True, True, True]


def test_a_fresh_process_is_timed():
    spent = bench_start.best(measure.with_package(), "sum(range(10**6))")
    assert 0 < spent.cpu < 60
    with pytest.raises(subprocess.CalledProcessError):
        bench_start.best(measure.with_package(), "raise SystemExit(1)")


def test_rows_of_sweep(monkeypatch):
    times = (Seconds(10.0, 20.0), Seconds(11.0, 21.0), Seconds(1.0, 1.0))
    monkeypatch.setattr(bench_sweep, "simulate", lambda *_, **__: None)
    monkeypatch.setattr(bench_sweep, "simulations", lambda ios, folder, seeds: (seeds * 50, *times))
    monkeypatch.setattr(bench_sweep.results, "load", lambda store: pd.DataFrame())
    monkeypatch.setattr(bench_sweep, "replications", lambda frame: 7)
    monkeypatch.setattr(bench_sweep, "run", lambda *commands: None)
    monkeypatch.setattr(bench_sweep, "timed", lambda work: (work(), Seconds(22.0, 21.0))[1])
    found = bench_sweep.rows()
    assert [row.name for row in found] == ["sweep/points", "sweep/x-one-core", "sweep/x-bare-loop", "sweep/interval"]
    assert [row.met for row in found] == [True, True, True, None]
    assert found[3].ours == pytest.approx(7 * 11 / 1000)
    assert found[1].ratio == 2 and found[2].ratio == pytest.approx(1.05)
    assert [row.met for row in bench_sweep.rows(quick=True)] == [None] * 4


def test_replications_until_the_interval_is_narrow():
    cells = [(point, value) for point, spread in (("a", 0.001), ("b", 0.05)) for value in (1 - spread, 1 + spread)]
    frame = pd.DataFrame(cells, columns=["parameters", "latency_mean_ns"])
    assert bench_sweep.replications(frame[frame["parameters"] == "a"]) == 2
    assert bench_sweep.replications(frame) == math.ceil((1.96 * 0.05 * math.sqrt(2) / 0.01) ** 2)


def test_a_benchmark_that_fails_leaves_the_others_their_rows():
    def breaks(quick):
        raise RuntimeError("no\nluck")

    found = rows.collect(["a", "b"], True, {"a": breaks, "b": lambda quick: [Row("b", "it")]})
    assert [(row.name, row.note) for row in found] == [("a", f"{FAILED}RuntimeError: no luck"), ("b", "")]
    assert rows.failed(found)
