"""After a reset, logging in for real: ssh to the guest's own sshd, with the new password."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ..conftest import StartGuest
from . import installed
from .cloud import Cloud, Service
from .light import LightGuest, Running
from .test_reset import ID, INSTANCE, NIC, PASSWORD, ask, daemon, final_state

pytestmark = pytest.mark.guest

OTHER = "Another-2468.word"
SSHD = """\
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM yes
UseDNS no
"""
SSH = (
    "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    " -o NumberOfPasswordPrompts=1 -o PreferredAuthentications=password"
    " -o ConnectTimeout=5 root@127.0.0.1 id -un"
)


@pytest.fixture
def service(cloud: Cloud) -> Iterator[Service]:
    with cloud.serve([INSTANCE]) as started:
        yield started


@pytest.fixture
def guest(light_guest: StartGuest, cloud: Cloud, installed_agent: object) -> LightGuest:
    made = light_guest(cloud=cloud, nic=NIC, layers=[installed_agent], product="OpenStack Nova")
    made.sh("ssh-keygen -A >/dev/null; usermod -s /bin/bash root")
    made.write("/etc/ssh/sshd_config", SSHD.encode())
    return made


def sshd(guest: LightGuest) -> Running:
    guest.sh("mkdir -p /run/sshd")
    process = guest.start(["/usr/sbin/sshd", "-D", "-e"])
    process.wait_for("Server listening on 0.0.0.0")
    return process


def logs_in(guest: LightGuest, password: str) -> bool:
    """Say whether sshd lets root in; the password goes by an askpass program, as for scripts."""
    guest.write("/run/askpass", b"#!/bin/sh\ncat /run/answer\n", mode=0o700)
    guest.write("/run/answer", password.encode() + b"\n", mode=0o600)
    env = {"SSH_ASKPASS": "/run/askpass", "SSH_ASKPASS_REQUIRE": "force"}
    done = guest.run(SSH.split(), env=env)
    return done.returncode == 0 and done.stdout == b"root\n"


def test_a_reset_of_a_running_guest_opens_ssh(service: Service, guest: LightGuest) -> None:
    with sshd(guest), daemon(guest):
        before = logs_in(guest, PASSWORD)
        ask(service, "--wait", "30")
        first = logs_in(guest, PASSWORD)
        ask(service, "--wait", "30", password=OTHER)
        later = logs_in(guest, PASSWORD), logs_in(guest, OTHER)

    assert not before
    assert first
    assert later == (False, True)


def test_asked_while_the_guest_is_off_it_opens_before_any_login_is_possible(
    service: Service, guest: LightGuest
) -> None:
    """sshd is started when the daemon says that it is ready, as the unit's order has it."""
    with daemon(guest):
        pass
    guest.halt()
    asked = ask(service, "--apply", "boot")
    guest.boot()

    script = (
        "import os, socket, subprocess\n"
        "told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "told.bind('/run/notify')\n"
        "os.environ['NOTIFY_SOCKET'] = '/run/notify'\n"
        "child = subprocess.Popen(['python3', '-m', 'agent.reset_password', 'run'])\n"
        "assert told.recv(100) == b'READY=1'\n"
        "print(open('/etc/shadow').readline().split(':')[1][:3], 'ready', flush=True)\n"
        "child.wait()\n"
    )
    with guest.start(["python3", "-c", script], cwd=installed.HOME) as boot:
        found = boot.wait_for(r"(\S+) ready")
        with sshd(guest):
            first_login = logs_in(guest, PASSWORD)
        state = final_state(service, asked)
        guest.run(["sh", "-c", "kill $(pgrep -f agent.reset_password)"])

    assert found.group(1) == "$6$"
    assert first_login
    assert state == "applied"


def test_each_reset_is_a_login_within_moments(service: Service, guest: LightGuest) -> None:
    """How long it takes is printed; the hash is given, so that hashing is not what is measured."""
    made = guest.run(
        [
            "python3",
            "-Wignore",
            "-c",
            f"import crypt; print(crypt.crypt({PASSWORD!r}, '$6$abcdefgh'))",
        ]
    ).stdout
    took = []
    with sshd(guest), daemon(guest):
        for _ in range(3):
            guest.sh("usermod -p '*' root")
            assert not logs_in(guest, PASSWORD)
            began = time.monotonic()
            done = service.ctl("reset-password", ID, "--hash-stdin", "--json", input=made)
            assert done.returncode == 0, done.stderr
            while not logs_in(guest, PASSWORD):
                assert time.monotonic() - began < 20
            took.append(time.monotonic() - began)

    print(f"ask to login, seconds: {[round(each, 2) for each in took]}")
    assert len(took) == 3


def test_the_daemon_is_small_in_a_guest(service: Service, guest: LightGuest) -> None:
    with daemon(guest) as process:
        ask(service, "--wait", "30")
        text = guest.sh(f"grep VmRSS /proc/{process.pid}/status")

    resident = int(text.split()[1]) / 1024
    print(f"daemon: {resident:.1f} MiB")
    assert resident <= 26
