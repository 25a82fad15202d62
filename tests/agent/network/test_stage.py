"""Whose network it is, what applies it, and what a boot leaves: in a directory, without root."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from agent.clean import clean
from agent.host import Host
from agent.instance import InstanceData
from agent.network import backends, kernel_line, places, v1, v2
from agent.network.model import Link, Network
from agent.network.stage import set_up
from agent.plan import Plan
from agent.report import Report
from agent.secret import Secret
from tests.guests.directory import DirectoryGuest

NETPLAN = places.NETPLAN
DHCP = {"version": 2, "ethernets": {"eth0": {"dhcp4": True}}}
STATIC = {"version": 2, "ethernets": {"eth0": {"addresses": ["192.0.2.5/24"]}}}
V1 = {"version": 1, "config": [{"type": "physical", "name": "eth7", "subnets": [{"type": "dhcp"}]}]}
WIFI = {"wlan0": {"access-points": {"lab": {"password": "correct horse"}}}}


def instance(document: Any = None, kind: str = "v2") -> InstanceData:
    return InstanceData(
        "nocloud", "i-1", None, (), Secret(b""), network_config=document, network_kind=kind
    )


@pytest.fixture
def machine(guest_root: DirectoryGuest) -> DirectoryGuest:
    """A directory that has netplan."""
    guest_root.write("/usr/sbin/netplan", b"#!/bin/sh\n", mode=0o755)
    return guest_root


def on_line(document: Any, *, packed: bool = False) -> bytes:
    content = json.dumps(document).encode()
    return b"ro network-config=" + base64.b64encode(
        gzip.compress(content, mtime=0) if packed else content
    )


SAID = [
    # The kernel's line, the image's cloud-config, the datasource; who won, and a word of its file.
    (b"", {}, None, "", None),
    (b"", {}, DHCP, "network-config, written for netplan", "dhcp4: true"),
    (b"", {}, {"network": DHCP}, "network-config, written for netplan", "dhcp4: true"),
    (b"", {"network": STATIC}, DHCP, "network, written for netplan", "192.0.2.5/24"),
    (b"", {"network": V1}, DHCP, "network, written for netplan", "eth7"),
    (b"", {"network": {"config": "disabled"}}, DHCP, "left alone: disabled by network", None),
    (
        on_line(STATIC),
        {"network": {"config": "disabled"}},
        DHCP,
        "kernel command line network-config=, written for netplan",
        "192.0.2.5/24",
    ),
    (
        on_line({"network": V1}, packed=True),
        {},
        DHCP,
        "kernel command line network-config=, written for netplan",
        "eth7",
    ),
    (
        b"network-config=disabled",
        {},
        DHCP,
        "left alone: disabled by kernel command line network-config=",
        None,
    ),
    # What is broken is told, and the next one is asked.
    (b"network-config=%%%", {}, DHCP, "network-config, written for netplan", "dhcp4: true"),
    (b"", {"network": {"version": 3}}, DHCP, "network-config, written for netplan", "dhcp4: true"),
    (b"", {"network": {"version": 2}}, DHCP, "network-config, written for netplan", "dhcp4: true"),
    # A container sees the line of its host.
    (b"ip=eth9:dhcp", {}, DHCP, "network-config, written for netplan", "dhcp4: true"),
]


@pytest.mark.parametrize(("line", "base", "document", "words", "text"), SAID, ids=range(len(SAID)))
def test_the_first_who_says_anything_is_obeyed(
    machine: DirectoryGuest,
    line: bytes,
    base: dict[str, Any],
    document: Any,
    words: str,
    text: str | None,
) -> None:
    machine.write("/proc/cmdline", line)

    done = set_up(Host(machine.root), instance(document), base, None, Report())

    assert done == words
    assert machine.exists(NETPLAN) == (text is not None)
    if text is not None:
        assert text in machine.text(NETPLAN)
        assert machine.stat(NETPLAN).mode == 0o600


def test_what_an_initramfs_obeyed_goes_before_the_image(machine: DirectoryGuest) -> None:
    machine.write("/proc/cmdline", b"ip=eth9:dhcp")
    machine.write("/run/net-eth9.conf", b"DEVICE='eth9'\nPROTO='dhcp'\nIPV4ADDR='192.0.2.9'\n")

    done = set_up(Host(machine.root), instance(DHCP), {"network": STATIC}, None, Report())

    assert done == "kernel command line ip=, written for netplan"
    assert "eth9" in machine.text(NETPLAN)


KLIBC = {
    "net-eth0.conf": "DEVICE='eth0'\nPROTO='none'\nIPV4ADDR='192.0.2.5'\n"
    "IPV4NETMASK='255.255.255.0'\nIPV4GATEWAY='192.0.2.1'\nIPV4DNS0='192.0.2.53'\nIPV4DNS1='0.0.0.0'\nDNSDOMAIN='example.com'"
}
LINES = [
    ("quiet", {}, ()),
    ("ip=dhcp", {}, ()),
    ("ip=off", {}, ()),
    ("ip=:::::eth0:off", {}, ()),
    ("ip=eth1:dhcp", {}, (("eth1", True, (), ()),)),
    ("ip=:::::eth2:dhcp", {}, (("eth2", True, (), ()),)),
    (
        "ip=192.0.2.5::192.0.2.1:255.255.255.0:box:eth0:none:192.0.2.53",
        {},
        (("eth0", False, ("192.0.2.5/24",), ("192.0.2.53",)),),
    ),
    (
        "ip=[2001:db8::5]::[2001:db8::1]:64::eth0:none nameserver=[2001:db8::53]",
        {},
        (("eth0", False, ("2001:db8::5/64",), ("2001:db8::53",)),),
    ),
    ("ip=anything", KLIBC, (("eth0", False, ("192.0.2.5/24",), ("192.0.2.53",)),)),
]


@pytest.mark.parametrize(("line", "files", "links"), LINES)
def test_the_kernels_ip_is_read(line: str, files: dict[str, str], links: tuple[Any, ...]) -> None:
    document = kernel_line.from_initramfs(line, files)

    network = v1.parse(document, Report()) if document else Network()

    found = [(each.name, each.dhcp4, each.addresses, each.nameservers) for each in network.links]
    assert found == list(links)


UNITS = "/usr/lib/systemd/system"
WANTS = "/etc/systemd/system/multi-user.target.wants"
MACHINES = [
    ((), None),
    (("/usr/sbin/netplan", "/usr/sbin/ifup", f"{UNITS}/NetworkManager.service"), "netplan"),
    (("/sbin/ifup", f"{UNITS}/systemd-networkd.service"), "ifupdown"),
    ((f"{UNITS}/NetworkManager.service", f"{UNITS}/systemd-networkd.service"), "networkmanager"),
    ((f"{UNITS}/NetworkManager.service", f"{WANTS}/systemd-networkd.service"), "networkd"),
    (("/usr/sbin/ifup", "/etc/sysconfig/network-scripts/ifup-eth"), "sysconfig"),
]


@pytest.mark.parametrize(("paths", "name"), MACHINES)
def test_the_back_end_is_what_the_machine_has(
    guest_root: DirectoryGuest, paths: tuple[str, ...], name: str | None
) -> None:
    for path in paths:
        guest_root.write(path, b"#!/bin/sh\n", mode=0o755)
    host = Host(guest_root.root)

    chosen = backends.choose(host, None)

    assert (chosen.name if chosen else None) == name
    assert backends.choose(host, "networkd") is backends.NETWORKD
    if name is None:
        left = set_up(host, instance(DHCP), {}, None, Report())
        assert left.startswith("left alone: none of netplan")
        assert set_up(host, instance({}), {"network": DHCP}, None, Report()) == (
            "there is nothing to configure it with"
        )
        assert any(words.startswith("network: none of netplan") for words in host.not_run)


@pytest.mark.parametrize("name", backends.BACK_ENDS)
def test_another_document_leaves_nothing_of_the_one_before(
    guest_root: DirectoryGuest, name: str
) -> None:
    two = {"version": 2, "ethernets": {"eth0": {"dhcp4": True}, "eth1": {"dhcp4": True}}}
    host = Host(guest_root.root)

    set_up(host, instance(two), {}, name, Report())
    first = set(backends.ours(host))
    before = guest_root.snapshot("/etc")
    again = set_up(host, instance(two), {}, name, Report())
    unchanged = guest_root.snapshot("/etc") == before
    set_up(host, instance(DHCP), {}, name, Report())

    assert first
    assert again == f"network-config, as it was for {name}"
    assert unchanged
    assert not any("eth1" in path + guest_root.text(path) for path in backends.ours(host))

    gone = clean(host, seal=True)

    assert set(backends.ours(host)) == set()
    assert any("linklocal" in path or "ifcfg" in path for path in gone)


def test_a_plan_names_the_files_and_no_password(machine: DirectoryGuest) -> None:
    before = machine.snapshot("/etc")
    plan = Plan(Host(machine.root))

    set_up(plan, instance({"version": 2, "wifis": WIFI}), {}, None, Report())

    assert [(each.verb, each.target) for each in plan.effects] == [("write", NETPLAN)]
    assert "mode 0600" in plan.effects[0].detail
    assert "correct horse" not in str(plan.effects)
    assert machine.snapshot("/etc") == before


def test_ifupdowns_own_file_reads_ours(guest_root: DirectoryGuest) -> None:
    guest_root.write("/etc/network/interfaces", b"auto lo\niface lo inet loopback")

    set_up(Host(guest_root.root), instance(STATIC), {}, "ifupdown", Report())

    text = "auto lo\niface lo inet loopback\n\nsource /etc/network/interfaces.d/*\n"
    assert guest_root.text("/etc/network/interfaces") == text


def test_a_document_may_be_read_again_from_what_was_written(machine: DirectoryGuest) -> None:
    """netplan's file is version 2 itself."""
    import yaml

    set_up(Host(machine.root), instance(STATIC), {}, None, Report())
    written = yaml.safe_load(Path(machine.path(NETPLAN)).read_text())

    (link,) = v2.parse(written["network"], Report()).links
    assert link == Link("eth0", place="network-config.ethernets.eth0", addresses=("192.0.2.5/24",))
