"""Write-ups: results, verdicts and notebooks as one report, as Markdown, HTML or text for a mail."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import batch
from workbench.errors import UsageError, nearest
from workbench.report import FORMATS, Command, Report, from_notebook, from_results, from_verdict, pictures
from workbench.report.as_html import as_html
from workbench.report.as_markdown import as_markdown
from workbench.report.as_text import as_text

RESULT, VERDICT, NOTEBOOK = "results", "a verdict", "a notebook"
NARROW = 4.0  # inches


@dataclass(frozen=True)
class Wanted:
    """How a report is to be.

    Attributes
    ----------
    form : str
        One of `report.FORMATS`.
    columns : int or None
        Width of the figures in columns of a page; by default 2. Text has none.
    code : bool
        Keep a notebook's code.
    parameters : tuple of str
        ``name=value`` for a notebook that is named: it is run with these, unless it has been.
    hazards, metrics : tuple of str
        Which counterexamples of a verdict, which metrics of results.
    figures : Path
        Where `workbench figures` has left figures, and executed notebooks in ``notebooks/``.
    """

    form: str
    columns: int | None = None
    code: bool = False
    parameters: tuple[str, ...] = ()
    hazards: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    figures: Path = Path("figures")

    def words(self) -> list[str]:
        """Words of the command line that say the same."""
        words = ["--format", self.form]
        words += ["--columns", str(self.columns)] if self.columns else []
        words += ["--code"] if self.code else []
        words += [word for name in self.hazards for word in ("--hazard", name)]
        return words + [word for name in self.metrics for word in ("--metric", name)]


def export(what: str, wanted: Wanted, *, say: Callable[[str], object] = lambda text: None) -> Report:
    """Make the report of a result or a notebook.

    Parameters
    ----------
    what : str
        A Parquet file of results, or a pattern of such; the JSON of a verdict; an executed notebook; or the name of
        a notebook, which is run if it has not been with these parameters.
    wanted : Wanted
    say : callable, optional
        Is told what takes long.

    Returns
    -------
    Report
        For `content`.

    Raises
    ------
    UsageError
        Wrong input: nothing of that name, a file of another kind, damaged, or not executed; an option that says
        nothing of such input.
    batch.NotebookError
        The notebook was run, and failed.
    """
    if wanted.form not in FORMATS:
        raise UsageError(f"--format {wanted.form}: {nearest(wanted.form, FORMATS)}")
    if wanted.form == "txt" and wanted.columns is not None:
        raise UsageError(f"--columns {wanted.columns}: text has no figures; it is for md and html")
    kind = _kind(what)
    _check_options(kind, wanted)
    columns = wanted.columns or 2
    if kind == RESULT:
        return from_results.report(
            from_results.read(what),
            _stem(what),
            lambda file: ["workbench", "export", file, *wanted.words()],
            wanted.metrics,
            columns,
        )
    if kind == VERDICT:
        name = Path(what).name
        again = ["workbench", "export", name, *wanted.words()]
        return from_verdict.report(from_verdict.read(Path(what)), name, again, wanted.hazards, columns)
    if what in batch.notebook_names():
        return _named(what, wanted, say)
    if wanted.parameters:
        raise UsageError(f"-p: {what} has been run; give the name of a notebook to have it run with other parameters")
    book = from_notebook.read(Path(what))
    report = _written_up(book, wanted, _read_parameters(Path(what)), (book.path.parent.parent, book.path.parent))
    if wanted.columns == 1 and (made := pictures(report)) and not any(picture.inches < NARROW for picture in made):
        say(f"no figure of {what} is of one column: none fits, or its run was of an older version")
    return report


def _kind(what: str) -> str:
    """See what is to be exported: files by how they begin, names of notebooks before files."""
    if what in batch.notebook_names():
        return NOTEBOOK
    path = Path(what)
    if path.is_dir():
        of_batch = path / "results.parquet"
        right = of_batch if of_batch.is_file() else "a file, or a notebook of `workbench list notebooks`"
        raise UsageError(f"{what}: that is a folder; name {right}")
    if path.exists():
        return _kind_of_file(path)
    if "*" in what or path.suffix == ".parquet":
        return RESULT
    if path.suffix in (".json", ".ipynb"):
        raise UsageError(f"{what}: no such file")
    raise UsageError(f"{what}: neither a file nor a notebook: {nearest(what, batch.notebook_names())}")


def _kind_of_file(path: Path) -> str:
    known = f"Parquet of `workbench simulate --out`, JSON of `workbench explore`, or .ipynb is needed ({path.name})"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; {known}") from None
    if content.startswith(b"PAR1") or path.suffix == ".parquet":
        return RESULT
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: neither results nor a notebook; {known}") from None
    if isinstance(told, dict) and "cells" in told:
        return NOTEBOOK
    if isinstance(told, dict) and isinstance(told.get("hazards"), dict) and "metrics" not in told:
        return VERDICT
    if isinstance(told, dict | list) and "metrics" in str(told)[:100_000]:
        raise UsageError(f"{path}: `simulate --json` says too little of a run; use its --out FILE.parquet")
    raise UsageError(f"{path}: neither results nor a notebook; {known}")


def _check_options(kind: str, wanted: Wanted) -> None:
    """Refuse what would have no effect."""
    of = {
        "--code": (wanted.code, NOTEBOOK),
        "-p": (wanted.parameters, NOTEBOOK),
        "--hazard": (wanted.hazards, VERDICT),
        "--metric": (wanted.metrics, RESULT),
    }
    for option, (given, right) in of.items():
        if given and kind != right:
            raise UsageError(f"{option}: it is for {right}, and this is {kind}")


def _stem(what: str) -> str:
    return Path(what).name.replace("*", "").removesuffix(".parquet").strip("-_.") or "results"


# ---- notebooks


def _named(name: str, wanted: Wanted, say: Callable[[str], object]) -> Report:
    """Write a notebook of this checkout up: as it was executed with these parameters, or else from a run of its own."""
    source = batch.find_notebook(name)
    given = batch.parse_parameters(source, wanted.parameters)
    known = batch.read_parameters(source)
    if from_notebook.ELSEWHERE in given:
        raise UsageError(f"-p {from_notebook.ELSEWHERE}: a report has its figures in it; leave that out")
    done = wanted.figures / "notebooks" / source.name
    if done.is_file():
        book = from_notebook.read(done)
        if _values(known, book.injected) == _values(known, given) and _same_cells(book, from_notebook.read(source)):
            return _written_up(book, wanted, known, (wanted.figures,))
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        say(f"running {name}: {done} was not executed with these parameters, or is of another version")
        book = from_notebook.read(batch.run_notebook(source, given, scratch))
        return _written_up(book, wanted, known, (scratch,))


def _values(known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: given.get(name, parameter.default) for name, parameter in known.items()}
    return {name: value for name, value in values.items() if name != from_notebook.ELSEWHERE}


def _same_cells(one: from_notebook.Notebook, other: from_notebook.Notebook) -> bool:
    sources = [[c.source for c in b.cells if "injected-parameters" not in c.tags] for b in (one, other)]
    return sources[0] == sources[1]


def _read_parameters(path: Path) -> Mapping[str, Any]:
    try:
        return batch.read_parameters(path)
    except (RecursionError, MemoryError, AttributeError):
        raise UsageError(f"{path}: parameters that can't be read") from None


def _written_up(
    book: from_notebook.Notebook, wanted: Wanted, known: Mapping[str, Any], folders: tuple[Path, ...]
) -> Report:
    from_notebook.check_executed(book)
    return from_notebook.report(
        book,
        known,
        lambda costs: _command(book, wanted, known, costs),
        folders=folders,
        columns=wanted.columns or 2,
        code=wanted.code,
    )


def _command(book: from_notebook.Notebook, wanted: Wanted, known: Mapping[str, Any], costs: str) -> Command:
    """What makes the report again: one command for a notebook of the package, which is run for it if need be."""
    name = book.path.stem
    changed = {n: v for n, v in book.injected.items() if n in known and v != known[n].default}
    set_to = [f"{n}={_as_typed(v)}" for n, v in changed.items() if n != from_notebook.ELSEWHERE]
    parameters = ["-p", *set_to] if set_to else []
    ours = name in batch.notebook_names()
    if ours and not costs:
        return Command((("workbench", "export", name, *wanted.words(), *parameters),))
    table = ["--costs", costs] if costs else []
    run = ("workbench", "run", name if ours else f"{name}.ipynb", *parameters, *table, "--out", "figures")
    return Command((run, ("workbench", "export", f"figures/notebooks/{name}.ipynb", *wanted.words())))


def _as_typed(value: Any) -> str:
    """A parameter as `workbench run -p` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---- writing


