"""The guests' listener on a free port, and a client that sends exactly the bytes it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from metadata_server import events, mailbox
from metadata_server.catalog import Catalog
from metadata_server.events import Events
from metadata_server.guests import Guests
from metadata_server.identify import Proxy
from metadata_server.instance import (
    Agency,
    Identify,
    Image,
    InjectedFile,
    Instance,
    Key,
    MetadataOptions,
    Nic,
    Qos,
    Spot,
)
from metadata_server.secret import Secret
from metadata_server.store import Store
from metadata_server.tokens import Tokens

DATA = Path(__file__).parents[1] / "data" / "metadata"

LOOPBACK = IPv4Address("127.0.0.1")

BARE = Instance(
    id="72a270de-665a-4f46-8d64-24ad6edccdd1",
    name="bare",
    hostname="bare.novalocal",
    project_id="0" * 32,
    identify=Identify(addresses=(LOOPBACK,)),
)

FULL = Instance(
    id="ca9e8b7c-f2be-4b6d-a639-f10b4d994d04",
    name="ecs-ddd4",
    hostname="ecs-ddd4.novalocal",
    project_id="6e8b0c94265645f39c5abbe63c4113c6",
    region="cn-north-4",
    availability_zone="cn-north-4a",
    image=Image("3a64bd37-955e-40cd-ab9e-129db56bc05d", "CentOS 7.6 64bit"),
    vpc_id="3b6c201f-aeb3-4bce-b841-64756e66cb49",
    meta={"os_bit": "64"},
    keys=(Key("mykey", "ssh-rsa AAAA me"), Key("a second one", "ssh-ed25519 AAAA me")),
    security_groups=("default", "web"),
    user_data=Secret(b"#!/bin/sh\n\xff\x00"),
    vendor_data={"cloud-init": "#cloud-config\n"},
    vendor_data2={"dynamic": {"a": 1}},
    nics=(
        Nic(
            mac="fa:16:3e:f7:c1:47",
            id="tap68a9272d-71",
            vif_id="68a9272d-7152-4ae7-a138-3ef53af669e7",
            network_id="67dc10ce-441f-4592-9a80-cc709f6436e7",
            ipv4=IPv4Address("192.168.1.10"),
            gateway=IPv4Address("192.168.1.1"),
            public_ipv4=IPv4Address("100.100.1.2"),
            ipv6=IPv6Address("fd00::10"),
        ),
        Nic(
            mac="fa:16:3e:f7:c1:48",
            id="tap78a9272d-71",
            vif_id="78a9272d-7152-4ae7-a138-3ef53af669e7",
            network_id="77dc10ce-441f-4592-9a80-cc709f6436e7",
            ipv4=IPv4Address("192.168.2.10"),
            dhcp=False,
        ),
    ),
    dns=(IPv4Address("100.125.21.250"),),
    qos=Qos(100, 500),
    tags={"Name": "ecs-ddd4", "owner@team": "me", "not/a/name": "never in a path"},
    agency=Agency("my-agency"),
    identify=Identify(addresses=(LOOPBACK,)),
    extra={"latest/meta-data/rack": "r12", "openstack/latest/site": "s1", "site/room": "7"},
    files=(InjectedFile("/etc/motd", Secret(b"Welcome\n")),),
    block_devices={"ebs0": "/dev/vdb"},
    ec2_ids={"kernel-id": "aki-1"},
    spot=Spot(),
)


def with_options(instance: Instance, **options: Any) -> Instance:
    return replace(instance, metadata_options=MetadataOptions(**options))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    """By names in lower case."""
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class GuestSide:
    """A running listener, the catalog behind it, and how to talk to it."""

    port: int
    catalog: Catalog
    store: Store
    tokens: Tokens
    events: Events
    logged: list[dict[str, Any]]
    """What the event loop was told of errors."""

    async def raw(self, request: bytes) -> bytes:
        """Send *request* over a connection of its own and return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()

    async def ask(
        self,
        path: str,
        method: str = "GET",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        host: str | None = "169.254.169.254",
    ) -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "Connection: close"]
        lines += [f"Host: {host}"] if host is not None else []
        lines += [f"{name}: {value}" for name, value in headers]
        lines += [f"Content-Length: {len(body)}"] if body else []
        head = "\r\n".join(lines) + "\r\n\r\n"
        return parse(await self.raw(head.encode("latin-1") + body))

    async def token(self, ttl: int = 60) -> str:
        answer = await self.ask(
            "/latest/api/token", "PUT", [("X-aws-ec2-metadata-token-ttl-seconds", str(ttl))]
        )
        assert answer.status == 200
        return answer.text


def parse(raw: bytes) -> Answer:
    head, end, body = raw.partition(b"\r\n\r\n")
    assert end, f"not an answer: {raw[:200]!r}"
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return Answer(int(status.split()[1]), headers, body)


@asynccontextmanager
async def listening(
    *instances: Instance,
    now: Callable[[], float] = time.time,
    interface: str | None = None,
    **options: Any,
) -> AsyncIterator[GuestSide]:
    """Serve *instances* at a free port of 127.0.0.1 inside the block."""
    logged: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: logged.append(context))
    store = Store(None, [mailbox.SCHEMA, events.SCHEMA])
    catalog = Catalog(instances)
    tokens = Tokens(store.key("session-tokens"), now=now)
    notices = Events(store, now=now)
    guests = Guests(catalog, tokens, store, None, notices, **options, now=now)
    server = guests.server(interface)
    listener = await loop.create_server(server, "127.0.0.1", 0)
    try:
        port = listener.sockets[0].getsockname()[1]
        yield GuestSide(port, catalog, store, tokens, notices, logged)
    finally:
        listener.close()
        await server.shutdown(1)
        store.close()


def proxy(*trusted: str, secret: bytes = b"shared") -> Proxy:
    return Proxy(Secret(secret), frozenset(trusted))
