"""The one place that knows numba's options and where its compiled code is kept.

Numba's on-disk cache looks only at the file of the function itself: an edited callee, or a tracker in
another file, would go unnoticed. So the cache lives in a folder named by a hash of the whole package
and of numba's version; an edit anywhere opens a new folder.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.core.cgutils import ir, voidptr_t
from numba.extending import intrinsic, overload

PACKAGE = Path(__file__).parent
KEEP_FOLDERS = 4  # caches of the last few versions of the sources; older ones are removed
KEEP_OWN = 16  # and, of each, of the last few trackers from users' files


@cache
def source_hash() -> str:
    """Hash of every module of the package, with numba's version: it names what made a result.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_root() -> Path:
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gup-pin-workbench"


def _point_cache_at_sources() -> None:
    root = _cache_root()
    folder = root / source_hash()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        others = sorted(root.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:  # a read-only home: numba then keeps its own counsel
        return
    numba.config.CACHE_DIR = str(folder)
    for stale in others[KEEP_FOLDERS:]:
        shutil.rmtree(stale, ignore_errors=True)


_point_cache_at_sources()

JIT_ENABLED = not numba.config.DISABLE_JIT

# What runs in a simulation gets every array from its caller and allocates none. So it needs no reference counts, which
# numba would otherwise keep for each array at each call: without them the driver runs more than ten times as fast.
_NO_COUNTS = {"_nrt": False}

_kept = numba.njit(cache=True, **_NO_COUNTS)
_not_kept = numba.njit(**_NO_COUNTS)


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function that no tracker passes through; once, and on disk, if it is the package's."""
    return (_kept if function.__module__.startswith("workbench.") else _not_kept)(function)


# The same for functions that allocate: checks, not simulation.
allocating_jit = numba.njit(cache=True)
# Small accessors.
inline = numba.njit(forceinline=True, **_NO_COUNTS)
# Functions that take the tracker: they compile into the driver that is specialised for it. Inlined, since passing a
# world of arrays on from function to function takes longer than most steps.
step = numba.njit(forceinline=True, **_NO_COUNTS)
# The same where a function is too long, or too seldom run, to be inlined: what is inlined takes long to compile.
routine = numba.njit(**_NO_COUNTS)
# The driver for one of the package's own trackers; and one that is not kept, for classes that other processes can't
# import: the cache's index would name them.
driver = _kept
driver_uncached = _not_kept


def driver_aside(function: Callable[..., Any], name: str) -> Any:
    """Compile the driver for a tracker from a user's file, and keep it in a folder that no other tracker looks into.

    Parameters
    ----------
    function : callable
        The driver.
    name : str
        Names the text of the file: an edited one has another name.

    Returns
    -------
    Dispatcher
    """
    shared = numba.config.CACHE_DIR
    if not shared:
        return driver_uncached(function)
    folder = Path(shared) / "own" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        others = sorted(folder.parent.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
    except OSError:
        return driver_uncached(function)
    for stale in others[KEEP_OWN:]:
        shutil.rmtree(stale, ignore_errors=True)
    numba.config.CACHE_DIR = str(folder)  # numba reads it when the dispatcher is made
    try:
        return driver(function)
    finally:
        numba.config.CACHE_DIR = shared


@cache
def driver_for(function: Any, tracker_class: Any) -> Any:
    """Compile a step that takes a tracker as a driver of its own; called with trackers of that class only.

    Parameters
    ----------
    function : callable
        Made by `step`.
    tracker_class : type
    """
    if not JIT_ENABLED:
        return function
    own = tracker_class.__module__.startswith("workbench.")
    return (driver if own else driver_uncached)(function.py_func)


@inline
def at(array, index):
    """Row ``index`` of a structured array, without numba's test for negative indices.

    Parameters
    ----------
    array : ndarray
        One-dimensional structured array.
    index : int
        Never negative.
    """
    return array[np.uint64(index)]


WORD = 8  # bytes: what a processor multiplies an index by while it loads


def _address(context, builder, array, data, word):
    """LLVM value: where a word of an array is."""
    made = context.make_array(array)(context, builder, data)
    return builder.gep(builder.bitcast(made.data, ir.IntType(8 * WORD).as_pointer()), [word])


@intrinsic
def _at_word(_context, array, word):
    def generate(context, builder, _signature, arguments):
        return context.unpack_value(builder, array.dtype, _address(context, builder, array, *arguments))

    return array.dtype(array, types.int64), generate


def at_word(array: Any, word: int) -> Any:
    """Row of a structured array that begins so many words after the array does.

    To go from row to row by such numbers takes one load each; by row numbers there is a multiplication before it, which
    makes a walk of a small tree take 1.4 times as long (benchmarks/bench_interval_tree.py).

    Parameters
    ----------
    array : ndarray
        One-dimensional structured array, whose rows are whole words.
    word : int
        Of `WORD` bytes; a multiple of the row's words. Never negative.
    """
    return array[word // (array.itemsize // WORD)]


@overload(at_word, jit_options={"forceinline": True, **_NO_COUNTS})
def _(array, word):
    return lambda array, word: _at_word(array, word)


def _fetch(context, builder, address):
    """LLVM call: fetch the cache line of an address without waiting for it."""
    told = [context.get_constant(types.int32, n) for n in (0, 3, 1)]  # to read; keep it; data
    takes = ir.FunctionType(ir.VoidType(), [voidptr_t, *(n.type for n in told)])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [voidptr_t], takes)
    builder.call(fetch, [builder.bitcast(address, voidptr_t), *told])
    return context.get_dummy_value()


@intrinsic
def _prefetch(_context, array, index):
    def generate(context, builder, signature, arguments):
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        return _fetch(context, builder, builder.gep(made.data, [arguments[1]]))

    return types.void(array, types.int64), generate


@intrinsic
def _prefetch_word(_context, array, word):
    def generate(context, builder, _signature, arguments):
        return _fetch(context, builder, _address(context, builder, array, *arguments))

    return types.void(array, types.int64), generate


@inline
def prefetch(array, index):
    """Fetch the cache line of ``array[index]``, which will be read soon, without waiting for it.

    Parameters
    ----------
    array : ndarray
        One-dimensional.
    index : int
        Of its elements; never negative.
    """
    if JIT_ENABLED:
        _prefetch(array, index)


def prefetch_word(array: Any, word: int) -> None:
    """Fetch the first cache line of the row that `at_word` gives, which may be read soon, without waiting for it.

    Parameters
    ----------
    array, word
        As of `at_word`.
    """


@overload(prefetch_word, jit_options={"forceinline": True, **_NO_COUNTS})
def _(array, word):
    return lambda array, word: _prefetch_word(array, word)
