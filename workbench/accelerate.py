"""How the package's functions are compiled: the one place that knows numba's options."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from workbench.code_cache import own_folder, point_cache_at_sources
from workbench.parts import part, whole

point_cache_at_sources()

JIT_ENABLED = not numba.config.DISABLE_JIT

# What runs in a simulation gets every array from its caller and allocates none. So it needs no reference counts, which
# numba would otherwise keep for each array at each call: without them the driver runs more than ten times as fast.
# And whether a function is always inlined is told of each: numba would hand it on from whichever calls it first.
OPTIONS = {"_nrt": False, "forceinline": False}


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function; for Python too, and then kept on disk if it is the package's."""
    return part(function, function.__module__.startswith("workbench."), **OPTIONS)


def inline(function: Callable[..., Any]) -> Any:
    """Compile a small accessor, inlined wherever it is called."""
    return part(function, False, **OPTIONS | {"forceinline": True})


def step(function: Callable[..., Any]) -> Any:
    """Compile a function that takes a tracker: in the driver that is specialised for the tracker's class."""
    return part(function, False, **OPTIONS)


def driver(function: Callable[..., Any]) -> Any:
    """Compile what Python calls for one of the package's own trackers."""
    return whole(function, True, **OPTIONS)


def driver_uncached(function: Callable[..., Any]) -> Any:
    """Compile the same for classes that other processes can't import: the cache's index would name them."""
    return whole(function, False, **OPTIONS)


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
    folder = own_folder(name)
    if folder is None:
        return driver_uncached(function)
    shared, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)  # read when the dispatcher is made
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
