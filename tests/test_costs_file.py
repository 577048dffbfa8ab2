"""Cost tables from files: read strictly, used by every command, named in every result."""

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import verdicts
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench
from workbench import anchors, batch, cli, cost_files, costs, matrix, results, simulate
from workbench.errors import UsageError
from workbench.mm.registers import COUNTERS
from workbench.provenance import provenance
from workbench.sweep import run

SMALL = {"ios": 40, "qd": 4}
ENTRY = {"ns": 100.5, "provenance": "calibrated", "source": "vmsplice, less an atomic", "spread": 0.03}
ROW = {"name": "mmap, 100 VMAs", "value": 1310, "unit": "ns", "spread": None, "runs": 5}
ABOUT = {"name": "mine", "kernel": "Linux 6.18", "cpu": "a CPU", "provenance": "5 runs"}


def whole(**changes) -> dict:
    return {**ABOUT, "entries": {"GUP_PAGE": dict(ENTRY)}, "measurements": [dict(ROW)], **changes}


@pytest.fixture
def written(tmp_path):
    """Write a file, of JSON values or of text as it is; returns its path."""

    def write(content=None, name: str = "costs.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(whole() if content is None else content))
        return path

    return write


def entry(**changes) -> dict:
    return whole(entries={"GUP_PAGE": {**ENTRY, **changes}})


# ---- reading and writing


def test_what_a_file_says_replaces_what_is_built_in(written):
    path = written()
    found = cost_files.read(path)
    assert costs.load(path) == found.table
    assert found.table.entries["GUP_PAGE"] == costs.Cost(100.5, "calibrated", ENTRY["source"])
    others = {name: cost for name, cost in found.table.entries.items() if name != "GUP_PAGE"}
    assert others == {name: cost for name, cost in costs.DEFAULT.entries.items() if name != "GUP_PAGE"}
    assert (found.about, found.given, found.spread, found.measurements) == (
        ABOUT,
        ("GUP_PAGE",),
        {"GUP_PAGE": 0.03},
        [ROW],
    )
    assert found.table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and costs.DEFAULT.sha256 is None
    assert found.table.picoseconds()[list(COUNTERS).index("GUP_PAGE")] == 100_500


def test_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "costs.json"
    cost_files.write(path, ABOUT, {"GUP_PAGE": ENTRY}, [ROW])
    assert cost_files.read(path).measurements == [ROW]
    before = path.read_bytes()
    with pytest.raises(UsageError, match="no 'GUP_PAGES'"):
        cost_files.write(path, ABOUT, {"GUP_PAGES": ENTRY})
    with pytest.raises(ValueError, match="not JSON compliant"):
        cost_files.write(path, ABOUT, {"GUP_PAGE": {**ENTRY, "ns": math.nan}})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("1" * 5000, "not JSON"),
        ("{}", "'name' is missing"),
        ("[]", "the file: is []; give an object"),
        ('{"name": "a", "name": "b"}', "'name' is there twice"),
        ("x" * (1 << 20) + "x", "more than 1048576 bytes"),
        (whole(enties={}), "no 'enties': did you mean 'entries'"),
        (whole(entries=[]), "entries: is []; give an object"),
        (whole(entries={"GUP_PAGES": ENTRY}), "entries: there is no 'GUP_PAGES': did you mean 'GUP_PAGE'"),
        (whole(name="default"), "the name of the table that is built in"),
        (whole(name=""), "name: is ''; give one line of text"),
        (whole(kernel=6.18), "kernel: is 6.18; give one line of text"),
        (whole(cpu="a\nb"), "cpu: is 'a\\nb'; give one line"),
        (whole(provenance="x" * 501), "give one line of text of up to 500"),
        (entry(ns="5"), "entry GUP_PAGE: ns: is '5'; give a number from 0 to 1e+09"),
        (entry(ns=-1), "entry GUP_PAGE: ns: is -1;"),
        (entry(ns=True), "entry GUP_PAGE: ns: is True;"),
        (entry(ns=math.nan), "entry GUP_PAGE: ns: is nan;"),
        (entry(ns=math.inf), "entry GUP_PAGE: ns: is inf;"),
        (entry(ns=10**9 + 1), "entry GUP_PAGE: ns: is 1000000001;"),
        (entry(ns=10**400), "entry GUP_PAGE: ns: is a number of too many digits;"),
        (entry(provenance="guessed"), "entry GUP_PAGE: provenance: is 'guessed'; there are: published, calibrated"),
        (entry(provenance=[]), "entry GUP_PAGE: provenance: is [];"),
        (entry(source=None), "entry GUP_PAGE: source: is None;"),
        (entry(spread=-0.1), "entry GUP_PAGE: spread: is -0.1;"),
        (entry(spred=0.1), "entry GUP_PAGE: there is no 'spred': did you mean 'spread'"),
        (whole(entries={"GUP_PAGE": {"ns": 1, "source": "x"}}), "entry GUP_PAGE: 'provenance' is missing"),
        (whole(entries={"GUP_PAGE": 5}), "entry GUP_PAGE: is 5; give an object"),
        (whole(measurements={}), "measurements: is not a list"),
        (whole(measurements=[{**ROW, "runs": 0}]), "measurement 1: runs: is 0; give a whole number from 1"),
        (whole(measurements=[ROW, {**ROW, "runs": 1.0}]), "measurement 2: runs: is 1.0;"),
        (whole(measurements=[{**ROW, "value": math.inf}]), "measurement 1: value: is inf; give a number from -1e+18"),
        (whole(measurements=[{**ROW, "spread": math.inf}]), "measurement 1: spread: is inf; give a number from 0 to"),
        (whole(measurements=["x"]), "measurement 1: is 'x'; give an object"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(written, content, says):
    path = written(content)
    with pytest.raises(UsageError) as error:
        costs.load(path)
    text = str(error.value)
    assert says in text and f"cost table {path}: " in text and text.isprintable() and len(text) < 1000


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, says in (("", "Is a directory"), ("missing", "No such file"), ("binary", "not JSON"), ("\0", "null")):
        with pytest.raises(UsageError, match=says):
            costs.load(f"{tmp_path}/{name}")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(costs.KINDS)
KEYS = st.sampled_from([*cost_files.ABOUT, "entries", "measurements", "GUP_PAGE", *ENTRY, *ROW]) | st.text(max_size=5)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6))


