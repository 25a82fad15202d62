"""RSA key pairs as operators keep them, and what instances encrypt to them."""

from __future__ import annotations

import base64
import binascii
import getpass
import sys
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from .errors import CtlError, UsageError


def read_private_key(name: str, passphrase_stdin: bool = False) -> rsa.RSAPrivateKey:
    """Return the RSA private key in the file *name*; asks for its pass phrase when it has one."""
    try:
        content = Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error
    if content.startswith(b"PuTTY-User-Key-File"):
        raise CtlError(
            f"{name}: a PuTTY key; export it in puttygen with Conversions > Export OpenSSH key"
        )
    try:
        key = _load(content, None)
    except TypeError:
        # What cryptography raises when the key is encrypted and no pass phrase was given.
        key = _unlock(name, content, passphrase_stdin)
    except UnsupportedAlgorithm as error:
        raise _unsupported(name) from error
    except ValueError as error:
        raise CtlError(f"{name}: expected an RSA private key as PEM, PKCS #8 or OpenSSH") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CtlError(f"{name}: expected an RSA key: passwords are encrypted to RSA keys only")
    return key


def make_pair(kind: str, bits: int, comment: str) -> tuple[bytes, str]:
    """Return a new private key, as ssh and this command read it, and its authorized_keys line."""
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    form = serialization.PrivateFormat.OpenSSH
    if kind == "rsa":
        private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        # Also what nova's client and openssl read.
        form = serialization.PrivateFormat.TraditionalOpenSSL
    elif kind == "ecdsa":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        private = ed25519.Ed25519PrivateKey.generate()
    text = private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    public = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return text, f"{public.decode()} {comment}"


def same_key(private_key: rsa.RSAPrivateKey, public_keys: Iterable[str]) -> bool:
    """Say whether one of *public_keys*, each an authorized_keys line, belongs to *private_key*."""
    own = private_key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return any(line.encode().split()[:2] == own.split() for line in public_keys)


def decrypt(private_key: rsa.RSAPrivateKey, posted: str) -> str:
    """Return the password in *posted*, base64 of RSA PKCS #1 v1.5."""
    try:
        ciphertext = base64.b64decode("".join(posted.split()), validate=True)
        # PKCS #1 v1.5 is what every agent posts; this runs once, for its own user: no oracle.
        return private_key.decrypt(ciphertext, padding.PKCS1v15()).decode()
    except (binascii.Error, ValueError) as error:
        raise CtlError(
            "the posted password cannot be decrypted with this key; the instance may have posted "
            "something else"
        ) from error


def _load(content: bytes, passphrase: bytes | None) -> object:
    if b"-----BEGIN OPENSSH PRIVATE KEY-----" in content:
        return serialization.load_ssh_private_key(content, passphrase)
    return serialization.load_pem_private_key(content, passphrase)


def _unlock(name: str, content: bytes, passphrase_stdin: bool) -> object:
    if passphrase_stdin:
        passphrase = sys.stdin.buffer.readline().rstrip(b"\r\n")
    elif sys.stdin.isatty():
        passphrase = getpass.getpass(f"Pass phrase of {name}: ").encode()
    else:
        raise UsageError(f"{name}: has a pass phrase; expected a terminal or --passphrase-stdin")
    try:
        return _load(content, passphrase)
    except UnsupportedAlgorithm as error:
        raise _unsupported(name) from error
    except (TypeError, ValueError) as error:
        raise CtlError(f"{name}: the pass phrase is wrong") from error


def _unsupported(name: str) -> CtlError:
    return CtlError(
        f"{name}: encrypted in a way that cannot be read here (an OpenSSH key needs Python's "
        f"bcrypt); a copy made PEM by ssh-keygen -p -m PEM -f COPY can be"
    )
