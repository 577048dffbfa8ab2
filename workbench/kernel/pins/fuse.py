"""A file whose reads and writes complete when we say so: a FUSE server on ``/dev/fuse``, without libfuse.

Direct IO on such a file (``FOPEN_DIRECT_IO``) pins the caller's buffer as direct IO on a disk does (v6.12
fs/fuse/file.c fuse_get_user_pages, by iov_iter_extract_pages), and keeps the pin until the server replies. So a
short-term pin can be held for as long as one likes, and several can end in any order, each with data of our choice.

The server is a process of its own, and the only one that has ``/dev/fuse`` open: when it ends, the kernel aborts the
connection, and every request ends with an error. It ends when its control socket is closed, when it has heard nothing
for `PATIENCE` seconds (whoever is killed can't exit before its own requests have ended), or with its parent. The mount
is detached (fsmount(2)): it has no name in any namespace, and goes with the last descriptor.
"""

import contextlib
import os
import socket
import subprocess
import sys

from workbench.kernel.libc import call
from workbench.kernel.pins import fuse_server
from workbench.kernel.pins.fuse_server import REGULAR, TAKEN, WORD

PATIENCE = 10.0  # seconds
MOST_BYTES = 1 << 20  # of a request
WINDOW = 1 << 24  # each request gets an offset of its own, a multiple of this

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_SET_STRING, _CREATE = 1, 6


def _detached_mount(device: int) -> int:
    """Mount a FUSE file system whose root is a regular file; a descriptor of the mount."""
    context = call("syscall", _FSOPEN, b"fuse", 0)
    try:
        options = {"source": "pins", "fd": str(device), "rootmode": f"{REGULAR:o}", "user_id": "0", "group_id": "0"}
        for name, value in options.items():
            call("syscall", _FSCONFIG, context, _SET_STRING, name.encode(), value.encode(), 0)
        call("syscall", _FSCONFIG, context, _CREATE, None, None, 0)
        return call("syscall", _FSMOUNT, context, 0, 0)
    finally:
        os.close(context)


class SlowFile:
    """A file whose requests are held until `reply`.

    Parameters
    ----------
    patience : float
        Seconds of silence after which everything that is held ends with an error.

    Attributes
    ----------
    fd : int
        Open for direct reads and writes.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._next = 0
        try:
            mount = _detached_mount(device)
            numbers = [str(n) for n in (device, theirs.fileno(), patience, os.getpid())]
            words = [sys.executable, "-IS", fuse_server.__file__, *numbers]
            self._server = subprocess.Popen(words, pass_fds=(device, theirs.fileno()))
        finally:
            os.close(device)
            theirs.close()
        try:
            self.fd = os.open(f"/proc/self/fd/{mount}", os.O_RDWR)
            os.fstat(self.fd)  # without its size nothing can be read
        finally:
            os.close(mount)

    def next_offset(self) -> int:
        """Offset for one more request."""
        self._next += WINDOW
        return self._next

    def wait_for(self, offset: int, seconds: float = 2.0) -> bool:
        """Wait until the server has a request at this offset: its buffer is pinned by now."""
        self._control.settimeout(seconds)
        try:
            while True:
                word = self._control.recv(TAKEN.size)
                if not word:
                    return False
                if TAKEN.unpack(word)[0] == offset:
                    return True
        except TimeoutError:
            return False

    def reply(self, offset: int, byte: int) -> None:
        """Have a request end."""
        self._control.send(WORD.pack(offset, byte))

    def alive(self) -> None:
        """Tell the server that we are there."""
        self._control.send(WORD.pack(-1, 0))

    def close(self) -> None:
        """End the server; what is still held ends with an error."""
        self._control.close()
        self._server.wait()
        with contextlib.suppress(OSError):  # ENOTCONN: nobody is left to be told
            os.close(self.fd)
