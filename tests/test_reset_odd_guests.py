"""Guests that are not as one expects: every oddity has its own result and code, and its words.

The live ones run on the machine's own chpasswd in a mount namespace in which /etc is the guest's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from agent.reset_password.machine import CODES
from agent.reset_password.machine import Machine as Accounts

from .test_reset_end_to_end import (
    AGENT,
    OLD,
    REPOSITORY,
    Machine,
    Start,
    account_lock,
    ask,
    ended,
)
from .test_reset_end_to_end import machine as machine
from .test_reset_end_to_end import pytestmark as pytestmark
from .test_reset_end_to_end import server as server

LABEL = b"system_u:object_r:shadow_t:s0\0"
NSS_SYSTEMD = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu/libnss_systemd.so.2"


def add(machine: Machine, user: str, *, login: str = "/bin/bash", rest: str = ":::") -> None:
    """Make *user*, whose password may be reset; *rest* is the end of its shadow line."""
    with (machine.root / "etc/passwd").open("a") as passwd:
        passwd.write(f"{user}:x:2000:2000::/:{login}\n")
    with (machine.root / "etc/shadow").open("a") as shadow:
        shadow.write(f"{user}:{OLD}:19000:0:99999:7{rest}\n")
    machine.configure({"reset_password": {"users": [*AGENT["reset_password"]["users"], user]}})


def expired(machine: Machine) -> None:
    add(machine, "odd", rest="::1:")


def not_yet_expired(machine: Machine) -> None:
    add(machine, "odd", rest="::99999:")


def without_shell(machine: Machine) -> None:
    add(machine, "odd", login="/usr/sbin/nologin")


def with_a_shell_that_is_gone(machine: Machine) -> None:
    add(machine, "odd", login="/opt/no/such/shell")


def without_shadow_line(machine: Machine) -> None:
    add(machine, "odd")
    path = machine.root / "etc/shadow"
    path.write_text(re.sub(r"(?m)^odd:.*\n", "", path.read_text()))


def absent(machine: Machine) -> None:
    add(machine, "odd")
    for name in ("passwd", "shadow"):
        path = machine.root / "etc" / name
        path.write_text(re.sub(r"(?m)^odd:.*\n", "", path.read_text()))


def of_a_directory(machine: Machine) -> None:
    """Known to the name service alone, as users of NIS, SSSD and LDAP are."""
    if not NSS_SYSTEMD.exists():
        pytest.skip("libnss-systemd is not installed")
    absent(machine)
    (machine.root / "etc/nsswitch.conf").write_text("passwd: files systemd\n")
    users = machine.root / "etc/userdb"
    users.mkdir()
    record = '{"userName": "odd", "uid": 70001, "gid": 70001, "homeDirectory": "/", '
    (users / "odd.user").write_text(f'{record}"shell": "/bin/sh", "disposition": "regular"}}')
    (users / "70001.user").symlink_to("odd.user")


@pytest.mark.parametrize(
    ("make", "state", "code"),
    [
        (expired, "applied", "account-expired"),
        (not_yet_expired, "applied", ""),
        (without_shell, "applied", "no-shell"),
        (with_a_shell_that_is_gone, "applied", "no-shell"),
        (without_shadow_line, "rejected", "no-shadow"),
        (absent, "rejected", "no-such-user"),
        (of_a_directory, "rejected", "remote-user"),
    ],
)
async def test_an_odd_account_has_its_own_word(
    machine: Machine, server: Start, make: Callable[[Machine], None], state: str, code: str
) -> None:
    make(machine)
    before = machine.shadow

    async with server() as at, in_its_place(machine, at.guest_url):
        asked, made = await ask(at, "odd")
        done = await ended(at, asked)

    assert (done.state, done.code) == (state, code)
    assert code in CODES
    if state == "applied":
        assert machine.shadow["odd"][0] == made.reveal().decode()
    else:
        assert machine.shadow == before


@contextlib.asynccontextmanager
async def in_its_place(machine: Machine, url: str, prepare: str = ":") -> AsyncIterator[None]:
    """Run the live daemon where *prepare*, a shell script, has made /etc what it is to be."""
    machine.prepare = prepare
    async with machine.daemon(url, live=True):
        yield


@pytest.fixture
def immutable(machine: Machine) -> Iterator[Path]:
    path = machine.root / "etc/shadow"
    done = subprocess.run(["chattr", "+i", path], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("files cannot be marked immutable here: needs another kernel")
    yield path
    subprocess.run(["chattr", "-i", path], check=True)


async def test_an_etc_that_is_read_only_has_its_own_word(machine: Machine, server: Start) -> None:
    before = machine.shadow
    prepare = "mount -o remount,bind,ro /etc"
    async with server() as at, in_its_place(machine, at.guest_url, prepare):
        asked, _ = await ask(at)
        done = await ended(at, asked)

    assert (done.state, done.code) == ("failed", "read-only")
    assert machine.shadow == before


async def test_an_immutable_shadow_has_its_own_word(
    machine: Machine, server: Start, immutable: Path
) -> None:
    before = machine.shadow
    async with server() as at, in_its_place(machine, at.guest_url):
        asked, _ = await ask(at)
        done = await ended(at, asked)

    assert (done.state, done.code) == ("failed", "immutable")
    assert machine.shadow == before


@pytest.mark.slow
@pytest.mark.parametrize("live", [True, False])
async def test_a_lock_that_another_program_keeps_has_its_own_word(
    machine: Machine, server: Start, live: bool
) -> None:
    """chpasswd itself waits for 15 seconds."""
    before = machine.shadow
    async with server() as at:
        with account_lock(machine):
            async with machine.daemon(at.guest_url, live=live):
                asked, _ = await ask(at)
                done = await ended(at, asked)

    assert (done.state, done.code) == ("failed", "busy")
    assert machine.shadow == before


def test_a_lock_is_seen_for_as_long_as_it_is_held(machine: Machine) -> None:
    accounts = Accounts(str(machine.root))
    seen = [accounts.is_busy()]
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        # Locks of this kind are the process's: it takes another one to hold it.
        with open(machine.root / "etc/.pwd.lock", "w") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            os.write(told, b"x")
            os.close(told)
            signal.pause()
        os._exit(0)
    os.read(ready, 1)
    seen.append(accounts.is_busy())
    os.kill(child, 9)
    os.waitpid(child, 0)
    seen.append(accounts.is_busy())
    (machine.root / "etc/shadow.lock").touch()
    seen.append(accounts.is_busy())
    os.close(ready)
    os.close(told)

    assert seen == [False, True, False, True]


@pytest.mark.parametrize("live", [True, False])
async def test_the_label_of_the_shadow_file_is_kept(
    machine: Machine, server: Start, live: bool
) -> None:
    path = machine.root / "etc/shadow"
    os.setxattr(path, "security.selinux", LABEL)
    async with server() as at, machine.daemon(at.guest_url, live=live):
        asked, made = await ask(at)
        done = await ended(at, asked)

    assert done.state == "applied"
    assert machine.shadow["root"][0] == made.reveal().decode()
    assert os.getxattr(path, "security.selinux") == LABEL


async def test_without_chpasswd_or_chage_it_is_said_or_done_otherwise(
    machine: Machine, server: Start
) -> None:
    """BusyBox has no chage; and a machine may have no chpasswd at all."""
    hide = " && ".join(
        f"if test -e {path}; then mount --bind /dev/null {path}; fi"
        for path in ("/usr/bin/chage", "/bin/chage")
    )
    async with server() as at, in_its_place(machine, at.guest_url, hide):
        asked, made = await ask(at, expire=True)
        done = await ended(at, asked)
    assert (done.state, done.code) == ("applied", "")
    assert machine.shadow["root"][:2] == [made.reveal().decode(), "0"]


async def test_a_machine_without_chpasswd_says_so(machine: Machine, server: Start) -> None:
    before = machine.shadow
    hide = " && ".join(
        f"if test -e {path}; then mount --bind /dev/null {path}; fi"
        for path in ("/usr/sbin/chpasswd", "/usr/bin/chpasswd", "/sbin/chpasswd")
    )
    async with server() as at, in_its_place(machine, at.guest_url, hide):
        asked, _ = await ask(at)
        done = await ended(at, asked)

    assert (done.state, done.code) == ("failed", "machine")
    assert machine.shadow == before


def test_every_code_has_its_words_in_the_documentation() -> None:
    page = (REPOSITORY / "docs/reset-protocol.md").read_text()

    assert [code for code in CODES if code and f"`{code}`" not in page] == []
