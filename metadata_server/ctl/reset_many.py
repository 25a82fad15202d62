"""linklocal reset-password for many: who is meant, asking by the hundred, one line for each."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from .errors import DONE, FAILED, NOT_FINAL, CtlError, UsageError
from .output import aside, cell, document
from .parser import client, wants_json
from .prompts import new_password
from .reasons import FINAL, fate, outcome

if TYPE_CHECKING:
    from .client import Client

AT_ONCE = 100
"""Instances of one call: few enough that their hashes are made within its time."""
POLL = 20.0
ANSWER = 15.0
CALL = 300.0
USERS = ("root", "Administrator")
LONGEST_FILE = 1 << 20

SUCCESS, BAD, WAITING = "SUCCESS", "FAILED", "WAITING"


@dataclass
class Result:
    """What became of one instance."""

    instance: str
    password: str | None
    """A generated one."""
    refusal: str | None = None
    request: dict[str, Any] | None = None
    is_dry: bool = False

    def status(self, *, waited: bool) -> str:
        if self.refusal is not None:
            return BAD
        if self.request is None or self.request["state"] == "applied":
            return SUCCESS
        if self.request["state"] in FINAL:
            return BAD
        return WAITING if waited else SUCCESS

    def words(self) -> str:
        if self.refusal is not None:
            return self.refusal
        if self.request is None:
            return "would be asked for"
        if self.request["state"] in FINAL:
            return outcome(self.request)
        if self.request["scheme"] == "legacy":
            return "asked for, in the platform's own envelope, for 15 minutes"
        if self.request["enrolment"] == "never":
            return "asked for; it never enrolled a daemon: waits for its first boot with one"
        if self.request["enrolment"] == "conflict":
            return "asked for; another identity asks to be its daemon: see reset-key accept"
        return "asked for"

    def is_kept(self) -> bool:
        """Say whether the password is, or may become, the user's."""
        return self.request is not None and fate(self.request)[0]


def is_meant(options: Namespace) -> bool:
    """Say whether the options name instances in another way than by one id."""
    return bool(options.all or options.tag or options.file or len(options.ids) != 1)


def reset_many(options: Namespace) -> int:
    server = client(options)
    ids = _chosen(options, server)
    if not ids:
        raise CtlError("no instance is like that, or the file names none; nothing was asked")
    kind, secrets = _secrets(options, ids)
    results = [Result(each, secrets.get(each) if options.generate else None) for each in ids]
    try:
        for part in _parts(results):
            _ask(server, options, part, kind, secrets, is_first=part[0] is results[0])
            done = "checked" if options.dry_run else "asked for"
            _progress(options, f"{done} {sum(map(_is_answered, results))} of {len(ids)}")
        if options.wait is not None:
            try:
                _wait(server, options, results)
            except CtlError as error:
                aside(f"linklocal: {cell(str(error))}; what is told here was so before")
    finally:
        # Whoever stops waiting has asked for these passwords all the same.
        _print_passwords(options, results)
    return _show(options, results)


def _chosen(options: Namespace, server: Client) -> list[str]:
    """Return the ids that are meant, each once, in the order of the options."""
    from .instance import pages

    if options.all and (options.ids or options.tag or options.file):
        raise UsageError("--all: expected no other choice of instances beside it")
    if not (options.all or options.ids or options.tag or options.file):
        raise UsageError("expected the id of an instance, --all, --tag or --file")
    chosen = [*options.ids]
    if options.file:
        chosen += _ids_in(options)
    if options.all or options.tag:
        query = urlencode([("tag", tag) for tag in options.tag or ()])
        chosen += [each["id"] for each in pages(server, query)]
    return [*dict.fromkeys(chosen)]


def _ids_in(options: Namespace) -> list[str]:
    """Return the ids in the file, one a line; empty lines and what follows # mean nothing."""
    name = options.file
    if name == "-" and (options.password_stdin or options.hash_stdin):
        raise UsageError("--file -: stdin has the password already")
    try:
        raw = sys.stdin.buffer.read(LONGEST_FILE) if name == "-" else Path(name).read_bytes()
        # Editors of Windows put a mark at the start.
        lines = raw.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{name}: expected text in UTF-8") from None
    found = []
    for number, line in enumerate(lines, 1):
        word = line.partition("#")[0].strip()
        if len(word.split()) > 1 or "," in word:
            # What stands behind may be a password, as in the lists of other tools.
            raise UsageError(f"{name}:{number}: expected the id of an instance and nothing else")
        if word:
            found.append(word)
    return found