@settings(max_examples=200)
@given(changes=st.dictionaries(KEYS, TREES, max_size=3), place=st.sampled_from(["file", "entry", "row", "tree"]))
def test_whatever_a_file_holds_it_is_a_table_or_one_line(tmp_path_factory, changes, place):
    """A changed file, entry or measurement; or any other JSON."""
    made = {
        "file": lambda: whole(**changes),
        "entry": lambda: entry(**changes),
        "row": lambda: whole(measurements=[{**ROW, **changes}]),
        "tree": lambda: changes,
    }[place]()
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_text(json.dumps(made))
    _table_or_one_line(path)


@settings(max_examples=200)
@given(data=st.binary(max_size=40), at=st.integers(0, 400))
def test_whatever_bytes_a_file_has(tmp_path_factory, data, at):
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    good = json.dumps(whole()).encode()
    path.write_bytes(good[:at] + data + good[at + len(data) :])
    _table_or_one_line(path)


def _table_or_one_line(path: Path) -> None:
    try:
        table = costs.load(path)
    except UsageError as error:
        assert str(error).isprintable()
        return
    assert (table.picoseconds() >= 0).all() and set(table.entries) == set(costs.DEFAULT.entries)


# ---- in use


def test_the_table_in_use(written, monkeypatch):
    path = written()
    assert costs.in_use() is costs.DEFAULT
    with costs.using(os.path.relpath(path)) as table:
        assert costs.in_use() == table and os.environ[costs.VARIABLE] == str(path)
        with costs.using(written(whole(name="inner"), "inner.json")):
            assert costs.in_use().name == "inner"
        assert costs.in_use() == table
    assert costs.in_use() is costs.DEFAULT and costs.VARIABLE not in os.environ
    with pytest.raises(UsageError), costs.using("missing.json"):
        raise AssertionError("unreached")
    monkeypatch.setenv(costs.VARIABLE, "missing.json")
    with pytest.raises(UsageError, match="cost table missing.json: No such file"):
        simulate("direct-io", "tracker=none", **SMALL)


def test_simulate_takes_the_table_and_says_which(written):
    path = written(entry(ns=5000))
    table = costs.load(path)
    plain = simulate("direct-io", "tracker=none", **SMALL)
    dear = simulate("direct-io", "tracker=none", cost_table=table, **SMALL)
    with costs.using(path):
        same = simulate("direct-io", "tracker=none", **SMALL)
    assert dear.metrics["slat_ns"] > plain.metrics["slat_ns"] + 4000
    assert str(same.metrics) == str(dear.metrics) and same.provenance == dear.provenance
    told = dear.provenance["costs"]
    assert told == {"name": "mine", "provenance": table.provenance, "sha256": table.sha256}
    assert plain.provenance["costs"]["sha256"] is None
    row = results.row(dear.provenance, "none", {})
    assert row["cost_table"] == f"mine ({table.provenance})" and row["cost_table_sha256"] == table.sha256
    assert results.row(provenance(), "none", {})["cost_table_sha256"] is None
    with costs.using(path):
        assert "mine" in results.row(provenance(costs=costs.in_use()), "none", {})["cost_table"]
        put = anchors.batched_release().set_index("release")["low"]["one by one"]
    assert put == anchors.batched_release(table).set_index("release")["low"]["one by one"]


