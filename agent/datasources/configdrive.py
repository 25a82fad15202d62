"""OpenStack's config drive: the metadata service's documents on a disk labelled config-2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DatasourceError
from ..host import Host
from ..instance import InstanceData
from ..report import Report
from ..secret import Secret
from .base import checked_id
from .openstack import VERSIONS, OpenStack, read_mapping
from .trees import Directory, Tree, find_label, opened

NAME = "configdrive"
LABELS = frozenset({"config-2"})
SEEDS = ("/var/lib/cloud/seed/config_drive", "/config-drive")
EC2 = "ec2/latest"


def fetch(host: Host, report: Report) -> InstanceData | None:
    """Return the instance's data, None when there is no config drive.

    DatasourceError when there is one and it holds nothing that can be used.
    """
    for path in SEEDS:
        if host.kind(path, follow=True) == "directory":
            found = read(Directory(host, path), report)
            if found is not None:
                return found
    disk = find_label(host, LABELS)
    if disk is None:
        return None
    with opened(host, disk.device) as volume:
        found = read(volume, report)
    if found is None:
        raise DatasourceError(
            f"config drive {disk.device}: expected openstack/latest/meta_data.json or "
            f"{EC2}/meta-data.json, there is neither"
        )
    return found


def read(tree: Tree, report: Report) -> InstanceData | None:
    """Return what *tree* says in the layout of OpenStack, else of EC2; None when in neither."""
    there = tree.names("openstack")
    for version in VERSIONS:
        if version in there:
            found = OpenStack(NAME, f"openstack/{version}").fetch(tree, report)
            if found is not None:
                return found
    content = tree.get(f"{EC2}/meta-data.json")
    if content is None:
        return None
    user_data = tree.get(f"{EC2}/user-data") or b""
    return _ec2(read_mapping(content, "ec2 meta-data.json"), user_data, report)


def _ec2(meta_data: Mapping[str, Any], user_data: bytes, report: Report) -> InstanceData:
    where = "ec2 meta-data.json"
    instance_id = _text(meta_data, "instance-id")
    if instance_id is None:
        raise DatasourceError(f"{where}: expected the instance's id as 'instance-id'")
    hostname = _text(meta_data, "local-hostname") or _text(meta_data, "hostname")
    placement = meta_data.get("placement")
    index = meta_data.get("ami-launch-index", 0)
    if type(index) is not int:
        report.refused(f"{where} ami-launch-index", "expected a number")
        index = 0
    return InstanceData(
        datasource=NAME,
        instance_id=checked_id(instance_id, f"{where} instance-id"),
        hostname=hostname,
        public_keys=_public_keys(meta_data.get("public-keys"), report),
        user_data=Secret(user_data),
        availability_zone=(
            _text(placement, "availability-zone") if isinstance(placement, dict) else None
        ),
        local_ipv4=_text(meta_data, "local-ipv4"),
        launch_index=index,
        meta_data=meta_data,
    )


def _text(mapping: Mapping[str, Any], key: str) -> str | None:
    value = mapping.get(key)
    return value.strip() or None if isinstance(value, str) else None


def _public_keys(keys: Any, report: Report) -> tuple[str, ...]:
    """Return one line for each key of the `{"0": {"openssh-key": …}}` that nova writes."""
    found: dict[str, None] = {}
    for number, key in keys.items() if isinstance(keys, dict) else ():
        text = key.get("openssh-key") if isinstance(key, dict) else key
        if not isinstance(text, str):
            report.refused(f"ec2 meta-data.json public-keys {number}", "expected a key as text")
            continue
        found.update((line.strip(), None) for line in text.splitlines() if line.strip())
    return tuple(found)
