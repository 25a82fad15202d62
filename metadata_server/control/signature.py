"""Requests signed with an access key, as the platform's SDKs sign them: SDK-HMAC-SHA256.

A write is taken once: its exact repetition is refused for as long as its date is good. But for its
first two seconds: dates have no fractions, so an SDK that makes the same write twice within one
second sends the same bytes twice, and means it. That is remembered by this process, and not longer
than it lives.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Final
from urllib.parse import quote, unquote, unquote_plus

from aiohttp import web

from ..errors import Unauthorized
from ..secret import Secret
from .auth import Caller

ALGORITHM: Final = "SDK-HMAC-SHA256"
DATE_HEADER: Final = "X-Sdk-Date"
CONTENT_HEADER: Final = "X-Sdk-Content-Sha256"
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
SKEW_SECONDS: Final = 15 * 60.0
SAME_SECOND: Final = 2.0
"""Seconds between two equal writes that are meant: one, and what the way here takes."""
REMEMBERED: Final = 200_000

_SHOWN: Final = re.compile(
    r"Access=(?P<access>[^,\s]+),\s*"
    r"SignedHeaders=(?P<headers>[a-z0-9!#$%&'*+.^`|~;-]+),\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_DATE: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_NEEDED: Final = frozenset({"host", "x-sdk-date"})
_WRONG: Final = "the signature does not fit the request and its access key"


class AccessKeys:
    """Operators known by access key and signature; an Authenticator."""

    def __init__(
        self,
        keys: Mapping[str, Secret] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        remembered: int = REMEMBERED,
    ) -> None:
        self._keys = dict(keys or {})
        self._clock = clock
        self._seen = _Seen(remembered)
        self._nobody = Secret(secrets.token_bytes(32))

    def replace(self, keys: Mapping[str, Secret]) -> None:
        """Take these keys from now on and no others."""
        self._keys = dict(keys)

    async def caller(self, request: web.Request) -> Caller | None:
        shown = _shown(request)
        if shown is None:
            return None
        access, names, signature = shown
        date = self._date(request, names)
        canonical = [
            request.method,
            _path(request),
            "",
            _headers(request, names),
            ";".join(names),
            _content(request, names, await request.read()),
        ]
        # An unknown key takes the same time as a wrong secret.
        key = self._keys.get(access)
        secret = key or self._nobody
        good = False
        for query in _queries(request):
            canonical[2] = query
            made = _signature("\n".join(canonical), date, secret)
            good |= hmac.compare_digest(made, signature)
        if not good or key is None:
            raise Unauthorized(_WRONG)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            self._seen.take(signature, _moment(date), now=self._clock())
        return Caller(f"key:{access}")

    def _date(self, request: web.Request, names: tuple[str, ...]) -> str:
        if missing := sorted(_NEEDED.difference(names)):
            raise Unauthorized(f"SignedHeaders: expected {' and '.join(missing)} among them")
        date = request.headers.get(DATE_HEADER, "")
        if not _DATE.fullmatch(date):
            raise Unauthorized(f"{DATE_HEADER}: expected the form 20261231T235959Z")
        if abs(_moment(date) - self._clock()) > SKEW_SECONDS:
            raise Unauthorized(
                f"{DATE_HEADER}: more than {SKEW_SECONDS / 60:.0f} minutes off this server's clock"
            )
        return date


class _Seen:
    """The signatures of writes, so that none is taken twice; at most *most* of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, float] = {}
        """Signatures, and when the first of each came."""
        self._by_date: list[tuple[float, str]] = []
        self._floor = 0.0
        """What is dated no later was forgotten, and cannot be told from a repetition."""

    def take(self, signature: str, moment: float, *, now: float) -> None:
        """Remember *signature*, dated *moment*; raises Unauthorized when it came before."""
        until = now - SKEW_SECONDS
        while self._by_date and (self._by_date[0][0] < until or len(self._by_date) >= self._most):
            dated, old = heapq.heappop(self._by_date)
            self._known.pop(old, None)
            self._floor = max(self._floor, dated)
        first = self._known.get(signature)
        if first is not None:
            # A clock that was set back makes no request young again.
            if 0 <= now - first <= SAME_SECOND:
                return
            raise Unauthorized("this very request was made already; sign it with a later date")
        if moment <= self._floor:
            raise Unauthorized(f"{DATE_HEADER}: too many writes since then; sign the request anew")
        self._known[signature] = now
        heapq.heappush(self._by_date, (moment, signature))


