import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import psutil
import pytest

from workbench import batch
from workbench.errors import UsageError

PARAMETERS = """# %% tags=["parameters"]
quick: bool = False  # less of everything
figures_dir = "../figures"  # where figures are left
latency: float = 80  # µs "#" of the device
depths: list[int] = [1, 32]
"""
GOOD = """
# %%
import sys
from pathlib import Path
Path(figures_dir, "seen.txt").write_text(f"{quick} {latency} {depths} {sys.executable} {Path.cwd().name}")
"""
FAILING = """
# %%
x = 1

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


@pytest.fixture
def notebook(tmp_path):
    """Return a function that writes a small notebook and gives its path."""

    def write(name: str, cells: str, parameters: str = PARAMETERS) -> Path:
        path = tmp_path / "nb" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        book = jupytext.reads(parameters + cells, "py:percent")
        path.write_text(jupytext.writes(book, "ipynb"))
        return path

    return write


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "figures"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_parameters_are_read_without_running(notebook):
    assert batch.read_parameters(notebook("a", FAILING)) == {
        "quick": (False, "bool", "less of everything"),
        "figures_dir": ("../figures", "str", "where figures are left"),
        "latency": (80, "float", 'µs "#" of the device'),
        "depths": ([1, 32], "list[int]", ""),
    }


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("size = 4 * 1024", "must be a literal"),
        ("where: Path = 'x'", "'where' is Path"),
        ("nothing = []", "'nothing' is list"),
        ("%matplotlib inline", "parameters"),
        ("a = " + "-" * 100_000 + "1", "parameters"),
    ],
)
def test_badly_written_parameters(notebook, cell, says):
    path = notebook("a", "", '# %% tags=["parameters"]\n')
    book = json.loads(path.read_text())
    book["cells"][0]["source"] = cell
    path.write_text(json.dumps(book))
    with pytest.raises(UsageError, match=says):
        batch.read_parameters(path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"cells": [{}]}', "\0", '{"cells": [{"metadata": []}]}', "[" * 100_000),
        '{"cells": [{"metadata": {"tags": ["parameters"]}}]}',
    ],
)
def test_not_a_notebook(tmp_path, text):
    path = tmp_path / "x.ipynb"
    path.write_text(text)
    with pytest.raises(UsageError, match="not a notebook"):
        batch.read_parameters(path)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"latncy": 1}, "a has no parameter 'latncy': did you mean 'latency'"),
        ({"quick": 1}, r"'quick' takes bool, got 1 \(int\)"),
        ({"latency": "80"}, r"'latency' takes float, got '80' \(str\)"),
        ({"latency": True}, "'latency' takes float, got True"),
        ({"depths": 32}, r"'depths' takes list\[int\], got 32"),
        ({"depths": [1, 2.5]}, r"'depths' takes list\[int\]"),
    ],
)
def test_wrong_parameters_start_no_kernel(notebook, out, given, says):
    path = notebook("a", GOOD)
    with pytest.raises(UsageError, match=says) as caught:
        batch.run_notebook(path, given, out)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_right_parameters(notebook):
    batch.check_parameters(notebook("a", ""), {"latency": 3, "depths": (1, 2), "quick": True})


def test_parameters_of_a_command_line(notebook):
    path = notebook("a", "")
    pairs = ["quick=true", "latency=1e-7", "depths=[4, 8]", "figures_dir=a=b"]
    expected = {"quick": True, "latency": 1e-7, "depths": [4, 8], "figures_dir": "a=b"}
    assert batch.parse_parameters(path, pairs) == expected
    for pair, says in [("quick", "name=value"), ("quick=yes", "takes bool, got 'yes'"), ("x=1", "no param")]:
        with pytest.raises(UsageError, match=says):
            batch.parse_parameters(path, [pair])


def test_unknown_notebook(tmp_path):
    for name in ["no_such", tmp_path / "no_such.ipynb"]:
        with pytest.raises(UsageError, match="no notebook"):
            batch.find_notebook(name)


def test_success_in_this_interpreter_and_the_notebooks_folder(notebook, out, tmp_path, monkeypatch):
    """A kernel named python3 in the user's home must not be taken for ours."""
    foreign = tmp_path / "user" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "not this one", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "user"))
    path = batch.run_notebook(notebook("a", GOOD), {"quick": True, "latency": 1e-7}, out)
    assert path == out / "notebooks" / "a.ipynb"
    assert (out / "seen.txt").read_text() == f"True 1e-07 [1, 32] {sys.executable} nb"
    assert files(out) == ["notebooks/a.ipynb", "seen.txt"]


