"""What follows from an instance's configuration when it is not spelled out. Pure.

Every id is made of the ids it belongs to: the same configuration always gives the same ones.
"""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import Any, Final
from uuid import UUID, uuid5

from .hostname import DOMAIN, host_name
from .instance import Instance, Nic

_NAMESPACE: Final = UUID("7b7a4d0e-5d0c-4f5c-9a56-3a5b1f0f8e21")


def derived_id(kind: str, *names: object) -> str:
    """Return an id that is always the same for the same *names*."""
    return str(uuid5(_NAMESPACE, "\0".join((kind, *map(str, names)))))


def derived_names(values: dict[str, Any]) -> dict[str, str]:
    """Return name, host name and project of an instance with these *values*, as far as missing."""
    instance_id = values["id"]
    name = values.get("name", f"ecs-{instance_id[:8]}")
    # A name of nothing but Chinese characters gives no host name; the id always does.
    host = host_name(name) or host_name(f"ecs-{instance_id[:8]}")
    found = {
        "name": name,
        "hostname": host + DOMAIN,
        "project_id": derived_id("project").replace("-", ""),
    }
    return {key: value for key, value in found.items() if key not in values}


def derived_meta(instance: Instance) -> dict[str, str]:
    """Return the metadata that the platform makes of the instance itself."""
    code = "win" if instance.os_type == "Windows" else "linux"
    meta = {
        "metering.cloudServiceType": "hws.service.type.ec2",
        "metering.resourcetype": "1",
        "metering.resourcespeccode": f"{instance.flavor}.{code}",
        "os_bit": "64",
        "os_type": instance.os_type,
    }
    if instance.image is not None:
        meta["image_name"] = instance.image.name
        meta["metering.image_id"] = instance.image.id
        meta["metering.imagetype"] = "gold"
    if instance.vpc_id is not None:
        meta["vpc_id"] = instance.vpc_id
    return meta


def derived_nic(given: dict[str, Any], index: int, instance_id: str, owner: str) -> Nic:
    """Return the nic number *index*; nics of one *owner* and subnet are on one network."""
    nic = dict(given)
    made = UUID(derived_id("nic", instance_id, index))
    # fa is a local address of one machine; forty bits do not meet in any catalog.
    nic.setdefault("mac", "fa:" + made.bytes[:5].hex(":"))
    nic.setdefault("vif_id", str(made))
    nic.setdefault("id", f"tap{nic['vif_id'][:11]}")
    if "network_id" not in nic:
        subnet: object = f"{instance_id} {index}"
        if "ipv4" in nic:
            subnet = IPv4Interface((nic["ipv4"], nic.get("prefix", 24))).network
        nic["network_id"] = derived_id("network", owner, subnet)
    return Nic(**nic)
