"""Which guest speaks for an instance: challenge, proof of root, enrolment, another identity."""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final, Literal, NamedTuple

from aiohttp import web

from ..catalog import normalised, origins
from ..errors import Conflict
from ..instance import Instance
from ..secret import Secret
from ..store import Store
from . import sealed
from .envelope import SCHEME
from .requests import AtRest, Changed, active, identity_changed, move
from .sealed import ServerKey
from .wire import Fields, Refusal, answer, body_of, forbidden, malformed, peer

log = logging.getLogger(__name__)

LOW_PORTS: Final = 1024
PROXY_HEADERS: Final = ("X-Instance-ID", "X-Forwarded-For", "Forwarded", "Via")
PROOF_HEADER: Final = "X-Linklocal-Reset-Proof"
ENROLLED: Final = "enrolled"
"""Code of a request for the platform's own daemon whose guest turned out to have ours."""
ENROLMENTS_AT_ONCE: Final = 64
"""Of one instance within the life of a challenge; a guest needs one for each boot."""


Outcome = Literal["enrolled", "identity-conflict", "proof"]


class Enrolling(NamedTuple):
    """The message `key`."""

    suites: tuple[str, ...]
    instance: str
    boot: bytes
    key: bytes
    identity: bytes
    schemes: tuple[str, ...]
    nonce: bytes
    signature: bytes


def read_enrolling(fields: Fields) -> Enrolling:
    fields.version()
    return Enrolling(
        suites=fields.words("suites"),
        instance=fields.text("instance"),
        boot=fields.hex("boot", sealed.BOOT_SIZE),
        key=fields.hex("key", sealed.KEY_SIZE),
        identity=fields.hex("identity", sealed.KEY_SIZE),
        schemes=fields.words("schemes"),
        nonce=fields.hex("nonce", 2 * sealed.NONCE_SIZE),
        signature=fields.hex("sig", sealed.SIGNATURE_SIZE),
    )


