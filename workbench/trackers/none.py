"""``none``: v4.17, plain references only. Nobody can tell a pin from any other reference."""

from typing import NamedTuple

from workbench.trackers.protocol import LOCK_NONE, NEVER


class NoTracker(NamedTuple):
    """Keeps nothing and answers "not pinned" to every question."""

    when: int = NEVER
    lock: int = LOCK_NONE


VARIANTS = {"none": NoTracker()}
