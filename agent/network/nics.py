"""The NICs that this machine has, from /sys/class/net; no socket, no program."""

from __future__ import annotations

import re

from ..errors import HostError
from ..host import Host
from .resolve import Nic

NET = "/sys/class/net"
MADE = frozenset({"bond", "bridge", "vlan", "vxlan", "wireguard", "macvlan", "ipvlan"})
"""Kinds of links that somebody made on this machine."""
ETHERNET, INFINIBAND = b"1", b"32"
UP = 1


def look(host: Host) -> tuple[Nic, ...]:
    """Return every NIC, in the order of their names: eth2 before eth10."""
    found = (_nic(host, name) for name in host.names(NET))
    return tuple(sorted((nic for nic in found if nic), key=lambda nic: natural(nic.name)))


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names by the numbers in them."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", name)]


def _nic(host: Host, name: str) -> Nic | None:
    at = f"{NET}/{name}"
    if _read(host, f"{at}/type") not in (ETHERNET, INFINIBAND):
        return None
    kind = _value(host, f"{at}/uevent", "DEVTYPE")
    made = kind in MADE or any(host.kind(f"{at}/{each}") for each in ("bridge", "bonding"))
    if made or host.kind(f"{at}/tun_flags"):
        return None
    # In a bond it wears the bond's address.
    own = _read(host, f"{at}/bonding_slave/perm_hwaddr") or _read(host, f"{at}/address")
    flags = _read(host, f"{at}/flags") or b"0x0"
    return Nic(
        name,
        own.decode("ascii", "replace").lower(),
        driver=_value(host, f"{at}/device/uevent", "DRIVER"),
        hardware=host.kind(f"{at}/device") is not None,
        up=bool(int(flags, 16) & UP),
        carrier=_read(host, f"{at}/operstate") == b"up",
    )


def first(nics: tuple[Nic, ...]) -> Nic | None:
    """Return the NIC that a machine would be reached by when nothing is said of it."""
    # Real ones before those made of software, and those with a cable before those without.
    ranked = sorted(nics, key=lambda nic: (not nic.hardware, not nic.carrier))
    return ranked[0] if ranked else None


def is_addressed(host: Host) -> bool:
    """Say whether some NIC has an address that others than this machine can use."""
    for line in (_read(host, "/proc/net/route") or b"").splitlines()[1:]:
        if line.split(b"\t")[0].strip() not in (b"", b"lo"):
            return True
    for line in (_read(host, "/proc/net/if_inet6") or b"").splitlines():
        words = line.split()
        # The fourth word is the scope: 00 is global.
        if len(words) == 6 and words[3] == b"00" and words[5] != b"lo":
            return True
    return False


def _read(host: Host, path: str) -> bytes:
    try:
        return (host.read(path) or b"").strip()
    except HostError:
        # Some of these cannot be read while the device is down.
        return b""


def _value(host: Host, path: str, key: str) -> str:
    for line in _read(host, path).decode("ascii", "replace").splitlines():
        name, _, value = line.partition("=")
        if name == key:
            return value
    return ""
