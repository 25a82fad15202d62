"""Every look at and change to the machine. Nothing else in the agent touches files or starts programs.

Paths are those of the guest (`/etc/hostname`); the host adds its root. The contract is here; the
pieces that do the work are beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple, Optional, Union

from .secret import Secret

Content = Union[bytes, Secret]


class User(NamedTuple):
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    gecos: str
    home: str
    shell: str


class Group(NamedTuple):
    """A line of /etc/group."""

    name: str
    gid: int
    members: tuple[str, ...]


class Account(NamedTuple):
    """A user to be made. None leaves the choice to the distribution's useradd."""

    name: str
    uid: Optional[int] = None
    gecos: str = ""
    home: Optional[str] = None
    shell: Optional[str] = None
    primary_group: Optional[str] = None
    groups: tuple[str, ...] = ()
    system: bool = False
    create_home: bool = True
    create_user_group: bool = True
    log_init: bool = True
    inactive: Optional[str] = None
    expiredate: Optional[str] = None
    selinux_user: Optional[str] = None


class Completed(NamedTuple):
    """A program that ended. *output* is stdout and stderr as they came, at most 64 KiB, the end kept."""

    status: int
    """Exit status; negative for the signal that ended it."""
    output: bytes


class Host:
    """The machine below *root*.

    live: root is `/`; programs run there directly. Below another root they run in a chroot, and
    only for root; what was not run is in `not_run`.
    """

    live: bool
    runs: bool
    """Whether programs can be run."""
    not_run: list[str]
    """In words, what was left out because it cannot be done here."""

    def __init__(self, root: Union[str, PathLike[str]] = "/") -> None:
        raise NotImplementedError

    @property
    def root(self) -> Path:
        """The directory that is the guest's `/`."""
        raise NotImplementedError

    # --- look

    def read(self, path: str) -> Optional[bytes]:
        """Return the content of *path*, or None when there is no such file."""
        raise NotImplementedError

    def kind(self, path: str, *, follow: bool = False) -> Optional[str]:
        """Say what *path* is: file, directory, link, other; None when there is nothing."""
        raise NotImplementedError

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in the directory *path*, none when it is absent."""
        raise NotImplementedError

    def which(self, program: str) -> Optional[str]:
        """Return the path of *program* on the guest's fixed PATH."""
        raise NotImplementedError

    def user(self, name: str) -> Optional[User]:
        """Return the user of the guest's /etc/passwd."""
        raise NotImplementedError

    def group(self, name: str) -> Optional[Group]:
        """Return the group of the guest's /etc/group."""
        raise NotImplementedError

    def shadow_field(self, user: str) -> Optional[Secret]:
        """Return the password field of the user's shadow line, None without such a line."""
        raise NotImplementedError

    # --- change files

    def write(
        self,
        path: str,
        content: Content,
        *,
        mode: int = 0o644,
        owner: str = "root:root",
        append: bool = False,
        durable: bool = False,
    ) -> None:
        """Replace *path* in one step: a reader sees the old file or the new one, never a part."""
        raise NotImplementedError

    def make_directory(self, path: str, *, mode: int = 0o755, owner: str = "root:root") -> None:
        """Make *path* and the parents it lacks."""
        raise NotImplementedError

    def remove(self, path: str) -> None:
        """Remove the file, link or empty directory; nothing when it is absent."""
        raise NotImplementedError

    def link(self, path: str, target: str) -> None:
        """Make *path* a symbolic link to *target*, in one step."""
        raise NotImplementedError

    def write_in_home(
        self,
        user: str,
        path_below_home: str,
        content: Content,
        *,
        mode: int = 0o600,
        directory_mode: int = 0o700,
    ) -> None:
        """Write below the user's home as that user; no link is followed there."""
        raise NotImplementedError

    def read_in_home(self, user: str, path_below_home: str) -> Optional[bytes]:
        """Return the content of a file below the user's home, None when there is none."""
        raise NotImplementedError

    # --- programs

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Content = b"",
        env: Optional[Mapping[str, str]] = None,
        cwd: str = "/",
        timeout: Optional[float] = None,
        output: Optional[str] = None,
        what: str = "",
    ) -> Completed:
        """Run a program, never a shell, in its own session, and wait for it."""
        raise NotImplementedError

    def reload_service(self, *names: str) -> None:
        """Have the first service of *names* that exists read its configuration again, if it runs."""
        raise NotImplementedError

    def restart_service(self, *names: str) -> None:
        """Restart the first service of *names* that exists."""
        raise NotImplementedError

    def set_hostname(self, name: str) -> None:
        """Set the kernel's host name; the files are the module's."""
        raise NotImplementedError

    # --- accounts

    def add_group(self, name: str, *, gid: Optional[int] = None, system: bool = False) -> None:
        """Make a group."""
        raise NotImplementedError

    def add_user(self, account: Account) -> None:
        """Make a user, with home and group as asked; the password is locked."""
        raise NotImplementedError

    def add_to_groups(self, user: str, groups: Sequence[str]) -> None:
        """Make *user* a member of existing *groups*, beside those it is in."""
        raise NotImplementedError

    def set_password_hash(self, user: str, hash: Secret) -> None:
        """Put *hash* in the user's shadow line as it is."""
        raise NotImplementedError

    def set_password(self, user: str, text: Secret) -> None:
        """Set a plain-text password by chpasswd, in the distribution's own scheme."""
        raise NotImplementedError

    def lock_password(self, user: str) -> None:
        """Make the password unusable; other ways in, such as keys, stay."""
        raise NotImplementedError

    def expire_password(self, user: str) -> None:
        """Have the user choose a new password at the next login."""
        raise NotImplementedError
