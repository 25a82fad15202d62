"""linklocal-agent: sub-commands in, exit status out. Each imports what it needs and no more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable

from .arguments import Parser, add_root
from .errors import AgentError, ConfigError

if TYPE_CHECKING:
    from .boot import Wishes
    from .host import Host
    from .plan import Effect

DONE, FAILED, DEGRADED, RUNNING = 0, 1, 2, 3
STAGES = ("local", "network", "config", "final")
POLL = 0.1
"""Seconds between two looks at a boot that is waited for."""
OWN = ("/var/lib/linklocal/agent", "/run/linklocal", "/var/log/linklocal")
ANYWHERE = ("write_files", "write_files_deferred")
"""Modules that write where the user says; all others write state of theirs below OWN."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; return its exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    options = parser(words[0] if words else None).parse_args(words)
    try:
        status: int = options.run(options)
    except AgentError as error:
        print(f"linklocal-agent: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        return FAILED
    except KeyboardInterrupt:
        return 130
    return status


def parser(only: str | None = None) -> Parser:
    """Return the parser of all commands, or of *only* that one: to declare all takes a while."""
    from .version import VERSION

    top = Parser(
        prog="linklocal-agent",
        description="Make this machine what its instance data asks for, and tell the truth of it.",
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = top.commands(title="commands")
    known: dict[str, Callable[[Any], None]] = {
        "run": _add_run,
        "plan": _add_plan,
        "status": _add_status,
        "validate": _add_validate,
    }
    if only not in known:
        from . import cli_after, cli_network

        known.update({**cli_after.COMMANDS, **cli_network.COMMANDS})
    for name in [only] if only in known else known:
        known[name](commands)
    return top


def _add_run(commands: Any) -> None:
    command = commands.add_parser("run", help="go through the boot, or one stage of it")
    _way(command)
    command.add_argument("-q", "--quiet", action="store_true", help="only the result, no log")
    command.add_argument(
        "--gates", action="store_true", help="let the units of systemd say when a stage may begin"
    )
    command.set_defaults(run=run)


def _add_plan(commands: Any) -> None:
    command = commands.add_parser("plan", help="say what run would change, and change nothing")
    _way(command)
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(run=plan)


def _add_status(commands: Any) -> None:
    command = commands.add_parser("status", help="say how the boot went")
    command.add_argument("--wait", action="store_true", help="until the boot has ended")
    command.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="wait no longer")
    command.add_argument("--strict", action="store_true", help="exit with 2 when degraded")
    command.add_argument("--json", action="store_true", help="for programs")
    add_root(command)
    command.set_defaults(run=status)


def _add_validate(commands: Any) -> None:
    command = commands.add_parser("validate", help="check user data, of any format")
    command.add_argument("files", metavar="FILE", nargs="+", help="- for standard input")
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(run=validate)


def _datasource(text: str) -> str:
    from . import datasources

    try:
        datasources.check((text,), "--datasource")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from None
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError("expected a number of seconds")
    return seconds


def _way(command: argparse.ArgumentParser) -> None:
    command.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    add_root(command)
    command.add_argument("--metadata-url", metavar="URL", help="such as http://169.254.169.254")
    command.add_argument("--datasource", metavar="NAME", type=_datasource, help="such as openstack")
    command.add_argument("--user-data", metavar="FILE", help="in place of the served; - for stdin")
    command.add_argument("--instance-id", metavar="ID", help="in place of the served")
    command.add_argument("--cloud-config", metavar="FILE", help="lies above all others")


def run(options: argparse.Namespace) -> int:
    """Boot, and return how it went."""
    import os

    from .boot import boot, finish
    from .host import Host
    from .journal import log

    host = Host(options.root)
    _check_rights(host)
    gates = None
    if options.gates:
        if not host.live:
            raise ConfigError("--gates: the units are this machine's, expected no --root")
        from .gates import Gates

        gates = Gates()
    # What the agent makes and gives no other mode is its own; programs get the usual one.
    before = os.umask(0o077)
    log.stderr = not options.quiet
    try:
        done = boot(host, _wishes(options), gates)
        record = done.record
    finally:
        log.flush_to(host)
        os.umask(before)
    if record["status"] != "running":
        print(_summary(record), flush=True)
        finish(host, done)
    return FAILED if record["status"] == "failed" else DONE


def _check_rights(host: Host) -> None:
    import os

    if host.live and os.geteuid() != 0:
        raise ConfigError(
            "run: only root may change this machine; `plan` shows what would be done, and --root "
            "DIR makes a directory of yours what is asked for"
        )


def plan(options: argparse.Namespace) -> int:
    """Print every effect of a boot, in order."""
    from .boot import boot
    from .host import Host
    from .plan import Plan

    host = Plan(Host(options.root))
    record = boot(host, _wishes(options)).record
    if options.json:
        effects = [effect._asdict() for effect in host.effects]
        _print_json({"schema": 1, "effects": effects, "status": record})
    else:
        _print_plan(host.effects, record)
    return FAILED if record["status"] == "failed" else DONE


def status(options: argparse.Namespace) -> int:
    """Print how the boot went, and return it."""
    from .host import Host
    from .status import SCHEMA

    record = waited_for(Host(options.root), wait=options.wait, timeout=options.timeout)
    if options.json:
        _print_json(record or {"schema": SCHEMA, "status": "not started"})
    else:
        _print_status(record)
    if record is None or record["status"] == "running":
        return RUNNING
    if record["status"] == "failed":
        return FAILED
    return DEGRADED if record["degraded"] and options.strict else DONE


def waited_for(host: Host, *, wait: bool, timeout: float | None = None) -> dict[str, Any] | None:
    """Return the boot's status, with *wait* that of its end; None when it has not begun.

    It is waited for *timeout* seconds at most.
    """
    from . import status as truth

    record = truth.read(host)
    if wait:
        import time

        end = None if timeout is None else time.monotonic() + timeout
        if record is None:
            words = "no boot has begun; waiting for one"
            print(f"linklocal-agent: {words}", file=sys.stderr, flush=True)
        while record is None or (record["status"] == "running" and not truth.stranded(record)):
            if end is not None and time.monotonic() >= end:
                break
            time.sleep(POLL)
            record = truth.read(host)
    if record is not None and truth.stranded(record):
        record["status"] = "failed"
        record["detail"] = truth.silent_end(record)
    return record


def validate(options: argparse.Namespace) -> int:
    """Check each file; return whether there is a mistake in one."""
    from .report import BAD
    from .validate import validate as check

    answers = []
    for path in options.files:
        entries = check(_content(path))
        if not entries and not options.json:
            print(f"{path}: no mistakes")
        for entry in entries:
            answers.append({"file": path, **entry._asdict()})
            if not options.json:
                print(f"{path}: {entry.place}: {entry.result}: {entry.detail}")
    if options.json:
        kept = ("file", "place", "result", "detail")
        _print_json([{key: answer[key] for key in kept} for answer in answers])
    return FAILED if any(answer["result"] in BAD for answer in answers) else DONE


def _wishes(options: argparse.Namespace) -> Wishes:
    from .boot import Wishes
    from .modules.base import Stage
    from .secret import Secret

    stages = tuple(Stage) if options.stage == "all" else (Stage(options.stage),)
    user_data = None if options.user_data is None else Secret(_content(options.user_data))
    top: Mapping[str, Any] = {}
    if options.cloud_config is not None:
        from .user_data.document import parse_mapping

        top, _ = parse_mapping(_content(options.cloud_config), options.cloud_config)
    return Wishes(
        stages, options.metadata_url, options.datasource, user_data, options.instance_id, top
    )


def _content(path: str) -> bytes:
    """Return what the file *path* of the command line holds, or standard input for -."""
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def _summary(record: dict[str, Any]) -> str:
    words = record["status"]
    if record["degraded"] and words == "done":
        words = "done, degraded"
    return f"{words}: {record['detail']}" if record["detail"] else words


def _print_status(record: dict[str, Any] | None) -> None:
    if record is None:
        print("status: not started")
        return
    from .status import troubles

    print(f"status: {_summary(record)}")
    if record["stage"]:
        print(f"stage: {record['stage']}")
    if record["datasource"]:
        print(f"datasource: {record['datasource']}, instance {record['instance_id']}")
    if record.get("adopted"):
        print("adopted: cloud-init had set up this instance")
    for line in troubles(record):
        print(f"  {line}")
    for line in record["not_run"]:
        print(f"  not run here: {line}")


def _print_plan(effects: Sequence[Effect], record: dict[str, Any]) -> None:
    from .status import troubles

    own = [each for each in effects if _is_state(each)]
    asked_for = [each for each in effects if not _is_state(each)]
    for effect in asked_for:
        print(f"{effect.verb} {effect.target}{': ' if effect.detail else ''}{effect.detail}")
    print(f"and {len(own)} changes of the agent's own state, log and status")
    if (record["detail"] and record["status"] == "failed") or not asked_for:
        print(_summary(record))
    for line in troubles(record):
        print(f"  {line}")


def _is_state(effect: Effect) -> bool:
    """Say whether the agent itself keeps something there, which nobody asked for."""
    if effect.verb not in ("write", "append", "directory", "remove", "link"):
        return False
    below = any(effect.target == own or effect.target.startswith(f"{own}/") for own in OWN)
    return below and effect.cause not in ANYWHERE


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=2))
