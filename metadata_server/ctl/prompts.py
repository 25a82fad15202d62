"""Where a new password comes from: the terminal, stdin or chance; never an argument."""

from __future__ import annotations

import getpass
import sys
from argparse import Namespace
from collections.abc import Sequence

from .errors import CtlError, UsageError

LONGEST = 4096


def new_password(options: Namespace, users: Sequence[str]) -> tuple[str, str]:
    """Return the body's key, `password` or `hash`, and its value, as the options say.

    A generated one is good for each of *users*.
    """
    if options.generate:
        from ..reset.policy import generate

        return "password", generate(*users)
    if options.password_stdin:
        return "password", _line("password")
    if options.hash_stdin:
        return "hash", _line("hash")
    return "password", _asked_twice()


def _line(what: str) -> str:
    """Return the one line of stdin, without its end; spaces belong to it."""
    raw = sys.stdin.buffer.read(LONGEST + 1)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise UsageError(f"stdin: expected a {what} in UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text or len(raw) > LONGEST:
        raise UsageError(f"stdin: expected one line with the {what}")
    return text


def _asked_twice() -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            "no terminal to ask for the password on; expected --password-stdin, --hash-stdin or "
            "--generate"
        )
    password = getpass.getpass("New password: ")
    if password != getpass.getpass("New password again: "):
        raise CtlError("the two passwords differ; nothing was changed")
    return password
