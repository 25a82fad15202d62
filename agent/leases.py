"""What a DHCP server gave, as each client writes it down: text to one record."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_LEASE = re.compile(r"^lease \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^\s*(?:option )?([a-z0-9-]+) ([^;]*);", re.MULTILINE)


class Lease(NamedTuple):
    """An address and the ways out."""

    address: str
    """With its prefix length, such as 192.168.1.10/24."""
    routes: tuple[tuple[str, str], ...]
    """Destination and gateway; a gateway of 0.0.0.0 is the link itself."""


def of_dhclient(text: str) -> Lease | None:
    """Return the newest lease of a leases file, None when there is none."""
    blocks = _LEASE.findall(text)
    if not blocks:
        return None
    said = dict(_LINE.findall(blocks[-1]))
    classless = said.get("rfc3442-classless-static-routes", "")
    numbers = [int(number) for number in re.findall(r"\d+", classless)]
    gateways = said.get("routers", "").split(",")
    return _lease(
        said.get("fixed-address", ""),
        said.get("subnet-mask", ""),
        gateways[0].strip(),
        _classless(numbers),
    )


def of_udhcpc(text: str) -> Lease | None:
    """Return the lease in what `set` prints in the script that udhcpc calls."""
    return _of_variables(text, "ip", "mask", "router", "staticroutes")


def of_dhcpcd(text: str) -> Lease | None:
    """Return the lease that `dhcpcd --dumplease` prints, None when there is none."""
    return _of_variables(text, "ip_address", "subnet_cidr", "routers", "classless_static_routes")


def _of_variables(text: str, address: str, mask: str, gateway: str, routes: str) -> Lease | None:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    said = {name.strip(): value.strip("'\"") for name, value in pairs}
    words = said.get(routes, "").split()
    gateways = said.get(gateway, "").split()
    return _lease(
        said.get(address, ""),
        said.get(mask, ""),
        gateways[0] if gateways else "",
        tuple(zip(words[::2], words[1::2])),
    )


def _lease(
    address: str, mask: str, gateway: str, routes: tuple[tuple[str, str], ...]
) -> Lease | None:
    """Return the lease, None when it has no address; routes that are none are left out."""
    try:
        with_prefix = ipaddress.IPv4Interface(f"{address}/{mask or 32}").with_prefixlen
    except ValueError:
        return None
    # Who sends classless routes means them in place of the gateway (RFC 3442).
    if not routes and gateway:
        routes = (("0.0.0.0/0", gateway),)
    return Lease(with_prefix, tuple(route for route in routes if _is_route(*route)))


def _is_route(destination: str, gateway: str) -> bool:
    try:
        ipaddress.IPv4Network(destination)
        ipaddress.IPv4Address(gateway)
    except ValueError:
        return False
    return True


def _classless(numbers: list[int]) -> tuple[tuple[str, str], ...]:
    """Return the routes in *numbers*: prefix length, as many octets as it needs, the gateway."""
    routes = []
    while numbers:
        length = numbers.pop(0)
        octets = (length + 7) // 8
        if length > 32 or len(numbers) < octets + 4:
            break
        network = [*numbers[:octets], 0, 0, 0, 0][:4]
        gateway = numbers[octets : octets + 4]
        del numbers[: octets + 4]
        routes.append((f"{'.'.join(map(str, network))}/{length}", ".".join(map(str, gateway))))
    return tuple(routes)
