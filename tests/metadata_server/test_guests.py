"""Who is answered and how: identity, tokens, the mailbox, credentials, and HTTP at its edges."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from metadata_server import huawei, mailbox
from metadata_server.errors import ServerError
from metadata_server.identify import Hosts
from metadata_server.instance import Agency, Identify, Instance
from metadata_server.rendered import Rendered
from metadata_server.secret import Secret
from metadata_server.store import Store
from metadata_server.tokens import Tokens

from .guest_side import BARE, FULL, GuestSide, listening, proxy, with_options

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"
HUAWEI_TTL = "X-Metadata-Token-Ttl-Seconds"
HUAWEI_TOKEN = "X-Metadata-Token"
EC2_PUT = "/latest/api/token"
HUAWEI_PUT = "/meta-data/latest/api/token"
LEAF = "/latest/meta-data/instance-id"

AGENCY = Agency("my-agency")

ELSEWHERE = Identify(addresses=(IPv4Address("192.0.2.7"),))


@pytest.fixture
async def side() -> AsyncIterator[GuestSide]:
    async with listening(FULL) as made:
        yield made
        assert made.logged == []


# Tokens


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (EC2_PUT, [(TTL, "1")], 200),
        (EC2_PUT, [(TTL.upper(), "21600")], 200),
        (EC2_PUT + "/", [(TTL, "60")], 200),
        ("/ec2" + EC2_PUT, [(TTL, "60")], 200),
        (EC2_PUT, [], 400),
        (EC2_PUT, [(HUAWEI_TTL, "60")], 400),
        (EC2_PUT, [(TTL, "0")], 400),
        (EC2_PUT, [(TTL, "21601")], 400),
        (EC2_PUT, [(TTL, "-1")], 400),
        (EC2_PUT, [(TTL, "+5")], 400),
        (EC2_PUT, [(TTL, "1.5")], 400),
        (EC2_PUT, [(TTL, "")], 400),
        (EC2_PUT, [(TTL, "\xb2")], 400),
        (EC2_PUT, [(TTL, "9" * 400)], 400),
        (EC2_PUT, [(TTL, "60"), ("X-Forwarded-For", "10.0.0.1")], 403),
        (EC2_PUT, [(TTL, "60"), ("x-fORWARDED-for", "")], 403),
        (HUAWEI_PUT, [(HUAWEI_TTL, "60"), ("X-FORWARDED-FOR", "10.0.0.1")], 403),
        ("/2021-03-23/api/token", [(TTL, "60")], 403),
        ("/2021-03-24/api/token", [(TTL, "60")], 404),
        (HUAWEI_PUT, [], 200),
        (HUAWEI_PUT, [(HUAWEI_TTL, "60")], 200),
        (HUAWEI_PUT, [(HUAWEI_TTL, "21600")], 200),
        (HUAWEI_PUT, [(HUAWEI_TTL, "59")], 400),
        (HUAWEI_PUT, [(HUAWEI_TTL, "21601")], 400),
        (HUAWEI_PUT, [(HUAWEI_TTL, "six")], 400),
    ],
)
async def test_asking_for_a_token(
    side: GuestSide, path: str, headers: list[tuple[str, str]], status: int
) -> None:
    answer = await side.ask(path, "PUT", headers)

    assert answer.status == status


async def test_the_answer_tells_how_long_the_token_is_good(side: GuestSide) -> None:
    ec2 = await side.ask(EC2_PUT, "PUT", [(TTL, "60")])
    huawei = await side.ask(HUAWEI_PUT, "PUT")

    assert ec2.headers["x-aws-ec2-metadata-token-ttl-seconds"] == "60"
    assert huawei.headers["x-metadata-token-ttl-seconds"] == "21600"
    assert ec2.headers["content-type"] == "text/plain; charset=UTF-8"


@pytest.mark.parametrize("ask", [(EC2_PUT, TTL), (HUAWEI_PUT, HUAWEI_TTL)])
async def test_a_token_fits_where_clients_keep_it(side: GuestSide, ask: tuple[str, str]) -> None:
    made = {(await side.ask(ask[0], "PUT", [(ask[1], "21600")])).text for _ in range(20)}

    # SDKs on AWS's C runtime have 64 bytes for it, and go without credentials beyond that.
    assert all(re.fullmatch(r"[\w-]{56}", token, re.ASCII) for token in made)
    assert len(made) == 20


@pytest.mark.parametrize("path", [EC2_PUT, HUAWEI_PUT])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
async def test_a_token_is_put_and_nothing_else(side: GuestSide, path: str, method: str) -> None:
    answer = await side.ask(path, method)

    assert (answer.status, answer.headers["allow"]) == (405, "PUT")


@pytest.mark.parametrize("ask", [(EC2_PUT, TTL), (HUAWEI_PUT, HUAWEI_TTL)])
@pytest.mark.parametrize("show", [TOKEN, HUAWEI_TOKEN, "X-AWS-EC2-Metadata-TOKEN"])
async def test_both_families_take_each_others_tokens(ask: tuple[str, str], show: str) -> None:
    async with listening(with_options(FULL, http_tokens="required")) as side:
        token = (await side.ask(ask[0], "PUT", [(ask[1], "60")])).text

        for path in (LEAF, "/openstack/latest/meta_data.json", "/"):
            assert (await side.ask(path, headers=[(show, token)])).status == 200


async def test_without_its_token_a_guest_gets_nothing_when_one_is_required() -> None:
    async with listening(with_options(FULL, http_tokens="required")) as side:
        for path in ("/", "/latest/", LEAF, "/openstack", "/openstack/latest/password", "/nope"):
            answer = await side.ask(path)
            assert answer.status == 401, path
            assert huawei.NO_AGENCY not in answer.text
        assert (await side.ask(EC2_PUT, "PUT", [(TTL, "60")])).status == 200


async def test_a_bad_token_is_refused_even_where_none_is_needed(side: GuestSide) -> None:
    token = await side.token()
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")

    for bad in ("", "x", changed, token + "00", token[:-2], "\xe9" * len(token), " ".join(token)):
        assert (await side.ask(LEAF, headers=[(TOKEN, bad)])).status == 401, bad
    assert (await side.ask(LEAF, headers=[(TOKEN, token)])).status == 200


async def test_a_token_ends_when_it_said_and_belongs_to_one_instance() -> None:
    clock = [1_000_000.0]
    async with listening(FULL, now=lambda: clock[0]) as side:
        token = await side.token(ttl=60)
        of_another = side.tokens.issue(BARE.id, 60)

        clock[0] += 59
        assert (await side.ask(LEAF, headers=[(TOKEN, token)])).status == 200
        assert (await side.ask(LEAF, headers=[(TOKEN, of_another)])).status == 401
        clock[0] += 1
        assert (await side.ask(LEAF, headers=[(TOKEN, token)])).status == 401


def test_a_token_outlives_the_process_but_not_the_key(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    first, second, other = Store(tmp_path), Store(tmp_path), Store(None)
    tokens = Tokens(first.key("session-tokens"))
    token = tokens.issue(FULL.id, 60)

    Tokens(second.key("session-tokens")).check(token, FULL.id)

    assert other.key("session-tokens") != first.key("session-tokens")
    assert tokens.issue(FULL.id, 60) != token
    for store in (first, second, other):
        store.close()


async def test_a_switched_off_endpoint_answers_403() -> None:
    async with listening(with_options(FULL, http_endpoint="disabled")) as side:
        assert (await side.ask(LEAF)).status == 403
        assert (await side.ask("/openstack/latest/meta_data.json")).status == 403
        assert (await side.ask(EC2_PUT, "PUT", [(TTL, "60")])).status == 403
        assert (await side.ask("/nope")).status == 403


# Identity


async def test_an_unknown_guest_gets_404_and_learns_nothing() -> None:
    options = with_options(replace(FULL, identify=ELSEWHERE), http_tokens="required")
    async with listening(options) as side:
        refused = await side.ask("/nope")
        for path in ("/", LEAF, "/openstack", "/linklocal/v1/reset-password/challenge"):
            for method in ("GET", "PUT", "POST"):
                headers = [("X-Forwarded-For", "192.0.2.7"), ("X-Instance-ID", FULL.id)]
                answer = await side.ask(path, method, headers)
                assert (answer.status, answer.body) == (404, refused.body), path
        assert (await side.ask(EC2_PUT, "PUT", [(TTL, "60")], host="evil.test")).status == 404


async def test_the_interface_tells_guests_apart() -> None:
    one = replace(BARE, identify=Identify(interface="br0"))
    two = replace(FULL, identify=Identify(interface="br1"))
    async with listening(one, two, interface="br1") as side:
        assert (await side.ask("/latest/meta-data/hostname")).text == FULL.hostname


def signed(instance: Instance, secret: bytes = b"shared") -> dict[str, str]:
    signature = hmac.new(secret, instance.id.encode(), "sha256").hexdigest()
    return {
        "X-Instance-ID": instance.id,
        "X-Instance-ID-Signature": signature,
        "X-Tenant-ID": instance.project_id,
    }


GOOD = signed(FULL)


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        (GOOD, 200, "ecs-ddd4.novalocal"),
        ({**GOOD, "X-Forwarded-For": "10.9.9.9"}, 200, "ecs-ddd4.novalocal"),
        ({}, 400, "X-Instance-ID header is missing from request."),
        (
            {"X-Instance-ID": FULL.id},
            400,
            "X-Instance-ID-Signature header is missing from request.",
        ),
        (
            {name: value for name, value in GOOD.items() if name != "X-Tenant-ID"},
            400,
            "X-Tenant-ID header is missing from request.",
        ),
        (signed(FULL, b"wrong"), 403, "Invalid proxy request signature."),
        ({**GOOD, "X-Instance-ID": BARE.id}, 403, "Invalid proxy request signature."),
        ({**GOOD, "X-Instance-ID-Signature": "\xe9"}, 403, "Invalid proxy request signature."),
        ({**GOOD, "X-Tenant-ID": BARE.project_id}, 404, "could not be found"),
        (signed(replace(FULL, id="unknown")), 404, "could not be found"),
    ],
)
async def test_a_trusted_proxy_says_whose_request_it_is(
    headers: dict[str, str], status: int, words: str
) -> None:
    known = [replace(FULL, identify=ELSEWHERE), replace(BARE, identify=Identify(default=True))]
    async with listening(*known, proxy=proxy("127.0.0.1")) as side:
        answer = await side.ask("/latest/meta-data/hostname", headers=headers.items())

    assert answer.status == status
    assert words in answer.text


@pytest.mark.parametrize("path", ["/", "/ec2", "//"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_balancer_sees_that_the_service_is_there(path: str, method: str) -> None:
    async with listening(replace(BARE, identify=ELSEWHERE), proxy=proxy("127.0.0.1")) as side:
        answer = await side.ask(path, method)
        elsewhere = await side.ask("/latest", method)
        own = await side.ask("/", headers=signed(BARE).items())
        named = await side.ask("/", method, [("X-Instance-ID", BARE.id)])

    assert (answer.status, elsewhere.status, named.status) == (200, 400, 400)
    assert answer.text == ("" if method == "HEAD" else own.text)


async def test_the_root_tells_strangers_nothing() -> None:
    async with listening(replace(FULL, identify=ELSEWHERE), proxy=proxy("10.0.0.5")) as side:
        assert (await side.ask("/")).status == 404


async def test_nobody_else_may_say_whose_request_it_is() -> None:
    known = [replace(FULL, identify=ELSEWHERE), replace(BARE, identify=Identify(default=True))]
    async with listening(*known, proxy=proxy("10.0.0.5")) as side:
        answer = await side.ask("/latest/meta-data/hostname", headers=GOOD.items())

    assert answer.text == BARE.hostname


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [(["10.9.9.9"], 200), (["10.9.9.9, 10.9.9.8"], 403), (["10.9.9.9", "10.9.9.8"], 403)],
)
async def test_a_token_goes_through_the_proxy_and_no_other(
    forwarded: list[str], status: int
) -> None:
    headers = [*GOOD.items(), (TTL, "60"), *(("X-Forwarded-For", each) for each in forwarded)]
    async with listening(replace(FULL, identify=ELSEWHERE), proxy=proxy("127.0.0.1")) as side:
        assert (await side.ask(EC2_PUT, "PUT", headers)).status == status


async def test_a_proxy_that_drops_headers_has_sdks_fall_back_to_version_1() -> None:
    async with listening(replace(FULL, identify=ELSEWHERE), proxy=proxy("127.0.0.1")) as side:
        answers = [await side.ask(path, "PUT", GOOD.items()) for path in (EC2_PUT, HUAWEI_PUT)]
        wrong = await side.ask(EC2_PUT, "PUT", [*GOOD.items(), (TTL, "0")])

    assert [answer.status for answer in (*answers, wrong)] == [404, 200, 400]


@pytest.mark.parametrize(
    ("host", "welcome"),
    [
        ("169.254.169.254", True),
        ("169.254.169.254:80", True),
        ("127.0.0.1:8254", True),
        ("[fd00:ec2::254]", True),
        ("[fd00:ec2::254]:80", True),
        ("[fe80::a9fe:a9fe%25eth0]:80", True),
        ("localhost", True),
        ("LOCALHOST:8254", True),
        ("metadata.cloud.test", True),
        ("METADATA.cloud.test.:80", True),
        ("evil.test", False),
        ("metadata.cloud.test.evil.test", False),
        ("169.254.169.254.evil.test", False),
        ("169.254.169.254@evil.test", False),
        ("2852039166", False),
        ("0xa9fea9fe", False),
        ("fd00:ec2::254", False),
        ("[evil.test]", False),
        ("localhost.evil.test", False),
        ("", False),
        ("\xe9", False),
    ],
)
async def test_the_host_header(host: str, welcome: bool) -> None:
    async with listening(FULL, hosts=("metadata.cloud.test",)) as side:
        for _ in range(2):
            assert (await side.ask("/", host=host)).status == (200 if welcome else 403)


def test_hosts_are_not_remembered_without_end() -> None:
    hosts = Hosts()

    assert all(hosts.welcome(f"10.0.{n // 250}.{n % 250}") for n in range(3000))
    assert hosts.welcome("10.0.11.1")


async def test_no_host_two_hosts_and_a_host_in_the_target(side: GuestSide) -> None:
    async def status(request: bytes) -> bytes:
        return (await side.raw(request)).split(b" ")[1]

    assert await status(b"GET / HTTP/1.0\r\n\r\n") == b"200"
    two = b"Host: 1.2.3.4\r\nHost: 1.2.3.5\r\nConnection: close\r\n\r\n"
    assert await status(b"GET / HTTP/1.1\r\n" + two) == b"400"
    assert (await side.ask("http://169.254.169.254/latest/")).status == 200
    assert (await side.ask("http://evil.test/latest/")).status == 403


# The mailbox

PASSWORD = "/openstack/latest/password"


async def test_a_password_is_posted_once_and_read_until_it_is_cleared(side: GuestSide) -> None:
    box = mailbox.Mailbox(side.store)

    empty = await side.ask(PASSWORD)
    posted = await side.ask(PASSWORD, "POST", body=b"enciphered\x00\xff")
    again = await side.ask("/openstack/2013-04-04/password", "POST", body=b"another")
    read = await side.ask(PASSWORD)
    await box.clear(FULL.id)

    assert (empty.status, empty.body) == (200, b"")
    assert (posted.status, posted.body) == (200, b"")
    assert again.status == 409
    assert read.body == b"enciphered\x00\xff"
    assert (await side.ask(PASSWORD)).body == b""
    assert (await side.ask(PASSWORD, "POST", body=b"another")).status == 200


@pytest.mark.parametrize(("size", "status"), [(1, 200), (1020, 200), (1021, 400), (70_000, 400)])
async def test_how_long_a_password_may_be(side: GuestSide, size: int, status: int) -> None:
    answer = await side.ask(PASSWORD, "POST", body=b"x" * size)

    assert answer.status == status
    assert ("Request is too large." in answer.text) == (status == 400)
    assert len((await side.ask(PASSWORD)).body) == (size if status == 200 else 0)


async def test_a_full_mailbox_is_a_conflict_before_anything_else(side: GuestSide) -> None:
    await side.ask(PASSWORD, "POST", body=b"x")

    assert (await side.ask(PASSWORD, "POST", body=b"x" * 2000)).status == 409


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_mailbox_has_two_methods(side: GuestSide, method: str) -> None:
    answer = await side.ask(PASSWORD, method)

    assert answer.status == 400
    assert method == "HEAD" or "GET and POST only are supported." in answer.text


async def test_of_many_posts_at_once_one_is_kept(side: GuestSide) -> None:
    bodies = [f"password {n}".encode() for n in range(8)]

    answers = await asyncio.gather(*(side.ask(PASSWORD, "POST", body=body) for body in bodies))

    winner = [answer.status for answer in answers].index(200)
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    assert (await side.ask(PASSWORD)).body == bodies[winner]


async def test_an_empty_post_leaves_the_mailbox_open(side: GuestSide) -> None:
    assert (await side.ask(PASSWORD, "POST")).status == 200
    assert (await side.ask(PASSWORD, "POST", body=b"x")).status == 200


# Temporary access keys


async def test_the_security_key_is_in_the_platforms_form(side: GuestSide) -> None:
    found = json.loads((await side.ask("/openstack/latest/securitykey")).body)["credential"]
    ends = datetime.strptime(found["expires_at"], "%Y-%m-%dT%H:%M:%S.%fZ")
    left = ends.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)

    assert set(found) == {"access", "secret", "securitytoken", "expires_at"}
    assert timedelta(minutes=10) < left <= timedelta(hours=1)


async def test_the_role_has_the_same_pair_as_the_security_key(side: GuestSide) -> None:
    key = json.loads((await side.ask("/openstack/latest/securitykey")).body)["credential"]
    role = json.loads((await side.ask("/latest/meta-data/iam/security-credentials/my-agency")).body)
    info = json.loads((await side.ask("/latest/meta-data/iam/info")).body)

    assert role["AccessKeyId"] == key["access"]
    assert role["SecretAccessKey"] == key["secret"]
    assert role["Token"] == key["securitytoken"]
    assert role["Code"] == info["Code"] == "Success"
    assert role["LastUpdated"] == info["LastUpdated"]
    assert role["Expiration"][:19] == key["expires_at"][:19]


async def test_without_agency_the_refusal_is_the_one_that_sdks_know() -> None:
    async with listening(BARE) as side:
        for version in ("latest", "2018-08-27"):
            answer = await side.ask(f"/openstack/{version}/securitykey")
            assert answer.status == 401
            assert "Please configure Cloud Service Agency first" in answer.text
        assert (await side.ask("/openstack/nope/securitykey")).status == 404
        assert (await side.ask("/latest/meta-data/iam/")).status == 404


def test_a_pair_is_renewed_ten_minutes_before_its_end() -> None:
    key = Secret(b"k" * 32)
    first = huawei.credentials(key, FULL, AGENCY, 1_000_000_000)

    last = huawei.credentials(key, FULL, AGENCY, first.expires - 601)
    renewed = huawei.credentials(key, FULL, AGENCY, first.expires - 600)

    assert last == first
    assert renewed.access != first.access
    assert renewed.begins == first.expires - 600
    assert renewed.expires - renewed.begins == 3600


def test_every_instance_and_server_has_its_own_pairs() -> None:
    now = 1_000_000_000
    pairs = [
        huawei.credentials(Secret(b"k" * 32), FULL, AGENCY, now),
        huawei.credentials(Secret(b"l" * 32), FULL, AGENCY, now),
        huawei.credentials(Secret(b"k" * 32), replace(FULL, id=BARE.id), AGENCY, now),
    ]

    assert len({pair.access for pair in pairs}) == 3
    assert pairs[0] == huawei.credentials(Secret(b"k" * 32), FULL, AGENCY, now)


# HTTP


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", [LEAF, "/latest/", "/openstack/latest/meta_data.json"])
async def test_leaves_are_read_only(side: GuestSide, method: str, path: str) -> None:
    answer = await side.ask(path, method)

    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", [LEAF, "/latest/", "/openstack/latest/meta_data.json", "/nope"])
async def test_head_is_get_without_the_body(side: GuestSide, path: str) -> None:
    got, head = await side.ask(path), await side.ask(path, "HEAD")

    assert head.body == b""
    assert head.status == got.status
    assert head.headers["content-length"] == str(len(got.body))


async def test_answers_do_not_say_what_gives_them(side: GuestSide) -> None:
    answers = [
        await side.raw(b"\x01 / HTTP/1.1\r\n\r\n"),
        await side.raw(b"GET / HTTP/x\r\n\r\n"),
    ]
    answers.append(await side.raw(b"GET / HTTP/1.0\r\n\r\n"))

    for answer in answers:
        assert b"server:" not in answer.lower()
        assert b"aiohttp" not in answer.lower()


async def test_a_connection_is_kept_as_its_client_wants(side: GuestSide) -> None:
    get = b"GET " + LEAF.encode() + b" HTTP/1.%d\r\nHost: localhost\r\n%b\r\n"

    both = await side.raw(get % (1, b"") + get % (1, b"Connection: close\r\n"))
    old = await side.raw(get % (0, b""))
    kept = await side.raw(get % (0, b"Connection: keep-alive\r\n") + get % (0, b""))

    assert both.count(b"HTTP/1.1 200 OK") == 2
    assert b"Connection: close" in both
    assert old.count(b"HTTP/1.1 200 OK") == 1
    assert kept.count(b"HTTP/1.1 200 OK") == 2
    assert b"Connection: keep-alive" in kept


async def test_a_body_is_asked_for_when_the_client_waits_for_that(side: GuestSide) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", side.port)
    head = f"POST {PASSWORD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
    writer.write(head.encode() + b"Expect: 100-continue\r\n\r\n")

    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"abc")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize(
    ("method", "path", "status"), [("PUT", EC2_PUT, b"200"), ("POST", LEAF, b"405")]
)
async def test_a_body_that_is_not_asked_for_ends_the_connection(
    side: GuestSide, method: str, path: str, status: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", side.port)
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{TTL}: 60\r\n"
        "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n".encode()
    )

    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()

    # s3fs sends its next request instead of the body, which would be read as a chunk.
    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nConnection: close\r\n" in head


async def test_an_expectation_without_a_body_keeps_the_connection(side: GuestSide) -> None:
    get = f"GET {LEAF} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"

    both = await side.raw((get + "\r\n" + get + "Connection: close\r\n\r\n").encode())

    assert both.count(b"HTTP/1.1 200 OK") == 2


ODD_REQUESTS = [
    b"GET /%00 HTTP/1.1\r\n\r\n",
    b"GET /%ff%fe HTTP/1.1\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\n\r\n",
    b"GET /%zz%%% HTTP/1.1\r\n\r\n",
    b"GET /latest/meta-data/%0d%0aX: HTTP/1.1\r\n\r\n",
    b"GET " + b"/a" * 3000 + b" HTTP/1.1\r\n\r\n",
    b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
    b"GET * HTTP/1.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n\r\n",
    b"CONNECT 10.0.0.1:80 HTTP/1.1\r\n\r\n",
    b"GET http://169.254.169.254:99999/ HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nX-aws-ec2-metadata-token: \xff\xfe\r\n\r\n",
    b"GET / HTTP/1.1\r\nAccept: " + b"a/b;q=0.1," * 700 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nCookie: " + b"a" * 20000 + b"\r\n\r\n",
    b"POST /openstack/latest/password HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /openstack/latest/password HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /openstack/latest/password HTTP/1.1\r\nContent-Length: 2\r\nContent-Encoding: gzip"
    b"\r\n\r\nzz",
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    b"GET\r\n\r\n",
    b"\x00\x01\x02\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", ODD_REQUESTS, ids=range(len(ODD_REQUESTS)))
async def test_no_bytes_make_the_server_fail(
    side: GuestSide, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    closing = request_bytes.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n", 1)

    answer = await side.raw(closing)

    assert answer.startswith(b"HTTP/1."), answer[:100]
    assert answer.split(b" ")[1][:1] in (b"2", b"4")
    assert b"Traceback" not in answer
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert (await side.ask(LEAF)).status == 200


async def test_a_target_that_is_no_url_gets_nothing() -> None:
    async with listening(FULL) as side:
        answer = await side.raw(b"GET http://[::1/x HTTP/1.1\r\nConnection: close\r\n\r\n")

        # aiohttp 3.8 hangs up.
        assert not answer or answer.split(b" ")[1][:1] == b"4"
        assert (await side.ask(LEAF)).status == 200


async def test_a_client_that_leaves_before_its_body_is_no_fault(side: GuestSide) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", side.port)
    head = f"POST {PASSWORD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300\r\n\r\nabc"
    writer.write(head.encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await side.ask(PASSWORD)).body == b""


async def test_a_page_in_the_guests_browser_posts_no_password(side: GuestSide) -> None:
    """It could without being asked: a plain POST, to an address, with nothing to prove."""
    page = await side.ask(PASSWORD, "POST", [("Origin", "http://example.com")], b"x")
    agent = await side.ask(PASSWORD, "POST", body=b"enciphered")

    assert (page.status, agent.status) == (403, 200)
    assert (await side.ask(PASSWORD)).body == b"enciphered"


# What is kept


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_state_that_somebody_else_has_prepared_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, 1234, 1234)
    ours = tmp_path / "ours"
    ours.mkdir(mode=0o700)
    (ours / "tokens.key").write_bytes(b"A" * 32)
    (ours / "tokens.key").chmod(0o600)
    os.chown(ours / "tokens.key", 1234, 1234)

    with pytest.raises(ServerError, match="expected a directory of this user, uid 0"):
        Store(theirs)
    store = Store(ours)
    with pytest.raises(ServerError, match="expected a file of this user"):
        store.key("tokens")
    store.close()
    assert list(theirs.iterdir()) == []


async def test_a_changed_instance_is_served_changed(side: GuestSide) -> None:
    before = await side.ask("/latest/meta-data/hostname")
    side.catalog.replace_base([replace(FULL, hostname="new.novalocal")])
    after = await side.ask("/latest/meta-data/hostname")
    side.catalog.replace_base([])
    gone = await side.ask("/latest/meta-data/hostname")

    assert (before.text, after.text) == ("ecs-ddd4.novalocal", "new.novalocal")
    assert gone.status == 404


def test_answers_are_kept_within_bounds() -> None:
    kept = Rendered(lambda node: b"", limit=20_000)
    instances = [replace(BARE, id=f"instance-{n}") for n in range(100)]

    for instance in instances:
        for path in ("/latest/meta-data/", "/latest/meta-data/hostname", "/nope", LEAF + "//"):
            kept.render(instance, 1, path)

    present = [each for each in instances if kept.ready(each, 1, "/latest/meta-data/")]
    assert 5 < len(present) < 30
    assert present[-1] is instances[-1]
    assert kept.ready(instances[-1], 1, LEAF + "//") is None
    assert kept.ready(instances[-1], 2, "/latest/meta-data/") is None


async def test_a_store_keeps_its_files_to_itself(tmp_path: Path) -> None:
    store = Store(tmp_path / "state", [mailbox.SCHEMA])
    store.key("session-tokens")
    await mailbox.Mailbox(store).post("a", b"secret")
    modes = {path.name: path.stat().st_mode & 0o777 for path in store.directory.iterdir()}
    store.close()

    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert set(modes) >= {"state.sqlite", "state.sqlite-wal", "session-tokens.key"}
    assert set(modes.values()) == {0o600}


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "state", [mailbox.SCHEMA])
    await mailbox.Mailbox(store).post("a", b"kept")
    store.close()

    store = Store(tmp_path / "state", [mailbox.SCHEMA])
    assert mailbox.Mailbox(store).get("a") == b"kept"
    store.close()


async def test_a_write_that_fails_changes_nothing() -> None:
    store = Store(None, [mailbox.SCHEMA])

    def change(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO mailbox VALUES ('a', 'b')")
        raise ValueError("midway")

    with pytest.raises(ValueError, match="midway"):
        await store.write(change)

    assert store.read("SELECT * FROM mailbox") == []
    store.close()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    store = Store(tmp_path / "state")
    store.key("k")
    (store.directory / "k.key").chmod(mode)

    with pytest.raises(ServerError, match="expected mode 0600"):
        store.key("k")
    store.close()


# An issuer of real access keys

ISSUER = """
import json, os, sys
with open(sys.argv[1], "a") as calls:
    calls.write(os.environ["LINKLOCAL_INSTANCE_ID"] + os.environ["LINKLOCAL_AGENCY"] + "\\n")
