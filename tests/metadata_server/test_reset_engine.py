"""The server's half of a reset: over a socket for the guest, by calls for operators."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from metadata_server.catalog import Catalog
from metadata_server.errors import BadRequest, Conflict, NotFound, ServerError
from metadata_server.instance import Identify
from metadata_server.reset.engine import SCHEMA, ResetEngine
from metadata_server.reset.states import ACTIVE, FINAL, TRANSITIONS, after
from metadata_server.secret import Secret
from metadata_server.store import Store

from .reset_bench import HASH, ID, OTHER_HASH, PREFIX, Bench, Guest, bench, instance

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a low source port")


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[tuple[Bench, int]]:
    async with bench(tmp_path / "state") as made:
        yield made


Table = tuple[Bench, int]


# The whole way


async def test_a_reset_goes_the_whole_way_and_its_hash_is_forgotten(table: Table) -> None:
    at, port = table
    guest = Guest(port)

    enrolled = await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH, expire=True)
    order = await guest.fetch()
    assert order is not None
    acknowledged = await guest.tell(order.id)
    again = await guest.tell(order.id)
    request = at.engine.request(asked.id)

    assert enrolled.body["identity"] == guest.fingerprint
    assert (order.id, order.user, order.expire, order.unlock) == (asked.id, "root", True, False)
    assert order.hash.reveal() == HASH.reveal()
    assert order.ttl == 7 * 86400
    for reply in (acknowledged, again):
        assert guest.recorded(reply, order.id) == ("applied", "")
    assert request is not None
    assert (request.state, request.is_final) == ("applied", True)
    assert await guest.fetch() is None
    assert at.store.read("SELECT hash FROM reset_requests")[0]["hash"] is None


async def test_a_poll_that_waits_is_answered_when_somebody_asks(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()

    waiting = asyncio.ensure_future(guest.fetch(wait=60))
    ended = asyncio.ensure_future(at.engine.wait((await _asked_while(at, waiting)).id, 60))
    order = await waiting
    assert order is not None
    await guest.tell(order.id)

    assert (await ended).state == "applied"


async def _asked_while(at: Bench, waiting: asyncio.Future[Any]) -> Any:
    # The poll has to be waiting, or this would test nothing: it shows in nothing but its silence.
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    return await at.engine.ask(at.instance, "root", HASH)


async def test_a_newer_poll_ends_the_older_one(table: Table) -> None:
    _, port = table
    guest = Guest(port)
    await guest.enrol()

    old = asyncio.ensure_future(guest.poll(wait=60))
    await asyncio.wait([old], timeout=0.05)
    new = asyncio.ensure_future(guest.poll(wait=60))

    assert (await old).status == 204
    new.cancel()


async def test_draining_answers_polls_at_once(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()

    waiting = asyncio.ensure_future(guest.poll(wait=60))
    await asyncio.wait([waiting], timeout=0.05)
    at.engine.drain()

    assert (await waiting).status == 204
    assert (await guest.poll(wait=60)).status == 204


async def test_resets_outlive_the_server(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)

    at.restart()
    order = await guest.fetch()
    assert order is not None
    at.restart()
    acknowledged = await guest.tell(order.id)

    assert order.id == asked.id
    assert guest.recorded(acknowledged, order.id).result == "applied"


async def test_the_wait_for_a_reset_ends_with_its_time(table: Table) -> None:
    at, _ = table
    asked = await at.engine.ask(at.instance, "root", HASH)

    assert (await at.engine.wait(asked.id, 0.01)).state == "pending"


# Enrolment


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"v": 2}, 400, "version"),
        ({"v": "1"}, 400, "version"),
        ({"v": True}, 400, "version"),
        ({"suites": ["rot13"]}, 400, "suite"),
        ({"suites": []}, 400, "bad-request"),
        ({"suites": "x"}, 400, "bad-request"),
        ({"suites": ["a\nb"]}, 400, "bad-request"),
        ({"schemes": ["md5"]}, 403, "signature"),
        ({"schemes": [7]}, 400, "bad-request"),
        ({"schemes": ["x"] * 17}, 400, "bad-request"),
        ({"instance": "another"}, 403, "other-instance"),
        ({"instance": ""}, 400, "bad-request"),
        ({"instance": ["x"]}, 400, "bad-request"),
        ({"boot": "00" * 16}, 403, "signature"),
        ({"boot": "00" * 15}, 400, "bad-request"),
        ({"boot": "0G" * 16}, 400, "bad-request"),
        ({"key": "07" * 32}, 403, "signature"),
        ({"key": "07" * 33}, 400, "bad-request"),
        ({"identity": "07" * 32}, 403, "signature"),
        ({"nonce": "00" * 32}, 403, "nonce"),
        ({"nonce": None}, 400, "bad-request"),
        ({"sig": "00" * 64}, 403, "signature"),
        ({"sig": "FF" * 64}, 400, "bad-request"),
    ],
)
async def test_a_wrong_enrolment_is_refused_with_its_reason(
    table: Table, changes: dict[str, Any], status: int, code: str
) -> None:
    at, port = table
    guest = Guest(port)

    message = guest.enrolment(await guest.challenge(), **changes)
    reply = await guest.send("PUT", PREFIX + "key", message)

    assert (reply.status, reply.body["error"]) == (status, code)
    assert at.engine.enrolment(ID) is None


async def test_a_boot_key_of_low_order_is_refused(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    guest.boot.public = bytes(32)

    reply = await guest.send("PUT", PREFIX + "key", guest.enrolment(await guest.challenge()))

    assert (reply.status, reply.body["error"]) == (400, "bad-request")
    assert at.engine.enrolment(ID) is None


async def test_a_challenge_is_good_once_for_30_seconds_at_one_address(table: Table) -> None:
    at, port = table
    guest, elsewhere = Guest(port), Guest(port, address="127.0.0.2")

    message = guest.enrolment(await guest.challenge())
    stolen = await elsewhere.send("PUT", PREFIX + "key", message)
    good = await guest.send("PUT", PREFIX + "key", message)
    replayed = await guest.send("PUT", PREFIX + "key", message)
    late = guest.enrolment(await guest.challenge())
    at.clock.now += 30
    too_late = await guest.send("PUT", PREFIX + "key", late)

    assert good.status == 200
    for reply in (stolen, replayed, too_late):
        assert (reply.status, reply.body["error"]) == (403, "nonce")


async def test_another_identity_is_a_conflict_until_it_is_accepted(table: Table) -> None:
    at, port = table
    guest, other = Guest(port), Guest(port, seed=2)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)

    refused = await other.enrol()
    kept = at.engine.enrolment(ID)
    with pytest.raises(Conflict):
        await at.engine.accept(ID, guest.fingerprint)
    await at.engine.accept(ID, other.fingerprint)
    waits = at.engine.request(asked.id)
    evicted = await guest.poll()
    accepted = await other.enrol()
    nothing = await other.fetch()
    await at.engine.confirm(asked.id)
    order = await other.fetch()

    assert (refused.status, refused.body["error"]) == (409, "identity-conflict")
    assert kept is not None
    assert (kept.identity, kept.candidate) == (guest.fingerprint, other.fingerprint)
    assert waits is not None
    assert waits.state == "needs-confirm"
    assert evicted.status == 403
    assert accepted.status == 200
    assert nothing is None
    assert order is not None
    assert order.id == asked.id


async def test_the_same_identity_may_bring_a_new_boot(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    at.instance = instance(reset_password={"proof": "token"})
    guest.reboot(9)

    assert (await guest.enrol()).status == 200
    assert (await guest.poll()).status == 204


@needs_root
@pytest.mark.parametrize(
    ("identify", "source", "headers", "status"),
    [
        (Identify(addresses=()), "high", {}, 403),
        (Identify(default=True), "low", {}, 403),
        ("127.0.0.1", "low", {}, 200),
        ("127.0.0.1", "high", {}, 403),
        ("127.0.0.1", "low", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", "low", {"X-Instance-ID": ID}, 403),
        ("127.0.0.1", "low", {"Forwarded": "for=127.0.0.1"}, 403),
        ("127.0.0.1", "low", {"Via": "1.1 x"}, 403),
        ("default and 127.0.0.1", "low", {}, 200),
    ],
)
async def test_a_low_port_proves_root_only_where_nothing_stands_between(
    tmp_path: Path, identify: Any, source: str, headers: dict[str, str], status: int
) -> None:
    from ipaddress import IPv4Address

    if isinstance(identify, str):
        identify = Identify((IPv4Address("127.0.0.1"),), default="default" in identify)
    one = instance(identify=identify, reset_password={"proof": "low-port"})
    async with bench(tmp_path / "state", one) as (at, port):
        guest = Guest(port)
        guest.headers = headers

        message = guest.enrolment(await guest.challenge())
        if source == "low":
            guest.source_port = _free_low_port()
        reply = await guest.send("PUT", PREFIX + "key", message)

        assert reply.status == status, reply
        assert (at.engine.enrolment(ID) is not None) == (status == 200)
        assert status == 200 or reply.body["error"] == "proof"


def _free_low_port() -> int:
    for port in range(1023, 600, -1):
        with socket.socket() as link:
            try:
                link.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port below 1024")


async def test_no_proof_is_asked_of_loopback_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: it asks which address would be used.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("no address but loopback's")
        own = probe.getsockname()[0]
    async with bench(tmp_path / "state", listen=own) as (_, port):
        refused = await Guest(port, address=own).enrol()
    async with bench(tmp_path / "state") as (_, port):
        good = await Guest(port).enrol()

    assert (refused.status, refused.body["error"]) == (403, "proof")
    assert good.status == 200


async def test_a_token_enrols_once(tmp_path: Path) -> None:
    from agent.reset_password import protocol
    from agent.secret import Secret as GuestSecret

    async with bench(tmp_path / "state", instance(reset_password={"proof": "token"})) as (at, port):

        async def enrol(guest: Guest, token: bytes) -> int:
            challenge = await guest.challenge()
            signed = protocol.enrol_message(
                ID, guest.boot, challenge.server, challenge.nonce, ("sha512", "sha256")
            )
            proof = protocol.token_proof(GuestSecret(token), signed)
            guest.headers = {protocol.PROOF_HEADER: proof}
            reply = await guest.send("PUT", PREFIX + "key", guest.enrolment(challenge))
            return reply.status

        guest, thief = Guest(port), Guest(port, seed=2)
        without = await guest.enrol()
        none_issued = await enrol(guest, b"0" * 64)
        replaced = (await at.engine.enrol_token(ID)).reveal()
        token = (await at.engine.enrol_token(ID)).reveal()
        late = await enrol(guest, replaced)
        wrong = await enrol(guest, b"0" * 64)
        stale_header = guest.headers
        right = await enrol(guest, token)
        stolen = await enrol(thief, token)
        known = at.engine.enrolment(ID)

        assert (without.status, none_issued, late, wrong) == (403, 403, 403, 403)
        assert (right, stolen) == (200, 409)
        assert stale_header != guest.headers
        assert known is not None
        assert (known.identity, known.candidate) == (guest.fingerprint, None)
        assert token not in (at.directory / "state.sqlite").read_bytes()


async def test_a_pinned_identity_needs_no_proof_and_no_other_gets_in(tmp_path: Path) -> None:
    pinned = Guest(0, seed=2).fingerprint
    one = instance(reset_password={"proof": "token", "identity": pinned})
    async with bench(tmp_path / "state", one) as (at, port):
        stranger = await Guest(port).enrol()
        right = await Guest(port, seed=2).enrol()
        known = at.engine.enrolment(ID)

        assert (stranger.status, stranger.body["error"]) == (403, "identity-pinned")
        assert right.status == 200
        assert known is not None
        assert known.identity == pinned


async def test_pinning_another_identity_makes_old_requests_wait(table: Table) -> None:
    at, port = table
    await Guest(port).enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)
    other = Guest(port, seed=2)
    at.instance = instance(reset_password={"identity": other.fingerprint})

    assert (await other.enrol()).status == 200
    assert await other.fetch() is None
    request = at.engine.request(asked.id)
    assert request is not None
    assert request.state == "needs-confirm"


# Polls


async def test_a_poll_without_proof_learns_nothing(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    never = await _poll_with(guest, port, mac="00" * 32)
    await guest.enrol()
    await at.engine.ask(at.instance, "root", HASH)

    replies = [
        await _poll_with(guest, port, mac="00" * 32),
        await _poll_with(guest, port, boot="ff" * 16),
        await _poll_with(guest, port, nonce="ff" * 16),
    ]

    for reply in (never, *replies):
        assert (reply.status, reply.body["error"]) == (403, "not-authenticated")
    for missing in ("boot", "nonce", "mac"):
        assert (await _poll_with(guest, port, **{missing: ""})).status == 400
    assert at.engine.requests(ID)[0].state == "pending"


async def _poll_with(guest: Guest, port: int, **changes: str) -> Any:
    from agent.reset_password.protocol import Link

    link = guest.link or Link(ID, guest.boot, (await guest.challenge()).server)
    path, _, query = link.poll(os.urandom(16), 0).partition("?")
    fields = dict(part.split("=") for part in query.split("&"))
    fields.update(changes)
    return await guest.send("GET", path + "?" + "&".join(f"{k}={v}" for k, v in fields.items()))


async def test_a_replayed_poll_is_refused(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    await at.engine.ask(at.instance, "root", HASH)

    first = await guest.poll(nonce=b"n" * 16)
    second = await guest.poll(nonce=b"n" * 16)

    assert first.status == 200
    assert (second.status, second.body["error"]) == (403, "replayed")


async def test_an_envelope_opens_for_its_own_poll_only(table: Table) -> None:
    from agent.reset_password.protocol import ProtocolError

    at, port = table
    guest = Guest(port)
    await guest.enrol()
    await at.engine.ask(at.instance, "root", HASH)

    one = await guest.poll()
    two = await guest.poll()

    assert one.body["e"] != two.body["e"]
    assert guest.open(two).user == "root"
    with pytest.raises(ProtocolError):
        guest.open(one)


async def test_a_restarted_guest_gets_the_request_sealed_to_its_new_key(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)
    assert await guest.fetch() is not None

    guest.reboot(7)
    await guest.enrol()
    order = await guest.fetch()
    assert order is not None
    acknowledged = await guest.tell(order.id)

    assert order.id == asked.id
    assert guest.recorded(acknowledged, order.id).result == "applied"


@pytest.mark.parametrize(
    ("apply", "enrolled", "first", "second"),
    [
        ("both", True, True, None),
        ("live", True, True, None),
        ("boot", True, False, True),
        ("both", False, True, None),
        ("boot", False, True, None),
    ],
)
async def test_apply_says_which_boot_gets_it(
    table: Table, apply: Any, enrolled: bool, first: bool, second: bool | None
) -> None:
    at, port = table
    guest = Guest(port)
    if enrolled:
        await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH, apply=apply)
    if not enrolled:
        await guest.enrol()

    assert ((await guest.fetch()) is not None) is first
    if second is not None:
        guest.reboot(7)
        await guest.enrol()
        assert ((await guest.fetch()) is not None) is second
    lasts = asked.expires - asked.asked
    assert lasts == (15 * 60 if apply == "live" else 7 * 86400)


async def test_live_is_for_the_boot_that_was_there(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    with pytest.raises(Conflict, match="never did"):
        await at.engine.ask(at.instance, "root", HASH, apply="live")
    await guest.enrol()
    await at.engine.ask(at.instance, "root", HASH, apply="live")

    guest.reboot(7)
    await guest.enrol()

    assert await guest.fetch() is None


async def test_a_boot_that_only_shares_the_key_is_another_boot(table: Table) -> None:
    _, port = table
    guest = Guest(port)
    await guest.enrol()
    link = guest.linked()

    guest.boot.boot = b"x" * 16

    assert guest.linked() is link
    assert (await guest.poll()).status == 403


async def test_the_poll_of_an_earlier_boot_ends_when_a_new_one_enrols(table: Table) -> None:
    at, port = table
    guest, again = Guest(port), Guest(port)
    again.reboot(7)
    await guest.enrol()

    old = asyncio.ensure_future(guest.poll(wait=60))
    await asyncio.wait([old], timeout=0.05)
    await again.enrol()

    # Long before its own time is over.
    assert (await asyncio.wait_for(old, 30)).status == 204
    asked = await at.engine.ask(at.instance, "root", HASH)
    order = await again.fetch()
    assert order is not None
    assert order.id == asked.id


async def test_a_request_of_another_identity_is_neither_given_nor_acknowledged(
    table: Table,
) -> None:
    at, port = table
    guest, other = Guest(port), Guest(port, seed=2)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)
    await guest.fetch()
    await other.enrol()
    await at.engine.accept(ID, other.fingerprint)
    await other.enrol()

    claimed = await other.tell(asked.id)
    await at.store.write(
        lambda state: state.execute("UPDATE reset_requests SET state = 'pending'").rowcount
    )

    assert other.recorded(claimed, asked.id).result == "unknown"
    assert await other.fetch() is None


# Acknowledgements


@pytest.mark.parametrize(
    ("result", "code"), [("applied", ""), ("rejected", "no-such-user"), ("failed", "chpasswd")]
)
async def test_every_result_is_recorded_with_its_reason(
    table: Table, result: Any, code: str
) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)
    await guest.fetch()

    reply = await guest.tell(asked.id, result, code)
    request = at.engine.request(asked.id)

    assert guest.recorded(reply, asked.id) == (result, code)
    assert request is not None
    assert (request.state, request.code) == (result, code)


async def test_no_bent_acknowledgement_counts(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)
    await guest.fetch()
    message = dict(guest.linked().result(asked.id, "applied", ""))

    mac = bytes.fromhex(message["mac"])
    for place in range(len(mac)):
        bent = bytearray(mac)
        bent[place] ^= 1
        reply = await guest.send("POST", PREFIX + "result", {**message, "mac": bent.hex()})
        assert (reply.status, reply.body["error"]) == (403, "not-authenticated")
    for changes, status in (
        ({"result": "failed"}, 403),
        ({"result": "done"}, 400),
        ({"code": "other"}, 403),
        ({"code": "No\nCode"}, 400),
        ({"id": "0" * 32}, 403),
        ({"id": ""}, 400),
        ({"boot": "ff" * 16}, 403),
        ({"v": 2}, 400),
        ({"mac": mac.hex()[:-2]}, 400),
        ({"mac": None}, 400),
    ):
        reply = await guest.send("POST", PREFIX + "result", {**message, **changes})
        assert reply.status == status, changes
    request = at.engine.request(asked.id)
    assert request is not None
    assert request.state == "delivered"


async def test_an_acknowledgement_of_what_was_never_delivered_is_refused(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)

    early = await guest.tell(asked.id)
    unknown = await guest.tell("0" * 32)

    assert (early.status, early.body["error"]) == (409, "not-delivered")
    assert guest.recorded(unknown, "0" * 32).result == "unknown"
    assert at.engine.requests(ID)[0].state == "pending"


@pytest.mark.parametrize("taken_back", ["cancelled", "expired", "superseded"])
async def test_what_was_applied_all_the_same_is_told(table: Table, taken_back: str) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)
    await guest.fetch()

    if taken_back == "cancelled":
        await at.engine.cancel(asked.id)
    elif taken_back == "superseded":
        await at.engine.ask(at.instance, "root", OTHER_HASH, replace=True)
    else:
        at.clock.now += 8 * 86400
    before = at.engine.request(asked.id)
    reply = await guest.tell(asked.id)
    request = at.engine.request(asked.id)

    assert before is not None
    assert request is not None
    assert (before.state, request.state) == (taken_back, "applied")
    assert guest.recorded(reply, asked.id).result == "applied"


async def test_a_late_refusal_changes_nothing(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)
    await guest.fetch()
    await at.engine.cancel(asked.id)

    reply = await guest.tell(asked.id, "rejected", "expired")

    assert guest.recorded(reply, asked.id).result == "cancelled"


# The operator


@pytest.mark.parametrize(
    ("user", "options", "words"),
    [
        ("root:x", {}, "user"),
        ("root\n", {}, "user"),
        ("", {}, "user"),
        ("-root", {}, "user"),
        ("r" * 33, {}, "user"),
        ("rööt", {}, "user"),
        ("root", {"apply": "never"}, "apply"),
    ],
)
async def test_a_malformed_wish_is_refused(
    table: Table, user: str, options: dict[str, Any], words: str
) -> None:
    at, _ = table

    with pytest.raises(BadRequest, match=words):
        await at.engine.ask(at.instance, user, HASH, **options)
    assert at.engine.requests(ID) == ()


async def test_a_scheme_the_guest_cannot_check_is_refused(table: Table) -> None:
    at, port = table
    await Guest(port).enrol()

    with pytest.raises(BadRequest, match="cannot check bcrypt"):
        await at.engine.ask(at.instance, "root", Secret(b"$2b$12$" + b"e" * 53))


async def test_a_pending_request_is_superseded_and_a_delivered_one_is_not(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()

    first = await at.engine.ask(at.instance, "root", HASH)
    second = await at.engine.ask(at.instance, "root", OTHER_HASH)
    order = await guest.fetch()
    with pytest.raises(Conflict, match="not acknowledged yet"):
        await at.engine.ask(at.instance, "root", HASH)
    third = await at.engine.ask(at.instance, "root", HASH, replace=True)

    assert order is not None
    assert order.id == second.id
    states = {request.id: request.state for request in at.engine.requests(ID)}
    assert states == {first.id: "superseded", second.id: "superseded", third.id: "pending"}


async def test_cancel_ends_what_has_not_ended(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)

    cancelled = await at.engine.cancel(asked.id)

    assert cancelled.state == "cancelled"
    assert await guest.fetch() is None
    with pytest.raises(Conflict, match="cancelled"):
        await at.engine.cancel(asked.id)
    with pytest.raises(Conflict, match="cancelled"):
        await at.engine.confirm(asked.id)
    with pytest.raises(NotFound):
        await at.engine.cancel("0" * 32)


async def test_an_expired_request_is_not_delivered(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)

    at.clock.now += 7 * 86400
    nothing = await guest.fetch()

    request = at.engine.request(asked.id)
    assert nothing is None
    assert request is not None
    assert request.state == "expired"
    assert at.store.read("SELECT hash FROM reset_requests")[0]["hash"] is None


async def test_the_time_that_is_left_goes_with_the_request(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    await at.engine.ask(at.instance, "root", HASH, apply="live")

    at.clock.now += 14 * 60
    order = await guest.fetch()

    assert order is not None
    assert order.ttl == 60


# What is kept


async def test_no_hash_is_readable_in_the_state_and_none_is_left(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)
    closed = at.store.read("SELECT hash FROM reset_requests")[0]["hash"]

    def everything() -> bytes:
        return b"".join(path.read_bytes() for path in at.directory.iterdir() if path.is_file())

    during = everything()
    await guest.fetch()
    await guest.tell(asked.id)
    afterwards = everything()

    assert HASH.reveal() not in during
    assert closed in during
    assert closed not in afterwards
    assert {oct(path.stat().st_mode & 0o777) for path in at.directory.glob("*.key")} == {"0o600"}
    assert (at.directory / "reset-server.pub").read_text().strip() == at.engine.server_key


async def test_keys_may_be_credentials_of_systemd(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "linklocal-reset-server").write_bytes(b"\x11" * 32)
    store = Store(tmp_path / "state", [SCHEMA])

    def engine() -> ResetEngine:
        return ResetEngine(
            store, store.directory, Catalog([instance()]), credentials=str(credentials)
        )

    one, other = engine(), engine()
    (credentials / "linklocal-reset-hash").write_bytes(b"short")
    with pytest.raises(ServerError, match="expected 32 bytes, got 5"):
        engine()
    store.close()

    assert one.server_key == other.server_key
    assert not (tmp_path / "state/reset-server.key").exists()
    assert (tmp_path / "state/reset-hash.key").exists()


async def test_a_lost_key_file_is_told_and_not_guessed(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    asked = await at.engine.ask(at.instance, "root", HASH)
    (at.directory / "reset-hash.key").unlink()
    at.restart()

    assert await guest.fetch() is None
    request = at.engine.request(asked.id)
    assert request is not None
    assert (request.state, request.code) == ("failed", "hash-lost")


async def test_a_hash_moved_to_another_request_does_not_open(table: Table) -> None:
    at, port = table
    guest = Guest(port)
    await guest.enrol()
    first = await at.engine.ask(at.instance, "root", HASH)
    stolen = at.store.read("SELECT hash FROM reset_requests")[0]["hash"]
    await at.engine.cancel(first.id)
    second = await at.engine.ask(at.instance, "root", OTHER_HASH)

    def change(state: sqlite3.Connection) -> None:
        state.execute("UPDATE reset_requests SET hash = ? WHERE id = ?", (stolen, second.id))

    await at.store.write(change)

    assert await guest.fetch() is None


async def test_only_so_many_requests_are_kept(table: Table) -> None:
    at, _ = table
    for _ in range(53):
        await at.engine.ask(at.instance, "root", HASH)

    assert len(at.engine.requests(ID)) == 50


# The wire


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "challenge", b"", 405),
        ("POST", "key", b"{}", 405),
        ("POST", "request", b"", 405),
        ("GET", "result", b"", 405),
        ("GET", "nothing", b"", 404),
        ("POST", "challenge", b"", 400),
        ("POST", "challenge", b"[]", 400),
        ("POST", "challenge", b'{"v":1', 400),
        ("POST", "challenge", b"[" * 10_000, 400),
        ("POST", "challenge", b"\xff\xfe", 400),
        ("POST", "challenge", b" " * 20_000, 413),
        ("PUT", "key", b'{"v":1}', 400),
        ("POST", "result", b'{"v":1}', 400),
        ("GET", "request?wait=x", b"", 400),
        ("GET", "request?wait=-1", b"", 400),
    ],
)
async def test_what_is_no_message_is_refused(
    table: Table, method: str, path: str, body: bytes, status: int
) -> None:
    _, port = table

    reply = await Guest(port).send_bytes(method, PREFIX + path, body)

    assert reply.status == status
    assert set(reply.body) == {"v", "error", "message"}


@needs_root
async def test_no_answer_goes_farther_than_the_hop_limit(tmp_path: Path) -> None:
    """Refusals too: a container bridged behind the guest is to get nothing at all."""
    one = instance(reset_password={"hop_limit": 3})
    async with bench(tmp_path / "state", one) as (_, port):
        guest = Guest(port)
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as wire:
            wire.bind(("lo", 0))
            wire.setblocking(False)
            await guest.enrol()
            await guest.poll()
            await guest.send("GET", PREFIX + "nothing")
            lives = _lives_of_answers(wire, port)

    assert len(lives) >= 4
    assert set(lives) == {3}


def _lives_of_answers(wire: socket.socket, port: int) -> list[int]:
    """Return the time to live of every packet with data from *port*."""
    lives: list[int] = []
    while True:
        try:
            packet = wire.recv(65536)
        except BlockingIOError:
            return lives
        segment = packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4], "big")]
        data = segment[(segment[12] >> 4) * 4 :] if len(segment) >= 20 else b""
        if packet[9] == socket.IPPROTO_TCP and data and segment[:2] == port.to_bytes(2, "big"):
            lives.append(packet[8])


# The table of states


def test_every_transition_has_its_place_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs/reset-protocol.md").read_text(encoding="utf-8")

    for (state, event), target in TRANSITIONS.items():
        assert f"| {state} | {event} | {target} |" in page, (state, event)


def test_nothing_leads_out_of_the_end_but_the_guests_word() -> None:
    assert set(ACTIVE).isdisjoint(FINAL)
    for state in FINAL:
        leaving = {event for (source, event) in TRANSITIONS if source == state}
        assert leaving <= {"applied"}
    assert after("applied", "cancel") is None
