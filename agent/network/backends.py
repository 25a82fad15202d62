"""What applies a network on this machine: chosen here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..host import Host
from . import places
from .model import File, Network

UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system")
WANTS = "/etc/systemd/system/multi-user.target.wants"


class BackEnd(NamedTuple):
    """One of the systems."""

    name: str
    module: str
    """What writes its files; imported when it is chosen."""

    def render(self, network: Network) -> tuple[File, ...]:
        """Return the files that it is given."""
        files: tuple[File, ...] = self._module().render(network)
        return files

    def unsaid(self, network: Network) -> tuple[tuple[str, str], ...]:
        """Return places and words of what it cannot be told."""
        unsaid = getattr(self._module(), "unsaid", None)
        return tuple(unsaid(network)) if unsaid else ()

    def _module(self) -> Any:
        return import_module(f".{self.module}", __package__)


NETPLAN = BackEnd("netplan", "netplan")
IFUPDOWN = BackEnd("ifupdown", "ifupdown")
KEYFILE = BackEnd("networkmanager", "keyfile")
NETWORKD = BackEnd("networkd", "networkd")
SYSCONFIG = BackEnd("sysconfig", "sysconfig")
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
    if host.which("ifup") and not host.kind(f"{places.SYSCONFIG}/ifup-eth"):
        yield IFUPDOWN
    daemons = ((KEYFILE, "NetworkManager"), (NETWORKD, "systemd-networkd"))
    for back_end, unit in daemons:
        if host.kind(f"{WANTS}/{unit}.service"):
            yield back_end
    if host.kind(f"{places.SYSCONFIG}/ifup-eth"):
        yield SYSCONFIG
    for back_end, unit in daemons:
        if any(host.kind(f"{units}/{unit}.service") for units in UNITS):
            yield back_end


def ours(host: Host) -> Iterator[str]:
    """Give the paths of all files that a boot of ours has made, for any back end."""
    for path in (places.NETPLAN, places.INTERFACES):
        if host.kind(path):
            yield path
    for directory, prefixes in (
        (places.NETWORKD, (f"{places.MADE}-", f"{places.FOUND}-")),
        (places.KEYFILES, (places.PROFILE,)),
    ):
        if host.kind(directory) == "directory":
            for name in host.names(directory):
                if name.startswith(prefixes):
                    yield f"{directory}/{name}"
    if host.kind(places.SYSCONFIG) == "directory":
        for name in host.names(places.SYSCONFIG):
            path = f"{places.SYSCONFIG}/{name}"
            if name.startswith(places.IFCFG) and _is_ours(host, path):
                yield path


def _is_ours(host: Host, path: str) -> bool:
    return (host.read(path) or b"").startswith(places.HEADER.encode())


def has_its_own(host: Host, theirs: Sequence[str] = ()) -> bool:
    """Say whether the image itself configures a network, in any system's words.

    *theirs* are of an agent before us, and not the image's.
    """
    made = {*ours(host), *theirs}
    for directory, suffixes in (
        ("/etc/netplan", (".yaml",)),
        (places.NETWORKD, (".network",)),
        (places.KEYFILES, ("",)),
        ("/etc/network/interfaces.d", ("",)),
        (places.SYSCONFIG, ()),
    ):
        if host.kind(directory, follow=True) != "directory":
            continue
        for name in host.names(directory):
            ifcfg = directory == places.SYSCONFIG and name.startswith("ifcfg-")
            counts = (ifcfg and name != "ifcfg-lo") or name.endswith(suffixes)
            if counts and f"{directory}/{name}" not in made:
                return True
    text = (host.read("/etc/network/interfaces") or b"").decode("utf-8", "replace")
    lines = (line.split() for line in text.splitlines())
    return any(words[:1] == ["iface"] and words[1:2] != ["lo"] for words in lines)
