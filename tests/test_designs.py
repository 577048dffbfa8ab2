"""Designs, policies and parameters as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import designs
from workbench.errors import UsageError
from workbench.mm import registers
from workbench.policies import CLEANING
from workbench.scenarios import direct_io
from workbench.scenarios.base import check_parameters
from workbench.simulate import SCENARIOS, simulate
from workbench.trackers.virtual_vma import COUNT, RIGHTMOST


def test_presets_have_sources_and_parse():
    assert designs.PRESETS.keys() == designs.PRESET_SOURCES.keys()
    for name in designs.PRESETS:
        assert designs.parse(name).name == name


def test_parts():
    design = designs.parse("tracker=vma-common:release=count:charge=rightmost,cleaning=skip/wait,order=check-first")
    assert design.tracker_name == "vma-common:release=count:charge=rightmost"
    assert (design.tracker.release, design.tracker.charge) == (COUNT, RIGHTMOST)
    assert (design.none, design.all, design.reclaim, design.isize) == ("skip", "wait", "ignore", "ignore")
    assert design.order == "check-first"


def test_a_single_policy_is_for_all():
    design = designs.parse("tracker=bias,cleaning=wait,reclaim=skip")
    assert (design.none, design.all, design.reclaim, design.isize) == ("wait", "wait", "skip", "wait")


@pytest.mark.parametrize(
    "text,says",
    [
        ("v4.71", "did you mean 'v4.17'"),
        ("tracker=bais", "did you mean 'bias'"),
        ("tracker=bias:release=split", "option 'release'"),
        ("tracker=vma-full:release=splt", "did you mean 'split'"),
        ("cleaning=skip", "it needs tracker=NAME"),
        ("tracker=bias,cleening=skip", "did you mean 'cleaning'"),
        ("tracker=bias,cleaning=skp", "did you mean 'skip'"),
        ("tracker=bias,cleaning=skip/wait/report", "A/B"),
        ("tracker=bias,tracker=none", "given twice"),
        ("tracker=bias,order=both", "write-protect-first"),
        ("tracker=bias,longterm=refus", "refuse"),
        ("", "design ''"),
        ("tracker=missing.py:Mine", "no such file"),
    ],
)
def test_wrong_designs(text, says):
    with pytest.raises(UsageError, match=".") as caught:
        designs.parse(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_design_or_a_usage_error(text):
    try:
        designs.parse(text)
    except UsageError as error:
        assert "\n" not in str(error).replace(repr(text), "")


@pytest.mark.parametrize(
    "given_parameters,says",
    [
        ({"qdd": 4}, "did you mean 'qd'"),
        ({"qd": 0}, "from 1 to 1024 direct IOs"),
        ({"qd": "many"}, "not a whole number"),
        ({"qd": 2.5}, "not a whole number"),
        ({"qd": True}, "not a whole number"),
        ({"latency_us": "nan"}, "out of range"),
        ({"latency_us": float("inf")}, "out of range"),
        ({"dio": "legcy"}, "did you mean 'legacy'"),
        ({"size_kib": 6}, "whole number of 4 KiB pages"),
        ({"trace": "no-such-file.csv"}, "no-such-file.csv"),
        ({"trace": "no-such-file.csv", "qd": 8}, "from the trace"),
    ],
)
def test_wrong_parameters(given_parameters, says):
    with pytest.raises(UsageError) as caught:
        simulate("direct-io", "v4.17", **given_parameters)
    assert says in str(caught.value)


def test_wrong_scenario_and_seed():
    with pytest.raises(UsageError, match="did you mean 'direct-io'"):
        simulate("direct-oi")
    with pytest.raises(UsageError, match="seed"):
        simulate("golden-race", seed=-1)


def test_numbers_may_come_as_text():
    complete = check_parameters("direct-io", direct_io.PARAMETERS, {"qd": "8", "overlap": "0.5"})
    assert (complete["qd"], complete["overlap"]) == (8, 0.5)


def test_every_parameter_says_its_unit_and_range():
    for scenario in SCENARIOS.values():
        for parameter in scenario.PARAMETERS:
            assert parameter.help
            number = isinstance(parameter.default, (int, float))
            assert (parameter.low is not None and parameter.high is not None) == number, parameter.name
            assert parameter.check(parameter.default) == parameter.default


def test_registers_are_numbered_as_they_are_listed():
    names = [*registers.COUNTERS, *registers.REGISTERS]
    assert [getattr(registers, name) for name in names] == list(range(len(names)))
    assert [getattr(registers, name) for name in registers.HISTOGRAMS] == list(range(len(registers.HISTOGRAMS)))


def test_policies_are_numbered_as_they_are_listed():
    from workbench import policies

    assert CLEANING.keys() == policies.CLEANING_SOURCES.keys()
    assert [getattr(policies, name.upper().replace("-", "_")) for name in CLEANING] == list(range(len(CLEANING)))


def test_what_becomes_of_a_lease_needs_leases():
    with pytest.raises(UsageError, match="about longterm=lease"):
        designs.parse("tracker=bias,lease=fail")
    assert designs.parse("tracker=bias,longterm=notifier+lease,lease=fail").lease == "fail"
