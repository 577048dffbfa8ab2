"""Runs as points of a grid: what differs between them, what to draw against what, and how to make them again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from workbench import charts
from workbench.report import Block, Picture, Prose
from workbench.report.figures import drawn
from workbench.report.subject import said, settings
from workbench.results import UNITS, banded
from workbench.scenarios import ALL

MOST_LINES = 12  # in one figure
MOST_PANELS = 3
HUE, AT, PANEL = "run", "set.x", "set.panel"  # columns that no metric is named like
# What says most of a run, the best first; a figure for each of the first that differ.
HEADLINES = (
    "iops", "latency_p99_ns", "throttled_share", "sync_p50_ns", "at_risk_bytes_mean", "bytes_per_pinned_page",
    "rmap_visited_mean", "pin_hold_mean_ns", "tracking_bytes_max", "cpu_ns_per_page", "slat_ns", "fsync_mean_ns",
    "ranges_max", "bounce_pages_max", "unpin_delay_mean_ns", "missed_pin", "fs_bug", "unstable_write", "lost_update",
    "simulated_ps",
)  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """Runs of one scenario.

    Attributes
    ----------
    frame : DataFrame
        A row each, as `from_results.read` gives them.
    common : dict
        Parameters that all have in common.
    varied : tuple of str
        Those that differ.
    """

    frame: pd.DataFrame
    common: dict[str, Any]
    varied: tuple[str, ...]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "Grid":
        """See what differs."""
        frame = frame.reset_index(drop=True)
        names = list(dict.fromkeys(name for one in frame["set"] for name in one))
        first = frame["set"].iloc[0]
        same = {n for n in names if all(n in one and said(one[n]) == said(first[n]) for one in frame["set"])}
        return cls(frame, {n: first[n] for n in names if n in same}, tuple(n for n in names if n not in same))

    def values(self, name: str) -> list[Any]:
        """Values of a parameter, each once: numbers in their order, others as they come."""
        found = {said(one[name]): one[name] for one in self.frame["set"] if name in one}
        numbers = all(isinstance(v, int | float) for v in found.values())
        return sorted(found.values()) if numbers else list(found.values())

    def case(self, row: dict[Any, Any]) -> str:
        """Name a run among the others: its design, and what else differs."""
        seeds = [f"seed={row['seed']}"] * (self.frame["seed"].nunique() > 1)
        rest = [f"{n}={said(row['set'][n])}" for n in self.varied if n in row["set"]]
        return ", ".join([row["design"], *rest, *seeds])


def headlines(frame: pd.DataFrame, most: int = 3) -> list[str]:
    """Choose the metrics that say most: those that were measured, and differ where there is more than one run."""
    measured = [name for name in (*HEADLINES, *UNITS) if name in frame and frame[name].notna().any()]
    differ = [name for name in measured if len(frame) == 1 or frame[name].nunique() > 1]
    return list(dict.fromkeys(differ or measured))[:most]


# ---- figures


def plotted(grid: Grid, scenario: str, metrics: Sequence[str], columns: int) -> Iterator[Block]:
    """Draw metrics against the parameter that was varied, or side by side for the designs.

    Yields
    ------
    Picture, or Prose that says why there is none
    """
    if len(grid.frame) == 1:
        return
    x = _against(grid)
    others = [name for name in grid.varied if name != x]
    panel = next((n for n in others if len(grid.values(n)) <= MOST_PANELS), None) if x else None
    told = [n for n in others if n != panel]
    named = grid.frame["design"].nunique() > 1 or not told
    frame = grid.frame.assign(run=[_line(row, told, named) for row in grid.frame.to_dict("records")])
    if frame[HUE].nunique() > MOST_LINES:
        yield Prose(f"{frame[HUE].nunique()} lines are too many for a figure: export fewer runs.")
        return
    if x:
        frame[AT] = [one[x] for one in frame["set"]]
    if panel:
        place = {said(value): k for k, value in enumerate(grid.values(panel))}
        frame[PANEL] = [f"{panel}={said(one.get(panel))}" for one in frame["set"]]
        frame = frame.sort_values(PANEL, key=lambda text: text.map(lambda t: place.get(t.partition("=")[2], -1)))
    for metric in metrics:
        measured = frame.dropna(subset=[metric])
        measured = measured[measured[metric].abs() != float("inf")]
        if len(measured):
            yield _figure(measured, grid, scenario, metric, x, columns)


def _against(grid: Grid) -> str | None:
    """Find the numeric parameter with most values; all runs must have it."""
    numeric = {
        name: len(grid.values(name))
        for name in grid.varied
        if all(isinstance(one.get(name), int | float) and abs(one[name]) < 2**53 for one in grid.frame["set"])
    }
    return max(numeric, key=lambda name: numeric[name]) if numeric else None


def _line(row: dict[Any, Any], told: Sequence[str], named: bool) -> str:
    rest = [f"{name}={said(row['set'].get(name))}" for name in told]
    return ", ".join([row["design"]] * named + rest)


def _figure(frame: pd.DataFrame, grid: Grid, scenario: str, metric: str, x: str | None, columns: int) -> Picture:
    points = banded(frame, [HUE, *(name for name in (AT, PANEL) if name in frame)], metric)
    runs = int(points["runs"].max())
    text = UNITS[metric].text
    look: dict[str, Any] = {
        "title": text[0].upper() + text[1:],
        "ylabel": metric,
        "hue": HUE,
        "size": "one" if columns == 1 else "two",
        "caption": _caption(frame),
        **({"band": ("low", "high"), "band_name": f"95 % of the mean over {runs} seeds"} if runs > 1 else {}),
    }
    if x is None:
        made = charts.bars(points, HUE, metric, **look)
    else:
        places = points[AT].astype(float)
        known = {p.name: p.unit for p in ALL[scenario].PARAMETERS} if scenario in ALL else {}
        unit = known.get(x, "1")
        look |= {"xlabel": x if unit in ("", "1") else f"{x} [{unit}]", "xunit": "1"}
        look["logx"] = bool(places.min() > 0 and places.max() >= 16 * places.min())
        made = charts.lines(points, AT, metric, panels=PANEL if PANEL in frame else None, **look)
    first = frame.iloc[0]
    made_by = {name: first[column] for name, column in (("version", "package_version"), ("source_hash", "source_hash"))}
    return drawn(made, f"results-{metric}".replace("_", "-"), {**made_by, "scenario": scenario})


def _caption(frame: pd.DataFrame) -> str:
    tables = list(dict.fromkeys(str(name) for name in frame["cost_table"].dropna()))
    return f"Model; cost table {', '.join(tables)}." if tables else charts.caption("model")


# ---- the commands


def made_again(frame: pd.DataFrame, stem: str) -> list[tuple[str, ...]]:
    """Write the commands whose results the rows are.

    Parameters
    ----------
    frame : DataFrame
        As `from_results.read` gives it.
    stem : str
        Name of the file, without suffix. Several commands write a file each: ``stem-1.parquet``.
    """
    groups: dict[tuple[str, str, int, str], list[str]] = {}
    sets: dict[tuple[str, str, int, str], dict[str, Any]] = {}
    for row in frame.to_dict("records"):
        key = row["scenario"], row["parameters"], int(row["seed"]), _cost_file(row)
        groups.setdefault(key, []).append(row["design"])
        sets[key] = row["set"]
    commands = []
    for k, (key, texts) in enumerate(groups.items(), 1):
        chosen = [word for text in dict.fromkeys(texts) for word in ("--design", text)]
        number = f"-{k:0{len(str(len(groups)))}}" * (len(groups) > 1)
        words = ["workbench", "simulate", key[0], *chosen, *settings(key[0], sets[key])]
        words += ["--costs", key[3]] if key[3] else []
        commands.append((*words, "--seed", str(key[2]), "--out", f"{stem}{number}.parquet"))
    return commands


def _cost_file(row: Mapping[Any, Any]) -> str:
    """The file of a run's cost table, after the table's name, since a row has no more of it; the default's is none."""
    if not isinstance(row.get("cost_table_sha256"), str):
        return ""
    return f"{str(row['cost_table']).partition(' (')[0]}.json"
