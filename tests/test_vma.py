"""The VMA model: cases in pictures, calls as a program makes them, trees and anon_vmas; see also test_vma_twin.py."""

import errno

import numpy as np
import pytest
import vma_pictures as pictures

from workbench.accelerate import JIT_ENABLED
from workbench.errors import UsageError
from workbench.kernel import vma_ops as o
from workbench.mm import interval_tree, vma_core
from workbench.mm.vma import PAGE_SIZE, AddressSpace
from workbench.mm.vma_draw import Row, line
from workbench.mm.vma_machine import Machine

CASES = pictures.read()
ANONYMOUS = o.MAP_PRIVATE | o.MAP_ANONYMOUS | o.MAP_FIXED
RW = o.READ | o.WRITE
HOME = pictures.BASE * PAGE_SIZE


def play(calls, space):
    for call in calls:
        assert space.do(call.op) == call.error, call.text
        if call.picture:
            assert space.picture() == call.picture, call.text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_pictures(case):
    assert any(call.picture for call in case.calls[:-1])
    assert case.calls[-1].picture, "a case ends with a picture"
    play(case.calls, pictures.Space())


def test_titles_differ():
    assert len({case.title for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("rule", sorted(set(vma_core.RULE) - {"anon_vma"}))
def test_each_rule_is_in_a_picture(rule):
    """Without it, some case goes differently (different anon_vmas are merged in several, too)."""

    def differs(case):
        space = pictures.Space(without=[rule])
        return any(space.do(call.op) != call.error or call.picture not in ("", space.picture()) for call in case.calls)

    assert any(differs(case) for case in CASES)


@pytest.fixture
def space():
    return AddressSpace()


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("mmap", (HOME + 1, PAGE_SIZE, RW, ANONYMOUS)),
        ("mmap", (HOME, 0, RW, ANONYMOUS)),
        ("mmap", (HOME, PAGE_SIZE, RW, o.MAP_ANONYMOUS | o.MAP_FIXED)),
        ("munmap", (HOME + 1, PAGE_SIZE)),
        ("munmap", (HOME, 0)),
        ("mprotect", (HOME + 1, PAGE_SIZE, RW)),
        ("madvise", (HOME + 1, PAGE_SIZE, o.ADVICE["NORMAL"])),
        ("madvise", (HOME, PAGE_SIZE, 9)),
        ("mlock2", (HOME, PAGE_SIZE, 2)),
        ("mremap", (HOME + 1, PAGE_SIZE, PAGE_SIZE, 0)),
        ("mremap", (HOME, PAGE_SIZE, 0, 0)),
        ("mremap", (HOME, PAGE_SIZE, PAGE_SIZE, 8)),
        ("mremap", (HOME, PAGE_SIZE, PAGE_SIZE, o.MREMAP_FIXED, HOME)),
        ("mremap", (HOME, 2 * PAGE_SIZE, PAGE_SIZE, o.MREMAP_MAYMOVE | o.MREMAP_DONTUNMAP)),
    ],
)
def test_wrong_arguments(space, call, arguments):
    with pytest.raises(OSError) as failed:
        getattr(space, call)(*arguments)
    assert failed.value.errno == errno.EINVAL


def test_wrong_use(space):
    file = space.machine.open("f")
    with pytest.raises(UsageError, match="hints"):
        space.mmap(HOME, PAGE_SIZE, RW, o.MAP_PRIVATE | o.MAP_ANONYMOUS)
    with pytest.raises(UsageError, match="a file, or MAP_ANONYMOUS"):
        space.mmap(HOME, PAGE_SIZE, RW, ANONYMOUS, file)
    with pytest.raises(UsageError, match="no file 'g'"):
        space.machine.rmap("g", 0)
    with pytest.raises(UsageError, match="no rule 'files'"):
        Machine(without=["files"])


def test_lengths_are_rounded_and_locks_need_no_page_address(space):
    space.mmap(HOME, 3 * PAGE_SIZE + 1, RW, ANONYMOUS)
    space.mlock(HOME + PAGE_SIZE - 1, 2)  # the last byte of one page and the first of the next
    assert space.picture() == "ww|ww\n0-1 rw-p anon 1 lo ac\n2-3 rw-p ac"
    space.munlock(HOME + 1, 0)
    space.mprotect(HOME, 0, o.READ)
    space.madvise(HOME, 0, o.ADVICE["DONTFORK"])
    assert space.picture().startswith("ww|ww")
    space.munmap(HOME, 1)
    assert space.picture(HOME, 4 * PAGE_SIZE).startswith(".w|ww")


