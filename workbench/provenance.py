"""What made a result: carried by every row and every figure, so that each can be made again."""

import subprocess
from collections.abc import Mapping
from enum import Enum
from importlib import metadata
from pathlib import PurePath
from platform import python_version
from typing import Any

import numba
import numpy as np

from workbench.code_cache import PACKAGE, source_hash

SOFTWARE = "gup-pin-workbench"


def version() -> str:
    """Version of the installed package, or ``uninstalled`` where it runs from a bare source tree."""
    try:
        return metadata.version(SOFTWARE)
    except metadata.PackageNotFoundError:
        return "uninstalled"


def provenance(
    *,
    scenario: str | None = None,
    design: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
    costs: Any = None,
    trace_sha256: str | None = None,
) -> dict[str, Any]:
    """Say what made a result.

    Parameters
    ----------
    scenario, design : str, optional
        Names as the command line takes them.
    parameters : mapping, optional
        Every parameter with its value, not only those that were set.
    seed : int, optional
        Seed of the random numbers.
    costs : object or mapping, optional
        The cost table: anything with a ``name`` and a ``provenance`` (published, calibrated or assumed), and with a
        ``sha256`` if it came from a file.
    trace_sha256 : str, optional
        Hash of the recorded trace that was replayed.

    Returns
    -------
    dict
        Plain JSON values, keys sorted at every level; equal for equal arguments on equal versions. Holds no
        time, no host name and no git commit, so that what carries it can be committed.
    """
    return plain(
        {
            "software": SOFTWARE,
            "version": version(),
            "source_hash": source_hash(),
            "python": python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "scenario": scenario,
            "design": design,
            "parameters": parameters or {},
            "seed": seed,
            "costs": None if costs is None else {key: _part(costs, key) for key in ("name", "provenance", "sha256")},
            "trace_sha256": trace_sha256,
        }
    )


def git_commit() -> str | None:
    """Find the commit of the checkout that the package runs from.

    Returns
    -------
    str or None
        40 hexadecimal digits, with ``-dirty`` behind them where tracked files were changed; None outside a
        checkout of this package (one that merely encloses a virtual environment does not count).
    """
    top = _git("rev-parse", "--show-toplevel")
    if top is None or not PACKAGE.parent.samefile(top):
        return None
    return _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(PACKAGE), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _part(table: Any, key: str) -> Any:
    return table.get(key) if isinstance(table, Mapping) else getattr(table, key, None)


_PLAIN = frozenset({str, int, float, bool, type(None)})


def plain(value: Any) -> Any:
    """Turn a value into what JSON knows, the same whatever order it came in.

    Parameters
    ----------
    value : object
        Mappings, named tuples, sequences, sets, numpy scalars and arrays, enums and paths are turned;
        strings, numbers, booleans and None stay.

    Returns
    -------
    object
        Dicts with sorted keys, lists, strings, numbers, booleans, None.

    Raises
    ------
    TypeError
        For anything else, whose text might differ from run to run.
    """
    if type(value) in _PLAIN:  # most of a row, of which batches have thousands
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(v) for v in value), key=str)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, PurePath):
        return value.as_posix()
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} has no place in a provenance")
