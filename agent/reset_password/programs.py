"""Running a program with a text on its stdin; without `subprocess`, which would stay in memory."""

import os
import select
import signal
from collections.abc import Sequence

from ..errors import HostError

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C"}


def run(argv: Sequence[str], text: bytes = b"", *, seconds: float = 60.0) -> bool:
    """Say whether the program ended with 0; HostError when it cannot be run or does not end.

    *text* has to fit into a pipe, 64 KiB. What the program prints is nobody's: it could quote it.
    """
    path = _found(argv[0])
    reader, writer = os.pipe()
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_DUP2, reader, 0),
        (os.POSIX_SPAWN_DUP2, nowhere, 1),
        (os.POSIX_SPAWN_DUP2, nowhere, 2),
    ]
    try:
        child = os.posix_spawn(path, list(argv), ENVIRONMENT, file_actions=actions)
    except OSError as error:
        os.close(writer)
        raise HostError(f"run {argv[0]}: {error.strerror}") from error
    finally:
        os.close(reader)
        os.close(nowhere)
    try:
        os.write(writer, text)
    except BrokenPipeError:
        # It ended before it read; its status says why.
        pass
    finally:
        os.close(writer)
    return _ended(child, argv[0], seconds)


def _ended(child: int, name: str, seconds: float) -> bool:
    handle = os.pidfd_open(child)
    try:
        end = select.poll()
        end.register(handle, select.POLLIN)
        in_time = bool(end.poll(seconds * 1000))
    finally:
        os.close(handle)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not in_time:
        raise HostError(f"run {name}: did not end within {seconds:.0f} s")
    return status == 0


def _found(name: str) -> str:
    for directory in PATH.split(":"):
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK):
            return path
    raise HostError(f"run {name}: not found in {PATH}")
