"""Other processes that map the page: each mapping is a reference (v4.17 mm/rmap.c page_add_file_rmap).

A library that a thousand processes map has a thousand references: to a count with a bias it looks pinned.
"""

from workbench.accelerate import at, inline, jit
from workbench.mm import registers as R
from workbench.mm.page import PG_CACHED, PTE_PRESENT, get_page, has, lock_page, lru_add, nr_ptes, page_of, unlock_page
from workbench.mm.programs import P_UNMAP
from workbench.mm.world import DEAD, tally


@jit
def mapper_map(world, t):
    """One more process maps the page, which is read in if reclaim took it; after the last, they begin to unmap it.

    Under the page lock, as in v4.17 mm/filemap.c filemap_map_pages. ``task.first``: mappings made.
    """
    task = at(world.task, t)
    p = int(task["page"])
    page = page_of(world, p)
    if not lock_page(world, task, p):
        return
    if not has(page, PG_CACHED):
        _read_in(world, p)
    page["_mapcount"] += 1
    get_page(world, page)
    unlock_page(world, p)
    tally(world, R.PTE_UPDATE, 1)
    tally(world, R.ATOMIC, 2)
    task["first"] += 1
    task["rounds"] -= 1
    if task["rounds"] == 0:
        task["pc"] = P_UNMAP


@inline
def _read_in(world, p):
    page = page_of(world, p)
    page["flags"] |= PG_CACHED
    get_page(world, page)
    lru_add(world, p)


@jit
def mapper_unmap(world, t):
    """One process less; reclaim may have unmapped them all before."""
    task = at(world.task, t)
    page = page_of(world, int(task["page"]))
    if nr_ptes(world, page) > has(page, PTE_PRESENT):  # mapped by another than the owner
        page["_mapcount"] -= 1
        page["_refcount"] -= 1
        tally(world, R.PTE_UPDATE, 1)
        tally(world, R.ATOMIC, 2)
    task["first"] -= 1
    if task["first"] == 0:
        task["state"] = DEAD
