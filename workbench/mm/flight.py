"""Direct IOs of a submitter that are in flight: a list by their beginning, and how many are before one of them.

Each gets the next *place*. Places come in blocks, and how many of a block are in flight is kept, so that nobody walks
all of a long list to count: blocks before its own are added up, and in its own the list is walked. When places run out,
those in flight get new ones, from 0 on; by then at least as many have begun as are walked.

The count of the k-th block is in the k-th of the submitter's own rows of `DIO`: there are enough of them, since a block
has `BLOCK` places, and of two places one was in flight. Up to half a block of them needs one block: then the list alone
decides, and small worlds, where a state is no more than the list, can leave places as they are.
"""

from workbench.accelerate import at, inline, jit

BLOCK_BITS = 6
BLOCK = 1 << BLOCK_BITS


@inline
def enter_flight(world, task, d):
    """Append a direct IO, which begins now."""
    dio = at(world.dio, d)
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
    _block(world, task, dio)["in_block"] -= 1
    return _earlier(world, task, dio)


@inline
def _block(world, task, dio):
    """Row that has the count of a direct IO's block."""
    return at(world.dio, task["first_dio"] + (dio["place"] >> BLOCK_BITS))


@inline
def _take_place(world, task, dio):
    dio["place"] = task["flight_next"]
    task["flight_next"] += 1
    _block(world, task, dio)["in_block"] += 1


@inline
def _earlier(world, task, dio):
    block = dio["place"] >> BLOCK_BITS
    earlier = 0
    before = dio["prev"]
    while before >= 0 and at(world.dio, before)["place"] >> BLOCK_BITS == block:
        earlier += 1
        before = at(world.dio, before)["prev"]
    if before >= 0:
        for row in range(task["first_dio"], task["first_dio"] + block):
            earlier += at(world.dio, row)["in_block"]
    return earlier


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
