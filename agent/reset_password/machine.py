"""The accounts of the machine a reset is for: looked at, changed, and why they could not be.

Every oddity of a guest has a code here, and its words in CODES, which `history` and `check` print.
"""

import os
import sys
import time
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional

from ..accounts import PASSWD, SHADOW, find_shadow_field, find_user
from ..errors import HostError
from ..secret import Secret
from .inside import inside, read_inside
from .programs import run

if TYPE_CHECKING:
    from ..host import Host

CODES = {
    "": "the password is set",
    "account-expired": "the password is set, but the account is expired and nobody can log in",
    "no-shell": "the password is set, but the account has no shell to log in to",
    "user-not-allowed": "the user is not one whose password may be reset here",
    "no-such-user": "there is no such user",
    "remote-user": "the user is a directory's (NIS, SSSD, LDAP); its password is not kept here",
    "no-shadow": "the user has no line in /etc/shadow",
    "bad-hash": "what came is not one complete crypt(3) hash",
    "locked": "the password is locked, and to unlock it was not asked",
    "expired": "it came too late",
    "changed-since": "interrupted; the password was changed before it could go on",
    "read-only": "/etc cannot be written: its file system is read-only",
    "immutable": "/etc/shadow cannot be written: it is marked immutable or append-only",
    "busy": "another program kept the lock of the account files",
    "chpasswd": "chpasswd failed",
    "not-kept": "chpasswd succeeded, and the account has another password all the same",
    "expire": "the password is set; that it must be changed at the next login could not be",
    "machine": "the account files cannot be read, or a program is missing or does not end",
    "hash-lost": "the server can no longer open the hash: its key file is another",
}

_NO_SHELLS = ("nologin", "false", "true", "sync", "halt", "shutdown")
_EXPIRES = 7
"""Place of the day an account expires in a line of shadow, counted from 0."""
_LABEL = "security.selinux"
_GETENT_SECONDS = 10.0
# ioctl_iflags(2)
_GET_FLAGS = 0x80086601 if os.sysconf("SC_LONG_BIT") == 64 else 0x80046601
_UNCHANGEABLE = 0x10 | 0x20
_LOCK = "/etc/.pwd.lock"
_OLD_LOCKS = ("/etc/passwd.lock", "/etc/shadow.lock")


class Found(NamedTuple):
    """Whether a user's password can be set here: its field, or the code that says why not."""

    field: Optional[Secret]
    code: str = ""


class Machine:
    """The account files below *root* and what changes them.

    That is the machine's own programs; below another root the files are edited as the agent does.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def find(self, user: str) -> Found:
        """Return the password field of a user of this machine's own files."""
        if find_user(self._read(PASSWD), user) is None:
            return Found(None, "remote-user" if self._is_remote(user) else "no-such-user")
        field = find_shadow_field(self._read(SHADOW), user)
        return Found(field, "" if field is not None else "no-shadow")

    def obstacle(self) -> str:
        """Return the code of what makes a change impossible before it is tried, or nothing."""
        for path in ("/etc", SHADOW):
            try:
                if os.statvfs(self._below(path)).f_flag & os.ST_RDONLY:
                    return "read-only"
                if self._is_unchangeable(path):
                    return "immutable"
            except OSError:
                # Whoever cannot look may still be able to write.
                continue
        return ""

    def is_busy(self) -> bool:
        """Say whether another program has the account files' lock right now."""
        import fcntl

        if any(os.path.exists(self._below(path)) for path in _OLD_LOCKS):
            return True
        try:
            handle = os.open(self._below(_LOCK), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    def reservation(self, user: str) -> str:
        """Return the code of what keeps *user* out although the password is right, or nothing.

        The account's last day is the one thing here that the wall clock decides, as it does at the
        login; it changes a word and never what is done.
        """
        for line in self._read(SHADOW).split(b"\n"):
            fields = line.split(b":")
            if fields[0] == user.encode() and len(fields) > _EXPIRES and fields[_EXPIRES].isdigit():
                if int(fields[_EXPIRES]) <= time.time() // 86400:
                    return "account-expired"
                break
        found = find_user(self._read(PASSWD), user)
        shell = (found.shell if found else "") or "/bin/sh"
        if os.path.basename(shell) in _NO_SHELLS or (
            self.root == "/" and not os.access(shell, os.X_OK)
        ):
            return "no-shell"
        return ""

    def set_hash(self, user: str, given: Secret) -> bool:
        """Say whether *given* was taken: by chpasswd on stdin, or in the files of another root."""
        label = self._label()
        if self.root == "/":
            taken = run(["chpasswd", "-e"], user.encode() + b":" + given.reveal() + b"\n")
        else:
            self._edit(lambda host: host.set_password_hash(user, given))
            taken = True
        if label is not None and self._label() != label:
            # BusyBox's chpasswd knows nothing of labels, and sshd could not read what it left.
            os.setxattr(self._below(SHADOW), _LABEL, label)
        return taken

    def expire(self, user: str) -> bool:
        """Say whether *user* has to choose another password at the next login from now on."""
        if self.root == "/" and any(
            os.access(f"{directory}/chage", os.X_OK)
            for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
        ):
            return run(["chage", "-d", "0", user])
        # BusyBox has no chage.
        self._edit(lambda host: host.expire_password(user))
        return True

    def _edit(self, change: Callable[["Host"], None]) -> None:
        # An image or a directory may have no programs, and who works on it may not be root.
        from pathlib import Path

        from ..host import Host

        change(Host(Path(self.root)))

    def _is_remote(self, user: str) -> bool:
        """Say whether the name service knows a user that the files do not."""
        if self.root != "/":
            return False
        try:
            return run(["getent", "passwd", user], seconds=_GETENT_SECONDS)
        except HostError:
            return False

    def _is_unchangeable(self, path: str) -> bool:
        import fcntl

        handle = os.open(self._below(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            flags = bytearray(8)
            fcntl.ioctl(handle, _GET_FLAGS, flags)
        finally:
            os.close(handle)
        # The kernel fills an int, whatever the number of the call says of its size.
        return bool(int.from_bytes(flags[:4], sys.byteorder) & _UNCHANGEABLE)

    def _label(self) -> Optional[bytes]:
        try:
            return os.getxattr(self._below(SHADOW), _LABEL)
        except OSError:
            return None

    def _below(self, path: str) -> str:
        return inside(self.root, path)

    def _read(self, path: str) -> bytes:
        try:
            return read_inside(self.root, path)
        except OSError as error:
            raise HostError(f"read {path} below {self.root}: {error.strerror}") from error
