"""Does a password open an account? Asked of the machine's own libcrypt, as a login does."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def _library() -> ctypes.CDLL:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.crypt.restype = ctypes.c_char_p
        library.crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        return library
    raise OSError("no libcrypt on this machine")


def opens(field: str | None, password: str) -> bool:
    """Say whether *password* is the one of a shadow *field*; a locked one opens to nothing."""
    if not field or not field.startswith("$"):
        return False
    made = _library().crypt(password.encode(), field.encode())
    return made is not None and made == field.encode()
