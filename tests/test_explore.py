"""The search of every interleaving: it misses nothing, keeps states exactly, and says why it says what it says."""

from functools import reduce
from operator import xor

import numpy as np
import pytest
from expected import CASES, WHY

from workbench import explore as explore_function
from workbench.designs import PRESETS
from workbench.errors import UsageError
from workbench.explore import MOST_STATES, explore, random_walks, run_search
from workbench.hazards import HAZARDS
from workbench.mm.programs import PROGRAMS
from workbench.replay import Replay, new_search, replay, small_world
from workbench.scenarios import SCENARIOS
from workbench.search import progress, rows, store, words

RANGES = "tracker=vma-common:release=split,cleaning=skip"
# Worlds of a few hundred states, which plain Python can search too.
TINY = [
    ("truncate-dax", "v4.17", {}),
    ("truncate-dax", f"{RANGES},truncate=wait", {"mapping": "cache"}),
    ("truncate-dax", "tracker=lru-count,truncate=wait", {"holder": "mr"}),
    ("cma", "tracker=bias,longterm=migrate-first", {}),
    ("cma", "tracker=pincount", {}),
]


def found(scenario, design, parameters, reduce=False):
    """Level of each hazard that a search has found, and the search."""
    search = run_search(small_world(scenario, design, parameters), reduce=reduce).search
    return {name: int(row[2]) for name, row in zip(HAZARDS, search.found, strict=True) if row[0]}, search


# ---- states are kept exactly


def test_words_and_states_are_kept_as_they_came():
    """Three places of 5, 100 and 2 different words; the list asks for room as it needs it."""
    states = store.new_states(3, room=1 << 4)
    rng = np.random.default_rng(1)
    values = [rng.integers(0, 2**62, n).tolist() for n in (5, 100, 2)]
    kept = {}
    for picked in rng.integers(0, (5, 100, 2), (2000, 3)).tolist():
        state = tuple(values[w][n] for w, n in enumerate(picked))
        states, what = _keep(states, state)
        assert what == (store.KNOWN if state in kept else store.NEW)
        kept.setdefault(state, len(kept))
    assert states.counts.tolist() == [5, 100, 2] and states.cells.tolist()[:2] == [len(kept), 107]
    for state, s in kept.items():
        numbers = [store.number_at(states, states.row[s], w) for w in range(3)]
        assert tuple(states.value[w, n] for w, n in enumerate(numbers)) == state


def _keep(states, state):
    while True:
        row = np.zeros(states.row.shape[1], np.int64)
        shares = [store.share_of(w, word) for w, word in enumerate(state)]
        numbers = [store.number_of(states, w, *both) for w, both in enumerate(zip(state, shares, strict=True))]
        if min(numbers) < 0:
            states = store.with_words(states)
        elif not store.has_room(states, 1):
            states = store.with_room(states)
        else:
            for w, n in enumerate(numbers):
                store.put_number(states, row, w, n)
            return states, store.add_state(states, row, reduce(xor, shares))


@pytest.mark.parametrize(("scenario", "design", "parameters"), TINY)
def test_the_room_at_first_changes_nothing(scenario, design, parameters):
    """Tables run full at any moment, also between two levels."""
    searches = set()
    for room in (2, 4, 32, 1 << 12):
        small = small_world(scenario, design, parameters)
        search = run_search(small, search=new_search(small, MOST_STATES, room=room)).search
        states = int(search.states.cells[0])
        searches.add((states, search.parent[:states].tobytes(), search.choice[:states].tobytes()))
    assert len(searches) == 1


