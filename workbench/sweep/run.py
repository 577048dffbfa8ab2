"""A batch on Dask: points go out in handfuls, answers go into the store as they come."""

import json
import logging
import math
import os
import pickle
import re
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, TextIO

from workbench import provenance, results
from workbench.accelerate import JIT_ENABLED
from workbench.code_cache import source_hash
from workbench.errors import BatchError, UsageError
from workbench.sweep import spec, worker
from workbench.sweep.job import Answer, Job, make
from workbench.sweep.progress import Progress
from workbench.sweep.spec import Batch
from workbench.sweep.store import Store

HANDFUL_S = 0.5
"""Work that is sent at once: long against sending it, short against the batch."""
MOST_AT_ONCE = 200
_UNUSED = {"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s"}  # takes time
AHEAD = 2  # handfuls for each thread of a worker: one under way, one waiting
CONNECT_S = 10
_ADDRESS = re.compile(r"(?:(?:tcp|tls|ws|wss)://)?(?:[^\s/:]+|\[[^\s/]+\]):([0-9]{1,5})/?")
NO_WORKER_S = 60.0
"""So long a batch waits for the first worker, or for another when all are gone."""


class Summary(NamedTuple):
    """What became of a batch.

    Attributes
    ----------
    name : str
    store : Path
    points : int
    before : int
        Done by an earlier batch.
    done : int
        All that are in the store now.
    failed : int
    seconds : float
    failures : list of dict
        ``point``, ``error``, ``attempts``, ``folder``.
    """

    name: str
    store: Path
    points: int
    before: int
    done: int
    failed: int
    seconds: float
    failures: list[dict[str, Any]]


def sweep(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    out: str | os.PathLike[str] | None = None,
    allow: Iterable[str | os.PathLike[str]] = (),
    cost_file: str | os.PathLike[str] | None = None,
    stream: TextIO | None = None,
) -> Summary:
    """Run what is not yet in the store of a batch.

    Parameters
    ----------
    source : path or mapping
        The spec, as `spec.read` takes it.
    jobs : int, optional
        Processes on this machine; as many as there are CPUs by default.
    scheduler : str, optional
        Address of a running Dask scheduler, such as ``tcp://10.0.0.5:8786``: its workers are used instead. They need
        this package, of the same sources, and the files that the spec names.
    out : path, optional
        Folder of the store; ``results/NAME`` by default.
    allow : iterable of path
        Files that may be run as code: trackers of one's own, and notebooks that are not the package's.
    cost_file : path, optional
        Of a cost table; that of `costs.in_use` by default. Workers need not have it.
    stream : file, optional
        Where progress goes: standard error.

    Returns
    -------
    Summary

    Raises
    ------
    UsageError
        Something in the spec is wrong, the store can't be used, or the scheduler can't be reached: nothing has run.
    BatchError
        The store can't be written to any more, or the scheduler or all its workers are gone. What is done is kept.
    """
    if jobs is not None and (jobs < 1 or scheduler):
        raise UsageError(f"jobs={jobs}: " + ("a scheduler has workers of its own" if scheduler else "1 or more"))
    batch = spec.read(source, allow=allow, cost_file=cost_file)
    start = monotonic()
    with ExitStack() as stack:
        client = stack.enter_context(_connected(scheduler)) if scheduler else None
        store = stack.enter_context(Store(out or Path("results") / batch.name))
        done = {p.key for p in batch.points if p.key in store.done and (not p.notebook or store.has_report(p.key))}
        store.keep_batch(batch.name, _told(batch))
        todo = [make(point, batch) for point in batch.points if point.key not in done]
        if todo and client is None:
            client = stack.enter_context(_local(min(jobs or os.cpu_count() or 1, len(todo)), bool(batch.notebook)))
        progress = stack.enter_context(Progress(len(batch.points), len(done), stream or sys.stderr))
        failures = _Run(batch, store, progress, todo).all(client) if todo else []
    return Summary(
        name=batch.name,
        store=store.folder,
        points=len(batch.points),
        before=len(done),
        done=len(batch.points) - len(failures),
        failed=len(failures),
        seconds=monotonic() - start,
        failures=failures,
    )


