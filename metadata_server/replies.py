"""How answers and refusals get on the wire of aiohttp's low-level server."""

from __future__ import annotations

import html
import json
import re
import time
from asyncio import WriteTransport
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from .connections import Connection
from .rendered import Answer
from .tree import JSON, TEXT

HTML: Final = "text/html; charset=UTF-8"


class GuestRequest(web.BaseRequest):
    """A request whose answers do not say what software gives them, malformed ones included."""

    connection: Connection | None = None
    """What it came in on, unless that is closed."""
    instance_id: str | None = None
    """Whose it is, once that is known."""
    fault: str | None = None
    """The id of the fault that has a hand in the answer."""
    is_last = False
    """Whether its connection is to serve nothing after it."""

    @property
    def keep_alive(self) -> bool:
        return not self.is_last and not self.holds_back and super().keep_alive

    @property
    def holds_back(self) -> bool:
        """Whether its body was to be asked for: after the answer all of it comes, or none."""
        return self.headers.get("Expect", "").lower() == "100-continue" and not (
            self.content.is_eof()
        )

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.popall("Server", None)


class Reply(web.StreamResponse):
    """One sending of an answer: in one write, since some guests read but once."""

    def __init__(self, answer: Answer, *, close: bool = False) -> None:
        super().__init__(status=answer.status)
        self.answer = answer
        self._kept = not close
        self._connection: Connection | None = None

    @property
    def keep_alive(self) -> bool | None:
        return self._kept

    def with_header(self, name: str, value: str) -> Reply:
        """Return the same reply with one header more."""
        return Reply(self.answer.with_header(name, value), close=not self._kept)

    @property
    def body_length(self) -> int:
        return len(self.answer.rest) - self.answer.split - 2

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        answer = self.answer
        self._kept = self._kept and request.keep_alive
        if self._kept and request.method != "HEAD" and request.version == HttpVersion11:
            rest = answer.rest
        else:
            rest = self._unusual(request)
        if isinstance(request, GuestRequest):
            self._connection = request.connection
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the guest has gone")
        await self.send(transport, start(answer.status, int(time.time())) + rest)
        # A guest that asks and does not read waits here, and holds no more than this answer.
        await request.writer.drain()
        return request.writer

    async def send(self, transport: WriteTransport, data: bytes) -> None:
        """Put the whole answer on the wire."""
        transport.write(data)

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""
        if self._kept and self._connection is not None:
            self._connection.written()

    def _unusual(self, request: web.BaseRequest) -> bytes:
        rest, split = self.answer.rest, self.answer.split
        connection = b""
        if not self._kept:
            connection = b"Connection: close\r\n"
        elif request.version != HttpVersion11:
            connection = b"Connection: keep-alive\r\n"
        body = b"" if request.method == "HEAD" else rest[split + 2 :]
        return b"".join((rest[:split], connection, b"\r\n", body))


def closing(answer: Answer) -> bytes:
    """Return the whole of *answer* as the last one of its connection."""
    head = start(answer.status, int(time.time()))
    rest, split = answer.rest, answer.split
    return b"".join((head, rest[:split], b"Connection: close\r\n", rest[split:]))


@lru_cache(maxsize=16)
def start(status: int, second: int) -> bytes:
    phrase = HTTPStatus(status).phrase
    date = formatdate(second, usegmt=True)
    return f"HTTP/1.1 {status} {phrase}\r\nDate: {date}\r\n".encode("ascii")


def refusal(status: int, explanation: str, accept: str | None) -> Answer:
    """Return a refusal as nova words it: HTML, or JSON or plain text for who accepts no HTML."""
    return _refusal(status, explanation, _preferred(accept or "*/*"))


@lru_cache(maxsize=256)
def _refusal(status: int, explanation: str, content_type: str) -> Answer:
    title = HTTPStatus(status).phrase
    code = f"{status} {title}"
    body = f"{html.escape(explanation)}<br /><br />\n\n\n"
    if content_type == HTML:
        text = (
            f"<html>\n <head>\n  <title>{code}</title>\n </head>\n"
            f" <body>\n  <h1>{code}</h1>\n  {body}\n </body>\n</html>"
        )
    elif content_type == JSON:
        text = json.dumps({"message": body, "code": code, "title": title})
    else:
        text = f"{code}\n\n{explanation}\n\n   "
    return Answer(status, text.encode(), content_type)


@lru_cache(maxsize=256)
def _preferred(accept: str) -> str:
    """Return the type of the refusal that an Accept header wants most."""
    found = [
        (quality, -rank, content_type)
        for rank, content_type in enumerate((HTML, JSON))
        if (quality := _quality(accept, content_type.partition(";")[0])) > 0
    ]
    return max(found)[2] if found else TEXT


_RANGE: Final = re.compile(r"\s*([\w!#$&^.+*-]+/[\w!#$&^.+*-]+)\s*(;.*)?", re.ASCII)
_QUALITY: Final = re.compile(r";\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.ASCII)


def _quality(accept: str, content_type: str) -> float:
    """Return how much *accept* wants *content_type*; the most exact range that holds it says so."""
    kind = content_type.partition("/")[0]
    ranges = {"*/*": 0, f"{kind}/*": 1, content_type: 2}
    best, quality = -1, 0.0
    for each in accept.split(","):
        found = _RANGE.fullmatch(each)
        if found is None or ranges.get(found[1].lower(), -1) <= best:
            continue
        best = ranges[found[1].lower()]
        weight = _QUALITY.search(found[2] or "")
        quality = float(weight[1]) if weight else 1.0
    return quality
