"""The daemon's HTTP against servers that are slow, endless or broken."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.reset_password.client import Client, Reply, Unanswered
from agent.reset_password.instance_id import find_instance


@contextlib.contextmanager
def server(
    *answers: bytes, drip: float = 0.0, close: bool = True
) -> Iterator[tuple[str, list[bytes]]]:
    """Answer one connection after another, with *drip* seconds between single bytes."""
    asked: list[bytes] = []
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        for answer in answers:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            with link, contextlib.suppress(OSError):
                asked.append(link.recv(65536))
                if drip:
                    for byte in answer:
                        link.sendall(bytes([byte]))
                        if over.wait(drip):
                            return
                else:
                    link.sendall(answer)
                if not close:
                    over.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (GOOD, Reply(200, b"ok")),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", Reply(200, b"to the end")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Reply(204, b"")),
        (b"HTTP/1.1 404\r\ncontent-length: 0\r\n\r\n", Reply(404, b"")),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n",
            Reply(302, b""),
        ),
    ],
)
def test_an_answer_is_status_and_body(answer: bytes, reply: Reply) -> None:
    with server(answer) as (url, asked):
        assert Client(url).exchange("POST", "/x", b"{}", {"A": "b"}) == reply

    assert asked[0].startswith(b"POST /x HTTP/1.0\r\nHost: 127.0.0.1:")
    assert asked[0].endswith(b"\r\nA: b\r\n\r\n{}")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "not HTTP"),
        (b"\0" * 100, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "not HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 999 Odd\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "ends after 5 of 9 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "chunked"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 70_000, "longer than 65536"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "longer than"),
    ],
)
def test_what_is_no_whole_answer_is_none(answer: bytes, words: str) -> None:
    with server(answer) as (url, _), pytest.raises(Unanswered, match=words):
        Client(url).exchange("GET", "/x")


@pytest.mark.parametrize(
    ("answer", "drip"),
    [(b"", 0.0), (GOOD * 100, 0.01), (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, 0.01)],
)
def test_an_exchange_has_an_end_however_slow_the_server(answer: bytes, drip: float) -> None:
    began = time.monotonic()
    with server(answer, drip=drip, close=False) as (url, _):
        with pytest.raises(Unanswered, match="no whole answer within 0 s"):
            Client(url).exchange("GET", "/x", seconds=0.2)
        assert time.monotonic() - began < 2


def test_nobody_there_is_said_so() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(Unanswered, match="Connection refused"):
            Client(url).exchange("GET", "/x", low_port=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "169.254.169.254",
        "https://169.254.169.254",
        "http://metadata",
        "http://localhost:80",
        "http://1.2.3",
        "http://1.2.3.4:80/path",
        "http://user@1.2.3.4",
        "http://[::1",
        "http://[1.2.3.4]",
        "http://1.2.3.4\r\nX: y",
        "ftp://1.2.3.4",
    ],
)
def test_only_a_literal_address_will_do(url: str) -> None:
    with pytest.raises(ConfigError, match="expected http:// and an IP address"):
        Client(url)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", "http://[fd00:ec2::254]", "http://1.2.3.4:8254"]
)
def test_both_families_are_taken(url: str) -> None:
    assert Client(url).url == url.rstrip("/")


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


NOTHING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
TOKEN_NEEDED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


def test_the_instance_id_is_the_services(tmp_path: Path) -> None:
    with server(ok(b'{"uuid": "the-id"}')) as (url, _):
        assert find_instance(Client(url).exchange, str(tmp_path)) == "the-id"


def test_a_service_that_wants_tokens_gets_one(tmp_path: Path) -> None:
    with server(TOKEN_NEEDED, ok(b"the-token"), ok(b'{"uuid": "the-id"}')) as (url, asked):
        assert find_instance(Client(url).exchange, str(tmp_path)) == "the-id"

    assert asked[1].startswith(b"PUT /latest/api/token ")
    assert b"X-aws-ec2-metadata-token: the-token\r\n" in asked[2]


def test_what_the_agent_found_helps_where_the_service_is_silent(
    tmp_path: Path,
) -> None:
    known = tmp_path / "var/lib/linklocal/agent"
    with server(NOTHING) as (url, _), pytest.raises(Unanswered, match="does not say it either"):
        find_instance(Client(url).exchange, str(tmp_path))
    known.mkdir(parents=True)
    (known / "instance-id").write_text("the-id\n")
    with server(NOTHING) as (url, _):
        assert find_instance(Client(url).exchange, str(tmp_path)) == "the-id"


@pytest.mark.parametrize(
    "answers",
    [
        [ok(b"not JSON")],
        [ok(b"[]")],
        [ok(b'{"uuid": 7}')],
        [ok(b'{"uuid": ""}')],
        [ok(b'{"uuid": "a b"}')],
        [ok(b'{"uuid": "a\\nb"}')],
        [ok(b'{"uuid": "' + b"a" * 129 + b'"}')],
        [b"HTTP/1.1 500 Odd\r\n\r\n"],
        [TOKEN_NEEDED, ok(b"a\r\nb"), ok(b'{"uuid": "x"}')],
    ],
)
def test_a_document_without_an_id_is_no_answer(answers: list[bytes], tmp_path: Path) -> None:
    with server(*answers) as (url, _), pytest.raises(Unanswered):
        find_instance(Client(url).exchange, str(tmp_path))
