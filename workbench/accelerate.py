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
from numba.extending import intrinsic

from workbench.parts import part, whole

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
NO_COUNTS = {"_nrt": False}


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function; for Python too, and then kept on disk if it is the package's."""
    return part(function, function.__module__.startswith("workbench."), **NO_COUNTS)


def inline(function: Callable[..., Any]) -> Any:
    """Compile a small accessor, inlined wherever it is called."""
    return part(function, False, forceinline=True, **NO_COUNTS)


def step(function: Callable[..., Any]) -> Any:
    """Compile a function that takes a tracker: in the driver that is specialised for the tracker's class."""
    return part(function, False, **NO_COUNTS)


def driver(function: Callable[..., Any]) -> Any:
    """Compile what Python calls for one of the package's own trackers."""
    return whole(function, True, **NO_COUNTS)


def driver_uncached(function: Callable[..., Any]) -> Any:
    """Compile the same for classes that other processes can't import: the cache's index would name them."""
    return whole(function, False, **NO_COUNTS)


# For functions that allocate: checks, not simulation.
allocating_jit = numba.njit(cache=True)


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


@inline
def at_word(array, word):
    """Row of a structured array that begins so many words after the array does.

    To go from row to row by such numbers takes one load each; by row numbers there is a multiplication before it, which
    makes a walk of a small tree take longer.

    Parameters
    ----------
    array : ndarray
        One-dimensional structured array, whose rows are whole words.
    word : int
        Of `WORD` bytes; a multiple of the row's words. Never negative.
    """
    if JIT_ENABLED:
        return _at_word(array, word)
    return array[word // (array.itemsize // WORD)]


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


@inline
def prefetch_word(array, word):
    """Fetch the first cache line of the row that `at_word` gives, which may be read soon, without waiting for it.

    Parameters
    ----------
    array, word
        As of `at_word`.
    """
    if JIT_ENABLED:
        _prefetch_word(array, word)


@intrinsic
def _ctlz(_context, word):
    def generate(_context, builder, _signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


@inline
def bit_length(value):
    """Bits that it takes to write a number down; 0 of 0.

    Parameters
    ----------
    value : int
        Never negative.
    """
    if JIT_ENABLED:
        return 64 - _ctlz(np.int64(value))
    return int(value).bit_length()
