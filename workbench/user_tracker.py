"""A tracker in one file of the user's own: ``path/to/mine.py:MyTracker:field=1``.

The file is run as code. What is wrong with it is told in one line that names the file, the line, the function and what
would be right: when it is loaded, as far as that can be seen without running it; else when its functions are compiled,
or when one of them raises.
"""

import ast
import hashlib
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core.errors import NumbaError, UnsupportedBytecodeError

from workbench import accelerate
from workbench.errors import UsageError, nearest
from workbench.trackers import protocol

# A file that imports nothing else, and calls none of these, always means the same: its engines may be kept on disk.
_KNOWN_IMPORTS = {"workbench", "numpy", "numba", "typing", "math", "enum", "__future__"}
_LOOKS_ELSEWHERE = {"open", "exec", "eval", "__import__", "input"}
_NOT_COMPILED = (NumbaError, UnsupportedBytecodeError)
_BY_SCENARIO = ("bias",)  # fields that a scenario's parameter of this name sets


class _File(NamedTuple):
    """A file that has been loaded."""

    path: Path
    sha256: str
    tree: ast.Module
    module: ModuleType

    def __str__(self) -> str:
        return str(self.path)


_files: dict[str, _File] = {}  # by the name of the module that was made of it


def is_own(text: str) -> bool:
    """Whether a tracker, as it was written, is in a file."""
    return text.endswith(".py") or ".py:" in text


def parse(text: str) -> Any:
    """Read ``path/to/mine.py:MyTracker``, with ``:field=number`` behind it for each field that is to be another.

    Returns
    -------
    NamedTuple
        The tracker. The same file with the same text gives one of the same class, which is compiled once.

    Raises
    ------
    UsageError
        If the file can't be read or run, or the tracker in it does not keep to `workbench.trackers.protocol`.
    """
    if text.endswith(".py"):
        path, name, options = text, "", []
    else:
        head, _, rest = text.rpartition(".py:")
        path, (name, *options) = f"{head}.py", rest.split(":")
    file = _load(Path(path).expanduser())
    tracker = _set(file, _default(file, _class(file, name)), options)
    _check_operations(file, tracker)
    return tracker


def provenance(tracker: Any) -> dict[str, str]:
    """Say from which text of a file a tracker comes; of one of the package, nothing."""
    file = _files.get(type(tracker).__module__)
    return {"tracker_sha256": file.sha256} if file else {}


# ---- the file


def _load(path: Path) -> _File:
    """Run a file, unless that has been done: the same text under the same name is the same module."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"tracker file {path}: no such file") from None
    except OSError as error:
        raise UsageError(f"tracker file {path}: {error.strerror}") from None
    digest = hashlib.sha256(text).hexdigest()
    name = f"user_tracker_{hashlib.sha256(f'{path} {digest}'.encode()).hexdigest()[:16]}"
    if name in _files:
        return _files[name]
    try:
        tree = ast.parse(text, str(path))
        code = compile(tree, str(path), "exec")
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        line = getattr(error, "lineno", None)
        raise UsageError(f"tracker file {path}{_at(line)}: {type(error).__name__}: {_first_line(error)}") from None
    file = _File(path, digest, tree, ModuleType(name))
    _execute(file, code)
    _files[name] = file
    return file


def _execute(file: _File, code: CodeType) -> None:
    name = file.module.__name__
    file.module.__file__ = str(file.path)
    sys.modules[name] = file.module  # so that kept engines find their class
    try:
        exec(code, file.module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        _, line = _place(file, error)
        raise UsageError(f"tracker file {file}{_at(line)}: {type(error).__name__}: {_first_line(error)}") from error


def _at(line: int | None) -> str:
    return f", line {line}" if line else ""


def _first_line(error: object) -> str:
    text = getattr(error, "msg", None) or str(error)
    return str(text).strip().partition("\n")[0]


def _place(file: _File, error: BaseException) -> tuple[str, int | None]:
    """Function and line of the file that an exception has come through last."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file.path)]
    return (frames[-1].name, frames[-1].lineno) if frames else ("", None)


# ---- the class and its fields


