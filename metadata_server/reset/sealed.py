"""The cryptography of sealed reset, version 1, as in docs/reset-protocol.md; pure."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..secret import Secret

VERSION = 1
SUITE = "x25519-ed25519-hkdf-sha256-chacha20poly1305"

KEY_SIZE = 32
NONCE_SIZE = 16
BOOT_SIZE = 16
MAC_SIZE = 32
SIGNATURE_SIZE = 64
CHALLENGE_SECONDS = 30

ENROL = b"linklocal reset v1 enrol"
AUTH = b"linklocal reset v1 auth"
ACK = b"linklocal reset v1 ack"
SEAL = b"linklocal reset v1 seal"
CHALLENGE = b"linklocal reset v1 challenge"

# The key of a seal is used for one message only.
ZERO_NONCE = bytes(12)


def pack(*parts: bytes) -> bytes:
    """Return *parts* one after another, each behind its length as four bytes, big-endian.

    No two lists of parts give the same bytes, whoever chose them.
    """
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def pack_words(words: Sequence[str]) -> bytes:
    """Return a list of words as one part of `pack`."""
    return pack(*(word.encode() for word in words))


def mac(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, pack(*parts), "sha256")


def same(one: bytes, other: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one, other)


def fingerprint(identity: bytes) -> str:
    """Return how people name an identity key."""
    return "sha256:" + hashlib.sha256(identity).hexdigest()


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    salt = hashlib.sha256(salt).digest()
    return HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=salt, info=info).derive(secret)


def _public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@dataclass(frozen=True, slots=True, repr=False)
class LinkKeys:
    """What the server's key and one boot key of a guest agree on."""

    auth: bytes
    """Of polls."""
    ack: bytes
    """Of acknowledgements and their answers."""


class ServerKey:
    """S, the static X25519 key of the server."""

    def __init__(self, private: Secret) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private.reveal())
        self.public = _public(self._key)
        self._challenge = _derive(private.reveal(), b"", CHALLENGE)

    def link(self, guest: bytes) -> LinkKeys:
        """Return the keys shared with the boot key *guest*; ValueError when it is of low order."""
        shared = self._exchange(guest)
        salt = self.public + guest
        return LinkKeys(_derive(shared, salt, AUTH), _derive(shared, salt, ACK))

    def seal(
        self,
        text: bytes,
        *,
        guest: bytes,
        associated: bytes,
        ephemeral: Secret | None = None,
    ) -> tuple[bytes, bytes]:
        """Return the ephemeral public key and *text* sealed to the boot key *guest*.

        *ephemeral* is for test vectors alone; a fresh key is drawn without it.
        """
        drawn = ephemeral or Secret(secrets.token_bytes(KEY_SIZE))
        e = X25519PrivateKey.from_private_bytes(drawn.reveal())
        shared = e.exchange(X25519PublicKey.from_public_bytes(guest)) + self._exchange(guest)
        key = _derive(shared, _public(e) + self.public + guest, SEAL)
        return _public(e), ChaCha20Poly1305(key).encrypt(ZERO_NONCE, text, associated)

    def challenge(self, instance: str, address: str, now: float, epoch: bytes = b"") -> bytes:
        """Return a nonce that `accepts` takes for CHALLENGE_SECONDS from that address.

        *epoch* is the process's own, so that none outlives it.
        """
        head = int(now + CHALLENGE_SECONDS).to_bytes(8, "big") + secrets.token_bytes(8)
        return head + self._challenge_mac(head, instance, address, epoch)

    def accepts(
        self, nonce: bytes, instance: str, address: str, now: float, epoch: bytes = b""
    ) -> bool:
        """Say whether *nonce* is a challenge of ours to that guest at that address, still good."""
        head, tail = nonce[:NONCE_SIZE], nonce[NONCE_SIZE:]
        if not same(tail, self._challenge_mac(head, instance, address, epoch)):
            return False
        left = int.from_bytes(head[:8], "big") - now
        # A clock stepped back must not lengthen a challenge's life.
        return 0 < left <= CHALLENGE_SECONDS

    def _challenge_mac(self, head: bytes, instance: str, address: str, epoch: bytes) -> bytes:
        parts = (head, instance.encode(), address.encode(), *((epoch,) if epoch else ()))
        return mac(self._challenge, *parts)[:NONCE_SIZE]

    def _exchange(self, guest: bytes) -> bytes:
        return self._key.exchange(X25519PublicKey.from_public_bytes(guest))


def enrol_message(
    *,
    instance: str,
    boot: bytes,
    guest: bytes,
    server: bytes,
    nonce: bytes,
    suites: Sequence[str],
    schemes: Sequence[str],
) -> bytes:
    """Return the bytes that the identity key signs."""
    return pack(
        ENROL,
        instance.encode(),
        boot,
        guest,
        server,
        nonce,
        pack_words(suites),
        pack_words(schemes),
    )


def signed(message: bytes, signature: bytes, identity: bytes) -> bool:
    """Say whether *signature* over *message* is by the Ed25519 key *identity*."""
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def token_proof(token: bytes, message: bytes) -> bytes:
    """Return what shows that the guest's root holds the one-time *token*, without sending it."""
    return hmac.digest(hashlib.sha256(token).digest(), message, "sha256")


def enrolled_mac(
    keys: LinkKeys, *, instance: str, boot: bytes, identity: bytes, nonce: bytes
) -> bytes:
    """Return the proof to a guest that whoever enrolled it has the server's key."""
    return mac(keys.ack, b"enrolled", instance.encode(), boot, identity, nonce)


def poll_mac(keys: LinkKeys, boot: bytes, nonce: bytes) -> bytes:
    return mac(keys.auth, b"fetch", boot, nonce)


def seal_associated(instance: str, boot: bytes, request_id: str, nonce: bytes) -> bytes:
    """Return what a seal is bound to: it opens for this guest, boot, request and poll alone."""
    return pack(str(VERSION).encode(), instance.encode(), boot, request_id.encode(), nonce)


def result_mac(
    keys: LinkKeys, *, instance: str, boot: bytes, request_id: str, result: str, code: str
) -> bytes:
    words = (instance.encode(), boot, request_id.encode(), result.encode(), code.encode())
    return mac(keys.ack, b"result", *words)


def recorded_mac(
    keys: LinkKeys, *, instance: str, boot: bytes, request_id: str, result: str, code: str
) -> bytes:
    """Return the proof that the server has the acknowledgement; another word than the guest's."""
    words = (instance.encode(), boot, request_id.encode(), result.encode(), code.encode())
    return mac(keys.ack, b"recorded", *words)
