"""A control for each parameter of a scenario: what it is called, its unit, its range, and steps that fit the range."""

import html
import math
from typing import Any

import ipywidgets as w

from workbench.scenarios.base import Parameter

DECADES = 100  # from this ratio of its ends on, a range is gone through by factors, not by equal steps
PAGE_KIB = 4  # sizes in KiB are whole pages
STYLE = {"description_width": "124px"}
_WIDTH = "99%"


def look(name: str, rules: str = "") -> str:
    """Make the style sheet of a widget, which also keeps the keys that are pressed in it.

    JupyterLab takes arrows and letters for commands of the notebook wherever no text is edited, in menus too, unless
    the element that has the focus says that it wants them itself (Lumino's `CommandRegistry`).

    Parameters
    ----------
    name : str
        Class of the widget.
    rules : str, optional
        CSS; ``&`` stands for the widget.

    Returns
    -------
    str
        HTML, to stand anywhere in the widget.
    """
    keep = "event=>event.target.setAttribute('data-lm-suppress-shortcuts','true')"
    listen = f"this.closest('.{name}').addEventListener('focusin',{keep})"
    return f'<style onload="{html.escape(listen)}">.{name}{{}}{rules.replace("&", f".{name}")}</style>'


def control(parameter: Parameter, value: Any = None) -> w.Widget:
    """Make the control of one parameter.

    Parameters
    ----------
    parameter : Parameter
    value : optional
        Where it stands at first; the default if none is given.

    Returns
    -------
    Widget
        A menu for choices, a tick for 0 and 1, a field for text; else a slider, whose steps are factors where the
        range spans decades. Its ``value`` is the parameter's, in the parameter's unit.
    """
    start = parameter.check(parameter.default if value is None else value)
    common: dict[str, Any] = {
        "description": parameter.name,
        "tooltip": _told(parameter),
        "style": STYLE,
        "layout": w.Layout(width=_WIDTH),
    }
    if parameter.choices:
        return w.Dropdown(options=parameter.choices, value=start, **common)
    if parameter.low is None or parameter.high is None:
        return w.Text(value=start, placeholder="file", continuous_update=False, **common)
    if isinstance(start, int) and (parameter.low, parameter.high) == (0, 1):
        return w.Checkbox(value=bool(start), indent=True, **common)
    if (places := steps(parameter, start)) is not None:
        options = [(f"{place:.9g} {_unit(parameter)}".rstrip(), place) for place in places]
        return w.SelectionSlider(options=options, value=start, **common)
    common["description"] += f" [{_unit(parameter)}]" if _unit(parameter) else ""
    ends = {"min": parameter.low, "max": parameter.high}
    if isinstance(start, int):
        return w.IntSlider(value=start, **ends, **common)
    digits = max(-math.floor(math.log10((parameter.high - parameter.low) / 50)), 0)
    return w.FloatSlider(value=start, step=10.0**-digits, readout_format=f".{digits}f", **ends, **common)


def value_of(parameter: Parameter, made: w.Widget) -> Any:
    """Read a control, in the parameter's own type.

    Raises
    ------
    UsageError
        For what a field may hold and the parameter may not.
    """
    value = made.value
    if isinstance(value, bool):
        value = int(value)
    elif isinstance(value, float) and isinstance(made, w.FloatSlider):
        value = min(max(round(value, 6), made.min), made.max)  # the browser adds up steps of 0.01
    return parameter.check(value)


def steps(parameter: Parameter, start: Any) -> list[Any] | None:
    """Give the places of a slider by factors; None for a range that equal steps suit.

    Parameters
    ----------
    parameter : Parameter
        With a range.
    start : int or float
        One of the places.

    Returns
    -------
    list of int or float
        Ascending: both ends, zero where it is in the range, the default, powers of two with their halves where the
        range ends at one, else 1, 1.5, 2, 3, 5, 7 times powers of ten.
    """
    assert parameter.low is not None and parameter.high is not None
    whole = isinstance(parameter.default, int)
    low = parameter.low if parameter.low > 0 else 1 if whole else 0.01
    if parameter.high < DECADES * low:
        return None
    binary = whole and math.log2(parameter.high) % 1 == 0
    base, factors = (2.0, (1, 1.5)) if binary else (10.0, (1, 1.5, 2, 3, 5, 7))
    powers = range(math.floor(math.log(low, base)), math.ceil(math.log(parameter.high, base)) + 1)
    places = {round(factor * base**power, 6) for power in powers for factor in factors}
    if whole:
        places = {int(place) for place in places if place % 1 == 0}
    if parameter.unit == "KiB":
        places = {place for place in places if place % PAGE_KIB == 0}
    places = {place for place in places if low <= place <= parameter.high}
    zero = {0} if parameter.low <= 0 else set()
    kind = type(parameter.default)
    return sorted(map(kind, places | zero | {parameter.low, parameter.high, parameter.default, start}))


def _unit(parameter: Parameter) -> str:
    return "" if parameter.unit == "1" else parameter.unit


def _told(parameter: Parameter) -> str:
    """What it means, and from where to where it goes."""
    if parameter.low is None:
        return parameter.help
    return f"{parameter.help} ({parameter.low:.9g} to {parameter.high:.9g} {_unit(parameter)}".rstrip() + ")"
