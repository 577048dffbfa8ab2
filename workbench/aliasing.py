"""What LLVM is told about memory: which loads and stores can't be of the same place, by what they are of.

Numba says nothing of it, so that LLVM has to take a store to a page's ``flags`` for one that may change a counter, or
the time, and reads these again after each. Here each load and store of a record's field is marked with the record's
size, the field's offset and its type, and that of an array's element with its type: marks that differ are of different
places (type-based alias analysis: LLVM Language Reference, "'tbaa' Metadata"). That holds as long as nothing reads an
array as if it were of another type: no function of a simulation makes a view. What compares or copies whole rows
(`intrinsics.same_row`, `copy_row`) has no mark, so that it may: `search.progress.registers_of` gives such a view.
"""

from typing import Any

from numba.core.cgutils import ir

_ROOT = "gup-pin-workbench"


def tell_types(module: ir.Module) -> None:
    """Mark the loads and stores of a module that are of fields of records, or of elements of arrays.

    Parameters
    ----------
    module : llvmlite.ir.Module
        As numba has translated it. What is neither, such as a function's own variables, stays unmarked: LLVM takes it
        for any place.
    """
    marks: dict[str, Any] = {}
    for function in module.functions:
        for block in function.blocks:
            for instruction in block.instructions:
                if isinstance(instruction, ir.LoadInstr):
                    name = _name(instruction.operands[0])
                elif isinstance(instruction, ir.StoreInstr):
                    name = _name(instruction.operands[1])
                else:
                    continue
                if name:
                    if name not in marks:
                        marks[name] = _mark(module, name)
                    instruction.set_metadata("tbaa", marks[name])


def _mark(module: ir.Module, name: str) -> Any:
    """Access tag of a type that is like no other: of that type, at its beginning."""
    kind = module.add_metadata([name, module.add_metadata([_ROOT])])
    return module.add_metadata([kind, kind, ir.Constant(ir.IntType(64), 0)])


def _name(address: Any) -> str:
    """What an address is of; empty: that can't be told."""
    kind = address.type.pointee
    if not isinstance(kind, (ir.IntType, ir.FloatType, ir.DoubleType)):
        return ""
    if isinstance(address, ir.GEPInstr):
        source = address.operands[0]
        if len(address.operands) == 2 and source.type.pointee == kind and not isinstance(source, ir.AllocaInstr):
            return f"element {kind}"
        return ""
    return _field(address, kind)


def _field(address: Any, kind: Any) -> str:
    """Name a field of a record: ``get_record_member`` of numba casts a place within a record's bytes."""
    if not (isinstance(address, ir.CastInstr) and address.opname == "bitcast"):
        return ""
    within = address.operands[0]
    if not (isinstance(within, ir.GEPInstr) and len(within.operands) == 3):
        return ""
    record, _, offset = within.operands
    size = record.type.pointee
    bytes_of_record = isinstance(size, ir.ArrayType) and size.element == ir.IntType(8)
    if not (bytes_of_record and isinstance(offset, ir.Constant)):
        return ""
    return f"{kind} at {offset.constant} of {size.count}"
