"""Bitmaps: one bit per page in 64-bit words, a row for each property; operations on runs of pages.

As the xarray's marks (v6.12 include/linux/xarray.h, XA_CHUNK_SIZE 64), but flat: a look for the next mark goes over
64 pages at a time, and what knows that nothing is marked (the count of an inode's dirty pages) saves the look.
"""

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from workbench.accelerate import JIT_ENABLED, inline, jit

WORD = 64
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_ALL = np.uint64(2**64 - 1)


@intrinsic
def _ctpop(_context, word):
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@inline
def ones(word):
    """How many bits of a word are set."""
    if JIT_ENABLED:
        return np.int64(_ctpop(word))
    return int(word).bit_count()


@inline
def lowest(word):
    """Number of the lowest bit that is set, of a word that is not 0."""
    return ones(~word & (word - _ONE))


@inline
def _low(n):
    """A word whose ``n`` lowest bits are set."""
    return _ALL if n >= WORD else (_ONE << np.uint64(n)) - _ONE


@inline
def _mask(first, last, word):
    """Bits of the pages first..last in a word."""
    begin, end = max(first - word * WORD, 0), min(last - word * WORD, WORD - 1)
    return _low(end + 1) & ~_low(begin)


@inline
def test(bit, row, page):
    """Whether a page has the property."""
    return (bit[row, page >> 6] >> np.uint64(page & 63)) & _ONE != _ZERO


@jit
def fill(bit, row, first, n):
    """Set the bits of ``n`` pages."""
    last = first + n - 1
    for w in range(first >> 6, (last >> 6) + 1):
        bit[row, w] |= _mask(first, last, w)


@jit
def wipe(bit, row, first, n):
    """Clear the bits of ``n`` pages."""
    last = first + n - 1
    for w in range(first >> 6, (last >> 6) + 1):
        bit[row, w] &= ~_mask(first, last, w)


@jit
def keep(bit, row, other, first, n):
    """Clear the bits of those of ``n`` pages that lack the property ``other``."""
    last = first + n - 1
    for w in range(first >> 6, (last >> 6) + 1):
        bit[row, w] &= bit[other, w] | ~_mask(first, last, w)


@jit
def merge(bit, row, other, first, n):
    """Set the bits of those of ``n`` pages that have the property ``other``."""
    last = first + n - 1
    for w in range(first >> 6, (last >> 6) + 1):
        bit[row, w] |= bit[other, w] & _mask(first, last, w)


@jit
def count(bit, row, first, n):
    """How many of ``n`` pages have the property."""
    found = 0
    last = first + n - 1
    for w in range(first >> 6, (last >> 6) + 1):
        found += ones(bit[row, w] & _mask(first, last, w))
    return found


@jit
def count_without(bit, row, other, first, n):
    """How many of ``n`` pages have the property ``row`` and lack ``other``."""
    found = 0
    last = first + n - 1
    for w in range(first >> 6, (last >> 6) + 1):
        found += ones(bit[row, w] & ~bit[other, w] & _mask(first, last, w))
    return found


@jit
def next_set(bit, row, first, end):
    """First page of first..end-1 that has the property; ``end``: none."""
    return _next(bit, row, first, end, _ZERO)


@jit
def next_clear(bit, row, first, end):
    """First page of first..end-1 that lacks the property; ``end``: none."""
    return _next(bit, row, first, end, _ALL)


@inline
def _next(bit, row, first, end, flip):
    if first >= end:
        return end
    w = first >> 6
    word = (bit[row, w] ^ flip) & ~_low(first & 63)
    while word == _ZERO:
        w += 1
        if w * WORD >= end:
            return end
        word = bit[row, w] ^ flip
    return min(w * WORD + lowest(word), end)


@jit
def equal_run(bit, tag, a, b, first, most):
    """How many pages from ``first`` on have ``tag``, and agree with it in ``a`` and ``b``; at most so many."""
    flip_a = _ZERO if test(bit, a, first) else _ALL
    flip_b = _ZERO if test(bit, b, first) else _ALL
    page, w = first, first >> 6
    while page - first < most and w < bit.shape[1]:
        other = ~(bit[tag, w] & (bit[a, w] ^ flip_a) & (bit[b, w] ^ flip_b)) & ~_low(page & 63)
        if other != _ZERO:
            page = w * WORD + lowest(other)
            break
        w += 1
        page = w * WORD
    return min(page - first, most)
