"""Parts and wholes, and named tuples that go by pointer."""

from typing import NamedTuple

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from workbench import designs
from workbench.accelerate import at, driver_uncached, inline, jit, step
from workbench.pointed import pointed
from workbench.scenarios.base import EMPTY_PLAN, new_world
from workbench.trackers.protocol import is_pinned, pin, unpin

ROW = np.dtype([("x", np.int32), ("y", np.int64)])


class Inner(NamedTuple):
    rows: np.ndarray
    count: int


class Outer(NamedTuple):
    line: np.ndarray
    table: np.ndarray
    every_second: np.ndarray
    inner: Inner
    last: int


def outer():
    rows = np.array([(1, 10), (2, 20), (3, 30)], ROW)
    table = np.arange(6, dtype=np.int64).reshape(3, 2)
    return Outer(np.arange(4), table, np.arange(10)[::2], Inner(rows, 7), -5)


@inline
def cell(table, i, k):
    return table[i, k]


@step
def add_up(things, scale):
    total = np.int64(0)
    for i in range(len(things.line)):
        total += things.line[i] * scale
    for i in range(things.table.shape[0]):
        for k in range(things.table.shape[1]):
            total += 10 * cell(things.table, i, k) * scale
    for value in things.every_second:
        total += 100 * value * scale
    return total + rows(things.inner) * scale


@jit
def rows(inner):
    total = np.int64(inner.count * 1000)
    for i in range(len(inner.rows)):
        row = at(inner.rows, i)
        total += row["x"] * 10_000 + row["y"] * 100_000
        row["y"] += 1
    return total


def everything(things, scale):
    things = pointed(things)
    return add_up(things, scale) + things.last


ONCE = 6 + 150 + 2000 + 7000 + 60_000 + 6_000_000


def test_fields_by_pointer_are_the_tuples():
    things = outer()
    assert driver_uncached(everything)(things, 2) == 2 * ONCE - 5
    assert things.inner.rows["y"].tolist() == [11, 21, 31], "written through the pointer"


def test_a_part_can_be_called_from_python_and_from_any_compiled_function():
    assert add_up(outer(), 3) == 3 * ONCE
    assert rows(outer().inner) == 7000 + 60_000 + 6_000_000

    @numba.njit
    def of_somebody_else(things):
        return add_up(things, 1) + add_up(things, 1)

    assert of_somebody_else(outer()) == 2 * ONCE + 300_000

    @numba.njit
    def of_parts_that_share_one(log):
        return innermost(log, 1) + middle(log, 1) + has_use_for_it(log, 1)

    assert of_parts_that_share_one(np.zeros(9, np.int64)) == 2 + 3 + 4


@pytest.mark.parametrize("seed", range(3))
def test_a_part_called_from_python_gives_what_numpy_does(seed):
    rng = np.random.default_rng(seed)
    line, table = rng.integers(-9, 9, 6), rng.integers(-9, 9, (seed, 3))
    given = outer()._replace(line=line, table=table, every_second=line[::-2])
    for _ in range(2):
        x, y = (given.inner.rows[name].astype(np.int64) for name in ("x", "y"))
        of_rows = 7000 + (x * 10_000 + y * 100_000).sum()
        assert rows(given.inner) == of_rows and given.inner.rows["y"].tolist() == (y + 1).tolist()
        of_arrays = line.sum() + 10 * table.sum() + 100 * line[::-2].sum()
        assert add_up(given, 7) == 7 * (of_arrays + of_rows + 300_000)
    assert [[cell(table, i, k) for k in range(3)] for i in range(seed)] == table.tolist()


@inline
def note(log, word):
    log[0] += 1
    log[log[0]] = word


@jit
def innermost(log, word):
    note(log, 10 + word)
    return word + 1


@step
def middle(log, word):
    note(log, 20 + word)
    return innermost(log, innermost(log, word))


def outermost(log, word):
    for _ in range(2):
        word = middle(log, word)
    return innermost(log, word)


@pytest.mark.parametrize("kind", [np.int64, np.int32])
def test_a_part_calls_a_part_each_in_its_turn(kind):
    for start in (0, np.int32(0)):  # the same parts with other types, in one process
        log = np.zeros(9, kind)
        assert driver_uncached(outermost)(log, start) == 5
        assert log.tolist() == [7, 20, 10, 11, 22, 12, 13, 14, 0]


@jit
def may_have_no_use_for_it(log, word):
    """Calls a function of numba's own where LLVM sees that it never will."""
    never = 0
    if never > word * word:
        return max(word, log[0])
    return word