def test_maps_and_smaps(space):
    file = space.machine.open("data", writable=False)
    space.mmap(HOME, 2 * PAGE_SIZE, o.READ | o.EXEC, o.MAP_SHARED | o.MAP_FIXED, file, 3 * PAGE_SIZE)
    space.mmap(HOME + 2 * PAGE_SIZE, PAGE_SIZE, RW, ANONYMOUS)
    space.mmap(HOME + 4 * PAGE_SIZE, PAGE_SIZE, 0, o.MAP_SHARED | o.MAP_ANONYMOUS | o.MAP_FIXED)
    assert [tuple(row) for row in space.maps()] == [
        (HOME, HOME + 2 * PAGE_SIZE, "r-xs", 3, "data"),
        (HOME + 2 * PAGE_SIZE, HOME + 3 * PAGE_SIZE, "rw-p", 0, ""),
        (HOME + 4 * PAGE_SIZE, HOME + 5 * PAGE_SIZE, "---s", 0, "/dev/zero (deleted)"),
    ]
    assert [flags for _, flags in space.smaps()] == ["rd ex mr me ms", "rd wr mr mw me ac", "sh mr mw me ms"]


def test_without_an_address_the_highest_gap_is_taken():
    space = AddressSpace(Machine(high=100))
    flags = o.MAP_PRIVATE | o.MAP_ANONYMOUS
    assert space.mmap(None, 10 * PAGE_SIZE, o.READ, flags) == 90 * PAGE_SIZE
    assert space.mmap(None, 10 * PAGE_SIZE, RW, flags) == 80 * PAGE_SIZE
    space.munmap(85 * PAGE_SIZE, 5 * PAGE_SIZE)
    assert space.mmap(None, 5 * PAGE_SIZE, 0, flags) == 85 * PAGE_SIZE
    assert space.mremap(80 * PAGE_SIZE, 5 * PAGE_SIZE, 6 * PAGE_SIZE, o.MREMAP_MAYMOVE) == 74 * PAGE_SIZE
    assert line(space.rows(), 74, 26) == "wwwwww.....-----|rrrrrrrrrr"
    to = space.mremap(90 * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, o.MREMAP_MAYMOVE | o.MREMAP_DONTUNMAP)
    assert to == 84 * PAGE_SIZE
    with pytest.raises(OSError, match="mmap") as failed:
        space.mmap(None, 80 * PAGE_SIZE, RW, flags)
    assert failed.value.errno == errno.ENOMEM
    with pytest.raises(OSError, match="mremap") as failed:
        space.mremap(74 * PAGE_SIZE, 6 * PAGE_SIZE, 80 * PAGE_SIZE, o.MREMAP_MAYMOVE)
    assert failed.value.errno == errno.ENOMEM


def test_duplicating_a_shared_mapping(space):
    """mremap of length 0: once more what is there, if it is shared."""
    file = space.machine.open("f")
    space.mmap(HOME, 4 * PAGE_SIZE, RW, o.MAP_SHARED | o.MAP_FIXED, file)
    fixed = o.MREMAP_MAYMOVE | o.MREMAP_FIXED
    space.mremap(HOME + PAGE_SIZE, 0, 2 * PAGE_SIZE, fixed, HOME + 6 * PAGE_SIZE)
    assert space.picture() == "WWWW..WW\n0-3 rw-s file 0 @0\n6-7 rw-s file 0 @1"
    space.mmap(HOME, PAGE_SIZE, RW, ANONYMOUS)
    with pytest.raises(OSError, match="Invalid"):
        space.mremap(HOME, 0, PAGE_SIZE, fixed, HOME + 6 * PAGE_SIZE)