@pytest.mark.parametrize(("scenario", "design", "parameters"), TINY)
def test_how_many_rows_wait_changes_nothing(scenario, design, parameters):
    """States come in the same order, whether each is kept at once or with others."""
    searches = set()
    for waiting in (1, 3, rows.MOST_WAITING):
        small = small_world(scenario, design, parameters)
        search = new_search(small, MOST_STATES, room=4)
        search = search._replace(waiting=search.waiting[:waiting].copy(), told=search.told[:waiting].copy())
        search = run_search(small, search=search).search
        states = int(search.states.cells[0])
        assert len(search.waiting) == waiting
        searches.add((states, search.parent[:states].tobytes(), search.choice[:states].tobytes()))
    assert len(searches) == 1


def test_rows_that_nobody_has_used_are_not_copied():
    """An array that is long enough stays what it is; a longer one has room for more than was asked for."""
    array = np.arange(8).reshape(4, 2)
    assert store.lengthened(array, 4, 3) is array
    longer = store.lengthened(array, 5, 3)
    assert len(longer) == store.AHEAD * 5
    assert longer[:3].tolist() == array[:3].tolist() and not longer[3:].any()


def test_where_no_memory_is_laid_out_ahead_there_is_room_for_what_is_needed(monkeypatch):
    monkeypatch.setattr(store, "AHEAD", 1 << 45)  # more than there are addresses
    longer = store.lengthened(np.arange(4), 8, 3)
    assert longer.tolist() == [0, 1, 2, 0, 0, 0, 0, 0]
    states = store.new_states(40)
    assert store.with_room(states).row.shape == (2 * store.FIRST_ROOM, 1)


@pytest.mark.parametrize(
    ("scenario", "design", "parameters"),
    [
        *TINY,
        ("direct-io", f"{RANGES},order=check-first", {}),
        ("direct-io", RANGES.replace("split", "backpointer"), {"threads": 2, "qd": 1}),
        ("golden-race", "v6.12", {}),
    ],
)
def test_what_a_transition_changes_is_listed_and_undone(scenario, design, parameters):
    """Held to a copy of all arrays, and to the words of all objects."""
    rng = np.random.default_rng(1)
    many = 0
    for _ in range(8):
        run = Replay(small_world(scenario, design, parameters))
        while choices := run.choices()[0]:
            for choice in choices:
                many += fresh_words(run, choice) > 1
            run.step(int(rng.choice(choices)))
    assert many > 10


def fresh_words(run, choice):
    """Run a transition as the search does, and check what it lists and undoes; how many words it lists."""
    small, search, world = run.small, run.search, run.small.world
    objects = world.page, world.bio, world.dio, world.task
    words.pack(world, search)
    search.base[:] = search.word
    search.cells[progress.CHANGED] = (1 << search.cells[progress.WORDS]) - 1
    words.unpack(world, search)
    before, nodes = [array.copy() for array in objects], world.node.copy()
    search.cells[[progress.CHOICE, progress.RAN]] = choice, 0
    run.run(small.tracker, world, search)
    assert words.pack(world, search)
    expected = search.word.copy()
    search.word[:] = search.base
    assert words.take_words(world, search)
    fresh = search.fresh[: search.cells[progress.FRESH]]
    assert fresh.tolist() == np.flatnonzero(expected != search.base).tolist()
    assert search.word[fresh].tolist() == expected[fresh].tolist()
    for array, kept in zip(objects, before, strict=True):
        assert array.tobytes() == kept.tobytes()
    assert (world.node == nodes).all() or not search.cells[progress.RANGED]  # their gaps are nothing
    assert words.pack(world, search) and search.word.tolist() == search.base.tolist()
    return len(fresh)


@pytest.mark.parametrize(("scenario", "design", "parameters"), TINY)
def test_packing_is_undone_by_unpacking(scenario, design, parameters):
    small = small_world(scenario, design, parameters)
    search = run_search(small).search
    for state in range(int(search.states.cells[0])):
        rows.load(search, state)
        words.unpack(small.world, search)
        assert words.pack(small.world, search)
        assert search.word.tolist() == search.base.tolist()


