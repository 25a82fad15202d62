"""Services and reboots in a guest that has systemd: what a cloud-config does to a running init."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from ..conftest import StartNspawn
from . import installed
from .light import GuestError
from .nspawn import REBOOT, NspawnGuest

pytestmark = pytest.mark.guest

CONFIG = """\
#cloud-config
hostname: renamed
timezone: Europe/Berlin
ssh_genkeytypes: [ed25519]
ssh_pwauth: true
runcmd: ["echo ran >>/root/runs"]
power_state: {mode: reboot, delay: now, message: again}
"""


def test_a_cloud_config_works_on_services_and_reboots_once(
    nspawn_guest: StartNspawn, installed_agent: Path
) -> None:
    guest = nspawn_guest(layers=[installed_agent])
    guest.write("/root/user-data", CONFIG.encode(), mode=0o600)
    # As at a first boot: a service that waits for its keys has not been tried yet.
    guest.sh("systemctl stop ssh; systemctl reset-failed")

    with contextlib.suppress(GuestError):  # It may go down before it can answer.
        run_agent(guest)
    how = guest.wait_down()
    guest.boot()
    again = run_agent(guest)

    assert how == REBOOT
    assert [each for each in again if each[0] == "failed"] == []
    assert guest.sh("hostname; hostnamectl --static").split() == ["renamed", "renamed"]
    assert guest.readlink("/etc/localtime").endswith("/Europe/Berlin")
    keys = [name for name in guest.names("/etc/ssh") if name.startswith("ssh_host_")]
    assert keys == ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"]
    assert guest.sh("sshd -T | grep ^passwordauthentication") == "passwordauthentication yes\n"
    assert guest.run(["systemctl", "is-active", "ssh"]).stdout == b"active\n"
    assert guest.text("/root/runs") == "ran\n"


def run_agent(guest: NspawnGuest) -> list[tuple[str, str]]:
    """Run all stages; return what is not plainly done."""
    argv = ["python3", "-m", "agent", "run", "--user-data", "/root/user-data"]
    guest.run(argv, cwd=installed.HOME)
    status: dict[str, Any] = json.loads(guest.read("/run/linklocal/status.json"))
    return [
        (entry["result"], entry["place"])
        for module in status["modules"]
        for entry in module.get("entries", ())
        if entry["result"] not in ("done", "notice")
    ]
