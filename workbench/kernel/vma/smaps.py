"""VMAs of this process, as smaps tells them; and whether it can be asked by the ioctl instead."""

import os
from collections.abc import Sequence

import numpy as np

from workbench.kernel.vma import live as vma_live
from workbench.mm.vma import VM_FLAGS
from workbench.mm.vma_draw import Row

MAPS, SMAPS = "/proc/self/maps", "/proc/self/smaps"


def live_rows(base: int, pages: int) -> list[Row]:
    """VMAs of this process in a range of pages, as smaps tells them; of flags those that the model knows.

    Little else is below the arena, so that little is read.
    """
    rows: list[Row] = []
    header: Sequence[str] = ()
    known = set(VM_FLAGS.values())
    with open(SMAPS, encoding="ascii", errors="replace") as lines:
        for text in lines:
            words = text.split()
            if words[0] == "VmFlags:" and header:
                flags = " ".join(word for word in words[1:] if word in known)
                start, end = (int(number, 16) >> 12 for number in header[0].split("-"))
                inode = int(header[4])
                rows.append(Row(start, end, flags, int(header[2], 16) >> 12, inode if inode else -1))
            elif not words[0].endswith(":"):
                first = int(words[0].partition("-")[0], 16) >> 12
                if first >= base + pages:
                    break
                header = words if first >= base else ()
    return rows


def can_query() -> bool:
    """Whether the kernel has PROCMAP_QUERY."""
    query = np.zeros(vma_live.QUERY_WORDS, np.int64)
    maps = os.open(MAPS, os.O_RDONLY)
    try:
        return bool(vma_live.query_at(maps, query, query.ctypes.data, 0) == 0)
    finally:
        os.close(maps)