@pytest.mark.parametrize(("scenario", "design", "parameters"), TINY)
@pytest.mark.parametrize("reduce", [False, True])
def test_a_state_is_what_the_way_to_it_leads_to(scenario, design, parameters, reduce):
    every_state_is_where_its_way_leads(scenario, design, parameters, reduce, 1)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("reduce", [False, True])
@pytest.mark.parametrize(
    ("scenario", "design", "parameters"),
    [
        ("direct-io", f"{RANGES},order=check-first", {}),
        ("direct-io", "tracker=vma-full:release=count:charge=any,cleaning=wait,reclaim=ignore", {"bio_pages": 2}),
        ("direct-io", "tracker=lru-count,cleaning=skip/wait", {"threads": 2, "qd": 1}),
        ("golden-race", "tracker=vma-common:release=backpointer,cleaning=skip/wait", {}),
        ("gup-fast-race", "tracker=bias,cleaning=wait", {}),
        ("mr-idle-fsync", f"{RANGES},longterm=migrate-first", {}),
        ("mr-idle-fsync", "tracker=bias,cleaning=write-keep-dirty/bounce", {}),
        ("fork-cow", "v6.12", {}),
        ("wide-map", "hubbard-v1", {}),
    ],
)
def test_a_state_of_many_is_what_the_way_to_it_leads_to(scenario, design, parameters, reduce):
    every_state_is_where_its_way_leads(scenario, design, parameters, reduce, 60)


