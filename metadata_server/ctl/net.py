"""linklocal net: the addresses of a metadata service on a bridge or an interface, and away again.

What is done is written down before it is done, so that `down` takes back exactly that, also after
a crash: an address, a bridge or a namespace that was there before stays.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, Final

from .errors import DONE, FAILED, CtlError, UsageError
from .output import aside, document
from .parser import Parser, wants_json
from .state import write_private

RECORDS: Final = Path("/run/linklocal-net")
BRIDGE: Final = "linklocal0"
BRIDGE_MAC: Final = "02:00:a9:fe:a9:fe"
"""Fixed: a bridge takes its first port's otherwise, and what guests know of it grows stale."""

ADDRESSES: Final = ("169.254.169.254/32", "fd00:ec2::254/128", "fe80::a9fe:a9fe/64")

UP: Final = f"""\
Make a bridge ({BRIDGE} unless --bridge names another), or take the interface that
--interface names, and give it the addresses of a metadata service:
  {"  ".join(ADDRESSES)}
With --netns all of it is in that network namespace, made when it is not there. --address gives it
an address in the guests' subnet too, so that they are reached. Each command is printed; `net down`
with the same options takes back exactly what was done. Needs root and the ip command."""

Step = list[str]


def add(commands: Any) -> None:
    group: Parser = commands.add_parser("net", help="169.254.169.254 on this host, and away again")
    parts = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    up: Parser = parts.add_parser("up", help="make it", description=UP)
    _add_place(up)
    up.add_argument(
        "--address",
        action="append",
        default=[],
        type=_address,
        metavar="ADDRESS/PREFIX",
        help="also this one, such as 192.168.1.1/24; repeatable",
    )
    up.add_argument("--dry-run", action="store_true", help="print the commands and do nothing")
    up.set_defaults(run=bring_up)
    down: Parser = parts.add_parser("down", help="take back exactly what `up` did")
    _add_place(down)
    down.set_defaults(run=take_down)


