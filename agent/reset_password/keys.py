"""What makes this guest itself to the server: identity, boot key, the server's key, past resets."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..errors import HostError
from ..secret import Secret
from .private import PrivateDirectory
from .protocol import BOOT_SIZE, KEY_SIZE, Boot, Identity

STATE_DIRECTORY = "/var/lib/linklocal/resetd"
RUN_DIRECTORY = "/run/linklocal"

IDENTITY, SERVER, RESETS = "identity.json", "server.json", "resets.json"
BOOT, STATUS, LOCK = "resetd-boot.json", "resetd.json", "resetd.lock"

RESETS_KEPT = 512
IDENTITIES_KEPT = 4
"""Identities that a server proved to have enrolled; and as many again that none has yet."""
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_KEY = re.compile(r"[0-9a-f]{64}")
_IDENTITY_NAME = re.compile(r"identity(?:-[0-9a-f]{32})?\.json")


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


def load_identity(state: PrivateDirectory, instance: str) -> tuple[Identity, bool]:
    """Return the identity kept for *instance* and whether it had to be made.

    Those of other instances stay: anybody in between may have named *instance*.
    """
    kept = _identities(state)
    for name, raw in kept.items():
        if raw.get("instance") == instance:
            return Identity(_secret(state, name, raw, "identity")), False
    # Whoever names one instance after another drives out nothing but what was so named last.
    _drop(state, [name for name in kept if not _is_proven(kept[name])][IDENTITIES_KEPT - 1 :])
    private = os.urandom(KEY_SIZE)
    name = f"identity-{hashlib.sha256(instance.encode()).hexdigest()[:32]}.json"
    _save(
        state,
        name if IDENTITY in kept else IDENTITY,
        {
            "instance": instance,
            "identity": private.hex(),
            "proven": False,
            "number": _next_number(kept),
        },
    )
    return Identity(Secret(private)), True


def keep_identity(state: PrivateDirectory, instance: str) -> None:
    """Know that the server enrolled *instance*: only such identities outlast more of them."""
    kept = _identities(state)
    for name, raw in kept.items():
        if raw.get("instance") == instance and not _is_proven(raw):
            proven = [each for each in kept if _is_proven(kept[each])]
            _save(state, name, {**raw, "proven": True, "number": _next_number(kept)})
            _drop(state, proven[: max(0, len(proven) + 1 - IDENTITIES_KEPT)])


def _identities(state: PrivateDirectory) -> Mapping[str, Mapping[str, Any]]:
    """Return what is kept of identities by file name, the oldest first."""
    found = {}
    for name in state.names():
        if _IDENTITY_NAME.fullmatch(name):
            found[name] = _load(state, name) or {}
    return dict(sorted(found.items(), key=lambda item: _number(item[1])))


def _is_proven(raw: Mapping[str, Any]) -> bool:
    return raw.get("proven") is not False


def _number(raw: Mapping[str, Any]) -> int:
    number = raw.get("number")
    return number if isinstance(number, int) else 0


def _next_number(kept: Mapping[str, Mapping[str, Any]]) -> int:
    return 1 + max(map(_number, kept.values()), default=0)


def _drop(state: PrivateDirectory, names: Sequence[str]) -> None:
    for name in names:
        state.remove(name)


def load_boot(run: PrivateDirectory) -> Boot:
    """Return this boot's key; a daemon that is started again uses the same."""
    booted = _boot_id()
    kept = _load(run, BOOT)
    if kept is not None and kept.get("boot_id") == booted:
        return Boot(
            _secret(run, BOOT, kept, "boot", BOOT_SIZE).reveal(), _secret(run, BOOT, kept, "key")
        )
    boot, private = os.urandom(BOOT_SIZE), os.urandom(KEY_SIZE)
    # /run may outlive a boot where it is no tmpfs.
    _save(run, BOOT, {"boot": boot.hex(), "key": private.hex(), "boot_id": booted})
    return Boot(boot, Secret(private))


def pinned_server(state: PrivateDirectory) -> Optional[bytes]:
    """Return the server's key as it was at the first enrolment, or None before that."""
    kept = _load(state, SERVER)
    return None if kept is None else _secret(state, SERVER, kept, "server").reveal()


def pin_server(state: PrivateDirectory, server: bytes) -> None:
    _save(state, SERVER, {"server": server.hex()})


class Resets:
    """The resets this guest has begun, by id, so that none is applied twice."""

    def __init__(self, state: PrivateDirectory) -> None:
        self._state = state
        kept = _load(state, RESETS)
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
        _save(self._state, RESETS, {"resets": entries})

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


def _entry(raw: Mapping[str, Any]) -> Entry:
    """Return an entry; what a newer daemon kept besides is let go, so that one may go back."""
    return Entry(**{key: value for key, value in raw.items() if key in Entry._fields})


def _boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _load(directory: PrivateDirectory, name: str) -> Optional[Mapping[str, Any]]:
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


def _save(directory: PrivateDirectory, name: str, raw: Mapping[str, Any]) -> None:
    directory.write(name, json.dumps(raw).encode())


def _secret(
    directory: PrivateDirectory, name: str, raw: Mapping[str, Any], key: str, size: int = KEY_SIZE
) -> Secret:
    try:
        found = bytes.fromhex(raw[key])
    except (KeyError, TypeError, ValueError):
        found = b""
    if len(found) != size:
        raise HostError(f"{directory.path}/{name}: {key}: expected {size} bytes")
    return Secret(found)
