"""Answers kept by Idempotency-Key, so that a create that is sent twice is done once.

The answer is written in the same transaction as what it tells of: a server that is killed has both
or neither. Only what was done is kept; a refused call may be corrected and sent again.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from ..errors import BadRequest, Unprocessable
from ..store import Store

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS replays (
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    request BLOB NOT NULL,
    answer TEXT NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (caller, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS replays_created ON replays (created);
"""

HEADER: Final = "Idempotency-Key"
LONGEST: Final = 255
KEPT: Final = 1000
KEPT_SECONDS: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A call with a key: the same from the same caller is the same call."""

    caller: str
    key: str
    request: bytes


class Replays:
    """The answers, in a store made with SCHEMA."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self.lock = asyncio.Lock()
        """Held from `find` to the end of the call: the second of two at once gets the answer."""

    def find(self, sent: Sent) -> str | None:
        """Return the answer to *sent*, None when it is new; Unprocessable when the key is taken."""
        rows = self._store.read(
            "SELECT request, answer FROM replays WHERE caller = ? AND key = ? AND created > ?",
            sent.caller,
            sent.key,
            self._clock() - KEPT_SECONDS,
        )
        if not rows:
            return None
        if bytes(rows[0]["request"]) != sent.request:
            raise Unprocessable(f"{HEADER}: was used for another request; expected a fresh one")
        return str(rows[0]["answer"])

    def keep(self, state: sqlite3.Connection, sent: Sent, answer: str) -> None:
        """Write *answer* in the transaction of the call, and forget what is old."""
        now = self._clock()
        state.execute(
            "INSERT OR REPLACE INTO replays VALUES (?, ?, ?, ?, ?)",
            (sent.caller, sent.key, sent.request, answer, now),
        )
        state.execute("DELETE FROM replays WHERE created <= ?", (now - KEPT_SECONDS,))
        state.execute(
            "DELETE FROM replays WHERE created < (SELECT created FROM replays"
            " ORDER BY created DESC LIMIT 1 OFFSET ?)",
            (KEPT - 1,),
        )

    def forget(self, state: sqlite3.Connection) -> None:
        """Forget all answers in the transaction that takes away what they tell of."""
        state.execute("DELETE FROM replays")


def read_sent(request: web.Request, caller: str, body: bytes) -> Sent | None:
    """Return the call that the key of *request* makes of it, None when there is no key."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    # The draft standard has it in quotation marks, most clients do not.
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 0 < len(key) <= LONGEST or not (key.isascii() and key.isprintable()):
        raise BadRequest(f"{HEADER}: expected 1 to {LONGEST} printable ASCII characters")
    query = request.rel_url.raw_query_string.encode()
    return Sent(caller, key, hashlib.sha256(query + b"\n" + body).digest())
