"""What goes wrong through the user's input: one line that says what, where, and what would be right."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Wrong input. Its message is one line; the command line prints it and exits with status 2."""


class ConservationError(AssertionError):
    """At rest something was left over, or is missing: the model is wrong, and so is the result."""


class BatchError(RuntimeError):
    """A batch can't go on: its store can't be written to, or its workers are gone. One line; what is done is kept."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Name the right ones that are nearest to a wrong name.

    Parameters
    ----------
    name : str
        What was given.
    names : iterable of str
        What would have been right.

    Returns
    -------
    str
        A clause such as ``did you mean 'bias'?``, or the list of all names where none is near.
    """
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "there are: " + ", ".join(known)
