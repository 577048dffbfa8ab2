"""The decision matrix: each thing searched once, the worst verdict in the cell, the same whatever the workers."""

import json

import pandas as pd
import pytest
import verdicts
from verdicts import HAZARDS, reached, verdict

from workbench import charts, designs, matrix
from workbench.errors import UsageError
from workbench.policies import WRITE_PINNED
from workbench.verdict import HazardVerdict

PLACES = ["golden-race", "wide-map", "fork-cow"]
BIAS = "tracker=bias,cleaning=skip/wait"

TOUCHED = pd.DataFrame(
    [("release", 4), ("plain release", 5), ("gup", 3), ("tree", 20), ("vma range", 300)],
    columns=["group", "places"],
).assign(subsystem="mm", access="call", sure="sure")


@pytest.fixture
def counted(monkeypatch):
    """Counters without a run, by what the name of the design says."""

    def count(design: str) -> dict:
        ranges, flag = "vma" in design, "flag" in design
        counters = {"PINS": 10, "ATOMIC": 20 + 10 * flag, "SPIN_LOCK": 5, "RWSEM": 4 * ranges}
        counters |= {"DEFERRED_DIRTY": 1, "DEFERRED_UNPIN": 1 + ranges}
        flags = ["PG_dirty"] + ["PG_dma_pinned"] * flag
        return {"counters": counters, "bytes": 256 * ranges, "ranges": 4 * ranges, "pinned": 64, "flags": flags}

    monkeypatch.setattr(matrix, "_counted", count)
    monkeypatch.setattr(matrix, "_touched", lambda: TOUCHED)


def build(*rows: str, places: list[str] = PLACES, explore=verdicts.explore, **options) -> matrix.Matrix:
    return matrix.build(rows, places, jobs=1, explore=explore, **options)


def saying(found: dict):
    """A search that gives the hazards told for a scenario, whatever the design."""
    return lambda scenario, design, **_: verdict(scenario, design, found.get(scenario, {}))


def test_rows():
    rows = matrix.all_designs()
    assert rows[: len(designs.PRESETS)] == list(designs.PRESETS)
    parts = rows[len(designs.PRESETS) :]
    each = 1 + 2 * (len(matrix.POLICIES) - 1)  # who ignores pins does not ask, in whatever order
    writing = 2 * len(matrix.WRITERS) * len(WRITE_PINNED)
    ruled = len(matrix.RULES) + len(matrix.LEASES)
    assert len(parts) == len(set(parts)) == len(designs.trackers()) * each + writing + ruled
    assert {designs.parse(row).tracker_name for row in parts} == set(designs.trackers())
    assert set(designs.PRESETS) < set(matrix.all_designs(quick=True)) and len(matrix.all_designs(quick=True)) < 20


def test_cases_pair_all_and_ask_at_fork():
    found = matrix.cases(["v4.17", BIAS, "v6.12"], ["golden-race"])
    assert found[:3] == [("golden-race", "v4.17"), ("golden-race", BIAS), ("golden-race", "v6.12")]
    assert [scenario for scenario, _ in found[3:]] == ["fork-cow", "fork-cow", "wide-map", "wide-map"]
    assert found[4][1] == "tracker=bias,cleaning=ignore,fork=ask" and found[6][1] == "tracker=bias,cleaning=skip"


def test_a_tracker_is_counted_by_itself_and_told_of_every_pin():
    assert matrix.bare("v5.7") == "tracker=bias,cleaning=ignore"
    assert matrix.bare("tracker=flag,cleaning=wait,order=check-first") == "tracker=flag,cleaning=ignore"


def test_the_worlds_of_a_scenario(counted):
    assert matrix.places_of("golden-race") == ["golden-race"]
    assert matrix.places_of("truncate-dax") == ["truncate-dax", "truncate-dax:mapping=cache", "truncate-dax:holder=mr"]
    asked = []

    def explore(scenario: str, design: str, mapping: str = "", **_):
        asked.append((scenario, mapping))
        return verdict(scenario, design, {})

    build("v4.17", places=["truncate-dax"], explore=explore)
    assert ("truncate-dax", "") in asked and ("truncate-dax", "cache") in asked