def _shown(request: web.Request) -> tuple[str, tuple[str, ...], str] | None:
    """Return access key, names of the signed headers and signature, None when there is none."""
    values = request.headers.getall("Authorization", [])
    mine = [value for value in values if value.partition(" ")[0] == ALGORITHM]
    if not mine:
        return None
    found = _SHOWN.fullmatch(mine[0].partition(" ")[2].strip())
    if len(values) > 1 or found is None:
        raise Unauthorized(
            f"Authorization: expected {ALGORITHM} Access=…, SignedHeaders=…, Signature=…"
        )
    return found["access"], tuple(found["headers"].split(";")), found["signature"]


def _path(request: web.Request) -> str:
    path = request.raw_path.partition("?")[0]
    segments = (
        quote(segment, safe="~", errors="surrogateescape")
        for segment in unquote(path, errors="surrogateescape").split("/")
    )
    signed = "/".join(segments)
    return signed if signed.endswith("/") else signed + "/"


def _queries(request: web.Request) -> list[str]:
    """Return the query in order and, since not every signer sorts numbers as text, as it came."""
    raw = request.raw_path.partition("?")[2]
    pairs = []
    for part in filter(None, raw.split("&")):
        key, _, value = part.partition("=")
        # A plus is a space to whoever reads the query, so it is one here.
        pairs.append(tuple(unquote_plus(each, errors="surrogateescape") for each in (key, value)))
    spelled = [
        "&".join(
            "=".join(quote(each, safe="~", errors="surrogateescape") for each in pair)
            for pair in order
        )
        for order in (sorted(pairs), pairs)
    ]
    return list(dict.fromkeys(spelled))


def _headers(request: web.Request, names: tuple[str, ...]) -> str:
    lines = []
    for name in names:
        values = request.headers.getall(name, [])
        if len(values) != 1:
            raise Unauthorized(f"SignedHeaders: expected {name} once among the headers")
        lines.append(f"{name}:{values[0].strip()}\n")
    return "".join(lines)


def _content(request: web.Request, names: tuple[str, ...], body: bytes) -> str:
    made = hashlib.sha256(body).hexdigest()
    shown = request.headers.get(CONTENT_HEADER)
    if not body or shown is None or shown == made:
        return made
    # SDKs leave out the body when it is a form or a file, and never when it is JSON.
    form = not request.content_type.endswith(("/json", "/bson", "+json"))
    if shown == UNSIGNED and form and {"content-type", CONTENT_HEADER.lower()} <= set(names):
        return UNSIGNED
    raise Unauthorized(f"{CONTENT_HEADER}: not the digest of the body")


def _signature(canonical: str, date: str, secret: Secret) -> str:
    digest = hashlib.sha256(_encoded(canonical)).hexdigest()
    text = f"{ALGORITHM}\n{date}\n{digest}"
    return hmac.new(secret.reveal(), text.encode(), hashlib.sha256).hexdigest()


def _moment(date: str) -> float:
    try:
        moment = datetime.strptime(date, "%Y%m%dT%H%M%SZ")
    except ValueError:
        raise Unauthorized(f"{DATE_HEADER}: no such date") from None
    return moment.replace(tzinfo=timezone.utc).timestamp()


def _encoded(text: str) -> bytes:
    # aiohttp decodes header bytes that are not UTF-8 to surrogates.
    return text.encode("utf-8", "surrogateescape")
