"""Nspawn guests: systemd is up in them, down and up again, and nothing of them is left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import StartNspawn
from .cloud import ADDRESS, CHECKOUT, Cloud
from .inside_nspawn import GROUPS, group_roots
from .light import GuestError, Nic

pytestmark = pytest.mark.guest

UNIT = """\
[Unit]
Description=Of a test
[Service]
Type=oneshot
ExecStart=sh -c 'echo boot >>/var/lib/boots'
"""
WANTED = "etc/systemd/system/multi-user.target.wants"


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A layer with a unit that counts boots."""
    (tmp_path / WANTED).mkdir(parents=True)
    (tmp_path / "etc/systemd/system/boots.service").write_text(UNIT)
    (tmp_path / WANTED / "boots.service").symlink_to("../boots.service")
    return tmp_path


def groups_of_ended_boots() -> list[str]:
    found = [path for root in group_roots() for path in root.glob(f"{GROUPS}*")]
    return [str(path) for path in found if not Path("/proc", path.name[len(GROUPS) :]).exists()]


def test_each_way_down_and_up_again_keeps_the_files(nspawn_guest: StartNspawn, unit: Path) -> None:
    guest = nspawn_guest(layers=[unit])

    guest.reboot()
    guest.halt()
    with pytest.raises(GuestError) as off:
        guest.sh("true")
    guest.boot(wait=False)
    guest.wait_ready()
    guest.cut()
    guest.boot()
    guest.sh("systemctl --no-block poweroff")
    status = guest.wait_down()
    guest.boot()

    assert "not running" in str(off.value)
    assert status == 0
    assert guest.text("/var/lib/boots") == "boot\n" * 5
    assert guest.run(["systemctl", "is-active", "dbus"]).stdout == b"active\n"
    assert groups_of_ended_boots() == []


def test_its_link_is_its_own(nspawn_guest: StartNspawn, cloud: Cloud) -> None:
    bare = Nic("192.168.1.11/24", "fa:16:3e:00:00:11", configured=False)
    serve = ["python3", "-u", "-m", "http.server", "--bind", ADDRESS, "80"]
    guests = [nspawn_guest(cloud=cloud), nspawn_guest(cloud=cloud, nic=bare)]
    before = guests[1].sh("ip -4 -o address show dev eth0")
    guests[1].sh(f"ip link set eth0 up; ip address add {bare.address} dev eth0")
    guests[1].sh(f"ip route add {ADDRESS} dev eth0")

    with cloud.machine.start(serve) as server:
        server.wait_for("Serving HTTP")
        for guest in guests:
            guest.run(["curl", "-sf", f"http://{ADDRESS}/"], check=True)
        server.wait_for(r"(?s)(GET.*){2}")
        seen = [line.split()[0] for line in server.stderr.decode().splitlines()]

    assert before == ""
    assert seen == ["192.168.1.10", "192.168.1.11"]


@pytest.mark.parametrize("script", ["date -s 2020-01-01", "sysctl -w kernel.pid_max=12345"])
def test_a_guests_root_has_no_power_over_the_machine(
    nspawn_guest: StartNspawn, script: str
) -> None:
    guest = nspawn_guest()

    done = guest.run(["sh", "-c", script])

    assert done.returncode != 0, done.stdout


def test_a_killed_parent_leaves_nothing_behind(machine12: Path) -> None:
    program = f"""
from pathlib import Path
from tests.guests.nspawn import NspawnGuest
with NspawnGuest(Path({str(machine12)!r})) as guest:
    print(guest.pid, flush=True)
    input()
"""
    mounts = Path("/proc/self/mountinfo").read_text()
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        init = os.pidfd_open(int(parent.stdout.readline()))

        parent.send_signal(signal.SIGKILL)
        parent.wait()

    assert select.select([init], [], [], 10)[0], "an init outlived its parent"
    os.close(init)
    assert Path("/proc/self/mountinfo").read_text() == mounts
    # They may go a moment later than the guest; the next boot would remove them as well.
    while groups_of_ended_boots():
        pass
