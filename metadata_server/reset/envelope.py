"""The envelope in which the platform itself hands a password to its own daemon. Pure.

Its key is made of the instance id, which every process of the guest can read: whoever has the
envelope has the password.
"""

from __future__ import annotations

import base64
import hashlib
import os
import string
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ..secret import Secret
from .policy import SPECIALS, OsType, PasswordRefused

SCHEME: Final = "legacy"
"""In the place of a hash's scheme, for requests that keep an envelope."""
SALT_SIZE: Final = 8
"""The platform's daemon takes the first twelve characters for the salt, whatever comes."""
ITERATIONS: Final = 5000
KEY_SIZE: Final = 16

# On Linux that daemon puts the password into a shell's command line as it is.
_TAKEN: Final[Mapping[OsType, str]] = {"Linux": "!@%^_-=+,./", "Windows": SPECIALS["Windows"]}


def seal(password: Secret, instance_id: str, salt: bytes | None = None) -> Secret:
    """Return the envelope: base64 of the salt, then base64 of the enciphered password."""
    salt = os.urandom(SALT_SIZE) if salt is None else salt
    key = hashlib.pbkdf2_hmac("sha1", instance_id.encode(), salt, ITERATIONS, KEY_SIZE)
    padder = padding.PKCS7(algorithms.AES.block_size).padder()
    text = padder.update(password.reveal()) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key)).encryptor()
    return Secret(
        base64.b64encode(salt) + base64.b64encode(encryptor.update(text) + encryptor.finalize())
    )


def check_taken(password: Secret, os_type: OsType) -> None:
    """Raise PasswordRefused when the platform's daemon would set something else than *password*."""
    taken = string.ascii_letters + string.digits + _TAKEN[os_type]
    if not password.reveal() or not set(password.reveal()) <= set(taken.encode()):
        raise PasswordRefused(
            "expected only ASCII letters, digits and the special characters "
            f"{_TAKEN[os_type]}: the platform's own daemon passes it through a shell"
        )
