"""One operation after the other on the live kernel and in the model, compared after each: all in compiled code.

The C library is called by the names of its functions, which the compiler looks up in this process; without compilation
the same functions are called through ctypes. Mappings are read by the ioctl PROCMAP_QUERY (v6.11
include/uapi/linux/fs.h), one VMA per call.
"""

import ctypes
import errno

import numpy as np
from numba.core import types

from workbench.accelerate import JIT_ENABLED, at, jit
from workbench.kernel.vma import ops as o
from workbench.mm import vma_advice, vma_move
from workbench.mm import vma_calls as calls
from workbench.mm.vma_core import VM_EXEC, VM_LOCKED, VM_LOCKED_MASK, VM_MAYSHARE, VM_READ, VM_WRITE

SHIFT = 12
AT_FDCWD, PR_GET_PDEATHSIG = -100, 2
PROCMAP_QUERY = 0xC0686611  # _IOWR('f', 17, struct procmap_query), 104 bytes
QUERY_WORDS = 13  # of struct procmap_query, in words of 64 bits
SIZE, QUERY_FLAGS, QUERY_ADDRESS, START, END, FLAGS, _, OFFSET, INODE = range(9)
COVERING_OR_NEXT = 0x10
READABLE, WRITABLE, EXECUTABLE, SHARED = 1, 2, 4, 8

# What the loop comes back with.
DONE, CHECK, FORKS, OTHER_RESULT, OTHER_ROWS, NO_QUERY = range(6)
# Its state: the model's address space, the next operation, and what the last one gave in the model and in the kernel.
MM, NEXT, MODEL_RESULT, KERNEL_RESULT, INODES = range(5)
STATE = 5


def _external(name, result, *arguments):
    """Declare a function of the C library, for compiled code or for plain Python."""
    if JIT_ENABLED:
        return types.ExternalFunction(name, result(*arguments))
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    sizes = {types.int32: ctypes.c_int32, types.int64: ctypes.c_int64}
    function.restype = sizes[result]
    function.argtypes = [sizes[a] for a in arguments]
    return function


_i, _l = types.int32, types.int64
_mmap = _external("mmap", _l, _l, _l, _i, _i, _i, _l)
_munmap = _external("munmap", _i, _l, _l)
_mprotect = _external("mprotect", _i, _l, _l, _i)
_mlock = _external("mlock", _i, _l, _l)
_munlock = _external("munlock", _i, _l, _l)
_mlock2 = _external("mlock2", _i, _l, _l, _i)
_madvise = _external("madvise", _i, _l, _l, _i)
_mremap = _external("mremap", _l, _l, _l, _l, _i, _l)
_prctl = _external("prctl", _i, _i, _l, _l, _l, _l)
_faccessat = _external("faccessat", _i, _i, _l, _i, _i)
_ioctl = _external("ioctl", _i, _i, _l, _l)


def _plain_errno():
    return (ctypes.get_errno(),)


_pointer = types.CPointer(types.int32)  # type: ignore[attr-defined]
_errno_location = types.ExternalFunction("__errno_location", _pointer()) if JIT_ENABLED else _plain_errno


@jit
def _checked(result):
    """Give what a function has returned, or minus errno."""
    return -np.int64(_errno_location()[0]) if result == -1 else np.int64(result)


@jit
def live(op, base, fds):
    """Do an operation in this process.

    Parameters
    ----------
    op : record of OPERATION
        No FORK.
    base : int
        First page of the arena.
    fds : ndarray of int64
        File descriptor for each of `ops.DESCRIPTORS`.

    Returns
    -------
    int
        0; or the page of the arena that mmap and mremap return; or minus errno.
    """
    kind = op["op"]
    start, length = (base + np.int64(op["page"])) << SHIFT, np.int64(op["pages"]) << SHIFT
    flags = np.int64(op["flags"])
    if kind == o.MMAP:
        fd = -1 if op["fd"] < 0 else fds[op["fd"]]
        result = _checked(_mmap(start, length, op["prot"], flags, fd, np.int64(op["pgoff"]) << SHIFT))
        return (result >> SHIFT) - base if result >= 0 else result
    if kind == o.MREMAP:
        size, to = np.int64(op["to_pages"]) << SHIFT, (base + np.int64(op["to"])) << SHIFT
        result = _checked(_mremap(start, length, size, flags, to))
        return (result >> SHIFT) - base if result >= 0 else result
    if kind == o.MUNMAP:
        return _checked(_munmap(start, length))
    if kind == o.MPROTECT:
        return _checked(_mprotect(start, length, op["prot"]))
    if kind == o.MLOCK:
        return _checked(_mlock(start, length))
    if kind == o.MUNLOCK:
        return _checked(_munlock(start, length))
    if kind == o.MLOCK2:
        return _checked(_mlock2(start, length, flags))
    if kind == o.MADVISE:
        return _checked(_madvise(start, length, flags))
    return _touch(start, flags != 0)


@jit
def _touch(address, write):
    """Read or write a byte by a system call that does: EFAULT comes back where the program would be killed."""
    if write:  # four bytes: this process's parent-death signal
        return _checked(_prctl(PR_GET_PDEATHSIG, address, 0, 0, 0))
    result = _checked(_faccessat(AT_FDCWD, address, 0, 0))  # a path of at most one character
    return result if result == -errno.EFAULT else 0


