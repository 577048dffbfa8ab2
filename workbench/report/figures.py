"""Figures of a report: read from where `charts.save` has written them, recognised by their pixels, made safe."""

import hashlib
import re
import struct
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from workbench import charts
from workbench.report import Picture, clean, cleaned

ONE_COLUMN = charts.ONE_COLUMN
_PNG = b"\x89PNG\r\n\x1a\n"
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
# What matplotlib writes, and no more.
_ELEMENTS = {
    "svg", "g", "defs", "path", "use", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan",
    "clipPath", "pattern", "style", "title", "desc", "image", "linearGradient", "stop", "marker",
}  # fmt: skip
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG)
    while place + 12 <= len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        place += 12 + size


def is_png(data: bytes) -> bool:
    """Whether bytes begin and end as a PNG does."""
    return data.startswith(_PNG) and png_size(data) is not None and data[-8:-4] == b"IEND"


def png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; None for what is no PNG."""
    kind, head = next(_chunks(data), (b"", b""))
    if kind != b"IHDR" or len(head) != 13:
        return None
    width, height = struct.unpack(">II", head[:8])
    return width, height


def pixels(png: bytes) -> str:
    """Hash what a PNG shows, whatever is written in it beside: equal for a figure in a notebook and in its file."""
    told = hashlib.sha256()
    for kind, content in _chunks(png):
        if kind in (b"IHDR", b"IDAT"):
            told.update(content)
    return told.hexdigest()


def saved(folders: Iterable[Path]) -> dict[str, Path]:
    """Find figures that `charts.save` has written.

    Parameters
    ----------
    folders : iterable of Path
        Those that are not there are passed over.

    Returns
    -------
    dict
        Hash of the pixels -> PNG file.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.png")) if folder.is_dir() else ():
            found.setdefault(pixels(path.read_bytes()), path)
    return found


def read(png: Path, columns: int = 2) -> Picture:
    """Read a figure with its siblings.

    Parameters
    ----------
    png : Path
        Of two columns' width, or of whatever width it was made in.
    columns : int, optional
        1: the narrow one, where there is one.
    """
    narrow = png.parent / ONE_COLUMN / png.name
    shown = narrow if columns == 1 and narrow.is_file() else png
    made_by, sources = _provenance(png)
    size = png_size(shown.read_bytes())
    return Picture(
        name=png.stem,
        png=shown.read_bytes(),
        svg=_bytes(shown.with_suffix(".svg")),
        pdf=_bytes(shown.with_suffix(".pdf")),
        text=_text(png.with_suffix(".txt")),
        made_by=made_by,
        sources=sources,
        inches=(size[0] if size else 0) / charts.DPI,
    )


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _text(path: Path) -> str:
    """The text sibling, without its footer."""
    told = clean((_bytes(path) or b"").decode(errors="replace"))
    return re.split(r"(?:^|\n\n)Made by ", told)[0].strip("\n")


def _provenance(png: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    try:
        told = cleaned(charts.read_provenance(png))
        sources = tuple(str(source) for source in told.pop("sources", []))
    except (ValueError, OSError, SyntaxError, AttributeError, TypeError, RecursionError):
        return {}, ()  # a picture of somebody else's
    return told, sources


def drawn(made: tuple[Any, str], name: str, made_by: Mapping[str, Any], sources: Iterable[str] = ()) -> Picture:
    """Turn what a helper of `charts` gives into a picture.

    Parameters
    ----------
    made : (Chart, str)
    name : str
        As `charts.save` wants it.
    made_by, sources
        As there.
    """
    with tempfile.TemporaryDirectory() as aside:
        charts.save(made[0], name, aside, made[1], made_by, sources)
        return read(Path(aside) / f"{name}.png")


# ---- SVG


def harmless(svg: bytes) -> bytes | None:
    """Leave of an SVG what draws: no scripts, no events, no reference that leads out of it.

    Returns
    -------
    bytes or None
        None for what can't be read as an SVG, or has entities of its own.
    """
    if re.search(rb"<!ENTITY", svg, re.IGNORECASE):
        return None
    try:
        root = ElementTree.fromstring(svg)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError):
        return None
    if root.tag != f"{{{_SVG}}}svg":
        return None
    _prune(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _prune(element: ElementTree.Element) -> None:
    element.attrib = {name: value for name, value in element.attrib.items() if _draws(element.tag, name, value)}
    if element.tag == f"{{{_SVG}}}style" and not _stays_inside(element.text or ""):
        element.text = ""
    for child in list(element):
        name = child.tag.removeprefix(f"{{{_SVG}}}") if isinstance(child.tag, str) else ""
        if name in _ELEMENTS and isinstance(child.tag, str) and child.tag.startswith("{"):
            _prune(child)
        else:
            element.remove(child)


def _draws(tag: str, name: str, value: str) -> bool:
    if name in ("href", _XLINK):
        inside = re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/=\s]*", value)
        return value.startswith("#") or (tag == f"{{{_SVG}}}image" and inside is not None)
    if name.startswith(("{", "on")):
        return False
    return _stays_inside(value)


def _stays_inside(style: str) -> bool:
    """Whether a style, or any attribute, refers to nothing but parts of the same drawing."""
    if re.search(r"[@\\<]|image\(|image-set\(|javascript:|expression\(", style, re.IGNORECASE):
        return False
    return not re.search(r"url\(\s*(?!['\"]?#)", style, re.IGNORECASE)
