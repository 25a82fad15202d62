"""Clients that know nothing of us get what they want, with the settings that their users have."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from metadata_server.instance import Instance

from ..conftest import Serve
from .guest_side import FULL, listening, with_options
from .private_network import ADDRESS

CHECKOUT = Path(__file__).parents[2]


async def run(command: list[str], home: Path, **environment: str) -> bytes:
    """Return what *command* prints, run as a new user would, with nothing configured."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out


async def client(name: str, home: Path, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.metadata_server.clients", name]
    found: dict[str, Any] = json.loads(await run(command, home, **environment))
    return found


@asynccontextmanager
async def forwarding() -> AsyncIterator[str]:
    """An HTTP proxy that says for whom it asks, as the usual ones do."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, rest = head.split(b"\r\n", 1)
        method, target, version = first.split(b" ")
        authority, path = target.removeprefix(b"http://").split(b"/", 1)
        host, port = authority.decode().split(":")
        from_there, to_there = await asyncio.open_connection(host, int(port))
        added = b"X-Forwarded-For: 127.0.0.1\r\nConnection: close\r\n"
        to_there.write(method + b" /" + path + b" " + version + b"\r\n" + added + rest)
        writer.write(await from_there.read())
        await writer.drain()
        writer.close()
        to_there.close()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
V2_ONLY = {"AWS_EC2_METADATA_V1_DISABLED": "true"}

REQUIRED = with_options(FULL, http_tokens="required")


@pytest.mark.parametrize(
    ("instance", "environment"),
    [(FULL, {}), (FULL, V2_ONLY), (REQUIRED, {}), (REQUIRED, V2_ONLY)],
    ids=["optional", "optional, v2 only", "required", "required, v2 only"],
)
async def test_botocore_gets_credentials_and_region(
    instance: Instance, environment: Mapping[str, str], tmp_path: Path
) -> None:
    async with listening(instance) as side:
        role = await side.ask(
            "/latest/meta-data/iam/security-credentials/my-agency",
            headers=[("X-aws-ec2-metadata-token", await side.token())],
        )
        url = f"http://127.0.0.1:{side.port}"
        found = await client("botocore", tmp_path, **{ENDPOINT: url}, **environment)

    served = json.loads(role.body)
    assert found == {
        "method": "iam-role",
        "access": served["AccessKeyId"],
        "secret": served["SecretAccessKey"],
        "token": served["Token"],
        "region": "cn-north-4",
    }


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


async def test_botocore_gets_credentials_over_ipv6(serve: Serve, tmp_path: Path) -> None:
    if not has_ipv6():
        pytest.skip("IPv6 needs another kernel")
    server = serve(
        {
            "id": FULL.id,
            "agency": {"name": "my-agency"},
            "availability_zone": "cn-north-4a",
        },
        listen=["[::1]:0"],
    )

    found = await client("botocore", tmp_path, **{ENDPOINT: server.guest_url}, **V2_ONLY)

    assert server.guest_url.startswith("http://[::1]:")
    assert (found["method"], found["region"]) == ("iam-role", "cn-north-4")


@pytest.mark.parametrize(
    ("instance", "environment", "method"),
    [
        (FULL, {}, "iam-role"),
        (FULL, V2_ONLY, None),
        (REQUIRED, {}, None),
    ],
    ids=["version 1", "v2 only", "tokens required"],
)
async def test_botocore_behind_a_proxy_falls_back_to_version_1_where_it_may(
    instance: Instance, environment: Mapping[str, str], method: str | None, tmp_path: Path
) -> None:
    async with listening(instance) as side, forwarding() as url:
        settings = {ENDPOINT: f"http://127.0.0.1:{side.port}", "http_proxy": url}
        found = await client("botocore", tmp_path, **settings, **environment)

    assert found["method"] == method


@asynccontextmanager
async def recording(answer: bytes) -> AsyncIterator[tuple[str, list[str]]]:
    """Some other service, which notes the requests it gets and gives each the same answer."""
    heads: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


IDENTITY = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Account>1</Account><Arn>a</Arn><UserId>u</UserId>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""


async def test_awscli_signs_its_calls_with_the_roles_credentials(tmp_path: Path) -> None:
    aws = str(Path(sys.executable).with_name("aws"))
    async with listening(REQUIRED) as side, recording(IDENTITY) as (sts, heads):
        settings = {ENDPOINT: f"http://127.0.0.1:{side.port}"}
        listed = await run([aws, "configure", "list"], tmp_path, **settings)
        call = ["sts", "get-caller-identity", "--endpoint-url", sts, "--region", "cn-north-4"]
        await run([aws, *call], tmp_path, **settings)

    assert b"iam-role" in listed
    (head,) = heads
    assert "Credential=ASIA" in head
    assert "X-Amz-Security-Token: " in head


# With the address that cannot be changed


def in_private_network(home: Path, instance: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what the client *name* learns of *instance* where 169.254.169.254 is ours."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("a private network needs root and unshare")
    config = home / "server.json"
    written = {
        "listen": [f"{ADDRESS}:80"],
        "control": {"listen": "127.0.0.1:0"},
        "instances": [{"identify": {"default": True}, **instance}],
    }
    config.touch(0o600)
    config.write_text(json.dumps(written))
    python = [sys.executable, "-m"]
    finished = subprocess.run(
        [
            *("unshare", "--net", "--"),
            *(*python, "tests.metadata_server.private_network", str(config)),
            *(*python, "tests.metadata_server.clients", name),
        ],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home)},
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr.decode()
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


INSTANCE: dict[str, Any] = {
    "id": FULL.id,
    "name": "ecs-ddd4",
    "project_id": FULL.project_id,
    "region": "cn-north-4",
    "availability_zone": "cn-north-4a",
    "image": {"id": "3a64bd37-955e-40cd-ab9e-129db56bc05d", "name": "CentOS 7.6 64bit"},
    "user_data": "#!/bin/sh\n",
    "nics": [
        {
            "mac": "fa:16:3e:f7:c1:47",
            "ipv4": "192.168.1.10",
            "prefix": 24,
            "public_ipv4": "100.100.1.2",
            "ipv6": "fd00::10",
        }
    ],
    "agency": {"name": "my-agency"},
    "tags": {"Name": "ecs-ddd4"},
}


@pytest.mark.guest
@pytest.mark.parametrize("tokens", ["optional", "required"])
def test_ec2_metadata_reads_everything_it_knows(tokens: str, tmp_path: Path) -> None:
    instance = {**INSTANCE, "metadata_options": {"http_tokens": tokens}}

    found = in_private_network(tmp_path, instance, "ec2-metadata")

    assert found["account_id"] == FULL.project_id
    assert found["instance_id"] == "i-ca9e8b7cf2be4b6da"
    assert found["region"] == "cn-north-4"
    assert found["availability_zone"] == "cn-north-4a"
    assert found["private_ipv4"] == "192.168.1.10"
    assert found["public_ipv4"] == "100.100.1.2"
    assert found["user_data"] == "#!/bin/sh\n"
    assert found["tags"] == {"Name": "ecs-ddd4"}
    assert found["iam_info"]["Code"] == found["credentials"]["Code"] == "Success"
    assert found["interface"] == {
        "device_number": 0,
        "ipv4_associations": {"100.100.1.2": ["192.168.1.10"]},
        "ipv6s": ["fd00::10"],
        "private_ipv4s": ["192.168.1.10"],
        "subnet": "192.168.1.0/24",
        "vpc": ["192.168.1.0/24"],
    }


@pytest.mark.guest
@pytest.mark.parametrize("tokens", ["optional", "required"])
def test_the_platforms_sdk_gets_its_access_keys(tokens: str, tmp_path: Path) -> None:
    instance = {**INSTANCE, "metadata_options": {"http_tokens": tokens}}

    found = in_private_network(tmp_path, instance, "huawei")

    assert found["ak"].startswith("ASIA")
    assert found["sk"]
    assert found["token"]
    assert found["with_token"]


@pytest.mark.guest
def test_the_platforms_sdk_is_told_that_there_is_no_agency(tmp_path: Path) -> None:
    instance = {key: value for key, value in INSTANCE.items() if key != "agency"}

    found = in_private_network(tmp_path, instance, "huawei")

    assert found["status"] == 401
    assert "Please configure Cloud Service Agency first" in found["message"]


@pytest.mark.guest
@pytest.mark.parametrize("limit", [1, 2])
def test_a_token_travels_no_further_than_its_hop_limit(limit: int, tmp_path: Path) -> None:
    instance = {**INSTANCE, "metadata_options": {"hop_limit": limit}}

    leaf, token, after = in_private_network(tmp_path, instance, "hops")["ttl"]

    assert leaf > 30
    assert token == limit
    # Whoever has the token over this connection is near enough for what it is good for.
    assert after == limit
