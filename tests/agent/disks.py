"""Disks as platforms attach them: images made by the tools that everybody makes them with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..guests.directory import DirectoryGuest

ENVIRONMENT = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
ISO = ("joliet and rock ridge", "joliet", "rock ridge", "plain")
FAT = ("fat12", "fat16", "fat32")
FLAGS = {
    "joliet and rock ridge": ["-J", "-r"],
    "joliet": ["-J"],
    "rock ridge": ["-r"],
    "plain": ["-iso-level", "4"],
}
SIZES = {"fat12": 1, "fat16": 16, "fat32": 64}


def tool(*argv: str) -> None:
    subprocess.run(argv, env=ENVIRONMENT, check=True, capture_output=True)


def disk(image: Path, kind: str, label: str, files: Mapping[str, bytes]) -> Path:
    """Make *image*, a file system of *kind* with *files* by path."""
    tree = image.with_suffix(".tree")
    for path, content in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    if kind in FLAGS:
        tool("genisoimage", "-quiet", "-V", label, *FLAGS[kind], "-o", str(image), str(tree))
    else:
        with open(image, "wb") as file:
            file.truncate(SIZES[kind] << 20)
        tool("mkfs.vfat", "-F", kind[3:], "-s", "1", "-n", label, str(image))
        tops = [str(path) for path in sorted(tree.iterdir())]
        tool("mcopy", "-s", "-i", str(image), *tops, "::")
    shutil.rmtree(tree)
    return image


def attach(guest: DirectoryGuest, image: Path, name: str = "vdb") -> None:
    """Give *guest* the disk as /dev/NAME, before udev has looked at it."""
    guest.write(f"/sys/class/block/{name}/size", b"2048\n")
    guest.path("/dev").mkdir(exist_ok=True)
    guest.path(f"/dev/{name}").unlink(missing_ok=True)
    os.link(image, guest.path(f"/dev/{name}"))
