"""Files of root's alone in a directory of root's alone: no links, nothing half written."""

import os
import stat
from contextlib import suppress
from typing import Optional

from ..errors import HostError


class PrivateDirectory:
    """One directory, held open; what others could have prepared there is refused."""

    def __init__(self, path: str, *, mode: Optional[int] = None) -> None:
        """Open *path*; HostError when it is a link or open to others.

        One that is not there is made with *mode*, and an error without one: for who only looks.
        """
        self.path = path
        try:
            if mode is not None:
                os.makedirs(os.path.dirname(path) or "/", mode=0o755, exist_ok=True)
                with suppress(FileExistsError):
                    os.mkdir(path, mode)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self.handle = os.open(path, flags)
        except OSError as error:
            raise HostError(
                f"{path}: expected a directory and no link: {error.strerror}"
            ) from error
        found = os.fstat(self.handle)
        if found.st_uid == 0 != os.geteuid():
            raise HostError(f"{path}: only root may look into it")
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise HostError(f"{path}: expected a directory that only its owner, root, may write")

    def read(self, name: str) -> Optional[bytes]:
        """Return the content of *name*, or None when it is absent."""
        try:
            handle = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.handle
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HostError(f"{self.path}/{name}: {error.strerror}") from error
        with open(handle, "rb") as file:
            found = os.fstat(handle)
            if (
                not stat.S_ISREG(found.st_mode)
                or found.st_uid != os.geteuid()
                or found.st_mode & 0o077
            ):
                raise HostError(f"{self.path}/{name}: expected a file of root's with mode 0600")
            return file.read()

    def names(self) -> tuple[str, ...]:
        """Return the sorted names in the directory."""
        return tuple(sorted(os.listdir(self.handle)))

    def remove(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self.handle)
        except OSError as error:
            raise HostError(f"{self.path}/{name}: {error.strerror}") from error

    def write(self, name: str, content: bytes) -> None:
        """Replace *name* in one step and return when the disk has it."""
        draft = f".{name}.new"
        try:
            with suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=self.handle)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(draft, flags, 0o600, dir_fd=self.handle), "wb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
            os.fsync(self.handle)
        except OSError as error:
            raise HostError(f"{self.path}/{name}: {error.strerror}") from error

    def is_locked(self, name: str) -> bool:
        """Say whether a process has the lock *name*; nothing is made for that."""
        import fcntl

        try:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.handle)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise HostError(f"{self.path}/{name}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    def lock(self, name: str) -> Optional[int]:
        """Return a descriptor that holds the lock *name* while open; None when another has it."""
        import fcntl

        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(name, flags, 0o600, dir_fd=self.handle)
        except OSError as error:
            raise HostError(f"{self.path}/{name}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        return handle
