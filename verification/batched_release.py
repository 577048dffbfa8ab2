"""Published: releasing pages of a huge page by runs costs 5.5 ns per page, one by one 20.9 (Martins, 2021-02-12).

`workbench.anchors.batched_release` says what the model predicts from its cost table, what that rests on, and what is
assumed. Nothing is simulated: per page there is nothing to simulate but the unit costs themselves.
"""

from verification.check import Axes, Size
from verification.estimates import Bounded, Case
from workbench import anchors

NAME = "batched_release"
TITLE = "Release of a page of a huge page, one by one and by runs"
FORMULA = "formula: as published; estimate: what the cost table predicts, and its range"
SOURCES = (anchors.MARTINS + ": put 87.6 ms, with the patches 23.2 (THP) and 27.5 ms (1 GiB), for 16 GiB",)
ASSUMED = (
    "by runs: bytes of the loop at 8 to 16 GB/s. One by one: unit costs of another machine and kernel, and so only"
    " within 20 %."
)
AXES = Axes("published [ns per page]", "model [ns per page]")
OTHER_MACHINE = 0.2
RELEASES = ("one by one", "by runs, THP", "by runs, 1 GiB hugetlb")


def run(size: Size) -> list[Case]:
    """Compare with the three published figures."""
    predicted = anchors.batched_release().set_index("release")
    return [_case(release, *predicted.loc[release, ["low", "high", "published"]].astype(float)) for release in RELEASES]


def _case(release: str, low: float, high: float, published: float) -> Case:
    slack = OTHER_MACHINE * published if release == RELEASES[0] else 0.0
    return Case(release, published, Bounded((low + high) / 2, (high - low) / 2), published, slack)


def curve(x: float) -> dict[str, float]:
    """Model and published alike."""
    return dict.fromkeys(RELEASES, x)
