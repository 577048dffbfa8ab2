# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # fork, truncate, migrate: who else has to know that a page is pinned
#
# **The claims.** Writeback is not alone. *fork*: "the first write gives the parent a copy", and the device goes on with
# the page that is now the child's (Hildenbrand, 2021-11-15, 3ae33b08-d9ef-f846-56fb-645e3b9b4c66@redhat). *truncate*:
# of a DAX file the page is the block, and it is freed under the DMA (Williams, 2018-06-17, on "[PATCH 2/2] mm: set
# PG_dma_pinned"). *migrate*: a page with one reference more than expected does not move, so that CMA and memory
# hotplug wait for as long as a region is registered (Kara, 2019-01-16; Tatashin, 2021-02-11).
#
# **Where they disagreed.** Of fork: whether a count in the page should tell (bias, merged), or a flag of the VMA
# (Wilcox, 2023-01-23); it turns on who tells the tracker: direct IO took plain references until 2022-23, and is
# invisible then. Of truncation: wait if the pin is short, revoke it or refuse it if it is long (Williams); it turns on
# who holds it. Of migration: whether direct IO should count as long-term for the sake of CMA (proposed in 2025-03,
# refused by Hellwig); it turns on how long a pin lasts, and how long an allocation tries.
#
# **The experiment.** Three small worlds. Each is searched in every interleaving, for what can happen; and run by the
# clock, for what it costs. Times are those of the cost table; the device needs 1 ms for a read where nothing
# else is said.

# %% tags=["parameters"]
quick: bool = False  # fewer designs and points
figures_dir: str = "../figures"  # folder for figures and tables
attempts: int = 10  # attempts of cma_alloc, or of unplugging, to move the page

# %%
from pathlib import Path

import pandas as pd
from IPython.display import display

from workbench import charts, costs
from workbench.counterexample import as_mail
from workbench.errors import UsageError
from workbench.explore import explore
from workbench.simulate import simulate

folder = Path(figures_dir)
TRACKERS = ["none", "bias"] if quick else ["none", "bias", "lru-count"]
FOUND = {"unreachable": charts.FOUND["unreachable"], "steps": charts.FOUND["reachable"], "nobody": "#EEEEEE"}


def designs(parts, told):
    """Three kernels, and what the decision does with each tracker: by the name that stands in the figure."""
    own = {f"{tracker}, {told}": f"tracker={tracker},cleaning=ignore,{parts}" for tracker in TRACKERS}
    return {name: name for name in ("v4.17", "v5.7", "v6.12")} | own


def search(scenario, design, **parameters):
    return explore(scenario, design, reduce=True, conditional=False, **parameters)


def says(found, *hazards):
    """The first of the hazards that can be reached, and in how many steps."""
    for hazard in hazards:
        reached = found.hazards[hazard]
        if reached.verdict == "reachable":
            return f"{hazard}: {reached.depth} steps"
        if reached.verdict != "unreachable":
            raise UsageError(f"{hazard} in {found.scenario} under {found.design}: {reached.verdict}")
    return "nobody pins" if any(found.hazards[hazard].reason for hazard in hazards) else "unreachable"


def table_of(chosen, worlds, cell):
    """A row per design, a column per world."""
    rows = {name: [cell(design, **world) for world in worlds.values()] for name, design in chosen.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(worlds))


def verdicts(scenario, chosen, worlds, *hazards):
    return table_of(chosen, worlds, lambda design, **world: says(search(scenario, design, **world), *hazards))


def show(name, made, provenance, sources):
    figure, text = made
    charts.save(figure, name, folder, text, provenance, sources)
    display(figure)


def counterexample(name, hazard, scenario, design, claim, sources, **parameters):
    """Draw a shortest sequence; the mail's text is shown below the figure."""
    found = search(scenario, design, **parameters)
    reached = found.hazards[hazard]
    if reached.verdict != "reachable":
        raise UsageError(f"{hazard} in {scenario} under {design}: {reached.verdict}; the claim told here does not hold")
    line = (
        f"{claim} Shortest in a search that takes steps together which nobody else can notice: {reached.depth} steps."
    )
    title = ", ".join([f"{hazard}: {scenario} under {design}", *(f"{k}={v}" for k, v in parameters.items())])
    made = charts.space_time(reached.trace, title=title, caption=charts.caption("model", None, line))
    show(name, made, found.provenance, sources)
    print(as_mail(found, hazard))


# %% [markdown]
# ## fork
#
# v4.17 write-protects the page for parent and child. Who writes first gets a copy (do_wp_page); if that is the parent,
# its PTE and the device part ways.

# %%
COW = ["Hildenbrand 2021-11-15, 3ae33b08-d9ef-f846-56fb-645e3b9b4c66@redhat"]
counterexample(
    "fork_alias", "cow-alias", "fork-cow", "v4.17",
    "The owner's PTE moves to a copy while the device writes into the page that it had.",
    [*COW, "v4.17 mm/memory.c do_wp_page"],
)  # fmt: skip

