"""What became of a reset, in words: of its code, and of the password that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

FINAL: Final = ("applied", "rejected", "failed", "expired", "cancelled", "superseded")

REASONS: Final[Mapping[str, str]] = {
    "account-expired": "the password is set, but the account is expired and nobody can log in",
    "no-shell": "the password is set, but the account has no shell to log in to",
    "user-not-allowed": "the guest's daemon may not reset this user; its reset_password.users says"
    " whose it may",
    "no-such-user": "the guest has no such user",
    "remote-user": "the user is a directory's (NIS, SSSD, LDAP); its password is not in the guest",
    "no-shadow": "the user has no line in the guest's /etc/shadow",
    "bad-hash": "the guest did not get one complete crypt(3) hash",
    "locked": "the password is locked; --unlock unlocks it",
    "expired": "it reached the guest too late",
    "changed-since": "interrupted, and the password was changed before it could go on",
    "read-only": "the guest's /etc cannot be written: its file system is read-only",
    "immutable": "the guest's /etc/shadow is marked immutable or append-only",
    "busy": "another program of the guest kept the lock of the account files",
    "chpasswd": "the guest's chpasswd failed",
    "not-kept": "chpasswd succeeded, and the account has another password all the same",
    "expire": "the password is set; that it must be changed at the next login could not be",
    "machine": "the guest's account files cannot be read, or a program is missing or does not end",
    "unproved": "the platform's own daemon is done with it; it does not say whether it is set",
    "enrolled": "the guest turned out to have our daemon; asked again, it goes to that one sealed",
    "hash-lost": "the server can no longer open the hash: its key file is another",
}
"""By the codes of the guest's daemon, and of the server."""


def outcome(asked: Mapping[str, Any]) -> str:
    """Return the state of a request, with its code and what that means."""
    code = asked["code"]
    if not code:
        return str(asked["state"])
    words = REASONS.get(code)
    return f"{asked['state']}: {code}{f': {words}' if words else ''}"


def fate(asked: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether the password that was asked for is, or may become, the user's; and words."""
    state, code = asked["state"], asked["code"]
    if code == "unproved":
        return True, REASONS[code]
    if state == "applied" or code == "expire":
        return True, "the password is set"
    if state not in FINAL:
        return True, "the password is not set yet: it is the user's once the request is applied"
    if code == "machine" or (state not in ("rejected", "failed") and asked["delivered"]):
        return True, "the guest had the request: whether the password is set is not known"
    return False, "the password was not set, and is not printed"
