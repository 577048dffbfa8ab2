"""Verdicts made by hand, for the tests of what is shown of them."""

import zlib

from workbench.verdict import HazardVerdict, TraceStep, Verdict

HAZARDS = ("bufferless-dirty", "missed-pin", "false-pin", "stall")
MAPPED = "PG_lru PG_cached PTE_present"
WRITTEN = f"PG_dirty PG_private TAG_DIRTY PTE_write PTE_dirty {MAPPED}"
CLEANED = f"PG_private {MAPPED}"
STRIPPED = "PG_lru PG_cached"
NEWER = "newer than disk"

# The crash of 2018 (Kara, 2018-01-03), with the steps left out that change nothing.
CRASH = (
    TraceStep("dio/0", "dio", "io_submit", -1),
    TraceStep("dio/0", "dio", "gup_pages", 0, MAPPED, 2, 0),
    TraceStep("dio/0", "dio", "fault_lock", 0, f"PG_locked {MAPPED}", 2, 0),
    TraceStep("dio/0", "dio", "fault_pte", 0, f"PG_locked {WRITTEN}", 3, 0),
    TraceStep("dio/0", "dio", "fault_unlock", 0, WRITTEN, 3, 0),
    TraceStep("dio/0", "dio", "follow_page", 0, WRITTEN, 4, 0, 1),
    TraceStep("flusher", "writeback", "page_mkclean", 0, f"PG_locked {CLEANED} PG_dirty", 4, 0, 1),
    TraceStep("flusher", "writeback", "clear_page_dirty_for_io", 0, f"PG_writeback {CLEANED}", 4, 0, 1),
    TraceStep("irq/1", "irq", "end_page_writeback", 0, CLEANED, 4, 0, 1),
    TraceStep("device", "device", "finish read", 0, CLEANED, 4, 0, 1, NEWER),
    TraceStep("kswapd", "kswapd", "try_to_unmap", 0, "PG_private PG_cached", 4, -1, 1, NEWER),
    TraceStep("kswapd", "kswapd", "try_to_release_page", 0, "PG_cached", 3, -1, 1, NEWER),
    TraceStep("kswapd", "kswapd", "putback", 0, STRIPPED, 2, -1, 1, NEWER),
    TraceStep(
        "kworker/0", "kworker", "set_page_dirty_lock", 0, f"PG_dirty {STRIPPED}", 2, -1, 1, NEWER, ("bufferless-dirty",)
    ),
)


def reached(depth: int, *conditional: str, trace: tuple = CRASH) -> HazardVerdict:
    schedule = tuple((step.actor, step.step, step.page, 0) for step in trace)
    return HazardVerdict("reachable", depth, trace, schedule, conditional)


def verdict(scenario: str, design: str, hazards: dict, **fields) -> Verdict:
    """A search whose hazards are those, and the others unreachable."""
    told = dict.fromkeys(HAZARDS, HazardVerdict("unreachable")) | hazards
    size = {"complete": True, "reduced": True, "states": 1234, "transitions": 5678, "depth": 90}
    took = {"seconds": 1.5, "bytes_per_state": 64.0}
    return Verdict(scenario, design, **{"parameters": {"rounds": 2}, **size, **took, "hazards": told, **fields})


def explore(
    scenario: str, design: str, *, reduce: bool, conditional: bool, max_states: int, memory_mib: int
) -> Verdict:
    """Stand in for a search: what comes out depends on the arguments alone."""
    found = {}
    chance = zlib.crc32(f"{scenario} {design.replace('vma-full', 'vma-common').split(',order')[0]}".encode())
    for k, hazard in enumerate(HAZARDS):
        if chance >> 4 * k & 3 == 0:
            found[hazard] = reached(chance % 40 + 5 + k, *(["wait.page_lock=held"] if conditional else []))
    if "flag" in design and scenario == "wide-map":
        found["stall"] = HazardVerdict("unknown", reason=f"stopped at {max_states} states")
    waits = (("fsync", "a pin to go away"),) if "wait" in design else ()
    return verdict(scenario, design, found, reduced=reduce, waits=(("dio/0", "the page lock"), *waits))
