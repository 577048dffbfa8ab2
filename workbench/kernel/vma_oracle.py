"""The VMA model held against the running kernel: random sequences, and the shortest one that shows a difference."""

import os
import resource
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench.errors import UsageError
from workbench.kernel import needs
from workbench.kernel import vma_ops as o
from workbench.kernel.libc import error_name
from workbench.kernel.vma_child import (
    AGREED,
    BASE,
    HUNG,
    Result,
    Setting,
    real_directory,
    run_sequence,
    warm_up,
)
from workbench.kernel.vma_smaps import can_query
from workbench.mm.vma_draw import Row, draw
from workbench.mm.vma_machine import rules_of

LENGTH = 4000  # operations of a sequence
OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
MACHINES = ("x86_64", "aarch64")


class Mismatch(NamedTuple):
    """The first sequence that went differently, and what is left of it."""

    sequence: int  # of the run, from 0
    found_after: int  # operations of that sequence
    ops: np.ndarray  # the shortest sequence found that differs
    result: Result


class Report(NamedTuple):
    """What a run has found."""

    ops: int  # compared
    sequences: int
    forks: int
    smaps_checks: int
    mismatches: int  # sequences that went differently
    counts: tuple[int, ...]  # splits, and merges to the left, to the right, with both neighbours
    seconds: float
    cpu_seconds: float  # of this process and all its children
    mismatch: Mismatch | None
    ran_on: dict[str, Any]


def check_needs() -> Setting:
    """Find out what the machine offers.

    Raises
    ------
    Unavailable
        If the comparison can't be run here.
    """
    needs.linux()
    if os.uname().machine not in MACHINES:
        raise needs.Unavailable(f"needs {' or '.join(MACHINES)}: system calls have other numbers for flags elsewhere")
    if o.PAGE_SIZE != 4096:
        raise needs.Unavailable(f"needs pages of 4096 bytes; here they have {o.PAGE_SIZE}")
    version = needs.kernel_version()
    if version < (6, 12):
        raise needs.Unavailable("needs Linux 6.12 or later: the rules of merging were others before")
    if OVERCOMMIT.read_text().strip() == "2":
        raise needs.Unavailable("needs vm.overcommit_memory other than 2, which changes VM_ACCOUNT")
    return Setting(real_directory(), can_query(), kernel=version)


