"""One log line for each write: who, from where, what, which instance, result. Never a secret."""

from __future__ import annotations

import json
import logging
import re
import socket
import struct
from contextvars import ContextVar
from dataclasses import dataclass, field

from aiohttp import web

from .auth import Caller

log = logging.getLogger(__name__)

_PLAIN = re.compile(r"[\w.:@/+=-]+", re.ASCII)


@dataclass
class Entry:
    """What will be in the line of the request under way."""

    caller: Caller | None = None
    words: dict[str, object] = field(default_factory=dict)


# Not the request's own storage: how that takes keys is not the same in all aiohttp we run on.
_entry: ContextVar[Entry] = ContextVar("entry")


def begin() -> Entry:
    """Start the entry of the request under way; `admit` and `note` find it."""
    entry = Entry()
    _entry.set(entry)
    return entry


def admit(caller: Caller) -> None:
    """Note who makes the request under way."""
    _entry.get().caller = caller


def caller() -> str:
    """Return the name of who makes the request under way."""
    found = _entry.get().caller
    return found.name if found else ""


def note(**words: object) -> None:
    """Add what is known of the write under way: plain facts only, None for what is not worth it."""
    _entry.get().words.update(words)


def record(entry: Entry, request: web.Request, status: int) -> None:
    """Write the line of *request*, when it is a write or was refused at the door."""
    if entry.caller is None:
        if status in (401, 403):
            path = _quoted(request.rel_url.raw_path[:256])
            log.warning("refused %s %s from=%s", request.method, path, peer(request))
        return
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    words = {"instance": request.match_info.get("id"), **entry.words}
    log.info(
        "%s from=%s %s %s%s -> %d",
        entry.caller.name,
        peer(request),
        request.method,
        _what(request),
        "".join(f" {key}={_quoted(value)}" for key, value in words.items() if value is not None),
        status,
    )


def peer(request: web.Request) -> str:
    """Return the peer's address, or the uid of the process at the other end of a Unix socket."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport else None
    if connection is not None and connection.family == socket.AF_UNIX:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return f"uid:{struct.unpack('3i', raw)[1]}"
    return request.remote or "unknown"


def _what(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else _quoted(request.rel_url.raw_path[:256])


def _quoted(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