# %% [markdown]
# Since v5.9 (70e806e4e645) fork asks whether the page may be pinned, and gives the child a copy at once. Which is
# as good as the answer: of a caller that takes plain references nobody tells fork, and a GUP-fast that runs beside fork
# is missed unless it looks at `write_protect_seq`.

# %%
counterexample(
    "fork_race", "cow-alias", "fork-cow", "v6.12",
    "GUP-fast has read the PTE, fork asks (no), GUP-fast pins, fork shares; nobody looks at write_protect_seq here.",
    [*COW, "v6.12 mm/gup.c gup_fast"],
    write_protect_seq=0,
)  # fmt: skip

# %%
FORKS = designs("fork=ask", "fork asks")
WORLDS = {
    "direct IO pins": {},
    "direct IO takes plain references": {"pin": "plain"},
    "no write_protect_seq": {"write_protect_seq": 0},
}
table = verdicts("fork-cow", FORKS, WORLDS, "cow-alias")
made = charts.matrix(
    table, FOUND, corner="design", title="Can owner and device part ways by a fork?",
    caption=charts.caption("model", None, "Every interleaving of one direct IO, a fork, and a write by each side."),
)  # fmt: skip
show("fork_verdicts", made, search("fork-cow", "v6.12").provenance, COW)

# %% [markdown]
# off-LRU would not do here even if fork asked: it learns of a page after the walk of GUP, and fork may come in between
# (not in quick mode).
#
# ### What a fork costs
#
# One fork by the clock, during the read or after it; the owner writes afterwards, or nobody does. Copies are pages
# copied, at fork or by a write fault.

# %%
WRITES = {
    "owner writes": {"writer_rounds": 1},
    "nobody writes": {"writer_rounds": 0},
}
MOMENTS = {
    "fork during the read": {"fork_us": 200.0, "writer_us": 400.0, "child_us": 600.0},
    "fork after the read": {"fork_us": 1500.0, "writer_us": 1700.0, "child_us": 1900.0},
}
TIMES = {f"{moment}, {who}": at | rounds for moment, at in MOMENTS.items() for who, rounds in WRITES.items()}


def copies(design, **parameters):
    counted = simulate("fork-cow", design, child_rounds=0, **parameters).counters
    n = counted["COW_COPIES"]
    return f"{n} {'copy' if n == 1 else 'copies'}" + (", data lost to the owner" if counted["COW_ALIAS"] else "")


made = charts.matrix(
    table_of(FORKS, TIMES, copies), {"lost": charts.FOUND["reachable"], "cop": charts.FOUND["unreachable"]},
    corner="design", title="Pages copied for one fork of a page with a read in flight",
    caption=charts.caption(
        "model", costs.in_use(),
        "Read of 1 ms from time 0; fork at 0.2 or 1.5 ms, the owner's write 0.2 ms later; then the child exits.",
    ),
)  # fmt: skip
show("fork_copies", made, simulate("fork-cow", "v6.12").provenance, COW)

# %% [markdown]
# Asking costs a copy more only where nobody writes afterwards, and only while the page is pinned. Where the owner
# writes, it is one copy all the same: made at fork, and for the child.

# %% [markdown]
# ## truncate
#
# Kara, 2019-01-16: pins for reading are as bad as pins for writing here. v4.17 dax_disassociate_entry only warns.

# %%
DAX = [
    "Williams 2018-06-17, [PATCH 2/2] mm: set PG_dma_pinned",
    "Kara 2019-01-16: truncation has to know of pins for reading, too",
]
counterexample(
    "truncate_dax", "truncate-write", "truncate-dax", "v4.17",
    "The block is free, or another file's, when the DMA comes.", [*DAX, "v4.17 fs/dax.c dax_disassociate_entry"],
)  # fmt: skip

# %% [markdown]
# The same for the page cache, where the frame is nobody's block: the data goes to a page that no file has any more. It
# is lost, but harms nobody else. And with a memory region in the place of the direct IO, whose pin need never end: who
# waits for it waits for ever, so kernels refuse long-term pins of DAX (v4.17 get_user_pages_longterm).

# %%
TRUNCATES = designs("truncate=wait", "truncate waits")
HOLDERS = {
    "DAX, direct IO": {},
    "DAX, memory region": {"holder": "mr"},
    "page cache, direct IO": {"mapping": "cache"},
    "page cache, memory region": {"mapping": "cache", "holder": "mr"},
}
table = verdicts("truncate-dax", TRUNCATES, HOLDERS, "truncate-write", "stall")
made = charts.matrix(
    table, FOUND, corner="design", title="Truncation under a pin: is the block freed, or is somebody stuck?",
    caption=charts.caption(
        "model", None, "Every interleaving of who pins one page and a truncation; 'nobody pins': the pin is refused."
    ),
)  # fmt: skip
show("truncate_verdicts", made, search("truncate-dax", "v6.12").provenance, DAX)

# %% [markdown]
# ### How long truncation waits
#
# It comes 0.3 ms after the read began. v6.12 waits for what is left of it, whatever that is; v4.17 does not wait, and
# the page cache needs no waiting.


