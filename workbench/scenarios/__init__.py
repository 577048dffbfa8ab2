"""Scenarios: their actors, and their parameters with units and ranges; a timed set by default, and a small one."""

from workbench.errors import UsageError
from workbench.scenarios import (
    cma,
    direct_io,
    fork_cow,
    golden_race,
    gup_fast_race,
    mr_idle_fsync,
    rdma_longterm,
    truncate_dax,
    virtual_vma,
    wide_map,
)

SCENARIOS = {
    scenario.NAME: scenario
    for scenario in (
        golden_race,
        gup_fast_race,
        direct_io,
        mr_idle_fsync,
        fork_cow,
        truncate_dax,
        wide_map,
        cma,
    )
}
# Those without step programs, which `simulate` runs by a driver of their own.
OWN_DRIVER = {scenario.NAME: scenario for scenario in (virtual_vma, rdma_longterm)}
ALL = SCENARIOS | OWN_DRIVER


def require_small_world(name: str) -> None:
    """Refuse a scenario that can only be simulated.

    Raises
    ------
    UsageError
        For one of `OWN_DRIVER`.
    """
    if name in OWN_DRIVER:
        raise UsageError(f"scenario {name}: it has no steps, and no small world to explore; `simulate` it")