def _add_place(parser: Parser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--bridge", metavar="NAME", type=_name, help=f"default: {BRIDGE}")
    where.add_argument("--interface", metavar="NAME", type=_name, help="an interface of this host")
    parser.add_argument("--netns", metavar="NAME", type=_name, help="network namespace")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")


def bring_up(options: Namespace) -> int:
    record = _record(options)
    if record.exists():
        raise CtlError(f"{record.stem} is up already; linklocal net down takes it back")
    undo: list[Step] = []
    done: list[Step] = []

    def do(step: Step, back: Step | None = None) -> None:
        if not wants_json(options):
            print(shlex.join(step), flush=True)
        done.append(step)
        if options.dry_run:
            return
        if back is not None:
            undo.append(back)
            _write(record, undo)
        _run(step)

    try:
        _steps(options, do)
    except CtlError:
        left = _undo(undo)
        if left:
            _write(record, left)
        else:
            record.unlink(missing_ok=True)
        raise
    if not options.dry_run:
        _write(record, undo)
    if wants_json(options):
        document({"interface": _device(options), "netns": options.netns, "commands": done})
    else:
        aside(f"next: {_server(options)}")
    return DONE


def take_down(options: Namespace) -> int:
    record = _record(options)
    try:
        undo: list[Step] = json.loads(record.read_text())["undo"]
    except FileNotFoundError:
        raise CtlError(f"{record.stem} was not brought up by linklocal net up") from None
    except OSError as error:
        raise UsageError(f"{record}: {error.strerror}") from error
    printed = (lambda _: None) if wants_json(options) else (lambda step: print(shlex.join(step)))
    left = _undo(undo, printed)
    if left:
        _write(record, left)
    else:
        record.unlink()
    if wants_json(options):
        document({"commands": undo[::-1], "left": left})
    return FAILED if left else DONE


def _steps(options: Namespace, do: Callable[..., None]) -> None:
    """Do all that is not there yet."""
    device, ip = _device(options), _ip(options)
    spaces = _run(["ip", "-j", "netns", "list"]) or "[]"
    made_space = options.netns and all(
        each.get("name") != options.netns for each in json.loads(spaces)
    )
    if made_space:
        do(["ip", "netns", "add", options.netns], ["ip", "netns", "del", options.netns])
        do([*ip, "link", "set", "lo", "up"])
    known = {} if made_space else _shown(ip, device)
    if not known:
        if options.interface:
            raise CtlError(f"there is no interface {device}; expected one of this network")
        do(
            [*ip, "link", "add", device, "address", BRIDGE_MAC, "type", "bridge"],
            [*ip, "link", "del", device],
        )
    there = {f"{each['local']}/{each['prefixlen']}" for each in known.get("addr_info", ())}
    for address in (*ADDRESSES, *options.address):
        if address in there:
            aside(f"{address} is there already, and stays")
            continue
        if ":" in address and not Path("/proc/net/if_inet6").exists():
            aside(f"{address} is left out: this host has no IPv6")
            continue
        words = [address, "dev", device]
        # Without that an address of IPv6 cannot be bound to for a second or two.
        more = ["nodad"] if ":" in address else []
        do([*ip, "address", "add", *words, *more], [*ip, "address", "del", *words])
    if "UP" not in known.get("flags", ()):
        back = [*ip, "link", "set", device, "down"] if known else None
        do([*ip, "link", "set", device, "up"], back)


def _shown(ip: Step, device: str) -> dict[str, Any]:
    """Return what is known of *device*; nothing when it is not there."""
    every = json.loads(_run([*ip, "-j", "address", "show"]) or "[]")
    found: dict[str, Any] = next((each for each in every if each.get("ifname") == device), {})
    return found


def _undo(undo: Sequence[Step], told: Callable[[Step], None] = lambda _: None) -> list[Step]:
    """Take the steps back, the last one first; return those that could not be."""
    left: list[Step] = []
    for step in reversed(undo):
        told(step)
        try:
            _run(step)
        except CtlError as error:
            if _GONE.search(str(error)):
                aside("gone already")
                continue
            aside(str(error))
            left.insert(0, step)
    return left


_GONE: Final = re.compile(
    r"Cannot find device|does not exist|No such|Cannot assign requested address|not found"
)


def _run(step: Step) -> str:
    """Return what the command prints; raises CtlError with what it says when it fails."""
    try:
        ran = subprocess.run(step, capture_output=True, check=False, text=True, timeout=30)
    except FileNotFoundError:
        raise CtlError("the ip command is not there; it is in the package iproute2") from None
    except subprocess.TimeoutExpired:
        raise CtlError(f"{shlex.join(step)}: did not end") from None
    if ran.returncode:
        raise CtlError(f"{shlex.join(step)}: {ran.stderr.strip() or ran.returncode}")
    return ran.stdout


def _write(record: Path, undo: Sequence[Step]) -> None:
    try:
        record.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(record, json.dumps({"undo": undo}) + "\n")
    except OSError as error:
        raise CtlError(f"{record}: {error.strerror}") from error


def _record(options: Namespace) -> Path:
    space = f"{options.netns}," if options.netns else ""
    return RECORDS / f"{space}{_device(options)}.json"


def _device(options: Namespace) -> str:
    return str(options.interface or options.bridge or BRIDGE)


def _ip(options: Namespace) -> Step:
    return ["ip", "-n", options.netns] if options.netns else ["ip"]


def _server(options: Namespace) -> str:
    """Return the command that serves there."""
    device = _device(options)
    inside = ["ip", "netns", "exec", options.netns] if options.netns else []
    listens = ["169.254.169.254:80", "[fd00:ec2::254]:80", f"[fe80::a9fe:a9fe%{device}]:80"]
    words = [word for each in listens for word in ("--listen", each)]
    return shlex.join([*inside, "linklocal-server", *words])


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", text):
        raise ArgumentTypeError("expected up to 15 letters, digits, '.', '_' and '-'")
    return text


def _address(text: str) -> str:
    with suppress(ValueError):
        if "/" in text:
            return str(ip_interface(text))
    raise ArgumentTypeError("expected ADDRESS/PREFIX such as 192.168.1.1/24")
