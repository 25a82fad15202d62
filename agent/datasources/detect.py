"""Which datasource this machine has, by what it says of itself: kernel line, disks, firmware.

Nothing here opens a socket. An unknown machine has none, and is told so in words.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import HostError
from ..host import Host

KERNEL_KEYS = ("linklocal.datasource=", "ci.datasource=", "ci.ds=", "ds=")
DMI = "/sys/class/dmi/id"

OPENSTACK_PRODUCTS = frozenset({"OpenStack Nova", "OpenStack Compute"})
OPENSTACK_CHASSIS = OPENSTACK_PRODUCTS | frozenset(
    {"HUAWEICLOUD", "OpenTelekomCloud", "SAP CCloud VM", "Samsung Cloud Platform"}
)
EC2_VENDORS = frozenset({"Amazon EC2", "3DS Outscale", "e24cloud"})
EC2_SERIALS = (".brightbox.com",)
EC2_ASSETS = (".zstack.io",)
# Where a disk or a directory says it, before the firmware is asked: a platform that attaches a
# config drive may well say `OpenStack Nova`, too.
SEEDS = (
    ("nocloud", "/var/lib/cloud/seed/nocloud"),
    ("nocloud", "/var/lib/cloud/seed/nocloud-net"),
    ("configdrive", "/var/lib/cloud/seed/config_drive"),
    ("configdrive", "/config-drive"),
)
LABELS = {"cidata": "nocloud", "config-2": "configdrive"}


class Detected(NamedTuple):
    """The datasource's name, empty when there is none, and what said so."""

    name: str
    reason: str


def detect(host: Host) -> Detected:
    """Return the datasource of *host*; its name may be one that is not built."""
    return (
        _by_kernel(host)
        or _by_serial(host)
        or _by_seed(host)
        or _by_label(host)
        or _by_firmware(host)
        or Detected(
            "", "neither configuration, kernel command line, seed, disk label nor DMI names one"
        )
    )


def detect_service(host: Host) -> Detected:
    """Return which service there is on the network, also beside a seed or a config drive."""
    return (
        _by_kernel(host)
        or _by_firmware(host)
        or Detected("", "neither configuration, kernel command line nor DMI names one")
    )


def words_of_kernel(host: Host) -> tuple[str, ...]:
    """Return the words of the kernel's command line, in a container those of its process 1.

    There the kernel's are the host's, and not meant for it.
    """
    if in_container(host):
        return tuple(_text(host, "/proc/1/cmdline").split("\0"))
    return tuple(_text(host, "/proc/cmdline").split())


def in_container(host: Host) -> bool:
    """Say whether process 1 has been told that it is in a container."""
    return any(word.startswith("container=") for word in _environment(host))


def dmi(host: Host, name: str) -> str:
    """Return what the firmware says of *name*, empty when it says nothing.

    A container sees the firmware of its host, which is not about it.
    """
    if "/" in name or in_container(host):
        return ""
    return _text(host, f"{DMI}/{name}")


def has_uuid(host: Host, instance_id: str) -> bool:
    """Say whether the firmware has *instance_id* as the machine's UUID, in either byte order."""
    uuid = dmi(host, "product_uuid").lower()
    return bool(uuid) and instance_id.lower() in (uuid, _swapped(uuid))


def _swapped(uuid: str) -> str:
    """Return *uuid* with its first three numbers in the byte order of old firmware."""
    pieces = uuid.split("-")
    if [len(piece) for piece in pieces] != [8, 4, 4, 4, 12]:
        return uuid
    return "-".join([*map(_turned, pieces[:3]), *pieces[3:]])


def _turned(number: str) -> str:
    return "".join(number[at : at + 2] for at in range(len(number) - 2, -1, -2))


def _by_kernel(host: Host) -> Detected | None:
    for word in words_of_kernel(host):
        for key in KERNEL_KEYS:
            if word.startswith(key):
                name = word[len(key) :].strip("\"'").partition(";")[0].lower()
                # `nocloud-net` is the old spelling of nocloud over http.
                return Detected(name.replace("-net", ""), f"kernel command line {key[:-1]}")
    return None


def _by_serial(host: Host) -> Detected | None:
    serial = dmi(host, "product_serial").partition(";")[0]
    if serial in ("ds=nocloud", "ds=nocloud-net"):
        return Detected("nocloud", "DMI product_serial that begins with ds=nocloud")
    return None


def _by_seed(host: Host) -> Detected | None:
    for name, path in SEEDS:
        if host.kind(path, follow=True) == "directory" and host.names(path):
            return Detected(name, f"seed directory {path}")
    return None


def _by_label(host: Host) -> Detected | None:
    from .trees import find_label

    for label, name in LABELS.items():
        found = find_label(host, frozenset({label}))
        if found is not None:
            return Detected(name, f"disk {found.device} with the label {found.label!r}")
    return None


def _by_firmware(host: Host) -> Detected | None:
    product = dmi(host, "product_name")
    if product in OPENSTACK_PRODUCTS:
        return Detected("openstack", f"DMI product_name {product!r}")
    chassis = dmi(host, "chassis_asset_tag")
    if chassis in OPENSTACK_CHASSIS:
        return Detected("openstack", f"DMI chassis_asset_tag {chassis!r}")
    if chassis.endswith(EC2_ASSETS):
        return Detected("ec2", "DMI chassis_asset_tag of ZStack")
    vendor = dmi(host, "sys_vendor")
    if vendor in EC2_VENDORS:
        return Detected("ec2", f"DMI sys_vendor {vendor!r}")
    if dmi(host, "product_serial").endswith(EC2_SERIALS):
        return Detected("ec2", "DMI product_serial of Brightbox")
    for place, uuid in (
        ("product_uuid", dmi(host, "product_uuid")),
        ("uuid", "" if in_container(host) else _text(host, "/sys/hypervisor/uuid")),
    ):
        uuid = uuid.lower()
        # Some firmware gives the first eight digits in the other byte order.
        if uuid.startswith("ec2") or (uuid[4:5] == "2" and uuid[6:8] == "ec"):
            return Detected("ec2", f"{place} that begins with ec2")
    # A container of Nova has no DMI of its own, but an environment.
    if not product and "product_name=OpenStack Nova" in _environment(host):
        return Detected("openstack", "environment of process 1")
    return None


def _environment(host: Host) -> list[str]:
    return _text(host, "/proc/1/environ").split("\0")


def _text(host: Host, path: str) -> str:
    try:
        content = host.read(path)
    except HostError:
        # Some of these only root may read; who plans without being root goes without.
        return ""
    return (content or b"").decode("utf-8", "replace").strip(" \t\r\n\0")
