"""This machine's own crypt(3), which is what its logins are checked by."""

import ctypes
from typing import Optional

_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", "libc.so", "libc.musl-x86_64.so.1")


def has_crypt() -> bool:
    return _function() is not None


def crypt(text: bytes, setting: bytes) -> Optional[bytes]:
    """Return the hash of *text*; None when there is no crypt(3), or not for this *setting*."""
    function = _function()
    if function is None:
        return None
    made: Optional[bytes] = function(text, setting)
    # Failure tokens begin with a star.
    return made if made is not None and not made.startswith(b"*") else None


def _function() -> Optional["ctypes._NamedFuncPointer"]:
    for library in _LIBRARIES:
        try:
            function = ctypes.CDLL(library).crypt
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        return function
    return None