def _told(batch: Batch) -> dict[str, Any]:
    first = batch.points[0]
    named = {"notebook": first.notebook} if first.notebook else {"scenario": first.scenario}
    return {"name": batch.name, **named, "points": [point.key for point in batch.points]}


class _Run:
    """A batch under way."""

    def __init__(self, batch: Batch, store: Store, progress: Progress, todo: list[Job]):
        self.batch, self.store, self.progress = batch, store, progress
        self.waiting = deque(todo)
        self.alone: deque[Job] = deque()  # of handfuls whose worker has died: which of them was it?
        self.flying: dict[Any, list[Job]] = {}
        self.failures: list[dict[str, Any]] = []
        self.commit = provenance.git_commit()
        self.seconds = self.answered = 0.0
        self.threads = 0
        self.looked = self.seen_worker = -math.inf

    def all(self, client: Any) -> list[dict[str, Any]]:
        """Run to the end; gives the failures."""
        from distributed.comm import CommClosedError
        from distributed.utils import CancelledError

        try:
            with client.as_current():
                while self.waiting or self.alone or self.flying:
                    self._look_for_workers(client)
                    self._send(client)
                    self._collect()
                    self.progress.show()
        except (CancelledError, CommClosedError):  # as all futures are when the scheduler goes; or while one is fetched
            raise _lost(client) from None
        return self.failures

    # ---- out

    def _look_for_workers(self, client: Any) -> None:
        now = monotonic()
        if now - self.looked < 1 and self.threads:
            return
        if self.looked == -math.inf:
            self.seen_worker = now
        self.looked = now
        try:
            self.threads = sum(client.nthreads().values())
        except (OSError, RuntimeError, ValueError):
            raise _lost(client) from None
        if self.threads:
            self.seen_worker = now
        elif now - self.seen_worker > NO_WORKER_S:
            raise BatchError(f"scheduler {_address(client)}: no worker for {NO_WORKER_S:g} s; what is done is kept")

    def _send(self, client: Any) -> None:
        while (self.waiting or self.alone) and len(self.flying) < self._room():
            jobs = self._handful()
            future = client.submit(worker.run, pickle.dumps(jobs), self.batch.time_limit_s, source_hash(), pure=False)
            self.flying[future] = jobs

    def _room(self) -> int:
        """How many handfuls may be out; the first notebook goes alone, since it compiles what all of them need."""
        if self.batch.notebook and JIT_ENABLED and not self.answered:
            return 1
        return AHEAD * max(self.threads, 1)

    def _handful(self) -> list[Job]:
        if self.alone:
            return [self.alone.popleft()]
        each = self.seconds / self.answered if self.answered else HANDFUL_S
        fair = math.ceil(len(self.waiting) / (AHEAD * max(self.threads, 1)))  # towards the end all have some
        size = max(1, min(int(HANDFUL_S / max(each, 1e-6)), fair, MOST_AT_ONCE))
        return [self.waiting.popleft() for _ in range(size)]

    # ---- back

    def _collect(self) -> None:
        from distributed import wait

        if not self.flying:
            return
        try:
            done = wait(list(self.flying), timeout=1, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return
        for future in done:
            jobs = self.flying.pop(future)
            if future.status == "finished":
                answers, left = future.result()
                self.waiting.extendleft(reversed(left))
                self._take(answers)
            else:
                self._not_answered(future, jobs)
            future.release()

    def _take(self, answers: list[Answer]) -> None:
        """Keep what came, failures last: a row that is there wins."""
        good = [answer for answer in answers if not answer.error]
        for answer in good:
            if answer.job.notebook:
                self.store.keep_report(answer.job.point.key, answer.files)
        self.store.add([self._row(answer) for answer in good])
        for answer in answers:
            self.seconds += answer.seconds
            self.answered += 1
            if answer.error:
                self._failed(answer)
            else:
                self.progress.done()

    def _row(self, answer: Answer) -> dict[str, Any]:
        if answer.row is not None:
            return answer.row | {"git_commit": self.commit}
        point = answer.job.point
        source = provenance.provenance(
            scenario="", design=point.design, parameters=point.given, seed=point.seed, costs=self.batch.costs
        )
        row = results.row(source, answer.job.tracker, {}, commit=self.commit)
        return row | {"notebook": point.notebook, "point": point.key}

    def _failed(self, answer: Answer) -> None:
        job = answer.job
        if answer.again and job.attempt <= self.batch.retries:
            self.alone.append(job._replace(attempt=job.attempt + 1))
            return
        told = {"point": job.point.told(), "error": answer.error, "attempts": job.attempt}
        self.store.keep_failure(told | {"traceback": answer.traceback.splitlines()}, answer.files)
        self.failures.append(told | {"folder": str(self.store.folder / "failed" / job.point.key)})
        self.progress.failed(f"{job.point}: {answer.error}")

    def _not_answered(self, future: Any, jobs: list[Job]) -> None:
        from distributed import KilledWorker

        if future.status == "cancelled" or future.status == "lost":
            raise _lost(future.client)
        error = future.exception()
        if isinstance(error, UsageError):
            raise error
        if not isinstance(error, KilledWorker):
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise BatchError(f"a worker can't run points: {text}; what is done is kept")
        if len(jobs) > 1:
            self.alone.extend(jobs)
            return
        self._take([Answer(jobs[0], None, {}, "its worker died, and those that tried again", "", True, 0.0)])


# ---- Dask


@contextmanager
def _local(jobs: int, notebooks: bool) -> Iterator[Any]:
    """Start a cluster whose workers are threads here; what they run is in processes beside them."""
    with ExitStack() as stack:
        stack.enter_context(worker.in_this_process(0 if notebooks else jobs))
        from distributed import Client, Scheduler, SpecCluster, Worker  # while the processes start

        stack.enter_context(_settings(_UNUSED))
        # `LocalCluster` has all of them listen on all interfaces, and the scheduler on one port for all users.
        here = {"protocol": "inproc://", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        each = {"cls": Worker, "options": here | {"nthreads": 1, "memory_limit": 0}}
        cluster = SpecCluster(dict.fromkeys(range(jobs), each), {"cls": Scheduler, "options": here}, silence_logs=False)
        client = stack.enter_context(Client(stack.enter_context(cluster), set_as_default=False))
        stack.callback(worker.stop)  # before the cluster closes, which waits for its threads
        yield client


@contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    """Connect to a scheduler that runs already."""
    from distributed import Client
    from distributed.security import Security

    example = "such as tcp://10.0.0.5:8786"
    form = _ADDRESS.fullmatch(scheduler)
    if not form or int(form[1]) >= 1 << 16:
        raise UsageError(f"--scheduler {scheduler}: an address with a port is needed, {example}")
    with _settings({}):
        try:
            if scheduler.startswith(("tls:", "wss:")) and not Security().get_connection_args("client")["ssl_context"]:
                raise ValueError("Dask's settings, distributed.comm.tls, name no certificates")
            client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(f"--scheduler {scheduler}: can't be reached ({reason}); {example}") from None
        with client:
            yield client


@contextmanager
def _settings(more: Mapping[str, Any]) -> Iterator[None]:
    """Have Dask say nothing: what matters of it becomes one line; and leave nothing in the working directory."""
    import dask

    ours = {"distributed.comm.timeouts.connect": CONNECT_S, "temporary-directory": tempfile.gettempdir()}
    with _quiet("distributed", "tornado"), dask.config.set(ours | dict(more)):
        yield


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Keep loggers and those below, which have levels of their own, from writing."""
    known = logging.root.manager.loggerDict
    below = {name for name in known if name.partition(".")[0] in names}
    loggers = [logging.getLogger(name) for name in {*names, *below}]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _address(client: Any) -> str:
    return client.scheduler.address if client.scheduler else "of this machine"


def _lost(client: Any) -> BatchError:
    return BatchError(f"scheduler {_address(client)}: it is gone; what is done is kept, and the same command goes on")


def as_json(summary: Summary) -> dict[str, Any]:
    """Give a summary as plain JSON."""
    return json.loads(json.dumps(summary._asdict() | {"store": str(summary.store)}))
