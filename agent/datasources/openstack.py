"""OpenStack's metadata, also as Huawei Cloud and Open Telekom Cloud serve it: five documents."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import DatasourceError
from ..instance import InjectedFile, InstanceData
from ..report import Report
from ..secret import Secret
from .base import EC2_TOKENS, HUAWEI_TOKENS, Reader, Session, checked_id
from .client import Client

# On a disk the newest is looked for: some have dated versions alone.
VERSIONS = (
    "latest",
    "2025-04-04",
    "2020-10-14",
    "2018-08-27",
    "2017-02-22",
    "2016-10-06",
    "2016-06-30",
    "2015-10-15",
    "2013-10-17",
    "2013-04-04",
    "2012-08-10",
)
MOST_FILES = 64
_CONTENT = re.compile(r"/content/[A-Za-z0-9_-]{1,64}")


class OpenStack:
    """Versions are not probed: `latest` has carried these documents since 2016."""

    urls = ("http://169.254.169.254",)

    def __init__(self, name: str = "openstack", tree: str = "openstack/latest") -> None:
        self.name = name
        self._tree = tree

    def open(self, client: Client) -> Session:
        """Return the reader of *client*'s tree; a token is asked for when one is demanded."""
        return Session(client, (HUAWEI_TOKENS, EC2_TOKENS), eager=False)

    def fetch(self, reader: Reader, report: Report) -> InstanceData | None:
        """Return the instance's data, or None where there is no meta_data.json."""
        meta_data = reader.get(f"{self._tree}/meta_data.json")
        if meta_data is None:
            return None
        if meta_data.lstrip()[:1] == b"<":
            raise DatasourceError(
                "meta_data.json: is not a metadata service: expected JSON, got a page of HTML"
            )
        tree = self._tree
        said = read_mapping(meta_data, "meta_data.json")
        found = parse(
            said,
            user_data=reader.get(f"{tree}/user_data") or b"",
            vendor_data=optional(reader, tree, "vendor_data.json", report),
            vendor_data2=optional(reader, tree, "vendor_data2.json", report),
            network_data=optional(reader, tree, "network_data.json", report),
            report=report,
        )
        return found._replace(datasource=self.name, files=tuple(files(reader, said, report)))


def files(reader: Reader, meta_data: Mapping[str, Any], report: Report) -> Iterator[InjectedFile]:
    """Yield the files that whoever made the instance injects; a bad one is left out and named."""
    listed = meta_data.get("files") or []
    if not isinstance(listed, list) or len(listed) > MOST_FILES:
        report.refused("meta_data.json files", f"expected a list of at most {MOST_FILES} files")
        return
    for number, item in enumerate(listed):
        place = f"meta_data.json files[{number}]"
        path = item.get("path") if isinstance(item, dict) else None
        content_path = item.get("content_path") if isinstance(item, dict) else None
        if not (isinstance(path, str) and path.startswith("/")):
            report.refused(place, "expected an absolute path")
        elif not isinstance(content_path, str) or not _CONTENT.fullmatch(content_path):
            report.refused(place, "expected a content_path such as '/content/0000'")
        else:
            try:
                content = reader.get(f"openstack{content_path}")
            except DatasourceError as error:
                report.failed(place, str(error))
                continue
            if content is None:
                report.failed(place, "listed, but not served")
            else:
                yield InjectedFile(path, Secret(content))


def optional(reader: Reader, tree: str, name: str, report: Report) -> Mapping[str, Any]:
    """Return a document that a boot can do without; what is wrong with it is in *report*."""
    try:
        content = reader.get(f"{tree}/{name}")
        return read_mapping(content, name) if content and content.strip() else {}
    except DatasourceError as error:
        report.failed(name, str(error))
        return {}


def read_mapping(content: bytes, name: str) -> Mapping[str, Any]:
    """Return the JSON object in *content*; the error says where it is broken and quotes nothing."""
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise DatasourceError(f"{name}: not JSON at {where}: {error.msg.lower()}") from None
    except (ValueError, RecursionError):
        raise DatasourceError(f"{name}: not JSON that can be read") from None
    if not isinstance(document, dict):
        raise DatasourceError(f"{name}: expected a JSON object, got {type(document).__name__}")
    return document


