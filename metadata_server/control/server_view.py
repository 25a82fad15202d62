"""Instances as nova and the platform show a server: one form that serves both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from aiohttp import web

from ..instance import Instance, Nic
from .servers import shown_meta


def server_view(instance: Instance, times: tuple[float, float], base: str) -> dict[str, Any]:
    """Return all that is told of a server; *base* is the URL that ends before `/servers`."""
    created, updated = map(moment, times)
    view = {
        **short_view(instance, base),
        "status": "ACTIVE",
        "tenant_id": instance.project_id,
        "user_id": instance.project_id,
        "enterprise_project_id": instance.enterprise_project_id,
        "created": created,
        "updated": updated,
        "launched_at": created,
        "hostId": hashlib.sha224(instance.id.encode()).hexdigest(),
        "host_status": "UP",
        "metadata": shown_meta(instance),
        "description": None,
        "tags": [f"{key}.{value}" for key, value in sorted(instance.tags.items())],
        "sys_tags": [],
        "image": {"id": instance.image.id} if instance.image else "",
        "flavor": {
            "id": instance.flavor,
            "name": instance.flavor,
            "original_name": instance.flavor,
            "links": [{"rel": "bookmark", "href": f"{base}/flavors/{instance.flavor}"}],
        },
        "addresses": _addresses(instance),
        "security_groups": [{"name": name} for name in instance.security_groups],
        "key_name": instance.keys[0].name if instance.keys else None,
        "locked": False,
        "auto_terminate_time": instance.auto_terminate_time or "",
        "config_drive": "",
        "progress": 100,
        "accessIPv4": next((str(n.public_ipv4) for n in instance.nics if n.public_ipv4), ""),
        "accessIPv6": next((str(n.ipv6) for n in instance.nics if n.ipv6), ""),
        "availability_zone": instance.availability_zone,
        "vm_state": "active",
        "task_state": None,
        "power_state": 1,
        "root_device_name": instance.block_devices.get("root"),
        "in_recycle_bin": False,
        "volumes_attached": [],
        "os-extended-volumes:volumes_attached": [],
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": instance.availability_zone,
        "OS-EXT-STS:vm_state": "active",
        "OS-EXT-STS:task_state": None,
        "OS-EXT-STS:power_state": 1,
        "OS-EXT-SRV-ATTR:hostname": instance.hostname.partition(".")[0],
        "OS-EXT-SRV-ATTR:instance_name": instance.name,
        "OS-EXT-SRV-ATTR:launch_index": instance.launch_index,
        "OS-SRV-USG:launched_at": created,
        "OS-SRV-USG:terminated_at": None,
    }
    if instance.spot is not None:
        view["market_info"] = {
            "market_type": "spot",
            "spot_options": {"spot_price": instance.spot.price},
        }
    return view


def short_view(instance: Instance, base: str) -> dict[str, Any]:
    """Return what a list without details says of a server."""
    return {
        "id": instance.id,
        "name": instance.name,
        "links": [{"rel": "self", "href": f"{base}/servers/{instance.id}"}],
    }


def page(
    request: web.Request, found: Sequence[Instance], limit: int
) -> tuple[Sequence[Instance], str | None]:
    """Return the instances after the query's marker, *limit* of them, and the next marker."""
    marker = request.query.get("marker")
    if marker:
        ids = [each.id for each in found]
        found = found[ids.index(marker) + 1 :] if marker in ids else ()
    more = len(found) > limit
    return found[:limit], found[limit - 1].id if more and limit else None


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _addresses(instance: Instance) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for index, nic in enumerate(instance.nics):
        network = found.setdefault(instance.vpc_id or nic.network_id, [])
        for address, kind in (
            (nic.ipv4, "fixed"),
            (nic.ipv6, "fixed"),
            (nic.public_ipv4, "floating"),
        ):
            if address is not None:
                network.append(_address(nic, str(address), address.version, kind, index == 0))
    return found


def _address(nic: Nic, address: str, version: int, kind: str, primary: bool) -> dict[str, Any]:
    return {
        "version": version,
        "addr": address,
        "primary": primary,
        "OS-EXT-IPS:type": kind,
        "OS-EXT-IPS-MAC:mac_addr": nic.mac,
        "OS-EXT-IPS:port_id": nic.vif_id,
    }