def every_state_is_where_its_way_leads(scenario, design, parameters, reduce, samples):
    """Nothing that a state leaves out is left over from one that was looked at before it."""
    search = run_search(small_world(scenario, design, parameters), max_states=200_000, reduce=reduce).search
    states = int(search.states.cells[0])
    for state in range(states - 1, 0, -1 if samples == 1 else -max(states // samples, 1)):
        way = []
        rows.load(search, state)
        while state > 0:
            way.append(int(search.choice[state]))
            state = int(search.parent[state])
        run = Replay(small_world(scenario, design, parameters))
        for choice in reversed(way):
            if reduce:
                run.local_steps(choice)
            else:
                run._transition(choice)
        words.pack(run.small.world, run.search)
        assert run.search.word.tolist() == search.base.tolist()


@pytest.mark.parametrize(("scenario", "design", "parameters"), TINY)
def test_as_many_states_as_a_search_that_copies_whole_worlds(scenario, design, parameters):
    """The same steps, but each state is a copy of all arrays: nothing is unpacked, numbered or restored in part."""
    _, search = found(scenario, design, parameters)
    run = Replay(small_world(scenario, design, parameters))
    look = new_search(run.small)
    world = run.small.world

    def packed():
        words.pack(world, look)
        return tuple(look.word.tolist())

    def copy():
        return [array.copy() for array in world], run.submitted.copy()

    seen, queue, transitions = {packed()}, [copy()], 0
    for arrays, submitted in queue:  # it grows while it is gone through
        for choice in _choices(run, arrays, submitted):
            _restore(run, arrays, submitted)
            run._transition(choice)
            transitions += 1
            if packed() not in seen:
                seen.add(packed())
                queue.append(copy())
    assert len(seen) == search.states.cells[0] and transitions == search.cells[progress.TRANSITIONS]


def _restore(run, arrays, submitted):
    for array, kept in zip(run.small.world, arrays, strict=True):
        array[:] = kept
    run.submitted = submitted.copy()


def _choices(run, arrays, submitted):
    _restore(run, arrays, submitted)
    return run.choices()[0]


# ---- the crash of 2018


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("reduce", [False, True])
def test_the_counterexample_is_the_story_of_2018(reduce):
    """Kara, 2018-01-03: cleaned and written during the DMA, buffers dropped, kept in the cache, dirtied at the end."""
    found = explore("golden-race", "v4.17", reduce=reduce, conditional=False).hazards["bufferless-dirty"]
    told = [(step.actor, step.step) for step in found.trace]
    story = [
        ("dio/0", "submit_bio"), ("flusher", "clear_page_dirty_for_io"), ("kswapd", "try_to_release_page"),
        ("kswapd", "remove_mapping"), ("kworker/0", "set_page_dirty_lock"),
    ]  # fmt: skip
    places = [told.index(step) for step in story]
    assert places == sorted(places) and told[-1] == story[-1]
    assert places[0] < told.index(("device", "finish read")) < told.index(("kworker/0", "take_work"))
    assert not any(actor == "kswapd" and step.startswith("submit") for actor, step in told)  # reclaim writes nothing


# ---- reductions


@pytest.mark.parametrize(("scenario", "design", "parameters"), TINY)
def test_reduction_keeps_verdicts_in_tiny_worlds(scenario, design, parameters):
    whole, search = found(scenario, design, parameters)
    reduced, fewer = found(scenario, design, parameters, reduce=True)
    assert set(whole) == set(reduced) and fewer.states.cells[0] < search.states.cells[0]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    ("scenario", "parameters"),
    [
        ("golden-race", {"kswapd_rounds": 1}),
        ("gup-fast-race", {}),
        ("mr-idle-fsync", {"kswapd_rounds": 1}),
        ("fork-cow", {}),
        ("wide-map", {"registrations": 2}),
        ("direct-io", {"bio_pages": 2, "journal": 0}),
        ("direct-io", {"bio_pages": 2, "journal": 0, "sync_any": 0, "sync_pages": 1}),
    ],
)
@pytest.mark.parametrize(
    "design",
    [
        "v4.17",
        "hubbard-v2",
        "tracker=flag,cleaning=skip,reclaim=skip",
        "tracker=bias,cleaning=wait,reclaim=ignore",
        "kara-virtual-vma",
    ],
)
def test_reduction_keeps_verdicts(scenario, parameters, design):
    assert set(found(scenario, design, parameters)[0]) == set(found(scenario, design, parameters, reduce=True)[0])


# ---- what a verdict says


def test_a_limit_is_never_safe():
    stopped = explore("truncate-dax", "v4.17", max_states=50, conditional=False)
    assert not stopped.complete and stopped.states >= 50
    assert {h.verdict for h in stopped.hazards.values()} <= {"reachable", "unknown", "not applicable"}
    assert stopped.hazards["deadlock"].reason == "stopped at 50 states"


def test_not_applicable_says_why():
    verdict = explore("truncate-dax", "v4.17", conditional=False)
    reasons = {name: h.reason for name, h in verdict.hazards.items() if h.verdict == "not applicable"}
    assert reasons["cow-alias"] == "not in truncate-dax"
    assert reasons["stale-pin"] == "the tracker never says pinned"


def test_a_counterexample_replays_to_its_hazard():
    verdict = explore("truncate-dax", "v4.17", conditional=False)
    hazard = verdict.hazards["truncate-write"]
    run = replay("truncate-dax", "v4.17", hazard.schedule)
    assert tuple(run.trace) == hazard.trace and hazard.depth == len(hazard.trace)
    assert "truncate-write" in run.trace[-1].hazards


def test_reduced_counterexamples_replay_too():
    hazard = explore("truncate-dax", "v4.17", conditional=False, reduce=True).hazards["truncate-write"]
    assert "truncate-write" in replay("truncate-dax", "v4.17", hazard.schedule).trace[-1].hazards


def test_a_schedule_that_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="step 1 of the schedule: dio/0 can't do 'gup_take' on page 0 now"):
        replay("truncate-dax", "v4.17", [("dio/0", "gup_take", 0, 0)])