# %%
def truncation_us(design, read_us, mapping):
    log = simulate("truncate-dax", design, read_us=read_us, mapping=mapping).log
    steps = log[log["actor"] == "truncate"]
    return (steps["end_ps"].max() - steps["time_ps"].min()) / 1e6


READS = [1000.0, 100_000.0] if quick else [400.0, 1000.0, 3000.0, 10_000.0, 30_000.0, 100_000.0]
rows = [
    {"setup": f"{design}, {name}", "read": read, "truncation": truncation_us(design, read, mapping)}
    for design in ("v4.17", "v6.12")
    for mapping, name in (("dax", "DAX"), ("cache", "page cache"))
    for read in READS
]
made = charts.lines(
    pd.DataFrame(rows), "read", "truncation", hue="setup", xunit="us", yunit="us", logx=True, logy=True,
    title="Truncation of a page that a direct IO reads into", xlabel="time that the device needs for the read",
    ylabel="time that truncation takes",
    caption=charts.caption("model", costs.in_use(), "Truncation begins 0.3 ms after the read; one page."),
)  # fmt: skip
show("truncate_waits", made, simulate("truncate-dax", "v6.12").provenance, DAX)

# %% [markdown]
# ## migrate
#
# A registered region on a page in CMA: cma_alloc finds a reference that it can't explain, and gives up
# (v4.17 migrate_page_move_mapping); unplugging ZONE_MOVABLE tries for as long as the page is pinned (Kara, 2019-01-16;
# Tatashin, 2021-02-11).

# %%
CMA = ["Tatashin 2021-02-11, v10 of the series, 14 patches"]
counterexample(
    "cma_unmovable", "unmovable", "cma", "v4.17", "Registration returns, and the page still lies in CMA.",
    [*CMA, "v4.17 mm/migrate.c migrate_page_move_mapping"],
)  # fmt: skip

# %%
MOVES = designs("longterm=migrate-first", "moved first")
ZONES = {"CMA": {}, "ZONE_MOVABLE": {"zone": "movable"}}
table = verdicts("cma", MOVES, ZONES, "unmovable")
made = charts.matrix(
    table, FOUND, corner="design", title="Can a long-term pin stay on a page that has to be movable?",
    caption=charts.caption("model", None, "Every interleaving of a registration and two attempts to move the page."),
)  # fmt: skip
show("migrate_verdicts", made, search("cma", "v6.12").provenance, CMA)

# %% [markdown]
# ### Attempts that a pin defeats
#
# By the clock. The region is registered at 0, its transfer ends at 1 ms, and then it stays, or goes. The attempts come
# in a row at 0.3 or at 1.5 ms.


# %%
def attempts_told(design, **parameters):
    done = simulate("cma", design, migrate_rounds=attempts, **parameters)
    moves = done.log[done.log["step"] == "migrate_move"]
    mine = int((moves["actor"] == "migrate").sum())
    earlier = int((moves["actor"] != "migrate").sum())
    moved = done.counters["MIGRATED"] - earlier
    if mine > moved:
        return f"pinned: {mine - moved} of {attempts} fail"
    return "moved by the 1st attempt" if moved else "moved before it was pinned"


LEFT = {
    "{}, region stays": {"dereg": 0},
    "{}, region goes, attempts before": {"dereg": 1},
    "{}, region goes, attempts after": {"dereg": 1, "migrate_us": 1500.0},
}
ATTEMPTS = {name.format(zone): where | left for zone, where in ZONES.items() for name, left in LEFT.items()}
made = charts.matrix(
    table_of(MOVES, ATTEMPTS, attempts_told), {"fail": charts.FOUND["reachable"], "moved": charts.FOUND["unreachable"]},
    corner="design", title="Attempts to move a page on which a memory region is registered",
    caption=charts.caption("model", costs.in_use(), f"{attempts} attempts, one right after the other."),
)  # fmt: skip
show("migrate_attempts", made, simulate("cma", "v6.12").provenance, CMA)

# %% [markdown]
# ## What it found
#
# - **fork** needs an answer that can't be missed, at the moment of the copy. v6.12 has it, from three parts that only
#   work together: callers that tell, fork that asks, and GUP-fast that looks at `write_protect_seq`. Take one away and
#   owner and device part ways, in the number of steps above. What it costs is a copy for a child that nobody would
#   have written for.
# - **truncate** needs only to wait, and a plain reference count is enough to wait for. But waiting is only possible
#   where pins end by themselves. So the rule for DAX is two rules: wait for short pins, refuse long ones. Of the page
#   cache no design here keeps the data of a read that truncation has overtaken.
# - **migrate** needs the page elsewhere *before* the pin. Once it is pinned no tracker helps: knowing that it is
#   pinned moves nothing. `migrate-cma` (v5.7) does it for CMA alone; the same page in ZONE_MOVABLE stays.
# - In none of the three does the tracker decide alone: with plain references (`none`) truncation waits and pages are
#   moved first just as well; only fork has to tell a pin from another reference.
