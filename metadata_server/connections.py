"""Connections of guests, within bounds of time, size and number.

The request that nearly every client sends, whole and in the plainest form of HTTP/1.1, is answered
where it comes in. Everything else goes to aiohttp, which knows all of HTTP and how to refuse it.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, cast

from aiohttp import web

from .channel import pass_connection
from .errors import BadRequest
from .metrics import Counters
from .paths import BOOT_REPORT, PLATFORM_RESET, RESET, read_path

log = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Quick = Callable[[str, str, Mapping[str, str]], "bytes | None"]
"""What answers a GET of an address, a target and headers; None when it needs a closer look."""


class Side(NamedTuple):
    """What a listener has to know of guests, told by the addresses they ask from."""

    quick: Quick | None
    is_known: Callable[[str], bool]
    turned_away: Callable[[str], bytes | None]
    """Counts a stranger's request; gives the whole answer when it is one too many."""
    not_http: Callable[[], bytes]
    """Gives the whole answer to what is not HTTP."""
    refused: Callable[[], web.StreamResponse]
    """Gives the same answer for aiohttp to send."""


class Patience(NamedTuple):
    """Seconds that guests get."""

    idle: float = 75.0
    head: float = 10.0
    """From the first byte of a request until it can be begun with."""
    stuck: float = 30.0
    """Without reading its answer."""
    look: float = 1.0
    """Between two looks at how long it has been."""


AHEAD_LIMIT: Final = 256 * 1024
"""Bytes that a guest may send before what it sent first has been begun with."""
PLAIN_LIMIT: Final = 4096
WRITERS: Final = (RESET, BOOT_REPORT, *PLATFORM_RESET)
"""How the paths begin that only the writer of several processes can answer."""
WRITERS_WORDS: Final = tuple(b"/" + names[-1].encode() for names in WRITERS)
"""One of these is in the target of such a request."""
PIPELINED: Final = 64
"""Requests that may wait for the answer to another one of their connection."""
RESERVED_FILES: Final = 256
"""Files that are not connections: the state, commands."""
MOST: Final = 65536
MOST_CALLERS: Final = 1024
"""Connections of operators."""

# Of these, none changes what is served or to whom, but for Host and the tokens.
_PLAIN_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "host",
        "metadata",
        "pragma",
        "user-agent",
        "x-aws-ec2-metadata-token",
        "x-metadata-token",
    }
)
_CONNECTIONS: Final = ("keep-alive", "close")
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)


def read_plain(data: bytes) -> tuple[str, dict[str, str]] | None:
    """Return target and headers, names in lower case, when *data* is one plain GET and no more."""
    if not data.startswith(b"GET /") or not data.endswith(b"\r\n\r\n") or len(data) > PLAIN_LIMIT:
        return None
    try:
        first, *lines = data[:-4].decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        return None
    # Controls, a lone line end among them, and a second request: not plain.
    if not first.endswith(" HTTP/1.1") or not first.isprintable():
        return None
    target = first[4:-9]
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        if name not in _PLAIN_HEADERS or name in headers or not value.isprintable():
            return None
        headers[name] = value.strip()
    if " " in target or headers.get("connection", "keep-alive").lower() not in _CONNECTIONS:
        return None
    return target, headers


def closes(headers: Mapping[str, str]) -> bool:
    """Say whether a plain request is the last of its connection."""
    return headers.get("connection", "").lower() == "close"


PATIENCE: Final = Patience()


