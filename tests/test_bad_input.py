"""Bad input through the programs as users run them: each place named, bounded time, clear words."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .agent.loopback import Answer, ok, request, serving, status
from .conftest import Serve
from .guests.cases import entries_of, status_of
from .guests.directory import DirectoryGuest

CHECKOUT = Path(__file__).resolve().parents[1]
INSTANCE = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
DEADLINE = 0.6
QUICK = {"timeout": 0.2, "deadline": DEADLINE, "retry_pause": 0.05}
# What a program may take beside its deadline on a machine with much else to do.
ALLOWANCE = 20.0

FIVE_MISTAKES = """\
listen: ["somewhere:80"]
workers: many
instances:
  - id: ca9e8b7c-f2be-4b6d-a639-f10b4d994d04
    launch_index: -1
    nics:
      - {mac: "fa:16:3e"}
    user_dta: "#!/bin/sh"
"""


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *argv], cwd=CHECKOUT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("flags", [(), ("--check-config",)])
def test_five_mistakes_are_five_places(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(FIVE_MISTAKES)

    done = run("metadata_server", "--config", str(path), *flags)

    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{path}:1", "listen[0]"],
        [f"{path}:2", "workers"],
        [f"{path}:5", "instances[0].launch_index"],
        [f"{path}:7", "instances[0].nics[0].mac"],
        [f"{path}:8", "instances[0]"],
    ], done.stderr
    for line in lines:
        assert re.search("expected|nearest|unknown", line), line
    assert "ready" not in done.stdout


@pytest.mark.parametrize(
    ("user_data", "words"),
    [
        (b"just some words\n", "user data of no known type: expected '#!', '#cloud-config'"),
        (b"\x00\x01\x02\xff", "user data of no known type"),
        (b"<html>", "user data of no known type"),
        (b"#cloud-confg\nusers: []\n", "on the first line; the nearest is '#cloud-config'"),
        (b"\x1f\x8bnot gzip", "not gzip, though it begins as such"),
        (b"#cloud-config\na: [\n", "line 3"),
        (b"#cloud-config\n- a\n", "expected a mapping"),
        (b"rem cmd\r\nnet user\r\n", "a Windows script, not run here"),
    ],
)
def test_user_data_that_cannot_be_taken_is_an_error_in_the_status(
    serve: Serve, guest_root: DirectoryGuest, user_data: bytes, words: str
) -> None:
    url = serve({"id": INSTANCE, "user_data_base64": b64encode(user_data).decode()}).guest_url
    root = str(guest_root.root)

    done = run("agent", "run", "--root", root, "--metadata-url", url, "--datasource", "openstack")
    shown = run("agent", "status", "--root", root, "--strict")

    record = status_of(guest_root)
    part = record["parts"][0]
    assert part["result"] in ("refused", "not run"), record
    assert words in part["detail"]
    assert record["degraded"]
    assert words in record["detail"]
    if part["result"] == "refused":
        assert done.stdout.startswith("failed: ")
        assert (done.returncode, shown.returncode) == (1, 1)
    else:
        assert done.stdout.startswith("done, degraded: ")
        assert (done.returncode, shown.returncode) == (0, 2)
    assert words in shown.stdout
    assert "Traceback" not in done.stderr + shown.stderr


# --- a service that misbehaves --------------------------------------------------------------------

Behaviour = Callable[[socket.socket], None]
"""What is done with a connection after the head of a request came; then it is closed."""


def hangs(connection: socket.socket) -> None:
    connection.recv(1)


def drips(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n")
    while True:
        connection.sendall(b"{")
        time.sleep(0.02)


def closes_in_the_body(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"uuid": ')


def closes_at_once(connection: socket.socket) -> None:
    pass


def tree(answers: Mapping[str, bytes | Behaviour]) -> Answer:
    """Answer by the last name of the path, with 404 what is not in *answers*."""

    def answer(connection: socket.socket, number: int) -> None:
        while head := request(connection):
            found = answers.get(head.split()[1].decode().rpartition("/")[2], status(404))
            if not isinstance(found, bytes):
                return found(connection)
            connection.sendall(found)
        return None

    return answer


META_DATA = ok(json.dumps({"uuid": INSTANCE}).encode())


@dataclass
class Booted:
    seconds: float
    status: int
    said: str
    record: dict[str, Any]


def boot(guest: DirectoryGuest, url: str, datasource: str = "openstack") -> Booted:
    guest.write("/etc/linklocal/agent.yaml", json.dumps(QUICK).encode())
    began = time.monotonic()
    done = run(
        *("agent", "run", "--root", str(guest.root)),
        *("--metadata-url", url, "--datasource", datasource),
    )
    seconds = time.monotonic() - began
    assert "Traceback" not in done.stderr
    return Booted(seconds, done.returncode, done.stdout, status_of(guest))


@pytest.mark.parametrize("datasource", ["openstack", "ec2"])
@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (hangs, "no (whole )?answer in time; gave up after"),
        (drips, "no (whole )?answer in time; gave up after"),
        (closes_in_the_body, "closed before the answer was whole; gave up after"),
        (closes_at_once, "closed without an answer; gave up after"),
        (status(500), "status 500; gave up after"),
        (status(503, "Retry-After: 3600"), "status 503; gave up after 1 attempt"),
        (status(302, "Location: http://127.0.0.1:1/"), "a redirect to .*, which is not followed"),
        (b"220 mail.example ESMTP\r\n", "not an HTTP answer"),
        (status(404), "no metadata service found"),
    ],
)
def test_a_service_that_misbehaves_fails_the_boot_in_bounded_time_and_clear_words(
    guest_root: DirectoryGuest, datasource: str, behaviour: bytes | Behaviour, words: str
) -> None:
    names = ("meta_data.json", "instance-id", "token")
    with serving(tree(dict.fromkeys(names, behaviour))) as url:
        booted = boot(guest_root, url, datasource)

    assert booted.status == 1
    assert booted.record["status"] == "failed"
    assert re.search(words, booted.record["detail"]), booted.record["detail"]
    assert url in booted.record["detail"] or "no metadata service" in booted.record["detail"]
    assert booted.said.startswith("failed: ")
    assert booted.seconds < 3 * DEADLINE + ALLOWANCE
    assert guest_root.exists("/var/log/linklocal/agent.log")


def test_nobody_at_the_address_is_said(guest_root: DirectoryGuest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    booted = boot(guest_root, f"http://127.0.0.1:{port}")

    assert booted.status == 1
    assert "connection refused; gave up after" in booted.record["detail"]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"meta_data.json": ok(b"<html>")}, "is not a metadata service: expected JSON"),
        ({"meta_data.json": ok(b"[]")}, "meta_data.json: expected a JSON object, got list"),
        ({"meta_data.json": ok(b"{}")}, "expected the instance's id as 'uuid'"),
        ({"meta_data.json": ok(b'{"uuid": 7}')}, "expected the instance's id as 'uuid'"),
        ({"meta_data.json": ok(b"[" * 100_000)}, "meta_data.json: not JSON"),
        ({"meta_data.json": META_DATA, "user_data": hangs}, "answer in time; gave up after"),
        ({"meta_data.json": META_DATA, "user_data": status(500)}, "user_data: status 500"),
        (
            {"meta_data.json": META_DATA, "user_data": closes_in_the_body},
            "user_data: closed before the answer was whole",
        ),
    ],
)
def test_a_boot_without_what_it_needs_fails(
    guest_root: DirectoryGuest, answers: dict[str, bytes | Behaviour], words: str
) -> None:
    with serving(tree(answers)) as url:
        booted = boot(guest_root, url)

    assert (booted.status, booted.record["status"]) == (1, "failed")
    assert words in booted.record["detail"]
    assert booted.seconds < 3 * DEADLINE + ALLOWANCE


@pytest.mark.parametrize("name", ["vendor_data.json", "vendor_data2.json", "network_data.json"])
@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (hangs, "answer in time; gave up after"),
        (status(500), "status 500"),
        (closes_in_the_body, "closed before the answer was whole"),
        (ok(b"<html>"), "not JSON"),
    ],
)
def test_a_boot_goes_on_without_what_it_can_do_without(
    guest_root: DirectoryGuest, name: str, behaviour: bytes | Behaviour, words: str
) -> None:
    script = b"#cloud-config\nwrite_files: [{path: /etc/written, content: x}]\n"
    answers = {"meta_data.json": META_DATA, "user_data": ok(script), name: behaviour}
    with serving(tree(answers)) as url:
        booted = boot(guest_root, url)

    assert (booted.status, booted.record["status"]) == (0, "done")
    assert booted.record["degraded"]
    named = [entry for entry in entries_of(booted.record) if entry["place"] == name]
    assert [entry["result"] for entry in named] == ["failed"]
    assert words in named[0]["detail"]
    assert guest_root.exists("/etc/written")
    assert booted.seconds < 3 * DEADLINE + ALLOWANCE


def test_without_configuration_a_service_that_hangs_costs_a_few_seconds(
    guest_root: DirectoryGuest,
) -> None:
    with serving(tree({"meta_data.json": hangs})) as url:
        began = time.monotonic()
        done = run("agent", "run", "--root", str(guest_root.root), "--metadata-url", url)

    assert done.returncode == 1
    assert "no answer in time" in done.stdout
    assert time.monotonic() - began < 5 + ALLOWANCE


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (closes_at_once, "closed connection without response"),
        (closes_in_the_body, "the answer broke off"),
        (status(500), "status 500"),
        (status(302, "Location: http://127.0.0.1:1/"), "status 302"),
        (ok(b"<html>"), "the answer is not JSON; is this the control address?"),
    ],
)
def test_the_operators_command_says_what_is_wrong_with_its_server(
    tmp_path: Path, behaviour: bytes | Behaviour, words: str
) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("a-token-that-is-long-enough\n")
    with serving(tree({"instances": behaviour})) as url:
        done = run(
            *("metadata_server.ctl", "--url", url, "--token-file", str(token)),
            *("instance", "list"),
        )

    assert done.returncode == 1
    assert done.stderr.startswith(f"linklocal: {url}: ")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
