"""A server that is killed before the statement number N of the first write to its state.

python -m tests.metadata_server.killed STATE N prints its control URL and serves until then. With
COMMITTED for N it is killed when that write is on the disk, and nobody was answered yet.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from types import FrameType

from metadata_server.config import Control, ServerConfig
from metadata_server.server import running
from metadata_server.store import Store

from .commands import ANY_PORT, TOKEN

COMMITTED = 0


class Killer:
    def __init__(self, step: int) -> None:
        self.connections: list[sqlite3.Connection] = []
        self.left = step
        self.at_commit = step == COMMITTED
        self.counting = False

    def watch(self, event: str, arguments: tuple[object, ...]) -> None:
        """Hear of every connection to a database as it is made."""
        if event == "sqlite3.connect/handle" and isinstance(arguments[0], sqlite3.Connection):
            self.connections.append(arguments[0])

    def begins(self, statement: str) -> None:
        self.counting |= statement.startswith("BEGIN")
        self.left -= self.counting
        if self.counting and self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def ended(self, frame: FrameType, event: str, _: object) -> None:
        """Hear of every function that ends on the writer's thread."""
        if event == "return" and frame.f_code is Store.write_now.__code__ and self.counting:
            os.kill(os.getpid(), signal.SIGKILL)


async def serve(state: Path, killer: Killer) -> None:
    config = ServerConfig(listen=(ANY_PORT,), control=Control(listen=ANY_PORT), state=state)
    async with running(config, token=TOKEN) as server:
        for connection in killer.connections:
            connection.set_trace_callback(killer.begins)
        print(server.control_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    killer = Killer(int(sys.argv[2]))
    sys.addaudithook(killer.watch)
    if killer.at_commit:
        threading.setprofile(killer.ended)
    asyncio.run(serve(Path(sys.argv[1]), killer))
