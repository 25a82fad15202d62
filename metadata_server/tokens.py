"""Session tokens of both families: sealed, bound to one instance, with their expiry inside. Pure.

Nothing is stored, so a token is good at every worker and after a restart, until it expires.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from .errors import BadRequest, Unauthorized
from .secret import Secret

LONGEST: Final = 21600

_EXPIRY_SIZE = 5
_SALT_SIZE = 5
_SEAL_SIZE = 32
_HEAD_SIZE = _EXPIRY_SIZE + _SALT_SIZE
# 56 characters, as AWS's own: SDKs on AWS's C runtime have room for 64 and no more.
_LENGTH = (_HEAD_SIZE + _SEAL_SIZE) * 4 // 3


@dataclass(frozen=True, slots=True)
class Family:
    """How one family of clients asks for a token and shows it."""

    name: str
    ttl_header: str
    ttl_answer: str
    token_header: str
    shortest: int
    default: int | None
    """Seconds when the client names none; None means that it has to."""


EC2: Final = Family(
    "EC2",
    "X-aws-ec2-metadata-token-ttl-seconds",
    "X-Aws-Ec2-Metadata-Token-Ttl-Seconds",
    "X-aws-ec2-metadata-token",
    shortest=1,
    default=None,
)
HUAWEI: Final = Family(
    "Huawei",
    "X-Metadata-Token-Ttl-Seconds",
    "X-Metadata-Token-Ttl-Seconds",
    "X-Metadata-Token",
    shortest=60,
    default=LONGEST,
)

TOKEN_HEADERS: Final = (EC2.token_header, HUAWEI.token_header)


def read_ttl(family: Family, headers: Mapping[str, str]) -> int:
    """Return the seconds that a client asks a token for, or raise BadRequest."""
    raw = headers.get(family.ttl_header)
    if raw is None and family.default is not None:
        return family.default
    if raw is None or not re.fullmatch(r"[0-9]{1,9}", raw, re.ASCII):
        raise BadRequest(f"{family.ttl_header}: expected a number of seconds.")
    if not family.shortest <= int(raw) <= LONGEST:
        raise BadRequest(f"{family.ttl_header}: expected {family.shortest} to {LONGEST} seconds.")
    return int(raw)


class Tokens:
    """Makes and checks tokens under one key."""

    def __init__(self, key: Secret, *, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._now = now

    def issue(self, instance_id: str, ttl: int) -> str:
        """Return a fresh token for the instance, good for *ttl* seconds."""
        expiry = int(self._now()) + ttl
        head = expiry.to_bytes(_EXPIRY_SIZE, "big") + secrets.token_bytes(_SALT_SIZE)
        return base64.urlsafe_b64encode(head + self._seal(head, instance_id)).decode()

    def check(self, token: str, instance_id: str) -> None:
        """Raise Unauthorized unless *token* is good."""
        if not self.is_good(token, instance_id):
            raise Unauthorized(REFUSED)

    def is_good(self, token: str, instance_id: str) -> bool:
        """Say whether *token* was issued to the instance and has not expired."""
        if len(token) != _LENGTH:
            return False
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
        except ValueError:
            return False
        head, seal = raw[:_HEAD_SIZE], raw[_HEAD_SIZE:]
        if not hmac.compare_digest(seal, self._seal(head, instance_id)):
            return False
        return int.from_bytes(head[:_EXPIRY_SIZE], "big") > self._now()

    def _seal(self, head: bytes, instance_id: str) -> bytes:
        # The head has a fixed length, so nothing of it can be taken for a part of the id.
        return hmac.digest(
            self._key.reveal(), b"linklocal session token" + head + instance_id.encode(), "sha256"
        )


REFUSED: Final = "The session token is not valid for this instance, or has expired."
REQUIRED: Final = "This instance's metadata is served with a session token only."
