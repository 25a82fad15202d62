"""Includes over real sockets: what is fetched, once or each time, and what is not waited for."""

from __future__ import annotations

import re
import socket
import threading

import pytest

from agent.boot import boot
from agent.host import Host
from agent.user_data.fetch import Fetcher, Patience
from agent.user_data.include import read_lines, shown
from agent.user_data.parts import CLOUD_CONFIG, SCRIPT, Part, Refused, decode

from ..guests.directory import DirectoryGuest
from .loopback import Answer, ok, replies, request, serving, status
from .test_boot import MOTD, given, told
from .test_parts import CONFIG, SH, message, packed

QUICK = Patience(timeout=0.2, deadline=0.5, pause=0.01, attempts=4)


def pages(**content: bytes) -> Answer:
    """Serve by path; `{base}` in a page is the server's own URL."""

    def answer(connection: socket.socket, number: int) -> None:
        while head := request(connection):
            lines = head.decode().split("\r\n")
            name = lines[0].split()[1].strip("/")
            host = next(line[6:] for line in lines if line.lower().startswith("host: "))
            body = content.get(name)
            found = status(404) if body is None else ok(body.replace(b"{base}", host.encode()))
            connection.sendall(found)

    return answer


def fetched(user_data: str, **more: object) -> tuple[Part, ...]:
    return decode(user_data.encode(), includes=Fetcher(patience=QUICK), **more)  # type: ignore[arg-type]


def test_what_an_include_names_stands_in_its_place_and_in_order() -> None:
    mime = message(("X: y", SH), ("X: y", CONFIG))
    inner = b"#include\nhttp://{base}/config\n"
    with serving(pages(script=SH, config=packed(CONFIG), mime=mime, inner=inner)) as url:
        parts = fetched(f"#include {url}/script\n# a comment\n\n{url}/inner\n{url}/mime\n")

    assert [(part.type, part.result) for part in parts] == [
        (SCRIPT, "done"), (CLOUD_CONFIG, "done"), (SCRIPT, "done"), (CLOUD_CONFIG, "done"),
    ]  # fmt: skip


def test_a_url_that_fails_is_named_and_the_others_go_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    with serving(pages(script=SH)) as url:
        parts = fetched(
            f"#include\n{url}/nothing?token=hunter2\nhttp://u:hunter2@127.0.0.1:{nobody}/x\n{url}/script"
        )

    assert [part.result for part in parts] == ["refused", "refused", "done"]
    assert parts[0].detail == f"{url}/nothing: status 404"
    assert "Connection refused; gave up after 4 attempts" in parts[1].detail
    assert "hunter2" not in str(parts)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (replies(*[status(503)] * 9), "status 503; gave up after 4 attempts"),
        (replies(status(302, "Location: file:///etc/shadow")), "status 302"),
        (replies(status(302, "Location: ftp://127.0.0.1/x")), "leads to what is no URL"),
        (replies(*[status(302, "Location: /")] * 99), "status 302"),
        (replies(*[b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n#!"] * 9), "timed out"),
        (replies(*[b"nonsense\r\n\r\n"] * 9), "no HTTP answer"),
        (lambda connection, number: None, "gave up|Remote end closed|reset"),
        (replies(ok(b"#!" * 50_000)), "larger than 9[0-9]{3} bytes"),
        (replies(ok(packed(b"#!" + bytes(1_000_000)))), "larger than .* when unpacked"),
    ],
)
def test_a_server_that_is_no_use_costs_bounded_time(answer: Answer, words: str) -> None:
    with serving(answer) as url:
        (part,) = fetched(f"#include\n{url}/\n", limit=10_000)

    assert part.result == "refused"
    assert re.search(words, part.detail), part.detail


def test_an_answer_in_drips_ends_with_the_deadline() -> None:
    end = threading.Event()

    def drip(connection: socket.socket, number: int) -> None:
        request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not end.wait(0.05):
            connection.sendall(b"x")

    with serving(drip) as url:
        (part,) = fetched(f"#include\n{url}/\n")
        end.set()

    assert "not here within 0.5 seconds" in part.detail


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX: "])
def test_a_head_in_drips_ends_with_the_deadline(start: bytes) -> None:
    end = threading.Event()

    def drip(connection: socket.socket, number: int) -> None:
        request(connection)
        connection.sendall(start)
        while not end.wait(0.05):
            connection.sendall(b"H")

    with serving(drip) as url:
        (part,) = fetched(f"#include\n{url}/\n")
        end.set()

    assert "not here within 0.5 seconds" in part.detail


def test_a_greeting_of_tls_in_drips_ends_with_the_deadline() -> None:
    end = threading.Event()

    def drip(connection: socket.socket, number: int) -> None:
        connection.recv(1)
        # The head of a record of 16 KiB, of which a byte comes now and then.
        connection.sendall(b"\x16\x03\x03\x40\x00")
        while not end.wait(0.05):
            connection.sendall(b"\x02")

    with serving(drip) as url:
        (part,) = fetched(f"#include\n{url.replace('http:', 'https:')}/\n")
        end.set()

    # Python gives a handshake one time-out as a whole: it may be over before the deadline is.
    assert re.search("not here within 0.5 seconds|timed out", part.detail), part.detail


@pytest.mark.parametrize("far", [True, False])
def test_headers_of_a_request_are_for_the_place_it_names(far: bool) -> None:
    heads: list[bytes] = []
    base = ""

    def answer(connection: socket.socket, number: int) -> None:
        head = request(connection)
        heads.append(head)
        moved = status(302, f"Location: {base}/there")
        connection.sendall(moved if head.startswith(b"GET /first ") else ok(b"found"))

    secret = {"Authorization": "Bearer hunter2", "X-Key": "hunter2"}
    with serving(answer) as url, serving(answer) as other:
        base = other if far else url
        content = Fetcher(patience=QUICK).request(f"{url}/first", limit=100, headers=secret)

    assert content == b"found"
    assert [head.count(b"hunter2") for head in heads] == [2, 0 if far else 2]


def test_a_login_in_a_url_is_a_header() -> None:
    heads: list[bytes] = []

    def answer(connection: socket.socket, number: int) -> None:
        heads.append(request(connection))
        connection.sendall(ok(SH))

    with serving(answer) as url:
        (part,) = fetched(f"#include {url.replace('//', '//me:p%40ss@')}/x\n")

    assert part.result == "done"
    assert b"Authorization: Basic bWU6cEBzcw==\r\n" in heads[0]
    assert heads[0].startswith(b"GET /x HTTP/1.1\r\n")


def test_a_retry_heals() -> None:
    with serving(replies(status(503), ok(SH))) as url:
        (part,) = fetched(f"#include\n{url}/\n")

    assert part.result == "done"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"a": b"#include\nhttp://{base}/a\n"}, "includes itself"),
        (
            {"a": b"#include\nhttp://{base}/b\n", "b": b"#include\nhttp://{base}/a\n"},
            "includes itself",
        ),
        ({f"n{n}": b"#include\nhttp://{base}/n%d\n" % (n + 1) for n in range(20)} | {"a": b"#include\nhttp://{base}/n0"},
         "nested deeper than 8 levels"),
    ],
)  # fmt: skip
def test_loops_and_depths_end(content: dict[str, bytes], expected: str) -> None:
    with serving(pages(**content)) as url:
        parts = fetched(f"#include\n{url}/a\n")

    assert [part.result for part in parts] == ["refused"]
    assert expected in parts[0].detail


