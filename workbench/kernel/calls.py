"""System calls and stores in a row, each timed: by compiled code, so that what is timed is the kernel.

A program is a table of whole numbers; `Calls` builds it and `run` carries it out. With ``NUMBA_DISABLE_JIT=1`` the
same program runs through ctypes, with a microsecond around each step.
"""

import ctypes
import os
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba.core import types
from numba.core.cgutils import ir
from numba.extending import intrinsic

from workbench.accelerate import JIT_ENABLED, inline, jit
from workbench.kernel.needs import Unavailable

CALL, STORE, FORK, ADD = range(4)
WIDTH = 8  # kind, and seven words
WALL, CPU = 1, 3
"""Clocks: CLOCK_MONOTONIC; and CLOCK_THREAD_CPUTIME_ID, which stands still while others run."""
# arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/asm-generic/unistd.h, which arm64 and riscv follow.
_X86 = {
    "mmap": 9, "mprotect": 10, "munmap": 11, "madvise": 28, "fdatasync": 75, "getppid": 110, "mlock": 149,
    "munlock": 150, "splice": 275, "sync_file_range": 277, "vmsplice": 278, "process_vm_readv": 310,
    "io_uring_register": 427,
}  # fmt: skip
_GENERIC = {
    "mmap": 222, "mprotect": 226, "munmap": 215, "madvise": 233, "fdatasync": 83, "getppid": 173, "mlock": 228,
    "munlock": 229, "splice": 76, "sync_file_range": 84, "vmsplice": 75, "process_vm_readv": 270,
    "io_uring_register": 427,
}  # fmt: skip
NUMBERS = {"x86_64": _X86, "aarch64": _GENERIC, "riscv64": _GENERIC}


def _compiled() -> tuple[Any, ...]:
    """Functions of the C library for compiled code, found by name when it is loaded."""
    word, small = types.int64, types.int32
    return (
        types.ExternalFunction("syscall", word(*[word] * 7)),
        types.ExternalFunction("memset", word(word, small, word)),
        types.ExternalFunction("memcpy", word(word, word, word)),
        types.ExternalFunction("clock_gettime", small(small, word)),
        types.ExternalFunction("__errno_location", word()),
        types.ExternalFunction("fork", small()),
        types.ExternalFunction("_exit", types.void(small)),
        types.ExternalFunction("waitpid", small(small, word, small)),
    )


def _plain() -> tuple[Any, ...]:
    """The same for plain Python; the lock of the interpreter is kept, as a child of fork has only this thread."""
    library = ctypes.PyDLL(None)

    def function(name: str, result: Any) -> Any:
        found = getattr(library, name)
        found.restype = result
        return lambda *words: found(*(ctypes.c_long(int(word)) for word in words))

    long, small = ctypes.c_long, ctypes.c_int
    kinds = {"syscall": long, "memset": long, "memcpy": long, "clock_gettime": small, "__errno_location": long}
    kinds |= {"fork": small, "_exit": small, "waitpid": small}
    return tuple(function(name, result) for name, result in kinds.items())


_syscall, _memset, _memcpy, _clock_gettime, _errno_location, _fork, _exit, _waitpid = (
    _compiled() if JIT_ENABLED else _plain()
)


@intrinsic
def _locked_add(_context, array):
    """Add 1 to the first element by one locked instruction."""

    def generate(context, builder, signature, arguments):
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        builder.atomic_rmw("add", made.data, ir.Constant(ir.IntType(64), 1), "seq_cst")
        return context.get_dummy_value()

    return types.void(array), generate


@inline
def _now(clock, cells, cells_at):
    _clock_gettime(clock, cells_at)
    return cells[0] * 1_000_000_000 + cells[1]


@jit
def run(rows, ns, cells, cells_at, clock):
    """Carry a program out.

    Parameters
    ----------
    rows : ndarray of int64, shape (n, WIDTH)
        CALL: number, six arguments. STORE: address, stride [B], count: a byte at each. FORK: a child that exits at
        once. ADD: count: locked adds to a cached word.
    ns : ndarray of int64, shape (n,)
        Gets the time that each took.
    cells : ndarray of int64, shape (3,)
        Scratch; the last one gets the errno of a call that failed.
    cells_at : int
        Its address.
    clock : int
        WALL or CPU.

    Returns
    -------
    int
        The row that failed, or -1.
    """
    for i in range(len(rows)):
        row = rows[i]
        kind, child, result = row[0], 0, 0
        began = _now(clock, cells, cells_at)
        if kind == CALL:
            result = _syscall(row[1], row[2], row[3], row[4], row[5], row[6], row[7])
        elif kind == STORE:
            for k in range(row[3]):
                _memset(row[1] + k * row[2], 1, 1)
        elif kind == FORK:
            child = _fork()
            if child == 0:
                _exit(0)
            result = child
        else:
            for _ in range(row[1]):
                if JIT_ENABLED:
                    _locked_add(cells[2:])
        if result == -1:
            cells[2] = 0
            _memcpy(cells_at + 16, _errno_location(), 4)
            return i
        ns[i] = _now(clock, cells, cells_at) - began
        if child > 0:
            _waitpid(child, 0, 0)
    return -1


class Calls:
    """A program under construction.

    Parameters
    ----------
    clock : int
        WALL for calls of a microsecond, which it disturbs less; CPU for longer ones, where others may run meanwhile.
    """

    def __init__(self, clock: int = CPU) -> None:
        self._clock = clock
        if platform.machine() not in NUMBERS:
            raise Unavailable(f"system calls of {platform.machine()} are not known here: {', '.join(NUMBERS)}")
        self._numbers = NUMBERS[platform.machine()]
        self._rows: list[list[int]] = []
        self._names: list[str] = []
        self._timed: list[int] = []

    def call(self, name: str, *words: int, timed: bool = False) -> None:
        """Add a system call."""
        self._add(name, [CALL, self._numbers[name], *words], timed)

    def store(self, address: int, stride: int, count: int, timed: bool = False) -> None:
        """Add stores of a byte each."""
        self._add("store", [STORE, address, stride, count], timed)

    def fork(self) -> None:
        """Add a fork, timed until the parent is back; the child exits, and is waited for untimed."""
        self._add("fork", [FORK], True)

    def add(self, count: int) -> None:
        """Add locked additions, timed together."""
        self._add("add", [ADD, count], True)

    def _add(self, name: str, row: list[int], timed: bool) -> None:
        if timed:
            self._timed.append(len(self._rows))
        self._rows.append(row + [0] * (WIDTH - len(row)))
        self._names.append(name)

    def run(self, columns: int = 1) -> np.ndarray:
        """Carry it out.

        Parameters
        ----------
        columns : int
            Timed steps of one repetition.

        Returns
        -------
        ndarray of int64, shape (repetitions, columns)
            Nanoseconds that each timed step took.

        Raises
        ------
        OSError
            The first call that failed.
        """
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, WIDTH)
        ns, cells = np.zeros(len(rows), dtype=np.int64), np.zeros(3, dtype=np.int64)
        failed = run(rows, ns, cells, cells.ctypes.data, self._clock)
        if failed >= 0:
            number = int(cells[2])
            raise OSError(number, f"{self._names[failed]}: {os.strerror(number)}")
        return ns[self._timed].reshape(-1, columns)


def iovec(address: int, size: int) -> np.ndarray:
    """Lay out one ``struct iovec``; keep it while its address is in use."""
    return np.array([address, size], dtype=np.int64)


def addresses(*arrays: np.ndarray) -> Sequence[int]:
    """Addresses of arrays, for arguments of calls."""
    return [int(array.ctypes.data) for array in arrays]
