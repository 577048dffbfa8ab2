"""The VMA model against its naive twin, written apart from it: what maps and smaps show, and what they do not."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vma_cases import CASES, FORK, edges, pictured
from vma_pair import FLAG, PROT, Pair
from vma_random import ALL_ADVICE, PAGES, random_operation

from workbench.kernel.vma import ops as V
from workbench.mm.vma import PAGE_SIZE
from workbench.mm.vma_core import RULE_TEXT
from workbench.mm.vma_draw import line

FILES = ("a", "a2", "b", "c", "d", "e", "w")  # as the descriptors of vma_ops
ADVICE = {number: name for name, number in V.ADVICE.items()}


def finish(pair: Pair) -> None:
    pair.sound()
    pair.shown()
    pair.walks("one", "a")
    pair.walks("two", "d")
    for parent in pair.parents:
        parent.agree()  # it has not noticed
    pair.gone()


def run(operations, **rules) -> Pair:
    pair = Pair(**rules)
    for operation in operations:
        pair.do(*operation)
        pair.sound()
    return pair


def pictures(pair: Pair) -> list[str]:
    """Draw the model and the twin."""
    return [line(pair.model.rows(), 0, PAGES).rstrip("."), pictured(pair.naive.vmas)]


@pytest.mark.parametrize("name", CASES)
def test_cases(name):
    before, after, operations = CASES[name]
    pair = run(operations[:-1])
    assert pictures(pair) == [before, before]
    pair.do(*operations[-1])
    assert pictures(pair) == [after, after]
    finish(pair)


def test_over_the_end_of_the_address_space():
    pair = run([("mmap", (0, 2, "rw"), {})])
    rows = pair.model.rows()
    calls = edges(pair.naive.pages)
    assert [pair.call(name, places, how) for name, places, how, _ in calls] == [error for *_, error in calls]
    assert pair.model.rows() == rows


def test_arguments_that_mean_nothing():
    """As seen on Linux 6.18: unknown protections are refused, except PROT_SEM; a place that is not asked for is not."""
    space = run([("mmap", (0, 4, "rw"), {})]).model
    with pytest.raises(OSError, match="Invalid argument"):
        space.mprotect(0, PAGE_SIZE, 0x40 | V.READ)
    space.mprotect(0, PAGE_SIZE, 0x8 | V.READ)
    assert space.mremap(0, 4 * PAGE_SIZE, 3 * PAGE_SIZE, 0, 123) == 0
    with pytest.raises(OSError, match="Invalid argument"):
        space.mremap(0, PAGE_SIZE, PAGE_SIZE, V.MREMAP_MAYMOVE | V.MREMAP_FIXED, 123)
    assert [row.perms for row in space.maps()] == ["r--p", "rw-p"]


def sequence(pair: Pair, seed: int, length: int) -> None:
    """Operations drawn where the VMAs are; a few forks, and parents that exit."""
    r = random.Random(seed)
    for step in range(length):
        kind = r.random()
        pair.do(
            *(FORK if kind < 0.04 and len(pair.parents) < 7 else random_operation(r, pair.naive, write_only=("w",)))
        )
        if kind > 0.98 and pair.parents:
            r.choice(pair.parents).exit()
        if step % 10 == 0:
            pair.sound()


@pytest.mark.parametrize("seed", range(20))
def test_random_sequences(seed):
    pair = Pair()
    sequence(pair, seed, 150)
    finish(pair)


# ---- the operations that also the live kernel gets


def told(row) -> tuple[str, tuple, dict]:
    """A row of vma_ops as `naive_vma` takes it."""
    name, page, pages, flags = V.OPS[row["op"]], int(row["page"]), int(row["pages"]), int(row["flags"])
    prot = next(text for text, bits in PROT.items() if bits == row["prot"])
    if name == "mmap":
        how = {word: True for word, bit in FLAG.items() if flags & bit} | {"shared": bool(flags & V.MAP_SHARED)}
        file = {"file": FILES[row["fd"]], "pgoff": int(row["pgoff"])} if row["fd"] >= 0 else {}
        return name, (page, pages, prot), how | file
    if name == "mremap":
        to = int(row["to"]) if flags & V.MREMAP_FIXED else None
        return name, (page, pages, int(row["to_pages"]), to), {"dontunmap": bool(flags & V.MREMAP_DONTUNMAP)}
    if name == "touch":
        return ("write" if flags else "read"), (page,), {}
    more = {"mprotect": (prot,), "madvise": (ADVICE.get(flags),)}.get(name, ())
    how = {"onfault": bool(flags & V.MLOCK_ONFAULT)} if name == "mlock2" else {}
    return ("mlock" if name == "mlock2" else name), (page, pages, *more) if name != "fork" else (), how


@pytest.mark.parametrize("seed", range(6))
def test_the_oracles_operations(seed):
    pair = Pair(V.ARENA)
    for i, row in enumerate(V.generate(np.random.default_rng(seed), 400, fork_every=150)):
        pair.do(*told(row))
        if i % 20 == 0:
            pair.sound()
    finish(pair)


# ---- sequences that hypothesis shrinks

RANGE = st.tuples(st.integers(0, 9), st.integers(0, 4))
PROTS = st.sampled_from(("rw", "r", "rwx", "", "w"))
YES = st.just(True)


def drawn(name, *more, optional=None, **how):
    """A call on a range in the first pages, with what more it takes."""
    arguments = st.fixed_dictionaries(how, optional=optional or {})
    return st.builds(lambda r, m, h: (name, (*r, *m), h), RANGE, st.tuples(*more), arguments)


PLACE = st.integers(0, 14)
FILE = {"file": st.sampled_from(FILES), "pgoff": st.integers(0, 26), "shared": st.booleans()}
OPERATION = st.one_of(
    drawn("mmap", PROTS, optional=dict.fromkeys(("shared", *FLAG), YES)),
    drawn("mmap", PROTS, optional=dict.fromkeys(FLAG, YES), **FILE),
    drawn("munmap"),
    drawn("mprotect", PROTS),
    drawn("mlock", optional={"onfault": YES}),
    drawn("munlock"),
    drawn("madvise", st.sampled_from(ALL_ADVICE)),
    drawn("mremap", st.integers(0, 6)),
    drawn("mremap", st.integers(0, 6), PLACE, optional={"dontunmap": YES}),
    st.builds(lambda name, page: (name, (page,), {}), st.sampled_from(("write", "read")), PLACE),
    st.just(FORK),
)


@settings(max_examples=150)
@given(st.lists(OPERATION, max_size=24))
def test_any_sequence(operations):
    finish(run(operations))


# ---- mutants: a model without one of its rules


def first_disagreement(rule: str) -> str | None:
    """Name of the case in which the model without a rule disagrees with the twin."""
    for name, (_, _, operations) in CASES.items():
        try:
            run(operations, without=[rule])
        except AssertionError:
            return name
    return None


@pytest.mark.parametrize("rule", RULE_TEXT)
def test_a_model_without_a_rule_is_told(rule):
    assert first_disagreement(rule)


# ---- the checks that need no twin can fail


def test_a_late_merge_is_told():
    pair = Pair(without=["merge_right"])
    pair.call("mmap", (2, 2, "rw"), {})
    before = pair.seen()
    pair.call("mmap", (0, 2, "rw"), {})
    with pytest.raises(AssertionError):
        pair.no_late_merge(before)


@pytest.mark.parametrize("field", ["vm_pgoff", "vm_start", "vm_end", "node"])
def test_a_wrong_tree_is_told(field):
    pair = run([("mmap", (2, 2, "rw"), {"file": "a", "pgoff": 4}), ("mmap", (6, 2, "rw"), {"file": "d", "pgoff": 4})])
    pair.in_order()[1][field] += 1
    with pytest.raises(AssertionError):
        pair.sound()


def test_what_is_left_behind_is_told():
    pair = run([("mmap", (2, 2, "rw"), {"file": "a", "pgoff": 4})])
    pair.machine.pin("one", 3, 2)
    with pytest.raises(AssertionError):
        pair.sound()
    with pytest.raises(AssertionError):
        pair.gone()
