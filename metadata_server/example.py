"""The built-in example instance, for a server that is started without a configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from .config import read_instances
from .instance import Instance

EXAMPLE_ID: Final = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"

YAML: Final = f"""\
id: {EXAMPLE_ID}
name: ecs-ddd4
project_id: 6e8b0c94265645f39c5abbe63c4113c6
enterprise_project_id: "0"
region: cn-north-4
availability_zone: cn-north-4a
flavor: s3.medium.2
image: {{id: 3a64bd37-955e-40cd-ab9e-129db56bc05d, name: "CentOS 7.6 64bit"}}
vpc_id: 3b6c201f-aeb3-4bce-b841-64756e66cb49
meta: {{charging_mode: "0", cascaded.instance_extrainfo: "pcibridge:1"}}
user_data: |
  #cloud-config
  write_files:
    - path: /run/linklocal-example
      content: "served by linklocal-server\\n"
nics:
  - id: tap68a9272d-71
    vif_id: 68a9272d-7152-4ae7-a138-3ef53af669e7
    network_id: 67dc10ce-441f-4592-9a80-cc709f6436e7
    mac: "fa:16:3e:f7:c1:47"
    ipv4: 192.168.1.10
    prefix: 24
    gateway: 192.168.1.1
    public_ipv4: 100.100.1.2
dns: [100.125.21.250]
qos: {{min: 100, max: 500}}
tags: {{Name: ecs-ddd4}}
identify: {{default: true}}
"""


def example_instance(*, loopback: bool) -> Instance:
    """Return the example; it asks for proof of root unless it is served on *loopback* only."""
    (instance,) = read_instances(YAML.encode(), Path("example"))
    if not loopback:
        return instance
    return replace(instance, reset_password=replace(instance.reset_password, proof="none"))
