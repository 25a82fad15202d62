"""linklocal capture: what a metadata service says, served again by ours, is the same."""

from __future__ import annotations

import base64
import json
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from metadata_server.capture.describe import describe
from metadata_server.capture.walk import walk
from metadata_server.server import Server

from ..conftest import Serve
from .commands import linklocal
from .dialects import IMAGE, PROJECT, VPC

CANARY = "canary-71c4e2"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1i6cSXyq0bDy4hZJp5M4dDxk9vK3rXW2mBvS7xqkYt me"
FULL: Mapping[str, Any] = {
    "id": "5f1c6a52-1f0e-4b57-9b1c-2d4b6a7f0c11",
    "name": "captured-1",
    "project_id": PROJECT,
    "region": "r-1",
    "availability_zone": "r-1a",
    "flavor": "s6.large.2",
    "image": {"id": IMAGE, "name": "Debian 12"},
    "vpc_id": VPC,
    "launch_index": 3,
    "meta": {"charging_mode": "0", "admin_pass": f"{CANARY}-meta", "role": "web"},
    "keys": [{"name": "my key", "public_key": KEY}],
    "security_groups": ["default", "web"],
    "user_data": f"#cloud-config\npassword: {CANARY}-user-data\n",
    "vendor_data": {"cloud-init": f"#cloud-config\n# {CANARY}-vendor"},
    "vendor_data2": {"target": {"a": 1}},
    "nics": [
        {
            "ipv4": "192.168.1.10",
            "gateway": "192.168.1.1",
            "public_ipv4": "100.100.1.2",
            "dhcp": False,
            "mtu": 1400,
            "routes": [{"network": "10.0.0.0/8", "gateway": "192.168.1.2"}],
            "addresses": ["192.168.1.11/24"],
        },
        {"ipv4": "192.168.2.10", "ipv6": "fd00::10"},
    ],
    "dns": ["100.125.21.250"],
    "qos": {"min": 100, "max": 500},
    "tags": {"Name": "captured 1", "db-password": f"{CANARY}-tag"},
    "agency": {"name": "my-agency"},
    "files": [{"path": "/etc/app.conf", "content": f"{CANARY}-file"}],
    "devices": [{"type": "disk", "bus": "pci", "serial": "d1", "tags": ["data"]}],
    "block_devices": {"swap": "vdb"},
    "ec2_ids": {"kernel-id": "aki-1"},
    "extra": {"latest/meta-data/rack": "r12"},
    "spot": {},
}


def comparable(answers: Mapping[str, bytes]) -> dict[str, object]:
    """Return *answers* with JSON read, and without what is new at each reading."""
    found: dict[str, object] = {}
    for path, body in answers.items():
        found[path] = body
        if path.endswith("meta_data.json"):
            found[path] = {**json.loads(body), "random_seed": None}
        elif path.endswith(".json"):
            found[path] = json.loads(body)
    return found


async def test_what_is_captured_and_served_again_is_the_same(serve: Serve, tmp_path: Path) -> None:
    first: Server = serve(FULL)
    file = tmp_path / "vm.yaml"

    ran = await linklocal("capture", first.guest_url, "--keep", "all", "--output", str(file))

    assert (ran.status, ran.out, ran.err) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    document = yaml.safe_load(file.read_text())
    assert document["user_data"] == FULL["user_data"]
    second: Server = serve(document)
    before, after = walk(first.guest_url), walk(second.guest_url)
    assert comparable(after.answers) == comparable(before.answers)
    assert (after.role, len(after.answers) > 100) == ("my-agency", True)


async def test_secrets_are_left_out_and_named(serve: Serve) -> None:
    server: Server = serve({**FULL, "metadata_options": {"http_tokens": "required"}})

    ran = await linklocal("capture", server.guest_url, "--json")

    assert CANARY not in ran.out + ran.err
    named = {line.removeprefix("left out: ") for line in ran.err.splitlines()}
    assert {
        "/openstack/latest/user_data",
        "/latest/user-data",
        "/openstack/latest/vendor_data.json",
        "/openstack/content/0000",
        "/latest/dynamic/instance-identity/pkcs7",
        "meta.admin_pass",
        "tags.db-password",
    } <= named
    document = ran.document
    assert document["metadata_options"] == {"http_tokens": "required"}
    assert document["keys"] == FULL["keys"]
    serve(document)


