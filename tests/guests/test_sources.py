"""Real guests that have no address yet, and that nobody answers; later boots without a service."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.early_network import link_local

from ..conftest import StartGuest
from . import installed
from .cloud import CHECKOUT, Cloud
from .light import LightGuest, Nic

pytestmark = pytest.mark.guest

ID = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"
MAC = "fa:16:3e:f7:c1:47"
BUSYBOX = Path("/usr/bin/busybox")
LOOK = "ip -4 -o address show dev eth0; ip -4 route; cat /sys/class/net/eth0/flags /etc/resolv.conf"
# Subnet mask, router, DNS; the third also has classless routes in place of the router.
MASK, ROUTER, DNS = "1=ffffff00", "3=c0a80101", "6=08080808"
CLASSLESS = "121=20a9fea9fe00000000"


def instance(address: str, **more: Any) -> dict[str, Any]:
    user_data = "#cloud-config\nwrite_files: [{path: /etc/written, content: as asked}]\n"
    nics = [{"mac": MAC, "ipv4": address.partition("/")[0], "prefix": 24}]
    return {"id": ID, "name": "web", "nics": nics, "user_data": user_data, **more}


def boot(guest: LightGuest, settings: str = "") -> dict[str, Any]:
    guest.write("/etc/linklocal/agent.yaml", f"datasource: openstack\n{settings}".encode())
    guest.run(["python3", "-m", "agent", "run"], cwd=installed.HOME, timeout=60)
    record: dict[str, Any] = json.loads(guest.read("/run/linklocal/status.json"))
    return record


def without_address(guest: LightGuest) -> str:
    """Leave the guest's link as firmware leaves it; return how that looks."""
    guest.sh(
        "ip address flush dev eth0; ip link set dev eth0 down; ip route flush dev eth0 || true"
    )
    return guest.sh(LOOK)


@pytest.mark.parametrize(
    ("client", "options"),
    [
        ("dhclient", [MASK, DNS, CLASSLESS]),
        pytest.param("dhclient", [MASK, DNS, ROUTER], marks=pytest.mark.slow),
        pytest.param("udhcpc", [MASK, DNS, CLASSLESS], marks=pytest.mark.slow),
        pytest.param("udhcpc", [MASK, DNS, ROUTER], marks=pytest.mark.slow),
    ],
)
def test_a_machine_without_an_address_gets_one_for_a_moment(
    light_guest: StartGuest, cloud: Cloud, installed_agent: Path, client: str, options: list[str]
) -> None:
    nic = Nic("192.168.1.10/24", MAC)
    server = [sys.executable, "-m", "tests.guests.dhcp", "192.168.1.10", "br0", *options]
    with cloud.serve([instance(nic.address)]):
        # The router of the second form: whoever has its address passes on what is for others.
        cloud.machine.sh("ip address add 192.168.1.1/32 dev br0")
        with cloud.machine.start(server, cwd=str(CHECKOUT)) as dhcp:
            dhcp.wait_for("dhcp ready")
            guest = light_guest(cloud, nic, layers=[installed_agent], binds=[BUSYBOX])
            if client == "udhcpc":
                guest.sh("rm /usr/sbin/dhclient; ln -s /usr/bin/busybox /usr/sbin/udhcpc")
            before = without_address(guest)

            record = boot(guest, "dhcp_timeout: 20\n")

            log = guest.read("/var/log/linklocal/agent.log").decode()
            assert (record["status"], record["instance_id"]) == ("done", ID), log
            assert guest.read("/etc/written") == b"as asked"
            assert "early network: eth0 has 192.168.1.10/24 by DHCP" in log
            # It is as it was found: no address, no route, down; and no client is left.
            assert guest.sh(LOOK) == before
            assert guest.sh("ps -eo comm | grep -cE 'dhclient|udhcpc|busybox' || true") == "0\n"


@pytest.mark.slow
def test_a_machine_that_gets_no_lease_asks_with_a_link_local_address(
    light_guest: StartGuest, cloud: Cloud, installed_agent: Path
) -> None:
    nic = Nic(link_local(MAC), MAC)
    with cloud.serve([instance(nic.address)]):
        guest = light_guest(cloud, nic, layers=[installed_agent])
        before = without_address(guest)

        record = boot(guest, "dhcp_timeout: 0.5\n")

        assert (record["status"], record["instance_id"]) == ("done", ID), record["detail"]
        assert guest.sh(LOOK) == before


@pytest.mark.slow
def test_nobody_there_is_said_in_bounded_time_and_all_is_as_it_was(
    light_guest: StartGuest, cloud: Cloud, installed_agent: Path
) -> None:
    guest = light_guest(cloud, Nic("192.168.1.10/24", MAC), layers=[installed_agent])
    before = without_address(guest)

    record = boot(guest)

    assert record["status"] == "failed"
    assert record["detail"].startswith("no metadata service found; tried openstack; GET http://169")
    # Five seconds on a machine that is not busy; without a bound it would be a minute or more.
    assert record["finished"] - record["started"] < 20
    assert guest.sh(LOOK) == before


DMI = f"""
mount --rbind /sys /mnt
mount -t tmpfs sys /sys
mkdir -p /sys/class/dmi/id /sys/class/net /sys/devices
mount --bind /mnt/class/net /sys/class/net
mount --bind /mnt/devices /sys/devices
echo OpenStack Nova >/sys/class/dmi/id/product_name
echo {ID.upper()} >/sys/class/dmi/id/product_uuid
"""
EVERY_BOOT = [
    "#cloud-config\nbootcmd: [echo bootcmd >>/root/turns]\nruncmd: [echo runcmd >>/root/turns]\n",
    "#cloud-boothook\n#!/bin/sh\necho boothook >>/root/turns\n",
]


def test_a_known_instance_boots_again_without_its_service(
    light_guest: StartGuest, cloud: Cloud, installed_agent: Path
) -> None:
    nic = Nic("192.168.1.10/24", MAC)
    guest = light_guest(cloud, nic, layers=[installed_agent])
    archive = f"#cloud-config-archive\n{json.dumps(EVERY_BOOT)}"
    guest.sh(DMI)
    with cloud.serve([instance(nic.address, user_data=archive)]):
        first = boot(guest)
    guest.reboot()
    guest.sh(DMI)

    second = boot(guest, "deadline: 0.5\n")

    assert (first["status"], first["degraded"]) == ("done", False), first["detail"]
    assert (second["status"], second["degraded"]) == ("done", False), second["detail"]
    turns = "boothook bootcmd runcmd boothook bootcmd"
    assert guest.read("/root/turns").decode().split() == turns.split()
