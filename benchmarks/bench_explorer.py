"""From a slider to the picture, in a real browser: ``python -m benchmarks.bench_explorer [--json] [--moves N]``.

JupyterLab and Debian's chromium are started here. Each slider that an explorer has in sight is moved by a key, and
the clock runs in the page: from the key to the frame after the new figure has come.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from typing import Any

from benchmarks.lab import (
    COMPILE_S,
    browser_page,
    jupyterlab,
    missing,
    new_notebook,
    open_notebook,
    run_all,
    wait_until_idle,
)
from benchmarks.measure import Skipped
from benchmarks.row import Row
from workbench.widgets.views import SCENES

MOVES = 12  # of each slider, there and back
GOAL_MS = 100
# Moves one slider, and gives the milliseconds until the figure has changed and is painted; -1: it did not change.
MOVE = """async ([explorer, slider, key]) => {
    const shown = document.querySelectorAll('.workbench-explorer')[explorer];
    const handle = shown.querySelectorAll('.noUi-handle')[slider];
    const figure = shown.querySelector('.workbench-figure').parentElement;
    const painted = new Promise(resolve => {
        const watch = new MutationObserver(() => {
            watch.disconnect();
            requestAnimationFrame(() => setTimeout(() => resolve(performance.now()), 0));
        });
        watch.observe(figure, {childList: true, subtree: true});
        setTimeout(() => { watch.disconnect(); resolve(-1); }, 3000);
    });
    const start = performance.now();
    handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
    const end = await painted;
    return end < 0 ? -1 : end - start;
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--moves", type=int, default=MOVES, help=f"moves of each slider; default {MOVES}")
    arguments = parser.parse_args()
    if why := missing():
        print(f"bench_explorer: {why}", file=sys.stderr)
        return 1
    measured = measure(arguments.moves)
    if arguments.json:
        print(json.dumps({"machine": _machine(), "ms": measured}, indent=2))
    else:
        _print(measured)
    return 0


def rows(quick: bool = False) -> list[Row]:
    """Median of all moves, from slider to picture.

    Raises
    ------
    Skipped
        There is no browser to be driven, or it has to be quick.
    """
    if why := "not with --quick: it starts JupyterLab and a browser" if quick else missing():
        raise Skipped(why)
    measured = measure(MOVES)
    found = [ms for sliders in measured.values() for of_slider in sliders.values() for ms in of_slider]
    unmoved = [f"{scenario} {name}" for scenario, sliders in measured.items() for name in sliders if not sliders[name]]
    return [
        Row(
            "explorer/move",
            "slider to picture in the explorer notebook, in a browser: median",
            ours=statistics.median(found) / 1000,
            goal=f"ours <= {GOAL_MS / 1000}",
            unit="s",
            note=_told(found) + (f"; no part in the picture: {', '.join(unmoved)}" if unmoved else ""),
        )
    ]


def measure(moves: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each move, by scenario and slider."""
    with jupyterlab() as lab, browser_page() as page:
        cells = [f"from workbench.widgets import explorer\nexplorer({scenario!r})" for scenario in SCENES]
        new_notebook(lab, "explorers.ipynb", cells)
        open_notebook(page, lab, "explorers.ipynb")
        run_all(page)
        return {scenario: _measure(page, place, moves) for place, scenario in enumerate(SCENES)}


def _measure(page: Any, place: int, moves: int) -> dict[str, list[float]]:
    """Milliseconds of each move, by slider."""
    shown = page.locator(".workbench-explorer").nth(place)
    shown.locator(".workbench-figure").wait_for(timeout=COMPILE_S * 1000)
    shown.locator(".workbench-figure").scroll_into_view_if_needed()
    names = shown.evaluate(
        """shown => [...shown.querySelectorAll('.noUi-handle')].filter(handle => handle.offsetParent !== null)
            .map(handle => handle.closest('.widget-inline-hbox').querySelector('label').textContent)"""
    )
    found: dict[str, list[float]] = {}
    for slider, name in enumerate(names):
        wait_until_idle(page)
        # There and back: at the end of a slider the first move changes nothing.
        keys = ["ArrowRight", "ArrowLeft"] * (moves // 2)
        times = [page.evaluate(MOVE, [place, slider, key]) for key in keys]
        late = sum(ms < 0 for ms in times[1:])
        if late < len(times) - 1:  # or else this picture does not depend on it
            assert not late, f"{name}: {late} of {len(times)} moves brought no new picture within 3 s"
        found[name] = [ms for ms in times if ms >= 0]
    return found


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"


def _print(measured: dict[str, dict[str, list[float]]]) -> None:
    print(f"slider to picture [ms], {_machine()}; goal: median at most {GOAL_MS}")
    for scenario, sliders in measured.items():
        print(f"{scenario:28} {_told([ms for found in sliders.values() for ms in found])}")
        for name, found in sliders.items():
            print(f"  {name:26} {_told(found)}")
    print(f"{'all':28} {_told([ms for s in measured.values() for found in s.values() for ms in found])}")


def _told(found: list[float]) -> str:
    if not found:
        return "no move changed the figure"
    ordered = sorted(found)
    p90 = ordered[min(len(ordered) * 9 // 10, len(ordered) - 1)]
    return f"median {statistics.median(ordered):6.1f}  p90 {p90:6.1f}  max {ordered[-1]:6.1f}  of {len(ordered)}"


if __name__ == "__main__":
    sys.exit(main())
