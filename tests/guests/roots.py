"""Root trees for guests: built once, kept outside the checkout, never changed afterwards."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DEBIAN11, DEBIAN12, DEBIAN13 = "debian11", "debian12", "debian13"
MACHINE11 = "machine11"
MACHINE12 = "machine12"
MACHINE13 = "machine13"
BOTH12 = "both12"
"""The machine of Debian 12 with Debian's cloud-init in it."""
NETWORK = "network"
"""Debian 12 with systemd and every system that can configure a network."""
SUITES = {
    DEBIAN11: "bullseye",
    DEBIAN12: "bookworm",
    DEBIAN13: "trixie",
    MACHINE11: "bullseye",
    MACHINE12: "bookworm",
    MACHINE13: "trixie",
    BOTH12: "bookworm",
    NETWORK: "bookworm",
}
# What a small cloud image has, without an init. Debian's cloud-init is in the same tree, so that
# both agents can be looked at on the same files; nothing starts it.
PACKAGES = (
    "adduser",
    "ca-certificates",
    "chrony",
    "cloud-guest-utils",
    "cloud-init",
    "curl",
    "e2fsprogs",
    "iproute2",
    "isc-dhcp-client",
    "kmod",
    "locales",
    "login",
    "netbase",
    "netplan.io",
    "openssh-client",
    "openssh-server",
    "passwd",
    "procps",
    "python3",
    "python3-cffi-backend",
    "python3-cryptography",
    "python3-jinja2",
    "python3-yaml",
    "sudo",
    "tzdata",
    "udev",
)
# What the agent and the reset daemon need, for the releases beside the one that most tests use.
FEWER_PACKAGES = (
    "adduser",
    "ca-certificates",
    "curl",
    "iproute2",
    "login",
    "netbase",
    "openssh-server",
    "passwd",
    "procps",
    "python3",
    "python3-cryptography",
    "python3-jinja2",
    "python3-yaml",
    "sudo",
    "tzdata",
)
# A whole machine: an init, a kernel, and no agent of any kind that acts at its boot.
MACHINE_PACKAGES = (
    *(name for name in PACKAGES if name != "cloud-init"),
    "dbus",
    "dosfstools",
    "fdisk",
    "gdisk",
    "initramfs-tools",
    "iputils-ping",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "nftables",
    "parted",
    "python3-aiohttp",
    "python3-passlib",
    "systemd-sysv",
    "xfsprogs",
)
# The packages' other releases, in nspawn guests only. iptables is what the older one has.
OTHER_MACHINES = (*FEWER_PACKAGES, "dbus", "ifupdown", "iptables", "systemd", "systemd-sysv")
# Which of the systems in it is to run is for a test to say.
NETWORK_PACKAGES = (
    "adduser",
    "bridge-utils",
    "ca-certificates",
    "curl",
    "dbus",
    "ifenslave",
    "ifupdown",
    "iproute2",
    "iputils-ping",
    "isc-dhcp-client",
    "kmod",
    "login",
    "netbase",
    "netplan.io",
    "network-manager",
    "openssh-server",
    "passwd",
    "procps",
    "python3",
    "python3-jinja2",
    "python3-yaml",
    "systemd",
    "systemd-sysv",
    "udev",
)
# Housekeeping would change what a test looks at, and take its time.
MASKED_UNITS = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "man-db.timer",
)
# Part of the cache key: raise it when `customise` changes.
EDITION = 1


class RootError(Exception):
    """The tree cannot be built here."""


def cache() -> Path:
    """Return the directory of built trees: $LINKLOCAL_GUESTS, else the system's or user's cache."""
    named = os.environ.get("LINKLOCAL_GUESTS")
    if named:
        return Path(named)
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "linklocal-guests"
    return Path("/var/cache/linklocal-guests")


def packages_of(name: str) -> tuple[str, ...]:
    packages = {
        DEBIAN11: (*FEWER_PACKAGES, "netplan.io"),
        DEBIAN12: PACKAGES,
        MACHINE11: OTHER_MACHINES,
        MACHINE12: MACHINE_PACKAGES,
        MACHINE13: OTHER_MACHINES,
        BOTH12: (*MACHINE_PACKAGES, "cloud-init"),
        NETWORK: NETWORK_PACKAGES,
    }
    return packages.get(name, FEWER_PACKAGES)


def tree(name: str = DEBIAN12) -> Path:
    """Return where the tree of the release *name*, one of SUITES, is or will be."""
    words = (SUITES[name], str(EDITION), *packages_of(name))
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
    return cache() / f"{name}-{key}"


def debian11() -> Path:
    """Return a Debian 11 root tree: the oldest Python and libraries that the agent runs on."""
    return built(DEBIAN11)


def debian12() -> Path:
    """Return a Debian 12 root tree."""
    return built(DEBIAN12)


def debian13() -> Path:
    """Return a Debian 13 root tree."""
    return built(DEBIAN13)


def machine12() -> Path:
    """Return a Debian 12 root tree with systemd and a kernel, as `nspawn` and `vm` boot it."""
    return built(MACHINE12)


def machine11() -> Path:
    """Return a Debian 11 root tree with systemd."""
    return built(MACHINE11)


def machine13() -> Path:
    """Return a Debian 13 root tree with systemd."""
    return built(MACHINE13)


def both12() -> Path:
    """Return that Debian 12 root tree with Debian's cloud-init as well."""
    return built(BOTH12)


def network() -> Path:
    """Return the Debian 12 root tree that network configuration is tried in."""
    return built(NETWORK)


def built(name: str) -> Path:
    """Return the tree of *name*, built by the first who asks; others wait for that one."""
    made = tree(name)
    if made.is_dir():
        return made
    if os.geteuid() != 0:
        raise RootError("building a root tree needs root")
    made.parent.mkdir(parents=True, exist_ok=True)
    with open(made.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_dir():
            draft = made.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            build(draft, SUITES[name], packages_of(name))
            customise(draft)
            if name in (MACHINE11, MACHINE12, MACHINE13, BOTH12):
                mask_units(draft)
            draft.rename(made)
    return made


def build(draft: Path, suite: str, packages: Sequence[str]) -> None:
    """Bootstrap *packages* into *draft*; RootError with the end of its log when that fails."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    program = shutil.which("mmdebstrap", path=path)
    if program is None:
        raise RootError("mmdebstrap is not installed")
    argv = [program, "--quiet", "--mode=root", "--variant=minbase"]
    argv += [f"--include={','.join(packages)}", suite, str(draft)]
    environment = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        shutil.rmtree(draft, ignore_errors=True)
        raise RootError(f"mmdebstrap failed:\n{done.stdout.decode(errors='replace')[-2000:]}")


def customise(root: Path) -> None:
    """Make the tree an image: what is one machine's own is not in it."""
    for pattern in (
        "etc/ssh/ssh_host_*",
        "var/cache/apt/archives/*.deb",
        "var/cache/apt/*.bin",
        "var/lib/apt/lists/*",
        "usr/share/doc/*",
        "usr/share/man/*",
        "usr/share/locale/*",
        "dev/*",
    ):
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").write_text("localhost\n")
    (root / "etc/hosts").write_text(
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    )
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/fstab").write_text("")


def mask_units(root: Path) -> None:
    for name in MASKED_UNITS:
        (root / f"etc/systemd/system/{name}").symlink_to("/dev/null")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or (DEBIAN12,):
        sys.stdout.write(f"{built(wanted)}\n")
