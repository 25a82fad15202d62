"""Where operators come in: so many connections at once, and strangers make room for others.

Whoever can reach the listener, which on a loopback is every user of the machine, could else take
all files of the process, and with them the guests' service.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

from ..connections import most_callers

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS: Final = 10.0
PAUSE: Final = 1.0
"""Seconds until it is tried again when the process has no file left."""


class Callers:
    """Which connections have shown whose they are."""

    def __init__(self) -> None:
        self._known: set[object] = set()

    def admit(self, protocol: object) -> None:
        """Know that an operator is at the other end of *protocol*."""
        self._known.add(protocol)

    def forget(self, protocol: object) -> None:
        self._known.discard(protocol)

    def __contains__(self, protocol: object) -> bool:
        return protocol in self._known


class _Watched(asyncio.Protocol):
    """Passes everything on to *inner*, and tells when it is over."""

    def __init__(self, inner: asyncio.Protocol, ended: Callable[[], None]) -> None:
        self._inner = inner
        self._ended = ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self._ended()


class Door:
    """Accepts connections at *sock* for the application of *runner*; *most* at once."""

    def __init__(
        self,
        runner: web.AppRunner,
        callers: Callers,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        *,
        patience: float,
        most: int | None = None,
    ) -> None:
        """*patience*: seconds that requests under way get when the door is closed."""
        self._runner = runner
        self._callers = callers
        self._sock = sock
        self._tls = tls
        self._patience = patience
        self._most = most or most_callers()
        self._open: dict[int, _Link] = {}
        """Connections by a number that grows: the oldest is the first."""
        self._number = 0
        self._task: asyncio.Task[None] | None = None

    async def open(self, backlog: int) -> None:
        """Accept from now on."""
        await self._runner.setup()
        self._sock.setblocking(False)
        self._sock.listen(backlog)
        self._task = asyncio.create_task(self._accept())

    async def cleanup(self) -> None:
        """Accept nobody any more, and finish what is under way."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._sock.close()
        if self._runner.server is not None:
            await self._runner.shutdown()
            await self._runner.server.shutdown(self._patience)
        await self._runner.cleanup()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                link, _ = await loop.sock_accept(self._sock)
            except OSError:
                # `files` says so; what was reset while it waited is nobody's loss.
                await asyncio.sleep(PAUSE)
                continue
            if len(self._open) >= self._most and not self._make_room():
                log.warning("an operator was hung up on: there are %d already", self._most)
                link.close()
                continue
            self._number += 1
            made = _Link(link)
            self._open[self._number] = made
            made.task = asyncio.create_task(self._greet(self._number, made))

    async def _greet(self, number: int, made: _Link) -> None:
        """Hand the connection to the application, behind TLS when there is any."""
        loop = asyncio.get_running_loop()
        server: Any = self._runner.server
        made.handler = server()

        def ended() -> None:
            self._open.pop(number, None)
            self._callers.forget(made.handler)

        settings: dict[str, Any] = {}
        if self._tls is not None:
            settings = {"ssl": self._tls, "ssl_handshake_timeout": HANDSHAKE_SECONDS}
        try:
            made.transport, _ = await loop.connect_accepted_socket(
                lambda: _Watched(made.handler, ended), made.sock, **settings
            )
        except OSError:
            # It hung up, or it spoke no TLS.
            made.sock.close()
            ended()

    def _make_room(self) -> bool:
        """Hang up on the oldest connection of nobody that is known; False when all are known."""
        for number, link in self._open.items():
            if link.handler not in self._callers:
                link.drop()
                del self._open[number]
                return True
        return False


class _Link:
    """One connection, from the moment it was accepted."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.handler: Any = None
        self.transport: asyncio.BaseTransport | None = None
        self.task: asyncio.Task[None] | None = None

    def drop(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        elif self.task is not None:
            # In the middle of its greeting.
            self.task.cancel()
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
