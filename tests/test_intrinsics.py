"""What is said to LLVM in its own words does what it says."""

import numpy as np
import pytest

from workbench.accelerate import jit
from workbench.intrinsics import copy_row, same_row


@jit
def same(array, index, other, other_index):
    return same_row(array, index, other, other_index)


@jit
def copy(array, index, other, other_index):
    copy_row(array, index, other, other_index)


@pytest.mark.parametrize("size", [1, 4, 7, 32, 33, 48, 60, 64, 160, 176])
def test_rows_are_compared_and_copied_in_every_byte(size):
    """Sizes are those of the model's rows, and some at which pieces overlap; what lies beside a row is not touched."""
    rng = np.random.default_rng(size)
    kind = np.dtype([("bytes", np.uint8, size)])
    array = rng.integers(0, 256, 3 * size, np.uint8).view(kind)
    other = array[::-1].copy()
    assert same(array, 0, other, 2) and same(array, 1, other, 1)
    for byte in range(size):
        other["bytes"][1, byte] ^= 1 << byte % 8
        assert not same(array, 1, other, 1)
        copy(array, 1, other, 1)
        assert same(array, 1, other, 1)
    assert same(array, 0, other, 2) and same(array, 2, other, 0)
