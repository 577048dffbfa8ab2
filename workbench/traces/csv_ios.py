"""CSV with a row per IO, as seen from user space.

Header: ``io,op,offset_bytes,size_bytes,submit_ns,complete_ns`` in any order; further columns are ignored.
User space reaps completions in batches: IOs with the same ``complete_ns`` share a place in the order.
"""

from workbench.traces.text import Source, clip
from workbench.traces.trace import Body, bio_frame, io_frame, places

COLUMNS = ("io", "op", "offset_bytes", "size_bytes", "submit_ns", "complete_ns")
OPS = ("read", "write")


def looks_like(line: str) -> bool:
    """Tell whether a line could be the header: some of its cells is the name of a column."""
    return "," in line and not set(COLUMNS).isdisjoint(line.strip("\ufeff").split(","))


def read(source: Source) -> Body:
    """Read the file; IOs are numbered anew from 0 by ``submit_ns``, those of the same time by ``io``.

    Raises
    ------
    UsageError
        For missing columns, a row of another length, a wrongly typed cell, a size of 0, an ``io`` given
        twice, or a completion before its submission.
    """
    lines = source.lines()
    names = _header(source, next(lines, (1, ""))[1])
    where = [names.index(name) for name in COLUMNS]
    rows, seen = [], set()
    for number, line in lines:
        if not line:
            continue
        cells = line.split(",")
        if len(cells) != len(names):
            raise source.wrong(number, f"{len(cells)} cells", f"give {len(names)}, as the header has")
        row = _row(source, number, [cells[i] for i in where])
        if row[0] in seen:
            raise source.wrong(number, f"io {row[0]} is there twice", "give each IO one row")
        seen.add(row[0])
        rows.append(row)
    if not rows:
        raise source.wrong(1, "there is no IO below the header", "give at least one row")
    rows.sort(key=lambda row: (row[4], row[0]))
    begin = rows[0][4]
    order = places([row[5] for row in rows])
    return Body(
        io_frame(
            [
                (i, op, offset, size, submit - begin, complete - begin, order[i])
                for i, (_, op, offset, size, submit, complete) in enumerate(rows)
            ]
        ),
        bio_frame([]),
    )


def _header(source: Source, line: str) -> list[str]:
    names = line.strip("\ufeff").split(",")
    if missing := [name for name in COLUMNS if name not in names]:
        raise source.wrong(1, f"no column {', '.join(missing)}", f"begin with {','.join(COLUMNS)}")
    return names


def _row(source: Source, number: int, cells: list[str]) -> tuple[int, str, int, int, int, int]:
    name, op, offset, size, submit, complete = cells
    if op not in OPS:
        raise source.wrong(number, f"op is {clip(op)}", "give read or write")
    row = (
        source.number(number, name, "io"),
        op,
        source.number(number, offset, "offset_bytes"),
        source.number(number, size, "size_bytes"),
        source.number(number, submit, "submit_ns"),
        source.number(number, complete, "complete_ns"),
    )
    if row[3] == 0:
        raise source.wrong(number, "size_bytes is 0", "give at least 1")
    if row[5] < row[4]:
        raise source.wrong(number, f"complete_ns {row[5]} is before submit_ns {row[4]}", "give times of one clock")
    return row
