"""The whole server put together: state, catalog, guests' listeners, operators' listener."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import logging
import os
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from . import boot_reports, events, mailbox, overlay
from . import made as ready
from .boot_reports import BootReports
from .catalog import Catalog, normalised
from .channel import Setup
from .config import ServerConfig, Tls
from .config_values import Listen
from .control.app import make_control_app
from .control.auth import Tokens as ControlTokens
from .control.door import Callers, Door
from .control.identity import identity_calls
from .control.listen import check_listen
from .control.metrics import metrics_calls
from .control.replays import SCHEMA as REPLAYS_SCHEMA
from .control.replays import Replays
from .control.signature import AccessKeys
from .day.cells import Cells
from .day.clock import Clock
from .day.day import SCHEMAS as DAY_SCHEMAS
from .day.day import Day
from .day.spoilt import Spoiler
from .endings import Endings
from .errors import ConfigError
from .events import Events
from .guests import Guests, http_log
from .identify import Proxy
from .identity import Identity
from .listeners import bind_all, siblings, url_of
from .mailbox import Mailbox
from .metrics import Counters, Metrics
from .overlay import Overlay
from .reset.engine import SCHEMA as RESET_SCHEMA
from .reset.engine import ResetEngine
from .store import Store
from .tokens import Tokens
from .vendor_data import DynamicData
from .workers import Shared, Workers

log = logging.getLogger(__name__)

KEEP_ALIVE: Final = 75.0
"""Seconds an operator's idle connection is kept: longer than the pause of one that polls."""
PATIENCE: Final = 10.0
"""Seconds that requests under way get at the end."""
BACKLOG: Final = 1024
"""Connections that the kernel keeps until they are accepted."""
ACCEPTED_AT_ONCE: Final = 32
"""Connections that are accepted before those accepted are looked at, and counted.

asyncio would accept the whole queue, and have no file left before the first is known.
"""

SCHEMAS: Final = (
    mailbox.SCHEMA,
    overlay.SCHEMA,
    events.SCHEMA,
    boot_reports.SCHEMA,
    REPLAYS_SCHEMA,
    RESET_SCHEMA,
    *DAY_SCHEMAS,
)

_AT_START: Final = (
    "listen",
    "control",
    "state",
    "workers",
    "tls",
    "hosts",
    "limits",
    "hashing",
    "vendordata_dynamic",
    "metrics",
    "proxy",
    "log",
    "clock",
)
# aiohttp 3.9 moved the patience from the sites to their runner.
PATIENCE_SETTINGS: Final[dict[str, Any]] = (
    {"shutdown_timeout": PATIENCE}
    if "shutdown_timeout" in inspect.signature(web.BaseRunner).parameters
    else {}
)


class Server:
    """A running server. Made by `running`, which also ends it."""

    def __init__(
        self,
        config: ServerConfig,
        catalog: Catalog,
        overlay: Overlay,
        engine: ResetEngine,
        events: Events,
        day: Day,
    ) -> None:
        self.config = config
        self._started = config
        self.catalog = catalog
        self.overlay = overlay
        self.engine = engine
        self.events = events
        self.day = day
        self.clock = day.clock
        self.guest_urls: tuple[str, ...] = ()
        self._opener: Callable[[str], Awaitable[str]] | None = None
        self.control_url = ""
        self.token = ""
        """One that the control plane takes."""
        self.control_tokens = ControlTokens()
        self.access_keys = AccessKeys()

    def allow_doors(self, opener: Callable[[str], Awaitable[str]]) -> None:
        self._opener = opener

    async def open_door(self, interface: str) -> str:
        """Serve guests at a free port of the loopback too, and return its URL.

        Who comes through it is known as who comes through an interface of that name, which need
        not exist: guests that share this machine's addresses are told apart so. ConfigError with
        workers, who have no such doors.
        """
        if self._opener is None:
            raise ConfigError("workers: expected 1, others open no further port")
        return await self._opener(interface)

    @property
    def guest_url(self) -> str:
        """The URL of the first listener."""
        return self.guest_urls[0]

    async def reload(self, config: ServerConfig) -> None:
        """Serve what *config* says from now on; name what only a new start changes.

        Raises ConfigError, and changes nothing, when it cannot be served.
        """
        await self.overlay.replace_base(config.instances)
        old, self.config = self.config, config
        if config.control.tokens_file:
            self.control_tokens.replace(_texts(config))
        self.access_keys.replace(config.control.access_keys_file)
        for name in _AT_START:
            # What is as it was at the start again needs no other start.
            if _differs(name, self._started, config) and _differs(name, old, config):
                log.warning("%s changed: that takes effect when the server is started again", name)


