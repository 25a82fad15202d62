"""Nova's metadata application for one instance, without its database: a side of the benchmark.

Run by a Python that has nova, which neither Linklocal nor its tests need. Prints its port, then
serves by eventlet, as nova's own service did as long as there was one.
"""

from __future__ import annotations

import logging
import sys
import uuid
from typing import Any

import eventlet
import eventlet.wsgi
import nova.conf
from nova import monkey_patch, objects
from nova.api.metadata import base, handler
from oslo_log import log as oslo_log

INSTANCE = "ca9e8b7c-f2be-4b6d-a639-f10b4d994d04"


class Groups:
    """In the place of neutron."""

    def get_instance_security_groups(
        self, context: object, instance: object
    ) -> list[dict[str, str]]:
        return [{"name": "default"}]


class Served(objects.Instance):  # type: ignore[misc]  # nova has no types
    def get_bdms(self) -> Any:
        return objects.BlockDeviceMappingList(objects=[])

    @classmethod
    def obj_name(cls) -> str:
        return "Instance"


def instance() -> Any:
    flavor = objects.Flavor(
        name="s3.medium.2", id=1, flavorid="1", memory_mb=1, vcpus=1, root_gb=1, ephemeral_gb=0
    )
    return Served(
        id=1,
        uuid=INSTANCE,
        project_id=uuid.uuid4().hex,
        hostname="ecs-ddd4",
        display_name="ecs-ddd4",
        launch_index=0,
        reservation_id="r-1",
        key_name=None,
        keypairs=objects.KeyPairList(objects=[]),
        availability_zone="local-a",
        user_data="I2Nsb3VkLWNvbmZpZwo=",
        root_device_name="/dev/vda",
        default_ephemeral_device=None,
        default_swap_device=None,
        metadata={},
        system_metadata={},
        device_metadata=None,
        numa_topology=None,
        ec2_ids=objects.EC2Ids(
            instance_id="i-00000001", ami_id="ami-00000001", kernel_id=None, ramdisk_id=None
        ),
        flavor=flavor,
        security_groups=objects.SecurityGroupList(objects=[]),
    )


def main() -> None:
    logging.disable(logging.CRITICAL)
    monkey_patch.patch(backend="eventlet")
    oslo_log.register_options(nova.conf.CONF)
    nova.conf.CONF([], project="nova", default_config_files=[])
    objects.register_all()
    base.security_group_api = Groups()
    # Nova's own cache keeps it 15 seconds, as it would keep what the database says.
    base.get_metadata_by_address = lambda address: base.InstanceMetadata(
        instance(), address, network_info=[]
    )
    listener = eventlet.listen(("127.0.0.1", 0), backlog=1024)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    eventlet.wsgi.server(listener, handler.MetadataRequestHandler(), log_output=False, debug=False)


if __name__ == "__main__":
    main()
