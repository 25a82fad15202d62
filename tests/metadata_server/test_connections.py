"""Guests that are loud, slow, silent or many: each costs a bounded amount and harms no other."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from metadata_server.connections import Patience, Registry, read_plain
from metadata_server.instance import Identify, Instance
from metadata_server.metrics import STATUSES, Counters
from metadata_server.rates import Rates, place
from metadata_server.secret import Secret

from .guest_side import BARE, FULL, Answer, listening, parse, proxy, with_options

HOST = b"Host: 169.254.169.254\r\n"
LEAF = "/latest/meta-data/instance-id"
CLOSE = "Connection: close"
SHORT = Patience(idle=0.3, head=0.2, stuck=0.3, look=0.02)
CHECKOUT = Path(__file__).resolve().parents[2]


def get(path: str, *lines: str) -> bytes:
    extra = "".join(f"{line}\r\n" for line in lines)
    return f"GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{extra}\r\n".encode("latin-1")


class Link:
    """A kept-alive connection from an address of this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        self.writer.write(request)
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
        length = re.search(rb"(?i)content-length: (\d+)", head)
        return head, await self.reader.readexactly(int(length[1]) if length else 0)

    async def ends(self) -> bytes:
        """Return what still comes until the server closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), 20)
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def linked(port: int, source: str = "127.0.0.1") -> AsyncIterator[Link]:
    pair = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield Link(*pair)
    finally:
        pair[1].close()


# The short way and the long way


@pytest.mark.parametrize(
    "path",
    [
        LEAF,
        "/latest/meta-data/",
        "/latest/meta-data",
        "/",
        "//latest//meta-data/instance-id",
        "/latest/../latest/meta-data/instance-id",
        "/latest/meta-data/instance-id?query",
        "/latest/user-data",
        "/openstack",
        "/openstack/latest/network_data.json",
        "/openstack/latest/password",
        "/openstack/latest/securitykey",
        "/nope",
        "/%00",
    ],
)
@pytest.mark.parametrize("token", [False, True])
async def test_both_ways_give_the_same_answer(path: str, token: bool) -> None:
    async with listening(FULL) as side, linked(side.port) as link:
        shown = [f"X-aws-ec2-metadata-token: {await side.token()}"] if token else []
        # The first is never short: it makes the answer. A header nobody knows makes the way long.
        answers = [
            await link.ask(get(path, *shown, *more)) for more in ([], [], ["X-Other: 1"], [])
        ]

    for head, body in answers[1:]:
        assert re.sub(rb"Date: [^\r]*", b"", head) == re.sub(rb"Date: [^\r]*", b"", answers[0][0])
        assert body == answers[0][1]


PLAIN = get(LEAF, "User-Agent: me", "Accept: */*")


@pytest.mark.parametrize(
    ("data", "is_plain"),
    [
        (PLAIN, True),
        (get("/a?b", "Connection: Keep-Alive"), True),
        (PLAIN[:-1], False),
        (PLAIN + PLAIN, False),
        (PLAIN + b"x", False),
        (PLAIN.replace(b"GET", b"HEAD"), False),
        (PLAIN.replace(b"GET", b"get"), False),
        (PLAIN.replace(b"GET /", b"GET http://x/"), False),
        (PLAIN.replace(b"1.1", b"1.0"), False),
        (get("/a b"), False),
        (get("/a\tb"), False),
        (get("/\x7f"), False),
        (get("/\xe9"), False),
        (get("/a", "User-Agent: a\rb"), False),
        (get("/a", "User-Agent: a\nX-Instance-ID: b"), False),
        (get("/a", "User-Agent: \x00"), False),
        (get("/a", "User-Agent : me"), False),
        (get("/a", " folded: me"), False),
        (get("/a", "Host: second"), False),
        (get("/a", "Connection: close"), True),
        (get("/a", "Connection: close, TE"), False),
        (get("/a", "Connection: upgrade"), False),
        (get("/a", "Content-Length: 0"), False),
        (get("/a", "Transfer-Encoding: chunked"), False),
        (get("/a", "Expect: 100-continue"), False),
        (get("/a", "Upgrade: websocket"), False),
        (get("/a", "X-Forwarded-For: 10.0.0.1"), False),
        (get("/a", "X-Instance-ID: 1"), False),
        (get("/a", "no colon"), False),
        (get("/a", "User-Agent: " + "a" * 5000), False),
    ],
)
def test_what_may_be_answered_the_short_way(data: bytes, is_plain: bool) -> None:
    assert (read_plain(data) is not None) == is_plain


async def test_the_short_way_refuses_what_the_long_way_refuses() -> None:
    async with listening(with_options(FULL, http_tokens="required")) as side:
        token = await side.token()
        good = f"X-aws-ec2-metadata-token: {token}"
        async with linked(side.port) as link:
            for _ in range(2):
                assert b" 200 " in (await link.ask(get(LEAF, good)))[0]
                assert b" 401 " in (await link.ask(get(LEAF)))[0]
                assert b" 401 " in (await link.ask(get(LEAF, good[:-1] + "x")))[0]
                request = get(LEAF, good).replace(b"169.254.169.254", b"evil.test")
                assert b" 403 " in (await link.ask(request))[0]
            side.catalog.replace_base([with_options(FULL, http_endpoint="disabled")])
            assert b" 403 " in (await link.ask(get(LEAF, good)))[0]
            side.catalog.replace_base([])
            assert b" 404 " in (await link.ask(get(LEAF, good)))[0]


async def test_answers_come_in_the_order_of_their_requests() -> None:
    async with listening(FULL) as side, linked(side.port) as link:
        await link.ask(get(LEAF))
        post = b"POST /openstack/latest/password HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\n"
        link.writer.write(post)
        link.writer.write(b"abc" + get(LEAF) + get("/nope"))
        link.writer.write(get(LEAF, "Connection: close"))
        answers = await link.ends()

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200", b"404", b"200"]


# Time


@pytest.mark.parametrize(
    "begun",
    [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nX-A: " + b"b" * 5000],
)
async def test_who_says_nothing_or_not_all_is_hung_up_on(begun: bytes) -> None:
    async with listening(FULL, registry=Registry(SHORT)) as side, linked(side.port) as link:
        link.writer.write(begun)
        answer = await link.ends()

        assert not answer or answer.split(b" ")[1][:1] == b"4"
        assert (await side.ask(LEAF)).status == 200


async def test_a_head_in_drops_does_not_hold_a_connection() -> None:
    async with listening(FULL, registry=Registry(SHORT)) as side, linked(side.port) as link:
        dripping = asyncio.create_task(drip(link.writer))
        await link.ends()
        dripping.cancel()


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\nX-A: ")
    while True:
        writer.write(b"a")
        await asyncio.sleep(0.01)


async def test_headers_without_end_are_cut_off(tmp_path: Path) -> None:
    async with listening(FULL) as side, linked(side.port) as link:
        sending = asyncio.create_task(endless(link.writer))
        answer = await link.ends()
        sending.cancel()

    assert answer.split(b" ")[1] in (b"400", b"431") if answer else True


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\n")
    number = 0
    while not writer.is_closing():
        number += 1
        writer.write(b"X-%d: %b\r\n" % (number, b"a" * 1000))
        await writer.drain()


async def test_who_does_not_read_is_hung_up_on_and_holds_little() -> None:
    loud = replace(FULL, user_data=Secret(b"x" * 32_000))
    async with listening(loud, registry=Registry(SHORT)) as side:
        for request in (get("/latest/user-data"), get("/latest/user-data", "X-Other: 1")):
            link = socket.create_connection(("127.0.0.1", side.port))
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.setblocking(False)
            loop = asyncio.get_running_loop()
            with pytest.raises(ConnectionError):
                # In the end the server reads no more, and then it hangs up.
                await asyncio.wait_for(send_for_ever(loop, link, request), 20)
            link.close()
        assert (await side.ask(LEAF)).status == 200


async def send_for_ever(
    loop: asyncio.AbstractEventLoop, link: socket.socket, request: bytes
) -> None:
    while True:
        await loop.sock_sendall(link, request)
        await asyncio.sleep(0)


# Numbers


async def test_the_idlest_of_who_has_most_makes_room() -> None:
    other = replace(BARE, identify=Identify(addresses=(IPv4Address("127.0.0.2"),)))
    async with listening(FULL, other, registry=Registry(most=8)) as side:
        async with linked(side.port, "127.0.0.2") as quiet:
            await quiet.ask(get(LEAF))
            links = [await asyncio.open_connection("127.0.0.1", side.port) for _ in range(12)]
            reached = [await Link(*pair).ask(get(LEAF)) for pair in links[-6:]]
            still = await quiet.ask(get(LEAF))
        for _, writer in links:
            writer.close()

    assert all(b" 200 " in head for head, _ in [*reached, still])


def memory(pid: int) -> int:
    """Return the resident bytes of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@contextmanager