def test_verdicts_name_what_they_turn_on():
    design = "tracker=bias,longterm=allow,truncate=wait"
    assert explore("truncate-dax", design, holder="mr").hazards["stall"].verdict == "reachable"
    design = "tracker=vma-common:release=split:early_exit=no,cleaning=ignore"
    lost = explore("truncate-dax", design, mapping="cache").hazards["stale-pin"]
    assert lost.verdict == "reachable"
    assert lost.conditional == ("range.early_exit=no", "range.truncated=lost")


def test_the_same_every_time():
    first, second = (explore("cma", "hubbard-v1").to_json() for _ in range(2))
    assert first == second
    assert explore_function is explore


def test_random_walks_find_and_prove_nothing():
    verdict = random_walks("truncate-dax", "v4.17", walks=20, seed=3)
    assert verdict.hazards["truncate-write"].verdict == "reachable"
    assert verdict.hazards["deadlock"].verdict == "unknown"
    again = random_walks("truncate-dax", "v4.17", walks=20, seed=3)
    assert verdict.to_json() == again.to_json()
    schedule = verdict.hazards["truncate-write"].schedule
    assert "truncate-write" in replay("truncate-dax", "v4.17", schedule).trace[-1].hazards


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: explore("golden-rice"), "golden-race"),
        (lambda: explore("cma", "v9"), "there are"),
        (lambda: explore("cma", max_states=0), "max_states=0"),
        (lambda: explore("cma", memory_mib=0), "memory_mib=0"),
        (lambda: explore("cma", transfer=1), "transfers"),
        (lambda: explore("direct-io", qd=64, ios=64), "a small world has at most"),
        (lambda: explore("cma", "tracker=bias", bias=1024, max_states=99), "too large"),
        (lambda: random_walks("cma", walks=0), "walks=0"),
    ],
)
def test_wrong_input_is_one_line(call, says):
    with pytest.raises(UsageError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_steps_have_names():
    assert all(len(set(filter(None, steps))) == len([s for s in steps if s]) for steps in PROGRAMS.values())


# ---- expected verdicts


def title(case):
    return "-".join([case.scenario, case.design, *(f"{k}={v}" for k, v in case.parameters.items())])


# Where long-term pins are refused, and nobody else pins: safe because nothing happens, and said to be.
NOBODY_PINS = {"mr-idle-fsync-v6.12", "wide-map-v6.12", "truncate-dax-v4.17-holder=mr"}


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("case", CASES, ids=title)
def test_verdicts_are_those_that_were_expected(case):
    verdict = explore(case.scenario, case.design, reduce=True, conditional=False, **case.parameters)
    assert verdict.complete
    reached = {name for name, hazard in verdict.hazards.items() if hazard.verdict == "reachable"}
    assert reached == set(case.reaches), {name: WHY[why] for name, why in case.reaches.items()}
    told = {hazard.reason for hazard in verdict.hazards.values() if hazard.verdict == "unreachable"}
    assert told <= {"", "nobody gets a pin here"}
    assert ("nobody gets a pin here" in told) == (title(case) in NOBODY_PINS)
    if not {"stall", "stale-pin", "deadlock"} & reached:
        assert verdict.ends["good"] > 0, "safe because nothing ever happens"


@pytest.mark.slow_without_jit
def test_decisions_that_flip_a_verdict_only_together():
    """Kara, 2018-07-09: who waits holds the page lock and a journal handle; letting go of one is not enough."""
    hazard = explore("gup-fast-race", "tracker=bias,cleaning=wait,reclaim=ignore", reduce=True).hazards["deadlock"]
    assert hazard.conditional == ("wait.page_lock=held+wait.journal=held",)


def test_every_hazard_is_reached_and_kept_away_somewhere():
    scenarios = {name: [c for c in CASES if c.scenario == name] for name in SCENARIOS}
    assert all(scenarios.values())
    for hazard in HAZARDS:
        able = [c for name, cases in scenarios.items() if hazard in SCENARIOS[name].HAZARDS for c in cases]
        assert any(hazard in c.reaches for c in able), f"nothing shows {hazard}"
        assert any(hazard not in c.reaches for c in able), f"nothing is free of {hazard}"
    assert set(WHY) == {why for c in CASES for why in c.reaches.values()}


# A design that is free of a hazard, and the same with one thing broken.
MUTANTS = {
    "bufferless-dirty": ("golden-race", "tracker=bias,cleaning=skip,reclaim=skip", "tracker=none,cleaning=skip", {}),
    "lost-update": ("golden-race", "v6.12", "v6.12", {"mutant": "reclaim=ignore"}),
    "unstable-write": ("gup-fast-race", "tracker=bias,cleaning=skip", "tracker=bias,cleaning=skip",
                       {"stable_pages": 0}),
    "fsync-lie": ("mr-idle-fsync", "tracker=bias,cleaning=report", "tracker=bias,cleaning=skip", {}),
    "missed-pin": ("gup-fast-race", "tracker=bias,cleaning=skip", "tracker=flag:learns=after,cleaning=skip", {}),
    "stale-pin": ("golden-race", "tracker=flag,cleaning=skip", "tracker=flag-sticky,cleaning=skip", {}),
    "false-pin": ("wide-map", "tracker=bias:subtract_mapcount=yes,cleaning=skip,reclaim=skip",
                  "tracker=bias,cleaning=skip,reclaim=skip", {}),
    "deadlock": ("gup-fast-race", "tracker=bias,cleaning=wait,wait=unlocked,journal=dropped",
                 "tracker=bias,cleaning=wait,wait=unlocked", {}),
    "stall": ("mr-idle-fsync", "tracker=bias,cleaning=ignore", "tracker=bias,cleaning=ignore/wait", {}),
    "cow-alias": ("fork-cow", "v6.12", "v6.12", {"write_protect_seq": 0}),
    "truncate-write": ("truncate-dax", "v6.12", "tracker=bias,truncate=ignore", {}),
    "count-overflow": ("wide-map", "tracker=pincount", "tracker=pincount", {"count_max": 8}),
    "unmovable": ("cma", "tracker=bias,longterm=migrate-first", "tracker=bias,longterm=allow", {}),
}  # fmt: skip


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("hazard", HAZARDS)
def test_a_mutant_shows_every_hazard(hazard):
    scenario, safe, broken, changed = MUTANTS[hazard]
    if "mutant" in changed:
        broken, changed = f"{PRESETS[broken].replace('reclaim=skip', changed['mutant'])}", {}

    def verdict(design, **parameters):
        return explore(scenario, design, reduce=True, conditional=False, **parameters).hazards[hazard].verdict

    assert verdict(safe) in ("unreachable", "not applicable")
    assert verdict(broken, **changed) == "reachable"


EXTRA = [  # worlds that take the steps which those of CASES don't
    ("mr-idle-fsync", "tracker=vma-common:release=split,cleaning=skip", {"kswapd_rounds": 1}),
    ("truncate-dax", "tracker=vma-common:release=split", {"mapping": "cache", "holder": "mr"}),
]


@pytest.mark.slow_without_jit
def test_every_step_of_every_program_is_taken():
    taken: set[str] = set()
    for scenario, design, parameters in [(c.scenario, c.design, c.parameters) for c in CASES] + EXTRA:
        verdict = explore(scenario, design, reduce=True, conditional=False, max_states=400_000, **parameters)
        taken |= set(verdict.steps)
    shared = {step for program in ("dio", "rdma", "writer") for step in PROGRAMS[program][2:17]}
    there = {f"{program}.{step}" for program, steps in PROGRAMS.items() for step in steps if step}
    missing = {name for name in there - taken if name.partition(".")[2] not in shared}
    missing |= {step for step in shared if step and not any(name.endswith(f".{step}") for name in taken)}
    # Ranges under a spinlock of the tracker's own, which no tracker of the package has: tests/test_own_tree.py.
    assert missing == {"irq.range_release"}
