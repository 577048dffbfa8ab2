"""A trace instance of our own: buffers, clock and events that nobody else's tracing sees, gone when we are done.

Instances are described in the kernel's Documentation/trace/ftrace.rst, "Instances". One is named after the process
that made it, so that the next run removes what a killed one has left.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from workbench.kernel import libc, needs

PREFIX = "gup-pin-workbench-"
FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432  # the same on all architectures (include/uapi/asm-generic/unistd.h)
CLOEXEC, CMD_CREATE = 1, 6  # FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC; FSCONFIG_CMD_CREATE
REMOVAL_S = 2.0


@contextmanager
def tracefs() -> Iterator[Path]:
    """Reach tracefs: where it is mounted, or else by a mount of our own that no path leads to.

    Such a mount goes with its file descriptor, however the process ends (fsmount(2), Linux 5.2 and later).

    Yields
    ------
    Path
        Good within this process only.

    Raises
    ------
    Unavailable
        Not root, or no tracefs.
    """
    needs.tracefs()
    if (needs.TRACEFS / "instances").is_dir():
        yield needs.TRACEFS
        return
    try:
        mounted = _detached_mount(b"tracefs")
    except OSError as error:
        raise needs.Unavailable(f"needs tracefs, which can't be mounted here: {error.strerror}") from None
    try:
        yield Path(f"/proc/self/fd/{mounted}")
    finally:
        os.close(mounted)


def _detached_mount(kind: bytes) -> int:
    configured = libc.call("syscall", FSOPEN, kind, CLOEXEC)
    try:
        libc.call("syscall", FSCONFIG, configured, CMD_CREATE, None, None, 0)
        return libc.call("syscall", FSMOUNT, configured, CLOEXEC, 0)
    finally:
        os.close(configured)


class Instance:
    """A trace instance, made by `instance`. Tracing is off at first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, value: object) -> None:
        """Write one of its files."""
        (self.path / name).write_text(str(value))

    def enable(self, events: Mapping[str, Sequence[str]], filters: Mapping[str, str]) -> None:
        """Enable events.

        Parameters
        ----------
        events : mapping
            By system (``block``), their names.
        filters : mapping
            By system, a filter such as ``dev == 266338304``; systems without one are recorded whole.

        Raises
        ------
        Unavailable
            The kernel has no such event.
        """
        for system, names in events.items():
            for name in names:
                folder = f"events/{system}/{name}"
                if not (self.path / folder).is_dir():
                    raise needs.Unavailable(f"needs the trace event {system}:{name}, which this kernel does not have")
                if system in filters:
                    self.write(f"{folder}/filter", filters[system])
                self.write(f"{folder}/enable", 1)

    def lost(self) -> dict[int, int]:
        """Count events that its buffers had no room for, by CPU; only CPUs that lost any."""
        found = {}
        for file in self.path.glob("per_cpu/cpu*/stats"):
            told = dict(line.partition(": ")[::2] for line in file.read_text().splitlines())
            lost = sum(int(told.get(name, 0)) for name in ("overrun", "commit overrun", "dropped events"))
            if lost:
                found[int(file.parent.name.removeprefix("cpu"))] = lost
        return found

    def lines(self) -> Iterator[str]:
        """Yield the lines of its text; they stay in the buffer."""
        with (self.path / "trace").open(encoding="utf-8", errors="backslashreplace") as file:
            yield from file


@contextmanager
def instance(root: Path, buffer_kib: int) -> Iterator[Instance]:
    """Make a trace instance, and remove it whatever happens; those of processes that are dead go too.

    Parameters
    ----------
    root : Path
        Of `tracefs`.
    buffer_kib : int
        Per CPU. What does not fit is dropped, and counted.
    """
    sweep(root)
    path = root / "instances" / f"{PREFIX}{os.getpid()}-{_started(os.getpid())}"
    try:
        path.mkdir()
        made = Instance(path)
        made.write("tracing_on", 0)
        made.write("trace_clock", "mono")
        made.write("options/overwrite", 0)  # keep the oldest events: who started whom is told there
        made.write("buffer_size_kb", buffer_kib)
        yield made
    finally:
        remove(path)


def sweep(root: Path) -> list[str]:
    """Remove instances that were made here by processes which are dead.

    Returns
    -------
    list of str
        Their names.
    """
    found = []
    for path in (root / "instances").glob(f"{PREFIX}*-*"):
        pid, _, started = path.name.removeprefix(PREFIX).partition("-")
        if pid.isdigit() and started.isdigit() and _started(int(pid)) != started:
            remove(path)
            found.append(path.name)
    return found


def remove(path: Path) -> None:
    """Remove an instance, if it is there; a signal does not come in between."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        deadline = time.monotonic() + REMOVAL_S
        while path.is_dir():
            try:
                path.rmdir()
            except OSError:  # busy: an interrupt may still be writing to it
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _started(pid: int) -> str:
    """When a process has started, in ticks since boot; empty if there is none (field 22 of /proc/PID/stat)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def kernel_device(device: int) -> int:
    """How the kernel writes a device number of `os.stat` in the events' field ``dev`` (MKDEV, linux/kdev_t.h)."""
    return os.major(device) << 20 | os.minor(device)
