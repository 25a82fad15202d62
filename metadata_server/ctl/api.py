"""linklocal api: any call of the control plane, for what has no command of its own."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from .documents import read_json
from .errors import DONE, UsageError
from .output import document
from .parser import Parser, client

API = """\
Make one call with the token of this command and print the JSON that comes back. /openapi.json
describes the native calls; nova's are below /v2.1, the platform's below /v1."""


def add(commands: Any) -> None:
    call: Parser = commands.add_parser("api", help="make any call", description=API)
    call.add_argument("method", metavar="METHOD", type=str.upper, help="GET, POST, PUT, …")
    call.add_argument("path", metavar="PATH", help="such as /linklocal/v1/instances?limit=3")
    call.add_argument("--data", metavar="FILE", help="JSON to send; - is stdin")
    call.add_argument(
        "--header", action="append", default=[], metavar="NAME:VALUE", help="repeatable"
    )
    call.add_common()
    call.set_defaults(run=run)


def run(options: Namespace) -> int:
    if not options.path.startswith("/") or not options.method.isalpha():
        raise UsageError("expected a METHOD and a PATH that begins with /")
    if not (options.path.isascii() and options.path.isprintable()) or " " in options.path:
        raise UsageError("PATH: expected it as it goes over the wire, with %20 for a space")
    headers = {}
    for each in options.header:
        name, colon, value = each.partition(":")
        if not colon or not name.strip().replace("-", "").isalnum() or not value.isprintable():
            raise UsageError("--header: expected NAME:VALUE")
        headers[name.strip()] = value.strip()
    body = None if options.data is None else read_json(options.data)
    answer = client(options).exchange(options.method, options.path, body=body, headers=headers)
    if answer.document is not None:
        document(answer.document)
    elif getattr(options, "json", False):
        document({})
    return DONE
