"""hostname and hosts: which name it is, and whose."""

from __future__ import annotations

import pytest

from .machine import INSTANCE, Machine, said, texts

RHEL = b'ID="openEuler"\nVERSION_ID="22.03"\n'


@pytest.mark.parametrize(
    ("document", "served", "name"),
    [
        ("", "ecs-ddd4.novalocal", "ecs-ddd4"),
        ("", "ecs-ddd4", "ecs-ddd4"),
        ("", "10.0.0.7", "ip-10-0-0-7"),
        ("hostname: web-1", "ecs-ddd4.novalocal", "web-1"),
        ("hostname: web-1.example.com", "ecs-ddd4.novalocal", "web-1"),
        ("fqdn: web-1.example.com", "ecs-ddd4.novalocal", "web-1"),
        ("{hostname: a, fqdn: web-1.example.com}", "ecs-ddd4.novalocal", "a"),
        (
            "{fqdn: web-1.example.com, prefer_fqdn_over_hostname: true}",
            "ecs-ddd4.novalocal",
            "web-1.example.com",
        ),
        ("prefer_fqdn_over_hostname: true", "ecs-ddd4.novalocal", "ecs-ddd4.novalocal"),
        ("{hostname: web-1, prefer_fqdn_over_hostname: true}", "x.novalocal", "web-1.novalocal"),
        ("hostname: 42", None, "42"),
        ("preserve_hostname: true", "ecs-ddd4.novalocal", "localhost"),
        ("", None, "localhost"),
    ],
)
def test_the_name(machine: Machine, document: str, served: str | None, name: str) -> None:
    machine.instance = INSTANCE._replace(hostname=served)

    report = machine.apply("hostname", document)

    assert said(report) == []
    assert machine.guest.text("/etc/hostname") == f"{name}\n"


@pytest.mark.parametrize("bad", ["'web 1'", "-web", "a/b", "'a\\nb'", "[a]", "'a..b'", "a: b"])
def test_a_name_that_is_none_is_refused_and_the_served_one_used(machine: Machine, bad: str) -> None:
    report = machine.apply("hostname", f"hostname: {bad}" if ":" not in bad else "hostname: {a: b}")

    assert said(report) == [("refused", "hostname")]
    assert "host name such as" in texts(report)
    assert machine.guest.text("/etc/hostname") == "ecs-ddd4\n"


def test_the_full_name_where_the_distribution_has_it_so(machine: Machine) -> None:
    machine.guest.write("/etc/os-release", RHEL)

    machine.apply("hostname", "")

    assert machine.guest.text("/etc/hostname") == "ecs-ddd4.novalocal\n"


def test_a_name_changed_by_its_user_stays_until_the_instance_is_another(machine: Machine) -> None:
    machine.apply("hostname", "hostname: web-1")
    machine.guest.write("/etc/hostname", b"mine\n")

    machine.apply("hostname", "hostname: web-1")
    assert machine.guest.text("/etc/hostname") == "mine\n"

    machine.instance = INSTANCE._replace(instance_id="i-2")
    machine.apply("hostname", "hostname: web-1")
    assert machine.guest.text("/etc/hostname") == "web-1\n"


def test_a_changed_cloud_config_changes_a_name_that_is_ours(machine: Machine) -> None:
    machine.apply("hostname", "hostname: web-1")

    machine.apply("hostname", "hostname: web-2")

    assert machine.guest.text("/etc/hostname") == "web-2\n"


def test_without_its_file_none_is_made_when_so_asked(machine: Machine) -> None:
    machine.guest.path("/etc/hostname").unlink()

    machine.apply("hostname", "{hostname: web-1, create_hostname_file: false}")

    assert not machine.guest.exists("/etc/hostname")


@pytest.mark.parametrize("manage", ["true", "template", "'yes'"])
def test_the_whole_hosts_file(machine: Machine, manage: str) -> None:
    report = machine.apply("hosts", f"{{manage_etc_hosts: {manage}, fqdn: web-1.example.com}}")

    lines = machine.guest.text("/etc/hosts").splitlines()
    assert said(report) == []
    assert "127.0.1.1 web-1.example.com web-1" in lines
    assert "127.0.0.1 localhost" in lines


def test_the_image_may_bring_its_own_template(machine: Machine) -> None:
    machine.guest.write("/etc/linklocal/templates/hosts", b"10.0.0.1 {{fqdn}} {{ hostname }} {x}\n")

    machine.apply("hosts", "manage_etc_hosts: true")

    assert machine.guest.text("/etc/hosts") == "10.0.0.1 ecs-ddd4.novalocal ecs-ddd4 {x}\n"


def test_only_the_own_line(machine: Machine) -> None:
    before = machine.guest.text("/etc/hosts")

    machine.apply("hosts", "{manage_etc_hosts: localhost, hostname: web-1}")

    assert machine.guest.text("/etc/hosts") == before + "127.0.1.1 web-1.novalocal web-1\n"


def test_the_own_line_comes_before_older_ones_of_its_address(machine: Machine) -> None:
    machine.guest.write("/etc/hosts", b"127.0.0.1 localhost\n127.0.1.1 old\n# end")

    machine.apply("hosts", "{manage_etc_hosts: localhost, fqdn: new.example.com}")

    assert machine.guest.text("/etc/hosts").splitlines() == [
        "127.0.0.1 localhost",
        "127.0.1.1 new.example.com new",
        "127.0.1.1 old",
        "# end",
    ]


def test_hosts_is_left_alone(machine: Machine) -> None:
    before = machine.guest.text("/etc/hosts")

    machine.apply("hosts", "manage_etc_hosts: false")

    assert machine.guest.text("/etc/hosts") == before


def test_what_cannot_be_meant_is_refused_and_hosts_left_alone(machine: Machine) -> None:
    before = machine.guest.text("/etc/hosts")

    report = machine.apply("hosts", "manage_etc_hosts: sometimes")

    assert said(report) == [("refused", "manage_etc_hosts")]
    assert machine.guest.text("/etc/hosts") == before
