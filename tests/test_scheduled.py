"""`simulate` by a schedule: a counterexample is run by the steps and counters of a timed run, to the same hazard."""

import importlib
import json

import numpy as np
import pytest

from workbench import cli, costs
from workbench.errors import UsageError
from workbench.explore import explore, random_walks
from workbench.hazards import found
from workbench.mm import registers as R
from workbench.mm.page import EVER_PINNED, NEWER_THAN_DISK
from workbench.mm.programs import M_IDLE
from workbench.replay import Replay, replay, small_world
from workbench.search import progress
from workbench.simulate import ConservationError, simulate

simulation = importlib.import_module("workbench.simulate")  # the package's own name is that of the function
RANGES = "tracker=vma-common:release=split,cleaning=skip"
STICKY = "tracker=flag-sticky,cleaning=wait,reclaim=skip"
FOUND_BY_WALKS = [
    ("golden-race", "v4.17", {}),
    ("golden-race", STICKY, {}),
    ("gup-fast-race", "hubbard-v2", {}),
    ("mr-idle-fsync", "kara-virtual-vma", {}),
    ("wide-map", "tracker=bias,cleaning=skip,reclaim=skip", {}),
    ("direct-io", "hubbard-v2", {}),
]
FOUND_BY_SEARCH = [
    ("truncate-dax", "v4.17", {}),
    ("truncate-dax", f"{RANGES},truncate=wait", {"mapping": "cache"}),
    ("cma", "tracker=pincount", {}),
]


def met(result):
    return {name for name, count in found(result).items() if count}


def check(verdict):
    """Run each counterexample of a verdict; the hazards that were."""
    shown = set()
    for name, hazard in verdict.hazards.items():
        if hazard.verdict == "reachable":
            result = simulate(verdict.scenario, verdict.design, schedule=hazard.schedule, **verdict.parameters)
            assert name in met(result)
            assert result.parameters == verdict.parameters
            rows = [(r.actor, r.program, r.step, r.page, r.state, r.refcount, r.pins) for r in result.log.itertuples()]
            assert rows == [(s.actor, s.program, s.step, s.page, s.state, s.refcount, s.pins) for s in hazard.trace]
            assert (name in result.at_rest) == (name not in replayed_events(verdict, hazard))
            shown.add(name)
    return shown


def replayed_events(verdict, hazard):
    run = replay(verdict.scenario, verdict.design, hazard.schedule, **verdict.parameters)
    return run.trace[-1].hazards


@pytest.mark.parametrize(("scenario", "design", "parameters"), FOUND_BY_WALKS)
def test_what_walks_have_found_is_simulated_to_the_same_hazard(scenario, design, parameters):
    assert check(random_walks(scenario, design, walks=60, **parameters))


@pytest.mark.parametrize(("scenario", "design", "parameters"), FOUND_BY_SEARCH)
@pytest.mark.parametrize("reduce", [False, True])
def test_what_a_search_has_found_is_simulated_to_the_same_hazard(scenario, design, parameters, reduce):
    assert check(explore(scenario, design, reduce=reduce, conditional=False, **parameters))


def test_an_alias_after_fork_is_simulated_to_the_same_hazard():
    assert check(explore("fork-cow", "v4.17", reduce=True, conditional=False)) == {"cow-alias"}


@pytest.mark.parametrize(("scenario", "design", "parameters"), FOUND_BY_WALKS + FOUND_BY_SEARCH)
def test_a_walk_to_its_end_adds_up(scenario, design, parameters):
    """At rest `simulate` raises if anything is lost; it sees what the walk's own steps and its end have shown."""
    rng = np.random.default_rng(7)
    for _ in range(5):
        run = Replay(small_world(scenario, design, parameters))
        choices, _ = run.choices()
        while choices:
            run.step(int(rng.choice(choices)))
            choices, _ = run.choices()
        shown = {name for step in run.trace for name in step.hazards} | set(run.judge())
        result = simulate(scenario, design, schedule=run.schedule, **parameters)
        assert met(result) == shown and result.at_rest == run.judge()
        assert result.by_schedule and [r.step for r in result.log.itertuples()] == [s.step for s in run.trace]


# ---- the crash of 2018, told by hand

CRASH = (  # each runs until it has taken the step
    ("dio/0", "submit_bio"),
    ("flusher", "submit_bio"),
    ("device", "start writeback"),
    ("device", "finish writeback"),
    ("irq/1", "end_page_writeback"),
    ("kswapd", "putback"),
    ("device", "finish read"),
    ("irq/0", "dio_bio_complete"),
    ("kworker/0", "set_page_dirty_lock"),
    ("flusher", "lock_page"),
)


