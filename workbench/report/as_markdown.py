"""A report as Markdown, with its figures in files beside it."""

from collections.abc import Mapping
from urllib.parse import quote

from workbench.report import Block, Command, Heading, Picture, Prose, Report, Table, Verbatim, pictures
from workbench.report.as_text import shell
from workbench.report.figures import harmless, is_png
from workbench.report.prose import escaped, fenced, is_number, to_markdown


def as_markdown(report: Report, folder: str) -> tuple[bytes, dict[str, bytes]]:
    """Write a report as Markdown (GitHub's, for the tables).

    Parameters
    ----------
    report : Report
    folder : str
        Name of the folder beside the file, that figures go into.

    Returns
    -------
    content : bytes
    files : dict of str to bytes
        Name in the folder -> content: the figures as SVG, PDF and PNG, where there are such.
    """
    files: dict[str, bytes] = {}
    links = {id(picture): _files(picture, folder, files) for picture in pictures(report)}
    parts = [f"# {escaped(report.title)}"]
    figure = 0
    for block in report.blocks:
        figure += isinstance(block, Picture)
        parts.append(_block(block, figure, links))
    return ("\n\n".join(part for part in parts if part) + "\n").encode(), files


def _files(picture: Picture, folder: str, files: dict[str, bytes]) -> str:
    """Add a figure's files, under a name that no other has; the link to it, or nothing where it can't be shown."""
    name, k = picture.name, 2
    while any(f"{name}.{kind}" in files for kind in ("svg", "png", "pdf")):
        name, k = f"{picture.name}-{k}", k + 1
    png = picture.png if picture.png and is_png(picture.png) else None
    kinds = {"svg": harmless(picture.svg) if picture.svg else None, "png": png, "pdf": picture.pdf}
    found = {kind: content for kind, content in kinds.items() if content}
    files |= {f"{name}.{kind}": content for kind, content in found.items()}
    shown = next((kind for kind in ("svg", "png") if kind in found), "")
    return f"{quote(folder)}/{quote(name)}.{shown}" if shown else ""


def _block(block: Block, figure: int, links: Mapping[int, str]) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {escaped(text)}"
        case Prose(text):
            return to_markdown(text)
        case Table():
            return _table(block) if block.head else ""
        case Verbatim(text, language):
            return fenced(text.strip("\n"), language)
        case Command(lines):
            return fenced("\n".join(shell(line) for line in lines), "sh")
        case Picture():
            return _picture(block, figure, links[id(block)])


def _table(block: Table) -> str:
    right = [
        bool(block.rows) and all(is_number(row[k]) for row in block.rows if row[k]) for k in range(len(block.head))
    ]
    lines = [block.head, ["---:" if r else "---" for r in right]]
    rows = [lines[0], *block.rows]
    told = ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows]
    told.insert(1, "| " + " | ".join(lines[1]) + " |")
    return "\n\n".join(filter(None, [escaped(block.title), "\n".join(told)]))


def _picture(picture: Picture, figure: int, link: str) -> str:
    title = escaped(picture.title)
    said = "; ".join(escaped(source) for source in picture.sources)
    below = f"*Figure {figure}.* {escaped(picture.name)}." + (f" From: {said}." if said else "")
    return f"![{title}]({link})\n\n{below}" if link else fenced(picture.text or picture.name)
