"""Reset requests and enrolments as the state keeps them, and the hash at rest."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ..errors import Conflict
from ..secret import Secret
from .sealed import fingerprint, pack
from .states import FINAL, Event, State, after

Apply = Literal["boot", "live", "both"]

KEPT: Final = 50
"""Requests kept for each instance; the newest, and one that has not ended in any case."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS reset_enrolments (
    instance TEXT PRIMARY KEY,
    identity BLOB NOT NULL,
    boot BLOB,
    key BLOB,
    suites TEXT NOT NULL,
    schemes TEXT NOT NULL,
    first REAL NOT NULL,
    last REAL NOT NULL,
    candidate BLOB
);
CREATE TABLE IF NOT EXISTS reset_requests (
    id TEXT PRIMARY KEY,
    instance TEXT NOT NULL,
    user TEXT NOT NULL,
    scheme TEXT NOT NULL,
    hash BLOB,
    apply TEXT NOT NULL,
    unlock INTEGER NOT NULL,
    expire INTEGER NOT NULL,
    restart INTEGER NOT NULL,
    state TEXT NOT NULL,
    code TEXT NOT NULL,
    identity BLOB,
    boot BLOB,
    asked REAL NOT NULL,
    expires REAL NOT NULL,
    delivered REAL,
    finished REAL
);
CREATE INDEX IF NOT EXISTS reset_requests_instance ON reset_requests (instance, asked);
CREATE INDEX IF NOT EXISTS reset_requests_expires ON reset_requests (expires)
    WHERE finished IS NULL;
