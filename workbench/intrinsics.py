"""What a processor can do and numba has no words for: addresses in words, fetching ahead, counting bits."""

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
        One-dimensional.
    index : int
        Of its elements; never negative.
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
