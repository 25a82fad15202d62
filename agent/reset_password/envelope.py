"""The envelope in which a platform hands a password to its own daemon: opened, and hashed. Pure.

Its key is made of the instance id: nothing proves who made it, and every process can open it.
"""

import base64
import binascii
import hashlib
from typing import Optional

from ..secret import Secret
from .crypt3 import crypt
from .protocol import ProtocolError

ITERATIONS = 5000
KEY_SIZE = 16
BLOCK = 16
SHORT, LONG = 12, 24
"""Characters of the salt: base64 of 8 or 9 bytes, or of 16, which alone ends with two signs."""
ROUNDS = 500_000
_ALPHABET = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def open_envelope(envelope: str, instance: str) -> Secret:
    """Return the password in *envelope*; ProtocolError when it is none for *instance*."""
    length = LONG if envelope[LONG - 2 : LONG] == "==" else SHORT
    try:
        salt = base64.b64decode(envelope[:length], validate=True)
        text = base64.b64decode(envelope[length:], validate=True)
    except (ValueError, binascii.Error):
        raise ProtocolError("envelope: expected a salt and a text in base64") from None
    if len(envelope) <= length or not text or len(text) % BLOCK:
        raise ProtocolError(f"envelope: expected a text of whole blocks of {BLOCK} bytes")
    key = hashlib.pbkdf2_hmac("sha1", instance.encode(), salt, ITERATIONS, KEY_SIZE)
    found = _unpadded(_decrypted(text, key))
    if found is None or not found or not found.decode("utf-8", "replace").isprintable():
        raise ProtocolError("envelope: not for this instance, or damaged")
    return Secret(found)


def hashed(password: Secret, envelope: str) -> Optional[Secret]:
    """Return a crypt(3) hash of *password*, the same each time for one envelope.

    So a daemon that was interrupted finds again what it had set. None without such a crypt(3).
    """
    digest = hashlib.sha256(b"linklocal legacy salt" + envelope.encode()).digest()
    salt = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:16])
    made = crypt(password.reveal(), b"$6$rounds=%d$%s" % (ROUNDS, salt))
    return None if made is None else Secret(made)


def _decrypted(text: bytes, key: bytes) -> bytes:
    from cryptography.hazmat.backends import default_backend
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    # The platform's choice: the key is the vector, too.
    decryptor = Cipher(algorithms.AES(key), modes.CBC(key), default_backend()).decryptor()
    return decryptor.update(text) + decryptor.finalize()


def _unpadded(text: bytes) -> Optional[bytes]:
    size = text[-1]
    if not 0 < size <= BLOCK or text[-size:] != bytes([size]) * size:
        return None
    return text[:-size]
