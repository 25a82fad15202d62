"""`network_data.json`: nova's links, networks and services, in the guide's shape. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from typing import Any

from .instance import Instance, Nic, Route

Document = dict[str, Any]


def network_data(instance: Instance) -> Document:
    """Return the document; without NICs there is nothing in it, as with nova."""
    if not instance.nics:
        return {}
    services = [{"type": "dns", "address": str(address)} for address in instance.dns]
    found: Document = {"services": services}
    if instance.qos:
        found["qos"] = {
            "instance_min_bandwidth": instance.qos.min,
            "instance_max_bandwidth": instance.qos.max,
        }
    # The members of a bond have no network of their own.
    members = {link for nic in instance.nics if nic.bond for link in nic.bond.get("links", ())}
    networks = [
        network
        for nic in instance.nics
        if nic.id not in members
        for network in _networks(nic, services)
    ]
    found["networks"] = [
        {**network, "id": f"network{number}"} for number, network in enumerate(networks)
    ]
    found["links"] = [_link(nic) for nic in instance.nics]
    return found


def _link(nic: Nic) -> Document:
    found: Document = {"vif_id": nic.vif_id}
    if nic.public_ipv4:
        found["public_ipv4"] = str(nic.public_ipv4)
    found["ethernet_mac_address"] = nic.mac
    # A subnet with a DHCP server tells the MTU that way.
    found["mtu"] = None if nic.dhcp else nic.mtu
    if nic.ipv4:
        found["local_ipv4"] = str(nic.ipv4)
    found["type"] = nic.type
    found["id"] = nic.id
    if nic.bond is not None:
        found |= {"type": "bond", **_named(nic.bond, "bond_")}
    if nic.vlan is not None:
        found |= {"type": "vlan", "vlan_mac_address": nic.mac, **_named(nic.vlan, "vlan_")}
    return found


def _named(raw: Any, prefix: str) -> Document:
    """Return the keys of *raw* as the document has them, given with or without their *prefix*."""
    return {key if key.startswith(prefix) else prefix + key: value for key, value in raw.items()}


def _networks(nic: Nic, services: list[Document]) -> Iterator[Document]:
    base: Document = {"network_id": nic.network_id, "link": nic.id}
    if nic.dhcp:
        if nic.ipv4 or not nic.ipv6:
            yield {**base, "type": "ipv4_dhcp"}
        if nic.ipv6:
            yield {**base, "type": "ipv6_dhcp"}
    else:
        if nic.ipv4:
            yield _static(base, f"{nic.ipv4}/{nic.prefix}", nic.gateway, nic.routes, services)
        if nic.ipv6:
            yield _static(base, f"{nic.ipv6}/{nic.ipv6_prefix}", nic.gateway6, nic.routes, services)
    for address in nic.addresses:
        yield _static(base, address, None, (), [])


def _static(
    base: Document,
    address: str,
    gateway: IPv4Address | IPv6Address | None,
    routes: tuple[Route, ...],
    services: list[Document],
) -> Document:
    interface = ip_interface(address)
    version = interface.version
    everywhere = "0.0.0.0/0" if version == 4 else "::/0"
    wanted = ([Route(everywhere, str(gateway))] if gateway else []) + [
        route for route in routes if ip_network(route.network, strict=False).version == version
    ]
    return {
        **base,
        "type": f"ipv{version}",
        "ip_address": str(interface.ip),
        "netmask": str(interface.netmask),
        "routes": [_route(route) for route in wanted],
        "services": services,
    }


def _route(route: Route) -> Document:
    network = ip_network(route.network, strict=False)
    return {
        "network": str(network.network_address),
        "netmask": str(network.netmask),
        "gateway": route.gateway,
    }
