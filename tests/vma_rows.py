"""Rows of `workbench.kernel.vma_ops` told to the naive twin, and its VMAs told in the numbers of those rows."""

from naive_vma import Inode, NaiveSpace, OpenFile

from workbench.kernel import vma_ops as V

PROT = {V.READ: "r", V.WRITE: "w", V.EXEC: "x"}
HOW = {V.MAP_LOCKED: "locked", V.MAP_NORESERVE: "noreserve", V.MAP_POPULATE: "populate", V.MAP_STACK: "stack"}
HOW[V.MAP_FIXED_NOREPLACE] = "noreplace"
ADVICE = {number: name for name, number in V.ADVICE.items()}


def new_files() -> list[OpenFile]:
    """What the descriptors of `vma_ops.DESCRIPTORS` name, by descriptor."""
    inodes = [Inode(V.FILE_PAGES) for _ in range(V.INODES)]
    files: dict[int, OpenFile] = {}
    return [files.setdefault(file, OpenFile(inodes[i], writable=rw)) for file, i, rw in V.DESCRIPTORS]


def call(row, files) -> tuple[str, tuple, dict]:
    """Name, places and further arguments of a row's call; ``files`` by descriptor, in what terms one likes."""
    name, page, pages, flags = V.OPS[row["op"]], int(row["page"]), int(row["pages"]), int(row["flags"])
    prot = "".join(letter for bit, letter in PROT.items() if row["prot"] & bit)
    if name == "mmap":
        how = {word: True for bit, word in HOW.items() if flags & bit} | {"shared": bool(flags & V.MAP_SHARED)}
        if row["fd"] >= 0:
            how |= {"file": files[row["fd"]], "pgoff": int(row["pgoff"])}
        return name, (page, pages, prot), how
    if name == "mprotect":
        return name, (page, pages, prot), {}
    if name == "mlock2":
        return "mlock", (page, pages), {"onfault": bool(flags & V.MLOCK_ONFAULT)}
    if name == "madvise":
        return name, (page, pages, ADVICE[flags]), {}
    if name == "mremap":
        to = int(row["to"]) if flags & V.MREMAP_FIXED else None
        return name, (page, pages, int(row["to_pages"]), to), {"dontunmap": bool(flags & V.MREMAP_DONTUNMAP)}
    if name == "touch":
        return ("write" if flags else "read"), (page,), {}
    return name, ((page, pages) if name != "fork" else ()), {}


def apply(space: NaiveSpace, row, files) -> tuple[NaiveSpace, int]:
    """Do a row; the space that goes on (a child's after a fork), and 0 or an errno."""
    name, places, how = call(row, files)
    if name == "fork":
        return space.fork(), 0
    return space, getattr(space, name)(*places, **how)
