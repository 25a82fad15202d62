"""The journal: every request once, what was done beside it, followed, filtered, kept, judged."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from metadata_server.server import Server

from ..conftest import Serve
from .test_workers import ask, control

LEAF = "/latest/meta-data/hostname"
PASSWORD = "/openstack/latest/password"
ONE: dict[str, Any] = {"id": "one", "name": "one"}
TWO: dict[str, Any] = {"id": "two", "name": "two", "nics": [{"ipv4": "127.0.0.2"}]}
JOURNAL = "/linklocal/v1/journal"


def journal(server: Server, **query: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(control(server, "GET", f"{JOURNAL}?{urlencode(query)}"))
    return found


def told(server: Server, **query: object) -> list[tuple[Any, ...]]:
    """Return what the journal says of requests, in their order."""
    found = journal(server, kind="request", **query)["entries"]
    names = ("instance", "method", "path", "token", "agent", "status")
    return [tuple(each[name] for name in names) for each in found]


def token(server: Server) -> str:
    line = "X-aws-ec2-metadata-token-ttl-seconds: 60"
    return f"X-Metadata-Token: {ask(server, '/latest/api/token', 'PUT', line).text}"


def test_each_request_is_there_as_it_was_answered(serve: Serve) -> None:
    server = serve(ONE)
    agent = "User-Agent: curl/8"
    shown = token(server)
    for lines in ((agent,), (agent,), (shown,), ("X-Metadata-Token: stale",)):
        ask(server, LEAF, "GET", *lines)
    ask(server, "/latest/nope?token=secret", "GET", agent)
    ask(server, PASSWORD, "POST", body=b"posted")
    ask(server, "/linklocal/v1/reset-password/challenge", "POST")

    assert told(server) == [
        ("one", "PUT", "/latest/api/token", "", "", 200),
        ("one", "GET", LEAF, "none", "curl/8", 200),
        ("one", "GET", LEAF, "none", "curl/8", 200),
        ("one", "GET", LEAF, "good", "", 200),
        ("one", "GET", LEAF, "bad", "", 401),
        ("one", "GET", "/latest/nope", "none", "curl/8", 404),
        ("one", "POST", PASSWORD, "none", "", 200),
        ("one", "POST", "/linklocal/v1/reset-password/challenge", "", "", 400),
    ]
    numbers = [each["number"] for each in journal(server)["entries"]]
    assert numbers == sorted(set(numbers))
    assert {each["address"] for each in journal(server)["entries"]} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ({}, 5),
        ({"instance": "one"}, 5),
        ({"instance": "other"}, 0),
        ({"kind": "request"}, 4),
        ({"kind": "fault"}, 1),
        ({"path": "/latest/meta-data/*"}, 3),
        ({"status": "503"}, 1),
        ({"status": "4xx"}, 1),
        ({"agent": "curl*"}, 2),
        ({"token": "none"}, 4),
        ({"token": "good"}, 0),
        ({"limit": 2}, 2),
        ({"after": 3}, 2),
        ({"after": 0, "limit": 3}, 3),
        ({"after": 99}, 0),
    ],
    ids=str,
)
def test_fewer_are_shown(query: dict[str, Any], number: int, serve: Serve) -> None:
    server = serve({**ONE, "identify": {"addresses": ["127.0.0.1"], "default": False}})
    fault = {"status": 503, "path": LEAF, "first": 1}
    control(server, "POST", "/linklocal/v1/faults", {"all": True, "fault": fault})
    ask(server, LEAF, "GET", "User-Agent: curl/8")
    ask(server, LEAF, "GET", "User-Agent: curl/8")
    ask(server, LEAF)
    ask(server, "/latest/nope")

    found = journal(server, **query)

    assert len(found["entries"]) == number
    assert not found["missed"]
    refused = journal(server, status="503")["entries"][0]
    assert (refused["fault"], refused["path"]) == ("fault-1", LEAF)


def test_a_follower_gets_what_is_new_at_once_and_all_of_it(serve: Serve) -> None:
    server = serve(ONE)
    last = journal(server)["next"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(journal, server, after=last, wait=30, path="/latest/user-data")
        ask(server, LEAF)
        ask(server, "/latest/user-data")
        (found,) = waiting.result(20)["entries"]

    assert found["path"] == "/latest/user-data"


def test_the_ring_is_bounded_and_says_what_is_missing(serve: Serve) -> None:
    server = serve(ONE, limits={"journal": 10})
    for _ in range(25):
        ask(server, LEAF)

    found = journal(server, after=3)

    assert [each["number"] for each in found["entries"]] == [*range(16, 26)]
    assert (found["missed"], found["next"]) == (True, 25)
    (verdict,) = readiness(server)
    assert verdict["clients"][0]["without_token"] == 25


def test_no_journal_when_there_is_to_be_none(serve: Serve) -> None:
    server = serve(ONE, limits={"journal": 0})
    ask(server, LEAF)

    assert journal(server)["entries"] == []


def test_it_is_there_after_a_restart_and_gone_when_it_is_cleared(
    serve: Serve, tmp_path: Path
) -> None:
    from ..conftest import serving

    path = tmp_path / "kept.yaml"
    first = {**ONE, "identify": {"default": True}}
    settings = {"listen": ["127.0.0.1:0"], "control": {"listen": "127.0.0.1:0"}}
    path.touch(0o600)
    written = {**settings, "state": str(tmp_path / "state"), "instances": [first]}
    path.write_text(json.dumps(written))
    with serving(path) as server:
        ask(server, LEAF, "GET", "User-Agent: a")
        before = journal(server)["entries"]
    with serving(path) as server:
        kept = journal(server)["entries"]
        ask(server, LEAF, "GET", "User-Agent: a")
        (verdict,) = readiness(server)
        number = journal(server)["entries"][-1]["number"]
        control(server, "DELETE", JOURNAL)
    with serving(path) as server:
        cleared = journal(server)["entries"], readiness(server)[0]["ready"]

    assert kept == before
    assert verdict["clients"][0]["without_token"] == 2
    assert number == before[-1]["number"] + 1
    assert cleared == ([], None)


def readiness(server: Server) -> list[dict[str, Any]]:
    answer = json.loads(control(server, "GET", "/linklocal/v1/token-readiness"))
    found: list[dict[str, Any]] = answer["instances"]
    return found


def test_who_would_not_be_served_if_tokens_were_required(serve: Serve) -> None:
    server = serve(ONE, TWO)
    shown = token(server)
    nobody = readiness(server)
    for agent in ("sdk", "sdk", "old"):
        ask(server, LEAF, "GET", f"User-Agent: {agent}", shown)
    ready = readiness(server)
    ask(server, LEAF, "GET", "User-Agent: old")
    not_ready = readiness(server)

    assert [each["ready"] for each in nobody] == [None, None]
    assert [each["ready"] for each in ready] == [True, None]
    assert [each["ready"] for each in not_ready] == [False, None]
    clients = not_ready[0]["clients"]
    assert [(c["agent"], c["ready"], c["with_token"], c["without_token"]) for c in clients] == [
        ("old", False, 1, 1),
        ("sdk", True, 2, 0),
    ]


def test_guests_cannot_make_up_clients_without_end(serve: Serve) -> None:
    server = serve(ONE)
    for number in range(80):
        ask(server, LEAF, "GET", f"User-Agent: {'x' * 500}{number}", f"Accept: {number}")
        ask(server, LEAF, "GET", f"User-Agent: {number}")

    (verdict,) = readiness(server)

    assert len(verdict["clients"]) == 65
    assert sum(each["without_token"] for each in verdict["clients"]) == 160
    assert max(len(each["agent"]) for each in verdict["clients"]) == 256


def test_of_many_workers_each_request_is_there_once(serve: Serve) -> None:
    server = serve(ONE, workers=2)
    with ThreadPoolExecutor(8) as pool:
        statuses = [*pool.map(lambda n: ask(server, f"/latest/nope-{n}").status, range(60))]

    found = sorted(path for _, _, path, _, _, _ in told(server))

    assert statuses == [404] * 60
    assert found == sorted(f"/latest/nope-{n}" for n in range(60))


@contextmanager
def stranger(server: Server) -> Iterator[socket.socket]:
    host, port = server.guest_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10, source_address=("127.0.0.9", 0)) as link:
        yield link


def test_strangers_are_there_without_an_instance(serve: Serve) -> None:
    server = serve({**ONE, "identify": {"addresses": ["127.0.0.1"], "default": False}})
    with stranger(server) as link:
        link.sendall(f"GET {LEAF} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        link.recv(4096)

    assert told(server) == [(None, "GET", LEAF, "none", "", 404)]
