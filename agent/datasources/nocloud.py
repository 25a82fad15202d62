"""NoCloud: documents in a seed directory, on a disk labelled cidata, or at a URL that is named.

The kernel's command line or the SMBIOS serial number may say where, in one word such as
`ds=nocloud;s=http://10.0.2.2/;h=name;i=id`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError, DatasourceError
from ..host import Host
from ..instance import InstanceData
from ..report import Report
from ..secret import Secret
from .base import Reader, checked_id
from .client import Client, Patience, read_address
from .detect import dmi, words_of_kernel
from .trees import Directory, find_label, opened

NAME = "nocloud"
LABELS = frozenset({"cidata"})
SEEDS = ("/var/lib/cloud/seed/nocloud", "/var/lib/cloud/seed/nocloud-net")
KEYS = {"s": "seedfrom", "h": "local-hostname", "i": "instance-id"}
LARGEST = 16 * 1024 * 1024
# As dmidecode calls them, and what the kernel does.
DMI_WORDS = {
    "system-serial-number": "product_serial",
    "system-uuid": "product_uuid",
    "system-product-name": "product_name",
    "system-manufacturer": "sys_vendor",
    "system-version": "product_version",
    "baseboard-serial-number": "board_serial",
    "baseboard-asset-tag": "board_asset_tag",
    "baseboard-product-name": "board_name",
    "chassis-serial-number": "chassis_serial",
    "chassis-asset-tag": "chassis_asset_tag",
}
_DMI = re.compile(r"__dmi\.([a-z-]+)__")


class Documents(NamedTuple):
    """The files of a seed as they are; None for one that is not there."""

    meta_data: bytes | None
    user_data: bytes | None
    vendor_data: bytes | None
    network_config: bytes | None


def fetch(host: Host, report: Report, seed: str | None, patience: Patience) -> InstanceData | None:
    """Return the instance's data, None when there is no seed.

    *seed* is a directory or URL that configuration or command line name. DatasourceError when a
    place is named and has no usable documents.
    """
    line = said(host)
    where = seed or line.get("seedfrom")
    documents = read_seed(host, where, patience) if where else _found(host)
    if documents is None:
        # Host name and id alone are enough of a seed for whoever wrote them.
        if not line:
            return None
        documents = Documents(None, None, None, None)
    meta_data = _mapping(documents.meta_data, "meta-data", report)
    beyond = meta_data.get("seedfrom")
    if isinstance(beyond, str) and not where:
        more = read_seed(host, beyond, patience)
        meta_data = {**_mapping(more.meta_data, "meta-data", report), **meta_data}
        documents = Documents(
            None, *(new if new is not None else old for new, old in zip(more[1:], documents[1:]))
        )
    return parse({**meta_data, **line}, documents, report)


def said(host: Host) -> dict[str, str]:
    """Return what the SMBIOS serial number and the kernel's command line say, the latter above."""
    found: dict[str, str] = {}
    for word in (dmi(host, "product_serial"), *words_of_kernel(host)):
        name, _, rest = word.partition(";")
        if name not in ("ds=nocloud", "ds=nocloud-net"):
            continue
        for pair in rest.split(";"):
            key, sign, value = pair.partition("=")
            if sign:
                found[KEYS.get(key, key)] = value
    return found


def _found(host: Host) -> Documents | None:
    for path in SEEDS:
        documents = read_directory(host, path)
        if documents is not None:
            return documents
    disk = find_label(host, LABELS)
    if disk is None:
        return None
    with opened(host, disk.device) as volume:
        documents = _read(volume)
    if documents is None:
        raise DatasourceError(
            f"disk {disk.device}: expected meta-data and user-data, there is neither"
        )
    return documents


def read_directory(host: Host, path: str) -> Documents | None:
    """Return the documents in the directory, None when there are none."""
    return _read(Directory(host, path))


def read_seed(host: Host, where: str, patience: Patience) -> Documents:
    """Return the documents at *where*, a directory or URL; DatasourceError when there are none."""
    place = _DMI.sub(lambda found: dmi(host, DMI_WORDS.get(found[1], found[1])), where)
    scheme, sign, rest = place.partition("://")
    if not sign or scheme == "file":
        path = rest if sign else place
        if not path.startswith("/"):
            raise ConfigError(f"nocloud seed {where!r}: expected a directory or a URL of http")
        documents = read_directory(host, path)
    elif scheme in ("http", "https"):
        documents = _read_url(place, patience)
    else:
        raise ConfigError(f"nocloud seed {where!r}: expected a directory or a URL of http")
    if documents is None:
        raise DatasourceError(f"nocloud seed {place}: expected meta-data, there is none")
    return documents


