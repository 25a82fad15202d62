"""Where the server is and which token it takes: options, environment, this session, this host."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..runtime import TOKEN, URL, runtime_directory
from .errors import UsageError

ETC = Path("/etc/linklocal")
DEFAULT_URL = "http://127.0.0.1:8774"


class Found(NamedTuple):
    url: str
    token: str
    token_file: Path
    """For error texts: which token was refused."""


def discover(
    url: str | None, token_file: str | None, environ: Mapping[str, str], etc: Path = ETC
) -> Found:
    """Return the server to talk to; *url* and *token_file* are the command's options, if given.

    Raises UsageError with what to try when there is none.
    """
    where = url or environ.get("LINKLOCAL_URL") or _found_url(environ, etc)
    named = token_file or environ.get("LINKLOCAL_TOKEN_FILE")
    path = Path(named) if named else _found_token_file(environ, etc)
    if where is None and path is not None:
        where = DEFAULT_URL
    if where is None:
        raise UsageError(
            "no server found: start one with linklocal-server, or name it with --url and "
            "--token-file (looked for " + URL + " in " + _places(environ, etc) + ")"
        )
    if path is None:
        raise UsageError(
            f"no token for {where}: name its file with --token-file or LINKLOCAL_TOKEN_FILE "
            "(looked for " + TOKEN + " in " + _places(environ, etc) + ")"
        )
    return Found(where, read_token(path), path)


def read_token(path: Path) -> str:
    """Return the first token in *path*, a file that others must not be able to read."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o007:
                raise UsageError(
                    f"{path}: others can read this token (mode {mode:04o}); run: chmod 600 {path}"
                )
            lines = file.read(65536).decode("ascii").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path}: expected a token, found something that is not text") from None
    for line in map(str.strip, lines):
        if line and not line.startswith("#"):
            return line
    raise UsageError(f"{path}: expected a token, found none")


def _directories(environ: Mapping[str, str], etc: Path) -> Iterator[Path]:
    """Yield where to look: this user's session, then this host."""
    session = runtime_directory(environ, os.geteuid())
    try:
        found = session.lstat()
    except OSError:
        pass
    else:
        # It may be below /tmp: a URL that somebody else left there would get this user's passwords.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise UsageError(
                f"{session}: not a directory that only this user may enter; remove it, or name the "
                "server with --url and --token-file"
            )
    yield session
    yield etc


def _places(environ: Mapping[str, str], etc: Path) -> str:
    return ", ".join(str(path) for path in _directories(environ, etc))


def _found_url(environ: Mapping[str, str], etc: Path) -> str | None:
    for directory in _directories(environ, etc):
        path = directory / URL
        try:
            return path.read_text("ascii").strip()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise UsageError(f"{path}: expected a URL, found something that is not text") from None
    return None


def _found_token_file(environ: Mapping[str, str], etc: Path) -> Path | None:
    for directory in _directories(environ, etc):
        # The second is the server's own list: whoever may read it needs no other.
        for name in (TOKEN, "control-tokens"):
            # os.path says no where this user may not even look.
            if os.path.exists(directory / name):
                return directory / name
    return None
