"""A named tuple of arrays, handed from one compiled function to the next as one pointer.

Numba passes a named tuple by value: each array in it is seven words, at each call. `pointed` writes the words that are
needed down once, and everything called with what it returns takes a pointer to them. The words never change, though the
arrays that they lead to may. The pointer must not outlive the function that made it, which makes one of each tuple.
"""

import hashlib
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.cgutils import ir
from numba.core.datamodel import models, register_default
from numba.core.errors import TypingError
from numba.core.imputils import impl_ret_borrowed
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic

from workbench.accelerate import JIT_ENABLED

_WORD = ir.IntType(64)


class Pointed(types.Type):
    """Type of a pointer to the words of a named tuple.

    Parameters
    ----------
    fields : numba.types.BaseNamedTuple
        Of arrays, 64-bit integers, and other such tuples.
    """

    def __init__(self, fields: types.BaseNamedTuple) -> None:
        self.fields = fields
        # A short name: it is part of the name of every function that takes it.
        digest = hashlib.sha256(str(fields).encode()).hexdigest()[:12]
        super().__init__(name=f"{fields.instance_class.__name__}_{digest}")


@register_default(Pointed)
class _PointedModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _WORD.as_pointer())


@infer_getattr
class _PointedFields(AttributeTemplate):
    key = Pointed

    def generic_resolve(self, kind: Pointed, name: str) -> Any:
        if name not in kind.fields.fields:
            return None
        found = kind.fields[kind.fields.fields.index(name)]
        return Pointed(found) if isinstance(found, types.BaseNamedTuple) else found


def _words(kind: types.Type) -> int:
    """Words that a field takes: an array's are its address, its lengths, and its strides."""
    if isinstance(kind, types.BaseNamedTuple):
        return sum(map(_words, kind))
    return 1 + 2 * kind.ndim if isinstance(kind, types.Array) else 1


def _check(kind: types.Type) -> None:
    if isinstance(kind, types.BaseNamedTuple):
        for field in kind:
            _check(field)
    elif not (isinstance(kind, types.Array) or (isinstance(kind, types.Integer) and kind.bitwidth == 64)):
        raise TypingError(f"pointed takes arrays, 64-bit integers, and named tuples of these; not a field of {kind}")


def _store(context: Any, builder: Any, kind: types.Type, value: Any, words: Any, first: int) -> None:
    """Write a field's words from number ``first`` on."""
    if isinstance(kind, types.BaseNamedTuple):
        for i, field in enumerate(kind):
            _store(context, builder, field, builder.extract_value(value, i), words, first)
            first += _words(field)
        return
    told = [value]
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        told = [builder.ptrtoint(array.data, _WORD)]
        told += cgutils.unpack_tuple(builder, array.shape) + cgutils.unpack_tuple(builder, array.strides)
    for i, word in enumerate(told):
        builder.store(word, builder.gep(words, [ir.Constant(_WORD, first + i)]))


def _load(context: Any, builder: Any, kind: types.Type, words: Any, first: int) -> Any:
    """Read a field back; nothing writes to the words once they are handed out."""

    def word(i: int) -> Any:
        read = builder.load(builder.gep(words, [ir.Constant(_WORD, first + i)]))
        read.set_metadata("invariant.load", builder.module.add_metadata([]))
        return read

    if not isinstance(kind, types.Array):
        return word(0)
    array = context.make_array(kind)(context, builder)
    shape = [word(1 + i) for i in range(kind.ndim)]
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    nitems = shape[0]
    for length in shape[1:]:
        nitems = builder.mul(nitems, length, flags=["nsw"])
    if kind.layout == "C":  # strides follow from the lengths
        strides = [size]
        for length in reversed(shape[1:]):
            strides.insert(0, builder.mul(strides[0], length, flags=["nsw"]))
    else:
        strides = [word(1 + kind.ndim + i) for i in range(kind.ndim)]
    nothing = cgutils.get_null_value(array.meminfo.type)
    array.data = builder.inttoptr(word(0), array.data.type)
    array.shape = cgutils.pack_array(builder, shape)
    array.strides = cgutils.pack_array(builder, strides)
    array.itemsize = size
    array.nitems = nitems
    array.meminfo = nothing
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()


@lower_getattr_generic(Pointed)
def _get(context: Any, builder: Any, kind: Pointed, words: Any, name: str) -> Any:
    position = kind.fields.fields.index(name)
    first = sum(_words(field) for field in list(kind.fields)[:position])
    field = kind.fields[position]
    if isinstance(field, types.BaseNamedTuple):
        return builder.gep(words, [ir.Constant(_WORD, first)])
    return impl_ret_borrowed(context, builder, field, _load(context, builder, field, words, first))


@intrinsic
def _pointed(_context: Any, fields: types.BaseNamedTuple) -> Any:
    if not isinstance(fields, types.BaseNamedTuple):
        return None
    _check(fields)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = cgutils.alloca_once(builder, _WORD, size=_words(fields))
        _store(context, builder, fields, arguments[0], words, 0)
        # Opaque to the optimiser, which could otherwise see that the words that never change were written here.
        same = ir.FunctionType(words.type, [words.type])
        return builder.asm(same, "", "=r,0,~{memory}", [words], side_effect=True)

    return Pointed(fields)(fields), generate


def pointed(fields):
    """Hand out a pointer to a named tuple; outside of compiled code, the tuple itself."""
    return fields


if JIT_ENABLED:  # not through a function: what is inlined gives its memory back where it ends
    pointed = _pointed