class Enrolments:
    """Puts guests on record, one for each instance."""

    def __init__(
        self,
        store: Store,
        key: ServerKey,
        at_rest: AtRest,
        *,
        clock: Callable[[], float],
        counts: Counter[str],
        changed: Changed,
    ) -> None:
        self._store = store
        self._key = key
        self._at_rest = at_rest
        self._clock = clock
        self._counts = counts
        self._changed = changed
        self._used: dict[str, dict[bytes, float]] = {}
        """By instance: the nonces that enrolled somebody, and until when they would be good."""
        self._epoch = secrets.token_bytes(sealed.NONCE_SIZE)
        """Of this process: it knows of no nonce before it whether it was used."""

    async def challenge(self, request: web.BaseRequest, instance: Instance) -> web.Response:
        (await body_of(request)).version()
        address, _ = peer(request)
        nonce = self._key.challenge(instance.id, address, self._clock(), self._epoch)
        return answer({"nonce": nonce.hex(), "server": self._key.public.hex()})

    async def enrol(self, request: web.BaseRequest, instance: Instance) -> web.Response:
        asked = read_enrolling(await body_of(request))
        message = self._checked(asked, instance, peer(request)[0])
        mark = sealed.fingerprint(asked.identity)
        pinned = instance.reset_password.identity
        if pinned is not None and pinned != mark:
            raise forbidden("identity-pinned", f"identity: {mark} is not the one that is pinned")
        lacking = None if pinned else self._unproved(request, instance, message)
        now = self._clock()
        self._reserve(instance.id, asked.nonce, now)

        ended: list[str] = []

        def change(state: sqlite3.Connection) -> Outcome:
            row = state.execute(
                "SELECT identity FROM reset_enrolments WHERE instance = ?", (instance.id,)
            ).fetchone()
            if row is None:
                if lacking is not None:
                    return "proof"
                ended.extend(_record_first(state, instance.id, asked, now))
            elif row["identity"] != asked.identity:
                if pinned is None:
                    # Whoever is not root there must not even become the candidate.
                    if lacking is None:
                        _record_candidate(state, instance.id, asked)
                    return "identity-conflict"
                identity_changed(state, instance.id, asked.identity, now)
            _record(state, instance.id, asked, now)
            return "enrolled"

        try:
            outcome = await self._store.write(change)
        except BaseException:
            self._release(instance.id, asked.nonce)
            raise
        if outcome != "enrolled" and lacking is not None:
            # Only what was proved counts: else anybody could use up an instance's share.
            self._release(instance.id, asked.nonce)
        if outcome == "proof":
            raise forbidden("proof", lacking or "")
        if outcome == "identity-conflict":
            log.warning("instance %s: refused to enrol another identity, %s", instance.id, mark)
            raise Refusal(
                HTTPStatus.CONFLICT,
                "identity-conflict",
                f"identity: another one is on record; the operator may accept {mark}",
            )
        self._counts["enrolled"] += 1
        log.info("instance %s: %s enrolled", instance.id, mark)
        await self._changed(instance.id, ended=bool(ended))
        proof = sealed.enrolled_mac(
            self._key.link(asked.key),
            instance=instance.id,
            boot=asked.boot,
            identity=asked.identity,
            nonce=asked.nonce,
        )
        return answer({"suite": sealed.SUITE, "identity": mark, "mac": proof.hex()})

    def _checked(self, asked: Enrolling, instance: Instance, address: str) -> bytes:
        """Return what was signed, or refuse; whose the identity is remains to be seen."""
        if sealed.SUITE not in asked.suites:
            raise Refusal(HTTPStatus.BAD_REQUEST, "suite", f"suites: expected {sealed.SUITE}")
        if asked.instance != instance.id:
            raise forbidden("other-instance", "instance: this address belongs to another one")
        fresh = self._key.accepts(asked.nonce, instance.id, address, self._clock(), self._epoch)
        if not fresh or asked.nonce in self._used.get(instance.id, ()):
            raise forbidden("nonce", "nonce: expected a fresh one from challenge")
        message = sealed.enrol_message(
            instance=asked.instance,
            boot=asked.boot,
            guest=asked.key,
            server=self._key.public,
            nonce=asked.nonce,
            suites=asked.suites,
            schemes=asked.schemes,
        )
        if not sealed.signed(message, asked.signature, asked.identity):
            raise forbidden("signature", "sig: not by the identity over this server's key")
        try:
            self._key.link(asked.key)
        except ValueError:
            raise malformed("key", "an X25519 public key that is not of low order") from None
        return message

    def _reserve(self, instance_id: str, nonce: bytes, now: float) -> None:
        """Take *nonce* before anything is awaited; one that is still good is never forgotten."""
        used = self._used.get(instance_id, {})
        used = {each: until for each, until in used.items() if until > now}
        if len(used) >= ENROLMENTS_AT_ONCE:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too-many",
                f"key: more than {ENROLMENTS_AT_ONCE} enrolments within"
                f" {sealed.CHALLENGE_SECONDS} seconds",
            )
        used[nonce] = now + sealed.CHALLENGE_SECONDS
        self._used[instance_id] = used

    def _release(self, instance_id: str, nonce: bytes) -> None:
        self._used[instance_id].pop(nonce, None)

    def _unproved(self, request: web.BaseRequest, instance: Instance, message: bytes) -> str | None:
        """Return what is missing for a first enrolment, or None when the caller proved root."""
        address, port = peer(request)
        way = instance.reset_password.proof
        if way == "none":
            if _is_loopback(address):
                return None
            return "proof: none is for guests on this machine's loopback only"
        if way == "token":
            shown = request.headers.get(PROOF_HEADER, "")
            token = self._token(instance)
            if token is None:
                return "proof: no token was issued for this instance"
            expected = sealed.token_proof(token.reveal(), message).hex()
            # Compared as bytes: a header may hold any character.
            if sealed.same(shown.encode(errors="replace"), expected.encode()):
                return None
            return f"proof: {PROOF_HEADER} is not by the token that was issued"
        if any(name in request.headers for name in PROXY_HEADERS):
            return "proof: a source port proves nothing through a proxy; use a token"
        if instance.identify.default and not _is_own(instance, address):
            return "proof: a source port proves nothing for an instance that answers anyone"
        if not 0 < port < LOW_PORTS:
            return f"proof: expected a source port below {LOW_PORTS}, which only root can have"
        return None

    def _token(self, instance: Instance) -> Secret | None:
        rows = self._store.read("SELECT token FROM reset_tokens WHERE instance = ?", instance.id)
        return self._at_rest.open(rows[0]["token"], "token", instance.id) if rows else None

    async def enrol_token(self, instance_id: str) -> Secret:
        """Return a new one-time token for the first enrolment of an instance."""
        token = Secret(secrets.token_hex(32).encode())
        closed = self._at_rest.close(token, "token", instance_id)
        await self._store.write(
            lambda state: (
                state.execute(
                    "INSERT INTO reset_tokens (instance, token) VALUES (?, ?)"
                    " ON CONFLICT (instance) DO UPDATE SET token = excluded.token",
                    (instance_id, closed),
                ).rowcount
            )
        )
        return token

    async def accept(self, instance_id: str, mark: str) -> None:
        """Put the candidate with the fingerprint *mark* on record; it enrols again by itself."""
        now = self._clock()

        def change(state: sqlite3.Connection) -> None:
            row = state.execute(
                "SELECT candidate FROM reset_enrolments WHERE instance = ?", (instance_id,)
            ).fetchone()
            candidate = row["candidate"] if row else None
            if candidate is None or sealed.fingerprint(candidate) != mark:
                raise Conflict(f"instance {instance_id}: no candidate has this fingerprint")
            identity_changed(state, instance_id, candidate, now)
            state.execute(
                "UPDATE reset_enrolments SET identity = candidate, candidate = NULL,"
                " boot = NULL, key = NULL WHERE instance = ?",
                (instance_id,),
            )

        await self._store.write(change)
        self._counts["identity-accepted"] += 1
        log.warning("instance %s: identity %s accepted by the operator", instance_id, mark)
        await self._changed(instance_id)


