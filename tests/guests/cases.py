"""The folders of tests/cases: what a guest is served, and how it must look after its first boot."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from .light import LightGuest, Status
from .passwords import opens

CASES = Path(__file__).resolve().parents[1] / "cases"
STATUS = "/run/linklocal/status.json"
BAD = ("failed", "refused", "not run", "warning")
# What a boot may change: a second boot is looked at there.
WATCHED = ("/etc", "/root", "/home", "/opt", "/usr/local", "/var/lib/linklocal", "/var/spool/cron")
MARKS = "rm -rf /var/lib/linklocal/agent/instances/*/marks /var/lib/linklocal/agent/once"
"""Without them everything is to be done again; what modules know of their own work stays."""
MARKED = "/var/lib/linklocal/agent/instances/*/marks/*"
"""A mark says what was wrong when it was made: a user that was made is not made again."""


class Guest(Protocol):
    """What both kinds of guest can be asked."""

    def read(self, path: str) -> bytes: ...

    def text(self, path: str) -> str: ...

    def write(self, path: str, content: bytes, *, mode: int = ...) -> None: ...

    def exists(self, path: str) -> bool: ...

    def stat(self, path: str) -> Status: ...

    def readlink(self, path: str) -> str: ...

    def snapshot(self, *paths: str) -> dict[str, str]: ...


class Case(NamedTuple):
    name: str
    folder: Path
    instance: Mapping[str, Any]
    """In the words of the server's configuration, without id and addresses."""
    user_data: bytes | None
    expect: Mapping[str, Any]

    def prepare(self, guest: Guest) -> None:
        """Put the case's own files into the guest before it boots."""
        for path, content in below(self.folder / "guest"):
            runs = os.access(self.folder / "guest" / path, os.X_OK)
            guest.write(f"/{path}", content, mode=0o755 if runs else 0o644)
        agent = self.folder / "agent.yaml"
        if agent.exists():
            guest.write("/etc/linklocal/agent.yaml", agent.read_bytes())

    @property
    def datasource(self) -> str:
        return str(self.expect.get("datasource", "openstack"))

    @property
    def slow(self) -> bool:
        """Say whether light guests leave it to the slow tier."""
        return bool(self.expect.get("slow", False))

    @property
    def again(self) -> frozenset[str]:
        """Files that a second boot may change."""
        return frozenset(self.expect.get("again", ()))

    def may_change_twice(self, path: str) -> bool:
        """Say whether a second application may change *path*: the user's commands are run again."""
        patterns = (*self.again, *self.expect.get("twice", ()), MARKED)
        return any(fnmatchcase(path, each) for each in patterns)


