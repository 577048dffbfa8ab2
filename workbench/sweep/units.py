"""Values with a unit behind them, such as ``64 KiB`` or ``5 us``, in the unit of a parameter."""

import re
from fractions import Fraction

from workbench.errors import UsageError

_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_SIZES = {f"{prefix}B": Fraction(n) for prefix, n in (_DECIMAL | _BINARY).items()}
# Size of each unit in that of its dimension: seconds, bytes, bytes per second, or one.
DIMENSIONS: dict[str, dict[str, Fraction]] = {
    "time": {
        "ps": Fraction(1, 10**12),
        "ns": Fraction(1, 10**9),
        "us": Fraction(1, 10**6),
        "µs": Fraction(1, 10**6),
        "ms": Fraction(1, 1000),
        "s": Fraction(1),
        "min": Fraction(60),
        "h": Fraction(3600),
    },
    "size": _SIZES,
    "rate": {f"{name}/s": n for name, n in _SIZES.items()},
    "share": {"%": Fraction(1)},
}
LONGEST = 40  # digits of a number
_QUANTITY = re.compile(r"\s*([-+]?(?:[0-9][0-9_]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,2})?)\s*(.*?)\s*")


def in_unit(text: str, unit: str) -> Fraction:
    """Turn a quantity into a number of a parameter's units.

    Parameters
    ----------
    text : str
        A number and a unit: ``64 KiB``, ``5us``, ``16 bios``.
    unit : str
        The parameter's: a time, size or rate takes all units of its kind; any other only itself. Empty or ``1``: none.

    Returns
    -------
    Fraction
        Exact.

    Raises
    ------
    UsageError
        No number, no unit or the wrong one; the message says which would be right. It names no parameter.
    """
    found = _QUANTITY.fullmatch(text)
    bare = unit in ("", "1")
    if not found or len(found[1]) > LONGEST:
        raise UsageError(f"{text!r} is not a number" + ("" if bare else f" of {unit}; {_fitting(unit)}"))
    number, given = Fraction(found[1].replace("_", "")), found[2]
    if bare:
        what = f"it has no unit, {given!r} is not for it; " if given else "a number goes "
        raise UsageError(f"{text!r}: {what}without quotes: {found[1]}")
    if not given:
        raise UsageError(f"{text!r} is text without a unit; {_fitting(unit)}, or {found[1]} without quotes for {unit}")
    if given == unit:
        return number
    own = next((units for units in DIMENSIONS.values() if unit in units), {unit: Fraction(1)})
    if given not in own:
        kind = next((f" is a {name}" for name, units in DIMENSIONS.items() if given in units), f": unit {given!r}")
        raise UsageError(f"{text!r}{kind}, but it is in {unit}; {_fitting(unit)}")
    return number * own[given] / own[unit]


def _fitting(unit: str) -> str:
    """Name units that would be right."""
    for units in DIMENSIONS.values():
        if unit in units:
            names = [name for name in units if name != "µs" and (name[0] not in "kMGT" or "i" in name or name == "min")]
            return f"units that fit: {', '.join(names)}"
    return f"the unit that fits: {unit}"