@asynccontextmanager
async def running(
    config: ServerConfig,
    *,
    token: str | None = None,
    given: Sequence[socket.socket] = (),
    clock: Clock | None = None,
) -> AsyncIterator[Server]:
    """Serve *config* inside the block; port 0 is any free port.

    *token* is one more that operators may use; without it and without any in *config* there is a
    fresh one. Sockets that are *given* serve the addresses they are bound to. *clock* stands in
    the place of the one in *config*. Raises ConfigError when an address cannot be had.
    """
    clock = clock or Clock(time.time() if config.clock == "stepped" else None)
    if clock.is_stepped and config.workers > 1:
        raise ConfigError("workers: expected 1 with a stepped clock, which no two can share")
    check_listen(str(config.control.listen), tls=config.tls is not None)
    async with AsyncExitStack() as stack:
        sockets = bind_all(
            [*config.listen, config.control.listen],
            given,
            shared=config.listen if config.workers > 1 else (),
        )
        for sock in sockets:
            stack.callback(sock.close)
        if config.state is not None:
            stack.callback(os.close, _lock(config.state))
        store = Store(config.state, SCHEMAS)
        stack.callback(store.close)
        catalog = Catalog(read=ready.reader(store))
        changes = Overlay(
            store,
            catalog,
            config.instances,
            user_data_limit=config.limits.user_data,
            clock=clock.now,
        )
        engine = ResetEngine(store, store.directory, catalog, clock=clock.now, work=config.hashing)
        clock.watch(engine.sweep)
        box = Mailbox(store)
        notices = Events(store, now=clock.now)
        reports = BootReports(store, now=clock.now)
        shared = None
        if config.workers > 1:
            shared = Shared([str(listen) for listen in config.listen], config.workers)
            stack.callback(shared.close)
        cells = shared.cells if shared else Cells()
        day = Day(
            store,
            catalog,
            changes,
            notices,
            clock=clock,
            cells=cells,
            journal_limit=config.limits.journal,
        )
        stack.push_async_callback(day.close)
        spoiler = Spoiler(cells, clock.now)
        day.faults.watch(spoiler.take)
        changes.forgetting = (box, engine, notices, reports, day)
        Endings(catalog, changes, clock)
        server = Server(config, catalog, changes, engine, notices, day)
        identity = Identity(store)
        if config.state is not None:
            # A state that goes with the process makes its key when somebody asks for it.
            identity.prepare()
        tokens = _texts(config)
        if token is None and not tokens:
            token = secrets.token_urlsafe(32)
        server.token = token or tokens[0]
        server.control_tokens.replace({server.token, *tokens})
        server.access_keys.replace(config.control.access_keys_file)
        counters = Counters([str(listen) for listen in config.listen])
        launched = partial(launched_at, store, notices)
        guests = Guests(
            catalog,
            Tokens(store.key("tokens"), now=clock.now),
            store,
            engine,
            notices,
            reports=reports,
            launched=launched,
            hosts=config.hosts,
            proxy=_proxy(config),
            rate=config.limits.rate,
            strangers=config.limits.strangers,
            counters=counters,
            vendor_data=DynamicData(config.vendordata_dynamic),
            recorder=day.journal.recorder if config.limits.journal else None,
            spoiler=spoiler,
            now=clock.now,
        )
        access_log = logging.getLogger("linklocal.access") if config.log.access else None
        guest_servers = [
            guests.server(listen.interface, number=number, access_log=access_log)
            for number, listen in enumerate(config.listen)
        ]
        guest_sides = [web.ServerRunner(each, **PATIENCE_SETTINGS) for each in guest_servers]
        workers = None
        if shared is not None:
            setup = partial(_setup, config, store, catalog, day, notices)
            workers = Workers(config.workers, setup, catalog, notices, guest_servers, shared, day)
        more = identity_calls(identity)
        if config.metrics:
            every = [counters, *(workers.counters if workers else ())]
            more += metrics_calls(Metrics(every, lambda: len(catalog), lambda: engine.counts))
        callers = Callers()
        control_side = web.AppRunner(
            make_control_app(
                catalog,
                box,
                engine,
                server.control_tokens,
                overlay=changes,
                replays=Replays(store),
                reports=reports,
                more=more,
                access_keys=server.access_keys,
                day=day,
                callers=callers,
            ),
            access_log=None,
            logger=http_log(),
            keepalive_timeout=KEEP_ALIVE,
            **PATIENCE_SETTINGS,
        )
        tls = _tls(config.tls)
        day.start()
        stack.push_async_callback(clock.close)
        *guest_sockets, control_socket = sockets
        door = Door(control_side, callers, control_socket, tls, patience=PATIENCE)
        runners: list[web.BaseRunner | Door] = [*guest_sides, door]
        stack.push_async_callback(_end, engine, reports, day, spoiler, runners)
        if workers is not None:
            for runner in guest_sides:
                await runner.setup()
            stack.push_async_callback(workers.stop)
            await workers.start(_dealt(guest_sockets, config.workers, stack))
        else:
            for runner, sock in zip(guest_sides, guest_sockets, strict=True):
                await listen_on(runner, sock)
            server.allow_doors(partial(_open_door, guests, runners))
        await door.open(BACKLOG)
        server.guest_urls = tuple(url_of(sock) for sock in guest_sockets)
        server.control_url = url_of(control_socket, "https" if tls else "http")
        yield server


