"""linklocal fault: what goes wrong for the requests of some guests and no others."""

from __future__ import annotations

from argparse import Namespace
from typing import Any
from urllib.parse import urlencode

from .errors import DONE, UsageError
from .output import aside, document, table
from .parser import Parser, client, wants_json
from .targets import add_target, given, target

ADD = """\
Add a fault to each of some instances. It meets the requests whose path --path matches (default:
all), and of these only some with --first, --every, --probability and --for."""

_KINDS = ("delay", "status", "hang", "reset", "truncate", "drip", "token_expired", "hop_limit")


def add(commands: Any) -> None:
    group: Parser = commands.add_parser("fault", help="what goes wrong for some guests")
    parts = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    new: Parser = parts.add_parser("add", help="add one", description=ADD)
    add_target(new)
    new.add_argument("--path", metavar="PATTERN", help="only such paths; * is any text")
    what = new.add_argument_group("what happens, one of")
    what.add_argument("--delay", metavar="SECONDS", help="the answer is late by so much")
    what.add_argument("--status", metavar="STATUS", type=int, help="the answer is this error")
    what.add_argument("--hang", action="store_true", help="there is no answer")
    what.add_argument("--reset", action="store_true", help="the connection is reset")
    what.add_argument("--truncate", metavar="BYTES", type=int, help="it ends after so many bytes")
    what.add_argument("--drip", metavar="BYTES", type=int, help="the body comes at so many a s")
    what.add_argument(
        "--token-expired", action="store_true", help="a session token is refused as expired"
    )
    what.add_argument(
        "--hop-limit", action="store_true", help="no session token arrives: a hop too far"
    )
    when = new.add_argument_group("which requests")
    when.add_argument("--jitter", metavar="SECONDS", help="up to so much more of --delay")
    when.add_argument("--first", metavar="NUMBER", type=int, help="only the first so many")
    when.add_argument("--every", metavar="NUMBER", type=int, help="only every so manieth")
    when.add_argument("--probability", metavar="P", type=float, help="only some, at random")
    when.add_argument("--seed", metavar="NUMBER", type=int, help="the same ones for the same seed")
    when.add_argument("--for", dest="for_", metavar="SECONDS", help="only for so long")
    new.add_common()
    new.set_defaults(run=add_fault)
    listing: Parser = parts.add_parser("list", help="list them, with how many requests they met")
    listing.add_argument("id", metavar="ID", nargs="?")
    listing.add_common()
    listing.set_defaults(run=list_all)
    remove: Parser = parts.add_parser("remove", help="remove some by id, or those of instances")
    remove.add_argument("faults", metavar="FAULT", nargs="*")
    remove.add_argument("--instance", metavar="ID", help="all of this instance")
    remove.add_argument("--tag", metavar="KEY[=VALUE]", help="all of instances with the tag")
    remove.add_argument("--all", action="store_true", help="all of all instances")
    remove.add_argument("--path", metavar="PATTERN", help="of these, only those with such a path")
    remove.add_common()
    remove.set_defaults(run=remove_some)


def add_fault(options: Namespace) -> int:
    fault = given(
        options, *_KINDS, "path", "jitter", "first", "every", "probability", "seed", "for_"
    )
    body = {**target(options), "fault": fault}
    return _show(options, client(options).call("POST", "faults", body=body))


def list_all(options: Namespace) -> int:
    query = urlencode({"instance": options.id}) if options.id else ""
    return _show(options, client(options).get("faults", query=query))


def remove_some(options: Namespace) -> int:
    body: dict[str, Any] = given(options, "tag", "all", "path")
    if options.instance:
        body["instances"] = [options.instance]
    if bool(options.faults) == bool(body):
        raise UsageError("expected either FAULT or one of --instance, --tag, --all")
    server = client(options)
    removed = len(options.faults)
    for each in options.faults:
        server.call("DELETE", "faults", each)
    if body:
        removed = server.call("POST", "faults", "clear", body=body)["removed"]
    if wants_json(options):
        document({"removed": removed})
    else:
        aside(f"{removed} removed")
    return DONE


def _show(options: Namespace, answer: dict[str, Any]) -> int:
    if wants_json(options):
        document(answer)
        return DONE
    known = ("id", "instance", "kind", "path", "met", "concerned")
    table(
        ("FAULT", "INSTANCE", "KIND", "PATH", "MET", "OF", "HOW"),
        (
            (
                *(each[name] for name in known),
                {name: value for name, value in each.items() if name not in known},
            )
            for each in answer["faults"]
        ),
    )
    return DONE
