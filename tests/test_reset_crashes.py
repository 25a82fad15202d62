"""Resets that are interrupted: kill -9 at every named point of the daemon and around every message.

Whatever was killed, and whenever: the password is set once, the acknowledgement comes once, and
what somebody changed afterwards is not undone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.reset_password.steps import POINTS, STEPS, Step
from metadata_server.reset.hashing import hash_password
from metadata_server.secret import Secret

from .canary.search import Canary, Trace, leaks, traces_below
from .test_reset_end_to_end import REPOSITORY, Machine, ServerProcess, Start, ask, ended
from .test_reset_end_to_end import machine as machine
from .test_reset_end_to_end import pytestmark as pytestmark
from .test_reset_end_to_end import server as server

OWN = "$6$chosenafterwards$" + "o" * 86


@contextlib.asynccontextmanager
async def dying(
    machine: Machine, url: str, point: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.dying_daemon", str(machine.root), url, point),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("point", POINTS)
async def test_a_daemon_killed_at_any_point_ends_the_reset_when_it_comes_back(
    machine: Machine, server: Start, point: str
) -> None:
    async with server() as at:
        asked, made = await ask(at)
        async with dying(machine, at.guest_url, point) as process:
            status = await asyncio.wait_for(process.wait(), 30)
        early = machine.shadow["root"][0]
        async with machine.daemon(at.guest_url):
            done = await ended(at, asked)
            await settled(machine)
            # Changed by its owner: no later delivery or restart may undo that.
            choose_own(machine)
        async with machine.daemon(at.guest_url):
            pass
        recorded = at.engine.counts["applied"]

    assert leaked(machine, made.reveal()) == []
    assert status == -signal.SIGKILL, "the point was never reached"
    assert (done.state, done.code) == ("applied", "")
    assert recorded == 1
    assert machine.shadow["root"][0] == OWN
    assert early in ("*", made.reveal().decode())


@pytest.mark.parametrize("point", [name for name in POINTS if name in ("set", "checked", "kept")])
async def test_killed_after_the_deed_and_changed_by_its_owner_it_is_not_undone(
    machine: Machine, server: Start, point: str
) -> None:
    async with server() as at:
        asked, _ = await ask(at)
        async with dying(machine, at.guest_url, point) as process:
            await asyncio.wait_for(process.wait(), 30)
        choose_own(machine)
        async with machine.daemon(at.guest_url):
            done = await ended(at, asked)

    # Only what was on the disk can be known: without a result it looks like a change before it.
    assert (done.state, done.code) == (
        ("applied", "") if point == "kept" else ("rejected", "changed-since")
    )
    assert machine.shadow["root"][0] == OWN


@pytest.mark.parametrize("point", ["kept", "told"])
async def test_a_restart_that_was_asked_for_is_not_lost_before_it_is_acknowledged(
    machine: Machine, server: Start, point: str
) -> None:
    mark = machine.root / "restarted"
    machine.configure({"reset_password": {"restart_command": ["touch", str(mark)]}})
    async with server() as at:
        asked, _ = await ask(at, restart=True)
        async with dying(machine, at.guest_url, point) as process:
            await asyncio.wait_for(process.wait(), 30)
        before = mark.exists()
        async with machine.daemon(at.guest_url):
            await ended(at, asked)
            await until(mark.exists)

    assert not before


def leaked(machine: Machine, *hashes: bytes) -> list[str]:
    """Return where hashes and keys are that may not be there, of all that guest and server left."""
    directory = machine.root.parent
    canaries = [Canary(f"hash {n}", each, (r"/etc/shadow-?$",)) for n, each in enumerate(hashes)]
    for name, key in (("identity.json", "identity"), ("resetd-boot.json", "key")):
        (path,) = directory.rglob(name)
        secret = bytes.fromhex(json.loads(path.read_bytes())[key])
        canaries.append(Canary(name, secret, (rf"/{name}$",)))
    for path in directory.rglob("*.key"):
        canaries.append(Canary(path.name, path.read_bytes(), (rf"/{path.name}$",)))
    assert len(canaries) >= len(hashes) + 4
    return leaks(canaries, [*traces_below(directory), Trace("the daemons' log", machine.log)])


def choose_own(machine: Machine) -> None:
    path = machine.root / "etc/shadow"
    lines = path.read_text().splitlines(keepends=True)
    fields = lines[0].split(":")
    path.write_text("".join([":".join(["root", OWN, *fields[2:]]), *lines[1:]]))


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


async def settled(machine: Machine) -> None:
    await until(lambda: all(entry["acknowledged"] for entry in entries(machine)))


def entries(machine: Machine) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = json.loads((machine.state / "resets.json").read_text())["resets"]
    return kept


# The server's side: around each message


class Wire:
    """Between guest and server: it ends the server before or after the message it was told."""

    def __init__(self, server: ServerProcess, message: str, when: str) -> None:
        self._server = server
        self._message = message.encode()
        self._when = when
        self._listener: asyncio.Server | None = None
        self.killed = asyncio.Event()

    async def __aenter__(self) -> Wire:
        self._listener = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()

    @property
    def url(self) -> str:
        assert self._listener is not None
        return f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._exchange(reader, writer)
        except OSError:
            # The server is down: so is the guest's connection.
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.read(65536)
        is_it = self._message in head.partition(b"\r\n")[0] and not self.killed.is_set()
        if is_it and self._when == "before":
            await self._end()
            return
        host, _, port = self._server.guest_url.removeprefix("http://").rstrip("/").partition(":")
        upstream, sink = await from_low_port(host, int(port))
        try:
            sink.write(head)
            answer = await upstream.read()
            if is_it and answer.split(b" ", 2)[1] == b"200":
                # The server has done its part and the guest never hears of it.
                await self._end()
                return
            writer.write(answer)
            await writer.drain()
        finally:
            sink.close()

    async def _end(self) -> None:
        await self._server.kill()
        self.killed.set()


async def from_low_port(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as root's daemon does: the wire is to be no proxy."""
    while True:
        source = ("127.0.0.1", 512 + int.from_bytes(os.urandom(2), "big") % 512)
        try:
            return await asyncio.open_connection(host, port, local_addr=source)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise


