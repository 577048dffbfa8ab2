"""Trackers in users' own files: what is wrong with one is told in one line; a right one is as good as the package's."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from numba.core.errors import NumbaError

import workbench
from workbench import designs, user_tracker
from workbench.accelerate import JIT_ENABLED
from workbench.cli import main
from workbench.errors import UsageError
from workbench.explore import explore, random_walks
from workbench.replay import small_world
from workbench.simulate import simulate

PACKAGE = Path(workbench.__file__).parent
plain_only = pytest.mark.skipif(JIT_ENABLED, reason="as plain Python: compiling takes long, and adds nothing here")
WHOLE = """
from typing import NamedTuple
from workbench.mm.page import page_of
from workbench.trackers.protocol import implements


class Mine(NamedTuple):
    when: int = 1
    lock: int = 0
    most: int = 4


class Other(NamedTuple):
    when: int = 1
    lock: int = 0


class Plain:
    pass


@implements(Mine)
def pin(tracker, world, page):
    page_of(world, page)["_pincount"] += 1


@implements(Mine)
def unpin(tracker, world, page, handle):
    page_of(world, page)["_pincount"] -= 1


@implements(Mine)
def is_pinned(tracker, world, page):
    return page_of(world, page)["_pincount"] > 0
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Write the file, in the folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    path = Path("mine.py")
    path.write_text(WHOLE)
    return path


def told(design):
    """The one line about a design that can't be had."""
    with pytest.raises(UsageError) as caught:
        designs.parse(design)
    message = str(caught.value)
    assert "\n" not in message and "mine.py" in message
    return message


# ---- what is wrong with a file


@pytest.mark.parametrize(
    "tracker,says",
    [
        ("mine.py", "which class? mine.py:NAME; there are: Mine, Other"),
        ("mine.py:", "which class?"),
        ("mine.py:Mein", "it has no class 'Mein'; did you mean 'Mine'?"),
        ("mine.py:NamedTuple", "it has no class 'NamedTuple'"),
        ("mine.py:Plain", "tracker Plain in mine.py: it has to be a NamedTuple"),
        ("mine.py:Other", "tracker Other in mine.py: pin needs @implements(Other) above it"),
        ("mine.py:Mine:when=3", "pin_range(tracker, world, inode, start, n) is missing, which when=RANGE_BEFORE needs"),
        ("mine.py:Mine:when=9", "when=9: one of NEVER=0, IN_GUP=1"),
        ("mine.py:Mine:lock=-1", "lock=-1: one of LOCK_NONE=0, LOCK_ZONE=1"),
        ("mine.py:Mine:mst=1", "no field 'mst': did you mean 'most'?"),
        ("mine.py:Mine:most", "most=: a whole number"),
        ("mine.py:Mine:most=1.5", "most=1.5: a whole number"),
        ("mine.py:Mine:most=12345678901234567890", "a whole number of at most 18 digits"),
        ("mine.py:Mine:most=1:most=2", "most is given twice"),
        ("no/mine.py:Mine", "tracker file no/mine.py: no such file"),
    ],
)
def test_wrong_names_and_options(mine, tracker, says):
    assert says in told(f"tracker={tracker},cleaning=skip")


@pytest.mark.parametrize(
    "old,new,says",
    [
        ("lock: int = 0\n    most", "lock int = 0\n    most", "line 9: SyntaxError: "),
        ("from typing", "import no_such_module\nfrom typing", "line 2: ModuleNotFoundError: No module named"),
        ("class Plain:", "raise SystemExit(3)\nclass Plain:", "line 18: SystemExit: 3"),
        ("class Plain:", "1 / 0\nclass Plain:", "line 18: ZeroDivisionError: division by zero"),
        ("class Plain:", "\0", "null bytes"),
        ("class Mine(NamedTuple)", "class Mine", "tracker Mine in mine.py: it has to be a NamedTuple"),
        ("    lock: int = 0\n    most", "    most", "it needs a field 'lock': LOCK_NONE=0"),
        ("    lock: int = 0\n    most: int = 4", "    most: int\n    lock: int = 0", "SyntaxError|default"),
        ("when: int = 1\n    lock: int = 0\n    most: int = 4", "when: int\n    lock: int = 0", "'when' needs a def"),
        ("when: int = 1", "when: int = 5", "when=5: one of NEVER=0"),
        ("most: int = 4", "most: float = 0.5", "field 'most' is of type float; fields are whole numbers"),
        ("most: int = 4", "most: list = []", "field 'most' is of type list"),
        ("def unpin(", "def unpinn(", "line 27: TypeError: unpinn is not an operation of a tracker"),
        ("def unpin(tracker, world, page, handle)", "def unpin(tracker, world, page)",
         "line 27: TypeError: unpin(tracker, world, page) has to be unpin(tracker, world, page, handle)"),
        ("def pin(tracker, world, page)", "def pin(t, world, page)", "pin(t, world, page) has to be"),
        ("@implements(Mine)\ndef unpin", "def unpin", "unpin needs @implements(Mine) above it"),
        ("@implements(Mine)\ndef unpin", "def put", "unpin(tracker, world, page, handle) is missing, which when="),
        ("@implements(Mine)\ndef is_pinned", "@implements(Other)\ndef is_pinned", "needs @implements(Mine)"),
        ("    return page_of(world, page)[", "    page_of(world, page)[", "line 32: is_pinned has to return something"),
        ("@implements(Mine)\ndef pin", "from workbench.trackers.bias import Bias\n\n@implements(Bias)\ndef pin",
         "TypeError: Bias is a tracker of the package"),
    ],
)  # fmt: skip
def test_broken_files(mine, old, new, says):
    assert old in WHOLE
    mine.write_text(WHOLE.replace(old, new, 1))
    assert re.search(says if "|" in says else re.escape(says), told("tracker=mine.py:Mine"))


