"""Every look at and change to the machine. Nothing else in the agent touches files or programs.

Paths are those of the guest (`/etc/hostname`); the host adds its root. The contract is here; the
pieces that do the work are beside it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable, Union

from . import accounts, commands, homes
from .accounts import Account as Account
from .accounts import Group as Group
from .accounts import User as User
from .commands import Completed as Completed
from .errors import HostError
from .files import LARGEST, Files, draft_of, write_all
from .secret import Secret

if TYPE_CHECKING:
    from .devices import ReadAt

Content = Union[bytes, Secret]

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
_LOCK = "/etc/.pwd.lock"
_LARGEST = 256 * 1024 * 1024
"""Bytes of a fetched file that are taken at most."""


class Host:
    """The machine below *root*.

    live: root is `/`; programs run there directly. Below another root they run in a chroot, for
    root alone and when there is a shell; what was not run is in `not_run`.
    """

    live: bool
    runs: bool
    """Whether programs can be run."""
    records = False
    """Whether what is to be done is only written down."""
    cause = ""
    """The module at work, empty when that is the agent itself; for what is written down."""
    not_run: list[str]
    """In words, what was left out because it cannot be done here."""

    def __init__(
        self, root: str | os.PathLike[str] = "/", *, clock: Callable[[], float] = time.time
    ) -> None:
        self.root = os.path.abspath(root)
        """The directory that is the guest's `/`."""
        self._files = Files(self.root)
        self.clock = clock
        self.live = self.root == "/"
        self.runs = self.live or (os.geteuid() == 0 and self.kind("/bin/sh", follow=True) == "file")
        self.not_run = []
        self._at_end: tuple[str, ...] = ()
        # The distribution's useradd and the like; else the account files are edited here.
        self._tools = self.live

    # --- look

    def read(self, path: str, *, limit: int = LARGEST) -> bytes | None:
        """Return the content of *path*, or None when there is no such file.

        HostError when it is larger than *limit* bytes.
        """
        with _refusal(f"read {path}"):
            return self._files.read(path, limit=limit)

    def read_end(self, path: str, most: int) -> bytes | None:
        """Return the last *most* bytes of *path*, or None when there is no such file."""
        with _refusal(f"read {path}"):
            return self._files.read_end(path, most)

    def kind(self, path: str, *, follow: bool = False) -> str | None:
        """Say what *path* is: file, directory, link, other; None when there is nothing."""
        with _refusal(f"look at {path}"):
            status = self._files.stat(path, follow=follow)
        return None if status is None else _KINDS.get(stat.S_IFMT(status.st_mode), "other")

    def mode(self, path: str) -> tuple[int, int] | None:
        """Return the permissions of *path* and its owner's number; None when there is nothing."""
        with _refusal(f"look at {path}"):
            status = self._files.stat(path, follow=False)
        return None if status is None else (stat.S_IMODE(status.st_mode), status.st_uid)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in the directory *path*, none when it is absent."""
        with _refusal(f"list {path}"):
            return self._files.names(path)

    def which(self, program: str) -> str | None:
        """Return the path of *program* on the guest's fixed PATH."""
        if "/" in program:
            return program if self._executable(program) else None
        for directory in commands.PATH.split(":"):
            if self._executable(f"{directory}/{program}"):
                return f"{directory}/{program}"
        return None

    def user(self, name: str) -> User | None:
        """Return the user of the guest's /etc/passwd."""
        return accounts.find_user(self.read(accounts.PASSWD) or b"", name)

    def group(self, name: str) -> Group | None:
        """Return the group of the guest's /etc/group."""
        return accounts.find_group(self.read(accounts.GROUP) or b"", name)

    def shadow_field(self, user: str) -> Secret | None:
        """Return the password field of the user's shadow line, None without such a line."""
        return accounts.find_shadow_field(self.read(accounts.SHADOW) or b"", user)

    def has_owner(self, owner: str) -> bool:
        """Say whether the user and group of *owner*, `user:group`, are there."""
        try:
            self._owner(owner)
        except HostError:
            return False
        return True

    def free_space(self, path: str) -> int:
        """Return the free bytes of the file system of *path*, 0 when there is no such path."""
        with _refusal(f"look at {path}"):
            status = self._files.stat(path, follow=True)
        if status is None or not self.live:
            return 0
        with _refusal(f"look at {path}"):
            system = os.statvfs(path)
        return system.f_bavail * system.f_frsize

    @contextmanager
    def reading(self, device: str) -> Iterator[ReadAt]:
        """Give a reader of the block device; below another root, of a file that is its image."""
        from . import devices

        with _refusal(f"read {device}"):  # noqa: SIM117 - several in parentheses are of 3.10
            with devices.reading(self._files, device, live=self.live) as read:
                yield read

    def resolves(self, name: str) -> bool:
        """Say whether the host *name* has an address, by whatever resolver there is."""
        import socket

        try:
            return bool(socket.getaddrinfo(name, None))
        except (OSError, UnicodeError):
            return False

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
        """Replace *path* in one step: a reader sees the old file or the new one, never a part.

        The content is under another name, readable by nobody else, until owner and mode are set.
        *append* puts it after what was there, in the same one step; *durable* waits for the disk.
        """
        with _refusal(f"write {path}"):
            self._files.replace(
                path,
                _bytes(content),
                mode=mode,
                owner=self._owner(owner),
                append=append,
                durable=durable,
            )
        self._note_owners()

    def make_directory(self, path: str, *, mode: int = 0o755, owner: str = "root:root") -> None:
        """Make *path* and the parents it lacks. One that is there keeps its mode and owner,
        unless *mode* is private (nothing for group and others): then it is made so, and one
        that is a link or somebody else's is refused.
        """
        with _refusal(f"make directory {path}"):
            self._files.make_directory(path, mode=mode, owner=self._owner(owner))
        self._note_owners()

    def add_to(self, path: str, content: Content, *, mode: int, owner: str = "root:root") -> None:
        """Add *content* at the end of *path*, as a log grows; a new one gets *mode* and *owner*."""
        with _refusal(f"write {path}"):
            self._files.add_to(path, _bytes(content), mode=mode, owner=self._owner(owner))
        self._note_owners()

    def remove(self, path: str) -> None:
        """Remove the file, link or empty directory; nothing when it is absent."""
        with _refusal(f"remove {path}"):
            self._files.remove(path)

    def link(self, path: str, target: str) -> None:
        """Make *path* a symbolic link to *target*, in one step."""
        with _refusal(f"link {path}"):
            self._files.link(path, target)

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
        whose = self._known(user)
        with _refusal(f"write {whose.home}/{path_below_home}"):
            homes.write(self._files, whose, path_below_home, _bytes(content), mode, directory_mode)
        self._note_owners()

    def read_in_home(self, user: str, path_below_home: str) -> bytes | None:
        """Return the content of a file below the user's home, None when there is none."""
        whose = self._known(user)
        with _refusal(f"read {whose.home}/{path_below_home}"):
            return homes.read(self._files, whose, path_below_home)

    # --- programs

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Content = b"",
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        timeout: float | None = None,
        output: str | None = None,
        watch: Callable[[bytes], None] | None = None,
        what: str = "",
    ) -> Completed:
        """Run a program, never a shell, in its own session, and wait for it.

        *env* is added to a small environment of our own. *output* names a file, made 0600, that
        takes stdout and stderr; *watch* is given what comes there, as it comes. HostError when it
        cannot be started or takes longer than *timeout*; its exit status is for the caller to
        judge. *what* names it in such texts.
        """
        what = what or argv[0]
        if not self.runs:
            self.not_run.append(what)
            return Completed(0, b"")
        descriptor = None
        if output is not None:
            with _refusal(f"write {output}"):
                descriptor = self._files.open_output(output)
        try:
            return commands.run(
                argv,
                what=what,
                root=None if self.live else self.root,
                stdin=_bytes(stdin),
                env=env,
                cwd=cwd,
                timeout=timeout,
                output=descriptor,
                watch=watch,
            )
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def why_not_run(self, path: str) -> str | None:
        """Return why the file *path* is not to be run for root, None when it may be."""
        with _refusal(f"look at {path}"):
            status = self._files.stat(path, follow=True)
            above = self._files.stat(path.rpartition("/")[0], follow=True)
        if status is None or above is None or not stat.S_ISREG(status.st_mode):
            return "expected a file"
        for each, what in ((above, "its directory: expected one"), (status, "expected a file")):
            if each.st_uid not in (0, os.geteuid()) or each.st_mode & 0o022:
                return f"{what} of root's that nobody else may write"
        return None if status.st_mode & 0o111 else "is not executable"

    def console(self, text: Content | str) -> None:
        """Show *text* on the system console to whoever watches the boot; it is kept nowhere.

        HostError when there is a console, and what is behind it takes nothing.
        """
        what = "words on the console"
        with self._console() as handle:
            if handle is not None:
                from . import console

                console.write(handle, _bytes(text.encode() if isinstance(text, str) else text))
            elif what not in self.not_run:
                self.not_run.append(what)

    def has_console(self) -> bool:
        """Say whether there is a console that somebody may watch."""
        with self._console() as handle:
            return handle is not None

    def feed(self, path: str, content: Content) -> None:
        """Write into the character device *path*, such as /dev/urandom; it stays what it is."""
        if not self.live:
            self.not_run.append(f"write into {path}")
            return
        if self.kind(path, follow=True) != "other":
            raise HostError(f"write into {path}: no such device")
        with _refusal(f"write into {path}"):
            device = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                if not stat.S_ISCHR(os.fstat(device).st_mode):
                    raise ValueError("it is no character device")
                write_all(device, _bytes(content))
            finally:
                os.close(device)

    def fetch(
        self,
        url: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
        attempts: int = 10,
    ) -> bytes:
        """Return what is at *url*, http or https; with *data*, the answer to a POST of it.

        *timeout*: the longest silence of the other side, in seconds. HostError after *attempts*.
        """
        from .user_data.fetch import Fetcher, Patience
        from .user_data.parts import Refused

        patience = Patience(timeout, attempts * (timeout + 2), 0.5, attempts)
        try:
            return Fetcher(patience=patience).request(
                url, limit=_LARGEST, data=data, headers=headers or {}
            )
        except Refused as error:
            raise HostError(str(error)) from error

    def when_done(self, argv: Sequence[str]) -> None:
        """Keep a program that ends this boot, such as shutdown, until `finish`."""
        if self.live:
            self._at_end = tuple(argv)
        else:
            self.not_run.append(" ".join(argv))

    def finish(self) -> None:
        """Run what `when_done` kept, once: nothing of the agent is left to be done."""
        argv, self._at_end = self._at_end, ()
        if argv:
            self._tool("end of the boot", argv)

    def reload_service(self, *names: str) -> None:
        """Have the first service of *names* that exists read its configuration, if it runs."""
        self._service("reload", names)

    def restart_service(self, *names: str) -> None:
        """Restart the first service of *names* that exists."""
        self._service("restart", names)

    def set_hostname(self, name: str) -> None:
        """Set the kernel's host name; the files are the module's."""
        if not self.live:
            self.not_run.append(f"set the kernel's host name to {name}")
        elif os.uname().nodename != name:
            import socket

            with _refusal(f"set host name {name}"):
                socket.sethostname(name)

    # --- accounts

    def add_group(self, name: str, *, gid: int | None = None, system: bool = False) -> None:
        """Make a group; HostError when there is one of that name."""
        accounts.check_name("add group", name)
        if self._has("groupadd"):
            from .account_tools import groupadd

            self._tool(f"add group {name}", groupadd(name, gid, system))
            return
        login_defs, _ = self._account_settings()
        with self._tables() as tables:
            tables.add_group(name, gid, system, login_defs)

    def add_user(self, account: Account) -> None:
        """Make a user, with home and groups as asked; the password is locked."""
        accounts.check_account(account)
        if self._has("useradd"):
            from .account_tools import useradd

            group_exists = self.group(account.name) is not None
            self._tool(f"add user {account.name}", useradd(account, group_exists=group_exists))
            return
        if account.selinux_user is not None:
            self.not_run.append(f"SELinux user of {account.name}")
        login_defs, defaults = self._account_settings()
        with self._tables() as tables:
            user = tables.add_user(account, login_defs, defaults)
        if account.create_home:
            skeleton = defaults.get("SKEL", "/etc/skel")
            with _refusal(f"make home {user.home}"):
                self._make_home(user, skeleton, accounts.home_mode(login_defs))
            self._note_owners()

    def add_to_groups(self, user: str, groups: Sequence[str]) -> None:
        """Make *user* a member of existing *groups*, beside those it is in."""
        self._known(user)
        if not groups:
            return
        for group in groups:
            if accounts.number(group) is None:
                accounts.check_name("group", group)
        if self._has("usermod"):
            argv = ["usermod", "--append", "--groups", ",".join(groups), user]
            self._tool(f"add {user} to groups", argv)
            return
        with self._tables() as tables:
            tables.add_to_groups(user, groups)

    def set_password_hash(self, user: str, hash: Secret) -> None:
        """Put *hash* in the user's shadow line as it is."""
        self._known(user)
        field = hash.reveal()
        if not field or any(byte in b":\n\r\0" for byte in field) or not field.isascii():
            raise HostError(f"password of {user}: not a hash that a shadow line can hold")
        if self._has("chpasswd"):
            self._tool(f"password of {user}", ["chpasswd", "-e"], _line(user, field))
            return
        with self._tables() as tables:
            tables.set_password_field(user, field.decode())

    def set_password(self, user: str, text: Secret) -> None:
        """Set a plain-text password by chpasswd, in the distribution's own scheme."""
        self._known(user)
        password = text.reveal()
        if not password or any(byte in b"\n\r\0" for byte in password):
            raise HostError(f"password of {user}: expected one line of text")
        if not self.runs or self.which("chpasswd") is None:
            self.not_run.append(f"chpasswd for {user}")
            return
        self._tool(f"password of {user}", ["chpasswd"], _line(user, password))

    def lock_password(self, user: str) -> None:
        """Make the password unusable; other ways in, such as keys, stay."""
        self._known(user)
        if self._has("usermod"):
            self._tool(f"lock password of {user}", ["usermod", "--lock", user])
            return
        with self._tables() as tables:
            tables.lock_password(user)

    def expire_password(self, user: str) -> None:
        """Have the user choose a new password at the next login."""
        self._known(user)
        if self._has("chage"):
            self._tool(f"expire password of {user}", ["chage", "--lastday", "0", user])
            return
        with self._tables() as tables:
            tables.expire_password(user)

    # --- how

    @contextmanager
    def _console(self) -> Iterator[int | None]:
        if not self.live:
            yield None
            return
        from . import console

        with _refusal(f"write {console.PATH}"):
            handle = console.opened()
            try:
                yield handle
            finally:
                if handle is not None:
                    os.close(handle)

    def _executable(self, path: str) -> bool:
        with _refusal(f"look at {path}"):
            status = self._files.stat(path, follow=True)
        return status is not None and stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o111)

    def _owner(self, owner: str) -> tuple[int, int]:
        """Return the numbers of `user:group`, or of `user` and its own group, in this guest."""
        if owner == "root:root":
            return 0, 0
        name, _, group_name = owner.partition(":")
        # These two are everywhere, also where no file says so yet.
        name, group_name = ("0" if word == "root" else word for word in (name, group_name))
        user = self.user(name)
        uid = accounts.number(name) if user is None else user.uid
        if uid is None:
            raise HostError(f"owner {owner!r}: no such user: {name!r}")
        if not group_name:
            return uid, uid if user is None else user.gid
        group = self.group(group_name)
        gid = accounts.number(group_name) if group is None else group.gid
        if gid is None:
            raise HostError(f"owner {owner!r}: no such group: {group_name!r}")
        return uid, gid

    def _known(self, name: str) -> User:
        user = self.user(name)
        if user is None:
            raise HostError(f"user {name}: no such user")
        return user

    def _note_owners(self) -> None:
        what = "owners of files: only root can give them"
        if self._files.owners_skipped and what not in self.not_run:
            self.not_run.append(what)

    def _has(self, tool: str) -> bool:
        return self._tools and self.which(tool) is not None

    def _tool(self, what: str, argv: Sequence[str], stdin: bytes = b"") -> None:
        """Run an account tool; HostError with its own last words when it fails."""
        done = self.run(argv, stdin=stdin, what=argv[0])
        if done.status != 0:
            words = done.output.decode("utf-8", "replace").strip().rpartition("\n")[2]
            # What a tool says of a password is its own affair, and not for a status.
            said = f": {words}" if words and not stdin else ""
            raise HostError(f"{what}: {argv[0]} ended with status {done.status}{said}")

    def _account_settings(self) -> tuple[dict[str, str], dict[str, str]]:
        return (
            accounts.settings(self.read("/etc/login.defs")),
            accounts.settings(self.read("/etc/default/useradd")),
        )

    @contextmanager
    def _tables(self) -> Iterator[accounts.Tables]:
        """Give the account files to change, under the lock every account tool takes."""
        if self.kind("/etc", follow=True) is None:
            self.make_directory("/etc")
        with _refusal(f"lock {_LOCK}"), self._files.locked(_LOCK):
            paths = (accounts.PASSWD, accounts.SHADOW, accounts.GROUP, accounts.GSHADOW)
            # Who was killed has left a draft, which may hold hashes.
            for name in self.names("/etc"):
                if f"/etc/{draft_of(name)}" in paths:
                    self._files.remove(f"/etc/{name}")
            texts = {path: self.read(path) for path in paths}
            tables = accounts.Tables(texts, int(self.clock() // 86400))
            yield tables
            for path, text in tables.changed():
                mode, owner = (None, None) if texts[path] is not None else self._of_new(path)
                with _refusal(f"write {path}"):
                    self._files.replace(path, text, mode=mode, owner=owner, durable=True)

    def _of_new(self, path: str) -> tuple[int, tuple[int, int]]:
        """Return mode and owner of an account file that was not there."""
        if path in (accounts.PASSWD, accounts.GROUP):
            return 0o644, (0, 0)
        shadow = self.group("shadow")
        return (0o600, (0, 0)) if shadow is None else (0o640, (0, shadow.gid))

    def _make_home(self, user: User, skeleton: str, mode: int) -> None:
        """Make the user's home with a copy of *skeleton*; one that is there is left alone."""
        if self._files.stat(user.home, follow=True) is None:
            homes.make(self._files, user, skeleton, mode)

    def _service(self, verb: str, names: tuple[str, ...]) -> None:
        from .services import command

        what = f"{verb} {names[0]}"
        if not self.live:
            self.not_run.append(what)
            return
        try:
            argv = command(self.kind, verb, names)
        except LookupError as error:
            self.not_run.append(f"{what}: {error}")
            return
        if argv:
            self._tool(what, argv)


@contextmanager
def _refusal(what: str) -> Iterator[None]:
    """Say what was tried when the system refuses it."""
    try:
        yield
    except OSError as error:
        raise HostError(f"{what}: {error.strerror or error}") from error
    except ValueError as error:
        raise HostError(f"{what}: {error}") from error


def _bytes(content: Content) -> bytes:
    return content.reveal() if isinstance(content, Secret) else content


def _line(user: str, secret: bytes) -> bytes:
    return user.encode() + b":" + secret + b"\n"
