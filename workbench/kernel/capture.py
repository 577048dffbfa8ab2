"""``trace capture``: the direct IOs of a command, as text that `workbench.traces.ftrace` reads.

The kernel records into an instance of our own (`tracing`). An IO completes in whatever task the interrupt meets, so
events are not filtered by task there, but afterwards: begins and bios by the command's process tree, as
``task_newtask`` tells it (threads and io_uring's workers among them), completions by inode and by sectors.
"""

import gzip
import os
import re
import shutil
import signal
import subprocess
import tempfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from workbench.errors import UsageError
from workbench.kernel import libc, tracing
from workbench.kernel.needs import Refused
from workbench.traces.direct_io import BEGIN, BIO_DONE, DONE, MERGES, QUEUE, REQUEST_DONE, REQUEUE
from workbench.traces.ftrace import EVENT, PAYLOAD, PREFIX

BUFFER_MIB = 32
"""Of memory for each CPU: some 300,000 events, or 50,000 IOs of one bio."""
ISSUE, NEW_TASK = "block_rq_issue", "task_newtask"
_NEEDED = {"task": (NEW_TASK,), "iomap": (BEGIN, DONE), "block": (QUEUE, ISSUE, REQUEUE, REQUEST_DONE)}
EVENT_SETS = {"direct-io": _NEEDED, "merges": _NEEDED | {"block": (*_NEEDED["block"], BIO_DONE, *MERGES)}}
_AT = re.compile(r"(\d+)[,:]\d+ \w+ (?:\d+ )?(?:\([^)]*\) )?(\d+) \+ (\d+) ", re.ASCII)  # major, sector, sectors
_CHILD = re.compile(r"pid=(\d+) ", re.ASCII)
ENDS_WITHIN_S = 5.0
VARIABLE = "GUP_PIN_WORKBENCH_CAPTURE"  # in the command's environment, and so in that of all it starts: the instance
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Captured(NamedTuple):
    """What a capture gave.

    Attributes
    ----------
    path : Path
    entries : int
        Events written.
    others : int
        Events of other tasks, left out.
    lost : int
        Events that the ring buffer lost.
    """

    path: Path
    entries: int
    others: int
    lost: int


def capture(
    command: Sequence[str],
    out: Path,
    *,
    event_set: str = "direct-io",
    file: Path | None = None,
    buffer_mib: int = BUFFER_MIB,
    allow_lost: bool = False,
) -> Captured:
    """Run a command, and record its direct IOs.

    Parameters
    ----------
    command : sequence of str
        Program and arguments. Its output goes to standard error.
    out : Path
        Text, gzipped if it ends in ``.gz``; written whole or not at all.
    event_set : str
        Of `EVENT_SETS`.
    file : Path, optional
        Record the direct IOs to this file, whoever does them, in the place of those of the command's processes.
    buffer_mib : int
        Ring buffer for each CPU.
    allow_lost : bool
        Write the text even where events were lost; it says how many.

    Returns
    -------
    Captured

    Raises
    ------
    UsageError
        There is no such program or file.
    Unavailable
        Not root; no tracefs, or not these events.
    Refused
        The command failed, did no direct IO, or events were lost.
    """
    if not command or shutil.which(command[0]) is None:
        raise UsageError(f"no program {' '.join(command[:1])!r}: give a command behind --, such as -- fio job.fio")
    filters = {} if file is None else _filters(file)
    with tracing.tracefs() as root:
        _end_commands(tracing.sweep(root))
        with tracing.instance(root, buffer_mib << 10) as instance:
            instance.enable(EVENT_SETS[event_set], filters)
            instance.write("tracing_on", 1)
            pid, status = _run(command, instance.path.name)
            instance.write("tracing_on", 0)
            if status:
                how = f"status {status}" if status > 0 else signal.Signals(-status).name
                raise Refused(f"{command[0]} ended with {how}; nothing is written")
            lost = instance.lost()
            if lost and not allow_lost:
                right = "give a larger --buffer-mib, or --allow-lost"
                raise Refused(f"{sum(lost.values())} events were lost; nothing is written: {right}")
            chosen = Chosen(instance.lines(), None if file else pid)
            if not chosen.inodes:
                raise Refused("no direct IO was seen (iomap: ext4, xfs, btrfs, block devices); nothing is written")
            return _written(out, chosen.kept(instance.lines()), chosen, lost)


def _filters(file: Path) -> dict[str, str]:
    """By system of events: the file's device, and the disk that it is a partition of; and its inode."""
    try:
        found = file.stat()
    except OSError as error:
        raise UsageError(
            f"--file {file}: {error.strerror}; give a file that is there before the command runs"
        ) from None
    own = f"dev == {tracing.kernel_device(found.st_dev)}"
    at = Path(f"/sys/dev/block/{os.major(found.st_dev)}:{os.minor(found.st_dev)}")
    block = own
    if (at / "partition").exists():
        major, _, minor = (at.resolve().parent / "dev").read_text().strip().partition(":")
        block = f"{own} || dev == {tracing.kernel_device(os.makedev(int(major), int(minor)))}"
    return {"iomap": f"{own} && ino == {found.st_ino}", "block": block}


