"""What runs on Dask: a handful of points, simulated in a process beside, or notebooks through papermill.

Each thread of a worker has a process of its own, so that a point that hangs, or takes all memory, is ended by itself:
neither the worker nor what it has done before goes with it.
"""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path
from shutil import rmtree
from time import monotonic
from typing import Any

import psutil

from workbench import batch, costs
from workbench.code_cache import source_hash
from workbench.errors import UsageError
from workbench.sweep.child import BEGUN
from workbench.sweep.job import Answer, Job

SLICE_S = 1.0
"""A worker gives back what it has not begun after so long."""
PREPARE_S = 900.0
"""Time for starting a process, and for compiling."""
_SCRATCH = "workbench-sweep-"
_POLL_S = 0.2


class Stopped(RuntimeError):
    """The batch is to end."""


class _Died(RuntimeError):
    """The process that simulates is no more; the message says how it ended."""


_stopping = threading.Event()
_processes: set["_Process"] = set()
_spare: deque["_Process"] = deque()  # started, and nobody's yet
_of_thread = threading.local()


def run(handful: bytes, limit_s: float, sources: str) -> tuple[list[Answer], list[Job]]:
    """Run points one after another, for about `SLICE_S` seconds.

    Parameters
    ----------
    handful : bytes
        List of `Job`, pickled: Dask would look into each for tasks.
    limit_s : float
        Time limit of each.
    sources : str
        Hash of the package's sources that the batch was made with.

    Returns
    -------
    answers : list of Answer
    left : list of Job
        Not begun.

    Raises
    ------
    UsageError
        This worker runs other sources.
    """
    if sources != source_hash():
        raise UsageError(f"worker on {os.uname().nodename}: its sources of the package are others; start it from here")
    jobs: list[Job] = pickle.loads(handful)
    start = monotonic()
    answers: list[Answer] = []
    for n, job in enumerate(jobs):
        if n and monotonic() - start > SLICE_S:
            return answers, jobs[n:]
        try:
            answers.append(_report(job, limit_s) if job.notebook else _simulated(job, limit_s))
        except Stopped:
            _let_go()
            raise
    return answers, []


@contextmanager
def in_this_process(processes: int) -> Iterator[None]:
    """Let workers run in threads of this process; leaving ends whatever they have started.

    Parameters
    ----------
    processes : int
        So many are started at once: that takes as long as the start of the cluster.
    """
    _stopping.clear()
    try:
        for _ in range(processes):
            _spare.append(_Process())
        yield
    finally:
        stop()
        for process in list(_processes):  # the workers are closed, and so are their threads
            process.end()


def stop() -> None:
    """End what threads of this process have started, and have them end."""
    _stopping.set()
    while _spare:
        _spare.popleft().end()
    for process in list(_processes):
        process.kill()  # its thread sees that, and closes what belongs to it


def _go_on() -> None:
    if _stopping.is_set():
        raise Stopped("the batch has ended")


# ---- simulations


class _Process:
    """A process that simulates (`child`)."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self.words = tempfile.TemporaryFile()
        path = os.pathsep.join(filter(None, [str(batch.ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench.sweep.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=self.words,
            stderr=subprocess.STDOUT,
        )
        theirs.close()
        _processes.add(self)

    def ask(self, job: Job, limit_s: float) -> Answer:
        """Have a job done.

        Raises
        ------
        TimeoutError, _Died, Stopped
            The process has been ended, or has to be.
        """
        try:
            self.connection.send(job)
            if self._wait(PREPARE_S) != BEGUN:
                raise _Died("spoke out of turn")
            answer: Answer = self._wait(limit_s)
            return answer._replace(job=job)
        except TimeoutError:
            raise
        except (EOFError, OSError):
            raise _Died(self._how_it_ended()) from None

    def _wait(self, limit_s: float) -> Any:
        end = monotonic() + limit_s
        while not self.connection.poll(_POLL_S):
            _go_on()
            if monotonic() > end:
                raise TimeoutError
        return self.connection.recv()

    def _how_it_ended(self) -> str:
        code = self.process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        self.words.seek(max(self.words.seek(0, os.SEEK_END) - 2000, 0))
        words = [line.strip() for line in self.words.read().decode(errors="replace").splitlines() if line.strip()]
        return how + (f": {words[-1][:300]}" if words else "")

    def idle_and_gone(self) -> bool:
        """Whether it has ended by itself, having had nothing to do."""
        return self.process.poll() == 0

    def kill(self) -> None:
        """End the process; any thread may."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it, and close the pipe; only the thread that owns it may."""
        self.kill()
        self.connection.close()
        self.words.close()
        _processes.discard(self)


