"""A report out of an executed notebook: its words, figures and tables, what was set, what made it.

Nothing of the file is run. Its HTML is read for tables only.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import UsageError
from workbench.report import Block, Heading, Picture, Prose, Report, Table, Verbatim, cleaned, pictures, table
from workbench.report import figures as figure_files
from workbench.report.frames import tables
from workbench.report.made_by import cost_file, provenance

# Where a run leaves its figures says nothing of what is in them.
ELSEWHERE = "figures_dir"


class Cell(NamedTuple):
    """A cell of a notebook."""

    kind: str
    source: str
    tags: tuple[str, ...]
    number: int | None
    """Of its execution; None before."""
    outputs: tuple[tuple[str, dict[str, str]], ...]
    """Kind of output, and MIME type -> content."""


class Notebook(NamedTuple):
    """What is used of an ``.ipynb`` file."""

    path: Path
    cells: tuple[Cell, ...]
    injected: dict[str, Any]
    """Parameters that papermill set."""
    python: str

    @property
    def title(self) -> str:
        """The first heading, or the file's name."""
        head, _ = _headed(self)
        return head


def read(path: Path) -> Notebook:
    """Read a notebook, executed or not.

    Raises
    ------
    UsageError
        A file that can't be read, or is no notebook of format 4.
    """
    try:
        told = cleaned(json.loads(path.read_bytes()))
        if told["nbformat"] != 4:
            raise UsageError(f"{path}: a notebook of format {told['nbformat']}; format 4 is needed")
        about = told["metadata"]
        injected = about.get("papermill", {}).get("parameters", {})
        python = str(about.get("language_info", {}).get("version", ""))
        return Notebook(path, tuple(map(_cell, told["cells"])), dict(injected), python)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; name an executed notebook") from None
    except UsageError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UsageError(f"{path}: not a notebook (JSON with cells was expected)") from None


def _cell(told: Mapping[str, Any]) -> Cell:
    tags = tuple(str(tag) for tag in told["metadata"].get("tags", []))
    if told["cell_type"] != "code":
        return Cell(str(told["cell_type"]), _joined(told["source"]), tags, None, ())
    count = told["execution_count"]
    if count is not None and not isinstance(count, int):
        raise ValueError("execution_count")
    return Cell("code", _joined(told["source"]), tags, count, tuple(map(_output, told["outputs"])))


