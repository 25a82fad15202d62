"""linklocal reset-password, reset-status, reset-cancel, reset-key: new passwords for guests."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from .errors import DONE, FAILED, NOT_FINAL, UsageError
from .output import aside, document, facts, table
from .parser import Parser, client, read_seconds, wants_json
from .prompts import new_password
from .reasons import FINAL, fate, outcome

if TYPE_CHECKING:
    from .client import Client

POLL = 20.0
"""Seconds that one request waits for a change on the server."""
ANSWER = 15.0
"""Seconds beyond that in which the answer has to come."""

RESET = """\
Ask for a new password. The server hashes it and keeps no plain text; the guest's reset daemon gets
the hash sealed to it alone, sets it and acknowledges. The password is asked for twice, or comes
from one of the options; it is never an argument."""

MANY = """\
for many: each ID, --all, --tag or --file; instances named twice are asked once. A line says what
became of each, and then totals:
  status id msg
  [SUCCESS] ID applied
  [FAILED] ID no such instance
  Total: 2 Success: 1 Failed: 1
One that is refused stops no other. --generate makes one password for each and prints `ID PASSWORD`
lines on stdout, the result on stderr. With --wait, [WAITING] is a guest that has not answered yet.
The exit status is 1 when one failed, else 3 when one has not answered.
"""

APPLY = """\
boot: at the guest's next boot; live: by the boot that runs now; both (default): whichever fetches
it first"""


def add(commands: Any) -> None:
    ask: Parser = commands.add_parser(
        "reset-password",
        help="give an account of one instance, or of many, a new password",
        description=RESET,
        epilog=MANY,
    )
    ask.add_argument("ids", metavar="ID", nargs="*")
    which = ask.add_argument_group("many instances")
    which.add_argument("--all", action="store_true", help="every instance the server knows")
    which.add_argument(
        "--tag", action="append", metavar="KEY[=VALUE]", help="those with the tag; repeatable"
    )
    which.add_argument("--file", metavar="FILE", help="ids, one a line; - is stdin")
    ask.add_argument("--user", help="the account (default: root; Administrator on Windows)")
    source = ask.add_mutually_exclusive_group()
    source.add_argument(
        "--password-stdin", action="store_true", help="read the password, one line, from stdin"
    )
    source.add_argument(
        "--generate",
        action="store_true",
        help="make a password and print it, once, on stdout, unless it was not set",
    )
    source.add_argument(
        "--hash-stdin",
        action="store_true",
        help="read a crypt(3) hash from stdin: the password itself never leaves you",
    )
    ask.add_argument(
        "--hash",
        "--scheme",
        dest="scheme",
        metavar="NAME",
        choices=("sha512", "sha256", "yescrypt", "bcrypt"),
        help="how the server hashes: sha512, sha256, yescrypt or bcrypt; default: what is "
        "configured, or else the guest can check",
    )
    ask.add_argument("--apply", choices=("boot", "live", "both"), help=APPLY)
    ask.add_argument("--unlock", action="store_true", help="unlock the account as well")
    ask.add_argument(
        "--expire", action="store_true", help="the user has to change it at the next login"
    )
    ask.add_argument("--restart", action="store_true", help="ask the guest to restart afterwards")
    ask.add_argument(
        "--dry-run",
        action="store_true",
        help="check all that can be checked, and ask for nothing",
    )
    ask.add_argument(
        "--replace", action="store_true", help="also when an earlier reset is already delivered"
    )
    _add_wait(ask)
    ask.add_common()
    ask.set_defaults(run=reset_password)

    status: Parser = commands.add_parser(
        "reset-status", help="what became of an instance's resets, or of one"
    )
    status.add_argument("id", metavar="ID")
    status.add_argument("request", metavar="REQUEST", nargs="?")
    _add_wait(status)
    status.add_common()
    status.set_defaults(run=reset_status)

    cancel: Parser = commands.add_parser("reset-cancel", help="take a reset back")
    cancel.add_argument("id", metavar="ID")
    cancel.add_argument("request", metavar="REQUEST")
    cancel.add_common()
    cancel.set_defaults(run=reset_cancel)

    confirm: Parser = commands.add_parser(
        "reset-confirm", help="let a guest with a new identity have a reset asked for the old one"
    )
    confirm.add_argument("id", metavar="ID")
    confirm.add_argument("request", metavar="REQUEST")
    confirm.add_common()
    confirm.set_defaults(run=reset_confirm)

    key: Parser = commands.add_parser(
        "reset-key", help="the identity of an instance's reset daemon"
    )
    parts = key.add_subparsers(title="commands", metavar="COMMAND", required=True)
    accept: Parser = parts.add_parser(
        "accept",
        help="take the daemon's new identity, after the fingerprint on its console was compared",
    )
    accept.add_argument("id", metavar="ID")
    accept.add_argument("fingerprint", metavar="FINGERPRINT")
    accept.add_common()
    accept.set_defaults(run=accept_key)
    token: Parser = parts.add_parser(
        "token", help="print a one-time token with which the first daemon may enrol"
    )
    token.add_argument("id", metavar="ID")
    token.add_common()
    token.set_defaults(run=make_token)


def reset_password(options: Namespace) -> int:
    from .reset_many import is_meant, reset_many

    # A dry run has no request to show: it is told as those of many are.
    if is_meant(options) or options.dry_run:
        return reset_many(options)
    (options.id,) = options.ids
    server = client(options)
    named = (options.user,) if options.user else ("root", "Administrator")
    kind, secret = new_password(options, named)
    body = {kind: secret, "user": options.user, "scheme": options.scheme, "apply": options.apply}
    body |= {
        name: True for name in ("unlock", "expire", "restart", "replace") if getattr(options, name)
    }
    asked = server.call(
        "POST",
        "instances",
        options.id,
        "reset-password",
        body={name: value for name, value in body.items() if value is not None},
    )
    generated = secret if options.generate else None
    if asked["enrolment"] == "conflict":
        aside(
            f"instance {options.id}: another identity asks to be its reset daemon; the reset waits "
            "for the one on record. `linklocal instance show` names both, and `linklocal reset-key "
            "accept` takes the new one, once its console shows that it is yours"
        )
    if asked["enrolment"] == "never" and asked["scheme"] != "legacy":
        never = f"instance {options.id} has never enrolled a reset daemon: "
        if server.get("instances", options.id)["os_type"] == "Windows":
            aside(
                f"{never}there is none of ours for Windows; reset_password.legacy serves the "
                "platform's plug-in"
            )
        else:
            aside(
                f"{never}the reset waits for its first boot with one; `linklocal-resetd set "
                "--root DIR` sets one in its image or disk"
            )
    if asked["scheme"] == "legacy":
        aside(
            f"instance {options.id} takes the platform's own envelope (reset_password.legacy): "
            "every process of the guest can read the password until its daemon took it, for 15 "
            "minutes at most"
        )
    return _follow(server, options, asked, generated)


def reset_status(options: Namespace) -> int:
    if options.wait is not None and not options.request:
        raise UsageError("--wait: expected the REQUEST to wait for")
    server = client(options)
    if options.request:
        asked = server.get("instances", options.id, "reset-password", options.request)
        return _follow(server, options, asked)
    answer = server.get("instances", options.id, "reset-password")
    if wants_json(options):
        document(answer)
        return DONE
    table(
        ("REQUEST", "USER", "STATE", "CODE", "APPLY", "ASKED", "EXPIRES"),
        (
            (r["id"], r["user"], r["state"], r["code"], r["apply"], r["created"], r["expires"])
            for r in answer["requests"]
        ),
    )
    return DONE


def reset_cancel(options: Namespace) -> int:
    asked = client(options).call(
        "DELETE", "instances", options.id, "reset-password", options.request
    )
    _show(options, asked)
    return DONE


def reset_confirm(options: Namespace) -> int:
    asked = client(options).call(
        "POST", "instances", options.id, "reset-password", options.request, "confirm"
    )
    _show(options, asked)
    return DONE


def accept_key(options: Namespace) -> int:
    server = client(options)
    answer = server.call(
        "POST", "instances", options.id, "reset-key", body={"fingerprint": options.fingerprint}
    )
    if wants_json(options):
        document(answer)
        return DONE
    facts(answer)
    for asked in server.get("instances", options.id, "reset-password")["requests"]:
        if asked["state"] == "needs-confirm":
            aside(
                f"request {asked['id']} for {asked['user']} was asked for the identity of before: "
                f"`linklocal reset-confirm {options.id} {asked['id']}` lets the new one have it"
            )
    return DONE


def make_token(options: Namespace) -> int:
    answer = client(options).call("POST", "instances", options.id, "reset-key", "token")
    if wants_json(options):
        document(answer)
    else:
        print(answer["token"])
    return DONE


def _add_wait(parser: Parser) -> None:
    parser.add_argument(
        "--wait",
        type=read_seconds,
        metavar="SECONDS",
        help="wait so long for the guest's answer; exit status 3 when there is none yet",
    )


def _follow(
    server: Client, options: Namespace, asked: dict[str, Any], generated: str | None = None
) -> int:
    """Wait for the end of *asked* as long as --wait says, show it, and return the exit status."""
    if options.wait is not None:
        try:
            asked = _wait(server, options, asked)
        except BaseException:
            # Whoever stops waiting has asked for this password all the same.
            if generated:
                print(generated, flush=True)
                aside(f"request {asked['id']}: what became of it is not known here")
            raise
    _show(options, asked, generated)
    if asked["state"] == "applied" or (options.wait is None and asked["state"] not in FINAL):
        return DONE
    return FAILED if asked["state"] in FINAL else NOT_FINAL


def _wait(server: Client, options: Namespace, asked: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + options.wait
    told = None
    while asked["state"] not in FINAL:
        if asked["state"] != told and not wants_json(options):
            told = asked["state"]
            aside(f"request {asked['id']}: {told}, waiting for the guest")
        left = deadline - time.monotonic()
        if left <= 0:
            break
        seconds = min(left, POLL)
        asked = server.get(
            "instances",
            options.id,
            "reset-password",
            asked["id"],
            query=f"wait={seconds:.3f}",
            timeout=seconds + ANSWER,
        )
    return asked


def _show(options: Namespace, asked: dict[str, Any], generated: str | None = None) -> None:
    kept, words = fate(asked)
    if wants_json(options):
        document(asked | ({"password": generated} if generated and kept else {}))
        return
    if generated:
        # stdout is the password and nothing else, so that it can be piped.
        if kept:
            print(generated, flush=True)
        aside(f"request {asked['id']}: {outcome(asked)}")
        aside(words)
        return
    facts(asked)
    if asked["code"]:
        aside(f"request {asked['id']}: {outcome(asked)}")
