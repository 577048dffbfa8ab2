"""Notebooks through papermill: checked before a kernel starts, a process each, nothing half-written.

papermill changes the working directory of its whole process (its issues #239, #473), takes unknown names and
wrong types for parameters (#818, #869), overwrites a good output with a failed one, and waits for ever for a
kernel that hangs (#125, #711). Hence the checks, processes, renames and time limits here.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep
from types import MappingProxyType
from typing import NamedTuple, TextIO

import psutil
from tqdm import tqdm

from workbench.errors import UsageError, nearest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
TIME_LIMIT_S = 1800.0
POLL_S = 0.1

# papermill's own bar, at every cell, goes to the log, where `_Run.cell` finds the last "done/all".
# Its standard input ends when the process that started it does, even by SIGKILL; the kernel then follows its parent.
_CHILD = """
import json, os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
import papermill
bar = {"bar_format": "{n_fmt}/{total_fmt}", "mininterval": 0, "miniters": 1}
papermill.execute_notebook(**json.loads(sys.argv[1]), progress_bar=bar)
"""


class Parameter(NamedTuple):
    """What a notebook says of one of its parameters."""

    default: object
    type: str
    """``bool``, ``int``, ``float``, ``str``, or ``list[...]`` of one of these."""
    help: str
    """The comment behind the assignment: meaning, and unit."""


class Outcome(NamedTuple):
    """How the run of a notebook ended."""

    name: str
    path: Path
    """The executed notebook; after a failure, as far as it got."""
    seconds: float
    error: str
    """One line; empty after a success."""


class NotebookError(RuntimeError):
    """A notebook did not run to its end. The message is one line: notebook, cell, error, path."""


def notebook_names() -> list[str]:
    """Names of the notebooks of this checkout, in their order.

    Returns
    -------
    list of str
        Such as ``01_golden_race``.
    """
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def find_notebook(name: str | Path) -> Path:
    """Find a notebook by its name in ``notebooks/``, or by its path.

    Raises
    ------
    UsageError
        There is none; the message names the nearest.
    """
    path = NOTEBOOKS / f"{name}.ipynb"
    if str(name) in notebook_names():
        return path
    path = Path(name)
    with suppress(OSError):  # a name that is too long, say
        if path.suffix == ".ipynb" and path.is_file():
            return path.resolve()
    raise UsageError(f"there is no notebook {str(name)!r}: {nearest(str(name), notebook_names())}")


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Read the cell that is tagged ``parameters``, without running it.

    Parameters
    ----------
    notebook : Path
        An ``.ipynb`` file. Each parameter is an assignment of a literal; its type is the annotation, or else
        that of the default; its help is the comment behind it.

    Raises
    ------
    UsageError
        The file is no notebook, or a parameter is not written so.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        source = "".join("".join(cell["source"]) + "\n" for cell in tagged)
    except OSError as error:
        raise UsageError(f"{notebook}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UsageError(f"{notebook}: not a notebook (JSON with cells was expected)") from None
    try:
        return dict(_assignments(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the latter two: nested too deeply
        raise UsageError(f"{notebook}: cell tagged 'parameters': {error}") from None


def _assignments(source: str) -> Iterable[tuple[str, Parameter]]:
    lines = source.encode().splitlines()  # ast counts columns in bytes
    for node in ast.parse(source).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
                kind = ast.unparse(annotation)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                kind = ""
            case _:
                continue
        try:
            default = ast.literal_eval(value)
        except ValueError:
            raise ValueError(f"the default of {name!r} must be a literal, not {ast.unparse(value)}") from None
        kind = kind or _kind_of(default)
        if not re.fullmatch(r"(bool|int|float|str)|list\[(bool|int|float|str)\]", kind):
            raise ValueError(f"{name!r} is {kind}; bool, int, float, str, or list[...] of these is needed")
        comment = lines[(node.end_lineno or 1) - 1][node.end_col_offset :].decode()
        yield name, Parameter(default, kind, comment.strip(" #"))


def _kind_of(value: object) -> str:
    if isinstance(value, list) and value:
        return f"list[{_kind_of(value[0])}]"
    return type(value).__name__


def fits(value: object, kind: str) -> bool:
    """Whether a value is of a type as `read_parameters` writes it; a whole number is a ``float`` too."""
    if kind.startswith("list["):
        return isinstance(value, list | tuple) and all(fits(v, kind[5:-1]) for v in value)
    accepted = {"bool": bool, "int": int, "float": int | float, "str": str}[kind]
    return isinstance(value, accepted) and (kind == "bool" or not isinstance(value, bool))


def check_parameters(notebook: Path, given: Mapping[str, object]) -> None:
    """Check names and types of parameters, before a kernel starts.

    Raises
    ------
    UsageError
        A name that the notebook doesn't have (the message names the nearest), or a value of another type.
    """
    known = read_parameters(notebook)
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"{notebook.stem} has no parameter {name!r}: {nearest(name, known)}")
        if not fits(value, known[name].type):
            got = f"{value!r} ({type(value).__name__})"
            raise UsageError(f"{notebook.stem}: parameter {name!r} takes {known[name].type}, got {got}")


def parse_parameters(notebook: Path, pairs: Iterable[str]) -> dict[str, object]:
    """Turn the ``name=value`` of a command line into parameters of the right types.

    Raises
    ------
    UsageError
        A pair without ``=``, an unknown name, or a value of another type.
    """
    known = read_parameters(notebook)
    given: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"-p {pair}: name=value is needed")
        given[name] = text
        if name in known and known[name].type != "str":
            try:
                given[name] = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
            except (ValueError, SyntaxError):
                pass  # stays text, which is the wrong type
    check_parameters(notebook, given)
    return given


class _Run:
    """A notebook under execution. Leaving the context ends what still runs and removes what is unfinished."""

    def __init__(
        self,
        notebook: Path,
        parameters: Mapping[str, object],
        folder: Path,
        timeout_s: float,
        env: Mapping[str, str] = MappingProxyType({}),
    ):
        self.name = notebook.stem
        self.good = folder / notebook.name
        self.failed = folder / f"{notebook.stem}.failed.ipynb"
        self.timeout_s = timeout_s
        self.start = monotonic()
        self.scratch = _scratch_in(folder)
        self.output = Path(self.scratch.name) / notebook.name
        self.log = Path(self.scratch.name) / "log"
        job = {
            "input_path": str(notebook),
            "output_path": str(self.output),
            "parameters": dict(parameters),
            "kernel_name": "python3",
            "language": "python",
            "cwd": str(notebook.parent),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, json.dumps(job)],
                env=_environment(self.scratch.name) | dict(env),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> "_Run":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            _kill_tree(self.process)
        if self.process.stdin:
            self.process.stdin.close()
        self.scratch.cleanup()

    def cell(self) -> str:
        """Cells done and all cells, such as ``3/14``; empty before the first."""
        counts = re.findall(rb"\r(\d+/\d+)", self.log.read_bytes())
        return counts[-1].decode() if counts else ""

    def poll(self) -> Outcome | None:
        """See whether the run has ended, or has to end because its time is over."""
        seconds = monotonic() - self.start
        if self.process.poll() is not None:
            error = self._reason() if self.process.returncode else ""
        elif seconds > self.timeout_s:
            _kill_tree(self.process)
            error = f"time limit of {self.timeout_s:g} s reached after {self.cell() or 'no'} cells"
        else:
            return None
        if not error:
            os.replace(self.output, self.good)
            self.failed.unlink(missing_ok=True)
            return Outcome(self.name, self.good, seconds, "")
        if self.output.exists():
            os.replace(self.output, self.failed)
            error += f" (as far as it got: {self.failed})"
        return Outcome(self.name, self.failed, seconds, f"{self.name}: {error}")

    def _reason(self) -> str:
        """Say in one line why papermill failed: the error of the cell, or else the last words of its log."""
        try:
            cells = json.loads(self.output.read_text(encoding="utf-8"))["cells"]
        except (OSError, ValueError):
            cells = []
        for cell in cells:
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    text = " ".join(f"{output['ename']}: {output['evalue']}".split())
                    return f"In [{cell['execution_count']}]: {text[:300]}"
        words = self.log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(words) if line.strip()), "ended without a word")


def _scratch_in(folder: Path) -> tempfile.TemporaryDirectory:
    """Make a folder for what is unfinished, on the file system that the finished is to be renamed on."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".running-", dir=folder)
    except OSError as error:
        raise UsageError(f"{folder}: can't be written to ({error.strerror}); name another output folder") from None


