"""Documents that are on the machine: directories, and disks known by their label."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from ..errors import DatasourceError, HostError
from ..host import Host

BY_LABEL = "/dev/disk/by-label"
BLOCK = "/sys/class/block"
# Disks that a platform attaches; what is made of others (loop, dm, md, zram) is the image's own.
DISKS = ("sr", "vd", "sd", "xvd", "hd", "nvme", "mmcblk")


class Tree(Protocol):
    """Documents by path."""

    def get(self, path: str) -> bytes | None:
        """Return the document at *path*, or None when there is none."""
        ...

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in the directory *path*, none when there is none."""
        ...


class Directory:
    """The documents below a directory of the machine."""

    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self.path = path.rstrip("/")

    def get(self, path: str) -> bytes | None:
        """Return the document at *path*, or None when there is none."""
        try:
            return self._host.read(f"{self.path}/{path}")
        except HostError as error:
            raise DatasourceError(str(error)) from error

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in the directory *path*, none when there is none."""
        return self._host.names(f"{self.path}/{path}")


class Label(NamedTuple):
    """A disk and the label it has."""

    device: str
    label: str


def find_label(host: Host, wanted: frozenset[str]) -> Label | None:
    """Return the disk whose label, in any case, is in *wanted*; None when there is none.

    udev is believed when it names one. Early in a boot it may not have looked at all disks yet:
    then the first bytes of each disk are read.
    """
    for name in host.names(BY_LABEL) if host.kind(BY_LABEL) == "directory" else ():
        if name.lower() in wanted:
            return Label(f"{BY_LABEL}/{name}", name)
    # CD-ROMs first: that is what a config drive mostly is.
    for name in sorted(_disks(host), key=lambda name: (not name.startswith("sr"), name)):
        device = f"/dev/{name}"
        try:
            with opened(host, device) as volume:
                label = volume.label
        except DatasourceError:
            continue
        if label.lower() in wanted:
            return Label(device, label)
    return None


def _disks(host: Host) -> Iterator[str]:
    if host.kind(BLOCK) != "directory":
        return
    for name in host.names(BLOCK):
        if name.startswith(DISKS) and host.kind(f"/dev/{name}") is not None:
            yield name


class Volume(Tree, Protocol):
    """The file system of a disk."""

    label: str


@contextmanager
def opened(host: Host, device: str) -> Iterator[Volume]:
    """Give the file system of *device*: iso9660 or FAT, which no platform goes beyond.

    DatasourceError when it is none of them, or cannot be read.
    """
    from .fat import open_fat
    from .iso9660 import open_iso9660

    try:
        with host.reading(device) as read:
            volume = open_iso9660(read) or open_fat(read)
            if volume is None:
                raise DatasourceError(f"{device}: expected iso9660 or FAT, got neither")
            yield volume
    except HostError as error:
        raise DatasourceError(str(error)) from error
