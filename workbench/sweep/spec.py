"""Specs of batches: TOML, checked to the last value before anything starts, and never executed.

name = "depths"
scenario = "direct-io"              # or notebook = "02_direct_io"
designs = ["v4.17", "tracker=bias,cleaning=skip/wait"]
seeds = [1, 2, 3]                   # or replications = 3
time_limit = "5 min"                # of a point
retries = 1                         # of a point that takes longer, or whose process dies

[set]                               # of all points
ios = 2000

[grid]                              # every combination; [[grid]] if there are several
qd = [1, 8, 64]
size_kib = ["4 KiB", "1 MiB"]

[[points]]                          # and these
qd = 1024
cpus = 4
"""

import hashlib
import itertools
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from workbench import batch, cost_files, costs, designs, traces, user_tracker
from workbench.errors import UsageError, nearest
from workbench.scenarios import ALL
from workbench.scenarios.base import Parameter
from workbench.sweep import lines
from workbench.sweep.points import Point, cost_hash, key_of
from workbench.sweep.units import in_unit

ENTRIES = (
    "name", "scenario", "notebook", "designs", "seeds", "replications", "time_limit", "retries", "set", "grid",
    "points",
)  # fmt: skip
FILES = ("trace", "latencies")  # parameters of scenarios that name a file to be read
MOST_POINTS = 1_000_000
MOST_RETRIES = 100
LARGEST_SEED = 2**63 - 1  # TOML knows no larger whole numbers
LARGEST_FILE = 1 << 30  # bytes
DEEPEST = 20  # tables and lists in one another
TIME_LIMIT_S = 600.0
RETRIES = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Batch(NamedTuple):
    """A spec that has been checked.

    Attributes
    ----------
    name : str
    points : tuple of Point
        No two with the same key; grids before lists of points, and designs and seeds within them.
    time_limit_s : float
        Of a point.
    retries : int
        How often a point is tried again that has reached its time limit, or whose process or worker has died.
    notebook : Path or None
    costs : CostTable
    cost_file : bytes
        The file that it came from; empty for the built-in table.
    trackers : dict
        Name of the tracker of each design.
    """

    name: str
    points: tuple[Point, ...]
    time_limit_s: float
    retries: int
    notebook: Path | None
    costs: costs.CostTable
    cost_file: bytes
    trackers: dict[str, str]


class _Known(NamedTuple):
    """What may be set: by name a check that gives the value in the parameter's type and unit; and all defaults."""

    what: str
    checks: dict[str, Callable[[Any], Any]]
    defaults: dict[str, Any]


def read(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    allow: Iterable[str | os.PathLike[str]] = (),
    cost_file: str | os.PathLike[str] | None = None,
) -> Batch:
    """Read a spec, and check every point of it.

    Parameters
    ----------
    source : path or mapping
        A TOML file, or what it would hold. Paths in it are relative to the working directory, as on a command line.
    allow : iterable of path
        Files that may be run as code: trackers of one's own, and notebooks that are not the package's.
    cost_file : path, optional
        Of a cost table; that of `costs.in_use` by default.

    Returns
    -------
    Batch

    Raises
    ------
    UsageError
        One line with file, line, parameter, and what would be right.
    """
    table = _cost_table(cost_file or os.environ.get(costs.VARIABLE))
    if isinstance(source, Mapping):
        return _Spec("spec", dict(source), {}, allow, *table).batch()
    path = Path(source)
    try:
        text = path.read_bytes().decode("utf-8")
        document = tomllib.loads(text)
        where = lines.positions(text, document)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # a plain ValueError: a number of more than 4300 digits
        reason = str(error).partition("\n")[0] or "nested too deeply"
        raise UsageError(f"{path}: not TOML: {reason}") from None
    return _Spec(str(path), document, where, allow, *table).batch()


def _cost_table(path: str | os.PathLike[str] | None) -> tuple[costs.CostTable, bytes]:
    """Read a table, with the bytes that it was read from."""
    if not path:
        return costs.DEFAULT, b""
    found = cost_files.read(path)
    return found.table, found.data


