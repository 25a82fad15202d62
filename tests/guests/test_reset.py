"""Password resets in real guests: Debian 12's own Python, PAM and shadow file at that end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import StartGuest
from . import installed
from .cases import lines_of
from .cloud import Cloud, Service
from .light import LightGuest, Nic, Running
from .passwords import opens

pytestmark = pytest.mark.guest

ID = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
NIC = Nic()
INSTANCE = {
    "id": ID,
    "name": "ecs-ddd4",
    "nics": [{"mac": NIC.mac, "ipv4": NIC.address.partition("/")[0], "prefix": 24}],
}
PASSWORD = "Reset-2468.word"
SCHEMES = ("sha512", "sha256", "yescrypt", "bcrypt")


@pytest.fixture
def service(cloud: Cloud) -> Iterator[Service]:
    with cloud.serve([INSTANCE]) as started:
        yield started


@pytest.fixture
def guest(light_guest: StartGuest, cloud: Cloud, installed_agent: Path) -> LightGuest:
    return light_guest(cloud=cloud, nic=NIC, layers=[installed_agent], product="OpenStack Nova")


def daemon(guest: LightGuest) -> Running:
    """Start the reset daemon, and wait until it is known to the server."""
    process = guest.start(["python3", "-m", "agent.reset_password", "run"], cwd=installed.HOME)
    process.wait_for("enrolled")
    return process


def ask(service: Service, *options: str, password: str = PASSWORD) -> dict[str, Any]:
    done = service.ctl(
        *("reset-password", ID, "--password-stdin", "--json"),
        *options,
        input=password.encode() + b"\n",
    )
    assert done.stdout, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def final_state(service: Service, request: dict[str, Any]) -> str:
    done = service.ctl("reset-status", ID, request["id"], "--wait", "30", "--json")
    return str(json.loads(done.stdout)["state"])


def log_in(guest: LightGuest, password: str) -> bool:
    """Say whether PAM lets an ordinary user become root with *password*."""
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "su", "-c", "id -u"]
    done = guest.run(argv, input=password.encode() + b"\n")
    return done.returncode == 0 and done.stdout.strip() == b"0"


def test_a_reset_of_a_running_guest_lets_root_log_in(service: Service, guest: LightGuest) -> None:
    with daemon(guest):
        before = log_in(guest, PASSWORD)

        asked = ask(service, "--wait", "30")

        assert asked["state"] == "applied"
        assert not before
        assert log_in(guest, PASSWORD)
        assert not log_in(guest, "Another-2468.word")


def test_debian_checks_every_scheme_there_is(service: Service, guest: LightGuest) -> None:
    with daemon(guest):
        for scheme in SCHEMES:
            password = f"Word-of.{scheme}.1"

            asked = ask(service, "--hash", scheme, "--wait", "30", password=password)

            assert (asked["state"], asked["scheme"]) == ("applied", scheme)
            assert log_in(guest, password)


def test_a_reset_at_boot_waits_for_the_next_boot(service: Service, guest: LightGuest) -> None:
    with daemon(guest):
        asked = ask(service, "--apply", "boot")
        untouched = lines_of(guest, "shadow")["root"][1]
    guest.reboot()
    with daemon(guest):
        state = final_state(service, asked)

    assert not opens(untouched, PASSWORD)
    assert state == "applied"
    assert opens(lines_of(guest, "shadow")["root"][1], PASSWORD)


def test_a_reset_asked_before_a_crash_of_the_server_is_not_lost(
    service: Service, guest: LightGuest
) -> None:
    with daemon(guest):
        pass
    asked = ask(service)

    service.restart()

    with daemon(guest):
        assert final_state(service, asked) == "applied"
    assert log_in(guest, PASSWORD)


def test_a_killed_daemon_leaves_no_reset_undone_and_none_done_twice(
    service: Service, guest: LightGuest
) -> None:
    first = daemon(guest)
    asked = ask(service)
    first.kill(9)
    first.wait(10)
    with daemon(guest):
        state = final_state(service, asked)
        guest.sh("echo root:Own-choice.1357 | chpasswd")
    with daemon(guest):
        second = ask(service, "--user", "root", "--wait", "30", password="Second-2468.word")

    assert state == "applied"
    assert second["state"] == "applied"
    assert opens(lines_of(guest, "shadow")["root"][1], "Second-2468.word")


def test_nothing_but_the_password_of_that_account_changes(
    service: Service, guest: LightGuest
) -> None:
    guest.sh("useradd -m debian && echo debian:Old-choice.1357 | chpasswd")
    with daemon(guest):
        before = guest.snapshot("/etc", "/home", "/root", "/usr/local")

        asked = ask(service, "--user", "debian", "--wait", "30")

        after = guest.snapshot("/etc", "/home", "/root", "/usr/local")
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert asked["state"] == "applied"
    assert changed <= {"/etc/shadow", "/etc/shadow-", "/etc/.pwd.lock", "/etc"}
    assert opens(lines_of(guest, "shadow")["debian"][1], PASSWORD)
    assert not opens(lines_of(guest, "shadow")["root"][1], PASSWORD)


@pytest.mark.parametrize("user", ["daemon", "no-such-user"])
def test_an_account_that_may_not_be_reset_is_rejected(
    service: Service, guest: LightGuest, user: str
) -> None:
    with daemon(guest):
        asked = ask(service, "--user", user, "--wait", "30")

    assert asked["state"] == "rejected"
    assert not any(opens(row[1], PASSWORD) for row in lines_of(guest, "shadow").values())
