"""EC2's metadata, version 2 (session tokens) and 1: the leaves the agent uses, and no crawl."""

from __future__ import annotations

from ..errors import DatasourceError
from ..instance import InstanceData
from ..report import Report
from ..secret import Secret
from .base import EC2_TOKENS, Reader, Session, checked_id
from .client import Client

TREE = "latest"
MOST_KEYS = 64
# The clouds that serve this tree name instances i-0abc…, srv-abc or by a UUID.
_MARKED = frozenset("-0123456789")


class Ec2:
    """Also the compatible trees of OpenStack and others, which know no tokens."""

    name = "ec2"
    urls = ("http://169.254.169.254", "http://[fd00:ec2::254]")

    def open(self, client: Client) -> Session:
        """Return the reader of *client*'s tree, which asks for a token before all else."""
        return Session(client, (EC2_TOKENS,), eager=True)

    def fetch(self, reader: Reader, report: Report) -> InstanceData | None:
        """Return the instance's data, or None where there is no instance-id."""
        instance_id = leaf(reader, "instance-id")
        if not instance_id:
            return None
        checked_id(instance_id, "meta-data/instance-id")
        if _MARKED.isdisjoint(instance_id):
            # Such as the OK that some servers answer to everything.
            raise DatasourceError(
                "meta-data/instance-id: is not a metadata service: expected an instance id such "
                "as i-0123456789abcdef0, got a word"
            )
        index = leaf(reader, "ami-launch-index") or "0"
        if not index.isdecimal():
            report.refused("ami-launch-index", "expected a number")
            index = "0"
        zone = leaf(reader, "placement/availability-zone")
        hostname = leaf(reader, "local-hostname")
        return InstanceData(
            datasource=self.name,
            instance_id=instance_id,
            # Some servers list several names, separated by spaces.
            hostname=hostname.split()[0] if hostname else None,
            public_keys=public_keys(reader, report),
            user_data=Secret(reader.get(f"{TREE}/user-data") or b""),
            availability_zone=zone,
            local_ipv4=leaf(reader, "local-ipv4"),
            launch_index=int(index),
            meta_data={"instance-id": instance_id, "local-hostname": hostname},
        )


def leaf(reader: Reader, name: str) -> str | None:
    """Return the text at *name* below meta-data, or None when there is none."""
    content = reader.get(f"{TREE}/meta-data/{name}")
    if content is None:
        return None
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        text = "\0"
    if len(text) > 4096 or not text.replace("\n", " ").isprintable():
        raise DatasourceError(f"meta-data/{name}: expected a line of text")
    return text or None


def public_keys(reader: Reader, report: Report) -> tuple[str, ...]:
    """Return one line for each key; the listing has `0=name`, the key is at `0/openssh-key`."""
    content = reader.get(f"{TREE}/meta-data/public-keys/")
    found: dict[str, None] = {}
    for line in (content or b"").decode(errors="replace").split()[:MOST_KEYS]:
        number, _, _ = line.partition("=")
        if not (number.isascii() and number.isdecimal()):
            report.refused("public-keys", "expected lines such as 0=name")
            continue
        key = reader.get(f"{TREE}/meta-data/public-keys/{number}/openssh-key")
        if key is None:
            report.refused(f"public-keys/{number}", "listed, but not served")
            continue
        lines = key.decode(errors="replace").splitlines()
        found.update((line.strip(), None) for line in lines if line.strip())
    return tuple(found)
