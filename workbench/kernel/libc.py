"""System calls by the C library, on memory that Python knows only as an address."""

import ctypes
import errno
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
FAILED = (-1, 0xFFFF_FFFF)  # of a function that returns an int the upper half of the word is not said (glibc's mlock2)


def call(name: str, *arguments: int | bytes | None) -> int:
    """Call a function of the C library that returns -1 on failure.

    Parameters
    ----------
    name : str
        Such as ``"mmap"``.
    *arguments : int or bytes or None
        Each is passed as a 64-bit word or a pointer.

    Returns
    -------
    int
        What the function returned: 64 bits, signed; an address stays below 2^47.

    Raises
    ------
    OSError
        With the errno of the call.
    """
    function = getattr(_LIBC, name)
    function.restype = ctypes.c_long
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = function(*words)
    if result in FAILED:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)


def error_name(number: int) -> str:
    """The name of an errno, such as ``ENOMEM``; its number where it has none."""
    return errno.errorcode.get(number, str(number))
