"""growpart: the partition and the file system of the root fill the disk.

At every boot, for a disk may have been made larger; nothing where the root is no disk.
"""

from typing import Annotated, NamedTuple, Optional, Union

from .base import Context, Frequency, Module, Stage
from .readers import kind

MOUNTS = "/proc/self/mountinfo"


def read_mode(raw: object) -> str:
    """Return how partitions are grown."""
    if raw is False:
        return "off"
    if isinstance(raw, str) and raw in ("auto", "growpart", "gpart", "off"):
        return raw
    raise ValueError(f"expected auto, growpart or off, got {kind(raw)}")


def read_devices(raw: object) -> tuple[str, ...]:
    """Return mount points and devices."""
    if isinstance(raw, list) and all(isinstance(e, str) and e.startswith("/") for e in raw):
        return tuple(raw)
    raise ValueError("expected a list of mount points or devices such as '/'")


def read_resize(raw: object) -> bool:
    """Return whether the file system is resized; `noblock` means yes."""
    words = {"true": True, "yes": True, "on": True, "noblock": True, "false": False, "no": False}
    value = words.get(raw.lower(), raw) if isinstance(raw, str) else raw
    if isinstance(value, bool):
        return value
    raise ValueError(f"expected true, false or 'noblock', got {kind(raw)}")


class Grow(NamedTuple):
    """How partitions grow."""

    mode: Annotated[str, read_mode] = "auto"
    """auto (growpart where it is installed, else sfdisk), growpart, or off."""
    devices: Annotated[tuple[str, ...], read_devices] = ("/",)
    """Mount points or devices whose partitions grow."""
    ignore_growroot_disabled: bool = False
    """Grow even if there is a file /etc/growroot-disabled."""


class Growpart(NamedTuple):
    """How large the root is."""

    growpart: Optional[Grow] = None
    """How partitions grow; they do without it, too."""
    resize_rootfs: Annotated[Union[bool, str], read_resize] = True
    """Let the root's file system fill its partition; `noblock` is as good as true."""


def apply(section: Growpart, context: Context) -> None:
    """Grow what has room behind it."""
    host = context.host
    if not host.live:
        # What is mounted here is not the root that was named.
        if section.growpart is not None:
            host.not_run.append("growpart: only a running machine knows its disks")
        return
    wanted = section.growpart or Grow()
    off = wanted.mode == "off"
    if host.kind("/etc/growroot-disabled") is not None and not wanted.ignore_growroot_disabled:
        off = True
    if off and not section.resize_rootfs:
        return
    mounts = (host.read(MOUNTS) or b"").decode("utf-8", "replace")
    if wanted.devices == ("/",) and not _is_on_a_disk(mounts):
        return
    from .disks import grow, resize

    if not off:
        for device in wanted.devices:
            grow(device, mounts, wanted.mode, context)
    if section.resize_rootfs:
        resize(mounts, context)


def _is_on_a_disk(mounts: str) -> bool:
    """Say whether the root, the last that was mounted there, is a device."""
    source = ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split(" ")[4:5] == ["/"]:
            source = rest.split(" ")[1] if rest.count(" ") > 0 else ""
    return source.startswith("/dev/")


MODULE = Module("growpart", Growpart, Stage.NETWORK, Frequency.ALWAYS, apply, needs_section=False)
