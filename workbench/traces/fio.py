"""Latency histograms of ``fio --output-format=json+``.

fio writes no single IOs: the trace has a histogram and no rows in ``ios``. The keys of its ``bins`` are the
middles of the bins (fio 3.33, stat.c, plat_idx_to_val()).
"""

import json
import re
from collections import Counter
from typing import Any

from workbench.traces.text import Source, clip
from workbench.traces.trace import LIMIT, Body, bio_frame, histogram_frame, io_frame

KINDS = ("slat", "clat", "lat")


def read(source: Source) -> Body:
    """Read all bins, summed over jobs.

    Raises
    ------
    UsageError
        For text that is not JSON, or has no bins (fio's plain ``json`` has none).
    """
    first, text = _json_text(source)
    try:
        report = json.loads(text)
    except json.JSONDecodeError as error:
        right = "give the whole output of fio --output-format=json+"
        raise source.wrong(first + error.lineno - 1, f"not JSON ({error.msg})", right) from error
    except (ValueError, RecursionError) as error:
        raise source.wrong(first, "JSON that fio never writes", "give fio's own output") from error
    counts: Counter[tuple[str, str, int]] = Counter()
    for op, kind, bins in _all_bins(report):
        for latency, count in bins.items():
            good = isinstance(count, int) and not isinstance(count, bool) and 0 <= count < LIMIT
            if not good or not re.fullmatch("[0-9]{1,18}", latency):
                at = _line_of(text, latency, count)
                right = "give a latency in ns and a count, both whole numbers from 0"
                raise source.wrong(first + at, f"bin {clip(latency)}: {clip(json.dumps(count))}", right)
            counts[op, kind, int(latency)] += count
    if not +counts:
        right = "run fio with --output-format=json+ (plain json has no bins)"
        raise source.wrong(first, "no latency bins of a read or write", right)
    if sum(counts.values()) >= LIMIT:
        raise source.wrong(first, "the counts of the bins are too large", "give less than 2^62 IOs in all")
    rows = [(*key, count) for key, count in sorted(counts.items()) if count]
    return Body(io_frame([]), bio_frame([]), histogram=histogram_frame(rows))


def _json_text(source: Source) -> tuple[int, str]:
    """Line where the JSON begins, and the text from there: fio may print messages before it."""
    lines = list(source.lines())
    first = next((number for number, line in lines if line.startswith("{")), 1)
    return first, "\n".join(line for number, line in lines if number >= first)


def _all_bins(report: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Every (op, kind, bins) where fio puts them; anything of another shape is passed over."""
    found = []
    for job in _of(report, "jobs", list):
        for op in ("read", "write"):
            for kind in KINDS:
                bins = _of(_of(_of(job, op, dict), f"{kind}_ns", dict), "bins", dict)
                found.append((op, kind, bins))
    return found


def _of(parent: Any, key: str, kind: type) -> Any:
    child = parent.get(key) if isinstance(parent, dict) else None
    return child if isinstance(child, kind) else kind()


def _line_of(text: str, latency: str, count: Any) -> int:
    """Lines above the first place where this bin is written."""
    pattern = re.escape(json.dumps(latency)) + r"\s*:\s*"
    value = re.escape(json.dumps(count)[:1])
    match = re.search(pattern + value, text)
    return text.count("\n", 0, match.start()) if match else 0
