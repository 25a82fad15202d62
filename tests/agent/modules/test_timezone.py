"""timezone: the link, the name where the family has one, and zones that are none."""

from __future__ import annotations

import os

import pytest

from agent.errors import ConfigError

from .machine import Machine, said


def test_the_zone(machine: Machine) -> None:
    report = machine.apply("timezone", "timezone: Asia/Shanghai")

    assert said(report) == []
    link = os.readlink(machine.guest.path("/etc/localtime"))
    assert link == "/usr/share/zoneinfo/Asia/Shanghai"
    assert machine.guest.text("/etc/timezone") == "Asia/Shanghai\n"


def test_a_family_without_etc_timezone_gets_none(machine: Machine) -> None:
    machine.guest.write("/etc/os-release", b'ID="rocky"\nID_LIKE="rhel centos fedora"\n')
    machine.guest.path("/etc/timezone").unlink()

    machine.apply("timezone", "timezone: Asia/Shanghai")

    assert not machine.guest.exists("/etc/timezone")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "europe/berlin"])
def test_a_zone_that_is_none(machine: Machine, zone: str) -> None:
    before = machine.tree()

    with pytest.raises(ConfigError, match=f"timezone: no such zone: '{zone}'"):
        machine.apply("timezone", f"timezone: {zone}")

    assert machine.tree() == before


@pytest.mark.parametrize("zone", ["../../../etc/passwd", "/etc/passwd", "[Europe]", "'a b'", "1"])
def test_what_cannot_be_meant_is_refused(machine: Machine, zone: str) -> None:
    before = machine.tree()

    report = machine.apply("timezone", f"timezone: {zone}")

    assert said(report) == [("refused", "timezone")]
    assert machine.tree() == before


def test_without_tzdata_it_says_what_to_install(machine: Machine) -> None:
    machine.guest.path("/usr/share/zoneinfo").rename(machine.guest.path("/usr/share/gone"))

    with pytest.raises(ConfigError, match="tzdata"):
        machine.apply("timezone", "timezone: Asia/Shanghai")
