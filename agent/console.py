"""The system console: words for whoever watches the boot, who may be nobody."""

from __future__ import annotations

import errno
import os
import select
import stat

PATH = "/dev/console"
PATIENCE = 5.0
"""Seconds that a console may take nothing, as one that is stopped does, or a pipe nobody reads."""
_FLAGS = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
# A device can be written on a read-only file system, too: what cannot is a mere file.
_NOBODY = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO, errno.EROFS)


def opened() -> int | None:
    """Return the console open for writing, None when there is none or nobody is behind it."""
    try:
        # Without waiting: to open a pipe that nobody reads would take for ever.
        handle = os.open(PATH, _FLAGS)
    except OSError as error:
        if error.errno in _NOBODY:
            return None
        raise
    mode = os.fstat(handle).st_mode
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return handle
    os.close(handle)
    return None


def write(handle: int, content: bytes, patience: float = PATIENCE) -> None:
    """Write all of *content*; TimeoutError when nothing is taken for *patience* seconds."""
    poll = select.poll()
    poll.register(handle, select.POLLOUT)
    rest = memoryview(content)
    while rest:
        try:
            rest = rest[os.write(handle, rest) :]
        except BlockingIOError:
            if not poll.poll(patience * 1000):
                raise TimeoutError(errno.ETIMEDOUT, "nobody reads it") from None
