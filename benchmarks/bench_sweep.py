"""What a batch costs beside its points: `workbench sweep` against the same points in a bare loop, as ratios.

The bare loop is as good as it gets: as many processes, each simulating its share, with nothing written. Both start
Python, import the package and fetch compiled code from disk. Notebooks are compared with papermill's own command line,
as many at a time. Run from the root of the repository: ``python -m benchmarks.bench_sweep [--notebooks N]``.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext

from workbench import results, simulate

DESIGN = "v4.17"
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


def timed(work):
    """Seconds on the clock, and of CPU in processes that have ended meanwhile."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(*commands):
    """Run commands at the same time; each has to succeed."""
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]
    for process in running:
        assert process.wait() == 0, process.args


def sweep(spec, folder, *more):
    (folder / "spec.toml").write_text(spec)
    return [sys.executable, "-m", "workbench", "sweep", folder / "spec.toml", "--out", folder / "store", "--jobs",
            str(JOBS), *more]  # fmt: skip


def simulations(ios, folder):
    """A thousand points, by both; gives the measurements of the loop and of the sweep."""
    points = [(q, s, n) for n in range(1, SEEDS + 1) for q in GRID["qd"] for s in GRID["size_kib"]]
    shares = [json.dumps(points[i::JOBS]) for i in range(JOBS)]
    bare = timed(lambda: run(*([sys.executable, "-c", _BARE, share, DESIGN, str(ios)] for share in shares)))
    grid = "".join(f"{name} = {values}\n" for name, values in GRID.items())
    spec = f'scenario = "direct-io"\ndesigns = ["{DESIGN}"]\nreplications = {SEEDS}\n[set]\nios = {ios}\n[grid]\n{grid}'
    swept = timed(lambda: run(sweep(spec, folder)))
    assert len(results.load(folder / "store")) == len(points)
    again = timed(lambda: run(sweep(spec, folder)))
    return len(points), bare, swept, again


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
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    simulate("direct-io", DESIGN, ios=10)  # compile
    with tempfile.TemporaryDirectory() as name:
        count, bare, swept, again = simulations(given.ios, Path(name))
    print(
        f"{count} simulations on {JOBS} processes: bare loop {bare[0]:.1f} s ({bare[0] * JOBS / count:.3f} s a point), "
        f"{bare[1]:.1f} s of CPU"
    )
    print(f"sweep: {swept[0] / bare[0]:.3f} x the time, {swept[1] / bare[1]:.3f} x the CPU time of the bare loop")
    print(f"with all of them done: {again[0]:.1f} s")
    if given.notebooks:
        with tempfile.TemporaryDirectory() as name:
            bare, swept = notebooks(given.notebooks, Path(name))
        each = (swept[0] - bare[0]) * JOBS / given.notebooks
        print(f"{given.notebooks} notebooks: papermill {bare[0]:.1f} s; sweep {swept[0] / bare[0]:.3f} x the time,")
        print(f"{each:+.2f} s a notebook, {swept[1] / bare[1]:.3f} x the CPU time")


if __name__ == "__main__":
    main()
