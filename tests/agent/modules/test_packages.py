"""packages: what each family's tool is asked, and what is refused. Installing: test_in_a_guest."""

from __future__ import annotations

import os

import pytest

from agent.errors import ConfigError
from agent.host import Host
from agent.plan import Plan

from .machine import Machine, said, texts

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a plan for programs needs root")


def with_tool(machine: Machine, program: str) -> Machine:
    machine.guest.write("/bin/sh", b"", mode=0o755)
    machine.guest.write(f"/usr/bin/{program}", b"", mode=0o755)
    return machine


def commands(machine: Machine, document: str) -> list[str]:
    plan = Plan(Host(machine.guest.root))
    machine.apply("packages", document, plan)
    return [effect.target for effect in plan.effects if effect.verb == "run"]


@needs_root
@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("apt-get", ["update", "dist-upgrade", "install -- htop nginx=1.2-3"]),
        ("dnf", ["dnf -y makecache", "dnf -y upgrade", "dnf -y install htop nginx-1.2-3"]),
        ("yum", ["yum -y makecache", "yum -y upgrade", "yum -y install htop nginx-1.2-3"]),
        ("zypper", ["refresh", "update --auto-agree-with-licenses", "-- htop nginx=1.2-3"]),
        ("apk", ["apk update", "apk upgrade", "apk add htop nginx=1.2-3"]),
    ],
)
def test_each_tool_is_asked_in_its_own_words(
    machine: Machine, program: str, expected: list[str]
) -> None:
    document = "{package_upgrade: true, packages: [htop, [nginx, 1.2-3]]}"

    found = commands(with_tool(machine, program), document)

    assert len(found) == len(expected)
    for command, end in zip(found, expected):
        assert command.startswith(f"{program} ")
        assert command.endswith(end)


@needs_root
@pytest.mark.parametrize(
    ("document", "count"),
    [
        ("package_update: true", 1),
        ("package_update: false", 0),
        ("packages: []", 0),
        ("packages: [a]", 2),
        ("apt_upgrade: true", 2),
        ("packages: [{apt: [a, b]}]", 2),
        ("packages: [{dnf: [a, b]}]", 0),
    ],
)
def test_how_many_commands(machine: Machine, document: str, count: int) -> None:
    assert len(commands(with_tool(machine, "apt-get"), document)) == count


@pytest.mark.parametrize(
    ("item", "place"),
    [
        ("'-oAPT::x=y'", "packages[0]"),
        ("'a b'", "packages[0]"),
        ("'$(reboot)'", "packages[0]"),
        ("[a, b, c]", "packages[0]"),
        ("[a, '-x']", "packages[0]"),
        ("7", "packages[0]"),
        ("[]", "packages[0]"),
        ("{apt: a}", "packages[0].apt"),
        ("{apt: [[]]}", "packages[0].apt[0]"),
    ],
)
def test_what_is_no_package_is_refused(machine: Machine, item: str, place: str) -> None:
    machine.guest.write("/usr/bin/apt-get", b"", mode=0o755)

    report = machine.apply("packages", f"packages: [{item}]")

    assert said(report) == [("refused", place)]
    assert "expected" in texts(report)


def test_packages_of_a_tool_that_is_not_here_are_said(machine: Machine) -> None:
    machine.guest.write("/usr/bin/apt-get", b"", mode=0o755)

    report = machine.apply("packages", "packages: [{snap: [core]}, {dnf: [htop]}]")

    assert said(report) == [("warning", "packages[0].snap"), ("not run", "packages[1].dnf")]


def test_without_a_package_tool_it_fails_in_words(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="no package tool found"):
        machine.apply("packages", "packages: [htop]")
