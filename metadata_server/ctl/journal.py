"""linklocal journal, linklocal token-readiness: who asked what, and who asks without a token."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from .errors import DONE, FAILED
from .output import aside, cell, document, table
from .parser import Parser, client, wants_json

POLL = 50.0
"""Seconds that one request waits for something new."""
PAGE = 1000

JOURNAL = """\
Show who asked what and what happened, the newest entries last. --follow goes on until it is
interrupted; --export prints all there is, one JSON object a line."""
READY = """\
Say which instances would still be served if session tokens were required, and which of their
clients would not. Exit status: 0 all that asked are ready, 1 one is not."""

_FILTERS = ("kind", "path", "status", "agent", "token")


def add(commands: Any) -> None:
    journal: Parser = commands.add_parser(
        "journal", help="who asked what and when", description=JOURNAL
    )
    journal.add_argument("id", metavar="ID", nargs="?")
    journal.add_argument("--follow", action="store_true", help="go on as entries come in")
    journal.add_argument("--export", action="store_true", help="all, one JSON object a line")
    journal.add_argument(
        "--kind", choices=("request", "event", "fault", "scenario", "change"), help="only these"
    )
    journal.add_argument("--path", metavar="PATTERN", help="only requests of such paths")
    journal.add_argument("--status", metavar="STATUS", help="only with it: 503, or 5xx")
    journal.add_argument("--agent", metavar="PATTERN", help="only of such user agents")
    journal.add_argument("--token", choices=("none", "good", "bad"), help="only with such a token")
    journal.add_argument("--last", type=int, default=100, metavar="NUMBER", help="default: 100")
    journal.add_argument("--clear", action="store_true", help="forget it instead")
    journal.add_common()
    journal.set_defaults(run=show)
    ready: Parser = commands.add_parser(
        "token-readiness", help="who asks without a token", description=READY
    )
    ready.add_argument("id", metavar="ID", nargs="?")
    ready.add_common()
    ready.set_defaults(run=readiness)


def show(options: Namespace) -> int:
    server = client(options)
    wanted = {"instance": options.id} if options.id else {}
    if options.clear:
        server.call("DELETE", "journal", query=urlencode(wanted))
        return DONE
    given = {name: getattr(options, name) for name in _FILTERS}
    wanted |= {name: value for name, value in given.items() if value is not None}
    if options.export:
        for each in _all(server, wanted, follow=options.follow):
            print(json.dumps(each), flush=options.follow)
        return DONE
    first = server.get("journal", query=urlencode({**wanted, "limit": options.last}))
    if wants_json(options) and not options.follow:
        document(first)
        return DONE
    shown = json.dumps if wants_json(options) else line
    for each in first["entries"]:
        print(shown(each), flush=options.follow)
    if options.follow:
        for each in _all(server, wanted, follow=True, after=first["next"]):
            print(shown(each), flush=True)
    return DONE


def readiness(options: Namespace) -> int:
    query = urlencode({"instance": options.id}) if options.id else ""
    answer = client(options).get("token-readiness", query=query)
    found = answer["instances"]
    if wants_json(options):
        document(answer)
    else:
        words = {True: "yes", False: "no", None: "nothing has asked"}
        table(
            ("INSTANCE", "READY", "CLIENTS THAT ARE NOT"),
            (
                (
                    each["instance"],
                    words[each["ready"]],
                    [
                        f"{client['agent'] or '(no user agent)'} ({client['without_token']}"
                        f" of {client['without_token'] + client['with_token']})"
                        for client in each["clients"]
                        if not client["ready"]
                    ],
                )
                for each in found
            ),
        )
    return FAILED if any(each["ready"] is False for each in found) else DONE


def _all(
    server: Any, wanted: Mapping[str, Any], *, follow: bool, after: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield entries after the one with that number, to the last one or without end."""
    while True:
        query = {**wanted, "after": after, "limit": PAGE, "wait": POLL if follow else 0}
        page = server.get("journal", query=urlencode(query), timeout=POLL + 15)
        if page["missed"] and after:
            aside("linklocal: some entries have made room for later ones")
        yield from page["entries"]
        if page["next"] == after and not follow:
            return
        after = page["next"]


def line(entry: Mapping[str, Any]) -> str:
    """Return an entry for people."""
    if entry["kind"] != "request":
        facts = [f"{name}={cell(value)}" for name, value in entry["facts"].items()]
        words = [entry["time"], entry["instance"] or "-", f"* {entry['what']}", *facts]
    else:
        token = {"none": "no token", "good": "token", "bad": "bad token", "": "-"}[entry["token"]]
        words = [
            *(entry["time"], entry["instance"] or "?", entry["address"], entry["method"]),
            *(entry["path"], entry["status"] or "no answer", token, entry["agent"] or "-"),
        ]
        if entry["fault"]:
            words.append(f"({entry['fault']})")
    return "  ".join(map(cell, words))
