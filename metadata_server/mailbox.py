"""The password mailbox: a guest puts its enciphered password in once, the control plane takes it.

The rules are nova's: written once, then a conflict until it is cleared; at most 1020 bytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from .errors import BadRequest, Conflict
from .store import Store

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS mailbox (
    instance_id TEXT PRIMARY KEY,
    body BLOB NOT NULL
) WITHOUT ROWID;
"""

LIMIT: Final = 1020

TAKEN: Final = "There was a conflict when trying to complete your request."


class Mailbox:
    """One body for each instance, in a store made with SCHEMA."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, instance_id: str) -> bytes:
        """Return what the guest has posted, empty when it has not."""
        rows = self._store.read("SELECT body FROM mailbox WHERE instance_id = ?", instance_id)
        return bytes(rows[0]["body"]) if rows else b""

    def all(self) -> dict[str, bytes]:
        """Return what every guest has posted."""
        rows = self._store.read("SELECT instance_id, body FROM mailbox ORDER BY instance_id")
        return {row["instance_id"]: bytes(row["body"]) for row in rows}

    def load(self, state: sqlite3.Connection, bodies: Mapping[str, bytes]) -> None:
        """Put *bodies* in the place of all that is posted, within a transaction of others."""
        state.execute("DELETE FROM mailbox")
        state.executemany("INSERT INTO mailbox VALUES (?, ?)", bodies.items())

    async def post(self, instance_id: str, body: bytes) -> None:
        """Keep *body*; it is on the disk when this returns. Conflict when there is one already."""
        if self.get(instance_id):
            raise Conflict(TAKEN)
        if len(body) > LIMIT:
            raise BadRequest("Request is too large.")
        # An empty body is no password: nothing is kept, so a later one is welcome.
        if body and not await self._store.write(lambda store: _insert(store, instance_id, body)):
            raise Conflict(TAKEN)

    async def clear(self, instance_id: str) -> None:
        """Forget the body, so that the guest may post another."""
        await self._store.write(
            lambda store: store.execute("DELETE FROM mailbox WHERE instance_id = ?", (instance_id,))
        )

    def forget(self, state: sqlite3.Connection, instance_id: str) -> None:
        """Forget all about an instance within the transaction that removes it."""
        state.execute("DELETE FROM mailbox WHERE instance_id = ?", (instance_id,))

    async def forgotten(self, instance_id: str) -> None:
        """Nobody waits for a mailbox."""


def _insert(store: sqlite3.Connection, instance_id: str, body: bytes) -> bool:
    """Return whether *body* was the first."""
    cursor = store.execute(
        "INSERT INTO mailbox VALUES (?, ?) ON CONFLICT DO NOTHING", (instance_id, body)
    )
    return cursor.rowcount == 1
