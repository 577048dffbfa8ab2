"""The driver: time goes on in ticks, and in each of them everybody has a turn, in this order."""

from workbench.accelerate import jit
from workbench.bulk import registers as S
from workbench.bulk.dirty import set_limits, write_pages
from workbench.bulk.disk import complete_writeback
from workbench.bulk.flush import flusher, sync
from workbench.bulk.reclaim import read_stream
from workbench.bulk.regions import regions_due, transfer


@jit
def run(world, ticks):
    """Let so many ticks pass."""
    for _ in range(ticks):
        complete_writeback(world)
        regions_due(world)
        transfer(world)
        read_stream(world)
        set_limits(world)
        write_pages(world)
        flusher(world)
        sync(world)
        world.sys[S.NOW] += world.sys[S.TICK]
