"""Debian's cloud-init on the same image and the same server; and a machine moved from it to us."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ..conftest import StartMachine, StartNspawn
from ..guests import images, roots
from ..guests.cloud import Cloud
from ..guests.light import Nic
from ..guests.nspawn import NspawnGuest
from ..guests.vm import VirtualMachine
from .test_life import UNITS
from .test_machine import (
    FIRST,
    ROUTER,
    Operator,
    instance,
    is_as_asked,
    key,
    lease,
    repository,
)

__all__ = ["key"]

pytestmark = [pytest.mark.guest, pytest.mark.slow, pytest.mark.timeout(900)]

# What an image for this cloud has of its own: the datasource, a locale, a network system at work.
IMAGE = """\
datasource_list: [OpenStack]
datasource: {OpenStack: {max_wait: 60, timeout: 20}}
locale: C.UTF-8
"""
NIC = Nic()
PACKAGES = "/root/packages"
MOVE = (
    "apt-get --yes --quiet=2 --no-install-recommends install"
    f" {PACKAGES}/linklocal-agent_*_all.deb {PACKAGES}/linklocal-agent-cloud-init_*_all.deb"
)
# What makes the machine itself, and must not be another after the move.
OWN = (
    "cat /etc/machine-id /etc/hostname /etc/ssh/ssh_host_* /etc/passwd /etc/shadow /etc/group"
    " /var/lib/cloud/data/instance-id; cat /etc/netplan/* /home/*/.ssh/authorized_keys 2>&1 || :"
)
BOOT_FINISHED = "/var/lib/cloud/instance/boot-finished"


def with_packages(layer: Path, packages: Path) -> Path:
    """Put the packages into *layer*, with what an image of cloud-init has, and a repository."""
    place = layer / PACKAGES[1:]
    place.mkdir(parents=True)
    place.parent.chmod(0o700)
    for package in packages.glob("*.deb"):
        shutil.copy(package, place)
    settings = layer / "etc/cloud/cloud.cfg.d/99-image.cfg"
    settings.parent.mkdir(parents=True)
    settings.write_text(IMAGE)
    repository(layer)
    return layer


def is_told_by_cloud_init(guest: NspawnGuest | VirtualMachine) -> None:
    done = guest.run(["cloud-init", "status", "--wait", "--long"], timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    # Dots for as long as it waits.
    assert done.stdout.lstrip(b".\n").startswith(b"status: done\n")
    result = json.loads(guest.read("/run/cloud-init/result.json"))["v1"]
    assert result["errors"] == []
    assert result["datasource"].startswith("DataSourceOpenStack")


def test_cloud_init_boots_from_us_and_hands_over(
    vm: StartMachine, packages: Path, key: Path, tmp_path: Path
) -> None:
    layer = with_packages(tmp_path / "layer", packages)
    images.bake(roots.both12(), layer, "systemctl enable systemd-networkd")
    image = images.make(roots.both12(), tmp_path / "disk.raw", layers=[layer])
    first = instance(1, FIRST, key)
    options = {"product": "OpenStack Nova", "gib": 3, "kernel": roots.both12() / "boot"}
    with Cloud(("169.254.169.254/32", f"{ROUTER}/24")) as cloud:
        operator = Operator(cloud, key)
        with cloud.serve([first]), lease(cloud, FIRST):
            guest = vm(image, cloud=cloud, nic=FIRST, identity=first["id"], **options)
            is_told_by_cloud_init(guest)
            is_as_asked(guest, first, status="cloud-init status --wait")
            assert operator.ssh("ada", FIRST, "id -un").strip() == "ada"
            assert operator.ssh("debian", FIRST, "sudo id -un").strip() == "root"

            before = guest.sh(OWN)
            guest.sh(MOVE, timeout=200)
            guest.reboot()

            is_as_asked(guest, first)
            assert "adopted: cloud-init" in guest.sh("linklocal-agent status")
            is_told_by_cloud_init(guest)
            assert "v. linklocal" in guest.text(BOOT_FINISHED)
            assert guest.sh(OWN) == before
            # The known host key is the same.
            assert operator.ssh("ada", FIRST, "id -un").strip() == "ada"
            assert operator.ssh("debian", FIRST, "sudo id -un").strip() == "root"


# Of these guests the link has its address from outside.
UNMANAGED = "network: {config: disabled}\n"
ONCE = """\
#cloud-config
ssh_genkeytypes: [ed25519]
users: [default, {name: ada, groups: [sudo]}]
write_files: [{path: /etc/app.conf, content: as asked}]
runcmd: [echo command >>/root/ran]
"""
# Ordered and wanted as units are that know cloud-init alone.
WAITING_UNIT = """\
[Unit]
After=cloud-final.service
[Service]
Type=oneshot
ExecStart=cp /root/ran /root/seen
[Install]
WantedBy=cloud-init.target
"""
# By all the names that cloud-init has given them, those from 24.3 on too.
STAND_INS = (
    *("cloud-init-main.service", "cloud-init-local.service", "cloud-init.service"),
    *("cloud-init-network.service", "cloud-config.service", "cloud-final.service"),
)
# As the packages of Debian 11 and Ubuntu 22.04 do when they are removed.
MASK = (
    "DPKG_MAINTSCRIPT_PACKAGE=cloud-init deb-systemd-helper mask"
    " cloud-init-local.service cloud-init.service cloud-final.service"
)
HANGS = "#!/bin/sh\necho vendor >>/root/ran\nexec sleep infinity\n"


@pytest.fixture
def layer(packages: Path, tmp_path: Path) -> Path:
    layer = with_packages(tmp_path / "layer", packages)
    (layer / "etc/cloud/cloud.cfg.d/98-network.cfg").write_text(UNMANAGED)
    return layer


def small(number: int, **words: object) -> dict[str, object]:
    identity = f"5b3f6f0e-41a7-4c0e-9f6d-0c9d5ad0e7b{number}"
    nic = {"mac": NIC.mac, "ipv4": NIC.address.partition("/")[0], "prefix": 24, "dhcp": False}
    return {"id": identity, "name": f"small-{number}", "nics": [nic], "user_data": ONCE, **words}


def test_moved_it_stays_and_a_copy_is_set_up_anew(nspawn_guest: StartNspawn, layer: Path) -> None:
    options = {"lower": roots.both12(), "nic": NIC, "layers": [layer], "product": "OpenStack Nova"}
    with Cloud(("169.254.169.254/32", f"{ROUTER}/24")) as cloud, lease(cloud, NIC):
        with cloud.serve([small(1)]):
            guest = nspawn_guest(cloud=cloud, **options)
            is_told_by_cloud_init(guest)
            guest.write("/etc/systemd/system/waiting.service", WAITING_UNIT.encode())
            guest.sh("systemctl enable waiting")
            guest.write("/etc/linklocal/cloud-config.d/network.yaml", UNMANAGED.encode())
            before = guest.sh(OWN)

            guest.sh(f"dpkg --install {PACKAGES}/linklocal-agent_*.deb {PACKAGES}/*cloud-init*.deb")
            guest.sh(MASK)
            # Until it boots, the boot that was is cloud-init's.
            is_told_by_cloud_init(guest)
            assert guest.sh("linklocal-agent status || :") == "status: not started\n"
            for _ in range(2):
                guest.reboot()
                is_told_by_cloud_init(guest)
                assert "\nadopted: cloud-init" in guest.sh("linklocal-agent status --wait")
                assert guest.sh("cat /root/ran; rm /root/seen") == "command\n"
                active = guest.sh(f"systemctl is-active {' '.join(STAND_INS)} || :")
                assert active == "active\n" * len(STAND_INS)
                assert guest.sh(OWN) == before
            guest.halt()
        with cloud.serve([small(2)]):
            guest.boot()
            assert "adopted" not in guest.sh("linklocal-agent status --wait --strict")
            is_told_by_cloud_init(guest)
            assert guest.text("/root/ran") == guest.text("/root/seen") == "command\n" * 2
            assert guest.sh("cat /etc/hostname") == "small-2\n"
            host_key = guest.text("/etc/ssh/ssh_host_ed25519_key.pub")
            assert host_key not in before

            # All is forgotten, cloud-init's marks as well: the same instance is set up again.
            guest.sh("linklocal-agent clean")
            guest.reboot()
            assert "adopted" not in guest.sh("linklocal-agent status --wait --strict")
            assert guest.text("/root/ran") == "command\n" * 3


def test_what_cloud_init_had_not_begun_is_done_after_the_move(
    nspawn_guest: StartNspawn, layer: Path
) -> None:
    (layer / "etc/cloud/cloud-init.disabled").touch()
    options = {"lower": roots.both12(), "nic": NIC, "layers": [layer], "product": "OpenStack Nova"}
    hanging = small(1, vendor_data={"cloud-init": HANGS})
    with (
        Cloud(("169.254.169.254/32", f"{ROUTER}/24")) as cloud,
        lease(cloud, NIC),
        cloud.serve([hanging]),
    ):
        guest = nspawn_guest(cloud=cloud, **options)
        guest.sh("rm /etc/cloud/cloud-init.disabled")
        guest.halt()
        guest.boot(wait=False)
        guest.sh("until [ -e /root/ran ]; do sleep 0.1; done")
        guest.write("/etc/app.conf", b"changed since")
        before = guest.sh(OWN)
        guest.sh(MOVE, timeout=100)
        guest.reboot()

        told = guest.sh("linklocal-agent status --wait")
        assert "degraded: instance: warning: cloud-init was cut off" in told
        assert "\nadopted: cloud-init" in told
        assert guest.text("/root/ran") == "vendor\ncommand\n"
        assert guest.text("/etc/app.conf") == "changed since"
        assert guest.sh(OWN) == before


def test_beside_cloud_init_user_data_is_its_own_and_resets_are_ours(
    nspawn_guest: StartNspawn, layer: Path
) -> None:
    options = {"lower": roots.both12(), "nic": NIC, "layers": [layer], "product": "OpenStack Nova"}
    with (
        Cloud(("169.254.169.254/32", f"{ROUTER}/24")) as cloud,
        lease(cloud, NIC),
        cloud.serve([small(1)]) as service,
    ):
        guest = nspawn_guest(cloud=cloud, **options)
        guest.sh(f"dpkg --install {PACKAGES}/linklocal-agent_*.deb")
        # It has no DMI to go by, as a container.
        url = b"metadata_urls: ['http://169.254.169.254']\n"
        guest.write("/etc/linklocal/agent.yaml", url)
        guest.reboot()

        is_told_by_cloud_init(guest)
        assert guest.text("/root/ran") == "command\n"
        guest.sh(f"systemctl start linklocal-agent.target {UNITS}")
        assert guest.text("/root/ran") == "command\n"
        assert not guest.exists("/run/linklocal/status.json")
        asked = ("reset-password", str(small(1)["id"]), "--user", "root", "--password-stdin")
        done = service.ctl(*asked, "--wait", "20", input=b"Beside-2468.word\n")
        assert done.returncode == 0, done.stdout + done.stderr
        found = guest.sh("linklocal-agent doctor")
        assert "problem" not in found
        assert "install linklocal-agent-cloud-init" in found