def told(story, design="v4.17"):
    """Schedule of a story in `golden-race`."""
    run = Replay(small_world("golden-race", design, {}))
    for actor, last in story:
        while not run.schedule or run.schedule[-1][:2] != (actor, last):
            able = {choice: run._name(choice) for choice in run.choices()[0]}
            mine = [choice for choice, (name, _, step, _) in able.items() if name == actor]
            run.step(next(choice for choice in mine if actor != "device" or able[choice][2] == last))
    return run.schedule


def test_the_crash_of_2018_in_a_given_order():
    result = simulate("golden-race", schedule=told(CRASH))
    assert {name: n for name, n in found(result).items() if n} == {"bufferless-dirty": 1}
    c = result.counters
    assert (c["BUFFERS_DROPPED"], c["BUFFERLESS_DIRTY"], c["FS_BUG"], c["DIOS"]) == (1, 1, 1, 1)
    assert "PG_locked" in result.log["state"].iloc[-1]
    assert result.design == "v4.17" and result.stuck == [] and result.at_rest == ()


def test_its_clock_goes_on_by_the_cost_of_each_step():
    schedule = told(CRASH)
    log = simulate("golden-race", schedule=schedule).log
    assert log["time_ps"].iloc[0] == 0 and (log["end_ps"].shift(1)[1:] == log["time_ps"][1:]).all()
    assert (log["end_ps"] >= log["time_ps"]).all() and log["end_ps"].iloc[-1] > 0
    assert (log["end_ps"] == log["time_ps"])[log["actor"] == "device"].all()
    reads = log[log["step"] == "io_submit"].iloc[0]
    entry = costs.DEFAULT.entries["SUBMIT_IO"].ns
    assert reads["end_ps"] - reads["time_ps"] == round(entry * 1000)
    free = simulate("golden-race", schedule=schedule, cost_table=costs.CostTable("none", {}))
    assert (free.log["end_ps"] == 0).all() and free.metrics["simulated_ps"] == 0
    assert free.counters == simulate("golden-race", schedule=schedule).counters
    clock = simulate("golden-race")
    assert list(clock.log.columns) == list(log.columns) and list(clock.log.dtypes) == list(log.dtypes)


def test_what_is_not_measured_is_nan():
    clock, ordered = simulate("golden-race"), simulate("golden-race", schedule=told(CRASH))
    assert set(clock.metrics) == set(ordered.metrics)
    measured = {name for name, value in ordered.metrics.items() if value == value}
    assert {"simulated_ps", "atomics_per_page", "bios_per_io_mean", "ranges_left"} <= measured
    assert not measured & {"iops", "latency_mean_ns", "cpu_utilisation", "ptl_acquisitions", "stale_pages"}
    assert list(ordered.locks.index) == list(clock.locks.index) and list(ordered.locks) == list(clock.locks)
    assert list(ordered.series) == list(clock.series) and ordered.series.empty
    assert set(ordered.histograms) == set(clock.histograms)
    assert "simulated_ps" in ordered.to_frame() and ordered._repr_html_()


def test_the_same_every_time_and_another_schedule_another_hash():
    first, second = (simulate("golden-race", schedule=told(CRASH), seed=s) for s in (1, 2))
    assert first.counters == second.counters and first.log.equals(second.log)
    half = simulate("golden-race", schedule=told(CRASH[:1]))
    hashes = [r.provenance["schedule_sha256"] for r in (first, second, half)]
    assert hashes[0] == hashes[1] != hashes[2]


# ---- where it stops


def test_in_the_middle_nothing_is_added_up(monkeypatch):
    def fail(*_):
        raise ConservationError("added up")

    monkeypatch.setattr(simulation, "check_conservation", fail)
    schedule = told(CRASH)
    for n in range(0, len(schedule), 5):
        result = simulate("golden-race", schedule=schedule[:n])
        assert (result.stuck, result.at_rest, len(result.log)) == ([], (), n)
        assert np.isnan(result.metrics["stale_pages"])
    run = Replay(small_world("truncate-dax", "v4.17", {}))
    while run.choices()[0]:
        run.step(run.choices()[0][0])
    with pytest.raises(ConservationError, match="added up"):
        simulate("truncate-dax", schedule=run.schedule)


