"""Two guests of the same image after the same user data: what one agent made and the other not.

Salts, keys, times and the agents' own names of files are masked; all else must be the same or
stand, with its reason, in the table of docs/differences.md.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .light import LightGuest

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "tests/data/examples.yaml"
TABLE = CHECKOUT / "docs/differences.md"
ROOTS = ("/etc", "/home", "/root")
# The agents' own settings, and what account tools leave behind: backups and locks.
IGNORED = re.compile(
    r"/etc/(cloud|linklocal)(/.*)?|/etc/(passwd|shadow|group|gshadow|subuid|subgid)-|/etc/\.pwd\.lock"
    r"|/etc/ssh/ssh_host_.*|/root/\.cache(/.*)?"
)
# A file of one agent that stands for one of the other.
OURS = {
    "/etc/ssh/sshd_config.d/10-linklocal.conf": "/etc/ssh/sshd_config.d/50-cloud-init.conf",
    "/etc/sudoers.d/90-linklocal-users": "/etc/sudoers.d/90-cloud-init-users",
    "/etc/apt/apt.conf.d/94linklocal-config": "/etc/apt/apt.conf.d/94cloud-init-config",
    "/etc/apt/apt.conf.d/90linklocal-proxy": "/etc/apt/apt.conf.d/90cloud-init-aptproxy",
}
MASKS = (
    (re.compile(r"\$(y|6|5|1|2[aby])\$[^:\s]+"), "<hash>"),
    (re.compile(r"(linklocal-agent|cloud-init|linklocal)"), "<agent>"),
    # What somebody is told who comes as root, in each agent's own words.
    (re.compile(r"(,command=\"echo )'[^']*'; ?echo; ?sleep 10; ?"), r"\1<words>;echo;sleep 10;"),
    (re.compile(r"comment=(cloudconfig|<agent>)"), "comment=<agent>"),
    # The day of the last change of a password: both boot on the same one, or around midnight.
    (re.compile(r"^([^:]+:[^:]*):2\d{4}:", re.MULTILINE), r"\1:<day>:"),
)


class Example(NamedTuple):
    """A document as a manual would have it."""

    name: str
    user_data: str


class Difference(NamedTuple):
    path: str
    what: str
    """In lines of a diff; `-` is cloud-init's."""


class Row(NamedTuple):
    """A difference that is meant."""

    path: str
    """Pattern of a path."""
    examples: frozenset[str]
    """Names of the examples that show it; empty for whichever does."""
    reason: str


def examples() -> list[Example]:
    return [Example(row["name"], row["user-data"]) for row in yaml.safe_load(EXAMPLES.read_text())]


def rows() -> list[Row]:
    """Return the table of the page: path, examples, reason."""
    found = []
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            names = frozenset(re.findall(r"`([^`]+)`", cells[1]))
            found.append(Row(cells[0].strip("`"), names, cells[2]))
    return found


def view(guest: LightGuest) -> dict[str, str]:
    """Return everything below ROOTS by path, in masked words that can be compared."""
    found: dict[str, str] = {}
    ahead = list(ROOTS)
    while ahead:
        path = ahead.pop()
        if IGNORED.fullmatch(path):
            continue
        status = guest.stat(path)
        head = f"{status.kind} {status.mode:04o} {status.uid}:{status.gid}"
        if status.kind == "directory":
            ahead += [f"{path}/{name}" for name in guest.names(path)]
        elif status.kind == "link":
            head += f" -> {guest.readlink(path)}"
        elif status.kind == "file":
            text = guest.read(path).decode("utf-8", "backslashreplace")
            head += "\n" + _masked(path, text)
        found[OURS.get(path, path)] = head
    return found


def _masked(path: str, text: str) -> str:
    for pattern, words in MASKS:
        text = pattern.sub(words, text)
    # Comments and empty lines change nothing, and are each agent's own words.
    lines = [line.rstrip() for line in text.splitlines()]
    if path in ("/etc/hosts", "/etc/fstab"):
        lines = [" ".join(line.split()) for line in lines]
    elif path.endswith("/authorized_keys"):
        # cloud-init keeps them in a set, so that their order is another each time.
        lines.sort()
    return "\n".join(line for line in lines if line and not re.match(r"#+( |$)", line))


def differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> Iterator[Difference]:
    """Yield what differs, sorted by path."""
    for path in sorted({*theirs, *ours}):
        before, after = theirs.get(path, ""), ours.get(path, "")
        if before != after:
            lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
            yield Difference(path, "\n".join(list(lines)[3:]))


def unmeant(example: str, found: list[Difference], table: list[Row]) -> list[str]:
    """Return what is in no row of *table*, and rows that name *example* without need."""
    said = []
    used: set[Row] = set()
    for difference in found:
        row = next((row for row in table if _is_of(row, example, difference.path)), None)
        if row is None:
            said.append(f"{difference.path}:\n{difference.what}")
        else:
            used.add(row)
    stale = [row for row in table if example in row.examples and row not in used]
    return said + [f"the table has {row.path} for {example}, and there is none" for row in stale]


def _is_of(row: Row, example: str, path: str) -> bool:
    return fnmatchcase(path, row.path) and (not row.examples or example in row.examples)


def outcome(record: Mapping[str, Any]) -> list[str]:
    """Return what the status has that is not plainly done, for a failed comparison."""
    entries = [entry for module in record["modules"] for entry in module["entries"]]
    return [str(entry) for entry in [*record["entries"], *entries] if entry["result"] != "done"]
