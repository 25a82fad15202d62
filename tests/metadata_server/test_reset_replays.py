"""Enrolments sent again, and requests cut off: what others do costs a guest nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from .reset_bench import ID, PREFIX, Guest, bench, instance


async def test_an_enrolment_cannot_be_made_forgotten_and_sent_again(tmp_path: Path) -> None:
    async with bench(tmp_path / "state") as (at, port):
        guest = Guest(port)
        message = guest.enrolment(await guest.challenge())
        await guest.send("PUT", PREFIX + "key", message)
        replies = [await guest.enrol() for _ in range(70)]
        replayed = await guest.send("PUT", PREFIX + "key", message)
        at.clock.now += 31
        later = await guest.enrol()

    assert [reply.status for reply in replies] == [200] * 63 + [429] * 7
    assert replies[-1].body["error"] == "too-many"
    assert (replayed.status, replayed.body["error"]) == (403, "nonce")
    assert later.status == 200


async def test_what_was_not_proved_uses_nothing_up(tmp_path: Path) -> None:
    one = instance(reset_password={"proof": "token"})
    async with bench(tmp_path / "state", one) as (at, port):
        stranger = Guest(port, seed=7)
        refused = {(await stranger.enrol()).status for _ in range(70)}
        at.instance = instance()
        guest = await Guest(port).enrol()
        at.instance = one
        conflicts = {(await stranger.enrol()).status for _ in range(70)}
        again = await Guest(port).enrol()
        known = at.engine.enrolment(ID)

    assert known is not None
    assert known.candidate is None
    assert (refused, conflicts) == ({403}, {409})
    assert (guest.status, again.status) == (200, 200)


async def test_a_challenge_does_not_outlive_the_process(tmp_path: Path) -> None:
    async with bench(tmp_path / "state") as (at, port):
        guest = Guest(port)
        message = guest.enrolment(await guest.challenge())
        at.restart()
        late = await guest.send("PUT", PREFIX + "key", message)
        enrolment = at.engine.enrolment(ID)
        fresh = await guest.enrol()

    assert (late.status, late.body["error"]) == (403, "nonce")
    assert enrolment is None
    assert fresh.status == 200


@pytest.mark.parametrize("path", ["challenge", "key", "result"])
async def test_a_body_that_is_cut_off_is_no_error_of_ours(
    tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "metadata_server")
    async with bench(tmp_path / "state") as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        method = "PUT" if path == "key" else "POST"
        head = f"{method} {PREFIX}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{"
        writer.write(head.encode())
        await writer.drain()
        # The answer to another request says that this one has been begun with.
        await Guest(port).challenge()
        writer.transport.abort()
        for _ in range(500):
            if any("hung up" in record.message for record in caplog.records):
                break
            await asyncio.sleep(0.01)

    said = [record for record in caplog.records if "hung up" in record.message]
    assert [record.levelno for record in said] == [logging.DEBUG]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
