"""resolv_conf: written where this machine's resolver looks."""

from __future__ import annotations

import pytest

from .machine import Machine, bad

FILE = "/etc/resolv.conf"
DROP_IN = "/etc/systemd/resolved.conf.d/50-linklocal.conf"
DOCUMENT = """
manage_resolv_conf: true
resolv_conf:
  nameservers: [10.0.0.2, 'fd00::2']
  searchdomains: [a.example.com, b.example.com]
  domain: example.com
  sortlist: [10.0.0.1/255, 10.0.0.2]
  options: {rotate: true, timeout: 1, debug: false}
"""
WRITTEN = """\
# Made by linklocal-agent from resolv_conf of the cloud-config.
nameserver 10.0.0.2
nameserver fd00::2
search a.example.com b.example.com
domain example.com
sortlist 10.0.0.1/255 10.0.0.2
options rotate timeout:1
"""


def test_a_plain_file_is_written(machine: Machine) -> None:
    assert bad(machine.apply("resolv_conf", DOCUMENT)) == []

    assert machine.guest.text(FILE) == WRITTEN


def test_where_systemd_resolves_names_it_is_told(machine: Machine) -> None:
    machine.guest.write("/usr/lib/systemd/systemd-resolved", b"", mode=0o755)
    machine.guest.path(FILE).symlink_to("../run/systemd/resolve/stub-resolv.conf")

    report = machine.apply("resolv_conf", DOCUMENT)

    assert bad(report) == [("warning", "resolv_conf.sortlist"), ("warning", "resolv_conf.options")]
    assert machine.guest.text(DROP_IN) == (
        "[Resolve]\nDNS=10.0.0.2 fd00::2\nDomains=example.com a.example.com b.example.com\n"
    )
    assert machine.guest.path(FILE).is_symlink()


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ("resolv_conf: {nameservers: [10.0.0.2]}", ("warning", "resolv_conf")),
        ("manage_resolv_conf: true", ("warning", "manage_resolv_conf")),
        ("{manage_resolv_conf: 7}", ("refused", "manage_resolv_conf")),
        ("resolv_conf: {nameservers: [ns.example.com]}", ("refused", "resolv_conf.nameservers")),
        ('resolv_conf: {searchdomains: ["a\\nb"]}', ("refused", "resolv_conf.searchdomains")),
        ("resolv_conf: {options: [rotate]}", ("refused", "resolv_conf.options")),
        ("resolv_conf: {options: {timeout: long}}", ("refused", "resolv_conf.options")),
    ],
)
def test_what_cannot_be_meant_is_named(
    machine: Machine, document: str, found: tuple[str, str]
) -> None:
    before = machine.tree()

    assert found in bad(machine.apply("resolv_conf", document))
    assert machine.tree() == before
