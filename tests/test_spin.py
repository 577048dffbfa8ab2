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
        ("direct-io", BIAS, {"size_kib": 8, "bio_pages": 4, "qd": 1}),
        ("direct-io", BIAS, {"size_kib": 12, "bio_pages": 2, "ios": 1}),
        ("direct-io", V4_17, {"size_kib": 4, "qd": 1}),
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
            # Beyond the model's are those that lay the world out: 11 for each of up to four pages, and few more.
            assert 0 < found.transitions - transitions < 55


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


@pytest.mark.parametrize(
    ("scenario", "design", "parameters", "told"),
    [
        ("golden-race", "v6.12", {}, "has the designs v4.17 and tracker=bias,cleaning=skip, not v6.12"),
        ("golden-race", V4_17, {"journal": 0}, "golden_race.pml has no journal"),
        ("direct-io", V4_17, {"op": "write", "fsync_ms": 1.0}, "direct_io.pml has no fsync_ms, op"),
    ],
)
def test_what_a_model_does_not_have_is_refused(scenario, design, parameters, told):
    with pytest.raises(ValueError, match=told):
        spin.defines(scenario, design, parameters)


@pytest.mark.parametrize(
    ("scenario", "options", "told"),
    [
        ("golden-race", ["-DFLUSHER_ROUNDS=0"], "golden_race.pml: FLUSHER_ROUNDS is from 1 to 15"),
        ("golden-race", ["-DKSWAPD_ROUNDS=16"], "KSWAPD_ROUNDS is at most 15"),
        ("golden-race", ["-DFSYNC=2"], "FSYNC is 0 or 1"),
        ("golden-race", ["-DHAZARD=6"], "HAZARD is one of the numbers above, or 0"),
        ("golden-race", ["-DBIAS=1024"], "the reference counts have 7 bits"),
        ("direct-io", ["-DQD=3"], "direct_io.pml: there are 2 direct IOs in flight at most"),
        ("direct-io", ["-DTHREADS=2"], "there are 2 direct IOs in flight at most"),
        ("direct-io", ["-DTHREADS=0"], "THREADS is 1 or 2"),
        ("direct-io", ["-DDIRECT_IOS=8"], "DIRECT_IOS is at most 7"),
        ("direct-io", ["-DQD=1", "-DIO_PAGES=4", "-DBIO_PAGES=3"], "a bio has 1 or 2 pages"),
        ("direct-io", ["-DIO_PAGES=3"], "there are 6 rows of bios at most"),
        ("direct-io", ["-DIO_PAGES=4", "-DBIO_PAGES=2"], "there are 4 pages at most"),
        ("direct-io", ["-DFSYNC=1"], "nobody calls fsync here"),
        ("direct-io", ["-DQD=1", "-DIO_PAGES=4", "-DHAZARD=4"], "ends are judged of 3 pages and 4 tasks at most"),
    ],
)
def test_a_world_that_a_model_has_no_room_for_is_refused(scenario, options, told):
    with pytest.raises(ValueError, match=told), spin.compiled(scenario, options):
        pass
