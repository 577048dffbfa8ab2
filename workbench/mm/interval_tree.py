"""The ``i_mmap`` interval tree: a red-black tree keyed by ``start`` and augmented by ``subtree_last``.

Same algorithm as v4.17's ``lib/rbtree.c``, ``include/linux/rbtree_augmented.h``,
``include/linux/interval_tree_generic.h`` and ``mm/interval_tree.c``: the same shape after the same
inserts and removes, hence the same number of rotations and of nodes on a path. Intervals are inclusive,
``[start, last]``, in pages of the file. Of equal starts the one inserted later comes later.

Nodes are rows of one array; row 0 is NIL. A tree is named by its *header row*, which stands for
``struct rb_root_cached``: its ``rb_left`` is the root node, its ``rb_right`` the leftmost node, both 0 in an
empty tree. As in the kernel the root node's ``rb_parent`` is 0.

A *link* says where a row begins, in words from the start of the array: `link_to`, `linked_row`. To follow one takes a
processor one load, as a pointer would; a row number it would have to multiply first, at each node of a path. So the
fields ``rb_parent``, ``rb_left`` and ``rb_right`` of nodes hold links, unsigned (to extend a sign takes time too), and
so do ``n``, ``parent``, ``child``, ... of the functions whose names begin with ``_``. Callers name nodes by their
rows, but in walks that are long or many: those may go from link to link, by `first_link` and `next_link`.
"""

import numpy as np

from workbench.accelerate import allocating_jit, at, inline, jit
from workbench.intrinsics import WORD, at_word, prefetch_word
from workbench.mm.registers import RB_ROTATIONS, RB_VISITED

NODE = np.dtype(
    [
        ("rb_parent", np.uint32),
        ("rb_left", np.uint32),
        ("rb_right", np.uint32),  # of a free row: the next free row, by its number
        ("start", np.int32),  # vm_pgoff of the first page
        ("last", np.int32),  # of the last page, itself included
        ("subtree_last", np.int32),  # the greatest `last` of the subtree
        ("rb_color", np.int8),
        ("kind", np.int8),
        ("pages_left", np.int32),  # not the tree's: pages of a pinned range not released yet
        ("ghost_born_ps", np.int64),  # when the pinned range went in
        ("ghost_first_ps", np.int64),  # when its first page was released, or -1
    ],
    align=True,
)

RB_RED, RB_BLACK = 0, 1
KIND_FREE, KIND_VMA, KIND_PINNED = 0, 1, 2
LEFT, RIGHT = 0, 1  # the other side of `side` is 1 - side

# What check() found.
SOUND, BAD_LINKS, BAD_ORDER, BAD_RED, BAD_BLACK_HEIGHT, BAD_SUBTREE_LAST, BAD_LEFTMOST = range(7)


WORDS = NODE.itemsize // WORD  # of a row: so much is between the links to two neighbours


@inline
def link_to(row):
    """Link to a row: where it begins, in words from the start of the array."""
    return WORDS * np.int64(row)


@inline
def linked_row(link):
    """Row that a link leads to."""
    return link // WORDS


@inline
def _parent(node, n):
    return np.int64(at_word(node, n)["rb_parent"])


@inline
def _left(node, n):
    return np.int64(at_word(node, n)["rb_left"])


@inline
def _right(node, n):
    return np.int64(at_word(node, n)["rb_right"])


@inline
def _child(node, n, side):
    return _left(node, n) if side == LEFT else _right(node, n)


@inline
def _start(node, n):
    return np.int64(at_word(node, n)["start"])


@inline
def _last(node, n):
    return np.int64(at_word(node, n)["last"])


@inline
def _subtree_last(node, n):
    return np.int64(at_word(node, n)["subtree_last"])


@inline
def _is_red(node, n):
    return n != 0 and at_word(node, n)["rb_color"] == RB_RED


@inline
def _set_child(node, n, side, child):
    if side == LEFT:
        at_word(node, n)["rb_left"] = child
    else:
        at_word(node, n)["rb_right"] = child


