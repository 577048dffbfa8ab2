"""A folder of results that any number of batches may write to, and that a kill at any moment leaves whole.

    results.parquet      a row per point, in the order of what it is; only ever replaced as a whole
    notebooks/KEY/       executed notebook of a point, with its figures
    failed/KEY/          failure.json with the traceback, and the notebook as far as it got
    batches/NAME.json    the keys of a batch's points
    .journal/            rows that are not in results.parquet yet: a file per running batch
    .lock  .aside/       held, and used, while something is replaced

A row is done once its line is in a journal: the line carries a checksum, and is written and synced before the next.
At its end a batch merges all journals whose batches are over, which it knows by their locks, into results.parquet.
What is replaced is written aside, synced, and renamed. So whoever reads sees all of a file or none of it, and what a
killed batch leaves is a line without its end, or something aside: both are dropped by the next one.
"""

import fcntl
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench import results
from workbench.errors import BatchError, UsageError

RESULTS = "results.parquet"
ORDER = [*results.KEY, "notebook", "point"]


class Store:
    """A store that is open for writing. Use it in a ``with``; leaving merges the journals."""

    def __init__(self, folder: str | os.PathLike[str]):
        """Open a store, and make it where there is none.

        Raises
        ------
        UsageError
            The folder can't be written to, or something in it is damaged; it is left as it is.
        """
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                (self.folder / ".journal").mkdir(exist_ok=True)
                shutil.rmtree(self.folder / ".aside", ignore_errors=True)  # of batches that were killed
                self.done = set(read(self.folder)["point"].to_pylist())
                self._journal, self._descriptor = self._new_journal()
        except OSError as error:
            raise UsageError(
                f"{self.folder}: can't be written to ({error.strerror}); name another store, or make room"
            ) from None
        self._size = 0

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.merge()
        except (BatchError, UsageError):
            if kind is None:
                raise
        finally:
            if self._descriptor >= 0:
                os.close(self._descriptor)

    # ---- rows

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows: when this returns, they are on disk.

        Raises
        ------
        BatchError
            They can't be written; none of them is kept.
        """
        ready = [results.checked(row) for row in rows]
        text = b"".join(map(_line, ready))
        try:
            _write(self._descriptor, text)
            os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise self._failed(self._journal, error) from None
        self._size += len(text)
        self.done.update(row["point"] for row in ready)

    def merge(self) -> None:
        """Put the rows of this batch, and of those that were killed, into ``results.parquet``.

        Raises
        ------
        BatchError, UsageError
            They stay where they are, and are read from there.
        """
        try:
            with self._locked():
                own = self._descriptor
                over = [path for path in self._journals() if path == self._journal or _is_over(path)]
                rows = [row for path in over for row in _rows(path)]
                table = _merged(_table_in(self.folder), rows)
                if rows or not (self.folder / RESULTS).exists():
                    with self._aside() as aside:
                        results.write_table(table, aside / RESULTS)
                        self._replace(aside / RESULTS, self.folder / RESULTS)
                for path in over:
                    path.unlink()
                self._forget_failures(set(table["point"].to_pylist()))
                for name in (".journal", "failed"):
                    with suppress(OSError):  # not empty: another batch is running, or something has failed
                        (self.folder / name).rmdir()
                self._descriptor, self._size = -1, 0
                os.close(own)
        except OSError as error:
            raise self._failed(self.folder / RESULTS, error) from None

    def _forget_failures(self, done: set[str]) -> None:
        """Remove what is known of failures of points that are done now."""
        failed = self.folder / "failed"
        for path in failed.iterdir() if failed.is_dir() else ():
            if path.name in done:
                shutil.rmtree(path)

    # ---- what belongs to a point, or to a batch

    def keep_report(self, key: str, files: Mapping[str, bytes]) -> None:
        """Keep the executed notebook of a point with its figures, all or nothing; one that is there stays.

        Raises
        ------
        BatchError
        """
        self._keep_folder(self.folder / "notebooks" / key, files, replace=False)

    def has_report(self, key: str) -> bool:
        """Whether the executed notebook of a point is there."""
        return (self.folder / "notebooks" / key).is_dir()

    def keep_failure(self, told: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Keep what is known of a failure, unless the point has been done meanwhile.

        Parameters
        ----------
        told : mapping
            ``point``, ``error``, ``traceback``.
        files : mapping
            The notebook as far as it got.

        Raises
        ------
        BatchError
        """
        key = told["point"]["key"]
        if key not in self.done:
            failure = {"failure.json": (json.dumps(told, indent=1, sort_keys=True) + "\n").encode()}
            self._keep_folder(self.folder / "failed" / key, {**files, **failure}, replace=True)

    def keep_batch(self, name: str, told: Mapping[str, Any]) -> None:
        """Keep which points a batch consists of.

        Raises
        ------
        BatchError
        """
        target = self.folder / "batches" / f"{name}.json"
        try:
            with self._locked(), self._aside() as aside:
                target.parent.mkdir(exist_ok=True)
                (aside / "batch").write_text(json.dumps(told, indent=1) + "\n")
                self._replace(aside / "batch", target)
        except OSError as error:
            raise self._failed(target, error) from None

    # ---- files

    def _keep_folder(self, target: Path, files: Mapping[str, bytes], replace: bool) -> None:
        try:
            with self._locked(), self._aside() as aside:
                for name, content in files.items():
                    path = aside / "new" / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                    _sync(path)
                    _sync(path.parent)
                target.parent.mkdir(exist_ok=True)
                if target.exists() and replace:
                    target.rename(aside / "old")
                if not target.exists():
                    self._replace(aside / "new", target)
        except OSError as error:
            raise self._failed(target, error) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        aside = self.folder / ".aside"
        aside.mkdir(exist_ok=True)
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _replace(self, aside: Path, target: Path) -> None:
        _sync(aside)
        aside.replace(target)
        _sync(target.parent)

    def _journals(self) -> list[Path]:
        return sorted((self.folder / ".journal").glob("*.jsonl"))

    def _new_journal(self) -> tuple[Path, int]:
        """Make it under the store's lock, so that nobody finds it without its own."""
        path = self.folder / ".journal" / f"{uuid.uuid4().hex}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sync(path.parent)
        return path, descriptor

    def _failed(self, where: Path, error: OSError) -> BatchError:
        kept = f"the {len(self.done)} points that are done are kept; the same command goes on from there"
        return BatchError(f"{error.filename or where}: {error.strerror or error}; {kept}")


