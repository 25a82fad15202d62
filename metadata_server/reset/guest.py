"""What a guest may ask once it is known: its request, sealed, and the record of its result."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from ..errors import RequestError
from ..instance import Instance
from ..secret import Secret
from ..store import Store
from . import sealed
from .enrol import Enrolments
from .envelope import SCHEME
from .requests import AtRest, Changed, active, expire_due, move, sealed_text
from .sealed import LinkKeys, ServerKey
from .states import FINAL, Event, after
from .wire import Fields, Refusal, answer, body_of, forbidden, limit_hops, malformed, nothing

log = logging.getLogger(__name__)

LONGEST_WAIT: Final = 60
RESULTS: Final[dict[str, Event]] = {
    "applied": "applied",
    "rejected": "rejected",
    "failed": "failed",
}
NONCES_KEPT: Final = 32
"""Poll nonces remembered for each guest: a replayed poll must not look like a fresh one."""


class Poll:
    """One long poll under way."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.over = False


class GuestSide:
    """Answers the four messages of a guest."""

    def __init__(
        self,
        store: Store,
        key: ServerKey,
        at_rest: AtRest,
        enrolments: Enrolments,
        *,
        clock: Callable[[], float],
        counts: Counter[str],
        changed: Changed,
    ) -> None:
        self._store = store
        self._key = key
        self._at_rest = at_rest
        self._enrolments = enrolments
        self._clock = clock
        self._counts = counts
        self._changed = changed
        self._polls: dict[str, Poll] = {}
        self._nonces: dict[str, deque[bytes]] = {}
        self._draining = False

    async def answer(
        self, request: web.BaseRequest, instance: Instance, rest: str
    ) -> web.StreamResponse:
        """Answer *request* for *rest*; whatever the answer, it does not outlive the hop limit."""
        limit_hops(request, instance.reset_password.hop_limit)
        try:
            return await self._route(request, instance, rest)
        except RequestError as error:
            code = error.code if isinstance(error, Refusal) else "refused"
            self._counts[code] += 1
            return answer({"error": code, "message": str(error)}, int(error.status))

    async def _route(
        self, request: web.BaseRequest, instance: Instance, rest: str
    ) -> web.StreamResponse:
        routes = {
            "challenge": ("POST", self._enrolments.challenge),
            "key": ("PUT", self._enrolments.enrol),
            "request": ("GET", self._fetch),
            "result": ("POST", self._result),
        }
        if rest not in routes:
            raise Refusal(HTTPStatus.NOT_FOUND, "no-such-path", f"no such path: {rest[:64]!r}")
        method, handler = routes[rest]
        if request.method != method:
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method", f"{rest}: expected {method}")
        return await handler(request, instance)

    # Delivery

    async def _fetch(self, request: web.BaseRequest, instance: Instance) -> web.Response:
        fields = Fields(dict(request.query))
        wait = fields.number("wait", 0, LONGEST_WAIT)
        boot = fields.hex("boot", sealed.BOOT_SIZE)
        nonce = fields.hex("nonce", sealed.NONCE_SIZE)
        shown = fields.hex("mac", sealed.MAC_SIZE)
        guest = self._known_boot(instance, boot)
        if not sealed.same(shown, sealed.poll_mac(_link(self._key, guest["key"]), boot, nonce)):
            raise _not_authenticated()
        seen = self._nonces.setdefault(instance.id, deque(maxlen=NONCES_KEPT))
        if nonce in seen:
            raise forbidden("replayed", "nonce: expected a fresh one for every poll")
        seen.append(nonce)

        # A guest has one daemon and that has one poll: an older one is a connection it gave up.
        if (old := self._polls.get(instance.id)) is not None:
            old.over = True
            old.event.set()
        poll = self._polls[instance.id] = Poll()
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        alarm = loop.call_at(end, poll.event.set)
        try:
            while not poll.over:
                poll.event.clear()
                if request.transport is None or request.transport.is_closing():
                    break
                now_known = self._enrolled(instance)
                if now_known is None or now_known["key"] != guest["key"]:
                    break
                sent = await self._deliver(instance, guest, boot, nonce)
                if sent is not None:
                    return sent
                if self._draining or loop.time() >= end:
                    break
                await poll.event.wait()
        finally:
            alarm.cancel()
            if self._polls.get(instance.id) is poll:
                del self._polls[instance.id]
        return nothing()

    async def _deliver(
        self, instance: Instance, guest: sqlite3.Row, boot: bytes, nonce: bytes
    ) -> web.Response | None:
        """Return the request that is due for this boot, sealed to it; None when there is none."""
        now = self._clock()
        due = self._store.read(
            "SELECT id FROM reset_requests WHERE instance = ? AND finished IS NULL", instance.id
        )
        if not due:
            return None

        expired: list[str] = []

        def change(state: sqlite3.Connection) -> tuple[sqlite3.Row, Secret] | None:
            expired.extend(expire_due(state, now=now, instance_id=instance.id))
            for row in active(state, instance.id):
                if not _is_due(row, guest["identity"], boot):
                    continue
                given = self._at_rest.open(row["hash"], row["id"], row["instance"], row["user"])
                if given is not None:
                    move(state, row, "deliver", now)
                    return row, given
                if row["state"] == "pending":
                    move(state, row, "failed", now, "hash-lost")
                    log.error("reset %s: its hash cannot be read with this key file", row["id"])
            return None

        found = await self._store.write(change)
        for request_id in expired:
            self._counts["expired"] += 1
            log.info("reset %s: expired", request_id)
        if expired:
            await self._changed(instance.id, ended=True)
        if found is None:
            return None
        row, given = found
        if row["state"] != "delivered":
            await self._changed(instance.id)
        ephemeral, text = self._key.seal(
            sealed_text(row, given, _left(row, now)),
            guest=guest["key"],
            associated=sealed.seal_associated(instance.id, boot, row["id"], nonce),
        )
        self._counts["delivered"] += 1
        log.info("reset %s: delivered to instance %s", row["id"], instance.id)
        return answer({"id": row["id"], "e": ephemeral.hex(), "sealed": text.hex()})

    # Acknowledgement

    async def _result(self, request: web.BaseRequest, instance: Instance) -> web.Response:
        fields = await body_of(request)
        fields.version()
        request_id = fields.text("id", 64)
        boot = fields.hex("boot", sealed.BOOT_SIZE)
        result = fields.text("result", 16)
        code = fields.code("code")
        shown = fields.hex("mac", sealed.MAC_SIZE)
        if result not in RESULTS:
            raise malformed("result", f"one of {', '.join(RESULTS)}")
        guest = self._known_boot(instance, boot)
        keys = _link(self._key, guest["key"])
        said = sealed.result_mac(
            keys, instance=instance.id, boot=boot, request_id=request_id, result=result, code=code
        )
        if not sealed.same(shown, said):
            raise _not_authenticated()
        now = self._clock()

        def change(state: sqlite3.Connection) -> tuple[str, str, bool]:
            row = state.execute(
                "SELECT * FROM reset_requests WHERE id = ? AND instance = ?",
                (request_id, instance.id),
            ).fetchone()
            if row is None or row["identity"] != guest["identity"]:
                return "unknown", "", False
            if row["delivered"] is None:
                raise Refusal(
                    HTTPStatus.CONFLICT, "not-delivered", "id: this one was not delivered yet"
                )
            if after(row["state"], RESULTS[result]) is not None:
                move(state, row, RESULTS[result], now, code)
                return result, code, True
            return row["state"], row["code"], False

        recorded, why, is_news = await self._store.write(change)
        if is_news:
            self._counts[result] += 1
            log.info("reset %s: %s %s", request_id, result, code)
        if recorded in FINAL:
            await self._changed(instance.id, ended=True)
        proof = sealed.recorded_mac(
            keys, instance=instance.id, boot=boot, request_id=request_id, result=recorded, code=why
        )
        return answer({"id": request_id, "result": recorded, "code": why, "mac": proof.hex()})

    # What is common

    def wake(self, instance_id: str) -> None:
        """Let the poll of an instance look again."""
        if (poll := self._polls.get(instance_id)) is not None:
            poll.event.set()

    def drain(self) -> None:
        self._draining = True
        for poll in self._polls.values():
            poll.event.set()

    def _enrolled(self, instance: Instance) -> sqlite3.Row | None:
        rows = self._store.read(
            "SELECT identity, boot, key FROM reset_enrolments WHERE instance = ?", instance.id
        )
        return rows[0] if rows else None

    def _known_boot(self, instance: Instance, boot: bytes) -> sqlite3.Row:
        """Return the enrolment, or refuse as any wrong proof is refused: nothing is learnt."""
        guest = self._enrolled(instance)
        if guest is None or guest["key"] is None or guest["boot"] != boot:
            raise _not_authenticated()
        return guest


def _not_authenticated() -> Refusal:
    return forbidden("not-authenticated", "mac: not by a boot that is enrolled")


def _link(key: ServerKey, guest: bytes) -> LinkKeys:
    try:
        return key.link(guest)
    except ValueError:
        # It was refused when it enrolled: the record was written by something else.
        raise _not_authenticated() from None


def _left(row: sqlite3.Row, now: float) -> int:
    """Return the seconds a request is good for; a clock that was set back gives it no more."""
    whole = int(row["expires"] - row["asked"])
    return max(1, min(int(row["expires"] - now), whole))


def _is_due(row: sqlite3.Row, identity: bytes, boot: bytes) -> bool:
    if row["identity"] != identity or row["scheme"] == SCHEME:
        return False
    if row["state"] == "delivered":
        # Perhaps half applied: whichever boot of this guest comes back has to know.
        return True
    if row["state"] != "pending":
        return False
    here = bool(row["boot"] == boot)
    return bool(row["apply"] == "both" or here == (row["apply"] == "live"))
