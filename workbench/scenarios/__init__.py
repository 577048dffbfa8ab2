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
        virtual_vma,
    )
}
# Those that run at scale (`workbench.bulk`): `simulate` only, since they have no small world.
AT_SCALE = {scenario.NAME: scenario for scenario in (rdma_longterm,)}


def require_small_world(name: str) -> None:
    """Refuse a scenario that can only be simulated.

    Raises
    ------
    UsageError
        For one of `AT_SCALE`.
    """
    if name in AT_SCALE:
        raise UsageError(f"scenario {name}: it runs at scale and has no small world to explore; `simulate` it")
