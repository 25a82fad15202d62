"""linklocal spot, event, fault, journal and token-readiness as an operator runs them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metadata_server.config import read_instances

from .commands import Ran, Served, linklocal, served, start

LEAF = "/latest/meta-data/hostname"
INSTANCES = read_instances(
    b"""
- {id: one, name: one, tags: {role: web}}
- {id: two, name: two, nics: [{ipv4: 127.0.0.2}]}
""",
    Path("two.yaml"),
)


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path, *INSTANCES) as running:
        yield running


async def rows(control: Served, *arguments: str) -> list[list[str]]:
    ran = await linklocal(*arguments, at=control)
    assert ran.status == 0, ran.err
    return [line.split() for line in ran.out.splitlines()[1:]]


async def test_events_are_announced_listed_and_called_off(control: Served) -> None:
    at = ("--at", "2100-01-01T12:00:00Z")
    await linklocal("spot", "interrupt", "--tag", "role=web", *at, "--action", "stop", at=control)
    await linklocal("event", "life-cycle", "Standby", "one", at=control)
    await linklocal("event", "rebalance", "--all", "--in", "1h", at=control)
    made = await linklocal(
        *("event", "maintenance", "two", *at, "--tell-at", "2099-12-31T00:00:00Z"),
        *("--code", "system-reboot", "--length", "30m", "--json"),
        at=control,
    )
    listed = await rows(control, "event", "list")
    spot = await linklocal("spot", "cancel", "one", at=control)
    event = made.document["events"][0]["id"]
    one = await linklocal("event", "cancel", "two", "--event", event, "--json", at=control)
    rest = await linklocal("event", "cancel", "--all", "--kind", "rebalance", at=control)

    assert [row[:3] for row in listed] == [
        ["one", "rebalance", "no"],
        ["one", "spot", "yes"],
        ["one", "life_cycle", "yes"],
        ["two", "rebalance", "no"],
        ["two", "maintenance", "no"],
    ]
    assert (spot.err, one.document, rest.err) == (
        "1 called off\n",
        {"cancelled": 1},
        "2 called off\n",
    )
    assert [row[:2] for row in await rows(control, "event", "list", "one")] == [
        ["one", "life_cycle"]
    ]


async def test_faults_are_added_met_listed_and_removed(control: Served) -> None:
    options = ("--path", LEAF, "--status", "503", "--every", "2", "--for", "1h")
    added = await linklocal("fault", "add", "one", *options, "--json", at=control)
    await linklocal("fault", "add", "two", "--truncate", "0", "--probability", "0.5", at=control)
    statuses = [(await control.guest("GET", LEAF))[0] for _ in range(4)]
    listed = await rows(control, "fault", "list")
    gone = await linklocal("fault", "remove", added.document["faults"][0]["id"], at=control)
    left = await linklocal("fault", "list", "two", "--json", at=control)
    rest = await linklocal("fault", "remove", "--all", "--json", at=control)

    assert statuses == [200, 503, 200, 503]
    assert [row[:6] for row in listed] == [
        ["fault-1", "one", "status", LEAF, "2", "4"],
        ["fault-2", "two", "truncate", "*", "0", "0"],
    ]
    assert gone.err == "1 removed\n"
    (fault,) = left.document["faults"]
    assert (fault["bytes"], fault["probability"], fault["seed"]) == (0, 0.5, 0)
    assert rest.document == {"removed": 1}


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("spot", "interrupt"), 64, "expected either ID or --tag or --all"),
        (("spot", "interrupt", "one", "--all"), 64, "expected either ID or --tag or --all"),
        (("spot", "interrupt", "three"), 1, "no such instance: 'three'"),
        (("spot", "interrupt", "one", "--in", "soon"), 1, "spot.in: expected seconds"),
        (("fault", "add", "one"), 1, "fault: expected one of delay, status"),
        (("fault", "add", "one", "--status", "99"), 1, "fault.status: expected an error status"),
        (("fault", "remove"), 64, "expected either FAULT or one of --instance, --tag, --all"),
        (("fault", "remove", "fault-9"), 1, "no such fault: 'fault-9'"),
        (("scenario", "run", "nope.yaml"), 64, "nope.yaml: No such file"),
        (("scenario", "show", "run-9"), 1, "no such scenario: 'run-9'"),
        (("token-readiness", "three"), 1, "no such instance: 'three'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_what_cannot_be_is_refused(
    arguments: tuple[str, ...], status: int, text: str, control: Served
) -> None:
    ran = await linklocal(*arguments, at=control)

    assert (ran.status, text in ran.err) == (status, True), ran.err


async def test_the_journal_is_shown_followed_exported_and_judged(control: Served) -> None:
    await control.guest("GET", LEAF)
    pipe = asyncio.subprocess.PIPE
    follower = await start(
        *("journal", "one", "--follow", "--kind", "request", "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        at=control,
        stderr=pipe,
    )
    assert follower.stdout is not None
    seen = [json.loads(await follower.stdout.readline())]
    await control.guest("GET", "/latest/nope")
    seen.append(json.loads(await follower.stdout.readline()))
    follower.terminate()
    await follower.communicate()
    export = await linklocal("journal", "--export", "--status", "404", at=control)
    shown = await linklocal("journal", "--last", "1", at=control)
    verdict: Ran = await linklocal("token-readiness", at=control)
    await linklocal("journal", "--clear", at=control)
    after = await linklocal("journal", "--json", at=control)

    assert [(each["path"], each["status"]) for each in seen] == [(LEAF, 200), ("/latest/nope", 404)]
    assert [json.loads(line)["path"] for line in export.out.splitlines()] == ["/latest/nope"]
    assert shown.out.split()[1:7] == ["one", "127.0.0.1", "GET", "/latest/nope", "404", "no"]
    assert verdict.status == 1
    assert [line.split()[:2] for line in verdict.out.splitlines()[1:]] == [
        ["one", "no"],
        ["two", "nothing"],
    ]
    assert after.document["entries"] == []