@inline
def _replace(node, root, old, new):
    """Put ``new`` (which may be NIL) where ``old`` hangs; rb_change_child of the kernel."""
    parent = _parent(node, old)
    if parent == 0:
        at_word(node, root)["rb_left"] = new
    else:
        _set_child(node, parent, LEFT if _left(node, parent) == old else RIGHT, new)
    if new != 0:
        at_word(node, new)["rb_parent"] = parent


@inline
def _compute_subtree_last(node, n):
    """Greatest ``last`` of ``n`` and of its children's subtrees."""
    most = _last(node, n)
    left, right = _left(node, n), _right(node, n)
    if left != 0:
        most = max(most, _subtree_last(node, left))
    if right != 0:
        most = max(most, _subtree_last(node, right))
    return most


@inline
def _propagate(node, n, stop):
    """Recompute ``subtree_last`` from ``n`` up to below ``stop``, until nothing changes; nodes visited."""
    visited = 0
    while n != stop:
        visited += 1
        most = _compute_subtree_last(node, n)
        if most == _subtree_last(node, n):
            break
        at_word(node, n)["subtree_last"] = most
        n = _parent(node, n)
    return visited


@inline
def _rotate(node, sys, root, old, side):
    r"""Lower ``old`` towards ``side``; its child of the other side takes its place.

    With ``side`` LEFT:    old            new
                          /   \          /   \
                         a    new  ->  old    c
                             /   \    /   \
                         inner    c  a   inner
    """
    new = _child(node, old, 1 - side)
    inner = _child(node, new, side)
    _replace(node, root, old, new)
    _set_child(node, new, side, old)
    at_word(node, old)["rb_parent"] = new
    _set_child(node, old, 1 - side, inner)
    if inner != 0:
        at_word(node, inner)["rb_parent"] = old
    at_word(node, new)["subtree_last"] = at_word(node, old)["subtree_last"]
    at_word(node, old)["subtree_last"] = _compute_subtree_last(node, old)
    sys[RB_ROTATIONS] += 1


@inline
def _insert_color(node, sys, root, n):
    """Repair the colours above ``n``, a red node just linked; __rb_insert of the kernel."""
    while True:
        parent = _parent(node, n)
        if parent == 0:
            at_word(node, n)["rb_color"] = RB_BLACK
            return
        if not _is_red(node, parent):
            return
        gparent = _parent(node, parent)
        side = LEFT if _left(node, gparent) == parent else RIGHT
        uncle = _child(node, gparent, 1 - side)
        if not _is_red(node, uncle):
            break
        at_word(node, uncle)["rb_color"] = RB_BLACK
        at_word(node, parent)["rb_color"] = RB_BLACK
        at_word(node, gparent)["rb_color"] = RB_RED
        n = gparent
    if _child(node, parent, 1 - side) == n:  # the inner grandchild: make it the outer one first
        _rotate(node, sys, root, parent, side)
        parent = n
    at_word(node, parent)["rb_color"] = RB_BLACK
    at_word(node, gparent)["rb_color"] = RB_RED
    _rotate(node, sys, root, gparent, 1 - side)


@inline
def _erase_color(node, sys, root, parent):
    """Repair the black height below ``parent``, one child of which became NIL; ____rb_erase_color.

    In each round the paths through ``n`` have one black node too few.
    """
    n = 0
    while parent != 0:
        side = LEFT if _left(node, parent) == n else RIGHT
        sibling = _child(node, parent, 1 - side)
        if _is_red(node, sibling):
            at_word(node, sibling)["rb_color"] = RB_BLACK
            at_word(node, parent)["rb_color"] = RB_RED
            _rotate(node, sys, root, parent, side)
            sibling = _child(node, parent, 1 - side)
        near, far = _child(node, sibling, side), _child(node, sibling, 1 - side)
        if _is_red(node, far) or _is_red(node, near):
            if not _is_red(node, far):  # bring the red nephew to the far side first
                _rotate(node, sys, root, sibling, 1 - side)
                far, sibling = sibling, near
            at_word(node, sibling)["rb_color"] = at_word(node, parent)["rb_color"]
            at_word(node, parent)["rb_color"] = RB_BLACK
            at_word(node, far)["rb_color"] = RB_BLACK
            _rotate(node, sys, root, parent, side)
            return
        at_word(node, sibling)["rb_color"] = RB_RED
        if _is_red(node, parent):
            at_word(node, parent)["rb_color"] = RB_BLACK
            return
        n = parent
        parent = _parent(node, n)


