"""The model as NetworkManager's keyfiles. Pure."""

from __future__ import annotations

from .model import (
    EVERYWHERE,
    AccessPoint,
    Bond,
    Dhcp,
    Dhcp6,
    File,
    Kind,
    Link,
    Network,
    Route,
    is_default,
    version,
)
from .networkd import link_files
from .places import HEADER, KEYFILES, PROFILE

TYPES = {Kind.ETHERNET: "ethernet", Kind.WIFI: "wifi"}
RULE_PRIORITY = 30000
"""Of a rule that has none: NetworkManager wants one, and 32766 asks the main table."""

ACTIVE = ("active-backup", "balance-tlb", "balance-alb")
ONLY_IN = {
    "lacp_rate": ("802.3ad",),
    "ad_select": ("802.3ad",),
    "primary": ACTIVE,
    "primary_reselect": ACTIVE,
    "packets_per_slave": ("balance-rr",),
}
"""Options of bonds, and the modes in which they mean anything."""

Lines = list[tuple[str, object]]
Sections = list[tuple[str, Lines]]


def render(network: Network) -> tuple[File, ...]:
    """Return one file for each link or access point; NetworkManager reads none that others can."""
    files = [*link_files(network)]
    for link in network.links:
        points: tuple[AccessPoint | None, ...] = link.access_points or (None,)
        for number, point in enumerate(points):
            name = link.name if number == 0 else f"{link.name}-{number + 1}"
            files.append(_file(name, _profile(network, link, point, name)))
    return tuple(files)


def _file(name: str, sections: Sections) -> File:
    parts = []
    for section, lines in sections:
        said = "".join(f"{key}={_word(value)}\n" for key, value in lines if value not in (None, ""))
        parts.append(f"[{section}]\n{said}")
    path = f"{KEYFILES}/{PROFILE}{name}.nmconnection"
    return File(path, HEADER + "\n" + "\n".join(parts), 0o600)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # The keyfile's own escape; no other character of ours needs one.
    return str(value).replace("\\", "\\\\")


