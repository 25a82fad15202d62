"""What may be served to one guest: every field of the configuration, typed and checked.

Defaults are those of docs/configuration.md; what is derived (host name, meta) is so on reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Any, Literal

from .secret import Secret

EMPTY: Mapping[str, Any] = MappingProxyType({})


def empty() -> Mapping[str, Any]:
    # Before Python 3.12 a mappingproxy has no hash, so dataclasses take it for a mutable default.
    return EMPTY


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    public_key: str


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Route:
    network: str
    """Such as 10.0.0.0/8 or fd00::/8."""
    gateway: str


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface; *id* defaults to `tap` and the first characters of *vif_id*."""

    mac: str
    id: str
    vif_id: str
    network_id: str
    type: str = "cascading"
    ipv4: IPv4Address | None = None
    prefix: int = 24
    gateway: IPv4Address | None = None
    public_ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    ipv6_prefix: int = 64
    gateway6: IPv6Address | None = None
    dhcp: bool = True
    mtu: int | None = None
    routes: tuple[Route, ...] = ()
    addresses: tuple[str, ...] = ()
    """Further addresses with prefix length."""
    bond: Mapping[str, Any] | None = None
    vlan: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Qos:
    """Bandwidth in Mbit/s; -1 is unlimited."""

    min: int = -1
    max: int = -1


@dataclass(frozen=True, slots=True)
class Agency:
    name: str
    credentials_command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetadataOptions:
    http_endpoint: Literal["enabled", "disabled"] = "enabled"
    http_tokens: Literal["optional", "required"] = "optional"
    hop_limit: int = 1


@dataclass(frozen=True, slots=True)
class Identify:
    """How a guest's requests are known as its own; no addresses means those of the nics."""

    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    interface: str | None = None
    default: bool = False


@dataclass(frozen=True, slots=True)
class ResetPassword:
    legacy: bool = False
    proof: Literal["low-port", "token", "none"] = "low-port"
    hop_limit: int = 1
    identity: str | None = None
    """Fingerprint of the guest's identity key, when it is pinned."""


@dataclass(frozen=True, slots=True)
class InjectedFile:
    path: str
    content: Secret


@dataclass(frozen=True, slots=True)
class Spot:
    """A spot instance; interruption notices are events, not configuration."""

    price: str | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    id: str
    name: str
    hostname: str
    project_id: str
    enterprise_project_id: str = "0"
    region: str = "local"
    availability_zone: str = "local-a"
    flavor: str = "s3.medium.2"
    image: Image | None = None
    vpc_id: str | None = None
    os_type: Literal["Linux", "Windows"] = "Linux"
    launch_index: int = 0
    meta: Mapping[str, str] = field(default_factory=empty)
    """As served: the derived values with the configured ones over them."""
    keys: tuple[Key, ...] = ()
    security_groups: tuple[str, ...] = ("default",)
    user_data: Secret | None = None
    """Decoded bytes, whatever form they were configured in."""
    vendor_data: Mapping[str, Any] = field(default_factory=empty)
    vendor_data2: Mapping[str, Any] = field(default_factory=empty)
    nics: tuple[Nic, ...] = ()
    dns: tuple[IPv4Address | IPv6Address, ...] = ()
    qos: Qos | None = None
    tags: Mapping[str, str] = field(default_factory=empty)
    agency: Agency | None = None
    metadata_options: MetadataOptions = MetadataOptions()
    identify: Identify = Identify()
    reset_password: ResetPassword = ResetPassword()
    extra: Mapping[str, str] = field(default_factory=empty)
    files: tuple[InjectedFile, ...] = ()
    devices: tuple[Mapping[str, Any], ...] = ()
    block_devices: Mapping[str, str] = field(default_factory=empty)
    """EC2 block-device-mapping: ami, root, ebs0, swap … to device names."""
    ec2_ids: Mapping[str, str] = field(default_factory=empty)
    """Overrides of instance-id, ami-id, reservation-id, kernel-id, ramdisk-id."""
    login_mode: Literal["password", "keypair", "later"] = "later"
    password_hash: Secret | None = None
    spot: Spot | None = None
    auto_terminate_time: str | None = None
    """When the instance is removed, such as 2030-01-19T03:30:52Z."""