def content(report: Report, form: str, folder: str = "") -> tuple[bytes, dict[str, bytes]]:
    """Write a report in a format.

    Parameters
    ----------
    report : Report
    form : str
        One of `report.FORMATS`.
    folder : str, optional
        Name of the folder that the figures of Markdown go into.

    Returns
    -------
    content : bytes
    files : dict of str to bytes
        For the folder.
    """
    if form == "md":
        return as_markdown(report, folder)
    return {"html": as_html, "txt": as_text}[form](report), {}


def write(report: Report, form: str, path: Path) -> None:
    """Write a report to a file, its figures first where they are files; each is whole or not there at all.

    Parameters
    ----------
    report, form
        As in `content`.
    path : Path
        The file. Figures of Markdown go beside it into ``STEM_files/``, over those of the same name.

    Raises
    ------
    UsageError
        The folder is missing, or can't be written to.
    """
    check_place(path)
    folder = path.parent / f"{path.stem}_files"
    main, files = content(report, form, folder.name)
    try:
        if files:
            folder.mkdir(exist_ok=True)
        for name, own in files.items():
            _replace(folder / name, own)
        _replace(path, main)
    except OSError as error:
        raise UsageError(f"--out {path}: {error.strerror}; name a file in a folder that can be written to") from None


def check_place(path: Path) -> None:
    """See that a file can be written there, before the work is done.

    Raises
    ------
    UsageError
        It can't.
    """
    if path.is_dir():
        raise UsageError(f"--out {path}: that is a folder; name a file, such as {path / 'report.html'}")
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"--out {path}: {path.parent} can't be written to; name a file in another folder")


def _replace(path: Path, content: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as aside:
        made = Path(aside) / "made"
        made.write_bytes(content)
        made.replace(path)


def send(report: Report, form: str) -> None:
    """Write a report to standard output.

    Raises
    ------
    UsageError
        It has files beside it.
    """
    main, files = content(report, form, "report_files")
    if files:
        raise UsageError("--out -: the figures of Markdown are files beside it; name a file, or take html or txt")
    sys.stdout.flush()
    sys.stdout.buffer.write(main)


def default_name(what: str, form: str, parts: Sequence[str] = ()) -> Path:
    """Name a report after what it is of, in the folder of the moment."""
    stem = _stem(what) if "*" in what or what.endswith(".parquet") else Path(what).stem
    return Path(f"{'-'.join([stem, *parts])}.{form}")
