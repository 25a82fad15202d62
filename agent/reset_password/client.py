"""One HTTP exchange with the metadata service: literal address, bounded in time and size.

Not `http.client`: it brings the e-mail package into a daemon that never ends, and its time-out is
for each read, so that a server may take for ever byte by byte. Here the whole exchange has one.
"""

import errno
import math
import os
import re
import select
import socket
import time
from collections.abc import Mapping
from typing import Callable, NamedTuple, Optional

from ..errors import AgentError, ConfigError

LOWEST, HIGHEST = 512, 1023
"""Source ports that only root may have and that few services use."""
_PORT_TRIES = 64
_HEAD_LIMIT = 32 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
_URL = re.compile(r"http://(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?/?")


class Unanswered(AgentError):
    """No answer, or none that can be used."""


class Reply(NamedTuple):
    status: int
    body: bytes


Wait = Callable[[int, int, float], bool]
"""Says whether a descriptor is ready for the events of poll(2) within so many seconds."""


def wait_for(fd: int, events: int, seconds: float) -> bool:
    """Wait for *fd* and nothing else."""
    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(math.ceil(seconds * 1000)))


class Client:
    """The metadata service at one address."""

    def __init__(self, url: str, wait: Wait = wait_for) -> None:
        """Take http://ADDRESS[:PORT]; ConfigError when the address is not a literal one.

        *wait* may do other things while an answer is awaited.
        """
        self._wait = wait
        match = _URL.fullmatch(url)
        v6, v4, port = match.groups() if match else (None, None, None)
        self._family = socket.AF_INET6 if v6 else socket.AF_INET
        try:
            socket.inet_pton(self._family, v6 or v4 or "")
        except OSError:
            raise ConfigError(
                f"metadata URL: expected http:// and an IP address, got {url!r}"
            ) from None
        self._address = (v6 or v4 or "", int(port or 80))
        self._host = url[len("http://") :].rstrip("/")
        self.url = f"http://{self._host}"

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Optional[Mapping[str, str]] = None,
        *,
        seconds: float = 10.0,
        limit: int = 64 * 1024,
        low_port: bool = False,
    ) -> Reply:
        """Return the answer; Unanswered when it is not whole after *seconds* or beyond *limit*."""
        deadline = time.monotonic() + seconds
        lines = [f"{method} {path} HTTP/1.0", f"Host: {self._host}", "Connection: close"]
        if body and "Content-Type" not in (headers or {}):
            lines += ["Content-Type: application/json"]
        if body or method != "GET":
            lines += [f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        where = f"{method} {self.url}{path.partition('?')[0]}"
        try:
            with self._connected(deadline, low_port) as link:
                # What a guest sends fits into the socket's buffer at once.
                link.sendall(request)
                raw = self._read_all(link, deadline, limit + _HEAD_LIMIT)
        except socket.timeout:
            raise Unanswered(f"{where}: no whole answer within {seconds:.0f} s") from None
        except OSError as error:
            raise Unanswered(f"{where}: {error.strerror or error}") from error
        return _parse(raw, where, limit)

    def _connected(self, deadline: float, low_port: bool) -> socket.socket:
        for last in [False] * (_PORT_TRIES if low_port else 0) + [True]:
            link = socket.socket(self._family, socket.SOCK_STREAM)
            try:
                _left(deadline)
                if not last:
                    # Else each connection of the last minute keeps its port, and a service of this
                    # machine that is to listen there is refused it as long as ours lasts.
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    link.bind(
                        ("", LOWEST + int.from_bytes(os.urandom(2), "big") % (HIGHEST - LOWEST + 1))
                    )
                self._connect(link, deadline)
            except OSError as error:
                link.close()
                if not last and error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                    continue
                if not last and error.errno == errno.EACCES:
                    # Not root: the server says what that means.
                    return self._connected(deadline, False)
                raise
            return link
        raise AssertionError("the last try returns or raises")

    def _connect(self, link: socket.socket, deadline: float) -> None:
        link.setblocking(False)
        number = link.connect_ex(self._address)
        if number == errno.EINPROGRESS:
            self._await(link, select.POLLOUT, deadline)
            number = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    def _read_all(self, link: socket.socket, deadline: float, limit: int) -> bytes:
        """Return what comes until the other end closes, or says it is complete."""
        found = bytearray()
        end: Optional[int] = None
        while end is None or len(found) < end:
            self._await(link, select.POLLIN, deadline)
            chunk = link.recv(65536)
            if not chunk:
                break
            found += chunk
            if len(found) > limit:
                raise OSError(f"the answer is longer than {limit} bytes")
            if end is None:
                head, blank, _ = found.partition(b"\r\n\r\n")
                if blank:
                    length = _length(bytes(head))
                    end = None if length is None else len(head) + len(blank) + length
        return bytes(found)

    def _await(self, link: socket.socket, events: int, deadline: float) -> None:
        if not self._wait(link.fileno(), events, _left(deadline)):
            raise socket.timeout


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout
    return left


def _length(head: bytes) -> Optional[int]:
    if re.match(rb"HTTP/1\.[01] (?:204|304)\b", head):
        return 0
    found = re.findall(rb"(?im)^content-length:[ \t]*([0-9]{1,10})[ \t]*\r?$", head)
    return int(found[0]) if found else None


def _parse(raw: bytes, where: str, limit: int) -> Reply:
    head, blank, body = raw.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    if not blank or status is None:
        raise Unanswered(f"{where}: the answer is not HTTP, or ends in its head")
    if re.search(rb"(?im)^transfer-encoding:", head):
        raise Unanswered(f"{where}: the answer is chunked, which HTTP/1.0 has not")
    length = _length(head)
    if length is not None and len(body) != length:
        raise Unanswered(f"{where}: the answer ends after {len(body)} of {length} bytes")
    if len(body) > limit:
        raise Unanswered(f"{where}: the answer is longer than {limit} bytes")
    return Reply(int(status.group(1)), body)