def below(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """Return the paths that two snapshots do not agree on."""
    return {path for path in {*before, *after} if before.get(path) != after.get(path)}


# A guest's own Python walks its whole root: what is older than the guest is its image's, and told
# by its status alone.
_WALK = """
import hashlib, json, os, stat, sys
since, skipped = float(sys.argv[1]), set(sys.argv[2:])
found = {}
for top, names, files in os.walk("/"):
    names[:] = [name for name in names if os.path.join(top, name) not in skipped]
    for name in names + files:
        path = os.path.join(top, name)
        s = os.lstat(path)
        size = 0 if stat.S_ISDIR(s.st_mode) else s.st_size
        found[path] = "%o %d:%d %d" % (s.st_mode, s.st_uid, s.st_gid, size)
        if stat.S_ISLNK(s.st_mode):
            found[path] += " " + os.readlink(path)
        elif stat.S_ISREG(s.st_mode) and s.st_ctime >= since:
            found[path] += " " + hashlib.sha256(open(path, "rb").read()).hexdigest()
json.dump(found, sys.stdout)
"""
# The kernel's, what is gone at the next boot, and the agent's own log.
NOT_KEPT = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log/linklocal")


def whole(guest: LightGuest, since: float) -> dict[str, str]:
    """Return everything on *guest*'s disk in words that can be compared.

    *since* is when it was made, in seconds of the clock.
    """
    done = guest.run(["python3", "-c", _WALK, str(since), *NOT_KEPT], check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def cases(kind: str) -> list[Case]:
    """Return the cases for a *kind* of guest, `guest` or `directory`, with its own expectations."""
    defaults = yaml.safe_load((CASES / "defaults.yaml").read_text())
    found = []
    for folder in sorted(path for path in CASES.iterdir() if path.is_dir()):
        expect = yaml.safe_load((folder / "expect.yaml").read_text()) or {}
        if expect.get("programs") and kind == "directory":
            continue
        special = expect.get(kind, {})
        merged = {**expect, **special}
        for key in ("files", "accounts"):
            merged[key] = {**expect.get(key, {}), **special.get(key, {})}
        own = folder / "instance.yaml"
        instance = {**defaults, **(yaml.safe_load(own.read_text()) if own.exists() else {})}
        data = folder / "user-data"
        user_data = data.read_bytes() if data.is_symlink() or data.exists() else None
        found.append(Case(folder.name, folder, instance, user_data, merged))
    return found


def differences(case: Case, guest: Guest, *, owners: bool = True) -> list[str]:
    """Return, one line each, all that is not as the case expects; nothing when all is well."""
    return [
        *_status_differences(case, guest),
        *_file_differences(case, guest, owners),
        *_account_differences(case, guest),
    ]


# --- the status -----------------------------------------------------------------------------------


def status_of(guest: Guest) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(guest.read(STATUS))
    return record


def entries_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return every entry of a status, of modules, parts and neither, in order."""
    rows = [*record["entries"], *record["parts"]]
    for module in record["modules"]:
        rows += module["entries"]
    return rows


def outcome(record: Mapping[str, Any]) -> str:
    """Say in one word how the boot ended."""
    if record["status"] == "done" and record["degraded"]:
        return "degraded"
    return str(record["status"])


def _status_differences(case: Case, guest: Guest) -> Iterator[str]:
    record = status_of(guest)
    wanted = case.expect.get("status")
    if wanted is not None and outcome(record) != wanted:
        bad = [entry for entry in entries_of(record) if entry["result"] in BAD]
        yield f"status: expected {wanted}, got {outcome(record)}: {record['detail']} {bad}"
    ahead = list(entries_of(record))
    named = []
    for entry in case.expect.get("entries", ()):
        while ahead and not _is(ahead[0], entry, guest):
            ahead.pop(0)
        if not ahead:
            yield f"status has no entry {entry}; it has {entries_of(record)}"
            return
        named.append(ahead.pop(0))
    for words in case.expect.get("not_run", ()):
        if not any(words in line for line in record["not_run"]):
            yield f"status does not say that {words!r} was not run: {record['not_run']}"
    if case.expect.get("only"):
        for entry in entries_of(record):
            if entry["result"] in BAD and entry not in named:
                yield f"status has one entry too many: {entry}"


def _is(entry: Mapping[str, Any], wanted: Mapping[str, Any], guest: Guest) -> bool:
    for key, value in wanted.items():
        if key == "detail":
            if not re.search(value, entry.get("detail", "")):
                return False
        elif key == "output":
            if "output" not in entry or not re.search(value, guest.text(entry["output"])):
                return False
        elif entry.get(key) != value:
            return False
    return True


# --- files ----------------------------------------------------------------------------------------


def _file_differences(case: Case, guest: Guest, owners: bool) -> Iterator[str]:
    wanted: dict[str, dict[str, Any]] = {
        f"/{path}": {"mode": "0644", "owner": "root:root", "content": content}
        for path, content in below(case.folder / "expect")
    }
    for path, facts in case.expect.get("files", {}).items():
        wanted[path] = {**wanted.get(path, {}), **facts}
    for path, facts in wanted.items():
        for what in _one_file(guest, path, facts, owners):
            yield f"{path}: {what}"


def _one_file(guest: Guest, path: str, facts: Mapping[str, Any], owners: bool) -> Iterator[str]:
    if facts.get("absent"):
        if guest.exists(path):
            yield "expected to be absent"
        return
    if not guest.exists(path):
        yield "is not there"
        return
    if "link" in facts:
        if guest.stat(path).kind != "link" or guest.readlink(path) != facts["link"]:
            yield f"expected a link to {facts['link']}"
        return
    found = guest.stat(path)
    if found.kind != facts.get("kind", "file"):
        yield f"expected a {facts.get('kind', 'file')}, found a {found.kind}"
        return
    if "mode" in facts and found.mode != int(facts["mode"], 8):
        yield f"expected mode {facts['mode']}, found {found.mode:04o}"
    if owners and "owner" in facts:
        owner = f"{name_of(guest, 'passwd', found.uid)}:{name_of(guest, 'group', found.gid)}"
        if owner != facts["owner"]:
            yield f"expected owner {facts['owner']}, found {owner}"
    if found.kind != "file":
        return
    content = guest.read(path)
    if "content" in facts and content != facts["content"]:
        yield f"expected {facts['content']!r}, found {content!r}"
    text = content.decode(errors="replace")
    for part in facts.get("contains", ()):
        if part not in text:
            yield f"expected to contain {part!r}, found {text!r}"
    for part in facts.get("lacks", ()):
        if part in text:
            yield f"expected not to contain {part!r}"
    if "matches" in facts and not re.search(facts["matches"], text):
        yield f"expected to match {facts['matches']!r}, found {text!r}"


# --- accounts -------------------------------------------------------------------------------------


def lines_of(guest: Guest, file: str) -> dict[str, list[str]]:
    rows = [line.split(":") for line in guest.text(f"/etc/{file}").splitlines()]
    return {row[0]: row for row in rows}


def name_of(guest: Guest, file: str, number: int) -> str:
    for name, row in lines_of(guest, file).items():
        if row[2] == str(number):
            return name
    return str(number)


def groups_of(guest: Guest, user: str) -> list[str]:
    """Return the further groups of *user*, sorted."""
    rows = lines_of(guest, "group")
    return sorted(name for name, row in rows.items() if user in row[3].split(","))


def _account_differences(case: Case, guest: Guest) -> Iterator[str]:
    for name, facts in case.expect.get("accounts", {}).items():
        for what in _one_account(guest, name, facts):
            yield f"account {name}: {what}"
    for name, members in case.expect.get("groups", {}).items():
        row = lines_of(guest, "group").get(name)
        found = sorted(filter(None, row[3].split(","))) if row else None
        if found != sorted(members):
            yield f"group {name}: expected members {members}, found {found}"


def _one_account(guest: Guest, name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    row = lines_of(guest, "passwd").get(name)
    if facts.get("absent"):
        if row is not None:
            yield "expected to be absent"
        return
    if row is None:
        yield "is not there"
        return
    shadow = lines_of(guest, "shadow")[name]
    found: dict[str, Any] = {
        "uid": int(row[2]),
        "gecos": row[4],
        "home": row[5],
        "shell": row[6],
        "groups": groups_of(guest, name),
        "hash": shadow[1],
        "locked": shadow[1].startswith(("!", "*")),
        "expired": shadow[2] == "0",
    }
    for key, value in facts.items():
        if key == "password":
            if not opens(shadow[1], value):
                yield "the expected password does not open it"
        elif found[key] != value:
            yield f"{key}: expected {value!r}, found {found[key]!r}"
