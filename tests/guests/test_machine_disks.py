"""Disks in a virtual machine: what no container can show, in one first boot and a reboot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ..conftest import StartMachine
from . import images, installed
from .vm import VirtualMachine

pytestmark = [pytest.mark.guest, pytest.mark.slow, pytest.mark.timeout(900)]

MIB = 2**20
CONFIG = """\
#cloud-config
growpart: {mode: growpart, devices: [/], ignore_growroot_disabled: true}
resize_rootfs: noblock
device_aliases: {first: /dev/vdb}
disk_setup:
  first: {table_type: gpt, layout: [[50, 83], [50, 82]]}
  /dev/vdd: {table_type: gpt, layout: true}
  /dev/vde: {table_type: mbr, layout: [100], overwrite: true}
fs_setup:
- {label: data, filesystem: ext4, device: first, partition: 1, overwrite: false}
- {filesystem: swap, device: /dev/vdb, partition: 2}
- {label: scratch, filesystem: xfs, device: /dev/vdc, partition: none, extra_opts: [-m, reflink=0]}
- {label: taken, filesystem: ext4, device: /dev/vdd, partition: none}
- {label: made, filesystem: ext4, device: /dev/vde, partition: auto, replace_fs: ext3,
   cmd: "mkfs.%(filesystem)s -q -L %(label)s -I 256 %(device)s"}
mounts:
- [LABEL=data, /data]
- [/dev/vdc, /srv/scratch, xfs, noatime]
- [/dev/vdb2, none, swap, sw, '0', '0']
- [/dev/no-such-disk, /nowhere, ext4]
swap: {filename: /swap.file, size: auto, maxsize: 64M}
"""


@pytest.fixture
def disks(tmp_path: Path) -> list[Path]:
    """Two empty disks, and two that hold somebody's file systems."""
    made = [tmp_path / f"{name}.raw" for name in ("empty", "larger", "taken", "given up")]
    for path, size in zip(made, (256, 512, 64, 64)):
        path.touch()
        with path.open("r+b") as file:
            file.truncate(size * MIB)
    for path in made[2:]:
        images.run(["mke2fs", "-q", "-t", "ext4", "-F", "-L", "precious", str(path)])
    return made


def test_disks_are_made_grown_and_mounted_and_stay_so(
    vm: StartMachine, machine12: Path, installed_agent: Path, tmp_path: Path, disks: list[Path]
) -> None:
    image = images.make(machine12, tmp_path / "disk.raw", layers=[installed_agent])
    guest = vm(image, disks=disks, gib=3)
    guest.write("/root/user-data", CONFIG.encode(), mode=0o600)
    guest.write("/etc/growroot-disabled", b"")
    small = root_size(guest)

    first = run_agent(guest)
    grown = root_size(guest)
    seen = devices(guest)
    swapped = swaps(guest)
    table = guest.text("/etc/fstab")
    guest.sh("echo kept >/data/file; echo kept >/srv/scratch/file")
    again = run_agent(guest)
    same = (devices(guest), guest.text("/etc/fstab"))
    guest.reboot()

    # The root was the image's; now it is the disk's, without a reboot.
    assert small < 1024 * MIB
    assert grown > 2.7 * 1024 * MIB
    # What holds somebody's data stays as it is: its table was no question, its file system is.
    assert first == again == [("not run", "fs_setup[3]")]
    assert seen["vdb1"] == ("ext4", "data", "/data")
    assert seen["vdb2"] == ("swap", None, "[SWAP]")
    assert seen["vdc"] == ("xfs", "scratch", "/srv/scratch")
    assert seen["vdd"] == ("ext4", "precious", None)
    assert seen["vde1"] == ("ext4", "made", None)
    assert swapped == {"/dev/vdb2", "/swap.file"}
    assert "LABEL=rootfs\t" in table.replace(" ", "\t")
    assert same == (seen, table)
    # The machine's own systemd makes of fstab what the agent made.
    assert devices(guest) == seen
    assert swaps(guest) == swapped
    assert guest.sh("cat /data/file /srv/scratch/file") == "kept\nkept\n"
    assert guest.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout.split()[:1] in (
        [],
        [b"ssh.service"],  # It has no host keys: nobody asked for any.
    )


def run_agent(guest: VirtualMachine) -> list[tuple[str, str]]:
    """Run all stages and return what is not plainly done."""
    argv = ["python3", "-m", "agent", "run", "--user-data", "/root/user-data"]
    done = guest.run(argv, cwd=installed.HOME, timeout=300)
    assert guest.exists("/run/linklocal/status.json"), done.stderr.decode()
    status: dict[str, Any] = json.loads(guest.read("/run/linklocal/status.json"))
    return [
        (entry["result"], entry["place"])
        for module in status["modules"]
        for entry in module.get("entries", ())
        if entry["result"] not in ("done", "notice")
    ]


def root_size(guest: VirtualMachine) -> int:
    """Return the bytes of the root's file system."""
    return int(guest.sh("findmnt --noheadings --bytes --output SIZE /"))


def devices(guest: VirtualMachine) -> dict[str, tuple[str | None, str | None, str | None]]:
    """Return type, label and mount point of each block device."""
    columns = "NAME,FSTYPE,LABEL,MOUNTPOINT"
    listed = json.loads(guest.sh(f"udevadm settle; lsblk --json --list --output {columns}"))
    return {
        each["name"]: (each["fstype"], each["label"], each["mountpoint"])
        for each in listed["blockdevices"]
    }


def swaps(guest: VirtualMachine) -> set[str]:
    return set(guest.sh("swapon --show=NAME --noheadings").split())
