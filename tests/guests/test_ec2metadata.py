"""Ubuntu's and Debian's ec2metadata (cloud-guest-utils) reads all it knows, in a light guest."""

from __future__ import annotations

import pytest

from ..conftest import StartGuest
from .cloud import Cloud
from .light import Nic

pytestmark = pytest.mark.guest

NIC = Nic("192.168.1.10/24", "fa:16:3e:f7:c1:47")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q me@laptop"
INSTANCE = {
    "id": "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04",
    "name": "ecs-ddd4",
    "availability_zone": "cn-north-4a",
    "flavor": "s6.small.1",
    "keys": [{"name": "laptop", "public_key": KEY}],
    "user_data": "#!/bin/sh\necho hello\n",
    "nics": [{"mac": NIC.mac, "ipv4": "192.168.1.10", "prefix": 24, "public_ipv4": "100.100.1.2"}],
}
# What it asks for with an option of the same name, and what is there for this instance.
KNOWN = {
    "instance-id": "i-ca9e8b7cf2be4b6da",
    "instance-type": "s6.small.1",
    "local-hostname": "ecs-ddd4.novalocal",
    "local-ipv4": "192.168.1.10",
    "public-ipv4": "100.100.1.2",
    "availability-zone": "cn-north-4a",
    "ami-launch-index": "0",
    "security-groups": "default",
    "instance-action": "none",
    # It asks version 2009-04-04, which is older than these.
    "mac": "unavailable",
    "region": "unavailable",
}


@pytest.mark.parametrize("tokens", ["optional", "required"])
def test_ec2metadata_reads_all_it_knows(light_guest: StartGuest, cloud: Cloud, tokens: str) -> None:
    guest = light_guest(cloud=cloud, nic=NIC)
    options = {"http_tokens": tokens}

    with cloud.serve([{**INSTANCE, "metadata_options": options}]):
        everything = guest.run(["ec2metadata"])
        alone = {
            name: guest.run(["ec2metadata", f"--{name}"]) for name in ("local-ipv4", "public-keys")
        }

    assert everything.returncode == 0, everything.stderr
    said = everything.stdout.decode()
    for name, value in KNOWN.items():
        assert f"{name}: {value}\n" in said, said
    assert KEY in said
    assert r"#!/bin/sh\necho hello\n" in said
    assert alone["local-ipv4"].stdout.decode().strip() == "192.168.1.10"
    assert KEY in alone["public-keys"].stdout.decode()
