"""Leases of long-term pins: whoever needs the page has the holder told, and after a grace period knows where he is.

Opt-in leases on a file's layout, without which get_user_pages(FOLL_LONGTERM) fails; the holder gets a notice when the
layout is to change, and truncation of a range that stays pinned fails (Weiny, 2019-06-05 and 2019-08-09; F_UNBREAK
2019-09-23). What became of a holder who does not let go was argued about: here he is revoked, or keeps the pin and the
other gets an error, or the other waits (`policies.LEASE_END`).
"""

from workbench.accelerate import at, inline, jit
from workbench.mm import registers as R
from workbench.mm.page import wake_pin_waiters
from workbench.mm.programs import M_IDLE, M_NOTICE, M_REGISTER, RDMA_PROGRAM
from workbench.mm.world import DEAD, WAIT_USER, wake
from workbench.policies import LONGTERM_LEASE


@inline
def has_leases(world):
    """Whether long-term pins need a lease."""
    return (world.sys[R.LONGTERM] & LONGTERM_LEASE) != 0


@inline
def _holds(world, task, p):
    """Whether the task has a lease: of page ``p``, or (-1) of any page. A lease comes before the pins."""
    if task["program"] != RDMA_PROGRAM or task["state"] == DEAD:
        return False
    if task["flight_head"] < 0 and task["pc"] == M_REGISTER:
        return False
    dio = at(world.dio, task["dio"])  # every registration of a region has the same pages
    return p < 0 or (dio["page"] <= p and p < dio["page"] + dio["nr_pages"])


@jit
def lease_held(world):
    """Whether anybody has a lease of the file."""
    for t in range(len(world.task)):
        if _holds(world, at(world.task, t), -1):
            return True
    return False


@jit
def tell_holders(world, p):
    """Tell who has a lease of page ``p`` (-1: of any) to let go, once; it hears so when it is idle."""
    if not has_leases(world):
        return
    for t in range(len(world.task)):
        task = at(world.task, t)
        if not _holds(world, task, p) or task["error"]:
            continue
        task["error"] = 1
        world.sys[R.NOTICES] += 1
        if task["pc"] == M_IDLE:
            task["pc"] = M_NOTICE
            wake(world, t, WAIT_USER)


@jit
def lease_changes(world):
    """A lease is gone, or will not go: who waits for it looks again."""
    if not has_leases(world):
        return
    if not lease_held(world):
        world.sys[R.LEASE_REFUSED] = 0
    for p in range(world.sys[R.NR_PAGES]):
        wake_pin_waiters(world, p)