class _Spec:
    def __init__(
        self,
        source: str,
        document: dict[str, Any],
        where: dict[lines.Path, int],
        allow: Iterable[str | os.PathLike[str]],
        cost_table: costs.CostTable,
        cost_file: bytes,
    ):
        self.source, self.document, self.lines = source, document, where
        self.allowed = {_resolved(path) for path in allow} - {None}
        self.costs, self.cost_file = cost_table, cost_file
        self.files: dict[str, str] = {}  # hash by path
        self.folder = Path()  # in which the notebook runs
        self.contents: dict[Path, str] = {}  # hash of what it reads

    def wrong(self, path: lines.Path, why: object) -> UsageError:
        """Say in one line where what is wrong; the nearest key that has a line gives it."""
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self.lines), None)
        line = f", line {self.lines[known]}" if known else ""
        return UsageError(f"{self.source}{line}: {' '.join(str(why).split())}")

    # ---- entries

    def batch(self) -> Batch:
        self._must_fit((), self.document)
        for entry in self.document:
            if entry not in ENTRIES:
                raise self.wrong((entry,), f"no entry {entry!r}: {nearest(entry, ENTRIES)}")
        name = self._text("name", _default_name(self.source))
        if not _NAME.fullmatch(name):
            raise self.wrong(("name",), f"name {name!r}: up to 100 letters, digits, '.', '_' and '-' are needed")
        notebook, known = self._what()
        parsed = dict(self._designs(known))
        seeds = self._seeds(known)
        combinations = list(self._combinations(known, max(len(parsed), 1) * len(seeds)))
        points = self._points(notebook, combinations, list(parsed) or [""], seeds, known)
        return Batch(
            name=name,
            points=tuple({point.key: point for point in points}.values()),
            time_limit_s=self._time_limit(),
            retries=self._whole("retries", RETRIES, 0, MOST_RETRIES),
            notebook=notebook,
            costs=self.costs,
            cost_file=self.cost_file,
            trackers={text: design.tracker_name for text, design in parsed.items()},
        )

    def _must_fit(self, path: lines.Path, value: object) -> None:
        """Refuse, before anybody writes it out, what Python would not: numbers of 4300 digits, and deep nesting."""
        if isinstance(value, int) and abs(value) > LARGEST_SEED:
            name = next(key for key in reversed(path) if isinstance(key, str))
            raise self.wrong(path, f"{name}: a whole number of more than 64 bits")
        if isinstance(value, dict | list):
            if len(path) > DEEPEST:
                raise self.wrong(path, "nested too deeply")
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                self._must_fit((*path, key), inner)

    def _text(self, entry: str, default: str = "") -> str:
        value = self.document.get(entry, default)
        if not isinstance(value, str):
            raise self.wrong((entry,), f"{entry}: text in quotes is needed, not {value!r}")
        return value

    def _whole(self, entry: str, default: int, low: int, high: int) -> int:
        value = self.document.get(entry, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong((entry,), f"{entry}: a whole number from {low} to {high} is needed, not {value!r}")
        return value

    def _list(self, path: lines.Path, values: object) -> list[Any]:
        if not isinstance(values, list) or not values:
            raise self.wrong(path, f"{path[-1]}: a list of values is needed, such as [{values or 1!r}]")
        return values

    def _time_limit(self) -> float:
        value = self.document.get("time_limit", TIME_LIMIT_S)
        try:
            seconds = float(in_unit(value, "s")) if isinstance(value, str) else value
        except UsageError as error:
            raise self.wrong(("time_limit",), f"time_limit: {error}") from None
        numeric = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not numeric or not 0 < seconds <= 1e7:
            raise self.wrong(("time_limit",), f"time_limit: seconds, or text such as '5 min', not {value!r}")
        return float(seconds)

    def _what(self) -> tuple[Path | None, _Known]:
        """Find the notebook or the scenario, and what can be set of it."""
        given = [entry for entry in ("scenario", "notebook") if entry in self.document]
        if len(given) != 1:
            raise self.wrong((given[-1],) if given else (), "one of scenario and notebook is needed")
        name = self._text(given[0])
        if given == ["scenario"]:
            if name not in ALL:
                raise self.wrong(("scenario",), f"no scenario {name!r}: {nearest(name, ALL)}")
            return None, _of_scenario(name)
        try:
            path = batch.find_notebook(name)
            known = _of_notebook(path)
        except UsageError as error:
            raise self.wrong(("notebook",), error) from None
        if path.resolve().parent != batch.NOTEBOOKS.resolve():
            self._must_be_allowed(("notebook",), "notebook", path)
        self.folder = path.resolve().parent
        return path, known

    def _must_be_allowed(self, where: lines.Path, what: str, path: Path) -> None:
        if (resolved := _resolved(path)) is None or resolved not in self.allowed:
            raise self.wrong(where, f"{what} {path} is code, and a spec is none; to have it run, give --allow {path}")

    def _designs(self, known: _Known) -> Iterator[tuple[str, designs.Design]]:
        texts = self.document.get("designs", [])
        of_scenario = "scenario" in self.document
        if of_scenario and not texts:
            raise self.wrong(("designs",), "designs are needed: a list of presets, or of parts in quotes")
        if not of_scenario and "designs" in self.document and "design" not in known.checks:
            raise self.wrong(("designs",), f"{known.what} has no parameter 'design', so it takes no designs")
        for n, text in enumerate(self._list(("designs",), texts) if "designs" in self.document else []):
            where = ("designs", n)
            if not isinstance(text, str):
                raise self.wrong(where, f"design {text!r}: text in quotes is needed")
            if texts.index(text) != n:
                raise self.wrong(where, f"design {text}: given twice")
            for part in text.split(","):
                if user_tracker.is_own(part.removeprefix("tracker=")):
                    self._must_be_allowed(where, "tracker file", tracker_file(text))
            try:
                yield text, designs.parse(text)
            except UsageError as error:
                raise self.wrong(where, error) from None

    def _seeds(self, known: _Known) -> list[int]:
        given = [entry for entry in ("seeds", "replications") if entry in self.document]
        if "notebook" in self.document:
            if given and "seed" not in known.checks:
                raise self.wrong((given[0],), f"{known.what} has no parameter 'seed', so it takes no {given[0]}")
            if not given:
                return [0]
        if len(given) == 2:
            raise self.wrong(("replications",), "seeds names each one; leave replications out")
        if "seeds" not in self.document:
            return list(range(1, self._whole("replications", 1, 1, MOST_POINTS) + 1))
        seeds = self._list(("seeds",), self.document["seeds"])
        for n, seed in enumerate(seeds):
            if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= LARGEST_SEED:
                raise self.wrong(("seeds", n), f"seed {seed!r}: a whole number from 0 to 2**63 - 1 is needed")
        return seeds

    # ---- parameters

    def _combinations(self, known: _Known, each: int) -> Iterator[tuple[lines.Path, dict[str, Any]]]:
        """Give where each combination of parameters stands, and what it sets."""
        common = self._checked_table(("set",), self.document.get("set", {}), known, {})
        grids = self._tables("grid")
        lists = self._tables("points")
        axes = [self._axes(path, table, known, common) for path, table in grids]
        total = each * (sum(math.prod(map(len, a.values())) for a in axes) + len(lists) or 1)
        if total > MOST_POINTS:
            raise self.wrong(("grid",), f"{total} points; at most {MOST_POINTS} go into a batch")
        if not grids and not lists:
            yield ("set",), common
        for (path, _), axis in zip(grids, axes, strict=True):
            for values in itertools.product(*axis.values()):
                yield path, common | dict(zip(axis, values, strict=True))
        for path, table in lists:
            yield path, common | self._checked_table(path, table, known, common)

    def _tables(self, entry: str) -> list[tuple[lines.Path, dict[str, Any]]]:
        """One table, or several."""
        value = self.document.get(entry, [])
        several = value if isinstance(value, list) else [value]
        paths: list[lines.Path] = [(entry, n) for n in range(len(several))] if isinstance(value, list) else [(entry,)]
        for path, table in zip(paths, several, strict=True):
            if not isinstance(table, dict):
                raise self.wrong(path, f"{entry}: a table [{entry}] of parameters is needed, not {table!r}")
        return list(zip(paths, several, strict=True))

    def _axes(
        self, path: lines.Path, table: dict[str, Any], known: _Known, common: Mapping[str, Any]
    ) -> dict[str, list[Any]]:
        axes = {}
        for name, values in table.items():
            self._find(path, name, known, common)
            several = self._list((*path, name), values)
            axes[name] = [self._checked((*path, name, n), name, value, known) for n, value in enumerate(several)]
        return axes

    def _checked_table(
        self, path: lines.Path, table: object, known: _Known, common: Mapping[str, Any]
    ) -> dict[str, Any]:
        if not isinstance(table, dict):
            raise self.wrong(path, f"{path[0]}: a table [{path[0]}] of parameters is needed, not {table!r}")
        for name in table:
            self._find(path, name, known, common)
        return {name: self._checked((*path, name), name, value, known) for name, value in table.items()}

    def _find(self, path: lines.Path, name: str, known: _Known, common: Mapping[str, Any]) -> None:
        where = (*path, name)
        if name in common:
            raise self.wrong(where, f"parameter {name}: it is in [set] too")
        if name in ("design", "seed") and name in known.checks:
            raise self.wrong(where, f"parameter {name}: give {name}s = [...] instead")
        if name not in known.checks:
            raise self.wrong(where, f"{known.what} has no parameter {name!r}: {nearest(name, known.checks)}")

    def _checked(self, path: lines.Path, name: str, value: Any, known: _Known) -> Any:
        try:
            value = known.checks[name](value)
            if name in FILES and "scenario" in self.document and value:
                self._trace(value)
        except UsageError as error:
            text = str(error)
            raise self.wrong(path, text if "parameter" in text else f"parameter {name}: {text}") from None
        if "notebook" in self.document:
            for text in _texts(value):
                self._tracker(path, text)
        return value

    def _tracker(self, path: lines.Path, text: str) -> None:
        """See that a tracker file that a notebook is to run is allowed; its content belongs to the point's key."""
        if any(user_tracker.is_own(part.removeprefix("tracker=")) for part in text.split(",")):
            file = tracker_file(text)
            file = file if str(file).startswith("~") else self.folder / file
            self._must_be_allowed(path, "tracker file", file)
            try:
                self.files[text] = hashlib.sha256(file.expanduser().read_bytes()).hexdigest()
            except OSError as error:
                raise self.wrong(path, f"tracker file {file}: {error.strerror}") from None

    def _trace(self, path: str) -> None:
        if path not in self.files:
            self.files[path] = traces.load(path).sha256

    # ---- points

    def _points(
        self,
        notebook: Path | None,
        combinations: Iterable[tuple[lines.Path, dict[str, Any]]],
        texts: list[str],
        seeds: list[int],
        known: _Known,
    ) -> Iterator[Point]:
        scenario = "" if notebook else self.document["scenario"]
        code = {"notebook": hashlib.sha256(notebook.read_bytes()).hexdigest()} if notebook else {}
        costs_sha256 = cost_hash(self.costs)
        together = getattr(ALL[scenario], "check_together", None) if scenario else None
        own = {t: user_tracker.provenance(designs.parse(t).tracker) if t else {} for t in texts}
        for path, given in combinations:
            complete = known.defaults | given
            if together:
                try:
                    together(complete, given)
                except UsageError as error:
                    raise self.wrong(path, error) from None
            read = {text: self.files[text] for value in given.values() for text in _texts(value) if text in self.files}
            if notebook and self.folder == batch.NOTEBOOKS.resolve():
                read |= self._data(text for value in complete.values() for text in _texts(value) if text)
            for text, seed in itertools.product(texts, seeds):
                set_apart = self._set_apart(text, seed) if notebook else {}
                point = Point("", notebook.stem if notebook else "", scenario, text, seed, given | set_apart)
                key = key_of(point, complete | set_apart, code | own[text] | read, costs_sha256)
                yield point._replace(key=key)

    def _data(self, texts: Iterable[str]) -> dict[str, str]:
        """Hash what a notebook of the package reads: the recorded data, and files and folders that parameters name."""
        data = batch.ROOT / "data"
        paths = {f"data/{path.name}": path for path in [data, *data.glob("*/")]}
        paths |= {text: self.folder / text for text in texts if text not in self.files}
        for path in paths.values():
            if path not in self.contents:
                self.contents[path] = _hash_of(path)
        return {f"content of {name}": self.contents[path] for name, path in paths.items() if self.contents[path]}

    def _set_apart(self, text: str, seed: int) -> dict[str, Any]:
        """Parameters of a notebook that have entries of their own in a spec."""
        seeded = "seeds" in self.document or "replications" in self.document
        return ({"design": text} if text else {}) | ({"seed": seed} if seeded else {})


def _resolved(path: str | os.PathLike[str]) -> Path | None:
    """Follow a path to its end; None if there can be no such file: a null byte in it, or no home of that user."""
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):
        return None