def compare(
    number: int,
    seed: int,
    without: Sequence[str] = (),
    length: int = LENGTH,
    setting: Setting | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Report:
    """Run random sequences in the model and on the kernel, and compare after every operation.

    Parameters
    ----------
    number : int
        Operations to compare; the run ends with the sequence that reaches it.
    seed : int
    without : sequence of str
        Rules of the model that are switched off: see `workbench.mm.vma_core.RULE_TEXT`.
    length : int
        Operations of a sequence; each runs in a process of its own.
    setting : Setting, optional
        By default what `check_needs` says.
    told : callable
        Called with the operations done, after each sequence.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        For a rule that does not exist.
    Unavailable
        If the comparison can't be run here.
    """
    if number < 1 or seed < 0:
        raise UsageError("--ops must be at least 1, and --seed at least 0")
    rules_of(without=without)
    setting = (setting or check_needs())._replace(without=tuple(without))
    warm_up(setting)
    done = checks = forks = mismatches = sequence = 0
    counts = np.zeros(4, np.int64)
    mismatch = None
    began, apart = _clocks(), np.zeros(2)  # time spent on shrinking
    while done < number:
        ops = o.generate(np.random.default_rng([seed, sequence]), min(length, number - done))
        result = run_sequence(ops, setting)
        done += max(result.ops, 1)
        checks += result.checks
        forks += int((ops["op"][: result.ops] == o.FORK).sum())
        counts += result.counts
        if result.verdict != AGREED:
            mismatches += 1
            if mismatch is None:
                since = _clocks()
                mismatch = Mismatch(sequence, result.ops, *shrink(ops, result, setting))
                apart = _clocks() - since
        sequence += 1
        told(done)
    wall, cpu = (_clocks() - began - apart).tolist()
    told_counts = tuple(int(c) for c in counts)
    return Report(done, sequence, forks, checks, mismatches, told_counts, wall, cpu, mismatch, _ran_on(setting))


def _clocks() -> np.ndarray:
    """Seconds of the clock, and of CPU time of this process and those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in used)])


def _ran_on(setting: Setting) -> dict[str, Any]:
    system = os.uname()
    return {
        "kernel": system.release,
        "machine": system.machine,
        "cpus": os.cpu_count(),
        "compared_by": "PROCMAP_QUERY" if setting.by_query else "/proc/self/smaps",
        "smaps_every": setting.smaps_every if setting.by_query else 1,
        "rules_off": list(setting.without),
    }


def shrink(ops: np.ndarray, result: Result, setting: Setting) -> tuple[np.ndarray, Result]:
    """Take operations out of a sequence as long as it still goes differently (delta debugging).

    Zeller and Hildebrandt, Simplifying and isolating failure-inducing input, IEEE TSE 28(2), 2002: here first halves
    are left out, then quarters, and so on down to single operations, until none can be.

    Parameters
    ----------
    ops : ndarray of OPERATION
    result : Result
        Of the whole sequence.
    setting : Setting

    Returns
    -------
    ops : ndarray of OPERATION
        Of which no single one can be left out.
    result : Result
        Of these, compared with smaps after each.
    """
    if result.verdict == HUNG:  # each try would take as long again
        return ops, result
    ops = ops[: result.ops + 1]
    size = len(ops)
    while size:
        if size == 1:  # few are left: now smaps, which takes longer than a hundred operations, after each
            setting = setting._replace(smaps_every=1)
            ops, result = _differing(ops, setting) or (ops, result)
        i, shorter = 0, False
        while i < len(ops):
            found = _differing(np.delete(ops, slice(i, i + size)), setting)
            if found:
                ops, result = found
                shorter = True
            else:
                i += size
        if not shorter or size > 1:
            size //= 2
    return ops, result


def _differing(ops: np.ndarray, setting: Setting) -> tuple[np.ndarray, Result] | None:
    """Run a sequence: cut after its first difference, with what that is; or None."""
    if not len(ops):
        return None
    result = run_sequence(ops, setting)
    return None if result.verdict in (AGREED, HUNG) else (ops[: result.told["op"] + 1], result)


def as_json(report: Report) -> dict[str, Any]:
    """Everything that a run has found, as plain values."""
    splits, left, right, both = report.counts
    found = report._asdict()
    del found["counts"]
    found |= {"splits": splits, "merges": left + right + both, "merges_left": left, "merges_right": right}
    found |= {"merges_both": both, "ops_per_second": round(report.ops / report.seconds)}
    found["ops_per_cpu_second"] = round(report.ops / report.cpu_seconds)
    if report.mismatch:
        m = report.mismatch
        found["mismatch"] = {
            "sequence": m.sequence,
            "found_after": m.found_after,
            "ops": [o.text_of(op) for op in m.ops],
            "verdict": m.result.verdict,
            **m.result.told,
        }
    return found


def as_text(report: Report, seed: int) -> str:
    """Say what a run has found, in lines for people."""
    splits, left, right, both = report.counts
    on = report.ran_on
    lines = [
        f"{report.ops:,} operations in {report.sequences:,} sequences with {report.forks:,} forks, on Linux "
        f"{on['kernel']} ({on['machine']}, {on['cpus']} CPUs)",
        f"compared after every operation by {on['compared_by']}; {report.smaps_checks:,} times with smaps",
        f"{splits:,} splits; {left + right + both:,} merges: {left:,} to the left, {right:,} to the right, "
        f"{both:,} with both neighbours",
        f"{report.ops / report.seconds:,.0f} operations/s, {report.ops / report.cpu_seconds:,.0f} per CPU second; "
        f"{report.mismatches} mismatch{'' if report.mismatches == 1 else 'es'}",
    ]
    if report.mismatch:
        lines += ["", *_mismatch_lines(report.mismatch, seed)]
    return "\n".join(lines)


def _mismatch_lines(mismatch: Mismatch, seed: int) -> list[str]:
    told, result = mismatch.result.told, mismatch.result
    lines = [
        f"sequence {mismatch.sequence} of seed {seed} went differently after {mismatch.found_after} operations; "
        f"{len(mismatch.ops)} of them do:"
    ]
    lines += [f"  {i + 1:3}  {o.text_of(op)}" for i, op in enumerate(mismatch.ops)]
    if "what" not in told:
        return [*lines, f"the process {result.verdict} ({told.get('how', 'no progress')}) in the last one or behind it"]
    model, kernel = (_result_text(told[f"{side}_result"]) for side in ("model", "kernel"))
    lines += [f"what differs: {told['what']}; the last one returns {model} in the model, {kernel} in the kernel", ""]
    before, after, live = ([Row(*row) for row in told[key]] for key in ("before", "model", "kernel"))
    lines += ["before (model):", *draw(before, BASE, o.ARENA).split("\n"), ""]
    left = ["after, model:", *draw(after, BASE, o.ARENA).split("\n")]
    right = ["after, kernel:", *draw([_comparable(r) for r in live], BASE, o.ARENA).split("\n")]
    width = max(map(len, left)) + 3
    lines += [f"{one:<{width}}{other}".rstrip() for one, other in zip_longest(left, right, fillvalue="")]
    return lines


def _comparable(row: Row) -> Row:
    """A row out of smaps, where anonymous memory has no offset: as if it were that of the address."""
    return row._replace(pgoff=row.start) if row.file < 0 else row


def _result_text(result: int) -> str:
    return error_name(-result) if result < 0 else str(result)
