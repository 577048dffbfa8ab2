"""Figures of how cost grows (`benchmarks.growth`): one per curve, ours beside its peer and beside n log n."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.growth import Curve, exponent_of, of_n_log_n, upper_half
from workbench import charts
from workbench.provenance import provenance

OURS, PEER, N_LOG_N = "workbench", "peer", "n log n"
PAGE_BYTES = 4096


def figure(curve: Curve, points: pd.DataFrame) -> tuple[charts.Chart, str]:
    """Draw a curve; the caption has the exponents.

    Parameters
    ----------
    curve : Curve
    points : DataFrame
        As `benchmarks.bench_growth.measured` gives them.

    Returns
    -------
    figure, text : Chart, str
        For `workbench.charts.save`.
    """
    drawn = lines_of(points)
    powers = [
        f"{name} {exponent_of(curve, [*own['n']], [*own['ns']]):.2f}" for name, own in drawn.groupby("of", sort=False)
    ]
    less = ", less that at the least size" if curve.fixed else ""
    told = f"Exponents of the whole cost{less}, over the upper half of the sizes: {', '.join(powers)}."
    in_bytes = curve.n.startswith("pages")  # round numbers, which 2^20 is not
    return charts.lines(
        drawn.assign(n=drawn["n"] * PAGE_BYTES) if in_bytes else drawn,
        "n",
        "ns",
        hue="of",
        caption=charts.caption("measured", text=f"Peer: {curve.peer}. {told}"),
        title=f"CPU time per {curve.each}: {curve.what}",
        xlabel=f"{curve.n}, in bytes" if in_bytes else curve.n,
        xunit="B" if in_bytes else "1",
        ylabel=f"CPU time per {curve.each}",
        yunit="ns",
        logx=True,
        logy=True,
    )


def lines_of(points: pd.DataFrame) -> pd.DataFrame:
    """Lay out what is drawn: columns of, n, ns; n log n goes through our first point of the upper half."""
    n, ours = points["n"], points["ours"]
    start = n[upper_half(n)].idxmin()
    guide = [ours[start] * of_n_log_n(k) / of_n_log_n(n[start]) for k in n]
    return pd.concat(
        [
            pd.DataFrame({"of": OURS, "n": n, "ns": ours}),
            pd.DataFrame({"of": PEER, "n": n, "ns": points["peer"]}).dropna(),
            pd.DataFrame({"of": N_LOG_N, "n": n, "ns": guide}),
        ],
        ignore_index=True,
    )


def save(curves: Sequence[Curve], points: pd.DataFrame, source: str, folder: Path) -> list[Path]:
    """Write the figures of those curves that have points, as ``growth_*``."""
    made = []
    for curve in curves:
        own = points[points["curve"] == curve.name].reset_index(drop=True)
        if len(own):
            drawn, text = figure(curve, own)
            name = f"growth_{curve.name.lower().replace('.', '_')}"
            made += charts.save(drawn, name, folder, text, provenance(), sources=[f"data/growth.csv: {source}"])
    return made
