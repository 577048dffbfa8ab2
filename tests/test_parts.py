"""Parts and wholes, and named tuples that go by pointer."""

from typing import NamedTuple

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from workbench.accelerate import at, driver_uncached, inline, jit, step
from workbench.pointed import pointed

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
