"""What the writer and its workers tell each other, over sockets that nobody else has an end of."""

from __future__ import annotations

import asyncio
import io
import json
import pickle
import socket
import struct
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Union

from .day.faults import Fault
from .day.journal import Noted
from .identify import Proxy
from .instance import Instance
from .notices import Notices
from .secret import Secret

LENGTH: Final = struct.Struct("!Q")
VERSION: Final = struct.Struct("@Q")
"""At the beginning of the shared memory: how many messages the writer has sent."""
PASSED_LIMIT: Final = 65536


class Setup(NamedTuple):
    """What a worker serves, and how."""

    directory: str
    interfaces: tuple[str | None, ...]
    listeners: tuple[str, ...]
    hosts: tuple[str, ...]
    proxy: Proxy | None
    rate: int | None
    vendor_data: dict[str, str]
    access_log: bool
    level: int
    instances: tuple[tuple[Instance, int], ...]
    """With the time each was launched."""
    notices: tuple[tuple[str, Notices], ...]
    faults: tuple[tuple[str, tuple[Fault, ...]], ...]
    journal: bool
    """Whether there is one."""
    seen: int
    """The version that this is."""


class Changed(NamedTuple):
    """Instances that are known now, with the time each was launched, and ids that are not."""

    put: tuple[tuple[Instance, int], ...]
    drop: tuple[str, ...]


class Told(NamedTuple):
    """What is told to an instance from now on."""

    instance_id: str
    notices: Notices


class Faulty(NamedTuple):
    """The faults of an instance from now on."""

    instance_id: str
    faults: tuple[Fault, ...]


class Gather(NamedTuple):
    """A wish to be told what has been noted so far, and this number after it."""

    number: int


Message = Union[Setup, Changed, Told, Faulty, Gather]


def _read_only(table: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    # The type itself has no name that pickle could find it by.
    return MappingProxyType(table)


class _Pickler(pickle.Pickler):
    """Lets secrets pass: both ends are this server."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Secret):
            return Secret, (value.reveal(),)
        if isinstance(value, MappingProxyType):
            return _read_only, (dict(value),)
        return NotImplemented


def frame(message: Message) -> bytes:
    """Return *message* as it is sent."""
    body = io.BytesIO()
    _Pickler(body, pickle.HIGHEST_PROTOCOL).dump(message)
    return LENGTH.pack(body.tell()) + body.getvalue()


def receive(sock: socket.socket) -> Any:
    """Return the next message, waiting for it; None when the writer has gone."""
    head = _exactly(sock, LENGTH.size)
    body = _exactly(sock, LENGTH.unpack(head)[0]) if head else b""
    # Of the process that started this one, and of nobody else.
    return pickle.loads(body) if body else None  # noqa: S301


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(min(size - len(parts), 1 << 20))
        if not part:
            return b""
        parts += part
    return bytes(parts)


def frame_noted(batch: Sequence[Noted], gathered: int | None = None) -> bytes:
    """Return requests as a worker sends them, with the number of the wish it answers.

    They are JSON: a worker has to do with guests, and is believed no more than it has to be.
    """
    body = json.dumps({"noted": batch, "gathered": gathered}).encode()
    return LENGTH.pack(len(body)) + body


async def receive_noted(reader: asyncio.StreamReader) -> tuple[list[Noted], int | None] | None:
    """Return what the next `frame_noted` was made of; None when the worker has gone."""
    try:
        (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        found = json.loads(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return [tuple(each) for each in found["noted"]], found["gathered"]


def pass_connection(sock: socket.socket, listener: int, handle: int, data: bytes) -> bool:
    """Give the writer a connection and what was read from it; False when that cannot be."""
    if len(data) > PASSED_LIMIT:
        return False
    try:
        socket.send_fds(sock, [bytes([listener]) + data], [handle])
    except OSError:
        return False
    return True


def take_connection(sock: socket.socket) -> tuple[int, socket.socket, bytes] | None:
    """Return listener, connection and what was read from it; None when there is none."""
    try:
        message, handles, _, _ = socket.recv_fds(sock, PASSED_LIMIT + 1, 1)
    except BlockingIOError:
        return None
    if not message or not handles:
        return None
    return message[0], socket.socket(fileno=handles[0]), message[1:]
