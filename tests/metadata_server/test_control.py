"""The control plane from outside: who gets in, what errors look like, what operators may see."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from metadata_server.control.app import OPEN
from metadata_server.control.auth import Tokens, fingerprint
from metadata_server.control.listen import check_listen
from metadata_server.errors import ConfigError
from metadata_server.instance import (
    Agency,
    InjectedFile,
    Instance,
    Key,
    Nic,
    ResetPassword,
)
from metadata_server.secret import Secret

from .plane import OTHER_TOKEN, TOKEN, Plane, plane

CANARY = b"canary-4d1f0c"
HASH = "$6$abcdefgh$" + "x" * 86
LINUX = Instance(
    id="ca9e8b7c-f2be-4b6d-a639-f10b4d994d04",
    name="ecs-ddd4",
    hostname="ecs-ddd4.novalocal",
    project_id="6e8b0c94265645f39c5abbe63c4113c6",
    keys=(Key("mykey", "ssh-rsa AAAAB3Nza me"),),
    user_data=Secret(b"#cloud-config " + CANARY),
    vendor_data={"cloud-init": CANARY.decode()},
    files=(InjectedFile("/etc/motd", Secret(CANARY)),),
    extra={"latest/meta-data/rack": CANARY.decode()},
    agency=Agency("my-agency", ("issue", CANARY.decode())),
    password_hash=Secret(b"$6$" + CANARY),
    reset_password=ResetPassword(proof="none"),
    nics=(
        Nic(
            mac="fa:16:3e:f7:c1:47",
            id="tap1",
            vif_id="v1",
            network_id="n1",
            ipv4=IPv4Address("192.168.1.10"),
        ),
    ),
)
WINDOWS = Instance(
    id="4f1d2e3c-0000-4000-8000-000000000002",
    name="win",
    hostname="win",
    project_id="p",
    os_type="Windows",
)
ONE = f"/linklocal/v1/instances/{LINUX.id}"
RESETS = ONE + "/reset-password"


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane(tmp_path, [LINUX, WINDOWS]) as running:
        yield running


def every_call(control: Plane) -> list[tuple[str, str]]:
    """Return method and path of each route, and of what is near to one but none."""
    calls = []
    for route in control.app.router.routes():
        assert route.resource is not None
        canonical = route.resource.canonical
        path = canonical.replace("{id}", LINUX.id).replace("{request}", "0" * 32)
        path = re.sub(r"\{(\w+)\}", r"\1", path)
        assert "{" not in path
        if canonical not in OPEN:
            calls.append((route.method, path))
    paths = {path for _, path in calls}
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "LOCK")
    calls += [(method, path) for path in paths for method in methods]
    calls += [("GET", path + "/") for path in paths]
    calls += [("GET", "/"), ("GET", "/nope"), ("POST", "/healthz"), ("GET", "/healthz/")]
    calls += [("GET", "//healthz"), ("GET", "/linklocal/v1/../../healthz/x"), ("OPTIONS", "/")]
    return [call for call in calls if call[1] not in OPEN or call[0] not in ("GET", "HEAD")]


async def test_every_route_and_every_path_that_is_none_asks_for_a_token(control: Plane) -> None:
    calls = every_call(control)

    assert len({path for _, path in calls}) > 10
    for method, path in calls:
        for headers in ({}, {"X-Auth-Token": "wrong"}, {"Authorization": "Bearer " + TOKEN[:-1]}):
            status, _, got = await control.call(method, path, headers=headers)
            assert (method, path, status) == (method, path, 401)
            assert got["WWW-Authenticate"] == 'Bearer realm="linklocal"'
            problems = path.startswith("/linklocal/") or path in ("/nope", "/", "/openapi.json")
            form = "application/problem+json" if problems else "application/"
            assert got["Content-Type"].startswith(form)


async def test_with_a_token_the_same_calls_are_answered_without_a_crash(control: Plane) -> None:
    for method, path in every_call(control):
        status, _, _ = await control.call(method, path)
        assert status != 401
        assert status < 500 or status == 501, (method, path)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Authorization": f"bearer  {TOKEN}"}, 200),
        ({"X-Auth-Token": TOKEN}, 200),
        ({"X-Auth-Token": OTHER_TOKEN}, 200),
        ({"X-Auth-Token": TOKEN, "Authorization": f"Bearer {TOKEN}"}, 200),
        ({"X-Auth-Token": TOKEN, "Authorization": f"Bearer {OTHER_TOKEN}"}, 401),
        ({"X-Auth-Token": TOKEN, "Authorization": "Bearer wrong"}, 401),
        ({"X-Auth-Token": ""}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"X-Auth-Token": TOKEN.upper()}, 401),
        ({"X-Auth-Token": TOKEN + "x"}, 401),
        ({"X-Auth-Token": "\u00e9\u00ff"}, 401),
        ({"Cookie": f"token={TOKEN}"}, 401),
    ],
)
async def test_a_token_comes_as_bearer_or_x_auth_token(
    control: Plane, headers: dict[str, str], status: int
) -> None:
    got, _, _ = await control.call("GET", "/linklocal/v1/instances", headers=headers)

    assert got == status


async def test_health_is_told_to_anyone_and_tells_nothing(control: Plane) -> None:
    status, text, _ = await control.call("GET", "/healthz", headers={})

    assert (status, text) == (200, "ok\n")


def test_an_empty_token_is_never_a_token() -> None:
    with pytest.raises(ValueError, match="empty token"):
        Tokens(["", TOKEN])


async def test_tokens_change_while_the_server_runs(control: Plane) -> None:
    control.tokens.replace(["the-new-one"])

    assert (await control.call("GET", ONE))[0] == 401
    assert (await control.call("GET", ONE, headers={"X-Auth-Token": "the-new-one"}))[0] == 200


async def test_instances_are_listed(control: Plane) -> None:
    status, document, headers = await control.call("GET", "/linklocal/v1/instances")

    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert [one["name"] for one in document["instances"]] == ["ecs-ddd4", "win"]
    assert document["instances"][0] == {
        "id": LINUX.id,
        "name": "ecs-ddd4",
        "hostname": "ecs-ddd4.novalocal",
        "project_id": LINUX.project_id,
        "os_type": "Linux",
        "flavor": "s3.medium.2",
        "addresses": ["192.168.1.10"],
        "tags": {},
        "reset": {"enrolment": "never"},
    }


async def test_an_instance_is_shown_without_any_secret(control: Plane) -> None:
    status, document, _ = await control.call("GET", ONE)

    assert status == 200
    assert CANARY.decode() not in json.dumps(document)
    assert document["user_data"] == {"size": 27}
    assert document["files"] == [{"path": "/etc/motd", "size": 13}]
    assert document["extra"] == ["latest/meta-data/rack"]
    assert document["agency"] == {"name": "my-agency"}
    assert document["keys"] == [{"name": "mykey", "public_key": "ssh-rsa AAAAB3Nza me"}]
    assert document["nics"][0]["ipv4"] == "192.168.1.10"
    assert document["reset"] == {"enrolment": "never"}
    assert document["password_posted"] is False


async def test_a_posted_password_is_read_and_forgotten(control: Plane) -> None:
    assert (await control.call("GET", ONE + "/password"))[:2] == (200, {"password": ""})
    await control.mailbox.post(LINUX.id, b"c2VjcmV0")

    assert (await control.call("GET", ONE + "/password"))[:2] == (200, {"password": "c2VjcmV0"})
    assert (await control.call("GET", ONE))[1]["password_posted"] is True
    assert (await control.call("DELETE", ONE + "/password"))[0] == 204
    assert (await control.call("DELETE", ONE + "/password"))[0] == 204
    assert (await control.call("GET", ONE + "/password"))[1] == {"password": ""}


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/nope", 404, "no such path: /nope"),
        ("GET", "/linklocal/v1/instances/x", 404, "no such instance: 'x'"),
        ("DELETE", "/linklocal/v1/instances/x/password", 404, "no such instance: 'x'"),
        ("GET", RESETS + "/x", 404, "no such reset request: 'x'"),
        ("PUT", RESETS, 405, "PUT is not known here; expected GET, HEAD, POST"),
        ("GET", RESETS + "/x?wait=1", 404, "no such reset request: 'x'"),
        (
            "GET",
            "/linklocal/v1/journal?token=god",
            400,
            "token: expected one of none, good, bad, got 'god'",
        ),
    ],
)
async def test_errors_have_one_form(
    control: Plane, method: str, path: str, status: int, detail: str
) -> None:
    got, document, headers = await control.call(method, path)

    assert (got, document["status"], document["detail"]) == (status, status, detail)
    assert document["type"] == "about:blank"
    assert headers["Content-Type"].startswith("application/problem+json")
    assert ("Allow" in headers) is (status == 405)


async def test_a_failure_of_the_server_is_logged_and_not_told(
    control: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    control.store.close()

    status, document, _ = await control.call("GET", ONE)

    assert (status, document["detail"]) == (500, "the server failed; its log says why")
    assert "Traceback" not in json.dumps(document)
    assert "sqlite3" in caplog.text


GOOD = {"user": "root", "hash": HASH}


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (b"{", "", "body: not JSON: line 1, column 2"),
        (b"[]", "", "body: expected a JSON object, got a list"),
        (b"NaN", "", "body: NaN is not JSON"),
        (b'"\xff"', "", "body: expected JSON in UTF-8"),
        (b"[" * 200_000, "", "body: expected JSON of sane depth"),
        (b"1" * 5000, "", "body: expected JSON of sane depth"),
        (b'{"user": "a", "user": "b"}', "/user", "user: the key is there twice"),
        (b"", "", "expected either 'password' or 'hash'"),
        ({**GOOD, "password": "Cloud.1234!"}, "", "expected either 'password' or 'hash'"),
        ({**GOOD, "usr": "x"}, "/usr", "unknown key 'usr'; nearest is 'user'"),
        ({**GOOD, "a/b~": 1}, "/a~1b~0", "unknown key 'a/b~'; known are user, password"),
        ({**GOOD, "user": 7}, "/user", "user: expected a string, got a number"),
        ({**GOOD, "user": ""}, "/user", "user: expected 1 to 32 characters, got 0"),
        ({**GOOD, "user": "a" * 33}, "/user", "user: expected 1 to 32 characters, got 33"),
        ({**GOOD, "user": "a\nb"}, "/user", "user: expected printable characters only"),
        ({**GOOD, "user": "root:x"}, "/user", "user: expected letters, digits"),
        ({**GOOD, "user": "-e"}, "/user", "user: expected letters, digits"),
        ({**GOOD, "user": "$(id)"}, "/user", "user: expected letters, digits"),
        ({**GOOD, "unlock": "yes"}, "/unlock", "unlock: expected true or false, got a string"),
        ({**GOOD, "expire": 1}, "/expire", "expire: expected true or false, got a number"),
        (
            {**GOOD, "apply": "now"},
            "/apply",
            "apply: expected one of 'boot', 'live', 'both', got 'now'",
        ),
        ({**GOOD, "scheme": "md5"}, "/scheme", "scheme: expected one of 'sha512', 'sha256', 'yesc"),
        ({"hash": HASH[:-1]}, "/hash", "hash: expected a complete crypt(3) hash"),
        ({"hash": HASH + "\n"}, "/hash", "hash: expected a complete crypt(3) hash"),
        ({"hash": "canary-4d1f0c"}, "/hash", "hash: expected a complete crypt(3) hash"),
        ({"hash": ["canary-4d1f0c"]}, "/hash", "hash: expected a string, got a list"),
        ({"password": "canary-4d1f0c&"}, "/password", "password: expected only ASCII letters"),
        ({"password": "canary-root-1"}, "/password", "password: must not contain the user name"),
        ({"password": "x" * 2000}, "/password", "password: expected 1 to 1024 characters"),
        (b'{"password": "\\ud800"}', "/password", "password: expected Unicode text"),
    ],
)
async def test_a_bad_reset_is_refused_with_its_place(
    control: Plane, body: dict[str, object] | bytes, pointer: str, detail: str
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    status, document, _ = await control.call("POST", RESETS, data=raw)

    assert status == 400
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert document["errors"][0]["detail"].startswith(detail)
    assert document["detail"].startswith(detail)
    assert "canary" not in json.dumps(document)
    assert control.engine.requests(LINUX.id) == ()


async def test_all_mistakes_are_told_at_once(control: Plane) -> None:
    body = {"user": 1, "hash": HASH, "apply": "now", "nope": 1}

    _, document, _ = await control.call("POST", RESETS, body)

    assert [error["pointer"] for error in document["errors"]] == ["/user", "/apply", "/nope"]


async def test_each_broken_rule_of_a_password_is_told(control: Plane) -> None:
    path = f"/linklocal/v1/instances/{WINDOWS.id}/reset-password"

    _, document, _ = await control.call("POST", path, {"password": "adm"})

    texts = [error["detail"] for error in document["errors"]]
    assert len(texts) == 3
    assert "consecutive characters of the user name" in texts[2]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_without_end_is_cut_off(control: Plane, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    data: object = chunks() if chunked else io.BytesIO(b"x" * (2 << 20))

    status, document, _ = await control.call("POST", RESETS, data=data)

    assert (status, document["detail"]) == (413, "body: expected at most 1048576 bytes")


async def test_a_body_that_is_not_what_its_headers_say_is_refused(control: Plane) -> None:
    headers = {"X-Auth-Token": TOKEN, "Content-Encoding": "gzip"}

    status, _, _ = await control.call("POST", RESETS, data=b"{}", headers=headers)

    assert status == 400


async def test_a_reset_is_asked_hashed_and_never_kept_in_plain(
    control: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    password = "Canary.7!7xyz"

    status, document, headers = await control.call(
        "POST", RESETS, {"password": password, "apply": "boot", "expire": True}
    )

    assert status == 202
    assert headers["Location"] == f"{RESETS}/{document['id']}"
    assert document["state"] == "pending"
    assert document["user"] == "root"
    assert document["scheme"] == "sha512"
    assert document["apply"] == "boot"
    assert (document["unlock"], document["expire"]) == (False, True)
    assert document["enrolment"] == "never"
    assert (await control.call("GET", headers["Location"]))[1] == document
    assert (await control.call("GET", RESETS))[1] == {"requests": [document]}
    assert password not in json.dumps(document) + caplog.text
    assert "$6$" not in json.dumps(document) + caplog.text
    files = [file for file in control.directory.rglob("*") if file.is_file()]
    assert len(files) > 2
    for file in files:
        content = file.read_bytes()
        assert password.encode() not in content, file
        assert b"$6$" not in content, file


async def test_a_given_hash_is_taken_as_it_is_and_the_user_of_windows_is_its_own(
    control: Plane,
) -> None:
    path = f"/linklocal/v1/instances/{WINDOWS.id}/reset-password"

    status, document, _ = await control.call("POST", path, {"hash": HASH})

    assert (status, document["user"], document["scheme"]) == (202, "Administrator", "sha512")


async def test_a_reset_of_one_instance_is_not_seen_below_another(control: Plane) -> None:
    _, asked, _ = await control.call("POST", RESETS, GOOD)

    other = f"/linklocal/v1/instances/{WINDOWS.id}/reset-password/{asked['id']}"

    assert (await control.call("GET", other))[0] == 404
    assert (await control.call("DELETE", other))[0] == 404


async def test_a_reset_is_cancelled_once(control: Plane) -> None:
    _, asked, _ = await control.call("POST", RESETS, GOOD)
    path = f"{RESETS}/{asked['id']}"

    assert (await control.call("DELETE", path))[1]["state"] == "cancelled"
    assert (await control.call("DELETE", path))[0] == 409
    assert (await control.call("GET", path + "?wait=60"))[1]["state"] == "cancelled"


async def test_waiting_ends_with_the_reset(control: Plane) -> None:
    _, asked, _ = await control.call("POST", RESETS, GOOD)
    path = f"{RESETS}/{asked['id']}"

    waiting = asyncio.ensure_future(control.call("GET", path + "?wait=60"))
    await control.call("DELETE", path)

    assert (await waiting)[1]["state"] == "cancelled"


async def test_waiting_ends_after_its_seconds(control: Plane) -> None:
    _, asked, _ = await control.call("POST", RESETS, GOOD)

    status, document, _ = await control.call("GET", f"{RESETS}/{asked['id']}?wait=0.05")

    assert (status, document["state"]) == (200, "pending")


async def test_waiting_ends_when_the_server_stops(control: Plane) -> None:
    _, asked, _ = await control.call("POST", RESETS, GOOD)

    waiting = asyncio.ensure_future(control.call("GET", f"{RESETS}/{asked['id']}?wait=60"))
    while not control.runner.server or not control.runner.server.connections:
        await asyncio.sleep(0)
    started = asyncio.get_running_loop().time()
    await control.app.shutdown()

    assert (await waiting)[1]["state"] == "pending"
    assert asyncio.get_running_loop().time() - started < 5


@pytest.mark.parametrize("wait", ["-1", "61", "x", "nan", "inf", ""])
async def test_waiting_has_bounds(control: Plane, wait: str) -> None:
    _, asked, _ = await control.call("POST", RESETS, GOOD)

    status, document, _ = await control.call("GET", f"{RESETS}/{asked['id']}?wait={wait}")

    assert (status, document["detail"]) == (400, "wait: expected seconds from 0 to 60")


async def test_an_identity_that_nobody_showed_is_not_accepted(control: Plane) -> None:
    assert (await control.call("POST", ONE + "/reset-key", {}))[0] == 400
    assert (await control.call("POST", ONE + "/reset-key", {"fingerprint": "x"}))[0] in (404, 409)


async def test_a_one_time_token_lets_the_first_daemon_enrol(control: Plane) -> None:
    status, document, headers = await control.call("POST", ONE + "/reset-key/token")

    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    assert len(document["token"]) >= 20


async def test_every_write_leaves_one_line_and_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "metadata_server.control.audit")
    async with plane(tmp_path, [LINUX], unix=True) as control:
        await control.call("GET", ONE)
        _, asked, _ = await control.call("POST", RESETS, GOOD)
        await control.call("POST", RESETS, {"password": "canary"})
        await control.call("DELETE", ONE + "/password")
        await control.call("POST", "/no%0Apath", {"password": "canary"})
        await control.call("DELETE", ONE, headers={"X-Auth-Token": "canary"})

    who = f"token:{fingerprint(TOKEN)} from=uid:"
    lines = [record.getMessage() for record in caplog.records if "audit" in record.name]
    assert len(lines) == 5
    assert all(line.startswith(who) for line in lines[:4])
    base = "/linklocal/v1/instances/{id}"
    assert [line.split(" ", 2)[2] for line in lines[:4]] == [
        f"POST {base}/reset-password instance={LINUX.id} user=root apply=both "
        f"reset={asked['id']} state=pending -> 202",
        f"POST {base}/reset-password instance={LINUX.id} -> 400",
        f"DELETE {base}/password instance={LINUX.id} -> 204",
        'POST "/no%0Apath" -> 404',
    ]
    assert lines[4].startswith(f"refused DELETE {ONE} from=uid:")
    assert "canary" not in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("address", "tls", "good"),
    [
        ("127.0.0.1:8774", False, True),
        ("127.8.8.8:8774", False, True),
        ("[::1]:8774", False, True),
        ("localhost:8774", False, True),
        ("unix:/run/linklocal/control.sock", False, True),
        ("0.0.0.0:8774", False, False),
        ("[::]:8774", False, False),
        ("10.0.0.5:8774", False, False),
        ("10.0.0.5:8774", True, True),
        ("169.254.169.254:8774", False, False),
        ("[::ffff:10.0.0.5]:8774", False, False),
        ("localhost.example.com:8774", False, False),
        ("127.0.0.1.example.com:8774", False, False),
        (":8774", False, False),
    ],
)
def test_passwords_go_over_loopback_a_unix_socket_or_tls(
    address: str, tls: bool, good: bool
) -> None:
    if good:
        check_listen(address, tls=tls)
    else:
        with pytest.raises(ConfigError, match="in the clear"):
            check_listen(address, tls=tls)
