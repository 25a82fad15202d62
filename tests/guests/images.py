"""Disk images for virtual machines: a root tree, layers over it, and what the test's side needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .guest import GuestError

INSIDE = Path(__file__).with_name("inside_vm.py")
# Sectors of 512 bytes: the first partition begins at the first MiB.
FIRST_SECTOR = 2048
# The x86-64 root partition of the Discoverable Partitions Specification.
ROOT_TYPE = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
HAND = """\
[Unit]
Description=Commands of a test
DefaultDependencies=no
After=dev-virtio\\x2dports-org.linklocal.test.device systemd-remount-fs.service
BindsTo=dev-virtio\\x2dports-org.linklocal.test.device
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ExecStart=python3 /usr/local/lib/linklocal-test/inside_vm.py
Environment=HOME=/root
"""
# systemd-networkd would wait for address conflicts, and nothing of it is the agent's.
NETWORK = """\
[Unit]
Description=The link of a test
ConditionKernelCommandLine=linklocal.test.address
DefaultDependencies=no
Wants=network.target
Before=network.target
After=sys-subsystem-net-devices-eth0.device
BindsTo=sys-subsystem-net-devices-eth0.device
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sh -e /usr/local/lib/linklocal-test/link.sh
"""
LINK = """\
for word in $(cat /proc/cmdline); do
  case $word in linklocal.test.address=*)
    ip link set eth0 up
    ip address add "${word#*=}" dev eth0
    ip route add 169.254.169.254 dev eth0
  esac
done
"""
# Arguments: mount options, a directory for it all, the script.
BAKE = """\
mount -t overlay overlay -o "$1" "$2/merged"
mount --bind "$2/files" "$2/merged/mnt"
mount -t proc proc "$2/merged/proc"
mount -t tmpfs tmpfs "$2/merged/dev"
for name in null urandom; do
  : >"$2/merged/dev/$name"
  mount --bind "/dev/$name" "$2/merged/dev/$name"
done
DEBIAN_FRONTEND=noninteractive exec chroot "$2/merged" /bin/sh -ec "$3"
"""
UNITS = {
    "linklocal-test-hand.service": (HAND, "dev-virtio\\x2dports-org.linklocal.test.device.wants"),
    "linklocal-test-network.service": (NETWORK, "sysinit.target.wants"),
}


def make(lower: Path, image: Path, *, layers: Sequence[Path] = (), mib: int = 1024) -> Path:
    """Write the *image* of a disk of *mib* MiB whose only partition has *lower* below *layers*.

    It is made without a loop device, and mounts of its own namespace only. *lower* needs a kernel
    if it is to boot, which is not read from the image: see `vm`.
    """
    tools = image.with_suffix(".tools")
    write_tools(tools)
    table = f"label: gpt\nstart={FIRST_SECTOR}, type={ROOT_TYPE}, name=root\n"
    image.unlink(missing_ok=True)
    with open(image, "xb") as file:
        os.truncate(file.fileno(), mib << 20)
    run(["sfdisk", "-q", str(image)], input=table)
    below = tools / "merged"
    below.mkdir()
    lowers = ":".join(str(path) for path in (*layers, tools / "files", lower))
    # One MiB is kept for the table's copy at the end.
    script = (
        f'mount -t overlay overlay -o "lowerdir=$1" "$2"\n'
        f'mke2fs -q -t ext4 -F -L rootfs -m 1 -d "$2" -E offset={FIRST_SECTOR * 512},'
        f'lazy_itable_init=1,lazy_journal_init=1,nodiscard "$3" {mib - 2}M'
    )
    run(["unshare", "--mount", "sh", "-ec", script, "sh", lowers, str(below), str(image)])
    shutil.rmtree(tools)
    return image


def bake(lower: Path, layer: Path, script: str, *, files: Sequence[Path] = ()) -> Path:
    """Run *script* in *lower*, what it changes going into *layer*, as a builder of images does.

    *layer* may have files already. *files* are seen in the directory /mnt.
    """
    place = layer.with_suffix(".bake")
    for name in ("work", "merged", "files"):
        (place / name).mkdir(parents=True)
    for path in files:
        shutil.copy(path, place / "files")
    options = f"lowerdir={lower},upperdir={layer},workdir={place / 'work'}"
    argv = ["unshare", "--mount", "sh", "-ec", BAKE, "sh", options, str(place), script]
    run(argv)
    shutil.rmtree(place)
    return layer


def write_tools(directory: Path) -> None:
    """Write the layer with the test's own programs and units."""
    shutil.rmtree(directory, ignore_errors=True)
    files = directory / "files"
    home = files / "usr/local/lib/linklocal-test"
    units = files / "etc/systemd/system"
    home.mkdir(parents=True)
    units.mkdir(parents=True)
    shutil.copy(INSIDE, home)
    (home / "link.sh").write_text(LINK)
    (files / "etc/fstab").write_text("LABEL=rootfs / ext4 defaults,errors=remount-ro 0 1\n")
    for name, (text, wanted_by) in UNITS.items():
        (units / name).write_text(text)
        (units / wanted_by).mkdir(exist_ok=True)
        (units / wanted_by / name).symlink_to(f"../{name}")


def run(argv: Sequence[str], *, input: str = "") -> None:
    """Run one of the tools, GuestError with what it said when it fails."""
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    program = shutil.which(argv[0], path=environment["PATH"])
    if program is None:
        raise GuestError(f"{argv[0]} is not installed")
    done = subprocess.run(
        [program, *argv[1:]], input=input.encode(), env=environment, capture_output=True
    )
    if done.returncode:
        raise GuestError(f"{argv[0]}: {(done.stdout + done.stderr).decode(errors='replace')}")