MESSAGES = {
    "challenge": "POST /linklocal/v1/reset-password/challenge",
    "key": "PUT /linklocal/v1/reset-password/key",
    "request": "GET /linklocal/v1/reset-password/request",
    "result": "POST /linklocal/v1/reset-password/result",
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("message", MESSAGES)
async def test_a_server_killed_around_any_message_ends_the_reset_when_it_comes_back(
    machine: Machine, tmp_path: Path, message: str, when: str
) -> None:
    server = ServerProcess(tmp_path)
    made = (await hash_password(Secret(b"one"), rounds=1000)).reveal().decode()
    await server.start()
    try:
        asked = await server.call("POST", "", {"user": "root", "hash": made})
        async with (
            Wire(server, MESSAGES[message], when) as wire,
            machine.daemon(wire.url, wait_ready=False),
        ):
            await asyncio.wait_for(wire.killed.wait(), 30)
            await server.start()
            asked = await server.call("GET", f"/{asked['id']}?wait=30")
            await settled(machine)
            choose_own(machine)
        async with machine.daemon(server.guest_url):
            pass
        again = await server.call("GET", f"/{asked['id']}")
    finally:
        await server.kill()

    assert leaked(machine, made.encode()) == []
    assert (asked["state"], asked["code"]) == ("applied", None)
    assert again["finished"] == asked["finished"]
    assert machine.shadow["root"][0] == OWN
    assert [entry["result"] for entry in entries(machine)] == ["applied"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_hundred_random_crashes_undo_nothing(machine: Machine, tmp_path: Path) -> None:
    seed = int(os.environ.get("LINKLOCAL_SEED", int.from_bytes(os.urandom(4), "big")))
    print(f"LINKLOCAL_SEED={seed}")
    dice = random.Random(seed)  # noqa: S311  # moments, not secrets
    server = ServerProcess(tmp_path)
    hashes = [f"$6$linklocal{n:03}$" + "a" * 86 for n in range(100)]
    ids = []
    await server.start()
    try:
        for number, given in enumerate(hashes):
            asked = await server.call("POST", "", {"user": "root", "hash": given})
            ids.append(asked["id"])
            async with machine.daemon(server.guest_url, wait_ready=False):
                await asyncio.sleep(dice.uniform(0, 0.8))
                if dice.random() < 0.5:
                    await server.kill()
                    await server.start()
                else:
                    await machine.stop(signal.SIGKILL)
            async with machine.daemon(server.guest_url, wait_ready=False):
                done = await server.call("GET", f"/{asked['id']}?wait=60")
                await settled(machine)
            what = f"crash {number}, seed {seed}"
            assert (done["state"], done["code"]) == ("applied", None), what
            assert machine.shadow["root"][0] == given, what
        told = [entry["id"] for entry in entries(machine)]
    finally:
        await server.kill()

    assert leaked(machine, *(given.encode() for given in hashes)) == []
    # Each was begun once, in the order it was asked.
    assert told == ids


def test_every_point_and_step_has_its_place_in_the_documentation() -> None:
    page = (REPOSITORY / "docs/reset-protocol.md").read_text()

    for point, words in POINTS.items():
        assert f"| `{point}` | {words} | " in page
    for name, step in STEPS.items():
        refused = "; ".join(
            [*_statuses(step), ("else " if step.when else "") + step.refused],
        )
        assert f"| {name} | {step.does} | {step.then} | {refused} |" in page


def _statuses(step: Step) -> list[str]:
    places: dict[str, list[str]] = {}
    for status, where in step.when:
        places.setdefault(where, []).append(str(status))
    return [f"{', '.join(statuses)}: {where}" for where, statuses in places.items()]
