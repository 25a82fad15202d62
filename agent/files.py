"""Files below a root. Links are followed inside the root only, and a file is replaced whole.

Every path is walked by directory descriptors, so nothing can be put in the way meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

Owner = tuple[int, int]

_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_STEP = _ROOT | os.O_NOFOLLOW
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINKS_AT_MOST = 40
_LINK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 256 * 1024
LARGEST = 16 * 1024 * 1024
"""Bytes of a file that are read at most, unless said otherwise."""
# What stays with a name when its file is replaced. Capabilities and ACLs belong to the old content.
_LABELS = ("security.selinux", "security.SMACK64")


def draft_of(name: str) -> str:
    """Return the name of the file that *name* is a half-written one of, left by a killed process.

    Empty for any other file.
    """
    dotted, _, token = name.rpartition(".")
    drawn = len(token) == 12 and not token.strip("0123456789abcdef")
    return dotted[1:] if drawn and dotted.startswith(".") else ""


class Files:
    """The files below *root*; OSError (with the system's own words) when one is refused."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.owners_skipped = False
        """Whether an owner other than this process was asked for and could not be given."""

    @contextmanager
    def at(
        self,
        path: str,
        *,
        follow: bool = True,
        make: bool = False,
        owners: frozenset[int] | None = None,
    ) -> Iterator[tuple[int, str]]:
        """Give a descriptor of the directory that holds *path*, and the name there.

        *follow*: also a link in the last place. *make*: directories that are missing on the way.
        *owners*: user ids that may own the directories on the way.
        """
        if not path.startswith("/"):
            raise ValueError("expected an absolute path")
        ahead = parts(path)
        here = [os.open(self.root, _ROOT)]
        name = "."
        links = 0
        try:
            while ahead:
                name = ahead.pop()
                if name == "..":
                    if len(here) > 1:
                        os.close(here.pop())
                    name = "."
                    continue
                if not ahead:
                    target = self._link(here[-1], name) if follow else None
                    if target is None:
                        break
                else:
                    target = self._step(here, name, make)
                    if target is None:
                        if owners is not None:
                            _check_owner(here[-1], name, owners)
                        name = "."
                        continue
                links += 1
                if links > _LINKS_AT_MOST:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if target.startswith("/"):
                    while len(here) > 1:
                        os.close(here.pop())
                ahead += parts(target)
                name = "."
            yield here[-1], name
        finally:
            for descriptor in here:
                os.close(descriptor)

    def stat(self, path: str, *, follow: bool) -> os.stat_result | None:
        """Return the status of *path*, None when there is nothing."""
        try:
            with self.at(path, follow=follow) as (parent, name):
                return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: str, *, limit: int = LARGEST) -> bytes | None:
        """Return the content of the file, None when there is none; OSError beyond *limit*."""
        try:
            with self.at(path) as (parent, name):
                return read_at(parent, name, limit)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_end(self, path: str, most: int) -> bytes | None:
        """Return the last *most* bytes of the file, None when there is none."""
        try:
            with self.at(path) as (parent, name):
                return read_end_at(parent, name, most)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_link(self, path: str) -> str | None:
        """Return where the link at *path* points, None when it is no link."""
        try:
            with self.at(path, follow=False) as (parent, name):
                return os.readlink(name, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                return None
            raise

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in the directory, none when there is none."""
        try:
            with self.at(path) as (parent, name):
                directory = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
                try:
                    return tuple(sorted(os.listdir(directory)))
                finally:
                    os.close(directory)
        except FileNotFoundError:
            return ()

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
        """Put *content* at *path* in one step, and say whether anything had to change.

        A *mode* or *owner* of None is that of the file that was there, else 0600 and root's.
        """
        with self.at(path, make=True) as (parent, name):
            return self.replace_at(parent, name, content, mode, owner, append, durable)

    def replace_at(
        self,
        parent: int,
        name: str,
        content: bytes,
        mode: int | None,
        owner: Owner | None,
        append: bool = False,
        durable: bool = False,
    ) -> bool:
        """Do `replace` for *name* in the open directory *parent*."""
        old = _status(parent, name)
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise _irregular(old)
        if mode is None:
            mode = 0o600 if old is None else stat.S_IMODE(old.st_mode)
        if owner is None:
            owner = (0, 0) if old is None else (old.st_uid, old.st_gid)
        if old is not None:
            # What has another size is another content, and may be of any size.
            same_size = old.st_size == len(content)
            before = _content(parent, name, needed=append) if append or same_size else None
            if append and before is not None:
                content = before + content
            if before == content and stat.S_IMODE(old.st_mode) == mode and self._owned(old, owner):
                return False
        draft = f".{name[:200]}.{os.urandom(6).hex()}"
        handle = os.open(
            draft,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
            dir_fd=parent,
        )
        try:
            try:
                write_all(handle, content)
                if old is not None:
                    _keep_labels(parent, name, handle)
                # The owner first: chown clears set-id bits.
                self.chown(handle, owner)
                os.fchmod(handle, mode)
                if durable:
                    os.fsync(handle)
            finally:
                os.close(handle)
            try:
                os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                # A container's /etc/hosts is a mount of its own and can only be written in place.
                self._overwrite(parent, name, content, mode, owner)
                os.unlink(draft, dir_fd=parent)
        except BaseException:
            _discard(parent, draft)
            raise
        if durable:
            _sync_directory(parent)
        return True

    def make_directory(self, path: str, *, mode: int, owner: Owner) -> bool:
        """Make the directory; say whether anything changed.

        One that is there stays as it is, but for a private one (no bit for group and others),
        which gets the mode and owner asked for; PermissionError when it is a link or somebody
        else's, who may have put anything there.
        """
        private = not mode & 0o077
        with self.at(path, follow=not private, make=True) as (parent, name):
            there = _status(parent, name)
            if there is not None and private:
                self.refuse_strangers(there)
            if there is None:
                os.mkdir(name, 0o700, dir_fd=parent)
            elif not stat.S_ISDIR(there.st_mode):
                raise FileExistsError(errno.EEXIST, "there is something else than a directory")
            elif not private or (stat.S_IMODE(there.st_mode) == mode and self._owned(there, owner)):
                return False
            directory = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
            try:
                self.chown(directory, owner)
                os.fchmod(directory, mode)
            finally:
                os.close(directory)
            return True

    def refuse_strangers(self, there: os.stat_result) -> None:
        """Raise PermissionError unless what is to be private is ours already, and no link."""
        if stat.S_ISLNK(there.st_mode):
            raise PermissionError(errno.EPERM, "is a link, where a directory of our own is needed")
        if there.st_uid not in (os.geteuid(), os.stat(self.root).st_uid):
            raise PermissionError(errno.EPERM, f"belongs to uid {there.st_uid}, and is not ours")

    def remove(self, path: str) -> bool:
        """Remove the file, link or empty directory; say whether there was one."""
        try:
            with self.at(path, follow=False) as (parent, name):
                try:
                    os.unlink(name, dir_fd=parent)
                except IsADirectoryError:
                    os.rmdir(name, dir_fd=parent)
                return True
        except (FileNotFoundError, NotADirectoryError):
            return False

    def link(self, path: str, target: str) -> bool:
        """Make *path* a link to *target* in one step; say whether anything changed."""
        with self.at(path, follow=False, make=True) as (parent, name):
            there = _status(parent, name)
            if there is not None and stat.S_ISDIR(there.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if (
                there is not None
                and stat.S_ISLNK(there.st_mode)
                and os.readlink(name, dir_fd=parent) == target
            ):
                return False
            draft = f".{name[:200]}.{os.urandom(6).hex()}"
            os.symlink(target, draft, dir_fd=parent)
            try:
                os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                _discard(parent, draft)
                raise
            return True

    def add_to(self, path: str, content: bytes, *, mode: int, owner: Owner) -> None:
        """Add *content* at the end of the regular file, which gets *mode* and *owner* when new."""
        with self.at(path, make=True) as (parent, name):
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            there = _status(parent, name)
            if there is not None and not stat.S_ISREG(there.st_mode):
                raise _irregular(there)
            made = 0 if there is not None else os.O_CREAT | os.O_EXCL
            handle = os.open(name, flags | made, 0o600, dir_fd=parent)
            try:
                # The name may have become another file meanwhile.
                if not stat.S_ISREG((now := os.fstat(handle)).st_mode):
                    raise _irregular(now)
                if made:
                    self.chown(handle, owner)
                    os.fchmod(handle, mode)
                write_all(handle, content)
            finally:
                os.close(handle)

    def open_output(self, path: str) -> int:
        """Return a descriptor of the emptied file *path*, mode 0600, for a program's output."""
        with self.at(path, make=True) as (parent, name):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(name, flags, 0o600, dir_fd=parent)
            os.fchmod(handle, 0o600)
            os.ftruncate(handle, 0)
            return handle

    @contextmanager
    def locked(self, path: str, *, wait: float = 15.0) -> Iterator[None]:
        """Hold the lock file at *path*, as lckpwdf(3) does; TimeoutError after *wait* seconds."""
        import fcntl
        import time

        with self.at(path) as (parent, name):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            deadline = time.monotonic() + wait
            while True:
                try:
                    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EACCES):
                        raise
                    if time.monotonic() >= deadline:
                        raise TimeoutError(errno.ETIMEDOUT, f"{path} is locked") from error
                    time.sleep(0.05)
            yield
        finally:
            os.close(handle)

    def _step(self, here: list[int], name: str, make: bool) -> str | None:
        """Open the directory *name* on top of *here*; when it is a link, say where that points."""
        try:
            here.append(os.open(name, _STEP, dir_fd=here[-1]))
        except FileNotFoundError:
            if not make:
                raise
            here.append(self._made(here[-1], name))
        except NotADirectoryError:
            target = self._link(here[-1], name)
            if target is None:
                raise
            return target
        return None

    def _made(self, parent: int, name: str) -> int:
        """Make the directory *name*, 0755 and root's whatever the umask, and return it open."""
        os.mkdir(name, 0o700, dir_fd=parent)
        directory = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
        if os.geteuid() == 0:
            os.fchown(directory, 0, 0)
        os.fchmod(directory, 0o755)
        return directory

    def _link(self, parent: int, name: str) -> str | None:
        """Return where the link *name* points; None when it is no link, or absent.

        Root follows no link that some other user may have put there.
        """
        try:
            target = os.readlink(name, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return None
            raise
        if os.geteuid() != 0:
            return target
        # The name may have become another link by now: one and the same is asked for both.
        link = os.open(name, _LINK, dir_fd=parent)
        try:
            status = os.fstat(link)
            if not stat.S_ISLNK(status.st_mode):
                return None
            if status.st_uid not in (0, os.stat(self.root).st_uid):
                raise PermissionError(
                    errno.EPERM, f"{name} is a link of uid {status.st_uid}, not followed"
                )
            return os.readlink("", dir_fd=link)
        finally:
            os.close(link)

    def _owned(self, status: os.stat_result, owner: Owner) -> bool:
        return os.geteuid() != 0 or (status.st_uid, status.st_gid) == owner

    def chown(self, handle: int, owner: Owner) -> None:
        """Give the open file to *owner*, when we are root."""
        if os.geteuid() == 0:
            os.fchown(handle, *owner)
        elif owner != (os.geteuid(), os.getegid()):
            self.owners_skipped = True

    def _overwrite(self, parent: int, name: str, content: bytes, mode: int, owner: Owner) -> None:
        handle = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.fchmod(handle, stat.S_IMODE(os.fstat(handle).st_mode) & mode)
            os.ftruncate(handle, 0)
            write_all(handle, content)
            self.chown(handle, owner)
            os.fchmod(handle, mode)
        finally:
            os.close(handle)


def read_at(parent: int, name: str, limit: int = LARGEST) -> bytes:
    """Return the content of the regular file *name* in *parent*; no link is followed.

    A file of more than *limit* bytes is refused: a sparse one costs its owner nothing.
    """
    file = _open(parent, name)
    try:
        # What it says of its size may be out of date, or 0 as in /proc.
        large = os.fstat(file).st_size > limit
        content = b"" if large else _up_to(file, limit + 1)
        if large or len(content) > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes, the most that is read")
        return content
    finally:
        os.close(file)


def read_end_at(parent: int, name: str, most: int) -> bytes:
    """Return the last *most* bytes of the regular file *name* in *parent*."""
    file = _open(parent, name)
    try:
        os.lseek(file, max(0, os.fstat(file).st_size - most), os.SEEK_SET)
        return _up_to(file, most)
    finally:
        os.close(file)


def _open(parent: int, name: str) -> int:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    # Looked at before it is opened: to open a device can already do something.
    if not stat.S_ISREG(status.st_mode):
        raise _irregular(status)
    return os.open(name, _READ, dir_fd=parent)


def _up_to(file: int, most: int) -> bytes:
    pieces = []
    while most > 0:
        piece = os.read(file, min(most, _PIECE))
        if not piece:
            break
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def write_all(handle: int, content: bytes) -> None:
    """Write every byte of *content*."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def parts(path: str) -> list[str]:
    """Return the components of *path*, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _status(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _content(parent: int, name: str, *, needed: bool) -> bytes | None:
    try:
        return read_at(parent, name)
    except PermissionError:
        if needed:
            raise
        return None


def _irregular(status: os.stat_result) -> OSError:
    if stat.S_ISDIR(status.st_mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISLNK(status.st_mode):
        return OSError(errno.ELOOP, "is a link, not followed")
    return OSError(errno.EINVAL, "is not a regular file")


def _check_owner(directory: int, name: str, owners: frozenset[int]) -> None:
    owner = os.fstat(directory).st_uid
    if owner not in owners:
        raise PermissionError(errno.EPERM, f"{name} belongs to uid {owner}")


def _keep_labels(parent: int, name: str, draft: int) -> None:
    if os.geteuid() != 0:
        return
    old = os.open(name, _READ, dir_fd=parent)
    try:
        for label in os.listxattr(old):
            if label in _LABELS or label.startswith("user."):
                os.setxattr(draft, label, os.getxattr(old, label))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
    finally:
        os.close(old)


def _discard(parent: int, draft: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=parent)


def _sync_directory(parent: int) -> None:
    directory = os.open(".", _OPEN_DIRECTORY, dir_fd=parent)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
