"""Places that one would have to touch in a kernel's sources: every use of the names in `names`, and whose it is.

Files that hold one of the names are parsed (`csource`), each by itself and in any order; what a file can't tell alone,
such as the type of ``vmf->vma``, is then looked up in the structs and functions of all files. A use of a member counts
as sure where its struct is

- ``declared``: the variable is declared in the file, and the members on the way are in structs of that tree;
- ``deduced``: it is not (a macro's argument, mostly), but no other struct has a member of that name, or all members of
  the name on the way are of one type;

else it is ``ambiguous``, or of an ``other`` struct, and not counted. Functions are known by their names (``named``);
a release of any page, such as put_page(), counts in files that call GUP (``same file``), and not elsewhere.
"""

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tqdm import tqdm

from workbench.errors import UsageError
from workbench.kernel import libc
from workbench.kernel.churn import csource, names

OUTSIDE = ("Documentation", "scripts", "tools")  # no part of the kernel
ALWAYS = "include/linux/"  # headers that are read in any case: structs that lead to others
USES = ("read", "write", "update", "address", "call", "ref")
SURE = ("declared", "deduced", "named", "same file")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
COLUMNS = ("file", "line", "subsystem", "group", "name", "access", "sure", "macro", "conditional", "damaged", "grepped")
_TWO_LEVELS = ("drivers", "fs", "net", "sound")
_VERSION = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL) *= *(\d+)", re.MULTILINE)


class Churn(NamedTuple):
    """What was found in one tree.

    Attributes
    ----------
    kernel : str
        Version, such as ``6.1.176``.
    places : DataFrame
        A row for each occurrence of a name, with `COLUMNS`, in the order of files and lines; comments and strings
        too.
    parsing : dict of str to int
        ``files``: C files there are; ``parsed``: with a name in them, or in `ALWAYS`; ``damaged_files``: where the
        parser found an error; ``bytes``, ``damaged_bytes``: of parsed files, and of the errors in them.
    """

    kernel: str
    places: pd.DataFrame
    parsing: dict[str, int]


def count(tree: Path, jobs: int = 2) -> Churn:
    """Find all uses of the names in a source tree.

    Parameters
    ----------
    tree : Path
        Top folder of a kernel's sources.
    jobs : int, optional
        Processes; the result is the same for any number.

    Raises
    ------
    UsageError
        Where that is no kernel source tree, or `jobs` below 1.
    """
    version = kernel_version(tree)
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: 1 or more")
    paths = c_files(tree)
    sources = {path: source for path, source in _read_all(tree, paths, jobs) if source is not None}
    parsing = {
        "files": len(paths),
        "parsed": len(sources),
        "damaged_files": sum(s.damaged > 0 for s in sources.values()),
        "bytes": sum(s.size for s in sources.values()),
        "damaged_bytes": sum(s.damaged for s in sources.values()),
    }
    return Churn(version, _frame(sources), parsing)


