"""mounts: lines of fstab, and what cannot be one."""

from __future__ import annotations

import pytest

from .machine import Machine, bad, said, texts

DEFAULT = "defaults,nofail,comment=linklocal\t0\t2"


def ours(machine: Machine) -> list[str]:
    lines = machine.guest.text("/etc/fstab").splitlines()
    return [line for line in lines if "comment=linklocal" in line]


@pytest.mark.parametrize(
    ("item", "line"),
    [
        ("[sdc, /opt/data]", f"/dev/sdc\t/opt/data\tauto\t{DEFAULT}"),
        ("[/dev/vdb1, /data, ext4]", f"/dev/vdb1\t/data\text4\t{DEFAULT}"),
        (
            "[LABEL=data, /data, xfs, 'noatime', '1', 0]",
            "LABEL=data\t/data\txfs\tnoatime,comment=linklocal\t1\t0",
        ),
        ("['nfs.example.com:/x', /x, nfs]", f"nfs.example.com:/x\t/x\tnfs\t{DEFAULT}"),
        ("[tmpfs, '/a b', tmpfs]", f"tmpfs\t/a\\040b\ttmpfs\t{DEFAULT}"),
        ("[/swapfile, none, swap, sw, 0, 0]", None),
        ("[/dev/vdc, '', swap]", None),
        ("[/dev/vdc, null]", None),
    ],
)
def test_a_line_of_fstab(machine: Machine, item: str, line: str | None) -> None:
    report = machine.apply("mounts", f"mounts: [{item}]")

    assert bad(report) == []
    if line is not None:
        assert ours(machine) == [line]


def test_mount_points_are_made_and_other_lines_stay(machine: Machine) -> None:
    before = machine.guest.text("/etc/fstab")

    machine.apply("mounts", "mounts: [[sdc, /opt/data]]")

    assert machine.guest.text("/etc/fstab").startswith(before)
    assert machine.guest.stat("/opt/data").kind == "directory"


def test_another_cloud_config_replaces_our_lines_alone(machine: Machine) -> None:
    machine.apply("mounts", "mounts: [[sdc, /a]]")

    machine.apply("mounts", "{mounts: [[sdd, /b]], mount_default_fields: [~, ~, ext4, noatime]}")

    assert ours(machine) == ["/dev/sdd\t/b\text4\tnoatime,comment=linklocal\t0\t2"]


def test_a_device_that_fstab_has_already_stays_as_it_is(machine: Machine) -> None:
    machine.guest.write("/etc/fstab", b"/dev/sdc /old ext4 defaults 0 2\n")

    report = machine.apply("mounts", "mounts: [[sdc, /new]]")

    assert said(report) == [("notice", "mounts[0]")]
    assert "in /etc/fstab already" in texts(report)
    assert ours(machine) == []


@pytest.mark.parametrize(
    ("item", "result"),
    [
        ("[]", "refused"),
        ("sdc", "refused"),
        ("[~, /x]", "refused"),
        ("[sdc, relative]", "refused"),
        ('[sdc, "/x\\n/dev/sda / ext4"]', "refused"),
        ("[sdc, /x, ext4, noatime, many, 0]", "refused"),
        ("[sdc, /x, ext4, noatime, 0, 0, 0]", "refused"),
        ("[sdc, {a: b}]", "refused"),
        ("[ephemeral0, /mnt]", "warning"),
    ],
)
def test_what_cannot_be_mounted_is_left_out_alone(machine: Machine, item: str, result: str) -> None:
    report = machine.apply("mounts", f"mounts: [{item}, [sdd, /b]]")

    assert bad(report) == [(result, "mounts[0]")]
    assert [line.split()[0] for line in ours(machine)] == ["/dev/sdd"]


def test_a_field_in_the_wrong_place_is_not_quoted(machine: Machine) -> None:
    report = machine.apply("mounts", "mounts: [[//nas/x, 'username=u,password=hunter2']]")

    assert "expected an absolute mount point, got text" in texts(report)
    assert "hunter2" not in texts(report)
