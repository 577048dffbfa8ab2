"""A FUSE server for one file whose reads and writes are held until it is told to reply (see `fuse`).

Run as a program by its path, with nothing but the standard library, so that it is there at once:
``fuse_server.py DEVICE CONTROL PATIENCE PARENT``, two open descriptors, seconds, and a process id.
"""

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sys
import time

SIZE = 1 << 50
REGULAR = 0o100600
WORD = struct.Struct("=qq")  # to the server: offset and byte
TAKEN = struct.Struct("=q")  # from it: offset of a request that it has taken up

# include/uapi/linux/fuse.h
_FORGET, _GETATTR, _OPEN, _READ, _WRITE = 2, 3, 14, 15, 16
_RELEASE, _FSYNC, _FLUSH, _INIT, _INTERRUPT, _DESTROY, _BATCH_FORGET = 18, 20, 25, 26, 36, 38, 42
_NO_REPLY = (_FORGET, _INTERRUPT, _DESTROY, _BATCH_FORGET)
_NOTHING = (_RELEASE, _FSYNC, _FLUSH)
_ASYNC_READ, _ASYNC_DIO, _MAX_PAGES = 1 << 0, 1 << 15, 1 << 22
_DIRECT_IO = 1 << 0
_HEADER = struct.Struct("=IIQQIIII")
_OUT = struct.Struct("=IiQ")
_IO = struct.Struct("=QQI")
_BUFFER = (1 << 20) + (1 << 16)
_MOST_REQUESTS = 1024  # in flight; direct IO that does not wait counts as background (default 12)
_PR_SET_PDEATHSIG = 1


class Held:
    """Requests that wait for a reply, by their offset in the file."""

    def __init__(self) -> None:
        self.requests: dict[int, tuple[int, int, int]] = {}

    def answer(self, message: bytes) -> tuple[bytes, int | None]:
        """Answer a request of the kernel, or hold it.

        Parameters
        ----------
        message : bytes
            As read from ``/dev/fuse``.

        Returns
        -------
        reply : bytes
            Empty if there is none now.
        offset : int or None
            Of a read or write that is held from now on.
        """
        _, opcode, unique, _, _, _, _, _ = _HEADER.unpack_from(message)
        body = message[_HEADER.size :]
        if opcode in (_READ, _WRITE):
            _, offset, size = _IO.unpack_from(body)
            self.requests[offset] = (unique, opcode, size)
            return b"", offset
        if opcode in _NO_REPLY:
            return b"", None
        if opcode == _INIT:
            flags = _ASYNC_READ | _ASYNC_DIO | _MAX_PAGES
            limits = (_MOST_REQUESTS, _MOST_REQUESTS, 1 << 20, 1, 256, 0)
            return _reply(unique, struct.pack("=IIIIHHIIHHI7I", 7, 38, 0, flags, *limits, *([0] * 8))), None
        if opcode == _GETATTR:
            attributes = struct.pack("=6Q3I7I", 1, SIZE, 0, 0, 0, 0, 0, 0, 0, REGULAR, 1, 0, 0, 0, 4096, 0)
            return _reply(unique, struct.pack("=QII", 3600, 0, 0) + attributes), None
        if opcode == _OPEN:
            return _reply(unique, struct.pack("=QII", 1, _DIRECT_IO, 0)), None
        return _reply(unique, b"", 0 if opcode in _NOTHING else -errno.ENOSYS), None

    def release(self, offset: int, byte: int) -> bytes:
        """Reply to a request that was held.

        Parameters
        ----------
        offset : int
        byte : int
            What a read gives, as often as it wants bytes.
        """
        unique, opcode, size = self.requests.pop(offset)
        return _reply(unique, bytes([byte]) * size if opcode == _READ else struct.pack("=II", size, 0))


def _reply(unique: int, payload: bytes, error: int = 0) -> bytes:
    return _OUT.pack(_OUT.size + len(payload), error, unique) + payload


def serve(device: int, control: socket.socket, patience: float) -> None:
    """Serve until the control socket is closed, or has been silent for `patience` seconds.

    Each word on the control socket is ``(offset, byte)``: reply to the request at this offset; -1: we are alive.
    The server sends the offset of each request that it has taken up.
    """
    held = Held()
    heard = time.monotonic()
    while time.monotonic() - heard < patience:
        ready = select.select([device, control.fileno()], [], [], 0.5)[0]
        if control.fileno() in ready:
            heard = time.monotonic()
            word = control.recv(WORD.size)
            if not word:
                return
            offset, byte = WORD.unpack(word)
            if offset in held.requests:
                os.write(device, held.release(offset, byte))
        if device in ready:
            try:
                message = os.read(device, _BUFFER)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):  # ENOENT: the request was interrupted
                    continue
                return  # ENODEV: unmounted
            reply, offset = held.answer(message)
            if reply:
                os.write(device, reply)
            if offset is not None:
                control.send(TAKEN.pack(offset))


def main(arguments: list[str]) -> None:
    """Run the server: ``DEVICE CONTROL PATIENCE PARENT``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    device, control, patience, parent = int(arguments[0]), int(arguments[1]), float(arguments[2]), int(arguments[3])
    if os.getppid() == parent:
        with contextlib.suppress(ConnectionError):  # it went, with words of ours unread
            serve(device, socket.socket(fileno=control), patience)


if __name__ == "__main__":
    main(sys.argv[1:])