async def _open_door(guests: Guests, runners: list[web.BaseRunner | Door], interface: str) -> str:
    (sock,) = bind_all([Listen(IPv4Address("127.0.0.1"), 0)])
    runner = web.ServerRunner(guests.server(interface), **PATIENCE_SETTINGS)
    runners.append(runner)
    await listen_on(runner, sock)
    return url_of(sock)


async def listen_on(runner: web.BaseRunner, sock: socket.socket) -> None:
    await runner.setup()
    patience: dict[str, Any] = {} if PATIENCE_SETTINGS else {"shutdown_timeout": PATIENCE}
    site = web.SockSite(runner, sock, backlog=ACCEPTED_AT_ONCE, **patience)
    await site.start()
    # What listens already is only told another length of its queue.
    sock.listen(BACKLOG)


async def _end(
    engine: ResetEngine,
    reports: BootReports,
    day: Day,
    spoiler: Spoiler,
    runners: Sequence[web.BaseRunner | Door],
) -> None:
    """Finish what is under way: long polls at once, other requests with patience."""
    engine.drain()
    reports.drain()
    day.drain()
    spoiler.drain()
    await asyncio.gather(*(runner.cleanup() for runner in runners))


def _dealt(
    sockets: Sequence[socket.socket], workers: int, stack: AsyncExitStack
) -> list[list[socket.socket]]:
    """Return for each worker its own socket of every listener."""
    rows = [[sock, *siblings(sock, workers - 1)] for sock in sockets]
    for row in rows:
        for sock in row[1:]:
            stack.callback(sock.close)
    return [list(column) for column in zip(*rows, strict=True)]


def _setup(
    config: ServerConfig,
    store: Store,
    catalog: Catalog,
    day: Day,
    notices: Events,
    version: int,
) -> Setup:
    """Return what a worker that starts now has to know."""
    return Setup(
        directory=str(store.directory),
        interfaces=tuple(listen.interface for listen in config.listen),
        listeners=tuple(str(listen) for listen in config.listen),
        hosts=config.hosts,
        proxy=_proxy(config),
        rate=config.limits.rate,
        strangers=config.limits.strangers,
        vendor_data=dict(config.vendordata_dynamic),
        access_log=config.log.access,
        level=logging.getLogger().level,
        instances=catalog.known(),
        notices=notices.all(),
        faults=day.faults.all(),
        journal=config.limits.journal > 0,
        seen=version,
    )


def launched_at(store: Store, notices: Events, instance_id: str) -> int:
    """Return when an instance was made; what is configured is as old as the state."""
    at = ready.created(store, instance_id)
    return notices.born if at is None else int(at)


def _texts(config: ServerConfig) -> list[str]:
    return [token.reveal().decode() for token in config.control.tokens_file]


def _differs(name: str, old: ServerConfig, new: ServerConfig) -> bool:
    return getattr(old, name) != getattr(new, name) and not _only_tokens(name, old, new)


def _only_tokens(name: str, old: ServerConfig, new: ServerConfig) -> bool:
    return name == "control" and old.control.listen == new.control.listen


def _proxy(config: ServerConfig) -> Proxy | None:
    if config.proxy is None:
        return None
    trusted = frozenset(normalised(address) for address in config.proxy.trusted)
    return Proxy(config.proxy.shared_secret_file, trusted)


def _tls(tls: Tls | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def _lock(directory: Path) -> int:
    """Return a handle that keeps *directory* for this process until it is closed."""
    try:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700, parents=True)
        path = directory / "lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"state {directory}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise ConfigError(f"state {directory}: another server is using it") from error
    return handle
