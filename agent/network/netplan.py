"""The model as netplan's YAML. Pure."""

from __future__ import annotations

from typing import Any

from .bonds import OPTIONS
from .model import Bridge, Dhcp, Dhcp6, File, Kind, Link, Network, Route
from .places import HEADER, NETPLAN

SECTIONS = {
    Kind.ETHERNET: "ethernets",
    Kind.WIFI: "wifis",
    Kind.BOND: "bonds",
    Kind.BRIDGE: "bridges",
    Kind.VLAN: "vlans",
}

Document = dict[str, Any]


def render(network: Network) -> tuple[File, ...]:
    """Return netplan's one file. netplan warns when others can read it, secrets or not."""
    import yaml

    words = yaml.safe_dump({"network": document(network)}, sort_keys=False, allow_unicode=True)
    return (File(NETPLAN, HEADER + words, 0o600),)


def document(network: Network) -> Document:
    """Return version 2 of network-config."""
    found: Document = {"version": 2}
    if network.renderer:
        found["renderer"] = network.renderer
    for kind, section in SECTIONS.items():
        links = {link.name: _link(link) for link in network.links if link.kind is kind}
        if links:
            found[section] = links
    return found


def _link(link: Link) -> Document:
    found: Document = {}
    if link.physical:
        match = {
            "macaddress": link.match.mac,
            "name": link.match.name,
            "driver": link.match.driver,
        }
        found["match"] = _said(match)
        found["set-name"] = link.set_name
        found["wakeonlan"] = link.wake_on_lan or None
    if link.bond:
        found["interfaces"] = list(link.bond.members)
        options = link.bond.options
        found["parameters"] = {
            option.netplan: _option(option.netplan, options[option.kernel])
            for option in OPTIONS
            if option.kernel in options
        }
    if link.bridge:
        found["interfaces"] = list(link.bridge.members)
        found["parameters"] = _bridge(link.bridge)
    if link.vlan:
        found.update(id=link.vlan.id, link=link.vlan.link)
    if link.access_points:
        found["access-points"] = {
            point.ssid: _said(
                {
                    "password": point.password.reveal().decode() if point.password else None,
                    "hidden": point.hidden or None,
                }
            )
            for point in link.access_points
        }
    found.update(_addressed(link))
    keep = ("access-points", "interfaces")
    return {
        key: value
        for key, value in found.items()
        if value is not None and (value not in ({}, []) or key in keep)
    }


def _addressed(link: Link) -> Document:
    four, six = _dhcp(link.dhcp4_options), _dhcp(link.dhcp6_options)
    if link.dhcp4 and link.dhcp6 is not Dhcp6.NO:
        # netplan refuses a link of networkd's on which the two are not the same.
        four = six = {**six, **four}
    return {
        "macaddress": link.set_mac,
        "mtu": link.mtu,
        "dhcp4": link.dhcp4 or None,
        "dhcp6": link.dhcp6 is not Dhcp6.NO or None,
        "dhcp4-overrides": four if link.dhcp4 else None,
        "dhcp6-overrides": six if link.dhcp6 is not Dhcp6.NO else None,
        "accept-ra": link.accept_ra,
        "addresses": list(link.addresses),
        "nameservers": _said(
            {"addresses": list(link.nameservers) or None, "search": list(link.search) or None}
        ),
        "routes": [_route(route) for route in link.routes],
        "routing-policy": [
            _said(
                {"from": rule.source, "to": rule.to, "table": rule.table, "priority": rule.priority}
            )
            for rule in link.rules
        ],
        "optional": link.optional or None,
        "activation-mode": None if link.auto else "manual",
    }


def _route(route: Route) -> Document:
    return _said(
        {
            "to": route.to,
            "via": route.via,
            "metric": route.metric,
            "table": route.table,
            "on-link": route.on_link or None,
            "from": route.source,
            "mtu": route.mtu,
            # What is on the link itself has no gateway, and netplan wants to be told so.
            "scope": None if route.via else "link",
        }
    )


def _dhcp(options: Dhcp) -> Document:
    return _said(
        {
            "route-metric": options.metric,
            "use-dns": options.use_dns,
            "use-domains": options.use_domains,
            "use-routes": options.use_routes,
            "use-mtu": options.use_mtu,
            "use-ntp": options.use_ntp,
            "use-hostname": options.use_hostname,
            "send-hostname": options.send_hostname,
            "hostname": options.hostname,
        }
    )


def _option(name: str, value: str) -> object:
    if name == "arp-ip-targets":
        return value.split(",")
    if name == "all-slaves-active":
        return value == "1"
    return int(value) if value.isdigit() else value


def _bridge(bridge: Bridge) -> Document:
    return _said(
        {
            "stp": bridge.stp,
            "priority": bridge.priority,
            "forward-delay": bridge.forward_delay,
            "hello-time": bridge.hello_time,
            "max-age": bridge.max_age,
            "ageing-time": bridge.ageing_time,
            "path-cost": dict(bridge.path_costs) or None,
            "port-priority": dict(bridge.port_priorities) or None,
        }
    )


def _said(found: Document) -> Document:
    """Return *found* without what nobody asked for."""
    return {key: value for key, value in found.items() if value is not None}
