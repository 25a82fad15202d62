"""Says once when the process has no file left for a connection, and once when it has again.

What the loops do about it themselves: asyncio tries again each second, uvloop hangs up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from typing import Any, Final

log = logging.getLogger(__name__)

LOOK: Final = 1.0
"""Seconds between two looks."""
_ACCEPT: Final = "socket.accept() out of system resource"
_RETRY: Final = "_start_serving"


class Shortage:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_short = False

    def watch(self) -> None:
        """Look from now on, while the loop runs, and keep what asyncio says of it to one line."""
        self._loop.set_exception_handler(self._heard)
        self._look()

    def _look(self) -> None:
        self._check()
        self._loop.call_later(LOOK, self._look)

    def _check(self) -> None:
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if not self._is_short:
                limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
                log.warning("no more connections until files are closed: %s, of %d", error, limit)
            self._is_short = True
            return
        if self._is_short:
            log.info("connections are accepted again")
        self._is_short = False

    def _heard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context.get("message") == _ACCEPT:
            self._check()
        # asyncio tries again what was closed meanwhile, too.
        elif not (
            isinstance(context.get("exception"), ValueError)
            and _RETRY in str(context.get("handle", ""))
        ):
            loop.default_exception_handler(context)