def server(directory: Path, *more: str) -> Iterator[tuple[int, int]]:
    """Run the server's program for one guest at 127.0.0.1; yields its port and process id."""
    instance = directory / "instance.yaml"
    instance.write_text("id: vm1\nname: vm1\nidentify: {default: true}\n")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "metadata_server", "--instance", str(instance)),
            *("--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"),
            *more,
        ],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(directory)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = re.search(r":(\d+)$", process.stdout.readline().strip())
        assert port
        yield int(port[1]), process.pid
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_ten_thousand_idle_connections_cost_little_and_stop_nobody(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit[1] < 10_200:
        pytest.skip("the host allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    links: list[socket.socket] = []
    try:
        with server(tmp_path) as (port, pid):
            before = memory(pid)
            for number in range(10_000):
                source = f"127.0.1.{number % 250 + 1}"
                links.append(
                    socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
                )
            with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
                link.sendall(get(LEAF))
                answer = link.recv(65536)
            grown = memory(pid) - before
    finally:
        for each in links:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)

    assert b" 200 OK" in answer
    assert grown < 10_000 * 8192


def test_what_is_sent_behind_a_request_that_waits_costs_little(tmp_path: Path) -> None:
    fault = "path=/latest/meta-data/instance-id,delay=60"
    with server(tmp_path, "--fault", fault) as (port, pid):
        before = memory(pid)
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(get(LEAF))
            with suppress(OSError):
                for _ in range(3000):
                    link.sendall(get("/", "X: y") * 50)
            grown = memory(pid) - before

    assert grown < 30_000_000


# How often


async def test_a_loud_guest_is_told_to_wait_and_no_other_is() -> None:
    other = replace(BARE, identify=Identify(addresses=(IPv4Address("127.0.0.2"),)))
    async with listening(FULL, other, rate=5) as side:
        statuses: dict[str, list[int]] = {"127.0.0.1": [], "127.0.0.2": []}
        waits = set()
        for source, found in statuses.items():
            for number in range(12 if source == "127.0.0.1" else 4):
                async with linked(side.port, source) as link:
                    request = get(LEAF) if number % 2 else get(LEAF, "X-Other: 1")
                    head, _ = await link.ask(request)
                answer = parse(head)
                found.append(answer.status)
                if answer.status == 429:
                    waits.add(answer.headers["retry-after"])

    assert statuses["127.0.0.1"][:5] == [200] * 5
    assert 429 in statuses["127.0.0.1"][5:]
    assert waits == {"1"}
    assert statuses["127.0.0.2"] == [200] * 4


async def test_who_was_told_to_wait_is_not_listened_to_meanwhile() -> None:
    async with listening(FULL, rate=20) as side, linked(side.port) as link:
        loop = asyncio.get_running_loop()
        began = loop.time()
        heads = [(await link.ask(get(LEAF)))[0] for _ in range(60)]
        taken = loop.time() - began

    # The first twenty at once, the others no faster than allowed, refusals included.
    assert taken > 0.8
    assert sum(b" 200 " in head for head in heads) >= 40


def test_a_bucket_fills_within_a_second() -> None:
    clock = [1000.0]
    rates = Rates(4, now=lambda: clock[0])

    def asked(number: int) -> list[bool]:
        return [rates.wait("one") == 0 for _ in range(number)]

    assert asked(6) == [True] * 4 + [False] * 2
    assert rates.wait("one") == pytest.approx(0.25)
    clock[0] += 0.25
    assert asked(2) == [True, False]
    clock[0] += 60
    assert asked(6) == [True] * 4 + [False] * 2
    assert rates.wait("another") == 0


# A load balancer that names itself


def balanced(address: str, provider: str = "edge-1", secret: bytes = b"shared") -> dict[str, str]:
    signature = hmac.new(secret, provider.encode(), "sha256").hexdigest()
    return {
        "X-Metadata-Provider": provider,
        "X-Metadata-Provider-Signature": signature,
        "X-Forwarded-For": address,
    }


KNOWN: tuple[Instance, ...] = (
    replace(FULL, identify=Identify(addresses=(IPv4Address("10.9.9.9"),))),
    replace(BARE, identify=Identify(default=True)),
)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (balanced("10.9.9.9"), 200),
        (balanced("10.9.9.9, 10.0.0.1"), 200),
        (balanced("::ffff:10.9.9.9"), 200),
        (balanced("10.9.9.8"), 400),
        (balanced("not an address"), 400),
        (balanced(""), 400),
        ({**balanced("10.9.9.9"), "X-Metadata-Provider": "edge-2"}, 403),
        (balanced("10.9.9.9", secret=b"wrong"), 403),
        ({**balanced("10.9.9.9"), "X-Metadata-Provider-Signature": ""}, 403),
        ({"X-Metadata-Provider": "edge-1", "X-Forwarded-For": "10.9.9.9"}, 403),
        ({"X-Metadata-Provider": "edge-1"}, 400),
    ],
)
async def test_a_trusted_load_balancer_says_whose_request_it_is(
    headers: dict[str, str], status: int
) -> None:
    async with listening(*KNOWN, proxy=proxy("127.0.0.1")) as side:
        answer = await side.ask("/latest/meta-data/hostname", headers=headers.items())

    assert answer.status == status
    if status == 200:
        assert answer.text == FULL.hostname