def kernel_version(tree: Path) -> str:
    """Read the version off the top Makefile.

    Raises
    ------
    UsageError
        Where there is none, or no ``include/linux/mm_types.h``.
    """
    try:
        numbers = _VERSION.findall((tree / "Makefile").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        numbers = []
    if len(numbers) < 3 or not (tree / "include/linux/mm_types.h").is_file():
        raise UsageError(
            f"{tree}: no kernel source tree: its Makefile with VERSION and its include/linux/mm_types.h are looked for"
        )
    return ".".join(number for _, number in numbers[:3])


def c_files(tree: Path) -> list[str]:
    """List the ``.c`` and ``.h`` files of the kernel itself, sorted; links are left out."""
    found = []
    for folder, folders, files in os.walk(tree):
        below = Path(folder).relative_to(tree)
        if below == Path():
            folders[:] = [name for name in folders if name not in OUTSIDE]
        paths = (below / name for name in files if name.endswith((".c", ".h")))
        found += [path.as_posix() for path in paths if not (tree / path).is_symlink()]
    return sorted(found)


def subsystem(path: str) -> str:
    """Name the part of the kernel that a file is in: ``drivers/gpu``, ``fs/ext4``, ``mm``, ``fs`` for a file in it."""
    parts = path.split("/")
    deep = parts[0] in _TWO_LEVELS and len(parts) > 2
    return "/".join(parts[: 2 if deep else 1]) if len(parts) > 1 else "."


def _read_all(tree: Path, paths: list[str], jobs: int) -> Iterator[tuple[str, csource.Source | None]]:
    work = [(tree, path) for path in paths]
    with tqdm(total=len(work), unit="file", leave=False, disable=None) as bar:
        if jobs == 1:
            for item in work:
                yield _read(item)
                bar.update()
            return
        with workers(jobs) as pool:
            for result in pool.map(_read, work, chunksize=64):
                yield result
                bar.update()


def workers(jobs: int) -> ProcessPoolExecutor:
    """Processes that end with this one, even if it is killed: by themselves they would wait for work for ever."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), _end_with, (os.getpid(),))


def _end_with(parent: int) -> None:
    with suppress(OSError, AttributeError):  # Linux only
        libc.call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


_CLUES = names.clues()


def _read(item: tuple[Path, str]) -> tuple[str, csource.Source | None]:
    tree, path = item
    text = (tree / path).read_bytes()
    if not (path.startswith(ALWAYS) or any(clue in text for clue in _CLUES)):
        return path, None
    return path, csource.read(text, header=path.endswith(".h"))


# ---- whose a member is


class _Index:
    """Structs and functions of all files."""

    def __init__(self, sources: dict[str, csource.Source]) -> None:
        self.members: dict[tuple[str, str], set[str]] = {}
        self.by_name: dict[str, set[str]] = {}
        self.having: dict[str, set[str]] = {}
        self.functions: dict[str, set[str]] = {}
        for source in sources.values():
            for struct, member, kind in source.members:
                self.members.setdefault((struct, member), set()).add(kind)
                self.by_name.setdefault(member, set()).add(kind)
                self.having.setdefault(member, set()).add(struct)
            for function, kind in source.functions:
                self.functions.setdefault(function, set()).add(kind)

    def sure(self, name: str, owner: tuple[str, ...]) -> str:
        """How sure it is that a member is one that its group is about."""
        wanted = names.GROUPS[names.MEMBERS[name]].structs
        kind, exact = self._type(owner)
        if kind:
            return ("declared" if exact else "deduced") if kind in wanted else "other"
        return "deduced" if self.having.get(name, set()) <= set(wanted) else "ambiguous"

    def _type(self, owner: tuple[str, ...]) -> tuple[str, bool]:
        """The struct that a chain of members leads to, "" if not known; and whether each step is declared."""
        root = owner[0] if owner else ""
        kind, exact = (_only(self.functions.get(root[:-2])) if root.endswith("()") else root), True
        for member in owner[1:]:
            known = self.members.get((kind, member)) if kind else None
            exact = exact and known is not None
            kind = _only(known or self.by_name.get(member))
        return kind, exact


def _only(kinds: set[str] | None) -> str:
    return next(iter(kinds)) if kinds and len(kinds) == 1 else ""


def _frame(sources: dict[str, csource.Source]) -> pd.DataFrame:
    index = _Index(sources)
    rows = []
    for path in sorted(sources):
        hits = sources[path].hits
        pins = any(names.NAMES[h.name] == "gup" and h.access == "call" for h in hits)
        part = subsystem(path)
        for hit in hits:
            sure = _sure(index, hit, pins)
            rows.append((path, hit.line, part, names.NAMES[hit.name], hit.name, hit.access, sure, *hit[4:]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _sure(index: _Index, hit: csource.Hit, pins: bool) -> str:
    if hit.access not in USES:
        return "other"
    if hit.name in names.MEMBERS:
        return index.sure(hit.name, hit.owner)
    if names.NAMES[hit.name] == names.PLAIN_RELEASE:
        return "same file" if pins else "other"
    return "named"