@jit
def has_use_for_it(log, word):
    return max(word, log[0])


def first_without_use(log, word):
    return may_have_no_use_for_it(log, word) + 10 * has_use_for_it(log, word)


def test_a_function_of_numba_is_there_for_whoever_calls_it():
    """Also where the first part that names it does not call it any more once it is simplified."""
    assert driver_uncached(first_without_use)(np.array([7]), 5) == 75


def test_a_part_that_others_share_is_one_in_each_whole():
    """In one that calls it at first hand, in one that does so through another part too, and in both of them again."""

    def directly(log):
        return innermost(log, 1)

    def both_ways(log):
        return middle(log, innermost(log, 5))

    one, other = driver_uncached(directly), driver_uncached(both_ways)
    for _ in range(2):
        log = np.zeros(9, np.int64)
        assert (one(log), other(log), one(log)) == (2, 8, 2)
        assert log.tolist() == [6, 11, 15, 26, 16, 17, 11, 0, 0]


@pytest.mark.jit_only
def test_a_part_is_translated_once_for_all_wholes():
    @step
    def shared(n):
        return n + 1

    assert driver_uncached(lambda n: shared(n) * 2)(3) == 8
    translated = list(shared.overloads.values())
    assert driver_uncached(lambda n: shared(n) * 3)(3) == 12
    assert len(translated) == 1 and list(shared.overloads.values())[0] is translated[0]


OWN = """
from typing import NamedTuple
from workbench.accelerate import jit, step
from workbench.mm.page import page_of
from workbench.trackers.protocol import implements


class Mine(NamedTuple):
    when: int = 1
    lock: int = 0
    each: int = 1


@jit
def pins(world, page):
    return page_of(world, page)["_pincount"]


@step
def more(tracker, world, page, n):
    page_of(world, page)["_pincount"] += n * tracker.each
    return pins(world, page)


@implements(Mine)
def pin(tracker, world, page):
    more(tracker, world, page, 1)


@implements(Mine)
def unpin(tracker, world, page, handle):
    more(tracker, world, page, -1)


@implements(Mine)
def is_pinned(tracker, world, page):
    return pins(world, page) > 0
"""


def twice_and_once(tracker, world):
    """Pin a page twice and unpin it once: a flag forgets, a count does not."""
    pin(tracker, world, 0)
    pin(tracker, world, 0)
    unpin(tracker, world, 0, -1)
    return is_pinned(tracker, world, 0)


def test_a_tracker_of_a_users_file_is_of_parts_too(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    counts = []
    for name in (f"{tmp_path}/mine.py:Mine", f"{tmp_path}/mine.py:Mine:each=3", "flag"):
        size = {"pages": 1, "nodes": 1, "bios": 1, "dios": 1, "cpus": 1, "submitters": 1}
        world, _ = new_world(**size, plan=EMPTY_PLAN, ios=0)
        found = driver_uncached(twice_and_once)(designs.parse_tracker(name)[1], world)
        counts.append((bool(found), int(world.page[0]["_pincount"])))
    assert counts == [(True, 1), (True, 3), (False, 0)]


@step
def refuse(n):
    if n > 2:
        raise ValueError("too many")
    return n


def test_an_exception_of_a_part_reaches_python():
    @driver_uncached
    def ask(n):
        return refuse(n)

    assert ask(2) == 2
    with pytest.raises(ValueError, match="too many"):
        ask(3)


@pytest.mark.jit_only
def test_what_a_part_calls_is_linked_once_and_kept_from_others():
    whole = driver_uncached(everything)
    whole(outer(), 1)
    text = whole.inspect_llvm(whole.signatures[0])
    defined = [line for line in text.splitlines() if line.startswith("define") and "test_parts" in line]
    assert not [line for line in defined if "add_up" in line or "cell" in line], "inlined where it is called once"


class Wrong(NamedTuple):
    share: float


@pytest.mark.jit_only
def test_only_whole_numbers_and_arrays_go_by_pointer():
    def read(wrong):
        return pointed(wrong).share

    with pytest.raises(TypingError, match="64-bit integers"):
        driver_uncached(read)(Wrong(0.5))


@pytest.mark.jit_only
def test_a_field_that_is_not_there_is_named():
    def read(things):
        return pointed(things).nothing

    with pytest.raises(TypingError, match="Unknown attribute 'nothing' of type Outer_"):
        driver_uncached(read)(outer())
