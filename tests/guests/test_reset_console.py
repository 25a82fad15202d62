"""After a reset, logging in on the console: systemd, getty and PAM as they are on a machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ..conftest import StartMachine, StartNspawn
from . import images, installed
from .cloud import CHECKOUT, Cloud, Service
from .console import Console
from .nspawn import REBOOT
from .test_reset import INSTANCE, NIC, PASSWORD, ask, final_state

pytestmark = pytest.mark.guest

CONFIGURATION = {"metadata_urls": ["http://169.254.169.254"]}
LAUNCHER = f"""\
#!/bin/sh
cd {installed.HOME}
exec python3 -m agent.reset_password "$@"
"""
NAME = "linklocal-resetd.service"
LOGINS = (
    "systemd-user-sessions.service",
    "console-getty.service",
    "serial-getty@ttyS0.service",
    "ssh.service",
)


class Booted(Protocol):
    """What a container and a virtual machine have in common."""

    @property
    def console(self) -> Console: ...

    def sh(self, script: str, *, timeout: float = ...) -> str: ...

    def halt(self) -> None: ...

    def boot(self, *, wait: bool = ...) -> None: ...


@pytest.fixture
def service(cloud: Cloud) -> Iterator[Service]:
    with cloud.serve([INSTANCE]) as started:
        yield started


@pytest.fixture
def with_daemon(installed_agent: Path, tmp_path: Path) -> list[Path]:
    """Layers with the reset daemon and its unit, as the package installs them."""
    layer = tmp_path / "unit"
    units = layer / "etc/systemd/system"
    for directory in (
        layer / "etc/linklocal",
        layer / "usr/bin",
        units / "multi-user.target.wants",
    ):
        directory.mkdir(parents=True)
    (layer / "etc/linklocal/agent.yaml").write_text(json.dumps(CONFIGURATION))
    (layer / "usr/bin/linklocal-resetd").write_text(LAUNCHER)
    (layer / "usr/bin/linklocal-resetd").chmod(0o755)
    shutil.copy(CHECKOUT / "systemd" / NAME, units)
    (units / "multi-user.target.wants" / NAME).symlink_to(f"../{NAME}")
    return [layer, installed_agent]


def test_a_reset_of_a_running_guest_opens_its_console(
    service: Service, cloud: Cloud, nspawn_guest: StartNspawn, with_daemon: list[Path]
) -> None:
    guest = nspawn_guest(cloud=cloud, nic=NIC, layers=with_daemon, forget=())

    asked = ask(service, "--wait", "30")

    let_in = guest.console.log_in("root", PASSWORD)
    later = ask(service, "--expire", "--wait", "30", password="Another-2468.word")
    told = guest.sh("chage --list root")

    assert asked["state"] == later["state"] == "applied"
    assert let_in
    assert "password must be changed" in told


def test_asked_while_it_is_off_it_opens_the_console_at_the_first_prompt(
    service: Service, cloud: Cloud, nspawn_guest: StartNspawn, with_daemon: list[Path]
) -> None:
    guest = nspawn_guest(cloud=cloud, nic=NIC, layers=with_daemon, forget=())

    opens_at_the_first_prompt(guest, service)


def test_a_restart_that_was_asked_for_restarts_the_machine(
    service: Service, cloud: Cloud, nspawn_guest: StartNspawn, with_daemon: list[Path]
) -> None:
    guest = nspawn_guest(cloud=cloud, nic=NIC, layers=with_daemon, forget=())

    asked = ask(service, "--restart")
    how = guest.wait_down()
    state = final_state(service, asked)
    guest.boot()
    # Once: the daemon of the next boot has it in its history, and the machine stays up.
    (kept,) = json.loads(guest.sh("linklocal-resetd history --json"))

    assert (how, state) == (REBOOT, "applied")
    assert (kept["id"], kept["acknowledged"]) == (asked["id"], True)


def test_the_daemon_is_confined(
    service: Service, cloud: Cloud, nspawn_guest: StartNspawn, with_daemon: list[Path]
) -> None:
    """As the kernel says; the other tests here are of the same daemon, which works all the same."""
    guest = nspawn_guest(cloud=cloud, nic=NIC, layers=with_daemon, forget=())

    pid = guest.sh(f"systemctl show --value -p MainPID {NAME}").strip()
    fields = dict(line.split(":\t") for line in guest.text(f"/proc/{pid}/status").splitlines())
    mounts = [line.split() for line in guest.text(f"/proc/{pid}/mountinfo").splitlines()]
    writable = {each[4]: "rw" in each[5].split(",") for each in mounts}

    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    held = int(fields["CapBnd"], 16)
    for forbidden in (12, 16, 17, 19, 21, 25):  # NET_ADMIN, modules, raw I/O, ptrace, ADMIN, TIME
        assert not held >> forbidden & 1
    assert (writable["/"], writable["/etc"]) == (False, True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_so_it_does_in_a_virtual_machine(
    service: Service,
    cloud: Cloud,
    vm: StartMachine,
    machine12: Path,
    with_daemon: list[Path],
    tmp_path: Path,
) -> None:
    image = images.make(machine12, tmp_path / "disk.raw", layers=with_daemon)
    guest = vm(image, cloud=cloud, nic=NIC)

    opens_at_the_first_prompt(guest, service)


def opens_at_the_first_prompt(guest: Booted, service: Service) -> None:
    """Switch *guest* off, ask for a reset, switch it on, and log in at the first prompt."""
    guest.halt()
    asked = ask(service, "--apply", "boot")
    guest.boot(wait=False)

    let_in = guest.console.log_in("root", PASSWORD, timeout=240)

    assert let_in
    assert final_state(service, asked) == "applied"
    # Not by luck: whatever lets users in waited until the daemon had applied it and said so.
    ready = microseconds(guest, NAME, "ActiveEnter")
    logins = [microseconds(guest, unit, "InactiveExit") for unit in LOGINS]
    assert ready > 0
    assert any(logins)
    assert all(first >= ready for first in logins if first)
    (kept,) = json.loads(guest.sh("linklocal-resetd history --json"))
    assert (kept["id"], kept["result"]) == (asked["id"], "applied")


def microseconds(guest: Booted, unit: str, event: str) -> int:
    """Return when *unit* came to *event*, in microseconds since boot; 0 when it never did."""
    return int(guest.sh(f"systemctl show --value -p {event}TimestampMonotonic {unit}"))
