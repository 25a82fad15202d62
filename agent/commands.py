"""Starting programs: an argument list, an environment of our own, a session of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Callable, NamedTuple

from .errors import HostError
from .files import write_all

if TYPE_CHECKING:
    from subprocess import Popen

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
}
UMASK = 0o022
"""What is started makes files that others can read, whatever the agent's own umask."""
KEPT = 65536
"""Bytes of output that are kept in memory, the last ones."""
# Without pidfd_open (Linux before 5.3) the end of a program is looked for this often, in seconds.
_TICK = 0.02
_LOOK = 0.25
"""Seconds between two looks at output that is watched."""
_PIECE = 1 << 16


class Completed(NamedTuple):
    """A program that ended. *output* is stdout and stderr as they came, its last 64 KiB."""

    status: int
    """Exit status; negative for the signal that ended it."""
    output: bytes


def run(
    argv: Sequence[str],
    *,
    what: str,
    root: str | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    timeout: float | None = None,
    output: int | None = None,
    watch: Callable[[bytes], None] | None = None,
    grace: float = 5.0,
) -> Completed:
    """Run *argv* and wait for it. *root*: chroot there. *output*: a descriptor that takes it all.

    Without *output* it is read from a pipe, which breaks for what the program leaves running.
    *watch* is given what comes into *output*, a file, in pieces as it comes.
    After *timeout* seconds the whole process group gets SIGTERM, *grace* later SIGKILL.
    """
    reader, writer = os.pipe() if output is None else (-1, output)
    try:
        try:
            process = _start(argv, what, root, stdin, env, cwd, writer)
        finally:
            if output is None:
                os.close(writer)
        try:
            watcher = None if watch is None or output is None else _Watcher(output, watch)
            try:
                kept = _follow(process.pid, reader, timeout, watcher)
            finally:
                if watcher is not None:
                    watcher.look()
            if kept is None:
                _end(process, grace)
                raise HostError(f"run {what}: still running after {timeout:g} seconds, ended")
            process.wait()
        finally:
            if process.returncode is None:
                _end(process, 0)
    finally:
        if output is None:
            os.close(reader)
    return Completed(process.returncode, kept if output is None else _tail(output))


def _start(
    argv: Sequence[str],
    what: str,
    root: str | None,
    stdin: bytes,
    env: Mapping[str, str] | None,
    cwd: str,
    output: int,
) -> Popen[bytes]:
    import subprocess

    source = _in_memory(stdin) if stdin else subprocess.DEVNULL
    try:
        return subprocess.Popen(
            list(argv),
            stdin=source,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**ENVIRONMENT, **(env or {})},
            cwd=cwd if root is None else None,
            umask=UMASK,
            start_new_session=True,
            preexec_fn=None if root is None else _entering(root, cwd),
        )
    except OSError as error:
        raise HostError(f"run {what}: {error.strerror}") from error
    except (ValueError, subprocess.SubprocessError) as error:
        raise HostError(f"run {what}: {error}") from error
    finally:
        if source >= 0:
            os.close(source)


def _in_memory(content: bytes) -> int:
    """Return a descriptor that reads *content*; it is in no file, and no pipe can fill up."""
    handle = os.memfd_create("stdin")
    write_all(handle, content)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _entering(root: str, cwd: str) -> Callable[[], None]:
    def enter() -> None:
        os.chroot(root)
        os.chdir(cwd)

    return enter


class _Watcher:
    """Reads what is added to a file."""

    def __init__(self, handle: int, tell: Callable[[bytes], None]) -> None:
        self._handle = handle
        self._tell = tell
        self._at = 0

    def look(self) -> None:
        """Tell of all that has come since the last look."""
        while piece := os.pread(self._handle, _PIECE, self._at):
            self._at += len(piece)
            self._tell(piece)


def _follow(
    pid: int, reader: int, timeout: float | None, watcher: _Watcher | None = None
) -> bytes | None:
    """Collect what comes from *reader* until *pid* ends; None when that takes too long."""
    import select
    import time

    poll = select.poll()
    deadline = None if timeout is None else time.monotonic() + timeout
    kept = bytearray()
    try:
        end = os.pidfd_open(pid)
        poll.register(end, select.POLLIN)
    except OSError:
        end = -1
    if reader >= 0:
        os.set_blocking(reader, False)
        poll.register(reader, select.POLLIN)
    try:
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            wait = None if end >= 0 else _TICK
            if watcher is not None:
                watcher.look()
                wait = _LOOK if wait is None else wait
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                wait = left if wait is None else min(wait, left)
            for ready, _ in poll.poll(None if wait is None else max(1, int(wait * 1000))):
                if ready == reader and not _take(reader, kept):
                    poll.unregister(reader)
        # What is in the pipe now, and no more: something left behind may write for ever.
        if reader >= 0:
            _take(reader, kept)
        return bytes(kept[-KEPT:])
    finally:
        if end >= 0:
            os.close(end)


def _take(reader: int, kept: bytearray) -> bool:
    """Add what is there to *kept*; False at the end of the pipe."""
    try:
        piece = os.read(reader, 1 << 20)
    except BlockingIOError:
        return True
    kept += piece
    del kept[:-KEPT]
    return bool(piece)


def _end(process: Popen[bytes], grace: float) -> None:
    """End the process group; the leader is reaped last, so that its number is still ours."""
    if grace > 0:
        _signal(process.pid, 15)
        _follow(process.pid, -1, grace)
    _signal(process.pid, 9)
    process.wait()


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _tail(handle: int) -> bytes:
    size = os.fstat(handle).st_size
    return os.pread(handle, KEPT, max(0, size - KEPT))
