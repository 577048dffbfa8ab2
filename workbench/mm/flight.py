"""Direct IOs of a submitter that are in flight: a list by their beginning, and how many are before one of them.

Where there may be more than `BLOCK` of them, nobody walks all of the list to count. Each direct IO gets the next
*place*. Places come in blocks, and how many of a block are in flight is kept: blocks before its own are added up, and
in its own the list is walked. When places run out, those in flight get new ones, from 0 on; by then at least as many
have begun as are walked. The count of the k-th block is in the k-th of the submitter's own rows of `DIO`: they are
enough, since a block has `BLOCK` places, and of two places one was in flight.

Elsewhere the list is all there is; so it is in small worlds, whose states have no room for more.
"""

from workbench.accelerate import at, inline, jit

BLOCK_BITS = 6
BLOCK = 1 << BLOCK_BITS


@inline
def enter_flight(world, task, d):
    """Append a direct IO, which begins now."""
    dio = at(world.dio, d)
    if task["in_blocks"]:
        if task["flight_next"] == task["flight_room"]:
            _renumber(world, task)
        _take_place(world, task, dio)
    dio["next"] = -1
    dio["prev"] = task["flight_tail"]
    if task["flight_tail"] >= 0:
        at(world.dio, task["flight_tail"])["next"] = d
    else:
        task["flight_head"] = d
    task["flight_tail"] = d


@inline
def leave_flight(world, task, d):
    """Unlink a direct IO; returns how many that began before it are still in flight."""
    dio = at(world.dio, d)
    if dio["next"] >= 0:
        at(world.dio, dio["next"])["prev"] = dio["prev"]
    else:
        task["flight_tail"] = dio["prev"]
    if dio["prev"] >= 0:
        at(world.dio, dio["prev"])["next"] = dio["next"]
    else:
        task["flight_head"] = dio["next"]
    if task["in_blocks"]:
        return _earlier_by_blocks(world, task, dio)
    earlier = 0
    before = dio["prev"]
    while before >= 0:
        earlier += 1
        before = at(world.dio, before)["prev"]
    return earlier


@jit
def _earlier_by_blocks(world, task, dio):
    """Give a place back; count those before it."""
    first, block = task["first_dio"], dio["place"] >> BLOCK_BITS
    at(world.dio, first + block)["in_block"] -= 1
    earlier = 0
    for row in range(first, first + block):
        earlier += at(world.dio, row)["in_block"]
    before = dio["prev"]
    while before >= 0 and at(world.dio, before)["place"] >> BLOCK_BITS == block:
        earlier += 1
        before = at(world.dio, before)["prev"]
    return earlier


@inline
def _take_place(world, task, dio):
    dio["place"] = task["flight_next"]
    task["flight_next"] += 1
    at(world.dio, task["first_dio"] + (dio["place"] >> BLOCK_BITS))["in_block"] += 1


@jit
def _renumber(world, task):
    """Give those in flight the first places, and lay out blocks for twice as many."""
    first = task["first_dio"]
    for row in range(first, first + (task["flight_room"] >> BLOCK_BITS)):
        at(world.dio, row)["in_block"] = 0
    task["flight_next"] = 0
    d = task["flight_head"]
    while d >= 0:
        _take_place(world, task, at(world.dio, d))
        d = at(world.dio, d)["next"]
    most = 2 * (task["flight_next"] + 1)  # with the one that begins
    task["flight_room"] = (most + BLOCK - 1) >> BLOCK_BITS << BLOCK_BITS
