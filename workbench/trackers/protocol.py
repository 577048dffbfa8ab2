"""The protocol of a tracker: how the kernel knows that a page is pinned.

A tracker is a `NamedTuple` of its parameters, with at least the fields of `FIELDS`, and an
implementation of each operation below, registered with `implements`. Numba specialises the drivers for
each tracker's class through `numba.extending.overload`; with the JIT off a table by class does the same.

Fields
------
when : int
    When the tracker learns of a page: `IN_GUP` (in the step that takes the reference), `AFTER_WALK` (in
    a loop of its own after GUP's walk), `RANGE_BEFORE` or `RANGE_AFTER` (one range per GUP call, inserted
    before or after the pages are taken), `NEVER`.
lock : int
    What operations run under. `LOCK_NONE`: pin and unpin of a page under nothing, those of ranges under
    ``i_mmap_rwsem``, which sleeps, so that a kworker releases them. `LOCK_ZONE`, `LOCK_OWN`: the spinlock of the zone's
    LRU, or one of the tracker's own, taken with interrupts off: each page's pin and unpin; or each range's, which the
    completion interrupt releases itself, and the question of a cleaner. (Reclaim asks under the page-table lock.)
    `LOCK_PAGE`: a page's pin is its page lock, for which GUP waits.

Other fields are the tracker's own; in a user's file they are whole numbers, with defaults.

State
-----
What a tracker remembers is in pages and ranges, where `explore` finds it and tells states apart by it: a page's
``_refcount``, ``_pincount``, ``PG_DMA_PINNED`` and ``PTE_PINNED``, and, while it is off the LRU, its ``lru_next`` and
``lru_prev``; and pinned ranges (`workbench.mm.ranges`) in ``i_mmap`` or in `PIN_TREE`, a tree of their own. A tracker
that keeps ranges learns of ranges: ``when`` is `RANGE_BEFORE` or `RANGE_AFTER`.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from numba.extending import overload

from workbench.accelerate import OPTIONS
from workbench.parts import PartCompiler

NEVER, IN_GUP, AFTER_WALK, RANGE_BEFORE, RANGE_AFTER = range(5)
LOCK_NONE, LOCK_ZONE, LOCK_OWN, LOCK_PAGE = range(4)
SPINLOCKS = 2  # that a tracker may name; in the clock the page-table locks come after them
FIELDS = {
    "when": ("NEVER", "IN_GUP", "AFTER_WALK", "RANGE_BEFORE", "RANGE_AFTER"),
    "lock": ("LOCK_NONE", "LOCK_ZONE", "LOCK_OWN", "LOCK_PAGE"),
}
# Operations that a tracker has to implement, by `when`; the defaults of the others do nothing, or know nothing.
_PAGES = ("pin", "unpin", "is_pinned")
NEEDED = {
    NEVER: ("is_pinned",),
    IN_GUP: _PAGES,
    AFTER_WALK: _PAGES,
    RANGE_BEFORE: ("pin_range", "unpin_range", "forget_range", "is_pinned"),
    RANGE_AFTER: ("pin_range", "unpin_range", "is_pinned"),
}
ANSWERS = ("is_pinned", "pin_range", "pinned_in_range", "bytes_in_use")  # operations that return something

_table: dict[str, dict[type, Callable[..., Any]]] = {}


def implements(tracker_class: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as a tracker's implementation of the operation of its name.

    Parameters
    ----------
    tracker_class : type
        The tracker's `NamedTuple` class.

    Raises
    ------
    TypeError
        If the function's name is not that of an operation of the protocol, or its arguments are not the operation's;
        or if somebody else's function would replace one of a tracker of the package.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        if name not in OPERATIONS:
            raise TypeError(f"{name} is not an operation of a tracker: {', '.join(OPERATIONS)}")
        if signature(function) != signature(_table[name][object]):
            needed = signature(_table[name][object])
            raise TypeError(f"{name}({', '.join(signature(function))}) has to be {name}({', '.join(needed)})")
        if _of_package(tracker_class) and not _of_package(function):
            raise TypeError(f"{tracker_class.__name__} is a tracker of the package: define a class of your own")
        _table[name][tracker_class] = getattr(function, "py_func", function)
        return function

    return register


def signature(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of a function's arguments, in their order."""
    return tuple(inspect.signature(function).parameters)


