"""Lines of a text file, plain or gzipped, and complaints that name the file and the line."""

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from workbench.errors import UsageError
from workbench.traces.trace import LIMIT

LONGEST_LINE = 1 << 20  # bytes; a longer one is no text that any of the tools writes
WHOLE_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)

Lines = Iterator[tuple[int, str]]


class Source:
    """A file of recorded events.

    Parameters
    ----------
    path : str or path
        Text or gzip; which, is told by its first two bytes, not by its name.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
            with self.path.open("rb") as file:
                self.magic = file.read(4)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}; give the path of a recorded trace") from error
        except ValueError as error:  # a NUL in the name
            raise UsageError(f"{str(path)!r}: {error}; give the path of a recorded trace") from error

    def wrong(self, line: int, reason: str, right: str) -> UsageError:
        """Word what is wrong on a line (from 1, of the decompressed text), and what would be right."""
        text = f"{self.path}:{line}: {reason}; {right}"
        # Whatever is quoted from the file or is in its name: the message stays one line.
        return UsageError("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))

    def lines(self) -> Lines:
        """Yield (line number from 1, line without its end).

        Raises
        ------
        UsageError
            Where the file is not text, or its gzip data are cut off or damaged.
        """
        number = 0
        try:
            with self._open() as file:
                while raw := file.readline(LONGEST_LINE + 1):
                    number += 1
                    yield number, self._decoded(number, raw)
        except EOFError as error:
            raise self.wrong(number + 1, "the gzip data end too early", "copy the whole file again") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self.wrong(number + 1, f"damaged gzip data ({error})", "copy the file again") from error

    def _open(self) -> io.BufferedIOBase:
        if self.magic[:2] == b"\x1f\x8b":
            return gzip.open(self.path, "rb")
        return self.path.open("rb")

    def _decoded(self, number: int, raw: bytes) -> str:
        text_wanted = "give text: CSV, ftrace or trace-cmd report, blkparse, or fio json+"
        if len(raw) > LONGEST_LINE:
            raise self.wrong(number, f"a line of more than {LONGEST_LINE} bytes", text_wanted)
        if b"\0" in raw:
            raise self.wrong(number, "binary data (a zero byte)", text_wanted)
        try:
            return raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise self.wrong(number, f"binary data (not UTF-8 at byte {error.start + 1})", text_wanted) from error

    def number(self, line: int, cell: str, what: str) -> int:
        """Read a whole number from 0 to 2^62 - 1; `what` names it in the complaint."""
        if WHOLE_NUMBER.fullmatch(cell) and int(cell) < LIMIT:
            return int(cell)
        raise self.wrong(line, f"{what} is {clip(cell)}", "give a whole number from 0 to 2^62 - 1")


def clip(text: str, most: int = 60) -> str:
    """Quote a piece of the file, shortened."""
    return repr(text if len(text) <= most else text[:most] + "…")
