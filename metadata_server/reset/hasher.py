"""A program that prints the crypt(3) hash of stdin; its arguments are scheme and rounds."""

import ctypes
import os
import sys
import warnings


def yescrypt(password: bytes, cost: int) -> str:
    """Return a hash made by the machine's own crypt(3): passlib has no yescrypt.

    Raises OSError when that crypt(3) has none either.
    """
    library = ctypes.CDLL("libcrypt.so.1")
    salt, crypt = library.crypt_gensalt, library.crypt
    salt.restype = crypt.restype = ctypes.c_char_p
    salt.argtypes = (ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int)
    crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    setting = salt(b"$y$", cost, os.urandom(16), 16)
    made: bytes | None = crypt(password, setting) if setting else None
    if made is None or not made.startswith(b"$y$"):
        raise OSError("crypt(3) makes no yescrypt here")
    return made.decode("ascii")


def hashed(password: bytes, scheme: str, rounds: int) -> str:
    if scheme == "yescrypt":
        return yescrypt(password, rounds)
    # passlib 1.7.4 imports crypt, deprecated in 3.11.
    warnings.simplefilter("ignore")
    from passlib.hash import bcrypt, sha256_crypt, sha512_crypt

    handlers = {"sha512": sha512_crypt, "sha256": sha256_crypt, "bcrypt": bcrypt}
    made: str = handlers[scheme].using(rounds=rounds).hash(password)
    return made


if __name__ == "__main__":
    sys.stdout.write(hashed(sys.stdin.buffer.read(), sys.argv[1], int(sys.argv[2])))
