"""A guest's root in a directory with just the account files: for tests of the host layer alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

FILES: Mapping[str, tuple[int, str]] = {
    "etc/passwd": (
        0o644,
        "root:x:0:0:root:/root:/bin/bash\n"
        "# a comment that must survive\n"
        "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
        "mallory:x:1500:1500::/home/mallory:/bin/sh\n",
    ),
    "etc/shadow": (
        0o640,
        "root:$6$salt$old:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n"
        "mallory:!:19000:0:99999:7:::\n",
    ),
    "etc/group": (
        0o644,
        "root:x:0:\ndaemon:x:1:\nsudo:x:27:mallory\nshadow:x:42:\nusers:x:100:\nmallory:x:1500:\n",
    ),
    "etc/gshadow": (0o640, "root:*::\ndaemon:*::\nsudo:*::mallory\nusers:*::\nmallory:!::\n"),
    "etc/login.defs": (
        0o644,
        "# ids\nUID_MIN 1000\nUID_MAX 60000\nSYS_UID_MIN 100\nSYS_UID_MAX 999\nGID_MIN 1000\n"
        "GID_MAX 60000\nPASS_MAX_DAYS\t99999\nPASS_MIN_DAYS\t0\nPASS_WARN_AGE\t7\nUMASK\t\t022\n"
        "HOME_MODE 0750\n",
    ),
    "etc/default/useradd": (0o644, "SHELL=/bin/sh\n"),
    "etc/skel/.profile": (0o644, "# profile\n"),
    "etc/skel/bin/hello": (0o755, "#!/bin/sh\n"),
    "etc/motd": (0o644, "old\n"),
}


def make(root: Path) -> Path:
    """Write the files below *root* and return it."""
    for path, (mode, text) in FILES.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
    (root / "home").mkdir()
    return root


def mode(path: Path) -> int:
    """Return the permission bits of what is at *path* itself."""
    return stat.S_IMODE(path.lstat().st_mode)


def everything(root: Path) -> dict[str, tuple[int, int, int, int, int, bytes]]:
    """Return every path below *root* with what a change would change."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = b""
        if path.is_symlink():
            content = os.readlink(path).encode()
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_ino,
            status.st_mtime_ns,
            content,
        )
    return found


def python(script: str, *arguments: str, prefix: tuple[str, ...] = ()) -> str:
    """Run *script* in a Python of its own with the agent at hand, and return what it prints."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def live(directory: Path, *, dev: bool = True) -> tuple[str, ...]:
    """Return the command before one that then sees a copy of this machine as `/`, changes and all.

    An overlay in a mount namespace of its own: what is changed there is gone with it. Without
    *dev* it has no devices but null.
    """
    script = """
set -e
place=$1 repository=$2 dev=$3
shift 3
mount -t tmpfs live "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$place/root"
mount --bind /proc "$place/root/proc"
if [ "$dev" = all ]; then
    mount --bind /dev "$place/root/dev"
else
    touch "$place/root/dev/null"
    mount --bind /dev/null "$place/root/dev/null"
fi
mkdir -p "$place/root$repository"
mount --bind "$repository" "$place/root$repository"
exec chroot "$place/root" "$@"
"""
    dev_word = "all" if dev else "null"
    unshare = ("unshare", "--mount", "--uts", "--propagation", "private")
    return (*unshare, "/bin/sh", "-c", script, "sh", str(directory), str(REPOSITORY), dev_word)
