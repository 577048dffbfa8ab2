"""Where a C file uses the names of `names`, how, and of which struct: read off the syntax tree of tree-sitter.

The preprocessor is not run: both branches of an ``#ifdef`` are read, and the body of a macro once, where it is defined.
Some idioms of the kernel are written otherwise before parsing, byte for byte: see `cprepare`.
"""

import re
from typing import NamedTuple

from tree_sitter import Node

from workbench.kernel.churn import cscope, cuse, names
from workbench.kernel.churn.cprepare import prepared

_CONTINUED = re.compile(rb"\\(?=\r?\n)")
_ENTRY = re.compile(r"container_of|entry|ENTRY|for_?each|reset_next")
_NEIGHBOUR = r"list_(?:next|prev)_entry"  # (position, member): of the same type
_SAME_TYPE = re.compile(rf"^(READ_ONCE|rcu_dereference\w*|xchg|ACCESS_ONCE|unlikely|likely|{_NEIGHBOUR})$")
_TEXT = {"comment": "comment"} | dict.fromkeys(
    ("string_content", "string_literal", "char_literal", "character", "system_lib_string", "escape_sequence"), "string"
)
_CONDITIONAL = {"preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif", "preproc_elifdef"}


class Hit(NamedTuple):
    """One name in one file.

    Attributes
    ----------
    line : int
        From 1.
    name : str
    access : str
        Of a member ``read``, ``write``, ``update`` (``+=``, ``++``: both), ``address``; of a function ``call`` or,
        where it is only named, ``ref``; ``declaration``, ``definition``, ``comment``, ``string``; ``other`` is a word
        of the same spelling that is none of these.
    owner : tuple of str
        Of a member: where its struct comes from: a type, ``f()`` for what a function returns, or "" for what is not
        declared in the file; then the members that lead to it.
    macro, conditional, damaged : bool
        In the body of a macro; between ``#if`` and ``#endif``; where the parser found an error.
    grepped : bool
        A plain pattern finds it: ``->name`` or ``.name`` of a member, ``name(`` of a function, ``name`` of a constant.
    """

    line: int
    name: str
    access: str
    owner: tuple[str, ...] = ()
    macro: bool = False
    conditional: bool = False
    damaged: bool = False
    grepped: bool = False


class Source(NamedTuple):
    """What one file tells.

    Attributes
    ----------
    hits : list of Hit
    members : list of (str, str, str)
        As `cscope.members`, as far as types or names are of use.
    functions : list of (str, str)
        As `cscope.functions`.
    size, damaged : int
        Bytes; and of those that the parser could make nothing of.
    """

    hits: list[Hit]
    members: list[tuple[str, str, str]]
    functions: list[tuple[str, str]]
    size: int
    damaged: int


def read(text: bytes, header: bool = False) -> Source:
    """Read one C file.

    Parameters
    ----------
    text : bytes
        Any bytes.
    header : bool, optional
        An ``#ifndef`` at the top level is then the guard of the file, and no condition.

    Returns
    -------
    Source
    """
    ready = prepared(text)
    reader = _Reader(text, ready, header)
    root = reader.root
    kept = [(s, m, t) for s, m, t in cscope.members(root) if t or m in names.MEMBERS]
    bad = _outermost(cscope.found(root, "(ERROR) @x"))
    return Source(reader.hits(), kept, list(cscope.functions(root)), len(text), bad)


def _outermost(nodes: list[Node]) -> int:
    """Bytes in nodes that may lie in each other."""
    end, total = 0, 0
    for first, last in sorted((n.start_byte, n.end_byte) for n in nodes):
        total += max(0, last - max(first, end))
        end = max(end, last)
    return total


