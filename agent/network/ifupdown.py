"""The model as /etc/network/interfaces has it. Pure."""

from __future__ import annotations

from .ip_words import route_words, rule_words
from .model import Bridge, Dhcp6, File, Link, Network, Route, Vlan, is_default, version
from .networkd import link_files
from .places import HEADER, INTERFACES

FAMILIES = {4: "inet", 6: "inet6"}


def render(network: Network) -> tuple[File, ...]:
    """Return the file, and udev's for NICs that are to be called otherwise."""
    stanzas = [stanza for link in network.links for stanza in _stanzas(network, link)]
    secret = any(point.password for link in network.links for point in link.access_points)
    text = HEADER + "".join(f"\n{stanza}" for stanza in stanzas)
    return (*link_files(network), File(INTERFACES, text, 0o600 if secret else 0o644))


def unsaid(network: Network) -> tuple[tuple[str, str], ...]:
    """Return places and words of what cannot be said here."""
    return tuple(
        (link.place, "only the first access point is joined by ifupdown")
        for link in network.links
        if len(link.access_points) > 1
    )


def _stanzas(network: Network, link: Link) -> list[str]:
    """Return one stanza for each way the link gets addresses; what makes it is in the first."""
    heads = _heads(link)
    if not heads:
        heads = [(4, "manual", None)]
    begin = ""
    if link.auto:
        # Only what a hot-plug event begins may be missing at boot.
        begin = f"{'allow-hotplug' if link.optional else 'auto'} {link.name}\n"
    stanzas = []
    gateways: set[int] = set()
    for number, (family, method, address) in enumerate(heads):
        lines = _method(link, family, method, address)
        if number == 0:
            lines += _device(network, link)
        if family not in gateways:
            # With the first address of a family come its routes.
            lines += _routes(link, family)
            gateways.add(family)
        text = f"iface {link.name} {FAMILIES[family]} {method}\n"
        stanzas.append(begin + text + "".join(f"    {line}\n" for line in lines))
        begin = ""
    return stanzas


def _heads(link: Link) -> list[tuple[int, str, str | None]]:
    heads: list[tuple[int, str, str | None]] = []
    if link.dhcp4:
        heads.append((4, "dhcp", None))
    heads += [(4, "static", each) for each in link.addresses if version(each) == 4]
    if link.dhcp6 is Dhcp6.STATEFUL:
        heads.append((6, "dhcp", None))
    elif link.accept_ra or link.dhcp6 is Dhcp6.STATELESS:
        heads.append((6, "auto", None))
    heads += [(6, "static", each) for each in link.addresses if version(each) == 6]
    return heads


def _method(link: Link, family: int, method: str, address: str | None) -> list[str]:
    lines = []
    if address is not None:
        lines.append(f"address {address}")
    if family == 4 and method == "dhcp":
        options = link.dhcp4_options
        if options.metric is not None:
            lines.append(f"metric {options.metric}")
        if options.hostname:
            lines.append(f"hostname {options.hostname}")
    if family == 6:
        if method == "auto" and link.dhcp6 is Dhcp6.STATELESS:
            lines.append("dhcp 1")
        if link.accept_ra is not None:
            lines.append(f"accept_ra {int(link.accept_ra)}")
    return lines


def _device(network: Network, link: Link) -> list[str]:
    """Return what makes the link and is not an address."""
    lines = []
    if link.vlan:
        lines += _vlan(link.name, link.vlan)
    if link.bond:
        lines.append(f"bond-slaves {' '.join(link.bond.members) or 'none'}")
        for name, value in link.bond.options.items():
            lines.append(f"bond-{name.replace('_', '-')} {value.replace(',', ' ')}")
    if link.bridge:
        lines += _bridge(link.bridge)
    master = network.master_of(link.name)
    if master is not None and master.bond:
        lines.append(f"bond-master {master.name}")
    if link.set_mac:
        lines.append(f"hwaddress {link.set_mac}")
    # Not every method knows `mtu`, and DHCP would have the last word.
    if link.mtu:
        lines.append(f"post-up ip link set dev {link.name} mtu {link.mtu}")
    if link.nameservers:
        lines.append(f"dns-nameservers {' '.join(link.nameservers)}")
    if link.search:
        lines.append(f"dns-search {' '.join(link.search)}")
    if link.access_points:
        lines += _wifi(link)
    return lines


def _vlan(name: str, vlan: Vlan) -> list[str]:
    if name == f"{vlan.link}.{vlan.id}":
        return [f"vlan-raw-device {vlan.link}"]
    # A name of another form says nothing to ifupdown.
    make = f"ip link add link {vlan.link} name {name} type vlan id {vlan.id}"
    return [
        f"pre-up ip link show dev {name} >/dev/null 2>&1 || {make}",
        f"post-down ip link del dev {name} || true",
    ]


def _bridge(bridge: Bridge) -> list[str]:
    lines = [f"bridge_ports {' '.join(bridge.members) or 'none'}"]
    if bridge.stp is not None:
        lines.append(f"bridge_stp {'on' if bridge.stp else 'off'}")
    for key, value in (
        ("bridge_bridgeprio", bridge.priority),
        ("bridge_fd", bridge.forward_delay),
        ("bridge_hello", bridge.hello_time),
        ("bridge_maxage", bridge.max_age),
        ("bridge_ageing", bridge.ageing_time),
    ):
        if value is not None:
            lines.append(f"{key} {value}")
    lines += [f"bridge_pathcost {port} {cost}" for port, cost in bridge.path_costs.items()]
    lines += [f"bridge_portprio {port} {rank}" for port, rank in bridge.port_priorities.items()]
    return lines


def _wifi(link: Link) -> list[str]:
    point = link.access_points[0]
    lines = [f"wpa-ssid {point.ssid}"]
    if point.password:
        lines.append(f"wpa-psk {point.password.reveal().decode()}")
    else:
        lines.append("wpa-key-mgmt NONE")
    if point.hidden:
        lines.append("wpa-scan-ssid 1")
    return lines


def _routes(link: Link, family: int) -> list[str]:
    """Return the lines for routes and rules of one family; each can be done twice."""
    lines = []
    routes = [route for route in link.routes if version(route.to) == family]
    gateway = next(filter(_is_gateway, routes), None) if _first_is_static(link, family) else None
    if gateway is not None and gateway.metric is not None and family == 6:
        # The method of IPv6 takes no notice of a metric.
        gateway = None
    if gateway is not None:
        # What ifquery and other tools look for.
        routes.remove(gateway)
        lines.append(f"gateway {gateway.via}")
        if gateway.metric is not None:
            lines.append(f"metric {gateway.metric}")
    for route in routes:
        words = route_words(route, link.name)
        lines.append(f"post-up ip -{family} route replace {words}")
        lines.append(f"pre-down ip -{family} route del {words} || true")
    for rule in link.rules:
        if version(rule.source or rule.to or "") == family:
            words = rule_words(rule)
            lines.append(f"post-up ip -{family} rule del {words} 2>/dev/null || true")
            lines.append(f"post-up ip -{family} rule add {words}")
            lines.append(f"pre-down ip -{family} rule del {words} || true")
    return lines


def _first_is_static(link: Link, family: int) -> bool:
    """Say whether the first stanza of the family is of a method that takes a gateway."""
    methods = [method for each, method, _ in _heads(link) if each == family]
    return methods[:1] == ["static"]


def _is_gateway(route: Route) -> bool:
    plain = route._replace(metric=None) == Route(route.to, route.via)
    return is_default(route) and plain and route.via is not None
