"""Markdown in a report: for HTML, for a mail, and as Markdown again; without raw HTML, images and references."""

import re
import textwrap
from collections.abc import Sequence

import pandas as pd
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

from workbench.tables import COLUMNS, text_table
from workbench.usage import layout

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_PROSE = 24  # columns that a column of prose needs
_NARROWEST = 20  # columns: lists within lists are not indented beyond what leaves so much


def to_html(text: str) -> str:
    """Write Markdown as HTML that refers to nothing outside of itself.

    Parameters
    ----------
    text : str
        Raw HTML in it is shown as text; an image is its words; a link is its text and its address.
    """
    tokens = _MARKDOWN.parse(text)
    for token in tokens:
        if token.children is not None:
            token.children = _local(token.children)
        if token.tag == "h1":  # that is the report's title
            token.tag = "h2"
    return _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})


def _local(tokens: Sequence[Token]) -> list[Token]:
    kept: list[Token] = []
    links: list[str] = []
    for token in tokens:
        if token.type == "link_open":
            links.append(str(token.attrGet("href") or ""))
        elif token.type == "link_close":
            before = kept[-1].content if kept else ""
            kept.append(_plain(_address(links.pop(), before)))
        elif token.type == "image":
            kept.append(_plain(_image(token.content)))
        else:
            kept.append(token)
    return kept


def _plain(text: str) -> Token:
    return Token("text", "", 0, content=text)


def _image(words: str) -> str:
    return f"[image: {words}]" if words else "[image]"


def _address(href: str, before: str) -> str:
    """What stands behind a link's text: nothing if that is the address, or if it is a place in the same text."""
    return "" if not href or href.startswith("#") or href in (before, f"mailto:{before}") else f" ({href})"


# ---- for a mail


def to_text(text: str, width: int = COLUMNS) -> str:
    """Write Markdown as plain text.

    Parameters
    ----------
    text : str
    width : int, optional
        No line is longer.
    """
    return _blocks(SyntaxTreeNode(_MARKDOWN.parse(text)), width)


def _blocks(node: SyntaxTreeNode, width: int, gap: str = "\n\n") -> str:
    return gap.join(filter(None, (_block(child, width) for child in node.children)))


def _block(node: SyntaxTreeNode, width: int) -> str:
    match node.type:
        case "heading":
            return underlined(_inline(node), width)
        case "bullet_list" | "ordered_list":
            return _list(node, width)
        case "blockquote":
            return _behind("> ", "> ", node, width)
        case "fence" | "code_block":
            return verbatim(node.content.rstrip("\n"), width)
        case "table":
            return _table(node, width)
        case "hr":
            return "-" * min(width, 20)
    return filled(_inline(node), width)


def _behind(first: str, others: str, node: SyntaxTreeNode, width: int, gap: str = "\n\n") -> str:
    """Blocks behind a mark."""
    if width - len(first) < _NARROWEST:
        return _blocks(node, width, gap)
    lines = _blocks(node, width - len(first), gap).split("\n")
    return "\n".join(((others if k else first) + line).rstrip() for k, line in enumerate(lines))


def _list(node: SyntaxTreeNode, width: int) -> str:
    start = int(node.attrs.get("start", 1))
    loose = any(not child.hidden for item in node.children for child in item.children if child.type == "paragraph")
    gap = "\n\n" if loose else "\n"
    items = []
    for k, item in enumerate(node.children):
        mark = f"{start + k}. " if node.type == "ordered_list" else "- "
        items.append(_behind(mark, " " * len(mark), item, width, gap) or mark.strip())
    return gap.join(items)


def _table(node: SyntaxTreeNode, width: int) -> str:
    rows = [[_inline(cell) for cell in row.children] for part in node.children for row in part.children]
    return columns(rows[0], rows[1:], width=width)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", width: int = COLUMNS) -> str:
    """Lay cells out in columns, numbers at the right; see `tables.text_table`.

    Parameters
    ----------
    head : sequence of str
        One column at least.
    rows : sequence of sequence of str
        As many cells each.
    title : str, optional
    width : int, optional
    """
    cells = [[row[k] for row in rows] for k in range(len(head))]
    names = list(head)
    for k, own in enumerate(cells):
        if own and all(map(is_number, filter(None, own))):
            wide = max(max(map(len, own)), min(len(names[k]), 12))
            cells[k] = [cell.rjust(wide) for cell in own]
            names[k] = names[k].rjust(wide)
    others = sum(max(map(len, [name, *own])) + 2 for name, own in zip(names[:-1], cells[:-1], strict=True))
    longest = max(map(len, [names[-1], *cells[-1]]))
    if longest > width - others >= _PROSE:
        return _with_prose(names, cells, title, width)
    frame = pd.DataFrame(dict(enumerate(cells)), dtype=object)
    frame.columns = pd.Index(names)
    return text_table(frame, title, width, units=dict.fromkeys(names, "1"))


