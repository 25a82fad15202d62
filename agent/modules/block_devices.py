"""Names of disks and partitions as a cloud-config has them, and what lies on each."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

from ..host import Host


class Content(NamedTuple):
    """What lies on a device; empty words for nothing."""

    type: str
    """Type of the file system."""
    label: str
    table: str
    """Type of the partition table."""


def read_aliases(raw: object) -> dict[str, str]:
    """Return devices by the names given to them."""
    found: dict[str, str] = {}
    if not isinstance(raw, Mapping):
        # The loader takes a reader's ValueError alone.
        raise ValueError("expected devices by the names given to them")  # noqa: TRY004
    for name, device in raw.items():
        if not isinstance(name, str) or not isinstance(device, str) or "/" in name:
            raise ValueError("expected names such as 'data' and devices such as '/dev/vdb'")
        found[name] = device if device.startswith("/dev/") else f"/dev/{device}"
    return found


def resolve(name: str, aliases: Optional[Mapping[str, str]]) -> str:
    """Return the path that *name*, such as data.1, means by *aliases*; else *name* as it is."""
    known = aliases or {}
    if name in known:
        return known[name]
    disk, dot, number = name.rpartition(".")
    if dot and number.isdigit() and disk in known:
        return partition(known[disk], number)
    return name


def path_of(name: str, aliases: Optional[Mapping[str, str]]) -> str:
    """Return the path of a device named by alias, by path, or without its /dev."""
    found = resolve(name, aliases)
    return found if found.startswith("/") else f"/dev/{found}"


def partition(disk: str, number: Any) -> str:
    """Return the path of a partition of *disk*."""
    if disk.startswith("/dev/disk/by-"):
        return f"{disk}-part{number}"
    return f"{disk}{'p' if disk[-1:].isdigit() else ''}{number}"


def partitions(host: Host, disk: str) -> tuple[str, ...]:
    """Return the paths of the partitions that *disk* has, in their order."""
    name = disk.rpartition("/")[2]
    place = f"/sys/class/block/{name}"
    found: dict[int, str] = {}
    for each in host.names(place):
        number = (host.read(f"{place}/{each}/partition") or b"").strip()
        if number.isdigit():
            found[int(number)] = f"/dev/{each}"
    return tuple(found[number] for number in sorted(found))


def sectors(host: Host, disk: str) -> int:
    """Return the size of *disk* in sectors of 512 bytes, 0 when it is not known."""
    text = (host.read(f"/sys/class/block/{disk.rpartition('/')[2]}/size") or b"").strip()
    return int(text) if text.isdigit() else 0


def content(host: Host, device: str) -> Content:
    """Return what lies on *device*."""
    output = host.run(["blkid", "-p", "-o", "export", device], timeout=60).output
    lines = output.decode("utf-8", "replace").splitlines()
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    return Content(said.get("TYPE", ""), said.get("LABEL", ""), said.get("PTTYPE", ""))


def in_use(host: Host, device: str) -> bool:
    """Say whether *device*, or a partition of it, is mounted or swapped to."""
    mounts = (host.read("/proc/self/mounts") or b"").decode("utf-8", "replace").splitlines()
    swaps = (host.read("/proc/swaps") or b"").decode("utf-8", "replace").splitlines()
    used = {line.split(" ")[0] for line in mounts} | {line.split(" ")[0] for line in swaps}
    return bool(used & {device, *partitions(host, device)})
