"""linklocal spot, linklocal event: what guests are told of what is to come."""

from __future__ import annotations

from argparse import Namespace
from typing import Any
from urllib.parse import urlencode

from .errors import DONE
from .output import aside, document, table
from .parser import Parser, client, wants_json
from .targets import add_target, add_when, given, target

KINDS = ("spot", "rebalance", "maintenance", "life_cycle")
STATES = (
    *("InService", "Standby", "Terminated", "Detached"),
    *("Warmed:Running", "Warmed:Stopped", "Warmed:Hibernated", "Warmed:Terminated"),
)
_TIMES = ("in_", "at", "tell_in", "tell_at")


def add(commands: Any) -> None:
    spot: Parser = commands.add_parser("spot", help="the end of spot instances")
    parts = spot.add_subparsers(title="commands", metavar="COMMAND", required=True)
    interrupt: Parser = parts.add_parser("interrupt", help="announce it")
    add_target(interrupt)
    add_when(interrupt, "in five minutes", told=True)
    interrupt.add_argument("--action", choices=("terminate", "stop", "hibernate"))
    _finish(interrupt, lambda options: _announce(options, "spot", "action"))
    cancel: Parser = parts.add_parser("cancel", help="call it off")
    add_target(cancel)
    _finish(cancel, lambda options: _cancel(options, ["spot"]))

    event: Parser = commands.add_parser("event", help="other events")
    parts = event.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing: Parser = parts.add_parser("list", help="what is told to guests, and what is planned")
    listing.add_argument("id", metavar="ID", nargs="?")
    _finish(listing, list_all)
    rebalance: Parser = parts.add_parser("rebalance", help="recommend to rebalance")
    add_target(rebalance)
    add_when(rebalance, "now")
    _finish(rebalance, lambda options: _announce(options, "rebalance"))
    maintenance: Parser = parts.add_parser("maintenance", help="schedule a maintenance")
    add_target(maintenance)
    add_when(maintenance, "in an hour", told=True)
    maintenance.add_argument("--code", help="such as system-reboot or instance-retirement")
    maintenance.add_argument("--description", metavar="TEXT")
    maintenance.add_argument("--length", metavar="SECONDS", help="default: two hours")
    maintenance.add_argument(
        "--deadline", metavar="SECONDS", help="in how many it is to have begun at the latest"
    )
    names = ("code", "description", "length", "deadline")
    _finish(maintenance, lambda options: _announce(options, "maintenance", *names))
    life: Parser = parts.add_parser(
        "life-cycle", help="name the state that an auto scaling group wants"
    )
    life.add_argument("state", choices=STATES, metavar="STATE", help=", ".join(STATES))
    add_target(life)
    add_when(life, "now")
    _finish(life, lambda options: _announce(options, "life_cycle", "state"))
    off: Parser = parts.add_parser("cancel", help="call events off, told or planned")
    add_target(off)
    off.add_argument("--kind", action="append", choices=KINDS, help="repeatable; default: all")
    off.add_argument("--event", metavar="EVENT", help="only the one with this id")
    _finish(off, lambda options: _cancel(options, options.kind))


def _finish(command: Parser, run: Any) -> None:
    command.add_common()
    command.set_defaults(run=run)


def list_all(options: Namespace) -> int:
    query = urlencode({"instance": options.id}) if options.id else ""
    return _show(options, client(options).get("events", query=query))


def _announce(options: Namespace, kind: str, *names: str) -> int:
    body = {**target(options), kind: given(options, *_TIMES, *names)}
    return _show(options, client(options).call("POST", "events", body=body))


def _cancel(options: Namespace, kinds: list[str] | None) -> int:
    body = target(options)
    if kinds:
        body["kinds"] = kinds
    if getattr(options, "event", None):
        body["event"] = options.event
    answer = client(options).call("POST", "events", "cancel", body=body)
    if wants_json(options):
        document(answer)
    else:
        aside(f"{answer['cancelled']} called off")
    return DONE


def _show(options: Namespace, answer: dict[str, Any]) -> int:
    if wants_json(options):
        document(answer)
        return DONE
    known = ("id", "instance", "kind", "told", "at", "tell_at")
    table(
        ("INSTANCE", "KIND", "TOLD", "HAPPENS", "TOLD FROM", "EVENT", "WHAT"),
        (
            (
                each["instance"],
                each["kind"],
                each["told"],
                each.get("at"),
                each.get("tell_at"),
                each["id"],
                {name: value for name, value in each.items() if name not in known and value},
            )
            for each in answer["events"]
        ),
    )
    return DONE
