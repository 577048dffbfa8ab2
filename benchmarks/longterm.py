"""Time and memory of `rdma-longterm` against the number of pages: a simulated hour, 37 % of memory pinned.

Run from the root of the repository: ``python -m benchmarks.longterm [LARGEST]``, LARGEST a power of two of pages,
26 by default; 28 takes minutes and 3 GiB. The flusher goes round every 5 s, sync every 60 s; what threads and devices
write is in proportion to memory. With ``--write`` the table goes to ``data/longterm_scale.csv``.
"""

import argparse
import resource
import time
from pathlib import Path

import pandas as pd

from workbench import simulate
from workbench.code_cache import source_hash

DATA = Path(__file__).resolve().parent.parent / "data" / "longterm_scale.csv"
DESIGNS = ("v4.17", "tracker=bias,cleaning=skip/skip,reclaim=skip,order=check-first")
SMALLEST = 20
PINNED = 10**8 / 2**28  # 10^8 pages of a TiB
FILE_SHARE = 0.9


def parameters(pages):
    mib_s = pages * 8 / 2**20  # 2 GiB/s at 2^28
    return {
        "pages": pages,
        "file_share": FILE_SHARE,
        "pinned_share": PINNED / FILE_SHARE + 1e-6,
        "region_kib": 1024,
        "write_mib_s": mib_s / 10,
        "transfer_mib_s": mib_s / 2,
        "disk_mib_s": mib_s,
        "duration_s": 3600.0,
        "sample_s": 5.0,
    }


def measure(order, design):
    given = parameters(2**order)
    start, used = time.perf_counter(), time.process_time()
    result = simulate("rdma-longterm", design, **given)
    seconds = time.perf_counter() - start  # of the clock: other work on the machine is in it
    used = time.process_time() - used
    return {
        "design": design,
        "pages": 2**order,
        "pinned": result.held,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used, 2),
        "cpu_ns_per_page": round(used / 2**order * 1e9, 1),
        "world_bytes_per_page": round(result.metrics["world_bytes_per_page"], 2),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "syncs_returned": result.counters["FSYNCS"],
        "pages_looked_at": result.counters["TAG_SCAN"],
        "cpu_writes": result.metrics["cpu_writes"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("largest", type=int, nargs="?", default=26)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    for design in DESIGNS:
        simulate("rdma-longterm", design, pages=4096, duration_s=1.0)  # compiles
    rows = []
    for order in range(SMALLEST, arguments.largest + 1, 2):
        for design in DESIGNS:
            rows.append(measure(order, design))
            print(" ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    if arguments.write:
        source = f"# benchmarks/longterm.py {arguments.largest}, sources {source_hash()}, a simulated hour each\n"
        DATA.write_text(source + pd.DataFrame(rows).to_csv(index=False))


if __name__ == "__main__":
    main()
