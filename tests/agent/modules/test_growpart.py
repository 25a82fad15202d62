"""growpart: what is done to which disk, by what the kernel tells of it."""

from __future__ import annotations

import pytest

from agent.host import Host
from agent.modules.base import Context
from agent.modules.disks import grow, mounted, name_of, partition, resize
from agent.plan import Plan
from agent.report import Report

from .machine import INSTANCE, SCRIPTS, Machine, bad, said

ROOT = "24 1 254:1 / / rw,relatime shared:1 - {type} {source} rw\n"
DISK = 8388608
TOOLS = ("/usr/bin/growpart", "/usr/sbin/resize2fs", "/usr/sbin/xfs_growfs", "/usr/bin/btrfs")


def with_disk(
    machine: Machine,
    disk: str = "vda",
    parts: tuple[tuple[str, int, int], ...] = (("vda1", 2048, 2097152),),
    size: int = DISK,
) -> Machine:
    """Give the guest the files of /sys that tell of a disk; figures are sectors."""
    guest = machine.guest
    block = "/sys/class/block"
    guest.write(f"{block}/{disk}/size", f"{size}\n".encode())
    for number, (name, start, length) in enumerate(parts, 1):
        for place in (f"{block}/{name}", f"{block}/{disk}/{name}"):
            guest.write(f"{place}/partition", f"{number}\n".encode())
            guest.write(f"{place}/start", f"{start}\n".encode())
            guest.write(f"{place}/size", f"{length}\n".encode())
    guest.write("/sys/dev/block/254:1/uevent", f"DEVNAME={parts[0][0]}\nPARTN=1\n".encode())
    for tool in TOOLS:
        guest.write(tool, b"", mode=0o755)
    return machine


def done(machine: Machine, mounts: str, mode: str = "auto") -> tuple[list[str], Report]:
    """Return the programs that would be run, and the report."""
    plan = Plan(Host(machine.guest.root))
    plan.runs = True
    report = Report()
    context = Context(plan, INSTANCE, report, {}, "debian", SCRIPTS)
    grow("/", mounts, mode, context)
    resize(mounts, context)
    return [effect.target for effect in plan.effects if effect.verb == "run"], report


@pytest.mark.parametrize(
    ("type_", "resizes"),
    [
        ("ext4", "resize2fs /dev/vda1"),
        ("xfs", "xfs_growfs /"),
        ("btrfs", "btrfs filesystem resize max /"),
    ],
)
def test_the_last_partition_grows_and_its_file_system_with_it(
    machine: Machine, type_: str, resizes: str
) -> None:
    with_disk(machine)

    ran, report = done(machine, ROOT.format(type=type_, source="/dev/root"))

    assert ran == ["growpart /dev/vda 1", resizes]
    assert bad(report) == []


def test_without_growpart_sfdisk_does_it(machine: Machine) -> None:
    with_disk(machine)
    machine.guest.path("/usr/bin/growpart").unlink()
    machine.guest.write("/sbin/sfdisk", b"", mode=0o755)

    ran, _ = done(machine, ROOT.format(type="ext4", source="/dev/vda1"))

    assert ran[:2] == [
        "sfdisk --no-reread --force -N 1 /dev/vda",
        "partx --update --nr 1 /dev/vda",
    ]


@pytest.mark.parametrize(
    ("disk", "parts"),
    [
        ("nvme0n1", (("nvme0n1p1", 2048, 2097152),)),
        ("mmcblk0", (("mmcblk0p1", 2048, 2097152),)),
        ("xvda", (("xvda1", 4096, 2097152), ("xvda15", 34, 2014))),
    ],
)
def test_a_partition_and_its_disk(
    machine: Machine, disk: str, parts: tuple[tuple[str, int, int], ...]
) -> None:
    with_disk(machine, disk, parts)

    found = partition(Host(machine.guest.root), parts[0][0])

    assert found is not None
    assert (found.device, found.disk, found.number) == (f"/dev/{parts[0][0]}", f"/dev/{disk}", 1)
    assert found.room == DISK - parts[0][1] - parts[0][2]


@pytest.mark.parametrize(
    ("parts", "size"),
    [
        # The disk ends with the partition, but for the copy of its table.
        ((("vda1", 2048, 2097152),), 2048 + 2097152 + 2048),
        # Another partition follows.
        ((("vda1", 2048, 2097152), ("vda2", 2048 + 2097152, 1000)), DISK),
    ],
)
def test_without_room_no_partition_is_touched(
    machine: Machine, parts: tuple[tuple[str, int, int], ...], size: int
) -> None:
    with_disk(machine, parts=parts, size=size)

    ran, report = done(machine, ROOT.format(type="ext4", source="/dev/vda1"))

    assert ran == ["resize2fs /dev/vda1"]
    assert said(report) == []


def test_a_file_system_is_resized_again_when_its_device_has_another_size(machine: Machine) -> None:
    with_disk(machine, size=2048 + 2097152)
    mounts = ROOT.format(type="ext4", source="/dev/vda1")
    kept = "/var/lib/linklocal/agent/resize_rootfs"

    machine.guest.write(kept, b"i-1\nvda1\n2097152\n")
    assert done(machine, mounts)[0] == []
    machine.guest.write(kept, b"i-1\nvda1\n1048576\n")
    assert done(machine, mounts)[0] == ["resize2fs /dev/vda1"]


@pytest.mark.parametrize(
    "mounts",
    [
        "24 1 0:40 / / rw - overlay overlay rw\n",
        "24 1 0:40 / / rw - tmpfs tmpfs rw\n",
        "24 1 0:40 / / rw - nfs4 server:/root rw\n",
        "",
    ],
)
def test_a_root_that_is_no_disk_is_left_alone(machine: Machine, mounts: str) -> None:
    host = Host(machine.guest.root)
    mount = mounted(mounts, "/")

    assert mount is None or name_of(host, mount) is None
    assert done(machine, mounts)[0] == []


def test_what_lies_on_logical_volumes_is_told(machine: Machine) -> None:
    machine.guest.write("/sys/dev/block/254:1/uevent", b"DEVNAME=dm-0\n")
    machine.guest.write("/sys/class/block/dm-0/size", b"100\n")

    _, report = done(machine, ROOT.format(type="ext4", source="/dev/mapper/a-b"))

    assert said(report)[0] == ("notice", "growpart /")


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("growpart: {mode: shrink}", "growpart.mode"),
        ("growpart: {devices: [vda]}", "growpart.devices"),
        ("growpart: {devices: /}", "growpart.devices"),
        ("growpart: yes", "growpart"),
        ("resize_rootfs: later", "resize_rootfs"),
        ("resize_rootfs: [1]", "resize_rootfs"),
    ],
)
def test_what_cannot_be_meant_is_refused(machine: Machine, document: str, place: str) -> None:
    assert bad(machine.apply("growpart", document)) == [("refused", place)]
