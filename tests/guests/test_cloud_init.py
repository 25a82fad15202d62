"""Debian's own cloud-init boots from our server, in a light guest, unmodified."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..conftest import StartGuest
from .cases import lines_of
from .cloud import Cloud
from .light import LightGuest, Nic

pytestmark = pytest.mark.guest

NIC = Nic("192.168.1.10/24", "fa:16:3e:f7:c1:47")
USER_DATA = """\
#cloud-config
write_files: [{path: /etc/written, content: as asked}]
users: [default, {name: alice, groups: [sudo]}]
runcmd: ["echo ran > /etc/ran"]
"""
INSTANCE = {
    "id": "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04",
    "name": "ecs-ddd4",
    "keys": [
        {
            "name": "laptop",
            "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQ"
            "EIQczXkVx9q me@laptop",
        }
    ],
    "user_data": USER_DATA,
    "vendor_data": {"cloud-init": "#cloud-config\ntimezone: Asia/Shanghai\n"},
    # cloud-init refuses to boot when it has no such interface.
    "nics": [{"mac": NIC.mac, "ipv4": "192.168.1.10", "prefix": 24, "gateway": "192.168.1.1"}],
}
# The image's own: a datasource, and nothing that needs what this tier of guests has not.
IMAGE = """\
datasource_list: [{name}]
datasource: {{{name}: {{max_wait: 10, timeout: 5, strict_id: false}}}}
locale: C.UTF-8
"""


def boot(guest: LightGuest, name: str) -> str:
    """Go through the stages that come once there is a network; `local` would wait for DHCP."""
    guest.write("/etc/cloud/cloud.cfg.d/99-image.cfg", IMAGE.format(name=name).encode())
    said = ""
    for stage in (["init"], ["modules", "--mode", "config"], ["modules", "--mode", "final"]):
        done = guest.run(["cloud-init", *stage])
        said += (done.stdout + done.stderr).decode()
    return said


@pytest.mark.parametrize(
    ("name", "product", "instance_id"),
    [
        ("OpenStack", "OpenStack Nova", str(INSTANCE["id"])),
        ("Ec2", None, None),
    ],
)
def test_cloud_init_boots_fully_from_us(
    light_guest: StartGuest, cloud: Cloud, name: str, product: str | None, instance_id: str | None
) -> None:
    guest = light_guest(cloud=cloud, nic=NIC, product=product)

    with cloud.serve([INSTANCE]):
        said = boot(guest, name)

    result: dict[str, Any] = json.loads(guest.read("/run/cloud-init/result.json"))["v1"]
    assert result["errors"] == [], said
    assert result["datasource"].startswith(f"DataSource{name}")
    assert guest.text("/etc/hostname") == "ecs-ddd4\n"
    assert guest.text("/etc/written") == "as asked"
    assert guest.text("/etc/ran") == "ran\n"
    assert "alice" in lines_of(guest, "passwd")
    assert "me@laptop" in guest.text("/home/debian/.ssh/authorized_keys")
    seen = guest.text("/run/cloud-init/.instance-id").strip()
    if instance_id is not None:
        assert seen == instance_id
        assert guest.readlink("/etc/localtime").endswith("Asia/Shanghai")
        assert NIC.mac in guest.text("/etc/netplan/50-cloud-init.yaml")
    else:
        assert seen.startswith("i-")
