"""linklocal instance: the instances the server knows."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from .documents import changes, needs_current, read_instances
from .errors import DONE, CtlError, Refused, UsageError
from .output import aside, document, facts, table
from .parser import Parser, client, wants_json

if TYPE_CHECKING:
    from .client import Client

ALL = "/linklocal/v1/instances"
TRIES = 5

ADD = """\
Add the instance or the list of instances in FILE, YAML or JSON in the words of the server's
configuration: all of them or, when one is wrong, none. An instance without an id gets one."""
SET = """\
Change an instance while it runs. KEY is a path such as name, tags.Name, nics[0].mtu or
metadata_options.http_tokens; a dot in a name is written \\.; VALUE is JSON or else text; null takes
the key away, and @FILE is what is in a file. What others change at the same time is kept."""


def add(commands: Any) -> None:
    group: Parser = commands.add_parser("instance", help="the instances the server knows")
    parts = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing: Parser = parts.add_parser("list", help="list them")
    listing.add_argument("--name", metavar="PATTERN", help="only names like this, such as 'web-*'")
    listing.add_argument(
        "--tag", action="append", metavar="KEY[=VALUE]", help="only those with the tag; repeatable"
    )
    listing.add_common()
    listing.set_defaults(run=list_all)
    show: Parser = parts.add_parser(
        "show", help="show one, without user data, hashes or other secrets"
    )
    show.add_argument("id", metavar="ID")
    show.add_argument(
        "--configuration",
        action="store_true",
        help="show it in the words of the configuration, with user data and all, as JSON",
    )
    show.add_common()
    show.set_defaults(run=show_one)
    new: Parser = parts.add_parser("add", help="add one or several", description=ADD)
    new.add_argument("file", metavar="FILE", help="- is stdin")
    new.add_argument(
        "--count",
        type=int,
        metavar="NUMBER",
        help="make so many of one description: name it ecs or ecs[66,3]abc, addresses count up",
    )
    new.add_argument("--same-name", action="store_true", help="all of them have the same name")
    new.add_common()
    new.set_defaults(run=add_all)
    change: Parser = parts.add_parser("set", help="change one", description=SET)
    change.add_argument("id", metavar="ID")
    change.add_argument("changes", metavar="KEY=VALUE", nargs="+")
    change.add_argument(
        "--force", action="store_true", help="also user data, which is fixed otherwise"
    )
    change.add_common()
    change.set_defaults(run=set_one)
    options: Parser = parts.add_parser("options", help="show or change how metadata is served")
    options.add_argument("id", metavar="ID")
    options.add_argument("--http-endpoint", choices=("enabled", "disabled"))
    options.add_argument("--http-tokens", choices=("optional", "required"))
    options.add_argument("--hop-limit", type=int, metavar="HOPS", help="1 to 64")
    options.add_common()
    options.set_defaults(run=metadata_options)
    remove: Parser = parts.add_parser(
        "remove", help="remove some, with their posted passwords and resets"
    )
    remove.add_argument("ids", metavar="ID", nargs="+")
    remove.add_common()
    remove.set_defaults(run=remove_all)
    reset: Parser = parts.add_parser(
        "reset", help="drop what was changed here: as configured again"
    )
    reset.add_argument("id", metavar="ID")
    reset.add_common()
    reset.set_defaults(run=reset_one)


def list_all(options: Namespace) -> int:
    given = [("name", options.name)] if options.name is not None else []
    found = list(pages(client(options), urlencode(given + [("tag", t) for t in options.tag or ()])))
    if wants_json(options):
        document({"instances": found})
        return DONE
    _table(found)
    return DONE


def pages(server: Client, query: str) -> Iterator[dict[str, Any]]:
    """Yield what the list says of each instance, page after page."""
    target = f"{ALL}?{query}" if query else ALL
    while target:
        answer = server.exchange("GET", target).document
        yield from answer["instances"]
        target = answer["next"]


def show_one(options: Namespace) -> int:
    if options.configuration:
        document(client(options).get("instances", options.id, "configuration"))
        return DONE
    return _show(options, client(options).get("instances", options.id))


def add_all(options: Namespace) -> int:
    from .client import LONG

    given = read_instances(options.file)
    query = {}
    if options.count is not None:
        query["count"] = str(options.count)
    if options.same_name:
        query["same_name"] = "true"
    if query and isinstance(given, list):
        raise UsageError(f"{options.file}: --count is for one description, this is a list")
    target = f"{ALL}?{urlencode(query)}" if query else ALL
    # Here, because it loads all of OpenSSL's hashes, and `list` needs none.
    import secrets

    # A connection that breaks is tried again; the key makes sure that it is done once.
    key = {"Idempotency-Key": secrets.token_hex(16)}
    server = client(options)
    try:
        answer = server.exchange("POST", target, body=given, headers=key, timeout=LONG)
    except Refused:
        raise
    except CtlError:
        answer = client(options).exchange("POST", target, body=given, headers=key, timeout=LONG)
    if wants_json(options):
        document(answer.document)
    else:
        _table(answer.document["instances"])
    return DONE


def set_one(options: Namespace) -> int:
    server = client(options)
    target = f"{ALL}/{quote(options.id, safe='')}"
    for left in reversed(range(TRIES)):
        current, headers = None, {}
        if needs_current(options.changes):
            read = server.exchange("GET", target + "/configuration")
            current, headers = read.document, {"If-Match": read.etag or "*"}
        patch = changes(options.changes, current)
        query = "?force=true" if options.force else ""
        try:
            answer = server.exchange("PATCH", target + query, body=patch, headers=headers)
        except Refused as error:
            if error.code != 412 or not left:
                raise
            continue
        return _show(options, answer.document)
    return DONE


def metadata_options(options: Namespace) -> int:
    given = {
        "http_endpoint": options.http_endpoint,
        "http_tokens": options.http_tokens,
        "hop_limit": options.hop_limit,
    }
    patch = {key: value for key, value in given.items() if value is not None}
    path = ("instances", options.id, "metadata-options")
    server = client(options)
    answer = server.call("PATCH", *path, body=patch) if patch else server.get(*path)
    if wants_json(options):
        document(answer)
    else:
        facts(answer)
    return DONE


def remove_all(options: Namespace) -> int:
    server = client(options)
    for each in options.ids:
        server.call("DELETE", "instances", each)
        if not wants_json(options):
            aside(f"{each}: removed")
    if wants_json(options):
        document({"removed": options.ids})
    return DONE


def reset_one(options: Namespace) -> int:
    return _show(options, client(options).call("DELETE", "instances", options.id, "overlay"))


def _show(options: Namespace, view: dict[str, Any]) -> int:
    if wants_json(options):
        document(view)
        return DONE
    nics = [_nic(nic) for nic in view["nics"]]
    keys = [f"{key['name']} ({key['public_key'].split()[0]})" for key in view["keys"]]
    facts({**view, "nics": nics, "keys": keys})
    return DONE


def _table(instances: list[dict[str, Any]]) -> None:
    table(
        ("ID", "NAME", "OS", "ADDRESSES", "FLAVOR", "RESET DAEMON"),
        (
            (i["id"], i["name"], i["os_type"], i["addresses"], i["flavor"], i["reset"]["enrolment"])
            for i in instances
        ),
    )


def _nic(nic: Mapping[str, Any]) -> str:
    words = (nic["mac"], nic.get("ipv4"), nic.get("ipv6"), nic.get("public_ipv4"))
    return " ".join(word for word in words if word)
