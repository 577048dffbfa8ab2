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
from workbench.parts import *

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
    return _part(function.__module__.startswith("workbench."))(function)


# The same for functions that allocate: checks, not simulation.
allocating_jit = numba.njit(cache=True)
# Small accessors.
def _part(keep=False, **options):
    def make(function):
        if not JIT_ENABLED:
            return function
        part = PartDispatcher(function, targetoptions={"nopython": True, "boundscheck": None, **_NO_COUNTS, **options}, pipeline_class=PartCompiler)
        part.whole = numba.njit(cache=keep, pipeline_class=WholeCompiler, **_NO_COUNTS)(function)
        return part
    return make
inline = _part(forceinline=True)
# Functions that take the tracker: they compile into the driver that is specialised for it. Inlined, since passing a
# world of arrays on from function to function takes longer than most steps.
step = _part()
# The same where a function is too long, or too seldom run, to be inlined: what is inlined takes long to compile.
routine = _part()
# The driver for one of the package's own trackers; and one that is not kept, for classes that other processes can't
# import: the cache's index would name them.
driver = numba.njit(cache=True, pipeline_class=WholeCompiler, **_NO_COUNTS)
driver_uncached = numba.njit(pipeline_class=WholeCompiler, **_NO_COUNTS)


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


@intrinsic
def _prefetch(_context, array, index):
    """Fetch the cache line of ``array[index]`` without waiting for it."""

    def generate(context, builder, signature, arguments):
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(made.data, [arguments[1]]), voidptr_t)
        told = [context.get_constant(types.int32, n) for n in (0, 3, 1)]  # to read; keep it; data
        takes = ir.FunctionType(ir.VoidType(), [address.type, *(n.type for n in told)])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [address.type], takes)
        builder.call(fetch, [address, *told])
        return context.get_dummy_value()

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
