"""What an explorer shows, as text that makes it again: a command line, and a spec for `workbench sweep`."""

import html
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from workbench import costs
from workbench.usage import SEED

# A click that a user makes may write to the clipboard; where pages may not (plain http, not on localhost), the old way.
_COPY = (
    "const box=this.parentElement.querySelector('textarea');"
    "const done=()=>{{this.textContent='Copied';setTimeout(()=>{{this.textContent='{label}'}},1500)}};"
    "const old=()=>{{box.select();document.execCommand('copy');done()}};"
    "if(navigator.clipboard)navigator.clipboard.writeText(box.value).then(done,old);else old()"
)


def command_line(scenario: str, designs: Sequence[str], given: Mapping[str, Any], seed: int) -> str:
    """Write the command that makes the same results.

    Parameters
    ----------
    scenario : str
    designs : sequence of str
    given : mapping
        Parameters that are not the default.
    seed : int

    Returns
    -------
    str
        ``workbench simulate ...``, quoted for a shell.
    """
    words = ["workbench", "simulate", scenario]
    for design in designs:
        words += ["--design", design]
    if given:
        words += ["--set", *(f"{name}={_exact(value)}" for name, value in given.items())]
    if seed != SEED:
        words += ["--seed", str(seed)]
    if table := os.environ.get(costs.VARIABLE):
        words += ["--costs", table]
    return shlex.join(words)


def sweep_spec(scenario: str, designs: Sequence[str], given: Mapping[str, Any], seed: int) -> str:
    """Write a spec of a batch with these points; values become lists under ``[grid]`` for more of them.

    Parameters
    ----------
    scenario, designs, given, seed
        As in `command_line`.

    Returns
    -------
    str
        TOML that `workbench.sweep.spec` reads.
    """
    lines = [f"scenario = {_toml(scenario)}", f"designs = [{', '.join(map(_toml, designs))}]", f"seeds = [{seed}]"]
    if given:
        lines += ["", "[grid]", *(f"{name} = [{_toml(value)}]" for name, value in given.items())]
    return "\n".join(lines) + "\n"


def _exact(value: Any) -> str:
    """Write a value so that it is read back as it was."""
    short = f"{value:.15g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    text = _exact(value)
    return text if isinstance(value, int) or set(text) & set(".en") else f"{text}.0"


def boxes(command: str, spec: str) -> str:
    """Lay both texts out as HTML, each in a box to select from, with a button that copies it."""
    made = "".join(_box(name, text) for name, text in (("command line", command), ("sweep spec", spec)))
    return f'<div style="display:flex;flex-direction:column;gap:8px">{made}</div>'


def _box(name: str, text: str) -> str:
    label = f"Copy as {name}"
    rows = min(max(text.count("\n") + 1, 4), 9)
    return (
        "<div>"
        f'<button type="button" class="jupyter-button lm-Widget" style="width:auto;padding:0 12px" '
        f'onclick="{html.escape(_COPY.format(label=label))}">{label}</button>'
        f'<textarea readonly spellcheck="false" aria-label="{name}" rows="{rows}" style="width:100%;'
        "box-sizing:border-box;margin-top:4px;font-family:var(--jp-code-font-family,monospace);font-size:12px;"
        "color:var(--jp-ui-font-color1,#111);background:var(--jp-cell-editor-background,#f5f5f5);"
        f'border:1px solid var(--jp-border-color1,#bbb)">{html.escape(text)}</textarea></div>'
    )