def _uuid(name: str) -> str:
    """Return an id that is the same at every boot; its form is that of a random one."""
    # Imported here: it brings OpenSSL, which no other back end needs.
    from hashlib import sha256

    digits = sha256(f"linklocal network {name}".encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def _profile(network: Network, link: Link, point: AccessPoint | None, name: str) -> Sections:
    kind = TYPES.get(link.kind, link.kind.value)
    master = network.master_of(link.name)
    top: Lines = [
        ("id", f"{PROFILE}{name}"),
        ("uuid", _uuid(name)),
        ("type", kind),
        ("interface-name", None if link.match.mac else link.name),
        ("autoconnect", None if link.auto else False),
        ("autoconnect-priority", 100),
    ]
    if master is not None:
        # NetworkManager before 1.46 knows no other words for it.
        top += [("master", master.name), ("slave-type", master.kind.value)]
    sections: Sections = [("connection", top)]
    device: Lines = [
        ("mac-address", link.match.mac),
        ("cloned-mac-address", link.set_mac),
        ("mtu", link.mtu),
        ("wake-on-lan", 64 if link.wake_on_lan else None),
    ]
    if point is not None:
        device = [("ssid", _ssid(point.ssid)), ("hidden", point.hidden or None), *device]
    sections.append(("wifi" if point else "ethernet", device))
    if point is not None and point.password:
        psk = point.password.reveal().decode()
        sections.append(("wifi-security", [("key-mgmt", "wpa-psk"), ("psk", psk)]))
    sections += _made(link)
    if master is not None and master.bridge:
        sections.append(
            (
                "bridge-port",
                [
                    ("path-cost", master.bridge.path_costs.get(link.name)),
                    ("priority", master.bridge.port_priorities.get(link.name)),
                ],
            )
        )
    if master is None:
        sections += [("ipv4", _four(link)), ("ipv6", _six(link))]
    return sections


def _ssid(ssid: str) -> str:
    # A list of bytes can be no escape, no number and no list by mistake.
    plain = ssid.isascii() and ssid.replace("-", "").replace("_", "").isalnum()
    return ssid if plain else "".join(f"{byte};" for byte in ssid.encode())


def _made(link: Link) -> Sections:
    if link.vlan:
        return [("vlan", [("id", link.vlan.id), ("parent", link.vlan.link), ("flags", 1)])]
    if link.bond:
        return [("bond", _bond(link.bond))]
    if link.bridge:
        bridge = link.bridge
        return [
            (
                "bridge",
                [
                    ("stp", bridge.stp),
                    ("priority", bridge.priority),
                    ("forward-delay", bridge.forward_delay),
                    ("hello-time", bridge.hello_time),
                    ("max-age", bridge.max_age),
                    ("ageing-time", bridge.ageing_time),
                ],
            )
        ]
    return []


def _bond(bond: Bond) -> Lines:
    # NetworkManager refuses a profile with an option that the kernel would pass over.
    mode = bond.options.get("mode", "balance-rr")
    return [
        (key, value) for key, value in bond.options.items() if mode in ONLY_IN.get(key, (mode,))
    ]


def _four(link: Link) -> Lines:
    addresses = [each for each in link.addresses if version(each) == 4]
    method = "auto" if link.dhcp4 else "manual" if addresses else "disabled"
    if method == "disabled":
        # It refuses whatever else a family says that is not used.
        return [("method", method)]
    return [("method", method), *_family(link, 4, addresses, link.dhcp4_options)]


def _six(link: Link) -> Lines:
    addresses = [each for each in link.addresses if version(each) == 6]
    asks = link.dhcp6 is not Dhcp6.NO
    if link.accept_ra or (asks and link.accept_ra is None):
        method = "auto"
    elif asks:
        method = "dhcp"
    elif addresses:
        method = "manual"
    else:
        return [("method", "ignore" if link.accept_ra is None else "link-local")]
    return [("method", method), *_family(link, 6, addresses, link.dhcp6_options)]


def _family(link: Link, family: int, addresses: list[str], dhcp: Dhcp) -> Lines:
    lines: Lines = [(f"address{n}", each) for n, each in enumerate(addresses, 1)]
    routes = [route for route in link.routes if version(route.to) == family]
    gateway = next((route for route in routes if _is_gateway(route)), None)
    if gateway is not None and addresses and not (link.dhcp4 and family == 4):
        routes.remove(gateway)
        lines[0] = ("address1", f"{addresses[0]},{gateway.via}")
        lines.append(("route-metric", gateway.metric))
    else:
        lines.append(("route-metric", dhcp.metric))
    for number, route in enumerate(routes, 1):
        words = [route.to, route.via or EVERYWHERE[family].partition("/")[0]]
        if route.metric is not None:
            words.append(str(route.metric))
        lines.append((f"route{number}", ",".join(words)))
        options = _options(route)
        if options:
            lines.append((f"route{number}_options", options))
    rules = [rule for rule in link.rules if version(rule.source or rule.to or "") == family]
    for number, rule in enumerate(rules, 1):
        words = [f"priority {RULE_PRIORITY if rule.priority is None else rule.priority}"]
        words += [f"from {rule.source}"] if rule.source else []
        words += [f"to {rule.to}"] if rule.to else []
        lines.append((f"routing-rule{number}", " ".join([*words, f"table {rule.table}"])))
    servers = [each for each in link.nameservers if version(each) == family]
    lines.append(("dns", "".join(f"{each};" for each in servers)))
    # The search list is one; it is said in the family that has addresses.
    if family == (4 if link.dhcp4 or any(version(a) == 4 for a in link.addresses) else 6):
        lines.append(("dns-search", "".join(f"{each};" for each in link.search)))
    lines.append(("ignore-auto-dns", True if dhcp.use_dns is False else None))
    lines.append(("ignore-auto-routes", True if dhcp.use_routes is False else None))
    lines.append(("dhcp-send-hostname", dhcp.send_hostname))
    lines.append(("dhcp-hostname", dhcp.hostname))
    return lines


def _is_gateway(route: Route) -> bool:
    return is_default(route) and route._replace(metric=None) == Route(route.to, route.via)


def _options(route: Route) -> str:
    options = []
    if route.table is not None:
        options.append(f"table={route.table}")
    if route.on_link:
        options.append("onlink=true")
    if route.source:
        options.append(f"src={route.source}")
    if route.mtu:
        options.append(f"mtu={route.mtu}")
    return ",".join(options)
