"""What guests said of their boots: the last report of each instance, for whoever waits for it.

A report comes from the guest, so nothing in it is trusted: it is read field by field, bounded, and
what is not known of it is left out.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from .errors import BadRequest, TooLarge
from .store import Store

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS boot_reports (
    instance_id TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    received INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
"""

LIMIT: Final = 64 * 1024
"""Bytes of one report."""
LONGEST: Final = 1000
"""Characters of one text in it."""
MOST: Final = 50
"""Troubles that are kept, the first."""
VERSION: Final = 1
RESULTS: Final = ("done", "failed")


class BootReport(NamedTuple):
    """The last report of an instance."""

    number: int
    """How many there were, this one included."""
    received: int
    """Seconds since 1970."""
    document: Mapping[str, Any]


class BootReports:
    """One report for each instance, in a store made with SCHEMA."""

    def __init__(self, store: Store, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._draining = False

    def get(self, instance_id: str) -> BootReport | None:
        rows = self._store.read("SELECT * FROM boot_reports WHERE instance_id = ?", instance_id)
        if not rows:
            return None
        row = rows[0]
        return BootReport(row["number"], row["received"], json.loads(row["document"]))

    async def take(self, instance_id: str, body: bytes) -> None:
        """Keep the report *body* in the place of the one before; it is on the disk then.

        Raises BadRequest or TooLarge when it is none.
        """
        text = json.dumps(read_report(body))
        received = int(self._now())

        def change(state: sqlite3.Connection) -> None:
            state.execute(
                "INSERT INTO boot_reports VALUES (?, 1, ?, ?) ON CONFLICT DO UPDATE SET "
                "number = number + 1, received = excluded.received, document = excluded.document",
                (instance_id, received, text),
            )

        await self._store.write(change)
        self._wake(instance_id)

    async def wait(self, instance_id: str, after: int, seconds: float) -> BootReport | None:
        """Return the last report once its number is above *after*, or as it is after *seconds*."""
        event = asyncio.Event()
        waiting = self._waiting[instance_id]
        waiting.add(event)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            while True:
                found = self.get(instance_id)
                left = end - loop.time()
                if (found and found.number > after) or left <= 0 or self._draining:
                    return found
                try:
                    await asyncio.wait_for(event.wait(), left)
                except asyncio.TimeoutError:
                    continue
                event.clear()
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(instance_id, None)

    def drain(self) -> None:
        """Answer whoever waits, now and from now on."""
        self._draining = True
        for instance_id in list(self._waiting):
            self._wake(instance_id)

    def forget(self, state: sqlite3.Connection, instance_id: str) -> None:
        """Forget all about an instance within the transaction that removes it."""
        state.execute("DELETE FROM boot_reports WHERE instance_id = ?", (instance_id,))

    def forget_all(self, state: sqlite3.Connection) -> None:
        """Forget every report, within a transaction of others."""
        state.execute("DELETE FROM boot_reports")

    async def forgotten(self, instance_id: str) -> None:
        """Whoever waits goes on waiting: an instance of that id may be made again."""

    def _wake(self, instance_id: str) -> None:
        for event in self._waiting.get(instance_id, ()):
            event.set()


def read_report(body: bytes) -> dict[str, Any]:
    """Return what is known of the report *body*; raises BadRequest or TooLarge."""
    if len(body) > LIMIT:
        raise TooLarge(f"boot report: expected at most {LIMIT} bytes")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or given.get("schema") != VERSION:
        raise BadRequest(f"boot report: expected a JSON object with schema {VERSION}")
    status, troubles = given.get("status"), given.get("troubles", [])
    if status not in RESULTS:
        raise BadRequest(f"boot report: status: expected one of {', '.join(RESULTS)}")
    if not isinstance(given.get("degraded"), bool):
        raise BadRequest("boot report: degraded: expected true or false")
    if not isinstance(troubles, list):
        raise BadRequest("boot report: troubles: expected a list")
    more = _whole(given, "more_troubles") or 0
    return {
        "schema": VERSION,
        "instance_id": _text(given, "instance_id"),
        "status": status,
        "degraded": given["degraded"],
        "detail": _text(given, "detail"),
        "seconds": _seconds(given),
        "troubles": [_trouble(each) for each in troubles[:MOST]],
        "more_troubles": more + max(0, len(troubles) - MOST),
    }


def _trouble(given: Any) -> dict[str, Any]:
    """Return one thing that was not done as asked; *status* is a command's, or None."""
    if not isinstance(given, dict):
        raise BadRequest("boot report: troubles: expected objects with place and result")
    return {
        "place": _text(given, "place"),
        "result": _text(given, "result"),
        "detail": _text(given, "detail"),
        "status": _whole(given, "status"),
    }


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or len(value) > LONGEST:
        raise BadRequest(f"boot report: {name}: expected at most {LONGEST} characters of text")
    # A lone surrogate is JSON, and no text.
    return value.encode("utf-8", "replace").decode()


def _whole(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if type(value) is not int or abs(value) >= 1 << 31:
        raise BadRequest(f"boot report: {name}: expected a whole number")
    return value


def _seconds(given: Mapping[str, Any]) -> float:
    value: Any = given.get("seconds")
    # Compared before it becomes a float, which a huge integer cannot; NaN is in no range.
    if type(value) not in (int, float) or not 0 <= value < 1e9:
        raise BadRequest("boot report: seconds: expected the length of the boot")
    return float(value)
