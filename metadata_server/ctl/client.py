"""One connection to the control plane, over http, https or a Unix socket.

Standard library only, loaded on first use: the command's own start is what people wait for.
No proxy and no redirect is followed: the token goes where it was told to and nowhere else.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from .discover import Found
from .errors import CtlError, Refused, UsageError
from .output import patience

if TYPE_CHECKING:
    from http.client import HTTPConnection

API = "/linklocal/v1"
TIMEOUT = 30.0
ANSWER_LIMIT = 64 << 20
LONG = 300.0
"""Seconds for work that grows with what is there."""
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """What came back of a call that was done."""

    document: Any
    """None when the answer is empty."""
    etag: str | None


class Client:
    """Calls to the native API; every method raises Refused or CtlError with a text for people."""

    def __init__(self, server: Found, ca_file: str | None = None) -> None:
        self._server = server
        self._base, self._connection = _connect(server.url, ca_file)

    def get(self, *path: str, query: str = "", timeout: float = TIMEOUT) -> Any:
        """Return the JSON document at *path*, given as unquoted segments below the API."""
        return self.call("GET", *path, query=query, timeout=timeout)

    def call(
        self,
        method: str,
        *path: str,
        body: object = None,
        query: str = "",
        timeout: float = TIMEOUT,
    ) -> Any:
        """Return the answer's JSON document, None when it is empty."""
        target = API + "".join("/" + quote(part, safe="") for part in path)
        return self.exchange(
            method, f"{target}?{query}" if query else target, body=body, timeout=timeout
        ).document

    def exchange(
        self,
        method: str,
        target: str,
        *,
        body: object = None,
        headers: Mapping[str, str] = NO_HEADERS,
        timeout: float = TIMEOUT,
    ) -> Answer:
        """Return the answer to a call of *target*, a quoted path with its query."""
        from http.client import HTTPException

        sent = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self._server.token}",
            "Host": self._host(),
        }
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        self._connection.timeout = timeout
        if self._connection.sock:
            self._connection.sock.settimeout(timeout)
        try:
            with patience():
                self._connection.request(method, self._base + target, content, {**sent, **headers})
                response = self._connection.getresponse()
                answer = response.read(ANSWER_LIMIT)
        except ssl.SSLError as error:
            raise CtlError(
                f"{self._server.url}: {error.reason or error}; a certificate of your own is named "
                "with --ca-file"
            ) from error
        except TimeoutError as error:
            raise CtlError(f"{self._server.url}: no answer within {timeout:g} s") from error
        except OSError as error:
            raise CtlError(
                f"{self._server.url}: {error.strerror or error}; is linklocal-server running?"
            ) from error
        except HTTPException as error:
            raise CtlError(
                f"{self._server.url}: does not answer as HTTP; is this the control address?"
            ) from error
        if response.length:
            raise CtlError(f"{self._server.url}: the answer broke off")
        return Answer(self._read(response.status, answer), response.getheader("ETag"))

    def _read(self, status: int, answer: bytes) -> Any:
        try:
            document = json.loads(answer) if answer else None
        except ValueError:
            document = None
            if status < 400:
                raise CtlError(
                    f"{self._server.url}: the answer is not JSON; is this the control address?"
                ) from None
        if status < 300:
            return document
        if status == 401:
            raise Refused(
                status, f"{self._server.url}: the token of {self._server.token_file} was refused"
            )
        detail = document.get("detail") if isinstance(document, dict) else None
        # Our own refusals have words; what has none is perhaps for guests.
        text = (
            str(detail)
            if detail
            else (
                f"{self._server.url}: status {status} and no reason; is this the control address, "
                "or the guests'?"
            )
        )
        raise Refused(status, text, _mistakes(document))

    def _host(self) -> str:
        split = urlsplit(self._server.url)
        return split.netloc if split.scheme != "unix" else "localhost"


def _mistakes(document: Any) -> tuple[str, ...]:
    """Return the text of each mistake that the server found."""
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list):
        return ()
    return tuple(str(each.get("detail")) for each in errors if isinstance(each, dict))


def _connect(url: str, ca_file: str | None) -> tuple[str, HTTPConnection]:
    """Return the base path of *url* and a connection that is not open yet."""
    from http.client import HTTPConnection, HTTPSConnection

    try:
        split = urlsplit(url)
        host, port = split.hostname, split.port
    except ValueError as error:
        raise UsageError(f"{url}: {error}") from error
    if split.scheme == "unix":
        if not split.path.startswith("/") or host:
            raise UsageError(f"{url}: expected unix:///PATH")
        return "", _unix_connection(Path(split.path))
    if split.scheme not in ("http", "https") or not host:
        raise UsageError(f"{url}: expected http://HOST:PORT, https://HOST:PORT or unix:///PATH")
    if split.username or split.password:
        raise UsageError("the URL must not carry a user name or password: use --token-file")
    base = split.path.rstrip("/")
    if split.scheme == "http":
        if not _is_loopback(host):
            raise UsageError(
                f"{url}: would send the token and passwords in the clear; expected https:// or "
                "unix://, or an address of this machine's loopback"
            )
        return base, HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise UsageError(f"{ca_file}: {error.strerror or error}") from error
    return base, HTTPSConnection(host, port, timeout=TIMEOUT, context=context)


def _unix_connection(path: Path) -> HTTPConnection:
    from http.client import HTTPConnection

    class UnixConnection(HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(path))

    return UnixConnection("localhost")


def _is_loopback(host: str) -> bool:
    from ipaddress import ip_address

    if host == "localhost":
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
