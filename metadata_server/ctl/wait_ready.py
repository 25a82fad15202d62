"""linklocal wait-ready: until guests have said how their boot went."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import DEGRADED, DONE, FAILED, NOT_FINAL
from .output import aside, cell, document, table
from .parser import Parser, client, read_seconds, wants_json

if TYPE_CHECKING:
    from .client import Client

POLL = 20.0
"""Seconds that one request waits for a report on the server."""
ANSWER = 15.0
"""Seconds beyond that in which the answer has to come."""

WAIT_READY = """\
Wait until every instance named has said how its boot went, and print that: the result, and what
was refused or failed, by its place in the user data, with exit statuses. A guest says so at the end
of a boot when `report_boot: true` is in its /etc/linklocal/agent.yaml."""

EPILOG = """\
exit status:
  0 all boots are done; 1 a boot failed; 2 one is degraded, with --strict; 3 one has not been
  reported in time
"""

Ready = dict[str, Any]


def add(commands: Any) -> None:
    wait: Parser = commands.add_parser(
        "wait-ready",
        help="wait until guests have booted",
        description=WAIT_READY,
        epilog=EPILOG,
    )
    wait.add_argument("id", metavar="ID", nargs="+")
    wait.add_argument(
        "--timeout", type=read_seconds, default=300.0, metavar="SECONDS", help="default: 300"
    )
    wait.add_argument(
        "--next", action="store_true", help="a report that comes from now on: after a restart"
    )
    wait.add_argument("--strict", action="store_true", help="exit with 2 when one is degraded")
    wait.add_common()
    wait.set_defaults(run=wait_ready)


def wait_ready(options: Namespace) -> int:
    server = client(options)
    names = list(dict.fromkeys(options.id))
    # Each is asked for once before any is waited for: a wrong id is told now.
    seen = {name: server.get("instances", name, "boot-report") for name in names}
    after = {name: found["number"] if options.next else 0 for name, found in seen.items()}
    deadline = time.monotonic() + options.timeout
    ready: dict[str, Ready] = {}
    for name in names:
        found = _wait(server, name, seen[name], after[name], deadline)
        if found is not None:
            ready[name] = found
            if not wants_json(options):
                aside(f"{cell(name)}: {_words(found['report'])}")
    missing = [name for name in names if name not in ready]
    _show(options, names, ready, missing)
    return _status(options, ready, missing)


def _wait(server: Client, name: str, found: Ready, after: int, deadline: float) -> Ready | None:
    """Return the report numbered above *after*, None when it has not come by the *deadline*."""
    while found["number"] <= after:
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        seconds = min(left, POLL)
        query = f"after={after}&wait={seconds:.3f}"
        found = server.get("instances", name, "boot-report", query=query, timeout=seconds + ANSWER)
    return found


def _show(
    options: Namespace, names: list[str], ready: Mapping[str, Ready], missing: list[str]
) -> None:
    if wants_json(options):
        document({"ready": list(ready.values()), "missing": missing})
        return
    reports = {name: found["report"] for name, found in ready.items()}
    table(
        ("ID", "BOOT", "SECONDS", "TROUBLES"),
        (
            (name, _result(reports[name]), reports[name]["seconds"], _number(reports[name]))
            if name in reports
            else (name, "no report", None, None)
            for name in names
        ),
    )
    for name, report in reports.items():
        for each in report["troubles"]:
            words = [name, each["place"], each["result"], each["detail"]]
            print(": ".join(cell(word) for word in words if word))
        if report["more_troubles"]:
            print(f"{cell(name)}: and {report['more_troubles']} more")
    if missing:
        sys.stdout.flush()
        who = ", ".join(map(cell, missing))
        aside(f"linklocal: no report within {options.timeout:g} s from {who}")


def _status(options: Namespace, ready: Mapping[str, Ready], missing: list[str]) -> int:
    reports = [found["report"] for found in ready.values()]
    if any(report["status"] == "failed" for report in reports):
        return FAILED
    if missing:
        return NOT_FINAL
    if options.strict and any(report["degraded"] for report in reports):
        return DEGRADED
    return DONE


def _result(report: Mapping[str, Any]) -> str:
    degraded = report["degraded"] and report["status"] == "done"
    return "degraded" if degraded else str(report["status"])


def _number(report: Mapping[str, Any]) -> int:
    return len(report["troubles"]) + int(report["more_troubles"])


def _words(report: Mapping[str, Any]) -> str:
    detail = report["detail"]
    return cell(f"{_result(report)}: {detail}" if detail else _result(report))
