"""Tables out of the HTML that pandas writes into a notebook: their cells, and nothing else of it."""

from html.parser import HTMLParser

from workbench.report import Table, table

_MOST = 1000  # columns or rows that one cell may span, as a browser has it


class _Tables(HTMLParser):
    """Collects the cells of all tables, and the text outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[tuple[str, int, int, bool]]]] = []
        self.outside = ""
        self.depth = 0
        self.cell: list[str] | None = None
        self.spans = (1, 1)
        self.in_head = self.silent = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.depth += 1
            self.tables.append([])
        elif tag in ("style", "script"):
            self.silent = True
        elif self.depth and tag in ("thead", "tbody"):
            self.in_head = tag == "thead"
        elif self.depth and tag == "tr":
            self.end_cell()
            self.tables[-1].append([])
        elif self.depth and tag in ("td", "th") and self.tables[-1]:
            self.end_cell()
            said = dict(attrs)
            self.spans = _span(said.get("colspan")), _span(said.get("rowspan"))
            self.cell = []
        elif tag == "br":
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "tr"):
            self.end_cell()
        elif tag in ("style", "script"):
            self.silent = False
        elif tag == "table" and self.depth:
            self.end_cell()
            self.depth -= 1
            self.in_head = False

    def handle_data(self, data: str) -> None:
        if self.silent:
            return
        if self.cell is not None:
            self.cell.append(data)
        elif not self.depth:
            self.outside += data

    def end_cell(self) -> None:
        """Keep the cell that is open, if any."""
        if self.cell is not None and self.tables and self.tables[-1]:
            text = " ".join("".join(self.cell).split())
            self.tables[-1][-1].append((text, *self.spans, self.in_head))
        self.cell = None


def _span(text: str | None) -> int:
    return min(int(text), _MOST) if text and text.isascii() and text.isdigit() and int(text) else 1


def tables(html: str) -> list[Table] | None:
    """Read the tables of an HTML output.

    Parameters
    ----------
    html : str
        As pandas writes a frame. Headings of several rows become one; cells that span others are repeated.

    Returns
    -------
    list of Table or None
        Text outside of a table becomes the title of the first. None where there is no table.
    """
    parser = _Tables()
    parser.feed(html)
    parser.close()
    parser.end_cell()
    title = " ".join(parser.outside.split())
    found = [made for rows in parser.tables if (made := _table(rows)).head]
    return [Table(found[0].head, found[0].rows, title), *found[1:]] if found else None


def _table(rows: list[list[tuple[str, int, int, bool]]]) -> Table:
    grid, heads = _grid(rows)
    wide = max(map(len, grid), default=0)
    grid = [row + [""] * (wide - len(row)) for row in grid]
    head = [" ".join(dict.fromkeys(filter(None, column))) for column in zip(*grid[:heads], strict=True)]
    return table(head or [""] * wide, grid[heads:])


def _grid(rows: list[list[tuple[str, int, int, bool]]]) -> tuple[list[list[str]], int]:
    """Put cells where they stand; returns the rows, and how many of them are headings."""
    grid: list[list[str]] = []
    below: dict[tuple[int, int], str] = {}
    heads = 0
    for y, cells in enumerate(rows):
        line: list[str] = []
        for text, across, down, in_head in cells:
            while (y, len(line)) in below:
                line.append(below.pop((y, len(line))))
            heads = y + 1 if in_head and heads == y else heads
            for _ in range(across):
                below |= {(y + k, len(line)): text for k in range(1, min(down, len(rows) - y))}
                line.append(text)
        while (y, len(line)) in below:
            line.append(below.pop((y, len(line))))
        grid.append(line)
    return grid, heads
