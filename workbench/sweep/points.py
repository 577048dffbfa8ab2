"""What tells one point of a batch from another: all that its result depends on, and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from workbench.costs import CostTable
from workbench.provenance import plain, source_hash

KEY_DIGITS = 32


class Point(NamedTuple):
    """One run of a batch.

    Attributes
    ----------
    key : str
        Names all that the result depends on; see `key_of`.
    notebook : str
        Its name; empty for a bare simulation.
    scenario : str
        Empty for a notebook.
    design : str
        As it is written in the spec; empty for a notebook that has no parameter of this name.
    seed : int
        0 for a notebook that has none.
    given : dict
        Parameters that the spec sets, in the parameters' own units.
    """

    key: str
    notebook: str
    scenario: str
    design: str
    seed: int
    given: dict[str, Any]

    def told(self) -> dict[str, Any]:
        """Say in plain JSON which point it is."""
        named = {name: value for name, value in self._asdict().items() if name != "given" and value != ""}
        return named | {"parameters": plain(self.given)}

    def __str__(self) -> str:
        what = [self.notebook or self.scenario, self.design, f"seed {self.seed}" if self.seed else ""]
        return ", ".join([*filter(None, what), *(f"{n}={v}" for n, v in self.given.items())])


def cost_hash(table: CostTable) -> str:
    """Hash of a cost table: of its entries with their sources, and of the file that it came from, if any."""
    return _digest(plain(table))


def key_of(point: Point, complete: Mapping[str, Any], files: Mapping[str, str], costs_sha256: str) -> str:
    """Name all that a point's result depends on.

    Parameters
    ----------
    point : Point
        Its `key` and `given` have no part in this.
    complete : mapping
        All parameters of the scenario or notebook, given or not.
    files : mapping
        Hash of each file that is read or run for it: notebook, tracker, traces.
    costs_sha256 : str
        Of `cost_hash`.

    Returns
    -------
    str
        `KEY_DIGITS` hexadecimal digits.
    """
    determines = {
        "notebook": point.notebook,
        "scenario": point.scenario,
        "design": point.design,
        "seed": point.seed,
        "parameters": plain(complete),
        "files": plain(files),
        "costs": costs_sha256,
        "sources": source_hash(),
    }
    return _digest(determines)[:KEY_DIGITS]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
