"""Whatever comes in: an answer or none, never a fault of ours, never a word of its insides."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from metadata_server import ec2, openstack
from metadata_server.config import read_instances
from metadata_server.errors import ConfigError
from metadata_server.instance import Identify, Instance
from metadata_server.notices import Interruption, Maintenance, Notices, served
from metadata_server.paths import in_order, resolve
from metadata_server.tree import Directory

from .guest_side import BARE, FULL, GuestSide, listening
from .plane import plane

SOME = 400
"""Cases in the fast tier."""
ALL = 12_000
SEED = 20261123

TARGETS = (
    *("/", "/latest/", "/latest/meta-data/instance-id", "/latest/user-data", "/openstack/latest/"),
    *("/openstack/latest/meta_data.json", "/openstack/latest/password", "/openstack/content/0000"),
    *("/latest/api/token", "/meta-data/latest/api/token", "/openstack/latest/securitykey"),
    *("/latest/dynamic/instance-identity/pkcs7", "/linklocal/v1/reset-password/request"),
)
METHODS = ("GET", "GET", "GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "TRACE", "get", "")
HEADERS = (
    *("Host: 169.254.169.254", "Host: evil.test", "Host: [::1", "Host:", "Accept: a/b;q=9"),
    *("Accept: application/json", "X-aws-ec2-metadata-token: " + "0" * 56, "Expect: 100-continue"),
    *("X-aws-ec2-metadata-token-ttl-seconds: 60", "X-aws-ec2-metadata-token-ttl-seconds: 1e9"),
    *("X-Forwarded-For: 1.2.3.4", "X-Instance-ID: x", "X-Metadata-Provider: x", "no colon"),
    *("Content-Length: 3", "Content-Length: -1", "Content-Length: 99", "Cookie: \x00", " folded"),
    *("Transfer-Encoding: gzip", "Transfer-Encoding: chunked", "Connection: upgrade", ": empty"),
    *("Upgrade: websocket", "Range: bytes=0-1", "Content-Encoding: gzip", "A" * 300 + ": b"),
    "X-Metadata-Token: \xff",
)


def chances(number: int = 0) -> random.Random:
    """Return what makes the same cases each time."""
    return random.Random(SEED + number)  # noqa: S311  # chance, not secrecy


def garbled(chance: random.Random, data: bytes) -> bytes:
    """Return *data* with some of it changed, cut, doubled or put elsewhere."""
    found = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(found) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            found[at : at + 1] = chance.randbytes(1)
        elif kind == 1:
            del found[at : at + chance.randrange(1, 9)]
        elif kind == 2:
            found[at:at] = chance.choice((b"%", b"%00", b"/..", b"\r\n", b"\r", b"\0", b"\xff"))
        elif kind == 3:
            found[at:at] = found[: chance.randrange(40)]
        else:
            found[at:at] = chance.randbytes(chance.randrange(20))
    return bytes(found)


def request(chance: random.Random) -> bytes:
    target = chance.choice(TARGETS).encode()
    if chance.random() < 0.5:
        target = garbled(chance, target)
    lines = [chance.choice(HEADERS) for _ in range(chance.randrange(6))]
    head = chance.choice(METHODS).encode() + b" " + target + b" HTTP/1.1\r\nConnection: close\r\n"
    whole = head + "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"
    whole += chance.choice((b"", b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n"))
    return garbled(chance, whole) if chance.random() < 0.4 else whole


async def send(side: GuestSide, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", side.port)
    try:
        writer.write(data)
        # Nothing more comes, so nobody has to be waited for.
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def check_requests(number: int, caplog: pytest.LogCaptureFixture) -> None:
    chance = chances()
    async with listening(FULL) as side:
        for _ in range(0, number, 40):
            cases = [request(chance) for _ in range(40)]
            answers = await asyncio.gather(*(send(side, case) for case in cases))
            for case, answer in zip(cases, answers):
                assert not answer or answer.startswith(b"HTTP/1."), (case, answer[:200])
                assert not answer or answer.split(b" ")[1][:1] in (b"1", b"2", b"4"), (case, answer)
                assert b"Traceback" not in answer, case
        assert (await side.ask("/latest/meta-data/instance-id")).status == 200
        assert side.logged == []
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_requests(caplog: pytest.LogCaptureFixture) -> None:
    await check_requests(SOME, caplog)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_lot_of_requests(caplog: pytest.LogCaptureFixture) -> None:
    await check_requests(ALL, caplog)


DOCUMENT = """\
id: vm1
name: ecs[66,3]abc
hostname: ecs.novalocal
flavor: s3
image: {id: 3a64bd37, name: "CentOS"}
os_type: Linux
meta: {charging_mode: "0"}
keys: [{name: mykey, public_key: "ssh-rsa AAAA me"}]
user_data: "#cloud-config"
nics:
  - {mac: "fa:16:3e:f7:c1:47", ipv4: 192.168.1.10, prefix: 24, mtu: 1500, dhcp: true}
