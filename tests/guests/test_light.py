"""Light guests: what they keep apart, what they keep, and that they leave nothing behind."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import StartGuest
from .cloud import CHECKOUT, Cloud
from .light import GuestError, LightGuest, Nic

pytestmark = pytest.mark.guest

SERVE = ["python3", "-u", "-m", "http.server", "--bind", "169.254.169.254", "80"]


def test_a_guest_sees_its_own_processes_only(light_guest: StartGuest) -> None:
    guest = light_guest()

    numbers = [int(name) for name in guest.names("/proc") if name.isdigit()]

    assert numbers == [1]


def test_a_guest_has_its_own_name_accounts_and_devices(light_guest: StartGuest) -> None:
    name, accounts = socket.gethostname(), Path("/etc/passwd").read_bytes()
    guest = light_guest(name="first")

    before = guest.sh("hostname").strip()
    guest.sh("hostname other; useradd -m alice; echo alice:pw | chpasswd; ssh-keygen -A")

    assert before == "first"
    assert guest.sh("hostname").strip() == "other"
    assert "alice" in guest.text("/etc/passwd")
    assert socket.gethostname() == name
    assert Path("/etc/passwd").read_bytes() == accounts
    assert "vda" not in guest.names("/dev")
    assert guest.names("/sys/class/net") == ["lo"]


@pytest.mark.parametrize(
    "script",
    [
        "mknod /root/disk b 254 0",
        "mount -t ext4 /dev/vda /mnt",
        "mount -o remount,rw /sys",
        "mount -o remount,bind,rw /proc/sys",
        "umount /dev",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo h > /proc/sysrq-trigger",
        "date -s 2020-01-01",
        "sysctl -w kernel.pid_max=12345",
        "modprobe dummy",
        "reboot -f",
        "head -c 1 /proc/kcore",
    ],
)
def test_a_guests_root_has_no_power_over_the_machine(light_guest: StartGuest, script: str) -> None:
    guest = light_guest()

    done = guest.run(["/bin/sh", "-c", script])

    assert done.returncode != 0, done.stdout


def test_the_lower_tree_stays_as_it_is(light_guest: StartGuest, debian12: Path) -> None:
    guest = light_guest()

    guest.sh("rm /etc/motd; echo changed > /etc/hostname; touch /new")

    assert (debian12 / "etc/motd").exists()
    assert (debian12 / "etc/hostname").read_text() == "localhost\n"
    assert not (debian12 / "new").exists()


def test_a_reboot_keeps_the_files_and_nothing_else(light_guest: StartGuest) -> None:
    guest = light_guest()
    guest.write("/etc/kept", b"kept", mode=0o640)
    guest.write("/run/gone", b"")
    guest.write("/tmp/gone", b"")
    daemon = guest.start(["sleep", "1000"])

    guest.reboot()

    assert guest.read("/etc/kept") == b"kept"
    assert guest.stat("/etc/kept").mode == 0o640
    assert not guest.exists("/run/gone")
    assert not guest.exists("/tmp/gone")
    assert [name for name in guest.names("/proc") if name.isdigit()] == ["1"]
    assert daemon.wait(5).returncode != 0


def test_programs_get_input_and_give_output_and_status(light_guest: StartGuest) -> None:
    guest = light_guest()
    much = os.urandom(1 << 20)

    echoed = guest.run(["cat"], input=much)
    failed = guest.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 7"])
    killed = guest.run(["/bin/sh", "-c", "kill -9 $$"])
    absent = guest.run(["no-such-program"])

    assert echoed.stdout == much
    assert (failed.returncode, failed.stdout, failed.stderr) == (7, b"out\n", b"err\n")
    assert killed.returncode == -9
    assert absent.returncode == 127


def test_a_program_that_hangs_is_ended(light_guest: StartGuest) -> None:
    guest = light_guest()

    with pytest.raises(subprocess.TimeoutExpired):
        guest.run(["sleep", "1000"], timeout=0.1)

    assert [name for name in guest.names("/proc") if name.isdigit()] == ["1"]


def test_a_program_that_leaves_a_daemon_behind_still_ends(light_guest: StartGuest) -> None:
    guest = light_guest()

    done = guest.run(["/bin/sh", "-c", "sleep 1000 & echo started"], timeout=10)

    assert done.stdout == b"started\n"


def test_a_missing_file_is_an_ordinary_error(light_guest: StartGuest) -> None:
    guest = light_guest()

    with pytest.raises(FileNotFoundError):
        guest.read("/no/such/file")


def test_a_lower_tree_that_is_not_there_is_refused_in_words(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a real guest needs root")

    with pytest.raises(GuestError, match="No such file"), LightGuest(tmp_path / "no"):
        pass


def test_guests_reach_the_cloud_each_from_its_own_address(
    light_guest: StartGuest, cloud: Cloud
) -> None:
    nics = [Nic("192.168.1.10/24", "fa:16:3e:00:00:10"), Nic("10.0.7.8/16", "fa:16:3e:00:00:11")]
    guests = [light_guest(cloud=cloud, nic=nic) for nic in nics]

    with cloud.machine.start(SERVE) as server:
        server.wait_for("Serving HTTP")
        for guest in guests:
            guest.run(["curl", "-sf", "http://169.254.169.254/"], check=True)
        guests[0].reboot()
        guests[0].run(["curl", "-sf", "http://169.254.169.254/"], check=True)
        server.wait_for(r"(?s)(GET.*){3}")
        seen = [line.split()[0] for line in server.stderr.decode().splitlines()]

    assert seen == ["192.168.1.10", "10.0.7.8", "192.168.1.10"]
    assert guests[0].text("/sys/class/net/eth0/address").strip() == nics[0].mac


def test_a_killed_parent_leaves_nothing_behind(debian12: Path) -> None:
    program = f"""
from pathlib import Path
from tests.guests.cloud import Cloud
from tests.guests.light import LightGuest
with Cloud() as cloud, LightGuest(Path({str(debian12)!r}), cloud=cloud) as guest:
    guest.start(["sleep", "1000"])
    print(cloud.machine.pid, guest.pid, flush=True)
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
        inits = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(inits) == 2

        parent.send_signal(signal.SIGKILL)
        parent.wait()

    for init in inits:
        assert select.select([init], [], [], 10)[0], "an init outlived its parent"
        os.close(init)
    assert Path("/proc/self/mountinfo").read_text() == mounts
