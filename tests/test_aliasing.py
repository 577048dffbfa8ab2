"""What LLVM is told of loads and stores: enough to spare some, and nothing that is not so."""

import re
from typing import NamedTuple

import numpy as np
import pytest
from numba.core.cgutils import get_record_member, ir

from workbench.accelerate import at, driver_uncached, jit
from workbench.aliasing import tell_types
from workbench.pointed import pointed

ROW = np.dtype([("small", np.int32), ("other", np.int32), ("large", np.int64)])
OTHER = np.dtype([("small", np.int32), ("other", np.int32), ("large", np.int64), ("more", np.int64)])
I32, I64 = ir.IntType(32), ir.IntType(64)


class Things(NamedTuple):
    rows: np.ndarray
    others: np.ndarray
    counts: np.ndarray


def things():
    return Things(np.array([(1, 2, 3), (4, 5, 6)], ROW), np.array([(1, 2, 3, 4)], OTHER), np.zeros(4, np.int64))


def marks(build):
    """Marks of the loads and stores of a function that ``build`` writes, in their order; None: it has none."""
    module = ir.Module()
    record = ir.ArrayType(ir.IntType(8), 16).as_pointer()
    larger = ir.ArrayType(ir.IntType(8), 24).as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [record, larger, I64.as_pointer()]), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    build(builder, *function.args)
    builder.ret_void()
    tell_types(module)
    found = [i for i in function.blocks[0].instructions if i.opname in ("load", "store")]
    return [i.metadata["tbaa"] if "tbaa" in i.metadata else None for i in found]


def test_each_field_of_each_record_has_its_mark():
    def build(builder, row, larger, _):
        for record, offset, kind in ((row, 0, I32), (row, 4, I32), (row, 0, I32), (larger, 0, I32), (row, 8, I64)):
            builder.load(get_record_member(builder, record, offset, kind))
        builder.store(I32(0), get_record_member(builder, row, 4, I32))

    first, second, again, of_larger, large, stored = marks(build)
    assert first is again and second is stored
    assert len({id(m) for m in (first, second, of_larger, large)}) == 4 and None not in (first, of_larger)


def test_elements_are_marked_by_type_and_variables_not_at_all():
    def build(builder, _row, _larger, array):
        builder.load(builder.gep(array, [I64(1)]))
        builder.load(builder.gep(array, [I64(2)]))
        variable = builder.alloca(I64, 3)
        builder.load(builder.gep(variable, [I64(1)]))
        builder.store(I64(0), variable)

    one, two, *of_variable = marks(build)
    assert one is two and one is not None
    assert of_variable == [None, None]


@jit
def count_twice(row, counts):
    counts[0] += row["small"]
    counts[1] += row["small"]


def go(given):
    given = pointed(given)
    count_twice(at(given.rows, 1), given.counts)


@pytest.mark.jit_only
def test_a_field_that_no_store_can_have_changed_is_read_once():
    compiled, given = driver_uncached(go), things()
    compiled(given)
    assert given.counts.tolist() == [4, 4, 0, 0]
    (text,) = compiled.inspect_llvm().values()
    assert len(re.findall(r"= load i32, ptr .*!tbaa", text)) == 1


@jit
def write_and_read(given):
    """Stores and loads of the same place, by two ways that LLVM can't tell to be one."""
    found = np.int64(0)
    for i in range(2):
        row, same = given.rows[i], given.rows[1]
        row["small"] = 10 + i
        same["large"] = 100 + i
        found += same["small"] + 1000 * row["large"] + 7 * given.others[0]["small"]
        given.others[0]["small"] = found % 5
        given.counts[i] = found
        found += given.counts[1]
    return found


def by_pointer(given):
    return write_and_read(pointed(given))


def test_what_was_stored_is_what_is_read():
    given, plain = things(), things()
    assert driver_uncached(by_pointer)(given) == getattr(write_and_read, "py_func", write_and_read)(plain)
    for one, other in zip(given, plain, strict=True):
        assert one.tolist() == other.tolist()
