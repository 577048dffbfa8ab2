"""``kernel calibrate``: a cost table measured on this machine, or the reason why it is not fit to be used.

Everything of `measure` is measured in several runs. What counts is the median over the runs; its spread is the
interquartile range over the median, which one disturbed run among five does not move.
"""

import math
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from workbench import cost_files
from workbench.accelerate import JIT_ENABLED
from workbench.costs import DEFAULT, Cost
from workbench.kernel.measure import Found, Scale, one_run
from workbench.kernel.needs import Refused, Unavailable

LIMIT = 0.15
"""Largest spread of an entry.

Medians of single runs on a quiet machine repeat within 1 to 11 % (live Linux 6.18), so more is another load in the
measurement. In the base IO of 1538 ns, GUP_PAGE and PUT_PAGE are 3 %: with 15 % of it wrong, the IO is 0.5 % off,
where designs are held apart that differ by 7 % (off-LRU) and less than 2 % (bias).
"""
RUNS, FEWEST = 7, 3


class Rule(NamedTuple):
    """How an entry comes from a measurement.

    Attributes
    ----------
    measured : str
        Name of the measurement.
    less : tuple of str
        Counters that the model counts for the same work by themselves.
    """

    measured: str
    less: tuple[str, ...]


RULES = {
    "ATOMIC": Rule("locked add", ()),
    "GUP_PAGE": Rule("vmsplice, 4 KiB pages", ("ATOMIC",)),
    "PUT_PAGE": Rule("io_uring unregister, 4 KiB pages", ("ATOMIC",)),
    "FAULT": Rule("re-dirty fault, ext4", ("PAGE_LOCK", "SET_DIRTY", "PTE_UPDATE")),
    "WRITEPAGE": Rule(
        "sync_file_range, dirty ext4",
        ("PAGE_LOCK", "RWSEM", "RB_VISITED", "PTE_UPDATE", "TLB_FLUSH", "TAG_SCAN", "BIO_PAGE"),
    ),
}
"""The same as those of the default table that are called calibrated (see data/README.md), and ATOMIC."""
SINGLE = (" VMAs", "empty system call", "locked add")  # what is not per page


class Figure(NamedTuple):
    """A median over runs; `spread` is None where the median is not above 0."""

    ns: float
    spread: float | None


class Calibration(NamedTuple):
    """What a calibration gave.

    Attributes
    ----------
    about : dict of str to str
        As `cost_files.CostFile.about`.
    entries : dict of str to dict
        All counters: ``ns``, ``provenance``, ``source``; and ``spread`` of those that were measured.
    measurements : list of dict
        As `cost_files.CostFile.measurements`.
    skipped : dict of str to str
        What could not be measured, and why.
    """

    about: dict[str, str]
    entries: dict[str, dict[str, Any]]
    measurements: list[dict[str, Any]]
    skipped: dict[str, str]

    @property
    def measured(self) -> list[str]:
        """Counters whose entries were measured."""
        return [name for name, entry in self.entries.items() if "spread" in entry]

    def check(self, limit: float = LIMIT) -> None:
        """Raise `Refused` where the table is not fit to be used: a line that names the entry."""
        if not self.measured:
            raise Refused(f"no entry could be measured: {'; '.join(f'{k} {v}' for k, v in self.skipped.items())}")
        for name in self.measured:
            ns, spread = self.entries[name]["ns"], self.entries[name]["spread"]
            if spread is None:
                raise Refused(f"entry {name} comes out as {ns:.3g} ns, which nothing costs; the machine is too busy")
            if spread > limit:
                right = "try again when the machine is quieter, or with more --runs"
                raise Refused(
                    f"entry {name}: {ns:.3g} ns with a spread of {100 * spread:.1f} % over the runs, more than "
                    f"{100 * limit:.0f} %; nothing is written: {right}"
                )


def calibrate(
    runs: int = RUNS, scale: Scale | None = None, measure: Callable[[Scale], tuple[Found, dict[str, str]]] | None = None
) -> Calibration:
    """Measure this machine.

    Parameters
    ----------
    runs : int
        At least `FEWEST`, for a spread to mean something.
    scale : Scale, optional
    measure : callable, optional
        What measures once; `measure.one_run` by default.

    Returns
    -------
    Calibration

    Raises
    ------
    Unavailable
        Nothing can be measured here.
    """
    if runs < FEWEST:
        raise ValueError(f"runs={runs}: at least {FEWEST}")
    rows: list[Found] = []
    skipped: dict[str, str] = {}
    for _ in tqdm(range(runs), unit="run", leave=False, disable=None):
        found, missing = (measure or one_run)(scale or Scale())
        rows.append(found)
        skipped |= missing
    whole = {name: [row[name] for row in rows] for name in rows[0] if all(name in row for row in rows)}
    if not whole:
        raise Unavailable(next(iter(skipped.values()), "nothing was measured"))
    told = [_measurement(name, values) for name, values in whole.items()]
    return Calibration(_about(runs), _entries(whole), told, skipped)


def write(calibration: Calibration, path: Path) -> Path:
    """Write the table, whole or not at all.

    Raises
    ------
    Refused
        It is not fit to be used; nothing was written.
    """
    calibration.check()
    return cost_files.write(path, calibration.about, calibration.entries, calibration.measurements)


def figure(values: Sequence[float]) -> Figure:
    """Median and spread: the interquartile range, quartiles inclusive, over the median."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Figure(median, (high - low) / median if median > 0 else None)


def _measurement(name: str, values: Sequence[float]) -> dict[str, Any]:
    got = figure(values)
    unit = "ns" if name.endswith(SINGLE[0]) or name.startswith(SINGLE[1:]) else "ns/page"
    return {"name": name, "value": _short(got.ns), "unit": unit, "spread": _short(got.spread), "runs": len(values)}


def _entries(whole: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """All entries: measured where there is a rule and its measurement, else those of the default table."""
    entries = {name: cost._asdict() for name, cost in DEFAULT.entries.items()}
    for name, rule in RULES.items():
        if rule.measured in whole:
            off = sum(entries[other]["ns"] for other in rule.less)
            got = figure([value - off for value in whole[rule.measured]])
            less = f", less {', '.join(rule.less)}" if rule.less else ""
            source = f"{rule.measured}: {figure(whole[rule.measured]).ns:.4g} ns{less}"
            cost = Cost(_short(got.ns) or 0.0, "calibrated", source)
            entries[name] = cost._asdict() | {"spread": _short(got.spread)}
    return entries


def _short(value: float | None) -> float | None:
    """Four digits."""
    return None if value is None else float(f"{value:.4g}") if math.isfinite(value) else None


def _about(runs: int) -> dict[str, str]:
    release = os.uname().release.partition("-")[0]
    how = "" if JIT_ENABLED else ", without compiled code"
    return {
        "name": f"linux-{'.'.join(release.split('.')[:2])}-calibrated",
        "kernel": f"{os.uname().sysname} {release}",
        "cpu": f"{_cpu()}, {os.cpu_count()} CPUs",
        "provenance": f"workbench kernel calibrate --runs {runs}{how}: medians over the runs; "
        "spread: interquartile range over the median",
    }


def _cpu() -> str:
    """Name of the processor, or of its architecture where /proc/cpuinfo has none."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return os.uname().machine
