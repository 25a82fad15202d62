"""network-config version 2, which is netplan's own form, to the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

from ..report import Report
from ..secret import Secret
from . import reading
from .bonds import Option, read_options
from .model import (
    EVERYWHERE,
    AccessPoint,
    Bond,
    Bridge,
    Dhcp,
    Dhcp6,
    Kind,
    Link,
    Match,
    Network,
    Route,
    Rule,
    Vlan,
)
from .reading import Reader, Unusable

SECTIONS = {
    "ethernets": Kind.ETHERNET,
    "wifis": Kind.WIFI,
    "bonds": Kind.BOND,
    "bridges": Kind.BRIDGE,
    "vlans": Kind.VLAN,
}
# Right in netplan's own files, and more than every back end can be told.
OTHER_SECTIONS = ("tunnels", "vrfs", "modems", "dummy-devices", "virtual-ethernets", "nm-devices")
OTHER_KEYS = frozenset(
    {
        *(
            "addresses-generation",
            "auth",
            "critical",
            "dhcp-identifier",
            "emit-lldp",
            "ignore-carrier",
        ),
        *("infiniband-mode", "ipv6-address-generation", "ipv6-address-token", "ipv6-mtu"),
        *("ipv6-privacy", "link-local", "neigh-suppress", "openvswitch", "optional-addresses"),
        *("receive-checksum-offload", "regulatory-domain", "virtual-function-count", "wakeonwlan"),
        *("networkmanager", "bssid", "band", "channel", "mode", "mark", "type-of-service"),
        *("congestion-window", "advertised-receive-window", "delay-virtual-functions-rebind"),
        *("embedded-switch-mode", "large-receive-offload", "generic-receive-offload"),
        *("generic-segmentation-offload", "tcp-segmentation-offload", "tcp6-segmentation-offload"),
        *("transmit-checksum-offload", "hairpin", "use-domains", "port-mac-learning"),
    }
)
RENDERERS = ("networkd", "NetworkManager")


def parse(raw: object, report: Report, place: str = "network-config") -> Network:
    """Return the network that the document describes; what cannot be used is in *report*."""
    whole = Reader(raw, place, report)
    whole.ignore("version")
    links: dict[str, Link] = {}
    for section, kind in SECTIONS.items():
        for name, child, at in whole.children(section):
            try:
                link = _link(child, name, kind, at, report)
            except ValueError as error:
                report.refused(*reading.parted(str(error), at))
                continue
            if name in links:
                report.refused(at, "expected a name of its own, another link has it")
                continue
            links[link.name] = link
    renderer = whole.take(_renderer, "renderer")
    whole.end(OTHER_SECTIONS)
    return Network(tuple(links.values()), renderer)


def _renderer(raw: object) -> str:
    if raw not in RENDERERS:
        raise ValueError(f"expected one of {', '.join(RENDERERS)}")
    return str(raw)


def _link(raw: object, name: str, kind: Kind, place: str, report: Report) -> Link:
    # An entry without a word is one that is only to be there.
    item = Reader({} if raw is None else raw, place, report)
    link = Link(name=name, kind=kind, place=place, set_mac=item.sure(reading.mac, "macaddress"))
    if link.physical:
        link = _found(item, link)
    else:
        reading.device(name)
        link = link._replace(set_name=name)
    made = {Kind.BOND: _bond, Kind.BRIDGE: _bridge, Kind.VLAN: _vlan, Kind.WIFI: _wifi}.get(kind)
    if made:
        link = made(item, link)
    link = _addressed(item, link)
    # Which daemon of netplan's has it is chosen for the whole.
    item.ignore("renderer")
    item.end(OTHER_KEYS)
    return link


def _found(item: Reader, link: Link) -> Link:
    """Return the link with what tells its NIC from others."""
    set_name = item.sure(reading.device, "set-name")
    below = item.get("match")
    match = Match()
    if below is not None:
        reader = Reader(below, item.at("match"), item.report)
        match = Match(
            reader.sure(reading.mac, "macaddress"),
            reader.sure(reading.pattern, "name"),
            reader.sure(reading.pattern, "driver"),
        )
        reader.end()
    else:
        reading.device(link.name)
    return link._replace(
        match=match, set_name=set_name, wake_on_lan=item.take(reading.boolean, "wakeonlan") or False
    )


def _bond(item: Reader, link: Link) -> Link:
    members = item.list_of(reading.text, "interfaces")
    below = item.below("parameters")
    options: Mapping[str, str] = {}
    if below:
        options = read_options(below, _spellings)
        below.end()
    return link._replace(bond=Bond(members, options))


def _spellings(option: Option) -> tuple[str, ...]:
    more = {
        "gratuitous-arp": ("gratuitious-arp",),
        "all-slaves-active": ("all-members-active",),
        "packets-per-slave": ("packets-per-member",),
    }
    return (option.netplan, *more.get(option.netplan, ()))


def _bridge(item: Reader, link: Link) -> Link:
    bridge = Bridge(item.list_of(reading.text, "interfaces"))
    below = item.below("parameters")
    if below:
        seconds = reading.integer(0, 2**31 - 1)
        bridge = bridge._replace(
            stp=below.take(reading.boolean, "stp"),
            priority=below.take(reading.integer(0, 65535), "priority"),
            forward_delay=below.take(seconds, "forward-delay"),
            hello_time=below.take(seconds, "hello-time"),
            max_age=below.take(seconds, "max-age"),
            ageing_time=below.take(seconds, "ageing-time", "aging-time"),
            path_costs=_numbers(below, "path-cost"),
            port_priorities=_numbers(below, "port-priority"),
        )
        below.end(OTHER_KEYS)
    return link._replace(bridge=bridge)


def _numbers(item: Reader, key: str) -> Mapping[str, int]:
    below = item.below(key)
    if below is None:
        return {}
    found = {str(name): below.take(reading.integer(0, 2**31 - 1), name) for name in below.raw}
    return {name: number for name, number in found.items() if number is not None}


def _vlan(item: Reader, link: Link) -> Link:
    vlan = Vlan(item.need(reading.VLAN_ID, "id"), item.need(reading.text, "link"))
    return link._replace(vlan=vlan)


def _wifi(item: Reader, link: Link) -> Link:
    points = []
    for number, (ssid, child, _) in enumerate(item.children("access-points")):
        at = item.at(f"access-points[{number}]")
        try:
            points.append(_access_point(ssid, child, at, item.report))
        except ValueError as error:
            item.report.refused(*reading.parted(str(error), at))
    if not points:
        raise Unusable(f"{item.at('access-points')}: expected at least one that can be used")
    return link._replace(access_points=tuple(points))


def _access_point(ssid: object, raw: object, place: str, report: Report) -> AccessPoint:
    name = reading.text(ssid)
    if len(name.encode()) > 32:
        raise Unusable(f"{place}: expected a name of at most 32 bytes")
    item = Reader({} if raw is None else raw, place, report)
    if item.get("auth") is not None:
        raise Unusable(f"{place}.auth: not applied by this version, which knows 'password' alone")
    password = item.sure(_password, "password")
    point = AccessPoint(name, password, item.flag("hidden"))
    item.end(OTHER_KEYS)
    return point


def _password(raw: object) -> Secret:
    # Its value is in no text.
    if isinstance(raw, str) and raw.isprintable() and raw.isascii() and 8 <= len(raw) <= 64:
        return Secret(raw.encode())
    raise ValueError("expected a password of 8 to 63 characters of ASCII, or a key of 64 digits")


def _addressed(item: Reader, link: Link) -> Link:
    """Return the link with all that has to do with addresses."""
    routes = item.each(lambda raw, at: _route(raw, at, item.report), "routes")
    for key, version in (("gateway4", 4), ("gateway6", 6)):
        gateway = item.take(_of_version(version), key)
        if gateway:
            routes = (Route(EVERYWHERE[version], gateway), *routes)
    servers = item.below("nameservers")
    if servers:
        link = link._replace(
            nameservers=servers.list_of(reading.address, "addresses"),
            search=servers.list_of(reading.domain, "search"),
        )
        servers.end()
    return link._replace(
        mtu=item.take(reading.MTU, "mtu"),
        dhcp4=item.flag("dhcp4"),
        dhcp6=Dhcp6.STATEFUL if item.flag("dhcp6") else Dhcp6.NO,
        dhcp4_options=_dhcp(item.below("dhcp4-overrides")),
        dhcp6_options=_dhcp(item.below("dhcp6-overrides")),
        accept_ra=item.take(reading.boolean, "accept-ra"),
        addresses=item.each(_address, "addresses"),
        routes=routes,
        rules=item.each(lambda raw, at: _rule(raw, at, item.report), "routing-policy"),
        optional=item.flag("optional"),
        auto=item.take(_activation, "activation-mode") is not False,
    )


def _activation(raw: object) -> bool:
    if raw not in ("manual", "off"):
        raise ValueError("expected manual or off")
    return False


def _of_version(version: int) -> Callable[[object], str]:
    def read(raw: object) -> str:
        address = reading.address(raw)
        if (":" in address) != (version == 6):
            raise ValueError(f"expected an IPv{version} address, got {address!r}")
        return address

    return read


def _address(raw: object, place: str) -> str:
    # `192.0.2.10/24: {lifetime: 0}`: what is below is for the kernel's own lists.
    if isinstance(raw, Mapping) and len(raw) == 1:
        raw = next(iter(raw))
    found = reading.interface(raw)
    if "/" not in str(raw):
        raise ValueError("expected an address with the length of its network, such as '/24'")
    return found


def _dhcp(item: Reader | None) -> Dhcp:
    if item is None:
        return Dhcp()
    flags = {
        name: item.take(reading.boolean, name.replace("_", "-"))
        for name in ("use_dns", "use_routes", "use_mtu", "use_ntp", "use_hostname", "send_hostname")
    }
    found = Dhcp(
        metric=item.take(reading.METRIC, "route-metric"),
        use_domains=item.take(_use_domains, "use-domains"),
        hostname=item.take(reading.domain, "hostname"),
        **flags,
    )
    item.end()
    return found


def _use_domains(raw: object) -> bool:
    # `route` asks for a mode of systemd-resolved alone; the domains are used all the same.
    return True if raw == "route" else reading.boolean(raw)


def _route(raw: object, place: str, report: Report) -> Route:
    item = Reader(raw, place, report)
    via = item.sure(reading.address, "via")
    to: str
    if item.get("to") in ("default", "0/0"):
        if via is None:
            raise Unusable(f"{place}: missing key 'via'")
        to = EVERYWHERE[6 if ":" in via else 4]
    else:
        to = item.need(reading.network, "to")
    if item.get("type") not in (None, "unicast"):
        raise Unusable(f"{place}.type: not applied by this version, which knows 'unicast' alone")
    if item.get("scope") not in (None, "global", "link"):
        raise Unusable(f"{place}.scope: not applied by this version, which knows 'link' alone")
    if via is not None and (":" in via) != (":" in to):
        raise Unusable(f"{place}.via: expected an address of the same family as the network")
    found = Route(
        to,
        via,
        metric=item.take(reading.METRIC, "metric"),
        table=item.sure(reading.TABLE, "table"),
        on_link=item.flag("on-link"),
        source=item.sure(reading.address, "from"),
        mtu=item.take(reading.MTU, "mtu"),
    )
    item.end(OTHER_KEYS)
    return found


def _rule(raw: object, place: str, report: Report) -> Rule:
    item = Reader(raw, place, report)
    found = Rule(
        table=item.need(reading.TABLE, "table"),
        source=item.sure(reading.network, "from"),
        to=item.sure(reading.network, "to"),
        priority=item.take(reading.METRIC, "priority"),
    )
    item.end(OTHER_KEYS)
    if found.source is None and found.to is None:
        raise Unusable(f"{place}: expected 'from' or 'to'")
    return found
