"""Shares of false pins: the real test over pages, against formulas and against a plain count."""

import math

import numpy as np
import pytest

from workbench import designs, false_pins
from workbench.accelerate import JIT_ENABLED
from workbench.mm.page import GUP_PIN_COUNTING_BIAS

PAGES = 100_000 if JIT_ENABLED else 4096
MERGED, SUBTRACTED = (designs.parse_tracker(f"bias{option}")[1] for option in ("", ":subtract_mapcount=yes"))


@pytest.mark.parametrize("plain", [0, 5, 1022])
@pytest.mark.parametrize("processes", [100, 1500, 2048, 4000, 100_000])
@pytest.mark.parametrize("shape", false_pins.SHAPES)
def test_counted_agrees_with_the_formula(shape, processes, plain):
    mapcounts = false_pins.draw_mapcounts(shape, processes, PAGES - PAGES % 512, np.random.default_rng(7))
    counted = false_pins.count_false(MERGED, mapcounts, plain) / len(mapcounts)
    share = false_pins.share_false(shape, processes, False, plain)
    assert counted == np.mean(mapcounts + 1 + plain >= 1024)
    room = 0.0 if shape == "zipf" else 4.5 * math.sqrt(share * (1 - share) / len(mapcounts))
    assert abs(counted - share) <= room + (1e-12 if shape == "zipf" else 10 / len(mapcounts))
    assert false_pins.count_false(SUBTRACTED, mapcounts, plain) == 0 == false_pins.share_false(shape, processes, True)


def test_the_first_page_that_looks_pinned():
    """The page cache and 1023 mappings are 1024 references."""
    assert false_pins.count_false(MERGED, np.array([1022, 1023, 1024])) == 2
    assert false_pins.count_false(SUBTRACTED, np.array([1022, 1023, 1024, 10**6])) == 0


def test_plain_references_fool_both():
    """What is no mapping is not taken off: 1023 of them, and the page cache's."""
    mapcounts = np.array([0, 1, 500])
    assert [false_pins.count_false(SUBTRACTED, mapcounts, n) for n in (1022, 1023)] == [0, 3]
    assert [false_pins.share_false("zipf", 1, True, n) for n in (1022, 1023)] == [0.0, 1.0]
    assert false_pins.count_false(MERGED, mapcounts, 1022) == 2


def test_shares_of_mapped_pages_by_hand():
    assert false_pins.share_mapped("zipf", 1024, 1024) == 1 / false_pins.LIBRARY_PAGES
    assert false_pins.share_mapped("zipf", 10**9, 1024) == 1.0
    assert false_pins.share_mapped("lognormal", 1022, 1023) == 0 < false_pins.share_mapped("lognormal", 1023, 1023)
    assert false_pins.share_mapped("poisson", 4, 1) == pytest.approx(1 - math.exp(-2))
    assert false_pins.share_mapped("poisson", 4, 3) == pytest.approx(1 - 5 * math.exp(-2))
    assert false_pins.share_mapped("lognormal", 1000, 100) == pytest.approx(0.5)
    assert false_pins.share_mapped("lognormal", 1000, round(100 * math.exp(1.5))) == pytest.approx(0.1587, abs=1e-3)


def test_the_bias_is_the_merged_one():
    assert MERGED.bias == GUP_PIN_COUNTING_BIAS == 1024
