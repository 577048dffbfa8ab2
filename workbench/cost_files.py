"""Cost tables in files: JSON, checked strictly, written aside and renamed.

A file names what it was measured on, its entries, and perhaps measurements that no entry holds::

    {"name": "my-machine", "kernel": "Linux 6.18", "cpu": "AMD EPYC, 2 CPUs", "provenance": "how it came about",
     "entries": {"GUP_PAGE": {"ns": 35.8, "provenance": "calibrated", "source": "vmsplice …", "spread": 0.01}},
     "measurements": [{"name": "mmap, no merge, 100 VMAs", "value": 1310, "unit": "ns", "spread": 0.02, "runs": 5}]}

Counters without an entry keep that of the default table, with its own provenance.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from workbench.costs import DEFAULT, KINDS, Cost, CostTable
from workbench.errors import UsageError, nearest
from workbench.mm.registers import COUNTERS

LARGEST_FILE = 1 << 20  # bytes
LARGEST_NS = 1e9  # a second for each: sums of picoseconds stay within 63 bits for 9 million of them
LARGEST = 1e18  # of measurements, in whatever unit
LONGEST = 500  # characters of a text
ABOUT = ("name", "kernel", "cpu", "provenance")


@dataclass(frozen=True)
class CostFile:
    """What a file holds.

    Attributes
    ----------
    table : CostTable
        With the default's entries where the file has none.
    about : dict of str to str
        ``name``, ``kernel``, ``cpu``, ``provenance``.
    given : tuple of str
        Counters that the file has an entry for.
    spread : dict of str to float
        Of those entries that tell theirs: interquartile range over median.
    measurements : list of dict
        Rows ``name``, ``value``, ``unit``, ``spread`` (None: not told), ``runs``.
    data : bytes
        The file, for whom it has to be carried to.
    """

    table: CostTable
    about: dict[str, str]
    given: tuple[str, ...]
    spread: dict[str, float]
    measurements: list[dict[str, Any]]
    data: bytes


def read(path: str | os.PathLike[str]) -> CostFile:
    """Read a cost table.

    Parameters
    ----------
    path : path
        A JSON file (see the module).

    Returns
    -------
    CostFile

    Raises
    ------
    UsageError
        One line, with the file and the entry: not JSON; a key or counter that there is not; one that is missing or
        there twice; a cost that is no finite number from 0 to `LARGEST_NS`.
    """
    return _Reader(path).file()


def write(path: Path, about: Mapping[str, str], entries: Mapping[str, Any], measurements: Sequence[Any] = ()) -> Path:
    """Write a cost table, whole or not at all.

    Parameters
    ----------
    path : Path
    about : mapping
        As `CostFile.about`.
    entries : mapping of str to mapping
        By counter: ``ns``, ``provenance``, ``source``, and ``spread`` where there is one.
    measurements : sequence of mapping, optional
        As `CostFile.measurements`.

    Returns
    -------
    Path
        Of the file, which `read` reads.
    """
    text = json.dumps({**about, "entries": entries, "measurements": list(measurements)}, indent=1, allow_nan=False)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as aside:
        unfinished = Path(aside) / path.name
        unfinished.write_text(text + "\n", encoding="utf-8")
        read(unfinished)
        return unfinished.replace(path)


class _Reader:
    """One file, and complaints that name it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path

    def file(self) -> CostFile:
        data = self._bytes()
        whole = self._object("the file", self._json(data), (*ABOUT, "entries"), ("measurements",))
        about = {key: self._text(key, whole[key]) for key in ABOUT}
        if about["name"] == DEFAULT.name:
            self._wrong("name", f"is {DEFAULT.name!r}, the name of the table that is built in; give another")
        told = self._object("entries", whole["entries"], (), COUNTERS)
        entries = {counter: self._entry(f"entry {counter}", value) for counter, value in told.items()}
        measurements = whole.get("measurements", [])
        if not isinstance(measurements, list):
            self._wrong("measurements", "is not a list")
        rows = [self._measurement(f"measurement {i + 1}", value) for i, value in enumerate(measurements)]
        table = CostTable(
            about["name"],
            DEFAULT.entries | {counter: cost for counter, (cost, _) in entries.items()},
            hashlib.sha256(data).hexdigest(),
        )
        spread = {counter: s for counter, (_, s) in entries.items() if s is not None}
        return CostFile(table, about, tuple(entries), spread, rows, data)

    def _bytes(self) -> bytes:
        try:
            with open(self.path, "rb") as file:
                data = file.read(LARGEST_FILE + 1)
        except (OSError, ValueError) as error:  # a NUL in the name
            self._wrong("", f"{getattr(error, 'strerror', None) or error}; give the path of a cost table")
        if len(data) > LARGEST_FILE:
            self._wrong("", f"more than {LARGEST_FILE} bytes, which no cost table has")
        return data

    def _json(self, data: bytes) -> Any:
        def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            keys = [key for key, _ in pairs]
            for key in keys:
                if keys.count(key) > 1:
                    self._wrong("", f"{key!r} is there twice in one object")
            return dict(pairs)

        try:
            return json.loads(data.decode(), object_pairs_hook=once)
        except UsageError:
            raise
        except (ValueError, RecursionError) as error:
            self._wrong("", f"not JSON ({error}); `workbench kernel calibrate --out FILE` writes one")

    def _object(self, where: str, value: Any, needed: Collection[str], more: Collection[str]) -> dict[str, Any]:
        """Check that a value is an object with these keys, and no others."""
        if not isinstance(value, dict):
            self._wrong(where, f"is {_clip(value)}; give an object")
        for key in value:
            if key not in needed and key not in more:
                self._wrong(where, f"there is no {key!r}: {nearest(key, [*needed, *more])}")
        for key in needed:
            if key not in value:
                self._wrong(where, f"{key!r} is missing")
        return value

    def _text(self, where: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > LONGEST:
            self._wrong(where, f"is {_clip(value)}; give one line of text of up to {LONGEST} characters")
        return value

    def _number(self, where: str, value: Any, least: float, most: float) -> float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        if not fits:
            self._wrong(where, f"is {_clip(value)}; give a number from {least:g} to {most:g}")
        return float(value)

    def _entry(self, where: str, value: Any) -> tuple[Cost, float | None]:
        told = self._object(where, value, Cost._fields, ("spread",))
        ns = self._number(f"{where}: ns", told["ns"], 0, LARGEST_NS)
        kind = told["provenance"]
        if not isinstance(kind, str) or kind not in KINDS:
            self._wrong(f"{where}: provenance", f"is {_clip(kind)}; there are: {', '.join(KINDS)}")
        source = self._text(f"{where}: source", told["source"])
        return Cost(ns, kind, source), self._spread(where, told.get("spread"))

    def _spread(self, where: str, value: Any) -> float | None:
        return None if value is None else self._number(f"{where}: spread", value, 0, LARGEST)

    def _measurement(self, where: str, value: Any) -> dict[str, Any]:
        told = self._object(where, value, ("name", "value", "unit", "runs"), ("spread",))
        runs = told["runs"]
        if not isinstance(runs, int) or isinstance(runs, bool) or not 1 <= runs < 2**31:
            self._wrong(f"{where}: runs", f"is {_clip(runs)}; give a whole number from 1")
        return {
            "name": self._text(f"{where}: name", told["name"]),
            "value": self._number(f"{where}: value", told["value"], -LARGEST, LARGEST),
            "unit": self._text(f"{where}: unit", told["unit"]),
            "spread": self._spread(where, told.get("spread")),
            "runs": runs,
        }

    def _wrong(self, where: str, reason: str) -> NoReturn:
        text = f"cost table {self.path}: {where}{': ' if where else ''}{reason}"
        raise UsageError("".join(c if c.isprintable() else repr(c)[1:-1] for c in text)) from None


def _clip(value: Any, most: int = 60) -> str:
    """Quote a value of the file, shortened."""
    if isinstance(value, int) and not -(10**most) < value < 10**most:
        return "a number of too many digits"
    text = repr(value)
    return text if len(text) <= most else text[:most] + "…"
