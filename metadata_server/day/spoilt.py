"""Answers that faults have had a hand in: held up, refused, broken off, cut short, dripping."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from ..errors import Unauthorized
from ..rendered import Answer
from ..replies import GuestRequest, Reply, refusal
from ..tokens import REFUSED, TOKEN_HEADERS
from .cells import Cells
from .faults import Fault

Honest = Callable[[], Awaitable[web.StreamResponse]]

LOOK: Final = 1.0
"""Seconds after which a guest that hung up while it was held up is noticed."""
PIECES: Final = 10.0
"""Most pieces a second of an answer that drips."""
TEXT: Final = "This is a fault that the operator asked for."


class Broken(Reply):
    """No answer: the connection is reset."""

    def __init__(self) -> None:
        super().__init__(Answer(500, b"", "text/plain"))

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        if request.transport is not None:
            link = request.transport.get_extra_info("socket")
            if link is not None and link.family in (socket.AF_INET, socket.AF_INET6):
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.transport.abort()
        raise ConnectionResetError("a fault")


class Truncated(Reply):
    """An answer that announces all of its body and ends after *size* bytes of it."""

    def __init__(self, answer: Answer, size: int) -> None:
        super().__init__(answer, close=True)
        self._size = size

    async def send(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        head = data.index(b"\r\n\r\n") + 4
        # At least one byte is missing, or it would be no fault.
        transport.write(data[: min(head + self._size, max(head, len(data) - 1))])


class Dripping(Reply):
    """An answer whose body comes at so many bytes a second."""

    def __init__(
        self, answer: Answer, rate: int, pause: Callable[[float], Awaitable[bool]]
    ) -> None:
        super().__init__(answer)
        self._rate = rate
        self._pause = pause

    async def send(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        at = data.index(b"\r\n\r\n") + 4
        transport.write(data[:at])
        size = max(1, round(self._rate / PIECES))
        while at < len(data) and not transport.is_closing():
            if not await self._pause(size / self._rate):
                size = len(data)  # The fault is gone: the rest at once.
            transport.write(data[at : at + size])
            at += size


class Spoiler:
    """The faults that one process knows, and what they do to answers."""

    def __init__(self, cells: Cells, now: Callable[[], float]) -> None:
        self.known: dict[str, tuple[Fault, ...]] = {}
        """By instance id; those without any are not in it."""
        self._cells = cells
        self._now = now
        self._held: dict[str, asyncio.Event] = {}
        """By fault: what is set when it is gone."""
        self._draining = False

    def take(self, instance_id: str, faults: Sequence[Fault]) -> None:
        """Know these *faults* of an instance and no others; let go whom others hold up."""
        left = {each.id for each in faults}
        for old in self.known.get(instance_id, ()):
            if old.id not in left and old.id in self._held:
                self._held.pop(old.id).set()
        if faults:
            self.known[instance_id] = tuple(faults)
        else:
            self.known.pop(instance_id, None)

    def drain(self) -> None:
        """Hold nobody up any more."""
        self._draining = True
        for event in self._held.values():
            event.set()

    async def answer(
        self, request: web.BaseRequest, instance_id: str, path: str, honest: Honest
    ) -> web.StreamResponse:
        """Return what the instance's faults make of the *honest* answer to a request of *path*."""
        # Both are seen before anything is awaited, so that no fault meets half a request.
        met = self._met(request, self.known.get(instance_id, ()), path)
        if met and isinstance(request, GuestRequest):
            request.fault = met[-1][0].id
        for fault, number in met:
            if fault.kind == "delay":
                await self._pause(request, fault, fault.delay(number))
            elif fault.kind == "status":
                accept = request.headers.get("Accept")
                # What was not read of the body would be taken for the next request.
                close = request.body_exists and not request.content.is_eof()
                return Reply(refusal(fault.status, TEXT, accept), close=close)
            elif fault.kind == "token-expiry":
                raise Unauthorized(REFUSED)
            elif fault.kind in ("hang", "hop-limit"):
                await self._pause(request, fault, None)
                return Broken()
            elif fault.kind == "reset":
                return Broken()
            else:
                return self._spoilt(request, fault, await honest())
        return await honest()

    def _met(
        self, request: web.BaseRequest, faults: Sequence[Fault], path: str
    ) -> list[tuple[Fault, int]]:
        """Return the faults that the request meets with its number: delays, and one other."""
        for_token = request.method == "PUT" and path.endswith("/api/token")
        has_token = any(name in request.headers for name in TOKEN_HEADERS)
        found = []
        for fault in faults:
            if fault.until is not None and fault.until <= self._now():
                continue
            if not fault.concerns(path, has_token=has_token, for_token=for_token):
                continue
            number = self._cells.count(fault.slot, fault.meets)
            if number:
                found.append((fault, number))
                if fault.kind != "delay":
                    break
        return found

    def _spoilt(
        self, request: web.BaseRequest, fault: Fault, answer: web.StreamResponse
    ) -> web.StreamResponse:
        if not isinstance(answer, Reply):
            return Broken()
        if fault.kind == "truncate":
            return Truncated(answer.answer, fault.bytes)

        async def pause(seconds: float) -> bool:
            return await self._pause(request, fault, seconds)

        return Dripping(answer.answer, fault.rate, pause)

    async def _pause(self, request: web.BaseRequest, fault: Fault, seconds: float | None) -> bool:
        """Wait so many seconds, None without end; say whether the fault was there all the time."""
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        if self._draining or fault not in self.known.get(fault.instance, ()):
            return False
        gone = self._held.setdefault(fault.id, asyncio.Event())
        while request.transport is not None:
            left = LOOK if end is None else min(LOOK, end - loop.time())
            if left <= 0:
                return True
            try:
                await asyncio.wait_for(gone.wait(), left)
            except asyncio.TimeoutError:
                if fault.until is not None and fault.until <= self._now():
                    return False
                continue
            return False
        return False