def _end_commands(instances: Sequence[str]) -> None:
    """End what the commands of captures have started that were killed, and have left these instances."""
    left = {f"{VARIABLE}={name}".encode() for name in instances}
    for path in Path("/proc").glob("[0-9]*/environ") if left else ():
        with suppress(OSError):  # it has ended by itself
            held = os.pidfd_open(int(path.parent.name))  # so that it is the one whose environment is read
            try:
                if left & set(path.read_bytes().split(b"\0")):
                    signal.pidfd_send_signal(held, signal.SIGKILL)
            finally:
                os.close(held)


def _run(command: Sequence[str], name: str) -> tuple[int, int]:
    """Run the command to its end: process id, and exit status. Whatever ends us ends it too."""
    with _started(command, name) as (process, mask):
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return process.pid, process.wait()
        except BaseException:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(ENDS_WITHIN_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


@contextmanager
def _started(command: Sequence[str], name: str) -> Iterator[tuple[subprocess.Popen, set[int | signal.Signals]]]:
    """Start the command with signals held back, which the interpreter loses in its hooks around a fork.

    Yields
    ------
    process, mask : Popen, set
        The mask lets them through again.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    parent = os.getpid()

    def in_child() -> None:
        libc.call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)  # it is killed if we are
        if os.getppid() != parent:  # we were, just before
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        own = os.environ | {VARIABLE: name}
        with subprocess.Popen(command, stdout=2, start_new_session=True, preexec_fn=in_child, env=own) as process:
            yield process, mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Chosen:
    """Which events belong to the tasks in question.

    Parameters
    ----------
    lines : iterable of str
        Text of a ``trace`` file.
    root : int or None
        Process whose tree they are of; None: all that begin a direct IO.

    Attributes
    ----------
    tasks : set of int
    inodes : set of (str, str, str)
        Device and inode of each of their direct IOs.
    others : int
        Events of others, after `kept`.
    """

    def __init__(self, lines: Iterable[str], root: int | None) -> None:
        self.tasks: set[int] = set() if root is None else {root}
        self.inodes: set[tuple[str, ...]] = set()
        self.others = 0
        spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for task, name, payload in filter(None, map(_parsed, lines)):
            if name == BEGIN and root is None:
                self.tasks.add(task)
            if task not in self.tasks:
                continue
            if name == NEW_TASK and root is not None and (child := _CHILD.match(payload)):
                self.tasks.add(int(child[1]))
            elif name == BEGIN and (begin := PAYLOAD[BEGIN].fullmatch(payload)):
                self.inodes.add(begin.groups()[:3])
            elif name == QUEUE and (at := _AT.match(payload)):
                spans[at[1]].append((int(at[2]), int(at[2]) + int(at[3])))
        self.spans = {major: _joined(found) for major, found in spans.items()}

    def kept(self, lines: Iterable[str]) -> Iterator[str]:
        """Yield the lines that belong to them, and the head of the text."""
        for line in lines:
            parsed = _parsed(line)
            if parsed is None:
                if "entries-in-buffer" not in line:  # it counts what is left out too
                    yield line
            elif self._belongs(*parsed):
                yield line
            else:
                self.others += 1

    def _belongs(self, task: int, name: str, payload: str) -> bool:
        if name == DONE:
            done = PAYLOAD[DONE].fullmatch(payload)
            return done is not None and done.groups()[:3] in self.inodes
        if name in (ISSUE, REQUEUE, REQUEST_DONE, BIO_DONE):
            at = _AT.match(payload)
            return at is not None and self._carries(at[1], int(at[2]), int(at[2]) + int(at[3]))
        return name != NEW_TASK and task in self.tasks

    def _carries(self, major: str, start: int, end: int) -> bool:
        """Tell whether sectors overlap those of one of the bios; partitions' count from the start of the disk."""
        spans = self.spans.get(major, [])
        index = bisect_right(spans, start, key=lambda span: span[0])
        return (index > 0 and spans[index - 1][1] > start) or (index < len(spans) and spans[index][0] < end)


def _parsed(line: str) -> tuple[int, str, str] | None:
    """Task, event and payload of a line; None for one that is no event."""
    match = PREFIX.fullmatch(line.strip())
    event = match and EVENT.fullmatch(match[5])
    return (int(match[1]), event[1], event[2]) if match and event else None


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort spans, and join those that overlap or touch."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _written(out: Path, lines: Iterable[str], chosen: Chosen, lost: Mapping[int, int]) -> Captured:
    """Write lines aside, and which CPU had no room for how many more; then rename."""
    entries = 0
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as aside:
        unfinished = Path(aside) / out.name
        with _opened(unfinished) as file:
            for line in lines:
                entries += not line.startswith("#")
                file.write(line.encode())
            for cpu, count in lost.items():
                file.write(f"CPU:{cpu} [{count} EVENTS DROPPED]\n".encode())
        unfinished.replace(out)
    return Captured(out, entries, chosen.others, sum(lost.values()))


def _opened(path: Path) -> gzip.GzipFile:
    if path.suffix == ".gz":
        return gzip.GzipFile(path, "wb", mtime=0)
    return path.open("wb")  # type: ignore[return-value]  # written to in the same way
