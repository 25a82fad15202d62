"""The platform's own two paths of a reset, for guests with its own daemon: flag and envelope.

Only where `reset_password.legacy` is set and no guest of the instance ever enrolled. The daemon
asks once for each boot: GET flag, POST it when it is not True, GET password, DELETE it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Final

from aiohttp import web

from ..errors import BadRequest, MethodNotAllowed, NotFound
from ..instance import Instance
from ..rendered import Answer
from ..replies import Reply
from ..secret import Secret
from ..store import Store
from ..tree import JSON
from .envelope import SCHEME
from .requests import AtRest, Changed, active, expire_due, move
from .wire import bytes_of, limit_hops

log = logging.getLogger(__name__)

FLAG: Final = "resetpwd_flag"
PASSWORD: Final = "reset_password"
UNPROVED: Final = "unproved"
"""Code of an applied request: that daemon says it is done, also when chpasswd failed."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS reset_flags (
    instance TEXT PRIMARY KEY,
    raised REAL NOT NULL
) WITHOUT ROWID;
"""


class PlatformSide:
    """Answers the platform's own daemon."""

    def __init__(
        self,
        store: Store,
        at_rest: AtRest,
        *,
        clock: Callable[[], float],
        counts: Counter[str],
        changed: Changed,
    ) -> None:
        self._store = store
        self._at_rest = at_rest
        self._clock = clock
        self._counts = counts
        self._changed = changed

    def is_there(self, instance_id: str) -> bool:
        """Say whether such a daemon has ever raised its flag."""
        rows = self._store.read("SELECT 1 FROM reset_flags WHERE instance = ?", instance_id)
        return bool(rows)

    async def answer(
        self, request: web.BaseRequest, instance: Instance, name: str
    ) -> web.StreamResponse:
        """Answer *request* for one of the two paths; raises RequestError."""
        limit_hops(request, instance.reset_password.hop_limit)
        if name not in (FLAG, PASSWORD):
            raise NotFound(f"no such path: {name[:64]}")
        routes = {
            ("GET", FLAG): self._flag,
            ("POST", FLAG): self._raise_flag,
            ("GET", PASSWORD): self._fetch,
            ("DELETE", PASSWORD): self._delete,
        }
        handler = routes.get((request.method, name))
        if handler is None:
            known = " or ".join(method for method, path in routes if path == name)
            raise MethodNotAllowed(f"{name}: expected {known}")
        value = await handler(request, instance)
        # An empty body would hang that daemon, and what comes in two pieces it reads in part.
        body = json.dumps({name: value}).encode()
        return Reply(Answer(200, body, JSON, {"Cache-Control": "no-store"}), close=True)

    async def _flag(self, _: web.BaseRequest, instance: Instance) -> str:
        # What is neither True nor an error makes the daemon raise it at once.
        return str(self.is_there(instance.id))

    async def _raise_flag(self, request: web.BaseRequest, instance: Instance) -> str:
        if (await bytes_of(request)).strip() != b"True":
            raise BadRequest(f"{FLAG}: expected True")
        if not self.is_there(instance.id):
            now = self._clock()
            await self._store.write(
                lambda state: (
                    state.execute(
                        "INSERT OR IGNORE INTO reset_flags VALUES (?, ?)", (instance.id, now)
                    ).rowcount
                )
            )
            log.info("instance %s: the platform's own reset daemon is there", instance.id)
        return "True"

    async def _fetch(self, _: web.BaseRequest, instance: Instance) -> str:
        """Return the envelope that waits, or nothing, which ends the daemon's turn."""
        if not self._waiting(instance.id):
            return ""
        now = self._clock()

        def change(state: sqlite3.Connection) -> tuple[list[str], str, Secret | None]:
            expired = expire_due(state, now=now, instance_id=instance.id)
            for row in active(state, instance.id):
                if row["scheme"] != SCHEME:
                    continue
                bound_to = row["id"], row["instance"], row["user"]
                found = self._at_rest.open(row["hash"], *bound_to)
                if found is not None:
                    move(state, row, "deliver", now)
                    return expired, row["id"], found
                if row["state"] == "pending":
                    move(state, row, "failed", now, "hash-lost")
            return expired, "", None

        expired, request_id, found = await self._store.write(change)
        for each in expired:
            self._counts["expired"] += 1
            log.info("reset %s: expired", each)
        await self._changed(instance.id, ended=bool(expired))
        if found is None:
            return ""
        self._counts["delivered"] += 1
        log.info("reset %s: in the platform's envelope to instance %s", request_id, instance.id)
        return found.reveal().decode("ascii")

    async def _delete(self, _: web.BaseRequest, instance: Instance) -> str:
        """Forget what was fetched; what was not is a later one, which stays."""
        now = self._clock()

        def change(state: sqlite3.Connection) -> str | None:
            expire_due(state, now=now, instance_id=instance.id)
            for row in active(state, instance.id):
                if row["scheme"] == SCHEME and row["state"] == "delivered":
                    move(state, row, "applied", now, UNPROVED)
                    return str(row["id"])
            return None

        request_id = await self._store.write(change)
        if request_id is not None:
            self._counts["applied"] += 1
            log.info("reset %s: the platform's daemon is done with it", request_id)
            await self._changed(instance.id, ended=True)
        return ""

    def _waiting(self, instance_id: str) -> bool:
        rows = self._store.read(
            "SELECT 1 FROM reset_requests WHERE instance = ? AND finished IS NULL AND scheme = ?",
            instance_id,
            SCHEME,
        )
        return bool(rows)
