"""Signed requests: what the platform's SDK signs is let in, what was changed or repeated is not."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from yarl import URL

from metadata_server.control.signature import AccessKeys
from metadata_server.instance import Instance
from metadata_server.secret import Secret

from .plane import TOKEN, Plane, plane

ACCESS, SECRET = "AKIDEXAMPLE", "sk-canary-0123456789"
PROJECT = "6e8b0c94265645f39c5abbe63c4113c6"
ONE = Instance(id="one", name="one", hostname="one.novalocal", project_id=PROJECT)
BASE = f"/v1/{PROJECT}/cloudservers"
META = f"{BASE}/one/metadata"


class Clock:
    """The real time and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def control(tmp_path: Path, clock: Clock) -> AsyncIterator[Plane]:
    keys = AccessKeys({ACCESS: Secret(SECRET.encode())}, clock=clock, remembered=50)
    async with plane(tmp_path, [ONE], access_keys=keys) as running:
        yield running


@dataclass(frozen=True)
class Sent:
    """A request as it goes over the wire."""

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def answered(self, control: Plane) -> tuple[int, str]:
        url = URL(
            f"{control.url}{self.path}" + (f"?{self.query}" if self.query else ""), encoded=True
        )
        async with (
            ClientSession(skip_auto_headers=["Content-Type", "User-Agent"]) as session,
            session.request(
                self.method, url, headers=self.headers, data=self.body or None
            ) as answer,
        ):
            return answer.status, await answer.text()

    def with_header(self, name: str, value: str) -> Sent:
        return replace(self, headers={**self.headers, name: value})


def signed(
    control: Plane,
    method: str = "GET",
    path: str = f"{BASE}/one",
    *,
    query: list[tuple[str, object]] | None = None,
    body: object = None,
    access: str = ACCESS,
    secret: str = SECRET,
    late: timedelta = timedelta(),
    content_type: str = "application/json;charset=UTF-8",
    headers: dict[str, str] | None = None,
) -> Sent:
    """Return a request with the signature that the SDK's own signer makes."""
    date = datetime.now(timezone.utc) - late
    request = SdkRequest(
        method=method,
        schema="http",
        host=control.url.removeprefix("http://"),
        resource_path=path,
        query_params=query or [],
        header_params={
            "Content-Type": content_type,
            "User-Agent": "huaweicloud-usdk-python/3.0",
            "X-Project-Id": PROJECT,
            "X-Sdk-Date": date.strftime("%Y%m%dT%H%M%SZ"),
            **(headers or {}),
        },
        body=None if body is None else json.dumps(body),
    )
    made = Signer(BasicCredentials(access, secret, PROJECT)).sign(request)
    path, _, raw = made.uri.partition("?")
    # Spelled for a client that takes Latin-1; this one takes text.
    spelled = {key: text.encode("latin-1").decode() for key, text in made.header_params.items()}
    return Sent(method, path, raw, spelled, made.body or b"")


GOOD: tuple[Callable[[Plane], Sent], ...] = (
    lambda c: signed(c),
    lambda c: signed(c, path=f"{BASE}/detail"),
    lambda c: signed(c, path=f"{BASE}/detail", query=[("limit", 9), ("name", "ü b&c=d+~*%")]),
    lambda c: signed(c, path=f"{BASE}/detail", query=[("tags", "10"), ("tags", "9"), ("a", "")]),
    lambda c: signed(c, path=f"{BASE}/detail", query=[("limit", [9, 10])]),
    lambda c: signed(c, "POST", META, body={"metadata": {"k": "ünïcode"}}),
    lambda c: signed(c, "POST", META, body={"metadata": {"k": "v"}}, content_type="text/plain"),
    lambda c: signed(c, late=timedelta(minutes=14)),
    lambda c: signed(c, late=timedelta(minutes=-14)),
    lambda c: signed(c, headers={"X-Custom": "  ünï  ", "X_Custom": "not signed"}),
    lambda c: signed(c, headers={"X-Security-Token": "t"}),
    lambda c: signed(c).with_header("Accept-Language", "de"),
)