def test_who_is_stuck_at_rest():
    """fsync waits for what an idle region holds, which may yet be deregistered; the region itself is not stuck."""
    world = ("mr-idle-fsync", "tracker=bias,cleaning=ignore/wait")
    run = Replay(small_world(*world, {"flusher_rounds": 0}))
    region = run.small.world.task[run.small.names.index("rdma/0")]
    while run.choices()[1]:
        able = {run._name(choice)[0]: choice for choice in run.choices()[0]}
        first = "rdma/0" if region["pc"] != M_IDLE and "rdma/0" in able else "device"
        run.step(able.get(first, able.get("fsync")))
    result = simulate(*world, schedule=run.schedule, flusher_rounds=0)
    assert (result.stuck, result.held) == (["fsync waits for a pin to go away"], 1)
    assert result.at_rest == ("stall",) and met(result) == {"stall"}
    assert result.metrics["stale_pages"] == 0


# ---- schedules that can't be followed


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ([("dio/0", "gup_take", 0, 0)], "step 1 of the schedule: dio/0 can't do 'gup_take' on page 0 now"),
        ([("dio/1", "io_getevents", 0, 0)], "dio/1 can't do"),
        ([("dio/0", "io_getevents", 5, 0)], "dio/0's 'io_getevents' is about page 0, not 5"),
        ([("dio/0", "io_getevents", 0, 1)], "can't do 'io_getevents' on page 0 with outcome 1 now"),
        ([("dio/0", "io_getevents", 0, -1)], "with outcome -1 now"),
        ([("device", "finish read", 0, 0)], "device can't do 'finish read' on page 0 now"),
        ([("dio/0", "io_getevents")], r"\('dio/0', 'io_getevents'\) is not \(actor, step, page, outcome\)"),
        ([("dio/0", "io_getevents", "0", 0)], "is not .actor, step, page, outcome."),
        (["dio/0"], "'dio/0' is not .actor, step, page, outcome."),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(schedule, says):
    with pytest.raises(UsageError, match=says) as caught:
        simulate("golden-race", schedule=schedule)
    assert "\n" not in str(caught.value)


def test_wrong_input_beside_a_schedule():
    for call, says in [
        (
            lambda: simulate("golden-race", schedule=[], pages_per_step=2),
            "pages_per_step=2: a schedule has steps of one",
        ),
        (lambda: simulate("golden-race", schedule=[], rounds=2), "no parameter 'rounds'"),
        (lambda: simulate("golden-rice", schedule=[]), "golden-race"),
    ]:
        with pytest.raises(UsageError, match=says):
            call()


def test_an_outcome_that_there_is_not_is_refused_before_it_is_run():
    run = Replay(small_world("direct-io", "v4.17", {}))
    before = [array.copy() for array in run.small.world]
    with pytest.raises(UsageError, match="with outcome 3 now"):
        run.take("flusher", "sleep", 0, 3)
    assert all(np.array_equal(a, b) for a, b in zip(before, run.small.world, strict=True))
    run.take("flusher", "sleep", 0, 2)
    assert run.small.world.task[run.small.names.index("flusher")]["page"] == 2
    assert run.search.cells[progress.CHOICES] == 3 and run.small.world.sys[R.CHOICE] == 0


# ---- the command


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What `explore --json` printed, and files that it can't have."""
    folder = tmp_path_factory.mktemp("schedules")
    verdicts = {
        "truncate": explore("truncate-dax", "v4.17", conditional=False),
        "several": random_walks("gup-fast-race", "hubbard-v2", walks=60),
        "safe": explore("truncate-dax", "v6.12", conditional=False),
    }
    for name, verdict in verdicts.items():
        (folder / f"{name}.json").write_text(json.dumps(verdict.to_json()))
    (folder / "text.json").write_text("truncate-dax, design v4.17\n")
    (folder / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (folder / "other.json").write_text('{"hazards": [1]}')
    cut = verdicts["truncate"].to_json()
    cut["hazards"]["truncate-write"]["schedule"].pop(0)
    (folder / "cut.json").write_text(json.dumps(cut))
    cut["hazards"]["truncate-write"]["schedule"] = []
    (folder / "empty.json").write_text(json.dumps(cut))
    broken = {"scenario": 5, "parameters": {"schedule": 1}, "hazards": {"stall": {"verdict": "reachable"}}}
    for name, changed in broken.items():
        (folder / f"{name}.json").write_text(json.dumps(verdicts["truncate"].to_json() | {name: changed}))
    return folder


@pytest.fixture
def command(capsys, files):
    def run(*words, status=0):
        ended = cli.main([word.replace("FILES", str(files)) for word in ("simulate", *words)])
        out, err = capsys.readouterr()
        assert (ended, err.count("\n")) == (status, 0 if status == 0 else 1), err
        return err if status else out

    return run


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["truncate-dax"],
        ["--hazard", "truncate-write"],
        ["truncate-dax", "--design", "v4.17", "--set", "bias=16", "mapping=dax", "--hazard", "truncate-write"],
        ["--design", "tracker=none,cleaning=ignore,longterm=refuse-dax"],
    ],
)
def test_a_counterexample_from_a_file(command, words):
    result = json.loads(command(*words, "--schedule", "FILES/truncate.json", "--json", "--walk"))
    assert (result["scenario"], result["design"]) == ("truncate-dax", "v4.17")
    assert {name: n for name, n in result["hazards"].items() if n} == {"truncate-write": 1}
    assert result["walk"][-1]["step"] == "finish read" and result["metrics"]["iops"] is None
    assert result["at_rest"] == [] and len(result["provenance"]["schedule_sha256"]) == 64


