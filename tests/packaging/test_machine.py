"""The package in an image that boots as a machine of its own: kernel, disk, firmware, boot."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ..agent.disks import disk
from ..conftest import StartMachine
from ..guests import images
from ..guests.cloud import CHECKOUT, Cloud, Service
from ..guests.light import Nic
from ..guests.vm import VirtualMachine

pytestmark = [pytest.mark.guest, pytest.mark.slow, pytest.mark.timeout(900)]

ROUTER = "192.168.1.1"
FIRST = Nic("192.168.1.10/24", "fa:16:3e:f7:c1:10", configured=False)
SECOND = Nic("192.168.1.11/24", "fa:16:3e:f7:c1:11", configured=False)
PASSWORD = "Machine-2468.word"
# In an emulated machine all takes longer than on one that is bought.
AGENT = "report_boot: true\ndhcp_timeout: 30\ndeadline: 60\n"
USER_DATA = """\
#cloud-config-archive
- type: text/cloud-config
  content: |
    ssh_genkeytypes: [ed25519]
    users:
    - default
    - {{name: ada, shell: /bin/bash, groups: [sudo], ssh_authorized_keys: ["{key}"]}}
    write_files: [{{path: /etc/app/app.conf, content: "port = 8080", permissions: "0640"}}]
    package_update: true
    packages: [linklocal-hello]
    runcmd: [echo command >>/root/ran]
- content: |
    #!/bin/sh
    echo script >>/root/ran
"""
BAKE = "dpkg --install /mnt/linklocal-agent_*.deb; cp /mnt/agent.yaml /etc/linklocal/"
RAN = "script\ncommand\n"
HELLO = """\
Package: linklocal-hello
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: a package of a test
"""
STATUS = "linklocal-agent status --wait --timeout 120"
SSH = (
    "ssh -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={known} -o BatchMode=yes"
    " -o ConnectTimeout=30 -i {key} {user}@{host} {command}"
)


def repository(layer: Path) -> None:
    """Give the image a repository of one package, and no other."""
    place = layer / "srv/repository"
    control = place / "tree/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text(HELLO)
    (place / "tree/srv").mkdir()
    (place / "tree/srv/hello").write_text("hello\n")
    package = place / "hello_1.0_all.deb"
    subprocess.run(
        ["dpkg-deb", "--build", place / "tree", package], check=True, capture_output=True
    )
    content = package.read_bytes()
    sum_ = hashlib.sha256(content).hexdigest()
    entry = f"{HELLO}Filename: ./{package.name}\nSize: {len(content)}\nSHA256: {sum_}\n"
    (place / "Packages").write_text(entry)
    sources = layer / "etc/apt/sources.list"
    sources.parent.mkdir(parents=True)
    sources.write_text("deb [trusted=yes] file:/srv/repository ./\n")


@pytest.fixture(scope="module")
def image(packages: Path, machine12: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk of a machine that has the package and was never booted."""
    place = tmp_path_factory.mktemp("image")
    layer = place / "layer"
    repository(layer)
    (package,) = packages.glob("linklocal-agent_*_all.deb")
    (place / "agent.yaml").write_text(AGENT)
    images.bake(machine12, layer, BAKE, files=[package, place / "agent.yaml"])
    return images.make(machine12, place / "disk.raw", layers=[layer])


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def instance(number: int, nic: Nic, key: Path) -> dict[str, Any]:
    public = key.with_suffix(".pub").read_text().strip()
    address, _, prefix = nic.address.partition("/")
    placed = {"mac": nic.mac, "ipv4": address, "prefix": int(prefix), "gateway": ROUTER}
    return {
        "id": f"5b3f6f0e-41a7-4c0e-9f6d-0c9d5ad0e7a{number}",
        "name": f"machine-{number}",
        "keys": [{"name": "laptop", "public_key": public}],
        "nics": [{**placed, "dhcp": False}],
        "user_data": USER_DATA.format(key=public),
    }


@contextmanager
def lease(cloud: Cloud, nic: Nic) -> Iterator[None]:
    """Give *nic*'s address by DHCP to whoever asks, as a cloud's network does."""
    router = f"3={bytes(map(int, ROUTER.split('.'))).hex()}"
    words = [nic.address.partition("/")[0], "br0", "1=ffffff00", router]
    argv = [sys.executable, "-m", "tests.guests.dhcp", *words]
    with cloud.machine.start(argv, cwd=str(CHECKOUT)) as server:
        server.wait_for("dhcp ready")
        yield


class Operator:
    """Whoever is in the cloud's network with a private key."""

    def __init__(self, cloud: Cloud, key: Path) -> None:
        self._cloud = cloud
        cloud.machine.write("/root/key", key.read_bytes(), mode=0o600)

    def ssh(self, user: str, nic: Nic, command: str) -> str:
        """Run *command* at *nic*'s address as *user*; return what it prints."""
        host = nic.address.partition("/")[0]
        words = {"known": f"/root/known-{host}", "key": "/root/key"}
        return self._cloud.machine.sh(
            SSH.format(**words, user=user, host=host, command=command), timeout=90
        )


