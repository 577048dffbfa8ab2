"""Compiled code is never stale, and equals plain Python."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import workbench

PACKAGE = Path(workbench.__file__).parent

RUN = """
import json, sys
from workbench import simulate
r = simulate("direct-io", sys.argv[1], ios=60, qd=4, writeback_ms=0.2, reclaim_ms=0.3, extent_kib=16, overlap=0.3)
print(json.dumps([r.counters, r.metrics["simulated_ps"], r.series.to_numpy().tolist(), r.stuck]))
"""


def run(design, *, path, cache, jit=True):
    """One simulation in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(path), "NUMBA_CACHE_DIR": str(cache)}
    environment["NUMBA_DISABLE_JIT"] = "0" if jit else "1"
    command = [sys.executable, "-W", "error", "-c", RUN, design]
    done = subprocess.run(command, env=environment, cwd=path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.jit_only
@pytest.mark.parametrize("design", ["tracker=bias,cleaning=skip", "tracker=vma-common:release=count,cleaning=wait"])
def test_compiled_equals_plain_python(design, tmp_path):
    shared = os.environ.get("NUMBA_CACHE_DIR") or Path.home() / ".cache"
    assert run(design, path=PACKAGE.parent, cache=shared) == run(design, path=PACKAGE.parent, cache=shared, jit=False)


PIN_ONCE = """
from workbench import designs
from workbench.accelerate import driver
from workbench.mm import registers as R
from workbench.scenarios.base import EMPTY_PLAN, new_world
from workbench.trackers.protocol import pin

@driver
def go(tracker, world):
    pin(tracker, world, 0)

world, _ = new_world(pages=1, nodes=1, bios=1, dios=1, cpus=1, submitters=1, plan=EMPTY_PLAN, ios=0)
go(designs.parse_tracker("flag")[1], world)
print(world.sys[R.ATOMIC], sum(go.stats.cache_hits.values()))
"""


@pytest.mark.jit_only
def test_an_edited_tracker_is_seen(tmp_path):
    """The compiled driver is cached, and its own file stays as it is; the tracker in another file changes."""
    shutil.copytree(PACKAGE, tmp_path / "workbench", ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "go.py"
    script.write_text(PIN_ONCE)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def go():
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return tuple(map(int, done.stdout.split()))

    assert go() == (1, 0)
    assert go() == (1, 1)  # from the cache
    tracker = tmp_path / "workbench" / "trackers" / "flag.py"
    tracker.write_text(tracker.read_text().replace("tally(world, R.ATOMIC, 1)", "tally(world, R.ATOMIC, 2)"))
    assert go() == (2, 0)


@pytest.mark.jit_only
def test_a_user_tracker_leaves_no_trace(tmp_path):
    """Its class is named in no cache: another process, which can't import it, runs as before."""
    mine = tmp_path / "mine.py"
    mine.write_text((PACKAGE / "trackers" / "flag.py").read_text().replace("Flag", "Mine"))
    shared = os.environ.get("NUMBA_CACHE_DIR") or Path.home() / ".cache"
    theirs = run(f"tracker={mine}:Mine,cleaning=skip", path=PACKAGE.parent, cache=shared)
    mine.unlink()
    assert run("tracker=flag,cleaning=skip", path=PACKAGE.parent, cache=shared) == theirs


def test_folders_of_old_sources_go(tmp_path, monkeypatch):
    from workbench import code_cache

    for i in range(9):
        folder = tmp_path / "gup-pin-workbench" / f"old{i}"
        folder.mkdir(parents=True)
        os.utime(folder, (i, i))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    before = code_cache.numba.config.CACHE_DIR
    try:
        code_cache.point_cache_at_sources()
    finally:
        code_cache.numba.config.CACHE_DIR = before
    left = sorted(p.name for p in (tmp_path / "gup-pin-workbench").iterdir())
    assert left == sorted([code_cache.source_hash(), "old8", "old7", "old6"])
