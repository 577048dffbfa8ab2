"""``vma-common``: a virtual VMA is the part that VMAs and pinned ranges share, factored out.

Kara, 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2: "doable but causes a lot of churn".
"""

from workbench.sizes import per_slab_page, size_of
from workbench.trackers.virtual_vma import BACKPOINTER, COUNT, SPLIT, VirtualVma

_PACKED = per_slab_page("pinned range, common node")

VARIANTS = {
    "vma-common:release=split": VirtualVma(release=SPLIT, per_slab_page=_PACKED),
    "vma-common:release=count": VirtualVma(release=COUNT, per_slab_page=_PACKED),
    "vma-common:release=backpointer": VirtualVma(
        release=BACKPOINTER, per_slab_page=_PACKED, bio_bytes=size_of("pointer")
    ),
}