tags: {Name: ecs}
metadata_options: {http_tokens: optional, hop_limit: 1}
identify: {addresses: [192.168.1.10]}
"""


def check_documents(number: int) -> None:
    chance = chances()
    for _ in range(number):
        text = garbled(chance, DOCUMENT.encode())
        with contextlib.suppress(ConfigError):  # And nothing else.
            read_instances(text, Path("vm.yaml"))


def test_documents() -> None:
    check_documents(SOME)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_lot_of_documents() -> None:
    check_documents(ALL)


VALUES: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    1 << 70,
    1.5,
    "",
    "x",
    "\ud800",
    "1.2.3.4",
    [],
    [[]],
    {},
    {"a": None},
)


def document(chance: random.Random, depth: int = 0) -> object:
    """Return a JSON document made of the keys of instances and of anything."""
    keys = ("id", "name", "hostname", "nics", "mac", "ipv4", "keys", "tags", "meta", "user_data")
    more = ("image", "identify", "addresses", "metadata_options", "extra", "files", "agency", "x")
    if depth > 3 or chance.random() < 0.4:
        return chance.choice(VALUES)
    if chance.random() < 0.3:
        return [document(chance, depth + 1) for _ in range(chance.randrange(3))]
    return {
        chance.choice(keys + more): document(chance, depth + 1) for _ in range(chance.randrange(5))
    }


async def check_json(number: int, directory: Path) -> None:
    chance = chances()
    async with plane(directory, [FULL]) as control:
        for case in range(number):
            body = json.dumps(document(chance)).encode()
            body = garbled(chance, body) if chance.random() < 0.3 else body
            one = f"/linklocal/v1/instances/{FULL.id}"
            method, path = chance.choice((("POST", "/linklocal/v1/instances"), ("PATCH", one)))
            headers = {
                "Authorization": "Bearer correct-horse-battery-staple",
                "Content-Type": "application/json",
            }
            status, answer, _ = await control.call(method, path, headers=headers, data=body)
            assert status < 500, (case, method, body, answer)


async def test_json(tmp_path: Path) -> None:
    await check_json(100, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_lot_of_json(tmp_path: Path) -> None:
    await check_json(2_000, tmp_path)


# What is listed is what there is, for whatever instance and version


def generated(chance: random.Random, number: int) -> Instance:
    """Return an instance that has some of what instances may have, and notices of some kinds."""
    names = ("keys", "security_groups", "user_data", "vendor_data", "nics", "tags", "agency")
    more = ("extra", "files", "block_devices", "ec2_ids", "spot", "image", "vpc_id", "dns", "qos")
    some = {name: getattr(FULL, name) for name in names + more if chance.random() < 0.5}
    nics = some.get("nics", ())
    if len(nics) and chance.random() < 0.5:
        some["nics"] = nics[: chance.randrange(1, 3)]
    instance = replace(BARE, id=f"instance-{number}", identify=Identify(), **some)
    event = Maintenance("e", "system-reboot", 1, state=chance.choice(("active", "completed")))
    notices = Notices(
        Interruption(2_000_000_000) if chance.random() < 0.5 else None,
        1 if chance.random() < 0.5 else None,
        (event,) if chance.random() < 0.5 else (),
        "InService" if chance.random() < 0.5 else None,
    )
    return served(instance, notices, 1)


def leaves(instance: Instance, names: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Return all paths that listings lead to from *names*, each of which must be there."""
    node = resolve(instance, names)
    assert node is not None, names
    if not isinstance(node, Directory):
        return {names}
    found = set()
    for name, child in node.children.items():
        below = leaves(instance, (*names, name))
        assert isinstance(child, Directory) or below == {(*names, name)}
        found |= {path[len(names) :] for path in below}
    assert node.children or in_order(names)
    return {(*names, *path) for path in found}


@pytest.mark.parametrize("number", range(100))
def test_listed_and_served_are_the_same_for_every_version(number: int) -> None:
    instance = generated(chances(number), number)
    for above, shapes in (((), ec2.SHAPES), (("openstack",), openstack.SHAPES)):
        skip = len(above) + 1
        listed = {
            version: {path[skip:] for path in leaves(instance, (*above, version))}
            for version in shapes
            if resolve(instance, (*above, version)) is not None
        }
        every = set().union(*listed.values())
        for version, here in listed.items():
            for path in every - here:
                node = resolve(instance, (*above, version, *path))
                assert node is None or isinstance(node, Directory), (version, path)