@inline
def _next_of_leftmost(node, n):
    """Give the successor of the leftmost node: with no left child, its right one is a red leaf or NIL."""
    right = _right(node, n)
    return right if right != 0 else _parent(node, n)


@jit
def insert(node: np.ndarray, sys: np.ndarray, root: int, n: int) -> None:
    """Insert a node, whose ``start`` and ``last`` are set; vma_interval_tree_insert.

    Parameters
    ----------
    node : ndarray of NODE
        All rows; changed.
    sys : ndarray of int64
        Counters. ``RB_VISITED`` grows by the nodes on the way down (the repair of the colours walks the
        same nodes again, and isn't counted), ``RB_ROTATIONS`` by the rotations.
    root : int
        Header row of the tree.
    n : int
        Row to insert, in no tree yet.
    """
    root, n = link_to(root), link_to(n)
    start, last = _start(node, n), _last(node, n)
    parent, here = 0, _left(node, root)
    side, leftmost = LEFT, True
    visited = 0
    while here != 0:
        visited += 1
        parent = here
        if _subtree_last(node, here) < last:
            at_word(node, here)["subtree_last"] = last
        if start < _start(node, here):
            side = LEFT
            here = _left(node, here)
        else:
            side, leftmost = RIGHT, False
            here = _right(node, here)
    sys[RB_VISITED] += visited
    at_word(node, n)["rb_parent"] = parent
    at_word(node, n)["rb_left"] = 0
    at_word(node, n)["rb_right"] = 0
    at_word(node, n)["rb_color"] = RB_RED
    at_word(node, n)["subtree_last"] = last
    if leftmost:
        at_word(node, root)["rb_right"] = n
    if parent == 0:
        at_word(node, root)["rb_left"] = n
    else:
        _set_child(node, parent, side, n)
    _insert_color(node, sys, root, n)


@jit
def remove(node: np.ndarray, sys: np.ndarray, root: int, n: int) -> None:
    """Take a node out of its tree; vma_interval_tree_remove. The row itself keeps its fields.

    Parameters
    ----------
    node : ndarray of NODE
        All rows; changed.
    sys : ndarray of int64
        Counters. ``RB_VISITED`` grows by the node, those on the way down to its successor, and those whose
        ``subtree_last`` is looked at again; ``RB_ROTATIONS`` by the rotations.
    root : int
        Header row of the tree.
    n : int
        Row to remove; it must be in this tree.
    """
    root, n = link_to(root), link_to(n)
    if _right(node, root) == n:
        at_word(node, root)["rb_right"] = _next_of_leftmost(node, n)
    left, right = _left(node, n), _right(node, n)
    lost_black = not _is_red(node, n)
    visited = 1
    if left == 0 or right == 0:
        child = left if right == 0 else right
        parent = _parent(node, n)  # of the place that has lost a node
        top = parent
        _replace(node, root, n, child)
    else:  # the successor leaves its place to `child`, and takes the place and the colour of n
        successor = right
        visited += 1
        while _left(node, successor) != 0:
            successor = _left(node, successor)
            visited += 1
        lost_black = not _is_red(node, successor)
        child = _right(node, successor)
        parent = successor
        if successor != right:
            parent = _parent(node, successor)
            _replace(node, root, successor, child)
            at_word(node, successor)["rb_right"] = right
            at_word(node, right)["rb_parent"] = successor
        at_word(node, successor)["rb_left"] = left
        at_word(node, left)["rb_parent"] = successor
        at_word(node, successor)["rb_color"] = at_word(node, n)["rb_color"]
        at_word(node, successor)["subtree_last"] = at_word(node, n)["subtree_last"]
        _replace(node, root, n, successor)
        visited += _propagate(node, parent, successor)
        top = successor
    visited += _propagate(node, top, 0)
    sys[RB_VISITED] += visited
    if child != 0:  # an only child is red
        at_word(node, child)["rb_color"] = RB_BLACK
    elif lost_black:
        _erase_color(node, sys, root, parent)