def _secrets(options: Namespace, ids: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the body's key and each instance's password or hash; a generated one is its own."""
    if options.generate:
        from ..reset.policy import generate

        users = (options.user,) if options.user else USERS
        return "passwords", {each: generate(*users) for each in ids}
    kind, secret = new_password(options, USERS)
    return kind, dict.fromkeys(ids, secret)


def _parts(results: list[Result]) -> Iterator[list[Result]]:
    for start in range(0, len(results), AT_ONCE):
        yield results[start : start + AT_ONCE]


def _ask(
    server: Client,
    options: Namespace,
    part: list[Result],
    kind: str,
    secrets: Mapping[str, str],
    *,
    is_first: bool,
) -> None:
    ids = [each.instance for each in part]
    body = {
        "instances": ids,
        "user": options.user,
        "scheme": options.scheme,
        "apply": options.apply,
        kind: {each: secrets[each] for each in ids} if kind == "passwords" else secrets[ids[0]],
    }
    body |= {
        name: True
        for name in ("unlock", "expire", "restart", "replace", "dry_run")
        if getattr(options, name)
    }
    body = {name: value for name, value in body.items() if value is not None}
    try:
        answer = server.call("POST", "reset-passwords", body=body, timeout=CALL)
    except CtlError as error:
        if is_first:
            raise
        # Those before it were asked, and are told of all the same.
        for each in part:
            each.refusal = f"not known whether it was asked: {error}"
        return
    for each, said in zip(part, answer["results"], strict=True):
        each.request = said["request"]
        each.is_dry = options.dry_run
        if said["status"] >= 300:
            each.refusal = said["detail"]


def _is_answered(result: Result) -> bool:
    return result.is_dry or result.refusal is not None or result.request is not None


def _wait(server: Client, options: Namespace, results: Sequence[Result]) -> None:
    """Follow every request to its end, or to the end of --wait."""
    deadline = time.monotonic() + options.wait
    open_ones = [each for each in results if each.request and each.request["state"] not in FINAL]
    for place, each in enumerate(open_ones):
        _progress(options, f"{place} of {len(open_ones)} guests have answered")
        while each.request is not None and each.request["state"] not in FINAL:
            seconds = min(max(deadline - time.monotonic(), 0.0), POLL)
            each.request = server.get(
                *("instances", each.instance, "reset-password", each.request["id"]),
                query=f"wait={seconds:.3f}",
                timeout=seconds + ANSWER,
            )
            if seconds < POLL and time.monotonic() >= deadline:
                # Those after it are looked at once more, without waiting.
                break
    if open_ones:
        answered = len([each for each in open_ones if (each.request or {}).get("state") in FINAL])
        _progress(options, f"{answered} of {len(open_ones)} guests have answered", last=True)


def _progress(options: Namespace, text: str, *, last: bool = False) -> None:
    """Show how far it is, in one line that changes at a terminal."""
    if wants_json(options):
        return
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
    else:
        aside(text)


def _print_passwords(options: Namespace, results: Sequence[Result]) -> None:
    if not options.generate or wants_json(options):
        return
    for each in results:
        if each.is_kept():
            print(f"{each.instance} {each.password}", flush=True)


def _show(options: Namespace, results: Sequence[Result]) -> int:
    """Print a line for each instance and the totals, and return the exit status."""
    waited = options.wait is not None
    states = [each.status(waited=waited) for each in results]
    success, failed, waiting = (states.count(each) for each in (SUCCESS, BAD, WAITING))
    if wants_json(options):
        document(
            {
                "results": [
                    {
                        "instance": each.instance,
                        "status": state.lower(),
                        "detail": each.words(),
                        "request": each.request,
                        **({"password": each.password} if each.password and each.is_kept() else {}),
                    }
                    for each, state in zip(results, states, strict=True)
                ],
                "total": len(results),
                "success": success,
                "failed": failed,
                "waiting": waiting,
            }
        )
    else:
        # stdout is for passwords, when they were made here.
        say = aside if options.generate else print
        say("status id msg")
        for each, state in zip(results, states, strict=True):
            say(f"[{state}] {cell(each.instance)} {cell(each.words())}")
        totals = f"Total: {len(results)} Success: {success} Failed: {failed}"
        say(f"{totals} Waiting: {waiting}" if waiting else totals)
    if failed:
        return FAILED
    return NOT_FINAL if waiting else DONE
