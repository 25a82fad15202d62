"""Which datasource a machine has, by recorded facts of its kernel command line and DMI."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.datasources.detect import detect
from agent.host import Host

DMI = "sys/class/dmi/id"


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({}, ""),
        ({f"{DMI}/product_name": "OpenStack Nova\n"}, "openstack"),
        ({f"{DMI}/product_name": "OpenStack Compute\n"}, "openstack"),
        ({f"{DMI}/chassis_asset_tag": "HUAWEICLOUD\n"}, "openstack"),
        ({f"{DMI}/chassis_asset_tag": "OpenTelekomCloud\n"}, "openstack"),
        ({f"{DMI}/chassis_asset_tag": "SAP CCloud VM\n"}, "openstack"),
        ({f"{DMI}/chassis_asset_tag": "Samsung Cloud Platform\n"}, "openstack"),
        ({"proc/1/environ": "A=b\0product_name=OpenStack Nova\0"}, "openstack"),
        ({f"{DMI}/sys_vendor": "Amazon EC2\n"}, "ec2"),
        ({f"{DMI}/product_uuid": "EC2F58B0-0000-0000-0000-000000000000\n"}, "ec2"),
        ({f"{DMI}/product_uuid": "45E12AEC-DCD1-B213-94ED-012345678900\n"}, "ec2"),
        ({"sys/hypervisor/uuid": "ec2e1916-9099-7caf-fd21-012345abcdef\n"}, "ec2"),
        ({f"{DMI}/chassis_asset_tag": "5f0c.zstack.io\n"}, "ec2"),
        ({f"{DMI}/product_serial": "srv-1.gb1.brightbox.com\n"}, "ec2"),
        ({f"{DMI}/sys_vendor": "3DS Outscale\n"}, "ec2"),
        ({"proc/cmdline": "root=/dev/vda1 ro ds=openstack quiet\n"}, "openstack"),
        ({"proc/cmdline": "ci.ds=OpenStack\n"}, "openstack"),
        ({"proc/cmdline": "ci.datasource=Ec2\n"}, "ec2"),
        ({"proc/cmdline": "linklocal.datasource=ec2\n",
          f"{DMI}/product_name": "OpenStack Nova\n"}, "ec2"),
        ({"proc/cmdline": "ds=nocloud-net;s=http://10.0.0.1/\n"}, "nocloud"),
        ({"proc/cmdline": "root=/dev/vda1 ads=openstack\n"}, ""),
        # Machines that are none of these clouds.
        ({f"{DMI}/product_name": "KVM\n", f"{DMI}/sys_vendor": "Red Hat\n"}, ""),
        ({f"{DMI}/product_name": "Standard PC (i440FX + PIIX, 1996)\n",
          f"{DMI}/sys_vendor": "QEMU\n"}, ""),
        ({f"{DMI}/product_name": "ThinkPad X1\n",
          f"{DMI}/product_uuid": "4c4c4544-0042-3510-8052-b4c04f4d5931\n"}, ""),
        ({f"{DMI}/product_name": "Google Compute Engine\n"}, ""),
        ({f"{DMI}/chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77\n"}, ""),
        ({f"{DMI}/sys_vendor": "VMware, Inc.\n"}, ""),
        ({f"{DMI}/product_name": "OpenStack Novantis\n"}, ""),
        ({f"{DMI}/product_name": "\udcff\n"}, ""),
    ],
)  # fmt: skip
def test_a_machine_says_which_datasource_it_has(
    tmp_path: Path, facts: dict[str, str], name: str
) -> None:
    for path, text in facts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text.encode("utf-8", "surrogateescape"))

    found = detect(Host(tmp_path))

    assert found.name == name
    assert found.reason
