"""AF_XDP: memory registered for the packets of a socket, which is a long-term pin (v6.12 net/xdp/xdp_umem.c)."""

import contextlib
import socket
import struct
from collections.abc import Iterator

from workbench.kernel.needs import Unavailable
from workbench.kernel.pins.pages import PAGE

_AF_XDP, _SOL_XDP, _XDP_UMEM_REG = 44, 283, 4  # include/uapi/linux/if_xdp.h


@contextlib.contextmanager
def registered(address: int, size: int) -> Iterator[bool]:
    """Register memory as long as the block runs; gives whether the kernel let us.

    The kernel gives the pins back a little after the end.

    Raises
    ------
    Unavailable
        Without AF_XDP.
    """
    try:
        owner = socket.socket(_AF_XDP, socket.SOCK_RAW, 0)
    except OSError:
        raise Unavailable("needs AF_XDP (CONFIG_XDP_SOCKETS)") from None
    with owner:
        try:
            owner.setsockopt(_SOL_XDP, _XDP_UMEM_REG, struct.pack("=QQIIII", address, size, PAGE, 0, 0, 0))
        except OSError:
            yield False
        else:
            yield True