def _with_prose(names: Sequence[str], cells: Sequence[Sequence[str]], title: str, width: int) -> str:
    """Give the last column what the others leave."""
    rules = ["-" * max(map(len, [name, *own])) for name, own in zip(names, cells, strict=True)]
    rules[-1] = "-" * (width - sum(len(rule) + 2 for rule in rules[:-1]))
    lines = layout([names, rules, *zip(*cells, strict=True)], width=width)
    return "\n\n".join([*[filled(title, width)] * bool(title), "\n".join(line.rstrip() for line in lines)])


def is_number(text: str) -> bool:
    """Whether a cell is a number, with or without a unit, or one that is missing."""
    return (
        re.fullmatch(r"[-+−]?[\d.,]+(e[-+]?\d+)?\s?(%|[a-zµ]{0,3}(/s)?)|-|nan|-?inf", text.strip().lower()) is not None
    )


def _inline(node: SyntaxTreeNode) -> str:
    match node.type:
        case "text" | "code_inline":
            return node.content
        case "softbreak" | "hardbreak":
            return " "
        case "image":
            return _image(node.content)
        case "link":
            inside = "".join(map(_inline, node.children))
            return inside + _address(str(node.attrs.get("href", "")), inside)
    return "".join(map(_inline, node.children))


def filled(text: str, width: int = COLUMNS, first: str = "", others: str = "") -> str:
    """Break a text at blanks, and a word only where it is too long for a line."""
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def underlined(text: str, width: int = COLUMNS, mark: str = "-") -> str:
    """Write a heading."""
    lines = textwrap.wrap(text, width, break_on_hyphens=False)
    return "\n".join([*lines, mark * max(map(len, lines))]) if lines else ""


def verbatim(text: str, width: int = COLUMNS) -> str:
    """Leave lines as they are; one that is too long goes on below itself, with its indent and two columns more."""
    done = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        indent = indent if len(indent) <= width - _NARROWEST else ""
        kept = textwrap.wrap(
            line.strip(),
            width,
            initial_indent=indent,
            subsequent_indent=indent + "  ",
            drop_whitespace=True,
            replace_whitespace=False,
            break_on_hyphens=False,
        )
        done += [line.rstrip()] if len(line.rstrip()) <= width else kept
    return "\n".join(done)


# ---- as Markdown again


def to_markdown(text: str) -> str:
    """Leave Markdown as it is, but for raw HTML and images, which become text; code is not touched."""
    for spare in (_CODE_SPAN, None):
        lines = _outside_fences(text, spare)
        if not _refers(lines):
            return lines
    return fenced(text)


# A guess, since a span of code may go on in the next line: what comes out is parsed, to see.
_CODE_SPAN = re.compile(r"((?<![`\\])(`+)(?!`).+?(?<!`)\2(?!`))")
_WITH_HTML = MarkdownIt("commonmark")


def _refers(text: str) -> bool:
    """Whether a reader that takes raw HTML would find some, or an image."""
    tokens = [t for token in _WITH_HTML.parse(text) for t in (token, *(token.children or ()))]
    return any(token.type in ("html_block", "html_inline", "image") for token in tokens)


def _outside_fences(text: str, spare: re.Pattern[str] | None) -> str:
    done, fence = [], ""
    for line in text.split("\n"):
        mark = re.match(r" {0,3}(`{3,}|~{3,})(.*)", line)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) and not mark[2].strip() else fence
        elif mark and not ("`" in mark[1] and "`" in mark[2]):
            fence = mark[1]
        else:
            line = _without_html(line, spare)
        done.append(line)
    return "\n".join(done + [fence] * bool(fence))


def _without_html(line: str, spare: re.Pattern[str] | None) -> str:
    # Every third part, from the second on, is code, and the one behind it its mark.
    parts = spare.split(line) if spare else [line]
    told = [part.replace("<", "&lt;").replace("![", "!\\[") for part in parts[::3]]
    return "".join(a + b for a, b in zip(told, [*parts[1::3], ""], strict=True))


def escaped(text: str) -> str:
    """Escape what Markdown would read as more than a character; in one line."""
    text = re.sub(r"([\\`*\[\]<>|&~])", r"\\\1", " ".join(text.split()))
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    text = re.sub(r"^([#+=-])(?=[\s#+=-]|$)", r"\\\1", text)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)


def fenced(text: str, language: str = "") -> str:
    """Put lines into a fence that is longer than any of theirs."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
