"""io_uring by its three system calls: reads that do not wait, and registered buffers, which are long-term pins.

Layout: include/uapi/linux/io_uring.h.
"""

import ctypes
import mmap
import os
import struct
import time

from workbench.kernel.libc import call

_SETUP, _ENTER, _REGISTER = 425, 426, 427
_SQ_RING, _SQES = 0, 0x10000000
_REGISTER_BUFFERS, _UNREGISTER_BUFFERS = 0, 1
_READ_FIXED, _READ = 4, 22
_SQE = struct.Struct("=BBHiQQIIQHHIQQ")
_CQE = struct.Struct("=QiI")
_PARAMETERS = struct.Struct("=30I")


class Ring:
    """A ring of system calls.

    Parameters
    ----------
    entries : int
        Most requests between two submissions: a power of two.
    """

    def __init__(self, entries: int = 128) -> None:
        parameters = ctypes.create_string_buffer(_PARAMETERS.size)
        self.fd = call("syscall", _SETUP, entries, ctypes.addressof(parameters))
        word = _PARAMETERS.unpack(parameters.raw)
        self._sq, self._cq = word[10:20], word[20:30]
        size = max(self._sq[6] + 4 * word[0], self._cq[5] + _CQE.size * word[1])
        self._ring = mmap.mmap(self.fd, size, offset=_SQ_RING)
        self._sqes = mmap.mmap(self.fd, _SQE.size * word[0], offset=_SQES)
        self._done: dict[int, int] = {}

    def _word(self, at: int) -> int:
        return int(struct.unpack_from("=I", self._ring, at)[0])

    def read(self, tag: int, fd: int, offset: int, address: int, size: int, buffer: int = -1) -> None:
        """Submit a read.

        Parameters
        ----------
        tag : int
            By which `wait` knows it.
        fd, offset, address, size : int
        buffer : int
            Number of the registered buffer that it reads into (READ_FIXED); -1: it pins its own.
        """
        tail = self._word(self._sq[1])
        slot = tail & self._word(self._sq[2])
        code = _READ if buffer < 0 else _READ_FIXED
        entry = (code, 0, 0, fd, offset, address, size, 0, tag, max(buffer, 0), 0, 0, 0, 0)
        _SQE.pack_into(self._sqes, slot * _SQE.size, *entry)
        struct.pack_into("=I", self._ring, self._sq[6] + 4 * slot, slot)
        struct.pack_into("=I", self._ring, self._sq[1], (tail + 1) & 0xFFFFFFFF)
        call("syscall", _ENTER, self.fd, 1, 0, 0, None, 0)

    def finished(self) -> dict[int, int]:
        """Results by tag of all that has completed and was not waited for yet, in the order of completion."""
        head = self._word(self._cq[0])
        while head != self._word(self._cq[1]):
            slot = head & self._word(self._cq[2])
            tag, result, _ = _CQE.unpack_from(self._ring, self._cq[5] + slot * _CQE.size)
            self._done[tag] = result
            head = (head + 1) & 0xFFFFFFFF
            struct.pack_into("=I", self._ring, self._cq[0], head)
        return self._done

    def wait(self, tag: int, seconds: float = 5.0) -> int | None:
        """Wait for a read; its result (bytes, or minus an errno), or None: it is not complete."""
        until = time.monotonic() + seconds
        while tag not in self.finished():
            if time.monotonic() > until:
                return None
            call("syscall", _ENTER, self.fd, 0, 0, 1, None, 0)  # runs what a kernel thread has left to this task
            time.sleep(0.00005)
        return self._done.pop(tag)

    def register(self, *buffers: tuple[int, int]) -> None:
        """Register buffers (address, size): each of their pages gets a long-term pin.

        Raises
        ------
        OSError
            EFAULT where the kernel refuses.
        """
        table = struct.pack(f"={2 * len(buffers)}Q", *(word for buffer in buffers for word in buffer))
        memory = ctypes.create_string_buffer(table, len(table))
        call("syscall", _REGISTER, self.fd, _REGISTER_BUFFERS, ctypes.addressof(memory), len(buffers))

    def unregister(self) -> None:
        """Give the buffers back."""
        call("syscall", _REGISTER, self.fd, _UNREGISTER_BUFFERS, None, 0)

    def close(self) -> None:
        """Close the ring; the kernel releases its buffers a little later."""
        self._ring.close()
        self._sqes.close()
        os.close(self.fd)
