"""The messages of sealed reset as JSON: fields read strictly, refusals with a code."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from ..errors import RequestError
from .sealed import VERSION

log = logging.getLogger(__name__)

PREFIX: Final = "/linklocal/v1/reset-password/"
BODY_LIMIT: Final = 16 * 1024
BODY_SECONDS: Final = 10.0

_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CODE = re.compile(r"[a-z0-9-]{0,40}")
_WORDS_LIMIT = 16


class Refusal(RequestError):
    """A refusal with a code for the daemon besides the words for people."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def malformed(field: str, expected: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad-request", f"{field}: expected {expected}")


def forbidden(code: str, message: str) -> Refusal:
    return Refusal(HTTPStatus.FORBIDDEN, code, message)


class Fields:
    """The fields of one message; every reader refuses what is not exactly its form."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw

    def version(self) -> None:
        if type(self._raw.get("v")) is not int or self._raw["v"] != VERSION:
            raise Refusal(HTTPStatus.BAD_REQUEST, "version", f"v: expected {VERSION}")

    def text(self, name: str, limit: int = 128) -> str:
        value = self._raw.get(name)
        if not isinstance(value, str) or not value or len(value) > limit or not value.isascii():
            raise malformed(name, f"1 to {limit} ASCII characters")
        return value

    def hex(self, name: str, size: int) -> bytes:
        value = self._raw.get(name)
        if not isinstance(value, str) or len(value) != 2 * size or not _HEX.fullmatch(value):
            raise malformed(name, f"{size} bytes as {2 * size} lower-case hexadecimal digits")
        return bytes.fromhex(value)

    def words(self, name: str) -> tuple[str, ...]:
        value = self._raw.get(name)
        if not isinstance(value, list) or not 0 < len(value) <= _WORDS_LIMIT:
            raise malformed(name, f"a list of 1 to {_WORDS_LIMIT} words")
        for word in value:
            if not isinstance(word, str) or not _WORD.fullmatch(word):
                raise malformed(name, "words of letters, digits, '.', '_' and '-'")
        return tuple(value)

    def code(self, name: str) -> str:
        """Return a reason such as `no-such-user`; empty and absent are the same."""
        value = self._raw.get(name, "")
        if not isinstance(value, str) or not _CODE.fullmatch(value):
            raise malformed(name, "at most 40 lower-case letters, digits and '-'")
        return value

    def number(self, name: str, default: int, highest: int) -> int:
        """Return a whole number of a query."""
        value = self._raw.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,6}", value):
            raise malformed(name, f"a number from 0 to {highest}")
        return min(int(value), highest)


async def bytes_of(request: web.BaseRequest) -> bytes:
    """Return the body, read within bounds of size and time."""
    try:
        return await asyncio.wait_for(_read(request), BODY_SECONDS)
    except asyncio.TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, "slow", "body: came too slowly") from None


async def body_of(request: web.BaseRequest) -> Fields:
    """Return the JSON object of the body."""
    raw = await bytes_of(request)
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise malformed("body", "a JSON object")
    return Fields(value)


async def _read(request: web.BaseRequest) -> bytes:
    found = b""
    try:
        async for chunk in request.content.iter_any():
            found += chunk
            if len(found) > BODY_LIMIT:
                raise Refusal(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    "too-large",
                    f"body: expected at most {BODY_LIMIT} bytes",
                )
    except (ConnectionError, ClientError, HttpProcessingError, web.RequestPayloadError):
        # Not worth a word above debug: any guest can do that as often as it likes.
        log.debug("%s: hung up before the end of the body", peer(request)[0])
        raise malformed("body", "all of it, as it was announced") from None
    return found


def answer(message: Mapping[str, Any], status: int = HTTPStatus.OK) -> web.Response:
    """Return *message* as JSON; it is never cached, and its connection serves nothing else.

    A kept connection would let a later answer's hop limit carry this one again, retransmitted.
    """
    body = json.dumps({"v": VERSION, **message}).encode()
    response = web.Response(body=body, status=status, content_type="application/json")
    return closing(response)


def nothing() -> web.Response:
    return closing(web.Response(status=HTTPStatus.NO_CONTENT))


def closing(response: web.Response) -> web.Response:
    response.headers["Cache-Control"] = "no-store"
    response.force_close()
    return response


def peer(request: web.BaseRequest) -> tuple[str, int]:
    """Return address and port at the other end; an empty address when there is none."""
    name = request.transport.get_extra_info("peername") if request.transport else None
    if isinstance(name, tuple) and len(name) >= 2:
        return str(name[0]), int(name[1])
    return "", 0


def limit_hops(request: web.BaseRequest, hops: int) -> None:
    """Let everything this connection sends from now on live for *hops* routers only."""
    transport = request.transport
    link = transport.get_extra_info("socket") if transport is not None else None
    if link is None:
        return
    if link.family == socket.AF_INET6:
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    if link.family in (socket.AF_INET, socket.AF_INET6):
        # On a socket of IPv6 it governs the IPv4 addresses mapped into it.
        link.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