@pytest.mark.parametrize("make", GOOD)
async def test_what_the_sdk_signs_is_let_in(
    control: Plane, make: Callable[[Plane], Sent], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        status, text = await make(control).answered(control)

    assert status == 200, text
    assert SECRET not in caplog.text


async def test_the_writer_is_named_in_the_audit_line(
    control: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="metadata_server.control.audit"):
        await signed(control, "POST", META, body={"metadata": {"k": "v"}}).answered(control)

    (line,) = [each for each in caplog.messages if "metadata" in each]
    assert line.startswith(f"key:{ACCESS} from=127.0.0.1 POST ")
    assert line.endswith("instance=one keys=k -> 200")


def key_path(control: Plane) -> Sent:
    return signed(control, "DELETE", f"{META}/{quote('a b', safe='')}")


BAD: tuple[tuple[str, Callable[[Plane], Sent], str], ...] = (
    ("another secret", lambda c: signed(c, secret=SECRET + "x"), "does not fit"),
    ("an unknown key", lambda c: signed(c, access="OTHER"), "does not fit"),
    ("no secret at all", lambda c: signed(c, access="OTHER", secret=" "), "does not fit"),
    ("too old", lambda c: signed(c, late=timedelta(minutes=16)), "15 minutes off"),
    ("of the future", lambda c: signed(c, late=timedelta(minutes=-16)), "15 minutes off"),
    (
        "the date changed",
        lambda c: signed(c, late=timedelta(minutes=5)).with_header(
            "X-Sdk-Date", datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        ),
        "does not fit",
    ),
    ("no date", lambda c: signed(c).with_header("X-Sdk-Date", "now"), "expected the form"),
    (
        "no such date",
        lambda c: signed(c).with_header("X-Sdk-Date", "20261399T000000Z"),
        "no such date",
    ),
    (
        "the body changed",
        lambda c: replace(
            signed(c, "POST", META, body={"metadata": {"k": "v"}}),
            body=b'{"metadata": {"k": "w"}}',
        ),
        "does not fit",
    ),
    (
        "a body added",
        lambda c: replace(signed(c, "POST", META), body=b'{"metadata": {}}'),
        "does not fit",
    ),
    ("the path changed", lambda c: replace(signed(c), path=f"{BASE}/two"), "does not fit"),
    (
        "the case of the path changed",
        lambda c: replace(key_path(c), path=f"{META}/A%20b"),
        "does not fit",
    ),
    (
        "the query changed",
        lambda c: replace(signed(c, path=f"{BASE}/detail", query=[("limit", 1)]), query="limit=2"),
        "does not fit",
    ),
    ("a query added", lambda c: replace(signed(c), query="limit=2"), "does not fit"),
    (
        "a plus made of its code",
        lambda c: replace(
            signed(c, path=f"{BASE}/detail", query=[("name", "a+b")]), query="name=a+b"
        ),
        "does not fit",
    ),
    ("the method changed", lambda c: replace(signed(c), method="DELETE"), "does not fit"),
    (
        "a signed header changed",
        lambda c: signed(c).with_header("X-Project-Id", "other"),
        "does not fit",
    ),
    (
        "another host",
        lambda c: signed(c).with_header("Host", "elsewhere.example"),
        "does not fit",
    ),
    (
        "the digest in place of the body",
        lambda c: replace(
            signed(
                c,
                "POST",
                META,
                body={"metadata": {"k": "v"}},
                headers={"X-Sdk-Content-Sha256": "0" * 64},
            ),
        ),
        "not the digest",
    ),
    (
        "JSON whose body is not signed",
        lambda c: signed(
            c,
            "POST",
            META,
            body={"metadata": {"k": "v"}},
            headers={"X-Sdk-Content-Sha256": "UNSIGNED-PAYLOAD"},
        ),
        "not the digest",
    ),
    (
        "half an Authorization",
        lambda c: signed(c).with_header("Authorization", f"SDK-HMAC-SHA256 Access={ACCESS}"),
        "expected SDK-HMAC-SHA256 Access",
    ),
    (
        "the host not signed",
        lambda c: without_signed(signed(c), "host"),
        "SignedHeaders: expected host",
    ),
    (
        "a signed header that is not there",
        lambda c: replace(
            signed(c),
            headers={k: v for k, v in signed(c).headers.items() if k != "X-Project-Id"},
        ),
        "expected x-project-id once",
    ),
    (
        "another algorithm",
        lambda c: signed(c).with_header(
            "Authorization", signed(c).headers["Authorization"].replace("SDK-HMAC", "SDK-NONE")
        ),
        "a token is needed",
    ),
)


def without_signed(sent: Sent, name: str) -> Sent:
    shown = sent.headers["Authorization"].replace(f";{name};", ";")
    return sent.with_header("Authorization", shown)


@pytest.mark.parametrize(
    ("make", "reason"), [(make, why) for _, make, why in BAD], ids=[n for n, _, _ in BAD]
)
async def test_what_is_changed_is_refused(
    control: Plane, make: Callable[[Plane], Sent], reason: str
) -> None:
    status, text = await make(control).answered(control)

    assert status == 401
    assert reason in json.loads(text)["error_msg"]
    assert json.loads(text)["error_code"] == "APIGW.0301"
    assert SECRET not in text


async def test_a_write_is_taken_once_and_a_read_as_often_as_asked(
    control: Plane, clock: Clock
) -> None:
    write = signed(control, "POST", META, body={"metadata": {"k": "v"}})
    read = signed(control)

    assert (await write.answered(control))[0] == 200
    for ahead in (3, 600, -600):
        clock.ahead = ahead
        assert (await read.answered(control))[0] == 200
        status, text = await write.answered(control)
        assert status == 401
        assert "made already" in text


async def test_the_same_write_twice_in_a_second_is_two_writes(control: Plane, clock: Clock) -> None:
    # What an SDK's signer makes of two equal calls, whose dates have no fractions of a second.
    write = signed(control, "POST", META, body={"metadata": {"k": "v"}})

    assert [(await write.answered(control))[0] for _ in range(3)] == [200] * 3
    clock.ahead = 3
    assert (await write.answered(control))[0] == 401


async def test_a_write_that_was_forgotten_is_not_taken_again(control: Plane) -> None:
    old = signed(control, "POST", META, body={"metadata": {"k": "old"}}, late=timedelta(minutes=9))
    assert (await old.answered(control))[0] == 200

    # More writes than are remembered; the oldest go first, and the door is shut behind them.
    for number in range(60):
        late = timedelta(minutes=8) - timedelta(seconds=5 * number)
        body = {"metadata": {"k": str(number)}}
        write = signed(control, "POST", META, body=body, late=late)
        assert (await write.answered(control))[0] == 200

    status, text = await old.answered(control)
    assert status == 401
    assert "sign the request anew" in text


async def test_a_token_does_as_well_and_one_that_is_wrong_is_not_mended(control: Plane) -> None:
    plain = Sent("GET", f"{BASE}/one", headers={"X-Auth-Token": TOKEN})
    both = signed(control).with_header("X-Auth-Token", "wrong")

    assert (await plain.answered(control))[0] == 200
    assert (await both.answered(control))[0] == 401


async def test_without_access_keys_nothing_signed_is_let_in(tmp_path: Path) -> None:
    async with plane(tmp_path, [ONE]) as control:
        status, _ = await signed(control).answered(control)

    assert status == 401