def test_a_folder_is_no_file(mine):
    Path("folder_mine.py").mkdir()
    assert "folder_mine.py: Is a directory" in told("tracker=folder_mine.py:Mine")


def test_a_tracker_that_is_only_imported(mine):
    mine.write_text("from workbench.trackers.bias import Bias\n")
    assert "Bias is imported there, not defined; it has no NamedTuple at all" in told("tracker=mine.py:Bias")


def test_a_bias_is_the_scenarios(mine):
    mine.write_text(WHOLE.replace("most: int = 4", "bias: int = 4"))
    assert "bias is a parameter of the scenario: --set bias=" in told("tracker=mine.py:Mine:bias=2")


FAILS = "    return 1 // (tracker.most - 4) > 0\n"


def broken_when_run(mine, body):
    mine.write_text(WHOLE.partition("    return")[0] + body)


@plain_only
@pytest.mark.parametrize("command", ["simulate", "explore"])
def test_one_that_raises(mine, capsys, command):
    broken_when_run(mine, FAILS)
    out = Path("rows.parquet")
    more = ["--out", str(out)] if command == "simulate" else []
    assert main([command, "golden-race", "--design", "tracker=mine.py:Mine,cleaning=skip", *more]) == 2
    said = capsys.readouterr()
    assert said.out == "" and not out.exists()
    assert said.err.startswith("workbench: tracker Mine in mine.py, line 34: is_pinned raises ZeroDivisionError")
    assert said.err.count("\n") == 1


@pytest.mark.jit_only
def test_one_that_does_not_compile(mine, capsys):
    broken_when_run(mine, "    return page_of(world, page)['pin_count'] > 0\n")
    assert main(["simulate", "golden-race", "--design", "tracker=mine.py:Mine,cleaning=skip", "--out", "new"]) == 2
    said = capsys.readouterr()
    begins = "workbench: tracker Mine in mine.py, line 34: is_pinned can't be compiled: Field 'pin_count' was not found"
    assert said.err.startswith(begins) and said.err.count("\n") == 1
    assert said.out == "" and not Path("new").exists()


@pytest.mark.jit_only
@pytest.mark.parametrize(
    "body,says",
    [
        ("nowhere(page)", "line 32: is_pinned can't be compiled: NameError: name 'nowhere' is not defined"),
        ("world.pagez[page] > 0", "line 34: is_pinned can't be compiled: Unknown attribute 'pagez' of type World"),
        ("page_of(world) > 0", "line 34: is_pinned can't be compiled: Cannot bind 'args=(World,) kws={}' to signature"),
        ("None + page > 0", "line 34: is_pinned can't be compiled: No implementation of function Function(<built-in"),
        ("open('x')", "line 34: is_pinned can't be compiled: Untyped global name 'open': Cannot determine Numba type"),
    ],
)
def test_the_reason_is_numbas_first_sentence(mine, body, says):
    """Each function is compiled by itself, which is quick, to find the one that can't be."""
    broken_when_run(mine, f"    return {body}\n")
    small = small_world("golden-race", "tracker=mine.py:Mine,cleaning=skip", {})
    file = user_tracker._files[type(small.tracker).__module__]
    told = user_tracker._why_not_compiled(file, small.tracker, small.world, NumbaError("the whole"))
    assert told.startswith(f"tracker Mine in mine.py, {says}") and len(told) < 300


@pytest.mark.jit_only
def test_one_that_raises_when_compiled(mine):
    broken_when_run(mine, FAILS)
    with pytest.raises(UsageError, match=r"tracker Mine in mine\.py.*: ZeroDivisionError: integer division by zero"):
        simulate("golden-race", "tracker=mine.py:Mine,cleaning=skip")


# ---- a right one


def test_fields_are_set_by_name(mine):
    design = designs.parse("tracker=mine.py:Mine:most=7:when=2,cleaning=skip")
    assert (design.tracker.most, design.tracker.when, design.tracker_name) == (7, 2, "mine.py:Mine:most=7:when=2")


