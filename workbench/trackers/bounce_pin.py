"""``bounce-pin``: long-term users get private pages, which are copied back when they are released.

Kara, 2018-01-25, "[LSF/MM TOPIC] get_user_pages() and filesystems". The file's own pages are not pinned by them, so
that there is nothing to tell; others take plain references (`workbench.mm.detached`).
"""

from typing import NamedTuple

from workbench.mm import registers as R
from workbench.sizes import PAGE_SIZE
from workbench.trackers.protocol import LOCK_NONE, NEVER, implements


class BouncePin(NamedTuple):
    """Private pages for memory regions."""

    when: int = NEVER
    lock: int = LOCK_NONE


VARIANTS = {"bounce-pin": BouncePin()}


@implements(BouncePin)
def bytes_in_use(tracker, world):
    return world.sys[R.PRIVATE_NOW] * PAGE_SIZE
