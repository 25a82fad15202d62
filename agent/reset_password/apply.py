"""Applies one reset to one account: checked, marked, set, read again; a word for every way it ends.

Touches the password of that account and nothing else: no sshd_config, no groups, no other account.
"""

import re
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional

from ..errors import HostError
from ..secret import Secret
from .crypt3 import crypt, has_crypt
from .kept import Entry, Resets
from .machine import Machine

if TYPE_CHECKING:
    from .protocol import Order

APPLIED, REJECTED, FAILED = "applied", "rejected", "failed"

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")

# crypt(5): prefix, salt, and the exact length of the digest in crypt's own base64. The work is
# bounded, for whoever tries to log in has the machine do it: 5,000,000 rounds, bcrypt's cost 16,
# 128 MiB for yescrypt (2^15 blocks of 32 times 128 bytes), in the parameters crypt(3) makes.
_ROUNDS = r"(?:rounds=(?:[1-9][0-9]{3,5}|[1-4][0-9]{6}|5000000)\$)?"
_GRAMMAR = tuple(
    (scheme, re.compile(pattern.replace("@", "[./0-9A-Za-z]").encode("ascii")))
    for scheme, pattern in (
        ("sha512", r"\$6\$" + _ROUNDS + r"@{1,16}\$@{86}"),
        ("sha256", r"\$5\$" + _ROUNDS + r"@{1,16}\$@{43}"),
        ("yescrypt", r"\$y\$j[7-9A-C][5T]\$@{1,86}\$@{43}"),
        ("bcrypt", r"\$2b\$(?:0[4-9]|1[0-6])\$@{53}"),
    )
)

# The cheapest setting of each, to ask this machine's crypt(3) whether it knows the scheme.
_SETTINGS = (
    ("sha512", b"$6$rounds=1000$linklocal"),
    ("sha256", b"$5$rounds=1000$linklocal"),
    # Eight characters of salt: those of no whole number of bytes are refused as a mistake.
    ("yescrypt", b"$y$j75$linkloca"),
    ("bcrypt", b"$2b$04$abcdefghijklmnopqrstuu"),
)


class Outcome(NamedTuple):
    result: str
    code: str = ""


def scheme_of(text: bytes) -> Optional[str]:
    """Return the scheme whose grammar *text* follows to the last character, or None."""
    for scheme, pattern in _GRAMMAR:
        if pattern.fullmatch(text):
            return scheme
    return None


def schemes() -> tuple[str, ...]:
    """Return the schemes this machine can check a login against."""
    if not has_crypt():
        return ("sha512", "sha256")
    return tuple(
        scheme
        for scheme, setting in _SETTINGS
        if (crypt(b"x", setting) or b"").startswith(setting[:3])
    )


def apply(
    order: "Order",
    machine: Machine,
    resets: Resets,
    users: Collection[str],
    elapsed: Callable[[], float],
    reached: Callable[[str], None] = lambda point: None,
    instance: str = "",
) -> Outcome:
    """Apply *order* at most once, whatever happened before, and keep what became of it.

    *users* are those whose password may be reset; *elapsed* gives the seconds since the poll was
    sent, by the clock that also runs while the machine sleeps. *reached* is told each of POINTS,
    and *instance* is kept with it.
    """
    entry = resets.get(order.id)
    if entry is not None and entry.result:
        if entry.acknowledged:
            # The server forgot that it knows, restored from a backup perhaps.
            resets.put(entry._replace(acknowledged=False))
        return Outcome(entry.result, entry.code)
    # What is no name at all is not kept: it may be as long as the server likes.
    user = order.user if _USER.fullmatch(order.user) else ""
    begun = entry or Entry(order.id, "", user=user, at=int(time.time()), instance=instance)
    begun = begun._replace(restart=order.restart)
    try:
        outcome = _apply(order, machine, resets, users, elapsed, entry, begun, reached)
    except HostError:
        outcome = Outcome(FAILED, "machine")
    reached("checked")
    marked = resets.get(order.id) or begun
    resets.put(marked._replace(result=outcome.result, code=outcome.code))
    reached("kept")
    return outcome


def _apply(
    order: "Order",
    machine: Machine,
    resets: Resets,
    users: Collection[str],
    elapsed: Callable[[], float],
    entry: Optional[Entry],
    begun: Entry,
    reached: Callable[[str], None],
) -> Outcome:
    from hashlib import sha256
    from hmac import compare_digest

    if not _USER.fullmatch(order.user) or order.user not in users:
        return Outcome(REJECTED, "user-not-allowed")
    scheme = scheme_of(order.hash.reveal())
    if scheme is None:
        return Outcome(REJECTED, "bad-hash")
    field, why = machine.find(order.user)
    if field is None:
        return Outcome(REJECTED, why)
    if elapsed() >= order.ttl:
        return Outcome(REJECTED, "expired")
    digest = sha256(field.reveal()).hexdigest()
    if entry is None:
        if _is_locked(field) and not order.unlock:
            return Outcome(REJECTED, "locked")
        # The mark comes first: after a crash it says what the field was.
        resets.put(begun._replace(old=digest))
        reached("marked")
    elif field != order.hash and not compare_digest(digest, entry.old):
        return Outcome(REJECTED, "changed-since")
    if field != order.hash:
        obstacle = machine.obstacle()
        if obstacle:
            return Outcome(FAILED, obstacle)
        if not _taken(machine, order):
            return Outcome(FAILED, "busy" if machine.is_busy() else "chpasswd")
        reached("set")
        if machine.find(order.user).field != order.hash:
            return Outcome(FAILED, "not-kept")
    if order.expire and not machine.expire(order.user):
        return Outcome(FAILED, "expire")
    return Outcome(APPLIED, machine.reservation(order.user))


def _taken(machine: Machine, order: "Order") -> bool:
    try:
        return machine.set_hash(order.user, order.hash)
    except HostError:
        if machine.is_busy():
            return False
        raise


def _is_locked(field: Secret) -> bool:
    """Say whether somebody locked an account that has a password: `!` before its hash.

    `*`, `!` and `!!` alone are how systems leave an account that never had one.
    """
    text = field.reveal()
    return text.startswith(b"!") and bool(text.strip(b"!*"))
