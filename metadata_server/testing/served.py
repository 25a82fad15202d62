"""The server in a thread of the test's process, its instances and what they have asked."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.client import HTTPConnection
from ipaddress import IPv4Address
from itertools import count
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

from ..config import Control, ServerConfig
from ..config_values import Listen
from ..day.clock import Clock
from ..server import Server, running

T = TypeVar("T")

API: Final = "/linklocal/v1"
ANY_PORT: Final = Listen(IPv4Address("127.0.0.1"), 0)
PATIENCE: Final = 30.0
"""Seconds that a server may take to start, stop or answer its operator."""
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class GuestRequest:
    """A request of a guest, as the server's journal has it."""

    method: str
    path: str
    status: int
    """0 when there was no answer."""
    token: str
    """`none`, `good`, `bad`, or empty where none is asked for."""
    agent: str
    address: str
    fault: str | None
    """The id of the fault that had a hand in it."""
    time: str

    def __str__(self) -> str:
        return (
            f"{self.method} {self.path} {self.status or 'no answer'} (token: {self.token or '-'})"
        )


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.body.decode()


class ControlError(AssertionError):
    """The server refused what the test asked of it."""


class ServedInstance:
    """One guest of the server. It is served at a URL of its own, so a client needs nothing else."""

    def __init__(self, server: MetadataServer, instance_id: str, url: str) -> None:
        self._server = server
        self.id = instance_id
        self.url = url
        """Without a slash at the end."""

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which SDKs find the service here."""
        return {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv4",
            "AWS_EC2_METADATA_DISABLED": "false",
        }

    def get(
        self, path: str, headers: Mapping[str, str] = NO_HEADERS, *, method: str = "GET"
    ) -> Response:
        """Return what the guest gets at *path*, whatever the status."""
        split = urlsplit(self.url)
        connection = HTTPConnection(str(split.hostname), split.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers=dict(headers))
            answer = connection.getresponse()
            return Response(answer.status, answer.read(), dict(answer.getheaders()))
        finally:
            connection.close()

    def set(self, patch: Mapping[str, Any] | None = None, **keys: Any) -> None:
        """Change the instance while it runs, in the words of the configuration; None removes."""
        __tracebackhide__ = True
        self._call("PATCH", "?force=true", {**(patch or {}), **keys})

    def remove(self) -> None:
        self._call("DELETE")

    def interrupt(self, seconds: float | str = 300, action: str = "terminate") -> None:
        """Tell the guest that its spot instance ends in *seconds*."""
        __tracebackhide__ = True
        self.announce(spot={"in": seconds, "action": action})

    def announce(self, **event: Mapping[str, Any]) -> None:
        """Announce an event, such as `spot={"in": 120}`, `rebalance={}` or `maintenance={…}`."""
        __tracebackhide__ = True
        self._server.call("POST", "/events", {"instances": [self.id], **event})

    def cancel(self, *kinds: str) -> None:
        """Call events off: of these kinds, or all."""
        body = {"instances": [self.id], **({"kinds": list(kinds)} if kinds else {})}
        self._server.call("POST", "/events/cancel", body)

    def fail(self, path: str = "*", status: int = 503, **which: Any) -> None:
        """Answer requests of *path* with an error; `first=2`, `every=3` … say which of them."""
        __tracebackhide__ = True
        self.fault(path=path, status=status, **which)

    def fault(self, **fault: Any) -> None:
        """Add a fault in the words of docs/events-and-faults.md: `path="…", drip=100`."""
        __tracebackhide__ = True
        self._server.call("POST", "/faults", {"instances": [self.id], "fault": fault})

    def clear_faults(self, path: str = "*") -> None:
        self._server.call("POST", "/faults/clear", {"instances": [self.id], "path": path})

    def requests(self, path: str = "*") -> list[GuestRequest]:
        """Return what the guest has asked for at paths like *path*, the first one first."""
        return [each for each in self._server.requests(self.id) if _is_at(each, path)]

    def assert_asked(self, path: str, *, times: int | None = None, **like: Any) -> GuestRequest:
        """Return the last request of a path like *path*; AssertionError when there is none.

        With *times* there have to be so many. *like* are fields: `status=200, token="good"`; text
        is a pattern.
        """
        __tracebackhide__ = True
        every = self.requests()
        found = [each for each in every if _is_at(each, path) and _is_like(each, like)]
        if (times is None and found) or (times is not None and len(found) == times):
            return found[-1] if found else _NOTHING
        wanted = f"{path} {like or ''}".strip()
        expected = "a request" if times is None else f"{times} requests"
        raise AssertionError(
            f"{self.id}: expected {expected} of {wanted}, got {len(found)}; it asked for\n"
            + ("\n".join(f"  {each}" for each in every) or "  nothing")
        )

    def assert_not_asked(self, path: str, **like: Any) -> None:
        """AssertionError when the guest has asked for a path like *path*."""
        __tracebackhide__ = True
        self.assert_asked(path, times=0, **like)

    def _call(self, method: str, more: str = "", body: object = None) -> Any:
        __tracebackhide__ = True
        return self._server.call(method, f"/instances/{self.id}{more}", body)


_NOTHING: Final = GuestRequest("", "", 0, "", "", "", None, "")


class MetadataServer:
    """A running server; its clock stands still until the test steps it, unless it was asked not to.

    All may be called from any thread but the server's own.
    """

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._numbers = count(1)
        self.control_url = server.control_url
        self.token = server.token

    def add(self, **keys: Any) -> ServedInstance:
        """Add an instance, described in the words of the configuration, and open its own port."""
        __tracebackhide__ = True
        number = next(self._numbers)
        instance_id = str(keys.pop("id", f"instance-{number}"))
        door = f"guest-{number}"
        identify = {"identify": {"interface": door}}
        self.call("POST", "/instances", {"id": instance_id, **identify, **keys})
        return ServedInstance(self, instance_id, self._do(self._server.open_door(door)))

    def step(self, seconds: float | str) -> None:
        """Move the clock on; all that is due on the way has happened when this returns."""
        __tracebackhide__ = True
        self.call("POST", "/clock", {"step": seconds})

    @property
    def now(self) -> float:
        """The time by the server's clock, in seconds since 1970."""
        return self._server.clock.now()

    def requests(self, instance_id: str | None = None) -> list[GuestRequest]:
        """Return all that guests, or one of them, have asked for, the first one first."""
        query = {"kind": "request", "limit": "10000"}
        if instance_id is not None:
            query["instance"] = instance_id
        entries = self.call("GET", f"/journal?{urlencode(query)}")["entries"]
        names = GuestRequest.__dataclass_fields__
        return [GuestRequest(**{name: each[name] for name in names}) for each in entries]

    def run_scenario(self, text: str, speed: float = 1.0) -> str:
        """Begin a scenario (docs/events-and-faults.md) and return its id."""
        __tracebackhide__ = True
        body = {"file": "scenario.yaml", "text": text, "speed": speed}
        return str(self.call("POST", "/scenarios", body)["id"])

    def reset(self) -> None:
        """Drop all instances, events, faults and the journal; their ports answer nobody then."""
        self.call("DELETE", "/state")

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the document that a call of the native API answers; ControlError when refused."""
        __tracebackhide__ = True
        request = urllib.request.Request(  # noqa: S310  # the loopback of this machine
            self.control_url + API + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            method=method,
        )
        # No proxy of the environment is for the loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                detail = json.loads(error.read()).get("detail", error.reason)
            raise ControlError(f"{method} {path}: {detail}") from None
        return json.loads(raw) if raw else None

    def _do(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(PATIENCE)


@contextmanager
def serving(*, stepped: bool = True) -> Iterator[MetadataServer]:
    """Run a server on free ports of the loopback for as long as the block lasts.

    Its state is in memory as far as it can be, and goes with it. With *stepped* its clock stands
    at the time of now until it is stepped.
    """
    config = ServerConfig(listen=(ANY_PORT,), control=Control(listen=ANY_PORT))
    clock = Clock(time.time() if stepped else None)
    with in_thread(config, clock) as (server, loop):
        yield MetadataServer(server, loop)


@contextmanager
def in_thread(
    config: ServerConfig, clock: Clock | None = None
) -> Iterator[tuple[Server, asyncio.AbstractEventLoop]]:
    """Run *config* in a thread of its own; raises what kept it from starting."""
    began: queue.Queue[Server | BaseException] = queue.Queue()
    loop = asyncio.new_event_loop()
    end = asyncio.Event()

    async def run() -> None:
        try:
            async with running(config, clock=clock) as server:
                began.put(server)
                await end.wait()
        except BaseException as error:
            # Told to the test, and nobody else waits for it.
            began.put(error)

    thread = threading.Thread(
        target=lambda: loop.run_until_complete(run()), name="metadata server", daemon=True
    )
    thread.start()
    try:
        first = began.get(timeout=PATIENCE)
        if isinstance(first, BaseException):
            raise first
        yield first, loop
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(PATIENCE)
        loop.close()


def _is_at(request: GuestRequest, pattern: str) -> bool:
    """Say whether it asked for such a path; to the server a slash at the end means nothing."""
    return fnmatchcase(request.path, pattern) or fnmatchcase(
        request.path.rstrip("/") or "/", pattern.rstrip("/") or "/"
    )


def _is_like(request: GuestRequest, like: Mapping[str, Any]) -> bool:
    for name, wanted in like.items():
        value = getattr(request, name)
        if isinstance(wanted, str) and isinstance(value, str):
            if not fnmatchcase(value, wanted):
                return False
        elif value != wanted:
            return False
    return True
