"""Which machines the agent is started on: a table, looked up by the generator itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ..guests.cloud import CHECKOUT

GENERATOR = CHECKOUT / "systemd/linklocal-generator"
DMI = "sys/class/dmi/id"
COMMENTS = "# only comments\n\n---\n"

# What a machine has, by file, and the first word of the answer with a part of the reason.
MACHINES = {
    "nothing": ({}, "off: neither"),
    "bare metal": ({f"{DMI}/sys_vendor": "Dell Inc.\n", "sys/class/block/sda": None}, "off: "),
    "OpenStack": ({f"{DMI}/product_name": "OpenStack Nova\n"}, "on by DMI product_name"),
    "Huawei": ({f"{DMI}/chassis_asset_tag": "HUAWEICLOUD\n"}, "on by DMI chassis_asset_tag"),
    "EC2 on Nitro": ({f"{DMI}/sys_vendor": "Amazon EC2\n"}, "on by DMI sys_vendor"),
    "EC2 on Xen": ({"sys/hypervisor/uuid": "ec2e1916-9099-7caf\n"}, "on by uuid"),
    "EC2, swapped": ({f"{DMI}/product_uuid": "45E12AEC-DCD1-B213\n"}, "on by product_uuid"),
    "nocloud by SMBIOS": ({f"{DMI}/product_serial": "ds=nocloud;s=/x\n"}, "on by DMI"),
    "kernel line": ({"proc/cmdline": "root=/dev/vda1 ds=nocloud ro\n"}, "on by ds="),
    "kernel line, ours": ({"proc/cmdline": "ro linklocal=on\n"}, "on by linklocal="),
    "switched off": (
        {"proc/cmdline": "ro linklocal=off\n", f"{DMI}/product_name": "OpenStack Nova\n"},
        "off by linklocal=off",
    ),
    "switched off by file": (
        {"etc/linklocal/agent.disabled": "", f"{DMI}/product_name": "OpenStack Nova\n"},
        "off by /etc/linklocal/agent.disabled",
    ),
    "configured": (
        {"etc/linklocal/agent.yaml": f"{COMMENTS}datasource: ec2"},
        "on by /etc/linklocal/agent.yaml",
    ),
    "not configured": ({"etc/linklocal/agent.yaml": COMMENTS}, "off: "),
    "image's cloud-config": (
        {"etc/linklocal/cloud-config.d/10-image.yaml": "timezone: Etc/UTC\n"},
        "on by /etc/linklocal/cloud-config.d/10-image.yaml",
    ),
    "seed": ({"var/lib/cloud/seed/nocloud-net/meta-data": ""}, "on by /var/lib/cloud/seed"),
    "a disc": ({"sys/class/block/sr0": None, "sys/class/block/vda": None}, "on by sr0"),
    "two disks": ({"sys/class/block/vda": None, "sys/class/block/vdb": None}, "on by a second"),
    "one disk": ({"sys/class/block/vda": None, "sys/class/block/vda1": None}, "off: "),
}


@pytest.mark.parametrize(("files", "answer"), MACHINES.values(), ids=MACHINES)
def test_a_machine_is_started_on(tmp_path: Path, files: dict[str, str | None], answer: str) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_text(content)
    early = tmp_path / "early"
    environment = {"PATH": os.environ["PATH"], "LINKLOCAL_ROOT": str(tmp_path)}

    argv = [str(GENERATOR), str(tmp_path / "normal"), str(early), str(tmp_path / "late")]
    subprocess.run(argv, env=environment, check=True)

    reason = (tmp_path / "run/linklocal/generator").read_text()
    assert reason.startswith(answer)
    wanted = early / "multi-user.target.wants/linklocal-agent.target"
    assert wanted.is_symlink() is answer.startswith("on")