@inline
def _subtree_search(node, sys, n, start, last, visited):
    """Find the leftmost node at or below ``n`` that overlaps ``[start, last]``, or 0.

    The caller has seen that ``start <= subtree_last`` of ``n``; ``visited`` are the nodes that it has counted,
    with ``n``.
    """
    while True:
        left = _left(node, n)
        prefetch_word(node, _right(node, n))  # else it would be fetched only after the left one has told where to go
        if left != 0 and start <= _subtree_last(node, left):
            n = left
            visited += 1
            continue
        if _start(node, n) > last:
            n = 0
            break
        if start <= _last(node, n):
            break
        n = _right(node, n)
        if n == 0 or start > _subtree_last(node, n):
            n = 0
            break
        visited += 1
    sys[RB_VISITED] += visited
    return n


@jit
def first_link(node: np.ndarray, sys: np.ndarray, root: int, start: int, last: int) -> int:
    """Find the first node as `iter_first` does, and give the link to it, or 0."""
    root = link_to(root)
    top = _left(node, root)
    if top == 0:
        return 0
    if _subtree_last(node, top) < start:
        sys[RB_VISITED] += 1
        return 0
    if _start(node, _right(node, root)) > last:
        sys[RB_VISITED] += 2
        return 0
    return _subtree_search(node, sys, top, start, last, 2)


@jit
def next_link(node: np.ndarray, sys: np.ndarray, n: int, start: int, last: int) -> int:
    """Find the node after that of link ``n`` as `iter_next` does, and give the link to it, or 0."""
    visited = 0
    while True:
        right = _right(node, n)
        if right != 0 and start <= _subtree_last(node, right):
            return _subtree_search(node, sys, right, start, last, visited + 1)
        came_from = n
        n = _parent(node, n)
        while n != 0 and _right(node, n) == came_from:
            visited += 1
            came_from = n
            n = _parent(node, n)
        if n != 0:
            visited += 1
            if last < _start(node, n):
                n = 0
        if n == 0 or start <= _last(node, n):
            sys[RB_VISITED] += visited
            return n


@jit
def iter_first(node: np.ndarray, sys: np.ndarray, root: int, start: int, last: int) -> int:
    """Find the first node, by start, that overlaps ``[start, last]``; vma_interval_tree_iter_first.

    Parameters
    ----------
    node : ndarray of NODE
        All rows.
    sys : ndarray of int64
        Counters; ``RB_VISITED`` grows by the nodes visited: the root and the leftmost node, whose ends are
        compared first, then those of the search.
    root : int
        Header row of the tree.
    start, last : int
        First and last page looked for, inclusive.

    Returns
    -------
    int
        Its row, or 0 where nothing overlaps.
    """
    return linked_row(first_link(node, sys, root, start, last))


@jit
def iter_next(node: np.ndarray, sys: np.ndarray, n: int, start: int, last: int) -> int:
    """Find the next node after ``n`` that overlaps ``[start, last]``; vma_interval_tree_iter_next.

    Parameters
    ----------
    node : ndarray of NODE
        All rows.
    sys : ndarray of int64
        Counters; ``RB_VISITED`` grows by the nodes visited.
    n : int
        Row that `iter_first` or `iter_next` gave for the same range.
    start, last : int
        First and last page looked for, inclusive.

    Returns
    -------
    int
        Its row, or 0 where nothing more overlaps.
    """
    return linked_row(next_link(node, sys, link_to(n), start, last))