def _is_own(instance: Instance, address: str) -> bool:
    """Say whether the instance is known by *address* itself, not as the one that answers anyone."""
    try:
        known = normalised(address)
    except ValueError:
        return False
    return any(origin.address == known for origin in origins(instance))


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(normalised(address)).is_loopback
    except ValueError:
        return False


def _record_first(
    state: sqlite3.Connection, instance_id: str, asked: Enrolling, now: float
) -> list[str]:
    """Put the first guest on record; return the requests that end with that."""
    ended = [row for row in active(state, instance_id) if row["scheme"] == SCHEME]
    for row in ended:
        # As good as plain text, and this guest can have better: it is to be asked again.
        move(state, row, "failed", now, ENROLLED)
    # What was asked before any guest enrolled belongs to the first one.
    state.execute(
        "UPDATE reset_requests SET identity = ?"
        " WHERE instance = ? AND identity IS NULL AND finished IS NULL",
        (asked.identity, instance_id),
    )
    state.execute("DELETE FROM reset_tokens WHERE instance = ?", (instance_id,))
    state.execute(
        "INSERT INTO reset_enrolments (instance, identity, suites, schemes, first, last)"
        " VALUES (?, ?, '[]', '[]', ?, ?)",
        (instance_id, asked.identity, now, now),
    )
    return [row["id"] for row in ended]


def _record_candidate(state: sqlite3.Connection, instance_id: str, asked: Enrolling) -> None:
    state.execute(
        "UPDATE reset_enrolments SET candidate = ? WHERE instance = ?",
        (asked.identity, instance_id),
    )


def _record(state: sqlite3.Connection, instance_id: str, asked: Enrolling, now: float) -> None:
    state.execute(
        "UPDATE reset_enrolments SET identity = ?, boot = ?, key = ?, suites = ?, schemes = ?,"
        " last = ? WHERE instance = ?",
        (
            asked.identity,
            asked.boot,
            asked.key,
            json.dumps(asked.suites),
            json.dumps(asked.schemes),
            now,
            instance_id,
        ),
    )
