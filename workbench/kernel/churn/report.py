"""What `churn` has found, as tables: by group, by tracker, by subsystem, and beside what grep would have said."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from workbench import touched
from workbench.errors import UsageError
from workbench.kernel.churn import names
from workbench.kernel.churn.count import OUTSIDE, SURE, USES, Churn
from workbench.provenance import plain
from workbench.tables import text_table

WRITES = ("write", "update")
_ACCESS = {"read": ("read",), "write": WRITES, "address": ("address",), "call": ("call", "ref")}
_SHOWN = 12  # subsystems in the text


def counted(places: pd.DataFrame) -> pd.DataFrame:
    """Rows that count: uses of which it is sure whose they are."""
    return places[places["access"].isin(USES) & places["sure"].isin(SURE)]


def by_subsystem(churn: Churn) -> pd.DataFrame:
    """Count by group, subsystem, access and whether it is sure: what is shipped in ``data/churn``.

    Returns
    -------
    DataFrame
        ``group``, ``subsystem``, ``access``, ``sure`` (or ambiguous), ``places``.
    """
    used = churn.places[churn.places["access"].isin(USES) & (churn.places["sure"] != "other")]
    sure = used["sure"].where(used["sure"] == "ambiguous", "sure")
    keys = [used["group"], used["subsystem"], used["access"], sure]
    return used.groupby(keys).size().rename("places").reset_index()


def by_group(churn: Churn) -> pd.DataFrame:
    """Count by group.

    Returns
    -------
    DataFrame
        In the order of `names.GROUPS`: places by access (``write`` holds updates), lines and files that they are on,
        and uses that are ambiguous, or of other structs.
    """
    used = churn.places[churn.places["access"].isin(USES)]
    return pd.DataFrame([_group(group, used[used["group"] == group]) for group in names.GROUPS])


def _group(group: str, used: pd.DataFrame) -> dict[str, str | int]:
    kept = counted(used)
    return {
        "group": group,
        **{name: int(kept["access"].isin(kinds).sum()) for name, kinds in _ACCESS.items()},
        "lines": _lines(kept),
        "files": kept["file"].nunique(),
        "ambiguous": int((used["sure"] == "ambiguous").sum()),
        "other": int((used["sure"] == "other").sum()),
    }


def _lines(rows: pd.DataFrame) -> int:
    return len(rows[["file", "line"]].drop_duplicates())


def by_tracker(churn: Churn) -> pd.DataFrame:
    """Count by tracker: places to change by access, places to audit, and where most of those to change are."""
    counts = touched.by_tracker(by_subsystem(churn))
    rows = []
    for tracker in touched.TRACKERS:
        own = counts[counts["tracker"] == tracker]
        change = own[own["must"] == "change"]
        most = change.groupby("subsystem")["places"].sum().sort_values(ascending=False, kind="stable")
        rows.append(
            {
                "tracker": tracker,
                **{k: int(change.loc[change["access"].isin(v), "places"].sum()) for k, v in _ACCESS.items()},
                "change": int(change["places"].sum()),
                "audit": int(own.loc[own["must"] == "audit", "places"].sum()),
                "subsystems": len(most),
                "most in": ", ".join(most.index[:3]),
            }
        )
    return pd.DataFrame(rows)


def by_name(churn: Churn) -> pd.DataFrame:
    r"""Hold the tree's counts against those of grep, name by name.

    The patterns: ``(->|\.)name\b`` for members, ``\bname(`` for functions, ``\bname\b`` for constants.

    Returns
    -------
    DataFrame
        ``grep_lines`` and ``grep_files``: lines and files that match; ``words``: matches on them. Of these ``text`` is
        in comments and strings, ``declared`` a declaration or definition, ``other`` of other structs, a variable or
        member of the same name, or a release elsewhere, and ``ambiguous``; the rest are places. ``unseen``: places
        that grep's pattern does not match. ``places`` in all, of them ``writes``, and the ``lines`` and ``files`` that
        they are on: ``places = words - text - declared - other - ambiguous + unseen``.
    """
    groups = churn.places.groupby("name")
    known = [(name, group) for name, group in names.NAMES.items() if name in groups.groups]
    return pd.DataFrame([{"name": n, "group": group, **_against_grep(groups.get_group(n))} for n, group in known])


def _against_grep(words: pd.DataFrame) -> dict[str, int]:
    kept, seen = counted(words), words[words["grepped"]]
    use = seen["access"]
    apart = {
        "text": int(use.isin(["comment", "string"]).sum()),
        "declared": int(use.isin(["declaration", "definition"]).sum()),
        "ambiguous": int((seen["sure"] == "ambiguous").sum()),
    }
    return {
        "grep_lines": _lines(seen),
        "grep_files": seen["file"].nunique(),
        "words": len(seen),
        **apart,
        "other": len(seen) - len(counted(seen)) - sum(apart.values()),
        "unseen": int((~kept["grepped"]).sum()),
        "places": len(kept),
        "writes": int(kept["access"].isin(WRITES).sum()),
        "lines": _lines(kept),
        "files": kept["file"].nunique(),
    }


def unsure(churn: Churn) -> dict[str, int]:
    """How many of the places that count are in bodies of macros, under ``#if``, and where the parser found an error."""
    kept = counted(churn.places)
    return {name: int(kept[name].sum()) for name in ("macro", "conditional", "damaged")} | {"places": len(kept)}


def to_json(churn: Churn, grep: bool = False) -> dict[str, Any]:
    """All tables in plain values; names only with `grep`."""
    tables = {"groups": by_group(churn), "trackers": by_tracker(churn), "subsystems": by_subsystem(churn)}
    if grep:
        tables["names"] = by_name(churn)
    rows = {name: plain(table.to_dict("records")) for name, table in tables.items()}
    return {"kernel": churn.kernel, "parsing": churn.parsing, "unsure": unsure(churn), **rows}


def text(churn: Churn, grep: bool = False) -> str:
    """All tables for a mail; names only with `grep`."""
    parsed, doubt = churn.parsing, unsure(churn)
    share = 100 * parsed["damaged_bytes"] / max(parsed["bytes"], 1)
    head = (
        f"Linux {churn.kernel}: {parsed['files']} C files, {parsed['parsed']} of them parsed "
        f"({parsed['bytes'] / 1e6:.0f} MB).\n"
        f"The parser found errors in {parsed['damaged_files']} of these, in {share:.1f} % of their bytes.\n"
        f"Of {doubt['places']} places {doubt['macro']} are in bodies of macros, {doubt['conditional']} under #if,\n"
        f"and {doubt['damaged']} where the parser found an error."
    )
    where = by_subsystem(churn)
    where = where[(where["group"] == "vma range") & (where["sure"] == "sure")]
    wide = where.pivot_table(index="subsystem", columns="access", values="places", aggfunc="sum", fill_value=0)
    wide = wide.loc[wide.sum(axis=1).sort_values(ascending=False, kind="stable").index[:_SHOWN]].reset_index()
    blocks = [
        head,
        text_table(by_group(churn), "Places by what they use"),
        text_table(by_tracker(churn), "What each tracker makes one touch: change (by access), audit"),
        text_table(wide, f"The range of a VMA: the {_SHOWN} subsystems that use it most"),
    ]
    if grep:
        blocks.append(text_table(by_name(churn).drop(columns="group"), "Beside grep"))
    return "\n\n".join(blocks)


# ---- files


def check_writable(path: Path, endings: Sequence[str] = (".csv", ".parquet")) -> None:
    """Before long work: that a file can be written.

    Raises
    ------
    UsageError
        For another ending, or a folder where no file can be written.
    """
    if path.suffix not in endings:
        raise UsageError(f"{path}: its name is to end in {' or '.join(endings)}")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; name a file that can be written") from None


def write_places(churn: Churn, path: Path) -> None:
    """Write a row for each word, with the columns of `churn.COLUMNS`: ``.csv`` or ``.parquet``, whole or not at all."""
    with _whole(path) as aside:
        if path.suffix == ".csv":
            churn.places.to_csv(aside, index=False)
        else:
            churn.places.to_parquet(aside, index=False)


def write_counts(churn: Churn, path: Path) -> None:
    """Write `by_subsystem`, and above it a line that says of what and how: whole or not at all."""
    with _whole(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        file.write(
            f"# workbench kernel churn --counts: Linux {churn.kernel}, {churn.parsing['files']} C files outside "
            f"{', '.join(OUTSIDE)}, {churn.parsing['parsed']} of them parsed; see data/README.md\n"
        )
        by_subsystem(churn).to_csv(file, index=False)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file beside the one that it becomes when all is written."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        yield Path(folder) / path.name
        (Path(folder) / path.name).replace(path)
