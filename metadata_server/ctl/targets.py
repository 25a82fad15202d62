"""Which instances a command is about: ids, a tag, or all; and when something is to happen."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from .errors import UsageError
from .parser import Parser


def add_target(command: Parser) -> None:
    command.add_argument("ids", metavar="ID", nargs="*")
    command.add_argument("--tag", metavar="KEY[=VALUE]", help="all instances with the tag")
    command.add_argument("--all", action="store_true", help="all instances")


def target(options: Namespace) -> dict[str, Any]:
    """Return the part of a body that says which instances; UsageError unless one word does."""
    found: dict[str, Any] = {}
    if options.ids:
        found["instances"] = options.ids
    if options.tag is not None:
        found["tag"] = options.tag
    if options.all:
        found["all"] = True
    if len(found) != 1:
        raise UsageError("expected either ID or --tag or --all")
    return found


def add_when(command: Parser, default: str, *, told: bool = False) -> None:
    """Add the options of the time of an event; *told* when the guest may know of it before."""
    happens = command.add_mutually_exclusive_group()
    happens.add_argument(
        "--in", dest="in_", metavar="SECONDS", help=f"when; also 5m or 1h30m; default: {default}"
    )
    happens.add_argument("--at", metavar="TIME", help="when, such as 2026-01-31T12:00:00Z")
    if told:
        tells = command.add_mutually_exclusive_group()
        tells.add_argument("--tell-in", metavar="SECONDS", help="tell the guest only then")
        tells.add_argument("--tell-at", metavar="TIME", help="tell the guest only at that time")


def given(options: Namespace, *names: str) -> dict[str, Any]:
    """Return the options called *names* that were given, as the API calls them."""
    found = {name.rstrip("_"): getattr(options, name, None) for name in names}
    return {
        name: value for name, value in found.items() if value is not None and value is not False
    }
