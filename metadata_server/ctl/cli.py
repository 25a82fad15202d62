"""The `linklocal` command line: what all sub-commands share, and their groups."""

from __future__ import annotations

import os
import sys
from argparse import Action, ArgumentParser
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Final, NoReturn

from .errors import FAILED, USAGE, CtlError, Refused
from .output import aside, cell
from .parser import Parser

DESCRIPTION = "Drive the control plane of a linklocal-server."
EPILOG = """\
finding the server:
  --url and --token-file, else LINKLOCAL_URL and LINKLOCAL_TOKEN_FILE, else control-url and
  control-token in $XDG_RUNTIME_DIR/linklocal (a server without --config writes them), else in
  /etc/linklocal. A URL is http://127.0.0.1:PORT, https://HOST:PORT or unix:///PATH; a token file
  that others can read is refused.

exit status:
  0 done; 1 failed, or refused by the server; 2 degraded (wait-ready --strict); 3 not final within
  --wait or --timeout; 64 bad usage
"""

GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "instance": ("instance",),
        "state": ("state",),
        "password": ("get-password", "delete-password"),
        "keypairs": ("keypair",),
        "reset": ("reset-password", "reset-status", "reset-cancel", "reset-confirm", "reset-key"),
        "identity": ("identity",),
        "event": ("spot", "event"),
        "fault": ("fault",),
        "scenario": ("scenario",),
        "journal": ("journal", "token-readiness"),
        "clock": ("clock",),
        "wait_ready": ("wait-ready",),
        "capture": ("capture",),
        "net": ("net",),
        "qemu": ("qemu-args",),
        "api": ("api",),
    }
)
"""The modules and the commands of each: who asks for one does not wait for all the others."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = make_parser(arguments[0] if arguments else None)
    try:
        options = parser.parse_all(arguments)
        status: int = options.run(options)
        sys.stdout.flush()
    except Refused as error:
        for text in error.mistakes or (str(error),):
            aside(f"linklocal: {cell(text)}")
        return error.status
    except CtlError as error:
        aside(f"linklocal: {cell(str(error))}")
        return error.status
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            aside(f"linklocal: {cell(str(error))}")
        # The reader has had enough, or the disk; Python would complain while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status


def make_parser(only: str | None = None) -> Parser:
    """Return the parser with all commands, or with those of the group that *only* is in."""
    parser = Parser(prog="linklocal", description=DESCRIPTION, epilog=EPILOG)
    parser.add_common()
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    chosen = [group for group, names in GROUPS.items() if only in names]
    for group in chosen or GROUPS:
        import_module(f".{group}", __package__).add(commands)
    if not chosen:
        from . import completion

        completion.add(commands, parser)
    parser.set_defaults(run=lambda _: _no_command(parser))
    return parser


class _Version(Action):
    def __call__(self, parser: ArgumentParser, *_: object) -> NoReturn:
        # Looking it up is slow, so only who asks waits for that.
        from importlib import metadata

        try:
            version = metadata.version("linklocal")
        except metadata.PackageNotFoundError:
            version = "from a checkout"
        print(f"{parser.prog} {version}")
        sys.exit(0)


def _no_command(parser: Parser) -> int:
    parser.print_usage(sys.stderr)
    aside("linklocal: expected a command; linklocal --help lists them")
    return USAGE
