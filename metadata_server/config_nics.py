"""The keys of a nic, and the nics of an instance."""

from __future__ import annotations

from typing import Final

from . import config_values as v
from .config_derived import derived_nic
from .config_forms import (
    Choice,
    Key,
    ListOf,
    Section,
    Truth,
    Values,
    Whole,
    Wrong,
    below,
    built,
    entry,
)
from .config_reader import Problems, Table
from .instance import Nic, Route

NIC_TYPES: Final = (
    *("cascading", "bridge", "dvs", "ethernet", "hw_veb", "hyperv", "ovs", "phy", "tap"),
    *("vhostuser", "vif", "bond", "vlan"),
)
BOND_MODES: Final = (
    *("802.3ad", "active-backup", "balance-alb", "balance-rr", "balance-tlb", "balance-xor"),
    "broadcast",
)


def _build_route(values: Values, node: Table, where: str, problems: Problems) -> Route:
    network, gateway = values["network"], values["gateway"]
    if (":" in network) != (gateway.version == 6):
        raise Wrong("expected network and gateway of one address family")
    return Route(network, str(gateway))


def _build_nic(values: Values, node: Table, where: str, problems: Problems) -> Values:
    """Return what was set; the rest follows from the instance around it."""
    for address, others in (
        ("ipv4", ("prefix", "gateway", "public_ipv4")),
        ("ipv6", ("gateway6",)),
    ):
        for other in others:
            if other in values and address not in values:
                problems.add(
                    entry(node, other), below(where, other), f"expected {address} beside it"
                )
    return values


ROUTE: Final = Section(
    "routes",
    (
        Key("network", v.NETWORK, "network that is routed", required=True),
        Key("gateway", v.ADDRESS, "address it is routed to", required=True),
    ),
    _build_route,
)
BOND: Final[Section[Values]] = Section(
    "bond",
    (
        Key("mode", Choice(BOND_MODES), "bonding mode", required=True),
        Key("links", ListOf(v.LINE, unique=True), "ids of the bonded nics", required=True),
    ),
    built(dict),
)
VLAN: Final[Section[Values]] = Section(
    "vlan",
    (
        Key("id", Whole(1, 4094), "VLAN id", required=True),
        Key("link", v.LINE, "id of the nic that carries it", required=True),
    ),
    built(dict),
)
NIC: Final = Section(
    "nics",
    (
        Key("mac", v.MAC, "MAC address; default: derived from the instance id"),
        Key("id", v.LINE, "id of the link; default: tap and the first characters of vif_id"),
        Key("vif_id", v.ID, "id of the port; default: derived"),
        Key("network_id", v.ID, "id of the network; default: derived from vpc_id and subnet"),
        Key("type", Choice(NIC_TYPES), "type of the link; default: cascading"),
        Key("ipv4", v.IPV4, "private IPv4 address"),
        Key("prefix", Whole(1, 32), "its prefix length; default: 24"),
        Key("gateway", v.IPV4, "IPv4 gateway"),
        Key("public_ipv4", v.IPV4, "public IPv4 address (EIP)"),
        Key("ipv6", v.IPV6, "IPv6 address"),
        Key("ipv6_prefix", Whole(1, 128), "its prefix length; default: 64"),
        Key("gateway6", v.IPV6, "IPv6 gateway"),
        Key("dhcp", Truth(), "the guest gets the address by DHCP; default: true"),
        Key("mtu", Whole(68, 65535), "MTU; default: none is served"),
        Key("routes", ListOf(ROUTE), "further routes"),
        Key("addresses", ListOf(v.ADDRESS_WITH_PREFIX, unique=True), "further addresses"),
        Key("bond", BOND, "makes the nic a bond of others"),
        Key("vlan", VLAN, "makes the nic a VLAN on another"),
    ),
    _build_nic,
)


def build_nics(values: Values, node: Table, where: str, problems: Problems) -> tuple[Nic, ...]:
    """Return the nics of an instance with these *values*, each with all that follows from it."""
    owner = str(values.get("vpc_id", values["project_id"]))
    nics = [
        derived_nic(given, index, values["id"], owner)
        for index, given in enumerate(values.get("nics", ()))
    ]
    ids = {nic.id for nic in nics}
    if len(ids) < len(nics):
        problems.add(entry(node, "nics"), below(where, "nics"), "expected each id once")
    for index, found in enumerate(nics):
        links = [*(found.bond or {}).get("links", ())]
        links += [found.vlan["link"]] if found.vlan else []
        for link in links:
            if link not in ids or link == found.id:
                problems.add(
                    entry(node, "nics"),
                    below(where, f"nics[{index}]"),
                    f"expected the id of another nic, got {link!r}",
                )
    return tuple(nics)
