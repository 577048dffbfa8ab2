"""What a batch costs beside its points: `workbench sweep` against the same points in a bare loop, as ratios.

The bare loop is as good as it gets: as many processes, each simulating its share, with nothing written. Both start
Python, import the package and fetch compiled code from disk. Notebooks are compared with papermill's own command line,
as many at a time. Run from the root of the repository: ``python -m benchmarks.bench_sweep [--notebooks N]``.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import NormalDist

import jupytext

from benchmarks.measure import timed, with_package
from benchmarks.row import Row
from workbench import results, simulate

DESIGN = "v6.12"
JOBS = 2
GRID = {"qd": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512], "size_kib": [4, 8, 16, 32, 64]}
SEEDS = 20
_BARE = """
import json, sys
from workbench import simulate
for qd, size_kib, seed in json.loads(sys.argv[1]):
    simulate("direct-io", sys.argv[2], seed=seed, ios=int(sys.argv[3]), qd=qd, size_kib=size_kib)
"""
NOTEBOOK = """# %% tags=["parameters"]
seconds: float = 1.0  # of work [s]
seed: int = 1  # of nothing

# %%
import time
end = time.process_time() + seconds
while time.process_time() < end:
    pass
"""


def run(*commands):
    """Run commands at the same time; each has to succeed."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen(command, env=with_package(), **quiet) for command in commands]
    for process in running:
        assert process.wait() == 0, process.args


def sweep(spec, folder, *more, jobs=JOBS, store="store"):
    (folder / "spec.toml").write_text(spec)
    return [sys.executable, "-m", "workbench", "sweep", folder / "spec.toml", "--out", folder / store, "--jobs",
            str(jobs), *more]  # fmt: skip


def simulations(ios, folder, seeds=SEEDS):
    """Points by both, 50 for each seed; gives the measurements of the loop, and of the sweep: the first, and again."""
    points = [(q, s, n) for n in range(1, seeds + 1) for q in GRID["qd"] for s in GRID["size_kib"]]
    shares = [json.dumps(points[i::JOBS]) for i in range(JOBS)]
    bare = timed(lambda: run(*([sys.executable, "-c", _BARE, share, DESIGN, str(ios)] for share in shares)))
    spec = _spec(ios, seeds)
    swept = timed(lambda: run(sweep(spec, folder)))
    assert len(results.load(folder / "store")) == len(points)
    again = timed(lambda: run(sweep(spec, folder)))
    return len(points), bare, swept, again


def _spec(ios, seeds):
    grid = "".join(f"{name} = {values}\n" for name, values in GRID.items())
    return f'scenario = "direct-io"\ndesigns = ["{DESIGN}"]\nreplications = {seeds}\n[set]\nios = {ios}\n[grid]\n{grid}'


def rows(quick=False):
    """A thousand points of 100,000 bios each, on two processes; quick: a hundred of 10,000."""
    seeds, ios = (2, 10_000) if quick else (SEEDS, 100_000)
    simulate("direct-io", DESIGN, ios=10)  # compile
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count, bare, swept, _ = simulations(ios, folder, seeds)
        needed = replications(results.load(folder / "store"))
        alone = timed(lambda: run(sweep(_spec(ios, seeds), folder, jobs=1, store="alone")))
    what = f"{count:,} points x {ios:,} bios by workbench sweep on {JOBS} processes"
    note = f"{count / swept.clock:.3g} points/s; by the clock, so other work on the machine is in it"
    return [
        Row(
            "sweep/points",
            what,
            ours=swept.clock,
            goal="" if quick else "ours <= 60",
            unit="s",
            note=note,
        ),
        Row(
            "sweep/x-one-core",
            f"{what}, against one: times as fast",
            ours=swept.clock,
            peer=alone.clock,
            ratio=alone.clock / swept.clock,
            goal="" if quick else "ratio >= 1.8",
            unit="s",
            note=note,
        ),
        Row(
            "sweep/x-bare-loop",
            f"{what}, against a bare loop in as many: CPU time",
            ours=swept.cpu,
            peer=bare.cpu,
            ratio=swept.cpu / bare.cpu,
            goal="" if quick else "ratio <= 1.1",
            unit="s",
            note="starting Python and fetching compiled code is in both",
        ),
        Row(
            "sweep/interval",
            f"runs of {ios:,} bios until the 95 % interval of the mean latency is within 1 %: worst point",
            ours=needed * swept.clock / count,
            unit="s",
            note=f"{needed} replications, at least 2; {note}",
        ),
    ]


def replications(frame):
    """Count how many runs it takes until the 95 % interval of the mean latency is within 1 %: most of any point."""
    by_point = frame.groupby("parameters")["latency_mean_ns"]
    half_widths = NormalDist().inv_cdf(0.975) * by_point.std() / by_point.mean() / 0.01
    return max(2, math.ceil((half_widths**2).max()))


def notebooks(count, folder):
    """Notebooks of a second each: papermill's command line, and the sweep."""
    path = folder / "n.ipynb"
    path.write_text(jupytext.writes(jupytext.reads(NOTEBOOK, "py:percent"), "ipynb"))
    papermill = [sys.executable, "-m", "papermill", path, "--kernel", "python3", "--no-progress-bar"]

    def bare():
        with ThreadPoolExecutor(JOBS) as pool:
            list(
                pool.map(
                    lambda n: run([*papermill, "-p", "seed", str(n), "--language", "python", folder / f"{n}.ipynb"]),
                    range(count),
                )
            )

    spec = f'notebook = "{path}"\nreplications = {count}\n'
    return timed(bare), timed(lambda: run(sweep(spec, folder, "--allow", path)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ios", type=int, default=20_000, help="direct IOs of a point")
    parser.add_argument("--notebooks", type=int, default=40)
    given = parser.parse_args()
    simulate("direct-io", DESIGN, ios=10)  # compile
    with tempfile.TemporaryDirectory() as name:
        count, bare, swept, again = simulations(given.ios, Path(name))
    print(
        f"{count} simulations on {JOBS} processes: bare loop {bare.clock:.1f} s "
        f"({bare.clock * JOBS / count:.3f} s a point), {bare.cpu:.1f} s of CPU"
    )
    print(
        f"sweep: {swept.clock / bare.clock:.3f} x the time, {swept.cpu / bare.cpu:.3f} x the CPU time of the bare loop"
    )
    print(f"with all of them done: {again.clock:.1f} s")
    if given.notebooks:
        with tempfile.TemporaryDirectory() as name:
            bare, swept = notebooks(given.notebooks, Path(name))
        each = (swept.clock - bare.clock) * JOBS / given.notebooks
        print(f"{given.notebooks} notebooks: papermill {bare.clock:.1f} s;", end=" ")
        print(f"sweep {swept.clock / bare.clock:.3f} x the time,")
        print(f"{each:+.2f} s a notebook, {swept.cpu / bare.cpu:.3f} x the CPU time")


if __name__ == "__main__":
    main()
