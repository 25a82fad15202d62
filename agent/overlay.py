"""Files in memory over the files of a root, which are read and never touched."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .accounts import GSHADOW, SHADOW
from .files import LARGEST, Files, Owner, parts


class _Node(NamedTuple):
    """What is at a path: bytes of a file, target of a link, or None for a directory."""

    content: bytes | str | None
    mode: int
    owner: Owner


class Overlay(Files):
    """The files below *root* with every change kept in memory; nothing is locked."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        # A path without links to what is there; None where something was removed.
        self._nodes: dict[str, _Node | None] = {}
        # Where the links of the root point, each looked at once; None for what is no link.
        self._links: dict[str, str | None] = {}
        self.changes = 0
        """How often something was changed in memory."""

    @contextmanager
    def at(
        self,
        path: str,
        *,
        follow: bool = True,
        make: bool = False,
        owners: frozenset[int] | None = None,
    ) -> Iterator[tuple[int, str]]:
        """Give a look at the real file; *make* makes nothing."""
        with super().at(path, follow=follow, owners=owners) as found:
            yield found

    def holds(self, path: str) -> bool:
        """Say whether what is at *path* is a change in memory."""
        return self._place(path, follow=True) in self._nodes

    def stat(self, path: str, *, follow: bool) -> os.stat_result | None:
        """Return the status of *path*, None when there is nothing."""
        place = self._place(path, follow=follow)
        if place not in self._nodes:
            return super().stat(place, follow=False)
        node = self._nodes[place]
        if node is None:
            return None
        kinds = {bytes: stat.S_IFREG, str: stat.S_IFLNK, type(None): stat.S_IFDIR}
        size = len(node.content or b"")
        mode = kinds[type(node.content)] | node.mode
        return os.stat_result((mode, 0, 0, 1, *node.owner, size, 0, 0, 0))

    def read(self, path: str, *, limit: int = LARGEST) -> bytes | None:
        """Return the content of the file, None when there is none; OSError beyond *limit*."""
        place = self._place(path, follow=True)
        if place not in self._nodes:
            try:
                return super().read(place, limit=limit)
            except PermissionError:
                # Whoever plans without being root has no passwords to look at, and plans on.
                if place not in (SHADOW, GSHADOW):
                    raise
                return b""
        node = self._nodes[place]
        if node is None:
            return None
        if not isinstance(node.content, bytes):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return node.content

    def read_end(self, path: str, most: int) -> bytes | None:
        """Return the last *most* bytes of the file, None when there is none."""
        if self.holds(path):
            content = self.read(path)
            return None if content is None else content[max(0, len(content) - most) :]
        return super().read_end(self._place(path, follow=True), most)

    def read_link(self, path: str) -> str | None:
        """Return where the link at *path* points, None when it is no link."""
        return self._target(self._place(path, follow=False))

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in the directory, none when there is none."""
        place = self._place(path, follow=True)
        names = set() if place in self._nodes else set(super().names(place))
        for other, node in self._nodes.items():
            parent, _, name = other.rpartition("/")
            if (parent or "/") == place:
                (names.discard if node is None else names.add)(name)
        return tuple(sorted(names))

    def replace(
        self,
        path: str,
        content: bytes,
        *,
        mode: int | None,
        owner: Owner | None,
        append: bool = False,
        durable: bool = False,
    ) -> bool:
        """Keep *content* at *path*; say whether anything had to change."""
        place = self._place(path, follow=True)
        old = self.stat(place, follow=False)
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is not a regular file")
        comparable = old is not None and (append or old.st_size == len(content))
        before = self._comparable(place) if comparable else None
        if append:
            content = (before or b"") + content
        if mode is None:
            mode = 0o600 if old is None else stat.S_IMODE(old.st_mode)
        if owner is None:
            owner = (0, 0) if old is None else (old.st_uid, old.st_gid)
        if (
            old is not None
            and before == content
            and stat.S_IMODE(old.st_mode) == mode
            and self._owned(old, owner)
        ):
            return False
        self._parents(place)
        self._put(place, _Node(content, mode, owner))
        return True

    def add_to(self, path: str, content: bytes, *, mode: int, owner: Owner) -> None:
        """Keep *content* at the end of *path*."""
        there = self.stat(path, follow=True)
        kept = mode if there is None else stat.S_IMODE(there.st_mode)
        self.replace(path, content, mode=kept, owner=owner, append=True)

    def make_directory(self, path: str, *, mode: int, owner: Owner) -> bool:
        """Keep a directory at *path*; say whether anything changed."""
        private = not mode & 0o077
        place = self._place(path, follow=not private)
        there = self.stat(place, follow=False)
        if there is not None:
            if private:
                self.refuse_strangers(there)
            if not stat.S_ISDIR(there.st_mode):
                raise FileExistsError(errno.EEXIST, "there is something else than a directory")
            if not private or (stat.S_IMODE(there.st_mode) == mode and self._owned(there, owner)):
                return False
            if place not in self._nodes:
                # Only its mode changes: what is in it stays to be seen.
                self.changes += 1
                return True
        self._parents(place)
        self._put(place, _Node(None, mode, owner))
        return True

    def remove(self, path: str) -> bool:
        """Keep in mind that *path* is gone; say whether there was something."""
        place = self._place(path, follow=False)
        there = self.stat(place, follow=False)
        if there is None:
            return False
        if stat.S_ISDIR(there.st_mode) and self.names(place):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        self._put(place, None)
        return True

    def link(self, path: str, target: str) -> bool:
        """Keep a link at *path*; say whether anything changed."""
        place = self._place(path, follow=False)
        there = self.stat(place, follow=False)
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if self.read_link(place) == target:
            return False
        self._parents(place)
        self._put(place, _Node(target, 0o777, (0, 0)))
        return True

    @contextmanager
    def locked(self, path: str, *, wait: float = 15.0) -> Iterator[None]:
        """Lock nothing: nothing is written."""
        yield

    def open_output(self, path: str) -> int:
        """Refuse: nothing runs here."""
        raise PermissionError(errno.EPERM, "a plan runs nothing")

    def _put(self, place: str, node: _Node | None) -> None:
        self._nodes[place] = node
        self.changes += 1

    def _comparable(self, place: str) -> bytes | None:
        try:
            return self.read(place)
        except PermissionError:
            return None

    def _parents(self, place: str) -> None:
        """Make the directories above *place* that are missing."""
        parent = place.rpartition("/")[0]
        if not parent:
            return
        there = self.stat(parent, follow=False)
        if there is None:
            self._parents(parent)
            self._put(parent, _Node(None, 0o755, (0, 0)))
        elif not stat.S_ISDIR(there.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def _place(self, path: str, *, follow: bool) -> str:
        """Return *path* without links, `..` and doubled slashes."""
        if not path.startswith("/"):
            raise ValueError("expected an absolute path")
        ahead = parts(path)
        here: list[str] = []
        links = 0
        while ahead:
            name = ahead.pop()
            if name == "..":
                del here[-1:]
                continue
            place = "/" + "/".join([*here, name])
            target = self._target(place) if ahead or follow else None
            if target is None:
                here.append(name)
                continue
            links += 1
            if links > 40:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                here = []
            ahead += parts(target)
        return "/" + "/".join(here)

    def _target(self, place: str) -> str | None:
        if place in self._nodes:
            node = self._nodes[place]
            return node.content if node is not None and isinstance(node.content, str) else None
        if place not in self._links:
            self._links[place] = super().read_link(place)
        return self._links[place]