def _environment(scratch: str) -> dict[str, str]:
    """Environment of papermill: this interpreter as kernel, whatever kernels the user has; this package."""
    spec = Path(scratch) / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))

    def before(name: str, value: str) -> str:
        return os.pathsep.join(filter(None, [value, os.environ.get(name)]))

    return os.environ | {
        "JUPYTER_PATH": before("JUPYTER_PATH", scratch),
        "PYTHONPATH": before("PYTHONPATH", str(ROOT)),
    }


def _kill_tree(process: subprocess.Popen) -> None:
    """End a process and its descendants: a kernel leads a session of its own, a group's signal misses it."""
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    process.kill()
    for descendant in descendants:
        try:
            descendant.kill()
        except psutil.NoSuchProcess:
            pass
    process.wait()
    psutil.wait_procs(descendants, timeout=5)


def run_notebook(
    name: str | Path,
    parameters: Mapping[str, object],
    out_dir: Path,
    timeout_s: float = TIME_LIMIT_S,
) -> Path:
    """Run one notebook, in its own folder as working directory.

    Parameters
    ----------
    name : str or Path
        A name of :func:`notebook_names`, or the path of an ``.ipynb`` file.
    parameters : mapping
        Values for names of :func:`read_parameters`. ``figures_dir`` is `out_dir` unless given.
    out_dir : Path
        Folder for figures. The executed notebook goes to its ``notebooks/``, and replaces an earlier one only
        after a success; a failed one is kept beside as ``NAME.failed.ipynb``.
    timeout_s : float
        Seconds after which the run is ended and counts as failed.

    Returns
    -------
    Path
        The executed notebook.

    Raises
    ------
    UsageError
        Unknown notebook or parameter, wrong type, a folder that can't be written to; no kernel has started.
    NotebookError
        A cell failed, the kernel died, or the time was over.
    """
    notebook, checked = _prepare(name, parameters, out_dir)
    outcome = attempt(notebook, checked, out_dir / "notebooks", timeout_s)
    if outcome.error:
        raise NotebookError(outcome.error)
    return outcome.path


