"""network_data.json, as nova, Huawei Cloud and Open Telekom Cloud serve it, to the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..report import Report
from . import reading
from .bonds import read_options
from .model import EVERYWHERE, Bond, Dhcp6, Kind, Link, Match, Network, Route, Vlan
from .reading import Reader, Unusable

PLAIN = frozenset(
    {
        *("bgpovs", "bridge", "cascading", "dvs", "ethernet", "hw_veb", "hyperv", "ovs", "phy"),
        *("physical", "tap", "vhostuser", "vif"),
    }
)
"""Types of links that are a plain NIC to the guest, whatever the host made it of."""
SERVICES = frozenset({"dns"})


def parse(raw: object, report: Report, place: str = "network_data.json") -> Network:
    """Return the network that the document describes; what cannot be used is in *report*."""
    whole = Reader(raw, place, report)
    found = whole.each(lambda item, at: _link(item, at, report), "links")
    links = {link.name: link for link in found}
    everywhere = whole.each(lambda item, at: _service(item, at, report), "services")
    whole.each(lambda item, at: _network(item, at, report, links), "networks")
    # Of no use here: what the host does to the packets.
    whole.ignore("qos")
    whole.end()
    shared = tuple(filter(None, everywhere))
    named = _with_names_of_bonds(links.values())
    return Network(tuple(_with_dns(link, shared) for link in named))


def _link(raw: object, place: str, report: Report) -> Link:
    """Return a link without its networks; its name is the document's id for it."""
    item = Reader(raw, place, report)
    name = item.need(reading.text, "id")
    kind = item.take(reading.text, "type") or ""
    mac = item.sure(reading.mac, "ethernet_mac_address", "mac_address")
    link = Link(name=name, place=place, mtu=item.take(reading.MTU, "mtu"))
    device = item.sure(reading.device, "name")
    item.ignore("vif_id", "public_ipv4", "local_ipv4", "vif_details", "bandwidth", "vlan")
    if kind == "bond":
        members = item.list_of(reading.text, "bond_links")
        if not members:
            raise Unusable(f"{place}.bond_links: expected the links of the bond")
        options = read_options(item, lambda option: (f"bond_{option.kernel}",))
        link = link._replace(kind=Kind.BOND, bond=Bond(members, options), set_mac=mac)
    elif kind == "vlan":
        vlan = Vlan(item.need(reading.VLAN_ID, "vlan_id"), item.need(reading.text, "vlan_link"))
        own = item.sure(reading.mac, "vlan_mac_address")
        link = link._replace(kind=Kind.VLAN, vlan=vlan, set_mac=own or mac)
    else:
        if kind and kind not in PLAIN:
            report.warning(f"{place}.type", "not a type that is known; taken for a plain NIC")
        if mac is None:
            raise Unusable(f"{place}: missing key 'ethernet_mac_address'")
        link = link._replace(match=Match(mac=mac))
    item.end()
    return link._replace(set_name=device)


def _network(raw: object, place: str, report: Report, links: dict[str, Link]) -> None:
    """Add what the network says to its link."""
    item = Reader(raw, place, report)
    name = item.need(reading.text, "link")
    if name not in links:
        raise Unusable(f"{place}.link: expected the id of a usable link, got {name!r}")
    kind = item.need(reading.text, "type")
    link = links[name]
    item.ignore("id", "network_id", "services", "dns_nameservers", "dns_search", "dns_domain")
    if kind in ("ipv4_dhcp", "dhcp4"):
        link = link._replace(dhcp4=True)
    elif kind in ("ipv6_dhcp", "ipv6_dhcpv6-stateful", "dhcp6"):
        link = link._replace(dhcp6=Dhcp6.STATEFUL, accept_ra=True)
    elif kind == "ipv6_dhcpv6-stateless":
        dhcp6 = link.dhcp6 if link.dhcp6 is Dhcp6.STATEFUL else Dhcp6.STATELESS
        link = link._replace(dhcp6=dhcp6, accept_ra=True)
    elif kind == "ipv6_slaac":
        link = link._replace(accept_ra=True)
    elif kind in ("ipv4", "ipv6", "static", "static6"):
        link = _static(item, link)
    else:
        raise Unusable(f"{place}.type: not a type of network that is known")
    # nova repeats the subnet of what comes by DHCP or advertisement; that is not ours to set.
    item.ignore("ip_address", "netmask", "gateway", "routes")
    item.end()
    servers = _servers(item)
    links[name] = link._replace(
        nameservers=_together(link.nameservers, servers),
        search=_together(link.search, item.list_of(reading.domain, "dns_search")),
    )


def _static(item: Reader, link: Link) -> Link:
    mask = item.get("netmask")
    address = item.need(lambda raw: reading.interface(raw, mask), "ip_address")
    if "/" not in str(item.get("ip_address")) and mask is None:
        raise Unusable(f"{item.place}: missing key 'netmask'")
    six = ":" in address
    routes = list(item.each(lambda raw, at: _route(raw, at, item.report), "routes"))
    gateway = item.take(reading.address, "gateway")
    everywhere = EVERYWHERE[6 if six else 4]
    if gateway and all(route.to != everywhere for route in routes):
        routes.insert(0, Route(everywhere, gateway))
    # Its routers say nothing that is wanted beside an address that is given.
    advertised = link.accept_ra if not six or link.accept_ra is not None else False
    return link._replace(
        addresses=_together(link.addresses, (address,)),
        routes=_together(link.routes, routes),
        accept_ra=advertised,
    )


def _route(raw: object, place: str, report: Report) -> Route:
    item = Reader(raw, place, report)
    mask = item.get("netmask")
    to = item.need(lambda value: reading.network(value, mask), "network")
    route = Route(to, item.sure(reading.address, "gateway"), item.take(reading.METRIC, "metric"))
    item.ignore("netmask", "services", "id")
    item.end()
    if route.via is not None and (":" in route.via) != (":" in to):
        raise Unusable(f"{place}.gateway: expected an address of the same family as the network")
    return route


def _servers(item: Reader) -> tuple[str, ...]:
    """Return the name servers of a network and of its routes."""
    report = item.report
    found = item.each(lambda raw, at: _service(raw, at, report), "services")
    found += item.list_of(reading.address, "dns_nameservers")
    routes = item.get("routes")
    for number, raw in enumerate(routes if isinstance(routes, list) else ()):
        if isinstance(raw, dict):
            route = Reader(raw, f"{item.place}.routes[{number}]", report)
            found += route.each(lambda each, at: _service(each, at, report), "services")
    return tuple(filter(None, found))


def _service(raw: object, place: str, report: Report) -> str | None:
    """Return the address of a name server; None for a service of another kind."""
    item = Reader(raw, place, report)
    if item.take(reading.text, "type") not in SERVICES:
        return None
    return item.need(reading.address, "address")


def _with_names_of_bonds(links: Iterable[Link]) -> Iterator[Link]:
    """Give the links; bonds are called bond0, bond1, … where the document has no name."""
    count = 0
    for link in links:
        if link.kind is Kind.BOND and link.set_name is None:
            link = link._replace(set_name=f"bond{count}")
            count += 1
        yield link


def _with_dns(link: Link, shared: tuple[str, ...]) -> Link:
    """Return the link with the name servers of all, when it has addresses at all."""
    if not (link.addresses or link.dhcp4 or link.dhcp6 is not Dhcp6.NO or link.accept_ra):
        return link
    return link._replace(nameservers=_together(link.nameservers, shared))


def _together(first: Iterable[Any], second: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((*first, *second)))
