"""A figure's files: written with what made them inside, and read back."""

import json
import os
import re
import tempfile
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from matplotlib.figure import Figure
from PIL import Image

from workbench.charts.paper import Chart, render
from workbench.provenance import SOFTWARE, plain
from workbench.tables import COLUMNS

FORMATS = ("svg", "pdf", "png")
ONE_COLUMN = "one-column"  # folder beside wide figures: the same figures, of the width "one"


def save(
    fig: Figure,
    name: str,
    folder: str | os.PathLike[str],
    text: str,
    provenance: Mapping[str, Any],
    sources: Iterable[str] = (),
) -> list[Path]:
    """Write a figure as SVG, PDF and PNG, with its text sibling; all of them or, where it fails, none.

    A wide figure (7.2 in) is drawn again for one column (3.5 in), from the same data, into the folder `ONE_COLUMN`
    beside it; where it does not fit so narrow a column, that is left out.

    Parameters
    ----------
    fig : Figure
        As a helper of this package made it. What was changed by hand since, the narrow one does not show.
    name : str
        Of the files, without suffix: lower-case letters, digits, hyphens, underscores.
    folder : path
        Is made where it is missing.
    text : str
        The text sibling, as the helper made it; no line longer than 72 columns.
    provenance : mapping
        As `workbench.provenance.provenance` makes it. It goes as JSON into the SVG's Description, the PDF's
        Subject and the PNG's Description, without the Python version: no result depends on it, and
        constraints do not fix it.
    sources : iterable of str, optional
        Where data and claims come from: files, message ids. They join the provenance and the text.

    Returns
    -------
    list of Path
        ``.svg``, ``.pdf``, ``.png``, ``.txt``; then the narrow ones, where there are such.

    Raises
    ------
    ValueError
        A bad name, or a line that is too long.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ValueError(f"figure name {name!r}: lower-case letters, digits, hyphens and underscores only")
    cited = list(sources)
    made_by = plain({key: value for key, value in provenance.items() if key != "python"})
    told = json.dumps(plain({**made_by, "sources": cited}), sort_keys=True)
    whole = "\n\n".join([text.rstrip("\n"), _footer(made_by, cited)]) + "\n"
    for k, row in enumerate(whole.split("\n"), 1):
        if len(row) > COLUMNS:
            raise ValueError(f"{name}.txt: line {k} has {len(row)} columns; a mail has {COLUMNS}: {row}")
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Title": name, "Description": told, "Date": None},
        "pdf": {"Title": name, "Subject": told, "CreationDate": None},
        "png": {"Title": name, "Description": told},
    }
    contents = {f"{name}.{kind}": render(fig, kind, metadata[kind]) for kind in FORMATS}
    contents[f"{name}.txt"] = whole.encode()
    if (narrow := _narrow(fig)) is not None:
        contents |= {f"{ONE_COLUMN}/{name}.{kind}": render(narrow, kind, metadata[kind]) for kind in FORMATS}
    folder = Path(folder)
    (folder / ONE_COLUMN if narrow is not None else folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.") as aside:
        for k, content in enumerate(contents.values()):
            (Path(aside) / str(k)).write_bytes(content)
        if narrow is None:  # there may be one of an earlier figure
            for kind in FORMATS:
                (folder / ONE_COLUMN / f"{name}.{kind}").unlink(missing_ok=True)
        return [(Path(aside) / str(k)).replace(folder / file) for k, file in enumerate(contents)]


def _narrow(fig: Figure) -> Chart | None:
    """Draw a figure again for one column; None if it is narrow already, or does not fit."""
    if not isinstance(fig, Chart) or fig.narrow is None:
        return None
    try:
        return fig.narrow()
    except ValueError:  # too many lanes, or columns
        return None


def _footer(made_by: Mapping[str, Any], cited: Sequence[str]) -> str:
    parts = [f"{made_by.get('software', SOFTWARE)} {made_by.get('version')}, sources {made_by.get('source_hash')}"]
    parts += [f"{key} {made_by[key]}" for key in ("scenario", "design", "seed") if made_by.get(key) is not None]
    parts += [f"{key}={value}" for key, value in (made_by.get("parameters") or {}).items()]
    parts += [f"trace sha256 {made_by['trace_sha256'][:16]}"] if made_by.get("trace_sha256") else []
    lines = [textwrap.fill("Made by " + "; ".join(parts) + ".", COLUMNS)]
    return "\n".join(lines + [textwrap.fill(f"From: {source}", COLUMNS, subsequent_indent="  ") for source in cited])


def read_provenance(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read back what `save` embedded in a figure.

    Parameters
    ----------
    path : path
        An ``.svg``, ``.pdf`` or ``.png`` file that `save` wrote.

    Returns
    -------
    dict
        The provenance, and ``sources``.

    Raises
    ------
    ValueError
        A file without one.
    """
    path = Path(path)
    told: str | None = None
    if path.suffix == ".svg":
        told = ElementTree.parse(path).findtext(".//{http://purl.org/dc/elements/1.1/}description")
    elif path.suffix == ".pdf":
        found = re.search(rb"/Subject \(((?:[^\\()]|\\.)*)\)", path.read_bytes(), re.DOTALL)
        told = re.sub(rb"\\(.)", rb"\1", found[1], flags=re.DOTALL).decode() if found else None
    elif path.suffix == ".png":
        with Image.open(path) as image:
            told = image.info.get("Description")
    if told is None:
        raise ValueError(f"{path}: carries no provenance")
    return json.loads(told)
