"""Memory regions that keep no pin: with private pages, or with a device mapping that an MMU notifier takes back.

Such a region gives the pages back as soon as GUP has given them. Either the device works on a private copy of each,
which is copied back when the region is released (Kara, 2018-01-25, "[LSF/MM TOPIC] get_user_pages() and filesystems").
Or the device has page tables of its own: before a PTE is write-protected or removed its mapping goes, once it is done
with what it writes just then, and when it wants the page again it faults like a CPU (v5.0
drivers/infiniband/core/umem_odp.c; "Case 3" of v6.12 Documentation/core-api/pin_user_pages.rst). In ``built`` of a
registration's row there is a bit for each page: the device has it mapped; or its private page holds what the page has
not.
"""

from workbench.accelerate import at, inline, jit
from workbench.mm import registers as R
from workbench.mm.page import page_of, set_page_dirty
from workbench.mm.programs import RDMA_PROGRAM
from workbench.mm.world import WAIT_DEVICE, tally, wait
from workbench.policies import LONGTERM_NOTIFIER


@inline
def has_notifier(world):
    """Whether memory regions are mapped by their device, and pin nothing."""
    return (world.sys[R.LONGTERM] & LONGTERM_NOTIFIER) != 0


@inline
def keeps_no_pin(world):
    """Whether memory regions give back what GUP gave them."""
    return has_notifier(world) or world.sys[R.PRIVATE_PAGES] != 0


@inline
def page_bit(dio, p):
    """Bit of a page in ``built``; 0: the registration does not cover it."""
    covers = dio["page"] <= p and p < dio["page"] + dio["nr_pages"]
    return 1 << (p - dio["page"]) if covers else 0


@inline
def every_page(dio):
    """Bits of all pages of a registration."""
    return (1 << dio["nr_pages"]) - 1


@jit
def invalidate(world, task, p):
    """Take the page from the devices that have it mapped, as what they have written makes it dirty.

    Returns
    -------
    bool
        False: a device is writing to it; the task waits, and asks again.
    """
    if not has_notifier(world):
        return True
    for d in range(len(world.dio)):
        dio = at(world.dio, d)
        if at(world.task, dio["task"])["program"] != RDMA_PROGRAM or not dio["built"] & page_bit(dio, p):
            continue
        if dio["refcount"] > 0:
            wait(task, WAIT_DEVICE, p)
            return False
        unmap_device(world, dio, p)
    return True


@jit
def unmap_device(world, dio, p):
    """Take the page from the device of one registration, if that has it mapped."""
    if not dio["built"] & page_bit(dio, p):
        return
    dio["built"] &= ~page_bit(dio, p)
    tally(world, R.INVALIDATE, 1)
    set_page_dirty(world, page_of(world, p))


@jit
def is_elsewhere(world, p):
    """Whether a private page holds what the page itself has not."""
    if not world.sys[R.PRIVATE_PAGES]:
        return False
    for d in range(len(world.dio)):
        dio = at(world.dio, d)
        if at(world.task, dio["task"])["program"] == RDMA_PROGRAM and dio["built"] & page_bit(dio, p):
            return True
    return False