@inline
def _check_node(node, n):
    """Check what can be seen from ``n`` and its children alone."""
    left, right = _left(node, n), _right(node, n)
    if (left != 0 and _parent(node, left) != n) or (right != 0 and _parent(node, right) != n):
        return BAD_LINKS
    if _is_red(node, n) and (_is_red(node, left) or _is_red(node, right)):
        return BAD_RED
    if _subtree_last(node, n) != _compute_subtree_last(node, n):
        return BAD_SUBTREE_LAST
    return SOUND


@allocating_jit
def check(node: np.ndarray, root: int) -> int:
    """Check the red-black and augmentation invariants of a whole tree.

    Parameters
    ----------
    node : ndarray of NODE
        All rows.
    root : int
        Header row of the tree.

    Returns
    -------
    int
        ``SOUND`` (0), or the first thing found broken, in order of start: ``BAD_LINKS`` (a parent link, or a
        cycle), ``BAD_ORDER`` (starts descend), ``BAD_RED`` (a red root, or a red child of a red node),
        ``BAD_BLACK_HEIGHT``, ``BAD_SUBTREE_LAST``, ``BAD_LEFTMOST`` (the header's leftmost node).
    """
    root = link_to(root)
    top = _left(node, root)
    if top != 0 and _parent(node, top) != 0:
        return BAD_LINKS
    if _is_red(node, top):
        return BAD_RED
    path = np.zeros(len(node), np.int64)  # from the root down, nodes whose own turn is still to come
    blacks = np.zeros(len(node), np.int64)  # black nodes from the root to each of them
    depth, seen = 0, 0
    here, black, height = top, 0, -1
    before = 0
    while here != 0 or depth > 0:
        while here != 0:
            if seen + depth == len(node):
                return BAD_LINKS
            if not _is_red(node, here):
                black += 1
            path[depth], blacks[depth] = here, black
            depth += 1
            here = _left(node, here)
        depth -= 1
        n, black = path[depth], blacks[depth]
        seen += 1
        found = _check_node(node, n)
        if found != SOUND:
            return found
        if before == 0 and _right(node, root) != n:
            return BAD_LEFTMOST
        if before != 0 and _start(node, before) > _start(node, n):
            return BAD_ORDER
        before = n
        if _left(node, n) == 0 or _right(node, n) == 0:
            if height == -1:
                height = black
            if height != black:
                return BAD_BLACK_HEIGHT
        here = _right(node, n)
    if top == 0 and _right(node, root) != 0:
        return BAD_LEFTMOST
    return SOUND


@jit
def free_list_init(node: np.ndarray, first: int) -> None:
    """Empty the rows from ``first`` on and chain them, lowest first; the head is row 0's ``rb_right``.

    Parameters
    ----------
    node : ndarray of NODE
        All rows; those below ``first`` (NIL, and header rows of the caller's) are left alone.
    first : int
        At least 1.
    """
    at(node, 0)["rb_right"] = 0
    for n in range(len(node) - 1, first - 1, -1):
        free(node, n)


@jit
def alloc(node: np.ndarray) -> int:
    """Take a row off the free list.

    Parameters
    ----------
    node : ndarray of NODE
        All rows.

    Returns
    -------
    int
        A row with every field 0, or 0 where none is left.
    """
    n = _right(node, 0)
    if n != 0:
        at(node, 0)["rb_right"] = at(node, n)["rb_right"]
        at(node, n)["rb_right"] = 0
    return n


@jit
def free(node: np.ndarray, n: int) -> None:
    """Put a row, which is in no tree any more, back on the free list, its other fields zeroed.

    Parameters
    ----------
    node : ndarray of NODE
        All rows.
    n : int
        The row.
    """
    row = at(node, n)
    row["rb_parent"] = row["rb_left"] = 0
    row["start"] = row["last"] = row["subtree_last"] = 0
    row["rb_color"] = row["kind"] = 0
    row["pages_left"] = 0
    row["ghost_born_ps"] = row["ghost_first_ps"] = 0
    row["rb_right"] = at(node, 0)["rb_right"]
    at(node, 0)["rb_right"] = n