class Connection(asyncio.Protocol):
    """One connection; what is not plain it passes on to aiohttp's own protocol."""

    __slots__ = (
        "_ahead",
        "_handler",
        "_held",
        "_quick",
        "_single",
        "active",
        "address",
        "begun",
        "busy",
        "server",
        "stuck",
        "transport",
    )

    def __init__(self, server: GuestServer) -> None:
        self.server = server
        self._handler: _Handler | None = None
        self._quick = True
        """Whether aiohttp has nothing to do, so that the next request may be answered here."""
        self._single = False
        """Whether all that aiohttp was given is one request without a body."""
        self._ahead = 0
        self._held: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self.address = ""
        self.active = 0.0
        """When something was last heard from the guest, or answered."""
        self.begun: float | None = None
        """When a request began that is not being answered yet."""
        self.stuck: float | None = None
        """Since when the guest does not read."""
        self.busy = 0
        """Requests that are being answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        self.active = self.server.time()
        self.server.registry.add(self)
        self.server.counters.opened(self.server.number)

    def data_received(self, data: bytes) -> None:
        self.active = self.server.time()
        if self._quick and self.transport is not None:
            found = self.server.plain(self.address, data)
            if found is not None:
                answer, last = found
                self.transport.write(answer)
                if last:
                    self.transport.close()
                return
            if self._handler is None and (away := self.server.side.turned_away(self.address)):
                self.transport.write(away)
                self.transport.close()
                return
            if self.server.passed_on(self.transport, data):
                # Closed here, open there.
                self.transport.abort()
                return
            self._quick = False
            self._single = data.endswith(b"\r\n\r\n") and data.count(b"\r\n\r\n") == 1
        else:
            self._single = False
        if not self.busy:
            self.begun = self.active if self.begun is None else self.begun
            self._ahead += len(data)
            if self._ahead > AHEAD_LIMIT and self.transport is not None:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        if self._handler is None and self.transport is not None:
            self._handler = self.server.handler()
            self.server.registry.own(self._handler, self)
            self._handler.connection_made(self.transport)
        if self._handler is not None:
            self._handle(self._handler, data)

    def _handle(self, handler: _Handler, data: bytes) -> None:
        try:
            handler.data_received(data)
        except ValueError as error:
            # Of an address that is none, which aiohttp before 3.9 leaves to us.
            log.debug("what a client sent is not HTTP: %s", type(error).__name__)
            if self.transport is not None:
                self.server.counters.answered(self.server.number, BadRequest.status)
                self.transport.write(self.server.side.not_http())
                self.transport.close()
        if handler.waiting > PIPELINED:
            # aiohttp before 3.14 keeps all that is sent behind a request that takes its time.
            self.drop()

    def eof_received(self) -> bool | None:
        inner: asyncio.Protocol | None = self._handler
        return inner.eof_received() if inner is not None else None

    def pause_writing(self) -> None:
        self.stuck = self.server.time()
        if self._handler is not None:
            self._handler.pause_writing()
        if self._quick and self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.stuck = None
        if self._handler is not None:
            self._handler.resume_writing()
        if self._quick and self.transport is not None and self._held is None:
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._held is not None:
            self._held.cancel()
        self.server.registry.remove(self, self._handler)
        self.server.counters.closed(self.server.number)
        if self._handler is not None:
            self._handler.connection_lost(exc)

    def begin(self) -> None:
        """Know that a request has arrived as far as it takes to answer it."""
        self.busy += 1
        self.begun = None
        self._ahead = 0

    def end(self) -> None:
        """Know that the answer to it is there."""
        self.busy -= 1
        self.active = self.server.time()

    def written(self) -> None:
        """Know that the answer is on its way and the connection stays."""
        self._quick = self._single

    def hold(self, seconds: float) -> None:
        """Read nothing from the guest for so long."""
        if self.transport is not None and self._held is None:
            self.transport.pause_reading()
            self._held = self.server.loop.call_later(seconds, self._release)

    def _release(self) -> None:
        self._held = None
        self.active = self.server.time()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def is_over(self, now: float, patience: Patience) -> bool:
        """Say whether the guest has had its time."""
        if self.begun is not None and now - self.begun > patience.head and not self.busy:
            return True
        if self.stuck is not None:
            return now - self.stuck > patience.stuck
        return not self.busy and now - self.active > patience.idle

    def finish(self, server: GuestServer) -> None:
        """Close when this is *server*'s and aiohttp has nothing to do with it."""
        if self.server is server and self._quick and self.transport is not None:
            self.transport.close()

    def drop(self) -> None:
        """Close at once, whatever is still to be written."""
        if self.transport is not None:
            self.transport.abort()


