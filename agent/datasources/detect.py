"""Which datasource this machine has, by what it says of itself: kernel command line and DMI.

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


class Detected(NamedTuple):
    """The datasource's name, empty when there is none, and what said so."""

    name: str
    reason: str


def detect(host: Host) -> Detected:
    """Return the datasource of *host*; its name may be one that is not built."""
    for word in _text(host, "/proc/cmdline").split():
        for key in KERNEL_KEYS:
            if word.startswith(key):
                name = word[len(key) :].strip("\"'").partition(";")[0].lower()
                # `nocloud-net` is the old spelling of nocloud over http.
                return Detected(name.replace("-net", ""), f"kernel command line {key[:-1]}")
    product = _text(host, f"{DMI}/product_name")
    if product in OPENSTACK_PRODUCTS:
        return Detected("openstack", f"DMI product_name {product!r}")
    chassis = _text(host, f"{DMI}/chassis_asset_tag")
    if chassis in OPENSTACK_CHASSIS:
        return Detected("openstack", f"DMI chassis_asset_tag {chassis!r}")
    if chassis.endswith(".zstack.io"):
        return Detected("ec2", "DMI chassis_asset_tag of ZStack")
    vendor = _text(host, f"{DMI}/sys_vendor")
    if vendor in EC2_VENDORS:
        return Detected("ec2", f"DMI sys_vendor {vendor!r}")
    if _text(host, f"{DMI}/product_serial").endswith(".brightbox.com"):
        return Detected("ec2", "DMI product_serial of Brightbox")
    for place in (f"{DMI}/product_uuid", "/sys/hypervisor/uuid"):
        uuid = _text(host, place).lower()
        # Some firmware gives the first eight digits in the other byte order.
        if uuid.startswith("ec2") or (uuid[4:5] == "2" and uuid[6:8] == "ec"):
            return Detected("ec2", f"{place.rpartition('/')[2]} that begins with ec2")
    # A container of Nova has no DMI of its own, but an environment.
    if not product and "product_name=OpenStack Nova" in _text(host, "/proc/1/environ").split("\0"):
        return Detected("openstack", "environment of process 1")
    return Detected("", "neither configuration, kernel command line nor DMI names one")


def _text(host: Host, path: str) -> str:
    try:
        content = host.read(path)
    except HostError:
        # Some of these only root may read; who plans without being root goes without.
        return ""
    return (content or b"").decode("utf-8", "replace").strip(" \t\r\n\0")
