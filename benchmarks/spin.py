"""SPIN as a peer of `explore`: the worlds of ``peers/*.pml``, compiled and searched; nothing here is timed but SPIN."""

import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import PEERS
from workbench.replay import small_world

MODELS = {"golden-race": "golden_race.pml", "direct-io": "direct_io.pml"}
DESIGNS = ("v4.17", "tracker=bias,cleaning=skip")
# Parameters that a model has; the others are what they are in a small world.
PARAMETERS = {
    "golden-race": {"flusher_rounds", "kswapd_rounds", "fsync_us", "bias"},
    "direct-io": {"threads", "qd", "ios", "rounds", "size_kib", "bio_pages", "bias"},
}
# No dataflow optimisation, no dead variables, no merged statements: a state and a step are what the model says.
AS_WRITTEN = ("-o1", "-o2", "-o3")
MODES = {
    "breadth first": ("-DBFS", "-DNOREDUCE"),
    "breadth first, reduced": ("-DBFS",),
    "depth first": ("-DNOREDUCE",),
    "depth first, reduced": (),
}
HAZARDS = ("bufferless-dirty", "unstable-write", "missed-pin", "lost-update", "fsync-lie")  # from 1, in kernel.pml
DEPTH = 20_000  # more than any order of steps has; 107 bytes each


class Searched(NamedTuple):
    """What SPIN says: states, transitions, seconds of CPU, bytes (but for the depth-first stack), errors."""

    states: int
    transitions: int
    seconds: float
    bytes: float
    errors: int


def missing() -> str:
    """Say what is not installed of what this needs; empty: nothing."""
    return ", ".join(name for name in ("spin", "gcc") if shutil.which(name) is None)


def defines(scenario: str, design: str, parameters: Mapping[str, Any], hazard: str = "") -> list[str]:
    """Give a small world's parameters as a model has them.

    Parameters
    ----------
    scenario, design : str
        The design is one of `DESIGNS`.
    parameters : mapping
        Those that differ from the small set.
    hazard : str
        What is asserted never to happen; empty: nothing.

    Raises
    ------
    ValueError
        The model has no such design or parameter.
    """
    if design not in DESIGNS:
        raise ValueError(f"{MODELS[scenario]} has the designs {' and '.join(DESIGNS)}, not {design}")
    if others := sorted(set(parameters) - PARAMETERS[scenario]):
        raise ValueError(f"{MODELS[scenario]} has no {', '.join(others)}")
    small = small_world(scenario, design, dict(parameters))
    p = small.parameters
    given = {"BIAS": getattr(small.tracker, "bias", 0), "HAZARD": HAZARDS.index(hazard) + 1 if hazard else 0}
    if scenario == "golden-race":
        given |= {"FLUSHER_ROUNDS": p["flusher_rounds"], "KSWAPD_ROUNDS": p["kswapd_rounds"]}
        given["FSYNC"] = int(p["fsync_us"] > 0)
    else:
        threads = p["threads"] or p["cpus"]
        given |= {"THREADS": threads, "QD": p["qd"], "DIRECT_IOS": p["ios"] // threads, "FLUSHER_ROUNDS": p["rounds"]}
        given |= {"IO_PAGES": p["size_kib"] // 4, "BIO_PAGES": p["bio_pages"]}
    return [f"-D{name}={value}" for name, value in given.items()]


@contextmanager
def compiled(scenario: str, options: list[str], *modes: str, optimise: str = "-O2") -> Iterator[list[Path]]:
    """Compile a model for some of the `MODES`, as ``-DSAFETY`` has it.

    Parameters
    ----------
    scenario : str
    options : list of str
        As `defines` gives them.
    *modes : str
    optimise : str
        For gcc.

    Raises
    ------
    ValueError
        The model can't express this; with its own words.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-spin-") as folder:
        model = PEERS / MODELS[scenario]
        command = ["spin", *AS_WRITTEN, *options, "-a", model]
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if refused := re.findall(r'#error "(.*)"', made.stderr):
            raise ValueError(f"{model.name}: {refused[0]}")
        made.check_returncode()
        pans = [Path(folder, f"pan{i}") for i in range(len(modes))]
        for mode, path in zip(modes, pans, strict=True):
            command = ["gcc", optimise, "-w", "-DSAFETY", *MODES[mode], "-o", path, "pan.c"]
            subprocess.run(command, cwd=folder, check=True)
        yield pans


def run(pan: Path, states: int) -> Searched:
    """Search; the table of hashes has room for so many states.

    Raises
    ------
    RuntimeError
        SPIN has not searched everything, or says so in other words than version 6.5.2.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [pan, "-E", f"-w{states.bit_length()}", f"-m{DEPTH}"]
    told = subprocess.run(command, cwd=pan.parent, capture_output=True, text=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if "max search depth too small" in told or "Search not completed" in told and "errors: 0" in told:
        raise RuntimeError(f"SPIN has not searched everything:\n{told}")
    stack = re.search(r"([\d.]+)\s+memory used for DFS stack", told)
    mib = _number(r"([\d.]+)\s+total actual memory", told) - (float(stack[1]) if stack else 0.0)
    atomic = _number(r"(\d+) atomic steps", told)
    stored = _number(r"(\d+) states, stored", told) - (atomic if "Breadth-First" in told else 0)
    return Searched(
        states=int(stored) - 1,  # the one before the world is laid out
        transitions=int(_number(r"(\d+) transitions", told)),
        seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        bytes=mib * 2**20,
        errors=int(_number(r"errors: (\d+)", told)),
    )


def _number(pattern: str, told: str) -> float:
    found = re.search(pattern, told)
    if found is None:
        raise RuntimeError(f"SPIN says nothing like {pattern!r}:\n{told}")
    return float(found[1])
