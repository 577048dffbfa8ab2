"""`explore` held against `naive_explore`, which was written from docs/model.md and shares no step with it."""

import naive_explore
import pytest

from workbench.explore import run_search
from workbench.hazards import HAZARDS
from workbench.replay import small_world

DESIGNS = (
    "v4.17",
    "hubbard-v2",
    "v5.7",
    "v6.12",
    "kara-bounce-2023",
    "tracker=bias,cleaning=wait,fork=ask",
    "tracker=flag,cleaning=skip,reclaim=skip",
    "tracker=pincount,cleaning=report,order=check-first,longterm=migrate-first,fork=ask",
    "tracker=bias,cleaning=write-keep-dirty,order=check-first",
    "tracker=pincount,cleaning=bounce",
)


def compare(scenario, design):
    search = run_search(small_world(scenario, design, {})).search
    ours = {name: int(row[2]) for name, row in zip(HAZARDS, search.found, strict=True) if row[0]}
    theirs = naive_explore.explore(scenario, design)
    assert theirs["complete"]
    assert ours == {name: depth for name, depth in theirs["hazards"].items() if depth is not None}


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("scenario", ["truncate-dax", "cma"])
def test_the_same_hazards_at_the_same_depths(scenario, design):
    compare(scenario, design)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("scenario", ["mr-idle-fsync", "fork-cow"])
def test_the_same_in_larger_worlds(scenario, design):
    compare(scenario, design)
