"""The client against servers that misbehave: bounded time, and words that say what happened."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.datasources.base import EC2_TOKENS, HUAWEI_TOKENS, Session
from agent.datasources.client import Client
from agent.errors import ConfigError, DatasourceError

from .loopback import Answer, ok, replies, request, serving, status

TIMEOUT, DEADLINE = 0.15, 0.5


@contextmanager
def client_of(answer: Answer, limit: int = 100_000) -> Iterator[Client]:
    with serving(answer) as url:
        client = Client(url, timeout=TIMEOUT, deadline=DEADLINE, pause=0.01, limit=limit)
        try:
            yield client
        finally:
            client.close()


def says_nothing(connection: socket.socket, number: int) -> None:
    request(connection)
    connection.recv(1)


def drips(connection: socket.socket, number: int) -> None:
    request(connection)
    head = b"HTTP/1.1 200 OK\r\nX-Long: "
    for byte in itertools.chain(head, itertools.repeat(0x61)):
        connection.sendall(bytes([byte]))
        time.sleep(0.01)


def drips_its_body(connection: socket.socket, number: int) -> None:
    request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n")
    while True:
        connection.sendall(b"a")
        time.sleep(0.01)


def closes_in_the_body(connection: socket.socket, number: int) -> None:
    request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def closes_in_a_chunk(connection: socket.socket, number: int) -> None:
    request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf")


def closes_at_once(connection: socket.socket, number: int) -> None:
    request(connection)


def sends_without_end(connection: socket.socket, number: int) -> None:
    request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"a" * 10_000)


def sends_headers_without_end(connection: socket.socket, number: int) -> None:
    request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-A: b\r\n" * 1000)


def chunk(size: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n".encode()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (says_nothing, "no answer in time; gave up after"),
        (drips, "no (whole )?answer in time; gave up after"),
        (drips_its_body, "no (whole )?answer in time; gave up after"),
        (closes_in_the_body, "closed before the answer was whole; gave up after"),
        (closes_in_a_chunk, "closed before the answer was whole; gave up after"),
        (closes_at_once, "closed without an answer; gave up after"),
        (sends_without_end, "larger than 100000 bytes"),
        (sends_headers_without_end, "not an HTTP answer"),
        (replies(*[status(500)] * 99), "status 500; gave up after"),
        (replies(*[status(429)] * 99), "status 429; gave up after"),
        (replies(status(503, "Retry-After: 60")), "status 503; gave up after 1 attempt$"),
        (replies(status(302, "Location: http://10.0.0.1/x")), "redirect to 'http://10.0.0.1/x'"),
        (replies(status(400)), "status 400$"),
        (replies(status(403)), "status 403$"),
        (replies(b"SSH-2.0-OpenSSH_9.2\r\n"), "not an HTTP answer"),
        (replies(b"HTTP/1.1 OK\r\n\r\n"), "not an HTTP answer"),
        (replies(b"HTTP/2 200\r\n\r\n"), "not an HTTP answer"),
        (replies(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), "not an HTTP answer"),
        (replies(ok(b"", "Content-Length: 7")), "two lengths"),
        (replies(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "length that is no number"),
        (replies(b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n"), "larger than 100000"),
        (replies(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"), "larger"),
        (replies(chunk("zz")), "a chunk without a size"),
        (replies(chunk("-1")), "larger than 100000"),
        (replies(chunk("fffffff")), "larger than 100000"),
    ],
)
def test_what_is_no_usable_answer_is_an_error_within_the_deadline(
    answer: Answer, words: str
) -> None:
    with client_of(answer) as client:
        began = time.monotonic()

        with pytest.raises(DatasourceError, match=words) as caught:
            client.get("latest/user-data")

        assert time.monotonic() - began < DEADLINE + TIMEOUT + 1
        assert str(caught.value).startswith(f"GET {client.base_url}/latest/user-data: ")


def test_nobody_listening_is_an_error_within_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", timeout=TIMEOUT, deadline=DEADLINE, pause=0.01)

    with pytest.raises(DatasourceError, match="connection refused; gave up after"):
        client.get("latest/user-data")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (replies(ok(b"text")), b"text"),
        (replies(ok(b"")), b""),
        (replies(status(204)), b""),
        (replies(status(404)), None),
        (replies(status(503), status(503), ok(b"third time")), b"third time"),
        (replies(status(408), ok(b"again")), b"again"),
        (replies(status(100) + ok(b"after 100")), b"after 100"),
        (
            replies(chunk("4") + b"abcd\r\n3;name=value\r\nefg\r\n0\r\nTrailer: x\r\n\r\n"),
            b"abcdefg",
        ),
    ],
)
def test_an_answer_is_its_body_or_none(answer: Answer, body: bytes | None) -> None:
    with client_of(answer) as client:
        assert client.get("latest/user-data") == body


def test_an_answer_that_ends_with_the_connection_is_whole() -> None:
    def old(connection: socket.socket, number: int) -> None:
        request(connection)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nall of it")

    with client_of(old) as client:
        assert client.get("a") == b"all of it"
        assert client.get("b") == b"all of it"


def test_a_broken_connection_is_tried_again() -> None:
    def second_time(connection: socket.socket, number: int) -> None:
        request(connection)
        connection.sendall(ok(b"whole") if number else b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n")

    with client_of(second_time) as client:
        assert client.get("a") == b"whole"


def test_all_documents_come_over_one_connection() -> None:
    with client_of(replies(ok(b"1"), status(404), ok(b"3"))) as client:
        assert [client.get(path) for path in "abc"] == [b"1", None, b"3"]
        assert (client.connections, client.requests) == (1, 3)


def test_a_kept_connection_that_went_away_is_opened_again_at_once() -> None:
    def one_each(connection: socket.socket, number: int) -> None:
        request(connection)
        connection.sendall(ok(b"%d" % number))

    with serving(one_each) as url:
        pauses: list[float] = []
        client = Client(url, deadline=1.0, sleep=pauses.append)

        assert [client.get("a"), client.get("b"), client.get("c")] == [b"0", b"1", b"2"]

        assert pauses == []
        client.close()


def test_pauses_grow_and_follow_what_the_server_asks() -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds

    pauses: list[float] = []
    busy = [status(503)] * 3 + [status(503, "Retry-After: 3"), ok(b"at last")]
    with serving(replies(*busy)) as url:
        client = Client(url, deadline=10, pause=0.25, clock=lambda: now, sleep=sleep)

        assert client.get("a") == b"at last"

        client.close()
    assert pauses == [0.25, 0.5, 1.0, 3.0]


@pytest.mark.parametrize(
    "url",
    [
        "http://metadata.example/",
        "http://localhost:80",
        "https://169.254.169.254",
        "169.254.169.254",
        "http://",
        "http://169.254.169.254:0",
        "http://169.254.169.254:99999",
        "http://169.254.169.254:8x",
        "http://169.254.169.254 /",
        "http://user@169.254.169.254/",
        "http://[fd00:ec2::254",
        "http://[169.254.169.254]",
        "http://fd00:ec2::254/",
        "http://169.254.169.254/\r\nX: y",
    ],
)
def test_only_plain_http_at_a_literal_address_is_asked(url: str) -> None:
    with pytest.raises(ConfigError, match="expected a literal address"):
        Client(url)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://169.254.169.254", "http://169.254.169.254"),
        ("http://169.254.169.254/", "http://169.254.169.254"),
        ("HTTP://127.0.0.1:8254/a/b/", "http://127.0.0.1:8254/a/b"),
        ("http://[fd00:ec2::254]", "http://[fd00:ec2::254]"),
        ("http://[fe80::a9fe:a9fe%25eth0]:80", "http://[fe80::a9fe:a9fe%25eth0]:80"),
    ],
)
def test_an_address_may_have_a_port_a_path_and_a_zone(url: str, base: str) -> None:
    assert Client(url).base_url == base


def speaks(*expected: tuple[str, bytes]) -> tuple[Answer, list[str]]:
    """Answer the expected requests, by method and path; note the token each came with."""
    left = iter(expected)
    seen: list[str] = []

    def answer(connection: socket.socket, number: int) -> None:
        while head := request(connection):
            lines = head.decode().split("\r\n")
            line, reply = next(left)
            tokens = [each for each in lines if "oken: " in each]
            seen.append(f"{lines[0].removesuffix(' HTTP/1.1')} {' '.join(tokens)}".strip())
            connection.sendall(reply if lines[0].startswith(line) else status(418))

    return answer, seen


def test_a_token_is_asked_for_first_where_that_is_the_rule() -> None:
    answer, seen = speaks(
        ("PUT /latest/api/token", ok(b"abc=")), ("GET /a", ok(b"1")), ("GET /b", ok(b"2"))
    )
    with client_of(answer) as client:
        session = Session(client, (EC2_TOKENS,), eager=True)

        assert [session.get("a"), session.get("b")] == [b"1", b"2"]

    assert seen[1:] == [f"GET /{path} X-aws-ec2-metadata-token: abc=" for path in "ab"]


@pytest.mark.parametrize("code", [403, 404, 405])
def test_a_service_without_tokens_is_read_without_one(code: int) -> None:
    answer, seen = speaks(("PUT /latest/api/token", status(code)), ("GET /a", ok(b"1")))
    with client_of(answer) as client:
        assert Session(client, (EC2_TOKENS,), eager=True).get("a") == b"1"

    assert seen == ["PUT /latest/api/token", "GET /a"]


def test_a_token_is_asked_for_when_one_is_demanded() -> None:
    answer, seen = speaks(
        ("GET /a", status(401)),
        ("PUT /meta-data/latest/api/token", status(404)),
        ("PUT /latest/api/token", ok(b"t1")),
        ("GET /a", ok(b"1")),
        ("GET /b", status(401)),
        ("PUT /meta-data/latest/api/token", ok(b"t2")),
        ("GET /b", ok(b"2")),
    )
    with client_of(answer) as client:
        session = Session(client, (HUAWEI_TOKENS, EC2_TOKENS), eager=False)

        assert [session.get("a"), session.get("b")] == [b"1", b"2"]

    assert seen[3] == "GET /a X-aws-ec2-metadata-token: t1"
    assert seen[6] == "GET /b X-Metadata-Token: t2"


@pytest.mark.parametrize("token", [b"", b"two words", b"a\r\nX: y", b"\xff", b"x" * 5000])
def test_what_is_no_token_is_never_sent(token: bytes) -> None:
    answer, seen = speaks(("PUT /latest/api/token", ok(token)))
    with (
        client_of(answer) as client,
        pytest.raises(DatasourceError, match="expected a session token"),
    ):
        Session(client, (EC2_TOKENS,), eager=True).get("a")

    assert seen == ["PUT /latest/api/token"]


def test_a_refused_token_is_an_error_and_no_loop() -> None:
    answer, _ = speaks(
        ("GET /a", status(401)), ("PUT /latest/api/token", ok(b"t")), ("GET /a", status(401))
    )
    with (
        client_of(answer) as client,
        pytest.raises(DatasourceError, match=r"/a: status 401$"),
    ):
        Session(client, (EC2_TOKENS,), eager=False).get("a")
