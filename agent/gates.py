"""Where one process over the stages waits for the service manager, and it for the process.

Each stage but the first has a gate: a FIFO by which its unit lets the agent in, and a file that is
locked until the stage has ended, which the unit waits for. A lock ends with its process, however
that ends: no boot hangs on an agent that was killed.
"""

from __future__ import annotations

import fcntl
import os

from .modules.base import Stage

GATES = "/run/linklocal/gates"
STAGES = (Stage.NETWORK, Stage.CONFIG, Stage.FINAL)


class Gates:
    """The gates of one boot, closed until `leave` is told; made for root alone."""

    def __init__(self, directory: str = GATES) -> None:
        self._directory = directory
        os.makedirs(os.path.dirname(directory), mode=0o755, exist_ok=True)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._opened: dict[Stage, int] = {}
        self._locks: dict[Stage, int] = {}
        for stage in STAGES:
            lock = os.open(self._path(stage), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._locks[stage] = lock
            fifo = f"{self._path(stage)}.open"
            if not os.path.exists(fifo):
                os.mkfifo(fifo, 0o600)
            # Both ways: what a unit writes is kept until it is read, and reading never ends.
            self._opened[stage] = os.open(fifo, os.O_RDWR | os.O_CLOEXEC)

    def _path(self, stage: Stage) -> str:
        return os.path.join(self._directory, stage.value)

    def enter(self, stage: Stage) -> None:
        """Wait until the unit of *stage* is started; before the first, there is no waiting."""
        if stage in self._opened:
            os.read(self._opened[stage], 1)

    def leave(self, stage: Stage) -> None:
        """Let go on who waits for the end of *stage*."""
        if stage in self._locks:
            os.close(self._locks.pop(stage))
        else:
            from .notify import notify

            notify("READY=1\nSTATUS=waiting for the network")
