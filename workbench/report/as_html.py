"""A report as one HTML file: no scripts, nothing fetched, figures within it, light and dark."""

import base64
from html import escape

from workbench.report import Block, Command, Heading, Picture, Prose, Report, Table, Verbatim
from workbench.report.as_text import shell
from workbench.report.figures import harmless, is_png
from workbench.report.prose import is_number, to_html

# Nothing but what stands in the file may be used, even if something else had got into it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --faint: #5c5c5c; --paper: #fff; --line: #d4d4d4; --shade: #f5f5f3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e0; --faint: #a3a39d; --paper: #191a1b; --line: #46484a; --shade: #242628; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 50rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.2rem 0 0.6rem; border-bottom: 1px solid var(--line); }
h3, h4, h5, h6 { font-size: 1rem; margin: 1.6rem 0 0.4rem; }
code, pre { font: 0.85rem/1.4 ui-monospace, monospace; }
pre { background: var(--shade); padding: 0.6rem 0.8rem; overflow-x: auto; border-radius: 4px; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.85rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0 0 0.3rem; }
th, td { text-align: left; vertical-align: top; padding: 0.2rem 1rem 0.2rem 0; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; border-bottom: 2px solid var(--line); }
.n { text-align: right; }
figure { margin: 1.6rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; }
@media (prefers-color-scheme: dark) { figure img { padding: 0.4rem; border-radius: 4px; } }
figcaption, summary { font-size: 0.85rem; color: var(--faint); }
figcaption { margin-top: 0.4rem; }
summary { cursor: pointer; }
blockquote { margin: 1rem 0; padding-left: 1rem; border-left: 3px solid var(--line); }
@media print { body { max-width: none; padding: 0; } details { display: none; } figure, tr { break-inside: avoid; } }
""".strip()


def as_html(report: Report) -> bytes:
    """Write a report as HTML.

    Returns
    -------
    bytes
        One file that refers to nothing outside of itself. Figures are images within it: SVG where it is harmless
        (`figures.harmless`), else PNG.
    """
    parts = []
    figure = 0
    for block in report.blocks:
        figure += isinstance(block, Picture)
        parts.append(_block(block, figure))
    title = escape(report.title)
    body = "\n".join(part.rstrip("\n") for part in parts if part)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}</title>
<style>
{_STYLE}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
""".encode()


def _block(block: Block, figure: int) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Prose(text):
            return to_html(text).replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
        case Table():
            return _table(block) if block.head else ""
        case Verbatim(text):
            return _pre(text.strip("\n"))
        case Command(lines):
            return _pre("\n".join(shell(line) for line in lines))
        case Picture():
            return _picture(block, figure)


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"  # a newline at the beginning would be lost; none is there


def _table(block: Table) -> str:
    right = [
        bool(block.rows) and all(is_number(row[k]) for row in block.rows if row[k]) for k in range(len(block.head))
    ]
    marks = [' class="n"' if r else "" for r in right]
    head = "".join(f"<th{mark}>{escape(cell)}</th>" for cell, mark in zip(block.head, marks, strict=True))
    rows = [
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(row, marks, strict=True)) + "</tr>"
        for row in block.rows
    ]
    title = f"<caption>{escape(block.title)}</caption>" if block.title else ""
    body = "\n".join(rows)
    return f'<div class="table"><table>{title}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _picture(picture: Picture, figure: int) -> str:
    said = "".join(f" From: {escape(source)}." for source in picture.sources)
    caption = f"<figcaption>Figure {figure}. {escape(picture.name)}.{said}</figcaption>"
    text = _pre(picture.text) if picture.text else ""
    uri = _data_uri(picture)
    if not uri:
        return f"<figure>{text}{caption}</figure>"
    title = escape(picture.title)
    image = f'<img src="{uri}" alt="{title}" style="width: {picture.inches:.4g}in">'
    more = f"<details><summary>Figure {figure} as text</summary>{text}</details>" if text else ""
    return f"<figure>{image}\n{caption}{more}</figure>"


def _data_uri(picture: Picture) -> str:
    svg = harmless(picture.svg) if picture.svg else None
    if svg:
        return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    if picture.png and is_png(picture.png):
        return "data:image/png;base64," + base64.b64encode(picture.png).decode()
    return ""
