"""argparse as the guest's commands use it: the exit status of bad usage, and what it imports."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn

USAGE = 64


class Parser(argparse.ArgumentParser):
    """A parser, or one of its commands'."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, **settings})

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line; 2, argparse's own, is a degraded boot's here."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")

    def commands(self, **settings: Any) -> Any:
        """Return what takes the commands of this one."""
        # With a name given argparse makes no usage, which would be found in vain.
        return self.add_subparsers(metavar="COMMAND", required=True, prog=self.prog, **settings)


class _Formatter(argparse.HelpFormatter):
    """Knows the width by itself: argparse would import shutil for every argument's check."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, **{"width": _width(), **settings})


def _width() -> int:
    """Return the width of a help text, as argparse has it: the terminal's less 2."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns) - 2
    try:
        return (os.get_terminal_size(1).columns or 80) - 2
    except OSError:
        return 78


def add_root(command: argparse.ArgumentParser) -> None:
    """Give *command* its --root."""
    command.add_argument(
        "--root", metavar="DIR", default="/", type=_directory, help="the machine's root directory"
    )


def _directory(text: str) -> str:
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"expected a directory, there is none at {text!r}")
    return text