class _Reader:
    """The tree of a file or of a macro's body, and what is asked about it."""

    def __init__(self, text: bytes, ready: bytes, header: bool = False, depth: int = 0) -> None:
        self.text = text
        self.header = header
        self.depth = depth  # of macros in macros
        self.root = cscope.parser().parse(ready).root_node
        self.scopes = cscope.Scopes(self.root)
        self.bodies: dict[int, _Reader] = {}

    def hits(self) -> list[Hit]:
        wanted = {name for name, clue in names.COMMON.items() if clue.search(self.text)}
        found = []
        line, before = 1, 0
        for match in _PATTERN.finditer(self.text):
            name = match[0].decode()
            if name in names.COMMON and name not in wanted:
                continue
            line += self.text.count(b"\n", before, match.start())
            before = match.start()
            hit = self.hit(match.start(), name)
            found.append(hit._replace(line=line, grepped=self.is_grepped(name, match.start(), match.end())))
        return found

    def is_grepped(self, name: str, start: int, end: int) -> bool:
        if name in names.MEMBERS:
            return self.text[max(0, start - 1) : start] == b"." or self.text[max(0, start - 2) : start] == b"->"
        return name in names.FLAGS or self.text[end : end + 1] == b"("

    def hit(self, at: int, name: str) -> Hit:
        path = self.path(at)
        leaf = path[-1]
        conditional = any(self.is_condition(n, path[k - 1]) for k, n in enumerate(path) if n.type in _CONDITIONAL)
        damaged = any(n.is_error for n in path)
        if leaf.type == "preproc_arg" and self.depth < _DEEPEST:
            inside = self.body(leaf).hit(at - leaf.start_byte + len(_BEFORE), name)
            return inside._replace(macro=True, conditional=conditional, damaged=damaged or inside.damaged)
        access, owner = self.use(path, name)
        return Hit(0, name, access, owner, False, conditional, damaged)

    def path(self, at: int) -> list[Node]:
        """Nodes from the root to the leaf at a byte."""
        path, cursor = [self.root], self.root.walk()
        while cursor.goto_first_child_for_byte(at) is not None and cursor.node and cursor.node.start_byte <= at:
            path.append(cursor.node)
        return path

    def is_condition(self, node: Node, above: Node) -> bool:
        guard = self.header and above.type == "translation_unit" and self.text[node.start_byte :].startswith(b"#ifndef")
        return not guard

    def body(self, leaf: Node) -> "_Reader":
        """The body of a macro, read as statements; where that fails, as what may stand in a file."""
        if leaf.start_byte not in self.bodies:
            text = _CONTINUED.sub(b" ", self.text[leaf.start_byte : leaf.end_byte])
            inside = _Reader(_BEFORE + text, _BEFORE + prepared(text) + b"\n;}", depth=self.depth + 1)
            if inside.root.has_error:
                blank = b" " * len(_BEFORE)
                other = _Reader(blank + text, blank + prepared(text), depth=self.depth + 1)
                inside = inside if other.root.has_error else other
            self.bodies[leaf.start_byte] = inside
        return self.bodies[leaf.start_byte]

    def use(self, path: list[Node], name: str) -> tuple[str, tuple[str, ...]]:
        """How the leaf of a path is used, and of which struct it is a member."""
        leaf, above = path[-1], path[-2] if len(path) > 1 else path[-1]
        if any(n.type in _TEXT for n in path[-2:]):
            return next(_TEXT[n.type] for n in path[-2:] if n.type in _TEXT), ()
        if leaf.type == "while":
            return "call", ()
        if above.type in ("preproc_def", "preproc_function_def"):
            return "definition", ()
        if name in names.MEMBERS:
            return self.member(path, leaf, above)
        return self.function(path, leaf, above, name), ()

    # ---- members

    def member(self, path: list[Node], leaf: Node, above: Node) -> tuple[str, tuple[str, ...]]:
        if leaf.type == "field_identifier":
            if above.type == "field_expression":
                return cuse.access(path[:-1]), self.owner(above.child_by_field_name("argument"))
            if above.type in ("field_designator", "initializer_pair"):
                return "write", self.initialised(path)
            if above.type == "offsetof_expression":
                return "address", (cscope.type_name(above.child_by_field_name("type")) or "",)
            return "declaration", ()
        if leaf.type == "identifier":
            owner = self.of_entry(path, leaf)
            if owner is not None:
                return "address", owner
        return "other", ()

    def owner(self, node: Node | None) -> tuple[str, ...]:
        """Where the struct comes from that an expression is, or points to."""
        members: list[str] = []
        while node is not None:
            if node.type == "identifier":
                name = cscope.text_of(node)
                kind = self.scopes.type_of(name, node.start_byte) or _EVERYWHERE.get(name, "")
                return (kind, *reversed(members))
            if node.type in ("cast_expression", "compound_literal_expression"):
                return (cscope.type_name(node.child_by_field_name("type")) or "", *reversed(members))
            if node.type == "call_expression":
                node, kind = _returned(node)
                if node is None:
                    return (kind, *reversed(members))
            elif node.type == "parenthesized_expression":
                node = next(iter(node.named_children), None)
            else:
                member = node.child_by_field_name("field")
                members += [cscope.text_of(member)] if member is not None else []
                node = node.child_by_field_name(_INNER.get(node.type, "argument"))
        return ("", *reversed(members))

    def of_entry(self, path: list[Node], leaf: Node) -> tuple[str, ...] | None:
        """Where a macro such as list_entry() takes a member's name, its struct; None elsewhere."""
        call = next((n for n in reversed(path) if n.type in ("call_expression", "while_statement")), None)
        if call is None:
            return None
        word = self.text[call.start_byte : call.start_byte + 80].split(b"(")[0].decode("utf-8", "replace")
        if not _ENTRY.search(word):
            return None
        given = cuse.arguments(call)
        position = next((k for k, a in enumerate(given) if a.start_byte <= leaf.start_byte < a.end_byte), 0)
        inside = given[position] if given else leaf
        first = 1 if re.fullmatch(_NEIGHBOUR, word) else 2
        if position < first or not (inside == leaf or inside.type == "field_expression"):
            return None
        kind = next((a for a in given[1:position] if self.names_type(a)), None)
        return (cscope.text_of(kind).split()[-1],) if kind is not None else self.owner(given[0])

    def names_type(self, argument: Node) -> bool:
        """Whether an argument was written as a struct."""
        before = self.text[max(0, argument.start_byte - 16) : argument.start_byte]
        return argument.type == "identifier" and before.split()[-1:] == [b"struct"]

    def initialised(self, path: list[Node]) -> tuple[str, ...]:
        """Type of what an initialiser of members in braces is for; "" where braces lie in braces."""
        lists = [k for k, n in enumerate(path) if n.type == "initializer_list"]
        if len(lists) != 1:
            return ("",)
        above = path[lists[0] - 1]
        if above.type == "init_declarator":
            above = next((n for n in reversed(path[: lists[0]]) if n.type == "declaration"), above)
        return (cscope.type_name(above.child_by_field_name("type")) or "",)

    # ---- functions and constants

    def function(self, path: list[Node], leaf: Node, above: Node, name: str) -> str:
        if leaf.type != "identifier":
            return "other"
        if above.type == "call_expression":
            return "call" if above.child_by_field_name("function") == leaf else "other"
        if above.type == "function_declarator":
            return "definition" if any(n.type == "function_definition" for n in path) else "declaration"
        if above.type == "enumerator":
            return "declaration"
        if above.type == "argument_list" and "EXPORT" in cscope.text_of(
            path[-3].child_by_field_name("function") or leaf
        ):
            return "declaration"
        if above.type.endswith("declarator") and above.child_by_field_name("declarator") == leaf:
            return "other"
        if above.type in ("parameter_declaration", "declaration", "preproc_params", "preproc_ifdef"):
            return "other"
        return "other" if self.scopes.type_of(name, leaf.start_byte) is not None else "ref"


_INNER = {
    "assignment_expression": "left",
    "conditional_expression": "consequence",
    "comma_expression": "right",
}


def _returned(call: Node) -> tuple[Node | None, str]:
    """What has the type that a call returns: an argument; or None, and the type or ``f()``."""
    called = cscope.text_of(call.child_by_field_name("function") or call)
    given = cuse.arguments(call)
    if _SAME_TYPE.match(called) and given:
        return given[0], ""
    if _ENTRY.search(called) and len(given) > 1:
        return None, cscope.text_of(given[1]).split()[-1]
    return None, f"{called}()"


_EVERYWHERE = {"current": "task_struct", "__entry": "record of a tracepoint"}  # macros that stand for variables
_DEEPEST = 3
_BEFORE = b"void f(void) { "
_PATTERN = names.pattern()
