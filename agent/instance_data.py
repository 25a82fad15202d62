"""What is known of the instance, for templates and `query`: cloud-init's names, the same shape.

The file in /run can be read by all, so it has nothing in it that is secret; user data is not kept.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from .host import Host
from .instance import InstanceData
from .secret import Secret

PATH = "/run/linklocal/instance-data.json"
REDACTED = "redacted for non-root user"
CLOUDS = {"ec2": "aws"}
# A key with one of these words in it may well hold something secret.
_SECRET = (
    *("pass", "secret", "token", "credential", "private", "seed"),
    *("userdata", "user_data", "user-data", "vendordata", "vendor_data", "vendor-data"),
)


def document(host: Host, instance: InstanceData) -> dict[str, Any]:
    """Return all that is known of *instance* but for user and vendor data."""
    v1 = _standard(host, instance)
    return {
        "base64_encoded_keys": [],
        "ds": {"meta_data": _plain(instance.meta_data)},
        "sensitive_keys": [],
        "v1": v1,
    }


def template_values(host: Host, instance: InstanceData) -> dict[str, Any]:
    """Return what templates are filled in with: the document, and the names of v1 at its top."""
    found = document(host, instance)
    return {**found["v1"], **found}


def write(host: Host, instance: InstanceData) -> None:
    """Keep the document, redacted, where everybody may read it."""
    text = json.dumps(redacted(document(host, instance)), separators=(",", ":"))
    host.write(PATH, text.encode() + b"\n", mode=0o644)


def redacted(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return *found* with every value that may be secret replaced; `sensitive_keys` names them."""
    names: list[str] = []
    clean: dict[str, Any] = _redact(found, "", names)
    return {**clean, "sensitive_keys": names}


def _redact(value: Any, path: str, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_redact(item, f"{path}/{number}", names) for number, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    clean = {}
    for key, item in value.items():
        here = f"{path}/{key}".lstrip("/")
        secret = any(word in str(key).lower() for word in _SECRET)
        # A password of digits is a number to YAML and JSON.
        told = item in (None, "", [], {}) or isinstance(item, bool)
        if secret and not told and key != "sensitive_keys":
            names.append(here)
            clean[key] = REDACTED
        else:
            clean[key] = _redact(item, here, names)
    return clean


def _standard(host: Host, instance: InstanceData) -> dict[str, Any]:
    system = os.uname()
    release = _os_release(host)
    cloud = CLOUDS.get(instance.datasource, instance.datasource)
    name = (instance.hostname or "").partition(".")[0]
    distro = release.get("ID", "")
    v1: dict[str, Any] = {
        "cloud_id": cloud,
        "cloud_name": cloud,
        "platform": instance.datasource,
        "subplatform": f"metadata ({instance.datasource})",
        "instance_id": instance.instance_id,
        "local_hostname": name,
        "availability_zone": instance.availability_zone,
        "region": instance.region,
        "launch_index": instance.launch_index,
        "public_ssh_keys": list(instance.public_keys),
        "distro": distro,
        "distro_version": release.get("VERSION_ID", ""),
        "distro_release": release.get("VERSION_CODENAME", ""),
        "variant": distro,
        "machine": system.machine,
        "kernel_release": system.release,
        "system_platform": f"{system.sysname}-{system.release}-{system.machine}",
        "python_version": ".".join(map(str, sys.version_info[:3])),
    }
    for key in ("cloud_name", "instance_id", "local_hostname", "availability_zone"):
        v1[key.replace("_", "-")] = v1[key]
    return v1


def _os_release(host: Host) -> dict[str, str]:
    text = host.read("/etc/os-release") or host.read("/usr/lib/os-release") or b""
    said = {}
    for line in text.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        said[key] = value.strip().strip("\"'")
    return said


def _plain(value: Any) -> Any:
    """Return *value* as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (Secret, bytes)):
        return REDACTED
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
