"""The platform's own way of a reset: our server with its daemon, our daemon with its service.

Both halves are held against the same vectors. The platform's daemon is replayed by its requests,
one after another on connections it keeps, as it sends them.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from agent.reset_password.envelope import hashed, open_envelope
from agent.reset_password.protocol import ProtocolError
from metadata_server.reset.envelope import seal
from metadata_server.secret import Secret
from metadata_server.server import Server

from .conftest import Serve
from .guests.passwords import opens
from .metadata_server.dialects import GOOD, ID, ONE, WINDOWS, call
from .test_reset_crashes import until
from .test_reset_end_to_end import Machine
from .test_reset_end_to_end import machine as machine

VECTORS: list[dict[str, str]] = json.loads(
    (Path(__file__).parent / "data/reset-legacy.json").read_text()
)["vectors"]
FLAG, PASSWORD = "/openstack/latest/resetpwd_flag", "/openstack/latest/reset_password"
META_DATA = "/openstack/latest/meta_data.json"
# By its address, so that its source port counts as proof of root.
KNOWN = {**ONE, "identify": {"addresses": ["127.0.0.1"]}}
LEGACY = {**KNOWN, "reset_password": {"legacy": True}}
RESETS = f"/linklocal/v1/instances/{ID}/reset-password"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# The envelope


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["why"])
def test_an_envelope_is_opened_by_the_guest(vector: dict[str, str]) -> None:
    found = open_envelope(vector["envelope"], vector["instance"])

    assert found.reveal().decode() == vector["password"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["why"])
def test_an_envelope_is_sealed_by_the_server(vector: dict[str, str]) -> None:
    salt, password = bytes.fromhex(vector["salt"]), Secret(vector["password"].encode())

    made = seal(password, vector["instance"], salt)
    other = seal(password, vector["instance"]).reveal().decode()

    assert made.reveal().decode() == vector["envelope"]
    # A salt of its own each time, in the twelve characters that the platform's daemon takes.
    assert other != vector["envelope"]
    assert other[11] == "="
    assert open_envelope(other, vector["instance"]).reveal().decode() == vector["password"]


@pytest.mark.parametrize(
    ("envelope", "instance"),
    [
        ("", ID),
        ("AAECAwQFBgc=", ID),
        ("AAECAwQFBgc=Svy+cSVwCoyDc+k6oNDA", ID),
        ("AAECAwQFBgc=Svy+cSVwCoyDc+k6oNDA1w==", "another"),
        ("AAECAwQFBgc=Svy+cSVwCoyDc+k6oNDA1w==*", ID),
        ("äAECAwQFBgc=Svy+cSVwCoyDc+k6oNDA1w==", ID),
        ("x" * 10_000, ID),
    ],
)
def test_what_is_no_envelope_of_this_instance_is_refused(envelope: str, instance: str) -> None:
    with pytest.raises(ProtocolError, match=r"^envelope: "):
        open_envelope(envelope, instance)


def test_an_envelope_gives_the_same_hash_each_time() -> None:
    first, again, other = (
        hashed(open_envelope(each, ID), each)
        for each in (
            VECTORS[0]["envelope"],
            VECTORS[0]["envelope"],
            seal(Secret(GOOD.encode()), ID).reveal().decode(),
        )
    )

    assert first is not None
    assert first == again != other
    assert opens(first.reveal().decode(), GOOD)


# Our server


class Vendor:
    """The platform's daemon by its requests: Java's, on connections that are used again."""

    def __init__(self, server: Server) -> None:
        self._link = HTTPConnection(urlsplit(server.guest_url).netloc, timeout=5)
        self.requests: list[str] = []

    def close(self) -> None:
        self._link.close()

    def send(self, method: str, path: str) -> tuple[int, bytes]:
        self.requests.append(f"{method} {path.rpartition('/')[2]}")
        headers = {"User-Agent": "Java/1.8.0_151", "Accept": "text/html, image/gif, */*; q=.2"}
        body = None
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = b"True"
        self._link.request(method, path, body, headers)
        answer: HTTPResponse = self._link.getresponse()
        assert answer.getheader("Content-Length") is not None
        return answer.status, answer.read()

    def value(self, path: str) -> str:
        status, body = self.send("GET", path)
        assert status == 200
        found: str = json.loads(body)[path.rpartition("/")[2]]
        return found

    def boot(self) -> str | None:
        """Take its one turn; return the password it hands to chpasswd, None when there is none."""
        if self.value(FLAG) != "True":
            assert self.send("POST", FLAG)[0] == 200
            assert self.value(FLAG) == "True"
        envelope = self.value(PASSWORD)
        if not envelope:
            return None
        instance = json.loads(self.send("GET", META_DATA)[1])["uuid"]
        password = open_envelope(envelope, instance).reveal().decode()
        assert self.send("DELETE", PASSWORD)[0] == 200
        assert self.value(PASSWORD) == ""
        return password


def ask(server: Server, **body: Any) -> tuple[int, Any]:
    status, answer, _ = call(server, "POST", RESETS, {"password": GOOD, **body})
    return status, answer


def shown(server: Server) -> str:
    return str(call(server, "GET", f"/linklocal/v1/instances/{ID}")[1]["reset"]["enrolment"])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_platforms_daemon_gets_the_password_and_ends_at_once(
    serve: Serve, tmp_path: Path, workers: int
) -> None:
    server = serve(LEGACY, workers=workers, state=str(tmp_path / "state"))
    before = shown(server)
    first = Vendor(server)
    nothing = first.boot()
    known = shown(server)

    status, asked = ask(server)
    second = Vendor(server)
    password = second.boot()

    assert (before, nothing, known) == ("never", None, "legacy")
    assert first.requests == [
        "GET resetpwd_flag",
        "POST resetpwd_flag",
        "GET resetpwd_flag",
        "GET reset_password",
    ]
    assert (status, asked["state"], asked["scheme"]) == (202, "pending", "legacy")
    assert password == GOOD
    assert second.requests == [
        "GET resetpwd_flag",
        "GET reset_password",
        "GET meta_data.json",
        "DELETE reset_password",
        "GET reset_password",
    ]
    done = call(server, "GET", f"{RESETS}/{asked['id']}")[1]
    assert (done["state"], done["code"]) == ("applied", "unproved")
    assert Vendor(server).boot() is None
    for path in (tmp_path / "state").iterdir():
        assert GOOD.encode() not in path.read_bytes()
    listed = Vendor(server).send("GET", "/openstack/latest/")[1]
    assert b"reset" not in listed


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"password": None, "hash": "$6$linklocalsalt01$" + "Aa./" * 21 + "zz"}, 409, "no hash"),
        ({"user": "debian"}, 400, "the password of root alone"),
        ({"expire": True}, 409, "expire: the platform's own daemon cannot"),
        ({"apply": "live"}, 409, "apply: the platform's own daemon cannot"),
        ({"password": "Semi;colon.1"}, 400, "a shell"),
        ({"password": "Dollar$HOME.1"}, 400, "a shell"),
        ({"password": "short"}, 400, "8 to 26"),
    ],
)
def test_what_the_platforms_daemon_cannot_do_is_not_asked_of_it(
    serve: Serve, body: dict[str, Any], status: int, words: str
) -> None:
    server = serve(LEGACY)

    found, answer = ask(server, **body)

    assert found == status
    assert words in json.dumps(answer)
    assert call(server, "GET", RESETS)[1]["requests"] == []


@pytest.mark.parametrize("settings", [{}, {"legacy": False}])
def test_it_is_off_unless_it_is_switched_on(serve: Serve, settings: dict[str, Any]) -> None:
    server = serve({**ONE, "reset_password": settings}, {**WINDOWS})
    vendor = Vendor(server)

    for method in ("GET", "POST", "DELETE"):
        assert vendor.send(method, FLAG)[0] == 404
        assert vendor.send(method, PASSWORD)[0] == 404
    vendor.close()


def test_other_methods_are_refused_and_a_later_password_survives_a_delete(serve: Serve) -> None:
    server = serve(LEGACY)
    vendor = Vendor(server)
    asked = ask(server)[1]

    assert vendor.send("DELETE", PASSWORD)[0] == 200
    assert vendor.send("PUT", PASSWORD)[0] == 405
    assert vendor.send("POST", PASSWORD)[0] == 405

    # Nobody had fetched it: the DELETE was for one before.
    assert call(server, "GET", f"{RESETS}/{asked['id']}")[1]["state"] == "pending"
    assert vendor.boot() == GOOD


@needs_root
async def test_a_guest_that_enrols_ends_the_platforms_way_for_good(
    serve: Serve, machine: Machine
) -> None:
    server = await asyncio.to_thread(serve, LEGACY)
    vendor = Vendor(server)
    _, asked = await asyncio.to_thread(ask, server)
    async with machine.daemon(server.guest_url):
        status, _ = await asyncio.to_thread(vendor.send, "GET", PASSWORD)
        flag, _ = await asyncio.to_thread(vendor.send, "POST", FLAG)
        _, later = await asyncio.to_thread(ask, server)
        done = await asyncio.to_thread(call, server, "GET", f"{RESETS}/{later['id']}?wait=30")
    first = await asyncio.to_thread(call, server, "GET", f"{RESETS}/{asked['id']}")

    assert (status, flag) == (404, 404)
    assert (first[1]["state"], first[1]["code"]) == ("failed", "enrolled")
    assert done[1]["state"] == "applied"
    assert opens(machine.shadow["root"][0], GOOD)


# Our daemon


class Elsewhere:
    """A platform that knows nothing of sealed resets: its three paths, and what was asked."""

    def __init__(self) -> None:
        self.flag = "False"
        self.envelope = ""
        self.nothing = ""
        self.sealed_status = 404
        self.requests: list[str] = []
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        name = request.path.rpartition("/")[2]
        self.requests.append(f"{request.method} {name}")
        if request.path == META_DATA:
            return web.json_response({"uuid": ID})
        if request.path == FLAG:
            if request.method == "POST":
                self.flag = (await request.read()).decode()
            return web.json_response({name: self.flag})
        if request.path == PASSWORD:
            if request.method == "DELETE":
                self.envelope = ""
            return web.json_response({name: self.envelope or self.nothing})
        return web.Response(status=self.sealed_status)


@pytest.fixture
async def elsewhere() -> AsyncIterator[Elsewhere]:
    platform = Elsewhere()
    runner = web.ServerRunner(web.Server(platform.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    platform.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield platform
    await runner.cleanup()


@needs_root
@pytest.mark.parametrize("nothing", ["", "None", "null"])
async def test_our_daemon_sets_it_where_there_is_nothing_better(
    machine: Machine, elsewhere: Elsewhere, nothing: str
) -> None:
    machine.configure({"reset_password": {"legacy": True}})
    elsewhere.envelope, elsewhere.nothing = VECTORS[0]["envelope"], nothing

    # Ready once its turn is over, so that logins begin with the new password.
    async with machine.daemon(elsewhere.url):
        field = machine.shadow["root"][0]
        _, history = await machine.command("history", "--root", str(machine.root))
        _, status = await machine.command("status", "--root", str(machine.root), "--json")

    assert opens(field, "Cloud.1234!")
    assert elsewhere.flag == "True"
    turn = elsewhere.requests[: elsewhere.requests.index("DELETE reset_password") + 2]
    assert turn == [
        "GET meta_data.json",
        "POST challenge",
        "GET resetpwd_flag",
        "POST resetpwd_flag",
        "GET reset_password",
        "DELETE reset_password",
        "GET reset_password",
    ]
    assert elsewhere.requests.count("DELETE reset_password") == 1
    assert "applied" in history
    assert json.loads(status)["state"] == "legacy"
    assert b"every process of this machine can read" in machine.log
    assert b"Cloud.1234!" not in machine.contents()


@needs_root
@pytest.mark.parametrize(
    ("legacy", "status", "shadow"),
    [(False, 404, "*"), (True, 503, "*"), (True, 404, "!$6$salt$x")],
    ids=["not switched on", "the service has a bad moment", "the account is locked"],
)
async def test_our_daemon_does_not_set_it_nor_delete_it(
    machine: Machine, elsewhere: Elsewhere, legacy: bool, status: int, shadow: str
) -> None:
    machine.configure({"reset_password": {"legacy": legacy}})
    text = (machine.root / "etc/shadow").read_text()
    (machine.root / "etc/shadow").write_text(text.replace("root:*", f"root:{shadow}"))
    elsewhere.envelope, elsewhere.sealed_status = VECTORS[0]["envelope"], status

    takes_turn = legacy and status == 404
    async with machine.daemon(elsewhere.url, wait_ready=takes_turn):
        if not takes_turn:
            await until(lambda: elsewhere.requests.count("POST challenge") >= 3)

    assert machine.shadow["root"][0] == shadow
    assert elsewhere.envelope
    if not legacy or status != 404:
        assert not [each for each in elsewhere.requests if "reset_p" in each or "resetpwd" in each]


@needs_root
async def test_our_daemon_never_takes_it_after_it_enrolled(
    serve: Serve, machine: Machine, elsewhere: Elsewhere
) -> None:
    machine.configure({"reset_password": {"legacy": True}})
    server = await asyncio.to_thread(serve, KNOWN)
    async with machine.daemon(server.guest_url):
        pass
    elsewhere.envelope = VECTORS[0]["envelope"]

    async with machine.daemon(elsewhere.url):
        # Whoever asks it has it try again at once.
        await machine.command("history", "--root", str(machine.root))
        await until(lambda: elsewhere.requests.count("POST challenge") >= 2)

    assert machine.shadow["root"][0] == "*"
    assert "GET reset_password" not in elsewhere.requests
    assert b"this guest has enrolled before" in machine.log


@needs_root
async def test_a_delete_that_was_lost_is_sent_again_and_nothing_is_set_twice(
    machine: Machine, elsewhere: Elsewhere
) -> None:
    machine.configure({"reset_password": {"legacy": True}})
    elsewhere.envelope = VECTORS[0]["envelope"]
    async with machine.daemon(elsewhere.url):
        pass
    before = (machine.root / "etc/shadow").stat().st_ino

    # The platform has it still, as if the DELETE had not come.
    elsewhere.envelope = VECTORS[0]["envelope"]
    async with machine.daemon(elsewhere.url):
        pass

    assert (machine.root / "etc/shadow").stat().st_ino == before
    assert elsewhere.envelope == ""


def test_the_warning_names_the_instance(serve: Serve, tmp_path: Path) -> None:
    from metadata_server.config import exposed

    server = serve(LEGACY, WINDOWS)

    (line,) = exposed(server.config)
    assert line.startswith(f"instance {ID}: reset_password.legacy: ")
