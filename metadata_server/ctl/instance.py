"""linklocal instance: the instances the server knows."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from .errors import DONE
from .output import document, facts, table
from .parser import Parser, client, wants_json


def add(commands: Any) -> None:
    group: Parser = commands.add_parser("instance", help="the instances the server knows")
    parts = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing: Parser = parts.add_parser("list", help="list them")
    listing.add_common()
    listing.set_defaults(run=list_all)
    show: Parser = parts.add_parser(
        "show", help="show one, without user data, hashes or other secrets"
    )
    show.add_argument("id", metavar="ID")
    show.add_common()
    show.set_defaults(run=show_one)


def list_all(options: Namespace) -> int:
    answer = client(options).get("instances")
    if wants_json(options):
        document(answer)
        return DONE
    table(
        ("ID", "NAME", "OS", "ADDRESSES", "FLAVOR", "RESET DAEMON"),
        (
            (i["id"], i["name"], i["os_type"], i["addresses"], i["flavor"], i["reset"]["enrolment"])
            for i in answer["instances"]
        ),
    )
    return DONE


def show_one(options: Namespace) -> int:
    answer = client(options).get("instances", options.id)
    if wants_json(options):
        document(answer)
        return DONE
    nics = [_nic(nic) for nic in answer.pop("nics")]
    keys = [f"{key['name']} ({key['public_key'].split()[0]})" for key in answer.pop("keys")]
    facts({**answer, "nics": nics, "keys": keys})
    return DONE


def _nic(nic: dict[str, Any]) -> str:
    words = (nic["mac"], nic.get("ipv4"), nic.get("ipv6"), nic.get("public_ipv4"))
    return " ".join(word for word in words if word)
