"""What the daemon keeps on the disk, but for its keys: names, the server's key, past resets.

Nothing of cryptography is imported here: most of what root asks needs none.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from ..errors import HostError
from ..secret import Secret
from . import KEY_SIZE
from .private import PrivateDirectory

STATE_DIRECTORY = "/var/lib/linklocal/resetd"
RUN_DIRECTORY = "/run/linklocal"

IDENTITY, SERVER, RESETS = "identity.json", "server.json", "resets.json"
BOOT, STATUS, LOCK = "resetd-boot.json", "resetd.json", "resetd.lock"

RESETS_KEPT = 512
_KEY = re.compile(r"[0-9a-f]{64}")


class Entry(NamedTuple):
    """One reset this guest has begun; without a result it was interrupted."""

    id: str
    old: str
    """SHA-256 of the shadow field as it was before; empty when nothing was to be changed."""
    result: str = ""
    code: str = ""
    acknowledged: bool = False
    user: str = ""
    at: int = 0
    """Seconds since 1970 by the guest's own clock; for people, decides nothing."""
    restart: bool = False
    """The machine is to restart once the server has the result."""
    instance: str = ""
    """Whose reset it is: on the disk of a copied machine there are those of the other one, too."""


def read_server_key(text: str) -> bytes:
    """Return the server's key from its written form; ValueError when it is none."""
    if not _KEY.fullmatch(text):
        raise ValueError("expected the server's key: 64 lower-case hexadecimal digits")
    return bytes.fromhex(text)


def pinned_server(state: PrivateDirectory) -> Optional[bytes]:
    """Return the server's key as it was at the first enrolment, or None before that."""
    kept = load(state, SERVER)
    return None if kept is None else secret(state, SERVER, kept, "server").reveal()


def pin_server(state: PrivateDirectory, server: bytes) -> None:
    save(state, SERVER, {"server": server.hex()})


class Resets:
    """The resets this guest has begun, by id, so that none is applied twice."""

    def __init__(self, state: PrivateDirectory) -> None:
        self._state = state
        kept = load(state, RESETS)
        try:
            entries = [] if kept is None else [_entry(entry) for entry in kept["resets"]]
        except (TypeError, KeyError, AttributeError):
            raise HostError(f"{state.path}/{RESETS}: cannot be understood") from None
        self._entries = {entry.id: entry for entry in entries}

    def get(self, request_id: str) -> Optional[Entry]:
        return self._entries.get(request_id)

    def put(self, entry: Entry) -> None:
        """Keep *entry*, on the disk when this returns."""
        self._entries[entry.id] = entry
        while len(self._entries) > RESETS_KEPT:
            del self._entries[next(iter(self._entries))]
        entries = [each._asdict() for each in self._entries.values()]
        save(self._state, RESETS, {"resets": entries})

    def unacknowledged(self, instance: str) -> tuple[Entry, ...]:
        """Return the resets of *instance* with a result that the server has not confirmed yet.

        Those of another instance are kept for it, and are not told to a server of this one.
        """
        return tuple(
            each
            for each in self._entries.values()
            if each.result and not each.acknowledged and each.instance in ("", instance)
        )

    def newest(self) -> Optional[Entry]:
        return next(reversed(self._entries.values()), None)

    def last(self, number: int) -> tuple[Entry, ...]:
        """Return the last *number* of them, the newest first."""
        return tuple(reversed(self._entries.values()))[:number]


def load(directory: PrivateDirectory, name: str) -> Optional[Mapping[str, Any]]:
    text = directory.read(name)
    if text is None:
        return None
    try:
        raw = json.loads(text)
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        # Never replaced by a guess: a new identity or an empty history is the operator's decision.
        raise HostError(f"{directory.path}/{name}: cannot be understood")
    return raw


def save(directory: PrivateDirectory, name: str, raw: Mapping[str, Any]) -> None:
    directory.write(name, json.dumps(raw).encode())


def secret(
    directory: PrivateDirectory, name: str, raw: Mapping[str, Any], key: str, size: int = KEY_SIZE
) -> Secret:
    try:
        found = bytes.fromhex(raw[key])
    except (KeyError, TypeError, ValueError):
        found = b""
    if len(found) != size:
        raise HostError(f"{directory.path}/{name}: {key}: expected {size} bytes")
    return Secret(found)


def _entry(raw: Mapping[str, Any]) -> Entry:
    """Return an entry; what a newer daemon kept besides is let go, so that one may go back."""
    return Entry(**{key: value for key, value in raw.items() if key in Entry._fields})
