"""The model as files of systemd-networkd, and names of NICs as files of udev. Pure."""

from __future__ import annotations

from .bonds import OPTIONS
from .model import Dhcp, Dhcp6, File, Kind, Link, Network, Route, Rule, version
from .places import FOUND, HEADER, MADE, NETWORKD

Lines = list[tuple[str, object]]


def render(network: Network) -> tuple[File, ...]:
    """Return all files, three at most for each link."""
    files = [*link_files(network)]
    for link in network.links:
        made = _netdev(link)
        if made:
            files.append(_file(f"{MADE}-{link.name}.netdev", made))
        where = FOUND if link.physical else MADE
        files.append(_file(f"{where}-{link.name}.network", _network(network, link)))
    return tuple(files)


def unsaid(network: Network) -> tuple[tuple[str, str], ...]:
    """Return places and words of what cannot be said here."""
    return tuple(
        (link.place, "no access point is joined by systemd-networkd")
        for link in network.links
        if link.access_points
    )


def link_files(network: Network) -> tuple[File, ...]:
    """Return udev's files for the NICs that are to be called otherwise or to wake the machine."""
    files = []
    for link in network.links:
        if not link.physical or not (link.set_name or link.wake_on_lan):
            continue
        # The permanent address: what is made of the NIC has its present one, too.
        by_mac: Lines = [("PermanentMACAddress", link.match.mac)]
        match: Lines = by_mac if link.match.mac else [("OriginalName", link.name)]
        wake = "magic" if link.wake_on_lan else None
        rest: Lines = [("Name", link.set_name), ("WakeOnLan", wake)]
        files.append(_file(f"{MADE}-{link.name}.link", [("Match", match), ("Link", rest)]))
    return tuple(files)


def _file(name: str, sections: list[tuple[str, Lines]]) -> File:
    parts = []
    for section, lines in sections:
        said = "".join(f"{key}={_word(value)}\n" for key, value in lines if _is_said(value))
        if said:
            parts.append(f"[{section}]\n{said}")
    return File(f"{NETWORKD}/{name}", HEADER + "\n" + "\n".join(parts))


def _is_said(value: object) -> bool:
    return value is not None and value != "" and value != ()


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value)


def _netdev(link: Link) -> list[tuple[str, Lines]] | None:
    if link.physical:
        return None
    top: Lines = [
        ("Name", link.name),
        ("Kind", link.kind.value),
        ("MACAddress", link.set_mac),
        ("MTUBytes", link.mtu),
    ]
    own: Lines = []
    if link.vlan:
        own = [("Id", link.vlan.id)]
    if link.bond:
        for option in OPTIONS:
            value = link.bond.options.get(option.kernel)
            if value is not None and option.networkd:
                own.append((option.networkd, _bond_option(option.kernel, value)))
    if link.bridge:
        bridge = link.bridge
        own = [
            ("STP", bridge.stp),
            ("Priority", bridge.priority),
            ("ForwardDelaySec", bridge.forward_delay),
            ("HelloTimeSec", bridge.hello_time),
            ("MaxAgeSec", bridge.max_age),
            ("AgeingTimeSec", bridge.ageing_time),
        ]
    section = {Kind.VLAN: "VLAN", Kind.BOND: "Bond", Kind.BRIDGE: "Bridge"}[link.kind]
    return [("NetDev", top), (section, own)]


def _bond_option(kernel: str, value: str) -> object:
    option = next(each for each in OPTIONS if each.kernel == kernel)
    if option.milliseconds:
        return f"{value}ms"
    if kernel == "all_slaves_active":
        return value == "1"
    return tuple(value.split(",")) if kernel == "arp_ip_target" else value


def _network(network: Network, link: Link) -> list[tuple[str, Lines]]:
    master = network.master_of(link.name)
    # In a bond it has the bond's address, and is known by its name alone.
    in_bond = master is not None and master.bond is not None
    mac = None if in_bond or not link.physical else link.match.mac
    match: Lines = [("MACAddress", mac), ("Name", None if mac else link.name)]
    device: Lines = [
        ("MACAddress", link.set_mac if link.physical else None),
        ("MTUBytes", link.mtu),
        ("ActivationPolicy", None if link.auto else "manual"),
        ("RequiredForOnline", False if link.optional or not link.auto else None),
    ]
    sections = [("Match", match), ("Link", device), ("Network", _top(network, link, master))]
    if link.dhcp4:
        sections.append(("DHCPv4", _dhcp(link.dhcp4_options, metric=True)))
    if link.dhcp6 is not Dhcp6.NO:
        only: Lines = [("UseAddress", False if link.dhcp6 is Dhcp6.STATELESS else None)]
        sections.append(("DHCPv6", only + _dhcp(link.dhcp6_options, metric=False)))
        sections.append(("IPv6AcceptRA", [("RouteMetric", link.dhcp6_options.metric)]))
    sections += [("Route", _route(route)) for route in link.routes]
    sections += [("RoutingPolicyRule", _rule(rule)) for rule in link.rules]
    if master is not None and master.bridge is not None:
        cost = master.bridge.path_costs.get(link.name)
        priority = master.bridge.port_priorities.get(link.name)
        sections.append(("Bridge", [("Cost", cost), ("Priority", priority)]))
    return sections


def _top(network: Network, link: Link, master: Link | None) -> Lines:
    four, six = link.dhcp4, link.dhcp6 is Dhcp6.STATEFUL
    dhcp = {(True, True): "yes", (True, False): "ipv4", (False, True): "ipv6"}.get((four, six))
    lines: Lines = [("DHCP", dhcp)]
    if master is not None:
        lines.append(("LinkLocalAddressing", False))
        lines.append(("Bond" if master.bond else "Bridge", master.name))
        primary = master.bond.options.get("primary") if master.bond else None
        lines.append(("PrimarySlave", True if primary == link.name else None))
    lines.append(("IPv6AcceptRA", link.accept_ra))
    # A bridge or bond without a member that is up has no carrier, and is to have its address.
    bare = not link.physical and bool(link.addresses) and not link.members and not link.vlan
    lines.append(("ConfigureWithoutCarrier", True if bare else None))
    lines += [("Address", address) for address in link.addresses]
    lines += [("DNS", server) for server in link.nameservers]
    lines.append(("Domains", link.search))
    lines += [("VLAN", vlan.name) for vlan in network.vlans_on(link.name)]
    return lines


def _dhcp(options: Dhcp, *, metric: bool) -> Lines:
    return [
        ("RouteMetric", options.metric if metric else None),
        ("UseDNS", options.use_dns),
        ("UseDomains", options.use_domains),
        ("UseRoutes", options.use_routes if metric else None),
        ("UseMTU", options.use_mtu if metric else None),
        ("UseNTP", options.use_ntp),
        ("UseHostname", options.use_hostname),
        ("SendHostname", options.send_hostname),
        ("Hostname", options.hostname),
    ]


def _route(route: Route) -> Lines:
    return [
        ("Destination", route.to),
        ("Gateway", route.via),
        ("GatewayOnLink", True if route.on_link else None),
        ("Metric", route.metric),
        ("Table", route.table),
        ("PreferredSource", route.source),
        ("MTUBytes", route.mtu),
        ("Scope", "link" if route.via is None and version(route.to) == 4 else None),
    ]


def _rule(rule: Rule) -> Lines:
    return [
        ("From", rule.source),
        ("To", rule.to),
        ("Table", rule.table),
        ("Priority", rule.priority),
    ]