def test_what_is_printed_of_a_counterexample(command):
    lines = command("--schedule", "FILES/several.json", "--hazard", "deadlock", "--walk").splitlines()
    assert lines[0].startswith("gup-fast-race, schedule of ") and lines[0].endswith(" steps, design hubbard-v2")
    assert max(map(len, lines)) <= cli.WIDTH
    deadlock = next(line for line in lines if line.startswith("deadlock "))
    assert deadlock.split()[1] == "1"
    assert "stuck at the end under hubbard-v2:" in lines
    head = next(line for line in lines if line.startswith("time "))
    assert head.split() == ["time", "actor", "step", "page", "ref", "map", "pins", "newer", "than"]


def test_the_walk_tells_what_memory_is_newer_than():
    row = simulate("golden-race").log.iloc[-1].to_dict()
    for data, newer in ((0, ""), (EVER_PINNED, ""), (EVER_PINNED | NEWER_THAN_DISK, "disk"), (3, "disk, copy")):
        assert cli._walk_rows([row | {"data": data}], which=False)[1][-1] == newer


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--schedule", "FILES/no.json"], "no.json: No such file or directory; `workbench explore --json` writes such"),
        (["--schedule", "FILES"], "Is a directory"),
        (["--schedule", "FILES/text.json"], "text.json: no JSON (Expecting value: line 1 column 1"),
        (["--schedule", "FILES/bytes.json"], "bytes.json: no JSON ("),
        (["--schedule", "FILES/other.json"], "other.json: it has no verdicts; `workbench explore --json` writes such"),
        (["--schedule", "FILES/scenario.json"], "no scenario '5': there are: "),
        (["--schedule", "FILES/parameters.json"], "scenario truncate-dax: no parameter 'schedule'"),
        (["--schedule", "FILES/hazards.json"], "hazards.json: it has no verdicts"),
        (["--schedule", "FILES/cut.json"], "step 1 of the schedule: "),
        (["--schedule", "FILES/empty.json"], "empty.json: truncate-write is reachable there, but by no step at all"),
        (["--schedule", "FILES/truncate.json", "--seed", "1"], "--seed 1: nothing is random in a counterexample"),
        (["--schedule", "FILES/truncate.json", "--hazard", "truncate-writ"], "did you mean 'truncate-write'"),
        (
            ["--schedule", "FILES/truncate.json", "--hazard", "deadlock"],
            "--hazard deadlock: unreachable in FILES/truncate.json; reachable there: truncate-write",
        ),
        (["--schedule", "FILES/safe.json"], "no hazard is reachable there"),
        (["--schedule", "FILES/several.json"], "--hazard is needed: FILES/several.json has counterexamples of "),
        (["cma", "--schedule", "FILES/truncate.json"], "scenario 'cma': the counterexamples in"),
        (["--design", "v6.12", "--schedule", "FILES/truncate.json"], "--design v6.12: the counterexamples in"),
        (["--design", "v4.18", "--schedule", "FILES/truncate.json"], "did you mean 'v4.17'"),
        (["--set", "bias=8", "--schedule", "FILES/truncate.json"], "--set bias=8: the counterexamples in"),
        (["--set", "bios=8", "--schedule", "FILES/truncate.json"], "no parameter 'bios'"),
        (
            ["--out", "FILES/r.parquet", "--schedule", "FILES/truncate.json"],
            "--out: a row of results says of no schedule",
        ),
        (["cma", "--design", "v4.17", "--hazard", "stall"], "--hazard stall: it names a counterexample in --schedule"),
        (["--design", "v4.17"], "required: SCENARIO (see 'workbench simulate --help')"),
    ],
)
def test_wrong_words_beside_a_schedule(command, files, words, says):
    line = command(*words, status=2)
    assert line.startswith("workbench: ") and says.replace("FILES", str(files)) in line
