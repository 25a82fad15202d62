"""What operators see: instances, requests and enrolments as JSON, without any secret.

Field names are those of the configuration. User data, vendor data and injected files are shown by
their size, extra paths by name, hashes not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from ..instance import Instance, Nic
from ..overlay import Change
from ..reset.requests import Guest, ResetRequest

_WORDS = {"patch": "patched", "whole": "replaced", "gone": "removed"}


def summary(instance: Instance, guest: Guest) -> dict[str, Any]:
    """Return what a list says of *instance*."""
    own = [address for nic in instance.nics for address in (nic.ipv4, nic.ipv6) if address]
    # Also those it is known by, which are not always its own.
    addresses = list(dict.fromkeys(map(str, [*own, *instance.identify.addresses])))
    return {
        "id": instance.id,
        "name": instance.name,
        "hostname": instance.hostname,
        "project_id": instance.project_id,
        "os_type": instance.os_type,
        "flavor": instance.flavor,
        "addresses": addresses,
        "tags": dict(instance.tags),
        "reset": {"enrolment": _enrolment(guest)},
    }


def instance_view(
    instance: Instance,
    guest: Guest,
    *,
    revision: int,
    password_posted: bool,
    change: Change | None,
    is_configured: bool,
) -> dict[str, Any]:
    """Return all that may be told of *instance*."""
    image, qos, identify = instance.image, instance.qos, instance.identify
    return {
        "id": instance.id,
        "name": instance.name,
        "hostname": instance.hostname,
        "revision": revision,
        "changed_by_api": _changed(change, is_configured=is_configured),
        "project_id": instance.project_id,
        "enterprise_project_id": instance.enterprise_project_id,
        "region": instance.region,
        "availability_zone": instance.availability_zone,
        "flavor": instance.flavor,
        "image": asdict(image) if image else None,
        "vpc_id": instance.vpc_id,
        "os_type": instance.os_type,
        "launch_index": instance.launch_index,
        "login_mode": instance.login_mode,
        "auto_terminate_time": instance.auto_terminate_time,
        "meta": dict(instance.meta),
        "tags": dict(instance.tags),
        "keys": [asdict(key) for key in instance.keys],
        "security_groups": list(instance.security_groups),
        "nics": [_nic(nic) for nic in instance.nics],
        "dns": list(map(str, instance.dns)),
        "qos": asdict(qos) if qos else None,
        "agency": {"name": instance.agency.name} if instance.agency else None,
        "user_data": {"size": len(instance.user_data)} if instance.user_data else None,
        "vendor_data": _sized(instance.vendor_data),
        "vendor_data2": _sized(instance.vendor_data2),
        "files": [{"path": file.path, "size": len(file.content)} for file in instance.files],
        "extra": sorted(instance.extra),
        "ec2_ids": dict(instance.ec2_ids),
        "block_devices": dict(instance.block_devices),
        "metadata_options": options_view(instance),
        "identify": {
            "addresses": list(map(str, identify.addresses)),
            "interface": identify.interface,
            "default": identify.default,
        },
        "reset_password": asdict(instance.reset_password),
        "password_posted": password_posted,
        "reset": enrolment_view(guest),
    }


def options_view(instance: Instance) -> dict[str, Any]:
    """Return how the metadata of *instance* is served."""
    return asdict(instance.metadata_options)


def overlay_view(change: Change) -> dict[str, Any]:
    """Return what was changed by API, with all that is in it."""
    return {
        "kind": change.kind,
        "document": dict(change.document),
        "created": change.created,
        "changed": change.changed,
    }


def enrolment_view(guest: Guest) -> dict[str, Any]:
    """Return what is known of the guest's reset daemon."""
    if guest is None or guest == "legacy":
        return {"enrolment": _enrolment(guest)}
    return {
        "enrolment": _enrolment(guest),
        "identity": guest.identity,
        "candidate": guest.candidate,
        "schemes": list(guest.schemes),
        "first": time(guest.first),
        "last": time(guest.last),
    }


def request_view(request: ResetRequest, guest: Guest) -> dict[str, Any]:
    """Return what became of a password reset."""
    return {
        "id": request.id,
        "instance": request.instance,
        "user": request.user,
        "state": request.state,
        "code": request.code or None,
        "scheme": request.scheme,
        "apply": request.apply,
        "unlock": request.unlock,
        "expire": request.expire,
        "restart": request.restart,
        "created": time(request.asked),
        "expires": time(request.expires),
        "delivered": time(request.delivered),
        "finished": time(request.finished),
        "identity": request.identity,
        "enrolment": _enrolment(guest),
    }


def _enrolment(guest: Guest) -> str:
    """Say in a word whose daemon there is; a conflict is another identity to be accepted."""
    if guest is None:
        return "never"
    if guest == "legacy":
        return guest
    return "conflict" if guest.candidate else "enrolled"


def time(seconds: float | None) -> str | None:
    """Return a moment, in seconds since 1970, as ISO 8601 in UTC."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _nic(nic: Nic) -> dict[str, Any]:
    return {
        "id": nic.id,
        "vif_id": nic.vif_id,
        "network_id": nic.network_id,
        "type": nic.type,
        "mac": nic.mac,
        "ipv4": _text(nic.ipv4),
        "prefix": nic.prefix,
        "gateway": _text(nic.gateway),
        "public_ipv4": _text(nic.public_ipv4),
        "ipv6": _text(nic.ipv6),
        "ipv6_prefix": nic.ipv6_prefix,
        "gateway6": _text(nic.gateway6),
        "dhcp": nic.dhcp,
        "mtu": nic.mtu,
        "routes": [asdict(route) for route in nic.routes],
        "addresses": list(nic.addresses),
    }


def _changed(change: Change | None, *, is_configured: bool) -> str | None:
    if change is None:
        return None
    return _WORDS[change.kind] if is_configured else "created"


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _sized(document: Mapping[str, Any]) -> dict[str, int] | None:
    return {"size": len(json.dumps(dict(document), default=dict))} if document else None
