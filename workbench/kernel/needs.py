"""What the machine offers: each need is met, or says in one line what is missing."""

import os
import re
import resource
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
FUSE = Path("/dev/fuse")
KERNEL_MM = Path("/sys/kernel/mm")
OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
MEMLOCK = 1 << 20  # bytes: more than the few pages that are locked here at once


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


def sound_vma_merges() -> None:
    """Raise `Unavailable` where moving mappings at random could harm the kernel.

    From v6.16 on mremap of what is faulted, next to what is not, could leave pages with an anon_vma that is freed;
    mended in v6.18.8 and v6.19 ("mm/vma: fix anon_vma UAF on mremap() faulted, unfaulted merge", CVE-2026-23077).
    """
    patch = re.match(r"\d+\.\d+\.(\d+)", os.uname().release)
    version = (*kernel_version(), int(patch[1]) if patch else 0)
    if (6, 16, 0) <= version < (6, 18, 8):
        raise Unavailable("needs a Linux other than 6.16 to 6.18.7: their mremap can use freed memory (CVE-2026-23077)")


def vma_flags() -> None:
    """Raise `Unavailable` where the kernel's configuration makes mmap and madvise answer otherwise than is modelled."""
    for part in ("transparent_hugepage", "ksm"):
        if not (KERNEL_MM / part).is_dir():
            raise Unavailable(f"needs a kernel with {part}: madvise refuses what is not built in")
    if OVERCOMMIT.read_text().strip() == "2":
        raise Unavailable("needs vm.overcommit_memory other than 2: MAP_NORESERVE is ignored")
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if os.geteuid() != 0 and limit != resource.RLIM_INFINITY and limit < MEMLOCK:
        raise Unavailable(f"needs root, or ulimit -l of {MEMLOCK >> 10} KiB")
