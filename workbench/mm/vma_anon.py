"""``anon_vma``: which VMAs share one, and the chains that forks make of them (v6.12 mm/rmap.c).

An anon_vma is a row of ``anon``. The chain of a VMA (v6.12 mm/rmap.c anon_vma_clone, anon_vma_fork) is that of the
VMA which it was forked from, and one more: the path from its `tip` over `above`. A chain of one is *singular*.
"""

from workbench.accelerate import at, inline, jit
from workbench.mm.vma_core import ANON_FREE, ANON_USED, FORK_CHAIN, REUSE, VM_ACCESS, pages_of, row_of, ruled


@jit
def join_chain(m, row, anon, tip):
    """Make the VMA a user of an anon_vma, with the chain that ends in `tip`."""
    vma = at(m.vma, row)
    vma["anon_vma"] = anon
    vma["tip"] = tip
    if tip == 0:
        return
    at(m.anon, anon)["num_active_vmas"] += 1
    here = tip
    while here != 0:
        at(m.anon, here)["chained"] += 1
        here = at(m.anon, here)["above"]


@jit
def leave_chain(m, row):
    """Unfault the VMA; anon_vmas that are in no chain any more go (unlink_anon_vmas)."""
    vma = at(m.vma, row)
    here = vma["tip"]
    if here == 0:
        return
    at(m.anon, vma["anon_vma"])["num_active_vmas"] -= 1
    vma["anon_vma"] = 0
    vma["tip"] = 0
    while here != 0:
        anon = at(m.anon, here)
        above = anon["above"]
        anon["chained"] -= 1
        if anon["chained"] == 0:
            at(m.anon, anon["parent"])["num_children"] -= 1
            anon["parent"] = m.sys[ANON_FREE]
            m.sys[ANON_FREE] = here
            m.sys[ANON_USED] -= 1
        here = above


@jit
def new_anon(m, parent, above):
    """Allocate an anon_vma, a child of another (0: a root), with a place in a chain; its number."""
    row = m.sys[ANON_FREE]
    if row == 0:
        raise MemoryError("no free anon_vma row")
    anon = at(m.anon, row)
    m.sys[ANON_FREE] = anon["parent"]
    m.sys[ANON_USED] += 1
    anon["num_children"] = 0
    anon["num_active_vmas"] = 0
    anon["chained"] = 0
    anon["parent"] = row if parent == 0 else parent
    anon["above"] = above
    anon["depth"] = 1 if above == 0 else at(m.anon, above)["depth"] + 1
    at(m.anon, anon["parent"])["num_children"] += 1
    return row


@inline
def forked(m, vma):
    """Whether a VMA is faulted, and its chain not singular (vma_is_fork_child)."""
    return vma["tip"] != 0 and ruled(m, FORK_CHAIN) and at(m.anon, vma["tip"])["depth"] > 1


@jit
def prepare_anon(m, mm, i):
    """Give a VMA that is write-faulted an anon_vma (v6.12 mm/rmap.c __anon_vma_prepare).

    If it can be that of a neighbour, first of the next one, it is (v6.12 mm/vma.c find_mergeable_anon_vma).
    """
    row = row_of(m, mm, i)
    if at(m.vma, row)["anon_vma"] != 0:
        return
    anon = 0
    if ruled(m, REUSE):
        if i + 1 < m.counts[mm]:
            anon = _reusable(m, row_of(m, mm, i + 1), row, row_of(m, mm, i + 1))
        if anon == 0 and i > 0:
            anon = _reusable(m, row_of(m, mm, i - 1), row_of(m, mm, i - 1), row)
    if anon == 0:
        anon = new_anon(m, 0, 0)
    join_chain(m, row, anon, anon)


@jit
def _reusable(m, old, below, above):
    """The anon_vma of `old`, one of two VMAs that are contiguous and differ in access flags only; or 0."""
    a, b = at(m.vma, below), at(m.vma, above)
    if a["vm_end"] != b["vm_start"] or a["vm_file"] != b["vm_file"]:
        return 0
    if (a["vm_flags"] ^ b["vm_flags"]) & ~VM_ACCESS != 0 or b["vm_pgoff"] != a["vm_pgoff"] + pages_of(a):
        return 0
    vma = at(m.vma, old)
    return 0 if forked(m, vma) else vma["anon_vma"]
