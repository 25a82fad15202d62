"""What a datasource said about this instance, whatever the cloud."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from .secret import Secret


class InjectedFile(NamedTuple):
    """A file that whoever made the instance wants in it."""

    path: str
    content: Secret


class InstanceData(NamedTuple):
    """Everything the agent knows of its machine; modules read this and no raw document."""

    datasource: str
    """Name of the datasource: openstack, ec2, …"""
    instance_id: str
    hostname: Optional[str]
    """As served, `.novalocal` and all."""
    public_keys: tuple[str, ...]
    """One authorized_keys line each."""
    user_data: Secret
    """As served; empty when there is none."""
    vendor_data: Optional[Secret] = None
    """cloud-init's share of vendor_data.json: user data of any format."""
    vendor_data2: Optional[Secret] = None
    availability_zone: Optional[str] = None
    region: Optional[str] = None
    local_ipv4: Optional[str] = None
    launch_index: int = 0
    network_config: Optional[Mapping[str, Any]] = None
    """The document about the network as the datasource has it, still unread."""
    network_kind: str = ""
    """What *network_config* is: `openstack` (network_data.json), `v1` or `v2`; empty without."""
    random_seed: Optional[Secret] = None
    files: tuple[InjectedFile, ...] = ()
    """Files to be put in place once for the instance."""
    meta_data: Mapping[str, Any] = {}
    """The parsed document, for `query` and templates alone."""
