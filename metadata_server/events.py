"""The notices of all instances: on the disk before a guest sees them, and there after a restart."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from itertools import count
from typing import Final, NamedTuple

from .notices import NONE, Notices, dump, load
from .store import Store

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS notices (
    instance_id TEXT PRIMARY KEY,
    document TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS birth (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    at INTEGER NOT NULL
);
INSERT OR IGNORE INTO birth VALUES (1, strftime('%s', 'now'));
"""


class _Known(NamedTuple):
    notices: Notices
    revision: int
    good_until: float


class Events:
    """Notices by instance id, in a store made with SCHEMA."""

    def __init__(self, store: Store, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._revisions = count(1)
        self._known: dict[str, _Known] = {}
        self._watching: list[Callable[[str, Notices], None]] = []
        self.born = int(store.read("SELECT at FROM birth")[0]["at"])
        """When this state was made: before that it knew no instance."""
        for row in store.read("SELECT * FROM notices"):
            self.take(row["instance_id"], load(row["document"]))

    def watch(self, told: Callable[[str, Notices], None]) -> None:
        """Call *told* with what an instance is told, each time that changes."""
        self._watching.append(told)

    def all(self) -> tuple[tuple[str, Notices], ...]:
        return tuple((instance_id, known.notices) for instance_id, known in self._known.items())

    def of(self, instance_id: str) -> Notices:
        """Return what is told to an instance now."""
        return self._current(instance_id).notices

    def revision(self, instance_id: str) -> int:
        """Return a number that grows with each change of what is told; 0 when nothing ever was."""
        # This is on the way of every request, and most instances are told nothing.
        return self._current(instance_id).revision if instance_id in self._known else 0

    async def change(
        self,
        instance_id: str,
        made: Callable[[Notices], Notices],
        *,
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> Notices:
        """Tell an instance what *made* makes of what it is told now; return that.

        What *also* writes is in the same transaction.
        """

        def write(state: sqlite3.Connection) -> Notices:
            query = "SELECT document FROM notices WHERE instance_id = ?"
            row = state.execute(query, (instance_id,)).fetchone()
            notices = made((load(row["document"]) if row else NONE).at(self._now()))
            if also is not None:
                also(state)
            if notices == NONE:
                self.forget(state, instance_id)
            else:
                state.execute(
                    "INSERT OR REPLACE INTO notices VALUES (?, ?)", (instance_id, dump(notices))
                )
            return notices

        notices = await self._store.write(write)
        self.take(instance_id, notices)
        return notices

    def take(self, instance_id: str, notices: Notices) -> None:
        """Serve *notices* from now on, which are on the disk already."""
        self._known[instance_id] = _Known(notices, next(self._revisions), notices.good_until())
        for told in self._watching:
            told(instance_id, notices)

    def forget(self, state: sqlite3.Connection, instance_id: str) -> None:
        """Forget all about an instance within the transaction that removes it."""
        state.execute("DELETE FROM notices WHERE instance_id = ?", (instance_id,))

    async def forgotten(self, instance_id: str) -> None:
        """Tell nothing any more to an instance that was removed."""
        if instance_id in self._known:
            self.take(instance_id, NONE)

    def _current(self, instance_id: str) -> _Known:
        known = self._known.get(instance_id)
        if known is None:
            return _NOTHING
        if known.good_until <= (now := self._now()):
            self.take(instance_id, known.notices.at(now))
            return self._known[instance_id]
        return known


_NOTHING: Final = _Known(NONE, 0, float("inf"))