def test_the_same_work_is_done_once(counted):
    done = []

    def explore(scenario: str, design: str, **options):
        done.append((scenario, design))
        return verdicts.explore(scenario, design, **options)

    rows = ["tracker=vma-full:release=count,cleaning=skip", "tracker=vma-common:release=count,cleaning=skip"]
    found = build(*rows, explore=explore)
    assert not any("vma-common" in design for _, design in done) and len(done) == len(set(done))
    assert found.table().loc[rows[0]].equals(found.table().loc[rows[1]])
    assert set(found.verdicts["design"]) == set(rows)
    searched = [design for _, design in done]
    done.clear()
    build(rows[0], rows[0] + ",order=check-first", rows[0] + ",wait=unlocked", explore=explore)
    assert set(searched) < {design for _, design in done}  # these differ in what they do
    done.clear()
    build("tracker=bias,cleaning=ignore", "tracker=bias,cleaning=ignore,order=check-first", explore=explore)
    assert not any("check-first" in design for _, design in done)


def test_presets_are_asked_for_conditions(counted):
    asked = {}

    def explore(scenario: str, design: str, **options):
        asked[design] = options
        return verdicts.explore(scenario, design, **options)

    build("v4.17", BIAS, explore=explore, max_states=7, memory_mib=9)
    assert {design for design, options in asked.items() if options["conditional"]} == {"v4.17"}
    assert asked[BIAS] == {"reduce": True, "conditional": False, "max_states": 7, "memory_mib": 9}


def test_a_cell_is_the_worst_verdict(counted):
    unknown, none = HazardVerdict("unknown"), HazardVerdict("not applicable")
    safe, hangs = HazardVerdict("unreachable"), HazardVerdict("unreachable", conditional=("b=2", "a=1"))
    found = build(
        "v4.17",
        explore=saying(
            {
                "golden-race": {"stall": unknown, "missed-pin": reached(9, "x=1"), "false-pin": none},
                "wide-map": {"stall": safe, "missed-pin": reached(30), "false-pin": none},
                "fork-cow": {"missed-pin": reached(20), "false-pin": none, "bufferless-dirty": hangs},
            }
        ),
    )
    worst = found.worst.set_index("hazard")
    assert worst["verdict"].to_dict() == {
        "bufferless-dirty": "unreachable",
        "missed-pin": "reachable",
        "false-pin": "not applicable",
        "stall": "unknown",
    }
    assert list(worst.index) == list(HAZARDS)
    missed = worst.loc["missed-pin"]  # what hangs on nothing comes first, then what is short
    assert (missed["scenario"], missed["depth"], missed["conditional"]) == ("fork-cow", 20, "")
    assert worst.loc["bufferless-dirty", "conditional"] == "a=1, b=2"


def test_criteria(counted):
    flag, ranges = "tracker=flag,cleaning=skip/wait", "tracker=vma-common:release=split,cleaning=ignore"
    found = {"fork-cow": {"missed-pin": reached(3)}, "wide-map": {"false-pin": HazardVerdict("unknown")}}
    told = build(flag, ranges, explore=saying(found)).criteria
    assert told.loc[flag].to_dict() == {
        "bytes per pin": "0",
        "bytes per range": "-",
        "atomics per page": "1",
        "locks per page": "0",
        "in IRQ": "yes",
        "GUP-fast": "yes",
        "anon pages": "no",
        "false pins": "unknown",
        "page bits": "PG_dma_pinned",
        "waits": "none",
        "kernel places": "9+3",
    }
    assert told.loc[ranges, ["bytes per pin", "bytes per range", "locks per page"]].tolist() == ["4B", "64B", "0.4"]
    assert told.loc[ranges, ["in IRQ", "GUP-fast", "page bits"]].tolist() == ["no", "no", "none"]
    assert list(told.columns) == list(matrix.CRITERIA)
    assert build(BIAS).criteria.loc[BIAS, "waits"] == "a pin: fsync"


def test_places_in_the_kernel(counted, monkeypatch, tmp_path):
    told = {
        "v4.17": "0+0",
        BIAS: "12+0",
        "tracker=bias,cleaning=ignore": "12+0",
        "tracker=vma-full:release=split,cleaning=ignore": "29+3",
        "tracker=vma-common:release=count,cleaning=ignore": "329+3",
    }
    assert {design: matrix._places(design) for design in told} == told
    monkeypatch.setattr(matrix.touched, "SHIPPED", tmp_path / "none.csv")
    assert matrix._places(BIAS) == "-"


