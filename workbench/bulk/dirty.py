"""Dirty pages: marking them, the limits, and `balance_dirty_pages`, which holds writers up.

v6.12 mm/page-writeback.c: global_dirtyable_memory, domain_dirty_limits, dirty_freerun_ceiling, pos_ratio_polynom,
balance_dirty_pages. Simplified: one backing device; what writers may dirty is the write bandwidth, measured over the
last ticks in which the disk was busy, times pos_ratio, for all writers together; nothing is reserved (totalreserve).
"""

from workbench.accelerate import jit
from workbench.bulk import registers as S
from workbench.bulk.bits import fill, test
from workbench.bulk.lru import fault_in
from workbench.bulk.world import DIRTY, FRESH, NEWER, REFERENCED, RESIDENT, STREAM, WRITABLE, folio_start, take_due

RATELIMIT_CALC_SHIFT = 10


@jit
def set_dirty(world, page):
    """folio_mark_dirty: the page's folio is dirty, and so is its inode."""
    sys = world.sys
    if test(world.bit, DIRTY, page):
        return
    fill(world.bit, DIRTY, folio_start(sys, page), sys[S.FOLIO])
    sys[S.DIRTY_NR] += sys[S.FOLIO]
    inode = page // sys[S.INODE_PAGES]
    if world.inode_dirty[inode] == 0:
        world.inode_since[inode] = sys[S.NOW]
    world.inode_dirty[inode] += sys[S.FOLIO]


@jit
def write_fault(world, page):
    """A page of the file becomes writable: read in if it is not there, and dirty (page_mkwrite)."""
    if not test(world.bit, RESIDENT, page) or test(world.bit, STREAM, page):
        fault_in(world, page)
    world.sys[S.FAULT] += 1
    set_dirty(world, page)
    fill(world.bit, WRITABLE, page, 1)


@jit
def set_limits(world):
    """Both limits are shares of the memory that can be dirty: free, or on the lists of file pages."""
    sys = world.sys
    dirtyable = sys[S.FREE] + sys[S.INACTIVE] + sys[S.ACTIVE]
    sys[S.LIMIT] = dirtyable * sys[S.HARD_RATIO] // 100
    sys[S.BACKGROUND] = dirtyable * sys[S.BACKGROUND_RATIO] // 100
    if sys[S.BACKGROUND] >= sys[S.LIMIT]:
        sys[S.BACKGROUND] = sys[S.LIMIT] // 2


@jit
def position_ratio(setpoint, dirty, limit):
    """pos_ratio_polynom: 1 + ((setpoint - dirty) / (limit - setpoint))**3, from 0 to 2, times 1024."""
    x = (setpoint - dirty) << RATELIMIT_CALC_SHIFT
    slope = (limit - setpoint) | 1
    x = x // slope if x >= 0 else -(-x // slope)
    cube = x
    for _ in range(2):
        cube = cube * x >> RATELIMIT_CALC_SHIFT
    return min(max(cube + (1 << RATELIMIT_CALC_SHIFT), 0), 2 << RATELIMIT_CALC_SHIFT)


@jit
def allowance(world, wanted):
    """How many of the pages that writers want to write they may write in this tick."""
    sys = world.sys
    dirty, limit = sys[S.DIRTY_NR] + sys[S.WRITEBACK_NR], sys[S.LIMIT]
    freerun = (limit + sys[S.BACKGROUND]) // 2
    if dirty <= freerun:
        return wanted
    if dirty >= limit:
        return 0
    ratio = position_ratio((freerun + limit) // 2, dirty, limit)
    return min(wanted, sys[S.BANDWIDTH] * ratio >> 2 * RATELIMIT_CALC_SHIFT)


@jit
def written_page(sys, number):
    """Page behind a number among those that threads write to: all of the file, or those outside the regions."""
    if not sys[S.SPARES_REGIONS]:
        return number
    between = sys[S.STRIDE] - sys[S.REGION_PAGES]
    if number < between * sys[S.REGIONS]:
        return number // between * sys[S.STRIDE] + sys[S.REGION_PAGES] + number % between
    return sys[S.REGIONS] * sys[S.STRIDE] + number - between * sys[S.REGIONS]


@jit
def write_pages(world):
    """Threads write; where a write takes a fault they sleep, once they have dirtied as much as they may.

    fault_dirty_shared_page calls balance_dirty_pages; a write to a writable PTE runs no kernel code.
    """
    sys = world.sys
    wanted = take_due(sys, S.WRITE_RATE, S.WRITE_CREDIT)
    may_be_dirty = sys[S.DIRTY_NR] + allowance(world, wanted)
    done = 0
    while done < wanted:
        page = written_page(sys, world.draws[sys[S.DRAW]])
        too_much = sys[S.DIRTY_NR] >= may_be_dirty or sys[S.DIRTY_NR] + sys[S.WRITEBACK_NR] >= sys[S.LIMIT]
        if too_much and not test(world.bit, WRITABLE, page):
            break
        cpu_write(world, page)
        sys[S.DRAW] += 1
        done += 1
    if wanted > 0:
        sys[S.THROTTLED] += sys[S.TICK] * (wanted - done) // wanted


@jit
def cpu_write(world, page):
    """A thread writes to a page."""
    if not test(world.bit, WRITABLE, page):
        write_fault(world, page)
    world.folio[page // world.sys[S.FOLIO]] |= REFERENCED
    fill(world.bit, NEWER, page, 1)
    fill(world.bit, FRESH, page, 1)
    world.sys[S.CPU_WRITES] += 1