def _simulated(job: Job, limit_s: float) -> Answer:
    start = monotonic()
    error = "the process that was to run it ended at once, again and again"
    for _ in range(3):
        process = _own_process()
        try:
            return process.ask(job, limit_s)
        except TimeoutError:
            error = f"time limit of {limit_s:g} s reached"
            break
        except _Died as how:
            if not process.idle_and_gone():
                error = f"the process that ran it {how}"
                break
    _let_go()
    return Answer(job, None, {}, error, "", True, monotonic() - start)


def _own_process() -> _Process:
    _go_on()
    process: _Process | None = getattr(_of_thread, "process", None)
    if process is None or process.process.poll() is not None:
        _let_go()
        try:
            process = _spare.popleft()
        except IndexError:
            process = _Process()
        _of_thread.process = process
    return process


def _let_go() -> None:
    process = getattr(_of_thread, "process", None)
    _of_thread.process = None
    if process is not None:
        process.end()


# ---- notebooks


def _report(job: Job, limit_s: float) -> Answer:
    notebook = Path(job.notebook)
    with _scratch() as scratch:
        given = dict(job.parameters)
        if "figures_dir" in batch.read_parameters(notebook):
            given["figures_dir"] = str(scratch / "figures")
            (scratch / "figures").mkdir()
        env = {costs.VARIABLE: _cost_file(job, scratch)}
        outcome = batch.attempt(notebook, given, scratch / "notebook", limit_s, _go_on, env)
        files = {path.relative_to(scratch / "figures").as_posix(): path.read_bytes() for path in _in(scratch)}
        book = json.loads(outcome.path.read_text(encoding="utf-8")) if outcome.path.exists() else None
        if book:
            files[notebook.name] = tidy(book, str(scratch / "figures"))
    error = re.sub(r" \(as far as it got: .*\)$", "", outcome.error)
    again = "time limit" in error or "DeadKernelError" in error
    return Answer(job, None, files, error, _traceback(book), bool(error) and again, outcome.seconds)


def _cost_file(job: Job, scratch: Path) -> str:
    """Write the job's cost table where its notebook finds it; without one, the worker's own is not to count."""
    if not job.cost_file:
        return ""
    path = scratch / "costs.json"
    path.write_bytes(job.cost_file)
    return str(path)


def _in(scratch: Path) -> list[Path]:
    return [path for path in (scratch / "figures").rglob("*") if path.is_file()]


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a folder for a notebook under way; those of processes that were killed go."""
    root = Path(tempfile.gettempdir())
    for path in root.glob(f"{_SCRATCH}*"):
        pid = path.name.removeprefix(_SCRATCH).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            rmtree(path, ignore_errors=True)
    folder = root / f"{_SCRATCH}{os.getpid()}-{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


def tidy(book: dict[str, Any], figures: str) -> bytes:
    """Take out of an executed notebook what differs from run to run: times, pieces, random names, figures' folder."""
    told = book["metadata"].pop("papermill", {})
    book["metadata"]["papermill"] = {"parameters": told.get("parameters", {})}
    for number, cell in enumerate(book["cells"]):
        for name in ("papermill", "execution"):
            cell["metadata"].pop(name, None)
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["id"] = f"parameters-{number}"
        if cell.get("outputs"):
            cell["outputs"] = _joined(cell["outputs"])
    text = json.dumps(book, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return text.replace(figures, ".").encode()


def _joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join what a cell has printed: into how many pieces it comes depends on the time that passes between them."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        before = joined[-1] if joined else {}
        if output["output_type"] == before.get("output_type") == "stream" and output["name"] == before["name"]:
            text = "".join([*before["text"], *output["text"]])
            joined[-1] = before | {"text": text.splitlines(keepends=True)}
        else:
            joined.append(output)
    return joined


def _traceback(book: dict[str, Any] | None) -> str:
    """Find the traceback of the cell that failed."""
    for cell in book["cells"] if book else ():
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
    return ""