def is_as_asked(
    guest: VirtualMachine, wanted: dict[str, Any], ran: str = RAN, status: str = STATUS
) -> None:
    """Look at everything that user data and metadata ask for, when the command *status* is done."""
    told = guest.sh(status, timeout=200)
    (nic,) = wanted["nics"]
    assert told.lstrip(".\n").startswith("status: done\n")
    assert guest.sh("hostname").strip() == wanted["name"]
    assert guest.sh("id -nG ada").split() == ["ada", "sudo"]
    assert guest.sh("cat /etc/app/app.conf; stat -c %a /etc/app/app.conf") == "port = 8080640\n"
    assert guest.text("/root/ran") == ran
    assert guest.sh("cat /srv/hello; dpkg-query -W -f '${Status}' linklocal-hello").endswith(
        "install ok installed"
    )
    assert f"inet {nic['ipv4']}/24" in guest.sh("ip address show dev eth0")
    assert f"default via {ROUTER}" in guest.sh("ip route show default")


def has_keys_before_sshd(guest: VirtualMachine) -> None:
    made = int(guest.sh("stat -c %Y /etc/ssh/ssh_host_ed25519_key"))
    shown = "systemctl show ssh --value --property"
    began = guest.sh(f'date +%s -d "$({shown} ExecMainStartTimestamp)"')
    assert made <= int(began)
    assert guest.sh(f"{shown} ActiveState,NRestarts").split() in (["active", "0"], ["0", "active"])


def wait_ready(service: Service, wanted: dict[str, Any]) -> None:
    done = service.ctl("wait-ready", wanted["id"], "--strict", "--timeout", "60")
    assert done.returncode == 0, done.stdout + done.stderr


def copy_of(guest: VirtualMachine, path: Path) -> Path:
    images.run(["qemu-img", "convert", "-O", "raw", str(guest.disk), str(path)])
    return path


def test_an_image_boots_as_a_machine_of_its_own(
    vm: StartMachine, image: Path, key: Path, tmp_path: Path
) -> None:
    first, second = instance(1, FIRST, key), instance(2, SECOND, key)
    options = {"product": "OpenStack Nova", "gib": 3}
    with Cloud(("169.254.169.254/32", f"{ROUTER}/24")) as cloud:
        operator = Operator(cloud, key)
        with cloud.serve([first, second]) as service:
            with lease(cloud, FIRST):
                guest = vm(image, cloud=cloud, nic=FIRST, identity=first["id"], **options)
                is_as_asked(guest, first)
            has_keys_before_sshd(guest)
            wait_ready(service, first)
            assert int(guest.sh("findmnt -nbo SIZE /")) > 2.7 * 2**30
            assert operator.ssh("ada", FIRST, "id -un").strip() == "ada"
            assert operator.ssh("debian", FIRST, "sudo id -un").strip() == "root"

            # Off, a reset asked for, and on again: the next login has the new password.
            guest.halt()
            asked = service.ctl(
                *("reset-password", first["id"], "--password-stdin", "--apply", "boot", "--json"),
                input=PASSWORD.encode() + b"\n",
            )
            guest.boot()
            assert guest.console.log_in("root", PASSWORD, timeout=120)
            request = json.loads(asked.stdout)["id"]
            told = service.ctl("reset-status", first["id"], request, "--wait", "30", "--json")
            assert json.loads(told.stdout)["state"] == "applied"
            # The known host key is the same; nothing was done again.
            assert operator.ssh("ada", FIRST, "id -un").strip() == "ada"
            is_as_asked(guest, first)

            # A copy of the disk with another instance's identity is another machine.
            host_key = guest.text("/etc/ssh/ssh_host_ed25519_key.pub")
            guest.halt()
            copy = copy_of(guest, tmp_path / "copy.raw")
            guest.close()
            with lease(cloud, SECOND):
                other = vm(copy, cloud=cloud, nic=SECOND, identity=second["id"], **options)
                is_as_asked(other, second, ran=RAN + RAN)
            wait_ready(service, second)
            assert operator.ssh("ada", SECOND, "id -un").strip() == "ada"
            assert other.text("/etc/ssh/ssh_host_ed25519_key.pub") != host_key


CLOUD_CONFIG = "#cloud-config\nssh_genkeytypes: [ed25519]\nruncmd: [echo command >>/root/ran]\n"
META = {"uuid": "b0b1b2b3-0001-4c0e-9f6d-0c9d5ad0e7aa", "hostname": "on-a-drive", "name": "drive"}
DRIVES = {
    "config-2": {
        "openstack/latest/meta_data.json": json.dumps(META).encode(),
        "openstack/latest/user_data": CLOUD_CONFIG.encode(),
        "openstack/latest/network_data.json": b'{"links": [], "networks": [], "services": []}',
    },
    "cidata": {
        "meta-data": b"instance-id: seed-1\nlocal-hostname: on-a-drive\n",
        "user-data": CLOUD_CONFIG.encode(),
    },
}


@pytest.mark.parametrize("label", DRIVES)
def test_an_image_boots_from_a_drive(
    vm: StartMachine, image: Path, tmp_path: Path, label: str
) -> None:
    drive = disk(tmp_path / "drive.iso", "joliet and rock ridge", label, DRIVES[label])

    guest = vm(image, disks=[drive])

    assert "status: done" in guest.sh("linklocal-agent status --wait --timeout 120")
    assert guest.sh("hostname").strip() == "on-a-drive"
    assert guest.text("/root/ran") == "command\n"
    assert guest.sh("systemctl is-active ssh").strip() == "active"