def test_the_same_with_any_number_of_workers():
    """Costs are counted in earnest here."""
    rows = ["v4.17", "tracker=bias,cleaning=skip"]
    alone = build(*rows)
    shared = matrix.build(rows, PLACES, jobs=2, explore=verdicts.explore)
    assert json.dumps(alone.to_json(), sort_keys=True) == json.dumps(shared.to_json(), sort_keys=True)
    assert alone.criteria.loc["tracker=bias,cleaning=skip", "atomics per page"] == "1"
    assert alone.criteria.loc["v4.17"].tolist()[2:6] == ["0", "0", "yes", "yes"]


def test_designs_are_joined_where_all_verdicts_agree(counted):
    rows = ["v4.17", *(f"tracker={t},cleaning={c}" for t in ("bias", "pincount", "flag") for c in ("skip", "wait"))]
    rows.append("tracker=vma-common:release=count,cleaning=skip,order=check-first")

    def explore(scenario: str, design: str, **_):
        return verdict(scenario, design, {"stall": reached(4 + len(design))} if "flag" in design else {})

    groups = matrix.grouped(build(*rows, explore=explore))
    assert list(groups) == [
        "v4.17",
        "bias, pincount: skip, wait; vma-common count: skip (check-first)",
        "flag: skip, wait",
    ]
    assert [design for members in groups.values() for design in members] == [*rows[:5], rows[-1], *rows[5:7]]


def test_figures_and_texts(counted):
    found = build("v4.17", "hubbard-v1", BIAS)
    assert matrix.letters(PLACES) == {"golden-race": "g", "wide-map": "w", "fork-cow": "f"}
    for chart in (matrix.hazards_chart, matrix.criteria_chart):
        figure, text = chart(found)
        assert isinstance(figure, charts.Chart)
        assert max(map(len, text.splitlines())) <= 72
        assert all(name in text for name in ("v4.17", "hubbard-v1", "bias: skip/wait"))
    _, text = matrix.hazards_chart(found, ["v4.17"])
    assert "bias" not in text
    row = next(line for line in text.splitlines() if line.startswith("v4.17"))
    worst = found.worst[found.worst["design"] == "v4.17"]
    reachable = [f"{r.depth}{r.scenario[0]}*" for r in worst.itertuples() if r.verdict == "reachable"]
    assert reachable and row.split()[1:] == reachable


def test_unknown_is_never_shown_as_safe(counted):
    found = build("v4.17", explore=saying({"wide-map": {"stall": HazardVerdict("unknown", reason="stopped")}}))
    figure, text = matrix.hazards_chart(found)
    assert next(line for line in text.splitlines() if line.startswith("v4.17")).split() == ["v4.17", "?"]
    assert found.to_json()["designs"]["v4.17"]["hazards"]["stall"]["verdict"] == "unknown"
    assert "| unknown |" in matrix.markdown(found)


def test_markdown_says_where_and_on_what(counted):
    found = build("v4.17", explore=saying({"wide-map": {"stall": reached(7, "a=1", "b=2")}}))
    first, second = matrix.markdown(found).strip().split("\n\n")
    assert first.splitlines()[0] == "| design | " + " | ".join(HAZARDS) + " |"
    assert "| reachable (wide-map, 7 steps) if a=1, b=2 |" in first
    assert second.splitlines()[0] == "| design | " + " | ".join(matrix.CRITERIA) + " |"
    assert len({line.count("|") for line in first.splitlines()}) == 1


def test_wrong_words():
    with pytest.raises(UsageError, match="no scenario 'wide-mop': did you mean 'wide-map'"):
        build("v4.17", places=["wide-mop"])
    with pytest.raises(UsageError, match="design 'v4.18': did you mean 'v4.17'"):
        build("v4.18")
    with pytest.raises(UsageError, match="--jobs 0: 1 or more"):
        matrix.build(["v4.17"], jobs=0)


def test_a_page_lock_needs_no_bit_of_its_own():
    assert matrix._no_bits_of_its_own("viro-page-lock") == {"PG_dma_pinned", "PG_waiters"}
    assert matrix._no_bits_of_its_own("hubbard-v1") == {"PG_waiters"}
