"""What root asks on the command line: of the daemon by its channel, or of the files without one."""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..errors import AgentError, ConfigError, HostError
from ..secret import Secret
from . import PREFIX, kept
from .channel import NoDaemon, ask
from .client import Client
from .inside import read_inside
from .machine import CODES, Machine
from .private import PrivateDirectory
from .settings import Settings

_LONGEST_HASH = 4096
_UNPRIVILEGED = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_LOW_PORTS = 1024


class Finding(NamedTuple):
    """One thing that was looked at; *problem* is empty when it is as it should be."""

    what: str
    problem: str = ""
    fatal: bool = True


def status(run: Optional[PrivateDirectory], as_json: bool) -> int:
    """Print what the daemon is at; 1 when none is running. *run* is None when it is not there."""
    running = run is not None and is_running(run)
    shown: dict[str, Any] = {}
    if run is None:
        pass
    elif running:
        try:
            shown.update(ask(run, "status"))
        except NoDaemon:
            shown.update(_kept_status(run))
    else:
        shown.update(_kept_status(run))
    shown["running"] = running
    _print(shown, as_json)
    return 0 if running else 1


def history(run: PrivateDirectory, state: str, as_json: bool) -> int:
    """Print the resets of this machine, the newest first."""
    try:
        resets = ask(run, "history")["resets"]
    except (NoDaemon, KeyError):
        known = kept.Resets(PrivateDirectory(state, mode=0o700))
        resets = [entry._asdict() for entry in known.last(kept.RESETS_KEPT)]
    if as_json:
        # The digest of an old password field is nobody's affair.
        print(json.dumps([{k: v for k, v in each.items() if k != "old"} for each in resets]))
        return 0
    for each in resets:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["at"])) if each["at"] else "-"
        result = each["result"] or "begun"
        words = CODES.get(each["code"], each["code"]) if each["result"] else "not ended yet"
        told = "" if each["acknowledged"] or not each["result"] else " (the server does not know)"
        print(f"{when}  {each['id']}  {each['user'] or '-'}  {result}: {words}{told}")
    return 0


def trust(run: PrivateDirectory, state: str, key: str) -> int:
    """Accept another server's key."""
    try:
        server = kept.read_server_key(key)
    except ValueError as error:
        raise ConfigError(f"trust: {error}") from None
    try:
        ask(run, "trust", key=key)
        print("the daemon trusts this server now")
    except NoDaemon:
        kept.pin_server(PrivateDirectory(state, mode=0o700), server)
        print("the daemon will trust this server when it runs")
    return 0


def set_password(run: Optional[PrivateDirectory], root: str, user: str) -> int:
    """Set a password of this machine, or of the image below *root*, to the hash on stdin."""
    from .by_hand import set_by_hand

    given = Secret(sys.stdin.buffer.read(_LONGEST_HASH).strip())
    try:
        # Through the daemon where there is one, so that it does nothing else meanwhile.
        if run is not None:
            ask(run, "set", user=user, hash=given.reveal().decode("latin-1"))
    except NoDaemon as error:
        print(f"linklocal-resetd: {error}: set without it", file=sys.stderr)
        run = None
    if run is None:
        set_by_hand(Machine(root), user, given)
    print(f"the password of {user} below {root} is set")
    return 0


def check(run: PrivateDirectory, state: str, root: str, settings: Settings, as_json: bool) -> int:
    """Print whether a reset would work here; 1 when something is in its way."""
    findings = [
        *_of_daemon(run),
        _of_service(settings.metadata_url),
        *_of_machine(Machine(root), settings.users),
        *_of_ports(root),
        _of_state(state),
    ]
    wrong = any(each.problem and each.fatal for each in findings)
    if as_json:
        print(json.dumps([each._asdict() for each in findings]))
    else:
        for each in findings:
            mark = "ok" if not each.problem else "problem" if each.fatal else "note"
            print(f"{mark:8}{each.what}{': ' if each.problem else ''}{each.problem}")
    return 1 if wrong else 0


def is_running(run: PrivateDirectory) -> bool:
    """Say whether a daemon has the lock."""
    return run.is_locked(kept.LOCK)


def _of_daemon(run: PrivateDirectory) -> Sequence[Finding]:
    if not is_running(run):
        return [Finding("daemon", "not running")]
    try:
        shown = ask(run, "status")
    except NoDaemon as error:
        return [Finding("daemon"), Finding("control channel", str(error))]
    enrolled = Finding(f"enrolled as instance {shown.get('instance') or '?'}")
    if shown.get("state") != "enrolled":
        enrolled = Finding("enrolled", str(shown.get("problem") or shown.get("state", "not yet")))
    return [Finding("daemon"), Finding("control channel"), enrolled]


def _of_service(url: str) -> Finding:
    if not url:
        return Finding("service", "none is known here: no configuration, kernel line or DMI")
    what = f"service at {url}"
    try:
        reply = Client(url).exchange("POST", f"{PREFIX}challenge", b'{"v": 1}', seconds=5.0)
    except AgentError as error:
        return Finding(what, str(error))
    if reply.status != 200:
        return Finding(what, f"no password resets there: status {reply.status}")
    return Finding(what)


def _of_machine(machine: Machine, users: Sequence[str]) -> Sequence[Finding]:
    findings = []
    try:
        code = machine.obstacle()
        findings.append(Finding("account files can be written", CODES[code] if code else ""))
        if machine.is_busy():
            findings.append(Finding("lock of the account files", CODES["busy"], False))
        for user in users:
            found = machine.find(user)
            if found.field is None:
                findings.append(Finding(f"user {user}", CODES[found.code], False))
            else:
                code = machine.reservation(user)
                findings.append(Finding(f"user {user}", CODES[code] if code else "", False))
    except HostError as error:
        findings.append(Finding("account files", str(error)))
    if machine.root == "/":
        missing = not any(
            os.access(f"{directory}/chpasswd", os.X_OK)
            for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
        )
        findings.append(Finding("chpasswd", "not found" if missing else ""))
    return findings


def _of_ports(root: str) -> Sequence[Finding]:
    """Look whether a low source port still proves root, as the first enrolment takes it to."""
    try:
        lowest = int(read_inside(root, _UNPRIVILEGED))
    except (OSError, ValueError):
        return []
    problem = f"any process may use those from {lowest} on, so that they prove nothing"
    what = f"source ports below {_LOW_PORTS} are root's"
    return [Finding(what, problem if lowest < _LOW_PORTS else "", False)]


def _of_state(path: str) -> Finding:
    what = f"state in {path}"
    if not os.path.lexists(path):
        return Finding(what, "not there yet", False)
    try:
        kept.Resets(PrivateDirectory(path, mode=0o700))
    except HostError as error:
        return Finding(what, str(error))
    return Finding(what)


def _kept_status(run: PrivateDirectory) -> Mapping[str, Any]:
    text = run.read(kept.STATUS)
    shown: Mapping[str, Any] = json.loads(text) if text else {}
    return shown


def _print(shown: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(shown))
        return
    for name, value in shown.items():
        if value != "":
            print(f"{name}: {value}")
