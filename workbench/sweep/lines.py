"""On which line each key and element of a TOML file stands: `tomllib` says so only of what it can't read."""

import re
from bisect import bisect_left

Path = tuple[str | int, ...]
"""Keys, and numbers of elements, that lead to a value."""

_SKIPPED = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"(?!")|""(?!"))?|\'\'\'.*?\'\'\'(?:\'(?!\')|\'\'(?!\'))?'
    r"|\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'",
    re.S,
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")


def positions(text: str, document: dict) -> dict[Path, int]:
    """Find the line of each key and of each element of an array.

    Parameters
    ----------
    text : str
        TOML.
    document : dict
        What `tomllib` made of it: it has been read without an error, so that no form needs to be checked here.

    Returns
    -------
    dict of tuple to int
        Line, from 1 on, by the path of a value: ``("grid", "qd", 1)`` is the second element of ``qd`` in ``[grid]``.
    """
    return _Reader(text.replace("\r\n", "\n"), document).read()


class _Reader:
    def __init__(self, text: str, document: dict):
        self.text = text
        self.ends = [found.start() for found in re.finditer("\n", text)]  # of lines
        self.at = 0
        self.document = document
        self.found: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}  # tables of an array of tables so far

    def read(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip() < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self.found

    def _skip(self) -> int:
        """Go on to what is neither blank nor comment."""
        self.at = _match(_SKIPPED, self.text, self.at).end()
        return self.at

    def _header(self) -> Path:
        several = self.text.startswith("[[", self.at)
        start = self.at
        self.at += 2 if several else 1
        keys = self._keys()
        self.at += 2 if several else 1
        path: Path = ()
        for i, key in enumerate(keys):
            path = (*path, key)
            self.found.setdefault(path, self._line(start))
            if several and i == len(keys) - 1:
                self.counts[path] = self.counts.get(path, -1) + 1
            if path in self.counts:
                path = (*path, self.counts[path])
                self.found.setdefault(path, self._line(start))
        return path

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self.at = _match(_BLANK, self.text, self.at).end()
            if self.text[self.at] in "\"'":
                token = _match(_STRING, self.text, self.at)
                keys.append(_unquoted(token.group()))
            else:
                token = _match(_BARE, self.text, self.at)
                keys.append(token.group())
            self.at = _match(_BLANK, self.text, token.end()).end()
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _pair(self, table: Path) -> None:
        path, start = table, self.at
        for key in self._keys():
            path = (*path, key)
            self.found.setdefault(path, self._line(start))
        self.at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip()
        first = self.text[self.at]
        if first == "[":
            self._several(path, "]")
        elif first == "{":
            self._several(path, "}")
        else:
            form = _STRING if first in "\"'" else _SCALAR
            self.at = _match(form, self.text, self.at).end()

    def _several(self, path: Path, end: str) -> None:
        """Go through an array, or an inline table."""
        self.at += 1
        n = 0
        while self._skip() < len(self.text) and self.text[self.at] != end:
            if end == "}":
                self._pair(path)
            else:
                self.found[(*path, n)] = self._line(self.at)
                self._value((*path, n))
            n += 1
            if self.text[self._skip()] == ",":
                self.at += 1
        self.at += 1

    def _line(self, at: int) -> int:
        return bisect_left(self.ends, at) + 1


def _match(form: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    found = form.match(text, at)
    assert found, f"TOML that tomllib has read, at {at}"
    return found


def _unquoted(token: str) -> str:
    import tomllib

    return next(iter(tomllib.loads(f"{token} = 0")))
