"""What the machine offers: each need is met, or says in one line what is missing."""

import os
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
FUSE = Path("/dev/fuse")


class Unavailable(Exception):
    """Something that a check needs is not there; the text says what, in one line."""


class Refused(Exception):
    """What was recorded or measured is not fit to be written; the text says why, in one line."""


def root() -> None:
    """Raise `Unavailable` unless run as root."""
    if os.geteuid() != 0:
        raise Unavailable("needs root")


def linux() -> None:
    """Raise `Unavailable` unless the kernel is Linux."""
    if os.uname().sysname != "Linux":
        raise Unavailable(f"needs Linux; this is {os.uname().sysname}")


def fuse() -> None:
    """Raise `Unavailable` unless a FUSE file system can be served: root and ``/dev/fuse``."""
    root()
    if not os.access(FUSE, os.R_OK | os.W_OK):
        raise Unavailable(f"needs {FUSE}")


def tracefs() -> None:
    """Raise `Unavailable` unless trace instances can be made: root, and a kernel with tracefs (see `tracing`)."""
    root()
    linux()
    if "\ttracefs\n" not in Path("/proc/filesystems").read_text():
        raise Unavailable("needs tracefs, which this kernel does not have")


def kernel_version() -> tuple[int, int]:
    """Version of the running kernel, such as ``(6, 18)``."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()))
