"""disk_setup and swap: what would be made of which device, and what is left alone."""

from __future__ import annotations

import pytest

from agent.host import Host
from agent.modules.disk_setup import table
from agent.plan import Plan

from .machine import Machine, bad, said

SIZE = 8 * 2**20  # Sectors: 4 GiB.


@pytest.fixture
def disks(machine: Machine) -> Machine:
    """A machine with an empty disk, vdb, and another with two partitions, vdc."""
    guest = machine.guest
    for name in ("vdb", "vdc", "vdc1", "vdc2", "nvme0n1", "nvme0n1p1"):
        guest.write(f"/dev/{name}", b"")
    for disk in ("vdb", "vdc", "nvme0n1"):
        guest.write(f"/sys/class/block/{disk}/size", f"{SIZE}\n".encode())
    for number in (1, 2):
        guest.write(f"/sys/class/block/vdc/vdc{number}/partition", f"{number}\n".encode())
    for program in ("mkfs.ext4", "mkfs.xfs", "mkfs.vfat", "mkswap"):
        guest.write(f"/usr/sbin/{program}", b"", mode=0o755)
    return machine


def done(machine: Machine, module: str, document: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the programs that would change something, and what is not plainly done."""
    plan = Plan(Host(machine.guest.root))
    plan.runs = True
    report = machine.apply(module, document, plan)
    ran = [effect.target for effect in plan.effects if effect.verb == "run"]
    return [each for each in ran if not each.startswith("blkid")], said(report)


@pytest.mark.parametrize(
    ("type_", "layout", "script"),
    [
        ("mbr", True, "label: dos\ntype=83\n"),
        ("gpt", True, "label: gpt\ntype=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n"),
        (
            "mbr",
            ((25.0, "83"), (75.0, "82")),
            "label: dos\nsize=1024MiB, type=83\ntype=82\n",
        ),
        (
            "gpt",
            ((50.0, "8300"), (50.0, "82")),
            "label: gpt\nsize=2048MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n"
            "type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\n",
        ),
    ],
)
def test_a_table_of_partitions(
    type_: str, layout: bool | tuple[tuple[float, str], ...], script: str
) -> None:
    assert table(type_, layout, SIZE) == script


SFDISK = "sfdisk --quiet --wipe always --wipe-partitions always"


@pytest.mark.parametrize(
    ("document", "ran"),
    [
        ("disk_setup: {/dev/vdb: {layout: true}}", [f"{SFDISK} /dev/vdb"]),
        ("disk_setup: {vdb: {layout: [50, [50, 82]], table_type: gpt}}", [f"{SFDISK} /dev/vdb"]),
        (
            "{device_aliases: {data: /dev/vdb}, disk_setup: {data: {layout: true}}}",
            [f"{SFDISK} /dev/vdb"],
        ),
        ("disk_setup: {vdb: {layout: false}}", []),
        ("disk_setup: {vdb: {layout: remove, overwrite: true}}", ["wipefs --all /dev/vdb"]),
        ("disk_setup: {vdc: {layout: true, overwrite: true}}", [f"{SFDISK} /dev/vdc"]),
        (
            "fs_setup: [{device: /dev/vdb, filesystem: ext4, label: data, partition: none}]",
            ["mkfs.ext4 -L data -F /dev/vdb"],
        ),
        ("fs_setup: [{device: vdc, filesystem: xfs, partition: 2}]", ["mkfs.xfs -f /dev/vdc2"]),
        (
            "fs_setup: [{device: nvme0n1, filesystem: vfat, label: EFI, partition: 1}]",
            ["mkfs.vfat -n EFI /dev/nvme0n1p1"],
        ),
        ("fs_setup: [{device: vdc, filesystem: ext4}]", ["mkfs.ext4 -F /dev/vdc1"]),
        (
            "{device_aliases: {x: vdc}, fs_setup: [{device: x.2, filesystem: swap}]}",
            ["mkswap -f /dev/vdc2"],
        ),
        (
            "fs_setup: [{device: vdb, filesystem: ext4, extra_opts: [-E, nodiscard]}]",
            ["mkfs.ext4 -F -E nodiscard /dev/vdb"],
        ),
        (
            "fs_setup: [{device: vdb, filesystem: ext4, label: a, "
            "cmd: mkfs -t %(filesystem)s -L %(label)s %(device)s}]",
            ["/bin/sh -c 'mkfs -t ext4 -L a /dev/vdb'"],
        ),
    ],
)
def test_what_is_asked_for_is_made(disks: Machine, document: str, ran: list[str]) -> None:
    assert done(disks, "disk_setup", document) == (ran, [])


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ("disk_setup: {vdc: {layout: true}}", ("notice", "disk_setup.vdc")),
        ("disk_setup: {vdb: {layout: remove}}", ("not run", "disk_setup.vdb")),
        ("disk_setup: [vdb]", ("refused", "disk_setup")),
        ("disk_setup: {vdb: true}", ("refused", "disk_setup.vdb")),
        ("disk_setup: {vdb: {layout: [60, 60]}}", ("refused", "disk_setup.vdb.layout")),
        ("disk_setup: {vdb: {layout: [half]}}", ("refused", "disk_setup.vdb.layout")),
        ('disk_setup: {vdb: {layout: [[5, "8\\n"]]}}', ("refused", "disk_setup.vdb.layout")),
        ("disk_setup: {vdb: {table_type: sun, layout: true}}",
         ("refused", "disk_setup.vdb.table_type")),
        ("fs_setup: {device: vdb}", ("refused", "fs_setup")),
        ("fs_setup: [{filesystem: ext4}]", ("refused", "fs_setup[0]")),
        ("fs_setup: [{device: vdb}]", ("refused", "fs_setup[0]")),
        ("fs_setup: [{device: vdb, filesystem: ext4, partition: first}]",
         ("refused", "fs_setup[0].partition")),
        ("fs_setup: [{device: vdb, filesystem: zfs}]", ("failed", "fs_setup[0]")),
        ("fs_setup: [{device: vdb, filesystem: ext4, cmd: 'mkfs %(disk)s'}]",
         ("failed", "fs_setup[0]")),
        ("device_aliases: {a/b: vdb}", ("refused", "device_aliases")),
    ],
)  # fmt: skip
def test_what_is_wrong_or_holds_data_is_left_alone(
    disks: Machine, document: str, found: tuple[str, str]
) -> None:
    assert done(disks, "disk_setup", document) == ([], [found])


@pytest.mark.parametrize(
    "document",
    [
        "disk_setup: {vdc: {layout: true, overwrite: true}}",
        "fs_setup: [{device: vdc, filesystem: ext4, partition: 2, overwrite: true}]",
    ],
)
def test_what_is_in_use_is_never_touched(disks: Machine, document: str) -> None:
    disks.guest.write("/proc/self/mounts", b"/dev/vdc2 /data ext4 rw 0 0\n")

    ran, found = done(disks, "disk_setup", document)

    assert ran == []
    assert [result for result, _ in found] == ["not run"]


def test_mounts_know_the_names_of_devices(disks: Machine) -> None:
    disks.apply("mounts", "{device_aliases: {data: /dev/vdb}, mounts: [[data.1, /data]]}")

    assert disks.guest.text("/etc/fstab").splitlines()[-1].startswith("/dev/vdb1\t/data\t")


@pytest.mark.parametrize(
    ("swap", "count"),
    [
        ("{filename: /swap, size: 2G}", 2048),
        ("{filename: /swap, size: 1048576}", 1),
        ("{filename: /swap, size: 0.5GiB}", 512),
        ("{filename: /swap, size: '64M'}", 64),
    ],
)
def test_a_swap_file_is_made_and_swapped_to(machine: Machine, swap: str, count: int) -> None:
    ran, found = done(machine, "mounts", f"swap: {swap}")

    assert ran == [f"fallocate -l {count}M /swap", "mkswap /swap", "swapon /swap"]
    assert found == []


def test_a_swap_file_that_is_there_is_used(machine: Machine) -> None:
    machine.guest.write("/swap.img", b"", mode=0o600)

    for _ in range(2):
        machine.apply("mounts", "swap: {size: 1G}")

        lines = machine.guest.text("/etc/fstab").splitlines()
        assert [line for line in lines if "swap" in line] == [
            "/swap.img\tnone\tswap\tsw,comment=linklocal\t0\t0"
        ]


@pytest.mark.parametrize(
    ("swap", "place"),
    [
        ("{size: much}", "swap.size"),
        ("{size: -1}", "swap.size"),
        ("{filename: swap, size: 1G}", "swap.filename"),
        ("{size: auto, maxsize: [1]}", "swap.maxsize"),
        ("yes", "swap"),
    ],
)
def test_a_swap_file_that_cannot_be_meant(machine: Machine, swap: str, place: str) -> None:
    before = machine.tree()

    assert bad(machine.apply("mounts", f"swap: {swap}")) == [("refused", place)]
    assert machine.tree() == before


def test_no_swap_file_is_made_by_default(machine: Machine) -> None:
    before = machine.tree()

    assert said(machine.apply("mounts", "swap: {filename: /swap}")) == []
    assert machine.tree() == before
