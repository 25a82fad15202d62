"""The role of Ansible: many hosts over ssh, with a key or a password, one of them unreachable."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ..conftest import StartNspawn
from ..guests.cloud import CHECKOUT, Cloud
from ..guests.light import Nic
from ..guests.nspawn import NspawnGuest

pytestmark = [pytest.mark.guest, pytest.mark.slow, pytest.mark.timeout(300)]

BY_KEY = Nic("192.168.1.10/24", "fa:16:3e:f7:c1:10")
BY_PASSWORD = Nic("192.168.1.11/24", "fa:16:3e:f7:c1:11")
WRONG = Nic("192.168.1.12/24", "fa:16:3e:f7:c1:12")
NOBODY = "192.168.1.99"
PASSWORD = "{{Batch-2468}},'word"
HERE = "192.168.1.1"
# Has dpkg's lock until somebody has waited for it for a second, as a machine's own upgrades have.
BUSY = """\
import fcntl, pathlib, subprocess, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
pathlib.Path("/run/busy").touch()
while subprocess.run(["pgrep", "-x", "apt-get"], stdout=subprocess.DEVNULL).returncode:
    time.sleep(0.1)
time.sleep(1)
"""
SSHD = b"PermitRootLogin yes\nPasswordAuthentication yes\nUseDNS no\n"


class Executor:
    """The machine from which the batch is run, in the guests' network."""

    def __init__(self, cloud: Cloud, packages: Path, key: Path) -> None:
        self.machine = cloud.machine
        self.machine.sh(f"cp -r {CHECKOUT}/packaging/ansible /root/batch")
        self.machine.write("/root/batch/key", key.read_bytes(), mode=0o600)
        for path in (*packages.glob("linklocal-agent_*.deb"), packages / "SHA256SUMS"):
            self.machine.write(f"/root/batch/{path.name}", path.read_bytes())
            if path.suffix == ".deb":
                self.package = path.name

    def play(self, *words: str, hosts: Sequence[str], mode: int = 0o600) -> tuple[int, str]:
        text = "".join(f"{line}\n" for line in hosts)
        self.machine.write("/root/batch/host_list.txt", text.encode(), mode=mode)
        program = Path(sys.executable).with_name("ansible-playbook")
        argv = [str(program), "-i", "host_list.txt", "batch.yaml", "--private-key", "key", *words]
        env = {"LC_ALL": "C.UTF-8", "HOME": "/root", "ANSIBLE_HOST_KEY_CHECKING": "false"}
        done = self.machine.run(argv, cwd="/root/batch", env=env, timeout=200)
        return done.returncode, (done.stdout + done.stderr).decode()

    def log(self) -> str:
        return self.machine.text("/root/batch/logs/exec_origin.log")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def with_sshd(guest: NspawnGuest, *, key: Path | None = None, password: str = "") -> NspawnGuest:
    guest.sh("ssh-keygen -A >/dev/null")
    guest.write("/etc/ssh/sshd_config.d/test.conf", SSHD)
    if key is not None:
        public = key.with_suffix(".pub").read_bytes()
        guest.write("/root/.ssh/authorized_keys", public, mode=0o600)
    if password:
        guest.run(["chpasswd"], input=f"root:{password}\n".encode(), check=True)
    guest.sh("systemctl reset-failed ssh; systemctl restart ssh || { journalctl -u ssh; exit 1; }")
    return guest


def lines_about(said: str) -> dict[str, str]:
    """Return what is said of each host, by its address."""
    words = (line.split(maxsplit=2) for line in said.splitlines() if line.startswith("["))
    return {host: f"{status} {message}" for status, host, message in words}


def test_many_hosts_are_installed_updated_and_removed(
    nspawn_guest: StartNspawn, packages: Path, key: Path
) -> None:
    with Cloud(("169.254.169.254/32", f"{HERE}/24")) as cloud:
        executor = Executor(cloud, packages, key)
        good = [
            with_sshd(nspawn_guest(cloud=cloud, nic=BY_KEY), key=key),
            with_sshd(nspawn_guest(cloud=cloud, nic=BY_PASSWORD), password=PASSWORD),
        ]
        with_sshd(nspawn_guest(cloud=cloud, nic=WRONG), password=PASSWORD)
        hosts = [
            "# of the test",
            "192.168.1.10",
            f"192.168.1.11,'{PASSWORD}'",
            "192.168.1.12,not-its-password",
            NOBODY,
        ]
        package = f"linklocal_package={executor.package}"
        words = ("-e", package, "-e", "linklocal_daemon=false", "--timeout", "5")

        with good[0].start(["python3", "-c", BUSY]) as busy:
            good[0].sh("until [ -e /run/busy ]; do sleep 0.1; done")
            status, said = executor.play(*words, hosts=hosts)
            assert busy.wait(10).returncode == 0
        told = lines_about(said)
        assert status != 0
        assert told["192.168.1.10"].startswith("[SUCCESS] installed linklocal-agent 0"), said
        assert told["192.168.1.11"] == told["192.168.1.10"]
        assert told["192.168.1.12"].startswith("[FAILED] unreachable: ")
        assert told[NOBODY].startswith("[FAILED] unreachable: ")
        assert "Total: 4 Success: 2 Failed: 2\n" in said
        assert "logs/exec_origin.log" in said
        for guest in good:
            assert guest.sh("dpkg-query -W -f '${Status}' linklocal-agent").endswith(" installed")
            assert guest.sh("ls -d /tmp/linklocal-* 2>/dev/null || :") == ""
        assert "192.168.1.10 ok" in executor.log()
        assert not [
            word for word in (PASSWORD, "not-its-password") if word in said + executor.log()
        ]

        # The same again is an update to what is there.
        again, said = executor.play(*words, hosts=hosts[:3])
        assert again == 0, said
        assert "Total: 2 Success: 2 Failed: 0\n" in said

        removed, said = executor.play("-e", "linklocal_state=purged", hosts=hosts[:3])
        assert removed == 0, said
        assert set(lines_about(said).values()) == {"[SUCCESS] purged"}
        for guest in good:
            assert not guest.exists("/usr/lib/linklocal")


def test_a_batch_that_cannot_be_trusted_touches_no_host(
    nspawn_guest: StartNspawn, packages: Path, key: Path
) -> None:
    with Cloud(("169.254.169.254/32", f"{HERE}/24")) as cloud:
        executor = Executor(cloud, packages, key)
        guest = with_sshd(nspawn_guest(cloud=cloud, nic=BY_KEY), key=key)
        words = ("-e", f"linklocal_package={executor.package}")

        open_to_all = executor.play(*words, hosts=["192.168.1.10,secret-word"], mode=0o644)
        executor.machine.sh(f"echo >>/root/batch/{executor.package}")
        changed = executor.play(*words, hosts=["192.168.1.10"])

        assert open_to_all[0] != 0
        assert "chmod 600" in open_to_all[1]
        assert "secret-word" not in open_to_all[1]
        assert changed[0] != 0
        assert "SHA256SUMS" in lines_about(changed[1])["192.168.1.10"]
        assert not guest.exists("/usr/lib/linklocal")


def test_the_role_is_what_ansible_takes(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("ansible-playbook")
    place = tmp_path / "batch"
    shutil.copytree(CHECKOUT / "packaging/ansible", place)
    (place / "host_list.txt").write_text("192.168.1.10 nonsense\n")
    argv = [str(program), "-i", "host_list.txt", "batch.yaml", "--syntax-check"]
    done = subprocess.run(argv, cwd=place, capture_output=True, text=True)
    assert "expected an address" in done.stdout + done.stderr
