"""``vma-full``: a virtual VMA is one whole ``vm_area_struct``.

First obstacle of Kara, 2018-06-25, 20180625152150.jnf5suiubecfppcl@quack2: "uses unnecessarily too much memory".
"""

from workbench.sizes import per_slab_page, size_of
from workbench.trackers.virtual_vma import BACKPOINTER, COUNT, SPLIT, VirtualVma

_PACKED = per_slab_page("vm_area_struct")

VARIANTS = {
    "vma-full:release=split": VirtualVma(release=SPLIT, per_slab_page=_PACKED),
    "vma-full:release=count": VirtualVma(release=COUNT, per_slab_page=_PACKED),
    "vma-full:release=backpointer": VirtualVma(
        release=BACKPOINTER, per_slab_page=_PACKED, bio_bytes=size_of("pointer")
    ),
}
