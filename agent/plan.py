"""A host that records what would be done and does nothing; it reads what it recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Callable, NamedTuple

from .accounts import Account, User
from .commands import Completed
from .host import Content, Host
from .overlay import Overlay
from .secret import Secret


class Effect(NamedTuple):
    """One change in words that hold no secret."""

    verb: str
    """write, append, directory, remove, link, run, feed, fetch, post, at the end run, hostname,
    console, group, user, groups or password."""
    target: str
    detail: str
    cause: str = ""
    """The module that was at work; empty when it was the agent itself."""


class Plan(Host):
    """*host* under a layer of memory: every change is kept there and in `effects`.

    What the host would refuse and can be seen beforehand is refused here with the same words.
    """

    effects: list[Effect]
    records = True

    def __init__(self, host: Host) -> None:
        super().__init__(host.root, clock=host.clock)
        self.effects = []
        self.runs = host.runs
        self._overlay = Overlay(host.root)
        self._files = self._overlay
        # The account files are edited in memory, so that later modules find the new users.
        self._tools = False

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
        """Record the file, when that is a change."""
        detail = f"{_size(content)}, mode {mode:04o}, {owner}"
        with self._recorded("append" if append else "write", path, detail):
            super().write(path, content, mode=mode, owner=owner, append=append)

    def make_directory(self, path: str, *, mode: int = 0o755, owner: str = "root:root") -> None:
        """Record the directory, when that is a change."""
        with self._recorded("directory", path, f"mode {mode:04o}, {owner}"):
            super().make_directory(path, mode=mode, owner=owner)

    def remove(self, path: str) -> None:
        """Record that *path* goes, when there is such a thing."""
        with self._recorded("remove", path, ""):
            super().remove(path)

    def link(self, path: str, target: str) -> None:
        """Record the link, when that is a change."""
        with self._recorded("link", path, f"to {target}"):
            super().link(path, target)

    def write_in_home(
        self,
        user: str,
        path_below_home: str,
        content: Content,
        *,
        mode: int = 0o600,
        directory_mode: int = 0o700,
    ) -> None:
        """Record the file below the user's home, when that is a change."""
        whose = self._known(user)
        path = f"{whose.home}/{path_below_home}"
        with self._recorded("write", path, f"{_size(content)}, mode {mode:04o}, as {user}"):
            super().write(path, content, mode=mode, owner=f"{whose.uid}:{whose.gid}")

    def read_in_home(self, user: str, path_below_home: str) -> bytes | None:
        """Return what was recorded below the user's home, else what is there."""
        path = f"{self._known(user).home}/{path_below_home}"
        if self._overlay.holds(path):
            return self.read(path)
        return super().read_in_home(user, path_below_home)

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
        """Record the program and say that it ended well."""
        if not self.runs:
            return super().run(argv, what=what)
        import shlex

        details = [f"{_size(stdin)} on stdin"] if stdin else []
        if cwd != "/":
            details.append(f"in {cwd}")
        if output is not None:
            details.append(f"output to {output}")
        self._record("run", " ".join(map(shlex.quote, argv)), ", ".join(details))
        return Completed(0, b"")

    def console(self, text: Content | str) -> None:
        """Record that something is shown on the console."""
        size = _size(text.encode() if isinstance(text, str) else text)
        self._record("console", "/dev/console", size)

    def has_console(self) -> bool:
        """Say yes: what would be shown is recorded."""
        return True

    def feed(self, path: str, content: Content) -> None:
        """Record what goes into the device."""
        self._record("feed", path, _size(content))

    def fetch(
        self,
        url: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
        attempts: int = 10,
    ) -> bytes:
        """Record what is asked for; what comes of it is not known, and nothing here."""
        from .user_data.include import shown

        verb, detail = ("fetch", "") if data is None else ("post", _size(data))
        self._record(verb, shown(url), detail)
        return b""

    def when_done(self, argv: Sequence[str]) -> None:
        """Record how the boot is to end."""
        self._record("at the end run", " ".join(argv), "")

    def set_hostname(self, name: str) -> None:
        """Record the kernel's new name, when it is another."""
        if not self.live:
            super().set_hostname(name)
        elif os.uname().nodename != name:
            self._record("hostname", name, "")

    def add_group(self, name: str, *, gid: int | None = None, system: bool = False) -> None:
        """Record the group."""
        super().add_group(name, gid=gid, system=system)
        words = ["system group"] if system else []
        self._record("group", name, ", ".join([*words, *([] if gid is None else [f"gid {gid}"])]))

    def add_user(self, account: Account) -> None:
        """Record the user."""
        super().add_user(account)
        user = self._known(account.name)
        words = ["system user"] if account.system else []
        if account.uid is not None:
            words.append(f"uid {account.uid}")
        if account.groups:
            words.append(f"groups {', '.join(account.groups)}")
        words += [f"shell {user.shell}", f"home {user.home}"]
        if not account.create_home:
            words.append("not made")
        self._record("user", account.name, ", ".join(words))

    def add_to_groups(self, user: str, groups: Sequence[str]) -> None:
        """Record the memberships that are new."""
        with self._recorded("groups", user, ", ".join(groups)):
            super().add_to_groups(user, groups)

    def set_password_hash(self, user: str, hash: Secret) -> None:
        """Record that the user's hash is set."""
        with self._recorded("password", user, "set to a given hash"):
            super().set_password_hash(user, hash)

    def set_password(self, user: str, text: Secret) -> None:
        """Record that the user's password is set."""
        if self.runs:
            self._known(user)
            self._record("password", user, "set by chpasswd")
        else:
            super().set_password(user, text)

    def lock_password(self, user: str) -> None:
        """Record that the user's password is locked, when it is not yet."""
        with self._recorded("password", user, "locked"):
            super().lock_password(user)

    def expire_password(self, user: str) -> None:
        """Record that the user's password has to be changed, when it need not yet."""
        with self._recorded("password", user, "to be changed at the next login"):
            super().expire_password(user)

    def _record(self, verb: str, target: str, detail: str) -> None:
        self.effects.append(Effect(verb, target, detail, self.cause))

    @contextmanager
    def _recorded(self, verb: str, target: str, detail: str) -> Iterator[None]:
        """Record the effect when what happens inside changes something in memory."""
        before = self._overlay.changes
        yield
        if self._overlay.changes != before:
            self._record(verb, target, detail)

    def _make_home(self, user: User, skeleton: str, mode: int) -> None:
        if self.kind(user.home, follow=True) is None:
            self._files.make_directory(user.home, mode=mode, owner=(user.uid, user.gid))


def _size(content: Content) -> str:
    count = len(content)
    return "1 byte" if count == 1 else f"{count} bytes"
