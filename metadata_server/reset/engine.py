"""What the operator asks for and what becomes of it: the one place where reset requests change."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from ..catalog import Catalog
from ..errors import Conflict, NotFound
from ..instance import Instance
from ..secret import Secret
from ..store import Store
from .demands import check_demand, takes_envelope
from .enrol import Enrolments
from .envelope import SCHEME, check_taken, seal
from .guest import GuestSide
from .hashing import Work, check_hash
from .platform import SCHEMA as FLAGS_SCHEMA
from .platform import PlatformSide
from .requests import SCHEMA as REQUESTS_SCHEMA
from .requests import (
    Apply,
    Asked,
    AtRest,
    Enrolment,
    Guest,
    ResetRequest,
    check_none_delivered,
    enrolment_of,
    expire_due,
    move,
    record,
    request_of,
)
from .sealed import ServerKey
from .secret_keys import secret_key
from .states import Event, after

__all__ = ["SCHEMA", "Apply", "Enrolment", "ResetEngine", "ResetRequest"]

log = logging.getLogger(__name__)

EXPIRY: Final[dict[Apply, float]] = {"live": 15 * 60.0, "boot": 7 * 86400.0, "both": 7 * 86400.0}
SCHEMA: Final = REQUESTS_SCHEMA + FLAGS_SCHEMA
PUBLIC_KEY: Final = "reset-server.pub"
SWEEP_SECONDS: Final = 3600.0


class ResetEngine:
    """The resets of every instance: the control plane on one side, the guests on the other."""

    def __init__(
        self,
        store: Store,
        directory: Path,
        catalog: Catalog,
        *,
        clock: Callable[[], float] = time.time,
        credentials: str | None = os.environ.get("CREDENTIALS_DIRECTORY"),
        work: Work | None = None,
    ) -> None:
        """Work on *store*, whose schemas include SCHEMA.

        The public key is written to *directory*, for guests that are to know it beforehand. The
        secret ones are systemd credentials, or else files of the store.
        """
        self.work = work or Work()
        """What hashes are made of passwords in plain text."""
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._at_rest = AtRest(secret_key(store, "reset-hash", credentials))
        self._key = ServerKey(secret_key(store, "reset-server", credentials))
        (directory / PUBLIC_KEY).write_text(self.server_key + "\n", encoding="ascii")
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._cleaning = asyncio.Lock()
        self._ended = 0
        self._cleaned = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.counts: Counter[str] = Counter()
        """How often each thing happened, by its code; for metrics."""
        self._enrolments = Enrolments(
            store,
            self._key,
            self._at_rest,
            clock=clock,
            counts=self.counts,
            changed=self._changed,
        )
        self._guests = GuestSide(
            store,
            self._key,
            self._at_rest,
            self._enrolments,
            clock=clock,
            counts=self.counts,
            changed=self._changed,
        )
        self._platform = PlatformSide(
            store, self._at_rest, clock=clock, counts=self.counts, changed=self._changed
        )

    @property
    def server_key(self) -> str:
        """The public key S, in the form that a guest's `server_key` and `trust` take."""
        return self._key.public.hex()

    async def ask(
        self,
        instance: Instance,
        user: str,
        hash: Secret,
        *,
        apply: Apply = "both",
        unlock: bool = False,
        expire: bool = False,
        restart: bool = False,
        replace: bool = False,
    ) -> ResetRequest:
        """Record that *user*'s password is to become *hash*, and wake the guest.

        Supersedes a request that was not delivered yet; raises Conflict when one was, unless
        *replace*.
        """
        scheme = check_hash(hash)
        check_demand(instance, user, scheme, apply, self.enrolment(instance.id))
        return await self._record(
            instance,
            user,
            hash,
            scheme,
            seconds=EXPIRY[apply],
            apply=apply,
            unlock=unlock,
            expire=expire,
            restart=restart,
            replace=replace,
        )

    def examine(
        self, instance: Instance, user: str, scheme: str, *, apply: Apply, replace: bool
    ) -> None:
        """Raise what asking for this would raise, and ask nothing."""
        check_demand(instance, user, scheme, apply, self.enrolment(instance.id))
        if not replace:
            rows = self._store.read(
                "SELECT id, state FROM reset_requests WHERE instance = ? AND finished IS NULL"
                " AND expires > ?",
                instance.id,
                self._clock(),
            )
            check_none_delivered(rows)

    def takes_envelope(self, instance: Instance) -> bool:
        """Say whether a reset of *instance* is for the platform's own daemon, with a password."""
        return takes_envelope(instance, self.enrolment(instance.id))

    async def ask_envelope(
        self, instance: Instance, user: str, password: Secret, *, replace: bool = False
    ) -> ResetRequest:
        """Record that the platform's own daemon is to set *password*; nothing else can be asked.

        What is kept is as good as plain text, so it is kept for minutes only.
        """
        check_demand(instance, user, SCHEME, "both", None)
        check_taken(password, instance.os_type)
        made = await asyncio.to_thread(seal, password, instance.id)
        return await self._record(
            instance, user, made, SCHEME, seconds=EXPIRY["live"], apply="both", replace=replace
        )

    async def _record(
        self,
        instance: Instance,
        user: str,
        kept: Secret,
        scheme: str,
        *,
        seconds: float,
        apply: Apply,
        replace: bool,
        **options: bool,
    ) -> ResetRequest:
        request_id = secrets.token_hex(16)
        closed = self._at_rest.close(kept, request_id, instance.id, user)
        asked = Asked(request_id, instance.id, user, scheme, closed, apply, seconds, **options)
        now = self._clock()
        expired, superseded = await self._store.write(
            partial(record, asked=asked, now=now, replace=replace)
        )
        self._tell("expired", expired)
        self._tell("superseded", superseded)
        # What was only added leaves no trace of a hash that is over.
        await self._changed(instance.id, ended=bool(expired or superseded))
        self.counts["asked"] += 1
        log.info("reset %s: asked for user %r of instance %s", request_id, user, instance.id)
        return self._known(request_id)

    def request(self, request_id: str) -> ResetRequest | None:
        rows = self._store.read("SELECT * FROM reset_requests WHERE id = ?", request_id)
        return request_of(rows[0], self._clock()) if rows else None

    def requests(self, instance_id: str) -> tuple[ResetRequest, ...]:
        """Return the requests of an instance, the newest first."""
        rows = self._store.read(
            "SELECT * FROM reset_requests WHERE instance = ? ORDER BY asked DESC, rowid DESC",
            instance_id,
        )
        return tuple(request_of(row, self._clock()) for row in rows)

    async def cancel(self, request_id: str) -> ResetRequest:
        """End a request; one that was delivered may be applied all the same, and then says so."""
        return await self._operate(request_id, "cancel")

    async def confirm(self, request_id: str) -> ResetRequest:
        """Let the guest on record have a request that was asked for another one."""
        return await self._operate(request_id, "confirm")

    async def wait(self, request_id: str, timeout: float) -> ResetRequest:
        """Return the request once it is final, or as it is after *timeout* seconds."""
        found = self._known(request_id)
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        event = asyncio.Event()
        watchers = self._watchers.setdefault(found.instance, set())
        watchers.add(event)
        try:
            while not (found := self._known(request_id)).is_final:
                left = min(end - loop.time(), found.expires - self._clock() + 0.01)
                if end <= loop.time():
                    break
                alarm = loop.call_later(max(left, 0.0), event.set)
                await event.wait()
                alarm.cancel()
                event.clear()
        finally:
            watchers.discard(event)
            if not watchers:
                self._watchers.pop(found.instance, None)
        return found

    def forget(self, state: sqlite3.Connection, instance_id: str) -> None:
        """Forget all about an instance within the transaction that removes it."""
        for table in ("reset_requests", "reset_enrolments", "reset_tokens", "reset_flags"):
            state.execute(f"DELETE FROM {table} WHERE instance = ?", (instance_id,))  # noqa: S608  # four constants

    async def forgotten(self, instance_id: str) -> None:
        """Wake whoever waits for an instance that is gone, and leave no trace of its hashes."""
        await self._changed(instance_id, ended=True)

    def enrolment(self, instance_id: str) -> Enrolment | None:
        """Return the guest on record, or None when none ever enrolled."""
        rows = self._store.read("SELECT * FROM reset_enrolments WHERE instance = ?", instance_id)
        return enrolment_of(rows[0]) if rows else None

    async def accept(self, instance_id: str, fingerprint: str) -> Enrolment:
        """Put the candidate with *fingerprint* in the place of the guest on record.

        Requests asked for the old one wait for `confirm`.
        """
        await self._enrolments.accept(instance_id, fingerprint)
        found = self.enrolment(instance_id)
        if found is None:
            raise NotFound(f"instance {instance_id}: never enrolled")
        return found

    async def enrol_token(self, instance_id: str) -> Secret:
        """Return a new one-time token with which the first guest of an instance may enrol.

        It belongs into a file that only the guest's root can read. An earlier one is void.
        """
        return await self._enrolments.enrol_token(instance_id)

    async def handle(
        self, request: web.BaseRequest, instance: Instance, rest: str
    ) -> web.StreamResponse:
        """Answer a guest's request for *rest*, the path below /linklocal/v1/reset-password/."""
        if self._timer is None:
            self._arm()
        return await self._guests.answer(request, instance, rest)

    async def handle_platform(
        self, request: web.BaseRequest, instance: Instance, name: str
    ) -> web.StreamResponse:
        """Answer the platform's own daemon at *name*; NotFound once a guest has enrolled."""
        if not self.takes_envelope(instance):
            raise NotFound(f"no such path: {name}")
        if self._timer is None:
            self._arm()
        return await self._platform.answer(request, instance, name)

    def guest(self, instance: Instance) -> Guest:
        """Return whose daemon the instance has, as far as it has shown itself."""
        found = self.enrolment(instance.id)
        if found is None and instance.reset_password.legacy:
            return "legacy" if self._platform.is_there(instance.id) else None
        return found

    def drain(self) -> None:
        """Answer long polls at once, from now on, and stop the clockwork."""
        self._guests.drain()
        if self._timer is not None:
            self._timer.cancel()

    async def _operate(self, request_id: str, event: Event) -> ResetRequest:
        found = self._known(request_id)
        now = self._clock()

        def change(state: sqlite3.Connection) -> None:
            # A conflict below takes this back too, and the sweep does it again.
            expire_due(state, now=now, instance_id=found.instance)
            row = state.execute(
                "SELECT * FROM reset_requests WHERE id = ?", (request_id,)
            ).fetchone()
            if after(row["state"], event) is None:
                raise Conflict(f"reset {request_id} is {row['state']}: too late to {event} it")
            move(state, row, event, now)
            if event == "confirm":
                state.execute(
                    "UPDATE reset_requests SET identity = (SELECT identity FROM reset_enrolments"
                    " WHERE instance = ?) WHERE id = ?",
                    (found.instance, request_id),
                )

        await self._store.write(change)
        self._tell("confirmed" if event == "confirm" else "cancelled", [request_id])
        await self._changed(found.instance, ended=True)
        return self._known(request_id)

    def _tell(self, what: str, ids: Sequence[str]) -> None:
        """Count what became of requests, and say it in the journal."""
        for request_id in ids:
            self.counts[what] += 1
            log.info("reset %s: %s", request_id, what)

    async def _changed(self, instance_id: str, *, ended: bool = False) -> None:
        """Wake whoever waits for *instance_id*; leave no trace of hashes when some were cleared."""
        for event in self._watchers.get(instance_id, ()):
            event.set()
        self._guests.wake(instance_id)
        self._arm()
        if not ended:
            return
        # Requests that end together share one truncation.
        self._ended += 1
        mine = self._ended
        async with self._cleaning:
            if self._cleaned < mine:
                upto = self._ended
                await self._store.truncate_log()
                self._cleaned = upto

    def _arm(self) -> None:
        """See to it that hashes are cleared when their time is over, also when nobody asks."""
        if self._timer is not None:
            self._timer.cancel()
        rows = self._store.read(
            "SELECT MIN(expires) AS soonest FROM reset_requests WHERE finished IS NULL"
        )
        soonest = rows[0]["soonest"]
        left = SWEEP_SECONDS if soonest is None else soonest - self._clock()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(min(max(left, 1.0), SWEEP_SECONDS), self._start_sweep)

    def _start_sweep(self) -> None:
        self._sweeper = asyncio.get_running_loop().create_task(self.sweep())

    async def sweep(self) -> None:
        """End what has expired by now, as is done in time when the clock runs by itself."""
        now = self._clock()
        rows = self._store.read(
            "SELECT DISTINCT instance FROM reset_requests WHERE finished IS NULL AND expires <= ?",
            now,
        )
        try:
            for row in rows:
                instance_id = row["instance"]
                change = partial(expire_due, now=now, instance_id=instance_id)
                self._tell("expired", await self._store.write(change))
                await self._changed(instance_id, ended=True)
        finally:
            self._arm()

    def _known(self, request_id: str) -> ResetRequest:
        found = self.request(request_id)
        if found is None:
            raise NotFound(f"no such reset: {request_id[:64]!r}")
        return found
