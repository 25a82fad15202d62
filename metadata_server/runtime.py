"""Where a server without a configuration tells its operator how to reach it.

`$XDG_RUNTIME_DIR/linklocal`, else `/run/linklocal-server` for root, else `linklocal-UID` in the
temporary directory. It holds `control-url` and `control-token`, 0600 in a directory 0700 that
belongs to the user and to nobody else: anything else found there is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .errors import ConfigError
from .secret import Secret

URL: Final = "control-url"
TOKEN: Final = "control-token"


def runtime_directory(environment: Mapping[str, str], uid: int) -> Path:
    """Return the directory of the user *uid*, which may not exist yet."""
    base = environment.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "linklocal"
    if uid == 0:
        return Path("/run/linklocal-server")
    # Here, because every command asks this, and few users have neither of these.
    from tempfile import gettempdir

    return Path(gettempdir()) / f"linklocal-{uid}"


def publish(directory: Path, url: str, token: Secret) -> None:
    """Write *url* and *token* into *directory*, readable by this user only from the start.

    Raises ConfigError when the directory is somebody else's or others may enter it.
    """
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigError(
                f"{directory}: not a directory of this user; remove it and start again"
            )
        if found.st_mode & 0o077:
            raise ConfigError(
                f"{directory}: others may enter it, expected mode 0700; chmod 0700 {directory}"
            )
        _write(directory / TOKEN, token.reveal() + b"\n")
        _write(directory / URL, url.encode() + b"\n")
    except OSError as error:
        raise ConfigError(f"{error.filename or directory}: {error.strerror}") from error


def withdraw(directory: Path, token: Secret) -> None:
    """Remove what `publish` wrote, unless a later server has written its own over it."""
    try:
        if (directory / TOKEN).read_bytes().strip() != token.reveal():
            return
        (directory / TOKEN).unlink()
        (directory / URL).unlink()
        directory.rmdir()
    except OSError:
        return


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(handle, "wb") as file:
        file.write(content)
    draft.replace(path)
