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
# # The decision matrix: every design against every hazard
#
# **The claims.** "Uses unnecessarily too much memory", "too heavyweight for get_user_pages_fast", "you cannot write
# back the page safely", "waiting deadlocks": since 2018 each design was argued for and against in such sentences
# (Kara, 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2; Kara, 2018-07-09,
# 20180709160806.xjt2l2pbmyiutbyi@quack2).
#
# **The experiment.** Every tracker, with every cleaning policy, asking before or after it write-protects, and the
# presets that name historical kernels and postings: each is searched in every interleaving of eight small worlds.
# What can't be reached in a complete search is called unreachable; what was not searched to its end is called
# unknown. What a design costs comes from counters of one run by the clock. Nothing in the tables is typed in.
#
# **What it can't say.** How likely a failure is; and nothing beyond the bounds of the small worlds (docs/model.md,
# section 10).

# %% tags=["parameters"]
quick: bool = False  # the presets and a handful of designs
figures_dir: str = "../figures"  # folder for figures and tables
jobs: int = 2  # processes

# %%
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from workbench import charts, designs, matrix

folder = Path(figures_dir)
pd.set_option("display.max_colwidth", 80)
SOURCES = ["Kara 2018-06-28, 20180628091743.khhta7nafuwstd3m@quack2: a policy for each caller", "docs/model.md"]
found = matrix.build(quick=quick, jobs=jobs)
done = found.searches
Markdown(
    f"{len(found.criteria)} designs in {done['scenario'].nunique()} scenarios. {int(done['complete'].sum())} of "
    f"{len(done)} searches are complete; the largest saw {done['states'].max()} states, and the deepest went "
    f"{done['depth'].max()} steps."
)

# %% [markdown]
# ## The presets
#
# A number is the length of the shortest counterexample; the letter says in which scenario.

# %%
figure, text = matrix.hazards_chart(found, [name for name in matrix.grouped(found) if name in designs.PRESETS])
charts.save(figure, "decision_presets", folder, text, found.provenance, SOURCES)
figure

# %% [markdown]
# ## All designs
#
# Designs whose verdicts are all the same share a row; the numbers are those of the first.

# %%
figure, text = matrix.hazards_chart(found)
charts.save(figure, "decision_matrix", folder, text, found.provenance, SOURCES)
figure

# %% [markdown]
# The same for a mail.

# %%
print(text)

# %% [markdown]
# ## What they cost, and where they work
#
# The last column is no run's: it counts what each tracker makes one touch in the sources of a kernel
# (`workbench kernel churn`, data/README.md).

# %%
figure, costs_text = matrix.criteria_chart(found)
charts.save(figure, "decision_criteria", folder, costs_text, found.provenance, [*SOURCES, "data/README.md"])
figure

# %%
print(costs_text)

# %% [markdown]
# ## What decides
#
# For each hazard: of the trackers with a cleaning policy, the share that can reach it. A row that is the same all
# along is decided by something else than cleaning.

# %%
worst = found.worst.set_index(["design", "hazard"])["verdict"]
HAZARDS = list(dict.fromkeys(found.verdicts["hazard"]))
parts = pd.DataFrame([
    {"design": design, "cleaning": policy, "tracker": designs.parse(design).tracker_name}
    for design in found.criteria.index if design not in designs.PRESETS
    for policy in [dict(part.split("=", 1) for part in design.split(","))["cleaning"]]
])  # fmt: skip


def reach(group):
    """Of some designs, how many can reach each hazard."""
    return {h: f"{sum(worst[d, h] == 'reachable' for d in group['design'])}/{len(group)}" for h in HAZARDS}


pd.DataFrame({policy: reach(group) for policy, group in parts.groupby("cleaning", sort=False)})

# %% [markdown]
# The same by tracker, over all cleaning policies.

# %%
pd.DataFrame({tracker: reach(group) for tracker, group in parts.groupby("tracker", sort=False)}).T

# %% [markdown]
# ## What one choice changes
#
# Pairs of designs that differ in one thing only, and the hazards whose verdicts then differ.

# %%
CHOICES = {
    "asks before it write-protects": (",order=write-protect-first", ",order=check-first"),
    "vma: count in the place of split": ("release=split", "release=count"),
    "vma: backpointer in the place of count": ("release=count", "release=backpointer"),
    "pincount in the place of bias": ("tracker=bias", "tracker=pincount"),
    "a count in the place of a flag": ("tracker=flag,", "tracker=lru-count,"),
    "the flag goes at the first unpin": ("tracker=flag-sticky", "tracker=flag"),
}
changes = []
for choice, (before, after) in CHOICES.items():
    known = {text if "order=" in text else f"{text},order=write-protect-first": text for text in parts["design"]}
    pairs = [
        (known[d], known[d.replace(before, after)]) for d in known if before in d and d.replace(before, after) in known
    ]
    for hazard in HAZARDS:
        turned = [(a, b) for a, b in pairs if worst[a, hazard] != worst[b, hazard]]
        kinds = sorted({f"{worst[a, hazard]} -> {worst[b, hazard]}" for a, b in turned})
        if turned:
            changes.append({"choice": choice, "hazard": hazard, "verdicts": "; ".join(kinds),
                            "pairs": f"{len(turned)} of {len(pairs)}"})  # fmt: skip
pd.DataFrame(changes, columns=["choice", "hazard", "verdicts", "pairs"])

# %% [markdown]
# ## What verdicts hang on
#
# Some modelling decisions are not settled by the kernel's code alone. Each preset was searched again under the other
# values; a verdict that is another one then is listed, with the value that it has now.

# %%
hanging = found.verdicts[found.verdicts["conditional"] != ""]
hanging[["design", "scenario", "hazard", "verdict", "conditional"]].reset_index(drop=True)

# %%
path = matrix.write_markdown(found, folder / "decision_matrix.md")
safe = [d for d in found.criteria.index if all(worst[d, h] in ("unreachable", "not applicable") for h in HAZARDS)]
least = min(found.criteria.index, key=lambda d: sum(worst[d, h] == "reachable" for h in HAZARDS))
Markdown(
    "## What it found\n\n"
    f"Designs that reach no hazard at all: {len(safe)} of {len(found.criteria)}"
    + (": " + ", ".join(f"`{d}`" for d in safe) if safe else "")
    + f". The first of those with the fewest: `{least}`, which reaches "
    + (", ".join(h for h in HAZARDS if worst[least, h] == "reachable") or "none")
    + f". The whole matrix as Markdown: {path.name}."
)