async def test_no_other_load_balancer_is_believed() -> None:
    async with listening(*KNOWN, proxy=proxy("10.0.0.5")) as side:
        answer = await side.ask("/latest/meta-data/hostname", headers=balanced("10.9.9.9").items())

    assert answer.text == BARE.hostname


# What is no request


@pytest.mark.parametrize(
    "sent",
    [
        b"canary\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01canary\r\n\r\n",
        get("/canary", "Content-Length: 1", "Content-Length: 2"),
        get("/canary", "Content-Length: canary"),
        get("/canary", "Transfer-Encoding: canary"),
        get("/canary", "no canary"),
        get("/canary", "Can\x00ary: 1"),
        get("/canary", "X: " + "canary" * 2000),
        get("/" + "canary" * 2000),
        b"GET http://[canary/ HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_in_our_words(sent: bytes) -> None:
    counters = Counters(("guests",))
    async with listening(FULL, counters=counters) as side:
        answer = parse(raw := await side.raw(sent))

    assert raw.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.headers["connection"] == "close"
    assert b"Expected a well-formed request" in answer.body
    assert b"canary" not in raw
    assert "server" not in answer.headers
    assert sum(counters.row(0)[: len(STATUSES)]) == 1


# Who is no guest


async def test_a_stranger_who_asks_too_often_is_turned_away_and_no_guest_is() -> None:
    async with listening(FULL, strangers=3) as side:
        found: dict[str, list[Answer]] = {}
        put = b"PUT / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        for source in ("127.0.0.9", "127.0.0.10", "127.0.0.1"):
            asked = (get(LEAF), get("/", "X-Other: 1"), put, b"?\r\n\r\n") * 2
            if source == "127.0.0.1":
                asked = (get(LEAF, CLOSE),) * 8
            found[source] = []
            for request in asked:
                async with linked(side.port, source) as link:
                    link.writer.write(request)
                    found[source].append(parse(await link.ends()))

    for source in ("127.0.0.9", "127.0.0.10"):
        statuses = [answer.status for answer in found[source]]
        assert statuses[:3] == [404] * 3
        assert 429 in statuses[3:]
        assert {answer.headers["connection"] for answer in found[source]} == {"close"}
    assert {answer.headers["retry-after"] for answer in found["127.0.0.9"][-1:]} == {"1"}
    assert [answer.status for answer in found["127.0.0.1"]] == [200] * 8


async def test_a_trusted_proxy_is_no_stranger() -> None:
    async with listening(FULL, strangers=1, proxy=proxy("127.0.0.1")) as side:
        answers = [await side.ask(LEAF, headers=balanced("10.9.9.8").items()) for _ in range(4)]

    assert {answer.status for answer in answers} == {400}


async def test_strangers_of_many_addresses_take_no_guests_place() -> None:
    async with listening(FULL, registry=Registry(most=8)) as side, linked(side.port) as first:
        async with linked(side.port) as second:
            pairs = [
                await asyncio.open_connection(
                    "127.0.0.1", side.port, local_addr=(f"127.0.2.{number}", 0)
                )
                for number in range(1, 20)
            ]
            heads = [(await link.ask(get(LEAF)))[0] for link in (first, second)]
        for _, writer in pairs:
            writer.close()

    assert all(b" 200 " in head for head in heads)


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"),
        ("2001:db8::1", "2001:db8::ffff:0:1", "2001:db8:0:1::1"),
        ("fe80::1%eth0", "fe80::2%eth0", "fe81::1"),
    ],
)
def test_strangers_are_told_apart_by_what_one_of_them_can_have(
    address: str, same: str, other: str
) -> None:
    assert place(address) == place(same) != place(other)


