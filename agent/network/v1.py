"""network-config version 1, cloud-init's older form, to the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any, NamedTuple

from ..report import Report
from . import reading
from .bonds import Option, read_options
from .model import EVERYWHERE, Bond, Bridge, Dhcp, Dhcp6, Kind, Link, Match, Network, Route, Vlan
from .reading import Reader, Unusable

KINDS = {
    "physical": Kind.ETHERNET,
    "infiniband": Kind.ETHERNET,
    "bond": Kind.BOND,
    "bridge": Kind.BRIDGE,
    "vlan": Kind.VLAN,
}
OTHER_KEYS = frozenset({"ipv4", "ipv6", "broadcast", "pointopoint", "scope", "keep_configuration"})
_NUMBER = reading.integer(0, 2**31 - 1)


class _Servers(NamedTuple):
    """Name servers of all links, or of one."""

    addresses: tuple[str, ...]
    search: tuple[str, ...]
    link: str


def parse(raw: object, report: Report, place: str = "network-config") -> Network:
    """Return the network that the document describes; what cannot be used is in *report*."""
    whole = Reader(raw, place, report)
    whole.ignore("version")
    found = whole.each(lambda item, at: _item(item, at, report), "config")
    whole.end()
    links = {item.name: item for item in found if isinstance(item, Link)}
    if len(links) < sum(isinstance(item, Link) for item in found):
        report.warning(place, "two links have one name; the last is used")
    for servers in found:
        if isinstance(servers, _Servers):
            _serve(links, servers, report, place)
    for route in found:
        if isinstance(route, Route):
            name = _link_to(route, links.values())
            if name is None:
                report.refused(place, f"route to {route.to}: no link leads to its gateway")
                continue
            link = links[name]
            links[name] = link._replace(routes=(*link.routes, route))
    return Network(tuple(links.values()))


def _item(raw: object, place: str, report: Report) -> object:
    """Return a link, a route, or name servers; None for what needs nothing done."""
    item = Reader(raw, place, report)
    kind = item.need(reading.text, "type")
    if kind == "nameserver":
        return _nameserver(item)
    if kind == "route":
        return _route(raw, place, report)
    if kind == "loopback":
        # It is there without being asked for; only its name servers may matter.
        link = _addressed(item, Link(name="lo", place=place))
        return _Servers(link.nameservers, link.search, "")
    if kind not in KINDS:
        raise Unusable(
            f"{place}.type: expected one of {', '.join([*KINDS, 'nameserver', 'route'])}"
        )
    link = Link(
        name=item.need(reading.device, "name"),
        kind=KINDS[kind],
        place=place,
        mtu=item.take(reading.MTU, "mtu"),
        accept_ra=item.take(reading.boolean, "accept-ra", "accept_ra"),
        wake_on_lan=item.flag("wakeonlan"),
    )
    mac = item.sure(reading.mac, "mac_address")
    if link.physical:
        # Who knows the address knows which NIC is to have the name.
        name = link.name if mac else None
        link = link._replace(match=Match(mac=mac), set_name=name)
    else:
        made = {Kind.BOND: _bond, Kind.BRIDGE: _bridge, Kind.VLAN: _vlan}[link.kind]
        link = made(item, link._replace(set_mac=mac, set_name=link.name))
    link = _addressed(item, link)
    item.end(OTHER_KEYS)
    return link


def _bond(item: Reader, link: Link) -> Link:
    members = item.list_of(reading.device, "bond_interfaces", "bond-interfaces")
    reader = item.below("params") or Reader({}, item.place, item.report)
    options = read_options(reader, _spellings)
    reader.end()
    return link._replace(bond=Bond(members, options))


def _spellings(option: Option) -> tuple[str, ...]:
    name, dashed = option.kernel, option.kernel.replace("_", "-")
    return (f"bond-{dashed}", f"bond_{name}", f"bond-{name}", name, dashed)


def _bridge(item: Reader, link: Link) -> Link:
    bridge = Bridge(item.list_of(reading.device, "bridge_interfaces", "bridge-interfaces"))
    params = item.below("params")
    if params:
        bridge = bridge._replace(
            stp=params.take(reading.boolean, "bridge_stp"),
            priority=params.take(reading.integer(0, 65535), "bridge_bridgeprio"),
            forward_delay=params.take(_NUMBER, "bridge_fd"),
            hello_time=params.take(_NUMBER, "bridge_hello"),
            max_age=params.take(_NUMBER, "bridge_maxage"),
            ageing_time=params.take(_NUMBER, "bridge_ageing"),
            path_costs=_by_member(params, "bridge_pathcost"),
            port_priorities=_by_member(params, "bridge_portprio"),
        )
        # How long ifupdown waits is its own affair.
        params.ignore("bridge_waitport", "bridge_maxwait", "bridge_ports", "bridge_gcint")
        params.end(("bridge_hw",))
    return link._replace(bridge=bridge)


def _by_member(item: Reader, key: str) -> Mapping[str, int]:
    """Return the numbers in `["eth0 50", …]` by member."""

    def pair(raw: object, place: str) -> tuple[str, int]:
        words = raw.split() if isinstance(raw, str) else ()
        if len(words) != 2:
            raise ValueError("expected a device and a number, such as 'eth0 50'")
        return reading.device(words[0]), _NUMBER(words[1])

    if isinstance(item.get(key), str):
        item = Reader({key: [item.get(key)]}, item.place, item.report)
    return dict(item.each(pair, key))


def _vlan(item: Reader, link: Link) -> Link:
    vlan = Vlan(
        item.need(reading.VLAN_ID, "vlan_id"), item.need(reading.device, "vlan_link", "link")
    )
    return link._replace(vlan=vlan)


def _addressed(item: Reader, link: Link) -> Link:
    """Return the link with all its subnets."""

    def one(raw: object, place: str) -> None:
        nonlocal link
        link = _subnet(Reader(raw, place, item.report), link)

    item.each(one, "subnets")
    return link


def _subnet(item: Reader, link: Link) -> Link:
    kind = item.need(reading.text, "type")
    item.ignore("type")
    metric = item.take(reading.METRIC, "metric")
    control = item.take(reading.text, "control")
    if control == "manual":
        link = link._replace(auto=False)
    if kind in ("dhcp", "dhcp4"):
        link = link._replace(dhcp4=True, dhcp4_options=Dhcp(metric=metric))
    elif kind in ("dhcp6", "ipv6_dhcpv6-stateful"):
        heard = True if link.accept_ra is None else link.accept_ra
        options = Dhcp(metric=metric)
        link = link._replace(dhcp6=Dhcp6.STATEFUL, accept_ra=heard, dhcp6_options=options)
    elif kind == "ipv6_dhcpv6-stateless":
        dhcp6 = link.dhcp6 if link.dhcp6 is Dhcp6.STATEFUL else Dhcp6.STATELESS
        link = link._replace(dhcp6=dhcp6, accept_ra=True)
    elif kind == "ipv6_slaac":
        link = link._replace(accept_ra=True)
    elif kind in ("static", "static6"):
        link = _static(item, link, metric)
    elif kind in ("manual", "loopback"):
        pass
    else:
        raise Unusable(f"{item.at('type')}: not a type of subnet that is known")
    link = link._replace(
        nameservers=_more(link.nameservers, item.list_of(reading.address, "dns_nameservers")),
        search=_more(link.search, item.list_of(reading.domain, "dns_search")),
        mtu=link.mtu or item.take(reading.MTU, "mtu"),
    )
    item.ignore("address", "netmask", "gateway", "routes")
    item.end(OTHER_KEYS)
    return link


def _static(item: Reader, link: Link, metric: int | None) -> Link:
    mask = item.get("netmask")
    if mask is None and "/" not in str(item.get("address")):
        raise Unusable(f"{item.place}: missing key 'netmask'")
    address = item.need(lambda raw: reading.interface(raw, mask), "address")
    routes = list(item.each(lambda raw, at: _route(raw, at, item.report), "routes"))
    gateway = item.take(reading.address, "gateway")
    if gateway:
        everywhere = EVERYWHERE[6 if ":" in gateway else 4]
        routes.insert(0, Route(everywhere, gateway, metric))
    return link._replace(
        addresses=_more(link.addresses, (address,)), routes=_more(link.routes, tuple(routes))
    )


def _route(raw: object, place: str, report: Report) -> Route:
    item = Reader(raw, place, report)
    mask = item.get("netmask", "prefix")
    to = item.need(lambda value: reading.network(value, mask), "network", "destination", "address")
    route = Route(
        to, item.sure(reading.address, "gateway", "via"), item.take(reading.METRIC, "metric")
    )
    item.ignore("id", "type", "netmask", "prefix")
    item.end(OTHER_KEYS)
    if route.via is not None and (":" in route.via) != (":" in to):
        raise Unusable(f"{place}.gateway: expected an address of the same family as the network")
    return route


def _nameserver(item: Reader) -> _Servers:
    found = _Servers(
        item.list_of(reading.address, "address"),
        item.list_of(reading.domain, "search"),
        item.sure(reading.device, "interface") or "",
    )
    item.ignore("name")
    item.end()
    return found


def _serve(links: dict[str, Link], servers: _Servers, report: Report, place: str) -> None:
    """Give name servers to their link, or to every one that has addresses."""
    if servers.link and servers.link not in links:
        report.refused(place, f"name servers: no link is called {servers.link!r}")
        return
    for name, link in links.items():
        has = link.addresses or link.dhcp4 or link.dhcp6 is not Dhcp6.NO or link.accept_ra
        if servers.link == name or (not servers.link and has):
            links[name] = link._replace(
                nameservers=_more(link.nameservers, servers.addresses),
                search=_more(link.search, servers.search),
            )


def _link_to(route: Route, links: Iterable[Link]) -> str | None:
    """Return the name of the link whose network has the route's gateway; None when none has."""
    if route.via is None:
        return None
    via = ip_address(route.via)
    for link in links:
        if any(via in ip_interface(address).network for address in link.addresses):
            return link.name
    dynamic = _dynamic(links, via.version)
    return next(dynamic, None)


def _dynamic(links: Iterable[Link], version: int) -> Iterator[str]:
    """Give the names of links whose networks will only be known later."""
    for link in links:
        if link.dhcp4 if version == 4 else (link.dhcp6 is not Dhcp6.NO or link.accept_ra):
            yield link.name


def _more(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((*first, *second)))
