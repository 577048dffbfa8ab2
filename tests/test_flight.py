"""Direct IOs in flight, and how many are before one of them: against a plain list."""

import numpy as np
import pytest

from workbench.accelerate import at, jit
from workbench.mm import registers as R
from workbench.mm.flight import BLOCK, enter_flight, leave_flight
from workbench.mm.world import BIO, DIO, NODE, PAGE, PLAN, TASK, World
from workbench.scenarios.base import _own_dios


@jit
def follow(world, moves, found):
    """Begin (-1 - d) or end (d) one after the other, with one submitter for odd and one for even numbers."""
    for i in range(len(moves)):
        d = moves[i]
        if d < 0:
            d = -1 - d
            enter_flight(world, at(world.task, at(world.dio, d)["task"]), d)
        else:
            found[i] = leave_flight(world, at(world.task, at(world.dio, d)["task"]), d)


def new_world(slots: int) -> World:
    """Two submitters with so many slots each, none of them in flight."""
    page, node, bio, plan = (np.zeros(1, kind) for kind in (PAGE, NODE, BIO, PLAN))
    world = World(page, node, bio, np.zeros(2 * slots, DIO), np.zeros(2, TASK), plan, np.zeros(R.SYS_CELLS, np.int64))
    for t in range(2):
        world.task[t]["flight_head"] = world.task[t]["flight_tail"] = -1
        _own_dios(world, t, t * slots, slots)
    return world


def moves_of(slots: int, count: int, how: str, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """What begins and ends, and, of what ends, how many are before it in a list."""
    flying: tuple[list[int], list[int]] = ([], [])
    free = (list(range(slots)), list(range(slots, 2 * slots)))
    moves, earlier = [], []
    for i in range(count):
        t = int(rng.integers(0, 2))
        begin = not flying[t] or (free[t] and (how == "full" or rng.random() < 0.5))
        if begin:
            d = free[t].pop(int(rng.integers(0, len(free[t]))))
            flying[t].append(d)
            moves.append(-1 - d)
            earlier.append(0)
            continue
        n = len(flying[t])
        place = {"newest": n - 1, "oldest": 0}.get(how, int(rng.integers(0, n)))
        if how == "laggards" and i % 50:
            place = n - 1 - int(rng.integers(0, 1 + n // 10))
        d = flying[t].pop(place)
        free[t].append(d)
        moves.append(d)
        earlier.append(place)
    return moves, earlier


@pytest.mark.parametrize("how", ["any", "full", "newest", "oldest", "laggards"])
@pytest.mark.parametrize("slots", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 1, 1024])
def test_how_many_are_before_it(slots, how):
    moves, earlier = moves_of(slots, max(400, 6 * slots), how, np.random.default_rng(slots))
    found = np.zeros(len(moves), np.int64)
    world = new_world(slots)
    follow(world, np.array(moves), found)
    assert found.tolist() == earlier
    assert sum(earlier) > 0 or how == "oldest" or slots == 1


@pytest.mark.parametrize("slots", [BLOCK + 1, 1024])
def test_blocks_stay_within_the_rows_of_their_submitter(slots):
    world = new_world(slots)
    moves, _ = moves_of(slots, 8 * slots, "full", np.random.default_rng(1))
    follow(world, np.array(moves), np.zeros(len(moves), np.int64))
    assert (world.task["flight_room"] <= BLOCK * slots).all()
    for t in range(2):
        own = world.dio[t * slots : (t + 1) * slots]
        in_flight = sum(1 if d < 0 else -1 for d in moves if ((-1 - d if d < 0 else d) >= slots) == t)
        assert own["in_block"].sum() == in_flight


@pytest.mark.parametrize("slots", [1, BLOCK])
def test_few_slots_have_a_list_and_nothing_else(slots):
    """A small world that is set to a state has no more than its lists."""
    world = new_world(slots)
    moves, _ = moves_of(slots, 8 * slots, "full", np.random.default_rng(1))
    follow(world, np.array(moves), np.zeros(len(moves), np.int64))
    assert not any(world.task[name].any() for name in ("in_blocks", "flight_next", "flight_room"))
    assert not any(world.dio[name].any() for name in ("place", "in_block"))
