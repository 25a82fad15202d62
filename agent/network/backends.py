"""What applies a network on this machine: chosen here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, NamedTuple

from ..errors import ConfigError
from ..host import Host
from . import ifupdown, keyfile, netplan, networkd, sysconfig
from .model import File, Network

UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system")
WANTS = "/etc/systemd/system/multi-user.target.wants"
Unsaid = Callable[[Network], tuple[tuple[str, str], ...]]


def _all_said(network: Network) -> tuple[tuple[str, str], ...]:
    return ()


class BackEnd(NamedTuple):
    """One of the systems."""

    name: str
    render: Callable[[Network], tuple[File, ...]]
    unsaid: Unsaid
    """Places and words of what it cannot be told."""


NETPLAN = BackEnd("netplan", netplan.render, _all_said)
IFUPDOWN = BackEnd("ifupdown", ifupdown.render, ifupdown.unsaid)
KEYFILE = BackEnd("networkmanager", keyfile.render, _all_said)
NETWORKD = BackEnd("networkd", networkd.render, networkd.unsaid)
SYSCONFIG = BackEnd("sysconfig", sysconfig.render, sysconfig.unsaid)
BACK_ENDS = {each.name: each for each in (NETPLAN, IFUPDOWN, KEYFILE, NETWORKD, SYSCONFIG)}


def choose(host: Host, wished: str | None) -> BackEnd | None:
    """Return the one *wished* for, else the first that this machine has; None when it has none.

    Who is asked for by others goes before those asked: netplan has one of the daemons do it.
    """
    if wished:
        if wished not in BACK_ENDS:
            raise ConfigError(f"network_back_end: expected one of {', '.join(BACK_ENDS)}")
        return BACK_ENDS[wished]
    return next((back_end for back_end in _there(host)), None)


def _there(host: Host) -> Iterator[BackEnd]:
    if host.which("netplan"):
        yield NETPLAN
    if host.which("ifup") and not host.kind(f"{sysconfig.DIRECTORY}/ifup-eth"):
        yield IFUPDOWN
    daemons = ((KEYFILE, "NetworkManager"), (NETWORKD, "systemd-networkd"))
    for back_end, unit in daemons:
        if host.kind(f"{WANTS}/{unit}.service"):
            yield back_end
    if host.kind(f"{sysconfig.DIRECTORY}/ifup-eth"):
        yield SYSCONFIG
    for back_end, unit in daemons:
        if any(host.kind(f"{units}/{unit}.service") for units in UNITS):
            yield back_end


def ours(host: Host) -> Iterator[str]:
    """Give the paths of all files that a boot of ours has made, for any back end."""
    for path in (netplan.PATH, ifupdown.PATH):
        if host.kind(path):
            yield path
    for directory, prefixes in (
        (networkd.DIRECTORY, (f"{networkd.MADE}-", f"{networkd.FOUND}-")),
        (keyfile.DIRECTORY, (keyfile.PREFIX,)),
    ):
        if host.kind(directory) == "directory":
            for name in host.names(directory):
                if name.startswith(prefixes):
                    yield f"{directory}/{name}"
    if host.kind(sysconfig.DIRECTORY) == "directory":
        for name in host.names(sysconfig.DIRECTORY):
            path = f"{sysconfig.DIRECTORY}/{name}"
            if name.startswith(sysconfig.PREFIXES) and _is_ours(host, path):
                yield path


def _is_ours(host: Host, path: str) -> bool:
    return (host.read(path) or b"").startswith(sysconfig.HEADER.encode())


def has_its_own(host: Host) -> bool:
    """Say whether the image itself configures a network, in any system's words."""
    made = set(ours(host))
    for directory, suffixes in (
        ("/etc/netplan", (".yaml",)),
        (networkd.DIRECTORY, (".network",)),
        (keyfile.DIRECTORY, ("",)),
        ("/etc/network/interfaces.d", ("",)),
        (sysconfig.DIRECTORY, ()),
    ):
        if host.kind(directory, follow=True) != "directory":
            continue
        for name in host.names(directory):
            ifcfg = directory == sysconfig.DIRECTORY and name.startswith("ifcfg-")
            counts = (ifcfg and name != "ifcfg-lo") or name.endswith(suffixes)
            if counts and f"{directory}/{name}" not in made:
                return True
    text = (host.read("/etc/network/interfaces") or b"").decode("utf-8", "replace")
    lines = (line.split() for line in text.splitlines())
    return any(words[:1] == ["iface"] and words[1:2] != ["lo"] for words in lines)