def test_simulate_by_the_command(written, capsys):
    path = written(entry(ns=5000))
    words = ["simulate", "direct-io", "--design", "tracker=none", "--set", "ios=40", "qd=4", "--json"]
    assert cli.main([*words, "--costs", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)["provenance"]["costs"]
    assert told["name"] == "mine" and told["sha256"] == costs.load(path).sha256
    assert cli.main([*words[:-1], "--costs", str(path)]) == 0
    assert f"costs: mine ({told['provenance']}), sha256 {told['sha256']}\n" in capsys.readouterr().out
    assert costs.in_use() is costs.DEFAULT


@pytest.mark.parametrize(
    "words",
    [
        ["simulate", "direct-io", "--design", "v4.17"],
        ["explore", "golden-race", "--design", "v4.17"],
        ["matrix", "--quick"],
        ["run", "01_golden_race"],
        ["figures"],
        ["sweep", "spec.toml"],
    ],
)
def test_every_command_refuses_a_bad_table_before_it_starts(words, written, capsys, monkeypatch):
    starts = ((workbench, "simulate"), (matrix, "build"), (batch, "run_notebook"), (batch, "run_all"), (run, "sweep"))
    for module, name in starts:
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("started"))
    path = written(whole(entries={"ATOMIK": ENTRY}))
    assert cli.main([*words, "--costs", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no 'ATOMIK': did you mean 'ATOMIC'" in error


def test_explore_says_what_a_counterexample_costs(written, capsys):
    """As `simulate` does that runs it by the clock."""
    path = written(whole(entries={"FAULT": {**ENTRY, "ns": 7e6}}))
    words = ["explore", "truncate-dax", "--design", "v4.17", "--no-conditional", "--costs", str(path)]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["provenance"]["costs"]["name"] == "mine"
    hazard = found["hazards"]["truncate-write"]
    table = costs.load(path)
    told = simulate("truncate-dax", "v4.17", schedule=hazard["schedule"], cost_table=table).log
    assert hazard["cost_ns"] == told["end_ps"].iloc[-1] / 1000 > 0
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "its steps cost" in text and f"costs: mine ({table.provenance}), sha256 {table.sha256}\n" in text


def test_the_matrix_counts_with_the_table_in_use(written, monkeypatch):
    seen = []

    def count(design: str) -> dict:
        seen.append(costs.in_use().name)
        counters = dict.fromkeys(("PINS", "ATOMIC", "SPIN_LOCK", "RWSEM", "DEFERRED_DIRTY", "DEFERRED_UNPIN"), 1)
        return {"counters": counters, "bytes": 0, "ranges": 0, "pinned": 1, "flags": []}

    monkeypatch.setattr(matrix, "_counted", count)
    with costs.using(written()):
        made = matrix.build(["v4.17"], ["golden-race"], jobs=1, explore=verdicts.explore)
    assert made.provenance["costs"]["name"] == "mine" and set(seen) == {"mine"}


CELLS = """# %% tags=["parameters"]
quick: bool = False  # small inputs
figures_dir: str = "figures"  # where figures go

# %%
from workbench import costs, simulate
result = simulate("direct-io", "tracker=none", ios=20, qd=4)
assert result.provenance["costs"]["name"] == costs.in_use().name == "mine"
"""


def test_a_notebook_is_run_with_the_table(written, tmp_path, capsys):
    import jupytext

    notebook = tmp_path / "book.ipynb"
    jupytext.write(jupytext.reads(CELLS, "py:percent"), notebook)
    words = ["run", str(notebook), "--out", str(tmp_path / "out")]
    path = os.path.relpath(written())  # the notebook runs in another folder
    assert cli.main([*words, "--costs", path]) == 0, capsys.readouterr().err
    assert cli.main(words) == 1 and "AssertionError" in capsys.readouterr().err


def test_notebooks_ask_for_the_table_in_use():
    """None of them holds on to the one that is built in."""
    assert [p.name for p in batch.NOTEBOOKS.glob("*.py") if "costs.DEFAULT" in p.read_text()] == []


def test_a_process_takes_the_variable(written):
    code = "from workbench import costs; print(costs.in_use().name)"
    environment = os.environ | {costs.VARIABLE: str(written())}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "mine\n"