def attempt(
    notebook: Path,
    checked: Mapping[str, object],
    folder: Path,
    timeout_s: float,
    go_on: Callable[[], object] = lambda: None,
    env: Mapping[str, str] = MappingProxyType({}),
) -> Outcome:
    """Run a notebook with parameters that have been checked; how it ended is no exception.

    Parameters
    ----------
    notebook : Path
    checked : mapping
    folder : Path
        For the executed notebook.
    timeout_s : float
    go_on : callable, optional
        Called every `POLL_S` seconds; what it raises ends the run.
    env : mapping, optional
        Variables of its environment that differ from those of this process.

    Returns
    -------
    Outcome
    """
    with _Run(notebook, checked, folder, timeout_s, env) as run:
        while (outcome := run.poll()) is None:
            go_on()
            sleep(POLL_S)
    return outcome


def _prepare(name: str | Path, parameters: Mapping[str, object], out_dir: Path) -> tuple[Path, dict[str, object]]:
    notebook = find_notebook(name)
    given = dict(parameters)
    if "figures_dir" in read_parameters(notebook):
        given.setdefault("figures_dir", str(out_dir.resolve()))
    check_parameters(notebook, given)
    return notebook, given


def run_all(
    quick: bool,
    jobs: int,
    out_dir: Path,
    *,
    warm: Callable[[], object],
    names: Iterable[str | Path] | None = None,
    timeout_s: float = TIME_LIMIT_S,
    stream: TextIO | None = None,
) -> list[Outcome]:
    """Run notebooks, with progress on the terminal; a failed one doesn't keep the others from running.

    Parameters
    ----------
    quick : bool
        The notebooks' parameter of that name.
    jobs : int
        Notebooks that run at the same time.
    out_dir : Path
        As in :func:`run_notebook`.
    warm : callable
        Fills numba's cache, since a cold one races between processes (numba #4807, #10128). Called once
        before the first notebook where several are to run at the same time.
    names : iterable, optional
        Which notebooks; all of them by default.
    timeout_s : float
        Time limit in seconds, for each notebook.
    stream : file, optional
        Where progress goes: standard output. A bar on a terminal, else a line when one starts or ends.

    Returns
    -------
    list of Outcome
        In the order in which they ended.

    Raises
    ------
    UsageError
        As in :func:`run_notebook`, for any of the notebooks, before the first one starts.
    """
    if jobs < 1:
        raise UsageError(f"jobs={jobs}: 1 or more processes are needed")
    waiting = [_prepare(name, {"quick": quick}, out_dir) for name in (names or notebook_names())]
    folder = out_dir / "notebooks"
    _scratch_in(folder).cleanup()
    if min(jobs, len(waiting)) > 1:
        warm()
    running: list[_Run] = []
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        progress = stack.enter_context(_Progress(len(waiting), stream or sys.stdout))
        while waiting or running:
            while waiting and len(running) < jobs:
                run = stack.enter_context(_Run(*waiting.pop(0), folder, timeout_s))
                running.append(run)
                progress.started(run)
            sleep(POLL_S)
            for run in list(running):
                if outcome := run.poll():
                    running.remove(run)
                    outcomes.append(outcome)
                    progress.ended(outcome)
            progress.show(running)
    progress.summary(outcomes, folder)
    return outcomes


class _Progress:
    """One bar for all notebooks where the stream is a terminal, plain lines elsewhere."""

    def __init__(self, total: int, stream: TextIO):
        self.stream = stream
        self.start = monotonic()
        self.bar = tqdm(total=total, unit="notebook", file=stream, disable=not stream.isatty())

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, running: list[_Run]) -> None:
        if not self.bar.disable:
            self.bar.set_postfix_str(", ".join(f"{run.name} {run.cell()}".strip() for run in running))

    def started(self, run: _Run) -> None:
        if self.bar.disable:
            self._line(f"{run.name}: started")

    def ended(self, outcome: Outcome) -> None:
        self._line(outcome.error or f"{outcome.name}: done in {outcome.seconds:.0f} s")
        self.bar.update()

    def summary(self, outcomes: list[Outcome], folder: Path) -> None:
        done = sum(not outcome.error for outcome in outcomes)
        seconds = monotonic() - self.start
        failed = f", {len(outcomes) - done} failed" if done < len(outcomes) else ""
        self._line(f"{done} of {len(outcomes)} notebooks done{failed}, in {seconds:.0f} s: {folder}")

    def _line(self, text: str) -> None:
        self.bar.clear()
        print(text, file=self.stream, flush=True)
        self.bar.refresh()
