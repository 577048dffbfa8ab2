"""What a processor can do and numba has no words for: addresses in words, fetching ahead, whole rows, counting bits."""

from functools import reduce

import numpy as np
from numba.core import types
from numba.core.cgutils import ir, voidptr_t
from numba.extending import intrinsic

from workbench.accelerate import JIT_ENABLED, inline

WORD = 8  # bytes: what a processor multiplies an index by while it loads


def _address(context, builder, array, data, word):
    """LLVM value: where a word of an array is."""
    made = context.make_array(array)(context, builder, data)
    return builder.gep(builder.bitcast(made.data, ir.IntType(8 * WORD).as_pointer()), [word])


@intrinsic
def _at_word(_context, array, word):
    def generate(context, builder, _signature, arguments):
        return context.unpack_value(builder, array.dtype, _address(context, builder, array, *arguments))

    return array.dtype(array, types.int64), generate


@inline
def at_word(array, word):
    """Row of a structured array that begins so many words after the array does.

    To go from row to row by such numbers takes one load each; by row numbers there is a multiplication before it, which
    makes a walk of a small tree take longer.

    Parameters
    ----------
    array : ndarray
        One-dimensional structured array, whose rows are whole words.
    word : int
        Of `WORD` bytes; a multiple of the row's words. Never negative.
    """
    if JIT_ENABLED:
        return _at_word(array, word)
    return array[word // (array.itemsize // WORD)]


def _fetch(context, builder, address):
    """LLVM call: fetch the cache line of an address without waiting for it."""
    told = [context.get_constant(types.int32, n) for n in (0, 3, 1)]  # to read; keep it; data
    takes = ir.FunctionType(ir.VoidType(), [voidptr_t, *(n.type for n in told)])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [voidptr_t], takes)
    builder.call(fetch, [builder.bitcast(address, voidptr_t), *told])
    return context.get_dummy_value()


@intrinsic
def _prefetch(_context, array, index):
    def generate(context, builder, signature, arguments):
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        return _fetch(context, builder, builder.gep(made.data, [arguments[1]]))

    return types.void(array, types.int64), generate


@intrinsic
def _prefetch_word(_context, array, word):
    def generate(context, builder, _signature, arguments):
        return _fetch(context, builder, _address(context, builder, array, *arguments))

    return types.void(array, types.int64), generate


@inline
def prefetch(array, index):
    """Fetch the cache line of ``array[index]``, which will be read soon, without waiting for it.

    Parameters
    ----------
    array : ndarray
        Contiguous.
    index : int
        Of its elements, counted row by row; never negative.
    """
    if JIT_ENABLED:
        _prefetch(array, index)


@inline
def prefetch_word(array, word):
    """Fetch the first cache line of the row that `at_word` gives, which may be read soon, without waiting for it.

    Parameters
    ----------
    array, word
        As of `at_word`.
    """
    if JIT_ENABLED:
        _prefetch_word(array, word)


_WIDTHS = (32, 16, 8, 4, 2, 1)  # bytes that are loaded at once, as a vector of bytes


def _pieces(context, builder, array, data, index):
    """LLVM values: pointers to a row's pieces, all as wide as each other; the last may overlap the one before it."""
    made = context.make_array(array)(context, builder, data)
    size = context.get_abi_sizeof(context.get_data_type(array.dtype))
    width = next(width for width in _WIDTHS if width <= size)
    row = builder.bitcast(builder.gep(made.data, [index]), voidptr_t)
    places = [*range(0, size - width, width), size - width]
    piece = ir.VectorType(ir.IntType(8), width).as_pointer()
    return [builder.bitcast(builder.gep(row, [ir.Constant(ir.IntType(64), place)]), piece) for place in places]


@intrinsic
def _same_row(_context, array, index, other, other_index):
    def generate(context, builder, signature, arguments):
        ours = _pieces(context, builder, signature.args[0], *arguments[:2])
        theirs = _pieces(context, builder, signature.args[2], *arguments[2:])
        pairs = zip(ours, theirs, strict=True)
        differ = [builder.xor(builder.load(one, align=1), builder.load(two, align=1)) for one, two in pairs]
        whole = ir.IntType(8 * differ[0].type.count)
        return builder.icmp_unsigned("==", builder.bitcast(reduce(builder.or_, differ), whole), ir.Constant(whole, 0))

    return types.boolean(array, types.int64, other, types.int64), generate


@intrinsic
def _copy_row(_context, array, index, other, other_index):
    def generate(context, builder, signature, arguments):
        ours = _pieces(context, builder, signature.args[0], *arguments[:2])
        theirs = _pieces(context, builder, signature.args[2], *arguments[2:])
        read = [builder.load(piece, align=1) for piece in theirs]
        for piece, value in zip(ours, read, strict=True):
            builder.store(value, piece, align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, other, types.int64), generate


@inline
def same_row(array, index, other, other_index):
    """Whether two rows are the same in every byte.

    Parameters
    ----------
    array, other : ndarray
        One-dimensional and contiguous, of one structured dtype.
    index, other_index : int
        Of a row of each; never negative.
    """
    if JIT_ENABLED:
        return _same_row(array, index, other, other_index)
    return array[index].tobytes() == other[other_index].tobytes()


@inline
def copy_row(array, index, other, other_index):
    """Set a row to what another one is, in every byte.

    Parameters
    ----------
    array, index, other, other_index
        As of `same_row`; ``array`` is written to.
    """
    if JIT_ENABLED:
        _copy_row(array, index, other, other_index)
    else:
        array[index] = other[other_index]


@intrinsic
def _ctlz(_context, word):
    def generate(_context, builder, _signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


@inline
def bit_length(value):
    """Bits that it takes to write a number down; 0 of 0.

    Parameters
    ----------
    value : int
        Never negative.
    """
    if JIT_ENABLED:
        return 64 - _ctlz(np.int64(value))
    return int(value).bit_length()
