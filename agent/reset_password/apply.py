"""Applies one reset to one account: checked, marked, set, read again; a word for every way it ends.

Touches the password of that account and nothing else: no sshd_config, no groups, no other account.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional

from ..accounts import PASSWD, SHADOW, find_shadow_field, find_user
from ..errors import HostError
from ..secret import Secret
from .keys import Entry, Resets
from .programs import run
from .protocol import Order

if TYPE_CHECKING:
    from ..host import Host

APPLIED, REJECTED, FAILED = "applied", "rejected", "failed"

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")

# crypt(5): prefix, salt, and the exact length of the digest in crypt's own base64.
_GRAMMAR = tuple(
    (scheme, re.compile(pattern.replace("A", "[./0-9A-Za-z]").encode("ascii")))
    for scheme, pattern in (
        ("sha512", r"\$6\$(?:rounds=[1-9][0-9]{3,8}\$)?A{1,16}\$A{86}"),
        ("sha256", r"\$5\$(?:rounds=[1-9][0-9]{3,8}\$)?A{1,16}\$A{43}"),
        ("yescrypt", r"\$y\$A{1,32}\$A{1,86}\$A{43}"),
        ("bcrypt", r"\$2b\$(?:0[4-9]|[12][0-9]|3[01])\$A{53}"),
    )
)

# The cheapest setting of each, to ask this machine's crypt(3) whether it knows the scheme.
_SETTINGS = (
    ("sha512", b"$6$rounds=1000$linklocal"),
    ("sha256", b"$5$rounds=1000$linklocal"),
    ("yescrypt", b"$y$j75$linklocal"),
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
    import ctypes

    for library in ("libcrypt.so.1", "libcrypt.so.2", "libc.so", "libc.musl-x86_64.so.1"):
        try:
            crypt = ctypes.CDLL(library).crypt
        except (OSError, AttributeError):
            continue
        crypt.restype = ctypes.c_char_p
        crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        return tuple(
            scheme
            for scheme, setting in _SETTINGS
            if (crypt(b"x", setting) or b"*").startswith(setting[:3])
        )
    return ("sha512", "sha256")


class Machine:
    """The account files below *root* and what changes them.

    That is the machine's own programs; below another root the files are edited as the agent does.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def shadow_field(self, user: str) -> Optional[Secret]:
        """Return the password field of a user of this machine, or None when there is no such user.

        A user that has no line in shadow, or is known elsewhere (NIS, SSSD), is none of ours.
        """
        if find_user(self._read(PASSWD), user) is None:
            return None
        return find_shadow_field(self._read(SHADOW), user)

    def set_hash(self, user: str, given: Secret) -> bool:
        """Say whether *given* was taken: by chpasswd on stdin, or in the files of another root."""
        if self.root == "/":
            return run(["chpasswd", "-e"], user.encode() + b":" + given.reveal() + b"\n")
        self._host().set_password_hash(user, given)
        return True

    def expire(self, user: str) -> bool:
        """Say whether *user* has to choose another password at the next login from now on."""
        if self.root == "/":
            return run(["chage", "-d", "0", user])
        self._host().expire_password(user)
        return True

    def _host(self) -> "Host":
        # An image or a directory may have no programs, and who works on it may not be root.
        from pathlib import Path

        from ..host import Host

        return Host(Path(self.root))

    def _read(self, path: str) -> bytes:
        path = os.path.join(self.root, path.lstrip("/"))
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise HostError(f"read {path}: {error.strerror}") from error


def apply(
    order: Order,
    machine: Machine,
    resets: Resets,
    users: Collection[str],
    elapsed: Callable[[], float],
) -> Outcome:
    """Apply *order* at most once, whatever happened before, and keep what became of it.

    *users* are those whose password may be reset; *elapsed* gives the seconds since the poll was
    sent, by the clock that also runs while the machine sleeps.
    """
    entry = resets.get(order.id)
    if entry is not None and entry.result:
        if entry.acknowledged:
            # The server forgot that it knows, restored from a backup perhaps.
            resets.put(entry._replace(acknowledged=False))
        return Outcome(entry.result, entry.code)
    try:
        outcome = _apply(order, machine, resets, users, elapsed, entry)
    except HostError:
        outcome = Outcome(FAILED, "machine")
    begun = resets.get(order.id)
    resets.put(Entry(order.id, begun.old if begun else "", outcome.result, outcome.code))
    return outcome


def _apply(
    order: Order,
    machine: Machine,
    resets: Resets,
    users: Collection[str],
    elapsed: Callable[[], float],
    entry: Optional[Entry],
) -> Outcome:
    if not _USER.fullmatch(order.user) or order.user not in users:
        return Outcome(REJECTED, "user-not-allowed")
    scheme = scheme_of(order.hash.reveal())
    if scheme is None:
        return Outcome(REJECTED, "bad-hash")
    field = machine.shadow_field(order.user)
    if field is None:
        return Outcome(REJECTED, "no-such-user")
    if elapsed() >= order.ttl:
        return Outcome(REJECTED, "expired")
    digest = hashlib.sha256(field.reveal()).hexdigest()
    if entry is None:
        if _is_locked(field) and not order.unlock:
            return Outcome(REJECTED, "locked")
        # The mark comes first: after a crash it says what the field was.
        resets.put(Entry(order.id, digest))
    elif field != order.hash and not hmac.compare_digest(digest, entry.old):
        return Outcome(REJECTED, "changed-since")
    if field != order.hash:
        if not machine.set_hash(order.user, order.hash):
            return Outcome(FAILED, "chpasswd")
        if machine.shadow_field(order.user) != order.hash:
            return Outcome(FAILED, "not-kept")
    if order.expire and not machine.expire(order.user):
        return Outcome(FAILED, "expire")
    return Outcome(APPLIED)


def _is_locked(field: Secret) -> bool:
    """Say whether somebody locked an account that has a password: `!` before its hash.

    `*`, `!` and `!!` alone are how systems leave an account that never had one.
    """
    text = field.reveal()
    return text.startswith(b"!") and bool(text.strip(b"!*"))
