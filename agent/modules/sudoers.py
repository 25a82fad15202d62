"""Rules of sudo and doas: checked by their own programs as a draft before they go live."""

from collections.abc import Sequence
from typing import NamedTuple

from .base import Context

SUDOERS = "/etc/sudoers"
FILE = "/etc/sudoers.d/90-linklocal-users"
DOAS = "/etc/doas.conf"


class Rules(NamedTuple):
    """What one user may do, and where that was asked for."""

    user: str
    place: str
    lines: tuple[str, ...]


def sudo_rules(user: str, grants: Sequence[str]) -> tuple[str, ...]:
    """Return sudoers lines for grants such as `ALL=(ALL) NOPASSWD:ALL`."""
    return tuple(f"{user} {grant}" for grant in grants)


def doas_rules(user: str, grants: Sequence[str]) -> tuple[str, ...]:
    """Return those doas.conf lines of *grants* that are about *user*; raises ValueError."""
    for grant in grants:
        words = grant.split()
        if words[:1] not in (["permit"], ["deny"]) or user not in words:
            raise ValueError(f"expected a rule such as 'permit nopass {user}'")
    return tuple(grants)


def with_rules(text: str, lines: Sequence[str]) -> str:
    """Return *text* with those of *lines* that it lacks at its end."""
    known = {line.strip() for line in text.splitlines()}
    missing = [line for line in dict.fromkeys(lines) if line.strip() not in known]
    if text and not text.endswith("\n"):
        text += "\n"
    return text + "".join(f"{line}\n" for line in missing)


def grant_sudo(rules: Sequence[Rules], context: Context) -> None:
    """Let the users do what *rules* say; what visudo refuses is left out and named."""
    if not rules:
        return
    before = (context.host.read(FILE) or b"").decode("utf-8", "replace")
    heading = before or "# Made by linklocal-agent from the users of the cloud-config.\n"
    _go_live(FILE, heading, 0o440, ("visudo", "-cqf"), rules, context)
    _include_directory(context)


def grant_doas(rules: Sequence[Rules], context: Context) -> None:
    """Let the users do what *rules* say; what doas refuses is left out and named."""
    if not rules:
        return
    before = (context.host.read(DOAS) or b"").decode("utf-8", "replace")
    _go_live(DOAS, before, 0o600, ("doas", "-C"), rules, context)


def _go_live(
    path: str,
    before: str,
    mode: int,
    check: Sequence[str],
    rules: Sequence[Rules],
    context: Context,
) -> None:
    lines = [line for each in rules for line in each.lines]
    if not _passes(with_rules(before, lines), check, context):
        # One bad rule must not cost the others theirs.
        lines = []
        for each in rules:
            if _passes(with_rules(before, each.lines), check, context):
                lines += each.lines
            else:
                context.report.refused(each.place, f"expected rules that {check[0]} accepts")
    if lines:
        context.host.write(path, with_rules(before, lines).encode(), mode=mode)


def _passes(text: str, check: Sequence[str], context: Context) -> bool:
    host = context.host
    program = host.which(check[0])
    if program is None or not host.runs:
        return True
    draft = f"{context.scripts}/{check[0]}.draft"
    host.write(draft, text.encode(), mode=0o400)
    try:
        return host.run([program, *check[1:], draft]).status == 0
    finally:
        host.remove(draft)


def _include_directory(context: Context) -> None:
    # Without sudo there is no /etc/sudoers; its package brings one that includes the directory,
    # and a file of ours in its place would make the package ask which to keep.
    content = context.host.read(SUDOERS)
    if content is None:
        return
    text = content.decode("utf-8", "replace")
    for line in text.splitlines():
        words = line.split()
        if words[:1] in (["#includedir"], ["@includedir"]) and words[1:2] == ["/etc/sudoers.d"]:
            return
    context.host.write(
        SUDOERS, with_rules(text, ["#includedir /etc/sudoers.d"]).encode(), mode=0o440
    )
