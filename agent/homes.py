"""Files in a user's home. The user owns every name there, so we act as that user.

No link is followed there, and no directory of somebody else entered.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from .accounts import User
from .files import Files, Owner, read_at

LARGEST = 1024 * 1024
"""Bytes of a file in a home that are read at most: its user may have made it of any size."""
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def write(
    files: Files, user: User, path_below: str, content: bytes, mode: int, directory_mode: int
) -> bool:
    """Replace the file below the user's home; say whether anything changed."""
    directories, name = _split(path_below)
    owner = (user.uid, user.gid)
    with _below_home(files, user, directories, make=directory_mode) as parent:
        return files.replace_at(parent, name, content, mode, owner)


def read(files: Files, user: User, path_below: str) -> bytes | None:
    """Return the content of the file below the user's home, None when there is none."""
    directories, name = _split(path_below)
    try:
        with _below_home(files, user, directories, make=None) as parent:
            return read_at(parent, name, LARGEST)
    except FileNotFoundError:
        return None


def make(files: Files, user: User, skeleton: str, mode: int) -> None:
    """Make the user's home with a copy of *skeleton*, private to root until all is there."""
    owner = (user.uid, user.gid)
    with files.at(user.home, make=True) as (parent, name):
        os.mkdir(name, 0o700, dir_fd=parent)
    _copy(files, skeleton, user.home, owner)
    _settle(files, user.home, owner, mode)


def _split(path_below: str) -> tuple[list[str], str]:
    *directories, name = path_below.split("/")
    if "" in directories or not name or {".", ".."} & {*directories, name}:
        raise ValueError("expected a plain path below the home directory")
    return directories, name


@contextmanager
def _home(files: Files, user: User) -> Iterator[int]:
    """Open the user's home, through directories of root or of the user alone."""
    trusted = frozenset((0, user.uid, os.geteuid()))
    with files.at(user.home, owners=trusted) as (parent, name):
        home = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    try:
        _check(home, user.home, user)
        yield home
    finally:
        os.close(home)


@contextmanager
def _below_home(
    files: Files, user: User, directories: list[str], *, make: int | None
) -> Iterator[int]:
    """Open the last of *directories* and act as the user; missing ones get the mode *make*."""
    with _home(files, user) as home, _acting_as(user):
        here = os.dup(home)
        try:
            for name in directories:
                below = _step(here, name, make)
                os.close(here)
                here = below
                _check(here, name, user)
            yield here
        finally:
            os.close(here)


def _step(here: int, name: str, make: int | None) -> int:
    try:
        return os.open(name, _OPEN_DIRECTORY, dir_fd=here)
    except FileNotFoundError:
        if make is None:
            raise
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise OSError(error.errno, f"{name} is a link or no directory") from error
        raise
    os.mkdir(name, 0o700, dir_fd=here)
    below = os.open(name, _OPEN_DIRECTORY, dir_fd=here)
    os.fchmod(below, make)
    return below


def _check(directory: int, name: str, user: User) -> None:
    owner = os.fstat(directory).st_uid
    # An unprivileged build of a root directory owns everything in it.
    if owner != user.uid and (os.getuid() == 0 or owner != os.geteuid()):
        raise PermissionError(errno.EPERM, f"{name} belongs to uid {owner}, not to {user.name}")


@contextmanager
def _acting_as(user: User) -> Iterator[None]:
    """Have the user's rights, and no others, inside."""
    if os.geteuid() != 0 or user.uid == 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        os.setgroups([user.gid])
        os.setegid(user.gid)
        os.seteuid(user.uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _copy(files: Files, source: str, path: str, owner: Owner) -> None:
    for name in files.names(source):
        old, new = f"{source}/{name}", f"{path}/{name}"
        status = files.stat(old, follow=False)
        if status is None:
            continue
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            files.link(new, files.read_link(old) or "")
            if os.geteuid() == 0:
                with files.at(new, follow=False) as (parent, last):
                    os.chown(last, *owner, dir_fd=parent, follow_symlinks=False)
        elif stat.S_ISDIR(status.st_mode):
            files.make_directory(new, mode=0o700, owner=(os.geteuid(), os.getegid()))
            _copy(files, old, new, owner)
            _settle(files, new, owner, mode)
        elif stat.S_ISREG(status.st_mode):
            files.replace(new, files.read(old) or b"", mode=mode, owner=owner)


def _settle(files: Files, path: str, owner: Owner, mode: int) -> None:
    with files.at(path) as (parent, name):
        directory = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    try:
        files.chown(directory, owner)
        os.fchmod(directory, mode)
    finally:
        os.close(directory)
