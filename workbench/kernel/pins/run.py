"""``workbench kernel pins``: the named cases and random schedules, and the report of them."""

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench import designs
from workbench.kernel import needs
from workbench.kernel.needs import Unavailable
from workbench.kernel.pins import at_random, cases, kinds
from workbench.kernel.pins.bench import Bench, CaseResult, run_case
from workbench.kernel.pins.live import ext4_folder
from workbench.kernel.pins.pages import counters_there
from workbench.kernel.pins.predicted import PRESET

CASES: dict[str, Callable[[Bench], None]] = {**cases.CASES, **kinds.CASES}


@dataclass(frozen=True)
class Report:
    """What came of a run.

    Attributes
    ----------
    kernel, design : str
    results : list of CaseResult
    """

    kernel: str
    design: str
    results: list[CaseResult]

    @property
    def agrees(self) -> bool:
        """Whether something was compared, and all of it is equal."""
        return all(result.agrees for result in self.results) and any(not result.skipped for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        benches = [result.bench for result in self.results]
        return {
            "kernel": self.kernel,
            "design": self.design,
            "steps": sum(bench.steps for bench in benches),
            "compared": sum(bench.compared for bench in benches),
            "observed": sum(len(bench.observed) for bench in benches),
            "mismatches": sum(len(bench.mismatches) for bench in benches),
            "skipped": {result.name: result.skipped for result in self.results if result.skipped},
            "cases": [_case(result) for result in self.results],
        }

    def lines(self) -> list[str]:
        """For a terminal: a line for each case, and below it what differs or was left out."""
        text = [f"Linux {self.kernel} beside the model with design {self.design}"]
        width = max(len(result.name) for result in self.results)
        for result in self.results:
            bench = result.bench
            counts = f"{bench.steps:>5} steps  {bench.compared:>7} compared  {len(bench.observed):>3} observed"
            verdict = "agrees" if result.agrees else "DIFFERS"
            if result.skipped:
                text.append(f"{result.name:<{width}}  skipped: {result.skipped}")
                continue
            text.append(f"{result.name:<{width}}  {counts}  {result.seconds:>6.1f} s  {verdict}")
            text += [f"  {mismatch}" for mismatch in bench.mismatches]
            text += [f"  left out: {what}" for what in bench.left_out]
            text += [f"  in one of {result.runs} runs only: {what}" for what in result.not_again]
            if bench.disturbed:
                text.append(f"  pin counters not compared in {len(bench.disturbed)} steps: others were pinning pages")
        return text


def _case(result: CaseResult) -> dict[str, Any]:
    bench = result.bench
    return {
        "name": result.name,
        "skipped": result.skipped,
        "agrees": result.agrees and not result.skipped,
        "runs": result.runs,
        "seconds": result.seconds,
        "steps": bench.steps,
        "compared": bench.compared,
        "named": [{"what": what, "model": predicted, "kernel": seen} for what, predicted, seen in bench.named],
        "mismatches": bench.mismatches,
        "observed": [asdict(observation) for observation in bench.observed],
        "disturbed_steps": len(bench.disturbed),
        "left_out": bench.left_out,
        "not_again": list(result.not_again),
    }


def require() -> None:
    """Raise `Unavailable` unless schedules can be run here."""
    needs.linux()
    needs.fuse()
    for name in ("kpageflags", "kpagecount"):
        if not Path("/proc", name).exists():
            raise Unavailable(f"needs /proc/{name} (CONFIG_PROC_PAGE_MONITOR)")
    if not counters_there():
        raise Unavailable("needs nr_foll_pin_acquired in /proc/vmstat (Linux 5.7) and /proc/sys/vm/stat_refresh")
    disabled = Path("/proc/sys/kernel/io_uring_disabled")
    if disabled.exists() and disabled.read_text().strip() == "2":
        raise Unavailable("needs io_uring, which /proc/sys/kernel/io_uring_disabled forbids")
    ext4_folder()


def run(names: Iterable[str] | None = None, steps: int = 1000, seed: int = 1, design: str = PRESET) -> Report:
    """Run named cases, and random schedules.

    Parameters
    ----------
    names : iterable of str or None
        Of cases; None: all.
    steps : int
        Of random schedules; 0: none.
    seed : int
    design : str
        Of the model.

    Raises
    ------
    Unavailable
        Where nothing can be run.
    UsageError
        For a design that is not known.
    """
    designs.parse(design)
    require()
    chosen = dict(CASES) if names is None else {name: CASES[name] for name in names}
    full, rest = divmod(steps, at_random.LENGTH)
    lengths = [at_random.LENGTH] * full + [rest] * (rest > 0)
    for number, length in enumerate(lengths, 1):
        chosen[f"random-{number}"] = at_random.random_case(number, length)
    results = [run_case(name, case, Bench(design, seed=seed)) for name, case in chosen.items()]
    return Report(os.uname().release, design, results)