def _class(file: _File, name: str) -> Any:
    own = {n: c for n, c in vars(file.module).items() if isinstance(c, type) and c.__module__ == file.module.__name__}
    classes = [n for n, c in own.items() if _is_namedtuple(c)]
    have = nearest(name, classes) if classes else "it has no NamedTuple at all"
    if not name:
        raise UsageError(f"tracker file {file}: which class? {file}:NAME; {have}")
    if name not in own:
        if isinstance(vars(file.module).get(name), type):
            raise UsageError(f"tracker file {file}: {name} is imported there, not defined; {have}")
        raise UsageError(f"tracker file {file}: it has no class {name!r}; {have}")
    if not _is_namedtuple(own[name]):
        raise UsageError(f"tracker {name} in {file}: it has to be a NamedTuple: class {name}(NamedTuple)")
    return own[name]


def _is_namedtuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_field_defaults")


def _default(file: _File, kind: Any) -> Any:
    """Make the tracker with its defaults, all of which are whole numbers."""
    for field in protocol.FIELDS:
        if field not in kind._fields:
            raise UsageError(f"tracker {kind.__name__} in {file}: it needs a field {field!r}: {_values(field)}")
    for field in kind._fields:
        if field not in kind._field_defaults:
            raise UsageError(f"tracker {kind.__name__} in {file}: field {field!r} needs a default")
        value = kind._field_defaults[field]
        if not isinstance(value, int | np.integer):
            raise UsageError(
                f"tracker {kind.__name__} in {file}: field {field!r} is of type {type(value).__name__}; fields are "
                "whole numbers, and what a tracker remembers is in pages and ranges (workbench/trackers/protocol.py)"
            )
    return kind(*(int(kind._field_defaults[field]) for field in kind._fields))


def _values(field: str) -> str:
    return ", ".join(f"{name}={number}" for number, name in enumerate(protocol.FIELDS[field]))


def _set(file: _File, tracker: Any, options: Iterable[str]) -> Any:
    """Set fields to what is written behind the class."""
    what = f"tracker {type(tracker).__name__} in {file}"
    chosen: dict[str, int] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if key not in tracker._fields:
            raise UsageError(f"{what}: no field {key!r}: {nearest(key, tracker._fields)}")
        if key in _BY_SCENARIO:
            raise UsageError(f"{what}: {key} is a parameter of the scenario: --set {key}=…")
        if key in chosen:
            raise UsageError(f"{what}: {key} is given twice")
        if not re.fullmatch(r"[-+]?[0-9]{1,18}", value):
            raise UsageError(f"{what}: {key}={value}: a whole number of at most 18 digits is needed")
        chosen[key] = int(value)
    tracker = tracker._replace(**chosen)
    for field, names in protocol.FIELDS.items():
        if getattr(tracker, field) not in range(len(names)):
            raise UsageError(f"{what}: {field}={getattr(tracker, field)}: one of {_values(field)}")
    return tracker


# ---- the operations


def _check_operations(file: _File, tracker: Any) -> None:
    kind = type(tracker)
    there = protocol.implemented(kind)
    when = protocol.FIELDS["when"][tracker.when]
    for name in protocol.NEEDED[tracker.when]:
        if name in there:
            continue
        if isinstance(vars(file.module).get(name), FunctionType):
            raise UsageError(f"tracker {kind.__name__} in {file}: {name} needs @implements({kind.__name__}) above it")
        arguments = ", ".join(protocol.signature(getattr(protocol, name)))
        raise UsageError(
            f"tracker {kind.__name__} in {file}: {name}({arguments}) is missing, which when={when} needs (where "
            "nothing is to be done, an empty one says so)"
        )
    for name in protocol.ANSWERS:
        if name in there and _answers_nothing(file, there[name]):
            line = there[name].__code__.co_firstlineno
            raise UsageError(f"tracker {kind.__name__} in {file}, line {line}: {name} has to return something")


def _answers_nothing(file: _File, function: Any) -> bool:
    """Whether a function of the file has no ``return`` with a value."""
    if function.__code__.co_filename != str(file.path):
        return False
    for node in ast.walk(file.tree):
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if (node.name, first) == (function.__name__, function.__code__.co_firstlineno):
                return not any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(node))
    return False


# ---- engines


