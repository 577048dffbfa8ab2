"""Tell the format of a recorded file, and read it."""

from itertools import islice
from os import PathLike

from workbench.errors import UsageError, nearest
from workbench.traces import blkparse, csv_ios, fio, ftrace, parquet
from workbench.traces.text import Source, clip
from workbench.traces.trace import FORMATS, Trace

READERS = {"csv": csv_ios.read, "ftrace": ftrace.read, "blkparse": blkparse.read, "fio": fio.read}
PEEKED_LINES = 40


def load(path: str | PathLike[str], format: str = "auto") -> Trace:
    """Read a recorded trace.

    Nothing in the file is ever executed. Times become nanoseconds from the first submission.

    Parameters
    ----------
    path : str or path
        The file, plain or gzipped.
    format : str
        'auto' (told by the content), or one of `FORMATS`.

    Returns
    -------
    Trace
        What was recorded. See the modules of the formats for what is dropped, and why.

    Raises
    ------
    UsageError
        ``FILE:LINE: reason; what would be right``: for a file that is truncated, binary, empty or damaged,
        a cell of the wrong type, a completion before its submission, or an unknown format.
    """
    if format != "auto" and format not in FORMATS:
        raise UsageError(f"format is {format!r}; {nearest(format, ('auto', *FORMATS))}")
    source = Source(path)
    if not source.magic:
        raise source.wrong(1, "the file is empty", "give a recorded trace")
    if format == "auto":
        format = _told_by_content(source)
    if format == "parquet":
        return parquet.read(source)
    body = READERS[format](source)
    return Trace(
        source=source.path.name,
        sha256=source.sha256,
        format=format,
        ios=body.ios,
        bios=body.bios,
        dropped=dict(sorted((+body.dropped).items())),
        requeues=body.requeues,
        merges=body.merges,
        histogram=body.histogram,
    )


def _told_by_content(source: Source) -> str:
    if source.magic == parquet.MAGIC:
        return "parquet"
    first = (0, "")
    for number, line in islice(source.lines(), PEEKED_LINES):
        if not line.strip():
            continue
        first = first if first[0] else (number, line)
        if line.startswith("{"):
            return "fio"
        if ftrace.looks_like(line):
            return "ftrace"
        if blkparse.looks_like(line):
            return "blkparse"
        if csv_ios.looks_like(line):
            return "csv"
    if not first[0]:
        raise source.wrong(1, "there is no text in the file", "give a recorded trace")
    right = "there are: CSV with a header, ftrace or trace-cmd report, blkparse, fio json+, Parquet"
    raise source.wrong(first[0], f"unknown format, begins with {clip(first[1])}", right)
