"""Page operations per second of `simulate direct-io`, beside the plain-Python twin of the tests in the same run.

A page operation is a pin, a test or an unpin of one page in a running simulation. Run from the root of the
repository: ``python -m benchmarks.bench_direct_io``. Compilation is not in the figures; it is printed apart.
"""

import sys
import time
from pathlib import Path

from workbench import simulate
from workbench.designs import trackers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import naive_simulate  # noqa: E402

LOAD = {"qd": 64, "size_kib": 64}
REPEATS = 3


def page_operations(counters):
    return counters["PINS"] + counters["UNPINS"] + counters["PIN_TEST"]


def rate(run, ios):
    """Best of some runs, in page operations per second."""
    best = 0.0
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = run(ios)
        best = max(best, page_operations(result.counters) / (time.perf_counter() - start))
    return best


def main():
    print(f"{'tracker':32}{'M page ops/s':>14}{'x twin':>9}{'compile s':>11}")
    for name in trackers():
        design = f"tracker={name}"
        start = time.perf_counter()
        simulate("direct-io", design, ios=64, **LOAD)
        compiled = time.perf_counter() - start
        ours = rate(lambda ios, d=design: simulate("direct-io", d, ios=ios, **LOAD), 400_000)
        twin = rate(
            lambda ios, d=design: naive_simulate.run("direct-io", d, seed=1, parameters={**LOAD, "ios": ios}), 300
        )
        print(f"{name:32}{ours / 1e6:14.1f}{ours / twin:9.0f}{compiled:11.1f}", flush=True)
    big = {"qd": 1024, "cpus": 64, "tags": 65536, "size_kib": 64}
    bytes_per_page = simulate("direct-io", "tracker=bias", ios=1000, **big).metrics["world_bytes_per_page"]
    print(f"memory: {bytes_per_page:.1f} bytes per simulated page, all told, at {1024 * 64 * 16:,} pages (bias)")


if __name__ == "__main__":
    main()
