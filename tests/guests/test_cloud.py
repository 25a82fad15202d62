"""Guests at the link-local address: each is told apart by where it asks from, by IPv4 and IPv6."""

from __future__ import annotations

import pytest

from ..conftest import StartGuest
from .cloud import ADDRESS6, Cloud
from .light import LightGuest, Nic

pytestmark = pytest.mark.guest

NICS = [
    Nic("192.168.1.10/24", "fa:16:3e:00:00:10", "fd00:ec2::10/64"),
    Nic("192.168.1.11/24", "fa:16:3e:00:00:11", "fd00:ec2::11/64"),
]
STRANGER = Nic("192.168.1.99/24", "fa:16:3e:00:00:99", "fd00:ec2::99/64")
INSTANCES = [
    {
        "id": f"ca9e8b7c-f2be-4b6d-a639-f10b4d994d0{number}",
        "name": f"vm{number}",
        "nics": [
            {
                "mac": nic.mac,
                "ipv4": nic.address.partition("/")[0],
                "prefix": 24,
                "ipv6": (nic.address6 or "").partition("/")[0],
                "ipv6_prefix": 64,
            }
        ],
    }
    for number, nic in enumerate(NICS)
]


def get(guest: LightGuest, host: str) -> tuple[str, str]:
    """Return status and host name as served at *host*."""
    url = f"http://{host}/latest/meta-data/hostname"
    body, _, status = guest.sh(f"curl -sg -w '\\n%{{http_code}}' '{url}'").rpartition("\n")
    return status, body


def test_each_guest_is_served_its_own_and_a_stranger_nothing(
    light_guest: StartGuest, cloud: Cloud
) -> None:
    hosts = ["169.254.169.254"]
    if any(":" in address for address in cloud.addresses):
        hosts.append(f"[{ADDRESS6}]")

    with cloud.serve(INSTANCES):
        guests = [light_guest(cloud, nic) for nic in NICS]
        stranger = light_guest(cloud, STRANGER)
        for host in hosts:
            assert [get(guest, host) for guest in guests] == [
                ("200", "vm0.novalocal"),
                ("200", "vm1.novalocal"),
            ]
            status, body = get(stranger, host)
            assert status == "404"
            assert "vm" not in body


def test_a_guest_does_not_reach_the_operators_listener(
    light_guest: StartGuest, cloud: Cloud
) -> None:
    with cloud.serve(INSTANCES) as service:
        guest = light_guest(cloud, NICS[0])

        done = guest.run(["curl", "-s", "-m", "2", "http://169.254.169.254:8774/healthz"])

        assert done.returncode == 7, done
        assert service.ctl("instance", "list").returncode == 0
