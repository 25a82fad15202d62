"""linklocal clock: the server's clock, shown and moved."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from .errors import DONE
from .output import document, facts
from .parser import Parser, client, wants_json

CLOCK = """\
Show the server's clock. A server started with `clock: stepped` in its configuration stands still
until it is moved here: all that is due on the way has happened when the command returns."""


def add(commands: Any) -> None:
    clock: Parser = commands.add_parser(
        "clock", help="the server's clock, and moving it", description=CLOCK
    )
    how = clock.add_mutually_exclusive_group()
    how.add_argument("--step", metavar="SECONDS", help="move on by so much; also 5m or 1h30m")
    how.add_argument("--to", metavar="TIME", help="move on to then, such as 2026-01-31T12:00:00Z")
    clock.add_common()
    clock.set_defaults(run=run)


def run(options: Namespace) -> int:
    server = client(options)
    given = {"step": options.step, "to": options.to}
    body = {name: value for name, value in given.items() if value is not None}
    found = server.call("POST", "clock", body=body) if body else server.get("clock")
    if wants_json(options):
        document(found)
    else:
        facts(found)
    return DONE
