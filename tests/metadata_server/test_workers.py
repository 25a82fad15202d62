"""Several processes that answer as one: what one has done, all know before the next request."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from metadata_server.server import Server

from ..conftest import Serve
from .guest_side import parse

INSTANCE: dict[str, Any] = {
    "id": "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04",
    "name": "ecs-ddd4",
    "user_data": "#cloud-config\n",
    "agency": {"name": "my-agency"},
}
LEAF = "/latest/meta-data/hostname"
MANY = 24
"""Connections, so that each of a few workers gets some."""


def ask(server: Server, path: str, method: str = "GET", *lines: str, body: bytes = b"") -> Any:
    """Return the answer to a request on a connection of its own."""
    host, port = server.guest_url.removeprefix("http://").split(":")
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    with socket.create_connection((host, int(port)), timeout=20) as link:
        link.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        received = b""
        while b"\r\n\r\n" not in received or not whole(received):
            part = link.recv(65536)
            if not part:
                break
            received += part
    return parse(received)


def whole(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return length is not None and len(body) >= int(length[1])


def control(server: Server, method: str, path: str, body: object = None) -> Any:
    import urllib.request

    request = urllib.request.Request(  # noqa: S310  # ours
        f"{server.control_url}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {server.token}",
            "Content-Type": "application/merge-patch+json",
        },
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  # ours
        return answer.read().decode()


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(INSTANCE, workers=3)


def children() -> set[int]:
    found = set()
    for path in Path("/proc/self/task").glob("*/children"):
        for pid in path.read_text().split():
            if b".worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(int(pid))
    return found


def test_any_worker_answers_and_takes_the_tokens_of_the_others(server: Server) -> None:
    token = ask(server, "/latest/api/token", "PUT", "X-aws-ec2-metadata-token-ttl-seconds: 60").text
    shown = f"X-aws-ec2-metadata-token: {token}"

    answers = [ask(server, LEAF, "GET", shown) for _ in range(MANY)]
    keys = {ask(server, "/openstack/latest/securitykey").body for _ in range(MANY)}
    signatures = {ask(server, "/latest/dynamic/instance-identity/signature").body for _ in range(8)}

    assert len(children()) == 3
    assert {answer.text for answer in answers} == {"ecs-ddd4.novalocal"}
    assert len(keys) == len(signatures) == 1


def test_a_change_is_served_by_all_before_the_operator_knows_of_it(server: Server) -> None:
    ask(server, LEAF)
    for number in range(10):
        name = f"changed-{number}.novalocal"
        control(server, "PATCH", f"/linklocal/v1/instances/{INSTANCE['id']}", {"hostname": name})
        assert {ask(server, LEAF).text for _ in range(MANY)} == {name}


def test_of_many_posts_to_many_workers_one_is_kept(server: Server) -> None:
    path = "/openstack/latest/password"
    bodies = [f"password {number}".encode() for number in range(MANY)]

    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda body: ask(server, path, "POST", body=body), bodies)]
    kept = {ask(server, path).body for _ in range(MANY)}
    control(server, "DELETE", f"/linklocal/v1/instances/{INSTANCE['id']}/password")

    statuses = [answer.status for answer in answers]
    assert sorted(statuses) == [200] + [409] * (MANY - 1)
    assert kept == {bodies[statuses.index(200)]}
    assert {ask(server, path).body for _ in range(MANY)} == {b""}


def test_resets_are_answered_by_the_writer_with_the_guests_own_port(server: Server) -> None:
    challenge = "/linklocal/v1/reset-password/challenge"
    answers = [ask(server, challenge, "POST") for _ in range(MANY)]

    assert len({answer.status for answer in answers}) == 1
    assert answers[0].status not in (404, 500, 503)


def test_requests_are_counted_together(server: Server) -> None:
    for _ in range(MANY):
        ask(server, LEAF)

    text = control(server, "GET", "/metrics")

    assert re.search(rf'linklocal_requests_total{{.*status="200"}} {MANY}\n', text)


@contextmanager
def within(seconds: float) -> Iterator[Any]:
    """Yield a function that says whether there is time left, and waits a little."""
    end = time.monotonic() + seconds

    def left() -> bool:
        time.sleep(0.02)  # A process that ends or starts tells nobody here.
        return time.monotonic() < end

    yield left


def test_a_worker_that_dies_is_replaced_and_nobody_else_notices(server: Server) -> None:
    before = children()
    control(server, "PATCH", f"/linklocal/v1/instances/{INSTANCE['id']}", {"hostname": "late"})
    os.kill(min(before), signal.SIGKILL)

    with within(20) as left:
        while (len(children()) < 3 or children() == before) and left():
            pass
    answers = {ask(server, LEAF).text for _ in range(MANY)}

    assert len(children()) == 3
    assert answers == {"late"}
