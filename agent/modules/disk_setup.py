"""disk_setup: partitions and file systems of further disks, before anything is mounted.

What holds data is left alone unless the cloud-config says that it may go.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Callable, Literal, NamedTuple, Optional, Union

from ..errors import HostError
from .base import Context, Frequency, Module, Stage
from .block_devices import (
    content,
    in_use,
    partition,
    partitions,
    path_of,
    read_aliases,
    sectors,
)
from .command_list import read_command
from .items import load_item
from .readers import kind, read_line

_SWAP = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_GUIDS = {
    "82": _SWAP,
    "8200": _SWAP,
    "83": _LINUX,
    "8300": _LINUX,
    "8e": "E6D6D379-F507-44C2-A23C-238F2A3DF928",
    "8e00": "E6D6D379-F507-44C2-A23C-238F2A3DF928",
    "fd": "A19D880F-05FC-4D3B-A006-743F0F84911E",
    "fd00": "A19D880F-05FC-4D3B-A006-743F0F84911E",
    "ef": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "ef00": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "ef02": "21686148-6449-6E6F-744E-656564454649",
    "0700": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
}
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
# How each mkfs is told to go ahead, and the label; ext's of all else.
_FORCE = {"ext2": "-F", "ext3": "-F", "ext4": "-F", "xfs": "-f", "btrfs": "-f", "swap": "-f"}
_LABEL = {"vfat": "-n", "fat": "-n", "msdos": "-n", "f2fs": "-l"}

Layout = tuple[tuple[float, str], ...]
"""Percent and type of each partition."""


def read_layout(raw: object) -> Union[bool, str, Layout]:
    """Return a layout: true for one partition, 'remove', or percents with types."""
    if isinstance(raw, bool) or raw == "remove":
        return raw if isinstance(raw, bool) else "remove"
    if not isinstance(raw, list) or not raw:
        raise ValueError(f"expected true, 'remove' or a list of percents, got {kind(raw)}")
    parts = []
    for item in raw:
        size, type_ = item if isinstance(item, list) and len(item) == 2 else (item, "83")
        good = type(size) in (int, float) and 0 < size <= 100
        if not good or (
            not re.fullmatch(r"[0-9A-Fa-f]{1,4}", str(type_)) and not _GUID.fullmatch(str(type_))
        ):
            raise ValueError("expected percents such as 50, or [50, 82] with a type")
        parts.append((float(size), str(type_).lower()))
    if sum(size for size, _ in parts) > 100:
        raise ValueError("expected at most 100 percent altogether")
    return tuple(parts)


class Disk(NamedTuple):
    """The partitions of a disk."""

    table_type: Literal["mbr", "gpt"] = "mbr"
    """Type of the partition table: mbr or gpt."""
    layout: Annotated[Any, read_layout] = False
    """true: one partition; a list: the percent of each, or [PERCENT, TYPE]; `remove`: no table;
    false: nothing is done."""
    overwrite: bool = False
    """Do it even if something lies on the disk."""


class FileSystem(NamedTuple):
    """A file system to be made."""

    device: Annotated[str, read_line]
    """Disk or partition: a path, an alias, or ALIAS.NUMBER."""
    filesystem: Annotated[Optional[str], read_line] = None
    """Its type, such as ext4, xfs or swap."""
    label: Annotated[Optional[str], read_line] = None
    """Its label."""
    partition: Union[int, str] = "any"
    """Number of the partition; `none` is the device itself; `any` the first that has such a file
    system or none at all; `auto` the same, by label, too."""
    overwrite: bool = False
    """Make it even if there is another file system."""
    replace_fs: Union[bool, str] = False
    """With `auto` and `any`: take the first partition even if there is another file system."""
    extra_opts: Any = ()
    """Further options of mkfs."""
    cmd: Any = None
    """A command in the place of mkfs; %(label)s, %(filesystem)s and %(device)s are filled in."""


class DiskSetup(NamedTuple):
    """Partitions and file systems of further disks."""

    disk_setup: Any = None
    """Partitions by disk: a path or an alias."""
    fs_setup: Any = None
    """A list of file systems to be made."""
    device_aliases: Annotated[Optional[dict[str, str]], read_aliases] = None
    """Names for devices, to be used in `disk_setup`, `fs_setup` and `mounts`."""


class Refusal(Exception):
    """What is asked for is not done, for the reason it says."""


def apply(section: DiskSetup, context: Context) -> None:
    """Make the partitions, then the file systems, each for itself."""
    disks, systems = _disks(section, context), _systems(section, context)
    host = context.host
    if not host.live and not host.records:
        if disks or systems:
            host.not_run.append("disk_setup: only a running machine has disks")
        return
    work: list[tuple[str, Callable[[], None]]] = [
        (place, partial(_partition, path, disk, place, context)) for place, path, disk in disks
    ]
    work += [(place, partial(_format, path, each, place, context)) for place, path, each in systems]
    for place, do in work:
        try:
            do()
        except HostError as error:
            context.report.failed(place, str(error))
        except Refusal as error:
            context.report.add(place, "not run", str(error))


def _disks(section: DiskSetup, context: Context) -> list[tuple[str, str, Any]]:
    raw = section.disk_setup or {}
    if not isinstance(raw, Mapping):
        context.report.refused("disk_setup", f"expected settings by disk, got {kind(raw)}")
        return []
    found = []
    for name, settings in raw.items():
        place = f"disk_setup.{name}"
        if not isinstance(settings, Mapping):
            context.report.refused(place, f"expected the disk's settings, got {kind(settings)}")
            continue
        disk = load_item(Disk, settings, place, context.report)
        if disk is not None and disk.layout:
            found.append((place, path_of(str(name), section.device_aliases), disk))
    return found


def _systems(section: DiskSetup, context: Context) -> list[tuple[str, str, Any]]:
    raw = section.fs_setup or []
    if not isinstance(raw, list):
        context.report.refused("fs_setup", f"expected a list, got {kind(raw)}")
        return []
    found = []
    for n, settings in enumerate(raw):
        place = f"fs_setup[{n}]"
        if not isinstance(settings, Mapping):
            context.report.refused(place, f"expected a file system, got {kind(settings)}")
            continue
        system = load_item(FileSystem, settings, place, context.report)
        if system is None:
            continue
        if system.filesystem is None and system.cmd is None:
            context.report.refused(place, "missing key 'filesystem'")
        elif not re.fullmatch(r"auto|any|none|\d+", str(system.partition)):
            context.report.refused(f"{place}.partition", "expected a number, auto, any or none")
        else:
            found.append((place, path_of(system.device, section.device_aliases), system))
    return found


def _there(path: str, context: Context) -> None:
    host = context.host
    if host.kind(path, follow=True) is None:
        if host.which("udevadm") is not None:
            host.run(["udevadm", "settle"], timeout=60)
        if host.kind(path, follow=True) is None and not host.records:
            raise HostError(f"no such device: {path}")
    if in_use(host, path):
        raise Refusal(f"{path} is in use")


# --- partitions


def _partition(path: str, disk: Disk, place: str, context: Context) -> None:
    host = context.host
    _there(path, context)
    if not disk.overwrite:
        if disk.layout == "remove":
            raise Refusal("expected overwrite: true beside 'remove'")
        lies = content(host, path)
        if lies.table or lies.type or partitions(host, path):
            words = lies.type or f"a table of {lies.table or 'partitions'}"
            context.report.notice(place, f"{path} holds {words} and stays as it is")
            return
    if disk.layout == "remove":
        _run(["wipefs", "--all", path], b"", context)
    else:
        script = table(disk.table_type, disk.layout, sectors(host, path))
        _run(
            ["sfdisk", "--quiet", "--wipe", "always", "--wipe-partitions", "always", path],
            script.encode(),
            context,
        )
    if host.which("udevadm") is not None:
        host.run(["udevadm", "settle"], timeout=60)


def table(type_: str, layout: Union[bool, Layout], size: int) -> str:
    """Return what sfdisk is told; *size* is that of the disk, in sectors."""
    parts = ((100.0, "83"),) if isinstance(layout, bool) else layout
    lines = [f"label: {'dos' if type_ == 'mbr' else 'gpt'}"]
    for n, (percent, code) in enumerate(parts):
        wanted = _GUIDS.get(code, code) if type_ == "gpt" else code
        # The last takes what is left; the others whole MiB, as partitions begin at such.
        mib = int(size * percent / 100) // 2048
        room = f"size={mib}MiB, " if n < len(parts) - 1 else ""
        lines.append(f"{room}type={wanted}")
    return "".join(f"{line}\n" for line in lines)


# --- file systems


def _format(path: str, system: FileSystem, place: str, context: Context) -> None:
    host = context.host
    _there(path, context)
    device = _device(path, system, context)
    if device is None:
        context.report.notice(place, f"{path} has such a file system already")
        return
    if device != path:
        _there(device, context)
    lies = content(host, device)
    if lies.type and not (system.overwrite or system.replace_fs):
        if lies.type == system.filesystem and lies.label == (system.label or ""):
            context.report.notice(place, f"{device} has such a file system already")
            return
        raise Refusal(f"{device} holds {lies.type}; expected overwrite: true to replace it")
    _run(_command(device, system, context), b"", context)


def _device(path: str, system: FileSystem, context: Context) -> Optional[str]:
    """Return where it is to be made, None when it is there."""
    wanted = str(system.partition)
    if wanted == "none":
        return path
    if wanted.isdigit():
        # 0 is the device itself, as is one that is named with its number.
        return partition(path, wanted) if int(wanted) else path
    host = context.host
    places = partitions(host, path) or (path,)
    lies = {each: content(host, each) for each in places}
    for found in lies.values():
        same_label = wanted == "any" or found.label == (system.label or "")
        if found.type and found.type == system.filesystem and same_label and not system.overwrite:
            return None
    empty = next((each for each, found in lies.items() if not (found.type or found.table)), None)
    return empty or places[0]


def _command(device: str, system: FileSystem, context: Context) -> list[str]:
    names = {
        "label": system.label or "",
        "filesystem": system.filesystem or "",
        "device": device,
    }
    if system.cmd is not None:
        try:
            words = read_command(system.cmd)
            if isinstance(words, str):
                return ["/bin/sh", "-c", words % names]
            return [word % names for word in words]
        except (ValueError, KeyError, TypeError) as error:
            raise HostError(f"cmd: expected a command, {error}") from error
    type_ = names["filesystem"]
    host = context.host
    programs = ("mkswap",) if type_ == "swap" else (f"mkfs.{type_}", f"mk{type_}")
    program = next((each for each in programs if host.which(each) is not None), None)
    if program is None:
        raise HostError(f"there is no {programs[0]} here")
    argv = [program]
    if system.label:
        argv += [_LABEL.get(type_, "-L"), system.label]
    if type_ in _FORCE:
        argv.append(_FORCE[type_])
    options = system.extra_opts
    options = options.split() if isinstance(options, str) else [str(each) for each in options]
    return [*argv, *options, device]


def _run(argv: list[str], stdin: bytes, context: Context) -> None:
    completed = context.host.run(argv, stdin=stdin, timeout=3600)
    if completed.status != 0:
        lines = completed.output.decode("utf-8", "replace").strip().splitlines()
        raise HostError(lines[-1] if lines else f"{argv[0]}: exit status {completed.status}")


MODULE = Module("disk_setup", DiskSetup, Stage.NETWORK, Frequency.INSTANCE, apply)