def test_an_include_that_multiplies_is_bounded() -> None:
    many = b"#include\n" + b"http://{base}/b\n" * 40
    leaves = b"#include\n" + b"http://{base}/c\n" * 40
    with serving(pages(a=many, b=leaves, c=SH)) as url:
        parts = fetched(f"#include\n{url}/a\n")

    assert len(parts) <= 501
    assert any(part.detail.startswith("more than 100 URLs") for part in parts)


def test_pages_of_nothing_are_asked_for_in_bounds() -> None:
    heads: list[bytes] = []

    def answer(connection: socket.socket, number: int) -> None:
        while head := request(connection):
            heads.append(head)
            connection.sendall(ok(b""))

    with serving(answer) as url:
        (part,) = fetched("#include\n" + f"{url}/\n" * 2_000)

    assert part.detail == "more than 100 URLs: the rest is left out"
    assert len(heads) == 100


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("file:///etc/shadow", "expected a URL of http or https"),
        ("ftp://example.com/", "expected a URL of http or https"),
        ("/etc/shadow", "expected a URL such as"),
        ("http://", "expected a URL such as"),
        ("http://a b/", "expected a URL such as"),
        ("http://[::1/", "expected a URL such as"),
        ("http://a:99999/", "expected a URL such as"),
        ("http://a/" + "x" * 9000, "expected a URL such as"),
    ],
)
def test_what_is_no_url_is_named_by_its_line(line: str, words: str) -> None:
    (found,) = read_lines(f"#include\n{line}\n".encode(), 9)

    assert found.problem.startswith("line 2: ")
    assert words in found.problem


def test_either_directive_holds_until_the_next() -> None:
    lines = read_lines(b"#include-once http://a/\nhttp://b/\r\n#INCLUDE http://c/\n#http://d/\n", 9)

    assert [(line.url, line.once) for line in lines] == [
        ("http://a/", True), ("http://b/", True), ("http://c/", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://me:secret@[fe80::1]:8443/a/b?key=secret#frag", "https://[fe80::1]:8443/a/b"),
        ("http://example.com/", "http://example.com/"),
        ("nonsense secret", "a URL"),
    ],
)
def test_a_url_is_told_without_what_is_secret_in_it(url: str, words: str) -> None:
    assert shown(url) == words


def test_include_once_is_fetched_once_for_an_instance(guest_root: DirectoryGuest) -> None:
    host = Host(guest_root.root)
    with serving(replies(ok(MOTD.encode()), ok(MOTD.replace("served", "second").encode()))) as url:
        user_data = given(f"#include-once\n{url}/\n", instance_id="one")
        boot(host, user_data)
        boot(host, user_data)
        boot(host, given(f"#include-once\n{url}/\n", instance_id="two"))

    assert guest_root.text("/etc/motd") == "second\n"
    assert told(guest_root)["parts"][0]["result"] == "done"
    (kept,) = guest_root.path("/var/lib/linklocal/agent/instances/one/fetched").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_bytes() == MOTD.encode()
    assert [row["what"] for row in told(guest_root)["waits"]] == [f"{url}/"]


def test_a_fetch_says_how_long_it_took() -> None:
    waits: list[str] = []

    def tell(what: str, began: float, seconds: float) -> None:
        waits.append(what)

    with serving(pages()) as url, pytest.raises(Refused):
        Fetcher(patience=QUICK, tell=tell).get(f"{url}/x?secret", once=False, limit=9)

    assert waits == [f"{url}/x"]


def test_the_kernels_line_may_name_a_cloud_config(guest_root: DirectoryGuest) -> None:
    with serving(replies(ok(MOTD.encode()))) as url:
        line = f"root=/dev/vda cloud-config-url={url}/ cc: hostname: from-cc end_cc quiet"
        guest_root.write("/proc/cmdline", line.encode())
        boot(Host(guest_root.root), given(""))

    assert guest_root.text("/etc/motd") == "served\n"
    assert guest_root.text("/etc/hostname") == "from-cc\n"
