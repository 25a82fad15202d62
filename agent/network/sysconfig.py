"""The model as ifcfg files of /etc/sysconfig/network-scripts. Pure.

Values are read by a shell there; none of ours has a character that a quoted word could not hold.
"""

from __future__ import annotations

from collections.abc import Mapping

from .ip_words import route_words, rule_words
from .model import Dhcp6, File, Link, Network, Route, is_default, version
from .networkd import link_files
from .places import HEADER, SYSCONFIG

BRIDGE_OPTIONS = (("priority", "priority"), ("hello_time", "hello_time"), ("max_age", "max_age"))

Lines = list[tuple[str, object]]


def render(network: Network) -> tuple[File, ...]:
    """Return one file for each link, and those of its routes and rules."""
    files = [*link_files(network)]
    for link in network.links:
        lines = [*_device(network, link), *_four(link), *_six(link), *_dns(link)]
        said = "".join(f"{key}={_word(value)}\n" for key, value in lines if value not in (None, ""))
        files.append(File(f"{SYSCONFIG}/ifcfg-{link.name}", HEADER + said))
        for family, suffix in ((4, ""), (6, "6")):
            files += _more(link, family, suffix)
    return tuple(files)


def unsaid(network: Network) -> tuple[tuple[str, str], ...]:
    """Return places and words of what cannot be said here."""
    return tuple(
        (link.place, "no access point is joined by sysconfig's scripts")
        for link in network.links
        if link.access_points
    )


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    words = str(value)
    return words if words.replace(".", "").replace(":", "").isalnum() else f'"{words}"'


def _device(network: Network, link: Link) -> Lines:
    lines: Lines = [
        ("DEVICE", link.name),
        ("HWADDR", link.match.mac),
        ("MACADDR", link.set_mac),
        ("ONBOOT", link.auto),
        ("USERCTL", False),
        ("MTU", link.mtu),
        ("ETHTOOL_OPTS", "wol g" if link.wake_on_lan else None),
    ]
    master = network.master_of(link.name)
    if master is not None and master.bond:
        lines += [("MASTER", master.name), ("SLAVE", True)]
    if master is not None and master.bridge:
        lines.append(("BRIDGE", master.name))
        cost = master.bridge.path_costs.get(link.name)
        priority = master.bridge.port_priorities.get(link.name)
        options = {"path_cost": cost, "priority": priority}
        lines.append(("BRIDGING_OPTS", _options(options)))
    if link.vlan:
        lines += [("VLAN", True), ("PHYSDEV", link.vlan.link), ("VLAN_ID", link.vlan.id)]
    elif link.bond:
        lines += [("TYPE", "Bond"), ("BONDING_MASTER", True)]
        lines.append(("BONDING_OPTS", _options(dict(link.bond.options))))
    elif link.bridge:
        bridge = link.bridge
        lines += [("TYPE", "Bridge"), ("STP", bridge.stp), ("DELAY", bridge.forward_delay)]
        options = {name: getattr(bridge, field) for name, field in BRIDGE_OPTIONS}
        options["ageing_time"] = bridge.ageing_time
        lines.append(("BRIDGING_OPTS", _options(options)))
    else:
        lines.append(("TYPE", "Wireless" if link.access_points else "Ethernet"))
    return lines


def _options(found: Mapping[str, object]) -> str:
    return " ".join(f"{key}={value}" for key, value in found.items() if value is not None)


def _four(link: Link) -> Lines:
    options = link.dhcp4_options
    lines: Lines = [("BOOTPROTO", "dhcp" if link.dhcp4 else "none")]
    if link.dhcp4:
        lines += [
            ("DHCP_HOSTNAME", options.hostname),
            ("DHCP_SEND_HOSTNAME", options.send_hostname),
            ("PEERDNS", options.use_dns),
            ("PEERROUTES", options.use_routes),
            ("IPV4_ROUTE_METRIC", options.metric),
        ]
    addresses = [each for each in link.addresses if version(each) == 4]
    for number, address in enumerate(addresses):
        host, _, length = address.partition("/")
        suffix = str(number) if number else ""
        lines += [(f"IPADDR{suffix}", host), (f"PREFIX{suffix}", length)]
    gateway = _gateway(link, 4)
    lines.append(("DEFROUTE", bool(gateway or _dhcp_routes(link))))
    if gateway:
        lines.append(("GATEWAY", gateway.via))
        lines.append(("IPV4_ROUTE_METRIC", None if link.dhcp4 else gateway.metric))
    return lines


def _dhcp_routes(link: Link) -> bool:
    return link.dhcp4 and link.dhcp4_options.use_routes is not False


def _six(link: Link) -> Lines:
    addresses = [each for each in link.addresses if version(each) == 6]
    asks = link.dhcp6 is not Dhcp6.NO
    if not addresses and not asks and not link.accept_ra:
        # None: the kernel's own way stays.
        return [("IPV6INIT", None if link.accept_ra is None else False)]
    lines: Lines = [
        ("IPV6INIT", True),
        ("IPV6_AUTOCONF", bool(link.accept_ra)),
        ("IPV6_FORCE_ACCEPT_RA", link.accept_ra),
        ("DHCPV6C", True if asks else None),
        ("DHCPV6C_OPTIONS", "-S" if link.dhcp6 is Dhcp6.STATELESS else None),
        ("IPV6ADDR", addresses[0] if addresses else None),
        ("IPV6ADDR_SECONDARIES", " ".join(addresses[1:])),
    ]
    gateway = _gateway(link, 6)
    if gateway:
        lines.append(("IPV6_DEFAULTGW", gateway.via))
        lines.append(("IPV6_ROUTE_METRIC", gateway.metric))
    return lines


def _gateway(link: Link, family: int) -> Route | None:
    """Return the route that the ifcfg file itself can say."""
    for route in link.routes:
        plain = route._replace(metric=None) == Route(route.to, route.via)
        if version(route.to) == family and is_default(route) and plain and route.via:
            return route
    return None


def _dns(link: Link) -> Lines:
    lines: Lines = [(f"DNS{number}", each) for number, each in enumerate(link.nameservers, 1)]
    return [*lines, ("DOMAIN", " ".join(link.search))]


def _more(link: Link, family: int, suffix: str) -> list[File]:
    """Return the files of routes and rules, in the words of `ip`."""
    said = _gateway(link, family)
    routes = [each for each in link.routes if version(each.to) == family and each != said]
    rules = [each for each in link.rules if version(each.source or each.to or "") == family]
    files = []
    if routes:
        text = "".join(f"{route_words(route, link.name)}\n" for route in routes)
        files.append(File(f"{SYSCONFIG}/route{suffix}-{link.name}", HEADER + text))
    if rules:
        text = "".join(f"{rule_words(rule)}\n" for rule in rules)
        files.append(File(f"{SYSCONFIG}/rule{suffix}-{link.name}", HEADER + text))
    return files