def _hash_of(path: Path) -> str:
    """Hash a file, or the files in a folder; empty: there is none, or it is not to be read."""
    digest = hashlib.sha256()
    try:
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        for file in files:
            size = file.stat().st_size if file.is_file() else 0
            digest.update(f"{file.relative_to(path)}\0{size}\0".encode())
            digest.update(file.read_bytes() if 0 < size <= LARGEST_FILE else b"")  # /proc has some without end
    except (OSError, ValueError):  # such as the texts that are no paths
        return ""
    return digest.hexdigest()


def _texts(value: Any) -> list[str]:
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _default_name(source: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", Path(source).stem).lstrip("._-")[:100] or "batch"


def tracker_file(design: str) -> Path:
    """Find the file of a design's tracker, if that is one of the user's own."""
    part = next(p for p in design.split(",") if user_tracker.is_own(p.removeprefix("tracker=")))
    text = part.removeprefix("tracker=")
    return Path(text if text.endswith(".py") else text.rpartition(".py:")[0] + ".py")


def _of_scenario(name: str) -> _Known:
    parameters = ALL[name].PARAMETERS
    checks: dict[str, Callable[[Any], Any]] = {p.name: partial(_check_strictly, p) for p in parameters}
    return _Known(f"scenario {name}", checks, {p.name: p.check(p.default) for p in parameters})


def _check_strictly(parameter: Parameter, value: Any) -> Any:
    """Take what TOML has a type for; text stands for a number only with a unit."""
    kind = type(parameter.default)
    if isinstance(value, str) != (kind is str):
        if not isinstance(value, str):
            raise UsageError(f"{value!r} is not text; put it in quotes")
        exact = in_unit(value, parameter.unit)
        value = int(exact) if exact.denominator == 1 and kind is int else float(exact)
    elif isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UsageError(f"{value!r} is not {'text' if kind is str else 'a number'}")
    return parameter.check(value)


def _of_notebook(path: Path) -> _Known:
    parameters = batch.read_parameters(path)
    checks: dict[str, Callable[[Any], Any]] = {name: partial(_check_of_notebook, p) for name, p in parameters.items()}
    checks.pop("figures_dir", None)  # where the store wants them
    defaults = {name: p.default for name, p in parameters.items() if name != "figures_dir"}
    return _Known(f"notebook {path.stem}", checks, defaults)


def _check_of_notebook(parameter: batch.Parameter, value: Any) -> Any:
    """Take its type; or, if its help names a unit in brackets, text with a unit in the place of a number."""
    unit = re.search(r"\[([^\]]+)\]", parameter.help)
    if unit and "str" not in parameter.type:
        value = _numbers(value, unit[1], parameter.type)
    if not batch.fits(value, parameter.type):
        raise UsageError(f"it takes {parameter.type}, got {value!r} ({type(value).__name__})")
    return value


def _numbers(value: Any, unit: str, kind: str) -> Any:
    if isinstance(value, list):
        return [_numbers(v, unit, kind) for v in value]
    if not isinstance(value, str):
        return value
    exact = in_unit(value, unit)
    return int(exact) if exact.denominator == 1 and "int" in kind else float(exact)