def test_the_same_text_is_compiled_once_and_another_text_is_another_class(mine):
    def kind():
        return type(designs.parse("tracker=mine.py:Mine").tracker)

    first = kind()
    assert kind() is first
    mine.write_text(WHOLE.replace("> 0", "> 1"))
    assert kind() is not first
    mine.write_text(WHOLE)
    assert kind() is first


@plain_only
def test_an_edited_file_is_seen(mine):
    design = "tracker=mine.py:Mine,cleaning=skip"
    before = simulate("golden-race", design)
    mine.write_text(WHOLE.replace("> 0", "> 1"))
    after = simulate("golden-race", design)
    assert (before.counters["SKIPPED"], after.counters["SKIPPED"]) == (1, 0)
    assert (before.counters["MISSED_PIN"], after.counters["MISSED_PIN"]) == (0, 2)
    assert before.provenance["tracker_sha256"] != after.provenance["tracker_sha256"]
    assert "tracker_sha256" not in simulate("golden-race", "tracker=pincount,cleaning=skip").provenance


def test_a_copy_of_a_tracker_of_the_package_is_as_good(mine):
    shutil.copy(PACKAGE / "trackers" / "bias.py", "bias.py")
    theirs, own = "tracker=bias,cleaning=skip/wait", "tracker=bias.py:Bias,cleaning=skip/wait"
    one, other = (simulate("golden-race", design) for design in (theirs, own))
    assert one.counters == other.counters
    assert {k: v for k, v in one.metrics.items() if v == v} == {k: v for k, v in other.metrics.items() if v == v}
    one, other = (
        explore("golden-race", design, reduce=True, conditional=False, flusher_rounds=1).to_json()
        for design in (theirs, own)
    )
    told_apart = ("design", "seconds", "provenance")
    assert {k: v for k, v in one.items() if k not in told_apart} == {
        k: v for k, v in other.items() if k not in told_apart
    }


@plain_only
def test_every_command_takes_one(mine, capsys):
    mine.write_text(WHOLE.replace("> 0", "> 1"))
    design = "tracker=mine.py:Mine,cleaning=skip"
    assert main(["simulate", "golden-race", "--design", design, "--out", "rows.parquet"]) == 0
    row = pq.read_table("rows.parquet").to_pylist()[0]
    assert (row["tracker"], len(row["tracker_sha256"])) == ("mine.py:Mine", 64)
    capsys.readouterr()
    small = ["--set", "kswapd_rounds=0", "--reduce", "--no-conditional"]
    assert main(["explore", "golden-race", "--design", design, *small, "--json"]) == 0
    Path("found.json").write_text(capsys.readouterr().out)
    assert main(["simulate", "--schedule", "found.json", "--hazard", "missed-pin", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["design"] == design and told["hazards"]["missed-pin"] == 1
    assert told["provenance"]["tracker_sha256"] == row["tracker_sha256"]


@plain_only
def test_walks_take_one_too(mine):
    found = random_walks("golden-race", "tracker=mine.py:Mine,cleaning=skip", walks=3)
    assert found.provenance["tracker_sha256"]


def test_which_files_depend_on_nothing_else():
    import ast

    def same(text):
        return user_tracker._means_the_same(ast.parse(text))

    assert same(WHOLE) and same("from workbench.mm import registers as R\nimport math")
    assert not same("import helper") and not same("from . import helper") and not same("N = int(open('n').read())")


# ---- what is kept on disk

RUN = """
import sys
from workbench import simulate
print(simulate("golden-race", sys.argv[1]).counters["SKIPPED"])
"""


WITH_JIT = """

from workbench.accelerate import jit


@jit
def pins(world, page):
    return page_of(world, page)["_pincount"]
"""


def run(cache, design):
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-W", "error", "-c", RUN, design]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.jit_only
def test_engines_of_own_trackers_are_kept_apart(mine):
    """Nothing that another tracker looks at is written; the same file is not compiled again, an edited one is."""
    text = WHOLE.replace('return page_of(world, page)["_pincount"]', "return pins(world, page)") + WITH_JIT
    mine.write_text(text)
    shared = os.environ.get("NUMBA_CACHE_DIR") or Path.home() / ".cache"
    cache, folder = Path("cache"), Path("gup-pin-workbench") / workbench.code_cache.source_hash()
    shutil.copytree(Path(shared) / folder, cache / folder)  # so that what others have compiled is there
    theirs = run(cache, "tracker=pincount,cleaning=skip")
    kept = cache / folder

    def written(own):
        files = (p for p in kept.rglob("*") if p.is_file() and (kept / "own" in p.parents) == own)
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}

    before, aside = written(False), written(True)
    design = "tracker=mine.py:Mine,cleaning=skip"
    assert run(cache, design) == theirs == 1
    assert written(False) == before
    first = {p: v for p, v in written(True).items() if p not in aside}
    assert first
    assert run(cache, design) == 1
    assert {p: v for p, v in written(True).items() if p not in aside} == first
    mine.write_text(text.replace("> 0", "> 1"))
    assert run(cache, design) == 0
    mine.unlink()
    assert run(cache, "tracker=pincount,cleaning=skip") == 1
