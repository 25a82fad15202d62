"""A reset engine on a real socket with a clock of its own, and a guest that speaks the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from agent.reset_password import protocol
from agent.secret import Secret as GuestSecret
from metadata_server.catalog import Catalog
from metadata_server.instance import Identify, Instance, ResetPassword
from metadata_server.reset.engine import SCHEMA, ResetEngine
from metadata_server.secret import Secret
from metadata_server.store import Store

ID = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
HASH = Secret(b"$6$linklocalsalt01$" + b"Aa./" * 21 + b"zz")
OTHER_HASH = Secret(b"$6$linklocalsalt02$" + b"Bb./" * 21 + b"zz")
SCHEMES = ("sha512", "sha256")
PREFIX = "/linklocal/v1/reset-password/"


def instance(**changes: Any) -> Instance:
    settings = {"proof": "none", **changes.pop("reset_password", {})}
    return replace(
        Instance(id=ID, name="ecs", hostname="ecs.novalocal", project_id="p"),
        identify=changes.pop("identify", Identify(default=True)),
        reset_password=ResetPassword(**settings),
        **changes,
    )


class Clock:
    """Wall-clock time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Reply(NamedTuple):
    status: int
    body: dict[str, Any]


class Bench:
    """One engine; `restart` is a new process on the same state, as far as a test can tell."""

    def __init__(self, directory: Path, one: Instance) -> None:
        self.directory = directory
        self.clock = Clock()
        self.instance = one
        self.start()

    def start(self) -> None:
        self.store = Store(self.directory, [SCHEMA])
        self.engine = ResetEngine(
            self.store, self.directory, Catalog([self.instance]), clock=self.clock
        )

    def restart(self) -> None:
        self.engine.drain()
        self.store.close()
        self.start()

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self.engine.handle(request, self.instance, request.path.removeprefix(PREFIX))


class Guest:
    """Speaks the protocol by the guest's own half, one connection for each exchange."""

    def __init__(self, port: int, *, address: str = "127.0.0.1", seed: int = 1) -> None:
        self.port = port
        self.address = address
        self.identity = protocol.Identity(GuestSecret(bytes([seed]) * 32))
        self.reboot(seed)
        self.headers: dict[str, str] = {}
        self.source_port = 0

    @property
    def fingerprint(self) -> str:
        return protocol.fingerprint(self.identity.public)

    def reboot(self, seed: int) -> None:
        self.boot = protocol.Boot(bytes([seed]) * 16, GuestSecret(bytes([seed + 100]) * 32))
        self.link: protocol.Link | None = None

    def linked(self) -> protocol.Link:
        assert self.link is not None
        return self.link

    async def send(self, method: str, path: str, message: object = None) -> Reply:
        body = b"" if message is None else json.dumps(message).encode()
        return await self.send_bytes(method, path, body)

    async def send_bytes(self, method: str, path: str, body: bytes) -> Reply:
        link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        link.setblocking(False)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        link.bind((self.address, self.source_port))
        # Bound to an address that is not loopback's, it reaches the server by that one.
        server = "127.0.0.1" if self.address.startswith("127.") else self.address
        await asyncio.get_running_loop().sock_connect(link, (server, self.port))
        reader, writer = await asyncio.open_connection(sock=link)
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        try:
            # To the end: an answer below this path closes its connection.
            raw = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
        head, _, rest = raw.partition(b"\r\n\r\n")
        return Reply(int(head.split()[1]), json.loads(rest) if rest else {})

    async def challenge(self) -> protocol.Challenge:
        reply = await self.send("POST", PREFIX + "challenge", {"v": 1})
        assert reply.status == 200, reply
        return protocol.read_challenge(json.dumps(reply.body).encode())

    def enrolment(self, challenge: protocol.Challenge, **changes: Any) -> Mapping[str, Any]:
        """Return the message `key`; *changes* are made after it was signed."""
        message = protocol.enrol(self.identity, ID, self.boot, challenge, SCHEMES)
        return {**message, **changes}

    async def enrol(self) -> Reply:
        challenge = await self.challenge()
        reply = await self.send("PUT", PREFIX + "key", self.enrolment(challenge))
        if reply.status == 200:
            self.link = protocol.Link(ID, self.boot, challenge.server)
        return reply

    async def poll(self, wait: int = 0, nonce: bytes | None = None) -> Reply:
        self.nonce = nonce or os.urandom(16)
        return await self.send("GET", self.linked().poll(self.nonce, wait))

    def open(self, reply: Reply) -> protocol.Order:
        envelope = protocol.read_envelope(json.dumps(reply.body).encode())
        return self.linked().open(envelope, self.nonce)

    async def fetch(self, wait: int = 0) -> protocol.Order | None:
        reply = await self.poll(wait)
        if reply.status == 204:
            return None
        assert reply.status == 200, reply
        return self.open(reply)

    async def tell(self, request_id: str, result: str = "applied", code: str = "") -> Reply:
        message = self.linked().result(request_id, result, code)
        return await self.send("POST", PREFIX + "result", message)

    def recorded(self, reply: Reply, request_id: str) -> protocol.Recorded:
        return self.linked().read_recorded(json.dumps(reply.body).encode(), request_id)


@asynccontextmanager
async def bench(
    directory: Path, one: Instance | None = None, *, listen: str = "127.0.0.1"
) -> AsyncIterator[tuple[Bench, int]]:
    """Serve one engine inside the block; give it and its port."""
    table = Bench(directory, one or instance())
    runner = web.ServerRunner(web.Server(table.serve))
    await runner.setup()
    site = web.TCPSite(runner, listen, 0)
    await site.start()
    try:
        yield table, runner.addresses[0][1]
    finally:
        table.engine.drain()
        await runner.cleanup()
        table.store.close()
