"""The EC2 tree: every path, the API version that brought it, and what it holds. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from types import MappingProxyType
from typing import Any, Final, Literal
from uuid import UUID

from .huawei import served_agency
from .instance import Instance, Nic
from .login import served_user_data
from .notices import Maintenance, launched_at, notices_of, utc
from .tree import (
    SLOT,
    TEXT,
    Branch,
    Directory,
    Entry,
    Leaf,
    Live,
    Node,
    Signed,
    Value,
    build,
)

LATEST: Final = "latest"

# The first nine are nova's; the rest came with AWS, and clients ask for some of them by name.
VERSIONS: Final = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "2024-04-11",
)

DIGITS: Final = 17

ZULU: Final = "%Y-%m-%dT%H:%M:%SZ"
GREENWICH: Final = "%d %b %Y %H:%M:%S GMT"

BLOCK_DEVICES: Final = MappingProxyType({"ami": "vda", "root": "/dev/vda"})


def ec2_id(prefix: str, source: str) -> str:
    """Return *source*, an id of ours, in the form EC2 gives its ids: `i-0123456789abcdef0`."""
    try:
        digits = UUID(source).hex
    except ValueError:
        digits = hashlib.sha256(source.encode()).hexdigest()
    return f"{prefix}-{digits[:DIGITS]}"


def instance_id(instance: Instance) -> str:
    return instance.ec2_ids.get("instance-id") or ec2_id("i", instance.id)


def _ami_id(instance: Instance) -> str | None:
    given = instance.ec2_ids.get("ami-id")
    return given or (ec2_id("ami", instance.image.id) if instance.image else None)


def _reservation_id(instance: Instance) -> str:
    return instance.ec2_ids.get("reservation-id") or ec2_id("r", instance.id)


def _user_data(instance: Instance) -> Leaf | None:
    found = served_user_data(instance)
    return None if found is None else Leaf(found.reveal())


def _block_devices(instance: Instance) -> Directory | None:
    return _texts({**BLOCK_DEVICES, **instance.block_devices})


def _public_keys(instance: Instance) -> Directory | None:
    """`public-keys/` lists `0=name`, while the key itself is at `public-keys/0/openssh-key`."""
    return _directory(
        {
            str(n): Directory(
                {"openssh-key": Leaf(key.public_key.encode())},
                label=f"{n}={' '.join(key.name.split())}",
            )
            for n, key in enumerate(instance.keys)
        }
    )


def _primary(instance: Instance) -> Nic | None:
    return instance.nics[0] if instance.nics else None


def _local_ipv4(instance: Instance) -> str:
    nic = _primary(instance)
    return str(nic.ipv4) if nic and nic.ipv4 else ""


def _public_ipv4(instance: Instance) -> str:
    # Without a floating address nova answers 200 with nothing in it, and so does the platform.
    nic = _primary(instance)
    return str(nic.public_ipv4) if nic and nic.public_ipv4 else ""


def _ipv6(instance: Instance) -> str | None:
    nic = _primary(instance)
    return str(nic.ipv6) if nic and nic.ipv6 else None


def _mac(instance: Instance) -> str | None:
    nic = _primary(instance)
    return nic.mac if nic else None


def _macs(instance: Instance) -> Directory | None:
    return _directory(
        {nic.mac: _interface(instance, nic, number) for number, nic in enumerate(instance.nics)}
    )


def _interface(instance: Instance, nic: Nic, number: int) -> Directory:
    found: dict[str, str | Node | None] = {
        "device-number": str(number),
        "interface-id": ec2_id("eni", nic.vif_id),
        "local-hostname": instance.hostname,
        "mac": nic.mac,
        "network-card-index": "0",
        "owner-id": instance.project_id,
        "security-group-ids": _lines(
            tuple(
                ec2_id("sg", f"{instance.project_id}/{name}") for name in instance.security_groups
            )
        ),
        "security-groups": _lines(instance.security_groups),
        "subnet-id": ec2_id("subnet", nic.network_id),
        "vpc-id": ec2_id("vpc", instance.vpc_id) if instance.vpc_id else None,
    }
    if nic.ipv4:
        subnet = str(IPv4Interface(f"{nic.ipv4}/{nic.prefix}").network)
        found |= {
            "local-ipv4s": _lines((str(nic.ipv4), *_further(nic, 4))),
            "subnet-ipv4-cidr-block": subnet,
            "vpc-ipv4-cidr-block": subnet,
            "vpc-ipv4-cidr-blocks": subnet,
        }
    if nic.public_ipv4:
        found |= {"public-hostname": instance.hostname, "public-ipv4s": str(nic.public_ipv4)}
    if nic.ipv4 and nic.public_ipv4:
        found["ipv4-associations"] = _texts({str(nic.public_ipv4): str(nic.ipv4)})
    if nic.ipv6:
        subnet = str(IPv6Interface(f"{nic.ipv6}/{nic.ipv6_prefix}").network)
        found |= {
            "ipv6s": _lines((str(nic.ipv6), *_further(nic, 6))),
            "subnet-ipv6-cidr-blocks": subnet,
            "vpc-ipv6-cidr-blocks": subnet,
        }
    return Directory(
        {
            name: Leaf(value.encode()) if isinstance(value, str) else value
            for name, value in found.items()
            if value is not None
        }
    )


def _further(nic: Nic, version: int) -> tuple[str, ...]:
    interfaces = [ip_interface(each) for each in nic.addresses]
    return tuple(str(each.ip) for each in interfaces if each.version == version)


def _tags(instance: Instance) -> Directory | None:
    """The tags whose key can be a name in a path; EC2 has the same rule."""
    return _texts(
        {
            key: value
            for key, value in instance.tags.items()
            if key not in ("", ".", "..") and "/" not in key and key.isprintable()
        }
    )


def _role(instance: Instance) -> Directory | None:
    agency = served_agency(instance)
    return Directory({agency.name: Live("role", TEXT)}) if agency else None


def _profile(instance: Instance) -> Live | None:
    """Who the role is; the template wants the time of its last credentials."""
    agency = served_agency(instance)
    if agency is None:
        return None
    name = agency.name
    digits = hashlib.sha256(f"{instance.project_id}/{name}".encode()).hexdigest()[:DIGITS]
    document = {
        "Code": "Success",
        "LastUpdated": SLOT,
        "InstanceProfileArn": f"arn:aws:iam::{instance.project_id}:instance-profile/{name}",
        "InstanceProfileId": f"AIPA{digits.upper()}",
    }
    return Live("profile", TEXT, _json(document).body)


def _architecture(instance: Instance) -> str:
    return "i386" if instance.meta.get("os_bit") == "32" else "x86_64"


def _identity_document(instance: Instance) -> Leaf:
    launched = launched_at(instance)
    return _json(
        {
            "accountId": instance.project_id,
            "architecture": _architecture(instance),
            "availabilityZone": instance.availability_zone,
            "billingProducts": None,
            "devpayProductCodes": None,
            "marketplaceProductCodes": None,
            "imageId": _ami_id(instance),
            "instanceId": instance_id(instance),
            "instanceType": instance.flavor,
            "kernelId": instance.ec2_ids.get("kernel-id"),
            "pendingTime": utc(launched, ZULU) if launched is not None else None,
            "privateIp": _local_ipv4(instance) or None,
            "ramdiskId": instance.ec2_ids.get("ramdisk-id"),
            "region": instance.region,
            "version": "2017-09-30",
        }
    )


def _signed(form: Literal["signature", "pkcs7", "rsa2048"]) -> Callable[[Instance], Value]:
    return lambda instance: Signed(form, _identity_document(instance).body)


def _identity_info(instance: Instance) -> Live:
    """Whose credentials `identity-credentials` has; the template wants their time."""
    document = {"Code": "Success", "LastUpdated": SLOT, "AccountId": instance.project_id}
    return Live("identity-info", TEXT, _json(document).body)


def _interruption(instance: Instance) -> Leaf | None:
    found = notices_of(instance).interruption
    return _json({"action": found.action, "time": utc(found.time, ZULU)}) if found else None


def _termination_time(instance: Instance) -> str | None:
    # As EC2 has it: a stopped or hibernated instance comes back, so this path is not for it.
    found = notices_of(instance).interruption
    return utc(found.time, ZULU) if found and found.action == "terminate" else None


def _rebalance(instance: Instance) -> Leaf | None:
    found = notices_of(instance).rebalance
    return _json({"noticeTime": utc(found, ZULU)}) if found is not None else None


def _maintenance(*, active: bool) -> Callable[[Instance], Value]:
    def leaf(instance: Instance) -> Leaf | None:
        events = [
            _event(each)
            for each in notices_of(instance).maintenance
            if (each.state == "active") == active
        ]
        return Leaf(json.dumps(events, indent=2).encode()) if events else None

    return leaf


def _event(event: Maintenance) -> dict[str, str]:
    found = {"NotBefore": utc(event.not_before, GREENWICH)}
    found |= {"Code": event.code, "Description": event.description, "EventId": event.id}
    if event.not_after is not None:
        found["NotAfter"] = utc(event.not_after, GREENWICH)
    if event.deadline is not None:
        found["NotBeforeDeadline"] = utc(event.deadline, GREENWICH)
    return {**found, "State": event.state}


def _given(name: str) -> Callable[[Instance], Value]:
    return lambda instance: instance.ec2_ids.get(name)


def _lines(values: tuple[str, ...]) -> str:
    return "\n".join(values)


def _json(value: Mapping[str, Any]) -> Leaf:
    # EC2 calls its JSON documents plain text, and lays them out for people.
    return Leaf(json.dumps(value, indent=2).encode(), TEXT)


def _directory(children: Mapping[str, Node]) -> Directory | None:
    return Directory(children) if children else None


def _texts(values: Mapping[str, str]) -> Directory | None:
    return _directory({name: Leaf(value.encode()) for name, value in values.items()})


def _entry(path: str, since: str, summary: str, value: Callable[[Instance], Value]) -> Entry:
    return Entry(path, since, summary, lambda instance, version: value(instance))


ENTRIES: Final = (
    _entry("user-data", "1.0", "user data, decoded", _user_data),
    _entry("meta-data/ami-id", "1.0", "the image, in EC2's form", _ami_id),
    _entry(
        "meta-data/ami-launch-index",
        "1.0",
        "number within the batch it was created in",
        lambda i: str(i.launch_index),
    ),
    _entry("meta-data/ami-manifest-path", "1.0", "always `(unknown)`", lambda i: "(unknown)"),
    _entry("meta-data/hostname", "1.0", "host name with its domain", lambda i: i.hostname),
    _entry("meta-data/instance-id", "1.0", "the instance, in EC2's form", instance_id),
    _entry("meta-data/local-ipv4", "1.0", "address of the first NIC, or nothing", _local_ipv4),
    _entry("meta-data/public-keys", "1.0", "`N=name` and `N/openssh-key`", _public_keys),
    _entry("meta-data/reservation-id", "1.0", "made of the instance's id", _reservation_id),
    _entry(
        "meta-data/security-groups",
        "1.0",
        "names, one a line",
        lambda i: _lines(i.security_groups),
    ),
    _entry("meta-data/local-hostname", "2007-01-19", "as hostname", lambda i: i.hostname),
    _entry("meta-data/public-hostname", "2007-01-19", "as hostname", lambda i: i.hostname),
    _entry(
        "meta-data/public-ipv4",
        "2007-01-19",
        "EIP of the first NIC, or nothing",
        _public_ipv4,
    ),
    _entry("meta-data/product-codes", "2007-03-01", "when given", _given("product-codes")),
    _entry("meta-data/instance-type", "2007-08-29", "the flavor", lambda i: i.flavor),
    _entry("meta-data/ancestor-ami-ids", "2007-10-10", "when given", _given("ancestor-ami-ids")),
    _entry("meta-data/block-device-mapping", "2007-12-15", "device names, by use", _block_devices),
    _entry("meta-data/kernel-id", "2007-12-15", "when given", lambda i: i.ec2_ids.get("kernel-id")),
    _entry(
        "meta-data/ramdisk-id", "2007-12-15", "when given", lambda i: i.ec2_ids.get("ramdisk-id")
    ),
    _entry(
        "meta-data/placement/availability-zone",
        "2008-02-01",
        "the availability zone",
        lambda i: i.availability_zone,
    ),
    _entry("meta-data/instance-action", "2008-09-01", "always `none`", lambda i: "none"),
    _entry(
        "dynamic/fws/instance-monitoring", "2009-04-04", "always `disabled`", lambda i: "disabled"
    ),
    _entry(
        "dynamic/instance-identity/document",
        "2009-04-04",
        "who the instance is, as JSON",
        _identity_document,
    ),
    _entry(
        "dynamic/instance-identity/signature",
        "2009-04-04",
        "RSA with SHA-256 over the document, in base64",
        _signed("signature"),
    ),
    _entry(
        "dynamic/instance-identity/pkcs7",
        "2009-04-04",
        "PKCS #7 with the document in it, as PEM without its first and last line",
        _signed("pkcs7"),
    ),
    _entry(
        "dynamic/instance-identity/rsa2048",
        "2015-10-20",
        "as pkcs7",
        _signed("rsa2048"),
    ),
    _entry("meta-data/mac", "2011-01-01", "address of the first NIC", _mac),
    _entry(
        "meta-data/network/interfaces/macs",
        "2011-01-01",
        "one directory for each NIC: addresses, subnet, groups",
        _macs,
    ),
    _entry("meta-data/profile", "2011-05-01", "always `default-hvm`", lambda i: "default-hvm"),
    _entry("meta-data/iam/info", "2012-01-12", "the agency's instance profile", _profile),
    _entry(
        "meta-data/iam/security-credentials",
        "2012-01-12",
        "the agency's temporary credentials, by its name",
        _role,
    ),
    _entry("meta-data/services/domain", "2014-02-25", "a domain name", lambda i: "amazonaws.com"),
    _entry("meta-data/services/partition", "2015-10-20", "always `aws`", lambda i: "aws"),
    _entry(
        "meta-data/spot/termination-time",
        "2014-11-05",
        "when the spot instance ends, once that is announced",
        _termination_time,
    ),
    _entry(
        "meta-data/spot/instance-action",
        "2016-09-02",
        "what happens to the spot instance and when, once that is announced",
        _interruption,
    ),
    _entry(
        "meta-data/events/maintenance/history",
        "2018-08-17",
        "events that are over, once there are any",
        _maintenance(active=False),
    ),
    _entry(
        "meta-data/events/maintenance/scheduled",
        "2018-08-17",
        "events to come, once there are any",
        _maintenance(active=True),
    ),
    _entry(
        "meta-data/identity-credentials/ec2/info",
        "2018-08-17",
        "whose identity the next one is",
        _identity_info,
    ),
    _entry(
        "meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
        "2018-08-17",
        "temporary credentials of the instance itself, always made up",
        lambda i: Live("identity-role", TEXT),
    ),
    _entry("meta-data/hibernation/configured", "2019-10-01", "always `false`", lambda i: "false"),
    _entry(
        "meta-data/instance-life-cycle",
        "2019-10-01",
        "`spot` or `on-demand`",
        lambda i: "spot" if i.spot else "on-demand",
    ),
    _entry(
        "meta-data/placement/availability-zone-id",
        "2020-08-24",
        "as availability-zone, unless given",
        lambda i: i.ec2_ids.get("availability-zone-id") or i.availability_zone,
    ),
    _entry("meta-data/placement/group-name", "2020-08-24", "when given", _given("group-name")),
    _entry("meta-data/placement/host-id", "2020-08-24", "when given", _given("host-id")),
    _entry(
        "meta-data/placement/partition-number",
        "2020-08-24",
        "when given",
        _given("partition-number"),
    ),
    _entry("meta-data/placement/region", "2020-08-24", "the region", lambda i: i.region),
    _entry(
        "meta-data/events/recommendations/rebalance",
        "2020-10-27",
        "when the instance was found to be at risk, once it is",
        _rebalance,
    ),
    _entry("meta-data/ipv6", "2021-01-03", "IPv6 address of the first NIC", _ipv6),
    _entry("meta-data/tags/instance", "2021-03-23", "one leaf for each tag", _tags),
    _entry(
        "meta-data/autoscaling/target-lifecycle-state",
        "2021-07-15",
        "the state the instance goes to, once there is one",
        lambda i: notices_of(i).life_cycle,
    ),
    _entry("meta-data/system", "2022-09-24", "always `nitro`", lambda i: "nitro"),
)


SHAPES: Final[Mapping[str, Branch]] = MappingProxyType(
    {version: build(ENTRIES, version) for version in (*VERSIONS, LATEST)}
)
