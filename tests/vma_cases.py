"""Crisp cases, one rule each, for the naive twin of the VMAs, the running kernel, and the model.

Each is (what is mapped before the last operation, what after it, operations), as `pictured` has it: a letter is a page,
``|`` between neighbours that are not one, ``.`` for a hole. An operation is (name, places, how), as `naive_vma` takes
it, or ``fork``: the child goes on. Files are named as in `live_vma`: ``a`` and ``a2`` are dup()s, ``b`` and ``c`` were
opened again (``c`` to read only, ``w`` to write only), ``d`` is another inode; each has `FILE_PAGES` pages.
"""

import errno

FILE_PAGES = 24


def op(name, *places, **how):
    return name, places, how


def anon(start, count, prot="rw", **how):
    return op("mmap", start, count, prot, **how)


def of_file(start, count, pgoff, file="a", prot="rw", **how):
    return op("mmap", start, count, prot, file=file, pgoff=pgoff, **how)


def write(page):
    return op("write", page)


FORK = op("fork")
BOTH_FAULTED = [anon(0, 2), write(0), anon(4, 2), write(4)]  # each with an anon_vma of its own
LOCKED_UNFAULTED = [anon(0, 2), op("mlock", 0, 4)]  # the hole behind it fails the call before it fills anything

CASES = {
    "a new mapping joins both neighbours": ("ww..ww", "wwwwww", [anon(0, 2), anon(4, 2), anon(2, 2)]),
    "length 0: nothing, or EINVAL": (
        "ww",
        "ww",
        [
            *(anon(0, 2), anon(2, 0), op("munmap", 0, 0), op("mprotect", 0, 0, "r"), op("mprotect", 4, 0, "r")),
            *(op("mlock", 0, 0), op("mlock", 4, 0), op("munlock", 4, 0), op("madvise", 4, 0, "DONTFORK")),
            *(op("madvise", 0, 0, "POPULATE_WRITE"), op("mremap", 0, 2, 0), op("mremap", 0, 0, 2)),
        ],
    ),
    "a hole splits": ("wwwwww", "ww..ww", [anon(0, 6), op("munmap", 2, 2)]),
    "what is unmapped joins nothing": (
        "ww",
        "rr",
        [anon(0, 2), anon(2, 2, "r"), op("munmap", 2, 2), op("mprotect", 0, 2, "r")],
    ),
    "access to the middle splits in three": ("wwwwww", "ww|rr|ww", [anon(0, 6), op("mprotect", 2, 2, "r")]),
    "restored: one again": (
        "ww|rr|ww",
        "wwwwww",
        [anon(0, 6), write(3), op("mprotect", 2, 2, "r"), op("mprotect", 2, 2, "rw")],
    ),
    "accounting of what was never written is dropped": (
        "rr|ww",
        "rrrr",
        [anon(0, 2, "r"), anon(2, 2), op("mprotect", 2, 2, "r")],
    ),
    "of what was written it stays": (
        "rr|ww",
        "rr|rr",
        [anon(0, 2, "r"), anon(2, 2), write(2), op("mprotect", 2, 2, "r")],
    ),
    "of a file's it stays too": (
        "rr|ww",
        "rr|rr",
        [of_file(0, 2, 0, prot="r"), of_file(2, 2, 2), op("mprotect", 2, 2, "r")],
    ),
    "what is not reserved is never accounted": (
        "rr|ww",
        "wwww",
        [anon(0, 2, "r", noreserve=True), anon(2, 2, noreserve=True), op("mprotect", 0, 2, "rw")],
    ),
    "not reserved is a flag": ("ww", "ww|ww", [anon(0, 2), anon(2, 2, noreserve=True)]),
    "for a stack: no huge pages": ("ww", "ww|ww", [anon(0, 2), anon(2, 2, stack=True)]),
    "two anon_vmas: left only": ("ww..ww", "wwww|ww", [*BOTH_FAULTED, anon(2, 2)]),
    "joined with one that has an anon_vma, all have it": (
        "rrrrrr",
        "rrrrrr|rr",
        [anon(0, 2), anon(4, 2), write(4), anon(2, 2), op("mprotect", 0, 6, "r"), anon(6, 2, "r")],
    ),
    "neither an anon_vma nor a merge by reading": (
        "ww..ww",
        "wwwwww",
        [anon(0, 2), op("read", 0), anon(4, 2), write(4), anon(2, 2)],
    ),
    "a write borrows the neighbour's anon_vma": (
        "ww|ww",
        "wwww",
        [anon(0, 2), anon(2, 2, "rwx"), write(0), write(2), op("mprotect", 2, 2, "rw")],
    ),
    "of two, that of the one behind": (
        "ww|wwww",
        "ww|ww",
        [*BOTH_FAULTED, anon(2, 2, "rwx"), write(2), op("mprotect", 2, 2, "rw"), op("munmap", 4, 2)],
    ),
    "and of one that has other flags, none": (
        "ww|ww",
        "ww|ww",
        [anon(0, 2), write(0), anon(2, 2, stack=True), write(2), op("madvise", 0, 2, "NOHUGEPAGE")],
    ),
    "and of one that is of another file, none": (
        "ww|ww|ww",
        "wwww|ww",
        [
            *(of_file(0, 2, 0, "b"), of_file(2, 2, 2, "a"), of_file(4, 2, 4, "b")),
            *(write(2), write(0), write(4), of_file(2, 2, 2, "b")),
        ],
    ),
    "a locked VMA made writable is written": (
        "rr",
        "rr|rr",
        [
            *(anon(0, 2, "r"), op("mlock", 0, 2), op("mprotect", 0, 2, "rw"), op("mprotect", 0, 2, "r")),
            anon(2, 2, "r", locked=True),
        ],
    ),
    "not if it is locked on fault": (
        "ww|rr",
        "rrrr",
        [
            anon(0, 4, "r"),
            op("mlock", 0, 4, onfault=True),
            op("mprotect", 0, 2, "rw"),
            op("mprotect", 0, 2, "r"),
        ],
    ),
    "mlock stops at a hole, and fills nothing": (
        "rr",
        "rrrr",
        [*LOCKED_UNFAULTED, op("munlock", 0, 2), op("mprotect", 0, 2, "r"), anon(2, 2, "r")],
    ),
    "mlock fills up to what has no access": (
        "ww|--|ww",
        "rr|rrrr",
        [anon(0, 2), anon(2, 2, ""), anon(4, 2), op("mlock", 0, 6), op("munlock", 0, 6), op("mprotect", 0, 6, "r")],
    ),
    "mprotect stops at a hole": ("ww..ww", "rr..ww", [anon(0, 2), anon(4, 2), op("mprotect", 0, 6, "r")]),
    "madvise goes on over a hole": ("ww..ww", "ww..ww", [anon(0, 2), anon(4, 2), op("madvise", 0, 6, "DONTFORK")]),
    "but stops at what refuses": (
        "ww|ww|ww",
        "ww|ww|ww",
        [anon(0, 2), of_file(2, 2, 2), anon(4, 2), op("madvise", 0, 6, "WIPEONFORK")],
    ),
    "huge pages: no way back": (
        "ww|ww",
        "ww|ww",
        [anon(0, 4), op("madvise", 0, 2, "HUGEPAGE"), op("madvise", 0, 2, "NOHUGEPAGE")],
    ),
    "shared memory is never mergeable by KSM": (
        "RRRR",
        "RRRR",
        [of_file(0, 4, 0, "c", "r", shared=True), op("madvise", 0, 2, "MERGEABLE")],
    ),
    "POPULATE_WRITE writes up to a hole": (
        "rr..ww",
        "rr..rr",
        [
            anon(0, 2),
            anon(4, 2),
            op("madvise", 0, 6, "POPULATE_WRITE"),
            op("mprotect", 0, 2, "r"),
            op("mprotect", 4, 2, "r"),
        ],
    ),
    "POPULATE_READ needs leave to read, a read does not": (
        "ww",
        "ww",
        [anon(0, 2, "w"), op("madvise", 0, 2, "POPULATE_READ"), op("read", 0)],
    ),
    "only anonymous memory is freed lazily": (
        "ww",
        "ww",
        [of_file(0, 2, 0), write(0), op("madvise", 0, 2, "FREE"), op("madvise", 0, 2, "DONTNEED")],
    ),
    "one struct file, by dup()": (
        "WW",
        "WWWW",
        [of_file(0, 2, 0, "a", shared=True), of_file(2, 2, 2, "a2", shared=True)],
    ),
    "two struct files, by open()": ("ww", "ww|ww", [of_file(0, 2, 0, "a"), of_file(2, 2, 2, "b")]),
    "offsets that don't go on": ("ww", "ww|ww", [of_file(0, 2, 0), of_file(2, 2, 4)]),
    "two shared anonymous mappings": ("WW", "WW|WW", [anon(0, 2, shared=True), anon(2, 2, shared=True)]),
    "a shared one grown is not longer inside": (
        "WWWW",
        "WWWW",
        [anon(0, 2, shared=True), op("mremap", 0, 2, 4), write(1), write(3)],
    ),
    "behind the end of a file a write fails, but leaves an anon_vma": (
        "ww..ww",
        "wwww|ww",
        [of_file(0, 2, 30), of_file(4, 2, 34), write(0), write(4), of_file(2, 2, 32)],
    ),
    "shared file pages need none": (
        "WW..WW",
        "WWWWWW",
        [
            *(of_file(0, 2, 0, shared=True), of_file(4, 2, 4, shared=True), write(0), write(4)),
            of_file(2, 2, 2, shared=True),
        ],
    ),
    "a child's inherited VMA joins nothing new": ("ww", "ww|ww", [anon(0, 2), write(0), FORK, anon(2, 2)]),
    "nor lends its anon_vma": (
        "ww|ww",
        "ww|ww",
        [anon(0, 2), write(0), FORK, anon(2, 2, "rwx"), write(2), op("mprotect", 2, 2, "rw")],
    ),
    "an unfaulted one does": ("ww", "wwww", [anon(0, 2), FORK, anon(2, 2)]),
    "what was split before the fork stays split in the child": (
        "rr|ww",
        "ww|ww",
        [anon(0, 4), write(0), op("mprotect", 0, 2, "r"), FORK, op("mprotect", 0, 2, "rw")],
    ),
    "split after it, it joins": (
        "rr|ww",
        "wwww",
        [anon(0, 4), write(0), FORK, op("mprotect", 0, 2, "r"), op("mprotect", 0, 2, "rw")],
    ),
    "wiped, it is as new": (
        "ww",
        "wwww",
        [anon(0, 2), write(0), op("madvise", 0, 2, "WIPEONFORK"), FORK, op("madvise", 0, 2, "KEEPONFORK"), anon(2, 2)],
    ),
    "a child has nothing locked, and not what was not to be copied": (
        "ww|ww",
        "ww",
        [anon(0, 2), op("mlock", 0, 2), anon(2, 2), op("madvise", 2, 2, "DONTFORK"), FORK],
    ),
    "an inherited VMA that grows does join what was not written": (
        "ww..ww",
        "wwwwww",
        [anon(0, 2), write(0), FORK, anon(4, 2), op("mremap", 0, 2, 4)],
    ),
    "but not what was": (
        "ww..ww",
        "wwww|ww",
        [anon(0, 2), write(0), FORK, anon(4, 2), write(4), op("mremap", 0, 2, 4)],
    ),
    "growing joins what is behind": ("ww..ww", "wwwwww", [anon(0, 2), write(0), anon(4, 2), op("mremap", 0, 2, 4)]),
    "what grows while locked is filled": (
        "rrrr",
        "rrrr|rr",
        [*LOCKED_UNFAULTED, op("mremap", 0, 2, 4), op("munlock", 0, 4), op("mprotect", 0, 4, "r"), anon(4, 2, "r")],
    ),
    "what moves and grows while locked is filled": (
        "..........rrrr",
        "..........rrrr|rr",
        [
            *(*LOCKED_UNFAULTED, op("mremap", 0, 2, 4, 10), op("munlock", 10, 4), op("mprotect", 10, 4, "r")),
            anon(14, 2, "r"),
        ],
    ),
    "moved beside another: unwritten joins": (
        "ww........ww",
        "wwww",
        [anon(0, 2), anon(10, 2), op("mremap", 10, 2, 2, 2)],
    ),
    "written does not": ("ww........ww", "ww|ww", [anon(0, 2), anon(10, 2), write(10), op("mremap", 10, 2, 2, 2)]),
    "moved away and back it does": (
        "ww........ww",
        "wwww",
        [anon(0, 4), write(0), op("mremap", 2, 2, 2, 10), op("mremap", 10, 2, 2, 2)],
    ),
    "back beside what is new: joins, and all has the anon_vma (6.16)": (
        "rrrr",
        "rrrr|rr",
        [
            *(anon(0, 4), write(2), op("mremap", 2, 2, 2, 6), anon(0, 2), op("mremap", 6, 2, 2, 2)),
            *(op("mprotect", 0, 4, "r"), anon(4, 2, "r")),
        ],
    ),
    "not what was inherited": (
        "ww....ww",
        "ww|ww",
        [anon(0, 4), write(2), FORK, op("mremap", 2, 2, 2, 6), anon(0, 2), op("mremap", 6, 2, 2, 2)],
    ),
    "moved beside itself": ("wwww", "....wwww", [anon(0, 4), op("mremap", 0, 4, 4, 4)]),
    "in one go: all that lie in the range, at their distances, and nothing of the target in between": (
        "ww..rr....wwwwww",
        "..........ww|ww|rr",
        [anon(0, 2), anon(4, 2, "r"), anon(10, 6, "rwx"), op("mremap", 0, 6, 6, 10)],
    ),
    "shrinking unmaps what else is there": ("wwww|rr", "www", [anon(0, 4), anon(4, 2, "r"), op("mremap", 0, 8, 3)]),
    "the old place left mapped, unlocked and without an anon_vma": (
        "rr........ww",
        "rrrr......ww",
        [
            *(anon(0, 2), write(0), op("mlock", 0, 2), op("mremap", 0, 2, 2, 10, dontunmap=True)),
            *(op("mprotect", 0, 2, "r"), anon(2, 2, "r")),
        ],
    ),
    "a part left mapped: all unlocked, the anon_vma stays": (
        "rrrr......ww",
        "rrrr|rr....ww",
        [
            *(anon(0, 4), op("mlock", 0, 4), op("mremap", 0, 2, 2, 10, dontunmap=True)),
            *(op("mprotect", 0, 4, "r"), anon(4, 2, "r")),
        ],
    ),
    "what became alike without an operation of its own stays apart": (
        "ww|ww......ww",
        "ww|ww......ww",
        [
            *(anon(0, 2), anon(2, 2), op("mlock", 0, 2), op("mremap", 0, 2, 2, 10, dontunmap=True)),
            op("munlock", 0, 4),
        ],
    ),
    "so it does after a fork": (
        "ww|ww",
        "ww|ww",
        [anon(0, 4), op("mlock", 0, 2, onfault=True), FORK, op("munlock", 0, 4)],
    ),
    "shrunk, then moved: only what is left must be of one VMA": (
        "wwww|rr",
        "..........wwww",
        [anon(0, 4), anon(4, 2, "r"), op("mremap", 0, 6, 4, 10)],
    ),
    "else nothing happens": (
        "wwww|rr....wwwwww",
        "wwww|rr....wwwwww",
        [anon(0, 4), anon(4, 2, "r"), anon(10, 6), op("mremap", 0, 6, 5, 10)],
    ),
    "length 0 maps shared pages again": (
        "WWWW",
        "WWWW......WW",
        [of_file(0, 4, 0, shared=True), op("mremap", 1, 0, 2, 10)],
    ),
    "what is opened to write only can't be mapped": (
        "ww",
        "ww",
        [anon(0, 2), of_file(0, 2, 0, "w", ""), of_file(2, 2, 0, "w")],
    ),
    "also those that may not be written": (
        "RRRR",
        "RRRR......RR",
        [of_file(0, 4, 0, "c", "r", shared=True), op("mremap", 1, 0, 2, 10)],
    ),
    "nor what the new place is cut out of": ("WWWW", "W..W", [of_file(0, 4, 0, shared=True), op("mremap", 1, 0, 2, 1)]),
    "no private ones": ("wwww", "wwww", [of_file(0, 4, 0), op("mremap", 1, 0, 2, 10)]),
}


