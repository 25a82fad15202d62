"""argparse with this project's exit status, and with error texts that never quote a value."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import USAGE

if TYPE_CHECKING:
    from .client import Client


class Parser(argparse.ArgumentParser):
    """Long options in full only: a new option must not change what an old script meant."""

    def __init__(self, **words: Any) -> None:
        words.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **words)

    def add_common(self) -> None:
        """Add the options that may stand before the sub-command and after it."""
        group = self.add_argument_group("server and output")
        none = argparse.SUPPRESS
        group.add_argument("--url", default=none, help="the server's control address")
        group.add_argument("--token-file", default=none, metavar="FILE", help="its token")
        group.add_argument(
            "--ca-file", default=none, metavar="FILE", help="certificates to trust for https://"
        )
        group.add_argument(
            "--json", action="store_true", default=none, help="one JSON document instead of text"
        )

    def parse_all(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the options; exits with USAGE when there is anything nobody asked for."""
        options, extra = self.parse_known_args(arguments)
        if extra:
            # What stands there may be a password that somebody meant to give: never repeat it.
            names = [word.partition("=")[0] for word in extra if word.startswith("--")]
            if any("pass" in name for name in names):
                self.error(
                    "a password is never taken from the command line, where every process can "
                    "read it; expected --password-stdin, or no option to be asked"
                )
            self.error(
                f"unknown option {names[0]}" if names else f"{len(extra)} argument(s) too many"
            )
        return options

    def error(self, message: str) -> NoReturn:
        # argparse quotes what stands behind `=` of an option that takes nothing.
        message = message.partition(" explicit argument ")[0].replace("ignored", "takes no value")
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(USAGE)


def client(options: argparse.Namespace) -> Client:
    """Return a client for the server that the options, the environment or the host name."""
    # Here, because --help and bad usage need neither sockets nor TLS.
    from .client import Client
    from .discover import discover

    url, token_file = getattr(options, "url", None), getattr(options, "token_file", None)
    return Client(discover(url, token_file, os.environ), getattr(options, "ca_file", None))


def read_seconds(text: str) -> float:
    """Return the argument *text* as a length of time."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError("expected a number of seconds")
    return seconds


def wants_json(options: argparse.Namespace) -> bool:
    return bool(getattr(options, "json", False))
