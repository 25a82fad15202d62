"""What every guest in namespaces can be asked: its files, by its own PID 1's view, and programs.

A process inside does what it reads on a socket (`inside.Init`); descriptors go over it as well.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import json
import os
import re
import select
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


class GuestError(Exception):
    """The machine this runs on does not allow the guest, or the guest is gone."""


class Status(NamedTuple):
    """What the guest says of one path, links not followed."""

    mode: int
    uid: int
    gid: int
    size: int
    kind: str


class Guest:
    """A running machine's files and programs; its makers say how it comes up and goes down."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = 0
        """Of its PID 1, on the host; 0 while it is down."""
        self._link: socket.socket | None = None
        self._turn = threading.Lock()

    # --- looking and changing ---------------------------------------------------------------------

    def _ask(
        self, message: Mapping[str, Any], fds: Sequence[int] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        with self._turn:
            if self._link is None:
                raise GuestError(f"{self.name} is not running")
            send(self._link, message, fds)
            return answer(self._link)

    def call(self, name: str, *arguments: Any) -> Any:
        """Return what one of PID 1's few system calls says, such as *lstat* or *listdir*."""
        return self._ask({"do": name, "args": arguments})[0].get("value")

    def _open(self, path: str, flags: int, mode: int = 0o644) -> int:
        return self._ask({"do": "open", "path": path, "flags": flags, "mode": mode})[1][0]

    def read(self, path: str) -> bytes:
        """Return the content of *path*; OSError as `open` raises it."""
        with open(self._open(path, os.O_RDONLY), "rb") as file:
            return file.read()

    def text(self, path: str) -> str:
        return self.read(path).decode()

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Write *path*, its parents made."""
        self.call("makedirs", os.path.dirname(path))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with open(self._open(path, flags, mode), "wb") as file:
            file.write(content)
        self.call("chmod", path, mode)

    def stat(self, path: str) -> Status:
        """Say what *path* itself is; OSError when it is not there."""
        mode, _, _, _, uid, gid, size, *_ = self.call("lstat", path)
        return Status(stat.S_IMODE(mode), uid, gid, size, _kind(mode))

    def exists(self, path: str) -> bool:
        try:
            self.call("lstat", path)
        except FileNotFoundError:
            return False
        return True

    def names(self, path: str) -> list[str]:
        return list(self.call("listdir", path))

    def readlink(self, path: str) -> str:
        return str(self.call("readlink", path))

    def snapshot(self, *paths: str) -> dict[str, str]:
        """Return what everything at and below *paths* is, in words that can be compared."""
        found: dict[str, str] = {}
        ahead = [path for path in paths if self.exists(path)]
        while ahead:
            path = ahead.pop()
            status = self.stat(path)
            content = b""
            if status.kind == "directory":
                ahead += [f"{path.rstrip('/')}/{name}" for name in self.names(path)]
                status = status._replace(size=0)
            elif status.kind == "link":
                content = self.readlink(path).encode()
            elif status.kind == "file":
                content = self.read(path)
            found[path] = f"{tuple(status)} {hashlib.sha256(content).hexdigest()}"
        return found

    # --- programs ---------------------------------------------------------------------------------

    def start(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
    ) -> Running:
        """Start a program in the guest and return it at once; its output is collected."""
        with contextlib.ExitStack() as ours:
            stdin = _memory(ours, input)
            ends = [_pipe(ours) for _ in range(3)]
            message = {
                "do": "start",
                "argv": [os.fspath(word) for word in argv],
                "env": {**ENVIRONMENT, **(env or {})},
                "cwd": cwd,
            }
            (out, their_out), (err, their_err), (status, their_status) = ends
            pid = self._ask(message, [stdin, their_out, their_err, their_status])[0]["value"]
            return Running(self, list(argv), int(pid), os.dup(out), os.dup(err), os.dup(status))

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        timeout: float = 60,
        check: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the guest to its end; at *timeout* kill it and raise TimeoutExpired."""
        with self.start(argv, input=input, env=env, cwd=cwd) as running:
            done = running.wait(timeout)
        if check:
            done.check_returncode()
        return done

    def sh(self, script: str, *, timeout: float = 60) -> str:
        """Return what a shell script prints; its failure is an error with all it said."""
        done = self.run(["/bin/sh", "-ec", script], timeout=timeout)
        if done.returncode:
            raise AssertionError(
                f"{script}: status {done.returncode}\n{(done.stdout + done.stderr).decode()}"
            )
        return done.stdout.decode()


class Running:
    """A program in a guest; leaving its `with` ends it."""

    def __init__(
        self, guest: Guest, argv: list[str], pid: int, out: int, err: int, status: int
    ) -> None:
        self.argv = argv
        self.pid = pid
        """Inside the guest."""
        self.returncode: int | None = None
        self._guest = guest
        self._texts = {out: bytearray(), err: bytearray()}
        self._out, self._err, self._status = out, err, status
        self._open = {out, err, status}

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.returncode is None:
            with contextlib.suppress(OSError, GuestError):
                self.kill(9)
                self._follow(until=None, timeout=5)
        for fd in self._open:
            os.close(fd)
        self._open.clear()

    @property
    def stdout(self) -> bytes:
        return bytes(self._texts[self._out])

    @property
    def stderr(self) -> bytes:
        return bytes(self._texts[self._err])

    def kill(self, number: int = 15) -> None:
        self._guest.call("kill", self.pid, number)

    def wait(self, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Return what it printed and its status, or raise TimeoutExpired."""
        self._follow(until=None, timeout=timeout)
        assert self.returncode is not None
        return subprocess.CompletedProcess(self.argv, self.returncode, self.stdout, self.stderr)

    def wait_for(self, pattern: str, timeout: float = 20) -> re.Match[str]:
        """Return the first match of *pattern* in all it has printed; raise when it never comes."""
        found = self._follow(until=re.compile(pattern), timeout=timeout)
        if found is None:
            raise GuestError(
                f"{' '.join(self.argv)}: ended with status {self.returncode} before it printed"
                f" {pattern!r}:\n{self._everything()}"
            )
        return found

    def _everything(self) -> str:
        return (self.stdout + self.stderr).decode(errors="replace")

    def _follow(self, until: re.Pattern[str] | None, timeout: float) -> re.Match[str] | None:
        """Read on until *until* is printed, or the end; then read what is there without waiting."""
        end = time.monotonic() + timeout
        while True:
            if until is not None and (found := until.search(self._everything())):
                return found
            if self.returncode is not None and until is None:
                self._read(0)
                return None
            if self.returncode is not None and not self._read(0):
                return None
            if self.returncode is None and not self._read(max(0.0, end - time.monotonic())):
                raise subprocess.TimeoutExpired(self.argv, timeout, self.stdout, self.stderr)

    def _read(self, timeout: float) -> bool:
        """Take what has come, waiting at most *timeout* seconds; False when nothing came."""
        ready, _, _ = select.select(list(self._open), [], [], timeout)
        # The status last: what the program printed before its end is then there to be read.
        for fd in sorted(ready, key=lambda fd: fd == self._status):
            chunk = os.read(fd, 1 << 16)
            if fd == self._status:
                self.returncode = int(chunk) if chunk else -9  # The guest ended with it.
                self._open.discard(fd)
                os.close(fd)
                while self._read(0):
                    pass
            elif chunk:
                self._texts[fd] += chunk
            else:
                self._open.discard(fd)
                os.close(fd)
        return bool(ready)


def _kind(mode: int) -> str:
    for name, is_kind in (
        ("file", stat.S_ISREG),
        ("directory", stat.S_ISDIR),
        ("link", stat.S_ISLNK),
    ):
        if is_kind(mode):
            return name
    return "other"


def _memory(stack: contextlib.ExitStack, content: bytes) -> int:
    """Return a descriptor to read *content* from: never a file, so a secret has no name."""
    fd = os.memfd_create("input", os.MFD_CLOEXEC)
    stack.callback(os.close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for fd in ends:
        stack.callback(os.close, fd)
    return ends


def send(where: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        where.sendmsg([json.dumps(message).encode()], rights)
    except OSError as error:
        raise GuestError(f"the guest is gone: {error.strerror}") from error


def answer(where: socket.socket) -> tuple[dict[str, Any], list[int]]:
    try:
        data, fds, _, _ = socket.recv_fds(where, 1 << 18, 4)
    except ConnectionResetError as error:
        raise GuestError("the guest is gone") from error
    for fd in fds:
        os.set_inheritable(fd, False)
    if not data:
        raise GuestError("the guest is gone")
    said: dict[str, Any] = json.loads(data)
    if "errno" in said:
        raise OSError(said["errno"], said["error"], said["path"])
    if "error" in said:
        raise GuestError(said["error"])
    return said, list(fds)
