"""The worlds in Promela have as many states as those of `explore`, and show the same hazards."""

import pytest

from benchmarks import spin
from workbench.explore import run_search
from workbench.hazards import HAZARDS
from workbench.replay import small_world
from workbench.search import progress

V4_17, BIAS = "v4.17", "tracker=bias,cleaning=skip"
FSYNC = {"flusher_rounds": 1, "kswapd_rounds": 0, "fsync_us": 1.0}
MODES = ("breadth first", "depth first, reduced")
TWO_THREADS = {"threads": 2, "qd": 1}

pytestmark = pytest.mark.skipif(bool(spin.missing()), reason=f"needs {spin.missing()}")


def explored(scenario, design, parameters):
    return run_search(small_world(scenario, design, parameters)).search


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    ("scenario", "design", "parameters"),
    [
        ("golden-race", V4_17, {}),
        ("golden-race", BIAS, {}),
        ("golden-race", BIAS, FSYNC),
        ("direct-io", V4_17, {"size_kib": 4}),
        ("direct-io", V4_17, {"size_kib": 4} | TWO_THREADS),
        ("direct-io", BIAS, {"size_kib": 8, "bio_pages": 2}),
        ("direct-io", BIAS, {"size_kib": 4, "ios": 4}),
    ],
)
def test_as_many_states_and_transitions(scenario, design, parameters):
    search = explored(scenario, design, parameters)
    states, transitions = int(search.states.cells[0]), int(search.cells[progress.TRANSITIONS])
    options = spin.defines(scenario, design, parameters)
    with spin.compiled(scenario, options, *MODES, optimise="-O1") as pans:
        for mode, pan in zip(MODES, pans, strict=True):
            found = spin.run(pan, states)
            assert (mode, found.states, found.errors) == (mode, states, 0)
            # Beyond the model's are those that lay the world out.
            assert 0 < found.transitions - transitions < 50


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    ("scenario", "design", "parameters", "reached"),
    [
        ("golden-race", V4_17, {}, {"bufferless-dirty", "unstable-write", "lost-update"}),
        ("golden-race", BIAS, {}, set()),
        ("golden-race", BIAS, FSYNC, {"fsync-lie"}),
        ("direct-io", V4_17, {"size_kib": 4}, {"unstable-write"}),
    ],
)
def test_same_hazards(scenario, design, parameters, reached):
    search = explored(scenario, design, parameters)
    ours = {name for name, found in zip(HAZARDS, search.found, strict=True) if found[0]} & set(spin.HAZARDS)
    theirs = set()
    for hazard in spin.HAZARDS:
        options = spin.defines(scenario, design, parameters, hazard)
        with spin.compiled(scenario, options, "depth first", optimise="-O1") as (pan,):
            theirs |= {hazard} if spin.run(pan, 1 << 20).errors else set()
    assert ours == theirs == reached