CREATE TABLE IF NOT EXISTS reset_tokens (
    instance TEXT PRIMARY KEY,
    token BLOB NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """One reset as the operator may see it: everything but the hash."""

    id: str
    instance: str
    user: str
    scheme: str
    apply: Apply
    unlock: bool
    expire: bool
    restart: bool
    state: State
    code: str
    """The guest's reason, such as `no-such-user`; empty when there is none."""
    asked: float
    """Seconds since 1970, as all times here."""
    expires: float
    delivered: float | None
    finished: float | None
    identity: str | None
    """Fingerprint of the guest it belongs to; None until the first one enrols."""

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The guest on record for an instance."""

    instance: str
    identity: str
    """Fingerprint."""
    boot: str | None
    """Of the boot that enrolled last; None after another identity was accepted, until it enrols."""
    suites: tuple[str, ...]
    schemes: tuple[str, ...]
    first: float
    last: float
    candidate: str | None
    """Fingerprint of another identity that asked to enrol."""


Guest = Enrolment | Literal["legacy"] | None
"""Whose daemon an instance has: ours that enrolled, the platform's own, or none that is known."""


def request_of(row: sqlite3.Row, now: float) -> ResetRequest:
    """Return what *row* says; past its time it is expired, also when that is not yet written."""
    state: State = row["state"]
    if row["finished"] is None and row["expires"] <= now:
        state = "expired"
    return ResetRequest(
        id=row["id"],
        instance=row["instance"],
        user=row["user"],
        scheme=row["scheme"],
        apply=row["apply"],
        unlock=bool(row["unlock"]),
        expire=bool(row["expire"]),
        restart=bool(row["restart"]),
        state=state,
        code=row["code"],
        asked=row["asked"],
        expires=row["expires"],
        delivered=row["delivered"],
        finished=row["finished"],
        identity=fingerprint(row["identity"]) if row["identity"] else None,
    )


def enrolment_of(row: sqlite3.Row) -> Enrolment:
    return Enrolment(
        instance=row["instance"],
        identity=fingerprint(row["identity"]),
        boot=row["boot"].hex() if row["boot"] else None,
        suites=tuple(json.loads(row["suites"])),
        schemes=tuple(json.loads(row["schemes"])),
        first=row["first"],
        last=row["last"],
        candidate=fingerprint(row["candidate"]) if row["candidate"] else None,
    )


class AtRest:
    """Encrypts what the database keeps, under a key that is outside it.

    This protects copies of the database. Whoever reads the key file too reads everything.
    """

    def __init__(self, key: Secret) -> None:
        self._cipher = ChaCha20Poly1305(key.reveal())

    def close(self, value: Secret, *bound_to: str) -> bytes:
        """Return *value* encrypted; it opens only with the same words *bound_to*."""
        nonce = secrets.token_bytes(12)
        return nonce + self._cipher.encrypt(nonce, value.reveal(), _words(bound_to))

    def open(self, closed: bytes, *bound_to: str) -> Secret | None:
        """Return the value, or None when it was made under another key or for other words."""
        try:
            return Secret(self._cipher.decrypt(closed[:12], closed[12:], _words(bound_to)))
        except InvalidTag:
            return None


def _words(words: tuple[str, ...]) -> bytes:
    return pack(*(word.encode() for word in words))


def sealed_text(row: sqlite3.Row, given: Secret, ttl: int) -> bytes:
    """Return what goes inside a seal."""
    inside: dict[str, Any] = {
        "id": row["id"],
        "user": row["user"],
        "hash": given.reveal().decode("ascii"),
        "options": {name: bool(row[name]) for name in ("unlock", "expire", "restart")},
        "ttl": ttl,
    }
    return json.dumps(inside, separators=(",", ":")).encode()


class Changed(Protocol):
    """Told when the requests of an instance changed; *ended* when a hash was cleared."""

    async def __call__(self, instance_id: str, *, ended: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it is to be recorded."""

    id: str
    instance: str
    user: str
    scheme: str
    closed: bytes
    """What is kept for the guest, encrypted."""
    apply: Apply
    seconds: float
    """How long it is good for."""
    unlock: bool = False
    expire: bool = False
    restart: bool = False


def record(
    state: sqlite3.Connection, asked: Asked, now: float, *, replace: bool
) -> tuple[list[str], list[str]]:
    """Record *asked* and return the ids of requests that expired, and of those it supersedes.

    Raises Conflict when one was delivered, unless *replace*.
    """
    expired = expire_due(state, now=now, instance_id=asked.instance)
    superseded = active(state, asked.instance)
    if not replace:
        check_none_delivered(superseded)
    for old in superseded:
        move(state, old, "supersede", now)
    guest = state.execute(
        "SELECT identity, boot FROM reset_enrolments WHERE instance = ?", (asked.instance,)
    ).fetchone()
    state.execute(
        "INSERT INTO reset_requests"
        " (id, instance, user, scheme, hash, apply, unlock, expire, restart,"
        " state, code, identity, boot, asked, expires)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', '', ?, ?, ?, ?)",
        (
            asked.id,
            asked.instance,
            asked.user,
            asked.scheme,
            asked.closed,
            asked.apply,
            asked.unlock,
            asked.expire,
            asked.restart,
            guest["identity"] if guest else None,
            guest["boot"] if guest else None,
            now,
            now + asked.seconds,
        ),
    )
    state.execute(
        "DELETE FROM reset_requests WHERE instance = ? AND finished IS NOT NULL"
        " AND id NOT IN (SELECT id FROM reset_requests WHERE instance = ?"
        " ORDER BY asked DESC, rowid DESC LIMIT ?)",
        (asked.instance, asked.instance, KEPT),
    )
    return expired, [old["id"] for old in superseded]


def check_none_delivered(rows: Iterable[sqlite3.Row]) -> None:
    """Raise Conflict when one of the requests *rows* is with the guest right now."""
    for row in rows:
        if row["state"] == "delivered":
            raise Conflict(
                f"reset {row['id']} was delivered and is not acknowledged yet; "
                "replace it, or wait for its result"
            )


def active(state: sqlite3.Connection, instance_id: str) -> list[sqlite3.Row]:
    """Return the requests of an instance that have not ended, the oldest first."""
    return state.execute(
        "SELECT * FROM reset_requests WHERE instance = ? AND finished IS NULL ORDER BY asked",
        (instance_id,),
    ).fetchall()


def move(
    state: sqlite3.Connection, row: sqlite3.Row, event: Event, now: float, code: str = ""
) -> State:
    """Take the request of *row* where *event* leads; its hash goes when it ends there.

    Raises LookupError when the event has no meaning in its state.
    """
    target = after(row["state"], event)
    if target is None:
        raise LookupError(f"reset {row['id']}: {event} in state {row['state']}")
    state.execute(
        "UPDATE reset_requests SET state = ?, code = ? WHERE id = ?", (target, code, row["id"])
    )
    if event == "deliver":
        state.execute(
            "UPDATE reset_requests SET delivered = coalesce(delivered, ?) WHERE id = ?",
            (now, row["id"]),
        )
    if target in FINAL:
        state.execute(
            "UPDATE reset_requests SET hash = NULL, finished = ? WHERE id = ?", (now, row["id"])
        )
    return target


def expire_due(state: sqlite3.Connection, *, now: float, instance_id: str) -> list[str]:
    """End the requests of an instance whose time is over, and return their ids."""
    over = [row for row in active(state, instance_id) if row["expires"] <= now]
    for row in over:
        move(state, row, "expire", now)
    return [row["id"] for row in over]


def identity_changed(
    state: sqlite3.Connection, instance_id: str, identity: bytes, now: float
) -> None:
    """Let the requests that were asked for another guest wait until the operator confirms them."""
    for row in active(state, instance_id):
        if row["identity"] != identity:
            move(state, row, "identity-changed", now)
