"""The GUP-pin workbench: what happens to pages that get_user_pages() has pinned, under every way of tracking them."""

from workbench.designs import PRESETS
from workbench.explore import explore
from workbench.scenarios import SCENARIOS
from workbench.simulate import Result, simulate
from workbench.verdict import Verdict

__all__ = ["PRESETS", "SCENARIOS", "Result", "Verdict", "explore", "simulate"]
