"""What holds for every network: netplan's file is the model again, no value leaves its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.network import netplan, v2
from agent.network.model import Bond, Bridge, Dhcp, Dhcp6, Kind, Link, Match, Network, Route, Rule
from agent.network.resolve import Nic, renames, resolve
from agent.network.source_routing import source_routed
from agent.report import BAD, Report

from .documents import RENDERERS

four = st.ip_addresses(v=4).map(str)
six = st.ip_addresses(v=6).map(str)
addresses = st.one_of(st.tuples(four, st.integers(1, 32)), st.tuples(six, st.integers(1, 128))).map(
    lambda pair: f"{pair[0]}/{pair[1]}"
)
some = st.one_of(st.none(), st.integers(1, 4000))
routes = st.one_of(
    st.tuples(four, some, some, st.booleans()).map(lambda row: Route("0.0.0.0/0", *row)),
    st.tuples(six, some, some).map(lambda row: Route("2001:db8::/32", *row)),
    some.map(lambda metric: Route("10.0.0.0/8", metric=metric)),
)
rules = some.map(lambda priority: Rule(7, "192.0.2.0/24", priority=priority))
dhcp = st.tuples(some, st.sampled_from([None, True, False])).map(lambda row: Dhcp(*row))
domains = st.sampled_from(["example.com", "corp.example", "a-b.example", "~route.example"])


def few(what: Any) -> Any:
    return st.lists(what, max_size=2, unique=True).map(tuple)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Draw a network that version 2 can describe."""
    found: list[Link] = []
    for number in range(draw(st.integers(1, 3))):
        mac = draw(st.sampled_from([None, f"52:54:00:00:00:0{number}"]))
        four_wanted, six_wanted = draw(st.booleans()), draw(st.sampled_from(list(Dhcp6)[:2]))
        options = draw(dhcp)
        link = Link(
            name=f"eth{number}",
            match=Match(mac=mac),
            set_name=f"lan{number}" if mac and draw(st.booleans()) else None,
            mtu=draw(st.one_of(st.none(), st.integers(68, 9000))),
            dhcp4=four_wanted,
            dhcp6=six_wanted,
            dhcp4_options=options if four_wanted else Dhcp(),
            dhcp6_options=options if six_wanted is not Dhcp6.NO else Dhcp(),
            accept_ra=draw(st.sampled_from([None, True, False])),
            addresses=draw(few(addresses)),
            routes=draw(few(routes)),
            rules=draw(few(rules)),
            nameservers=draw(few(st.one_of(four, six))),
            search=draw(few(domains)),
            optional=draw(st.booleans()),
            auto=draw(st.booleans()),
        )
        found.append(link)
    members = tuple(link.name for link in found)
    kind = draw(st.sampled_from([None, Kind.BOND, Kind.BRIDGE]))
    if kind is Kind.BOND:
        bond = Bond(members, {"mode": "802.3ad", "miimon": str(draw(st.integers(0, 999)))})
        found.append(Link("bond0", Kind.BOND, set_name="bond0", bond=bond))
    if kind is Kind.BRIDGE:
        bridge = Bridge(members, draw(st.booleans()), path_costs={members[0]: 7})
        found.append(Link("br0", Kind.BRIDGE, set_name="br0", bridge=bridge))
    return Network(tuple(found))


@settings(max_examples=30, deadline=None)
@given(networks())
def test_what_is_written_for_netplan_is_the_same_network_read_again(network: Network) -> None:
    (file,) = netplan.render(network)
    report = Report()

    read = v2.parse(yaml.safe_load(file.text)["network"], report)

    assert [entry for entry in report.entries if entry.result in BAD] == []
    assert tuple(link._replace(place="") for link in read.links) == network.links


@settings(max_examples=20, deadline=None)
@given(networks())
def test_a_resolved_network_stays_as_it_is(network: Network) -> None:
    nics = [
        Nic(link.name, link.match.mac or f"02:00:00:00:00:0{number}")
        for number, link in enumerate(network.links)
        if link.physical
    ]

    once = resolve(network, nics, Report())
    for now, new in renames(once, nics):
        assert new not in {nic.name for nic in nics}
        nics = [nic._replace(name=new) if nic.name == now else nic for nic in nics]
    twice = resolve(once, nics, Report())

    assert renames(twice, nics) == ()
    assert twice == once
    assert source_routed(source_routed(once)) == source_routed(once)


DIRECTORIES = (
    *("/etc/netplan", "/etc/systemd/network", "/etc/network/interfaces.d"),
    *("/etc/NetworkManager/system-connections", "/etc/sysconfig/network-scripts"),
)
anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from(["eth0", "x\ny", "[Match]", "10.0.0.1/8", "$(reboot)", "a;b", "::1/64"]),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = ("addresses", "routes", "nameservers", "match", "set-name", "mtu", "macaddress", "dhcp4")
links = st.dictionaries(st.sampled_from(KEYS), anything, max_size=5)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from(["eth0", "a b", "x\ny", "..", "br\n"]), links, max_size=3))
def test_no_document_writes_a_line_of_its_own(ethernets: Mapping[str, Any]) -> None:
    report = Report()
    network = v2.parse({"version": 2, "ethernets": ethernets}, report)
    network = resolve(network, None, report)

    for name, render in RENDERERS.items():
        for file in render(network):
            assert "reboot" not in file.text, name
            assert "\ny" not in file.text, name
            assert file.path.rpartition("/")[0] in DIRECTORIES
