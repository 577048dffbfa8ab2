"""Random operations for the naive twin of the VMAs, drawn with an eye on the VMAs that there are."""

import random

from naive_vma import FLAG_ADVICE, NaiveSpace

PAGES = 40
OTHER_ADVICE = ("DONTNEED", "FREE", "COLD", "PAGEOUT", "WILLNEED", "DONTNEED_LOCKED", "POPULATE_READ", "POPULATE_WRITE")
ALL_ADVICE = (*FLAG_ADVICE, *OTHER_ADVICE)


def random_range(r: random.Random, space: NaiveSpace) -> tuple[int, int]:
    """Often a whole VMA, or one end of it, or the gap beside it: so that merges are as frequent as splits."""
    start = r.randrange(PAGES)
    end = min(start + r.choice((1, 1, 2, 2, 3, 4, 6, 10, 20)), PAGES)
    if not space.vmas or r.random() < 0.3:
        return start, end - start
    i = r.randrange(len(space.vmas))
    first, last = space.vmas[i], space.vmas[min(len(space.vmas) - 1, i + r.choice((0, 0, 0, 0, 1, 2)))]
    kind = r.random()
    if kind < 0.5:
        start, end = first.start, last.end
    elif kind < 0.65:
        start, end = r.randrange(first.start, last.end), last.end
    elif kind < 0.8:
        start, end = first.start, r.randrange(first.start, last.end) + 1
    elif last.end < PAGES:
        free = next((v.start for v in space.vmas if v.start >= last.end), PAGES)
        start, end = last.end, r.choice((free, free, last.end + 1, last.end + 3))
    return start, max(1, min(end, PAGES) - start)


def random_mmap(r: random.Random, space: NaiveSpace, write_only=()) -> tuple:
    start, count = random_range(r, space)
    odds = {"noreplace": 0.3, "noreserve": 0.06, "locked": 0.06, "populate": 0.06, "stack": 0.02}
    how: dict = {name: True for name, p in odds.items() if r.random() < p}
    kind = r.random()
    prot = r.choice(("r", "rw", "rw", "rw", "rw", "rwx", "", "w"))
    if kind < 0.6:
        return "mmap", (start, count, prot), how
    if kind < 0.65:
        return "mmap", (start, count, prot), how | {"shared": True}
    file = r.choice(("a", "a", "a", "a2", "b", "c", "d", "d", *write_only))
    left = next((v for v in space.vmas if v.end == start and v.file), None)
    pgoff = left.pgoff + left.end - left.start if left and r.random() < 0.5 else start % r.choice((8, 30))
    return "mmap", (start, count, prot), how | {"shared": r.random() < 0.5, "file": file, "pgoff": pgoff}


def random_mremap(r: random.Random, space: NaiveSpace) -> tuple:
    start, old = random_range(r, space)
    if r.random() < 0.4:
        return "mremap", (start, old, max(0, min(old + r.choice((-3, -1, 0, 1, 1, 2, 3, 5)), PAGES - start))), {}
    new = r.choice((old, old, old, old, max(1, old - 1), old + 1, old + 2))
    edges = [v.end for v in space.vmas] + [v.start - new for v in space.vmas] + [r.randrange(PAGES)]
    home = [v.pgoff for v in space.vmas if v.start == start and not v.file]  # where it may go on with its neighbours
    to = max(0, min(r.choice(edges + home * 2 * len(edges)), PAGES - new))
    old = 0 if r.random() < 0.03 else old
    return "mremap", (start, old, new, to), {"dontunmap": r.random() < 0.15}


def random_operation(r: random.Random, space: NaiveSpace, write_only=()) -> tuple:
    """One that is likely to do something where the VMAs are; ``write_only``: names of files that can't be mapped."""
    kind = r.random()
    if kind < 0.2 or not space.vmas:
        return random_mmap(r, space, write_only)
    if kind < 0.32:
        return random_mremap(r, space)
    start, count = random_range(r, space)
    if kind < 0.37:
        return "munmap", (start, count), {}
    if kind < 0.53:
        return "mprotect", (start, count, r.choice(("", "r", "rw", "rw", "rw", "rw", "rwx", "w"))), {}
    if kind < 0.59:
        return "mlock", (start, count), {"onfault": r.random() < 0.3}
    if kind < 0.65:
        return "munlock", (start, count), {}
    if kind < 0.83:
        return "madvise", (start, count, r.choice((*ALL_ADVICE, *FLAG_ADVICE))), {}
    return ("write" if r.random() < 0.8 else "read"), (start,), {}
