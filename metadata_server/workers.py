"""The writer's side of its workers: started, told of every change, started again when one dies."""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

from . import channel
from .catalog import Catalog, Stored
from .connections import GuestServer
from .day.cells import SIZE as CELLS_SIZE
from .day.cells import Cells
from .day.day import Day
from .day.faults import Fault
from .errors import ServerError
from .events import Events
from .instance import Instance
from .metrics import Counters
from .notices import Notices

log = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0
GATHER_SECONDS: Final = 1.0
PAUSE: Final = 1.0
"""Seconds before a worker that died is started again."""

_PACKAGE: Final = __package__ or ""
_ROOT: Final = Path(__file__).resolve().parents[_PACKAGE.count(".") + 1]


class Shared:
    """The memory that a writer and its workers share, and what has which place in it."""

    def __init__(self, listeners: Sequence[str], number: int) -> None:
        size = Counters.size(listeners)
        self.memory = os.memfd_create("linklocal-workers", os.MFD_CLOEXEC)
        start = channel.VERSION.size + CELLS_SIZE
        os.ftruncate(self.memory, start + number * size)
        whole = memoryview(mmap.mmap(self.memory, 0))
        self.version = whole[: channel.VERSION.size].cast("Q")
        self.cells = Cells(whole[channel.VERSION.size : start], self.memory)
        self.counters = [
            Counters(listeners, whole[start + each * size :][:size]) for each in range(number)
        ]

    def close(self) -> None:
        os.close(self.memory)


class Workers:
    """*number* processes that answer guests of *catalog* in the place of this one."""

    def __init__(
        self,
        number: int,
        setup: Callable[[int], channel.Setup],
        catalog: Catalog,
        events: Events,
        servers: Sequence[GuestServer],
        shared: Shared,
        day: Day,
    ) -> None:
        """*setup* says what is served at a version; *servers* take connections passed on."""
        self._number = number
        self._setup = setup
        self._servers = servers
        self._memory = shared.memory
        self._version, self.counters = shared.version, shared.counters
        self._day = day
        self._gathering: dict[tuple[int, int], asyncio.Future[None]] = {}
        """By wish and worker: what is done when it was granted."""
        self._wishes = count(1)
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._passing: dict[int, socket.socket] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._accepting: set[asyncio.Task[None]] = set()
        catalog.watch(self._changed)
        events.watch(self._told)
        day.faults.watch(self._faulty)
        day.journal.gather = self.gather

    @property
    def version(self) -> int:
        return self._version[0]

    async def start(self, sockets: Sequence[Sequence[socket.socket]]) -> None:
        """Start each worker with *sockets* of its own, one a listener; return when all serve.

        Raises ServerError when one cannot.
        """
        ready = [asyncio.get_running_loop().create_future() for _ in range(self._number)]
        for number in range(self._number):
            task = asyncio.create_task(self._keep(number, sockets[number], ready[number]))
            self._keepers.append(task)
        every: asyncio.Future[Any] = asyncio.gather(*ready)
        started: list[asyncio.Future[Any]] = [every, *self._keepers]
        done, _ = await asyncio.wait(
            started, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            every.cancel()
            raise ServerError("workers: not all were ready in time")
        for each in done:
            each.result()

    async def stop(self) -> None:
        """Let the workers finish what they are at, and go."""
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _keep(
        self, number: int, sockets: Sequence[socket.socket], ready: asyncio.Future[None]
    ) -> None:
        while True:
            try:
                status = await self._run(number, sockets, ready)
            except OSError as error:
                if not ready.done():
                    raise ServerError(f"workers: {error}") from error
                log.error("worker %d: %s", number, error.strerror)
                status = -1
            if not ready.done():
                raise ServerError(f"workers: one ended with status {status}")
            log.error("worker %d ended with status %d; it is started again", number, status)
            await asyncio.sleep(PAUSE)

    async def _run(
        self, number: int, sockets: Sequence[socket.socket], ready: asyncio.Future[None]
    ) -> int:
        """Run one worker to its end; return its exit status."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        taking, passing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        taking.setblocking(False)
        passing.setblocking(False)
        handles = [theirs.fileno(), passing.fileno(), self._memory]
        sources = [sock.fileno() for sock in sockets]
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"{_PACKAGE}.worker"),
            *(str(each) for each in (*handles, number, *sources)),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            pass_fds=(*handles, *sources),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        theirs.close()
        passing.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        loop.add_reader(taking.fileno(), self._take, taking)
        try:
            # What changes from here on is sent behind this.
            writer.write(channel.frame(self._setup(self.version)))
            self._writers[number] = writer
            if await reader.read(1) and not ready.done():
                ready.set_result(None)
            await self._listen(number, reader)
            return await process.wait()
        finally:
            self._writers.pop(number, None)
            self._granted(number, None)
            await _end(process)
            loop.remove_reader(taking.fileno())
            taking.close()
            writer.close()

    async def _listen(self, number: int, reader: asyncio.StreamReader) -> None:
        """Take over what the worker notes until it has gone."""
        while (found := await channel.receive_noted(reader)) is not None:
            batch, wish = found
            if batch:
                self._day.journal.take(batch)
            if wish is not None:
                self._granted(number, wish)

    async def gather(self) -> None:
        """Return when all that the workers have noted so far is in the journal."""
        self._day.journal.recorder.flush()
        wish = next(self._wishes)
        loop = asyncio.get_running_loop()
        wanted = {(number, wish): loop.create_future() for number in self._writers}
        self._gathering.update(wanted)
        self._send(channel.Gather(wish))
        if wanted:
            # One that just died, or hangs, has nothing to say.
            await asyncio.wait(wanted.values(), timeout=GATHER_SECONDS)
        for key in wanted:
            self._gathering.pop(key, None)

    def _granted(self, number: int, wish: int | None) -> None:
        """Know that the worker *number* has answered *wish*, or with None that it never will."""
        for (asked, of), future in self._gathering.items():
            if asked == number and wish in (of, None) and not future.done():
                future.set_result(None)

    def _faulty(self, instance_id: str, faults: tuple[Fault, ...]) -> None:
        self._send(channel.Faulty(instance_id, faults))

    def _changed(self, put: Sequence[Instance | Stored], drop: Collection[str]) -> None:
        self._send(channel.Changed(tuple(put), tuple(drop)))

    def _told(self, instance_id: str, notices: Notices) -> None:
        self._send(channel.Told(instance_id, notices))

    def _send(self, message: channel.Message) -> None:
        data = channel.frame(message)
        for writer in self._writers.values():
            writer.write(data)
        # Last: who sees the new version finds the message, or waits for it.
        self._version[0] += 1

    def _take(self, taking: socket.socket) -> None:
        found = channel.take_connection(taking)
        if found is None:
            # Readable and empty: the worker has gone, and _run will find out.
            asyncio.get_running_loop().remove_reader(taking.fileno())
            return
        task = asyncio.ensure_future(self._adopt(*found))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _adopt(self, listener: int, sock: socket.socket, data: bytes) -> None:
        sock.setblocking(False)
        with suppress(OSError):
            _, connection = await asyncio.get_running_loop().connect_accepted_socket(
                self._servers[listener], sock
            )
            connection.data_received(data)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(process.wait()), STOP_SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
