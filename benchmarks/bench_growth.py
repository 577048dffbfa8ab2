"""Exponents of growth, each beside its peer (`benchmarks.growth`), and the table and figures of the points.

Run from the root of the repository: ``python -m benchmarks.bench_growth [LARGEST]``, LARGEST a power of two of
pages, 24 by default. With ``--write`` the table goes to ``data/growth.csv`` and the
figures to ``figures/growth_*``; with ``--draw`` the figures are drawn from the table as it is.
"""

import argparse
import io
import math
from pathlib import Path

import pandas as pd

from benchmarks import growth, growth_figures
from benchmarks.growth import Curve, exponent_of, exponent_of_n_log_n
from benchmarks.row import Row
from workbench.code_cache import source_hash

ROOT = Path(__file__).resolve().parent.parent
SPREAD = 1.05  # as two exponents of the same thing may differ, being fitted to times
DATA, FIGURES = ROOT / "data" / "growth.csv", ROOT / "figures"


def measured(curve: Curve, sizes: tuple[int, ...]) -> pd.DataFrame:
    """Measure a curve.

    Returns
    -------
    DataFrame
        Columns curve, n, and CPU time per unit of work [ns]: ours, peer (NaN: not installed).
    """
    pairs = [curve.measure(n) for n in sizes]
    points = pd.DataFrame(pairs, columns=["ours", "peer"], dtype=float)
    points.insert(0, "n", sizes)
    points.insert(0, "curve", curve.name)
    return points


def rows(quick: bool = False) -> list[Row]:
    """Give a row per curve.

    Parameters
    ----------
    quick : bool
        Smaller sizes, and fewer of them.
    """
    found = growth.curves(quick)
    return [row_of(curve, measured(curve, tuple(curve.quick if quick else curve.sizes))) for curve in found]


def row_of(curve: Curve, points: pd.DataFrame) -> Row:
    """Compare the exponents of a curve and of its peer.

    The goal is a ratio: that of n log n's exponent at these sizes to the peer's, or `SPREAD` if that is more. Without
    a peer there is none.
    """
    sizes = points["n"].tolist()
    ours, n_log_n = exponent_of(curve, sizes, points["ours"].tolist()), exponent_of_n_log_n(sizes)
    least, most = points.loc[points["n"].idxmin()], points.loc[points["n"].idxmax()]
    row = Row(
        f"growth/{curve.name}",
        f"exponent of CPU time over {curve.n} {_number(least['n'])} to {_number(most['n'])}, {curve.what},"
        f" against {curve.peer}",
        ours=ours,
        note=f"{least['ours']:,.3g} to {most['ours']:,.3g} ns per {curve.each}; n log n: {n_log_n:.3f}",
    )
    if points["peer"].isna().any():
        return row._replace(note=f"{row.note}; no peer: needs gcc")  # beyond the caches n log n is no measure
    peer = exponent_of(curve, sizes, points["peer"].tolist())
    return row._replace(
        peer=peer,
        ratio=ours / peer,
        goal=f"ratio <= {_rounded_up(max(n_log_n / peer, SPREAD))}",
        note=f"{row.note}; peer {least['peer']:,.3g} to {most['peer']:,.3g}",
    )


def _number(n: float) -> str:
    """Write a size: powers of two from 2^10 on as such."""
    power = math.log2(n)
    return f"2^{power:.0f}" if n >= 1024 and power == int(power) else f"{n:,.0f}"


def _rounded_up(limit: float) -> str:
    return f"{math.ceil(limit * 1000) / 1000:.3f}"


def write(points: pd.DataFrame, path: Path = DATA) -> None:
    """Write the table, with what made it in its first line."""
    source = f"# benchmarks/bench_growth.py, sources {source_hash()}: CPU time per unit of work [ns]\n"
    aside = path.with_suffix(".new")
    aside.write_text(source + points.to_csv(index=False, float_format="%.5g"), encoding="utf-8")
    aside.replace(path)


def load(path: Path = DATA) -> tuple[str, pd.DataFrame]:
    """Read the table: its first line, and the points."""
    head, _, table = path.read_text(encoding="utf-8").partition("\n")
    return head.removeprefix("# "), pd.read_csv(io.StringIO(table), dtype={"ours": float, "peer": float})


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a row per curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("largest", type=int, nargs="?", default=24)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, and fewer of them")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--draw", action="store_true")
    told = parser.parse_args(arguments)
    curves = growth.curves(told.quick, told.largest)
    if not told.draw:
        found = []
        for curve in curves:
            found.append(measured(curve, tuple(curve.quick if told.quick else curve.sizes)))
            print(row_of(curve, found[-1])._asdict(), flush=True)
        if told.write:
            write(pd.concat(found))
    if told.write or told.draw:
        head, points = load()
        for path in growth_figures.save(curves, points, head, FIGURES):
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
