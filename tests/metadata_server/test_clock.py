"""The server's clock: what is dated by it follows a step, and what is due is done on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metadata_server.config import load
from metadata_server.day.clock import Clock
from metadata_server.day.times import LATEST, moment, read_moment, read_seconds
from metadata_server.errors import BadRequest, ConfigError, Conflict
from metadata_server.server import Server, running

from ..conftest import Serve
from .commands import linklocal
from .plane import TOKEN, plane
from .test_workers import ask, control

CLOCK = "/linklocal/v1/clock"
INSTANCE: dict[str, Any] = {"id": "one", "agency": {"name": "a"}}
TIME = 1_685_610_900.0
HASH = "$6$saltsalt$" + "a" * 86


def stepped(server: Server, **body: object) -> Any:
    return json.loads(control(server, "POST", CLOCK, body))


def test_tokens_credentials_and_resets_follow_a_step(serve: Serve) -> None:
    server = serve(INSTANCE, clock="stepped")
    leaf, key = "/latest/meta-data/hostname", "/openstack/latest/securitykey"
    resets = "/linklocal/v1/instances/one/reset-password"
    token = ask(server, "/latest/api/token", "PUT", "X-aws-ec2-metadata-token-ttl-seconds: 60").text
    shown = f"X-aws-ec2-metadata-token: {token}"
    pair = ask(server, key).body
    control(server, "POST", resets, {"hash": HASH})

    stepped(server, step=59)
    assert ask(server, leaf, "GET", shown).status == 200
    stepped(server, step="1s")
    assert ask(server, leaf, "GET", shown).status == 401
    before = stepped(server, step="1h")
    assert ask(server, key).body != pair
    stepped(server, step="7d")
    (reset,) = json.loads(control(server, "GET", resets))["requests"]
    assert reset["state"] == "expired"
    after = stepped(server, to=before["seconds"] + 9e6)
    assert after["seconds"] == before["seconds"] + 9e6


async def test_what_is_due_is_done_in_order_at_its_time_and_once() -> None:
    clock = Clock(TIME)
    done: list[tuple[str, float]] = []

    async def again() -> None:
        done.append(("again", clock()))
        clock.at(clock() + 10, note("after"))

    def note(name: str) -> Any:
        async def noted() -> None:
            done.append((name, clock()))

        return noted

    clock.at(TIME + 20, note("late"))
    clock.at(TIME + 5, again)
    clock.at(TIME + 20, note("later"))
    clock.at(TIME + 12, note("never")).cancel()
    clock.watch(note("moved"))
    assert await clock.step(16) == TIME + 16
    await clock.set(TIME + 100)

    assert [(name, when - TIME) for name, when in done] == [
        ("again", 5),
        ("after", 15),
        ("moved", 16),
        ("late", 20),
        ("later", 20),
        ("moved", 100),
    ]
    with pytest.raises(BadRequest):
        await clock.set(TIME)
    with pytest.raises(Conflict):
        await Clock().step(1)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "either 'step' or 'to'"),
        ({"step": 1, "to": TIME + 9}, "either 'step' or 'to'"),
        ({"step": -1}, "step: expected seconds"),
        ({"step": "soon"}, "step: expected seconds"),
        ({"to": "2023-06-01T09:15:00"}, "to: expected a time with its zone"),
        ({"to": TIME - 1}, "expected a time from now on"),
        ({"stop": 1}, "unknown key 'stop'"),
    ],
)
async def test_a_move_that_cannot_be_is_refused(
    body: dict[str, object], detail: str, tmp_path: Path
) -> None:
    async with plane(tmp_path, [], clock=Clock(TIME)) as control_plane:
        status, document, _ = await control_plane.call("POST", CLOCK, body)
        _, shown, _ = await control_plane.call("GET", CLOCK)

    assert status == 400
    assert detail in document["detail"]
    assert shown == {"now": "2023-06-01T09:15:00Z", "seconds": TIME, "stepped": True}


async def test_the_machines_clock_is_not_moved(tmp_path: Path) -> None:
    async with plane(tmp_path, []) as control_plane:
        status, document, _ = await control_plane.call("POST", CLOCK, {"step": 1})

    assert (status, "clock: stepped" in document["detail"]) == (409, True)


async def test_the_command_shows_and_moves(tmp_path: Path) -> None:
    async with plane(tmp_path, [], clock=Clock(TIME)) as control_plane:
        token = tmp_path / "token"
        token.touch(0o600)
        token.write_text(TOKEN)
        at = {"LINKLOCAL_URL": control_plane.url, "LINKLOCAL_TOKEN_FILE": str(token)}
        moved = await linklocal("clock", "--step", "1h30m", "--json", environ=at)
        shown = await linklocal("clock", "--to", "2023-06-01T11:00:00.25Z", environ=at)

    assert moved.document["seconds"] == TIME + 5400
    assert "2023-06-01T11:00:00.250Z" in shown.out


async def test_workers_cannot_share_a_stepped_clock(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text("workers: 2\nclock: stepped\n")

    with pytest.raises(ConfigError, match=":2: clock: expected real with more than one"):
        load(path)
    path.write_text("workers: 2\n")
    with pytest.raises(ConfigError, match="workers: expected 1 with a stepped clock"):
        async with running(load(path), clock=Clock(TIME)):
            pass


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("0", 0), ("90", 90), ("0.25", 0.25), ("90s", 90), ("1.5s", 1.5), ("250ms", 0.25)),
        *(("5m", 300), ("1h30m", 5400), ("1d", 86400), ("1m30s", 90), ("1m5ms", 60.005)),
        *((word, None) for word in ("", "m", "-1", "5 m", "30m1h", "1e3", "inf", "9999d", "٣")),
    ],
)
def test_lengths_of_time(text: str, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(ValueError, match="length of time"):
            read_seconds(text)
    else:
        assert read_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-06-01T09:15:00Z", TIME),
        ("2023-06-01T11:15:00+02:00", TIME),
        ("1685610900", TIME),
        ("1685610900.5", TIME + 0.5),
        *((word, None) for word in ("2023-06-01T09:15:00", "now", "", "-1", "9" * 13)),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(ValueError, match=r"zone|isoformat|month"):
            read_moment(text)
    else:
        assert read_moment(text) == seconds
        assert read_moment(moment(seconds)) == seconds
    assert moment(LATEST) == "9999-12-31T23:59:59Z"
