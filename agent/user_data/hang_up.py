"""HTTP that hangs up when its time is over.

A time-out of a socket is for one wait: who sends a byte now and then, of a header or of a TLS
handshake, would hold up a boot for ever.
"""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.request
from contextlib import suppress
from types import TracebackType
from typing import Any, Callable


class Alarm:
    """Ends the connections that it was told of *seconds* after it was set."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._links: list[socket.socket] = []
        self.over = False

    def __enter__(self) -> Alarm:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for link in self._links:
                link.close()
            self._links.clear()

    def watch(self, link: socket.socket) -> None:
        """Take *link* into account; one of its own, since TLS takes the other over."""
        with self._lock:
            if self.over:
                raise TimeoutError
            self._links.append(link.dup())

    def _ring(self) -> None:
        with self._lock:
            self.over = True
            for link in self._links:
                with suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)


class _Connection(http.client.HTTPConnection):
    alarm: Alarm | None = None

    def connect(self) -> None:
        super().connect()
        if self.alarm is not None:
            self.alarm.watch(self.sock)


class _SecureConnection(http.client.HTTPSConnection, _Connection):
    """TLS is begun after the other class has connected, and so after the alarm knows of it."""


class Http(urllib.request.HTTPHandler):
    """Opens http, under *alarm*."""

    def __init__(self, alarm: Alarm) -> None:
        super().__init__()
        self._alarm = alarm

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Return the answer to *req*."""
        return self.do_open(_under(self._alarm, _Connection), req)


class Https(urllib.request.HTTPSHandler):
    """Opens https, under *alarm*."""

    def __init__(self, alarm: Alarm) -> None:
        super().__init__()
        self._alarm = alarm

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Return the answer to *req*."""
        return self.do_open(_under(self._alarm, _SecureConnection), req)


def _under(alarm: Alarm, kind: Callable[..., _Connection]) -> Callable[..., _Connection]:
    def made(host: str, **settings: Any) -> _Connection:
        connection = kind(host, **settings)
        connection.alarm = alarm
        return connection

    return made
