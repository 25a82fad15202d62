"""Which machines the agent is started on: a table, looked up by the generator itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..guests.cloud import CHECKOUT

GENERATOR = CHECKOUT / "systemd/linklocal-generator"
DMI = "sys/class/dmi/id"
ALONE = ", for the reset daemon alone: cloud-init is at work here"
COMMENTS = "# only comments\n\n---\n"

PLATFORMS = yaml.safe_load((CHECKOUT / "tests/data/platforms.yaml").read_text())

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
    "on, where cloud-init is off": (
        {"proc/cmdline": "cloud-init=disabled linklocal=on\n"},
        "on by",
    ),
    "off with cloud-init": (
        {"proc/cmdline": "cloud-init=disabled\n", f"{DMI}/product_name": "OpenStack Nova\n"},
        "off by cloud-init=disabled",
    ),
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
    "a small partition": (
        {
            "sys/class/block/vda": None,
            "sys/class/block/vda3/partition": "3\n",
            "sys/class/block/vda3/size": "131072\n",
        },
        "on by vda3",
    ),
    "a firmware's partition": (
        {"sys/class/block/vda14/partition": "14\n", "sys/class/block/vda14/size": "4096\n"},
        "off: ",
    ),
    "one disk": ({"sys/class/block/vda": None, "sys/class/block/vda1": None}, "off: "),
}


def started(root: Path, files: Mapping[str, str | None], environment: Mapping[str, str]) -> str:
    """Return the generator's reason on a machine with *files*, None being a directory."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_text(content)
    early = root / "early"
    whole = {"PATH": os.environ["PATH"], "LINKLOCAL_ROOT": str(root), **environment}

    argv = [str(GENERATOR), str(root / "normal"), str(early), str(root / "late")]
    subprocess.run(argv, env=whole, check=True)

    reason = (root / "run/linklocal/generator").read_text().rstrip()
    wanted = early / "multi-user.target.wants/linklocal-agent.target"
    alone = wanted.with_name("linklocal-resetd.service")
    assert alone.is_symlink() is reason.endswith(ALONE)
    beside = root / "run/linklocal/beside-cloud-init"
    assert beside.exists() or not reason.endswith(ALONE)
    assert wanted.is_symlink() is (reason.startswith("on ") and not alone.is_symlink())
    return reason


@pytest.mark.parametrize(
    ("files", "ending"),
    [
        ({}, ALONE),
        ({"etc/linklocal/agent.yaml": "report_boot: true\n"}, ALONE),
        ({"etc/cloud/cloud-init.disabled": ""}, "DMI product_name"),
        ({"proc/cmdline": "ro linklocal=on\n"}, "kernel command line"),
        # cloud-init's own kernel word lies over its file.
        ({"etc/cloud/cloud-init.disabled": "", "proc/cmdline": "ro cloud-init=enabled\n"}, ALONE),
    ],
)
def test_beside_cloud_init_there_is_the_reset_daemon_alone(
    tmp_path: Path, files: dict[str, str | None], ending: str
) -> None:
    machine = {
        f"{DMI}/product_name": "OpenStack Nova\n",
        "usr/lib/systemd/system-generators/cloud-init-generator": "",
    }
    assert started(tmp_path, {**machine, **files}, {}).endswith(ending)


def test_a_cloud_init_without_generator_is_one(tmp_path: Path) -> None:
    machine = {
        f"{DMI}/product_name": "OpenStack Nova\n",
        "usr/lib/systemd/system/cloud-init-local.service": "",
    }
    assert started(tmp_path, machine, {}).endswith(ALONE)


@pytest.mark.parametrize(("files", "answer"), MACHINES.values(), ids=MACHINES)
def test_a_machine_is_started_on(tmp_path: Path, files: dict[str, str | None], answer: str) -> None:
    assert started(tmp_path, files, {}).startswith(answer)


def of_platform(row: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the files of a machine as tests/data/platforms.yaml describes it."""
    files: dict[str, str | None] = {
        f"{DMI}/{name}": f"{value}\n" for name, value in row.get("dmi", {}).items()
    }
    files |= {path.lstrip("/"): text for path, text in row.get("files", {}).items()}
    files["proc/cmdline"] = row.get("line", "") + "\n"
    files |= {"sys/class/block/sda/size": "41943040\n", "sys/class/block/sda1/size": "41900000\n"}
    if {"config-2", "cidata"} & {each.lower() for each in row.get("labels", ())}:
        files |= {"sys/class/block/sda2/size": "131072\n", "sys/class/block/sda2/partition": "2\n"}
    return files


@pytest.mark.parametrize("row", PLATFORMS, ids=lambda row: str(row["name"]))
def test_where_the_agent_finds_a_datasource_it_is_started(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    environ = row.get("files", {}).get("/proc/1/environ", "")
    environment = dict(word.partition("=")[::2] for word in environ.split("\0") if word)

    reason = started(tmp_path, of_platform(row), environment)

    if row["datasource"]:
        assert reason.startswith("on "), reason


def test_most_platforms_without_one_cost_nothing(tmp_path: Path) -> None:
    without = [row for row in PLATFORMS if not row["datasource"]]
    reasons = [
        started(tmp_path / str(number), of_platform(row), {}) for number, row in enumerate(without)
    ]

    started_for_nothing = [reason for reason in reasons if reason.startswith("on ")]
    assert len(without) > 10
    assert len(started_for_nothing) < len(without) / 4, started_for_nothing


def test_units_of_cloud_init_are_there_by_name_where_they_are_stood_in_for(tmp_path: Path) -> None:
    place = "usr/lib/linklocal/cloud-init"
    assert started(
        tmp_path, {f"{place}/cloud-init.target": "", f"{place}/cloud-final.service": ""}, {}
    )
    early = tmp_path / "early"
    for unit in ("cloud-init.target", "cloud-final.service"):
        assert os.readlink(early / unit) == f"/{place}/{unit}"
    wanted = early / "linklocal-agent.target.wants/cloud-init.target"
    assert os.readlink(wanted) == f"/{place}/cloud-init.target"


def test_units_of_cloud_init_are_not_made_where_nothing_stands_in_for_it(tmp_path: Path) -> None:
    started(tmp_path, {}, {})
    assert not (tmp_path / "early").exists()
