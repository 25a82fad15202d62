"""Network documents to the text that each back end is given, and what is said of broken ones."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from agent.network import openstack, v1, v2
from agent.network.model import File, Network
from agent.network.resolve import Nic, renames, resolve
from agent.report import BAD, Report

from .documents import DATA, NAMES, RENDERERS, read, resolved, shown

ONE = "ethernets: {eth0: {match: {macaddress: 'fa:16:3e:00:00:01'}, dhcp4: true}}"


@pytest.mark.parametrize("name", NAMES)
def test_a_document_becomes_each_back_ends_text(name: str) -> None:
    for back_end, render in RENDERERS.items():
        report = Report()
        files = render(resolved(name, report))

        assert [entry for entry in report.entries if entry.result in BAD] == []
        assert shown(files) == (DATA / name / f"{back_end}.txt").read_text(), back_end


@pytest.mark.parametrize("back_end", RENDERERS)
def test_a_password_is_in_no_file_that_others_can_read(back_end: str) -> None:
    files = RENDERERS[back_end](resolved("v2-everything", Report()))

    assert [file.path for file in files if "correct horse" in file.text and file.mode & 0o077] == []


LINK = "{id: a, type: phy, ethernet_mac_address: 'fa:16:3e:00:00:01'}"
OPENSTACK = [
    ("{links: 5}", "network_data.json.links: expected a list, got a number"),
    ("{links: [5]}", "network_data.json.links[0]: expected a mapping, got a number"),
    ("{links: [{id: a}]}", "network_data.json.links[0]: missing key 'ethernet_mac_address'"),
    (
        "{links: [{id: a, ethernet_mac_address: nonsense}]}",
        "network_data.json.links[0].ethernet_mac_address: expected a hardware address such as "
        "'fa:16:3e:f7:c1:47', got 'nonsense'",
    ),
    (
        "{links: [{id: a, type: vlan, vlan_link: b, vlan_id: 4095}]}",
        "network_data.json.links[0].vlan_id: expected a whole number from 0 to 4094, got 4095",
    ),
    (
        "{links: [{id: a, type: bond, ethernet_mac_address: 'fa:16:3e:00:00:01'}]}",
        "network_data.json.links[0].bond_links: expected the links of the bond",
    ),
    (
        f"{{links: [{LINK}], networks: [{{link: b, type: ipv4_dhcp}}]}}",
        "network_data.json.networks[0].link: expected the id of a usable link, got 'b'",
    ),
    (
        f"{{links: [{LINK}], networks: [{{link: a, type: ipv5}}]}}",
        "network_data.json.networks[0].type: not a type of network that is known",
    ),
    (
        f"{{links: [{LINK}], networks: [{{link: a, type: ipv4, ip_address: 10.0.0.5}}]}}",
        "network_data.json.networks[0]: missing key 'netmask'",
    ),
    (
        f"{{links: [{LINK}], networks: [{{link: a, type: ipv4, ip_address: 10.0.0.5, netmask: "
        "255.0.255.0}]}",
        "network_data.json.networks[0].ip_address: expected a netmask or a length, "
        "got '255.0.255.0'",
    ),
    (
        f"{{links: [{LINK}], networks: [{{link: a, type: ipv4, ip_address: 10.0.0.5/8, routes: "
        "[{network: '::', netmask: '::', gateway: 10.0.0.1}]}]}",
        "network_data.json.networks[0].routes[0].gateway: expected an address of the same family "
        "as the network",
    ),
    (
        f"{{links: [{LINK}], services: [{{type: dns, address: here}}]}}",
        "network_data.json.services[0].address: expected an address, got 'here'",
    ),
    ("{linx: []}", "network_data.json.linx: unknown key, nearest is 'links'"),
]
V1 = [
    ("{config: [{type: wireless}]}", "network-config.config[0].type: expected one of physical, "),
    ("{config: [{type: physical}]}", "network-config.config[0]: missing key 'name'"),
    (
        "{config: [{type: physical, name: '../../etc'}]}",
        "network-config.config[0].name: expected the name of a device, at most 15 letters, digits "
        "and -_., got '../../etc'",
    ),
    (
        "{config: [{type: physical, name: eth0, subnets: [{type: static, address: 10.0.0.1}]}]}",
        "network-config.config[0].subnets[0]: missing key 'netmask'",
    ),
    (
        "{config: [{type: physical, name: eth0, subnets: [{type: bootp}]}]}",
        "network-config.config[0].subnets[0].type: not a type of subnet that is known",
    ),
    (
        "{config: [{type: bond, name: bond0, bond_interfaces: [a], params: {bond-mode: fast}}]}",
        "network-config.config[0].params.bond-mode: expected one of balance-rr, ",
    ),
    (
        "{config: [{type: route, destination: 10.0.0.0/8, gateway: 192.0.2.1}]}",
        "network-config: route to 10.0.0.0/8: no link leads to its gateway",
    ),
    (
        "{config: [{type: physical, name: eth0, mac_address: 123456}]}",
        "network-config.config[0].mac_address: expected a hardware address such as "
        "'fa:16:3e:f7:c1:47', got a number: put it in quotes",
    ),
]
V2 = [
    ("{ethernets: []}", "network-config.ethernets: expected a mapping, got a list"),
    ("{ethernets: {'a b': {}}}", "network-config.ethernets.a b: expected the name of a device"),
    (
        "{ethernets: {a: {dhcp4: maybe}}}",
        "network-config.ethernets.a.dhcp4: expected true or false",
    ),
    (
        "{ethernets: {a: {addresses: [10.0.0.5]}}}",
        "network-config.ethernets.a.addresses[0]: expected an address with the length of its ",
    ),
    (
        "{ethernets: {a: {routes: [{to: default}]}}}",
        "network-config.ethernets.a.routes[0]: missing key 'via'",
    ),
    (
        "{ethernets: {a: {routes: [{to: 10.0.0.0/8, via: 'fd00::1'}]}}}",
        "network-config.ethernets.a.routes[0].via: expected an address of the same family",
    ),
    (
        "{ethernets: {a: {gateway4: 'fd00::1'}}}",
        "network-config.ethernets.a.gateway4: expected an IPv4 address, got 'fd00::1'",
    ),
    (
        "{ethernets: {a: {set-name: 'x; reboot'}}}",
        "network-config.ethernets.a.set-name: expected the name of a device",
    ),
    (
        '{wifis: {w: {access-points: {lab: {password: "short"}}}}}',
        "network-config.wifis.w.access-points[0].password: expected a password of 8 to 63",
    ),
    (
        "{wifis: {w: {access-points: {lab: {auth: {key-management: eap}}}}}}",
        "network-config.wifis.w.access-points[0].auth: not applied by this version",
    ),
    (
        '{ethernets: {a: {nameservers: {addresses: ["10.0.0.1\\nup reboot"]}}}}',
        "network-config.ethernets.a.nameservers.addresses[0]: expected an address, got text",
    ),
    ("{tunnels: {t: {}}}", "network-config.tunnels: not applied by this version"),
    ("{ethernets: {a: {dhcp5: true}}}", "network-config.ethernets.a.dhcp5: unknown key, nearest"),
    ("{vlans: {v: {link: a}}}", "network-config.vlans.v: missing key 'id'"),
]
TABLE = [
    *((openstack.parse, *row) for row in OPENSTACK),
    *((v1.parse, *row) for row in V1),
    *((v2.parse, *row) for row in V2),
]


@pytest.mark.parametrize(("parse", "text", "words"), TABLE, ids=range(len(TABLE)))
def test_what_is_wrong_is_named_with_its_place(
    parse: Callable[[Any, Report], Network], text: str, words: str
) -> None:
    report = Report()

    parse(read(text), report)

    said = [f"{entry.place}: {entry.detail}" for entry in report.entries if entry.result in BAD]
    assert any(line.startswith(words) for line in said), said
    assert "short" not in "".join(said)


def test_a_wrong_item_takes_nothing_else_with_it() -> None:
    report = Report()
    raw = read(
        "{ethernets: {a: {mtu: none, addresses: [nonsense, 192.0.2.1/24]}, b: 5, c: {dhcp4: true}}}"
    )

    network = v2.parse(raw, report)

    assert [(link.name, link.addresses) for link in network.links] == [
        ("a", ("192.0.2.1/24",)),
        ("c", ()),
    ]
    assert [entry.place for entry in report.entries] == [
        "network-config.ethernets.a.mtu",
        "network-config.ethernets.a.addresses[0]",
        "network-config.ethernets.b",
    ]


NICS = (Nic("eth0", "fa:16:3e:00:00:01"), Nic("eth1", "fa:16:3e:00:00:02", "virtio_net"))
MISSING = [
    (ONE.replace("01", "99"), [], "no NIC of this machine has the address fa:16:3e:00:00:99"),
    ("ethernets: {eth9: {}, eth1: {}}", ["eth1"], "this machine has no NIC 'eth9'"),
    ("ethernets: {a: {match: {driver: igb}}}", [], "no NIC of this machine is meant by 'match'"),
    (
        f"{ONE}\nvlans: {{v: {{id: 1, link: eth9}}}}",
        ["eth0"],
        "the link 'eth9' below it is not there",
    ),
    (
        f"{ONE}\nbonds: {{b: {{interfaces: [eth0, eth9]}}}}",
        ["eth0", "b"],
        "its member 'eth9' is not there",
    ),
    ("bonds: {b: {interfaces: [eth9]}}", [], "none of its members is there"),
    (
        "vlans: {v: {id: 1, link: w}, w: {id: 2, link: v}}",
        [],
        "the links are made of one another",
    ),
    (
        "ethernets: {eth0: {}, x: {match: {name: eth1}, set-name: eth0}}",
        ["eth0"],
        "another link is called 'eth0', too",
    ),
]


@pytest.mark.parametrize(("text", "left", "words"), MISSING, ids=range(len(MISSING)))
def test_what_is_not_there_is_named_and_the_rest_configured(
    text: str, left: list[str], words: str
) -> None:
    report = Report()

    network = resolve(v2.parse(read(text), report), NICS, report)

    assert [link.name for link in network.links] == left
    assert any(entry.detail.startswith(words) for entry in report.entries), report.entries
    for render in RENDERERS.values():
        files: tuple[File, ...] = render(network)
        assert all("eth9" not in file.text for file in files)


@pytest.mark.parametrize(
    ("wanted", "steps"),
    [
        ({}, ()),
        ({"01": "eth0"}, ()),
        ({"01": "wan0"}, (("eth0", "wan0"),)),
        ({"01": "eth1", "02": "eth0"}, (("eth1", "nic0"), ("eth0", "eth1"), ("nic0", "eth0"))),
        ({"01": "eth1", "02": "eth2"}, (("eth1", "eth2"), ("eth0", "eth1"))),
        ({"01": "eth1"}, (("eth1", "nic0"), ("eth0", "eth1"))),
    ],
)
def test_devices_are_renamed_without_ever_taking_a_name_twice(
    wanted: dict[str, str], steps: tuple[tuple[str, str], ...]
) -> None:
    raw = {
        "ethernets": {
            f"id{end}": {"match": {"macaddress": f"fa:16:3e:00:00:{end}"}, "set-name": name}
            for end, name in wanted.items()
        }
    }

    network = resolve(v2.parse(raw, Report()), NICS, Report())

    assert renames(network, NICS) == steps
