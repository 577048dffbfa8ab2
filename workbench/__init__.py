"""The GUP-pin workbench: what happens to pages that get_user_pages() has pinned, under every way of tracking them."""

from workbench.designs import PRESETS
from workbench.simulate import SCENARIOS, Result, simulate

__all__ = ["PRESETS", "SCENARIOS", "Result", "simulate"]
