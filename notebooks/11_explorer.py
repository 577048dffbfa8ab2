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
# # Explorers: move a slider and see
#
# **What it asks.** Whatever you do: three scenarios of the thread with a control for each parameter, and the shortest
# way into the crash of 2018, step by step. Numbers are those of `workbench simulate` for the same parameters; the
# button under each explorer copies that command.
#
# **How to use it.** Run all cells. Tab goes from control to control; arrow keys move sliders and menus, the space bar
# ticks designs and presses buttons. Sliders whose range spans decades go by factors. The explorers start from small
# runs, which take milliseconds; what takes longer says so. The first run of each kind of tracker is compiled, which
# takes up to a minute.

# %% tags=["parameters"]
quick: bool = False  # small inputs; those of the explorers are small already
figures_dir: str = "../figures"  # folder for figures and tables; "Save this figure" writes to its folder explorer

# %%
from pathlib import Path

from IPython.display import Markdown, display

from workbench import charts, explore
from workbench.widgets import explorer, player

folder = Path(figures_dir)


def keep(name, shown):
    """Save what an explorer shows at first, for those who read this page without a kernel."""
    figure, text = shown.figure()
    charts.save(figure, name, folder, text, shown.provenance, [shown.command_line])
    display(figure)


# %% [markdown]
# ## Direct IO: pages of one call, released at different times
#
# The seed's second obstacle. Deep queues, large IOs and small extents (`extent_kib`) make a GUP call end in many
# pieces; the figures *live ranges* and *from completion to the pin being gone* show what that means for a design that
# keeps ranges: tick one.

# %%
direct = explorer("direct-io", folder=folder / "explorer")
direct

# %% [markdown]
# As it starts:

# %%
keep("explorer_direct_io", direct)

# %% [markdown]
# ## Long-term pins: half of a file held for ever
#
# "After phase 1 pinned pages will block page writeback" (Kara, June 2018). Move `pinned_share` past `dirty_ratio`.

# %%
longterm = explorer("rdma-longterm", folder=folder / "explorer")
longterm

# %%
keep("explorer_rdma_longterm", longterm)

# %% [markdown]
# ## Virtual VMAs: who pays for ranges in the tree
#
# The seed's first obstacle. All users of the tree visit more nodes, and hold `i_mmap_rwsem` for longer.

# %%
ranges = explorer("virtual-vma", folder=folder / "explorer")
ranges

# %%
keep("explorer_virtual_vma", ranges)

# %% [markdown]
# ## The crash of 2018, step by step
#
# The shortest of all sequences of steps in `golden-race` under v4.17 that dirties a page without buffers. Any hazard
# of any verdict can be played: `player(explore("fork-cow", "v4.17"), "cow-alias")`.

# %%
found = explore("golden-race", "v4.17", conditional=False)
played = player(found, "bufferless-dirty")
played

# %% [markdown]
# ## What it found
#
# As they start; move a slider, and this is another number.

# %%
plain, bias = (result.metrics["cpu_ns_per_page"] for result in direct.results.values())
held_up = {design: result.metrics["throttled_share"] for design, result in longterm.results.items()}
alone, _, common = (result.metrics["rmap_hold_mean_ns"] for result in ranges.results.values())
Markdown(
    f"A pin and its release by reference count bias cost {bias - plain:.1f} ns of CPU time per page. With half of a "
    "file pinned for ever, writers are held up for "
    + ", ".join(f"{share:.0%} of their time under `{design}`" for design, share in held_up.items())
    + f". A thousand pinned ranges in the tree make an rmap walk hold `i_mmap_rwsem` {common / alone:.1f} times as "
    f"long. The crash of 2018 takes {len(played.steps)} steps.\n\n"
    "These are the experiments of `02_direct_io`, `05_rdma_longterm`, `06_virtual_vma` and `01_golden_race`. What is "
    "worth keeping leaves by the buttons: a command, a spec to which values can be added for `workbench sweep`, a "
    "figure with its provenance."
)