class Registry:
    """All connections of all listeners; looks at them now and then, and bounds their number."""

    def __init__(self, patience: Patience = PATIENCE, most: int | None = None) -> None:
        self._patience = patience
        self._most = most or most_connections()
        self._all: dict[Connection, None] = {}
        self._owners: dict[object, Connection] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection) -> None:
        if len(self._all) >= self._most:
            self._make_room()
        self._all[connection] = None
        if self._sweep is None:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(self._patience.look, self._look, loop)

    def own(self, handler: object, connection: Connection) -> None:
        """Know that aiohttp's *handler* is there for *connection*."""
        self._owners[handler] = connection

    def of(self, handler: object) -> Connection | None:
        """Return the connection that *handler* is there for, None when it is closed."""
        return self._owners.get(handler)

    def all(self) -> list[Connection]:
        return list(self._all)

    def remove(self, connection: Connection, handler: object = None) -> None:
        self._all.pop(connection, None)
        self._owners.pop(handler, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._all):
            if connection.is_over(now, self._patience):
                connection.drop()
        self._sweep = None
        if self._all:
            self._sweep = loop.call_later(self._patience.look, self._look, loop)

    def _make_room(self) -> None:
        """Close what has been idle longest of the guest that has most; some at once, for speed.

        Strangers count as one: however many addresses they have, they take no guest's place.
        """
        held = Counter((each.server, each.address) for each in self._all)
        owners = {
            (server, address): address if server.side.is_known(address) else ""
            for server, address in held
        }
        totals: Counter[str] = Counter()
        for key, number in held.items():
            totals[owners[key]] += number
        ((owner, number),) = totals.most_common(1)
        idle = [
            each
            for each in self._all
            if owners[each.server, each.address] == owner and not each.busy
        ]
        idle.sort(key=lambda each: each.active)
        for each in idle[: max(1, number // 16)]:
            each.drop()
            self.remove(each)


def most_connections() -> int:
    """Return how many connections of guests the process has files for."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(files - RESERVED_FILES - most_callers(), MOST))


def most_callers() -> int:
    """Return how many connections of operators leave enough files for guests."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(16, min(files // 8, MOST_CALLERS))


class _Handler(web.RequestHandler):
    """aiohttp's protocol, with words of ours for what it refuses itself."""

    __slots__ = ("_server",)

    def __init__(self, server: GuestServer, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._server = server

    @property
    def waiting(self) -> int:
        """How many requests were read and not begun with."""
        return len(self._messages)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to what could not be read, without a word of what it was."""
        if status != BadRequest.status:
            return super().handle_error(request, status, exc, message)
        log.debug("what a client sent is not HTTP: %s", type(exc).__name__)
        self._server.counters.answered(self._server.number, status)
        return self._server.side.refused()


class GuestServer(web.Server):
    """aiohttp's server behind connections of ours; one for each listener."""

    def __init__(
        self,
        handler: Handler,
        registry: Registry,
        side: Side,
        request: Callable[..., web.BaseRequest],
        counters: Counters,
        number: int,
        passing: socket.socket | None,
        **settings: Any,
    ) -> None:
        """Answer with *handler*, after *side* was asked.

        *number* is the listener's among those that *counters* counts for. Connections for the
        writer of several processes go through *passing*.
        """
        # Idle connections are the registry's.
        self._settings = {**settings, "keepalive_timeout": 1e6}
        super().__init__(handler, request_factory=request, **self._settings)
        self.registry = registry
        self.counters = counters
        self.number = number
        self._passing = passing
        self.loop = asyncio.get_running_loop()
        self.time = self.loop.time
        self.side = side

    def __call__(self) -> Any:
        return Connection(self)

    def plain(self, address: str, data: bytes) -> tuple[bytes, bool] | None:
        """Return the answer to a plain request and whether it is the last; None when it is none."""
        answerer = self.side.quick
        if answerer is None or (found := read_plain(data)) is None:
            return None
        target, headers = found
        answer = answerer(address, target, headers)
        return (answer, closes(headers)) if answer is not None else None

    def passed_on(self, transport: asyncio.Transport, data: bytes) -> bool:
        """Give the connection to the writer when the request that *data* begins is the writer's."""
        if self._passing is None:
            return False
        begin = data[:PLAIN_LIMIT]
        if not any(word in begin for word in WRITERS_WORDS):
            return False
        target = data.split(b" ", 2)[1:2]
        names = read_path(target[0].decode("latin-1")) if target else None
        if not names or names[:3] not in WRITERS:
            return False
        handle = transport.get_extra_info("socket").fileno()
        return pass_connection(self._passing, self.number, handle, data)

    def handler(self) -> _Handler:
        """Return a protocol of aiohttp's, for one connection."""
        return _Handler(self, loop=self.loop, **self._settings)

    async def shutdown(self, timeout: float | None = None) -> None:
        """Close what is idle, and finish the requests under way within *timeout* seconds."""
        for connection in self.registry.all():
            connection.finish(self)
        await super().shutdown(timeout)
