"""The OpenStack tree: its files, the versions that brought them, and what is in them. Pure.

The platform's own fields and files stand beside nova's, in the order of the vendor's guide.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from .huawei import EXTENSIONS
from .instance import Instance
from .login import served_user_data
from .network_data import network_data
from .tree import JSON, SLOT, TEXT, Branch, Directory, Entry, Leaf, Live, Value, build

LATEST: Final = "latest"

FOLSOM: Final = "2012-08-10"
GRIZZLY: Final = "2013-04-04"
HAVANA: Final = "2013-10-17"
LIBERTY: Final = "2015-10-15"
NEWTON: Final = "2016-06-30"
NEWTON_TWO: Final = "2016-10-06"
OCATA: Final = "2017-02-22"
ROCKY: Final = "2018-08-27"
VICTORIA: Final = "2020-10-14"
EPOXY: Final = "2025-04-04"

VERSIONS: Final = (
    FOLSOM,
    GRIZZLY,
    HAVANA,
    LIBERTY,
    NEWTON,
    NEWTON_TWO,
    OCATA,
    ROCKY,
    VICTORIA,
    EPOXY,
)


def meta_data(instance: Instance, version: str) -> Leaf | Live:
    """Who the instance is; from 2013-04-04 each reading has a fresh random_seed."""
    seeded = version >= GRIZZLY
    found: dict[str, Any] = {"random_seed": SLOT} if seeded else {}
    found |= {
        "uuid": instance.id,
        "availability_zone": instance.availability_zone,
        "enterprise_project_id": instance.enterprise_project_id,
        "hostname": instance.hostname,
        "launch_index": instance.launch_index,
        "instance_type": instance.flavor,
    }
    if instance.meta:
        found["meta"] = dict(instance.meta)
    found["region_id"] = instance.region
    if version >= LIBERTY:
        found["project_id"] = instance.project_id
    found["name"] = instance.name
    if instance.files:
        found["files"] = [
            {"path": file.path, "content_path": f"/content/{number:04}"}
            for number, file in enumerate(instance.files)
        ]
    if instance.keys:
        found["public_keys"] = {key.name: key.public_key for key in instance.keys}
        found["keys"] = [
            {"name": key.name, "type": "ssh", "data": key.public_key} for key in instance.keys
        ]
    if version >= NEWTON:
        found["devices"] = [
            device for device in (_device(raw, version) for raw in instance.devices) if device
        ]
    if version >= VICTORIA:
        found["dedicated_cpus"] = []
    body = _dump(found)
    return Live("seeded", JSON, body) if seeded else Leaf(body, JSON)


def _device(raw: Mapping[str, Any], version: str) -> dict[str, Any] | None:
    """Return a device as *version* may show it, None when it had no such kind yet."""
    if raw.get("type") == "share" and version < EPOXY:
        return None
    since = {"vlan": OCATA, "vf_trusted": ROCKY}
    return {key: value for key, value in raw.items() if since.get(key, NEWTON) <= version}


def _user_data(instance: Instance) -> Leaf | None:
    found = served_user_data(instance)
    return None if found is None else Leaf(found.reveal())


def _vendor_data2(instance: Instance) -> Live:
    """What is configured, for the dynamic targets to add to."""
    return Live("vendor", JSON, _dump({"static": instance.vendor_data, **instance.vendor_data2}))


def content(instance: Instance) -> Directory:
    """Return the injected files by the numbers that `content_path` gives them."""
    return Directory(
        {f"{n:04}": Leaf(file.content.reveal()) for n, file in enumerate(instance.files)}
    )


def _document(value: Mapping[str, Any]) -> Leaf:
    return Leaf(_dump(value), JSON)


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, default=_plain).encode()


def _plain(value: object) -> object:
    """Return what json can write for a read-only table of the configuration."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not for JSON: {type(value).__name__}")


def _entry(path: str, since: str, summary: str, value: Callable[[Instance], Value]) -> Entry:
    return Entry(path, since, summary, lambda instance, version: value(instance))


# In the order that nova lists them. nova serves network_data.json at every version but lists it
# from 2015-10-15 only; here what is served is listed.
ENTRIES: Final = (
    Entry("meta_data.json", FOLSOM, "who the instance is, its keys, files and devices", meta_data),
    _entry("user_data", FOLSOM, "user data, decoded", _user_data),
    _entry(
        "password",
        GRIZZLY,
        "mailbox: POST once, at most 1020 bytes; GET gives it back",
        lambda i: Live("password", TEXT),
    ),
    _entry("vendor_data.json", HAVANA, "the vendor's data", lambda i: _document(i.vendor_data)),
    _entry(
        "network_data.json",
        FOLSOM,
        "links, networks, services and bandwidth",
        # nova never says that this one is JSON.
        lambda i: Leaf(_dump(network_data(i)), TEXT),
    ),
    _entry("vendor_data2.json", NEWTON_TWO, "the vendor's data by its source", _vendor_data2),
    *EXTENSIONS,
)

SHAPES: Final[Mapping[str, Branch]] = MappingProxyType(
    {version: build(ENTRIES, version) for version in (*VERSIONS, LATEST)}
)
