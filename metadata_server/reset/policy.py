"""What a new password must be like, as the platform's guide has it (tables 2-24 and 9-3).

Pure; every text names the rule and never the password, nor a character of it.
"""

from __future__ import annotations

import string
from typing import Final, Literal

from ..errors import BadRequest

OsType = Literal["Linux", "Windows"]

FIRST_USER: Final[dict[OsType, str]] = {"Linux": "root", "Windows": "Administrator"}
"""Whose password it is when nobody else is named."""

SHORTEST: Final = 8
LONGEST: Final = 26
TYPES_WANTED: Final = 3
WINDOWS_RUN: Final = 3
"""So many consecutive characters of the user name are too many on Windows."""

# The guide's copies of the two sets disagree; these are the ones the platform takes.
SPECIALS: Final[dict[OsType, str]] = {
    "Linux": "!@$%^_-=+[{}];,./?~#*",
    "Windows": "!@$%^_-=+[{()}];,./?~#*",
}

# Characters alike on a console (0 O, 1 l I) are left out, and what shells or keyboards dislike.
_GENERATED: Final = "".join(
    sorted((set(string.ascii_letters + string.digits) - set("0O1lI")) | set("%+-./=@_"))
)
_GENERATED_LENGTH: Final = 24


class PasswordRefused(BadRequest):
    """The password breaks *rules*, each in words."""

    def __init__(self, *rules: str) -> None:
        super().__init__(f"password: {'; '.join(rules)}")
        self.rules = rules


def broken(password: str, *, user: str, os_type: OsType) -> tuple[str, ...]:
    """Return the rules that *password* breaks as the new password of *user*, none when it is good.

    The user name is compared without case. Length is in characters.
    """
    specials = SPECIALS[os_type]
    rules = []
    if not SHORTEST <= len(password) <= LONGEST:
        rules.append(f"expected {SHORTEST} to {LONGEST} characters")
    if any(kind(char, specials) is None for char in password):
        rules.append(f"expected only ASCII letters, digits and the special characters {specials}")
    if len({kind(char, specials) for char in password} - {None}) < TYPES_WANTED:
        rules.append(
            f"expected at least {TYPES_WANTED} of upper-case letters, lower-case letters, digits "
            "and special characters"
        )
    folded, name = password.lower(), user.lower()
    if name and (name in folded or name[::-1] in folded):
        rules.append("must not contain the user name, forwards or backwards")
    if os_type == "Windows" and any(run in folded for run in _runs(name)):
        rules.append("must not contain more than two consecutive characters of the user name")
    return tuple(rules)


def check(password: str, *, user: str, os_type: OsType) -> None:
    """Raise PasswordRefused, naming every broken rule."""
    if rules := broken(password, user=user, os_type=os_type):
        raise PasswordRefused(*rules)


def kind(char: str, specials: str) -> str | None:
    """Return which of the four types *char* is, or None when it is of none of them."""
    if char in string.ascii_uppercase:
        return "upper"
    if char in string.ascii_lowercase:
        return "lower"
    if char in string.digits:
        return "digit"
    return "special" if char in specials else None


def generate(*users: str) -> str:
    """Return a random password that is good for each of *users*, on Linux and on Windows."""
    import secrets

    while True:
        password = "".join(secrets.choice(_GENERATED) for _ in range(_GENERATED_LENGTH))
        # One that starts with a sign may be taken for an option or a path.
        if password[0].isalnum() and not any(
            broken(password, user=user, os_type=os) for user in users for os in SPECIALS
        ):
            return password


def _runs(name: str) -> list[str]:
    return [name[at : at + WINDOWS_RUN] for at in range(len(name) - WINDOWS_RUN + 1)]
