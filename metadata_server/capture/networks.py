"""Network interfaces in the words of the configuration: of network_data.json, or of EC2's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

Document = dict[str, Any]


def nics_of_openstack(network: Mapping[str, Any]) -> Document:
    """Return `nics`, `dns` and `qos` of a network_data.json."""
    links = [each for each in network.get("links") or () if isinstance(each, dict)]
    networks = [each for each in network.get("networks") or () if isinstance(each, dict)]
    found: Document = {
        "nics": [
            _nic(link, [each for each in networks if each.get("link") == link.get("id")])
            for link in links
        ],
        "dns": list(
            dict.fromkeys(
                each["address"]
                for each in network.get("services") or ()
                if isinstance(each, dict) and each.get("type") == "dns" and "address" in each
            )
        ),
    }
    qos = network.get("qos")
    if isinstance(qos, dict):
        given = {
            "min": qos.get("instance_min_bandwidth"),
            "max": qos.get("instance_max_bandwidth"),
        }
        found["qos"] = _without_nothing(given)
    return found


def nics_of_ec2(answers: Mapping[str, bytes]) -> Document:
    """Return `nics` of what is below `network/interfaces/macs/`."""
    above = "/latest/meta-data/network/interfaces/macs/"
    macs = dict.fromkeys(
        path.removeprefix(above).split("/")[0] for path in answers if path.startswith(above)
    )

    def text(mac: str, name: str) -> str:
        return answers.get(f"{above}{mac}/{name}", b"").decode("utf-8", "replace").strip()

    found = []
    for mac in sorted(macs, key=lambda each: (text(each, "device-number").zfill(3), each)):
        first, *further = text(mac, "local-ipv4s").split() or [""]
        block = text(mac, "subnet-ipv4-cidr-block")
        prefix = int(block.partition("/")[2]) if block.partition("/")[2].isdigit() else None
        nic = {
            "mac": mac,
            "ipv4": first or None,
            "prefix": prefix if first else None,
            "public_ipv4": text(mac, "public-ipv4s").partition("\n")[0] if first else None,
            "ipv6": text(mac, "ipv6s").partition("\n")[0],
            "addresses": [f"{each}/{prefix or 24}" for each in further],
        }
        found.append(_without_nothing(nic))
    return {"nics": found}


def _nic(link: Mapping[str, Any], networks: list[dict[str, Any]]) -> Document:
    nic: Document = {
        "mac": link.get("ethernet_mac_address") or link.get("vlan_mac_address"),
        "id": link.get("id"),
        "vif_id": link.get("vif_id"),
        "type": link.get("type"),
        "ipv4": link.get("local_ipv4"),
        "public_ipv4": link.get("public_ipv4"),
        "mtu": link.get("mtu"),
        "network_id": next((each["network_id"] for each in networks if "network_id" in each), None),
        "dhcp": any("dhcp" in str(each.get("type")) for each in networks),
    }
    for kind in ("bond", "vlan"):
        if link.get("type") == kind:
            given = {
                key.removeprefix(f"{kind}_"): each
                for key, each in link.items()
                if key.startswith(f"{kind}_") and key != "vlan_mac_address"
            }
            nic |= {kind: given, "type": None}
    for each in networks:
        if "ip_address" in each:
            _add_static(nic, each)
    return _without_nothing(nic)


def _add_static(nic: Document, network: Mapping[str, Any]) -> None:
    """Add one address with its routes to *nic*; the first of a family is its own."""
    try:
        interface = ip_interface(f"{network['ip_address']}/{network.get('netmask', '')}".strip("/"))
    except ValueError:
        return
    old = interface.version == 4
    address, prefix, gateway = (
        ("ipv4", "prefix", "gateway") if old else ("ipv6", "ipv6_prefix", "gateway6")
    )
    if nic.get(address) not in (None, str(interface.ip)) or nic.get(prefix):
        nic.setdefault("addresses", []).append(str(interface))
        return
    nic |= {address: str(interface.ip), prefix: interface.network.prefixlen}
    for route in network.get("routes") or ():
        try:
            target = ip_network(f"{route['network']}/{route['netmask']}")
        except (ValueError, KeyError, TypeError):
            continue
        if target.prefixlen == 0 and gateway not in nic:
            nic[gateway] = route.get("gateway")
        else:
            given = {"network": str(target), "gateway": route.get("gateway")}
            nic.setdefault("routes", []).append(given)


def _without_nothing(values: Mapping[str, Any]) -> Document:
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}
