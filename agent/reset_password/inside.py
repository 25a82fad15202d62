"""Files of the machine below a root, whose links lead to other files below it, never out of it."""

import os

from ..errors import HostError
from ..files import Files, parts

_LINKS_AT_MOST = 40


def inside(root: str, path: str, *, follow: bool = True) -> str:
    """Return where the machine's *path* is, there or not.

    *follow*: also a link in the last place.
    """
    ahead = parts(path)
    here: list[str] = []
    links = 0
    while ahead:
        name = ahead.pop()
        if name == "..":
            del here[-1:]
            continue
        target = None
        if ahead or follow:
            try:
                target = os.readlink(os.path.join(root, *here, name))
            except OSError:
                target = None
        if target is None:
            here.append(name)
            continue
        links += 1
        if links > _LINKS_AT_MOST:
            raise HostError(f"{path} below {root}: too many links")
        if target.startswith("/"):
            here = []
        ahead += parts(target)
    return os.path.join(root, *here)


def read_inside(root: str, path: str) -> bytes:
    """Return the content of the machine's *path*; OSError when it is absent or no plain file."""
    found = Files(root).read(path)
    if found is None:
        raise FileNotFoundError(2, os.strerror(2))
    return found