def _of_package(thing: Any) -> bool:
    return str(thing.__module__).startswith("workbench.")


def implemented(tracker_class: type) -> dict[str, Callable[..., Any]]:
    """Find the functions that a tracker has of its own, by operation."""
    return {name: table[tracker_class] for name, table in _table.items() if tracker_class in table}


def implementation(name: str, tracker_class: type) -> Callable[..., Any]:
    """Find what a tracker does for one operation: its own function, or the protocol's default."""
    return _table[name].get(tracker_class) or _table[name][object]


def _operation(default: Callable[..., Any]) -> Callable[..., Any]:
    """Make the function that step programs call: it goes to the implementation for the tracker's class."""
    name = default.__name__
    _table[name] = {object: default}

    @wraps(default)
    def call(tracker, *arguments):
        return implementation(name, type(tracker))(tracker, *arguments)

    return call


@_operation
def pin(tracker, world, page):
    """Record one more pin of a page whose reference GUP has just taken."""


@_operation
def unpin(tracker, world, page, handle):
    """Forget one pin of a page; ``handle`` is -1 where the one who releases knows only the page."""


@_operation
def pin_range(tracker, world, inode, start, n):
    """Record the pin of ``n`` pages from ``start``; the handle leads back to it (-1: it has to be looked up)."""
    return -1


@_operation
def unpin_range(tracker, world, inode, start, n, handle):
    """Forget one pin of each of ``n`` pages that one GUP call took; the run may be a part of its range."""


@_operation
def forget_range(tracker, world, inode, first, last, handle):
    """Take out the range that a GUP call has put in, which has failed."""


@_operation
def is_pinned(tracker, world, page):
    """Whether the tracker takes the page for pinned."""
    return False


@_operation
def is_pinned_by_walk(tracker, world, page, mappings):
    """The same, after a walk that has found so many PTEs that map the page, and has dropped their locks."""
    return is_pinned(tracker, world, page)


@_operation
def pinned_in_range(tracker, world, inode, start, n):
    """How many pages of the range the tracker takes for pinned; -1: it can't tell."""
    return -1


@_operation
def bytes_in_use(tracker, world):
    """Bytes of kernel memory that the tracker's own objects take now."""
    return 0


@_operation
def page_freed(tracker, world, page):
    """The page leaves the page cache and is free for another use."""


OPERATIONS = tuple(_table)


def _resolves(operation):
    """With the JIT on, numba resolves each call while it compiles; it compares the arguments' names."""
    return overload(operation, jit_options={"nopython": True, "pipeline_class": PartCompiler, **OPTIONS})


@_resolves(pin)
def _pin(tracker, world, page):
    return implementation("pin", tracker.instance_class)


@_resolves(unpin)
def _unpin(tracker, world, page, handle):
    return implementation("unpin", tracker.instance_class)


@_resolves(pin_range)
def _pin_range(tracker, world, inode, start, n):
    return implementation("pin_range", tracker.instance_class)


@_resolves(unpin_range)
def _unpin_range(tracker, world, inode, start, n, handle):
    return implementation("unpin_range", tracker.instance_class)


@_resolves(forget_range)
def _forget_range(tracker, world, inode, first, last, handle):
    return implementation("forget_range", tracker.instance_class)


@_resolves(is_pinned)
def _is_pinned(tracker, world, page):
    return implementation("is_pinned", tracker.instance_class)


@_resolves(is_pinned_by_walk)
def _is_pinned_by_walk(tracker, world, page, mappings):
    return implementation("is_pinned_by_walk", tracker.instance_class)


@_resolves(pinned_in_range)
def _pinned_in_range(tracker, world, inode, start, n):
    return implementation("pinned_in_range", tracker.instance_class)


@_resolves(bytes_in_use)
def _bytes_in_use(tracker, world):
    return implementation("bytes_in_use", tracker.instance_class)


@_resolves(page_freed)
def _page_freed(tracker, world, page):
    return implementation("page_freed", tracker.instance_class)