print(json.dumps({"access": "AK", "secret": "SK", "securitytoken": "T", "expires_at": sys.argv[2]}))
"""


def with_issuer(*command: str, **changes: Any) -> Instance:
    return replace(FULL, agency=Agency("my-agency", (sys.executable, "-c", *command)), **changes)


async def test_an_issuers_pair_is_kept_until_ten_minutes_before_its_end(tmp_path: Path) -> None:
    clock = [datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()]
    calls = tmp_path / "calls"
    instance = with_issuer(ISSUER, str(calls), "2026-01-01T01:00:00.000000Z")
    async with listening(instance, now=lambda: clock[0]) as side:

        async def read() -> dict[str, str]:
            answer = await side.ask("/openstack/latest/securitykey")
            return dict(json.loads(answer.body)["credential"])

        first, second = await asyncio.gather(read(), read())
        role = await side.ask("/latest/meta-data/iam/security-credentials/my-agency")
        clock[0] += 2999
        kept = await read()
        once = calls.read_text()
        clock[0] += 1
        await read()

    assert first == second == kept
    assert first["expires_at"] == "2026-01-01T01:00:00.000000Z"
    assert (first["access"], json.loads(role.body)["SecretAccessKey"]) == ("AK", "SK")
    assert once == f"{FULL.id}my-agency\n"
    assert calls.read_text() == once * 2


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(3)",
        "print('hunter2')",
        "print('[]')",
        "print('{\"access\": 1}')",
        'print(\'{"credential": {"access": "hunter2"}}\')',
        "print('x' * 100000)",
    ],
)
async def test_a_failing_issuer_is_503_and_nothing_it_says_is_told(
    program: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(with_issuer(program)) as side:
        answer = await side.ask("/openstack/latest/securitykey")

    assert answer.status == 503
    assert "credentials_command of instance" in caplog.text
    assert "hunter2" not in caplog.text + answer.text


async def test_an_instance_that_anyone_is_gets_no_real_keys() -> None:
    instance = with_issuer(ISSUER, identify=Identify(default=True))
    async with listening(instance) as side:
        assert (await side.ask("/openstack/latest/securitykey")).status == 401
        assert (await side.ask("/latest/meta-data/iam/")).status == 404
