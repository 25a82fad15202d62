"""A guest that is a directory: a small root file system without programs. Needs no root."""

from __future__ import annotations

import hashlib
import shutil
import stat
from pathlib import Path

from .light import Status

ROOTS = Path(__file__).resolve().parents[1] / "data/roots"
# What version control does not keep; everything else is 0755 and 0644.
MODES = {
    "etc/shadow": 0o640,
    "etc/gshadow": 0o640,
    "etc/sudoers": 0o440,
    "etc/sudoers.d": 0o750,
    "root": 0o700,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
}
EMPTY = (
    "dev",
    "home",
    "proc",
    "run",
    "sys",
    "tmp",
    "var/lib",
    "var/log",
    "var/tmp",
    "etc/sudoers.d",
    "etc/cron.d",
)


class DirectoryGuest:
    """The files of a guest below *root*."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def copy(cls, to: Path, name: str = "debian12") -> DirectoryGuest:
        """Make one at *to* from a tree of tests/data/roots."""
        shutil.copytree(ROOTS / name, to, symlinks=True)
        for path in EMPTY:
            (to / path).mkdir(parents=True, exist_ok=True)
        for path, mode in MODES.items():
            (to / path).chmod(mode)
        return cls(to)

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def read(self, path: str) -> bytes:
        return self.path(path).read_bytes()

    def text(self, path: str) -> str:
        return self.path(path).read_text()

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)

    def exists(self, path: str) -> bool:
        return self.path(path).is_symlink() or self.path(path).exists()

    def readlink(self, path: str) -> str:
        return str(self.path(path).readlink())

    def snapshot(self, *paths: str) -> dict[str, str]:
        """Return what everything at and below *paths* is, in words that can be compared."""
        found: dict[str, str] = {}
        for top in paths:
            if not self.exists(top):
                continue
            for path in (self.path(top), *self.path(top).rglob("*")):
                inside = f"/{path.relative_to(self.root)}"
                status = self.stat(inside)
                content = b""
                if status.kind == "directory":
                    status = status._replace(size=0)
                elif status.kind == "link":
                    content = str(path.readlink()).encode()
                elif status.kind == "file":
                    content = path.read_bytes()
                found[inside] = f"{tuple(status)} {hashlib.sha256(content).hexdigest()}"
        return found

    def names(self, path: str) -> list[str]:
        return sorted(entry.name for entry in self.path(path).iterdir())

    def stat(self, path: str) -> Status:
        """Say what *path* itself is; OSError when it is not there."""
        found = self.path(path).lstat()
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
        return Status(
            stat.S_IMODE(found.st_mode),
            found.st_uid,
            found.st_gid,
            found.st_size,
            kind.get(stat.S_IFMT(found.st_mode), "other"),
        )

    def field(self, file: str, name: str, number: int) -> str | None:
        """Return field *number* of the line of *name* in an account file, such as /etc/shadow."""
        for line in self.text(file).splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return fields[number]
        return None
