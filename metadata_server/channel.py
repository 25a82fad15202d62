"""What the writer and its workers tell each other, over sockets that nobody else has an end of.

A message is a length and JSON. Instances of the state are told by their ids: workers read them
there themselves, when a guest asks.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple, Union

from .catalog import Origin, Stored
from .compact import pack, unpack
from .day.faults import Fault
from .day.journal import Noted
from .identify import Proxy
from .instance import Instance
from .notices import Notices, dump, load
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
    strangers: int
    vendor_data: dict[str, str]
    access_log: bool
    level: int
    instances: tuple[Instance | Stored, ...]
    notices: tuple[tuple[str, Notices], ...]
    faults: tuple[tuple[str, tuple[Fault, ...]], ...]
    journal: bool
    """Whether there is one."""
    seen: int
    """The version that this is."""


class Changed(NamedTuple):
    """Instances that are known now, and ids that are not."""

    put: tuple[Instance | Stored, ...]
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


def frame(message: Message) -> bytes:
    """Return *message* as it is sent."""
    body = json.dumps([type(message).__name__, _plain(message)]).encode()
    return LENGTH.pack(len(body)) + body


def receive(sock: socket.socket) -> Message | None:
    """Return the next message, waiting for it; None when the writer has gone."""
    head = _exactly(sock, LENGTH.size)
    body = _exactly(sock, LENGTH.unpack(head)[0]) if head else b""
    return _message(*json.loads(body)) if body else None


def _plain(message: Message) -> dict[str, Any]:
    plain = message._asdict()
    if isinstance(message, Told):
        plain["notices"] = dump(message.notices)
    elif isinstance(message, Changed):
        plain["put"] = _plain_instances(message.put)
    elif isinstance(message, Faulty):
        plain["faults"] = [asdict(each) for each in message.faults]
    elif isinstance(message, Setup):
        plain["faults"] = [(key, [*map(asdict, each)]) for key, each in message.faults]
        plain["instances"] = _plain_instances(message.instances)
        plain["notices"] = [(key, dump(each)) for key, each in message.notices]
        if proxy := message.proxy:
            secret = base64.b64encode(proxy.shared_secret.reveal()).decode()
            plain["proxy"] = [secret, *proxy.trusted]
    return plain


def _message(kind: str, plain: dict[str, Any]) -> Message:
    if kind == Told.__name__:
        return Told(plain["instance_id"], load(plain["notices"]))
    if kind == Changed.__name__:
        return Changed(_instances(plain["put"]), tuple(plain["drop"]))
    if kind == Faulty.__name__:
        return Faulty(plain["instance_id"], _faults(plain["faults"]))
    if kind == Gather.__name__:
        return Gather(**plain)
    plain["instances"] = _instances(plain["instances"])
    plain["faults"] = tuple((key, _faults(each)) for key, each in plain["faults"])
    plain["notices"] = tuple((key, load(text)) for key, text in plain["notices"])
    if plain["proxy"]:
        secret, *trusted = plain["proxy"]
        plain["proxy"] = Proxy(Secret(base64.b64decode(secret)), frozenset(trusted))
    for name in ("interfaces", "listeners", "hosts"):
        plain[name] = tuple(plain[name])
    return Setup(**plain)


def _plain_instances(instances: Collection[Instance | Stored]) -> list[object]:
    """Return a text for an instance, and for a stored one its id and origins."""
    return [
        [each.id, *each.origins] if isinstance(each, Stored) else pack(each) for each in instances
    ]


def _instances(plain: Sequence[Any]) -> tuple[Instance | Stored, ...]:
    return tuple(
        unpack(each)
        if isinstance(each, str)
        else Stored(each[0], tuple(Origin(*origin) for origin in each[1:]))
        for each in plain
    )


def _faults(plain: Sequence[Mapping[str, Any]]) -> tuple[Fault, ...]:
    return tuple(Fault(**each) for each in plain)


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
