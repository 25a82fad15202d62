"""Faults: what a guest meets on the wire, how often, and that nobody else does."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from metadata_server.server import Server

from ..conftest import Serve
from .test_workers import control

LEAF = "/latest/meta-data/hostname"
USER_DATA = "/latest/user-data"
BODY = "#!/bin/sh\n" + "x" * 400
ONE: dict[str, Any] = {"id": "one", "name": "one", "user_data": BODY}
TWO: dict[str, Any] = {"id": "two", "name": "two", "nics": [{"ipv4": "127.0.0.2"}]}
FAULTS = "/linklocal/v1/faults"


@contextmanager
def link(server: Server, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    host, port = server.guest_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10, source_address=(source, 0)) as made:
        yield made


def read(made: socket.socket) -> bytes:
    """Return what comes until the connection ends, or b"RESET" when it is reset."""
    received = b""
    try:
        while part := made.recv(65536):
            received += part
    except ConnectionResetError:
        return b"RESET"
    return received


def get(
    server: Server, path: str, *lines: str, method: str = "GET", source: str = "127.0.0.1"
) -> Any:
    """Return the status of a request, or what there was in the place of a whole answer."""
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *lines]
    with link(server, source) as made:
        made.sendall("\r\n".join(head).encode() + b"\r\n\r\n")
        received = read(made)
    return int(received.split()[1]) if received.startswith(b"HTTP/1.1 ") else received


def add(server: Server, *ids: str, **fault: object) -> str:
    body = {"instances": list(ids) or ["one"], "fault": fault}
    name: str = json.loads(control(server, "POST", FAULTS, body))["faults"][0]["id"]
    return name


def counted(server: Server) -> list[tuple[int, int]]:
    found = json.loads(control(server, "GET", FAULTS))["faults"]
    return [(each["met"], each["concerned"]) for each in found]


@pytest.mark.parametrize(
    ("rule", "statuses"),
    [
        ({}, [503] * 6),
        ({"first": 2}, [503, 503, 200, 200, 200, 200]),
        ({"every": 3}, [200, 200, 503, 200, 200, 503]),
        ({"every": 2, "first": 4}, [200, 503, 200, 503, 200, 200]),
        ({"probability": 0.5, "seed": 7}, None),
        ({"probability": 1}, [503] * 6),
        ({"path": "/latest/user-data"}, [200] * 6),
        ({"path": "/latest/*"}, [503] * 6),
        ({"path": "/latest/meta-data"}, [200] * 6),
    ],
    ids=str,
)
def test_which_requests_a_fault_meets(
    rule: dict[str, Any], statuses: list[int] | None, serve: Serve
) -> None:
    server = serve(ONE, TWO)
    assert get(server, LEAF) == 200
    add(server, status=503, **rule)

    found = [get(server, LEAF) for _ in range(6)]
    others = [get(server, LEAF, source="127.0.0.2") for _ in range(3)]

    if statuses is None:
        control(server, "POST", FAULTS + "/clear", {"all": True})
        add(server, status=503, **rule)
        assert {*found} == {200, 503}
        assert [get(server, LEAF) for _ in range(6)] == found
    else:
        assert found == statuses
    assert others == [200] * 3
    ((met, concerned),) = counted(server)
    assert met == found.count(503)
    assert concerned == (0 if rule.get("path") in (USER_DATA, "/latest/meta-data") else 6)


def test_a_connection_that_is_kept_meets_faults_and_the_end_of_them(serve: Serve) -> None:
    server = serve(ONE)
    request = f"GET {LEAF} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with link(server) as made:
        made.sendall(request)
        assert made.recv(65536).startswith(b"HTTP/1.1 200")
        add(server, status=500, first=1)
        for expected in (b"500", b"200", b"200"):
            made.sendall(request)
            assert made.recv(65536).split()[1] == expected
        control(server, "POST", FAULTS + "/clear", {"instances": ["one"]})
        made.sendall(request)
        assert made.recv(65536).split()[1] == b"200"


def test_a_connection_is_reset_or_cut_short(serve: Serve) -> None:
    server = serve(ONE)
    whole = len(BODY)
    first = add(server, reset=True, first=1)
    assert get(server, USER_DATA) == b"RESET"
    assert get(server, USER_DATA) == 200
    control(server, "DELETE", f"{FAULTS}/{first}")
    add(server, truncate=100)

    with link(server) as made:
        made.sendall(f"GET {USER_DATA} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head, _, body = read(made).partition(b"\r\n\r\n")

    assert f"content-length: {whole}" in head.decode().lower()
    assert body == BODY[:100].encode()


def test_an_answer_is_held_up_and_drips(serve: Serve) -> None:
    server = serve(ONE)
    add(server, delay=0.1, jitter="50ms", path=USER_DATA)
    add(server, drip=4000, path=USER_DATA)

    began = time.monotonic()
    with link(server) as made:
        made.sendall(
            f"GET {USER_DATA} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        )
        received = read(made)

    # 410 bytes at 4000 a second after at least 0.1 s: never sooner, however fast the machine is.
    assert time.monotonic() - began >= 0.2 - 0.01
    assert received.endswith(BODY.encode())
    assert counted(server) == [(1, 1), (1, 1)]


@pytest.mark.parametrize("kind", ["hang", "hop_limit"])
def test_who_is_left_hanging_is_let_go_with_the_fault(kind: str, serve: Serve) -> None:
    server = serve(ONE, TWO)
    name = add(server, **{kind: True})
    put = ("X-aws-ec2-metadata-token-ttl-seconds: 60", "Content-Length: 0")

    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(get, server, "/latest/api/token", *put, method="PUT")
        while counted(server) != [(1, 1)]:
            assert not hanging.done()
        if kind == "hop_limit":
            assert get(server, LEAF) == 200
        assert get(server, "/latest/api/token", *put, method="PUT", source="127.0.0.2") == 200
        assert not hanging.done()
        control(server, "DELETE", f"{FAULTS}/{name}")
        assert hanging.result(10) == b"RESET"
    assert get(server, "/latest/api/token", *put, method="PUT") == 200


def test_a_server_that_stops_waits_for_nobody_who_hangs(serve: Serve) -> None:
    server = serve(ONE)
    add(server, hang=True)
    with link(server) as made:
        made.sendall(f"GET {LEAF} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        while counted(server) != [(1, 1)]:
            pass
        # The fixture's end is within its own ten seconds of patience, or the thread is left over.


def test_a_token_that_expired_is_renewed_once(serve: Serve) -> None:
    server = serve({**ONE, "metadata_options": {"http_tokens": "required"}})
    add(server, token_expired=True, first=1)

    def token() -> str:
        head = "PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
        with link(server) as made:
            made.sendall((head + ttl).encode())
            return read(made).partition(b"\r\n\r\n")[2].decode()

    shown = f"X-aws-ec2-metadata-token: {token()}"
    assert [get(server, LEAF, shown) for _ in range(3)] == [401, 200, 200]
    assert get(server, LEAF) == 401
    assert counted(server) == [(1, 3)]


def test_a_fault_lasts_by_the_servers_clock(serve: Serve) -> None:
    server = serve(ONE, clock="stepped")
    add(server, **{"status": 503, "for": "5m"})

    control(server, "POST", "/linklocal/v1/clock", {"step": 299})
    assert get(server, LEAF) == 503
    control(server, "POST", "/linklocal/v1/clock", {"step": 1})
    assert get(server, LEAF) == 200
    assert counted(server) == []


def test_a_slash_at_the_end_of_a_pattern_means_nothing(serve: Serve) -> None:
    server = serve(ONE)
    add(server, "one", path="/latest/meta-data/", status=503)
    add(server, "one", path="/", status=500)

    paths = ("/latest/meta-data", "/latest/meta-data/", "/", "/latest/", LEAF)
    assert [get(server, path) for path in paths] == [503, 503, 500, 200, 200]
    body = {"all": True, "path": "/latest/meta-data/"}
    assert json.loads(control(server, "POST", FAULTS + "/clear", body)) == {"removed": 1}


def test_workers_count_together(serve: Serve) -> None:
    server = serve(ONE, TWO, workers=3)
    add(server, "one", status=503, first=7)

    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda _: get(server, LEAF), range(40))]
    others = {get(server, LEAF, source="127.0.0.2") for _ in range(8)}

    assert found.count(503) == 7
    assert counted(server) == [(7, 40)]
    assert others == {200}
    control(server, "POST", FAULTS + "/clear", {"all": True})
    assert {get(server, LEAF) for _ in range(8)} == {200}


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ({}, "fault: expected one of delay, status"),
        ({"status": 503, "hang": True}, "fault: expected one of delay, status"),
        ({"status": 200}, "fault.status: expected an error status"),
        ({"status": 503, "jitter": 1}, "jitter: expected it beside delay only"),
        ({"hang": True, "first": 0}, "fault.first: expected a whole number from 1"),
        ({"hang": True, "probability": 1.5}, "fault.probability: expected a number above 0"),
        ({"hang": True, "path": "a b"}, "fault.path: expected a path without spaces"),
        ({"hang": True, "path": "latest/user-data"}, "that begins with / or *"),
        ({"delay": "soon"}, "fault.delay: expected seconds from 0"),
        ({"hang": True, "frist": 1}, "unknown key 'frist', nearest is 'first'"),
    ],
    ids=str,
)
def test_a_fault_that_cannot_be_is_refused(
    fault: dict[str, Any], detail: str, serve: Serve
) -> None:
    import urllib.error

    server = serve(ONE)
    with pytest.raises(urllib.error.HTTPError) as refused:
        control(server, "POST", FAULTS, {"all": True, "fault": fault})

    assert refused.value.code == 400
    assert detail in json.loads(refused.value.read())["detail"]
    assert counted(server) == []