def test_no_more_strangers_are_remembered_than_there_is_room_for() -> None:
    rates = Rates(1, remembered=4)

    assert [rates.wait(str(number)) for number in range(100)] == [0.0] * 100
    assert len(rates) == 4
    assert rates.wait("99") > 0


# Many guests behind one proxy


def vouched(instance: Instance, secret: bytes = b"shared") -> dict[str, str]:
    signature = hmac.new(secret, instance.id.encode(), "sha256").hexdigest()
    return {
        "X-Instance-ID": instance.id,
        "X-Instance-ID-Signature": signature,
        "X-Tenant-ID": instance.project_id,
    }


async def test_what_one_guest_sends_through_a_proxy_never_gets_anothers_answer() -> None:
    shown = [f"{name}: {value}" for name, value in vouched(KNOWN[0]).items()]
    async with listening(*KNOWN, proxy=proxy("127.0.0.1")) as side:
        for first in (get(LEAF, *shown), get(LEAF, *shown, "X-Other: 1"), get(LEAF)):
            # The proxy took the second for a part of the first; it reads one answer.
            answers = await side.raw(first + get("/latest/meta-data/hostname", *shown))

            assert re.findall(rb"HTTP/1.1 (\d+)", answers) in ([b"200"], [b"400"])
            assert b"Connection: close" in answers


@pytest.mark.parametrize("name", list(vouched(KNOWN[0])))
@pytest.mark.parametrize("first", [True, False])
async def test_a_guests_own_word_beside_the_proxys_is_refused(name: str, first: bool) -> None:
    headers = [*vouched(KNOWN[0]).items()]
    headers.insert(0 if first else 3, (name, vouched(KNOWN[1])[name]))
    async with listening(*KNOWN, proxy=proxy("127.0.0.1")) as side:
        answer = await side.ask(LEAF, headers=headers)

    assert answer.status == 400
