"""Disks as the kernel tells of them in /sys, and what makes a partition or file system larger."""

from typing import NamedTuple, Optional

from ..host import Host
from .base import Context
from .memory import recall, remember

SECTOR = 512
# A partition table of GPT has a copy at the end of the disk; partitions begin at whole MiB.
SPARE = 2048 + 34
_RESIZE: dict[str, tuple[str, ...]] = {
    "ext2": ("resize2fs", "{device}"),
    "ext3": ("resize2fs", "{device}"),
    "ext4": ("resize2fs", "{device}"),
    "xfs": ("xfs_growfs", "{point}"),
    "btrfs": ("btrfs", "filesystem", "resize", "max", "{point}"),
    "f2fs": ("resize.f2fs", "{device}"),
    "bcachefs": ("bcachefs", "device", "resize", "{device}"),
}


class Mounted(NamedTuple):
    """A line of mountinfo."""

    number: str
    """Major and minor number, such as 254:1."""
    point: str
    type: str
    source: str


class Partition(NamedTuple):
    """A partition on its disk; figures in sectors of 512 bytes."""

    device: str
    disk: str
    number: int
    end: int
    room: int
    """Free behind it, up to the next partition or the end of the disk."""


def mounted(mounts: str, point: str) -> Optional[Mounted]:
    """Return what is mounted at *point* now; a later line hides an earlier one."""
    found = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, more = before.split(" "), after.split(" ")
        if len(fields) > 4 and fields[4] == point and len(more) > 1:
            found = Mounted(fields[2], point, more[0], more[1])
    return found


def name_of(host: Host, mount: Mounted) -> Optional[str]:
    """Return the kernel's name of the device, such as vda1, None when it is no device."""
    # The source may be /dev/root or a link; btrfs has a number that no device has.
    told = _uevent(host, f"/sys/dev/block/{mount.number}").get("DEVNAME")
    if told or not mount.source.startswith("/dev/"):
        return told
    name = mount.source[len("/dev/") :]
    return name if host.kind(f"/sys/class/block/{name}", follow=True) else None


def partition(host: Host, name: str) -> Optional[Partition]:
    """Return the partition *name*, None when it is none (a whole disk, LVM, RAID)."""
    block = "/sys/class/block"
    number = _figure(host, f"{block}/{name}/partition")
    if number is None:
        return None
    disk = next((d for d in host.names(block) if _lies_on(host, name, d)), None)
    start, size = (_figure(host, f"{block}/{name}/{what}") for what in ("start", "size"))
    whole = None if disk is None else _figure(host, f"{block}/{disk}/size")
    if disk is None or start is None or size is None or whole is None:
        return None
    end = start + size
    others = (
        _figure(host, f"{block}/{disk}/{other}/start") for other in host.names(f"{block}/{disk}")
    )
    limit = min([each for each in others if each is not None and each >= end], default=whole)
    return Partition(f"/dev/{name}", f"/dev/{disk}", number, end, limit - end)


def size(host: Host, name: str) -> Optional[int]:
    """Return the size of a device in sectors."""
    return _figure(host, f"/sys/class/block/{name}/size")


def grow(what: str, mounts: str, mode: str, context: Context) -> None:
    """Let the partition *what*, a mount point or a device, take the room behind it."""
    host = context.host
    place = f"growpart {what}"
    name: Optional[str] = what[len("/dev/") :]
    if not what.startswith("/dev/"):
        mount = mounted(mounts, what)
        if mount is None:
            context.report.warning(place, "nothing is mounted there")
            return
        name = name_of(host, mount)
    found = None if name is None else partition(host, name)
    if found is None:
        # Nothing to be said of a root on a whole disk; of what was asked for by name, there is.
        if what != "/" or (name is not None and name.startswith("dm-")):
            context.report.notice(place, "no partition of a disk; left as it is")
        return
    if found.room <= SPARE:
        return
    if mode == "gpart":
        context.report.warning(place, "gpart is of another system; nothing was grown")
        return
    _enlarge(found, mode, place, context)


def _enlarge(found: Partition, mode: str, place: str, context: Context) -> None:
    host = context.host
    env = {"LANG": "C"}
    if host.which("growpart") is not None:
        completed = host.run(["growpart", found.disk, str(found.number)], env=env, timeout=120)
        # 1 is its word for nothing to be done.
        good = completed.status in (0, 1) and b"FAILED" not in completed.output
    elif mode == "growpart" or host.which("sfdisk") is None:
        context.report.failed(
            place, f"there is no {'growpart' if mode == 'growpart' else 'sfdisk'}"
        )
        return
    else:
        argv = ["sfdisk", "--no-reread", "--force", "-N", str(found.number), found.disk]
        completed = host.run(argv, stdin=b", +\n", env=env, timeout=120)
        if completed.status == 0:
            argv = ["partx", "--update", "--nr", str(found.number), found.disk]
            completed = host.run(argv, env=env, timeout=120)
        good = completed.status == 0
    if good:
        context.report.add(place, "done", f"{found.device} takes {found.room} sectors more")
    else:
        context.report.failed(place, _words(completed.output, completed.status))


def resize(mounts: str, context: Context) -> None:
    """Let the root's file system fill its device, when that has another size than last time."""
    host = context.host
    mount = mounted(mounts, "/")
    name = None if mount is None else name_of(host, mount)
    if mount is None or name is None:
        return
    now = size(host, name)
    if now is None or recall(context, "resize_rootfs") == (name, str(now)):
        return
    command = _RESIZE.get(mount.type)
    if command is None or host.which(command[0]) is None:
        why = "not one that can be resized here" if command is None else f"no {command[0]} here"
        context.report.notice("resize_rootfs", f"{mount.type}: {why}")
    else:
        argv = [word.format(device=f"/dev/{name}", point=mount.point) for word in command]
        completed = host.run(argv, timeout=3600)
        if completed.status != 0:
            context.report.failed("resize_rootfs", _words(completed.output, completed.status))
            return
    remember(context, "resize_rootfs", name, str(now))


def _words(output: bytes, status: int) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {status}"


def _lies_on(host: Host, name: str, disk: str) -> bool:
    there = name != disk and name.startswith(disk)
    return there and host.kind(f"/sys/class/block/{disk}/{name}", follow=True) == "directory"


def _figure(host: Host, path: str) -> Optional[int]:
    text = (host.read(path) or b"").strip()
    return int(text) if text.isdigit() else None


def _uevent(host: Host, path: str) -> dict[str, str]:
    lines = (host.read(f"{path}/uevent") or b"").decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