def engine(run: Any, tracker_class: type) -> Callable[..., Any]:
    """Get the search, or the clock, for a class of trackers.

    Parameters
    ----------
    run : callable
        The driver, whose first argument is the tracker; compiled or not, as numba is told.
    tracker_class : type

    Returns
    -------
    callable
        The same for this class: kept on disk for all processes if it is the package's, and in a folder of its own if
        it comes from a file. One that comes from a file raises `UsageError` where the file is to blame.
    """
    file = _files.get(tracker_class.__module__)
    return guarded(_compiled(run, tracker_class, file), tracker_class) if file else _compiled(run, tracker_class, None)


def _compiled(run: Any, tracker_class: type, file: _File | None) -> Any:
    if not accelerate.JIT_ENABLED:
        return run
    if tracker_class.__module__.startswith("workbench."):
        return accelerate.driver(run.py_func)
    if file and _means_the_same(file.tree):
        return accelerate.driver_aside(run.py_func, tracker_class.__module__)
    return accelerate.driver_uncached(run.py_func)


def _means_the_same(tree: ast.Module) -> bool:
    """Whether the text of the file is all that it depends on, beside the package."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names} - _KNOWN_IMPORTS
        elif isinstance(node, ast.ImportFrom):
            names |= {(node.module or "").partition(".")[0]} - _KNOWN_IMPORTS
        elif isinstance(node, ast.Name):
            names |= {node.id} & _LOOKS_ELSEWHERE
    return not names


def guarded(function: Callable[..., Any], tracker_class: type) -> Callable[..., Any]:
    """Have a function that calls a tracker raise `UsageError` where the tracker's file is to blame.

    Parameters
    ----------
    function : callable
        Its first two arguments are the tracker and the world.
    tracker_class : type
        Of a tracker of the package, the function is given back as it is.
    """
    file = _files.get(tracker_class.__module__)
    if file is None:
        return function

    def call(tracker: Any, world: Any, *others: Any) -> Any:
        try:
            return function(tracker, world, *others)
        except UsageError:
            raise
        except _NOT_COMPILED as error:
            raise UsageError(_why_not_compiled(file, tracker, world, error)) from error
        except Exception as error:
            name, line = _place(file, error)
            if line is None and not accelerate.JIT_ENABLED and not isinstance(error, MemoryError):
                raise  # it is not the file's
            where = f"tracker {tracker_class.__name__} in {file}{_at(line)}"
            what = f"{type(error).__name__}: {_first_line(error)}"
            raise UsageError(f"{where}: {f'{name} raises ' if name else ''}{what}") from error

    return call


def _why_not_compiled(file: _File, tracker: Any, world: Any, error: Exception) -> str:
    """Compile each function by itself, to find the one that can't be."""
    kinds = (numba.typeof(tracker), numba.typeof(world))
    name = type(tracker).__name__
    for operation, function in protocol.implemented(type(tracker)).items():
        others = (numba.int64,) * (len(protocol.signature(function)) - len(kinds))
        try:
            accelerate.driver_uncached(function).compile((*kinds, *others))
        except _NOT_COMPILED as found:
            line = _line_in(file, found) or function.__code__.co_firstlineno
            return f"tracker {name} in {file}, line {line}: {operation} can't be compiled: {_reason(found)}"
    return f"tracker {name} in {file}{_at(_line_in(file, error))}: it can't be compiled: {_reason(error)}"


def _line_in(file: _File, error: Exception) -> int | None:
    """Line of the file that numba's message names last, which is the innermost."""
    found = re.findall(rf'File "[^"]*{re.escape(file.path.name)}", line (\d+)', str(error))
    return int(found[-1]) if found else None


def _reason(error: Exception) -> str:
    """Numba's first sentence that says why; what it looked for is on the next line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip(" >") for line in plain.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Failed in")]
    reason = lines[0] if lines else type(error).__name__
    if reason.endswith(":") and len(lines) > 1:
        reason += f" {lines[1]}"
    return textwrap.shorten(_without_inner_types(reason), 200, placeholder=" …")


def _without_inner_types(reason: str) -> str:
    """Leave the types of the world's arrays out, which fill a page, or what stands for them in a short name."""
    reason = re.sub(r"\bWorld_[0-9a-f]{12}\b", "World", reason)
    head, found, rest = reason.partition("World(")
    depth = 1
    for end, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return f"{head}World{_without_inner_types(rest[end + 1 :])}"
    return f"{head}World" if found else head
