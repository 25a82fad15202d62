"""Many guests in long polls on one server, one reset each: python -m tests.test_reset_crowd 10000.

Guests are coroutines that speak the protocol by the guest's own half, each from an address of its
own on the loopback. Hashes are given, so that hashing is not what is measured.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from agent.reset_password import PREFIX, protocol
from agent.secret import Secret

from .canary.search import Canary, leaks, traces_below

REPOSITORY = Path(__file__).parents[1]
HASH = "$6$linklocalsalt01$" + "Aa./" * 21 + "zz"
TOKEN = "operator-token-of-the-crowd-0123456789"
AT_ONCE = 64
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for low source ports")


class Figures(NamedTuple):
    guests: int
    applied: int
    enrolled_in: float
    """Seconds for all."""
    asked_in: float
    wakes: tuple[float, ...]
    """Seconds from asking to the open envelope in the guest, of each guest, in order."""
    all_done_in: float
    """Seconds from the first question to the last confirmed acknowledgement."""
    server_before: float
    server_waiting: float
    """MiB with all in long polls."""

    def __str__(self) -> str:
        middle, late = (self.wakes[int(len(self.wakes) * part)] for part in (0.5, 0.99))
        each = (self.server_waiting - self.server_before) / self.guests * 1024
        return (
            f"{self.guests} guests: {self.applied} applied and acknowledged;"
            f" enrolled in {self.enrolled_in:.1f} s, asked in {self.asked_in:.1f} s,"
            f" all acknowledged {self.all_done_in:.1f} s after the first was asked;"
            f" from asking to the guest {middle * 1000:.0f} ms in the middle,"
            f" {late * 1000:.0f} ms at 99 %; server {self.server_before:.0f} MiB before,"
            f" {self.server_waiting:.0f} MiB with all polls waiting ({each:.1f} KiB a guest)"
        )


class Guest:
    def __init__(self, number: int, port: int) -> None:
        self.id = identity(number)
        self._address = address(number)
        self._port = port
        self._key = protocol.Identity(Secret(number.to_bytes(32, "big")))
        self._boot = protocol.Boot(os.urandom(16), Secret(os.urandom(32)))
        self._link: protocol.Link | None = None
        self.asked = 0.0
        self.woke = 0.0
        self.waiting = asyncio.Event()

    async def enrol(self) -> None:
        challenge = protocol.read_challenge(await self._send("POST", "challenge", {"v": 1}))
        message = protocol.enrol(self._key, self.id, self._boot, challenge, ("sha512",))
        await self._send("PUT", "key", message)
        self._link = protocol.Link(self.id, self._boot, challenge.server)

    async def serve(self) -> str:
        """Poll until a reset came, and return what the server has on record for it."""
        link = self._link
        assert link is not None
        while True:
            nonce = os.urandom(16)
            path = link.poll(nonce, 60).removeprefix(PREFIX)
            try:
                body = await self._send("GET", path, None)
            except ConnectionError:
                # As the daemon does when a poll is cut off.
                continue
            if body:
                break
        order = link.open(protocol.read_envelope(body), nonce)
        self.woke = time.monotonic()
        assert order.hash.reveal().decode() == HASH
        answer = await self._send("POST", "result", link.result(order.id, "applied", ""))
        return link.read_recorded(answer, order.id).result

    async def _send(self, method: str, path: str, message: Any) -> bytes:
        body = b"" if message is None else json.dumps(message).encode()
        reader, writer = await self._connected()
        head = f"{method} {PREFIX}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.waiting.set()
        try:
            raw = await reader.read()
        finally:
            writer.close()
        first, _, rest = raw.partition(b"\r\n\r\n")
        assert first.split(b" ", 2)[1] in (b"200", b"204"), raw
        return rest

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            source = (self._address, 512 + int.from_bytes(os.urandom(2), "big") % 512)
            try:
                return await asyncio.open_connection(
                    "127.0.0.1", self._port, local_addr=source, limit=16384
                )
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                    raise


def identity(number: int) -> str:
    return f"guest-{number:05}"


def address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


async def crowd(count: int, directory: Path) -> Figures:
    """Let *count* guests enrol, wait, and be reset."""
    tokens = directory / "tokens"
    tokens.touch(0o600)
    tokens.write_text(f"{TOKEN}\n")
    config = directory / "server.json"
    config.touch(0o600)
    ids = [
        {"id": identity(n), "identify": {"addresses": [address(n)]}} for n in range(1, count + 1)
    ]
    written = {
        "listen": ["127.0.0.1:0"],
        "control": {"listen": "127.0.0.1:0", "tokens_file": str(tokens)},
        "state": str(directory / "state"),
        "instances": ids,
    }
    config.write_text(json.dumps(written))
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "metadata_server", "--config", str(config)),
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        assert process.stdout is not None
        guest_url, control_url = [
            (await asyncio.wait_for(process.stdout.readline(), 120)).split()[-1].decode()
            for _ in range(2)
        ]
        port = int(guest_url.rstrip("/").rpartition(":")[2])
        return await _crowd(count, port, control_url.rstrip("/"), process.pid)
    finally:
        process.kill()
        await process.communicate()


async def _crowd(count: int, port: int, control: str, pid: int) -> Figures:
    guests = [Guest(number, port) for number in range(1, count + 1)]
    before = resident(pid)
    began = time.monotonic()
    turn = asyncio.Semaphore(AT_ONCE)

    async def enrol(guest: Guest) -> None:
        async with turn:
            await guest.enrol()

    await asyncio.gather(*(enrol(guest) for guest in guests))
    enrolled_in = time.monotonic() - began
    served = []
    for guest in guests:
        guest.waiting.clear()
        served.append(asyncio.create_task(guest.serve()))
        # One after another: the listener's queue is not what is measured.
        await guest.waiting.wait()
    waiting = resident(pid)
    first = time.monotonic()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def ask(guest: Guest) -> None:
            url = f"{control}/linklocal/v1/instances/{guest.id}/reset-password"
            async with turn:
                guest.asked = time.monotonic()
                async with session.post(url, json={"user": "root", "hash": HASH}) as answer:
                    assert answer.status < 300, await answer.text()

        await asyncio.gather(*(ask(guest) for guest in guests))
    asked_in = time.monotonic() - first
    results = await asyncio.wait_for(asyncio.gather(*served), 600)
    return Figures(
        guests=count,
        applied=results.count("applied"),
        enrolled_in=enrolled_in,
        asked_in=asked_in,
        wakes=tuple(sorted(guest.woke - guest.asked for guest in guests)),
        all_done_in=time.monotonic() - first,
        server_before=before,
        server_waiting=waiting,
    )


def resident(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if "VmRSS" in line) / 1024


def leaked(directory: Path) -> list[str]:
    """Return where a hash or the operator's token is, of all that the server left."""
    canaries = [Canary("hash", HASH.encode()), Canary("token", TOKEN.encode(), ("^tokens$",))]
    return leaks(canaries, traces_below(directory))


async def test_a_hundred_guests_are_reset_at_once(tmp_path: Path) -> None:
    figures = await crowd(100, tmp_path)

    assert figures.applied == 100
    assert leaked(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_ten_thousand_guests_are_reset_and_all_acknowledge(tmp_path: Path) -> None:
    figures = await crowd(10_000, tmp_path)
    print(figures)

    assert figures.applied == 10_000
    assert leaked(tmp_path) == []
    assert figures.server_waiting < 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(asyncio.run(crowd(int(sys.argv[1]), Path(made))))
