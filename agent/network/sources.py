"""Who says what the network is to be, the first of them wins.

The kernel's `network-config=`, its `ip=` where an initramfs obeyed it, the image's own `network:`,
the datasource. When none says anything, and the machine has neither an address nor a configuration
of its own, its first NIC asks by DHCP.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..host import Host
from ..instance import InstanceData
from ..report import Report
from .model import Network
from .nics import first, is_addressed
from .resolve import Nic

CMDLINE = "/proc/cmdline"
# Where an initramfs that had a network has left something.
INITRAMFS = ("/run/initramfs", "/run/NetworkManager/initrd")
KLIBC = "net-"
DISABLED = "disabled"
CONFIG = "network-config="
KINDS = ("openstack", "v1", "v2")
"""Each is also the name of the module that reads it."""


OF_DATASOURCE = ("network_data.json", "network-config")
"""Names of documents that the platform serves to every machine, asked for or not."""


class Source(NamedTuple):
    """A document, and who has it."""

    name: str
    """In words, and before every place in it."""
    kind: str
    """One of KINDS, or DISABLED."""
    document: Any


def parse(source: Source, report: Report) -> Network:
    """Return what the document of *source* describes; what cannot be used is in *report*."""
    # One form is read in a boot, and imported.
    network: Network = import_module(f".{source.kind}", __package__).parse(
        source.document, report, source.name
    )
    return network


def of_document(raw: Any, name: str) -> Source:
    """Return the source of a document that says its own version."""
    # All of it may be below one more `network:`, as netplan's own files have it.
    if isinstance(raw, Mapping) and isinstance(raw.get("network"), Mapping):
        raw = raw["network"]
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{name}: expected a mapping with 'version'")
    if raw.get("config") == DISABLED:
        return Source(name, DISABLED, None)
    version = raw.get("version")
    if str(version) not in ("1", "2"):
        raise ConfigError(f"{name}.version: expected 1 or 2, or 'config: disabled'")
    return Source(name, f"v{version}", raw)


def fallback(host: Host, nics: tuple[Nic, ...]) -> Source | None:
    """Return DHCP on the first NIC, when the machine has no address yet."""
    nic = first(nics)
    if nic is None or is_addressed(host):
        return None
    match = {"macaddress": nic.mac} if nic.mac else {"name": nic.name}
    return Source(
        "fallback", "v2", {"version": 2, "ethernets": {nic.name: {"match": match, "dhcp4": True}}}
    )


def _of_kernel(host: Host, base: Mapping[str, Any], instance: InstanceData) -> Source | None:
    line = _line(host)
    if CONFIG not in line:
        return None
    from ..user_data.document import parse_mapping
    from .kernel_line import network_config

    content = network_config(line)
    if content is None:
        return None

    name = "kernel command line network-config="
    document, _ = parse_mapping(content, name)
    return of_document(document, name)


def _of_initramfs(host: Host, base: Mapping[str, Any], instance: InstanceData) -> Source | None:
    line = _line(host)
    if "ip=" not in line and "ip6=" not in line:
        return None
    names = [name for name in host.names("/run") if name.startswith(KLIBC) and ".conf" in name]
    if not names and not any(host.kind(path) for path in INITRAMFS):
        # A container sees the line of its host, and had no initramfs of its own.
        return None
    found = {name: (host.read(f"/run/{name}") or b"").decode("utf-8", "replace") for name in names}
    from .kernel_line import from_initramfs

    document = from_initramfs(line, found)
    return Source("kernel command line ip=", "v1", document) if document else None


def _of_image(host: Host, base: Mapping[str, Any], instance: InstanceData) -> Source | None:
    return None if base.get("network") is None else of_document(base["network"], "network")


def _of_datasource(host: Host, base: Mapping[str, Any], instance: InstanceData) -> Source | None:
    if not instance.network_config:
        return None
    if instance.network_kind == "openstack":
        return Source(OF_DATASOURCE[0], "openstack", instance.network_config)
    return of_document(instance.network_config, OF_DATASOURCE[1])


def _line(host: Host) -> str:
    return (host.read(CMDLINE) or b"").decode("utf-8", "replace")


SAYERS = (_of_kernel, _of_initramfs, _of_image, _of_datasource)
"""Each returns what it says, None for nothing; ConfigError when that is no document."""
