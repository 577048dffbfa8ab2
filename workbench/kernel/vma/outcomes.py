"""What the operations of the VMA oracle come to, by kind: its sequences once more, in the model alone.

Where kernel and model have agreed after every operation, what is counted here is the kernel's doing as well.
"""

from collections import Counter

import numpy as np
import pandas as pd

from workbench.kernel.libc import error_name
from workbench.kernel.vma import live
from workbench.kernel.vma import ops as o
from workbench.kernel.vma.child import BASE, model_files
from workbench.kernel.vma.oracle import LENGTH
from workbench.mm import vma_core, vma_move
from workbench.mm.vma_machine import Machine

_COUNTED = [vma_core.SPLITS, vma_core.MERGES_LEFT, vma_core.MERGES_RIGHT, vma_core.MERGES_BOTH]


def outcomes(number: int, seed: int, kernel: tuple[int, int] | None = None, length: int = LENGTH) -> pd.DataFrame:
    """Count what operations come to.

    Parameters
    ----------
    number, seed, length : int
        As `workbench.kernel.vma.oracle.compare` takes them; the same operations come out of them.
    kernel : tuple of int, optional
        Version whose rules the model follows.

    Returns
    -------
    DataFrame
        ``kind``, ``error`` (errno's name, or empty), ``splits``, ``merges`` (of one operation), ``operations``.
    """
    counted: Counter[tuple[str, str, int, int]] = Counter()
    done = sequence = 0
    while done < number:
        ops = o.generate(np.random.default_rng([seed, sequence]), min(length, number - done))
        counted += _of_sequence(ops, kernel)
        done += len(ops)
        sequence += 1
    rows = [(*what, times) for what, times in sorted(counted.items())]
    return pd.DataFrame(rows, columns=["kind", "error", "splits", "merges", "operations"])


def _of_sequence(ops: np.ndarray, kernel: tuple[int, int] | None) -> Counter[tuple[str, str, int, int]]:
    forks = int((ops["op"] == o.FORK).sum())
    machine = Machine(kernel, rows=(forks + 2) * (o.ARENA + 8), spaces=forks + 1)
    files = np.array([file.row for file in model_files(machine)], np.int64)
    counted: Counter[tuple[str, str, int, int]] = Counter()
    mm, m = machine.new_space(), machine.memory
    before = m.sys[_COUNTED]
    for op in ops:
        result = 0
        if op["op"] == o.FORK:
            child = machine.new_space()
            vma_move.fork(m, mm, child)
            mm = child
        else:
            result = int(live.modelled(m, mm, op, BASE, files))
        now = m.sys[_COUNTED]
        splits, *merges = (now - before).tolist()
        counted[o.OPS[op["op"]], error_name(-result) if result < 0 else "", splits, sum(merges)] += 1
        before = now
    return counted
