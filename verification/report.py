"""Tables and figures of the checks."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from verification.check import Check
from verification.estimates import Bounded, Case
from workbench import charts
from workbench.provenance import provenance
from workbench.tables import COLUMNS, number, text_table

FAMILY_LEVEL = 0.99  # that all intervals of all checks hold what they estimate, if the model is right
CURVE = 80  # places at which a formula is drawn


def miss_of_each(cases: Iterable[Case]) -> float:
    """Share the family's chance to miss out evenly (Bonferroni; Dunn 1961, J. Amer. Stat. Assoc. 56)."""
    by_chance = sum(not isinstance(case.estimate, Bounded) for case in cases)
    return (1 - FAMILY_LEVEL) / max(by_chance, 1)


def table(check: Check, cases: Sequence[Case], miss: float) -> str:
    """Every case of a check: formula, estimate, interval, and whether they agree; 72 columns wide."""
    places = list(dict.fromkeys(case.series for case in cases))
    cases = sorted(cases, key=lambda case: (places.index(case.series), case.x))
    frame = pd.DataFrame(
        {
            "setup": [case.series for case in cases],
            "at": [number(case.x) for case in cases],
            "formula": [number(case.formula) for case in cases],
            "estimate": [number(case.estimate.value) for case in cases],
            "interval": [_ends(case, miss) for case in cases],
            "agrees": ["yes" if case.agrees(miss) else "NO" for case in cases],
        }
    )
    return text_table(frame, f"{check.TITLE}. {check.FORMULA}")


def _ends(case: Case, miss: float) -> str:
    low, high = case.ends(miss)
    return f"{number(low)}..{number(high)}" if high > low else "exact"


def caption(check: Check, miss: float) -> str:
    """What the intervals are, and what was assumed."""
    return (
        f"Model. Curve: formula. Points: estimates, with intervals of which each misses with a chance of {miss:.2g},"
        f" so that all of all checks hold at {100 * FAMILY_LEVEL:g} % (Bonferroni). Assumed: {check.ASSUMED}"
    )


def draw(check: Check, cases: Sequence[Case], miss: float, folder: Path) -> list[Path]:
    """Write the figure of a check and its table.

    Parameters
    ----------
    check : module
    cases : sequence of Case
        Those whose series has a curve are drawn; the table has all.
    miss : float
        Of each interval.
    folder : Path
    """
    rows = []
    shown = [case for case in cases if case.x > 0 and case.series in check.curve(case.x)]
    for case in shown:
        low, high = case.ends(miss)
        rows.append((case.series, case.x, case.formula, case.estimate.value, low, high))
    places = np.array([case.x for case in shown])
    spread = np.geomspace if check.AXES.logx else np.linspace
    for x in sorted({*places, *spread(places.min(), places.max(), CURVE)}):
        rows += [(name, x, value, np.nan, np.nan, np.nan) for name, value in check.curve(float(x)).items()]
    frame = pd.DataFrame(rows, columns=["setup", "x", "formula", "simulated", "low", "high"])
    hue = "setup" if frame["setup"].nunique() > 1 else None
    figure = charts.against(
        frame, "x", "simulated", "formula", ends=("low", "high"), hue=hue, title=check.TITLE,
        caption=caption(check, miss), xlabel=check.AXES.x, ylabel=check.AXES.y, logx=check.AXES.logx,
        logy=check.AXES.logy,
    )  # fmt: skip
    text = table(check, cases, miss) + "\n\n" + textwrap.fill(caption(check, miss), COLUMNS)
    return charts.save(figure, f"verify_{check.NAME}", folder, text, provenance(), check.SOURCES)


def verdict(found: Mapping[str, Sequence[Case]], miss: float) -> str:
    """Say in a line or two whether everything agrees, and at what level."""
    wrong = {name: sum(not case.agrees(miss) for case in cases) for name, cases in found.items()}
    cases = [case for of_one in found.values() for case in of_one]
    bounded = sum(isinstance(case.estimate, Bounded) for case in cases)
    told = ", ".join(f"{name} ({n})" for name, n in wrong.items() if n)
    return textwrap.fill(
        f"{'DISAGREE: ' + told if told else 'All agree'}: {len(cases) - bounded} estimates with intervals that hold"
        f" all together at {100 * FAMILY_LEVEL:g} % ({100 * (1 - miss):.3f} % each), and {bounded} without chance.",
        COLUMNS,
    )
