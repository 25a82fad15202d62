"""The command `cloud-init` where Linklocal is in its place: what other programs ask of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from . import cloud_init_marks as marks
from .cli import FAILED, main, waited_for
from .errors import AgentError
from .host import Host
from .status import troubles
from .version import VERSION

DEGRADED = 2
OURS = "linklocal-agent"
# What a boot is made of: the units of linklocal-agent do that, and need no help.
STAGES = ("init", "modules", "single")


def run(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command as cloud-init would; return its exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    options, rest = parser.parse_known_args(words)
    if rest and options.command not in STAGES:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    root = ["--root", options.root]
    try:
        if options.command == "status":
            return status(options)
        if options.command in STAGES:
            print(f"cloud-init: boots are made by {OURS} run", file=sys.stderr)
            return FAILED
        if options.command == "cloud-id":
            print(marks.cloud_id(waited_for(Host(options.root), wait=False) or _nothing()))
            return 0
    except AgentError as error:
        print(f"cloud-init: {error}", file=sys.stderr)
        return FAILED
    if options.command == "schema":
        return main(["validate", options.config_file])
    if options.command == "query":
        key = [options.key] if options.key else []
        return main(["query", *key, *(["--list-keys"] if options.list_keys else []), *root])
    if options.command == "clean":
        return main(["clean", *(["--logs"] if options.logs else []), *root])
    if options.command == "collect-logs":
        return main(["collect-logs", "--tarfile", options.tarfile, *root])
    return main(["analyze", *root])


def status(options: argparse.Namespace) -> int:
    """Print the status in cloud-init's words; return 0, 1 for an error, 2 for less than asked."""
    host = Host(options.root)
    theirs = marks.result_of_cloud_init(host)
    record = waited_for(host, wait=options.wait and theirs is None)
    if record is None and theirs is not None:
        record = {**_nothing(), **theirs}
    word, extended, code = "not started", "not started", 0
    if record is not None:
        word = {"failed": "error"}.get(record["status"], record["status"])
        degraded = record["degraded"] and word in ("done", "error")
        extended = f"degraded {word}" if degraded and word == "done" else word
        code = FAILED if word == "error" else DEGRADED if degraded else 0
    if options.format != "tabular":
        _print_structured(options.format, _document(record or _nothing(), word, extended))
        return code
    print(f"status: {word}")
    if options.long:
        found = record or _nothing()
        print(f"extended_status: {extended}\nboot_status_code: enabled-by-generator")
        print(f"detail: {marks.datasource(found) or found['detail']}")
        lines = troubles(dict(found))
        print("errors:" + ("".join(f"\n\t- {line}" for line in lines) or " []"))
    return code


def _document(record: dict[str, Any], word: str, extended: str) -> dict[str, Any]:
    found = marks.status(record)
    stages = {name: found[name] for name in marks.STAGES.values()}
    errors = [line for stage in stages.values() for line in stage["errors"]]
    return {
        "boot_status_code": "enabled-by-generator",
        "datasource": marks.cloud_id(record),
        "detail": marks.datasource(record) or record["detail"],
        "errors": errors,
        "extended_status": extended,
        **stages,
        "recoverable_errors": found["init"]["recoverable_errors"],
        "stage": found["stage"],
        "status": word,
    }


def _print_structured(form: str, document: dict[str, Any]) -> None:
    if form == "yaml":
        import yaml

        print(yaml.safe_dump(document), end="")
        return
    import json

    print(json.dumps(document, indent=2))


def _nothing() -> dict[str, Any]:
    return {
        "datasource": None, "instance_id": None, "stage": None, "detail": "", "started": 0.0,
        "finished": None, "stages": [], "parts": [], "modules": [], "entries": [],
    }  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="cloud-init", description=f"Answers of {OURS} in cloud-init's words."
    )
    version = f"cloud-init (linklocal {VERSION})"
    top.add_argument("--version", "-v", action="version", version=version)
    top.add_argument("--root", default="/", help=argparse.SUPPRESS)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    command = commands.add_parser("status", help="how the boot went")
    command.add_argument("--wait", "-w", action="store_true")
    command.add_argument("--long", "-l", action="store_true")
    command.add_argument("--format", choices=("tabular", "json", "yaml"), default="tabular")
    command = commands.add_parser("query", help="what is known of the instance")
    command.add_argument("key", nargs="?")
    command.add_argument("--list-keys", "-l", action="store_true")
    command.add_argument("--all", "-a", action="store_true")
    command = commands.add_parser("clean", help="forget all boots")
    command.add_argument("--logs", "-l", action="store_true")
    command.add_argument("--seed", "-s", action="store_true", help="there is no seed: nothing")
    command = commands.add_parser("collect-logs", help="all a helper needs")
    command.add_argument("--tarfile", "-t", default="cloud-init.tar.gz")
    command.add_argument("--include-userdata", "-u", action="store_true", help="never included")
    command = commands.add_parser("schema", help="check user data")
    command.add_argument("--config-file", "-c", required=True)
    command = commands.add_parser("analyze", help="where the boot's time went")
    command.add_argument("report", nargs="?", choices=("show", "blame", "dump", "boot"))
    commands.add_parser("cloud-id", help="the cloud in one word")
    for name in STAGES:
        commands.add_parser(name, help=f"made by {OURS}")
    return top


if __name__ == "__main__":
    sys.exit(run())
