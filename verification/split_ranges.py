"""Live ranges under ``split``, where the pages of a pinned range are released one by one in random order.

After k of n pages are gone, m = n - k are kept, every choice of them equally likely; the kept pages form runs, and each
is a range. A run begins at the first page if that is kept, and at any other if it is kept and the one before is not:

    E[ranges] = m / n + (n - 1) m (n - m) / (n (n - 1)) = m (n - m + 1) / n

(Wald and Wolfowitz 1940, Annals of Mathematical Statistics 11: the mean number of runs.) It is greatest, about n / 4,
when half of the pages are gone. A release splits a range if the page goes before both its neighbours; that the one in
the middle is the first of three has the chance 1/3:

    E[splits until all are gone] = (n - 2) / 3

Compared: LIVE_RANGES of the tracker ``vma-common:release=split``, driven page by page; and SPLITS of whole runs by the
clock, in which each direct IO of n pages is one GUP call and n bios that the device serves at once, with independent
times of its lognormal, so that they complete in random order.
"""

import numpy as np

from verification import stage
from verification.check import Axes, Size
from verification.estimates import Case, Mean
from workbench.designs import parse_tracker
from workbench.mm import registers as R
from workbench.scenarios.base import EMPTY_PLAN, new_world
from workbench.trackers.protocol import pin_range, unpin_range

NAME = "split_ranges"
TITLE = "Live ranges under split, pages released in random order"
FORMULA = "E[ranges] = m (n - m + 1) / n with m of n pages kept; E[splits] = (n - 2) / 3"
SOURCES = ("Wald and Wolfowitz (1940), Annals of Mathematical Statistics 11: mean number of runs",)
ASSUMED = "every order of release equally likely; by the clock, nothing but the device takes time."
AXES = Axes("share of the range's pages released", "live ranges per page of the range")
TRACKER = "vma-common:release=split"
PAGES = (16, 64, 256)
CLOCK_PAGES = (16, 64)  # a legacy GUP call takes 64 at most
RELEASED = (0.125, 0.25, 0.75, 0.875, 0.5)
ORDERS = 8  # for each replication that other checks have, since one takes little time


def run(size: Size) -> list[Case]:
    """Compare at a few moments of the release, and the splits of whole direct IOs.

    Parameters
    ----------
    size : Size
    """
    cases = []
    for n in PAGES:
        live = np.array([ranges_left(n, seed) for seed in range(ORDERS * size.replications)])
        for share in size.some(RELEASED):
            k = round(share * n)
            cases.append(Case(f"{n} pages", share, Mean(tuple(live[:, k] / n)), formula(n, share)))
    for n in CLOCK_PAGES:
        splits = tuple(splits_per_io(n, size.ios // 100, seed) for seed in range(size.replications))
        cases.append(Case(f"splits, IO of {n} pages", n, Mean(splits), (n - 2) / 3))
    return cases


def curve(share: float) -> dict[str, float]:
    """What the formula says when so many are released."""
    return {f"{n} pages": formula(n, share) for n in PAGES}


def formula(n: int, share: float) -> float:
    """Expected live ranges, per page of the range."""
    kept = n - share * n
    return kept * (n - kept + 1) / n**2


def ranges_left(n: int, seed: int) -> np.ndarray:
    """Release a range's pages in a random order.

    Returns
    -------
    ndarray of int64, shape (n + 1,)
        Live ranges after 0, 1, ... n releases.
    """
    _, tracker = parse_tracker(TRACKER)
    world, _ = new_world(pages=n, nodes=n + 1, bios=1, dios=0, cpus=1, submitters=0, plan=EMPTY_PLAN, ios=0)
    inode = int(world.sys[R.I_MMAP])
    handle = pin_range(tracker, world, inode, 0, n)
    live = [1]
    for page in np.random.Generator(np.random.PCG64(seed)).permutation(n).tolist():
        unpin_range(tracker, world, inode, page, 1, handle)
        live.append(int(world.sys[R.LIVE_RANGES]))
    return np.array(live)


def splits_per_io(n: int, ios: int, seed: int) -> float:
    """Mean number of splits of a direct IO of n pages in n bios, by the clock."""
    ran = stage.run(
        f"tracker={TRACKER},cleaning=ignore", None, seed, ios=ios, qd=1, size_kib=4 * n, bio_pages=1, units=n,
        page_us=0.0,
    )  # fmt: skip
    return ran.count(R.SPLITS) / ios
