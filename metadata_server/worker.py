"""One of several processes that answer guests: `python -m metadata_server.worker`, started by ours.

It knows what the writer tells it, and nothing that is older than the request it answers: before
each one it reads what the shared version says has been sent. Sealed resets are the writer's; their
connections are passed on as they are. When the writer has gone, a worker goes, too.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from . import channel
from .catalog import Catalog
from .cli import new_loop, raise_file_limit
from .day.cells import SIZE as CELLS_SIZE
from .day.cells import Cells
from .day.journal import Noted, Recorder
from .day.spoilt import Spoiler
from .errors import ServiceUnavailable
from .events import Events
from .guests import Guests
from .instance import Instance
from .made import reader
from .metrics import Counters
from .server import PATIENCE_SETTINGS, launched_at, listen_on
from .store import Store
from .tokens import Tokens
from .vendor_data import DynamicData

log = logging.getLogger(__name__)

BEHIND_SECONDS: Final = 10.0


class _Elsewhere:
    """In the place of the resets: for the few requests whose connection could not be passed on."""

    async def handle(
        self, request: web.BaseRequest, instance: Instance, rest: str
    ) -> web.StreamResponse:
        raise ServiceUnavailable("Expected this request at the beginning of a connection.")

    async def handle_platform(
        self, request: web.BaseRequest, instance: Instance, name: str
    ) -> web.StreamResponse:
        return await self.handle(request, instance, name)


class Worker:
    def __init__(
        self,
        writer: socket.socket,
        passing: socket.socket,
        memory: int,
        number: int,
    ) -> None:
        """Talk to the *writer*; *number* is this worker's place in the file *memory*, shared."""
        shared = mmap.mmap(memory, 0)
        self._writer = writer
        self._passing = passing
        self._stop = asyncio.Event()
        self._version = memoryview(shared)[: channel.VERSION.size].cast("Q")
        setup = channel.receive(writer)
        if not isinstance(setup, channel.Setup):
            raise SystemExit(1)
        self.setup = setup
        self._seen = setup.seen
        size = Counters.size(setup.listeners)
        start = channel.VERSION.size + CELLS_SIZE + number * size
        self._store = Store(Path(setup.directory))
        self._catalog = Catalog(read=reader(self._store))
        self._catalog.change(setup.instances)
        self._events = Events(self._store)
        for instance_id, notices in setup.notices:
            self._events.take(instance_id, notices)
        self._recorder = Recorder(self._noted)
        cells = memoryview(shared)[channel.VERSION.size :][:CELLS_SIZE]
        self._spoiler = Spoiler(Cells(cells, memory), time.time)
        for instance_id, faults in setup.faults:
            self._spoiler.take(instance_id, faults)
        self._guests = Guests(
            self._catalog,
            Tokens(self._store.key("tokens")),
            self._store,
            _Elsewhere(),
            self._events,
            launched=partial(launched_at, self._store, self._events),
            hosts=setup.hosts,
            proxy=setup.proxy,
            rate=setup.rate,
            strangers=setup.strangers,
            counters=Counters(setup.listeners, memoryview(shared)[start : start + size]),
            vendor_data=DynamicData(setup.vendor_data),
            catch_up=self._catch_up,
            recorder=self._recorder if setup.journal else None,
            spoiler=self._spoiler,
        )

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Answer guests at *sockets* until the writer says stop, or is not there any more."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        # These are meant for the writer, who tells.
        for number in (signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: None)
        access_log = logging.getLogger("linklocal.access") if self.setup.access_log else None
        runners = [
            web.ServerRunner(
                self._guests.server(
                    interface, number=number, access_log=access_log, passing=self._passing
                ),
                **PATIENCE_SETTINGS,
            )
            for number, interface in enumerate(self.setup.interfaces)
        ]
        for runner, sock in zip(runners, sockets, strict=True):
            await listen_on(runner, sock)
        loop.add_reader(self._writer.fileno(), self._read)
        self._writer.settimeout(BEHIND_SECONDS)
        gc.freeze()
        gc.enable()
        self._writer.send(b"r")
        await self._stop.wait()
        loop.remove_reader(self._writer.fileno())
        self._spoiler.drain()
        await asyncio.gather(*(runner.cleanup() for runner in runners))
        self._recorder.flush()
        self._store.close()

    def _noted(self, batch: Sequence[Noted]) -> None:
        self._say(channel.frame_noted(batch))

    def _say(self, data: bytes) -> None:
        try:
            self._writer.sendall(data)
        except OSError:
            self._abandoned()

    def _catch_up(self) -> None:
        while self._version[0] != self._seen and not self._stop.is_set():
            self._read()

    def _read(self) -> None:
        try:
            message = channel.receive(self._writer)
        except OSError:
            message = None
        if message is None:
            self._abandoned()
        self._seen += 1
        if isinstance(message, channel.Changed):
            self._catalog.change(message.put, message.drop)
        elif isinstance(message, channel.Faulty):
            self._spoiler.take(message.instance_id, message.faults)
        elif isinstance(message, channel.Gather):
            self._recorder.flush()
            self._say(channel.frame_noted([], message.number))
        elif isinstance(message, channel.Told):
            self._events.take(message.instance_id, message.notices)

    def _abandoned(self) -> None:
        if self._stop.is_set():
            return
        # Without the writer nobody can say what is true.
        log.error("the writer has gone")
        os._exit(1)


def main(arguments: Sequence[str]) -> None:
    """Serve over file handles that the writer has opened, and names in *arguments*."""
    writer, passing, shared, number, *handles = (int(each) for each in arguments)
    os.umask(0o077)
    raise_file_limit()
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    worker = Worker(socket.socket(fileno=writer), socket.socket(fileno=passing), shared, number)
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        level=worker.setup.level,
        format=f"{stamp}%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    loop = new_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(worker.serve([socket.socket(fileno=each) for each in handles]))


if __name__ == "__main__":
    main(sys.argv[1:])