def _output(told: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    kind = str(told["output_type"])
    if kind == "stream":
        return f"stream {told['name']}", {"text/plain": _joined(told["text"])}
    if kind == "error":
        return kind, {"text/plain": f"{told['ename']}: {told['evalue']}"}
    data = told["data"].items()
    return kind, {str(name): _joined(value) for name, value in data if isinstance(value, str | list)}


def _joined(value: Any) -> str:
    """Text, which the format also allows to be a list of its lines."""
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("text")
    return "".join(parts)


def check_executed(book: Notebook) -> None:
    """Make sure that a notebook has run to its end.

    Raises
    ------
    UsageError
        It has not, or a cell has failed; the message says which.
    """
    for number, cell in enumerate(book.cells, 1):
        for kind, data in cell.outputs:
            if kind == "error":
                failed = " ".join(data["text/plain"].split())[:200]
                raise UsageError(f"{book.path}: cell {number} failed ({failed}); a report needs a run without errors")
    codes = [(number, c) for number, c in enumerate(book.cells, 1) if c.kind == "code" and c.source.strip()]
    if missing := [number for number, cell in codes if cell.number is None]:
        stem = book.path.stem
        what = "it was not executed" if len(missing) == len(codes) else f"cell {missing[0]} was not executed"
        raise UsageError(f"{book.path}: {what}; `workbench run {stem}` executes a notebook")


def report(
    book: Notebook,
    parameters: Mapping[str, Any],
    command: Callable[[str], Block],
    *,
    folders: tuple[Path, ...],
    columns: int = 2,
    code: bool = False,
) -> Report:
    """Write a notebook up.

    Parameters
    ----------
    book : Notebook
        One that was executed (`check_executed`).
    parameters : mapping
        What `batch.read_parameters` says of it: name -> default, type, help.
    command : callable
        What makes the report again, for the name of a file with a cost table; an empty one is the package's own.
    folders : tuple of Path
        Where `charts.save` may have left its figures; they are recognised by their pixels.
    columns : int, optional
        1: figures of one column's width, where there are such.
    code : bool, optional
        Keep the code.
    """
    title, cells = _headed(book)
    files = figure_files.saved(folders)
    blocks: list[Block] = []
    for number, cell in enumerate(cells, 1):
        blocks += _blocks(cell, number, files, columns, code)
    end: list[Block] = [*_parameters(book, parameters)]
    body = Report(title, tuple(blocks))
    made = pictures(body)
    end += provenance(made, {"python": book.python})
    return Report(title, (*blocks, *end, Heading("To make this again"), command(cost_file(made))))


def _headed(book: Notebook) -> tuple[str, tuple[Cell, ...]]:
    """Take the first heading off, if the notebook begins with one."""
    for k, cell in enumerate(book.cells):
        if cell.kind != "markdown" or not cell.source.strip():
            continue
        first, _, rest = cell.source.strip().partition("\n")
        if not first.startswith("# "):
            break
        return first.lstrip("# ").strip() or book.path.stem, (
            *book.cells[:k],
            cell._replace(source=rest),
            *book.cells[k + 1 :],
        )
    return book.path.stem, book.cells


def _blocks(cell: Cell, number: int, files: Mapping[str, Path], columns: int, code: bool) -> Iterator[Block]:
    if cell.kind == "markdown":
        yield Prose(cell.source.strip())
    if cell.kind != "code" or {"parameters", "injected-parameters"} & set(cell.tags):
        return
    if code and cell.source.strip():
        yield Verbatim(cell.source, "python")
    if cell.source.lstrip().startswith("%%writefile") and not code:
        return  # says where a file went that is not shown
    for k, (kind, data) in enumerate(cell.outputs):
        yield from _shown(kind, data, f"cell-{number}-{k + 1}", files, columns)


def _shown(kind: str, data: Mapping[str, str], name: str, files: Mapping[str, Path], columns: int) -> Iterator[Block]:
    """The best of the forms that an output has. What was written to standard error is left out, as widgets are."""
    picture = _picture(data, name, files, columns)
    if picture:
        yield picture
    elif "text/markdown" in data:
        yield Prose(data["text/markdown"])
    elif found := tables(data.get("text/html", "")):
        yield from found
    elif kind in ("stream stdout", "display_data", "execute_result") and not _says_nothing(data):
        yield Verbatim(data.get("text/plain", ""))


def _says_nothing(data: Mapping[str, str]) -> bool:
    """Whether the text merely stands for something else: a widget, or where a file was written."""
    text = data.get("text/plain", "")
    return not text.strip() or text.startswith("PosixPath(") or any("widget" in mime for mime in data)


def _picture(data: Mapping[str, str], name: str, files: Mapping[str, Path], columns: int) -> Picture | None:
    try:
        png = base64.b64decode(data.get("image/png", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        png = b""
    if figure_files.is_png(png):
        path = files.get(figure_files.pixels(png))
        size = figure_files.png_size(png) or (0, 0)
        return figure_files.read(path, columns) if path else Picture(name, png=png, inches=min(size[0] / 100, 7.2))
    svg = data.get("image/svg+xml", "").encode()
    return Picture(name, svg=svg) if figure_files.harmless(svg) else None


def _parameters(book: Notebook, known: Mapping[str, Any]) -> Iterator[Block]:
    """What was set, beside what is set by default."""
    rows = []
    for name, parameter in known.items():
        value = book.injected.get(name, parameter.default)
        default = "" if value == parameter.default else _written(parameter.default)
        rows.append([name, _written(value), default, parameter.help])
    rows += [[name, _written(value), "", ""] for name, value in book.injected.items() if name not in known]
    rows = [row for row in rows if row[0] != ELSEWHERE]
    if rows:
        yield Heading("Parameters")
        shown = [0, 1, 2, 3] if any(row[2] for row in rows) else [0, 1, 3]
        head = ["parameter", "value", "by default", "meaning"]
        made: Table = table([head[k] for k in shown], [[row[k] for k in shown] for row in rows])
        yield made


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