@jit
def modelled(m, mm, op, base, files):
    """Do an operation in the model; see `live`. `files` has the row in ``m.file`` for each descriptor."""
    kind = op["op"]
    page, pages, flags = base + np.int64(op["page"]), np.int64(op["pages"]), np.int64(op["flags"])
    if kind == o.MMAP:
        file = 0 if op["fd"] < 0 else files[op["fd"]]
        result = calls.mmap(m, mm, page, pages, np.int64(op["prot"]), flags, file, np.int64(op["pgoff"]))
        return result - base if result >= 0 else result
    if kind == o.MREMAP:
        result = vma_move.mremap(m, mm, page, pages, np.int64(op["to_pages"]), flags, base + np.int64(op["to"]))
        return result - base if result >= 0 else result
    if kind == o.MUNMAP:
        return calls.munmap(m, mm, page, pages)
    if kind == o.MPROTECT:
        return calls.mprotect(m, mm, page, pages, np.int64(op["prot"]))
    if kind == o.MLOCK:
        return calls.mlock(m, mm, page, pages, VM_LOCKED)
    if kind == o.MUNLOCK:
        return calls.munlock(m, mm, page, pages)
    if kind == o.MLOCK2:
        return calls.mlock(m, mm, page, pages, VM_LOCKED_MASK if flags else VM_LOCKED)
    if kind == o.MADVISE:
        return vma_advice.madvise(m, mm, page, pages, flags)
    return calls.touch(m, mm, page, flags != 0)


@jit
def _same_inode(seen, state, inode, live_inode):
    """Whether a VMA's inode is the one that the model's stands for; one not seen before must be a new one."""
    if inode < state[INODES]:
        return seen[inode] == live_inode
    for known in range(state[INODES]):
        if seen[known] == live_inode:
            return False
    while state[INODES] < inode:  # made and gone before anybody looked
        seen[state[INODES]] = -1
        state[INODES] += 1
    seen[inode] = live_inode
    state[INODES] += 1
    return True


@jit
def _same_row(m, vma, query, seen, state):
    """Whether the VMA that a query has found is that of the model."""
    if query[START] >> SHIFT != vma["vm_start"] or query[END] >> SHIFT != vma["vm_end"]:
        return False
    flags, live_flags = vma["vm_flags"], query[FLAGS]
    if (flags & VM_READ != 0) != (live_flags & READABLE != 0) or (flags & VM_WRITE != 0) != (
        live_flags & WRITABLE != 0
    ):
        return False
    if (flags & VM_EXEC != 0) != (live_flags & EXECUTABLE != 0):
        return False
    if (flags & VM_MAYSHARE != 0) != (live_flags & SHARED != 0):
        return False
    if vma["vm_file"] == 0:
        return query[INODE] == 0
    inode = at(m.file, vma["vm_file"])["inode"]
    return query[OFFSET] >> SHIFT == vma["vm_pgoff"] and _same_inode(seen, state, inode, query[INODE])


@jit
def query_at(maps, query, pointer, address):
    """Ask for the VMA that covers an address, or the next one: 0, or minus errno (ENOENT: there is none)."""
    query[SIZE] = 8 * QUERY_WORDS
    query[QUERY_FLAGS] = COVERING_OR_NEXT
    query[QUERY_ADDRESS] = address
    for word in range(START, QUERY_WORDS):
        query[word] = 0
    return _checked(_ioctl(maps, PROCMAP_QUERY, pointer))


@jit
def same_rows(m, state, base, pages, maps, query, pointer, seen):
    """Compare all VMAs of the arena; what `run` would come back with: DONE, OTHER_ROWS or NO_QUERY."""
    mm, end = state[MM], base + pages
    here = base
    for i in range(m.counts[mm]):
        result = query_at(maps, query, pointer, here << SHIFT)
        if result == -errno.ENOENT:
            return OTHER_ROWS
        if result < 0:
            return NO_QUERY
        vma = at(m.vma, m.order[mm, i])
        if not _same_row(m, vma, query, seen, state):
            return OTHER_ROWS
        here = vma["vm_end"]
    if here == end:
        return DONE
    result = query_at(maps, query, pointer, here << SHIFT)
    if result < 0:
        return DONE if result == -errno.ENOENT else NO_QUERY
    return DONE if query[START] >> SHIFT >= end else OTHER_ROWS


@jit
def run(m, state, ops, upto, base, pages, fds, files, maps, query, pointer, seen):
    """Do operations on both sides, until one is a fork, or something differs, or `upto` is reached.

    Parameters
    ----------
    m : Memory
        The model.
    state : ndarray of int64, shape (STATE,)
        Changed.
    ops : ndarray of OPERATION
    upto : int
        Operations, from the first of `ops`, after which the loop comes back.
    base, pages : int
        The arena.
    fds, files : ndarray of int64
        See `live` and `modelled`.
    maps : int
        File descriptor of ``/proc/self/maps``; -1: compare results only.
    query : ndarray of int64, shape (QUERY_WORDS,)
        Scratch, `pointer` its address.
    seen : ndarray of int64
        The kernel's inode for each of the model's.

    Returns
    -------
    int
        CHECK at `upto`, DONE at the end, FORKS before a fork, or what differs.
    """
    while state[NEXT] < len(ops):
        if state[NEXT] == upto:
            return CHECK
        op = at(ops, state[NEXT])
        if op["op"] == o.FORK:
            return FORKS
        state[KERNEL_RESULT] = live(op, base, fds)
        state[MODEL_RESULT] = modelled(m, state[MM], op, base, files)
        state[NEXT] += 1
        if state[KERNEL_RESULT] != state[MODEL_RESULT]:
            return OTHER_RESULT
        if maps >= 0:
            found = same_rows(m, state, base, pages, maps, query, pointer, seen)
            if found != DONE:
                return found
    return DONE
