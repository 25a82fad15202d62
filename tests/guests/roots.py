"""Root trees for light guests: built once, kept outside the checkout, never changed afterwards."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "bookworm"
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


def tree() -> Path:
    """Return where the tree of PACKAGES is or will be."""
    words = (SUITE, str(EDITION), *PACKAGES)
    key = hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
    return cache() / f"debian12-{key}"


def debian12() -> Path:
    """Return a Debian 12 root tree, built by the first who asks; others wait for that one."""
    built = tree()
    if built.is_dir():
        return built
    if os.geteuid() != 0:
        raise RootError("building a root tree needs root")
    built.parent.mkdir(parents=True, exist_ok=True)
    with open(built.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.is_dir():
            draft = built.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            build(draft)
            customise(draft)
            draft.rename(built)
    return built


def build(draft: Path) -> None:
    """Bootstrap the packages into *draft*; RootError with the end of its log when that fails."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    program = shutil.which("mmdebstrap", path=path)
    if program is None:
        raise RootError("mmdebstrap is not installed")
    argv = [program, "--quiet", "--mode=root", "--variant=minbase"]
    argv += [f"--include={','.join(PACKAGES)}", SUITE, str(draft)]
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


if __name__ == "__main__":
    sys.stdout.write(f"{debian12()}\n")
