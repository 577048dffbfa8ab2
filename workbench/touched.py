"""What each tracker makes one touch in the kernel, and how much of that a kernel's sources have.

The groups are those of `workbench.kernel.churn.names`; the counts come from ``workbench kernel churn``, and those that
are shipped lie in ``data/churn``. A place is to *change*, or only to be looked at: code that stays right only if it
never meets a pinned page, or copes with one (*audit*).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from workbench.errors import UsageError

# Of the kernels that are shipped the nearest to 2018, when the designs were argued about.
SHIPPED = Path(__file__).resolve().parent.parent / "data" / "churn" / "linux-5.10.223.csv"
_RELEASES = ("release", "plain release")


class Touched(NamedTuple):
    """Groups of names that a tracker is about.

    Attributes
    ----------
    change, audit : tuple of str
    source : str
        Who says so.
    """

    change: tuple[str, ...] = ()
    audit: tuple[str, ...] = ()
    source: str = ""


_PUT = "releases need a call of their own (Kara 2018-07-02 on PATCH v2 5/6); GUP itself marks every page, assumed"
TRACKERS = {
    "none": Touched(source="nothing is tracked"),
    "bounce-pin": Touched(("longterm",), source="private pages for long-term users (Kara 2018-01-25)"),
    "flag-sticky": Touched((), ("page flags",), "GUP sets it, freeing clears it (Hubbard 2018-06-16); a bit is scarce"),
    "flag": Touched(_RELEASES, ("gup", "page flags"), _PUT),
    "lru-count": Touched(
        _RELEASES, ("gup", "lru"), f"{_PUT}; page->lru is a count while pinned (Wilcox 2018-06-19; Hubbard 2018-07-01)"
    ),
    "mapcount": Touched(
        _RELEASES, ("gup", "mapcount"), f"{_PUT}; auditing who reads mapcounts is non-trivial (Kara 2018-12-19)"
    ),
    "pte-bit": Touched(_RELEASES, ("gup", "ptes"), f"{_PUT}; a bit of the PTE (Lameter 2018-07-05) goes where PTEs go"),
    "page-lock": Touched(
        _RELEASES, ("gup", "page lock"), f"{_PUT}; who wants the lock waits for a pin (Kara 2018-06-19; 2018-07-09)"
    ),
    "bias": Touched(
        ("gup", *_RELEASES),
        ("references",),
        "get and put of a pin have calls of their own (Hubbard 2020-02-10); who reads a count sees 1024 more",
    ),
    "pincount": Touched(
        ("gup", *_RELEASES), source="get and put of a pin have calls of their own (Hubbard 2020-02-10)"
    ),
    "vma-common": Touched(
        ("vma range", "tree", *_RELEASES),
        ("gup", "tree root"),
        "a node common to VMAs and ranges (Kara 2018-06-25); walkers skip what is no VMA, assumed",
    ),
    "vma-full": Touched(
        ("tree", *_RELEASES), ("gup", "tree root"), "a range is a VMA (Kara 2018-06-25); walkers skip it, assumed"
    ),
}


def load(path: Path = SHIPPED) -> pd.DataFrame:
    """Read counts that ``workbench kernel churn --counts`` wrote.

    Returns
    -------
    DataFrame
        ``group``, ``subsystem``, ``access``, ``sure``, ``places``.

    Raises
    ------
    UsageError
        Where that is no such file.
    """
    try:
        counts = pd.read_csv(path, comment="#")
        return counts.astype({"places": "int64"})[["group", "subsystem", "access", "sure", "places"]]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; `workbench kernel churn --counts` writes such a file") from None
    except (ValueError, KeyError):
        raise UsageError(f"{path}: no counts in it; `workbench kernel churn --counts` writes such a file") from None


def places(counts: pd.DataFrame, tracker: str) -> Mapping[str, int] | None:
    """Count what one tracker makes one touch, whoever asks it: cleaners, which would, are a group of their own.

    Parameters
    ----------
    counts : DataFrame
        As `load` returns it.
    tracker : str
        Name, with or without options.

    Returns
    -------
    mapping or None
        ``change`` and ``audit``: sure places; None for a tracker that is not in `TRACKERS`, one's own.
    """
    touched = TRACKERS.get(tracker.partition(":")[0])
    if touched is None:
        return None
    sure = counts[counts["sure"] == "sure"].groupby("group")["places"].sum()
    return {
        "change": int(sum(sure.get(group, 0) for group in touched.change)),
        "audit": int(sum(sure.get(group, 0) for group in touched.audit)),
    }


def by_tracker(counts: pd.DataFrame) -> pd.DataFrame:
    """Count by tracker, subsystem and access.

    Parameters
    ----------
    counts : DataFrame
        As `load` returns it.

    Returns
    -------
    DataFrame
        ``tracker``, ``must`` (change or audit), ``subsystem``, ``access``, ``places``; sure places only.
    """
    sure = counts[counts["sure"] == "sure"]
    parts = []
    for tracker, touched in TRACKERS.items():
        for must, groups in (("change", touched.change), ("audit", touched.audit)):
            part = sure[sure["group"].isin(groups)].groupby(["subsystem", "access"])["places"].sum().reset_index()
            parts.append(part.assign(tracker=tracker, must=must))
    return pd.concat(parts, ignore_index=True)[["tracker", "must", "subsystem", "access", "places"]]
