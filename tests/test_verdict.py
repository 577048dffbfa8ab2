"""Verdicts: what they say, and in which form."""

import dataclasses
import json

import pytest
from verdicts import CRASH, HAZARDS, reached, verdict

from workbench.verdict import HazardVerdict

FOUND = verdict(
    "golden-race",
    "v4.17",
    {
        "bufferless-dirty": reached(14, "stable_pages=1"),
        "stall": HazardVerdict("unknown", reason="stopped at 1234 states"),
        "false-pin": HazardVerdict("not applicable", reason="no page is mapped often"),
    },
    waits=(("dio/0", "the page lock"),),
    ends={"good": 3, "bug": 1},
    steps={"dio.gup_take": 7},
    provenance={"version": "1"},
)


def test_json_has_what_was_agreed():
    told = json.loads(json.dumps(FOUND.to_json(), allow_nan=False))
    agreed = {"scenario", "design", "complete", "states", "transitions", "depth", "hazards", "provenance"}
    assert agreed <= set(told)
    assert list(told["hazards"]) == list(HAZARDS)
    for hazard in told["hazards"].values():
        assert {"verdict", "depth", "trace", "conditional"} <= set(hazard)
    crash = told["hazards"]["bufferless-dirty"]
    assert (crash["verdict"], crash["depth"], crash["conditional"]) == ("reachable", 14, ["stable_pages=1"])
    assert [(s["actor"], s["step"], s["page"], s["state"]) for s in crash["trace"]] == [
        (s.actor, s.step, s.page, s.state) for s in CRASH
    ]
    assert crash["schedule"][0] == ["dio/0", "io_submit", -1, 0]
    assert told["waits"] == [["dio/0", "the page lock"]] and told["ends"] == {"good": 3, "bug": 1}


def test_what_a_search_took_is_in_nothing_that_is_compared():
    slow = dataclasses.replace(FOUND, seconds=99.0, bytes_per_state=1.0)
    assert slow.to_json() == FOUND.to_json()
    assert slow.row() == FOUND.row()
    assert slow.to_frame().equals(FOUND.to_frame())
    assert "99.0 s" in slow._repr_html_()


def test_frame_and_row():
    frame = FOUND.to_frame().set_index("hazard")
    assert list(frame.index) == list(HAZARDS)
    assert frame.loc["bufferless-dirty", ["verdict", "depth", "conditional"]].tolist() == [
        "reachable",
        14,
        "stable_pages=1",
    ]
    assert frame["depth"].isna().sum() == 3
    assert frame.loc["stall", "reason"] == "stopped at 1234 states"
    row = FOUND.row()
    assert (row["states"], row["missed-pin"], row["false-pin"]) == (1234, "unreachable", "not applicable")


def test_html_and_summary():
    text = dataclasses.replace(FOUND, design="tracker=<x>")._repr_html_()
    assert "&lt;x&gt;" in text and "<x>" not in text
    assert "1.5 s, 64 bytes per state" in text and "<table" in text
    assert FOUND.summary() == "all states, reduced: 1234 states, 5678 transitions, depth 90"
    assert dataclasses.replace(FOUND, complete=False).summary().startswith("stopped at a limit")
    walks = dataclasses.replace(FOUND, complete=False, states=0)
    assert walks.summary() == "random walks: 5678 steps, 90 in the longest"


def test_there_are_four_verdicts():
    with pytest.raises(ValueError, match="verdict 'safe': there are reachable, unknown"):
        HazardVerdict("safe")
