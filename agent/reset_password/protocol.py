"""The messages of sealed reset, version 1: built, opened and checked. Pure."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional, Union

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ..errors import AgentError
from ..secret import Secret
from . import KEY_SIZE, PREFIX

VERSION = 1
SUITES = ("x25519-ed25519-hkdf-sha256-chacha20poly1305",)
PROOF_HEADER = "X-Linklocal-Reset-Proof"

BOOT_SIZE = 16
NONCE_SIZE = 16
CHALLENGE_SIZE = 32
MAC_SIZE = 32

LONGEST_TTL = 366 * 86400
_HEX = re.compile(r"[0-9a-f]*")
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_WORD = re.compile(r"[a-z0-9-]{0,40}")


class ProtocolError(AgentError):
    """The server's message is not what version 1 says, or not by the server."""


class Order(NamedTuple):
    """What was inside a seal: one reset to be applied."""

    id: str
    user: str
    hash: Secret
    unlock: bool
    expire: bool
    restart: bool
    ttl: int
    """Seconds it is good for, from the moment the poll was sent."""


class Envelope(NamedTuple):
    """A sealed request as it came."""

    id: str
    ephemeral: bytes
    sealed: bytes


class Recorded(NamedTuple):
    """What the server has on record for a reset, proven by its MAC."""

    result: str
    code: str


class Challenge(NamedTuple):
    nonce: bytes
    server: bytes


