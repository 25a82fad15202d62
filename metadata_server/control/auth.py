"""Who may use the control plane: whoever shows one of the operators' tokens.

Tokens are compared by digest, against all of them, in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from ..errors import Unauthorized

REALM = "linklocal"
TOKEN_HEADER = "X-Auth-Token"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, in a form fit for the audit log."""

    name: str


class Authenticator(Protocol):
    """One way to prove who asks. A dialect with signed requests adds another."""

    async def caller(self, request: web.Request) -> Caller | None:
        """Return who asks, None when this way was not tried; raises Unauthorized when it failed."""
        ...


class Tokens:
    """The operators' tokens, by digest: the tokens themselves are not kept."""

    def __init__(self, tokens: Collection[str] = ()) -> None:
        self._digests: tuple[bytes, ...] = ()
        self.replace(tokens)

    def replace(self, tokens: Collection[str]) -> None:
        """Take these tokens from now on and no others."""
        if any(not token.strip() for token in tokens):
            raise ValueError("an empty token would let everybody in")
        self._digests = tuple(sorted({_digest(token) for token in tokens}))

    async def caller(self, request: web.Request) -> Caller | None:
        shown = shown_token(request)
        if shown is None:
            return None
        digest = _digest(shown)
        known = False
        for candidate in self._digests:
            # No early way out: how long this takes says nothing about which token was near.
            known |= hmac.compare_digest(candidate, digest)
        if not known:
            raise Unauthorized("the token is not one of this server's")
        return Caller(f"token:{fingerprint(shown)}")


def shown_token(request: web.Request) -> str | None:
    """Return the bearer token or X-Auth-Token of *request*; Unauthorized on two that differ."""
    shown = set(request.headers.getall(TOKEN_HEADER, []))
    for value in request.headers.getall("Authorization", []):
        scheme, _, rest = value.partition(" ")
        if scheme.lower() == "bearer":
            shown.add(rest.strip())
    if len(shown) > 1:
        raise Unauthorized("more than one token was given")
    return shown.pop() if shown else None


def fingerprint(token: str) -> str:
    """Return what stands for *token* in the audit log; it is the same after a restart."""
    return hashlib.sha256(b"linklocal control token\0" + _encode(token)).hexdigest()[:12]


def _digest(token: str) -> bytes:
    return hashlib.sha256(_encode(token)).digest()


def _encode(token: str) -> bytes:
    # aiohttp decodes header bytes that are not UTF-8 to surrogates.
    return token.encode("utf-8", "surrogateescape")
