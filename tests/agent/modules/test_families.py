"""Which family a distribution belongs to."""

from __future__ import annotations

import pytest

from agent.host import Host
from agent.modules.families import family, user_groups

from .machine import Machine


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "debian"),
        ("ID=ubuntu\nID_LIKE=debian\n", "debian"),
        ('ID="openEuler"\n', "rhel"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "rhel"),
        ('ID="amzn"\nID_LIKE="fedora"\n', "rhel"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "suse"),
        ("ID='sles'\n", "suse"),
        ("ID=alpine\n", "alpine"),
        ('ID=mint\nID_LIKE="ubuntu debian"\n', "debian"),
        ("ID=unheard-of\n", "debian"),
        ("", "debian"),
    ],
)
def test_the_family(machine: Machine, text: str, name: str) -> None:
    machine.guest.write("/etc/os-release", text.encode())

    assert family(Host(machine.guest.root)).name == name


@pytest.mark.parametrize(
    ("text", "has_it"),
    [
        ('ID=debian\nVERSION_ID="12"\n', True),
        ('ID=debian\nVERSION_ID="13"\n', False),
        ("ID=debian\nVERSION_CODENAME=sid\n", False),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', True),
    ],
)
def test_who_sets_up_networks_has_no_group_on_newer_debian(
    machine: Machine, text: str, has_it: bool
) -> None:
    machine.guest.write("/etc/os-release", text.encode())

    groups = user_groups(Host(machine.guest.root))

    assert ("netdev" in groups) == has_it
    assert "sudo" in groups
