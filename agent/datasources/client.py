"""The one HTTP client of the datasources: a literal address, one connection, a deadline.

Written over a plain socket: `http.client` pulls in email and ssl, which alone cost more than a
whole fetch, and it cannot bound an answer that comes in drips. No proxy, redirect, DNS, TLS.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Callable, NamedTuple

from ..errors import ConfigError, DatasourceError
from ..secret import Secret

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 16 * 1024 * 1024
PIECE = 64 * 1024
LONGEST_PAUSE = 2.0


class Patience(NamedTuple):
    """How long is waited, in seconds."""

    timeout: float = 2.0
    """Longest silence of the other side."""
    deadline: float = 5.0
    """Longest time one document may take over all attempts."""
    pause: float = 0.1
    """Before the second attempt; it doubles each time."""


class Response(NamedTuple):
    """An answer that came whole; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Address(NamedTuple):
    """What an URL of a metadata service says."""

    family: int
    host: str
    port: int
    scope: str
    prefix: str
    authority: str


class _Broken(Exception):
    """The connection failed in a way that another attempt may heal."""


def read_address(url: str) -> Address:
    """Return the parts of *url*; ConfigError unless it is plain HTTP at a literal address."""
    expected = "expected a literal address such as http://169.254.169.254"
    scheme, slashes, rest = url.partition("://")
    if scheme.lower() != "http" or not slashes or not rest.isprintable() or " " in rest:
        raise ConfigError(f"metadata URL {url!r}: {expected}")
    authority, _, path = rest.partition("/")
    host, _, port = authority.partition(":")
    scope = ""
    family = socket.AF_INET
    if authority.startswith("["):
        family = socket.AF_INET6
        inside, bracket, port = authority[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ConfigError(f"metadata URL {url!r}: {expected}")
        port = port[1:]
        # A zone is `%25eth0` by RFC 6874 and `%eth0` to people.
        host, _, scope = inside.replace("%25", "%").partition("%")
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError) as error:
        raise ConfigError(f"metadata URL {url!r}: {expected}") from error
    number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else 0
    if port and not 0 < number < 65536:
        raise ConfigError(f"metadata URL {url!r}: {expected}")
    prefix = f"/{path.strip('/')}" if path.strip("/") else ""
    return Address(family, host, number or 80, scope, prefix, authority)


def has_route(url: str) -> bool:
    """Say whether the kernel has a way to *url* and an address to ask from; nothing is sent."""
    address = read_address(url)
    with socket.socket(address.family, socket.SOCK_DGRAM) as probe:
        try:
            _connect(probe, address)
        except OSError:
            return False
    return True


def _connect(connection: socket.socket, address: Address) -> None:
    if address.family == socket.AF_INET6:
        scope = socket.if_nametoindex(address.scope) if address.scope else 0
        connection.connect((address.host, address.port, 0, scope))
    else:
        connection.connect((address.host, address.port))


def document(response: Response, what: str) -> bytes | None:
    """Return the body of *response*, None for 404; DatasourceError names any other status."""
    if response.status == 404:
        return None
    if not 200 <= response.status < 300:
        raise DatasourceError(f"{what}: status {response.status}")
    return response.body