def test_behind_the_end_of_the_file(space):
    """The fault fails, but a write to a private mapping has made an anon_vma by then."""
    file = space.machine.open("short", pages=2)
    space.mmap(HOME, 4 * PAGE_SIZE, RW, o.MAP_PRIVATE | o.MAP_FIXED, file)
    for address, write in ((HOME + 2 * PAGE_SIZE, False), (HOME + 3 * PAGE_SIZE, True)):
        assert space.rows()[0].anon == 0
        with pytest.raises(OSError, match="touch"):
            space.touch(address, write)
    assert space.rows()[0].anon != 0
    with pytest.raises(OSError, match="mlock") as failed:
        space.mlock(HOME, 4 * PAGE_SIZE)
    assert failed.value.errno == errno.ENOMEM


def test_populate_stops(space):
    space.mmap(HOME, PAGE_SIZE, o.READ, ANONYMOUS)
    for advice, number in (("POPULATE_WRITE", errno.EINVAL), ("POPULATE_READ", errno.ENOMEM)):
        with pytest.raises(OSError, match="madvise") as failed:
            space.madvise(HOME, 2 * PAGE_SIZE, o.ADVICE[advice])
        assert failed.value.errno == number


def test_before_6_16_what_is_faulted_does_not_merge_into_what_is_not():
    for kernel, expected in (((6, 12), "wwww|wwww"), ((6, 16), "wwwwwwww")):
        space = pictures.Space(kernel=kernel)
        for text in ("mmap 0-3 rw", "mmap 4-7 rx", "mprotect 4-7 rwx", "write 4", "mprotect 4-7 rw"):
            assert space.do(pictures.operation(text)) == 0
        assert space.picture().split("\n")[0].rstrip(".") == expected


def test_before_6_17_mremap_moves_one_vma():
    space = pictures.Space(kernel=(6, 16))
    for text in ("mmap 0-1 rw", "mmap 2-3 r"):
        space.do(pictures.operation(text))
    assert space.do(pictures.operation("mremap 0-3 to 8-11")) == errno.EFAULT


def test_an_anon_vma_that_nobody_uses_is_used_again(space):
    """In a grandchild, when its parent has unmapped its part (v6.12 mm/rmap.c anon_vma_clone)."""
    space.mmap(HOME, 2 * PAGE_SIZE, RW, ANONYMOUS)
    space.touch(HOME, True)
    child = space.fork()
    grandchild = child.fork()
    own = child.rows()[0].anon
    used = int(space.machine.memory.sys[vma_core.ANON_USED])
    child.exit()
    great = grandchild.fork()
    assert great.rows()[0].anon == own
    assert int(space.machine.memory.sys[vma_core.ANON_USED]) == used
    great.mmap(HOME + 2 * PAGE_SIZE, PAGE_SIZE, RW, ANONYMOUS)
    assert len(great.rows()) == 2, "its chain is as long as ever"


def test_room_for_many():
    """The arrays grow: VMAs, nodes, address spaces."""
    space = AddressSpace(Machine(rows=2, spaces=1))
    file = space.machine.open("f", pages=4000)
    for i in range(200):
        space.mmap(HOME + 2 * i * PAGE_SIZE, PAGE_SIZE, RW, o.MAP_PRIVATE | o.MAP_FIXED, file, i * PAGE_SIZE)
        space.touch(HOME + 2 * i * PAGE_SIZE, True)
    assert len(space.rows()) == 200
    spaces = [space.fork() for _ in range(5)]
    assert [len(s.rows()) for s in spaces] == [200] * 5
    rows = space.rows()
    spaces[0].exit()
    assert space.rows() == rows
    assert spaces[0].rows() == []
    assert spaces[0].picture() == ""
    assert space.machine.rmap("f", 7).private == 5


def in_trees(space):
    """Nodes of each file's tree: kind, first and last page, sorted."""
    m = space.machine.memory
    found = {}
    for row in range(1, len(m.file)):
        header = int(m.file[row]["header"])
        gone = m.file[row]["anonymous"] and not m.file[row]["vmas"]
        if header and not gone and header not in found:
            assert interval_tree.check(m.node, header) == interval_tree.SOUND
            n, nodes = int(interval_tree.iter_first(m.node, m.sys, header, 0, 2**31 - 1)), []
            while n:
                nodes.append(tuple(int(m.node[n][name]) for name in ("kind", "start", "last")))
                n = int(interval_tree.iter_next(m.node, m.sys, n, 0, 2**31 - 1))
            found[header] = sorted(nodes)
    return {header: nodes for header, nodes in found.items() if nodes}


