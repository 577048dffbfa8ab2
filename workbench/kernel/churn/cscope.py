"""Types in a C file, as far as its own text tells: of variables where they are declared, of members, of functions."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import tree_sitter_c
from tree_sitter import Language, Node, Parser, Query, QueryCursor

C = Language(tree_sitter_c.language())
_DECLARATORS = {
    "init_declarator", "pointer_declarator", "array_declarator", "parenthesized_declarator", "attributed_declarator",
    "function_declarator",
}  # fmt: skip
_DEEPEST = 10  # structs in structs
_BLOCKS = {"compound_statement", "for_statement", "function_definition", "translation_unit"}


@cache
def parser() -> Parser:
    """A parser of this process."""
    return Parser(C)


@cache
def _query(text: str) -> Query:
    return Query(C, text)


def found(root: Node, text: str) -> list[Node]:
    """Nodes that a query calls ``@x``."""
    return QueryCursor(_query(text)).captures(root).get("x", [])


def text_of(node: Node) -> str:
    """The text of a node."""
    return (node.text or b"").decode("utf-8", "replace")


def type_name(node: Node | None) -> str | None:
    """Name of a type: the tag of a struct or union, else what is written; None where there is none."""
    if node is None:
        return None
    if node.type in ("struct_specifier", "union_specifier"):
        name = node.child_by_field_name("name")
        return text_of(name) if name else None
    if node.type == "type_descriptor":
        return type_name(node.child_by_field_name("type"))
    return text_of(node)


def declared_name(node: Node | None) -> Node | None:
    """The identifier that a declarator declares."""
    while node is not None and node.type in _DECLARATORS:
        node = node.child_by_field_name("declarator") or next(
            (c for c in node.named_children if c.type in _DECLARATORS or c.type.endswith("identifier")), None
        )
    return node if node is not None and node.type.endswith("identifier") else None


class _Declared(NamedTuple):
    start: int
    end: int
    type: str


class Scopes:
    """Variables of a file, each where it can be seen.

    Parameters
    ----------
    root : Node
        Of the file. Nothing is read before the first question.
    """

    def __init__(self, root: Node) -> None:
        self.root = root
        self._names: dict[str, list[_Declared]] | None = None

    def type_of(self, name: str, at: int) -> str | None:
        """Type of what a name means at a byte: by the innermost block that declares it; None where none does."""
        if self._names is None:
            self._names = {}
            for variable, declared in _variables(self.root):
                self._names.setdefault(variable, []).append(declared)
        seen = [d for d in self._names.get(name, []) if d.start <= at < d.end]
        return min(seen, key=lambda d: d.end - d.start).type if seen else None


def _variables(root: Node) -> Iterator[tuple[str, _Declared]]:
    for node in found(root, "[(declaration) (parameter_declaration)] @x"):
        kind = type_name(node.child_by_field_name("type"))
        block = _block(node)
        if kind is not None and block is not None:
            for declarator in node.children_by_field_name("declarator"):
                name = declared_name(declarator)
                if name is not None:
                    yield text_of(name), _Declared(block.start_byte, block.end_byte, kind)


def _block(node: Node) -> Node | None:
    """Where a declaration is seen: its block; a parameter, in its function, and that of a prototype nowhere."""
    parameter = node.type == "parameter_declaration"
    up = node.parent
    while up is not None and up.type not in _BLOCKS:
        if parameter and up.type in ("declaration", "field_declaration", "type_definition"):
            return None
        up = up.parent
    return up


def members(root: Node) -> Iterator[tuple[str, str, str]]:
    """Struct, member and the member's type, of all structs that a file defines.

    The type is the tag of a struct, "" for anything else. Members of an anonymous struct are those of the one around
    it; where it is a member itself, such as ``shared``, its type is ``vm_area_struct.shared``.
    """
    for node in found(root, "[(struct_specifier body: (_)) (union_specifier body: (_))] @x"):
        name = type_name(node) or _typedef_name(node)
        if name:
            yield from _members_of(node, name)


def _typedef_name(node: Node) -> str | None:
    if node.parent is None or node.parent.type != "type_definition":
        return None
    name = declared_name(node.parent.child_by_field_name("declarator"))
    return text_of(name) if name else None


def _members_of(struct: Node, name: str, depth: int = 0) -> Iterator[tuple[str, str, str]]:
    body = struct.child_by_field_name("body")
    for field in found(body, "(field_declaration) @x") if body and depth < _DEEPEST else []:
        if _owner_of(field) != body:
            continue
        kind = field.child_by_field_name("type")
        is_struct = kind is not None and kind.type in ("struct_specifier", "union_specifier")
        anonymous = is_struct and type_name(kind) is None
        names = [n for n in map(declared_name, field.children_by_field_name("declarator")) if n is not None]
        for member in map(text_of, names):
            inner = f"{name}.{member}" if anonymous else (type_name(kind) or "") if is_struct else ""
            yield name, member, inner
            if anonymous and kind is not None:
                yield from _members_of(kind, inner, depth + 1)
        if anonymous and not names and kind is not None:
            yield from _members_of(kind, name, depth + 1)


def _owner_of(field: Node) -> Node | None:
    """The member list that a member stands in, through ``#ifdef``."""
    up = field.parent
    while up is not None and up.type != "field_declaration_list":
        up = up.parent
    return up


def functions(root: Node) -> Iterator[tuple[str, str]]:
    """Functions that a file defines or declares, and the struct that each returns."""
    text = "(function_declarator declarator: (identifier)) @x"
    for node in found(root, text):
        up = node.parent
        while up is not None and up.type in _DECLARATORS:
            up = up.parent
        if up is not None and up.type in ("declaration", "function_definition"):
            kind = up.child_by_field_name("type")
            name = node.child_by_field_name("declarator")
            if name is not None and kind is not None and kind.type == "struct_specifier":
                yield text_of(name), type_name(kind) or ""