def pack(*parts: bytes) -> bytes:
    """Return *parts* in a row, each behind its length in four bytes, big-endian."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """Return 32 bytes by HKDF-SHA256 (RFC 5869): one block, so that its loop runs once."""
    extracted = hmac.digest(salt, secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def fingerprint(identity: bytes) -> str:
    """Return how people name an identity key."""
    return "sha256:" + hashlib.sha256(identity).hexdigest()


def _raw(key: Union[Ed25519PublicKey, X25519PublicKey]) -> bytes:
    try:
        return key.public_bytes_raw()
    except AttributeError:
        # Before cryptography 40; later ones would load two megabytes for these two words.
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


class Identity:
    """G, the Ed25519 key that is this guest."""

    def __init__(self, private: Secret) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private.reveal())
        self.public = _raw(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class Boot:
    """This boot: its 16 random bytes and D, its X25519 key."""

    def __init__(self, boot: bytes, private: Secret) -> None:
        self.boot = boot
        self._key = X25519PrivateKey.from_private_bytes(private.reveal())
        self.public = _raw(self._key.public_key())

    def agree(self, other: bytes) -> bytes:
        """Return the secret shared with the X25519 key *other*."""
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(other))
        except ValueError:
            raise ProtocolError("a key of the server: expected X25519, not of low order") from None


class Link:
    """What this boot and the server S share for one instance."""

    def __init__(self, instance: str, boot: Boot, server: bytes) -> None:
        self.instance = instance
        self.boot = boot
        self.server = server
        shared = boot.agree(server)
        salt = hashlib.sha256(server + boot.public).digest()
        self._auth = hkdf(shared, salt, b"linklocal reset v1 auth")
        self._ack = hkdf(shared, salt, b"linklocal reset v1 ack")
        self._static = shared

    def poll(self, nonce: bytes, wait: int) -> str:
        """Return path and query of a poll."""
        mac = hmac.digest(self._auth, pack(b"fetch", self.boot.boot, nonce), "sha256")
        query = f"wait={wait}&boot={self.boot.boot.hex()}&nonce={nonce.hex()}&mac={mac.hex()}"
        return f"{PREFIX}request?{query}"

    def open(self, envelope: Envelope, nonce: bytes) -> Order:
        """Return what is sealed; ProtocolError when it is not from the server to this very poll."""
        shared = self.boot.agree(envelope.ephemeral) + self._static
        salt = hashlib.sha256(envelope.ephemeral + self.server + self.boot.public).digest()
        key = hkdf(shared, salt, b"linklocal reset v1 seal")
        associated = pack(
            str(VERSION).encode(),
            self.instance.encode(),
            self.boot.boot,
            envelope.id.encode(),
            nonce,
        )
        try:
            text = ChaCha20Poly1305(key).decrypt(bytes(12), envelope.sealed, associated)
        except InvalidTag:
            raise ProtocolError(
                "request: the seal does not open; it is not for this poll"
            ) from None
        return _read_order(text, envelope.id)

    def check_enrolled(self, body: bytes, identity: bytes, nonce: bytes) -> None:
        """Raise ProtocolError unless the server that has S says that it enrolled *identity*."""
        shown = _bytes(_object(body), "mac", MAC_SIZE)
        message = pack(b"enrolled", self.instance.encode(), self.boot.boot, identity, nonce)
        if not hmac.compare_digest(hmac.digest(self._ack, message, "sha256"), shown):
            raise ProtocolError("key: the answer is not by the server")

    def result(self, request_id: str, result: str, code: str) -> Mapping[str, Any]:
        """Return the acknowledgement of a reset."""
        mac = self._result_mac(b"result", request_id, result, code)
        return {
            "v": VERSION,
            "id": request_id,
            "boot": self.boot.boot.hex(),
            "result": result,
            "code": code,
            "mac": mac.hex(),
        }

    def read_recorded(self, body: bytes, request_id: str) -> Recorded:
        """Return what the server recorded; ProtocolError when the answer is not by the server."""
        raw = _object(body)
        result, code = raw.get("result"), raw.get("code")
        shown = _bytes(raw, "mac", MAC_SIZE)
        # Before anything is made of them: nothing proves yet by whom they are.
        if not (isinstance(result, str) and isinstance(code, str)) or not (
            _WORD.fullmatch(result) and _WORD.fullmatch(code)
        ):
            raise ProtocolError("result: expected result and code in lower-case letters")
        mac = self._result_mac(b"recorded", request_id, result, code)
        if not hmac.compare_digest(mac, shown):
            raise ProtocolError("result: the answer is not by the server")
        return Recorded(result, code)

    def _result_mac(self, label: bytes, request_id: str, result: str, code: str) -> bytes:
        words = [word.encode() for word in (request_id, result, code)]
        message = pack(label, self.instance.encode(), self.boot.boot, *words)
        return hmac.digest(self._ack, message, "sha256")


def challenge_request() -> Mapping[str, Any]:
    return {"v": VERSION}


def read_challenge(body: bytes) -> Challenge:
    raw = _object(body)
    return Challenge(_bytes(raw, "nonce", CHALLENGE_SIZE), _bytes(raw, "server", KEY_SIZE))


def enrol_message(
    instance: str, boot: Boot, server: bytes, nonce: bytes, schemes: Sequence[str]
) -> bytes:
    """Return the bytes that the identity signs."""
    return pack(
        b"linklocal reset v1 enrol",
        instance.encode(),
        boot.boot,
        boot.public,
        server,
        nonce,
        pack(*(suite.encode() for suite in SUITES)),
        pack(*(scheme.encode() for scheme in schemes)),
    )


def enrol(
    identity: Identity, instance: str, boot: Boot, challenge: Challenge, schemes: Sequence[str]
) -> Mapping[str, Any]:
    """Return the message that puts this guest on record."""
    message = enrol_message(instance, boot, challenge.server, challenge.nonce, schemes)
    return {
        "v": VERSION,
        "suites": list(SUITES),
        "instance": instance,
        "boot": boot.boot.hex(),
        "key": boot.public.hex(),
        "identity": identity.public.hex(),
        "schemes": list(schemes),
        "nonce": challenge.nonce.hex(),
        "sig": identity.sign(message).hex(),
    }


def token_proof(token: Secret, message: bytes) -> str:
    """Return the header value that shows the one-time token without sending it."""
    return hmac.digest(hashlib.sha256(token.reveal()).digest(), message, "sha256").hex()


def read_envelope(body: bytes) -> Envelope:
    raw = _object(body)
    request_id = raw.get("id")
    if not isinstance(request_id, str) or not _ID.fullmatch(request_id):
        raise ProtocolError("request: expected an id of letters, digits and '-'")
    return Envelope(request_id, _bytes(raw, "e", KEY_SIZE), _bytes(raw, "sealed", None))


def read_refusal(body: bytes) -> str:
    """Return the code of a refusal, or a word that says there is none; for logs, so bounded."""
    try:
        code = _object(body).get("error")
    except ProtocolError:
        return "no-code"
    return code if isinstance(code, str) and _WORD.fullmatch(code) else "no-code"


def _read_order(text: bytes, request_id: str) -> Order:
    try:
        raw = json.loads(text)
        options = raw["options"]
        order = Order(
            id=raw["id"],
            user=raw["user"],
            hash=Secret(raw["hash"].encode("ascii")),
            unlock=options["unlock"],
            expire=options["expire"],
            restart=options["restart"],
            ttl=raw["ttl"],
        )
        flags = (order.unlock, order.expire, order.restart)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Without the cause: it could quote the text.
        raise ProtocolError("request: what is sealed is not a reset of version 1") from None
    if (
        order.id != request_id
        or not isinstance(order.user, str)
        or not all(isinstance(flag, bool) for flag in flags)
        or type(order.ttl) is not int
        or not 0 < order.ttl <= LONGEST_TTL
    ):
        raise ProtocolError("request: what is sealed is not a reset of version 1")
    return order


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise ProtocolError("the server's answer: expected a JSON object")
    if type(raw.get("v")) is not int or raw["v"] != VERSION:
        raise ProtocolError(f"the server's answer: expected version {VERSION}")
    return raw


def _bytes(raw: Mapping[str, Any], name: str, size: Optional[int]) -> bytes:
    value = raw.get(name)
    if isinstance(value, str) and _HEX.fullmatch(value) and len(value) % 2 == 0:
        found = bytes.fromhex(value)
        if size is None or len(found) == size:
            return found
    wanted = "bytes" if size is None else f"{size} bytes"
    raise ProtocolError(f"{name}: expected {wanted} in lower-case hexadecimal digits")