def _write(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_over(journal: Path) -> bool:
    """Whether the batch that wrote a journal has ended: the lock goes with the process."""
    with journal.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


# ---- reading


def _line(row: Mapping[str, Any]) -> bytes:
    text = json.dumps({name: value for name, value in row.items() if value is not None}).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _rows(journal: Path) -> list[dict[str, Any]]:
    """Rows of a journal; what its batch was writing when it was killed is not among them.

    Raises
    ------
    UsageError
        A line is damaged that others follow, or is no row.
    """
    lines = journal.read_bytes().split(b"\n")[:-1]
    whole = [line[:8] == b"%08x" % zlib.crc32(line[9:]) for line in lines]
    last = max((n for n, good in enumerate(whole) if good), default=-1)
    if not all(whole[: last + 1]):
        number = whole.index(False) + 1
        raise UsageError(f"{journal}, line {number}: damaged; move the file away, and what was in it is computed again")
    rows = [json.loads(line[9:]) for line in lines[: last + 1]]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or any(name not in row for name in (*results.KEY, "point")):
            raise UsageError(f"{journal}, line {number}: no row of a store; move the file away")
    return rows


def _table_in(folder: Path) -> pa.Table:
    """Rows of ``results.parquet``, none where there is no such file yet."""
    path = folder / RESULTS
    try:
        table = results.read_table(path) if path.exists() else results.SCHEMA.empty_table()
    except UsageError as error:
        raise UsageError(f"{error}; move it away, and what was in it is computed again") from None
    if "point" not in table.column_names:
        raise UsageError(f"{path}: no table of a store; it lacks the column 'point'")
    return table


def _merged(table: pa.Table, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Add rows whose points are not there yet; sorted, so that the order in which they came does not show."""
    there = set(table["point"].to_pylist())
    new = {row["point"]: row for row in rows if row["point"] not in there}
    try:
        fresh = pa.Table.from_pylist(list(new.values()), schema=results.SCHEMA)
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f".journal: a row holds what is not of its column's type ({reason}); move it away") from None
    return results.joined([table, fresh]).sort_by([(name, "ascending") for name in ORDER])


def read(folder: Path) -> pa.Table:
    """Read all rows of a store, those of batches that are running or were killed too.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    UsageError
        A file is damaged, or the folder is no store.
    """
    if not (folder / RESULTS).exists() and not (folder / ".journal").is_dir():
        raise UsageError(f"{folder}: no store: neither {RESULTS} nor .journal is there")
    for attempt in (1, 2, 3):
        try:  # journals first: what is merged meanwhile is then found twice, not missed
            rows = [row for path in sorted((folder / ".journal").glob("*.jsonl")) for row in _rows(path)]
            return _merged(_table_in(folder), rows)
        except FileNotFoundError:  # merged between listing and reading
            if attempt == 3:
                raise
    raise AssertionError