def pictured(vmas: list) -> str:
    """VMAs of the twin: each page by the most that it allows, a capital letter where it is shared."""
    text, here = "", 0
    for v in vmas:
        text += "." * (v.start - here) + ("|" if v.start == here > 0 else "") + letter(v.flags) * (v.end - v.start)
        here = v.end
    return text


def letter(flags: frozenset[str]) -> str:
    most = next((c for flag, c in (("wr", "w"), ("ex", "x"), ("rd", "r")) if flag in flags), "-")
    return most if "ms" not in flags else {"-": "="}.get(most, most.upper())


def edges(end: int) -> list[tuple]:
    """Calls that reach over the end of the address space, and their errno; page 0 and 1 are mapped, the last is not."""
    return [
        (*anon(end - 1, 2), errno.ENOMEM),
        (*anon(end + 1, 1), errno.ENOMEM),
        (*anon(end - 1, 2, noreplace=True), errno.ENOMEM),
        (*op("munmap", end - 1, 2), errno.EINVAL),
        (*op("munmap", end + 1, 1), errno.EINVAL),
        (*op("mprotect", end - 1, 2, "r"), errno.ENOMEM),
        (*op("mlock", end - 1, 2), errno.ENOMEM),
        (*op("munlock", end - 1, 2), errno.ENOMEM),
        (*op("madvise", end - 1, 2, "NORMAL"), errno.ENOMEM),
        (*op("mremap", end - 1, 2, 1), errno.EFAULT),
        (*op("mremap", 0, 2 * end, 1), errno.EINVAL),
        (*op("mremap", 0, 2, 2, end - 1), errno.EINVAL),
        (*op("mremap", 0, 2, 2 * end), errno.EINVAL),
        (*op("mremap", 0, 2, end + 2, 10), errno.EINVAL),
        (*write(end + 1), errno.EFAULT),
    ]