def test_failed_rerun_keeps_the_good_output(notebook, out):
    good = batch.run_notebook(notebook("a", GOOD), {}, out)
    before = good.read_bytes()
    with pytest.raises(batch.NotebookError) as caught:
        batch.run_notebook(notebook("a", FAILING), {}, out)
    failed = out / "notebooks" / "a.failed.ipynb"
    assert str(caught.value) == f"a: In [4]: ValueError: two lines (as far as it got: {failed})"
    assert good.read_bytes() == before
    assert "two" in failed.read_text()
    batch.run_notebook(notebook("a", GOOD), {}, out)
    assert files(out / "notebooks") == ["a.ipynb"]


def test_time_limit_ends_the_kernel_too(notebook, out, monkeypatch):
    """The clock jumps once the notebook hangs, however slow the machine is."""
    pid = out / "pid"
    monkeypatch.setattr(batch, "monotonic", lambda: 61.0 if pid.exists() and pid.read_text() else 0.0)
    with pytest.raises(batch.NotebookError, match=r"^a: time limit of 60 s reached after 2/3 cells"):
        batch.run_notebook(notebook("a", HANGING), {}, out, timeout_s=60)
    assert not psutil.pid_exists(int(pid.read_text()))
    assert files(out) == ["notebooks/a.failed.ipynb", "pid"]


def test_a_dead_kernel_is_a_failure(notebook, out):
    with pytest.raises(batch.NotebookError, match=r"^a: .*DeadKernelError"):
        batch.run_notebook(notebook("a", "# %%\nimport os\nos._exit(7)\n"), {}, out)


def test_unwritable_output_folder(notebook, tmp_path):
    (tmp_path / "file").write_text("")
    for run in [
        lambda: batch.run_notebook(notebook("a", GOOD), {}, tmp_path / "file"),
        lambda: batch.run_all(True, 1, tmp_path / "file", warm=list, names=[notebook("a", GOOD)]),
    ]:
        with pytest.raises(UsageError, match=r"can't be written to \(Not a directory\)"):
            run()


def test_all_go_on_after_a_failure(notebook, out):
    """Two at a time, after one warm-up; a failed one is counted, and the others run."""
    names = [notebook("bad", FAILING), notebook("good", GOOD), notebook("better", GOOD)]
    warmed = []
    stream = io.StringIO()
    outcomes = batch.run_all(True, 2, out, warm=lambda: warmed.append(files(out)), names=names, stream=stream)
    assert warmed == [[]]
    assert {o.name: bool(o.error) for o in outcomes} == {"bad": True, "good": False, "better": False}
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["bad: started", "good: started"]
    assert len(lines) == 7
    assert lines[-1].startswith("2 of 3 notebooks done, 1 failed, in ")
    assert (out / "seen.txt").read_text().startswith("True ")


def test_a_bar_on_a_terminal(notebook, out):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    batch.run_all(False, 1, out, warm=pytest.fail, names=[notebook("a", GOOD)], stream=stream)
    assert "0/1" in stream.getvalue() and "1/1" in stream.getvalue()
    assert "a 0/3" in stream.getvalue()


def test_all_are_checked_before_the_first_starts(notebook, out):
    names = [notebook("a", GOOD), notebook("b", "", '# %% tags=["parameters"]\nfigures_dir = ""\n')]
    with pytest.raises(UsageError, match="b has no parameter 'quick'"):
        batch.run_all(True, 1, out, warm=list, names=names)
    with pytest.raises(UsageError, match="jobs=0"):
        batch.run_all(True, 0, out, warm=list, names=names)
    assert not out.exists()


def test_interruption_leaves_no_process_and_no_scratch(notebook, out):
    code = "import signal, sys; from pathlib import Path; from workbench import batch\n"
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
    code += "batch.run_all(True, 1, Path(sys.argv[2]), warm=list, names=[sys.argv[1]])"
    env = os.environ | {"PYTHONPATH": str(batch.ROOT)}
    command = [sys.executable, "-c", code, str(notebook("a", HANGING)), str(out)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(400):
            if (out / "pid").exists() and (out / "pid").read_text():
                break
            time.sleep(0.05)
        process.send_signal(2)
        process.wait(timeout=60)
        assert not psutil.pid_exists(int((out / "pid").read_text()))
        assert files(out) == ["pid"]
    finally:
        process.kill()
        process.wait()