class Client:
    """Fetches documents below *base_url* over one kept connection.

    *timeout* is the longest silence of the other side and *deadline* what one document may take
    over all its attempts, both in seconds; *pause* comes before the second attempt and doubles.
    *first* is the deadline of the first document, until anything has answered at all.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = 2.0,
        deadline: float = 5.0,
        pause: float = 0.1,
        first: float | None = None,
        limit: int = BODY_LIMIT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._address = read_address(base_url)
        self.base_url = f"http://{self._address.authority}{self._address.prefix}"
        self._timeout = timeout
        self._deadline = deadline
        self._first = deadline if first is None else first
        self._pause = pause
        self._limit = limit
        self._clock = clock
        self._sleep = sleep
        self._connection: socket.socket | None = None
        self._buffer = b""
        self._heard = False
        self._until = 0.0
        self.answered = False
        """Whether there was any answer so far."""
        self.requests = 0
        """Requests sent so far."""
        self.connections = 0
        """Connections opened so far."""

    def get(self, path: str) -> bytes | None:
        """Return the document at *path*, or None when there is none (404)."""
        return document(self.request("GET", path), f"GET {self.base_url}/{path}")

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._buffer = b""

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, Secret] | None = None,
        content: bytes = b"",
    ) -> Response:
        """Return the answer to *method* *path*, whatever its status but for redirects.

        Raises DatasourceError when there is none within the deadline, when it is a redirect or
        malformed, and when the last attempt still answered one of the statuses worth a retry.
        """
        what = f"{method} {self.base_url}/{path.lstrip('/')}"
        self._until = self._clock() + (self._deadline if self.answered else self._first)
        pause = self._pause
        attempts = 0
        while True:
            attempts += 1
            wait = pause
            try:
                response = self._attempt(method, path, headers or {}, content, what)
            except _Broken as broken:
                trouble = str(broken)
            else:
                if response.status not in RETRIED:
                    return response
                trouble = f"status {response.status}"
                asked = response.headers.get("retry-after", "")
                if asked.isdecimal() and len(asked) < 6:
                    wait = max(pause, float(asked))
            if self._clock() + wait >= self._until:
                plural = "" if attempts == 1 else "s"
                raise DatasourceError(
                    f"{what}: {trouble}; gave up after {attempts} attempt{plural}"
                )
            self._sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _attempt(
        self, method: str, path: str, headers: Mapping[str, Secret], content: bytes, what: str
    ) -> Response:
        kept = self._connection is not None
        try:
            return self._exchange(method, path, headers, content, what)
        except (OSError, _Broken) as error:
            self.close()
            if not kept or self._heard or isinstance(error, socket.timeout):
                raise self._broken(error) from error
        except DatasourceError:
            self.close()
            raise
        # A server may close a kept connection at any time between two requests.
        try:
            return self._exchange(method, path, headers, content, what)
        except (OSError, _Broken) as error:
            self.close()
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> _Broken:
        if isinstance(error, _Broken):
            return error
        if isinstance(error, socket.timeout):
            return _Broken("no answer in time")
        text = error.strerror if isinstance(error, OSError) else None
        return _Broken((text or type(error).__name__).lower())

    def _exchange(
        self, method: str, path: str, headers: Mapping[str, Secret], content: bytes, what: str
    ) -> Response:
        connection = self._connection or self._connect()
        self.requests += 1
        self._heard = False
        lines = [
            f"{method} {self._address.prefix}/{path.lstrip('/')} HTTP/1.1",
            f"Host: {self._address.authority}",
            "User-Agent: linklocal-agent",
            "Accept: */*",
            "Accept-Encoding: identity",
        ]
        if method != "GET":
            lines.append(f"Content-Length: {len(content)}")
        head = "\r\n".join(lines).encode("ascii")
        for name, value in headers.items():
            head += b"\r\n" + name.encode("ascii") + b": " + value.reveal()
        self._expect(connection)
        connection.sendall(head + b"\r\n\r\n" + content)
        status, fields, version = self._head(connection, what)
        while 100 <= status < 200:
            status, fields, version = self._head(connection, what)
        if 300 <= status < 400:
            target = fields.get("location", "nowhere")[:100]
            raise DatasourceError(
                f"{what}: status {status}, a redirect to {target!r}, which is not followed"
            )
        body, reusable = self._body(connection, status, fields, what)
        persistent = fields.get("connection", "").lower()
        if not reusable or "close" in persistent or (version == "1.0" and "keep" not in persistent):
            self.close()
        return Response(status, fields, body)

    def _connect(self) -> socket.socket:
        address = self._address
        connection = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            self._expect(connection)
            _connect(connection, address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            connection.close()
            raise
        self.connections += 1
        self._connection = connection
        self._buffer = b""
        return connection

    def _expect(self, connection: socket.socket) -> None:
        """Let the next step take no longer than the silence allowed and the deadline."""
        left = self._until - self._clock()
        if left <= 0:
            raise _Broken("no whole answer in time")
        connection.settimeout(min(self._timeout, left))

    def _receive(self, connection: socket.socket) -> None:
        self._expect(connection)
        data = connection.recv(PIECE)
        if not data:
            raise _Broken(
                "closed before the answer was whole" if self._heard else "closed without an answer"
            )
        self._heard = self.answered = True
        self._buffer = self._buffer + data if self._buffer else data

    def _head(self, connection: socket.socket, what: str) -> tuple[int, dict[str, str], str]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise DatasourceError(f"{what}: not an HTTP answer")
            if self._buffer and not b"HTTP/1.".startswith(self._buffer[:7]):
                raise DatasourceError(f"{what}: not an HTTP answer")
            self._receive(connection)
        head = self._buffer[:end].decode("latin-1")
        self._buffer = self._buffer[end + 4 :]
        first, *lines = head.split("\r\n")
        version, _, rest = first.partition(" ")
        code = rest[:3]
        if version not in ("HTTP/1.1", "HTTP/1.0") or not (code.isascii() and code.isdecimal()):
            raise DatasourceError(f"{what}: not an HTTP answer")
        fields: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            if not colon:
                raise DatasourceError(f"{what}: not an HTTP answer")
            if name == "content-length" and fields.get(name, value) != value:
                raise DatasourceError(f"{what}: two lengths in one answer")
            fields[name] = value
        return int(code), fields, version[5:]

    def _body(
        self, connection: socket.socket, status: int, fields: Mapping[str, str], what: str
    ) -> tuple[bytes, bool]:
        """Return the body, and whether the connection can be used again after it."""
        if status in (204, 304):
            return b"", True
        if "chunked" in fields.get("transfer-encoding", "").lower():
            return self._chunked(connection, what), True
        length = fields.get("content-length")
        if length is None:
            return self._until_closed(connection, what), False
        if not (length.isascii() and length.isdecimal()):
            raise DatasourceError(f"{what}: a length that is no number")
        if len(length) > 15 or int(length) > self._limit:
            raise self._too_large(what)
        return self._exactly(connection, int(length)), True

    def _exactly(self, connection: socket.socket, length: int) -> bytes:
        pieces = [self._buffer]
        have = len(self._buffer)
        while have < length:
            self._buffer = b""
            self._receive(connection)
            pieces.append(self._buffer)
            have += len(self._buffer)
        data = b"".join(pieces)
        self._buffer = data[length:]
        return data[:length]

    def _chunked(self, connection: socket.socket, what: str) -> bytes:
        pieces = []
        total = 0
        while True:
            size, _, _ = self._line(connection, what).partition(b";")
            try:
                length = int(size.strip() or b"-", 16)
            except ValueError as error:
                raise DatasourceError(f"{what}: a chunk without a size") from error
            total += length
            if length < 0 or total > self._limit:
                raise self._too_large(what)
            if length == 0:
                break
            pieces.append(self._exactly(connection, length))
            self._line(connection, what)
        while self._line(connection, what):
            pass
        return b"".join(pieces)

    def _line(self, connection: socket.socket, what: str) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise DatasourceError(f"{what}: a chunk without a size")
            self._receive(connection)
        line = self._buffer[:end]
        self._buffer = self._buffer[end + 2 :]
        return line

    def _until_closed(self, connection: socket.socket, what: str) -> bytes:
        pieces = [self._buffer]
        total = len(self._buffer)
        while total <= self._limit:
            self._expect(connection)
            data = connection.recv(PIECE)
            if not data:
                return b"".join(pieces)
            pieces.append(data)
            total += len(data)
        raise self._too_large(what)

    def _too_large(self, what: str) -> DatasourceError:
        return DatasourceError(f"{what}: larger than {self._limit} bytes, the most that is taken")
