"""What the kernel's command line says of the network: network-config= and ip=. Pure."""

from __future__ import annotations

import base64
import binascii
import shlex
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ConfigError
from . import reading

CONFIG = "network-config="
STATIC, DYNAMIC = "static", "dhcp4"
DHCP = frozenset({"dhcp", "on", "any", "bootp", "both", "rarp", "ibft"})
OFF = frozenset({"off", "none"})
LARGEST = 1024 * 1024
"""Bytes of an unpacked document."""


def network_config(line: str) -> bytes | None:
    """Return what `network-config=` holds, base64 and gzip undone; None without it.

    ConfigError when it is neither `disabled` nor base64.
    """
    values = [word[len(CONFIG) :] for word in line.split() if word.startswith(CONFIG)]
    if not values:
        return None
    value = values[-1].strip("\"'")
    if value == "disabled":
        return b"{config: disabled}"
    try:
        content = base64.b64decode(value, validate=True)
        if content[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(31)
            content = unpacker.decompress(content, LARGEST)
            if unpacker.unconsumed_tail:
                raise ConfigError(f"{CONFIG}: larger than {LARGEST} bytes when unpacked")
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ConfigError(f"{CONFIG}: expected 'disabled' or base64") from error
    return content


def from_initramfs(line: str, found: Mapping[str, str]) -> dict[str, Any] | None:
    """Return a document of version 1 for `ip=`; None when it asks for nothing.

    *found* are the files /run/net-DEVICE.conf, in which klibc's ipconfig says what came of it.
    """
    words = [word for word in line.split() if word.startswith(("ip=", "ip6="))]
    if not words:
        return None
    items = [item for name in sorted(found) for item in _of_klibc(found[name])]
    if not items:
        servers = [each[11:] for each in line.split() if each.startswith("nameserver=")]
        for word in words:
            key, _, value = word.partition("=")
            items += _of_line(value, six=key == "ip6")
        if items and servers:
            items.append({"type": "nameserver", "address": [each.strip("[]") for each in servers]})
    return {"version": 1, "config": items} if items else None


def _of_klibc(text: str) -> Iterable[dict[str, Any]]:
    """Return the link that one of klibc's files tells of; its lines are a shell's."""
    said = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            try:
                said[key.strip()] = "".join(shlex.split(value))
            except ValueError:
                continue
    device = said.get("DEVICE") or said.get("DEVICE6")
    if not device:
        return ()
    subnets: list[dict[str, Any]] = []
    search = said.get("DOMAINSEARCH") or said.get("DNSDOMAIN") or ""
    for family, dynamic, static in (("4", "dhcp4", "static"), ("6", "dhcp6", "static6")):
        address = said.get(f"IPV{family}ADDR", "")
        proto = said.get("PROTO" if family == "4" else "IPV6PROTO", "")
        if not address or set(address) <= {"0", ".", ":"}:
            continue
        servers = [said.get(f"IPV{family}DNS{number}", "") for number in range(2)]
        subnet: dict[str, Any] = {"type": static if proto in ("none", "static", "off") else dynamic}
        if subnet["type"] == static:
            subnet["address"] = address
            subnet["netmask"] = said.get(f"IPV{family}NETMASK")
            subnet["gateway"] = _address(said.get(f"IPV{family}GATEWAY", ""))
        subnet["dns_nameservers"] = [each for each in map(_address, servers) if each]
        subnet["dns_search"] = search.split()
        subnets.append({key: value for key, value in subnet.items() if value})
    return ({"type": "physical", "name": device, "subnets": subnets},) if subnets else ()


def _of_line(value: str, *, six: bool) -> Iterable[dict[str, Any]]:
    """Return the link of one `ip=`, in the kernel's form or dracut's shorter one."""
    fields = _fields(value)
    if len(fields) == 1 and not six and fields[0] not in DHCP | {"dhcp6", "auto6"}:
        return ()
    if len(fields) == 1:
        method, device = fields[0], ""
    elif len(fields) < 5 and "." not in fields[0] and ":" not in fields[0]:
        device, method = fields[0], fields[1]
    else:
        return _full(fields)
    if not device:
        # The first NIC of whoever asks; there may be none of this name.
        return ()
    kinds = {"dhcp6": "dhcp6", "auto6": "ipv6_slaac"}
    kind = kinds.get(method, "dhcp4" if method in DHCP else "")
    return ({"type": "physical", "name": device, "subnets": [{"type": kind}]},) if kind else ()


def _full(fields: list[str]) -> Iterable[dict[str, Any]]:
    """Return the link of `client:server:gateway:netmask:hostname:device:method:dns0:dns1`."""
    client, _, gateway, netmask, _, device, method, *rest = [*fields, *[""] * 9][:9]
    if not device or (not client and method in OFF):
        return ()
    if not client:
        return ({"type": "physical", "name": device, "subnets": [{"type": "dhcp4"}]},)
    subnet: dict[str, Any] = {"type": "static6" if ":" in client else "static", "address": client}
    if netmask:
        subnet["netmask"] = netmask
    if _address(gateway):
        subnet["gateway"] = gateway
    servers = [each for each in map(_address, rest) if each]
    if servers:
        subnet["dns_nameservers"] = servers
    return ({"type": "physical", "name": device, "subnets": [subnet]},)


def _fields(value: str) -> list[str]:
    """Return what is between the colons; an IPv6 address is in brackets."""
    fields, depth, start = [], 0, 0
    for number, character in enumerate(value):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == ":" and depth == 0:
            fields.append(value[start:number])
            start = number + 1
    return [field.strip("[]") for field in [*fields, value[start:]]]


def _address(text: str) -> str:
    """Return *text* when it is an address of somebody, empty otherwise."""
    try:
        found = reading.address(text)
    except ValueError:
        return ""
    return "" if set(found) <= {"0", ".", ":"} else found
