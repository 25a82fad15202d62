"""Instances made by API, kept ready in the state: what each is, and what it has to itself.

They follow from the changes in the same database and are written with them. A server that would
make other instances of the same changes makes them anew when it starts.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from .catalog import Origin, Stored
from .claims import claims
from .compact import fingerprint, pack, unpack
from .instance import Instance
from .store import Store

log = logging.getLogger(__name__)

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS made (
    instance_id TEXT PRIMARY KEY,
    created REAL NOT NULL,
    ends TEXT,
    form TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS made_in_order ON made (created, instance_id, ends);
CREATE TABLE IF NOT EXISTS claimed (
    what TEXT NOT NULL,
    value TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    PRIMARY KEY (what, value)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claimed_by ON claimed (instance_id);
CREATE TABLE IF NOT EXISTS made_by (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    fingerprint TEXT NOT NULL
);
"""

_ORIGIN: Final = "an origin"


def reader(store: Store) -> Callable[[str], Instance | None]:
    """Return what finds an instance by id, None when it is not here."""

    def read(instance_id: str) -> Instance | None:
        rows = store.read("SELECT form FROM made WHERE instance_id = ?", instance_id)
        if not rows:
            return None
        try:
            return unpack(rows[0]["form"])
        except (ValueError, TypeError, KeyError) as error:
            log.error("instance %s: cannot be read from the state: %s", instance_id, error)
            return None

    return read


def stored(store: Store) -> list[Stored]:
    """Return all instances here, in the order in which they were made; none of them is read."""
    origins: dict[str, tuple[Origin, ...]] = {}
    for row in store.read("SELECT instance_id, value FROM claimed WHERE what = ?", _ORIGIN):
        instance_id = row["instance_id"]
        origins[instance_id] = (*origins.get(instance_id, ()), _origin(row["value"]))
    order = store.read("SELECT instance_id, ends FROM made ORDER BY created, instance_id")
    return [Stored(key, origins.get(key, ()), ends) for key, ends in map(tuple, order)]


def owner(store: Store, claimed: tuple[str, object]) -> str | None:
    """Return the id of the instance here that has claimed a thing of a kind."""
    what, value = claimed
    query = "SELECT instance_id FROM claimed WHERE what = ? AND value = ?"
    rows = store.read(query, what, _text(value))
    return rows[0]["instance_id"] if rows else None


def created(store: Store, instance_id: str) -> float | None:
    """Return when the instance was made, in seconds since 1970, None when it is not here."""
    rows = store.read("SELECT created FROM made WHERE instance_id = ?", instance_id)
    return rows[0]["created"] if rows else None


def is_current(store: Store) -> bool:
    """Say whether what is here is what this server would make."""
    return [row["fingerprint"] for row in store.read("SELECT fingerprint FROM made_by")] == [
        fingerprint()
    ]


def begin_anew(state: sqlite3.Connection) -> None:
    """Forget all of them, and know that those to come are made by this server."""
    state.execute("DELETE FROM made")
    state.execute("DELETE FROM claimed")
    state.execute("INSERT OR REPLACE INTO made_by VALUES (1, ?)", (fingerprint(),))


def forget(state: sqlite3.Connection, instance_ids: Collection[str]) -> None:
    each = [(instance_id,) for instance_id in instance_ids]
    state.executemany("DELETE FROM made WHERE instance_id = ?", each)
    state.executemany("DELETE FROM claimed WHERE instance_id = ?", each)


def keep(
    state: sqlite3.Connection, instances: Iterable[Instance], created: Mapping[str, float]
) -> None:
    """Write *instances*, which are not here yet, with the times when they were *created*."""
    rows, claimed = [], []
    for instance in instances:
        times = created[instance.id], instance.auto_terminate_time
        rows.append((instance.id, *times, pack(instance)))
        claimed += [(claim.what, _text(claim.value), instance.id) for claim in claims(instance)]
    state.executemany("INSERT INTO made VALUES (?, ?, ?, ?)", rows)
    # An instance may claim the same twice.
    state.executemany("INSERT OR REPLACE INTO claimed VALUES (?, ?, ?)", claimed)


def _text(value: object) -> str:
    if isinstance(value, Origin):
        return f"{value.address or ''}%{value.interface or ''}"
    return str(value)


def _origin(text: str) -> Origin:
    # An address has no zone here.
    address, _, interface = text.partition("%")
    return Origin(address or None, interface or None)