def _read_url(url: str, patience: Patience) -> Documents | None:
    try:
        read_address(url)
    except ConfigError:
        # A name, or https: whoever names it wants ordinary HTTP.
        return _read(_Web(url, patience))
    client = Client(url, **patience._asdict())
    try:
        return _read(client)
    finally:
        client.close()


class _Web:
    """Documents below a URL that is no literal address, by ordinary HTTP."""

    def __init__(self, url: str, patience: Patience) -> None:
        from ..user_data.fetch import Fetcher
        from ..user_data.fetch import Patience as Longer

        self._url = url if url.endswith("/") else f"{url}/"
        timing = Longer(patience.timeout, patience.deadline, patience.pause)
        self._fetcher = Fetcher(patience=timing)

    def get(self, path: str) -> bytes | None:
        """Return the document at *path*, or None when there is none (404)."""
        from ..user_data.parts import Refused

        try:
            return self._fetcher.request(self._url + path, limit=LARGEST)
        except Refused as error:
            if str(error).endswith(": status 404"):
                return None
            raise DatasourceError(str(error)) from error


def _read(reader: Reader) -> Documents | None:
    """Return what *reader* has, None when it has neither of the two that make a seed."""
    meta_data, user_data = reader.get("meta-data"), reader.get("user-data")
    if meta_data is None and user_data is None:
        return None
    return Documents(meta_data, user_data, reader.get("vendor-data"), reader.get("network-config"))


def _mapping(content: bytes | None, name: str, report: Report) -> Mapping[str, Any]:
    """Return the YAML mapping in *content*, an empty one when there is none."""
    if not content or not content.strip():
        return {}
    from ..user_data.document import parse_mapping

    try:
        mapping, odd = parse_mapping(content, name)
    except ConfigError as error:
        raise DatasourceError(str(error)) from error
    for words in odd:
        report.warning(name, words)
    return mapping


def parse(meta_data: Mapping[str, Any], documents: Documents, report: Report) -> InstanceData:
    """Return what *documents* say, with *meta_data* read of them; without an id it is `nocloud`."""
    instance_id = meta_data.get("instance-id", NAME)
    if not isinstance(instance_id, (str, int)) or not str(instance_id).strip():
        raise DatasourceError("meta-data: expected the instance's id as 'instance-id'")
    hostname = meta_data.get("local-hostname") or meta_data.get("hostname")
    if hostname is not None and not isinstance(hostname, str):
        report.refused("meta-data local-hostname", "expected text")
        hostname = None
    network, kind = _network(documents.network_config, report)
    vendor_data = documents.vendor_data
    return InstanceData(
        datasource=NAME,
        instance_id=checked_id(str(instance_id).strip(), "meta-data instance-id"),
        hostname=hostname,
        public_keys=public_keys(meta_data.get("public-keys"), report),
        user_data=Secret(documents.user_data or b""),
        vendor_data=Secret(vendor_data) if vendor_data and vendor_data.strip() else None,
        network_config=network,
        network_kind=kind,
        meta_data=meta_data,
    )


def _network(content: bytes | None, report: Report) -> tuple[Mapping[str, Any] | None, str]:
    """Return network-config without the `network:` that may be around it, and its kind."""
    try:
        config = _mapping(content, "network-config", report)
    except DatasourceError as error:
        # A machine that comes up without its network configuration can still be looked at.
        report.refused("network-config", str(error).partition(": ")[2])
        return None, ""
    inner = config.get("network", config)
    if not inner:
        return None, ""
    if not isinstance(inner, dict) or (
        inner.get("version") not in (1, 2) and inner.get("config") != "disabled"
    ):
        report.refused("network-config", "expected a mapping with version: 1 or version: 2")
        return None, ""
    return inner, f"v{inner.get('version', 1)}"


def public_keys(keys: Any, report: Report) -> tuple[str, ...]:
    """Return one line for each key: of text, of a list, or of a mapping by name."""
    values = list(keys.values()) if isinstance(keys, dict) else keys
    if isinstance(values, str):
        values = [values]
    if values is None:
        return ()
    found: dict[str, None] = {}
    for value in values if isinstance(values, list) else [None]:
        text = value.get("openssh-key") if isinstance(value, dict) else value
        if not isinstance(text, str):
            report.refused("meta-data public-keys", "expected a key as text")
            continue
        found.update((line.strip(), None) for line in text.splitlines() if line.strip())
    return tuple(found)
