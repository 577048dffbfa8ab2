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
# # The debate, message by message, and where each of its questions is run
#
# **What it asks.** Which claim about pinned pages was made when, by whom, in which message; and which notebook puts it
# to the model?
#
# Read the notebooks in this order, which is that of the thread. Each starts with the claim that it is about, and ends
# with what it found; parameters stand in its first code cell. A line of the table is one message, or one change that
# was merged; a notebook stands beside every message whose claim it runs.

# %% tags=["parameters"]
quick: bool = False  # makes no difference here
figures_dir: str = "../figures"  # folder for the table as text

# %%
import textwrap
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from workbench.batch import notebook_names

# Date, who, message id or subject or commit, what was said, notebooks.
DEBATE = [
    ("2018-01-03", "Kara", "20180103100430.GE4911@quack2",
     "crashes: a page is dirtied that has lost its buffers", "01 04"),
    ("2018-06-16", "Hubbard", "“[PATCH 2/2] mm: set PG_dma_pinned”",
     "a page flag for pinned pages, which try_to_unmap obeys; only eviction clears it", "01 03 04"),
    ("2018-06-17", "Williams", "on PG_dma_pinned",
     "of a DAX file the page is the block: truncation has to wait, or to revoke", "08"),
    ("2018-06-18", "Hellwig", "on PG_dma_pinned",
     "two pin one page: the first to finish removes the protection", "04"),
    ("2018-06-19", "Wilcox", "on PG_dma_pinned",
     "take pinned pages off the LRU, and count pins there", "02 03"),
    ("2018-06-19", "Kara", "on PG_dma_pinned",
     "page_mkclean is the other half; first mention of a virtual VMA", "03 06"),
    ("2018-06-20", "Kara", "on PG_dma_pinned",
     "block, skip or report; without long-term holders that let go, “unusable sooner rather than later”", "05"),
    ("2018-06-25", "Kara", "20180625152150.jnf5suiubecfppcl@quack2",
     "virtual VMAs, first obstacle: the size of a node, churn at hundreds of places", "06 10"),
    ("2018-06-25", "Kara", "20180625152150.jnf5suiubecfppcl@quack2",
     "second obstacle: pages of one call are put at different times, in random order", "02 10"),
    ("2018-06-28", "Kara", "20180628091743.khhta7nafuwstd3m@quack2",
     "what the right thing is differs from caller to caller", "03"),
    ("2018-07-01", "Hubbard", "20180702005654.20369-7-jhubbard",
     "version 2: off the LRU, and page_mkclean asks", "03 04"),
    ("2018-07-09", "Kara", "20180709160806.xjt2l2pbmyiutbyi@quack2", "waiting in writeback deadlocks", "04 05"),
    ("2018-07-09", "Wilcox", "20180709200049.GA5335@bombadil",
     "a page under DMA should not be written at all: fail, or bounce", "04 05"),
    ("2018-11-29", "Hubbard", "f5ad7210-05e0-3dc4-02df-01ce5346e198@nvidia",
     "fio: what off-LRU pins cost a direct read", "02"),
    ("2018-12-10", "Kara", "20181210102846.GC29289@quack2",
     "virtual VMAs again: an insert for each pin, and “for small IOs there's no help”", "06"),
    ("2018-12-12", "Glisse", "on “mm: introduce put_user_page*()”", "count pins in mapcount", "03 04"),
    ("2019-01-14", "Kara", "20190114145447.GJ13316@quack2",
     "count a pin as 1024 references: “should be plenty”", "07"),
    ("2019-01-17", "Kara", "20190117093047.GB9378@quack2", "ask before or after write-protecting?", "03 04"),
    ("2019-06-05", "Weiny", "“RDMA/FS DAX truncate proposal”", "leases: notice, a grace period, then revoke or fail",
     "05 08"),
    ("2019-12-19", "Romanovsky", "20191219132607.GA410823@unreal", "the count of a large page runs over", "07"),
    ("2020-02-10", "Hubbard", "20200211001536.1027652-1-jhubbard",
     "FOLL_PIN is tracked (v5.7); large pages get an exact count", "03 07"),
    ("2021-02-11", "Tatashin", "“prohibit pinning pages in ZONE_MOVABLE”, v10",
     "move pages before a long-term pin", "08"),
    ("2021-11-15", "Hildenbrand", "3ae33b08-d9ef-f846-56fb-645e3b9b4c66@redhat",
     "after fork the device and the owner have different pages", "08"),
    ("2022-03-03", "Ts'o", "YiDS9wVfq4mM2jGK@mit.edu",
     "ext4 warns in place of the crash, and drops the data", "01"),
    ("2023-01-23", "Wilcox", "on copying pinned pages at fork",
     "keep track of ranges of pinned pages, as rmap does", "09"),
    ("2023-02-09", "Kara", "20230209121046.25360-1-jack@suse.cz", "writeback bounces or skips pinned pages", "05"),
    ("2023-04-28", "Kara", "commit d824ec2a1546", "reclaim passes pinned pages by; writeback does not ask", "01 03"),
    ("2023-05-04", "Stoakes", "cover.1683235180.git.lstoakes",
     "refuse long-term pins of files that need dirty tracking (v6.5)", "05"),
    ("2025-05-11", "Hellwig", "aCGTeY2HswIFHsD0@infradead", "the original problem is still there", "03 04 10"),
]  # fmt: skip

names = [name for name in notebook_names() if name != "00_index"]
by_number = {name[:2]: name for name in names}
debate = pd.DataFrame(DEBATE, columns=["date", "who", "message", "said", "notebooks"])

# %% [markdown]
# ## The table


# %%
def link(numbers):
    return ", ".join(f"[{by_number[n]}]({by_number[n]}.ipynb)" for n in numbers.split())


lines = ["| date | who | message | said | run in |", "| --- | --- | --- | --- | --- |"]
lines += [f"| {r.date} | {r.who} | {r.message} | {r.said} | {link(r.notebooks)} |" for r in debate.itertuples()]
Markdown("\n".join(lines))

# %% [markdown]
# The same for a mail.


# %%
def as_mail(row):
    """A message in lines of 72 columns."""
    head = textwrap.wrap(
        f"{row.date}  {row.who}, {row.message}", 72, subsequent_indent=" " * 12, break_on_hyphens=False
    )
    said = textwrap.wrap(f"{row.said} [{row.notebooks.replace(' ', ', ')}]", 60)
    return "\n".join([*head, *(" " * 12 + line for line in said)])


mail = "\n".join(as_mail(row) for row in debate.itertuples()) + "\n"
Path(figures_dir).mkdir(parents=True, exist_ok=True)
Path(figures_dir, "debate.txt").write_text(mail, encoding="utf-8")
print(mail)

# %%
unnamed = [name for number, name in by_number.items() if not debate["notebooks"].str.contains(number).any()]
first = debate["date"].min()
Markdown(
    f"## What it found\n\n"
    f"{len(debate)} turns of the debate since {first}, each with a notebook. "
    + (f"Not about a single message: {', '.join(f'[{name}]({name}.ipynb)' for name in unnamed)}. " if unnamed else "")
    + "The question of 2018 is what writeback should do with a page that is pinned; how to know that it is pinned "
    "was settled by 2020, by a count that does for page cache and anonymous memory alike. Start with "
    f"[{by_number['01']}]({by_number['01']}.ipynb) for the crash, or with "
    f"[{by_number['03']}]({by_number['03']}.ipynb) for everything at once."
)
