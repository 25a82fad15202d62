"""What the tests of the clouds' dialects share: instances, plain calls, what the guest sees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit

from metadata_server.server import Server

PROJECT: Final = "6e8b0c94265645f39c5abbe63c4113c6"
ID: Final = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
VPC: Final = "3b6c201f-aeb3-4bce-b841-64756e66cb49"
IMAGE: Final = "3a64bd37-955e-40cd-ab9e-129db56bc05d"
ONE: Final[Mapping[str, Any]] = {
    "id": ID,
    "name": "ecs-ddd4",
    "project_id": PROJECT,
    "vpc_id": VPC,
    "image": {"id": IMAGE, "name": "CentOS 7.6 64bit"},
    "meta": {"charging_mode": "0"},
    "nics": [{"ipv4": "192.168.1.10", "mac": "fa:16:3e:f7:c1:47", "public_ipv4": "100.100.1.2"}],
}
WINDOWS: Final = {"id": "win-1", "name": "win-1", "os_type": "Windows", "project_id": PROJECT}
OTHER: Final = {"id": "other", "name": "other", "project_id": "another-project"}
GOOD: Final = "Cloud.1234!"
"""A password that meets every rule."""


def call(
    server: Server,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any, dict[str, str]]:
    """Return status, document and headers of one call of the control plane."""
    sent = {"X-Auth-Token": server.token if token is None else token, **(headers or {})}
    text = None if body is None else json.dumps(body)
    connection = HTTPConnection(urlsplit(server.control_url).netloc)
    try:
        connection.request(method, path, text, sent)
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None, dict(answer.getheaders())
    finally:
        connection.close()


def as_guest(
    server: Server, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    """Return status and body of what the guest gets at *path*, or posts there."""
    connection = HTTPConnection(urlsplit(server.guest_url).netloc)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def served_meta(server: Server) -> dict[str, str]:
    """Return the metadata as the guest reads it."""
    status, body = as_guest(server, "/openstack/latest/meta_data.json")
    assert status == 200
    meta: dict[str, str] = json.loads(body)["meta"]
    return meta


def resets(server: Server, instance_id: str) -> list[dict[str, Any]]:
    """Return what was asked of an instance's reset daemon."""
    found = call(server, "GET", f"/linklocal/v1/instances/{instance_id}/reset-password")
    requests: list[dict[str, Any]] = found[1]["requests"]
    return requests
