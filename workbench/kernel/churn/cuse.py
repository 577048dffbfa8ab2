"""How an expression of C is used, and what a call is given."""

from tree_sitter import Node

from workbench.kernel.churn.cscope import text_of

_WRITERS = {"WRITE_ONCE": "write", "swap": "update", "rcu_assign_pointer": "write"}


def access(path: list[Node]) -> str:
    """What is done to the member that a path of nodes leads to: ``read``, ``write``, ``update`` or ``address``."""
    node = path[-1]
    for above in reversed(path[:-1]):
        kind = above.type
        if kind == "assignment_expression" and above.child_by_field_name("left") == node:
            operator = above.child_by_field_name("operator")
            return "write" if operator is not None and operator.type == "=" else "update"
        if kind == "update_expression":
            return "update"
        if kind == "pointer_expression":
            operator = above.child_by_field_name("operator")
            return "address" if operator is not None and operator.type == "&" else "read"
        if kind == "argument_list":
            return _by_macro(above, node)
        part = kind == "field_expression" and any(c.type == "." for c in above.children)
        if not (part or kind in ("parenthesized_expression", "subscript_expression")):
            return "read"
        if kind == "subscript_expression" and above.child_by_field_name("argument") != node:
            return "read"
        node = above
    return "read"


def _by_macro(given: Node, node: Node) -> str:
    """What a macro that writes its argument does to it."""
    call = given.parent
    called = text_of(call.child_by_field_name("function") or call) if call is not None else ""
    writes = _WRITERS.get(called, "read")
    return writes if called == "swap" or given.named_children[:1] == [node] else "read"


def arguments(call: Node) -> list[Node]:
    """Arguments of a call, and of a loop by macro, whose condition they have become."""
    if call.type == "call_expression":
        given = call.child_by_field_name("arguments")
        return given.named_children if given else []
    condition = call.child_by_field_name("condition")
    found: list[Node] = []
    node = condition.named_children[0] if condition is not None and condition.named_children else None
    while node is not None and node.type == "comma_expression":
        left = node.child_by_field_name("left")
        found += [left] if left is not None else []
        node = node.child_by_field_name("right")
    return [*found, node] if node is not None else found
