"""Block devices and images of them: looked at, never written, never mounted.

Nothing of a foreign disk gets into the kernel's own file systems this way, `plan` can look at it
too, and it works where iso9660 is a module that nobody has loaded yet.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

from .files import Files

ReadAt = Callable[[int, int], bytes]
"""Returns the bytes at an offset, as many as asked for; fewer at the end of the device."""


@contextmanager
def reading(files: Files, path: str, *, live: bool) -> Iterator[ReadAt]:
    """Give a reader of the device *path*; below another root, of a file that is the image of one.

    OSError when it is neither, or cannot be read.
    """
    with files.at(path) as (parent, name):
        kind = stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        if kind != (stat.S_IFBLK if live else stat.S_IFREG):
            raise ValueError("is no block device")
        # A drive without a medium would otherwise be waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(name, flags, dir_fd=parent)
    try:
        yield lambda offset, size: _read_at(handle, offset, size)
    finally:
        os.close(handle)


def _read_at(handle: int, offset: int, size: int) -> bytes:
    pieces = []
    while size > 0:
        piece = os.pread(handle, size, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)