def test_trees_hold_every_file_vma_and_walks_meet_pinned_ranges_too():
    """After random calls, against the rows: two address spaces and pinned ranges in the same trees."""
    rng = np.random.default_rng(3)
    model = pictures.Space()
    machine = model.space.machine
    pinned = [(page, page + pages - 1) for page, pages in ((0, 8), (4, 20), (40, 8))]
    handles = [machine.pin("inode 0", first, last - first + 1) for first, last in pinned]
    spaces = [model.space]
    numbers = 2000 if JIT_ENABLED else 400
    for step, op in enumerate(o.generate(rng, numbers, fork_every=150)):
        parent = model.space
        model.do(op)
        if op["op"] == o.FORK:
            if len(spaces) == 3:
                spaces.pop(0).exit()
            spaces.append(model.space)
        assert parent in spaces or op["op"] == o.FORK
        if step % 20 == 0:
            compare_trees(machine, spaces, pinned)
    for handle in handles:
        machine.unpin("inode 0", handle)
    for space in spaces:
        space.exit()
    assert in_trees(model.space) == {}
    assert int(machine.memory.sys[vma_core.ANON_USED]) == 0


def compare_trees(machine, spaces, pinned):
    rows = [row for space in spaces for row in space.rows() if row.name == "inode 0"]
    kinds = [(interval_tree.KIND_VMA, r.pgoff, r.pgoff + r.end - r.start - 1) for r in rows]
    kinds += [(interval_tree.KIND_PINNED, first, last) for first, last in pinned]
    assert sorted(kinds) in in_trees(spaces[0]).values()
    for page in range(0, o.ARENA, 5):
        walk = machine.rmap("inode 0", page)
        over = [r for r in rows if r.pgoff <= page < r.pgoff + r.end - r.start]
        shared = sum("sh" in r.flags.split() for r in over)
        assert (walk.shared, walk.private) == (shared, len(over) - shared)
        assert walk.pinned == sum(first <= page <= last for first, last in pinned)
        assert walk.visited >= len(over) + walk.pinned


def test_a_picture_of_a_part():
    parts = ((2, 6, "rd mr"), (6, 8, "rd wr ex sh ms"), (9, 10, "ms"), (10, 11, "rd ex"))
    rows = [Row(*part, 0, -1) for part in parts]
    assert line(rows, 0, 12) == "..rrrr|WW.=|x."
    assert line(rows, 4, 3) == "rr|W"
    assert line(rows, 8, 2) == ".="


def test_operations_are_those_of_the_seed_and_within_the_arena():
    ops = o.generate(np.random.default_rng(1), 5000)
    assert (ops == o.generate(np.random.default_rng(1), 5000)).all()
    assert (ops != o.generate(np.random.default_rng(2), 5000)).any()
    assert len(o.generate(np.random.default_rng(1), 0)) == 0
    for first, pages in (("page", "pages"), ("to", "to_pages")):
        assert (ops[first] >= 0).all()
        assert (ops[first] + ops[pages] <= o.ARENA).all()
    wanted = set(o.MIX) | {o.FORK}
    assert set(ops["op"].tolist()) == wanted
    assert set(ops["flags"][ops["op"] == o.MADVISE].tolist()) == set(o.ADVICE.values())
    assert not (o.generate(np.random.default_rng(1), 5000, 0)["op"] == o.FORK).any()


def test_operations_in_words():
    texts = {o.text_of(pictures.operation(text)) for case in CASES for text in [c.text for c in case.calls]}
    for text in (
        "mprotect 4-7 r--", "mmap 0-3 rw- anonymous private", "mmap 3-5 rw- fd 2 @3 shared", "madvise 4-7 DONTFORK",
        "mremap 0-3 to 0-5", "mremap 0-3 to 8-11 maymove fixed dontunmap", "touch 0-0 write", "touch 4-4 read", "fork",
        "mlock2 4-7 onfault", "munmap 4-7", "mmap 0-3 rw- anonymous private locked",
    ):  # fmt: skip
        assert text in texts