class Plain(BaseHTTPRequestHandler):
    """A service that has only EC2's dialect and asks for tokens."""

    answers: Mapping[str, str] = {}

    def do_PUT(self) -> None:
        self._answer("the-token" if self.path == "/latest/api/token" else None)

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != "the-token":
            self._answer("", 401)
        else:
            self._answer(self.answers.get(self.path))

    def _answer(self, text: str | None, status: int = 200) -> None:
        body = (text or "").encode()
        self.send_response(404 if text is None else status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def plain(answers: Mapping[str, str]) -> Iterator[str]:
    handler = type("Handler", (Plain,), {"answers": answers})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


MAC = "/latest/meta-data/network/interfaces/macs/0e:49:61:0f:c3:11"
AWS = {
    "/": "1.0\nlatest",
    "/latest/meta-data/": "ami-id\nhostname\ninstance-id\nlocal-hostname\nnetwork/\nplacement/\n"
    "public-keys/\niam/\nsystem",
    "/latest/meta-data/ami-id": "ami-0abcdef1234567890",
    "/latest/meta-data/hostname": "ip-10-0-34-11.ec2.internal",
    "/latest/meta-data/local-hostname": "ip-10-0-34-11.ec2.internal",
    "/latest/meta-data/instance-id": "i-1234567890abcdef0",
    "/latest/meta-data/system": "xen",
    "/latest/meta-data/placement/": "availability-zone\nregion",
    "/latest/meta-data/placement/availability-zone": "us-east-1a",
    "/latest/meta-data/placement/region": "us-east-1",
    "/latest/meta-data/public-keys/": "0=laptop",
    "/latest/meta-data/public-keys/0/": "openssh-key",
    "/latest/meta-data/public-keys/0/openssh-key": KEY + "\n",
    "/latest/meta-data/iam/": "info\nsecurity-credentials/",
    "/latest/meta-data/iam/info": '{"Code": "Success"}',
    "/latest/meta-data/iam/security-credentials/": "baskinc-role",
    "/latest/meta-data/network/": "interfaces/",
    "/latest/meta-data/network/interfaces/": "macs/",
    "/latest/meta-data/network/interfaces/macs/": "0e:49:61:0f:c3:11/",
    f"{MAC}/": "mac\nlocal-ipv4s\nsubnet-ipv4-cidr-block",
    f"{MAC}/mac": "0e:49:61:0f:c3:11",
    f"{MAC}/local-ipv4s": "10.0.34.11",
    f"{MAC}/subnet-ipv4-cidr-block": "10.0.32.0/20",
    "/latest/dynamic/": "instance-identity/",
    "/latest/dynamic/instance-identity/": "document\npkcs7",
    "/latest/dynamic/instance-identity/document": '{"region": "us-east-1"}',
    "/latest/dynamic/instance-identity/pkcs7": CANARY,
    "/latest/user-data": "#!/bin/sh\n",
}


def test_another_cloud_is_served_again_path_by_path(serve: Serve) -> None:
    with plain(AWS) as url:
        captured = walk(url)
    found = describe(captured, ["user-data"])

    assert (captured.tokens_required, captured.role) == (True, "baskinc-role")
    assert found.different == []
    assert found.document["nics"][0]["prefix"] == 20
    again = walk(serve(found.document).guest_url)
    leaves = {path for path in captured.answers if path in AWS and not path.endswith("pkcs7")}
    assert len(leaves) > 10
    for path in leaves:
        assert again.answers[path] == AWS[path].encode(), path
    assert CANARY not in json.dumps(found.document)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({}, "no path of OpenStack or EC2 metadata"),
        ({"/latest/meta-data/": "\n".join(["x/"])}, "no path of OpenStack or EC2 metadata"),
        ({"/latest/meta-data/" + "a/" * n: "a/" for n in range(20)}, "too deep"),
    ],
)
async def test_what_is_no_metadata_service_is_said_to_be_none(
    answers: dict[str, str], reason: str
) -> None:
    with plain(answers) as url:
        ran = await linklocal("capture", url)

    assert (ran.status, ran.out) == (1, "")
    assert reason in ran.err


async def test_a_service_that_is_not_there_is_named(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:1", "ftp://127.0.0.1", "http://127.0.0.1:x"):
        ran = await linklocal("capture", url)
        assert (ran.status, url in ran.err) == (1, True)


def test_a_content_that_is_no_text_is_kept(serve: Serve) -> None:
    data = bytes(range(256))
    server = serve({"id": "b", "user_data_base64": base64.b64encode(data).decode()})

    found = describe(walk(server.guest_url), ["user-data"])

    assert base64.b64decode(found.document["user_data_base64"]) == data
