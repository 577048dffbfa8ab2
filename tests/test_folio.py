"""Pins of a folio's pages add up on its head: published overflows, and what can be worked out."""

import numpy as np
import pytest

from workbench import anchors, designs
from workbench.accelerate import JIT_ENABLED
from workbench.mm import folio
from workbench.mm.folio import pins_until_overflow


def tracker(name, **changed):
    return designs.parse_tracker(name)[1]._replace(**changed)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("anchor", anchors.OVERFLOWS, ids=lambda anchor: anchor.name)
def test_published_overflows(anchor):
    """As many full pins fit as there are below the published one; that one does not."""
    found = pins_until_overflow(tracker(anchor.tracker), anchor.subpages, 1, anchor.count_max)
    assert found.full_pins == anchor.at - 1
    assert found.subpage_pins == anchor.at * anchor.subpages - 1
    assert found.refcount == 1 + 1024 * (found.subpage_pins + 1) > anchor.count_max


def test_romanovskys_register_dump():
    """2019-12-22: a bias of 256, and a reference count of 0x80000001: the first pin that did not fit."""
    given = tracker("bias", bias=256 if JIT_ENABLED else 256 * 256)  # as plain Python, with fewer pins
    assert pins_until_overflow(given, 512, 1, anchors.SIGNED).refcount == 0x80000001


@pytest.mark.parametrize("name", ["bias", "pincount", "none", "flag", "lru-count"])
@pytest.mark.parametrize("subpages", [1, 8, 512])
@pytest.mark.parametrize("references", [1, 700])
def test_where_a_smaller_count_runs_over(name, subpages, references):
    """One reference for each pin, or a bias; what is there before takes room."""
    each = 1024 if name == "bias" else 1
    most = 2**21 - 1 if name == "bias" else 5000
    found = pins_until_overflow(tracker(name), subpages, references, most)
    fits = (most - references) // each
    assert (found.subpage_pins, found.full_pins) == (fits, fits // subpages)
    assert found.refcount == references + each * (fits + 1)
    assert found.pincount == (fits + 1 if name == "pincount" else 0)


def test_an_exact_count_leaves_a_thousand_times_the_room():
    bias, exact = (pins_until_overflow(tracker(name), 8, 1, 2**17 - 1).full_pins for name in ("bias", "pincount"))
    assert (exact + 1) == 1024 * (bias + 1)


def test_counts_are_wide():
    assert set(folio.WIDE_PAGE.names) == set(folio.PAGE.names)
    assert all(folio.WIDE_PAGE[name] == np.int64 for name in folio.WIDE_PAGE.names)
