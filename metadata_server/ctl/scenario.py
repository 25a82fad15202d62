"""linklocal scenario: time lines of events, faults and changes, run by the server."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .documents import read_text
from .errors import DONE, FAILED, CtlError
from .journal import line
from .output import aside, cell, document, facts, table
from .parser import Parser, client, wants_json

if TYPE_CHECKING:
    from .client import Client

POLL = 20.0
"""Seconds that one request waits for a change on the server."""

RUN = """\
Run the scenario in FILE, YAML or JSON, on the server, and show what it does until it has ended. It
goes on when this command is interrupted. Exit status: 0 all was done, 1 a step failed or it was
stopped."""


def add(commands: Any) -> None:
    group: Parser = commands.add_parser("scenario", help="time lines of events and faults")
    parts = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run: Parser = parts.add_parser("run", help="run one", description=RUN)
    run.add_argument("file", metavar="FILE", help="- is stdin")
    run.add_argument(
        "--speed", type=_speed, default=1.0, metavar="NUMBER", help="divide all times by this"
    )
    run.add_argument("--detach", action="store_true", help="do not wait for its end")
    run.add_common()
    run.set_defaults(run=run_one)
    check: Parser = parts.add_parser("check", help="say what is wrong with one; needs no server")
    check.add_argument("file", metavar="FILE", help="- is stdin")
    check.add_common()
    check.set_defaults(run=check_one)
    listing: Parser = parts.add_parser("list", help="list those that run, and the last that ended")
    listing.add_common()
    listing.set_defaults(run=list_all)
    show: Parser = parts.add_parser("show", help="show one")
    show.add_argument("run_id", metavar="RUN")
    show.add_common()
    show.set_defaults(run=show_one)
    stop: Parser = parts.add_parser("stop", help="stop one; what it has done stays")
    stop.add_argument("run_id", metavar="RUN")
    stop.add_common()
    stop.set_defaults(run=stop_one)


def run_one(options: Namespace) -> int:
    text = read_text(options.file)
    server = client(options)
    name = "stdin" if options.file == "-" else options.file
    last = server.get("journal", query="limit=1")["next"]
    body = {"file": name, "text": text, "speed": options.speed}
    run = server.call("POST", "scenarios", body=body)
    if not options.detach:
        if not wants_json(options):
            aside(f"{run['id']}: it goes on when this command is interrupted")
        run = _follow(options, server, run, last)
    if wants_json(options):
        document(run)
    elif options.detach:
        print(run["id"])
    for each in run["failures"]:
        aside(f"linklocal: {cell(each)}")
    return FAILED if run["state"] in ("failed", "stopped") else DONE


def check_one(options: Namespace) -> int:
    # The forms need PyYAML, which is not for the commands that read no file.
    from ..day.forms import read_scenario
    from ..errors import ConfigError

    name = Path("stdin" if options.file == "-" else options.file)
    try:
        found = read_scenario(read_text(options.file).encode(), name)
    except ConfigError as error:
        for problem in error.problems[:-1]:
            aside(f"linklocal: {cell(problem)}")
        raise CtlError(error.problems[-1]) from error
    summary = {"name": found.name, "steps": len(found.steps), "seconds": found.length}
    if wants_json(options):
        document(summary)
    else:
        facts(summary)
    return DONE


def list_all(options: Namespace) -> int:
    answer = client(options).get("scenarios")
    if wants_json(options):
        document(answer)
        return DONE
    names = ("id", "name", "state", "done", "steps", "speed", "began", "ended")
    table(
        ("RUN", "NAME", "STATE", "DONE", "OF", "SPEED", "BEGAN", "ENDED"),
        ([each[name] for name in names] for each in answer["scenarios"]),
    )
    return DONE


def show_one(options: Namespace) -> int:
    return _show(options, client(options).get("scenarios", options.run_id))


def stop_one(options: Namespace) -> int:
    return _show(options, client(options).call("DELETE", "scenarios", options.run_id))


def _show(options: Namespace, run: dict[str, Any]) -> int:
    if wants_json(options):
        document(run)
    else:
        facts(run)
    return DONE


def _follow(options: Namespace, server: Client, run: dict[str, Any], after: int) -> dict[str, Any]:
    """Print what the scenario does until it has ended; return what became of it."""
    while True:
        ended = run["state"] != "running"
        wait = 0 if ended else POLL
        query = f"after={after}&wait={wait:g}"
        page = server.get("journal", query=query, timeout=POLL + 15)
        after = page["next"]
        for each in page["entries"]:
            ours = each.get("facts", {}).get("scenario") == run["name"]
            if ours and not wants_json(options):
                print(line(each), flush=True)
        if ended and not page["entries"]:
            return run
        run = server.get("scenarios", run["id"])


def _speed(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not found > 0 or not math.isfinite(found):
        raise ArgumentTypeError("expected a number above 0")
    return found