def parse(
    meta_data: Mapping[str, Any],
    *,
    user_data: bytes,
    vendor_data: Mapping[str, Any],
    vendor_data2: Mapping[str, Any],
    network_data: Mapping[str, Any],
    report: Report,
) -> InstanceData:
    """Return what the documents say; only `uuid` is indispensable."""
    instance_id = meta_data.get("uuid")
    if not isinstance(instance_id, str) or not instance_id.strip():
        raise DatasourceError("meta_data.json: expected the instance's id as 'uuid'")
    return InstanceData(
        datasource="openstack",
        instance_id=checked_id(instance_id.strip(), "meta_data.json uuid"),
        hostname=text(meta_data, "hostname", report) or text(meta_data, "name", report),
        public_keys=public_keys(meta_data, report),
        user_data=Secret(user_data),
        vendor_data=vendor_share(vendor_data, "vendor_data.json", report),
        vendor_data2=vendor_share(vendor_data2, "vendor_data2.json", report),
        availability_zone=text(meta_data, "availability_zone", report),
        region=text(meta_data, "region_id", report),
        local_ipv4=local_ipv4(network_data),
        launch_index=launch_index(meta_data, report),
        network_config=network_data or None,
        network_kind="openstack" if network_data else "",
        random_seed=random_seed(meta_data, report),
        meta_data=meta_data,
    )


def text(meta_data: Mapping[str, Any], key: str, report: Report) -> str | None:
    value = meta_data.get(key)
    if value is None or isinstance(value, str):
        return value or None
    report.refused(f"meta_data.json {key}", f"expected text, got {type(value).__name__}")
    return None


def launch_index(meta_data: Mapping[str, Any], report: Report) -> int:
    value = meta_data.get("launch_index", 0)
    if type(value) is int:
        return value
    report.refused("meta_data.json launch_index", "expected a number")
    return 0


def public_keys(meta_data: Mapping[str, Any], report: Report) -> tuple[str, ...]:
    """Return one line for each key, from `public_keys` and from the ssh ones of `keys`."""
    found: dict[str, None] = {}
    named = meta_data.get("public_keys") or {}
    listed = meta_data.get("keys") or []
    values = list(named.values()) if isinstance(named, dict) else [named]
    for item in listed if isinstance(listed, list) else [listed]:
        if not isinstance(item, dict):
            values.append(item)
        elif item.get("type") == "ssh":
            values.append(item.get("data"))
    for value in values:
        if not isinstance(value, str):
            report.refused("meta_data.json public_keys", "expected a key as text")
            continue
        found.update((line.strip(), None) for line in value.splitlines() if line.strip())
    return tuple(found)


def random_seed(meta_data: Mapping[str, Any], report: Report) -> Secret | None:
    value = meta_data.get("random_seed")
    if value is None:
        return None
    try:
        return Secret(base64.b64decode(value, validate=True))
    except (ValueError, TypeError):
        report.refused("meta_data.json random_seed", "expected base64")
        return None


def local_ipv4(network_data: Mapping[str, Any]) -> str | None:
    """Return the first address of the first link, as far as network_data.json says it."""
    for section, key in (("links", "local_ipv4"), ("networks", "ip_address")):
        rows = network_data.get(section)
        for row in rows if isinstance(rows, list) else ():
            value = row.get(key) if isinstance(row, dict) else None
            if isinstance(value, str) and value.count(".") == 3:
                return value
    return None


def vendor_share(document: Mapping[str, Any], name: str, report: Report) -> Secret | None:
    """Return the share meant for guests: user data of any format, below the key `cloud-init`."""
    # The `static` of vendor_data2 is vendor_data once more, and would be done twice.
    share: Any = document.get("cloud-init")
    if share is None or share == "" or share == []:
        return None
    if isinstance(share, str):
        return Secret(share.encode())
    if isinstance(share, list):
        # JSON is YAML, so several documents are an archive of user data as they stand.
        return Secret(b"#cloud-config-archive\n" + json.dumps(share).encode())
    report.refused(f"{name} cloud-init", "expected text or a list")
    return None
